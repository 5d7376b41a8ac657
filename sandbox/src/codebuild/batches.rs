//! The operations on batch builds.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Options;
use super::api::{State, Token, invalid, list, plain_build, required};
use super::batch::{Batch, BatchStart, SOURCE, Spec, Turn};
use super::build::Build;
use super::course::Status;
use super::render;
use super::script::Script;
use crate::ids::uuid;
use crate::ports::{AwsError, Caller};

/// <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_BatchGetBuildBatches.html>
const AT_ONCE: usize = 100;
/// AWS's default: eight hours.
const TIMEOUT_MINUTES: i64 = 480;
/// In which a build finds its place in the batch.
const IDENTIFIER: &str = "CODEBUILD_BATCH_BUILD_IDENTIFIER";

impl State {
    pub(super) fn start_batch(
        &mut self,
        options: &Options,
        input: &Value,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Value, AwsError> {
        let name = required(input, "projectName")?;
        let project = self.project(name)?.described.clone();
        let token = self.repeated("StartBuildBatch", input, now)?;
        if let Some(id) = token {
            return Ok(json!({"buildBatch": self.described(options, &id)}));
        }
        let number = {
            let project = self.projects.get_mut(name);
            project.map_or(1, |project| {
                project.batches += 1;
                project.batches
            })
        };
        let batch = Batch::new(start(options, &project, input, caller, number, now)?, now);
        let id = batch.course.id.clone();
        if let Some(token) = input["idempotencyToken"].as_str() {
            let is = Token { at: now, request: input.clone(), build: id.clone() };
            self.tokens.insert(("StartBuildBatch", token.to_owned()), is);
        }
        self.batches.push(batch);
        self.started_batch = Some(id.clone());
        Ok(json!({"buildBatch": self.described(options, &id)}))
    }

    /// Unlike a build's, an id that cannot be one is not found.
    pub(super) fn get_batches(&self, options: &Options, input: &Value) -> Result<Value, AwsError> {
        let Some(ids) = input["ids"].as_array().filter(|ids| ids.len() <= AT_ONCE) else {
            return Err(invalid(format!("ids is required, and has at most {AT_ONCE} items")));
        };
        let ids = ids.iter().filter_map(Value::as_str);
        let (found, missing): (Vec<&str>, Vec<&str>) = ids.partition(|id| self.batch(batch_id(id)).is_some());
        let found: Vec<Value> = found.iter().map(|id| self.described(options, batch_id(id))).collect();
        Ok(json!({"buildBatches": found, "buildBatchesNotFound": missing}))
    }

    pub(super) fn list_batches(&self, input: &Value, project: Option<&str>) -> Result<Value, AwsError> {
        if let Some(name) = project {
            self.project(name)?;
        }
        let batches =
            self.batches.iter().filter(|batch| project.is_none_or(|name| batch.start.project == name));
        let wanted = input["filter"]["status"].as_str();
        let batches =
            batches.filter(|batch| wanted.is_none_or(|status| json!(batch.course.status) == status));
        list(batches.map(|batch| batch.course.id.clone()).collect(), input, "ids", "DESCENDING")
    }

    pub(super) fn stop_batch(
        &mut self,
        options: &Options,
        input: &Value,
        now: Timestamp,
    ) -> Result<Value, AwsError> {
        let id = batch_id(required(input, "id")?).to_owned();
        let batch = self.batches.iter_mut().find(|batch| batch.course.id == id).ok_or_else(|| {
            AwsError::new("ResourceNotFoundException", format!("Batch build {id} could not be found"))
        })?;
        let turn = batch.give_up(Status::Stopped, now);
        self.take(options, &id, turn, now);
        Ok(json!({"buildBatch": self.described(options, &id)}))
    }

    /// Moves a batch on. Returns whether there is anything left to move.
    pub(super) fn step_batch(&mut self, options: &Options, id: &str, now: Timestamp) -> bool {
        let builds = &self.builds;
        let status = |id: &str| {
            builds.iter().rev().find(|build| build.course.id == id).map(|build| build.course.status)
        };
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.course.id == id) else { return false };
        let turn = batch.step(status, now);
        let goes_on = !batch.course.is_complete();
        self.take(options, id, turn, now);
        goes_on
    }

    pub(super) fn batch_mut(&mut self, id: &str) -> Option<&mut Batch> {
        self.batches.iter_mut().find(|batch| batch.course.id == id)
    }

