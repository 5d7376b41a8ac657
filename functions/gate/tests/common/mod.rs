//! The gate over a ledger, an AWS and a clock in memory, with a release that waits for Anna and Ben, and calls as Lambda hands them over.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::admission::Admission;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::commit::{Commit, ServiceWrite};
use tidegate_core::fault::PortError;
use tidegate_core::gate::waiting_at;
use tidegate_core::history::Entry;
use tidegate_core::ids::{EcsServiceName, ReleaseId, ServiceName, Tag};
use tidegate_core::intent::Provenance;
use tidegate_core::policy;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_gate::handler::handle;
use tidegate_gate::secrets::{Keeper, Vault};
use tidegate_gate::{Desk, Door, Gate};
use tidegate_runtime::Context;
use tidegate_testkit::fakes::{Caller, Quality, Universe};
use tidegate_testkit::names;

pub(crate) const LINK_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Where the public door is.
pub(crate) const PUBLIC: &str = "https://abc.lambda-url.eu-central-1.on.aws/";
pub(crate) const GITHUB: &str = "github's secret, long enough";
pub(crate) const JENKINS: &str = "jenkins' secret, long enough";
pub(crate) const DOCKER_HUB: &str = "docker-hubs-secret";
pub(crate) const SLACK: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub(crate) const ANNA: &str = "arn:aws:sts::111122223333:assumed-role/engineer/anna";

/// The gate's policy of the one service.
pub(crate) const POLICY: &str = r#"
service: checkout
from:
  ecr: { repository: shop/checkout, tags: ["main-*"] }
  webhooks:
    github: { repository: shop/checkout, deployments: { environments: [production] }, runs: { workflow: build.yml } }
    jenkins: true
    docker_hub: shop/checkout
to: { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
rollback: { alarms: [checkout-5xx] }
scan: { max: { critical: 0 } }
approval: { before: deploy, by: [shop], count: COUNT, expires: 4h }
groups: { shop: [anna, ben] }
people:
  anna: { sns: "arn:aws:sns:eu-central-1:111122223333:approver-anna", aws: ["arn:aws:sts::111122223333:assumed-role/engineer/anna"] }
  ben: { sns: "arn:aws:sns:eu-central-1:111122223333:approver-ben" }
"#;

struct Document;

#[async_trait]
impl Vault for Document {
    async fn document(&self) -> Result<String, PortError> {
        let hooks = json!({ "github": GITHUB, "jenkins": JENKINS, "docker_hub": DOCKER_HUB });
        Ok(json!({ "link_key": LINK_KEY, "webhooks": { "checkout": hooks }, "slack": { "signing_secret": SLACK } }).to_string())
    }
}

/// A reply.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) status: u64,
    pub(crate) headers: Value,
    pub(crate) body: String,
}

pub(crate) struct Fixture {
    pub(crate) universe: Universe,
    pub(crate) context: Context,
    pub(crate) gate: Gate,
    pub(crate) api: Gate,
}

impl Fixture {
    /// Nothing waits yet; `count` approvals are needed.
    pub(crate) async fn new(count: u32) -> Self {
        Self::with_policy(&POLICY.replace("COUNT", &count.to_string())).await
    }

    /// With a policy of its own.
    pub(crate) async fn with_policy(text: &str) -> Self {
        let universe = Universe::quiet();
        let context = universe.context(Caller { id: 1, name: "gate".into() }, true);
        let policy = policy::parse("checkout.yaml", text).unwrap();
        context.installation.apply(&policy, &Actor::Person { name: "ops".into() }).await.unwrap();
        let door = Door::Public(Keeper::new(Arc::new(Document)));
        let gate = Gate { installation: context.installation.clone(), images: context.images.clone(), door };
        let api = Gate {
            installation: context.installation.clone(),
            images: context.images.clone(),
            door: Door::Api(Desk { keeper: Keeper::new(Arc::new(Document)), public_url: PUBLIC.to_owned() }),
        };
        Self { universe, context, gate, api }
    }

    /// A release that waits for its approval.
    pub(crate) async fn waiting(count: u32) -> (Self, ReleaseId) {
        let fixture = Self::new(count).await;
        let release = fixture.release(2, provenance()).await;
        (fixture, release)
    }

    /// Pushes a build and releases it, as far as it goes by itself.
    pub(crate) async fn release(&self, build: u32, provenance: Provenance) -> ReleaseId {
        let admission = self.admission(build, Actor::Person { name: "carla".into() }, provenance).await;
        let Admission::Created { release: id, .. } = admission else { panic!("{admission:?}") };
        self.drive(&id).await;
        id
    }

