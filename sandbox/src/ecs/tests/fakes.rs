//! In-memory stand-ins for everything around ECS, with one journal of what was done to them, in order.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::ecs::calls::FunctionCalls;
use crate::ecs::model::Call;
use crate::ecs::pulls::ImagePulls;
use crate::ports::{
    AlarmState, Alarms, AwsError, EventSink, Functions, ImageSpec, Images, LoadBalancers, ServiceEvent,
    TargetHealth,
};
use crate::tasks::{TaskLauncher, TaskStatus};

pub(super) const BLUE: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/blue/1";
pub(super) const GREEN: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/green/1";
pub(super) const PRODUCTION: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener-rule/app/lb/1/2/3";
pub(super) const TEST: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener-rule/app/lb/1/2/4";

#[derive(Default)]
pub(super) struct Fakes {
    pub(super) journal: Mutex<Vec<String>>,
    pub(super) weights: Mutex<BTreeMap<String, Vec<(String, u32)>>>,
    pub(super) targets: Mutex<HashSet<(String, SocketAddr)>>,
    pub(super) in_flight: Mutex<u64>,
    pub(super) refuse_weights: Mutex<bool>,
    pub(super) all_healthy: Mutex<bool>,
    pub(super) alarms: Mutex<HashMap<String, AlarmState>>,
    pub(super) events: Mutex<Vec<ServiceEvent>>,
    /// What moving tags mean now.
    pub(super) tags: Mutex<HashMap<String, String>>,
    /// Versions whose image was deleted.
    pub(super) deleted: Mutex<HashSet<String>>,
    /// What functions of hooks answer, one after the other; without any left they answer SUCCEEDED.
    pub(super) answers: Mutex<VecDeque<Result<Value, AwsError>>>,
    /// The calls of functions: role, function and event.
    pub(super) calls: Mutex<Vec<(String, String, Value)>>,
    tasks: Mutex<HashMap<String, (TaskStatus, ImageSpec)>>,
    ports: Mutex<u16>,
}

impl Fakes {
    pub(super) fn new() -> Arc<Self> {
        let fakes = Self::default();
        for rule in [PRODUCTION, TEST] {
            let weights = vec![(BLUE.to_owned(), 100), (GREEN.to_owned(), 0)];
            fakes.weights.lock().unwrap().insert(rule.to_owned(), weights);
        }
        Arc::new(fakes)
    }

    fn note(&self, what: String) {
        self.journal.lock().unwrap().push(what);
    }

    /// Weights of the two target groups, blue first.
    pub(super) fn weights(&self, rule: &str) -> (u32, u32) {
        let weights = self.weights.lock().unwrap()[rule].clone();
        let of = |group: &str| weights.iter().find(|(name, _)| name == group).unwrap().1;
        (of(BLUE), of(GREEN))
    }

    /// Versions of the processes that run.
    pub(super) fn versions(&self) -> BTreeMap<String, usize> {
        let mut versions = BTreeMap::new();
        for (status, spec) in self.tasks.lock().unwrap().values() {
            if matches!(status, TaskStatus::Listening(_)) {
                *versions.entry(spec.version.clone()).or_default() += 1;
            }
        }
        versions
    }

    /// Kills one process of a version.
    pub(super) fn kill_one(&self, version: &str) {
        let mut tasks = self.tasks.lock().unwrap();
        let running = |task: &&mut (TaskStatus, ImageSpec)| {
            task.1.version == version && matches!(task.0, TaskStatus::Listening(_))
        };
        tasks.values_mut().find(running).unwrap().0 = TaskStatus::Exited { code: Some(137) };
    }

