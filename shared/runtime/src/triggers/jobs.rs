//! A pipeline's action: starts a release, and follows it through CodePipeline's continuation tokens until it has ended.
//!
//! CodePipeline invokes the function again and again with what it was answered last; each time it is answered at once. Nothing is
//! remembered between the invocations but the token. What may pass by itself (AWS throttles, the ledger does not answer) is
//! answered with a token too, so that a moment of trouble fails nobody's pipeline.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tidegate_core::actor::Actor;
use tidegate_core::admission::Admission;
use tidegate_core::change::Change;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ContainerName, ReleaseId, ServiceName};
use tidegate_core::outcome::Outcome;
use tidegate_core::policy::{PipelineSource, Policy};
use tidegate_core::ports::{Artifacts, Images, JobAnswer, JobFailure, Pipelines, TaskDefinitions};
use tidegate_core::reference::Selection;
use tidegate_core::release::{Phase, Release};
use tidegate_core::trigger::{Reason, Refusal, Trigger};
use tidegate_wire::artifact::{self, Files};
use tidegate_wire::pipeline_job::PipelineJob;
use tidegate_wire::request::ActionParameters;
use tidegate_wire::task_definition;

use super::{ImageRequest, TriggerError, TriggerResult, others};
use crate::context::Installation;

/// CodePipeline ends a Lambda action after 24 hours; it is better told before.
const LONGEST: SignedDuration = SignedDuration::from_mins(23 * 60 + 40);
/// How often what may pass by itself is tried again before the action fails.
const TRIES_MAX: u32 = 10;
/// How many releases back the one a job started is looked for.
const RELEASES_SEEN: u32 = 50;
const SOURCE: &str = "aws.codepipeline";

/// What a job is done with.
#[derive(Clone, Copy)]
pub struct JobPorts<'a> {
    /// ECR.
    pub images: &'a dyn Images,
    /// The artifact store, with the job's own keys; `None` when the job has none.
    pub artifacts: Option<&'a dyn Artifacts>,
    /// ECS.
    pub definitions: &'a dyn TaskDefinitions,
    /// CodePipeline.
    pub pipelines: &'a dyn Pipelines,
}

/// Which job, in which execution of a pipeline, started a release: what stands in the release as who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The pipeline's execution, when the action's parameters name it.
    pub execution: Option<String>,
    /// The job.
    pub job: String,
}

impl Started {
    /// As who asked for a release.
    pub fn actor(&self) -> Actor {
        let id = match &self.execution {
            Some(execution) => format!("execution/{execution}/job/{}", self.job),
            None => format!("job/{}", self.job),
        };
        Actor::Event { source: SOURCE.into(), id }
    }

    /// From who asked for a release.
    pub fn of(actor: &Actor) -> Option<Self> {
        let id = match actor {
            Actor::Event { source, id } if source == SOURCE => id,
            Actor::Event { .. } | Actor::Person { .. } | Actor::Tidegate => return None,
        };
        if let Some(job) = id.strip_prefix("job/") {
            return Some(Self { execution: None, job: job.to_owned() });
        }
        let (execution, job) = id.strip_prefix("execution/")?.rsplit_once("/job/")?;
        Some(Self { execution: Some(execution.to_owned()), job: job.to_owned() })
    }
}

/// What is remembered from one invocation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// The release, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<ReleaseId>,
    /// The first job of the action: the delivery, so that trying again starts nothing twice.
    job: String,
    /// When the action started.
    started_at: Timestamp,
    /// How often in a row something did not answer.
    #[serde(default)]
    tries: u32,
}

/// Why a job is not done now.
enum Trouble {
    /// It never will be.
    Fail(JobFailure, String),
    /// It may be, later.
    Later(PortError),
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        match error.kind {
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Conflict => Self::Later(error),
            ErrorKind::Denied => Self::Fail(JobFailure::Permission, error.to_string()),
            ErrorKind::NotFound => Self::Fail(JobFailure::RevisionUnavailable, error.to_string()),
            ErrorKind::Invalid => Self::Fail(JobFailure::Configuration, error.to_string()),
        }
    }
}

fn configuration(message: impl ToString) -> Trouble {
    Trouble::Fail(JobFailure::Configuration, message.to_string())
}

