//! Builds of CodeBuild.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::house::{call, open, registry, told};
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
    ]
}

/// Runs a build that does what the script says.
async fn build(story: &Story, script: Value) -> Result<()> {
    let name = story.name.as_str();
    let project = json!({
        "name": name, "source": {"type": "NO_SOURCE", "buildspec": script.to_string()},
        "artifacts": {"type": "NO_ARTIFACTS"}, "serviceRole": "arn:aws:iam::111122223333:role/build",
        "environment": {"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"},
    });
    let exists =
        call(&story.stage, "codebuild", "CodeBuild_20161006.BatchGetProjects", json!({"names": [name]}))
            .await?;
    if exists["projects"].as_array().is_none_or(Vec::is_empty) {
        call(&story.stage, "codebuild", "CodeBuild_20161006.CreateProject", project).await?;
    }
    let start = json!({"projectName": name, "buildspecOverride": script.to_string()});
    call(&story.stage, "codebuild", "CodeBuild_20161006.StartBuild", start).await.map(drop)
}
