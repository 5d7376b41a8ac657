//! Every access pattern finds what was written, and nothing else.

use tidegate_core::commit::{Commit, IdempotencyKey};
use tidegate_core::ids::{AccountId, EcsServiceName, Region, RepositoryName};
use tidegate_core::ports::{Due, Ledger, Watched};
use tidegate_core::release::{Release, Wake};
use tidegate_dynamodb::watched_by;
use tidegate_testkit::names;

use crate::fixture::*;

#[tokio::test]
async fn an_empty_ledger_has_nothing() {
    let Fixture { ledger, .. } = Fixture::new("empty").await;
    assert_eq!(ledger.service(&name("shop")).await.unwrap(), None);
    assert_eq!(ledger.services().await.unwrap().whole().unwrap(), []);
    assert_eq!(ledger.release(&id(1)).await.unwrap(), None);
    assert_eq!(ledger.releases(&name("shop"), 10).await.unwrap().whole().unwrap(), []);
    assert_eq!(ledger.open().await.unwrap().whole().unwrap(), []);
    assert_eq!(pairs(ledger.due(at(1000)).await.unwrap().whole().unwrap()), []);
    assert_eq!(ledger.watchers(&ecs("shop-web")).await.unwrap().whole().unwrap(), []);
    assert_eq!(ledger.under_way(&ecs("shop-web")).await.unwrap().whole().unwrap(), []);
    assert_eq!(ledger.history(&id(1)).await.unwrap().whole().unwrap(), []);
    assert_eq!(ledger.service_history(&name("shop"), 10).await.unwrap().whole().unwrap(), []);
}

#[tokio::test]
async fn a_change_is_written_whole_and_read_back_as_it_was() {
    let Fixture { ledger, .. } = Fixture::new("whole").await;
    let mut head = apply(&policy("shop", &["5xx"]), 0);
    head.head.active = Some(id(1));
    let change = Commit {
        releases: vec![create(&release(1, "shop"))],
        head: Some(head.clone()),
        idempotency_key: Some(IdempotencyKey { key: "event-1".into(), until: at(86_400) }),
        ..Commit::default()
    };
    ledger.commit(change).await.unwrap();
    assert_eq!(ledger.service(&name("shop")).await.unwrap(), Some(head.head.clone()));
    assert_eq!(ledger.services().await.unwrap().whole().unwrap(), [(name("shop"), head.head)]);
    assert_eq!(ledger.release(&id(1)).await.unwrap(), Some(release(1, "shop")));
    assert_eq!(ledger.history(&id(1)).await.unwrap().whole().unwrap(), [entry(0, "created")]);
    assert_eq!(
        ledger.service_history(&name("shop"), 9).await.unwrap().whole().unwrap(),
        [entry(0, "policy applied")]
    );
}

#[tokio::test]
async fn an_empty_change_is_no_change() {
    let fixture = Fixture::new("nothing").await;
    fixture.ledger.commit(Commit::default()).await.unwrap();
    assert_eq!(fixture.rows().await, 0);
}

#[tokio::test]
async fn services_come_by_name() {
    let fixture = Fixture::new("services").await;
    for service in ["web", "api", "cart"] {
        fixture.put_head(apply(&policy(service, &[]), 0)).await;
    }
    let names: Vec<String> = fixture
        .ledger
        .services()
        .await
        .unwrap()
        .whole()
        .unwrap()
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(names, ["api", "cart", "web"]);
}

#[tokio::test]
async fn releases_of_a_service_come_newest_first() {
    let fixture = Fixture::new("releases").await;
    fixture.create(&[release(1, "shop"), release(2, "other"), release(3, "shop"), release(10, "shop")]).await;
    let numbers = async |limit| {
        let releases = fixture.ledger.releases(&name("shop"), limit).await.unwrap().whole().unwrap();
        releases.into_iter().map(|release| release.id).collect::<Vec<_>>()
    };
    assert_eq!(numbers(10).await, [id(10), id(3), id(1)]);
    assert_eq!(numbers(2).await, [id(10), id(3)]);
    assert_eq!(numbers(0).await, []);
}

