//! The herald may be killed at any of its calls, and whoever it tells may be down: no message is lost, none comes twice but the one that was
//! being told when it died or whose answer was lost, and each receiver hears them in order. The release waits for none of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::history::{Entry, Event};
use tidegate_core::notify::{Mark, notices, untold};
use tidegate_core::outcome::Outcome;
use tidegate_core::policy::{Channel, Moment, Percent, parse_channels};
use tidegate_core::service::ServiceRecord;
use tidegate_runtime::tell::Call;
use tidegate_testkit::build;
use tidegate_testkit::fakes::{
    Aws, Balancing, Caller, Conditions, EcsHabits, Fault, Faults, Quality, Universe,
};
use tidegate_testkit::names;
use tidegate_testkit::sim::{Scenario, Simulation};

const CHANNELS: &str = r##"[{ slack: "#deploys" }, { teams: deploys, on: [started, rolling_back, rolled_back] }, { webhook: audit }]"##;
const TIME_LIMIT: SignedDuration = SignedDuration::from_secs(57);
const VISIBILITY: SignedDuration = SignedDuration::from_secs(360);

fn channels() -> Vec<Channel> {
    parse_channels(CHANNELS).unwrap()
}

fn history() -> Vec<Entry> {
    let outcome = Box::new(Outcome::RolledBack { cause: build::alarm_cause() });
    let events = [
        Event::Created { change: names::change(2), why: "a push".into() },
        Event::Started,
        Event::PreflightPassed { rollback_target: "checkout:1".into() },
        Event::LinkSent { approver: "anna".into() },
        Event::Shifting { percent: Percent::from_tenths(100) },
        Event::RollingBack { cause: Box::new(build::alarm_cause()) },
        Event::TrafficRestored,
        Event::Ended { outcome, restore_pending: None },
    ];
    let entry = |(version, event)| Entry::new(version, names::start(), Actor::Tidegate, event);
    (0..).zip(events).map(entry).collect()
}

/// Somebody's service, one of its releases with its history, and a herald that is called as Lambda calls it.
struct World {
    universe: Universe,
    callers: u64,
    invocations: u32,
}

impl World {
    fn new(conditions: Conditions) -> Self {
        let own = serde_json::json!({ "strategy": "ROLLING" });
        let aws = Aws::new(Balancing::LoadBalancer, own, EcsHabits::default(), 1);
        let universe = Universe::new(aws, conditions, 1, true);
        {
            let mut state = universe.state();
            let policy = tidegate_core::policy::Policy { notify: Some(channels()), ..build::policy() };
            let record = ServiceRecord::new(policy, names::start());
            state.rows.seed(build::release(), record, names::start());
            state.rows.seed_history(&names::release(1), history());
        }
        Self { universe, callers: 0, invocations: 0 }
    }

    fn caller(&mut self) -> Caller {
        self.callers += 1;
        self.invocations += 1;
        Caller { id: self.callers, name: format!("herald-{}", self.callers) }
    }

    fn until(&self) -> Timestamp {
        self.universe.state().now.saturating_add(TIME_LIMIT).unwrap()
    }

    fn call(receipt: Option<&str>) -> Call {
        Call { id: "1".into(), release: names::release(1), receipt: receipt.map(str::to_owned) }
    }

    /// A record of the stream: it comes again until it was handled.
    fn stream(&mut self) {
        for _ in 0..20 {
            let caller = self.caller();
            let herald = self.universe.herald(caller.clone(), Vec::new());
            let until = self.until();
            let done = self.universe.run_or_die(caller.id, herald.moved(vec![Self::call(None)], until));
            if done.is_some_and(|failed| failed.is_empty()) {
                return;
            }
            self.wait(SignedDuration::from_secs(1));
        }
        panic!("the record was not handled");
    }

