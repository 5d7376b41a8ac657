//! Executions with an explicit clock, and a whole pipeline through the official SDK.

use aws_sdk_codepipeline::Client;
use aws_sdk_codepipeline::types::{
    ActionCategory, ActionDeclaration, ActionExecution, ActionExecutionStatus, ActionOwner, ActionTypeId,
    ApprovalResult, ApprovalStatus, ArtifactStore, ArtifactStoreType, InputArtifact, OutputArtifact,
    PipelineDeclaration, PipelineExecutionStatus, StageDeclaration,
};
use jiff::SignedDuration;

use super::model::{ActionStatus, JobState, Site, Status, Work};
use super::*;
use crate::local::testing::{Stage, eventually, sdk_config};
use crate::local::{ACCOUNT, REGION};

fn action(name: &str, category: &str, provider: &str, configuration: Value) -> Value {
    json!({"name": name, "configuration": configuration, "inputArtifacts": [], "outputArtifacts": [],
        "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"}})
}

fn source() -> Value {
    let mut source =
        action("Take", "Source", "S3", json!({"S3Bucket": "incoming", "S3ObjectKey": "app.zip"}));
    source["outputArtifacts"] = json!([{"name": "App"}]);
    source
}

fn release() -> Value {
    let mut release =
        action("Release", "Invoke", "Lambda", json!({"FunctionName": "pipeline", "UserParameters": "{}"}));
    release["inputArtifacts"] = json!([{"name": "App"}]);
    release
}

/// A state machine with its own clock.
struct Bench {
    state: State,
    options: Options,
    now: Timestamp,
    events: Vec<String>,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(actions: &[Value]) -> Self {
        let options = Options::new(ACCOUNT, REGION);
        let now = Timestamp::UNIX_EPOCH;
        let mut bench =
            Self { state: State::default(), options, now, events: Vec::new(), effects: Vec::new() };
        let stages: Vec<Value> = std::iter::once(json!({"name": "Source", "actions": [source()]}))
            .chain(actions.iter().map(|action| json!({"name": action["name"], "actions": [action]})))
            .collect();
        let store = json!({"type": "S3", "location": "store"});
        let role = "arn:aws:iam::111122223333:role/pipeline";
        let pipeline = json!({"name": "shop", "roleArn": role, "artifactStore": store, "stages": stages});
        bench.call("CreatePipeline", json!({"pipeline": pipeline})).unwrap();
        bench
    }

    fn call(&mut self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let caller = Caller::default();
        let answer = api::answer(&mut self.state, &self.options, operation, &input, &caller, self.now);
        self.look();
        answer
    }

    fn code(&mut self, operation: &str, input: Value) -> String {
        self.call(operation, input).unwrap_err().code
    }

    fn look(&mut self) {
        let outcome = machine::tick(&mut self.state, &self.options, self.now);
        self.effects.extend(outcome.effects);
        self.events.extend(outcome.events.into_iter().map(|event| {
            let text = |member: &str| event.detail[member].as_str().unwrap_or_default().to_owned();
            [text("stage"), text("action"), text("state")].join("/").trim_start_matches('/').to_owned()
        }));
    }

    fn pass(&mut self, secs: i64) {
        self.now += SignedDuration::from_secs(secs);
        self.look();
    }

    /// Starts an execution and brings its source; the rest is up to the test.
    fn start(&mut self) -> String {
        let answer = self.call("StartPipelineExecution", json!({"name": "shop"})).unwrap();
        while let Some(Effect::Fetch { site, .. }) = self.effects.pop() {
            api::fetched(&mut self.state, &site, Ok("rev-1".into()), self.now);
            self.look();
        }
        answer["pipelineExecutionId"].as_str().unwrap().to_owned()
    }

    fn execution_status(&self, id: &str) -> Status {
        let executions = &self.state.pipelines["shop"].executions;
        executions.iter().find(|execution| execution.id == id).unwrap().status
    }

    fn work(&mut self, execution: &str) -> (ActionStatus, Work) {
        let site = Site { pipeline: "shop".into(), execution: execution.into(), stage: 1, action: 0 };
        let run = self.state.action_mut(&site).unwrap();
        (run.status, run.work.clone())
    }

