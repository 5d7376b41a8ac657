//! Decisions as a table: a state, what is seen, and what is decided. (Here and not within the core, because the fixtures are the
//! testkit's, which depends on the core.)

use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_core::decide::{Decision, needs};
use tidegate_core::effect::{Effect, EffectKind};
use tidegate_core::engine::ecs_native::preflight::{self, Verdict};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{Entry, Event, Fact};
use tidegate_core::intent::Request;
use tidegate_core::invariants::{check_decision, checked_commit};
use tidegate_core::observation::Observation;
use tidegate_core::outcome::{Outcome, Successor};
use tidegate_core::plan::{Plan, Setup, Stage};
use tidegate_core::policy::{Before, EngineChoice, Percent, Shift, Span, Strategy};
use tidegate_core::release::{Phase, Release, Step};
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::AlarmState;
use tidegate_core::vocab::ecr::{ImagePart, ImageSeen, Stored};
use tidegate_core::vocab::ecs;
use tidegate_core::vocab::ecs::{
    DeploymentStatus, GatewaySeen, Kind, LatticeSeen, LoadBalancerSeen, Management, RunningSeen, Scheduling,
};
use tidegate_core::vocab::elb::RuleSeen;
use tidegate_core::vocab::tasks::{StopCode, StoppedTask};
use tidegate_testkit::build::{Fixture, cancel_asked, rollback_asked, stopped_task};
use tidegate_testkit::names;

#[track_caller]
fn check(fixture: Fixture, expected: &str) {
    assert_eq!(fixture.in_words(), expected);
}

