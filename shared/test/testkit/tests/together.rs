//! Who asks for alarms at the same time is answered together, and by no call that began before they asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::join_all;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AlarmName, Target};
use tidegate_core::ports::Alarms;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_runtime::together::Together;
use tidegate_testkit::names;
use tokio::sync::Semaphore;

/// A CloudWatch that answers a call when it is let, with what is true when the call begins.
struct Slow {
    calls: Mutex<Vec<Vec<AlarmName>>>,
    state: Mutex<Result<AlarmState, PortError>>,
    answers: Semaphore,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            state: Mutex::new(Ok(AlarmState::Ok)),
            answers: Semaphore::new(0),
        })
    }

    fn is(&self, state: Result<AlarmState, PortError>) {
        *self.state.lock().expect("not poisoned") = state;
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.lock().expect("not poisoned").iter().map(Vec::len).collect()
    }
}

#[async_trait]
impl Alarms for Slow {
    async fn states(
        &self,
        _: &Target,
        names: &[AlarmName],
    ) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        self.calls.lock().expect("not poisoned").push(names.to_vec());
        let state = self.state.lock().expect("not poisoned").clone();
        self.answers.acquire().await.expect("open").forget();
        let seen = |state: &AlarmState| AlarmSeen {
            state: state.clone(),
            since: None,
            reason: String::new(),
            silenced: None,
            unproven: None,
        };
        state.map(|state| names.iter().map(|name| (name.clone(), seen(&state))).collect())
    }
}

fn alarm(number: u32) -> AlarmName {
    AlarmName::new(format!("alarm-{number}")).expect("a name")
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn ten_who_ask_at_once_are_two_calls_and_each_sees_their_own() {
    let slow = Slow::new();
    let (together, target) = (Together::new(slow.clone()), names::target());
    let asked: Vec<[AlarmName; 1]> = (0..10).map(|number| [alarm(number)]).collect();
    let mut all = Box::pin(join_all(asked.iter().map(|names| together.states(&target, names))));
    assert!(poll(&mut all).is_pending());
    slow.answers.add_permits(2);
    let answers = (0..10).find_map(|_| match poll(&mut all) {
        Poll::Ready(answers) => Some(answers),
        Poll::Pending => None,
    });
    let answers = answers.expect("all are answered");
    for (names, answer) in asked.iter().zip(answers) {
        assert_eq!(answer.expect("seen").keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    }
    assert_eq!(slow.calls(), [1, 9]);
}

#[test]
fn nobody_is_answered_by_a_call_that_began_before_they_asked() {
    let slow = Slow::new();
    let (together, target, name) = (Together::new(slow.clone()), names::target(), [alarm(1)]);
    let mut first = Box::pin(together.states(&target, &name));
    assert!(poll(&mut first).is_pending());
    slow.is(Ok(AlarmState::Alarm));
    let mut second = Box::pin(together.states(&target, &name));
    assert!(poll(&mut second).is_pending());
    slow.answers.add_permits(2);
    let state = |seen: BTreeMap<AlarmName, AlarmSeen>| seen[&alarm(1)].state.clone();
    let first = first.now_or_never().expect("answered").expect("seen");
    let second = second.now_or_never().expect("answered").expect("seen");
    assert_eq!((state(first), state(second)), (AlarmState::Ok, AlarmState::Alarm));
}

#[test]
fn an_error_is_everybodys_and_who_leaves_takes_nobody_along() {
    let slow = Slow::new();
    let (together, target) = (Together::new(slow.clone()), names::target());
    let (one, two, three) = ([alarm(1)], [alarm(2)], [alarm(3)]);
    let mut first = Box::pin(together.states(&target, &one));
    assert!(poll(&mut first).is_pending());
    let mut second = Box::pin(together.states(&target, &two));
    let mut third = Box::pin(together.states(&target, &three));
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    drop(first);
    // The second asks for both, and leaves as well.
    assert!(poll(&mut second).is_pending());
    assert_eq!(slow.calls(), [1, 2]);
    drop(second);
    slow.is(Err(PortError::new(ErrorKind::Throttled, "cloudwatch:DescribeAlarms", "Throttling", "slow")));
    assert!(poll(&mut third).is_pending());
    let mut fourth = Box::pin(together.states(&target, &one));
    assert!(poll(&mut fourth).is_pending());
    slow.answers.add_permits(2);
    assert!(third.now_or_never().expect("answered").is_err());
    assert!(fourth.now_or_never().expect("answered").is_err());
    assert_eq!(slow.calls(), [1, 2, 1, 1]);
}
