use jiff::Timestamp;
use tidegate_core::actor::Actor;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ports::BuildMade;
use tidegate_runtime::triggers::builds::BuildChanged;
use tidegate_testkit::names;

use crate::bench::{Bench, POLICY};

pub(crate) fn made(number: u32, ended_at: Timestamp) -> BuildMade {
    BuildMade {
        id: format!("checkout:{number}"),
        project: "checkout".into(),
        status: "SUCCEEDED".into(),
        ended_at: Some(ended_at),
        exported: [("IMAGE_URI".to_owned(), format!("{}/shop/checkout:main-{number}", names::registry()))]
            .into(),
        commit: Some(format!("commit{number}")),
        source_version: None,
        batch: None,
        initiator: Some("alice".into()),
        log_url: Some("https://logs.example.com/1".into()),
        artifacts: Vec::new(),
    }
}

pub(crate) fn changed(number: u32, status: &str) -> BuildChanged {
    BuildChanged {
        account: names::account(),
        region: names::region(),
        project: "checkout".into(),
        build: format!("checkout:{number}"),
        status: status.into(),
        log_url: Some("https://logs.example.com/1".into()),
        at: names::at(10),
        by: Actor::Event { source: "aws.codebuild".into(), id: format!("checkout:{number}") },
    }
}

async fn word(bench: &Bench, change: &BuildChanged) -> &'static str {
    let outcomes = bench.installation().build_changed(bench.sources(), change).await.unwrap();
    outcomes.first().map_or("nothing", |(_, word)| *word)
}

#[tokio::test]
async fn a_build_that_succeeded_releases_its_image_once() {
    let bench = Bench::new().await;
    bench.builds.add(made(2, names::at(0)));
    assert_eq!(word(&bench, &changed(2, "IN_PROGRESS")).await, "nothing");
    assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "created");
    assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "handled before");
    let releases = bench.releases();
    assert_eq!(releases.len(), 1);
    assert_eq!(releases[0].change, names::change(2));
    assert_eq!(releases[0].provenance.commit.as_deref(), Some("commit2"));
    assert_eq!(releases[0].provenance.author.as_deref(), Some("alice"));
    assert_eq!(releases[0].provenance.url.as_deref(), Some("https://logs.example.com/1"));
}

#[tokio::test]
async fn an_older_build_whose_event_comes_late_changes_nothing() {
    let bench = Bench::new().await;
    bench.later(100);
    bench.builds.add(made(2, names::at(10)));
    bench.builds.add(made(3, names::at(20)));
    assert_eq!(word(&bench, &changed(3, "SUCCEEDED")).await, "created");
    assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "refused");
    assert_eq!(bench.releases().len(), 1);
    assert!(bench.told().last().unwrap().event.why().contains("newer image"));
    // A late word that it still runs is no news either.
    assert_eq!(word(&bench, &changed(3, "IN_PROGRESS")).await, "nothing");
}

#[tokio::test]
async fn builds_that_did_not_succeed_are_counted_once_each() {
    let bench = Bench::new().await;
    let statuses = ["FAILED", "STOPPED", "FAULT", "TIMED_OUT", "NOT_YET_INVENTED"];
    for status in statuses {
        for _ in 0..2 {
            assert_eq!(word(&bench, &changed(2, status)).await, "recorded");
        }
    }
    assert!(bench.releases().is_empty());
    let told = bench.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]
            .event
            .to_string()
            .starts_with("build checkout:2 ended as NOT_YET_INVENTED (5 of this kind since"),
        "{}",
        told[0].event.to_string()
    );
    assert!(told[0].event.why().contains("https://logs.example.com/1"));
}