    fn batch(&self, id: &str) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.course.id == id)
    }

    fn described(&self, options: &Options, id: &str) -> Value {
        let artifacts = |id: &str| {
            let build = self.builds.iter().find(|build| build.course.id == id);
            build.map(render::resolved_artifact).unwrap_or_default()
        };
        self.batch(id).map_or(Value::Null, |batch| render::batch(options, batch, artifacts))
    }

    fn take(&mut self, options: &Options, id: &str, turn: Turn, now: Timestamp) {
        for identifier in turn.start {
            self.start_member(options, id, &identifier, now);
        }
        for id in turn.stop {
            if let Some(build) = self.build_mut(&id) {
                build.stop(now);
                self.stopped.push(id);
            }
        }
    }

    /// Starts one of a batch's builds as CodeBuild does it with the batch's own role: who started the batch did not start these.
    fn start_member(&mut self, options: &Options, batch: &str, identifier: &str, now: Timestamp) {
        let Some(position) = self.batches.iter().position(|found| found.course.id == batch) else { return };
        let found = &self.batches[position];
        let Some(project) = self.projects.get_mut(&found.start.project) else { return };
        project.builds += 1;
        let mut request = found.start.request.clone();
        let group = found.groups.iter().find(|group| group.task.identifier == identifier);
        if let Some(group) = group {
            if let Some(script) = &group.task.buildspec {
                request["buildspecOverride"] = script.to_string().into();
            }
            let mut variables =
                request["environmentVariablesOverride"].as_array().cloned().unwrap_or_default();
            variables.extend(
                group.task.env.variables.iter().map(|(name, value)| json!({"name": name, "value": value})),
            );
            request["environmentVariablesOverride"] = variables.into();
        }
        // What the request says of time is about the batch's builds under another name.
        request["timeoutInMinutesOverride"] = found.start.request["buildTimeoutInMinutesOverride"].clone();
        let arn = render::batch_arn(options, found);
        let role = found.start.config["serviceRole"].as_str().unwrap_or_default().rsplit('/').next();
        let initiator = format!("{}/AWSCodeBuild-{}", role.unwrap_or_default(), found.start.uuid);
        let problem = found.problem();
        let described = project.described.clone();
        let number = project.builds;
        // The request was accepted once with the batch.
        let Ok(mut start) = plain_build(options, &described, &request, &Caller::default(), number, now)
        else {
            return;
        };
        start.batch = Some(arn);
        start.initiator = initiator;
        start.variables.insert(IDENTIFIER.to_owned(), identifier.to_owned());
        if identifier == SOURCE {
            start.script = problem.map_or_else(|| Ok(Script::default()), Err);
            start.artifacts = json!({"type": "NO_ARTIFACTS"});
        }
        let build = Build::new(start, now);
        let id = build.course.id.clone();
        self.builds.push(build);
        self.batches[position].is_started(identifier, id.clone(), now);
        self.started.push(id);
    }
}

/// Puts a project and what the request overrides together.
fn start(
    options: &Options,
    project: &Value,
    input: &Value,
    caller: &Caller,
    number: u64,
    now: Timestamp,
) -> Result<BatchStart, AwsError> {
    let mut config = project["buildBatchConfig"].as_object().cloned().unwrap_or_default();
    config.extend(input["buildBatchConfigOverride"].as_object().cloned().unwrap_or_default());
    let mut config = Value::Object(config);
    if config["serviceRole"].as_str().is_none_or(str::is_empty) {
        return Err(invalid(format!(
            "Project {} has no batch configuration: buildBatchConfig.serviceRole is required",
            project["name"].as_str().unwrap_or_default()
        )));
    }
    if config["timeoutInMins"].is_null() {
        config["timeoutInMins"] = TIMEOUT_MINUTES.into();
    }
    if config["restrictions"]["maximumBuildsAllowed"].is_null() {
        config["restrictions"]["maximumBuildsAllowed"] = 100.into();
    }
    let minutes = config["timeoutInMins"].as_i64().unwrap_or(TIMEOUT_MINUTES);
    if !(5..=2160).contains(&minutes) {
        return Err(invalid(format!("timeoutInMins is {minutes}, expected 5 to 2160")));
    }
    let whole = i32::try_from(minutes).unwrap_or(i32::MAX);
    let timeout = SignedDuration::from_secs_f64(options.minute.as_secs_f64() * f64::from(whole));
    let mut request = input.clone();
    request["timeoutInMinutesOverride"] = input["buildTimeoutInMinutesOverride"].clone();
    // Whatever AWS refuses of a build it refuses of the batch.
    let build = plain_build(options, project, &request, caller, 0, now)?;
    let spec: Result<Spec, String> = build.script.and_then(|script| {
        script.batch.ok_or_else(|| "the buildspec has no batch, and this is a batch build".to_owned())
    });
    Ok(BatchStart {
        project: build.project,
        uuid: uuid(),
        number,
        initiator: build.initiator,
        source_version: build.source_version,
        source: build.source,
        environment: build.environment,
        service_role: build.service_role,
        config,
        timeout_minutes: build.timeout_minutes,
        deadline: now + timeout,
        request: input.clone(),
        spec,
    })
}

/// A batch is named `project:uuid`, or by its ARN.
fn batch_id(text: &str) -> &str {
    text.split_once(":build-batch/").map_or(text, |(_, id)| id)
}
