//! Puts the project's own `template.yaml` into ministack, as `sam deploy` puts it into an account.
//!
//! The function binaries are zipped, uploaded to a bucket, and every `CodeUri` is rewritten to where its zip went, which is what
//! `sam package` does. ministack runs the SAM transform itself. Nothing else of the template is touched: what is deployed
//! here is what is deployed to AWS.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Client;
use super::client::records;
use crate::ports::AwsError;

const BUCKET: &str = "tidegate-deployments";
const API_VERSION: (&str, &str) = ("Version", "2010-05-15");
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// What to deploy.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The stack's name; names of tables, queues and functions derive from it.
    pub stack: String,
    /// The SAM template.
    pub template: PathBuf,
    /// The directory with `<function>/bootstrap` for the last component of every `CodeUri` of the template.
    pub functions: PathBuf,
    /// The template's parameters.
    pub parameters: BTreeMap<String, String>,
}

/// What was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The stack's outputs by key.
    pub outputs: BTreeMap<String, String>,
}

impl Deployed {
    /// An output the template is known to have.
    pub fn output(&self, key: &str) -> Result<&str> {
        let value = self.outputs.get(key).map(String::as_str);
        value.with_context(|| format!("the stack has no output {key:?}; it has {:?}", self.outputs.keys()))
    }
}

/// Creates the stack and waits until it is complete. `client` must be root's.
pub async fn deploy(client: &Client, deployment: &Deployment) -> Result<Deployed> {
    let path = &deployment.template;
    let template =
        std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    create_bucket(client).await?;
    let template = package(client, &template, &deployment.functions).await?;
    create_stack(client, deployment, &template).await?;
    let outputs = wait_until_created(client, &deployment.stack).await?;
    enable_time_to_live(client, &deployment.stack).await?;
    Ok(Deployed { outputs })
}

async fn create_bucket(client: &Client) -> Result<()> {
    let body = format!(
        "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        client.region()
    );
    // us-east-1 is the one region S3 refuses to be told.
    let body = if client.region() == "us-east-1" { String::new() } else { body };
    let created =
        client.rest("s3", Method::PUT, &format!("/{BUCKET}"), HeaderMap::new(), Bytes::from(body)).await;
    match created {
        Ok(_) => Ok(()),
        Err(AwsError { code, .. }) if code == "BucketAlreadyOwnedByYou" => Ok(()),
        Err(e) => Err(aws(&format!("create bucket {BUCKET}"), &e)),
    }
}

/// Uploads what every `CodeUri` names and returns the template with the `CodeUri`s rewritten, all else byte for byte.
async fn package(client: &Client, template: &str, functions: &Path) -> Result<String> {
    let mut packaged = String::with_capacity(template.len());
    let mut found = 0;
    for line in template.split_inclusive('\n') {
        let Some((indent, code_uri)) = line.split_once("CodeUri:").filter(|(i, _)| i.trim().is_empty())
        else {
            packaged.push_str(line);
            continue;
        };
        let function = code_uri.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let key = upload(client, &functions.join(function).join("bootstrap")).await?;
        writeln!(packaged, "{indent}CodeUri: s3://{BUCKET}/{key}").context("failed to write to a string")?;
        found += 1;
    }
    if found == 0 {
        bail!("the template names no CodeUri, so there is nothing to deploy");
    }
    Ok(packaged)
}

async fn upload(client: &Client, bootstrap: &Path) -> Result<String> {
    let binary =
        std::fs::read(bootstrap).with_context(|| format!("failed to read {}", bootstrap.display()))?;
    let zip = zipped(&binary).with_context(|| format!("failed to zip {}", bootstrap.display()))?;
    let key = format!("{}.zip", hex::encode(Sha256::digest(&zip)));
    let path = format!("/{BUCKET}/{key}");
    let put = client.rest("s3", Method::PUT, &path, HeaderMap::new(), Bytes::from(zip)).await;
    put.map_err(|e| aws(&format!("upload {}", bootstrap.display()), &e))?;
    Ok(key)
}

/// A zip with the one file `bootstrap`. The same binary gives the same bytes: no time of day in it. Stored, not deflated: it
/// travels over the loopback interface only.
fn zipped(bootstrap: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::with_capacity(bootstrap.len() + 256)));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o755);
    writer.start_file("bootstrap", options)?;
    writer.write_all(bootstrap)?;
    Ok(writer.finish()?.into_inner())
}

