//! A second service beside the first, as somebody who sets weights himself makes it: created, scaled, deployed to, deleted.

use serde_json::{Value, json};

use super::{Lab, balancer, canary, network, pauses, service, with};
use crate::ecs::{DeleteRunning, GoneServices, Settings, Undocumented};
use crate::ports::{ScalableServices as _, Scale};

const CANARY: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/canary/1";

/// `shop-canary-1` at a task definition, with one task in the canary's target group.
fn second(definition: &str) -> Value {
    json!({
        "cluster": "prod", "serviceName": "shop-canary-1", "clientToken": "release-1", "taskDefinition": definition,
        "desiredCount": 1, "launchType": "FARGATE", "platformVersion": "LATEST", "networkConfiguration": network(),
        "loadBalancers": [{"targetGroupArn": CANARY, "containerName": "app", "containerPort": 8080}],
        "deploymentConfiguration": {"strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100},
        "healthCheckGracePeriodSeconds": 0, "propagateTags": "SERVICE", "enableECSManagedTags": true,
        "tags": [{"key": "tidegate:release", "value": "1"}],
    })
}

fn one(name: &str) -> Value {
    json!({"cluster": "prod", "services": [name], "include": ["TAGS"]})
}

impl Lab {
    fn second(&self) -> Value {
        self.call("DescribeServices", one("shop-canary-1"))["services"][0].clone()
    }

    fn change(&self, change: Value) -> Value {
        let mut input = json!({"cluster": "prod", "service": "shop-canary-1"});
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.call("UpdateService", input)
    }
}

/// A lab with `shop` at `v1` and its second service at `v2`, both steady.
fn both(undocumented: Undocumented) -> Lab {
    let lab = Lab::with(Settings { undocumented, ..Settings::default() });
    lab.service(json!({}));
    let definition = lab.register("v2");
    lab.call("CreateService", second(&definition));
    lab.until("the second service", |lab| lab.second()["deployments"][0]["rolloutState"] == "COMPLETED");
    lab
}

#[test]
fn a_second_service_runs_beside_the_first_and_keeps_what_it_was_made_with() {
    let lab = both(Undocumented::default());
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 1)]);
    let second = lab.second();
    assert_eq!((&second["status"], &second["runningCount"]), (&json!("ACTIVE"), &json!(1)));
    assert_eq!(second["tags"], json!([{"key": "tidegate:release", "value": "1"}]));
    assert_eq!(second["networkConfiguration"], network());
    assert_eq!((&second["propagateTags"], &second["launchType"]), (&json!("SERVICE"), &json!("FARGATE")));
    assert_eq!(second["loadBalancers"][0]["targetGroupArn"], CANARY);
    let revision = second["currentServiceRevisions"][0]["arn"].clone();
    let revision = lab.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [revision]}));
    assert_eq!(revision["serviceRevisions"][0]["networkConfiguration"], network());
    assert!(lab.fakes.targets.lock().unwrap().iter().any(|(group, _)| group == CANARY));
    let listed = lab.call("ListServices", json!({"cluster": "prod"}));
    assert_eq!(listed["serviceArns"].as_array().unwrap().len(), 2);
    let tags = lab.call("ListTagsForResource", json!({"resourceArn": second["serviceArn"]}));
    assert_eq!(tags["tags"], second["tags"]);
}

