use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ReleaseId;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::ports::{JobAnswer, JobFailure};
use tidegate_runtime::triggers::jobs::{JobPorts, Started};
use tidegate_testkit::names;
use tidegate_wire::pipeline_job::PipelineJob;

use crate::bench::{Bench, POLICY};

pub(crate) fn job(id: &str, parameters: &str, input: Option<&str>, token: Option<&str>) -> PipelineJob {
    let inputs: Vec<Value> = input
        .iter()
        .map(|key| json!({"name": key, "location": {"type": "S3", "s3Location": {"bucketName": "builds", "objectKey": key}}}))
        .collect();
    PipelineJob::parse(&json!({"CodePipeline.job": {"id": id, "accountId": "111122223333", "data": {
        "actionConfiguration": {"configuration": {"FunctionName": "f", "UserParameters": parameters}},
        "inputArtifacts": inputs, "outputArtifacts": [], "continuationToken": token,
        "artifactCredentials": {"accessKeyId": "a", "secretAccessKey": "b", "sessionToken": "c"}
    }}}))
    .unwrap()
}

pub(crate) async fn run(bench: &Bench, job: &PipelineJob) -> JobAnswer {
    let ports = JobPorts {
        images: bench.context.images.as_ref(),
        artifacts: Some(&bench.bucket),
        definitions: bench,
        pipelines: &bench.pipelines,
    };
    bench.installation().job(ports, job).await
}

pub(crate) fn token(answer: &JobAnswer) -> String {
    match answer {
        JobAnswer::Continue { token, .. } => token.clone(),
        other @ (JobAnswer::Succeed { .. } | JobAnswer::Fail { .. }) => {
            panic!("not to be continued: {other:?}")
        }
    }
}

pub(crate) fn failure(answer: &JobAnswer) -> (JobFailure, &str) {
    match answer {
        JobAnswer::Fail { kind, message, .. } => (*kind, message),
        other @ (JobAnswer::Succeed { .. } | JobAnswer::Continue { .. }) => panic!("no failure: {other:?}"),
    }
}

const TAGGED: &str = r#"{"service":"checkout","execution":"e-1","tag":"main-3"}"#;

async fn started(bench: &Bench) -> (JobAnswer, ReleaseId) {
    let answer = run(bench, &job("j-1", TAGGED, None, None)).await;
    let id = bench.releases()[0].id.clone();
    (answer, id)
}

#[tokio::test]
async fn a_release_is_followed_across_many_invocations_to_its_end() {
    let bench = Bench::new().await;
    let (mut answer, id) = started(&bench).await;
    for number in 2..40 {
        bench.later(60);
        assert!(token(&answer).len() < 2048);
        // Each continuation is a job of its own.
        answer = run(&bench, &job(&format!("j-{number}"), TAGGED, None, Some(&token(&answer)))).await;
    }
    assert_eq!(bench.releases().len(), 1, "following starts nothing");
    bench.end(&id, Outcome::Promoted).await;
    let last = run(&bench, &job("j-99", TAGGED, None, Some(&token(&answer)))).await;
    let JobAnswer::Succeed { release, variables, .. } = last else { panic!("{last:?}") };
    assert_eq!(release, id);
    assert_eq!(variables["release"], id.as_str());
    assert_eq!(variables["digest"], names::digest(3).as_str());
    assert_eq!(variables["outcome"], "promoted");
}

#[tokio::test]
async fn every_other_end_is_a_failure_that_says_why() {
    let person = Actor::Person { name: "alice".into() };
    let cause = Cause::Requested { by: person.clone(), why: "it is slow".into() };
    let other = names::release(9);
    let cases = [
        (
            Outcome::RolledBack { cause: cause.clone() },
            JobFailure::JobFailed,
            "was rolled back: alice asked to roll back: it is slow",
        ),
        (
            Outcome::Superseded { by: other.clone().into() },
            JobFailure::OutOfSync,
            "was superseded by release 01kj",
        ),
        (
            Outcome::Cancelled { by: person, why: "not today".into() },
            JobFailure::JobFailed,
            "was cancelled by alice: not today",
        ),
        (Outcome::Failed { cause, needs: "look at it".into() }, JobFailure::JobFailed, "needed: look at it"),
    ];
    for (outcome, kind, expected) in cases {
        let bench = Bench::new().await;
        let (answer, id) = started(&bench).await;
        bench.end(&id, outcome).await;
        let last = run(&bench, &job("j-2", TAGGED, None, Some(&token(&answer)))).await;
        let (found, message) = failure(&last);
        assert!(found == kind && message.contains(expected), "{last:?}");
    }
}