#[tokio::test]
async fn releases_are_found_by_the_beginning_of_their_id() {
    let fixture = Fixture::new("beginning").await;
    fixture.create(&[release(1, "shop"), release(2, "other"), release(3, "shop")]).await;
    let found = async |prefix: &str, limit| {
        fixture.ledger.ids_beginning(&name("shop"), prefix, limit).await.unwrap().whole().unwrap()
    };
    let whole = id(3);
    assert_eq!(found(whole.as_str(), 9).await, [id(3)]);
    assert_eq!(found(&whole.as_str()[..4], 9).await, [id(1), id(3)]);
    assert_eq!(found(&whole.as_str()[..4], 1).await, [id(1)]);
    assert_eq!(found(id(2).as_str(), 9).await, [], "of another service");
}

#[tokio::test]
async fn only_releases_that_have_not_ended_are_open_and_due() {
    let fixture = Fixture::new("open").await;
    let releases = [release(1, "a"), release(2, "b"), release(3, "c")];
    fixture.create(&releases).await;
    fixture.ledger.commit(writes([update(&ended(releases[0].clone()))])).await.unwrap();

    let open: Vec<Release> = fixture.ledger.open().await.unwrap().whole().unwrap();
    assert_eq!(open, releases[1..]);
    assert_eq!(pairs(fixture.ledger.due(at(1)).await.unwrap().whole().unwrap()), []);
    assert_eq!(pairs(fixture.ledger.due(at(2)).await.unwrap().whole().unwrap()), [(id(2), at(2))]);
    assert_eq!(
        pairs(fixture.ledger.due(at(60)).await.unwrap().whole().unwrap()),
        [(id(2), at(2)), (id(3), at(3))]
    );
    // It has ended, and is still there.
    assert_eq!(
        fixture.ledger.releases(&name("a"), 1).await.unwrap().whole().unwrap(),
        [ended(releases[0].clone())]
    );
}

#[tokio::test]
async fn a_moved_wake_up_is_due_at_its_new_time_only() {
    let fixture = Fixture::new("moved").await;
    let first = release(1, "a");
    fixture.create(std::slice::from_ref(&first)).await;
    let mut later = next(first, "later");
    let moved = at(30) + jiff::SignedDuration::from_millis(500);
    later.wake.as_mut().unwrap().at = moved;
    fixture.ledger.commit(writes([update(&later)])).await.unwrap();
    assert_eq!(pairs(fixture.ledger.due(at(30)).await.unwrap().whole().unwrap()), []);
    assert_eq!(pairs(fixture.ledger.due(at(31)).await.unwrap().whole().unwrap()), [(id(1), moved)]);
}

#[tokio::test]
async fn history_is_in_order_of_versions_also_beyond_nine() {
    let fixture = Fixture::new("history").await;
    let mut current = release(1, "shop");
    fixture.create(std::slice::from_ref(&current)).await;
    for _ in 0..11 {
        current = next(current, "on");
        fixture.ledger.commit(writes([update(&current)])).await.unwrap();
    }
    // A change of nothing but the report leaves no entry.
    current = next(current, "quietly");
    let quiet = tidegate_core::commit::ReleaseWrite { entry: None, ..update(&current) };
    fixture.ledger.commit(writes([quiet])).await.unwrap();

    let versions: Vec<u64> = fixture
        .ledger
        .history(&id(1))
        .await
        .unwrap()
        .whole()
        .unwrap()
        .iter()
        .map(|entry| entry.version)
        .collect();
    assert_eq!(versions, (0..=11).collect::<Vec<_>>());
    assert_eq!(fixture.ledger.release(&id(1)).await.unwrap().unwrap().version, 12);
}

#[tokio::test]
async fn a_services_own_history_is_newest_first() {
    let fixture = Fixture::new("own-history").await;
    for version in 0..12 {
        fixture.put_head(apply(&policy("shop", &[]), version)).await;
    }
    let entries = fixture.ledger.service_history(&name("shop"), 3).await.unwrap().whole().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.version).collect::<Vec<_>>(), [11, 10, 9]);
}

fn repository(name: &str) -> Watched {
    let name = RepositoryName::new(name).unwrap();
    Watched::Repository(installation().account, installation().region, name)
}

fn ecs(service: &str) -> Watched {
    Watched::EcsService(installation().account, installation().region, EcsServiceName::new(service).unwrap())
}

