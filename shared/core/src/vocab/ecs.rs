//! Amazon ECS: services, task definitions and deployments as they are seen, what can be asked, and what can be done.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ecr::Platform;
use super::tasks::StoppedTask;
use crate::ids::{
    ContainerName, DeploymentArn, Digest, EcsServiceName, HookId, ReleaseId, RuleArn, ServiceRevisionArn,
    TargetGroupArn, TaskDefinitionArn,
};
use crate::policy::Percent;
use crate::reference::digest_of;
use crate::seen::Seen;

/// What was seen of a service in one look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The service; `Known(None)` when there is none of that name.
    pub service: Seen<Option<ServiceSeen>>,
    /// The task definition the service runs.
    pub task_definition: Seen<TaskDefinitionSeen>,
    /// The revision that was asked for with [`Needs::revision`], if it has been registered.
    pub revision: Seen<Option<TaskDefinitionArn>>,
    /// The task definition a rollback release goes to; `Known(None)` when it does not exist any more.
    pub destination: Seen<Option<TaskDefinitionSeen>>,
    /// The digests the service's containers run.
    pub running: Seen<RunningSeen>,
    /// Deployments of the service created since the release started, newest first; our own among them.
    pub deployments: Seen<Vec<DeploymentSeen>>,
    /// Tasks of the candidate's task definition that have stopped; Amazon ECS shows them for about an hour.
    pub stopped_tasks: Seen<Vec<StoppedTask>>,
    /// The second service that carries the candidate; `Known(None)` when there is none of that name.
    pub canary: Seen<Option<ServiceSeen>>,
    /// What a second service is copied from.
    pub source: Seen<SourceSeen>,
    /// What Amazon ECS itself has put in front of the service.
    pub gateway: Seen<GatewaySeen>,
}

/// What Amazon ECS itself has put in front of a service that one of its gateways serves. Only a service revision tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewaySeen {
    /// Whether a gateway sends the service requests, or is to do so.
    pub is_connected: bool,
    /// The rules and target groups that gateways have made for it, in the form of a load balancer of the service's own.
    pub balancers: Vec<LoadBalancerSeen>,
    /// What else gateways have made, by the names AWS gives it: something that only a newer version of Tidegate knows.
    pub unknown: Vec<String>,
}

/// What a second service is copied from, as far as it decides whether it can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSeen {
    /// How many service registries it has.
    pub registries: usize,
    /// Whether Service Connect lets others call it by a name, which no second service may take.
    pub connect_server: bool,
    /// Whether an Amazon ECS gateway sends it requests.
    pub gateway: bool,
    /// What of it Tidegate does not know, so that a copy would lack it.
    pub unknown: Vec<String>,
    /// Ports of the host that its containers take: only one task of them fits on a host.
    pub host_ports: Vec<u32>,
}

/// What can be asked about a service. What is not asked for stays [`Seen::NotAsked`].
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Needs {
    pub service: bool,
    /// The task definition it runs.
    pub task_definition: Option<TaskDefinitionArn>,
    /// The task definition a rollback release goes to.
    pub destination: Option<TaskDefinitionArn>,
    /// Whether this revision has been registered.
    pub revision: Option<DerivedRevision>,
    /// The digests that run.
    pub running: Option<RunningNeeds>,
    /// Deployments since then.
    pub deployments_since: Option<Timestamp>,
    /// Stopped tasks.
    pub stopped_tasks: Option<StoppedNeeds>,
    /// The second service of this name.
    pub canary: Option<EcsServiceName>,
    /// What a second service is copied from.
    pub source: bool,
    /// What Amazon ECS itself has put in front of this revision of the service.
    pub gateway: Option<ServiceRevisionArn>,
}

/// Whose stopped tasks are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedNeeds {
    /// Of the target's service, or of the second one.
    pub of: Option<EcsServiceName>,
    /// Of this task definition.
    pub task_definition: TaskDefinitionArn,
}

/// Which digests are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningNeeds {
    /// The service, as it was seen.
    pub service: ServiceSeen,
    /// These containers.
    pub containers: BTreeSet<ContainerName>,
}

