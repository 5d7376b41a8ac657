//! A drill brings what runs already, goes as far as the first step, and comes back; it proves nothing against the image and promotes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use tidegate_core::actor::Actor;
use tidegate_core::admission::Current;
use tidegate_core::drill::{self, Ask, NoDrill};
use tidegate_core::figures::{Figures, Period};
use tidegate_core::intent::Intent;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::{self, Policy};
use tidegate_core::release::{Phase, Release};
use tidegate_core::seen::Seen;
use tidegate_core::service::{Promoted, ServiceRecord};
use tidegate_core::vocab::ecr::ImageSeen;
use tidegate_core::vocab::ecs::DeploymentStatus;
use tidegate_testkit::build::Fixture;
use tidegate_testkit::names;

fn policy_with(more: &str) -> Policy {
    let text = format!(
        "service: checkout\n\
         from: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }} }}\n\
         to: {{ ecs: {{ cluster: prod, service: checkout, container: app }} }}\n\
         strategy: {{ canary: {{ percent: 10, bake: 5m }}, bake: 15m }}\n{more}"
    );
    policy::parse("fixture.yaml", &text).unwrap()
}

const ALWAYS: &str = "drill: { time_zone: UTC, weekly: [{ from: Mon 00:00, to: Mon 00:00 }] }\n";

/// A service that runs build 1, promoted by release 9.
fn head(policy: Policy) -> ServiceRecord {
    let promoted = Promoted {
        release: names::release(9),
        change: names::change(1),
        deployed: names::deployed(1),
        at: names::start(),
    };
    ServiceRecord { promoted: vec![promoted], ..ServiceRecord::new(policy, names::start()) }
}

fn refused(head: &ServiceRecord) -> NoDrill {
    drill::change(Current { head, active: None, waiting: None }, names::start()).unwrap_err()
}

#[test]
fn a_drill_is_held_only_where_and_when_the_policy_allows_it() {
    assert_eq!(refused(&head(policy_with(""))), NoDrill::NotAllowed);
    let now = names::start().to_zoned(jiff::tz::TimeZone::UTC);
    let yesterday = now.checked_sub(jiff::Span::new().days(1)).unwrap().strftime("%a").to_string();
    let other_day = format!(
        "drill: {{ time_zone: UTC, weekly: [{{ from: {yesterday} 00:00, to: {yesterday} 23:00 }}] }}\n"
    );
    let told = refused(&head(policy_with(&other_day)));
    assert!(
        matches!(told, NoDrill::NotNow { .. }) && told.to_string().contains(&format!("{yesterday} 00:00")),
        "{told}"
    );
    let frozen = format!(
        "{ALWAYS}freeze: {{ time_zone: UTC, weekly: [{{ from: Mon 00:00, to: Mon 00:00, why: audit }}] }}\n"
    );
    let told = refused(&head(policy_with(&frozen)));
    assert!(matches!(told, NoDrill::Frozen { .. }) && told.to_string().contains("audit"), "{told}");
    let error =
        policy::parse("fixture.yaml", &policy_text("drill: { time_zone: UTC, weekly: [] }\n")).unwrap_err();
    assert!(error.to_string().contains("at least one is needed"), "{error}");
}

fn policy_text(more: &str) -> String {
    format!(
        "service: checkout\nfrom: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }} }}\n\
         to: {{ ecs: {{ cluster: prod, service: checkout, container: app }} }}\nstrategy: {{ blue_green: {{}}, bake: 15m }}\n{more}"
    )
}

#[test]
fn nothing_else_may_be_under_way_and_something_must_have_been_promoted() {
    let allowed = || head(policy_with(ALWAYS));
    let busy = ServiceRecord { active: Some(names::release(3)), ..allowed() };
    assert_eq!(refused(&busy), NoDrill::UnderWay { release: names::release(3) });
    let waiting = ServiceRecord { waiting: Some(names::release(4)), ..allowed() };
    assert_eq!(refused(&waiting), NoDrill::UnderWay { release: names::release(4) });
    assert_eq!(refused(&ServiceRecord { promoted: Vec::new(), ..allowed() }), NoDrill::NothingPromoted);
    let mut elsewhere = allowed();
    elsewhere.policy = policy_with(ALWAYS);
    let other = elsewhere.policy.to.containers().clone();
    assert!(!other.is_empty());
    let mut promoted = elsewhere.promoted[0].clone();
    let mut image = names::image(1);
    image.repository = "shop/other".parse().unwrap();
    promoted.change = tidegate_core::change::Change::one(names::container(), image);
    elsewhere.promoted = vec![promoted];
    assert_eq!(refused(&elsewhere), NoDrill::OtherSource);
}

#[test]
fn what_runs_is_what_is_released_and_it_waits_like_every_other_release() {
    let head = head(policy_with(ALWAYS));
    let by = Actor::Person { name: "ana".into() };
    let service = names::service();
    let ask = Ask {
        service: &service,
        target: Fixture::queued().release.target,
        by: &by,
        why: "game day",
        id: names::release(10),
        now: names::start(),
    };
    let commit = drill::commit(Current { head: &head, active: None, waiting: None }, ask).unwrap();
    let release = &commit.releases[0].release;
    assert!(
        release.intent == Intent::Drill
            && release.change == names::change(1)
            && release.phase == Phase::Queued
    );
    let write = commit.head.unwrap();
    assert_eq!((write.expected, write.head.waiting), (Some(head.version), Some(names::release(10))));
    assert_eq!(write.head.promoted, head.promoted);
}

