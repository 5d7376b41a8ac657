//! The stage a scenario plays on: the local AWS with Tidegate deployed from its template, and Tidegate's own ledger to look into.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::timeout::TimeoutConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_core::ids::{AccountId, Region};
use tidegate_runtime::Installation;
use tidegate_runtime::config::Config;
use tidegate_sandbox::local::{ACCOUNT, Local, Options, REGION, Tidegate};
use tidegate_start::Start;
use tokio::time::Instant;

/// The stack's name; tables, queues and functions are named after it.
pub(crate) const STACK: &str = "tidegate";
const POLL: Duration = Duration::from_millis(100);
const CLOCK_WITHIN: Duration = Duration::from_secs(60);
/// Every AWS call of the scenarios, one JSON line each.
const RECORD: &str = "calls.jsonl";

/// Everything the scenarios of one test share.
pub(crate) struct Stage {
    pub(crate) local: Local,
    pub(crate) installation: Installation,
    tidegate: PathBuf,
    venv: PathBuf,
    dir: TempDir,
}

/// A path the tests are told by the environment, as `cargo xtask test` does.
pub(crate) fn given(variable: &str, default: &str) -> Result<PathBuf> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = std::env::var_os(variable).map_or_else(|| workspace.join(default), PathBuf::from);
    if !path.exists() {
        bail!("{} is not there ({variable}); run the tests with `cargo xtask test`", path.display());
    }
    Ok(path)
}

impl Stage {
    /// Starts the local AWS; `adjust` may change how it behaves.
    pub(crate) async fn start(adjust: impl FnOnce(&mut Options)) -> Result<Arc<Self>> {
        let dir = tempfile::tempdir().context("no temporary directory")?;
        let venv = given("TIDEGATE_VENV", ".venv")?;
        let mut options = Options::new(venv.clone(), dir.path().to_owned());
        options.record = Some(dir.path().join(RECORD));
        options.task_binary = Some(given("TIDEGATE_SANDBOX_BIN", "target/debug/tidegate-sandbox")?);
        options.tidegate = Some(Tidegate {
            template: given("TIDEGATE_TEMPLATE", "template.yaml")?,
            functions: given("TIDEGATE_FUNCTIONS", "target/sandbox/functions")?,
            stack: STACK.into(),
        });
        options.ecs.deregistration_delay = Duration::from_secs(2);
        options.ecs.task_start = Duration::from_millis(200);
        options.alarm_seconds_per_minute = 3.0;
        adjust(&mut options);
        let local = Local::start(options).await?;
        let installation = installation(&local).await?;
        let tidegate = given("TIDEGATE_BIN", "target/debug/tidegate")?;
        Ok(Arc::new(Self { local, installation, tidegate, venv, dir }))
    }

