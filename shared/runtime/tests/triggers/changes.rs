//! A policy that releases several containers: what each trigger changes, and what is never followed half.

use jiff::Timestamp;
use tidegate_core::actor::Actor;
use tidegate_core::change::Change;
use tidegate_core::container_image::MediaTypes;
use tidegate_core::history::Event;
use tidegate_core::ids::{ContainerName, RepositoryName, Tag};
use tidegate_core::outcome::Outcome;
use tidegate_runtime::arrivals::Pushed;
use tidegate_runtime::triggers::manifests::ObjectWritten;
use tidegate_testkit::names;

use crate::bench::{Bench, POLICY};
use crate::builds::{changed, made};
use crate::jobs::{failure, job, run, token};

/// Two containers of the policy's own repository, and one of another.
const CONTAINERS: &str = "containers: { app: {}, migrate: {}, proxy: { repository: acme/checkout } }";
const OWN: &str = "shop/checkout";
const OTHER: &str = "acme/checkout";
const ACTION: &str = r#"{"service":"checkout","execution":"e-1"}"#;

async fn bench() -> Bench {
    let pushes =
        POLICY.replace("{ repository: shop/checkout }", "{ repository: shop/checkout, tags: [\"main-*\"] }");
    Bench::with(&pushes.replace("container: app", CONTAINERS)).await
}

async fn push(bench: &Bench, repository: &str, build: u32, tagged_at: Timestamp) {
    let pushed = Pushed {
        account: names::account(),
        region: names::region(),
        repository: RepositoryName::new(repository).unwrap(),
        tag: names::tag(build),
        digest: names::digest(build),
        tagged_at,
        media: MediaTypes::default(),
        by: Actor::Event { source: "aws.ecr".into(), id: format!("{repository}/{build}") },
        delivery: Some(format!("{repository}/{build}/{tagged_at}")),
    };
    bench.installation().image_pushed(bench.context.images.as_ref(), &pushed).await.unwrap();
}

/// `app main-4, proxy main-3` of what waits.
fn newest(bench: &Bench) -> String {
    let releases = bench.releases();
    let change = &releases.iter().find(|release| !release.is_over()).unwrap().change;
    let told = change.iter().map(|(container, image)| format!("{container} {}", image.label()));
    told.collect::<Vec<_>>().join(", ")
}

/// Why the last thing that was refused was.
fn refused(bench: &Bench) -> String {
    bench.told().last().unwrap().event.why()
}

#[tokio::test]
async fn a_push_changes_the_containers_that_take_its_repository_and_no_other() {
    let bench = bench().await;
    push(&bench, OWN, 4, names::at(0)).await;
    assert_eq!(newest(&bench), "app main-4, migrate main-4");
    let first = bench.releases()[0].id.clone();
    bench.end(&first, Outcome::Promoted).await;
    push(&bench, OTHER, 3, names::at(0)).await;
    assert_eq!(newest(&bench), "proxy main-3");
    push(&bench, "acme/payment", 3, names::at(0)).await;
    assert_eq!(bench.releases().len(), 2);
}

#[tokio::test]
async fn a_push_starts_a_release_of_a_function_whose_image_has_no_name() {
    let pushes =
        POLICY.replace("{ repository: shop/checkout }", "{ repository: shop/checkout, tags: [\"main-*\"] }");
    let own = "to: { ecs: { cluster: prod, service: checkout, container: app } }";
    assert!(pushes.contains(own));
    let function = "to: { lambda: { function: thumbnails, alias: live } }";
    let bench = Bench::with(&pushes.replace(own, function)).await;
    push(&bench, OWN, 4, names::at(0)).await;
    assert_eq!(newest(&bench), "image main-4");
    let target = &bench.releases()[0].target;
    assert_eq!(target.lambda().map(ToString::to_string).as_deref(), Some("thumbnails:live"));
}