impl Installation {
    /// Does what a job asks for, and says what CodePipeline is to be answered.
    pub async fn job(&self, ports: JobPorts<'_>, job: &PipelineJob) -> JobAnswer {
        let fresh = Token { release: None, job: job.id.clone(), started_at: self.time.now(), tries: 0 };
        let token = match job.continuation.as_deref().map(serde_json::from_str::<Token>) {
            None => fresh,
            Some(Ok(token)) => token,
            Some(Err(error)) => {
                let message = format!("the continuation token is none of Tidegate's: {error}");
                return JobAnswer::Fail { kind: JobFailure::Configuration, message, release: None };
            }
        };
        let done = match &token.release {
            Some(release) => self.follow(release, &token).await,
            None => self.start(ports, job, &token).await,
        };
        done.unwrap_or_else(|trouble| troubled(trouble, token))
    }

    async fn start(
        &self,
        ports: JobPorts<'_>,
        job: &PipelineJob,
        token: &Token,
    ) -> Result<JobAnswer, Trouble> {
        let text = job.parameters.as_deref().unwrap_or("{}");
        let parameters = ActionParameters::parse(text)
            .map_err(|error| configuration(format!("UserParameters: {error}")))?;
        let head = self.ledger.service(&parameters.service).await?;
        let head = head.ok_or_else(|| configuration(TriggerError::NoService(parameters.service.clone())))?;
        let sender = match &head.policy.from.pipeline {
            Some(source) => {
                of_other_pipeline(ports.pipelines, source, parameters.execution.as_deref()).await?
            }
            None => None,
        };
        let images = match parameters.images.clone() {
            Some(images) => images,
            None => self.images_of(ports, job, &head.policy).await?,
        };
        let started = Started { execution: parameters.execution.clone(), job: token.job.clone() };
        let wanted = ImageRequest {
            service: parameters.service.clone(),
            images,
            by: started.actor(),
            why: "a pipeline asked for it".into(),
            provenance: parameters.provenance.clone(),
            delivery: Some(format!("codepipeline/{}", token.job)),
            announcing: None,
        };
        let refused = |_: &Policy| sender.clone();
        let taken = self.want(ports.images, &wanted, Trigger::Pipeline, refused).await;
        let taken = taken.map_err(|error| match error {
            TriggerError::Port(error) => error.into(),
            TriggerError::NoService(_) | TriggerError::Unreadable { .. } | TriggerError::Unfinished(_) => {
                configuration(error)
            }
        })?;
        let release = match taken {
            TriggerResult::Refused(refusal) => return Err(configuration(refusal.why)),
            TriggerResult::Before(change) => {
                self.started_before(&parameters.service, &wanted.by, change.as_ref()).await?
            }
            // Only a webhook waits for what is not there yet.
            TriggerResult::Noted { why, .. } => return Err(configuration(why)),
            TriggerResult::Admitted(admission, change) => match *admission {
                Admission::Created { release, .. } | Admission::Known { release } => release,
                Admission::Runs { release } => return Ok(runs_already(release, &change)),
                Admission::Refused { why, .. } => return Err(Trouble::Fail(JobFailure::JobFailed, why)),
            },
        };
        let token = Token { release: Some(release.clone()), tries: 0, ..token.clone() };
        if parameters.wait {
            return self.follow(&release, &token).await;
        }
        let release = self.the_release(&release).await?;
        Ok(succeeded(
            &release,
            "started",
            format!("release {} of {} was started", release.id, release.change),
        ))
    }

    /// The images the artifacts name, and that they ask for nothing else.
    async fn images_of(
        &self,
        ports: JobPorts<'_>,
        job: &PipelineJob,
        policy: &Policy,
    ) -> Result<Selection, Trouble> {
        let files = artifact_files(ports, job).await?;
        let containers: Vec<&ContainerName> = policy.to.containers().keys().collect();
        let images = artifact::images_of(&files, &containers).map_err(configuration)?;
        let others = artifact::other_images(&files, &containers).map_err(configuration)?;
        let file = artifact::task_definition(&files).map_err(configuration)?;
        if others.is_empty() && file.is_none() {
            return Ok(images);
        }
        let released = self.released(policy, &images);
        let names = policy.to.container_names();
        let target = policy.target(&self.account, &self.region);
        let running = ports.definitions.current(&target).await?;
        let running = running.ok_or_else(|| configuration(format!("there is no ECS service {target}")))?;
        let differing = others::differing(ports.images, &others, &others::images_in(&running)).await?;
        if !differing.is_empty() {
            return Err(configuration(format!(
                "imagedefinitions.json asks for more than the image of container {names}: {}; the policy releases no other container, so name \
                 it in to.ecs.containers, deploy it first, or leave its entry out of the file",
                differing.join(", ")
            )));
        }
        if let Some(file) = file {
            let file = others::written_alike(ports.images, file, &running, &released).await?;
            let differences = task_definition::differences(&file, &running, &released);
            if !differences.is_empty() {
                return Err(configuration(format!(
                    "taskdef.json changes more than the image of container {names}: {}; a release carries images only, so register \
                     these changes with the service first, or leave taskdef.json out of the artifact",
                    differences.join(", ")
                )));
            }
        }
        Ok(images)
    }

