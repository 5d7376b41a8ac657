//! The revisions that a release of an ECS service registers before anything starts: the same for every engine that has one.

use crate::effect::RETRY_AFTER;
use crate::engine::{Act, Move};
use crate::history::{Fact, StageResult, WaitingOn};
use crate::plan::{EcsRollbackTarget, Preparation, Stage};
use crate::release::{Release, Step};
use crate::turn::Turn;
use crate::vocab::ecs::{DerivedRevision, Effect};

/// The revision to register for this; `None` where the one that ran names every image by digest already.
fn of(
    what: Preparation,
    rollback_target: &EcsRollbackTarget,
    candidate: &DerivedRevision,
) -> Option<DerivedRevision> {
    match what {
        Preparation::RollbackTarget => rollback_target.pinned(),
        Preparation::Candidate => Some(candidate.clone()),
    }
}

/// The revision that is registered in the current stage.
pub(super) fn registered(
    release: &Release,
    rollback_target: &EcsRollbackTarget,
    candidate: &DerivedRevision,
) -> Option<DerivedRevision> {
    match release.stage()? {
        Stage::Prepare { what } => of(*what, rollback_target, candidate),
        Stage::Start
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. }
        | Stage::RollOut
        | Stage::Promote => None,
    }
}

/// Ensures that a revision is registered, and remembers what it is for. `None`: whether it is could not be seen.
pub(super) fn register(
    turn: &mut Turn<'_>,
    step: &Step,
    what: Preparation,
    rollback_target: &EcsRollbackTarget,
    candidate: &DerivedRevision,
) -> Option<Move> {
    let Some(revision) = of(what, rollback_target, candidate) else {
        return Some(Move::Done(StageResult::AlreadyPinned));
    };
    let waiting_on = WaitingOn::Registration { again: false };
    Some(match turn.seen.ecs.revision.known()? {
        Some(arn) => {
            turn.saw(Fact::Registered { task_definition: arn.clone(), revision: revision.to_string() });
            turn.next.progress.state.keep_registered(what, arn.clone());
            Move::Done(StageResult::Registered)
        }
        None if step.is_due(turn.now, RETRY_AFTER) => {
            let effect = Effect::RegisterTaskDefinition { release: turn.old.id.clone(), revision };
            let progress = turn.next.progress.clone();
            Move::Act(Box::new(Act {
                effects: vec![effect.into()],
                progress,
                event: None,
                waiting_on,
                proof: None,
            }))
        }
        None => Move::Wait(RETRY_AFTER, waiting_on),
    })
}
