//! The policy of a service: one YAML file that says what starts a release, where it goes, how traffic moves and what moves it
//! back. Parsed once into types that cannot be wrong; the JSON Schema editors complete from is generated from these types.

mod containers;
mod destination;
mod evidence;
mod explain;
mod gates;
#[cfg(test)]
mod mistakes;
mod notify;
mod parse;
mod scalars;
mod schema;
mod sources;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{
    AccountId, AlarmName, ClusterName, ContainerName, EcsServiceName, Region, RoleArn, RuleArn, ServiceName,
    Target, TargetGroupArn,
};

pub use containers::ContainerSource;
pub use destination::{Destination, EngineFor, LambdaDestination};
pub use evidence::{
    Amount, Chance, Compare, CompareMetric, Evidence, Inconclusive, Limit, LimitMetric, Millis, Ratio, Slow,
};
pub use gates::{
    Allowed, Approval, Before, Dated, Drill, Freeze, FreezeThen, Frozen, OnExpiry, Person, PipelineAction,
    Scan, SeverityName, Verify, VerifyAt, WeekTime, Weekly, Zone,
};
pub use notify::{Channel, Moment, Receiver, parse_channels};
pub use parse::{PolicyError, parse, to_yaml};
pub use scalars::{NamePattern, Percent, Span, TagPattern};
pub use schema::json_schema;
pub use sources::{
    BucketSource, BuildOrigin, BuildSource, DockerHubSource, EcrSource, GitHubDeployments, GitHubRun,
    GitHubRuns, GitHubSource, JenkinsSource, PipelineSource, RequestSource, Source, WebhookSource,
};

/// How many failed tasks a release remembers; no policy can ask for more.
pub const FAILED_TASKS_KEPT: usize = 50;

/// Amazon ECS ends a stage after 24 hours; our pause hooks in it wait a quarter of an hour longer than the release.
const STAGE_MAX_SECS: u32 = 24 * 3600 - 15 * 60;
/// How long people may pause a release when the policy does not say.
const PAUSE_SECS: u32 = 15 * 60;

/// One service's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "Unchecked")]
#[schemars(!try_from)]
pub struct Policy {
    /// The name Tidegate knows the service by.
    pub service: ServiceName,
    /// What starts a release.
    pub from: Source,
    /// Where the release goes.
    pub to: Destination,
    /// How traffic moves.
    pub strategy: Strategy,
    /// What moves it back.
    #[serde(default)]
    pub rollback: Rollback,
    /// How the candidate is judged by its numbers.
    #[serde(default, skip_serializing_if = "Evidence::is_default")]
    pub evidence: Evidence,
    /// How long people may pause a release in all, at most 23h; then it is rolled back. 0s: not at all. Default 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Span>,
    /// What happens when a newer image arrives while a release is under way.
    #[serde(default)]
    pub on_newer: OnNewer,
    /// Who has to approve, and where in the plan; one, or a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Approval>")]
    pub approval: Vec<Approval>,
    /// The address book: how people are reached, and known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, Person>,
    /// Groups of people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Vec<String>>,
    /// When nothing is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// What the image's scan may find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scan>,
    /// Builds that try the candidate; one, or a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Verify>")]
    pub verify: Vec<Verify>,
    /// When a drill may be held: the running image is released again and rolled back on purpose. Default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drill>,
    /// Who is told. Default: whom the installation names; an empty list tells nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<Channel>>,
}

/// For the JSON Schema alone: one value, or a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A policy whose parts are each right, before they are checked against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Policy")]
struct Unchecked {
    service: ServiceName,
    from: Source,
    to: Destination,
    strategy: Strategy,
    #[serde(default)]
    rollback: Rollback,
    #[serde(default)]
    evidence: Evidence,
    #[serde(default)]
    pause: Option<Span>,
    #[serde(default)]
    on_newer: OnNewer,
    #[serde(default, deserialize_with = "gates::one_or_many")]
    approval: Vec<Approval>,
    #[serde(default)]
    people: BTreeMap<String, Person>,
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    freeze: Option<Freeze>,
    #[serde(default)]
    scan: Option<Scan>,
    #[serde(default, deserialize_with = "gates::one_or_many")]
    verify: Vec<Verify>,
    #[serde(default)]
    drill: Option<Drill>,
    #[serde(default)]
    notify: Option<Vec<Channel>>,
}

