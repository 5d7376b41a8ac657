//! Every change names the version it was decided on; of changes that contradict each other one is made, whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::config_bag::ConfigBag;
use futures::future::join_all;
use jiff::Timestamp;
use tidegate_core::commit::{Commit, IdempotencyKey, ReleaseWrite};
use tidegate_core::fault::ErrorKind;
use tidegate_core::ids::{AlarmName, EcsServiceName, Region};
use tidegate_core::policy::Policy;
use tidegate_core::ports::{Ledger, Watched};
use tidegate_core::service::OpenTargets;
use tidegate_dynamodb::ALREADY_HANDLED;
use tidegate_testkit::names;

use crate::fixture::*;

const CONDITION_FAILED: &str = "ConditionalCheckFailed";

#[tokio::test]
async fn a_release_is_created_once() {
    let fixture = Fixture::new("create-once").await;
    fixture.create(&[release(1, "shop")]).await;
    let again = fixture.ledger.commit(writes([create(&release(1, "shop"))])).await;
    let error = refused(again, ErrorKind::Conflict, CONDITION_FAILED);
    assert!(error.message.contains("does not exist yet"), "{error}");
}

#[tokio::test]
async fn a_change_decided_on_an_old_version_is_refused() {
    let fixture = Fixture::new("stale").await;
    let first = release(1, "shop");
    fixture.create(std::slice::from_ref(&first)).await;
    let second = next(first, "second");
    fixture.ledger.commit(writes([update(&second)])).await.unwrap();
    let error = refused(
        fixture.ledger.commit(writes([update(&second)])).await,
        ErrorKind::Conflict,
        CONDITION_FAILED,
    );
    assert!(error.message.contains(&format!("release {} is at version 0", id(1))), "{error}");
    assert!(error.request_id.is_some(), "{error:?}");
}

#[tokio::test]
async fn a_release_that_is_gone_is_not_written_again() {
    let fixture = Fixture::new("gone").await;
    let second = next(release(1, "shop"), "second");
    refused(fixture.ledger.commit(writes([update(&second)])).await, ErrorKind::Conflict, CONDITION_FAILED);
}

#[tokio::test]
async fn one_condition_that_fails_undoes_the_whole_change() {
    let fixture = Fixture::new("atomic").await;
    fixture.put_head(apply(&policy("shop", &[]), 0)).await;
    let before = fixture.rows().await;
    let change = Commit {
        releases: vec![create(&release(1, "shop")), create(&release(2, "shop"))],
        head: Some(apply(&policy("shop", &["5xx"]), 0)),
        idempotency_key: Some(IdempotencyKey { key: "event-1".into(), until: at(0) }),
        ..Commit::default()
    };
    let error = refused(fixture.ledger.commit(change).await, ErrorKind::Conflict, CONDITION_FAILED);
    assert!(error.message.contains("service shop does not exist yet"), "{error}");
    assert_eq!(fixture.rows().await, before);
}

#[tokio::test]
async fn of_two_new_policies_for_one_ecs_service_one_is_stored() {
    let fixture = Fixture::new("owner").await;
    let to = |service: &str, ecs: &str| {
        let mut policy = policy(service, &[]);
        names::to_ecs(&mut policy).service = EcsServiceName::new(ecs).unwrap();
        policy
    };
    let write = |policy: &Policy, version| Commit { head: Some(apply(policy, version)), ..Commit::default() };
    let both = ["shop", "cart"].map(|service| {
        let (ledger, policy) = (fixture.ledger.clone(), to(service, "web"));
        tokio::spawn(async move { ledger.commit(write(&policy, 0)).await })
    });
    let results: Vec<_> = join_all(both).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let (first, second) = if results[0].is_ok() { ("shop", "cart") } else { ("cart", "shop") };
    let again = fixture.ledger.commit(write(&to(second, "web"), 0)).await;
    let error = refused(again, ErrorKind::Conflict, CONDITION_FAILED);
    assert!(error.message.contains("no other policy releases to ECS service prod/web"), "{error}");
    assert!(fixture.ledger.service(&name(second)).await.unwrap().is_none());
    let elsewhere = Region::new("us-east-1").unwrap();
    let mut abroad = to(second, "web");
    names::to_ecs(&mut abroad).region = Some(elsewhere);
    fixture.put_head(apply(&abroad, 0)).await;

    // Its own policy may change, and what it leaves is free.
    let mut changed = to(first, "web");
    changed.rollback.alarms = vec![AlarmName::new("5xx").unwrap()];
    fixture.put_head(apply(&changed, 1)).await;
    refused(fixture.ledger.commit(write(&to(second, "web"), 1)).await, ErrorKind::Conflict, CONDITION_FAILED);
    fixture.put_head(apply(&to(first, "other"), 2)).await;
    fixture.put_head(apply(&to(second, "web"), 1)).await;
}

