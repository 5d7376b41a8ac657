//! Whom Tidegate tells over HTTP, against stand-ins that hold to the documented rules: what is sent is taken, what goes wrong is told apart, and
//! nothing secret is in an error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_channels::{Channels, Vault};
use tidegate_core::actor::Actor;
use tidegate_core::change::Change;
use tidegate_core::fault::PortError;
use tidegate_core::history::{Event, StageResult};
use tidegate_core::ids::{Digest, Image, RepositoryName, Tag};
use tidegate_core::intent::Provenance;
use tidegate_core::notify::{About, Detail, Mark, Message, NotSent, Notice, moment};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::{Percent, Receiver, parse_channels};
use tidegate_sandbox::receivers::{Mood, Receivers};

struct Document(String);

#[async_trait]
impl Vault for Document {
    async fn document(&self) -> Result<String, PortError> {
        Ok(self.0.clone())
    }
}

struct World {
    receivers: Receivers,
    channels: Channels,
    memory: BTreeMap<String, String>,
    before: Vec<Notice>,
}

fn receiver(text: &str) -> Receiver {
    parse_channels(&format!("[{{ {text} }}]")).unwrap().remove(0).to
}

fn all() -> Vec<(&'static str, Receiver)> {
    [
        ("slack", "slack: '#deploys'"),
        ("github", "github: acme/shop"),
        ("teams", "teams: deploys"),
        ("webhook", "webhook: audit"),
        ("pagerduty", "pagerduty: shop"),
    ]
    .map(|(name, text)| (name, receiver(text)))
    .to_vec()
}

fn about() -> About {
    let image = Image {
        registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
        repository: RepositoryName::new("shop/checkout").unwrap(),
        digest: Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
        tag: Some(Tag::new("main-2").unwrap()),
    };
    About {
        release: "01k9zq3v8wd4x5n6p7r8s9t0ab".parse().unwrap(),
        service: "checkout".parse().unwrap(),
        account: "111122223333".parse().unwrap(),
        region: "eu-central-1".parse().unwrap(),
        target: "ECS service prod/checkout".into(),
        label: image.label(),
        change: Change::one("app".parse().unwrap(), image),
        requested_by: "push of main-2".into(),
        provenance: Provenance { commit: Some("c0ffee0123".repeat(4)), ..Provenance::default() },
        plan: Some("p".repeat(64)),
    }
}

fn story() -> Vec<Event> {
    let cause = Cause::Inconclusive { detail: "<!channel> & [x](y) 3 of 100 requests ".repeat(80) };
    let outcome = Box::new(Outcome::RolledBack { cause: cause.clone() });
    vec![
        Event::Created { change: about().change, why: "push of main-2".into() },
        Event::Started,
        Event::ApprovalAsked { approvers: vec!["anna".into()], before: "shift".into(), because: None },
        Event::Answered { approver: "anna".into(), approved: true, comment: None },
        Event::StageDone {
            stage: Stage::Approve { gate: 0 },
            result: StageResult::Approved { approvers: vec!["anna".into()] },
        },
        Event::Shifting { percent: Percent::from_tenths(100) },
        Event::RollingBack { cause: Box::new(cause) },
        Event::RollbackFailed { needs: "deploy checkout:41 by hand".into() },
        Event::Ended { outcome, restore_pending: None },
    ]
}

fn notice(version: u64, event: Event) -> Notice {
    let at: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    let mark = Mark { version, index: 0 };
    Notice { mark, moment: moment(&event).unwrap(), at, actor: Actor::Tidegate, event, measured: None }
}

impl World {
    async fn start() -> Self {
        let receivers = Receivers::start().await.unwrap();
        let secret = receivers.secret(None);
        Self::with(receivers, &secret)
    }

    fn with(receivers: Receivers, secret: &Value) -> Self {
        let channels = Channels::new(Arc::new(Document(secret.to_string())));
        Self { receivers, channels, memory: BTreeMap::new(), before: Vec::new() }
    }

