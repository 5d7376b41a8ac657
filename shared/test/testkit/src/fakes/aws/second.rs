//! What a release needs that sets the weights itself: a second ECS service, the rule that both are behind, and what scales the first one.
//!
//! Behaviour after the API references of `CreateService`, `DeleteService` and `ModifyRule`, and "Health checks for your target groups". Where
//! the documentation is silent, the habit that is harder for its user is modelled: targets that come into a rule are not healthy at once, a
//! change of weights reaches the load balancer's nodes late, and tasks that are taken away before that lose requests.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ContainerName, Digest, EcsServiceName, TargetGroupArn, TaskDefinitionArn};
use tidegate_core::policy::Percent;
use tidegate_core::vocab::autoscaling::{self, ScalableTarget, Suspended};
use tidegate_core::vocab::ecs::{self, LoadBalancerSeen, ServiceSeen, SourceSeen};
use tidegate_core::vocab::elb::{self, GroupSeen, Health};
use tidegate_core::vocab::tasks::{StopCode, StoppedTask};

use super::{Aws, Balancing, CRASH_EVERY, Quality, Scene, group_arn, later, refused};
use crate::names;

/// The group of the second service's targets.
const SECOND: usize = 1;
/// For how long the service has too many tasks before what scales it takes some away.
const SCALES_IN_AFTER: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskStand {
    Starting,
    /// It runs, and its target is not healthy, or not even checked.
    Running,
    /// It can be given requests.
    Ready,
}

#[derive(Debug, Clone)]
struct Task {
    stand: TaskStand,
    due: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Active,
    /// Its targets are being deregistered.
    Draining,
    Inactive,
}

/// A service that somebody made beside the first one.
#[derive(Debug, Clone)]
pub(super) struct Second {
    name: EcsServiceName,
    task_definition: TaskDefinitionArn,
    desired: u32,
    tasks: Vec<Task>,
    digests: BTreeMap<ContainerName, Digest>,
    status: Status,
    /// When its targets are gone.
    drained_at: Option<Timestamp>,
    /// How many of its targets drain.
    draining: u32,
    stopped: Vec<StoppedTask>,
}

impl Second {
    fn count(&self, is_meant: impl Fn(TaskStand) -> bool) -> u32 {
        u32::try_from(self.tasks.iter().filter(|task| is_meant(task.stand)).count()).unwrap_or(u32::MAX)
    }

    fn running(&self) -> u32 {
        self.count(|stand| stand != TaskStand::Starting)
    }

    fn ready(&self) -> u32 {
        self.count(|stand| stand == TaskStand::Ready)
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.tasks.iter().filter_map(|task| task.due).chain(self.drained_at).min()
    }
}

/// What a second service changes about the first one, and nobody sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    seconds: Vec<Second>,
    /// What scales the service, and what of that is suspended.
    scaling: Option<Suspended>,
    /// Until when nodes of the load balancer still send the second service requests, whatever its weight.
    reached_until: Option<Timestamp>,
    /// Since when the service has more tasks than its traffic needs.
    idle_since: Option<Timestamp>,
    /// Whether somebody has given the service another number of tasks.
    scaled: bool,
}

impl Beside {
    pub(super) fn scaled_by(scaling: Option<Suspended>) -> Self {
        Self { scaling, ..Self::default() }
    }
}

/// A second service that serves, for checks.
#[derive(Debug, Clone, PartialEq)]
pub struct SecondState {
    /// Its name.
    pub name: EcsServiceName,
    /// What it runs.
    pub task_definition: TaskDefinitionArn,
    /// How many tasks can be given requests.
    pub ready: u32,
}

impl Scene {
    fn active_second(&self) -> Option<&Second> {
        self.beside.seconds.iter().find(|second| second.status == Status::Active)
    }

    fn find_second(&self, name: &EcsServiceName) -> Option<&Second> {
        self.beside.seconds.iter().find(|second| second.name == *name)
    }

    /// The service that serves beside the first one.
    pub(super) fn second_state(&self) -> Option<SecondState> {
        self.active_second().map(|second| SecondState {
            name: second.name.clone(),
            task_definition: second.task_definition.clone(),
            ready: second.ready(),
        })
    }

