use tidegate_core::history::Actor;
use tidegate_core::ids::ServiceName;
use tidegate_core::ports::ObjectAt;
use tidegate_runtime::ways_in::manifests::{Manifested, ObjectWritten};
use tidegate_runtime::ways_in::{Taken, WayInError};
use tidegate_testkit::names;
use tidegate_wire::request::ReleaseRequest;

use crate::bench::{Bench, POLICY};

pub(crate) fn written(at: &ObjectAt, secs: i64) -> ObjectWritten {
    ObjectWritten {
        at: at.clone(),
        sequencer: format!("{secs:x}"),
        written_at: names::at(secs),
        by: Actor::Event { source: "aws.s3".into(), id: at.to_string() },
    }
}

async fn take(bench: &Bench, written: &ObjectWritten) -> Result<Manifested, WayInError> {
    bench.home().manifest_written(bench.sources(), written).await
}

async fn word(bench: &Bench, written: &ObjectWritten) -> &'static str {
    take(bench, written).await.unwrap().word()
}

#[tokio::test]
async fn a_manifest_releases_what_it_names_once() {
    let bench = Bench::new().await;
    let text = r#"{"service":"checkout","tag":"main-3","commit":"4f1c2d3","by":"jenkins"}"#;
    let at = bench.bucket.put("checkout/release.json", text, None);
    assert_eq!(word(&bench, &written(&at, 1)).await, "created");
    let release = &bench.releases()[0];
    assert_eq!((&release.image, release.provenance.commit.as_deref()), (&names::image(3), Some("4f1c2d3")));
    let id = release.id.clone();
    bench.end(&id, tidegate_core::release::Outcome::Promoted).await;
    assert_eq!(word(&bench, &written(&at, 1)).await, "handled before", "the same event again");
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn a_manifest_that_was_overwritten_is_not_followed_with_versions_and_without() {
    for versions in [None, Some(["v1", "v2"])] {
        let bench = Bench::new().await;
        let put = |tag: &str, index: usize| {
            let text = format!(r#"{{"service":"checkout","tag":"{tag}"}}"#);
            bench.bucket.put("checkout/release.json", &text, versions.map(|versions| versions[index]))
        };
        let (first, second) = (put("main-2", 0), put("main-3", 1));
        bench.later(10);
        assert_eq!(word(&bench, &written(&second, 2)).await, "created");
        assert_eq!(word(&bench, &written(&first, 1)).await, "overtaken");
        assert_eq!(bench.releases().len(), 1);
        assert_eq!(bench.releases()[0].image.digest, names::digest(3));
    }
}

#[tokio::test]
async fn of_two_manifests_the_older_ones_late_event_changes_nothing() {
    let bench = Bench::new().await;
    bench.later(10);
    let first = bench.bucket.put("checkout/2.json", r#"{"service":"checkout","tag":"main-2"}"#, None);
    let second = bench.bucket.put("checkout/3.json", r#"{"service":"checkout","tag":"main-3"}"#, None);
    assert_eq!(word(&bench, &written(&second, 2)).await, "created");
    assert_eq!(word(&bench, &written(&first, 1)).await, "refused");
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn a_clock_that_goes_before_ours_does_not_shut_out_what_comes_after() {
    let bench = Bench::new().await;
    let first = bench.bucket.put("checkout/2.json", r#"{"service":"checkout","tag":"main-2"}"#, None);
    let second = bench.bucket.put("checkout/3.json", r#"{"service":"checkout","tag":"main-3"}"#, None);
    assert_eq!(word(&bench, &written(&first, 1_000_000)).await, "created");
    bench.later(10);
    assert_eq!(word(&bench, &written(&second, 9)).await, "created");
}

#[tokio::test]
async fn objects_elsewhere_are_not_even_read() {
    let bench = Bench::new().await;
    let text = r#"{"service":"checkout","tag":"main-3"}"#;
    for at in [
        bench.bucket.put("payment/release.json", text, None),
        bench.bucket.put("checkout/folder/", "", None),
        ObjectAt { bucket: "other".into(), key: "checkout/release.json".into(), ..ObjectAt::default() },
    ] {
        assert_eq!(word(&bench, &written(&at, 1)).await, "not watched");
    }
    assert_eq!(*bench.bucket.reads.lock().unwrap(), 0);
}

#[tokio::test]
async fn what_nobody_can_read_is_an_error_and_what_is_not_allowed_is_recorded() {
    let bench = Bench::new().await;
    let at = bench.bucket.put("checkout/bad.json", r#"{"service":"checkout","tags":"main-3"}"#, None);
    let error = take(&bench, &written(&at, 1)).await.unwrap_err().to_string();
    assert!(
        error.contains("s3://releases/checkout/bad.json") && error.contains("unknown field `tags`"),
        "{error}"
    );
    let at = bench.bucket.put("checkout/none.json", r#"{"service":"nobody","tag":"v1"}"#, None);
    let error = take(&bench, &written(&at, 2)).await.unwrap_err().to_string();
    assert!(error.contains("there is no service nobody"), "{error}");

    // Another service, whose policy takes no manifests from here.
    let payment = POLICY
        .replace("service: checkout\n", "service: payment\n")
        .replace("bucket: releases", "bucket: elsewhere")
        .replace("cluster: prod", "cluster: payments");
    let payment = tidegate_core::policy::parse("payment.yaml", &payment).unwrap();
    bench.home().apply(&payment, &Actor::Person { name: "tester".into() }).await.unwrap();
    let at = bench.bucket.put("checkout/forged.json", r#"{"service":"payment","tag":"main-3"}"#, None);
    assert_eq!(word(&bench, &written(&at, 3)).await, "refused");
    assert!(bench.releases().is_empty());
    let told = bench
        .home()
        .ledger
        .service_history(&ServiceName::new("payment").unwrap(), 1)
        .await
        .unwrap()
        .whole()
        .unwrap();
    assert!(told[0].why.contains("takes no manifests from s3://releases/checkout/forged.json"), "{told:?}");
}

#[tokio::test]
async fn a_deleted_manifest_is_no_error() {
    let bench = Bench::new().await;
    let at = ObjectAt { bucket: "releases".into(), key: "checkout/gone.json".into(), ..ObjectAt::default() };
    assert_eq!(word(&bench, &written(&at, 1)).await, "overtaken");
}

async fn request(bench: &Bench, text: &str, secs: i64, event: &str) -> Taken {
    let request = ReleaseRequest::from_manifest(text.as_bytes()).unwrap();
    let by = Actor::Event { source: "shop.ci".into(), id: event.into() };
    bench.home().requested(bench.world.images.as_ref(), &request, names::at(secs), &by, event).await.unwrap()
}

#[tokio::test]
async fn a_request_is_followed_when_the_policy_says_so() {
    let bench = Bench::new().await;
    let digest = format!(r#"{{"service":"checkout","digest":"{}","delivery":"7"}}"#, names::digest(3));
    assert_eq!(request(&bench, &digest, 0, "e-1").await.word(), "created");
    let id = bench.releases()[0].id.clone();
    bench.end(&id, tidegate_core::release::Outcome::Promoted).await;
    assert_eq!(
        request(&bench, &digest, 0, "e-2").await.word(),
        "handled before",
        "the sender's id counts, not the event's"
    );
    let closed = Bench::with(&POLICY.replace("requests: true", "requests: false")).await;
    assert_eq!(request(&closed, &digest, 0, "e-1").await.word(), "refused");
    assert!(closed.told()[0].why.contains("from.requests"));
    assert!(closed.releases().is_empty());
}
