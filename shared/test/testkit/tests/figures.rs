//! Figures are made of what releases keep of themselves on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::approval::{Opened, Vote};
use tidegate_core::course::{Hold, Holding, RollbackBegan};
use tidegate_core::figures::{Figures, LeadFrom, Period, Spread, lead_time_of, time_to_restore};
use tidegate_core::intent::Intent;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::release::{Phase, Release};
use tidegate_testkit::build::{Fixture, alarm_cause};
use tidegate_testkit::names;

fn at(secs: i64) -> Timestamp {
    names::start().saturating_add(SignedDuration::from_secs(secs)).unwrap()
}

/// A day, from the fixtures' first moment on.
fn day() -> Period {
    Period { since: at(0), until: at(24 * 3600) }
}

fn ended(build: u32, outcome: Outcome, secs: i64) -> Release {
    let mut release = Fixture::queued().release;
    release.id = names::release(build);
    release.progress.asked_at = Some(at(5));
    release.phase = Phase::Ended { outcome, at: at(secs), restored_at: None };
    release
}

fn promoted(build: u32, all_traffic: i64) -> Release {
    let mut release = ended(build, Outcome::Promoted, all_traffic + 60);
    release.course.all_traffic_at = Some(at(all_traffic));
    release
}

fn rolled_back(build: u32, cause: Cause, breach: i64, restored: i64) -> Release {
    let mut release = ended(build, Outcome::RolledBack { cause }, restored + 60);
    release.course.rollback = Some(RollbackBegan { breach_at: at(breach), at: at(breach + 2) });
    let Phase::Ended { restored_at, .. } = &mut release.phase else { unreachable!() };
    *restored_at = Some(at(restored));
    release
}

#[test]
fn a_release_keeps_when_it_had_all_traffic_and_when_the_alarm_went_off() {
    let promoting = Fixture::baking(100);
    assert_eq!(promoting.release.course.all_traffic_at, None, "the stage was only put there");
    let shifted = Fixture::shifted();
    assert_eq!(shifted.release.course.all_traffic_at, None, "10% is not all traffic");
    let settled = Fixture::settling().later(30).decided();
    assert_eq!(settled.release.course.all_traffic_at, Some(settled.now));
    let later = settled.clone().later(30).decided();
    assert_eq!(later.release.course.all_traffic_at, Some(settled.now), "the first time counts");

    let baking = Fixture::baking(10).later(7);
    let alarm_at = baking.now;
    let back = baking.breached().later(3).decided();
    let began = back.release.course.rollback.unwrap();
    assert_eq!((began.breach_at, began.at), (alarm_at, back.now), "CloudWatch says since when");
    let again = back.later(20).decided();
    assert_eq!(again.release.course.rollback, Some(began));
}

#[test]
fn what_holds_a_release_is_counted_from_when_it_began_until_it_is_over() {
    let waiting = Fixture::queued();
    let turn = waiting.clone().later(40).decided();
    // The fixture does not come out of an admission, which writes down since when it waits.
    assert_eq!(turn.release.course.held_secs.get(&Hold::Queue), None);
    let mut queued = waiting;
    queued.release.course.holding = Some(Holding { hold: Hold::Queue, since: queued.now });
    let turn = queued.later(40).decided();
    assert_eq!(turn.release.course.held_secs, BTreeMap::from([(Hold::Queue, 40)]));
    assert_eq!(turn.release.course.holding, None);

    // A bake that is over, and may not end because of an alarm that says nothing.
    let held = Fixture::baking(10).later(600).blind_to_alarms().decided();
    assert_eq!(held.release.course.holding, Some(Holding { hold: Hold::Alarms, since: held.now }));
    let still = held.clone().later(60).decided();
    assert_eq!(still.release.course.holding, held.release.course.holding, "it is the same hold");
    assert!(!still.release.course.held_secs.contains_key(&Hold::Alarms), "it is not over");
}

#[test]
fn lead_time_begins_with_the_earliest_that_is_known_and_only_what_was_promoted_counts() {
    let mut by_commit = promoted(2, 400);
    by_commit.provenance.committed_at = Some(at(-600));
    by_commit.course.pushed_at = Some(at(-100));
    assert_eq!(lead_time_of(&by_commit), Some((LeadFrom::Commit, 1000)));
    let mut by_push = promoted(3, 500);
    by_push.course.pushed_at = Some(at(-100));
    assert_eq!(lead_time_of(&by_push), Some((LeadFrom::Push, 600)));
    let by_request = promoted(4, 300);
    assert_eq!(lead_time_of(&by_request), Some((LeadFrom::Request, 300)));
    // A commit of the future: whoever wrote it has a wrong clock.
    by_push.provenance.committed_at = Some(at(9000));
    assert_eq!(lead_time_of(&by_push), Some((LeadFrom::Push, 600)));
    let mut bad = rolled_back(5, alarm_cause(), 100, 106);
    bad.course.all_traffic_at = Some(at(50));

    let lead = Figures::of([&by_commit, &by_push, &by_request, &bad], day()).lead_time.unwrap();
    assert_eq!(lead.spread, Spread { count: 3, p50_secs: 600, p99_secs: 1000, worst_secs: 1000 });
    assert_eq!(
        lead.from,
        BTreeMap::from([(LeadFrom::Commit, 1), (LeadFrom::Push, 1), (LeadFrom::Request, 1)])
    );
}

