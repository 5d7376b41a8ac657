//! Before the first stage: waiting for the release before it, then proving the way forward and back.

use jiff::{SignedDuration, Timestamp};

use super::{Decision, LOOK_SOON, rollback, settle, turn::Turn};
use crate::history::Actor;
use crate::observation::ServiceHead;
use crate::plan::{self, Plan};
use crate::preflight::{self, Finding, Preflight};
use crate::release::{Cause, Intent, Outcome, Phase, Progress, Release, Request, Step, Successor};

/// How often a waiting release looks whether it is its turn, even if the one before it says nothing.
const QUEUE_LOOK_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How long findings that may pass by themselves (an alarm still red from the release before, a service still settling) are waited for.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// How often a plan is made anew before a person has to see what goes on.
const REPLANS_MAX: u32 = 3;

/// Waits for its turn, and takes it.
pub(super) fn queued(mut turn: Turn<'_>) -> Decision {
    let Some(head) = &turn.seen.head else {
        return turn.wait(LOOK_SOON, "the service's row could not be read");
    };
    let id = turn.old.id.clone();
    let without_me = || ServiceHead {
        version: head.version + 1,
        waiting: head.waiting.clone().filter(|waiting| *waiting != id),
        ..head.clone()
    };
    if let Some(outcome) = asked_to_stop(turn.old.request.as_ref()) {
        turn.head = (head.waiting.as_ref() == Some(&id)).then(without_me);
        turn.tell(format!("ended: {}", outcome.word()), "it was asked to before it started");
        return end_now(turn, outcome);
    }
    match (&head.active, &head.waiting) {
        (Some(active), _) if *active != id => {
            let why = format!("it is queued behind release {active}");
            turn.wait(QUEUE_LOOK_EVERY, why)
        }
        (None, Some(newer)) if *newer != id => {
            let outcome = Outcome::Superseded { by: newer.clone().into() };
            turn.tell("ended: superseded", format!("only the newest waits, and that is {newer}"));
            end_now(turn, outcome)
        }
        (None | Some(_), _) if goes_elsewhere(turn.old, head) => {
            turn.head = (head.waiting.as_ref() == Some(&id)).then(without_me);
            turn.tell("ended: superseded", GOES_ELSEWHERE);
            end_now(turn, Outcome::Superseded { by: Successor::Policy })
        }
        (None | Some(_), _) => {
            turn.head = Some(ServiceHead { active: Some(id.clone()), ..without_me() });
            turn.next.progress.started_at = Some(turn.now);
            let now = turn.now;
            turn.enter(Phase::Preparing { since: now });
            turn.tell("started", "no other release of the service is under way");
            turn.wait(SignedDuration::ZERO, "preflight: prove the way forward and the way back")
        }
    }
}

const GOES_ELSEWHERE: &str =
    "the policy was changed while it waited and sends the service's releases to another target now";

/// Whether the policy's target is another one than when the release was created: its plan would be made of two policies.
fn goes_elsewhere(release: &Release, head: &ServiceHead) -> bool {
    let target = &release.target;
    head.policy.target(&target.account, &target.region) != *target
}

