//! What happens in a simulation: drawn from a seed, or written down by a test.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_core::effect::{CALL_LIMIT, LEASE};
use tidegate_core::policy::{self, Policy, Shift};
use tidegate_core::requests::Ask;
use tidegate_core::vocab::autoscaling::Suspended;

use crate::fakes::{Balancing, Conditions, EcsHabits, Faults, PauseStage, Quality};
use crate::names;

/// Something a person or another tool does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Pushes the nth build.
    Push(u32, Quality),
    /// Pushes the nth build again.
    PushAgain(u32),
    /// Releases the nth build on a person's word, quarantine or not.
    Insist(u32),
    /// Asks for a rollback of the service.
    RollBack,
    /// Cancels the release under way.
    Cancel,
    /// Asks the release under way to pause, to continue or to promote now.
    Steer(Ask),
    /// Deploys a task definition of theirs, by Terraform or by hand.
    Deploy {
        /// The revision.
        revision: u32,
        /// Whether with a deployment configuration of their own.
        own_configuration: bool,
    },
    /// Sets the weights.
    Weights([u32; 2]),
    /// Sets the alarm.
    Alarm(bool),
    /// Mutes the alarm, or ends that.
    Mute(bool),
    /// An approver answers the gate that is open.
    Answer(bool),
    /// Continues the deployment that waits, in the console.
    GoOn,
    /// The service's owner changes its deployment configuration.
    Configure(Value),
    /// Somebody applies another policy.
    Apply(Box<Policy>),
    /// A row of the ledger cannot be read any more.
    Damage(Spoilt),
    /// Every row can be read again.
    Mend,
    /// An event of the service comes that tells nothing new, and is not lost.
    Look,
    /// Deletes the nth build's image from the registry.
    DeleteImage(u32),
    /// Deregisters a revision.
    Deregister(u32),
    /// Changes something that a candidate with weights of our own needs.
    Meddle(Meddling),
}

/// What people and other tools do to what a release needs that sets the weights itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Terraform, which knows nothing of the candidate's target group, makes the rule as it was.
    ResetRule,
    /// The service gets another number of tasks.
    Scale(u32),
    /// The candidate's service is deleted.
    DeleteCandidate,
}

/// Which row of a service is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// Its own.
    Service,
    /// The one by which events find it.
    Watch,
    /// That of its release under way.
    Release,
    /// The key by which the clock finds that.
    Wake,
}

/// Another service of the same ledger, with an ECS service, a repository and an alarm of its own.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its policy.
    pub policy: Policy,
    /// What people and other tools do to it, and when.
    pub script: Vec<(Timestamp, Action)>,
}

/// How events and messages are treated on their way, in per mille and milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Delivering {
    /// Lost.
    pub lost: u32,
    /// Delivered twice.
    pub doubled: u32,
    /// Delivered late, up to this much.
    pub late: u32,
    /// How late at most.
    pub late_millis: u64,
    /// How late every message of the wake queue comes beside that.
    pub queue_millis: u64,
    /// When the clock's schedule does nothing: from, to.
    pub clock_stands: Option<(Timestamp, Timestamp)>,
}

/// A simulation's beginning and what happens to it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Names it in failures, and feeds every draw.
    pub seed: u64,
    /// The policy.
    pub policy: Policy,
    /// Where the traffic comes from.
    pub balancing: Balancing,
    /// The service's own deployment configuration.
    pub own_configuration: Value,
    /// How long things take in ECS.
    pub habits: EcsHabits,
    /// How the world treats its callers.
    pub conditions: Conditions,
    /// How events travel.
    pub delivering: Delivering,
    /// What people and other tools do, and when.
    pub script: Vec<(Timestamp, Action)>,
    /// Who else there is.
    pub neighbour: Option<Neighbour>,
    /// Whether digests that were rolled back are pushed again at the end.
    pub push_again: bool,
    /// What has to come of the build that is pushed, where that is certain: it must be promoted, or must not be.
    pub promotes: Option<bool>,
    /// Receivers that are down: how their names begin, from when, until when, and how long they ask not to be called.
    pub receivers_down: Vec<(String, Timestamp, Timestamp, Option<u32>)>,
}

