//! The operations of the control plane, with the checks and error codes of AWS.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::model::{HealthCheck, Listener, LoadBalancer, Model, Rule, TargetGroup, health_name};
use super::{Inner, actions, lock};
use crate::ports::{AwsError, TargetHealth};

type Answer = Result<Value, AwsError>;

pub(super) fn no_target_group() -> AwsError {
    AwsError::new("TargetGroupNotFound", "One or more target groups not found")
}

/// The error for an unknown rule or listener, by the kind of the ARN.
pub(super) fn no_rule(arn: &str) -> AwsError {
    if arn.contains(":listener/") {
        no_listener()
    } else {
        AwsError::new("RuleNotFound", "One or more rules not found")
    }
}

fn no_listener() -> AwsError {
    AwsError::new("ListenerNotFound", "One or more listeners not found")
}

fn no_load_balancer() -> AwsError {
    AwsError::new("LoadBalancerNotFound", "One or more load balancers not found")
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", message)
}

fn bad_configuration(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidConfigurationRequest", message)
}

fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, AwsError> {
    input[member].as_str().ok_or_else(|| invalid(format!("'{member}' must be specified")))
}

fn strings(input: &Value, member: &str) -> Vec<String> {
    let items = input[member].as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn list(input: &Value, member: &str) -> Vec<Value> {
    input[member].as_array().cloned().unwrap_or_default()
}

fn id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn pairs(input: &Value, member: &str) -> BTreeMap<String, String> {
    let items = input[member].as_array().into_iter().flatten();
    items
        .filter_map(|item| {
            Some((item["Key"].as_str()?.to_owned(), item["Value"].as_str().unwrap_or_default().to_owned()))
        })
        .collect()
}

fn described_pairs(pairs: &BTreeMap<String, String>) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

impl Inner {
    pub(super) async fn answer(self: &Arc<Self>, operation: &str, input: &Value) -> Answer {
        match operation {
            "CreateListener" => self.create_listener(input).await,
            "CreateLoadBalancer" => self.create_load_balancer(input),
            "CreateTargetGroup" => self.create_target_group(input),
            "CreateRule" => self.create_rule(input),
            "DescribeLoadBalancers" => self.describe_load_balancers(input),
            "DescribeListeners" => self.describe_listeners(input),
            "DescribeRules" => self.describe_rules(input),
            "DescribeTargetGroups" => self.describe_target_groups(input),
            "DescribeTargetHealth" => self.describe_target_health(input),
            "DescribeTargetGroupAttributes" => self.target_group_attributes(input),
            "ModifyTargetGroupAttributes" => self.modify_target_group_attributes(input),
            "DescribeLoadBalancerAttributes" => self.load_balancer_attributes(input),
            "ModifyLoadBalancerAttributes" => self.modify_load_balancer_attributes(input),
            "ModifyTargetGroup" => self.modify_target_group(input),
            "ModifyListener" => self.modify_listener(input),
            "ModifyRule" => self.modify_rule(input),
            "SetRulePriorities" => self.set_rule_priorities(input),
            "RegisterTargets" => self.register_targets(input),
            "DeregisterTargets" => self.deregister_targets(input),
            "DescribeTags" => self.describe_tags(input),
            "AddTags" => self.add_tags(input),
            "RemoveTags" => self.remove_tags(input),
            "DeleteRule" => self.delete_rule(input),
            "DeleteListener" => self.delete_listener(input),
            "DeleteLoadBalancer" => self.delete_load_balancer(input),
            "DeleteTargetGroup" => self.delete_target_group(input),
            _ => Err(AwsError::new("InvalidAction", format!("the sandbox does not answer {operation}"))),
        }
    }

    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:elasticloadbalancing:{}:{}:{resource}", self.options.region, self.options.account)
    }

    fn tag(model: &mut Model, arn: &str, input: &Value) {
        model.tags.insert(arn.to_owned(), pairs(input, "Tags"));
    }

    fn create_load_balancer(&self, input: &Value) -> Answer {
        let name = required(input, "Name")?;
        let kind = input["Type"].as_str().unwrap_or("application");
        let mut model = self.model();
        if let Some(same) = model.load_balancers.iter().find(|lb| lb.name == name) {
            if same.kind == kind {
                return Ok(json!({"LoadBalancers": [same.describe()]}));
            }
            let message =
                format!("A load balancer with the same name '{name}' exists, but with different settings");
            return Err(AwsError::new("DuplicateLoadBalancerName", message));
        }
        let short = match kind {
            "application" => "app",
            "network" => "net",
            other => return Err(invalid(format!("'{other}' is not a load balancer type of the sandbox"))),
        };
        let subnets = strings(input, "Subnets");
        let load_balancer = LoadBalancer {
            arn: self.arn(&format!("loadbalancer/{short}/{name}/{}", id())),
            name: name.to_owned(),
            kind: kind.to_owned(),
            scheme: input["Scheme"].as_str().unwrap_or("internet-facing").to_owned(),
            created: Timestamp::now(),
            attributes: BTreeMap::from([("idle_timeout.timeout_seconds".to_owned(), "60".to_owned())]),
            subnets,
            security_groups: strings(input, "SecurityGroups"),
        };
        let described = load_balancer.describe();
        Self::tag(&mut model, &load_balancer.arn, input);
        model.load_balancers.push(load_balancer);
        Ok(json!({"LoadBalancers": [described]}))
    }

    fn create_target_group(&self, input: &Value) -> Answer {
        let name = required(input, "Name")?;
        let mut model = self.model();
        if model.target_groups.iter().any(|group| group.name == name) {
            let message =
                format!("A target group with the same name '{name}' exists, but with different settings");
            return Err(AwsError::new("DuplicateTargetGroupName", message));
        }
        let protocol = input["Protocol"].as_str().unwrap_or("HTTP");
        let http = protocol.starts_with("HTTP");
        let base = HealthCheck {
            protocol: if http { "HTTP" } else { "TCP" }.to_owned(),
            port: "traffic-port".to_owned(),
            path: "/".to_owned(),
            interval_secs: 30,
            timeout_secs: if http { 5 } else { 10 },
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: "200".to_owned(),
        };
        let group = TargetGroup {
            arn: self.arn(&format!("targetgroup/{name}/{}", id())),
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            port: u16::try_from(input["Port"].as_u64().unwrap_or(80))
                .map_err(|_| invalid("'Port' must be 1-65535"))?,
            target_type: input["TargetType"].as_str().unwrap_or("instance").to_owned(),
            vpc_id: input["VpcId"].as_str().unwrap_or("vpc-00000000").to_owned(),
            check: health_check(base, input)?,
            attributes: BTreeMap::from(
                [
                    ("deregistration_delay.timeout_seconds", "300"),
                    ("load_balancing.algorithm.type", "round_robin"),
                    ("slow_start.duration_seconds", "0"),
                    ("stickiness.enabled", "false"),
                    ("stickiness.type", "lb_cookie"),
                    ("stickiness.lb_cookie.duration_seconds", "86400"),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
            ),
            targets: Vec::new(),
            turn: 0,
        };
        let described = group.describe(&[]);
        Self::tag(&mut model, &group.arn, input);
        model.target_groups.push(group);
        Ok(json!({"TargetGroups": [described]}))
    }

    async fn create_listener(self: &Arc<Self>, input: &Value) -> Answer {
        let load_balancer_arn = required(input, "LoadBalancerArn")?;
        let port = u16::try_from(input["Port"].as_u64().unwrap_or(0))
            .map_err(|_| invalid("'Port' must be 1-65535"))?;
        let (arn, dimension, actions) = {
            let model = self.model();
            let lb = model.load_balancer(load_balancer_arn).ok_or_else(no_load_balancer)?;
            let actions = actions::accept(&model, load_balancer_arn, &[], list(input, "DefaultActions"))?;
            if port != 0
                && model.listeners.iter().any(|l| l.load_balancer_arn == load_balancer_arn && l.port == port)
            {
                return Err(AwsError::new(
                    "DuplicateListener",
                    "A listener already exists on this port for this load balancer",
                ));
            }
            (
                format!("{}/{}", load_balancer_arn.replace(":loadbalancer/", ":listener/"), id()),
                lb.dimension(),
                actions,
            )
        };
        let socket = bind(port).await?;
        let bound = socket.local_addr().map_err(|error| bad_configuration(error.to_string()))?;
        let described = {
            let mut model = self.model();
            let kind = model.load_balancer(load_balancer_arn).map_or("application", |lb| lb.kind.as_str());
            let default_protocol = if kind == "network" { "TCP" } else { "HTTP" };
            let listener = Listener {
                arn: arn.clone(),
                load_balancer_arn: load_balancer_arn.to_owned(),
                protocol: input["Protocol"].as_str().unwrap_or(default_protocol).to_owned(),
                port,
                bound,
            };
            let described = listener.describe(&actions);
            let rule_arn = format!("{}/{}", arn.replace(":listener/", ":listener-rule/"), id());
            model.rules.push(Rule {
                arn: rule_arn,
                listener_arn: arn.clone(),
                priority: None,
                conditions: Vec::new(),
                transforms: Vec::new(),
                created_with: actions.clone(),
                actions,
            });
            Self::tag(&mut model, &arn, input);
            model.listeners.push(listener);
            described
        };
        self.serve(&arn, dimension, socket);
        Ok(json!({"Listeners": [described]}))
    }

    fn create_rule(&self, input: &Value) -> Answer {
        let listener_arn = required(input, "ListenerArn")?;
        let described = {
            let mut model = self.model();
            let listener = model.listener(listener_arn).ok_or_else(no_listener)?;
            if listener.arn.contains(":listener/net/") {
                return Err(AwsError::new(
                    "UnsupportedProtocol",
                    "Rules are not supported for this listener protocol",
                ));
            }
            let priority = priority(&input["Priority"])?;
            if model
                .rules
                .iter()
                .any(|rule| rule.listener_arn == listener_arn && rule.priority == Some(priority))
            {
                return Err(AwsError::new(
                    "PriorityInUse",
                    format!("Priority '{priority}' is currently in use"),
                ));
            }
            let actions = actions::accept(&model, &listener.load_balancer_arn, &[], list(input, "Actions"))?;
            let rule = Rule {
                arn: format!("{}/{}", listener_arn.replace(":listener/", ":listener-rule/"), id()),
                listener_arn: listener_arn.to_owned(),
                priority: Some(priority),
                conditions: conditions(input)?,
                transforms: list(input, "Transforms"),
                created_with: actions.clone(),
                actions,
            };
            let described = rule.describe();
            Self::tag(&mut model, &rule.arn, input);
            model.rules.push(rule);
            described
        };
        self.publish(listener_arn);
        Ok(json!({"Rules": [described]}))
    }

    fn describe_load_balancers(&self, input: &Value) -> Answer {
        let (arns, names) = (strings(input, "LoadBalancerArns"), strings(input, "Names"));
        let model = self.model();
        let found: Vec<Value> = (model.load_balancers.iter())
            .filter(|lb| {
                (arns.is_empty() || arns.contains(&lb.arn)) && (names.is_empty() || names.contains(&lb.name))
            })
            .map(LoadBalancer::describe)
            .collect();
        if found.len() < arns.len().max(names.len()) {
            return Err(no_load_balancer());
        }
        Ok(json!({"LoadBalancers": found}))
    }

    fn describe_listeners(&self, input: &Value) -> Answer {
        let arns = strings(input, "ListenerArns");
        let model = self.model();
        let of = input["LoadBalancerArn"].as_str();
        if of.is_some_and(|arn| model.load_balancer(arn).is_none()) {
            return Err(no_load_balancer());
        }
        if of.is_none() && arns.is_empty() {
            return Err(invalid("You must specify either listener ARNs or a load balancer ARN"));
        }
        let rules = self.seen_rules(&model);
        let found: Vec<Value> = (model.listeners.iter())
            .filter(|l| of.map_or_else(|| arns.contains(&l.arn), |lb| l.load_balancer_arn == lb))
            .map(|l| {
                let default = rules.iter().find(|rule| rule.priority.is_none() && rule.listener_arn == l.arn);
                l.describe(default.map_or(&[], |rule| &rule.actions))
            })
            .collect();
        if found.len() < arns.len() {
            return Err(no_listener());
        }
        Ok(json!({"Listeners": found}))
    }

    fn describe_rules(&self, input: &Value) -> Answer {
        let arns = strings(input, "RuleArns");
        let model = self.model();
        let of = input["ListenerArn"].as_str();
        if of.is_some_and(|arn| model.listener(arn).is_none()) {
            return Err(no_listener());
        }
        if of.is_none() == arns.is_empty() {
            return Err(invalid("You must specify either listener rule ARNs or a listener ARN"));
        }
        let seen = self.seen_rules(&model);
        let mut rules: Vec<&Rule> = (seen.iter())
            .filter(|rule| {
                of.map_or_else(|| arns.contains(&rule.arn), |listener| rule.listener_arn == listener)
            })
            .collect();
        if rules.len() < arns.len() {
            return Err(AwsError::new("RuleNotFound", "One or more rules not found"));
        }
        rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
        Ok(json!({"Rules": rules.into_iter().map(Rule::describe).collect::<Vec<_>>()}))
    }

    fn describe_target_groups(&self, input: &Value) -> Answer {
        let (arns, names) = (strings(input, "TargetGroupArns"), strings(input, "Names"));
        let model = self.model();
        let of = input["LoadBalancerArn"].as_str();
        if of.is_some_and(|arn| model.load_balancer(arn).is_none()) {
            return Err(no_load_balancer());
        }
        let mut found = Vec::new();
        for group in &model.target_groups {
            let users = model.users_of(&group.arn);
            let wanted = (arns.is_empty() || arns.contains(&group.arn))
                && (names.is_empty() || names.contains(&group.name))
                && of.is_none_or(|lb| users.iter().any(|user| user == lb));
            if wanted {
                found.push(group.describe(&users));
            }
        }
        if found.len() < arns.len().max(names.len()) {
            return Err(no_target_group());
        }
        Ok(json!({"TargetGroups": found}))
    }

    fn describe_target_health(&self, input: &Value) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let model = self.model();
        let group = model.target_group(arn).ok_or_else(no_target_group)?;
        let unused = model.users_of(arn).is_empty();
        let describe = |address: SocketAddr, health: TargetHealth, reason: Option<(&str, &str)>| {
            json!({
                "Target": {"Id": address.ip().to_string(), "Port": address.port(), "AvailabilityZone": "all"},
                "HealthCheckPort": address.port().to_string(),
                "TargetHealth": {
                    "State": health_name(health),
                    "Reason": reason.map(|(code, _)| code),
                    "Description": reason.map(|(_, text)| text),
                },
            })
        };
        let not_in_use =
            ("Target.NotInUse", "Target group is not configured to receive traffic from the load balancer");
        let mut found: Vec<Value> = Vec::new();
        for address in addresses(group, &list(input, "Targets"))? {
            found.push(match group.target(address) {
                Some(_) if unused => describe(address, TargetHealth::Unused, Some(not_in_use)),
                Some(target) => describe(
                    address,
                    target.health,
                    target.reason.as_ref().map(|(code, text)| (*code, text.as_str())),
                ),
                None => describe(
                    address,
                    TargetHealth::Unused,
                    Some(("Target.NotRegistered", "Target is not registered to the target group")),
                ),
            });
        }
        Ok(json!({"TargetHealthDescriptions": found}))
    }

    fn target_group_attributes(&self, input: &Value) -> Answer {
        let model = self.model();
        let group = model.target_group(required(input, "TargetGroupArn")?).ok_or_else(no_target_group)?;
        Ok(json!({"Attributes": described_pairs(&group.attributes)}))
    }

    fn modify_target_group_attributes(&self, input: &Value) -> Answer {
        let mut model = self.model();
        let group = model.target_group_mut(required(input, "TargetGroupArn")?).ok_or_else(no_target_group)?;
        group.attributes.extend(pairs(input, "Attributes"));
        Ok(json!({"Attributes": described_pairs(&group.attributes)}))
    }

    fn load_balancer_attributes(&self, input: &Value) -> Answer {
        let model = self.model();
        let lb = model.load_balancer(required(input, "LoadBalancerArn")?).ok_or_else(no_load_balancer)?;
        Ok(json!({"Attributes": described_pairs(&lb.attributes)}))
    }

    fn modify_load_balancer_attributes(&self, input: &Value) -> Answer {
        let arn = required(input, "LoadBalancerArn")?;
        let mut model = self.model();
        let lb = model.load_balancers.iter_mut().find(|lb| lb.arn == arn).ok_or_else(no_load_balancer)?;
        lb.attributes.extend(pairs(input, "Attributes"));
        Ok(json!({"Attributes": described_pairs(&lb.attributes)}))
    }

    fn modify_target_group(&self, input: &Value) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let mut model = self.model();
        let users = model.users_of(arn);
        let group = model.target_group_mut(arn).ok_or_else(no_target_group)?;
        group.check = health_check(group.check.clone(), input)?;
        Ok(json!({"TargetGroups": [group.describe(&users)]}))
    }

    fn modify_listener(&self, input: &Value) -> Answer {
        let arn = required(input, "ListenerArn")?;
        let described = {
            let mut model = self.model();
            let listener = model.listener(arn).ok_or_else(no_listener)?.clone();
            if let Some(port) = input["Port"].as_u64()
                && port != u64::from(listener.bound.port())
                && port != u64::from(listener.port)
            {
                return Err(bad_configuration("the sandbox cannot move a listener to another port"));
            }
            let index = model.rule_index(arn).ok_or_else(no_listener)?;
            if input["DefaultActions"].is_array() {
                replace_actions(&mut model, index, list(input, "DefaultActions"))?;
            }
            listener.describe(&model.rules[index].actions)
        };
        self.publish(arn);
        Ok(json!({"Listeners": [described]}))
    }

    fn modify_rule(&self, input: &Value) -> Answer {
        let arn = required(input, "RuleArn")?;
        let (described, listener_arn) = {
            let mut model = self.model();
            let position = model.rules.iter().position(|rule| rule.arn == arn);
            let index =
                position.ok_or_else(|| AwsError::new("RuleNotFound", "One or more rules not found"))?;
            if model.rules[index].priority.is_none() {
                let message = format!("Default rule '{arn}' cannot be modified");
                return Err(AwsError::new("OperationNotPermitted", message));
            }
            let given = |member: &str| input[member].is_array();
            let reset = input["ResetTransforms"] == true;
            if !reset && !["Actions", "Conditions", "Transforms"].into_iter().any(given) {
                return Err(invalid("You must specify actions, conditions or transforms to modify"));
            }
            if reset && given("Transforms") {
                return Err(invalid("You cannot specify both Transforms and ResetTransforms"));
            }
            // What is checked last must not leave behind what was checked before it.
            let conditions =
                if given("Conditions") { conditions(input)? } else { model.rules[index].conditions.clone() };
            if given("Actions") {
                replace_actions(&mut model, index, list(input, "Actions"))?;
            }
            model.rules[index].conditions = conditions;
            if reset || given("Transforms") {
                model.rules[index].transforms = list(input, "Transforms");
            }
            (model.rules[index].describe(), model.rules[index].listener_arn.clone())
        };
        self.publish(&listener_arn);
        Ok(json!({"Rules": [described]}))
    }

    /// Sets weights and keeps the rest of the rule: other actions, stickiness, members this module does not know.
    pub(super) fn set_weights(
        &self,
        rule_or_listener_arn: &str,
        weights: &[(String, u32)],
    ) -> Result<(), AwsError> {
        let listener_arn = {
            let mut model = self.model();
            let index =
                model.rule_index(rule_or_listener_arn).ok_or_else(|| no_rule(rule_or_listener_arn))?;
            let mut actions = model.rules[index].actions.clone();
            let action = actions.iter_mut().find(|action| action["Type"] == "forward");
            let action =
                action.ok_or_else(|| bad_configuration("The rule does not forward to target groups"))?;
            let groups: Vec<Value> = (weights.iter())
                .map(|(arn, weight)| json!({"TargetGroupArn": arn, "Weight": weight}))
                .collect();
            action["TargetGroupArn"] = Value::Null;
            action["ForwardConfig"]["TargetGroups"] = Value::Array(groups);
            replace_actions(&mut model, index, actions)?;
            model.rules[index].listener_arn.clone()
        };
        self.publish(&listener_arn);
        Ok(())
    }

    /// Gives a rule the actions it was created with.
    pub(super) fn reset(&self, rule_or_listener_arn: &str) -> Result<(), AwsError> {
        let listener_arn = {
            let mut model = self.model();
            let index =
                model.rule_index(rule_or_listener_arn).ok_or_else(|| no_rule(rule_or_listener_arn))?;
            let created_with = model.rules[index].created_with.clone();
            replace_actions(&mut model, index, created_with)?;
            model.rules[index].listener_arn.clone()
        };
        self.publish(&listener_arn);
        Ok(())
    }

    fn set_rule_priorities(&self, input: &Value) -> Answer {
        let mut changed = HashSet::new();
        let mut described = Vec::new();
        {
            let mut model = self.model();
            for pair in list(input, "RulePriorities") {
                let arn = required(&pair, "RuleArn")?;
                let priority = priority(&pair["Priority"])?;
                let rule = model.rules.iter_mut().find(|rule| rule.arn == arn).ok_or_else(|| no_rule(arn))?;
                if rule.priority.is_none() {
                    return Err(AwsError::new(
                        "OperationNotPermitted",
                        "The default rule has no priority to set",
                    ));
                }
                rule.priority = Some(priority);
                described.push(rule.describe());
                changed.insert(rule.listener_arn.clone());
            }
        }
        for listener_arn in changed {
            self.publish(&listener_arn);
        }
        Ok(json!({"Rules": described}))
    }

    fn targets_of(&self, input: &Value) -> Result<(String, Vec<SocketAddr>), AwsError> {
        let arn = required(input, "TargetGroupArn")?;
        let model = self.model();
        let group = model.target_group(arn).ok_or_else(no_target_group)?;
        let targets = list(input, "Targets");
        if targets.is_empty() {
            return Err(invalid("At least one target must be specified"));
        }
        Ok((arn.to_owned(), addresses(group, &targets)?))
    }

    fn register_targets(self: &Arc<Self>, input: &Value) -> Answer {
        let (arn, targets) = self.targets_of(input)?;
        targets.into_iter().try_for_each(|target| self.register(&arn, target))?;
        Ok(json!({}))
    }

    fn deregister_targets(&self, input: &Value) -> Answer {
        let (arn, targets) = self.targets_of(input)?;
        targets.into_iter().try_for_each(|target| self.deregister(&arn, target))?;
        Ok(json!({}))
    }

    fn describe_tags(&self, input: &Value) -> Answer {
        let model = self.model();
        let mut found = Vec::new();
        for arn in strings(input, "ResourceArns") {
            let tags = model.tags.get(&arn).ok_or_else(|| not_found(&arn))?;
            found.push(json!({"ResourceArn": arn, "Tags": described_pairs(tags)}));
        }
        Ok(json!({"TagDescriptions": found}))
    }

    fn add_tags(&self, input: &Value) -> Answer {
        let mut model = self.model();
        for arn in strings(input, "ResourceArns") {
            let tags = model.tags.get_mut(&arn).ok_or_else(|| not_found(&arn))?;
            tags.extend(pairs(input, "Tags"));
        }
        Ok(json!({}))
    }

    fn remove_tags(&self, input: &Value) -> Answer {
        let keys = strings(input, "TagKeys");
        let mut model = self.model();
        for arn in strings(input, "ResourceArns") {
            let tags = model.tags.get_mut(&arn).ok_or_else(|| not_found(&arn))?;
            tags.retain(|key, _| !keys.contains(key));
        }
        Ok(json!({}))
    }

    fn delete_rule(&self, input: &Value) -> Answer {
        let arn = required(input, "RuleArn")?;
        let listener_arn = {
            let mut model = self.model();
            let position = model.rules.iter().position(|rule| rule.arn == arn);
            let index =
                position.ok_or_else(|| AwsError::new("RuleNotFound", "One or more rules not found"))?;
            if model.rules[index].priority.is_none() {
                let message = format!("Default rule '{arn}' cannot be deleted");
                return Err(AwsError::new("OperationNotPermitted", message));
            }
            model.tags.remove(arn);
            model.rules.remove(index).listener_arn
        };
        self.publish(&listener_arn);
        Ok(json!({}))
    }

    fn delete_listener(&self, input: &Value) -> Answer {
        let arn = required(input, "ListenerArn")?;
        let mut model = self.model();
        model.listener(arn).ok_or_else(no_listener)?;
        self.close_listener(&mut model, arn);
        drop(model);
        self.changed();
        Ok(json!({}))
    }

    fn close_listener(&self, model: &mut Model, arn: &str) {
        model.listeners.retain(|listener| listener.arn != arn);
        model.rules.retain(|rule| rule.listener_arn != arn);
        model.tags.remove(arn);
        if let Some(plane) = lock(&self.planes).remove(arn) {
            plane.close();
        }
    }

    fn delete_load_balancer(&self, input: &Value) -> Answer {
        let arn = required(input, "LoadBalancerArn")?;
        let mut model = self.model();
        let of_it = model.listeners.iter().filter(|listener| listener.load_balancer_arn == arn);
        let listeners: Vec<String> = of_it.map(|listener| listener.arn.clone()).collect();
        for listener in listeners {
            self.close_listener(&mut model, &listener);
        }
        // Deleting what is not there succeeds, as on AWS.
        model.load_balancers.retain(|lb| lb.arn != arn);
        model.tags.remove(arn);
        drop(model);
        self.changed();
        Ok(json!({}))
    }

    fn delete_target_group(&self, input: &Value) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let mut model = self.model();
        if !model.users_of(arn).is_empty() {
            let message = format!("Target group '{arn}' is currently in use by a listener or a rule");
            return Err(AwsError::new("ResourceInUse", message));
        }
        model.target_groups.retain(|group| group.arn != arn);
        model.tags.remove(arn);
        Ok(json!({}))
    }
}

