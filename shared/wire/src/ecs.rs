//! Amazon ECS: deployments, hooks, services and tasks that changed.
//!
//! ECS delivers at least once and in no particular order, and the deployment event does not name the service deployment. These
//! events are therefore only reasons to look at a service; what is acted on is what is seen then.

use jiff::Timestamp;
use serde::Deserialize;
use tidegate_core::ids::{
    AccountId, ClusterName, ContainerName, DeploymentArn, Digest, EcsService, EcsServiceName, HookId, Region,
    Target, TaskArn, TaskDefinitionArn,
};
use tidegate_core::vocab::tasks::{self, StoppedContainer, StoppedTask};

use crate::arn::Arn;
use crate::decode;
use crate::envelope::{Envelope, EventError};
use crate::grow::wire_enum;

/// The service an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ServiceRef {
    pub account: AccountId,
    pub region: Region,
    /// Its cluster; unknown when the service still has an ARN of the old, short format and the event names no cluster.
    pub cluster: Option<ClusterName>,
    /// Its name.
    pub service: EcsServiceName,
}

impl ServiceRef {
    /// Whether this can be the target's service.
    pub fn is(&self, target: &Target) -> bool {
        let is_it = |at: &EcsService| {
            self.service == at.service && self.cluster.as_ref().is_none_or(|cluster| *cluster == at.cluster)
        };
        self.account == target.account && self.region == target.region && target.ecs().is_some_and(is_it)
    }

    /// From `service/CLUSTER/NAME`, the old `service/NAME`, or `service-deployment/CLUSTER/NAME/ID`.
    fn from_arn(envelope: &Envelope, path: &str, text: &str) -> Result<Self, EventError> {
        let refuse = |problem: String| envelope.malformed(path, problem);
        let arn = own_arn(envelope, path, text)?;
        let names =
            arn.resource_of("ecs", "service").or_else(|| arn.resource_of("ecs", "service-deployment"));
        let mut names = names.into_iter().flat_map(|names| names.split('/'));
        let (cluster, service) = match (names.next(), names.next()) {
            (Some(cluster), Some(service)) => (Some(cluster), service),
            (Some(service), None) => (None, service),
            (None, _) => return Err(refuse(format!("found {text:?}, allowed the ARN of an ECS service"))),
        };
        Ok(Self {
            cluster: cluster.map(ClusterName::new).transpose().map_err(|error| refuse(error.to_string()))?,
            service: EcsServiceName::new(service).map_err(|error| refuse(error.to_string()))?,
            account: arn.account,
            region: arn.region,
        })
    }

    /// The service among the event's resources.
    fn from_resources(envelope: &Envelope) -> Result<Self, EventError> {
        match envelope.resources.first() {
            Some(arn) => Self::from_arn(envelope, "resources[0]", arn),
            None => {
                Err(envelope.malformed("resources", "found an empty list, allowed the ARN of an ECS service"))
            }
        }
    }

    /// Completes an old, short ARN with the cluster the event names elsewhere.
    fn in_cluster(mut self, envelope: &Envelope, cluster: Option<&str>) -> Result<Self, EventError> {
        if let (None, Some(arn)) = (&self.cluster, cluster) {
            self.cluster = Some(cluster_name(envelope, arn)?);
        }
        Ok(self)
    }
}

impl std::fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(f, "{cluster}/{}", self.service),
            None => write!(f, "{}", self.service),
        }
    }
}

/// An ARN of the account and region the event says it comes from. Anything else would let one account speak for another.
fn own_arn<'a>(envelope: &Envelope, path: &str, text: &'a str) -> Result<Arn<'a>, EventError> {
    let arn = Arn::parse(text).map_err(|problem| envelope.malformed(path, problem))?;
    if arn.account != envelope.account || arn.region != envelope.region {
        let problem = format!(
            "found {text:?}, allowed an ARN of the event's own {} in {}",
            envelope.account, envelope.region
        );
        return Err(envelope.malformed(path, problem));
    }
    Ok(arn)
}