impl Scenario {
    /// One build that is released by canary in a world without faults.
    pub fn canary(quality: Quality) -> Self {
        Self {
            seed: 0,
            policy: policy("canary: { percent: 10, bake: 40s }, bake: 40s", "queue"),
            balancing: Balancing::LoadBalancer,
            own_configuration: json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 }),
            habits: EcsHabits::default(),
            conditions: Conditions { latency: (20, 20), ..Conditions::default() },
            delivering: Delivering::default(),
            script: vec![(names::at(5), Action::Push(2, quality))],
            neighbour: None,
            push_again: false,
            promotes: None,
            receivers_down: Vec::new(),
        }
    }

    /// Whether whoever wants to do something gets it done before long.
    pub(super) fn is_calm(&self) -> bool {
        self.conditions.faults.passes_within_the_invocation()
            && self.delivering.late == 0
            && self.conditions.latency.1 < 1_000
    }

    /// How long after something has happened everything that is begun was decided with it in sight.
    pub(super) fn decides_within(&self) -> SignedDuration {
        let described = self.habits.described_after.1;
        let seen = SignedDuration::from_millis(
            i64::try_from(self.conditions.read_lag + described).expect("within range"),
        );
        if self.is_calm() { seen + LEASE + CALL_LIMIT } else { SignedDuration::from_secs(90) }
    }

    /// How long after a breach the candidate may still have traffic. Where nothing holds its deployment, tasks of before have to be started.
    pub(super) fn turns_back_within(&self, held: bool) -> SignedDuration {
        let calm = self.is_calm();
        let habits = &self.habits;
        let anew = if held { 0 } else { habits.pending.1 + 1_000 + 2 * habits.task_start.1 };
        let back =
            SignedDuration::from_millis(i64::try_from(habits.traffic_back.1 + anew).expect("within range"));
        match (calm, self.delivering.lost) {
            (true, 0) => back + SignedDuration::from_secs(20),
            // The next look finds it, and the clock sees to looks.
            (true, _) => back + SignedDuration::from_secs(150),
            (false, _) => back + SignedDuration::from_mins(8),
        }
    }

    /// The scenario of a seed.
    pub fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let balancing = match rng.u32(0..10) {
            0 => Balancing::None,
            1 => Balancing::ServiceConnect,
            _ => Balancing::LoadBalancer,
        };
        let (step, last) = (rng.u32(0..90), rng.u32(0..120));
        let strategy = match (balancing, rng.u32(0..10)) {
            (Balancing::None, 0..5) => format!("blue_green: {{}}, bake: {last}s"),
            (Balancing::None, _) | (_, 0) => format!("rolling: {{}}, bake: {last}s"),
            (_, 1 | 2) => format!("blue_green: {{}}, bake: {last}s"),
            (_, 3 | 4) => {
                let percent = rng.u32(20..=50);
                format!("linear: {{ percent: {percent}, bake: {step}s }}, bake: {last}s")
            }
            (_, _) => {
                let percent = rng.u32(1..=50);
                format!("canary: {{ percent: {percent}, bake: {step}s }}, bake: {last}s")
            }
        };
        let on_newer = if rng.bool() { "queue" } else { "replace" };
        let faults = match rng.u32(0..4) {
            0 => Faults::None,
            1 => Faults::Random { per_mille: 5 },
            2 => Faults::Random { per_mille: 20 },
            _ => Faults::Random { per_mille: 60 },
        };
        let conditions = Conditions {
            latency: (5, rng.u64(10..400)),
            read_lag: [0, 500, 2_000, 4_000][rng.usize(0..4)],
            denied: denials(&mut rng),
            faults,
            skew: 0,
        };
        let delivering = match rng.u32(0..3) {
            0 => Delivering::default(),
            1 => {
                Delivering { lost: 50, doubled: 50, late: 100, late_millis: 20_000, ..Delivering::default() }
            }
            _ => Delivering {
                lost: 300,
                doubled: 200,
                late: 300,
                late_millis: 180_000,
                ..Delivering::default()
            },
        };
        let own_configuration = with_blocks(own_configuration(&mut rng), seed);
        let mut habits = habits(&mut rng, seed);
        // Drawn apart, so that what an older seed means stays as it was.
        let mut later = fastrand::Rng::with_seed(seed ^ 0x1a7e);
        habits.described_after = if later.u32(0..4) == 0 { (0, later.u64(1_000..25_000)) } else { (0, 0) };
        let mut script = script(&mut rng);
        let push_again = rng.bool();
        names_move(seed, &mut habits, &mut script);
        let mut scenario = Self {
            seed,
            policy: policy(&strategy, on_newer),
            balancing,
            own_configuration,
            habits,
            conditions,
            delivering,
            script,
            neighbour: None,
            push_again,
            promotes: None,
            receivers_down: Vec::new(),
        };
        if seed >= ENGINES_FROM {
            scenario.draw_engine();
        }
        if seed >= MORE_FROM {
            scenario.draw_more();
        }
        if seed >= NUMBERS_FROM {
            scenario.draw_numbers();
        }
        scenario
    }
}

