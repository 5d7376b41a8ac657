//! CodePipeline: enough of it to drive a Lambda action the way AWS does, because a release may be a step of someone's pipeline
//! and a pipeline's approval may be answered by a release.
//!
//! - `Source`/`S3` copies the object into the artifact store when an execution starts.
//! - `Approval`/`Manual` waits for `PutApprovalResult` with the token from `GetPipelineState` or from its SNS message.
//! - `Invoke`/`Lambda` invokes the function with a `CodePipeline.job` event. Each continuation token leads to a further job, a
//!   moment later. A job that is not answered in time fails the action.
//! - `Build`, `Test` and `Deploy` of any provider pass through: the configuration's `Secs` says how long they take, and
//!   `Result: FAILED` that they fail.
//!
//! Executions of one pipeline pass each other as in mode SUPERSEDED. Everything is done with the pipeline's role. As ministack
//! lets nobody assume a role as a service, the role's trust policy has to name the account's root beside
//! `codepipeline.amazonaws.com`. A job's credentials are a session of that role, narrowed to the artifact store.
//!
//! Left out: variables but `#{codepipeline.PipelineExecutionId}`, retries, rollbacks, transitions, conditions, encryption keys,
//! `UpdatePipeline`, custom actions (`PollForJobs`).

mod api;
mod declaration;
mod machine;
mod model;
mod render;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::declaration::Kind;
use self::machine::Effect;
use self::model::{Job, State};
use crate::ministack::Client;
use crate::ports::{AwsError, Caller, EventSink, Service};

/// Without any deadline the driver looks again after this long, mainly to notice that it is not needed any more.
const IDLE: Duration = Duration::from_secs(1);

/// Where the pipelines are and how long things take.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account in ARNs and jobs.
    pub account: String,
    /// Region in ARNs.
    pub region: String,
    /// The length of a minute of an approval's timeout.
    pub minute: Duration,
    /// How long a job may stay without an answer. AWS: 20 minutes.
    pub job_timeout: Duration,
    /// How long a Lambda action may take altogether. AWS: 24 hours.
    pub action_timeout: Duration,
    /// From a continuation token to the next invocation. AWS documents none; tens of seconds were seen.
    pub continue_after: Duration,
}

impl Options {
    /// AWS's limits, but quick continuations.
    pub fn new(account: &str, region: &str) -> Self {
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
            minute: Duration::from_secs(60),
            job_timeout: Duration::from_secs(20 * 60),
            action_timeout: Duration::from_secs(24 * 60 * 60),
            continue_after: Duration::from_secs(1),
        }
    }
}

/// CodePipeline. Cheap to clone; it stops when the last clone is dropped.
#[derive(Clone)]
pub struct CodePipeline {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    sink: Arc<dyn EventSink>,
    aws: Client,
    state: Mutex<State>,
    changed: Arc<Notify>,
}

impl CodePipeline {
    /// CodePipeline without pipelines. Events go to `sink`; `aws` has to be root's. Must be called within a tokio runtime.
    pub fn start(options: Options, aws: Client, sink: Arc<dyn EventSink>) -> Self {
        let changed = Arc::new(Notify::new());
        let inner = Arc::new(Inner { options, sink, aws, state: Mutex::default(), changed: changed.clone() });
        tokio::spawn(drive(Arc::downgrade(&inner), changed));
        Self { inner }
    }
}

#[async_trait]
impl Service for CodePipeline {
    async fn call(&self, operation: &str, input: Value, caller: &Caller) -> Result<Value, AwsError> {
        let inner = &self.inner;
        let mut answer =
            api::answer(&mut inner.lock(), &inner.options, operation, &input, caller, Timestamp::now())?;
        inner.changed.notify_one();
        if operation == "GetJobDetails" {
            let id = input["jobId"].as_str().unwrap_or_default();
            answer["jobDetails"]["data"]["artifactCredentials"] = inner.credentials(id).await?;
        }
        Ok(answer)
    }
}

/// Looks at everything whenever something changed or is due.
async fn drive(inner: Weak<Inner>, changed: Arc<Notify>) {
    loop {
        let pause = {
            let Some(inner) = inner.upgrade() else { return };
            let now = Timestamp::now();
            let (outcome, wake) = {
                let mut state = inner.lock();
                let outcome = machine::tick(&mut state, &inner.options, now);
                (outcome, machine::next_wake(&state))
            };
            for event in outcome.events {
                inner.sink.emit(event);
            }
            for effect in outcome.effects {
                tokio::spawn(inner.clone().perform(effect));
            }
            let left = wake.map(|wake| Duration::try_from(wake.duration_since(now)).unwrap_or_default());
            left.map_or(IDLE, |left| left.min(IDLE))
        };
        // Whether the time is over or something changed, the next look finds out.
        let _ = tokio::time::timeout(pause, changed.notified()).await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn perform(self: Arc<Self>, effect: Effect) {
        match effect {
            Effect::Fetch { site, role, bucket, key, to } => {
                let result = work::fetch(&self.aws, &role, &bucket, &key, &to).await;
                api::fetched(&mut self.lock(), &site, result, Timestamp::now());
            }
            Effect::Invoke { job } => {
                if let Err(error) = self.invoke(&job).await {
                    api::not_invoked(&mut self.lock(), &job, error, Timestamp::now());
                }
            }
            Effect::Publish { role, topic, message } => {
                // As on AWS, an approval waits even when nobody could be told.
                if let Err(error) = work::publish(&self.aws, &role, &topic, &message).await {
                    tracing::warn!(
                        topic,
                        error.code,
                        error.message,
                        "an approval's message was not published"
                    );
                }
            }
        }
        self.changed.notify_one();
    }

    async fn invoke(&self, id: &str) -> Result<(), AwsError> {
        let (function, role, data) = {
            let state = self.lock();
            let known = state.jobs.get(id).and_then(|job| self.invocation(&state, job));
            known.ok_or_else(|| AwsError::new("JobNotFoundException", "the job's pipeline is gone"))?
        };
        let mut data = data;
        data["artifactCredentials"] = self.credentials(id).await?;
        let event = json!({"CodePipeline.job": {"id": id, "accountId": self.options.account, "data": data}});
        work::invoke(&self.aws, &role, &function, &event).await
    }

    /// Function, role and data of a job.
    fn invocation(&self, state: &State, job: &Job) -> Option<(String, String, Value)> {
        let (pipeline, _) = state.execution(&job.site)?;
        let declaration = &pipeline.declaration;
        let action = declaration.stages.get(job.site.stage)?.actions.get(job.site.action)?;
        let Kind::Lambda { function } = &action.kind else { return None };
        let role = action.role_arn.clone().unwrap_or_else(|| declaration.role_arn.clone());
        Some((function.clone(), role, render::job_data(state, job)?))
    }

    /// Keys for the artifact store of a job's pipeline.
    async fn credentials(&self, job: &str) -> Result<Value, AwsError> {
        let store = {
            let state = self.lock();
            let site = state.jobs.get(job).map(|job| &job.site);
            let pipeline = site.and_then(|site| state.pipelines.get(&site.pipeline));
            pipeline
                .map(|pipeline| (pipeline.declaration.role_arn.clone(), pipeline.declaration.bucket.clone()))
        };
        let gone = || AwsError::new("JobNotFoundException", format!("Cannot find job with ID {job}"));
        let (role, bucket) = store.ok_or_else(gone)?;
        work::store_session(&self.aws, &role, &bucket).await.map(|session| session.credentials())
    }
}

#[cfg(test)]
mod tests;
