//! What a policy makes a service watch: the rows by which events find it.

use tidegate_core::policy::Policy;
use tidegate_core::ports::Watched;

use crate::Home;

/// Everything whose events concern a service with this policy.
///
/// The repository, the build project and the bucket are the home account's and region's: that is where their events arrive. Alarms
/// and the ECS service are where the policy's target is.
pub fn watched_by(policy: &Policy, home: &Home) -> Vec<Watched> {
    let target = policy.target(&home.account, &home.region);
    let repository = policy.from.ecr.repository.clone();
    let mut watched = vec![
        Watched::Repository(home.account.clone(), home.region.clone(), repository),
        Watched::EcsService(target.account.clone(), target.region.clone(), target.service.clone()),
    ];
    if let Some(build) = &policy.from.codebuild {
        watched.push(Watched::BuildProject(home.account.clone(), home.region.clone(), build.project.clone()));
    }
    if let Some(manifests) = &policy.from.s3 {
        watched.push(Watched::Bucket(manifests.bucket.clone()));
    }
    for alarm in &policy.rollback.alarms {
        let alarm = Watched::Alarm(target.account.clone(), target.region.clone(), alarm.clone());
        // An alarm named twice is watched once; a transaction takes an item once only.
        if !watched.contains(&alarm) {
            watched.push(alarm);
        }
    }
    watched
}

/// What changes when a policy takes another's place: what to watch from now on, and what no longer.
///
/// Nothing when the policies are equal. Otherwise everything of the new one is written again, also what was watched before, so that
/// applying a policy mends rows that were lost.
pub(crate) fn change(old: Option<&Policy>, new: &Policy, home: &Home) -> (Vec<Watched>, Vec<Watched>) {
    if old == Some(new) {
        return (Vec::new(), Vec::new());
    }
    let watched = watched_by(new, home);
    let old = old.map(|policy| watched_by(policy, home)).unwrap_or_default();
    let dropped = old.into_iter().filter(|before| !watched.contains(before)).collect();
    (watched, dropped)
}
