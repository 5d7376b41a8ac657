//! PURE: from the JSON Amazon ECS answers with to what the core calls seen. Unknown fields are ignored, unknown values kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ContainerName, Digest, HookId, InvalidId, ServiceRevisionArn, TaskDefinitionArn};
use tidegate_core::policy::Percent;
use tidegate_core::reference::digest_of;
use tidegate_core::vocab::ecr::Platform;
use tidegate_core::vocab::ecs::{
    DeploymentSeen, DeploymentStatus, GatewaySeen, HookSeen, Kind, LatticeSeen, LoadBalancerSeen, Management,
    Scheduling, ServiceSeen, TaskDefinitionSeen,
};

/// An element of an answer's `failures[]`: what was asked for and not described.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Failure {
    pub(crate) arn: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) detail: Option<String>,
}

/// The answer of `DescribeServices`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Services {
    pub(crate) services: Vec<Service>,
    pub(crate) failures: Vec<Failure>,
}

/// A service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Service {
    status: String,
    deployment_controller: Option<Controller>,
    task_definition: Option<String>,
    pub(crate) deployment_configuration: Value,
    desired_count: u32,
    running_count: u32,
    pending_count: u32,
    deployments: Vec<Rollout>,
    task_sets: Vec<TaskSet>,
    load_balancers: Vec<LoadBalancer>,
    current_service_revisions: Vec<CurrentRevision>,
    scheduling_strategy: Option<String>,
    launch_type: Option<String>,
    resource_management_type: Option<String>,
}

/// An element of a service's `currentServiceRevisions[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CurrentRevision {
    arn: String,
    requested_task_count: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Controller {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// An element of a service's `deployments[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rollout {
    status: String,
    task_definition: Option<String>,
    running_count: u32,
    pending_count: u32,
    rollout_state: Option<String>,
    service_connect_configuration: Option<ServiceConnect>,
    vpc_lattice_configurations: Vec<Lattice>,
}

