//! A second service beside the target's: what it is copied from, and the calls that make, scale and delete it.
//!
//! Some of a service only its newest revision tells (Service Connect, volumes), some only the service itself (tags, placement). Both are read
//! raw: a member that is not known here would be missing in the copy, so it is told rather than dropped.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::ServiceField;
use serde_json::{Map, Value, json};
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{
    EcsService, EcsServiceName, ReleaseId, Resource, Target, TargetGroupArn, TaskDefinitionArn,
};
use tidegate_core::vocab::ecs::{ServiceSeen, SourceSeen};

use crate::EcsAdapter;
use crate::adapter::{describe_service, describe_task_definition};
use crate::perform::{sent_once, unless_done, unpassable, untried};
use crate::raw::{KeepBody, SendBody};
use crate::service_of;

/// Taken over from the service as they are.
const OF_THE_SERVICE: [&str; 8] = [
    "availabilityZoneRebalancing",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
];
/// Taken over from its newest revision: the service itself does not tell all of them.
const OF_THE_REVISION: [&str; 6] = [
    "capacityProviderStrategy",
    "launchType",
    "monitoring",
    "networkConfiguration",
    "serviceConnectConfiguration",
    "volumeConfigurations",
];
/// What a service and its revision say of themselves, or is said otherwise for a second one.
const NOT_COPIED: [&str; 39] = [
    "capacityProviderStrategy",
    "clusterArn",
    "containerImages",
    "createdAt",
    "createdBy",
    "currentServiceDeployment",
    "currentServiceRevisions",
    "deploymentConfiguration",
    "deploymentController",
    "deployments",
    "desiredCount",
    "ecsManagedResources",
    "events",
    "fargateEphemeralStorage",
    "gatewayConnectors",
    "guardDutyEnabled",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "pendingCount",
    "platformFamily",
    "platformVersion",
    "resolvedConfiguration",
    "resourceManagementType",
    "roleArn",
    "runningCount",
    "schedulingStrategy",
    "serviceArn",
    "serviceConnectConfiguration",
    "serviceName",
    "serviceRegistries",
    "serviceRevisionArn",
    "status",
    "tags",
    "taskDefinition",
    "taskDefinitionArn",
    "taskSets",
    "volumeConfigurations",
    // Said of the service, which is not released this way with it.
    "vpcLatticeConfigurations",
];

/// A service and its newest revision, raw.
struct Source {
    service: Value,
    revision: Value,
}

impl Source {
    fn seen(&self, task_definition: &Value) -> SourceSeen {
        let mut unknown = Vec::new();
        for (part, known) in [(&self.service, &OF_THE_SERVICE[..]), (&self.revision, &OF_THE_REVISION[..])] {
            for (name, value) in part.as_object().into_iter().flatten() {
                let is_known = known.contains(&name.as_str()) || NOT_COPIED.contains(&name.as_str());
                if !is_known && !is_empty(value) && !unknown.contains(name) {
                    unknown.push(name.clone());
                }
            }
        }
        // What Amazon ECS has made for the service beside what a gateway has is Express Mode's, and told as that.
        let managed = &self.revision["ecsManagedResources"];
        if self.service["resourceManagementType"] != "ECS" {
            let others = managed.as_object().into_iter().flatten();
            let others = others.filter(|(name, value)| *name != "gatewayConnections" && !is_empty(value));
            unknown.extend(others.map(|(name, _)| format!("ecsManagedResources.{name}")));
        }
        let connect = &self.revision["serviceConnectConfiguration"];
        let serves = connect["services"].as_array().is_some_and(|services| !services.is_empty());
        SourceSeen {
            registries: self.service["serviceRegistries"].as_array().map_or(0, Vec::len),
            connect_server: connect["enabled"] == true && serves,
            gateway: !is_empty(&self.revision["gatewayConnectors"])
                || !is_empty(&managed["gatewayConnections"]),
            unknown,
            host_ports: host_ports(task_definition),
        }
    }