/// Seeds from here on draw what came later, too; those before play what they played when they broke something.
pub const MORE_FROM: u64 = 10_000;

/// Seeds from here on draw the engine, too.
pub const ENGINES_FROM: u64 = 30_000;

/// Seeds from here on draw what is compared and what the numbers are, too.
pub const NUMBERS_FROM: u64 = 50_000;

impl Scenario {
    /// The same with the engine that sets the weights itself, by this strategy.
    #[must_use]
    pub fn weighted(mut self, balancing: Balancing, mut strategy: Value, min_tasks: u32) -> Self {
        strategy["engine"] = "weighted".into();
        let canary = match balancing {
            Balancing::Plain => {
                json!({ "target_group": names::green(), "rules": [names::rule()], "min_tasks": min_tasks })
            }
            Balancing::None | Balancing::LoadBalancer | Balancing::ServiceConnect => {
                json!({ "min_tasks": min_tasks })
            }
        };
        let place = json!({ "cluster": "prod", "service": "checkout", "container": "app", "canary": canary });
        self.policy = with(&self.policy, &[("strategy", strategy), ("to", json!({ "ecs": place }))]);
        self.balancing = balancing;
        self.own_configuration["strategy"] = "ROLLING".into();
        self.habits.tasks = 10;
        self.habits.scaling = Some(Suspended { scale_in: false, scale_out: true, scheduled: false });
        self
    }

