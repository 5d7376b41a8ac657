//! Rows of other versions of Tidegate, and rows that are broken: read rightly, or told with their keys; never skipped, and never in the
//! way of the others.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_core::effect::Action;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{Entry, Event, Fact};
use tidegate_core::listing::Listing;
use tidegate_core::ports::{Ledger, Watched};

use crate::fixture::*;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn release_pk(n: usize) -> String {
    format!("RELEASE#{}", id(n))
}

/// Two services and two releases; the tests then damage rows of the first.
async fn two_of_each(table: &str) -> Fixture {
    let fixture = Fixture::new(table).await;
    for service in ["shop", "cart"] {
        fixture.put_head(apply(&policy(service, &["5xx"]), 0)).await;
    }
    fixture.create(&[release(1, "shop"), release(2, "cart")]).await;
    fixture
}

/// Changes the stored JSON of a row.
async fn edit(fixture: &Fixture, pk: &str, sk: &str, change: impl FnOnce(&mut Value)) {
    let item = fixture
        .client
        .get_item()
        .table_name(&fixture.table)
        .key("pk", text(pk))
        .key("sk", text(sk))
        .send()
        .await
        .unwrap()
        .item
        .unwrap();
    let mut body: Value = serde_json::from_str(item["body"].as_s().unwrap()).unwrap();
    change(&mut body);
    fixture.damage(pk, sk, "body", text(body.to_string())).await;
}

#[tokio::test]
async fn a_row_of_a_newer_schema_is_an_error_that_says_what_to_do() {
    let fixture = two_of_each("newer").await;
    let ledger = &fixture.ledger;
    fixture.damage(&release_pk(1), "STATE", "schema", number(2)).await;
    fixture.damage(&release_pk(1), "HISTORY#00000000000000000000", "schema", number(2)).await;
    fixture.damage("SERVICE#shop", "HEAD", "schema", number(3)).await;
    let watch = format!("WATCH#ecs#{}#{}#shop-web", installation().account, installation().region);
    fixture.damage(&watch, "SERVICE#shop", "schema", number(2)).await;

    let error = refused(ledger.release(&id(1)).await, ErrorKind::Invalid, "NewerSchema");
    assert_eq!(
        error.message,
        format!(
            "row pk=RELEASE#{} sk=STATE has schema 2 and this version reads up to 1: finish deploying the newer version of \
             Tidegate, which wrote it",
            id(1)
        )
    );
    refused(ledger.service(&name("shop")).await, ErrorKind::Invalid, "NewerSchema");
    let release_1 = format!("release {}", id(1));
    assert_eq!(told(ledger.open().await, "NewerSchema", &release_1), [release(2, "cart")]);
    assert_eq!(told(ledger.releases(&name("shop"), 5).await, "NewerSchema", &release_1), []);
    let entry = format!("entry 0 of the history of {release_1}");
    assert_eq!(told(ledger.history(&id(1)).await, "NewerSchema", &entry), []);
    let services = told(ledger.services().await, "NewerSchema", "service shop");
    assert_eq!(services, [(name("cart"), apply(&policy("cart", &["5xx"]), 0).head)]);
    let service = tidegate_core::ids::EcsServiceName::new("shop-web").unwrap();
    let watched = Watched::EcsService(installation().account, installation().region, service);
    let row = format!(
        "the row by which events of ecs {} {} shop-web find service shop",
        installation().account,
        installation().region
    );
    // The key still says who watches.
    assert_eq!(told(ledger.watchers(&watched).await, "NewerSchema", &row), [name("shop")]);

    // The other release is not held up: it is woken, read and listed on its own.
    assert_eq!(ledger.due(at(9)).await.unwrap().whole().unwrap().len(), 2);
    assert_eq!(ledger.release(&id(2)).await.unwrap(), Some(release(2, "cart")));
    assert_eq!(ledger.releases(&name("cart"), 5).await.unwrap().whole().unwrap().len(), 1);
}

#[tokio::test]
async fn a_policy_is_not_replaced_over_a_row_of_a_newer_schema() {
    let fixture = two_of_each("newer-head").await;
    fixture.damage("SERVICE#shop", "HEAD", "schema", number(2)).await;
    let change =
        tidegate_core::commit::Commit { head: Some(apply(&policy("shop", &[]), 1)), ..Default::default() };
    refused(fixture.ledger.commit(change).await, ErrorKind::Invalid, "NewerSchema");
}

