//! The stages of a plan, engine `native`: ECS moves the traffic, our pause hooks hold each shift, Tidegate bakes and judges.

use jiff::{SignedDuration, Timestamp};

use super::{
    CLOCK_SKEW, Decision, LOOK_EVERY, LOOK_SOON, crash, evidence, gates, keep_measured, rollback, settle,
    start,
    turn::Turn,
    waiting::{awaiting, note_other_pauses},
    weights::{self, DRIFT_TOLERANCE, Weights},
};
use crate::actor::Actor;
use crate::effect::{Effect, EffectKind, RETRY_AFTER};
use crate::history::{Before, Event, Fact, Held, Missing, StageResult, Unseen, WaitingOn};
use crate::ids::{AlarmName, HookId};
use crate::intent::Request;
use crate::observation::{AlarmSeen, AlarmState, DeploymentSeen, DeploymentStatus, Observation, Refusal};
use crate::outcome::{Cause, Outcome};
use crate::pauses::Pause;
use crate::plan::{Plan, Stage};
use crate::policy::Percent;
use crate::preflight::{self, Again};
use crate::release::{Phase, Release, Step};
use crate::revision::DerivedRevision;

/// What was seen longer ago is no ground to continue: a look of several calls may hang in one of them.
const LOOK_HOLDS: SignedDuration = SignedDuration::from_secs(15);
/// A deployment that was asked for shows up within this time; asking again earlier could start a second one.
const START_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(20);

/// Judges first; then takes the stage one step further.
pub(super) fn running(
    mut turn: Turn<'_>,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
    step: &Step,
) -> Decision {
    keep_measured(&mut turn, plan);
    crash::count(&mut turn, plan);
    evidence::count(&mut turn);
    if let Some(cause) = judgement(&turn, plan) {
        return rollback::begin(turn, cause, Some(stage));
    }
    // Before anything was asked for there is nothing to give way with: the look before the start sees what became of it.
    if turn.next.progress.asked_at.is_some()
        && let Some(foreign) = turn.external_deployment()
    {
        let detail = format!("deployment {} of {}", foreign.arn.short(), described(foreign));
        return settle::interfered(turn, detail);
    }
    if let Some(cause) = deployment_ended(&turn) {
        return rollback::begin(turn, cause, Some(stage));
    }
    if let Some(detail) = weights::drifted(&turn, plan, stage, since) {
        return rollback::begin(turn, Cause::Weights { detail }, Some(stage));
    }
    let current = &plan.stages[stage];
    let limit = plan.limit_secs(stage);
    if turn.now.duration_since(since).as_secs() >= i64::try_from(limit).unwrap_or(i64::MAX) {
        let too_long = || Cause::TimedOut { stage: current.to_string(), limit_secs: limit };
        let cause = evidence::inconclusive(&turn, plan).unwrap_or_else(too_long);
        return rollback::begin(turn, cause, Some(stage));
    }
    if let Some(unknown) = turn.undescribed_deployment() {
        turn.note(Fact::NotDescribed { deployment: unknown.arn.clone() });
        return turn.wait(RETRY_AFTER, WaitingOn::Description { before: Before::NextStep });
    }
    match current {
        Stage::PinRollbackTarget => match plan.rollback_target.pinned() {
            Some(revision) => register(turn, plan, stage, step, &revision),
            None => advance(turn, plan, stage, StageResult::AlreadyPinned),
        },
        Stage::RegisterTaskDefinition => register(turn, plan, stage, step, &plan.candidate),
        Stage::StartDeployment => start_deployment(turn, plan, stage, step),
        Stage::Shift { percent } => shift(turn, plan, stage, since, step, *percent),
        Stage::Bake { percent, secs } => bake(turn, plan, stage, since, *percent, *secs),
        Stage::Approve { gate } => gates::approve(turn, plan, stage, *gate),
        Stage::Freeze => gates::freeze(turn, plan, stage),
        Stage::Scan => gates::scan(turn, plan, stage, since),
        Stage::Verify { verify } => gates::verify(turn, plan, stage, since, *verify),
        Stage::RollOut => roll_out(turn, plan, stage),
        Stage::Promote => promote(turn, plan, stage, since, step),
    }
}

