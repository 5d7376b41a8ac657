//! The buttons in Slack: only what Slack has signed just now counts, only for whom the policy names, only for what was shown, and once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use common::{Fixture, Got, SLACK, event};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tidegate_core::actor::Actor;
use tidegate_core::admission::Admission;
use tidegate_core::gate::waiting_at;
use tidegate_core::ids::ReleaseId;
use tidegate_core::intent::Provenance;

const ANNA: &str = "U0ANNA00001";
const BEN: &str = "U0BEN000001";
const ZOE: &str = "U0ZOE000001";

const POLICY: &str = r##"
service: checkout
from: { ecr: { repository: shop/checkout, tags: ["main-*"] } }
to: { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
approval: { before: deploy, by: [anna, ben], count: 2 }
people:
  anna: { slack: U0ANNA00001 }
  ben: { slack: U0BEN000001, github: ben-b }
  zoe: { slack: U0ZOE000001 }
notify: [{ slack: "#deploys", mention: [anna] }]
"##;

async fn waiting(author: Option<&str>) -> (Fixture, ReleaseId) {
    // Where one of two may not, two could never approve.
    let count = if author.is_some() { "count: 1" } else { "count: 2" };
    let fixture = Fixture::with_policy(&POLICY.replace("count: 2", count)).await;
    let provenance = Provenance { author: author.map(str::to_owned), ..Provenance::default() };
    let push = Actor::Event { source: "aws.ecr".into(), id: "2b7c".into() };
    let admission = fixture.admission(2, push, provenance).await;
    let Admission::Created { release, .. } = admission else { panic!("{admission:?}") };
    fixture.drive(&release).await;
    (fixture, release)
}

/// What the button of this release says.
fn shown(fixture: &Fixture, id: &ReleaseId) -> Value {
    let release = fixture.stored(id);
    let plan = release.plan.as_ref().unwrap().hash();
    json!({ "release": id, "plan": plan, "digests": release.change.digests() })
}

fn body(member: &str, action: &str, value: &Value) -> String {
    let payload = json!({ "type": "block_actions", "user": { "id": member, "username": "anyone" }, "response_url": "https://example.com/x",
        "actions": [{ "type": "button", "action_id": action, "block_id": "b", "value": value.to_string() }] });
    form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish()
}

/// As Slack signs it, so many seconds ago.
async fn sent(fixture: &Fixture, secret: &str, age: i64, signed: &str, body: &str) -> Got {
    let timestamp = fixture.universe.state().now.as_second() - age;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("v0:{timestamp}:{signed}").as_bytes());
    let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
    let timestamp = timestamp.to_string();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-slack-request-timestamp", timestamp.as_str()),
        ("x-slack-signature", signature.as_str()),
    ];
    fixture.send(event("POST", "/slack/actions", "", &headers, body.as_bytes())).await
}

async fn press(fixture: &Fixture, member: &str, action: &str, value: &Value) -> Got {
    let body = body(member, action, value);
    sent(fixture, SLACK, 0, &body, &body).await
}

fn votes(fixture: &Fixture, id: &ReleaseId) -> Vec<(String, bool, String)> {
    let release = fixture.stored(id);
    let votes = release.gates.values().flat_map(|opened| &opened.votes);
    votes.map(|vote| (vote.approver.clone(), vote.approve, vote.via.clone())).collect()
}

const APPROVE: &str = "tidegate_approve";
const REJECT: &str = "tidegate_reject";

#[tokio::test]
async fn who_is_named_approves_by_pressing_and_once() {
    let (fixture, id) = waiting(None).await;
    let shown = shown(&fixture, &id);
    let got = press(&fixture, ANNA, APPROVE, &shown).await;
    assert_eq!((got.status, got.body.as_str()), (200, ""));
    let anna = ("anna".to_owned(), true, format!("Slack member {ANNA}"));
    assert_eq!(votes(&fixture, &id), std::slice::from_ref(&anna));
    // The same press again, and another one: neither counts.
    for action in [APPROVE, REJECT] {
        assert_eq!(press(&fixture, ANNA, action, &shown).await.status, 200);
        assert_eq!(votes(&fixture, &id), std::slice::from_ref(&anna));
    }
    press(&fixture, BEN, APPROVE, &shown).await;
    assert_eq!(votes(&fixture, &id).len(), 2);
    fixture.drive(&id).await;
    assert!(waiting_at(&fixture.stored(&id)).is_none(), "both have approved");
}

#[tokio::test]
async fn a_press_that_slack_has_not_signed_just_now_is_refused() {
    let (fixture, id) = waiting(None).await;
    let good = body(ANNA, APPROVE, &shown(&fixture, &id));
    let other = body(BEN, APPROVE, &shown(&fixture, &id));
    for (secret, age, signed, why) in [
        ("another app's signing secret", 0, &good, "a foreign signature"),
        (SLACK, 301, &good, "an old timestamp"),
        (SLACK, -301, &good, "a timestamp from the future"),
        (SLACK, 0, &other, "another body"),
    ] {
        let got = sent(&fixture, secret, age, signed, &good).await;
        assert_eq!(got.status, 401, "{why}: {}", got.body);
        assert!(got.body.contains("the signature does not verify"), "{why}");
    }
    let bare = event("POST", "/slack/actions", "", &[], good.as_bytes());
    assert_eq!(fixture.send(bare).await.status, 401);
    assert_eq!(fixture.get("/slack/actions", "").await.status, 405);
    assert_eq!(votes(&fixture, &id), []);
    assert_eq!(sent(&fixture, SLACK, 299, &good, &good).await.status, 200);
    assert_eq!(votes(&fixture, &id).len(), 1);
}

#[tokio::test]
async fn only_who_may_approve_does_and_nobody_their_own() {
    let (fixture, id) = waiting(Some("ben-b")).await;
    let shown = shown(&fixture, &id);
    for stranger in [ZOE, "U0NOBODY001", BEN] {
        assert_eq!(press(&fixture, stranger, APPROVE, &shown).await.status, 200);
        assert_eq!(votes(&fixture, &id), [], "{stranger}");
    }
    press(&fixture, ANNA, APPROVE, &shown).await;
    assert_eq!(votes(&fixture, &id).len(), 1);
}

#[tokio::test]
async fn a_button_is_good_for_what_it_was_shown_with() {
    let (fixture, id) = waiting(None).await;
    let right = shown(&fixture, &id);
    for (member, value) in [
        ("digests", json!([format!("sha256:{}", "0".repeat(64))])),
        ("digests", json!([])),
        ("plan", json!("0".repeat(64))),
        ("release", json!("01kj0000000000000000000009")),
    ] {
        let mut wrong = right.clone();
        wrong[member] = value;
        let got = press(&fixture, ANNA, APPROVE, &wrong).await;
        assert_eq!((got.status, votes(&fixture, &id)), (200, vec![]), "{member}");
    }
    for malformed in [json!("x"), json!({ "release": id })] {
        assert_eq!(press(&fixture, ANNA, APPROVE, &malformed).await.status, 400);
    }
    // Buttons of others are none of ours.
    assert_eq!(press(&fixture, ANNA, "somebody_elses", &right).await.status, 200);
    assert_eq!(votes(&fixture, &id), []);
}

#[tokio::test]
async fn a_rejection_by_button_ends_the_release() {
    let (fixture, id) = waiting(None).await;
    press(&fixture, BEN, REJECT, &shown(&fixture, &id)).await;
    fixture.drive(&id).await;
    assert!(fixture.stored(&id).is_over());
}