/// An element of `vpcLatticeConfigurations[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lattice {
    target_group_arn: String,
    advanced_configuration: Option<Advanced>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceConnect {
    enabled: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TaskSet {
    status: String,
    task_definition: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LoadBalancer {
    target_group_arn: Option<String>,
    advanced_configuration: Option<Advanced>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Advanced {
    alternate_target_group_arn: Option<String>,
    production_listener_rule: Option<String>,
    test_listener_rule: Option<String>,
    role_arn: Option<String>,
}

const PRIMARY: &str = "PRIMARY";

impl Service {
    pub(crate) fn seen(self) -> Result<ServiceSeen, PortError> {
        let invalid = |error: InvalidId| unexpected("ecs:DescribeServices", error.to_string());
        let task_definition = self.task_definition().ok_or_else(|| {
            unexpected("ecs:DescribeServices", "the service has no task definition, nor a primary task set")
        })?;
        let other_tasks = self.other_tasks();
        Ok(ServiceSeen {
            task_definition: TaskDefinitionArn::new(task_definition).map_err(invalid)?,
            steady: self.is_steady(),
            service_connect: self.primary().is_some_and(Rollout::has_service_connect),
            kind: self.kind().map_err(invalid)?,
            controller: self
                .deployment_controller
                .and_then(|controller| controller.kind)
                .unwrap_or_else(|| "ECS".into()),
            load_balancers: self
                .load_balancers
                .into_iter()
                .map(LoadBalancer::seen)
                .collect::<Result<_, _>>()
                .map_err(invalid)?,
            // Tasks on their way out may still run, and are wanted no more.
            revisions: self
                .current_service_revisions
                .into_iter()
                .filter(|revision| revision.requested_task_count > 0)
                .map(|revision| ServiceRevisionArn::new(revision.arn))
                .collect::<Result<_, _>>()
                .map_err(invalid)?,
            status: self.status,
            deployment_configuration: self.deployment_configuration,
            desired: self.desired_count,
            running: self.running_count,
            pending: self.pending_count,
            other_tasks,
        })
    }

    /// The task definition it is set to; with the controller EXTERNAL that of the primary task set.
    pub(crate) fn task_definition(&self) -> Option<&str> {
        let primary = || self.task_sets.iter().find(|set| set.status == PRIMARY);
        self.task_definition.as_deref().or_else(|| primary()?.task_definition.as_deref())
    }

    /// Whether its newest deployment brings this task definition and has not completed.
    pub(crate) fn is_rolling_out(&self, task_definition: &TaskDefinitionArn) -> bool {
        self.primary().is_some_and(|primary| {
            primary.task_definition.as_deref() == Some(task_definition.as_str())
                && primary.rollout_state.as_deref() == Some("IN_PROGRESS")
        })
    }

    fn kind(&self) -> Result<Kind, InvalidId> {
        let lattice = self.primary().into_iter().flat_map(|rollout| &rollout.vpc_lattice_configurations);
        let wanted = |revision: &&CurrentRevision| revision.requested_task_count > 0;
        let revisions = &self.current_service_revisions;
        let newest = revisions.iter().find(wanted).or_else(|| revisions.first());
        Ok(Kind {
            scheduling: match self.scheduling_strategy.as_deref() {
                None | Some("REPLICA") => Scheduling::Replica,
                Some("DAEMON") => Scheduling::Daemon,
                Some(other) => Scheduling::Other(other.to_owned()),
            },
            is_anywhere: self.launch_type.as_deref() == Some("EXTERNAL"),
            management: match self.resource_management_type.as_deref() {
                None | Some("CUSTOMER") => Management::Customer,
                Some("ECS") => Management::Ecs,
                Some(other) => Management::Other(other.to_owned()),
            },
            lattice: lattice.map(Lattice::seen).collect(),
            newest_revision: id(newest.map(|revision| revision.arn.clone()))?,
        })
    }

    fn primary(&self) -> Option<&Rollout> {
        self.deployments.iter().find(|rollout| rollout.status == PRIMARY)
    }

    /// Tasks of all deployments but the newest, which are still to be replaced.
    fn other_tasks(&self) -> u32 {
        let others = self.deployments.iter().filter(|rollout| rollout.status != PRIMARY);
        others.map(|rollout| rollout.running_count.saturating_add(rollout.pending_count)).sum()
    }

    fn is_steady(&self) -> bool {
        // A deployment without state is one of a kind ECS does not track; a second beside it says that tasks are being replaced.
        let alone = self.deployments.len() <= 1;
        let completed =
            |rollout: &Rollout| rollout.rollout_state.as_deref().map_or(alone, |s| s == "COMPLETED");
        self.deployments.iter().all(completed)
            && self.running_count == self.desired_count
            && self.pending_count == 0
    }
}

impl Rollout {
    fn has_service_connect(&self) -> bool {
        self.service_connect_configuration.as_ref().is_some_and(|connect| connect.enabled)
    }
}

impl Lattice {
    fn seen(&self) -> LatticeSeen {
        let named = |member: &Option<String>| member.as_ref().is_some_and(|text| !text.is_empty());
        LatticeSeen {
            target_group: self.target_group_arn.clone(),
            can_shift: self.advanced_configuration.as_ref().is_some_and(|advanced| {
                named(&advanced.alternate_target_group_arn) && named(&advanced.production_listener_rule)
            }),
        }
    }
}

impl LoadBalancer {
    fn seen(self) -> Result<LoadBalancerSeen, InvalidId> {
        let advanced = self.advanced_configuration.unwrap_or_default();
        Ok(LoadBalancerSeen {
            target_group: id(self.target_group_arn)?,
            alternate_target_group: id(advanced.alternate_target_group_arn)?,
            production_rule: id(advanced.production_listener_rule)?,
            test_rule: id(advanced.test_listener_rule)?,
            role_given: advanced.role_arn.is_some_and(|role| !role.is_empty()),
        })
    }
}

/// An id that may be absent; AWS also says so with an empty text.
fn id<T: TryFrom<String, Error = InvalidId>>(text: Option<String>) -> Result<Option<T>, InvalidId> {
    text.filter(|text| !text.is_empty()).map(T::try_from).transpose()
}

/// A task definition, from the answer of `DescribeTaskDefinition`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TaskDefinition {
    task_definition_arn: String,
    status: String,
    container_definitions: Vec<Container>,
    runtime_platform: Option<RuntimePlatform>,
    requires_compatibilities: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    image: String,
    version_consistency: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimePlatform {
    cpu_architecture: Option<String>,
    operating_system_family: Option<String>,
}

impl RuntimePlatform {
    /// In the words of images. What AWS leaves out is X86_64 and LINUX, its own defaults.
    fn seen(&self) -> Option<Platform> {
        let architecture = match self.cpu_architecture.as_deref().unwrap_or("X86_64") {
            "X86_64" => "amd64",
            "ARM64" => "arm64",
            _ => return None,
        };
        let os = match self.operating_system_family.as_deref().unwrap_or("LINUX") {
            "LINUX" => "linux",
            family if family.starts_with("WINDOWS") => "windows",
            _ => return None,
        };
        Some(Platform { os: os.into(), architecture: architecture.into() })
    }
}

impl TaskDefinition {
    pub(crate) fn seen(self) -> Result<TaskDefinitionSeen, PortError> {
        let arn = TaskDefinitionArn::new(self.task_definition_arn);
        let platform = match &self.runtime_platform {
            Some(platform) => platform.seen(),
            // On EC2 it is that of the instances, which is not said here.
            None if self.requires_compatibilities == ["FARGATE"] => RuntimePlatform::default().seen(),
            None => None,
        };
        let floats = |container: &&Container| container.version_consistency.as_deref() == Some("disabled");
        let floating = self.container_definitions.iter().filter(floats);
        let floating = floating.filter_map(|container| ContainerName::new(container.name.as_str()).ok());
        let floating = floating.collect();
        // A container whose name no policy can write is none that a policy can mean.
        let named = |container: Container| Some((ContainerName::new(container.name).ok()?, container.image));
        Ok(TaskDefinitionSeen {
            arn: arn.map_err(|error| unexpected("ecs:DescribeTaskDefinition", error.to_string()))?,
            active: self.status == "ACTIVE",
            images: self.container_definitions.into_iter().filter_map(named).collect::<BTreeMap<_, _>>(),
            floating,
            platform,
            tags: 0,
        })
    }
}

/// A page of `ListServiceDeployments`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeploymentPage {
    pub(crate) service_deployments: Vec<Brief>,
    pub(crate) next_token: Option<String>,
}

/// A deployment as it is listed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Brief {
    pub(crate) service_deployment_arn: String,
    created_at: Option<f64>,
    target_service_revision_arn: Option<String>,
    status: String,
    status_reason: Option<String>,
}

/// The answer of `DescribeServiceDeployments`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Deployments {
    pub(crate) service_deployments: Vec<Deployment>,
}