/// What speaks against continuing: a person's word, an alarm, a refusal of AWS.
fn judgement(turn: &Turn<'_>, plan: &Plan) -> Option<Cause> {
    match &turn.old.request {
        Some(Request::Rollback { by, why }) => {
            return Some(Cause::Requested { by: by.clone(), why: why.clone() });
        }
        Some(Request::Cancel { by, why }) => {
            return Some(Cause::CancelRequested { by: by.clone(), why: why.clone() });
        }
        // One that has baked at 100% is let through: the newer one comes after it anyway.
        Some(Request::Supersede { .. }) if has_baked(turn.old, plan) => {}
        Some(Request::Supersede { by }) => return Some(Cause::Newer { release: by.clone() }),
        None => {}
    }
    if let Some(cause) = breach(turn, plan).filter(|_| is_begun(turn)) {
        return Some(cause);
    }
    if let Some(cause) = crash::cause(turn, plan) {
        return Some(cause);
    }
    turn.seen
        .refused
        .iter()
        .find(|refusal| !is_void(turn, refusal))
        .map(|refusal| Cause::Refused { effect: refusal.effect, error: refusal.error.to_string() })
}

/// Whether a refusal is no failure: the hook that was not continued is seen to wait no more, so an earlier call, whose answer was lost, has
/// done it.
fn is_void(turn: &Turn<'_>, refusal: &Refusal) -> bool {
    let Phase::Running { step: Step::Continued { hook, .. }, .. } = &turn.old.phase else { return false };
    let awaits = |ours: &DeploymentSeen| ours.hooks.iter().any(|seen| seen.id == *hook && seen.awaiting);
    refusal.effect == EffectKind::ContinueHook && turn.our_deployment().is_some_and(|ours| !awaits(ours))
}

/// Whether nothing is left but to terminate the stable version: all traffic has moved and baked.
fn has_baked(release: &Release, plan: &Plan) -> bool {
    let Phase::Running { stage, .. } = &release.phase else { return false };
    plan.stages[*stage..].iter().all(|stage| match stage {
        Stage::Approve { .. } | Stage::Promote => true,
        Stage::PinRollbackTarget
        | Stage::RegisterTaskDefinition
        | Stage::StartDeployment
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. }
        | Stage::RollOut => false,
    })
}

/// Whether something of the candidate may run. Before that an alarm speaks of the version that runs, and holds the start.
fn is_begun(turn: &Turn<'_>) -> bool {
    let asked_for = match (&turn.old.phase, turn.old.stage()) {
        (Phase::Running { step, .. }, Some(Stage::StartDeployment)) => *step != Step::Entered,
        _ => false,
    };
    turn.next.progress.deployment.is_some() || asked_for
}

/// An alarm of the plan that is in ALARM and not silenced, now or in the event that woke us.
fn breach(turn: &Turn<'_>, plan: &Plan) -> Option<Cause> {
    let (seen, alarms) = (turn.seen, &plan.alarms);
    // An event that was delivered late, or again, may tell of what was before the candidate: the alarm was seen OK when it was started.
    let started = turn.our_deployment().map_or(plan.made_at, |ours| ours.created_at.max(plan.made_at));
    let proven_at = started.saturating_sub(CLOCK_SKEW).unwrap_or(started);
    let hinted = seen.hints.iter().filter_map(|hint| match hint {
        crate::observation::Hint::Alarm { name, seen } => {
            seen.since.is_none_or(|since| since >= proven_at).then_some((name, seen))
        }
        crate::observation::Hint::Task(_) | crate::observation::Hint::Look(_) => None,
    });
    let observed = seen.alarms.known().into_iter().flatten();
    hinted.chain(observed).find(|(name, alarm)| alarms.contains(name) && alarm.is_breach()).map(
        |(name, alarm)| Cause::Alarm { alarm: name.clone(), reason: alarm.reason.clone(), at: alarm.since },
    )
}

