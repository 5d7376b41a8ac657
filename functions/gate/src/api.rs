//! `POST /releases/{id}/approve|reject` and `POST /links` for people and tools with an AWS identity: Lambda has checked the signature before the
//! function runs, and the policy's `people` say whose identity it is. A link to the dashboard carries that identity on.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tidegate_core::fault::PortError;
use tidegate_core::gate::{By, NotCounted};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_runtime::answers::{Answer, AnswerError};

use crate::act;
use crate::approve::{COMMENT_MAX, comment};
use crate::call::{Call, Reply};
use crate::gate::{Desk, Gate};
use crate::pass::{Good, May, Pass, Scope};

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

/// The body of a request for a link; it may be left out: a link to every page, that only reads.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkRequest {
    /// Only this service and its releases.
    #[serde(default)]
    service: Option<ServiceName>,
    /// Only this release.
    #[serde(default)]
    release: Option<ReleaseId>,
    /// Whether its holder may act in the caller's name; of one service or release.
    #[serde(default)]
    act: bool,
    /// How long it is good, seconds.
    #[serde(default)]
    secs: Option<u64>,
}

/// Makes a link to the dashboard for the caller.
pub(crate) async fn link(gate: &Gate, desk: &Desk, call: &Call) -> Result<Reply, PortError> {
    let Some(by) = call.identity.clone() else {
        return Ok(Reply::error(StatusCode::FORBIDDEN, "no AWS identity came with the request"));
    };
    let asked = match call.body.is_empty() {
        true => LinkRequest::default(),
        false => match serde_json::from_slice(&call.body) {
            Ok(asked) => asked,
            Err(error) => {
                let problem = format!(
                    r#"the body has to be {{"service": "…"}} or {{"release": "…"}}, with "secs" if wanted: {error}"#
                );
                return Ok(Reply::error(StatusCode::BAD_REQUEST, problem));
            }
        },
    };
    let may = if asked.act { May::Act } else { May::Look };
    let until = match until(gate, may, asked.secs) {
        Ok(until) => until,
        Err(problem) => return Ok(Reply::error(StatusCode::UNPROCESSABLE_ENTITY, problem)),
    };
    let (scope, path) = match scope(gate, asked).await? {
        Ok(found) => found,
        Err(problem) => return Ok(Reply::error(StatusCode::NOT_FOUND, problem)),
    };
    if may == May::Act
        && let Some((status, problem)) = may_not_act(gate, &scope, &by).await?
    {
        return Ok(Reply::error(status, problem));
    }
    let secrets = desk.keeper.secrets().await?;
    let pass = Pass { may, scope, by, until };
    let url =
        format!("{}{path}?key={}", desk.public_url.trim_end_matches('/'), pass.sealed(&secrets.link_key));
    tracing::info!(may = may.word(), path, "a link to the dashboard was made");
    Ok(Reply::json(StatusCode::OK, &json!({ "url": url, "may": may.word(), "by": pass.by, "until": until })))
}

/// Why nobody gets a link that acts in this name; `None` when they do.
async fn may_not_act(
    gate: &Gate,
    scope: &Scope,
    by: &str,
) -> Result<Option<(StatusCode, String)>, PortError> {
    let ledger = &gate.installation.ledger;
    let service = match scope {
        Scope::All => {
            let problem = "a link that acts is for one service or one release: name it".to_owned();
            return Ok(Some((StatusCode::UNPROCESSABLE_ENTITY, problem)));
        }
        Scope::Service(service) => Some(service.clone()),
        Scope::Release(release) => ledger.release(release).await?.map(|release| release.service),
    };
    let head = match &service {
        Some(service) => ledger.service(service).await?,
        None => None,
    };
    let is_known = head.is_some_and(|head| act::is_known(&head, by));
    Ok((!is_known).then(|| {
        let service = service.as_ref().map_or("", |service| service.as_str());
        let problem = format!(
            "{by} is none of the people of the policy of {service}; people.NAME.aws says whose identity it is"
        );
        (StatusCode::FORBIDDEN, problem)
    }))
}

/// Until when a link is good; whole seconds, as it is written into it.
fn until(gate: &Gate, may: May, secs: Option<u64>) -> Result<Timestamp, String> {
    let Good { usually, longest } = may.good();
    let wanted = secs.map_or(Some(usually), |secs| i64::try_from(secs).ok().map(SignedDuration::from_secs));
    let now = Timestamp::from_second(gate.installation.time.now().as_second()).unwrap_or_default();
    wanted
        .filter(|wanted| wanted.is_positive() && *wanted <= longest)
        .and_then(|wanted| now.saturating_add(wanted).ok())
        .ok_or_else(|| format!("secs: such a link is good for 1 second to {} hours", longest.as_hours()))
}

/// What the link opens, and the page it leads to.
async fn scope(gate: &Gate, asked: LinkRequest) -> Result<Result<(Scope, String), String>, PortError> {
    let ledger = &gate.installation.ledger;
    Ok(match (asked.service, asked.release) {
        (None, None) => Ok((Scope::All, "/services".to_owned())),
        (Some(service), None) => match ledger.service(&service).await? {
            Some(_) => Ok((Scope::Service(service.clone()), format!("/services/{service}"))),
            None => Err(format!("there is no service {service}")),
        },
        (None, Some(release)) => match ledger.release(&release).await? {
            Some(_) => Ok((Scope::Release(release.clone()), format!("/releases/{release}"))),
            None => Err(format!("there is no release {release}")),
        },
        (Some(_), Some(_)) => Err("a link opens one service or one release: name one of them".to_owned()),
    })
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
