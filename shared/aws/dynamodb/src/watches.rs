//! The rows by which events find services and releases, and what a service has for itself alone.
//!
//! A service is found by what it releases from: that follows its policy. A release under way is found by what it is judged by: that follows the
//! release, is written by the change that starts or plans it and taken away by the one that ends it, whatever becomes of the policy meanwhile.

use tidegate_core::commit::ReleaseWrite;
use tidegate_core::ids::{RepositoryName, Target};
use tidegate_core::policy::{Destination, Policy};
use tidegate_core::ports::Watched;
use tidegate_core::service::ServiceRecord;

use crate::Installation;

/// Where a service with this policy releases from and to.
///
/// The repositories, the build project and the bucket are the home account's and region's: that is where their events arrive. The target is
/// where the policy says.
pub fn watched_by(policy: &Policy, installation: &Installation) -> Vec<Watched> {
    let repository = |name: &RepositoryName| {
        Watched::Repository(installation.account.clone(), installation.region.clone(), name.clone())
    };
    let mut watched: Vec<Watched> = policy.repositories().into_iter().map(repository).collect();
    watched.push(target_of(&policy.to, installation));
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
    watched
}

fn target_of(to: &Destination, installation: &Installation) -> Watched {
    Watched::of_target(&to.target(&installation.account, &installation.region))
}

/// Where a service releases from and to: by its policy, and where the release under way goes though a changed policy does not say so any more.
fn watched(head: &ServiceRecord, installation: &Installation) -> Vec<Watched> {
    if head.removed_at.is_some() {
        return Vec::new();
    }
    let mut watched = watched_by(&head.policy, installation);
    for to in head.open.iter().flat_map(|open| &open.targets) {
        let target = target_of(to, installation);
        // A transaction takes an item once only.
        if !watched.contains(&target) {
            watched.push(target);
        }
    }
    watched
}

/// By what a release is to be found from this change on, and by what no longer.
pub(crate) fn of_release(write: &ReleaseWrite) -> (Vec<Watched>, Vec<Watched>) {
    let before = write.before.as_deref().map(Watched::of_release).unwrap_or_default();
    let now = Watched::of_release(&write.release);
    let only = |these: &[Watched], others: &[Watched]| {
        these.iter().filter(|watched| !others.contains(watched)).cloned().collect()
    };
    (only(&now, &before), only(&before, &now))
}

/// The targets that this service alone releases to: its policy's, and that of a release under way whose policy has changed since.
fn owned(head: &ServiceRecord, installation: &Installation) -> Vec<Target> {
    if head.removed_at.is_some() {
        return Vec::new();
    }
    let open = head.open.iter().flat_map(|open| &open.targets);
    let mut owned: Vec<Target> = Vec::new();
    for to in std::iter::once(&head.policy.to).chain(open) {
        let target = to.target(&installation.account, &installation.region);
        if !owned.iter().any(|other| other.is_same_resource(&target)) {
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
    left.retain(|before| !now.iter().any(|now| now.is_same_resource(before)));
    let stays = old.is_some_and(|old| (&old.policy, old.removed_at) == (&new.policy, new.removed_at));
    (if stays { Vec::new() } else { now }, left)
}

/// What changes when a service's row takes another's place: what to watch from now on, and what no longer.
///
/// Nothing when policy and open targets are equal, and the policy is as much in force. Otherwise everything of the new one is written again, also what was watched before, so
/// that applying a policy fixes rows that were lost.
pub(crate) fn change(
    old: Option<&ServiceRecord>,
    new: &ServiceRecord,
    installation: &Installation,
) -> (Vec<Watched>, Vec<Watched>) {
    let found_by = |head: &ServiceRecord| (head.policy.clone(), head.open.clone(), head.removed_at);
    if old.is_some_and(|old| found_by(old) == found_by(new)) {
        return (Vec::new(), Vec::new());
    }
    let now = watched(new, installation);
    let before = old.map(|head| watched(head, installation)).unwrap_or_default();
    let dropped = before.into_iter().filter(|before| !now.contains(before)).collect();
    (now, dropped)
}