/// A deployment as it is described.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Deployment {
    pub(crate) service_deployment_arn: String,
    created_at: Option<f64>,
    status: String,
    status_reason: Option<String>,
    lifecycle_stage: Option<String>,
    target_service_revision: Option<Revision>,
    lifecycle_hook_details: Vec<Hook>,
    rollback: Option<Rollback>,
    alarms: Option<Alarms>,
    deployment_configuration: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Revision {
    arn: Option<String>,
    requested_task_count: u32,
    running_task_count: u32,
    pending_task_count: u32,
    requested_production_traffic_weight: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hook {
    hook_id: String,
    target_type: Option<String>,
    status: Option<String>,
    /// In no service model so far; read in case AWS adds it, as the event has it.
    lifecycle_stage: Option<String>,
    expires_at: Option<f64>,
    timeout_action: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rollback {
    reason: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Alarms {
    triggered_alarm_names: Vec<String>,
}

impl From<Brief> for Deployment {
    fn from(brief: Brief) -> Self {
        Self {
            service_deployment_arn: brief.service_deployment_arn,
            created_at: brief.created_at,
            status: brief.status,
            status_reason: brief.status_reason,
            target_service_revision: brief
                .target_service_revision_arn
                .map(|arn| Revision { arn: Some(arn), ..Revision::default() }),
            ..Self::default()
        }
    }
}

impl Deployment {
    pub(crate) fn target_revision(&self) -> Option<&str> {
        self.target_service_revision.as_ref()?.arn.as_deref()
    }

    pub(crate) fn status(&self) -> DeploymentStatus {
        DeploymentStatus::from_wire(&self.status)
    }

    /// Whether it waits at this hook.
    pub(crate) fn awaits(&self, hook: &HookId) -> bool {
        self.lifecycle_hook_details
            .iter()
            .any(|detail| detail.hook_id == hook.as_str() && detail.is_awaiting())
    }

    /// `task_definition` is that of the target revision, which only another call can say.
    pub(crate) fn seen(
        self,
        task_definition: Option<TaskDefinitionArn>,
    ) -> Result<DeploymentSeen, PortError> {
        const OPERATION: &str = "ecs:DescribeServiceDeployments";
        let invalid = |error: InvalidId| unexpected(OPERATION, error.to_string());
        let created_at = self.created_at.and_then(timestamp);
        let revision = self.target_service_revision.clone().unwrap_or_default();
        let stage = self.lifecycle_stage.as_deref();
        let hooks = self.lifecycle_hook_details.iter().map(|hook| hook.seen(stage));
        Ok(DeploymentSeen {
            hooks: hooks.collect::<Result<_, _>>().map_err(invalid)?,
            status: self.status(),
            reason: self.reason(),
            arn: self.service_deployment_arn.parse().map_err(invalid)?,
            created_at: created_at.ok_or_else(|| unexpected(OPERATION, "a deployment has no createdAt"))?,
            stage: self.lifecycle_stage,
            configuration: self.deployment_configuration,
            task_definition,
            weight: revision.requested_production_traffic_weight.and_then(percent),
            tasks: (revision.requested_task_count, revision.running_task_count, revision.pending_task_count),
            triggered_alarms: self.alarms.map(|alarms| alarms.triggered_alarm_names).unwrap_or_default(),
        })
    }

    /// What AWS says about the status, and about the rollback where that says more.
    fn reason(&self) -> Option<String> {
        let rollback = self.rollback.as_ref().and_then(|rollback| rollback.reason.clone());
        match (self.status_reason.clone(), rollback) {
            (Some(status), Some(rollback)) if !status.contains(&rollback) => {
                Some(format!("{status} ({rollback})"))
            }
            (status, rollback) => status.or(rollback),
        }
    }
}

impl Hook {
    fn is_awaiting(&self) -> bool {
        self.status.as_deref() == Some("AWAITING_ACTION")
    }

    /// AWS does not say where a hook stands; one that is waited for stands where the deployment is.
    fn seen(&self, deployment_stage: Option<&str>) -> Result<HookSeen, InvalidId> {
        let awaiting = self.is_awaiting();
        let here = deployment_stage.filter(|_| awaiting).map(str::to_owned);
        Ok(HookSeen {
            id: HookId::new(self.hook_id.clone())?,
            pause: self.target_type.as_deref() == Some("PAUSE"),
            stage: self.lifecycle_stage.clone().or(here),
            awaiting,
            expires_at: self.expires_at.and_then(timestamp),
            timeout_action: self.timeout_action.clone(),
        })
    }
}

/// The answer of `DescribeServiceRevisions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Revisions {
    pub(crate) service_revisions: Vec<ServiceRevision>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceRevision {
    pub(crate) service_revision_arn: String,
    pub(crate) task_definition: Option<String>,
    pub(crate) container_images: Vec<ContainerImage>,
    gateway_connectors: Vec<Value>,
    ecs_managed_resources: ManagedResources,
}

/// `ecsManagedResources`: what Amazon ECS has made for a service, as far as it sends it requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ManagedResources {
    gateway_connections: Vec<GatewayConnection>,
}

/// An element of `gatewayConnections[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GatewayConnection {
    /// A union: by kind of gateway.
    resources: BTreeMap<String, Value>,
}

/// What a gateway on a shared Application Load Balancer has made for a service (`hostSharedAlb`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HostSharedAlb {
    listener_rule_arn: Option<String>,
    test_listener_rule_arn: Option<String>,
    target_group_arn: Option<String>,
    alternate_target_group_arn: Option<String>,
}

