//! How a `deploymentConfiguration` is taken: what is laid over what, what is refused, and what is not documented, both ways.

use serde_json::{Value, json};

use super::{Lab, canary};
use crate::ecs::{PauseStage, Settings, StaleBlocks, Undocumented};

fn playing(stale_blocks: StaleBlocks) -> Lab {
    Lab::with(Settings {
        undocumented: Undocumented { stale_blocks, ..Undocumented::default() },
        ..Settings::default()
    })
}

fn update(configuration: Value) -> Value {
    json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": configuration})
}

fn configured(lab: &Lab) -> Value {
    lab.describe()["deploymentConfiguration"].clone()
}

fn early(cleanup: &str) -> Value {
    json!({"enable": true, "healthyPercent": 50, "sourceServiceRevisionCleanup": cleanup})
}

#[test]
fn a_block_of_another_strategy_is_refused_and_changes_nothing() {
    let lab = Lab::new();
    lab.service(json!({"strategy": "ROLLING"}));
    let before = configured(&lab);
    for (strategy, member) in [
        ("ROLLING", "canaryConfiguration"),
        ("ROLLING", "linearConfiguration"),
        ("LINEAR", "canaryConfiguration"),
        ("CANARY", "linearConfiguration"),
        ("BLUE_GREEN", "linearConfiguration"),
        ("CANARY", "earlySuccessCriteria"),
    ] {
        let request = update(json!({"strategy": strategy, "bakeTimeInMinutes": 0, member: {}}));
        let error = lab.try_call("UpdateService", request).unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{strategy} with {member}");
        assert!(error.message.contains("can only be present with"), "{}", error.message);
    }
    // The strategy in force counts when the request names none.
    let error = lab.try_call("UpdateService", update(json!({"linearConfiguration": {}}))).unwrap_err();
    assert_eq!(error.message, "Linear configuration can only be present with LINEAR deployment strategy");
    assert_eq!(configured(&lab), before);
}

#[test]
fn a_stale_block_stays_or_goes_as_is_played() {
    for (stale, kept) in [(StaleBlocks::Keep, true), (StaleBlocks::Drop, false)] {
        let lab = playing(stale);
        lab.service(canary());
        lab.call("UpdateService", update(json!({"strategy": "ROLLING"})));
        let now = configured(&lab);
        assert_eq!(now["strategy"], "ROLLING");
        assert_eq!(now.get("canaryConfiguration").is_some(), kept, "{now}");
        // What is there is no reason to refuse a request that does not name it.
        lab.call("UpdateService", update(json!({"maximumPercent": 150})));
    }
}

#[test]
fn members_left_out_stay_blocks_are_replaced_and_hooks_are_replaced_whole() {
    let lab = Lab::new();
    let breaker = json!({"enable": true, "rollback": false, "resetOnHealthyTask": false});
    let hooks = super::pauses(&["PRE_SCALE_UP"]);
    lab.service(json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 20, "canaryBakeTimeInMinutes": 3},
        "deploymentCircuitBreaker": breaker, "lifecycleHooks": hooks}));
    let request = update(json!({"canaryConfiguration": {"canaryPercent": 30},
        "deploymentCircuitBreaker": {"enable": false, "rollback": false}}));
    lab.call("UpdateService", request);
    let now = configured(&lab);
    assert_eq!(now["canaryConfiguration"], json!({"canaryPercent": 30, "canaryBakeTimeInMinutes": 10}));
    assert_eq!(now["deploymentCircuitBreaker"]["resetOnHealthyTask"], false, "a child left out stays");
    assert_eq!(now["lifecycleHooks"].as_array().unwrap().len(), 1);
    lab.call("UpdateService", update(json!({"lifecycleHooks": []})));
    assert_eq!(configured(&lab)["lifecycleHooks"], json!([]));
}

#[test]
fn with_early_success_a_deployment_is_successful_before_the_last_task_is_replaced() {
    let lab = Lab::new();
    let slow = json!({"strategy": "ROLLING", "maximumPercent": 100, "minimumHealthyPercent": 50});
    let mut configuration = slow.clone();
    configuration["earlySuccessCriteria"] = early("DEFERRED");
    lab.service(configuration);
    lab.release("v2");
    // Tick by tick: the rest follows at once.
    for _ in 0..1000 {
        lab.pass_millis(100);
        if lab.statuses()[0] == "SUCCESSFUL" {
            break;
        }
    }
    assert_eq!(lab.statuses()[0], "SUCCESSFUL");
    let service = lab.describe();
    let old = service["deployments"].as_array().unwrap().iter().find(|seen| seen["status"] == "ACTIVE");
    assert!(old.is_some(), "the version before is still there: {service}");
    assert_eq!(lab.versions(), [("v1".into(), 1), ("v2".into(), 1)]);
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    lab.until("the rest", |lab| lab.versions() == [("v2".into(), 2)]);
    assert_eq!(lab.statuses()[0], "SUCCESSFUL");
}

