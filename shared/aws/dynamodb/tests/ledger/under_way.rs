//! Events find the releases under way that they concern, from the change that starts one to the one that ends it.

use tidegate_core::commit::{Commit, ReleaseWrite};
use tidegate_core::ids::{AlarmName, EcsServiceName, Region};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::ports::{Ledger, UnderWay, Watched};
use tidegate_core::release::{Phase, Release};
use tidegate_testkit::build::Fixture as Built;
use tidegate_testkit::names;

use crate::fixture::*;

fn write(before: &Release, after: &Release) -> Commit {
    let entry = Some(entry(after.version, "changed"));
    writes([ReleaseWrite { before: Some(Box::new(before.clone())), release: after.clone(), entry }])
}

/// The same release as it starts, with its plan, planned anew, and ended; each a version later.
struct Course {
    queued: Release,
    preparing: Release,
    planned: Release,
    ended: Release,
}

/// Judged by these alarms.
fn course(n: usize, alarms: &[&str]) -> Course {
    let of = |built: Built, version| Release { id: id(n), version, ..built.release };
    let queued = of(Built::queued(), 0);
    let preparing = of(Built::preparing(), 1);
    let mut planned = of(Built::registering(), 2);
    let alarms = alarms.iter().map(|alarm| AlarmName::new(*alarm).unwrap()).collect();
    planned.plan.as_mut().unwrap().alarms = alarms;
    let cause = Cause::Deployment { reason: "circuit breaker".into() };
    let phase = Phase::Ended { outcome: Outcome::RolledBack { cause }, at: at(9), restored_at: None };
    let ended = Release { version: 3, wake: None, phase, ..planned.clone() };
    Course { queued, preparing, planned, ended }
}

fn alarm(region: &str, name: &str) -> Watched {
    Watched::Alarm(installation().account, Region::new(region).unwrap(), AlarmName::new(name).unwrap())
}

fn ecs(service: &str) -> Watched {
    Watched::EcsService(installation().account, installation().region, EcsServiceName::new(service).unwrap())
}

async fn found(fixture: &Fixture, watched: Watched) -> Vec<UnderWay> {
    fixture.ledger.under_way(&watched).await.unwrap().whole().unwrap()
}

fn under_way(n: usize) -> UnderWay {
    UnderWay { release: id(n), of: Some((name("checkout"), Built::queued().release.target)) }
}

#[tokio::test]
async fn a_release_is_found_by_its_ecs_service_from_its_start_and_by_its_alarms_from_its_plan_until_it_ends()
{
    let fixture = Fixture::new("under-way").await;
    let Course { queued, preparing, planned, ended } = course(1, &["5xx", "p99", "5xx"]);
    fixture.create(std::slice::from_ref(&queued)).await;
    assert_eq!(found(&fixture, ecs("checkout")).await, [], "it waits");
    fixture.ledger.commit(write(&queued, &preparing)).await.unwrap();
    assert_eq!(found(&fixture, ecs("checkout")).await, [under_way(1)]);
    assert_eq!(found(&fixture, alarm("eu-central-1", "5xx")).await, []);
    fixture.ledger.commit(write(&preparing, &planned)).await.unwrap();
    for watched in [ecs("checkout"), alarm("eu-central-1", "5xx"), alarm("eu-central-1", "p99")] {
        assert_eq!(found(&fixture, watched).await, [under_way(1)]);
    }
    assert_eq!(found(&fixture, alarm("us-east-1", "5xx")).await, []);
    fixture.ledger.commit(write(&planned, &ended)).await.unwrap();
    for watched in [ecs("checkout"), alarm("eu-central-1", "5xx"), alarm("eu-central-1", "p99")] {
        assert_eq!(found(&fixture, watched).await, []);
    }
}

#[tokio::test]
async fn no_policy_takes_a_release_under_way_from_its_alarms() {
    let fixture = Fixture::new("under-way-policy").await;
    let Course { queued, preparing, planned, .. } = course(1, &["5xx"]);
    let service = policy("checkout", &["5xx"]);
    fixture.put_head(apply(&service, 0)).await;
    fixture.create(std::slice::from_ref(&queued)).await;
    fixture.ledger.commit(write(&queued, &preparing)).await.unwrap();
    fixture.ledger.commit(write(&preparing, &planned)).await.unwrap();
    let mut other = policy("checkout", &[]);
    names::to_ecs(&mut other).service = EcsServiceName::new("elsewhere").unwrap();
    // Whatever the service's row says of what is open.
    fixture.put_head(apply(&other, 1)).await;
    fixture.put_head(apply(&service, 2)).await;
    fixture.put_head(apply(&other, 3)).await;
    for watched in [ecs("checkout"), alarm("eu-central-1", "5xx")] {
        assert_eq!(found(&fixture, watched).await, [under_way(1)]);
    }
    // Nor is a release a service that releases from there.
    assert_eq!(fixture.ledger.watchers(&ecs("checkout")).await.unwrap().whole().unwrap(), []);
}

