//! What must always hold, as functions: called before writing, after reading, and by the simulator.

use crate::commit::{Commit, ReleaseWrite, ServiceWrite};
use crate::decide::Decision;
use crate::effect::Effect;
use crate::outcome::Outcome;
use crate::policy::Percent;
use crate::release::{Phase, Release};
use crate::service::ServiceRecord;

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
            if release.is_started() {
                broken.push("a release that has not started must have no deployment".to_owned());
            }
        }
        Phase::RollingBack(_) | Phase::Settling { .. } | Phase::Ended { .. } => {}
    }
    if (release.pause.is_some() || release.promote_now.is_some())
        && !matches!(release.phase, Phase::Running { .. })
    {
        broken.push("only a release in a stage of its plan is paused, or promoted now".to_owned());
    }
    if let Some(plan) = &release.plan
        && !plan.change.is_same(&release.change)
    {
        broken.push("the plan's images must be the release's".to_owned());
    }
    if release.is_started() && release.plan.is_none() {
        broken.push("a deployment must have a plan, and with it a rollback target".to_owned());
    }
    result(broken)
}

/// What holds for a service's row.
pub fn check_head(head: &ServiceRecord) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    if head.active.is_some() && head.active == head.waiting {
        broken.push("the active release must not also wait".to_owned());
    }
    if head.removed_at.is_some() && (head.active.is_some() || head.waiting.is_some()) {
        broken.push("a service whose policy was removed has no open release".to_owned());
    }
    if head.promoted.len() > ServiceRecord::PROMOTED_KEPT {
        broken.push(format!("at most {} promoted releases are kept", ServiceRecord::PROMOTED_KEPT));
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
    if (&old.id, &old.change, &old.target) != (&new.id, &new.change, &new.target) {
        broken.push("id, images and target never change: what runs is what was asked for".to_owned());
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
        broken.push("a release that is being rolled back never goes forward again".to_owned());
    }
    let share = |release: &Release| release.progress.set.unwrap_or(Percent::NONE);
    if goes_back(&old.phase) && share(new) > share(old) {
        broken.push("after a breach the candidate's share never rises again".to_owned());
    }
    let held = |release: &Release| release.pause.is_some();
    if held(old) && held(new) && (is_elsewhere(&old.phase, &new.phase) || share(new) > share(old)) {
        broken.push("a paused release stays where it is until it is continued or rolled back".to_owned());
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

/// The change to write; `None` when there is nothing to write. There is no other way from a decision to a commit, so that none is written, and
/// none of its effects performed, that breaks what must hold.
pub fn checked_commit(
    old: &Release,
    old_head: Option<&ServiceRecord>,
    decision: &Decision,
) -> Result<Option<Commit>, Vec<String>> {
    check_decision(old, decision)?;
    if decision.release.version == old.version {
        return Ok(None);
    }
    let release = ReleaseWrite {
        before: Some(Box::new(old.clone())),
        release: decision.release.clone(),
        entry: decision.entry.clone(),
    };
    let head = decision.head.clone().map(|head| ServiceWrite {
        service: old.service.clone(),
        expected: old_head.map(|head| head.version),
        head,
        entry: None,
    });
    Ok(Some(Commit { releases: vec![release], head, ..Commit::default() }))
}

/// What holds for a decision about `old`: checked before it is committed, so that no fault of a rule reaches the world.
pub fn check_decision(old: &Release, decision: &Decision) -> Result<(), Vec<String>> {
    let new = &decision.release;
    let mut broken = Vec::new();
    if new.version == old.version {
        if new != old || !decision.effects.is_empty() || decision.entry.is_some() || decision.head.is_some() {
            broken.push("what is not written as a new version changes nothing and does nothing".to_owned());
        }
        return result(broken);
    }
    if let Err(step) = check_step(old, new) {
        broken.extend(step);
    }
    if let Err(release) = check_release(new) {
        broken.extend(release);
    }
    if new.is_over() && !decision.effects.is_empty() {
        broken.push("an ended release does nothing more to the world".to_owned());
    }
    if let Some(effect) = decision.effects.iter().find(|effect| moves_forward(new, effect)) {
        broken.push(format!(
            "after a breach nothing gives the candidate more traffic, but it is decided to {effect}"
        ));
    }
    if decision.effects.iter().filter(|effect| effect.deploys()).count() > 1 {
        broken.push("one decision starts one deployment at most".to_owned());
    }
    if (is_elsewhere(&old.phase, &new.phase) || !decision.effects.is_empty()) && decision.entry.is_none() {
        broken.push("every transition and every effect has its history entry".to_owned());
    }
    if let Some(entry) = decision.entry.as_ref().filter(|entry| entry.version != new.version) {
        broken.push(format!(
            "the history entry of version {} cannot be of version {}",
            new.version, entry.version
        ));
    }
    result(broken)
}

fn is_elsewhere(old: &Phase, new: &Phase) -> bool {
    match (old, new) {
        (Phase::Running { stage: from, .. }, Phase::Running { stage: to, .. }) => from != to,
        _ => std::mem::discriminant(old) != std::mem::discriminant(new),
    }
}

/// Whether the effect gives the release's candidate more traffic though the release goes back. Another deployment that inherited our
/// pauses is continued all the same: it is not the candidate.
fn moves_forward(release: &Release, effect: &Effect) -> bool {
    effect.is_forward() && release.progress.state.is_candidates(effect) && goes_back(&release.phase)
}

/// Whether the release is being rolled back, or will end as something else than promoted.
fn goes_back(phase: &Phase) -> bool {
    match phase {
        Phase::RollingBack(_) => true,
        Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => *outcome != Outcome::Promoted,
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => false,
    }
}

fn result(broken: Vec<String>) -> Result<(), Vec<String>> {
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}