#[tokio::test]
async fn what_waited_for_other_containers_is_not_lost_to_a_newer_push() {
    let bench = bench().await;
    push(&bench, OWN, 4, names::at(0)).await;
    push(&bench, OTHER, 3, names::at(1)).await;
    assert_eq!(newest(&bench), "app main-4, migrate main-4, proxy main-3");
    let (over, waits): (Vec<_>, Vec<_>) =
        bench.releases().into_iter().partition(tidegate_core::release::Release::is_over);
    assert_eq!(waits[0].carried.iter().map(ContainerName::as_str).collect::<Vec<_>>(), ["app", "migrate"]);
    assert!(matches!(over[0].outcome(), Some(Outcome::Superseded { .. })));
    push(&bench, OWN, 5, names::at(2)).await;
    assert_eq!(newest(&bench), "app main-5, migrate main-5, proxy main-3");
    // The same again is known: it waits as part of what is there.
    push(&bench, OTHER, 3, names::at(3)).await;
    assert_eq!(bench.releases().len(), 3);
}

#[tokio::test]
async fn of_each_container_what_is_older_is_refused_and_of_the_others_nothing_is_said() {
    let bench = bench().await;
    bench.later(100);
    push(&bench, OWN, 5, names::at(50)).await;
    // Older than the push to the other repository, and the first one to this.
    push(&bench, OTHER, 2, names::at(10)).await;
    assert_eq!(newest(&bench), "app main-5, migrate main-5, proxy main-2");
    push(&bench, OWN, 3, names::at(40)).await;
    assert_eq!(bench.releases().len(), 2);
    assert!(refused(&bench).contains("was let in before"), "{}", refused(&bench));
}

/// What `imagedefinitions.json` asks for, in a pipeline's artifact and in a build's.
async fn definitions(runs_other: &str, file: &str) -> (Bench, Result<(), String>) {
    let mut bench = bench().await;
    bench.definition = serde_json::json!({"containerDefinitions": [
        {"name": "app", "image": "old"}, {"name": "proxy", "image": "old"}, {"name": "log", "image": runs_other},
    ]});
    bench.bucket.artifact("a", &[("imagedefinitions.json", file)]);
    let answer = run(&bench, &job("j-1", ACTION, Some("a"), None)).await;
    let released = !bench.releases().is_empty();
    let told = if released {
        token(&answer);
        Ok(())
    } else {
        Err(failure(&answer).1.to_owned())
    };
    (bench, told)
}

