//! An AWS that answers from a script: what adapters are tested against.
//!
//! It stands where the SDK hands a signed request to the network, so that serialisation, interceptors, signing, retries and
//! deserialisation are the real ones. For the JSON (`X-Amz-Target`), query (`Action=…`) and CBOR (`/operation/…`) protocols. Only
//! tests depend on it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::Value;

/// One call as it would have gone over the network.
#[derive(Debug, Clone)]
pub struct Call {
    /// `DescribeServices`.
    pub operation: String,
    /// The body; of a CBOR call as JSON.
    pub body: String,
    /// The headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The host and the path.
    pub uri: String,
}

impl Call {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// One scripted answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    body: Vec<u8>,
    cbor: bool,
}

impl Answer {
    /// A successful answer of a JSON service.
    pub fn json(body: &Value) -> Self {
        Self::text(200, &body.to_string())
    }

    /// A successful answer of a CBOR service. Of times only lists named `Timestamps` are possible, in seconds.
    pub fn cbor(body: &Value) -> Self {
        Self { status: 200, body: to_cbor(body), cbor: true }
    }

    /// An error of a CBOR service.
    pub fn cbor_error(status: u16, code: &str, message: &str) -> Self {
        let body = to_cbor(&serde_json::json!({ "__type": code, "message": message }));
        Self { status, body, cbor: true }
    }

    /// An error of a JSON service.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::text(status, &serde_json::json!({ "__type": code, "message": message }).to_string())
    }

    /// An answer of a query service, or one that is no JSON at all.
    pub fn text(status: u16, body: &str) -> Self {
        Self { status, body: body.as_bytes().to_vec(), cbor: false }
    }
}

/// The script and what was called. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<String, VecDeque<Answer>>,
    calls: Vec<Call>,
}

impl Replay {
    /// Without answers: every call fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an answer to an operation's. They are given in order; the last one again and again.
    pub fn answer(&self, operation: &str, answer: Answer) -> &Self {
        self.lock().answers.entry(operation.to_owned()).or_default().push_back(answer);
        self
    }

    /// Adds a successful JSON answer.
    pub fn json(&self, operation: &str, body: Value) -> &Self {
        self.answer(operation, Answer::json(&body))
    }

    /// The calls of an operation so far, oldest first.
    pub fn calls(&self, operation: &str) -> Vec<Call> {
        self.lock().calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    /// The operations called so far, oldest first.
    pub fn operations(&self) -> Vec<String> {
        self.lock().calls.iter().map(|call| call.operation.clone()).collect()
    }

    /// What carries requests without an operation, as downloads are: their operation is their address.
    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    /// The configuration clients are made from. The SDK does not retry with it.
    pub fn config(&self) -> SdkConfig {
        let connector = self.connector();
        SdkConfig::builder()
            .behavior_version(aws_smithy_runtime_api::client::behavior_version::BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "AKIDEXAMPLE",
                "example",
                None,
                None,
                "replay",
            )))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn respond(&self, call: Call) -> Answer {
        let mut inner = self.lock();
        let operation = call.operation.clone();
        inner.calls.push(call);
        match inner.answers.get_mut(&operation) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
        .unwrap_or_else(|| Answer::error(400, "NotInTheScript", &operation))
    }
}

impl HttpConnector for Replay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.respond(read(&request));
        let mut response = http::Response::builder()
            .status(answer.status)
            .header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000");
        if answer.cbor {
            response = response.header("smithy-protocol", "rpc-v2-cbor");
        }
        let response = response
            .body(SdkBody::from(answer.body))
            .map_err(|error| ConnectorError::user(error.into()))
            .and_then(|response| {
                HttpResponse::try_from(response).map_err(|error| ConnectorError::user(error.into()))
            });
        HttpConnectorFuture::ready(response)
    }
}

fn to_cbor(body: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing JSON values to memory cannot fail; an empty body would fail the test that asked for it.
    let body = ciborium::Value::serialized(body).map(|body| with_times(body, false));
    if body.is_ok_and(|body| ciborium::into_writer(&body, &mut bytes).is_err()) {
        bytes.clear();
    }
    bytes
}

/// Times are tagged on the wire, and SDKs force on it.
fn with_times(value: ciborium::Value, time: bool) -> ciborium::Value {
    use ciborium::Value;
    if let Value::Map(entries) = value {
        let named = |key: &Value| key.as_text() == Some("Timestamps");
        let tagged = entries.into_iter().map(|(key, value)| {
            let time = named(&key);
            (key, with_times(value, time))
        });
        return Value::Map(tagged.collect());
    }
    if let Value::Array(items) = value {
        return Value::Array(items.into_iter().map(|item| with_times(item, time)).collect());
    }
    if time { Value::Tag(1, Box::new(value)) } else { value }
}

fn from_cbor(bytes: &[u8]) -> Option<Value> {
    let body: ciborium::Value = ciborium::from_reader(bytes).ok()?;
    without_tags(body).deserialized().ok()
}

/// JSON knows no tags: times become the seconds they are.
fn without_tags(value: ciborium::Value) -> ciborium::Value {
    use ciborium::Value;
    if let Value::Tag(_, inner) = value {
        return without_tags(*inner);
    }
    if let Value::Array(items) = value {
        return Value::Array(items.into_iter().map(without_tags).collect());
    }
    if let Value::Map(entries) = value {
        return Value::Map(entries.into_iter().map(|(key, value)| (key, without_tags(value))).collect());
    }
    value
}

/// AWS Lambda names its operations by method and path.
fn of_lambda(method: &str, uri: &str) -> Option<&'static str> {
    let (_, path) = uri.split_once("-31/").or_else(|| uri.split_once("-30/"))?;
    let path: Vec<&str> = path.split(['?', '&']).next()?.trim_end_matches('/').split('/').collect();
    Some(match (method, path.as_slice()) {
        ("GET", ["event-source-mappings"]) => "ListEventSourceMappings",
        ("GET", ["functions", _]) => "GetFunction",
        ("GET", ["functions", _, "provisioned-concurrency"]) => "GetProvisionedConcurrencyConfig",
        ("GET", ["functions", _, "aliases", _]) => "GetAlias",
        ("PUT", ["functions", _, "aliases", _]) => "UpdateAlias",
        ("PUT", ["functions", _, "code"]) => "UpdateFunctionCode",
        ("POST", ["functions", _, "versions"]) => "PublishVersion",
        _ => return None,
    })
}

fn read(request: &HttpRequest) -> Call {
    let bytes = request.body().bytes().unwrap_or_default();
    let headers: HashMap<String, String> =
        request.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let cbor = headers.contains_key("smithy-protocol");
    let body = if cbor {
        from_cbor(bytes).unwrap_or_default().to_string()
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    };
    let target = headers.get("x-amz-target").and_then(|target| target.rsplit('.').next());
    let path = || request.uri().split_once("/operation/").map(|(_, operation)| operation);
    let action = || body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let rest = || of_lambda(request.method(), request.uri());
    Call {
        operation: target.or_else(path).or_else(action).or_else(rest).unwrap_or(request.uri()).to_owned(),
        uri: request.uri().to_owned(),
        headers,
        body,
    }
}
