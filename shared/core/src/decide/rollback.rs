//! Rolling back: traffic first, everything else after. Never held by anything that could not be seen.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    CLOCK_SKEW, Decision, LOOK_SOON, compared, keep_measured, settle,
    turn::Turn,
    weights::{self, Weights},
};
use crate::actor::Actor;
use crate::effect::{Effect, EffectKind, RETRY_AFTER};
use crate::fault::ErrorKind;
use crate::history::{Before, Event, Fact, Missing, Redeploy, Restored, Unseen, WaitingOn};
use crate::ids::{ContainerName, TaskDefinitionArn};
use crate::observation::{DeploymentSeen, DeploymentStatus, Seen, Stored};
use crate::outcome::{Cause, Outcome};
use crate::plan::Plan;
use crate::policy::Percent;
use crate::release::{Phase, Release, RollingBack};
use crate::revision::{DerivedRevision, StableImage};
use crate::running::Comparison;
use crate::tasks::Failure;

/// How long a rollback may take before a person is called. A Network Load Balancer alone adds ten minutes to a shift.
pub(super) const LIMIT: SignedDuration = SignedDuration::from_hours(2);
/// How long the service may still show what a deployment that was rolled back has undone: reads lag behind, each by itself.
pub(super) const LAG: SignedDuration = SignedDuration::from_secs(20);
/// How long a refused rollback is tried again before a person is called.
const REFUSED_LIMIT: SignedDuration = SignedDuration::from_mins(15);

/// Rolls a release back: the change and the first effect are one decision, so that not a second is lost.
pub(super) fn begin(mut turn: Turn<'_>, cause: Cause, stage: Option<usize>) -> Decision {
    let now = turn.now;
    if let Cause::Requested { by, .. } | Cause::CancelRequested { by, .. } = &cause {
        turn.by(by.clone());
    }
    turn.tell(Event::RollingBack { cause: Box::new(cause.clone()) });
    turn.next.request = None;
    // Whatever was decided before may still be under way in a stalled executor: settling counts from here.
    turn.next.acted_at = Some(now);
    turn.enter(Phase::RollingBack(RollingBack::new(cause, now, stage)));
    rolling_back(turn)
}

/// One step further back.
pub(super) fn rolling_back(mut turn: Turn<'_>) -> Decision {
    let Some(RollingBack { cause, since, restored_at, .. }) = turn.next.phase.rolling_back().cloned() else {
        return turn.unchanged();
    };
    let Some(plan) = turn.old.plan.as_ref() else {
        return settle::begin(turn, outcome(&cause, false));
    };
    note_restored(&mut turn, plan, restored_at);
    turn.note_refusals();
    let spent = turn.now.duration_since(since);
    let refused_for_long =
        !turn.seen.refused.is_empty() && spent >= REFUSED_LIMIT && !note_refused(&mut turn);
    if spent >= LIMIT || refused_for_long {
        return give_up(turn, plan, &cause);
    }
    if let Some(foreign) = turn.external_deployment()
        && let Some(ours) = turn.our_deployment()
        && ours.status.is_over()
        && !foreign.task_definition.as_ref().is_some_and(|arn| turn.next.is_stable(arn))
    {
        let fact = Fact::TookOver { deployment: foreign.arn.clone() };
        if ours.status == DeploymentStatus::RollbackSuccessful {
            // The rollback had come to its end; what was deployed after that is not ours to judge.
            turn.saw(fact);
            return settle::begin(turn, outcome(&cause, true));
        }
        return settle::interfered(turn, fact.to_string());
    }
    match turn.our_deployment() {
        Some(ours) => {
            turn.next.progress.deployment = Some(ours.arn.clone());
            if ours.status.is_over() {
                after(turn, plan, ours, &cause, since)
            } else {
                stop(turn, plan, ours, &cause, since)
            }
        }
        None => match (turn.next.progress.deployment.clone(), turn.seen.deployments.known()) {
            // Not seen, but known to be there: stopping it needs no look.
            (Some(deployment), _) => stop_unseen(turn, deployment),
            (None, Some(_)) if turn.undescribed_deployment().is_some() => {
                turn.wait(RETRY_AFTER, WaitingOn::Description { before: Before::Rollback })
            }
            (None, Some(_)) => settle::begin(turn, outcome(&cause, false)),
            (None, None) => turn.wait(RETRY_AFTER, WaitingOn::Look { unseen: Unseen::AnyDeployment }),
        },
    }
}

