//! IO: the CodeBuild adapter: builds that try a candidate, and what builds made.

mod made;

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_codebuild::Client;
use aws_sdk_codebuild::types::{Build, EnvironmentVariable, EnvironmentVariableType, StatusType};
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ports::Builds;
use tidegate_core::vocab::codebuild::{BuildSeen, BuildStatus};

const START: &str = "codebuild:StartBuild";
const GET: &str = "codebuild:BatchGetBuilds";

/// CodeBuild in the home account and region.
#[derive(Debug, Clone)]
pub struct CodeBuildAdapter {
    client: Client,
}

impl CodeBuildAdapter {
    /// With the home account's configuration.
    pub fn new(installation: &SdkConfig) -> Self {
        Self { client: Client::new(installation) }
    }
}

#[async_trait]
impl Builds for CodeBuildAdapter {
    /// CodeBuild answers the same `token` with the same build for five minutes (API reference, `StartBuild`).
    async fn start(
        &self,
        project: &str,
        token: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<String, PortError> {
        let variables = environment.iter().map(|(name, value)| {
            let variable = EnvironmentVariable::builder().name(name).value(value);
            variable.r#type(EnvironmentVariableType::Plaintext).build().map_err(|error| {
                PortError::new(ErrorKind::Invalid, START, "EnvironmentVariable", error.to_string())
            })
        });
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        let answer = self
            .client
            .start_build()
            .project_name(project)
            .idempotency_token(token)
            .set_environment_variables_override(Some(variables))
            .send()
            .await
            .map_err(|error| port_error(START, error))?;
        answer.build_value.and_then(|build| build.id).ok_or_else(|| {
            PortError::new(ErrorKind::Unavailable, START, "NoBuild", "the answer names no build")
        })
    }

    async fn build(&self, id: &str) -> Result<Option<BuildSeen>, PortError> {
        let answer =
            self.client.batch_get_builds().ids(id).send().await.map_err(|error| port_error(GET, error))?;
        Ok(answer.builds().first().map(|build| seen(id, build)))
    }
}

fn seen(id: &str, build: &Build) -> BuildSeen {
    let status = match build.build_status() {
        None | Some(StatusType::InProgress) => BuildStatus::InProgress,
        Some(StatusType::Succeeded) => BuildStatus::Succeeded,
        // FAILED, FAULT, STOPPED, TIMED_OUT, and whatever AWS may add: a build that has not succeeded proves nothing.
        Some(other) => BuildStatus::Failed(other.as_str().to_owned()),
    };
    let log_url = build.logs().and_then(|logs| logs.deep_link()).map(str::to_owned);
    BuildSeen { id: build.id().unwrap_or(id).to_owned(), status, log_url }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_succeeded_is_success_and_statuses_to_come_are_failures() {
        let status =
            |text: &str| seen("p:1", &Build::builder().build_status(StatusType::from(text)).build()).status;
        assert_eq!(status("SUCCEEDED"), BuildStatus::Succeeded);
        assert_eq!(status("IN_PROGRESS"), BuildStatus::InProgress);
        for failed in ["FAILED", "FAULT", "STOPPED", "TIMED_OUT", "NOT_YET_INVENTED"] {
            assert_eq!(status(failed), BuildStatus::Failed(failed.into()));
        }
    }
}
