//! Talks to the admin API of a running sandbox, which a small state file leads to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a running sandbox is found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// `AWS_ENDPOINT_URL`.
    pub(crate) endpoint: String,
    /// Where the shop's customers come in.
    pub(crate) shop: Option<String>,
    /// The rule with the shop's weights.
    pub(crate) rule: String,
    /// The target group for a canary of somebody's own.
    pub(crate) canary: String,
    /// The process.
    pub(crate) pid: u32,
    /// Further environment for the AWS CLI and `tidegate`.
    pub(crate) environment: Vec<(String, String)>,
    /// The `tidegate` command line.
    pub(crate) tidegate: PathBuf,
}

impl State {
    /// Reads the state file.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = file(dir);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "no sandbox is up: {} cannot be read; `cargo xtask sandbox up` starts one",
                path.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a state file", path.display()))
    }

    /// Writes the state file; it appears whole or not at all.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let (path, new) = (file(dir), dir.join("state.json.new"));
        let text = serde_json::to_string_pretty(self).context("the state cannot be written as JSON")?;
        std::fs::write(&new, text).with_context(|| format!("failed to write {}", new.display()))?;
        std::fs::rename(&new, &path).with_context(|| format!("failed to write {}", path.display()))
    }

    /// Removes the state file; it is fine when there is none.
    pub(crate) fn remove(dir: &Path) {
        if let Err(error) = std::fs::remove_file(file(dir))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("warning: {} could not be removed: {error}", file(dir).display());
        }
    }

    /// The endpoint's port.
    pub(crate) fn port(&self) -> Result<u16> {
        let port = self.endpoint.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
        port.with_context(|| format!("the endpoint {} has no port", self.endpoint))
    }

    /// Calls the admin API.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(Full::from(if body.is_null() { String::new() } else { body.to_string() }))
            .context("not a request")?;
        let response = client
            .request(request)
            .await
            .with_context(|| format!("the sandbox does not answer at {}; it may be gone", self.endpoint))?;
        let status = response.status();
        let bytes =
            response.into_body().collect().await.context("the sandbox's answer broke off")?.to_bytes();
        if !status.is_success() {
            bail!("the sandbox answered {status}: {}", String::from_utf8_lossy(&bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).context("the sandbox did not answer with JSON")
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}