    pub(super) fn event_names(&self, detail_type: &str) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let named = events.iter().filter(|event| event.detail_type == detail_type);
        named.map(|event| event.detail["eventName"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn alarm(&self, name: &str, state: AlarmState) {
        self.alarms.lock().unwrap().insert(name.to_owned(), state);
    }
}

impl LoadBalancers for Fakes {
    fn register_target(&self, group: &str, target: SocketAddr) -> Result<(), AwsError> {
        self.targets.lock().unwrap().insert((group.to_owned(), target));
        Ok(())
    }

    fn deregister_target(&self, group: &str, target: SocketAddr) -> Result<(), AwsError> {
        self.note(format!("deregister {}", short(group)));
        self.targets.lock().unwrap().remove(&(group.to_owned(), target));
        Ok(())
    }

    fn target_health(&self, group: &str, target: SocketAddr) -> TargetHealth {
        if !self.targets.lock().unwrap().contains(&(group.to_owned(), target)) {
            let draining = *self.in_flight.lock().unwrap() > 0;
            return if draining { TargetHealth::Draining } else { TargetHealth::Unused };
        }
        if *self.all_healthy.lock().unwrap() {
            return TargetHealth::Healthy;
        }
        let tasks = self.tasks.lock().unwrap();
        match tasks.values().find(|(status, _)| *status == TaskStatus::Listening(target)) {
            Some((_, spec)) if spec.unhealthy => TargetHealth::Unhealthy,
            Some(_) => TargetHealth::Healthy,
            None => TargetHealth::Unhealthy,
        }
    }

    fn requests_in_flight(&self, _group: &str, _target: SocketAddr) -> u64 {
        *self.in_flight.lock().unwrap()
    }

    fn forward_weights(&self, rule: &str) -> Result<Vec<(String, u32)>, AwsError> {
        let weights = self.weights.lock().unwrap().get(rule).cloned();
        weights.ok_or_else(|| AwsError::new("RuleNotFound", "One or more rules not found"))
    }

    /// A group is known and used, but when its name says otherwise.
    fn load_balancers_of(&self, group: &str) -> Result<Vec<String>, AwsError> {
        if group.contains("missing") {
            return Err(AwsError::new("TargetGroupNotFound", "One or more target groups not found"));
        }
        let used = !group.contains("unused");
        Ok(used.then(|| "arn:lb".to_owned()).into_iter().collect())
    }

    fn set_forward_weights(&self, rule: &str, weights: &[(String, u32)]) -> Result<(), AwsError> {
        if *self.refuse_weights.lock().unwrap() {
            return Err(AwsError::new("Throttling", "Rate exceeded"));
        }
        let list: Vec<_> =
            weights.iter().map(|(group, weight)| format!("{}={weight}", short(group))).collect();
        let which = if rule == TEST { "test" } else { "production" };
        self.note(format!("{which} {}", list.join(" ")));
        self.weights.lock().unwrap().insert(rule.to_owned(), weights.to_vec());
        Ok(())
    }
}

fn short(group: &str) -> &str {
    if group == BLUE { "blue" } else { "green" }
}

impl Alarms for Fakes {
    fn state(&self, name: &str) -> Option<AlarmState> {
        self.alarms.lock().unwrap().get(name).copied()
    }
}

impl EventSink for Fakes {
    fn emit(&self, event: ServiceEvent) {
        self.events.lock().unwrap().push(event);
    }
}

impl TaskLauncher for Fakes {
    fn launch(&self, task: &str, image: &ImageSpec) {
        let mut ports = self.ports.lock().unwrap();
        *ports += 1;
        let status = if image.crashes {
            TaskStatus::Exited { code: Some(1) }
        } else {
            TaskStatus::Listening(SocketAddr::from(([127, 0, 0, 1], 20_000 + *ports)))
        };
        self.tasks.lock().unwrap().insert(task.to_owned(), (status, image.clone()));
    }

    fn status(&self, task: &str) -> TaskStatus {
        let tasks = self.tasks.lock().unwrap();
        tasks.get(task).map_or(TaskStatus::Exited { code: None }, |(status, _)| status.clone())
    }

    fn stop(&self, task: &str) {
        if let Some((status, spec)) = self.tasks.lock().unwrap().get_mut(task) {
            *status = TaskStatus::Exited { code: Some(0) };
            self.note(format!("stop {}", spec.version));
        }
    }

    fn forget(&self, task: &str) {
        self.tasks.lock().unwrap().remove(task);
    }
}

/// The part after the last colon is the version, or a tag that means one, and says what is wrong with it.
fn image(fakes: &Fakes, name: &str) -> Result<ImageSpec, AwsError> {
    let written = name.rsplit(':').next().unwrap();
    let meant = fakes.tags.lock().unwrap().get(written).cloned();
    let version = written.strip_prefix("digest-of-").unwrap_or(meant.as_deref().unwrap_or(written));
    if version.contains("missing") || fakes.deleted.lock().unwrap().contains(version) {
        return Err(AwsError::new("CannotPullContainerError", format!("{name}: not found")));
    }
    Ok(ImageSpec {
        digest: format!("sha256:digest-of-{version}"),
        version: version.to_owned(),
        error_percent: 0.0,
        latency_ms: 0,
        crashes: version.contains("crash"),
        unhealthy: version.contains("unhealthy"),
    })
}

impl ImagePulls for Arc<Fakes> {
    fn pull(&self, _ticket: &str, name: &str) -> Option<Result<ImageSpec, AwsError>> {
        Some(image(self, name))
    }
}

#[async_trait::async_trait]
impl Images for Fakes {
    async fn resolve(&self, name: &str) -> Result<ImageSpec, AwsError> {
        image(self, name)
    }
}

impl Fakes {
    fn answered(&self, role: &str, function: &str, event: &Value) -> Result<Value, AwsError> {
        self.calls.lock().unwrap().push((role.to_owned(), function.to_owned(), event.clone()));
        let succeeded = || Ok(json!({"hookStatus": "SUCCEEDED"}));
        self.answers.lock().unwrap().pop_front().unwrap_or_else(succeeded)
    }
}

impl FunctionCalls for Arc<Fakes> {
    fn call(&self, _ticket: &str, call: &Call, event: &Value) -> Option<Result<Value, AwsError>> {
        Some(self.answered(&call.role, &call.function, event))
    }
}

#[async_trait::async_trait]
impl Functions for Fakes {
    async fn invoke(&self, role: &str, function: &str, event: &Value) -> Result<Value, AwsError> {
        self.answered(role, function, event)
    }
}
