//! `deploymentConfiguration`: kept as the raw JSON it came as, checked as AWS checks it, and parsed for the scheduler.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::errors::invalid;
use super::input::Members;
use super::model::Stage;
use super::settings::{Settings, StaleBlocks};
use crate::ports::AwsError;

/// What the scheduler needs of a deployment configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub(super) strategy: Strategy,
    pub(super) bake_minutes: Option<u32>,
    pub(super) hooks: Vec<Hook>,
    pub(super) alarms: Option<AlarmConfig>,
    pub(super) breaker: Option<BreakerConfig>,
    pub(super) early_success: Option<EarlySuccess>,
    pub(super) maximum_percent: u32,
    pub(super) minimum_healthy_percent: u32,
}

/// When a rolling deployment is called successful before every task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EarlySuccess {
    /// With so many healthy tasks of the desired ones.
    pub(super) healthy_percent: u32,
    /// Whether the tasks of the version before may still run then.
    pub(super) deferred: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Strategy {
    Rolling,
    BlueGreen,
    Linear { step_percent: f64, step_bake_minutes: u32 },
    Canary { percent: f64, bake_minutes: u32 },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hook {
    /// The function; none for a pause.
    pub(super) function: Option<HookFunction>,
    pub(super) stages: Vec<Stage>,
    pub(super) timeout_minutes: u32,
    pub(super) timeout_action: HookAction,
}

/// The function of an AWS_LAMBDA hook.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HookFunction {
    pub(super) arn: String,
    pub(super) role: String,
    /// `hookDetails`: what it is told beside the event.
    pub(super) details: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookAction {
    Continue,
    Rollback,
}

impl HookAction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Rollback => "ROLLBACK",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, AwsError> {
        match name {
            "CONTINUE" => Ok(Self::Continue),
            "ROLLBACK" => Ok(Self::Rollback),
            other => Err(invalid(format!("Invalid action {other}: must be CONTINUE or ROLLBACK."))),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AlarmConfig {
    pub(super) names: Vec<String>,
    pub(super) rollback: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BreakerConfig {
    pub(super) rollback: bool,
    pub(super) reset_on_healthy_task: bool,
    threshold: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threshold {
    Count(u32),
    BoundedPercent(u32),
    UnboundedPercent(u32),
}

impl BreakerConfig {
    /// How many failed tasks are too many for this desired count.
    pub(super) fn threshold(self, desired: u32) -> u32 {
        match self.threshold {
            Threshold::Count(count) => count,
            Threshold::BoundedPercent(percent) => (desired * percent).div_ceil(100).clamp(3, 200),
            Threshold::UnboundedPercent(percent) => (desired * percent).div_ceil(100).max(1),
        }
    }
}

impl Hook {
    pub(super) fn timeout(&self, settings: &Settings) -> Duration {
        settings.minutes(self.timeout_minutes)
    }
}

/// Blocks that belong to one strategy, and what AWS says when a request has them with another.
const OF_ONE_STRATEGY: [(&str, &str, &str); 3] = [
    (
        "canaryConfiguration",
        "CANARY",
        "Canary configuration can only be present with CANARY deployment strategy",
    ),
    (
        "linearConfiguration",
        "LINEAR",
        "Linear configuration can only be present with LINEAR deployment strategy",
    ),
    // Documented as "only with rolling deployment strategy"; the words are a guess after those of the others.
    (
        "earlySuccessCriteria",
        "ROLLING",
        "Early success criteria can only be present with ROLLING deployment strategy",
    ),
];

/// A request's configuration laid over the present one. Members left out keep their value; a member that is given
/// replaces the whole old one (so `canaryConfiguration {canaryPercent}` alone resets its bake to the default), but the
/// circuit breaker keeps the members left out; a block of another strategy than the one in force is refused: measured
/// against AWS by others, see go-to-k/cdkd#1848 and aws/copilot-cli#4565.
pub(super) fn merge(
    present: &Map<String, Value>,
    request: &Map<String, Value>,
    stale: StaleBlocks,
) -> Result<Map<String, Value>, AwsError> {
    let mut merged = present.clone();
    for (name, value) in request.iter().filter(|(_, value)| !value.is_null()) {
        let value = match (name.as_str(), merged.get(name), value) {
            ("deploymentCircuitBreaker", Some(Value::Object(old)), Value::Object(new)) => {
                Value::Object(old.clone().into_iter().chain(new.clone()).collect())
            }
            _ => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    let strategy = merged.get("strategy").and_then(Value::as_str).unwrap_or("ROLLING").to_owned();
    for (member, owner, refusal) in OF_ONE_STRATEGY {
        if strategy == owner {
            continue;
        }
        if request.get(member).is_some_and(|value| !value.is_null()) {
            return Err(invalid(refusal));
        }
        match stale {
            StaleBlocks::Keep => {}
            StaleBlocks::Drop => _ = merged.remove(member),
        }
    }
    Ok(with_defaults(merged))
}

fn default_member(map: &mut Map<String, Value>, name: &str, value: Value) {
    if map.get(name).is_none_or(Value::is_null) {
        map.insert(name.to_owned(), value);
    }
}

fn with_defaults(mut configuration: Map<String, Value>) -> Map<String, Value> {
    default_member(&mut configuration, "strategy", json!("ROLLING"));
    default_member(&mut configuration, "maximumPercent", json!(200));
    default_member(&mut configuration, "minimumHealthyPercent", json!(100));
    default_member(
        &mut configuration,
        "deploymentCircuitBreaker",
        json!({"enable": false, "rollback": false}),
    );
    match configuration.get("strategy").and_then(Value::as_str) {
        Some("CANARY") => default_member(&mut configuration, "canaryConfiguration", json!({})),
        Some("LINEAR") => default_member(&mut configuration, "linearConfiguration", json!({})),
        Some(_) | None => {}
    }
    if let Some(canary) = configuration.get_mut("canaryConfiguration").and_then(Value::as_object_mut) {
        default_member(canary, "canaryPercent", json!(5.0));
        default_member(canary, "canaryBakeTimeInMinutes", json!(10));
    }
    if let Some(linear) = configuration.get_mut("linearConfiguration").and_then(Value::as_object_mut) {
        default_member(linear, "stepPercent", json!(10.0));
        default_member(linear, "stepBakeTimeInMinutes", json!(6));
    }
    let hooks = configuration.get_mut("lifecycleHooks").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten().filter_map(Value::as_object_mut) {
        default_member(hook, "targetType", json!("AWS_LAMBDA"));
        default_member(hook, "timeoutConfiguration", json!({}));
        if let Some(timeout) = hook.get_mut("timeoutConfiguration").and_then(Value::as_object_mut) {
            default_member(timeout, "timeoutInMinutes", json!(1440));
            default_member(timeout, "action", json!("ROLLBACK"));
        }
    }
    configuration
}

/// Checks and parses a configuration that has its defaults.
pub(super) fn parse(configuration: &Map<String, Value>) -> Result<Config, AwsError> {
    let members = Members::of(configuration);
    let strategy = strategy(members)?;
    let bake_minutes = bounded(members, "bakeTimeInMinutes", 0, 1440)?;
    if strategy == Strategy::BlueGreen && bake_minutes.is_none() {
        return Err(invalid("bakeTimeInMinutes is required for the BLUE_GREEN deployment strategy."));
    }
    let maximum_percent = bounded(members, "maximumPercent", 0, 10_000)?.unwrap_or(200);
    let minimum_healthy_percent = bounded(members, "minimumHealthyPercent", 0, 10_000)?.unwrap_or(100);
    if maximum_percent < 100 || maximum_percent < minimum_healthy_percent {
        return Err(invalid("maximumPercent must be at least 100 and not below minimumHealthyPercent."));
    }
    Ok(Config {
        strategy,
        bake_minutes,
        hooks: hooks(members)?,
        alarms: alarms(members)?,
        breaker: breaker(members)?,
        early_success: early_success(members, strategy, minimum_healthy_percent)?,
        maximum_percent,
        minimum_healthy_percent,
    })
}

fn strategy(members: Members<'_>) -> Result<Strategy, AwsError> {
    match members.text("strategy")?.unwrap_or("ROLLING") {
        "ROLLING" => Ok(Strategy::Rolling),
        "BLUE_GREEN" => Ok(Strategy::BlueGreen),
        "LINEAR" => {
            let linear = members.structure("linearConfiguration")?;
            let (percent, bake) = step(linear, "stepPercent", (3.0, 10.0), ("stepBakeTimeInMinutes", 6))?;
            Ok(Strategy::Linear { step_percent: percent, step_bake_minutes: bake })
        }
        "CANARY" => {
            let canary = members.structure("canaryConfiguration")?;
            let (percent, bake) = step(canary, "canaryPercent", (0.1, 5.0), ("canaryBakeTimeInMinutes", 10))?;
            Ok(Strategy::Canary { percent, bake_minutes: bake })
        }
        other => Err(invalid(format!("Invalid deployment strategy: {other}."))),
    }
}

fn step(
    members: Option<Members<'_>>,
    percent_name: &str,
    (least_percent, default_percent): (f64, f64),
    (bake_name, default_bake): (&str, u32),
) -> Result<(f64, u32), AwsError> {
    let Some(members) = members else { return Ok((default_percent, default_bake)) };
    let percent = members.double(percent_name)?.unwrap_or(default_percent);
    let tenths = percent * 10.0;
    if !(least_percent..=100.0).contains(&percent) || (tenths - tenths.round()).abs() > 1e-6 {
        return Err(invalid(format!(
            "{percent_name} must be between {least_percent} and 100.0 in multiples of 0.1, got {percent}."
        )));
    }
    Ok((percent, bounded(members, bake_name, 0, 1440)?.unwrap_or(default_bake)))
}

fn bounded(members: Members<'_>, name: &str, least: u32, most: u32) -> Result<Option<u32>, AwsError> {
    let Some(value) = members.integer(name)? else { return Ok(None) };
    u32::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .map(Some)
        .ok_or_else(|| invalid(format!("{name} must be between {least} and {most}, got {value}.")))
}

fn hooks(members: Members<'_>) -> Result<Vec<Hook>, AwsError> {
    let hooks: Vec<Hook> =
        members.structures("lifecycleHooks")?.into_iter().map(hook).collect::<Result<_, _>>()?;
    let functions = hooks.iter().filter(|hook| hook.function.is_some()).count();
    if functions > 10 || hooks.len() - functions > 10 {
        return Err(invalid("A service can have at most 10 pause hooks and 10 Lambda hooks."));
    }
    Ok(hooks)
}

fn hook(members: Members<'_>) -> Result<Hook, AwsError> {
    let details = members.map("hookDetails")?.cloned().unwrap_or_default();
    let function = match members.text("targetType")?.unwrap_or("AWS_LAMBDA") {
        "PAUSE" => {
            if members.get("hookTargetArn").is_some() || members.get("roleArn").is_some() {
                return Err(invalid("hookTargetArn and roleArn are not allowed for PAUSE lifecycle hooks."));
            }
            None
        }
        "AWS_LAMBDA" => Some(HookFunction {
            role: members.required_text("roleArn")?.to_owned(),
            arn: members.required_text("hookTargetArn")?.to_owned(),
            details,
        }),
        other => return Err(invalid(format!("Invalid lifecycle hook targetType: {other}."))),
    };
    let stages = members.texts("lifecycleStages")?;
    if stages.is_empty() {
        return Err(invalid("lifecycleStages can not be empty."));
    }
    let stages = stages
        .into_iter()
        .map(|name| {
            let allowed =
                |stage: &Stage| if function.is_some() { stage.may_call() } else { stage.may_pause() };
            Stage::parse(name).filter(allowed).ok_or_else(|| {
                invalid(format!("A lifecycle hook of this type is not allowed at stage {name}."))
            })
        })
        .collect::<Result<_, _>>()?;
    let timeout = members.structure("timeoutConfiguration")?;
    let timeout_minutes = match timeout {
        Some(timeout) => {
            let longest = if function.is_some() { 1440 } else { 20_160 };
            bounded(timeout, "timeoutInMinutes", 1, longest)?
        }
        None => None,
    };
    let timeout_action = match timeout.map(|timeout| timeout.text("action")).transpose()?.flatten() {
        Some(action) => HookAction::parse(action)?,
        None => HookAction::Rollback,
    };
    Ok(Hook { function, stages, timeout_minutes: timeout_minutes.unwrap_or(1440), timeout_action })
}

fn alarms(members: Members<'_>) -> Result<Option<AlarmConfig>, AwsError> {
    let Some(alarms) = members.structure("alarms")? else { return Ok(None) };
    let required = |name: &str| {
        alarms.optional_flag(name)?.ok_or_else(|| invalid(format!("alarms.{name} can not be blank.")))
    };
    if alarms.get("alarmNames").is_none() {
        return Err(invalid("alarms.alarmNames can not be blank."));
    }
    let names: Vec<String> = alarms.texts("alarmNames")?.into_iter().map(str::to_owned).collect();
    let rollback = required("rollback")?;
    if !required("enable")? {
        return Ok(None);
    }
    if names.is_empty() {
        return Err(invalid("alarms.alarmNames can not be empty when alarms are enabled."));
    }
    Ok(Some(AlarmConfig { names, rollback }))
}

fn early_success(
    members: Members<'_>,
    strategy: Strategy,
    minimum_healthy_percent: u32,
) -> Result<Option<EarlySuccess>, AwsError> {
    let Some(criteria) = members.structure("earlySuccessCriteria")? else { return Ok(None) };
    let enable = criteria
        .optional_flag("enable")?
        .ok_or_else(|| invalid("earlySuccessCriteria.enable can not be blank."))?;
    if !enable || strategy != Strategy::Rolling {
        return Ok(None);
    }
    let healthy_percent = bounded(criteria, "healthyPercent", 0, 100)?
        .ok_or_else(|| invalid("earlySuccessCriteria.healthyPercent can not be blank."))?;
    if healthy_percent < minimum_healthy_percent {
        return Err(invalid(
            "earlySuccessCriteria.healthyPercent must be greater than or equal to minimumHealthyPercent.",
        ));
    }
    let deferred = match criteria.required_text("sourceServiceRevisionCleanup")? {
        "BLOCKING" => false,
        "DEFERRED" => true,
        other => return Err(invalid(format!("Invalid sourceServiceRevisionCleanup: {other}."))),
    };
    Ok(Some(EarlySuccess { healthy_percent, deferred }))
}

fn breaker(members: Members<'_>) -> Result<Option<BreakerConfig>, AwsError> {
    let Some(breaker) = members.structure("deploymentCircuitBreaker")? else { return Ok(None) };
    let threshold = match breaker.structure("thresholdConfiguration")? {
        None => Threshold::BoundedPercent(50),
        Some(configured) => {
            let value = bounded(configured, "value", 1, 10_000)?
                .ok_or_else(|| invalid("thresholdConfiguration.value can not be blank."))?;
            match configured.required_text("type")? {
                "COUNT" => Threshold::Count(value),
                "BOUNDED_PERCENT" => Threshold::BoundedPercent(value),
                "UNBOUNDED_PERCENT" => Threshold::UnboundedPercent(value),
                other => return Err(invalid(format!("Invalid thresholdConfiguration.type: {other}."))),
            }
        }
    };
    let parsed = BreakerConfig {
        rollback: breaker.flag("rollback")?,
        reset_on_healthy_task: breaker.optional_flag("resetOnHealthyTask")?.unwrap_or(true),
        threshold,
    };
    Ok(breaker.flag("enable")?.then_some(parsed))
}