    /// Tells the next thing, as the herald does: what was not told is not remembered.
    async fn tell(&mut self, to: &Receiver, event: Event) -> Result<(), NotSent> {
        let notice = notice(u64::try_from(self.before.len()).unwrap(), event);
        let message = Message {
            to: to.clone(),
            about: about(),
            notice: notice.clone(),
            before: self.before.clone(),
            mention: vec!["U0123ABCDEF".into()],
            memory: self.memory.clone(),
        };
        self.memory = self.channels.tell(&message).await.unwrap()?;
        self.before.push(notice);
        Ok(())
    }

    async fn tell_all(&mut self, to: &Receiver) {
        for event in story() {
            self.tell(to, event).await.unwrap();
        }
    }
}

#[tokio::test]
async fn slack_has_one_message_a_release_with_its_steps_in_the_thread() {
    let mut world = World::start().await;
    world.tell_all(&receiver("slack: '#deploys'")).await;
    let messages = world.receivers.slack();
    let (first, replies) = messages.split_first().unwrap();
    assert_eq!((&first["thread_ts"], &first["edits"]), (&Value::Null, &json!(8)));
    assert_eq!(first["text"], "checkout main-2: rolled back");
    assert!(replies.len() == 8 && replies.iter().all(|reply| reply["thread_ts"] == first["ts"]));
    let calls = |reply: &&Value| reply["text"].as_str().unwrap().starts_with("<@U0123ABCDEF> ");
    let called: Vec<&str> =
        replies.iter().filter(calls).map(|reply| reply["text"].as_str().unwrap()).collect();
    assert_eq!(called.len(), 2, "the rollback, and that it did not end: {called:?}");
    // What others wrote mentions nobody.
    assert!(!world.receivers.slack().iter().any(|message| message.to_string().contains("<!channel>")));
}

#[tokio::test]
async fn a_message_that_somebody_deleted_is_posted_anew() {
    let mut world = World::start().await;
    let slack = receiver("slack: C0123ABCDEF");
    world.tell(&slack, Event::Started).await.unwrap();
    world.memory.insert("ts".into(), "1.gone".into());
    world.tell(&slack, Event::Promoting).await.unwrap();
    assert_eq!(world.receivers.slack().len(), 2);
}

#[tokio::test]
async fn github_shows_one_deployment_that_fails_with_the_release() {
    let mut world = World::start().await;
    let github = receiver("github: acme/shop");
    world.tell(&github, story().remove(0)).await.unwrap();
    // A deployment that was made and not remembered is found again, not made twice.
    world.memory.clear();
    for event in story().into_iter().skip(1) {
        world.tell(&github, event).await.unwrap();
    }
    let shown = world.receivers.github();
    let deployments = shown["deployments"].as_array().unwrap();
    assert_eq!((deployments.len(), &deployments[0]["environment"]), (1, &json!("checkout")));
    let states: Vec<&str> = deployments[0]["statuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|status| status["state"].as_str().unwrap())
        .collect();
    assert_eq!((states[0], states[1], *states.last().unwrap()), ("queued", "in_progress", "failure"));
    let last = shown["statuses"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["state"], &last["context"]), (&json!("failure"), &json!("tidegate/checkout")));
}

#[tokio::test]
async fn a_release_without_a_commit_is_nothing_github_could_show() {
    let world = World::start().await;
    let about = About { provenance: Provenance::default(), ..about() };
    let message = Message {
        to: receiver("github: acme/shop"),
        about,
        notice: notice(0, Event::Started),
        before: Vec::new(),
        mention: Vec::new(),
        memory: BTreeMap::new(),
    };
    assert_eq!(world.channels.tell(&message).await, Some(Ok(BTreeMap::new())));
    assert_eq!(world.receivers.requests("github"), 0);
}

