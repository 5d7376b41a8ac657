//! What can be done to a running sandbox by hand: push an image, be somebody else who changes things, look, end it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Local, SOMEBODY};
use crate::ecs::Ecs;
use crate::elb::Elb;
use crate::endpoint::Endpoint;
use crate::events::Dispatcher;
use crate::images::{Behaviour, Push, ensure_repository, push};
use crate::ministack::Client;
use crate::ports::{AwsError, Caller, Service as _};

/// An image to push: what `tidegate-sandbox push` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// What its process answers as version.
    pub version: String,
    /// Percent of requests it answers with HTTP 500.
    #[serde(default)]
    pub error_percent: f64,
    /// Latency it adds, milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// It exits at start.
    #[serde(default)]
    pub crashes: bool,
    /// Its health checks fail.
    #[serde(default)]
    pub unhealthy: bool,
    /// An index with one image for each; one is a plain image.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// An index for one, too, with an attestation in it.
    #[serde(default)]
    pub attested: bool,
}

impl PushRequest {
    /// The push it asks for.
    pub fn into_push(self) -> Push {
        let behaviour = Behaviour {
            version: self.version,
            error_percent: self.error_percent,
            latency_ms: self.latency_ms,
            crashes: self.crashes,
            unhealthy: self.unhealthy,
            nonce: None,
        };
        let mut push = Push { attested: self.attested, ..Push::new(self.repository, self.tag, behaviour) };
        if !self.architectures.is_empty() {
            push.architectures = self.architectures;
        }
        push
    }
}

/// A call that somebody else makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// The service's signing name: `ecs`, `elasticloadbalancing`, `application-autoscaling`.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// Its members, as AWS's JSON protocols name them.
    #[serde(default)]
    pub input: Value,
}

/// The rule of a `terraform apply` that knows nothing of a release.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// The rule, or the listener whose default rule it is.
    pub rule: String,
}

#[derive(Clone)]
struct Admin {
    endpoint: Endpoint,
    client: Client,
    events: Dispatcher,
    ecs: Ecs,
    elb: Elb,
    down: std::sync::Arc<tokio::sync::Notify>,
}

pub(super) fn routes(local: &Local) -> Router {
    let admin = Admin {
        endpoint: local.endpoint.clone(),
        client: local.client.clone(),
        events: local.events.clone(),
        ecs: local.ecs.clone(),
        elb: local.elb.clone(),
        down: local.down.clone(),
    };
    Router::new()
        .route("/_sandbox/push", post(pushed))
        .route("/_sandbox/call", post(called))
        .route("/_sandbox/terraform", post(reset))
        .route("/_sandbox/status", get(status))
        .route("/_sandbox/down", post(down))
        .with_state(admin)
}

async fn pushed(
    State(admin): State<Admin>,
    Json(request): Json<PushRequest>,
) -> Result<Json<Value>, Refused> {
    ensure_repository(&admin.client, &request.repository).await?;
    let digest = push(&admin.client, &admin.events, &request.into_push()).await?;
    Ok(Json(json!({ "digest": digest })))
}

/// `POST /_sandbox/call`: somebody scales or deletes a service, changes a rule, or whatever else AWS has.
async fn called(
    State(admin): State<Admin>,
    Json(request): Json<CallRequest>,
) -> Result<Json<Value>, Refused> {
    let CallRequest { service, operation, input } = request;
    let input = if input.is_null() { json!({}) } else { input };
    Ok(Json(admin.endpoint.call_as(SOMEBODY, &service, &operation, input).await?))
}

/// `POST /_sandbox/terraform`: a rule gets the actions again that it was created with.
async fn reset(State(admin): State<Admin>, Json(request): Json<ResetRequest>) -> Result<StatusCode, Refused> {
    admin.elb.reset_rule(&request.rule)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn status(State(admin): State<Admin>) -> Result<Json<Value>, Refused> {
    let caller = Caller::default();
    let clusters = admin.ecs.call("ListClusters", json!({}), &caller).await?;
    let mut services = Vec::new();
    for cluster in clusters["clusterArns"].as_array().into_iter().flatten() {
        let list = admin.ecs.call("ListServices", json!({ "cluster": cluster }), &caller).await?;
        if list["serviceArns"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let input = json!({ "cluster": cluster, "services": list["serviceArns"] });
        let described = admin.ecs.call("DescribeServices", input, &caller).await?;
        services.extend(described["services"].as_array().cloned().unwrap_or_default());
    }
    Ok(Json(json!({ "services": services, "load_balancers": admin.elb.statistics() })))
}

async fn down(State(admin): State<Admin>) -> StatusCode {
    admin.down.notify_one();
    StatusCode::ACCEPTED
}

/// An AWS error as the admin API answers it.
struct Refused(AwsError);

impl From<AwsError> for Refused {
    fn from(error: AwsError) -> Self {
        Self(error)
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(json!({ "code": self.0.code, "message": self.0.message }))).into_response()
    }
}