    fn job(&mut self, execution: &str) -> String {
        let (_, Work::Lambda { job, .. }) = self.work(execution) else { panic!("no job") };
        job
    }
}

#[test]
fn a_job_is_continued_answered_once_and_times_out() {
    let mut bench = Bench::new(&[release()]);
    let id = bench.start();
    let first = bench.job(&id);
    let success = |job: &str| json!({"jobId": job});
    bench.pass(0);
    assert!(matches!(bench.state.jobs[&first].state, JobState::InProgress(_)));
    let more = json!({"jobId": first, "continuationToken": "t1", "executionDetails": {"summary": "10%", "percentComplete": 10}});
    bench.call("PutJobSuccessResult", more.clone()).unwrap();
    assert_eq!(bench.code("PutJobSuccessResult", more), "InvalidJobStateException");
    let second = bench.job(&id);
    assert_ne!(first, second);
    assert_eq!(
        bench.code("PutJobSuccessResult", success(&second)),
        "InvalidJobStateException",
        "not yet dispatched"
    );
    bench.pass(1);
    let details = bench.call("GetJobDetails", success(&second)).unwrap();
    assert_eq!(details["jobDetails"]["data"]["continuationToken"], "t1");
    assert_eq!(details["jobDetails"]["data"]["inputArtifacts"][0]["revision"], "rev-1");
    for (operation, input, code) in [
        ("PutJobSuccessResult", success("none"), "JobNotFoundException"),
        ("GetJobDetails", success("none"), "JobNotFoundException"),
        ("AcknowledgeJob", json!({"jobId": second, "nonce": "3"}), "InvalidNonceException"),
        (
            "PutJobSuccessResult",
            json!({"jobId": second, "continuationToken": "x".repeat(2049)}),
            "ValidationException",
        ),
        (
            "PutJobFailureResult",
            json!({"jobId": second, "failureDetails": {"type": "Other", "message": "m"}}),
            "ValidationException",
        ),
    ] {
        assert_eq!(bench.code(operation, input.clone()), code, "{operation} {input}");
    }
    bench.pass(20 * 60 - 1);
    assert_eq!(bench.execution_status(&id), Status::InProgress);
    bench.pass(1);
    assert_eq!(bench.execution_status(&id), Status::Failed);
    assert_eq!(bench.code("PutJobSuccessResult", success(&second)), "InvalidJobStateException");
    let state = bench.call("GetPipelineState", json!({"name": "shop"})).unwrap();
    let message =
        state["stageStates"][1]["actionStates"][0]["latestExecution"]["errorDetails"]["message"].clone();
    assert!(message.as_str().unwrap().contains("failed to return a result"), "{message}");
}

#[test]
fn an_execution_tells_of_all_its_steps() {
    let mut bench = Bench::new(&[release(), action("Smoke", "Test", "CodeBuild", json!({"Secs": "3"}))]);
    let id = bench.start();
    let job = bench.job(&id);
    bench.call("PutJobSuccessResult", json!({"jobId": job})).unwrap();
    assert_eq!(machine::next_wake(&bench.state), Some(bench.now + SignedDuration::from_secs(3)));
    bench.pass(3);
    assert_eq!(bench.execution_status(&id), Status::Succeeded);
    assert_eq!(machine::next_wake(&bench.state), None);
    assert_eq!(
        bench.events,
        [
            "STARTED",
            "Source//STARTED",
            "Source/Take/STARTED",
            "Source/Take/SUCCEEDED",
            "Source//SUCCEEDED",
            "Release//STARTED",
            "Release/Release/STARTED",
            "Release/Release/SUCCEEDED",
            "Release//SUCCEEDED",
            "Smoke//STARTED",
            "Smoke/Smoke/STARTED",
            "Smoke/Smoke/SUCCEEDED",
            "Smoke//SUCCEEDED",
            "SUCCEEDED",
        ]
    );
}