    /// What share of the requests goes to each group, percent.
    pub(super) fn percent(&self) -> [u32; 2] {
        if let (Balancing::None, Some(second)) = (self.balancing, self.active_second()) {
            // Whoever takes work from a queue takes as much as every other.
            let (own, others) = (second.ready(), self.desired);
            let share = (own * 100).div_ceil((own + others).max(1));
            return [100 - share, share];
        }
        let all: u32 = self.weights.iter().sum();
        self.weights.map(|weight| (weight * 100 + all / 2).checked_div(all).unwrap_or(0))
    }

    /// Who serves what the second service is given, and with which image.
    pub(super) fn second_serves(&self) -> Option<(&TaskDefinitionArn, Option<&Digest>, u32)> {
        let second = self.active_second()?;
        let digest = second.digests.get(&names::container());
        Some((&second.task_definition, digest, self.percent()[SECOND]))
    }

    /// The second service of this name, as it is described.
    pub fn second(&self, name: &EcsServiceName) -> Option<ServiceSeen> {
        let second = self.find_second(name)?;
        let balancer = LoadBalancerSeen {
            target_group: Some(group_arn(SECOND)),
            alternate_target_group: None,
            production_rule: None,
            test_rule: None,
            role_given: false,
        };
        let status = match second.status {
            Status::Active => "ACTIVE",
            Status::Draining => "DRAINING",
            Status::Inactive => "INACTIVE",
        };
        let (desired, running) = (second.desired, second.running());
        Some(ServiceSeen {
            status: status.into(),
            controller: "ECS".into(),
            task_definition: second.task_definition.clone(),
            deployment_configuration: serde_json::json!({ "strategy": "ROLLING" }),
            desired,
            running,
            pending: desired.saturating_sub(running),
            other_tasks: 0,
            steady: running >= desired,
            load_balancers: if self.balancing == Balancing::Plain { vec![balancer] } else { Vec::new() },
            service_connect: false,
            revisions: Vec::new(),
            kind: Default::default(),
        })
    }

    /// What a second service would be copied from.
    pub fn source(&self) -> SourceSeen {
        SourceSeen::default()
    }

    /// How the targets of a group are. Those of one that no rule names are not checked, so none is healthy.
    pub fn health(&self, group: &TargetGroupArn) -> Health {
        if *group != group_arn(SECOND) {
            let healthy = self.fleets.iter().filter(|fleet| fleet.healthy).map(|fleet| fleet.portion);
            let healthy = self.desired * healthy.sum::<u32>() / 100;
            return Health { healthy, registered: self.desired };
        }
        let seconds = self.beside.seconds.iter();
        let registered = seconds.clone().map(|second| second.draining + second.running()).sum();
        let ready = seconds.map(Second::ready).sum();
        Health { healthy: if self.named[SECOND] { ready } else { 0 }, registered }
    }

    /// A target group. That it belongs to a load balancer it says only while a rule of that names it.
    pub fn group(&self, group: &TargetGroupArn) -> GroupSeen {
        let number = usize::from(*group == group_arn(SECOND));
        let balancer = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/app/shop/1";
        let load_balancers = if self.named[number] { vec![balancer.to_owned()] } else { Vec::new() };
        GroupSeen { arn: group.clone(), load_balancers }
    }

    /// What scales the service.
    pub fn scalable_target(&self) -> Option<ScalableTarget> {
        self.beside.scaling.map(|suspended| ScalableTarget { suspended })
    }

    /// The tasks of the second service that have stopped: of one that was never made there are none.
    pub fn stopped_beside(&self, name: &EcsServiceName, of: &TaskDefinitionArn) -> Vec<StoppedTask> {
        let stopped = self.find_second(name).into_iter().flat_map(|second| &second.stopped);
        stopped.filter(|task| task.task_definition == *of).cloned().collect()
    }
}

impl Aws {
    pub(super) fn next_beside(&self) -> Option<Timestamp> {
        self.scene.beside.seconds.iter().filter_map(Second::next_at).min()
    }

    /// Lets tasks start and become healthy, targets drain, and what scales the service look at it.
    pub(super) fn advance_beside(&mut self, now: Timestamp) {
        let mut changed = false;
        for number in 0..self.scene.beside.seconds.len() {
            let never = self.never_starts(&self.scene.beside.seconds[number].task_definition.clone());
            for task in 0..self.scene.beside.seconds[number].tasks.len() {
                changed |= self.advance_task(number, task, never, now);
            }
            let second = &mut self.scene.beside.seconds[number];
            if second.drained_at.is_some_and(|at| at <= now) {
                (second.drained_at, second.draining, second.status) = (None, 0, Status::Inactive);
                changed = true;
            }
        }
        if changed {
            self.keep(now);
        }
        self.scale_in_by_itself(now);
    }

