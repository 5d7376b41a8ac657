//! Whether production traffic is where the release has put it. One question for all stages: those that wait ask it at every look, every
//! continue asks it first, and the last look asks it once more. Tidegate sets no weight, so what differs was set by someone else.

use jiff::{SignedDuration, Timestamp};

use super::{drift, turn::Turn};
use crate::observation::{DeploymentStatus, Observation};
use crate::plan::{Plan, Stage};
use crate::policy::Percent;

/// How long weights may differ from what was set, for reads that lag behind.
pub(super) const DRIFT_TOLERANCE: SignedDuration = SignedDuration::from_secs(20);

/// What the load balancers say about the candidate's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weights {
    /// It is the one that was set, or nothing measures it.
    AsSet,
    /// It could not be seen, and why.
    Unseen(String),
    /// It is another.
    Differ(String),
}

/// Compares the live weights with the share the candidate should have.
pub(super) fn compare(plan: &Plan, seen: &Observation, share: Percent) -> Weights {
    if plan.measured_at.is_empty() {
        return Weights::AsSet;
    }
    if seen.weights.known().is_none() {
        let why = seen.weights.error().map_or_else(|| "not asked for".to_owned(), ToString::to_string);
        return Weights::Unseen(why);
    }
    drift(plan, seen, share).map_or(Weights::AsSet, Weights::Differ)
}

/// The share the candidate has before this stage of the plan.
pub(super) fn share_before(plan: &Plan, stage: usize) -> Percent {
    let before = plan.stages.iter().take(stage).rev();
    let set = before.filter_map(|stage| match stage {
        Stage::Shift { percent } => Some(*percent),
        Stage::RollOut => Some(Percent::ALL),
        Stage::PinRollbackTarget
        | Stage::RegisterTaskDefinition
        | Stage::StartDeployment
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. }
        | Stage::Promote => None,
    });
    set.max().unwrap_or(Percent::NONE)
}

/// What differs from the share this stage keeps, for longer than reads may lag behind its beginning. `None` in a shift, which changes the
/// share and judges it itself, and before a deployment of ours could have changed anything.
pub(super) fn drifted(turn: &Turn<'_>, plan: &Plan, stage: usize, since: Timestamp) -> Option<String> {
    let shifts = matches!(plan.stages.get(stage), Some(Stage::Shift { .. } | Stage::RollOut));
    if shifts || turn.next.progress.deployment.is_none() || turn.now.duration_since(since) < DRIFT_TOLERANCE {
        return None;
    }
    match compare(plan, turn.seen, share_before(plan, stage)) {
        Weights::Differ(detail) => Some(detail),
        Weights::AsSet | Weights::Unseen(_) => None,
    }
}

/// Whether traffic is where the outcome says, in the last look. A deployment back may have landed in either target group, as long as it has
/// all of it.
pub(super) fn at_the_end(turn: &Turn<'_>, plan: &Plan, promoted: bool) -> Weights {
    if turn.next.progress.deployment.is_none() {
        return Weights::AsSet;
    }
    let expected = compare(plan, turn.seen, if promoted { Percent::ALL } else { Percent::NONE });
    let returned = || {
        turn.seen.deployments.known().into_iter().flatten().any(|deployment| {
            deployment.task_definition.as_ref().is_some_and(|arn| turn.next.is_stable(arn))
                && deployment.status == DeploymentStatus::Successful
        })
    };
    match expected {
        Weights::Differ(_) if !promoted && returned() => {
            let other = compare(plan, turn.seen, Percent::ALL);
            if other == Weights::AsSet { other } else { expected }
        }
        Weights::AsSet | Weights::Unseen(_) | Weights::Differ(_) => expected,
    }
}
