//! Before the first stage: waiting for the release before it, then proving the way forward and back.

use jiff::{SignedDuration, Timestamp};

use super::{Flow, rollback, settle, wait};
use crate::actor::Actor;
use crate::change::Change;
use crate::engine::{self, Preflight};
use crate::fault::PortError;
use crate::finding::{Finding, FindingCode};
use crate::history::{Event, Fact, Unseen, WaitingOn};
use crate::intent::Request;
use crate::outcome::{Cause, Outcome, Successor};
use crate::plan::Plan;
use crate::release::{Phase, Progress, Release, Step};
use crate::service::ServiceRecord;
use crate::turn::{LOOK_SOON, Turn};

/// How often a waiting release looks whether it is its turn, even if the one before it says nothing.
const QUEUE_LOOK_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How long findings that may pass by themselves (an alarm still in ALARM from the release before, a service still settling) are waited for.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// How often a plan is made anew before a person has to see what is happening.
const REPLANS_MAX: u32 = 3;

/// Waits for its turn, and takes it.
pub(super) fn queued(turn: &mut Turn<'_>) -> Flow {
    let Some(head) = &turn.seen.head else {
        return wait(turn, LOOK_SOON, WaitingOn::Look { unseen: Unseen::ServiceRecord });
    };
    let id = turn.old.id.clone();
    let without_me = || ServiceRecord {
        version: head.version + 1,
        waiting: head.waiting.clone().filter(|waiting| *waiting != id),
        ..head.clone()
    };
    if let Some(outcome) = asked_to_stop(turn.old.request.as_ref()) {
        turn.head = (head.waiting.as_ref() == Some(&id)).then(without_me);
        return end_now(turn, outcome);
    }
    match (&head.active, &head.waiting) {
        (Some(active), _) if *active != id => {
            let behind = Some(active.clone());
            wait(turn, QUEUE_LOOK_EVERY, WaitingOn::Turn { behind })
        }
        (None, Some(newer)) if *newer != id => {
            let outcome = Outcome::Superseded { by: newer.clone().into() };
            end_now(turn, outcome)
        }
        (None | Some(_), _) if goes_elsewhere(turn.old, head) => {
            turn.head = (head.waiting.as_ref() == Some(&id)).then(without_me);
            end_now(turn, Outcome::Superseded { by: Successor::Policy })
        }
        (None | Some(_), _) => {
            if let Some(why) = rolled_back_meanwhile(turn.old, head) {
                turn.head = (head.waiting.as_ref() == Some(&id)).then(without_me);
                return end_now(turn, Outcome::Cancelled { by: Actor::Tidegate, why });
            }
            turn.head = Some(ServiceRecord { active: Some(id.clone()), ..without_me() });
            turn.next.progress.started_at = Some(turn.now);
            let now = turn.now;
            turn.enter(Phase::Preparing { since: now });
            turn.tell(Event::Started);
            wait(turn, SignedDuration::ZERO, WaitingOn::Preflight { again: false })
        }
    }
}

/// Whether the policy's target, or a container's repository, is another one than when the release was created: its plan would be made of two policies.
fn goes_elsewhere(release: &Release, head: &ServiceRecord) -> bool {
    let target = &release.target;
    // What is brought back ran before, wherever the policy takes its images from by now.
    let from_elsewhere = release.intent.goes_forward() && !head.policy.releases(&release.change);
    head.policy.target(&target.account, &target.region) != *target || from_elsewhere
}

/// Why what it took over from the release that made room for it must not be released: that one was rolled back after all.
fn rolled_back_meanwhile(release: &Release, head: &ServiceRecord) -> Option<String> {
    let (container, quarantined) = release.carried.iter().find_map(|container| {
        let image = release.change.image(container)?;
        Some((container, head.quarantine.get(&image.digest)?))
    })?;
    let asked = release.change.iter().filter(|(container, _)| !release.carried.contains(*container));
    let asked = asked.map(|(container, image)| (container.clone(), image.clone())).collect();
    let alone = Change::new(asked).map(|change| change.argument()).unwrap_or_default();
    Some(format!(
        "it also brings the image of container {container} from the release before, which was rolled back by release {} ({}); to release \
         the rest alone: tidegate release {} {alone}",
        quarantined.release, quarantined.why, release.service
    ))
}