    /// Which engine, and what one needs that sets the weights itself.
    fn draw_engine(&mut self) {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x00e6_91fe);
        let rng = &mut rng;
        if rng.bool() {
            return;
        }
        let balancing = if rng.u32(0..4) == 0 { Balancing::None } else { Balancing::Plain };
        let (strategy, min_tasks) = (own_steps(rng), rng.u32(1..=3));
        *self = self.clone().weighted(balancing, strategy, min_tasks);
        let habits = &mut self.habits;
        habits.tasks = rng.u32(1..=12);
        let suspended =
            Suspended { scale_in: rng.u32(0..4) == 0, scale_out: rng.bool(), scheduled: rng.bool() };
        habits.scaling = (rng.u32(0..3) > 0).then_some(suspended);
        habits.task_check = (1_000, rng.u64(2_000..20_000));
        habits.weights_reach = (0, 115_000);
        habits.deregistration = (1_000, rng.u64(5_000..300_000));
        if rng.u32(0..8) == 0 {
            let operation = OF_OWN_WEIGHTS[rng.usize(0..OF_OWN_WEIGHTS.len())];
            let from = rng.i64(0..600);
            let to = names::at(from + rng.i64(5..200));
            self.conditions.denied.push((operation.to_owned(), names::at(from), to));
        }
        if rng.u32(0..3) == 0 {
            for _ in 0..rng.u32(1..6) {
                let action = meddling(rng);
                self.script.push((drawn(rng, 30, 900), action));
            }
        }
    }

    /// Numbers: what is compared, how many requests there are and fail, and how late and incomplete Amazon CloudWatch says so.
    fn draw_numbers(&mut self) {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x0e71_de2c);
        let rolls = self.policy.strategy.shift == Shift::Rolling;
        let least = [0, 1, 100][rng.usize(0..3)] * u32::from(!rolls);
        let mut evidence = json!({ "min_requests": least, "wait": "20m" });
        if rng.u32(0..4) == 0 {
            evidence["dry_run"] = true.into();
        }
        if rng.bool() {
            evidence["every"] = ["10s", "30s", "2m"][rng.usize(0..3)].into();
        }
        self.policy = with(&self.policy, &[("evidence", evidence)]);
        self.habits.requests = [1, 20, 100][rng.usize(0..3)];
        self.habits.errors = [rng.u32(0..5), [1, 3, 10, 100][rng.usize(0..4)]];
        self.habits.metrics_late = rng.u64(1_000..180_000);
        if rng.u32(0..3) == 0 {
            let from = rng.i64(0..900);
            let until = names::at(from + rng.i64(30..600));
            self.conditions.denied.push(("cloudwatch:GetMetricData".to_owned(), names::at(from), until));
        }
    }

    /// Clocks that differ, gates, policies that change, another service, rows that cannot be read.
    fn draw_more(&mut self) {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 0x0b5e_55ed);
        let rng = &mut rng;
        if rng.bool() {
            self.conditions.skew = rng.i64(0..2_000);
        }
        let places: &[&str] = match self.policy.strategy.shift {
            // It holds no traffic back, so there is nothing to approve later.
            Shift::Rolling => &["deploy"],
            Shift::Canary { .. } | Shift::Linear { .. } | Shift::Steps { .. } | Shift::BlueGreen => {
                &["deploy", "shift", "promote"]
            }
        };
        let fields = gates(rng, places, &mut self.script);
        self.policy = with(&self.policy, &fields);
        if rng.u32(0..4) == 0 {
            let other = changed_on_the_way(rng, &self.policy);
            self.script.push((drawn(rng, 5, 600), Action::Apply(Box::new(other))));
        }
        if rng.bool() {
            let mut script = script(rng);
            let fields = gates(rng, places, &mut script);
            self.neighbour = Some(Neighbour { policy: with(&of_a_neighbour(&self.policy), &fields), script });
        }
        let of_neighbour = rng.bool();
        let damage = damage(rng);
        match &mut self.neighbour {
            Some(neighbour) if of_neighbour => neighbour.script.extend(damage),
            Some(_) | None => self.script.extend(damage),
        }
    }
}

/// Calls that only a release makes which sets the weights itself.
const OF_OWN_WEIGHTS: [&str; 7] = [
    "ecs:create_canary",
    "ecs:scale_canary",
    "ecs:delete_canary",
    "elasticloadbalancing:set_weights",
    "elasticloadbalancing:DescribeTargetHealth",
    "application-autoscaling:suspend",
    "ecs:return_to",
];

