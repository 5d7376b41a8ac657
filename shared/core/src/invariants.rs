//! What must always hold, as functions: called before writing, after reading, and by the simulator.

use crate::observation::ServiceHead;
use crate::policy::Percent;
use crate::release::{Outcome, Phase, Release};

/// What holds for every release by itself. The errors name what is broken.
pub fn check_release(release: &Release) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    if release.is_over() == release.wake.is_some() {
        broken.push(if release.is_over() {
            "an ended release must have no wake-up".to_owned()
        } else {
            "a release that has not ended must have a wake-up: nothing waits for an event alone".to_owned()
        });
    }
    match &release.phase {
        Phase::Running { stage, .. } => match &release.plan {
            None => broken.push("a running release must have a plan".to_owned()),
            Some(plan) if *stage >= plan.stages.len() => {
                broken.push(format!("stage {stage} is beyond the plan's {} stages", plan.stages.len()));
            }
            Some(_) => {}
        },
        Phase::Queued | Phase::Preparing { .. } => {
            if release.progress.deployment.is_some() {
                broken.push("a release that has not started must have no deployment".to_owned());
            }
        }
        Phase::RollingBack { .. } | Phase::Settling { .. } | Phase::Ended { .. } => {}
    }
    if let Some(plan) = &release.plan
        && plan.image.digest != release.image.digest
    {
        broken.push("the plan's image must be the release's".to_owned());
    }
    if release.progress.deployment.is_some() && release.plan.is_none() {
        broken.push("a deployment must have a plan, and with it a way back".to_owned());
    }
    result(broken)
}

/// What holds for a service's row.
pub fn check_head(head: &ServiceHead) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    if head.active.is_some() && head.active == head.waiting {
        broken.push("the active release must not also wait".to_owned());
    }
    if head.promoted.len() > ServiceHead::PROMOTED_KEPT {
        broken.push(format!("at most {} promoted releases are kept", ServiceHead::PROMOTED_KEPT));
    }
    result(broken)
}

/// What holds between a release and its next version.
pub fn check_step(old: &Release, new: &Release) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    if old.is_over() {
        broken.push("an ended release never changes".to_owned());
    }
    if new.version != old.version + 1 {
        broken.push(format!("version {} must follow {}", old.version + 1, old.version));
    }
    if (&old.id, &old.image, &old.target) != (&new.id, &new.image, &new.target) {
        broken.push("id, image and target never change: what runs is what was asked for".to_owned());
    }
    let made_anew = matches!((&old.phase, &new.phase), (Phase::Running { .. }, Phase::Preparing { .. }))
        && new.plan.is_none()
        && old.progress.asked_at.is_none();
    if let Some(plan) = &old.plan
        && new.plan.as_ref() != Some(plan)
        && !made_anew
    {
        broken.push("a plan never changes once it is made, unless nothing was started by it".to_owned());
    }
    if goes_back(&old.phase) && !goes_back(&new.phase) {
        broken.push("a release on the way back never goes forward again".to_owned());
    }
    let share = |release: &Release| release.progress.set.unwrap_or(Percent::NONE);
    if goes_back(&old.phase) && share(new) > share(old) {
        broken.push("after a breach the candidate's share never rises again".to_owned());
    }
    if let (Phase::Running { stage: from, .. }, Phase::Running { stage: to, .. }) = (&old.phase, &new.phase)
        && (to < from || *to > from + 1)
    {
        broken.push(format!("stages are taken one at a time, not from {from} to {to}"));
    }
    if matches!(new.phase, Phase::Ended { outcome: Outcome::Promoted, .. })
        && new.plan.as_ref().is_some_and(crate::plan::Plan::is_held)
        && new.progress.set != Some(Percent::ALL)
    {
        broken.push("a promoted release carries all traffic".to_owned());
    }
    result(broken)
}

/// Whether the release is on the way back, or will end as something else than promoted.
fn goes_back(phase: &Phase) -> bool {
    match phase {
        Phase::RollingBack { .. } => true,
        Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => *outcome != Outcome::Promoted,
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => false,
    }
}

fn result(broken: Vec<String>) -> Result<(), Vec<String>> {
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}