/// Why the evidence for continuing is not complete; `None` when every alarm is seen to be OK.
fn alarms_missing(seen: &Observation, alarms: &[AlarmName]) -> Option<Missing> {
    if alarms.is_empty() {
        return None;
    }
    if let Some(error) = seen.alarms.error() {
        return Some(Missing::Alarms { error: error.to_string() });
    }
    let known = seen.alarms.known()?;
    let missing = |name: &AlarmName, alarm: &AlarmSeen| match (&alarm.state, &alarm.silenced) {
        (AlarmState::Ok, _) => {
            alarm.unproven.clone().map(|why| Missing::AlarmProof { name: name.clone(), why })
        }
        (AlarmState::Alarm, Some(by)) => Some(Missing::AlarmSilenced { name: name.clone(), by: by.clone() }),
        (AlarmState::Alarm | AlarmState::InsufficientData | AlarmState::Other(_), _) => {
            Some(Missing::AlarmOk { name: name.clone(), state: alarm.state.clone() })
        }
    };
    alarms.iter().find_map(|name| match known.get(name) {
        None => Some(Missing::Alarm { name: name.clone() }),
        Some(alarm) => missing(name, alarm),
    })
}

/// ECS ended or rolled back our deployment by itself.
fn deployment_ended(turn: &Turn<'_>) -> Option<Cause> {
    let ours = turn.our_deployment()?;
    let ended = match &ours.status {
        DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed
        | DeploymentStatus::StopRequested
        | DeploymentStatus::Stopped => true,
        DeploymentStatus::Pending
        | DeploymentStatus::InProgress
        | DeploymentStatus::Successful
        | DeploymentStatus::Other(_) => false,
    };
    ended.then(|| {
        let mut reason = ours.reason.clone().unwrap_or_else(|| ours.status.as_str().to_owned());
        if !ours.triggered_alarms.is_empty() {
            reason = format!("{reason} (alarms seen by ECS: {})", ours.triggered_alarms.join(", "));
        }
        Cause::Deployment { reason }
    })
}

fn described(deployment: &DeploymentSeen) -> String {
    deployment.task_definition.as_ref().map_or("an unknown task definition", |arn| arn.short()).to_owned()
}

/// To the next stage.
pub(super) fn advance(mut turn: Turn<'_>, plan: &Plan, stage: usize, result: StageResult) -> Decision {
    turn.tell(Event::StageDone { stage: plan.stages[stage].clone(), result });
    let Some(next) = plan.stages.get(stage + 1) else { return settle::begin(turn, Outcome::Promoted) };
    let now = turn.now;
    turn.enter(Phase::Running { stage: stage + 1, since: now, step: Step::Entered });
    let delay = SignedDuration::from_secs(i64::from(next.at_least_secs())).min(LOOK_EVERY);
    turn.wait(delay, WaitingOn::Stage { stage: next.clone() })
}

/// Whether the stage's effect should be performed now: never before, or long enough ago without a result.
fn due(step: &Step, now: Timestamp, retry_after: SignedDuration) -> bool {
    match step {
        Step::Entered => true,
        Step::Acted { at } | Step::Continued { at, .. } => now.duration_since(*at) >= retry_after,
    }
}

