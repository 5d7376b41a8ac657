//! Amazon ECS, ELB, CloudWatch and ECR as far as a release sees them: services, deployments with their life-cycle stages and pause
//! hooks, weights, alarms that go to ALARM on what a bad version does with its traffic, images.
//!
//! Behaviour after the ECS developer guide: "Amazon ECS canary deployments", "blue/green deployments" and "lifecycle hooks", and the
//! API references of `ContinueServiceDeployment` and `StopServiceDeployment`. Where the documentation is silent, the habit that is
//! harder for its user is modelled.

mod second;

use std::collections::{BTreeMap, BTreeSet};
use tidegate_core::vocab::ecs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_core::container_image::MediaTypes;
use tidegate_core::effect::Effect;
use tidegate_core::engine::ecs_native::configuration;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{
    AlarmName, ContainerName, DeploymentArn, Digest, HookId, Image, Tag, TargetGroupArn, TaskDefinitionArn,
};
use tidegate_core::policy::Percent;
use tidegate_core::ports::ImageDescribed;
use tidegate_core::reference::{Pick, digest_of};
use tidegate_core::vocab::autoscaling::Suspended;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState, MetricsAsked, Series};
use tidegate_core::vocab::ecr::{ImageSeen, Stored};
use tidegate_core::vocab::ecs::{
    DeploymentSeen, DeploymentStatus, HookSeen, LoadBalancerSeen, ServiceSeen, TaskDefinitionSeen,
};
use tidegate_core::vocab::ecs::{DerivedRevision, RunningSeen};
use tidegate_core::vocab::elb::RuleSeen;
use tidegate_core::vocab::tasks::{StopCode, StoppedContainer, StoppedTask};

use crate::names;
use second::Beside;

pub use second::SecondState;

/// How often a task of a version that crashes does, milliseconds.
const CRASH_EVERY: u64 = 10_000;

const SCALE_UP: &str = "SCALE_UP";
const BEFORE_SHIFT: &str = "PRE_PRODUCTION_TRAFFIC_SHIFT";
const SHIFT: &str = "PRODUCTION_TRAFFIC_SHIFT";
const AFTER_SHIFT: &str = "POST_PRODUCTION_TRAFFIC_SHIFT";
const BAKE: &str = "BAKE_TIME";
const CLEAN_UP: &str = "CLEAN_UP";
/// The tag that every push moves.
const LATEST: &str = "latest";

/// What an image does once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// It works.
    Good,
    /// It answers with errors as soon as it has this share of the traffic; the alarm sees it later.
    Bad {
        /// The share, percent.
        from_percent: u32,
        /// How long until the alarm is in ALARM.
        alarm_after_secs: u32,
    },
    /// Its tasks never become healthy.
    NeverStarts,
    /// Its tasks crash, one every ten seconds, as soon as it has this share of the traffic; no alarm sees it. With 0 they never become
    /// healthy.
    Crashes {
        /// The share, percent.
        from_percent: u32,
    },
}

/// Where a service's traffic comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancing {
    /// One Application Load Balancer with two target groups.
    LoadBalancer,
    /// One Application Load Balancer whose rule names one target group. Another one is there for a second service.
    Plain,
    /// Service Connect alone: shares can be shifted, and nobody but ECS can measure them.
    ServiceConnect,
    /// None.
    None,
}

/// What `lifecycleStage` is while a deployment waits at a pause hook, which AWS does not document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseStage {
    /// The stage of the hook.
    Hook,
    /// Nothing.
    Absent,
    /// The stage before that of the hook.
    Before,
    /// A word that is in no service model.
    Unknown,
}

impl PauseStage {
    /// What is said where the hook stands at `stage`, with this share of the traffic shifted.
    fn said(self, stage: &str, percent: u32) -> Option<String> {
        let before = match stage {
            BEFORE_SHIFT if percent == 0 => "POST_TEST_TRAFFIC_SHIFT",
            _ => SHIFT,
        };
        match self {
            Self::Hook => Some(stage.to_owned()),
            Self::Absent => None,
            Self::Before => Some(before.to_owned()),
            Self::Unknown => Some("PAUSED_BY_HOOK".to_owned()),
        }
    }
}

/// How long things take, each between two bounds in milliseconds.
#[derive(Debug, Clone)]
pub struct EcsHabits {
    /// From the request to the first task being placed.
    pub pending: (u64, u64),
    /// Until the candidate's tasks are healthy.
    pub task_start: (u64, u64),
    /// One traffic shift.
    pub shift: (u64, u64),
    /// Giving up the old tasks.
    pub clean_up: (u64, u64),
    /// From a request to roll back to the traffic being back.
    pub traffic_back: (u64, u64),
    /// Between two looks of ECS at the alarms of a deployment.
    pub alarm_poll: (u64, u64),
    /// How long an alarm stays red after its cause is gone.
    pub alarm_recovery: (u64, u64),
    /// How long what a new deployment brings is not described.
    pub described_after: (u64, u64),
    /// Requests a second.
    pub requests: u32,
    /// How many of a thousand requests fail, of the stable version and of the candidate.
    pub errors: [u32; 2],
    /// How late metrics come, milliseconds.
    pub metrics_late: u64,
    /// Whether the service names the old task definition as soon as the rollback begins, rather than at its end.
    pub names_old_early: bool,
    /// Whether a block of the deployment configuration stays when the strategy it belongs to is changed.
    pub keeps_stale_blocks: bool,
    /// Whether the first task definition names `latest`, which is moved by every push, rather than a digest.
    pub tagged: bool,
    /// Whether a tag is resolved for every task (`versionConsistency` is `disabled`), rather than once for a deployment.
    pub resolves_each_task: bool,
    /// What a deployment says of its stage while it waits at a pause.
    pub pause_stage: PauseStage,
    /// Whether it is refused to continue a hook that does not wait any more. AWS does not say.
    pub continues_once: bool,
    /// How many tasks the service has.
    pub tasks: u32,
    /// What scales the service, and what of that is suspended.
    pub scaling: Option<Suspended>,
    /// From a target being checked for the first time to its being healthy.
    pub task_check: (u64, u64),
    /// Until a change of weights has reached every node of the load balancer.
    pub weights_reach: (u64, u64),
    /// Until the targets of a service that was deleted are gone.
    pub deregistration: (u64, u64),
}

impl Default for EcsHabits {
    fn default() -> Self {
        Self {
            pending: (1_000, 1_000),
            task_start: (10_000, 10_000),
            shift: (2_000, 2_000),
            clean_up: (8_000, 8_000),
            traffic_back: (700, 700),
            alarm_poll: (45_000, 45_000),
            alarm_recovery: (60_000, 60_000),
            described_after: (0, 0),
            requests: 100,
            errors: [1, 1],
            metrics_late: 60_000,
            names_old_early: false,
            keeps_stale_blocks: true,
            tagged: false,
            resolves_each_task: false,
            pause_stage: PauseStage::Hook,
            continues_once: false,
            tasks: 2,
            scaling: None,
            task_check: (5_000, 5_000),
            weights_reach: (20_000, 20_000),
            deregistration: (30_000, 30_000),
        }
    }
}

/// An event that AWS emits.
#[derive(Debug, Clone, PartialEq)]
pub enum Emitted {
    /// An alarm changed its state.
    Alarm(AlarmName, AlarmSeen),
    /// Something happened to the service or its deployment.
    Service(String),
    /// A task failed.
    Task(Box<StoppedTask>),
    /// An image was pushed.
    Push(Digest, Tag),
}

/// Where a deployment stands, and what comes when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Pending,
    ScaleUp,
    Replacing,
    Hook { then: Then },
    Shifting { to: u32 },
    StepBake,
    Bake,
    CleanUp,
    TrafficBack,
    BackCleanUp,
    Stopping,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Shift,
    Bake,
}