/// A strategy in as many steps as one likes.
fn own_steps(rng: &mut fastrand::Rng) -> Value {
    let bake = |rng: &mut fastrand::Rng| format!("{}s", rng.u32(0..90));
    let last = bake(rng);
    match rng.u32(0..6) {
        0 => json!({ "blue_green": {}, "bake": last }),
        1 => json!({ "linear": { "percent": rng.u32(20..=50), "bake": bake(rng) }, "bake": last }),
        2 | 3 => json!({ "canary": { "percent": rng.u32(1..=50), "bake": bake(rng) }, "bake": last }),
        _ => {
            let (mut percent, mut steps) = (0, Vec::new());
            for _ in 0..rng.u32(1..=4) {
                percent += rng.u32(1..=24);
                steps.push(json!({ "percent": percent, "bake": bake(rng) }));
            }
            json!({ "steps": steps, "bake": last })
        }
    }
}

fn meddling(rng: &mut fastrand::Rng) -> Action {
    match rng.u32(0..10) {
        0..5 => Action::Meddle(Meddling::ResetRule),
        5..7 => Action::Weights([[100, 0], [0, 100], [50, 50]][rng.usize(0..3)]),
        7 | 8 => Action::Meddle(Meddling::Scale(rng.u32(1..=20))),
        _ => Action::Meddle(Meddling::DeleteCandidate),
    }
}

fn drawn(rng: &mut fastrand::Rng, from: i64, to: i64) -> Timestamp {
    names::at(rng.i64(from..to))
}

/// Approvals and freezes, and what people answer.
fn gates(
    rng: &mut fastrand::Rng,
    places: &[&str],
    script: &mut Vec<(Timestamp, Action)>,
) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    if rng.u32(0..3) == 0 {
        let before = places[rng.usize(0..places.len())];
        let expires = format!("{}m", rng.u32(5..90));
        let on_expiry = if rng.u32(0..4) == 0 { "approve" } else { "reject" };
        let asked = json!({ "before": before, "by": ["ana"], "expires": expires, "on_expiry": on_expiry });
        fields.extend([("people", people()), ("approval", json!([asked]))]);
        for _ in 0..rng.u32(0..8) {
            script.push((drawn(rng, 30, 1_500), Action::Answer(rng.u32(0..5) > 0)));
        }
    }
    if rng.u32(0..4) == 0 {
        let (from, to) = (rng.u32(0..20), rng.u32(20..50));
        let then = if rng.bool() { "wait" } else { "refuse" };
        let window =
            json!({ "from": format!("2026-03-02T09:{from:02}"), "to": format!("2026-03-02T09:{to:02}") });
        fields.push(("freeze", json!({ "time_zone": "UTC", "dated": [window], "then": then })));
    }
    fields
}

/// The same policy as somebody may have changed it while a release was under way.
fn changed_on_the_way(rng: &mut fastrand::Rng, policy: &Policy) -> Policy {
    match rng.u32(0..3) {
        0 => with(policy, &[("rollback", json!({ "alarms": [] }))]),
        1 => with(
            policy,
            &[("rollback", json!({ "alarms": [names::alarm()], "failed_tasks": rng.u32(0..6) }))],
        ),
        _ => with(policy, &[("on_newer", json!(if rng.bool() { "queue" } else { "replace" }))]),
    }
}

/// A row cannot be read for some minutes.
fn damage(rng: &mut fastrand::Rng) -> Vec<(Timestamp, Action)> {
    if rng.u32(0..3) > 0 {
        return Vec::new();
    }
    let spoilt = [Spoilt::Service, Spoilt::Watch, Spoilt::Release, Spoilt::Wake][rng.usize(0..4)];
    let from = drawn(rng, 5, 400);
    let to = from + SignedDuration::from_secs(rng.i64(10..600));
    vec![(from, Action::Damage(spoilt)), (to, Action::Mend)]
}

/// The name of the other service.
pub(super) const NEIGHBOUR: &str = "search";

/// The policy as the other service has it.
pub(super) fn of_a_neighbour(policy: &Policy) -> Policy {
    let text = serde_json::to_string(policy).expect("a policy is JSON");
    policy::parse("neighbour.json", &text.replace("checkout", NEIGHBOUR)).expect("a policy")
}