    /// What becomes of a build that somebody, or something, asks to have released.
    pub(crate) async fn admission(&self, build: u32, by: Actor, provenance: Provenance) -> Admission {
        let is_it = |(tag, ..): &(Tag, _, _)| *tag == names::tag(build);
        if !self.universe.state().aws.pushes().iter().any(is_it) {
            self.push(build);
        }
        let request = ReleaseRequest {
            why: Some("the new basket".into()),
            provenance,
            ..ReleaseRequest::by_hand(names::service(), names::change(build), by)
        };
        self.context.installation.release_image(request, |_| true).await.unwrap().unwrap()
    }

    pub(crate) fn push(&self, build: u32) {
        self.push_of(build, Quality::Good);
    }

    pub(crate) fn push_of(&self, build: u32, quality: Quality) {
        let mut state = self.universe.state();
        let now = state.now;
        state.aws.push(build, quality, now);
    }

    /// Drives a release until it has ended, or `until` says that it is far enough.
    pub(crate) async fn drive_until(&self, id: &ReleaseId, until: impl Fn(&Release) -> bool) {
        for _ in 0..400 {
            let deadline = self.now_plus(SignedDuration::from_mins(5));
            Box::pin(self.context.drive(id, &[], deadline)).await.unwrap();
            let release = self.stored(id);
            if until(&release) || release.is_over() {
                return;
            }
            self.pass(SignedDuration::from_secs(5));
        }
        panic!("release {id} does not get there: {}", self.stored(id).summary());
    }

    pub(crate) async fn drive(&self, id: &ReleaseId) {
        for _ in 0..10 {
            let deadline = self.now_plus(SignedDuration::from_mins(1));
            self.context.drive(id, &[], deadline).await.unwrap();
            if waiting_at(&self.stored(id)).is_some() || self.stored(id).is_over() {
                return;
            }
            self.pass(SignedDuration::from_secs(5));
        }
    }

    pub(crate) fn pass(&self, span: SignedDuration) {
        let mut state = self.universe.state();
        let until = state.now.saturating_add(span).unwrap();
        state.advance(until);
    }

    fn now_plus(&self, span: SignedDuration) -> jiff::Timestamp {
        self.universe.state().now.saturating_add(span).unwrap()
    }

    pub(crate) fn releases(&self) -> Vec<Release> {
        self.universe.state().rows.releases().cloned().collect()
    }

    pub(crate) fn stored(&self, id: &ReleaseId) -> Release {
        self.universe.state().rows.release(id).unwrap().clone()
    }

    pub(crate) fn history(&self, id: &ReleaseId) -> Vec<Entry> {
        self.universe.state().rows.history(id).to_vec()
    }

    /// The newest link of an approver: path and token.
    pub(crate) fn link(&self, id: &ReleaseId, approver: &str) -> (String, String) {
        let state = self.universe.state();
        let mine =
            |invite: &&tidegate_core::effect::Invite| invite.release == *id && invite.approver == approver;
        let invite = state.invites.iter().rev().find(mine).unwrap();
        (format!("/approve/{id}"), invite.token.reveal().to_owned())
    }

    /// Has a link to the dashboard made, as `tidegate open` does.
    pub(crate) async fn ask_link(&self, arn: &str, body: &Value) -> Got {
        let mut event = event("POST", "/links", "", &[], body.to_string().as_bytes());
        event["requestContext"]["authorizer"] =
            json!({ "iam": { "userArn": arn, "accountId": "111122223333" } });
        through(&self.api, event).await
    }