/// A deployment of the service.
#[derive(Debug, Clone)]
struct Deployment {
    arn: DeploymentArn,
    created_at: Timestamp,
    described_at: Timestamp,
    task_definition: TaskDefinitionArn,
    source: TaskDefinitionArn,
    configuration: Value,
    source_group: usize,
    own_group: usize,
    stand: Stand,
    due: Option<Timestamp>,
    status: DeploymentStatus,
    stage: Option<&'static str>,
    reason: Option<String>,
    percent: u32,
    hooks: Vec<HookSeen>,
    alarms_ignored: bool,
    triggered: Vec<String>,
    next_poll: Timestamp,
}

#[derive(Debug, Clone)]
struct Fleet {
    task_definition: TaskDefinitionArn,
    group: usize,
    /// Its share of its group's traffic.
    portion: u32,
    healthy: bool,
    /// What its tasks pulled.
    digests: BTreeMap<ContainerName, Digest>,
}

#[derive(Debug, Clone)]
struct Registered {
    images: BTreeMap<ContainerName, String>,
    active: bool,
}

/// The service as it is now, for checks.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceState {
    /// The task definition it is set to.
    pub task_definition: TaskDefinitionArn,
    /// Its deployment configuration.
    pub configuration: Value,
    /// What share of the traffic each task definition serves, percent.
    pub shares: BTreeMap<TaskDefinitionArn, u32>,
    /// What share of the traffic each image of the released container serves, percent.
    pub serving: BTreeMap<Digest, u32>,
    /// The deployment under way.
    pub under_way: Option<DeploymentArn>,
    /// How much of the service itself each task definition is, percent.
    pub portions: BTreeMap<TaskDefinitionArn, u32>,
    /// The service that serves beside it.
    pub second: Option<SecondState>,
    /// The production rule's target groups, with their weights.
    pub rule: Vec<(TargetGroupArn, u32)>,
    /// What of its scaling is suspended.
    pub suspended: Option<Suspended>,
    /// How many tasks it should have.
    pub desired: u32,
}

/// What a read sees: a whole state, as of some moment.
#[derive(Debug, Clone)]
pub struct Scene {
    task_definition: TaskDefinitionArn,
    configuration: Value,
    balancing: Balancing,
    desired: u32,
    weights: [u32; 2],
    /// Whether the production rule names the target group.
    named: [bool; 2],
    fleets: Vec<Fleet>,
    deployments: Vec<Deployment>,
    registered: BTreeMap<TaskDefinitionArn, Registered>,
    alarms: BTreeMap<AlarmName, AlarmSeen>,
    images: Vec<(Tag, Digest, Timestamp)>,
    /// Of those that are not plain images.
    media: BTreeMap<Digest, MediaTypes>,
    /// Images that were deleted from the registry.
    deleted: BTreeSet<Digest>,
    stopped: Vec<StoppedTask>,
    beside: Beside,
}

/// AWS.
#[derive(Debug, Clone)]
pub struct Aws {
    scene: Scene,
    /// The service's alarm.
    alarm: AlarmName,
    past: Vec<(Timestamp, Scene)>,
    habits: EcsHabits,
    quality: BTreeMap<Digest, Quality>,
    numbers: u32,
    rng: fastrand::Rng,
    bad_since: Option<Timestamp>,
    good_since: Option<Timestamp>,
    next_crash: Timestamp,
    /// What share of the requests each group got, percent, each from when on.
    weighed: Vec<(Timestamp, [u32; 2])>,
    emitted: Vec<Emitted>,
    told: Vec<String>,
    happened: usize,
    broken: Vec<String>,
    /// Someone else set the weights, so they prove nothing any more.
    tampered: bool,
    muted: bool,
}

fn group_arn(group: usize) -> TargetGroupArn {
    if group == 0 { names::blue() } else { names::green() }
}

/// How much there is of each, of those of which there is any.
fn summed<K: Ord>(parts: impl Iterator<Item = (K, u32)>) -> BTreeMap<K, u32> {
    let mut sums = BTreeMap::new();
    for (of, part) in parts.filter(|(_, part)| *part > 0) {
        *sums.entry(of).or_default() += part;
    }
    sums
}

fn later(now: Timestamp, millis: u64) -> Timestamp {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    now.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(now)
}

/// As ECR and its events tell a time: in whole seconds.
pub fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).expect("within range")
}

fn refused(kind: ErrorKind, operation: &str, code: &str, message: impl Into<String>) -> PortError {
    PortError::new(kind, operation, code, message)
}

impl Aws {
    /// The service runs build 1 with revision 1 of its task definition, all traffic on `blue`; the alarm is OK.
    pub fn new(balancing: Balancing, configuration: Value, habits: EcsHabits, seed: u64) -> Self {
        let first = names::task_definition(1);
        let app = if habits.tagged {
            format!("{}/{}:{LATEST}", names::registry(), names::repository())
        } else {
            names::image(1).pinned()
        };
        let sidecar = format!("public.ecr.aws/envoy/envoy@{}", names::digest(700));
        let images = BTreeMap::from([(names::container(), app), (names::sidecar(), sidecar)]);
        let digests =
            BTreeMap::from([(names::container(), names::digest(1)), (names::sidecar(), names::digest(700))]);
        let alarm = AlarmSeen {
            state: AlarmState::Ok,
            since: Some(names::start()),
            reason: "no datapoint was above the threshold".into(),
            silenced: None,
            unproven: None,
        };
        let long_ago = names::at(-86_400);
        Self {
            alarm: names::alarm(),
            scene: Scene {
                task_definition: first.clone(),
                configuration,
                balancing,
                desired: habits.tasks,
                weights: [100, 0],
                named: [true, balancing != Balancing::Plain],
                fleets: vec![Fleet {
                    task_definition: first.clone(),
                    group: 0,
                    portion: 100,
                    healthy: true,
                    digests,
                }],
                deployments: Vec::new(),
                registered: BTreeMap::from([(first, Registered { images, active: true })]),
                alarms: BTreeMap::from([(names::alarm(), alarm)]),
                images: vec![(names::tag(1), names::digest(1), long_ago)],
                media: BTreeMap::new(),
                deleted: BTreeSet::new(),
                stopped: Vec::new(),
                beside: Beside::scaled_by(habits.scaling),
            },
            past: Vec::new(),
            habits,
            quality: BTreeMap::new(),
            numbers: 0,
            rng: fastrand::Rng::with_seed(seed),
            bad_since: None,
            good_since: None,
            next_crash: long_ago,
            weighed: vec![(long_ago, [100, 0])],
            emitted: Vec::new(),
            told: Vec::new(),
            happened: 0,
            broken: Vec::new(),
            tampered: false,
            muted: false,
        }
    }

    /// The same with another name for the service's alarm.
    #[must_use]
    pub fn with_alarm(mut self, alarm: AlarmName) -> Self {
        let seen = self.scene.alarms.remove(&self.alarm);
        self.scene.alarms.extend(seen.map(|seen| (alarm.clone(), seen)));
        self.alarm = alarm;
        self
    }

