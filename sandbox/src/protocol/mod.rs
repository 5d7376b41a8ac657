//! The AWS wire protocols the sandbox's own services are spoken to in, because the product uses the ordinary SDKs and must
//! not know that they talk to a sandbox.
//!
//! Inside, an operation's input and output are JSON with the member names of AWS's JSON protocols, timestamps as seconds
//! since the epoch. This module is the only place that knows about XML, forms and CBOR.

mod cbor;
mod query;
pub mod wildcard;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::ports::AwsError;

/// How a caller speaks. An answer must be in the protocol of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// awsJson with the operation in `X-Amz-Target`: ECS, ECR, DynamoDB, SQS, EventBridge.
    Json {
        /// The content type's version, `1.0` or `1.1`.
        version: &'static str,
    },
    /// A form in, XML out: Elastic Load Balancing, IAM, STS; CloudWatch in older SDKs.
    Query,
    /// Smithy RPC v2 with CBOR: CloudWatch in current SDKs.
    Cbor,
    /// HTTP bindings with JSON, e.g. Lambda; only passed on, never answered but with errors.
    RestJson,
    /// HTTP bindings with XML: S3; only passed on, never answered but with errors.
    RestXml,
}

impl Protocol {
    /// Its name in the record of calls.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json { .. } => "json",
            Self::Query => "query",
            Self::Cbor => "cbor",
            Self::RestJson => "rest_json",
            Self::RestXml => "rest_xml",
        }
    }
}

/// A CBOR body as JSON, for people; `None` when it is none.
pub fn read_cbor(body: &[u8]) -> Option<Value> {
    cbor::decode(body).ok()
}

/// What a protocol without types on the wire needs to know about a service's members.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// XML namespace of query answers.
    pub namespace: &'static str,
    /// Members that are integers.
    integers: &'static [&'static str],
    /// Members that are floating point numbers.
    floats: &'static [&'static str],
    /// Members that are booleans.
    booleans: &'static [&'static str],
    /// Members that are timestamps, or lists of them.
    timestamps: &'static [&'static str],
    /// Members that are maps with free keys.
    maps: &'static [&'static str],
}

const ELB: Shapes = Shapes {
    namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
    integers: &[
        "Port",
        "PageSize",
        "Priority",
        "Weight",
        "Order",
        "DurationSeconds",
        "SessionTimeout",
        "HealthCheckIntervalSeconds",
        "HealthCheckTimeoutSeconds",
        "HealthyThresholdCount",
        "UnhealthyThresholdCount",
        "TargetControlPort",
    ],
    floats: &[],
    booleans: &["HealthCheckEnabled", "Enabled", "IsDefault", "ResetTransforms", "UseExistingClientSecret"],
    timestamps: &["CreatedTime"],
    maps: &["AuthenticationRequestExtraParams"],
};

const CLOUDWATCH: Shapes = Shapes {
    namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/",
    integers: &[
        "Period",
        "EvaluationPeriods",
        "DatapointsToAlarm",
        "MaxRecords",
        "MaxDatapoints",
        "StorageResolution",
        "ActionsSuppressorWaitPeriod",
        "ActionsSuppressorExtensionPeriod",
    ],
    floats: &[
        "Threshold",
        "Value",
        "Values",
        "Counts",
        "SampleCount",
        "Sum",
        "Minimum",
        "Maximum",
        "Average",
        "ExtendedStatistics",
    ],
    booleans: &["ActionsEnabled", "ReturnData"],
    timestamps: &[
        "Timestamp",
        "Timestamps",
        "StartTime",
        "EndTime",
        "StartDate",
        "ExpireDate",
        "AlarmConfigurationUpdatedTimestamp",
        "StateUpdatedTimestamp",
        "StateTransitionedTimestamp",
        "LastUpdatedTimestamp",
    ],
    maps: &[],
};

const UNTYPED: Shapes =
    Shapes { namespace: "", integers: &[], floats: &[], booleans: &[], timestamps: &[], maps: &[] };

