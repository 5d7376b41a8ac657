//! Target groups: how their targets are, and which load balancers they belong to.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{Target, TargetGroupArn};
use tidegate_core::vocab::elb::{GroupSeen, Health};

use crate::ElbAdapter;

impl ElbAdapter {
    /// How the targets of these are. A target group that is gone has none.
    pub(crate) async fn health(
        &self,
        place: &Target,
        groups: &BTreeSet<TargetGroupArn>,
    ) -> Result<BTreeMap<TargetGroupArn, Health>, PortError> {
        let client = self.clients.client(place).await;
        let mut seen = BTreeMap::new();
        for group in groups {
            if let Some(health) = health(&client, group).await? {
                seen.insert(group.clone(), health);
            }
        }
        Ok(seen)
    }

    /// These target groups; one that is gone is left out.
    pub(crate) async fn groups(
        &self,
        place: &Target,
        groups: &BTreeSet<TargetGroupArn>,
    ) -> Result<Vec<GroupSeen>, PortError> {
        let client = self.clients.client(place).await;
        let mut seen = Vec::new();
        for group in groups {
            let call = client.describe_target_groups().target_group_arns(group.as_str());
            match call
                .send()
                .await
                .map_err(|error| port_error("elasticloadbalancing:DescribeTargetGroups", error))
            {
                Ok(answer) => {
                    seen.extend(answer.target_groups.unwrap_or_default().into_iter().map(|found| GroupSeen {
                        arn: group.clone(),
                        load_balancers: found.load_balancer_arns.unwrap_or_default(),
                    }))
                }
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }
}

async fn health(client: &Client, group: &TargetGroupArn) -> Result<Option<Health>, PortError> {
    let call = client.describe_target_health().target_group_arn(group.as_str());
    let answer = match call.send().await {
        Ok(answer) => answer,
        Err(error) => {
            let error = port_error("elasticloadbalancing:DescribeTargetHealth", error);
            return if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) };
        }
    };
    let targets = answer.target_health_descriptions.unwrap_or_default();
    let is_healthy = |state: &TargetHealthStateEnum| *state == TargetHealthStateEnum::Healthy;
    let healthy = targets
        .iter()
        .filter(|target| {
            target.target_health.as_ref().and_then(|health| health.state.as_ref()).is_some_and(is_healthy)
        })
        .count();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Some(Health { healthy: count(healthy), registered: count(targets.len()) }))
}
