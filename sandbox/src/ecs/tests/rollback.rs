//! Deployments that go back.

use serde_json::{Value, json};

use super::{Lab, canary, pauses, with};
use crate::ports::AlarmState;

/// All is as before the release, and whoever looks can see why.
fn assert_rolled_back(lab: &Lab, reason: &str) {
    lab.until("rolled back", |lab| lab.statuses()[0] == "ROLLBACK_SUCCESSFUL");
    lab.pass(2);
    assert_eq!(lab.weights(), (100, 0));
    assert_eq!(lab.versions(), [("v1".into(), 2)]);
    let deployment = lab.deployment();
    assert!(deployment["statusReason"].as_str().unwrap().contains(reason), "{deployment}");
    let service = lab.describe();
    assert_eq!(service["taskDefinition"], "arn:aws:ecs:eu-west-1:111122223333:task-definition/shop:1");
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(deployment["rollback"]["serviceRevisionArn"], service["currentServiceRevisions"][0]["arn"]);
}

fn at_canary(configuration: Value) -> Lab {
    let lab = Lab::new();
    lab.service(configuration);
    lab.release("v2");
    lab.until("the canary", |lab| lab.weights() == (90, 10));
    lab
}

#[test]
fn a_stop_moves_traffic_back_first_and_at_once() {
    let lab = at_canary(canary());
    lab.stop();
    assert_eq!(lab.statuses()[0], "ROLLBACK_REQUESTED");
    lab.ecs.inner.tick();
    assert_eq!(lab.weights(), (100, 0), "at the next tick");
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 2)], "before any task goes");
    assert_eq!(lab.statuses()[0], "ROLLBACK_IN_PROGRESS");
    assert_rolled_back(&lab, "stop request");
    let journal = lab.journal();
    assert_eq!(journal[1], "production blue=100 green=0");
    assert!(journal[2..].iter().all(|entry| !entry.starts_with("production")), "{journal:?}");
    // A rollback that was asked for makes no failure event.
    let names = lab.fakes.event_names("ECS Deployment State Change");
    assert_eq!(names, ["SERVICE_DEPLOYMENT_IN_PROGRESS"]);

    let again = json!({"serviceDeploymentArn": lab.deployment()["serviceDeploymentArn"]});
    assert_eq!(lab.refused("StopServiceDeployment", again), "ConflictException");
}

#[test]
fn a_stop_during_clean_up_rebuilds_the_old_fleet_before_it_gets_traffic() {
    let lab = Lab::new();
    lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}));
    *lab.fakes.in_flight.lock().unwrap() = 1;
    lab.release("v2");
    lab.until("clean-up", |lab| lab.stage() == "CLEAN_UP");
    lab.stop();
    lab.ecs.inner.tick();
    assert_eq!(lab.weights(), (0, 100), "no healthy task to go back to yet");
    *lab.fakes.in_flight.lock().unwrap() = 0;
    assert_rolled_back(&lab, "stop request");
}

#[test]
fn a_hook_answered_with_rollback_rolls_back() {
    let lab = Lab::new();
    lab.service(with(canary(), "lifecycleHooks", pauses(&["PRE_PRODUCTION_TRAFFIC_SHIFT"])));
    lab.release("v2");
    lab.until("the first hook", |lab| !lab.waiting_hooks().is_empty());
    lab.continue_hooks();
    lab.until("the second hook", |lab| lab.weights() == (90, 10) && !lab.waiting_hooks().is_empty());
    let hook = lab.waiting_hooks().remove(0);
    lab.answer_hook(&hook, "ROLLBACK");
    assert_rolled_back(&lab, &hook);
    assert_eq!(lab.fakes.event_names("ECS Hook State Change").last().unwrap(), "HOOK_FAILED");
}

#[test]
fn a_hook_nobody_answers_rolls_back_or_continues_as_configured() {
    for (action, weights) in [("ROLLBACK", (100, 0)), ("CONTINUE", (90, 10))] {
        let lab = Lab::new();
        lab.service(canary());
        let hooks = json!([{
            "targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"],
            "timeoutConfiguration": {"timeoutInMinutes": 5, "action": action},
        }]);
        let update = json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": {"lifecycleHooks": hooks}});
        lab.call("UpdateService", update);
        lab.release("v2");
        lab.until("the hook", |lab| !lab.waiting_hooks().is_empty());
        lab.pass(295);
        assert_eq!(lab.waiting_hooks().len(), 1);
        lab.pass(6);
        assert_eq!(lab.fakes.event_names("ECS Hook State Change")[1], "HOOK_TIMED_OUT");
        assert_eq!(lab.weights(), weights, "{action}");
        if action == "ROLLBACK" {
            assert_rolled_back(&lab, "timed out");
        }
    }
}

fn alarmed() -> Value {
    with(canary(), "alarms", json!({"alarmNames": ["5xx", "p99"], "enable": true, "rollback": true}))
}

