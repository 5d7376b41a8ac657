//! Rolling back: traffic first, everything else after. Never held by anything that could not be seen.

use jiff::{SignedDuration, Timestamp};

use super::{Flow, keep_measured, settle, wait};
use crate::actor::Actor;
use crate::engine::{self, Back, Traffic};
use crate::history::Event;
use crate::outcome::{Cause, Outcome};
use crate::plan::Plan;
use crate::policy::Percent;
use crate::release::{Phase, RollingBack};
use crate::turn::Turn;

/// How long a rollback may take before a person is called. A Network Load Balancer alone adds ten minutes to a shift.
pub(super) const LIMIT: SignedDuration = SignedDuration::from_hours(2);
/// How long a refused rollback is tried again before a person is called.
const REFUSED_LIMIT: SignedDuration = SignedDuration::from_mins(15);

/// Rolls a release back: the change and the first effect are one decision, so that not a second is lost.
pub(super) fn begin(turn: &mut Turn<'_>, cause: Cause, stage: Option<usize>) -> Flow {
    let now = turn.now;
    if let Cause::Requested { by, .. } | Cause::CancelRequested { by, .. } = &cause {
        turn.by(by.clone());
    }
    turn.tell(Event::RollingBack { cause: Box::new(cause.clone()) });
    turn.next.request = None;
    // Whatever was decided before may still be under way in a stalled executor: settling counts from here.
    turn.next.acted_at = Some(now);
    if let Some(plan) = turn.old.plan.as_ref() {
        engine::of(plan).begin_rollback(turn);
    }
    turn.enter(Phase::RollingBack(RollingBack::new(cause, now, stage)));
    Flow::Next
}

/// One step further back.
pub(super) fn rolling_back(turn: &mut Turn<'_>, back: &RollingBack) -> Flow {
    let cause = &back.cause;
    let Some(plan) = turn.old.plan.as_ref() else {
        return settle::begin(turn, outcome(cause, false));
    };
    note_restored(turn, plan, back.restored_at);
    turn.note_refusals();
    let spent = turn.now.duration_since(back.since);
    let refused_for_long =
        !turn.seen.refused.is_empty() && spent >= REFUSED_LIMIT && !engine::of(plan).has_another_way(turn);
    if spent >= LIMIT || refused_for_long {
        let needs = engine::of(plan).roll_back_by_hand(turn, plan);
        turn.tell(Event::RollbackFailed { needs: needs.clone() });
        return settle::begin(turn, Outcome::Failed { cause: cause.clone(), needs });
    }
    match engine::of(plan).roll_back(turn, plan, back) {
        Back::Done { started } => settle::begin(turn, outcome(cause, started)),
        Back::Wait(delay, waiting_on) => wait(turn, delay, waiting_on),
        Back::Call(needs) => settle::begin(turn, Outcome::Failed { cause: cause.clone(), needs }),
        Back::Yield(detail) => settle::give_way(turn, detail),
    }
}

fn note_restored(turn: &mut Turn<'_>, plan: &Plan, restored_at: Option<Timestamp>) {
    keep_measured(turn, plan);
    let back = engine::of(plan).is_measured()
        && engine::of(plan).traffic(&turn.next, turn.seen, Percent::NONE) == Traffic::AsSet;
    // Only what is seen after the decision to roll back counts; the look may be older than that.
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

/// What a release that is rolled back for this cause ends as. `started`: whether a deployment was ever under way.
fn outcome(cause: &Cause, started: bool) -> Outcome {
    match cause {
        Cause::CancelRequested { by, why } => Outcome::Cancelled { by: by.clone(), why: why.clone() },
        Cause::Rejected { by, why } if !started => Outcome::Cancelled { by: by.clone(), why: format!("rejected: {why}") },
        Cause::Gate { gate, detail } if !started => Outcome::Cancelled { by: Actor::Tidegate, why: format!("{gate}: {detail}") },
        Cause::PauseExpired { .. } if !started => {
            Outcome::Cancelled { by: Actor::Tidegate, why: cause.to_string() }
        }
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
            needs: "nothing was changed on the service; fix what was refused or what took too long, then release again".into(),
        },
        Cause::Alarm { .. }
        | Cause::Deployment { .. }
        | Cause::Candidate { .. }
        | Cause::Requested { .. }
        | Cause::Drill
        | Cause::Refused { .. }
        | Cause::FailedTasks { .. }
        | Cause::Inconclusive { .. }
        | Cause::Regression { .. }
        | Cause::Limit { .. }
        | Cause::TimedOut { .. }
        | Cause::PauseExpired { .. }
        | Cause::Weights { .. }
        | Cause::Preflight { .. }
        | Cause::Rejected { .. }
        | Cause::Gate { .. }
        | Cause::ExternalDeployment { .. }
        | Cause::Images { .. } => Outcome::RolledBack { cause: cause.clone() },
    }
}
