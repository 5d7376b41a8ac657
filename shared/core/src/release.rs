//! A release: what is released, why, how far it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::effect::EffectKind;
use crate::gate::Opened;
use crate::history::{Actor, Report};
use crate::ids::{
    AlarmName, ContainerName, DeploymentArn, HookId, Image, ReleaseId, ServiceName, Target, TaskDefinitionArn,
};
use crate::plan::{Plan, Stage};
use crate::policy::Percent;
use crate::preflight::Finding;
use crate::tasks::FailedTask;

/// One release of one image to one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// The service.
    pub service: ServiceName,
    /// Where it goes.
    pub target: Target,
    /// What is released, pinned by digest.
    pub image: Image,
    /// What it is meant to do.
    pub intent: Intent,
    /// Who or what asked for it.
    pub requested_by: Actor,
    /// When it was created.
    pub created_at: Timestamp,
    /// Counts changes; every write names the version it was decided on.
    pub version: u64,
    /// How far it is.
    pub phase: Phase,
    /// The plan, from the moment preflight has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What has been learnt on the way.
    #[serde(default)]
    pub progress: Progress,
    /// The approval gates that were opened, by stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gates: BTreeMap<usize, Opened>,
    /// Where the image comes from, as far as was said.
    #[serde(default)]
    pub provenance: Provenance,
    /// Why freeze windows do not hold it, and who said so; a second person has to approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass_freeze: Option<String>,
    /// What a person, or a newer release, has asked of this one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// When effects were decided last: a final state is only declared once a stale performer can no longer act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_at: Option<Timestamp>,
    /// When to look again, and why. None exactly when the release has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// Why it is where it is.
    pub report: Report,
}

/// Where an image comes from, as far as was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Where the build is read about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What a release is meant to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// Bring a new image.
    Deploy,
    /// Go back to the release promoted before, on a person's word.
    Return {
        /// The release gone back from; `None` when what ran was deployed outside Tidegate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
        /// The release gone back to.
        to: ReleaseId,
        /// The task definition that release ran.
        task_definition: TaskDefinitionArn,
        /// The images its containers ran, by digest where that is known.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        images: BTreeMap<ContainerName, String>,
    },
}

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for the release before it.
    Queued,
    /// It is the service's active release; the plan is being made and the way back proven.
    Preparing {
        /// Since when.
        since: Timestamp,
    },
    /// In a stage of the plan.
    Running {
        /// The index in the plan's stages.
        stage: usize,
        /// Since when.
        since: Timestamp,
        /// What has been done in this stage.
        step: Step,
    },
    /// Being rolled back.
    RollingBack(RollingBack),
    /// Traffic is where it belongs; the service's configuration is put back and stale performers are waited out.
    Settling {
        /// What the release will end as.
        outcome: Outcome,
        /// Since when.
        since: Timestamp,
        /// When the old version was first seen to carry all traffic again, after a rollback.
        #[serde(default)]
        restored_at: Option<Timestamp>,
    },
    /// Ended.
    Ended {
        /// As what.
        outcome: Outcome,
        /// When.
        at: Timestamp,
        /// When the old version was first seen to carry all traffic again, after a rollback.
        #[serde(default)]
        restored_at: Option<Timestamp>,
    },
}

/// How far a rollback is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollingBack {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// The stage it broke off in, when there was a plan.
    pub stage: Option<usize>,
    /// When the stable version was first seen to carry all traffic again.
    #[serde(default)]
    pub restored_at: Option<Timestamp>,
    /// The deployment of the stable version, when ECS had none to roll back.
    #[serde(default)]
    pub redeployment: Option<DeploymentArn>,
    /// When that deployment was first decided; from then on only its end ends the rollback.
    #[serde(default)]
    pub redeployed_at: Option<Timestamp>,
    /// When the release's own deployment was first seen to be over.
    #[serde(default)]
    pub over_at: Option<Timestamp>,
    /// Since when the images that run are seen not to be those of before, though the rollback has ended.
    #[serde(default)]
    pub differs_since: Option<Timestamp>,
}

