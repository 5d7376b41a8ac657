//! Builds through the official SDK, the endpoint, and S3.

use std::net::Ipv4Addr;

use aws_sdk_codebuild::Client;
use aws_sdk_codebuild::error::ProvideErrorMetadata as _;
use aws_sdk_codebuild::types::{
    ArtifactPackaging, ArtifactsType, Build, BuildPhaseType, ComputeType, EnvironmentType,
    EnvironmentVariable, ProjectArtifacts, ProjectBuildBatchConfig, ProjectEnvironment, ProjectSource,
    SourceType, StatusType,
};
use axum::Router;
use axum::routing::get;
use serde_json::json;

use super::*;
use crate::endpoint::Endpoint;
use crate::local::testing::{Stage, eventually, sdk_config};
use crate::ports::ServiceEvent;

/// Remembers events.
#[derive(Default)]
struct Events(Mutex<Vec<ServiceEvent>>);

impl EventSink for Events {
    fn emit(&self, event: ServiceEvent) {
        lock(&self.0).push(event);
    }
}

struct Setup {
    client: Client,
    events: Arc<Events>,
    _endpoint: Endpoint,
}

/// CodeBuild alone; there is no S3.
async fn setup(change: impl FnOnce(&mut Options)) -> Setup {
    let endpoint = Endpoint::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let events = Arc::new(Events::default());
    let mut options = Options::new("111122223333", "eu-central-1");
    change(&mut options);
    let nowhere =
        crate::ministack::Client::new((Ipv4Addr::LOCALHOST, 9).into(), "eu-central-1", "test", "test");
    endpoint.register("codebuild", Arc::new(CodeBuild::new(options, nowhere, events.clone())));
    let client = Client::from_conf(sdk_config!(aws_sdk_codebuild, endpoint.url()));
    Setup { client, events, _endpoint: endpoint }
}

async fn create(client: &Client, name: &str, script: &Value) {
    let source = ProjectSource::builder().r#type(SourceType::NoSource).buildspec(script.to_string());
    let artifacts = ProjectArtifacts::builder()
        .r#type(ArtifactsType::S3)
        .location("out")
        .name("shop.zip")
        .packaging(ArtifactPackaging::Zip);
    let variable =
        EnvironmentVariable::builder().name("REPO").value("111122223333.dkr.ecr/shop").build().unwrap();
    let environment = ProjectEnvironment::builder()
        .r#type(EnvironmentType::LinuxContainer)
        .image("aws/codebuild/standard:7.0")
        .compute_type(ComputeType::BuildGeneral1Small)
        .environment_variables(variable);
    client
        .create_project()
        .name(name)
        .source(source.build().unwrap())
        .artifacts(artifacts.build().unwrap())
        .environment(environment.build().unwrap())
        .service_role("arn:aws:iam::111122223333:role/build")
        .concurrent_build_limit(2)
        .build_batch_config(
            ProjectBuildBatchConfig::builder().service_role("arn:aws:iam::111122223333:role/batch").build(),
        )
        .send()
        .await
        .unwrap();
}

async fn start(client: &Client, project: &str, variables: &[(&str, &str)]) -> Build {
    let mut request = client.start_build().project_name(project).source_version("4f1c");
    for (name, value) in variables {
        let variable = EnvironmentVariable::builder().name(*name).value(*value).build().unwrap();
        request = request.environment_variables_override(variable);
    }
    request.send().await.unwrap().build_value.unwrap()
}

async fn ended(client: &Client, id: &str) -> Build {
    let look = || async {
        let answer = client.batch_get_builds().ids(id).send().await.unwrap();
        let build = answer.builds.unwrap().remove(0);
        build.build_complete.then_some(build)
    };
    eventually("the build's end", look).await
}

fn failures(build: &Build) -> Vec<(BuildPhaseType, String)> {
    let phases = build.phases().iter().filter(|phase| phase.phase_status() == Some(&StatusType::Failed));
    phases
        .map(|phase| {
            let message = phase.contexts().first().and_then(|context| context.message());
            (phase.phase_type().unwrap().clone(), message.unwrap_or_default().to_owned())
        })
        .collect()
}