async fn create_stack(client: &Client, deployment: &Deployment, template: &str) -> Result<()> {
    let mut params = vec![
        ("Action".to_owned(), "CreateStack"),
        (API_VERSION.0.to_owned(), API_VERSION.1),
        ("StackName".to_owned(), deployment.stack.as_str()),
        ("TemplateBody".to_owned(), template),
        ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM"),
        ("Capabilities.member.2".to_owned(), "CAPABILITY_AUTO_EXPAND"),
        ("OnFailure".to_owned(), "DO_NOTHING"),
    ];
    for (i, (key, value)) in deployment.parameters.iter().enumerate() {
        params.push((format!("Parameters.member.{}.ParameterKey", i + 1), key));
        params.push((format!("Parameters.member.{}.ParameterValue", i + 1), value));
    }
    let params: Vec<_> = params.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let created = client.query("cloudformation", &params).await;
    created.map_err(|e| aws(&format!("create stack {}", deployment.stack), &e))?;
    Ok(())
}

async fn wait_until_created(client: &Client, stack: &str) -> Result<BTreeMap<String, String>> {
    let deadline = Instant::now() + CREATE_TIMEOUT;
    loop {
        let params = [("Action", "DescribeStacks"), API_VERSION, ("StackName", stack)];
        let xml = client.query("cloudformation", &params).await.map_err(|e| aws("describe the stack", &e))?;
        let found = records(&xml);
        let status = found.iter().find_map(|r| r.get("StackStatus")).cloned().unwrap_or_default();
        match status.as_str() {
            "CREATE_COMPLETE" => return Ok(outputs(found)),
            "CREATE_IN_PROGRESS" if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            other => bail!("stack {stack} ended in {other}: {}", why(client, stack).await),
        }
    }
}

fn outputs(records: Vec<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let pairs =
        records.into_iter().filter_map(|mut r| Some((r.remove("OutputKey")?, r.remove("OutputValue")?)));
    pairs.collect()
}

/// What failed first: events are listed newest first, and later failures mostly follow from the first.
async fn why(client: &Client, stack: &str) -> String {
    let params = [("Action", "DescribeStackEvents"), API_VERSION, ("StackName", stack)];
    let events = match client.query("cloudformation", &params).await {
        Ok(xml) => records(&xml),
        Err(e) => return format!("and its events cannot be read: {}: {}", e.code, e.message),
    };
    let failed =
        events.iter().rev().find(|e| e.get("ResourceStatus").is_some_and(|s| s.ends_with("_FAILED")));
    let Some(failed) = failed else { return "no event says why".to_owned() };
    let of = |key: &str| failed.get(key).map_or("?", String::as_str);
    format!("{} ({}): {}", of("LogicalResourceId"), of("ResourceType"), of("ResourceStatusReason"))
}

