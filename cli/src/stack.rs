//! The installed stack, looked at from outside: whether its secret has a value, and what IAM says that its functions may do. Nothing of a secret is
//! read, and nothing is called in a function's name.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use serde_json::Value;
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::{ErrorKind, PortError};

use crate::signed::{self, Request};

const CONFIGURATION: &str = "lambda:GetFunctionConfiguration";
const SIMULATE: &str = "iam:SimulatePrincipalPolicy";
const DESCRIBE: &str = "secretsmanager:DescribeSecret";
/// The version of a secret that is read: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html>.
const CURRENT: &str = "AWSCURRENT";

/// What is known of a secret without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    /// It has a value.
    Valued,
    /// It is there, and nothing is in it.
    Empty,
    /// Somebody has scheduled its deletion: it cannot be read any more.
    Deleted,
}

/// An action on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// As IAM spells it: `ecs:UpdateService`.
    pub action: &'static str,
    /// The ARN, or `*` for an action that IAM limits to no resource.
    pub resource: String,
}

/// What can be asked about a stack.
#[async_trait]
pub trait Stack: Send + Sync {
    /// The secret of this name within the stack: `gate`.
    async fn secret(&self, name: &str) -> Result<SecretState, PortError>;

    /// Which of these calls the role of a function is not allowed; `function` is a name within the stack: `conductor`.
    async fn denied(&self, function: &str, calls: &[Call]) -> Result<Vec<Call>, PortError>;
}

/// The stack of a name.
#[derive(Debug)]
pub struct NamedStack {
    aws: SdkConfig,
    secrets: Client,
    name: String,
}

impl NamedStack {
    /// Of this name.
    pub fn new(aws: &SdkConfig, name: &str) -> Self {
        Self { aws: aws.clone(), secrets: Client::new(aws), name: name.to_owned() }
    }

    fn region(&self) -> &str {
        self.aws.region().map(AsRef::as_ref).unwrap_or_default()
    }

    async fn send(&self, operation: &'static str, request: &Request<'_>) -> Result<String, PortError> {
        let whom = operation.split(':').next().unwrap_or_default();
        let sent = signed::send(&self.aws, request, whom).await;
        let (status, bytes) = sent.map_err(|error| {
            PortError::new(ErrorKind::Unavailable, operation, "Unreachable", error.to_string())
        })?;
        let body = String::from_utf8_lossy(&bytes).into_owned();
        if status == 200 { Ok(body) } else { Err(refused(operation, status, &body)) }
    }

    /// The ARN of a function's role.
    async fn role(&self, function: &str) -> Result<String, PortError> {
        let endpoint = signed::lambda(&self.aws, self.region());
        let url = format!("{endpoint}/2015-03-31/functions/{}-{function}/configuration", self.name);
        let request = Request {
            service: "lambda",
            region: self.region(),
            method: "GET",
            url: &url,
            kind: "application/json",
            body: String::new(),
        };
        let answer = self.send(CONFIGURATION, &request).await?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer["Role"].as_str().map(str::to_owned).ok_or_else(|| {
            PortError::new(ErrorKind::Invalid, CONFIGURATION, "Incomplete", "the answer holds no role")
        })
    }

    /// What IAM says of actions on one resource, of a role.
    async fn simulated(
        &self,
        role: &str,
        resource: &str,
        actions: &[&'static str],
    ) -> Result<Vec<(String, String)>, PortError> {
        let mut form = vec![
            ("Action".to_owned(), "SimulatePrincipalPolicy"),
            ("Version".to_owned(), "2010-05-08"),
            ("PolicySourceArn".to_owned(), role),
            ("ResourceArns.member.1".to_owned(), resource),
            ("MaxItems".to_owned(), "100"),
        ];
        for (index, action) in actions.iter().enumerate() {
            form.push((format!("ActionNames.member.{}", index + 1), action));
        }
        let (url, signed_for) = signed::iam(&self.aws, self.region());
        let pairs = form.iter().map(|(name, value)| (name.as_str(), *value));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = Request {
            service: "iam",
            region: signed_for,
            method: "POST",
            url: &url,
            kind: "application/x-www-form-urlencoded; charset=utf-8",
            body,
        };
        Ok(decisions(&self.send(SIMULATE, &request).await?))
    }
}

#[async_trait]
impl Stack for NamedStack {
    async fn secret(&self, name: &str) -> Result<SecretState, PortError> {
        let asked = self.secrets.describe_secret().secret_id(format!("{}-{name}", self.name)).send().await;
        let found = asked.map_err(|error| port_error(DESCRIBE, error))?;
        if found.deleted_date.is_some() {
            return Ok(SecretState::Deleted);
        }
        let versions = found.version_ids_to_stages.unwrap_or_default();
        let current = versions.values().any(|stages| stages.iter().any(|stage| stage == CURRENT));
        Ok(if current { SecretState::Valued } else { SecretState::Empty })
    }

    async fn denied(&self, function: &str, calls: &[Call]) -> Result<Vec<Call>, PortError> {
        let role = self.role(function).await?;
        let mut resources: Vec<&str> = calls.iter().map(|call| call.resource.as_str()).collect();
        resources.sort_unstable();
        resources.dedup();
        let mut denied = Vec::new();
        for resource in resources {
            let of: Vec<&Call> = calls.iter().filter(|call| call.resource == resource).collect();
            let actions: Vec<&str> = of.iter().map(|call| call.action).collect();
            let decided = self.simulated(&role, resource, &actions).await?;
            // What IAM said nothing of was not allowed.
            let allowed = |call: &&Call| {
                decided.iter().any(|(action, decision)| action == call.action && decision == "allowed")
            };
            denied.extend(of.into_iter().filter(|call| !allowed(call)).cloned());
        }
        Ok(denied)
    }
}

/// `EvalActionName` and `EvalDecision` of each result: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html>.
fn decisions(xml: &str) -> Vec<(String, String)> {
    let names = elements(xml, "EvalActionName");
    let decisions = elements(xml, "EvalDecision");
    names.into_iter().zip(decisions).collect()
}

/// The texts of all elements of a name. Those asked for hold words of IAM's, without entities.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close));
    inner.map(|(text, _)| text.trim().to_owned()).collect()
}

/// An error as IAM (XML) or Lambda (JSON) says it.
fn refused(operation: &'static str, status: u16, body: &str) -> PortError {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let of_json = |names: [&str; 2]| names.iter().find_map(|name| json[*name].as_str()).map(str::to_owned);
    let message = of_json(["Message", "message"]).or_else(|| elements(body, "Message").into_iter().next());
    let code = elements(body, "Code").into_iter().next().unwrap_or_else(|| format!("Http{status}"));
    let kind = match status {
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::Throttled,
        500.. => ErrorKind::Unavailable,
        _ if code == "Throttling" => ErrorKind::Throttled,
        _ => ErrorKind::Invalid,
    };
    PortError::new(kind, operation, code, message.unwrap_or_else(|| format!("HTTP {status}")))
}
