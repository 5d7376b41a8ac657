//! Many releases and many services at once: nobody's place is held by a release that waits, few transactions are lost to each other, and the
//! clock reaches everybody. Time is the simulation's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use jiff::SignedDuration;
use tidegate_core::actor::Actor;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::effect::Effect;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{AlarmName, ReleaseId, ServiceName, Target};
use tidegate_core::observation::Hint;
use tidegate_core::outcome::Cause;
use tidegate_core::policy::parse;
use tidegate_core::ports::{Alarms, WakeUp, Waker, Watched};
use tidegate_core::release::{Phase, RollingBack, Wake};
use tidegate_core::vocab::cloudwatch::AlarmSeen;
use tidegate_core::vocab::ecs;
use tidegate_runtime::together::Together;
use tidegate_runtime::visits::{Listed, Pace, Rotation};
use tidegate_runtime::{Context, Installation};
use tidegate_testkit::build::{Fixture as Built, crowd, crowd_of};
use tidegate_testkit::fakes::{
    Aws, Balancing, Caller, Conditions, Delivery, EcsHabits, Fault, Faults, Quality, Universe,
};
use tidegate_testkit::names;
use tidegate_testkit::sim::{Delivering, Report, Scenario, Simulation};

const BAD: Quality = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };

fn ran(report: &Report, kind: &str) -> (u32, f64) {
    let (times, took) = report.ran.get(kind).copied().unwrap_or_default();
    (times, took.as_secs_f64())
}

fn told(report: &Report) -> String {
    format!(
        "{:?}, {} of {} transactions lost, {} of {} claims refused, took {:#}",
        report.ran, report.lost_commits, report.commits, report.claims.1, report.claims.0, report.took
    )
}

/// A world in which every event comes twice and calls take their time, so that functions get into each other's way.
fn busy(quality: Quality) -> Scenario {
    let mut scenario = Scenario::canary(quality);
    scenario.delivering = Delivering { doubled: 1000, ..Delivering::default() };
    scenario.conditions.latency = (5, 400);
    scenario
}

#[test]
fn a_release_that_waits_holds_nobodys_place() {
    let report = Simulation::new(Scenario::canary(Quality::Good)).run().expect_sound();
    assert_eq!(report.outcomes, ["promoted"]);
    let (times, held) = ran(&report, "conductor");
    println!("calm canary: {}", told(&report));
    // It was one second for each second of the release.
    assert!(held < 20.0, "{times} conductors ran for {held} s: {}", told(&report));
}

#[test]
fn few_transactions_lose_their_race() {
    for (name, scenario) in [
        ("calm canary", Scenario::canary(Quality::Good)),
        ("calm rollback", Scenario::canary(BAD)),
        ("busy canary", busy(Quality::Good)),
        ("busy rollback", busy(BAD)),
    ] {
        let (mut commits, mut lost, mut claims, mut refused) = (0, 0, 0, 0);
        for seed in 0..8 {
            let report = Simulation::new(Scenario { seed, ..scenario.clone() }).run().expect_sound();
            commits += report.commits;
            lost += report.lost_commits;
            claims += report.claims.0;
            refused += report.claims.1;
        }
        let told =
            format!("{name}: {lost} of {commits} transactions lost, {refused} of {claims} claims refused");
        println!("{told}");
        assert!(lost * 100 < commits * 5, "{told}");
        // A refused claim means that somebody looked in vain: where nothing comes twice it is rare, too.
        assert!(!name.starts_with("calm") || refused * 100 <= claims * 10, "{told}");
    }
}

/// A universe moved by hand, in which calls take this long and go on beside each other.
fn universe(millis: u64) -> (Universe, Installation, Arc<dyn tidegate_core::ports::Images>) {
    let own =
        serde_json::json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 });
    let aws = Aws::new(Balancing::LoadBalancer, own, EcsHabits::default(), 1);
    let conditions = Conditions { latency: (millis, millis), ..Conditions::default() };
    let universe = Universe::new(aws, conditions, 1, true);
    let context = universe.context(Caller { id: 1, name: "clock".into() }, true);
    (universe, context.installation, context.images)
}

fn name(number: usize) -> ServiceName {
    ServiceName::new(format!("service-{number:03}")).expect("a name")
}

