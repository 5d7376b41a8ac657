//! The operations on projects and builds.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Options;
use super::batch::Batch;
use super::build::{Build, Start};
use super::render;
use super::script::Script;
use crate::ids::uuid;
use crate::ports::{AwsError, Caller};

/// <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_BatchGetBuilds.html>
const BATCH: usize = 100;
const PAGE: usize = 100;
/// How long an idempotency token is remembered.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// Every project and build.
#[derive(Default)]
pub(super) struct State {
    pub(super) projects: BTreeMap<String, Project>,
    /// In the order they were started.
    pub(super) builds: Vec<Build>,
    pub(super) batches: Vec<Batch>,
    /// By operation and token.
    pub(super) tokens: HashMap<(&'static str, String), Token>,
    /// The builds that were started and stopped since they were last taken, and the batch.
    pub(super) started: Vec<String>,
    pub(super) stopped: Vec<String>,
    pub(super) started_batch: Option<String>,
}

pub(super) struct Project {
    /// As `CreateProject` was told, with what CodeBuild adds.
    pub(super) described: Value,
    pub(super) builds: u64,
    pub(super) batches: u64,
}

pub(super) struct Token {
    pub(super) at: Timestamp,
    pub(super) request: Value,
    pub(super) build: String,
}

impl State {
    pub(super) fn build_mut(&mut self, id: &str) -> Option<&mut Build> {
        self.builds.iter_mut().rev().find(|build| build.course.id == id)
    }

    pub(super) fn answer(
        &mut self,
        options: &Options,
        operation: &str,
        input: &Value,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Value, AwsError> {
        match operation {
            "CreateProject" => self.create_project(options, input, now),
            "BatchGetProjects" => self.batch_get_projects(options, input),
            "ListProjects" => list(self.projects.keys().cloned().collect(), input, "projects", "ASCENDING"),
            "DeleteProject" => {
                self.projects.remove(required(input, "name")?);
                Ok(json!({}))
            }
            "StartBuild" => self.start_build(options, input, caller, now),
            "BatchGetBuilds" => self.batch_get_builds(options, input),
            "ListBuildsForProject" => {
                let name = required(input, "projectName")?;
                self.project(name)?;
                let builds = self.builds.iter().filter(|build| build.start.project == name);
                list(builds.map(|build| build.course.id.clone()).collect(), input, "ids", "DESCENDING")
            }
            "StopBuild" => {
                let id = build_id(required(input, "id")?)?;
                let build = self.build_mut(id).ok_or_else(|| {
                    AwsError::new("ResourceNotFoundException", format!("Build {id} could not be found"))
                })?;
                build.stop(now);
                let answer = json!({"build": render::build(options, build)});
                self.stopped.push(id.to_owned());
                Ok(answer)
            }
            "StartBuildBatch" => self.start_batch(options, input, caller, now),
            "BatchGetBuildBatches" => self.get_batches(options, input),
            "ListBuildBatches" => self.list_batches(input, None),
            "ListBuildBatchesForProject" => self.list_batches(input, Some(required(input, "projectName")?)),
            "StopBuildBatch" => self.stop_batch(options, input, now),
            other => Err(AwsError::new(
                "UnknownOperationException",
                format!("the sandbox's CodeBuild does not know {other}"),
            )),
        }
    }

    pub(super) fn project(&self, name: &str) -> Result<&Project, AwsError> {
        self.projects.get(name).ok_or_else(|| {
            AwsError::new("ResourceNotFoundException", format!("Project cannot be found: {name}"))
        })
    }

    fn create_project(
        &mut self,
        options: &Options,
        input: &Value,
        now: Timestamp,
    ) -> Result<Value, AwsError> {
        let name = required(input, "name")?;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !(2..=150).contains(&name.len()) || !name.chars().all(good) || name.starts_with(['-', '_']) {
            return Err(invalid(format!("Project name is not valid: {name}")));
        }
        for (member, inner) in
            [("source", "type"), ("artifacts", "type"), ("environment", "type"), ("environment", "image")]
        {
            if !input[member][inner].is_string() {
                return Err(invalid(format!("{member}.{inner} is required")));
            }
        }
        required(input, "serviceRole")?;
        if input["buildBatchConfig"].is_object() {
            required(&input["buildBatchConfig"], "serviceRole")?;
        }
        if self.projects.contains_key(name) {
            let message = format!("Project already exists: {}", render::project_arn(options, name));
            return Err(AwsError::new("ResourceAlreadyExistsException", message));
        }
        let mut described = input.clone();
        described["arn"] = render::project_arn(options, name).into();
        described["created"] = render::seconds(now).into();
        described["lastModified"] = render::seconds(now).into();
        if described["timeoutInMinutes"].is_null() {
            described["timeoutInMinutes"] = 60.into();
        }
        self.projects
            .insert(name.to_owned(), Project { described: described.clone(), builds: 0, batches: 0 });
        Ok(json!({"project": described}))
    }

    fn batch_get_projects(&self, options: &Options, input: &Value) -> Result<Value, AwsError> {
        let names = batch(input, "names")?;
        let prefix = render::project_arn(options, "");
        let find = |name: &&str| self.projects.get(name.trim_start_matches(&prefix));
        let (found, missing): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| find(name).is_some());
        let found: Vec<&Value> = found.iter().filter_map(find).map(|project| &project.described).collect();
        Ok(json!({"projects": found, "projectsNotFound": missing}))
    }

