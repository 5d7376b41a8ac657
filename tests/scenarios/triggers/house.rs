//! What all scenarios of triggers need: buckets, a role for pipelines, a shop whose policy opens every way.

use std::io::{Cursor, Write as _};

use anyhow::{Context, Result, anyhow};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::policy;
use tidegate_sandbox::local::shop::{Balancer, CLUSTER};
use tidegate_sandbox::local::{ACCOUNT, REGION};
use tidegate_sandbox::ministack::Client;

use crate::stage::Stage;
use crate::story::Story;

/// The role of pipelines.
pub(crate) const ROLE: &str = "arn:aws:iam::111122223333:role/pipeline";
pub(crate) const QUICK: &str = "{ blue_green: {}, bake: 1s }";

/// Root, through the endpoint: what CodeBuild and CodePipeline are called with.
pub(crate) fn root(stage: &Stage) -> Client {
    Client::new(stage.local.endpoint.address(), REGION, "test", "test")
}

/// Calls a service with `X-Amz-Target`.
pub(crate) async fn call(stage: &Stage, service: &str, target: &str, input: Value) -> Result<Value> {
    let answer = root(stage).json(service, target, input).await;
    answer.map_err(|error| anyhow!("{target}: {}: {}", error.code, error.message))
}

async fn s3(stage: &Stage, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Result<()> {
    let answer = root(stage).rest("s3", method, path, HeaderMap::new(), body.into()).await;
    answer.map(drop).map_err(|error| anyhow!("{path}: {}: {}", error.code, error.message))
}

/// Writes an object.
pub(crate) async fn put(stage: &Stage, bucket: &str, key: &str, body: impl Into<bytes::Bytes>) -> Result<()> {
    s3(stage, Method::PUT, &format!("/{bucket}/{key}"), body).await
}

/// A zip archive.
pub(crate) fn zipped(files: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default())?;
        archive.write_all(text.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// The buckets Tidegate was deployed for, and the role of pipelines.
pub(crate) async fn prepare(stage: &Stage) -> Result<()> {
    let place = format!(
        "<CreateBucketConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    );
    for bucket in ["builds", "releases", "incoming", "store"] {
        s3(stage, Method::PUT, &format!("/{bucket}"), place.clone()).await?;
    }
    let notify = "<NotificationConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><EventBridgeConfiguration/></NotificationConfiguration>";
    s3(stage, Method::PUT, "/releases?notification=", notify).await?;
    let root_arn = format!("arn:aws:iam::{ACCOUNT}:root");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "codepipeline.amazonaws.com", "AWS": root_arn}}]});
    let allowed = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}]});
    let (trust, allowed) = (trust.to_string(), allowed.to_string());
    let iam = async |params: &[(&str, &str)]| {
        let answer = root(stage).query("iam", params).await;
        answer.map(drop).map_err(|error| anyhow!("{}: {}", error.code, error.message))
    };
    let version = ("Version", "2010-05-08");
    iam(&[version, ("Action", "CreateRole"), ("RoleName", "pipeline"), ("AssumeRolePolicyDocument", &trust)])
        .await?;
    let put = [
        version,
        ("Action", "PutRolePolicy"),
        ("RoleName", "pipeline"),
        ("PolicyName", "p"),
        ("PolicyDocument", &allowed),
    ];
    iam(&put).await
}

/// A shop to which every way is open, and pushes are not one.
pub(crate) async fn open(stage: &std::sync::Arc<Stage>, name: &str) -> Result<Story> {
    open_with(stage, name, QUICK, "").await
}

/// The same with another strategy, and more in the policy.
pub(crate) async fn open_with(
    stage: &std::sync::Arc<Stage>,
    name: &str,
    strategy: &str,
    more: &str,
) -> Result<Story> {
    let story = Story::open_behind(stage, name, Balancer::None).await?;
    let text = format!(
        "service: {name}\n\
         from: {{ ecr: {{ repository: shop/{name} }}, codebuild: {{ project: {name} }}, s3: {{ bucket: releases, prefix: {name}/ }}, pipeline: {{ names: [{name}] }}, requests: {{ sources: [shop.ci] }}, webhooks: {{ docker_hub: {{ repository: shop/{name}, tags: [\"main-*\"] }} }} }}\n\
         to: {{ ecs: {{ cluster: {CLUSTER}, service: {name}, container: app }} }}\n\
         strategy: {strategy}\nrollback: {{ alarms: [{}] }}\n{more}",
        story.switch()
    );
    let policy = policy::parse("policy.yaml", &text).map_err(|error| anyhow!("{error}"))?;
    stage.installation.apply(&policy, &Actor::Person { name: "tests".into() }).await?;
    Ok(story)
}

/// The registry's host.
pub(crate) fn registry() -> String {
    format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com")
}

/// The newest entries of the service's own history, as text.
pub(crate) async fn told(story: &Story) -> Result<String> {
    let history = story.stage.installation.ledger.service_history(&story.name, 20).await?.whole()?;
    let lines: Vec<String> =
        history.iter().map(|entry| format!("{}: {}", entry.event, entry.event.why())).collect();
    Ok(lines.join("\n"))
}

/// A field of an answer as text.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {value}"))
}
