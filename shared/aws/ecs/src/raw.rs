//! Raw bodies beside the SDK's types: what Amazon ECS said, and what is said to it, including fields this SDK does not know.
//!
//! A field that AWS added after the SDK was built would be lost in its types, and a task definition registered from them would
//! silently lack it. So the SDK does what it is good at (endpoints, credentials, signing, retries, errors), while two interceptors
//! keep the body that came and put in the body that goes.
//!
//! The SDK can be told another protocol than JSON. Should a version of it prefer one, the tests of this crate say so.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ecs::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::body::SdkBody;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_core::fault::{ErrorKind, PortError};

/// Keeps the body of the last answer of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeepBody {
    kept: Arc<Mutex<Option<Vec<u8>>>>,
}

impl KeepBody {
    /// The body as JSON, after the call has succeeded.
    pub(crate) fn json(&self, operation: &'static str) -> Result<Value, PortError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let body = kept.ok_or_else(|| unreadable(operation, "there was no body"))?;
        serde_json::from_slice(&body).map_err(|error| unreadable(operation, &error.to_string()))
    }

    /// The body, or a part of it, as a type of ours.
    pub(crate) fn parse<T: DeserializeOwned>(&self, operation: &'static str) -> Result<T, PortError> {
        read(operation, self.json(operation)?)
    }
}

impl Intercept for KeepBody {
    fn name(&self) -> &'static str {
        "KeepBody"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().map(<[u8]>::to_vec);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = body;
        Ok(())
    }
}

/// Replaces the body of one call's request, before it is signed.
#[derive(Debug, Clone)]
pub(crate) struct SendBody {
    body: String,
}

impl SendBody {
    /// With this body.
    pub(crate) fn new(body: &Value) -> Self {
        Self { body: body.to_string() }
    }
}

impl Intercept for SendBody {
    fn name(&self) -> &'static str {
        "SendBody"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("content-length", self.body.len().to_string());
        *request.body_mut() = SdkBody::from(self.body.as_str());
        Ok(())
    }
}

/// JSON as a type of ours; null is absent, as in AWS's own SDKs. What cannot be read may have been cut off on the way; the next
/// answer may be whole.
pub(crate) fn read<T: DeserializeOwned>(operation: &'static str, value: Value) -> Result<T, PortError> {
    serde_json::from_value(without_nulls(value)).map_err(|error| unreadable(operation, &error.to_string()))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(field, value)| (field, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn unreadable(operation: &'static str, why: &str) -> PortError {
    PortError::new(
        ErrorKind::Unavailable,
        operation,
        "UnreadableAnswer",
        format!("the answer cannot be read: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_sdk_ecs::Client;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4::SigningParams;
    use serde_json::json;
    use tidegate_replay::{Call, Replay};

    use super::*;

    #[tokio::test]
    async fn a_field_the_sdk_does_not_know_is_kept() {
        let replay = Replay::new();
        let answer = json!({ "taskDefinition": { "family": "web", "quantumCores": { "spin": [1, "up"] } } });
        replay.json("DescribeTaskDefinition", answer.clone());
        let kept = KeepBody::default();
        let client = Client::new(&replay.config());
        let call = client.describe_task_definition().task_definition("web:1").customize();
        call.interceptor(kept.clone()).send().await.unwrap();
        assert_eq!(kept.json("ecs:DescribeTaskDefinition").unwrap(), answer);
    }

    #[tokio::test]
    async fn our_body_is_what_is_sent_measured_and_signed() {
        let replay = Replay::new();
        replay.json("RegisterTaskDefinition", json!({}));
        let body = json!({ "family": "web", "containerDefinitions": [], "quantumCores": { "é": 7 } });
        let client = Client::new(&replay.config());
        let call = client.register_task_definition().family("something else").customize();
        call.interceptor(SendBody::new(&body)).send().await.unwrap();
        let [call] = replay.calls("RegisterTaskDefinition").try_into().unwrap();
        assert_eq!(call.json(), body);
        assert_eq!(call.headers["content-length"], call.body.len().to_string());
        assert_eq!(signature_sent(&call), signature_of(&call));
    }

    #[test]
    fn half_an_answer_may_be_whole_next_time() {
        let kept = KeepBody { kept: Arc::new(Mutex::new(Some(b"{\"services\": [".to_vec()))) };
        let error = kept.json("ecs:DescribeServices").unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unavailable, "UnreadableAnswer"));
    }

    fn signature_sent(call: &Call) -> String {
        call.headers["authorization"].rsplit("Signature=").next().unwrap().to_owned()
    }

    /// Signs the recorded call again, with the headers the SDK signed.
    fn signature_of(call: &Call) -> String {
        let signed = call.headers["authorization"].split("SignedHeaders=").nth(1).unwrap();
        let signed: Vec<&str> = signed.split(',').next().unwrap().split(';').collect();
        let headers = signed.iter().filter_map(|name| Some((*name, call.headers.get(*name)?.as_str())));
        let headers = headers.filter(|(name, _)| *name != "x-amz-date");
        let identity = aws_sdk_ecs::config::Credentials::new("AKIDEXAMPLE", "example", None, None, "replay");
        let identity = identity.into();
        let mut settings = SigningSettings::default();
        settings.excluded_headers = None;
        let params = SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name("ecs")
            .time(UNIX_EPOCH + Duration::from_secs(signed_at(&call.headers["x-amz-date"])))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let body = SignableBody::Bytes(call.body.as_bytes());
        let request = SignableRequest::new("POST", call.uri.as_str(), headers, body).unwrap();
        sign(request, &params).unwrap().into_parts().1
    }

    fn signed_at(date: &str) -> u64 {
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).unwrap();
        time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second().try_into().unwrap()
    }
}