    fn advance_task(&mut self, number: usize, task: usize, never: bool, now: Timestamp) -> bool {
        let checked_after = self.between(self.habits.task_check);
        let (checked, plain) = (self.scene.named[SECOND], self.scene.balancing == Balancing::Plain);
        let name = self.scene.beside.seconds[number].name.clone();
        let task = &mut self.scene.beside.seconds[number].tasks[task];
        if task.due.is_none_or(|due| due > now) {
            return false;
        }
        match task.stand {
            // Nothing checks what is behind no load balancer: it runs, or it exits again and again.
            TaskStand::Starting if !plain && never => task.due = None,
            TaskStand::Starting if !plain => {
                (task.stand, task.due) = (TaskStand::Ready, None);
                self.tell(format!("{name}: a task runs"));
            }
            TaskStand::Starting => {
                task.stand = TaskStand::Running;
                task.due = (checked && !never).then(|| later(now, checked_after));
                self.tell(format!("{name}: a task runs"));
            }
            TaskStand::Running => {
                (task.stand, task.due) = (TaskStand::Ready, None);
                self.tell(format!("{name}: a task is healthy"));
            }
            TaskStand::Ready => task.due = None,
        }
        true
    }

    /// A task of the second service exits, as its version does. Its event names a service that no policy names, so nobody is told.
    pub(super) fn crash_beside(&mut self, now: Timestamp) {
        let share = self.scene.percent()[SECOND];
        let quality = &self.quality;
        let crashes = |second: &Second| {
            second.status == Status::Active
                && second.digests.values().any(|digest| match quality.get(digest) {
                    Some(Quality::Crashes { from_percent }) => share >= *from_percent,
                    Some(Quality::Good | Quality::Bad { .. } | Quality::NeverStarts) | None => false,
                })
        };
        let Some(number) = self.scene.beside.seconds.iter().position(crashes) else { return };
        self.next_crash = later(now, CRASH_EVERY);
        let own = self.scene.beside.seconds[number].task_definition.clone();
        let code = StopCode::EssentialContainerExited;
        let task = self.stop_task(&own, code, "Essential container in task exited", Some(1), now);
        self.scene.stopped.pop();
        self.scene.beside.seconds[number].stopped.push(task);
        let name = self.scene.beside.seconds[number].name.clone();
        self.tell(format!("{name}: a task exits with code 1"));
        self.keep(now);
    }

    /// Nobody holds it, and the service has little to do.
    fn scale_in_by_itself(&mut self, now: Timestamp) {
        let serves = self.scene.second_serves().is_some_and(|(.., share)| share > 50);
        let may = self.scene.beside.scaling.is_some_and(|suspended| !suspended.scale_in);
        if !serves || !may || self.active().is_some() || self.scene.desired < 2 {
            self.scene.beside.idle_since = None;
            return;
        }
        let since = *self.scene.beside.idle_since.get_or_insert(now);
        if now.duration_since(since) >= SCALES_IN_AFTER {
            self.scene.desired = self.scene.desired.div_ceil(2);
            self.scene.beside.idle_since = None;
            let tasks = self.scene.desired;
            self.tell(format!("the service is scaled in to {tasks} tasks: it has little to do"));
            self.broken.push("the service is scaled in while its traffic is with the candidate".into());
            self.keep(now);
        }
    }

    // --- what is asked of it ---

    pub(super) fn create_second(&mut self, asked: &ecs::Effect, now: Timestamp) -> Result<(), PortError> {
        const OPERATION: &str = "ecs:CreateService";
        let ecs::Effect::CreateCanary { name, task_definition, desired, target_group, .. } = asked else {
            return Ok(());
        };
        let invalid =
            |what: &str| Err(refused(ErrorKind::Invalid, OPERATION, "InvalidParameterException", what));
        match self.scene.find_second(name).map(|second| second.status) {
            // The same token, the same service.
            Some(Status::Active) => return Ok(()),
            Some(Status::Draining) => return invalid("Unable to Start a service that is still Draining."),
            Some(Status::Inactive) | None => {}
        }
        if !self.scene.registered.get(task_definition).is_some_and(|registered| registered.active) {
            return Err(refused(
                ErrorKind::Invalid,
                OPERATION,
                "ClientException",
                "TaskDefinition is inactive",
            ));
        }
        if target_group.is_some() && !self.scene.named[SECOND] {
            return invalid("The target group does not have an associated load balancer.");
        }
        let digests = self.pull(task_definition);
        self.scene.beside.seconds.retain(|second| second.name != *name);
        self.scene.beside.seconds.push(Second {
            name: name.clone(),
            task_definition: task_definition.clone(),
            desired: 0,
            tasks: Vec::new(),
            digests,
            status: Status::Active,
            drained_at: None,
            draining: 0,
            stopped: Vec::new(),
        });
        self.tell(format!("service {name} is created with {desired} tasks of {}", task_definition.short()));
        let number = self.scene.beside.seconds.len() - 1;
        self.want_tasks(number, *desired, now);
        Ok(())
    }