    /// The invariants that were broken by what AWS was asked to do, or that the model itself broke.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Takes the events that were emitted since.
    pub fn take_emitted(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.emitted)
    }

    /// Takes what happened since, in words.
    pub fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// The true state now.
    pub fn state(&self) -> ServiceState {
        let owned = |shares: BTreeMap<&TaskDefinitionArn, u32>| -> BTreeMap<TaskDefinitionArn, u32> {
            shares.into_iter().map(|(arn, share)| (arn.clone(), share)).collect()
        };
        let portions = self.scene.fleets.iter().map(|fleet| (&fleet.task_definition, fleet.portion));
        let serving = self.image_shares().into_iter().map(|(digest, share)| (digest.clone(), share));
        ServiceState {
            task_definition: self.scene.task_definition.clone(),
            configuration: self.scene.configuration.clone(),
            shares: owned(self.shares()),
            serving: serving.collect(),
            under_way: self.active().map(|at| self.scene.deployments[at].arn.clone()),
            portions: owned(summed(portions)),
            second: self.scene.second_state(),
            rule: self.scene.rule().weights,
            suspended: self.scene.scalable_target().map(|target| target.suspended),
            desired: self.scene.desired,
        }
    }

    /// What share of the traffic each task definition serves, percent.
    fn shares(&self) -> BTreeMap<&TaskDefinitionArn, u32> {
        let second = self.scene.second_serves().map(|(task_definition, _, share)| (task_definition, share));
        summed(self.fleet_shares().map(|(fleet, share)| (&fleet.task_definition, share)).chain(second))
    }

    /// What share of the traffic each image of the released container serves, percent.
    fn image_shares(&self) -> BTreeMap<&Digest, u32> {
        let container = names::container();
        let own = self.fleet_shares();
        let own = own.filter_map(|(fleet, share)| Some((fleet.digests.get(&container)?, share)));
        let second = self.scene.second_serves().and_then(|(_, digest, share)| Some((digest?, share)));
        summed(own.chain(second))
    }

    fn fleet_shares(&self) -> impl Iterator<Item = (&Fleet, u32)> {
        let percent = self.scene.percent();
        self.scene.fleets.iter().map(move |fleet| (fleet, percent[fleet.group] * fleet.portion / 100))
    }

    /// Whether the deployment under way never gets anywhere: without a circuit breaker ECS tries for ever.
    pub fn is_stuck(&self) -> bool {
        self.active().is_some_and(|at| self.never_starts(&self.scene.deployments[at].task_definition))
    }

    /// Whether a deployment does not get to its end any more.
    pub fn is_broken_off(&self, arn: &DeploymentArn) -> bool {
        self.scene.deployments.iter().any(|it| it.arn == *arn && it.status.is_broken_off())
    }

    /// How often something has happened; equal when nothing has in between.
    pub fn happened(&self) -> usize {
        self.happened
    }

    /// The pushes, oldest first.
    pub fn pushes(&self) -> &[(Tag, Digest, Timestamp)] {
        &self.scene.images
    }

    /// The true weights now.
    pub fn weights(&self) -> [u32; 2] {
        self.scene.weights
    }

    /// The state as it was at `then`, for a read that lags behind.
    pub fn as_of(&self, then: Timestamp) -> &Scene {
        self.past
            .iter()
            .rev()
            .find(|(at, _)| *at <= then)
            .map_or_else(|| self.past.first().map_or(&self.scene, |(_, scene)| scene), |(_, scene)| scene)
    }

    /// What tasks of a task definition that are started now run in each container.
    fn pull(&self, arn: &TaskDefinitionArn) -> BTreeMap<ContainerName, Digest> {
        let newest = self.scene.images.last().map(|(_, digest, _)| digest.clone());
        let resolved = |reference: &str| digest_of(reference).or_else(|| newest.clone());
        let images = self.scene.registered.get(arn).map(|registered| &registered.images);
        let pulled = |(container, reference): (&ContainerName, &String)| {
            Some((container.clone(), resolved(reference)?))
        };
        images.into_iter().flatten().filter_map(pulled).collect()
    }

    /// Its habits, to be changed from now on.
    pub fn habits_mut(&mut self) -> &mut EcsHabits {
        &mut self.habits
    }

    /// What Amazon CloudWatch has of a metric by `now`: whole windows, as far as they have come. Errors are only sent where there are any.
    pub fn metric(&self, series: &Series, asked: &MetricsAsked, now: Timestamp) -> BTreeMap<Timestamp, f64> {
        let group = series.dimensions.get("TargetGroup").map_or("", String::as_str);
        let which = usize::from(group != group_arn(0).metric_name());
        let every = i64::from(asked.every_secs) * 1000;
        let late = i64::try_from(self.habits.metrics_late).unwrap_or(i64::MAX);
        let first = asked.from.as_millisecond().div_euclid(every);
        let windows =
            (first..).map(|number| number * every).take_while(|at| at + every + late <= now.as_millisecond());
        let value = |at: i64| {
            let requests = self.requests_between(which, at, at + every);
            match series.metric.as_str() {
                "RequestCount" => Some(requests),
                "HTTPCode_Target_5XX_Count" => Some(requests * f64::from(self.habits.errors[which]) / 1000.0)
                    .filter(|count| *count > 0.0),
                _ => None,
            }
        };
        let told = |at: i64| Some((Timestamp::from_millisecond(at).ok()?, value(at)?));
        windows.filter_map(told).collect()
    }

    /// The requests a target group answered, milliseconds.
    fn requests_between(&self, which: usize, from: i64, to: i64) -> f64 {
        let mut share_millis = 0;
        for (number, (began, weights)) in self.weighed.iter().enumerate() {
            let until = self.weighed.get(number + 1).map_or(i64::MAX, |(at, _)| at.as_millisecond());
            let span = until.min(to) - began.as_millisecond().max(from);
            share_millis += span.max(0) * i64::from(weights[which]);
        }
        let whole = u64::try_from(share_millis).unwrap_or(0) * u64::from(self.habits.requests) / 100_000;
        u32::try_from(whole).map_or(f64::MAX, f64::from)
    }

    fn keep(&mut self, now: Timestamp) {
        let percent = self.scene.percent();
        if self.weighed.last().is_none_or(|(_, weights)| *weights != percent) {
            self.weighed.push((now, percent));
        }
        let keep_from = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(now);
        // The newest one before the window is still what a read from its beginning sees.
        let first = self.past.iter().rposition(|(at, _)| *at <= keep_from).unwrap_or(0);
        self.past.drain(..first);
        self.past.push((now, self.scene.clone()));
    }

    fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        self.rng.u64(from..=to.max(from))
    }

    fn active(&self) -> Option<usize> {
        self.scene.deployments.iter().rposition(|deployment| deployment.stand != Stand::Over)
    }

    fn tell(&mut self, what: String) {
        self.happened += 1;
        self.told.push(what);
    }

    fn notify(&mut self, what: String) {
        self.emitted.push(Emitted::Service(what));
    }

    // --- what people and other tools do ---

    /// An image is pushed.
    pub fn push(&mut self, build: u32, quality: Quality, now: Timestamp) {
        self.advance(now);
        self.quality.insert(names::digest(build), quality);
        self.scene.images.push((names::tag(build), names::digest(build), now));
        self.emitted.push(Emitted::Push(names::digest(build), names::tag(build)));
        self.tell(format!("build {build} is pushed ({quality:?})"));
        self.keep(now);
    }

    /// Something is pushed, or tagged, without an event.
    pub fn tag_silently(&mut self, tag: Tag, digest: Digest, media: Option<MediaTypes>, now: Timestamp) {
        if let Some(media) = media {
            self.scene.media.insert(digest.clone(), media);
        }
        self.scene.images.push((tag, digest, now));
        self.keep(now);
    }

    /// A build gets another tag. ECR tells a push only when a tag comes to name an image: the same tag again changes nothing.
    pub fn push_again(&mut self, build: u32, now: Timestamp) {
        let tag = format!("{}-again-{}", names::tag(build), self.scene.images.len());
        let tag = Tag::new(tag).expect("a tag");
        self.scene.images.push((tag.clone(), names::digest(build), now));
        self.emitted.push(Emitted::Push(names::digest(build), tag));
        self.tell(format!("build {build} is pushed again"));
        self.keep(now);
    }

    /// Someone else deploys a task definition of theirs, with or without a deployment configuration of their own.
    pub fn deploy_by_someone(&mut self, revision: u32, configuration: Option<Value>, now: Timestamp) {
        self.advance(now);
        let arn = names::task_definition(revision);
        let images = self.scene.registered[&names::task_definition(1)].images.clone();
        self.scene.registered.insert(arn.clone(), Registered { images, active: true });
        if let Some(configuration) = configuration {
            self.scene.configuration = configuration;
        }
        self.tell(format!("someone else deploys {}", arn.short()));
        self.deploy(&arn, now);
        self.keep(now);
    }

    /// The service's owner changes its deployment configuration, and nothing else.
    pub fn configure_by_owner(&mut self, configuration: Value, now: Timestamp) {
        self.advance(now);
        self.tell(format!("the service's owner sets the deployment configuration to {configuration}"));
        self.scene.configuration = configuration;
        self.keep(now);
    }

    /// An image is deleted from the registry, as a lifecycle policy does.
    pub fn delete_image(&mut self, build: u32, now: Timestamp) {
        self.advance(now);
        self.scene.deleted.insert(names::digest(build));
        self.tell(format!("build {build} is deleted from the registry"));
        self.keep(now);
    }

    /// Someone deregisters a revision, as clean-up jobs do.
    pub fn deregister(&mut self, revision: u32, now: Timestamp) {
        self.advance(now);
        if let Some(registered) = self.scene.registered.get_mut(&names::task_definition(revision)) {
            registered.active = false;
            self.tell(format!("revision {revision} is deregistered"));
            self.keep(now);
        }
    }

    /// Someone else sets the weights.
    pub fn set_weights_by_someone(&mut self, weights: [u32; 2], now: Timestamp) {
        self.advance(now);
        if self.scene.balancing == Balancing::None {
            return;
        }
        self.tell(format!("someone else sets the weights to {weights:?}"));
        self.weigh_by_someone(weights, now);
        self.tampered = true;
        self.keep(now);
    }

    /// Someone continues the deployment that waits, in the console.
    pub fn go_on_by_someone(&mut self, now: Timestamp) {
        self.advance(now);
        let waiting = self.scene.deployments.iter().rev().find_map(|deployment| {
            let hook = deployment.hooks.iter().find(|hook| hook.awaiting)?;
            Some((deployment.arn.clone(), hook.id.clone()))
        });
        if let Some((deployment, hook)) = waiting {
            // Only a hook that awaits is taken, so this is never refused.
            let _ = self.go_on(&deployment, &hook, now);
            self.keep(now);
        }
    }

    /// The alarm goes to ALARM for a cause that is not the release's, or green again. Red passes by itself, as any cause that is gone.
    pub fn set_alarm(&mut self, red: bool, now: Timestamp) {
        self.good_since = red.then_some(now);
        self.turn_alarm(red, now, "set by hand");
        self.keep(now);
    }

    /// Whether somebody muted the alarm: red then acts on nothing, and proves nothing.
    pub fn mute_alarm(&mut self, muted: bool, now: Timestamp) {
        self.advance(now);
        if let Some(alarm) = self.scene.alarms.get_mut(&self.alarm) {
            alarm.silenced = muted.then(|| "muted by night".to_owned());
        }
        self.muted = muted;
        self.tell(format!("the alarm is {}", if muted { "muted" } else { "not muted any more" }));
        self.keep(now);
    }

    /// Whether the alarm is in ALARM, muted or not.
    pub fn is_red(&self) -> bool {
        self.scene.alarms.get(&self.alarm).is_some_and(|seen| seen.state == AlarmState::Alarm)
    }

    /// Whether the alarm is muted.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    fn turn_alarm(&mut self, red: bool, now: Timestamp, reason: &str) {
        let state = if red { AlarmState::Alarm } else { AlarmState::Ok };
        let silenced = self.muted.then(|| "muted by night".to_owned());
        let seen = AlarmSeen { state, since: Some(now), reason: reason.to_owned(), silenced, unproven: None };
        self.tell(format!("alarm {} is {}: {reason}", self.alarm, seen.state.as_str()));
        self.scene.alarms.insert(self.alarm.clone(), seen.clone());
        self.emitted.push(Emitted::Alarm(self.alarm.clone(), seen));
    }

    // --- time ---

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: Timestamp) {
        if self.past.is_empty() {
            self.keep(now);
        }
        while let Some((at, _)) = self
            .scene
            .deployments
            .iter()
            .enumerate()
            .filter_map(|(at, deployment)| Some((at, deployment.due.filter(|due| *due <= now)?)))
            .min_by_key(|(_, due)| *due)
        {
            self.scene.deployments[at].due = None;
            self.happen(at, now);
            self.check();
            self.keep(now);
        }
        self.advance_beside(now);
        self.watch_alarm(now);
        self.own_alarm_watch(now);
        self.crash(now);
    }

    /// A task of a version that crashes does, and Amazon ECS starts another.
    fn crash(&mut self, now: Timestamp) {
        let may_crash = |quality: &Quality| matches!(quality, Quality::Crashes { .. });
        if now < self.next_crash || !self.quality.values().any(may_crash) {
            return;
        }
        let shares = self.shares();
        let crashes = |fleet: &&Fleet| {
            fleet.digests.values().any(|digest| match self.quality.get(digest) {
                Some(Quality::Crashes { from_percent }) => {
                    shares.get(&fleet.task_definition).copied().unwrap_or(0) >= *from_percent
                }
                Some(Quality::Good | Quality::Bad { .. } | Quality::NeverStarts) | None => false,
            })
        };
        let own = self.scene.fleets.iter().find(crashes).map(|fleet| fleet.task_definition.clone());
        let Some(own) = own else { return self.crash_beside(now) };
        self.next_crash = later(now, CRASH_EVERY);
        let code = StopCode::EssentialContainerExited;
        let task = self.stop_task(&own, code, "Essential container in task exited", Some(1), now);
        self.tell(format!("a task of {} exits with code 1", own.short()));
        self.emitted.push(Emitted::Task(Box::new(task)));
        self.keep(now);
    }

    fn stop_task(
        &mut self,
        of: &TaskDefinitionArn,
        code: StopCode,
        reason: &str,
        exit_code: Option<i64>,
        now: Timestamp,
    ) -> StoppedTask {
        self.numbers += 1;
        let app = StoppedContainer { name: names::container(), exit_code, reason: None, log: None };
        let task = StoppedTask {
            task: names::task(self.numbers),
            task_definition: of.clone(),
            created_at: Some(now),
            stopped_at: Some(now),
            code: Some(code),
            reason: Some(reason.to_owned()),
            containers: vec![app],
        };
        self.scene.stopped.push(task.clone());
        task
    }

    /// The tasks of fleets that are not wanted any more are stopped, which is no failure.
    fn give_up(&mut self, unwanted: impl Fn(&Fleet) -> bool, now: Timestamp) {
        let (gone, kept): (Vec<Fleet>, Vec<Fleet>) =
            std::mem::take(&mut self.scene.fleets).into_iter().partition(unwanted);
        self.scene.fleets = kept;
        for fleet in gone {
            let code = StopCode::ServiceSchedulerInitiated;
            let reason = "Scaling activity initiated by (deployment ecs-svc/1)";
            self.stop_task(&fleet.task_definition, code, reason, Some(143), now);
        }
    }

    /// When something happens next by itself, as far as it is known now.
    pub fn next_at(&self) -> Option<Timestamp> {
        let due = self.scene.deployments.iter().filter_map(|deployment| deployment.due);
        due.chain(self.next_beside()).min()
    }

    fn happen(&mut self, at: usize, now: Timestamp) {
        let arn = self.scene.deployments[at].arn.clone();
        match self.scene.deployments[at].stand {
            Stand::Pending => self.scale_up(at, now),
            Stand::ScaleUp => {
                let own = self.scene.deployments[at].task_definition.clone();
                self.fleet_of(&own).healthy = true;
                if self.succeeds_early(at) {
                    self.scene.deployments[at].status = DeploymentStatus::Successful;
                    self.tell(format!("{}: SUCCESSFUL with half of the tasks", arn.short()));
                    self.notify(format!("{} is successful", arn.short()));
                }
                if self.strategy(at) == "ROLLING" {
                    let source = self.scene.deployments[at].source.clone();
                    self.fleet_of(&own).portion = 50;
                    self.fleet_of(&source).portion = 50;
                    self.scene.deployments[at].percent = 50;
                    self.tell(format!("{}: half of the tasks are replaced", arn.short()));
                    let time = self.between(self.habits.task_start);
                    self.go(at, Stand::Replacing, None, Some(later(now, time)));
                } else {
                    self.before_shift(at, now);
                }
            }
            Stand::Replacing => {
                let (own, source) = self.both(at);
                self.fleet_of(&own).portion = 100;
                self.fleet_of(&source).portion = 0;
                self.scene.deployments[at].percent = 100;
                self.tell(format!("{}: every task is replaced", arn.short()));
                if self.succeeds_early(at) {
                    self.succeed(at, now);
                    return;
                }
                let bake = self.bake_millis(at);
                self.go(at, Stand::Bake, Some(BAKE), Some(later(now, bake)));
            }
            Stand::Hook { .. } => {
                self.tell(format!("{}: a pause hook times out", arn.short()));
                self.roll_back(at, "a lifecycle hook timed out", now);
            }
            Stand::Shifting { to } => self.shifted(at, to, now),
            Stand::StepBake => self.before_shift(at, now),
            Stand::Bake => {
                let time = self.between(self.habits.clean_up);
                self.go(at, Stand::CleanUp, Some(CLEAN_UP), Some(later(now, time)));
            }
            Stand::CleanUp => self.succeed(at, now),
            Stand::TrafficBack => {
                self.traffic_to_source(at);
                self.scene.deployments[at].status = DeploymentStatus::RollbackInProgress;
                if self.habits.names_old_early {
                    self.scene.task_definition = self.scene.deployments[at].source.clone();
                }
                self.tell(format!("{}: traffic is back", arn.short()));
                self.notify(format!("{} rolls back", arn.short()));
                let time = self.between(self.habits.clean_up);
                self.go(at, Stand::BackCleanUp, None, Some(later(now, time)));
            }
            Stand::BackCleanUp => {
                let own = self.scene.deployments[at].task_definition.clone();
                self.give_up(|fleet| fleet.task_definition == own, now);
                self.scene.task_definition = self.scene.deployments[at].source.clone();
                self.scene.deployments[at].status = DeploymentStatus::RollbackSuccessful;
                self.go(at, Stand::Over, None, None);
                self.tell(format!("{}: ROLLBACK_SUCCESSFUL", arn.short()));
                self.notify(format!("{} is rolled back", arn.short()));
            }
            Stand::Stopping => {
                self.traffic_to_source(at);
                let own = self.scene.deployments[at].task_definition.clone();
                let wanted_again = at + 1 < self.scene.deployments.len()
                    && self.scene.deployments[at + 1].task_definition == own;
                if !wanted_again || self.scene.deployments[at].source != own {
                    self.scene.fleets.retain(|fleet| fleet.task_definition != own);
                }
                self.scene.deployments[at].status = DeploymentStatus::Stopped;
                self.go(at, Stand::Over, None, None);
                self.tell(format!("{}: STOPPED", arn.short()));
            }
            Stand::Over => {}
        }
    }

    fn go(&mut self, at: usize, stand: Stand, stage: Option<&'static str>, due: Option<Timestamp>) {
        let deployment = &mut self.scene.deployments[at];
        deployment.stand = stand;
        deployment.stage = stage;
        deployment.due = due;
    }

    fn strategy(&self, at: usize) -> &str {
        // There is no other target group that ECS could shift to.
        if self.scene.balancing == Balancing::Plain {
            return "ROLLING";
        }
        self.scene.deployments[at].configuration["strategy"].as_str().unwrap_or("ROLLING")
    }

    fn bake_millis(&self, at: usize) -> u64 {
        self.scene.deployments[at].configuration["bakeTimeInMinutes"].as_u64().unwrap_or(0) * 60_000
    }

    /// Early success criteria: the deployment is called successful with a part of its tasks, and the rest is replaced after that.
    fn succeeds_early(&self, at: usize) -> bool {
        self.strategy(at) == "ROLLING"
            && self.scene.deployments[at].configuration["earlySuccessCriteria"]["enable"] == json!(true)
    }

    fn both(&self, at: usize) -> (TaskDefinitionArn, TaskDefinitionArn) {
        let deployment = &self.scene.deployments[at];
        (deployment.task_definition.clone(), deployment.source.clone())
    }

    fn fleet_of(&mut self, arn: &TaskDefinitionArn) -> &mut Fleet {
        let at = self.scene.fleets.iter().rposition(|fleet| fleet.task_definition == *arn);
        let at = at.unwrap_or_else(|| {
            let digests = self.pull(arn);
            let fleet = Fleet { task_definition: arn.clone(), group: 0, portion: 0, healthy: false, digests };
            self.scene.fleets.push(fleet);
            self.scene.fleets.len() - 1
        });
        &mut self.scene.fleets[at]
    }

    fn scale_up(&mut self, at: usize, now: Timestamp) {
        // What runs now is what this deployment comes from: one before it may have been stopped on the way.
        let from = self.serving();
        let rolling = self.strategy(at) == "ROLLING";
        let deployment = &mut self.scene.deployments[at];
        deployment.source = from.task_definition.clone();
        deployment.source_group = from.group;
        deployment.own_group = if rolling { from.group } else { 1 - from.group };
        deployment.status = DeploymentStatus::InProgress;
        let (own, group) = (deployment.task_definition.clone(), deployment.own_group);
        if own != from.task_definition {
            self.scene.fleets.retain(|fleet| fleet.task_definition != own);
            let portion = if rolling { 0 } else { 100 };
            let (task_definition, digests) = (own.clone(), self.pull(&own));
            self.scene.fleets.push(Fleet { task_definition, group, portion, healthy: false, digests });
        }
        let time = self.between(self.habits.task_start);
        let never = self.never_starts(&own);
        self.go(at, Stand::ScaleUp, Some(SCALE_UP), (!never).then(|| later(now, time)));
        if own == from.task_definition {
            // The same task definition again: its tasks are replaced by equal ones, as far as names go.
            let group = from.group;
            let pulled = self.pull(&own);
            self.fleet_of(&own).digests = pulled;
            self.scene.deployments[at].own_group = group;
            self.scene.deployments[at].percent = 100;
            self.go(at, Stand::CleanUp, Some(CLEAN_UP), Some(later(now, time)));
        }
    }

    /// The fleet that carries most of the traffic.
    fn serving(&self) -> Fleet {
        let share = |fleet: &&Fleet| (self.scene.weights[fleet.group] * fleet.portion, fleet.portion);
        self.scene.fleets.iter().max_by_key(share).expect("a service always has a fleet").clone()
    }

    /// Whether no task of a task definition that is started now ever gets healthy.
    fn never_starts(&self, arn: &TaskDefinitionArn) -> bool {
        let pulled = self.pull(arn);
        pulled.values().any(|digest| self.scene.deleted.contains(digest))
            || pulled.values().any(|digest| match self.quality.get(digest) {
                Some(Quality::NeverStarts | Quality::Crashes { from_percent: 0 }) => true,
                Some(Quality::Good | Quality::Bad { .. } | Quality::Crashes { .. }) | None => false,
            })
    }

    /// Whether the deployment pauses at this stage; then it does.
    fn pauses(&mut self, at: usize, stage: &'static str, then: Then, now: Timestamp) -> bool {
        let configuration = &self.scene.deployments[at].configuration;
        let hooks = configuration["lifecycleHooks"].as_array().cloned().unwrap_or_default();
        let stages = |hook: &&Value| {
            hook["targetType"] == "PAUSE"
                && hook["lifecycleStages"].as_array().is_some_and(|stages| stages.contains(&json!(stage)))
        };
        let mut expiries = Vec::new();
        let percent = self.scene.deployments[at].percent;
        for hook in hooks.iter().filter(stages) {
            let minutes = hook["timeoutConfiguration"]["timeoutInMinutes"].as_u64().unwrap_or(1440);
            let expires = later(now, minutes * 60_000);
            expiries.push(expires);
            self.numbers += 1;
            self.scene.deployments[at].hooks.push(HookSeen {
                id: names::hook(self.numbers),
                pause: true,
                stage: self.habits.pause_stage.said(stage, percent),
                awaiting: true,
                expires_at: Some(expires),
                timeout_action: hook["timeoutConfiguration"]["action"].as_str().map(str::to_owned),
            });
        }
        let Some(expires) = expiries.into_iter().min() else { return false };
        self.go(at, Stand::Hook { then }, Some(stage), Some(expires));
        let arn = self.scene.deployments[at].arn.clone();
        self.tell(format!("{}: waits at {stage} ({})", arn.short(), names::hook(self.numbers)));
        self.notify(format!("{} waits at {stage}", arn.short()));
        true
    }

    fn before_shift(&mut self, at: usize, now: Timestamp) {
        self.scene.deployments[at].stage = Some(BEFORE_SHIFT);
        if !self.pauses(at, BEFORE_SHIFT, Then::Shift, now) {
            self.shift(at, now);
        }
    }

    fn shift(&mut self, at: usize, now: Timestamp) {
        let deployment = &self.scene.deployments[at];
        let percent = |path: &str, field: &str| {
            deployment.configuration[path][field].as_f64().map_or(100, |percent| percent as u32)
        };
        let to = match self.strategy(at) {
            "CANARY" if deployment.percent == 0 => percent("canaryConfiguration", "canaryPercent"),
            "LINEAR" => (deployment.percent + percent("linearConfiguration", "stepPercent")).min(100),
            _ => 100,
        };
        let time = self.between(self.habits.shift);
        self.go(at, Stand::Shifting { to }, Some(SHIFT), Some(later(now, time)));
    }

    fn shifted(&mut self, at: usize, to: u32, now: Timestamp) {
        let (own, source) = (self.scene.deployments[at].own_group, self.scene.deployments[at].source_group);
        self.scene.weights[own] = to;
        self.scene.weights[source] = 100 - to;
        self.scene.deployments[at].percent = to;
        let arn = self.scene.deployments[at].arn.clone();
        self.tell(format!("{}: the candidate has {to}%", arn.short()));
        self.notify(format!("{} has shifted", arn.short()));
        if to < 100 {
            let field = ["canaryConfiguration", "linearConfiguration"];
            let minutes = ["canaryBakeTimeInMinutes", "stepBakeTimeInMinutes"];
            let configuration = &self.scene.deployments[at].configuration;
            let bake = field.iter().zip(minutes).find_map(|(part, name)| configuration[part][name].as_u64());
            let due = later(now, bake.unwrap_or(0) * 60_000);
            self.go(at, Stand::StepBake, Some(SHIFT), Some(due));
        } else if !self.pauses(at, AFTER_SHIFT, Then::Bake, now) {
            self.bake(at, now);
        }
    }

    fn bake(&mut self, at: usize, now: Timestamp) {
        let bake = self.bake_millis(at);
        self.go(at, Stand::Bake, Some(BAKE), Some(later(now, bake)));
    }

    fn succeed(&mut self, at: usize, now: Timestamp) {
        let (own, _) = self.both(at);
        let group = self.scene.deployments[at].own_group;
        self.give_up(|fleet| fleet.task_definition != own, now);
        let fleet = self.fleet_of(&own);
        (fleet.group, fleet.portion, fleet.healthy) = (group, 100, true);
        self.scene.deployments[at].status = DeploymentStatus::Successful;
        self.go(at, Stand::Over, None, None);
        let arn = self.scene.deployments[at].arn.clone();
        self.tell(format!("{}: SUCCESSFUL", arn.short()));
        self.notify(format!("{} is successful", arn.short()));
    }

    fn traffic_to_source(&mut self, at: usize) {
        let (own, source) = self.both(at);
        let (own_group, source_group) =
            (self.scene.deployments[at].own_group, self.scene.deployments[at].source_group);
        if self.scene.deployments[at].stand == Stand::Stopping
            && self.scene.deployments[at].percent == 0
            && self.scene.fleets.len() < 2
        {
            return;
        }
        if own_group == source_group {
            if own != source {
                self.fleet_of(&own).portion = 0;
                self.fleet_of(&source).portion = 100;
                // Tasks that were replaced are started anew, and pull anew.
                if self.habits.resolves_each_task && self.scene.deployments[at].percent > 0 {
                    let pulled = self.pull(&source);
                    self.fleet_of(&source).digests = pulled;
                }
            }
        } else {
            self.scene.weights[own_group] = 0;
            self.scene.weights[source_group] = 100;
        }
        self.scene.deployments[at].percent = 0;
    }

    fn roll_back(&mut self, at: usize, reason: &str, now: Timestamp) {
        for hook in &mut self.scene.deployments[at].hooks {
            hook.awaiting = false;
        }
        self.scene.deployments[at].status = DeploymentStatus::RollbackRequested;
        self.scene.deployments[at].reason = Some(reason.to_owned());
        let time = self.between(self.habits.traffic_back);
        self.go(at, Stand::TrafficBack, None, Some(later(now, time)));
        let arn = self.scene.deployments[at].arn.clone();
        self.tell(format!("{}: rolls back: {reason}", arn.short()));
    }

    fn watch_alarm(&mut self, now: Timestamp) {
        let bad =
            self.image_shares().into_iter().find_map(|(digest, share)| match self.quality.get(digest)? {
                Quality::Bad { from_percent, alarm_after_secs } if share >= *from_percent => {
                    Some(u64::from(*alarm_after_secs) * 1000)
                }
                Quality::Bad { .. } | Quality::Good | Quality::NeverStarts | Quality::Crashes { .. } => None,
            });
        let red = self.scene.alarms.get(&self.alarm).is_some_and(|seen| seen.state == AlarmState::Alarm);
        match bad {
            Some(delay) => {
                self.good_since = None;
                let since = *self.bad_since.get_or_insert(now);
                if !red && now >= later(since, delay) {
                    self.turn_alarm(true, now, "errors above the threshold");
                    self.keep(now);
                }
            }
            None => {
                if self.bad_since.take().is_some() {
                    self.good_since = Some(now);
                }
                let recovery = self.habits.alarm_recovery.1;
                if red && self.good_since.is_some_and(|since| now >= later(since, recovery)) {
                    self.good_since = None;
                    self.turn_alarm(false, now, "back below the threshold");
                    self.keep(now);
                }
            }
        }
    }

    /// ECS watches the alarms of a deployment itself, unless one was in ALARM at its start.
    fn own_alarm_watch(&mut self, now: Timestamp) {
        let Some(at) = self.active() else { return };
        let deployment = &self.scene.deployments[at];
        let watches = deployment.configuration["alarms"]["enable"] == json!(true);
        let forwards = matches!(deployment.status, DeploymentStatus::InProgress | DeploymentStatus::Pending);
        if !watches || deployment.alarms_ignored || !forwards || now < deployment.next_poll {
            return;
        }
        let time = self.between(self.habits.alarm_poll);
        self.scene.deployments[at].next_poll = later(now, time);
        if self.is_red() && !self.muted {
            self.scene.deployments[at].triggered = vec![self.alarm.to_string()];
            self.roll_back(at, "alarm detected", now);
            self.keep(now);
        }
    }

    /// What must hold of AWS at every moment.
    fn check(&mut self) {
        // Where Tidegate sets the weights, they are looked at when it does.
        if self.tampered || self.scene.balancing == Balancing::Plain {
            return;
        }
        let weights = self.scene.weights;
        if weights[0] + weights[1] != 100 {
            self.broken.push(format!("weights {weights:?} do not sum to 100"));
        }
        for group in [0, 1] {
            let healthy = self.scene.fleets.iter().any(|fleet| fleet.group == group && fleet.healthy);
            if weights[group] > 0 && !healthy {
                self.broken.push(format!("weights {weights:?} send traffic to a fleet that is not healthy"));
            }
        }
    }

    // --- what is asked of it ---

    fn deploy(&mut self, arn: &TaskDefinitionArn, now: Timestamp) {
        let mut wait = 0;
        if let Some(before) = self.active() {
            if matches!(self.scene.deployments[before].stand, Stand::CleanUp) {
                self.succeed(before, now);
            } else if self.scene.deployments[before].status.is_over() {
                // Called successful early: nothing of it is left to stop, its tasks are replaced from where they are.
                self.go(before, Stand::Over, None, None);
            } else if self.scene.deployments[before].stand != Stand::Stopping {
                for hook in &mut self.scene.deployments[before].hooks {
                    hook.awaiting = false;
                }
                self.scene.deployments[before].status = DeploymentStatus::StopRequested;
                self.scene.deployments[before].reason = Some("a newer deployment was started".into());
                self.go(before, Stand::Stopping, None, Some(later(now, 900)));
                wait = 1_000;
            }
        }
        self.numbers += 1;
        let from = self.serving();
        let pending = self.between(self.habits.pending) + wait;
        let poll = self.between(self.habits.alarm_poll);
        let hidden = match self.habits.described_after {
            (0, 0) => 0,
            span => self.between(span),
        };
        let red = self.scene.alarms.get(&self.alarm).is_some_and(|seen| seen.state == AlarmState::Alarm);
        self.scene.deployments.push(Deployment {
            arn: names::deployment(self.numbers),
            created_at: now,
            described_at: later(now, hidden),
            task_definition: arn.clone(),
            source: from.task_definition,
            configuration: self.scene.configuration.clone(),
            source_group: from.group,
            own_group: from.group,
            stand: Stand::Pending,
            due: Some(later(now, pending)),
            status: DeploymentStatus::Pending,
            stage: None,
            reason: None,
            percent: 0,
            hooks: Vec::new(),
            alarms_ignored: red,
            triggered: Vec::new(),
            next_poll: later(now, poll),
        });
        self.scene.task_definition = arn.clone();
        self.tell(format!("{}: begins with {}", names::deployment(self.numbers).short(), arn.short()));
    }

    /// Performs an effect as the adapter does. `lag` is how far the looks before a change are behind.
    pub fn perform(&mut self, effect: &Effect, now: Timestamp, seen_at: Timestamp) -> Result<(), PortError> {
        self.advance(now);
        let result = self.perform_now(effect, now, seen_at);
        self.check();
        self.keep(now);
        result
    }

    fn perform_now(&mut self, effect: &Effect, now: Timestamp, seen_at: Timestamp) -> Result<(), PortError> {
        match effect {
            Effect::Lambda(_) => {
                let what = "there are no functions in a world of ECS services";
                Err(PortError::new(ErrorKind::NotFound, effect.name(), "ResourceNotFoundException", what))
            }
            Effect::Ecs(ecs::Effect::RegisterTaskDefinition { revision, .. }) => {
                if self.as_of(seen_at).revision(revision).is_some() {
                    return Ok(());
                }
                let mut images = self.scene.registered[&revision.from].images.clone();
                images.extend(revision.images.clone());
                let number = u32::try_from(self.scene.registered.len()).unwrap_or(u32::MAX) + 1;
                let arn = names::task_definition(number);
                self.tell(format!("{} is registered: {revision}", arn.short()));
                self.scene.registered.insert(arn, Registered { images, active: true });
                Ok(())
            }
            Effect::Ecs(ecs::Effect::StartDeployment { task_definition, configuration, .. })
            | Effect::Ecs(ecs::Effect::ReturnTo { task_definition, configuration, .. }) => {
                let seen = self.as_of(seen_at);
                let under_way = seen.deployments.iter().any(|deployment| {
                    deployment.task_definition == *task_definition
                        && matches!(
                            deployment.status,
                            DeploymentStatus::Pending | DeploymentStatus::InProgress
                        )
                });
                if seen.task_definition == *task_definition && under_way {
                    return Ok(());
                }
                let registered = self.scene.registered.get(task_definition);
                if !registered.is_some_and(|registered| registered.active) {
                    let message = "TaskDefinition is inactive";
                    return Err(refused(ErrorKind::Invalid, "ecs:UpdateService", "ClientException", message));
                }
                let named = registered.into_iter().flat_map(|registered| registered.images.values());
                if named.clone().any(|image| digest_of(image).is_none()) {
                    let what = format!("{} is deployed and names a tag", task_definition.short());
                    self.broken.push(what);
                }
                self.update_configuration(configuration)?;
                self.deploy(task_definition, now);
                Ok(())
            }
            Effect::Ecs(ecs::Effect::ContinueHook { deployment, hook }) => self.go_on(deployment, hook, now),
            Effect::Ecs(ecs::Effect::StopDeployment { deployment }) => self.stop(deployment, now),
            Effect::Ecs(ecs::Effect::RestoreConfiguration { configuration, .. }) => {
                if !configuration::is_set(configuration, &self.as_of(seen_at).configuration) {
                    self.update_configuration(configuration)?;
                    self.tell("the deployment configuration is restored".into());
                }
                Ok(())
            }
            Effect::Ecs(asked @ ecs::Effect::CreateCanary { .. }) => self.create_second(asked, now),
            Effect::Ecs(ecs::Effect::ScaleCanary { name, desired }) => self.scale_second(name, *desired, now),
            Effect::Ecs(ecs::Effect::DeleteCanary { name }) => self.delete_second(name, now),
            Effect::Elb(asked) => self.set_weights(asked, now),
            Effect::AutoScaling(asked) => self.suspend(*asked),
            Effect::Invite { .. } | Effect::StartBuild { .. } => {
                Err(refused(ErrorKind::Invalid, "ecs:perform", "NotOurs", "not an effect on the service"))
            }
        }
    }

    /// `UpdateService` as the adapter sends it.
    fn update_configuration(&mut self, wanted: &Value) -> Result<(), PortError> {
        let request = configuration::to_send(wanted, &self.scene.configuration);
        self.scene.configuration = super::configuration::update(
            &self.scene.configuration,
            &request,
            self.habits.keeps_stale_blocks,
        )?;
        Ok(())
    }

    /// A hook is continued.
    pub fn go_on(&mut self, arn: &DeploymentArn, hook: &HookId, now: Timestamp) -> Result<(), PortError> {
        const OPERATION: &str = "ecs:ContinueServiceDeployment";
        let Some(at) = self.scene.deployments.iter().position(|deployment| deployment.arn == *arn) else {
            return Err(refused(
                ErrorKind::NotFound,
                OPERATION,
                "ServiceDeploymentNotFoundException",
                "gone",
            ));
        };
        let Some(found) = self.scene.deployments[at].hooks.iter_mut().find(|seen| seen.id == *hook) else {
            return Err(refused(ErrorKind::Invalid, OPERATION, "InvalidParameterException", "no such hook"));
        };
        if !std::mem::replace(&mut found.awaiting, false) {
            let what = "the hook is not awaiting an action";
            let refusal = refused(ErrorKind::Invalid, OPERATION, "InvalidParameterException", what);
            return if self.habits.continues_once { Err(refusal) } else { Ok(()) };
        }
        self.tell(format!("{}: {hook} is continued", arn.short()));
        if self.scene.deployments[at].hooks.iter().any(|seen| seen.awaiting) {
            return Ok(());
        }
        match self.scene.deployments[at].stand {
            Stand::Hook { then: Then::Shift } => self.shift(at, now),
            Stand::Hook { then: Then::Bake } => self.bake(at, now),
            Stand::Pending
            | Stand::ScaleUp
            | Stand::Replacing
            | Stand::Shifting { .. }
            | Stand::StepBake
            | Stand::Bake
            | Stand::CleanUp
            | Stand::TrafficBack
            | Stand::BackCleanUp
            | Stand::Stopping
            | Stand::Over => self.broken.push(format!("{hook} awaits though its deployment does not")),
        }
        Ok(())
    }

    fn stop(&mut self, arn: &DeploymentArn, now: Timestamp) -> Result<(), PortError> {
        const OPERATION: &str = "ecs:StopServiceDeployment";
        let Some(at) = self.scene.deployments.iter().position(|deployment| deployment.arn == *arn) else {
            return Err(refused(
                ErrorKind::NotFound,
                OPERATION,
                "ServiceDeploymentNotFoundException",
                "gone",
            ));
        };
        let status = self.scene.deployments[at].status.clone();
        if status.is_over() || status.is_rollback() {
            return Ok(());
        }
        if status == DeploymentStatus::StopRequested {
            return Err(refused(ErrorKind::Conflict, OPERATION, "ConflictException", "it is being stopped"));
        }
        self.roll_back(at, "it was asked to be stopped", now);
        Ok(())
    }
}