/// Ensures that a revision is registered, and remembers what it is for.
fn register(
    mut turn: Turn<'_>,
    plan: &Plan,
    stage: usize,
    step: &Step,
    revision: &DerivedRevision,
) -> Decision {
    match turn.seen.revision.known() {
        Some(Some(arn)) => {
            turn.saw(Fact::Registered { task_definition: arn.clone(), revision: revision.to_string() });
            let progress = &mut turn.next.progress;
            let kept = if plan.stages[stage] == Stage::PinRollbackTarget {
                &mut progress.stable
            } else {
                &mut progress.task_definition
            };
            *kept = Some(arn.clone());
            advance(turn, plan, stage, StageResult::Registered)
        }
        Some(None) if due(step, turn.now, RETRY_AFTER) => {
            turn.act(Effect::RegisterTaskDefinition {
                release: turn.old.id.clone(),
                revision: revision.clone(),
            });
            let now = turn.now;
            turn.step(Step::Acted { at: now });
            turn.wait(RETRY_AFTER, WaitingOn::Registration { again: false })
        }
        Some(None) => turn.wait(RETRY_AFTER, WaitingOn::Registration { again: false }),
        None => {
            note_error(&mut turn);
            turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::TaskDefinition })
        }
    }
}

fn note_error(turn: &mut Turn<'_>) {
    let seen = turn.seen;
    let errors = [
        seen.service.error(),
        seen.revision.error(),
        seen.deployments.error(),
        seen.alarms.error(),
        seen.weights.error(),
    ];
    turn.note_unseen(errors.into_iter().flatten());
}

fn start_deployment(mut turn: Turn<'_>, plan: &Plan, stage: usize, step: &Step) -> Decision {
    if let Some(ours) = turn.our_deployment() {
        let found = turn.next.progress.deployment.replace(ours.arn.clone()).is_none();
        if found {
            turn.tell(Event::DeploymentFound { deployment: ours.arn.clone() });
        }
        if !plan.is_held() {
            return advance(turn, plan, stage, StageResult::Replacing);
        }
        if awaiting(&turn, plan, ours, Pause::BeforeShift, &[]).is_some()
            || ours.status == DeploymentStatus::Successful
        {
            return advance(turn, plan, stage, StageResult::CandidateHealthy);
        }
        note_other_pauses(&mut turn, plan, ours);
        let (wanted, running, _) = ours.tasks;
        turn.note(Fact::CandidateTasks { running, wanted });
        return turn.wait(LOOK_SOON, WaitingOn::CandidateTasks);
    }
    let (Some(Some(service)), Some(_)) = (turn.seen.service.known(), turn.seen.deployments.known()) else {
        note_error(&mut turn);
        return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Service });
    };
    if turn.next.progress.asked_at.is_none() {
        match preflight::check_again(plan, &turn.old.intent, turn.seen) {
            Again::AsPlanned => {}
            Again::Changed(changes) => return start::plan_again(turn, plan, stage, &changes),
            Again::CannotSee(errors) => {
                turn.note_unseen(&errors);
                return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::BeforeStart });
            }
        }
    }
    let Some(task_definition) = turn.next.progress.task_definition.clone() else {
        let cause = Cause::Refused {
            effect: EffectKind::StartDeployment,
            error: "no task definition was registered".into(),
        };
        return rollback::begin(turn, cause, Some(stage));
    };
    if service.task_definition != plan.rollback_target.task_definition
        && service.task_definition != task_definition
    {
        let detail = format!(
            "the service runs {} now, not {} as at preflight",
            service.task_definition.short(),
            plan.rollback_target.task_definition.short()
        );
        return settle::interfered(turn, detail);
    }
    if !due(step, turn.now, START_RETRY_AFTER) {
        return turn.wait(RETRY_AFTER, WaitingOn::DeploymentStart);
    }
    // Amazon ECS ignores the alarms of a deployment that starts while one is in ALARM, and nobody could tell whose fault it is.
    if *step == Step::Entered
        && let Some(missing) = alarms_missing(turn.seen, &plan.alarms)
    {
        turn.note(missing.clone());
        return turn.wait(LOOK_SOON, WaitingOn::Held { what: Held::Start, missing });
    }
    let configuration = plan.configuration.clone();
    turn.next.progress.asked_at.get_or_insert(turn.now);
    turn.act(Effect::StartDeployment { target: plan.target.clone(), task_definition, configuration });
    let now = turn.now;
    turn.step(Step::Acted { at: now });
    turn.wait(RETRY_AFTER, WaitingOn::DeploymentStart)
}

