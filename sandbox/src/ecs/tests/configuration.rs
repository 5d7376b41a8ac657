//! How a `deploymentConfiguration` is taken: what is laid over what, what is refused, and what is not documented, both ways.

use serde_json::{Value, json};

use super::{Lab, canary};
use crate::ecs::{PauseStage, Settings, StaleBlocks, Undocumented};
use crate::ports::AwsError;

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

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:111122223333:function:smoke";
const HOOK_ROLE: &str = "arn:aws:iam::111122223333:role/hooks";

/// A service released by BLUE_GREEN, with a function of its own at these stages.
fn asked_at(lab: &Lab, stages: &[&str]) {
    let hooks = json!([{"hookTargetArn": FUNCTION, "roleArn": HOOK_ROLE, "lifecycleStages": stages, "hookDetails": {"depth": 2},
        "timeoutConfiguration": {"timeoutInMinutes": 1}}]);
    lab.service(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": hooks}));
    lab.fakes.calls.lock().unwrap().clear();
}

fn will_answer(lab: &Lab, answers: impl IntoIterator<Item = Result<Value, AwsError>>) {
    lab.fakes.answers.lock().unwrap().extend(answers);
}

fn calls(lab: &Lab) -> Vec<(String, String, Value)> {
    lab.fakes.calls.lock().unwrap().clone()
}

#[test]
fn functions_of_the_services_own_are_called_with_what_aws_tells_them_and_their_hooks_kept() {
    let lab = Lab::new();
    let stages = [
        "PRE_SCALE_UP",
        "PRE_PRODUCTION_TRAFFIC_SHIFT",
        "PRODUCTION_TRAFFIC_SHIFT",
        "POST_PRODUCTION_TRAFFIC_SHIFT",
    ];
    asked_at(&lab, &stages);
    assert_eq!(configured(&lab)["lifecycleHooks"][0]["hookDetails"]["depth"], 2);
    lab.release("v2");
    lab.until("the end", |lab| lab.statuses()[0] == "SUCCESSFUL");
    let names = lab.fakes.event_names("ECS Hook State Change");
    assert_eq!(names, ["HOOK_IN_PROGRESS", "HOOK_SUCCEEDED"].repeat(stages.len()));
    let calls = calls(&lab);
    let told = calls.iter().map(|(.., event)| event["lifecycleStage"].as_str().unwrap());
    assert_eq!(told.collect::<Vec<_>>(), stages);
    assert!(calls.iter().all(|(role, function, _)| role == HOOK_ROLE && function == FUNCTION));
    let deployment = lab.deployment();
    let (target, source) =
        (&deployment["targetServiceRevision"]["arn"], &deployment["sourceServiceRevisions"][0]["arn"]);
    let weights = calls.iter().map(|(.., event)| {
        let details = &event["executionDetails"];
        assert_eq!(event["resourceArn"], deployment["serviceDeploymentArn"]);
        assert_eq!(
            (&details["serviceArn"], &details["targetServiceRevisionArn"]),
            (&deployment["serviceArn"], target)
        );
        assert_eq!(
            (&details["testTrafficWeights"], &event["hookDetails"]),
            (&json!({}), &json!({"depth": 2}))
        );
        let weight = |arn: &Value| details["productionTrafficWeights"][arn.as_str().unwrap()].as_f64();
        (weight(target), weight(source))
    });
    let expected = [(None, None), (Some(0.0), Some(100.0)), (Some(100.0), Some(0.0)), (None, None)];
    assert_eq!(weights.collect::<Vec<_>>(), expected);
    let without_role = json!([{"hookTargetArn": FUNCTION, "lifecycleStages": stages}]);
    let code = lab.refused("UpdateService", update(json!({"lifecycleHooks": without_role})));
    assert_eq!(code, "InvalidParameterException");
}

#[test]
fn a_function_that_is_not_done_is_called_again_when_it_says_with_what_it_has_answered() {
    let lab = Lab::new();
    asked_at(&lab, &["POST_SCALE_UP"]);
    will_answer(
        &lab,
        [
            Ok(json!({"hookStatus": "IN_PROGRESS", "callBackDelay": 10, "hookDetails": {"asked": 1}})),
            Ok(json!({"hookStatus": "IN_PROGRESS"})),
        ],
    );
    lab.release("v2");
    lab.until("the first call", |lab| calls(lab).len() == 1);
    lab.pass(9);
    assert_eq!(calls(&lab).len(), 1);
    lab.pass(2);
    assert_eq!(calls(&lab).len(), 2, "after the ten seconds it asked for");
    lab.pass(28);
    assert_eq!(calls(&lab).len(), 2);
    lab.until("the end", |lab| lab.statuses()[0] == "SUCCESSFUL");
    let details: Vec<Value> =
        calls(&lab).into_iter().map(|(.., event)| event["hookDetails"].clone()).collect();
    assert_eq!(
        details,
        [json!({"depth": 2}), json!({"depth": 2, "asked": 1}), json!({"depth": 2, "asked": 1})]
    );
    let executions: Vec<Value> =
        calls(&lab).into_iter().map(|(.., event)| event["executionId"].clone()).collect();
    assert!(executions.iter().all(|id| *id == executions[0]), "{executions:?}");
}

#[test]
fn a_function_that_fails_answers_nonsense_or_may_not_be_called_rolls_back() {
    let refused = |code: &str| Err(AwsError::new(code, "no"));
    for (answer, why) in [
        (Ok(json!({"hookStatus": "FAILED"})), "answered FAILED"),
        (Ok(json!({"statusCode": 200})), "no hookStatus"),
        (refused("FunctionError"), "FunctionError: no"),
        (refused("AccessDeniedException"), "AccessDeniedException: no"),
    ] {
        let lab = Lab::new();
        asked_at(&lab, &["POST_SCALE_UP"]);
        will_answer(&lab, [answer]);
        lab.release("v2");
        lab.until("the rollback", |lab| lab.statuses()[0] == "ROLLBACK_SUCCESSFUL");
        let names = lab.fakes.event_names("ECS Hook State Change");
        assert_eq!(names, ["HOOK_IN_PROGRESS", "HOOK_FAILED"]);
        let reason = lab.deployment()["statusReason"].as_str().unwrap().to_owned();
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_function_that_never_is_done_is_waited_for_until_its_time_is_over() {
    let lab = Lab::new();
    asked_at(&lab, &["POST_SCALE_UP"]);
    will_answer(&lab, std::iter::repeat_with(|| Ok(json!({"hookStatus": "IN_PROGRESS"}))).take(99));
    lab.release("v2");
    lab.until("the rollback", |lab| lab.statuses()[0] == "ROLLBACK_SUCCESSFUL");
    assert_eq!(lab.fakes.event_names("ECS Hook State Change"), ["HOOK_IN_PROGRESS", "HOOK_TIMED_OUT"]);
    assert!((2..=3).contains(&calls(&lab).len()), "every 30 s of its minute: {:?}", calls(&lab));
}

#[test]
fn on_the_way_back_the_functions_of_shifts_are_told_and_do_not_hold_it() {
    let lab = Lab::new();
    asked_at(&lab, &["PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"]);
    let ok = || Ok(json!({"hookStatus": "SUCCEEDED"}));
    let failed = || Ok(json!({"hookStatus": "FAILED"}));
    will_answer(&lab, [ok(), failed(), failed()]);
    lab.release("v2");
    lab.until("the rollback", |lab| lab.statuses()[0] == "ROLLBACK_SUCCESSFUL");
    let calls = calls(&lab);
    let told: Vec<&str> = calls.iter().map(|(.., event)| event["lifecycleStage"].as_str().unwrap()).collect();
    assert_eq!(
        told,
        ["PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"]
    );
    let details = &calls[2].2["executionDetails"];
    let target = details["targetServiceRevisionArn"].as_str().unwrap();
    assert_eq!(details["productionTrafficWeights"][target].as_f64(), Some(0.0), "{details}");
    assert_eq!(lab.weights().0.max(lab.weights().1), 100);
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
