//! What happened: a closed list. Programs match on it; people read its `Display`, and [`Event::why`].
#![expect(missing_docs, reason = "fields are named after what they hold")]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::effect::Action;
use crate::ids::{DeploymentArn, Digest, FunctionVersion, ReleaseId, ServiceName, TaskDefinitionArn};
use crate::intent::Request;
use crate::outcome::{Cause, Outcome};
use crate::plan::Stage;
use crate::policy::Percent;
use crate::trigger::Subject;
use crate::vocab::ecs::DeploymentStatus;
use crate::vocab::tasks::FailedTask;
use crate::words::{bake_span, tasks};

/// Something that happened to a release, or to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The service's first policy was applied.
    PolicyStored,
    /// Another policy was applied.
    PolicyChanged,
    /// The policy was removed.
    PolicyRemoved { why: String },
    /// Digests may be released again.
    QuarantineLifted { digests: Vec<Digest>, release: ReleaseId, why: String },
    /// An image was not let in.
    ImageRefused { change: Change, why: String },
    /// A trigger started nothing. The same kind of refusal is counted, not told again.
    TriggerRefused { subject: Subject, why: String, times: u64, first: Timestamp },
    /// A webhook announced an image that is not in the repository yet.
    ImageAwaited { service: ServiceName, reference: String, why: String, until: Timestamp },
    /// An approval action of a pipeline was answered as the release decided.
    PipelineAnswered { action: String, execution: String, approved: bool, why: String },
    /// A receiver of `notify` could not be reached for as long as is tried.
    NotTold { receiver: String, release: ReleaseId, since: Timestamp, why: String },

    /// The release came to be.
    Created { change: Change, why: String },
    /// A person, or a newer release, wants something of it.
    Asked { request: Request },
    /// A person holds it where it is.
    Paused { why: String, until: Timestamp },
    /// A person ended the pause.
    Continued { why: String },
    /// A person does not wait for the end of the bakes.
    PromoteNow { why: String },
    /// It became the service's active release.
    Started,
    /// The rollback target is proven and the plan is made.
    PreflightPassed { rollback_target: String },
    /// What was approved was another plan.
    ApprovalsReset,
    /// The world is not as it was planned with, and nothing has been started.
    Replanned { changes: Vec<String> },
    /// A stage of the plan is over.
    StageDone { stage: Stage, result: StageResult },
    /// An approval gate was opened.
    ApprovalAsked { approvers: Vec<String>, before: String, because: Option<String> },
    /// An approver's link was handed over.
    LinkSent { approver: String },
    /// An approver answered.
    Answered { approver: String, approved: bool, comment: Option<String> },
    /// Somebody came with an answer that does not count.
    AnswerNotCounted { why: String },
    /// A build tries the candidate.
    VerificationStarted { build: String },
    /// The deployment that was asked for is there.
    DeploymentFound { deployment: DeploymentArn },
    /// Traffic is being shifted.
    Shifting { percent: Percent },
    /// The stable version is being terminated.
    Promoting,
    /// The service itself runs the new version, and gets its traffic back.
    TrafficHome,
    /// Weights that something else had changed are set again.
    WeightsRepaired { detail: String, times: u32 },
    /// More of the candidate's tasks have failed.
    TasksFailed { count: u32, last: Box<FailedTask> },
    /// Windows with the numbers of both versions were counted; what they say stands beside.
    EvidenceCounted,
    /// What the numbers would have led to, if they were not only tried.
    WouldRollBack { cause: Box<Cause> },
    /// The decision itself says all there is to say.
    Acted {
        actions: Vec<Action>,
        /// It was done before, and showed no result.
        again: bool,
    },

    /// The release is being rolled back.
    RollingBack { cause: Box<Cause> },
    /// The stable version was seen to have all traffic.
    TrafficRestored,
    /// The stable version is being deployed again.
    Redeploying { revision: TaskDefinitionArn, because: Redeploy },
    /// The revision to roll back to had been deregistered.
    RegisteredAgain { revision: TaskDefinitionArn, copy: TaskDefinitionArn },
    /// The rollback did not end by itself.
    RollbackFailed { needs: String },
    /// The rollback ended, and other images run than before the release.
    RollbackDiffers { needs: String },

    /// Traffic is where it belongs.
    Settling { outcome: Box<Outcome> },
    /// Somebody else deployed.
    GivingWay { cause: Box<Cause> },
    /// Another deployment inherited our pause hooks.
    ReleasingOtherDeployment,
    /// Our deployment began after somebody else's.
    Withdrawing,
    /// The service gets its own deployment configuration again.
    RestoringConfiguration,
    /// `$LATEST` gets the image again that it ran.
    RestoringCode,
    /// It ended.
    Ended {
        outcome: Box<Outcome>,
        /// What a person still has to restore though the release was promoted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restore_pending: Option<String>,
    },

    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

