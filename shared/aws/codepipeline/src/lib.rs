//! IO: the CodePipeline adapter: answers to jobs, and to manual approvals.

use async_trait::async_trait;
use aws_sdk_codepipeline::Client;
use aws_sdk_codepipeline::types::{
    ActionExecutionStatus, ApprovalResult, ApprovalStatus, ExecutionDetails, FailureDetails, FailureType,
    PipelineExecutionStatus, StageState,
};
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::policy::PipelineAction;
use tidegate_core::ports::{JobAnswer, JobFailure, Pipelines, WaitingApproval};

const SUCCESS: &str = "codepipeline:PutJobSuccessResult";
const FAILURE: &str = "codepipeline:PutJobFailureResult";
const EXECUTION: &str = "codepipeline:GetPipelineExecution";
const STATE: &str = "codepipeline:GetPipelineState";
const APPROVE: &str = "codepipeline:PutApprovalResult";
/// The longest `executionDetails.summary` (API reference).
const SUMMARY_MAX: usize = 2048;
/// The longest `failureDetails.message`.
const MESSAGE_MAX: usize = 5000;
/// The longest summary of an approval.
const APPROVAL_MAX: usize = 512;

/// CodePipeline in the home account and region. A cross-region action's job is answered in the region of the function, too.
#[derive(Debug, Clone)]
pub struct CodePipelineAdapter {
    client: Client,
}

impl CodePipelineAdapter {
    /// With the home account's configuration.
    pub fn new(installation: &SdkConfig) -> Self {
        Self { client: Client::new(installation) }
    }

    async fn succeed(
        &self,
        job: &str,
        token: Option<&str>,
        details: ExecutionDetails,
        variables: Option<std::collections::HashMap<String, String>>,
    ) -> Result<bool, PortError> {
        let call = self.client.put_job_success_result().job_id(job).execution_details(details);
        let call = call.set_continuation_token(token.map(str::to_owned)).set_output_variables(variables);
        answered(call.send().await.map_err(|error| port_error(SUCCESS, error)).map(|_| ()))
    }

    async fn fail(&self, job: &str, details: FailureDetails) -> Result<bool, PortError> {
        let call = self.client.put_job_failure_result().job_id(job).failure_details(details);
        answered(call.send().await.map_err(|error| port_error(FAILURE, error)).map(|_| ()))
    }
}

#[async_trait]
impl Pipelines for CodePipelineAdapter {
    async fn answer(&self, job: &str, answer: &JobAnswer) -> Result<bool, PortError> {
        match answer {
            JobAnswer::Continue { token, summary, release, percent } => {
                let details = ExecutionDetails::builder()
                    .summary(cut(summary, SUMMARY_MAX))
                    .set_external_execution_id(release.as_ref().map(ToString::to_string))
                    .percent_complete(i32::from((*percent).min(100)))
                    .build();
                self.succeed(job, Some(token), details, None).await
            }
            JobAnswer::Succeed { summary, release, variables } => {
                let details = ExecutionDetails::builder()
                    .summary(cut(summary, SUMMARY_MAX))
                    .external_execution_id(release.to_string())
                    .percent_complete(100)
                    .build();
                let variables = variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                self.succeed(job, None, details, Some(variables)).await
            }
            JobAnswer::Fail { kind, message, release } => {
                let details = FailureDetails::builder()
                    .r#type(failure_type(*kind))
                    .message(cut(message, MESSAGE_MAX))
                    .set_external_execution_id(release.as_ref().map(ToString::to_string))
                    .build()
                    .map_err(|error| {
                        PortError::new(ErrorKind::Invalid, FAILURE, "FailureDetails", error.to_string())
                    })?;
                self.fail(job, details).await
            }
        }
    }