/// Looks at everything that can be known, and makes the plan.
pub(super) fn preparing(mut turn: Turn<'_>, since: Timestamp) -> Decision {
    if let Some(outcome) = asked_to_stop(turn.old.request.as_ref()) {
        turn.tell(format!("ended: {}", outcome.word()), "it was asked to before anything was changed");
        return settle::end(turn, outcome, None);
    }
    let Some(head) = &turn.seen.head else {
        return turn.wait(LOOK_SOON, "the service's row could not be read");
    };
    if goes_elsewhere(turn.old, head) {
        turn.tell("ended: superseded", GOES_ELSEWHERE);
        return settle::end(turn, Outcome::Superseded { by: Successor::Policy }, None);
    }
    let old = turn.old;
    let waited = turn.now.duration_since(since);
    match preflight::check(&head.policy, &old.image, &old.intent, turn.seen) {
        Preflight::Pass(ground, notes) => {
            for note in &notes {
                turn.saw(note.to_string());
            }
            let asked = plan::Asked { intent: &old.intent, bypass_freeze: old.bypass_freeze.as_deref() };
            let plan = plan::compile(&head.policy, &old.target, &old.image, asked, ground, turn.now);
            turn.next.progress.task_definition = match &old.intent {
                Intent::Return { task_definition, .. } if !plan.registers() => Some(task_definition.clone()),
                Intent::Deploy | Intent::Return { .. } => None,
            };
            let now = turn.now;
            turn.tell(
                "preflight passed",
                format!("the way back to {} is proven", plan.way_back.task_definition.short()),
            );
            if turn.next.progress.planned.take().is_some_and(|before| before != plan.hash())
                && !turn.next.gates.is_empty()
            {
                turn.next.gates.clear();
                turn.tell("approvals are asked for again", "they were given for another plan");
            }
            turn.next.plan = Some(plan);
            turn.enter(Phase::Running { stage: 1, since: now, step: Step::Entered });
            turn.wait(SignedDuration::ZERO, "the first stage begins")
        }
        Preflight::CannotSee(errors) => {
            for error in &errors {
                turn.note(format!("could not see: {error}"));
            }
            if waited < PATIENCE {
                return turn.wait(LOOK_SOON, "preflight could not see everything; it looks again");
            }
            let findings = errors.iter().map(|error| format!("could not see: {error}")).collect();
            fail(
                turn,
                findings,
                "make what preflight asks for readable to Tidegate's role, then release again",
            )
        }
        Preflight::Blocked(findings) => blocked(turn, findings, waited),
    }
}

/// Something is not as it was when the plan was made, and nothing has been started: the plan is made anew.
pub(super) fn plan_again(mut turn: Turn<'_>, plan: &Plan, stage: usize, changes: &[String]) -> Decision {
    let times = turn.next.progress.replanned;
    if times >= REPLANS_MAX {
        let mut findings = vec![format!("what the plan is made from has changed {} times", times + 1)];
        findings.extend_from_slice(changes);
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
    turn.tell("planning again", format!("since the plan was made, {}", changes.join("; ")));
    turn.wait(SignedDuration::ZERO, "preflight: nothing has been started, and the plan is made anew")
}

fn blocked(mut turn: Turn<'_>, findings: Vec<Finding>, waited: SignedDuration) -> Decision {
    let blocking: Vec<&Finding> = findings.iter().filter(|finding| finding.blocking).collect();
    for finding in &findings {
        turn.note(finding.to_string());
    }
    if let [only] = blocking.as_slice()
        && only.code == "already_running"
    {
        let why = only.problem.clone();
        turn.tell("ended: cancelled", why.clone());
        return settle::end(turn, Outcome::Cancelled { by: Actor::Tidegate, why }, None);
    }
    if blocking.iter().all(|finding| may_pass(finding)) && waited < PATIENCE {
        let codes: Vec<&str> = blocking.iter().map(|finding| finding.code.as_str()).collect();
        let why = format!("preflight waits for {} to pass, {PATIENCE:#} at most", codes.join(", "));
        return turn.wait(LOOK_SOON, why);
    }
    let needs: Vec<String> = blocking.iter().map(|finding| finding.remedy.clone()).collect();
    let findings = blocking.iter().map(|finding| format!("{}: {}", finding.code, finding.problem)).collect();
    fail(turn, findings, &needs.join("; "))
}

/// Whether a finding can pass without a person: alarms recover, services settle.
fn may_pass(finding: &Finding) -> bool {
    matches!(
        finding.code.as_str(),
        "service_not_steady" | "alarm_red" | "alarm_without_data" | "alarm_not_evaluated"
    )
}

fn fail(mut turn: Turn<'_>, findings: Vec<String>, needs: &str) -> Decision {
    let cause = Cause::Preflight { findings };
    turn.tell("ended: failed", cause.to_string());
    settle::end(turn, Outcome::Failed { cause, needs: needs.to_owned() }, None)
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
fn end_now(mut turn: Turn<'_>, outcome: Outcome) -> Decision {
    let at = turn.now;
    turn.enter(Phase::Ended { outcome, at, restored_at: None });
    turn.over()
}
