//! Pipelines whose action is a release, and pipelines that wait for Tidegate's approval.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tidegate_core::gate::{self, By};
use tidegate_core::release::Phase;

use crate::house::{ROLE, call, open, open_with, put, registry, text, told, zipped};
use crate::runner::{Scenario, scenario};
use crate::stage::{STACK, until};
use crate::story::{Story, good};

const ENDS: Duration = Duration::from_secs(150);
const EXECUTION: &str = "#{codepipeline.PipelineExecutionId}";
const ALICE: &str = "arn:aws:iam::111122223333:role/alice";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("a pipeline releases its artifact's image and ends with the release", async |stage| {
            let story = open(&stage, "piped").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let execution =
                start(&story, &digest, &json!({"service": "piped", "execution": EXECUTION}), None).await?;
            ensure!(ended(&story, &execution).await? == "Succeeded", "{}", action(&story).await?);
            let id = story.release_of(&digest).await?;
            story.ends(&id, "promoted").await?;
            let state = action(&story).await?;
            ensure!(text(&state, "/latestExecution/externalExecutionId")? == id.as_str(), "{state}");
            ensure!(text(&state, "/latestExecution/summary")?.contains("is promoted"), "{state}");
            ensure!(story.releases().await?.len() == 1, "many invocations, one release");
            Ok(())
        }),
        scenario("a release that is rolled back fails its pipeline and says why", async |stage| {
            let story = open_with(&stage, "piped-back", "{ blue_green: {}, bake: 60s }", "").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let execution =
                start(&story, &digest, &json!({"service": "piped-back", "execution": EXECUTION}), None)
                    .await?;
            let id = story.release_of(&digest).await?;
            story
                .until(&id, "a deployment", |release| {
                    release.progress.state.ecs_native().deployment.is_some()
                })
                .await?;
            story.turn(true).await?;
            ensure!(ended(&story, &execution).await? == "Failed", "{}", action(&story).await?);
            story.ends(&id, "rolled back").await?;
            let state = action(&story).await?;
            let why = text(&state, "/latestExecution/errorDetails/message")?;
            ensure!(why.contains("was rolled back") && why.contains("piped-back-switch"), "{state}");
            Ok(())
        }),
        scenario("what is wrong with an action is told at once", async |stage| {
            let story = open(&stage, "mispiped").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let execution =
                start(&story, &digest, &json!({"service": "mispiped", "tags": "x"}), None).await?;
            ensure!(ended(&story, &execution).await? == "Failed");
            let state = action(&story).await?;
            ensure!(
                text(&state, "/latestExecution/errorDetails/message")?.contains("unknown field `tags`"),
                "{state}"
            );
            Ok(())
        }),
        scenario("a pipeline's manual approval gets the answer of Tidegate's gate", async |stage| {
            let more = format!(
                "approval: {{ before: deploy, by: [alice], pipeline: {{ name: approved, stage: Deploy, action: Approve }} }}\n\
                 people: {{ alice: {{ aws: [\"{ALICE}\"] }} }}\n"
            );
            let story = open_with(&stage, "approved", "{ blue_green: {}, bake: 1s }", &more).await?;
            approved(&story).await
        }),
    ]
}

async fn approved(story: &Story) -> Result<()> {
    let digest = story.push("main-2", good("v2")).await?;
    let parameters = json!({"service": "approved", "wait": false, "execution": EXECUTION});
    let approval = json!({"name": "Approve", "runOrder": 2, "configuration": {}, "inputArtifacts": [], "outputArtifacts": [],
        "actionTypeId": {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}});
    let execution = start(story, &digest, &parameters, Some(approval)).await?;
    let id = story.release_of(&digest).await?;
    story.until(&id, "waiting to be approved", |release| gate::waiting_at(release).is_some()).await?;
    story.stage.clock().await?;
    ensure!(status(story, &execution).await? == "InProgress", "nobody has decided");
    until("alice's word to count", ENDS, async || {
        let release = story.get(&id).await?;
        if !matches!(release.phase, Phase::Running { .. }) || gate::waiting_at(&release).is_none() {
            return Ok(Some(()));
        }
        let by = By::Identity(ALICE.into());
        let given = gate::give(&release, &by, true, None, None, jiff::Timestamp::now());
        let commit = given.map_err(|error| anyhow!("{error}"))?;
        match story.stage.installation.ledger.commit(commit).await {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind == tidegate_core::fault::ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    story.ends(&id, "promoted").await?;
    let answered = until("the pipeline to end", ENDS, async || {
        story.stage.clock().await?;
        let status = status(story, &execution).await?;
        Ok((status != "InProgress").then_some(status))
    })
    .await?;
    ensure!(answered == "Succeeded", "{answered}");
    ensure!(
        told(story).await?.contains("approved approved/Deploy/Approve of execution"),
        "{}",
        told(story).await?
    );
    Ok(())
}

/// Makes the pipeline from the example: its source is an archive in a bucket, as the sandbox knows no ECR source. Starts it.
async fn start(story: &Story, digest: &str, parameters: &Value, approval: Option<Value>) -> Result<String> {
    let name = story.name.as_str();
    let example =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/codepipeline/pipeline.json");
    let mut pipeline: Value = serde_json::from_str(&std::fs::read_to_string(example)?)?;
    pipeline["name"] = name.into();
    pipeline["roleArn"] = ROLE.into();
    pipeline["artifactStore"]["location"] = "store".into();
    let source = &mut pipeline["stages"][0]["actions"][0];
    source["actionTypeId"]["provider"] = "S3".into();
    source["configuration"] = json!({"S3Bucket": "incoming", "S3ObjectKey": format!("{name}.zip")});
    let release = &mut pipeline["stages"][1]["actions"][0];
    release["configuration"]["FunctionName"] = format!("{STACK}-pipeline").into();
    release["configuration"]["UserParameters"] = parameters.to_string().into();
    if let Some(approval) = approval {
        pipeline["stages"][1]["actions"].as_array_mut().context("actions")?.push(approval);
    }
    let detail = json!({"ImageURI": format!("{}/shop/{name}@{digest}", registry())}).to_string();
    put(&story.stage, "incoming", &format!("{name}.zip"), zipped(&[("imageDetail.json", detail)])?).await?;
    let create = json!({ "pipeline": pipeline });
    call(&story.stage, "codepipeline", "CodePipeline_20150709.CreatePipeline", create).await?;
    // On AWS a new pipeline starts by itself; here it may, or not.
    let start = json!({ "name": name });
    let answer =
        call(&story.stage, "codepipeline", "CodePipeline_20150709.StartPipelineExecution", start).await?;
    text(&answer, "/pipelineExecutionId").map(str::to_owned)
}

async fn status(story: &Story, execution: &str) -> Result<String> {
    let input = json!({"pipelineName": story.name.as_str(), "pipelineExecutionId": execution});
    let answer =
        call(&story.stage, "codepipeline", "CodePipeline_20150709.GetPipelineExecution", input).await?;
    text(&answer, "/pipelineExecution/status").map(str::to_owned)
}

async fn ended(story: &Story, execution: &str) -> Result<String> {
    until("the pipeline to end", ENDS, async || {
        let status = status(story, execution).await?;
        Ok((status != "InProgress").then_some(status))
    })
    .await
}

/// The state of the action that releases.
async fn action(story: &Story) -> Result<Value> {
    let input = json!({"name": story.name.as_str()});
    let state = call(&story.stage, "codepipeline", "CodePipeline_20150709.GetPipelineState", input).await?;
    Ok(state["stageStates"][1]["actionStates"][0].clone())
}
