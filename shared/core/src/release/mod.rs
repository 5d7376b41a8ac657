//! A release: what is released, why, how far it is.

pub mod state;

use crate::intent::{Intent, Pause, PromoteNow, Provenance, Request};
use crate::outcome::{Cause, Outcome};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::approval::Opened;
use crate::change::Change;
use crate::course::Course;
use crate::evidence::Counted;
use crate::history::Report;
use crate::ids::{ContainerName, ReleaseId, ServiceName, Target};
use crate::plan::{Evidence, Plan, Stage};
use crate::policy::Percent;
use crate::vocab::tasks::FailedTask;
use state::State;

/// One release of one change to one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Release {
    pub id: ReleaseId,
    pub service: ServiceName,
    /// Where it goes.
    pub target: Target,
    /// What is released, pinned by digest.
    pub change: Change,
    /// The containers whose image comes from the releases that made room for this one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub carried: BTreeSet<ContainerName>,
    /// What it is meant to do.
    pub intent: Intent,
    /// Who or what asked for it.
    pub requested_by: Actor,
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
    /// When what happened to it that figures are made of.
    #[serde(default)]
    pub course: Course,
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
    /// That a person holds it where it is; only while it is in a stage of its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// That a person does not wait for the end of its bakes; only while it is in a stage of its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_now: Option<PromoteNow>,
    /// When effects were decided last: a final state is only declared once a stale executor can no longer act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_at: Option<Timestamp>,
    /// When to look again, and why. None exactly when the release has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// Why it is where it is.
    pub report: Report,
}

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Phase {
    /// Waiting for the release before it.
    Queued,
    /// It is the service's active release; the plan is being made and the rollback target proven.
    Preparing { since: Timestamp },
    /// In a stage of the plan.
    Running {
        /// The index in the plan's stages.
        stage: usize,
        since: Timestamp,
        /// What has been done in this stage.
        step: Step,
    },
    /// Being rolled back.
    RollingBack(RollingBack),
    /// Traffic is where it belongs; the service's configuration is restored and stale executors are waited out.
    Settling {
        /// What the release will end as.
        outcome: Outcome,
        since: Timestamp,
        /// When the stable version was first seen to carry all traffic again, after a rollback.
        #[serde(default)]
        restored_at: Option<Timestamp>,
    },
    /// Ended.
    Ended {
        outcome: Outcome,
        at: Timestamp,
        /// When the stable version was first seen to carry all traffic again, after a rollback.
        #[serde(default)]
        restored_at: Option<Timestamp>,
    },
}

/// How far a rollback is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct RollingBack {
    pub cause: Cause,
    pub since: Timestamp,
    /// The stage it broke off in, when there was a plan.
    pub stage: Option<usize>,
    /// When the stable version was first seen to carry all traffic again.
    #[serde(default)]
    pub restored_at: Option<Timestamp>,
}

impl RollingBack {
    /// A rollback that begins.
    pub fn new(cause: Cause, since: Timestamp, stage: Option<usize>) -> Self {
        Self { cause, since, stage, restored_at: None }
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
}

impl Step {
    /// Whether the stage's effect should be performed now: never before, or long enough ago without a result.
    pub(crate) fn is_due(&self, now: Timestamp, retry_after: SignedDuration) -> bool {
        match self {
            Self::Entered => true,
            Self::Acted { at } => now.duration_since(*at) >= retry_after,
        }
    }
}

/// What has been learnt on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it became the service's active release; deployments older than this are not ours.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When the candidate was first asked for. Before that nothing of the target has been changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// How often the plan was made anew, because something was not as planned directly before the start.
    #[serde(default)]
    pub replanned: u32,
    /// The hash of the plan before, while it is made anew: what was approved for it counts for the same plan only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<String>,
    /// How long people have paused it before, seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub paused_secs: u32,
    /// Verification builds that were started, by stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub builds: BTreeMap<usize, String>,
    /// Tasks of the candidate that failed, each once, at most [`crate::policy::FAILED_TASKS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tasks: Vec<FailedTask>,
    /// The requests the candidate was seen to answer in the bake it is in, or was in last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsSeen>,
    /// What was counted of both versions while they had traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Counted>>,
    /// The candidate's share that was set last.
    #[serde(default)]
    pub set: Option<Percent>,
    /// The candidate's share as measured on the load balancer last.
    #[serde(default)]
    pub measured: Option<Percent>,
    /// What a person still has to restore though the release was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_pending: Option<String>,
    /// What the engine has learnt.
    #[serde(default)]
    pub state: State,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(secs: &u32) -> bool {
    *secs == 0
}

/// Requests the candidate answered in a bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct RequestsSeen {
    pub stage: usize,
    /// So many at least: counts come late, and are not asked for any more once there are enough.
    pub count: u64,
}

/// When to look again; what for says the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Wake {
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

    /// Whether something of the candidate was seen to be under way.
    pub fn is_started(&self) -> bool {
        self.progress.state.is_started()
    }

    /// The numbers it is judged by, with what has been learnt of the candidate since the plan was made.
    pub fn evidence(&self) -> Option<Cow<'_, Evidence>> {
        let evidence = self.plan.as_ref()?.evidence.as_deref()?;
        Some(match self.progress.state.candidate_version() {
            Some(version) => Cow::Owned(evidence.of_version(version)),
            None => Cow::Borrowed(evidence),
        })
    }

    /// What a rollback brings back, by its name for people.
    pub fn rollback_name(&self) -> Option<&str> {
        self.progress.state.pinned_name().or_else(|| Some(self.plan.as_ref()?.rollback_target().name))
    }

    /// One phrase for lists: `running: bake 10% for 5m`.
    pub fn summary(&self) -> String {
        match &self.phase {
            Phase::Queued => "queued".into(),
            Phase::Preparing { .. } => "preflight".into(),
            Phase::Running { stage, .. } => match self.plan.as_ref().and_then(|plan| plan.stages.get(*stage))
            {
                Some(stage) if self.pause.is_some() => format!("paused: {stage}"),
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

/// Who or what asked for a release: `push of main-2`.
pub fn requester(release: &Release) -> String {
    if release.intent == Intent::Drill {
        return format!("{}, as a drill", release.requested_by);
    }
    let label = release.change.label();
    match &release.requested_by {
        Actor::Event { source, .. } if source == "aws.ecr" => format!("push of {label}"),
        Actor::Event { source, id } if source == "tidegate.clock" && id.starts_with("pushed at ") => {
            format!("push of {label}, found by the clock")
        }
        by @ (Actor::Event { .. } | Actor::Person { .. } | Actor::Tidegate) => by.to_string(),
    }
}