fn not_found(arn: &str) -> AwsError {
    match arn {
        arn if arn.contains(":targetgroup/") => no_target_group(),
        arn if arn.contains(":loadbalancer/") => no_load_balancer(),
        arn => no_rule(arn),
    }
}

/// Binds a listener's port. Privileged ports cannot be had locally, so they become a free one.
async fn bind(port: u16) -> Result<TcpListener, AwsError> {
    let wanted = if port < 1024 { 0 } else { port };
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, wanted)))
        .await
        .map_err(|error| bad_configuration(format!("cannot listen on 127.0.0.1:{wanted}: {error}")))
}

fn priority(value: &Value) -> Result<u32, AwsError> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| (1..=50_000).contains(number))
        .ok_or_else(|| invalid(format!("Priority '{value}' must be between 1 and 50000 inclusive")))
}

/// Replaces the whole list of a rule; nothing when AWS refuses it.
fn replace_actions(model: &mut Model, index: usize, wanted: Vec<Value>) -> Result<(), AwsError> {
    let rule = &model.rules[index];
    let listener = model.listener(&rule.listener_arn).ok_or_else(no_listener)?;
    let accepted = actions::accept(model, &listener.load_balancer_arn, &rule.actions, wanted)?;
    model.rules[index].actions = accepted;
    Ok(())
}