/// How a stage was passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StageResult {
    /// The plan asks for nothing here.
    NothingToDo,
    AlreadyPinned,
    Registered,
    /// A version was published, or was there already.
    Published {
        version: FunctionVersion,
    },
    /// The version can be invoked, and runs what was approved.
    VersionReady {
        version: FunctionVersion,
    },
    Replacing,
    CandidateHealthy,
    /// Somebody outside Tidegate continued the deployment.
    ContinuedElsewhere,
    Shifted {
        percent: Percent,
    },
    Baked {
        percent: Percent,
        secs: u32,
        /// So many at least, where they are counted.
        requests: Option<u64>,
    },
    /// A person did not wait for its end; everything else a bake asks for was there.
    BakeSkipped {
        percent: Percent,
        /// How long it had baked.
        after_secs: u32,
        /// So many at least, where they are counted.
        requests: Option<u64>,
    },
    Replaced,
    Completed,
    Approved {
        approvers: Vec<String>,
    },
    /// Not enough approvals came, and the policy continues.
    ApprovalExpired {
        given: usize,
        needed: u8,
    },
    NotFrozen,
    ScanPassed {
        why: String,
    },
    BuildSucceeded {
        build: String,
    },
    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

/// Why the stable version has to be deployed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Redeploy {
    /// The release's deployment is over.
    NothingToRollBack { deployment: DeploymentArn, status: DeploymentStatus },
    /// A tag means another image now than it did, and Amazon ECS asked it again.
    OtherImages { detail: String },
}

impl Event {
    /// Why it happened.
    pub fn why(&self) -> String {
        match self {
            Self::PolicyStored | Self::PolicyChanged => "it was applied".to_owned(),
            Self::ImageRefused { why, .. }
            | Self::PolicyRemoved { why }
            | Self::QuarantineLifted { why, .. }
            | Self::TriggerRefused { why, .. }
            | Self::PipelineAnswered { why, .. }
            | Self::NotTold { why, .. }
            | Self::Created { why, .. }
            | Self::Paused { why, .. }
            | Self::Continued { why }
            | Self::PromoteNow { why }
            | Self::AnswerNotCounted { why } => why.clone(),
            Self::ImageAwaited { service, why, until, .. } => format!(
                "{why}; the image is not in the repository yet, and is looked for every minute until {until:.0}. To release another one \
                 instead: tidegate release {service} TAG"
            ),
            Self::Asked { request } => match request {
                Request::Rollback { why, .. } | Request::Cancel { why, .. } => why.clone(),
                Request::Supersede { .. } => "a newer image arrived and on_newer is replace".to_owned(),
            },
            Self::Started => "no other release of the service is under way".to_owned(),
            Self::PreflightPassed { rollback_target } => {
                format!("the rollback target {rollback_target} is proven")
            }
            Self::ApprovalsReset => "they were given for another plan".to_owned(),
            Self::Replanned { changes } => format!("since the plan was made, {}", changes.join("; ")),
            Self::StageDone { result, .. } => result.to_string(),
            Self::ApprovalAsked { because, .. } => {
                because.clone().unwrap_or_else(|| "the policy asks for it".to_owned())
            }
            Self::LinkSent { .. } => "the message was handed over".to_owned(),
            Self::Answered { comment, .. } => {
                comment.clone().unwrap_or_else(|| "no comment was given".to_owned())
            }
            Self::VerificationStarted { .. } => "the policy asks for it".to_owned(),
            Self::DeploymentFound { .. } => "Amazon ECS has begun it".to_owned(),
            Self::Shifting { .. } => "the candidate waits for the shift and every alarm is OK".to_owned(),
            Self::TrafficHome => "every task of the service is of the new version".to_owned(),
            Self::WeightsRepaired { detail, .. } => {
                format!("{detail}; AWS CloudTrail tells who changed the rule (ModifyRule)")
            }
            Self::Promoting => "all traffic has baked and every alarm is OK".to_owned(),
            Self::TasksFailed { last, .. } => last.to_string(),
            Self::Acted { again: false, .. } => "the plan's next step".to_owned(),
            Self::Acted { again: true, .. } => "no result was seen of doing it before".to_owned(),
            Self::EvidenceCounted => "both versions have traffic".to_owned(),
            Self::RollingBack { cause } | Self::GivingWay { cause } | Self::WouldRollBack { cause } => {
                cause.to_string()
            }
            Self::TrafficRestored => "the candidate is sent nothing any more".to_owned(),
            Self::Redeploying { because, .. } => because.to_string(),
            Self::RegisteredAgain { .. } => "it was deregistered meanwhile".to_owned(),
            Self::RollbackFailed { needs } | Self::RollbackDiffers { needs } => needs.clone(),
            Self::Settling { .. } => "traffic is where it belongs".to_owned(),
            Self::ReleasingOtherDeployment => {
                "it inherited our pause hooks and would wait for us in vain".to_owned()
            }
            Self::Withdrawing => "it began after someone else's".to_owned(),
            Self::RestoringConfiguration | Self::RestoringCode => {
                "the release is over for the service".to_owned()
            }
            Self::Ended { restore_pending: Some(needs), .. } => needs.clone(),
            Self::Ended { outcome, restore_pending: None } => ended(outcome),
            Self::Unknown => "a newer version of Tidegate wrote it".to_owned(),
        }
    }

