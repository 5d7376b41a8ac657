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

use super::Client;
use super::client::{records, sha256};
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
    // By its address, as `sam deploy` does it: a template in the call itself may have 51,200 bytes only.
    let key = format!("{}.template", sha256(template.as_bytes()));
    put(client, &key, template.into_bytes()).await.context("failed to upload the template")?;
    let address = format!("https://s3.{}.amazonaws.com/{BUCKET}/{key}", client.region());
    create(client, &deployment.stack, &address, &deployment.parameters).await
}

/// Creates a stack of a template that is in S3 with all it names, and waits until it is complete. `client` must be root's.
pub async fn create(
    client: &Client,
    stack: &str,
    address: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Deployed> {
    create_stack(client, stack, address, parameters).await?;
    let outputs = wait_until_created(client, stack).await?;
    enable_time_to_live(client, stack).await?;
    number_concurrency(client).await?;
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
    // One binary may be several functions.
    let mut uploaded: BTreeMap<&str, String> = BTreeMap::new();
    for line in template.split_inclusive('\n') {
        let Some((indent, code_uri)) = line.split_once("CodeUri:").filter(|(i, _)| i.trim().is_empty())
        else {
            packaged.push_str(line);
            continue;
        };
        let function = code_uri.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let key = match uploaded.get(function) {
            Some(key) => key.clone(),
            None => upload(client, &functions.join(function).join("bootstrap")).await?,
        };
        writeln!(packaged, "{indent}CodeUri: s3://{BUCKET}/{key}").context("failed to write to a string")?;
        uploaded.insert(function, key);
    }
    if uploaded.is_empty() {
        bail!("the template names no CodeUri, so there is nothing to deploy");
    }
    Ok(packaged)
}

async fn upload(client: &Client, bootstrap: &Path) -> Result<String> {
    let binary =
        std::fs::read(bootstrap).with_context(|| format!("failed to read {}", bootstrap.display()))?;
    let zip = zipped(&binary).with_context(|| format!("failed to zip {}", bootstrap.display()))?;
    let key = format!("{}.zip", sha256(&zip));
    put(client, &key, zip).await.with_context(|| format!("failed to upload {}", bootstrap.display()))?;
    Ok(key)
}

async fn put(client: &Client, key: &str, body: Vec<u8>) -> Result<()> {
    let path = format!("/{BUCKET}/{key}");
    let put = client.rest("s3", Method::PUT, &path, HeaderMap::new(), Bytes::from(body)).await;
    put.map(drop).map_err(|e| aws(&format!("put {key}"), &e))
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

async fn create_stack(
    client: &Client,
    stack: &str,
    address: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<()> {
    let mut params = vec![
        ("Action".to_owned(), "CreateStack"),
        (API_VERSION.0.to_owned(), API_VERSION.1),
        ("StackName".to_owned(), stack),
        ("TemplateURL".to_owned(), address),
        ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM"),
        ("Capabilities.member.2".to_owned(), "CAPABILITY_AUTO_EXPAND"),
        ("OnFailure".to_owned(), "DO_NOTHING"),
    ];
    for (i, (key, value)) in parameters.iter().enumerate() {
        params.push((format!("Parameters.member.{}.ParameterKey", i + 1), key));
        params.push((format!("Parameters.member.{}.ParameterValue", i + 1), value));
    }
    let params: Vec<_> = params.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let created = client.query("cloudformation", &params).await;
    created.map_err(|e| aws(&format!("create stack {stack}"), &e))?;
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

/// What failed first. Resources fail in the stack's events; what fails before any resource is touched says so only in the
/// events of the operation.
async fn why(client: &Client, stack: &str) -> String {
    for (action, status) in
        [("DescribeStackEvents", "ResourceStatus"), ("DescribeEvents", "ValidationStatus")]
    {
        let params = [("Action", action), API_VERSION, ("StackName", stack)];
        let events = match client.query("cloudformation", &params).await {
            Ok(xml) => records(&xml),
            Err(e) => return format!("and its events cannot be read: {}: {}", e.code, e.message),
        };
        if let Some(failed) = first_failure(&events, status) {
            return failed;
        }
    }
    "no event says why".to_owned()
}

/// Events are listed newest first, and later failures mostly follow from the first.
fn first_failure(events: &[BTreeMap<String, String>], status: &str) -> Option<String> {
    let failed = events.iter().rev().find(|event| {
        event.get("ResourceType").is_some_and(|kind| kind != "AWS::CloudFormation::Stack")
            && event.get(status).is_some_and(|status| status.ends_with("FAILED"))
    })?;
    let of = |key: &str| failed.get(key).map_or("?", String::as_str);
    let reason = of(&format!("{status}Reason"));
    Some(format!("{} ({}): {reason}", of("LogicalResourceId"), of("ResourceType")))
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

/// A parameter of the type `Number` is a number where a property is one; ministack's CloudFormation leaves it text, and Lambda's poller there
/// then cannot compare it and reads no queue at all.
async fn number_concurrency(client: &Client) -> Result<()> {
    const MAPPINGS: &str = "/2015-03-31/event-source-mappings/";
    let listed = client.rest("lambda", Method::GET, MAPPINGS, HeaderMap::new(), Bytes::new()).await;
    let listed = listed.map_err(|e| aws("list the event source mappings", &e))?;
    let listed: Value =
        serde_json::from_slice(listed.body()).context("the event source mappings are not JSON")?;
    for mapping in listed["EventSourceMappings"].as_array().into_iter().flatten() {
        let (Some(id), Some(text)) =
            (mapping["UUID"].as_str(), mapping["ScalingConfig"]["MaximumConcurrency"].as_str())
        else {
            continue;
        };
        let most: u32 = text.parse().with_context(|| format!("MaximumConcurrency is {text:?}"))?;
        let body = json!({ "ScalingConfig": { "MaximumConcurrency": most } }).to_string();
        let path = format!("{MAPPINGS}{id}");
        let put = client.rest("lambda", Method::PUT, &path, HeaderMap::new(), Bytes::from(body)).await;
        put.map_err(|e| aws("set how many conductors may run at once", &e))?;
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
    use std::time::Duration;

    use super::*;
    use crate::ministack::testing;

    #[tokio::test]
    async fn the_template_deploys_and_its_parts_work() {
        let stack = testing::Stack::deploy().await;
        functions_find_what_they_need(&stack).await;
        policies_are_enforced(&stack).await;
        policies_name_the_services_of_the_clusters(&stack).await;
        what_ministack_leaves_out_is_made_up_for(&stack).await;
        messages_wake_the_conductor(&stack).await;
        failed_events_are_kept(&stack).await;
        stack.process.stop().await.unwrap();
    }

    async fn functions_find_what_they_need(stack: &testing::Stack) {
        for function in testing::FUNCTIONS {
            let env = stack.invoke(function, json!({})).await;
            assert_eq!(env["TIDEGATE_TABLE"], "tide-ledger");
            assert_eq!(env["TIDEGATE_WAKE_QUEUE_URL"], stack.deployed.output("WakeQueueUrl").unwrap());
            assert_eq!(env["TIDEGATE_ACCOUNT_ID"], "111122223333");
            assert_eq!(env["AWS_REGION"], "eu-central-1");
            assert_eq!(env["AWS_LAMBDA_LOG_FORMAT"], "JSON");
        }
    }

    async fn policies_are_enforced(stack: &testing::Stack) {
        let key = json!({ "TableName": "tide-ledger", "Key": { "pk": { "S": "a" }, "sk": { "S": "b" } } });
        let send =
            json!({ "QueueUrl": stack.deployed.output("EventDeadLettersUrl").unwrap(), "MessageBody": "{}" });
        for function in testing::FUNCTIONS {
            assert_eq!(stack.code(function, "dynamodb", "GetItem", key.clone()).await, "OK", "{function}");
            let scan = json!({ "TableName": "tide-ledger" });
            let scanned = stack.code(function, "dynamodb", "Scan", scan).await;
            assert_eq!(scanned, "AccessDeniedException", "{function}");
            // The conductor is read from a queue; only events can fail.
            let sent = stack.code(function, "sqs", "SendMessage", send.clone()).await;
            assert_eq!(sent == "OK", function != "conductor", "{function}: {sent}");
        }
        let purge = json!({ "QueueUrl": stack.deployed.output("EventDeadLettersUrl").unwrap() });
        stack.client.json("sqs", "AmazonSQS.PurgeQueue", purge).await.unwrap();
    }

    /// What the lists of ARNs in the template's parameters become, as IAM reads it.
    async fn policies_name_the_services_of_the_clusters(stack: &testing::Stack) {
        let iam = |action: &'static str, name: &'static str, value: String| async move {
            let params = [("Action", action), ("Version", "2010-05-08"), (name, value.as_str())];
            stack.client.query("iam", &params).await.unwrap()
        };
        let roles = iam("ListRoles", "PathPrefix", "/".to_owned()).await;
        let roles: Vec<_> = records(&roles).into_iter().filter_map(|mut r| r.remove("Arn")).collect();
        for (role, operation, resource, may) in [
            ("Sentinel", "StopServiceDeployment", "service-deployment/prod/web/1", true),
            ("Sentinel", "StopServiceDeployment", "service-deployment/other/web/1", false),
            ("Conductor", "UpdateService", "service/prod/web", true),
            ("Conductor", "UpdateService", "service/other/web", false),
            ("Conductor", "DescribeServiceRevisions", "service-revision/prod/web/1", true),
            ("Conductor", "DeleteService", "service/prod/web", false),
            ("Intake", "DescribeServices", "service/prod/web", false),
        ] {
            let role = roles.iter().find(|arn| arn.contains(role)).unwrap();
            let resource = format!("arn:aws:ecs:eu-central-1:111122223333:{resource}");
            let action = format!("ecs:{operation}");
            let params = [
                ("Action", "SimulatePrincipalPolicy"),
                ("Version", "2010-05-08"),
                ("PolicySourceArn", role),
                ("ActionNames.member.1", &action),
                ("ResourceArns.member.1", &resource),
            ];
            let xml = stack.client.query("iam", &params).await.unwrap();
            assert_eq!(xml.contains("<EvalDecision>allowed<"), may, "{role} {action} {resource}");
        }
    }

    async fn what_ministack_leaves_out_is_made_up_for(stack: &testing::Stack) {
        let of = json!({ "TableName": "tide-ledger" });
        let described =
            stack.client.json("dynamodb", "DynamoDB_20120810.DescribeTimeToLive", of).await.unwrap();
        let ttl = &described["TimeToLiveDescription"];
        assert_eq!(
            (&ttl["TimeToLiveStatus"], &ttl["AttributeName"]),
            (&json!("ENABLED"), &json!("expires_at"))
        );
    }

    /// What the clock sends and what people ask for come by two queues; what people's functions wake with is the second.
    async fn messages_wake_the_conductor(stack: &testing::Stack) {
        for (queue, message) in [("WakeQueueUrl", "wake me"), ("CommandQueueUrl", "do as asked")] {
            let body = json!({ "QueueUrl": stack.deployed.output(queue).unwrap(), "MessageBody": message });
            stack.client.json("sqs", "AmazonSQS.SendMessage", body).await.unwrap();
            stack.wait_for_log("conductor", message).await;
        }
        let commands = stack.deployed.output("CommandQueueUrl").unwrap();
        for function in ["gate", "gate-api", "pipeline"] {
            let env = stack.invoke(function, json!({})).await;
            assert_eq!(env["TIDEGATE_WAKE_QUEUE_URL"], commands, "{function}");
        }
    }

    async fn failed_events_are_kept(stack: &testing::Stack) {
        stack.invoke_later("intake", json!({ "fail": "on purpose" })).await;
        let url = stack.deployed.output("EventDeadLettersUrl").unwrap();
        let receive = json!({ "QueueUrl": url, "WaitTimeSeconds": 1 });
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let target = "AmazonSQS.ReceiveMessage";
            let received = stack.client.json("sqs", target, receive.clone()).await.unwrap();
            if let Some(body) = received["Messages"][0]["Body"].as_str() {
                assert!(body.contains("on purpose"), "{body}");
                return;
            }
            assert!(Instant::now() < deadline, "the failed event was lost");
        }
    }

    #[tokio::test]
    async fn a_failed_deployment_says_which_resource_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let process = crate::ministack::Process::start(&testing::options(dir.path())).await.unwrap();
        let client = process.root_client();
        let template = dir.path().join("template.yaml");
        std::fs::create_dir_all(dir.path().join("f")).unwrap();
        std::fs::write(dir.path().join("f/bootstrap"), "#!/bin/true").unwrap();
        // The bucket the deployment itself made, so its name is taken.
        let text = format!(
            "Resources:\n  Taken:\n    Type: AWS::S3::Bucket\n    Properties: {{ BucketName: {BUCKET} }}\n  F:\n    Type: \
             AWS::Serverless::Function\n    Properties:\n      CodeUri: f/\n      Handler: bootstrap\n      Runtime: provided.al2023\n\
             Transform: AWS::Serverless-2016-10-31\n"
        );
        std::fs::write(&template, text).unwrap();
        let functions = dir.path().to_owned();
        let deployment =
            Deployment { stack: "s".to_owned(), template, functions, parameters: BTreeMap::new() };
        let error = deploy(&client, &deployment).await.unwrap_err().to_string();
        assert!(error.contains("Taken (AWS::S3::Bucket)"), "{error}");
        process.stop().await.unwrap();
    }

    #[test]
    fn zips_do_not_depend_on_the_time() {
        let once = zipped(b"binary").unwrap();
        assert_eq!(once, zipped(b"binary").unwrap());
        assert_ne!(once, zipped(b"another").unwrap());
    }
}
