//! Deployments that succeed, one for each strategy.

use serde_json::json;

use super::fakes::{GREEN, TEST};
use super::{Lab, balancer, canary, pauses, with};

#[test]
fn a_canary_shifts_twice_bakes_and_removes_the_old_fleet() {
    let lab = Lab::new();
    lab.service(with(canary(), "bakeTimeInMinutes", json!(3)));
    assert_eq!(lab.weights(), (100, 0));
    assert_eq!(lab.versions(), [("v1".into(), 2)]);

    lab.release("v2");
    lab.until("the canary", |lab| lab.weights() == (90, 10));
    // The whole new fleet stands before it gets any traffic.
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 2)]);
    assert_eq!(lab.stage(), "PRODUCTION_TRAFFIC_SHIFT");
    let deployment = lab.deployment();
    assert_eq!(deployment["targetServiceRevision"]["requestedProductionTrafficWeight"], 10.0);
    assert_eq!(deployment["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"], 90.0);

    lab.pass(115);
    assert_eq!(lab.weights(), (90, 10), "two minutes of bake are not over");
    lab.pass(10);
    assert_eq!(lab.weights(), (0, 100));
    assert_eq!(lab.stage(), "BAKE_TIME");
    lab.pass(170);
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 2)], "both live through the bake");
    lab.until("success", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.versions(), [("v2".into(), 2)]);
    assert_eq!(
        lab.journal()[..2],
        ["production blue=90 green=10", "production blue=0 green=100"],
        "nothing but two shifts before the old fleet goes"
    );
}

#[test]
fn the_next_release_goes_back_to_the_first_target_group() {
    let lab = Lab::new();
    lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}));
    lab.release("v2");
    lab.until("v2", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.weights(), (0, 100));
    lab.release("v3");
    lab.until("v3", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.weights(), (100, 0));
    assert_eq!(lab.versions(), [("v3".into(), 2)]);
}

#[test]
fn every_production_shift_waits_at_a_hook_of_its_own() {
    let lab = Lab::new();
    let stages = ["PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    let linear = json!({
        "strategy": "LINEAR",
        "linearConfiguration": {"stepPercent": 50, "stepBakeTimeInMinutes": 0},
        "lifecycleHooks": pauses(&stages),
    });
    lab.service(linear);
    lab.release("v2");
    let mut seen = Vec::new();
    for (weights, stage) in [
        ((100, 0), "PRE_PRODUCTION_TRAFFIC_SHIFT"),
        ((50, 50), "PRE_PRODUCTION_TRAFFIC_SHIFT"),
        ((0, 100), "POST_PRODUCTION_TRAFFIC_SHIFT"),
    ] {
        lab.until("a hook", |lab| !lab.waiting_hooks().is_empty());
        lab.pass(60);
        assert_eq!((lab.weights(), lab.stage()), (weights, stage.to_owned()), "held by the hook");
        let [hook] = <[String; 1]>::try_from(lab.waiting_hooks()).unwrap();
        assert!(hook.starts_with("ecs-pause-"), "{hook}");
        lab.answer_hook(&hook, "CONTINUE");
        let again = json!({"serviceDeploymentArn": lab.deployment()["serviceDeploymentArn"], "hookId": hook});
        assert_eq!(lab.refused("ContinueServiceDeployment", again), "InvalidParameterException");
        assert!(!seen.contains(&hook), "a new id for every run");
        seen.push(hook);
        lab.pass(1);
    }
    lab.until("success", |lab| lab.statuses()[0] == "SUCCESSFUL");
    let names = lab.fakes.event_names("ECS Hook State Change");
    assert_eq!(names, ["HOOK_AWAITING_ACTION", "HOOK_SUCCEEDED"].repeat(3));
    let events = lab.fakes.events.lock().unwrap();
    let first = events.iter().find(|event| event.detail_type == "ECS Hook State Change").unwrap();
    assert_eq!(first.detail["hookId"], seen[0].as_str());
    assert_eq!(first.detail["hookType"], "PAUSE");
    assert_eq!(first.detail["lifecycleStage"], "PRE_PRODUCTION_TRAFFIC_SHIFT");
    assert_eq!(first.resources, [first.detail["serviceDeploymentArn"].as_str().unwrap()]);
}

#[test]
fn blue_green_with_a_test_rule_shifts_test_traffic_first() {
    let lab = Lab::new();
    let mut with_test = balancer();
    with_test["advancedConfiguration"]["testListenerRule"] = json!(TEST);
    lab.register("v1");
    let configuration = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0});
    let request =
        super::service(json!({"loadBalancers": [with_test], "deploymentConfiguration": configuration}));
    lab.call("CreateService", request);
    lab.until("first", |lab| lab.statuses() == ["SUCCESSFUL"]);
    lab.fakes.journal.lock().unwrap().clear();
    let hooks = pauses(&["POST_TEST_TRAFFIC_SHIFT"]);
    let update =
        json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": {"lifecycleHooks": hooks}});
    lab.call("UpdateService", update);
    lab.release("v2");
    lab.until("the hook", |lab| !lab.waiting_hooks().is_empty());
    assert_eq!(lab.journal(), ["test blue=0 green=100"]);
    assert_eq!(lab.weights(), (100, 0));
    lab.continue_hooks();
    lab.until("success", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.weights(), (0, 100));
}