#[tokio::test]
async fn a_build_runs_succeeds_and_is_told_of() {
    let setup = setup(|_| {}).await;
    let exported = json!({"IMAGE_URI": "${REPO}@${DIGEST}"});
    create(&setup.client, "shop", &json!({"secs": 0.3, "exported": exported})).await;
    let build = start(&setup.client, "shop", &[("DIGEST", "sha256:1")]).await;
    assert_eq!((build.build_status(), build.build_complete), (Some(&StatusType::InProgress), false));
    let build = ended(&setup.client, build.id().unwrap()).await;
    assert_eq!(build.build_status(), Some(&StatusType::Succeeded));
    let variable = &build.exported_environment_variables()[0];
    assert_eq!(
        (variable.name(), variable.value()),
        (Some("IMAGE_URI"), Some("111122223333.dkr.ecr/shop@sha256:1"))
    );
    assert_eq!((build.resolved_source_version(), build.build_number), (Some("4f1c"), Some(1)));
    assert!(build.logs().unwrap().deep_link().unwrap().contains("/aws/codebuild/shop"));
    assert_eq!(build.phases().len(), 11);

    let told = || async { Some(lock(&setup.events.0).clone()).filter(|events| events.len() == 2) };
    let events = eventually("the second event", told).await;
    let status = |event: &ServiceEvent| event.detail["build-status"].as_str().unwrap().to_owned();
    assert_eq!(events.iter().map(status).collect::<Vec<_>>(), ["IN_PROGRESS", "SUCCEEDED"]);
    let event = &events[1];
    assert_eq!(
        (event.source.as_str(), event.detail_type.as_str()),
        ("aws.codebuild", "CodeBuild Build State Change")
    );
    assert_eq!(event.resources, [build.arn().unwrap()]);
    assert_eq!(event.detail["build-id"], build.arn().unwrap());
    assert_eq!(event.detail["current-phase"], "COMPLETED");
    let information = &event.detail["additional-information"];
    assert_eq!(information["build-complete"], true);
    assert!(information["build-start-time"].as_str().unwrap().ends_with('M'), "{information}");
    let all = event.detail.to_string();
    assert!(!all.contains("exported") && !all.contains("shop@sha256"), "{all}");
}

#[tokio::test]
async fn a_check_asks_the_candidate_itself() {
    let setup = setup(|_| {}).await;
    let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let candidate = Router::new().route("/", get(async || ([("x-version", "2")], "ready")));
    tokio::spawn(async move { axum::serve(socket, candidate).await });
    let check = json!({"url": "${CANDIDATE}/", "expect_version": "${VERSION}", "expect_body": "ready", "requests": 3});
    create(&setup.client, "verify", &json!({"http_check": check})).await;
    let verify = async |version: &str, url: &str| {
        let build = start(&setup.client, "verify", &[("CANDIDATE", url), ("VERSION", version)]).await;
        ended(&setup.client, build.id().unwrap()).await
    };
    assert_eq!(verify("2", &url).await.build_status(), Some(&StatusType::Succeeded));
    let build = verify("1", &url).await;
    assert_eq!(build.build_status(), Some(&StatusType::Failed));
    let message = format!("GET {url}/ (1 of 3): answered by version 2, expected 1");
    assert_eq!(failures(&build), [(BuildPhaseType::Build, message)]);
    let build = verify("2", "http://127.0.0.1:9").await;
    assert_eq!(build.build_status(), Some(&StatusType::Failed));
}