    /// Tasks come one by one, the last of them as late as two of them take.
    fn want_tasks(&mut self, number: usize, desired: u32, now: Timestamp) {
        self.scene.beside.seconds[number].desired = desired;
        let wanted = usize::try_from(desired).unwrap_or(usize::MAX);
        self.scene.beside.seconds[number].tasks.truncate(wanted);
        while self.scene.beside.seconds[number].tasks.len() < wanted {
            let millis = self.between(self.habits.pending) + self.between(self.habits.task_start);
            let lags = self.rng.u64(1..=2);
            let task = Task { stand: TaskStand::Starting, due: Some(later(now, millis * lags)) };
            self.scene.beside.seconds[number].tasks.push(task);
        }
    }

    pub(super) fn scale_second(
        &mut self,
        name: &EcsServiceName,
        desired: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        const OPERATION: &str = "ecs:UpdateService";
        let number = self.scene.beside.seconds.iter().position(|second| second.name == *name);
        let Some(number) = number else {
            let what = "Service not found.";
            return Err(refused(ErrorKind::NotFound, OPERATION, "ServiceNotFoundException", what));
        };
        if self.scene.beside.seconds[number].status != Status::Active {
            let what = "Service was not ACTIVE.";
            return Err(refused(ErrorKind::Invalid, OPERATION, "ServiceNotActiveException", what));
        }
        self.tell(format!("service {name} is scaled to {desired} tasks"));
        let before = self.scene.beside.seconds[number].ready();
        self.want_tasks(number, desired, now);
        let ready = self.scene.beside.seconds[number].ready();
        if ready == 0 && ready < before && self.is_sent_requests(now) {
            self.broken.push(format!("requests are lost: no task of {name} is left that could take them"));
        }
        Ok(())
    }

    pub(super) fn delete_second(&mut self, name: &EcsServiceName, now: Timestamp) -> Result<(), PortError> {
        if self.scene.find_second(name).is_none_or(|second| second.status != Status::Active) {
            // The adapter looks whether it has been done before.
            return Ok(());
        }
        if self.is_sent_requests(now) {
            self.broken.push(format!("requests are lost: {name} is deleted while it is sent some"));
        }
        self.remove_second(name, now);
        Ok(())
    }

    fn remove_second(&mut self, name: &EcsServiceName, now: Timestamp) {
        let drains = self.between(self.habits.deregistration);
        let Some(second) = self.scene.beside.seconds.iter_mut().find(|second| second.name == *name) else {
            return;
        };
        second.draining = second.running();
        (second.status, second.desired, second.drained_at) = (Status::Draining, 0, Some(later(now, drains)));
        second.tasks.clear();
        self.tell(format!("service {name} is deleted"));
    }

    /// Whether the second service's targets get requests: by its weight, or because a node has not heard of that yet.
    fn is_sent_requests(&self, now: Timestamp) -> bool {
        let reached = self.scene.beside.reached_until.is_some_and(|until| now < until);
        self.scene.balancing == Balancing::Plain && (self.scene.weights[SECOND] > 0 || reached)
    }

    pub(super) fn set_weights(&mut self, asked: &elb::Effect, now: Timestamp) -> Result<(), PortError> {
        const OPERATION: &str = "elasticloadbalancing:ModifyRule";
        let elb::Effect::SetWeights { rule, weights, share } = asked;
        if *rule != names::rule() || self.scene.balancing != Balancing::Plain {
            return Err(refused(
                ErrorKind::NotFound,
                OPERATION,
                "RuleNotFound",
                "One or more rules not found",
            ));
        }
        let of = |number: usize| {
            weights.iter().find(|(group, _)| *group == group_arn(number)).map(|(_, weight)| *weight)
        };
        let wanted = [of(0), of(SECOND)];
        let (known, had) = (wanted.iter().flatten().count(), self.scene.percent()[SECOND]);
        if known != weights.len() || wanted.iter().flatten().any(|weight| *weight > 999) {
            let what = "One or more target groups not found";
            return Err(refused(ErrorKind::NotFound, OPERATION, "TargetGroupNotFound", what));
        }
        self.forward(wanted, now);
        self.tell(format!("the rule forwards with {wanted:?}: {share}% to the candidate"));
        self.sends_only_to_healthy_tasks(*share, had);
        Ok(())
    }

