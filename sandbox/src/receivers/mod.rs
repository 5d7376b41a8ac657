//! Whom Tidegate tells over HTTP: stand-ins for Slack, GitHub, Microsoft Teams, PagerDuty and somebody's own webhook. Each holds requests
//! against the rules its owner documents, refuses what they refuse with their answers, and keeps what it took. On demand they fail, ask for a
//! pause, are slow, or lose an answer.
//!
//! Tidegate reaches them by the addresses in its notification secret, as it reaches GitHub Enterprise.

mod github;
mod pagerduty;
mod slack;
mod teams;
mod webhook;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It is out of order: HTTP 503.
    Down,
    /// It takes no more for so many seconds: HTTP 429 with `Retry-After`.
    Limits(u32),
    /// It answers late.
    Lags(Duration),
    /// It takes the message, and answers HTTP 500.
    LosesTheAnswer,
}

/// The keys the stand-ins expect.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Keys {
    pub slack_token: String,
    pub github_token: String,
    pub github_app: String,
    pub webhook_secret: String,
    pub routing_key: String,
    pub teams_signature: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            slack_token: "xoxb-1-sandbox".into(),
            github_token: "ghs_sandbox".into(),
            github_app: "12345".into(),
            webhook_secret: "sandbox-sandbox-sandbox-sandbox-1".into(),
            routing_key: "0123456789abcdef0123456789abcdef".into(),
            teams_signature: "s4ndb0x".into(),
        }
    }
}

/// A request, as a stand-in sees it.
struct Call<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl Call<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or_default()
    }
}

/// What a stand-in answers.
struct Answer {
    status: u16,
    body: Value,
}

fn answer(status: u16, body: Value) -> Answer {
    Answer { status, body }
}

#[derive(Debug, Default)]
struct State {
    keys: Keys,
    moods: BTreeMap<String, Vec<Mood>>,
    always: BTreeMap<String, Mood>,
    requests: BTreeMap<String, u32>,
    slack: slack::Slack,
    github: github::GitHub,
    teams: Vec<Value>,
    pagerduty: Vec<Value>,
    webhook: Vec<(String, Value)>,
}

/// The stand-ins, all on one port of this machine.
#[derive(Debug)]
pub struct Receivers {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Receivers {
    /// Starts them.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the receivers")?;
        let address = listener.local_addr().context("the receivers have no address")?;
        let state = Arc::new(Mutex::new(State::default()));
        let app = Router::new().fallback(take).with_state(state.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(error = %error, "the receivers stopped");
            }
        });
        Ok(Self { address, state, server })
    }

    /// Tidegate's notification secret with their addresses and keys; `app` instead of a token for GitHub.
    pub fn secret(&self, app_key: Option<&str>) -> Value {
        let (keys, base) = (Keys::default(), format!("http://{}", self.address));
        let github = match app_key {
            Some(pem) => {
                json!({ "app_id": keys.github_app, "private_key": pem, "url": format!("{base}/github") })
            }
            None => json!({ "token": keys.github_token, "url": format!("{base}/github/") }),
        };
        json!({
            "slack": { "token": keys.slack_token, "url": format!("{base}/slack/api") },
            "github": github,
            "teams": { "deploys": format!("{base}/teams/workflows/1/triggers/manual/paths/invoke?sig={}", keys.teams_signature) },
            "webhooks": { "audit": { "url": format!("{base}/webhook/audit"), "secret": keys.webhook_secret } },
            "pagerduty": { "shop": { "routing_key": keys.routing_key, "url": format!("{base}/pagerduty") } },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next requests to a receiver (`slack`, `github`, …) meet these, one after the other.
    pub fn next(&self, receiver: &str, moods: &[Mood]) {
        self.state().moods.entry(receiver.to_owned()).or_default().extend_from_slice(moods);
    }

    /// Every request to a receiver meets this from now on; none again with `None`.
    pub fn always(&self, receiver: &str, mood: Option<Mood>) {
        let mut state = self.state();
        match mood {
            Some(mood) => state.always.insert(receiver.to_owned(), mood),
            None => state.always.remove(receiver),
        };
    }

    /// How many requests a receiver got.
    pub fn requests(&self, receiver: &str) -> u32 {
        self.state().requests.get(receiver).copied().unwrap_or_default()
    }

    /// The messages in Slack as they look now, oldest first: `{ts, thread_ts, text, blocks, edits}`.
    pub fn slack(&self) -> Vec<Value> {
        self.state().slack.messages()
    }

    /// GitHub's deployments, each with its statuses, and the statuses of commits.
    pub fn github(&self) -> Value {
        self.state().github.shown()
    }

    /// The cards posted to Teams.
    pub fn teams(&self) -> Vec<Value> {
        self.state().teams.clone()
    }

    /// PagerDuty's events.
    pub fn pagerduty(&self) -> Vec<Value> {
        self.state().pagerduty.clone()
    }

    /// What the webhook got: `tidegate-event` and body.
    pub fn webhook(&self) -> Vec<(String, Value)> {
        self.state().webhook.clone()
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    Extract(state): Extract<Arc<Mutex<State>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let receiver = path.split('/').nth(1).unwrap_or_default().to_owned();
    let mood = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.requests.entry(receiver.clone()).or_default() += 1;
        let next =
            state.moods.get_mut(&receiver).filter(|moods| !moods.is_empty()).map(|moods| moods.remove(0));
        next.or_else(|| state.always.get(&receiver).copied())
    };
    match mood {
        Some(Mood::Down) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Mood::Limits(secs)) => {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", secs.to_string())]).into_response();
        }
        Some(Mood::Lags(lag)) => tokio::time::sleep(lag).await,
        Some(Mood::LosesTheAnswer) | None => {}
    }
    let rest = path.strip_prefix(&format!("/{receiver}")).unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    let call = Call { method: &method, path: rest, query, headers: &headers, body: &body };
    let answered = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        match receiver.as_str() {
            "slack" => state.slack.take(&state.keys, &call),
            "github" => state.github.take(&state.keys, &call),
            "teams" => teams::take(&state.keys, &mut state.teams, &call),
            "pagerduty" => pagerduty::take(&state.keys, &mut state.pagerduty, &call),
            "webhook" => webhook::take(&state.keys, &mut state.webhook, &call),
            _ => answer(404, json!({ "message": "Not Found" })),
        }
    };
    if mood == Some(Mood::LosesTheAnswer) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(answered.body)).into_response()
}