#[tokio::test]
async fn without_the_variable_the_artifact_names_the_image() {
    let bench = Bench::new().await;
    let uri = format!("{}/shop/checkout@{}", names::registry(), names::digest(4));
    let detail = format!(r#"{{"ImageURI":"{uri}"}}"#);
    let first = bench.bucket.artifact("other.zip", &[]);
    let second = bench.bucket.artifact("checkout.zip", &[("imageDetail.json", &detail)]);
    bench.builds.add(BuildMade {
        exported: Default::default(),
        artifacts: vec![first, second],
        ..made(2, names::at(0))
    });
    assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "created");
    assert_eq!(names::only(&bench.releases()[0].change).digest, names::digest(4));
}

#[tokio::test]
async fn the_variable_is_the_policys() {
    let bench =
        Bench::with(&POLICY.replace("project: checkout", "project: checkout, variable: RELEASED")).await;
    let mut build = made(2, names::at(0));
    build.exported.insert("RELEASED".into(), "shop/checkout:main-5".into());
    bench.builds.add(build);
    word(&bench, &changed(2, "SUCCEEDED")).await;
    assert_eq!(names::only(&bench.releases()[0].change).digest, names::digest(5));
}

#[tokio::test]
async fn what_a_build_names_wrongly_is_refused_with_a_recorded_reason() {
    for (variable, expected) in [
        ("", "exports no variable IMAGE_URI; it has no artifact in S3"),
        ("shop/checkout", "neither a tag nor a digest"),
        ("shop/payment:main-2", "the image is of shop/payment"),
        (
            "999988887777.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout:main-2",
            "the image is of 999988887777",
        ),
        ("shop/checkout:main-99", "there is no image tagged main-99"),
    ] {
        let bench = Bench::new().await;
        let mut build = made(2, names::at(0));
        build.exported.insert("IMAGE_URI".into(), variable.into());
        bench.builds.add(build);
        assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "refused", "{variable}");
        assert!(bench.releases().is_empty());
        let told = bench.told();
        assert!(
            told.last().unwrap().event.why().contains(expected),
            "{variable}: {}",
            told.last().unwrap().event.why()
        );
        word(&bench, &changed(2, "SUCCEEDED")).await;
        assert_eq!(bench.told().len(), told.len(), "told once");
    }
}

