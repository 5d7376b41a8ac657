//! Whose deployment one is: ours, the one that brings the stable version back, or somebody else's.

use jiff::SignedDuration;

use crate::ids::{DeploymentArn, TaskDefinitionArn};
use crate::plan::EcsRollbackTarget;
use crate::turn::{CLOCK_SKEW, Turn};
use crate::vocab::ecs::DeploymentSeen;

/// Amazon ECS lists a deployment before it describes what it brings. This long it may be anyone's, ours too; after that it is not ours.
const DESCRIBED_WITHIN: SignedDuration = SignedDuration::from_mins(3);

/// The revision a rollback deploys: the one that ran, or the same document with every image by its digest.
pub(super) fn rollback_revision<'t>(
    turn: &'t Turn<'_>,
    target: &'t EcsRollbackTarget,
) -> &'t TaskDefinitionArn {
    turn.next.progress.state.ecs_native().stable.as_ref().unwrap_or(&target.task_definition)
}

/// Whether this revision is the stable version.
pub(super) fn is_stable(turn: &Turn<'_>, target: &EcsRollbackTarget, arn: &TaskDefinitionArn) -> bool {
    *arn == target.task_definition || Some(arn) == turn.next.progress.state.ecs_native().stable.as_ref()
}

/// Our deployment among those seen: the one known, or one of the candidate's task definition since the release started.
pub(super) fn ours<'a>(turn: &Turn<'a>) -> Option<&'a DeploymentSeen> {
    let seen = turn.seen.ecs.deployments.known()?;
    let progress = &turn.next.progress;
    let state = progress.state.ecs_native();
    if let Some(known) = &state.deployment {
        return seen.iter().find(|deployment| deployment.arn == *known);
    }
    let candidate = state.task_definition.as_ref()?;
    let started = progress.started_at?.saturating_sub(CLOCK_SKEW).ok()?;
    seen.iter().find(|deployment| {
        deployment.task_definition.as_ref() == Some(candidate) && deployment.created_at >= started
    })
}

/// The newest deployment that is neither ours nor our redeployment of the stable version, and is newer than ours, still under way, or begun since ours was asked
/// for: where that was asked for in vain, theirs may have come and gone before it is asked for again.
pub(super) fn external<'a>(turn: &Turn<'a>) -> Option<&'a DeploymentSeen> {
    let ours = ours(turn);
    let (started, asked) = (turn.next.progress.started_at?, turn.next.progress.asked_at);
    turn.seen.ecs.deployments.known()?.iter().find(|deployment| {
        let newer =
            ours.map_or(deployment.created_at > started, |ours| deployment.created_at > ours.created_at);
        !is_known_to_be_ours(turn, deployment)
            && !may_yet_be_described(turn, deployment)
            && newer
            && (ours.is_some()
                || !deployment.status.is_over()
                || asked.is_some_and(|at| deployment.created_at > at))
    })
}

/// A deployment of which nobody can say yet whether it is ours: whatever depends on that waits for the next look.
pub(super) fn undescribed<'a>(turn: &Turn<'a>) -> Option<&'a DeploymentSeen> {
    let started = turn.next.progress.started_at?.saturating_sub(CLOCK_SKEW).ok()?;
    turn.seen.ecs.deployments.known()?.iter().find(|deployment| {
        deployment.created_at >= started
            && !is_known_to_be_ours(turn, deployment)
            && may_yet_be_described(turn, deployment)
    })
}

fn is_known_to_be_ours(turn: &Turn<'_>, deployment: &DeploymentSeen) -> bool {
    ours(turn).is_some_and(|ours| ours.arn == deployment.arn)
        || Some(&deployment.arn) == redeployment(turn)
        || (deployment.task_definition.is_some()
            && deployment.task_definition == turn.next.progress.state.ecs_native().task_definition)
}

fn may_yet_be_described(turn: &Turn<'_>, deployment: &DeploymentSeen) -> bool {
    deployment.task_definition.is_none() && turn.now.duration_since(deployment.created_at) < DESCRIBED_WITHIN
}

fn redeployment<'t>(turn: &'t Turn<'_>) -> Option<&'t DeploymentArn> {
    turn.next.progress.state.ecs_native().back.redeployment.as_ref()
}
