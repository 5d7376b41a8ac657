//! AWS CodePipeline: the job a Lambda action is invoked with. It carries credentials, so nothing here prints or stores it whole.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidegate_core::ids::AccountId;
use tidegate_core::ports::ObjectAt;

use crate::decode;

/// A job.
#[derive(Debug, Clone)]
pub struct PipelineJob {
    /// What the answer has to name. Each continuation is a job of its own.
    pub id: String,
    /// The pipeline's account.
    pub account: AccountId,
    /// `UserParameters`, as written.
    pub parameters: Option<String>,
    /// The input artifacts.
    pub inputs: Vec<InputArtifact>,
    /// For the artifacts, and for nothing else.
    pub credentials: Option<ArtifactCredentials>,
    /// What the job before it was answered with.
    pub continuation: Option<String>,
}

/// An input artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct InputArtifact {
    /// Its name in the pipeline.
    pub name: String,
    pub at: ObjectAt,
}

/// Temporary keys for the artifact store. They print as nothing and cannot be serialized.
#[derive(Clone, Deserialize)]
pub struct ArtifactCredentials {
    #[serde(rename = "accessKeyId", deserialize_with = "secret")]
    access_key_id: String,
    #[serde(rename = "secretAccessKey", deserialize_with = "secret")]
    secret_access_key: String,
    #[serde(rename = "sessionToken", default, deserialize_with = "some_secret")]
    session_token: Option<String>,
}

impl ArtifactCredentials {
    /// The access key id, the secret key and the session token, for a client and for nothing else.
    pub fn reveal(&self) -> (&str, &str, Option<&str>) {
        (&self.access_key_id, &self.secret_access_key, self.session_token.as_deref())
    }
}

impl fmt::Debug for ArtifactCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactCredentials(…)")
    }
}

/// Text whose value is in no error message.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(serde::de::Error::custom("found something else than text"))
        }
    }
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(serde::de::Error::custom("found something else than text"))
        }
    }
}

/// A job that cannot be read. With the id, it can still be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read CodePipeline.job: {path}: {problem}")]
pub struct JobError {
    /// The job's id, when that could be read.
    pub id: Option<String>,
    /// The path of the field.
    pub path: String,
    /// What was found and what is allowed.
    pub problem: String,
}

#[derive(Deserialize)]
struct RawJob {
    id: String,
    #[serde(rename = "accountId")]
    account: AccountId,
    #[serde(deserialize_with = "decode::fields")]
    data: RawData,
}

#[derive(Deserialize)]
struct RawData {
    #[serde(rename = "actionConfiguration", default, deserialize_with = "decode::some_fields")]
    action: Option<RawAction>,
    #[serde(rename = "inputArtifacts", default, deserialize_with = "decode::list_of_fields")]
    inputs: Vec<RawArtifact>,
    #[serde(rename = "artifactCredentials", default, deserialize_with = "decode::some_fields")]
    credentials: Option<ArtifactCredentials>,
    #[serde(rename = "continuationToken", default, deserialize_with = "decode::some_unless_empty")]
    continuation: Option<String>,
}

#[derive(Deserialize)]
struct RawAction {
    #[serde(default, deserialize_with = "decode::some_fields")]
    configuration: Option<RawConfiguration>,
}

#[derive(Deserialize)]
struct RawConfiguration {
    #[serde(rename = "UserParameters", default, deserialize_with = "decode::some_unless_empty")]
    parameters: Option<String>,
}

#[derive(Deserialize)]
struct RawArtifact {
    name: String,
    #[serde(default, deserialize_with = "decode::some_fields")]
    location: Option<RawLocation>,
}

#[derive(Deserialize)]
struct RawLocation {
    #[serde(rename = "s3Location", default, deserialize_with = "decode::some_fields")]
    s3: Option<RawS3>,
}

#[derive(Deserialize)]
struct RawS3 {
    #[serde(rename = "bucketName")]
    bucket: String,
    #[serde(rename = "objectKey")]
    key: String,
}