/// Nothing half done: in the change that removes a policy, its events find nothing any more and its ECS service is free.
#[tokio::test]
async fn a_removed_policy_is_found_by_nothing_and_its_row_stays() {
    let fixture = Fixture::new("removed").await;
    let shop = policy("shop", &[]);
    fixture.put_head(apply(&shop, 0)).await;
    let repository =
        Watched::Repository(installation().account, installation().region, shop.from.ecr.repository.clone());
    let found = async || fixture.ledger.watchers(&repository).await.unwrap().whole().unwrap();
    assert_eq!(found().await, [name("shop")]);
    let mut removed = apply(&shop, 1);
    removed.head.removed_at = Some(at(60));
    fixture.put_head(removed.clone()).await;
    assert_eq!(found().await, []);
    assert_eq!(fixture.ledger.service(&name("shop")).await.unwrap(), None);
    assert_eq!(fixture.ledger.services().await.unwrap().whole().unwrap(), []);
    assert_eq!(fixture.ledger.service_row(&name("shop")).await.unwrap(), Some(removed.head));
    // Another service may have its ECS service, and a policy of that name cannot while it has.
    let mut cart = policy("cart", &[]);
    cart.to = shop.to.clone();
    fixture.put_head(apply(&cart, 0)).await;
    let again = Commit { head: Some(apply(&shop, 2)), ..Commit::default() };
    refused(fixture.ledger.commit(again.clone()).await, ErrorKind::Conflict, CONDITION_FAILED);
    let mut moved = apply(&cart, 1);
    names::to_ecs(&mut moved.head.policy).service = EcsServiceName::new("cart").unwrap();
    fixture.put_head(moved).await;
    fixture.ledger.commit(again).await.unwrap();
    assert_eq!(found().await, [name("shop")]);
}

#[tokio::test]
async fn an_ecs_service_stays_its_own_until_the_release_to_it_has_ended() {
    let fixture = Fixture::new("owner-open").await;
    let mut moved = policy("shop", &[]);
    fixture.put_head(apply(&moved, 0)).await;
    let old = moved.to.clone();
    names::to_ecs(&mut moved).service = EcsServiceName::new("other").unwrap();
    let mut write = apply(&moved, 1);
    write.head.open = Some(OpenTargets { targets: vec![old.clone()] });
    write.head.active = Some(id(1));
    fixture.put_head(write.clone()).await;
    let mut cart = policy("cart", &[]);
    cart.to = old;
    let taken = || Commit { head: Some(apply(&cart, 0)), ..Commit::default() };
    refused(fixture.ledger.commit(taken()).await, ErrorKind::Conflict, CONDITION_FAILED);
    let mut ended = apply(&moved, 2);
    ended.head.open = None;
    fixture.put_head(ended).await;
    fixture.ledger.commit(taken()).await.unwrap();
}