fn drilled(mut fixture: Fixture) -> Fixture {
    fixture.release.intent = Intent::Drill;
    fixture
}

#[test]
fn a_drill_comes_back_at_the_end_of_its_first_bake_and_never_goes_further() {
    let baking = drilled(Fixture::baking(10));
    let still = baking.clone().later(60).decided();
    assert!(matches!(still.release.phase, Phase::Running { .. }), "the bake has its time");
    let back = baking.later(301).decided();
    let cause = back.release.phase.rolling_back().map(|back| &back.cause);
    assert_eq!(cause, Some(&Cause::Drill));
    assert_eq!(back.release.course.rollback.unwrap().at, back.now);
    // The same release that is none goes on.
    let on = Fixture::baking(10).later(301).decided();
    assert!(matches!(on.release.phase, Phase::Running { .. }));
}

#[test]
fn what_breaks_a_release_breaks_a_drill_and_is_told_as_such() {
    let back = drilled(Fixture::baking(10)).breached().decided();
    let cause = back.release.phase.rolling_back().map(|back| back.cause.clone());
    assert!(matches!(cause, Some(Cause::Alarm { .. })), "{cause:?}");
    // Without the evidence of the alarms the first bake does not end, a drill's neither.
    let held = drilled(Fixture::baking(10)).later(301).blind_to_alarms().decided();
    assert!(matches!(held.release.phase, Phase::Running { .. }));
}

#[test]
fn where_nothing_bakes_on_the_way_it_ends_before_the_stable_version_would() {
    let promoting = drilled(Fixture::promoting());
    let plan = promoting.release.plan.clone().unwrap();
    let last = plan.stages.iter().rposition(|stage| matches!(stage, Stage::Bake { .. })).unwrap();
    let mut at_the_end = drilled(Fixture::baking(100));
    at_the_end.release.phase =
        Phase::Running { stage: last, since: at_the_end.now, step: tidegate_core::release::Step::Entered };
    let back = at_the_end.later(901).decided();
    assert_eq!(back.release.phase.rolling_back().map(|back| &back.cause), Some(&Cause::Drill));
}

#[test]
fn no_outcome_of_a_drill_quarantines_what_runs() {
    // In time it ends as rolled back; after too long a person has to see to it.
    for (secs, restored, word) in [(60, true, "rolled back"), (24 * 3600, false, "failed")] {
        for cause in [Cause::Drill, tidegate_testkit::build::alarm_cause()] {
            let mut fixture = drilled(Fixture::rolling_back());
            let outcome = Outcome::RolledBack { cause };
            fixture.release.phase =
                Phase::Settling { outcome, since: names::start(), restored_at: Some(names::start()) };
            let fixture =
                fixture.later(secs).returned(1).status(DeploymentStatus::RollbackSuccessful).weight(0);
            let decision = if restored { fixture.own_configuration() } else { fixture }.decide();
            let ended = decision.release.outcome().map(Outcome::word);
            assert_eq!(ended, Some(word), "{:?}", decision.release.report);
            let head = decision.head.unwrap();
            assert!(head.quarantine.is_empty(), "{word}: {:?}", head.quarantine);
        }
    }
}

#[test]
fn a_drill_counts_in_the_time_to_restore_and_is_no_change() {
    let mut release: Release = drilled(Fixture::rolling_back()).release;
    let at = names::start();
    release.course.rollback = Some(tidegate_core::course::RollbackBegan { breach_at: at, at });
    let restored = at.saturating_add(jiff::SignedDuration::from_secs(4)).unwrap();
    release.progress.asked_at = Some(at);
    let outcome = Outcome::RolledBack { cause: tidegate_testkit::build::alarm_cause() };
    release.phase = Phase::Ended { outcome, at: restored, restored_at: Some(restored) };
    let until = at.saturating_add(jiff::SignedDuration::from_hours(1)).unwrap();
    let figures = Figures::of([&release], Period { since: at, until });
    assert_eq!(figures.failures.deployed, 0);
    assert_eq!(figures.restore.unwrap().worst_secs, 4);
}

/// The ledger says that build 1 runs. What runs is looked at, and again directly before the start.
#[test]
fn what_does_not_run_is_never_drilled_whatever_was_promoted_last() {
    let drilled = |build: u32| {
        let mut fixture = drilled(Fixture::queued());
        fixture.release.change = names::change(build);
        fixture.seen.new_images = Seen::Known(BTreeMap::from([(
            names::digest(build),
            Some(ImageSeen::there(names::digest(build))),
        )]));
        fixture.decided()
    };
    let passed = drilled(1).decided();
    assert!(matches!(passed.release.phase, Phase::Running { .. }), "{:?}", passed.release.phase);
    let plan = passed.release.plan.as_ref().unwrap();
    assert!(
        plan.setup.ecs_native().expect("ECS shifts").candidate.apart,
        "whatever tells the candidate from what runs has to tell it here, too"
    );
    let replaced = drilled(2).decided();
    let Some(Outcome::Cancelled { why, .. }) = replaced.release.outcome() else {
        panic!("{:?}", replaced.release.phase)
    };
    assert!(why.contains("does not run"), "{why}");
    assert!(!replaced.release.is_started());
    // Somebody deploys while it waits for a person: nothing is started, and it is planned anew.
    let mut starting = passed.found(2).decided();
    starting = starting.runs(7).runs_image(7);
    let decision = starting.decide();
    assert!(decision.effects.is_empty(), "{:?}", decision.effects);
}