impl Needs {
    /// What of it has not been asked for yet.
    #[must_use]
    pub fn without(mut self, asked: &Self) -> Self {
        self.service &= !asked.service;
        // One that was only expected may turn out to be another.
        self.task_definition = self.task_definition.filter(|arn| asked.task_definition.as_ref() != Some(arn));
        clear(&mut self.destination, &asked.destination);
        clear(&mut self.revision, &asked.revision);
        clear(&mut self.running, &asked.running);
        clear(&mut self.deployments_since, &asked.deployments_since);
        clear(&mut self.stopped_tasks, &asked.stopped_tasks);
        clear(&mut self.canary, &asked.canary);
        self.source &= !asked.source;
        clear(&mut self.gateway, &asked.gateway);
        self
    }
}

fn clear<T>(need: &mut Option<T>, asked: &Option<T>) {
    if asked.is_some() {
        *need = None;
    }
}

impl Observation {
    /// With what a later question was answered.
    pub fn merge(&mut self, later: Self) {
        self.service.merge(later.service);
        self.task_definition.merge(later.task_definition);
        self.revision.merge(later.revision);
        self.destination.merge(later.destination);
        self.running.merge(later.running);
        self.deployments.merge(later.deployments);
        self.stopped_tasks.merge(later.stopped_tasks);
        self.canary.merge(later.canary);
        self.source.merge(later.source);
        self.gateway.merge(later.gateway);
    }
}

/// One thing to do to a service. Every effect is an "ensure …": performing it again, or when it has already been done, changes nothing.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Effect {
    /// Ensure that an ACTIVE revision exists which is another one with only the images of some containers changed.
    RegisterTaskDefinition {
        /// The release, kept as a tag on the revision.
        release: ReleaseId,
        /// The revision.
        revision: DerivedRevision,
    },
    /// Ensure that a deployment of `task_definition` is under way, held by our pause hooks.
    StartDeployment {
        task_definition: TaskDefinitionArn,
        /// The whole `deploymentConfiguration`.
        configuration: Value,
    },
    /// Continue a deployment that waits at a pause hook.
    ContinueHook { deployment: DeploymentArn, hook: HookId },
    /// Have ECS roll the deployment back: traffic first.
    StopDeployment { deployment: DeploymentArn },
    /// Start a deployment back to the stable version, when there is no deployment under way that could be rolled back.
    ReturnTo {
        /// The stable version.
        task_definition: TaskDefinitionArn,
        /// The whole `deploymentConfiguration`, without hooks of ours.
        configuration: Value,
    },
    /// Ensure that the service's deployment configuration is again what it was before the release.
    RestoreConfiguration {
        /// As it was.
        configuration: Value,
    },
    /// Ensure that there is a second service that carries the candidate: a copy of the target's, with a task definition, a number of tasks
    /// and a target group of its own.
    CreateCanary {
        name: EcsServiceName,
        /// The release, kept as a tag.
        release: ReleaseId,
        /// What it runs.
        task_definition: TaskDefinitionArn,
        /// How many tasks.
        desired: u32,
        /// The target group its tasks are registered with; none where there is no load balancer.
        target_group: Option<TargetGroupArn>,
        /// The service's own target group that it stands beside: its tasks answer with the same container at the same port.
        beside: Option<TargetGroupArn>,
    },
    /// Ensure that the second service has so many tasks.
    ScaleCanary {
        name: EcsServiceName,
        /// How many tasks.
        desired: u32,
    },
    /// Ensure that there is no second service any more.
    DeleteCanary { name: EcsServiceName },
}

/// An ECS service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSeen {
    /// `ACTIVE`, `DRAINING`, `INACTIVE`, as AWS spells it.
    pub status: String,
    /// Deployment controller, `ECS` unless said otherwise.
    pub controller: String,
    /// The task definition the service is set to.
    pub task_definition: TaskDefinitionArn,
    /// `deploymentConfiguration` exactly as AWS returned it, unknown fields included.
    pub deployment_configuration: Value,
    /// Tasks wanted.
    pub desired: u32,
    /// Tasks running.
    pub running: u32,
    /// Tasks starting.
    pub pending: u32,
    /// Tasks that run or start and are not of the newest deployment: what is still to be replaced.
    pub other_tasks: u32,
    /// Whether every deployment of the service has completed.
    pub steady: bool,
    /// The load balancers.
    pub load_balancers: Vec<LoadBalancerSeen>,
    /// Whether Service Connect is configured, which also can shift traffic.
    pub service_connect: bool,
    /// The service revisions that tasks are wanted of. None where AWS tells none, as of services from before it kept them.
    pub revisions: Vec<ServiceRevisionArn>,
    /// What kind of service it is.
    pub kind: Kind,
}