    /// The request for a second service.
    fn request(
        &self,
        name: &EcsServiceName,
        release: &ReleaseId,
        task_definition: &TaskDefinitionArn,
        desired: u32,
        groups: Option<(&TargetGroupArn, &TargetGroupArn)>,
    ) -> Result<Value, PortError> {
        let mut request = Map::new();
        for (part, names) in [(&self.service, &OF_THE_SERVICE[..]), (&self.revision, &OF_THE_REVISION[..])] {
            for name in names {
                let value = &part[*name];
                if !is_empty(value) {
                    request.insert((*name).to_owned(), value.clone());
                }
            }
        }
        // Either says where tasks run.
        if request.contains_key("capacityProviderStrategy") {
            request.remove("launchType");
        }
        match groups {
            Some((own, beside)) => {
                let balancer = self.balancer_of(beside)?;
                let balancer = json!([{
                    "targetGroupArn": own.as_str(),
                    "containerName": balancer["containerName"],
                    "containerPort": balancer["containerPort"],
                }]);
                request.insert("loadBalancers".into(), balancer);
            }
            // Without a load balancer there is nothing whose checks could be waited for.
            None => _ = request.remove("healthCheckGracePeriodSeconds"),
        }
        let own = &self.service["deploymentConfiguration"];
        let mut configuration = Map::new();
        for member in ["maximumPercent", "minimumHealthyPercent"] {
            if own[member].is_number() {
                configuration.insert(member.into(), own[member].clone());
            }
        }
        // Whether the candidate stays is decided by the release.
        configuration
            .insert("deploymentCircuitBreaker".into(), json!({ "enable": false, "rollback": false }));
        request.insert("deploymentConfiguration".into(), Value::Object(configuration));
        request.insert("cluster".into(), self.service["clusterArn"].clone());
        request.insert("serviceName".into(), name.as_str().into());
        request.insert("taskDefinition".into(), task_definition.as_str().into());
        request.insert("desiredCount".into(), desired.into());
        request.insert("clientToken".into(), format!("tidegate-{release}").into());
        request.insert("schedulingStrategy".into(), "REPLICA".into());
        request.insert("tags".into(), tags(&self.service["tags"], release));
        Ok(Value::Object(request))
    }