    /// The address of a link to the dashboard, from the root of the public door.
    pub(crate) async fn dashboard(&self, arn: &str, body: &Value) -> String {
        let got = self.ask_link(arn, body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let given: Value = serde_json::from_str(&got.body).unwrap();
        let url = given["url"].as_str().unwrap();
        format!("/{}", url.strip_prefix(PUBLIC).unwrap())
    }

    /// Follows a link from the root of the public door.
    pub(crate) async fn follow(&self, link: &str) -> Got {
        let link = link.replace("&amp;", "&");
        let (path, query) = link.split_once('?').unwrap_or((&link, ""));
        self.get(path, query).await
    }

    /// Another policy, from now on.
    pub(crate) async fn apply(&self, text: &str) {
        let policy = policy::parse("checkout.yaml", text).unwrap();
        let by = Actor::Person { name: "ops".into() };
        assert!(self.context.installation.apply(&policy, &by).await.unwrap(), "it is the same");
    }

    /// The release gets another plan, as when something changes before the start.
    pub(crate) fn replan(&self, id: &ReleaseId) {
        let mut state = self.universe.state();
        let mut release = state.rows.release(id).unwrap().clone();
        let head = state.rows.head(&release.service).unwrap().clone();
        release.plan.as_mut().unwrap().failed_tasks += 1;
        let now = state.now;
        state.rows.seed(release, head, now);
    }

    /// A further service: a copy of the first one's row, changed.
    pub(crate) async fn copy(&self, name: &str, change: impl FnOnce(&mut ServiceRecord)) {
        let first = self.universe.state().rows.head(&names::service()).unwrap().clone();
        let mut head = ServiceRecord { version: 0, active: None, waiting: None, open: None, ..first };
        let name = ServiceName::new(name).unwrap();
        head.policy.service = name.clone();
        tidegate_testkit::names::to_ecs(&mut head.policy).service =
            EcsServiceName::new(name.as_str()).unwrap();
        change(&mut head);
        let head = ServiceWrite { service: name, expected: None, head, entry: None };
        self.context
            .installation
            .ledger
            .commit(Commit { head: Some(head), ..Commit::default() })
            .await
            .unwrap();
    }

    pub(crate) async fn send(&self, event: Value) -> Got {
        through(&self.gate, event).await
    }

    pub(crate) async fn get(&self, path: &str, query: &str) -> Got {
        self.send(event("GET", path, query, &[], b"")).await
    }

    /// Opens an approver's page.
    pub(crate) async fn open(&self, id: &ReleaseId, approver: &str) -> Got {
        let (path, token) = self.link(id, approver);
        self.get(&path, &format!("token={token}")).await
    }

    /// Opens the page and sends its form with this decision, the typed name and comment.
    pub(crate) async fn answer(
        &self,
        id: &ReleaseId,
        approver: &str,
        decision: &str,
        typed: &str,
        comment: &str,
    ) -> Got {
        let page = self.open(id, approver).await;
        let form = filled(&page.body, decision, typed, comment);
        self.post(id, &form).await
    }

    pub(crate) async fn post(&self, id: &ReleaseId, form: &[(String, String)]) -> Got {
        self.send(form_event(&format!("/approve/{id}"), form)).await
    }
}

pub(crate) fn provenance() -> Provenance {
    Provenance {
        commit: Some("4f2a9c1".into()),
        committed_at: None,
        author: Some("dora".into()),
        url: Some("https://github.com/shop/checkout/actions/runs/17".into()),
    }
}

pub(crate) async fn through(gate: &Gate, event: Value) -> Got {
    let context = lambda_runtime::Context::default();
    let reply = handle(gate, lambda_runtime::LambdaEvent::new(event, context)).await;
    Got {
        status: reply["statusCode"].as_u64().unwrap(),
        headers: reply["headers"].clone(),
        body: reply["body"].as_str().unwrap().to_owned(),
    }
}

/// A request as a Function URL hands it over (payload format 2.0).
pub(crate) fn event(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    use base64::Engine as _;
    let headers: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| (name.to_lowercase(), (*value).into())).collect();
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "abc", "domainName": "abc.lambda-url.eu-central-1.on.aws", "domainPrefix": "abc",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test" },
            "requestId": "r", "routeKey": "$default", "stage": "$default", "time": "02/Mar/2026:09:00:00 +0000", "timeEpoch": 1772442000000_i64,
        },
        "isBase64Encoded": false,
    });
    if !body.is_empty() {
        event["body"] = base64::engine::general_purpose::STANDARD.encode(body).into();
        event["isBase64Encoded"] = true.into();
    }
    event
}

pub(crate) fn form_event(path: &str, form: &[(String, String)]) -> Value {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    event("POST", path, "", &headers, body.as_bytes())
}

/// The hidden fields of the page's form, and what a person types.
pub(crate) fn filled(page: &str, decision: &str, typed: &str, comment: &str) -> Vec<(String, String)> {
    let hidden = |name: &str| {
        let start = format!(r#"name="{name}" value=""#);
        let rest = page.split_once(&start).unwrap_or_else(|| panic!("no field {name} in {page}")).1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    [
        ("token", hidden("token")),
        ("csrf", hidden("csrf")),
        ("plan", hidden("plan")),
        ("service", typed.to_owned()),
        ("comment", comment.to_owned()),
        ("decision", decision.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

pub(crate) fn with(mut form: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    for (key, current) in &mut form {
        if key == name {
            value.clone_into(current);
        }
    }
    form
}