fn cluster_name(envelope: &Envelope, text: &str) -> Result<ClusterName, EventError> {
    const PATH: &str = "detail.clusterArn";
    let arn = own_arn(envelope, PATH, text)?;
    let name = arn.resource_of("ecs", "cluster").ok_or_else(|| {
        envelope.malformed(PATH, format!("found {text:?}, allowed the ARN of an ECS cluster"))
    })?;
    ClusterName::new(name).map_err(|error| envelope.malformed(PATH, error.to_string()))
}

wire_enum! {
    /// How much an event of ECS matters, by ECS.
    EventType {
        /// All is well:
        Info = "INFO",
        /// Something is odd:
        Warn = "WARN",
        /// Something failed:
        Error = "ERROR",
    }
}

wire_enum! {
    /// What happened to a deployment.
    DeploymentEventName {
        /// It started, or a rollback of it did:
        InProgress = "SERVICE_DEPLOYMENT_IN_PROGRESS",
        /// It is done:
        Completed = "SERVICE_DEPLOYMENT_COMPLETED",
        /// The circuit breaker or an alarm ended it:
        Failed = "SERVICE_DEPLOYMENT_FAILED",
    }
}

/// `ECS Deployment State Change`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct DeploymentStateChange {
    pub service: ServiceRef,
    /// What happened.
    pub name: DeploymentEventName,
    /// How much it matters.
    pub event_type: EventType,
    /// `ecs-svc/…`: not the ARN of the service deployment, which the event does not tell.
    pub deployment_id: String,
    /// What ECS says.
    pub reason: Option<String>,
    pub updated_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct DeploymentDetail {
    #[serde(rename = "eventName")]
    name: DeploymentEventName,
    #[serde(rename = "eventType")]
    event_type: EventType,
    #[serde(rename = "deploymentId")]
    deployment_id: String,
    reason: Option<String>,
    #[serde(rename = "updatedAt", default, deserialize_with = "decode::some_timestamp")]
    updated_at: Option<Timestamp>,
}

impl DeploymentStateChange {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        let detail: DeploymentDetail = envelope.detail()?;
        Ok(Self {
            service: ServiceRef::from_resources(envelope)?,
            name: detail.name,
            event_type: detail.event_type,
            deployment_id: detail.deployment_id,
            reason: detail.reason,
            updated_at: detail.updated_at,
        })
    }
}

wire_enum! {
    /// What happened to a lifecycle hook.
    HookEventName {
        /// It runs:
        InProgress = "HOOK_IN_PROGRESS",
        /// A pause hook waits for `ContinueServiceDeployment`:
        AwaitingAction = "HOOK_AWAITING_ACTION",
        /// It succeeded, or was continued:
        Succeeded = "HOOK_SUCCEEDED",
        /// It failed, or was told to roll back:
        Failed = "HOOK_FAILED",
        /// Nobody answered in time; its timeout action takes effect:
        TimedOut = "HOOK_TIMED_OUT",
    }
}

wire_enum! {
    /// What kind of hook it is.
    HookType {
        /// It waits for `ContinueServiceDeployment`:
        Pause = "PAUSE",
        /// It invokes a function:
        AwsLambda = "AWS_LAMBDA",
    }
}

wire_enum! {
    /// The stages of a deployment. The API's own enumeration lacks some that its hooks have.
    LifecycleStage {
        /// More than one revision was active at the start:
        ReconcileService = "RECONCILE_SERVICE",
        /// Before tasks are started:
        PreScaleUp = "PRE_SCALE_UP",
        /// Tasks are started:
        ScaleUp = "SCALE_UP",
        /// Tasks run:
        PostScaleUp = "POST_SCALE_UP",
        /// Test traffic moves:
        TestTrafficShift = "TEST_TRAFFIC_SHIFT",
        /// Test traffic has moved:
        PostTestTrafficShift = "POST_TEST_TRAFFIC_SHIFT",
        /// Before production traffic moves, at every step:
        PreProductionTrafficShift = "PRE_PRODUCTION_TRAFFIC_SHIFT",
        /// Production traffic moves:
        ProductionTrafficShift = "PRODUCTION_TRAFFIC_SHIFT",
        /// All production traffic has moved:
        PostProductionTrafficShift = "POST_PRODUCTION_TRAFFIC_SHIFT",
        /// Both versions stay for a while:
        BakeTime = "BAKE_TIME",
        /// The stable version is taken away:
        CleanUp = "CLEAN_UP",
    }
}