/// The revision to roll back to, when AWS has refused to deploy it: clean-up jobs deregister what seems to be of no use.
pub(super) fn sought(release: &Release) -> Option<DerivedRevision> {
    let plan = release.plan.as_ref()?;
    (release.progress.rollback_refused && matches!(release.phase, Phase::RollingBack(_)))
        .then(|| plan.rollback_target.copy())
}

/// The revision that new tasks are started of: it is deployed again, or its tasks were replaced in place. Otherwise they still run.
pub(super) fn brought_back(release: &Release) -> Option<&TaskDefinitionArn> {
    let back = release.phase.rolling_back()?;
    let replaced = release.progress.asked_at.is_some() && !release.plan.as_ref()?.is_held();
    (back.redeployed_at.is_some() || replaced).then(|| release.rollback_revision()).flatten()
}

/// The images its tasks need.
pub(super) fn images_brought_back(release: &Release) -> BTreeSet<String> {
    let plan = brought_back(release).and(release.plan.as_ref());
    plan.into_iter()
        .flat_map(|plan| plan.rollback_target.images.values())
        .filter_map(StableImage::pinned)
        .collect()
}

/// The image that keeps the stable version from running again, and its container: ECR says that it is not there, and since the rollback
/// began a task has not started. Either alone proves nothing: an instance may still have the image, and tasks fail for many reasons. A
/// registry that does not answer has not said anything.
fn gone_image(turn: &Turn<'_>, plan: &Plan, since: Timestamp) -> Option<(ContainerName, String)> {
    let revision = brought_back(&turn.next)?;
    let since = since.saturating_sub(CLOCK_SKEW).unwrap_or(since);
    let tasks = turn.seen.stopped_tasks.known().into_iter().flatten();
    let mut of_it = tasks.filter(|task| {
        task.task_definition == *revision && task.created_at.is_some_and(|created| created >= since)
    });
    if !of_it.any(|task| task.failure() == Some(Failure::NotStarted)) {
        return None;
    }
    plan.rollback_target.images.iter().find_map(|(container, image)| {
        let pinned = image.pinned()?;
        let gone = matches!(turn.seen.stored.get(&pinned), Some(Seen::Known(Stored::Gone)));
        gone.then(|| (container.clone(), pinned))
    })
}

/// Whether AWS has just refused to deploy the revision to roll back to, for the first time and as something that is not there or not active.
fn note_refused(turn: &mut Turn<'_>) -> bool {
    let gone = |kind: ErrorKind| matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound);
    let refused = turn
        .seen
        .refused
        .iter()
        .any(|refusal| refusal.effect == EffectKind::ReturnTo && gone(refusal.error.kind));
    let first = refused && !turn.next.progress.rollback_refused;
    turn.next.progress.rollback_refused |= refused;
    first
}

fn note_restored(turn: &mut Turn<'_>, plan: &Plan, restored_at: Option<Timestamp>) {
    keep_measured(turn, plan);
    let back =
        !plan.measured_at.is_empty() && weights::compare(plan, turn.seen, Percent::NONE) == Weights::AsSet;
    // Only what is seen after the decision to go back counts; the look may be older than that.
    let Some(since) = turn.old.phase.rolling_back().map(|back| back.since) else { return };
    if back && restored_at.is_none() && turn.seen.at >= since {
        let at = turn.seen.at;
        if let Some(back) = turn.rolling_back() {
            back.restored_at = Some(at);
        }
        turn.next.progress.set = Some(Percent::NONE);
        turn.tell(Event::TrafficRestored);
    }
}

