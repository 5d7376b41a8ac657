//! The stages of a plan with how far each has come.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tidegate_core::approval::ApprovalGate;
use tidegate_core::history::{Entry, Event};
use tidegate_core::outcome::Outcome;
use tidegate_core::plan::{Gates, Plan, Preparation, Stage};
use tidegate_core::policy::Percent;
use tidegate_core::release::{Phase, Release};

/// How far a stage has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// It is over.
    Done,
    /// The release is in it.
    Now,
    /// It is still to come.
    Ahead,
    /// The release was rolled back in it.
    BrokenOff,
    /// The release was rolled back before it.
    NotReached,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct StageView {
    /// Its place in the plan, from 1; null for `preflight` and `restore`, which stand around every plan.
    pub number: Option<usize>,
    /// `preflight`, `approve`, `freeze`, `scan`, `verify`, `prepare_rollback_target`, `prepare_candidate`, `start`, `shift`,
    /// `bake`, `roll_out`, `promote`, `restore`.
    pub stage: &'static str,
    /// For people.
    pub text: String,
    /// The share of traffic, of shifts and bakes.
    pub percent: Option<Percent>,
    /// How long it bakes.
    pub bake_secs: Option<u32>,
    /// When it begins at the earliest, counted from the start of the plan.
    pub earliest_secs: u64,
    /// How far it has come.
    pub state: StageState,
    /// Since when the release is in it.
    pub since: Option<Timestamp>,
    pub bake_ends_at: Option<Timestamp>,
    /// When it was over.
    pub done_at: Option<Timestamp>,
}

/// What a release goes through: preflight, the stages of its plan, the restoring of the configuration. Where a release has been is only told
/// by its history once it is rolled back.
pub fn stages(release: &Release, history: &[Entry]) -> Vec<StageView> {
    let Some(plan) = &release.plan else { return Vec::new() };
    let reached = reached(release, plan, history);
    let passed = |event: &Event| matches!(event, Event::PreflightPassed { .. });
    let mut stages = vec![StageView {
        state: StageState::Done,
        done_at: last(history, passed),
        ..frame("preflight", "preflight", 0)
    }];
    let mut earliest_secs = 0;
    for (index, stage) in plan.stages.iter().enumerate() {
        let state = reached.state(index);
        let since = reached.since.filter(|_| state == StageState::Now);
        let Facts { name, percent, bake_secs, text } = facts(stage, &plan.gates);
        // How long a pause lasts is not known, and a bake that nobody waits for has no end of its own.
        let clocked = release.pause.is_none() && release.promote_now.is_none();
        let ends = |secs: u32| {
            since.filter(|_| clocked)?.saturating_add(SignedDuration::from_secs(secs.into())).ok()
        };
        stages.push(StageView {
            number: Some(index + 1),
            stage: name,
            text,
            percent,
            bake_secs,
            earliest_secs,
            state,
            since,
            bake_ends_at: bake_secs.and_then(ends),
            done_at: done_at(stage, history).filter(|_| state == StageState::Done),
        });
        earliest_secs += u64::from(stage.at_least_secs());
    }
    let (state, since) = restored(release);
    stages.push(StageView { state, since, ..frame("restore", "restore configuration", earliest_secs) });
    stages
}

fn frame(stage: &'static str, text: &str, earliest_secs: u64) -> StageView {
    StageView {
        number: None,
        stage,
        text: text.to_owned(),
        percent: None,
        bake_secs: None,
        earliest_secs,
        state: StageState::Ahead,
        since: None,
        bake_ends_at: None,
        done_at: None,
    }
}

/// How far a release has come in its plan.
struct Reached {
    /// The stage it is in, or was rolled back in; as many as there are when it is through.
    index: usize,
    since: Option<Timestamp>,
    forward: bool,
}

impl Reached {
    fn state(&self, index: usize) -> StageState {
        match (index.cmp(&self.index), self.forward) {
            (std::cmp::Ordering::Less, _) => StageState::Done,
            (std::cmp::Ordering::Equal, true) => StageState::Now,
            (std::cmp::Ordering::Equal, false) => StageState::BrokenOff,
            (std::cmp::Ordering::Greater, true) => StageState::Ahead,
            (std::cmp::Ordering::Greater, false) => StageState::NotReached,
        }
    }
}

