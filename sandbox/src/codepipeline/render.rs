//! What the API returns and what events tell.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Options;
use super::declaration::{Action, Declaration, Kind};
use super::model::{ActionRun, ActionStatus, Artifact, Execution, Job, Pipeline, State, Status, Work};
use crate::ports::ServiceEvent;

/// Seconds since the epoch, as AWS's JSON protocols write times.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

pub(super) fn pipeline_arn(options: &Options, name: &str) -> String {
    format!("arn:aws:codepipeline:{}:{}:{name}", options.region, options.account)
}

/// As the API names it.
pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::InProgress => "InProgress",
        Status::Stopping => "Stopping",
        Status::Stopped => "Stopped",
        Status::Succeeded => "Succeeded",
        Status::Superseded => "Superseded",
        Status::Failed => "Failed",
    }
}

/// As events name it.
fn event_state(status: Status) -> &'static str {
    match status {
        Status::InProgress => "STARTED",
        Status::Stopping => "STOPPING",
        Status::Stopped => "STOPPED",
        Status::Succeeded => "SUCCEEDED",
        Status::Superseded => "SUPERSEDED",
        Status::Failed => "FAILED",
    }
}

fn event(
    options: &Options,
    pipeline: &str,
    detail_type: &str,
    detail: Value,
    now: Timestamp,
) -> ServiceEvent {
    ServiceEvent {
        source: "aws.codepipeline".to_owned(),
        detail_type: detail_type.to_owned(),
        resources: vec![pipeline_arn(options, pipeline)],
        detail,
        time: now,
    }
}

fn detail(declaration: &Declaration, version: u32, execution: &Execution) -> Map<String, Value> {
    let members = [
        ("pipeline", declaration.name.clone().into()),
        ("execution-id", execution.id.clone().into()),
        ("start-time", execution.started.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into()),
        ("version", f64::from(version).into()),
        ("pipeline-execution-attempt", 1.0.into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `CodePipeline Pipeline Execution State Change`.
pub(super) fn pipeline_event(
    options: &Options,
    declaration: &Declaration,
    version: u32,
    execution: &Execution,
    now: Timestamp,
) -> ServiceEvent {
    let mut detail = detail(declaration, version, execution);
    detail.insert("state".into(), event_state(execution.status).into());
    let trigger = json!({"trigger-type": "StartPipelineExecution", "trigger-detail": execution.trigger});
    detail.insert("execution-trigger".into(), trigger);
    event(options, &declaration.name, "CodePipeline Pipeline Execution State Change", detail.into(), now)
}

/// `CodePipeline Stage Execution State Change`, for the stage the execution is in.
pub(super) fn stage_event(
    options: &Options,
    declaration: &Declaration,
    version: u32,
    execution: &Execution,
    status: Status,
    now: Timestamp,
) -> ServiceEvent {
    let mut detail = detail(declaration, version, execution);
    detail.insert("stage".into(), declaration.stages[execution.stage].name.clone().into());
    detail.insert("state".into(), event_state(status).into());
    event(options, &declaration.name, "CodePipeline Stage Execution State Change", detail.into(), now)
}

/// `CodePipeline Action Execution State Change`, for an action of the stage the execution is in.
pub(super) fn action_event(
    options: &Options,
    declaration: &Declaration,
    version: u32,
    execution: &Execution,
    index: usize,
    now: Timestamp,
) -> ServiceEvent {
    let mut detail = detail(declaration, version, execution);
    let stage = &declaration.stages[execution.stage];
    let (declared, run) = (&stage.actions[index], &execution.runs[execution.stage].actions[index]);
    let state = match run.status {
        ActionStatus::NotStarted | ActionStatus::InProgress => "STARTED",
        ActionStatus::Abandoned => "ABANDONED",
        ActionStatus::Succeeded => "SUCCEEDED",
        ActionStatus::Failed => "FAILED",
    };
    let kind = &declared.action_type;
    let members = [
        ("stage", stage.name.clone().into()),
        ("action", declared.name.clone().into()),
        ("action-execution-id", run.id.clone().into()),
        ("state", state.into()),
        ("region", options.region.clone().into()),
        (
            "type",
            json!({"owner": kind.owner, "provider": kind.provider, "category": kind.category, "version": kind.version}),
        ),
    ];
    detail.extend(members.map(|(name, value)| (name.to_owned(), value)));
    let inputs = declared.inputs.iter().filter_map(|name| execution.artifacts.get(name));
    let artifacts = [
        ("input-artifacts", inputs.map(event_artifact).collect::<Vec<_>>()),
        ("output-artifacts", run.outputs.iter().map(event_artifact).collect()),
    ];
    let present = artifacts.into_iter().filter(|(_, artifacts)| !artifacts.is_empty());
    detail.extend(present.map(|(name, artifacts)| (name.to_owned(), artifacts.into())));
    if run.status == ActionStatus::Failed || run.external_id.is_some() {
        detail.insert("execution-result".into(), result(run));
    }
    event(options, &declaration.name, "CodePipeline Action Execution State Change", detail.into(), now)
}

fn result(run: &ActionRun) -> Value {
    let summary = run.error.as_ref().map(|(_, message)| message).or(run.summary.as_ref());
    let members = [
        ("external-execution-summary", summary),
        ("external-execution-id", run.external_id.as_ref()),
        ("error-code", run.error.as_ref().map(|(code, _)| code)),
    ];
    let present =
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone().into())));
    Value::Object(present.collect())
}

