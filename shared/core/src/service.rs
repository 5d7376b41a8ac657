//! What the ledger keeps of a service: its policy, its place in the queue, what was promoted and what is quarantined.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change::Change;
use crate::ids::{ContainerName, Digest, Image, ReleaseId, RepositoryName};
use crate::intent::Deployed;
use crate::policy::{Destination, Policy};
use crate::push::PushTimes;
use crate::reference::{digest_of, image_of};

/// A service's row in the ledger: its policy and its place in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Counts changes; every write names the version it was decided on.
    pub version: u64,
    /// The policy releases are planned from.
    pub policy: Policy,
    /// Since when the policy's source is watched: images pushed before are not released by themselves.
    pub watching_since: Timestamp,
    /// The one release under way.
    #[serde(default)]
    pub active: Option<ReleaseId>,
    /// The one release that waits; only the newest waits.
    #[serde(default)]
    pub waiting: Option<ReleaseId>,
    /// The releases promoted last, newest first, at most [`ServiceRecord::PROMOTED_KEPT`].
    #[serde(default)]
    pub promoted: Vec<Promoted>,
    /// Digests that were rolled back here and are not released again unless a person says so.
    #[serde(default)]
    pub quarantine: BTreeMap<Digest, Quarantined>,
    /// The newest that was let in of each container's images: what is older is not released again by a machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub newest: BTreeMap<ContainerName, PushTimes>,
    /// Where the release under way may go though the policy no longer says so: those targets stay the service's own until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenTargets>,
    /// What a release that ended left in the target because it could not be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<LeftBehind>,
    /// When its policy was removed: nothing releases the service any more, and what is known of it stays for a policy that comes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

impl ServiceRecord {
    /// How many promoted releases are remembered for a manual rollback.
    pub const PROMOTED_KEPT: usize = 20;
    /// How many quarantined digests are remembered; the oldest is dropped beyond it (ECR has long expired it).
    pub const QUARANTINE_KEPT: usize = 200;

    /// A service without history.
    pub fn new(policy: Policy, now: Timestamp) -> Self {
        Self {
            version: 0,
            policy,
            watching_since: now,
            active: None,
            waiting: None,
            promoted: Vec::new(),
            quarantine: BTreeMap::new(),
            newest: BTreeMap::new(),
            open: None,
            left_behind: None,
            removed_at: None,
        }
    }

    /// What a promoted release had deployed, of every container the policy releases, with the tags its images are known by.
    pub fn version_of(&self, promoted: &Promoted) -> Change {
        let known = |of: &Image| {
            let images = self.promoted.iter().flat_map(|one| one.change.images());
            let is_it = |image: &&Image| (&image.repository, &image.digest) == (&of.repository, &of.digest);
            images.into_iter().find(is_it).cloned()
        };
        let of = |container: &ContainerName| {
            let image = promoted.change.image(container).cloned().or_else(|| {
                let image = image_of(promoted.deployed.image(container)?)?;
                Some(known(&image).unwrap_or(image))
            })?;
            Some((container.clone(), image))
        };
        let containers = self.policy.to.containers().keys().filter_map(of).collect();
        Change::new(containers).unwrap_or_else(|| promoted.change.clone())
    }

    /// The newest that was let in of a container's images.
    pub fn newest(&self, container: &ContainerName) -> PushTimes {
        self.newest.get(container).copied().unwrap_or_default()
    }

    /// The newest that was let in of a repository's images, whichever container they went into.
    pub fn newest_of(&self, repository: &RepositoryName) -> PushTimes {
        let containers = self.policy.containers_of(repository);
        containers.map(|container| self.newest(container)).fold(PushTimes::default(), PushTimes::newer)
    }
}

/// A deployment configuration of ours that a release left in a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// The release.
    pub release: ReleaseId,
    /// What.
    pub left: Left,
}

/// What of a release is left in its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Left {
    /// The deployment configuration of an ECS service.
    EcsConfiguration {
        /// What the release had set.
        set: Value,
        /// What should have been restored.
        own: Value,
    },
}

/// Where policies went that were in force while the release under way was: it may have been planned from any of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenTargets {
    /// Each once.
    pub targets: Vec<Destination>,
}

/// A release that was promoted: where a manual rollback can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The release.
    pub release: ReleaseId,
    /// What it brought.
    pub change: Change,
    /// What it had deployed.
    pub deployed: Deployed,
    /// When.
    pub at: Timestamp,
}

impl Promoted {
    /// The digest a container runs once this has been deployed.
    pub fn digest(&self, container: &ContainerName) -> Option<Digest> {
        let brought = self.change.image(container).map(|image| image.digest.clone());
        brought.or_else(|| digest_of(self.deployed.image(container)?))
    }

    /// Whether a service runs all of a change once this has been deployed.
    pub fn runs(&self, change: &Change) -> bool {
        change.iter().all(|(container, image)| self.digest(container).as_ref() == Some(&image.digest))
    }
}

/// Why a digest is not released again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The release that was rolled back.
    pub release: ReleaseId,
    /// Why it was.
    pub why: String,
    /// When.
    pub at: Timestamp,
}