impl TryFrom<Unchecked> for Policy {
    type Error = String;

    fn try_from(raw: Unchecked) -> Result<Self, String> {
        let Unchecked {
            service,
            from,
            to,
            strategy,
            rollback,
            evidence,
            pause,
            on_newer,
            approval,
            people,
            groups,
            freeze,
            scan,
            verify,
            drill,
            notify,
        } = raw;
        let policy = Self {
            service,
            from,
            to,
            strategy,
            rollback,
            evidence,
            pause,
            on_newer,
            approval,
            people,
            groups,
            freeze,
            scan,
            verify,
            drill,
            notify,
        };
        policy.check()?;
        Ok(policy)
    }
}

/// An Amazon ECS service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawEcsDestination", into = "RawEcsDestination")]
#[schemars(with = "RawEcsDestination")]
pub struct EcsDestination {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The ECS service's name.
    pub service: EcsServiceName,
    /// The containers whose images are released, one or more. Those that are not named keep the image they run.
    pub containers: BTreeMap<ContainerName, ContainerSource>,
    /// The account of the service; `None`: the account Tidegate is installed in.
    pub account: Option<AccountId>,
    /// The region of the service; `None`: the region Tidegate is installed in.
    pub region: Option<Region>,
    /// A role to assume for the service.
    pub role: Option<RoleArn>,
    /// Where the candidate runs with the engine `weighted`: on a second, small service of its own.
    pub canary: Option<CanaryPlace>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "EcsDestination")]
#[schemars(rename = "EcsDestination", extend("oneOf" = [{"required": ["container"]}, {"required": ["containers"]}]))]
struct RawEcsDestination {
    /// The cluster's name.
    cluster: ClusterName,
    /// The ECS service's name.
    service: EcsServiceName,
    /// The container whose image is released. For several: `containers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<ContainerName>,
    /// The containers whose images are released, each with where its images come from: `{}` for those of `from.ecr`. Containers that are not
    /// named keep the image they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    containers: Option<BTreeMap<ContainerName, ContainerSource>>,
    /// The account of the service. Default: the account Tidegate is installed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    /// The region of the service. Default: the region Tidegate is installed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
    /// A role to assume for the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<RoleArn>,
    /// Where the candidate runs with the engine `weighted`: on a second, small service of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryPlace>,
}

impl TryFrom<RawEcsDestination> for EcsDestination {
    type Error = String;

    fn try_from(raw: RawEcsDestination) -> Result<Self, String> {
        let RawEcsDestination { cluster, service, container, containers, account, region, role, canary } =
            raw;
        let containers = containers::of_written(container, containers)?;
        Ok(Self { cluster, service, containers, account, region, role, canary })
    }
}

impl From<EcsDestination> for RawEcsDestination {
    fn from(to: EcsDestination) -> Self {
        let container = to.only_container().cloned();
        let EcsDestination { cluster, service, containers, account, region, role, canary } = to;
        let containers = container.is_none().then_some(containers);
        Self { cluster, service, container, containers, account, region, role, canary }
    }
}

/// Where the candidate runs with the engine `weighted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CanaryPlace")]
pub struct CanaryPlace {
    /// The target group of the candidate's tasks: on the same load balancer, and used by nothing else. None for a service without a load
    /// balancer; then the share is the share of tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<TargetGroupArn>,
    /// The listener rules (Application Load Balancer) or listeners (Network Load Balancer) whose weights are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleArn>,
    /// How many tasks the candidate has at least. Default 1.
    #[serde(default = "scalars::one")]
    pub min_tasks: u32,
}

/// How traffic moves. Exactly one of `canary`, `linear`, `blue_green` and `rolling`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawStrategy", into = "RawStrategy")]
#[schemars(with = "RawStrategy")]
pub struct Strategy {
    /// The way the traffic is moved.
    pub shift: Shift,
    /// How long both versions stay, and the alarms are watched, after all traffic has moved.
    pub bake: Span,
    /// Who moves it.
    pub engine: EngineChoice,
}

/// Who moves the traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Engine")]
pub enum EngineChoice {
    /// Amazon ECS, with a deployment strategy of its own.
    #[default]
    Native,
    /// Tidegate sets the weights; the candidate runs on a second, small service.
    Weighted,
}