impl ServiceRevision {
    /// What Amazon ECS itself has put in front of it.
    pub(crate) fn gateway(self) -> Result<GatewaySeen, PortError> {
        const OPERATION: &str = "ecs:DescribeServiceRevisions";
        let invalid = |error: InvalidId| unexpected(OPERATION, error.to_string());
        let connections = self.ecs_managed_resources.gateway_connections;
        let mut seen = GatewaySeen {
            is_connected: !self.gateway_connectors.is_empty() || !connections.is_empty(),
            ..GatewaySeen::default()
        };
        for (kind, resources) in connections.into_iter().flat_map(|connection| connection.resources) {
            if kind != "hostSharedAlb" {
                seen.unknown.push(kind);
                continue;
            }
            let balancers: Vec<HostSharedAlb> = crate::raw::read(OPERATION, resources)?;
            for balancer in balancers {
                seen.balancers.push(balancer.seen().map_err(invalid)?);
            }
        }
        Ok(seen)
    }
}

impl HostSharedAlb {
    fn seen(self) -> Result<LoadBalancerSeen, InvalidId> {
        Ok(LoadBalancerSeen {
            target_group: id(self.target_group_arn)?,
            alternate_target_group: id(self.alternate_target_group_arn)?,
            production_rule: id(self.listener_rule_arn)?,
            test_rule: id(self.test_listener_rule_arn)?,
            // The gateway has a role of its own.
            role_given: true,
        })
    }
}

