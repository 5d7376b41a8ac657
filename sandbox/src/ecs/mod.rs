//! Amazon ECS: clusters, task definitions, services with native deployments, and tasks that are local processes.
//!
//! Exists because no emulator runs deployments with their stages, hooks, bakes and traffic. Requests change the state
//! under one lock; a background task ticks a state machine that never reads a clock and never waits (`machine`).
//!
//! Left out on purpose, and refused rather than pretended: task sets, DAEMON services,
//! CODE_DEPLOY, Express Mode. Choices where AWS documents nothing are written down in the module that makes them.

mod background;
mod calls;
mod clusters;
mod config;
mod deployments;
mod errors;
mod fleet;
mod hooks;
mod ids;
mod input;
mod kinds;
mod launch_deployment;
mod machine;
mod model;
mod notify;
mod plan;
mod pulls;
mod render;
mod rolling;
mod scaling;
mod services;
mod settings;
mod stages;
mod tags_and_tasks;
mod task_definitions;
#[cfg(test)]
mod tests;
mod traffic;
mod watch;
mod world;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

pub use ids::Identity;
pub use settings::{DeleteRunning, GoneServices, PauseStage, Settings, StaleBlocks, Undocumented};

use self::calls::{BackgroundCalls, FunctionCalls};
use self::errors::unsupported;
use self::input::Members;
use self::model::State;
use self::pulls::{BackgroundPulls, ImagePulls};
use self::world::World;
use crate::ports::{Alarms, AwsError, Caller, EventSink, Functions, Images, LoadBalancers, Service};
use crate::tasks::TaskLauncher;

/// What ECS needs of the other services.
#[derive(Clone)]
pub struct Ports {
    /// Targets and weights.
    pub balancers: Arc<dyn LoadBalancers>,
    /// Where its events go.
    pub events: Arc<dyn EventSink>,
    /// States of alarms.
    pub alarms: Arc<dyn Alarms>,
    /// Images of tasks.
    pub images: Arc<dyn Images>,
    /// Processes of tasks.
    pub launcher: Arc<dyn TaskLauncher>,
    /// Functions of lifecycle hooks.
    pub functions: Arc<dyn Functions>,
}

/// The local ECS. Cheap to clone; when the last clone is gone its scheduler ends.
#[derive(Clone)]
pub struct Ecs {
    inner: Arc<Inner>,
}

struct Inner {
    ports: Ports,
    work: Work,
    identity: Identity,
    settings: Settings,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    memory: Mutex<Memory>,
}

/// What goes on in the background.
struct Work {
    pulls: Box<dyn ImagePulls>,
    calls: Box<dyn FunctionCalls>,
}

/// The state, and older copies of it for eventually consistent reads.
#[derive(Default)]
struct Memory {
    state: State,
    past: VecDeque<(Timestamp, Arc<State>)>,
}

impl Ecs {
    /// Starts ECS and its scheduler. Needs a tokio runtime.
    pub fn start(ports: Ports, identity: Identity, settings: Settings) -> Self {
        let work = Work {
            pulls: Box::new(BackgroundPulls::new(Arc::clone(&ports.images))),
            calls: Box::new(BackgroundCalls::new(Arc::clone(&ports.functions))),
        };
        let tick = settings.tick;
        let clock = Box::new(Timestamp::now);
        let ecs = Self::new(ports, work, identity, settings, clock);
        tokio::spawn(schedule(Arc::downgrade(&ecs.inner), tick));
        ecs
    }

    /// Without a scheduler of its own: whoever made it calls `tick`.
    fn new(
        ports: Ports,
        work: Work,
        identity: Identity,
        settings: Settings,
        clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        Self { inner: Arc::new(Inner { ports, work, identity, settings, clock, memory: Mutex::default() }) }
    }

    /// Stops all tasks and deployments at once, as the end of the sandbox does. Processes end in the background.
    pub fn stop_all(&self) {
        let memory = self.inner.lock();
        for task in memory.state.everything().flat_map(|service| &service.tasks) {
            self.inner.ports.launcher.stop(&task.id);
        }
    }
}

