//! Setting weights. `ModifyRule` and `ModifyListener` replace the whole list of actions, so it is read first, and sent back complete: only
//! the target groups of the forward action are others. Conditions and transforms are not sent, and stay as they are.

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, ForwardActionConfig, TargetGroupTuple};
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{RuleArn, Target, TargetGroupArn};

use crate::{ElbAdapter, Kind, described, gone, is_listener, weights};

impl ElbAdapter {
    /// Ensures that a rule or listener forwards to exactly these target groups with these weights.
    pub(crate) async fn set_weights(
        &self,
        place: &Target,
        rule: &RuleArn,
        wanted: &[(TargetGroupArn, u32)],
    ) -> Result<(), PortError> {
        let client = self.clients.client(place).await;
        let kind = if is_listener(rule) { Kind::Listener } else { Kind::Rule };
        let described =
            described(&client, kind, &[rule]).await?.remove(rule.as_str()).ok_or_else(|| gone(rule))?;
        if weights::seen(rule, &described)?.weights == wanted {
            return Ok(());
        }
        let changed = changed(rule, described.actions, wanted)?;
        send(&client, kind, rule, changed).await
    }
}

/// The same actions with other weights.
fn changed(
    rule: &RuleArn,
    mut actions: Vec<Action>,
    wanted: &[(TargetGroupArn, u32)],
) -> Result<Vec<Action>, PortError> {
    let Some(forward) = actions.iter_mut().find(|action| action.r#type == Some(ActionTypeEnum::Forward))
    else {
        let message = format!("{rule} does not forward to target groups, so it has no weights to set");
        let operation = "elasticloadbalancing:ModifyRule";
        return Err(PortError::new(ErrorKind::Invalid, operation, "NoForwardAction", message));
    };
    let tuple = |(group, weight): &(TargetGroupArn, u32)| {
        let weight = i32::try_from(*weight).unwrap_or(i32::MAX);
        TargetGroupTuple::builder().target_group_arn(group.as_str()).weight(weight).build()
    };
    let stickiness =
        forward.forward_config.as_ref().and_then(|config| config.target_group_stickiness_config.clone());
    let config = ForwardActionConfig::builder()
        .set_target_groups(Some(wanted.iter().map(tuple).collect()))
        .set_target_group_stickiness_config(stickiness)
        .build();
    forward.forward_config = Some(config);
    // AWS gives both forms for a single target group, and refuses the short one beside several.
    forward.target_group_arn = None;
    for action in &mut actions {
        // The secret of a login is never told; it stays as it is when that is said.
        if let Some(mut login) = action.authenticate_oidc_config.take() {
            login.use_existing_client_secret = Some(true);
            login.client_secret = None;
            action.authenticate_oidc_config = Some(login);
        }
    }
    Ok(actions)
}

async fn send(client: &Client, kind: Kind, rule: &RuleArn, actions: Vec<Action>) -> Result<(), PortError> {
    match kind {
        Kind::Rule => {
            let call = client.modify_rule().rule_arn(rule.as_str()).set_actions(Some(actions));
            let sent = call.send().await;
            sent.map(|_| ()).map_err(|error| port_error("elasticloadbalancing:ModifyRule", error))
        }
        Kind::Listener => {
            let call =
                client.modify_listener().listener_arn(rule.as_str()).set_default_actions(Some(actions));
            let sent = call.send().await;
            sent.map(|_| ()).map_err(|error| port_error("elasticloadbalancing:ModifyListener", error))
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::{AuthenticateOidcActionConfig, TargetGroupStickinessConfig};

    use super::*;
    use crate::Described;

    const RULE: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/web/1/2/3";

    fn group(name: &str) -> TargetGroupArn {
        TargetGroupArn::new(format!(
            "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/{name}/1"
        ))
        .unwrap()
    }

    #[test]
    fn everything_but_the_weights_is_sent_as_it_was() {
        let login = AuthenticateOidcActionConfig::builder()
            .issuer("https://login.example")
            .authorization_endpoint("a")
            .token_endpoint("t")
            .user_info_endpoint("u")
            .client_id("shop")
            .build();
        let first = Action::builder()
            .r#type(ActionTypeEnum::AuthenticateOidc)
            .order(1)
            .authenticate_oidc_config(login)
            .build();
        let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(60).build();
        let config = ForwardActionConfig::builder()
            .target_groups(
                TargetGroupTuple::builder().target_group_arn(group("blue").as_str()).weight(1).build(),
            )
            .target_group_stickiness_config(sticky.clone())
            .build();
        let forward = Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .order(2)
            .target_group_arn(group("blue").as_str())
            .forward_config(config)
            .build();
        let rule = RuleArn::new(RULE).unwrap();
        let wanted = [(group("blue"), 90), (group("canary"), 10)];
        let changed = changed(&rule, vec![first, forward], &wanted).unwrap();
        let described = Described { actions: changed.clone(), is_default: false };
        assert_eq!(weights::seen(&rule, &described).unwrap().weights, wanted);
        assert_eq!((changed[0].order, changed[1].order), (Some(1), Some(2)));
        assert_eq!(changed[1].target_group_arn, None, "beside several it is refused");
        let login = changed[0].authenticate_oidc_config.as_ref().unwrap();
        assert_eq!(
            (login.use_existing_client_secret, login.client_id.as_deref()),
            (Some(true), Some("shop"))
        );
        let kept = changed[1].forward_config.as_ref().unwrap().target_group_stickiness_config.as_ref();
        assert_eq!(kept, Some(&sticky));
    }

    #[test]
    fn a_rule_that_does_not_forward_has_no_weights_to_set() {
        let redirect = Action::builder().r#type(ActionTypeEnum::Redirect).build();
        let rule = RuleArn::new(RULE).unwrap();
        let error = changed(&rule, vec![redirect], &[(group("blue"), 1)]).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, "NoForwardAction"));
    }
}