/// The policies of so many services, and two builds they can release.
fn services(universe: &Universe, installation: &Installation, count: usize) {
    for build in 2..4 {
        let now = universe.state().now;
        universe.state().aws.push(build, Quality::Good, now);
    }
    for number in 0..count {
        let service = name(number);
        let text = format!(
            "service: {service}\nfrom: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }} }}\n\
             to: {{ ecs: {{ cluster: prod, service: {service}, container: app }} }}\n\
             strategy: {{ canary: {{ percent: 10, bake: 1m }}, bake: 1m }}\n"
        );
        let policy = parse("policy.yaml", &text).expect("a policy");
        let by = Actor::Person { name: "tester".into() };
        universe.run(installation.apply(&policy, &by)).expect("it is stored");
    }
}

fn asked(service: ServiceName, build: u32) -> ReleaseRequest {
    ReleaseRequest::by_hand(service, names::change(build), Actor::Person { name: "tester".into() })
}

fn woken(universe: &Universe) -> Vec<(i64, String)> {
    let mut state = universe.state();
    let now = state.now;
    let queue = std::mem::take(&mut state.queue);
    let woken = queue.into_iter().map(|(at, delivery)| match delivery {
        Delivery::Wake(release) => (at.duration_since(now).as_secs(), release.to_string()),
        other @ (Delivery::Alarm(..)
        | Delivery::Service(_)
        | Delivery::Task(_)
        | Delivery::Push(..)
        | Delivery::Moved(_)
        | Delivery::Round) => {
            panic!("{other:?} is no wake-up")
        }
    });
    woken.collect()
}

fn round(
    universe: &Universe,
    installation: &Installation,
    images: &dyn tidegate_core::ports::Images,
    rotation: &Rotation,
    secs: i64,
) -> (tidegate_runtime::clock::Round, f64) {
    let began = universe.state().now;
    let until = began.saturating_add(SignedDuration::from_secs(secs)).expect("within range");
    let round =
        universe.run(installation.round(images, Pace { listed: &Listed::default(), rotation, until }));
    let took = universe.state().now.duration_since(began);
    (round, took.as_secs_f64())
}

#[test]
fn the_clock_wakes_500_releases_and_looks_at_500_services_within_seconds() {
    let (universe, installation, images) = universe(20);
    services(&universe, &installation, 500);
    for number in 0..500 {
        universe.run(installation.release_image(asked(name(number), 2), |_| true)).expect("it is let in");
    }
    woken(&universe);
    let rotation = Rotation::default();
    let (round, took) = round(&universe, &installation, &*images, &rotation, 47);
    let releases: BTreeSet<String> = woken(&universe).into_iter().map(|(_, release)| release).collect();
    assert_eq!((round.woken, releases.len(), round.failed), (500, 500, Vec::new()));
    println!("500 releases and 500 services took {took} s, at 20 ms a call");
    // One after the other it would be 20 s for the messages and as much for the looks.
    assert!(took < 6.0, "{took} s");
}

/// Keeps the messages that are sent.
#[derive(Default)]
struct Kept(Mutex<Vec<WakeUp>>);

#[async_trait]
impl Waker for Kept {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError> {
        self.0.lock().expect("not poisoned").push(WakeUp::of(release.clone(), delay_secs, why));
        Ok(())
    }

    async fn wake_all(&self, wakes: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        self.0.lock().expect("not poisoned").extend(wakes.iter().cloned());
        Vec::new()
    }
}

/// Counts the calls.
struct Counted {
    inner: Arc<dyn Alarms>,
    calls: AtomicU32,
}

#[async_trait]
impl Alarms for Counted {
    async fn states(
        &self,
        target: &Target,
        names: &[AlarmName],
    ) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.states(target, names).await
    }
}

