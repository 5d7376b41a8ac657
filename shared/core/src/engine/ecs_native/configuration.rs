//! The `deploymentConfiguration` of an ECS service: what a release sets, what undoes it, what is sent, and whether it is set.
//!
//! `UpdateService` lays a request over what is there: a top-level member left out keeps its value, a nested block that is given replaces
//! the old one, `lifecycleHooks` is replaced whole. A block of another strategy than the one in force is refused. Whether Amazon ECS
//! keeps a block when the strategy changes, and which defaults it adds to what was sent, is not documented. Therefore a block that is not
//! in force is never sent and never compared, and what is there beside what was sent is no difference.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::pauses::{self, Pause};
use crate::ids::AlarmName;
use crate::plan::GateWaits;
use crate::policy::{Shift, Span, Strategy};
use crate::service::{Left, LeftBehind};

/// How much longer than the bake ECS waits at a pause hook before it rolls back by itself: Tidegate is then surely gone.
const HOOK_GRACE_MINUTES: u64 = 15;

/// Members that belong to one strategy: with another one in force ECS refuses them.
const OF_ONE_STRATEGY: [(&str, &str); 3] = [
    ("canaryConfiguration", "CANARY"),
    ("linearConfiguration", "LINEAR"),
    ("earlySuccessCriteria", "ROLLING"),
];

/// Members every strategy takes.
const OF_EVERY_STRATEGY: [&str; 7] = [
    "strategy",
    "maximumPercent",
    "minimumHealthyPercent",
    "deploymentCircuitBreaker",
    "alarms",
    "bakeTimeInMinutes",
    "lifecycleHooks",
];

/// Half of the finest step of a percentage, so that a number that went through a 32-bit float is the same.
const NUMBERS_DIFFER: f64 = 0.05;

/// The service's own configuration with the strategy, our pause hooks and the policy's alarms as ECS's second line.
pub fn for_release(own: &Value, strategy: &Strategy, alarms: &[AlarmName], waits: GateWaits) -> Value {
    let mut configuration = members(own);
    let (name, block) = match &strategy.shift {
        Shift::Canary { percent, .. } => {
            ("CANARY", Some(json!({ "canaryPercent": percent.as_f64(), "canaryBakeTimeInMinutes": 0 })))
        }
        Shift::Linear { percent, .. } => {
            ("LINEAR", Some(json!({ "stepPercent": percent.as_f64(), "stepBakeTimeInMinutes": 0 })))
        }
        // Steps are set by Tidegate itself, so ECS never gets to do them.
        Shift::BlueGreen | Shift::Steps { .. } => ("BLUE_GREEN", None),
        Shift::Rolling => ("ROLLING", None),
    };
    configuration.insert("strategy".into(), name.into());
    for (member, owner) in OF_ONE_STRATEGY {
        match &block {
            Some(block) if owner == name => _ = configuration.insert(member.into(), block.clone()),
            None if owner == name => {}
            Some(_) | None => _ = configuration.remove(member),
        }
    }
    if !alarms.is_empty() {
        configuration.insert("alarms".into(), with_alarms(configuration.get("alarms"), alarms));
    }
    match &strategy.shift {
        Shift::Rolling => {
            configuration.remove("bakeTimeInMinutes");
            configuration.insert(
                "deploymentCircuitBreaker".into(),
                with_breaker(configuration.get("deploymentCircuitBreaker")),
            );
        }
        Shift::Canary { bake, .. } | Shift::Linear { bake, .. } => {
            hold(&mut configuration, *bake, strategy.bake, waits);
        }
        Shift::BlueGreen | Shift::Steps { .. } => {
            hold(&mut configuration, Span::default(), strategy.bake, waits)
        }
    }
    Value::Object(configuration)
}

/// The alarms Amazon ECS watches during a deployment with this configuration.
pub fn watched_alarms(configuration: &Value) -> Vec<AlarmName> {
    watched(configuration.get("alarms")).filter_map(|name| AlarmName::new(name).ok()).collect()
}