impl Shapes {
    /// The shapes of the service with this signing name.
    pub fn of(service: &str) -> &'static Self {
        match service {
            "elasticloadbalancing" => &ELB,
            "monitoring" => &CLOUDWATCH,
            _ => &UNTYPED,
        }
    }

    fn is_timestamp(&self, member: &str) -> bool {
        self.timestamps.contains(&member)
    }
}

/// A request, read.
#[derive(Debug, Clone)]
pub struct Call {
    /// The protocol it came in.
    pub protocol: Protocol,
    /// The operation, e.g. `DescribeServices`; for REST protocols method and path.
    pub operation: String,
}

/// Tells protocol and operation from the request line, the headers and, for the query protocol, the body.
pub fn identify(service: &str, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Call {
    if let Some(operation) = cbor_operation(path) {
        return Call { protocol: Protocol::Cbor, operation };
    }
    if let Some(target) = text(headers, "x-amz-target") {
        let operation = target.rsplit('.').next().unwrap_or(target).to_owned();
        let version = match text(headers, "content-type") {
            Some(kind) if kind.contains("1.0") => "1.0",
            _ => "1.1",
        };
        return Call { protocol: Protocol::Json { version }, operation };
    }
    let is_form = text(headers, "content-type").is_some_and(|kind| kind.contains("x-www-form-urlencoded"));
    if is_form && let Some(operation) = query::action(body) {
        return Call { protocol: Protocol::Query, operation };
    }
    let protocol = if service == "s3" { Protocol::RestXml } else { Protocol::RestJson };
    Call { protocol, operation: format!("{method} {path}") }
}

/// Reads the input of an operation the sandbox answers itself.
///
/// # Errors
/// `SerializationException` (or the query protocol's `MalformedQueryString`) when the body is not what the protocol says.
pub fn decode(service: &str, call: &Call, body: &[u8]) -> Result<Value, AwsError> {
    match call.protocol {
        Protocol::Json { .. } if body.is_empty() => Ok(json!({})),
        Protocol::Json { .. } => serde_json::from_slice(body)
            .map_err(|error| AwsError::new("SerializationException", format!("invalid JSON: {error}"))),
        Protocol::Query => Ok(query::decode(Shapes::of(service), body)),
        Protocol::Cbor if body.is_empty() => Ok(json!({})),
        Protocol::Cbor => cbor::decode(body),
        Protocol::RestJson | Protocol::RestXml => Err(AwsError {
            code: "UnknownOperationException".to_owned(),
            message: format!("the sandbox does not answer {} {}", service, call.operation),
            status: 404,
        }),
    }
}

/// Writes an operation's output.
pub fn encode(service: &str, call: &Call, output: &Value, request_id: &str) -> Response<Bytes> {
    let shapes = Shapes::of(service);
    let (kind, body) = match call.protocol {
        Protocol::Json { version } => (json_type(version), Bytes::from(output.to_string())),
        Protocol::Query => ("text/xml", query::encode(shapes, &call.operation, output, request_id).into()),
        Protocol::Cbor => ("application/cbor", cbor::encode(shapes, output).into()),
        Protocol::RestJson | Protocol::RestXml => ("application/json", Bytes::from(output.to_string())),
    };
    finish(call.protocol, StatusCode::OK, kind, body, request_id)
}

/// Writes an error as the SDKs of this protocol read it into their typed errors.
pub fn encode_error(service: &str, call: &Call, error: &AwsError, request_id: &str) -> Response<Bytes> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let sender = if status.is_server_error() { "Receiver" } else { "Sender" };
    let (kind, body) = match call.protocol {
        Protocol::Json { version } => (
            json_type(version),
            Bytes::from(json!({"__type": error.code, "message": error.message}).to_string()),
        ),
        Protocol::RestJson => (
            "application/json",
            Bytes::from(json!({"__type": error.code, "message": error.message}).to_string()),
        ),
        Protocol::Cbor => (
            "application/cbor",
            cbor::encode(Shapes::of(service), &json!({"__type": error.code, "message": error.message}))
                .into(),
        ),
        Protocol::Query => {
            ("text/xml", query::encode_error(Shapes::of(service), error, sender, request_id).into())
        }
        Protocol::RestXml => ("application/xml", query::encode_rest_error(error, request_id).into()),
    };
    let mut response = finish(call.protocol, status, kind, body, request_id);
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    if call.protocol == Protocol::Cbor
        && let Ok(code) = HeaderValue::from_str(&format!("{};{sender}", error.code))
    {
        response.headers_mut().insert("x-amzn-query-error", code);
    }
    response
}