#[test]
fn an_alarm_rolls_back_and_the_way_back_is_announced_as_completed() {
    let lab = at_canary(alarmed());
    assert_eq!(lab.deployment()["alarms"]["status"], "MONITORING");
    lab.fakes.alarm("5xx", AlarmState::Alarm);
    lab.pass(6);
    assert_eq!(lab.weights(), (100, 0));
    let alarms = lab.deployment()["alarms"].clone();
    assert_eq!(alarms["status"], "TRIGGERED");
    assert_eq!(alarms["triggeredAlarmNames"], json!(["5xx"]));
    assert_rolled_back(&lab, "5xx");
    let names = lab.fakes.event_names("ECS Deployment State Change");
    let failed_then_back = [
        "SERVICE_DEPLOYMENT_IN_PROGRESS",
        "SERVICE_DEPLOYMENT_FAILED",
        "SERVICE_DEPLOYMENT_IN_PROGRESS",
        "SERVICE_DEPLOYMENT_COMPLETED",
    ];
    assert_eq!(names, failed_then_back);
}

#[test]
fn an_alarm_red_at_the_start_makes_ecs_ignore_all_alarms() {
    let lab = Lab::new();
    lab.service(alarmed());
    lab.fakes.alarm("p99", AlarmState::Alarm);
    lab.release("v2");
    lab.until("the canary", |lab| lab.weights() == (90, 10));
    lab.fakes.alarm("p99", AlarmState::Ok);
    lab.fakes.alarm("5xx", AlarmState::Alarm);
    assert_eq!(lab.deployment()["alarms"]["status"], "DISABLED");
    lab.until("success", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.weights(), (0, 100));
}

#[test]
fn without_rollback_an_alarm_only_stops_the_deployment() {
    let lab = at_canary(with(
        canary(),
        "alarms",
        json!({"alarmNames": ["5xx"], "enable": true, "rollback": false}),
    ));
    lab.fakes.alarm("5xx", AlarmState::Alarm);
    lab.until("stopped", |lab| lab.statuses()[0] == "STOPPED");
    lab.pass(60);
    assert_eq!(lab.weights(), (90, 10), "left as it was");
}

#[test]
fn the_circuit_breaker_rolls_a_rolling_deployment_back() {
    let lab = Lab::new();
    lab.service(json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}}));
    lab.release("v2-crash");
    lab.until("triggered", |lab| lab.statuses()[0] == "ROLLBACK_SUCCESSFUL");
    let breaker = lab.deployment()["deploymentCircuitBreaker"].clone();
    assert_eq!((&breaker["status"], &breaker["threshold"]), (&json!("TRIGGERED"), &json!(3)));
    assert_rolled_back(&lab, "circuit breaker");
}

#[test]
fn without_the_circuit_breaker_a_broken_image_is_tried_for_ever() {
    for version in ["v2-crash", "v2-unhealthy", "v2-missing"] {
        let lab = Lab::new();
        lab.service(canary());
        lab.release(version);
        lab.pass(120);
        assert_eq!(lab.stage(), "SCALE_UP", "{version}");
        assert_eq!(lab.weights(), (100, 0), "never any traffic for {version}");
        let service = lab.describe();
        assert!(service["deployments"][0]["failedTasks"].as_u64().unwrap() > 5, "{service}");
        lab.stop();
        assert_rolled_back(&lab, "stop request");
    }
}

#[test]
fn a_first_deployment_has_nothing_to_go_back_to() {
    let lab = Lab::new();
    lab.register("v1-crash");
    lab.call("CreateService", super::service(json!({"deploymentConfiguration": canary()})));
    lab.pass(5);
    lab.stop();
    lab.pass(1);
    assert_eq!(lab.statuses(), ["ROLLBACK_FAILED"]);
}

#[test]
fn a_stop_before_an_interrupted_release_is_reconciled_still_restores_the_first_version() {
    let lab = Lab::new();
    let stages = ["RECONCILE_SERVICE", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    lab.service(with(canary(), "lifecycleHooks", pauses(&stages)));
    lab.release("v2");
    lab.until("v2 has all traffic", |lab| !lab.waiting_hooks().is_empty());
    assert_eq!(lab.weights(), (0, 100));
    lab.release("v3");
    lab.until("the hook before reconciling", |lab| lab.stage() == "RECONCILE_SERVICE");
    assert_eq!(lab.weights(), (0, 100));
    lab.stop();
    assert_rolled_back(&lab, "stop request");
}

#[test]
fn the_release_after_one_that_stopped_half_way_starts_from_the_last_good_version() {
    let lab = at_canary(with(
        canary(),
        "alarms",
        json!({"alarmNames": ["5xx"], "enable": true, "rollback": false}),
    ));
    lab.fakes.alarm("5xx", AlarmState::Alarm);
    lab.until("stopped", |lab| lab.statuses()[0] == "STOPPED");
    lab.fakes.alarm("5xx", AlarmState::Ok);
    lab.release("v3");
    lab.pass(1);
    assert_eq!(lab.weights(), (100, 0), "reconciled to v1");
    lab.until("the canary of v3", |lab| lab.weights() == (90, 10));
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v3".into(), 2)]);
    lab.stop();
    assert_rolled_back(&lab, "stop request");
}

#[test]
fn a_rolling_deployment_that_fails_without_rollback_tries_no_more_tasks() {
    let lab = Lab::new();
    lab.service(json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}}));
    lab.release("v2-crash");
    lab.until("stopped", |lab| lab.statuses()[0] == "STOPPED");
    let failed = lab.describe()["deployments"][0]["failedTasks"].clone();
    lab.pass(60);
    assert_eq!(lab.describe()["deployments"][0]["failedTasks"], failed);
    assert_eq!(lab.versions(), [("v1".into(), 2)]);
}
