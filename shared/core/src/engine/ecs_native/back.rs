//! Rolling back: ECS moves traffic back first; where it has no deployment left to roll back, the stable version is deployed again.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::deployments::{external, is_stable, ours, rollback_revision, undescribed};
use super::plan::returning;
use super::restore;
use super::running::Comparison;
use super::{Cx, compared, weights};
use crate::change::StableImage;
use crate::effect::{EffectKind, RETRY_AFTER};
use crate::engine::{Back, Traffic};
use crate::fault::ErrorKind;
use crate::history::{Before, Event, Fact, Missing, Redeploy, Restored, Unseen, WaitingOn};
use crate::ids::{ContainerName, DeploymentArn, TaskDefinitionArn};
use crate::plan::{EcsNative, Plan};
use crate::policy::Percent;
use crate::release::{Phase, Release};
use crate::seen::Seen;
use crate::turn::{CLOCK_SKEW, LAG, LOOK_SOON, Turn};
use crate::vocab::ecr::Stored;
use crate::vocab::ecs::{DeploymentSeen, DeploymentStatus, DerivedRevision, Effect};
use crate::vocab::tasks::Failure;

/// One step further back.
pub(super) fn roll_back(turn: &mut Turn<'_>, cx: Cx<'_>, since: Timestamp) -> Back {
    if let Some(foreign) = external(turn)
        && let Some(ours) = ours(turn)
        && ours.status.is_over()
        && !foreign
            .task_definition
            .as_ref()
            .is_some_and(|arn| is_stable(turn, &cx.setup.rollback_target, arn))
    {
        let fact = Fact::TookOver { deployment: foreign.arn.clone() };
        if ours.status == DeploymentStatus::RollbackSuccessful {
            // The rollback had come to its end; what was deployed after that is not ours to judge.
            turn.saw(fact);
            return Back::Done { started: true };
        }
        return Back::Yield(fact.to_string());
    }
    match ours(turn) {
        Some(ours) => {
            turn.next.progress.state.ecs_native_mut().deployment = Some(ours.arn.clone());
            if ours.status.is_over() { after(turn, cx, ours, since) } else { stop(turn, cx, ours, since) }
        }
        None => {
            let known = turn.next.progress.state.ecs_native().deployment.clone();
            match (known, turn.seen.ecs.deployments.known()) {
                // Not seen, but known to be there: stopping it needs no look.
                (Some(deployment), _) => stop_unseen(turn, deployment),
                (None, Some(_)) if undescribed(turn).is_some() => {
                    Back::Wait(RETRY_AFTER, WaitingOn::Description { before: Before::Rollback })
                }
                (None, Some(_)) => Back::Done { started: false },
                (None, None) => Back::Wait(RETRY_AFTER, WaitingOn::Look { unseen: Unseen::AnyDeployment }),
            }
        }
    }
}

/// The revision to roll back to, when AWS has refused to deploy it: clean-up jobs deregister what seems to be of no use.
pub(super) fn sought(release: &Release, setup: &EcsNative) -> Option<DerivedRevision> {
    (release.progress.state.ecs_native().rollback_refused && matches!(release.phase, Phase::RollingBack(_)))
        .then(|| setup.rollback_target.copy())
}

/// The revision that new tasks are started of: it is deployed again, or its tasks were replaced in place. Otherwise they still run.
pub(super) fn brought_back<'r>(
    release: &'r Release,
    plan: &Plan,
    setup: &'r EcsNative,
) -> Option<&'r TaskDefinitionArn> {
    release.phase.rolling_back()?;
    let state = release.progress.state.ecs_native();
    let replaced = release.progress.asked_at.is_some() && !plan.is_held();
    let revision = state.stable.as_ref().unwrap_or(&setup.rollback_target.task_definition);
    (state.back.redeployed_at.is_some() || replaced).then_some(revision)
}

/// The images its tasks need.
pub(super) fn images_brought_back(release: &Release, plan: &Plan, setup: &EcsNative) -> BTreeSet<String> {
    match brought_back(release, plan, setup) {
        Some(_) => setup.rollback_target.images.values().filter_map(StableImage::pinned).collect(),
        None => BTreeSet::new(),
    }
}