impl Scene {
    /// The service.
    pub fn service(&self) -> ServiceSeen {
        let under_way = self.deployments.iter().any(|deployment| deployment.stand != Stand::Over);
        let load_balancers = match self.balancing {
            Balancing::LoadBalancer => vec![LoadBalancerSeen {
                target_group: Some(names::blue()),
                alternate_target_group: Some(names::green()),
                production_rule: Some(names::rule()),
                test_rule: None,
                role_given: true,
            }],
            Balancing::Plain => vec![LoadBalancerSeen {
                target_group: Some(names::blue()),
                alternate_target_group: None,
                production_rule: None,
                test_rule: None,
                role_given: false,
            }],
            Balancing::ServiceConnect | Balancing::None => Vec::new(),
        };
        ServiceSeen {
            status: "ACTIVE".into(),
            controller: "ECS".into(),
            task_definition: self.task_definition.clone(),
            deployment_configuration: self.configuration.clone(),
            desired: self.desired,
            running: self.desired,
            pending: 0,
            other_tasks: self
                .fleets
                .iter()
                .filter(|fleet| fleet.task_definition != self.task_definition)
                .map(|fleet| (self.desired * fleet.portion).div_ceil(100))
                .sum(),
            steady: !under_way,
            load_balancers,
            service_connect: self.balancing == Balancing::ServiceConnect,
            revisions: Vec::new(),
            kind: Default::default(),
        }
    }