#[tokio::test]
async fn what_may_pass_by_itself_is_an_error_and_nothing_is_forgotten() {
    let bench = Bench::new().await;
    let at = bench
        .bucket
        .artifact("checkout.zip", &[("imageDetail.json", r#"{"ImageURI":"shop/checkout:main-2"}"#)]);
    bench.builds.add(BuildMade {
        exported: Default::default(),
        artifacts: vec![at],
        ..made(2, names::at(0))
    });
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Denied] {
        *bench.bucket.fails.lock().unwrap() = Some(PortError::new(kind, "s3:GetObject", "X", "later"));
        assert!(bench.installation().build_changed(bench.sources(), &changed(2, "SUCCEEDED")).await.is_err());
    }
    assert!(bench.told().is_empty() && bench.releases().is_empty());
    *bench.bucket.fails.lock().unwrap() = None;
    assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "created");
}

#[tokio::test]
async fn builds_of_projects_nobody_watches_are_passed_over() {
    let bench = Bench::new().await;
    let other = BuildChanged { project: "payment".into(), ..changed(2, "SUCCEEDED") };
    assert_eq!(word(&bench, &other).await, "nothing");
    let bench = Bench::with(&POLICY.replace("codebuild: { project: checkout }", "")).await;
    bench.builds.add(made(2, names::at(0)));
    assert_eq!(word(&bench, &changed(2, "SUCCEEDED")).await, "nothing");
}

#[tokio::test]
async fn a_build_whose_event_was_lost_is_found_once_its_event_has_had_its_time() {
    let bench = Bench::new().await;
    bench.later(60);
    bench.builds.add(made(2, names::at(60)));
    let find = async || bench.installation().find_lost_builds(bench.sources(), bench.pace()).await.unwrap();
    assert_eq!(find().await.done, 0, "its event may still come");
    bench.later(200);
    assert_eq!(find().await.done, 1);
    assert_eq!(find().await.done, 0);
    assert_eq!(bench.releases().len(), 1);
    // The event comes after all.
    word(&bench, &changed(2, "SUCCEEDED")).await;
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn builds_from_before_the_policy_and_from_days_ago_are_not_found() {
    let bench = Bench::new().await;
    bench.builds.add(made(2, names::at(-500)));
    bench.later(400);
    assert_eq!(bench.installation().find_lost_builds(bench.sources(), bench.pace()).await.unwrap().done, 0);
    bench.builds.add(made(3, names::at(300)));
    bench.later(2 * 24 * 3600);
    assert_eq!(bench.installation().find_lost_builds(bench.sources(), bench.pace()).await.unwrap().done, 0);
    assert!(bench.releases().is_empty());
}

#[tokio::test]
async fn what_a_build_was_made_for_decides() {
    let branches = POLICY.replace("project: checkout", "project: checkout, branches: [main]");
    let from = |version: &str| BuildMade { source_version: Some(version.into()), ..made(2, names::at(0)) };
    let batch = BuildMade { batch: Some("checkout:b1".into()), ..from("main") };
    let head = |branch: &str| {
        let mut build = from("4f1c2d3e5a6b7c8d9e0f4f1c2d3e5a6b7c8d9e0f");
        build.exported.insert("CODEBUILD_WEBHOOK_HEAD_REF".into(), format!("refs/heads/{branch}"));
        build
    };
    for (build, word, why) in [
        (from("main"), "created", ""),
        (head("main"), "created", ""),
        (from("pr/7"), "refused", "pull request pr/7"),
        (from("feature/x"), "refused", "branch feature/x"),
        (head("feature/x"), "refused", "branch feature/x"),
        (from("4f1c2d3e5a6b7c8d9e0f4f1c2d3e5a6b7c8d9e0f"), "refused", "CODEBUILD_WEBHOOK_HEAD_REF"),
        (batch, "refused", "batch checkout:b1"),
    ] {
        let bench = Bench::with(&branches).await;
        bench.builds.add(build.clone());
        assert_eq!(self::word(&bench, &changed(2, "SUCCEEDED")).await, word, "{build:?}");
        assert_eq!(bench.releases().len(), usize::from(word == "created"));
        let told = bench.told().last().map(|entry| entry.event.why().clone()).unwrap_or_default();
        assert!(told.contains(why), "{told}");
        // The clock's look for lost builds asks the same.
        bench.later(300);
        bench.installation().find_lost_builds(bench.sources(), bench.pace()).await.unwrap();
        assert_eq!(bench.releases().len(), usize::from(word == "created"), "{build:?}");
    }
}

#[tokio::test]
async fn a_batch_releases_nothing_and_hides_no_build_whose_event_was_lost() {
    let bench = Bench::new().await;
    bench.later(300);
    let batch = "arn:aws:codebuild:eu-central-1:111122223333:build-batch/checkout:b1";
    bench.builds.add(made(2, names::at(60)));
    for number in 3..9 {
        bench.builds.add(BuildMade { batch: Some(batch.into()), ..made(number, names::at(100)) });
        assert_eq!(word(&bench, &changed(number, "SUCCEEDED")).await, "refused");
    }
    assert!(bench.releases().is_empty());
    let told = bench.told();
    assert_eq!(told.len(), 1, "six builds of a batch are one line: {told:?}");
    assert!(told[0].event.why().contains("one build of batch"), "{}", told[0].event.why());
    // The clock looks past all of them, to the build whose event never came.
    let find =
        async || bench.installation().find_lost_builds(bench.sources(), bench.pace()).await.unwrap().done;
    assert_eq!((find().await, find().await), (1, 0));
    let releases = bench.releases();
    assert_eq!((releases.len(), names::only(&releases[0].change).digest.clone()), (1, names::digest(2)));
}