/// `ECS Hook State Change`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct HookStateChange {
    pub service: ServiceRef,
    /// The service deployment.
    pub deployment: DeploymentArn,
    pub hook: HookId,
    /// What kind of hook.
    pub hook_type: HookType,
    /// What happened.
    pub name: HookEventName,
    /// How much it matters.
    pub event_type: EventType,
    /// Where in the deployment.
    pub stage: Option<LifecycleStage>,
    /// When its timeout action takes effect.
    pub expires_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct HookDetail {
    #[serde(rename = "eventName")]
    name: HookEventName,
    #[serde(rename = "eventType")]
    event_type: EventType,
    #[serde(rename = "hookId")]
    hook: HookId,
    #[serde(rename = "hookType")]
    hook_type: HookType,
    #[serde(rename = "lifecycleStage")]
    stage: Option<LifecycleStage>,
    #[serde(rename = "serviceArn")]
    service: String,
    #[serde(rename = "serviceDeploymentArn")]
    deployment: DeploymentArn,
    #[serde(rename = "expiresAt", default, deserialize_with = "decode::some_timestamp")]
    expires_at: Option<Timestamp>,
    #[serde(rename = "updatedAt", default, deserialize_with = "decode::some_timestamp")]
    updated_at: Option<Timestamp>,
}

impl HookStateChange {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        let detail: HookDetail = envelope.detail()?;
        // The deployment's ARN names the cluster also where the service's is of the old, short format.
        let service =
            ServiceRef::from_arn(envelope, "detail.serviceDeploymentArn", detail.deployment.as_str())?;
        let named = ServiceRef::from_arn(envelope, "detail.serviceArn", &detail.service)?;
        if named.service != service.service
            || named.cluster.as_ref().is_some_and(|own| Some(own) != service.cluster.as_ref())
        {
            let problem =
                format!("found {}, allowed {service}, the service of detail.serviceDeploymentArn", named);
            return Err(envelope.malformed("detail.serviceArn", problem));
        }
        Ok(Self {
            service,
            deployment: detail.deployment,
            hook: detail.hook,
            hook_type: detail.hook_type,
            name: detail.name,
            event_type: detail.event_type,
            stage: detail.stage,
            expires_at: detail.expires_at,
            updated_at: detail.updated_at,
        })
    }
}

wire_enum! {
    /// What happened to a service.
    ServiceEventName {
        /// All tasks run and are healthy; said again every few hours:
        SteadyState = "SERVICE_STEADY_STATE",
        /// The same for a task set:
        TasksetSteadyState = "TASKSET_STEADY_STATE",
        /// A capacity provider is steady:
        CapacityProviderSteadyState = "CAPACITY_PROVIDER_STEADY_STATE",
        /// Autoscaling changed the number of tasks:
        DesiredCountUpdated = "SERVICE_DESIRED_COUNT_UPDATED",
        /// Tasks do not start:
        TaskStartImpaired = "SERVICE_TASK_START_IMPAIRED",
        /// Tasks cannot be placed:
        TaskPlacementFailure = "SERVICE_TASK_PLACEMENT_FAILURE",
        /// Tasks are configured wrongly:
        TaskConfigurationFailure = "SERVICE_TASK_CONFIGURATION_FAILURE",
        /// Service discovery found an unhealthy task:
        DiscoveryInstanceUnhealthy = "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY",
        /// A daemon's placement no longer holds:
        DaemonPlacementConstraintViolated = "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED",
        /// The scheduler is throttled:
        OperationThrottled = "ECS_OPERATION_THROTTLED",
        /// The scheduler is throttled by Cloud Map:
        DiscoveryOperationThrottled = "SERVICE_DISCOVERY_OPERATION_THROTTLED",
        /// The health of tasks is not known:
        HealthUnknown = "SERVICE_HEALTH_UNKNOWN",
        /// A deployment did not become steady:
        DeploymentFailed = "SERVICE_DEPLOYMENT_FAILED",
    }
}

