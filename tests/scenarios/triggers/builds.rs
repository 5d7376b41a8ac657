//! Builds of CodeBuild.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::house::{QUICK, call, open, open_with, registry, text, told};
use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::{Story, good};

const SOON: Duration = Duration::from_secs(40);

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("a build is released by the variable it exports", async |stage| {
            let story = open(&stage, "built").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let uri = format!("{}/shop/built:main-2", registry());
            build(&story, json!({"secs": 0.2, "revision": "4f1c2d3", "exported": {"IMAGE_URI": uri}}))
                .await?;
            let id = story.release_of(&digest).await?;
            let release = story.ends(&id, "promoted").await?;
            ensure!(release.provenance.commit.as_deref() == Some("4f1c2d3"), "{:?}", release.provenance);
            ensure!(release.provenance.url.is_some(), "the log is linked");
            ensure!(story.releases().await?.len() == 1, "the push itself starts nothing");
            Ok(())
        }),
        scenario("a build that exports nothing is released by its zipped artifact", async |stage| {
            let story = open(&stage, "artifact").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let uri = format!("{}/shop/artifact@{digest}", registry());
            let artifact = json!({"bucket": "builds", "key": "artifact.zip", "files": {"imageDetail.json": {"ImageURI": uri}}});
            build(&story, json!({"secs": 0.2, "artifact": artifact})).await?;
            let id = story.release_of(&digest).await?;
            story.ends(&id, "promoted").await.map(drop)
        }),
        scenario("a build that failed, and one that names another's image, are recorded", async |stage| {
            let story = open(&stage, "unbuilt").await?;
            build(&story, json!({"secs": 0.2, "status": "FAILED"})).await?;
            build(&story, json!({"secs": 0.2, "exported": {"IMAGE_URI": "docker.io/library/nginx:1"}}))
                .await?;
            until("both to be recorded", SOON, async || {
                let told = told(&story).await?;
                Ok((told.contains("ended as FAILED")
                    && told.contains("the image is of docker.io/library/nginx"))
                .then_some(()))
            })
            .await?;
            ensure!(story.releases().await?.is_empty());
            Ok(())
        }),
        scenario(
            "a build tries the candidate: its success lets the release continue, its failure rolls it back",
            async |stage| {
                let verify = "verify: { codebuild: smoke-of-verified, at: candidate, timeout: 5m }\n";
                let story = open_with(&stage, "verified", QUICK, verify).await?;
                for (tag, status, ends) in
                    [("main-2", "SUCCEEDED", "promoted"), ("main-3", "FAILED", "rolled back")]
                {
                    let smoke = "smoke-of-verified";
                    codebuild(&story, "DeleteProject", json!({"name": smoke})).await?;
                    create(&story, smoke, &json!({"secs": 0.5, "status": status})).await?;
                    let digest = story.push(tag, good(tag)).await?;
                    let (code, text) = stage.tidegate(&["release", "verified", tag]).await?;
                    ensure!(code == 0, "{text}");
                    let id = story.release_of(&digest).await?;
                    let ended = story.ends(&id, ends).await?;
                    let why = ended.cause().map(ToString::to_string).unwrap_or_default();
                    ensure!(why.contains("FAILED") == (status == "FAILED"), "{why}");
                }
                Ok(())
            },
        ),
        scenario(
            "no build of a batch is released, nor the batch, and a plain build of the project is",
            async |stage| {
                let story = open(&stage, "batched").await?;
                let digest = story.push("main-2", good("v2")).await?;
                let uri = |tag: &str| json!({"IMAGE_URI": format!("{}/shop/batched:{tag}", registry())});
                let of = |architecture: &str| {
                    let image = uri(&format!("main-2-{architecture}"));
                    json!({"identifier": architecture, "buildspec": {"secs": 0.2, "exported": image}})
                };
                // As one that puts the images of two architectures together: no single build has what is to be released.
                let index = json!({"identifier": "index", "depend-on": ["amd64", "arm64"], "buildspec": {"exported": uri("main-2")}});
                let graph = json!({"batch": {"build-graph": [of("amd64"), of("arm64"), index]}});
                create(&story, "batched", &json!({})).await?;
                let start = json!({"projectName": "batched", "buildspecOverride": graph.to_string()});
                let started = codebuild(&story, "StartBuildBatch", start).await?;
                let id = text(&started, "/buildBatch/id")?;
                let batch = until("the batch's end", SOON, async || {
                    let got = codebuild(&story, "BatchGetBuildBatches", json!({"ids": [id]})).await?;
                    Ok((got["buildBatches"][0]["complete"] == true).then(|| got["buildBatches"][0].clone()))
                })
                .await?;
                ensure!(batch["buildBatchStatus"] == "SUCCEEDED", "{batch}");
                let groups = batch["buildGroups"].as_array().map_or(0, Vec::len);
                ensure!(groups == 4, "three builds, and the one that reads the source: {batch}");
                until("each of its builds to be refused, in one line", SOON, async || {
                    let told = told(&story).await?;
                    Ok((told.contains("one build of batch") && told.contains("4 of this kind")).then_some(()))
                })
                .await?;
                let of_batch = until("the event of the batch itself to be delivered", SOON, async || {
                    let of_batch = |arn: &String| arn.contains(":build-batch/batched:");
                    let mut log =
                        stage.local.events.log().into_iter().filter(|delivery| delivery.outcome != "no_rule");
                    Ok(log.find(|delivery| delivery.resources.iter().any(of_batch)))
                })
                .await?;
                ensure!(of_batch.outcome == "delivered", "{of_batch:?}");
                ensure!(story.releases().await?.is_empty(), "a batch has started a release");
                build(&story, json!({"secs": 0.2, "exported": uri("main-2")})).await?;
                let id = story.release_of(&digest).await?;
                story.ends(&id, "promoted").await?;
                ensure!(story.releases().await?.len() == 1);
                ensure!(stage.dead_letters().is_empty(), "{:?}", stage.dead_letters());
                Ok(())
            },
        ),
    ]
}

/// Calls CodeBuild.
async fn codebuild(story: &Story, operation: &str, input: Value) -> Result<Value> {
    call(&story.stage, "codebuild", &format!("CodeBuild_20161006.{operation}"), input).await
}

/// Runs a build that does what the script says.
async fn build(story: &Story, script: Value) -> Result<()> {
    create(story, story.name.as_str(), &json!({})).await?;
    let start = json!({"projectName": story.name.as_str(), "buildspecOverride": script.to_string()});
    codebuild(story, "StartBuild", start).await.map(drop)
}

/// A project, if it is not there.
async fn create(story: &Story, name: &str, script: &Value) -> Result<()> {
    let project = json!({
        "name": name, "source": {"type": "NO_SOURCE", "buildspec": script.to_string()},
        "artifacts": {"type": "NO_ARTIFACTS"}, "serviceRole": "arn:aws:iam::111122223333:role/build",
        "environment": {"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"},
        "buildBatchConfig": {"serviceRole": "arn:aws:iam::111122223333:role/batch"},
    });
    let exists = codebuild(story, "BatchGetProjects", json!({"names": [name]})).await?;
    if exists["projects"].as_array().is_none_or(Vec::is_empty) {
        codebuild(story, "CreateProject", project).await?;
    }
    Ok(())
}
