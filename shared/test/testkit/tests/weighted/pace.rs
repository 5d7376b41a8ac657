//! How long a release takes beside its bakes: the real loop, clock and queue in virtual time, over the same small world, whose reads lag.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::effect::Effect;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{AlarmName, Target};
use tidegate_core::observation::Observation;
use tidegate_core::outcome::Outcome;
use tidegate_core::ports::{Alarms, AutoScaling, Ecs, Elb, Metrics};
use tidegate_core::vocab::cloudwatch::{AlarmSeen, MetricsAsked, MetricsSeen};
use tidegate_core::vocab::{autoscaling, ecs, elb};
use tidegate_runtime::Context;
use tidegate_runtime::time::Time;
use tidegate_testkit::build::Fixture;
use tidegate_testkit::fakes::{Aws, Balancing, Caller, Conditions, Delivery, EcsHabits, Quality, Universe};
use tidegate_testkit::names;

use super::World;

/// How long reads show what was before.
const LAGS: SignedDuration = SignedDuration::from_millis(1_500);
/// How long a call takes, milliseconds.
const CALL_MILLIS: u64 = 20;
/// Of the sentinel, the conductor and the clock, less what they keep for answering.
const INVOCATION: SignedDuration = SignedDuration::from_secs(57);
/// How long a message is on its way.
const DELIVERY: SignedDuration = SignedDuration::from_millis(200);
/// How often it is looked whether anybody sent a message.
const TICK: SignedDuration = SignedDuration::from_millis(250);
/// All bakes of the policy, and the time in which the candidate's requests end.
const BAKES: SignedDuration = SignedDuration::from_mins(8);
const DRAINS: SignedDuration = SignedDuration::from_secs(120);

fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.saturating_add(duration).expect("within range")
}

/// The world behind the ports.
struct Place {
    time: Arc<dyn Time>,
    base: Observation,
    /// What it was, since when.
    past: Mutex<Vec<(Timestamp, World)>>,
}

impl Place {
    fn past(&self) -> MutexGuard<'_, Vec<(Timestamp, World)>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn calls(&self) {
        self.time.sleep(SignedDuration::from_millis(i64::try_from(CALL_MILLIS).expect("few"))).await;
    }

    async fn look(&self) -> Observation {
        self.calls().await;
        let now = self.time.now().saturating_sub(LAGS).expect("within range");
        let past = self.past();
        let (_, world) = past.iter().rev().find(|(since, _)| *since <= now).unwrap_or(&past[0]);
        World { now, ..world.clone() }.look(&self.base, &Fixture::queued().release)
    }

    async fn perform(&self, effect: impl Into<Effect>) -> Result<(), PortError> {
        self.calls().await;
        let now = self.time.now();
        let mut past = self.past();
        let mut world = World { now, ..past.last().expect("it began").1.clone() };
        world.perform(&effect.into());
        past.push((now, world));
        Ok(())
    }
}

#[async_trait]
impl Ecs for Place {
    async fn observe(&self, _: &Target, _: &ecs::Needs) -> ecs::Observation {
        self.look().await.ecs
    }

    async fn perform(&self, _: &Target, effect: &ecs::Effect) -> Result<(), PortError> {
        Self::perform(self, effect.clone()).await
    }
}

#[async_trait]
impl Elb for Place {
    async fn observe(&self, _: &Target, _: &elb::Needs) -> elb::Observation {
        self.look().await.elb
    }

    async fn perform(&self, _: &Target, effect: &elb::Effect) -> Result<(), PortError> {
        Self::perform(self, effect.clone()).await
    }
}

#[async_trait]
impl AutoScaling for Place {
    async fn observe(&self, _: &Target, _: &autoscaling::Needs) -> autoscaling::Observation {
        self.look().await.autoscaling
    }

    async fn perform(&self, _: &Target, effect: &autoscaling::Effect) -> Result<(), PortError> {
        Self::perform(self, *effect).await
    }
}

#[async_trait]
impl Alarms for Place {
    async fn states(&self, _: &Target, _: &[AlarmName]) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        Ok(self.look().await.alarms.known().cloned().unwrap_or_default())
    }
}

#[async_trait]
impl Metrics for Place {
    async fn observe(
        &self,
        _: &Target,
        asked: &MetricsAsked,
        until: Timestamp,
    ) -> Result<MetricsSeen, PortError> {
        self.calls().await;
        // Requests every second, and no errors.
        let seconds = asked.from.as_second()..until.as_second();
        let points =
            || seconds.clone().filter_map(|at| Some((Timestamp::from_second(at).ok()?, 100.0))).collect();
        let requests = asked.series.iter().filter(|series| series.metric == "RequestCount");
        Ok(requests.map(|series| (series.clone(), points())).collect())
    }
}

struct Played {
    universe: Universe,
    place: Arc<Place>,
    invocations: u64,
}

/// What was used up.
struct Report {
    outcome: Outcome,
    took: SignedDuration,
    conductor: SignedDuration,
    clock: SignedDuration,
    messages: u32,
    commits: u64,
}

