//! Amazon ECR: images, where they are kept and what scans of them found.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::policy::SeverityName;
use crate::seen::Seen;

/// An image in ECR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSeen {
    /// Its digest.
    pub digest: Digest,
    /// Whether the repository's lifecycle policy is about to expire it.
    pub expiring: bool,
    /// Whether it is archived, which ECS cannot pull.
    pub archived: bool,
    /// The images it stands for, one for each platform: those of an index, or itself.
    pub parts: Seen<Vec<ImagePart>>,
}

impl ImageSeen {
    /// An image that is there and will stay, of a platform that nobody knows.
    pub fn there(digest: Digest) -> Self {
        Self { digest, expiring: false, archived: false, parts: Seen::Known(Vec::new()) }
    }

    /// Every digest AWS may call a task's image by that runs this one: its own, and those of its parts.
    pub fn digests(&self) -> Vec<Digest> {
        let parts = self.parts.known().into_iter().flatten().map(|part| part.digest.clone());
        std::iter::once(self.digest.clone()).chain(parts.filter(|part| *part != self.digest)).collect()
    }
}

/// An image that an index names, or one that stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePart {
    /// Its digest.
    pub digest: Digest,
    /// What it runs on; `None` for what is no image, as attestations are.
    pub platform: Option<Platform>,
}

/// An operating system and a processor, as images name them: `linux`, `arm64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor's architecture.
    pub architecture: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is there.
    There(ImageSeen),
    /// ECR does not have it (any more).
    Gone,
    /// It is in no private ECR registry, so nobody was asked.
    Elsewhere,
}

/// What a scan of the image found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSeen {
    /// How far it is.
    pub status: ScanStatus,
    /// The findings.
    pub findings: Vec<ScanFinding>,
}

/// How far a scan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScanStatus {
    /// Done.
    Complete,
    /// Not yet, or never started.
    Pending,
    /// It cannot be done, with what AWS says.
    Failed(String),
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFinding {
    /// `CVE-2026-1234`.
    pub id: String,
    /// How bad.
    pub severity: SeverityName,
}