fn reached(release: &Release, plan: &Plan, history: &[Entry]) -> Reached {
    let told = || {
        plan.stages.iter().position(|stage| done_at(stage, history).is_none()).unwrap_or(plan.stages.len())
    };
    match &release.phase {
        Phase::Queued | Phase::Preparing { .. } => Reached { index: 0, since: None, forward: true },
        Phase::Running { stage, since, .. } => Reached { index: *stage, since: Some(*since), forward: true },
        Phase::RollingBack(back) => {
            Reached { index: back.stage.unwrap_or_else(told), since: None, forward: false }
        }
        Phase::Settling { outcome: Outcome::Promoted, .. }
        | Phase::Ended { outcome: Outcome::Promoted, .. } => {
            Reached { index: plan.stages.len(), since: None, forward: true }
        }
        Phase::Settling { .. } | Phase::Ended { .. } => {
            Reached { index: told(), since: None, forward: false }
        }
    }
}

/// How far the service's own configuration is from being restored: at the end of every release, also of one that is rolled back.
fn restored(release: &Release) -> (StageState, Option<Timestamp>) {
    let pending = release.progress.restore_pending.is_some();
    match &release.phase {
        Phase::Settling { since, .. } => (StageState::Now, Some(*since)),
        Phase::Ended { outcome: Outcome::Failed { .. }, .. } => (StageState::NotReached, None),
        Phase::Ended { .. } if pending => (StageState::NotReached, None),
        Phase::Ended { .. } => (StageState::Done, None),
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } | Phase::RollingBack(_) => {
            (StageState::Ahead, None)
        }
    }
}

/// When the history says that the stage was over; a plan may have been made anew, so the last time counts.
fn done_at(stage: &Stage, history: &[Entry]) -> Option<Timestamp> {
    last(history, |event| event.result_of(stage).is_some())
}

fn last(history: &[Entry], is_it: impl Fn(&Event) -> bool) -> Option<Timestamp> {
    history.iter().rev().find(|entry| entry.events().any(&is_it)).map(|entry| entry.at)
}

/// What a stage is, apart from how far it has come.
pub(super) struct Facts {
    pub(super) name: &'static str,
    pub(super) percent: Option<Percent>,
    pub(super) bake_secs: Option<u32>,
    pub(super) text: String,
}

/// What a stage of a plan with these gates is. Who approves and which build tries it is said where the core's text only counts.
pub(super) fn facts(stage: &Stage, gates: &Gates) -> Facts {
    let plain = |name| Facts { name, percent: None, bake_secs: None, text: stage.to_string() };
    match stage {
        Stage::Approve { gate } => match gates.approvals.get(*gate) {
            Some(gate) => Facts { text: asked(gate), ..plain("approve") },
            None => plain("approve"),
        },
        Stage::Freeze => plain("freeze"),
        Stage::Scan => plain("scan"),
        Stage::Verify { verify } => match gates.verifies.get(*verify) {
            Some(verify) => {
                Facts { text: format!("verification by {}", verify.project()), ..plain("verify") }
            }
            None => plain("verify"),
        },
        Stage::Prepare { what: Preparation::RollbackTarget } => plain("prepare_rollback_target"),
        Stage::Prepare { what: Preparation::Candidate } => plain("prepare_candidate"),
        Stage::Start => plain("start"),
        Stage::Shift { percent } => Facts { percent: Some(*percent), ..plain("shift") },
        Stage::Bake { percent, secs } => {
            Facts { percent: Some(*percent), bake_secs: Some(*secs), ..plain("bake") }
        }
        Stage::RollOut => plain("roll_out"),
        Stage::Promote => plain("promote"),
    }
}

/// `approval of 2 of ann, bob, eve`.
fn asked(gate: &ApprovalGate) -> String {
    let names: Vec<&str> = gate.approvers.iter().map(|person| person.name.as_str()).collect();
    match names.as_slice() {
        [one] => format!("approval of {one}"),
        _ => format!("approval of {} of {}", gate.approval.count, names.join(", ")),
    }
}
