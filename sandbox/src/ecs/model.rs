//! Everything ECS remembers. Plain data: cloned for eventually consistent reads, changed only by requests and by ticks.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::config::{Config, HookAction};
use super::ids;
use super::ids::Identity;
pub(super) use super::stages::{DeploymentStatus, Stage, Step};
use crate::ports::ImageSpec;

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) task_definitions: Families,
    /// By cluster and name.
    pub(super) services: BTreeMap<(String, String), Service>,
    /// Services whose name was given to a new one while their last tasks were stopping.
    pub(super) replaced: Vec<Service>,
}

impl State {
    /// Every service that has tasks to look after.
    pub(super) fn everything(&self) -> impl Iterator<Item = &Service> {
        self.services.values().chain(&self.replaced)
    }
}

/// Task definitions by family; a revision's number is its position plus one.
pub(super) type Families = BTreeMap<String, Vec<TaskDefinition>>;

#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) active: bool,
    pub(super) tags: Vec<Value>,
    pub(super) settings: Value,
}

#[derive(Debug, Clone)]
pub(super) struct TaskDefinition {
    /// As it was registered, with everything the SDKs do not know, plus what ECS adds.
    pub(super) raw: Map<String, Value>,
    pub(super) arn: String,
    pub(super) active: bool,
    pub(super) deregistered_at: Option<Timestamp>,
    pub(super) tags: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

impl ServiceStatus {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Ecs,
    CodeDeploy,
    External,
}

impl Controller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ECS",
            Self::CodeDeploy => "CODE_DEPLOY",
            Self::External => "EXTERNAL",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) cluster: String,
    pub(super) cluster_arn: String,
    pub(super) status: ServiceStatus,
    pub(super) controller: Controller,
    /// The `CreateService` request, for its idempotency.
    pub(super) created_with: Value,
    pub(super) created_at: Timestamp,
    pub(super) created_by: Option<String>,
    pub(super) tags: Vec<Value>,
    /// Members that are not part of a revision, as they were requested.
    pub(super) attributes: Map<String, Value>,
    pub(super) configuration: Map<String, Value>,
    pub(super) desired: u32,
    pub(super) revisions: Vec<Revision>,
    /// The revision the service stands for: the target of the running deployment, or the source once it rolls back.
    pub(super) current: Option<RevisionId>,
    /// Oldest first; only the last ones can be running.
    pub(super) deployments: Vec<Deployment>,
    pub(super) tasks: Vec<Task>,
    pub(super) events: VecDeque<LogEntry>,
    /// When the last `SERVICE_STEADY_STATE` was emitted, while the service is steady.
    pub(super) steady_since_event: Option<Timestamp>,
}

/// A message of `DescribeServices.events`.
#[derive(Debug, Clone)]
pub(super) struct LogEntry {
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) message: String,
}

/// Position in `Service::revisions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RevisionId(pub(super) usize);

/// Which of its two target groups a revision's tasks are registered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Main,
    Alternate,
}