/// `ECS Service Action`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ServiceAction {
    pub service: ServiceRef,
    /// What happened.
    pub name: ServiceEventName,
    /// How much it matters.
    pub event_type: EventType,
    /// What ECS says.
    pub reason: Option<String>,
    pub created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct ServiceActionDetail {
    #[serde(rename = "eventName")]
    name: ServiceEventName,
    #[serde(rename = "eventType")]
    event_type: EventType,
    #[serde(rename = "clusterArn")]
    cluster: Option<String>,
    reason: Option<String>,
    #[serde(rename = "createdAt", default, deserialize_with = "decode::some_timestamp")]
    created_at: Option<Timestamp>,
}

impl ServiceAction {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        let detail: ServiceActionDetail = envelope.detail()?;
        Ok(Self {
            service: ServiceRef::from_resources(envelope)?.in_cluster(envelope, detail.cluster.as_deref())?,
            name: detail.name,
            event_type: detail.event_type,
            reason: detail.reason,
            created_at: detail.created_at,
        })
    }
}

wire_enum! {
    /// How far a task is.
    TaskStatus {
        /// Waiting for resources:
        Provisioning = "PROVISIONING",
        /// Waiting for its containers:
        Pending = "PENDING",
        /// About to run:
        Activating = "ACTIVATING",
        /// Running:
        Running = "RUNNING",
        /// Leaving load balancers:
        Deactivating = "DEACTIVATING",
        /// Being stopped:
        Stopping = "STOPPING",
        /// Giving resources back:
        Deprovisioning = "DEPROVISIONING",
        /// Stopped:
        Stopped = "STOPPED",
        /// Gone:
        Deleted = "DELETED",
    }
}

wire_enum! {
    /// Why a task was stopped.
    StopCode {
        /// It never started:
        TaskFailedToStart = "TaskFailedToStart",
        /// An essential container ended:
        EssentialContainerExited = "EssentialContainerExited",
        /// A person stopped it:
        UserInitiated = "UserInitiated",
        /// The service did, in a deployment or because it was unhealthy:
        ServiceSchedulerInitiated = "ServiceSchedulerInitiated",
        /// Spot capacity was taken away:
        SpotInterruption = "SpotInterruption",
        /// Capacity was taken away:
        TerminationNotice = "TerminationNotice",
    }
}

/// `ECS Task State Change`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct TaskStateChange {
    pub task: TaskArn,
    pub cluster: ClusterName,
    /// Its service; none for a task that was run by itself.
    pub service: Option<ServiceRef>,
    /// What it runs.
    pub task_definition: TaskDefinitionArn,
    /// How far it is.
    pub last_status: TaskStatus,
    /// How far it shall be.
    pub desired_status: TaskStatus,
    /// Counts the changes of the task: of two events the one with the higher version is the newer.
    pub version: u64,
    /// The deployment that started it: `ecs-svc/…`.
    pub started_by: Option<String>,
    /// Why it was stopped.
    pub stop_code: Option<StopCode>,
    /// The same for people.
    pub stopped_reason: Option<String>,
    pub containers: Vec<ContainerState>,
    /// When the task was created.
    pub created_at: Option<Timestamp>,
    /// When it stopped, or was told to.
    pub stopped_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
}

