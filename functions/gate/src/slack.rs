//! `POST /slack/actions`: the buttons Approve and Reject of a release's message in Slack.
//!
//! Slack signs what was pressed by whom: HMAC-SHA256 over `v0:TIMESTAMP:BODY` with the app's signing secret, `X-Slack-Signature: v0=…`; what is
//! older than five minutes is a replay ("Verifying requests from Slack"). A button says which release, plan and digest it was shown with, as a
//! link does; the policy's `people.slack` say whose member id it is. Slack waits three seconds for the answer.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tidegate_channels::{Http, answer_in_slack};
use tidegate_core::fault::PortError;
use tidegate_core::gate::{By, NotCounted};
use tidegate_core::ids::{Digest, ReleaseId, SlackMember};
use tidegate_runtime::answers::{Answer, AnswerError};

use crate::call::{Call, Reply};
use crate::gate::Gate;
use crate::keys::signed;
use crate::secrets::{Keeper, Secrets, SlackApp};

/// How far the timestamp may be from now.
const WINDOW: SignedDuration = SignedDuration::from_secs(5 * 60);
/// How long Slack is given to take what the presser is told; it itself waits three seconds for us.
const REPLY_LIMIT: Duration = Duration::from_millis(1200);

static HTTP: LazyLock<Http> = LazyLock::new(Http::default);

/// What Slack sends, as far as it matters.
#[derive(Debug, Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    #[serde(default)]
    actions: Vec<Action>,
    response_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: SlackMember,
}

#[derive(Debug, Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

/// What a button was shown with.
#[derive(Debug, Deserialize)]
struct Shown {
    release: ReleaseId,
    plan: String,
    digests: BTreeSet<Digest>,
}

/// A button that was pressed.
struct Press {
    by: SlackMember,
    approve: bool,
    shown: Shown,
    reply_to: Option<String>,
}

pub(crate) async fn take(gate: &Gate, keeper: &Keeper, call: &Call) -> Result<Reply, PortError> {
    let now = gate.installation.time.now();
    let mut secrets = keeper.secrets().await?;
    if !is_slacks(call, &secrets.slack, now)
        && let Some(newer) = keeper.newer_than(&secrets).await?
    {
        secrets = newer;
    }
    if !is_slacks(call, &secrets.slack, now) {
        tracing::warn!(http.status = 401, "a press of a button that is not Slack's was refused");
        return Ok(Reply::error(StatusCode::UNAUTHORIZED, "the signature does not verify"));
    }
    let press = match read(call) {
        Ok(Some(press)) => press,
        Ok(None) => return Ok(taken()),
        Err(why) => return Ok(Reply::error(StatusCode::BAD_REQUEST, why)),
    };
    let told = match answer(gate, &press).await {
        Ok(told) => told,
        Err(AnswerError::Ledger(error)) => return Err(error),
        Err(AnswerError::NoRelease(_)) => "There is no such release.".to_owned(),
        Err(AnswerError::NotCounted(why)) => format!("Not counted: {why}"),
    };
    tell(&secrets, &press, &told).await;
    Ok(taken())
}

/// Slack wants nothing but the status.
fn taken() -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: vec![("cache-control", "no-store".to_owned())],
        body: String::new(),
    }
}

/// Whether Slack has signed the body, just now.
fn is_slacks(call: &Call, app: &SlackApp, now: Timestamp) -> bool {
    let header = |name: &str| call.header(name).unwrap_or_default();
    let timestamp = header("x-slack-request-timestamp");
    let signature = header("x-slack-signature").strip_prefix("v0=").unwrap_or_default();
    let parts: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", &call.body];
    let is_signed = signed(&app.signing_secret, &parts, signature);
    let sent_at = timestamp.parse().ok().and_then(|secs| Timestamp::from_second(secs).ok());
    is_signed && sent_at.is_some_and(|sent_at| now.duration_since(sent_at).abs() <= WINDOW)
}

/// What was pressed; `None` for what is no button of ours.
fn read(call: &Call) -> Result<Option<Press>, String> {
    let mut fields = form_urlencoded::parse(&call.body);
    let payload = fields.find(|(name, _)| name == "payload").map(|(_, value)| value.into_owned());
    let payload: Payload = serde_json::from_str(&payload.unwrap_or_default())
        .map_err(|error| format!("the form's payload is not what Slack sends: {error}"))?;
    if payload.kind != "block_actions" {
        return Ok(None);
    }
    let ours = payload.actions.iter().find_map(|action| match action.action_id.as_str() {
        "tidegate_approve" => Some((true, &action.value)),
        "tidegate_reject" => Some((false, &action.value)),
        _ => None,
    });
    let Some((approve, value)) = ours else { return Ok(None) };
    let shown = serde_json::from_str(value).map_err(|error| format!("the button's value: {error}"))?;
    Ok(Some(Press { by: payload.user.id, approve, shown, reply_to: payload.response_url }))
}

async fn answer(gate: &Gate, press: &Press) -> Result<String, AnswerError> {
    let Shown { release: id, plan, digests } = &press.shown;
    let release = gate.installation.ledger.release(id).await.map_err(AnswerError::Ledger)?;
    let release = release.ok_or_else(|| AnswerError::NoRelease(id.clone()))?;
    // The plan holds the digests; that the button names the same ones costs nothing to check.
    if !release.change.digests().into_iter().eq(digests) {
        return Err(AnswerError::NotCounted(NotCounted::OtherPlan));
    }
    let answer = Answer {
        by: By::Slack(press.by.clone()),
        approve: press.approve,
        plan_hash: Some(plan.clone()),
        comment: None,
    };
    gate.installation.answer(id, &answer).await?;
    let word = if press.approve { "approved" } else { "rejected" };
    tracing::info!(release.id = %id, decision = word, "a button in Slack was pressed");
    Ok(format!("You {word} it."))
}

/// Tells whoever pressed what came of it. The answer counts whether or not that arrives.
async fn tell(secrets: &Secrets, press: &Press, text: &str) {
    let Some(url) = press.reply_to.as_deref().filter(|url| url.starts_with(&secrets.slack.replies)) else {
        return;
    };
    let told = tokio::time::timeout(REPLY_LIMIT, answer_in_slack(&HTTP, url, text)).await;
    if !matches!(told, Ok(Ok(()))) {
        tracing::warn!("whoever pressed a button in Slack could not be told what came of it");
    }
}