/// The image that keeps the stable version from running again, and its container: ECR says that it is not there, and since the rollback
/// began a task has not started. Either alone proves nothing: an instance may still have the image, and tasks fail for many reasons. A
/// registry that does not answer has not said anything.
fn gone_image(turn: &Turn<'_>, cx: Cx<'_>, since: Timestamp) -> Option<(ContainerName, String)> {
    let revision = brought_back(&turn.next, cx.plan, cx.setup)?;
    let since = since.saturating_sub(CLOCK_SKEW).unwrap_or(since);
    let tasks = turn.seen.ecs.stopped_tasks.known().into_iter().flatten();
    let mut of_it = tasks.filter(|task| {
        task.task_definition == *revision && task.created_at.is_some_and(|created| created >= since)
    });
    if !of_it.any(|task| task.failure() == Some(Failure::NotStarted)) {
        return None;
    }
    cx.setup.rollback_target.images.iter().find_map(|(container, image)| {
        let pinned = image.pinned()?;
        let gone = matches!(turn.seen.stored.get(&pinned), Some(Seen::Known(Stored::Gone)));
        gone.then(|| (container.clone(), pinned))
    })
}

/// Whether AWS has just refused to deploy the revision to roll back to, for the first time and as something that is not there or not active.
pub(super) fn note_refused(turn: &mut Turn<'_>) -> bool {
    let gone = |kind: ErrorKind| matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound);
    let refused = turn
        .seen
        .refused
        .iter()
        .any(|refusal| refusal.effect == EffectKind::ReturnTo && gone(refusal.error.kind));
    let first = refused && !turn.next.progress.state.ecs_native().rollback_refused;
    turn.next.progress.state.ecs_native_mut().rollback_refused |= refused;
    first
}

/// Our deployment is still under way: ECS rolls it back, traffic first.
fn stop(turn: &mut Turn<'_>, cx: Cx<'_>, ours: &DeploymentSeen, since: Timestamp) -> Back {
    if ours.status.is_rollback() {
        if let Some((container, image)) = gone_image(turn, cx, since) {
            return call_for(turn, cx, &container, &image);
        }
        turn.note(Fact::DeploymentStatus {
            deployment: ours.arn.clone(),
            status: ours.status.clone(),
            stage: ours.stage.clone(),
        });
        return Back::Wait(RETRY_AFTER, WaitingOn::Rollback { asked: false });
    }
    let arn = ours.arn.clone();
    stop_unseen(turn, arn)
}

fn stop_unseen(turn: &mut Turn<'_>, deployment: DeploymentArn) -> Back {
    if turn.is_due(RETRY_AFTER) {
        turn.act(Effect::StopDeployment { deployment }.into());
    }
    Back::Wait(RETRY_AFTER, WaitingOn::Rollback { asked: true })
}

