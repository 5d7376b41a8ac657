//! PURE: from the actions of a rule or listener to the weights it forwards with.

use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{RuleArn, TargetGroupArn};
use tidegate_core::vocab::elb::RuleSeen;

use crate::Described;

/// A target group that is named without a weight gets everything.
const ONLY: i32 = 1;

/// The weights. A rule that does not forward (a redirect, a fixed response) sends nothing anywhere: it has none.
pub(crate) fn seen(rule: &RuleArn, described: &Described) -> Result<RuleSeen, PortError> {
    let Described { actions, is_default } = described;
    let is_default = *is_default;
    let forward = actions.iter().find(|action| action.r#type == Some(ActionTypeEnum::Forward));
    let groups = forward.map(groups).unwrap_or_default();
    let weights = groups.into_iter().map(|(arn, weight)| {
        let arn = TargetGroupArn::new(arn).map_err(|error| unexpected(rule, &error.to_string()))?;
        let weight = u32::try_from(weight).map_err(|error| unexpected(rule, &error.to_string()))?;
        Ok((arn, weight))
    });
    Ok(RuleSeen { arn: rule.clone(), weights: weights.collect::<Result<_, _>>()?, is_default })
}

/// AWS gives both forms when there is one target group; the longer one has the weight.
fn groups(forward: &Action) -> Vec<(String, i32)> {
    let config = forward.forward_config.as_ref().map(|config| config.target_groups()).unwrap_or_default();
    if config.is_empty() {
        return forward.target_group_arn.iter().map(|arn| (arn.clone(), ONLY)).collect();
    }
    let group = |arn: &str, weight: Option<i32>| (arn.to_owned(), weight.unwrap_or(ONLY));
    config.iter().map(|tuple| group(tuple.target_group_arn().unwrap_or_default(), tuple.weight)).collect()
}

fn unexpected(rule: &RuleArn, why: &str) -> PortError {
    let message = format!("{rule}: {why}");
    PortError::new(ErrorKind::Invalid, "elasticloadbalancing:DescribeRules", "UnexpectedAnswer", message)
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::builders::ActionBuilder;
    use aws_sdk_elasticloadbalancingv2::types::{ForwardActionConfig, TargetGroupTuple};

    use super::*;

    const BLUE: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/blue/1";
    const GREEN: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/green/2";

    fn forward(groups: &[(&str, Option<i32>)]) -> ActionBuilder {
        let tuple = |(arn, weight): &(&str, Option<i32>)| {
            TargetGroupTuple::builder().target_group_arn(*arn).set_weight(*weight).build()
        };
        let config = ForwardActionConfig::builder()
            .set_target_groups(Some(groups.iter().map(tuple).collect()))
            .build();
        Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config)
    }

    fn weights(actions: &[Action]) -> Vec<(String, u32)> {
        let rule = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/web/1/2/3";
        let described = Described { actions: actions.to_vec(), is_default: false };
        let seen = seen(&RuleArn::new(rule).unwrap(), &described).unwrap();
        seen.weights.iter().map(|(arn, weight)| (arn.short().to_owned(), *weight)).collect()
    }

    fn named(weights: &[(&str, u32)]) -> Vec<(String, u32)> {
        weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
    }

    #[test]
    fn the_weights_of_a_forward_action() {
        let action = forward(&[(BLUE, Some(100)), (GREEN, Some(0))]).build();
        assert_eq!(weights(&[action]), named(&[("blue", 100), ("green", 0)]));
    }

    #[test]
    fn the_forward_action_is_found_behind_an_authentication() {
        let first = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).build();
        let action = forward(&[(BLUE, Some(1)), (GREEN, Some(3))]).build();
        assert_eq!(weights(&[first, action]), named(&[("blue", 1), ("green", 3)]));
    }

    #[test]
    fn a_single_target_group_gets_everything_in_either_form() {
        let short = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(BLUE).build();
        assert_eq!(weights(&[short]), named(&[("blue", 1)]));
        let both = forward(&[(BLUE, Some(7))]).target_group_arn(BLUE).build();
        assert_eq!(weights(&[both]), named(&[("blue", 7)]));
        assert_eq!(weights(&[forward(&[(BLUE, None)]).build()]), named(&[("blue", 1)]));
    }

    #[test]
    fn what_does_not_forward_has_no_weights() {
        let redirect = Action::builder().r#type(ActionTypeEnum::Redirect).build();
        assert_eq!(weights(&[redirect]), named(&[]));
        let new = Action::builder().r#type("teleport".into()).build();
        assert_eq!(weights(&[new]), named(&[]));
        assert_eq!(weights(&[]), named(&[]));
    }
}
