//! Every answer is counted: for people (the admin API), and for CloudWatch through [`TrafficObserver`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Inner, lock};

/// Who made the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBy {
    /// A target.
    Target,
    /// The load balancer itself: fixed responses, redirects, and its own errors.
    LoadBalancer,
}

/// Whether a request came to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// No target was chosen.
    Not,
    /// One was chosen, and took the connection.
    Taken,
    /// One was chosen, and took no connection.
    NotTaken,
}

/// One answered request.
#[derive(Debug, Clone)]
pub struct Served {
    /// When the answer was complete.
    pub at: Timestamp,
    /// `app/name/id`.
    pub load_balancer: String,
    /// `targetgroup/name/id`; none when no group was chosen.
    pub target_group: Option<String>,
    /// HTTP status.
    pub status: u16,
    /// Who answered.
    pub by: ServedBy,
    /// Whether a target was asked.
    pub sent: Sent,
    /// Time the target took.
    pub target_time: Option<Duration>,
    /// The target's `x-version` header.
    pub version: Option<String>,
}

/// Is told of every answer. Must not block.
pub trait TrafficObserver: Send + Sync {
    /// One request was answered.
    fn served(&self, served: &Served);

    /// So many targets of a group are healthy and unhealthy, as a load balancer that uses the group sees it.
    fn hosts(&self, hosts: &Hosts) {
        let _ = hosts;
    }
}

/// The targets of a group at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Hosts {
    pub at: Timestamp,
    /// `app/name/id`.
    pub load_balancer: String,
    /// `targetgroup/name/id`.
    pub target_group: String,
    /// Healthy targets.
    pub healthy: u64,
    /// Unhealthy targets.
    pub unhealthy: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    load_balancers: BTreeMap<String, Tally>,
    target_groups: BTreeMap<String, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    /// By `target_2xx`, `elb_503` and so on.
    answers: BTreeMap<String, u64>,
    versions: BTreeMap<String, u64>,
    target_seconds: f64,
}

impl Counters {
    fn count(&mut self, served: &Served) {
        self.load_balancers.entry(served.load_balancer.clone()).or_default().count(served);
        if let Some(group) = &served.target_group {
            self.target_groups.entry(group.clone()).or_default().count(served);
        }
    }
}

impl Tally {
    fn count(&mut self, served: &Served) {
        self.requests += 1;
        let answer = match served.by {
            ServedBy::Target => format!("target_{}xx", served.status / 100),
            ServedBy::LoadBalancer => format!("elb_{}", served.status),
        };
        *self.answers.entry(answer).or_default() += 1;
        if let Some(version) = &served.version {
            *self.versions.entry(version.clone()).or_default() += 1;
        }
        self.target_seconds += served.target_time.unwrap_or_default().as_secs_f64();
    }

    fn describe(&self) -> Value {
        json!({
            "requests": self.requests,
            "answers": self.answers,
            "versions": self.versions,
            "target_seconds": self.target_seconds,
        })
    }
}

impl Inner {
    pub(super) fn served(&self, served: &Served) {
        lock(&self.counters).count(served);
        self.observer.served(served);
    }

    pub(super) fn statistics(&self) -> Value {
        let listeners: Vec<Value> = {
            let model = self.model();
            (model.listeners.iter())
                .map(|listener| {
                    let rules: Vec<Value> = (model.rules.iter())
                        .filter(|rule| rule.listener_arn == listener.arn)
                        .map(|rule| {
                            let weights: Map<String, Value> =
                                (rule.actions.iter().flat_map(|action| super::rules::forward(action).groups))
                                    .map(|(arn, weight)| (arn, weight.into()))
                                    .collect();
                            json!({"arn": rule.arn, "priority": rule.priority, "weights": weights})
                        })
                        .collect();
                    json!({
                        "arn": listener.arn,
                        "asked_port": listener.port,
                        "address": listener.bound.to_string(),
                        "rules": rules,
                    })
                })
                .collect()
        };
        let counters = lock(&self.counters);
        let described = |tallies: &BTreeMap<String, Tally>| -> Map<String, Value> {
            tallies.iter().map(|(name, tally)| (name.clone(), tally.describe())).collect()
        };
        json!({
            "listeners": listeners,
            "load_balancers": described(&counters.load_balancers),
            "target_groups": described(&counters.target_groups),
        })
    }
}