/// Our deployment is over: either it was rolled back, or the stable version has to be deployed again.
fn after(turn: &mut Turn<'_>, cx: Cx<'_>, ours: &DeploymentSeen, since: Timestamp) -> Back {
    let Some(Some(service)) = turn.seen.ecs.service.known() else {
        return Back::Wait(RETRY_AFTER, WaitingOn::Look { unseen: Unseen::Service });
    };
    let over_at = mark_over(turn);
    let runs_old = is_stable(turn, &cx.setup.rollback_target, &service.task_definition);
    let weights_old = weights::compare(cx.setup, turn.seen, Percent::NONE) == Traffic::AsSet;
    let redeployment = turn.seen.ecs.deployments.known().and_then(|seen| {
        seen.iter().find(|deployment| {
            deployment.created_at >= since.saturating_sub(CLOCK_SKEW).unwrap_or(since)
                && deployment.task_definition.as_ref()
                    == Some(rollback_revision(turn, &cx.setup.rollback_target))
        })
    });
    if let Some(redeployment) = redeployment {
        return follow_redeployment(turn, cx, redeployment);
    }
    if undescribed(turn).is_some() {
        return Back::Wait(RETRY_AFTER, WaitingOn::Description { before: Before::Redeployment });
    }
    let nothing_left =
        Redeploy::NothingToRollBack { deployment: ours.arn.clone(), status: ours.status.clone() };
    if redeployed_at(turn).is_some() {
        return redeploy(turn, cx, nothing_left);
    }
    if runs_old && weights_old && ours.status != DeploymentStatus::RollbackFailed {
        return match images_of_before(turn, cx) {
            Images::Again => {
                turn.saw(Fact::RunsAgain {
                    task_definition: service.task_definition.clone(),
                    deployment: ours.arn.clone(),
                    status: ours.status.clone(),
                });
                Back::Done { started: true }
            }
            Images::NotYet(detail) => {
                Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Images { detail } })
            }
            // A tag means another image now than it did, and Amazon ECS asked it again.
            Images::Others(detail) => redeploy(turn, cx, Redeploy::OtherImages { detail }),
        };
    }
    if ours.status == DeploymentStatus::RollbackSuccessful {
        if runs_old {
            return Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Weights });
        }
        if turn.seen.at.duration_since(over_at) < LAG {
            return Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::TaskDefinition });
        }
    }
    redeploy(turn, cx, nothing_left)
}

/// Whether the images that ran before the release run again.
enum Images {
    /// They do.
    Again,
    /// That cannot be said yet.
    NotYet(String),
    /// Others do.
    Others(String),
}

/// Reads lag behind, so a difference counts once it has lasted.
fn images_of_before(turn: &mut Turn<'_>, cx: Cx<'_>) -> Images {
    let at = turn.seen.at;
    let compared = compared(turn, &cx.setup.rollback_target.digests());
    let differs_since = &mut turn.next.progress.state.ecs_native_mut().back.differs_since;
    match compared {
        Comparison::Same => {
            *differs_since = None;
            Images::Again
        }
        Comparison::Unknown(why) => Images::NotYet(why),
        Comparison::Differs(detail) => {
            let since = *differs_since.get_or_insert(at);
            if at.duration_since(since) < LAG { Images::NotYet(detail) } else { Images::Others(detail) }
        }
    }
}

/// Since when the release's own deployment is seen to be over.
fn mark_over(turn: &mut Turn<'_>) -> Timestamp {
    *turn.next.progress.state.ecs_native_mut().back.over_at.get_or_insert(turn.now)
}

fn redeployed_at(turn: &Turn<'_>) -> Option<Timestamp> {
    turn.next.progress.state.ecs_native().back.redeployed_at
}

/// Deploys the stable version, once; again only when nothing is seen of it for a while.
fn redeploy(turn: &mut Turn<'_>, cx: Cx<'_>, because: Redeploy) -> Back {
    let now = turn.now;
    let revision = rollback_revision(turn, &cx.setup.rollback_target).clone();
    let first = redeployed_at(turn).is_none();
    if note_refused(turn) {
        return Back::Wait(SignedDuration::ZERO, WaitingOn::RollbackRevision);
    }
    if turn.next.progress.state.ecs_native().rollback_refused {
        match turn.seen.ecs.revision.known() {
            Some(Some(arn)) if *arn != revision => {
                turn.tell(Event::RegisteredAgain { revision, copy: arn.clone() });
                turn.next.progress.state.ecs_native_mut().stable = Some(arn.clone());
                turn.act(
                    Effect::ReturnTo {
                        task_definition: arn.clone(),
                        configuration: returning(cx.plan, cx.setup),
                    }
                    .into(),
                );
                return Back::Wait(RETRY_AFTER, WaitingOn::Redeployment);
            }
            Some(None) => {
                if turn.is_due(RETRY_AFTER) {
                    let release = turn.old.id.clone();
                    turn.act(
                        Effect::RegisterTaskDefinition { release, revision: cx.setup.rollback_target.copy() }
                            .into(),
                    );
                }
                return Back::Wait(RETRY_AFTER, WaitingOn::Registration { again: true });
            }
            // It is there, so it was refused for another reason; or that could not be seen, which holds no rollback.
            Some(Some(_)) | None => {}
        }
    }
    if first || turn.is_due(RETRY_AFTER * 3) {
        turn.act(
            Effect::ReturnTo {
                task_definition: revision.clone(),
                configuration: returning(cx.plan, cx.setup),
            }
            .into(),
        );
    }
    if first {
        let back = &mut turn.next.progress.state.ecs_native_mut().back;
        (back.redeployed_at, back.differs_since) = (Some(now), None);
        turn.tell(Event::Redeploying { revision, because });
    }
    Back::Wait(RETRY_AFTER, WaitingOn::Redeployment)
}

