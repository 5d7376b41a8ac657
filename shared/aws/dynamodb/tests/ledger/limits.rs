//! DynamoDB's limits: pages of 1 MB, items of 400 KB, transactions of 100 actions.

use serde_json::{Value, json};
use tidegate_core::commit::{ReleaseWrite, ServiceWrite};
use tidegate_core::fault::ErrorKind;
use tidegate_core::history::{Event, Fact};
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;
use tidegate_dynamodb::DynamoLedger;
use tidegate_replay::Replay;

use crate::fixture::*;

/// Its row takes somewhat more than this many bytes.
fn sized(mut release: Release, bytes: usize) -> Release {
    release.report.facts = vec![Fact::OtherImages { detail: "x".repeat(bytes) }];
    release
}

#[tokio::test]
async fn lists_go_on_after_the_first_page() {
    let fixture = Fixture::new("pages").await;
    let releases: Vec<Release> = (0..120).map(|n| sized(release(n, "shop"), 9_000)).collect();
    for some in releases.chunks(40) {
        fixture.ledger.commit(writes(some.iter().map(create))).await.unwrap();
    }
    // The keys are one page, and more than one batch of rows, which together are more than one page.
    assert_eq!(fixture.ledger.open().await.unwrap().whole().unwrap(), releases);
    assert_eq!(fixture.ledger.due(at(200)).await.unwrap().whole().unwrap().len(), 120);
    let newest: Vec<Release> = releases.iter().rev().cloned().collect();
    assert_eq!(fixture.ledger.releases(&name("shop"), 200).await.unwrap().whole().unwrap(), newest);
    assert_eq!(fixture.ledger.releases(&name("shop"), 25).await.unwrap().whole().unwrap(), newest[..25]);
}

#[tokio::test]
async fn long_histories_and_many_services_go_on_after_the_first_page() {
    let fixture = Fixture::new("history-pages").await;
    let mut current = release(1, "shop");
    fixture.create(std::slice::from_ref(&current)).await;
    for _ in 0..15 {
        current = next(current, "on");
        let mut write = update(&current);
        write.entry.as_mut().unwrap().saw = vec![Fact::OtherImages { detail: "y".repeat(100_000) }];
        fixture.ledger.commit(writes([write])).await.unwrap();
    }
    assert_eq!(fixture.ledger.history(&id(1)).await.unwrap().whole().unwrap().len(), 16);

    for n in 0..12 {
        let mut write = apply(&policy(&format!("service-{n:02}"), &[]), 0);
        write.entry.as_mut().unwrap().event = Event::AnswerNotCounted { why: "z".repeat(120_000) };
        let tags = vec![tidegate_core::policy::TagPattern::new("t".repeat(120_000)).unwrap()];
        write.head.policy.from.ecr.tags = tags;
        fixture.put_head(write).await;
    }
    assert_eq!(fixture.ledger.services().await.unwrap().whole().unwrap().len(), 12);
}

/// A table that answers as the script says.
fn scripted() -> (Replay, DynamoLedger) {
    let aws = Replay::new();
    let client = aws_sdk_dynamodb::Client::new(&aws.config());
    let ledger = DynamoLedger::new(client, "ledger", installation());
    let row = |n: &str| json!({ "pk": { "S": format!("SERVICE#{n}") }, "sk": { "S": "HEAD" } });
    aws.json("Query", json!({ "Count": 2, "Items": [row("cart"), row("shop")] }));
    (aws, ledger)
}

fn head_row(service: &str) -> Value {
    let ServiceWrite { head, .. } = apply(&policy(service, &[]), 0);
    json!({
        "pk": { "S": format!("SERVICE#{service}") }, "sk": { "S": "HEAD" }, "schema": { "N": "1" },
        "version": { "N": "0" }, "body": { "S": serde_json::to_string(&head).unwrap() },
    })
}

fn left(services: &[&str]) -> Value {
    let keys = services
        .iter()
        .map(|name| json!({ "pk": { "S": format!("SERVICE#{name}") }, "sk": { "S": "HEAD" } }));
    json!({ "ledger": { "Keys": keys.collect::<Vec<_>>() } })
}

#[tokio::test]
async fn rows_that_a_batch_left_out_are_asked_for_again_and_keep_their_place() {
    let (aws, ledger) = scripted();
    aws.json(
        "BatchGetItem",
        json!({ "Responses": { "ledger": [head_row("shop")] }, "UnprocessedKeys": left(&["cart"]) }),
    );
    aws.json("BatchGetItem", json!({ "Responses": { "ledger": [head_row("cart")] }, "UnprocessedKeys": {} }));
    let services = ledger.services().await.unwrap().whole().unwrap();
    assert_eq!(services.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["cart", "shop"]);
    let asked: Vec<Value> =
        aws.calls("BatchGetItem").iter().map(|call| call.json()["RequestItems"].clone()).collect();
    assert_eq!(asked[0]["ledger"]["ConsistentRead"], json!(true));
    assert_eq!(asked[1]["ledger"]["Keys"], left(&["cart"])["ledger"]["Keys"]);
    assert_eq!(asked[1]["ledger"]["ConsistentRead"], json!(true));
}

#[tokio::test]
async fn a_batch_that_reads_nothing_is_told_as_busy_and_no_row_is_taken_as_gone() {
    let (aws, ledger) = scripted();
    aws.json("BatchGetItem", json!({ "Responses": {}, "UnprocessedKeys": left(&["cart", "shop"]) }));
    refused(ledger.services().await, ErrorKind::Throttled, "UnprocessedKeys");
}

#[tokio::test]
async fn a_row_that_is_too_large_is_told_with_its_keys_and_nothing_is_written() {
    let fixture = Fixture::new("too-large").await;
    let large = fixture.ledger.commit(writes([create(&sized(release(1, "shop"), 410_000))])).await;
    let error = refused(large, ErrorKind::Invalid, "TooLarge");
    assert!(error.message.contains(&format!("pk=RELEASE#{} sk=STATE would be 41", id(1))), "{error}");

    let mut entry = entry(0, "created");
    entry.saw = vec![Fact::OtherImages { detail: "é".repeat(205_000) }];
    let write = ReleaseWrite { entry: Some(entry), ..create(&release(1, "shop")) };
    refused(fixture.ledger.commit(writes([write])).await, ErrorKind::Invalid, "TooLarge");
    assert_eq!(fixture.rows().await, 0);
    fixture.create(&[sized(release(1, "shop"), 400_000)]).await;
}

#[tokio::test]
async fn a_change_of_too_many_rows_is_told_and_nothing_is_written() {
    let fixture = Fixture::new("many-rows").await;
    let releases: Vec<Release> = (0..51).map(|n| release(n, "shop")).collect();
    let error = fixture.ledger.commit(writes(releases.iter().map(create))).await;
    let error = refused(error, ErrorKind::Invalid, "TooLarge");
    assert!(error.message.contains("takes 102 actions"), "{error}");
    assert_eq!(fixture.rows().await, 0);
}
