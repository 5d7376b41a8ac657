//! DynamoDB's limits: pages of 1 MB, items of 400 KB, transactions of 100 actions.

use tidegate_core::commit::{Commit, ReleaseWrite};
use tidegate_core::fault::ErrorKind;
use tidegate_core::history::{Event, Fact};
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;

use crate::fixture::*;

/// Its row takes somewhat more than this many bytes.
fn sized(mut release: Release, bytes: usize) -> Release {
    release.report.facts = vec![Fact::OtherImages { detail: "x".repeat(bytes) }];
    release
}

#[tokio::test]
async fn lists_go_on_after_the_first_page() {
    let fixture = Fixture::new("pages").await;
    let releases: Vec<Release> = (0..30).map(|n| sized(release(n, "shop"), 60_000)).collect();
    fixture.create(&releases).await;
    // Without this the test would pass with one page.
    let page = fixture
        .client
        .query()
        .table_name(&fixture.table)
        .index_name("by-wake")
        .key_condition_expression("gsi2pk = :open")
        .expression_attribute_values(":open", aws_sdk_dynamodb::types::AttributeValue::S("OPEN".into()))
        .send()
        .await
        .unwrap();
    assert!(page.last_evaluated_key().is_some() && page.count() < 30);

    assert_eq!(fixture.ledger.open().await.unwrap().whole().unwrap(), releases);
    assert_eq!(fixture.ledger.due(at(100)).await.unwrap().whole().unwrap().len(), 30);
    let newest: Vec<Release> = releases.iter().rev().cloned().collect();
    assert_eq!(fixture.ledger.releases(&name("shop"), 100).await.unwrap().whole().unwrap(), newest);
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
async fn a_policy_with_too_many_alarms_is_told() {
    let fixture = Fixture::new("many-alarms").await;
    let alarms: Vec<String> = (0..99).map(|n| format!("alarm-{n}")).collect();
    let alarms: Vec<&str> = alarms.iter().map(String::as_str).collect();
    let change = Commit { head: Some(apply(&policy("shop", &alarms), 0)), ..Commit::default() };
    let error = refused(fixture.ledger.commit(change).await, ErrorKind::Invalid, "TooLarge");
    assert!(error.message.contains("takes 104 actions"), "{error}");
    fixture.put_head(apply(&policy("shop", &alarms[..95]), 0)).await;
}
