//! Decisions as a table: a state, what is seen, and what is decided. (Here and not within the core, because the fixtures are the
//! testkit's, which depends on the core.)

use tidegate_core::observation::{AlarmState, DeploymentStatus, Seen};
use tidegate_core::plan::Stage;
use tidegate_core::policy::Shift;
use tidegate_core::release::Request;
use tidegate_testkit::build::{Fixture, cancel_asked, rollback_asked};
use tidegate_testkit::names;

/// `phase | effects | next look`.
fn answer(fixture: &Fixture) -> String {
    let decision = fixture.decide();
    let effects: Vec<String> = decision.effects.iter().map(ToString::to_string).collect();
    let wake = decision.release.wake.as_ref().map_or_else(
        || "never".to_owned(),
        |wake| format!("+{}s", wake.at.duration_since(fixture.now).as_secs()),
    );
    format!("{} | {} | {wake}", decision.release.summary(), effects.join(", "))
}

#[track_caller]
fn check(fixture: Fixture, expected: &str) {
    assert_eq!(answer(&fixture), expected);
}

#[test]
fn before_the_first_stage() {
    check(Fixture::queued(), "preflight |  | +0s");
    check(Fixture::queued().asked(cancel_asked()), "cancelled |  | never");
    check(Fixture::preparing(), "register task definition |  | +0s");
    check(Fixture::preparing().breached(), "preflight |  | +15s");
    check(Fixture::preparing().breached().later(600), "failed |  | never");
    check(Fixture::preparing().blind_to_alarms(), "preflight |  | +15s");
    check(Fixture::preparing().asked(rollback_asked()), "cancelled |  | never");
    let mut behind = Fixture::queued();
    behind.seen.head.as_mut().unwrap().active = Some(names::release(7));
    check(behind, "queued |  | +300s");
    let mut overtaken = Fixture::queued();
    overtaken.seen.head.as_mut().unwrap().waiting = Some(names::release(8));
    check(overtaken, "superseded |  | never");
}

#[test]
fn until_traffic_moves() {
    check(
        Fixture::registering(),
        "register task definition | register checkout with app = 000000000000 | +6s",
    );
    check(Fixture::registering().decided().later(3), "register task definition |  | +6s");
    check(Fixture::starting(), "start deployment | start the deployment of checkout:2 | +6s");
    check(Fixture::starting().decided().later(7), "start deployment |  | +6s");
    check(
        Fixture::starting().decided().later(21),
        "start deployment | start the deployment of checkout:2 | +6s",
    );
    check(Fixture::starting().deployed(), "start deployment |  | +15s");
    check(Fixture::starting().waiting(1), "shift to 10 % |  | +0s");
    check(Fixture::starting().runs(9), "failed |  | never");
}

#[test]
fn shifts_and_bakes() {
    check(Fixture::shifting(), "shift to 10 % | let deployment d0001 go on | +6s");
    check(Fixture::shifting().blind_to_alarms(), "shift to 10 % |  | +15s");
    check(Fixture::shifting().alarm(AlarmState::InsufficientData), "shift to 10 % |  | +15s");
    check(Fixture::shifted().later(3), "shift to 10 % |  | +6s");
    check(Fixture::shifted().later(7), "shift to 10 % | let deployment d0001 go on | +6s");
    check(Fixture::shifted().waiting(2).weight(10).later(3), "bake at 10 % for 5m |  | +60s");
    check(Fixture::shifted().waiting(2).later(3), "shift to 10 % |  | +6s");
    check(Fixture::baking(10).later(10), "bake at 10 % for 5m |  | +60s");
    check(Fixture::baking(10).later(290), "bake at 10 % for 5m |  | +10s");
    check(Fixture::baking(10).later(300), "shift to 100 % |  | +0s");
    check(Fixture::baking(10).blind_to_alarms().later(300), "bake at 10 % for 5m |  | +15s");
    check(Fixture::baking(100).later(900), "promote |  | +0s");
    check(Fixture::promoting(), "promote | let deployment d0001 go on | +6s");
    check(Fixture::promoting().status(DeploymentStatus::Successful), "put configuration back |  | +0s");
}

#[test]
fn a_rolling_release_ends_only_when_every_task_is_new() {
    let rolling = || {
        let mut fixture = Fixture::preparing();
        let policy = &mut fixture.seen.head.as_mut().unwrap().policy;
        policy.strategy.shift = Shift::Rolling;
        let mut fixture = fixture.decided();
        fixture.release.progress.deployment = Some(names::deployment(1));
        fixture.release.progress.task_definition = Some(names::task_definition(2));
        fixture.in_stage(|stage| *stage == Stage::RollOut).status(DeploymentStatus::Successful)
    };
    check(rolling(), "bake at 100 % for 15m |  | +60s");
    let tasks = |others: u32, running: u32| {
        let mut fixture = rolling();
        let Seen::Known(Some(service)) = &mut fixture.seen.service else { unreachable!() };
        (service.other_tasks, service.running) = (others, running);
        fixture
    };
    check(tasks(1, 2), "roll out |  | +15s");
    check(tasks(0, 1), "roll out |  | +15s");
    let mut unseen = rolling();
    unseen.seen.service = Seen::NotAsked;
    check(unseen, "roll out |  | +15s");
}