#[test]
fn before_the_first_stage() {
    check(Fixture::queued(), "preflight |  | +0s");
    check(Fixture::queued().asked(cancel_asked()), "cancelled |  | never");
    check(Fixture::preparing(), "prepare candidate |  | +0s");
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

/// The candidate's revision was asked for, and the next look shows it.
fn registered() -> Fixture {
    let mut fixture = Fixture::registering().decided().later(3);
    fixture.seen.ecs.revision = Seen::Known(Some(names::task_definition(2)));
    fixture
}

#[test]
fn the_end_of_the_registration_and_the_start_are_one_decision_if_everything_is_as_planned() {
    check(registered(), "start candidate | start the deployment of checkout:2 | +6s");
    check(registered().breached(), "start candidate |  | +0s");
    check(registered().blind_to_alarms(), "start candidate |  | +0s");
    let mut unseen = registered();
    unseen.seen.ecs.running = Seen::NotAsked;
    check(unseen, "start candidate |  | +0s");
    let mut changed = registered();
    if let Seen::Known(Some(service)) = &mut changed.seen.ecs.service {
        service.task_definition = names::task_definition(7);
    }
    check(changed, "start candidate |  | +0s");
}

/// What the plan lets one expect is asked for beside the service. Where that is another one, it is asked for again, and nothing of what was
/// expected is taken for it.
#[test]
fn before_the_start_what_is_not_as_planned_is_asked_for_again() {
    let Fixture { release, seen, .. } = registered();
    let blind = Observation { at: seen.at, head: seen.head.clone(), ..Observation::default() };
    let asked = needs(&release, &blind);
    assert_eq!(asked.ecs.task_definition, Some(names::task_definition(1)));
    assert!(asked.new_images && !asked.stored.is_empty(), "{asked:?}");
    let mut other = blind;
    other.ecs.service = seen.ecs.service.clone();
    other.ecs.task_definition = seen.ecs.task_definition.clone();
    let as_planned = needs(&release, &other).without(&asked);
    assert_eq!((as_planned.ecs.task_definition, as_planned.ecs.running.is_some()), (None, true));
    if let Seen::Known(Some(service)) = &mut other.ecs.service {
        service.task_definition = names::task_definition(7);
    }
    let again = needs(&release, &other).without(&asked);
    assert_eq!(again.ecs.task_definition, Some(names::task_definition(7)));
    assert!(again.ecs.running.is_none() && again.stored.is_empty(), "{again:?}");
}

#[test]
fn until_traffic_moves() {
    check(Fixture::registering(), "prepare candidate | register checkout with app = 000000000000 | +6s");
    check(Fixture::registering().decided().later(3), "prepare candidate |  | +6s");
    check(Fixture::starting(), "start candidate | start the deployment of checkout:2 | +6s");
    check(Fixture::starting().decided().later(7), "start candidate |  | +6s");
    check(
        Fixture::starting().decided().later(21),
        "start candidate | start the deployment of checkout:2 | +6s",
    );
    check(Fixture::starting().deployed(), "start candidate |  | +15s");
    check(Fixture::starting().waiting(1), "shift to 10% |  | +0s");
}

#[test]
fn shifts_and_bakes() {
    check(Fixture::shifting(), "shift to 10% | continue deployment d0001 | +6s");
    check(Fixture::shifting().blind_to_alarms(), "shift to 10% |  | +15s");
    check(Fixture::shifting().alarm(AlarmState::InsufficientData), "shift to 10% |  | +15s");
    check(Fixture::shifted().later(3), "shift to 10% |  | +6s");
    check(Fixture::shifted().later(7), "shift to 10% | continue deployment d0001 | +6s");
    check(Fixture::shifted().waiting(2).weight(10).later(3), "bake at 10% for 5m |  | +60s");
    check(Fixture::shifted().waiting(2).later(3), "shift to 10% |  | +6s");
    check(Fixture::baking(10).later(10), "bake at 10% for 5m |  | +60s");
    check(Fixture::baking(10).later(290), "bake at 10% for 5m |  | +10s");
    check(Fixture::baking(10).later(300), "shift to 100% | continue deployment d0001 | +6s");
    check(Fixture::baking(10).blind_to_alarms().later(300), "bake at 10% for 5m |  | +15s");
    check(Fixture::baking(100).later(900), "promote | continue deployment d0001 | +6s");
    check(Fixture::promoting(), "promote | continue deployment d0001 | +6s");
    check(
        Fixture::promoting().status(DeploymentStatus::Successful),
        "settling: will be promoted | restore the service's deployment configuration | +6s",
    );
}

/// Somebody continued the deployment in the console, and the pause that waits is the next one's: the load balancer's read lags behind ECS's.
#[test]
fn a_share_that_ecs_tells_and_the_load_balancer_does_not_show_yet_is_waited_for() {
    let mut told = Fixture::shifting();
    if let Seen::Known(deployments) = &mut told.seen.ecs.deployments {
        deployments[0].weight = Some(Percent::from_tenths(100));
    }
    check(told.clone().later(2), "shift to 10% |  | +6s");
    check(told.clone().weight(10).later(2), "bake at 10% for 5m |  | +60s");
    // Where ECS tells a share before it has moved anything, the load balancers are believed in the end.
    check(told.later(21), "shift to 10% | continue deployment d0001 | +6s");
}

#[test]
fn a_rolling_release_ends_only_when_every_task_is_new() {
    let rolling = || {
        let mut fixture = Fixture::preparing();
        let policy = &mut fixture.seen.head.as_mut().unwrap().policy;
        policy.strategy.shift = Shift::Rolling;
        let mut fixture = fixture.decided();
        fixture.release.progress.state.ecs_native_mut().deployment = Some(names::deployment(1));
        fixture.release.progress.state.ecs_native_mut().task_definition = Some(names::task_definition(2));
        fixture.in_stage(|stage| *stage == Stage::RollOut).status(DeploymentStatus::Successful)
    };
    check(rolling(), "bake at 100% for 15m |  | +60s");
    let tasks = |others: u32, running: u32| {
        let mut fixture = rolling();
        let Seen::Known(Some(service)) = &mut fixture.seen.ecs.service else { unreachable!() };
        (service.other_tasks, service.running) = (others, running);
        fixture
    };
    check(tasks(1, 2), "roll out |  | +15s");
    check(tasks(0, 1), "roll out |  | +15s");
    let mut unseen = rolling();
    unseen.seen.ecs.service = Seen::NotAsked;
    check(unseen, "roll out |  | +15s");
}

/// What `lifecycleStage` may be while a deployment waits at one of our pauses: AWS does not say.
const SAID: [Option<&str>; 7] = [
    None,
    Some("POST_SCALE_UP"),
    Some("POST_TEST_TRAFFIC_SHIFT"),
    Some("PRODUCTION_TRAFFIC_SHIFT"),
    Some("RECONCILE_SERVICE"),
    Some("BAKE_TIME"),
    Some("A_WORD_OF_NEXT_YEAR"),
];

#[test]
fn a_pause_of_ours_is_found_whatever_stage_the_deployment_names() {
    for said in SAID {
        check(Fixture::starting().waiting(1).saying(said), "shift to 10% |  | +0s");
        check(Fixture::shifting().saying(said), "shift to 10% | continue deployment d0001 | +6s");
        let arrived = Fixture::shifted().waiting(2).weight(10).later(3).saying(said);
        check(arrived, "bake at 10% for 5m |  | +60s");
        let to_all = Fixture::baking(10).later(300).saying(said);
        check(to_all.clone(), "shift to 100% | continue deployment d0001 | +6s");
        let arrived = to_all.decided().waiting_for_promotion().weight(100).later(3).saying(said);
        check(arrived, "bake at 100% for 15m |  | +60s");
        check(Fixture::promoting().saying(said), "promote | continue deployment d0001 | +6s");
    }
}

/// A pause hook of the service's own.
fn own_pause(stage: &str) -> Value {
    json!([{ "targetType": "PAUSE", "lifecycleStages": [stage],
        "timeoutConfiguration": { "timeoutInMinutes": 60, "action": "ROLLBACK" } }])
}

#[test]
fn a_pause_of_the_services_own_is_never_answered() {
    let begins = || Fixture::queued().configured("lifecycleHooks", own_pause("POST_TEST_TRAFFIC_SHIFT"));
    let planned = begins().decided().decided();
    let plan = planned.release.plan.clone().expect("a pause elsewhere does not block");
    assert_eq!(
        plan.setup.ecs_rollback_target().expect("an ECS service").configuration["lifecycleHooks"],
        own_pause("POST_TEST_TRAFFIC_SHIFT")
    );
    for said in SAID {
        let mut fixture = Fixture::starting().waiting(1).saying(said).later(60);
        fixture.release.plan = Some(plan.clone());
        let Seen::Known(deployments) = &mut fixture.seen.ecs.deployments else { unreachable!() };
        // Begun a minute ago, with the timeout of the service's own.
        deployments[0].hooks[0].expires_at = Some(names::at(60 * 60));
        check(fixture.clone(), "start candidate |  | +15s");
        let facts = fixture.decide().release.report.facts;
        assert!(facts.contains(&Fact::OtherPause { unclear: false }), "{said:?}: {facts:?}");
    }
}

#[test]
fn pauses_of_the_services_own_where_ours_stand_keep_a_release_from_starting() {
    for stage in ["PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"] {
        let fixture = Fixture::preparing().configured("lifecycleHooks", own_pause(stage));
        check(fixture.clone(), "failed |  | never");
        let entry = fixture.decide().entry.expect("the end is told");
        let told = data(&entry);
        assert!(told.contains("own_pause_hooks") && told.contains(stage), "{told}");
        let mut rolling = fixture;
        rolling.seen.head.as_mut().unwrap().policy.strategy.shift = Shift::Rolling;
        check(rolling, "prepare candidate |  | +0s");
    }
}

#[test]
fn a_candidate_with_more_tags_than_aws_takes_is_found_before_anything_starts() {
    let with_tags = |tags: usize| {
        let mut fixture = Fixture::preparing();
        let Seen::Known(task_definition) = &mut fixture.seen.ecs.task_definition else { unreachable!() };
        task_definition.tags = tags;
        fixture
    };
    check(with_tags(48), "prepare candidate |  | +0s");
    check(with_tags(49), "failed |  | never");
    let entry = with_tags(49).decide().entry.expect("the end is told");
    assert!(data(&entry).contains("too_many_tags"), "{entry:?}");
}

/// A release that ended without its configuration having been restored, and the service as it left it.
fn left_over() -> (Release, Fixture) {
    let stuck = Fixture::settling().later(31 * 60);
    let decision = stuck.decide();
    let mut next = Fixture::queued();
    next.seen.ecs.service = stuck.seen.ecs.service.clone();
    next.seen.head = decision.head.clone().map(|head| ServiceRecord { waiting: None, ..head });
    (decision.release, next)
}

#[test]
fn what_a_release_could_not_restore_is_found_by_the_next_one_and_restored() {
    let (failed, mut next) = left_over();
    assert!(failed.is_over(), "{}", failed.summary());
    let left = next.seen.head.as_ref().unwrap().left_behind.clone().expect("it is remembered");
    assert_eq!(left.release, failed.id);
    let own = failed.plan.unwrap().setup.ecs_rollback_target().expect("an ECS service").configuration.clone();
    let runs = names::task_definition(1);
    if let Seen::Known(Some(service)) = &mut next.seen.ecs.service {
        service.task_definition = runs;
    }
    let started = next.decided().decide();
    let plan = next_plan(started.clone());
    assert_eq!(
        plan.setup.ecs_rollback_target().expect("an ECS service").configuration,
        own,
        "nothing of ours is gone back to"
    );
    assert_eq!(
        plan.setup.ecs_native().expect("ECS shifts the traffic").configuration["lifecycleHooks"]
            .as_array()
            .map(Vec::len),
        Some(2),
        "one pair, not two"
    );
    let saw = data(&started.entry.unwrap());
    assert!(saw.contains("leftover_configuration") && saw.contains(failed.id.as_str()), "{saw}");
}

/// An entry as it is stored.
fn data(entry: &Entry) -> String {
    serde_json::to_string(entry).expect("an entry is JSON")
}

fn next_plan(decision: Decision) -> Plan {
    decision.release.plan.expect("preflight has passed")
}

#[test]
fn hooks_of_ours_that_no_ledger_knows_are_found_by_themselves() {
    let (_, mut next) = left_over();
    next.seen.head.as_mut().unwrap().left_behind = None;
    let started = next.decided().decide();
    let saw = data(started.entry.as_ref().unwrap());
    assert!(saw.contains("leftover_of_unknown"), "{saw}");
    let plan = next_plan(started);
    assert_eq!(
        plan.setup.ecs_rollback_target().expect("an ECS service").configuration["lifecycleHooks"],
        json!([])
    );
    assert_eq!(
        plan.setup.ecs_native().expect("ECS shifts the traffic").configuration["lifecycleHooks"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn what_aws_or_somebody_else_adds_does_not_hide_our_hooks() {
    let restores = "settling: will be promoted | restore the service's deployment configuration | +6s";
    let added = Fixture::settling().configured("introducedNextYear", json!({ "on": true })).later(30);
    check(added, restores);
    let changed = Fixture::settling().configured("maximumPercent", json!(150)).later(30);
    check(changed.clone(), restores);
    let effects = changed.decide().effects;
    let [Effect::Ecs(ecs::Effect::RestoreConfiguration { configuration, .. })] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (&configuration["maximumPercent"], &configuration["lifecycleHooks"]),
        (&json!(150), &json!([]))
    );
    assert_eq!(configuration["strategy"], "ROLLING");
}

#[test]
fn weights_are_compared_as_a_load_balancer_can_have_them() {
    let baking = |tenths: u16, weights: [u32; 2]| {
        let mut fixture = Fixture::preparing();
        let policy = &mut fixture.seen.head.as_mut().unwrap().policy;
        policy.strategy.shift =
            Shift::Canary { percent: Percent::from_tenths(tenths), bake: Span::from_secs(300).unwrap() };
        let mut fixture = fixture.decided();
        fixture.release.progress.state.ecs_native_mut().deployment = Some(names::deployment(1));
        fixture.release.progress.state.ecs_native_mut().task_definition = Some(names::task_definition(2));
        fixture.release.progress.set = Some(Percent::from_tenths(tenths));
        let mut fixture = fixture.in_stage(|stage| matches!(stage, Stage::Bake { .. })).waiting(2).later(60);
        let weights = vec![(names::blue(), weights[0]), (names::green(), weights[1])];
        fixture.seen.elb.weights =
            Seen::Known(vec![RuleSeen { arn: names::rule(), weights, is_default: false }]);
        !fixture.decide().release.summary().starts_with("rolling back")
    };
    // 2.5%: out of 100 rounded either way, out of 1000, out of 999.
    for weights in [[97, 3], [98, 2], [975, 25], [974, 25]] {
        assert!(baking(25, weights), "{weights:?}");
    }
    assert!(baking(100, [90, 10]) && baking(100, [899, 100]));
    for weights in [[96, 4], [99, 1], [100, 0], [0, 100], [50, 50]] {
        assert!(!baking(25, weights), "{weights:?}");
    }
    assert!(!baking(100, [89, 11]) && !baking(100, [91, 9]));
    // A share of some that is none proves nothing.
    assert!(!baking(5, [100, 0]));
}

#[test]
fn whatever_speaks_against_going_on_turns_back_at_once() {
    let back = |why: &str| format!("rolling back: {why} | roll deployment d0001 back | +6s");
    let alarm = back("alarm checkout-5xx went off: 5% errors");
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
    // One that has baked at 100% is let through.
    check(Fixture::promoting().asked(newer), "promote | continue deployment d0001 | +6s");
    check(Fixture::baking(10).breached().silenced(), "bake at 10% for 5m |  | +60s");
    check(Fixture::baking(10).weight(40).later(10), "bake at 10% for 5m |  | +60s");
    check(
        Fixture::baking(10).weight(40).later(30),
        &back("the live weights are not what was set: green has 40%, 10% was set"),
    );
    check(Fixture::baking(10).breached().blind_to_deployments(), &alarm);
}

#[test]
fn the_event_of_an_alarm_from_before_the_release_is_no_breach() {
    check(Fixture::baking(10).told_of_alarm(-600), "bake at 10% for 5m |  | +60s");
}

#[test]
fn someone_elses_deployment_is_given_way_to() {
    check(Fixture::baking(10).later(10).with_someone_elses(), "settling: will be failed |  | +15s");
}

#[test]
fn the_rollback_target() {
    let why = "rolling back: alarm checkout-5xx went off: 5% errors";
    let back = Fixture::rolling_back;
    check(back().later(2), &format!("{why} |  | +6s"));
    check(back().later(7), &format!("{why} | roll deployment d0001 back | +6s"));
    check(back().status(DeploymentStatus::RollbackInProgress).later(7), &format!("{why} |  | +6s"));
    let over = || back().status(DeploymentStatus::RollbackSuccessful).weight(0).later(30);
    check(
        over().runs(1),
        "settling: will be rolled back | restore the service's deployment configuration | +6s",
    );
    check(over().runs(1).own_configuration(), "rolled back |  | never");
    check(over(), &format!("{why} |  | +6s"));
    check(over().decided().later(25), &format!("{why} | deploy checkout:1 again | +6s"));
    // Once the rollback is a deployment of its own, only that one's end ends it.
    check(over().decided().later(25).decided().later(3).runs(1), &format!("{why} |  | +6s"));
    check(
        back().status(DeploymentStatus::Successful).later(30),
        &format!("{why} | deploy checkout:1 again | +6s"),
    );
    check(back().blind_to_deployments().later(7), &format!("{why} | roll deployment d0001 back | +6s"));
    check(
        back().breached().refused(EffectKind::StopDeployment).later(960),
        "settling: will be failed | restore the service's deployment configuration | +6s",
    );
}

#[test]
fn the_end() {
    check(
        Fixture::settling().later(30),
        "settling: will be promoted | restore the service's deployment configuration | +6s",
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
    assert_eq!(entry.event.to_string(), "rolling back");
    assert_eq!(entry.event.why(), "alarm checkout-5xx went off: 5% errors");
    assert_eq!(
        entry.actions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["roll deployment d0001 back"]
    );
    let mut unseen = Fixture::baking(10).blind_to_alarms().later(300);
    unseen.seen.elb.weights = Seen::NotAsked;
    let report = unseen.decide().release.report;
    assert!(
        report.facts.iter().any(|fact| fact.to_string().contains("alarms could not be read")),
        "{report:?}"
    );
}

fn rolling() -> Strategy {
    Strategy {
        shift: Shift::Rolling,
        bake: Span::from_secs(300).expect("a span"),
        engine: EngineChoice::Native,
    }
}

fn is_bake(stage: &Stage) -> bool {
    matches!(stage, Stage::Bake { .. })
}

/// A release of a service whose task definition names a tag, in its final bake: every task has been replaced, and the tag means the
/// candidate's image by now.
fn tagged_in_its_final_bake() -> Fixture {
    let mut fixture = Fixture::tagged();
    fixture.seen.head.as_mut().expect("a row").policy.strategy = rolling();
    let fixture = fixture.decided().decided();
    check(
        fixture.clone(),
        "prepare rollback target | register checkout with app = 000000000000, sidecar = 000000000000 | +6s",
    );
    // Found as it was registered, also by an invocation that came after a crash.
    let mut fixture = fixture.decided().found(2).decided();
    assert_eq!(fixture.release.progress.state.ecs_native().stable, Some(names::task_definition(2)));
    fixture = fixture.found(3).decided();
    fixture.release.progress.state.ecs_native_mut().deployment = Some(names::deployment(1));
    fixture.release.progress.asked_at = Some(fixture.now);
    fixture.deployed_revision(3).status_of(DeploymentStatus::Successful).runs_image(2).in_stage(is_bake)
}

#[test]
fn a_rollback_never_deploys_a_task_definition_that_names_a_tag() {
    let bake = tagged_in_its_final_bake();
    let alarm = "rolling back: alarm checkout-5xx went off: 5% errors";
    check(bake.clone().breached(), &format!("{alarm} | deploy checkout:2 again | +6s"));
    // Only the images of before end it, whatever the deployment says.
    let back = bake.breached().decided().returned(2).later(60);
    check(back.clone(), &format!("{alarm} |  | +6s"));
    let done = back.clone().runs_image(1);
    check(
        done.clone(),
        "settling: will be rolled back | restore the service's deployment configuration | +6s",
    );
    check(done.own_configuration(), "rolled back |  | never");
    // The pinned revision is deployed and another image runs: that is for a person, and never called rolled back.
    let other = back.decided().later(30).own_configuration();
    check(other.clone(), "failed |  | never");
    let told = format!("{:?}", other.decide().release.phase);
    assert!(
        told.contains("checkout:2 is deployed") && told.contains("container app runs 000000000000"),
        "{told}"
    );
}

#[test]
fn amazon_ecs_rollback_counts_when_the_images_of_before_run_again() {
    let why = "rolling back: alarm checkout-5xx went off: 5% errors";
    let mut over = Fixture::rolling_back()
        .status(DeploymentStatus::RollbackSuccessful)
        .weight(0)
        .runs(1)
        .later(30)
        .own_configuration();
    check(over.clone(), "rolled back |  | never");
    // A tag that was resolved again: the copy with the digest is deployed, once the difference has lasted.
    over.release.progress.state.ecs_native_mut().stable = Some(names::task_definition(7));
    let differs = over.clone().runs_image(5);
    check(differs.clone(), &format!("{why} |  | +6s"));
    check(differs.clone().decided().later(25), &format!("{why} | deploy checkout:7 again | +6s"));
    check(differs.decided().later(25).runs_image(1), "rolled back |  | never");
    // What cannot be seen is neither.
    over.seen.ecs.running = Seen::NotAsked;
    check(over, &format!("{why} |  | +6s"));
}

#[test]
fn promoted_is_only_what_was_seen_to_run() {
    let promoted = Fixture::settling().own_configuration().later(30);
    check(promoted.clone(), "promoted |  | never");
    check(promoted.clone().runs_image(1), "failed |  | never");
    let mut unseen = promoted.clone();
    unseen.seen.ecs.running = Seen::NotAsked;
    check(unseen.clone(), "settling: will be promoted |  | +15s");
    check(unseen.later(1800), "failed |  | never");
    // No task is wanted, so none runs anything.
    let mut idle = promoted.runs_image(1);
    if let Seen::Known(Some(service)) = &mut idle.seen.ecs.service {
        service.desired = 0;
    }
    check(idle, "promoted |  | never");
}

#[test]
fn what_runs_already_is_what_runs_not_what_is_written() {
    // The task definition names the tag, and its tasks run build 2 already.
    check(Fixture::tagged().decided().runs_image(2), "cancelled |  | never");
    check(Fixture::tagged().decided(), "prepare rollback target |  | +0s");
    // AWS may call the image by the digest of the part that its tasks run.
    let mut part = Fixture::tagged().decided().runs_image(9);
    part.seen.stored = [("".to_owned(), Seen::NotAsked)].into();
    let index = ImageSeen {
        parts: Seen::Known(vec![ImagePart { digest: names::digest(9), platform: None }]),
        ..ImageSeen::there(names::digest(2))
    };
    part.seen.new_images = Seen::Known([(names::digest(2), Some(index))].into());
    check(part, "cancelled |  | never");
}

/// What preflight says, by code.
fn findings(fixture: &Fixture) -> Vec<(&'static str, bool)> {
    let head = fixture.seen.head.as_ref().expect("a row");
    let (image, intent) = (&fixture.release.change, &fixture.release.intent);
    let found = match preflight::check(
        &head.policy,
        head.policy.to.ecs().expect("an ECS service"),
        image,
        intent,
        &fixture.seen,
    ) {
        Verdict::Pass(_, found) | Verdict::Blocked(found) => found,
        Verdict::CannotSee(errors) => panic!("{errors:?}"),
    };
    found.into_iter().map(|finding| (finding.code.as_str(), finding.blocking)).collect()
}

#[track_caller]
fn finds(fixture: &Fixture, code: &'static str, blocking: bool) {
    let found = findings(fixture);
    assert!(found.contains(&(code, blocking)), "{found:?}");
}

/// A service of this kind, about to be released with this strategy.
fn of_kind(kind: Kind, shift: &Shift) -> Fixture {
    let mut fixture = Fixture::preparing();
    if let Seen::Known(Some(service)) = &mut fixture.seen.ecs.service {
        service.kind = kind;
    }
    if let Some(head) = &mut fixture.seen.head {
        head.policy.strategy.shift = shift.clone();
    }
    fixture
}

const ROLLING: Shift = Shift::Rolling;
const BLUE_GREEN: Shift = Shift::BlueGreen;

fn canary() -> Shift {
    Shift::Canary { percent: Percent::from_tenths(100), bake: Span::default() }
}

#[test]
fn kinds_of_services_are_named_and_what_works_with_them_is_done() {
    let plain = Kind::default;
    let group = |can_shift| LatticeSeen { target_group: "arn:lattice".into(), can_shift };
    let daemon = Kind { scheduling: Scheduling::Daemon, ..plain() };
    let new_scheduling = Kind { scheduling: Scheduling::Other("TIDAL".into()), ..plain() };
    let anywhere = Kind { is_anywhere: true, ..plain() };
    let express = Kind { management: Management::Ecs, ..plain() };
    let new_management = Kind { management: Management::Other("MOON".into()), ..plain() };
    let lattice = Kind { lattice: vec![group(true), group(true)], ..plain() };
    let half = Kind { lattice: vec![group(true), group(false)], ..plain() };
    // What is found with a rolling strategy, and with those that shift.
    let none: Option<(&str, bool)> = None;
    for (kind, rolling, shifting) in [
        (plain(), none, none),
        (daemon, none, Some(("service_is_daemon", true))),
        (new_scheduling, Some(("service_kind_unknown", true)), Some(("service_kind_unknown", true))),
        (anywhere, none, Some(("ecs_anywhere", true))),
        (express, Some(("express_mode", true)), Some(("express_mode", true))),
        (new_management, Some(("service_kind_unknown", true)), Some(("service_kind_unknown", true))),
        (lattice, none, Some(("lattice_not_measured", false))),
        (half, none, Some(("lattice_without_second_group", true))),
    ] {
        let found = |shift: &Shift| findings(&of_kind(kind.clone(), shift));
        assert_eq!(found(&ROLLING), Vec::from_iter(rolling), "rolling: {kind:?}");
        assert_eq!(found(&canary()), Vec::from_iter(shifting), "canary: {kind:?}");
        assert_eq!(found(&BLUE_GREEN), Vec::from_iter(shifting), "blue_green: {kind:?}");
    }
}

#[test]
fn traffic_of_vpc_lattice_alone_is_there_to_be_shifted() {
    let alone = |lattice: Vec<LatticeSeen>| {
        let mut fixture = of_kind(Kind { lattice, ..Kind::default() }, &canary());
        if let Seen::Known(Some(service)) = &mut fixture.seen.ecs.service {
            service.load_balancers.clear();
        }
        fixture.seen.elb.weights = Seen::Known(Vec::new());
        findings(&fixture)
    };
    let group = LatticeSeen { target_group: "arn:lattice".into(), can_shift: true };
    assert_eq!(alone(vec![group]), [("lattice_not_measured", false)]);
    assert_eq!(alone(Vec::new()), [("nothing_to_shift", true)]);
}

/// A service that only a gateway sends requests, as it was seen.
fn behind_a_gateway(gateway: Seen<GatewaySeen>, shift: &Shift) -> Fixture {
    let revision = "arn:aws:ecs:eu-central-1:111122223333:service-revision/prod/checkout/1".parse().ok();
    let mut fixture = of_kind(Kind { newest_revision: revision, ..Kind::default() }, shift);
    if let Seen::Known(Some(service)) = &mut fixture.seen.ecs.service {
        service.load_balancers.clear();
    }
    fixture.seen.ecs.gateway = gateway;
    fixture
}

fn gateway(balancers: Vec<LoadBalancerSeen>) -> GatewaySeen {
    GatewaySeen { is_connected: true, balancers, unknown: Vec::new() }
}

fn of_the_gateway() -> LoadBalancerSeen {
    LoadBalancerSeen {
        target_group: Some(names::blue()),
        alternate_target_group: Some(names::green()),
        production_rule: Some(names::rule()),
        test_rule: None,
        role_given: true,
    }
}

#[test]
fn the_rule_of_a_gateway_is_found_and_measured() {
    let seen = |found: GatewaySeen, shift: &Shift| behind_a_gateway(Seen::Known(found), shift);
    let mut whole = seen(gateway(vec![of_the_gateway()]), &canary());
    // Its rule need not name the second target group before Amazon ECS puts it there.
    whole.seen.elb.weights = Seen::Known(vec![RuleSeen {
        arn: names::rule(),
        weights: vec![(names::blue(), 100)],
        is_default: false,
    }]);
    assert_eq!(findings(&whole), []);
    let plan = whole.decided().release.plan.expect("preflight has passed");
    let Setup::EcsNative(native) = &plan.setup else { panic!("{:?}", plan.setup) };
    assert_eq!(native.measured_at, [(names::rule(), names::green())]);
    let mut half = of_the_gateway();
    half.alternate_target_group = None;
    let stuck = [("gateway_without_second_group", true)];
    assert_eq!(findings(&seen(gateway(vec![half.clone()]), &canary())), stuck);
    assert_eq!(findings(&seen(gateway(Vec::new()), &canary())), stuck);
    assert_eq!(findings(&seen(gateway(vec![half]), &ROLLING)), []);
    let unknown = GatewaySeen { unknown: vec!["pathSharedNlb".into()], ..gateway(Vec::new()) };
    assert_eq!(findings(&seen(unknown, &canary())), [("service_kind_unknown", true)]);
    assert_eq!(findings(&seen(GatewaySeen::default(), &canary())), [("nothing_to_shift", true)]);
}

#[test]
fn a_gateway_that_could_not_be_seen_is_not_none() {
    let denied = PortError::new(ErrorKind::Denied, "ecs:DescribeServiceRevisions", "AccessDenied", "no");
    let unseen = behind_a_gateway(Seen::Unknown(denied.clone()), &canary());
    let head = unseen.seen.head.as_ref().expect("a row");
    match preflight::check(
        &head.policy,
        head.policy.to.ecs().expect("an ECS service"),
        &unseen.release.change,
        &unseen.release.intent,
        &unseen.seen,
    ) {
        Verdict::CannotSee(errors) => assert_eq!(errors, [denied], "why is told"),
        other @ (Verdict::Pass(..) | Verdict::Blocked(_)) => panic!("{other:?}"),
    }
    check(unseen, "preflight |  | +15s");
    check(behind_a_gateway(Seen::NotAsked, &canary()), "preflight |  | +15s");
    let mut rolling = behind_a_gateway(Seen::NotAsked, &ROLLING);
    rolling.seen.elb.weights = Seen::Known(Vec::new());
    assert_eq!(findings(&rolling), [], "nothing is shifted, so nobody asks for it");
}

#[test]
fn every_image_that_a_rollback_needs_is_proven() {
    let sidecar = format!("{}/shop/sidecar", names::registry());
    let with_sidecar = |stored: Seen<Stored>| {
        let mut fixture = Fixture::preparing();
        let reference = format!("{sidecar}@{}", names::digest(70));
        if let Seen::Known(seen) = &mut fixture.seen.ecs.task_definition {
            seen.images.insert(names::sidecar(), reference.clone());
        }
        fixture.seen.stored.insert(reference, stored);
        fixture
    };
    let there = ImageSeen::there(names::digest(70));
    assert_eq!(findings(&with_sidecar(Seen::Known(Stored::There(there.clone())))), []);
    finds(&with_sidecar(Seen::Known(Stored::Gone)), "stable_image_missing", true);
    let archived = ImageSeen { archived: true, ..there.clone() };
    finds(&with_sidecar(Seen::Known(Stored::There(archived))), "stable_image_archived", true);
    let expiring = ImageSeen { expiring: true, ..there };
    finds(&with_sidecar(Seen::Known(Stored::There(expiring))), "stable_image_expiring", true);
    finds(&with_sidecar(Seen::Known(Stored::Elsewhere)), "stable_image_elsewhere", false);
    // Somebody else's repository that may not be read holds nobody up; what may be seen later is waited for.
    let error = |kind| PortError::new(kind, "ecr:DescribeImages", "Code", "no");
    finds(&with_sidecar(Seen::Unknown(error(ErrorKind::Denied))), "stable_image_unreadable", false);
    check(with_sidecar(Seen::Unknown(error(ErrorKind::Throttled))), "preflight |  | +15s");
    // The released container's own has to be seen.
    let mut own = Fixture::preparing();
    own.seen.stored.insert(names::image(1).pinned(), Seen::Unknown(error(ErrorKind::Denied)));
    check(own, "preflight |  | +15s");
}

#[test]
fn the_digest_that_runs_is_proven_not_the_one_its_tag_means_by_now() {
    let mut moved = Fixture::tagged().decided();
    assert_eq!(findings(&moved), []);
    moved.seen.stored.insert(names::image(1).pinned(), Seen::Known(Stored::Gone));
    finds(&moved, "stable_image_missing", true);
    let mut unknown = Fixture::tagged().decided();
    unknown.seen.ecs.running = Seen::Known(RunningSeen::default());
    finds(&unknown, "running_digest_unknown", true);
    let mut mixed = Fixture::tagged().decided();
    let two = vec![names::digest(1), names::digest(8)];
    mixed.seen.ecs.running = Seen::Known(RunningSeen { digests: [(names::container(), two)].into() });
    finds(&mixed, "running_images_differ", true);
}

#[test]
fn other_containers_with_the_same_image_are_told_of() {
    let mut two = Fixture::preparing();
    if let Seen::Known(seen) = &mut two.seen.ecs.task_definition {
        seen.images.insert(names::sidecar(), names::image(1).pinned());
    }
    finds(&two, "other_containers_stay", false);
}

/// The approval that stands before this.
fn approval(fixture: &Fixture, before: Before) -> impl Fn(&Stage) -> bool {
    let gates = fixture.release.plan.as_ref().expect("a plan").gates.approvals.clone();
    move |stage| matches!(stage, Stage::Approve { gate } if gates[*gate].approval.before == before)
}

fn before(what: Before) -> Fixture {
    let any = Fixture::gated(|_| true);
    Fixture::gated(approval(&any, what))
}

fn decides(fixture: &Fixture, summary: &str, effects: &[&str]) {
    let decision = fixture.decide();
    let named: Vec<&str> = decision.effects.iter().map(|effect| effect.name()).collect();
    assert_eq!((decision.release.summary().as_str(), named.as_slice()), (summary, effects));
}

const RESET: &str = "rolling back: the live weights are not what was set: green has";

#[test]
fn weights_that_someone_else_set_are_noticed_in_every_stage_that_waits() {
    let stop = ["stop_deployment"];
    // An approval before the promotion, during which the rule is reset: nothing is left on the candidate.
    let waits = before(Before::Promote).carrying(100).decided();
    decides(&waits.clone().later(30), "approval 3", &[]);
    let reset = format!("{RESET} 0%, 100% was set");
    decides(&waits.clone().weight(0).later(10), "approval 3", &[]);
    decides(&waits.weight(0).later(30), &reset, &stop);
    decides(&Fixture::promoting().weight(0).later(60), &reset, &stop);
    decides(&Fixture::baking(100).weight(0).later(60), &reset, &stop);
    let waits = before(Before::Shift).carrying(0).decided();
    decides(&waits.clone().later(30), "approval 2", &[]);
    decides(&waits.weight(50).later(30), &format!("{RESET} 50%, 0% was set"), &stop);
    let verifies = Fixture::gated(|stage| matches!(stage, Stage::Verify { .. })).carrying(10);
    decides(&verifies.weight(100).later(30), &format!("{RESET} 100%, 10% was set"), &stop);
}

#[test]
fn nothing_is_continued_while_the_weights_are_not_seen_as_they_were_set() {
    check(Fixture::shifting().blind_to_weights(), "shift to 10% |  | +15s");
    check(Fixture::shifting().weight(30).later(3), "shift to 10% |  | +6s");
    check(Fixture::promoting().blind_to_weights(), "promote |  | +15s");
    check(Fixture::promoting().weight(0).later(3), "promote |  | +6s");
    // Also not when it is told a second time.
    check(Fixture::shifted().blind_to_weights().later(7), "shift to 10% |  | +15s");
    decides(
        &Fixture::shifted().weight(40).later(30),
        &format!("{RESET} 40%, 0% was set"),
        &["stop_deployment"],
    );
    check(Fixture::shifted().weight(10).later(7), "shift to 10% |  | +6s");
    check(Fixture::baking(10).blind_to_weights().later(300), "bake at 10% for 5m |  | +15s");
}

#[test]
fn nothing_ends_promoted_while_the_candidate_does_not_have_all_traffic() {
    let ends = || Fixture::settling().own_configuration();
    check(ends().weight(0).later(15), "settling: will be promoted |  | +15s");
    decides(&ends().weight(0).later(30), &format!("{RESET} 0%, 100% was set"), &["return_to"]);
    check(ends().blind_to_weights().later(30), "settling: will be promoted |  | +15s");
    let blind = ends().blind_to_weights().later(31 * 60).decide().release;
    assert!(matches!(blind.outcome(), Some(Outcome::Failed { .. })), "{:?}", blind.phase);
    let taken_over = ends().weight(0).later(30).with_someone_elses().decide().release;
    assert_eq!(taken_over.summary(), "failed");
}

#[test]
fn a_deployment_that_is_not_described_yet_is_neither_ours_nor_someone_elses() {
    check(Fixture::baking(10).later(300).with_undescribed(), "bake at 10% for 5m |  | +6s");
    check(Fixture::promoting().with_undescribed(), "promote |  | +6s");
    check(Fixture::starting().with_undescribed(), "start candidate |  | +6s");
    check(
        Fixture::settling().own_configuration().later(30).with_undescribed(),
        "settling: will be promoted |  | +6s",
    );
    let over = Fixture::rolling_back().status(DeploymentStatus::Successful).later(30);
    decides(&over.clone().with_undescribed(), &over.release.summary(), &[]);
    decides(&over, &over.release.summary(), &["return_to"]);
    // An alarm does not wait for a description.
    decides(
        &Fixture::baking(10).with_undescribed().breached(),
        "rolling back: alarm checkout-5xx went off: 5% errors",
        &["stop_deployment"],
    );
    // It is looked at again for a while only.
    let listed = Fixture::baking(10).later(5).with_undescribed();
    check(listed.clone().later(100), "bake at 10% for 5m |  | +6s");
    check(listed.later(200), "settling: will be failed |  | +15s");
}

#[test]
fn an_alarm_that_cannot_be_believed_is_no_evidence() {
    check(Fixture::baking(10).breached().silenced().later(300), "bake at 10% for 5m |  | +15s");
    check(Fixture::shifting().breached().silenced(), "shift to 10% |  | +15s");
    check(Fixture::promoting().breached().silenced(), "promote |  | +15s");
    check(Fixture::promoting().unproven(), "promote |  | +15s");
    check(Fixture::preparing().unproven(), "preflight |  | +15s");
}

#[test]
fn an_alarm_of_the_version_that_runs_holds_the_start_and_cancels_nothing() {
    let frozen = || Fixture::gated(|stage| *stage == Stage::Freeze);
    let asked = || before(Before::Deploy).decided();
    for fixture in [frozen(), asked()] {
        let stands = fixture.release.summary();
        decides(&fixture.clone().breached(), &stands, &[]);
        decides(&fixture.told_of_alarm(30), &stands, &[]);
    }
    check(Fixture::starting().breached(), "start candidate |  | +15s");
    check(Fixture::starting().told_of_alarm(1), "start candidate | start the deployment of checkout:2 | +6s");
    check(Fixture::starting().blind_to_alarms(), "start candidate |  | +15s");
    // Once a deployment may be under way, it counts.
    check(Fixture::starting().decided().breached().later(3), "settling: will be cancelled |  | +15s");
}

#[test]
fn a_release_that_has_baked_is_let_through() {
    let newer = || Request::Supersede { by: names::release(2) };
    let waits = before(Before::Promote).carrying(100).decided().asked(newer());
    decides(&waits.later(30), "approval 3", &[]);
    let settles = Fixture::promoting().status(DeploymentStatus::Successful).decided().asked(newer()).later(6);
    decides(&settles, "settling: will be promoted", &["restore_configuration"]);
    let bakes = Fixture::baking(100).asked(newer());
    assert!(bakes.decide().release.summary().starts_with("rolling back: the newer release"));
}

#[test]
fn a_promoted_release_stays_promoted_when_nothing_can_be_restored() {
    let mut stuck = Fixture::settling().later(31 * 60);
    let decision = stuck.decide();
    assert_eq!(decision.release.outcome(), Some(&Outcome::Promoted));
    let needs = decision.release.progress.restore_pending.expect("what a person has to do");
    assert!(needs.contains("by hand"), "{needs}");
    assert_eq!(
        decision.entry.unwrap().event.to_string(),
        "ended: promoted, restore pending: manual intervention required"
    );
    let promoted = decision.head.expect("the row is freed").promoted;
    assert_eq!(promoted[0].deployed.name(), names::task_definition(2).short(), "what runs is remembered");
    // Not without having seen the traffic.
    stuck = stuck.weight(0);
    assert!(!matches!(stuck.decide().release.outcome(), Some(Outcome::Promoted)));
}

#[test]
fn a_release_whose_target_was_changed_is_superseded_by_the_policy() {
    let superseded = Outcome::Superseded { by: Successor::Policy };
    for mut fixture in [Fixture::queued(), Fixture::preparing()] {
        let head = fixture.seen.head.as_mut().unwrap();
        names::to_ecs(&mut head.policy).service = "checkout-2".parse().unwrap();
        let decision = fixture.decide();
        assert_eq!(decision.release.outcome(), Some(&superseded));
        let head = decision.head.expect("the row is freed");
        assert_eq!((head.active, head.waiting), (None, None));
    }
    let mut other = Fixture::queued();
    other.seen.head.as_mut().unwrap().policy.strategy.bake = Default::default();
    assert_eq!(
        other.decide().release.summary(),
        "preflight",
        "another change of the policy is no other target"
    );
}

#[test]
fn a_refusal_to_continue_what_has_been_continued_is_void() {
    let gone_on = || Fixture::shifted().deployed().later(3).refused(EffectKind::ContinueHook);
    decides(&gone_on(), "shift to 10%", &[]);
    let waits = Fixture::shifted().later(3).refused(EffectKind::ContinueHook);
    assert!(waits.decide().release.summary().starts_with("rolling back: AWS refused"));
}

#[test]
fn the_rollback_of_what_was_shifted_lets_ecs_set_the_weights() {
    let over = Fixture::rolling_back().status(DeploymentStatus::Successful).later(30);
    let decision = over.decide();
    let [tidegate_core::effect::Effect::Ecs(ecs::Effect::ReturnTo { configuration, .. })] =
        &decision.effects[..]
    else {
        panic!("{:?}", decision.effects)
    };
    assert_eq!(configuration["strategy"], "BLUE_GREEN");
    assert!(configuration["lifecycleHooks"].as_array().is_none_or(Vec::is_empty), "nothing holds it");
}

#[test]
fn an_alarm_of_the_services_own_that_is_red_is_told_and_holds_nothing() {
    let own: tidegate_core::ids::AlarmName = "queue-depth".parse().unwrap();
    let with = |state: AlarmState, enable: bool| {
        let alarms = json!({ "alarmNames": [own.as_str()], "enable": enable, "rollback": true });
        let mut fixture = Fixture::preparing().configured("alarms", alarms);
        let Seen::Known(alarms) = fixture.clone().alarm(state).seen.alarms else { unreachable!() };
        let seen = alarms.into_values().next().unwrap();
        fixture.seen.own_alarms = Seen::Known([(own.clone(), seen)].into());
        fixture
    };
    let told = |fixture: &Fixture| data(&fixture.decide().entry.unwrap());
    let red = with(AlarmState::Alarm, true);
    check(red.clone(), "prepare candidate |  | +0s");
    assert!(
        told(&red).contains("own_alarm_in_alarm") && told(&red).contains("queue-depth"),
        "{}",
        told(&red)
    );
    assert!(!told(&with(AlarmState::Ok, true)).contains("own_alarm_in_alarm"));
}

/// A rollback that AWS refuses with this, the deployment being over.
fn refused_rollback(kind: ErrorKind) -> Fixture {
    let over = Fixture::rolling_back().status(DeploymentStatus::Successful).later(30).decided();
    let mut refused = over.refused(EffectKind::ReturnTo).later(1);
    refused.seen.refused[0].error =
        PortError::new(kind, "ecs:UpdateService", "ClientException", "TaskDefinition is inactive");
    refused
}

#[test]
fn a_revision_that_was_deregistered_is_registered_again_before_it_is_rolled_back_to() {
    let refused = refused_rollback(ErrorKind::Invalid);
    let back = refused.release.summary();
    decides(&refused, &back, &[]);
    assert_eq!(refused.decide().release.wake.unwrap().at, refused.now, "it is looked at once more at once");
    let mut looks = refused.decided();
    looks.seen.refused.clear();
    let sought = needs(&looks.release, &looks.seen).ecs.revision.expect("the revision is looked for");
    assert_eq!(
        sought,
        looks.release.plan.as_ref().unwrap().setup.ecs_rollback_target().expect("an ECS service").copy()
    );
    // It is gone: the same document is registered again, and that is deployed.
    looks.seen.ecs.revision = Seen::Known(None);
    let looks = looks.later(7);
    decides(&looks, &back, &["register_task_definition"]);
    let again = looks.decided().found(9).later(1);
    decides(&again, &back, &["return_to"]);
    let [Effect::Ecs(ecs::Effect::ReturnTo { task_definition, .. })] = &again.decide().effects[..] else {
        unreachable!()
    };
    assert_eq!(*task_definition, names::task_definition(9));
    assert_eq!(again.decide().release.rollback_name(), Some(names::task_definition(9).short()));
    // Once only: what AWS goes on refusing is tried again as it is, and in the end is for a person.
    let mut still = again.decided().refused(EffectKind::ReturnTo).later(30);
    still.seen.refused[0].error = PortError::new(
        ErrorKind::Invalid,
        "ecs:UpdateService",
        "ClientException",
        "TaskDefinition is inactive",
    );
    decides(&still, &back, &["return_to"]);
    assert_eq!(still.later(20 * 60).decide().release.summary(), "settling: will be failed");
}

#[test]
fn a_rollback_that_is_not_allowed_registers_nothing_and_one_that_cannot_look_goes_on() {
    let denied = refused_rollback(ErrorKind::Denied);
    let denied = denied.decided();
    assert!(needs(&denied.release, &denied.seen).ecs.revision.is_none());
    // Where the revision cannot be looked for, the rollback is simply tried again.
    let mut blind = refused_rollback(ErrorKind::Invalid).decided();
    blind.seen.refused.clear();
    let error = PortError::new(ErrorKind::Throttled, "ecs:ListTaskDefinitions", "Throttled", "slow");
    blind.seen.ecs.revision = Seen::Unknown(error);
    let blind = blind.later(30);
    decides(&blind, &blind.release.summary(), &["return_to"]);
}

#[test]
fn a_flap_before_the_deployment_began_is_not_its_breach() {
    // The release has been frozen for an hour; the alarm of then is told late.
    let mut late = Fixture::baking(10).told_of_alarm(600).later(3600);
    if let Seen::Known(deployments) = &mut late.seen.ecs.deployments {
        deployments[0].created_at = names::start().saturating_add(SignedDuration::from_secs(3500)).unwrap();
    }
    if let Phase::Running { since, step, .. } = &mut late.release.phase {
        (*since, *step) = (late.now, Step::Entered);
    }
    assert_eq!(late.decide().release.summary(), "bake at 10% for 5m");
}

#[test]
fn what_a_plan_was_made_from_is_looked_at_again_before_the_start() {
    let again = |fixture: Fixture| {
        check(fixture.clone(), "preflight |  | +0s");
        let decision = fixture.decide();
        assert_eq!(decision.entry.as_ref().expect("it is told").event.to_string(), "planning again");
        assert_eq!((&decision.release.plan, decision.release.progress.replanned), (&None, 1));
        check_decision(&fixture.release, &decision).expect("it may be");
    };
    let mut deployed = Fixture::starting().runs(9);
    if let Seen::Known(seen) = &mut deployed.seen.ecs.task_definition {
        seen.arn = names::task_definition(9);
    }
    again(deployed);
    let mut moved = Fixture::starting().runs_image(8);
    if let Seen::Known(seen) = &mut moved.seen.ecs.task_definition {
        let latest = format!("{}/{}:latest", names::registry(), names::repository());
        seen.images.insert(names::container(), latest);
    }
    again(moved);
    again(Fixture::starting().weight(30));
    let mut configured = Fixture::starting();
    if let Seen::Known(Some(service)) = &mut configured.seen.ecs.service {
        service.deployment_configuration["maximumPercent"] = 150.into();
    }
    again(configured);
    // What is more than before would be lost by restoring.
    again(Fixture::starting().configured("introducedNextYear", json!({ "on": true })));
    let mut gone = Fixture::starting();
    gone.seen.stored.insert(names::image(1).pinned(), Seen::Known(Stored::Gone));
    again(gone);
    let mut new_gone = Fixture::starting();
    new_gone.seen.new_images = Seen::Known([(names::digest(2), None)].into());
    again(new_gone);
    // What could not be seen is looked at again, and nothing is started meanwhile.
    let mut unseen = Fixture::starting();
    let error = PortError::new(ErrorKind::Throttled, "ecs:DescribeServiceRevisions", "Code", "slow");
    unseen.seen.ecs.running = Seen::Unknown(error);
    check(unseen, "start candidate |  | +15s");
    // Once the deployment was asked for it is too late for another plan.
    check(Fixture::starting().decided().later(3).weight(30), "start candidate |  | +6s");
}

#[test]
fn a_plan_is_made_anew_a_few_times_and_then_a_person_is_called() {
    let mut fixture = Fixture::starting().weight(30);
    fixture.release.progress.replanned = 3;
    check(fixture.clone(), "settling: will be failed |  | +15s");
    let ended = fixture.decided().later(60);
    check(ended.clone(), "failed |  | never");
    let why = ended.decide().release.cause().map(ToString::to_string).unwrap_or_default();
    assert!(why.contains("has changed 4 times") && why.contains("2 target groups"), "{why}");
}

#[test]
fn what_others_deploy_before_the_start_is_planned_with_and_never_undone() {
    // While a release only waits, somebody deploys: it is not given way to, the plan is.
    let waiting = Fixture::registering().later(60).with_someone_elses();
    check(waiting.clone(), "prepare candidate | register checkout with app = 000000000000 | +6s");
    // Cancelled before anything was started: their configuration is not restored.
    let mut theirs = waiting.asked(cancel_asked());
    if let Seen::Known(Some(service)) = &mut theirs.seen.ecs.service {
        service.deployment_configuration["maximumPercent"] = 150.into();
    }
    let settling = theirs.decided();
    check(settling.later(30), "cancelled |  | never");
}

#[test]
fn an_approval_counts_for_the_plan_it_was_given_for() {
    let given = |fixture: &mut Fixture| {
        let gate = tidegate_core::approval::Opened {
            at: fixture.now,
            expires_at: fixture.now,
            invitations: Vec::new(),
            votes: Vec::new(),
        };
        fixture.release.gates.insert(1, gate);
    };
    // The image was not to be found for a moment: the plan is the same again.
    let mut same = Fixture::starting();
    let there = std::mem::replace(&mut same.seen.new_images, Seen::Known([(names::digest(2), None)].into()));
    given(&mut same);
    let mut same = same.decided();
    same.seen.new_images = there;
    let same = same.later(30).decided();
    assert!(same.release.plan.is_some() && same.release.gates.len() == 1);
    // Somebody deployed something else meanwhile: it is another plan.
    let mut other = Fixture::starting();
    given(&mut other);
    if let Seen::Known(Some(service)) = &mut other.seen.ecs.service {
        service.deployment_configuration["maximumPercent"] = 150.into();
    }
    let other = other.decided().later(30).decided();
    assert!(other.release.plan.is_some() && other.release.gates.is_empty());
}

#[test]
fn what_somebody_else_deploys_after_a_rollback_is_not_judged_by_the_last_look() {
    let mut over = Fixture::rolling_back()
        .status(DeploymentStatus::RollbackSuccessful)
        .weight(0)
        .runs(1)
        .later(30)
        .own_configuration()
        .runs_image(5)
        .in_phase_settling();
    over.release.progress.state.ecs_native_mut().stable = Some(names::task_definition(7));
    if let Some(plan) = &mut over.release.plan {
        let Setup::EcsNative(native) = &mut plan.setup else { panic!("ECS shifts the traffic") };
        let app = native.rollback_target.images.get_mut(&names::container()).expect("it runs");
        app.reference = "shop/checkout:latest".into();
    }
    // Theirs runs another image, as it is meant to.
    check(over.clone().runs(9).later(60), "rolled back |  | never");
    // The stable version with another image is corrected, once.
    let corrected = over.clone().later(60);
    let why = "rolling back: alarm checkout-5xx went off: 5% errors";
    check(corrected.clone(), &format!("{why} |  | +6s"));
    let mut again = corrected;
    again.release.progress.state.ecs_native_mut().corrected = true;
    check(again, "failed |  | never");
}

#[test]
fn a_bake_ends_only_with_a_look_made_after_its_end() {
    let over = Fixture::baking(10).later(300);
    let mut looked_before = over.clone();
    looked_before.seen.at = over.now.saturating_sub(SignedDuration::from_secs(1)).unwrap();
    decides(&looked_before, &Fixture::baking(10).release.summary(), &[]);
    // The shift rests upon the same look.
    decides(&over, "shift to 100%", &["continue_hook"]);
}

#[test]
fn a_deployment_that_starts_after_all_is_rolled_back() {
    let cancelled = Fixture::starting().decided().asked(cancel_asked()).later(3).decided();
    decides(&cancelled.clone().later(5), "settling: will be cancelled", &[]);
    let started = cancelled.later(5).deployed().decide();
    assert_eq!(started.release.summary(), "rolling back: ben cancelled it: not today");
}

#[test]
fn what_others_deployed_after_a_start_in_vain_is_not_deployed_over() {
    // The start was asked for and nothing came of it. Theirs brings what runs, and is over before the start is asked for again.
    let mut theirs = Fixture::starting().decided().later(20);
    let created_at = theirs.now;
    theirs = theirs.with_someone_elses().status_of(DeploymentStatus::Successful).later(40);
    if let Seen::Known(deployments) = &mut theirs.seen.ecs.deployments {
        deployments[0].task_definition = Some(names::task_definition(1));
    }
    decides(&theirs, "failed", &[]);
    // What was there before it was asked for was planned with.
    let before = created_at.saturating_sub(SignedDuration::from_secs(60)).unwrap();
    if let Seen::Known(deployments) = &mut theirs.seen.ecs.deployments {
        deployments[0].created_at = before;
    }
    decides(&theirs, "start candidate", &["start_deployment"]);
}

/// A decision is checked as a whole before it is committed, so that a faulty rule stops a release rather than harming a service.
#[test]
fn a_decision_that_no_rule_may_make_is_not_committed() {
    let broken = |fixture: &Fixture, change: &dyn Fn(&mut Decision)| {
        let mut decision = fixture.decide();
        let commit =
            |decision: &Decision| checked_commit(&fixture.release, fixture.seen.head.as_ref(), decision);
        commit(&decision).expect("as it is decided, it may be");
        change(&mut decision);
        commit(&decision).expect_err("it may not be").join("; ")
    };
    let start = Effect::from(ecs::Effect::StartDeployment {
        task_definition: names::task_definition(2),
        configuration: json!({}),
    });
    let back = Effect::from(ecs::Effect::ReturnTo {
        task_definition: names::task_definition(1),
        configuration: json!({}),
    });
    let breached = Fixture::baking(10).breached();
    let ours = breached.release.progress.state.ecs_native().deployment.clone().expect("it is deployed");
    let go_on = Effect::Ecs(ecs::Effect::ContinueHook { deployment: ours, hook: names::hook(9) });
    for forward in [start.clone(), go_on] {
        let said = broken(&breached, &|decision| decision.effects.push(forward.clone()));
        assert!(said.contains("after a breach"), "{said}");
    }
    let twice = broken(&Fixture::starting(), &|decision| decision.effects.push(back.clone()));
    assert!(twice.contains("one deployment at most"), "{twice}");
    let untold = broken(&breached, &|decision| decision.entry = None);
    assert!(untold.contains("history entry"), "{untold}");
    let ended = Fixture::settling().own_configuration().later(30);
    let after = broken(&ended, &|decision| {
        decision.effects.push(Effect::Ecs(ecs::Effect::StopDeployment { deployment: names::deployment(1) }))
    });
    assert!(after.contains("an ended release"), "{after}");
    let unwritten = broken(&Fixture::baking(10).later(10), &|decision| {
        decision.release = Fixture::baking(10).later(10).release;
        decision.effects.push(back.clone());
    });
    assert!(unwritten.contains("changes nothing"), "{unwritten}");
}

#[test]
fn what_led_to_the_end_is_told_once_though_the_end_has_to_wait() {
    // Everything is as it was before the release; the service's row cannot be read, so the release cannot end.
    let mut over = Fixture::rolling_back().status(DeploymentStatus::RollbackSuccessful).runs(1);
    over = over.weight(0).own_configuration().runs_image(1).later(60);
    over.seen.head = None;
    let settling = over.decide();
    assert_eq!(settling.release.summary(), "settling: will be rolled back");
    let told = settling.entry.expect("a change of phase is told").event;
    assert_eq!(told, Event::TrafficRestored);
    // The next look, which changes nothing, tells nothing.
    let again = over.decided().later(15).decide();
    assert_eq!(again.release.summary(), "settling: will be rolled back");
    assert!(again.entry.is_none(), "{:?}", again.entry);
}

/// The stable version is being deployed again, and a task of it has not started; ECR says this of its image.
fn brought_back_without_image(stored: Seen<Stored>) -> Fixture {
    let over = Fixture::rolling_back().status(DeploymentStatus::Successful).later(30).decided();
    let mut back = over.later(30).returned(1);
    if let Seen::Known(deployments) = &mut back.seen.ecs.deployments {
        deployments[0].status = DeploymentStatus::InProgress;
    }
    let needed = needs(&back.release, &back.seen);
    assert_eq!(
        needed.ecs.stopped_tasks.clone().map(|asked| asked.task_definition),
        Some(names::task_definition(1))
    );
    let ours = |image: &String| image.contains("/shop/checkout@");
    let said = |image: &String| if ours(image) { stored.clone() } else { Seen::Known(Stored::Elsewhere) };
    back.seen.stored = needed.stored.into_iter().map(|image| (image.clone(), said(&image))).collect();
    assert!(back.seen.stored.keys().any(ours) && back.seen.stored.len() == 2, "{:?}", back.seen.stored);
    back.seen.ecs.stopped_tasks = Seen::Known(vec![StoppedTask {
        task_definition: names::task_definition(1),
        code: Some(StopCode::TaskFailedToStart),
        reason: Some("CannotPullContainerError: not found".into()),
        ..stopped_task(1, back.now)
    }]);
    back
}

#[test]
fn a_person_is_called_at_once_when_the_image_that_ran_before_is_gone() {
    let gone = brought_back_without_image(Seen::Known(Stored::Gone));
    let decision = gone.decide();
    assert_eq!(decision.release.summary(), "settling: will be failed");
    let Phase::Settling { outcome: Outcome::Failed { needs: text, .. }, .. } = &decision.release.phase else {
        panic!("{:?}", decision.release.phase)
    };
    let told = |event: &Event| matches!(event, Event::RollbackFailed { needs } if needs == text);
    assert!(decision.entry.unwrap().events().any(told), "the history says what a person has to do");
    let digest = names::digest(1);
    for told in ["gone from ECR", digest.as_str(), "push", "container app"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn so_it_is_when_amazon_ecs_goes_back_by_itself_and_replaces_tasks_in_place() {
    let mut back = tagged_in_its_final_bake().status_of(DeploymentStatus::InProgress).breached().decided();
    back = back.status_of(DeploymentStatus::RollbackInProgress).later(20);
    let needed = needs(&back.release, &back.seen);
    assert_eq!(
        needed.ecs.stopped_tasks.clone().map(|asked| asked.task_definition),
        Some(names::task_definition(2)),
        "the one that names the digest"
    );
    let waits = |fixture: &Fixture| fixture.decide().release.summary().starts_with("rolling back");
    back.seen.ecs.stopped_tasks = Seen::Known(vec![StoppedTask {
        code: Some(StopCode::TaskFailedToStart),
        ..stopped_task(1, back.now)
    }]);
    assert!(waits(&back), "nobody has said that the image is gone");
    back.seen.stored = needed.stored.into_iter().map(|image| (image, Seen::Known(Stored::Gone))).collect();
    assert_eq!(back.decide().release.summary(), "settling: will be failed");
    back.seen.ecs.stopped_tasks = Seen::Known(Vec::new());
    assert!(waits(&back), "every task has started");
}

#[test]
fn what_may_still_come_back_is_tried_again() {
    let gone = || brought_back_without_image(Seen::Known(Stored::Gone));
    let goes_on = |fixture: &Fixture, why: &str| {
        let summary = fixture.decide().release.summary();
        assert!(summary.starts_with("rolling back"), "{why}: {summary}");
    };
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Denied] {
        let unanswered = Seen::Unknown(PortError::new(kind, "ecr:DescribeImages", "Error", "no answer"));
        goes_on(&brought_back_without_image(unanswered), "ECR has not said that it is gone");
    }
    goes_on(&brought_back_without_image(Seen::Known(Stored::Elsewhere)), "nobody was asked");
    let mut cached = gone();
    cached.seen.ecs.stopped_tasks = Seen::Known(Vec::new());
    goes_on(&cached, "no task has failed: an instance may have the image");
    let mut unseen = gone();
    unseen.seen.ecs.stopped_tasks = Seen::NotAsked;
    goes_on(&unseen, "whether a task has failed was not seen");
    for change in [
        (|task| task.code = Some(StopCode::EssentialContainerExited)) as fn(&mut StoppedTask),
        |task| task.task_definition = names::task_definition(2),
        |task| task.created_at = Some(names::start()),
    ] {
        let mut other = gone();
        if let Seen::Known(tasks) = &mut other.seen.ecs.stopped_tasks {
            change(&mut tasks[0]);
        }
        goes_on(&other, "that task tells nothing of the image");
    }
    let returned = gone().status_of(DeploymentStatus::Successful);
    assert!(!returned.decide().release.summary().contains("failed"), "it is back after all");
    // Where the stable version still runs beside the candidate, nothing is asked.
    let back = Fixture::rolling_back();
    assert!(needs(&back.release, &back.seen).stored.is_empty());
}