impl Slot {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Main => Self::Alternate,
            Self::Alternate => Self::Main,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Revision {
    pub(super) arn: String,
    /// `ecs-svc/…`, the id in `DescribeServices.deployments` and in deployment events.
    pub(super) deployment_id: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// The members of the service that make a revision, as they were requested; `taskDefinition` is an ARN.
    pub(super) members: Map<String, Value>,
    pub(super) balancers: Vec<Balancer>,
    pub(super) containers: Vec<Container>,
    /// The container whose image decides what the process does.
    pub(super) main_container: usize,
    pub(super) slot: Slot,
    /// How many tasks the scheduler keeps alive.
    pub(super) requested: u32,
    pub(super) failed_tasks: u32,
    /// After a failure no task is tried before this.
    pub(super) retry_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    /// Whether its tag is resolved once for the revision (`versionConsistency`), so that all its tasks run the same digest whatever
    /// happens to the tag. Otherwise every task asks the tag.
    pub(super) consistent: bool,
    /// The digest it was resolved to, when it is resolved once.
    pub(super) resolved: Option<String>,
}

impl Container {
    /// What a task that is started now pulls.
    pub(super) fn to_pull(&self) -> String {
        match &self.resolved {
            Some(digest) => {
                let name = self.image.split('@').next().unwrap_or(&self.image);
                let name = match name.rsplit_once(':') {
                    Some((name, tag)) if !tag.contains('/') => name,
                    Some(_) | None => name,
                };
                format!("{name}@{digest}")
            }
            None => self.image.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Balancer {
    pub(super) target_group: String,
    pub(super) shifting: Option<Shifting>,
}

/// `loadBalancers[].advancedConfiguration`.
#[derive(Debug, Clone)]
pub(super) struct Shifting {
    pub(super) alternate_target_group: String,
    pub(super) production_rule: String,
    pub(super) test_rule: Option<String>,
}

impl Balancer {
    pub(super) fn group(&self, slot: Slot) -> &str {
        match (slot, &self.shifting) {
            (Slot::Alternate, Some(shifting)) => &shifting.alternate_target_group,
            (Slot::Alternate | Slot::Main, _) => &self.target_group,
        }
    }
}

impl Revision {
    /// The target groups its tasks are registered with.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.balancers.iter().map(|balancer| balancer.group(self.slot))
    }

    pub(super) fn task_definition(&self) -> &str {
        self.members.get("taskDefinition").and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Created, its process not started.
    Provisioning,
    /// Its process does not listen yet.
    Pending,
    Running,
    /// Deregistered, its connections end.
    Deactivating,
    /// Its process was asked to end.
    Stopping,
    Stopped,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }

    /// Whether the scheduler wants it to live.
    pub(super) fn is_alive(self) -> bool {
        match self {
            Self::Provisioning | Self::Pending | Self::Running => true,
            Self::Deactivating | Self::Stopping | Self::Stopped => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) container_arn: String,
    /// What was pulled for each container of the revision, in its order; empty before that.
    pub(super) pulled: Vec<ImageSpec>,
    pub(super) revision: RevisionId,
    pub(super) phase: Phase,
    pub(super) address: Option<SocketAddr>,
    /// Running and healthy in all its target groups.
    pub(super) healthy: bool,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) stopping_at: Option<Timestamp>,
    pub(super) stopped_at: Option<Timestamp>,
    pub(super) stop_code: Option<&'static str>,
    pub(super) stopped_reason: Option<String>,
    pub(super) exit_code: Option<i32>,
    /// `detail.version` of its events.
    pub(super) version: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) arn: String,
    pub(super) target: RevisionId,
    /// Where the traffic is at the start and where a rollback returns to; none for a service's first deployment.
    pub(super) source: Option<RevisionId>,
    /// All revisions that were active at the start.
    pub(super) sources: Vec<RevisionId>,
    pub(super) status: DeploymentStatus,
    pub(super) status_reason: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) stopped_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) configuration: Map<String, Value>,
    pub(super) config: Config,
    pub(super) steps: Vec<Step>,
    pub(super) cursor: usize,
    /// When the present step began; none before its entry.
    pub(super) entered_at: Option<Timestamp>,
    /// Hooks of the present stage.
    pub(super) hooks: Vec<HookRun>,
    /// By function, what it has answered to be told again.
    pub(super) hook_details: BTreeMap<String, Map<String, Value>>,
    /// Share of production traffic requested for the target; the source has the rest.
    pub(super) production_percent: f64,
    pub(super) test_percent: f64,
    /// A deployment before this one may have left traffic elsewhere than at the source.
    pub(super) traffic_unsure: bool,
    pub(super) rollback: Option<Rollback>,
    pub(super) alarms: AlarmWatch,
    pub(super) breaker: Breaker,
    /// The load balancer's last refusal, to log each only once.
    pub(super) shift_error: Option<String>,
}

impl Deployment {
    pub(super) fn step(&self) -> Option<Step> {
        self.steps.get(self.cursor).copied()
    }
}

/// One run of a lifecycle hook.
#[derive(Debug, Clone)]
pub(super) struct HookRun {
    pub(super) id: String,
    /// The call of its function; none for a pause.
    pub(super) call: Option<Call>,
    pub(super) stage: Stage,
    pub(super) status: HookStatus,
    /// Why its function failed.
    pub(super) why: Option<String>,
    pub(super) expires_at: Timestamp,
    pub(super) timeout_action: HookAction,
}

/// A call of a hook's function, and those before it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) function: String,
    pub(super) role: String,
    /// `hookDetails`: those configured, with what the function has answered since.
    pub(super) details: Map<String, Value>,
    pub(super) execution: String,
    /// How often it was called before.
    pub(super) number: u32,
    pub(super) due: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookStatus {
    AwaitingAction,
    InProgress,
    Succeeded,
    Failed,
    TimedOut,
}