#[test]
fn a_service_does_not_tell_everything_its_revision_is_made_of() {
    let lab = Lab::new();
    lab.register("v1");
    let connect = json!({"enabled": true, "namespace": "shop"});
    let volumes = json!([{"name": "data", "managedEBSVolume": {"roleArn": "arn:role", "sizeInGiB": 10}}]);
    let monitoring = json!({"introducedNextYear": true});
    lab.call("CreateService", service(json!({
        "launchType": "FARGATE", "serviceConnectConfiguration": connect, "volumeConfigurations": volumes, "monitoring": monitoring,
    })));
    lab.until("steady", |lab| lab.statuses() == ["SUCCESSFUL"]);
    let described = lab.describe();
    for name in ["serviceConnectConfiguration", "volumeConfigurations", "monitoring"] {
        assert!(described.get(name).is_none(), "{name}");
    }
    // What nobody asked for and AWS tells all the same.
    assert_eq!(
        (&described["platformVersion"], &described["platformFamily"]),
        (&json!("LATEST"), &json!("Linux"))
    );
    assert_eq!(
        (&described["availabilityZoneRebalancing"], &described["healthCheckGracePeriodSeconds"]),
        (&json!("ENABLED"), &json!(0))
    );
    assert!(described["roleArn"].as_str().unwrap().ends_with("AWSServiceRoleForECS"));
    let primary = &described["deployments"][0];
    assert_eq!(
        (&primary["serviceConnectConfiguration"], &primary["volumeConfigurations"]),
        (&connect, &volumes)
    );
    let arn = described["currentServiceRevisions"][0]["arn"].clone();
    let revision =
        lab.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [arn]}))["serviceRevisions"][0]
            .clone();
    assert_eq!((&revision["serviceConnectConfiguration"], &revision["monitoring"]), (&connect, &monitoring));
    assert_eq!(revision["platformVersion"], "1.4.0");
}

#[test]
fn scaling_starts_no_deployment_and_a_task_definition_starts_a_rolling_one() {
    let lab = both(Undocumented::default());
    lab.change(json!({"desiredCount": 3}));
    lab.pass(5);
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 3)]);
    let list = json!({"cluster": "prod", "service": "shop-canary-1"});
    let deployments =
        || lab.call("ListServiceDeployments", list.clone())["serviceDeployments"].as_array().unwrap().len();
    assert_eq!(deployments(), 1);
    let definition = lab.register("v3");
    lab.change(json!({"taskDefinition": definition}));
    lab.until("v3", |lab| lab.versions() == [("v1".into(), 2), ("v3".into(), 3)]);
    assert_eq!(deployments(), 2);
}

#[test]
fn a_service_whose_strategy_shifts_traffic_can_be_rolled_and_gets_its_strategy_back() {
    for mut own in [
        canary(),
        json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50, "stepBakeTimeInMinutes": 0}}),
        json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}),
    ] {
        own["lifecycleHooks"] = pauses(&["PRE_SCALE_UP"]);
        let lab = Lab::new();
        lab.service(own.clone());
        let weights = lab.weights();
        let (definition, before) = (lab.register("v2"), lab.describe()["deploymentConfiguration"].clone());
        let rolling = json!({"strategy": "ROLLING", "lifecycleHooks": []});
        lab.call("UpdateService", json!({
            "cluster": "prod", "service": "shop", "taskDefinition": definition, "deploymentConfiguration": rolling,
        }));
        lab.until("v2", |lab| lab.statuses()[0] == "SUCCESSFUL");
        assert_eq!(lab.versions(), [("v2".into(), 2)], "{own}");
        assert_eq!(lab.weights(), weights, "a rolling deployment leaves the weights alone");
        lab.call(
            "UpdateService",
            json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": before}),
        );
        lab.pass(2);
        assert_eq!(lab.describe()["deploymentConfiguration"], before);
        assert_eq!(lab.statuses().len(), 2, "the configuration alone starts nothing");
    }
}

#[test]
fn a_worker_without_a_load_balancer_has_a_second_service_too() {
    let lab = Lab::new();
    lab.register("v1");
    lab.call("CreateService", service(json!({"loadBalancers": []})));
    let definition = lab.register("v2");
    let mut worker = with(second(&definition), "loadBalancers", json!([]));
    let code = lab.refused("CreateService", worker.clone());
    assert_eq!(code, "InvalidParameterException", "a grace period is for load balancers");
    worker.as_object_mut().unwrap().remove("healthCheckGracePeriodSeconds");
    lab.call("CreateService", worker);
    lab.until("both", |lab| lab.versions() == [("v1".into(), 2), ("v2".into(), 1)]);
    assert!(lab.fakes.targets.lock().unwrap().is_empty());
    lab.until("steady", |lab| lab.second()["deployments"][0]["rolloutState"] == "COMPLETED");
}

