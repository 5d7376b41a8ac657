//! The EventBridge envelope: who sent what, when and from where. Only events of accounts and regions we serve get past it.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tidegate_core::ids::{AccountId, Region};

use crate::decode::{self, Place};

/// An event that cannot be used. It is refused so that it ends in the dead-letter queue, where a person finds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum EventError {
    /// Truncated, of a wrong type, a field missing, or a value that cannot be what its field says.
    #[error("read {event}: {path}: {problem}")]
    Malformed {
        /// The event as far as it is known: `ECR Image Action 13cde686-…`.
        event: String,
        /// The path of the field, `.` for the whole event.
        path: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// From an account this installation does not serve.
    #[error("read {event}: account: found {found}, allowed {allowed}")]
    WrongAccount {
        event: String,
        /// The account found.
        found: AccountId,
        /// The accounts allowed.
        allowed: String,
    },
    /// From a region of that account which this installation does not serve.
    #[error("read {event}: region: found {found}, allowed in account {account}: {allowed}")]
    WrongRegion {
        event: String,
        account: AccountId,
        /// The region found.
        found: Region,
        /// The regions allowed.
        allowed: String,
    },
}

impl EventError {
    pub(crate) fn at(event: &str, place: Place) -> Self {
        Self::Malformed { event: event.to_owned(), path: place.path, problem: place.problem }
    }
}

/// The accounts and regions events are accepted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(Vec<(AccountId, Region)>);

impl Origins {
    /// Only the home account and region.
    pub fn home(account: AccountId, region: Region) -> Self {
        Self(vec![(account, region)])
    }

    /// Also this account and region.
    #[must_use]
    pub fn and(mut self, account: AccountId, region: Region) -> Self {
        self.0.push((account, region));
        self
    }

    /// Refuses what comes from elsewhere; `event` is only for the message.
    pub fn check(&self, event: &str, account: &AccountId, region: &Region) -> Result<(), EventError> {
        let regions: Vec<&str> =
            self.0.iter().filter(|(known, _)| known == account).map(|(_, region)| region.as_str()).collect();
        if regions.is_empty() {
            let mut allowed: Vec<&str> = self.0.iter().map(|(known, _)| known.as_str()).collect();
            allowed.dedup();
            return Err(EventError::WrongAccount {
                event: event.to_owned(),
                found: account.clone(),
                allowed: allowed.join(", "),
            });
        }
        if !regions.contains(&region.as_str()) {
            return Err(EventError::WrongRegion {
                event: event.to_owned(),
                account: account.clone(),
                found: region.clone(),
                allowed: regions.join(", "),
            });
        }
        Ok(())
    }
}

/// An event as EventBridge delivers it, its `detail` not yet looked into.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Envelope {
    /// The envelope's version, `0`.
    pub version: String,
    /// The event's id. EventBridge may deliver the same event more than once, with the same id.
    pub id: String,
    /// `detail-type`.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// `aws.ecr`, …
    pub source: String,
    /// The account it happened in.
    pub account: AccountId,
    /// When it happened, to the second.
    #[serde(deserialize_with = "decode::timestamp")]
    pub time: Timestamp,
    /// The region it happened in.
    pub region: Region,
    /// ARNs of what it is about; empty for ECR.
    pub resources: Vec<String>,
    /// What happened, by `detail-type`.
    #[serde(deserialize_with = "decode::object")]
    pub detail: Value,
}

/// Reads an event's envelope from the bytes of an invocation.
pub fn parse_envelope(bytes: &[u8], origins: &Origins) -> Result<Envelope, EventError> {
    let envelope = decode::from_slice(bytes).map_err(|place| EventError::at("event", place))?;
    Envelope::admit(envelope, origins)
}

impl Envelope {
    /// Reads an event's envelope from JSON that has been parsed already.
    pub fn from_value(value: &Value, origins: &Origins) -> Result<Self, EventError> {
        let envelope = decode::from_value("", value).map_err(|place| EventError::at("event", place))?;
        Self::admit(envelope, origins)
    }

    fn admit(self, origins: &Origins) -> Result<Self, EventError> {
        origins.check(&self.title(), &self.account, &self.region)?;
        Ok(self)
    }

    /// The event in messages: its detail type and id.
    pub fn title(&self) -> String {
        format!("{} {}", self.detail_type, self.id)
    }

    /// Decodes the detail.
    pub(crate) fn detail<T: serde::de::DeserializeOwned>(&self) -> Result<T, EventError> {
        decode::from_value("detail", &self.detail).map_err(|place| EventError::at(&self.title(), place))
    }

    /// The error for a field whose value cannot be what the field says.
    pub(crate) fn malformed(&self, path: impl Into<String>, problem: impl Into<String>) -> EventError {
        EventError::at(&self.title(), Place { path: path.into(), problem: decode::clipped(problem.into()) })
    }
}
