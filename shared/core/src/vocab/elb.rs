//! Elastic Load Balancing: the weights that rules and listeners forward with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{RuleArn, TargetGroupArn};
use crate::policy::Percent;
use crate::seen::Seen;

/// What was seen of the load balancers in one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The weights of every rule that was asked for; one that is gone is an error.
    pub weights: Seen<Vec<RuleSeen>>,
}

/// What can be asked about load balancers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The weights of these rules (ALB) or listeners (NLB), also when there are none; `None`: nothing is asked.
    pub rules: Option<BTreeSet<RuleArn>>,
}

impl Needs {
    /// What of it has not been asked for yet.
    #[must_use]
    pub fn without(mut self, asked: &Self) -> Self {
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
    }
}

/// The weights a rule or listener forwards with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSeen {
    /// Which.
    pub arn: RuleArn,
    /// Target groups and weights, in the rule's order.
    pub weights: Vec<(TargetGroupArn, u32)>,
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
}
