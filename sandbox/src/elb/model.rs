//! The control plane's data: load balancers, listeners, rules, target groups and targets.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ports::TargetHealth;

/// Everything there is, by ARN, in order of creation where AWS answers in that order.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) load_balancers: Vec<LoadBalancer>,
    pub(super) listeners: Vec<Listener>,
    pub(super) rules: Vec<Rule>,
    pub(super) target_groups: Vec<TargetGroup>,
    pub(super) tags: HashMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Clone)]
pub(super) struct LoadBalancer {
    pub(super) arn: String,
    pub(super) name: String,
    /// `application` or `network`.
    pub(super) kind: String,
    pub(super) scheme: String,
    pub(super) created: Timestamp,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) subnets: Vec<String>,
    pub(super) security_groups: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) arn: String,
    pub(super) load_balancer_arn: String,
    pub(super) protocol: String,
    /// As asked for; 0 means any.
    pub(super) port: u16,
    /// Where it really listens.
    pub(super) bound: SocketAddr,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) arn: String,
    pub(super) listener_arn: String,
    /// `None` is the default rule, whose actions are the listener's default actions.
    pub(super) priority: Option<u32>,
    pub(super) conditions: Vec<Value>,
    pub(super) actions: Vec<Value>,
    /// Rewrites of host and path. They are kept and not performed.
    pub(super) transforms: Vec<Value>,
    /// The actions it was created with: what infrastructure as code takes for its own.
    pub(super) created_with: Vec<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct TargetGroup {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) port: u16,
    pub(super) target_type: String,
    pub(super) vpc_id: String,
    pub(super) check: HealthCheck,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) targets: Vec<Target>,
    /// Round robin over the targets.
    pub(super) turn: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthCheck {
    pub(super) protocol: String,
    pub(super) port: String,
    pub(super) path: String,
    pub(super) interval_secs: u64,
    pub(super) timeout_secs: u64,
    pub(super) healthy_threshold: u64,
    pub(super) unhealthy_threshold: u64,
    pub(super) matcher: String,
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) health: TargetHealth,
    /// Checks in a row that disagree with the present health.
    pub(super) streak: u64,
    pub(super) reason: Option<(&'static str, String)>,
    pub(super) in_flight: u64,
    /// When a draining target is forgotten at the latest.
    pub(super) drain_until: Option<Instant>,
    /// Tells a target from an earlier one at the same address.
    pub(super) generation: u64,
}

impl Model {
    pub(super) fn load_balancer(&self, arn: &str) -> Option<&LoadBalancer> {
        self.load_balancers.iter().find(|lb| lb.arn == arn)
    }

    pub(super) fn listener(&self, arn: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.arn == arn)
    }

    pub(super) fn target_group(&self, arn: &str) -> Option<&TargetGroup> {
        self.target_groups.iter().find(|group| group.arn == arn)
    }

    pub(super) fn target_group_mut(&mut self, arn: &str) -> Option<&mut TargetGroup> {
        self.target_groups.iter_mut().find(|group| group.arn == arn)
    }

    /// The rule with this ARN, or the default rule of the listener with this ARN.
    pub(super) fn rule(&self, rule_or_listener_arn: &str) -> Option<&Rule> {
        let index = self.rule_index(rule_or_listener_arn)?;
        self.rules.get(index)
    }

    pub(super) fn rule_index(&self, rule_or_listener_arn: &str) -> Option<usize> {
        self.rules.iter().position(|rule| {
            rule.arn == rule_or_listener_arn
                || (rule.priority.is_none() && rule.listener_arn == rule_or_listener_arn)
        })
    }

    /// The load balancers whose rules name a target group, whatever its weight.
    pub(super) fn users_of(&self, target_group_arn: &str) -> Vec<String> {
        let mut arns = Vec::new();
        for rule in &self.rules {
            let names = rule.actions.iter().any(|action| {
                super::rules::forward(action).groups.iter().any(|(arn, _)| arn == target_group_arn)
            });
            let Some(listener) = self.listener(&rule.listener_arn) else { continue };
            if names && !arns.contains(&listener.load_balancer_arn) {
                arns.push(listener.load_balancer_arn.clone());
            }
        }
        arns
    }
}

