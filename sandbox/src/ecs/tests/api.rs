//! Requests and responses: what is kept, what is refused, and with which code.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Lab, Settings, balancer, canary, definition, pauses, service, with};

#[test]
fn task_definitions_keep_what_no_sdk_knows() {
    let lab = Lab::new();
    let mut newer = definition("v1");
    newer["somethingFromNextYear"] = json!({"deep": [1, 2, {"er": true}]});
    newer["containerDefinitions"][0]["alsoNew"] = json!("kept");
    lab.call("RegisterTaskDefinition", newer);
    let input = json!({"taskDefinition": "shop", "include": ["TAGS"]});
    let described = lab.call("DescribeTaskDefinition", input);
    let found = &described["taskDefinition"];
    assert_eq!(found["somethingFromNextYear"], json!({"deep": [1, 2, {"er": true}]}));
    assert_eq!(found["containerDefinitions"][0]["alsoNew"], "kept");
    assert_eq!(found["containerDefinitions"][0]["startupProfile"], json!({"mode": "standard"}));
    assert_eq!(found["revision"], 1);
    assert_eq!(described["tags"], json!([{"key": "team", "value": "checkout"}]));
    assert!(found.get("tags").is_none());

    // Registered again as it was described, a definition is the same but for what ECS assigns.
    let mut again = found.clone();
    again["containerDefinitions"][0]["startupProfile"] = json!({"mode": "fast"});
    lab.call("RegisterTaskDefinition", again);
    let second = lab.call("DescribeTaskDefinition", json!({"taskDefinition": "shop:2"}));
    assert_eq!(
        second["taskDefinition"]["containerDefinitions"][0]["startupProfile"],
        json!({"mode": "fast"})
    );
    assert_eq!(second["taskDefinition"]["somethingFromNextYear"], found["somethingFromNextYear"]);
    assert_eq!(second["taskDefinition"]["revision"], 2);
}

#[test]
fn task_definitions_are_listed_newest_first_and_in_pages_and_can_be_deregistered() {
    let lab = Lab::new();
    let arns: Vec<String> = (1..=3).map(|n| lab.register(&format!("v{n}"))).collect();
    let page = json!({"familyPrefix": "shop", "sort": "DESC", "maxResults": 2});
    let first = lab.call("ListTaskDefinitions", page.clone());
    assert_eq!(first["taskDefinitionArns"], json!([arns[2], arns[1]]));
    let rest = lab.call("ListTaskDefinitions", with(page, "nextToken", first["nextToken"].clone()));
    assert_eq!(rest["taskDefinitionArns"], json!([arns[0]]));
    assert!(rest.get("nextToken").is_none());

    let gone = lab.call("DeregisterTaskDefinition", json!({"taskDefinition": arns[2]}));
    assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
    let latest = lab.call("DescribeTaskDefinition", json!({"taskDefinition": "shop"}));
    assert_eq!(latest["taskDefinition"]["taskDefinitionArn"], arns[1].as_str());
    let inactive = lab.call("DescribeTaskDefinition", json!({"taskDefinition": arns[2]}));
    assert_eq!(inactive["taskDefinition"]["status"], "INACTIVE");
    let request = service(json!({"taskDefinition": arns[2]}));
    assert_eq!(lab.refused("CreateService", request), "ClientException");
}

#[test]
fn only_the_configuration_changed_starts_nothing() {
    let lab = Lab::new();
    lab.service(json!({"notYetInvented": {"a": 1}}));
    let update = |configuration: Value| json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": configuration});
    lab.call("UpdateService", update(with(canary(), "lifecycleHooks", pauses(&["PRE_SCALE_UP"]))));
    lab.pass(5);
    assert_eq!(lab.statuses(), ["SUCCESSFUL"]);
    let configuration = lab.describe()["deploymentConfiguration"].clone();
    assert_eq!(configuration["strategy"], "CANARY");
    assert_eq!(
        configuration["notYetInvented"],
        json!({"a": 1}),
        "kept through an update that does not name it"
    );
    assert_eq!(configuration["lifecycleHooks"][0]["timeoutConfiguration"]["action"], "ROLLBACK");

    // A structure that is given replaces the old one; what is not given stays.
    lab.call("UpdateService", update(json!({"canaryConfiguration": {"canaryPercent": 30}})));
    let configuration = lab.describe()["deploymentConfiguration"].clone();
    assert_eq!(
        configuration["canaryConfiguration"],
        json!({"canaryPercent": 30, "canaryBakeTimeInMinutes": 10})
    );
    assert_eq!(configuration["lifecycleHooks"].as_array().unwrap().len(), 1);

    // The same task definition is no change either; forcing is.
    lab.call("UpdateService", json!({"cluster": "prod", "service": "shop", "taskDefinition": "shop:1"}));
    lab.call("UpdateService", json!({"cluster": "prod", "service": "shop", "desiredCount": 3}));
    lab.pass(5);
    assert_eq!(lab.statuses(), ["SUCCESSFUL"]);
    assert_eq!(lab.versions(), [("v1".into(), 3)]);
    lab.call("UpdateService", json!({"cluster": "prod", "service": "shop", "forceNewDeployment": true}));
    assert_eq!(lab.statuses(), ["PENDING", "SUCCESSFUL"]);
}

