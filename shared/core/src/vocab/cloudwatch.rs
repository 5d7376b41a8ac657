//! Amazon CloudWatch: alarms and counted requests.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{RuleArn, TargetGroupArn};

/// The state of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmSeen {
    /// Its state.
    pub state: AlarmState,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What CloudWatch says about the state.
    pub reason: String,
    /// Why CloudWatch takes no action on it now: a mute rule, or a composite alarm's suppressor. Honoured.
    pub silenced: Option<String>,
    /// Why the state says nothing about now: it warms up, or cannot be evaluated. Then OK is no evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
}

impl AlarmSeen {
    /// Whether the alarm is in ALARM and not silenced.
    pub fn is_breach(&self) -> bool {
        self.state == AlarmState::Alarm && self.silenced.is_none()
    }
}

/// `OK`, `ALARM`, `INSUFFICIENT_DATA`, or one this version does not know, which is never taken for OK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AlarmState {
    /// `OK`.
    Ok,
    /// `ALARM`.
    Alarm,
    /// `INSUFFICIENT_DATA`.
    InsufficientData,
    /// One this version does not know.
    Other(String),
}

impl From<String> for AlarmState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "OK" => Self::Ok,
            "ALARM" => Self::Alarm,
            "INSUFFICIENT_DATA" => Self::InsufficientData,
            _ => Self::Other(text),
        }
    }
}

impl From<AlarmState> for String {
    fn from(state: AlarmState) -> Self {
        state.as_str().to_owned()
    }
}

impl AlarmState {
    /// As on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
            Self::Other(text) => text,
        }
    }
}

/// Requests to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestsAsked {
    /// The rules of Application Load Balancers, and the candidate's target group behind each.
    pub behind: Vec<(RuleArn, TargetGroupArn)>,
    /// From when on.
    pub since: Timestamp,
}
