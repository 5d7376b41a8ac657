//! Amazon S3: an object that was written.

use std::cmp::Ordering;

use serde::Deserialize;

use crate::decode;
use crate::envelope::{Envelope, EventError};
use crate::grow::wire_enum;

wire_enum! {
    /// What wrote the object.
    CreationReason {
        /// One request:
        PutObject = "PutObject",
        /// A form:
        PostObject = "POST Object",
        /// A copy:
        CopyObject = "CopyObject",
        /// An upload in parts:
        CompleteMultipartUpload = "CompleteMultipartUpload",
    }
}

/// `Object Created`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ObjectCreated {
    #[serde(deserialize_with = "decode::fields")]
    pub bucket: Bucket,
    #[serde(deserialize_with = "decode::fields")]
    pub object: Object,
    /// What wrote it.
    pub reason: Option<CreationReason>,
    /// The account or service that wrote it.
    pub requester: Option<String>,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Bucket {
    pub name: String,
}

/// An object as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Object {
    /// Its key; not URL-encoded, unlike in S3's own notifications.
    pub key: String,
    /// Bytes.
    pub size: Option<u64>,
    /// Its entity tag.
    #[serde(default, deserialize_with = "decode::some_unless_empty")]
    pub etag: Option<String>,
    /// Its version, in a bucket that keeps versions.
    #[serde(rename = "version-id", default, deserialize_with = "decode::some_unless_empty")]
    pub version: Option<String>,
    /// Orders the events of one key.
    pub sequencer: Sequencer,
}

/// Orders the events of one key: the greater came later. It says nothing about different keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Sequencer(String);

impl Sequencer {
    /// As on the wire: hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Sequencer {
    /// S3 sends hexadecimal numbers of varying length: the shorter is padded with zeros on the left, then they compare as text.
    fn cmp(&self, other: &Self) -> Ordering {
        let width = self.0.len().max(other.0.len());
        let padded = |text: &str| format!("{text:0>width$}").to_ascii_uppercase();
        padded(&self.0).cmp(&padded(&other.0)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Sequencer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ObjectCreated {
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, EventError> {
        envelope.detail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequencers_compare_as_numbers() {
        let order = |a: &str, b: &str| Sequencer(a.into()).cmp(&Sequencer(b.into()));
        assert_eq!(order("617f08299329d189", "617f08299329d18a"), Ordering::Less);
        assert_eq!(order("0055AED6DCD90281E5", "55AED6DCD90281E6"), Ordering::Less);
        assert_eq!(order("100", "FF"), Ordering::Greater);
        assert_eq!(order("ff", "FE"), Ordering::Greater);
        assert_eq!(order("ff", "ff"), Ordering::Equal);
    }
}
