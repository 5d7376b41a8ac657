//! AWS CodeBuild: a build that changed its state.
//!
//! The event carries the build's environment variables, which people put secrets into; they are not read. Exported variables and
//! the resolved commit are not in it either: whoever needs them asks `BatchGetBuilds`.

use jiff::Timestamp;
use serde::Deserialize;

use crate::arn::Arn;
use crate::decode;
use crate::envelope::{Envelope, EventError};
use crate::grow::wire_enum;

wire_enum! {
    /// How a build went.
    BuildStatus {
        /// It runs:
        InProgress = "IN_PROGRESS",
        /// It succeeded:
        Succeeded = "SUCCEEDED",
        /// It failed:
        Failed = "FAILED",
        /// CodeBuild failed:
        Fault = "FAULT",
        /// It took too long:
        TimedOut = "TIMED_OUT",
        /// It was stopped:
        Stopped = "STOPPED",
    }
}

/// `CodeBuild Build State Change`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct BuildStateChange {
    pub project: String,
    /// The build, as `BatchGetBuilds` wants it: `project:uuid`.
    pub build: String,
    /// How it went.
    pub status: BuildStatus,
    pub phase: Option<String>,
    /// Counts the builds of the project.
    pub number: Option<u64>,
    /// Who started it.
    pub initiator: Option<String>,
    /// What it was asked to build: a branch, a tag or a commit.
    pub source_version: Option<String>,
    pub started_at: Option<Timestamp>,
    /// Where the log is, for people.
    pub log: Option<String>,
    /// Where the artifact is; builds that only push an image have none.
    pub artifact: Option<String>,
}

#[derive(Deserialize)]
struct BuildDetail {
    #[serde(rename = "project-name")]
    project: String,
    #[serde(rename = "build-id")]
    build: String,
    #[serde(rename = "build-status")]
    status: BuildStatus,
    #[serde(rename = "current-phase")]
    phase: Option<String>,
    #[serde(rename = "additional-information", default, deserialize_with = "decode::some_fields")]
    more: Option<BuildInformation>,
}

#[derive(Default, Deserialize)]
struct BuildInformation {
    #[serde(rename = "build-number", default, deserialize_with = "decode::some_whole_number")]
    number: Option<u64>,
    initiator: Option<String>,
    #[serde(rename = "source-version", default, deserialize_with = "decode::some_unless_empty")]
    source_version: Option<String>,
    #[serde(rename = "build-start-time", default, deserialize_with = "decode::some_timestamp")]
    started_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "decode::some_fields")]
    logs: Option<BuildLogs>,
    #[serde(default, deserialize_with = "decode::some_fields")]
    artifact: Option<BuildArtifact>,
}

#[derive(Deserialize)]
struct BuildLogs {
    #[serde(rename = "deep-link")]
    link: Option<String>,
}

#[derive(Deserialize)]
struct BuildArtifact {
    #[serde(default, deserialize_with = "decode::some_unless_empty")]
    location: Option<String>,
}

impl BuildStateChange {
    /// `None`: it is about a batch of builds. AWS documents events of builds only, and each build of a batch has its own; should there be
    /// one of the batch, it is about nothing that made an image.
    pub(crate) fn read(envelope: &Envelope) -> Result<Option<Self>, EventError> {
        let detail: BuildDetail = envelope.detail()?;
        let at = |problem| envelope.malformed("detail.build-id", problem);
        let arn = Arn::parse(&detail.build).map_err(at)?;
        if arn.resource_of("codebuild", "build-batch").is_some() {
            return Ok(None);
        }
        let build = arn
            .resource_of("codebuild", "build")
            .ok_or_else(|| at(format!("found {:?}, allowed the ARN of a CodeBuild build", detail.build)))?;
        let more = detail.more.unwrap_or_default();
        Ok(Some(Self {
            build: build.to_owned(),
            project: detail.project,
            status: detail.status,
            phase: detail.phase,
            number: more.number,
            initiator: more.initiator,
            source_version: more.source_version,
            started_at: more.started_at,
            log: more.logs.and_then(|logs| logs.link),
            artifact: more.artifact.and_then(|artifact| artifact.location),
        }))
    }
}