/// An app's key, made for this test, and its proof verified with the public half.
#[tokio::test]
async fn github_is_told_by_an_app_with_a_token_for_its_repository_alone() {
    use aws_lc_rs::encoding::AsDer as _;
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    let der = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let receivers = Receivers::start().await.unwrap();
    let secret = receivers.secret(Some(&pem));
    let mut world = World::with(receivers, &secret);
    world.tell_all(&receiver("github: acme/shop")).await;
    assert_eq!(world.receivers.github()["app_tokens"], 1, "its token is good for an hour");
}

#[tokio::test]
async fn teams_gets_cards_and_the_webhook_signed_details() {
    let mut world = World::start().await;
    world.tell_all(&receiver("teams: deploys")).await;
    let cards = world.receivers.teams();
    assert_eq!(cards.len(), 9);
    assert_eq!(cards[6]["body"][0]["text"], "checkout main-2: rolling back");
    (world.before, world.memory) = (Vec::new(), BTreeMap::new());
    world.tell_all(&receiver("webhook: audit")).await;
    let got = world.receivers.webhook();
    assert_eq!(got.last().unwrap().0, "tidegate.release.rolled_back");
    assert_eq!(got[7].1["needs"], "deploy checkout:41 by hand");
    let ids: std::collections::BTreeSet<_> = got.iter().map(|(_, body)| body["id"].to_string()).collect();
    assert_eq!(ids.len(), 9);
}

