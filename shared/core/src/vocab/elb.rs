//! Elastic Load Balancing: the weights that rules and listeners forward with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{RuleArn, TargetGroupArn};
use crate::policy::Percent;
use crate::seen::Seen;

/// What was seen of the load balancers in one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The weights of every rule that was asked for; one that is gone is an error.
    pub weights: Seen<Vec<RuleSeen>>,
    /// How the targets of every target group that was asked for are.
    pub health: Seen<BTreeMap<TargetGroupArn, Health>>,
    /// The target groups that were asked for; one that is gone is left out.
    pub groups: Seen<Vec<GroupSeen>>,
}

/// How the targets of a target group are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// So many are healthy, and wanted.
    pub healthy: u32,
    /// So many are registered, whatever their state.
    pub registered: u32,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct GroupSeen {
    pub arn: TargetGroupArn,
    /// The load balancers whose rules name it.
    pub load_balancers: Vec<String>,
}

/// A target group as one would make another like it, and what sends it requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Surroundings {
    pub group: TargetGroupArn,
    /// `HTTP`, `TCP`, …
    pub protocol: String,
    pub port: Option<i32>,
    pub vpc: Option<String>,
    /// `ip`, `instance`, …
    pub target_type: String,
    pub health: HealthCheck,
    /// The load balancer it belongs to.
    pub load_balancer: Option<String>,
    /// The rules (Application Load Balancer) or listeners (Network Load Balancer) that send it requests. Default rules only where there are no others.
    pub senders: Vec<RuleArn>,
}

/// How the targets of a target group are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct HealthCheck {
    /// Where they are asked by HTTP.
    pub path: Option<String>,
    pub interval_secs: Option<i32>,
    pub timeout_secs: Option<i32>,
    pub healthy_threshold: Option<i32>,
    pub unhealthy_threshold: Option<i32>,
}

/// One thing to do to a load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ensure that a rule (ALB) or listener (NLB) forwards to exactly these target groups with these weights. Whatever else its actions
    /// say stays as it is.
    SetWeights {
        /// The rule or listener.
        rule: RuleArn,
        /// Every target group, with its weight.
        weights: Vec<(TargetGroupArn, u32)>,
        /// The share the candidate has with it.
        share: Percent,
    },
}

/// What can be asked about load balancers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The weights of these rules (ALB) or listeners (NLB), also when there are none; `None`: nothing is asked.
    pub rules: Option<BTreeSet<RuleArn>>,
    /// How the targets of these are.
    pub health: BTreeSet<TargetGroupArn>,
    /// These target groups.
    pub groups: BTreeSet<TargetGroupArn>,
}

impl Needs {
    /// What of it has not been asked for yet.
    #[must_use]
    pub fn without(mut self, asked: &Self) -> Self {
        self.health.retain(|group| !asked.health.contains(group));
        self.groups.retain(|group| !asked.groups.contains(group));
        if let (Some(rules), Some(asked)) = (&mut self.rules, &asked.rules) {
            rules.retain(|rule| !asked.contains(rule));
            if rules.is_empty() {
                self.rules = None;
            }
        }
        self
    }

    /// With what is asked for beside it.
    pub fn add(&mut self, later: Self) {
        match (&mut self.rules, later.rules) {
            (Some(rules), Some(later)) => rules.extend(later),
            (rules @ None, later) => *rules = later,
            (Some(_), None) => {}
        }
        self.health.extend(later.health);
        self.groups.extend(later.groups);
    }
}

impl Observation {
    /// With what a later question was answered. Rules beside those seen before are added; one that cannot be seen makes all of it unknown.
    pub fn merge(&mut self, later: Self) {
        match (&mut self.weights, later.weights) {
            (_, Seen::NotAsked) | (Seen::Unknown(_), _) => {}
            (Seen::Known(rules), Seen::Known(later)) => rules.extend(later),
            (weights @ (Seen::NotAsked | Seen::Known(_)), later) => *weights = later,
        }
        self.health.merge(later.health);
        self.groups.merge(later.groups);
    }
}

/// The weights a rule or listener forwards with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct RuleSeen {
    pub arn: RuleArn,
    /// Target groups and weights, in the rule's order.
    pub weights: Vec<(TargetGroupArn, u32)>,
    /// Whether it is the default rule of its listener: what it does is for the listener to say, and `ModifyRule` refuses it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
}

impl RuleSeen {
    /// The share of a target group, exact only to a tenth of a percent; `None` when the rule sends nothing anywhere.
    pub fn share(&self, target_group: &TargetGroupArn) -> Option<Percent> {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        let own: u32 =
            self.weights.iter().filter(|(arn, _)| arn == target_group).map(|(_, weight)| weight).sum();
        let tenths = (own * 1000 + total / 2).checked_div(total)?;
        u16::try_from(tenths).ok().map(Percent::from_tenths)
    }

    /// The one target group that it sends everything to.
    pub fn carrier(&self) -> Option<&TargetGroupArn> {
        let mut carrying = self.weights.iter().filter(|(_, weight)| *weight > 0).map(|(group, _)| group);
        carrying.next().filter(|_| carrying.next().is_none())
    }
}