    fn batch_get_builds(&self, options: &Options, input: &Value) -> Result<Value, AwsError> {
        let ids = batch(input, "ids")?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            let name = build_id(id)?;
            match self.builds.iter().find(|build| build.course.id == name) {
                Some(build) => found.push(render::build(options, build)),
                None => missing.push(id),
            }
        }
        Ok(json!({"builds": found, "buildsNotFound": missing}))
    }

    fn start_build(
        &mut self,
        options: &Options,
        input: &Value,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Value, AwsError> {
        let name = required(input, "projectName")?;
        self.project(name)?;
        if let Some(id) = self.repeated("StartBuild", input, now)? {
            let build = self.builds.iter().find(|build| build.course.id == id);
            return Ok(json!({"build": build.map(|build| render::build(options, build))}));
        }
        self.check_limits(options, name)?;
        let number = {
            // Looked up again because the limits look at every build.
            let project = self.projects.get_mut(name);
            project.map_or(1, |project| {
                project.builds += 1;
                project.builds
            })
        };
        let described = self.project(name)?.described.clone();
        let build = Build::new(plain_build(options, &described, input, caller, number, now)?, now);
        let id = build.course.id.clone();
        if let Some(token) = input["idempotencyToken"].as_str() {
            let token_is = Token { at: now, request: input.clone(), build: id.clone() };
            self.tokens.insert(("StartBuild", token.to_owned()), token_is);
        }
        let answer = json!({"build": render::build(options, &build)});
        self.builds.push(build);
        self.started.push(id);
        Ok(answer)
    }

    /// The build a repeated idempotency token already started.
    pub(super) fn repeated(
        &mut self,
        operation: &'static str,
        input: &Value,
        now: Timestamp,
    ) -> Result<Option<String>, AwsError> {
        self.tokens.retain(|_, token| now.duration_since(token.at) < TOKEN_LIFE);
        let Some(token) = input["idempotencyToken"].as_str() else { return Ok(None) };
        if !(1..=64).contains(&token.len()) {
            return Err(invalid("The idempotency token has 1 to 64 characters".to_owned()));
        }
        match self.tokens.get(&(operation, token.to_owned())) {
            None => Ok(None),
            Some(known) if known.request == *input => Ok(Some(known.build.clone())),
            Some(_) => {
                Err(invalid("Parameter mismatch: the idempotency token was used for another request".into()))
            }
        }
    }

    fn check_limits(&self, options: &Options, name: &str) -> Result<(), AwsError> {
        let running = |of: Option<&str>| {
            let builds = self.builds.iter().filter(|build| !build.course.is_complete());
            builds.filter(|build| of.is_none_or(|name| build.start.project == name)).count()
        };
        let of_project = self.project(name)?.described["concurrentBuildLimit"].as_u64();
        let of_project = of_project.and_then(|limit| usize::try_from(limit).ok());
        let exceeded = running(None) >= options.concurrent_builds
            || of_project.is_some_and(|limit| running(Some(name)) >= limit);
        if !exceeded {
            return Ok(());
        }
        let limit = of_project.unwrap_or(options.concurrent_builds);
        let message = format!("Cannot have more than {limit} builds in queue for the account");
        Err(AwsError::new("AccountLimitExceededException", message))
    }
}

/// Puts a project and what the request overrides together, for a build of its own.
pub(super) fn plain_build(
    options: &Options,
    project: &Value,
    input: &Value,
    caller: &Caller,
    number: u64,
    now: Timestamp,
) -> Result<Start, AwsError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = text(&project["name"]).unwrap_or_default();
    let id = uuid();
    let mut source = project["source"].clone();
    if let Some(buildspec) = input["buildspecOverride"].as_str() {
        source["buildspec"] = buildspec.into();
    }
    let mut environment = project["environment"].clone();
    environment["environmentVariables"] = overridden(&environment, input)?;
    let source_version = text(&input["sourceVersion"]).or_else(|| text(&project["sourceVersion"]));
    let timeout_minutes =
        input["timeoutInMinutesOverride"].as_i64().or(project["timeoutInMinutes"].as_i64()).unwrap_or(60);
    if !(5..=2160).contains(&timeout_minutes) {
        return Err(invalid(format!("timeout is {timeout_minutes} minutes, expected 5 to 2160")));
    }
    let minutes = i32::try_from(timeout_minutes).unwrap_or(i32::MAX);
    let timeout = SignedDuration::from_secs_f64(options.minute.as_secs_f64() * f64::from(minutes));
    let script = Script::of(
        source["buildspec"].as_str().unwrap_or_default(),
        project["description"].as_str().unwrap_or_default(),
    );
    let own = [
        ("AWS_REGION", options.region.clone()),
        ("CODEBUILD_BUILD_ID", format!("{name}:{id}")),
        ("CODEBUILD_BUILD_NUMBER", number.to_string()),
        ("CODEBUILD_RESOLVED_SOURCE_VERSION", source_version.clone().unwrap_or_default()),
    ];
    let variables = own.map(|(name, value)| (name.to_owned(), value)).into_iter();
    Ok(Start {
        initiator: initiator(caller),
        variables: variables.chain(plain_variables(&environment)).collect(),
        artifacts: input.get("artifactsOverride").cloned().unwrap_or_else(|| project["artifacts"].clone()),
        service_role: project["serviceRole"].clone(),
        deadline: now + timeout,
        project: name,
        uuid: id,
        number,
        source_version,
        source,
        environment,
        timeout_minutes,
        script,
        batch: None,
    })
}