/// ministack's CloudFormation leaves out a table's `TimeToLiveSpecification`; this sets it as the template says.
async fn enable_time_to_live(client: &Client, stack: &str) -> Result<()> {
    let params =
        [("Action", "GetTemplate"), API_VERSION, ("StackName", stack), ("TemplateStage", "Processed")];
    let xml = client.query("cloudformation", &params).await.map_err(|e| aws("read the template", &e))?;
    let body = records(&xml).into_iter().find_map(|mut r| r.remove("TemplateBody")).unwrap_or_default();
    let template: Value = serde_json::from_str(&body).context("the processed template is not JSON")?;
    let resources = template["Resources"].as_object().into_iter().flatten();
    for (logical_id, resource) in resources.filter(|(_, r)| r["Type"] == "AWS::DynamoDB::Table") {
        let specification = &resource["Properties"]["TimeToLiveSpecification"];
        if specification.is_null() {
            continue;
        }
        let table = physical_id(client, stack, logical_id).await?;
        let of = json!({ "TableName": table });
        let now = client.json("dynamodb", "DynamoDB_20120810.DescribeTimeToLive", of).await;
        let now = now.map_err(|e| aws(&format!("describe the time to live of {table}"), &e))?;
        if now["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED" {
            continue;
        }
        let body = json!({ "TableName": table, "TimeToLiveSpecification": specification });
        let updated = client.json("dynamodb", "DynamoDB_20120810.UpdateTimeToLive", body).await;
        updated.map_err(|e| aws(&format!("set the time to live of {table}"), &e))?;
    }
    Ok(())
}

async fn physical_id(client: &Client, stack: &str, logical_id: &str) -> Result<String> {
    let action = ("Action", "DescribeStackResource");
    let params = [action, API_VERSION, ("StackName", stack), ("LogicalResourceId", logical_id)];
    let xml = client.query("cloudformation", &params).await.map_err(|e| aws("describe a resource", &e))?;
    let id = records(&xml).into_iter().find_map(|mut r| r.remove("PhysicalResourceId"));
    id.with_context(|| format!("{logical_id} has no physical id"))
}

fn aws(what: &str, error: &AwsError) -> anyhow::Error {
    anyhow!("failed to {what}: {}: {}", error.code, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ministack::{Process, testing};

    /// A Lambda function in Python: prints its environment, or calls AWS with the event's service, operation and input, and answers
    /// with what came of it.
    const BOOTSTRAP: &str = r#"
import json, os, urllib.request
import botocore.session, botocore.exceptions
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
def handle(event):
    if "operation" not in event:
        return {**os.environ, "event": event}
    client = botocore.session.get_session().create_client(event["service"])
    try:
        client._make_api_call(event["operation"], event.get("input", {}))
        return {"code": "OK"}
    except botocore.exceptions.ClientError as e:
        return {"code": e.response["Error"]["Code"]}
while True:
    with urllib.request.urlopen(f"{api}/next") as r:
        request_id, event = r.headers["Lambda-Runtime-Aws-Request-Id"], json.load(r)
    body = json.dumps(handle(event)).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request_id}/response", data=body, method="POST")).close()
"#;

    struct Stack {
        process: Process,
        client: Client,
        deployed: Deployed,
        _dir: tempfile::TempDir,
    }

    impl Stack {
        async fn deploy() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let functions = dir.path().join("functions");
            for function in ["intake", "conductor", "sentinel", "clock"] {
                std::fs::create_dir_all(functions.join(function)).unwrap();
                let shebang = format!("#!{}", testing::venv().join("bin/python").display());
                std::fs::write(functions.join(function).join("bootstrap"), shebang + BOOTSTRAP).unwrap();
            }
            let process = Process::start(&testing::options(dir.path())).await.unwrap();
            let client = process.root_client();
            let parameters = BTreeMap::from([
                ("ClusterArns".to_owned(), "arn:aws:ecs:eu-central-1:111122223333:cluster/prod".to_owned()),
                (
                    "RepositoryArns".to_owned(),
                    "arn:aws:ecr:eu-central-1:111122223333:repository/shop/*".to_owned(),
                ),
                ("Architecture".to_owned(), "x86_64".to_owned()),
            ]);
            let template = testing::workspace().join("template.yaml");
            let deployment = Deployment { stack: "tide".to_owned(), template, functions, parameters };
            let deployed = deploy(&client, &deployment).await.unwrap();
            Self { process, client, deployed, _dir: dir }
        }

        async fn invoke(&self, function: &str, event: Value) -> Value {
            let path = format!("/2015-03-31/functions/tide-{function}/invocations");
            let body = Bytes::from(event.to_string());
            let answer =
                self.client.rest("lambda", Method::POST, &path, HeaderMap::new(), body).await.unwrap();
            serde_json::from_slice(answer.body()).unwrap()
        }

        async fn code(&self, function: &str, service: &str, operation: &str, input: Value) -> String {
            let event = json!({ "service": service, "operation": operation, "input": input });
            self.invoke(function, event).await["code"].as_str().unwrap().to_owned()
        }
    }

    #[tokio::test]
    async fn the_template_deploys_with_its_policies_enforced() {
        let stack = Stack::deploy().await;
        let queue = stack.deployed.output("WakeQueueUrl").unwrap();

        let env = stack.invoke("intake", json!({})).await;
        println!("{env:#}");
        assert_eq!(env["TIDEGATE_TABLE"], "tide-ledger");
        assert_eq!(env["TIDEGATE_WAKE_QUEUE_URL"], queue);
        assert_eq!(env["TIDEGATE_ACCOUNT_ID"], "111122223333");
        assert_eq!(env["AWS_REGION"], "eu-central-1");

        let key = json!({ "TableName": "tide-ledger", "Key": { "pk": { "S": "a" }, "sk": { "S": "b" } } });
        let send = json!({ "QueueUrl": queue, "MessageBody": "{}" });
        for function in ["intake", "conductor", "sentinel", "clock"] {
            assert_eq!(stack.code(function, "dynamodb", "GetItem", key.clone()).await, "OK", "{function}");
            let scan = json!({ "TableName": "tide-ledger" });
            assert_ne!(stack.code(function, "dynamodb", "Scan", scan).await, "OK", "{function}");
            let sends = stack.code(function, "sqs", "SendMessage", send.clone()).await == "OK";
            assert_eq!(sends, function != "conductor", "{function}");
        }
        stack.process.stop().await.unwrap();
    }
}