    /// A task definition.
    pub fn task_definition(&self, arn: &TaskDefinitionArn) -> Option<TaskDefinitionSeen> {
        let registered = self.registered.get(arn)?;
        let images = registered.images.clone();
        let floating = BTreeSet::new();
        Some(TaskDefinitionSeen {
            arn: arn.clone(),
            active: registered.active,
            images,
            floating,
            platform: None,
            tags: 1,
        })
    }

    /// The newest revision that is this one.
    pub fn revision(&self, revision: &DerivedRevision) -> Option<TaskDefinitionArn> {
        let mut wanted = self.registered.get(&revision.from)?.images.clone();
        wanted.extend(revision.images.clone());
        let same = |(arn, registered): &(&TaskDefinitionArn, &Registered)| {
            let another = !revision.apart || **arn != revision.from;
            another && registered.active && registered.images == wanted
        };
        let newest = |arn: &TaskDefinitionArn| {
            arn.short().rsplit_once(':').and_then(|(_, number)| number.parse::<u32>().ok())
        };
        self.registered.iter().filter(same).map(|(arn, _)| arn.clone()).max_by_key(newest)
    }

    /// The digests that run.
    pub fn running(&self) -> RunningSeen {
        let mut digests: BTreeMap<ContainerName, Vec<Digest>> = BTreeMap::new();
        for fleet in self.fleets.iter().filter(|fleet| fleet.task_definition == self.task_definition) {
            for (container, digest) in &fleet.digests {
                let seen = digests.entry(container.clone()).or_default();
                if !seen.contains(digest) {
                    seen.push(digest.clone());
                }
            }
        }
        RunningSeen { digests }
    }

