//! What a release is meant to do, where it comes from, and what was asked of it since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::ids::{ContainerName, ReleaseId, TaskDefinitionArn};

/// Where an image comes from, as far as was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Where the build is read about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What a release is meant to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// Bring a new image.
    Deploy,
    /// Bring a release promoted before again, on a person's word.
    Rollback {
        /// The release gone back from; `None` when what ran was deployed outside Tidegate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
        /// The release gone back to.
        to: ReleaseId,
        /// The task definition that release ran.
        task_definition: TaskDefinitionArn,
        /// The images its containers ran, by digest where that is known.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        images: BTreeMap<ContainerName, String>,
    },
}

/// What was asked of a release after it had started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Roll back.
    Rollback {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// Break off: before traffic has moved it ends as cancelled; after that it is rolled back first.
    Cancel {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// Make room for a newer release.
    Supersede {
        /// Which.
        by: ReleaseId,
    },
}
