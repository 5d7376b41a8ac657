//! Whether production traffic is where the release has put it. One question for all stages: those that wait ask it at every look, every
//! continue asks it first, and the last look asks it once more. Tidegate sets no weight here, so what differs was set by someone else.

use jiff::Timestamp;

use super::deployments::is_stable;
use crate::engine::Traffic;
use crate::observation::Observation;
use crate::plan::{EcsNative, Plan, Stage};
use crate::policy::Percent;
use crate::turn::{LAG, Turn};
use crate::vocab::ecs::DeploymentStatus;

/// Compares the live weights with the share the candidate should have.
pub(super) fn compare(setup: &EcsNative, seen: &Observation, share: Percent) -> Traffic {
    if setup.measured_at.is_empty() {
        return Traffic::AsSet;
    }
    if seen.elb.weights.known().is_none() {
        let why = seen.elb.weights.error().map_or_else(|| "not asked for".to_owned(), ToString::to_string);
        return Traffic::Unseen(why);
    }
    drift(setup, seen, share).map_or(Traffic::AsSet, Traffic::Differs)
}

/// What differs from the share this stage keeps, for longer than reads may lag behind its beginning. `None` in a shift, which changes the
/// share and judges it itself, and before a deployment of ours could have changed anything.
pub(super) fn drifted(
    turn: &Turn<'_>,
    setup: &EcsNative,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
) -> Option<String> {
    let shifts = matches!(plan.stages.get(stage), Some(Stage::Shift { .. } | Stage::RollOut));
    if shifts || !turn.next.is_started() || turn.now.duration_since(since) < LAG {
        return None;
    }
    match compare(setup, turn.seen, plan.share_before(stage)) {
        Traffic::Differs(detail) => Some(detail),
        Traffic::AsSet | Traffic::Unseen(_) => None,
    }
}

/// Whether traffic is where the outcome says, in the last look. A deployment back may have landed in either target group, as long as it has
/// all of it.
pub(super) fn at_the_end(turn: &Turn<'_>, setup: &EcsNative, promoted: bool) -> Traffic {
    if !turn.next.is_started() {
        return Traffic::AsSet;
    }
    let expected = compare(setup, turn.seen, if promoted { Percent::ALL } else { Percent::NONE });
    let returned = || {
        turn.seen.ecs.deployments.known().into_iter().flatten().any(|deployment| {
            deployment
                .task_definition
                .as_ref()
                .is_some_and(|arn| is_stable(turn, &setup.rollback_target, arn))
                && deployment.status == DeploymentStatus::Successful
        })
    };
    match expected {
        Traffic::Differs(_) if !promoted && returned() => {
            let other = compare(setup, turn.seen, Percent::ALL);
            if other == Traffic::AsSet { other } else { expected }
        }
        Traffic::AsSet | Traffic::Unseen(_) | Traffic::Differs(_) => expected,
    }
}

/// What differs between the live weights and the share that should be live; `None` when nothing differs or nothing was seen.
fn drift(setup: &EcsNative, seen: &Observation, wanted: Percent) -> Option<String> {
    let rules = seen.elb.weights.known()?;
    setup.measured_at.iter().find_map(|(rule, group)| {
        let live = rules.iter().find(|seen| seen.arn == *rule).and_then(|seen| seen.share(group));
        live.is_none_or(|live| !live.is_rounded(wanted)).then(|| {
            let live = live.map_or_else(|| "nothing".to_owned(), |live| format!("{live}%"));
            format!("{} has {live}, {wanted}% was set", group.short())
        })
    })
}