/// A container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ContainerState {
    /// Its name in the task definition.
    pub name: String,
    /// The image as the task definition says it.
    pub image: Option<String>,
    /// The image that really runs; unknown until it was pulled.
    #[serde(rename = "imageDigest", default, deserialize_with = "decode::some_unless_empty")]
    pub digest: Option<Digest>,
    /// How far it is.
    #[serde(rename = "lastStatus")]
    pub last_status: TaskStatus,
    /// How it ended.
    #[serde(rename = "exitCode")]
    pub exit_code: Option<i64>,
    /// What ECS says about its end.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct TaskDetail {
    #[serde(rename = "taskArn")]
    task: TaskArn,
    #[serde(rename = "clusterArn")]
    cluster: String,
    group: Option<String>,
    #[serde(rename = "taskDefinitionArn")]
    task_definition: TaskDefinitionArn,
    #[serde(rename = "lastStatus")]
    last_status: TaskStatus,
    #[serde(rename = "desiredStatus")]
    desired_status: TaskStatus,
    version: u64,
    #[serde(rename = "startedBy")]
    started_by: Option<String>,
    #[serde(rename = "stopCode")]
    stop_code: Option<StopCode>,
    #[serde(rename = "stoppedReason")]
    stopped_reason: Option<String>,
    #[serde(default, deserialize_with = "decode::list_of_fields")]
    containers: Vec<ContainerState>,
    #[serde(rename = "createdAt", default, deserialize_with = "decode::some_timestamp")]
    created_at: Option<Timestamp>,
    #[serde(rename = "stoppingAt", default, deserialize_with = "decode::some_timestamp")]
    stopping_at: Option<Timestamp>,
    #[serde(rename = "stoppedAt", default, deserialize_with = "decode::some_timestamp")]
    stopped_at: Option<Timestamp>,
    #[serde(rename = "updatedAt", default, deserialize_with = "decode::some_timestamp")]
    updated_at: Option<Timestamp>,
}

impl TaskStateChange {
    /// What the event says of a task that has stopped, or is being stopped; `None` for every other task.
    pub fn stopped(&self) -> Option<StoppedTask> {
        let ends = self.stop_code.is_some()
            || self.stopped_reason.is_some()
            || self.desired_status == TaskStatus::Stopped
            || self.last_status == TaskStatus::Stopped;
        let containers = self.containers.iter().filter_map(|container| {
            Some(StoppedContainer {
                name: ContainerName::new(&container.name).ok()?,
                exit_code: container.exit_code,
                reason: container.reason.clone(),
                log: None,
            })
        });
        ends.then(|| StoppedTask {
            task: self.task.clone(),
            task_definition: self.task_definition.clone(),
            created_at: self.created_at,
            stopped_at: self.stopped_at,
            code: self.stop_code.as_ref().map(|code| tasks::StopCode::from(code.as_str().to_owned())),
            reason: self.stopped_reason.clone(),
            containers: containers.collect(),
        })
    }

    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        let detail: TaskDetail = envelope.detail()?;
        let cluster = cluster_name(envelope, &detail.cluster)?;
        let service = match detail.group.as_deref().and_then(|group| group.strip_prefix("service:")) {
            Some(name) => Some(ServiceRef {
                account: envelope.account.clone(),
                region: envelope.region.clone(),
                cluster: Some(cluster.clone()),
                service: EcsServiceName::new(name)
                    .map_err(|error| envelope.malformed("detail.group", error.to_string()))?,
            }),
            None => None,
        };
        Ok(Self {
            task: detail.task,
            cluster,
            service,
            task_definition: detail.task_definition,
            last_status: detail.last_status,
            desired_status: detail.desired_status,
            version: detail.version,
            started_by: detail.started_by,
            stop_code: detail.stop_code,
            stopped_reason: detail.stopped_reason,
            containers: detail.containers,
            created_at: detail.created_at,
            stopped_at: detail.stopped_at.or(detail.stopping_at),
            updated_at: detail.updated_at,
        })
    }
}
