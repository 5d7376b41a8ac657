//! The stages of a plan, one step each: ECS moves the traffic, our pause hooks hold each shift.

use jiff::{SignedDuration, Timestamp};

use super::deployments::ours;
use super::pauses::Pause;
use super::preflight::{self, Again};
use super::waiting::{awaiting, note_other_pauses};
use super::weights;
use crate::actor::Actor;
use crate::effect::{EffectKind, RETRY_AFTER};
use crate::engine::{Act, Move, Proof, Traffic, revisions};
use crate::history::{Event, Fact, Held, StageResult, Unseen, WaitingOn};
use crate::observation::Refusal;
use crate::outcome::Cause;
use crate::plan::{EcsNative, Plan, Stage};
use crate::policy::Percent;
use crate::release::state;
use crate::release::{Phase, Progress, Step};
use crate::turn::{LAG, LOOK_SOON, Turn};
use crate::vocab::ecs::{DeploymentSeen, DeploymentStatus, Effect};

/// A deployment that was asked for shows up within this time; asking again earlier could start a second one.
const START_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(20);

/// The stage a step belongs to.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) setup: &'a EcsNative,
    pub(super) plan: &'a Plan,
    pub(super) since: Timestamp,
    pub(super) step: &'a Step,
}

/// Takes a stage one step further.
pub(super) fn step(turn: &mut Turn<'_>, at: At<'_>, stage: &Stage) -> Move {
    match stage {
        Stage::Prepare { what } => {
            revisions::register(turn, at.step, *what, &at.setup.rollback_target, &at.setup.candidate)
                .unwrap_or_else(|| unseen(turn, Unseen::TaskDefinition))
        }
        Stage::Start => start(turn, at),
        Stage::Shift { percent } => shift(turn, at, *percent),
        Stage::RollOut => roll_out(turn),
        Stage::Promote => promote(turn, at),
        Stage::Bake { .. } | Stage::Approve { .. } | Stage::Freeze | Stage::Scan | Stage::Verify { .. } => {
            Move::Done(StageResult::NothingToDo)
        }
    }
}

/// Acts, and has learnt `change` by it.
fn act(turn: &Turn<'_>, effect: Effect, waiting_on: WaitingOn, change: impl FnOnce(&mut Progress)) -> Act {
    let mut progress = turn.next.progress.clone();
    change(&mut progress);
    Act { effects: vec![effect.into()], progress, event: None, waiting_on, proof: None }
}

fn learnt(progress: &mut Progress) -> &mut state::EcsNative {
    progress.state.ecs_native_mut()
}

/// Whether a refusal is no failure: the hook that was not continued is seen to wait no more, so an earlier call, whose answer was lost, has
/// done it.
pub(super) fn is_void(turn: &Turn<'_>, refusal: &Refusal) -> bool {
    let Phase::Running { step: Step::Acted { .. }, .. } = &turn.old.phase else { return false };
    let Some(hook) = turn.old.progress.state.ecs_native().continued.last() else { return false };
    let awaits = |ours: &DeploymentSeen| ours.hooks.iter().any(|seen| seen.id == *hook && seen.awaiting);
    refusal.effect == EffectKind::ContinueHook && ours(turn).is_some_and(|ours| !awaits(ours))
}

/// ECS ended or turned back our deployment by itself.
pub(super) fn ended(turn: &Turn<'_>) -> Option<Cause> {
    let ours = ours(turn)?;
    ours.status.is_broken_off().then(|| {
        let mut reason = ours.reason.clone().unwrap_or_else(|| ours.status.as_str().to_owned());
        if !ours.triggered_alarms.is_empty() {
            reason = format!("{reason} (alarms seen by ECS: {})", ours.triggered_alarms.join(", "));
        }
        Cause::Deployment { reason }
    })
}

pub(super) fn described(deployment: &DeploymentSeen) -> String {
    deployment.task_definition.as_ref().map_or("an unknown task definition", |arn| arn.short()).to_owned()
}

/// Something could not be seen: why is kept, and it is looked again.
fn unseen(turn: &mut Turn<'_>, what: Unseen) -> Move {
    let seen = turn.seen;
    let errors = [
        seen.ecs.service.error(),
        seen.ecs.revision.error(),
        seen.ecs.deployments.error(),
        seen.alarms.error(),
        seen.elb.weights.error(),
    ];
    turn.note_unseen(errors.into_iter().flatten());
    Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: what })
}