/// The throttling error of a service, as its SDKs recognise it.
pub fn throttled(service: &str, protocol: Protocol) -> AwsError {
    let (code, status) = match (service, protocol) {
        ("s3", _) => ("SlowDown", 503),
        ("lambda", _) => ("TooManyRequestsException", 429),
        ("sqs", _) => ("RequestThrottled", 403),
        (_, Protocol::Query | Protocol::Cbor) => ("Throttling", 400),
        (_, Protocol::Json { .. } | Protocol::RestJson | Protocol::RestXml) => ("ThrottlingException", 400),
    };
    AwsError { code: code.to_owned(), message: "Rate exceeded".to_owned(), status }
}

/// The access-denied error of a protocol.
pub fn denied(protocol: Protocol, message: String) -> AwsError {
    let (code, status) = match protocol {
        Protocol::Json { .. } => ("AccessDeniedException", 400),
        Protocol::RestJson => ("AccessDeniedException", 403),
        Protocol::Query | Protocol::Cbor | Protocol::RestXml => ("AccessDenied", 403),
    };
    AwsError { code: code.to_owned(), message, status }
}

/// Undoes URL encoding of a text in which `+` means itself.
pub fn percent_decode(text: &str) -> String {
    query::unescape(text.replace('+', "%2B").as_bytes())
}

fn finish(
    protocol: Protocol,
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
    request_id: &str,
) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    if protocol == Protocol::Cbor {
        headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    }
    response
}

fn json_type(version: &str) -> &'static str {
    if version == "1.0" { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" }
}

fn cbor_operation(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/service/")?;
    let (_, operation) = rest.split_once("/operation/")?;
    (!operation.is_empty() && !operation.contains('/')).then(|| operation.to_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn every_protocol_is_recognised() {
        let target = headers(&[("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListServices")]);
        let json = identify("ecs", &Method::POST, "/", &target, b"{}");
        assert_eq!(
            (json.protocol, json.operation.as_str()),
            (Protocol::Json { version: "1.1" }, "ListServices")
        );

        let form = headers(&[("content-type", "application/x-www-form-urlencoded; charset=utf-8")]);
        let query =
            identify("elasticloadbalancing", &Method::POST, "/", &form, b"Action=DescribeRules&Version=1");
        assert_eq!((query.protocol, query.operation.as_str()), (Protocol::Query, "DescribeRules"));

        let path = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms";
        let cbor = identify("monitoring", &Method::POST, path, &HeaderMap::new(), b"");
        assert_eq!((cbor.protocol, cbor.operation.as_str()), (Protocol::Cbor, "DescribeAlarms"));

        let rest = identify("lambda", &Method::GET, "/2015-03-31/functions/", &HeaderMap::new(), b"");
        assert_eq!(rest.operation, "GET /2015-03-31/functions/");
    }

    #[test]
    fn an_error_names_its_code_where_each_sdk_looks() {
        let error = AwsError::new("RuleNotFound", "One or more rules not found");
        let call = Call { protocol: Protocol::Query, operation: "ModifyRule".to_owned() };
        let xml = encode_error("elasticloadbalancing", &call, &error, "id-1");
        let body = String::from_utf8(xml.body().to_vec()).unwrap();
        assert!(
            body.contains("<Code>RuleNotFound</Code>") && body.contains("<RequestId>id-1</RequestId>"),
            "{body}"
        );

        let call = Call { protocol: Protocol::Cbor, operation: "GetAlarmMuteRule".to_owned() };
        let cbor = encode_error("monitoring", &call, &error, "id-2");
        assert_eq!(cbor.headers()["x-amzn-query-error"], "RuleNotFound;Sender");
        assert_eq!(cbor.headers()["x-amzn-requestid"], "id-2");
    }
}
