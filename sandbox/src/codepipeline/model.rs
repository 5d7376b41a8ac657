//! What runs: executions of pipelines with their stages and actions, and the jobs of Lambda actions.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::declaration::Declaration;

/// Everything there is.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) pipelines: BTreeMap<String, Pipeline>,
    pub(super) jobs: BTreeMap<String, Job>,
}

/// A pipeline.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) declaration: Arc<Declaration>,
    /// As it was declared, with its version.
    pub(super) raw: Value,
    pub(super) version: u32,
    pub(super) created: Timestamp,
    /// Oldest first.
    pub(super) executions: Vec<Execution>,
}

/// The status of a pipeline's execution or of a stage's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Superseded,
    Failed,
}

impl Status {
    pub(super) fn is_active(self) -> bool {
        matches!(self, Self::InProgress | Self::Stopping)
    }
}

/// A pipeline's execution.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) id: String,
    pub(super) started: Timestamp,
    /// Who started it.
    pub(super) trigger: String,
    /// `clientRequestToken`.
    pub(super) token: Option<String>,
    pub(super) status: Status,
    pub(super) summary: Option<String>,
    /// Whether it was told of that it is being stopped.
    pub(super) stop_told: bool,
    /// The stage it is in, or waits for.
    pub(super) stage: usize,
    pub(super) entered: bool,
    pub(super) runs: Vec<StageRun>,
    pub(super) artifacts: BTreeMap<String, Artifact>,
}

/// A stage in an execution.
#[derive(Debug)]
pub(super) struct StageRun {
    pub(super) status: Option<Status>,
    pub(super) actions: Vec<ActionRun>,
}

/// The status of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActionStatus {
    NotStarted,
    InProgress,
    Abandoned,
    Succeeded,
    Failed,
}

/// An action in an execution.
#[derive(Debug)]
pub(super) struct ActionRun {
    pub(super) id: String,
    pub(super) status: ActionStatus,
    pub(super) started: Timestamp,
    pub(super) changed: Timestamp,
    pub(super) work: Work,
    pub(super) summary: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) percent: Option<u8>,
    /// Code and message.
    pub(super) error: Option<(String, String)>,
    pub(super) updated_by: Option<String>,
    /// Where its output artifacts are, or will be.
    pub(super) outputs: Vec<Artifact>,
    /// The revision a source found.
    pub(super) revision: Option<String>,
    /// Whether its end was told of.
    pub(super) told: bool,
}

/// What an action in progress waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// It did not start.
    None,
    /// The object to be copied.
    Source,
    /// A moment.
    PassThrough { until: Timestamp, fails: bool },
    /// An answer with this token.
    Approval { token: String, expires: Timestamp },
    /// The answer to a job.
    Lambda { job: String, ends: Timestamp },
}

/// An artifact in the artifact store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Artifact {
    pub(super) name: String,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) revision: Option<String>,
    pub(super) created: Timestamp,
}

/// Where an action's run is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) pipeline: String,
    pub(super) execution: String,
    pub(super) stage: usize,
    pub(super) action: usize,
}

/// One invocation of a Lambda action's function. A continuation is a new job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) site: Site,
    pub(super) state: JobState,
    pub(super) continuation: Option<String>,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    /// The function is invoked then.
    Queued(Timestamp),
    /// The function is invoked; the answer has to be there by then.
    InProgress(Timestamp),
    Succeeded,
    Failed,
    TimedOut,
}

impl State {
    pub(super) fn execution(&self, site: &Site) -> Option<(&Pipeline, &Execution)> {
        let pipeline = self.pipelines.get(&site.pipeline)?;
        let execution = pipeline.executions.iter().find(|execution| execution.id == site.execution)?;
        Some((pipeline, execution))
    }

    pub(super) fn action_mut(&mut self, site: &Site) -> Option<&mut ActionRun> {
        let pipeline = self.pipelines.get_mut(&site.pipeline)?;
        let execution = pipeline.executions.iter_mut().find(|execution| execution.id == site.execution)?;
        execution.runs.get_mut(site.stage)?.actions.get_mut(site.action)
    }
}

impl ActionRun {
    pub(super) fn waiting(now: Timestamp) -> Self {
        Self {
            id: crate::ids::uuid(),
            status: ActionStatus::NotStarted,
            started: now,
            changed: now,
            work: Work::None,
            summary: None,
            external_id: None,
            percent: None,
            error: None,
            updated_by: None,
            outputs: Vec::new(),
            revision: None,
            told: false,
        }
    }

    pub(super) fn succeed(&mut self, now: Timestamp) {
        self.status = ActionStatus::Succeeded;
        self.changed = now;
    }

    pub(super) fn fail(&mut self, code: &str, message: impl Into<String>, now: Timestamp) {
        self.status = ActionStatus::Failed;
        self.error = Some((code.to_owned(), message.into()));
        self.changed = now;
    }
}