#[test]
fn releases_that_bake_are_looked_at_together_and_cloudwatch_is_asked_a_tenth_as_often() {
    // As many a second as 540 that are looked at once a minute.
    const COUNT: u32 = 180;
    let (universe, installation, _) = universe(20);
    let now = universe.state().now;
    crowd_of(&universe, COUNT, |number, release| {
        let after = SignedDuration::from_millis(i64::from(number) * 20_000 / i64::from(COUNT));
        release.wake = Some(Wake::new(now.saturating_add(after).expect("a time")));
    });
    universe.state().aws.set_alarm(false, now);
    let kept = Arc::new(Kept::default());
    let clock = Installation { waker: Some(kept.clone()), ..installation.clone() };
    assert_eq!(universe.run(clock.wake_due()).done, COUNT);
    universe.run(installation.time.sleep(SignedDuration::from_secs(23)));
    let context = universe.context(Caller { id: 2, name: "conductor".into() }, false);
    let counted = Arc::new(Counted { inner: context.alarms.clone(), calls: AtomicU32::new(0) });
    let messages = kept.0.lock().expect("not poisoned").clone();
    let mut driven = 0;
    for message in &messages {
        // Each message has an invocation of its own.
        let context = Context { alarms: Arc::new(Together::new(counted.clone())), ..context.clone() };
        let until = universe.state().now.saturating_add(SignedDuration::from_secs(57)).expect("a time");
        let drives = message.releases().map(|release| context.woken(release, until));
        for one in universe.run(futures::future::join_all(drives)) {
            driven += one.expect("driven").turns;
        }
    }
    let calls = counted.calls.load(Ordering::Relaxed);
    println!(
        "{COUNT} baking releases: {} messages, {driven} turns, {calls} calls of DescribeAlarms",
        messages.len()
    );
    assert!(driven >= COUNT, "{driven} turns");
    assert!(messages.len() <= 10 && calls <= 20, "{} messages, {calls} calls", messages.len());
}

#[test]
fn an_alarm_of_100_releases_turns_all_of_them_back_in_few_rounds_and_with_bounded_calls() {
    const MILLIS: u64 = 20;
    let mut rounds = Vec::new();
    for count in [1_u32, 100] {
        let (universe, _, _) = universe(MILLIS);
        crowd(&universe, count);
        let context = universe.context(Caller { id: 2, name: "sentinel".into() }, true);
        let began = universe.state().now;
        let watched = Watched::Alarm(names::account(), names::region(), names::alarm());
        let seen = Built::baking(10).breached().seen.alarms.known().expect("seen")[&names::alarm()].clone();
        let hint = Hint::Alarm { name: names::alarm(), seen };
        // Long enough to decide, too short to stay with them.
        let until = began.saturating_add(SignedDuration::from_secs(5)).expect("a time");
        universe.state().under_way.1 = 0;
        let driven = universe.run(context.noticed(&watched, hint, until)).expect("all are driven");
        let state = universe.state();
        let told = state.rows.releases().map(|release| release.summary()).collect::<BTreeSet<_>>();
        assert!(
            state.rows.releases().all(|release| matches!(release.phase, Phase::RollingBack(_))),
            "{told:?}"
        );
        let stops: Vec<_> =
            state.performed.iter().map(|done| done.applied.duration_since(began).as_millis()).collect();
        let last = state
            .performed
            .iter()
            .filter(|done| matches!(done.effect, Effect::Ecs(ecs::Effect::StopDeployment { .. })))
            .map(|done| done.applied)
            .max();
        let took = last.expect("stopped").duration_since(began);
        println!(
            "{count} releases of one alarm: {driven} turns, {} calls, at most {} at once, the last one stopped after {took:#} at {MILLIS} ms a call",
            state.calls, state.under_way.1
        );
        assert!(stops.len() >= usize::try_from(count).expect("few"));
        assert!(state.under_way.1 <= 300, "{} calls at once", state.under_way.1);
        rounds.push(took.as_millis() / i128::from(MILLIS));
    }
    // Whom it concerns; the release, its service and the alarm at once; the commit; and the stop is on its way in the fourth.
    assert!(rounds[0] < 4, "{rounds:?} rounds");
    assert!(rounds[1] <= 20, "{rounds:?} rounds");
}

/// An event says that the alarm is red since then, and CloudWatch says whether it is.
fn after_an_event(since: i64, is_red: bool, is_muted: bool) -> Phase {
    let (universe, _, _) = universe(20);
    crowd(&universe, 1);
    let built = Built::baking(10).breached();
    let ago = built.now.saturating_add(SignedDuration::from_secs(since)).expect("a time");
    universe.state().aws.set_alarm(is_red, ago);
    universe.state().aws.mute_alarm(is_muted, ago);
    let mut seen = built.seen.alarms.known().expect("seen")[&names::alarm()].clone();
    seen.since = Some(ago);
    let context = universe.context(Caller { id: 2, name: "sentinel".into() }, true);
    let until = universe.state().now.saturating_add(SignedDuration::from_millis(150)).expect("a time");
    let watched = Watched::Alarm(names::account(), names::region(), names::alarm());
    let hint = Hint::Alarm { name: names::alarm(), seen };
    universe.run(context.noticed(&watched, hint, until)).expect("driven");
    let state = universe.state();
    state.rows.releases().next().expect("a release").phase.clone()
}

