//! The stages of a plan, one step each: the second service is made and scaled, weights are set, and at last the service itself is updated.

use jiff::{SignedDuration, Timestamp};

use super::{EcsWeighted, caught_up, fleet, service};
use crate::effect::{Effect as AnyEffect, EffectKind, RETRY_AFTER};
use crate::engine::ecs_native::preflight::{self, Again};
use crate::engine::{Act, Move, Proof, Traffic, revisions};
use crate::history::{Event, Fact, Held, Missing, StageResult, Unseen, WaitingOn};
use crate::outcome::Cause;
use crate::plan::{Plan, Stage};
use crate::policy::Percent;
use crate::release::state;
use crate::release::{Progress, Step};
use crate::turn::{LOOK_SOON, Turn};
use crate::vocab::autoscaling;
use crate::vocab::ecs::{Effect, ServiceSeen};

/// A service that was asked for shows up within this time.
const CREATE_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(20);

/// The stage a step belongs to.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) setup: &'a EcsWeighted,
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
        Stage::Promote => promote(turn, at),
        Stage::RollOut
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. } => Move::Done(StageResult::NothingToDo),
    }
}

/// Acts, and has learnt `change` by it.
fn act(
    turn: &Turn<'_>,
    effects: Vec<AnyEffect>,
    waiting_on: WaitingOn,
    change: impl FnOnce(&mut Progress),
) -> Act {
    let mut progress = turn.next.progress.clone();
    change(&mut progress);
    Act { effects, progress, event: None, waiting_on, proof: None }
}

fn learnt(progress: &mut Progress) -> &mut state::EcsWeighted {
    progress.state.ecs_weighted_mut()
}

/// Something could not be seen: why is kept, and it is looked again.
fn unseen(turn: &mut Turn<'_>, what: Unseen) -> Move {
    let seen = turn.seen;
    let errors = [
        seen.ecs.service.error(),
        seen.ecs.canary.error(),
        seen.ecs.revision.error(),
        seen.elb.weights.error(),
        seen.elb.health.error(),
        seen.autoscaling.target.error(),
    ];
    turn.note_unseen(errors.into_iter().flatten());
    Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: what })
}

/// The candidate starts without production traffic: scaling in is held, its target group stands in the rules at weight 0 (only then its
/// targets are checked), and its service is made.
fn start(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    if service(turn).is_none() {
        return unseen(turn, Unseen::Service);
    }
    let Some(canary) = turn.seen.ecs.canary.known() else { return unseen(turn, Unseen::Deployment) };
    if turn.next.progress.asked_at.is_none() {
        match preflight::check_again_unshifted(
            at.plan,
            &at.setup.rollback_target,
            &turn.old.intent,
            turn.seen,
        ) {
            Again::AsPlanned => {}
            Again::Changed(changes) => return Move::Replan(changes),
            Again::CannotSee(errors) => {
                turn.note_unseen(&errors);
                return Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::BeforeStart });
            }
        }
    }
    let Some(task_definition) = EcsWeighted::state(turn).task_definition.clone() else {
        let error = "no task definition was registered".into();
        return Move::Fail(Cause::Refused { effect: EffectKind::CreateCanary, error });
    };
    if let Some(next) = hold_scale_in(turn, at).or_else(|| stand_in_rules(turn, at)) {
        return next;
    }
    let desired = at.setup.min_tasks;
    match canary {
        Some(canary) if canary.status == "ACTIVE" => started(turn, at, canary, desired),
        _ if is_asked_for(turn) => Move::Wait(RETRY_AFTER, WaitingOn::DeploymentStart),
        _ => {
            let effect = Effect::CreateCanary {
                name: at.setup.canary.clone(),
                release: turn.old.id.clone(),
                task_definition,
                desired,
                target_group: at.setup.groups.as_ref().map(|groups| groups.canary.clone()),
                beside: at.setup.groups.as_ref().map(|groups| groups.stable.clone()),
            };
            let now = turn.now;
            let mut asked = begin(turn, vec![effect.into()], WaitingOn::DeploymentStart);
            learnt(&mut asked.progress).create_asked_at = Some(now);
            // An alarm in ALARM could not be told from one that the candidate sets off.
            let proof = Some(Proof { what: Held::Start, traffic_since: None });
            Move::Act(Box::new(Act { proof, ..asked }))
        }
    }
}

