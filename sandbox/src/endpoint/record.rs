//! The record of calls: one JSON line each, without secrets, for people and tests that ask what was called, by whom, when.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ports::Caller;
use crate::protocol::Call;

/// Longer bodies are cut: a Lambda deployment package is no reading matter.
const LONGEST: usize = 64 * 1024;

/// Members whose values are never written.
const SECRETS: [&str; 10] = [
    "SecretAccessKey",
    "secretAccessKey",
    "SessionToken",
    "sessionToken",
    "authorizationToken",
    "Password",
    "password",
    "SecretString",
    "SecretBinary",
    "ClientSecret",
];

/// Where the lines go.
pub(super) struct Recorder {
    file: Mutex<File>,
}

/// One call with its answer.
pub(super) struct Entry<'a> {
    pub(super) time: Timestamp,
    pub(super) duration: Duration,
    pub(super) caller: &'a Caller,
    pub(super) service: &'a str,
    pub(super) call: &'a Call,
    pub(super) request: &'a [u8],
    pub(super) response: &'a [u8],
    pub(super) status: Option<u16>,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Mutex::new(File::create(path)?) })
    }

    pub(super) fn write(&self, entry: &Entry<'_>) {
        let mut line = entry.line().to_string();
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!(%error, "cannot write the record of calls");
        }
    }
}

impl Entry<'_> {
    fn line(&self) -> Value {
        json!({
            "time": self.time.to_string(),
            "duration_ms": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "caller": self.caller.arn.as_deref().unwrap_or(&self.caller.access_key_id),
            "service": self.service,
            "operation": self.call.operation,
            "request": readable(self.request),
            "response": readable(self.response),
            "status": self.status,
        })
    }
}

/// A body as JSON, as text, or by its size.
fn readable(body: &[u8]) -> Value {
    if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        redact(&mut value);
        return if body.len() <= LONGEST { value } else { json!({"bytes": body.len()}) };
    }
    match std::str::from_utf8(body) {
        Ok("") => Value::Null,
        Ok(text) if body.len() <= LONGEST => redact_text(text).into(),
        Ok(_) => json!({"bytes": body.len()}),
        // CBOR is neither JSON nor text, and worth reading.
        Err(_) => match ciborium::from_reader::<Value, _>(body) {
            Ok(mut value) if value.is_object() && body.len() <= LONGEST => {
                redact(&mut value);
                value
            }
            _ => json!({"bytes": body.len()}),
        },
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if SECRETS.contains(&name.as_str()) {
                    *value = "(secret)".into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// XML elements and form fields of the same names.
fn redact_text(text: &str) -> String {
    let mut text = text.to_owned();
    for name in SECRETS {
        for (open, end) in [(format!("<{name}>"), '<'), (format!("{name}="), '&')] {
            let mut from = 0;
            while let Some(at) = text[from..].find(&open) {
                let start = from + at + open.len();
                let stop = text[start..].find(end).map_or(text.len(), |length| start + length);
                text.replace_range(start..stop, "(secret)");
                from = start;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_written() {
        let json = readable(br#"{"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "hush"}}"#);
        assert_eq!(json, json!({"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "(secret)"}}));
        let xml =
            readable(b"<C><SessionToken>hush</SessionToken><SecretAccessKey>hush</SecretAccessKey></C>");
        assert_eq!(
            xml,
            json!("<C><SessionToken>(secret)</SessionToken><SecretAccessKey>(secret)</SecretAccessKey></C>")
        );
        assert_eq!(readable(b"Action=X&Password=hush&B=1"), json!("Action=X&Password=(secret)&B=1"));
        assert_eq!(readable(&[0xff, 0xfe]), json!({"bytes": 2}));
        assert_eq!(readable(b""), Value::Null);
    }
}