/// One step of `steps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step")]
pub struct ShiftStep {
    /// The candidate's share, 0.1 to 99.9, larger than that of the step before.
    #[serde(deserialize_with = "scalars::some_percent")]
    pub percent: Percent,
    /// How long it is watched. Default 10m.
    #[serde(default = "scalars::ten_minutes")]
    pub bake: Span,
}

/// The ways traffic is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shift {
    /// One small share first, then everything.
    Canary {
        /// The first share.
        percent: Percent,
        /// How long the first share is watched.
        bake: Span,
    },
    /// Equal steps.
    Linear {
        /// The size of each step.
        percent: Percent,
        /// How long each step is watched.
        bake: Span,
    },
    /// Any steps, in the order they are written; everything after the last one.
    Steps {
        /// The steps.
        steps: Vec<ShiftStep>,
    },
    /// Everything at once, with the stable version kept beside.
    BlueGreen,
    /// Task by task, in place.
    Rolling,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Strategy", extend("oneOf" = [
    {"required": ["canary"]}, {"required": ["linear"]}, {"required": ["steps"]}, {"required": ["blue_green"]},
    {"required": ["rolling"]}
]))]
struct RawStrategy {
    /// One small share first, then everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<CanarySteps>,
    /// Equal steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linear: Option<LinearSteps>,
    /// Any steps; everything after the last one. Needs the engine `weighted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<ShiftStep>>,
    /// Everything at once, with the stable version kept beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blue_green: Option<NoSettings>,
    /// Task by task, in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rolling: Option<NoSettings>,
    /// How long both versions stay after all traffic has moved. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bake: Option<Span>,
    /// Who moves the traffic. Default: `weighted` for `steps`, otherwise `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<EngineChoice>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Canary")]
struct CanarySteps {
    /// The first share, 0.1 to 99.9. Default 5.
    #[serde(default = "scalars::five_percent", deserialize_with = "scalars::some_percent")]
    percent: Percent,
    /// How long the first share is watched. Default 10m.
    #[serde(default = "scalars::ten_minutes")]
    bake: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Linear")]
struct LinearSteps {
    /// The size of each step, 3 to 100. Default 10.
    #[serde(default = "scalars::ten_percent", deserialize_with = "scalars::some_percent")]
    percent: Percent,
    /// How long each step is watched. Default 6m.
    #[serde(default = "scalars::six_minutes")]
    bake: Span,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NoSettings")]
struct NoSettings {}

impl TryFrom<RawStrategy> for Strategy {
    type Error = String;