fn event_artifact(artifact: &Artifact) -> Value {
    json!({"name": artifact.name, "s3location": {"bucket": artifact.bucket, "key": artifact.key}})
}

/// An approval that is asked for.
pub(super) struct Asked<'a> {
    pub(super) pipeline: &'a str,
    pub(super) stage: &'a str,
    pub(super) action: &'a Action,
}

impl Asked<'_> {
    /// What the approval's topic is sent.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals-json-format.html>
    pub(super) fn message(&self, options: &Options, token: &str, expires: Timestamp) -> Value {
        let region = &options.region;
        let console = format!(
            "https://console.aws.amazon.com/codepipeline/home?region={region}#/view/{}",
            self.pipeline
        );
        let mut approval = json!({
            "pipelineName": self.pipeline,
            "stageName": self.stage,
            "actionName": self.action.name,
            "token": token,
            "expires": expires.strftime("%Y-%m-%dT%H:%MZ").to_string(),
            "approvalReviewLink": format!("{console}/{}/{}/approve/{token}", self.stage, self.action.name),
        });
        for (member, key) in [("externalEntityLink", "ExternalEntityLink"), ("customData", "CustomData")] {
            if let Some(value) = self.action.configuration.get(key) {
                approval[member] = value.clone().into();
            }
        }
        json!({"region": region, "consoleLink": console, "approval": approval})
    }
}

/// The answer of `GetPipelineState`.
pub(super) fn state(options: &Options, pipeline: &Pipeline) -> Value {
    let stages = pipeline.declaration.stages.iter().enumerate().map(|(number, stage)| {
        let visited = pipeline.executions.iter().rev().find(|execution| execution.runs.len() > number);
        let actions = stage.actions.iter().enumerate().map(|(index, declared)| {
            let runs = pipeline.executions.iter().rev().filter_map(|execution| execution.runs.get(number));
            let started = |run: &&ActionRun| run.status != ActionStatus::NotStarted;
            let run = runs.filter_map(|run| run.actions.get(index)).find(started);
            action_state(options, declared, run)
        });
        let mut out = json!({
            "stageName": stage.name,
            "inboundTransitionState": {"enabled": true},
            "actionStates": actions.collect::<Vec<_>>(),
        });
        if let Some(execution) = visited
            && let Some(of_stage) = execution.runs[number].status
        {
            let of_stage = if execution.status == Status::Stopping && of_stage == Status::InProgress {
                Status::Stopping
            } else {
                of_stage
            };
            out["latestExecution"] = json!({"pipelineExecutionId": execution.id, "status": status(of_stage)});
        }
        let waiting = pipeline.executions.iter().find(|execution| {
            execution.status.is_active() && !execution.entered && execution.stage == number
        });
        if let Some(execution) = waiting {
            let inbound = json!({"pipelineExecutionId": execution.id, "status": "InProgress"});
            out["inboundExecutions"] = json!([inbound]);
            out["inboundExecution"] = inbound;
        }
        out
    });
    json!({
        "pipelineName": pipeline.declaration.name,
        "pipelineVersion": pipeline.version,
        "stageStates": stages.collect::<Vec<_>>(),
        "created": seconds(pipeline.created),
        "updated": seconds(pipeline.created),
    })
}

