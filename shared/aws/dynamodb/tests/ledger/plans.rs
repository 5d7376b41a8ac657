//! The plan has a row of its own: written once, read with its release, and what a look costs without it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tidegate_core::commit::{Commit, ReleaseWrite};
use tidegate_core::fault::ErrorKind;
use tidegate_core::ids::{Digest, Image};
use tidegate_core::plan::Stage;
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;
use tidegate_replay::Replay;
use tidegate_testkit::build::Fixture as Built;

use crate::fixture::*;

/// A decision's change, as the loop commits it.
fn change(before: &Release, after: &Release) -> Commit {
    let told = before.phase != after.phase;
    let entry = told.then(|| entry(after.version, "changed"));
    writes([ReleaseWrite { before: Some(Box::new(before.clone())), release: after.clone(), entry }])
}

/// A release that waits for its plan, and the same one with it.
async fn planned(fixture: &Fixture) -> (Release, Release) {
    let built = Built::preparing();
    let (before, after) = (built.release.clone(), built.decided().release);
    assert!(before.plan.is_none() && after.plan.is_some());
    let created = Release { version: 0, ..before.clone() };
    fixture.create(std::slice::from_ref(&created)).await;
    let before = Release { version: 1, ..before };
    let after = Release { version: 2, ..after };
    fixture.ledger.commit(change(&created, &before)).await.unwrap();
    fixture.ledger.commit(change(&before, &after)).await.unwrap();
    (before, after)
}

async fn item(fixture: &Fixture, pk: &str, sk: &str) -> HashMap<String, AttributeValue> {
    let key = |text: &str| AttributeValue::S(text.to_owned());
    let got = fixture.client.get_item().table_name(&fixture.table).key("pk", key(pk)).key("sk", key(sk));
    got.send().await.unwrap().item.unwrap()
}

fn pk(release: &Release) -> String {
    format!("RELEASE#{}", release.id)
}

fn plan_sk(release: &Release) -> String {
    format!("PLAN#{:.9}", release.plan.as_ref().unwrap().made_at)
}

#[tokio::test]
async fn a_plan_is_written_once_and_read_with_its_release_alone_and_in_lists() {
    let fixture = Fixture::new("plan-once").await;
    let (_, after) = planned(&fixture).await;
    let ledger = &fixture.ledger;
    let rows = fixture.rows().await;
    let later = Release { version: 3, ..after.clone() };
    ledger.commit(change(&after, &later)).await.unwrap();
    assert_eq!(fixture.rows().await, rows, "a look adds no row");

    assert_eq!(ledger.release(&later.id).await.unwrap(), Some(later.clone()));
    assert_eq!(ledger.open().await.unwrap().whole().unwrap(), std::slice::from_ref(&later));
    let service = &later.service;
    assert_eq!(ledger.releases(service, 9).await.unwrap().whole().unwrap(), std::slice::from_ref(&later));
    // The release's row is as small without as it would be with another plan.
    let state = item(&fixture, &pk(&later), "STATE").await;
    assert!(!state["body"].as_s().unwrap().contains("rollback_target"));
}