#[test]
fn rolling_never_has_fewer_healthy_or_more_running_tasks_than_allowed() {
    let lab = Lab::new();
    lab.service(json!({"strategy": "ROLLING", "maximumPercent": 150, "minimumHealthyPercent": 100}));
    lab.release("v2");
    for _ in 0..600 {
        let running: usize = lab.versions().iter().map(|(_, count)| count).sum();
        assert!((2..=3).contains(&running), "{:?}", lab.versions());
        if lab.statuses()[0] == "SUCCESSFUL" {
            break;
        }
        lab.pass(1);
    }
    assert_eq!(lab.versions(), [("v2".into(), 2)]);
    assert!(!lab.journal().iter().any(|entry| entry.starts_with("production")), "no weights are touched");
    assert!(lab.fakes.targets.lock().unwrap().iter().all(|(group, _)| group != GREEN));
}

#[test]
fn blue_green_works_without_a_load_balancer_and_canary_does_not() {
    let lab = Lab::new();
    lab.register("v1");
    let headless = |configuration| {
        super::service(json!({"loadBalancers": [], "deploymentConfiguration": configuration}))
    };
    assert_eq!(lab.refused("CreateService", headless(canary())), "InvalidParameterException");
    lab.call("CreateService", headless(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1})));
    lab.until("first", |lab| lab.statuses() == ["SUCCESSFUL"]);
    lab.release("v2");
    lab.until("second", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.versions(), [("v2".into(), 2)]);
    assert_eq!(lab.journal().iter().filter(|entry| !entry.starts_with("stop")).count(), 0);
}

#[test]
fn a_newer_deployment_stops_the_older_and_its_hooks() {
    let lab = Lab::new();
    lab.service(with(canary(), "lifecycleHooks", pauses(&["POST_PRODUCTION_TRAFFIC_SHIFT"])));
    lab.release("v2");
    lab.until("the hook after the full shift", |lab| !lab.waiting_hooks().is_empty());
    assert_eq!(lab.weights(), (0, 100));
    let old = lab.deployment();
    let hook = lab.waiting_hooks().remove(0);

    lab.release("v3");
    assert_eq!(lab.statuses()[..2], ["PENDING", "STOP_REQUESTED"]);
    let stale = json!({"serviceDeploymentArn": old["serviceDeploymentArn"], "hookId": hook});
    assert_eq!(lab.refused("ContinueServiceDeployment", stale), "InvalidParameterException");
    lab.pass(1);
    assert_eq!(lab.statuses()[..2], ["IN_PROGRESS", "STOPPED"]);
    assert_eq!(lab.weights(), (100, 0), "reconciled to the last good revision");
    assert_eq!(lab.deployment()["sourceServiceRevisions"].as_array().unwrap().len(), 2);

    lab.until("the canary of v3", |lab| lab.weights() == (90, 10));
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v3".into(), 2)]);
    lab.until("success", |lab| {
        lab.continue_hooks();
        lab.statuses()[0] == "SUCCESSFUL"
    });
    assert_eq!(lab.versions(), [("v3".into(), 2)]);
}

#[test]
fn a_task_that_dies_is_replaced() {
    let lab = Lab::new();
    lab.service(json!({}));
    lab.fakes.kill_one("v1");
    lab.pass(1);
    assert_eq!(lab.describe()["runningCount"], 1);
    lab.pass(5);
    assert_eq!(lab.versions(), [("v1".into(), 2)]);
    let stopped =
        lab.call("ListTasks", json!({"cluster": "prod", "serviceName": "shop", "desiredStatus": "STOPPED"}));
    let tasks = json!({"cluster": "prod", "tasks": stopped["taskArns"]});
    let task = lab.call("DescribeTasks", tasks)["tasks"][0].clone();
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(task["containers"][0]["exitCode"], 137);
}

#[test]
fn a_task_is_stopped_only_when_its_requests_have_ended() {
    let lab = Lab::new();
    lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}));
    *lab.fakes.in_flight.lock().unwrap() = 1;
    lab.release("v2");
    lab.until("clean-up", |lab| lab.stage() == "CLEAN_UP");
    lab.pass(30);
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 2)], "still answering");
    assert!(lab.journal().contains(&"deregister blue".to_owned()));
    *lab.fakes.in_flight.lock().unwrap() = 0;
    lab.pass(2);
    assert_eq!(lab.versions(), [("v2".into(), 2)]);
}

#[test]
fn a_load_balancer_that_refuses_is_asked_again() {
    let lab = Lab::new();
    lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}));
    *lab.fakes.refuse_weights.lock().unwrap() = true;
    lab.release("v2");
    lab.pass(20);
    assert_eq!(lab.stage(), "PRODUCTION_TRAFFIC_SHIFT");
    assert_eq!(lab.deployment()["targetServiceRevision"]["requestedProductionTrafficWeight"], 0.0);
    *lab.fakes.refuse_weights.lock().unwrap() = false;
    lab.until("success", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.weights(), (0, 100));
}

#[test]
fn a_steady_service_says_so_once_and_again_after_the_interval() {
    let lab = Lab::new();
    lab.register("v1");
    lab.call("CreateService", super::service(json!({})));
    lab.until("first", |lab| lab.statuses() == ["SUCCESSFUL"]);
    lab.pass(60);
    assert_eq!(lab.fakes.event_names("ECS Service Action"), ["SERVICE_STEADY_STATE"]);
    lab.pass_minutes(6 * 60);
    assert_eq!(lab.fakes.event_names("ECS Service Action").len(), 2);
}