/// Whether the second service was asked for a moment ago, and may show up yet.
fn is_asked_for(turn: &Turn<'_>) -> bool {
    let asked_at = EcsWeighted::state(turn).create_asked_at;
    asked_at.is_some_and(|at| turn.now.duration_since(at) < CREATE_RETRY_AFTER)
}

/// From now on something of the target is changed.
fn begin(turn: &Turn<'_>, effects: Vec<AnyEffect>, waiting_on: WaitingOn) -> Act {
    let now = turn.now;
    act(turn, effects, waiting_on, |progress| {
        progress.asked_at.get_or_insert(now);
    })
}

/// While the candidate takes traffic, the service itself seems to have too many tasks.
fn hold_scale_in(turn: &mut Turn<'_>, at: At<'_>) -> Option<Move> {
    let before = at.setup.suspended?;
    match turn.seen.autoscaling.target.known() {
        None => Some(unseen(turn, Unseen::Service)),
        Some(Some(target)) if !target.suspended.scale_in => {
            if !at.step.is_due(turn.now, RETRY_AFTER) {
                return Some(Move::Wait(RETRY_AFTER, WaitingOn::DeploymentStart));
            }
            let effect = autoscaling::Effect::Suspend { suspended: before.holding_scale_in() };
            let proof = Some(Proof { what: Held::Start, traffic_since: None });
            let asked = begin(turn, vec![effect.into()], WaitingOn::DeploymentStart);
            Some(Move::Act(Box::new(Act { proof, ..asked })))
        }
        Some(Some(_) | None) => None,
    }
}

fn stand_in_rules(turn: &mut Turn<'_>, at: At<'_>) -> Option<Move> {
    let groups = at.setup.groups.as_ref()?;
    let Some(rules) = turn.seen.elb.weights.known() else { return Some(unseen(turn, Unseen::Weights)) };
    let stands =
        |rule: &crate::vocab::elb::RuleSeen| rule.weights.iter().any(|(group, _)| *group == groups.canary);
    if rules.iter().all(stands) {
        return None;
    }
    if !at.step.is_due(turn.now, RETRY_AFTER) {
        return Some(Move::Wait(RETRY_AFTER, WaitingOn::WeightsShown));
    }
    let effects = fleet::set(at.setup, turn, Percent::NONE);
    let proof = Some(Proof { what: Held::Start, traffic_since: None });
    let asked = begin(turn, effects, WaitingOn::WeightsShown);
    Some(Move::Act(Box::new(Act { proof, ..asked })))
}

/// The second service is there: its tasks have to be healthy before traffic moves.
fn started(turn: &mut Turn<'_>, at: At<'_>, canary: &ServiceSeen, desired: u32) -> Move {
    learnt(&mut turn.next.progress).created = true;
    match fleet::ready(at.setup, turn) {
        None => unseen(turn, Unseen::Weights),
        Some(ready) if ready >= desired => Move::Done(StageResult::CandidateHealthy),
        Some(ready) => {
            turn.note(Fact::CandidateTasks { running: ready, wanted: canary.desired });
            Move::Wait(RETRY_AFTER, WaitingOn::CandidateTasks)
        }
    }
}

/// First as many tasks as the share needs, then the share.
fn shift(turn: &mut Turn<'_>, at: At<'_>, percent: Percent) -> Move {
    let Some(service) = service(turn) else { return unseen(turn, Unseen::Service) };
    let Some(Some(canary)) = turn.seen.ecs.canary.known() else { return unseen(turn, Unseen::Deployment) };
    let needed = fleet::needed(at.setup, service, percent);
    if canary.desired < needed {
        if !at.step.is_due(turn.now, RETRY_AFTER) {
            return Move::Wait(RETRY_AFTER, WaitingOn::CandidateTasks);
        }
        let effect = Effect::ScaleCanary { name: at.setup.canary.clone(), desired: needed };
        let asked = act(turn, vec![effect.into()], WaitingOn::CandidateTasks, |_| {});
        let proof = Some(Proof { what: Held::Shift, traffic_since: Some(at.since) });
        return Move::Act(Box::new(Act { proof, ..asked }));
    }
    match fleet::ready(at.setup, turn) {
        None => return unseen(turn, Unseen::Weights),
        Some(ready) if ready < needed => {
            turn.note(Fact::CandidateTasks { running: ready, wanted: needed });
            return Move::Wait(RETRY_AFTER, WaitingOn::CandidateTasks);
        }
        Some(_) => {}
    }
    if turn.next.progress.set != Some(percent) {
        return set_share(turn, at, percent);
    }
    shown(turn, at, percent)
}

