//! Every event Tidegate knows, by source and detail type; the others are accepted and passed over.

use std::fmt;

use serde_json::Value;

use crate::alarm::{AlarmStateChange, ContributorStateChange};
use crate::codebuild::BuildStateChange;
use crate::codepipeline::PipelineStateChange;
use crate::ecr::{ImageAction, ImageScan, InspectorFinding, Severity};
use crate::ecs::{DeploymentStateChange, HookStateChange, ServiceAction, TaskStateChange};
use crate::envelope::{Envelope, EventError, Origins, parse_envelope};
use crate::request::RequestDocument;
use crate::s3::ObjectCreated;

/// The detail type of the event by which anyone can ask for a release.
pub const RELEASE_REQUESTED: &str = "tidegate.release.requested";

/// An event, by what it is about.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Event {
    /// An image was pushed, deleted or archived.
    EcrImage(Box<ImageAction>),
    /// An image came from another registry.
    EcrReplication(Box<ImageAction>),
    /// ECR scanned an image.
    EcrScan(Box<ImageScan>),
    /// Amazon Inspector scanned an image.
    InspectorScan(Box<ImageScan>),
    /// Amazon Inspector found something.
    InspectorFinding(Box<InspectorFinding>),
    /// An alarm changed its state.
    Alarm(Box<AlarmStateChange>),
    /// One time series of an alarm did; the alarm itself did not.
    AlarmContributor(Box<ContributorStateChange>),
    /// A deployment started, ended or failed.
    EcsDeployment(Box<DeploymentStateChange>),
    /// A lifecycle hook was reached or is over.
    EcsHook(Box<HookStateChange>),
    /// Something happened to a service.
    EcsServiceAction(Box<ServiceAction>),
    /// A task changed.
    EcsTask(Box<TaskStateChange>),
    /// A build changed its state.
    CodeBuild(Box<BuildStateChange>),
    /// A pipeline, a stage or an action changed its state.
    CodePipeline(Box<PipelineStateChange>),
    /// An object was written.
    S3Object(Box<ObjectCreated>),
    /// Someone asks for a release: `tidegate.release.requested` of any source but AWS's own.
    ReleaseRequested(Box<RequestDocument>),
    /// One Tidegate has no use for.
    Ignored {
        /// Who sent it.
        source: String,
        detail_type: String,
    },
}

impl Event {
    /// Reads the detail. Only a detail type Tidegate knows can fail.
    pub fn from_envelope(envelope: &Envelope) -> Result<Self, EventError> {
        Ok(match (envelope.source.as_str(), envelope.detail_type.as_str()) {
            ("aws.ecr", "ECR Image Action") => Self::EcrImage(Box::new(ImageAction::read(envelope)?)),
            ("aws.ecr", "ECR Replication Action") => {
                Self::EcrReplication(Box::new(ImageAction::read(envelope)?))
            }
            ("aws.ecr", "ECR Image Scan") => Self::EcrScan(Box::new(ImageScan::read(envelope)?)),
            ("aws.inspector2", "Inspector2 Scan") => {
                Self::InspectorScan(Box::new(ImageScan::read(envelope)?))
            }
            ("aws.inspector2", "Inspector2 Finding") => {
                Self::InspectorFinding(Box::new(InspectorFinding::read(envelope)?))
            }
            ("aws.cloudwatch", "CloudWatch Alarm State Change") => {
                Self::Alarm(Box::new(AlarmStateChange::read(envelope)?))
            }
            ("aws.cloudwatch", "CloudWatch Alarm Contributor State Change") => {
                Self::AlarmContributor(Box::new(ContributorStateChange::read(envelope)?))
            }
            ("aws.ecs", "ECS Deployment State Change") => {
                Self::EcsDeployment(Box::new(DeploymentStateChange::read(envelope)?))
            }
            ("aws.ecs", "ECS Hook State Change") => Self::EcsHook(Box::new(HookStateChange::read(envelope)?)),
            ("aws.ecs", "ECS Service Action") => {
                Self::EcsServiceAction(Box::new(ServiceAction::read(envelope)?))
            }
            ("aws.ecs", "ECS Task State Change") => Self::EcsTask(Box::new(TaskStateChange::read(envelope)?)),
            ("aws.codebuild", "CodeBuild Build State Change") => match BuildStateChange::read(envelope)? {
                Some(change) => Self::CodeBuild(Box::new(change)),
                None => Self::ignored(envelope),
            },
            (
                "aws.codepipeline",
                "CodePipeline Pipeline Execution State Change"
                | "CodePipeline Stage Execution State Change"
                | "CodePipeline Action Execution State Change",
            ) => Self::CodePipeline(Box::new(PipelineStateChange::read(envelope)?)),
            ("aws.s3", "Object Created") => Self::S3Object(Box::new(ObjectCreated::read(envelope)?)),
            (source, RELEASE_REQUESTED) if !source.starts_with("aws.") => {
                let request = RequestDocument::from_detail("detail", &envelope.detail);
                let request = request.map_err(|error| envelope.malformed(error.path, error.problem))?;
                Self::ReleaseRequested(Box::new(request))
            }
            (_, _) => Self::ignored(envelope),
        })
    }

