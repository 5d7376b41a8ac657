//! The operations, and what becomes of the effects' results.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Options;
use super::declaration::{Declaration, validation};
use super::machine::{queue, signed};
use super::model::{ActionRun, ActionStatus, Execution, Job, JobState, Pipeline, Site, State, Status, Work};
use super::render;
use crate::ids::uuid;
use crate::ports::{AwsError, Caller};

/// The longest continuation token.
const TOKEN: usize = 2048;

/// Answers an operation. `GetJobDetails` lacks the credentials.
pub(super) fn answer(
    state: &mut State,
    options: &Options,
    operation: &str,
    input: &Value,
    caller: &Caller,
    now: Timestamp,
) -> Result<Value, AwsError> {
    match operation {
        "CreatePipeline" => create(state, input, now),
        "GetPipeline" => {
            let pipeline = pipeline(state, required(input, "name")?)?;
            let arn = render::pipeline_arn(options, &pipeline.declaration.name);
            let created = render::seconds(pipeline.created);
            let metadata = json!({"pipelineArn": arn, "created": created, "updated": created});
            Ok(json!({"pipeline": pipeline.raw, "metadata": metadata}))
        }
        "DeletePipeline" => {
            let name = required(input, "name")?;
            state.pipelines.remove(name);
            state.jobs.retain(|_, job| job.site.pipeline != name);
            Ok(json!({}))
        }
        "StartPipelineExecution" => start(state, input, caller, now),
        "StopPipelineExecution" => stop(state, input, now),
        "GetPipelineState" => Ok(render::state(options, pipeline(state, required(input, "name")?)?)),
        "GetPipelineExecution" => {
            let pipeline = pipeline(state, required(input, "pipelineName")?)?;
            let id = required(input, "pipelineExecutionId")?;
            let found = pipeline.executions.iter().find(|execution| execution.id == id);
            let found = found.ok_or_else(|| {
                AwsError::new("PipelineExecutionNotFoundException", format!("no execution {id}"))
            })?;
            Ok(render::execution(pipeline, found))
        }
        "ListPipelineExecutions" => {
            let pipeline = pipeline(state, required(input, "pipelineName")?)?;
            let most = usize::try_from(input["maxResults"].as_u64().unwrap_or(100)).unwrap_or(100);
            if !(1..=100).contains(&most) {
                return Err(validation("maxResults has to be between 1 and 100".to_owned()));
            }
            let from = match input["nextToken"].as_str() {
                Some(token) => token.parse().map_err(|_| {
                    AwsError::new("InvalidNextTokenException", "the next token is not one that was given")
                })?,
                None => 0_usize,
            };
            Ok(render::executions(pipeline, from, most))
        }
        "PutJobSuccessResult" => job_succeeded(state, options, input, caller, now),
        "PutJobFailureResult" => job_failed(state, input, caller, now),
        "GetJobDetails" => {
            let job = job(state, required(input, "jobId")?)?;
            let data = render::job_data(state, job).unwrap_or_default();
            Ok(json!({"jobDetails": {"id": job.id, "data": data, "accountId": options.account}}))
        }
        "AcknowledgeJob" => {
            job(state, required(input, "jobId")?)?;
            required(input, "nonce")?;
            // Nonces come from polling, which is for custom actions; the job of a function has none anyone could know.
            Err(AwsError::new("InvalidNonceException", "the nonce is not that of the job"))
        }
        "PutApprovalResult" => approve(state, input, caller, now),
        other => Err(AwsError::new(
            "UnknownOperationException",
            format!("the sandbox's CodePipeline does not know {other}"),
        )),
    }
}

fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, AwsError> {
    let text = input[member].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| validation(format!("{member} is required")))
}

fn pipeline<'a>(state: &'a State, name: &str) -> Result<&'a Pipeline, AwsError> {
    state.pipelines.get(name).ok_or_else(|| no_pipeline(name))
}

fn no_pipeline(name: &str) -> AwsError {
    let message = format!("Account does not have a pipeline with name '{name}'");
    AwsError::new("PipelineNotFoundException", message)
}

fn job<'a>(state: &'a State, id: &str) -> Result<&'a Job, AwsError> {
    let known = state.jobs.get(id);
    known.ok_or_else(|| AwsError::new("JobNotFoundException", format!("Cannot find job with ID {id}")))
}

fn create(state: &mut State, input: &Value, now: Timestamp) -> Result<Value, AwsError> {
    let declaration = Declaration::parse(&input["pipeline"])?;
    let name = declaration.name.clone();
    if state.pipelines.contains_key(&name) {
        let message = format!("A pipeline with the name '{name}' already exists in account");
        return Err(AwsError::new("PipelineNameInUseException", message));
    }
    let mut raw = input["pipeline"].clone();
    raw["version"] = 1.into();
    let pipeline = Pipeline {
        declaration: Arc::new(declaration),
        raw: raw.clone(),
        version: 1,
        created: now,
        executions: Vec::new(),
    };
    state.pipelines.insert(name, pipeline);
    Ok(json!({"pipeline": raw}))
}

