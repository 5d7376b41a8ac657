//! What stands around a target group: its settings, and the rules or listeners that send it requests.

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Action, Listener, TargetGroup};
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{RuleArn, Target, TargetGroupArn};
use tidegate_core::ports::LoadBalancing;
use tidegate_core::vocab::elb::{HealthCheck, Surroundings};

use crate::{DESCRIBE_LISTENERS, DESCRIBE_RULES, ElbAdapter};

#[async_trait]
impl LoadBalancing for ElbAdapter {
    async fn around(
        &self,
        place: &Target,
        group: &TargetGroupArn,
    ) -> Result<Option<Surroundings>, PortError> {
        let client = self.clients.client(place).await;
        let Some(found) = described(&client, group).await? else { return Ok(None) };
        let load_balancer = found.load_balancer_arns.clone().unwrap_or_default().into_iter().next();
        let senders = match &load_balancer {
            Some(balancer) => senders(&client, balancer, group).await?,
            None => Vec::new(),
        };
        Ok(Some(Surroundings {
            group: group.clone(),
            protocol: found.protocol.as_ref().map_or("HTTP", |it| it.as_str()).to_owned(),
            port: found.port,
            vpc: found.vpc_id.clone(),
            target_type: found.target_type.as_ref().map_or("instance", |it| it.as_str()).to_owned(),
            health: HealthCheck {
                path: found.health_check_path.clone(),
                interval_secs: found.health_check_interval_seconds,
                timeout_secs: found.health_check_timeout_seconds,
                healthy_threshold: found.healthy_threshold_count,
                unhealthy_threshold: found.unhealthy_threshold_count,
            },
            load_balancer,
            senders,
        }))
    }
}

async fn described(client: &Client, group: &TargetGroupArn) -> Result<Option<TargetGroup>, PortError> {
    let answer = client.describe_target_groups().target_group_arns(group.as_str()).send().await;
    match answer.map_err(|error| port_error("elasticloadbalancing:DescribeTargetGroups", error)) {
        Ok(answer) => Ok(answer.target_groups.unwrap_or_default().into_iter().next()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn senders(client: &Client, balancer: &str, group: &TargetGroupArn) -> Result<Vec<RuleArn>, PortError> {
    let (mut senders, mut defaults) = (Vec::new(), Vec::new());
    for listener in listeners(client, balancer).await? {
        let Some(arn) = listener.listener_arn.clone() else { continue };
        if !arn.contains(":listener/app/") {
            let sends = listener.default_actions().iter().any(|action| names(action, group));
            senders.extend(RuleArn::new(arn).ok().filter(|_| sends));
            continue;
        }
        let call = client.describe_rules().listener_arn(&arn).into_paginator().items().send();
        let rules = call.collect::<Result<Vec<_>, _>>().await;
        for rule in rules.map_err(|error| port_error(DESCRIBE_RULES, error))? {
            let sends = rule.actions().iter().any(|action| names(action, group));
            let found = if rule.is_default == Some(true) { &mut defaults } else { &mut senders };
            found.extend(rule.rule_arn.and_then(|arn| RuleArn::new(arn).ok()).filter(|_| sends));
        }
    }
    Ok(if senders.is_empty() { defaults } else { senders })
}

async fn listeners(client: &Client, balancer: &str) -> Result<Vec<Listener>, PortError> {
    let call = client.describe_listeners().load_balancer_arn(balancer).into_paginator().items().send();
    let listeners = call.collect::<Result<Vec<_>, _>>().await;
    listeners.map_err(|error| port_error(DESCRIBE_LISTENERS, error))
}

/// Whether an action forwards to the target group, alone or among others.
fn names(action: &Action, group: &TargetGroupArn) -> bool {
    let alone = action.target_group_arn() == Some(group.as_str());
    let among = action.forward_config().map(|forward| forward.target_groups()).unwrap_or_default();
    alone || among.iter().any(|tuple| tuple.target_group_arn() == Some(group.as_str()))
}

#[cfg(test)]
mod tests {
    use tidegate_replay::{Answer, Replay};
    use tidegate_testkit::names::target;

    use super::*;

    const GROUP: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/blue/1";
    const BALANCER: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/app/web/1";

    fn answer(operation: &str, inside: &str) -> Answer {
        let text = format!(
            "<{operation}Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
             <{operation}Result>{inside}</{operation}Result></{operation}Response>"
        );
        Answer::text(200, &text)
    }

    #[tokio::test]
    async fn a_group_is_told_with_the_rules_that_name_it_and_no_others() {
        let rule = |number: u32, group: &str| {
            format!(
                "<member><RuleArn>arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/web/1/2/{number}</RuleArn>\
                 <Priority>{number}</Priority><Actions><member><Type>forward</Type><TargetGroupArn>{group}</TargetGroupArn></member></Actions></member>"
            )
        };
        let groups = format!(
            "<TargetGroups><member><TargetGroupArn>{GROUP}</TargetGroupArn><Protocol>HTTP</Protocol><Port>80</Port><VpcId>vpc-1</VpcId>\
             <TargetType>ip</TargetType><HealthCheckPath>/health</HealthCheckPath><LoadBalancerArns><member>{BALANCER}</member></LoadBalancerArns></member></TargetGroups>"
        );
        let listener = "<Listeners><member><ListenerArn>arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/app/web/1/2</ListenerArn></member></Listeners>";
        let default = rule(5, GROUP).replace("<Priority>", "<IsDefault>true</IsDefault><Priority>");
        let rules = format!("<Rules>{}{}{default}</Rules>", rule(3, GROUP), rule(4, "arn:other"));
        let replay = Replay::new();
        replay
            .answer("DescribeTargetGroups", answer("DescribeTargetGroups", &groups))
            .answer("DescribeListeners", answer("DescribeListeners", listener))
            .answer("DescribeRules", answer("DescribeRules", &rules));
        let adapter = ElbAdapter::new(replay.config());
        let group = TargetGroupArn::new(GROUP).unwrap();
        let seen = adapter.around(&target(), &group).await.unwrap().unwrap();
        assert_eq!((seen.port, seen.health.path.as_deref()), (Some(80), Some("/health")));
        assert_eq!((seen.vpc.as_deref(), seen.target_type.as_str()), (Some("vpc-1"), "ip"));
        let senders: Vec<&str> = seen.senders.iter().map(RuleArn::as_str).collect();
        assert_eq!(senders.len(), 1);
        assert!(senders[0].ends_with("/3"), "{senders:?}");
    }
}
