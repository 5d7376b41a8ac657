//! Where a deployment waits for us, and where it waits for somebody else.

use super::pauses::{Pause, Pauses, Whose};
use crate::history::Fact;
use crate::ids::HookId;
use crate::plan::EcsNative;
use crate::policy::Percent;
use crate::turn::Turn;
use crate::vocab::ecs::{DeploymentSeen, HookSeen};

/// A pause hook of ours that waits and was not used before: the one before the promotion, or one before a shift.
pub(super) fn awaiting<'a>(
    turn: &Turn<'_>,
    setup: &EcsNative,
    deployment: &'a DeploymentSeen,
    pause: Pause,
    used: &[HookId],
) -> Option<&'a HookSeen> {
    let pauses = Pauses::of_deployment(deployment, &setup.configuration);
    deployment.hooks.iter().find(|hook| {
        hook.pause
            && hook.awaiting
            && !used.contains(&hook.id)
            && pauses.whose(deployment, hook, turn.seen.at) == Whose::Ours
            && which(turn, deployment, hook) == pause
    })
}

/// Which of our pauses one is. AWS's enumeration of `lifecycleStage` lacks the stage the pauses before a shift are in, so what a deployment
/// says while it waits is relied on only where it is the stage of the hook; otherwise it is how far the traffic is.
fn which(turn: &Turn<'_>, deployment: &DeploymentSeen, hook: &HookSeen) -> Pause {
    let stage = hook.stage.as_deref().or(deployment.stage.as_deref());
    let said = [Pause::BeforeShift, Pause::BeforePromotion].into_iter().find(|it| Some(it.stage()) == stage);
    said.unwrap_or_else(|| {
        // What was set last is all there is to go by where ECS tells no weights, as without a load balancer.
        let shifted = deployment.weight == Some(Percent::ALL) || turn.next.progress.set == Some(Percent::ALL);
        if shifted { Pause::BeforePromotion } else { Pause::BeforeShift }
    })
}

/// Says that the deployment waits at a pause that is not ours: somebody has to answer it.
pub(super) fn note_other_pauses(turn: &mut Turn<'_>, setup: &EcsNative, deployment: &DeploymentSeen) {
    let pauses = Pauses::of_deployment(deployment, &setup.configuration);
    for hook in deployment.hooks.iter().filter(|hook| hook.pause && hook.awaiting) {
        match pauses.whose(deployment, hook, turn.seen.at) {
            Whose::Ours => {}
            Whose::Theirs => turn.note(Fact::OtherPause { unclear: false }),
            Whose::Unclear => turn.note(Fact::OtherPause { unclear: true }),
        }
    }
}