fn start(state: &mut State, input: &Value, caller: &Caller, now: Timestamp) -> Result<Value, AwsError> {
    let name = required(input, "name")?;
    let pipeline = state.pipelines.get_mut(name).ok_or_else(|| no_pipeline(name))?;
    let token = input["clientRequestToken"].as_str().map(str::to_owned);
    let repeated = pipeline.executions.iter().find(|known| token.is_some() && known.token == token);
    if let Some(known) = repeated {
        return Ok(json!({"pipelineExecutionId": known.id}));
    }
    let id = uuid();
    pipeline.executions.push(Execution {
        id: id.clone(),
        started: now,
        trigger: who(caller),
        token,
        status: Status::InProgress,
        summary: None,
        stop_told: false,
        stage: 0,
        entered: false,
        runs: Vec::new(),
        artifacts: Default::default(),
    });
    Ok(json!({"pipelineExecutionId": id}))
}

fn who(caller: &Caller) -> String {
    caller.arn.clone().unwrap_or_else(|| "root".to_owned())
}

fn stop(state: &mut State, input: &Value, now: Timestamp) -> Result<Value, AwsError> {
    let name = required(input, "pipelineName")?;
    let pipeline = state.pipelines.get_mut(name).ok_or_else(|| no_pipeline(name))?;
    let id = required(input, "pipelineExecutionId")?;
    let abandon = input["abandon"].as_bool().unwrap_or(false);
    let found = pipeline.executions.iter_mut().find(|known| known.id == id && known.status.is_active());
    let execution = found.ok_or_else(|| {
        AwsError::new("PipelineExecutionNotStoppableException", format!("execution {id} cannot be stopped"))
    })?;
    if execution.status == Status::Stopping && !abandon {
        let message = format!("execution {id} is already stopping");
        return Err(AwsError::new("DuplicatedStopRequestException", message));
    }
    execution.status = Status::Stopping;
    execution.summary = input["reason"].as_str().map(str::to_owned);
    if abandon && let Some(run) = execution.runs.last_mut() {
        for action in run.actions.iter_mut().filter(|action| action.status == ActionStatus::InProgress) {
            action.status = ActionStatus::Abandoned;
            action.changed = now;
        }
    }
    Ok(json!({"pipelineExecutionId": id}))
}

/// The action in progress a job belongs to, and the job's continuation of it.
fn answered<'a>(state: &'a mut State, id: &str) -> Result<&'a mut ActionRun, AwsError> {
    let Job { state: of_job, site, .. } = job(state, id)?.clone();
    let invalid = |what: &str| {
        AwsError::new(
            "InvalidJobStateException",
            format!("Job {id} is {what}; a result is taken once, while it runs"),
        )
    };
    match of_job {
        JobState::InProgress(_) => {}
        JobState::Queued(_) => return Err(invalid("not yet dispatched")),
        JobState::Succeeded => return Err(invalid("Succeeded")),
        JobState::Failed => return Err(invalid("Failed")),
        JobState::TimedOut => return Err(invalid("TimedOut")),
    }
    let action = state.action_mut(&site).filter(|action| action.status == ActionStatus::InProgress);
    action.ok_or_else(|| invalid("of an action that ended"))
}

fn job_succeeded(
    state: &mut State,
    options: &Options,
    input: &Value,
    caller: &Caller,
    now: Timestamp,
) -> Result<Value, AwsError> {
    let id = required(input, "jobId")?;
    let token = input["continuationToken"].as_str();
    if token.is_some_and(|token| token.is_empty() || token.len() > TOKEN) {
        return Err(validation(format!("continuationToken has to have 1 to {TOKEN} characters")));
    }
    let details = &input["executionDetails"];
    let percent = details["percentComplete"].as_u64();
    if percent.is_some_and(|percent| percent > 100) {
        return Err(validation("percentComplete has to be 0 to 100".to_owned()));
    }
    if token.is_some() && input["outputVariables"].as_object().is_some_and(|map| !map.is_empty()) {
        return Err(validation("output variables come with the last result only".to_owned()));
    }
    let action = answered(state, id)?;
    let text = |member: &str| details[member].as_str().map(str::to_owned);
    action.summary = text("summary").or(action.summary.take());
    action.external_id = text("externalExecutionId").or(action.external_id.take());
    action.percent = percent.and_then(|percent| u8::try_from(percent).ok()).or(action.percent);
    action.updated_by = Some(who(caller));
    if token.is_none() {
        action.succeed(now);
    }
    let site = finish_job(state, id, JobState::Succeeded);
    if let (Some(token), Some(site)) = (token, site) {
        let at = now + signed(options.continue_after);
        let next = queue(&mut state.jobs, site.clone(), Some(token.to_owned()), at);
        if let Some(ActionRun { work: Work::Lambda { job, .. }, .. }) = state.action_mut(&site) {
            *job = next;
        }
    }
    Ok(json!({}))
}