#[test]
fn an_event_of_an_alarm_is_confirmed_before_anything_is_stopped_for_it() {
    assert!(matches!(after_an_event(0, true, false), Phase::RollingBack(_)));
    // It was red before there was a candidate, and is not any more, or nobody is to act on it.
    for (since, is_red, is_muted) in [(-3600, false, false), (-3600, true, true)] {
        let phase = after_an_event(since, is_red, is_muted);
        assert!(
            !matches!(phase, Phase::RollingBack(RollingBack { cause: Cause::Alarm { .. }, .. })),
            "{phase:?}"
        );
    }
}

#[test]
fn ten_thousand_releases_that_are_due_are_woken_within_a_fifth_of_the_functions_time() {
    let (universe, installation, _) = universe(20);
    crowd(&universe, 10_000);
    let due = universe.state().rows.releases().filter(|release| release.wake.is_some()).count();
    universe.run(installation.time.sleep(SignedDuration::from_secs(60)));
    universe.state().under_way.1 = 0;
    let began = universe.state().now;
    let calls = universe.state().calls;
    let woken = universe.run(installation.wake_due());
    let state = universe.state();
    let took = state.now.duration_since(began);
    let (calls, most) = (state.calls - calls, state.under_way.1);
    println!("{due} due: {calls} calls, at most {most} at once, {took:#} at 20 ms a call");
    assert_eq!((usize::try_from(woken.done), woken.failed), (Ok(due), Vec::new()));
    // One query, and ten messages a request.
    assert_eq!((due, calls), (10_000, 1_001));
    assert!(most <= 25);
    assert!(took <= SignedDuration::from_secs(10), "{took:#}");
}

#[test]
fn when_the_time_is_up_the_next_round_begins_where_the_last_one_stopped() {
    let (universe, installation, images) = universe(10);
    services(&universe, &installation, 60);
    // A push whose event was lost, for all of them: who is looked at gets a release.
    universe.run(installation.time.sleep(SignedDuration::from_secs(1)));
    let now = universe.state().now;
    universe.state().aws.push(5, Quality::Good, now);
    universe.run(installation.time.sleep(SignedDuration::from_secs(200)));
    universe.state().conditions.latency = (2_000, 2_000);
    let rotation = Rotation::default();
    let reached = |universe: &Universe| -> BTreeSet<String> {
        universe.state().rows.releases().map(|release| release.service.to_string()).collect()
    };
    let mut before = reached(&universe);
    for turn in 1..=10 {
        let (round, took) = round(&universe, &installation, &*images, &rotation, 30);
        assert!(took < 45.0, "the function's time is 50 s, and it took {took} s");
        let now = reached(&universe);
        assert!(
            now.is_superset(&before) && now.len() > before.len(),
            "round {turn} got no further: {round:?}"
        );
        if now.len() == 60 {
            assert!(turn > 1, "everybody was reached at once: this tries nothing");
            return;
        }
        assert!(round.failed.iter().any(|told| told.contains("were not reached in time")), "{round:?}");
        before = now;
    }
    panic!("after ten rounds only {} of 60 services were reached", before.len());
}

#[test]
fn wake_ups_are_sent_while_the_looks_take_all_the_time() {
    let (universe, installation, images) = universe(10);
    services(&universe, &installation, 40);
    universe.run(installation.release_image(asked(name(39), 2), |_| true)).expect("it is let in");
    woken(&universe);
    universe.state().conditions.latency = (3_000, 3_000);
    let (round, _) = round(&universe, &installation, &*images, &Rotation::default(), 20);
    assert_eq!(round.woken, 1);
    assert!(round.failed.iter().any(|told| told.contains("were not reached in time")), "{round:?}");
}