    /// Holds every call recorded so far against AWS's own service models; a line that says how many there were.
    pub(crate) async fn validate_record(&self) -> Result<String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/service_models.py");
        let mut python = tokio::process::Command::new(self.venv.join("bin/python"));
        let output = python.arg(script).arg(self.dir.path().join(RECORD)).output().await;
        let output = output.context("failed to run Python")?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if !output.status.success() {
            bail!("the record of calls: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Result<Vec<Value>> {
        let record = std::fs::read_to_string(self.dir.path().join(RECORD)).context("no record of calls")?;
        record.lines().map(|line| serde_json::from_str(line).context("a line of the record")).collect()
    }

    /// The Python environment.
    pub(crate) fn venv(&self) -> &std::path::Path {
        &self.venv
    }

    /// A file of its own.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// Runs a command of the command line; its exit code, and what it printed.
    pub(crate) async fn tidegate(&self, args: &[&str]) -> Result<(i32, String)> {
        let output = tokio::process::Command::new(&self.tidegate)
            .args(args)
            .envs(self.local.environment())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("failed to run tidegate")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code().unwrap_or(-1), text))
    }

    /// Invokes a function and waits for its answer; an error of the function is an error.
    pub(crate) async fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        let path = format!("/2015-03-31/functions/{STACK}-{function}/invocations");
        let body = event.to_string().into_bytes().into();
        let client = &self.local.client;
        let answer = client.rest("lambda", http::Method::POST, &path, http::HeaderMap::new(), body).await;
        let answer = answer.map_err(|error| anyhow!("{}: {}", error.code, error.message))?;
        let value: Value =
            serde_json::from_slice(answer.body()).context("the function did not answer JSON")?;
        if answer.headers().contains_key("x-amz-function-error") {
            bail!("{function} failed: {value}");
        }
        Ok(value)
    }

    /// Has the clock run until a run leaves nothing undone: what a run could not do, of other scenarios' releases too, it tells, and the
    /// next one does it.
    pub(crate) async fn clock(&self) -> Result<Value> {
        let deadline = Instant::now() + CLOCK_WITHIN;
        loop {
            match self.invoke("clock", &json!({})).await {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                over => return over,
            }
        }
    }

    /// Calls SQS.
    pub(crate) async fn sqs(&self, operation: &str, input: Value) -> Result<Value> {
        let answer = self.local.client.json("sqs", &format!("AmazonSQS.{operation}"), input).await;
        answer.map_err(|error| anyhow!("{operation}: {}: {}", error.code, error.message))
    }

    /// The URL of a queue of the stack.
    pub(crate) async fn queue(&self, name: &str) -> Result<String> {
        let found = self.sqs("GetQueueUrl", json!({ "QueueName": format!("{STACK}-{name}") })).await?;
        found["QueueUrl"].as_str().map(str::to_owned).context("a queue has a URL")
    }

    /// Takes a message that contains `text` out of a queue, waiting for it.
    pub(crate) async fn message(&self, queue: &str, text: &str, within: Duration) -> Result<String> {
        let url = self.queue(queue).await?;
        until(&format!("a message with {text:?} in {queue}"), within, async || {
            let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 1 });
            let got = self.sqs("ReceiveMessage", input).await?;
            let messages = got["Messages"].as_array().cloned().unwrap_or_default();
            let found = messages.iter().find(|message| message["Body"].to_string().contains(text));
            let Some(found) = found else { return Ok(None) };
            let input = json!({ "QueueUrl": url, "ReceiptHandle": found["ReceiptHandle"] });
            self.sqs("DeleteMessage", input).await?;
            Ok(found["Body"].as_str().map(str::to_owned))
        })
        .await
    }

    /// Events that were given up on, except those a scenario made fail on purpose.
    pub(crate) fn dead_letters(&self) -> Vec<String> {
        let log = self.local.events.log();
        let dead = log.iter().filter(|delivery| delivery.outcome == "dead_letter");
        dead.map(|delivery| {
            format!(
                "{} {}: {}",
                delivery.source,
                delivery.detail_type,
                delivery.error.clone().unwrap_or_default()
            )
        })
        .collect()
    }
}

async fn installation(local: &Local) -> Result<Installation> {
    let options = tidegate_aws::Options {
        region: Some(REGION.into()),
        endpoint_url: Some(local.endpoint.url()),
        ..tidegate_aws::Options::default()
    };
    let root = Credentials::new("test", "test", None, None, "tests");
    let aws = tidegate_aws::config(&options).await?.to_builder();
    let aws = aws.credentials_provider(SharedCredentialsProvider::new(root));
    // Tidegate's own limits are for Tidegate: this only looks on, from a machine that is busy.
    let patient = TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build();
    let aws = aws.timeout_config(patient).build();
    let deployed = local.deployed.as_ref().context("Tidegate is deployed")?;
    let config = Config {
        table: deployed.output("TableName")?.to_owned(),
        wake_queue_url: deployed.output("WakeQueueUrl")?.to_owned(),
        account: AccountId::new(ACCOUNT)?,
        region: Region::new(REGION)?,
        gate_url: None,
    };
    Ok(Start { config, aws }.installation())
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    look: impl AsyncFn() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await.with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("not within {within:?}: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}
