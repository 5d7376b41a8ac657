//! The stages of a plan: judged first, then taken one step further. What a step does is the engine's; whether it may is decided here.

use jiff::{SignedDuration, Timestamp};

use super::evidence::Hold;
use super::{Flow, evidence, gates, keep_measured, look_until, rollback, settle, start, wait};
use crate::effect::RETRY_AFTER;
use crate::engine::{self, Act, Move, Traffic};
use crate::history::{Event, Held, Missing, StageResult, WaitingOn};
use crate::intent::{Intent, Pause, Request};
use crate::outcome::{Cause, Outcome};
use crate::plan::{Plan, Stage};
use crate::policy::Percent;
use crate::release::{Phase, Release, Step};
use crate::turn::{LOOK_EVERY, LOOK_SOON, Turn};

/// Judges first; then takes the stage one step further.
pub(super) fn running(turn: &mut Turn<'_>, plan: &Plan, stage: usize, since: Timestamp, step: &Step) -> Flow {
    keep_measured(turn, plan);
    engine::of(plan).learn(turn, plan);
    evidence::count(turn);
    if let Some(cause) = judgement(turn, plan) {
        evidence::tell_counted(turn, plan);
        return rollback::begin(turn, cause, Some(stage));
    }
    evidence::note_counted(turn, plan);
    match engine::of(plan).watch(turn, plan, stage, since) {
        Some(engine::Trouble::Fail(cause)) => return rollback::begin(turn, cause, Some(stage)),
        Some(engine::Trouble::Yield(detail)) => return settle::give_way(turn, detail),
        None => {}
    }
    if let Some(pause) = &turn.old.pause {
        return paused(turn, plan, stage, pause);
    }
    let limit = plan.limit_secs(stage);
    if turn.now.duration_since(since).as_secs() >= i64::try_from(limit).unwrap_or(i64::MAX) {
        let too_long = || Cause::TimedOut { stage: plan.stages[stage].to_string(), limit_secs: limit };
        let cause = evidence::inconclusive(turn).unwrap_or_else(too_long);
        return rollback::begin(turn, cause, Some(stage));
    }
    if let Some(waiting_on) = engine::of(plan).unclear(turn) {
        return wait(turn, RETRY_AFTER, waiting_on);
    }
    if let Some(next) = engine::of(plan).repair(turn) {
        return take(turn, plan, stage, next);
    }
    match &plan.stages[stage] {
        Stage::Bake { percent, secs } => bake(turn, plan, stage, since, *percent, *secs),
        Stage::Approve { gate } => gates::approve(turn, plan, stage, *gate),
        Stage::Freeze => gates::freeze(turn, plan, stage),
        Stage::Scan => gates::scan(turn, plan, stage, since),
        Stage::Verify { verify } => gates::verify(turn, plan, stage, since, *verify),
        Stage::Prepare { .. } | Stage::Start | Stage::Shift { .. } | Stage::RollOut | Stage::Promote => {
            let next = engine::of(plan).step(turn, plan, stage, since, step);
            take(turn, plan, stage, next)
        }
    }
}

/// A person holds the release: it is judged as ever, what was set stays set, and nothing else happens before it is continued.
fn paused(turn: &mut Turn<'_>, plan: &Plan, stage: usize, pause: &Pause) -> Flow {
    if turn.now >= pause.until {
        let cause = Cause::PauseExpired { by: pause.by.clone(), limit_secs: plan.pause_secs };
        return rollback::begin(turn, cause, Some(stage));
    }
    if let Some(next) = engine::of(plan).repair(turn) {
        return take(turn, plan, stage, next);
    }
    if let Some(missing) = evidence::alarms_missing(turn.seen, &plan.alarms) {
        turn.note(missing);
    }
    let (by, why, until) = (pause.by.clone(), pause.why.clone(), pause.until);
    Flow::Rest(look_until(turn, LOOK_EVERY, until), WaitingOn::Paused { by, why, until })
}

