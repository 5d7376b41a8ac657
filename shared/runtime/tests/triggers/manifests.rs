use tidegate_core::actor::Actor;
use tidegate_core::ids::ServiceName;
use tidegate_core::ports::ObjectAt;
use tidegate_runtime::triggers::manifests::{Manifested, ObjectWritten};
use tidegate_runtime::triggers::{TriggerError, TriggerResult};
use tidegate_testkit::names;
use tidegate_wire::request::RequestDocument;

use crate::bench::{Bench, POLICY};

pub(crate) fn written(at: &ObjectAt, secs: i64) -> ObjectWritten {
    ObjectWritten {
        at: at.clone(),
        sequencer: format!("{secs:x}"),
        by: Actor::Event { source: "aws.s3".into(), id: at.to_string() },
    }
}

async fn take(bench: &Bench, written: &ObjectWritten) -> Result<Manifested, TriggerError> {
    bench.installation().manifest_written(bench.sources(), written).await
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
    assert_eq!((&release.change, release.provenance.commit.as_deref()), (&names::change(3), Some("4f1c2d3")));
    let id = release.id.clone();
    bench.end(&id, tidegate_core::outcome::Outcome::Promoted).await;
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
        assert_eq!(names::only(&bench.releases()[0].change).digest, names::digest(3));
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
    bench.installation().apply(&payment, &Actor::Person { name: "tester".into() }).await.unwrap();
    let at = bench.bucket.put("checkout/forged.json", r#"{"service":"payment","tag":"main-3"}"#, None);
    assert_eq!(word(&bench, &written(&at, 3)).await, "refused");
    assert!(bench.releases().is_empty());
    let told = bench
        .installation()
        .ledger
        .service_history(&ServiceName::new("payment").unwrap(), 1)
        .await
        .unwrap()
        .whole()
        .unwrap();
    assert!(
        told[0].event.why().contains("takes no manifests from s3://releases/checkout/forged.json"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_deleted_manifest_is_no_error() {
    let bench = Bench::new().await;
    let at = ObjectAt { bucket: "releases".into(), key: "checkout/gone.json".into(), ..ObjectAt::default() };
    assert_eq!(word(&bench, &written(&at, 1)).await, "overtaken");
}

async fn request(bench: &Bench, text: &str, event: &str) -> TriggerResult {
    let request = RequestDocument::from_manifest(text.as_bytes()).unwrap();
    let by = Actor::Event { source: "shop.ci".into(), id: event.into() };
    bench.installation().requested(bench.context.images.as_ref(), &request, &by, event).await.unwrap()
}

#[tokio::test]
async fn a_request_is_followed_when_the_policy_says_so() {
    let bench = Bench::new().await;
    let digest = format!(r#"{{"service":"checkout","digest":"{}","delivery":"7"}}"#, names::digest(3));
    assert_eq!(request(&bench, &digest, "e-1").await.word(), "created");
    let id = bench.releases()[0].id.clone();
    bench.end(&id, tidegate_core::outcome::Outcome::Promoted).await;
    assert_eq!(
        request(&bench, &digest, "e-2").await.word(),
        "handled before",
        "the sender's id counts, not the event's"
    );
    let closed =
        Bench::with(&POLICY.replace("requests: { sources: [shop.ci, x, y] }", "requests: false")).await;
    let TriggerResult::Refused(refusal) = request(&closed, &digest, "e-1").await else {
        panic!("it is closed")
    };
    assert!(refusal.why.contains("from.requests"), "{}", refusal.why);
    // A service that does not open the way hears nothing of those who try it.
    assert!(closed.told().is_empty() && closed.releases().is_empty());
}

#[tokio::test]
async fn only_a_sender_the_policy_names_asks_and_only_for_tags_it_allows() {
    let open =
        POLICY.replace("{ repository: shop/checkout }", "{ repository: shop/checkout, tags: [\"main-*\"] }");
    let asked = r#"{"service":"checkout","tag":"main-3","by":"alice"}"#;
    for (policy, expected) in [
        (
            open.replace("sources: [shop.ci, x, y]", "sources: [team.ci]"),
            "shop.ci asked, and the policy allows team.ci",
        ),
        (
            open.replace("sources: [shop.ci, x, y]", "sources: [shop.ci], by: [bob]"),
            "the request is by alice",
        ),
        (
            open.replace("main-*", "v*"),
            "the image's tag is main-3, and the policy allows v* (from.requests.tags)",
        ),
    ] {
        let bench = Bench::with(&policy).await;
        assert_eq!(request(&bench, asked, "e-1").await.word(), "refused");
        assert!(bench.told().last().unwrap().event.why().contains(expected), "{:?}", bench.told());
        assert!(bench.releases().is_empty());
    }
    let bench = Bench::with(&open).await;
    assert_eq!(request(&bench, asked, "e-1").await.word(), "created");
}

#[tokio::test]
async fn an_image_that_is_asked_for_by_digest_needs_an_allowed_tag_too() {
    let asked = format!(r#"{{"service":"checkout","digest":"{}"}}"#, names::digest(3));
    for (tags, word) in [("main-*", "created"), ("v*", "refused")] {
        let policy = POLICY.replace(
            "{ repository: shop/checkout }",
            &format!("{{ repository: shop/checkout, tags: [\"{tags}\"] }}"),
        );
        let bench = Bench::with(&policy).await;
        assert_eq!(request(&bench, &asked, "e-1").await.word(), word, "{tags}");
    }
}

#[tokio::test]
async fn a_flood_of_refused_requests_is_one_line_and_does_not_touch_the_services_row() {
    let bench = Bench::with(&POLICY.replace("sources: [shop.ci, x, y]", "sources: [team.ci]")).await;
    let version =
        async || bench.installation().ledger.service(&names::service()).await.unwrap().unwrap().version;
    let before = version().await;
    for event in 0..333 {
        let asked = r#"{"service":"checkout","tag":"main-3"}"#;
        assert_eq!(request(&bench, asked, &format!("e-{event}")).await.word(), "refused");
    }
    // The same delivery again is the same refusal.
    request(&bench, r#"{"service":"checkout","tag":"main-3"}"#, "e-1").await;
    let history =
        bench.installation().ledger.service_history(&names::service(), 1).await.unwrap().whole().unwrap();
    let told: Vec<String> = history.iter().map(|entry| entry.event.to_string()).collect();
    assert!(told[0].starts_with("did not release main-3 (333 of this kind since"), "{told:?}");
    assert!(told[1].starts_with("policy"), "what happened to the service keeps its place: {told:?}");
    assert_eq!(version().await, before);
}

/// A signature has the tag of the image it signs, and comes right after it.
#[tokio::test]
async fn what_is_no_image_is_refused_and_throws_nothing_out() {
    use tidegate_core::container_image::MediaTypes;
    use tidegate_core::ids::Tag;
    use tidegate_runtime::arrivals::Pushed;
    let policy =
        POLICY.replace("{ repository: shop/checkout }", "{ repository: shop/checkout, tags: [\"*\"] }");
    let bench = Bench::with(&format!("{policy}on_newer: replace\n")).await;
    let config = Some("application/vnd.oci.image.config.v1+json");
    let cache = Some("application/vnd.buildkit.cacheconfig.v0");
    let pushed = |build: u32, tag: &str, artifact: Option<&str>| Pushed {
        account: names::account(),
        region: names::region(),
        repository: names::repository(),
        tag: Tag::new(tag).unwrap(),
        digest: names::digest(build),
        tagged_at: bench.now(),
        media: MediaTypes {
            manifest: Some("application/vnd.oci.image.manifest.v1+json".into()),
            artifact: artifact.map(str::to_owned),
        },
        by: Actor::Event { source: "aws.ecr".into(), id: tag.into() },
        delivery: Some(tag.into()),
    };
    let images = bench.context.images.as_ref();
    bench.installation().image_pushed(images, &pushed(5, "main-5", config)).await.unwrap();
    assert_eq!(bench.releases().len(), 1);
    let signature = format!("sha256-{}.sig", "ab".repeat(32));
    for (build, tag, artifact) in [(6, signature.as_str(), config), (7, "main-cache", cache)] {
        let outcomes =
            bench.installation().image_pushed(images, &pushed(build, tag, artifact)).await.unwrap();
        assert!(outcomes.is_empty(), "{tag}: {outcomes:?}");
    }
    // The event need not say; ECR does.
    let media = MediaTypes { manifest: None, artifact: cache.map(str::to_owned) };
    let now = bench.now();
    bench.universe.state().aws.tag_silently(
        Tag::new("other-cache").unwrap(),
        names::digest(8),
        Some(media),
        now,
    );
    let silent = Pushed { media: MediaTypes::default(), ..pushed(8, "other-cache", None) };
    assert!(bench.installation().image_pushed(images, &silent).await.unwrap().is_empty());
    let by_name = request(&bench, r#"{"service":"checkout","tag":"other-cache"}"#, "e-9").await;
    assert!(matches!(by_name, TriggerResult::Refused(_)), "{by_name:?}");
    assert_eq!(bench.releases().len(), 1);
    assert!(bench.releases()[0].request.is_none(), "the image that is signed is not thrown out");
    assert!(
        bench.told().iter().any(|entry| entry.event.to_string().contains("3 of this kind")),
        "{:?}",
        bench.told()
    );
}
