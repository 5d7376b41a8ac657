//! Builds as the API returns them and as events tell of them. The two look different: the event has local-time texts, its
//! own member names, and nothing of what the build exported.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchPhase, Group};
use super::build::{Build, Phase};
use super::course::{PhaseRecord, Status};
use super::{BatchEvents, Options};
use crate::ports::ServiceEvent;

/// The ARN of a project.
pub(super) fn project_arn(options: &Options, name: &str) -> String {
    format!("arn:aws:codebuild:{}:{}:project/{name}", options.region, options.account)
}

fn build_arn(options: &Options, build: &Build) -> String {
    format!("arn:aws:codebuild:{}:{}:build/{}", options.region, options.account, build.course.id)
}

/// The member `Build` of the API.
pub(super) fn build(options: &Options, build: &Build) -> Value {
    let start = &build.start;
    let mut out = json!({
        "id": build.course.id,
        "arn": build_arn(options, build),
        "buildNumber": start.number,
        "startTime": seconds(build.course.started),
        "currentPhase": build.phase(),
        "buildStatus": build.course.status,
        "projectName": start.project,
        "phases": build.course.phases.iter().map(phase).collect::<Vec<_>>(),
        "source": start.source,
        "secondarySources": [],
        "artifacts": artifacts(build),
        "environment": start.environment,
        "serviceRole": start.service_role,
        "logs": logs(options, build),
        "timeoutInMinutes": start.timeout_minutes,
        "queuedTimeoutInMinutes": 480,
        "buildComplete": build.course.is_complete(),
        "initiator": start.initiator,
        "encryptionKey": format!("arn:aws:kms:{}:{}:alias/aws/s3", options.region, options.account),
    });
    let exported: Vec<Value> =
        build.exported.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let optional = [
        ("endTime", build.course.ended.map(|ended| seconds(ended).into())),
        ("buildBatchArn", start.batch.clone().map(Value::from)),
        ("sourceVersion", start.source_version.clone().map(Value::from)),
        ("resolvedSourceVersion", build.revision().map(Value::from)),
        ("exportedEnvironmentVariables", (!exported.is_empty()).then(|| exported.into())),
    ];
    add(&mut out, optional);
    out
}

fn add<const N: usize>(out: &mut Value, members: [(&str, Option<Value>); N]) {
    if let Value::Object(out) = out {
        let present = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        out.extend(present);
    }
}

fn artifacts(build: &Build) -> Value {
    let mut out = Map::new();
    match &build.stored {
        Some(stored) => {
            out.insert("location".into(), stored.location.clone().into());
            out.insert("md5sum".into(), stored.md5.clone().into());
            out.insert("sha256sum".into(), stored.sha256.clone().into());
        }
        None => {
            out.insert("location".into(), "".into());
        }
    }
    Value::Object(out)
}

fn phase(record: &PhaseRecord<Phase>) -> Value {
    let mut out = json!({"phaseType": record.phase, "startTime": seconds(record.started)});
    if record.phase == Phase::Completed {
        return out;
    }
    let contexts = record
        .context
        .iter()
        .map(|(code, message)| json!({"statusCode": code, "message": message}))
        .collect::<Vec<_>>();
    let optional = [
        ("phaseStatus", record.ended.map(|_| json!(record.status))),
        ("endTime", record.ended.map(|ended| seconds(ended).into())),
        ("durationInSeconds", record.ended.map(|ended| whole_seconds(record.started, ended).into())),
        ("contexts", record.ended.map(|_| contexts.into())),
    ];
    add(&mut out, optional);
    out
}

fn logs(options: &Options, build: &Build) -> Value {
    json!({
        "groupName": group(build),
        "streamName": build.start.uuid,
        "deepLink": deep_link(options, build),
        "cloudWatchLogs": {"status": "ENABLED"},
        "s3Logs": {"status": "DISABLED"},
    })
}

fn group(build: &Build) -> String {
    format!("/aws/codebuild/{}", build.start.project)
}

fn deep_link(options: &Options, build: &Build) -> String {
    format!(
        "https://console.aws.amazon.com/cloudwatch/home?region={}#logEvent:group={};stream={}",
        options.region,
        group(build),
        build.start.uuid
    )
}

/// The ARN of a batch.
pub(super) fn batch_arn(options: &Options, batch: &Batch) -> String {
    format!("arn:aws:codebuild:{}:{}:build-batch/{}", options.region, options.account, batch.course.id)
}

