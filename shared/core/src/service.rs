//! What the ledger keeps of a service: its policy, its place in the queue, what was promoted and what is quarantined.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{Digest, ReleaseId};
use crate::intent::Deployed;
use crate::policy::{EcsDestination, Policy};

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
    /// When the tag that was let in by a push last was put on its image, by the time of its event: an event that comes late starts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_push: Option<Timestamp>,
    /// When the newest image that was let in without a person was pushed: an older one is not released again by a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_image: Option<Timestamp>,
    /// When the newest image that was let in by a webhook was announced, as its sender says: what a mirror brings later need not be newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_said: Option<Timestamp>,
    /// Where the release under way may go though the policy no longer says so: those ECS services stay the service's own until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenTargets>,
    /// What a release that ended left in the ECS service because it could not be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<LeftBehind>,
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
            newest_push: None,
            open: None,
            left_behind: None,
            newest_image: None,
            newest_said: None,
        }
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
    pub targets: Vec<EcsDestination>,
}

/// A release that was promoted: where a manual rollback can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The release.
    pub release: ReleaseId,
    /// Its image.
    pub image: crate::ids::Image,
    /// What it had deployed.
    pub deployed: Deployed,
    /// When.
    pub at: Timestamp,
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
