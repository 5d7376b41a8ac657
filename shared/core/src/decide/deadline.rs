//! Until when a release waits where it is, and what happens then: the one place that says so, for every view.

use jiff::{SignedDuration, Timestamp};

use super::{evidence, rollback, settle, start};
use crate::history::{Deadline, DeadlineAction};
use crate::outcome::Outcome;
use crate::plan::{Plan, Stage};
use crate::policy::OnExpiry;
use crate::release::{Phase, Release};

/// The deadline of where the release is; `None` where it waits for something that has none: its turn, the end of a freeze.
pub(super) fn of(release: &Release) -> Option<Deadline> {
    let after = |since: Timestamp, limit: SignedDuration, then| {
        since.saturating_add(limit).ok().map(|at| Deadline { at, then })
    };
    match &release.phase {
        Phase::Queued | Phase::Ended { .. } => None,
        Phase::Preparing { since } => after(*since, start::PATIENCE, DeadlineAction::End),
        Phase::Running { stage, since, .. } => {
            let plan = release.plan.as_ref()?;
            let then = if release.is_started() { DeadlineAction::RollBack } else { DeadlineAction::End };
            match &release.pause {
                Some(pause) => Some(Deadline { at: pause.until, then }),
                None => running(release, plan, *stage, *since, then),
            }
        }
        Phase::RollingBack(back) => after(back.since, rollback::LIMIT, DeadlineAction::ManualIntervention),
        Phase::Settling { outcome: Outcome::Failed { .. }, .. } => None,
        Phase::Settling { since, .. } => after(*since, settle::LIMIT, DeadlineAction::ManualIntervention),
    }
}

fn running(
    release: &Release,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
    then: DeadlineAction,
) -> Option<Deadline> {
    let secs = match plan.stages.get(stage)? {
        Stage::Approve { gate } => {
            let at = release.gates.get(&stage)?.expires_at;
            let then = match plan.gates.approvals.get(*gate)?.approval.on_expiry {
                OnExpiry::Approve => DeadlineAction::Continue,
                OnExpiry::Reject => then,
            };
            return Some(Deadline { at, then });
        }
        Stage::Freeze => return None,
        Stage::Scan => u64::from(plan.gates.scan.as_ref()?.wait.secs()),
        Stage::Verify { verify } => u64::from(plan.gates.verifies.get(*verify)?.timeout.secs()),
        Stage::Prepare { .. }
        | Stage::Start
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::RollOut
        | Stage::Promote => plan.limit_secs(stage),
    };
    if let Some(at) = evidence::held_until(release) {
        return Some(Deadline { at, then });
    }
    let at = since.saturating_add(SignedDuration::from_secs(i64::try_from(secs).ok()?)).ok()?;
    Some(Deadline { at, then })
}
