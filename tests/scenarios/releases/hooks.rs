//! Functions of the service's own at its lifecycle hooks: Amazon ECS asks them while Tidegate releases, and they are real.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tidegate_core::outcome::Cause;
use tidegate_sandbox::local::shop::Balancer;
use tidegate_sandbox::local::{ACCOUNT, HOOK_ROLE};
use tidegate_sandbox::ministack::functions::{create_function, create_role};
use tidegate_sandbox::ports::AwsError;

use crate::runner::{Scenario, scenario};
use crate::stage::{Stage, until};
use crate::story::{Story, good};

const NAME: &str = "asked";
/// Tells a queue what it was told, and answers what its hook's details say: twice that it is not done yet before it agrees.
const FUNCTION: &str = r#"
def handle(event):
    sqs = aws("sqs")
    url = sqs.get_queue_url(QueueName="asked")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
    details = event["hookDetails"]
    asked = details.get("asked", 0)
    if details["say"] == "SUCCEEDED" and asked < 2:
        return {"hookStatus": "IN_PROGRESS", "callBackDelay": 1, "hookDetails": {"asked": asked + 1}}
    if details["say"] == "NOTHING":
        raise RuntimeError("the smoke test found smoke")
    return {"hookStatus": details["say"]}
"#;

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario(
        "functions of the service's own are asked until they are done, and a no, an error or a forbidden call rolls back",
        async |stage| {
            let mut story = Story::open_behind(&stage, NAME, Balancer::None).await?;
            story.policy("{ blue_green: {}, bake: 1s }").await?;
            let function = function(&stage).await?;
            let hook = |role: &str, say: &str| {
                json!([{ "hookTargetArn": function, "roleArn": role, "lifecycleStages": ["POST_SCALE_UP"],
                         "hookDetails": { "say": say } }])
            };
            story.hooks_by_hand(&hook(HOOK_ROLE, "SUCCEEDED")).await?;
            let digest = story.push("main-2", good("v2")).await?;
            let id = story.release_of(&digest).await?;
            story.ends(&id, "promoted").await?;
            story.runs(&digest).await?;
            let asked = told(&stage).await?;
            let states: Vec<&Value> = asked.iter().map(|event| &event["hookDetails"]["asked"]).collect();
            ensure!(states == [&Value::Null, &json!(1), &json!(2)], "it was told {states:?}");
            let first = asked.first().context("it was asked")?;
            let service = first["executionDetails"]["serviceArn"].as_str().unwrap_or_default();
            ensure!(service.ends_with("/asked") && first["lifecycleStage"] == "POST_SCALE_UP", "{first}");

            let forbidden = format!("{HOOK_ROLE}-forbidden");
            for (tag, role, say, why) in [
                ("main-3", HOOK_ROLE, "FAILED", "answered FAILED"),
                ("main-4", HOOK_ROLE, "NOTHING", "the smoke test found smoke"),
                ("main-5", &forbidden, "SUCCEEDED", "AccessDenied"),
            ] {
                story.hooks_by_hand(&hook(role, say)).await?;
                let id = story.release(tag, good(tag)).await?;
                let ended = story.ends(&id, "rolled back").await?;
                let reason = match ended.cause() {
                    Some(Cause::Deployment { reason }) => reason.clone(),
                    other => anyhow::bail!("rolled back because of {other:?}"),
                };
                ensure!(reason.contains(why), "{tag}: {reason}");
                story.is_as_before().await?;
            }
            Ok(())
        },
    )]
}

/// The function, with the roles that may call it and may not.
async fn function(stage: &Stage) -> Result<String> {
    let client = &stage.local.client;
    let failed = |error: AwsError| anyhow!("{}: {}", error.code, error.message);
    stage.sqs("CreateQueue", json!({ "QueueName": NAME })).await?;
    let tells = json!([{ "Effect": "Allow", "Action": "sqs:*", "Resource": "*" }]);
    let lambda = ["lambda.amazonaws.com"];
    let role = create_role(client, ACCOUNT, "asked-function", &lambda, tells).await.map_err(failed)?;
    let function =
        create_function(client, stage.venv(), "asked-smoke", &role, FUNCTION).await.map_err(failed)?;
    let calls = json!([{ "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function }]);
    let others = json!([{ "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": format!("{function}-2") }]);
    for (name, statements) in [("", calls), ("-forbidden", others)] {
        let name = format!("{}{name}", HOOK_ROLE.rsplit('/').next().unwrap_or_default());
        create_role(client, ACCOUNT, &name, &["ecs.amazonaws.com"], statements).await.map_err(failed)?;
    }
    Ok(function)
}

/// What the function was told, in its order.
async fn told(stage: &Stage) -> Result<Vec<Value>> {
    let queue = stage.sqs("GetQueueUrl", json!({ "QueueName": NAME })).await?;
    let mut told = Vec::new();
    let found = until("what the function was told", Duration::from_secs(10), async || {
        let input =
            json!({ "QueueUrl": queue["QueueUrl"], "MaxNumberOfMessages": 10, "VisibilityTimeout": 60 });
        let got = stage.sqs("ReceiveMessage", input).await?;
        let messages = got["Messages"].as_array().cloned().unwrap_or_default();
        Ok((!messages.is_empty()).then_some(messages))
    })
    .await?;
    for message in found {
        told.push(serde_json::from_str::<Value>(message["Body"].as_str().unwrap_or_default())?);
    }
    told.sort_by_key(|event| event["hookDetails"]["asked"].as_u64().unwrap_or_default());
    Ok(told)
}