#[tokio::test]
async fn builds_are_stopped_limited_and_time_out() {
    let setup = setup(|options| options.minute = Duration::from_millis(60)).await;
    let client = &setup.client;
    create(client, "slow", &json!({"secs": 100})).await;
    let (first, second) = (start(client, "slow", &[]).await, start(client, "slow", &[]).await);
    let error = client.start_build().project_name("slow").send().await.unwrap_err();
    assert!(error.into_service_error().is_account_limit_exceeded_exception());
    let stopped = client.stop_build().id(first.id().unwrap()).send().await.unwrap().build_value.unwrap();
    assert_eq!(stopped.build_status(), Some(&StatusType::Stopped));
    let late = ended(client, second.id().unwrap()).await;
    assert_eq!(late.build_status(), Some(&StatusType::TimedOut));
    let told = || async { Some(lock(&setup.events.0).clone()).filter(|events| events.len() == 4) };
    let events = eventually("both ends", told).await;
    let status = |event: &ServiceEvent| event.detail["build-status"].as_str().unwrap().to_owned();
    let mut ends: Vec<String> = events.iter().map(status).collect();
    ends.sort();
    assert_eq!(ends, ["FAILED", "IN_PROGRESS", "IN_PROGRESS", "STOPPED"]);
    let ids = client.list_builds_for_project().project_name("slow").send().await.unwrap().ids.unwrap();
    assert_eq!(ids, [second.id().unwrap(), first.id().unwrap()]);
}

#[tokio::test]
async fn what_aws_refuses_is_refused_with_its_codes() {
    let setup = setup(|_| {}).await;
    let client = &setup.client;
    create(client, "shop", &json!({"secs": 100})).await;
    let token = |version: &str| {
        client.start_build().project_name("shop").source_version(version).idempotency_token("once").send()
    };
    let (first, again) = (token("1").await.unwrap(), token("1").await.unwrap());
    assert_eq!(first.build_value().unwrap().id(), again.build_value().unwrap().id());
    let codes = [
        token("2").await.unwrap_err().code().map(str::to_owned),
        client.start_build().project_name("none").send().await.unwrap_err().code().map(str::to_owned),
        client.stop_build().id("shop:none").send().await.unwrap_err().code().map(str::to_owned),
        client.batch_get_builds().ids("none").send().await.unwrap_err().code().map(str::to_owned),
        client
            .list_builds_for_project()
            .project_name("none")
            .send()
            .await
            .unwrap_err()
            .code()
            .map(str::to_owned),
    ];
    let (invalid, missing) = ("InvalidInputException", "ResourceNotFoundException");
    assert_eq!(codes.map(Option::unwrap), [invalid, missing, missing, invalid, missing]);
    let answer = client.batch_get_builds().ids("shop:none").send().await.unwrap();
    assert_eq!(answer.builds_not_found(), ["shop:none"]);
    let answer = client.batch_get_projects().names("shop").names("none").send().await.unwrap();
    assert_eq!((answer.projects().len(), answer.projects_not_found()), (1, &["none".to_owned()][..]));
    client.delete_project().name("shop").send().await.unwrap();
    assert!(client.list_projects().send().await.unwrap().projects().is_empty());
    // The builds stay.
    let id = first.build_value().unwrap().id().unwrap();
    assert_eq!(client.batch_get_builds().ids(id).send().await.unwrap().builds().len(), 1);
}

fn graph() -> Value {
    json!({"secs": 0.1, "exported": {"PLACE": "${CODEBUILD_BATCH_BUILD_IDENTIFIER} of ${REPO}, ${DEPTH}"}, "batch": {"build-graph": [
        {"identifier": "amd64", "env": {"variables": {"DEPTH": "2"}}},
        {"identifier": "index", "depend-on": ["amd64"], "buildspec": {"secs": 0.1}},
    ]}})
}