type Invocation = Pin<Box<dyn Future<Output = (&'static str, SignedDuration)>>>;

impl Played {
    fn new() -> Self {
        let fixture = Fixture::queued_with(super::policy_of(&World::new()));
        let own = fixture.seen.ecs.service.known().and_then(Option::as_ref).expect("a service");
        let own = own.deployment_configuration.clone();
        let aws = Aws::new(Balancing::LoadBalancer, own, EcsHabits::default(), 1);
        let conditions = Conditions { latency: (CALL_MILLIS, CALL_MILLIS), ..Conditions::default() };
        let universe = Universe::new(aws, conditions, 1, true);
        let time = universe.context(Caller { id: 4, name: "world".into() }, false).installation.time;
        let past = Mutex::new(vec![(names::at(-3600), World::new())]);
        let place = Arc::new(Place { time, base: fixture.seen, past });
        let played = Self { universe, place, invocations: 0 };
        let installation = played.context("intake", 4, true).installation;
        let by = Actor::Person { name: "tester".into() };
        let policy = super::policy_of(&World::new());
        played.universe.run(installation.apply(&policy, &by)).expect("it is stored");
        played.universe.state().aws.push(2, Quality::Good, names::start());
        let request = ReleaseRequest::by_hand(policy.service.clone(), names::change(2), by);
        played.universe.run(installation.release_image(request, |_| true)).expect("it is let in");
        played
    }

    fn context(&self, name: &str, id: u64, with_waker: bool) -> Context {
        let place = self.place.clone();
        Context {
            ecs: place.clone(),
            elb: place.clone(),
            autoscaling: place.clone(),
            alarms: place.clone(),
            metrics: place,
            ..self.universe.context(Caller { id, name: name.into() }, with_waker)
        }
    }

    /// The fourth of nine clocks is right.
    fn number(&mut self) -> u64 {
        self.invocations += 1;
        self.invocations * 9 + 4
    }

    fn invoke(&mut self, delivery: Option<Delivery>) -> Invocation {
        let now = self.universe.state().now;
        let until = after(now, INVOCATION);
        let number = self.number();
        let state = self.universe.clone();
        match delivery {
            None => {
                let installation = self.context("clock", number, true).installation;
                Box::pin(async move {
                    let woken = installation.wake_until(until).await;
                    assert!(woken.failed.is_empty(), "{:?}", woken.failed);
                    ("clock", state.state().now.duration_since(now))
                })
            }
            Some(Delivery::Wake(release)) => {
                let context = self.context("conductor", number, false);
                Box::pin(async move {
                    context.woken(&release, until).await.expect("it is driven");
                    ("conductor", state.state().now.duration_since(now))
                })
            }
            Some(other) => panic!("{other:?} is no wake-up"),
        }
    }

    /// From the push to the end, with a clock that comes so many seconds after the push, and then every minute.
    fn play(mut self, first_round_secs: i64) -> Report {
        let universe = self.universe.clone();
        universe.run(async move {
            let time = self.place.time.clone();
            let began = time.now();
            let mut round = after(began, SignedDuration::from_secs(first_round_secs));
            let (mut queue, mut running) = (Vec::new(), FuturesUnordered::<Invocation>::new());
            let mut spent: BTreeMap<&str, SignedDuration> = BTreeMap::new();
            let mut messages = 0;
            loop {
                let now = time.now();
                let sent = std::mem::take(&mut self.universe.state().queue);
                messages += u32::try_from(sent.len()).expect("few");
                queue.extend(sent.into_iter().map(|(at, delivery)| (after(at, DELIVERY), delivery)));
                if round <= now {
                    round = after(round, SignedDuration::from_secs(60));
                    running.push(self.invoke(None));
                }
                let (due, later): (Vec<_>, Vec<_>) = queue.into_iter().partition(|(at, _)| *at <= now);
                queue = later;
                for (_, delivery) in due {
                    running.push(self.invoke(Some(delivery)));
                }
                let ended = self.universe.state().rows.releases().next().and_then(|it| it.outcome().cloned());
                if let Some(outcome) = ended {
                    let of = |kind| spent.get(kind).copied().unwrap_or_default();
                    let (conductor, clock) = (of("conductor"), of("clock"));
                    let (took, commits) = (now.duration_since(began), self.universe.state().commits);
                    return Report { outcome, took, conductor, clock, messages, commits };
                }
                assert!(now.duration_since(began) < super::LONGEST, "it does not end");
                let tick = time.sleep(TICK);
                if running.is_empty() {
                    tick.await;
                } else if let Either::Left((Some((kind, took)), _)) = select(running.next(), tick).await {
                    *spent.entry(kind).or_default() += took;
                }
            }
        })
    }
}

#[test]
fn a_release_of_four_steps_takes_little_longer_than_its_bakes_whenever_the_clock_comes() {
    for first_round in [5, 20, 35, 50] {
        let report = Played::new().play(first_round);
        assert_eq!(report.outcome, Outcome::Promoted);
        let beside = report.took - BAKES - DRAINS;
        println!(
            "clock {first_round} s after the push: {:#}, {:#} beside bakes and drain; conductor {:#}, clock {:#}, {} messages, {} commits",
            report.took, beside, report.conductor, report.clock, report.messages, report.commits
        );
        // Three fleets have to start, each 20 s, the service itself is rolled, the weights at home are looked at for 20 s, and calls in flight
        // are waited out for 15 s. It was 291 to 336 s, as long as whoever is woken waited for the clock's next round.
        assert!(beside < SignedDuration::from_secs(200), "{beside:#}");
        // Nobody's place is held, and the clock leaves while it bakes.
        assert!(report.conductor < SignedDuration::from_secs(15), "{:#}", report.conductor);
        assert!(report.clock < report.took - BAKES / 2, "{:#}", report.clock);
    }
}