/// What kind of service it is, which decides how it can be released at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// How its tasks are placed.
    pub scheduling: Scheduling,
    /// Whether its tasks run on machines outside of AWS: ECS Anywhere, launch type `EXTERNAL`.
    pub is_anywhere: bool,
    /// Who manages what belongs to it.
    pub management: Management,
    /// Its VPC Lattice target groups.
    pub lattice: Vec<LatticeSeen>,
    /// Its newest revision, also when no task is wanted.
    pub newest_revision: Option<ServiceRevisionArn>,
}

/// `schedulingStrategy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// So many tasks as are wanted.
    #[default]
    Replica,
    /// One task on each instance.
    Daemon,
    /// One this version does not know.
    Other(String),
}

/// `resourceManagementType`. A service of which AWS does not say it is from before there was another kind, and its owner's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Management {
    /// Whoever made the service.
    #[default]
    Customer,
    /// Amazon ECS: the service is one of Express Mode.
    Ecs,
    /// One this version does not know.
    Other(String),
}

/// One of a service's VPC Lattice target groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatticeSeen {
    /// The ARN of the target group; it is none of Elastic Load Balancing.
    pub target_group: String,
    /// Whether its `advancedConfiguration` names a second target group and the rule between both, so that Amazon ECS can shift.
    pub can_shift: bool,
}

impl ServiceSeen {
    /// Whether every task is of the newest deployment. With early success criteria a deployment is `SUCCESSFUL` before that.
    pub fn is_all_replaced(&self) -> bool {
        self.other_tasks == 0 && self.running >= self.desired
    }
}

/// One load balancer of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerSeen {
    /// The target group tasks are registered with at first.
    pub target_group: Option<TargetGroupArn>,
    /// The second target group of `advancedConfiguration`.
    pub alternate_target_group: Option<TargetGroupArn>,
    /// The production rule (ALB) or listener (NLB) of `advancedConfiguration`.
    pub production_rule: Option<RuleArn>,
    /// The test rule or listener.
    pub test_rule: Option<RuleArn>,
    /// The role ECS assumes to change the weights.
    pub role_given: bool,
}

impl LoadBalancerSeen {
    /// Whether it names everything that traffic is shifted with: two target groups and the rule between both.
    pub fn can_shift(&self) -> bool {
        self.target_group.is_some() && self.alternate_target_group.is_some() && self.production_rule.is_some()
    }
}

/// What `DescribeTaskDefinition` returns and `RegisterTaskDefinition` does not take: the difference of the two shapes in the service model
/// (`TaskDefinition`, `RegisterTaskDefinitionRequest`).
pub const TASK_DEFINITION_RESPONSE_ONLY: &[&str] = &[
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// A task definition.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct TaskDefinitionSeen {
    pub arn: TaskDefinitionArn,
    /// Whether its status is ACTIVE.
    pub active: bool,
    /// The image of each container, as written in it.
    pub images: BTreeMap<ContainerName, String>,
    /// Containers whose tag its owner wants resolved anew for every task (`versionConsistency` is `disabled`).
    pub floating: BTreeSet<ContainerName>,
    /// What its tasks run on; `None` when it does not say and nothing follows from how it is launched.
    pub platform: Option<Platform>,
    /// How many tags a revision derived from it takes over.
    pub tags: usize,
}

/// A service deployment.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct DeploymentSeen {
    pub arn: DeploymentArn,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its status.
    pub status: DeploymentStatus,
    /// What AWS says about the status.
    pub reason: Option<String>,
    /// `lifecycleStage` as AWS spells it; new ones appear.
    pub stage: Option<String>,
    /// The task definition of the target revision.
    pub task_definition: Option<TaskDefinitionArn>,
    /// `requestedProductionTrafficWeight` of the target revision.
    pub weight: Option<Percent>,
    /// Tasks of the target revision: requested, running, pending.
    pub tasks: (u32, u32, u32),
    /// Hooks that have been reached.
    pub hooks: Vec<HookSeen>,
    /// The `deploymentConfiguration` it was started with, as AWS returned it; null where AWS does not tell it.
    pub configuration: Value,
    /// Alarms ECS itself saw in ALARM.
    pub triggered_alarms: Vec<String>,
}