#[tokio::test]
async fn a_batch_runs_its_builds_in_their_order_and_events_tell_of_builds_alone() {
    let setup = setup(|_| {}).await;
    let client = &setup.client;
    create(client, "shop", &graph()).await;
    let batch = client.start_build_batch().project_name("shop").source_version("main").send().await;
    let batch = batch.unwrap().build_batch.unwrap();
    assert_eq!((batch.current_phase(), batch.build_batch_number()), (Some("SUBMITTED"), Some(1)));
    let id = batch.id().unwrap();
    let look = || async {
        let answer =
            client.batch_get_build_batches().ids(id).ids("none").ids("shop:none").send().await.unwrap();
        assert_eq!(answer.build_batches_not_found(), ["none", "shop:none"]);
        Some(answer.build_batches.unwrap().remove(0)).filter(|batch| batch.complete)
    };
    let batch = eventually("the batch's end", look).await;
    assert_eq!(batch.build_batch_status(), Some(&StatusType::Succeeded));
    let phases = batch.phases().iter().map(|phase| phase.phase_type().unwrap().as_str());
    assert_eq!(phases.collect::<Vec<_>>(), ["SUBMITTED", "DOWNLOAD_BATCHSPEC", "IN_PROGRESS", "SUCCEEDED"]);
    let groups = batch.build_groups().iter().map(|group| group.identifier().unwrap());
    assert_eq!(groups.collect::<Vec<_>>(), ["DOWNLOAD_SOURCE", "amd64", "index"]);
    let builds =
        batch.build_groups().iter().map(|group| group.current_build_summary().unwrap().arn().unwrap());
    let builds: Vec<String> = builds.map(str::to_owned).collect();
    let ids = Some(builds.iter().map(|arn| arn.split(":build/").nth(1).unwrap().to_owned()).collect());
    let got = client.batch_get_builds().set_ids(ids).send().await.unwrap().builds.unwrap();
    assert!(
        got.iter()
            .all(|build| build.build_batch_arn() == batch.arn() && build.source_version() == Some("main"))
    );
    assert_eq!(
        got[1].exported_environment_variables()[0].value(),
        Some("amd64 of 111122223333.dkr.ecr/shop, 2")
    );
    assert!(got[1].end_time().unwrap().as_nanos() <= got[2].start_time().unwrap().as_nanos());
    assert_eq!(
        client.list_build_batches_for_project().project_name("shop").send().await.unwrap().ids(),
        [id]
    );

    let told = || async { Some(lock(&setup.events.0).clone()).filter(|events| events.len() == 6) };
    let events = eventually("two events of each build", told).await;
    assert!(events.iter().all(|event| builds.contains(&event.resources[0])), "{events:?}");
}

#[tokio::test]
async fn what_aws_does_not_say_of_a_batch_is_played_when_asked_for() {
    for (batch_events, expected) in [
        (BatchEvents::AsBuild, ("CodeBuild Build State Change", "build-status")),
        (BatchEvents::OfItsOwn, ("CodeBuild Build Batch State Change", "build-batch-status")),
    ] {
        let setup = setup(|options| options.batch_events = batch_events).await;
        create(&setup.client, "shop", &graph()).await;
        setup.client.start_build_batch().project_name("shop").send().await.unwrap();
        let of_batch = |event: &ServiceEvent| event.resources[0].contains(":build-batch/");
        let told = || async {
            let told: Vec<_> =
                lock(&setup.events.0).iter().filter(|event| of_batch(event)).cloned().collect();
            Some(told).filter(|told| told.len() == 2)
        };
        let told = eventually("the batch's events", told).await;
        assert!(told.iter().all(|event| event.detail_type == expected.0), "{told:?}");
        assert_eq!(
            (&told[0].detail[expected.1], &told[1].detail[expected.1]),
            (&json!("IN_PROGRESS"), &json!("SUCCEEDED"))
        );
    }
}