fn follow_redeployment(turn: &mut Turn<'_>, cx: Cx<'_>, redeployment: &DeploymentSeen) -> Back {
    let arn = redeployment.arn.clone();
    turn.next.progress.state.ecs_native_mut().back.redeployment = Some(arn);
    if redeployment.status != DeploymentStatus::Successful
        && let Some((container, image)) = gone_image(turn, cx, redeployment.created_at)
    {
        return call_for(turn, cx, &container, &image);
    }
    match &redeployment.status {
        // With early success criteria it is called successful while tasks of the candidate still serve traffic.
        DeploymentStatus::Successful => {
            match (turn.seen.ecs.service.known(), weights::at_the_end(turn, cx.setup, false)) {
                (_, Traffic::Unseen(why)) => {
                    turn.note(Missing::Weights { why });
                    Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Traffic })
                }
                (_, Traffic::Differs(detail)) => {
                    turn.note(Missing::WeightsShown { detail: Some(detail) });
                    Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Traffic })
                }
                (Some(Some(service)), Traffic::AsSet) if service.is_all_replaced() => {
                    match images_of_before(turn, cx) {
                        Images::Again => Back::Done { started: true },
                        Images::NotYet(detail) => {
                            Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Images { detail } })
                        }
                        Images::Others(detail) => {
                            let needs = restore::other_images(
                                Some(rollback_revision(turn, &cx.setup.rollback_target)),
                                &detail,
                                cx.plan,
                            );
                            turn.tell(Event::RollbackDiffers { needs: needs.clone() });
                            Back::Call(needs)
                        }
                    }
                }
                (Some(_) | None, Traffic::AsSet) => {
                    Back::Wait(LOOK_SOON, WaitingOn::Restored { what: Restored::LastTasks })
                }
            }
        }
        DeploymentStatus::Stopped
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => give_up(turn, cx),
        DeploymentStatus::Pending
        | DeploymentStatus::InProgress
        | DeploymentStatus::StopRequested
        | DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::Other(_) => Back::Wait(LOOK_SOON, WaitingOn::Redeployment),
    }
}

/// An image that is gone comes back only when a person pushes it, so waiting longer helps nobody.
fn call_for(turn: &mut Turn<'_>, cx: Cx<'_>, container: &ContainerName, image: &str) -> Back {
    let needs = format!(
        "the image that container {container} ran before is gone from ECR, and no task of it can start: push {image} again, the very same \
         digest, and Amazon ECS starts it by itself; or deploy another image to {} by hand",
        cx.plan.target
    );
    turn.tell(Event::RollbackFailed { needs: needs.clone() });
    Back::Call(needs)
}

fn give_up(turn: &mut Turn<'_>, cx: Cx<'_>) -> Back {
    let needs = by_hand(turn, cx);
    turn.tell(Event::RollbackFailed { needs: needs.clone() });
    Back::Call(needs)
}

/// What a person has to do when the rollback cannot be done.
pub(super) fn by_hand(turn: &Turn<'_>, cx: Cx<'_>) -> String {
    let refusals: Vec<String> = turn.seen.refused.iter().map(|refusal| refusal.error.to_string()).collect();
    let revision = rollback_revision(turn, &cx.setup.rollback_target).short();
    let needs = format!(
        "deploy task definition {revision} to {} by hand and see that the load balancer sends all traffic to it",
        cx.plan.target
    );
    if refusals.is_empty() {
        return needs;
    }
    format!("AWS refused the rollback ({}); allow it to Tidegate's role, or {needs}", refusals.join("; "))
}