    fn try_from(raw: RawStrategy) -> Result<Self, String> {
        let bake = raw.bake.unwrap_or_else(scalars::ten_minutes);
        let engine = raw.engine.unwrap_or(match raw.steps {
            Some(_) => EngineChoice::Weighted,
            None => EngineChoice::Native,
        });
        let shift = match (raw.canary, raw.linear, raw.steps, raw.blue_green, raw.rolling) {
            (Some(canary), None, None, None, None) => {
                if canary.percent == Percent::ALL {
                    return Err("canary.percent: found 100, allowed 0.1 to 99.9; for everything at once use blue_green".into());
                }
                Shift::Canary { percent: canary.percent, bake: canary.bake }
            }
            (None, Some(linear), None, None, None) => {
                Shift::Linear { percent: linear.percent, bake: linear.bake }
            }
            (None, None, Some(steps), None, None) => Shift::Steps { steps: in_order(steps, engine)? },
            (None, None, None, Some(_), None) => Shift::BlueGreen,
            (None, None, None, None, Some(_)) => {
                if engine == EngineChoice::Weighted {
                    return Err("engine: found weighted with rolling, which moves no traffic; allowed with canary, linear, steps and blue_green".into());
                }
                Shift::Rolling
            }
            (canary, linear, steps, blue_green, rolling) => {
                let named = [
                    ("canary", canary.is_some()),
                    ("linear", linear.is_some()),
                    ("steps", steps.is_some()),
                    ("blue_green", blue_green.is_some()),
                    ("rolling", rolling.is_some()),
                ];
                let found: Vec<&str> =
                    named.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
                let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
                return Err(format!(
                    "exactly one of canary, linear, steps, blue_green and rolling is needed, found {found}"
                ));
            }
        };
        Ok(Self { shift, bake, engine })
    }
}

/// Steps only go up, and end before everything: that comes after them by itself.
fn in_order(steps: Vec<ShiftStep>, engine: EngineChoice) -> Result<Vec<ShiftStep>, String> {
    if engine == EngineChoice::Native {
        return Err("engine: found native with steps; Amazon ECS knows one canary step or equal ones, so steps need weighted".into());
    }
    if steps.is_empty() {
        return Err("steps: found none, at least one is needed".into());
    }
    let mut before = Percent::NONE;
    for (index, step) in steps.iter().enumerate() {
        if step.percent <= before || step.percent >= Percent::ALL {
            return Err(format!(
                "steps[{index}].percent: found {}, allowed above {before} and below 100; everything follows after the last step",
                step.percent
            ));
        }
        before = step.percent;
    }
    Ok(steps)
}

impl From<Strategy> for RawStrategy {
    fn from(strategy: Strategy) -> Self {
        let engine = Some(strategy.engine).filter(|engine| *engine == EngineChoice::Weighted);
        let mut raw = Self { bake: Some(strategy.bake), engine, ..Self::default() };
        match strategy.shift {
            Shift::Canary { percent, bake } => raw.canary = Some(CanarySteps { percent, bake }),
            Shift::Linear { percent, bake } => raw.linear = Some(LinearSteps { percent, bake }),
            Shift::Steps { steps } => raw.steps = Some(steps),
            Shift::BlueGreen => raw.blue_green = Some(NoSettings {}),
            Shift::Rolling => raw.rolling = Some(NoSettings {}),
        }
        raw
    }
}

/// What moves traffic back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// CloudWatch alarms, metric or composite, in the service's account and region, at most 90. One in ALARM rolls the release back.
    #[serde(default, deserialize_with = "scalars::alarms")]
    #[schemars(length(max = 90))]
    pub alarms: Vec<AlarmName>,
    /// So many tasks of the candidate that crash, do not start or fail their health checks roll the release back, 0 to 50; 0: none do.
    /// Default 3.
    #[serde(default = "three")]
    #[schemars(range(max = 50))]
    pub failed_tasks: u32,
}

fn three() -> u32 {
    3
}

impl Default for Rollback {
    fn default() -> Self {
        Self { alarms: Vec::new(), failed_tasks: three() }
    }
}

/// What happens when a newer image arrives while a release is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNewer {
    /// It waits until the release has ended; only the newest waits.
    #[default]
    Queue,
    /// The release under way is rolled back and the newer one starts.
    Replace,
}

impl Policy {
    /// The place of the candidate belongs to the engine that needs one.
    fn check_canary(&self) -> Result<(), String> {
        let Destination::Ecs(EcsDestination { canary: Some(canary), .. }) = &self.to else { return Ok(()) };
        if self.strategy.engine == EngineChoice::Native {
            return Err("to.ecs.canary: found with the engine native, allowed with steps or engine: weighted; Amazon ECS knows the second target group from the service itself".into());
        }
        if canary.min_tasks == 0 {
            return Err("to.ecs.canary.min_tasks: found 0, allowed 1 and more".into());
        }
        match (&canary.target_group, canary.rules.is_empty()) {
            (Some(_), false) | (None, true) => Ok(()),
            (Some(_), true) => Err("to.ecs.canary.rules: found none, at least one is needed with a target_group: the listener rules whose weights are set".into()),
            (None, false) => Err("to.ecs.canary.target_group: found none, one is needed with rules: the target group of the candidate's tasks".into()),
        }
    }

    /// What the target can be shifted by.
    fn check_shift(&self) -> Result<(), String> {
        match (self.engine(), &self.strategy.shift) {
            (EngineFor::EcsNative(_), Shift::Linear { percent, .. }) if *percent < Percent::MINIMUM_LINEAR_STEP => {
                Err(format!("strategy.linear.percent: found {percent}, allowed 3 to 100 (Amazon ECS's limit for steps)"))
            }
            (EngineFor::LambdaAlias(_), Shift::Rolling) => Err("strategy.rolling: found with to.lambda, which has no tasks to replace one by one; allowed canary, linear, steps and blue_green".into()),
            (EngineFor::EcsNative(_) | EngineFor::EcsWeighted(_) | EngineFor::LambdaAlias(_), _) => Ok(()),
        }
    }