    fn ignored(envelope: &Envelope) -> Self {
        Self::Ignored { source: envelope.source.clone(), detail_type: envelope.detail_type.clone() }
    }
}

/// Reads a whole event from the bytes of an invocation.
pub fn parse_event(bytes: &[u8], origins: &Origins) -> Result<(Envelope, Event), EventError> {
    let envelope = parse_envelope(bytes, origins)?;
    let event = Event::from_envelope(&envelope)?;
    Ok((envelope, event))
}

impl Event {
    /// Reads a whole event from JSON that has been parsed already.
    pub fn from_value(value: &Value, origins: &Origins) -> Result<(Envelope, Self), EventError> {
        let envelope = Envelope::from_value(value, origins)?;
        let event = Self::from_envelope(&envelope)?;
        Ok((envelope, event))
    }
}

/// One line for histories and logs: names, states and the reason AWS gives.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcrImage(action) | Self::EcrReplication(action) => image_action(f, action),
            Self::EcrScan(scan) | Self::InspectorScan(scan) => image_scan(f, scan),
            Self::InspectorFinding(finding) => {
                let title = finding.title.as_deref().unwrap_or("finding");
                write!(f, "{} {} {title}", finding.status, finding.severity)?;
                finding
                    .images()
                    .try_for_each(|image| write!(f, " in {}@{}", image.repository, image.digest.short()))
            }
            Self::Alarm(change) => {
                let kind = if change.is_composite() { "composite alarm" } else { "alarm" };
                write!(f, "{kind} {} is {}", change.name, change.state.value.as_str())?;
                change.silenced().map_or(Ok(()), |why| write!(f, ", {why}"))
            }
            Self::AlarmContributor(change) => {
                let contributor = &change.contributor.id;
                write!(f, "contributor {contributor} of {} is {}", change.name, change.state.value.as_str())
            }
            Self::EcsDeployment(change) => {
                write!(f, "{} {} of {}", change.name, change.deployment_id, change.service)?;
                reason(f, change.reason.as_deref())
            }
            Self::EcsHook(change) => {
                let stage = change.stage.as_ref().map_or("an unknown stage", |stage| stage.as_str());
                write!(f, "{} at {stage} of {} ({})", change.name, change.service, change.deployment.short())
            }
            Self::EcsServiceAction(action) => {
                write!(f, "{} of {}", action.name, action.service)?;
                reason(f, action.reason.as_deref())
            }
            Self::EcsTask(change) => {
                let id = change.task.short();
                write!(f, "task {id} of {} is {}", change.task_definition.short(), change.last_status)?;
                reason(f, change.stopped_reason.as_deref())
            }
            Self::CodeBuild(change) => {
                write!(f, "build {} of {} is {}", number(change.number), change.project, change.status)
            }
            Self::CodePipeline(change) => {
                write!(f, "pipeline {}", change.pipeline)?;
                for part in [&change.stage, &change.action].into_iter().flatten() {
                    write!(f, "/{part}")?;
                }
                write!(f, " version {} is {}", number(change.version), change.state)?;
                reason(f, change.result.as_ref().and_then(|result| result.error_code.as_deref()))
            }
            Self::S3Object(created) => {
                write!(f, "s3://{}/{} was written", created.bucket.name, created.object.key)
            }
            Self::ReleaseRequested(request) => write!(f, "asked to release {request}"),
            Self::Ignored { source, detail_type } => write!(f, "{detail_type} of {source}, ignored"),
        }
    }
}

fn image_action(f: &mut fmt::Formatter<'_>, action: &ImageAction) -> fmt::Result {
    write!(f, "{} {} of {}@{}", action.action, action.result, action.repository, action.digest.short())?;
    match &action.tag {
        Some(tag) => write!(f, " tagged {tag}")?,
        None => f.write_str(" without a tag")?,
    }
    match (&action.source_account, &action.source_region) {
        (Some(account), Some(region)) => write!(f, " from {account} in {region}"),
        _ => Ok(()),
    }
}

fn image_scan(f: &mut fmt::Formatter<'_>, scan: &ImageScan) -> fmt::Result {
    let (critical, high) = (scan.count(&Severity::Critical), scan.count(&Severity::High));
    write!(
        f,
        "scan {} of {}@{}: {critical} critical, {high} high",
        scan.status,
        scan.repository,
        scan.digest.short()
    )
}

fn reason(f: &mut fmt::Formatter<'_>, reason: Option<&str>) -> fmt::Result {
    reason.map_or(Ok(()), |reason| write!(f, ": {reason}"))
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}
