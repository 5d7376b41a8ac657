//! A small signed AWS client, for the calls the sandbox makes itself.
//!
//! The AWS SDK would need one crate for each service and another set of features; the sandbox makes a few dozen calls, mostly
//! to pass on what it was asked. It signs like any SDK, because ministack runs with authorization on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::digest;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::ports::AwsError;

type Http = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;

/// How long one call may take. CloudFormation and Lambda answer synchronously in ministack, so this is generous.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Calls AWS APIs at one address, signed with one pair of keys. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
    authority: String,
    region: String,
    credentials: Credentials,
}

impl Client {
    /// A client for the endpoint at `addr`.
    pub fn new(addr: SocketAddr, region: &str, access_key: &str, secret: &str) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build_http();
        let credentials = Credentials::new(access_key, secret, None, None, "sandbox");
        Self { http, authority: addr.to_string(), region: region.to_owned(), credentials }
    }

    /// The same endpoint with the keys of a session, as `AssumeRole` gives them.
    pub fn with_session(&self, access_key: &str, secret: &str, session_token: &str) -> Self {
        let credentials =
            Credentials::new(access_key, secret, Some(session_token.to_owned()), None, "sandbox session");
        Self { credentials, ..self.clone() }
    }

    /// The region calls are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls an operation of a service that speaks AWS JSON. `service` is the signing name (`dynamodb`), `target` the full
    /// `X-Amz-Target` (`DynamoDB_20120810.PutItem`).
    pub async fn json(&self, service: &str, target: &str, body: Value) -> Result<Value, AwsError> {
        let version = if matches!(service, "dynamodb" | "sqs" | "states") { "1.0" } else { "1.1" };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header_value(&format!("application/x-amz-json-{version}"))?);
        headers.insert("x-amz-target", header_value(target)?);
        let response = self.rest(service, Method::POST, "/", headers, Bytes::from(body.to_string())).await?;
        if response.body().is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(response.body())
            .map_err(|e| local_error("SerializationException", format!("{target} answered no JSON: {e}")))
    }

    /// Calls an operation of a service that speaks the query protocol; `params` include `Action` and `Version`. Returns the XML.
    pub async fn query(&self, service: &str, params: &[(&str, &str)]) -> Result<String, AwsError> {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, form);
        let body = Bytes::from(form_encode(params));
        let response = self.rest(service, Method::POST, "/", headers, body).await?;
        String::from_utf8(response.into_body().to_vec())
            .map_err(|e| local_error("SerializationException", format!("answer is not UTF-8: {e}")))
    }

    /// Sends any signed request. An answer outside 2xx becomes an [`AwsError`].
    pub async fn rest(
        &self,
        service: &str,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, AwsError> {
        let response = self.send(service, method, path_and_query, headers, body).await?;
        if response.status().is_success() { Ok(response) } else { Err(error_of(&response)) }
    }

    async fn send(
        &self,
        service: &str,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, AwsError> {
        let uri = format!("http://{}{path_and_query}", self.authority);
        let mut request = Request::builder()
            .method(method)
            .uri(&uri)
            .body(Full::new(body.clone()))
            .map_err(|e| local_error("InvalidRequest", format!("{uri}: {e}")))?;
        *request.headers_mut() = headers;
        self.sign(service, &mut request, &body)?;

        let exchange = async {
            let (parts, body) = self.http.request(request).await.map_err(|e| e.to_string())?.into_parts();
            let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
            Ok::<_, String>(Response::from_parts(parts, body))
        };
        match tokio::time::timeout(CALL_TIMEOUT, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => Err(local_error("ServiceUnavailable", format!("{uri}: {e}"))),
            Err(_) => Err(local_error("RequestTimeout", format!("{uri}: no answer in {CALL_TIMEOUT:?}"))),
        }
    }

    fn sign(&self, service: &str, request: &mut Request<Full<Bytes>>, body: &[u8]) -> Result<(), AwsError> {
        let failed = |e: String| local_error("SigningError", e);
        let mut settings = SigningSettings::default();
        if service == "s3" {
            // S3 signs the path as it is sent and wants the payload's hash in a header.
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|e| failed(e.to_string()))?
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(k, v)| Some((k.as_str(), v.to_str().ok()?)));
        let body = SignableBody::Precomputed(sha256(body));
        let signable = SignableRequest::new(request.method().as_str(), uri.as_str(), headers, body)
            .map_err(|e| failed(e.to_string()))?;
        let (instructions, _) = sign(signable, &params).map_err(|e| failed(e.to_string()))?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// In hexadecimal. By AWS-LC, which is as fast in a development build: bodies here are whole binaries.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn header_value(value: &str) -> Result<HeaderValue, AwsError> {
    HeaderValue::from_str(value).map_err(|e| local_error("InvalidRequest", format!("{value:?}: {e}")))
}

fn local_error(code: &str, message: String) -> AwsError {
    AwsError { code: code.to_owned(), message, status: 503 }
}

/// `application/x-www-form-urlencoded`, with everything but the unreserved characters escaped.
fn form_encode(params: &[(&str, &str)]) -> String {
    let pairs = params.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The path of an object in S3, for [`Client::rest`].
pub(crate) fn object_path(bucket: &str, key: &str) -> String {
    let segments = key.split('/').map(escape).collect::<Vec<_>>();
    format!("/{bucket}/{}", segments.join("/"))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Reads an error of any of AWS's protocols: JSON (`__type`, `message`), query and S3 XML (`<Code>`, `<Message>`), or, for
/// anything else, the status line.
fn error_of(response: &Response<Bytes>) -> AwsError {
    let status = response.status();
    let body = String::from_utf8_lossy(response.body());
    let of_header = response.headers().get("x-amzn-errortype").and_then(|v| v.to_str().ok());
    let (code, message) = match serde_json::from_str::<Value>(&body) {
        Ok(json) => (
            text(&json, &["__type", "code", "Code"]).or_else(|| of_header.map(str::to_owned)),
            text(&json, &["message", "Message"]),
        ),
        Err(_) => (element(&body, "Code"), element(&body, "Message")),
    };
    let code = code.unwrap_or_else(|| format!("Http{}", status.as_u16()));
    let code = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
    let message = message.unwrap_or_else(|| body.chars().take(500).collect());
    AwsError { code, message, status: status.as_u16() }
}

fn text(json: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| Some(json.get(name)?.as_str()?.to_owned()))
}

/// The text of the first element of that name outside any list.
fn element(xml: &str, name: &str) -> Option<String> {
    records(xml).pop().and_then(|mut root| root.remove(name))
}

/// The leaves of each `<member>` of an answer in the query protocol, in document order of their ends, and last those outside any
/// member.
pub(crate) fn records(xml: &str) -> Vec<BTreeMap<String, String>> {
    use quick_xml::events::Event;

    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut done, mut open) = (Vec::new(), vec![BTreeMap::new()]);
    let mut leaf = None::<String>;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                leaf = Some(String::new());
                if AsRef::<str>::as_ref(&start.local_name()) == "member" {
                    open.push(BTreeMap::new());
                }
            }
            Ok(Event::Text(text)) => leaf.iter_mut().for_each(|leaf| leaf.push_str(&text.xml10_content())),
            Ok(Event::GeneralRef(name)) => leaf.iter_mut().for_each(|leaf| leaf.push_str(&entity(&name))),
            Ok(Event::End(end)) => {
                let name = end.local_name();
                let name: &str = name.as_ref();
                if name == "member" && open.len() > 1 {
                    done.extend(open.pop());
                } else if let (Some(text), Some(record)) = (leaf.take(), open.last_mut()) {
                    record.entry(name.to_owned()).or_insert(text);
                }
                leaf = None;
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(
                Event::Empty(_)
                | Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_),
            ) => {}
        }
    }
    done.extend(open.into_iter().rev());
    done
}

