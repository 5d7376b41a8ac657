//! IO: the Application Auto Scaling adapter, which sees what scales a service and holds it while a release shares its traffic out.

use async_trait::async_trait;
use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace, SuspendedState};
use tidegate_aws::{SdkConfig, Targets, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::Target;
use tidegate_core::ports::AutoScaling;
use tidegate_core::seen::Seen;
use tidegate_core::vocab::autoscaling::{Effect, Needs, Observation, ScalableTarget, Suspended};

const DESCRIBE: &str = "application-autoscaling:DescribeScalableTargets";
const REGISTER: &str = "application-autoscaling:RegisterScalableTarget";

/// Application Auto Scaling by way of the official SDK, one client for each region and role.
#[derive(Debug)]
pub struct AutoScalingAdapter {
    clients: Targets<Client>,
}

impl AutoScalingAdapter {
    /// With the home account's configuration.
    pub fn new(installation: SdkConfig) -> Self {
        Self { clients: Targets::new(installation, Client::new) }
    }

    async fn target(&self, place: &Target) -> Result<Option<ScalableTarget>, PortError> {
        let client = self.clients.client(place).await;
        let call = client
            .describe_scalable_targets()
            .service_namespace(ServiceNamespace::Ecs)
            .resource_ids(resource(place, DESCRIBE)?)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let answer = call.send().await.map_err(|error| port_error(DESCRIBE, error))?;
        let found = answer.scalable_targets.unwrap_or_default().into_iter().next();
        Ok(found.map(|found| ScalableTarget { suspended: seen(found.suspended_state.as_ref()) }))
    }

    /// Only what is suspended is said: bounds that are left out stay as they are.
    async fn suspend(&self, place: &Target, suspended: Suspended) -> Result<(), PortError> {
        let client = self.clients.client(place).await;
        let state = SuspendedState::builder()
            .dynamic_scaling_in_suspended(suspended.scale_in)
            .dynamic_scaling_out_suspended(suspended.scale_out)
            .scheduled_scaling_suspended(suspended.scheduled)
            .build();
        let call = client
            .register_scalable_target()
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(resource(place, REGISTER)?)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .suspended_state(state);
        let sent = call.send().await;
        sent.map(|_| ()).map_err(|error| port_error(REGISTER, error))
    }
}

/// What is scaled, as Application Auto Scaling names it. Only an ECS service is ever asked about here.
fn resource(place: &Target, operation: &str) -> Result<String, PortError> {
    let at = place.ecs().ok_or_else(|| {
        PortError::new(ErrorKind::Invalid, operation, "NoEcsService", format!("{place} is no ECS service"))
    })?;
    Ok(format!("service/{}/{}", at.cluster, at.service))
}

fn seen(state: Option<&SuspendedState>) -> Suspended {
    let state = state.cloned().unwrap_or_else(|| SuspendedState::builder().build());
    Suspended {
        scale_in: state.dynamic_scaling_in_suspended.unwrap_or(false),
        scale_out: state.dynamic_scaling_out_suspended.unwrap_or(false),
        scheduled: state.scheduled_scaling_suspended.unwrap_or(false),
    }
}

#[async_trait]
impl AutoScaling for AutoScalingAdapter {
    async fn observe(&self, place: &Target, needs: &Needs) -> Observation {
        Observation { target: Seen::ask(needs.target.then_some(()), |()| self.target(place)).await }
    }

    async fn perform(&self, place: &Target, effect: &Effect) -> Result<(), PortError> {
        match effect {
            Effect::Suspend { suspended } => self.suspend(place, *suspended).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_replay::Replay;
    use tidegate_testkit::names::target;

    use super::*;

    #[tokio::test]
    async fn what_is_suspended_is_read_and_only_that_is_written() {
        let replay = Replay::new();
        let state = json!({ "DynamicScalingInSuspended": false, "DynamicScalingOutSuspended": true });
        replay
            .json("DescribeScalableTargets", json!({ "ScalableTargets": [{ "SuspendedState": state }] }))
            .json("RegisterScalableTarget", json!({}));
        let adapter = AutoScalingAdapter::new(replay.config());
        let seen = adapter.observe(&target(), &Needs { target: true }).await;
        let before = Suspended { scale_in: false, scale_out: true, scheduled: false };
        assert_eq!(seen.target.known(), Some(&Some(ScalableTarget { suspended: before })));
        let effect = Effect::Suspend { suspended: before.holding_scale_in() };
        adapter.perform(&target(), &effect).await.unwrap();
        let sent = &replay.calls("RegisterScalableTarget")[0].body;
        let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
        assert_eq!(sent["ResourceId"], "service/prod/checkout");
        let expected = json!({
            "DynamicScalingInSuspended": true, "DynamicScalingOutSuspended": true, "ScheduledScalingSuspended": false
        });
        assert_eq!(sent["SuspendedState"], expected);
        assert!(sent.get("MinCapacity").is_none() && sent.get("MaxCapacity").is_none(), "{sent}");
    }

    #[tokio::test]
    async fn a_service_that_nothing_scales_has_no_scalable_target() {
        let replay = Replay::new();
        replay.json("DescribeScalableTargets", json!({ "ScalableTargets": [] }));
        let seen = AutoScalingAdapter::new(replay.config()).observe(&target(), &Needs { target: true }).await;
        assert_eq!(seen.target.known(), Some(&None));
    }
}
