//! GitHub: `X-Hub-Signature-256` over the raw body; `deployment` and `workflow_run` events.
//!
//! | event | the image |
//! |---|---|
//! | `deployment` (created) | the deployment's `payload.image` or `payload.tag`, else the tag that is the full commit SHA |
//! | `workflow_run` (completed, success) | the tag that is the full commit SHA; none such: nothing happens |
//! | `ping` | answered |
//!
//! A run for a pull request, or of a fork, starts nothing.
//!
//! The delivery id in the header is not signed. What is remembered so that nothing is done twice is therefore the signed body itself:
//! GitHub sends the same body again with a redelivery, and no two events have the same one.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tidegate_core::release::Provenance;

use super::{Reference, Refused, Said, Wish, short};
use crate::call::Call;
use crate::keys::signed;
use crate::secrets::Accepted;

#[derive(Debug, Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Debug, Deserialize)]
struct User {
    login: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeploymentEvent {
    action: Option<String>,
    deployment: Deployment,
    repository: Repository,
}

#[derive(Debug, Deserialize)]
struct Deployment {
    sha: String,
    /// An object, or an object in a string, or an empty string.
    #[serde(default)]
    payload: Value,
    creator: Option<User>,
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct WorkflowRunEvent {
    action: String,
    workflow_run: WorkflowRun,
    repository: Repository,
}

#[derive(Debug, Deserialize)]
struct WorkflowRun {
    name: Option<String>,
    event: String,
    conclusion: Option<String>,
    head_sha: String,
    html_url: Option<String>,
    actor: Option<User>,
    head_repository: Option<Repository>,
}

pub(super) fn read(call: &Call, secrets: &Accepted) -> Result<Said, Refused> {
    let signature = call.header("x-hub-signature-256").unwrap_or_default();
    let signature = signature.strip_prefix("sha256=").unwrap_or_default();
    if !signed(secrets, &[&call.body], signature) {
        return Err(Refused::unproven());
    }
    let event =
        call.header("x-github-event").ok_or_else(|| Refused::malformed("X-GitHub-Event is missing"))?;
    if call.header("x-github-delivery").is_none_or(str::is_empty) {
        return Err(Refused::malformed("X-GitHub-Delivery is missing"));
    }
    let delivery = format!("github/{}", hex::encode(Sha256::digest(&call.body)));
    match event {
        "ping" => Ok(Said::Nothing("pong".to_owned())),
        "deployment" => deployment(parsed(&call.body)?, delivery),
        "workflow_run" => workflow_run(parsed(&call.body)?, delivery),
        other => Ok(Said::Nothing(format!("{other:?} events start nothing"))),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused::malformed(format!(
            "the body is not the event's JSON (the webhook's content type has to be application/json): {error}"
        ))
    })
}

fn deployment(event: DeploymentEvent, delivery: String) -> Result<Said, Refused> {
    let DeploymentEvent { action, deployment, repository } = event;
    if action.as_deref().is_some_and(|action| action != "created") {
        return Ok(Said::Nothing("only a created deployment starts a release".to_owned()));
    }
    let payload = match deployment.payload {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other
        }
    };
    let named = ["image", "tag"].iter().find_map(|field| payload[field].as_str());
    Ok(Said::Release(Box::new(Wish {
        image: Reference::parse(named.unwrap_or(&deployment.sha))?,
        provenance: Provenance {
            commit: short(Some(deployment.sha)),
            author: short(deployment.creator.and_then(|user| user.login)),
            url: short(deployment.url),
        },
        delivery,
        sender: repository.full_name,
        may_be_missing: false,
    })))
}

fn workflow_run(event: WorkflowRunEvent, delivery: String) -> Result<Said, Refused> {
    let WorkflowRunEvent { action, workflow_run: run, repository } = event;
    let name = run.name.unwrap_or_default();
    if action != "completed" || run.conclusion.as_deref() != Some("success") {
        return Ok(Said::Nothing(format!("workflow {name:?} has not succeeded")));
    }
    if run.event.starts_with("pull_request") {
        return Ok(Said::Nothing(format!("workflow {name:?} ran for a pull request")));
    }
    // Whoever can fork the repository can have workflows succeed in the fork.
    if run.head_repository.is_some_and(|head| head.full_name != repository.full_name) {
        return Ok(Said::Nothing(format!("workflow {name:?} ran for a fork")));
    }
    Ok(Said::Release(Box::new(Wish {
        image: Reference::parse(&run.head_sha)?,
        provenance: Provenance {
            commit: short(Some(run.head_sha)),
            author: short(run.actor.and_then(|user| user.login)),
            url: short(run.html_url),
        },
        delivery,
        sender: repository.full_name,
        may_be_missing: true,
    })))
}