#[tokio::test]
async fn a_batch_is_refused_stopped_and_fails_as_on_aws() {
    let setup = setup(|_| {}).await;
    let client = &setup.client;
    create(
        client,
        "slow",
        &json!({"secs": 100, "batch": {"build-list": [{"identifier": "a"}, {"identifier": "b"}]}}),
    )
    .await;
    create(client, "plain", &json!({})).await;
    let bare = json!({"name": "bare", "source": {"type": "NO_SOURCE", "buildspec": "{}"}, "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"}, "serviceRole": "r"});
    let aws = crate::ministack::Client::new(setup._endpoint.address(), "eu-central-1", "test", "test");
    aws.json("codebuild", "CodeBuild_20161006.CreateProject", bare).await.unwrap();
    let code = async |project: &str| {
        let error = client.start_build_batch().project_name(project).send().await.unwrap_err();
        error.code().unwrap().to_owned()
    };
    assert_eq!(code("none").await, "ResourceNotFoundException");
    assert_eq!(code("bare").await, "InvalidInputException");
    let stop = client.stop_build_batch().id("slow:none").send().await.unwrap_err();
    assert_eq!(stop.code(), Some("ResourceNotFoundException"));
    let many = Some(vec!["slow:1".to_owned(); 101]);
    let many = client.batch_get_build_batches().set_ids(many).send().await.unwrap_err();
    assert_eq!(many.code(), Some("InvalidInputException"));

    let once = async |version: &str| {
        client
            .start_build_batch()
            .project_name("slow")
            .source_version(version)
            .idempotency_token("once")
            .send()
            .await
    };
    let (first, again) = (once("1").await.unwrap(), once("1").await.unwrap());
    let id = first.build_batch().unwrap().id().unwrap();
    assert_eq!(again.build_batch().unwrap().id(), Some(id));
    assert_eq!(once("2").await.unwrap_err().code(), Some("InvalidInputException"));
    // A build's tokens are its own.
    client.start_build().project_name("slow").idempotency_token("once").send().await.unwrap();
    let get = async |id: &str| {
        client.batch_get_build_batches().ids(id).send().await.unwrap().build_batches.unwrap().remove(0)
    };
    eventually("both builds", || async {
        Some(get(id).await).filter(|batch| {
            batch.build_groups().len() == 3
                && batch.build_groups().iter().all(|group| group.current_build_summary().is_some())
        })
    })
    .await;
    let stopped = client.stop_build_batch().id(id).send().await.unwrap().build_batch.unwrap();
    assert_eq!(
        (stopped.build_batch_status(), stopped.current_phase()),
        (Some(&StatusType::Stopped), Some("STOPPED"))
    );
    let member = get(id).await.build_groups()[1].current_build_summary().unwrap().arn().unwrap().to_owned();
    let member = ended(client, member.split(":build/").nth(1).unwrap()).await;
    assert_eq!(member.build_status(), Some(&StatusType::Stopped));

    let batch = client.start_build_batch().project_name("plain").send().await.unwrap().build_batch.unwrap();
    let look = || async { Some(get(batch.id().unwrap()).await).filter(|batch| batch.complete) };
    let failed = eventually("a buildspec without a batch to fail", look).await;
    let context = &failed.phases()[1].contexts()[0];
    assert_eq!(
        (failed.build_batch_status(), context.status_code()),
        (Some(&StatusType::Failed), Some("YAML_FILE_ERROR"))
    );
    assert!(context.message().unwrap().contains("has no batch"), "{context:?}");
}

#[tokio::test]
async fn artifacts_are_in_s3_and_the_event_reaches_a_function() {
    let stage = Stage::up(|_| {}).await;
    stage.create_bucket("out").await;
    let function = stage.function("intake", "", json!([])).await;
    stage
        .rule(
            "builds",
            json!({"source": ["aws.codebuild"], "detail": {"build-status": ["SUCCEEDED"]}}),
            &function,
        )
        .await;
    let client = Client::from_conf(sdk_config!(aws_sdk_codebuild, stage.local.endpoint.url()));
    let files = json!({"imageDetail.json": {"ImageURI": "shop@${DIGEST}"}});
    create(&client, "shop", &json!({"artifact": {"files": files}})).await;
    let build = start(&client, "shop", &[("DIGEST", "sha256:1")]).await;
    let event = stage.told().await;
    assert_eq!(event["detail"]["build-id"], build.arn().unwrap());
    let artifact = &event["detail"]["additional-information"]["artifact"];
    assert_eq!(artifact["location"], "arn:aws:s3:::out/shop.zip");
    let build = ended(&client, build.id().unwrap()).await;
    let artifacts = build.artifacts().unwrap();
    assert_eq!(artifacts.sha256_sum(), artifact["sha256sum"].as_str());
    assert_eq!(artifacts.md5_sum().map(str::len), Some(32));
    let object = stage.object("out", "shop.zip").await;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(object)).unwrap();
    let detail: Value = serde_json::from_reader(archive.by_name("imageDetail.json").unwrap()).unwrap();
    assert_eq!(detail, json!({"ImageURI": "shop@sha256:1"}));
    stage.local.stop().await.unwrap();
}