/// The member `BuildBatch` of the API. `artifacts` resolves those of a build.
pub(super) fn batch(options: &Options, batch: &Batch, artifacts: impl Fn(&str) -> Value) -> Value {
    let start = &batch.start;
    let groups = batch.groups.iter().filter(|group| group.run.is_some() || batch.groups.len() > 1);
    let mut out = json!({
        "id": batch.course.id,
        "arn": batch_arn(options, batch),
        "buildBatchNumber": start.number,
        "startTime": seconds(batch.course.started),
        "currentPhase": batch.phase(),
        "buildBatchStatus": batch.course.status,
        "projectName": start.project,
        "phases": batch.course.phases.iter().map(batch_phase).collect::<Vec<_>>(),
        "source": start.source,
        "secondarySources": [],
        "secondarySourceVersions": [],
        "artifacts": {"location": ""},
        "secondaryArtifacts": [],
        "environment": start.environment,
        "serviceRole": start.service_role,
        "logConfig": {"cloudWatchLogs": {"status": "ENABLED"}, "s3Logs": {"status": "DISABLED"}},
        "buildTimeoutInMinutes": start.timeout_minutes,
        "queuedTimeoutInMinutes": 480,
        "complete": batch.course.is_complete(),
        "initiator": start.initiator,
        "encryptionKey": format!("arn:aws:kms:{}:{}:alias/aws/s3", options.region, options.account),
        "buildBatchConfig": start.config,
        "buildGroups": groups.map(|group| build_group(options, group, &artifacts)).collect::<Vec<_>>(),
    });
    let optional = [
        ("endTime", batch.course.ended.map(|ended| seconds(ended).into())),
        ("sourceVersion", start.source_version.clone().map(Value::from)),
        ("resolvedSourceVersion", start.source_version.clone().map(Value::from)),
    ];
    add(&mut out, optional);
    out
}

fn batch_phase(record: &PhaseRecord<BatchPhase>) -> Value {
    let mut out = json!({"phaseType": record.phase, "startTime": seconds(record.started)});
    if record.phase.is_end() {
        return out;
    }
    let contexts = record.context.iter();
    let contexts: Vec<Value> =
        contexts.map(|(code, message)| json!({"statusCode": code, "message": message})).collect();
    let optional = [
        ("phaseStatus", Some(json!(record.status))),
        ("endTime", record.ended.map(|ended| seconds(ended).into())),
        ("durationInSeconds", record.ended.map(|ended| whole_seconds(record.started, ended).into())),
        ("contexts", record.ended.map(|_| contexts.into())),
    ];
    add(&mut out, optional);
    out
}

fn build_group(options: &Options, group: &Group, artifacts: &impl Fn(&str) -> Value) -> Value {
    let mut out = json!({
        "identifier": group.task.identifier,
        "dependsOn": group.depends_on(),
        "ignoreFailure": group.ignores_failure(),
    });
    let summary = group.run.as_ref().map(|run| {
        let mut artifact = artifacts(&run.build);
        artifact["identifier"] = group.task.identifier.as_str().into();
        json!({
            "arn": format!("arn:aws:codebuild:{}:{}:build/{}", options.region, options.account, run.build),
            "requestedOn": seconds(run.started),
            "buildStatus": run.status,
            "primaryArtifact": artifact,
            "secondaryArtifacts": [],
        })
    });
    add(&mut out, [("currentBuildSummary", summary)]);
    out
}

/// The member `ResolvedArtifact` of what a build left.
pub(super) fn resolved_artifact(build: &Build) -> Value {
    let mut out = json!({"type": build.start.artifacts["type"]});
    add(&mut out, [("location", build.stored.as_ref().map(|stored| stored.location.clone().into()))]);
    out
}

/// What CodeBuild tells of a batch itself, if it tells anything: AWS documents events of builds only.
pub(super) fn batch_event(
    options: &Options,
    batch: &Batch,
    status: Status,
    now: Timestamp,
) -> Option<ServiceEvent> {
    let (detail_type, kind) = match options.batch_events {
        BatchEvents::None => return None,
        BatchEvents::AsBuild => ("CodeBuild Build State Change", "build"),
        BatchEvents::OfItsOwn => ("CodeBuild Build Batch State Change", "build-batch"),
    };
    let arn = batch_arn(options, batch);
    let mut detail = json!({
        "project-name": batch.start.project,
        "additional-information": {
            "build-complete": batch.course.is_complete(),
            "initiator": batch.start.initiator,
            "build-start-time": local_time(batch.course.started),
            "source": source(&batch.start.source),
        },
        "current-phase": batch.phase(),
        "current-phase-context": "[]",
        "version": "1",
    });
    detail[format!("{kind}-id")] = arn.clone().into();
    detail[format!("{kind}-status")] = json!(of_event(status));
    Some(ServiceEvent {
        source: "aws.codebuild".to_owned(),
        detail_type: detail_type.to_owned(),
        resources: vec![arn],
        detail,
        time: now,
    })
}