impl HookStatus {
    /// Whether its stage waits for it.
    pub(super) fn is_open(self) -> bool {
        match self {
            Self::AwaitingAction | Self::InProgress => true,
            Self::Succeeded | Self::Failed | Self::TimedOut => false,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AwaitingAction => "AWAITING_ACTION",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Rollback {
    pub(super) cause: Cause,
    pub(super) started_at: Timestamp,
    /// Whether the old fleet was already being removed, so that it has to grow before it can take traffic.
    pub(super) source_incomplete: bool,
}

/// Why a deployment goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    Requested,
    HookRefused { hook: String, why: Option<String> },
    HookTimedOut { hook: String },
    Alarm { names: Vec<String> },
    CircuitBreaker,
    StageTooLong { stage: Stage },
}

impl Cause {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Requested => "Service deployment rolled back because of a stop request.".to_owned(),
            Self::HookRefused { hook, why: None } => {
                format!(
                    "Service deployment rolled back because lifecycle hook {hook} was answered with ROLLBACK."
                )
            }
            Self::HookRefused { hook, why: Some(why) } => {
                format!("Service deployment rolled back because lifecycle hook {hook} failed: {why}.")
            }
            Self::HookTimedOut { hook } => {
                format!("Service deployment rolled back because lifecycle hook {hook} timed out.")
            }
            Self::Alarm { names } => {
                format!("Service deployment rolled back because of alarm(s) in ALARM: {}.", names.join(", "))
            }
            Self::CircuitBreaker => {
                "Service deployment rolled back because the circuit breaker threshold was exceeded."
                    .to_owned()
            }
            Self::StageTooLong { stage } => {
                format!("Service deployment rolled back because stage {} took too long.", stage.name())
            }
        }
    }
}

/// The status shared by the alarms and the circuit breaker of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchStatus {
    Disabled,
    Monitoring,
    MonitoringComplete,
    Triggered,
}

impl WatchStatus {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Monitoring => "MONITORING",
            Self::MonitoringComplete => "MONITORING_COMPLETE",
            Self::Triggered => "TRIGGERED",
        }
    }

    pub(super) fn complete(self) -> Self {
        match self {
            Self::Monitoring => Self::MonitoringComplete,
            Self::Disabled | Self::MonitoringComplete | Self::Triggered => self,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct AlarmWatch {
    pub(super) status: WatchStatus,
    pub(super) triggered: Vec<String>,
    pub(super) polled_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) struct Breaker {
    pub(super) status: WatchStatus,
    pub(super) failures: u32,
    pub(super) threshold: u32,
}

impl Service {
    pub(super) fn revision(&self, id: RevisionId) -> &Revision {
        &self.revisions[id.0]
    }

    pub(super) fn revision_mut(&mut self, id: RevisionId) -> &mut Revision {
        &mut self.revisions[id.0]
    }

    pub(super) fn current_revision(&self) -> Option<&Revision> {
        self.current.map(|id| self.revision(id))
    }

    pub(super) fn alive(&self, revision: RevisionId) -> u32 {
        self.count(|task| task.revision == revision && task.phase.is_alive())
    }

    pub(super) fn healthy(&self, revision: RevisionId) -> u32 {
        self.count(|task| task.revision == revision && task.phase == Phase::Running && task.healthy)
    }

    /// Tasks that still run, counting those on their way out.
    pub(super) fn present(&self, revision: RevisionId) -> u32 {
        self.count(|task| task.revision == revision && task.phase != Phase::Stopped)
    }

    pub(super) fn count(&self, wanted: impl Fn(&Task) -> bool) -> u32 {
        u32::try_from(self.tasks.iter().filter(|task| wanted(task)).count()).unwrap_or(u32::MAX)
    }

    /// Whether all its tasks have stopped.
    pub(super) fn is_empty(&self) -> bool {
        self.count(|task| task.phase != Phase::Stopped) == 0
    }

    /// The deployment that is not over, if any.
    pub(super) fn running_deployment(&self) -> Option<&Deployment> {
        self.deployments.iter().rev().find(|deployment| !deployment.status.is_terminal())
    }

    pub(super) fn log(&mut self, at: Timestamp, message: impl std::fmt::Display) {
        let message = format!("(service {}) {message}", self.name);
        self.events.push_front(LogEntry { id: ids::uuid(), at, message });
        self.events.truncate(100);
    }

    pub(super) fn new_task(&self, revision: RevisionId, identity: &Identity, now: Timestamp) -> Task {
        let id = ids::task_id();
        Task {
            arn: identity.task(&self.cluster, &id),
            container_arn: identity.container(&self.cluster, &id, &ids::uuid()),
            pulled: Vec::new(),
            id,
            revision,
            phase: Phase::Provisioning,
            address: None,
            healthy: false,
            created_at: now,
            started_at: None,
            stopping_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
            exit_code: None,
            version: 1,
        }
    }
}