#[tokio::test]
async fn the_same_job_again_starts_nothing_again() {
    let bench = Bench::new().await;
    let (first, id) = started(&bench).await;
    bench.end(&id, Outcome::Superseded { by: names::release(9).into() }).await;
    // The answer was lost, and Lambda invokes the function once more with the very same event.
    let again = run(&bench, &job("j-1", TAGGED, None, None)).await;
    assert_eq!(failure(&again).0, JobFailure::OutOfSync);
    assert_eq!(bench.releases().len(), 1);
    assert!(token(&first).contains(id.as_str()));
}

#[tokio::test]
async fn a_release_that_is_known_already_is_followed() {
    let bench = Bench::new().await;
    let (_, id) = started(&bench).await;
    let other = run(&bench, &job("k-1", TAGGED, None, None)).await;
    assert!(token(&other).contains(id.as_str()));
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn an_action_that_does_not_wait_ends_when_the_release_has_started() {
    let bench = Bench::new().await;
    let parameters = r#"{"service":"checkout","tag":"main-3","wait":false,"execution":"e-7"}"#;
    let answer = run(&bench, &job("j-1", parameters, None, None)).await;
    let JobAnswer::Succeed { variables, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(variables["outcome"], "started");
    let started = Started::of(&bench.releases()[0].requested_by).unwrap();
    assert_eq!(started, Started { execution: Some("e-7".into()), job: "j-1".into() });
}

#[tokio::test]
async fn what_has_to_be_corrected_is_a_configuration_error() {
    for (parameters, expected) in [
        ("", "service"),
        ("{}", "missing field `service`"),
        ("not json", "UserParameters: "),
        (r#"{"service":"nobody","tag":"v1"}"#, "there is no service nobody"),
        (r#"{"service":"checkout","execution":"e-1"}"#, "no input artifact"),
        (r#"{"service":"checkout","execution":"e-1","tag":"main-99"}"#, "there is no image tagged main-99"),
        (
            r#"{"service":"checkout","execution":"e-1","image":"shop/payment:v1"}"#,
            "the image is of shop/payment",
        ),
    ] {
        let bench = Bench::new().await;
        let answer = run(&bench, &job("j-1", parameters, None, None)).await;
        let (kind, message) = failure(&answer);
        assert!(kind == JobFailure::Configuration && message.contains(expected), "{parameters}: {message}");
        assert!(bench.releases().is_empty());
    }
    let closed = Bench::with(&POLICY.replace("pipeline: { names: [checkout] }", "pipeline: false")).await;
    let answer = run(&closed, &job("j-1", TAGGED, None, None)).await;
    assert!(failure(&answer).1.contains("from.pipeline"), "{answer:?}");
    let bench = Bench::new().await;
    let answer = run(&bench, &job("j-1", TAGGED, None, Some("forged"))).await;
    assert_eq!(failure(&answer).0, JobFailure::Configuration);
}

#[tokio::test]
async fn the_artifact_names_the_image_when_the_parameters_do_not() {
    let bench = Bench::new().await;
    let definitions = r#"[{"name":"app","imageUri":"shop/checkout:main-4"}]"#;
    bench.bucket.artifact("a", &[("imagedefinitions.json", definitions), ("appspec.yaml", "x")]);
    let answer =
        run(&bench, &job("j-1", r#"{"service":"checkout","execution":"e-1"}"#, Some("a"), None)).await;
    token(&answer);
    assert_eq!(bench.releases()[0].change, names::change(4));
    let gone =
        run(&bench, &job("j-2", r#"{"service":"checkout","execution":"e-1"}"#, Some("gone"), None)).await;
    assert_eq!(failure(&gone).0, JobFailure::RevisionUnavailable);
}

#[tokio::test]
async fn a_task_definition_in_the_artifact_is_followed_or_refused_and_never_dropped() {
    let running = |memory: &str| json!({"family": "checkout", "memory": memory, "containerDefinitions": [{"name": "app", "image": "old", "essential": true, "cpu": 0}]});
    let file = r#"{"family":"checkout","memory":"512","containerDefinitions":[{"name":"app","image":"<IMAGE1_NAME>"}]}"#;
    let detail = r#"{"ImageURI":"shop/checkout:main-4"}"#;
    for (memory, expected) in [("512", None), ("1024", Some("memory"))] {
        let mut bench = Bench::new().await;
        bench.definition = running(memory);
        bench.bucket.artifact("a", &[("imageDetail.json", detail), ("taskdef.json", file)]);
        let answer =
            run(&bench, &job("j-1", r#"{"service":"checkout","execution":"e-1"}"#, Some("a"), None)).await;
        match expected {
            None => assert_eq!(bench.releases()[0].change, names::change(4)),
            Some(field) => {
                let (kind, message) = failure(&answer);
                assert!(kind == JobFailure::Configuration, "{message}");
                assert!(message.contains(&format!("container app: {field};")), "{message}");
                assert!(bench.releases().is_empty());
            }
        }
    }
}

/// What comes of an artifact that names `app` and `other`, while `other` runs this.
async fn with_other(wanted: &str, runs: &str) -> (Bench, JobAnswer) {
    let mut bench = Bench::new().await;
    bench.definition =
        json!({"containerDefinitions": [{"name": "app", "image": "old"}, {"name": "other", "image": runs}]});
    let file =
        json!([{"name": "app", "imageUri": "shop/checkout:main-4"}, {"name": "other", "imageUri": wanted}]);
    bench.bucket.artifact("a", &[("imagedefinitions.json", &file.to_string())]);
    let answer =
        run(&bench, &job("j-1", r#"{"service":"checkout","execution":"e-1"}"#, Some("a"), None)).await;
    (bench, answer)
}

#[tokio::test]
async fn an_artifact_that_asks_for_another_image_of_another_container_is_refused_and_names_it() {
    let registry = names::registry();
    let at = |digest: u32| format!("{registry}/shop/checkout@{}", names::digest(digest));
    let tagged = |tag: u32| format!("{registry}/shop/checkout:main-{tag}");
    for (wanted, runs) in [
        ("envoy:2", "envoy:1".to_owned()),
        ("envoy:2", format!("envoy@{}", names::digest(1))),
        (&at(4), at(3)),
        // A tag is what it means.
        (&tagged(4), at(3)),
        (&tagged(4), tagged(3)),
    ] {
        let (bench, answer) = with_other(wanted, &runs).await;
        let (kind, message) = failure(&answer);
        assert_eq!(kind, JobFailure::Configuration);
        let named = format!("container other is to run {wanted} and runs {runs}");
        assert!(message.contains(&named) && bench.releases().is_empty(), "{message}");
    }
    for (wanted, runs) in
        [("envoy:1", "envoy:1".to_owned()), (&at(3), at(3)), (&tagged(3), at(3)), (&tagged(3), tagged(3))]
    {
        let (bench, answer) = with_other(wanted, &runs).await;
        token(&answer);
        assert_eq!(bench.releases()[0].change, names::change(4), "{wanted} is {runs}");
    }
}

#[tokio::test]
async fn a_task_definition_whose_other_images_mean_what_runs_changes_nothing() {
    let registry = names::registry();
    let definition = |other: &str| json!({"family": "checkout", "containerDefinitions": [{"name": "app", "image": "<IMAGE1_NAME>"}, {"name": "other", "image": other}]});
    let detail = r#"{"ImageURI":"shop/checkout:main-4"}"#;
    for (tag, taken) in [(3, true), (4, false)] {
        let mut bench = Bench::new().await;
        // As Tidegate registers it: by digest.
        bench.definition = definition(&format!("{registry}/shop/checkout@{}", names::digest(3)));
        let file = definition(&format!("{registry}/shop/checkout:main-{tag}")).to_string();
        bench.bucket.artifact("a", &[("imageDetail.json", detail), ("taskdef.json", &file)]);
        let answer =
            run(&bench, &job("j-1", r#"{"service":"checkout","execution":"e-1"}"#, Some("a"), None)).await;
        if taken {
            token(&answer);
        } else {
            assert!(failure(&answer).1.contains("containerDefinitions[other].image"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_by_itself_is_tried_again_and_at_last_given_up() {
    let bench = Bench::new().await;
    let detail = r#"{"ImageURI":"shop/checkout:main-4"}"#;
    bench.bucket.artifact("a", &[("imageDetail.json", detail)]);
    let throttled = PortError::new(ErrorKind::Throttled, "s3:GetObject", "SlowDown", "slow down");
    *bench.bucket.fails.lock().unwrap() = Some(throttled);
    let parameters = r#"{"service":"checkout","execution":"e-1"}"#;
    let mut answer = run(&bench, &job("j-0", parameters, Some("a"), None)).await;
    let early = token(&answer);
    for number in 1..=9 {
        answer =
            run(&bench, &job(&format!("j-{number}"), parameters, Some("a"), Some(&token(&answer)))).await;
    }
    let last = run(&bench, &job("j-10", parameters, Some("a"), Some(&token(&answer)))).await;
    assert_eq!(failure(&last).0, JobFailure::SystemUnavailable);
    // Had it passed in time, the release would have been started, once, however the jobs are called.
    *bench.bucket.fails.lock().unwrap() = None;
    token(&run(&bench, &job("j-5", parameters, Some("a"), Some(&early))).await);
    token(&run(&bench, &job("j-6", parameters, Some("a"), Some(&early))).await);
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn denied_is_a_permission_error() {
    let bench = Bench::new().await;
    let denied = PortError::new(ErrorKind::Denied, "s3:GetObject", "AccessDenied", "no");
    *bench.bucket.fails.lock().unwrap() = Some(denied);
    let answer =
        run(&bench, &job("j-1", r#"{"service":"checkout","execution":"e-1"}"#, Some("a"), None)).await;
    assert_eq!(failure(&answer).0, JobFailure::Permission);
}

#[tokio::test]
async fn after_a_day_the_pipeline_is_told_and_the_release_goes_on() {
    let bench = Bench::new().await;
    let (answer, id) = started(&bench).await;
    bench.later(23 * 3600);
    let answer = run(&bench, &job("j-2", TAGGED, None, Some(&token(&answer)))).await;
    bench.later(3600);
    let last = run(&bench, &job("j-3", TAGGED, None, Some(&token(&answer)))).await;
    assert!(failure(&last).1.contains("still under way after 24 hours"), "{last:?}");
    assert!(!bench.releases()[0].is_over() && bench.releases()[0].id == id);
}

#[tokio::test]
async fn a_quarantined_image_fails_the_action_and_one_that_runs_succeeds_at_once() {
    let bench = Bench::new().await;
    let (_, id) = started(&bench).await;
    let head = bench.installation().ledger.service(&names::service()).await.unwrap().unwrap();
    let mut next = head.clone();
    next.version += 1;
    next.waiting = None;
    next.promoted = vec![tidegate_core::service::Promoted {
        release: id.clone(),
        change: names::change(3),
        deployed: names::deployed(2),
        at: bench.now(),
    }];
    next.quarantine.insert(
        names::digest(4),
        tidegate_core::service::Quarantined {
            release: names::release(8),
            why: "it was bad".into(),
            at: bench.now(),
        },
    );
    bench.end(&id, Outcome::Promoted).await;
    let head = bench.installation().ledger.service(&names::service()).await.unwrap().unwrap();
    next.version = head.version + 1;
    let write = tidegate_core::commit::ServiceWrite {
        service: names::service(),
        expected: Some(head.version),
        head: next,
        entry: None,
    };
    bench
        .installation()
        .ledger
        .commit(tidegate_core::commit::Commit { head: Some(write), ..Default::default() })
        .await
        .unwrap();

    let runs = run(&bench, &job("k-1", TAGGED, None, None)).await;
    assert!(matches!(&runs, JobAnswer::Succeed { release, .. } if *release == id), "{runs:?}");
    let bad =
        run(&bench, &job("k-2", r#"{"service":"checkout","execution":"e-1","tag":"main-4"}"#, None, None))
            .await;
    let (kind, message) = failure(&bad);
    assert!(kind == JobFailure::JobFailed && message.contains("it was bad"), "{message}");
}

#[tokio::test]
async fn only_a_running_execution_of_a_pipeline_the_policy_names_releases() {
    for (parameters, expected) in [
        ("{\"service\":\"checkout\",\"tag\":\"main-3\"}".to_owned(), "name no execution"),
        (
            r#"{"service":"checkout","tag":"main-3","execution":"x-1"}"#.to_owned(),
            "execution x-1 is not one in progress",
        ),
    ] {
        let bench = Bench::new().await;
        let answer = run(&bench, &job("j-1", &parameters, None, None)).await;
        let (kind, message) = failure(&answer);
        assert!(kind == JobFailure::Configuration && message.contains(expected), "{message}");
        assert!(message.contains("from.pipeline.names"), "{message}");
        assert!(bench.releases().is_empty());
        assert!(bench.told().last().unwrap().event.why().contains(expected));
    }
    let other = Bench::with(&POLICY.replace("names: [checkout]", "names: [payment]")).await;
    assert!(failure(&run(&other, &job("j-1", TAGGED, None, None)).await).1.contains("payment"));
    assert!(other.releases().is_empty());
    // What cannot be seen is asked again, and is no "no".
    let bench = Bench::new().await;
    let throttled =
        PortError::new(ErrorKind::Throttled, "codepipeline:GetPipelineExecution", "Throttling", "slow");
    *bench.pipelines.fails.lock().unwrap() = Some(throttled);
    let answer = run(&bench, &job("j-1", TAGGED, None, None)).await;
    let asked_again = token(&answer);
    *bench.pipelines.fails.lock().unwrap() = None;
    token(&run(&bench, &job("j-2", TAGGED, None, Some(&asked_again))).await);
    assert_eq!(bench.releases().len(), 1);
}

#[tokio::test]
async fn an_older_image_is_not_released_again_by_a_pipeline() {
    let bench = Bench::new().await;
    let (_, id) = started(&bench).await;
    bench.end(&id, Outcome::Promoted).await;
    let older = r#"{"service":"checkout","tag":"main-2","execution":"e-2"}"#;
    let answer = run(&bench, &job("k-1", older, None, None)).await;
    let (kind, message) = failure(&answer);
    assert!(kind == JobFailure::JobFailed && message.contains("a newer image, pushed at"), "{message}");
    assert_eq!(bench.releases().len(), 1);
}