#[tokio::test]
async fn an_old_reader_skips_what_a_newer_version_added_within_the_schema() {
    let fixture = two_of_each("older-reader").await;
    edit(&fixture, &release_pk(1), "STATE", |body| {
        body["approvals"] = json!([{ "by": "someone" }]);
        body["report"]["confidence"] = json!(0.5);
    })
    .await;
    edit(&fixture, "SERVICE#shop", "HEAD", |body| body["frozen_until"] = json!("2030-01-01T00:00:00Z")).await;
    edit(&fixture, &release_pk(1), "HISTORY#00000000000000000000", |body| body["trace"] = json!("1-2-3"))
        .await;
    fixture.damage(&release_pk(1), "STATE", "gsi9pk", text("LATER")).await;

    assert_eq!(fixture.ledger.release(&id(1)).await.unwrap(), Some(release(1, "shop")));
    assert_eq!(
        fixture.ledger.service(&name("shop")).await.unwrap(),
        Some(apply(&policy("shop", &["5xx"]), 0).head)
    );
    assert_eq!(fixture.ledger.history(&id(1)).await.unwrap().whole().unwrap(), [entry(0, "created")]);
}

/// The rows of the first version with everything optional left out. They are never regenerated: rows like these are in tables.
const FIRST_RELEASE: &str = r#"{
    "id": "00000000000000000000000001", "service": "shop",
    "target": {"account": "111122223333", "region": "eu-central-1",
               "resource": {"kind": "ecs_service", "cluster": "prod", "service": "shop-web"}},
    "change": {"app": {"registry": "111122223333.dkr.ecr.eu-central-1.amazonaws.com", "repository": "shop/shop",
                       "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000001"}},
    "intent": {"kind": "deploy"}, "requested_by": {"kind": "event", "source": "aws.ecr", "id": "event-1"},
    "created_at": "2027-01-15T08:00:00Z", "version": 0, "phase": {"phase": "queued"},
    "wake": {"at": "2027-01-15T08:00:01Z"},
    "report": {"facts": [], "waiting_on": {"waiting_on": "turn", "behind": null}}
}"#;
const FIRST_HEAD: &str = r#"{
    "version": 0, "watching_since": "2027-01-15T08:00:00Z",
    "policy": {"service": "shop", "from": {"ecr": {"repository": "shop/shop", "tags": ["v*"]}},
               "to": {"ecs": {"cluster": "prod", "service": "shop-web", "container": "app"}},
               "strategy": {"canary": {"percent": 10, "bake": "5m"}, "bake": "15m"}}
}"#;
const FIRST_ENTRY: &str = r#"{"version": 0, "at": "2027-01-15T08:00:00Z", "actor": {"kind": "tidegate"},
    "event": {"event": "answer_not_counted", "why": "created"}}"#;
/// What a version to come may write: an event, a fact and an action of its own.
const LATER_ENTRY: &str = r#"{"version": 0, "at": "2027-01-15T08:00:00Z", "actor": {"kind": "tidegate"},
    "event": {"event": "moon_consulted", "phase": "full"}, "saw": [{"fact": "moon", "phase": "full"}],
    "actions": [{"action": "howl"}]}"#;

#[tokio::test]
async fn a_new_reader_reads_the_rows_of_the_first_version() {
    let fixture = two_of_each("first").await;
    fixture.damage(&release_pk(1), "STATE", "body", text(FIRST_RELEASE)).await;
    fixture.damage("SERVICE#shop", "HEAD", "body", text(FIRST_HEAD)).await;
    fixture.damage(&release_pk(1), "HISTORY#00000000000000000000", "body", text(FIRST_ENTRY)).await;

    assert_eq!(fixture.ledger.release(&id(1)).await.unwrap(), Some(release(1, "shop")));
    assert_eq!(
        fixture.ledger.service(&name("shop")).await.unwrap(),
        Some(apply(&policy("shop", &[]), 0).head)
    );
    assert_eq!(fixture.ledger.history(&id(1)).await.unwrap().whole().unwrap(), [entry(0, "created")]);
}