/// An element of a revision's `containerImages[]`, or of a task's `containers[]`: what one container runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerImage {
    #[serde(alias = "name")]
    container_name: String,
    image: Option<String>,
    image_digest: Option<String>,
}

impl ContainerImage {
    /// The container and its digest. A reference by digest is a fact; of an image for several platforms AWS may tell the digest of
    /// the index or of one of its parts.
    pub(crate) fn digest(&self) -> Option<(ContainerName, Digest)> {
        let written = self.image.as_deref().and_then(digest_of);
        let told = || Digest::new(self.image_digest.as_deref()?).ok();
        Some((ContainerName::new(self.container_name.as_str()).ok()?, written.or_else(told)?))
    }
}

/// The answer of `DescribeTasks`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tasks {
    pub(crate) tasks: Vec<Task>,
}

/// A task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Task {
    pub(crate) task_definition_arn: String,
    pub(crate) desired_status: String,
    pub(crate) containers: Vec<ContainerImage>,
}

/// From seconds since 1970 with a fraction, as the JSON protocol writes times.
fn timestamp(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).round();
    // Beyond this an f64 no longer counts in ones; it is far beyond what `Timestamp` holds.
    if millis.abs() > 9e15 {
        return None;
    }
    Timestamp::from_millisecond(millis as i64).ok()
}

/// A weight, to a tenth of a percent.
fn percent(weight: f64) -> Option<Percent> {
    Percent::from_f64((weight * 10.0).round() / 10.0)
}