impl LoadBalancer {
    /// `app/name/id`, the value of CloudWatch's `LoadBalancer` dimension.
    pub(super) fn dimension(&self) -> String {
        self.arn.split_once(":loadbalancer/").map_or(self.name.clone(), |(_, rest)| rest.to_owned())
    }

    pub(super) fn describe(&self) -> Value {
        let zones: Vec<Value> = (self.subnets.iter().zip(["a", "b", "c", "d", "e", "f"]))
            .map(|(subnet, zone)| json!({"SubnetId": subnet, "ZoneName": zone, "LoadBalancerAddresses": []}))
            .collect();
        json!({
            "LoadBalancerArn": self.arn,
            "DNSName": "localhost",
            "CanonicalHostedZoneId": "Z000000000000000000",
            "CreatedTime": self.created.as_duration().as_secs_f64(),
            "LoadBalancerName": self.name,
            "Scheme": self.scheme,
            "VpcId": "vpc-00000000",
            "State": {"Code": "active"},
            "Type": self.kind,
            "AvailabilityZones": zones,
            "SecurityGroups": self.security_groups,
            "IpAddressType": "ipv4",
        })
    }
}

impl Listener {
    /// The port is the one really bound, so that whoever asked for port 0 learns where to send traffic.
    pub(super) fn describe(&self, default_actions: &[Value]) -> Value {
        json!({
            "ListenerArn": self.arn,
            "LoadBalancerArn": self.load_balancer_arn,
            "Port": self.bound.port(),
            "Protocol": self.protocol,
            "DefaultActions": super::actions::described(default_actions),
        })
    }
}

impl Rule {
    pub(super) fn describe(&self) -> Value {
        json!({
            "RuleArn": self.arn,
            "Priority": self.priority.map_or_else(|| "default".to_owned(), |priority| priority.to_string()),
            "Conditions": self.conditions,
            "Actions": super::actions::described(&self.actions),
            "Transforms": self.transforms,
            "IsDefault": self.priority.is_none(),
        })
    }
}

impl TargetGroup {
    pub(super) fn target(&self, address: SocketAddr) -> Option<&Target> {
        self.targets.iter().find(|target| target.address == address)
    }

    pub(super) fn describe(&self, load_balancers: &[String]) -> Value {
        let http = self.check.protocol.starts_with("HTTP");
        json!({
            "TargetGroupArn": self.arn,
            "TargetGroupName": self.name,
            "Protocol": self.protocol,
            "Port": self.port,
            "VpcId": self.vpc_id,
            "HealthCheckProtocol": self.check.protocol,
            "HealthCheckPort": self.check.port,
            "HealthCheckEnabled": true,
            "HealthCheckIntervalSeconds": self.check.interval_secs,
            "HealthCheckTimeoutSeconds": self.check.timeout_secs,
            "HealthyThresholdCount": self.check.healthy_threshold,
            "UnhealthyThresholdCount": self.check.unhealthy_threshold,
            "HealthCheckPath": http.then_some(&self.check.path),
            "Matcher": http.then(|| json!({"HttpCode": self.check.matcher})),
            "LoadBalancerArns": load_balancers,
            "TargetType": self.target_type,
            "ProtocolVersion": http.then_some("HTTP1"),
            "IpAddressType": "ipv4",
        })
    }

    pub(super) fn attribute_secs(&self, key: &str, default: u64) -> u64 {
        self.attributes.get(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

impl HealthCheck {
    pub(super) fn accepts(&self, status: u16) -> bool {
        self.matcher.split(',').any(|part| match part.trim().split_once('-') {
            Some((low, high)) => {
                let (low, high) = (low.parse().unwrap_or(u16::MAX), high.parse().unwrap_or(0));
                (low..=high).contains(&status)
            }
            None => part.trim().parse() == Ok(status),
        })
    }
}

/// The wire name of a health state.
pub(super) fn health_name(health: TargetHealth) -> &'static str {
    match health {
        TargetHealth::Initial => "initial",
        TargetHealth::Healthy => "healthy",
        TargetHealth::Unhealthy => "unhealthy",
        TargetHealth::Draining => "draining",
        TargetHealth::Unused => "unused",
    }
}