    /// An image in the registry.
    pub fn stored(&self, image: &Image) -> Stored {
        if image.registry != names::registry() {
            return Stored::Elsewhere;
        }
        let pushed = self.images.iter().any(|(_, digest, _)| *digest == image.digest);
        if pushed && !self.deleted.contains(&image.digest) {
            Stored::There(ImageSeen::there(image.digest.clone()))
        } else {
            Stored::Gone
        }
    }

    /// The deployments created since, newest first, as they are described at a time.
    pub fn deployments(&self, since: Timestamp, at: Timestamp) -> Vec<DeploymentSeen> {
        let created = self.deployments.iter().rev().filter(|deployment| deployment.created_at >= since);
        created.map(|deployment| self.seen(deployment, at)).collect()
    }

    /// How many of its group's tasks are of this task definition, percent.
    fn portion_of(&self, arn: &TaskDefinitionArn) -> u32 {
        self.fleets.iter().filter(|fleet| fleet.task_definition == *arn).map(|fleet| fleet.portion).sum()
    }

    fn seen(&self, deployment: &Deployment, at: Timestamp) -> DeploymentSeen {
        let healthy = self
            .fleets
            .iter()
            .any(|fleet| fleet.task_definition == deployment.task_definition && fleet.healthy);
        let portion = self.portion_of(&deployment.task_definition);
        let running = if healthy { self.desired * portion / 100 } else { 0 };
        DeploymentSeen {
            arn: deployment.arn.clone(),
            created_at: deployment.created_at,
            status: deployment.status.clone(),
            reason: deployment.reason.clone(),
            stage: match deployment.stand {
                Stand::Hook { .. } => deployment.hooks.last().and_then(|hook| hook.stage.clone()),
                Stand::Pending
                | Stand::ScaleUp
                | Stand::Replacing
                | Stand::Shifting { .. }
                | Stand::StepBake
                | Stand::Bake
                | Stand::CleanUp
                | Stand::TrafficBack
                | Stand::BackCleanUp
                | Stand::Stopping
                | Stand::Over => deployment.stage.map(str::to_owned),
            },
            configuration: deployment.configuration.clone(),
            task_definition: (deployment.described_at <= at).then(|| deployment.task_definition.clone()),
            weight: u16::try_from(deployment.percent * 10).ok().map(Percent::from_tenths),
            tasks: (self.desired, running, self.desired - running),
            hooks: deployment.hooks.clone(),
            triggered_alarms: deployment.triggered.clone(),
        }
    }

