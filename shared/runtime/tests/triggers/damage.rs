//! A row that cannot be read, damaged or of a newer schema, stops only itself: everybody else is served first, then it is told by name.

use tidegate_core::actor::Actor;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::observation::Hint;
use tidegate_core::policy::parse;
use tidegate_core::ports::Watched;
use tidegate_core::release::Phase;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_runtime::arrivals::Pushed;
use tidegate_runtime::sentinel::SentinelError;
use tidegate_testkit::fakes::Row;
use tidegate_testkit::names;

use crate::bench::Bench;
use crate::builds::{changed, made};
use crate::manifests::written;

const CODES: [&str; 2] = ["CorruptRow", "NewerSchema"];

/// A second service, before `checkout` in every list, that shares its repository, alarm, build project, bucket and pipeline.
fn other() -> ServiceName {
    ServiceName::new("aside").unwrap()
}

const ALL_WAYS: &str = r#"
service: checkout
from:
  ecr: { repository: shop/checkout, tags: ["main-*"] }
  codebuild: { project: checkout }
  s3: { bucket: releases }
  pipeline: { names: [checkout] }
  requests: { sources: [shop.ci] }
to: { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 1m }, bake: 1m }
rollback: { alarms: [checkout-5xx] }
"#;

async fn two_services() -> Bench {
    let bench = Bench::with(ALL_WAYS).await;
    let aside = ALL_WAYS
        .replace("service: checkout\nfrom", "service: aside\nfrom")
        .replace("service: checkout, container", "service: aside, container");
    let aside = parse("aside.yaml", &aside).unwrap();
    assert_eq!(aside.service, other());
    bench.installation().apply(&aside, &Actor::Person { name: "tester".into() }).await.unwrap();
    bench
}

fn damage(bench: &Bench, row: Row, code: &'static str) {
    bench.universe.state().rows.damage(row, code);
}

fn pushed(bench: &Bench, build: u32) -> Pushed {
    Pushed {
        account: names::account(),
        region: names::region(),
        repository: names::repository(),
        tag: names::tag(build),
        digest: names::digest(build),
        tagged_at: bench.now(),
        media: Default::default(),
        by: Actor::Event { source: "aws.ecr".into(), id: format!("event-{build}") },
        delivery: Some(format!("event-{build}")),
    }
}

fn of_checkout(bench: &Bench) -> Vec<ReleaseId> {
    let releases = bench.releases().into_iter();
    releases.filter(|release| release.service == names::service()).map(|release| release.id).collect()
}

#[tokio::test]
async fn a_push_reaches_every_service_but_the_damaged_one() {
    for code in CODES {
        let bench = two_services().await;
        damage(&bench, Row::Service(other()), code);
        let error = bench
            .installation()
            .image_pushed(bench.context.images.as_ref(), &pushed(&bench, 2))
            .await
            .unwrap_err();
        assert_eq!(of_checkout(&bench).len(), 1, "{code}");
        assert!(error.to_string().contains("service aside: ") && error.to_string().contains(code), "{error}");
        // Delivered again once the row is fixed, it reaches the other, and nobody twice.
        bench.universe.state().rows.fix(&Row::Service(other()));
        bench.installation().image_pushed(bench.context.images.as_ref(), &pushed(&bench, 2)).await.unwrap();
        assert_eq!((of_checkout(&bench).len(), bench.releases().len()), (1, 2));
    }
}

#[tokio::test]
async fn a_push_passes_a_damaged_watch_row_and_the_one_that_has_it_is_still_found() {
    let bench = two_services().await;
    damage(&bench, Row::Watch(other()), "NewerSchema");
    let error = bench
        .installation()
        .image_pushed(bench.context.images.as_ref(), &pushed(&bench, 2))
        .await
        .unwrap_err();
    assert_eq!(bench.releases().len(), 2);
    assert_eq!(error.failed.len(), 1, "{error}");
    assert!(error.to_string().starts_with("the watch row of service aside cannot be read"), "{error}");
}

#[tokio::test]
async fn what_is_pushed_behind_a_release_that_cannot_be_read_waits_for_it() {
    let bench = two_services().await;
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed(&bench, 2)).await.unwrap();
    let active = of_checkout(&bench)[0].clone();
    bench.context.drive(&active, &[], bench.now()).await.unwrap();
    damage(&bench, Row::Release(active.clone()), "CorruptRow");
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed(&bench, 3)).await.unwrap();
    let head = bench.universe.state().rows.head(&names::service()).unwrap().clone();
    assert_eq!(head.active.as_ref(), Some(&active));
    // Nor does one that waits and cannot be read keep the next one out.
    let waiting = head.waiting.unwrap();
    damage(&bench, Row::Release(waiting.clone()), "CorruptRow");
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed(&bench, 4)).await.unwrap();
    let head = bench.universe.state().rows.head(&names::service()).unwrap().clone();
    assert!(head.waiting.is_some_and(|next| next != waiting));
}