async fn schedule(ecs: Weak<Inner>, tick: std::time::Duration) {
    let mut ticks = tokio::time::interval(tick.max(std::time::Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(ecs) = ecs.upgrade() else { return };
        ecs.tick();
    }
}

/// Operations that answer from a state as old as `Settings::read_lag`.
const EVENTUALLY_CONSISTENT: [&str; 7] = [
    "DescribeServices",
    "ListServices",
    "DescribeServiceDeployments",
    "ListServiceDeployments",
    "DescribeServiceRevisions",
    "DescribeTasks",
    "ListTasks",
];

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self, now: Timestamp) -> World<'_> {
        World {
            now,
            settings: &self.settings,
            identity: &self.identity,
            balancers: &*self.ports.balancers,
            alarms: &*self.ports.alarms,
            events: &*self.ports.events,
            launcher: &*self.ports.launcher,
            pulls: &*self.work.pulls,
            functions: &*self.work.calls,
        }
    }

    fn tick(&self) {
        let now = (self.clock)();
        let mut memory = self.lock();
        machine::tick(&mut memory.state, &self.world(now));
        memory.remember(now, self.settings.read_lag);
    }

    fn answer(&self, operation: &str, input: &Value, caller: &Caller) -> Result<Value, AwsError> {
        let now = (self.clock)();
        let mut memory = self.lock();
        if EVENTUALLY_CONSISTENT.contains(&operation) {
            if let Some(past) = memory.as_of(now, self.settings.read_lag) {
                return read(&past, operation, input, self.settings.undocumented);
            }
            return read(&memory.state, operation, input, self.settings.undocumented);
        }
        let answer = self.change(&mut memory.state, operation, input, caller, now);
        memory.remember(now, self.settings.read_lag);
        answer
    }

    fn change(
        &self,
        state: &mut State,
        operation: &str,
        input: &Value,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Value, AwsError> {
        let world = self.world(now);
        let members = Members::request(input)?;
        let caller = caller.arn.as_deref();
        let raw = input.as_object().cloned().unwrap_or_default();
        match operation {
            "CreateCluster" => clusters::create(state, members, &world),
            "DeleteCluster" => clusters::delete(state, members),
            "DescribeClusters" => clusters::describe(state, members),
            "ListClusters" => clusters::list(state, members),
            "RegisterTaskDefinition" => task_definitions::register(state, &raw, caller, &world),
            "DeregisterTaskDefinition" => task_definitions::deregister(state, members, &world),
            "DescribeTaskDefinition" => task_definitions::describe(state, members),
            "ListTaskDefinitions" => task_definitions::list(state, members),
            "CreateService" => services::create(state, &raw, caller, &world),
            "UpdateService" => services::update(state, &raw, &world),
            "DeleteService" => services::delete(state, members, &world),
            "ContinueServiceDeployment" => deployments::proceed(state, members, &world),
            "StopServiceDeployment" => deployments::stop(state, members, &world),
            "TagResource" => tags_and_tasks::tag(state, members),
            "UntagResource" => tags_and_tasks::untag(state, members),
            "ListTagsForResource" => tags_and_tasks::list_tags(state, members),
            "CreateTaskSet"
            | "UpdateTaskSet"
            | "DeleteTaskSet"
            | "DescribeTaskSets"
            | "UpdateServicePrimaryTaskSet" => Err(unsupported("the sandbox does not have task sets")),
            other => Err(AwsError::new(
                "UnknownOperationException",
                format!("the sandbox does not have the ECS operation {other}"),
            )),
        }
    }
}

fn read(
    state: &State,
    operation: &str,
    input: &Value,
    undocumented: Undocumented,
) -> Result<Value, AwsError> {
    let members = Members::request(input)?;
    match operation {
        "DescribeServices" => services::describe(state, members),
        "ListServices" => services::list(state, members),
        "DescribeServiceDeployments" => deployments::describe(state, members, undocumented),
        "ListServiceDeployments" => deployments::list(state, members),
        "DescribeServiceRevisions" => deployments::describe_revisions(state, members),
        "DescribeTasks" => tags_and_tasks::describe_tasks(state, members),
        "ListTasks" => tags_and_tasks::list_tasks(state, members),
        other => Err(AwsError::new("UnknownOperationException", format!("{other} is not a read"))),
    }
}

impl Memory {
    /// Keeps a copy for later reads, and forgets those too old to be read.
    fn remember(&mut self, now: Timestamp, lag: std::time::Duration) {
        if lag.is_zero() {
            return;
        }
        self.past.push_back((now, Arc::new(self.state.clone())));
        while self.past.get(1).is_some_and(|(at, _)| settings::since(now, *at) >= lag) {
            self.past.pop_front();
        }
    }

    /// The newest copy that is at least as old as the lag; nothing when reads are consistent.
    fn as_of(&self, now: Timestamp, lag: std::time::Duration) -> Option<Arc<State>> {
        if lag.is_zero() {
            return None;
        }
        let old_enough = |(at, _): &&(Timestamp, Arc<State>)| settings::since(now, *at) >= lag;
        let found = self.past.iter().rev().find(old_enough).or_else(|| self.past.front());
        found.map(|(_, state)| Arc::clone(state))
    }
}

#[async_trait]
impl Service for Ecs {
    async fn call(&self, operation: &str, input: Value, caller: &Caller) -> Result<Value, AwsError> {
        self.inner.answer(operation, &input, caller)
    }
}
