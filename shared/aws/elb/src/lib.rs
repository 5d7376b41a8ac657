//! IO: the Elastic Load Balancing adapter, which reads weights and the health of targets, and sets weights. With the engine `native`
//! Amazon ECS moves the traffic, and what is read here is the proof that it did.

mod around;
mod change;
mod groups;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::Action;
use tidegate_aws::{SdkConfig, Targets, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{RuleArn, Target};
use tidegate_core::ports::Elb;
use tidegate_core::seen::Seen;
use tidegate_core::vocab::elb::{self, Effect, RuleSeen};

const DESCRIBE_RULES: &str = "elasticloadbalancing:DescribeRules";
const DESCRIBE_LISTENERS: &str = "elasticloadbalancing:DescribeListeners";

/// Elastic Load Balancing by way of the official SDK, one client for each region and role.
#[derive(Debug)]
pub struct ElbAdapter {
    clients: Targets<Client>,
}

impl ElbAdapter {
    /// With the home account's configuration.
    pub fn new(installation: SdkConfig) -> Self {
        Self { clients: Targets::new(installation, Client::new) }
    }
}

#[async_trait]
impl Elb for ElbAdapter {
    async fn observe(&self, place: &Target, needs: &elb::Needs) -> elb::Observation {
        let weights = Seen::ask(needs.rules.as_ref(), |rules| async move {
            let rules: Vec<RuleArn> = rules.iter().cloned().collect();
            self.rules(place, &rules).await
        });
        let health = Seen::ask(some(&needs.health), |groups| self.health(place, groups));
        let groups = Seen::ask(some(&needs.groups), |groups| self.groups(place, groups));
        let (weights, health, groups) = tokio::join!(weights, health, groups);
        elb::Observation { weights, health, groups }
    }

    async fn perform(&self, place: &Target, effect: &Effect) -> Result<(), PortError> {
        match effect {
            Effect::SetWeights { rule, weights, .. } => self.set_weights(place, rule, weights).await,
        }
    }
}

fn some<T>(asked: &BTreeSet<T>) -> Option<&BTreeSet<T>> {
    (!asked.is_empty()).then_some(asked)
}

impl ElbAdapter {
    /// The weights of these; one that is gone is an error. Nothing is asked where there is none.
    async fn rules(&self, target: &Target, rules: &[RuleArn]) -> Result<Vec<RuleSeen>, PortError> {
        let client = self.clients.client(target).await;
        let asked: BTreeSet<&RuleArn> = rules.iter().collect();
        let (listeners, in_listeners): (Vec<&RuleArn>, Vec<&RuleArn>) =
            asked.into_iter().partition(|rule| is_listener(rule));
        let mut actions = described(&client, Kind::Rule, &in_listeners).await?;
        actions.extend(described(&client, Kind::Listener, &listeners).await?);
        rules
            .iter()
            .map(|rule| match actions.get(rule.as_str()) {
                Some(actions) => weights::seen(rule, actions),
                None => Err(gone(rule)),
            })
            .collect()
    }
}

/// What carries the weights: a rule (Application Load Balancer) or a listener's default action (Network Load Balancer).
#[derive(Debug, Clone, Copy)]
enum Kind {
    Rule,
    Listener,
}

/// What a rule or a listener does with requests.
#[derive(Debug, Clone)]
struct Described {
    actions: Vec<Action>,
    /// Whether it is the default rule of its listener, named as a rule.
    is_default: bool,
}

/// By ARN.
type Actions = BTreeMap<String, Described>;

fn is_listener(rule: &RuleArn) -> bool {
    rule.as_str().contains(":listener/")
}

/// The actions of these. When one of several is gone AWS fails the whole call and does not say which, so each is asked for alone.
async fn described(client: &Client, kind: Kind, rules: &[&RuleArn]) -> Result<Actions, PortError> {
    if rules.is_empty() {
        return Ok(Actions::new());
    }
    let error = match describe(client, kind, rules).await {
        Ok(actions) => return Ok(actions),
        Err(error) => error,
    };
    match (error.kind, rules) {
        (ErrorKind::NotFound, [rule]) => Err(PortError { message: gone(rule).message, ..error }),
        (ErrorKind::NotFound, _) => {
            let mut actions = Actions::new();
            for rule in rules {
                match describe(client, kind, &[rule]).await {
                    Ok(one) => actions.extend(one),
                    Err(error) if error.kind == ErrorKind::NotFound => {
                        return Err(PortError { message: gone(rule).message, ..error });
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(actions)
        }
        (
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Conflict
            | ErrorKind::Denied
            | ErrorKind::Invalid,
            _,
        ) => Err(error),
    }
}

async fn describe(client: &Client, kind: Kind, rules: &[&RuleArn]) -> Result<Actions, PortError> {
    let arns: Vec<String> = rules.iter().map(|rule| rule.as_str().to_owned()).collect();
    match kind {
        Kind::Rule => {
            let call = client.describe_rules().set_rule_arns(Some(arns));
            let answer = call.send().await.map_err(|error| port_error(DESCRIBE_RULES, error))?;
            let rules = answer.rules.unwrap_or_default();
            Ok(rules
                .into_iter()
                .filter_map(|rule| {
                    let is_default = rule.is_default.unwrap_or(false);
                    let actions = rule.actions.unwrap_or_default();
                    Some((rule.rule_arn?, Described { actions, is_default }))
                })
                .collect())
        }
        Kind::Listener => {
            let call = client.describe_listeners().set_listener_arns(Some(arns));
            let answer = call.send().await.map_err(|error| port_error(DESCRIBE_LISTENERS, error))?;
            let listeners = answer.listeners.unwrap_or_default();
            Ok(listeners
                .into_iter()
                .filter_map(|listener| {
                    let actions = listener.default_actions.unwrap_or_default();
                    Some((listener.listener_arn?, Described { actions, is_default: false }))
                })
                .collect())
        }
    }
}

fn gone(rule: &RuleArn) -> PortError {
    let (operation, code) = if is_listener(rule) {
        (DESCRIBE_LISTENERS, "ListenerNotFound")
    } else {
        (DESCRIBE_RULES, "RuleNotFound")
    };
    PortError::new(ErrorKind::NotFound, operation, code, format!("{rule} does not exist"))
}

#[cfg(test)]
mod tests {
    use tidegate_core::ids::TargetGroupArn;
    use tidegate_replay::{Answer, Replay};
    use tidegate_testkit::names::target;

    use super::*;

    const RULE: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/web/1/2/3";
    const OTHER: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/web/1/2/4";
    const LISTENER: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/net/web/1/2";
    const BLUE: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/blue/1";
    const GREEN: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/green/2";

    fn rule(arn: &str) -> RuleArn {
        RuleArn::new(arn).unwrap()
    }

    fn forward() -> String {
        format!(
            "<member><Type>forward</Type><ForwardConfig><TargetGroups>\
             <member><TargetGroupArn>{BLUE}</TargetGroupArn><Weight>90</Weight></member>\
             <member><TargetGroupArn>{GREEN}</TargetGroupArn><Weight>10</Weight></member>\
             </TargetGroups></ForwardConfig></member>"
        )
    }

    fn rules_answer(arn: &str) -> Answer {
        rule_answer(arn, "<Priority>1</Priority>")
    }

    fn rule_answer(arn: &str, priority: &str) -> Answer {
        Answer::text(
            200,
            &format!(
                "<DescribeRulesResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
                 <DescribeRulesResult><Rules><member><RuleArn>{arn}</RuleArn>{priority}\
                 <Actions>{}</Actions></member></Rules></DescribeRulesResult></DescribeRulesResponse>",
                forward()
            ),
        )
    }

    fn error(status: u16, code: &str) -> Answer {
        Answer::text(
            status,
            &format!(
                "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><Error>\
                 <Type>Sender</Type><Code>{code}</Code><Message>One or more rules not found</Message></Error>\
                 <RequestId>R-1</RequestId></ErrorResponse>"
            ),
        )
    }

    async fn rules(replay: &Replay, arns: &[&str]) -> Result<Vec<RuleSeen>, PortError> {
        let arns: Vec<RuleArn> = arns.iter().map(|arn| rule(arn)).collect();
        ElbAdapter::new(replay.config()).rules(&target(), &arns).await
    }

    fn expected(arn: &str) -> RuleSeen {
        let group = |arn: &str| TargetGroupArn::new(arn).unwrap();
        RuleSeen { arn: rule(arn), weights: vec![(group(BLUE), 90), (group(GREEN), 10)], is_default: false }
    }

    #[tokio::test]
    async fn rules_and_listeners_are_each_asked_for_in_their_own_way() {
        let replay = Replay::new();
        replay.answer("DescribeRules", rules_answer(RULE)).answer(
            "DescribeListeners",
            Answer::text(
                200,
                &format!(
                    "<DescribeListenersResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
                     <DescribeListenersResult><Listeners><member><ListenerArn>{LISTENER}</ListenerArn>\
                     <Protocol>TCP</Protocol><DefaultActions>{}</DefaultActions></member></Listeners>\
                     </DescribeListenersResult></DescribeListenersResponse>",
                    forward()
                ),
            ),
        );
        let seen = rules(&replay, &[LISTENER, RULE]).await.unwrap();
        assert_eq!(seen, [expected(LISTENER), expected(RULE)], "in the order asked for");
        assert!(replay.calls("DescribeRules")[0].body.contains("RuleArns.member.1="));
        assert!(replay.calls("DescribeListeners")[0].body.contains("ListenerArns.member.1="));
    }

    const OF_AN_ALB: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/app/web/1/2";

    fn listeners_answer(operation: &str, arn: &str) -> Answer {
        let actions = format!(
            "<member><Type>authenticate-oidc</Type><Order>1</Order><AuthenticateOidcConfig>\
             <Issuer>https://login.example</Issuer><AuthorizationEndpoint>a</AuthorizationEndpoint>\
             <TokenEndpoint>t</TokenEndpoint><UserInfoEndpoint>u</UserInfoEndpoint><ClientId>shop</ClientId>\
             </AuthenticateOidcConfig></member>{}",
            forward().replace("<Type>forward</Type>", "<Type>forward</Type><Order>2</Order>")
        );
        Answer::text(
            200,
            &format!(
                "<{operation}Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
                 <{operation}Result><Listeners><member><ListenerArn>{arn}</ListenerArn>\
                 <Protocol>HTTPS</Protocol><DefaultActions>{actions}</DefaultActions></member></Listeners>\
                 </{operation}Result></{operation}Response>"
            ),
        )
    }

    #[tokio::test]
    async fn weights_of_a_default_action_are_set_at_the_listener_with_everything_else_as_it_was() {
        let replay = Replay::new();
        replay
            .answer("DescribeListeners", listeners_answer("DescribeListeners", OF_AN_ALB))
            .answer("ModifyListener", listeners_answer("ModifyListener", OF_AN_ALB));
        let adapter = ElbAdapter::new(replay.config());
        let group = |arn: &str| TargetGroupArn::new(arn).unwrap();
        let set = |weights: [u32; 2]| Effect::SetWeights {
            rule: rule(OF_AN_ALB),
            weights: vec![(group(BLUE), weights[0]), (group(GREEN), weights[1])],
            share: tidegate_core::policy::Percent::NONE,
        };
        // As they are already: nothing is sent.
        adapter.perform(&target(), &set([90, 10])).await.unwrap();
        assert_eq!(replay.operations(), ["DescribeListeners"]);
        adapter.perform(&target(), &set([50, 50])).await.unwrap();
        assert_eq!(replay.operations()[1..], ["DescribeListeners", "ModifyListener"]);
        let sent = &replay.calls("ModifyListener")[0].body;
        let has = |part: &str| assert!(sent.contains(part), "{part} is not in {sent}");
        has("DefaultActions.member.1.Type=authenticate-oidc");
        has("DefaultActions.member.1.AuthenticateOidcConfig.UseExistingClientSecret=true");
        has("DefaultActions.member.2.ForwardConfig.TargetGroups.member.2.Weight=50");
        for member in ["Port", "Protocol", "Certificates", "SslPolicy"] {
            assert!(!sent.contains(&format!("&{member}")), "{member} is the listener's own: {sent}");
        }
    }

    #[tokio::test]
    async fn the_default_rule_of_a_listener_is_known_as_such() {
        let replay = Replay::new();
        replay.answer(
            "DescribeRules",
            rule_answer(RULE, "<Priority>default</Priority><IsDefault>true</IsDefault>"),
        );
        let seen = rules(&replay, &[RULE]).await.unwrap();
        assert_eq!(seen, [RuleSeen { is_default: true, ..expected(RULE) }]);
    }

    #[tokio::test]
    async fn nothing_asked_is_no_call() {
        let replay = Replay::new();
        assert_eq!(rules(&replay, &[]).await.unwrap(), []);
        assert_eq!(replay.operations(), [] as [String; 0]);
    }

    #[tokio::test]
    async fn the_rule_that_is_gone_is_named() {
        let replay = Replay::new();
        replay
            .answer("DescribeRules", error(400, "RuleNotFound"))
            .answer("DescribeRules", rules_answer(RULE))
            .answer("DescribeRules", error(400, "RuleNotFound"));
        let error = rules(&replay, &[RULE, OTHER]).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::NotFound, "RuleNotFound"));
        assert_eq!(error.message, format!("{OTHER} does not exist"));
    }

    #[tokio::test]
    async fn a_rule_left_out_of_the_answer_is_gone() {
        let replay = Replay::new();
        replay.answer("DescribeRules", rules_answer(OTHER));
        let error = rules(&replay, &[RULE]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains(RULE));
    }

    #[tokio::test]
    async fn throttling_is_told_as_it_is() {
        let replay = Replay::new();
        replay.answer("DescribeRules", error(400, "Throttling"));
        let error = rules(&replay, &[RULE, OTHER]).await.unwrap_err();
        assert_eq!((error.kind, replay.operations().len()), (ErrorKind::Throttled, 1));
    }
}
