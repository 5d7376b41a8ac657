//! CodeBuild: projects and builds that run over time, because releases start from builds and builds verify candidates.
//!
//! What a build does is said by a small JSON script in place of the buildspec (or in the project's description):
//!
//! ```json
//! {"secs": 2, "status": "SUCCEEDED", "revision": "4f1c…",
//!  "exported": {"IMAGE_URI": "${REPOSITORY}@${DIGEST}"},
//!  "artifact": {"bucket": "builds", "key": "shop.zip", "files": {"imageDetail.json": {"ImageURI": "…@sha256:…"}}},
//!  "http_check": {"url": "${CANDIDATE_URL}/", "expect_version": "${VERSION}", "requests": 20}}
//! ```
//!
//! Every member may be left out. `${NAME}` is an environment variable of the build. `http_check` makes real requests, so that
//! a gate that starts a build is a gate on the candidate itself. Artifacts are really written to S3, with root's keys: the
//! service role is kept but not assumed. A minute of a timeout may be shorter than 60 s.
//!
//! A batch build takes `batch` of the buildspec, as AWS's has it with a `build-list` or a `build-graph`; `buildspec` of a build in it is such a
//! script. Each build of a batch is a build with its own events; of the batch itself AWS documents no event ([`BatchEvents`]). Its
//! first build reads the source, makes nothing and succeeds. That its builds are started by a session of the batch's role is a guess.
//!
//! Differences from AWS: a build that ran into its timeout or a fault of CodeBuild is told of as `FAILED` in the event, which
//! documents four values only; log groups and streams are named but hold nothing.

mod api;
mod batch;
mod batches;
mod build;
mod course;
mod render;
mod script;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use self::api::State;
use self::build::Step;
use crate::ministack::Client;
use crate::ports::{AwsError, Caller, EventSink, Service};

/// Where the builds run and what limits them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account in ARNs.
    pub account: String,
    /// Region in ARNs.
    pub region: String,
    /// The length of a minute of a build's timeout.
    pub minute: Duration,
    /// Builds that may run at once in the account; those of batches wait in a queue instead and are not counted.
    pub concurrent_builds: usize,
    /// What is told of a batch itself.
    pub batch_events: BatchEvents,
}

/// What EventBridge gets of a batch build itself. The reference of CodeBuild's events knows none, and says nothing of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchEvents {
    /// Nothing.
    #[default]
    None,
    /// An event as of a build, whose id is the batch's.
    AsBuild,
    /// An event with a type of its own.
    OfItsOwn,
}

impl Options {
    /// Real minutes, and AWS's default limit.
    pub fn new(account: &str, region: &str) -> Self {
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
            minute: Duration::from_secs(60),
            concurrent_builds: 60,
            batch_events: BatchEvents::None,
        }
    }
}

/// CodeBuild. Cheap to clone.
#[derive(Clone)]
pub struct CodeBuild {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    sink: Arc<dyn EventSink>,
    /// For artifacts.
    aws: Client,
    state: Mutex<State>,
    /// Wakes a build that is stopped.
    stops: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl CodeBuild {
    /// CodeBuild without projects. Events go to `sink`; `aws` writes artifacts and has to be root's.
    pub fn new(options: Options, aws: Client, sink: Arc<dyn EventSink>) -> Self {
        let (state, stops) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { options, sink, aws, state, stops }) }
    }
}

#[async_trait]
impl Service for CodeBuild {
    async fn call(&self, operation: &str, input: Value, caller: &Caller) -> Result<Value, AwsError> {
        let now = Timestamp::now();
        let (answer, batch) = {
            let mut state = lock(&self.inner.state);
            let answer = state.answer(&self.inner.options, operation, &input, caller, now)?;
            (answer, state.started_batch.take())
        };
        follow(&self.inner, now);
        if let Some(id) = batch {
            self.inner.announce_batch(&id, now);
            tokio::spawn(run_batch(self.inner.clone(), id));
        }
        Ok(answer)
    }
}

impl Inner {
    /// Tells of a build's status, if that is news.
    fn announce(&self, id: &str, now: Timestamp) {
        let event = {
            let mut state = lock(&self.state);
            state.build_mut(id).and_then(|build| {
                let status = build.course.announcement()?;
                Some(render::event(&self.options, build, status, now))
            })
        };
        if let Some(event) = event {
            self.sink.emit(event);
        }
    }

    /// The same for a batch.
    fn announce_batch(&self, id: &str, now: Timestamp) {
        let event = {
            let mut state = lock(&self.state);
            state.batch_mut(id).and_then(|batch| {
                let status = batch.course.announcement()?;
                render::batch_event(&self.options, batch, status, now)
            })
        };
        if let Some(event) = event {
            self.sink.emit(event);
        }
    }

    fn step(&self, id: &str) -> Step {
        lock(&self.state).build_mut(id).map_or(Step::Over, |build| build.step(Timestamp::now()))
    }
}

/// Runs the builds that were started, and wakes those that were stopped.
fn follow(inner: &Arc<Inner>, now: Timestamp) {
    let (started, stopped) = {
        let mut state = lock(&inner.state);
        (std::mem::take(&mut state.started), std::mem::take(&mut state.stopped))
    };
    for id in started {
        inner.announce(&id, now);
        let stopped = Arc::new(Notify::new());
        lock(&inner.stops).insert(id.clone(), stopped.clone());
        tokio::spawn(run(inner.clone(), id, stopped));
    }
    for id in stopped {
        if let Some(stopped) = lock(&inner.stops).remove(&id) {
            stopped.notify_one();
        }
    }
}

/// How often a batch looks at its builds.
const LOOK: Duration = Duration::from_millis(50);

/// Takes a batch from its start to its end.
async fn run_batch(inner: Arc<Inner>, id: String) {
    loop {
        let now = Timestamp::now();
        let goes_on = lock(&inner.state).step_batch(&inner.options, &id, now);
        follow(&inner, now);
        inner.announce_batch(&id, now);
        if !goes_on {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes a build from its start to its end.
async fn run(inner: Arc<Inner>, id: String, stopped: Arc<Notify>) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let until = match inner.step(&id) {
            Step::Over => break,
            Step::Do(task) => {
                let aws = inner.aws.clone();
                tasks.spawn(async move { work::perform(task, &aws).await });
                continue;
            }
            Step::Wait(until) | Step::Busy(until) => until,
        };
        let left = until.duration_since(Timestamp::now()).unsigned_abs();
        let left = if until <= Timestamp::now() { Duration::ZERO } else { left };
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            () = stopped.notified() => {}
            Some(done) = tasks.join_next() => {
                let done = done.unwrap_or_else(|error| build::Done::Failed(error.to_string()));
                if let Some(build) = lock(&inner.state).build_mut(&id) {
                    build.done(done, Timestamp::now());
                }
            }
        }
    }
    // Dropping the set ends a check that is still under way.
    drop(tasks);
    lock(&inner.stops).remove(&id);
    inner.announce(&id, Timestamp::now());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