    /// The queue, until it is empty.
    fn queue(&mut self) {
        loop {
            let next = self.universe.state().post.queue.iter().min().cloned();
            let Some((at, release)) = next else { return };
            {
                let mut state = self.universe.state();
                let found =
                    state.post.queue.iter().position(|message| *message == (at, release.clone())).unwrap();
                state.post.queue.remove(found);
                state.post.postponed.clear();
                let now = state.now;
                state.advance(at.max(now));
            }
            let caller = self.caller();
            let herald = self.universe.herald(caller.clone(), Vec::new());
            let queue = self.universe.tell_queue(caller.clone());
            let received = self.universe.state().now;
            let again = herald.again(&*queue, vec![Self::call(Some("r"))], self.until());
            let done = self.universe.run_or_die(caller.id, again);
            if done.is_some_and(|failed| failed.is_empty()) {
                continue;
            }
            let mut state = self.universe.state();
            let put_off = state
                .post
                .postponed
                .get("r")
                .map(|secs| (state.now, SignedDuration::from_secs(i64::from(*secs))));
            let (from, pause) = put_off.unwrap_or((received, VISIBILITY));
            let at = from.saturating_add(pause).unwrap();
            state.post.queue.push((at, release));
            assert!(self.callers < 2000, "it is tried for ever");
        }
    }

    fn wait(&self, pause: SignedDuration) {
        let mut state = self.universe.state();
        let at = state.now.saturating_add(pause).unwrap();
        state.advance(at);
    }

    /// What a receiver heard, in order.
    fn heard(&self, receiver: &str) -> Vec<Mark> {
        let state = self.universe.state();
        state.post.tidings.iter().filter(|it| it.receiver == receiver).map(|it| it.mark).collect()
    }

    /// Whoever heard something wrong: what a receiver heard without what came twice must be what it wanted; answers how much came twice.
    fn check(&self) -> usize {
        let notices = notices(&history());
        let mut twice = 0;
        for channel in channels() {
            let wanted: Vec<Mark> = untold(&notices, &channel, None).map(|notice| notice.mark).collect();
            assert!(wanted.len() > 2);
            let heard = self.heard(&channel.to.name());
            let mut once: Vec<Mark> = Vec::new();
            for mark in heard {
                if once.last() == Some(&mark) {
                    twice += 1;
                } else {
                    once.push(mark);
                }
            }
            assert_eq!(once, wanted, "{}", channel.to.name());
        }
        twice
    }
}

fn latency() -> Conditions {
    Conditions { latency: (20, 20), ..Conditions::default() }
}

#[test]
fn everyone_is_told_what_they_want_in_order_and_once() {
    let mut world = World::new(latency());
    world.stream();
    world.queue();
    assert_eq!(world.check(), 0);
    // The same record once more, and nothing that is new: nobody hears of it.
    let before = world.universe.state().post.calls;
    world.stream();
    world.queue();
    assert_eq!(world.universe.state().post.calls, before);
    // Each message knew what the receiver had called the first one.
    let state = world.universe.state();
    let memories: Vec<_> = state
        .post
        .tidings
        .iter()
        .filter(|it| it.receiver == "webhook audit")
        .map(|it| it.memory.clone())
        .collect();
    assert!(
        memories[0].is_empty() && memories[1..].iter().all(|memory| memory["first"] == "0.0"),
        "{memories:?}"
    );
}

#[test]
fn the_herald_may_die_at_any_call() {
    let calls = {
        let mut world = World::new(latency());
        world.stream();
        world.universe.state().calls
    };
    assert!(calls > 30, "{calls} calls are too few");
    for call in 0..calls {
        for fault in
            [Fault::CrashBefore, Fault::CrashAfter, Fault::AnswerLost, Fault::Throttled, Fault::Unavailable]
        {
            let mut world = World::new(Conditions { faults: Faults::At { call, fault }, ..latency() });
            world.stream();
            world.queue();
            let twice = world.check();
            let most =
                usize::from(matches!(fault, Fault::CrashBefore | Fault::CrashAfter | Fault::AnswerLost)) * 3;
            assert!(twice <= most, "{fault:?} at call {call}: {twice} came twice");
        }
    }
}