#[tokio::test]
async fn what_is_planned_anew_has_another_row_and_only_the_plan_it_names_counts() {
    let fixture = Fixture::new("plan-anew").await;
    let (before, after) = planned(&fixture).await;
    let dropped = Release { version: 3, plan: None, phase: before.phase.clone(), ..after.clone() };
    fixture.ledger.commit(change(&after, &dropped)).await.unwrap();
    assert_eq!(fixture.ledger.release(&after.id).await.unwrap(), Some(dropped.clone()));

    let mut anew = Release { version: 4, ..after.clone() };
    let plan = anew.plan.as_mut().unwrap();
    plan.made_at += jiff::SignedDuration::from_secs(30);
    plan.failed_tasks = 77;
    fixture.ledger.commit(change(&dropped, &anew)).await.unwrap();
    assert_eq!(fixture.ledger.release(&after.id).await.unwrap(), Some(anew.clone()));
    // The first plan is still there: what was approved can be read.
    assert!(item(&fixture, &pk(&after), &plan_sk(&after)).await.contains_key("body"));

    // Nobody writes over a plan, whatever they believe to have read.
    let forged = Release { version: 5, ..anew.clone() };
    let write = ReleaseWrite {
        before: Some(Box::new(Release { plan: None, ..anew.clone() })),
        release: forged,
        entry: None,
    };
    let error = fixture.ledger.commit(writes([write])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.message.contains("has no plan made at"), "{error}");
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_or_is_gone_stops_its_release_and_names_its_row() {
    let fixture = Fixture::new("plan-broken").await;
    let (_, after) = planned(&fixture).await;
    fixture.create(&[release(2, "cart")]).await;
    let (pk, sk) = (pk(&after), plan_sk(&after));
    let whole = item(&fixture, &pk, &sk).await;
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let other = whole["body"].as_s().unwrap().replace("\"made_at\":\"", "\"made_at\":\"1");
    let cases = [
        ("body", text("{"), "CorruptRow", "body: "),
        ("body", text(&other), "CorruptRow", "made_at"),
        ("schema", AttributeValue::N("2".into()), "NewerSchema", "schema 2"),
    ];
    for (attribute, value, code, problem) in cases {
        fixture.damage(&pk, &sk, attribute, value).await;
        let error = refused(fixture.ledger.release(&after.id).await, ErrorKind::Invalid, code);
        assert!(
            error.message.contains(&format!("pk={pk} sk={sk}")) && error.message.contains(problem),
            "{error}"
        );
        let (rows, damaged) = fixture.ledger.open().await.unwrap().split();
        assert_eq!((rows, damaged.len()), (vec![release(2, "cart")], 1));
        assert_eq!(damaged[0].release.as_ref(), Some(&after.id));
        fixture.damage(&pk, &sk, attribute, whole[attribute].clone()).await;
    }
    assert_eq!(fixture.ledger.release(&after.id).await.unwrap(), Some(after.clone()));
    let key = [("pk", &pk), ("sk", &sk)];
    let delete = key
        .into_iter()
        .fold(fixture.client.delete_item().table_name(&fixture.table), |delete, (name, value)| {
            delete.key(name, text(value))
        });
    delete.send().await.unwrap();
    let error = refused(fixture.ledger.release(&after.id).await, ErrorKind::Invalid, "CorruptRow");
    assert!(error.message.contains(&sk) && error.message.contains("it is gone"), "{error}");
}

fn as_json(item: &HashMap<String, AttributeValue>) -> Value {
    let value = |value: &AttributeValue| match value.as_s() {
        Ok(text) => json!({ "S": text }),
        Err(_) => json!({ "N": value.as_n().unwrap() }),
    };
    item.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

#[tokio::test]
async fn a_plan_that_was_written_while_the_rows_were_read_is_read_after_them() {
    let fixture = Fixture::new("plan-between").await;
    let (_, after) = planned(&fixture).await;
    let rows =
        [item(&fixture, &pk(&after), "STATE").await, item(&fixture, &pk(&after), &plan_sk(&after)).await];
    let [state, plan] = rows.map(|row| as_json(&row));
    let aws = Replay::new();
    // A query is no snapshot: the row that names the plan was read after the plan's place.
    aws.json("Query", json!({ "Count": 1, "Items": [state] })).json("GetItem", json!({ "Item": plan }));
    let ledger = Fixture::of(aws_sdk_dynamodb::Client::new(&aws.config()), "plan-between").ledger;
    assert_eq!(ledger.release(&after.id).await.unwrap(), Some(after.clone()));
    let asked = aws.calls("GetItem")[0].json();
    assert_eq!((&asked["ConsistentRead"], &asked["Key"]["sk"]["S"]), (&json!(true), &json!(plan_sk(&after))));
}

#[tokio::test]
async fn a_plan_of_another_image_is_not_acted_on() {
    let fixture = Fixture::new("plan-other").await;
    let (before, after) = planned(&fixture).await;
    let mut other = Release { version: 3, ..after.clone() };
    let digest = Digest::new(format!("sha256:{}", "f".repeat(64))).unwrap();
    other.change = before.change.map(|_, image| Image { digest: digest.clone(), ..image.clone() });
    let error = fixture.ledger.commit(change(&after, &other)).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, "Invariant"));
}

#[tokio::test]
async fn many_rows_are_read_in_batches_in_their_order() {
    let fixture = Fixture::new("batches").await;
    let releases: Vec<Release> = (0..230).map(|n| release(n, "shop")).collect();
    for some in releases.chunks(40) {
        fixture.ledger.commit(writes(some.iter().map(create))).await.unwrap();
    }
    assert_eq!(fixture.ledger.open().await.unwrap().whole().unwrap(), releases);
}

/// What DynamoDB charges for a row, by its names and values in UTF-8 as its documentation counts them: a unit for each KB that is begun.
fn units(item: &HashMap<String, AttributeValue>) -> usize {
    let value = |value: &AttributeValue| match (value.as_s(), value.as_n()) {
        (Ok(text), _) => text.len(),
        (_, Ok(digits)) => digits.len().div_ceil(2) + 1,
        _ => panic!("rows hold text and numbers: {value:?}"),
    };
    let size: usize = item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum();
    size.div_ceil(1024)
}

/// A transaction is charged twice for every row. Of an index that holds keys only, `by-service` is not touched, and `by-wake` loses an entry
/// and gets one. The claim of the version comes before.
const MOVED_WAKE: usize = 2;
const CLAIM: usize = 1;
const MOST: usize = 8;

#[tokio::test]
async fn a_look_that_changes_nothing_but_the_wake_up_costs_at_most_8_write_units() {
    let fixture = Fixture::new("look").await;
    let waits =
        [Built::baking(10), Built::baking(100), Built::gated(|stage| matches!(stage, Stage::Approve { .. }))];
    for (n, built) in waits.into_iter().enumerate() {
        let before = built.release.clone();
        let looked = built.later(20).decided().release;
        assert!(looked.version > before.version && looked.phase == before.phase, "it only looked");
        let stored = Release { id: id(n), version: 0, ..looked };
        fixture.create(std::slice::from_ref(&stored)).await;
        let state = item(&fixture, &pk(&stored), "STATE").await;
        let units = 2 * units(&state) + MOVED_WAKE + CLAIM;
        println!("{}: {units} write units", stored.summary());
        assert!(units <= MOST, "{}: {units} write units", stored.summary());
    }
}

#[test]
fn the_indexes_hold_keys_only() {
    let template = include_str!("../../../../../template.yaml");
    assert_eq!(template.matches("ProjectionType: KEYS_ONLY").count(), 2);
    assert_eq!(template.matches("ProjectionType:").count(), 2);
}
