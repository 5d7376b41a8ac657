//! The decision: from a release and what was seen of the world to the next release, the effects to perform, when to look again, and
//! why. Pure: the same arguments give the same answer, so every path can be tried without a cloud.
//!
//! This is the frame: what is the same wherever a release goes. How one kind of target is changed is an engine's, and the engines are
//! listed in [`crate::engine`] alone.

mod deadline;
mod evidence;
mod gates;
mod rollback;
mod running;
mod settle;
mod start;

use jiff::{SignedDuration, Timestamp};

use crate::effect::Effect;
use crate::engine;
use crate::history::{Entry, WaitingOn};
use crate::observation::{Needs, Observation};
use crate::plan::{Plan, Stage};
use crate::release::{Phase, Release, Wake};
use crate::service::ServiceRecord;
use crate::turn::{LOOK_EVERY, LOOK_SOON, Turn};

/// How many phases a release may pass in one decision. From the last stage it settles, may be rolled back at the last moment, and settles again.
const PHASES_MAX: usize = 8;

/// What is to be done now. It is written by way of [`crate::invariants::checked_commit`] alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The release as it is to be; equal to the one decided on when nothing changes.
    pub release: Release,
    /// The history entry; `None` when nothing changes but the wake-up time or the report.
    pub entry: Option<Entry>,
    /// The service row as it is to be, when it changes.
    pub head: Option<ServiceRecord>,
    /// What to do to the world once the commit has succeeded.
    pub effects: Vec<Effect>,
}

impl Decision {
    /// Nothing to do at all.
    fn unchanged(release: &Release) -> Self {
        Self { release: release.clone(), entry: None, head: None, effects: Vec::new() }
    }
}

/// How a phase leaves the turn.
#[derive(Debug)]
enum Flow {
    /// Another phase has begun, and is decided in the same turn.
    Next,
    /// Look again then, and what for.
    Rest(Wake, WaitingOn),
    /// Nothing more to wait for.
    Over,
    /// Nothing to do at all.
    Unchanged,
}

/// Look again after `delay`, and what for. What is looked for sooner than usual is expected any moment, and so is what comes after an end.
fn wait(turn: &Turn<'_>, delay: SignedDuration, waiting_on: WaitingOn) -> Flow {
    let at = turn.now.saturating_add(delay).unwrap_or(turn.now);
    let soon = delay < LOOK_EVERY || waiting_on.until() == Some(at);
    Flow::Rest(Wake { soon, ..Wake::new(at) }, waiting_on)
}

/// When to look again while something lasts until `end`: every so often, and at its end, of which something comes at once.
fn look_until(turn: &Turn<'_>, every: SignedDuration, end: Timestamp) -> Wake {
    let next = turn.now.saturating_add(every).unwrap_or(end);
    if next < end { Wake::new(next) } else { Wake::soon(end) }
}

/// Decides what to do with a release now.
pub fn decide(release: &Release, seen: &Observation, now: Timestamp) -> Decision {
    let mut turn = Turn::new(release, seen, now);
    for _ in 0..PHASES_MAX {
        match step(&mut turn) {
            Flow::Next => {}
            Flow::Rest(wake, waiting_on) => return rest(turn, wake, waiting_on),
            Flow::Over => return over(turn),
            Flow::Unchanged => return Decision::unchanged(release),
        }
    }
    // Not reached: every phase leads to a later one, and back at most once. The next look would go on from here.
    let at = now.saturating_add(LOOK_SOON).unwrap_or(now);
    rest(turn, Wake::soon(at), WaitingOn::Unknown)
}

/// One phase. None calls another: each says what is next, and the loop above goes there.
fn step(turn: &mut Turn<'_>) -> Flow {
    match turn.next.phase.clone() {
        Phase::Queued => start::queued(turn),
        Phase::Preparing { since } => start::preparing(turn, since),
        Phase::Running { stage, since, step } => match turn.old.plan.as_ref() {
            Some(plan) => running::running(turn, plan, stage, since, &step),
            None => Flow::Unchanged,
        },
        Phase::RollingBack(back) => rollback::rolling_back(turn, &back),
        Phase::Settling { outcome, since, restored_at } => {
            settle::settling(turn, settle::Settling { outcome, since, restored_at })
        }
        Phase::Ended { .. } => Flow::Unchanged,
    }
}

/// Ends the turn: look again then, and what for.
fn rest(mut turn: Turn<'_>, wake: Wake, waiting_on: WaitingOn) -> Decision {
    turn.next.report.waiting_on = waiting_on;
    turn.next.wake = Some(wake);
    finish(turn)
}

/// Ends the turn: nothing more to wait for.
fn over(mut turn: Turn<'_>) -> Decision {
    turn.next.report.waiting_on = WaitingOn::Nothing;
    turn.next.wake = None;
    finish(turn)
}

fn finish(mut turn: Turn<'_>) -> Decision {
    turn.next.report.deadline = deadline::of(&turn.next);
    if !turn.has_changed() && turn.next == *turn.old {
        return Decision::unchanged(turn.old);
    }
    turn.next.version = turn.old.version + 1;
    turn.follow_course();
    let entry = turn.entry(turn.next.version);
    Decision { release: turn.next, entry, head: turn.head, effects: turn.effects }
}

/// Keeps the candidate's share as it is measured, where it could be seen.
fn keep_measured(turn: &mut Turn<'_>, plan: &Plan) {
    let measured = engine::of(plan).measured(&turn.next, turn.seen);
    turn.next.progress.measured = measured.or(turn.next.progress.measured);
}

/// What the decision about this release needs to see, as far as that is known from what was `seen` so far: asked until nothing new is needed.
pub fn needs(release: &Release, seen: &Observation) -> Needs {
    let mut needs = engine::needs(release, seen);
    match &release.phase {
        Phase::Queued | Phase::Ended { .. } | Phase::RollingBack(_) | Phase::Settling { .. } => {}
        Phase::Preparing { .. } => {
            let policy = seen.head.as_ref().map(|head| &head.policy);
            needs.alarms = policy.map(|policy| policy.rollback.alarms.clone()).unwrap_or_default();
        }
        Phase::Running { .. } => {
            needs.alarms = release.plan.as_ref().map(|plan| plan.alarms.clone()).unwrap_or_default();
            needs.scans = release.stage() == Some(&Stage::Scan);
            needs.build = gates::build_of(release);
            needs.metrics = evidence::needed(release, seen.at);
        }
    }
    needs
}
