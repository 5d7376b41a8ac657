//! Elastic Load Balancing v2 with a real HTTP data plane: listener ports are bound, weights are honoured exactly, targets
//! are health-checked and drained. No emulator has this, and a release tool that moves traffic cannot be watched without it.
//!
//! The control plane (`api`) changes the `model`; every change is compiled into a view that each simulated load
//! balancer node follows, at once or after [`Options::weight_propagation`]. The data plane (`proxy`) only reads views and
//! the health of targets.
//!
//! Differences from AWS, on purpose: a listener that asks for port 0 or a privileged port gets a free one and
//! `DescribeListeners` tells it; requests and answers are held whole in memory, so that a broken answer can be counted;
//! an NLB listener carries HTTP too, without rules; what authenticates or rewrites a request is kept in its rule and not performed.

mod actions;
mod api;
mod health;
mod model;
mod past;
mod proxy;
mod rules;
mod stats;
mod weights;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::Handle;

pub use self::stats::{Hosts, Sent, Served, ServedBy, TrafficObserver};

use self::model::{Model, Rule, Target};
use self::past::Past;
use self::proxy::Plane;
use self::stats::Counters;
use crate::ports::{AwsError, Caller, LoadBalancers, Service, TargetHealth};

/// How the load balancers behave where AWS leaves room or the local machine needs it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account in ARNs.
    pub account: String,
    /// Region in ARNs.
    pub region: String,
    /// Load balancer nodes of each listener. Connections are spread over them; each has its own weights.
    pub nodes: usize,
    /// The last node follows a change of rules this late, the others in even steps before it. Zero: all at once.
    pub weight_propagation: Duration,
    /// What one second of health check settings and deregistration delays lasts. 0.1 makes a 5 s interval half a second.
    pub seconds_scale: f64,
    /// A group with only unhealthy targets gets the traffic anyway, as AWS documents for its default settings. Off, it
    /// answers 503, which makes a wrong shift visible at once.
    pub fail_open: bool,
    /// Age of what `DescribeRules` and `DescribeListeners` tell of rules. AWS does not say.
    pub read_lag: Duration,
    /// A stickiness cookie keeps its client on a group of weight 0. AWS does not say.
    pub sticky_at_zero: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            nodes: 1,
            weight_propagation: Duration::ZERO,
            seconds_scale: 1.0,
            fail_open: false,
            read_lag: Duration::ZERO,
            sticky_at_zero: false,
        }
    }
}

/// The load balancers of the sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Elb {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    model: Mutex<Model>,
    past: Mutex<Past>,
    planes: Mutex<HashMap<String, Arc<Plane>>>,
    counters: Mutex<Counters>,
    observer: Arc<dyn TrafficObserver>,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    generation: AtomicU64,
    next_node: AtomicUsize,
}

impl Elb {
    /// Load balancers that report what they serve to `observer`. Must be called within a tokio runtime, on which listeners
    /// and health checks then run.
    pub fn new(options: Options, observer: Arc<dyn TrafficObserver>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        connector.set_nodelay(true);
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(10)).build(connector);
        let inner = Inner {
            options,
            model: Mutex::default(),
            past: Mutex::default(),
            planes: Mutex::default(),
            counters: Mutex::default(),
            observer,
            client,
            runtime: Handle::current(),
            generation: AtomicU64::new(0),
            next_node: AtomicUsize::new(0),
        };
        let inner = Arc::new(inner);
        health::report(&inner);
        Self { inner }
    }

    /// Where a listener really listens.
    pub fn listener_address(&self, listener_arn: &str) -> Option<SocketAddr> {
        self.inner.model().listener(listener_arn).map(|listener| listener.bound)
    }

    /// What was served so far, per load balancer and per target group.
    pub fn statistics(&self) -> Value {
        self.inner.statistics()
    }

    /// Gives a rule, or the default rule of a listener, the actions it was created with, whatever was made of them since: what the next
    /// `terraform apply` of somebody does.
    ///
    /// # Errors
    /// As `ModifyRule`.
    pub fn reset_rule(&self, rule_or_listener_arn: &str) -> Result<(), AwsError> {
        self.inner.reset(rule_or_listener_arn)
    }

    /// `GET /_sandbox/elb`: listeners with their real addresses, weights as set, counters.
    pub fn admin(&self) -> Router {
        let elb = self.clone();
        Router::new().route("/_sandbox/elb", get(async move || axum::Json(elb.statistics())))
    }

    /// Closes all listeners.
    pub fn shutdown(&self) {
        for (_, plane) in lock(&self.inner.planes).drain() {
            plane.close();
        }
    }
}