fn start(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    if let Some(ours) = ours(turn) {
        return started(turn, at, ours);
    }
    let (Some(Some(service)), Some(_)) = (turn.seen.ecs.service.known(), turn.seen.ecs.deployments.known())
    else {
        return unseen(turn, Unseen::Service);
    };
    if turn.next.progress.asked_at.is_none() {
        match preflight::check_again(at.plan, at.setup, &turn.old.intent, turn.seen) {
            Again::AsPlanned => {}
            Again::Changed(changes) => return Move::Replan(changes),
            Again::CannotSee(errors) => {
                turn.note_unseen(&errors);
                return Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::BeforeStart });
            }
        }
    }
    let Some(task_definition) = turn.next.progress.state.ecs_native().task_definition.clone() else {
        return Move::Fail(Cause::Refused {
            effect: EffectKind::StartDeployment,
            error: "no task definition was registered".into(),
        });
    };
    let planned = &at.setup.rollback_target.task_definition;
    if service.task_definition != *planned && service.task_definition != task_definition {
        return Move::Yield(format!(
            "the service runs {} now, not {} as at preflight",
            service.task_definition.short(),
            planned.short()
        ));
    }
    if !at.step.is_due(turn.now, START_RETRY_AFTER) {
        return Move::Wait(RETRY_AFTER, WaitingOn::DeploymentStart);
    }
    let now = turn.now;
    let configuration = at.setup.configuration.clone();
    let effect = Effect::StartDeployment { task_definition, configuration };
    // Amazon ECS ignores the alarms of a deployment that starts while one is in ALARM, and nobody could tell whose fault it is.
    let proof = (*at.step == Step::Entered).then_some(Proof { what: Held::Start, traffic_since: None });
    let asked = act(turn, effect, WaitingOn::DeploymentStart, |progress| {
        progress.asked_at.get_or_insert(now);
    });
    Move::Act(Box::new(Act { proof, ..asked }))
}

/// The deployment is there: its candidate has to be healthy before traffic moves.
fn started(turn: &mut Turn<'_>, at: At<'_>, ours: &DeploymentSeen) -> Move {
    let known = learnt(&mut turn.next.progress).deployment.replace(ours.arn.clone());
    if known.is_none() {
        turn.tell(Event::DeploymentFound { deployment: ours.arn.clone() });
    }
    if !at.plan.is_held() {
        return Move::Done(StageResult::Replacing);
    }
    if awaiting(turn, at.setup, ours, Pause::BeforeShift, &[]).is_some()
        || ours.status == DeploymentStatus::Successful
    {
        return Move::Done(StageResult::CandidateHealthy);
    }
    note_other_pauses(turn, at.setup, ours);
    let (wanted, running, _) = ours.tasks;
    turn.note(Fact::CandidateTasks { running, wanted });
    Move::Wait(LOOK_SOON, WaitingOn::CandidateTasks)
}

fn shift(turn: &mut Turn<'_>, at: At<'_>, percent: Percent) -> Move {
    let Some(ours) = ours(turn) else { return unseen(turn, Unseen::Deployment) };
    if let Step::Acted { at: asked_at } = at.step {
        return continued(turn, at, ours, *asked_at, percent);
    }
    let used = turn.next.progress.state.ecs_native().continued.clone();
    let Some(hook) = awaiting(turn, at.setup, ours, Pause::BeforeShift, &used) else {
        return not_paused(turn, at, ours, percent);
    };
    if is_shifted_already(turn, at.setup, percent) {
        return continued_elsewhere(turn, percent);
    }
    if may_be_shifted_already(turn, at, percent) {
        return Move::Wait(RETRY_AFTER, WaitingOn::WeightsShown);
    }
    let id = hook.id.clone();
    let effect = Effect::ContinueHook { deployment: ours.arn.clone(), hook: id.clone() };
    let asked = act(turn, effect, WaitingOn::Shift { percent }, |progress| {
        learnt(progress).continued.push(id);
        progress.set = Some(percent);
    });
    let proof = Some(Proof { what: Held::Shift, traffic_since: Some(at.since) });
    Move::Act(Box::new(Act { event: Some(Event::Shifting { percent }), proof, ..asked }))
}

/// The deployment waits at none of our pauses: still on its way there, or someone continued it by hand.
fn not_paused(turn: &mut Turn<'_>, at: At<'_>, ours: &DeploymentSeen, percent: Percent) -> Move {
    let passed = awaiting(turn, at.setup, ours, Pause::BeforePromotion, &[]).is_some()
        || ours.status == DeploymentStatus::Successful;
    let shows = |weight| weights::compare(at.setup, turn.seen, weight) == Traffic::AsSet;
    if passed || ours.weight.is_some_and(|weight| weight >= percent && shows(weight)) {
        return continued_elsewhere(turn, percent);
    }
    note_other_pauses(turn, at.setup, ours);
    let stage = ours.stage.clone().unwrap_or_else(|| ours.status.as_str().to_owned());
    turn.note(Fact::DeploymentStage { stage });
    Move::Wait(LOOK_SOON, WaitingOn::Pause { percent })
}

/// Whether the load balancers show this stage's share although we did not continue it: then the pause that waits is the next one's.
fn is_shifted_already(turn: &Turn<'_>, setup: &EcsNative, percent: Percent) -> bool {
    let before = turn.next.progress.set.unwrap_or(Percent::NONE);
    // Rounded weights of one step can look like those of the next; ECS says which it is at.
    let denied = ours(turn).and_then(|ours| ours.weight).is_some_and(|weight| weight < percent);
    !denied
        && !setup.measured_at.is_empty()
        && before < percent
        && weights::compare(setup, turn.seen, percent) == Traffic::AsSet
}

