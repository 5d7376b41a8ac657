//! Times and states as people read them.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::gate::ApprovalGate;
use tidegate_core::plan::{Plan, Stage};
use tidegate_core::policy::{OnExpiry, Span};

/// A moment, to the second, in UTC: approvers are in many time zones, and without script the page knows none of them.
pub(crate) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// A stage in words, with what the plan knows of its gate.
pub(crate) fn stage(plan: &Plan, stage: &Stage) -> String {
    match stage {
        Stage::Approve { gate } => match plan.gates.approvals.get(*gate) {
            Some(gate) => asks(gate),
            None => stage.to_string(),
        },
        Stage::Verify { verify } => match plan.gates.verifies.get(*verify) {
            Some(verify) => format!("verification by CodeBuild project {}", verify.codebuild),
            None => stage.to_string(),
        },
        Stage::Preflight
        | Stage::PinRollbackTarget
        | Stage::RegisterTaskDefinition
        | Stage::StartDeployment
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::RollOut
        | Stage::Promote
        | Stage::PutBack => stage.to_string(),
    }
}

fn asks(gate: &ApprovalGate) -> String {
    let names: Vec<&str> = gate.approvers.iter().map(|person| person.name.as_str()).collect();
    format!("approval by {} of {}", gate.approval.count, names.join(", "))
}

/// What happens when nobody decides in time.
pub(crate) fn on_expiry(gate: &ApprovalGate) -> &'static str {
    match gate.approval.on_expiry {
        OnExpiry::Reject => "the release is rejected",
        OnExpiry::Approve => "the release goes on as if it had been approved",
    }
}

/// How long a stage takes at least, seconds: bakes are the only thing whose length is known.
pub(crate) fn at_least(stage: &Stage) -> u32 {
    if let Stage::Bake { secs, .. } = stage { *secs } else { 0 }
}

/// Seconds as the policy would write them.
pub(crate) fn secs(secs: u32) -> String {
    Span::from_secs(secs).map_or_else(|| format!("{secs}s"), |span| span.to_string())
}

/// Plural or not.
pub(crate) fn count(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
