//! Amazon CloudWatch: alarms and counted requests.

use std::collections::{BTreeMap, BTreeSet};

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

/// A metric by one of its statistics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Series {
    pub namespace: String,
    pub metric: String,
    pub dimensions: BTreeMap<String, String>,
    /// `Sum`, `p99`, `TC(0.5:)`, …
    pub stat: String,
}

impl Series {
    /// Of a target group behind an Application Load Balancer; `None` for a rule of another kind, where nobody counts requests.
    pub fn of_target_group(rule: &RuleArn, group: &TargetGroupArn, metric: &str, stat: &str) -> Option<Self> {
        let dimensions = BTreeMap::from([
            ("LoadBalancer".to_owned(), rule.application_load_balancer()?),
            ("TargetGroup".to_owned(), group.metric_name().to_owned()),
        ]);
        let namespace = "AWS/ApplicationELB".to_owned();
        Some(Self { namespace, metric: metric.to_owned(), dimensions, stat: stat.to_owned() })
    }

    /// Requests for which a target was chosen.
    pub fn requests(rule: &RuleArn, group: &TargetGroupArn) -> Option<Self> {
        Self::of_target_group(rule, group, "RequestCount", "Sum")
    }

    /// What is an error of the target: answers with 5xx, and connections it did not take. The load balancer answers the latter itself, and
    /// names no target group when it does.
    pub fn errors(rule: &RuleArn, group: &TargetGroupArn) -> Vec<Self> {
        let counted = ["HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount"];
        counted.iter().filter_map(|metric| Self::of_target_group(rule, group, metric, "Sum")).collect()
    }

    /// Requests that took longer than so many seconds, by a statistic that counts values within bounds.
    pub fn slower_than(rule: &RuleArn, group: &TargetGroupArn, secs: f64) -> Option<Self> {
        Self::response_time(rule, group, &format!("TC({secs}:)"))
    }

    /// How long targets took to answer, by a statistic.
    pub fn response_time(rule: &RuleArn, group: &TargetGroupArn, stat: &str) -> Option<Self> {
        Self::of_target_group(rule, group, "TargetResponseTime", stat)
    }
}

/// Metrics to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsAsked {
    /// Which.
    pub series: BTreeSet<Series>,
    /// From the window that begins then, or the first one after it.
    pub from: Timestamp,
    /// How long a window is, seconds.
    pub every_secs: u32,
}

/// The values of metrics, by the beginning of their window. A window without a value is not there.
pub type MetricsSeen = BTreeMap<Series, BTreeMap<Timestamp, f64>>;
