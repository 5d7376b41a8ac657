//! The record of calls: one JSON line each, without secrets, for people and tests that ask what was called, by whom, when.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ports::Caller;
use crate::protocol::{self, Call};

/// Longer texts are told by their size: a Lambda deployment package is no reading matter.
const LONGEST: usize = 64 * 1024;
/// What stands where a secret was.
const SECRET: &str = "(secret)";

/// Headers and query parameters whose values are never written, in lower case.
const SECRET_HEADERS: [&str; 7] = [
    "authorization",
    "cookie",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-credential",
    "x-hub-signature-256",
    "x-tidegate-signature",
];

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

/// The service of calls without a signature.
pub(super) const UNSIGNED: &str = "unsigned";

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
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
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
        // The paths and bodies of function URLs hold tokens and webhooks; nothing there is AWS's API.
        let unsigned = self.service == UNSIGNED;
        let body = |bytes: &[u8]| if unsigned { json!({"bytes": bytes.len()}) } else { readable(bytes) };
        json!({
            "time": self.time.to_string(),
            "duration_ms": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "caller": self.caller.arn.as_deref().unwrap_or(&self.caller.access_key_id),
            "service": self.service,
            "operation": if unsigned { self.method.as_str() } else { &self.call.operation },
            "protocol": self.call.protocol.name(),
            "method": self.method.as_str(),
            "path": if unsigned { SECRET.to_owned() } else { path(self.uri) },
            "headers": headers(self.headers),
            "request": body(self.request),
            "response": body(self.response),
            "status": self.status,
        })
    }
}

/// Path and query without the values of a presigned signature.
fn path(uri: &Uri) -> String {
    let Some(query) = uri.query() else { return uri.path().to_owned() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => {
            format!("{name}={SECRET}")
        }
        Some(_) | None => pair.to_owned(),
    });
    format!("{}?{}", uri.path(), pairs.collect::<Vec<_>>().join("&"))
}

fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let value = |name: &str, value: &http::HeaderValue| match SECRET_HEADERS.contains(&name) {
        true => SECRET.to_owned(),
        false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(|(name, found)| (name.to_string(), value(name.as_str(), found).into())).collect()
}

/// A body as JSON, as text, or by its size.
fn readable(body: &[u8]) -> Value {
    if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        redact(&mut value);
        return value;
    }
    match std::str::from_utf8(body) {
        Ok("") => Value::Null,
        Ok(text) => short(redact_text(text)),
        // CBOR is neither JSON nor text, and worth reading.
        Err(_) => match protocol::read_cbor(body) {
            Some(mut value) if value.is_object() => {
                redact(&mut value);
                value
            }
            _ => json!({"bytes": body.len()}),
        },
    }
}

fn short(text: String) -> Value {
    if text.len() <= LONGEST { text.into() } else { format!("({} bytes)", text.len()).into() }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if SECRETS.contains(&name.as_str()) {
                    *value = SECRET.into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) if text.len() > LONGEST => *value = short(std::mem::take(text)),
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
                text.replace_range(start..stop, SECRET);
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

    #[test]
    fn an_answer_in_cbor_is_written_whole_with_its_timestamps() {
        use ciborium::Value as Cbor;
        let time = Cbor::Tag(1, Box::new(Cbor::Float(12.5)));
        let value = Cbor::Map(vec![
            (Cbor::Text("StateUpdatedTimestamp".into()), time),
            (Cbor::Text("Password".into()), Cbor::Text("hush".into())),
        ]);
        let mut body = Vec::new();
        ciborium::into_writer(&value, &mut body).unwrap();
        assert_eq!(readable(&body), json!({"StateUpdatedTimestamp": 12.5, "Password": "(secret)"}));
    }

    #[test]
    fn a_line_names_method_path_and_headers_but_no_secret() {
        let header = |name: &'static str, value: &'static str| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        let sent: HeaderMap = [
            header("authorization", "AWS4-HMAC-SHA256 Credential=hush"),
            header("x-amz-security-token", "hush"),
            header("x-amz-target", "DynamoDB_20120810.Query"),
        ]
        .into_iter()
        .collect();
        let call = Call { protocol: protocol::Protocol::Json { version: "1.0" }, operation: "Query".into() };
        let uri: Uri = "/?X-Amz-Signature=hush&list-type=2".parse().unwrap();
        let line = |service: &str, uri: &Uri| {
            let entry = Entry {
                time: Timestamp::UNIX_EPOCH,
                duration: Duration::ZERO,
                caller: &Caller::default(),
                service,
                call: &call,
                method: &Method::POST,
                uri,
                headers: &sent,
                request: b"{}",
                response: b"{}",
                status: Some(200),
            };
            entry.line()
        };
        let signed = line("dynamodb", &uri);
        assert_eq!(signed["path"], "/?X-Amz-Signature=(secret)&list-type=2");
        assert_eq!(signed["headers"]["x-amz-target"], "DynamoDB_20120810.Query");
        assert_eq!((&signed["method"], &signed["protocol"]), (&json!("POST"), &json!("json")));
        assert!(!signed.to_string().contains("hush"), "{signed}");
        let webhook = line(UNSIGNED, &"/hooks/dockerhub/checkout/hush".parse().unwrap());
        assert!(!webhook.to_string().contains("hush"), "{webhook}");
    }

    #[test]
    fn a_long_text_is_told_by_its_size_and_the_rest_stays() {
        let body = json!({"ZipFile": "x".repeat(LONGEST + 1), "Publish": true}).to_string();
        assert_eq!(readable(body.as_bytes()), json!({"ZipFile": "(65537 bytes)", "Publish": true}));
    }
}
