//! The message on the wake queue: look at this release.
//!
//! It carries no state: what to do is in the ledger. Losing, repeating or delaying one changes nothing but timing.

use serde::{Deserialize, Serialize};
use tidegate_core::ids::ReleaseId;

use crate::decode;

/// The schema this version writes, and the newest it reads. Fields may be added without raising it: readers skip what they do not
/// know. It is raised when an old reader would do the wrong thing with a new message.
pub const SCHEMA: u32 = 1;

/// The body of a message on the wake queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeMessage {
    /// The schema it was written with.
    pub schema: u32,
    /// The release to look at.
    pub release: ReleaseId,
    /// More of them, looked at together. An old reader looks at the first alone, and the clock's next round finds the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<ReleaseId>,
    /// Why, for logs and people.
    pub why: String,
}

/// A message on the wake queue that cannot be used. Sending it again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WakeError {
    /// Not a wake message.
    #[error("read wake message: {path}: {problem}")]
    Malformed {
        /// The path of the field, `.` for the whole message.
        path: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// Written by a version this one cannot follow.
    #[error(
        "read wake message: schema: found {found}, this version reads 1 to {newest}; it is from a newer Tidegate"
    )]
    UnknownSchema {
        /// The schema found.
        found: u32,
        /// The newest this version reads.
        newest: u32,
    },
}

/// Only what every schema has, read first: a newer schema is told as such and not as a missing field.
#[derive(Deserialize)]
struct Header {
    schema: u32,
}

impl WakeMessage {
    /// A message of the current schema.
    pub fn new(release: ReleaseId, why: impl Into<String>) -> Self {
        Self { schema: SCHEMA, release, also: Vec::new(), why: why.into() }
    }

    /// All releases to look at.
    pub fn releases(&self) -> impl Iterator<Item = &ReleaseId> {
        std::iter::once(&self.release).chain(&self.also)
    }

    /// Reads a message body.
    pub fn parse(body: &str) -> Result<Self, WakeError> {
        let Header { schema } = decode::from_slice(body.as_bytes()).map_err(malformed)?;
        if !(1..=SCHEMA).contains(&schema) {
            return Err(WakeError::UnknownSchema { found: schema, newest: SCHEMA });
        }
        decode::from_slice(body.as_bytes()).map_err(malformed)
    }

    /// The message body.
    pub fn to_json(&self) -> String {
        let mut body = serde_json::json!({ "schema": self.schema, "release": self.release, "why": self.why });
        if !self.also.is_empty() {
            body["also"] = serde_json::json!(self.also);
        }
        body.to_string()
    }
}

fn malformed(place: decode::Place) -> WakeError {
    WakeError::Malformed { path: place.path, problem: place.problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"schema":1,"release":"01k9zq3v8wd4x5n6p7r8s9t0ab","why":"bake is over"}"#;

    #[test]
    fn what_is_written_is_read_and_the_bytes_are_stable() {
        let message = WakeMessage::new(ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap(), "bake is over");
        assert_eq!(message.to_json(), BODY);
        assert_eq!(WakeMessage::parse(BODY).unwrap(), message);
    }

    #[test]
    fn an_old_reader_reads_a_new_message_of_the_same_schema() {
        let newer = BODY.replace("}", r#","lease":{"until":"2026-01-01T00:00:00Z"}}"#);
        assert_eq!(WakeMessage::parse(&newer).unwrap(), WakeMessage::parse(BODY).unwrap());
    }

    #[test]
    fn a_message_may_be_about_several_releases() {
        let first = ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ab").unwrap();
        let second = ReleaseId::new("01k9zq3v8wd4x5n6p7r8s9t0ac").unwrap();
        let message =
            WakeMessage { also: vec![second.clone()], ..WakeMessage::new(first.clone(), "it is due") };
        let read = WakeMessage::parse(&message.to_json()).unwrap();
        assert_eq!(read.releases().collect::<Vec<_>>(), [&first, &second]);
    }

    #[track_caller]
    fn refused(body: &str, expected: &str) {
        assert_eq!(WakeMessage::parse(body).unwrap_err().to_string(), expected);
    }

    #[test]
    fn refusals_say_where_and_what() {
        refused(
            r#"{"schema":2,"releases":[]}"#,
            "read wake message: schema: found 2, this version reads 1 to 1; it is from a newer Tidegate",
        );
        refused(
            &BODY.replace("\"01k9zq3v8wd4x5n6p7r8s9t0ab\"", "\"r1\""),
            r#"read wake message: release: "r1" is not a valid release id: 26 lower-case letters and digits (a ULID) at line 1 column 26"#,
        );
        refused("hello", "read wake message: .: expected value at line 1 column 1");
        refused("{}", "read wake message: .: missing field `schema` at line 1 column 2");
        refused(&format!("{BODY}x"), "read wake message: .: trailing characters at line 1 column 73");
    }

    #[test]
    fn every_truncation_is_refused() {
        for end in 0..BODY.len() {
            assert!(WakeMessage::parse(&BODY[..end]).is_err(), "{}", &BODY[..end]);
        }
    }
}