fn entity(name: &str) -> String {
    if let Some(text) = quick_xml::escape::resolve_predefined_entity(name) {
        return text.to_owned();
    }
    let code = match name.strip_prefix("#x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => name.strip_prefix('#').and_then(|decimal| decimal.parse().ok()),
    };
    code.and_then(char::from_u32).map(String::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn reads_errors_of_every_protocol() {
        let json =
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no table"}"#;
        let error = error_of(&answer(400, json));
        assert_eq!((error.code.as_str(), error.message.as_str()), ("ResourceNotFoundException", "no table"));

        let query = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>a &lt; b &#38; c</Message></Error></ErrorResponse>";
        let error = error_of(&answer(400, query));
        assert_eq!((error.code.as_str(), error.message.as_str()), ("ValidationError", "a < b & c"));

        let error = error_of(&answer(502, "bad gateway"));
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), error.status),
            ("Http502", "bad gateway", 502)
        );
    }

    #[test]
    fn groups_members() {
        let xml = "<R xmlns='x'><L><member><K>a</K><V>1</V></member><member><K>b</K><In><member><K>c</K></member></In>\
                   <V>&quot;2&quot;</V></member></L><Id>r</Id></R>";
        let found: Vec<_> =
            records(xml).into_iter().map(|r| r.into_values().collect::<Vec<_>>().join("=")).collect();
        assert_eq!(found, ["a=1", "c", "b=\"2\"", "r"]);
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(form_encode(&[("A.b", "x y&z=é"), ("c", "")]), "A.b=x%20y%26z%3D%C3%A9&c=");
    }
}