    async fn is_running(&self, pipeline: &str, execution: &str) -> Result<bool, PortError> {
        let call = self.client.get_pipeline_execution();
        let call = call.pipeline_name(pipeline).pipeline_execution_id(execution);
        match call.send().await.map_err(|error| port_error(EXECUTION, error)) {
            Ok(answer) => {
                let status = answer.pipeline_execution().and_then(|execution| execution.status());
                Ok(status == Some(&PipelineExecutionStatus::InProgress))
            }
            // What a sender wrote need not even have the form of an execution's id.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn waiting(&self, action: &PipelineAction) -> Result<Option<WaitingApproval>, PortError> {
        let state = self.client.get_pipeline_state().name(&action.name).send().await;
        let state = state.map_err(|error| port_error(STATE, error))?;
        Ok(state.stage_states().iter().find_map(|stage| waiting_at(stage, action)))
    }

    async fn approve(
        &self,
        action: &PipelineAction,
        token: &str,
        approved: bool,
        summary: &str,
    ) -> Result<bool, PortError> {
        let status = if approved { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
        let result = ApprovalResult::builder().summary(cut(summary, APPROVAL_MAX)).status(status).build();
        let result = result.map_err(|error| {
            PortError::new(ErrorKind::Invalid, APPROVE, "ApprovalResult", error.to_string())
        })?;
        let call = self
            .client
            .put_approval_result()
            .pipeline_name(&action.name)
            .stage_name(&action.stage)
            .action_name(&action.action)
            .token(token)
            .result(result);
        answered(call.send().await.map_err(|error| port_error(APPROVE, error)).map(|_| ()))
    }
}

/// A job or an approval that is over already wants no answer any more; everything else that fails is a failure.
fn answered(result: Result<(), PortError>) -> Result<bool, PortError> {
    const OVER: &[&str] = &[
        "InvalidJobStateException",
        "JobNotFoundException",
        "ApprovalAlreadyCompletedException",
        "InvalidApprovalTokenException",
    ];
    match result {
        Ok(()) => Ok(true),
        Err(error) if OVER.contains(&error.code.as_str()) => Ok(false),
        Err(error) => Err(error),
    }
}

fn waiting_at(stage: &StageState, action: &PipelineAction) -> Option<WaitingApproval> {
    if stage.stage_name() != Some(action.stage.as_str()) {
        return None;
    }
    let execution = stage.latest_execution()?.pipeline_execution_id().to_owned();
    let of_it = stage.action_states().iter().find(|state| state.action_name() == Some(&action.action))?;
    let latest = of_it.latest_execution()?;
    if latest.status() != Some(&ActionExecutionStatus::InProgress) {
        return None;
    }
    Some(WaitingApproval { execution, token: latest.token()?.to_owned() })
}

fn failure_type(kind: JobFailure) -> FailureType {
    match kind {
        JobFailure::JobFailed => FailureType::JobFailed,
        JobFailure::Configuration => FailureType::ConfigurationError,
        JobFailure::Permission => FailureType::PermissionError,
        JobFailure::OutOfSync => FailureType::RevisionOutOfSync,
        JobFailure::RevisionUnavailable => FailureType::RevisionUnavailable,
        JobFailure::SystemUnavailable => FailureType::SystemUnavailable,
    }
}

/// CodePipeline refuses what is too long, and an empty text.
fn cut(text: &str, max: usize) -> String {
    let text = if text.is_empty() { "-" } else { text };
    if text.chars().count() <= max {
        text.to_owned()
    } else {
        text.chars().take(max - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use tidegate_core::ids::ReleaseId;
    use tidegate_replay::{Answer, Replay};

    use super::*;

    fn release() -> ReleaseId {
        ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap()
    }

    fn adapter(replay: &Replay) -> CodePipelineAdapter {
        CodePipelineAdapter::new(&replay.config())
    }

    #[tokio::test]
    async fn a_job_that_goes_on_is_answered_with_a_token_and_without_variables() {
        let replay = Replay::new();
        replay.json("PutJobSuccessResult", json!({}));
        let answer = JobAnswer::Continue {
            token: "t".into(),
            summary: "x".repeat(3000),
            release: Some(release()),
            percent: 40,
        };
        assert_eq!(adapter(&replay).answer("job", &answer).await, Ok(true));
        let sent = replay.calls("PutJobSuccessResult")[0].json();
        assert_eq!((&sent["continuationToken"], &sent["jobId"]), (&json!("t"), &json!("job")));
        assert_eq!(sent["executionDetails"]["percentComplete"], 40);
        assert_eq!(sent["executionDetails"]["summary"].as_str().unwrap().chars().count(), 2048);
        assert!(sent.get("outputVariables").is_none());
    }

    #[tokio::test]
    async fn success_and_failure_are_told_as_codepipeline_wants_them() {
        let replay = Replay::new();
        replay.json("PutJobSuccessResult", json!({})).json("PutJobFailureResult", json!({}));
        let variables = BTreeMap::from([("release".to_owned(), release().to_string())]);
        let answer = JobAnswer::Succeed { summary: "promoted".into(), release: release(), variables };
        adapter(&replay).answer("job", &answer).await.unwrap();
        let sent = replay.calls("PutJobSuccessResult")[0].json();
        assert_eq!(sent["outputVariables"]["release"], release().as_str());
        assert!(sent.get("continuationToken").is_none());
        let answer = JobAnswer::Fail { kind: JobFailure::Configuration, message: "no".into(), release: None };
        adapter(&replay).answer("job", &answer).await.unwrap();
        let sent = replay.calls("PutJobFailureResult")[0].json();
        assert_eq!(sent["failureDetails"], json!({"type": "ConfigurationError", "message": "no"}));
    }

    #[tokio::test]
    async fn a_job_that_is_over_is_no_failure_and_a_refusal_is() {
        let replay = Replay::new();
        replay.answer("PutJobFailureResult", Answer::error(400, "InvalidJobStateException", "over"));
        replay.answer("PutJobFailureResult", Answer::error(400, "AccessDeniedException", "no"));
        let answer = JobAnswer::Fail { kind: JobFailure::JobFailed, message: "no".into(), release: None };
        assert_eq!(adapter(&replay).answer("job", &answer).await, Ok(false));
        let error = adapter(&replay).answer("job", &answer).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Denied, FAILURE));
    }

    #[tokio::test]
    async fn only_an_execution_in_progress_of_that_very_pipeline_runs() {
        let replay = Replay::new();
        let execution =
            |status: &str| json!({"pipelineExecution": {"pipelineName": "checkout", "status": status}});
        replay.json("GetPipelineExecution", execution("InProgress"));
        replay.json("GetPipelineExecution", execution("Succeeded"));
        for code in ["PipelineExecutionNotFoundException", "PipelineNotFoundException", "ValidationException"]
        {
            replay.answer("GetPipelineExecution", Answer::error(400, code, "no"));
        }
        replay.answer("GetPipelineExecution", Answer::error(400, "AccessDeniedException", "no"));
        let pipelines = adapter(&replay);
        assert_eq!(pipelines.is_running("checkout", "e-1").await, Ok(true));
        for _ in 0..4 {
            assert_eq!(pipelines.is_running("checkout", "e-1").await, Ok(false));
        }
        // What may not be seen is no "no".
        assert_eq!(pipelines.is_running("checkout", "e-1").await.unwrap_err().kind, ErrorKind::Denied);
    }

    #[tokio::test]
    async fn an_approval_waits_only_while_its_action_is_in_progress() {
        let action =
            PipelineAction { name: "checkout".into(), stage: "Deploy".into(), action: "Approve".into() };
        let state = |status: &str| {
            json!({"pipelineName": "checkout", "stageStates": [
                {"stageName": "Source", "latestExecution": {"pipelineExecutionId": "e-2", "status": "Succeeded"}, "actionStates": []},
                {"stageName": "Deploy", "latestExecution": {"pipelineExecutionId": "e-1", "status": "InProgress"}, "actionStates": [
                    {"actionName": "Release", "latestExecution": {"status": "Succeeded"}},
                    {"actionName": "Approve", "latestExecution": {"status": status, "token": "t-1"}}
                ]}
            ]})
        };
        let replay = Replay::new();
        replay.json("GetPipelineState", state("InProgress")).json("GetPipelineState", state("Succeeded"));
        replay.json("PutApprovalResult", json!({"approvedAt": 1.0}));
        replay.answer("PutApprovalResult", Answer::error(400, "ApprovalAlreadyCompletedException", "late"));
        let pipelines = adapter(&replay);
        let waiting = pipelines.waiting(&action).await.unwrap();
        assert_eq!(waiting, Some(WaitingApproval { execution: "e-1".into(), token: "t-1".into() }));
        assert_eq!(pipelines.waiting(&action).await.unwrap(), None);
        assert_eq!(pipelines.approve(&action, "t-1", false, "rolled back").await, Ok(true));
        let sent = replay.calls("PutApprovalResult")[0].json();
        assert_eq!(sent["result"], json!({"summary": "rolled back", "status": "Rejected"}));
        assert_eq!(pipelines.approve(&action, "t-1", true, "").await, Ok(false));
    }
}
