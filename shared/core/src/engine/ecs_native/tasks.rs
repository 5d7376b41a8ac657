//! Tasks of the candidate that fail. Amazon ECS's circuit breaker only watches rolling deployments, so they are counted here: from events
//! and from looks, each task once.

use jiff::Timestamp;

use crate::history::{Event, Fact};
use crate::ids::TaskDefinitionArn;
use crate::observation::Hint;
use crate::plan::{Plan, Stage};
use crate::policy::FAILED_TASKS_KEPT;
use crate::release::{Phase, Release};
use crate::turn::{CLOCK_SKEW, Turn};
use crate::vocab::tasks::{FailedTask, StoppedTask};

/// Whose stopped tasks a decision about this release needs to see: the candidate's, from its deployment until it is promoted.
/// `candidate` is its revision, once there is one.
pub(in crate::engine) fn needed(
    release: &Release,
    plan: &Plan,
    candidate: Option<&TaskDefinitionArn>,
) -> Option<TaskDefinitionArn> {
    let Phase::Running { stage, .. } = &release.phase else { return None };
    let starts = plan.stages.iter().position(|stage| *stage == Stage::Start)?;
    candidate.filter(|_| *stage >= starts).cloned()
}

/// Adds the failures that were told or seen to those the release knows.
/// `began` is when the candidate did, as far as that was seen.
pub(in crate::engine) fn count(
    turn: &mut Turn<'_>,
    plan: &Plan,
    candidate: Option<&TaskDefinitionArn>,
    began: Option<Timestamp>,
) {
    let Some(candidate) = needed(turn.old, plan, candidate) else { return };
    let hinted = turn.seen.hints.iter().filter_map(|hint| match hint {
        Hint::Task(task) => Some(&**task),
        Hint::Alarm { .. } | Hint::Look => None,
    });
    let told: Vec<&StoppedTask> =
        hinted.chain(turn.seen.ecs.stopped_tasks.known().into_iter().flatten()).collect();
    let released: Vec<_> = plan.change.containers().collect();
    let before = turn.next.progress.failed_tasks.len();
    for task in told {
        if !is_candidates(turn, task, &candidate, began) {
            continue;
        }
        let Some(failed) = FailedTask::of(task, &released) else { continue };
        let kept = &mut turn.next.progress.failed_tasks;
        if let Some(known) = kept.iter_mut().find(|known| known.task == failed.task) {
            *known = known.clone().completed_by(failed);
        } else if kept.len() < FAILED_TASKS_KEPT {
            kept.push(failed);
        }
    }
    tell(turn, plan, before);
}

/// Whether the task belongs to the release's own deployment. Its task definition may have run before (a rollback release brings back an
/// older one, and an image may be released twice): tasks of then were created before our deployment.
fn is_candidates(
    turn: &Turn<'_>,
    task: &StoppedTask,
    candidate: &TaskDefinitionArn,
    began: Option<Timestamp>,
) -> bool {
    let started = turn.next.progress.started_at.and_then(|at| at.saturating_sub(CLOCK_SKEW).ok());
    let since: Option<Timestamp> = started.max(began);
    *candidate == task.task_definition
        && task.created_at.zip(since).is_some_and(|(created, since)| created >= since)
}

fn tell(turn: &mut Turn<'_>, plan: &Plan, before: usize) {
    let failed = turn.next.progress.failed_tasks.clone();
    if let Some(error) = turn.seen.ecs.stopped_tasks.error() {
        turn.note(Fact::StoppedTasksUnseen { error: error.to_string() });
    }
    let Some(last) = failed.last() else { return };
    let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
    turn.note(Fact::FailedTasks { count, last: Box::new(last.clone()), limit: plan.failed_tasks });
    if failed.len() > before {
        turn.notice(Event::TasksFailed { count, last: Box::new(last.clone()) });
    }
}