fn shift(
    mut turn: Turn<'_>,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
    step: &Step,
    percent: Percent,
) -> Decision {
    let Some(ours) = turn.our_deployment() else {
        note_error(&mut turn);
        return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Deployment });
    };
    match step {
        Step::Continued { hook, at } => continued(turn, plan, stage, ours, hook, *at, percent),
        Step::Entered | Step::Acted { .. } => {
            let used = turn.next.progress.continued.clone();
            let Some(hook) = awaiting(&turn, plan, ours, Pause::BeforeShift, &used) else {
                return not_paused(turn, plan, stage, ours, percent);
            };
            if is_shifted_already(&turn, plan, percent) {
                return continued_elsewhere(turn, plan, stage, percent);
            }
            match held(&turn, plan, stage, since) {
                Some(Hold::Back(detail)) => {
                    return rollback::begin(turn, Cause::Weights { detail }, Some(stage));
                }
                Some(Hold::Wait(delay, missing)) => {
                    turn.note(missing.clone());
                    return turn.wait(delay, WaitingOn::Held { what: Held::Shift, missing });
                }
                None => {}
            }
            let (now, id) = (turn.now, hook.id.clone());
            turn.next.progress.continued.push(id.clone());
            turn.next.progress.set = Some(percent);
            turn.step(Step::Continued { hook: id.clone(), at: now });
            turn.tell(Event::Shifting { percent });
            turn.act(Effect::ContinueHook { deployment: ours.arn.clone(), hook: id });
            turn.wait(RETRY_AFTER, WaitingOn::Shift { percent })
        }
    }
}

/// What keeps a deployment at its pause.
enum Hold {
    /// Something is missing, or may only be late.
    Wait(SignedDuration, Missing),
    /// The weights are not what was set.
    Back(String),
}

/// What must be seen before a deployment of ours is continued, whatever the stage: every alarm OK, and the weights as they were set.
/// `since` is when they were set at the latest.
fn held(turn: &Turn<'_>, plan: &Plan, stage: usize, since: Timestamp) -> Option<Hold> {
    if turn.now.duration_since(turn.seen.at) > LOOK_HOLDS {
        return Some(Hold::Wait(SignedDuration::ZERO, Missing::FreshLook));
    }
    if let Some(missing) = alarms_missing(turn.seen, &plan.alarms) {
        return Some(Hold::Wait(LOOK_SOON, missing));
    }
    match weights::compare(plan, turn.seen, weights::share_before(plan, stage)) {
        Weights::AsSet => None,
        Weights::Unseen(why) => Some(Hold::Wait(LOOK_SOON, Missing::Weights { why })),
        Weights::Differ(_) if turn.now.duration_since(since) < DRIFT_TOLERANCE => {
            Some(Hold::Wait(RETRY_AFTER, Missing::WeightsShown { detail: None }))
        }
        Weights::Differ(detail) => Some(Hold::Back(detail)),
    }
}

/// The deployment waits at none of our pauses: still on its way there, or someone continued it by hand.
fn not_paused(
    mut turn: Turn<'_>,
    plan: &Plan,
    stage: usize,
    ours: &DeploymentSeen,
    percent: Percent,
) -> Decision {
    let passed = awaiting(&turn, plan, ours, Pause::BeforePromotion, &[]).is_some()
        || ours.status == DeploymentStatus::Successful;
    let shows = |weight| weights::compare(plan, turn.seen, weight) == Weights::AsSet;
    if passed || ours.weight.is_some_and(|weight| weight >= percent && shows(weight)) {
        return continued_elsewhere(turn, plan, stage, percent);
    }
    note_other_pauses(&mut turn, plan, ours);
    let stage = ours.stage.clone().unwrap_or_else(|| ours.status.as_str().to_owned());
    turn.note(Fact::DeploymentStage { stage });
    turn.wait(LOOK_SOON, WaitingOn::Pause { percent })
}

