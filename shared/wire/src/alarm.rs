//! CloudWatch alarms, as an EventBridge event and as a direct invocation by the alarm.
//!
//! What decides is read strictly: the name, the state, whether CloudWatch holds its own actions back. What only informs never
//! keeps an alarm from being heard.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tidegate_core::ids::{AccountId, AlarmName, Region};
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};

use crate::decode;
use crate::envelope::{Envelope, EventError, Origins};
use crate::grow::wire_enum;

/// `CloudWatch Alarm State Change`, of a metric or a composite alarm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AlarmStateChange {
    /// The alarm.
    #[serde(rename = "alarmName")]
    pub name: AlarmName,
    /// The state it is in now.
    #[serde(deserialize_with = "decode::fields")]
    pub state: StateAt,
    /// The state it was in.
    #[serde(rename = "previousState", default, deserialize_with = "decode::some_fields")]
    pub previous: Option<StateAt>,
    /// What kind of alarm it is.
    #[serde(default, deserialize_with = "decode::some_fields")]
    pub configuration: Option<AlarmConfiguration>,
    /// The mute rule that holds the alarm's actions back now.
    #[serde(rename = "muteDetail", default, deserialize_with = "decode::some_fields")]
    pub mute: Option<Mute>,
}

/// A state of an alarm and how it came to it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct StateAt {
    /// The state.
    pub value: AlarmState,
    /// Why, for people; PromQL alarms give none.
    pub reason: Option<String>,
    /// Why, for programs; absent for some kinds of alarm, and different for each.
    #[serde(rename = "reasonData", default, deserialize_with = "decode::some_json_text")]
    pub reason_data: Option<Value>,
    #[serde(rename = "timestamp", default, deserialize_with = "decode::some_timestamp")]
    pub since: Option<Timestamp>,
    /// What holds a composite alarm's actions back.
    #[serde(rename = "actionsSuppressedBy", default, deserialize_with = "decode::some_unless_empty")]
    pub suppressed_by: Option<SuppressedBy>,
    /// The same for people.
    #[serde(rename = "actionsSuppressedReason")]
    pub suppressed_reason: Option<String>,
}

wire_enum! {
    /// What holds a composite alarm's actions back.
    SuppressedBy {
        /// The suppressor alarm is in ALARM:
        Alarm = "Alarm",
        /// CloudWatch still waits for the suppressor alarm to go into ALARM:
        WaitPeriod = "WaitPeriod",
        /// The suppressor alarm has turned green lately:
        ExtensionPeriod = "ExtensionPeriod",
    }
}

/// What kind of alarm it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AlarmConfiguration {
    /// The rule of a composite alarm.
    #[serde(rename = "alarmRule")]
    pub rule: Option<String>,
    /// What its owner says about it.
    pub description: Option<String>,
}

/// A mute rule that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Mute {
    /// The rule.
    #[serde(rename = "mutedByArn")]
    pub by: String,
    #[serde(rename = "muteWindowStart", default, deserialize_with = "decode::some_timestamp")]
    pub from: Option<Timestamp>,
    #[serde(rename = "muteWindowEnd", default, deserialize_with = "decode::some_timestamp")]
    pub until: Option<Timestamp>,
}

impl AlarmStateChange {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        envelope.detail()
    }

    /// Whether it is a composite alarm.
    pub fn is_composite(&self) -> bool {
        self.configuration.as_ref().is_some_and(|configuration| configuration.rule.is_some())
    }

    /// Why CloudWatch takes no action on the state, if it takes none.
    pub fn silenced(&self) -> Option<String> {
        if let Some(mute) = &self.mute {
            let rule = mute.by.rsplit(':').next().unwrap_or(&mute.by);
            return Some(match mute.until {
                Some(until) => format!("muted by the rule {rule} until {until}"),
                None => format!("muted by the rule {rule}"),
            });
        }
        let by = self.state.suppressed_by.as_ref()?;
        Some(match &self.state.suppressed_reason {
            Some(reason) => format!("suppressed ({by}): {reason}"),
            None => format!("suppressed ({by})"),
        })
    }

    /// The alarms that made a composite alarm change, as ARNs.
    pub fn triggered_by(&self) -> Vec<&str> {
        let list = self.state.reason_data.as_ref().and_then(|data| data["triggeringAlarms"].as_array());
        list.into_iter().flatten().filter_map(|alarm| alarm["arn"].as_str()).collect()
    }

    /// The alarm in the words of the core.
    pub fn seen(&self) -> (AlarmName, AlarmSeen) {
        let seen = AlarmSeen {
            state: self.state.value.clone(),
            since: self.state.since,
            reason: self.state.reason.clone().unwrap_or_default(),
            silenced: self.silenced(),
            unproven: None,
        };
        (self.name.clone(), seen)
    }
}

/// `CloudWatch Alarm Contributor State Change`: one time series of an alarm over many changed. The alarm itself tells its own
/// state in an event of its own, so this one is never taken for an alarm going off.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ContributorStateChange {
    /// The alarm.
    #[serde(rename = "alarmName")]
    pub name: AlarmName,
    /// The time series.
    #[serde(rename = "alarmContributor", deserialize_with = "decode::fields")]
    pub contributor: Contributor,
    /// The state the time series is in.
    #[serde(deserialize_with = "decode::fields")]
    pub state: StateAt,
}

/// One time series of an alarm over many.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Contributor {
    pub id: String,
}

impl ContributorStateChange {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        envelope.detail()
    }
}

/// What a function gets that is an alarm's own action, without EventBridge in between.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct AlarmInvocation {
    /// The alarm's ARN.
    #[serde(rename = "alarmArn")]
    pub arn: String,
    #[serde(rename = "accountId")]
    pub account: AccountId,
    /// When the action was taken.
    #[serde(deserialize_with = "decode::timestamp")]
    pub time: Timestamp,
    pub region: Region,
    /// What an event has as its detail.
    #[serde(rename = "alarmData", deserialize_with = "decode::fields")]
    pub change: AlarmStateChange,
}

impl AlarmInvocation {
    /// Reads the payload of the invocation.
    pub fn parse(bytes: &[u8], origins: &Origins) -> Result<Self, EventError> {
        let read: Self =
            decode::from_slice(bytes).map_err(|place| EventError::at("alarm invocation", place))?;
        origins.check(&format!("invocation by alarm {}", read.change.name), &read.account, &read.region)?;
        Ok(read)
    }
}
