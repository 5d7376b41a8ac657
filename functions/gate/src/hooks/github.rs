//! GitHub: `X-Hub-Signature-256` over the raw body; `deployment` and `workflow_run` events.
//!
//! | event | the image |
//! |---|---|
//! | `deployment` (created) | the deployment's `payload.image` or `payload.tag`, else the tag that is the full commit SHA |
//! | `workflow_run` (completed, success) | the tag that is the full commit SHA; none such: nothing happens |
//! | `ping` | answered |
//!
//! Which environments, workflows and branches count is the policy's (`from.webhooks.github`); a fork's never do.
//!
//! The delivery id in the header is not signed. What is remembered so that nothing is done twice is therefore the signed body itself:
//! GitHub sends the same body again with a redelivery, and no two events have the same one. What is remembered is forgotten after some
//! days, so a body that is older than any GitHub sends again is refused.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tidegate_core::intent::Provenance;
use tidegate_core::reference::Reference;
use tidegate_runtime::triggers::Announcing;

use super::{About, Refused, Run, Said, Wish, short};
use crate::call::Call;
use crate::keys::signed;
use crate::secrets::Accepted;

/// What the payload of a deployment names that shows a release of Tidegate's.
const TOLD_BY_US: &str = "tidegate_release";
/// GitHub sends a delivery again for three days (docs.github.com, "Redelivering webhooks"); deliveries are remembered for longer.
const OLDEST: SignedDuration = SignedDuration::from_hours(3 * 24);

#[derive(Debug, Deserialize)]
struct Repository {
    full_name: String,
    default_branch: Option<String>,
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
    #[serde(rename = "ref")]
    reference: Option<String>,
    environment: Option<String>,
    task: Option<String>,
    /// An object, or an object in a string, or an empty string.
    #[serde(default)]
    payload: Value,
    creator: Option<User>,
    url: Option<String>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
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
    path: Option<String>,
    event: String,
    head_branch: Option<String>,
    /// Older GitHub servers do not count attempts.
    #[serde(default = "first")]
    run_attempt: u64,
    conclusion: Option<String>,
    head_sha: String,
    head_commit: Option<HeadCommit>,
    html_url: Option<String>,
    actor: Option<User>,
    head_repository: Option<Repository>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct HeadCommit {
    timestamp: Option<Timestamp>,
}

fn first() -> u64 {
    1
}

pub(super) fn read(call: &Call, secrets: &Accepted, now: Timestamp) -> Result<Said, Refused> {
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
        "deployment" => deployment(parsed(&call.body)?, delivery, now),
        "workflow_run" => workflow_run(parsed(&call.body)?, delivery, now),
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

/// When it began. Refuses what happened longer ago than GitHub would still tell: somebody has kept the body and sends it again.
fn recent(times: [Option<Timestamp>; 2], now: Timestamp) -> Result<Announcing, Refused> {
    let times = times.into_iter().flatten();
    let (Some(began), Some(at)) = (times.clone().min(), times.max()) else {
        return Err(Refused::malformed(
            "the event names neither created_at nor updated_at, so its age is not known",
        ));
    };
    if now.duration_since(at) > OLDEST {
        return Err(Refused::malformed(format!(
            "the event is of {at:.0}, more than three days ago, and GitHub sends nothing again for so long: it is taken for a replay. To \
             release that image, deploy or run the workflow again, or use `tidegate release`"
        )));
    }
    Ok(Announcing { at: began, is_push: false })
}

fn deployment(event: DeploymentEvent, delivery: String, now: Timestamp) -> Result<Said, Refused> {
    let DeploymentEvent { action, deployment, repository } = event;
    if action.as_deref().is_some_and(|action| action != "created") {
        return Ok(Said::Nothing("only a created deployment starts a release".to_owned()));
    }
    if let Some(task) = deployment.task.filter(|task| task != "deploy") {
        return Ok(Said::Nothing(format!(
            "a deployment's task {task:?} starts nothing; only \"deploy\" does"
        )));
    }
    let announcing = recent([deployment.created_at, deployment.updated_at], now)?;
    let payload = match deployment.payload {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other
        }
    };
    // The herald shows each release as a deployment, which GitHub then tells of.
    if payload.get(TOLD_BY_US).is_some() {
        return Ok(Said::Nothing("Tidegate made this deployment to show a release".to_owned()));
    }
    let named = ["image", "tag"].iter().find_map(|field| payload[field].as_str());
    Ok(Said::Release(Box::new(Wish {
        image: Reference::named(named.unwrap_or(&deployment.sha)),
        provenance: Provenance {
            commit: short(Some(deployment.sha)),
            committed_at: None,
            author: short(deployment.creator.and_then(|user| user.login)),
            url: short(deployment.url),
        },
        delivery,
        announcing,
        sender: repository.full_name,
        about: About::Deployment { environment: deployment.environment, reference: deployment.reference },
    })))
}

fn workflow_run(event: WorkflowRunEvent, delivery: String, now: Timestamp) -> Result<Said, Refused> {
    let WorkflowRunEvent { action, workflow_run: run, repository } = event;
    let name = run.name.clone().unwrap_or_default();
    if action != "completed" || run.conclusion.as_deref() != Some("success") {
        return Ok(Said::Nothing(format!("workflow {name:?} has not succeeded")));
    }
    let announcing = recent([run.created_at, run.updated_at], now)?;
    let own =
        run.head_repository.is_some_and(|head| head.full_name.eq_ignore_ascii_case(&repository.full_name));
    Ok(Said::Release(Box::new(Wish {
        image: Reference::named(&run.head_sha),
        provenance: Provenance {
            commit: short(Some(run.head_sha)),
            committed_at: run.head_commit.and_then(|commit| commit.timestamp),
            author: short(run.actor.and_then(|user| user.login)),
            url: short(run.html_url),
        },
        delivery,
        announcing,
        sender: repository.full_name,
        about: About::Run(Box::new(Run {
            path: run.path,
            name: run.name,
            event: run.event,
            branch: run.head_branch,
            default_branch: repository.default_branch,
            attempt: run.run_attempt,
            own,
        })),
    })))
}