#[tokio::test]
async fn events_find_the_services_that_watch_their_source() {
    let fixture = Fixture::new("watch").await;
    let ledger = &fixture.ledger;
    let mut shared = policy("cart", &["5xx"]);
    shared.from.ecr.repository = RepositoryName::new("shop/shop").unwrap();
    fixture.put_head(apply(&policy("shop", &["5xx", "p99", "5xx"]), 0)).await;
    fixture.put_head(apply(&shared, 0)).await;

    let found = async |watched: Watched| ledger.watchers(&watched).await.unwrap().whole().unwrap();
    assert_eq!(found(repository("shop/shop")).await, [name("cart"), name("shop")]);
    assert_eq!(found(repository("shop/other")).await, []);
    assert_eq!(found(ecs("cart-web")).await, [name("cart")]);
    let region = Region::new("us-east-1").unwrap();
    let service = EcsServiceName::new("cart-web").unwrap();
    assert_eq!(found(Watched::EcsService(installation().account, region, service)).await, []);
}

#[tokio::test]
async fn what_is_watched_follows_the_policy() {
    let fixture = Fixture::new("follow").await;
    let found = async |watched: Watched| fixture.ledger.watchers(&watched).await.unwrap().whole().unwrap();
    let first = policy("shop", &["5xx"]);
    fixture.put_head(apply(&first, 0)).await;

    let mut other = first.clone();
    names::to_ecs(&mut other).service = EcsServiceName::new("shop-blue").unwrap();
    other.from.ecr.repository = RepositoryName::new("shop/blue").unwrap();
    fixture.put_head(apply(&other, 1)).await;
    assert_eq!(found(ecs("shop-web")).await, []);
    assert_eq!(found(ecs("shop-blue")).await, [name("shop")]);
    assert_eq!(found(repository("shop/shop")).await, []);
    assert_eq!(found(repository("shop/blue")).await, [name("shop")]);

    // The ECS service moves with the target's region, and back.
    let mut abroad = other.clone();
    names::to_ecs(&mut abroad).region = Some(Region::new("us-east-1").unwrap());
    fixture.put_head(apply(&abroad, 2)).await;
    assert_eq!(found(ecs("shop-blue")).await, []);
    fixture.put_head(apply(&first, 3)).await;
    assert_eq!(found(ecs("shop-web")).await, [name("shop")]);
}

#[tokio::test]
async fn a_refused_policy_changes_nobodys_watches() {
    let fixture = Fixture::new("refused-watch").await;
    let found = async |watched: Watched| fixture.ledger.watchers(&watched).await.unwrap().whole().unwrap();
    fixture.put_head(apply(&policy("shop", &[]), 0)).await;
    let mut other = policy("shop", &[]);
    other.from.ecr.repository = RepositoryName::new("shop/other").unwrap();
    let stale = Commit { head: Some(apply(&other, 5)), ..Commit::default() };
    fixture.ledger.commit(stale).await.unwrap_err();
    assert_eq!(found(repository("shop/shop")).await, [name("shop")]);
    assert_eq!(found(repository("shop/other")).await, []);
}

#[tokio::test]
async fn a_policy_for_another_account_watches_its_service_there_and_its_repository_at_home() {
    let mut policy = policy("shop", &["5xx"]);
    let account = AccountId::new("444455556666").unwrap();
    names::to_ecs(&mut policy).account = Some(account.clone());
    let watched = watched_by(&policy, &installation());
    assert!(watched.contains(&repository("shop/shop")));
    let service = EcsServiceName::new("shop-web").unwrap();
    assert!(watched.contains(&Watched::EcsService(account, installation().region, service)));
}

#[tokio::test]
async fn a_wake_up_says_whether_more_is_expected_and_a_held_release_is_due_when_its_holder_leaves() {
    let fixture = Fixture::new("held").await;
    fixture.put_head(apply(&policy("shop", &[]), 0)).await;
    let soon = Release { wake: Some(Wake::soon(at(2))), ..release(1, "shop") };
    let held = Wake { held_until: Some(at(50)), ..Wake::new(at(3)) };
    let held = Release { wake: Some(held), ..release(2, "shop") };
    fixture.create(&[soon.clone(), held.clone()]).await;
    let due = async |secs| fixture.ledger.due(at(secs)).await.unwrap().whole().unwrap();
    assert_eq!(due(49).await, [Due { release: id(1), at: at(2), soon: true }]);
    assert_eq!(due(50).await[1], Due { release: id(2), at: at(50), soon: false });
    assert_eq!(fixture.ledger.release(&id(2)).await.unwrap(), Some(held));
}