#[tokio::test]
async fn imagedefinitions_with_several_entries_is_followed_whole_or_not_at_all() {
    let entries = |more: &str| {
        format!(
            r#"[{{"name":"app","imageUri":"{OWN}:main-4"}},{{"name":"proxy","imageUri":"{OTHER}:main-3"}}{more}]"#
        )
    };
    let (bench, told) = definitions("log:1", &entries("")).await;
    assert_eq!((told, newest(&bench).as_str()), (Ok(()), "app main-4, proxy main-3"));
    let log = |image: &str| entries(&format!(r#",{{"name":"log","imageUri":"{image}"}}"#));
    let (bench, told) = definitions("log:1", &log("log:1")).await;
    assert_eq!((told, newest(&bench).as_str()), (Ok(()), "app main-4, proxy main-3"));
    let (bench, told) = definitions("log:1", &log("log:2")).await;
    let told = told.unwrap_err();
    assert!(
        told.contains("container log is to run log:2 and runs log:1")
            && told.contains("name it in to.ecs.containers"),
        "{told}"
    );
    assert!(bench.releases().is_empty());
    // An image of a repository that this container does not take.
    let wrong = format!(
        r#"[{{"name":"app","imageUri":"{OWN}:main-4"}},{{"name":"proxy","imageUri":"{OWN}:main-3"}}]"#
    );
    let (bench, told) = definitions("log:1", &wrong).await;
    let told = told.unwrap_err();
    assert!(
        told.contains(&format!("the image is of {OWN}"))
            || told.contains("takes its images from acme/checkout"),
        "{told}"
    );
    assert!(bench.releases().is_empty());
}

#[tokio::test]
async fn a_build_whose_artifact_names_several_containers_releases_them_all() {
    let bench = bench().await;
    let file = format!(
        r#"[{{"name":"app","imageUri":"{OWN}:main-4"}},{{"name":"proxy","imageUri":"{OTHER}:main-3"}}]"#
    );
    let at = bench.bucket.artifact("a", &[("imagedefinitions.json", &file)]);
    let mut build = made(4, names::at(0));
    build.exported.clear();
    build.artifacts = vec![at];
    bench.builds.add(build);
    bench.installation().build_changed(bench.sources(), &changed(4, "SUCCEEDED")).await.unwrap();
    assert_eq!(newest(&bench), "app main-4, proxy main-3");
}

async fn manifest(bench: &Bench, name: &str, images: &str) {
    let text = format!(r#"{{"service":"checkout","images":{images}}}"#);
    let at = bench.bucket.put(name, &text, None);
    let by = Actor::Event { source: "aws.s3".into(), id: at.to_string() };
    let written = ObjectWritten { at, sequencer: "1".into(), by };
    bench.installation().manifest_written(bench.sources(), &written).await.unwrap();
}

#[tokio::test]
async fn who_names_containers_gets_just_these_and_a_name_that_is_not_released_nothing() {
    let bench = bench().await;
    manifest(&bench, "checkout/1.json", r#"{"app":"main-4","proxy":"acme/checkout:main-3"}"#).await;
    assert_eq!(newest(&bench), "app main-4, proxy main-3");
    for (images, told) in [
        (
            r#"{"app":"main-5","log":"main-5"}"#,
            "does not release container log; it releases app and migrate and proxy",
        ),
        (r#"{"app":"main-5","proxy":"shop/checkout:main-5"}"#, "takes its images from acme/checkout"),
        (r#"{"app":"main-5","proxy":"main-99"}"#, "there is no image tagged main-99 in acme/checkout"),
        (r#"{"app":"other/checkout:main-5"}"#, "the image is of other/checkout"),
    ] {
        manifest(&bench, &format!("checkout/{}.json", told.len()), images).await;
        assert!(refused(&bench).contains(told), "{}", refused(&bench));
        assert_eq!(bench.releases().len(), 1, "{images}");
    }
}

#[tokio::test]
async fn lost_pushes_of_two_repositories_are_both_found() {
    let bench = bench().await;
    let pace = || bench.pace();
    let round = async || bench.installation().round(bench.context.images.as_ref(), pace()).await;
    round().await;
    bench.later(60);
    let now = bench.now();
    bench.universe.state().aws.tag_silently(Tag::new("main-9").unwrap(), names::digest(9), None, now);
    for _ in 0..5 {
        bench.later(60);
        assert_eq!(round().await.failed, [""; 0]);
    }
    // The fake has one registry for both, so the tag came to both.
    assert_eq!(newest(&bench), "app main-9, migrate main-9, proxy main-9");
}

#[tokio::test]
async fn a_release_says_in_its_history_what_it_brings_to_which_container() {
    let bench = bench().await;
    push(&bench, OWN, 4, names::at(0)).await;
    push(&bench, OTHER, 3, names::at(1)).await;
    let id = bench.releases().iter().find(|release| !release.is_over()).unwrap().id.clone();
    let state = bench.universe.state();
    let entry = state.rows.history(&id).first().cloned().unwrap();
    let Event::Created { change, .. } = &entry.event else { panic!("{entry:?}") };
    assert_eq!(change.label(), "app main-4, migrate main-4, proxy main-3");
    let same: Change = serde_json::from_value(serde_json::to_value(change).unwrap()).unwrap();
    assert_eq!(same, *change);
}