/// Looks at everything that can be known, and makes the plan.
pub(super) fn preparing(turn: &mut Turn<'_>, since: Timestamp) -> Flow {
    if let Some(outcome) = asked_to_stop(turn.old.request.as_ref()) {
        return settle::end(turn, outcome, None);
    }
    let Some(head) = &turn.seen.head else {
        return wait(turn, LOOK_SOON, WaitingOn::Look { unseen: Unseen::ServiceRecord });
    };
    if goes_elsewhere(turn.old, head) {
        return settle::end(turn, Outcome::Superseded { by: Successor::Policy }, None);
    }
    let old = turn.old;
    let waited = turn.now.duration_since(since);
    match engine::preflight(&head.policy, old, turn.seen, turn.now) {
        Preflight::Pass(plan, notes) => {
            for finding in notes {
                turn.saw(Fact::Finding { finding });
            }
            let now = turn.now;
            turn.tell(Event::PreflightPassed { rollback_target: plan.rollback_target().name.to_owned() });
            if turn.next.progress.planned.take().is_some_and(|before| before != plan.hash())
                && !turn.next.gates.is_empty()
            {
                turn.next.gates.clear();
                turn.tell(Event::ApprovalsReset);
            }
            turn.next.progress.state = engine::of(&plan).begin(old, &plan);
            let first = plan.stages.first().cloned();
            turn.next.plan = Some(*plan);
            turn.enter(Phase::Running { stage: 0, since: now, step: Step::Entered });
            let waiting_on = first.map_or(WaitingOn::Nothing, |stage| WaitingOn::Stage { stage });
            wait(turn, SignedDuration::ZERO, waiting_on)
        }
        Preflight::CannotSee(errors) => {
            turn.note_unseen(&errors);
            if waited < PATIENCE {
                return wait(turn, LOOK_SOON, WaitingOn::Look { unseen: Unseen::Preflight });
            }
            let unseen =
                |error: &PortError| Finding::blocking(FindingCode::Unseen, format!("could not see: {error}"));
            fail(turn, errors.iter().map(unseen).collect())
        }
        Preflight::Blocked(findings) => blocked(turn, findings, waited),
    }
}

/// Something is not as it was when the plan was made, and nothing has been started: the plan is made anew.
pub(super) fn plan_again(turn: &mut Turn<'_>, plan: &Plan, stage: usize, changes: &[String]) -> Flow {
    let times = turn.next.progress.replanned;
    if times >= REPLANS_MAX {
        let problem = format!(
            "what the plan is made from has changed {} times, at last so: {}",
            times + 1,
            changes.join("; ")
        );
        let findings = vec![Finding::blocking(FindingCode::KeepsChanging, problem)];
        return rollback::begin(turn, Cause::Preflight { findings }, Some(stage));
    }
    let now = turn.now;
    turn.next.progress = Progress {
        started_at: turn.next.progress.started_at,
        replanned: times + 1,
        planned: Some(plan.hash()),
        ..Progress::default()
    };
    turn.next.plan = None;
    turn.enter(Phase::Preparing { since: now });
    turn.tell(Event::Replanned { changes: changes.to_vec() });
    wait(turn, SignedDuration::ZERO, WaitingOn::Preflight { again: true })
}

fn blocked(turn: &mut Turn<'_>, findings: Vec<Finding>, waited: SignedDuration) -> Flow {
    for finding in &findings {
        turn.note(Fact::Finding { finding: finding.clone() });
    }
    let blocking: Vec<Finding> = findings.into_iter().filter(|finding| finding.blocking).collect();
    if let [only] = blocking.as_slice()
        && matches!(only.code, FindingCode::AlreadyRunning | FindingCode::NotRunning)
    {
        let why = only.problem.clone();
        return settle::end(turn, Outcome::Cancelled { by: Actor::Tidegate, why }, None);
    }
    if blocking.iter().all(|finding| finding.code.may_pass()) && waited < PATIENCE {
        let within_secs = u32::try_from(PATIENCE.as_secs()).unwrap_or(u32::MAX);
        return wait(turn, LOOK_SOON, WaitingOn::Findings { findings: blocking, within_secs });
    }
    fail(turn, blocking)
}

fn fail(turn: &mut Turn<'_>, findings: Vec<Finding>) -> Flow {
    let mut needs: Vec<&str> = findings.iter().map(|finding| finding.code.remedy()).collect();
    needs.dedup();
    let needs = needs.join("; ");
    settle::end(turn, Outcome::Failed { cause: Cause::Preflight { findings }, needs }, None)
}

fn asked_to_stop(request: Option<&Request>) -> Option<Outcome> {
    match request? {
        Request::Cancel { by, why } | Request::Rollback { by, why } => {
            Some(Outcome::Cancelled { by: by.clone(), why: why.clone() })
        }
        Request::Supersede { by } => Some(Outcome::Superseded { by: by.clone().into() }),
    }
}

/// Ends a release that never was the active one: nothing to settle, no row to free.
fn end_now(turn: &mut Turn<'_>, outcome: Outcome) -> Flow {
    let at = turn.now;
    turn.conclude(Event::Ended { outcome: Box::new(outcome.clone()), restore_pending: None });
    turn.enter(Phase::Ended { outcome, at, restored_at: None });
    Flow::Over
}
