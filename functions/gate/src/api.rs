//! `POST /releases/{id}/approve|reject` for people and tools with an AWS identity: Lambda has checked the signature before the function
//! runs, and the policy's `people` say whose identity it is.

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tidegate_core::fault::PortError;
use tidegate_core::gate::{By, NotCounted};
use tidegate_core::ids::ReleaseId;
use tidegate_runtime::answers::{Answer, AnswerError};

use crate::approve::{COMMENT_MAX, comment};
use crate::call::{Call, Reply};
use crate::gate::Gate;

/// The body; it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerRequest {
    /// What the approver says.
    #[serde(default)]
    comment: String,
    /// The hash of the plan the approver has seen; without it the answer counts for whatever plan waits.
    #[serde(default)]
    plan: Option<String>,
}

pub(crate) async fn take(gate: &Gate, call: &Call, id: &str, approve: bool) -> Result<Reply, PortError> {
    let Some(identity) = call.identity.clone() else {
        return Ok(Reply::error(StatusCode::FORBIDDEN, "no AWS identity came with the request"));
    };
    let asked = match call.body.is_empty() {
        true => AnswerRequest::default(),
        false => match serde_json::from_slice(&call.body) {
            Ok(asked) => asked,
            Err(error) => {
                let problem = format!(r#"the body has to be {{"comment": "…", "plan": "…"}}: {error}"#);
                return Ok(Reply::error(StatusCode::BAD_REQUEST, problem));
            }
        },
    };
    if asked.comment.chars().count() > COMMENT_MAX {
        let problem = format!("a comment has at most {COMMENT_MAX} characters");
        return Ok(Reply::error(StatusCode::UNPROCESSABLE_ENTITY, problem));
    }
    let no_release = || Reply::error(StatusCode::NOT_FOUND, "there is no such release");
    let Ok(id) = ReleaseId::new(id) else { return Ok(no_release()) };
    let answer = Answer {
        by: By::Identity(identity),
        approve,
        plan_hash: asked.plan,
        comment: comment(&asked.comment),
    };
    match gate.installation.answer(&id, &answer).await {
        Ok(release) => {
            let word = if approve { "approved" } else { "rejected" };
            tracing::info!(release.id = %id, decision = word, "an approver with an AWS identity answered");
            Ok(Reply::json(
                StatusCode::OK,
                &json!({ "release": id, "decision": word, "state": release.summary() }),
            ))
        }
        Err(AnswerError::Ledger(error)) => Err(error),
        Err(AnswerError::NoRelease(_)) => Ok(no_release()),
        Err(AnswerError::NotCounted(why)) => {
            Ok(Reply::error(status_of(&why), format!("cannot answer: {why}")))
        }
    }
}

/// The status code of an answer that does not count.
pub(crate) fn status_of(why: &NotCounted) -> StatusCode {
    match why {
        NotCounted::NoSuchLink => StatusCode::NOT_FOUND,
        NotCounted::TooLong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotCounted::NotAnApprover { .. } | NotCounted::AskedForIt { .. } => StatusCode::FORBIDDEN,
        NotCounted::AlreadyGiven { .. } | NotCounted::OtherPlan => StatusCode::CONFLICT,
        NotCounted::NotWaiting { .. } | NotCounted::Expired { .. } => StatusCode::GONE,
    }
}