#[test]
fn a_release_of_which_something_is_expected_is_woken_again_and_again_and_another_once() {
    let (universe, installation, _) = universe(10);
    services(&universe, &installation, 1);
    universe.run(installation.release_image(asked(name(0), 2), |_| true)).expect("it is let in");
    let first = universe.state().rows.releases().next().map(|release| release.id.clone()).expect("one");
    let context = universe.context(Caller { id: 2, name: "conductor".into() }, false);
    let deadline = |universe: &Universe| {
        universe.state().now.saturating_add(SignedDuration::from_secs(57)).expect("a time")
    };
    universe.run(context.woken(&first, deadline(&universe))).expect("driven");
    universe.run(installation.release_image(asked(name(0), 3), |_| true)).expect("it is let in");
    let ids: Vec<String> = universe.state().rows.releases().map(|release| release.id.to_string()).collect();
    // The second one waits for the first, and is looked at every five minutes.
    let second = universe.state().rows.releases().last().map(|release| release.id.clone()).expect("two");
    universe.run(context.woken(&second, deadline(&universe))).expect("driven");
    woken(&universe);
    universe.run(installation.time.sleep(SignedDuration::from_secs(20)));
    let until = deadline(&universe);
    let looked = universe.run(installation.wake_until(until));
    assert_eq!((looked.done, looked.failed), (1, Vec::new()));
    let sent = woken(&universe);
    let of = |id: &str| {
        sent.iter().filter(|(_, release)| release == id).map(|(secs, _)| *secs).collect::<Vec<_>>()
    };
    assert_eq!(of(&ids[0]).len(), 4, "{sent:?}");
    assert!(of(&ids[0]).windows(2).all(|pair| (15..=20).contains(&(pair[1] - pair[0]))), "{sent:?}");
    assert!(of(&ids[1]).is_empty(), "{sent:?}");
}

#[test]
fn the_clock_stays_only_while_something_is_expected() {
    let (universe, installation, _) = universe(10);
    services(&universe, &installation, 1);
    let stays = |universe: &Universe| {
        let began = universe.state().now;
        let until = began.saturating_add(SignedDuration::from_secs(57)).expect("a time");
        let calls = universe.state().calls;
        universe.run(installation.wake_until(until));
        let state = universe.state();
        (state.now.duration_since(began), state.calls - calls)
    };
    // Nothing is released: one query, and it leaves.
    assert_eq!(stays(&universe), (SignedDuration::from_millis(10), 1));
    let context = universe.context(Caller { id: 2, name: "conductor".into() }, false);
    let drive = |build| {
        universe.run(installation.release_image(asked(name(0), build), |_| true)).expect("it is let in");
        let id = universe.state().rows.releases().last().map(|release| release.id.clone()).expect("one");
        let now = universe.state().now;
        let until = now.saturating_add(SignedDuration::from_secs(57)).expect("a time");
        universe.run(context.woken(&id, until)).expect("driven");
        let wake = universe.state().rows.release(&id).and_then(|release| release.wake.clone());
        wake.expect("open").soon
    };
    // One that starts is looked after; one that waits for its turn is looked at in its time.
    assert_eq!((drive(2), drive(3)), (true, false));
    let (took, _) = stays(&universe);
    assert!(took > SignedDuration::from_secs(50) && took < SignedDuration::from_secs(58), "{took:#}");
}

#[test]
fn who_comes_too_early_or_to_a_release_that_is_driven_leaves_after_one_read() {
    let (universe, installation, _) = universe(10);
    services(&universe, &installation, 1);
    universe.run(installation.release_image(asked(name(0), 2), |_| true)).expect("it is let in");
    let id = universe.state().rows.releases().next().map(|release| release.id.clone()).expect("one");
    let context = universe.context(Caller { id: 2, name: "conductor".into() }, false);
    let until = || universe.state().now.saturating_add(SignedDuration::from_secs(57)).expect("a time");
    // As soon as it is created it is due.
    let driven = universe.run(context.woken(&id, until())).expect("driven");
    assert!(driven.turns > 0);
    let calls = universe.state().calls;
    let early = universe.run(context.woken(&id, until())).expect("left alone");
    assert_eq!((early.turns, universe.state().calls - calls), (0, 1));
    assert_eq!(early.wake_at, driven.wake_at);
    // What an event says is looked at all the same.
    let calls = universe.state().calls;
    let hint = tidegate_core::observation::Hint::Look;
    universe.run(context.drive(&id, &[hint], until())).expect("driven");
    assert!(universe.state().calls - calls > 3);
}

