//! CloudWatch: metrics of the traffic the load balancers really carried, alarms evaluated on them continuously, and the
//! events their changes of state emit. The alarm is what tells Tidegate to move traffic back, so it has to be as real as the
//! traffic.
//!
//! Differences from AWS, on purpose: a minute of an alarm can be short ([`Options::seconds_per_minute`]), windows slide with the clock
//! instead of being aligned to it, and every alarm is evaluated several times a second. Alarm actions (SNS and so on) are kept but not
//! performed; the EventBridge event is.

mod alarm;
mod api;
mod evaluate;
mod expression;
mod mute;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use self::alarm::{Alarm, MuteRule};
use self::store::{BUCKET_MS, Metric, Store};
use crate::elb::{Hosts, Served, ServedBy, TrafficObserver};
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
}

impl Options {
    /// Alarms of this account and region, whose minutes are minutes.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into(), seconds_per_minute: 60.0 }
    }

    /// How long a period really takes, milliseconds.
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

    /// `GET /_sandbox/alarms`: every alarm with its state and reason.
    pub fn admin(&self) -> Router {
        let cloudwatch = self.clone();
        let list = async move || {
            let state = cloudwatch.inner.lock();
            let alarms: Vec<Value> = (state.alarms.values())
                .map(|alarm| json!({"name": alarm.name, "state": alarm.condition.value(), "reason": alarm.condition.reason}))
                .collect();
            axum::Json(json!({"alarms": alarms}))
        };
        Router::new().route("/_sandbox/alarms", get(list))
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

impl TrafficObserver for CloudWatch {
    /// The metrics of `AWS/ApplicationELB`, each for the load balancer, the target group, and both together.
    fn served(&self, served: &Served) {
        let namespace =
            if served.load_balancer.starts_with("net/") { "AWS/NetworkELB" } else { "AWS/ApplicationELB" };
        let lb = ("LoadBalancer", served.load_balancer.as_str());
        let mut dimensions = vec![vec![lb]];
        if let Some(group) = &served.target_group {
            dimensions
                .extend([vec![("TargetGroup", group.as_str())], vec![lb, ("TargetGroup", group.as_str())]]);
        }
        let class = served.status / 100;
        let mut values = vec![("RequestCount".to_owned(), 1.0)];
        match served.by {
            ServedBy::Target => values.push((format!("HTTPCode_Target_{class}XX_Count"), 1.0)),
            ServedBy::LoadBalancer => {
                values.push((format!("HTTPCode_ELB_{class}XX_Count"), 1.0));
                if class == 5 {
                    values.push((format!("HTTPCode_ELB_{}_Count", served.status), 1.0));
                }
            }
        }
        if let Some(time) = served.target_time {
            values.push(("TargetResponseTime".to_owned(), time.as_secs_f64()));
        }
        let mut state = self.inner.lock();
        for (name, value) in &values {
            for dimensions in &dimensions {
                state.store.add(Metric::new(namespace, name, dimensions), served.at, *value, 1.0);
            }
        }
    }

    fn hosts(&self, hosts: &Hosts) {
        let dimensions =
            [("LoadBalancer", hosts.load_balancer.as_str()), ("TargetGroup", hosts.target_group.as_str())];
        let mut state = self.inner.lock();
        for (name, count) in [("HealthyHostCount", hosts.healthy), ("UnHealthyHostCount", hosts.unhealthy)] {
            let metric = Metric::new(namespace(&hosts.load_balancer), name, &dimensions);
            state.store.add(metric, hosts.at, u32::try_from(count).map_or(f64::MAX, f64::from), 1.0);
        }
    }
}

fn namespace(load_balancer: &str) -> &'static str {
    if load_balancer.starts_with("net/") { "AWS/NetworkELB" } else { "AWS/ApplicationELB" }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