#[tokio::test]
async fn a_plan_made_anew_with_other_alarms_leaves_the_old_ones() {
    let fixture = Fixture::new("under-way-anew").await;
    let Course { queued, preparing, planned, .. } = course(1, &["5xx"]);
    fixture.create(std::slice::from_ref(&queued)).await;
    fixture.ledger.commit(write(&queued, &preparing)).await.unwrap();
    fixture.ledger.commit(write(&preparing, &planned)).await.unwrap();
    let again = Release { version: 3, ..preparing.clone() };
    fixture.ledger.commit(write(&planned, &again)).await.unwrap();
    assert_eq!(found(&fixture, alarm("eu-central-1", "5xx")).await, []);
    assert_eq!(found(&fixture, ecs("checkout")).await, [under_way(1)]);
    let mut anew = Release { version: 4, ..planned.clone() };
    let plan = anew.plan.as_mut().unwrap();
    plan.made_at += jiff::SignedDuration::from_secs(9);
    plan.alarms = vec![AlarmName::new("p99").unwrap()];
    fixture.ledger.commit(write(&again, &anew)).await.unwrap();
    assert_eq!(found(&fixture, alarm("eu-central-1", "5xx")).await, []);
    assert_eq!(found(&fixture, alarm("eu-central-1", "p99")).await, [under_way(1)]);
}

#[tokio::test]
async fn a_change_that_is_refused_moves_no_watch() {
    let fixture = Fixture::new("under-way-refused").await;
    let Course { queued, preparing, planned, ended } = course(1, &["5xx"]);
    fixture.create(std::slice::from_ref(&queued)).await;
    fixture.ledger.commit(write(&queued, &preparing)).await.unwrap();
    fixture.ledger.commit(write(&preparing, &planned)).await.unwrap();
    let stale = Release { version: 1, ..planned.clone() };
    let late = Release { version: 2, ..ended };
    fixture.ledger.commit(write(&stale, &late)).await.unwrap_err();
    assert_eq!(found(&fixture, alarm("eu-central-1", "5xx")).await, [under_way(1)]);
}

#[tokio::test]
async fn a_damaged_row_still_finds_its_release_and_is_told() {
    let fixture = Fixture::new("under-way-damaged").await;
    for n in [1, 2] {
        let Course { queued, preparing, planned, .. } = course(n, &["5xx"]);
        fixture.create(std::slice::from_ref(&queued)).await;
        fixture.ledger.commit(write(&queued, &preparing)).await.unwrap();
        fixture.ledger.commit(write(&preparing, &planned)).await.unwrap();
    }
    let watched = alarm("eu-central-1", "5xx");
    let pk = format!("WATCH#alarm#{}#eu-central-1#5xx", installation().account);
    let sk = format!("RELEASE#{}", id(1));
    let text = |value: &str| aws_sdk_dynamodb::types::AttributeValue::S(value.to_owned());
    for (attribute, value) in [("owner", text("")), ("schema", text("x")), ("body", text("{}"))] {
        fixture.damage(&pk, &sk, attribute, value).await;
        let (found, damaged) = fixture.ledger.under_way(&watched).await.unwrap().split();
        assert_eq!(found, [UnderWay { release: id(1), of: None }, under_way(2)]);
        let name = format!(
            "the row by which events of alarm {} eu-central-1 5xx find release {}",
            installation().account,
            id(1)
        );
        assert_eq!(
            damaged.iter().map(|row| (&row.name, row.release.clone())).collect::<Vec<_>>(),
            [(&name, Some(id(1)))]
        );
    }
}

/// A policy takes 90 alarms; with them a release starts, is planned, and ends, each in one transaction.
#[tokio::test]
async fn a_release_with_as_many_alarms_as_a_policy_takes_starts_and_ends() {
    let fixture = Fixture::new("under-way-many").await;
    let names: Vec<String> = (0..90).map(|n| format!("alarm-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let service = policy("checkout", &names);
    fixture.put_head(apply(&service, 0)).await;
    let Course { queued, preparing, planned, ended } = course(1, &names);
    fixture.create(std::slice::from_ref(&queued)).await;
    let with_head = |commit: Commit, version| Commit { head: Some(apply(&service, version)), ..commit };
    fixture.ledger.commit(with_head(write(&queued, &preparing), 1)).await.unwrap();
    fixture.ledger.commit(with_head(write(&preparing, &planned), 2)).await.unwrap();
    assert_eq!(found(&fixture, alarm("eu-central-1", "alarm-89")).await, [under_way(1)]);
    fixture.ledger.commit(with_head(write(&planned, &ended), 3)).await.unwrap();
    assert_eq!(found(&fixture, alarm("eu-central-1", "alarm-89")).await, []);
}
