//! The plan: the stages of a release and the way back, written before the first step. Data: printable, stored, hashed.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::ids::{AlarmName, ContainerName, Image, RuleArn, Target, TargetGroupArn, TaskDefinitionArn};
use crate::observation::{LoadBalancerSeen, RuleSeen};
use crate::policy::{Percent, Policy, Shift, Span, Strategy};
use crate::preflight::Ground;
use crate::release::Intent;

/// Where our pause hooks stand: before every shift of production traffic, and before the old version is given up.
pub const PAUSE_BEFORE_SHIFT: &str = "PRE_PRODUCTION_TRAFFIC_SHIFT";
/// The pause the final bake happens in: all traffic is on the new version, both versions run.
pub const PAUSE_BEFORE_PROMOTION: &str = "POST_PRODUCTION_TRAFFIC_SHIFT";

/// How much longer than the bake ECS waits at a pause hook before it rolls back by itself: Tidegate is then surely gone.
const HOOK_GRACE_MINUTES: u64 = 15;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The way back was proven before the first step.
    Preflight,
    /// The current task definition, with only the container's image changed.
    RegisterTaskDefinition,
    /// The candidate's tasks start, without production traffic.
    StartDeployment,
    /// Production traffic moves until the candidate has this share.
    Shift {
        /// The share afterwards.
        percent: Percent,
    },
    /// The alarms are watched at this share.
    Bake {
        /// The share.
        percent: Percent,
        /// How long, seconds.
        secs: u32,
    },
    /// Tasks are replaced in place (rolling).
    RollOut,
    /// The old version's tasks are given up.
    Promote,
    /// The service's own deployment configuration is put back.
    PutBack,
}

impl Stage {
    /// How long the stage may take before the release is rolled back, seconds.
    pub fn limit_secs(&self) -> u64 {
        match self {
            Self::Preflight | Self::RegisterTaskDefinition | Self::PutBack => 10 * 60,
            Self::StartDeployment => 30 * 60,
            // A Network Load Balancer adds ten minutes to every shift (ECS developer guide, NLB resources for blue/green).
            Self::Shift { .. } => 25 * 60,
            Self::Bake { secs, .. } => u64::from(*secs) + 10 * 60,
            Self::RollOut => 2 * 3600,
            Self::Promote => 60 * 60,
        }
    }

    /// How long it takes at least, seconds.
    fn at_least_secs(&self) -> u32 {
        match self {
            Self::Bake { secs, .. } => *secs,
            Self::Preflight
            | Self::RegisterTaskDefinition
            | Self::StartDeployment
            | Self::Shift { .. }
            | Self::RollOut
            | Self::Promote
            | Self::PutBack => 0,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preflight => f.write_str("preflight"),
            Self::RegisterTaskDefinition => f.write_str("register task definition"),
            Self::StartDeployment => f.write_str("start deployment"),
            Self::Shift { percent } => write!(f, "shift to {percent} %"),
            Self::Bake { percent, secs } => {
                let span = Span::from_secs(*secs).map_or_else(|| format!("{secs}s"), |span| span.to_string());
                write!(f, "bake at {percent} % for {span}")
            }
            Self::RollOut => f.write_str("roll out"),
            Self::Promote => f.write_str("promote"),
            Self::PutBack => f.write_str("put configuration back"),
        }
    }
}

/// What a release will do, and what undoes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// What.
    pub image: Image,
    /// In which container.
    pub container: ContainerName,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// What undoes it.
    pub way_back: WayBack,
    /// The alarms the release is judged by.
    pub alarms: Vec<AlarmName>,
    /// The `deploymentConfiguration` while the release is under way.
    pub configuration: Value,
    /// Where the candidate's share is measured: the rule, and the target group the candidate gets.
    pub measured_at: Vec<(RuleArn, TargetGroupArn)>,
    /// When it was made.
    pub made_at: Timestamp,
}

/// What must be done to restore exactly what was there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayBack {
    /// The task definition that ran.
    pub task_definition: TaskDefinitionArn,
    /// The image that ran in the container, as its task definition writes it.
    pub image: Option<String>,
    /// The service's own `deploymentConfiguration`, with what AWS left out said explicitly, so that sending it undoes ours.
    pub configuration: Value,
    /// The weights that were live.
    pub weights: Vec<RuleSeen>,
}

/// Makes the plan. Preflight has passed: the service can be released with this strategy.
pub fn compile(
    policy: &Policy,
    target: &Target,
    image: &Image,
    intent: &Intent,
    ground: Ground<'_>,
    now: Timestamp,
) -> Plan {
    let Ground { service, task_definition, weights } = ground;
    let strategy = strategy_for(policy, intent);
    let alarms = match intent {
        Intent::Deploy => policy.rollback.alarms.clone(),
        // The alarms are red because of what is being left.
        Intent::Return { .. } => Vec::new(),
    };
    let container = policy.to.ecs.container.clone();
    Plan {
        target: target.clone(),
        image: image.clone(),
        stages: stages(&strategy, intent),
        way_back: WayBack {
            task_definition: task_definition.arn.clone(),
            image: task_definition.images.get(&container).cloned(),
            configuration: restorable(&service.deployment_configuration),
            weights: weights.to_vec(),
        },
        configuration: configuration(&service.deployment_configuration, &strategy, &alarms),
        measured_at: match strategy.shift {
            Shift::Rolling => Vec::new(),
            Shift::Canary { .. } | Shift::Linear { .. } | Shift::BlueGreen => {
                service.load_balancers.iter().filter_map(|lb| candidate_group(lb, weights)).collect()
            }
        },
        container,
        alarms,
        made_at: now,
    }
}

