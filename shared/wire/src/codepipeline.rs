//! AWS CodePipeline: a pipeline, a stage or an action that changed its state.

use serde::Deserialize;

use crate::decode;
use crate::envelope::{Envelope, EventError};
use crate::grow::wire_enum;

wire_enum! {
    /// How an execution of a pipeline, a stage or an action goes.
    ExecutionState {
        /// It started:
        Started = "STARTED",
        /// It succeeded:
        Succeeded = "SUCCEEDED",
        /// It failed:
        Failed = "FAILED",
        /// It was cancelled:
        Canceled = "CANCELED",
        /// A failed stage was tried again:
        Resumed = "RESUMED",
        /// It is being stopped:
        Stopping = "STOPPING",
        /// It was stopped:
        Stopped = "STOPPED",
        /// A newer execution overtook it; pipelines only:
        Superseded = "SUPERSEDED",
        /// It was stopped without waiting; actions only:
        Abandoned = "ABANDONED",
    }
}

/// `CodePipeline Pipeline Execution State Change`, and the same for `Stage` and `Action`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PipelineStateChange {
    pub pipeline: String,
    #[serde(rename = "execution-id")]
    pub execution: String,
    /// How it goes.
    pub state: ExecutionState,
    /// The version of the pipeline; a float, a string or a whole number on the wire.
    #[serde(default, deserialize_with = "decode::some_whole_number")]
    pub version: Option<u64>,
    /// The stage, when the event is about a stage or an action.
    pub stage: Option<String>,
    /// The action, when the event is about an action.
    pub action: Option<String>,
    /// How an action ended.
    #[serde(rename = "execution-result", default, deserialize_with = "decode::some_fields")]
    pub result: Option<ActionResult>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ActionResult {
    /// `JobFailed`, …
    #[serde(rename = "error-code")]
    pub error_code: Option<String>,
    /// For people.
    #[serde(rename = "external-execution-summary")]
    pub summary: Option<String>,
    /// Where it ran.
    #[serde(rename = "external-execution-url")]
    pub url: Option<String>,
    /// Its id there.
    #[serde(rename = "external-execution-id")]
    pub id: Option<String>,
}

impl PipelineStateChange {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        envelope.detail()
    }
}
