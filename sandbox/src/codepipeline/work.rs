//! What pipelines do to the world, all of it with the pipeline's role: it takes sources out of S3, invokes functions, and
//! publishes what approvals ask.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::model::Artifact;
use crate::ministack::{Client, object_path, records};
use crate::ports::AwsError;

/// Temporary keys.
pub(super) struct Session {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
}

impl Session {
    /// The role's keys; with `bucket`, good for nothing but that artifact store.
    pub(super) async fn assume(aws: &Client, role: &str, bucket: Option<&str>) -> Result<Self, AwsError> {
        let policy = bucket.map(|bucket| store_policy(bucket).to_string());
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", "codepipeline"),
        ];
        form.extend(policy.as_deref().map(|policy| ("Policy", policy)));
        let answer = aws.query("sts", &form).await.map_err(|error| AwsError {
            message: format!(
                "AWS CodePipeline is not authorized to perform AssumeRole on role {role}: {}",
                error.message
            ),
            ..error
        })?;
        let leaves = records(&answer);
        let leaf = |name: &str| {
            let found = leaves.iter().find_map(|record| record.get(name).cloned());
            found.ok_or_else(|| AwsError::new("InternalFailure", format!("AssumeRole answered no {name}")))
        };
        Ok(Self {
            access_key_id: leaf("AccessKeyId")?,
            secret_access_key: leaf("SecretAccessKey")?,
            session_token: leaf("SessionToken")?,
        })
    }

    /// As jobs carry it.
    pub(super) fn credentials(&self) -> Value {
        json!({
            "accessKeyId": self.access_key_id,
            "secretAccessKey": self.secret_access_key,
            "sessionToken": self.session_token,
        })
    }

    fn client(&self, aws: &Client) -> Client {
        aws.with_session(&self.access_key_id, &self.secret_access_key, &self.session_token)
    }
}

fn store_policy(bucket: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
         "Resource": format!("arn:aws:s3:::{bucket}/*")},
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketVersioning"],
         "Resource": format!("arn:aws:s3:::{bucket}")},
    ]})
}

/// Copies an object into the artifact store and returns its revision: its version, or without versioning its ETag.
pub(super) async fn fetch(
    aws: &Client,
    role: &str,
    bucket: &str,
    key: &str,
    to: &Artifact,
) -> Result<String, AwsError> {
    let role = Session::assume(aws, role, None).await?.client(aws);
    let path = object_path(bucket, key);
    let object = role.rest("s3", Method::GET, &path, HeaderMap::new(), Bytes::new()).await?;
    let header = |name: &str| object.headers().get(name)?.to_str().ok().filter(|text| *text != "null");
    let revision = header("x-amz-version-id").or_else(|| header("etag")).unwrap_or_default();
    let revision = revision.trim_matches('"').to_owned();
    let path = object_path(&to.bucket, &to.key);
    role.rest("s3", Method::PUT, &path, HeaderMap::new(), object.into_body()).await?;
    Ok(revision)
}

/// Invokes a function without waiting for it.
pub(super) async fn invoke(aws: &Client, role: &str, function: &str, event: &Value) -> Result<(), AwsError> {
    let role = Session::assume(aws, role, None).await?.client(aws);
    let path = format!("/2015-03-31/functions/{function}/invocations");
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-invocation-type", HeaderValue::from_static("Event"));
    role.rest("lambda", Method::POST, &path, headers, event.to_string().into()).await.map(drop)
}

/// Publishes to a topic.
pub(super) async fn publish(aws: &Client, role: &str, topic: &str, message: &str) -> Result<(), AwsError> {
    let role = Session::assume(aws, role, None).await?.client(aws);
    let form = [
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", topic),
        ("Subject", "APPROVAL NEEDED"),
        ("Message", message),
    ];
    role.query("sns", &form).await.map(drop)
}