#[test]
fn a_change_has_failed_when_it_was_taken_back_for_what_it_did_before_or_after_its_promotion() {
    let by = || tidegate_core::actor::Actor::Tidegate;
    let good = promoted(2, 100);
    let taken_back_later = promoted(3, 200);
    let by_alarm = rolled_back(4, alarm_cause(), 300, 306);
    let by_a_person = rolled_back(5, Cause::Requested { by: by(), why: "slow".into() }, 400, 405);
    // None of these says anything of the change.
    let newer = rolled_back(6, Cause::Newer { release: names::release(7) }, 500, 504);
    let cancelled = ended(8, Outcome::Cancelled { by: by(), why: "wrong branch".into() }, 600);
    let elsewhere = rolled_back(9, Cause::ExternalDeployment { detail: "someone".into() }, 700, 703);
    let mut never_deployed = rolled_back(10, alarm_cause(), 800, 801);
    never_deployed.progress.asked_at = None;
    let mut rollback = promoted(11, 900);
    rollback.intent = Intent::Rollback {
        from: Some(taken_back_later.id.clone()),
        to: good.id.clone(),
        deployed: names::deployed(2),
    };
    let all = [
        &good,
        &taken_back_later,
        &by_alarm,
        &by_a_person,
        &newer,
        &cancelled,
        &elsewhere,
        &never_deployed,
        &rollback,
    ];
    let figures = Figures::of(all, day());
    assert_eq!((figures.failures.failed, figures.failures.deployed), (3, 4));
    assert_eq!(figures.failures.rate(), Some(0.75));
    assert_eq!((figures.promoted, figures.promoted_a_day), (2, 2.0), "a rollback is no change");
    // A rollback that has not been promoted has taken nothing back.
    rollback.phase = Phase::Queued;
    assert_eq!(Figures::of([&taken_back_later, &rollback], day()).failures.failed, 0);
    assert_eq!(Figures::of([], day()).failures.rate(), None, "of nothing there is no rate");
}

#[test]
fn time_to_restore_runs_from_the_breach_until_traffic_is_back_and_has_no_made_up_values() {
    let back = |build: u32, took: i64| rolled_back(build, alarm_cause(), 100, 100 + took);
    let releases: Vec<Release> = (1..=100).map(|secs| back(2, secs)).collect();
    let restore = Figures::of(&releases, day()).restore.unwrap();
    assert_eq!(restore, Spread { count: 100, p50_secs: 50, p99_secs: 99, worst_secs: 100 });
    let mut lost = back(3, 5);
    let Phase::Ended { restored_at, .. } = &mut lost.phase else { unreachable!() };
    *restored_at = None;
    assert_eq!(time_to_restore(&lost), None, "traffic was never seen to be back");
    assert_eq!(Figures::of([&lost], day()).restore, None);
}

#[test]
fn a_release_counts_in_the_time_in_which_it_ended() {
    let first = promoted(2, 100);
    let early = Period { since: at(-3600), until: at(159) };
    assert_eq!(Figures::of([&first], early).promoted, 0, "it ends after that time");
    assert_eq!(Figures::of([&first], Period { since: at(159), until: at(160) }).promoted, 1);
    let open = Fixture::baking(10).release;
    assert_eq!(Figures::of([&open], day()).failures.deployed, 0);
}

#[test]
fn people_take_until_the_last_of_them_has_decided_or_their_time_is_over() {
    let vote = |secs: i64| Vote {
        approver: "ana".into(),
        approve: true,
        comment: None,
        at: at(secs),
        via: "link".into(),
    };
    let gate = |votes: Vec<Vote>| Opened { at: at(10), expires_at: at(100), invitations: Vec::new(), votes };
    let mut release = promoted(2, 500);
    release.gates = BTreeMap::from([(0, gate(vec![vote(20), vote(40)])), (1, gate(Vec::new()))]);
    let approvals = Figures::of([&release], day()).approvals.unwrap();
    assert_eq!(approvals, Spread { count: 2, p50_secs: 30, p99_secs: 90, worst_secs: 90 });
}

#[test]
fn what_held_most_is_told_first() {
    let mut one = promoted(2, 100);
    one.course.held_secs = BTreeMap::from([(Hold::Freeze, 300), (Hold::Approval, 20)]);
    let mut two = promoted(3, 100);
    two.course.held_secs = BTreeMap::from([(Hold::Approval, 400)]);
    let held = Figures::of([&one, &two], day()).held;
    let told: Vec<(Hold, usize, u64)> =
        held.iter().map(|it| (it.by, it.spread.count, it.total_secs)).collect();
    assert_eq!(told, [(Hold::Approval, 2, 420), (Hold::Freeze, 1, 300)]);
}
