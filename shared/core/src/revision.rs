//! Task definitions by what their containers run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, Digest, TaskDefinitionArn};
use crate::reference::{digest_of, pinned};

/// The images the service's tasks run now, as AWS says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningSeen {
    /// The digests of each container that were told, the one most tasks run first. None for a container whose image AWS tells no
    /// digest of; more than one when its tasks differ.
    pub digests: BTreeMap<ContainerName, Vec<Digest>>,
}

impl RunningSeen {
    /// The digests of a container.
    pub fn of(&self, container: &ContainerName) -> &[Digest] {
        self.digests.get(container).map_or(&[], Vec::as_slice)
    }
}

/// The image a container ran before a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StableImage {
    /// As the task definition writes it.
    pub reference: String,
    /// The digests that ran, the one to return to first; none when AWS told none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
}

impl StableImage {
    /// Host, repository and digest to return to; `None` when the digest is not known.
    pub fn pinned(&self) -> Option<String> {
        self.digests.first().map(|digest| pinned(&self.reference, digest))
    }

    /// Whether both are the same images, in whatever order they were counted.
    pub fn is_same(&self, other: &Self) -> bool {
        let set = |image: &Self| image.digests.iter().cloned().collect::<BTreeSet<_>>();
        self.reference == other.reference && set(self) == set(other)
    }

    /// Whether the task definition itself says the digest that ran, so that deploying it again brings the same image.
    pub fn is_pinned(&self) -> bool {
        self.digests.first().is_none_or(|digest| digest_of(&self.reference).as_ref() == Some(digest))
    }
}

/// A revision that is another one with the images of some containers replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedRevision {
    /// The revision to start from.
    pub from: TaskDefinitionArn,
    /// The references that replace those of `from`, by container, each by digest.
    pub images: BTreeMap<ContainerName, String>,
}

impl std::fmt::Display for DerivedRevision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let images = self.images.iter().map(|(container, reference)| {
            let digest = digest_of(reference);
            format!("{container} = {}", digest.as_ref().map_or(reference.as_str(), Digest::short))
        });
        write!(f, "{} with {}", self.from.family(), images.collect::<Vec<_>>().join(", "))
    }
}
