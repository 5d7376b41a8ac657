//! A request as the routes see it, and a reply as they make it; between them and the Lambda event nothing else.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlRequest;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use tidegate_pages::{Message, Page, Tone};

/// The largest body that is taken. Webhooks of GitHub are allowed to be larger; those that matter here are a tenth of it.
const BODY_MAX: usize = 256 * 1024;

/// A request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The caller's ARN, where AWS has checked it.
    pub(crate) identity: Option<String>,
}

/// Who has checked the identity that an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityChecks {
    /// AWS, behind a Function URL with IAM.
    Aws,
    /// Nobody: whatever stands in the event is what somebody wrote into it.
    Nobody,
}

/// Why a request is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Its body is too large.
    TooLarge,
    /// It is not what a Function URL sends.
    Malformed,
}

impl Call {
    /// From what Lambda hands over. The body is measured before it is decoded.
    pub(crate) fn decode(event: Value, checks: IdentityChecks) -> Result<Self, Unreadable> {
        let event: LambdaFunctionUrlRequest =
            serde_json::from_value(event).map_err(|_| Unreadable::Malformed)?;
        let body = event.body.unwrap_or_default();
        let encoded = event.is_base64_encoded;
        if body.len() > if encoded { BODY_MAX.div_ceil(3) * 4 } else { BODY_MAX } {
            return Err(Unreadable::TooLarge);
        }
        let body = if encoded {
            let engine = base64::engine::general_purpose::STANDARD;
            Bytes::from(engine.decode(body).map_err(|_| Unreadable::Malformed)?)
        } else {
            Bytes::from(body)
        };
        if body.len() > BODY_MAX {
            return Err(Unreadable::TooLarge);
        }
        let method = event.request_context.http.method.unwrap_or_default();
        let identity = event.request_context.authorizer.and_then(|by| by.iam).and_then(|iam| iam.user_arn);
        Ok(Self {
            method: method.parse().map_err(|_| Unreadable::Malformed)?,
            path: event.raw_path.unwrap_or_default(),
            query: event.raw_query_string.unwrap_or_default(),
            headers: event.headers,
            body,
            identity: identity.filter(|arn| checks == IdentityChecks::Aws && arn.starts_with("arn:")),
        })
    }

    /// A value of the query; the first of its name.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// A header's value, when it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// A page, with the headers pages are sent with.
    pub(crate) fn page(status: StatusCode, page: Page) -> Self {
        Self { status, headers: tidegate_pages::headers().to_vec(), body: page.0 }
    }

    /// A page that says one thing.
    pub(crate) fn message(status: StatusCode, message: &Message) -> Self {
        Self::page(status, tidegate_pages::message(message))
    }

    /// JSON, for tools.
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
        ];
        Self { status, headers, body: format!("{body}\n") }
    }

    /// A refusal, for tools.
    pub(crate) fn error(status: StatusCode, error: impl Into<String>) -> Self {
        Self::json(status, &json!({ "error": error.into() }))
    }

    /// There is nothing here.
    pub(crate) fn nothing_here() -> Self {
        let message = Message::new(
            Tone::Plain,
            "There is nothing here",
            "Links to this place come from Tidegate and lead to one release.",
        );
        Self::message(StatusCode::NOT_FOUND, &message)
    }

    /// The route exists, for other methods.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let mut reply = Self::error(StatusCode::METHOD_NOT_ALLOWED, format!("allowed here: {allow}"));
        reply.headers.push(("allow", allow.to_owned()));
        reply
    }

    /// As Lambda takes it back.
    pub(crate) fn encode(self) -> Value {
        let headers: Map<String, Value> =
            self.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({
            "statusCode": self.status.as_u16(),
            "headers": headers,
            "body": self.body,
            "isBase64Encoded": false,
        })
    }
}

impl From<Unreadable> for Reply {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooLarge => {
                Self::error(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {BODY_MAX} bytes are taken"))
            }
            Unreadable::Malformed => Self::error(StatusCode::BAD_REQUEST, "the request cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(arn: &str) -> Value {
        json!({
            "rawPath": "/releases/x/approve", "rawQueryString": "", "headers": {}, "isBase64Encoded": false,
            "requestContext": { "http": { "method": "POST" }, "timeEpoch": 0, "authorizer": { "iam": { "userArn": arn } } },
        })
    }

    #[test]
    fn a_body_has_the_same_limit_in_every_encoding() {
        let taken = |bytes: usize, encoded: bool| {
            let mut event = event("");
            let body = vec![b'x'; bytes];
            event["isBase64Encoded"] = encoded.into();
            let text = String::from_utf8(body.clone()).unwrap();
            let engine = base64::engine::general_purpose::STANDARD;
            event["body"] = if encoded { engine.encode(body) } else { text }.into();
            Call::decode(event, IdentityChecks::Nobody).map(|call| call.body.len())
        };
        for encoded in [false, true] {
            assert_eq!(taken(BODY_MAX, encoded), Ok(BODY_MAX));
            for more in 1..=3 {
                assert_eq!(taken(BODY_MAX + more, encoded), Err(Unreadable::TooLarge), "{more}, {encoded}");
            }
        }
    }

    #[test]
    fn an_identity_is_believed_only_where_aws_has_checked_it() {
        let arn = "arn:aws:sts::111122223333:assumed-role/engineer/anna";
        let identity = |arn, checks| Call::decode(event(arn), checks).unwrap().identity;
        assert_eq!(identity(arn, IdentityChecks::Aws).as_deref(), Some(arn));
        assert_eq!(identity(arn, IdentityChecks::Nobody), None);
        assert_eq!(identity("anna", IdentityChecks::Aws), None);
    }
}
