//! Services of other kinds: what they do, and what AWS refuses them.

use serde_json::{Value, json};

use super::{Lab, canary, network, with};

/// A `CreateService` request of a `DAEMON` on instances.
fn daemon() -> Value {
    json!({
        "cluster": "prod", "serviceName": "shop", "taskDefinition": "shop", "schedulingStrategy": "DAEMON",
        "launchType": "EC2", "networkConfiguration": network(),
    })
}

/// A service without a load balancer, with this VPC Lattice target group.
fn behind_lattice(group: &Value, configuration: &Value) -> Value {
    json!({
        "cluster": "prod", "serviceName": "shop", "taskDefinition": "shop", "desiredCount": 2,
        "networkConfiguration": network(), "deploymentConfiguration": configuration,
        "vpcLatticeConfigurations": [group],
    })
}

#[track_caller]
fn refused(lab: &Lab, operation: &str, input: Value, words: &str) {
    let error = lab.try_call(operation, input.clone()).expect_err("it is refused");
    assert!(error.code == "InvalidParameterException" && error.message.contains(words), "{input}: {error:?}");
}

#[test]
fn a_daemon_has_a_task_on_each_instance_and_is_replaced_in_place() {
    let lab = Lab::new();
    lab.register("v1");
    lab.call("CreateService", daemon());
    lab.until("its tasks", |lab| lab.statuses() == ["SUCCESSFUL"]);
    let service = lab.describe();
    assert_eq!((&service["schedulingStrategy"], &service["desiredCount"]), (&json!("DAEMON"), &json!(2)));
    let configuration = &service["deploymentConfiguration"];
    assert_eq!(
        (&configuration["maximumPercent"], &configuration["minimumHealthyPercent"]),
        (&json!(100), &json!(0))
    );
    lab.release("v2");
    lab.until("v2", |lab| {
        let running: usize = lab.versions().iter().map(|(_, tasks)| tasks).sum();
        assert!(running <= 2, "an instance has one task at most: {:?}", lab.versions());
        lab.statuses()[0] == "SUCCESSFUL"
    });
    assert_eq!(lab.versions(), [("v2".into(), 2)]);
    let update = |members: Value| {
        let mut update = json!({ "cluster": "prod", "service": "shop" });
        update.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        update
    };
    refused(&lab, "UpdateService", update(json!({ "desiredCount": 3 })), "does not support a desired count");
    let wide = update(json!({ "deploymentConfiguration": { "maximumPercent": 200 } }));
    refused(&lab, "UpdateService", wide, "values above 100 for maximumPercent");
    refused(
        &lab,
        "UpdateService",
        update(json!({ "deploymentConfiguration": canary() })),
        "only the ROLLING",
    );
}

#[test]
fn what_a_daemon_cannot_be_made_with_is_refused() {
    let lab = Lab::new();
    lab.register("v1");
    for (name, value, words) in [
        ("desiredCount", json!(2), "does not support a desired count"),
        ("launchType", json!("FARGATE"), "don't support the DAEMON scheduling strategy"),
        (
            "deploymentController",
            json!({ "type": "EXTERNAL" }),
            "don't support the DAEMON scheduling strategy",
        ),
        ("placementStrategy", json!([{ "type": "random" }]), "does not support placement strategies"),
        ("deploymentConfiguration", json!({ "maximumPercent": 150 }), "values above 100 for maximumPercent"),
        ("schedulingStrategy", json!("TIDAL"), "Invalid scheduling strategy"),
    ] {
        refused(&lab, "CreateService", with(daemon(), name, value), words);
    }
}

#[test]
fn what_ecs_anywhere_does_not_do_is_refused() {
    let lab = Lab::new();
    let definition = with(super::definition("v1"), "networkMode", json!("bridge"));
    lab.call("RegisterTaskDefinition", definition);
    let anywhere = json!({
        "cluster": "prod", "serviceName": "shop", "taskDefinition": "shop", "desiredCount": 2, "launchType": "EXTERNAL",
    });
    refused(
        &lab,
        "CreateService",
        with(anywhere.clone(), "loadBalancers", json!([super::balancer()])),
        "loadBalancers",
    );
    refused(
        &lab,
        "CreateService",
        with(anywhere.clone(), "deploymentConfiguration", canary()),
        "only the ROLLING",
    );
    let registries = json!([{ "registryArn": "arn:registry" }]);
    refused(
        &lab,
        "CreateService",
        with(anywhere.clone(), "serviceRegistries", registries),
        "serviceRegistries",
    );
    lab.call("CreateService", anywhere.clone());
    assert_eq!(lab.describe()["launchType"], "EXTERNAL");
    lab.register("v2");
    let own = with(with(anywhere, "serviceName", json!("other")), "networkConfiguration", network());
    refused(&lab, "CreateService", own, "awsvpc");
}

#[test]
fn vpc_lattice_is_shifted_between_two_target_groups_with_a_rule() {
    let lab = Lab::new();
    lab.register("v1");
    let group = json!({ "roleArn": "arn:role", "targetGroupArn": "arn:lattice:1", "portName": "http" });
    refused(&lab, "CreateService", behind_lattice(&group, &canary()), "advancedConfiguration is required");
    let nameless = json!({ "roleArn": "arn:role", "targetGroupArn": "arn:lattice:1" });
    refused(&lab, "CreateService", behind_lattice(&nameless, &json!({})), "portName");
    let advanced =
        json!({ "alternateTargetGroupArn": "arn:lattice:2", "productionListenerRule": "arn:rule" });
    let group = with(group, "advancedConfiguration", advanced);
    lab.call("CreateService", behind_lattice(&group, &canary()));
    // Told of the deployment and not of the service.
    let service = lab.describe();
    assert_eq!(service["vpcLatticeConfigurations"], Value::Null);
    assert_eq!(service["deployments"][0]["vpcLatticeConfigurations"], json!([group]));
}