    /// The rule names these groups, with these weights.
    fn forward(&mut self, wanted: [Option<u32>; 2], now: Timestamp) {
        let had = self.scene.weights[SECOND];
        let was_named = self.scene.named[SECOND];
        self.scene.named = wanted.map(|weight| weight.is_some());
        self.scene.weights = wanted.map(|weight| weight.unwrap_or(0));
        if had > 0 && self.scene.weights[SECOND] == 0 {
            let reaches = self.between(self.habits.weights_reach);
            self.scene.beside.reached_until = Some(later(now, reaches));
        }
        if was_named != self.scene.named[SECOND] {
            self.check_targets(now);
        }
    }

    /// Its targets come into a rule, and are checked from now on, or out of it, and are not any more.
    fn check_targets(&mut self, now: Timestamp) {
        let named = self.scene.named[SECOND];
        for number in 0..self.scene.beside.seconds.len() {
            let never = self.never_starts(&self.scene.beside.seconds[number].task_definition.clone());
            for task in 0..self.scene.beside.seconds[number].tasks.len() {
                let checked_after = self.between(self.habits.task_check);
                let task = &mut self.scene.beside.seconds[number].tasks[task];
                if task.stand != TaskStand::Starting {
                    task.stand = TaskStand::Running;
                    task.due = (named && !never).then(|| later(now, checked_after));
                }
            }
        }
    }

    /// An empty target group answers 503, and its weight is not handed to another one.
    fn sends_only_to_healthy_tasks(&mut self, share: Percent, had: u32) {
        if self.scene.weights.iter().sum::<u32>() == 0 {
            self.broken.push("requests are lost: the rule sends them nowhere".into());
        }
        // Less than it has is no risk, however few they are.
        if self.scene.percent()[SECOND] <= had {
            return;
        }
        let ready = self.scene.active_second().map_or(0, Second::ready);
        let needed = (self.scene.desired * u32::from(share.tenths())).div_ceil(1000).max(1);
        if ready == 0 || (ready < needed && !self.scene.beside.scaled) {
            let what =
                format!("requests are lost: {share}% goes to {ready} healthy tasks, which needs {needed}");
            self.broken.push(what);
        }
    }

    pub(super) fn suspend(&mut self, asked: autoscaling::Effect) -> Result<(), PortError> {
        const OPERATION: &str = "application-autoscaling:RegisterScalableTarget";
        let autoscaling::Effect::Suspend { suspended } = asked;
        let Some(scaling) = &mut self.scene.beside.scaling else {
            let what = "MinCapacity and MaxCapacity are needed for a new scalable target";
            return Err(refused(ErrorKind::Invalid, OPERATION, "ValidationException", what));
        };
        *scaling = suspended;
        self.tell(format!("suspended is {suspended:?}"));
        Ok(())
    }

    // --- what people and other tools do ---

    /// Terraform, which knows nothing of the candidate's target group, makes the rule as it was.
    pub fn reset_rule_by_someone(&mut self, now: Timestamp) {
        self.advance(now);
        self.tell("someone else makes the rule as it was".into());
        self.forward([Some(100), None], now);
        self.keep(now);
    }

    /// Somebody gives the service another number of tasks.
    pub fn scale_by_someone(&mut self, desired: u32, now: Timestamp) {
        self.advance(now);
        self.tell(format!("someone else scales the service to {desired} tasks"));
        self.scene.desired = desired;
        self.scene.beside.scaled = true;
        self.keep(now);
    }

    /// Somebody deletes the second service.
    pub fn delete_second_by_someone(&mut self, now: Timestamp) {
        self.advance(now);
        if let Some(name) = self.scene.active_second().map(|second| second.name.clone()) {
            self.remove_second(&name, now);
            self.keep(now);
        }
    }

    /// Somebody sets the weights of both groups.
    pub(super) fn weigh_by_someone(&mut self, weights: [u32; 2], now: Timestamp) {
        self.forward(weights.map(Some), now);
    }
}