#[test]
fn a_creation_that_is_repeated_is_the_same_one_and_another_is_refused() {
    let lab = both(Undocumented::default());
    let definition = lab.second()["taskDefinition"].as_str().unwrap().to_owned();
    let again = lab.call("CreateService", second(&definition));
    assert_eq!(again["service"]["createdAt"], lab.second()["createdAt"]);
    for (member, value) in
        [("clientToken", json!("release-2")), ("desiredCount", json!(2)), ("tags", json!([]))]
    {
        let error = lab.try_call("CreateService", with(second(&definition), member, value)).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("InvalidParameterException", "Creation of service was not idempotent.")
        );
    }
}

#[test]
fn what_a_second_service_cannot_be_made_with_is_refused() {
    let lab = Lab::new();
    lab.service(json!({}));
    let group = |arn: &str| json!([{"targetGroupArn": arn, "containerName": "app", "containerPort": 8080}]);
    let mut no_network = second("shop");
    no_network.as_object_mut().unwrap().remove("networkConfiguration");
    for (request, code, words) in [
        (with(second("shop"), "cluster", json!("nowhere")), "ClusterNotFoundException", "Cluster not found."),
        (
            with(second("shop"), "taskDefinition", json!("shop:9")),
            "ClientException",
            "TaskDefinition not found.",
        ),
        (
            with(second("shop"), "loadBalancers", group("arn:unused")),
            "InvalidParameterException",
            "The target group with targetGroupArn arn:unused does not have an associated load balancer.",
        ),
        (
            with(second("shop"), "loadBalancers", group("arn:missing")),
            "InvalidParameterException",
            "Unable to describe target group",
        ),
        (
            no_network,
            "InvalidParameterException",
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (
            with(
                second("shop"),
                "capacityProviderStrategy",
                json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]),
            ),
            "InvalidParameterException",
            "Specifying both a launch type and capacity provider strategy is not supported.",
        ),
        (
            with(
                second("shop"),
                "role",
                json!(
                    "arn:aws:iam::111122223333:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
                ),
            ),
            "InvalidParameterException",
            "You cannot specify an IAM role for services that require a service linked role.",
        ),
        (
            with(second("shop"), "clientToken", json!("x".repeat(37))),
            "InvalidParameterException",
            "The client token",
        ),
        (
            with(second("shop"), "serviceName", json!("shop canary")),
            "InvalidParameterException",
            "The service name is not valid.",
        ),
        (
            with(second("shop"), "schedulingStrategy", json!("TIDAL")),
            "InvalidParameterException",
            "Invalid scheduling strategy",
        ),
    ] {
        let error = lab.try_call("CreateService", request.clone()).expect_err("it is refused");
        assert!(error.code == code && error.message.starts_with(words), "{request}: {error:?}");
    }
    assert_eq!(
        lab.call("ListServices", json!({"cluster": "prod"}))["serviceArns"].as_array().unwrap().len(),
        1
    );
    // A group that left its load balancer is in nobody's way unless the request names it.
    let update = json!({"cluster": "prod", "service": "shop", "loadBalancers": [with(balancer(), "targetGroupArn", json!("arn:unused"))]});
    assert_eq!(lab.refused("UpdateService", update), "InvalidParameterException");
}