/// The status of a service deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DeploymentStatus {
    /// `PENDING`.
    Pending,
    /// `IN_PROGRESS`.
    InProgress,
    /// `STOP_REQUESTED`.
    StopRequested,
    /// `STOPPED`.
    Stopped,
    /// `SUCCESSFUL`.
    Successful,
    /// `ROLLBACK_REQUESTED`.
    RollbackRequested,
    /// `ROLLBACK_IN_PROGRESS`.
    RollbackInProgress,
    /// `ROLLBACK_SUCCESSFUL`.
    RollbackSuccessful,
    /// `ROLLBACK_FAILED`.
    RollbackFailed,
    /// One this version does not know; taken as still under way.
    Other(String),
}

impl From<String> for DeploymentStatus {
    fn from(text: String) -> Self {
        Self::from_wire(&text)
    }
}

impl From<DeploymentStatus> for String {
    fn from(status: DeploymentStatus) -> Self {
        status.as_str().to_owned()
    }
}

impl DeploymentStatus {
    /// From the wire.
    pub fn from_wire(text: &str) -> Self {
        match text {
            "PENDING" => Self::Pending,
            "IN_PROGRESS" => Self::InProgress,
            "STOP_REQUESTED" => Self::StopRequested,
            "STOPPED" => Self::Stopped,
            "SUCCESSFUL" => Self::Successful,
            "ROLLBACK_REQUESTED" => Self::RollbackRequested,
            "ROLLBACK_IN_PROGRESS" => Self::RollbackInProgress,
            "ROLLBACK_SUCCESSFUL" => Self::RollbackSuccessful,
            "ROLLBACK_FAILED" => Self::RollbackFailed,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::StopRequested => "STOP_REQUESTED",
            Self::Stopped => "STOPPED",
            Self::Successful => "SUCCESSFUL",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
            Self::Other(text) => text,
        }
    }

    /// Whether the deployment has ended.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Stopped | Self::Successful | Self::RollbackSuccessful | Self::RollbackFailed => true,
            Self::Pending
            | Self::InProgress
            | Self::StopRequested
            | Self::RollbackRequested
            | Self::RollbackInProgress
            | Self::Other(_) => false,
        }
    }

    /// Whether the deployment does not get to its end any more: it goes back, or was stopped.
    pub fn is_broken_off(&self) -> bool {
        self.is_rollback() || matches!(self, Self::StopRequested | Self::Stopped)
    }

    /// Whether the deployment goes, or went, backwards.
    pub fn is_rollback(&self) -> bool {
        match self {
            Self::RollbackRequested
            | Self::RollbackInProgress
            | Self::RollbackSuccessful
            | Self::RollbackFailed => true,
            Self::Pending
            | Self::InProgress
            | Self::StopRequested
            | Self::Stopped
            | Self::Successful
            | Self::Other(_) => false,
        }
    }
}

/// A lifecycle hook of a deployment that has been reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSeen {
    /// Its id; new at every step.
    pub id: HookId,
    /// Whether it is a PAUSE hook.
    pub pause: bool,
    /// Where in the deployment it stands, when AWS says; the pause of the current stage otherwise.
    pub stage: Option<String>,
    /// Whether it waits for `ContinueServiceDeployment`.
    pub awaiting: bool,
    /// When its timeout action takes effect.
    pub expires_at: Option<Timestamp>,
    /// `ROLLBACK` or `CONTINUE`, as AWS spells it.
    pub timeout_action: Option<String>,
}

/// The images the service's tasks run now, as AWS says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningSeen {
    /// The digests of each container that were told, the one most tasks run first. None for a container whose image AWS tells no
    /// digest of; more than one when its tasks differ.
    pub digests: BTreeMap<ContainerName, Vec<Digest>>,
}

impl RunningSeen {
    /// The digests of a container.
    pub fn of(&self, container: &ContainerName) -> &[Digest] {
        self.digests.get(container).map_or(&[], Vec::as_slice)
    }
}

/// A revision that is another one with the images of some containers replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedRevision {
    /// The revision to start from.
    pub from: TaskDefinitionArn,
    /// The references that replace those of `from`, by container, each by digest.
    pub images: BTreeMap<ContainerName, String>,
    /// It is to be another revision than `from`, also where nothing differs: a drill's candidate has to be told from what runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

impl std::fmt::Display for DerivedRevision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let images = self.images.iter().map(|(container, reference)| {
            let digest = digest_of(reference);
            format!("{container} = {}", digest.as_ref().map_or(reference.as_str(), Digest::short))
        });
        write!(f, "{} with {}", self.from.family(), images.collect::<Vec<_>>().join(", "))
    }
}