#[tokio::test]
async fn a_build_and_a_manifest_reach_the_service_that_can_be_read() {
    let bench = two_services().await;
    damage(&bench, Row::Service(other()), "CorruptRow");
    bench.builds.add(made(2, names::at(0)));
    let change = changed(2, "SUCCEEDED");
    let error = bench.installation().build_changed(bench.sources(), &change).await.unwrap_err();
    assert!(error.to_string().starts_with("service aside: "), "{error}");
    assert_eq!(of_checkout(&bench).len(), 1);

    let failed = changed(3, "FAILED");
    let error = bench.installation().build_changed(bench.sources(), &failed).await.unwrap_err();
    assert!(error.to_string().starts_with("service aside: "), "{error}");
    assert_eq!(
        bench.told().last().unwrap().event.to_string(),
        format!("build {} ended as FAILED", failed.build)
    );

    bench.later(100);
    // A manifest names its service; the other's row is no matter of it.
    let object = bench.bucket.put("checkout.json", r#"{"service":"checkout","tag":"main-4"}"#, None);
    bench.installation().manifest_written(bench.sources(), &written(&object, 20)).await.unwrap();
    assert_eq!(of_checkout(&bench).len(), 2);
    let object = bench.bucket.put("aside.json", r#"{"service":"aside","tag":"main-4"}"#, None);
    let error =
        bench.installation().manifest_written(bench.sources(), &written(&object, 30)).await.unwrap_err();
    assert!(error.to_string().contains("CorruptRow"), "{error}");
}

fn red() -> (Watched, Hint) {
    let name = names::alarm();
    let since = Some(names::at(100_000));
    let reason = "too many errors".into();
    let seen = AlarmSeen { state: AlarmState::Alarm, reason, since, silenced: None, unproven: None };
    (Watched::Alarm(names::account(), names::region(), name.clone()), Hint::Alarm { name, seen })
}

/// Drives until the candidate bakes with production traffic on it.
async fn bake(bench: &Bench) -> ReleaseId {
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed(bench, 2)).await.unwrap();
    let id = of_checkout(bench)[0].clone();
    for _ in 0..40 {
        let until = bench.now().saturating_add(jiff::SignedDuration::from_secs(20)).unwrap();
        bench.context.drive(&id, &[], until).await.unwrap();
        if bench.universe.state().aws.weights()[1] > 0 {
            return id;
        }
        bench.later(15);
    }
    panic!("no traffic after ten minutes: {}", bench.universe.state().trace.join("\n"));
}

#[tokio::test]
async fn an_alarm_turns_a_release_back_whatever_row_beside_it_is_damaged() {
    for (row, code) in [
        (Row::Watch(names::service()), "NewerSchema"),
        (Row::Watch(names::service()), "CorruptRow"),
        // Even its own service's row: a rollback needs nothing.
        (Row::Service(names::service()), "CorruptRow"),
        (Row::Service(names::service()), "NewerSchema"),
    ] {
        let bench = two_services().await;
        let id = bake(&bench).await;
        damage(&bench, row.clone(), code);
        let (watched, hint) = red();
        let until = bench.now().saturating_add(jiff::SignedDuration::from_secs(57)).unwrap();
        let error = bench.context.noticed(&watched, hint, until).await.unwrap_err();
        let release = bench.universe.state().rows.release(&id).unwrap().clone();
        let back =
            matches!(release.phase, Phase::RollingBack(_) | Phase::Settling { .. } | Phase::Ended { .. });
        assert!(back, "{row:?}: {}", release.summary());
        assert_eq!(bench.universe.state().aws.weights(), [100, 0], "{row:?}");
        match row {
            Row::Watch(_) => assert!(matches!(error, SentinelError::Damaged(_)), "{error}"),
            Row::Service(_) | Row::Release(_) | Row::Wake(_) | Row::Entry(..) | Row::ServiceEntry(..) => {
                assert!(error.to_string().contains("row of service"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn an_alarm_has_nothing_to_do_with_services_that_release_nothing() {
    for row in [Row::Watch(other()), Row::Service(other())] {
        let bench = two_services().await;
        let id = bake(&bench).await;
        damage(&bench, row, "CorruptRow");
        let (watched, hint) = red();
        let until = bench.now().saturating_add(jiff::SignedDuration::from_secs(57)).unwrap();
        let calls = bench.universe.state().calls;
        assert!(bench.context.noticed(&watched, hint, until).await.unwrap() > 0);
        assert!(bench.universe.state().calls > calls);
        assert_eq!(bench.universe.state().aws.weights(), [100, 0]);
        assert!(bench.universe.state().rows.release(&id).unwrap().plan.is_some());
    }
}

#[tokio::test]
async fn a_release_whose_service_cannot_be_read_settles_once_it_can_and_tells_its_end_once() {
    let bench = two_services().await;
    let id = bake(&bench).await;
    damage(&bench, Row::Service(names::service()), "CorruptRow");
    let (watched, hint) = red();
    for _ in 0..10 {
        let until = bench.now().saturating_add(jiff::SignedDuration::from_secs(57)).unwrap();
        bench.context.noticed(&watched, hint.clone(), until).await.unwrap_err();
        bench.later(15);
    }
    let entries = bench.universe.state().rows.history(&id).len();
    bench.later(60);
    let until = bench.now().saturating_add(jiff::SignedDuration::from_secs(57)).unwrap();
    bench.context.drive(&id, &[], until).await.unwrap_err();
    assert_eq!(bench.universe.state().rows.history(&id).len(), entries, "nothing new happened");
    assert!(!bench.universe.state().rows.release(&id).unwrap().is_over());
    bench.universe.state().rows.fix(&Row::Service(names::service()));
    let until = bench.now().saturating_add(jiff::SignedDuration::from_secs(57)).unwrap();
    bench.context.drive(&id, &[], until).await.unwrap();
    let release = bench.universe.state().rows.release(&id).unwrap().clone();
    assert_eq!(release.outcome().map(|outcome| outcome.word()), Some("rolled back"), "{}", release.summary());
    let head = bench.universe.state().rows.head(&names::service()).unwrap().clone();
    assert!(head.active.is_none() && head.quarantine.contains_key(&names::digest(2)));
}

#[tokio::test]
async fn the_clock_serves_everybody_else_and_names_what_is_damaged() {
    for code in CODES {
        let bench = two_services().await;
        damage(&bench, Row::Service(other()), code);
        bench
            .installation()
            .image_pushed(bench.context.images.as_ref(), &pushed(&bench, 2))
            .await
            .unwrap_err();
        let id = of_checkout(&bench)[0].clone();
        damage(&bench, Row::Wake(id.clone()), code);
        bench.universe.state().queue.clear();
        // Long enough for a push and a build whose events are lost.
        let now = bench.now();
        bench.universe.state().aws.push(7, tidegate_testkit::fakes::Quality::Good, now);
        bench.later(200);
        let round = bench.installation().round(bench.context.images.as_ref(), bench.pace()).await;
        assert_eq!((round.woken, round.found), (1, 1), "{round:?}");
        assert_eq!(round.failed.len(), 2, "{round:?}");
        assert!(
            round.failed[0].starts_with(&format!("the wake-up of release {id} cannot be read")),
            "{round:?}"
        );
        assert!(
            round.failed.iter().any(|told| told.starts_with("service aside cannot be read")),
            "{round:?}"
        );
        bench.builds.add(made(5, bench.now()));
        bench.later(200);
        let looked = bench.installation().find_lost_builds(bench.sources(), bench.pace()).await.unwrap();
        assert_eq!((looked.done, looked.failed.len()), (1, 1), "{looked:?}");
        let answered = bench.installation().answer_pipelines(&bench.pipelines, bench.pace()).await.unwrap();
        assert_eq!(answered.failed.len(), 1, "{answered:?}");
    }
}

#[tokio::test]
async fn a_lost_push_is_not_released_while_a_release_made_since_cannot_be_read() {
    let bench = two_services().await;
    let now = bench.now();
    bench.universe.state().aws.push(6, tidegate_testkit::fakes::Quality::Good, now);
    bench.later(10);
    let later = bench.now();
    bench.universe.state().aws.push(7, tidegate_testkit::fakes::Quality::Good, later);
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed(&bench, 7)).await.unwrap();
    let since = of_checkout(&bench)[0].clone();
    assert!(since.made_at().unwrap() > now);
    damage(&bench, Row::Release(since.clone()), "CorruptRow");
    bench.later(200);
    let releases = bench.releases().len();
    let round = bench.installation().round(bench.context.images.as_ref(), bench.pace()).await;
    assert_eq!(
        (bench.releases().len(), round.found),
        (releases, 0),
        "it may have been for that push: {round:?}"
    );
}
