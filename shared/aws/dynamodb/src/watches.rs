//! What a policy makes a service watch, the rows by which events find it, and what it has for itself alone.

use tidegate_core::ids::{AlarmName, Target};
use tidegate_core::policy::{EcsDestination, Policy};
use tidegate_core::ports::Watched;
use tidegate_core::service::ServiceRecord;

use crate::Installation;

/// Everything whose events concern a service with this policy.
///
/// The repository, the build project and the bucket are the home account's and region's: that is where their events arrive. Alarms
/// and the ECS service are where the policy's target is.
pub fn watched_by(policy: &Policy, installation: &Installation) -> Vec<Watched> {
    let target = policy.target(&installation.account, &installation.region);
    let repository = policy.from.ecr.repository.clone();
    let mut watched = vec![
        Watched::Repository(installation.account.clone(), installation.region.clone(), repository),
        Watched::EcsService(target.account.clone(), target.region.clone(), target.service.clone()),
    ];
    if let Some(build) = &policy.from.codebuild {
        watched.push(Watched::BuildProject(
            installation.account.clone(),
            installation.region.clone(),
            build.project.clone(),
        ));
    }
    if let Some(manifests) = &policy.from.s3 {
        watched.push(Watched::Bucket(manifests.bucket.clone()));
    }
    add_alarms(&mut watched, &policy.to.ecs, &policy.rollback.alarms, installation);
    watched
}

/// Everything whose events concern a service: its policy's, and what the release under way is judged by though a changed policy does not
/// say so any more.
fn watched(head: &ServiceRecord, installation: &Installation) -> Vec<Watched> {
    let mut watched = watched_by(&head.policy, installation);
    for open in head.open.iter().flat_map(|open| &open.targets) {
        let target = open.to.target(&installation.account, &installation.region);
        let service = Watched::EcsService(target.account, target.region, target.service);
        if !watched.contains(&service) {
            watched.push(service);
        }
        add_alarms(&mut watched, &open.to, &open.alarms, installation);
    }
    watched
}

/// The ECS services that this service alone releases to: its policy's, and that of a release under way whose policy has changed since.
fn owned(head: &ServiceRecord, installation: &Installation) -> Vec<Target> {
    let open = head.open.iter().flat_map(|open| &open.targets).map(|open| &open.to);
    let mut owned: Vec<Target> = Vec::new();
    for to in std::iter::once(&head.policy.to.ecs).chain(open) {
        let target = to.target(&installation.account, &installation.region);
        if !owned.iter().any(|other| other.is_same_service(&target)) {
            owned.push(target);
        }
    }
    owned
}

/// What has to become a service's own when its row takes another's place, and what no longer is.
///
/// Nothing is taken while the policy stays, so that the end of a release never depends on it.
pub(crate) fn taken(
    old: Option<&ServiceRecord>,
    new: &ServiceRecord,
    installation: &Installation,
) -> (Vec<Target>, Vec<Target>) {
    let now = owned(new, installation);
    let mut left = old.map(|head| owned(head, installation)).unwrap_or_default();
    left.retain(|before| !now.iter().any(|now| now.is_same_service(before)));
    let stays = old.is_some_and(|old| old.policy == new.policy);
    (if stays { Vec::new() } else { now }, left)
}

fn add_alarms(
    watched: &mut Vec<Watched>,
    to: &EcsDestination,
    alarms: &[AlarmName],
    installation: &Installation,
) {
    let Target { account, region, .. } = to.target(&installation.account, &installation.region);
    for alarm in alarms {
        let alarm = Watched::Alarm(account.clone(), region.clone(), alarm.clone());
        // An alarm named twice is watched once; a transaction takes an item once only.
        if !watched.contains(&alarm) {
            watched.push(alarm);
        }
    }
}

/// What changes when a service's row takes another's place: what to watch from now on, and what no longer.
///
/// Nothing when policy and open watches are equal. Otherwise everything of the new one is written again, also what was watched before, so
/// that applying a policy fixes rows that were lost.
pub(crate) fn change(
    old: Option<&ServiceRecord>,
    new: &ServiceRecord,
    installation: &Installation,
) -> (Vec<Watched>, Vec<Watched>) {
    if old.is_some_and(|old| (&old.policy, &old.open) == (&new.policy, &new.open)) {
        return (Vec::new(), Vec::new());
    }
    let now = watched(new, installation);
    let before = old.map(|head| watched(head, installation)).unwrap_or_default();
    let dropped = before.into_iter().filter(|before| !now.contains(before)).collect();
    (now, dropped)
}