fn watched(alarms: Option<&Value>) -> impl Iterator<Item = &str> {
    let enabled = alarms.filter(|alarms| alarms["enable"] == json!(true));
    let names = enabled.and_then(|alarms| alarms["alarmNames"].as_array());
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The policy's alarms beside those Amazon ECS already watches for the service.
fn with_alarms(own: Option<&Value>, alarms: &[AlarmName]) -> Value {
    let own = watched(own);
    let mut names: Vec<&str> = Vec::new();
    for name in own.chain(alarms.iter().map(AlarmName::as_str)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    json!({ "alarmNames": names, "enable": true, "rollback": true })
}

/// The stable version is deployed with this where Amazon ECS shifted the traffic: the service's own, but all at once, so that ECS moves the
/// weights back itself and creeps through no canary.
pub fn all_at_once(own: &Value) -> Value {
    let mut configuration = members(own);
    configuration.insert("strategy".into(), "BLUE_GREEN".into());
    configuration.retain(|name, _| is_in_force(name, "BLUE_GREEN"));
    configuration.insert("bakeTimeInMinutes".into(), 0.into());
    Value::Object(configuration)
}

/// The circuit breaker on, with the service's own thresholds kept.
fn with_breaker(own: Option<&Value>) -> Value {
    let mut breaker = own.and_then(Value::as_object).cloned().unwrap_or_default();
    breaker.insert("enable".into(), true.into());
    breaker.insert("rollback".into(), true.into());
    Value::Object(breaker)
}

/// Adds the pause hooks that hold every shift. The bakes are ours, so ECS's own are zero.
fn hold(configuration: &mut Map<String, Value>, step_bake: Span, final_bake: Span, waits: GateWaits) {
    configuration.insert("bakeTimeInMinutes".into(), 0.into());
    let minutes =
        |bake: Span, gates_secs: u64| (u64::from(bake.secs()) + gates_secs).div_ceil(60) + HOOK_GRACE_MINUTES;
    let own = configuration.get("lifecycleHooks").and_then(Value::as_array).cloned().unwrap_or_default();
    let ours = [
        Pause::BeforeShift.hook(minutes(step_bake, waits.before_shift), &own),
        Pause::BeforePromotion.hook(minutes(final_bake, waits.before_promotion), &own),
    ];
    configuration.insert("lifecycleHooks".into(), own.into_iter().chain(ours).collect());
}

/// Whether our pause hooks are in it.
pub fn holds_ours(configuration: &Value) -> bool {
    !pauses::apart(pauses::hooks(configuration)).0.is_empty()
}

/// The service's own configuration: what is `present` without what a release of ours left in it. What it left is known from the ledger;
/// where that does not know it, our hooks are, by themselves.
pub fn own(present: &Value, left_behind: Option<&LeftBehind>) -> Value {
    match left_behind {
        _ if !holds_ours(present) => present.clone(),
        Some(LeftBehind { left: Left::EcsConfiguration { set, own }, .. }) => {
            restored(present, std::slice::from_ref(set), own)
        }
        None => {
            let mut own = members(present);
            own.insert("lifecycleHooks".into(), not_ours(present));
            Value::Object(own)
        }
    }
}

/// What `present` has to become so that what a release `set`, once or several times, is undone: its members as the service `own`ed them,
/// and what somebody else has set in the meantime as it is.
pub fn restored(present: &Value, set: &[Value], own: &Value) -> Value {
    let present = members(present);
    let mut restored = members(own);
    for (name, is) in &present {
        let left =
            if name == "lifecycleHooks" { not_ours(&Value::Object(present.clone())) } else { is.clone() };
        let by_us: Vec<&Value> = set.iter().filter_map(|set| set.get(name)).collect();
        let by_somebody = match by_us.as_slice() {
            // AWS may have kept a block of a strategy that is not in force any more.
            [] => !restored.contains_key(name) && is_in_force(name, strategy_of(&present)),
            _ if name == "lifecycleHooks" => match restored.get(name) {
                None => left != json!([]),
                Some(own) => !agrees(own, &left),
            },
            by_us => !by_us.iter().any(|set| agrees(set, is)),
        };
        if by_somebody {
            restored.insert(name.clone(), left);
        }
    }
    restorable(&Value::Object(restored))
}

fn not_ours(configuration: &Value) -> Value {
    pauses::apart(pauses::hooks(configuration)).1.into_iter().cloned().collect()
}

/// A configuration with what AWS leaves out said explicitly: set again, it undoes ours member by member. What belongs to a strategy that is
/// not in force means nothing and is no part of it.
pub fn restorable(own: &Value) -> Value {
    let mut configuration = members(own);
    let neutral = [
        ("strategy", json!("ROLLING")),
        ("alarms", json!({ "alarmNames": [], "enable": false, "rollback": false })),
        ("deploymentCircuitBreaker", json!({ "enable": false, "rollback": false })),
        ("lifecycleHooks", json!([])),
    ];
    for (field, value) in neutral {
        if !configuration.contains_key(field) {
            configuration.insert(field.into(), value);
        }
    }
    let strategy = strategy_of(&configuration).to_owned();
    configuration.retain(|name, _| is_in_force(name, &strategy));
    Value::Object(configuration)
}

/// What `UpdateService` is sent so that `wanted` is set where `present` is. Of what this version does not know only that is sent which
/// differs: ECS keeps what is left out, and might refuse it with another strategy.
pub fn to_send(wanted: &Value, present: &Value) -> Value {
    let mut request = members(wanted);
    let strategy = strategy_of(&request).to_owned();
    request.retain(|name, value| {
        let known = OF_EVERY_STRATEGY.contains(&name.as_str())
            || OF_ONE_STRATEGY.iter().any(|(member, _)| member == name);
        is_in_force(name, &strategy) && (known || present.get(name).is_none_or(|is| !agrees(value, is)))
    });
    Value::Object(request)
}

/// Whether everything of `wanted` is set: what AWS adds to it, and what belongs to a strategy that is not in force, is no difference.
pub fn is_set(wanted: &Value, present: &Value) -> bool {
    let (wanted, present) = (complete(wanted), complete(present));
    let strategy = strategy_of(&wanted).to_owned();
    let mut meant = wanted.iter().filter(|(name, _)| is_in_force(name, &strategy));
    meant.all(|(name, value)| match (name.as_str(), present.get(name)) {
        // What is switched off means nothing beside that.
        ("alarms" | "deploymentCircuitBreaker" | "earlySuccessCriteria", is) if value["enable"] != true => {
            is.is_none_or(|is| is["enable"] != true)
        }
        (_, Some(is)) => agrees(value, is),
        (_, None) => false,
    })
}

/// The members that say something.
fn members(configuration: &Value) -> Map<String, Value> {
    let mut members = configuration.as_object().cloned().unwrap_or_default();
    members.retain(|_, value| !value.is_null());
    members
}

fn strategy_of(members: &Map<String, Value>) -> &str {
    members.get("strategy").and_then(Value::as_str).unwrap_or("ROLLING")
}

fn is_in_force(member: &str, strategy: &str) -> bool {
    OF_ONE_STRATEGY.iter().all(|(name, owner)| *name != member || *owner == strategy)
}

/// With the defaults AWS documents, so that what was left out and what AWS answers are the same.
fn complete(configuration: &Value) -> Map<String, Value> {
    let Value::Object(mut members) = restorable(configuration) else { return Map::new() };
    defaults(&mut members, &[("maximumPercent", json!(200)), ("minimumHealthyPercent", json!(100))]);
    let nested: [(&str, &[(&str, Value)]); 3] = [
        ("canaryConfiguration", &[("canaryPercent", json!(5.0)), ("canaryBakeTimeInMinutes", json!(10))]),
        ("linearConfiguration", &[("stepPercent", json!(10.0)), ("stepBakeTimeInMinutes", json!(6))]),
        (
            "deploymentCircuitBreaker",
            &[
                ("resetOnHealthyTask", json!(true)),
                ("thresholdConfiguration", json!({ "type": "BOUNDED_PERCENT", "value": 50 })),
            ],
        ),
    ];
    for (member, fields) in nested {
        if let Some(block) = members.get_mut(member).and_then(Value::as_object_mut) {
            defaults(block, fields);
        }
    }
    let hooks = members.get_mut("lifecycleHooks").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten().filter_map(Value::as_object_mut) {
        defaults(hook, &[("targetType", json!("AWS_LAMBDA")), ("timeoutConfiguration", json!({}))]);
        if let Some(timeout) = hook.get_mut("timeoutConfiguration").and_then(Value::as_object_mut) {
            defaults(timeout, &[("timeoutInMinutes", json!(1440)), ("action", json!("ROLLBACK"))]);
        }
    }
    members
}

fn defaults(map: &mut Map<String, Value>, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        if map.get(*name).is_none_or(Value::is_null) {
            map.insert((*name).to_owned(), value.clone());
        }
    }
}

/// Whether `is` says what was `sent`, whatever else it says. The order of lists means nothing in this structure.
fn agrees(sent: &Value, is: &Value) -> bool {
    match (sent, is) {
        (Value::Object(sent), Value::Object(is)) => sent
            .iter()
            .filter(|(_, value)| !value.is_null())
            .all(|(name, value)| is.get(name).is_some_and(|is| agrees(value, is))),
        (Value::Array(sent), Value::Array(is)) => {
            let mut left: Vec<Cow<'_, Value>> = is.iter().map(Cow::Borrowed).collect();
            sent.len() == is.len()
                && sent.iter().all(|value| {
                    let found = left.iter().position(|is| agrees(value, is));
                    found.map(|at| left.swap_remove(at)).is_some()
                })
        }
        (Value::Number(sent), Value::Number(is)) => match (sent.as_f64(), is.as_f64()) {
            (Some(sent), Some(is)) => (sent - is).abs() < NUMBERS_DIFFER,
            _ => sent == is,
        },
        _ => sent == is,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::EngineChoice;
    use crate::policy::Percent;

    fn canary() -> Value {
        json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 0 },
            "bakeTimeInMinutes": 0 })
    }

    #[test]
    fn only_blocks_of_the_strategy_in_force_are_sent_whatever_aws_kept_of_others() {
        let stale = json!({ "strategy": "ROLLING", "canaryConfiguration": { "canaryPercent": 5.0 },
            "linearConfiguration": { "stepPercent": 10.0 }, "maximumPercent": 200 });
        let sent = to_send(&restorable(&stale), &canary());
        assert_eq!(sent["strategy"], "ROLLING");
        assert_eq!((sent.get("canaryConfiguration"), sent.get("linearConfiguration")), (None, None));
        // Also when the plan that is stored still holds them.
        assert_eq!(to_send(&stale, &canary()).get("canaryConfiguration"), None);
        let own = json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 5.0 } });
        assert_eq!(to_send(&restorable(&own), &stale)["canaryConfiguration"]["canaryPercent"], 5.0);
    }

    #[test]
    fn what_only_rolling_takes_is_dropped_for_a_held_release_and_restored_after_it() {
        let own = json!({ "strategy": "ROLLING", "earlySuccessCriteria": { "enable": true, "healthyPercent": 50 } });
        let held = Strategy { shift: Shift::BlueGreen, bake: Span::default(), engine: EngineChoice::Native };
        let configuration = for_release(&own, &held, &[], GateWaits::default());
        assert_eq!(configuration.get("earlySuccessCriteria"), None);
        let rolling = Strategy { shift: Shift::Rolling, bake: Span::default(), engine: EngineChoice::Native };
        let configuration = for_release(&own, &rolling, &[], GateWaits::default());
        assert_eq!(configuration["earlySuccessCriteria"], own["earlySuccessCriteria"]);
        // Whether AWS kept it or dropped it meanwhile.
        assert_eq!(
            to_send(&restorable(&own), &canary())["earlySuccessCriteria"],
            own["earlySuccessCriteria"]
        );
        assert!(!is_set(&restorable(&own), &json!({ "strategy": "ROLLING" })));
    }

    #[test]
    fn what_this_version_does_not_know_is_sent_only_where_it_differs() {
        let wanted = json!({ "strategy": "CANARY", "tidalLock": { "moon": 1 }, "spring": { "neap": false } });
        let present = json!({ "strategy": "ROLLING", "tidalLock": { "moon": 1 } });
        assert_eq!(to_send(&wanted, &present), json!({ "strategy": "CANARY", "spring": { "neap": false } }));
    }

    #[test]
    fn the_services_own_alarms_stay_beside_the_policys() {
        let policys: Vec<AlarmName> = vec!["5xx".parse().unwrap(), "slow".parse().unwrap()];
        let names = |own: Value| {
            let held =
                Strategy { shift: Shift::BlueGreen, bake: Span::default(), engine: EngineChoice::Native };
            let sent = for_release(&json!({ "alarms": own }), &held, &policys, GateWaits::default());
            assert_eq!(
                (&sent["alarms"]["enable"], &sent["alarms"]["rollback"]),
                (&json!(true), &json!(true))
            );
            sent["alarms"]["alarmNames"].clone()
        };
        let own =
            |enable: bool| json!({ "alarmNames": ["queue", "slow"], "enable": enable, "rollback": false });
        assert_eq!(names(own(true)), json!(["queue", "slow", "5xx"]));
        assert_eq!(names(own(false)), json!(["5xx", "slow"]), "what is switched off stays so");
    }

    #[test]
    fn what_ran_before_is_deployed_all_at_once_with_the_services_own_hooks() {
        let own = json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 5.0 }, "bakeTimeInMinutes": 30,
            "lifecycleHooks": [{ "hookTargetArn": "arn:f" }] });
        let expected = json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [{ "hookTargetArn": "arn:f" }] });
        assert_eq!(all_at_once(&own), expected);
    }

    #[test]
    fn restoring_undoes_what_was_set_and_leaves_what_somebody_else_set() {
        let own = json!({ "strategy": "ROLLING", "maximumPercent": 200,
            "lifecycleHooks": [{ "hookTargetArn": "arn:f", "lifecycleStages": ["PRE_SCALE_UP"] }] });
        let strategy =
            Strategy { shift: Shift::BlueGreen, bake: Span::default(), engine: EngineChoice::Native };
        let alarms = [AlarmName::new("red").unwrap()];
        let rollback_target = restorable(&own);
        let ours = for_release(&own, &strategy, &alarms, GateWaits::default());
        assert!(holds_ours(&ours) && !holds_ours(&own));
        let set = [ours.clone()];
        assert_eq!(restored(&ours, &set, &rollback_target), rollback_target);
        assert_eq!(
            restored(&rollback_target, &set, &rollback_target),
            rollback_target,
            "done twice it changes nothing"
        );
        // As AWS answers it.
        let mut echo = ours.clone();
        echo["minimumHealthyPercent"] = 100.into();
        echo["introducedNextYear"] = json!({});
        echo["canaryConfiguration"] = json!({ "canaryPercent": 5.0 });
        let undone = restored(&echo, &set, &rollback_target);
        assert!(is_set(&rollback_target, &undone) && undone["introducedNextYear"] == json!({}));
        let mut changed = echo;
        changed["maximumPercent"] = 150.into();
        changed["alarms"] = json!({ "alarmNames": ["theirs"], "enable": true, "rollback": true });
        let undone = restored(&changed, &set, &rollback_target);
        assert_eq!((&undone["maximumPercent"], &undone["alarms"]), (&json!(150), &changed["alarms"]));
        assert_eq!(
            (&undone["strategy"], &undone["lifecycleHooks"]),
            (&json!("ROLLING"), &own["lifecycleHooks"])
        );
    }

    #[test]
    fn what_the_rollback_set_is_undone_too() {
        let own = json!({ "strategy": "CANARY", "bakeTimeInMinutes": 5,
            "canaryConfiguration": { "canaryPercent": 20.0, "canaryBakeTimeInMinutes": 3 } });
        let canary = Shift::Canary { percent: Percent::from_tenths(410), bake: Span::default() };
        let strategy = Strategy { shift: canary, bake: Span::default(), engine: EngineChoice::Native };
        let rollback_target = restorable(&own);
        let ours = for_release(&own, &strategy, &[], GateWaits::default());
        let back = all_at_once(&rollback_target);
        // As AWS answers it when it keeps the block of the strategy before.
        let mut present = back.clone();
        present["canaryConfiguration"] = ours["canaryConfiguration"].clone();
        for present in [&back, &present] {
            assert_eq!(restored(present, &[ours.clone(), back.clone()], &rollback_target), rollback_target);
            let theirs = restored(present, std::slice::from_ref(&ours), &rollback_target);
            assert_eq!(theirs["strategy"], "BLUE_GREEN", "nothing of ours without a rollback target");
        }
    }

    #[track_caller]
    fn set(wanted: &Value, present: &Value, expected: bool) {
        assert_eq!(is_set(wanted, present), expected, "wanted {wanted:#}\npresent {present:#}");
    }

    #[test]
    fn what_aws_adds_is_no_difference() {
        let sent = json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 2.5 },
            "alarms": { "alarmNames": ["a", "b"], "enable": true, "rollback": true },
            "lifecycleHooks": [{ "targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"] },
                { "hookTargetArn": "arn:f", "roleArn": "arn:r", "lifecycleStages": ["PRE_SCALE_UP", "POST_SCALE_UP"] }] });
        let echo = json!({ "strategy": "CANARY", "maximumPercent": 200, "minimumHealthyPercent": 100, "novelty": 7,
            "canaryConfiguration": { "canaryPercent": 2.500_000_037, "canaryBakeTimeInMinutes": 10, "novelty": [] },
            "linearConfiguration": { "stepPercent": 10 },
            "deploymentCircuitBreaker": { "enable": false, "rollback": false, "resetOnHealthyTask": true },
            "alarms": { "alarmNames": ["b", "a"], "enable": true, "rollback": true },
            "lifecycleHooks": [
                { "targetType": "AWS_LAMBDA", "hookTargetArn": "arn:f", "roleArn": "arn:r", "hookDetails": null,
                  "lifecycleStages": ["POST_SCALE_UP", "PRE_SCALE_UP"], "timeoutConfiguration": { "timeoutInMinutes": 1440, "action": "ROLLBACK" } },
                { "targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"],
                  "timeoutConfiguration": { "timeoutInMinutes": 1440, "action": "ROLLBACK" } }] });
        set(&sent, &echo, true);
        set(&json!({}), &json!({ "strategy": "ROLLING", "maximumPercent": 200 }), true);
        set(&json!({ "maximumPercent": 200 }), &json!({}), true);
    }

    #[test]
    fn what_differs_is_a_difference() {
        let own = json!({ "strategy": "ROLLING" });
        let with = |name: &str, value: Value| json!({ "strategy": "ROLLING", name: value });
        set(&own, &canary(), false);
        set(&own, &with("alarms", json!({ "alarmNames": ["a"], "enable": true, "rollback": true })), false);
        set(&own, &with("lifecycleHooks", json!([{ "targetType": "PAUSE" }])), false);
        set(&own, &with("deploymentCircuitBreaker", json!({ "enable": true, "rollback": true })), false);
        set(&own, &with("maximumPercent", json!(150)), false);
        set(&with("bakeTimeInMinutes", json!(5)), &with("bakeTimeInMinutes", json!(0)), false);
        set(
            &canary(),
            &json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 10.1, "canaryBakeTimeInMinutes": 0 },
            "bakeTimeInMinutes": 0 }),
            false,
        );
    }

    #[test]
    fn what_is_switched_off_is_off_however_it_is_written() {
        let named = json!({ "alarms": { "alarmNames": ["a"], "enable": false, "rollback": true } });
        set(&named, &json!({ "alarms": { "alarmNames": [], "enable": false, "rollback": false } }), true);
        set(&named, &json!({}), true);
        set(&json!({ "earlySuccessCriteria": { "enable": false } }), &json!({}), true);
    }
}