/// Our deployment is still under way: ECS rolls it back, traffic first.
fn stop(mut turn: Turn<'_>, plan: &Plan, ours: &DeploymentSeen, cause: &Cause, since: Timestamp) -> Decision {
    if ours.status.is_rollback() {
        if let Some((container, image)) = gone_image(&turn, plan, since) {
            return call_for(turn, plan, cause, &container, &image);
        }
        turn.note(Fact::DeploymentStatus {
            deployment: ours.arn.clone(),
            status: ours.status.clone(),
            stage: ours.stage.clone(),
        });
        return turn.wait(RETRY_AFTER, WaitingOn::Rollback { asked: false });
    }
    let arn = ours.arn.clone();
    stop_unseen(turn, arn)
}

fn stop_unseen(mut turn: Turn<'_>, deployment: crate::ids::DeploymentArn) -> Decision {
    if due(&turn, RETRY_AFTER) {
        turn.act(Effect::StopDeployment { deployment });
    }
    turn.wait(RETRY_AFTER, WaitingOn::Rollback { asked: true })
}

/// Our deployment is over: either it was rolled back, or the stable version has to be deployed again.
fn after(
    mut turn: Turn<'_>,
    plan: &Plan,
    ours: &DeploymentSeen,
    cause: &Cause,
    since: Timestamp,
) -> Decision {
    let Some(Some(service)) = turn.seen.service.known() else {
        return turn.wait(RETRY_AFTER, WaitingOn::Look { unseen: Unseen::Service });
    };
    let over_at = mark_over(&mut turn);
    let runs_old = turn.next.is_stable(&service.task_definition);
    let weights_old = weights::compare(plan, turn.seen, Percent::NONE) == Weights::AsSet;
    let redeployment = turn.seen.deployments.known().and_then(|seen| {
        seen.iter().find(|deployment| {
            deployment.created_at >= since.saturating_sub(CLOCK_SKEW).unwrap_or(since)
                && deployment.task_definition.as_ref() == turn.next.rollback_revision()
        })
    });
    if let Some(redeployment) = redeployment {
        return follow_redeployment(turn, plan, redeployment, cause);
    }
    if turn.undescribed_deployment().is_some() {
        return turn.wait(RETRY_AFTER, WaitingOn::Description { before: Before::Redeployment });
    }
    let nothing_left =
        Redeploy::NothingToRollBack { deployment: ours.arn.clone(), status: ours.status.clone() };
    if redeployed_at(&turn).is_some() {
        return redeploy(turn, plan, nothing_left);
    }
    if runs_old && weights_old && ours.status != DeploymentStatus::RollbackFailed {
        return match images_of_before(&mut turn, plan) {
            Images::Again => {
                turn.saw(Fact::RunsAgain {
                    task_definition: service.task_definition.clone(),
                    deployment: ours.arn.clone(),
                    status: ours.status.clone(),
                });
                settle::begin(turn, outcome(cause, true))
            }
            Images::NotYet(detail) => {
                turn.wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Images { detail } })
            }
            // A tag means another image now than it did, and Amazon ECS asked it again.
            Images::Others(detail) => redeploy(turn, plan, Redeploy::OtherImages { detail }),
        };
    }
    if ours.status == DeploymentStatus::RollbackSuccessful {
        if runs_old {
            return turn.wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Weights });
        }
        if turn.seen.at.duration_since(over_at) < LAG {
            return turn.wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::TaskDefinition });
        }
    }
    redeploy(turn, plan, nothing_left)
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
fn images_of_before(turn: &mut Turn<'_>, plan: &Plan) -> Images {
    let at = turn.seen.at;
    let compared = compared(turn.old, turn.seen, &plan.rollback_target.digests());
    let Some(RollingBack { differs_since, .. }) = turn.rolling_back() else { return Images::Again };
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
    let at = turn.now;
    turn.rolling_back().map_or(at, |back| *back.over_at.get_or_insert(at))
}