#[tokio::test]
async fn of_twenty_writers_exactly_one_wins() {
    let fixture = Fixture::new("race").await;
    let first = release(1, "shop");
    fixture.create(std::slice::from_ref(&first)).await;
    let attempts = (0..20).map(|writer| {
        let release = next(first.clone(), &format!("writer {writer}"));
        let mut write = update(&release);
        // Without an entry only the version stands between the writers.
        write.entry = write.entry.filter(|_| writer % 2 == 0);
        let ledger = fixture.ledger.clone();
        tokio::spawn(async move { (writer, ledger.commit(writes([write])).await) })
    });
    let results: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();

    let winners: Vec<i32> =
        results.iter().filter(|(_, result)| result.is_ok()).map(|(writer, _)| *writer).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    for (_, lost) in results.iter().filter(|(_, result)| result.is_err()) {
        assert_eq!(lost.as_ref().unwrap_err().kind, ErrorKind::Conflict);
    }
    let stored = fixture.ledger.release(&id(1)).await.unwrap().unwrap();
    assert_eq!((stored.version, stored.report.waiting_on.to_string()), (1, format!("writer {}", winners[0])));
    let entries = if winners[0] % 2 == 0 { 2 } else { 1 };
    assert_eq!(fixture.ledger.history(&id(1)).await.unwrap().whole().unwrap().len(), entries);
}

#[tokio::test]
async fn of_twenty_who_claim_a_version_one_gets_it_and_none_an_older_one() {
    let fixture = Fixture::new("claims").await;
    let attempts = (0..20).map(|_| {
        let ledger = fixture.ledger.clone();
        tokio::spawn(async move { ledger.claim(&id(1), 4).await.unwrap() })
    });
    let claimed: Vec<bool> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(claimed.iter().filter(|ours| **ours).count(), 1, "{claimed:?}");
    assert!(!fixture.ledger.claim(&id(1), 3).await.unwrap());
    assert!(fixture.ledger.claim(&id(1), 5).await.unwrap());
    assert!(fixture.ledger.claim(&id(2), 4).await.unwrap());
    // It is no release and no history.
    assert_eq!(fixture.ledger.release(&id(1)).await.unwrap(), None);
    assert_eq!(fixture.ledger.history(&id(1)).await.unwrap().whole().unwrap(), []);
}

fn once(n: usize, key: &str, until: Timestamp) -> Commit {
    Commit {
        idempotency_key: Some(IdempotencyKey { key: key.into(), until }),
        ..writes([create(&release(n, "shop"))])
    }
}

fn tomorrow() -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(24)
}

#[tokio::test]
async fn a_delivery_is_handled_once() {
    let fixture = Fixture::new("once").await;
    fixture.ledger.commit(once(1, "event-1", tomorrow())).await.unwrap();
    let again = fixture.ledger.commit(once(2, "event-1", tomorrow())).await;
    let error = refused(again, ErrorKind::Conflict, ALREADY_HANDLED);
    assert!(error.message.contains("event-1"), "{error}");
    assert_eq!(fixture.ledger.release(&id(2)).await.unwrap(), None);
    fixture.ledger.commit(once(2, "event-2", tomorrow())).await.unwrap();
}

#[tokio::test]
async fn handled_before_is_told_even_when_a_version_does_not_fit_either() {
    let fixture = Fixture::new("once-first").await;
    fixture.ledger.commit(once(1, "event-1", tomorrow())).await.unwrap();
    let again = fixture.ledger.commit(once(1, "event-1", tomorrow())).await;
    refused(again, ErrorKind::Conflict, ALREADY_HANDLED);
}

#[tokio::test]
async fn of_a_delivery_that_comes_twenty_times_at_once_one_is_handled() {
    let fixture = Fixture::new("once-race").await;
    let attempts = (0..20).map(|n| {
        let ledger = fixture.ledger.clone();
        tokio::spawn(async move { ledger.commit(once(n, "event-1", tomorrow())).await })
    });
    let results: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|e| e.kind == ErrorKind::Conflict));
    assert_eq!(fixture.ledger.releases(&name("shop"), 100).await.unwrap().whole().unwrap().len(), 1);
}

