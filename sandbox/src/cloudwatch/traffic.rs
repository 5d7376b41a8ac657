//! What the load balancers carry, as the metrics of `AWS/ApplicationELB`: which there are, by which dimensions, and when nothing is told, as
//! "CloudWatch metrics for your Application Load Balancer" of the Elastic Load Balancing user guide has it.

use jiff::Timestamp;

use super::store::{Metric, NODES, Node};
use super::{CloudWatch, State};
use crate::elb::{Hosts, Sent, Served, ServedBy, TrafficObserver};

/// What is told as 0 while targets are registered. Everything else is only told where there is some.
const TOLD_AS_ZERO: [&str; 5] = [
    "RequestCount",
    "HTTPCode_Target_2XX_Count",
    "HTTPCode_Target_3XX_Count",
    "HTTPCode_Target_4XX_Count",
    "HTTPCode_Target_5XX_Count",
];

/// Zones a load balancer's nodes stand in.
const ZONES: Node = 2;

/// Who is meant by a metric of a load balancer.
#[derive(Clone)]
struct Of<'a> {
    namespace: &'static str,
    load_balancer: &'a str,
    /// `None` where only the load balancer itself is meant.
    target_group: Option<&'a str>,
    zone: String,
}

impl Of<'_> {
    /// A metric once for each set of its dimensions.
    fn metrics(&self, name: &str) -> Vec<Metric> {
        let balancer = ("LoadBalancer", self.load_balancer);
        let mut sets = vec![vec![balancer]];
        if let Some(group) = self.target_group {
            sets.push(vec![balancer, ("TargetGroup", group)]);
        }
        let in_zone = |set: &Vec<_>| [&set[..], &[("AvailabilityZone", self.zone.as_str())]].concat();
        let zones: Vec<_> = sets.iter().map(in_zone).collect();
        sets.iter().chain(&zones).map(|set| Metric::new(self.namespace, name, set)).collect()
    }
}

impl TrafficObserver for CloudWatch {
    fn served(&self, served: &Served) {
        let mut state = self.inner.lock();
        let node = state.next_node();
        // Target groups only get what was sent to their targets.
        let is_sent = served.sent != Sent::Not;
        let target = Of {
            namespace: namespace(&served.load_balancer),
            load_balancer: &served.load_balancer,
            target_group: served.target_group.as_deref().filter(|_| is_sent),
            zone: zone(&self.inner.options.region, node),
        };
        let own = Of { target_group: None, ..target.clone() };
        let class = served.status / 100;
        let mut values = Vec::new();
        if is_sent {
            values.push((&target, "RequestCount".to_owned(), 1.0));
        }
        match served.by {
            ServedBy::Target => values.push((&target, format!("HTTPCode_Target_{class}XX_Count"), 1.0)),
            ServedBy::LoadBalancer => {
                values.push((&own, format!("HTTPCode_ELB_{class}XX_Count"), 1.0));
                if class == 5 {
                    values.push((&own, format!("HTTPCode_ELB_{}_Count", served.status), 1.0));
                }
            }
        }
        if served.sent == Sent::NotTaken {
            values.push((&target, "TargetConnectionErrorCount".to_owned(), 1.0));
        }
        if let Some(time) = served.target_time {
            values.push((&target, "TargetResponseTime".to_owned(), time.as_secs_f64()));
        }
        for (of, name, value) in values {
            state.add_of(of, &name, node, served.at, value, 1.0);
        }
    }

    fn hosts(&self, hosts: &Hosts) {
        let of = |zone| Of {
            namespace: namespace(&hosts.load_balancer),
            load_balancer: &hosts.load_balancer,
            target_group: Some(&hosts.target_group),
            zone,
        };
        let mut state = self.inner.lock();
        let dimensions =
            [("LoadBalancer", hosts.load_balancer.as_str()), ("TargetGroup", hosts.target_group.as_str())];
        for (name, count) in [("HealthyHostCount", hosts.healthy), ("UnHealthyHostCount", hosts.unhealthy)] {
            let metric = Metric::new(namespace(&hosts.load_balancer), name, &dimensions);
            state.store.add(metric, hosts.at, u32::try_from(count).map_or(f64::MAX, f64::from), 1.0);
        }
        if hosts.healthy + hosts.unhealthy == 0 {
            return;
        }
        // Once a period and zone is enough: a node that carried something tells that.
        let period = self.inner.options.load_balancer_ms();
        let begin = hosts.at.as_millisecond().div_euclid(period) * period;
        let begin = Timestamp::from_millisecond(begin).unwrap_or(hosts.at);
        for node in 1..=ZONES {
            let of = of(zone(&self.inner.options.region, node));
            for name in TOLD_AS_ZERO {
                state.add_of(&of, name, node, begin, 0.0, 0.0);
            }
        }
    }
}

impl State {
    /// Requests come to the nodes by turns.
    fn next_node(&mut self) -> Node {
        self.turn = self.turn % NODES + 1;
        self.turn
    }

    fn add_of(&mut self, of: &Of<'_>, name: &str, node: Node, at: Timestamp, value: f64, times: f64) {
        for metric in of.metrics(name) {
            self.store.add_of(node, metric, at, value, times);
        }
    }
}

/// A node's zone: `eu-central-1a`, `eu-central-1b`, by turns.
fn zone(region: &str, node: Node) -> String {
    format!("{region}{}", if node % 2 == 1 { "a" } else { "b" })
}

fn namespace(load_balancer: &str) -> &'static str {
    if load_balancer.starts_with("net/") { "AWS/NetworkELB" } else { "AWS/ApplicationELB" }
}