impl PipelineJob {
    /// Reads the event of an invocation.
    pub fn parse(event: &Value) -> Result<Self, JobError> {
        let job = &event["CodePipeline.job"];
        let id = job["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        let raw: RawJob = decode::from_value("CodePipeline.job", job).map_err(|place| JobError {
            id,
            path: place.path,
            problem: place.problem,
        })?;
        let inputs = raw.data.inputs.into_iter().filter_map(|artifact| {
            let s3 = artifact.location?.s3?;
            let at = ObjectAt { bucket: s3.bucket, key: s3.key, ..ObjectAt::default() };
            Some(InputArtifact { name: artifact.name, at })
        });
        Ok(Self {
            id: raw.id,
            account: raw.account,
            parameters: raw.data.action.and_then(|action| action.configuration?.parameters),
            inputs: inputs.collect(),
            credentials: raw.data.credentials,
            continuation: raw.data.continuation,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As documented for the Lambda action.
    fn event() -> Value {
        json!({"CodePipeline.job": {
            "id": "11111111-abcd-1111-abcd-111111abcdef", "accountId": "111122223333",
            "data": {
                "actionConfiguration": {"configuration": {"FunctionName": "tidegate-pipeline", "UserParameters": "{\"service\":\"checkout\"}"}},
                "inputArtifacts": [{"name": "image", "revision": null, "location": {"type": "S3", "s3Location": {"bucketName": "store", "objectKey": "checkout/image/abc"}}}],
                "outputArtifacts": [],
                "artifactCredentials": {"accessKeyId": "AKIDHIDDEN", "secretAccessKey": "SECRETHIDDEN", "sessionToken": "TOKENHIDDEN"},
                "continuationToken": "next",
                "encryptionKey": {"id": "arn:aws:kms:eu-central-1:111122223333:key/1", "type": "KMS"},
                "somethingNew": [1]
            }
        }})
    }

    #[test]
    fn a_job_is_read() {
        let job = PipelineJob::parse(&event()).unwrap();
        assert_eq!(job.parameters.as_deref(), Some("{\"service\":\"checkout\"}"));
        assert_eq!(job.inputs[0].at.to_string(), "s3://store/checkout/image/abc");
        assert_eq!(job.continuation.as_deref(), Some("next"));
        assert_eq!(job.credentials.unwrap().reveal(), ("AKIDHIDDEN", "SECRETHIDDEN", Some("TOKENHIDDEN")));
    }

    #[test]
    fn credentials_are_in_no_print_and_no_error() {
        let shown = format!("{:?} {:#?}", PipelineJob::parse(&event()), PipelineJob::parse(&event()));
        assert!(!shown.contains("HIDDEN"), "{shown}");
        for (field, value) in [
            ("secretAccessKey", json!({"SECRETHIDDEN": 1})),
            ("secretAccessKey", json!(["SECRETHIDDEN"])),
            ("sessionToken", json!(77_777_777)),
            ("accessKeyId", json!(77_777_777)),
        ] {
            let mut event = event();
            event["CodePipeline.job"]["data"]["artifactCredentials"][field] = value;
            let error = PipelineJob::parse(&event).unwrap_err();
            assert_eq!(error.id.as_deref(), Some("11111111-abcd-1111-abcd-111111abcdef"));
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("HIDDEN") && !shown.contains("77777777"), "{shown}");
        }
    }

    #[test]
    fn a_job_without_what_can_be_missing_is_read() {
        let event = json!({"CodePipeline.job": {"id": "j", "accountId": "111122223333", "data": {}}});
        let job = PipelineJob::parse(&event).unwrap();
        assert!(job.parameters.is_none() && job.inputs.is_empty() && job.credentials.is_none());
        let error = PipelineJob::parse(&json!({"other": 1})).unwrap_err();
        assert_eq!(error.id, None);
        let error = PipelineJob::parse(&json!({"CodePipeline.job": {"id": "j", "data": {}}})).unwrap_err();
        assert_eq!(error.id.as_deref(), Some("j"));
    }
}