#[tokio::test]
async fn pagerduty_calls_when_a_person_is_needed_and_is_resolved() {
    let mut world = World::start().await;
    let pager = receiver("pagerduty: shop");
    world.tell(&pager, Event::RollbackFailed { needs: "x".repeat(3000) }).await.unwrap();
    world.tell(&pager, story().pop().unwrap()).await.unwrap();
    let actions: Vec<Value> =
        world.receivers.pagerduty().iter().map(|event| event["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    let keys: Vec<Value> =
        world.receivers.pagerduty().iter().map(|event| event["dedup_key"].clone()).collect();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn what_is_down_slow_or_asks_for_a_pause_is_told_apart() {
    let mut world = World::start().await;
    for (name, to) in all() {
        (world.before, world.memory) = (Vec::new(), BTreeMap::new());
        world.receivers.next(name, &[Mood::Down, Mood::Limits(17), Mood::Lags(Duration::from_secs(6))]);
        let event = || Event::RollbackFailed { needs: "help".into() };
        let down = world.tell(&to, event()).await.unwrap_err();
        assert!(down.why.contains("HTTP 503") && down.retry_after_secs.is_none(), "{name}: {down}");
        let limited = world.tell(&to, event()).await.unwrap_err();
        assert_eq!(limited.retry_after_secs, Some(17), "{name}: {limited}");
        let late = world.tell(&to, event()).await.unwrap_err();
        assert!(late.why.contains("did not answer within 4 s"), "{name}: {late}");
        world.tell(&to, event()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_with_its_remedy_and_never_shown() {
    let receivers = Receivers::start().await.unwrap();
    let mut secret = receivers.secret(None);
    let hidden = "h1dd3n0123456789h1dd3n0123456789";
    for path in ["/slack/token", "/github/token", "/webhooks/audit/secret", "/pagerduty/shop/routing_key"] {
        *secret.pointer_mut(path).unwrap() = json!(hidden);
    }
    let teams = secret["teams"]["deploys"].as_str().unwrap().replace("sig=s4ndb0x", &format!("sig={hidden}"));
    secret["teams"]["deploys"] = json!(teams);
    let mut world = World::with(receivers, &secret);
    for (name, to) in all() {
        let error = world.tell(&to, Event::RollbackFailed { needs: "help".into() }).await.unwrap_err();
        assert!(error.remedy.is_some(), "{name}: {error}");
        assert!(!format!("{error:?}").contains(hidden), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn everyone_can_be_tried_without_a_release() {
    let world = World::start().await;
    for (name, to) in all() {
        let tried = world.channels.test(&to, &"checkout".parse().unwrap(), "7").await.unwrap();
        assert_eq!(tried, Ok(()), "{name}");
    }
    assert_eq!(world.receivers.webhook()[0].1["test"], true);
    let actions: Vec<Value> =
        world.receivers.pagerduty().iter().map(|event| event["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"], "nobody is left called");
}

/// One of each kind of event, as it is on a bus.
fn samples() -> BTreeMap<String, Value> {
    let mut events = story();
    events.extend([
        Event::Ended { outcome: Box::new(Outcome::Promoted), restore_pending: None },
        Event::Ended {
            outcome: Box::new(Outcome::Failed {
                cause: Cause::Deployment { reason: "the service is gone".into() },
                needs: "deploy checkout:41 by hand".into(),
            }),
            restore_pending: None,
        },
    ]);
    let message = |(version, event)| {
        let notice = Notice { measured: Some(Percent::from_tenths(100)), ..notice(version, event) };
        let to = receiver("event_bus: 'arn:aws:events:eu-central-1:111122223333:event-bus/deploys'");
        Message {
            to,
            about: about(),
            notice,
            before: Vec::new(),
            mention: Vec::new(),
            memory: BTreeMap::new(),
        }
    };
    let envelope = |message: Message| {
        let detail = Detail::of(&message);
        let name = detail.moment.name().to_owned();
        let event = json!({
            "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": detail.detail_type(), "source": "tidegate",
            "account": "111122223333", "time": message.notice.at, "region": "eu-central-1", "resources": [], "detail": detail,
        });
        (name, event)
    };
    (0..).zip(events).map(message).map(envelope).collect()
}

fn events_folder() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events/tidegate")
}

/// What others build on: a file that differs from what is sent is out of date. `TIDEGATE_WRITE_EVENTS=1` writes them anew.
#[test]
fn the_documented_events_and_their_schema_are_those_that_are_sent() {
    let pretty = |value: &Value| format!("{value:#}\n");
    let mut files = vec![("release.v1.schema.json".to_owned(), pretty(&Detail::json_schema()))];
    files.extend(samples().iter().map(|(name, event)| (format!("{name}.json"), pretty(event))));
    let write = std::env::var_os("TIDEGATE_WRITE_EVENTS").is_some();
    for (name, expected) in &files {
        let path = events_folder().join(name);
        if write {
            std::fs::create_dir_all(events_folder()).unwrap();
            std::fs::write(&path, expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(&found, expected, "{name}: run this test with TIDEGATE_WRITE_EVENTS=1");
    }
    let there = std::fs::read_dir(events_folder()).unwrap().count();
    assert_eq!(there, files.len(), "a file in events/tidegate that nobody sends");
}

/// The samples against the schema, by a validator that is not ours; and what is not as it says, refused by it.
#[test]
fn every_documented_event_is_valid_by_the_schema() {
    let workspace = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv =
        std::env::var_os("TIDEGATE_VENV").map_or_else(|| workspace.join(".venv"), std::path::PathBuf::from);
    let script = r#"
import copy, glob, json, sys
import jsonschema
folder = sys.argv[1]
schema = json.load(open(folder + "/release.v1.schema.json"))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
events = [path for path in glob.glob(folder + "/*.json") if not path.endswith("schema.json")]
for path in events:
    detail = json.load(open(path))["detail"]
    validator.validate(detail)
    for wrong in ({"moment": "sometime"}, {"release": 7}, {"images": [{}]}, {"at": None}):
        assert not validator.is_valid({**copy.deepcopy(detail), **wrong}), (path, wrong)
    for missing in ("id", "moment", "release", "service", "event"):
        assert not validator.is_valid({key: value for key, value in detail.items() if key != missing}), (path, missing)
print(len(events))
"#;
    let output = std::process::Command::new(venv.join("bin/python"))
        .args(["-c", script])
        .arg(events_folder())
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), samples().len().to_string());
}
