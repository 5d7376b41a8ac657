//! Webhooks whose image a mirror brings later.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::house::{call, open, told};
use crate::runner::{Scenario, scenario};
use crate::stage::{STACK, Stage};
use crate::story::good;

const SECRET: &str = "the-secret-of-the-scenarios";

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario(
        "a webhook that comes before its image is followed when a mirror has brought it",
        async |stage| {
            let story = open(&stage, "late").await?;
            trust(&stage, "late").await?;
            let (status, answer) =
                docker_hub(&stage, "late", "not-the-secret-of-the-scenarios", "main-2").await?;
            ensure!(status == 401, "{answer}");
            ensure!(told(&story).await?.lines().all(|line| !line.starts_with("waiting")));
            let (status, answer) = docker_hub(&stage, "late", SECRET, "main-2").await?;
            ensure!(status == 202 && answer.contains("there is no image tagged main-2"), "{status} {answer}");
            let told = told(&story).await?;
            ensure!(told.contains("waiting for image shop/late:main-2"), "{told}");
            stage.clock().await?;
            ensure!(story.releases().await?.is_empty());
            let digest = story.push("main-2", good("v2")).await?;
            stage.clock().await?;
            let id = story.release_of(&digest).await?;
            story.ends(&id, "promoted").await?;
            stage.clock().await?;
            ensure!(story.releases().await?.len() == 1);
            // One whose image is there is followed at once.
            let digest = story.push("main-3", good("v3")).await?;
            let (status, answer) = docker_hub(&stage, "late", SECRET, "main-3").await?;
            ensure!(status < 300 && !answer.contains("there is no image"), "{status} {answer}");
            let id = story.release_of(&digest).await?;
            story.ends(&id, "promoted").await.map(drop)
        },
    )]
}

/// Adds a webhook's secret to Tidegate's, as people do by hand.
async fn trust(stage: &Stage, service: &str) -> Result<()> {
    let id = format!("{STACK}-gate");
    let got =
        call(stage, "secretsmanager", "secretsmanager.GetSecretValue", json!({ "SecretId": id })).await?;
    let mut document: Value = serde_json::from_str(got["SecretString"].as_str().context("a secret")?)?;
    document["webhooks"][service] = json!({ "docker_hub": SECRET });
    let input = json!({ "SecretId": id, "SecretString": document.to_string() });
    call(stage, "secretsmanager", "secretsmanager.PutSecretValue", input).await.map(drop)
}

/// Docker Hub tells of a push; the status and the body of the answer.
async fn docker_hub(stage: &Stage, service: &str, secret: &str, tag: &str) -> Result<(u64, String)> {
    let path = format!("/hooks/dockerhub/{service}/{secret}");
    let body = json!({
        "push_data": { "pushed_at": jiff::Timestamp::now().as_second(), "pusher": "dora", "tag": tag },
        "repository": { "repo_name": format!("shop/{service}") },
    });
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {},
        "requestContext": {
            "accountId": "anonymous", "apiId": "abc", "domainName": "abc.lambda-url.eu-central-1.on.aws", "domainPrefix": "abc",
            "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "hub" },
            "requestId": "r", "routeKey": "$default", "stage": "$default", "time": "02/Mar/2026:09:00:00 +0000",
            "timeEpoch": 1_772_442_000_000_i64,
        },
        "body": body.to_string(), "isBase64Encoded": false,
    });
    let answer = stage.invoke("gate", &event).await?;
    let status = answer["statusCode"].as_u64().with_context(|| format!("no status in {answer}"))?;
    Ok((status, answer["body"].to_string()))
}