fn action_state(options: &Options, declared: &Action, run: Option<&ActionRun>) -> Value {
    let mut out = json!({"actionName": declared.name});
    if let Kind::Lambda { function } = &declared.kind {
        let region = &options.region;
        let console =
            format!("https://console.aws.amazon.com/lambda/home?region={region}#/functions/{function}");
        out["entityUrl"] = console.into();
    }
    let Some(run) = run else { return out };
    let token = match &run.work {
        Work::Approval { token, .. } if run.status == ActionStatus::InProgress => Some(token.clone().into()),
        Work::Approval { .. }
        | Work::None
        | Work::Source
        | Work::PassThrough { .. }
        | Work::Lambda { .. } => None,
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let members = [
        ("actionExecutionId", Some(run.id.clone().into())),
        ("status", Some(action_status(run.status).into())),
        ("summary", text(&run.summary)),
        ("lastStatusChange", Some(seconds(run.changed).into())),
        ("token", token),
        ("lastUpdatedBy", text(&run.updated_by)),
        ("externalExecutionId", text(&run.external_id)),
        ("percentComplete", run.percent.map(Value::from)),
        ("errorDetails", run.error.as_ref().map(|(code, message)| json!({"code": code, "message": message}))),
    ];
    let present = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    out["latestExecution"] = Value::Object(present.collect());
    if let Some(revision) = &run.revision {
        out["currentRevision"] = json!({
            "revisionId": revision, "revisionChangeId": revision, "created": seconds(run.changed),
        });
    }
    out
}

fn action_status(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::NotStarted | ActionStatus::InProgress => "InProgress",
        ActionStatus::Abandoned => "Abandoned",
        ActionStatus::Succeeded => "Succeeded",
        ActionStatus::Failed => "Failed",
    }
}

/// The answer of `GetPipelineExecution`.
pub(super) fn execution(pipeline: &Pipeline, execution: &Execution) -> Value {
    let sources = execution.artifacts.values().filter_map(|artifact| {
        let revision = artifact.revision.as_ref()?;
        Some(json!({
            "name": artifact.name,
            "revisionId": revision,
            "revisionChangeIdentifier": revision,
            "revisionSummary": format!("Amazon S3 version id: {revision}"),
            "created": seconds(artifact.created),
        }))
    });
    let mut out = json!({
        "pipelineName": pipeline.declaration.name,
        "pipelineVersion": pipeline.version,
        "pipelineExecutionId": execution.id,
        "status": status(execution.status),
        "artifactRevisions": sources.collect::<Vec<_>>(),
        "trigger": {"triggerType": "StartPipelineExecution", "triggerDetail": execution.trigger},
        "executionMode": "SUPERSEDED",
        "executionType": "STANDARD",
    });
    if let Some(summary) = &execution.summary {
        out["statusSummary"] = summary.clone().into();
    }
    json!({"pipelineExecution": out})
}

/// What `ListPipelineExecutions` tells: the newest first.
pub(super) fn executions(pipeline: &Pipeline, from: usize, most: usize) -> Value {
    let summaries: Vec<Value> = (pipeline.executions.iter().rev().skip(from).take(most))
        .map(|execution| {
            let sources = execution.artifacts.values().filter_map(|artifact| {
                let revision = artifact.revision.as_ref()?;
                Some(json!({"actionName": artifact.name, "revisionId": revision}))
            });
            json!({
                "pipelineExecutionId": execution.id,
                "status": status(execution.status),
                "startTime": seconds(execution.started),
                "sourceRevisions": sources.collect::<Vec<_>>(),
                "trigger": {"triggerType": "StartPipelineExecution", "triggerDetail": execution.trigger},
                "executionMode": "SUPERSEDED",
                "executionType": "STANDARD",
            })
        })
        .collect();
    let next = from + summaries.len();
    let mut out = json!({"pipelineExecutionSummaries": summaries});
    if next < pipeline.executions.len() {
        out["nextToken"] = next.to_string().into();
    }
    out
}

/// The member `data` of a job, without its credentials.
pub(super) fn job_data(state: &State, job: &Job) -> Option<Value> {
    let (pipeline, execution) = state.execution(&job.site)?;
    let declared = pipeline.declaration.stages.get(job.site.stage)?.actions.get(job.site.action)?;
    let run = execution.runs.get(job.site.stage)?.actions.get(job.site.action)?;
    let configuration: Map<String, Value> = (declared.configuration.iter())
        .map(|(name, value)| {
            (name.clone(), value.replace("#{codepipeline.PipelineExecutionId}", &execution.id).into())
        })
        .collect();
    let inputs = declared.inputs.iter().filter_map(|name| execution.artifacts.get(name));
    let mut data = json!({
        "actionConfiguration": {"configuration": configuration},
        "inputArtifacts": inputs.map(job_artifact).collect::<Vec<_>>(),
        "outputArtifacts": run.outputs.iter().map(job_artifact).collect::<Vec<_>>(),
    });
    if let Some(token) = &job.continuation {
        data["continuationToken"] = token.clone().into();
    }
    Some(data)
}

fn job_artifact(artifact: &Artifact) -> Value {
    json!({
        "name": artifact.name,
        "revision": artifact.revision,
        "location": {"type": "S3", "s3Location": {"bucketName": artifact.bucket, "objectKey": artifact.key}},
    })
}
