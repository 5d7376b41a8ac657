//! Cold starts: from starting the process until it asks the Lambda runtime API for its first event. Baseline: a function
//! with the same SDK clients, made as the SDK makes them, and nothing of ours.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::{Row, median};

const BASELINE: &str = "tidegate-bench-baseline";
const LIMIT: Duration = Duration::from_secs(10);
/// What Lambda gives every function.
const LAMBDA: &[(&str, &str)] = &[
    ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];
/// What the template gives one function or another.
const TIDEGATE: &[(&str, &str)] = &[
    ("TIDEGATE_STACK", "bench"),
    ("TIDEGATE_TABLE", "bench-ledger"),
    ("TIDEGATE_WAKE_QUEUE_URL", "http://127.0.0.1/bench-wake"),
    ("TIDEGATE_ACCOUNT_ID", "111122223333"),
    ("TIDEGATE_EXTRA_ROOTS", ""),
    // The door that reads no secret at its start: that would measure a refused connection.
    ("TIDEGATE_DOOR", "api"),
    ("TIDEGATE_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:bench"),
    ("TIDEGATE_GATE_URL", "https://gate.example"),
    ("TIDEGATE_NOTIFY", ""),
    ("TIDEGATE_NOTIFY_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:bench-notify"),
];

/// Starts every function `starts` times, in turn with the baseline.
pub(crate) async fn measure(binaries: &Path, functions: &[String], starts: usize) -> Result<Vec<Row>> {
    let asked = Arc::new(Notify::new());
    let api = TcpListener::bind("127.0.0.1:0").await.context("failed to listen")?;
    let address = api.local_addr().context("no address")?.to_string();
    let told = Arc::clone(&asked);
    let next = get(move || async move {
        told.notify_one();
        std::future::pending::<()>().await;
    });
    let router = Router::new().route("/2018-06-01/runtime/invocation/next", next);
    let server = tokio::spawn(axum::serve(api, router).into_future());
    let mut rows = Vec::new();
    for function in functions {
        let (mut own, mut baseline) = (Vec::new(), Vec::new());
        for _ in 0..starts {
            baseline.push(start(&binaries.join(BASELINE), &address, &asked).await?);
            own.push(start(&binaries.join(function), &address, &asked).await?);
        }
        rows.push(Row {
            name: format!("cold start of {function}"),
            median: median(own),
            baseline_name: "the SDK's clients alone",
            baseline: median(baseline),
        });
    }
    server.abort();
    Ok(rows)
}

async fn start(binary: &Path, address: &str, asked: &Notify) -> Result<Duration> {
    let started = Instant::now();
    let mut child = Command::new(binary)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .envs(LAMBDA.iter().chain(TIDEGATE).copied())
        .stdout(Stdio::null())
        // Why it does not start, if it does not.
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}", binary.display()))?;
    tokio::select! {
        () = asked.notified() => {}
        ended = child.wait() => bail!("{} ended at start: {}", binary.display(), ended.context("no status")?),
        () = tokio::time::sleep(LIMIT) => bail!("{} asked for no event within {LIMIT:?}", binary.display()),
    }
    let took = started.elapsed();
    child.kill().await.context("failed to end the function")?;
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::TIDEGATE;

    /// A variable that a function asks for and this does not know would only be missed when the bench runs.
    #[test]
    fn every_variable_of_the_template_has_a_value() {
        let template = include_str!("../../template.yaml");
        let named = template.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name);
        let missing: Vec<_> = named
            .filter(|name| name.starts_with("TIDEGATE_") && !TIDEGATE.iter().any(|(known, _)| known == name))
            .collect();
        assert!(missing.is_empty(), "bench/src/cold_start.rs gives no value for {missing:?}");
    }
}