    /// The containers that get an image: those named, or those that take images of its repository.
    fn released<'a>(&self, policy: &'a Policy, images: &'a Selection) -> Vec<&'a ContainerName> {
        match images {
            Selection::Each(each) => each.keys().collect(),
            Selection::One(reference) => {
                match reference.among(&self.account, &self.region, &policy.repositories()) {
                    Ok(repository) => policy.containers_of(repository).collect(),
                    // It is refused where it is resolved.
                    Err(_) => policy.to.containers().keys().collect(),
                }
            }
        }
    }

    /// The release this very action started when it was invoked before.
    async fn started_before(
        &self,
        service: &ServiceName,
        by: &Actor,
        change: Option<&Change>,
    ) -> Result<ReleaseId, Trouble> {
        let (releases, damaged) = self.ledger.releases(service, RELEASES_SEEN).await?.split();
        let ours = releases.iter().find(|release| release.requested_by == *by);
        // It was known already then, so it is the newest one of these images.
        let ours = ours.or_else(|| {
            releases.iter().find(|release| change.is_some_and(|change| change.is_same(&release.change)))
        });
        if let (None, Some(row)) = (ours, damaged.into_iter().next()) {
            return Err(row.problem.into());
        }
        ours.map(|release| release.id.clone()).ok_or_else(|| {
            Trouble::Fail(
                JobFailure::JobFailed,
                "this action was refused before; see the service's history".into(),
            )
        })
    }

    async fn the_release(&self, id: &ReleaseId) -> Result<Release, Trouble> {
        let release = self.ledger.release(id).await?;
        release.ok_or_else(|| Trouble::Fail(JobFailure::JobFailed, format!("there is no release {id}")))
    }

    async fn follow(&self, id: &ReleaseId, token: &Token) -> Result<JobAnswer, Trouble> {
        let release = self.the_release(id).await?;
        if let Some(outcome) = release.outcome() {
            return Ok(ended(&release, outcome));
        }
        if self.time.now().duration_since(token.started_at) >= LONGEST {
            let message = format!(
                "release {id} is still under way after 24 hours, the longest a pipeline can wait ({}); Tidegate continues with it: tidegate watch {id}",
                release.summary()
            );
            return Err(Trouble::Fail(JobFailure::JobFailed, message));
        }
        let token = Token { tries: 0, ..token.clone() };
        let summary =
            format!("{}: {}; next: {}", release.change, release.summary(), release.report.waiting_on);
        let percent = percent(&release);
        Ok(JobAnswer::Continue { token: text(&token), summary, release: Some(id.clone()), percent })
    }
}

/// A job does not say which pipeline it is of. The execution its parameters name does, when it is one that runs.
async fn of_other_pipeline(
    pipelines: &dyn Pipelines,
    source: &PipelineSource,
    execution: Option<&str>,
) -> Result<Option<Refusal>, PortError> {
    let allowed = source.names.join(", ");
    let Some(execution) = execution else {
        let why = format!(
            "the action's UserParameters name no execution, so it is not known which pipeline asks; the policy allows {allowed} \
             (from.pipeline.names): add \"execution\": \"#{{codepipeline.PipelineExecutionId}}\""
        );
        return Ok(Some(Refusal::new(Reason::Sender, why)));
    };
    for name in &source.names {
        if pipelines.is_running(name, execution).await? {
            return Ok(None);
        }
    }
    let why = format!(
        "execution {execution} is not one in progress of a pipeline the policy allows: {allowed} (from.pipeline.names)"
    );
    Ok(Some(Refusal::new(Reason::Sender, why)))
}

async fn artifact_files(ports: JobPorts<'_>, job: &PipelineJob) -> Result<Files, Trouble> {
    let (Some(artifacts), false) = (ports.artifacts, job.inputs.is_empty()) else {
        return Err(configuration(
            "UserParameters name no image, tag or digest, and the action has no input artifact",
        ));
    };
    let mut all: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    for input in &job.inputs {
        for (name, bytes) in artifacts.files(&input.at, artifact::FILES).await? {
            if let Some((other, _)) = all.get(&name) {
                return Err(configuration(format!("{name} is in the artifacts {other} and {}", input.name)));
            }
            all.insert(name, (input.name.clone(), bytes));
        }
    }
    Ok(all.into_iter().map(|(name, (_, bytes))| (name, bytes)).collect())
}