/// Does what the engine would do next, if it may.
fn take(turn: &mut Turn<'_>, plan: &Plan, stage: usize, next: Move) -> Flow {
    match next {
        Move::Done(result) => advance(turn, plan, stage, result),
        Move::Wait(delay, waiting_on) => wait(turn, delay, waiting_on),
        Move::Act(act) => perform(turn, plan, stage, *act),
        Move::Fail(cause) => rollback::begin(turn, cause, Some(stage)),
        Move::Yield(detail) => settle::give_way(turn, detail),
        Move::Replan(changes) => start::plan_again(turn, plan, stage, &changes),
    }
}

/// Performs what the engine would do, once what has to be proven before it is seen. Until then nothing of it has happened.
fn perform(turn: &mut Turn<'_>, plan: &Plan, stage: usize, act: Act) -> Flow {
    if let Some(proof) = &act.proof {
        match evidence::held(turn, plan, stage, proof) {
            Some(Hold::Back(detail)) => {
                return rollback::begin(turn, Cause::Weights { detail }, Some(stage));
            }
            Some(Hold::Wait(delay, missing)) => {
                turn.note(missing.clone());
                return wait(turn, delay, WaitingOn::Held { what: proof.what, missing });
            }
            None => {}
        }
    }
    turn.next.progress = act.progress;
    if let Some(event) = act.event {
        turn.tell(event);
    }
    for effect in act.effects {
        turn.act(effect);
    }
    let at = turn.now;
    turn.step(Step::Acted { at });
    wait(turn, RETRY_AFTER, act.waiting_on)
}

/// What speaks against continuing: a person's word, an alarm, failed tasks, a refusal.
fn judgement(turn: &mut Turn<'_>, plan: &Plan) -> Option<Cause> {
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
    if let Some(cause) = evidence::breach(turn, plan).filter(|_| is_begun(turn)) {
        return Some(cause);
    }
    if let Some(cause) = evidence::failed_tasks(turn, plan) {
        return Some(cause);
    }
    if let Some(cause) = evidence::worse(turn, plan) {
        return Some(cause);
    }
    turn.seen
        .refused
        .iter()
        .find(|refusal| !engine::of(plan).is_void(turn, refusal))
        .map(|refusal| Cause::Refused { effect: refusal.effect, error: refusal.error.to_string() })
}

