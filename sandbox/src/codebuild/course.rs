//! What builds and batches have in common: a status, phases one after the other, and what was told of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `buildStatus` and `phaseStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    InProgress,
    Succeeded,
    Failed,
    Fault,
    TimedOut,
    Stopped,
}

/// A phase as it was or is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PhaseRecord<P> {
    pub(super) phase: P,
    pub(super) status: Status,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    /// Status code and message of a failure.
    pub(super) context: Option<(String, String)>,
}

/// The course of a build or a batch.
#[derive(Debug, Clone)]
pub(super) struct Course<P> {
    /// `project:uuid`.
    pub(super) id: String,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) status: Status,
    pub(super) phases: Vec<PhaseRecord<P>>,
    announced: Option<Status>,
}

impl<P> Course<P> {
    /// One that begins now with this phase.
    pub(super) fn new(project: &str, uuid: &str, first: P, now: Timestamp) -> Self {
        let mut course = Self {
            id: format!("{project}:{uuid}"),
            started: now,
            ended: None,
            status: Status::InProgress,
            phases: Vec::new(),
            announced: None,
        };
        course.enter(first, now);
        course
    }

    /// Whether it ended.
    pub(super) fn is_complete(&self) -> bool {
        self.status != Status::InProgress
    }

    /// The status to be told, once for each.
    pub(super) fn announcement(&mut self) -> Option<Status> {
        let fresh = self.announced != Some(self.status);
        self.announced = Some(self.status);
        fresh.then_some(self.status)
    }

    pub(super) fn enter(&mut self, phase: P, now: Timestamp) {
        let status = Status::InProgress;
        self.phases.push(PhaseRecord { phase, status, started: now, ended: None, context: None });
    }

    /// Ends the phase it is in.
    pub(super) fn close(&mut self, status: Status, context: Option<(String, String)>, now: Timestamp) {
        if let Some(record) = self.phases.last_mut() {
            record.status = status;
            record.ended = Some(now);
            record.context = context;
        }
    }

    /// Ends it as a whole: a last phase that is over at once.
    pub(super) fn complete(&mut self, last: P, of_phase: Status, status: Status, now: Timestamp) {
        self.enter(last, now);
        self.close(of_phase, None, now);
        self.status = status;
        self.ended = Some(now);
    }
}