#[test]
fn the_stage_named_at_a_pause_is_what_is_played() {
    let hooks = ["PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    for (pause_stage, expected) in [
        (PauseStage::Hook, hooks.map(Some)),
        (PauseStage::Absent, [None, None]),
        (PauseStage::Before, [Some("POST_SCALE_UP"), Some("PRODUCTION_TRAFFIC_SHIFT")]),
        (PauseStage::Unknown, [Some("PAUSED_BY_HOOK"), Some("PAUSED_BY_HOOK")]),
    ] {
        let undocumented = Undocumented { pause_stage, ..Undocumented::default() };
        let lab = Lab::with(Settings { undocumented, ..Settings::default() });
        lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": super::pauses(&hooks)}));
        lab.release("v2");
        for expected in expected {
            lab.until("a hook", |lab| !lab.waiting_hooks().is_empty());
            assert_eq!(lab.deployment()["lifecycleStage"].as_str(), expected, "{pause_stage:?}");
            lab.continue_hooks();
            lab.pass(1);
        }
        lab.until("the end", |lab| lab.statuses()[0] == "SUCCESSFUL");
    }
}

#[test]
fn functions_of_the_services_own_are_called_and_their_hooks_kept() {
    let lab = Lab::new();
    let stages = ["PRE_SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    let function = "arn:aws:lambda:eu-west-1:111122223333:function:smoke";
    let hooks = json!([{"hookTargetArn": function, "roleArn": "arn:aws:iam::111122223333:role/hooks",
        "lifecycleStages": stages, "hookDetails": {"depth": 2}}]);
    lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": hooks}));
    assert_eq!(configured(&lab)["lifecycleHooks"][0]["hookDetails"]["depth"], 2);
    lab.release("v2");
    lab.until("the end", |lab| lab.statuses()[0] == "SUCCESSFUL");
    let names = lab.fakes.event_names("ECS Hook State Change");
    assert_eq!(names, ["HOOK_IN_PROGRESS", "HOOK_SUCCEEDED"].repeat(stages.len()));
    let without_role = json!([{"hookTargetArn": function, "lifecycleStages": stages}]);
    let code = lab.refused("UpdateService", update(json!({"lifecycleHooks": without_role})));
    assert_eq!(code, "InvalidParameterException");
}

#[test]
fn a_function_that_fails_rolls_back_and_one_that_hangs_is_waited_for_until_its_time_is_over() {
    for (name, event) in [("smoke-fails", "HOOK_FAILED"), ("smoke-hangs", "HOOK_TIMED_OUT")] {
        let lab = Lab::new();
        let hooks = json!([{"hookTargetArn": format!("arn:aws:lambda:eu-west-1:111122223333:function:{name}"),
            "roleArn": "arn:aws:iam::111122223333:role/hooks", "lifecycleStages": ["POST_SCALE_UP"],
            "timeoutConfiguration": {"timeoutInMinutes": 1}}]);
        lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}));
        lab.call("UpdateService", update(json!({"lifecycleHooks": hooks})));
        lab.release("v2");
        lab.until("the rollback", |lab| lab.statuses()[0] == "ROLLBACK_SUCCESSFUL");
        let names = lab.fakes.event_names("ECS Hook State Change");
        assert_eq!(names.last().map(String::as_str), Some(event), "{names:?}");
    }
}

#[test]
fn on_fargate_an_image_of_ecr_needs_an_execution_role() {
    let lab = Lab::new();
    let mut request = super::definition("v1");
    request["requiresCompatibilities"] = json!(["FARGATE"]);
    assert_eq!(lab.refused("RegisterTaskDefinition", request.clone()), "ClientException");
    let mut role = request.clone();
    role["executionRoleArn"] = "arn:aws:iam::111122223333:role/pulls".into();
    lab.call("RegisterTaskDefinition", role);
    request["containerDefinitions"][0]["image"] = "public.ecr.aws/shop:1".into();
    lab.call("RegisterTaskDefinition", request.clone());
    request["containerDefinitions"][0]["logConfiguration"] = json!({"logDriver": "awslogs"});
    assert_eq!(lab.refused("RegisterTaskDefinition", request), "ClientException");
}

#[test]
fn a_resource_has_at_most_50_tags_and_containers_get_their_defaults() {
    let lab = Lab::new();
    let mut request = super::definition("v1");
    request["containerDefinitions"][0]["healthCheck"] = json!({"command": ["CMD", "true"], "retries": 5});
    let registered = lab.call("RegisterTaskDefinition", request.clone());
    let container = &registered["taskDefinition"]["containerDefinitions"][0];
    let check = json!({"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 5});
    assert_eq!(container["healthCheck"], check);
    assert_eq!(
        container["portMappings"][0],
        json!({"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"})
    );
    let tags = |count: usize| -> Value {
        (0..count).map(|number| json!({"key": format!("k{number}"), "value": "v"})).collect()
    };
    request["tags"] = tags(51);
    assert_eq!(lab.refused("RegisterTaskDefinition", request.clone()), "InvalidParameterException");
    request["tags"] = tags(50);
    let arn = lab.call("RegisterTaskDefinition", request)["taskDefinition"]["taskDefinitionArn"].clone();
    let one_more = json!({"resourceArn": arn, "tags": [{"key": "one more", "value": "v"}]});
    assert_eq!(lab.refused("TagResource", one_more), "InvalidParameterException");
}

#[test]
fn early_success_is_for_rolling_and_not_below_the_healthy_minimum() {
    let lab = Lab::new();
    lab.register("v1");
    let request = |configuration: Value| super::service(json!({"deploymentConfiguration": configuration}));
    let below = json!({"strategy": "ROLLING", "earlySuccessCriteria": early("BLOCKING")});
    assert_eq!(lab.refused("CreateService", request(below)), "InvalidParameterException");
    let mut held = canary();
    held["earlySuccessCriteria"] = early("DEFERRED");
    assert_eq!(lab.refused("CreateService", request(held)), "InvalidParameterException");
}
