//! CloudWatch: metrics of the traffic the load balancers really carried, alarms evaluated on them continuously, and the
//! events their changes of state emit. The alarm is what tells Tidegate to move traffic back, so it has to be as real as the
//! traffic.
//!
//! Differences from AWS, on purpose: a minute of an alarm can be short ([`Options::seconds_per_minute`]), windows slide with the clock
//! instead of being aligned to it, and every alarm is evaluated several times a second, on data that have not arrived yet for anybody else.
//! Alarm actions (SNS and so on) are kept but not performed; the EventBridge event is.
//!
//! The minute of the load balancers' metrics can be short, too ([`Options::load_balancer_secs`]): whoever asks for them by the minute gets
//! short ones, whoever asks for as many seconds gets the same. A minute is told by one node of the load balancer after the other once it is over, the
//! last one [`Options::lateness`] later: the newest is not there, and the one before may still grow.

mod alarm;
mod api;
mod data;
mod evaluate;
mod expression;
mod mute;
mod store;
mod traffic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::{get, put};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use self::alarm::{Alarm, MuteRule};
pub use self::data::{Incomplete, Lack};
use self::store::{BUCKET_MS, Store};
use crate::ports::{AlarmState, Alarms, AwsError, Caller, EventSink, Service};

/// Where the alarms live.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account in ARNs.
    pub account: String,
    /// Region in ARNs.
    pub region: String,
    /// How long a minute of an alarm's period takes. AWS allows periods of 10, 20 and 30 seconds and of whole minutes, and so does this;
    /// nobody wants to wait for them.
    pub seconds_per_minute: f64,
    /// How long a minute of the load balancers' metrics takes, whole seconds; 60 on AWS.
    pub load_balancer_secs: u32,
    /// How long after its end the last of a minute's numbers arrives. AWS does not say; about a minute has been seen.
    pub lateness: Duration,
    /// Counts between bounds (`TC`, `PR`) are interpolated, as the user guide has it, and may be fractions. How exact they are, AWS does not say;
    /// otherwise they are exact.
    pub interpolates: bool,
}

impl Options {
    /// Alarms of this account and region, whose minutes are minutes.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            region: region.into(),
            seconds_per_minute: 60.0,
            load_balancer_secs: 60,
            lateness: Duration::from_secs(60),
            interpolates: true,
        }
    }

    fn load_balancer_ms(&self) -> i64 {
        i64::from(self.load_balancer_secs.max(1)) * 1000
    }

    /// How long a period of an alarm really takes, milliseconds.
    fn played_ms(&self, period_secs: i64) -> i64 {
        let period = u32::try_from(period_secs).map_or(f64::from(u32::MAX), f64::from);
        let played =
            Duration::try_from_secs_f64(period * self.seconds_per_minute / 60.0).unwrap_or(Duration::MAX);
        i64::try_from(played.as_millis()).unwrap_or(i64::MAX).max(BUCKET_MS)
    }
}

/// CloudWatch. Cheap to clone.
#[derive(Clone)]
pub struct CloudWatch {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    state: Mutex<State>,
    sink: Arc<dyn EventSink>,
}

#[derive(Default)]
struct State {
    store: Store,
    alarms: BTreeMap<String, Alarm>,
    mutes: BTreeMap<String, MuteRule>,
    /// The next of a load balancer's nodes.
    turn: u8,
    /// What answers lack, as asked for.
    incomplete: Vec<Incomplete>,
}

impl CloudWatch {
    /// CloudWatch without data and alarms; state changes go to `sink`.
    pub fn new(options: Options, sink: Arc<dyn EventSink>) -> Self {
        Self { inner: Arc::new(Inner { options, state: Mutex::default(), sink }) }
    }

    /// Evaluates the alarms from now on, until the handle is aborted. Must be called within a tokio runtime.
    pub fn run(&self) -> AbortHandle {
        let cloudwatch = self.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(BUCKET_MS.unsigned_abs()));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                cloudwatch.evaluate(Timestamp::now());
            }
        });
        task.abort_handle()
    }

    /// Evaluates every alarm as of `now` and emits an event for each change.
    pub fn evaluate(&self, now: Timestamp) {
        let events = self.inner.lock().evaluate(now);
        for event in events {
            self.inner.sink.emit(event);
        }
    }

    /// Answers of `GetMetricData` that lack something from now on, until each has been given as often as it says.
    pub fn set_incomplete(&self, incomplete: Vec<Incomplete>) {
        self.inner.lock().incomplete = incomplete;
    }

    /// `GET /_sandbox/alarms`: every alarm with its state and reason. `PUT /_sandbox/incomplete`: [`CloudWatch::set_incomplete`].
    pub fn admin(&self) -> Router {
        let cloudwatch = self.clone();
        let list = async move || {
            let state = cloudwatch.inner.lock();
            let alarms: Vec<Value> = (state.alarms.values())
                .map(|alarm| json!({"name": alarm.name, "state": alarm.condition.value(), "reason": alarm.condition.reason}))
                .collect();
            axum::Json(json!({"alarms": alarms}))
        };
        let cloudwatch = self.clone();
        let set = async move |axum::Json(incomplete): axum::Json<Vec<Incomplete>>| {
            cloudwatch.set_incomplete(incomplete);
            axum::http::StatusCode::NO_CONTENT
        };
        Router::new().route("/_sandbox/alarms", get(list)).route("/_sandbox/incomplete", put(set))
    }
}

#[async_trait]
impl Service for CloudWatch {
    async fn call(&self, operation: &str, input: Value, _caller: &Caller) -> Result<Value, AwsError> {
        let (answer, events) =
            self.inner.lock().answer(&self.inner.options, operation, &input, Timestamp::now())?;
        for event in events {
            self.inner.sink.emit(event);
        }
        Ok(answer)
    }
}

impl Alarms for CloudWatch {
    fn state(&self, name: &str) -> Option<AlarmState> {
        self.inner.lock().alarms.get(name).map(|alarm| alarm.condition.state)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod data_tests;
#[cfg(test)]
mod tests;