fn redeployed_at(turn: &Turn<'_>) -> Option<Timestamp> {
    turn.next.phase.rolling_back()?.redeployed_at
}

/// Deploys the stable version, once; again only when nothing is seen of it for a while.
fn redeploy(mut turn: Turn<'_>, plan: &Plan, because: Redeploy) -> Decision {
    let now = turn.now;
    let revision = turn.next.rollback_revision().unwrap_or(&plan.rollback_target.task_definition).clone();
    let first = redeployed_at(&turn).is_none();
    if note_refused(&mut turn) {
        return turn.wait(SignedDuration::ZERO, WaitingOn::RollbackRevision);
    }
    if turn.next.progress.rollback_refused {
        match turn.seen.revision.known() {
            Some(Some(arn)) if *arn != revision => {
                turn.tell(Event::RegisteredAgain { revision, copy: arn.clone() });
                turn.next.progress.stable = Some(arn.clone());
                turn.act(Effect::ReturnTo {
                    target: plan.target.clone(),
                    task_definition: arn.clone(),
                    configuration: plan.returning(),
                });
                return turn.wait(RETRY_AFTER, WaitingOn::Redeployment);
            }
            Some(None) => {
                if due(&turn, RETRY_AFTER) {
                    let release = turn.old.id.clone();
                    turn.act(Effect::RegisterTaskDefinition {
                        release,
                        revision: plan.rollback_target.copy(),
                    });
                }
                return turn.wait(RETRY_AFTER, WaitingOn::Registration { again: true });
            }
            // It is there, so it was refused for another reason; or that could not be seen, which holds no rollback.
            Some(Some(_)) | None => {}
        }
    }
    if first || due(&turn, RETRY_AFTER * 3) {
        turn.act(Effect::ReturnTo {
            target: plan.target.clone(),
            task_definition: revision.clone(),
            configuration: plan.returning(),
        });
    }
    if first {
        if let Some(back) = turn.rolling_back() {
            (back.redeployed_at, back.differs_since) = (Some(now), None);
        }
        turn.tell(Event::Redeploying { revision, because });
    }
    turn.wait(RETRY_AFTER, WaitingOn::Redeployment)
}

fn follow_redeployment(
    mut turn: Turn<'_>,
    plan: &Plan,
    redeployment: &DeploymentSeen,
    cause: &Cause,
) -> Decision {
    let arn = redeployment.arn.clone();
    if let Some(back) = turn.rolling_back() {
        back.redeployment = Some(arn);
    }
    if redeployment.status != DeploymentStatus::Successful
        && let Some((container, image)) = gone_image(&turn, plan, redeployment.created_at)
    {
        return call_for(turn, plan, cause, &container, &image);
    }
    match &redeployment.status {
        // With early success criteria it is called successful while tasks of the candidate still serve traffic.
        DeploymentStatus::Successful => {
            match (turn.seen.service.known(), weights::at_the_end(&turn, plan, false)) {
                (_, Weights::Unseen(why)) => {
                    turn.note(Missing::Weights { why });
                    turn.wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Traffic })
                }
                (_, Weights::Differ(detail)) => {
                    turn.note(Missing::WeightsShown { detail: Some(detail) });
                    turn.wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Traffic })
                }
                (Some(Some(service)), Weights::AsSet) if service.is_all_replaced() => {
                    match images_of_before(&mut turn, plan) {
                        Images::Again => settle::begin(turn, outcome(cause, true)),
                        Images::NotYet(detail) => {
                            turn.wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Images { detail } })
                        }
                        Images::Others(detail) => {
                            let needs = settle::other_images(turn.next.rollback_revision(), &detail, plan);
                            turn.tell(Event::RollbackDiffers { needs: needs.clone() });
                            settle::begin(turn, Outcome::Failed { cause: cause.clone(), needs })
                        }
                    }
                }
                (Some(_) | None, Weights::AsSet) => {
                    turn.wait(LOOK_SOON, WaitingOn::Restored { what: Restored::LastTasks })
                }
            }
        }
        DeploymentStatus::Stopped
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => give_up(turn, plan, cause),
        DeploymentStatus::Pending
        | DeploymentStatus::InProgress
        | DeploymentStatus::StopRequested
        | DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::Other(_) => turn.wait(LOOK_SOON, WaitingOn::Redeployment),
    }
}