fn troubled(trouble: Trouble, token: Token) -> JobAnswer {
    let release = token.release.clone();
    match trouble {
        Trouble::Fail(kind, message) => JobAnswer::Fail { kind, message, release },
        Trouble::Later(error) if token.tries < TRIES_MAX => {
            tracing::warn!(error = %error, tries = token.tries, "the job is tried again");
            let summary = format!("trying again: {error}");
            let token = Token { tries: token.tries + 1, ..token };
            JobAnswer::Continue { token: text(&token), summary, release, percent: 0 }
        }
        Trouble::Later(error) => {
            JobAnswer::Fail { kind: JobFailure::SystemUnavailable, message: error.to_string(), release }
        }
    }
}

/// What later actions of the pipeline can use: `digest`, or `digest_CONTAINER` where containers get different images.
fn variables(release: &ReleaseId, change: &Change, outcome: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("release".to_owned(), release.to_string()),
        ("outcome".to_owned(), outcome.to_owned()),
    ]);
    match change.single() {
        Some(image) => {
            variables.insert("digest".to_owned(), image.digest.to_string());
        }
        None => variables.extend(
            change.iter().map(|(container, image)| (format!("digest_{container}"), image.digest.to_string())),
        ),
    }
    variables
}

fn runs_already(release: ReleaseId, change: &Change) -> JobAnswer {
    let variables = variables(&release, change, "promoted");
    JobAnswer::Succeed { summary: format!("{change} runs since release {release}"), release, variables }
}

fn succeeded(release: &Release, outcome: &str, summary: String) -> JobAnswer {
    let variables = variables(&release.id, &release.change, outcome);
    JobAnswer::Succeed { summary, release: release.id.clone(), variables }
}

/// Only a promoted release is a success.
fn ended(release: &Release, outcome: &Outcome) -> JobAnswer {
    let id = &release.id;
    let (kind, message) = match outcome {
        Outcome::Promoted => {
            return succeeded(
                release,
                outcome.word(),
                format!("release {id} of {} is promoted", release.change),
            );
        }
        Outcome::RolledBack { cause } => {
            (JobFailure::JobFailed, format!("release {id} was rolled back: {cause}"))
        }
        Outcome::Superseded { by } => (JobFailure::OutOfSync, format!("release {id} was superseded by {by}")),
        Outcome::Cancelled { by, why } => {
            (JobFailure::JobFailed, format!("release {id} was cancelled by {by}: {why}"))
        }
        Outcome::Failed { cause, needs } => {
            (JobFailure::JobFailed, format!("release {id} failed: {cause}; needed: {needs}"))
        }
    };
    JobAnswer::Fail { kind, message, release: Some(id.clone()) }
}

/// How far a release is: the stages behind it.
fn percent(release: &Release) -> u8 {
    let stages = release.plan.as_ref().map_or(0, |plan| plan.stages.len());
    match &release.phase {
        Phase::Queued => 0,
        Phase::Preparing { .. } => 1,
        Phase::Running { stage, .. } => {
            let behind = (stage * 98).checked_div(stages).unwrap_or(0);
            u8::try_from(behind + 1).unwrap_or(99).min(99)
        }
        Phase::RollingBack(_) | Phase::Settling { .. } => 99,
        Phase::Ended { .. } => 100,
    }
}

fn text(token: &Token) -> String {
    // A structure of names, a time and a number is always JSON.
    serde_json::to_string(token).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_started_a_release_is_found_again() {
        for execution in [None, Some("e-1".to_owned()), Some("a/job/b".to_owned())] {
            let started = Started { execution, job: "j-1".into() };
            assert_eq!(Started::of(&started.actor()), Some(started));
        }
        assert_eq!(Started::of(&Actor::Tidegate), None);
        let event = |source: &str, id: &str| Actor::Event { source: source.into(), id: id.into() };
        assert_eq!(Started::of(&event("aws.ecr", "job/1")), None);
        assert_eq!(Started::of(&event(SOURCE, "x")), None);
    }

    #[test]
    fn a_token_is_small_and_read_again() {
        let token = Token {
            release: Some(ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap()),
            job: "11111111-abcd-1111-abcd-111111abcdef".into(),
            started_at: Timestamp::UNIX_EPOCH,
            tries: 10,
        };
        let written = text(&token);
        assert!(written.len() < 2048 && serde_json::from_str::<Token>(&written).unwrap() == token);
    }
}