/// What names mean changes: tags move, images and revisions go. Drawn by itself, so that what else a seed means stays as it is.
fn names_move(seed: u64, habits: &mut EcsHabits, script: &mut Vec<(Timestamp, Action)>) {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x7a65);
    habits.tagged = rng.u32(0..3) == 0;
    habits.resolves_each_task = rng.u32(0..3) == 0;
    let when = names::at(i64::from(rng.u32(5..700)));
    match rng.u32(0..20) {
        0 => script.push((when, Action::DeleteImage(rng.u32(1..=2)))),
        1 | 2 => script.push((when, Action::Deregister(rng.u32(1..=3)))),
        _ => {}
    }
    script.sort_by_key(|(at, _)| *at);
}

fn denials(rng: &mut fastrand::Rng) -> Vec<(String, jiff::Timestamp, jiff::Timestamp)> {
    const OPERATIONS: [&str; 8] = [
        "ecs:stop_deployment",
        "ecs:continue_hook",
        "ecs:start_deployment",
        "ecs:restore_configuration",
        "ecs:register_task_definition",
        "ecs:DescribeServices",
        "cloudwatch:DescribeAlarms",
        "elasticloadbalancing:DescribeRules",
    ];
    if rng.u32(0..8) > 0 {
        return Vec::new();
    }
    let operation = OPERATIONS[rng.usize(0..OPERATIONS.len())];
    let from = rng.i64(0..400);
    vec![(operation.to_owned(), names::at(from), names::at(from + rng.i64(5..200)))]
}

fn own_configuration(rng: &mut fastrand::Rng) -> Value {
    let mut own = json!({ "maximumPercent": 200, "minimumHealthyPercent": 100 });
    match rng.u32(0..4) {
        0 => {}
        1 => own["strategy"] = "ROLLING".into(),
        2 => {
            own["strategy"] = "ROLLING".into();
            own["deploymentCircuitBreaker"] = json!({ "enable": true, "rollback": true });
        }
        _ => {
            own["strategy"] = "BLUE_GREEN".into();
            own["bakeTimeInMinutes"] = 1.into();
            own["alarms"] = json!({ "alarmNames": ["their-own"], "enable": false, "rollback": false });
        }
    }
    own
}

/// Draws that came later have a generator of their own, so that the seeds before them still play what they played.
fn later_draws(seed: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed ^ 0x5eed_0f1a_7e12_d4a5)
}