/// The event `CodeBuild Build State Change`.
pub(super) fn event(options: &Options, build: &Build, status: Status, now: Timestamp) -> ServiceEvent {
    let start = &build.start;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut information = json!({
        "environment": {
            "image": text(&start.environment["image"]),
            "privileged-mode": start.environment["privilegedMode"].as_bool().unwrap_or(false),
            "compute-type": text(&start.environment["computeType"]),
            "type": text(&start.environment["type"]),
            "environment-variables": variables(&start.environment),
        },
        "timeout-in-minutes": start.timeout_minutes,
        "build-complete": build.course.is_complete(),
        "build-number": floating(start.number),
        "initiator": start.initiator,
        "build-start-time": local_time(build.course.started),
        "source": source(&start.source),
        "logs": {
            "group-name": group(build),
            "stream-name": start.uuid,
            "deep-link": deep_link(options, build),
        },
        "phases": build.course.phases.iter().map(event_phase).collect::<Vec<_>>(),
    });
    let stored = build
        .stored
        .as_ref()
        .map(|stored| json!({"md5sum": stored.md5, "sha256sum": stored.sha256, "location": stored.location}));
    add(
        &mut information,
        [("artifact", stored), ("source-version", start.source_version.clone().map(Value::from))],
    );
    let arn = build_arn(options, build);
    ServiceEvent {
        source: "aws.codebuild".to_owned(),
        detail_type: "CodeBuild Build State Change".to_owned(),
        resources: vec![arn.clone()],
        detail: json!({
            "build-status": of_event(status),
            "project-name": start.project,
            "build-id": arn,
            "additional-information": information,
            "current-phase": build.phase(),
            "current-phase-context": "[]",
            "version": "1",
        }),
        time: now,
    }
}

/// The event documents four values only; the API's two further ones are failures.
fn of_event(status: Status) -> Status {
    match status {
        Status::Fault | Status::TimedOut => Status::Failed,
        Status::InProgress | Status::Succeeded | Status::Failed | Status::Stopped => status,
    }
}

fn variables(environment: &Value) -> Vec<Value> {
    let variables = environment["environmentVariables"].as_array().into_iter().flatten();
    let render = |variable: &Value| {
        json!({
            "name": variable["name"],
            "type": variable["type"].as_str().unwrap_or("PLAINTEXT"),
            "value": variable["value"],
        })
    };
    variables.map(render).collect()
}

fn source(source: &Value) -> Value {
    let mut out = json!({"type": source["type"]});
    add(&mut out, [("location", source.get("location").cloned())]);
    out
}

fn event_phase(record: &PhaseRecord<Phase>) -> Value {
    let mut out = json!({"start-time": local_time(record.started), "phase-type": record.phase});
    if record.phase == Phase::Completed {
        return out;
    }
    let context: Vec<String> =
        record.context.iter().map(|(code, message)| format!("{code}: {message}")).collect();
    let optional = [
        ("phase-context", record.ended.map(|_| context.into())),
        ("end-time", record.ended.map(|ended| local_time(ended).into())),
        ("duration-in-seconds", record.ended.map(|ended| whole_seconds(record.started, ended).into())),
        ("phase-status", record.ended.map(|_| json!(record.status))),
    ];
    add(&mut out, optional);
    out
}

/// CodeBuild writes times into its events as `Sep 1, 2017 4:12:29 PM`, in UTC.
fn local_time(time: Timestamp) -> String {
    time.strftime("%b %-d, %Y %-I:%M:%S %p").to_string()
}

fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

fn floating(number: u64) -> Value {
    u32::try_from(number).map_or_else(|_| number.into(), |number| f64::from(number).into())
}

/// Seconds since the epoch, as AWS's JSON protocols write times.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_codebuild_writes_them() {
        let time = |text: &str| local_time(text.parse().unwrap());
        assert_eq!(time("2017-09-01T16:12:29Z"), "Sep 1, 2017 4:12:29 PM");
        assert_eq!(time("2026-11-20T00:05:06Z"), "Nov 20, 2026 12:05:06 AM");
    }
}