fn unexpected(operation: &'static str, why: impl Into<String>) -> PortError {
    PortError::new(ErrorKind::Invalid, operation, "UnexpectedAnswer", why)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) const RULE: &str =
        "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/web/1/2/3";
    pub(crate) const BLUE: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/blue/1";
    pub(crate) const GREEN: &str =
        "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/green/2";

    pub(crate) fn task_definition(revision: u32) -> String {
        format!("arn:aws:ecs:eu-central-1:111122223333:task-definition/web:{revision}")
    }

    pub(crate) fn deployment_arn(id: &str) -> String {
        format!("arn:aws:ecs:eu-central-1:111122223333:service-deployment/prod/web/{id}")
    }

    pub(crate) fn revision_arn(id: u32) -> String {
        format!("arn:aws:ecs:eu-central-1:111122223333:service-revision/prod/web/{id}")
    }

    /// A service of `DescribeServices` that rests on a revision.
    pub(crate) fn service(revision: u32) -> Value {
        json!({
            "serviceArn": "arn:aws:ecs:eu-central-1:111122223333:service/prod/web",
            "status": "ACTIVE",
            "desiredCount": 2, "runningCount": 2, "pendingCount": 0,
            "taskDefinition": task_definition(revision),
            "deploymentConfiguration": { "strategy": "ROLLING", "maximumPercent": 200, "tidalLock": { "moon": 1 } },
            "deployments": [{
                "id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": "COMPLETED",
                "taskDefinition": task_definition(revision),
                "serviceConnectConfiguration": { "enabled": true, "namespace": "shop" },
            }],
            "loadBalancers": [{
                "targetGroupArn": BLUE, "containerName": "app", "containerPort": 8080,
                "advancedConfiguration": {
                    "alternateTargetGroupArn": GREEN, "productionListenerRule": RULE,
                    "roleArn": "arn:aws:iam::111122223333:role/ecs",
                },
            }],
        })
    }

    fn seen(service: Value) -> ServiceSeen {
        serde_json::from_value::<Service>(service).unwrap().seen().unwrap()
    }

    #[test]
    fn a_service_at_rest() {
        let seen = seen(service(41));
        assert_eq!((seen.status.as_str(), seen.controller.as_str()), ("ACTIVE", "ECS"));
        assert_eq!(seen.task_definition.short(), "web:41");
        assert_eq!((seen.desired, seen.running, seen.pending), (2, 2, 0));
        assert!(seen.steady && seen.service_connect);
        assert_eq!(seen.deployment_configuration["tidalLock"]["moon"], 1);
        let [lb] = seen.load_balancers.try_into().unwrap();
        assert_eq!(lb.target_group.unwrap().as_str(), BLUE);
        assert_eq!(lb.alternate_target_group.unwrap().as_str(), GREEN);
        assert_eq!(lb.production_rule.unwrap().as_str(), RULE);
        assert!(lb.test_rule.is_none() && lb.role_given);
    }

    #[test]
    fn what_kind_of_service_it_is() {
        let kind = |change: fn(&mut Value)| {
            let mut service = service(41);
            change(&mut service);
            seen(service).kind
        };
        assert_eq!(kind(|_| ()), Kind::default(), "what AWS does not say is as it always was");
        let plain = kind(|service| {
            service["schedulingStrategy"] = "REPLICA".into();
            service["resourceManagementType"] = "CUSTOMER".into();
            service["launchType"] = "FARGATE".into();
            service["deployments"][0]["vpcLatticeConfigurations"] = json!([]);
        });
        assert_eq!(plain, Kind::default());
        let other = kind(|service| {
            service["schedulingStrategy"] = "DAEMON".into();
            service["resourceManagementType"] = "ECS".into();
            service["launchType"] = "EXTERNAL".into();
        });
        assert_eq!((other.scheduling, other.management), (Scheduling::Daemon, Management::Ecs));
        assert!(other.is_anywhere);
        let new = kind(|service| {
            service["schedulingStrategy"] = "TIDAL".into();
            service["resourceManagementType"] = "MOON".into();
        });
        let told = (Scheduling::Other("TIDAL".into()), Management::Other("MOON".into()));
        assert_eq!((new.scheduling, new.management), told);
    }

    #[test]
    fn vpc_lattice_can_shift_between_two_target_groups_with_a_rule() {
        let mut service = service(41);
        let (one, two) =
            ("arn:aws:vpc-lattice:r:1:targetgroup/tg-1", "arn:aws:vpc-lattice:r:1:targetgroup/tg-2");
        let whole = json!({ "alternateTargetGroupArn": two, "productionListenerRule": "arn:rule" });
        service["deployments"][0]["vpcLatticeConfigurations"] = json!([
            { "roleArn": "arn:role", "targetGroupArn": one, "portName": "http", "advancedConfiguration": whole },
            { "roleArn": "arn:role", "targetGroupArn": two, "portName": "grpc" },
            { "targetGroupArn": two, "advancedConfiguration": { "alternateTargetGroupArn": one, "productionListenerRule": "" } },
        ]);
        let lattice = seen(service).kind.lattice;
        let can_shift: Vec<bool> = lattice.iter().map(|group| group.can_shift).collect();
        assert_eq!((lattice[0].target_group.as_str(), can_shift), (one, vec![true, false, false]));
    }

    #[test]
    fn the_newest_revision_is_known_also_when_no_task_is_wanted() {
        let revision = |number: u32, wanted: u32| {
            json!({ "arn": format!("arn:aws:ecs:eu-central-1:111122223333:service-revision/prod/web/{number}"),
                "requestedTaskCount": wanted })
        };
        let newest = |revisions: Value| {
            let mut service = service(41);
            service["currentServiceRevisions"] = revisions;
            let arn = seen(service).kind.newest_revision;
            arn.map(|arn| arn.as_str().rsplit('/').next().unwrap().to_owned())
        };
        assert_eq!(newest(json!([revision(2, 0), revision(1, 2)])).as_deref(), Some("1"));
        assert_eq!(newest(json!([revision(2, 0)])).as_deref(), Some("2"));
        assert_eq!(newest(json!([])), None);
    }

    fn gateway(revision: Value) -> GatewaySeen {
        crate::raw::read::<ServiceRevision>("ecs:DescribeServiceRevisions", revision)
            .unwrap()
            .gateway()
            .unwrap()
    }

    #[test]
    fn the_rule_and_the_groups_of_a_gateway_are_found_in_what_amazon_ecs_manages() {
        assert_eq!(gateway(json!({ "serviceRevisionArn": "arn:rev" })), GatewaySeen::default());
        let express = json!({ "ecsManagedResources": { "ingressPaths": [{ "accessType": "PUBLIC" }] } });
        assert_eq!(gateway(express), GatewaySeen::default());
        let awaited = gateway(json!({ "gatewayConnectors": [{ "portName": "http" }] }));
        assert!(awaited.is_connected && awaited.balancers.is_empty());
        let alb = json!([{ "loadBalancerArn": "arn:lb", "listenerArn": "arn:listener", "listenerRuleArn": RULE,
            "targetGroupArn": BLUE, "alternateTargetGroupArn": GREEN }]);
        let connection = json!({ "gatewayArn": "arn:gateway", "status": "ACTIVE", "portName": "http",
            "resources": { "hostSharedAlb": alb } });
        let seen = gateway(json!({
            "gatewayConnectors": [{ "portName": "http" }],
            "ecsManagedResources": { "logGroups": null, "gatewayConnections": [connection] },
        }));
        let [balancer] = seen.balancers.try_into().unwrap();
        assert!(seen.is_connected && balancer.can_shift() && balancer.role_given);
        assert_eq!(balancer.production_rule.unwrap().as_str(), RULE);
        assert_eq!(balancer.alternate_target_group.unwrap().as_str(), GREEN);
        let other = json!({ "ecsManagedResources": { "gatewayConnections": [{ "resources": { "pathSharedNlb": [] } }] } });
        assert_eq!(gateway(other).unknown, ["pathSharedNlb"]);
    }

    #[test]
    fn what_is_not_steady() {
        let changed = |change: fn(&mut Value)| {
            let mut service = service(41);
            change(&mut service);
            seen(service).steady
        };
        assert!(changed(|_| ()));
        assert!(!changed(|service| service["runningCount"] = 1.into()));
        assert!(!changed(|service| service["pendingCount"] = 1.into()));
        assert!(!changed(|service| service["deployments"][0]["rolloutState"] = "IN_PROGRESS".into()));
        assert!(!changed(|service| service["deployments"][0]["rolloutState"] = "FAILED".into()));
        let untracked = json!({ "status": "ACTIVE" });
        let mut two = service(41);
        two["deployments"].as_array_mut().unwrap().push(untracked.clone());
        assert!(!seen(two).steady);
        let mut one = service(41);
        one["deployments"] = json!([untracked]);
        assert!(seen(one).steady);
    }

    #[test]
    fn tasks_that_are_still_to_be_replaced_are_counted() {
        assert_eq!(seen(service(41)).other_tasks, 0);
        let mut mixed = service(41);
        mixed["deployments"][0]["runningCount"] = 1.into();
        let old =
            json!({ "status": "ACTIVE", "rolloutState": "COMPLETED", "runningCount": 2, "pendingCount": 1 });
        mixed["deployments"].as_array_mut().unwrap().push(old);
        assert_eq!(seen(mixed).other_tasks, 3);
    }

    #[test]
    fn another_controller_is_told_and_its_primary_task_set_counts() {
        let mut external = service(41);
        external["deploymentController"] = json!({ "type": "EXTERNAL" });
        external.as_object_mut().unwrap().remove("taskDefinition");
        external["taskSets"] = json!([
            { "status": "ACTIVE", "taskDefinition": task_definition(8) },
            { "status": "PRIMARY", "taskDefinition": task_definition(7) },
        ]);
        let seen = seen(external);
        assert_eq!((seen.controller.as_str(), seen.task_definition.short()), ("EXTERNAL", "web:7"));
    }

    #[test]
    fn a_task_definition_with_its_images() {
        let described = crate::registration::tests::described(7)["taskDefinition"].clone();
        let seen = serde_json::from_value::<TaskDefinition>(described).unwrap().seen().unwrap();
        assert!(seen.active && seen.arn.short() == "web:7");
        let images: Vec<_> =
            seen.images.iter().map(|(name, image)| (name.as_str(), image.as_str())).collect();
        assert_eq!(images, [("app", "old:1"), ("proxy", "envoy:1")]);
    }

    /// A deployment of `DescribeServiceDeployments` that waits at a pause hook.
    pub(crate) fn waiting(id: &str, revision: u32) -> Value {
        json!({
            "serviceDeploymentArn": deployment_arn(id),
            "createdAt": 1_763_000_000.5,
            "status": "IN_PROGRESS",
            "lifecycleStage": "PRODUCTION_TRAFFIC_SHIFT",
            "targetServiceRevision": {
                "arn": revision_arn(revision),
                "requestedTaskCount": 2, "runningTaskCount": 1, "pendingTaskCount": 1,
                "requestedProductionTrafficWeight": 10.000_000_1,
            },
            "lifecycleHookDetails": [
                { "hookId": "ecs-pause-1", "targetType": "PAUSE", "status": "SUCCEEDED" },
                { "hookId": "ecs-pause-2", "targetType": "PAUSE", "status": "AWAITING_ACTION",
                  "expiresAt": 1_763_000_900.0, "timeoutAction": "ROLLBACK" },
                { "hookId": "ecs-lambda-3", "targetType": "AWS_LAMBDA", "status": "IN_PROGRESS" },
            ],
            "alarms": { "status": "MONITORING", "alarmNames": ["a"], "triggeredAlarmNames": ["a"] },
        })
    }

    fn deployment(value: Value) -> DeploymentSeen {
        let arn = TaskDefinitionArn::new(task_definition(42)).unwrap();
        serde_json::from_value::<Deployment>(value).unwrap().seen(Some(arn)).unwrap()
    }

    #[test]
    fn a_deployment_at_a_hook() {
        let seen = deployment(waiting("A", 2));
        assert_eq!((seen.arn.short(), &seen.status), ("A", &DeploymentStatus::InProgress));
        assert_eq!(seen.created_at.as_millisecond(), 1_763_000_000_500);
        assert_eq!(seen.weight, Some(Percent::from_tenths(100)));
        assert_eq!((seen.tasks, seen.triggered_alarms), ((2, 1, 1), vec!["a".to_owned()]));
        assert_eq!(seen.task_definition.unwrap().short(), "web:42");
        let hooks: Vec<_> = seen
            .hooks
            .iter()
            .map(|hook| (hook.id.as_str(), hook.pause, hook.awaiting, hook.stage.as_deref()))
            .collect();
        assert_eq!(
            hooks,
            [
                ("ecs-pause-1", true, false, None),
                ("ecs-pause-2", true, true, Some("PRODUCTION_TRAFFIC_SHIFT")),
                ("ecs-lambda-3", false, false, None),
            ]
        );
        assert_eq!(seen.hooks[1].expires_at.unwrap().as_second(), 1_763_000_900);
    }

    #[test]
    fn what_is_new_on_the_wire_is_kept() {
        let mut value = waiting("A", 2);
        value["status"] = "HIBERNATING".into();
        value["lifecycleStage"] = "PRE_PRODUCTION_TRAFFIC_SHIFT".into();
        value["lifecycleHookDetails"][1]["targetType"] = "ORACLE".into();
        value["lifecycleHookDetails"][1]["lifecycleStage"] = "DREAMING".into();
        let seen = deployment(value);
        assert_eq!(seen.status, DeploymentStatus::Other("HIBERNATING".into()));
        assert_eq!(seen.stage.as_deref(), Some("PRE_PRODUCTION_TRAFFIC_SHIFT"));
        assert_eq!(seen.hooks[1].stage.as_deref(), Some("DREAMING"));
        assert!(!seen.hooks[1].pause);
    }

    #[test]
    fn the_rollbacks_reason_is_told_once() {
        let reason = |status: Value, rollback: Value| {
            let mut value = waiting("A", 2);
            value["statusReason"] = status;
            value["rollback"] = json!({ "reason": rollback });
            deployment(value).reason
        };
        assert_eq!(reason("stopped".into(), "alarm a".into()).as_deref(), Some("stopped (alarm a)"));
        assert_eq!(reason("alarm a.".into(), "alarm a".into()).as_deref(), Some("alarm a."));
        assert_eq!(reason(Value::Null, "alarm a".into()).as_deref(), Some("alarm a"));
    }

    #[test]
    fn times_out_of_range_are_no_times() {
        assert_eq!(timestamp(1e300), None);
        assert_eq!(timestamp(1_763_000_000.123).unwrap().as_millisecond(), 1_763_000_000_123);
    }
}
