//! ROLLING: tasks are replaced a few at a time within `maximumPercent` and `minimumHealthyPercent`.

use super::machine::{Progress, wait};
use super::model::{Deployment, RevisionId, Service};

/// One look at a rolling deployment: sizes of the fleets, and whether the target has replaced everything.
pub(super) fn forward(deployment: &Deployment, service: &mut Service) -> Progress {
    replace(deployment, service, deployment.target)
}

/// The same towards the source.
pub(super) fn back(deployment: &Deployment, service: &mut Service) -> Progress {
    match deployment.source {
        Some(source) => replace(deployment, service, source),
        None => Progress::Done,
    }
}

fn replace(deployment: &Deployment, service: &mut Service, to: RevisionId) -> Progress {
    let desired = service.desired;
    let others: Vec<RevisionId> =
        (0..service.revisions.len()).map(RevisionId).filter(|id| *id != to).collect();
    // Both roundings are AWS's: up for what has to stay healthy, down for what may run.
    let minimum = (desired * deployment.config.minimum_healthy_percent).div_ceil(100);
    let maximum = desired * deployment.config.maximum_percent / 100;

    let present_others: u32 = others.iter().map(|id| service.present(*id)).sum();
    let healthy: u32 = service.healthy(to) + others.iter().map(|id| service.healthy(*id)).sum::<u32>();
    let room = maximum.saturating_sub(present_others);
    let wanted = desired.min(room).max(service.alive(to).min(desired));
    service.revision_mut(to).requested = wanted;

    let mut spare = healthy.saturating_sub(minimum);
    for id in others {
        let (alive, healthy) = (service.alive(id), service.healthy(id));
        // Tasks that are not healthy do not count towards the minimum and go at once.
        let keep = healthy - spare.min(healthy);
        spare -= healthy - keep;
        service.revision_mut(id).requested = keep.min(alive);
    }
    wait(service.healthy(to) >= desired && present_others == 0)
}
