//! The end: the target is left as it was found, stale executors are waited out, and only what is then seen counts.

use jiff::{SignedDuration, Timestamp};

use super::{Flow, rollback, wait};
use crate::effect::{RETRY_AFTER, SETTLE};
use crate::engine::{self, Comparison, Settle};
use crate::history::{Event, Unseen, WaitingOn};
use crate::intent::{Intent, Request};
use crate::outcome::{Cause, Outcome};
use crate::plan::Plan;
use crate::release::{Phase, Wake};
use crate::service::{Promoted, Quarantined, ServiceRecord};
use crate::turn::{LAG, LOOK_SOON, Turn};

/// How long settling may take before a person is called.
pub(super) const LIMIT: SignedDuration = SignedDuration::from_mins(30);

/// What a release settles as, since when, and when the stable version was seen to carry all traffic again.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) outcome: Outcome,
    pub(super) since: Timestamp,
    pub(super) restored_at: Option<Timestamp>,
}

impl Settling {
    fn is_late(&self, turn: &Turn<'_>) -> bool {
        turn.now.duration_since(self.since) >= LIMIT
    }
}

/// Goes into settling.
pub(super) fn begin(turn: &mut Turn<'_>, outcome: Outcome) -> Flow {
    // Where the share is measured, the moment the traffic was back was seen; otherwise it is this.
    let unmeasured = turn.old.plan.as_ref().is_some_and(|plan| !engine::of(plan).is_measured());
    let restored_at = turn
        .next
        .phase
        .rolling_back()
        .and_then(|back| back.restored_at.or_else(|| unmeasured.then_some(turn.seen.at)));
    let since = turn.now;
    turn.tell(Event::Settling { outcome: Box::new(outcome.clone()) });
    turn.enter(Phase::Settling { outcome, since, restored_at });
    Flow::Next
}

/// Someone else deployed: nothing is fought over, only our own traces are removed.
pub(super) fn give_way(turn: &mut Turn<'_>, detail: String) -> Flow {
    let cause = Cause::ExternalDeployment { detail };
    turn.tell(Event::GivingWay { cause: Box::new(cause.clone()) });
    let needs = "see who deployed and whether what runs now is meant to; then release again".to_owned();
    begin(turn, Outcome::Failed { cause, needs })
}

/// One step further to the end.
pub(super) fn settling(turn: &mut Turn<'_>, settling: Settling) -> Flow {
    let Some(plan) = turn.old.plan.as_ref() else {
        return end(turn, settling.outcome, settling.restored_at);
    };
    if settling.outcome == Outcome::Promoted
        && let Some(cause) = asked_back(turn.old.request.as_ref())
    {
        return rollback::begin(turn, cause, None);
    }
    if turn.next.progress.asked_at.is_none() {
        // Nothing of the target was changed: whatever it is by now is not ours to restore.
        return wait_out(turn, plan, settling);
    }
    match engine::of(plan).settle(turn, plan, &settling.outcome, settling.is_late(turn), settling.since) {
        Settle::Done => wait_out(turn, plan, settling),
        Settle::Wait(delay, waiting_on) => wait(turn, delay, waiting_on),
        Settle::Until(waiting_on) => past_limit(turn, settling, waiting_on),
        Settle::RollBack(cause) => rollback::begin(turn, cause, None),
        Settle::Yield(detail) => give_way(turn, detail),
    }
}

/// A person's word still counts while a promoted release settles. A newer release only waits: its turn comes next.
fn asked_back(request: Option<&Request>) -> Option<Cause> {
    match request? {
        Request::Rollback { by, why } => Some(Cause::Requested { by: by.clone(), why: why.clone() }),
        Request::Cancel { by, why } => Some(Cause::CancelRequested { by: by.clone(), why: why.clone() }),
        Request::Supersede { .. } => None,
    }
}

/// Ends once a stale executor can no longer act and what is seen was seen after that.
fn wait_out(turn: &mut Turn<'_>, plan: &Plan, settling: Settling) -> Flow {
    let safe = turn.next.acted_at.map(|at| at.saturating_add(SETTLE).unwrap_or(at));
    match safe {
        Some(safe) if turn.seen.at < safe => {
            Flow::Rest(Wake::soon(safe), WaitingOn::InFlightCalls { until: safe })
        }
        Some(_) | None => last_look(turn, plan, settling),
    }
}

/// What a release ends as is what was seen to run, image by image.
fn last_look(turn: &mut Turn<'_>, plan: &Plan, settling: Settling) -> Flow {
    if matches!(settling.outcome, Outcome::Failed { .. }) {
        // A person looks anyway.
        return end(turn, settling.outcome, settling.restored_at);
    }
    if let Some(theirs) = engine::of(plan).deployed_meanwhile(turn) {
        turn.saw(theirs);
        return end(turn, settling.outcome, settling.restored_at);
    }
    let promoted = settling.outcome == Outcome::Promoted;
    let detail = match engine::of(plan).compare_images(turn, plan, promoted) {
        Comparison::Same => return end(turn, settling.outcome, settling.restored_at),
        Comparison::Unknown(why) if !settling.is_late(turn) => {
            return wait(turn, LOOK_SOON, WaitingOn::Images { detail: why });
        }
        Comparison::Differs(detail) if turn.seen.at.duration_since(settling.since) < LAG => {
            return wait(turn, RETRY_AFTER, WaitingOn::Images { detail });
        }
        Comparison::Unknown(detail) | Comparison::Differs(detail) => detail,
    };
    if !promoted && engine::of(plan).correct(turn, &detail) {
        return rollback::begin(turn, settling.outcome.into_cause(detail), None);
    }
    let needs = engine::of(plan).other_images(turn, plan, &detail);
    let cause = match settling.outcome {
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => cause,
        Outcome::Promoted | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => {
            Cause::Images { detail }
        }
    };
    end(turn, Outcome::Failed { cause, needs }, settling.restored_at)
}