fn job_failed(state: &mut State, input: &Value, caller: &Caller, now: Timestamp) -> Result<Value, AwsError> {
    const TYPES: [&str; 6] = [
        "JobFailed",
        "ConfigurationError",
        "PermissionError",
        "RevisionOutOfSync",
        "RevisionUnavailable",
        "SystemUnavailable",
    ];
    let id = required(input, "jobId")?;
    let details = &input["failureDetails"];
    let (kind, message) = (required(details, "type")?, required(details, "message")?);
    if !TYPES.contains(&kind) || message.chars().count() > 5000 {
        return Err(validation("the failure's type or message is not valid".to_owned()));
    }
    let action = answered(state, id)?;
    action.external_id =
        details["externalExecutionId"].as_str().map(str::to_owned).or(action.external_id.take());
    action.updated_by = Some(who(caller));
    action.fail(kind, message, now);
    finish_job(state, id, JobState::Failed);
    Ok(json!({}))
}

fn finish_job(state: &mut State, id: &str, to: JobState) -> Option<Site> {
    let job = state.jobs.get_mut(id)?;
    job.state = to;
    Some(job.site.clone())
}

fn approve(state: &mut State, input: &Value, caller: &Caller, now: Timestamp) -> Result<Value, AwsError> {
    let names = ["pipelineName", "stageName", "actionName", "token"].map(|member| required(input, member));
    let [pipeline_name, stage_name, action_name, token] = names;
    let (pipeline_name, stage_name, action_name) = (pipeline_name?, stage_name?, action_name?);
    let token = token?;
    let result = &input["result"];
    let (summary, status) = (result["summary"].as_str(), result["status"].as_str());
    let (Some(summary), Some(status @ ("Approved" | "Rejected"))) = (summary, status) else {
        return Err(validation("the result needs a summary and the status Approved or Rejected".to_owned()));
    };
    if summary.chars().count() > 512 {
        return Err(validation("the summary has more than 512 characters".to_owned()));
    }
    let pipeline = state.pipelines.get_mut(pipeline_name).ok_or_else(|| no_pipeline(pipeline_name))?;
    let stages = &pipeline.declaration.stages;
    let stage = stages.iter().position(|stage| stage.name == stage_name).ok_or_else(|| {
        AwsError::new("StageNotFoundException", format!("no stage {stage_name} in {pipeline_name}"))
    })?;
    let action =
        stages[stage].actions.iter().position(|action| action.name == action_name).ok_or_else(|| {
            AwsError::new("ActionNotFoundException", format!("no action {action_name} in {stage_name}"))
        })?;
    let runs = pipeline.executions.iter_mut().rev().filter_map(|execution| execution.runs.get_mut(stage));
    let asked = runs.filter_map(|run| run.actions.get_mut(action));
    let of_token = |work: &Work| matches!(work, Work::Approval { token: known, .. } if known == token);
    let run = asked.into_iter().find(|run| of_token(&run.work)).ok_or_else(|| {
        AwsError::new(
            "InvalidApprovalTokenException",
            "the approval token is not that of the action's approval",
        )
    })?;
    if run.status != ActionStatus::InProgress {
        return Err(AwsError::new("ApprovalAlreadyCompletedException", "the approval was already answered"));
    }
    run.summary = Some(summary.to_owned());
    run.updated_by = Some(who(caller));
    if status == "Approved" {
        run.succeed(now);
    } else {
        run.fail("JobFailed", format!("Rejected: {summary}"), now);
    }
    Ok(json!({"approvedAt": render::seconds(now)}))
}

/// A source's object is in the artifact store, or could not be brought there.
pub(super) fn fetched(state: &mut State, site: &Site, result: Result<String, AwsError>, now: Timestamp) {
    let Some(action) = state.action_mut(site).filter(|action| action.status == ActionStatus::InProgress)
    else {
        return;
    };
    match result {
        Ok(revision) => {
            for output in &mut action.outputs {
                output.revision = Some(revision.clone());
            }
            action.summary = Some(format!("Amazon S3 version id: {revision}"));
            action.revision = Some(revision);
            action.succeed(now);
        }
        Err(error) => action.fail(error_code(&error), error.message, now),
    }
}

/// A function could not be invoked.
pub(super) fn not_invoked(state: &mut State, job: &str, error: AwsError, now: Timestamp) {
    let Some(site) = finish_job(state, job, JobState::Failed) else { return };
    if let Some(action) = state.action_mut(&site).filter(|action| action.status == ActionStatus::InProgress) {
        action.fail(error_code(&error), error.message, now);
    }
}

fn error_code(error: &AwsError) -> &'static str {
    if error.status == 403 || error.code.contains("AccessDenied") {
        "PermissionError"
    } else if error.status >= 500 {
        "SystemUnavailable"
    } else {
        "ConfigurationError"
    }
}
