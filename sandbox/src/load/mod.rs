//! A load generator of which every request is accounted for: what users of the service would have seen.
//!
//! Open loop: requests are sent at their times whether or not earlier ones were answered, so that a slow answer does not
//! hide the requests that would have come meanwhile. hyper-util's client carries them over kept-alive connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The listener.
    pub target: SocketAddr,
    /// Requests a second.
    pub rate: f64,
    /// Path and query.
    pub path: String,
    /// `Host` header; the address when empty.
    pub host: String,
    /// Further headers.
    pub headers: HeaderMap,
    /// Without an answer after this, a request is lost.
    pub timeout: Duration,
}

impl Plan {
    /// `GET /` at a rate.
    pub fn new(target: SocketAddr, rate: f64) -> Self {
        Self {
            target,
            rate,
            path: "/".to_owned(),
            host: String::new(),
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Counts of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers by the `x-version` header; without the header, `-`.
    pub by_version: BTreeMap<String, u64>,
    /// Answers of 500 and above by version.
    pub errors_by_version: BTreeMap<String, u64>,
    /// Requests without an answer by cause: `connect`, `reset`, `timeout`.
    pub lost: BTreeMap<String, u64>,
    /// The sum of the latencies of answers, milliseconds.
    pub latency_sum_ms: f64,
    /// The longest of them.
    pub latency_max_ms: f64,
}

impl Tally {
    /// Answers of any status.
    pub fn answered(&self) -> u64 {
        self.by_status.values().sum()
    }

    /// Answers of 500 and above.
    pub fn errors(&self) -> u64 {
        self.by_status.range(500..).map(|(_, count)| count).sum()
    }

    /// Requests that nobody answered.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Sent and neither answered nor lost yet.
    pub fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.answered() + self.lost())
    }
}

/// What happened so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// Seconds since the start.
    pub elapsed_secs: f64,
    /// Everything.
    pub total: Tally,
    /// By the second in which the request was sent.
    pub seconds: Vec<Tally>,
    /// Latency percentiles of all answers, milliseconds: 50, 90, 99.
    pub latency_ms: [f64; 3],
}

/// A load that is being generated.
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    pacer: JoinHandle<()>,
}

struct Shared {
    plan: Plan,
    client: Client<HttpConnector, Full<Bytes>>,
    started: Instant,
    book: Mutex<Book>,
    /// Nobody asks for anything just now.
    quiet: AtomicBool,
}

#[derive(Default)]
struct Book {
    total: Tally,
    seconds: Vec<Tally>,
    latencies: Vec<f32>,
}

/// How a request ended.
enum End {
    Answered { status: u16, version: String },
    Lost(&'static str),
}

impl Load {
    /// Starts sending. Must be called within a tokio runtime.
    pub fn start(plan: Plan) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(plan.timeout));
        connector.set_nodelay(true);
        // A retry would hide a lost request.
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(Duration::from_secs(10))
            .build(connector);
        let shared = Arc::new(Shared {
            plan,
            client,
            started: Instant::now(),
            book: Mutex::default(),
            quiet: AtomicBool::new(false),
        });
        let (stop, stopped) = watch::channel(false);
        let pacer = tokio::spawn(pace(shared.clone(), stopped));
        Self { shared, stop, pacer }
    }

    /// What happened so far.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Sends nothing until it is resumed.
    pub fn pause(&self) {
        self.shared.quiet.store(true, Ordering::Relaxed);
    }

    /// Sends again.
    pub fn resume(&self) {
        self.shared.quiet.store(false, Ordering::Relaxed);
    }

    /// Sends no more, waits for what is under way, and tells everything.
    pub async fn stop(self) -> Snapshot {
        self.stop.send_replace(true);
        if let Err(error) = self.pacer.await {
            tracing::error!(%error, "load generator failed");
        }
        self.shared.snapshot()
    }
}

async fn pace(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let interval = Duration::from_secs_f64(1.0 / shared.plan.rate.max(0.001));
    let mut ticks = tokio::time::interval(interval);
    // Late ticks are made up for: the number of requests is the rate, whatever else the machine does.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if !shared.quiet.load(Ordering::Relaxed) {
                    let shared = shared.clone();
                    under_way.spawn(async move { shared.request().await });
                }
            }
            Some(_) = under_way.join_next() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    while under_way.join_next().await.is_some() {}
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(&self) {
        let sent = Instant::now();
        let second = usize::try_from(sent.duration_since(self.started).as_secs()).unwrap_or(usize::MAX);
        self.book().sent(second);
        let end = match tokio::time::timeout(self.plan.timeout, self.exchange()).await {
            Ok(end) => end,
            Err(_) => End::Lost("timeout"),
        };
        self.book().ended(second, end, sent.elapsed());
    }

    async fn exchange(&self) -> End {
        let plan = &self.plan;
        let host = if plan.host.is_empty() { plan.target.to_string() } else { plan.host.clone() };
        let request = Request::get(format!("http://{}{}", plan.target, plan.path)).body(Full::default());
        let Ok(mut request) = request else { return End::Lost("connect") };
        *request.headers_mut() = plan.headers.clone();
        if let Ok(host) = HeaderValue::from_str(&host) {
            request.headers_mut().insert(header::HOST, host);
        }
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => return End::Lost(if error.is_connect() { "connect" } else { "reset" }),
        };
        let status = answer.status().as_u16();
        let version =
            answer.headers().get("x-version").and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        match answer.into_body().collect().await {
            Ok(_) => End::Answered { status, version },
            Err(_) => End::Lost("reset"),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let book = self.book();
        let mut latencies = book.latencies.clone();
        latencies.sort_by(f32::total_cmp);
        let percentile = |percent: usize| {
            let index = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            latencies.get(index).copied().map_or(0.0, f64::from)
        };
        Snapshot {
            elapsed_secs: self.started.elapsed().as_secs_f64(),
            total: book.total.clone(),
            seconds: book.seconds.clone(),
            latency_ms: [percentile(50), percentile(90), percentile(99)],
        }
    }
}

impl Book {
    fn second(&mut self, second: usize) -> &mut Tally {
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Tally::default());
        }
        &mut self.seconds[second]
    }

    fn sent(&mut self, second: usize) {
        self.total.sent += 1;
        self.second(second).sent += 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "latencies are shown in milliseconds")]
    fn ended(&mut self, second: usize, end: End, latency: Duration) {
        let latency_ms = latency.as_secs_f64() * 1000.0;
        if matches!(end, End::Answered { .. }) {
            self.latencies.push(latency_ms as f32);
        }
        self.second(second).ended(&end, latency_ms);
        self.total.ended(&end, latency_ms);
    }
}

impl Tally {
    fn ended(&mut self, end: &End, latency_ms: f64) {
        match end {
            End::Lost(cause) => *self.lost.entry((*cause).to_owned()).or_default() += 1,
            End::Answered { status, version } => {
                *self.by_status.entry(*status).or_default() += 1;
                *self.by_version.entry(version.clone()).or_default() += 1;
                if *status >= 500 {
                    *self.errors_by_version.entry(version.clone()).or_default() += 1;
                }
                self.latency_sum_ms += latency_ms;
                self.latency_max_ms = self.latency_max_ms.max(latency_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests;