/// A plan of the first version, everything optional left out, and the phase of a release that goes by it.
const FIRST_PLAN: &str = r#"{
    "target": {"account": "111122223333", "region": "eu-central-1",
               "resource": {"kind": "ecs_service", "cluster": "prod", "service": "shop-web"}},
    "change": {"app": {"registry": "111122223333.dkr.ecr.eu-central-1.amazonaws.com", "repository": "shop/shop",
                       "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000001"}},
    "runs_as": {}, "stages": [{"stage": "prepare", "what": "candidate"}, {"stage": "start"}], "alarms": ["5xx"],
    "setup": {"engine": "ecs_native",
              "candidate": {"from": "arn:aws:ecs:eu-central-1:111122223333:task-definition/shop:1", "images": {}},
              "rollback_target": {"task_definition": "arn:aws:ecs:eu-central-1:111122223333:task-definition/shop:1",
                                  "images": {}, "configuration": {}, "weights": []},
              "configuration": {}, "measured_at": []},
    "made_at": "2027-01-15T08:00:00Z"
}"#;
const FIRST_RUNNING: &str =
    r#"{"phase": "running", "stage": 0, "since": "2027-01-15T08:00:00Z", "step": {"step": "entered"}}"#;

#[tokio::test]
async fn a_new_reader_reads_the_plan_of_the_first_version_and_an_old_one_skips_what_was_added_to_it() {
    let fixture = two_of_each("first-plan").await;
    let (pk, sk) = (release_pk(1), "PLAN#2027-01-15T08:00:00.000000000Z");
    fixture
        .damage(&pk, "STATE", "body", text(FIRST_RELEASE.replace(r#"{"phase": "queued"}"#, FIRST_RUNNING)))
        .await;
    fixture.damage(&pk, "STATE", "planned", text(sk)).await;
    let row = [
        ("pk", text(&pk)),
        ("sk", text(sk)),
        ("schema", number(1)),
        ("version", number(0)),
        ("body", text(FIRST_PLAN)),
    ];
    let put = fixture.client.put_item().table_name(&fixture.table);
    row.into_iter().fold(put, |put, (name, value)| put.item(name, value)).send().await.unwrap();

    let read = fixture.ledger.release(&id(1)).await.unwrap().unwrap();
    let plan = read.plan.clone().unwrap();
    assert_eq!((plan.made_at, plan.stages.len(), plan.failed_tasks), (at(0), 2, 0));
    edit(&fixture, &pk, sk, |body| body["moon"] = json!("full")).await;
    assert_eq!(fixture.ledger.release(&id(1)).await.unwrap(), Some(read));
}

#[tokio::test]
async fn an_old_reader_reads_events_it_does_not_know_as_such() {
    let fixture = two_of_each("later-events").await;
    fixture.damage(&release_pk(1), "HISTORY#00000000000000000000", "body", text(LATER_ENTRY)).await;
    let history = fixture.ledger.history(&id(1)).await.unwrap().whole().unwrap();
    let Entry { event, saw, actions, .. } = &history[0];
    assert_eq!(
        (event, saw.as_slice(), actions.as_slice()),
        (&Event::Unknown, &[Fact::Unknown][..], &[Action::Unknown][..])
    );
}

/// The rows of a list in which exactly one, of this name, cannot be read.
#[track_caller]
fn told<T: std::fmt::Debug>(listed: Result<Listing<T>, PortError>, code: &str, name: &str) -> Vec<T> {
    let (rows, damaged) = listed.unwrap().split();
    let told: Vec<(&str, &str)> =
        damaged.iter().map(|row| (row.problem.code.as_str(), row.name.as_str())).collect();
    assert_eq!(told, [(code, name)]);
    rows
}

#[track_caller]
fn names(error: &PortError, parts: &[&str]) {
    for part in parts {
        assert!(error.message.contains(part), "{part:?} is not in: {error}");
    }
}

#[tokio::test]
async fn a_broken_row_is_told_with_its_keys_and_never_skipped() {
    let pk = release_pk(1);
    let keys = format!("pk={pk} sk=STATE");
    let cases: [(&str, &str, AttributeValue, &str); 7] = [
        ("not-json", "body", text("{"), "body: "),
        ("not-text", "body", number(1), "no text attribute body"),
        ("trailing", "body", text(format!("{FIRST_RELEASE} x")), "trailing characters"),
        ("version", "version", number(7), "its attribute version is Some(7) and its body says 0"),
        ("no-schema", "schema", text("1"), "schema"),
        ("schema-zero", "schema", number(0), "schema"),
        (
            "other-id",
            "body",
            text(FIRST_RELEASE.replace("0001\", \"service", "0009\", \"service")),
            "its body is release 00000000000000000000000009",
        ),
    ];
    for (table, attribute, value, problem) in cases {
        let fixture = two_of_each(&format!("broken-{table}")).await;
        fixture.damage(&pk, "STATE", attribute, value).await;
        let error = refused(fixture.ledger.release(&id(1)).await, ErrorKind::Invalid, "CorruptRow");
        names(&error, &[&keys, problem]);
        let release_1 = format!("release {}", id(1));
        assert_eq!(told(fixture.ledger.open().await, "CorruptRow", &release_1), [release(2, "cart")]);
        assert_eq!(told(fixture.ledger.releases(&name("shop"), 5).await, "CorruptRow", &release_1), []);
        assert_eq!(fixture.ledger.due(at(9)).await.unwrap().whole().unwrap().len(), 2);
        assert_eq!(fixture.ledger.release(&id(2)).await.unwrap(), Some(release(2, "cart")));
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_read_is_named() {
    let fixture = two_of_each("field").await;
    edit(&fixture, &release_pk(1), "STATE", |body| body["target"]["account"] = json!("12")).await;
    let error = refused(fixture.ledger.release(&id(1)).await, ErrorKind::Invalid, "CorruptRow");
    names(&error, &["target.account", "AWS account id"]);

    // A policy with a rule this version does not know must not be carried out without it.
    edit(&fixture, "SERVICE#shop", "HEAD", |body| body["policy"]["approvals"] = json!(1)).await;
    let error = refused(fixture.ledger.service(&name("shop")).await, ErrorKind::Invalid, "CorruptRow");
    names(&error, &["pk=SERVICE#shop sk=HEAD", "approvals", "newer version"]);
    assert_eq!(told(fixture.ledger.services().await, "CorruptRow", "service shop").len(), 1);
}

#[tokio::test]
async fn a_row_that_breaks_an_invariant_is_not_acted_on() {
    let fixture = two_of_each("broken-invariant").await;
    edit(&fixture, &release_pk(1), "STATE", |body| drop(body.as_object_mut().unwrap().remove("wake"))).await;
    let error = refused(fixture.ledger.release(&id(1)).await, ErrorKind::Invalid, "Invariant");
    names(&error, &["sk=STATE", "wake-up"]);
}

#[tokio::test]
async fn a_broken_wake_key_wakes_its_release_at_once_and_is_told() {
    let fixture = two_of_each("broken-wakes").await;
    let never = Timestamp::UNIX_EPOCH;
    let release_1 = format!("release {}", id(1));
    // Before every time, behind every time, a time nobody waits for, another release's.
    let keys = ["2000", "x", "2999-01-01T00:00:00.000000000Z#x", &format!("2027-01-01T00:00:00Z#{}", id(2))];
    for key in keys {
        fixture.damage(&release_pk(1), "STATE", "gsi2sk", text(key)).await;
        let mut due = pairs(told(fixture.ledger.due(at(9)).await, "CorruptRow", &release_1));
        due.sort();
        assert_eq!(due, [(id(1), never), (id(2), at(2))], "{key}");
    }
}

#[tokio::test]
async fn a_broken_history_entry_leaves_the_others() {
    let fixture = two_of_each("broken-history").await;
    let history = "HISTORY#00000000000000000000";
    let mut changed = release(2, "cart");
    changed.version = 1;
    fixture.ledger.commit(writes([update(&changed)])).await.unwrap();
    edit(&fixture, &release_pk(2), history, |body| body["version"] = json!(5)).await;
    let name_of_it = format!("entry 0 of the history of release {}", id(2));
    let entries = told(fixture.ledger.history(&id(2)).await, "CorruptRow", &name_of_it);
    assert_eq!(entries, [entry(1, "changed")]);

    fixture.put_head(apply(&policy("shop", &[]), 1)).await;
    edit(&fixture, "SERVICE#shop", history, |body| body["version"] = json!(5)).await;
    let entries = fixture.ledger.service_history(&name("shop"), 9).await;
    let entries = told(entries, "CorruptRow", "entry 0 of the history of service shop");
    assert_eq!(entries, [entry(1, "policy applied")]);
}
