//! Runs ministack from a Python virtual environment, on 127.0.0.1 only, with authorization on.
//!
//! It must never outlive the sandbox: a small launcher kills its own process group, which holds the Lambda processes as well,
//! as soon as the pipe on its standard input closes. So it ends even when the sandbox is killed with SIGKILL.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use super::Client;

const LAUNCHER: &str = include_str!("launcher.py");
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// How ministack is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The virtual environment that holds ministack.
    pub venv: PathBuf,
    /// A directory of its own, for Lambda code, temporary files and the log. Created when missing.
    pub dir: PathBuf,
    /// What Lambda functions get as `AWS_ENDPOINT_URL`: the sandbox's endpoint, so that their calls come back through it.
    /// `None` for ministack itself.
    pub endpoint_url: Option<String>,
    /// The account everything lives in.
    pub account_id: String,
    /// The only region.
    pub region: String,
    /// The log level of the functions: `INFO`, `DEBUG`, …
    pub log_level: String,
}

/// A running ministack. Dropping it ends it and all Lambda processes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    addr: SocketAddr,
    region: String,
    log: PathBuf,
}

impl Process {
    /// Starts ministack on a free port and waits until it answers.
    pub async fn start(options: &Options) -> Result<Self> {
        let dir = &options.dir;
        let tmp = dir.join("tmp");
        std::fs::create_dir_all(&tmp).with_context(|| format!("failed to create {}", tmp.display()))?;
        let log = dir.join("ministack.log");
        let addr = free_addr()?;
        let child = spawn(options, &tmp, &log, addr)?;
        let mut process = Self { child, addr, region: options.region.clone(), log };
        process.wait_until_ready().await?;
        Ok(process)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its log, which also holds what functions print.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// A client with root's keys.
    pub fn root_client(&self) -> Client {
        Client::new(self.addr, &self.region, "test", "test")
    }

    /// Ends ministack and its Lambda processes, and waits until it is gone.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().await.context("failed to wait for ministack")?;
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.root_client();
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let health = client.rest(
                "sts",
                http::Method::GET,
                "/_ministack/health",
                http::HeaderMap::new(),
                bytes::Bytes::new(),
            );
            if health.await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("failed to ask for ministack's state")? {
                bail!("ministack ended at start ({status}):\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("ministack did not answer within {START_TIMEOUT:?}:\n{}", self.log_tail());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn spawn(options: &Options, tmp: &Path, log: &Path, addr: SocketAddr) -> Result<Child> {
    let python = options.venv.join("bin/python");
    let out = std::fs::File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let err = out.try_clone().context("failed to share the log file")?;
    let own_url = format!("http://{addr}");
    let mut command = Command::new(&python);
    command
        .args(["-c", LAUNCHER])
        // Lambda functions inherit this environment, and the developer's AWS settings have no business there.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", tmp)
        .env("TMPDIR", tmp)
        .env("PYTHONUNBUFFERED", "1")
        .env("BIND_HOST", addr.ip().to_string())
        .env("GATEWAY_PORT", addr.port().to_string())
        .env("MINISTACK_ACCOUNT_ID", &options.account_id)
        .env("MINISTACK_REGION", &options.region)
        .env("AUTH", "true")
        .env("LAMBDA_EXECUTOR", "local")
        // A cold start in the middle of a demo would measure the emulator, not the product.
        .env("LAMBDA_WARM_TTL_SECONDS", "86400")
        .env("AWS_ENDPOINT_URL", options.endpoint_url.as_ref().unwrap_or(&own_url))
        // On AWS these follow from the function's LoggingConfig, which ministack keeps but does not pass on.
        .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
        .env("AWS_LAMBDA_LOG_LEVEL", &options.log_level)
        // With a Docker socket it would look after containers of other ministacks; nothing here runs in a container.
        .env("DOCKER_HOST", format!("unix://{}/no-docker.sock", tmp.display()))
        // Listeners on well-known ports that nothing here uses.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("STATE_DIR", tmp.join("state"))
        .env("S3_DATA_DIR", tmp.join("s3"))
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(err);
    // Not `kill_on_drop`: that would kill the launcher before it can kill the functions. Dropping closes the pipe.
    command.spawn().with_context(|| format!("failed to run {}", python.display()))
}

/// A port that was free a moment ago: ministack cannot be handed a bound socket, nor tell which port it chose.
fn free_addr() -> Result<SocketAddr> {
    let listener =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    listener.local_addr().context("failed to find a free port")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ministack::testing;

    #[tokio::test]
    async fn answers_signed_calls_and_refuses_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(&testing::options(dir.path())).await.unwrap();
        let client = process.root_client();
        let queue = client.json("sqs", "AmazonSQS.CreateQueue", json!({ "QueueName": "one" })).await.unwrap();
        assert!(queue["QueueUrl"].as_str().unwrap().ends_with("/one"), "{queue}");

        let missing = json!({ "TableName": "missing" });
        let error = client.json("dynamodb", "DynamoDB_20120810.DescribeTable", missing).await.unwrap_err();
        assert_eq!(error.code, "ResourceNotFoundException");

        let identity = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
        let xml = client.query("sts", &identity).await.unwrap();
        assert!(xml.contains("arn:aws:iam::111122223333:root"), "{xml}");

        let stranger = Client::new(process.addr(), "eu-central-1", "AKIAIOSFODNN7EXAMPLE", "wrong");
        let refused = stranger.json("sqs", "AmazonSQS.ListQueues", json!({})).await.unwrap_err();
        assert_eq!(refused.status, 403, "{refused:?}");
        process.stop().await.unwrap();
    }

    #[tokio::test]
    async fn dropping_it_ends_it_and_the_functions() {
        let stack = testing::Stack::deploy().await;
        let function = stack.invoke("intake", json!({})).await["PID"].as_str().unwrap().to_owned();
        let ministack = stack.process.child.id().unwrap().to_string();
        assert!(runs(&function) && runs(&ministack));
        drop(stack);
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs(&function) || runs(&ministack) {
            assert!(Instant::now() < deadline, "something is left behind");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether there is such a process that is not merely waiting to be collected.
    fn runs(pid: &str) -> bool {
        let state = std::process::Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
        let state = String::from_utf8(state.stdout).unwrap();
        !state.trim().is_empty() && !state.trim().starts_with('Z')
    }

    #[tokio::test]
    async fn says_what_is_wrong_when_it_cannot_start() {
        let dir = tempfile::tempdir().unwrap();
        let venv = dir.path().join("venv");
        let error = Process::start(&Options { venv, ..testing::options(dir.path()) }).await.unwrap_err();
        assert!(format!("{error:#}").contains("venv/bin/python"), "{error:#}");
    }
}
