//! What Amazon ECS sends a function that is a lifecycle hook of a deployment, and what it wants back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_core::ids::DeploymentArn;

use crate::arn::Arn;
use crate::decode::{self, Place};
use crate::ecs::LifecycleStage;
use crate::envelope::{EventError, Origins};

const TITLE: &str = "lifecycle hook invocation";

/// The payload of a lifecycle hook's invocation. It is not an EventBridge event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HookInvocation {
    /// The same for every call of this hook at this stage of this deployment.
    #[serde(rename = "executionId")]
    pub execution: String,
    /// Where in the deployment.
    #[serde(rename = "lifecycleStage")]
    pub stage: LifecycleStage,
    /// The service deployment.
    #[serde(rename = "resourceArn")]
    pub deployment: DeploymentArn,
    /// What is deployed, and where traffic goes.
    #[serde(rename = "executionDetails", deserialize_with = "decode::fields")]
    pub details: ExecutionDetails,
    /// What the hook is configured with, merged with what it returned before.
    #[serde(rename = "hookDetails")]
    pub hook_details: Option<Value>,
}

/// What is deployed, and where traffic goes, in percent by service revision. Empty in stages that do not move traffic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ExecutionDetails {
    #[serde(rename = "serviceArn")]
    pub service: String,
    /// The new revision, also while it is rolled back.
    #[serde(rename = "targetServiceRevisionArn")]
    pub target_revision: String,
    /// Test traffic.
    #[serde(rename = "testTrafficWeights", default)]
    pub test_weights: BTreeMap<String, f64>,
    /// Production traffic.
    #[serde(rename = "productionTrafficWeights", default)]
    pub production_weights: BTreeMap<String, f64>,
}

impl HookInvocation {
    /// Reads the payload.
    pub fn parse(bytes: &[u8], origins: &Origins) -> Result<Self, EventError> {
        let read: Self = decode::from_slice(bytes).map_err(|place| EventError::at(TITLE, place))?;
        let arn = Arn::parse(read.deployment.as_str())
            .map_err(|problem| EventError::at(TITLE, Place { path: "resourceArn".into(), problem }))?;
        origins.check(&format!("{TITLE} {}", read.execution), &arn.account, &arn.region)?;
        Ok(read)
    }

    /// Whether traffic is rolling back. ECS says so only by the weights, and only in the two stages that move traffic: before
    /// the first shift of an ordinary deployment the weights are the very same.
    pub fn is_rollback(&self) -> bool {
        let weights = match &self.stage {
            LifecycleStage::ProductionTrafficShift => &self.details.production_weights,
            LifecycleStage::TestTrafficShift => &self.details.test_weights,
            LifecycleStage::ReconcileService
            | LifecycleStage::PreScaleUp
            | LifecycleStage::ScaleUp
            | LifecycleStage::PostScaleUp
            | LifecycleStage::PostTestTrafficShift
            | LifecycleStage::PreProductionTrafficShift
            | LifecycleStage::PostProductionTrafficShift
            | LifecycleStage::BakeTime
            | LifecycleStage::CleanUp
            | LifecycleStage::Other(_) => return false,
        };
        let target = weights.get(&self.details.target_revision);
        target.is_some_and(|weight| *weight == 0.0) && weights.values().any(|weight| *weight > 0.0)
    }
}

/// What a hook answers. An answer ECS does not understand, and a function error, roll the deployment back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HookReply {
    /// How it went.
    #[serde(rename = "hookStatus")]
    pub status: HookStatus,
    /// Seconds until ECS asks again, while in progress; 30 when absent.
    #[serde(rename = "callBackDelay", skip_serializing_if = "Option::is_none")]
    pub call_back_delay_secs: Option<u32>,
    /// To be given back at the next call.
    #[serde(rename = "hookDetails", skip_serializing_if = "Option::is_none")]
    pub hook_details: Option<Value>,
}

/// How a hook went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookStatus {
    /// Go on.
    Succeeded,
    /// Roll back.
    Failed,
    /// Ask again.
    InProgress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_is_spelt_as_ecs_wants_it() {
        let reply = HookReply {
            status: HookStatus::InProgress,
            call_back_delay_secs: Some(60),
            hook_details: Some(serde_json::json!({"approvalChecked": true})),
        };
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"hookStatus":"IN_PROGRESS","callBackDelay":60,"hookDetails":{"approvalChecked":true}}"#
        );
        let done =
            HookReply { status: HookStatus::Succeeded, call_back_delay_secs: None, hook_details: None };
        assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"hookStatus":"SUCCEEDED"}"#);
    }
}
