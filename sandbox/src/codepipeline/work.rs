//! What pipelines do to the world, all of it with the pipeline's role: it takes sources out of S3, invokes functions, and
//! publishes what approvals ask.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::model::Artifact;
use crate::ministack::{Client, Session, object_path};
use crate::ports::AwsError;

/// Who assumes the role, in refusals.
const WHO: &str = "AWS CodePipeline";

/// The role's keys, good for nothing but the artifact store.
pub(super) async fn store_session(aws: &Client, role: &str, bucket: &str) -> Result<Session, AwsError> {
    Session::assume(aws, WHO, role, Some(&store_policy(bucket))).await
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
    let role = Session::assume(aws, WHO, role, None).await?.client(aws);
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
    let role = Session::assume(aws, WHO, role, None).await?.client(aws);
    let path = format!("/2015-03-31/functions/{function}/invocations");
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-invocation-type", HeaderValue::from_static("Event"));
    role.rest("lambda", Method::POST, &path, headers, event.to_string().into()).await.map(drop)
}

/// Publishes to a topic.
pub(super) async fn publish(aws: &Client, role: &str, topic: &str, message: &str) -> Result<(), AwsError> {
    let role = Session::assume(aws, WHO, role, None).await?.client(aws);
    let form = [
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", topic),
        ("Subject", "APPROVAL NEEDED"),
        ("Message", message),
    ];
    role.query("sns", &form).await.map(drop)
}