    /// The tasks of a task definition that have stopped.
    pub fn stopped_tasks(&self, of: &TaskDefinitionArn) -> Vec<StoppedTask> {
        self.stopped.iter().filter(|task| task.task_definition == *of).cloned().collect()
    }

    /// The production rule.
    pub fn rule(&self) -> RuleSeen {
        let named = (0..2).filter(|group| self.named[*group]);
        RuleSeen {
            arn: names::rule(),
            weights: named.map(|group| (group_arn(group), self.weights[group])).collect(),
            is_default: false,
        }
    }

    /// The alarms that exist among these.
    pub fn alarms(&self, wanted: &[AlarmName]) -> BTreeMap<AlarmName, AlarmSeen> {
        let found = wanted.iter().filter_map(|name| Some((name.clone(), self.alarms.get(name)?.clone())));
        found.collect()
    }

    /// The tags, oldest push first.
    pub fn images(&self) -> &[(Tag, Digest, Timestamp)] {
        &self.images
    }

    /// Every tagged image.
    pub fn tagged(&self) -> Vec<ImageDescribed> {
        let mut digests: Vec<&Digest> = self.images.iter().map(|(_, digest, _)| digest).collect();
        digests.sort();
        digests.dedup();
        let all =
            digests.into_iter().filter_map(|digest| self.described(&Pick::Digest(digest.clone(), None)));
        all.filter(|image| !image.tags.is_empty()).collect()
    }

    /// An image as ECR describes it: a tag names what it was put on last; an image is as old as its first push.
    pub fn described(&self, pick: &Pick) -> Option<ImageDescribed> {
        let digest = match pick {
            Pick::Tag(tag) => &self.images.iter().rev().find(|(name, ..)| name == tag)?.1,
            Pick::Digest(digest, _) => digest,
        };
        let (.., pushed_at) = self.images.iter().find(|(_, other, _)| other == digest)?;
        let on_it = |tag: &Tag| {
            let last = self.images.iter().rev().find(|(name, ..)| name == tag);
            last.is_some_and(|(_, other, _)| other == digest)
        };
        let mut tags: Vec<Tag> =
            self.images.iter().map(|(tag, ..)| tag).filter(|tag| on_it(tag)).cloned().collect();
        tags.sort();
        tags.dedup();
        let media = self.media.get(digest).cloned().unwrap_or_default();
        Some(ImageDescribed { digest: digest.clone(), tags, pushed_at: Some(in_seconds(*pushed_at)), media })
    }
}