/// A return to what ran before does not creep: all traffic at once, or in place where the policy says rolling.
fn strategy_for(policy: &Policy, intent: &Intent) -> Strategy {
    let none = Span::default();
    match (intent, &policy.strategy.shift) {
        (Intent::Deploy, _) => policy.strategy.clone(),
        (Intent::Return { .. }, Shift::Rolling) => Strategy { shift: Shift::Rolling, bake: none },
        (Intent::Return { .. }, Shift::Canary { .. } | Shift::Linear { .. } | Shift::BlueGreen) => {
            Strategy { shift: Shift::BlueGreen, bake: none }
        }
    }
}

fn stages(strategy: &Strategy, intent: &Intent) -> Vec<Stage> {
    let mut stages = vec![Stage::Preflight];
    match intent {
        Intent::Deploy => stages.push(Stage::RegisterTaskDefinition),
        Intent::Return { .. } => {}
    }
    stages.push(Stage::StartDeployment);
    let mut shift = |percent: Percent, bake: Span| {
        stages.push(Stage::Shift { percent });
        if bake > Span::default() {
            stages.push(Stage::Bake { percent, secs: bake.secs() });
        }
    };
    match &strategy.shift {
        Shift::Canary { percent, bake } => {
            shift(*percent, *bake);
            shift(Percent::ALL, strategy.bake);
        }
        Shift::Linear { percent, bake } => {
            let mut share = *percent;
            while share < Percent::ALL {
                shift(share, *bake);
                share = share.plus(*percent);
            }
            shift(Percent::ALL, strategy.bake);
        }
        Shift::BlueGreen => shift(Percent::ALL, strategy.bake),
        Shift::Rolling => {
            stages.push(Stage::RollOut);
            if strategy.bake > Span::default() {
                stages.push(Stage::Bake { percent: Percent::ALL, secs: strategy.bake.secs() });
            }
        }
    }
    match strategy.shift {
        Shift::Rolling => {}
        Shift::Canary { .. } | Shift::Linear { .. } | Shift::BlueGreen => stages.push(Stage::Promote),
    }
    stages.push(Stage::PutBack);
    stages
}

/// The rule and the target group that carries no traffic now: where the candidate will be.
fn candidate_group(lb: &LoadBalancerSeen, weights: &[RuleSeen]) -> Option<(RuleArn, TargetGroupArn)> {
    let rule = lb.production_rule.as_ref()?;
    let seen = weights.iter().find(|seen| seen.arn == *rule)?;
    let idle = [&lb.target_group, &lb.alternate_target_group]
        .into_iter()
        .flatten()
        .find(|group| seen.share(group) == Some(Percent::NONE))?;
    Some((rule.clone(), idle.clone()))
}

