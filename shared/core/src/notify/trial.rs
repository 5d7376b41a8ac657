//! A trial of a service's channels, on a person's word: asked for and answered by rows of the ledger, so that it goes the way of every message.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::NotSent;

/// How long the rows of a trial are kept.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Trial {
    pub id: String,
    pub at: Timestamp,
    /// One for each channel, in the policy's order; none when nobody is told.
    pub tried: Vec<Tried>,
}

/// What came of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Tried {
    pub receiver: String,
    /// Why it was not told; none when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Tried {
    /// Of an attempt.
    pub fn new(receiver: String, result: Result<(), NotSent>) -> Self {
        match result {
            Ok(()) => Self { receiver, problem: None, remedy: None },
            Err(error) => Self { receiver, problem: Some(error.why), remedy: error.remedy },
        }
    }
}