impl RollingBack {
    /// A rollback that begins.
    pub fn new(cause: Cause, since: Timestamp, stage: Option<usize>) -> Self {
        Self {
            cause,
            since,
            stage,
            restored_at: None,
            redeployment: None,
            redeployed_at: None,
            over_at: None,
            differs_since: None,
        }
    }
}

impl Phase {
    /// How far the rollback is, when the release is being rolled back.
    pub fn rolling_back(&self) -> Option<&RollingBack> {
        if let Self::RollingBack(back) = self { Some(back) } else { None }
    }
}

/// What has been done in the current stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Nothing yet.
    Entered,
    /// The stage's effect was decided.
    Acted {
        /// When, last.
        at: Timestamp,
    },
    /// A pause hook was told to go on.
    Continued {
        /// Which.
        hook: HookId,
        /// When, last.
        at: Timestamp,
    },
}

/// What a release ends as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// All traffic is on the new version.
    Promoted,
    /// The service is what it was before.
    RolledBack {
        /// Why.
        cause: Cause,
    },
    /// Something newer took its place.
    Superseded {
        /// What.
        by: Successor,
    },
    /// A person cancelled it.
    Cancelled {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// A person is needed.
    Failed {
        /// What went wrong.
        cause: Cause,
        /// Exactly what a person has to do.
        needs: String,
    },
}

/// What takes a release's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Successor {
    /// A newer release.
    Release(ReleaseId),
    /// A policy that sends the service's releases somewhere else.
    Policy,
}

impl From<ReleaseId> for Successor {
    fn from(release: ReleaseId) -> Self {
        Self::Release(release)
    }
}

impl std::fmt::Display for Successor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Release(release) => write!(f, "release {release}"),
            Self::Policy => f.write_str("a policy with another target"),
        }
    }
}

impl Outcome {
    /// One word for tables and exit codes.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack { .. } => "rolled back",
            Self::Superseded { .. } => "superseded",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A gate of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// People approve.
    Approval,
    /// No freeze window is open.
    Freeze,
    /// The image's scan.
    Scan,
    /// A build that tries the candidate.
    Verification,
}

impl std::fmt::Display for GateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Approval => "approval",
            Self::Freeze => "freeze",
            Self::Scan => "scan",
            Self::Verification => "verification",
        })
    }
}

