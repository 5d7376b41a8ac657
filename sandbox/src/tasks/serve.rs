//! The process of one task: a small HTTP server that answers with its version, fails as often as its image says, ends
//! its requests before it ends itself, and never outlives the sandbox.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What the line on stdout starts with, once the process accepts connections; the address follows.
pub(super) const LISTENING: &str = "listening on ";

/// How long the requests of a stopping process may take.
const GRACE: Duration = Duration::from_secs(10);

/// What a task's process does; the command line of the hidden subcommand.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct TaskArgs {
    /// Port on 127.0.0.1; 0 picks a free one, which the first line on stdout names.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The task's id, as its answers name it.
    #[arg(long, default_value = "task")]
    pub task: String,
    /// The version its answers carry.
    #[arg(long)]
    pub version: String,
    /// Percent of requests answered with HTTP 500, evenly spread.
    #[arg(long, default_value_t = 0.0)]
    pub error_percent: f64,
    /// Added to each answer, milliseconds.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// Exit with code 1 instead of serving.
    #[arg(long)]
    pub crash: bool,
    /// Fail health checks while serving everything else.
    #[arg(long)]
    pub unhealthy: bool,
}

struct Server {
    args: TaskArgs,
    version: HeaderValue,
    served: AtomicU64,
}

/// Serves until SIGTERM, or until stdin ends because the sandbox that held it open is gone.
///
/// # Errors
/// When the image is said to crash, the port is taken, or the version is not a valid header value.
pub async fn run(args: TaskArgs) -> anyhow::Result<()> {
    if args.crash {
        bail!("version {} crashes at start", args.version);
    }
    let version = HeaderValue::from_str(&args.version).context("version is not a header value")?;
    let port = args.port;
    let server = Arc::new(Server { args, version, served: AtomicU64::new(0) });
    let router = Router::new().route("/health", get(health)).fallback(answer).with_state(server);

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    let address = listener.local_addr().context("failed to read the bound address")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{LISTENING}{address}").and_then(|()| stdout.flush()).context("failed to report")?;

    let (stopping, stopped) = oneshot::channel();
    let end = end_of_task()?;
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        end.await;
        let _receiver_gone = stopping.send(());
    });
    tokio::select! {
        served = async { serving.await } => served.context("failed to serve"),
        () = async { if stopped.await.is_ok() { tokio::time::sleep(GRACE).await } else { std::future::pending().await } } => Ok(()),
    }
}

fn end_of_task() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let (eof, at_eof) = oneshot::channel();
    // A thread of its own: a runtime waits for its blocking tasks when it ends, and this read may never return.
    std::thread::spawn(move || {
        let _bytes_or_error = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _receiver_gone = eof.send(());
    });
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = at_eof => {}
        }
    })
}

async fn health(State(server): State<Arc<Server>>) -> StatusCode {
    if server.args.unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn answer(State(server): State<Arc<Server>>) -> Response {
    let served = server.served.fetch_add(1, Ordering::Relaxed) + 1;
    if server.args.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(server.args.latency_ms)).await;
    }
    let status = if fails(served, server.args.error_percent) {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let body = json!({"version": server.args.version, "task": server.args.task, "served": served});
    (status, [("x-version", server.version.clone())], Json(body)).into_response()
}

/// Whether the n-th request fails: so that of the first n exactly `floor(n * percent / 100)` have failed.
fn fails(n: u64, percent: f64) -> bool {
    // Hundredths of a percent as integers: floating point would make the hundredth request of 1% succeed.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=10000")]
    let share = (percent.clamp(0.0, 100.0) * 100.0).round() as u64;
    (n * share) / 10_000 > ((n - 1) * share) / 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_spread_evenly_and_exactly() {
        for percent in [0.0, 1.0, 2.5, 12.5, 50.0, 99.0, 100.0] {
            let failed = (1..=1000).filter(|n| fails(*n, percent)).count();
            assert_eq!(failed as f64, percent * 10.0, "{percent}%");
        }
        let positions: Vec<u64> = (1..=20).filter(|n| fails(*n, 20.0)).collect();
        assert_eq!(positions, [5, 10, 15, 20]);
    }
}