fn conditions(input: &Value) -> Result<Vec<Value>, AwsError> {
    let conditions = list(input, "Conditions");
    if conditions.is_empty() {
        return Err(invalid("A rule must have at least one condition"));
    }
    Ok(conditions)
}

fn health_check(mut check: HealthCheck, input: &Value) -> Result<HealthCheck, AwsError> {
    let text = |member: &str, field: &mut String| {
        if let Some(value) = input[member].as_str() {
            value.clone_into(field);
        }
    };
    text("HealthCheckProtocol", &mut check.protocol);
    text("HealthCheckPort", &mut check.port);
    text("HealthCheckPath", &mut check.path);
    if let Some(codes) = input["Matcher"]["HttpCode"].as_str() {
        codes.clone_into(&mut check.matcher);
    }
    let number = |member: &str, range: std::ops::RangeInclusive<u64>, field: &mut u64| {
        let Some(value) = input[member].as_u64() else { return Ok(()) };
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            return Err(invalid(format!("{member} '{value}' must be between {low} and {high} inclusive")));
        }
        *field = value;
        Ok(())
    };
    number("HealthCheckIntervalSeconds", 5..=300, &mut check.interval_secs)?;
    number("HealthCheckTimeoutSeconds", 2..=120, &mut check.timeout_secs)?;
    number("HealthyThresholdCount", 2..=10, &mut check.healthy_threshold)?;
    number("UnhealthyThresholdCount", 2..=10, &mut check.unhealthy_threshold)?;
    if check.timeout_secs >= check.interval_secs && check.protocol.starts_with("HTTP") {
        return Err(invalid("Health check interval must be greater than the timeout"));
    }
    Ok(check)
}

/// Targets as addresses; none given means all there are.
fn addresses(group: &TargetGroup, targets: &[Value]) -> Result<Vec<SocketAddr>, AwsError> {
    if targets.is_empty() {
        return Ok(group.targets.iter().map(|target| target.address).collect());
    }
    let address = |target: &Value| {
        let id = target["Id"].as_str().unwrap_or_default();
        let ip = id
            .parse()
            .map_err(|_| AwsError::new("InvalidTarget", format!("The IP address '{id}' is not valid")))?;
        let port = target["Port"].as_u64().map_or(Ok(group.port), u16::try_from);
        Ok(SocketAddr::new(ip, port.map_err(|_| invalid("'Port' must be 1-65535"))?))
    };
    targets.iter().map(address).collect()
}