/// The project's variables, each replaced or joined by those of the request.
fn overridden(environment: &Value, input: &Value) -> Result<Value, AwsError> {
    let mut variables = Map::new();
    let of_project = environment["environmentVariables"].as_array().into_iter().flatten();
    let of_request = input["environmentVariablesOverride"].as_array().into_iter().flatten();
    for variable in of_project.chain(of_request) {
        let (Some(name), true) = (variable["name"].as_str(), variable["value"].is_string()) else {
            return Err(invalid(format!("an environment variable has no name or no value: {variable}")));
        };
        let mut variable = variable.clone();
        if variable["type"].is_null() {
            variable["type"] = "PLAINTEXT".into();
        }
        variables.insert(name.to_owned(), variable);
    }
    Ok(variables.into_iter().map(|(_, variable)| variable).collect())
}

fn plain_variables(environment: &Value) -> impl Iterator<Item = (String, String)> {
    let variables = environment["environmentVariables"].as_array().into_iter().flatten();
    variables.filter(|variable| variable["type"] == "PLAINTEXT").filter_map(|variable| {
        Some((variable["name"].as_str()?.to_owned(), variable["value"].as_str()?.to_owned()))
    })
}

/// CodeBuild names people by their user, and roles as `role/session`.
fn initiator(caller: &Caller) -> String {
    let arn = caller.arn.as_deref().unwrap_or_default();
    arn.split_once(":assumed-role/").map_or_else(|| "root".to_owned(), |(_, rest)| rest.to_owned())
}

pub(super) fn invalid(message: String) -> AwsError {
    AwsError::new("InvalidInputException", message)
}

pub(super) fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, AwsError> {
    let text = input[member].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| invalid(format!("{member} is required")))
}

/// A build is named `project:uuid`, or by its ARN.
fn build_id(text: &str) -> Result<&str, AwsError> {
    let id = text.split_once(":build/").map_or(text, |(_, id)| id);
    if id.split_once(':').is_some_and(|(project, build)| !project.is_empty() && !build.is_empty()) {
        Ok(id)
    } else {
        Err(invalid(format!("Invalid build ID: {text}")))
    }
}

fn batch<'a>(input: &'a Value, member: &str) -> Result<Vec<&'a str>, AwsError> {
    let items: Vec<&str> = input[member].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if items.is_empty() || items.len() > BATCH {
        return Err(invalid(format!("{member} has {} items, expected 1 to {BATCH}", items.len())));
    }
    Ok(items)
}

/// A page of names, oldest first in `names`.
pub(super) fn list(
    mut names: Vec<String>,
    input: &Value,
    member: &str,
    default: &str,
) -> Result<Value, AwsError> {
    if input["sortOrder"].as_str().unwrap_or(default) == "DESCENDING" {
        names.reverse();
    }
    let from = match input["nextToken"].as_str() {
        Some(token) => token.parse().map_err(|_| invalid("Invalid next token".to_owned()))?,
        None => 0,
    };
    let page: Vec<&String> = names.iter().skip(from).take(PAGE).collect();
    let mut answer = json!({member: page});
    if names.len() > from + PAGE {
        answer["nextToken"] = (from + PAGE).to_string().into();
    }
    Ok(answer)
}
