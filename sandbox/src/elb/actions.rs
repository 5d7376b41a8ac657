//! Lists of actions of rules and listeners: what AWS checks before it takes one, and how it writes one down.
//!
//! AWS completes what it is given: a forward action always has a `ForwardConfig` with weights and stickiness afterwards, and a `TargetGroupArn`
//! only when it has a single target group. Whoever reads a list, changes a weight and sends it back meets exactly that.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::model::Model;
use super::rules::{self, Forward};
use crate::ports::AwsError;

/// Target groups an action may name; not adjustable.
const MOST_GROUPS: usize = 5;
/// Different target groups a load balancer may use; not adjustable.
const MOST_GROUPS_OF_BALANCER: usize = 100;

fn invalid_action(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidLoadBalancerAction", message)
}

fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", message)
}

/// The forward action of a rule, if it has one.
pub(super) fn forward_action(actions: &[Value]) -> Option<&Value> {
    actions.iter().find(|action| action["Type"] == "forward")
}

/// Checks a list of actions for a load balancer and returns it as AWS keeps it. `present` is the list that it replaces: secrets, which AWS never
/// tells, are taken over from there.
pub(super) fn accept(
    model: &Model,
    load_balancer_arn: &str,
    present: &[Value],
    mut actions: Vec<Value>,
) -> Result<Vec<Value>, AwsError> {
    check_order(&actions)?;
    for action in &mut actions {
        keep_secret(present, action)?;
        if action["Type"] == "forward" {
            check_forward(model, load_balancer_arn, action)?;
            complete(action);
        }
    }
    Ok(actions)
}

/// Actions as AWS tells them.
pub(super) fn described(actions: &[Value]) -> Vec<Value> {
    let mut actions = actions.to_vec();
    for config in actions.iter_mut().filter_map(|action| action.get_mut("AuthenticateOidcConfig")) {
        if let Some(config) = config.as_object_mut() {
            config.remove("ClientSecret");
            config.remove("UseExistingClientSecret");
        }
    }
    actions
}

/// One action ends a rule, and it is performed last.
fn check_order(actions: &[Value]) -> Result<(), AwsError> {
    let ends =
        |action: &Value| matches!(action["Type"].as_str(), Some("forward" | "fixed-response" | "redirect"));
    if actions.iter().filter(|action| ends(action)).count() != 1 {
        return Err(invalid_action(
            "A rule needs exactly one action of type forward, redirect or fixed-response",
        ));
    }
    if actions.len() == 1 {
        return Ok(());
    }
    let orders: HashSet<i64> = actions.iter().filter_map(|action| action["Order"].as_i64()).collect();
    if orders.len() != actions.len() {
        return Err(invalid_action(
            "An order is required for every action of a rule with several, and can be used once",
        ));
    }
    let last = actions.iter().max_by_key(|action| action["Order"].as_i64());
    if !last.is_some_and(ends) {
        return Err(invalid_action(
            "The action of type forward, redirect or fixed-response must be the last one",
        ));
    }
    Ok(())
}

/// A client secret is needed, or the word that the present one stays.
fn keep_secret(present: &[Value], action: &mut Value) -> Result<(), AwsError> {
    if action["Type"] != "authenticate-oidc" || action["AuthenticateOidcConfig"]["ClientSecret"].is_string() {
        return Ok(());
    }
    let known = present.iter().find_map(|action| action["AuthenticateOidcConfig"]["ClientSecret"].as_str());
    match known.filter(|_| action["AuthenticateOidcConfig"]["UseExistingClientSecret"] == true) {
        Some(secret) => {
            action["AuthenticateOidcConfig"]["ClientSecret"] = json!(secret);
            Ok(())
        }
        None => Err(invalid_action(
            "A client secret must be specified for authenticate-oidc, or UseExistingClientSecret when a rule is modified",
        )),
    }
}

