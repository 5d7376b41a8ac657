//! The history of a release and of a service: what was seen, who or what acted, what was done, why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::policy::Percent;

/// Who or what acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// Tidegate itself, by the plan.
    Tidegate,
    /// A person or tool with an AWS identity.
    Person {
        /// Their ARN or name.
        name: String,
    },
    /// An event of an AWS service.
    Event {
        /// `aws.ecr`, …
        source: String,
        /// The event's id.
        id: String,
    },
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tidegate => f.write_str("tidegate"),
            Self::Person { name } => f.write_str(name),
            Self::Event { source, id } => f.write_str(&crate::words::event(source, id)),
        }
    }
}

/// One entry; written in the transaction that made the change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the release (or service row) the change led to.
    pub version: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Who or what acted.
    pub actor: Actor,
    /// What changed, one line for people.
    pub what: String,
    /// Why.
    pub why: String,
    /// What was seen and led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saw: Vec<String>,
    /// The effects decided with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// The candidate's share of traffic as measured at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Percent>,
}

/// Why a release is where it is, and what happens next: the answer to "why is my release stuck?".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was seen and weighed, one fact a line.
    pub facts: Vec<String>,
    /// What is waited for, or done next.
    pub next: String,
    /// Until when that may take, and what happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// When a release stops waiting for what it waits for, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// When.
    pub at: Timestamp,
    /// What happens then.
    pub then: DeadlineAction,
}

/// What happens when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineAction {
    /// The release ends; nothing was deployed.
    End,
    /// The release is rolled back.
    RollBack,
    /// The release goes on: the policy says that a late approval counts as given.
    Continue,
    /// The release ends as failed, and says what a person has to do.
    ManualIntervention,
}

impl DeadlineAction {
    /// What has happened by then, to be followed by a time.
    pub fn words(self) -> &'static str {
        match self {
            Self::End => "ends",
            Self::RollBack => "is rolled back",
            Self::Continue => "goes on",
            Self::ManualIntervention => "needs manual intervention",
        }
    }
}

impl Report {
    /// A report with what happens next.
    pub fn next(next: impl Into<String>) -> Self {
        Self { facts: Vec::new(), next: next.into(), deadline: None }
    }

    /// With one fact more.
    #[must_use]
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }
}