#[test]
fn configurations_are_checked() {
    let lab = Lab::new();
    lab.service(json!({}));
    let hook = |replace: Value| {
        let mut hook = json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]});
        hook.as_object_mut().unwrap().extend(replace.as_object().unwrap().clone());
        json!({"lifecycleHooks": [hook]})
    };
    for (configuration, code) in [
        (json!({"strategy": "BLUE_GREEN"}), "InvalidParameterException"),
        (json!({"strategy": "SOMEHOW"}), "InvalidParameterException"),
        (
            json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}}),
            "InvalidParameterException",
        ),
        (
            json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": "5"}}),
            "SerializationException",
        ),
        (
            json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2}}),
            "InvalidParameterException",
        ),
        (json!({"bakeTimeInMinutes": 1441}), "InvalidParameterException"),
        (json!({"alarms": {"alarmNames": ["a"], "enable": true}}), "InvalidParameterException"),
        (hook(json!({"lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"]})), "InvalidParameterException"),
        (hook(json!({"lifecycleStages": []})), "InvalidParameterException"),
        (hook(json!({"timeoutConfiguration": {"timeoutInMinutes": 20161}})), "InvalidParameterException"),
        (hook(json!({"timeoutConfiguration": {"action": "SHRUG"}})), "InvalidParameterException"),
        (hook(json!({"targetType": "AWS_LAMBDA"})), "InvalidParameterException"),
    ] {
        let before = lab.describe()["deploymentConfiguration"].clone();
        let update = json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": configuration});
        assert_eq!(lab.refused("UpdateService", update), code, "{configuration}");
        assert_eq!(lab.describe()["deploymentConfiguration"], before, "a refused update changes nothing");
    }
}

#[test]
fn what_is_missing_is_named_by_the_right_code() {
    let lab = Lab::new();
    let nowhere =
        json!({"cluster": "nowhere", "services": ["shop"], "service": "shop", "serviceName": "shop"});
    for operation in ["DescribeServices", "UpdateService", "CreateService", "ListServiceDeployments"] {
        assert_eq!(lab.refused(operation, nowhere.clone()), "ClusterNotFoundException", "{operation}");
    }
    let nothing = json!({"cluster": "prod", "service": "shop"});
    for operation in ["UpdateService", "DeleteService", "ListServiceDeployments"] {
        assert_eq!(lab.refused(operation, nothing.clone()), "ServiceNotFoundException", "{operation}");
    }
    let described = lab.call("DescribeServices", json!({"cluster": "prod", "services": ["shop"]}));
    assert_eq!(described["failures"][0]["reason"], "MISSING");
    assert_eq!(described["failures"][0]["arn"], "arn:aws:ecs:eu-west-1:111122223333:service/prod/shop");
    let unknown = "arn:aws:ecs:eu-west-1:111122223333:service-deployment/prod/shop/x";
    let missing = json!({"serviceDeploymentArns": [unknown]});
    assert_eq!(lab.call("DescribeServiceDeployments", missing)["failures"][0]["reason"], "MISSING");
    let stop = json!({"serviceDeploymentArn": unknown, "hookId": "ecs-pause-x"});
    assert_eq!(lab.refused("StopServiceDeployment", stop.clone()), "ServiceDeploymentNotFoundException");
    assert_eq!(lab.refused("ContinueServiceDeployment", stop), "ServiceDeploymentNotFoundException");
    assert_eq!(lab.refused("DescribeTaskDefinition", json!({"taskDefinition": "shop"})), "ClientException");
    assert_eq!(lab.refused("CreateTaskSet", json!({})), "UnsupportedFeatureException");
    assert_eq!(lab.refused("Teleport", json!({})), "UnknownOperationException");
}

#[test]
fn services_are_created_once_and_checked_against_their_load_balancer() {
    let lab = Lab::new();
    lab.register("v1");
    let mut wrong_port = balancer();
    wrong_port["containerPort"] = json!(9090);
    let mut foreign = balancer();
    foreign["advancedConfiguration"]["alternateTargetGroupArn"] = json!("arn:foreign");
    let mut plain = balancer();
    plain.as_object_mut().unwrap().remove("advancedConfiguration");
    for balancers in [json!([wrong_port]), json!([foreign]), json!([plain]), json!([balancer(), plain])] {
        let request = service(json!({"loadBalancers": balancers, "deploymentConfiguration": canary()}));
        assert_eq!(lab.refused("CreateService", request), "InvalidParameterException", "{balancers}");
    }
    let request = service(json!({"deploymentConfiguration": canary()}));
    let first = lab.call("CreateService", request.clone());
    let again = lab.call("CreateService", request);
    assert_eq!(again["service"]["serviceArn"], first["service"]["serviceArn"]);
    let other = service(json!({"desiredCount": 9}));
    assert_eq!(lab.refused("CreateService", other), "InvalidParameterException");
    let list = lab.call("ListServices", json!({"cluster": "prod"}));
    assert_eq!(list["serviceArns"].as_array().unwrap().len(), 1);
}