/// An image that is gone comes back only when a person pushes it, so waiting longer helps nobody.
fn call_for(
    mut turn: Turn<'_>,
    plan: &Plan,
    cause: &Cause,
    container: &ContainerName,
    image: &str,
) -> Decision {
    let needs = format!(
        "the image that container {container} ran before is gone from ECR, and no task of it can start: push {image} again, the very same \
         digest, and Amazon ECS starts it by itself; or deploy another image to {} by hand",
        plan.target
    );
    turn.tell(Event::RollbackFailed { needs: needs.clone() });
    settle::begin(turn, Outcome::Failed { cause: cause.clone(), needs })
}

fn give_up(mut turn: Turn<'_>, plan: &Plan, cause: &Cause) -> Decision {
    let refusals: Vec<String> = turn.seen.refused.iter().map(|refusal| refusal.error.to_string()).collect();
    let revision = turn.next.rollback_revision().unwrap_or(&plan.rollback_target.task_definition).short();
    let mut needs = format!(
        "deploy task definition {revision} to {} by hand and see that the load balancer sends all traffic to it",
        plan.target
    );
    if !refusals.is_empty() {
        needs = format!(
            "AWS refused the rollback ({}); allow it to Tidegate's role, or {needs}",
            refusals.join("; ")
        );
    }
    turn.tell(Event::RollbackFailed { needs: needs.clone() });
    settle::begin(turn, Outcome::Failed { cause: cause.clone(), needs })
}

/// Whether an effect of the rollback should be performed now: at once when the rollback begins, then again after a while.
fn due(turn: &Turn<'_>, retry_after: SignedDuration) -> bool {
    let begins = !matches!(turn.old.phase, Phase::RollingBack(_));
    begins || turn.next.acted_at.is_none_or(|at| turn.now.duration_since(at) >= retry_after)
}

/// What a release that is rolled back for this cause ends as. `started`: whether a deployment was ever under way.
fn outcome(cause: &Cause, started: bool) -> Outcome {
    match cause {
        Cause::CancelRequested { by, why } => Outcome::Cancelled { by: by.clone(), why: why.clone() },
        Cause::Rejected { by, why } if !started => Outcome::Cancelled { by: by.clone(), why: format!("rejected: {why}") },
        Cause::Gate { gate, detail } if !started => Outcome::Cancelled { by: Actor::Tidegate, why: format!("{gate}: {detail}") },
        // Nothing of the image has run, so the alarm says nothing about it.
        Cause::Alarm { .. } if !started => {
            Outcome::Cancelled { by: Actor::Tidegate, why: format!("before anything was deployed, {cause}") }
        }
        Cause::Newer { release } => Outcome::Superseded { by: release.clone().into() },
        Cause::Preflight { .. } if !started => Outcome::Failed {
            cause: cause.clone(),
            needs: "nothing was changed on the service; see who or what changes it, then release again".into(),
        },
        Cause::Refused { .. } | Cause::TimedOut { .. } if !started => Outcome::Failed {
            cause: cause.clone(),
            needs: "nothing was changed on the service; fix what AWS refused or what took too long, then release again".into(),
        },
        Cause::Alarm { .. }
        | Cause::Deployment { .. }
        | Cause::Requested { .. }
        | Cause::Refused { .. }
        | Cause::FailedTasks { .. }
        | Cause::Inconclusive { .. }
        | Cause::TimedOut { .. }
        | Cause::Weights { .. }
        | Cause::Preflight { .. }
        | Cause::Rejected { .. }
        | Cause::Gate { .. }
        | Cause::ExternalDeployment { .. }
        | Cause::Images { .. } => Outcome::RolledBack { cause: cause.clone() },
    }
}