fn check_forward(model: &Model, load_balancer_arn: &str, action: &Value) -> Result<(), AwsError> {
    for group in action["ForwardConfig"]["TargetGroups"].as_array().into_iter().flatten() {
        if group["Weight"].as_i64().is_some_and(|weight| !(0..=999).contains(&weight)) {
            return Err(validation("The weight for each target group must be between 0 and 999, inclusive"));
        }
    }
    let forward = rules::forward(action);
    let arns: Vec<&str> = forward.groups.iter().map(|(arn, _)| arn.as_str()).collect();
    if arns.is_empty() {
        return Err(validation("A forward action needs a target group"));
    }
    if action["TargetGroupArn"].as_str().is_some_and(|named| arns != [named]) {
        return Err(validation(
            "You cannot specify both a target group ARN and a ForwardConfig with other target groups",
        ));
    }
    if arns.len() > MOST_GROUPS {
        return Err(invalid_action(format!("An action can have at most {MOST_GROUPS} target groups")));
    }
    let mut seen = HashSet::new();
    if !arns.iter().all(|arn| seen.insert(*arn)) {
        return Err(invalid_action("A target group can be in a forward action only once"));
    }
    check_groups(model, load_balancer_arn, &arns)?;
    check_stickiness(model, action, &forward)
}

/// A target group belongs to one load balancer, and a load balancer has room for so many.
fn check_groups(model: &Model, load_balancer_arn: &str, arns: &[&str]) -> Result<(), AwsError> {
    if arns.iter().any(|arn| model.target_group(arn).is_none()) {
        return Err(super::api::no_target_group());
    }
    let elsewhere = |arn: &&&str| model.users_of(arn).iter().any(|user| user != load_balancer_arn);
    if let Some(arn) = arns.iter().find(elsewhere) {
        let message = format!(
            "The following target groups cannot be associated with more than one load balancer: {arn}"
        );
        return Err(AwsError::new("TargetGroupAssociationLimit", message));
    }
    let mut used: HashSet<&str> = arns.iter().copied().collect();
    let of_balancer = model.target_groups.iter().map(|group| group.arn.as_str());
    used.extend(of_balancer.filter(|arn| model.users_of(arn).iter().any(|user| user == load_balancer_arn)));
    if used.len() > MOST_GROUPS_OF_BALANCER {
        let message = format!("A load balancer can use at most {MOST_GROUPS_OF_BALANCER} target groups");
        return Err(AwsError::new("TooManyUniqueTargetGroupsPerLoadBalancer", message));
    }
    Ok(())
}

fn check_stickiness(model: &Model, action: &Value, forward: &Forward) -> Result<(), AwsError> {
    let sticky = |(arn, _): &(String, u32)| {
        let group = model.target_group(arn);
        group.is_some_and(|group| {
            group.attributes.get("stickiness.enabled").is_some_and(|enabled| enabled == "true")
        })
    };
    if forward.groups.len() > 1 && forward.sticky_secs.is_none() && forward.groups.iter().any(sticky) {
        return Err(invalid_action(
            "You must enable group stickiness on a rule if you enabled target stickiness on one of its target groups",
        ));
    }
    let stickiness = &action["ForwardConfig"]["TargetGroupStickinessConfig"];
    let duration = stickiness["DurationSeconds"].as_u64();
    if stickiness["Enabled"] == true && !duration.is_some_and(|secs| (1..=604_800).contains(&secs)) {
        return Err(invalid_action("Group stickiness needs a duration between 1 and 604800 seconds"));
    }
    Ok(())
}

/// Writes out what a forward action leaves to AWS.
fn complete(action: &mut Value) {
    let groups = rules::forward(action).groups;
    let tuples: Vec<Value> =
        groups.iter().map(|(arn, weight)| json!({"TargetGroupArn": arn, "Weight": weight})).collect();
    if !action["ForwardConfig"].is_object() {
        action["ForwardConfig"] = json!({});
    }
    action["ForwardConfig"]["TargetGroups"] = json!(tuples);
    if !action["ForwardConfig"]["TargetGroupStickinessConfig"].is_object() {
        action["ForwardConfig"]["TargetGroupStickinessConfig"] = json!({"Enabled": false});
    }
    let Some(members) = action.as_object_mut() else { return };
    match groups.as_slice() {
        [(only, _)] => _ = members.insert("TargetGroupArn".to_owned(), json!(only)),
        _ => _ = members.remove("TargetGroupArn"),
    }
}