#[async_trait]
impl Service for Elb {
    async fn call(&self, operation: &str, input: Value, _caller: &Caller) -> Result<Value, AwsError> {
        self.inner.answer(operation, &input).await
    }
}

impl LoadBalancers for Elb {
    fn register_target(&self, target_group_arn: &str, target: SocketAddr) -> Result<(), AwsError> {
        self.inner.register(target_group_arn, target)
    }

    fn deregister_target(&self, target_group_arn: &str, target: SocketAddr) -> Result<(), AwsError> {
        self.inner.deregister(target_group_arn, target)
    }

    fn target_health(&self, target_group_arn: &str, target: SocketAddr) -> TargetHealth {
        let model = self.inner.model();
        let registered = model.target_group(target_group_arn).and_then(|group| group.target(target));
        let Some(registered) = registered else { return TargetHealth::Unused };
        if model.users_of(target_group_arn).is_empty() { TargetHealth::Unused } else { registered.health }
    }

    fn requests_in_flight(&self, target_group_arn: &str, target: SocketAddr) -> u64 {
        let model = self.inner.model();
        let registered = model.target_group(target_group_arn).and_then(|group| group.target(target));
        registered.map_or(0, |target| target.in_flight)
    }

    fn forward_weights(&self, rule_or_listener_arn: &str) -> Result<Vec<(String, u32)>, AwsError> {
        let model = self.inner.model();
        let rule = model.rule(rule_or_listener_arn).ok_or_else(|| api::no_rule(rule_or_listener_arn))?;
        Ok(actions::forward_action(&rule.actions).map(rules::forward).unwrap_or_default().groups)
    }

    fn load_balancers_of(&self, target_group_arn: &str) -> Result<Vec<String>, AwsError> {
        let model = self.inner.model();
        model.target_group(target_group_arn).ok_or_else(api::no_target_group)?;
        Ok(model.users_of(target_group_arn))
    }

    fn set_forward_weights(
        &self,
        rule_or_listener_arn: &str,
        weights: &[(String, u32)],
    ) -> Result<(), AwsError> {
        self.inner.set_weights(rule_or_listener_arn, weights)
    }
}

impl Inner {
    fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// Notes that rules have changed.
    fn changed(&self) {
        let model = self.model();
        lock(&self.past).remember(&model.rules, self.options.read_lag, Instant::now());
    }

    /// The rules as reads see them.
    fn seen_rules(&self, model: &Model) -> Vec<Rule> {
        let past = lock(&self.past);
        past.as_of(self.options.read_lag, Instant::now()).unwrap_or(&model.rules).to_vec()
    }

    /// A duration of the settings, in local time.
    fn scaled(&self, secs: u64) -> Duration {
        Duration::from_secs(secs).mul_f64(self.options.seconds_scale)
    }

    fn register(self: &Arc<Self>, target_group_arn: &str, address: SocketAddr) -> Result<(), AwsError> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        {
            let mut model = self.model();
            let group = model.target_group_mut(target_group_arn).ok_or_else(api::no_target_group)?;
            let known = group.targets.iter().position(|target| target.address == address);
            if let Some(index) = known {
                if group.targets[index].health != TargetHealth::Draining {
                    return Ok(());
                }
                group.targets.remove(index);
            }
            group.targets.push(Target {
                address,
                health: TargetHealth::Initial,
                streak: 0,
                reason: Some(("Elb.RegistrationInProgress", "Target registration is in progress".to_owned())),
                in_flight: 0,
                drain_until: None,
                generation,
            });
        }
        health::watch(self, target_group_arn, address, generation);
        Ok(())
    }

    fn deregister(&self, target_group_arn: &str, address: SocketAddr) -> Result<(), AwsError> {
        let mut model = self.model();
        let group = model.target_group_mut(target_group_arn).ok_or_else(api::no_target_group)?;
        let delay = self.scaled(group.attribute_secs("deregistration_delay.timeout_seconds", 300));
        if let Some(target) = group.targets.iter_mut().find(|target| target.address == address)
            && target.health != TargetHealth::Draining
        {
            target.health = TargetHealth::Draining;
            target.reason =
                Some(("Target.DeregistrationInProgress", "Target deregistration is in progress".to_owned()));
            target.drain_until = Some(Instant::now() + delay);
        }
        Ok(())
    }
}

/// Nothing panics while it holds one of these locks; if it did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