/// Why a release did not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// An alarm of the policy went off.
    Alarm {
        /// Which.
        alarm: AlarmName,
        /// What CloudWatch said.
        reason: String,
        /// When it went off, by CloudWatch's clock.
        at: Option<Timestamp>,
    },
    /// ECS ended or rolled back the deployment by itself: circuit breaker, its own alarm watch, a hook's timeout.
    Deployment {
        /// What ECS said.
        reason: String,
    },
    /// A person asked for it.
    Requested {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// A person cancelled the release.
    CancelRequested {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// A newer release replaces this one (`on_newer: replace`).
    Newer {
        /// Which.
        release: ReleaseId,
    },
    /// AWS refused an effect for good.
    Refused {
        /// The effect.
        effect: EffectKind,
        /// What AWS said.
        error: String,
    },
    /// Tasks of the candidate crashed, did not start or failed their health checks.
    FailedTasks {
        /// How many.
        count: u32,
        /// The last of them.
        last: Box<FailedTask>,
    },
    /// Too little was seen of the candidate to promote it.
    Inconclusive {
        /// What was seen, what should have been, and what to do.
        detail: String,
    },
    /// A stage took longer than it may.
    TimedOut {
        /// The stage.
        stage: String,
        /// Its limit, seconds.
        limit_secs: u64,
    },
    /// The live weights are not what the stage set.
    Weights {
        /// What was seen, what should be.
        detail: String,
    },
    /// Preflight found what must be fixed first.
    Preflight {
        /// What it found.
        findings: Vec<Finding>,
    },
    /// A person said no, or nobody said yes in time.
    Rejected {
        /// Who; Tidegate when the time ran out.
        by: Actor,
        /// What they said.
        why: String,
    },
    /// A gate of the policy did not open: freeze, scan, verification.
    Gate {
        /// Which.
        gate: GateKind,
        /// Why.
        detail: String,
    },
    /// Someone else deployed to the service meanwhile.
    Interference {
        /// What was seen.
        detail: String,
    },
    /// The images that run are not those that should.
    Images {
        /// Which container runs which.
        detail: String,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alarm { alarm, reason, .. } => write!(f, "alarm {alarm} went off: {reason}"),
            Self::Deployment { reason } => write!(f, "Amazon ECS ended the deployment: {reason}"),
            Self::Requested { by, why } => write!(f, "{by} asked to roll back: {why}"),
            Self::CancelRequested { by, why } => write!(f, "{by} cancelled it: {why}"),
            Self::Newer { release } => write!(f, "the newer release {release} replaces it"),
            Self::Refused { effect, error } => write!(f, "AWS refused to {effect}: {error}"),
            Self::FailedTasks { count, last } => {
                let tasks = if *count == 1 { "1 task".to_owned() } else { format!("{count} tasks") };
                write!(f, "{tasks} of the candidate failed: {last}")?;
                last.log.as_ref().map_or(Ok(()), |log| write!(f, "; its log: {}", log.url()))
            }
            Self::Inconclusive { detail } => write!(f, "too little was seen to go on: {detail}"),
            Self::TimedOut { stage, limit_secs } => {
                let limit = i64::try_from(*limit_secs)
                    .map_or(jiff::SignedDuration::MAX, jiff::SignedDuration::from_secs);
                write!(f, "stage \"{stage}\" took longer than {}", crate::words::span(limit))
            }
            Self::Weights { detail } => write!(f, "the live weights are not what was set: {detail}"),
            Self::Preflight { findings } => {
                let problems: Vec<&str> = findings.iter().map(|finding| finding.problem.as_str()).collect();
                write!(f, "preflight: {}", problems.join("; "))
            }
            Self::Rejected { by, why } => write!(f, "{by} rejected it: {why}"),
            Self::Gate { gate, detail } => write!(f, "{gate}: {detail}"),
            Self::Interference { detail } => write!(f, "someone else deployed to the service: {detail}"),
            Self::Images { detail } => write!(f, "another image runs than should: {detail}"),
        }
    }
}

/// What has been learnt on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it became the service's active release; deployments older than this are not ours.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// The revision that carries the release's image.
    #[serde(default)]
    pub task_definition: Option<TaskDefinitionArn>,
    /// The revision to roll back to when the one that ran does not name every image by digest: the same document, pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<TaskDefinitionArn>,
    /// Whether a rollback was taken up again because the last look saw other images than those of before.
    #[serde(default)]
    pub corrected: bool,
    /// When the deployment was first asked for. Before that nothing of the service has been changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Whether AWS refused to deploy the revision to roll back to: it is looked for, and registered again when it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback_refused: bool,
    /// How often the plan was made anew, because something was not as planned directly before the start.
    #[serde(default)]
    pub replanned: u32,
    /// The hash of the plan before, while it is made anew: what was approved for it counts for the same plan only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<String>,
    /// The deployment.
    #[serde(default)]
    pub deployment: Option<DeploymentArn>,
    /// Pause hooks that were told to go on; each is told for one stage only.
    #[serde(default)]
    pub continued: Vec<HookId>,
    /// Verification builds that were started, by stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub builds: BTreeMap<usize, String>,
    /// Tasks of the candidate that failed, each once, at most [`crate::tasks::FAILED_TASKS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tasks: Vec<FailedTask>,
    /// The requests the candidate was seen to answer in the bake it is in, or was in last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsSeen>,
    /// The candidate's share that was set last.
    #[serde(default)]
    pub set: Option<Percent>,
    /// The candidate's share as measured on the load balancer last.
    #[serde(default)]
    pub measured: Option<Percent>,
    /// What a person still has to restore though the release was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_pending: Option<String>,
}