/// Blocks a service may have from a strategy it had before, and what only rolling deployments take.
fn with_blocks(mut own: Value, seed: u64) -> Value {
    let mut rng = later_draws(seed);
    if rng.u32(0..4) == 0 {
        own["canaryConfiguration"] = json!({ "canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10 });
    }
    if rng.u32(0..4) == 0 {
        own["linearConfiguration"] = json!({ "stepPercent": 10.0, "stepBakeTimeInMinutes": 6 });
    }
    if rng.u32(0..3) == 0 && own["strategy"].as_str().is_none_or(|strategy| strategy == "ROLLING") {
        own["minimumHealthyPercent"] = 50.into();
        own["earlySuccessCriteria"] =
            json!({ "enable": true, "healthyPercent": 50, "sourceServiceRevisionCleanup": "DEFERRED" });
    }
    own
}

fn habits(rng: &mut fastrand::Rng, seed: u64) -> EcsHabits {
    let mut span = |from: u64, to: u64| {
        let low = rng.u64(from..=to);
        (low, rng.u64(low..=to))
    };
    let mut more = later_draws(seed.rotate_left(7));
    EcsHabits {
        pending: span(200, 3_000),
        task_start: span(2_000, 60_000),
        shift: span(500, 20_000),
        clean_up: span(1_000, 30_000),
        traffic_back: span(200, 3_000),
        alarm_poll: span(15_000, 90_000),
        alarm_recovery: span(20_000, 120_000),
        described_after: (0, 0),
        requests: 100,
        metrics_late: 60_000,
        names_old_early: rng.bool(),
        keeps_stale_blocks: more.bool(),
        pause_stage: [PauseStage::Hook, PauseStage::Absent, PauseStage::Before, PauseStage::Unknown]
            [more.usize(0..4)],
        tagged: false,
        resolves_each_task: false,
        ..EcsHabits::default()
    }
}

fn script(rng: &mut fastrand::Rng) -> Vec<(Timestamp, Action)> {
    let mut script = Vec::new();
    let mut at = rng.u32(1..60);
    for build in 2..2 + rng.u32(1..=3) {
        let quality = match rng.u32(0..10) {
            0..5 => Quality::Good,
            5..8 => Quality::Bad { from_percent: rng.u32(1..=100), alarm_after_secs: rng.u32(5..120) },
            8 => Quality::Crashes { from_percent: if rng.bool() { 0 } else { rng.u32(1..=100) } },
            _ => Quality::NeverStarts,
        };
        script.push((names::at(i64::from(at)), Action::Push(build, quality)));
        at += if rng.bool() { rng.u32(1..40) } else { rng.u32(40..900) };
    }
    for _ in 0..rng.u32(0..3) {
        let when = rng.u32(5..700);
        let action = match rng.u32(0..28) {
            0..5 => Action::RollBack,
            5..9 => Action::Cancel,
            9..12 => Action::PushAgain(2),
            12..14 => Action::Insist(2),
            14..17 => Action::Deploy { revision: 900 + when, own_configuration: rng.bool() },
            17..19 => Action::Weights([[100, 0], [0, 100], [50, 50]][rng.usize(0..3)]),
            19..21 => Action::Alarm(true),
            21..23 => Action::GoOn,
            23 => Action::Alarm(false),
            24 => Action::Steer(Ask::PromoteNow),
            25 => Action::Steer(Ask::Continue),
            _ => Action::Steer(Ask::Pause),
        };
        script.push((names::at(i64::from(when)), action));
    }
    script.sort_by_key(|(at, _)| *at);
    script
}

/// The deployment configuration that others bring along.
pub(super) fn their_own() -> Value {
    json!({ "strategy": "ROLLING", "maximumPercent": 150, "minimumHealthyPercent": 50 })
}

/// Ana's identity.
pub(super) const ANA: &str = "arn:aws:sts::111122223333:assumed-role/engineer/ana";

/// A canary for which Ana has to approve before this.
pub(super) fn gated(before: &str) -> Policy {
    asking(json!({ "before": before, "by": ["ana"], "expires": "2h" }))
}

/// A canary that asks for this approval. Ana and Ben are known.
pub(super) fn asking(approval: Value) -> Policy {
    with(
        &policy("canary: { percent: 10, bake: 40s }, bake: 40s", "queue"),
        &[("people", people()), ("approval", json!([approval]))],
    )
}

fn people() -> Value {
    json!({ "ana": { "aws": [ANA] }, "ben": { "aws": [ANA.replace("ana", "ben")] } })
}

/// A policy with some of its fields as given.
pub(super) fn with(policy: &Policy, fields: &[(&str, Value)]) -> Policy {
    let mut changed = serde_json::to_value(policy).expect("a policy is JSON");
    for (name, value) in fields {
        changed[*name] = value.clone();
    }
    policy::parse("changed.json", &changed.to_string()).expect("a policy")
}

pub(super) fn policy(strategy: &str, on_newer: &str) -> Policy {
    let text = format!(
        "service: checkout\n\
         from: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }} }}\n\
         to: {{ ecs: {{ cluster: prod, service: checkout, container: app }} }}\n\
         strategy: {{ {strategy} }}\n\
         rollback: {{ alarms: [checkout-5xx] }}\n\
         evidence: {{ compare: [] }}\n\
         on_newer: {on_newer}\n"
    );
    policy::parse("simulated.yaml", &text).expect("a policy")
}
