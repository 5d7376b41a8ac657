//! Pushes whose event was lost: the clock finds them by what their tags name.

use jiff::Timestamp;
use tidegate_core::actor::Actor;
use tidegate_core::container_image::MediaTypes;
use tidegate_core::ids::Tag;
use tidegate_core::outcome::Outcome;
use tidegate_runtime::arrivals::Pushed;
use tidegate_testkit::names;

use crate::bench::{Bench, POLICY};

async fn promoting() -> Bench {
    let bench = Bench::with(
        &POLICY.replace("{ repository: shop/checkout }", "{ repository: shop/checkout, tags: [\"prod-*\"] }"),
    )
    .await;
    round(&bench).await;
    bench
}

async fn round(bench: &Bench) -> u32 {
    let round = bench.installation().round(bench.context.images.as_ref(), bench.pace()).await;
    assert_eq!(round.failed, [""; 0]);
    round.found
}

#[tokio::test]
async fn the_looks_of_a_round_read_the_services_once() {
    let bench = Bench::with(POLICY).await;
    let pace = bench.pace();
    bench.installation().find_lost_pushes(bench.context.images.as_ref(), pace).await;
    let calls = bench.universe.state().calls;
    bench.installation().find_lost_builds(bench.sources(), pace).await.unwrap();
    bench.installation().answer_pipelines(&bench.pipelines, pace).await.unwrap();
    bench.installation().find_awaited(bench.context.images.as_ref(), pace).await.unwrap();
    // None of them concerns this policy.
    assert_eq!(bench.universe.state().calls, calls);
}

#[tokio::test]
async fn releases_are_read_when_a_push_may_have_been_lost_and_not_before() {
    let bench = promoting().await;
    let calls = async |secs| {
        bench.later(secs);
        let before = bench.universe.state().calls;
        let found =
            bench.installation().find_lost_pushes(bench.context.images.as_ref(), bench.pace()).await.done;
        (found, bench.universe.state().calls - before)
    };
    let (_, idle) = calls(60).await;
    tag(&bench, "prod-2", 2, None);
    event(&bench, "prod-2", 2).await;
    // The tag is new, and is written down; whether its event came is asked once, when that has had its time.
    let (_, noted) = calls(60).await;
    assert_eq!(noted, idle + 1);
    let (_, waiting) = calls(30).await;
    assert_eq!(waiting, idle);
    let (found, asked) = calls(120).await;
    assert_eq!((found, asked), (0, idle + 2), "one list, and that it is settled");
    let (_, after) = calls(60).await;
    assert_eq!(after, idle);
}

/// Tags an image without an event.
fn tag(bench: &Bench, tag: &str, build: u32, media: Option<MediaTypes>) {
    let now = bench.now();
    bench.universe.state().aws.tag_silently(Tag::new(tag).unwrap(), names::digest(build), media, now);
}

async fn event(bench: &Bench, tag: &str, build: u32) {
    event_of(bench, tag, build, bench.now()).await;
}

/// An event that says when the tag was put on the image.
async fn event_of(bench: &Bench, tag: &str, build: u32, tagged_at: Timestamp) {
    let pushed = Pushed {
        account: names::account(),
        region: names::region(),
        repository: names::repository(),
        tag: Tag::new(tag).unwrap(),
        digest: names::digest(build),
        tagged_at,
        media: MediaTypes::default(),
        by: Actor::Event { source: "aws.ecr".into(), id: tag.into() },
        delivery: Some(tag.into()),
    };
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed).await.unwrap();
}

async fn rounds(bench: &Bench, count: u32) -> u32 {
    let mut found = 0;
    for _ in 0..count {
        bench.later(60);
        found += round(bench).await;
    }
    found
}

#[tokio::test]
async fn an_image_that_is_promoted_by_a_tag_is_found_though_it_was_pushed_long_ago() {
    let bench = promoting().await;
    bench.later(3600);
    tag(&bench, "prod-2", 2, None);
    event(&bench, "prod-2", 2).await;
    let first = bench.releases()[0].id.clone();
    bench.end(&first, Outcome::Promoted).await;
    // The next one right after it, within the same minute.
    bench.later(5);
    tag(&bench, "prod-3", 3, None);
    assert_eq!(rounds(&bench, 2).await, 0, "its event may still come");
    assert_eq!(rounds(&bench, 2).await, 1);
    assert_eq!(rounds(&bench, 5).await, 0);
    let releases = bench.releases();
    assert_eq!(releases.len(), 2);
    assert_eq!(
        (
            &names::only(&releases[1].change).digest,
            names::only(&releases[1].change).tag.as_ref().unwrap().as_str()
        ),
        (&names::digest(3), "prod-3")
    );
}

#[tokio::test]
async fn a_tag_that_is_moved_back_to_an_older_image_is_found_too() {
    let bench = promoting().await;
    tag(&bench, "prod-live", 4, None);
    event(&bench, "prod-live", 4).await;
    let first = bench.releases()[0].id.clone();
    bench.end(&first, Outcome::Promoted).await;
    assert_eq!(rounds(&bench, 5).await, 0, "its event came");
    tag(&bench, "prod-live", 2, None);
    assert_eq!(rounds(&bench, 4).await, 1);
    assert_eq!(names::only(&bench.releases()[1].change).digest, names::digest(2));
}

#[tokio::test]
async fn what_a_person_ended_meanwhile_is_not_started_again() {
    let bench = promoting().await;
    tag(&bench, "prod-3", 3, None);
    event(&bench, "prod-3", 3).await;
    let id = bench.releases()[0].id.clone();
    bench.end(&id, Outcome::Cancelled { by: Actor::Person { name: "ana".into() }, why: "no".into() }).await;
    assert_eq!(rounds(&bench, 6).await, 0);
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn a_signature_or_an_unselected_tag_is_never_found() {
    let bench = promoting().await;
    let cache =
        MediaTypes { manifest: None, artifact: Some("application/vnd.buildkit.cacheconfig.v0".into()) };
    tag(&bench, "prod-cache", 9, Some(cache));
    tag(&bench, "build-9", 3, None);
    assert_eq!(rounds(&bench, 6).await, 0);
    assert!(bench.releases().is_empty());
}

/// A clock that goes before ours would else have shut the service for good.
#[tokio::test]
async fn an_event_of_the_future_shuts_nothing_out() {
    let bench = promoting().await;
    bench.later(3600);
    tag(&bench, "prod-2", 2, None);
    event_of(&bench, "prod-2", 2, "2099-01-01T00:00:00Z".parse().unwrap()).await;
    let first = bench.releases()[0].id.clone();
    bench.end(&first, Outcome::Promoted).await;
    bench.later(60);
    tag(&bench, "prod-3", 3, None);
    event(&bench, "prod-3", 3).await;
    assert_eq!(bench.releases().len(), 2);
}

#[tokio::test]
async fn the_late_event_of_an_older_tag_takes_nothing_back() {
    let bench = promoting().await;
    bench.later(3600);
    let early = bench.now();
    tag(&bench, "prod-4", 4, None);
    bench.later(60);
    tag(&bench, "prod-2", 2, None);
    event(&bench, "prod-2", 2).await;
    let first = bench.releases()[0].id.clone();
    bench.end(&first, Outcome::Promoted).await;
    // Of two promotions the older one's event comes last; its image is the newer one.
    event_of(&bench, "prod-4", 4, early).await;
    assert_eq!(bench.releases().len(), 1);
    assert!(
        bench.told().last().unwrap().event.why().contains("a newer image, tagged at"),
        "{:?}",
        bench.told()
    );
}
