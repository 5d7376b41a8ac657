//! Scalable targets and what was done to them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Outcome;

/// The namespace and the dimension of everything here.
pub(super) const NAMESPACE: &str = "ecs";
pub(super) const DIMENSION: &str = "ecs:service:DesiredCount";

/// AWS keeps the activities of six weeks; here so many.
const ACTIVITIES_KEPT: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Model {
    /// By resource id.
    pub(super) targets: BTreeMap<String, Target>,
    /// Newest first.
    pub(super) activities: VecDeque<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) arn: String,
    pub(super) cluster: String,
    pub(super) service: String,
    pub(super) role: String,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) suspended: Suspended,
    pub(super) created: Timestamp,
    /// When it was last registered or updated.
    pub(super) changed: Option<Instant>,
    /// How many tasks its policies want.
    pub(super) demand: Option<u32>,
    pub(super) outcome: Option<Outcome>,
}

/// `SuspendedState`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suspended {
    pub(super) scaling_in: bool,
    pub(super) scaling_out: bool,
    pub(super) scheduled: bool,
}

impl Target {
    pub(super) fn describe(&self, resource: &str) -> Value {
        json!({
            "ServiceNamespace": NAMESPACE,
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "MinCapacity": self.min,
            "MaxCapacity": self.max,
            "RoleARN": self.role,
            "CreationTime": self.created.as_duration().as_secs_f64(),
            "SuspendedState": {
                "DynamicScalingInSuspended": self.suspended.scaling_in,
                "DynamicScalingOutSuspended": self.suspended.scaling_out,
                "ScheduledScalingSuspended": self.suspended.scheduled,
            },
            "ScalableTargetARN": self.arn,
        })
    }
}

impl Model {
    /// Notes that a desired count was set.
    pub(super) fn note(&mut self, resource: &str, desired: u32, cause: &str, now: Timestamp) {
        let at = now.as_duration().as_secs_f64();
        self.activities.push_front(json!({
            "ActivityId": crate::ids::uuid(),
            "ServiceNamespace": NAMESPACE,
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "Description": format!("Setting desired count to {desired}."),
            "Cause": cause,
            "StartTime": at,
            "EndTime": at,
            "StatusCode": "Successful",
            "StatusMessage":
                format!("Successfully set desired count to {desired}. Change successfully fulfilled by ecs."),
        }));
        self.activities.truncate(ACTIVITIES_KEPT);
    }

    /// For people: every target, what its policies want, and what came of that.
    pub(super) fn overview(&self) -> Value {
        let targets = self.targets.iter().map(|(resource, target)| {
            json!({
                "target": target.describe(resource),
                "demand": target.demand,
                "last": target.outcome,
            })
        });
        json!({"targets": targets.collect::<Vec<_>>(), "activities": self.activities})
    }
}