#[tokio::test]
async fn a_delivery_is_forgotten_at_its_time_though_ttl_has_not_removed_the_row() {
    let fixture = Fixture::new("once-expired").await;
    fixture
        .ledger
        .commit(once(1, "event-1", Timestamp::now() - jiff::SignedDuration::from_secs(5)))
        .await
        .unwrap();
    fixture.ledger.commit(once(2, "event-1", tomorrow())).await.unwrap();
    refused(
        fixture.ledger.commit(once(3, "event-1", tomorrow())).await,
        ErrorKind::Conflict,
        ALREADY_HANDLED,
    );
}

#[tokio::test]
async fn what_breaks_an_invariant_is_not_written() {
    let fixture = Fixture::new("invariant").await;
    let asleep = tidegate_core::release::Release { wake: None, ..release(1, "shop") };
    let error =
        refused(fixture.ledger.commit(writes([create(&asleep)])).await, ErrorKind::Invalid, "Invariant");
    assert!(error.message.contains("wake-up") && error.message.contains("sk=STATE"), "{error}");

    let before = tidegate_core::release::Release { version: 3, ..release(1, "shop") };
    let jump = ReleaseWrite { before: Some(Box::new(before)), ..create(&release(1, "shop")) };
    refused(fixture.ledger.commit(writes([jump])).await, ErrorKind::Invalid, "Invariant");

    let wrong_entry = ReleaseWrite { entry: Some(entry(4, "?")), ..create(&release(1, "shop")) };
    refused(fixture.ledger.commit(writes([wrong_entry])).await, ErrorKind::Invalid, "Invariant");

    let mut foreign = apply(&policy("shop", &[]), 0);
    foreign.service = name("cart");
    let foreign = Commit { head: Some(foreign), ..Commit::default() };
    let error = refused(fixture.ledger.commit(foreign).await, ErrorKind::Invalid, "Invariant");
    assert!(error.message.contains("its policy is for service shop"), "{error}");

    let mut twice = apply(&policy("shop", &[]), 0);
    twice.head.active = Some(id(1));
    twice.head.waiting = Some(id(1));
    let twice = Commit { head: Some(twice), ..Commit::default() };
    refused(fixture.ledger.commit(twice).await, ErrorKind::Invalid, "Invariant");
    assert_eq!(fixture.rows().await, 0);
}

#[tokio::test]
async fn the_same_release_twice_in_one_change_is_invalid() {
    let fixture = Fixture::new("twice").await;
    let create = create(&release(1, "shop"));
    let error = fixture.ledger.commit(writes([create.clone(), create])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_missing_table_is_told() {
    let Fixture { client, .. } = Fixture::new("there").await;
    let ledger = Fixture::of(client, "not-there").ledger;
    for error in [
        ledger.service(&name("shop")).await.unwrap_err(),
        ledger.open().await.unwrap_err(),
        ledger.commit(writes([create(&release(1, "shop"))])).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
}

/// Loses the first answer: the write has happened, the writer sees a 503.
#[derive(Debug, Default)]
struct LoseFirstAnswer {
    answers: AtomicU32,
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<LoseFirstAnswer>);

impl Intercept for Shared {
    fn name(&self) -> &'static str {
        "LoseFirstAnswer"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.answers.fetch_add(1, Ordering::Relaxed) == 0 {
            *context.response_mut().status_mut() = StatusCode::try_from(503)?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_lost_answer_is_not_mistaken_for_a_conflict() {
    let fixture = Fixture::new("lost").await;
    let lossy = Shared::default();
    let config = fixture.client.config().to_builder().interceptor(lossy.clone()).build();
    let ledger = Fixture::of(Client::from_conf(config), "lost").ledger;
    ledger.commit(once(1, "event-1", tomorrow())).await.unwrap();
    assert_eq!(lossy.0.answers.load(Ordering::Relaxed), 2);
    assert_eq!(fixture.ledger.release(&id(1)).await.unwrap(), Some(release(1, "shop")));
}
