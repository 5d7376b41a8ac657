//! What a build made: the variables it exports and where its artifacts are. The event of a build has neither.

use async_trait::async_trait;
use aws_sdk_codebuild::types::{Build, BuildArtifacts, SortOrderType};
use jiff::Timestamp;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ports::{BuildMade, BuildOutputs, ObjectAt};

use crate::{CodeBuildAdapter, GET};

const LIST: &str = "codebuild:ListBuildsForProject";

#[async_trait]
impl BuildOutputs for CodeBuildAdapter {
    async fn made(&self, id: &str) -> Result<Option<BuildMade>, PortError> {
        let answer =
            self.client.batch_get_builds().ids(id).send().await.map_err(|error| port_error(GET, error))?;
        Ok(answer.builds().first().map(made))
    }

    async fn newest(&self, project: &str, limit: usize) -> Result<Vec<BuildMade>, PortError> {
        let call =
            self.client.list_builds_for_project().project_name(project).sort_order(SortOrderType::Descending);
        let listed = match call.send().await.map_err(|error| port_error(LIST, error)) {
            Ok(listed) => listed,
            // As a repository that does not exist yet has no images.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let ids: Vec<String> = listed.ids().iter().take(limit).cloned().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.client.batch_get_builds().set_ids(Some(ids));
        let answer = call.send().await.map_err(|error| port_error(GET, error))?;
        let mut builds: Vec<BuildMade> = answer.builds().iter().map(made).collect();
        // AWS promises no order of what is got by id.
        builds.sort_by_key(|build| std::cmp::Reverse(build.ended_at));
        Ok(builds)
    }
}

fn made(build: &Build) -> BuildMade {
    let exported = build.exported_environment_variables().iter();
    let exported = exported.filter_map(|variable| Some((variable.name()?.into(), variable.value()?.into())));
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let artifacts = build.artifacts().into_iter().chain(build.secondary_artifacts());
    BuildMade {
        id: build.id().unwrap_or_default().to_owned(),
        project: build.project_name().unwrap_or_default().to_owned(),
        status: build.build_status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
        ended_at: build.end_time().and_then(|at| Timestamp::from_nanosecond(at.as_nanos()).ok()),
        exported: exported.collect(),
        commit: text(build.resolved_source_version()),
        source_version: text(build.source_version()),
        batch: text(build.build_batch_arn()),
        initiator: build.initiator().map(str::to_owned),
        log_url: build.logs().and_then(|logs| logs.deep_link()).map(str::to_owned),
        artifacts: artifacts.filter_map(location).collect(),
    }
}

/// `arn:aws:s3:::bucket/key`. A build without artifacts, or within a pipeline, has none.
fn location(artifacts: &BuildArtifacts) -> Option<ObjectAt> {
    let place = artifacts.location()?.split(":::").nth(1)?;
    let (bucket, key) = place.split_once('/')?;
    (!key.is_empty()).then(|| ObjectAt {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        ..ObjectAt::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_replay::{Answer, Replay};

    use super::*;

    fn build(id: &str, ended: f64) -> Value {
        json!({
            "id": id, "projectName": "checkout", "buildStatus": "SUCCEEDED", "endTime": ended, "initiator": "alice",
            "sourceVersion": "refs/heads/main", "resolvedSourceVersion": "4f1c2d3",
            "buildBatchArn": "arn:aws:codebuild:eu-central-1:111122223333:build-batch/checkout:b1",
            "exportedEnvironmentVariables": [{"name": "IMAGE_URI", "value": "shop/checkout:v1"}],
            "logs": {"deepLink": "https://logs.example.com/1"},
            "artifacts": {"location": "arn:aws:s3:::builds/checkout/artifact.zip"},
            "secondaryArtifacts": [{"location": "arn:aws:s3:::builds"}, {"artifactIdentifier": "x"}],
            "environment": {"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL", "environmentVariables": [{"name": "PASSWORD", "value": "hidden"}]}
        })
    }

    #[tokio::test]
    async fn a_build_tells_what_it_exports_and_nothing_else_of_its_environment() {
        let replay = Replay::new();
        replay.json("BatchGetBuilds", json!({"builds": [build("checkout:1", 100.5)], "buildsNotFound": []}));
        replay.json("BatchGetBuilds", json!({"builds": [], "buildsNotFound": ["checkout:1"]}));
        let builds = CodeBuildAdapter::new(&replay.config());
        let made = builds.made("checkout:1").await.unwrap().unwrap();
        assert_eq!(made.exported["IMAGE_URI"], "shop/checkout:v1");
        assert_eq!(made.commit.as_deref(), Some("4f1c2d3"));
        assert_eq!(made.source_version.as_deref(), Some("refs/heads/main"));
        assert_eq!(
            made.batch.as_deref(),
            Some("arn:aws:codebuild:eu-central-1:111122223333:build-batch/checkout:b1")
        );
        assert_eq!(made.ended_at.unwrap().as_millisecond(), 100_500);
        assert_eq!(made.artifacts.len(), 1);
        assert_eq!(made.artifacts[0].to_string(), "s3://builds/checkout/artifact.zip");
        assert!(!format!("{made:?}").contains("hidden"));
        assert_eq!(builds.made("checkout:1").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_newest_builds_come_newest_first() {
        let replay = Replay::new();
        replay.json("ListBuildsForProject", json!({"ids": ["checkout:3", "checkout:2", "checkout:1"]}));
        let builds = [build("checkout:2", 200.0), build("checkout:3", 300.0)];
        replay.json("BatchGetBuilds", json!({ "builds": builds }));
        let newest = CodeBuildAdapter::new(&replay.config()).newest("checkout", 2).await.unwrap();
        let ids: Vec<&str> = newest.iter().map(|build| build.id.as_str()).collect();
        assert_eq!(ids, ["checkout:3", "checkout:2"]);
        assert_eq!(replay.calls("ListBuildsForProject")[0].json()["sortOrder"], "DESCENDING");
        assert_eq!(replay.calls("BatchGetBuilds")[0].json()["ids"], json!(["checkout:3", "checkout:2"]));
    }

    #[tokio::test]
    async fn a_project_that_does_not_exist_has_no_builds_and_one_that_may_not_be_seen_is_an_error() {
        let replay = Replay::new();
        replay.answer("ListBuildsForProject", Answer::error(400, "ResourceNotFoundException", "none"));
        replay.answer("ListBuildsForProject", Answer::error(400, "AccessDeniedException", "no"));
        let builds = CodeBuildAdapter::new(&replay.config());
        assert_eq!(builds.newest("checkout", 2).await, Ok(Vec::new()));
        assert_eq!(builds.newest("checkout", 2).await.unwrap_err().kind, ErrorKind::Denied);
    }
}