/// Whether the load balancers show this stage's share although we did not continue it: then the pause that waits is the next one's.
fn is_shifted_already(turn: &Turn<'_>, plan: &Plan, percent: Percent) -> bool {
    let before = turn.next.progress.set.unwrap_or(Percent::NONE);
    // Rounded weights of one step can look like those of the next; ECS says which it is at.
    let denied = turn.our_deployment().and_then(|ours| ours.weight).is_some_and(|weight| weight < percent);
    !denied
        && !plan.measured_at.is_empty()
        && before < percent
        && weights::compare(plan, turn.seen, percent) == Weights::AsSet
}

fn continued_elsewhere(mut turn: Turn<'_>, plan: &Plan, stage: usize, percent: Percent) -> Decision {
    turn.next.progress.set = Some(percent);
    turn.by(Actor::Person { name: "someone outside Tidegate".into() });
    advance(turn, plan, stage, StageResult::ContinuedElsewhere)
}

/// The pause was ended by us: wait until ECS has moved the traffic, and see it on the load balancer.
fn continued(
    mut turn: Turn<'_>,
    plan: &Plan,
    stage: usize,
    ours: &DeploymentSeen,
    hook: &HookId,
    at: Timestamp,
    percent: Percent,
) -> Decision {
    let still = ours.hooks.iter().any(|seen| seen.id == *hook && seen.awaiting);
    if still {
        let moved =
            !plan.measured_at.is_empty() && weights::compare(plan, turn.seen, percent) == Weights::AsSet;
        if moved || turn.now.duration_since(at) < RETRY_AFTER {
            return turn.wait(RETRY_AFTER, WaitingOn::Shift { percent });
        }
        match held(&turn, plan, stage, at) {
            Some(Hold::Back(detail)) => {
                return rollback::begin(turn, Cause::Weights { detail }, Some(stage));
            }
            Some(Hold::Wait(delay, missing)) => {
                turn.note(missing.clone());
                return turn.wait(delay, WaitingOn::Held { what: Held::Shift, missing });
            }
            None => {}
        }
        let now = turn.now;
        turn.act(Effect::ContinueHook { deployment: ours.arn.clone(), hook: hook.clone() });
        turn.step(Step::Continued { hook: hook.clone(), at: now });
        return turn.wait(RETRY_AFTER, WaitingOn::ContinuedAgain);
    }
    let used = turn.next.progress.continued.clone();
    let next_pause = if percent == Percent::ALL { Pause::BeforePromotion } else { Pause::BeforeShift };
    let arrived = awaiting(&turn, plan, ours, next_pause, &used).is_some()
        || ours.status == DeploymentStatus::Successful;
    if !arrived {
        note_other_pauses(&mut turn, plan, ours);
        return turn.wait(LOOK_SOON, WaitingOn::Shift { percent });
    }
    match weights::compare(plan, turn.seen, percent) {
        Weights::Unseen(why) => {
            turn.note(Missing::Weights { why });
            turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Weights })
        }
        Weights::AsSet => {
            let measured = turn.next.progress.measured;
            turn.saw(Fact::Weights { set: percent, measured });
            advance(turn, plan, stage, StageResult::Shifted { percent })
        }
        Weights::Differ(_) if turn.now.duration_since(at) < DRIFT_TOLERANCE => {
            turn.wait(RETRY_AFTER, WaitingOn::WeightsShown)
        }
        Weights::Differ(detail) => rollback::begin(turn, Cause::Weights { detail }, Some(stage)),
    }
}

