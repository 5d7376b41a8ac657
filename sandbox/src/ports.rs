//! The seams between the sandbox's own services. Each service is handed the others as these traits, so that it can be
//! built and tested alone.

use std::net::SocketAddr;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An error as AWS would answer it: the wire code (`ClusterNotFoundException`), a message, and the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// The error code on the wire, without namespace.
    pub code: String,
    /// The message for people.
    pub message: String,
    /// HTTP status, mostly 400.
    pub status: u16,
}

impl AwsError {
    /// A client error (HTTP 400).
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }
}

/// Who called, as far as the signature tells.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The access key id of the signature; `test` is root.
    pub access_key_id: String,
    /// The ARN the key belongs to, when known.
    pub arn: Option<String>,
}

/// A service the sandbox answers itself, behind whichever wire protocol. Input and output are the members of the
/// operation's shapes as JSON with the names AWS's JSON protocols use (query and CBOR services are converted at the edge).
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers one operation.
    async fn call(&self, operation: &str, input: Value, caller: &Caller) -> Result<Value, AwsError>;
}

/// The health of a target as a load balancer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetHealth {
    /// Registered, first health checks still running.
    Initial,
    /// Passing health checks.
    Healthy,
    /// Failing health checks.
    Unhealthy,
    /// Deregistered, connections ending.
    Draining,
    /// Not registered, or its target group is not used by any listener.
    Unused,
}

/// What ECS asks of load balancers. Rules and listeners are named by ARN: an ALB's production "listener" is a rule ARN, an
/// NLB's a listener ARN.
pub trait LoadBalancers: Send + Sync {
    /// Registers a target.
    fn register_target(&self, target_group_arn: &str, target: SocketAddr) -> Result<(), AwsError>;
    /// Deregisters a target; its connections drain.
    fn deregister_target(&self, target_group_arn: &str, target: SocketAddr) -> Result<(), AwsError>;
    /// The health of one target.
    fn target_health(&self, target_group_arn: &str, target: SocketAddr) -> TargetHealth;
    /// Requests in flight to one target, for draining.
    fn requests_in_flight(&self, target_group_arn: &str, target: SocketAddr) -> u64;
    /// The weighted target groups a rule or listener forwards to, in order.
    fn forward_weights(&self, rule_or_listener_arn: &str) -> Result<Vec<(String, u32)>, AwsError>;
    /// The load balancers whose rules or listeners name a target group, whatever its weight.
    fn load_balancers_of(&self, target_group_arn: &str) -> Result<Vec<String>, AwsError>;
    /// Sets the weights of a rule's or listener's forward action, keeping the rest of the rule.
    fn set_forward_weights(
        &self,
        rule_or_listener_arn: &str,
        weights: &[(String, u32)],
    ) -> Result<(), AwsError>;
}

/// One event as an AWS service emits it to EventBridge's default bus.
#[derive(Debug, Clone)]
pub struct ServiceEvent {
    /// `aws.ecs`, `aws.ecr`, `aws.cloudwatch`, …
    pub source: String,
    /// `detail-type`.
    pub detail_type: String,
    /// ARNs.
    pub resources: Vec<String>,
    /// `detail`.
    pub detail: Value,
    /// When it happened.
    pub time: Timestamp,
}

/// Where services put their events.
pub trait EventSink: Send + Sync {
    /// Queues the event for delivery to the targets of the matching rules; never blocks.
    fn emit(&self, event: ServiceEvent);
}

/// The state of a CloudWatch alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmState {
    /// OK.
    Ok,
    /// ALARM.
    Alarm,
    /// INSUFFICIENT_DATA.
    InsufficientData,
}

/// What ECS asks of CloudWatch.
pub trait Alarms: Send + Sync {
    /// The state of a metric or composite alarm; `None` when there is no such alarm.
    fn state(&self, name: &str) -> Option<AlarmState>;
}

/// What the "container" of a sandbox image does: the sandbox runs a local process instead of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// What the process answers as its version.
    pub version: String,
    /// Percent of requests answered with HTTP 500.
    pub error_percent: f64,
    /// Added latency of each answer, milliseconds.
    pub latency_ms: u64,
    /// The process exits at start: for the circuit breaker.
    pub crashes: bool,
    /// Health checks fail though the process runs.
    pub unhealthy: bool,
}

impl ImageSpec {
    /// An image of a registry the sandbox does not have: the same reference is the same image.
    pub fn elsewhere(reference: &str) -> Self {
        let written = reference.split_once('@').map(|(_, digest)| digest.to_owned());
        let digest = written
            .unwrap_or_else(|| format!("sha256:{}", hex::encode(Sha256::digest(reference.as_bytes()))));
        Self {
            digest,
            version: reference.to_owned(),
            error_percent: 0.0,
            latency_ms: 0,
            crashes: false,
            unhealthy: false,
        }
    }
}

/// Whether an image is in a private registry of ECR, by whichever of its hosts it is named.
pub fn is_in_ecr(image: &str) -> bool {
    let host = image.split('/').next().unwrap_or_default();
    [".dkr.ecr.", ".dkr.ecr-fips.", ".dkr-ecr.", ".dkr-ecr-fips."].iter().any(|part| host.contains(part))
}

/// What ECS asks of ECR.
#[async_trait]
pub trait Images: Send + Sync {
    /// Resolves `account.dkr.ecr.region.amazonaws.com/repo@sha256:…` or `…:tag`. Errors are those a task's `stoppedReason` would
    /// carry, e.g. `CannotPullContainerError`.
    async fn resolve(&self, image: &str) -> Result<ImageSpec, AwsError>;
}

/// What ECS asks of Lambda.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Invokes a function with a role and waits for its answer. Errors are those of the role, of Lambda, and of the function itself.
    async fn invoke(&self, role: &str, function: &str, event: &Value) -> Result<Value, AwsError>;
}

/// How an ECS service is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The desired count.
    pub desired: u32,
    /// ECS runs a deployment of it: its scaling in waits.
    pub deploying: bool,
    /// It is not being deleted.
    pub active: bool,
}

/// What Application Auto Scaling asks of ECS.
pub trait ScalableServices: Send + Sync {
    /// How a service is scaled; `None` when there is none.
    fn scale(&self, cluster: &str, service: &str) -> Option<Scale>;
    /// Sets the desired count of a service that is active.
    fn set_desired(&self, cluster: &str, service: &str, desired: u32);
}
