//! Webhooks as GitHub, Jenkins and Docker Hub send them, and as those send them who only pretend to be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use common::{DOCKER_HUB, Fixture, GITHUB, Got, JENKINS, event};
use hmac::{Hmac, Mac as _};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::Sha256;
use tidegate_core::fault::PortError;
use tidegate_core::history::{Entry, Event};
use tidegate_core::policy;
use tidegate_runtime::visits::{Listed, Looked, Pace, Rotation};
use tidegate_testkit::fakes::{Fault, Faults};
use tidegate_testkit::names;

fn hmac(key: &str, text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text);
    hex::encode(mac.finalize().into_bytes())
}

/// A service without a gate, so that a release is all that a webhook makes, and build 7 is there, tagged as the commit as well.
async fn shop() -> Fixture {
    shop_with("", "").await
}

/// The same with something else in its policy.
async fn shop_with(from: &str, to: &str) -> Fixture {
    let fixture = Fixture::new(1).await;
    let text = common::POLICY.replace("COUNT", "1");
    assert!(text.contains(from), "{from}");
    let text = if from.is_empty() { text } else { text.replace(from, to) };
    let policy = policy::parse("checkout.yaml", &text).unwrap();
    let ops = tidegate_core::actor::Actor::Person { name: "ops".into() };
    fixture.context.installation.apply(&policy, &ops).await.unwrap();
    fixture.push(7);
    fixture
}

/// Why the service's history says that nothing was released, oldest first.
fn told(fixture: &Fixture) -> Vec<Entry> {
    let state = fixture.universe.state();
    let history = state.rows.told(&names::service());
    history
        .into_iter()
        .filter(|entry| !matches!(entry.event, Event::PolicyStored | Event::PolicyChanged))
        .collect()
}

async fn github(fixture: &Fixture, kind: &str, body: &Value, secret: &str, delivery: &str) -> Got {
    let body = body.to_string();
    let signature = format!("sha256={}", hmac(secret, body.as_bytes()));
    let headers = [
        ("X-Hub-Signature-256", signature.as_str()),
        ("X-GitHub-Event", kind),
        ("X-GitHub-Delivery", delivery),
    ];
    fixture.send(event("POST", "/hooks/github/checkout", "", &headers, body.as_bytes())).await
}

/// The fields of GitHub's `deployment` event that matter, among others that do not.
fn deployment(payload: &Value) -> Value {
    json!({
        "action": "created",
        "deployment": {
            "id": 1, "sha": "main-7", "ref": "main", "task": "deploy", "payload": payload, "environment": "production",
            "creator": { "login": "dora", "id": 1 }, "url": "https://api.github.com/repos/shop/checkout/deployments/1",
            "created_at": "2026-03-02T08:59:00Z", "updated_at": "2026-03-02T08:59:00Z",
        },
        "repository": { "id": 1, "full_name": "Shop/Checkout" }, "sender": { "login": "dora" },
    })
}

fn workflow_run(changes: &Value) -> Value {
    let mut event = json!({
        "action": "completed",
        "workflow_run": {
            "id": 1, "name": "Build", "path": ".github/workflows/build.yml", "run_attempt": 1, "event": "push", "status": "completed", "conclusion": "success", "head_branch": "main",
            "head_sha": "main-7", "html_url": "https://github.com/shop/checkout/actions/runs/1", "actor": { "login": "dora" },
            "head_repository": { "full_name": "shop/checkout" },
            "created_at": "2026-03-02T08:50:00Z", "updated_at": "2026-03-02T08:59:00Z",
        },
        "repository": { "full_name": "shop/checkout", "default_branch": "main" },
    });
    for (name, value) in changes.as_object().unwrap() {
        if name == "action" {
            event["action"] = value.clone();
        } else {
            event["workflow_run"][name] = value.clone();
        }
    }
    event
}