#[test]
fn an_approval_is_given_once_and_expires() {
    let mut bench = Bench::new(&[action("Approve", "Approval", "Manual", json!({"CustomData": "look"}))]);
    let id = bench.start();
    let state = bench.call("GetPipelineState", json!({"name": "shop"})).unwrap();
    let token = state["stageStates"][1]["actionStates"][0]["latestExecution"]["token"].clone();
    let answer = |token: &Value, stage: &str, action: &str| {
        json!({"pipelineName": "shop", "stageName": stage, "actionName": action, "token": token,
            "result": {"summary": "fine", "status": "Approved"}})
    };
    let other = json!("00000000-0000-0000-0000-000000000000");
    for (input, code) in [
        (answer(&other, "Approve", "Approve"), "InvalidApprovalTokenException"),
        (answer(&token, "None", "Approve"), "StageNotFoundException"),
        (answer(&token, "Approve", "None"), "ActionNotFoundException"),
    ] {
        assert_eq!(bench.code("PutApprovalResult", input), code);
    }
    bench.call("PutApprovalResult", answer(&token, "Approve", "Approve")).unwrap();
    assert_eq!(
        bench.code("PutApprovalResult", answer(&token, "Approve", "Approve")),
        "ApprovalAlreadyCompletedException"
    );
    assert_eq!(bench.execution_status(&id), Status::Succeeded);

    let late = bench.start();
    bench.pass(7 * 24 * 60 * 60);
    assert_eq!(bench.execution_status(&late), Status::Failed);
}