/// Whether ECS says that the candidate has this stage's share while the load balancers do not show it: somebody may have continued the
/// deployment, and the pause that waits is the next one's. AWS does not document when it tells a share, so once reads have surely caught up
/// the load balancers are believed.
fn may_be_shifted_already(turn: &Turn<'_>, at: At<'_>, percent: Percent) -> bool {
    let told = ours(turn).and_then(|ours| ours.weight).is_some_and(|weight| weight >= percent);
    let before = turn.next.progress.set.unwrap_or(Percent::NONE);
    told && before < percent
        && !at.setup.measured_at.is_empty()
        && turn.seen.at.duration_since(at.since) < LAG
}

fn continued_elsewhere(turn: &mut Turn<'_>, percent: Percent) -> Move {
    turn.next.progress.set = Some(percent);
    turn.by(Actor::Person { name: "someone outside Tidegate".into() });
    Move::Done(StageResult::ContinuedElsewhere)
}

/// The pause was ended by us: wait until ECS has moved the traffic, and see it on the load balancer.
fn continued(
    turn: &mut Turn<'_>,
    at: At<'_>,
    ours: &DeploymentSeen,
    asked_at: Timestamp,
    percent: Percent,
) -> Move {
    let used = turn.next.progress.state.ecs_native().continued.clone();
    let hook = used.last().filter(|hook| ours.hooks.iter().any(|seen| seen.id == **hook && seen.awaiting));
    if let Some(hook) = hook {
        let moved = !at.setup.measured_at.is_empty()
            && weights::compare(at.setup, turn.seen, percent) == Traffic::AsSet;
        if moved || turn.now.duration_since(asked_at) < RETRY_AFTER {
            return Move::Wait(RETRY_AFTER, WaitingOn::Shift { percent });
        }
        let effect = Effect::ContinueHook { deployment: ours.arn.clone(), hook: hook.clone() };
        let again = act(turn, effect, WaitingOn::ContinuedAgain, |_| {});
        let proof = Some(Proof { what: Held::Shift, traffic_since: Some(asked_at) });
        return Move::Act(Box::new(Act { proof, ..again }));
    }
    let next_pause = if percent == Percent::ALL { Pause::BeforePromotion } else { Pause::BeforeShift };
    let arrived = awaiting(turn, at.setup, ours, next_pause, &used).is_some()
        || ours.status == DeploymentStatus::Successful;
    if !arrived {
        note_other_pauses(turn, at.setup, ours);
        return Move::Wait(LOOK_SOON, WaitingOn::Shift { percent });
    }
    match weights::compare(at.setup, turn.seen, percent) {
        Traffic::Unseen(why) => {
            turn.note(crate::history::Missing::Weights { why });
            Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Weights })
        }
        Traffic::AsSet => {
            let measured = turn.next.progress.measured;
            turn.saw(Fact::Weights { set: percent, measured });
            Move::Done(StageResult::Shifted { percent })
        }
        Traffic::Differs(_) if turn.now.duration_since(asked_at) < LAG => {
            Move::Wait(RETRY_AFTER, WaitingOn::WeightsShown)
        }
        Traffic::Differs(detail) => Move::Fail(Cause::Weights { detail }),
    }
}

fn roll_out(turn: &mut Turn<'_>) -> Move {
    let Some(ours) = ours(turn) else { return unseen(turn, Unseen::Deployment) };
    if ours.status == DeploymentStatus::Successful {
        // With early success criteria a deployment is SUCCESSFUL while tasks of the version before still serve traffic.
        let Some(Some(service)) = turn.seen.ecs.service.known() else { return unseen(turn, Unseen::Service) };
        if !service.is_all_replaced() {
            turn.note(Fact::EarlierTasks {
                running: service.running,
                wanted: service.desired,
                earlier: service.other_tasks,
            });
            return Move::Wait(LOOK_SOON, WaitingOn::TasksReplaced { last: true });
        }
        turn.next.progress.set = Some(Percent::ALL);
        return Move::Done(StageResult::Replaced);
    }
    let (wanted, running, _) = ours.tasks;
    turn.note(Fact::CandidateTasks { running, wanted });
    Move::Wait(LOOK_SOON, WaitingOn::TasksReplaced { last: false })
}

fn promote(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    let Some(ours) = ours(turn) else { return unseen(turn, Unseen::Deployment) };
    if ours.status == DeploymentStatus::Successful {
        return Move::Done(StageResult::Completed);
    }
    match awaiting(turn, at.setup, ours, Pause::BeforePromotion, &[]) {
        Some(hook) if at.step.is_due(turn.now, RETRY_AFTER) => {
            let id = hook.id.clone();
            let effect = Effect::ContinueHook { deployment: ours.arn.clone(), hook: id.clone() };
            let asked = act(turn, effect, WaitingOn::Promotion, |progress| {
                let continued = &mut learnt(progress).continued;
                continued.retain(|known| *known != id);
                continued.push(id);
            });
            let proof = Some(Proof { what: Held::Promotion, traffic_since: Some(at.since) });
            Move::Act(Box::new(Act { event: Some(Event::Promoting), proof, ..asked }))
        }
        Some(_) | None => Move::Wait(LOOK_SOON, WaitingOn::Promotion),
    }
}