fn outcome(got: &Got) -> String {
    assert_eq!(got.status, 200, "{}", got.body);
    let body: Value = serde_json::from_str(&got.body).unwrap();
    body["outcome"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_github_deployment_releases_the_image_of_its_commit_once() {
    let fixture = shop().await;
    let body = deployment(&json!({}));
    assert_eq!(outcome(&github(&fixture, "deployment", &body, GITHUB, "d-1").await), "created");
    let release = fixture.releases().remove(0);
    assert_eq!(release.change, names::change(7));
    assert_eq!(release.provenance.author.as_deref(), Some("dora"));
    // Delivered again, by hand or by someone who overheard it and made up another delivery id.
    for delivery in ["d-1", "d-2"] {
        let again = outcome(&github(&fixture, "deployment", &body, GITHUB, delivery).await);
        assert!(["handled before", "known"].contains(&again.as_str()), "{again}");
    }
    assert_eq!(fixture.releases().len(), 1);
}

/// The herald shows a release as a deployment: whatever environments the policy names, that one starts nothing.
#[tokio::test]
async fn a_deployment_that_shows_a_release_starts_none() {
    for payload in
        [json!({ "tidegate_release": "01k9" }), json!(r#"{"tidegate_release": "01k9", "tag": "main-7"}"#)]
    {
        let fixture = shop().await;
        let got = github(&fixture, "deployment", &deployment(&payload), GITHUB, "d-1").await;
        assert_eq!((outcome(&got).as_str(), fixture.releases().len()), ("nothing", 0), "{payload}");
    }
}

#[tokio::test]
async fn a_github_deployment_may_name_the_image_in_its_payload() {
    for payload in [
        json!({ "tag": "main-7" }),
        json!({ "image": names::digest(7).as_str() }),
        json!(format!(r#"{{"image": "{}/shop/checkout@{}"}}"#, names::registry(), names::digest(7))),
        json!({ "image": "111122223333.dkr-ecr.eu-central-1.on.aws/shop/checkout:main-7" }),
    ] {
        let fixture = shop().await;
        let mut body = deployment(&payload);
        body["deployment"]["sha"] = "0000000000000000000000000000000000000000".into();
        assert_eq!(
            outcome(&github(&fixture, "deployment", &body, GITHUB, "d").await),
            "created",
            "{payload}"
        );
        assert_eq!(names::only(&fixture.releases()[0].change).digest, names::digest(7));
    }
}

#[tokio::test]
async fn only_a_successful_run_of_the_named_workflow_on_the_named_branch_releases() {
    let fixture = shop().await;
    for changes in
        [json!({ "conclusion": "failure" }), json!({ "conclusion": null }), json!({ "action": "requested" })]
    {
        let got = github(&fixture, "workflow_run", &workflow_run(&changes), GITHUB, "d").await;
        assert_eq!(outcome(&got), "nothing", "{changes}");
    }
    for (changes, why) in [
        (json!({ "event": "pull_request" }), "started by pull_request"),
        (json!({ "event": "pull_request_target" }), "started by pull_request_target"),
        (json!({ "event": "schedule" }), "started by schedule"),
        (json!({ "head_repository": { "full_name": "mallory/checkout" } }), "of a fork"),
        (json!({ "head_repository": null }), "of a fork"),
        (
            json!({ "name": "Lint", "path": ".github/workflows/lint.yml" }),
            "workflow .github/workflows/lint.yml",
        ),
        (json!({ "head_branch": "feature/x" }), "branch feature/x"),
        (json!({ "head_branch": null }), "no branch"),
        (json!({ "run_attempt": 2 }), "attempt 2"),
    ] {
        let got = github(&fixture, "workflow_run", &workflow_run(&changes), GITHUB, "d").await;
        assert_eq!(outcome(&got), "refused", "{changes}");
        let told = told(&fixture);
        assert!(told.last().unwrap().event.why().contains(why), "{changes}: {told:?}");
    }
    for other in ["ping", "push", "star"] {
        assert_eq!(outcome(&github(&fixture, other, &json!({}), GITHUB, "d").await), "nothing");
    }
    assert!(fixture.releases().is_empty());
    let got = github(&fixture, "workflow_run", &workflow_run(&json!({})), GITHUB, "d").await;
    assert_eq!(outcome(&got), "created");
}

#[tokio::test]
async fn only_a_deployment_to_the_named_environment_releases() {
    let fixture = shop().await;
    for environment in [json!("staging"), json!("github-pages"), json!("production-eu"), json!(null)] {
        let mut body = deployment(&json!({}));
        body["deployment"]["environment"] = environment.clone();
        let got = github(&fixture, "deployment", &body, GITHUB, "d").await;
        assert_eq!(outcome(&got), "refused", "{environment}");
        assert!(
            told(&fixture)
                .last()
                .unwrap()
                .event
                .why()
                .contains("from.webhooks.github.deployments.environments")
        );
    }
    assert!(fixture.releases().is_empty());
}

#[tokio::test]
async fn a_rerun_of_an_older_commit_does_not_take_the_service_back() {
    let fixture = shop().await;
    fixture.pass(SignedDuration::from_secs(60));
    fixture.push(8);
    let newer = workflow_run(&json!({ "id": 2, "head_sha": "main-8" }));
    assert_eq!(outcome(&github(&fixture, "workflow_run", &newer, GITHUB, "d").await), "created");
    let older = workflow_run(&json!({}));
    let got = github(&fixture, "workflow_run", &older, GITHUB, "d").await;
    assert_eq!(outcome(&got), "refused");
    assert!(got.body.contains("a newer image, pushed at"), "{}", got.body);
    assert_eq!(fixture.releases().len(), 1);
}

/// In a monorepo every service's image has the same tag, so the tag alone says nothing.
#[tokio::test]
async fn an_image_of_another_repository_is_refused_and_told() {
    let fixture = shop().await;
    for image in [
        format!("{}/shop/search:main-7", names::registry()),
        "ghcr.io/shop/checkout:main-7".to_owned(),
        "docker.io/acme/other:main-7".to_owned(),
        "999988887777.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout:main-7".to_owned(),
        format!("shop/search@{}", names::digest(7)),
    ] {
        let got = github(&fixture, "deployment", &deployment(&json!({ "image": image })), GITHUB, "d").await;
        assert_eq!(got.status, 422, "{image}: {}", got.body);
        let told = told(&fixture).last().unwrap().event.why().clone();
        assert!(
            told.contains("and the policy's from.ecr.repository is")
                && got.body.contains("from.ecr.repository"),
            "{told}"
        );
    }
    let now = fixture.universe.state().now.as_second();
    let body = json!({ "image": "docker.io/acme/other:main-7" });
    assert_eq!(jenkins(&fixture, now, "job-1", &body, JENKINS).await.status, 422);
    assert!(fixture.releases().is_empty());
}

#[tokio::test]
async fn the_policys_tags_hold_for_webhooks_too() {
    let fixture = shop_with("tags: [\"main-*\"]", "tags: [\"v*\"]").await;
    let got = github(&fixture, "workflow_run", &workflow_run(&json!({})), GITHUB, "d").await;
    assert_eq!(outcome(&got), "refused");
    assert!(told(&fixture).last().unwrap().event.why().contains("from.webhooks.github.tags"));
    let fixture =
        shop_with("runs: { workflow: build.yml } }", "runs: { workflow: build.yml }, tags: [\"*-7\"] }")
            .await;
    assert_eq!(
        outcome(&github(&fixture, "workflow_run", &workflow_run(&json!({})), GITHUB, "d").await),
        "created"
    );
    let fixture =
        shop_with("runs: { workflow: build.yml } }", "runs: { workflow: build.yml }, tags: [\"*-8\"] }")
            .await;
    assert_eq!(
        outcome(&github(&fixture, "workflow_run", &workflow_run(&json!({})), GITHUB, "d").await),
        "refused"
    );
}

#[tokio::test]
async fn what_has_not_proven_itself_is_told_nothing() {
    let fixture = shop().await;
    let body = deployment(&json!({})).to_string();
    let right = format!("sha256={}", hmac(GITHUB, body.as_bytes()));
    let of_other_body = format!("sha256={}", hmac(GITHUB, b"{}"));
    let with = |signature: &str| {
        vec![
            ("X-Hub-Signature-256".to_owned(), signature.to_owned()),
            ("X-GitHub-Event".to_owned(), "deployment".to_owned()),
            ("X-GitHub-Delivery".to_owned(), "d".to_owned()),
        ]
    };
    let sha1 = format!("sha1={}", &right[7..47]);
    let bare = right[7..].to_owned();
    let signatures = ["", "sha256=", "sha256=zz", of_other_body.as_str(), sha1.as_str(), bare.as_str()];
    let mut answers = Vec::new();
    for (path, signature) in signatures
        .map(|signature| ("/hooks/github/checkout", signature))
        .into_iter()
        .chain([("/hooks/github/unknown", right.as_str()), ("/hooks/github/..%2f", right.as_str())])
    {
        let headers = with(signature);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let got = fixture.send(event("POST", path, "", &headers, body.as_bytes())).await;
        answers.push((got.status, got.body));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, 401);
    assert!(fixture.releases().is_empty());
}

#[tokio::test]
async fn the_policy_decides_whose_webhooks_are_taken() {
    let fixture = shop().await;
    let mut other = deployment(&json!({}));
    other["repository"]["full_name"] = "mallory/checkout".into();
    assert_eq!(github(&fixture, "deployment", &other, GITHUB, "d").await.status, 403);
    for broken in [json!({}), json!([]), json!({ "deployment": 7 }), deployment(&json!({ "tag": "a b" }))] {
        assert_eq!(github(&fixture, "deployment", &broken, GITHUB, "d").await.status, 400);
    }
    assert!(fixture.releases().is_empty());
}

/// The signature says who made a body, not when; and what was handled is not remembered for ever.
#[tokio::test]
async fn a_delivery_of_github_that_is_older_than_any_it_sends_again_is_a_replay() {
    let fixture = shop().await;
    let deployed = |created: Value, updated: Value| {
        let mut body = deployment(&json!({}));
        body["deployment"]["created_at"] = created;
        body["deployment"]["updated_at"] = updated;
        body
    };
    let ran =
        |created: &str, updated: &str| workflow_run(&json!({ "created_at": created, "updated_at": updated }));
    let old = "2026-02-27T08:59:59Z";
    for (kind, body, why) in [
        ("deployment", deployed(old.into(), old.into()), "of 2026-02-27T08:59:59Z, more than three days ago"),
        ("deployment", deployed(old.into(), Value::Null), "taken for a replay"),
        ("deployment", deployed(Value::Null, Value::Null), "its age is not known"),
        ("deployment", deployed("yesterday".into(), old.into()), "not the event's JSON"),
        ("workflow_run", ran(old, old), "taken for a replay"),
    ] {
        let got = github(&fixture, kind, &body, GITHUB, "d").await;
        assert_eq!(got.status, 400, "{body}");
        assert!(got.body.contains(why), "{}", got.body);
    }
    assert!(fixture.releases().is_empty());
    // A run may take long: it counts when it ended.
    let slow = ran(old, "2026-03-02T08:59:00Z");
    assert_eq!(outcome(&github(&fixture, "workflow_run", &slow, GITHUB, "d").await), "created");
    let other = shop().await;
    let redelivered = deployed("2026-02-27T09:00:01Z".into(), Value::Null);
    assert_eq!(outcome(&github(&other, "deployment", &redelivered, GITHUB, "d").await), "created");
}

async fn jenkins(fixture: &Fixture, at: i64, delivery: &str, body: &Value, secret: &str) -> Got {
    let body = body.to_string();
    let signature = hmac(secret, format!("{at}.{delivery}.{body}").as_bytes());
    let at = at.to_string();
    let headers = [
        ("X-Tidegate-Timestamp", at.as_str()),
        ("X-Tidegate-Delivery", delivery),
        ("X-Tidegate-Signature", &signature),
    ];
    fixture.send(event("POST", "/hooks/jenkins/checkout", "", &headers, body.as_bytes())).await
}

#[tokio::test]
async fn jenkins_asks_within_the_replay_window_and_once() {
    let fixture = shop().await;
    let now = fixture.universe.state().now.as_second();
    let body = json!({ "tag": "main-7", "commit": "4f2a9c1", "by": "dora", "url": "https://ci.example/1" });
    for at in [now - 301, now + 301, 0] {
        assert_eq!(jenkins(&fixture, at, "job-1", &body, JENKINS).await.status, 400, "{at}");
    }
    assert_eq!(jenkins(&fixture, now, "job-1", &body, "wrong").await.status, 401);
    assert_eq!(outcome(&jenkins(&fixture, now - 299, "job-1", &body, JENKINS).await), "created");
    let release = fixture.releases().remove(0);
    assert_eq!(release.provenance.commit.as_deref(), Some("4f2a9c1"));
    fixture.pass(SignedDuration::from_secs(60));
    assert_eq!(outcome(&jenkins(&fixture, now + 60, "job-1", &body, JENKINS).await), "handled before");
    assert_eq!(fixture.releases().len(), 1);
    for wrong in
        [json!({}), json!({ "tag": "a", "image": "b" }), json!({ "tag": "main-7", "extra": 1 }), json!("x")]
    {
        assert_eq!(jenkins(&fixture, now, "job-2", &wrong, JENKINS).await.status, 400, "{wrong}");
    }
    assert_eq!(jenkins(&fixture, now, "", &body, JENKINS).await.status, 400);
}

#[tokio::test]
async fn docker_hub_is_known_by_its_path_and_the_digest_is_looked_up() {
    let fixture = shop().await;
    // docs.docker.com, "Docker Hub webhooks", shortened.
    let body = json!({
        "callback_url": "https://registry.hub.docker.com/u/shop/checkout/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/",
        "push_data": { "pushed_at": 1417566161, "pusher": "dora", "tag": "main-7" },
        "repository": { "name": "checkout", "namespace": "shop", "repo_name": "shop/checkout", "status": "Active" },
    });
    let send = async |secret: &str, body: &Value| {
        let path = format!("/hooks/dockerhub/checkout/{secret}");
        fixture.send(event("POST", &path, "", &[], body.to_string().as_bytes())).await
    };
    for wrong in ["", "wrong", "docker-hubs-secre"] {
        assert_eq!(send(wrong, &body).await.status, 401);
    }
    let mut other = body.clone();
    other["repository"]["repo_name"] = "mallory/checkout".into();
    assert_eq!(send(DOCKER_HUB, &other).await.status, 403);
    assert_eq!(outcome(&send(DOCKER_HUB, &body).await), "created");
    assert_eq!(fixture.releases()[0].change, names::change(7));
    assert!(["known", "handled before"].contains(&outcome(&send(DOCKER_HUB, &body).await).as_str()));
    assert_eq!(fixture.releases().len(), 1);
}

fn docker_hub_push(tag: &str, pushed_at: i64) -> Value {
    json!({
        "push_data": { "pushed_at": pushed_at, "pusher": "dora", "tag": tag },
        "repository": { "repo_name": "shop/checkout" },
    })
}

async fn docker_hub(fixture: &Fixture, body: &Value) -> Got {
    let path = format!("/hooks/dockerhub/checkout/{DOCKER_HUB}");
    fixture.send(event("POST", &path, "", &[], body.to_string().as_bytes())).await
}

async fn awaited(fixture: &Fixture) -> Result<Looked, PortError> {
    let until = fixture.universe.state().now.saturating_add(SignedDuration::from_secs(50)).unwrap();
    let pace = Pace { listed: &Listed::default(), rotation: &Rotation::default(), until };
    fixture.context.installation.find_awaited(&*fixture.gate.images, pace).await
}

/// As the clock does it every minute.
async fn look(fixture: &Fixture) -> u32 {
    let looked = awaited(fixture).await.unwrap();
    assert_eq!(looked.failed, [""; 0]);
    looked.done
}

/// Minutes pass; the number of images that came.
async fn minutes(fixture: &Fixture, count: u32) -> u32 {
    let mut came = 0;
    for _ in 0..count {
        fixture.pass(SignedDuration::from_secs(60));
        came += look(fixture).await;
    }
    came
}

fn noted(got: &Got) -> String {
    assert_eq!(got.status, 202, "{}", got.body);
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(body["outcome"], "noted");
    body["why"].as_str().unwrap().to_owned()
}

fn now(fixture: &Fixture) -> i64 {
    fixture.universe.state().now.as_second()
}

#[tokio::test]
async fn an_image_that_a_mirror_brings_later_is_released_once() {
    let fixture = shop().await;
    let body = docker_hub_push("main-8", now(&fixture));
    let why = noted(&docker_hub(&fixture, &body).await);
    assert!(why.starts_with("there is no image tagged main-8 in shop/checkout yet"), "{why}");
    assert!(why.contains("until 2026-03-02T09:15:00Z"), "{why}");
    assert_eq!(outcome(&docker_hub(&fixture, &body).await), "handled before");
    let waits = told(&fixture).remove(0);
    assert_eq!(waits.event.to_string(), "waiting for image shop/checkout:main-8");
    assert_eq!(minutes(&fixture, 3).await, 0);
    assert!(fixture.releases().is_empty());
    fixture.push(8);
    assert_eq!(minutes(&fixture, 1).await, 1);
    let release = fixture.releases().remove(0);
    assert_eq!((&release.change, release.provenance.author.as_deref()), (&names::change(8), Some("dora")));
    assert!(told(&fixture).is_empty(), "{:?}", told(&fixture));
    assert_eq!(minutes(&fixture, 20).await, 0);
    assert_eq!(outcome(&docker_hub(&fixture, &body).await), "handled before");
    assert_eq!(fixture.releases().len(), 1);
}

#[tokio::test]
async fn what_does_not_come_is_told_as_given_up() {
    let fixture = shop().await;
    let mut body = deployment(&json!({ "tag": "never-built" }));
    body["deployment"]["id"] = 2.into();
    noted(&github(&fixture, "deployment", &body, GITHUB, "d").await);
    assert_eq!(minutes(&fixture, 14).await, 0);
    assert_eq!(told(&fixture)[0].event.to_string(), "waiting for image shop/checkout:never-built");
    assert_eq!(minutes(&fixture, 3).await, 0);
    let told = told(&fixture);
    assert_eq!(
        (told.len(), told[0].event.to_string().as_str()),
        (1, "did not release shop/checkout:never-built")
    );
    assert!(told[0].event.why().contains("it was looked for for 15m"), "{told:?}");
    // What comes after that is no matter of this webhook's.
    fixture.push(9);
    assert_eq!(minutes(&fixture, 3).await, 0);
    assert!(fixture.releases().is_empty());
}

#[tokio::test]
async fn what_is_late_never_takes_the_place_of_something_newer() {
    // A newer announcement takes the place of the older one, which is told; and an older one that comes late does not.
    let fixture = shop().await;
    let at = now(&fixture);
    noted(&docker_hub(&fixture, &docker_hub_push("main-8", at - 10)).await);
    noted(&docker_hub(&fixture, &docker_hub_push("main-9", at)).await);
    assert_eq!(outcome(&docker_hub(&fixture, &docker_hub_push("main-5", at - 20)).await), "refused");
    assert!(
        told(&fixture).iter().any(|entry| entry.event.to_string()
            == "did not release main-8 (2 of this kind since 2026-03-02T09:00:00Z)"
            || entry.event.why().contains("was announced later")),
        "{:?}",
        told(&fixture)
    );
    fixture.push(5);
    fixture.push(8);
    assert_eq!(minutes(&fixture, 2).await, 0);
    assert!(fixture.releases().is_empty());
    fixture.push(9);
    assert_eq!(minutes(&fixture, 1).await, 1);
    assert_eq!(fixture.releases()[0].change, names::change(9));

    // Something newer is let in by another trigger while an image is waited for; then the mirror brings the older one.
    let fixture = shop().await;
    noted(&docker_hub(&fixture, &docker_hub_push("main-8", now(&fixture))).await);
    fixture.pass(SignedDuration::from_secs(30));
    fixture.push(9);
    let newer = workflow_run(&json!({
        "id": 2, "head_sha": "main-9", "created_at": "2026-03-02T09:00:20Z", "updated_at": "2026-03-02T09:00:20Z",
    }));
    assert_eq!(outcome(&github(&fixture, "workflow_run", &newer, GITHUB, "d").await), "created");
    fixture.pass(SignedDuration::from_secs(30));
    fixture.push(8);
    assert_eq!(minutes(&fixture, 20).await, 0);
    assert_eq!(fixture.releases().len(), 1);
    assert!(told(&fixture)[0].event.why().contains("something newer was let in"), "{:?}", told(&fixture));
    // And one that was announced before that is not even waited for.
    let older = docker_hub_push("main-10", names::start().as_second());
    assert_eq!(outcome(&docker_hub(&fixture, &older).await), "refused");
}

/// A tag that moves names an older image until the mirror has brought the new one.
#[tokio::test]
async fn a_tag_that_the_mirror_has_not_moved_yet_is_waited_for() {
    let fixture = shop().await;
    fixture.pass(SignedDuration::from_secs(3600));
    let why = noted(&docker_hub(&fixture, &docker_hub_push("main-7", now(&fixture))).await);
    assert!(why.contains("main-7 names an image that was pushed at 2026-03-02T09:00:00Z, before"), "{why}");
    assert_eq!(minutes(&fixture, 2).await, 0);
    let (tag, digest, at) = (names::tag(7), names::digest(8), fixture.universe.state().now);
    fixture.universe.state().aws.tag_silently(tag, digest, None, at);
    assert_eq!(minutes(&fixture, 1).await, 1);
    assert_eq!(names::only(&fixture.releases()[0].change).digest, names::digest(8));

    let fixture = shop().await;
    fixture.pass(SignedDuration::from_secs(3600));
    noted(&docker_hub(&fixture, &docker_hub_push("main-7", now(&fixture))).await);
    assert_eq!(minutes(&fixture, 20).await, 0);
    assert!(fixture.releases().is_empty());
    assert!(told(&fixture)[0].event.why().contains("it still names image"), "{:?}", told(&fixture));
}

#[tokio::test]
async fn only_the_policy_that_let_it_pass_releases_what_is_late() {
    let apply = async |fixture: &Fixture, from: &str, to: &str| {
        let text = common::POLICY.replace("COUNT", "1");
        assert!(text.contains(from), "{from}");
        let policy = policy::parse("checkout.yaml", &text.replace(from, to)).unwrap();
        let ops = tidegate_core::actor::Actor::Person { name: "ops".into() };
        fixture.context.installation.apply(&policy, &ops).await.unwrap();
    };
    for (from, to, why) in [
        ("docker_hub: shop/checkout", "docker_hub: shop/other", "was changed while"),
        ("tags: [\"main-*\"]", "tags: [\"v*\"]", "was changed while"),
    ] {
        let fixture = shop().await;
        noted(&docker_hub(&fixture, &docker_hub_push("main-8", now(&fixture))).await);
        fixture.pass(SignedDuration::from_secs(10));
        apply(&fixture, from, to).await;
        fixture.push(8);
        assert_eq!(minutes(&fixture, 3).await, 0);
        assert!(fixture.releases().is_empty());
        assert!(told(&fixture)[0].event.why().contains(why), "{:?}", told(&fixture));
    }
    // Its tags are looked at when it is there, and what is no image is none.
    let fixture = shop().await;
    noted(&docker_hub(&fixture, &docker_hub_push("release-8", now(&fixture))).await);
    let (tag, at) = (tidegate_core::ids::Tag::new("release-8").unwrap(), fixture.universe.state().now);
    fixture.universe.state().aws.tag_silently(tag, names::digest(8), None, at);
    assert_eq!(minutes(&fixture, 3).await, 0);
    assert!(fixture.releases().is_empty());
    assert!(told(&fixture)[0].event.why().contains("the policy allows main-*"), "{:?}", told(&fixture));
}

#[tokio::test]
async fn what_is_not_proven_or_not_allowed_is_never_noted() {
    let fixture = shop().await;
    let body = docker_hub_push("main-8", now(&fixture));
    let path = "/hooks/dockerhub/checkout/wrong-but-long-enough";
    assert_eq!(fixture.send(event("POST", path, "", &[], body.to_string().as_bytes())).await.status, 401);
    let mut other = body.clone();
    other["repository"]["repo_name"] = "mallory/checkout".into();
    assert_eq!(docker_hub(&fixture, &other).await.status, 403);
    let mut staging = deployment(&json!({ "tag": "main-8" }));
    staging["deployment"]["environment"] = "staging".into();
    assert_eq!(outcome(&github(&fixture, "deployment", &staging, GITHUB, "d").await), "refused");
    let elsewhere = deployment(&json!({ "image": "ghcr.io/shop/checkout:main-8" }));
    assert_eq!(github(&fixture, "deployment", &elsewhere, GITHUB, "d").await.status, 422);
    assert_eq!(fixture.universe.state().rows.awaited(&names::service()), None);
}

/// However many are announced, one waits, and the service's own row is not touched.
#[tokio::test]
async fn a_flood_of_announcements_is_bounded() {
    let fixture = shop().await;
    let version = fixture.universe.state().rows.head(&names::service()).unwrap().version;
    for n in 0..200 {
        noted(&docker_hub(&fixture, &docker_hub_push(&format!("main-1{n}"), now(&fixture))).await);
    }
    let told = told(&fixture);
    assert!(told.len() <= 3, "{told:?}");
    assert!(told.iter().any(|entry| entry.event.to_string().contains("199 of this kind")), "{told:?}");
    assert_eq!(fixture.universe.state().rows.head(&names::service()).unwrap().version, version);
    fixture.push(1199);
    assert_eq!(minutes(&fixture, 1).await, 1);
    assert_eq!(fixture.releases().len(), 1);
}

#[tokio::test]
async fn a_clock_that_dies_at_any_call_loses_nothing_and_releases_once() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::AnswerLost, Fault::Unavailable] {
        let mut call = 0;
        loop {
            let fixture = shop().await;
            noted(&docker_hub(&fixture, &docker_hub_push("main-8", now(&fixture))).await);
            fixture.push(8);
            let first = fixture.universe.state().calls;
            fixture.universe.state().conditions.faults = Faults::At { call: first + call, fault };
            let died = async {
                while fixture.universe.state().crashed.is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                _ = awaited(&fixture) => {}
                () = died => {}
            }
            let reached = fixture.universe.state().calls > first + call;
            fixture.universe.state().conditions.faults = Faults::None;
            minutes(&fixture, 2).await;
            assert_eq!(fixture.releases().len(), 1, "{fault:?} at call {call}");
            assert!(told(&fixture).is_empty(), "{fault:?} at call {call}: {:?}", told(&fixture));
            if !reached {
                break;
            }
            call += 1;
        }
        assert!(call >= 5, "{call} calls are too few to look for an image and release it");
    }
}