/// Whoever claims a version and dies holds nobody up for longer than a moment, on the way forward or back.
#[test]
fn a_claim_of_somebody_who_died_is_passed_by() {
    for (quality, outcome) in [(Quality::Good, "promoted"), (BAD, "rolled back")] {
        for fault in [Fault::CrashAfter, Fault::AnswerLost, Fault::Unavailable, Fault::Denied] {
            let mut scenario = Scenario::canary(quality);
            scenario.conditions.faults = Faults::at_first("dynamodb:PutItem claim", fault);
            let report = Simulation::new(scenario).run().expect_sound();
            assert_eq!(report.outcomes, [outcome], "{fault:?}");
        }
    }
    // Every version is claimed already, by nobody who is there.
    let (universe, installation, _) = universe(10);
    services(&universe, &installation, 1);
    universe.run(installation.release_image(asked(name(0), 2), |_| true)).expect("it is let in");
    let id = universe.state().rows.releases().next().map(|release| release.id.clone()).expect("one");
    assert!(universe.run(installation.ledger.claim(&id, 1_000)).expect("claimed"));
    let context = universe.context(Caller { id: 2, name: "conductor".into() }, false);
    let began = universe.state().now;
    let until = began.saturating_add(SignedDuration::from_secs(57)).expect("a time");
    let driven = universe.run(context.woken(&id, until)).expect("driven");
    assert!(driven.turns > 1, "{driven:?}");
    let took = universe.state().now.duration_since(began).as_secs_f64();
    assert!(took < 1.0 * f64::from(driven.turns), "{} turns took {took} s", driven.turns);
}

#[test]
fn the_clock_adds_no_messages_for_a_release_that_somebody_stays_with_and_takes_it_over_when_they_die() {
    // Whoever rolls the release back dies right after it was written.
    let mut scenario = Scenario::canary(BAD);
    scenario.conditions.faults = Faults::at_first("rolling back", Fault::CrashAfter);
    let report = Simulation::new(scenario).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);

    let (universe, installation, images) = universe(10);
    services(&universe, &installation, 1);
    universe.run(installation.release_image(asked(name(0), 2), |_| true)).expect("it is let in");
    let id = universe.state().rows.releases().next().map(|release| release.id.clone()).expect("one");
    let context = universe.context(Caller { id: 2, name: "sentinel".into() }, true);
    let until = |secs| universe.state().now.saturating_add(SignedDuration::from_secs(secs)).expect("a time");
    for _ in 0..20 {
        if universe.state().aws.state().under_way.is_some() {
            break;
        }
        universe.run(context.drive(&id, &[], until(57))).expect("driven");
        universe.run(installation.time.sleep(SignedDuration::from_secs(15)));
    }
    let summary = universe.state().rows.release(&id).map(|release| release.summary()).unwrap_or_default();
    assert!(universe.state().aws.state().under_way.is_some(), "{summary}");
    let by = Actor::Person { name: "tester".into() };
    universe
        .run(installation.ask(&id, tidegate_core::requests::Ask::Rollback, &by, "it looks wrong"))
        .expect("asked");
    woken(&universe);
    // The driver stays; it is stopped in the middle of its wait.
    let stays = until(30);
    let mut driving = std::pin::pin!(context.drive(&id, &[], stays));
    let mut polls = 0;
    let held = loop {
        polls += 1;
        assert!(polls < 10_000, "nobody stays with it");
        let polled = std::future::Future::poll(
            driving.as_mut(),
            &mut std::task::Context::from_waker(std::task::Waker::noop()),
        );
        assert!(polled.is_pending(), "it was over before anybody stayed with it");
        let wake = universe.state().rows.release(&id).and_then(|release| release.wake.clone()).expect("open");
        if let Some(held) = wake.held_until {
            break held;
        }
        let mut state = universe.state();
        let next = state.next_timer().expect("it waits");
        state.advance(next);
        state.take_due();
    };
    assert_eq!(held, stays);
    let back = |universe: &Universe| {
        matches!(
            universe.state().rows.release(&id).map(|release| release.phase.clone()),
            Some(Phase::RollingBack(_))
        )
    };
    assert!(back(&universe));
    let (_, _) = round(&universe, &installation, &*images, &Rotation::default(), 47);
    let sent = woken(&universe);
    // Not before the one who stays has to leave.
    let leaves = stays.duration_since(universe.state().now).as_secs();
    assert!(!sent.is_empty() && sent.iter().all(|(secs, _)| *secs >= leaves), "{leaves}: {sent:?}");
    // A message that comes all the same is answered at once; when the time is up, the next one goes on.
    let conductor = universe.context(Caller { id: 3, name: "conductor".into() }, false);
    assert_eq!(universe.run(conductor.woken(&id, until(57))).expect("left alone").turns, 0);
    let rest = stays.duration_since(universe.state().now);
    universe.run(installation.time.sleep(rest + SignedDuration::from_secs(1)));
    assert!(universe.run(conductor.woken(&id, until(57))).expect("driven").turns > 0);
}