    /// What only shows when the parts are seen together. The errors name the field.
    fn check(&self) -> Result<(), String> {
        let rolling = self.strategy.shift == Shift::Rolling;
        self.check_shift()?;
        self.check_canary()?;
        self.check_containers()?;
        if usize::try_from(self.rollback.failed_tasks).is_ok_and(|count| count > FAILED_TASKS_KEPT) {
            return Err(format!(
                "rollback.failed_tasks: found {}, allowed 0 to {FAILED_TASKS_KEPT}",
                self.rollback.failed_tasks
            ));
        }
        for (group, members) in &self.groups {
            if let Some(unknown) = members.iter().find(|name| !self.people.contains_key(*name)) {
                return Err(format!("groups.{group}: found {unknown:?}, allowed the names in people"));
            }
        }
        for (index, approval) in self.approval.iter().enumerate() {
            if let Some(unknown) = approval
                .by
                .iter()
                .find(|name| !self.people.contains_key(*name) && !self.groups.contains_key(*name))
            {
                return Err(format!(
                    "approval[{index}].by: found {unknown:?}, allowed the names in people and groups"
                ));
            }
            let able = self.approvers(approval).len();
            if approval.count == 0 || usize::from(approval.count) > able {
                return Err(format!(
                    "approval[{index}].count: found {}, allowed 1 to {able}, as many people as may approve",
                    approval.count
                ));
            }
            if rolling && approval.before != Before::Deploy {
                let found = approval.before;
                return Err(format!(
                    "approval[{index}].before: found {found}, allowed deploy: a rolling strategy holds no traffic back"
                ));
            }
        }
        self.check_evidence()?;
        if rolling && self.evidence.min_requests.is_some_and(|count| count > 0) {
            return Err("evidence.min_requests: found a number above 0, allowed 0: with a rolling strategy both versions stand behind one target group, and nobody can count the candidate's requests".into());
        }
        for before in [Before::Shift, Before::Promote] {
            let total = self.gates_secs(before);
            if total > Span::MAX_SECS {
                return Err(format!(
                    "approval: found waits before {before} of {} h together (verify counted in), allowed 23 h: Amazon ECS ends a stage after 24 h",
                    total.div_ceil(3600)
                ));
            }
            self.check_stage(before)?;
        }
        if let Some(index) = self.verify.iter().position(|_| rolling) {
            return Err(format!(
                "verify[{index}]: a rolling strategy holds no traffic back for the candidate to be tried; use another strategy"
            ));
        }
        self.from.check()?;
        notify::check(self.notify.as_deref().unwrap_or_default(), |name| self.is_reached_by_slack(name))
    }

    /// How long the gates before this moment may hold a release, seconds.
    fn gates_secs(&self, before: Before) -> u32 {
        let approvals = self.approval.iter().filter(|approval| approval.before == before);
        let builds = self.verify.iter().filter(|_| before == Before::Shift);
        approvals
            .map(|approval| approval.expires.secs())
            .chain(builds.map(|verify| verify.timeout.secs()))
            .sum()
    }

    /// How long one stage of Amazon ECS holds the bake before this moment, what is waited for after the bake, and the gates, seconds; `None` where
    /// it holds none.
    fn stage_secs(&self, before: Before) -> Option<u32> {
        match self.engine() {
            EngineFor::EcsNative(_) => {}
            EngineFor::EcsWeighted(_) | EngineFor::LambdaAlias(_) => return None,
        }
        let bake = match (&self.strategy.shift, before) {
            (Shift::Rolling, _)
            | (Shift::BlueGreen | Shift::Steps { .. }, Before::Shift | Before::Deploy) => return None,
            (Shift::Canary { bake, .. } | Shift::Linear { bake, .. }, Before::Shift | Before::Deploy) => {
                *bake
            }
            (_, Before::Promote) => self.strategy.bake,
        };
        let wait = if self.evidence.may_hold() { self.evidence.wait_secs() } else { 0 };
        Some(bake.secs() + wait + self.gates_secs(before))
    }