    /// What was found and not let in, if the event is about that.
    pub fn refused(&self) -> Option<&Change> {
        if let Self::ImageRefused { change, .. } = self {
            return Some(change);
        }
        if let Self::TriggerRefused { subject: Subject::Found { change }, .. } = self {
            Some(change)
        } else {
            None
        }
    }

    /// How the stage was passed, if the event says that of it.
    pub fn result_of(&self, of: &Stage) -> Option<&StageResult> {
        if let Self::StageDone { stage, result } = self { (stage == of).then_some(result) } else { None }
    }

    /// The event in which the release became the one that ended, if it is one.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

fn ended(outcome: &Outcome) -> String {
    let because = outcome.because().unwrap_or_else(|| "all traffic is on the new version".to_owned());
    match outcome {
        Outcome::Failed { needs, .. } => format!("{because}. Manual intervention required: {needs}"),
        Outcome::Promoted
        | Outcome::RolledBack { .. }
        | Outcome::Superseded { .. }
        | Outcome::Cancelled { .. } => because,
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PolicyStored => f.write_str("policy stored"),
            Self::PolicyChanged => f.write_str("policy changed"),
            Self::PolicyRemoved { .. } => f.write_str("policy removed"),
            Self::QuarantineLifted { digests, release, .. } => {
                let digests: Vec<&str> = digests.iter().map(Digest::as_str).collect();
                write!(
                    f,
                    "may be released again though release {release} was rolled back: {}",
                    digests.join(", ")
                )
            }
            Self::ImageRefused { change, .. } => write!(f, "refused {change}"),
            Self::TriggerRefused { subject, times, first, .. } => {
                subject.fmt(f)?;
                if *times > 1 { write!(f, " ({times} of this kind since {first:.0})") } else { Ok(()) }
            }
            Self::ImageAwaited { reference, .. } => write!(f, "waiting for image {reference}"),
            Self::PipelineAnswered { action, execution, approved, .. } => {
                write!(f, "{} {action} of execution {execution}", answer(*approved))
            }
            Self::NotTold { receiver, release, since, .. } => {
                write!(f, "{receiver} was not told of release {release}, tried since {since:.0}")
            }
            Self::Created { change, .. } => write!(f, "created for {change}"),
            Self::Asked { request } => f.write_str(match request {
                Request::Rollback { .. } => "asked to roll back",
                Request::Cancel { .. } => "asked to cancel",
                Request::Supersede { .. } => "asked to make room",
            }),
            Self::Paused { until, .. } => write!(f, "paused until {until:.0} at most"),
            Self::Continued { .. } => f.write_str("continued"),
            Self::PromoteNow { .. } => f.write_str("promoting without waiting for the bakes"),
            Self::Started => f.write_str("started"),
            Self::PreflightPassed { .. } => f.write_str("preflight passed"),
            Self::ApprovalsReset => f.write_str("asking for the approvals again"),
            Self::Replanned { .. } => f.write_str("planning again"),
            Self::StageDone { stage, .. } => write!(f, "{stage}: done"),
            Self::ApprovalAsked { approvers, before, .. } => {
                write!(f, "asking {} to approve before {before}", approvers.join(", "))
            }
            Self::LinkSent { approver } => write!(f, "{approver} was sent a link"),
            Self::Answered { approver, approved, .. } => write!(f, "{} by {approver}", answer(*approved)),
            Self::AnswerNotCounted { .. } => f.write_str("an answer did not count"),
            Self::VerificationStarted { build } => write!(f, "build {build} tries the candidate"),
            Self::DeploymentFound { deployment } => {
                write!(f, "deployment {} is under way", deployment.short())
            }
            Self::Shifting { percent } => write!(f, "shifting to {percent}%"),
            Self::TrafficHome => f.write_str("traffic returns to the service itself"),
            Self::WeightsRepaired { times, .. } => write!(f, "weights set again, for the {times}. time"),
            Self::Promoting => f.write_str("promoting"),
            Self::TasksFailed { count, .. } => write!(f, "{} of the candidate failed", tasks(*count)),
            Self::Acted { actions, .. } => {
                let told: Vec<String> = actions.iter().map(ToString::to_string).collect();
                f.write_str(&told.join("; "))
            }
            Self::EvidenceCounted => f.write_str("counted both versions"),
            Self::WouldRollBack { .. } => f.write_str("would be rolled back, were evidence not a dry run"),
            Self::RollingBack { .. } => f.write_str("rolling back"),
            Self::TrafficRestored => f.write_str("traffic restored"),
            Self::Redeploying { revision, .. } => write!(f, "deploying {} again", revision.short()),
            Self::RegisteredAgain { revision, copy } => {
                write!(f, "registered {} again as {}", revision.short(), copy.short())
            }
            Self::RollbackFailed { .. } => f.write_str("the rollback did not end"),
            Self::RollbackDiffers { .. } => f.write_str("the rollback ended with other images"),
            Self::Settling { outcome } => write!(f, "settling: will be {}", outcome.word()),
            Self::GivingWay { .. } => f.write_str("giving way"),
            Self::ReleasingOtherDeployment => f.write_str("letting the other deployment pass our pause"),
            Self::Withdrawing => f.write_str("taking our deployment back"),
            Self::RestoringConfiguration => f.write_str("restoring the deployment configuration"),
            Self::RestoringCode => f.write_str("giving $LATEST its image again"),
            Self::Ended { restore_pending: Some(_), .. } => {
                f.write_str("ended: promoted, restore pending: manual intervention required")
            }
            Self::Ended { outcome, restore_pending: None } => write!(f, "ended: {}", outcome.word()),
            Self::Unknown => f.write_str("something this version of Tidegate does not know"),
        }
    }
}