fn bake(
    mut turn: Turn<'_>,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
    percent: Percent,
    secs: u32,
) -> Decision {
    let end = since.saturating_add(SignedDuration::from_secs(i64::from(secs))).unwrap_or(since);
    let weights = || match weights::compare(plan, turn.seen, percent) {
        Weights::AsSet => None,
        Weights::Unseen(why) => Some(Missing::Weights { why }),
        Weights::Differ(detail) => Some(Missing::WeightsShown { detail: Some(detail) }),
    };
    let missing: Vec<Missing> =
        [alarms_missing(turn.seen, &plan.alarms).or_else(weights), evidence::missing(&turn)]
            .into_iter()
            .flatten()
            .collect();
    for missing in &missing {
        turn.note(missing.clone());
    }
    let missing = missing.into_iter().next();
    // The look itself must be from after the end, so that the whole bake was watched.
    if turn.seen.at < end {
        let next_look = turn.now.saturating_add(LOOK_EVERY).unwrap_or(end).min(end);
        return turn.wait_until(next_look, WaitingOn::Bake { percent, until: end, missing });
    }
    if let Some(cause) = evidence::inconclusive(&turn, plan) {
        return rollback::begin(turn, cause, Some(stage));
    }
    match missing {
        None => {
            let requests = evidence::counted(&turn);
            advance(turn, plan, stage, StageResult::Baked { percent, secs, requests })
        }
        Some(missing) => turn.wait(LOOK_SOON, WaitingOn::Held { what: Held::BakeEnd, missing }),
    }
}

fn roll_out(mut turn: Turn<'_>, plan: &Plan, stage: usize) -> Decision {
    let Some(ours) = turn.our_deployment() else {
        note_error(&mut turn);
        return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Deployment });
    };
    if ours.status == DeploymentStatus::Successful {
        // With early success criteria a deployment is SUCCESSFUL while tasks of the version before still serve traffic.
        let Some(Some(service)) = turn.seen.service.known() else {
            note_error(&mut turn);
            return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Service });
        };
        if !service.is_all_replaced() {
            turn.note(Fact::EarlierTasks {
                running: service.running,
                wanted: service.desired,
                earlier: service.other_tasks,
            });
            return turn.wait(LOOK_SOON, WaitingOn::TasksReplaced { last: true });
        }
        turn.next.progress.set = Some(Percent::ALL);
        return advance(turn, plan, stage, StageResult::Replaced);
    }
    let (wanted, running, _) = ours.tasks;
    turn.note(Fact::CandidateTasks { running, wanted });
    turn.wait(LOOK_SOON, WaitingOn::TasksReplaced { last: false })
}

fn promote(mut turn: Turn<'_>, plan: &Plan, stage: usize, since: Timestamp, step: &Step) -> Decision {
    let Some(ours) = turn.our_deployment() else {
        note_error(&mut turn);
        return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Deployment });
    };
    if ours.status == DeploymentStatus::Successful {
        return advance(turn, plan, stage, StageResult::Completed);
    }
    let waiting = awaiting(&turn, plan, ours, Pause::BeforePromotion, &[]);
    match waiting {
        Some(hook) if due(step, turn.now, RETRY_AFTER) => {
            match held(&turn, plan, stage, since) {
                Some(Hold::Back(detail)) => {
                    return rollback::begin(turn, Cause::Weights { detail }, Some(stage));
                }
                Some(Hold::Wait(delay, missing)) => {
                    turn.note(missing.clone());
                    return turn.wait(delay, WaitingOn::Held { what: Held::Promotion, missing });
                }
                None => {}
            }
            let (now, id) = (turn.now, hook.id.clone());
            if !turn.next.progress.continued.contains(&id) {
                turn.next.progress.continued.push(id.clone());
            }
            turn.step(Step::Continued { hook: id.clone(), at: now });
            turn.tell(Event::Promoting);
            turn.act(Effect::ContinueHook { deployment: ours.arn.clone(), hook: id });
            turn.wait(RETRY_AFTER, WaitingOn::Promotion)
        }
        Some(_) | None => turn.wait(LOOK_SOON, WaitingOn::Promotion),
    }
}