/// Whether nothing is left but to terminate the stable version: all traffic has moved and baked.
fn has_baked(release: &Release, plan: &Plan) -> bool {
    let Phase::Running { stage, .. } = &release.phase else { return false };
    plan.stages[*stage..].iter().all(|stage| match stage {
        Stage::Approve { .. } | Stage::Promote => true,
        Stage::Prepare { .. }
        | Stage::Start
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
        (Phase::Running { step, .. }, Some(Stage::Start)) => *step != Step::Entered,
        _ => false,
    };
    turn.next.is_started() || asked_for
}

/// To the next stage.
pub(super) fn advance(turn: &mut Turn<'_>, plan: &Plan, stage: usize, result: StageResult) -> Flow {
    turn.tell(Event::StageDone { stage: plan.stages[stage].clone(), result });
    if turn.old.intent == Intent::Drill && is_as_far_as_a_drill_goes(plan, stage) {
        return rollback::begin(turn, Cause::Drill, Some(stage));
    }
    let Some(next) = plan.stages.get(stage + 1) else { return settle::begin(turn, Outcome::Promoted) };
    let now = turn.now;
    turn.enter(Phase::Running { stage: stage + 1, since: now, step: Step::Entered });
    if let Some(flow) = acts_at_once(turn, plan, stage) {
        return flow;
    }
    let least = if turn.old.promote_now.is_some() { 0 } else { next.at_least_secs() };
    let end = now.saturating_add(SignedDuration::from_secs(i64::from(least))).unwrap_or(now);
    Flow::Rest(look_until(turn, evidence::look_every(plan), end), WaitingOn::Stage { stage: next.clone() })
}

/// A drill shows that the first step can be taken back. It goes no further: where nothing bakes, it ends before the stable version would.
fn is_as_far_as_a_drill_goes(plan: &Plan, stage: usize) -> bool {
    let baked = matches!(plan.stages[stage], Stage::Bake { .. });
    let last = plan.stages[stage + 1..].iter().all(|it| matches!(it, Stage::Promote | Stage::Approve { .. }));
    baked || last
}

/// A stage's end and what follows are one decision, if that needs to see nothing more than the look that ended the stage. Whatever does not act
/// at once is looked at anew, and nothing of it is kept: stages are taken one at a time.
fn acts_at_once(turn: &mut Turn<'_>, plan: &Plan, stage: usize) -> Option<Flow> {
    let acts = matches!(
        (&plan.stages[stage], &plan.stages[stage + 1]),
        (Stage::Bake { .. }, Stage::Shift { .. } | Stage::Promote) | (Stage::Prepare { .. }, Stage::Start)
    );
    if !acts || !has_seen_enough(turn) {
        return None;
    }
    let mut ahead = turn.clone();
    let next = engine::of(plan).step(&mut ahead, plan, stage + 1, turn.now, &Step::Entered);
    let Move::Act(act) = next else { return None };
    let flow = perform(&mut ahead, plan, stage + 1, *act);
    if ahead.effects.is_empty() {
        return None;
    }
    *turn = ahead;
    Some(flow)
}

/// Whether the look was asked for everything that the stage which has just begun needs to see.
fn has_seen_enough(turn: &Turn<'_>) -> bool {
    let asked = super::needs(turn.old, turn.seen);
    super::needs(&turn.next, turn.seen).without(&asked).is_empty()
}

fn bake(
    turn: &mut Turn<'_>,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
    percent: Percent,
    secs: u32,
) -> Flow {
    let end = bake_end(turn.old, since, secs);
    let traffic = || match engine::of(plan).traffic(&turn.next, turn.seen, percent) {
        Traffic::AsSet => None,
        Traffic::Unseen(why) => Some(Missing::Weights { why }),
        Traffic::Differs(detail) => Some(Missing::WeightsShown { detail: Some(detail) }),
    };
    let missing: Vec<Missing> =
        [evidence::alarms_missing(turn.seen, &plan.alarms).or_else(traffic), evidence::missing(turn)]
            .into_iter()
            .flatten()
            .collect();
    for missing in &missing {
        turn.note(missing.clone());
    }
    let missing = missing.into_iter().next();
    // The look itself must be from after the end, so that the whole bake was watched.
    if turn.seen.at < end {
        return Flow::Rest(
            look_until(turn, evidence::look_every(plan), end),
            WaitingOn::Bake { percent, until: end, missing },
        );
    }
    if let Some(cause) = evidence::inconclusive(turn) {
        return rollback::begin(turn, cause, Some(stage));
    }
    match missing {
        None => {
            let requests = evidence::counted(turn);
            evidence::tell_counted(turn, plan);
            advance(turn, plan, stage, baked(turn.now, since, Bake { percent, secs, requests }))
        }
        Some(missing) => wait(turn, LOOK_SOON, WaitingOn::Held { what: Held::BakeEnd, missing }),
    }
}

/// When the bake is over by its time, or because a person does not wait for that. A look from before they said so does not count.
fn bake_end(release: &Release, since: Timestamp, secs: u32) -> Timestamp {
    let end = since.saturating_add(SignedDuration::from_secs(i64::from(secs))).unwrap_or(since);
    release.promote_now.as_ref().map_or(end, |now| now.at.max(since).min(end))
}

/// What a bake has come to.
struct Bake {
    percent: Percent,
    secs: u32,
    requests: Option<u64>,
}

fn baked(now: Timestamp, since: Timestamp, bake: Bake) -> StageResult {
    let Bake { percent, secs, requests } = bake;
    let after_secs = u32::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
    if after_secs < secs {
        return StageResult::BakeSkipped { percent, after_secs, requests };
    }
    StageResult::Baked { percent, secs, requests }
}
