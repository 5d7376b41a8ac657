//! The stages of a plan with how far each has come.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tidegate_core::gate::ApprovalGate;
use tidegate_core::history::{Entry, Event};
use tidegate_core::plan::{Gates, Plan, Stage};
use tidegate_core::policy::Percent;
use tidegate_core::release::{Outcome, Phase, Release};

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
    /// The release was turned back in it.
    BrokenOff,
    /// The release was turned back before it.
    NotReached,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageView {
    /// From 1.
    pub number: usize,
    /// `preflight`, `approve`, `freeze`, `scan`, `verify`, `register_task_definition`, `start_deployment`, `shift`, `bake`, `roll_out`,
    /// `promote`, `put_back`.
    pub stage: &'static str,
    /// For people.
    pub text: String,
    /// The share of traffic, of shifts and bakes.
    pub percent: Option<Percent>,
    /// How long it bakes.
    pub bake_secs: Option<u32>,
    /// How far it has come.
    pub state: StageState,
    /// Since when the release is in it.
    pub since: Option<Timestamp>,
    /// When the bake it is in ends.
    pub bake_ends_at: Option<Timestamp>,
    /// When it was over.
    pub done_at: Option<Timestamp>,
}

/// The stages of a release. Where a release has been is only told by its history once it has been turned back.
pub fn stages(release: &Release, history: &[Entry]) -> Vec<StageView> {
    let Some(plan) = &release.plan else { return Vec::new() };
    let reached = reached(release, plan, history);
    plan.stages
        .iter()
        .enumerate()
        .map(|(index, stage)| {
            let state = match (stage, reached.state(index)) {
                // The configuration is put back at the end of the way back, too.
                (Stage::PutBack, StageState::NotReached) => put_back(&release.phase),
                (_, state) => state,
            };
            let since = reached.since.filter(|_| state == StageState::Now);
            let Facts { name, percent, bake_secs, text } = facts(stage, &plan.gates);
            StageView {
                number: index + 1,
                stage: name,
                text,
                percent,
                bake_secs,
                state,
                since,
                bake_ends_at: since.zip(bake_secs).and_then(|(since, secs)| {
                    since.saturating_add(SignedDuration::from_secs(secs.into())).ok()
                }),
                done_at: done_at(stage, history).filter(|_| state == StageState::Done),
            }
        })
        .collect()
}

/// How far a release has come in its plan.
struct Reached {
    /// The stage it is in, or was turned back in; as many as there are when it is through.
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
        Phase::RollingBack { stage, .. } => {
            Reached { index: stage.unwrap_or_else(told), since: None, forward: false }
        }
        Phase::Settling { outcome: Outcome::Promoted, since, .. } => {
            Reached { index: plan.stages.len().saturating_sub(1), since: Some(*since), forward: true }
        }
        Phase::Ended { outcome: Outcome::Promoted, .. } => {
            Reached { index: plan.stages.len(), since: None, forward: true }
        }
        Phase::Settling { .. } | Phase::Ended { .. } => {
            Reached { index: told(), since: None, forward: false }
        }
    }
}

/// How far a release that was turned back is with putting the configuration back.
fn put_back(phase: &Phase) -> StageState {
    match phase {
        Phase::Settling { .. } => StageState::Now,
        Phase::Ended { outcome, .. } => match outcome {
            Outcome::Failed { .. } => StageState::NotReached,
            Outcome::Promoted
            | Outcome::RolledBack { .. }
            | Outcome::Superseded { .. }
            | Outcome::Cancelled { .. } => StageState::Done,
        },
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } | Phase::RollingBack { .. } => {
            StageState::Ahead
        }
    }
}

/// When the history says that the stage was over.
fn done_at(stage: &Stage, history: &[Entry]) -> Option<Timestamp> {
    let preflight = *stage == Stage::Preflight;
    let ends = |event: &Event| {
        event.result_of(stage).is_some() || (preflight && matches!(event, Event::PreflightPassed { .. }))
    };
    history.iter().find(|entry| entry.events().any(ends)).map(|entry| entry.at)
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
        Stage::Preflight => plain("preflight"),
        Stage::Approve { gate } => match gates.approvals.get(*gate) {
            Some(gate) => Facts { text: asked(gate), ..plain("approve") },
            None => plain("approve"),
        },
        Stage::Freeze => plain("freeze"),
        Stage::Scan => plain("scan"),
        Stage::Verify { verify } => match gates.verifies.get(*verify) {
            Some(verify) => {
                Facts { text: format!("verification by {}", verify.codebuild), ..plain("verify") }
            }
            None => plain("verify"),
        },
        Stage::PinRollbackTarget => plain("pin_rollback_target"),
        Stage::RegisterTaskDefinition => plain("register_task_definition"),
        Stage::StartDeployment => plain("start_deployment"),
        Stage::Shift { percent } => Facts { percent: Some(*percent), ..plain("shift") },
        Stage::Bake { percent, secs } => {
            Facts { percent: Some(*percent), bake_secs: Some(*secs), ..plain("bake") }
        }
        Stage::RollOut => plain("roll_out"),
        Stage::Promote => plain("promote"),
        Stage::PutBack => plain("put_back"),
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