fn set_share(turn: &mut Turn<'_>, at: At<'_>, percent: Percent) -> Move {
    let now = turn.now;
    let effects = fleet::set(at.setup, turn, percent);
    let asked = act(turn, effects, WaitingOn::WeightsShown, |progress| {
        progress.set = Some(percent);
        learnt(progress).set_at = at.setup.groups.as_ref().map(|_| now);
    });
    let proof = Some(Proof { what: Held::Shift, traffic_since: Some(at.since) });
    Move::Act(Box::new(Act { event: Some(Event::Shifting { percent }), proof, ..asked }))
}

/// The share was set: it has to be seen.
fn shown(turn: &mut Turn<'_>, at: At<'_>, percent: Percent) -> Move {
    match fleet::traffic(at.setup, &turn.next, turn.seen, percent) {
        Traffic::AsSet => {
            let measured = turn.next.progress.measured;
            turn.saw(Fact::Weights { set: percent, measured });
            Move::Done(StageResult::Shifted { percent })
        }
        Traffic::Unseen(why) => {
            turn.note(Missing::Weights { why });
            Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Weights })
        }
        // What does not show after a while is set again, as what somebody else has changed is.
        Traffic::Differs(_) => Move::Wait(RETRY_AFTER, WaitingOn::WeightsShown),
    }
}

/// The service itself becomes the new version while the candidate carries everything; then traffic returns to it.
fn promote(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    let Some(service) = service(turn) else { return unseen(turn, Unseen::Service) };
    let state = EcsWeighted::state(turn);
    let (promoting_since, home_at) = (state.promoting_since, state.home_at);
    let Some(task_definition) = state.task_definition.clone() else {
        let error = "no task definition was registered".into();
        return Move::Fail(Cause::Refused { effect: EffectKind::StartDeployment, error });
    };
    let is_new = service.task_definition == task_definition;
    if !is_new {
        if promoting_since.is_some() && !at.step.is_due(turn.now, CREATE_RETRY_AFTER) {
            return Move::Wait(RETRY_AFTER, WaitingOn::Promotion);
        }
        let now = turn.now;
        let configuration = at.setup.configuration.clone();
        let effect = Effect::StartDeployment { task_definition, configuration };
        let asked = act(turn, vec![effect.into()], WaitingOn::Promotion, |progress| {
            learnt(progress).promoting_since.get_or_insert(now);
        });
        let proof = Some(Proof { what: Held::Promotion, traffic_since: Some(at.since) });
        let event = promoting_since.is_none().then_some(Event::Promoting);
        return Move::Act(Box::new(Act { event, proof, ..asked }));
    }
    if !service.is_all_replaced() || !service.steady || !is_healthy(turn, at, service) {
        turn.note(Fact::EarlierTasks {
            running: service.running,
            wanted: service.desired,
            earlier: service.other_tasks,
        });
        return Move::Wait(RETRY_AFTER, WaitingOn::TasksReplaced { last: false });
    }
    if at.setup.groups.is_none() {
        return Move::Done(StageResult::Completed);
    }
    let Some(home_at) = home_at else { return bring_home(turn, at) };
    match fleet::traffic(at.setup, &turn.next, turn.seen, Percent::ALL) {
        Traffic::AsSet if caught_up(turn, Some(home_at)) => Move::Done(StageResult::Completed),
        Traffic::AsSet | Traffic::Differs(_) => Move::Wait(RETRY_AFTER, WaitingOn::WeightsShown),
        Traffic::Unseen(why) => {
            turn.note(Missing::Weights { why });
            Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Weights })
        }
    }
}

/// Whether as many of the service's own targets are healthy as it wants tasks.
fn is_healthy(turn: &Turn<'_>, at: At<'_>, service: &ServiceSeen) -> bool {
    let Some(groups) = &at.setup.groups else { return true };
    let health = turn.seen.elb.health.known().and_then(|health| health.get(&groups.stable));
    health.is_some_and(|health| health.healthy >= service.desired)
}

fn bring_home(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    let now = turn.now;
    let effects = fleet::set(at.setup, turn, Percent::NONE);
    let asked = act(turn, effects, WaitingOn::WeightsShown, |progress| {
        let state = learnt(progress);
        (state.home_at, state.set_at) = (Some(now), Some(now));
    });
    Move::Act(Box::new(Act { event: Some(Event::TrafficHome), ..asked }))
}