#[test]
fn a_service_is_deleted_when_it_is_scaled_to_0_or_by_force() {
    let delete = json!({"cluster": "prod", "service": "shop-canary-1"});
    for (delete_running, force) in
        [(DeleteRunning::Drain, false), (DeleteRunning::Refuse, false), (DeleteRunning::Drain, true)]
    {
        let lab = both(Undocumented { delete_running, ..Undocumented::default() });
        let error = lab.try_call("DeleteService", delete.clone()).unwrap_err();
        assert_eq!(error.message, "The service cannot be stopped while it is scaled above 0.");
        *lab.fakes.in_flight.lock().unwrap() = 1;
        if !force {
            lab.change(json!({"desiredCount": 0}));
            lab.pass(1);
        }
        let deleted = lab.try_call("DeleteService", with(delete.clone(), "force", json!(force)));
        if delete_running == DeleteRunning::Refuse {
            assert_eq!(deleted.unwrap_err().code, "InvalidParameterException");
            *lab.fakes.in_flight.lock().unwrap() = 0;
            lab.pass(1);
            lab.call("DeleteService", delete.clone());
        } else {
            assert_eq!(deleted.unwrap()["service"]["status"], "DRAINING");
            // Its requests go on; nobody lists it, everybody can still describe it, and its name is not free.
            lab.pass(1);
            assert_eq!(lab.second()["status"], "DRAINING");
            assert_eq!(lab.call("DeleteService", delete.clone())["service"]["status"], "DRAINING");
            let error = lab.try_call("CreateService", second("shop")).unwrap_err();
            assert_eq!(error.message, "Unable to Start a service that is still Draining.");
        }
        let listed = lab.call("ListServices", json!({"cluster": "prod"}))["serviceArns"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        *lab.fakes.in_flight.lock().unwrap() = 0;
        lab.pass(1);
        assert_eq!(lab.second()["status"], "INACTIVE");
        assert_eq!(lab.versions(), [("v1".into(), 2)]);
        assert_eq!(lab.refused("DeleteService", delete.clone()), "ServiceNotFoundException");
        assert_eq!(lab.refused("UpdateService", delete.clone()), "ServiceNotActiveException");
        // The name can be used again.
        lab.call("CreateService", second("shop"));
        lab.until("anew", |lab| lab.second()["runningCount"] == 1);
    }
}

#[test]
fn a_service_that_is_gone_may_be_purged() {
    let lab = both(Undocumented { gone_services: GoneServices::Purged, ..Undocumented::default() });
    lab.call("DeleteService", json!({"cluster": "prod", "service": "shop-canary-1", "force": true}));
    lab.pass(2);
    assert_eq!(lab.call("DescribeServices", one("shop-canary-1"))["failures"][0]["reason"], "MISSING");
    let update = json!({"cluster": "prod", "service": "shop-canary-1", "desiredCount": 1});
    assert_eq!(lab.refused("UpdateService", update), "ServiceNotFoundException");
}

#[test]
fn autoscaling_sets_the_desired_count_and_sees_whether_a_deployment_runs() {
    let lab = both(Undocumented::default());
    let scale = |lab: &Lab| lab.ecs.scale("prod", "shop-canary-1");
    assert_eq!(scale(&lab), Some(Scale { desired: 1, deploying: false, active: true }));
    lab.ecs.set_desired("prod", "shop-canary-1", 3);
    lab.pass(5);
    assert_eq!(lab.versions(), [("v1".into(), 2), ("v2".into(), 3)]);
    let definition = lab.register("v3");
    lab.change(json!({"taskDefinition": definition}));
    assert_eq!(scale(&lab), Some(Scale { desired: 3, deploying: true, active: true }));
    lab.call("DeleteService", json!({"cluster": "prod", "service": "shop-canary-1", "force": true}));
    assert_eq!(scale(&lab).map(|scale| scale.active), Some(false));
    lab.ecs.set_desired("prod", "shop-canary-1", 3);
    lab.pass(3);
    assert_eq!(lab.versions(), [("v1".into(), 2)], "what is being deleted is not scaled");
    assert_eq!((scale(&lab), lab.ecs.scale("prod", "nobody")), (None, None));
}
