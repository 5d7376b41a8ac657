//! ROLLING: tasks are replaced a few at a time within `maximumPercent` and `minimumHealthyPercent`.

use super::config::Config;
use super::machine::{Progress, wait};
use super::model::{Deployment, RevisionId, Service};

/// One look at a rolling deployment: sizes of the fleets, and whether the target has replaced everything, or enough of it for the
/// early success criteria.
pub(super) fn forward(deployment: &Deployment, service: &mut Service) -> Progress {
    let (config, target) = (&deployment.config, deployment.target);
    let replaced = replace(config, service, target);
    let Some(early) = config.early_success else { return wait(replaced) };
    let enough = (service.desired * early.healthy_percent).div_ceil(100);
    let cleaned_up = early.deferred || others(service, target).iter().all(|id| service.present(*id) == 0);
    wait(replaced || (service.healthy(target) >= enough && cleaned_up))
}

/// The same towards the source.
pub(super) fn back(deployment: &Deployment, service: &mut Service) -> Progress {
    match deployment.source {
        Some(source) => wait(replace(&deployment.config, service, source)),
        None => Progress::Done,
    }
}

fn others(service: &Service, to: RevisionId) -> Vec<RevisionId> {
    (0..service.revisions.len()).map(RevisionId).filter(|id| *id != to).collect()
}

/// Replaces what may be replaced now. Whether nothing is left to do.
pub(super) fn replace(config: &Config, service: &mut Service, to: RevisionId) -> bool {
    let desired = service.desired;
    let others = others(service, to);
    // Both roundings are AWS's: up for what has to stay healthy, down for what may run.
    let minimum = (desired * config.minimum_healthy_percent).div_ceil(100);
    let maximum = desired * config.maximum_percent / 100;

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
    service.healthy(to) >= desired && present_others == 0
}