#[test]
fn executions_are_superseded_stopped_and_abandoned() {
    let mut bench = Bench::new(&[release()]);
    let (first, second, third) = (bench.start(), bench.start(), bench.start());
    assert_eq!(bench.execution_status(&second), Status::Superseded);
    assert_eq!(
        (bench.execution_status(&first), bench.execution_status(&third)),
        (Status::InProgress, Status::InProgress)
    );
    let list = |more: Value| {
        let mut input = json!({"pipelineName": "shop"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let ids = |answer: &Value| -> Vec<String> {
        let summaries = answer["pipelineExecutionSummaries"].as_array().unwrap();
        summaries.iter().map(|summary| summary["pipelineExecutionId"].as_str().unwrap().to_owned()).collect()
    };
    let page = bench.call("ListPipelineExecutions", list(json!({"maxResults": 2}))).unwrap();
    assert_eq!(ids(&page), [third.as_str(), second.as_str()]);
    assert_eq!(page["pipelineExecutionSummaries"][1]["status"], "Superseded");
    let rest = bench.call("ListPipelineExecutions", list(json!({"nextToken": page["nextToken"]}))).unwrap();
    assert_eq!((ids(&rest), rest.get("nextToken")), (vec![first.clone()], None));
    assert_eq!(bench.code("ListPipelineExecutions", list(json!({"maxResults": 101}))), "ValidationException");
    let stop = |id: &str, abandon: bool| json!({"pipelineName": "shop", "pipelineExecutionId": id, "abandon": abandon});
    bench.call("StopPipelineExecution", stop(&first, false)).unwrap();
    assert_eq!(bench.execution_status(&first), Status::Stopping, "the action is still in progress");
    assert_eq!(bench.code("StopPipelineExecution", stop(&first, false)), "DuplicatedStopRequestException");
    let job = bench.job(&first);
    bench.call("StopPipelineExecution", stop(&first, true)).unwrap();
    assert_eq!(bench.execution_status(&first), Status::Stopped);
    assert_eq!(bench.code("PutJobSuccessResult", json!({"jobId": job})), "InvalidJobStateException");
    assert_eq!(
        bench.code("StopPipelineExecution", stop(&first, true)),
        "PipelineExecutionNotStoppableException"
    );
    // The stage is free for the one that waited.
    assert_eq!(bench.work(&third).0, ActionStatus::InProgress);
}

#[test]
fn declarations_that_aws_refuses_are_refused() {
    let mut bench = Bench::new(&[release()]);
    let good = bench.call("GetPipeline", json!({"name": "shop"})).unwrap()["pipeline"].clone();
    let changed = |pointer: &str, value: Value| {
        let mut pipeline = good.clone();
        pipeline["name"] = "other".into();
        *pipeline.pointer_mut(pointer).unwrap() = value;
        json!({"pipeline": pipeline})
    };
    let configuration = "/stages/1/actions/0/configuration";
    for (input, code) in [
        (json!({"pipeline": good}), "PipelineNameInUseException"),
        (changed("/stages/1/actions", json!([])), "InvalidStageDeclarationException"),
        (
            changed("/stages/1/actions/0/inputArtifacts", json!([{"name": "Other"}])),
            "InvalidStructureException",
        ),
        (
            changed("/stages/0", json!({"name": "Source", "actions": [release()]})),
            "InvalidStructureException",
        ),
        (changed(configuration, json!({})), "InvalidActionDeclarationException"),
        (
            changed(configuration, json!({"FunctionName": "x".repeat(1001)})),
            "InvalidActionDeclarationException",
        ),
        (changed("/name", json!("not a name")), "ValidationException"),
    ] {
        assert_eq!(bench.code("CreatePipeline", input.clone()), code, "{input}");
    }
}

/// The function of the pipeline: reads its artifact with the job's keys, asks for one continuation, then succeeds.
const HANDLER: &str = r#"
import io, zipfile
def handle(event):
    job = event["CodePipeline.job"]
    data = job["data"]
    place = data["inputArtifacts"][0]["location"]["s3Location"]
    keys = data["artifactCredentials"]
    s3 = aws("s3", aws_access_key_id=keys["accessKeyId"], aws_secret_access_key=keys["secretAccessKey"], aws_session_token=keys["sessionToken"])
    archive = zipfile.ZipFile(io.BytesIO(s3.get_object(Bucket=place["bucketName"], Key=place["objectKey"])["Body"].read()))
    try:
        s3.get_object(Bucket="incoming", Key="app.zip")
        elsewhere = "OK"
    except Exception as e:
        elsewhere = e.response["Error"]["Code"]
    del data["artifactCredentials"]
    tell({"job": job, "detail": json.loads(archive.read("imageDetail.json")), "elsewhere": elsewhere})
    pipeline = aws("codepipeline")
    if "continuationToken" in data:
        pipeline.put_job_success_result(jobId=job["id"], executionDetails={"summary": "promoted", "externalExecutionId": "r-1", "percentComplete": 100})
    else:
        pipeline.put_job_success_result(jobId=job["id"], continuationToken="r-1", executionDetails={"summary": "canary", "percentComplete": 10})
"#;

fn sdk_action(
    name: &str,
    category: ActionCategory,
    provider: &str,
    configuration: &[(&str, &str)],
) -> ActionDeclaration {
    let kind =
        ActionTypeId::builder().category(category).owner(ActionOwner::Aws).provider(provider).version("1");
    let mut action = ActionDeclaration::builder().name(name).action_type_id(kind.build().unwrap());
    for (name, value) in configuration {
        action = action.configuration(*name, *value);
    }
    action.build().unwrap()
}

fn sdk_pipeline(role: &str, topic: &str) -> PipelineDeclaration {
    let mut source = sdk_action(
        "Take",
        ActionCategory::Source,
        "S3",
        &[("S3Bucket", "incoming"), ("S3ObjectKey", "app.zip")],
    );
    source.output_artifacts = Some(vec![OutputArtifact::builder().name("App").build().unwrap()]);
    let approve = sdk_action(
        "Approve",
        ActionCategory::Approval,
        "Manual",
        &[("NotificationArn", topic), ("CustomData", "ship it?")],
    );
    let parameters = [("FunctionName", "pipeline"), ("UserParameters", r#"{"service":"shop"}"#)];
    let mut release = sdk_action("Release", ActionCategory::Invoke, "Lambda", &parameters);
    release.input_artifacts = Some(vec![InputArtifact::builder().name("App").build().unwrap()]);
    let stages = [("Source", source), ("Ask", approve), ("Ship", release)]
        .map(|(name, action)| StageDeclaration::builder().name(name).actions(action).build().unwrap());
    let store = ArtifactStore::builder().r#type(ArtifactStoreType::S3).location("store").build().unwrap();
    PipelineDeclaration::builder()
        .name("shop")
        .role_arn(role)
        .artifact_store(store)
        .set_stages(Some(stages.to_vec()))
        .build()
        .unwrap()
}

async fn latest(client: &Client, stage: usize) -> Option<ActionExecution> {
    let state = client.get_pipeline_state().name("shop").send().await.unwrap();
    state.stage_states()[stage].action_states()[0].latest_execution().cloned()
}

#[tokio::test]
async fn a_pipeline_takes_its_source_asks_and_drives_a_function() {
    let stage = Stage::up(|options| options.pipelines.continue_after = Duration::from_millis(300)).await;
    for bucket in ["incoming", "store"] {
        stage.create_bucket(bucket).await;
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("imageDetail.json", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut zip, br#"{"ImageURI":"shop@sha256:1"}"#).unwrap();
    stage.put_object("incoming", "app.zip", zip.finish().unwrap().into_inner()).await;
    let answers =
        json!([{"Effect": "Allow", "Action": ["codepipeline:PutJobSuccessResult"], "Resource": "*"}]);
    stage.function("pipeline", HANDLER, answers).await;
    let may = json!([
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::incoming/*", "arn:aws:s3:::store/*"]},
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:pipeline")},
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"},
    ]);
    let role = stage.role("shop-pipeline", &["codepipeline.amazonaws.com"], may).await;
    let topic = stage.topic("approvals").await;
    let client = Client::from_conf(sdk_config!(aws_sdk_codepipeline, stage.local.endpoint.url()));
    client.create_pipeline().pipeline(sdk_pipeline(&role, &topic)).send().await.unwrap();
    let id =
        client.start_pipeline_execution().name("shop").send().await.unwrap().pipeline_execution_id.unwrap();

    let message = stage.told().await;
    assert_eq!(message["Subject"], "APPROVAL NEEDED", "{message:#}");
    let message: Value = serde_json::from_str(message["Message"].as_str().unwrap()).unwrap();
    assert_eq!(message["approval"]["customData"], "ship it?", "{message:#}");
    let token = message["approval"]["token"].as_str().unwrap().to_owned();
    assert_eq!(latest(&client, 1).await.unwrap().token(), Some(&*token));
    let result = ApprovalResult::builder().summary("go").status(ApprovalStatus::Approved).build().unwrap();
    let approve = || {
        let request =
            client.put_approval_result().pipeline_name("shop").stage_name("Ask").action_name("Approve");
        request.token(&token).result(result.clone()).send()
    };
    approve().await.unwrap();
    assert!(approve().await.unwrap_err().into_service_error().is_approval_already_completed_exception());

    let (first, second) = (stage.told().await, stage.told().await);
    assert_eq!(first["detail"]["ImageURI"], "shop@sha256:1", "{first:#}");
    assert_eq!(first["elsewhere"], "AccessDenied", "the job's keys are good for the artifact store only");
    assert_eq!(
        first["job"]["data"]["actionConfiguration"]["configuration"]["UserParameters"],
        r#"{"service":"shop"}"#
    );
    assert_eq!(second["job"]["data"]["continuationToken"], "r-1", "{second:#}");
    assert_ne!(first["job"]["id"], second["job"]["id"]);
    let done = || async {
        let answer =
            client.get_pipeline_execution().pipeline_name("shop").pipeline_execution_id(&id).send().await;
        let execution = answer.unwrap().pipeline_execution.unwrap();
        (execution.status() == Some(&PipelineExecutionStatus::Succeeded)).then_some(execution)
    };
    let execution = eventually("the end", done).await;
    assert_eq!(execution.artifact_revisions()[0].name(), Some("App"));
    let release = latest(&client, 2).await.unwrap();
    assert_eq!(
        (release.status(), release.summary()),
        (Some(&ActionExecutionStatus::Succeeded), Some("promoted"))
    );
    assert_eq!((release.percent_complete(), release.external_execution_id()), (Some(100), Some("r-1")));
    assert!(release.last_updated_by().unwrap().contains("pipeline-role"));
    let job = first["job"]["id"].as_str().unwrap();
    let again = client.put_job_success_result().job_id(job).send().await.unwrap_err();
    assert!(again.into_service_error().is_invalid_job_state_exception());
    stage.local.stop().await.unwrap();
}
