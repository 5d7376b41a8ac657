//! What was seen of the world in one look: the inventory [`crate::decide`] works on. Whatever could not be seen is said so, with
//! the reason; nothing is ever guessed to be fine.

use crate::policy::{Percent, SeverityName};
use crate::service::ServiceRecord;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::effect::EffectKind;
use crate::fault::PortError;
use crate::ids::{
    AlarmName, ContainerName, DeploymentArn, Digest, HookId, RuleArn, ServiceRevisionArn, TargetGroupArn,
    TaskDefinitionArn,
};
use crate::revision::{DerivedRevision, RunningSeen};
use crate::tasks::StoppedTask;

/// One part of the world: seen, not asked for, or asked for and not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seen<T> {
    /// Not needed for the decision, so not asked for.
    #[default]
    NotAsked,
    /// Seen.
    Known(T),
    /// Asked for; the answer was an error.
    Unknown(PortError),
}

impl<T> Seen<T> {
    /// The value, when it was seen.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::NotAsked | Self::Unknown(_) => None,
        }
    }

    /// The error, when it was asked for and not answered.
    pub fn error(&self) -> Option<&PortError> {
        match self {
            Self::Unknown(error) => Some(error),
            Self::NotAsked | Self::Known(_) => None,
        }
    }
}

impl<T> From<Result<T, PortError>> for Seen<T> {
    fn from(result: Result<T, PortError>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::Unknown(error),
        }
    }
}

/// Everything seen in one look.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// When the look began, before the first call. What is decided from it is at least this true.
    pub at: Timestamp,
    /// The service's row in the ledger.
    pub head: Option<ServiceRecord>,
    /// The ECS service; `Known(None)` when there is none of that name.
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
    /// The weights of every rule the service's load balancers name.
    pub weights: Seen<Vec<RuleSeen>>,
    /// The alarms asked for; one that is missing here does not exist.
    pub alarms: Seen<BTreeMap<AlarmName, AlarmSeen>>,
    /// The alarms that the service's own deployment configuration names, before the release.
    pub own_alarms: Seen<BTreeMap<AlarmName, AlarmSeen>>,
    /// The images that run, and those that would, in their registries: by reference, with the digest.
    pub stored: BTreeMap<String, Seen<Stored>>,
    /// The release's own image in its registry; `Known(None)` when it is gone.
    pub new_image: Seen<Option<ImageSeen>>,
    /// Facts the event that woke us brought with it.
    pub hints: Vec<Hint>,
    /// The scan of the release's image.
    pub scan: Seen<ScanSeen>,
    /// The verification build of the current stage.
    pub build: Seen<Option<BuildSeen>>,
    /// Tasks of the candidate's task definition that have stopped; Amazon ECS shows them for about an hour.
    pub stopped_tasks: Seen<Vec<StoppedTask>>,
    /// How many requests the candidate has answered since [`RequestsAsked::since`], as far as it is known yet.
    pub requests: Seen<u64>,
    /// What the effects performed just before brought about, where nothing in AWS shows it.
    pub results: Vec<EffectResult>,
    /// Fresh randomness for tokens; never used twice, never kept.
    pub entropy: Entropy,
    /// Effects of this release that AWS refused for good in this invocation.
    pub refused: Vec<Refusal>,
}

/// What an effect brought about, where nothing in AWS shows it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectResult {
    /// A link was handed over for delivery.
    Invited {
        /// To whom.
        approver: String,
    },
    /// A build was started.
    BuildStarted {
        /// The stage it is for.
        stage: usize,
        /// Its id.
        build: String,
    },
}

/// 32 random bytes that are never printed.
#[derive(Clone, Copy, Default)]
pub struct Entropy(pub [u8; 32]);

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(…)")
    }
}

/// An effect AWS refused in a way that trying again does not fix.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The effect.
    pub effect: EffectKind,
    /// What AWS said.
    pub error: PortError,
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
pub struct TaskDefinitionSeen {
    /// Which.
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
pub struct DeploymentSeen {
    /// Which.
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

/// The weights a rule or listener forwards with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSeen {
    /// Which.
    pub arn: RuleArn,
    /// Target groups and weights, in the rule's order.
    pub weights: Vec<(TargetGroupArn, u32)>,
}

impl RuleSeen {
    /// The share of a target group, exact only to a tenth of a percent; `None` when the rule sends nothing anywhere.
    pub fn share(&self, target_group: &TargetGroupArn) -> Option<Percent> {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        let own: u32 =
            self.weights.iter().filter(|(arn, _)| arn == target_group).map(|(_, weight)| weight).sum();
        let tenths = (own * 1000 + total / 2).checked_div(total)?;
        u16::try_from(tenths).ok().map(Percent::from_tenths)
    }
}

/// The state of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmSeen {
    /// Its state.
    pub state: AlarmState,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What CloudWatch says about the state.
    pub reason: String,
    /// Why CloudWatch takes no action on it now: a mute rule, or a composite alarm's suppressor. Honoured.
    pub silenced: Option<String>,
    /// Why the state says nothing about now: it warms up, or cannot be evaluated. Then OK is no evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
}

