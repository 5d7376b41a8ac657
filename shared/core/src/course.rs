//! When that happened to a release which figures are made of. It is kept on the release as it goes, so that the figures of months need no history.
#![expect(missing_docs, reason = "fields are named after what they hold")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::{Missing, WaitingOn};
use crate::outcome::Cause;

/// The times of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// When its newest image was pushed, by ECR's clock, where a machine asked for the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_at: Option<Timestamp>,
    /// When the candidate was first seen to have all traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_traffic_at: Option<Timestamp>,
    /// How its first rollback began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackBegan>,
    /// How long it was held, by what, in seconds. What holds it now is not in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_secs: BTreeMap<Hold, u64>,
    /// What holds it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<Holding>,
}

/// How a rollback began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackBegan {
    /// When what led to it happened: an alarm's change of state by CloudWatch's clock, a task's end; else when it was decided.
    pub breach_at: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
}

/// What holds a release, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    pub hold: Hold,
    pub since: Timestamp,
}

/// What a release may be held by. Stages that take their time (a bake, a shift, tasks that start) hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Another release of the service.
    Queue,
    /// What preflight found.
    Preflight,
    /// A freeze window.
    Freeze,
    /// People who have to approve.
    Approval,
    /// A person who paused it.
    Paused,
    /// The image's scan.
    Scan,
    /// The build that tries the candidate.
    Verification,
    /// An alarm that is not OK, or says nothing.
    Alarms,
    /// Too few requests.
    Requests,
    /// Numbers that have not settled, or are not there.
    Numbers,
    /// The load balancer does not show the weights.
    Weights,
    /// Something could not be seen.
    Unseen,
    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

impl Hold {
    /// What of this holds a release that waits for something.
    fn of(waiting_on: &WaitingOn) -> Option<Self> {
        match waiting_on {
            WaitingOn::Turn { .. } => Some(Self::Queue),
            WaitingOn::Findings { .. } => Some(Self::Preflight),
            WaitingOn::FreezeEnd { .. } => Some(Self::Freeze),
            WaitingOn::Approvals { .. } | WaitingOn::Invitations => Some(Self::Approval),
            WaitingOn::Paused { .. } => Some(Self::Paused),
            WaitingOn::Scan { .. } => Some(Self::Scan),
            WaitingOn::BuildStart | WaitingOn::Build => Some(Self::Verification),
            WaitingOn::Look { .. } | WaitingOn::Description { .. } => Some(Self::Unseen),
            WaitingOn::Held { missing, .. } => Some(match missing {
                Missing::Alarms { .. }
                | Missing::Alarm { .. }
                | Missing::AlarmProof { .. }
                | Missing::AlarmSilenced { .. }
                | Missing::AlarmOk { .. } => Self::Alarms,
                Missing::Weights { .. } | Missing::WeightsShown { .. } => Self::Weights,
                Missing::Requests { .. } => Self::Requests,
                Missing::Settled { .. } | Missing::Value { .. } | Missing::Compared { .. } => Self::Numbers,
                Missing::FreshLook | Missing::Numbers { .. } => Self::Unseen,
                Missing::Unknown => Self::Unknown,
            }),
            WaitingOn::Nothing
            | WaitingOn::Preflight { .. }
            | WaitingOn::Stage { .. }
            | WaitingOn::Registration { .. }
            | WaitingOn::DeploymentStart
            | WaitingOn::CandidateTasks
            | WaitingOn::VersionReady { .. }
            | WaitingOn::Publication
            | WaitingOn::Routing
            | WaitingOn::CodeRestored
            | WaitingOn::Pause { .. }
            | WaitingOn::Shift { .. }
            | WaitingOn::ContinuedAgain
            | WaitingOn::WeightsShown
            | WaitingOn::Bake { .. }
            | WaitingOn::TasksReplaced { .. }
            | WaitingOn::Promotion
            | WaitingOn::Rollback { .. }
            | WaitingOn::RollbackRevision
            | WaitingOn::Redeployment
            | WaitingOn::Restored { .. }
            | WaitingOn::OtherDeployment
            | WaitingOn::Withdrawal
            | WaitingOn::ConfigurationRestored
            | WaitingOn::Draining { .. }
            | WaitingOn::CanaryGone
            | WaitingOn::ScalingRestored
            | WaitingOn::InFlightCalls { .. }
            | WaitingOn::Images { .. }
            | WaitingOn::Traffic { .. }
            | WaitingOn::Unknown => None,
        }
    }
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queue => "another release of the service",
            Self::Preflight => "what preflight found",
            Self::Freeze => "a freeze window",
            Self::Approval => "approval",
            Self::Paused => "a person who paused it",
            Self::Scan => "the image's scan",
            Self::Verification => "verification",
            Self::Alarms => "alarms that are not OK",
            Self::Requests => "too few requests",
            Self::Numbers => "numbers that have not settled",
            Self::Weights => "weights that are not shown",
            Self::Unseen => "something that could not be seen",
            Self::Unknown => "something this version of Tidegate does not know",
        })
    }
}

impl Course {
    /// A release that comes to be at `now`, and waits for its turn.
    pub fn queued(pushed_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self { pushed_at, holding: Some(Holding { hold: Hold::Queue, since: now }), ..Self::default() }
    }

    /// The candidate has all traffic.
    pub(crate) fn has_all_traffic(&mut self, now: Timestamp) {
        self.all_traffic_at.get_or_insert(now);
    }

    /// It is being rolled back since `at`, for this.
    pub(crate) fn rolls_back(&mut self, cause: &Cause, at: Timestamp) {
        let breach_at = breach(cause).unwrap_or(at).min(at);
        self.rollback.get_or_insert(RollbackBegan { breach_at, at });
    }

    /// What it waits for from now on.
    pub(crate) fn waits(&mut self, waiting_on: &WaitingOn, now: Timestamp) {
        self.hold(Hold::of(waiting_on), now);
    }

    /// Nothing holds it any more.
    pub(crate) fn held_until(&mut self, now: Timestamp) {
        self.hold(None, now);
    }

    fn hold(&mut self, hold: Option<Hold>, now: Timestamp) {
        if self.holding.map(|holding| holding.hold) == hold {
            return;
        }
        if let Some(Holding { hold, since }) = self.holding.take() {
            let secs = u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
            // A release whose turn comes at once was not held.
            if secs > 0 {
                *self.held_secs.entry(hold).or_default() += secs;
            }
        }
        self.holding = hold.map(|hold| Holding { hold, since: now });
    }
}

/// When what led to a rollback happened, where somebody else's clock says so.
fn breach(cause: &Cause) -> Option<Timestamp> {
    match cause {
        Cause::Alarm { at, .. } => *at,
        Cause::FailedTasks { last, .. } => last.at,
        Cause::Deployment { .. }
        | Cause::Candidate { .. }
        | Cause::Requested { .. }
        | Cause::CancelRequested { .. }
        | Cause::Drill
        | Cause::PauseExpired { .. }
        | Cause::Newer { .. }
        | Cause::Refused { .. }
        | Cause::Inconclusive { .. }
        | Cause::Regression { .. }
        | Cause::Limit { .. }
        | Cause::TimedOut { .. }
        | Cause::Weights { .. }
        | Cause::Preflight { .. }
        | Cause::Rejected { .. }
        | Cause::Gate { .. }
        | Cause::ExternalDeployment { .. }
        | Cause::Images { .. } => None,
    }
}