fn past_limit(turn: &mut Turn<'_>, settling: Settling, waiting_on: WaitingOn) -> Flow {
    if !settling.is_late(turn) {
        return wait(turn, LOOK_SOON, waiting_on);
    }
    let too_long = Cause::TimedOut {
        stage: format!("settling, to be {}", settling.outcome.word()),
        limit_secs: LIMIT.as_secs().unsigned_abs(),
    };
    let cause = match settling.outcome {
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => cause,
        Outcome::Promoted | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => too_long,
    };
    let needs = match turn.old.plan.as_ref() {
        Some(plan) => engine::of(plan).settle_by_hand(&waiting_on),
        None => waiting_on.to_string(),
    };
    end(turn, Outcome::Failed { cause, needs }, settling.restored_at)
}

/// Ends the release and frees the service for the next.
pub(super) fn end(turn: &mut Turn<'_>, outcome: Outcome, restored_at: Option<Timestamp>) -> Flow {
    let Some(head) = &turn.seen.head else {
        // It has not ended yet. What led here has happened and stays told.
        return wait(turn, LOOK_SOON, WaitingOn::Look { unseen: Unseen::ServiceRecord });
    };
    let mut head = ServiceRecord { version: head.version + 1, ..head.clone() };
    if head.active.as_ref() == Some(&turn.old.id) {
        head.active = None;
        head.open = None;
    }
    remember(&mut head, turn, &outcome);
    if let Some(plan) = &turn.old.plan {
        head.left_behind = engine::of(plan).left_behind(turn, head.left_behind);
    }
    let restore_pending = turn.next.progress.restore_pending.clone().filter(|_| outcome == Outcome::Promoted);
    turn.conclude(Event::Ended { outcome: Box::new(outcome.clone()), restore_pending });
    turn.head = Some(head);
    let at = turn.now;
    turn.enter(Phase::Ended { outcome, at, restored_at });
    Flow::Over
}

/// What the service keeps of a release that ended: where to go back to, and what not to release again.
fn remember(head: &mut ServiceRecord, turn: &Turn<'_>, outcome: &Outcome) {
    let release = turn.old;
    match outcome {
        Outcome::Promoted => {
            let deployed = release.plan.as_ref().and_then(|plan| engine::of(plan).deployed(turn));
            if let Some(deployed) = deployed {
                let promoted = Promoted {
                    release: release.id.clone(),
                    change: release.change.clone(),
                    deployed,
                    at: turn.now,
                };
                head.promoted.insert(0, promoted);
                head.promoted.truncate(ServiceRecord::PROMOTED_KEPT);
            }
        }
        // What is gone back to was good before; that going back did not work says nothing against it. What a drill brings runs already.
        Outcome::RolledBack { .. } if release.intent != Intent::Deploy => {}
        // A person has to end the rollback; the digest is no better for that.
        Outcome::Failed { cause, .. } if !speaks_against_image(cause) || release.intent != Intent::Deploy => {
        }
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => {
            let entry = Quarantined { release: release.id.clone(), why: cause.to_string(), at: turn.now };
            // Which of several is at fault cannot be known, so none of them is released again by itself.
            for digest in release.change.digests() {
                head.quarantine.insert(digest.clone(), entry.clone());
            }
            while head.quarantine.len() > ServiceRecord::QUARANTINE_KEPT {
                let oldest = head
                    .quarantine
                    .iter()
                    .min_by_key(|(_, entry)| entry.at)
                    .map(|(digest, _)| digest.clone());
                let Some(oldest) = oldest else { break };
                head.quarantine.remove(&oldest);
            }
        }
        Outcome::Superseded { .. } | Outcome::Cancelled { .. } => {}
    }
}

/// Whether a failure for this cause is one of what was released, rather than of how or where.
fn speaks_against_image(cause: &Cause) -> bool {
    match cause {
        Cause::Alarm { .. }
        | Cause::Deployment { .. }
        | Cause::Candidate { .. }
        | Cause::FailedTasks { .. }
        | Cause::Regression { .. }
        | Cause::Limit { .. }
        | Cause::Requested { .. }
        | Cause::Rejected { .. }
        | Cause::Gate { .. } => true,
        Cause::CancelRequested { .. }
        | Cause::Newer { .. }
        | Cause::Refused { .. }
        | Cause::Inconclusive { .. }
        | Cause::TimedOut { .. }
        | Cause::Drill
        | Cause::PauseExpired { .. }
        | Cause::Weights { .. }
        | Cause::Preflight { .. }
        | Cause::ExternalDeployment { .. }
        | Cause::Images { .. } => false,
    }
}