#[test]
fn a_deleted_service_drains_and_is_inactive() {
    let lab = Lab::new();
    lab.service(json!({}));
    let delete = json!({"cluster": "prod", "service": "shop"});
    assert_eq!(lab.refused("DeleteService", delete.clone()), "InvalidParameterException");
    let gone = lab.call("DeleteService", with(delete.clone(), "force", json!(true)));
    assert_eq!(gone["service"]["status"], "DRAINING");
    assert_eq!(lab.refused("UpdateService", delete.clone()), "ServiceNotActiveException");
    lab.pass(2);
    assert_eq!(lab.describe()["status"], "INACTIVE");
    assert_eq!(lab.versions(), []);
    assert_eq!(lab.refused("ListServiceDeployments", delete), "ServiceNotFoundException");
    lab.call("CreateService", service(json!({})));
    lab.pass(5);
    assert_eq!(lab.versions(), [("v1".into(), 2)]);
}

#[test]
fn an_external_service_has_no_service_deployments() {
    let lab = Lab::new();
    lab.register("v1");
    let request = json!({
        "cluster": "prod", "serviceName": "shop", "desiredCount": 1, "deploymentController": {"type": "EXTERNAL"},
    });
    let wrong = with(request.clone(), "taskDefinition", json!("shop"));
    assert_eq!(lab.refused("CreateService", wrong), "InvalidParameterException");
    lab.call("CreateService", request);
    assert_eq!(lab.describe()["deploymentController"]["type"], "EXTERNAL");
    let list = json!({"cluster": "prod", "service": "shop"});
    assert_eq!(lab.refused("ListServiceDeployments", list), "UnsupportedFeatureException");
    let update = json!({"cluster": "prod", "service": "shop", "taskDefinition": "shop"});
    assert_eq!(lab.refused("UpdateService", update), "InvalidParameterException");
}

#[test]
fn deployments_are_listed_by_status_time_and_page_and_revisions_name_digests() {
    let lab = Lab::new();
    lab.service(json!({}));
    lab.pass(60);
    let now = lab.millis.load(std::sync::atomic::Ordering::SeqCst) / 1000;
    lab.pass(1);
    lab.release("v2");
    lab.until("v2", |lab| lab.statuses()[0] == "SUCCESSFUL");
    lab.release("v3");
    let list = |extra: Value| {
        let mut input = json!({"cluster": "prod", "service": "shop"});
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        lab.call("ListServiceDeployments", input)
    };
    let count = |answer: &Value| answer["serviceDeployments"].as_array().unwrap().len();
    assert_eq!(count(&list(json!({"status": ["SUCCESSFUL"]}))), 2);
    assert_eq!(count(&list(json!({"createdAt": {"after": now}}))), 2);
    assert_eq!(count(&list(json!({"createdAt": {"before": now}}))), 1);
    let first = list(json!({"maxResults": 1}));
    assert_eq!(count(&first), 1);
    assert_eq!(count(&list(json!({"nextToken": first["nextToken"]}))), 2);

    let arn = list(json!({}))["serviceDeployments"][1]["targetServiceRevisionArn"].clone();
    let revision = lab.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [arn]}));
    let revision = &revision["serviceRevisions"][0];
    assert_eq!(revision["taskDefinition"], "arn:aws:ecs:eu-west-1:111122223333:task-definition/shop:2");
    let image = &revision["containerImages"][0];
    assert_eq!(
        (&image["containerName"], &image["imageDigest"]),
        (&json!("app"), &json!("sha256:digest-of-v2"))
    );
}

#[test]
fn tags_can_be_changed() {
    let lab = Lab::new();
    let arn = lab.register("v1");
    let tags = json!([{"key": "team", "value": "search"}, {"key": "digest", "value": "sha256:1"}]);
    lab.call("TagResource", json!({"resourceArn": arn, "tags": tags}));
    assert_eq!(lab.call("ListTagsForResource", json!({"resourceArn": arn}))["tags"], tags);
    assert_eq!(
        lab.refused("TagResource", json!({"resourceArn": "arn:x", "tags": []})),
        "InvalidParameterException"
    );
}

#[test]
fn reads_may_be_late_but_never_forget() {
    let lab = Lab::with(Settings { read_lag: Duration::from_secs(2), ..Settings::default() });
    lab.register("v1");
    lab.call("CreateService", service(json!({})));
    let describe = json!({"cluster": "prod", "services": ["shop"]});
    assert_eq!(lab.call("DescribeServices", describe.clone())["failures"][0]["reason"], "MISSING");
    lab.pass(3);
    assert_eq!(lab.describe()["desiredCount"], 2);
    lab.call("UpdateService", json!({"cluster": "prod", "service": "shop", "desiredCount": 3}));
    assert_eq!(lab.describe()["desiredCount"], 2, "written, not yet seen");
    lab.pass(3);
    assert_eq!(lab.describe()["desiredCount"], 3);
}