    fn check_stage(&self, before: Before) -> Result<(), String> {
        let Some(secs) = self.stage_secs(before) else { return Ok(()) };
        let (field, counted, total) = match self.pause {
            Some(pause) => ("pause", "bake, evidence.wait, pause, approvals and verify", secs + pause.secs()),
            None => ("evidence.wait", "bake, evidence.wait, approvals and verify", secs),
        };
        if total > STAGE_MAX_SECS {
            return Err(format!(
                "{field}: found {} min of {counted} before {before}, allowed {} min: Amazon ECS ends a stage after 24 h",
                total.div_ceil(60),
                STAGE_MAX_SECS / 60
            ));
        }
        Ok(())
    }

    /// How long a bake is held for numbers that are missing, seconds: as the policy says, or for a person as long as Amazon ECS leaves for it.
    pub fn evidence_wait_secs(&self) -> u32 {
        let wait = self.evidence.wait_secs();
        match self.evidence.inconclusive.unwrap_or_default() {
            Inconclusive::RollBack => wait,
            Inconclusive::Hold => {
                let stages =
                    [Before::Shift, Before::Promote].into_iter().filter_map(|before| self.stage_secs(before));
                let rest = STAGE_MAX_SECS.saturating_sub(stages.max().unwrap_or(0) + self.pause_secs());
                wait.saturating_add(rest).min(STAGE_MAX_SECS)
            }
        }
    }

    /// What is compared needs traffic on both versions at once.
    fn check_evidence(&self) -> Result<(), String> {
        self.evidence.check(self.strategy.engine == EngineChoice::Weighted)?;
        let compare = self.evidence.compare.as_deref().unwrap_or_default();
        let counted = |compare: &Compare| matches!(compare, Compare::Errors | Compare::Slow(_));
        match &self.strategy.shift {
            Shift::BlueGreen if !compare.is_empty() => Err("evidence.compare: found a comparison with blue_green, allowed []: all traffic moves at once, so there is never a stable version beside it to compare with; use canary, linear or steps, or evidence.limits".into()),
            Shift::Rolling if compare.iter().any(counted) => Err("evidence.compare: found errors or slow with rolling, allowed metrics of your own: both versions stand behind one target group, and nobody can tell their requests apart".into()),
            Shift::BlueGreen | Shift::Rolling | Shift::Canary { .. } | Shift::Linear { .. } | Shift::Steps { .. } => Ok(()),
        }
    }

    /// How long people may pause a release in all, seconds. Where the policy does not say, as much of the default as Amazon ECS leaves for it.
    pub fn pause_secs(&self) -> u32 {
        let stages =
            [Before::Shift, Before::Promote].into_iter().filter_map(|before| self.stage_secs(before));
        let left = STAGE_MAX_SECS.saturating_sub(stages.max().unwrap_or(0));
        self.pause.map_or(PAUSE_SECS.min(left), Span::secs)
    }

    /// The people who may give an approval, each once.
    pub fn approvers(&self, approval: &Approval) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in &approval.by {
            let members = self.groups.get(name).cloned().unwrap_or_else(|| vec![name.clone()]);
            names.extend(members);
        }
        names.sort();
        names.dedup();
        names
    }

    /// People, and the members of groups, by these names.
    pub fn members<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Person> {
        let member = |name: &'a String| match self.groups.get(name) {
            Some(members) => members.as_slice(),
            None => std::slice::from_ref(name),
        };
        names.iter().flat_map(member).filter_map(|name| self.people.get(name))
    }

    /// Whether everybody of this name can be mentioned in Slack; `None` when there is nobody.
    fn is_reached_by_slack(&self, name: &str) -> Option<bool> {
        let names = [name.to_owned()];
        let mut members = self.members(&names).map(|person| person.slack.is_some()).peekable();
        members.peek()?;
        Some(members.all(|reached| reached))
    }

    /// The complete target, with the home account and region where the policy names none.
    pub fn target(&self, home_account: &AccountId, home_region: &Region) -> Target {
        self.to.target(home_account, home_region)
    }

    /// What carries its releases out, and where they go.
    pub fn engine(&self) -> EngineFor<'_> {
        match (&self.to, self.strategy.engine) {
            (Destination::Ecs(to), EngineChoice::Native) => EngineFor::EcsNative(to),
            (Destination::Ecs(to), EngineChoice::Weighted) => EngineFor::EcsWeighted(to),
            // An alias has weights, and nobody but Tidegate sets them.
            (Destination::Lambda(to), EngineChoice::Native | EngineChoice::Weighted) => {
                EngineFor::LambdaAlias(to)
            }
        }
    }
}