#[test]
fn whatever_speaks_against_going_on_turns_back_at_once() {
    let back = |why: &str| format!("rolling back: {why} | roll deployment d0001 back | +6s");
    let alarm = back("alarm checkout-5xx went off: 5 % errors");
    for fixture in [Fixture::shifting(), Fixture::baking(10), Fixture::baking(100), Fixture::promoting()] {
        check(fixture.clone().breached(), &alarm);
        check(fixture.clone().told_of_alarm(1), &alarm);
        check(fixture.clone().asked(rollback_asked()), &back("ana asked to roll back: it looks wrong"));
        check(fixture.asked(cancel_asked()), &back("ben cancelled it: not today"));
    }
    let newer = Request::Supersede { by: names::release(2) };
    for fixture in [Fixture::shifting(), Fixture::baking(10), Fixture::baking(100)] {
        let replaced = back(&format!("the newer release {} replaces it", names::release(2)));
        check(fixture.asked(newer.clone()), &replaced);
    }
    // One that has baked at 100 % is let through.
    check(Fixture::promoting().asked(newer), "promote | let deployment d0001 go on | +6s");
    check(Fixture::baking(10).breached().silenced(), "bake at 10 % for 5m |  | +60s");
    check(
        Fixture::baking(10).weight(40).later(30),
        &back("the live weights are not what was set: green has 40 %, 10 % was set"),
    );
    check(Fixture::baking(10).breached().blind_to_deployments(), &alarm);
}

#[test]
fn the_event_of_an_alarm_from_before_the_release_is_no_breach() {
    check(Fixture::baking(10).told_of_alarm(-600), "bake at 10 % for 5m |  | +60s");
}

#[test]
fn someone_elses_deployment_is_given_way_to() {
    check(Fixture::baking(10).later(10).with_someone_elses(), "settling: will be failed |  | +15s");
}

#[test]
fn the_way_back() {
    let why = "rolling back: alarm checkout-5xx went off: 5 % errors";
    let back = Fixture::rolling_back;
    check(back().later(2), &format!("{why} |  | +6s"));
    check(back().later(7), &format!("{why} | roll deployment d0001 back | +6s"));
    check(back().status(DeploymentStatus::RollbackInProgress).later(7), &format!("{why} |  | +6s"));
    let over = || back().status(DeploymentStatus::RollbackSuccessful).weight(0).later(30);
    check(
        over().runs(1),
        "settling: will be rolled back | put the service's deployment configuration back | +6s",
    );
    check(over().runs(1).own_configuration(), "rolled back |  | never");
    check(over(), &format!("{why} |  | +6s"));
    check(over().decided().later(25), &format!("{why} | deploy checkout:1 again | +6s"));
    // Once the way back is a deployment of its own, only that one's end ends it.
    check(over().decided().later(25).decided().later(3).runs(1), &format!("{why} |  | +6s"));
    check(
        back().status(DeploymentStatus::Successful).later(30),
        &format!("{why} | deploy checkout:1 again | +6s"),
    );
    check(back().blind_to_deployments().later(7), &format!("{why} | roll deployment d0001 back | +6s"));
    check(
        back().breached().refused("stop_deployment").later(960),
        "settling: will be failed | put the service's deployment configuration back | +6s",
    );
}

#[test]
fn the_end() {
    check(
        Fixture::settling().later(30),
        "settling: will be promoted | put the service's deployment configuration back | +6s",
    );
    check(Fixture::settling().own_configuration().later(30), "promoted |  | never");
    check(Fixture::settling().own_configuration().later(3), "settling: will be promoted |  | +12s");
    check(
        Fixture::settling().asked(rollback_asked()).later(3),
        "rolling back: ana asked to roll back: it looks wrong | deploy checkout:1 again | +6s",
    );
    let newer = Request::Supersede { by: names::release(2) };
    check(Fixture::settling().own_configuration().asked(newer).later(30), "promoted |  | never");
}

#[test]
fn what_is_decided_is_explained() {
    let decision = Fixture::baking(10).breached().decide();
    let entry = decision.entry.expect("a turn is told");
    assert_eq!(entry.what, "rolling back");
    assert_eq!(entry.why, "alarm checkout-5xx went off: 5 % errors");
    assert_eq!(entry.effects, ["roll deployment d0001 back"]);
    let mut unseen = Fixture::baking(10).blind_to_alarms().later(300);
    unseen.seen.weights = Seen::NotAsked;
    let report = unseen.decide().release.report;
    assert!(report.facts.iter().any(|fact| fact.contains("alarms could not be read")), "{report:?}");
}