/// Requests the candidate answered in a bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsSeen {
    /// The stage.
    pub stage: usize,
    /// So many at least: counts come late, and are not asked for any more once there are enough.
    pub count: u64,
}

/// What was asked of a release after it had started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Roll back.
    Rollback {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// Break off: before traffic has moved it ends as cancelled; after that it is rolled back first.
    Cancel {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// Make room for a newer release.
    Supersede {
        /// Which.
        by: ReleaseId,
    },
}

/// When to look again; what for says the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// When.
    pub at: Timestamp,
    /// Something is expected any moment: until then it is looked every few seconds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub soon: bool,
    /// Until when somebody stays with the release and looks by themselves; nobody else needs to come for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
}

impl Wake {
    /// At a time.
    pub fn new(at: Timestamp) -> Self {
        Self { at, soon: false, held_until: None }
    }

    /// At a time, and again shortly after it until something has happened.
    pub fn soon(at: Timestamp) -> Self {
        Self { soon: true, ..Self::new(at) }
    }

    /// From when on somebody has to come.
    pub fn due_at(&self) -> Timestamp {
        self.held_until.map_or(self.at, |held| held.max(self.at))
    }
}

impl Release {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.outcome().is_some()
    }

    /// What it ended as.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ended { outcome, .. } => Some(outcome),
            Phase::Queued
            | Phase::Preparing { .. }
            | Phase::Running { .. }
            | Phase::RollingBack(_)
            | Phase::Settling { .. } => None,
        }
    }

    /// The stage of the plan it is in.
    pub fn stage(&self) -> Option<&Stage> {
        match &self.phase {
            Phase::Running { stage, .. } => self.plan.as_ref()?.stages.get(*stage),
            Phase::Queued
            | Phase::Preparing { .. }
            | Phase::RollingBack(_)
            | Phase::Settling { .. }
            | Phase::Ended { .. } => None,
        }
    }

    /// The revision a rollback deploys: the one that ran, or the same document with every image by its digest.
    pub fn rollback_revision(&self) -> Option<&TaskDefinitionArn> {
        let ran = self.plan.as_ref().map(|plan| &plan.way_back.task_definition);
        self.progress.stable.as_ref().or(ran)
    }

    /// Whether this revision is the stable version.
    pub fn is_stable(&self, arn: &TaskDefinitionArn) -> bool {
        let ran = self.plan.as_ref().map(|plan| &plan.way_back.task_definition);
        Some(arn) == ran || Some(arn) == self.progress.stable.as_ref()
    }

    /// One phrase for lists: `running: bake 10% for 5m`.
    pub fn summary(&self) -> String {
        match &self.phase {
            Phase::Queued => "queued".into(),
            Phase::Preparing { .. } => "preflight".into(),
            Phase::Running { stage, .. } => match self.plan.as_ref().and_then(|plan| plan.stages.get(*stage))
            {
                Some(stage) => stage.to_string(),
                None => format!("stage {stage}"),
            },
            Phase::RollingBack(RollingBack { cause, .. }) => format!("rolling back: {cause}"),
            Phase::Settling { outcome, .. } => format!("settling: will be {}", outcome.word()),
            Phase::Ended { outcome, .. } => outcome.word().into(),
        }
    }

    /// Why it did not end well, if it did not.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.phase {
            Phase::RollingBack(RollingBack { cause, .. }) => Some(cause),
            Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => match outcome {
                Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => Some(cause),
                Outcome::Promoted | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => None,
            },
            Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => None,
        }
    }
}
