//! Amazon ECR and Amazon Inspector: images pushed, replicated, archived, deleted and scanned.
//!
//! One push of a multi-architecture image is several events: the index carries the tag, its children come with an empty one or
//! with none at all.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_core::ids::{AccountId, Digest, Image, Region, RepositoryName, Tag};
use tidegate_core::registry::ecr_registry;

use crate::arn::Arn;
use crate::decode;
use crate::envelope::{Envelope, EventError};
use crate::grow::wire_enum;

wire_enum! {
    /// What was done to an image.
    ImageActionType {
        /// An image or a tag was pushed:
        Push = "PUSH",
        /// An image or a tag was deleted:
        Delete = "DELETE",
        /// An image went to another storage class, such as the archive:
        UpdateStorageClass = "UPDATE_STORAGE_CLASS",
        /// An image came from another registry:
        Replicate = "REPLICATE",
    }
}

wire_enum! {
    /// How it went.
    ActionResult {
        /// It worked:
        Success = "SUCCESS",
        /// It did not:
        Failure = "FAILURE",
    }
}

/// `ECR Image Action`, and `ECR Replication Action`, which says beside where the image came from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ImageAction {
    /// What was done.
    #[serde(rename = "action-type")]
    pub action: ImageActionType,
    /// How it went.
    pub result: ActionResult,
    #[serde(rename = "repository-name")]
    pub repository: RepositoryName,
    /// The image.
    #[serde(rename = "image-digest")]
    pub digest: Digest,
    /// Its tag; none for the children of a multi-architecture image.
    #[serde(rename = "image-tag", default, deserialize_with = "decode::some_unless_empty")]
    pub tag: Option<Tag>,
    #[serde(rename = "manifest-media-type")]
    pub manifest_media_type: Option<String>,
    /// The media type of what the manifest describes; none for an index.
    #[serde(rename = "artifact-media-type")]
    pub artifact_media_type: Option<String>,
    /// The storage class it went to.
    #[serde(rename = "target-storage-class")]
    pub target_storage_class: Option<String>,
    /// The account it was replicated from.
    #[serde(rename = "source-account")]
    pub source_account: Option<AccountId>,
    /// The region it was replicated from.
    #[serde(rename = "source-region")]
    pub source_region: Option<Region>,
}

impl ImageAction {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        envelope.detail()
    }

    /// The image, when this is a push that succeeded and carries a tag: the only kind that can start a release.
    pub fn pushed(&self, envelope: &Envelope) -> Option<Image> {
        let tag = self.tag.clone()?;
        (self.action == ImageActionType::Push && self.result == ActionResult::Success).then(|| Image {
            registry: ecr_registry(&envelope.account, &envelope.region),
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            tag: Some(tag),
        })
    }
}

wire_enum! {
    /// How far a scan is.
    ScanStatus {
        /// ECR basic scanning is done:
        Complete = "COMPLETE",
        /// ECR basic scanning failed:
        Failed = "FAILED",
        /// Amazon Inspector's first scan is done:
        InitialScanComplete = "INITIAL_SCAN_COMPLETE",
    }
}

wire_enum! {
    /// How bad a finding is.
    Severity {
        /// Worst:
        Critical = "CRITICAL",
        /// Bad:
        High = "HIGH",
        /// Not good:
        Medium = "MEDIUM",
        /// Slight:
        Low = "LOW",
        /// None to speak of:
        Informational = "INFORMATIONAL",
        /// Not rated yet:
        Untriaged = "UNTRIAGED",
        /// Not rated by ECR basic scanning:
        Undefined = "UNDEFINED",
        /// Not a severity but the sum of all, in Amazon Inspector's counts:
        Total = "TOTAL",
    }
}

/// `ECR Image Scan` (basic scanning) and `Inspector2 Scan` (enhanced scanning): how many findings an image has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ImageScan {
    /// How far the scan is.
    pub status: ScanStatus,
    pub repository: RepositoryName,
    /// The image.
    pub digest: Digest,
    pub tags: Vec<Tag>,
    /// Findings by severity; a severity without findings is absent.
    pub findings: BTreeMap<Severity, u64>,
}

#[derive(Deserialize)]
struct ScanDetail {
    #[serde(rename = "scan-status")]
    status: ScanStatus,
    #[serde(rename = "repository-name")]
    repository: String,
    #[serde(rename = "image-digest")]
    digest: Digest,
    #[serde(rename = "image-tags", default)]
    tags: Vec<Tag>,
    // Absent when a scan failed.
    #[serde(rename = "finding-severity-counts", default)]
    findings: BTreeMap<Severity, u64>,
}

impl ImageScan {
    /// ECR names the repository, Inspector its ARN; either way the repository is the event's account's own.
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        let detail: ScanDetail = envelope.detail()?;
        let at = |problem| envelope.malformed("detail.repository-name", problem);
        let name = if detail.repository.starts_with("arn:") {
            let arn = Arn::parse(&detail.repository).map_err(at)?;
            arn.resource_of("ecr", "repository").ok_or_else(|| {
                at(format!("found {:?}, allowed the ARN of an ECR repository", detail.repository))
            })?
        } else {
            &detail.repository
        };
        let mut findings = detail.findings;
        findings.remove(&Severity::Total);
        Ok(Self {
            status: detail.status,
            repository: RepositoryName::new(name).map_err(|error| at(error.to_string()))?,
            digest: detail.digest,
            tags: detail.tags,
            findings,
        })
    }

    /// The findings of a severity.
    pub fn count(&self, severity: &Severity) -> u64 {
        self.findings.get(severity).copied().unwrap_or_default()
    }
}

wire_enum! {
    /// Whether a finding still stands.
    FindingStatus {
        /// It stands:
        Active = "ACTIVE",
        /// A rule of the account hides it:
        Suppressed = "SUPPRESSED",
        /// It is fixed:
        Closed = "CLOSED",
    }
}

/// `Inspector2 Finding`: one finding, and the ECR images it is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InspectorFinding {
    /// The finding.
    #[serde(rename = "findingArn")]
    pub arn: String,
    /// How bad.
    pub severity: Severity,
    /// Whether it stands.
    pub status: FindingStatus,
    /// One line for people, e.g. `CVE-2026-1234 - openssl`.
    pub title: Option<String>,
    #[serde(default, deserialize_with = "decode::list_of_fields")]
    resources: Vec<FindingResource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct FindingResource {
    #[serde(default, deserialize_with = "decode::some_fields")]
    details: Option<FindingDetails>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct FindingDetails {
    #[serde(rename = "awsEcrContainerImage", default, deserialize_with = "decode::some_fields")]
    image: Option<FindingImage>,
}

/// An ECR image a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct FindingImage {
    #[serde(rename = "repositoryName")]
    pub repository: RepositoryName,
    /// The image.
    #[serde(rename = "imageHash")]
    pub digest: Digest,
    /// The account of the registry.
    pub registry: AccountId,
    #[serde(rename = "imageTags", default)]
    pub tags: Vec<Tag>,
}

impl InspectorFinding {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        envelope.detail()
    }

    /// The ECR images it is about; none when it is about an instance or a function.
    pub fn images(&self) -> impl Iterator<Item = &FindingImage> {
        self.resources.iter().filter_map(|resource| resource.details.as_ref()?.image.as_ref())
    }
}