    /// Of several load balancers, the one with this target group: each may lead to another container or port.
    fn balancer_of(&self, group: &TargetGroupArn) -> Result<&Value, PortError> {
        let balancers = self.service["loadBalancers"].as_array().into_iter().flatten();
        let has = |balancer: &&Value| {
            let both =
                [&balancer["targetGroupArn"], &balancer["advancedConfiguration"]["alternateTargetGroupArn"]];
            both.iter().any(|arn| arn.as_str() == Some(group.as_str()))
        };
        balancers.clone().find(has).ok_or_else(|| {
            PortError::new(
                ErrorKind::Invalid,
                "ecs:CreateService",
                "NoSuchTargetGroup",
                format!("target group {} is not the service's any more", group.short()),
            )
        })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Tags that AWS sets itself cannot be set by anyone else.
fn tags(of_the_service: &Value, release: &ReleaseId) -> Value {
    let kept = of_the_service.as_array().into_iter().flatten().filter(|tag| {
        let key = tag["key"].as_str().unwrap_or_default();
        !key.starts_with("aws:") && !key.starts_with("tidegate:")
    });
    kept.cloned().chain([json!({ "key": "tidegate:release", "value": release.as_str() })]).collect()
}

/// Ports of the host that are asked for by number. With `awsvpc` every task has an address of its own.
fn host_ports(task_definition: &Value) -> Vec<u32> {
    if task_definition["networkMode"] == "awsvpc" {
        return Vec::new();
    }
    let containers = task_definition["containerDefinitions"].as_array().into_iter().flatten();
    let mappings =
        containers.flat_map(|container| container["portMappings"].as_array().into_iter().flatten());
    let ports = mappings.filter_map(|mapping| mapping["hostPort"].as_u64()).filter(|port| *port > 0);
    ports.filter_map(|port| u32::try_from(port).ok()).collect()
}

async fn source(client: &Client, target: &Target) -> Result<Source, PortError> {
    const SERVICES: &str = "ecs:DescribeServices";
    const REVISIONS: &str = "ecs:DescribeServiceRevisions";
    let kept = KeepBody::default();
    let at = service_of(target, SERVICES)?;
    let call = client
        .describe_services()
        .cluster(at.cluster.as_str())
        .services(at.service.as_str())
        .include(ServiceField::Tags);
    let sent = call.customize().interceptor(kept.clone()).send().await;
    sent.map_err(|error| port_error(SERVICES, error))?;
    let service = kept.json(SERVICES)?["services"][0].take();
    let gone = |what: &str, operation| {
        PortError::new(
            ErrorKind::NotFound,
            operation,
            "ServiceNotFoundException",
            format!("{what} of {target} is not there"),
        )
    };
    if service.is_null() {
        return Err(gone("the service", SERVICES));
    }
    let revisions = service["currentServiceRevisions"].as_array().into_iter().flatten();
    let wanted = |revision: &&Value| revision["requestedTaskCount"].as_u64().unwrap_or(0) > 0;
    let newest = revisions.clone().find(wanted).or_else(|| revisions.clone().next());
    let arn =
        newest.and_then(|revision| revision["arn"].as_str()).ok_or_else(|| gone("the revision", SERVICES))?;
    let kept = KeepBody::default();
    let call = client.describe_service_revisions().service_revision_arns(arn);
    let sent = call.customize().interceptor(kept.clone()).send().await;
    sent.map_err(|error| port_error(REVISIONS, error))?;
    let revision = kept.json(REVISIONS)?["serviceRevisions"][0].take();
    if revision.is_null() {
        return Err(gone("the revision", REVISIONS));
    }
    Ok(Source { service, revision })
}

/// The place of the second service.
fn beside(target: &Target, name: &EcsServiceName) -> Target {
    let resource = match &target.resource {
        Resource::EcsService(at) => Resource::EcsService(EcsService { service: name.clone(), ..at.clone() }),
        other @ Resource::LambdaAlias(_) => other.clone(),
    };
    Target { resource, ..target.clone() }
}

impl EcsAdapter {
    /// The second service.
    pub(crate) async fn canary(
        &self,
        target: &Target,
        name: &EcsServiceName,
    ) -> Result<Option<ServiceSeen>, PortError> {
        self.service(&beside(target, name)).await
    }

    /// Its stopped tasks, or those of the service itself.
    pub(crate) async fn stopped_of(
        &self,
        target: &Target,
        asked: &tidegate_core::vocab::ecs::StoppedNeeds,
    ) -> Result<Vec<tidegate_core::vocab::tasks::StoppedTask>, PortError> {
        match &asked.of {
            None => self.stopped(target, &asked.task_definition).await,
            Some(name) => match self.stopped(&beside(target, name), &asked.task_definition).await {
                // Before it is made, it has no tasks.
                Err(error) if error.code == "ServiceNotFoundException" => Ok(Vec::new()),
                stopped => stopped,
            },
        }
    }

    /// What the second service would be copied from.
    pub(crate) async fn source_of_canary(&self, target: &Target) -> Result<SourceSeen, PortError> {
        let client = self.client(target).await;
        let source = source(&client, target).await?;
        let running = source.service["taskDefinition"].as_str().unwrap_or_default();
        let described = describe_task_definition(&client, running).await?;
        Ok(source.seen(&described["taskDefinition"]))
    }

    pub(crate) async fn create_canary(
        &self,
        client: &Client,
        target: &Target,
        new: NewCanary<'_>,
    ) -> Result<(), PortError> {
        let NewCanary { name, release, task_definition, desired, groups } = new;
        let source = source(client, target).await?;
        let request = source.request(name, release, task_definition, desired, groups)?;
        let sent = sent_once(|| {
            let call = client.create_service().service_name(name.as_str()).customize();
            let call = call.config_override(untried()).interceptor(SendBody::new(&request));
            async move {
                call.send()
                    .await
                    .map(|_| ())
                    .map_err(|error| unpassable(port_error("ecs:CreateService", error), "TaskRoleArns"))
            }
        })
        .await;
        let Err(refusal) = sent else { return Ok(()) };
        unless_done(refusal, async {
            let there = describe_service(client, &beside(target, name)).await?;
            Ok(there.is_some_and(|service| service.task_definition() == Some(task_definition.as_str())))
        })
        .await
    }
}

/// What a second service is made with.
pub(crate) struct NewCanary<'a> {
    pub(crate) name: &'a EcsServiceName,
    pub(crate) release: &'a ReleaseId,
    pub(crate) task_definition: &'a TaskDefinitionArn,
    pub(crate) desired: u32,
    /// Its own target group, and the one of the service that it stands beside.
    pub(crate) groups: Option<(&'a TargetGroupArn, &'a TargetGroupArn)>,
}

pub(crate) async fn scale(
    client: &Client,
    target: &Target,
    name: &EcsServiceName,
    desired: u32,
) -> Result<(), PortError> {
    let at = service_of(target, "ecs:UpdateService")?;
    let call = client
        .update_service()
        .cluster(at.cluster.as_str())
        .service(name.as_str())
        .desired_count(i32::try_from(desired).unwrap_or(i32::MAX));
    call.send().await.map(|_| ()).map_err(|error| port_error("ecs:UpdateService", error))
}

/// With its tasks: nothing of the traffic is with them any more.
pub(crate) async fn delete(client: &Client, target: &Target, name: &EcsServiceName) -> Result<(), PortError> {
    let at = service_of(target, "ecs:DeleteService")?;
    let call = client.delete_service().cluster(at.cluster.as_str()).service(name.as_str()).force(true);
    let Err(error) = call.send().await else { return Ok(()) };
    let refusal = port_error("ecs:DeleteService", error);
    unless_done(refusal, async {
        let there = describe_service(client, &beside(target, name)).await?;
        Ok(there.map(|service| service.seen()).transpose()?.is_none_or(|service| service.status != "ACTIVE"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: &str = "arn:aws:elasticloadbalancing:r:1:targetgroup/blue/1";
    const GREEN: &str = "arn:aws:elasticloadbalancing:r:1:targetgroup/green/1";

    fn source() -> Source {
        Source {
            service: json!({
                "serviceName": "checkout", "clusterArn": "arn:aws:ecs:r:1:cluster/prod", "status": "ACTIVE",
                "schedulingStrategy": "REPLICA", "platformVersion": "LATEST", "propagateTags": "SERVICE",
                "healthCheckGracePeriodSeconds": 30, "roleArn": "arn:aws:iam::1:role/aws-service-role/ecs",
                "loadBalancers": [
                    { "targetGroupArn": "arn:admin", "containerName": "app", "containerPort": 9090,
                      "advancedConfiguration": { "roleArn": "arn:role", "alternateTargetGroupArn": GREEN } },
                    { "targetGroupArn": BLUE, "containerName": "app", "containerPort": 80 },
                ],
                "deploymentConfiguration": { "strategy": "CANARY", "maximumPercent": 200,
                    "lifecycleHooks": [{ "hookTargetArn": "x" }] },
                "tags": [{ "key": "team", "value": "shop" }, { "key": "aws:cloudformation:stack-name", "value": "s" }]
            }),
            revision: json!({
                "serviceRevisionArn": "arn:rev", "platformVersion": "1.4.0",
                "capacityProviderStrategy": [{ "capacityProvider": "FARGATE", "weight": 1 }], "launchType": "FARGATE",
                "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } },
                "serviceConnectConfiguration": { "enabled": true, "namespace": "shop" }
            }),
        }
    }

    #[test]
    fn a_second_service_is_a_copy_with_what_is_its_own() {
        let name = EcsServiceName::new("checkout-canary-1").unwrap();
        let release = ReleaseId::new("01j9zzzzzzzzzzzzzzzzzzzzzz").unwrap();
        let revision = TaskDefinitionArn::new("arn:aws:ecs:r:1:task-definition/checkout:2").unwrap();
        let group = TargetGroupArn::new("arn:aws:elasticloadbalancing:r:1:targetgroup/canary/1").unwrap();
        let beside = TargetGroupArn::new(BLUE).unwrap();
        let copy = |groups| source().request(&name, &release, &revision, 2, groups);
        let request = copy(Some((&group, &beside))).unwrap();
        let expected = json!({
            "cluster": "arn:aws:ecs:r:1:cluster/prod", "serviceName": "checkout-canary-1",
            "taskDefinition": revision.as_str(), "desiredCount": 2, "schedulingStrategy": "REPLICA",
            "clientToken": "tidegate-01j9zzzzzzzzzzzzzzzzzzzzzz", "platformVersion": "LATEST", "propagateTags": "SERVICE",
            "healthCheckGracePeriodSeconds": 30,
            "capacityProviderStrategy": [{ "capacityProvider": "FARGATE", "weight": 1 }],
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } },
            "serviceConnectConfiguration": { "enabled": true, "namespace": "shop" },
            "loadBalancers": [{ "targetGroupArn": group.as_str(), "containerName": "app", "containerPort": 80 }],
            "deploymentConfiguration": {
                "maximumPercent": 200, "deploymentCircuitBreaker": { "enable": false, "rollback": false }
            },
            "tags": [{ "key": "team", "value": "shop" }, { "key": "tidegate:release", "value": release.as_str() }]
        });
        let sorted = |mut value: Value| {
            value.sort_all_objects();
            value
        };
        assert_eq!(sorted(request), sorted(expected));
        let green = TargetGroupArn::new(GREEN).unwrap();
        let other = copy(Some((&group, &green))).unwrap();
        assert_eq!(other["loadBalancers"][0]["containerPort"], 9090, "of the load balancer it stands beside");
        let gone = copy(Some((&group, &group))).unwrap_err();
        assert_eq!((gone.kind, gone.code.as_str()), (ErrorKind::Invalid, "NoSuchTargetGroup"));
        let alone = copy(None).unwrap();
        assert!(alone.get("loadBalancers").is_none() && alone.get("healthCheckGracePeriodSeconds").is_none());
    }

    #[test]
    fn what_cannot_be_copied_is_told_and_never_dropped() {
        let mut source = source();
        let network = json!({ "networkMode": "bridge", "containerDefinitions": [
            { "portMappings": [{ "hostPort": 0, "containerPort": 80 }, { "hostPort": 8080, "containerPort": 81 }] }] });
        assert_eq!(source.seen(&json!({ "networkMode": "awsvpc" })), SourceSeen::default());
        source.service["tidalLock"] = json!({ "moon": 2 });
        source.service["serviceRegistries"] = json!([{ "registryArn": "arn:registry" }]);
        source.revision["vpcLatticeConfigurations"] = json!([{ "roleArn": "arn:role" }]);
        source.revision["gatewayConnectors"] = json!([]);
        source.revision["ecsManagedResources"] = json!({ "logGroups": [{ "arn": "arn:logs" }] });
        source.revision["serviceConnectConfiguration"]["services"] = json!([{ "portName": "http" }]);
        let expected = SourceSeen {
            registries: 1,
            connect_server: true,
            gateway: false,
            unknown: vec!["tidalLock".into(), "ecsManagedResources.logGroups".into()],
            host_ports: vec![8080],
        };
        assert_eq!(source.seen(&network), expected);
        // Express Mode is told of the service itself.
        source.service["resourceManagementType"] = json!("ECS");
        assert_eq!(source.seen(&network).unknown, ["tidalLock"]);
        source.revision["ecsManagedResources"] = json!({ "gatewayConnections": [{ "portName": "http" }] });
        assert!(source.seen(&network).gateway);
    }
}