/// Two who read the same, and one who comes while the other is telling: the versions of the row keep the first apart, the claim the second.
#[test]
fn two_who_come_at_the_same_time_tell_it_once() {
    for seed in 0..40 {
        for later in [0, 150, 700, 1_300, 2_900] {
            let mut world = World::new(Conditions { latency: (5, 400 + seed), ..Conditions::default() });
            world.universe.state().post.lag = SignedDuration::from_secs(3);
            let (one, other) = (world.caller(), world.caller());
            let until = world.until();
            let heralds = [one, other].map(|caller| world.universe.herald(caller, Vec::new()));
            let both = async {
                let second = async {
                    heralds[1].installation.time.sleep(SignedDuration::from_millis(later)).await;
                    heralds[1].moved(vec![World::call(None)], until).await
                };
                futures::future::join(heralds[0].moved(vec![World::call(None)], until), second).await
            };
            world.universe.run(both);
            world.queue();
            assert_eq!(world.check(), 0, "seed {seed}, {later} ms later");
        }
    }
}

#[test]
fn a_receiver_that_is_down_for_hours_hears_everything_in_order_and_holds_nobody() {
    let mut world = World::new(latency());
    let until = names::at(2 * 3600);
    world.universe.state().post.down.push(("teams".into(), names::start(), until, None));
    world.stream();
    // The others were told at once.
    let told_by = |world: &World, receiver: &str| {
        let state = world.universe.state();
        state.post.tidings.iter().filter(|it| it.receiver == receiver).map(|it| it.at).max().unwrap()
    };
    for receiver in ["slack #deploys", "webhook audit"] {
        assert!(told_by(&world, receiver) < names::at(10), "{receiver}");
    }
    world.queue();
    assert_eq!(world.check(), 0);
    let late = told_by(&world, "teams deploys").duration_since(until);
    assert!(late >= SignedDuration::ZERO && late < SignedDuration::from_mins(16), "{late:#}");
    assert_eq!(world.universe.state().rows.service_history(&names::service()), []);
}

#[test]
fn a_receiver_that_asks_for_a_pause_gets_it() {
    let mut world = World::new(latency());
    world.universe.state().post.down.push(("teams".into(), names::start(), names::at(60), Some(600)));
    world.stream();
    let calls = world.universe.state().post.calls;
    world.queue();
    let wanted = u32::try_from(world.heard("teams deploys").len()).unwrap();
    assert_eq!(world.universe.state().post.calls - calls, wanted, "it was called in its pause");
    assert_eq!(world.check(), 0);
}

#[test]
fn a_receiver_that_is_down_for_a_day_is_given_up_and_the_service_says_so_once() {
    for fault in [None, Some(Fault::CrashAfter), Some(Fault::CrashBefore), Some(Fault::AnswerLost)] {
        let mut world = World::new(latency());
        let forever = names::at(90 * 3600);
        world.universe.state().post.down.push(("teams".into(), names::start(), forever, None));
        if let Some(fault) = fault {
            // Whatever goes wrong in the very last invocation, with the write of the service's history or after it.
            world.universe.state().conditions.faults = Faults::at_first("dynamodb:TransactWriteItems", fault);
        }
        world.stream();
        world.queue();
        let state = world.universe.state();
        let took = state.now.duration_since(names::start());
        assert!(took > SignedDuration::from_hours(24) && took < SignedDuration::from_hours(25), "{took:#}");
        let told: Vec<String> = state
            .rows
            .service_history(&names::service())
            .iter()
            .map(|entry| entry.event.to_string())
            .collect();
        let (receiver, id) = ("teams deploys", names::release(1));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with(&format!("{receiver} was not told of release {id}, tried since ")),
            "{told:?}"
        );
        assert!(state.post.tidings.iter().all(|it| it.receiver != receiver));
    }
}

#[test]
fn what_happens_after_a_receiver_was_given_up_is_told_again() {
    let mut world = World::new(latency());
    world.universe.state().post.down.push(("teams".into(), names::start(), names::at(30 * 3600), None));
    world.stream();
    world.queue();
    world.universe.state().advance(names::at(31 * 3600));
    {
        let mut state = world.universe.state();
        let mut more = history();
        let version = u64::try_from(more.len()).unwrap();
        more.push(Entry::new(version, names::at(31 * 3600), Actor::Tidegate, Event::Started));
        state.rows.seed_history(&names::release(1), more);
    }
    world.stream();
    world.queue();
    assert_eq!(world.heard("teams deploys"), [Mark { version: 8, index: 0 }]);
}