impl AlarmSeen {
    /// Whether the alarm is in ALARM and not silenced.
    pub fn is_breach(&self) -> bool {
        self.state == AlarmState::Alarm && self.silenced.is_none()
    }
}

/// `OK`, `ALARM`, `INSUFFICIENT_DATA`, or one this version does not know, which is never taken for OK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AlarmState {
    /// `OK`.
    Ok,
    /// `ALARM`.
    Alarm,
    /// `INSUFFICIENT_DATA`.
    InsufficientData,
    /// One this version does not know.
    Other(String),
}

impl From<String> for AlarmState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "OK" => Self::Ok,
            "ALARM" => Self::Alarm,
            "INSUFFICIENT_DATA" => Self::InsufficientData,
            _ => Self::Other(text),
        }
    }
}

impl From<AlarmState> for String {
    fn from(state: AlarmState) -> Self {
        state.as_str().to_owned()
    }
}

impl AlarmState {
    /// As on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
            Self::Other(text) => text,
        }
    }
}

/// An image in ECR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSeen {
    /// Its digest.
    pub digest: Digest,
    /// Whether the repository's lifecycle policy is about to expire it.
    pub expiring: bool,
    /// Whether it is archived, which ECS cannot pull.
    pub archived: bool,
    /// The images it stands for, one for each platform: those of an index, or itself.
    pub parts: Seen<Vec<ImagePart>>,
}

impl ImageSeen {
    /// An image that is there and will stay, of a platform that nobody knows.
    pub fn there(digest: Digest) -> Self {
        Self { digest, expiring: false, archived: false, parts: Seen::Known(Vec::new()) }
    }

    /// Every digest AWS may call a task's image by that runs this one: its own, and those of its parts.
    pub fn digests(&self) -> Vec<Digest> {
        let parts = self.parts.known().into_iter().flatten().map(|part| part.digest.clone());
        std::iter::once(self.digest.clone()).chain(parts.filter(|part| *part != self.digest)).collect()
    }
}

/// An image that an index names, or one that stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePart {
    /// Its digest.
    pub digest: Digest,
    /// What it runs on; `None` for what is no image, as attestations are.
    pub platform: Option<Platform>,
}

/// An operating system and a processor, as images name them: `linux`, `arm64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor's architecture.
    pub architecture: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is there.
    There(ImageSeen),
    /// ECR does not have it (any more).
    Gone,
    /// It is in no private ECR registry, so nobody was asked.
    Elsewhere,
}

/// What a decision about a release needs to see, so that nothing is asked for in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The ECS service.
    pub service: bool,
    /// The running task definition, the digests that run, their images in ECR, the release's own image: what preflight proves.
    pub preflight: bool,
    /// The digests that run.
    pub running: bool,
    /// Whether this revision has been registered.
    pub revision: Option<DerivedRevision>,
    /// Deployments since the release started.
    pub deployments_since: Option<Timestamp>,
    /// Alarms.
    pub alarms: Vec<AlarmName>,
    /// The scan of the release's image.
    pub scan: bool,
    /// This build.
    pub build: Option<String>,
    /// Stopped tasks of this task definition.
    pub stopped_tasks: Option<TaskDefinitionArn>,
    /// These images in their registries.
    pub stored: BTreeSet<String>,
    /// The candidate's requests.
    pub requests: Option<RequestsAsked>,
    /// Rules and listeners; before the plan is made those the service names.
    pub weights: bool,
}

/// Requests to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestsAsked {
    /// The rules of Application Load Balancers, and the candidate's target group behind each.
    pub behind: Vec<(RuleArn, TargetGroupArn)>,
    /// From when on.
    pub since: Timestamp,
}

/// A fact an event brought: a hint to look, and evidence of what may already have passed when we look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// An alarm changed its state.
    Alarm {
        /// Which.
        name: AlarmName,
        /// To what.
        seen: AlarmSeen,
    },
    /// A task has stopped, or is being stopped.
    Task(Box<StoppedTask>),
    /// Something happened; look.
    Look(String),
}

/// What a scan of the image found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSeen {
    /// How far it is.
    pub status: ScanStatus,
    /// The findings.
    pub findings: Vec<ScanFinding>,
}

/// How far a scan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScanStatus {
    /// Done.
    Complete,
    /// Not yet, or never started.
    Pending,
    /// It cannot be done, with what AWS says.
    Failed(String),
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFinding {
    /// `CVE-2026-1234`.
    pub id: String,
    /// How bad.
    pub severity: SeverityName,
}

/// A verification build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSeen {
    /// Its id: `project:uuid`.
    pub id: String,
    /// How far it is.
    pub status: BuildStatus,
    /// Where its log is read.
    pub log_url: Option<String>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildStatus {
    /// Under way.
    InProgress,
    /// It ended well.
    Succeeded,
    /// It did not: FAILED, FAULT, STOPPED, TIMED_OUT, or what AWS may add, as AWS spells it.
    Failed(String),
}