fn answer(approved: bool) -> &'static str {
    if approved { "approved" } else { "rejected" }
}

impl std::fmt::Display for StageResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NothingToDo => f.write_str("the plan asks for nothing here"),
            Self::AlreadyPinned => f.write_str("the running task definition names every image by digest"),
            Self::Registered => f.write_str("the task definition is registered"),
            Self::Published { version } => write!(f, "version {version} is published"),
            Self::VersionReady { version } => write!(f, "version {version} can be invoked"),
            Self::Replacing => f.write_str("Amazon ECS replaces the tasks"),
            Self::CandidateHealthy => {
                f.write_str("the candidate runs and is healthy, without production traffic")
            }
            Self::ContinuedElsewhere => f.write_str("someone else continued the deployment"),
            Self::Shifted { percent } => write!(f, "the candidate has {percent}% of the traffic"),
            Self::Baked { percent, secs, requests } => {
                write!(f, "{} at {percent}%", bake_span(*secs))?;
                if let Some(count) = requests {
                    write!(f, ", {count} requests")?;
                }
                f.write_str(" and every alarm is OK")
            }
            Self::BakeSkipped { percent, after_secs, requests } => {
                write!(f, "ended early after {} at {percent}%", bake_span(*after_secs))?;
                if let Some(count) = requests {
                    write!(f, ", {count} requests")?;
                }
                f.write_str(" and every alarm is OK")
            }
            Self::Replaced => f.write_str("every task has been replaced"),
            Self::Completed => f.write_str("Amazon ECS has completed the deployment"),
            Self::Approved { approvers } => write!(f, "approved by {}", approvers.join(", ")),
            Self::ApprovalExpired { given, needed } => {
                write!(f, "{given} of {needed} approvals came in time; the policy says to continue")
            }
            Self::NotFrozen => f.write_str("no freeze window is open"),
            Self::ScanPassed { why } => f.write_str(why),
            Self::BuildSucceeded { build } => write!(f, "build {build} succeeded"),
            Self::Unknown => f.write_str("this version of Tidegate does not know how"),
        }
    }
}

impl std::fmt::Display for Redeploy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NothingToRollBack { deployment, status } => write!(
                f,
                "deployment {} is {}, so Amazon ECS has nothing to roll back",
                deployment.short(),
                status.as_str()
            ),
            Self::OtherImages { detail } => write!(f, "Amazon ECS has rolled back, but {detail}"),
        }
    }
}