#[test]
fn whoever_names_nobody_is_told_as_the_installation_says_and_an_empty_list_tells_nobody() {
    for (own, expected) in [(None, vec![Moment::RollingBack]), (Some(Vec::new()), vec![])] {
        let world = World::new(latency());
        {
            let mut state = world.universe.state();
            let policy = tidegate_core::policy::Policy { notify: own, ..build::policy() };
            state.rows.seed(build::release(), ServiceRecord::new(policy, names::start()), names::start());
        }
        let caller = Caller { id: 1, name: "herald-1".into() };
        let defaults = parse_channels("[{ webhook: all, on: [rolling_back] }]").unwrap();
        let herald = world.universe.herald(caller, defaults);
        let next = world.universe.run(herald.tell(&names::release(1), world.until())).unwrap();
        let told: Vec<Moment> = world.universe.state().post.tidings.iter().map(|it| it.moment).collect();
        assert_eq!((next, told), (None, expected));
    }
}

#[test]
fn a_release_that_is_not_there_and_a_ledger_that_does_not_answer_are_different_things() {
    let mut world = World::new(latency());
    let caller = world.caller();
    let herald = world.universe.herald(caller, Vec::new());
    let nobody = world.universe.run(herald.tell(&names::release(7), world.until()));
    assert_eq!(nobody, Ok(None));
    // The stream does not wait for a ledger that does not answer: the queue has it.
    world.universe.state().conditions.denied.push(("dynamodb".into(), names::start(), names::at(120)));
    world.stream();
    assert_eq!(world.universe.state().post.queue.len(), 1);
    world.queue();
    assert_eq!(world.check(), 0);
}

#[test]
fn a_trial_tells_of_each_channel_what_came_of_it_and_tells_nobody_of_a_release() {
    let mut world = World::new(latency());
    let caller = world.caller();
    world.universe.state().post.down.push(("teams".into(), names::start(), names::at(9), None));
    let herald = world.universe.herald(caller, Vec::new());
    world.universe.run(herald.try_out(&names::service(), "7")).unwrap();
    let state = world.universe.state();
    let trial = &state.post.trials[&(names::service(), "7".to_owned())];
    let told: Vec<_> = trial
        .tried
        .iter()
        .map(|it| (it.receiver.as_str(), it.problem.as_deref(), it.remedy.as_deref()))
        .collect();
    let teams = ("teams deploys", Some("it is down"), Some("turn it on"));
    assert_eq!(told, [("slack #deploys", None, None), teams, ("webhook audit", None, None)]);
    assert_eq!(state.post.tidings, []);
}

/// The whole life of a release, with everyone down and with nobody to be told: not a second's difference.
#[test]
fn with_every_channel_down_a_release_is_not_a_second_later() {
    let everyone = r##"[{ slack: "#deploys" }, { github: acme/shop }, { teams: a }, { webhook: b }, { pagerduty: c },
        { sns: "arn:aws:sns:eu-central-1:111122223333:ops" }, { amazon_q: "arn:aws:sns:eu-central-1:111122223333:chat" },
        { event_bus: "arn:aws:events:eu-central-1:111122223333:event-bus/deploys" }]"##;
    for quality in [Quality::Good, Quality::Bad { from_percent: 10, alarm_after_secs: 20 }] {
        let run = |notify: Option<Vec<Channel>>| {
            let mut scenario = Scenario::canary(quality);
            scenario.policy.notify = notify;
            let forever = names::at(90 * 3600);
            scenario.receivers_down = vec![(String::new(), names::start(), forever, None)];
            Simulation::new(scenario).run().expect_sound()
        };
        let (alone, told) = (run(None), run(Some(parse_channels(everyone).unwrap())));
        let begun = |report: &tidegate_testkit::sim::Report| {
            report
                .performed
                .iter()
                .map(|it| (it.applied, format!("{:?}", it.effect.kind())))
                .collect::<Vec<_>>()
        };
        assert_eq!(begun(&alone), begun(&told));
        assert_eq!(alone.outcomes, told.outcomes);
        let heralds: BTreeMap<_, _> = told.ran.iter().filter(|(kind, _)| *kind == "herald").collect();
        assert!(heralds.values().any(|(times, _)| *times > 20), "the herald was not called: {heralds:?}");
    }
}