/// The service's own configuration with the strategy, our pause hooks and the policy's alarms as ECS's second line.
fn configuration(own: &Value, strategy: &Strategy, alarms: &[AlarmName]) -> Value {
    let mut configuration = own.as_object().cloned().unwrap_or_default();
    for field in ["canaryConfiguration", "linearConfiguration", "bakeTimeInMinutes"] {
        configuration.remove(field);
    }
    let name = match &strategy.shift {
        Shift::Canary { percent, .. } => {
            configuration.insert(
                "canaryConfiguration".into(),
                json!({ "canaryPercent": percent.as_f64(), "canaryBakeTimeInMinutes": 0 }),
            );
            "CANARY"
        }
        Shift::Linear { percent, .. } => {
            configuration.insert(
                "linearConfiguration".into(),
                json!({ "stepPercent": percent.as_f64(), "stepBakeTimeInMinutes": 0 }),
            );
            "LINEAR"
        }
        Shift::BlueGreen => "BLUE_GREEN",
        Shift::Rolling => "ROLLING",
    };
    configuration.insert("strategy".into(), name.into());
    if !alarms.is_empty() {
        let names: Vec<&str> = alarms.iter().map(AlarmName::as_str).collect();
        configuration
            .insert("alarms".into(), json!({ "alarmNames": names, "enable": true, "rollback": true }));
    }
    match &strategy.shift {
        Shift::Rolling => {
            configuration.insert(
                "deploymentCircuitBreaker".into(),
                with_breaker(configuration.get("deploymentCircuitBreaker")),
            );
        }
        Shift::Canary { bake, .. } | Shift::Linear { bake, .. } => {
            hold(&mut configuration, *bake, strategy.bake)
        }
        Shift::BlueGreen => hold(&mut configuration, Span::default(), strategy.bake),
    }
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
fn hold(configuration: &mut Map<String, Value>, step_bake: Span, final_bake: Span) {
    configuration.insert("bakeTimeInMinutes".into(), 0.into());
    let pause = |stage: &str, bake: Span| {
        let minutes = u64::from(bake.secs()).div_ceil(60) + HOOK_GRACE_MINUTES;
        json!({
            "targetType": "PAUSE",
            "lifecycleStages": [stage],
            "timeoutConfiguration": { "timeoutInMinutes": minutes, "action": "ROLLBACK" },
        })
    };
    let mut hooks =
        configuration.get("lifecycleHooks").and_then(Value::as_array).cloned().unwrap_or_default();
    hooks.push(pause(PAUSE_BEFORE_SHIFT, step_bake));
    hooks.push(pause(PAUSE_BEFORE_PROMOTION, final_bake));
    configuration.insert("lifecycleHooks".into(), hooks.into());
}

/// A configuration with what AWS leaves out said explicitly: sent with `UpdateService`, it undoes ours field by field.
pub fn restorable(own: &Value) -> Value {
    let mut configuration = own.as_object().cloned().unwrap_or_default();
    let neutral = [
        ("strategy", json!("ROLLING")),
        ("alarms", json!({ "alarmNames": [], "enable": false, "rollback": false })),
        ("deploymentCircuitBreaker", json!({ "enable": false, "rollback": false })),
        ("lifecycleHooks", json!([])),
    ];
    for (field, value) in neutral {
        if configuration.get(field).is_none_or(Value::is_null) {
            configuration.insert(field.into(), value);
        }
    }
    Value::Object(configuration)
}

/// Whether two configurations mean the same: what AWS leaves out equals the neutral value said explicitly.
pub fn same_configuration(left: &Value, right: &Value) -> bool {
    normalised(left) == normalised(right)
}

fn normalised(configuration: &Value) -> Value {
    let mut map = restorable(configuration).as_object().cloned().unwrap_or_default();
    let strategy = map.get("strategy").and_then(Value::as_str).unwrap_or_default().to_owned();
    // What belongs to another strategy than the one in force means nothing.
    for (field, owner) in [("canaryConfiguration", "CANARY"), ("linearConfiguration", "LINEAR")] {
        if strategy != owner {
            map.remove(field);
        }
    }
    if strategy == "ROLLING" {
        map.remove("bakeTimeInMinutes");
    }
    if map["alarms"]["enable"] != json!(true) {
        map.insert("alarms".into(), json!({ "enable": false }));
    }
    if map["deploymentCircuitBreaker"]["enable"] != json!(true) {
        map.insert("deploymentCircuitBreaker".into(), json!({ "enable": false }));
    }
    map.retain(|_, value| !value.is_null());
    map.sort_keys();
    Value::Object(map)
}

impl Plan {
    /// SHA-256 over the plan without the time it was made, in hexadecimal: what an approval is bound to.
    pub fn hash(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.remove("made_at");
        }
        value.sort_all_objects();
        hex::encode(Sha256::digest(value.to_string()))
    }

    /// Whether ECS's own stages with our pause hooks move the traffic, rather than a rolling replacement.
    pub fn is_held(&self) -> bool {
        !self.stages.contains(&Stage::RollOut)
    }

    /// The shortest time from the first to the last stage, seconds.
    pub fn at_least_secs(&self) -> u64 {
        self.stages.iter().map(|stage| u64::from(stage.at_least_secs())).sum()
    }

    /// The plan for people: a line for each stage with the earliest time it begins, then the way back.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("release {} to {}", self.image, self.target),
            format!("  container   {}", self.container),
            format!("  plan        {}", &self.hash()[..12]),
        ];
        let mut at = 0u32;
        for (number, stage) in self.stages.iter().enumerate() {
            let span = Span::from_secs(at).map_or_else(|| format!("{at}s"), |span| span.to_string());
            lines.push(format!("  {:>2}. {stage:<32} from +{span}", number + 1));
            at = at.saturating_add(stage.at_least_secs());
        }
        let alarms = match self.alarms.as_slice() {
            [] => "none: only Amazon ECS's own checks and you move it back".to_owned(),
            names => names.iter().map(AlarmName::as_str).collect::<Vec<_>>().join(", "),
        };
        lines.push(format!("  moved back by  {alarms}"));
        lines.push("the way back".to_owned());
        for rule in &self.way_back.weights {
            let weights: Vec<String> =
                rule.weights.iter().map(|(group, weight)| format!("{} {weight}", group.short())).collect();
            lines.push(format!("  traffic             {}", weights.join(", ")));
        }
        lines.push(format!("  task definition     {}", self.way_back.task_definition.short()));
        if let Some(image) = &self.way_back.image {
            lines.push(format!("  image               {image}"));
        }
        let strategy = self.way_back.configuration["strategy"].as_str().unwrap_or("ROLLING");
        lines.push(format!("  configuration       {strategy}, as it is now"));
        lines
    }
}
