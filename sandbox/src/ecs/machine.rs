//! The state machine of services and their deployments: `tick` moves everything as far as it can go at a given time.
//!
//! A deployment is a list of steps and a cursor. Going back replaces the list by the rollback. The fleet sizes follow
//! from the present step, tasks follow from the fleet sizes.

use super::config::Strategy;
use super::fleet;
use super::hooks;
use super::model::{
    Cause, Deployment, DeploymentStatus, Phase, Rollback, Service, ServiceStatus, Stage, State, Step,
    WatchStatus,
};
use super::notify::{self, DeploymentEvent};
use super::plan;
use super::rolling;
use super::settings::{GoneServices, since};
use super::traffic;
use super::watch;
use super::world::World;

/// The limit of a stage without hooks: 24 hours.
const STAGE_LIMIT_MINUTES: u32 = 24 * 60;

/// What AWS adds to each shift of a Network Load Balancer.
const NETWORK_SHIFT_MINUTES: u32 = 10;

/// How a step stands.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    Done,
    Waiting,
    GoBack(Cause),
}

/// Moves every service as far as it can go now.
pub(super) fn tick(state: &mut State, world: &World<'_>) {
    for service in state.services.values_mut().chain(&mut state.replaced) {
        fleet::observe(service, world);
        deploy(service, world);
        rest(service);
        fleet::reconcile(service, world);
        finish_deletion(service);
        watch::steady_state(service, world);
    }
    state.replaced.retain(|service| !service.is_empty());
    match world.settings.undocumented.gone_services {
        GoneServices::Kept => {}
        GoneServices::Purged => {
            state
                .services
                .retain(|_, service| service.status != ServiceStatus::Inactive || !service.is_empty());
        }
    }
}

/// Drives the deployments that are not over, oldest first: a newer one starts once the older has stopped.
fn deploy(service: &mut Service, world: &World<'_>) {
    for position in 0..service.deployments.len() {
        if service.deployments[position].status.is_terminal() {
            continue;
        }
        let mut deployment = service.deployments[position].clone();
        drive(&mut deployment, service, world);
        service.deployments[position] = deployment;
    }
}

fn drive(deployment: &mut Deployment, service: &mut Service, world: &World<'_>) {
    match deployment.status {
        DeploymentStatus::Pending => start(deployment, service, world),
        DeploymentStatus::StopRequested => {
            deployment.stopped_at = Some(world.now);
            finish(deployment, DeploymentStatus::Stopped, world);
            return;
        }
        DeploymentStatus::RollbackRequested => go_back(deployment, service, Cause::Requested, world),
        DeploymentStatus::InProgress | DeploymentStatus::RollbackInProgress => {}
        DeploymentStatus::Successful
        | DeploymentStatus::Stopped
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => return,
    }
    if deployment.status == DeploymentStatus::InProgress {
        match watch::guards(deployment, service, world) {
            Progress::Done | Progress::Waiting => {}
            Progress::GoBack(cause) => fail(deployment, service, cause, world),
        }
    }
    while !deployment.status.is_terminal() {
        let Some(step) = deployment.step() else {
            complete(deployment, service, world);
            return;
        };
        match run(step, deployment, service, world) {
            Progress::Waiting => return,
            Progress::Done => {
                deployment.cursor += 1;
                deployment.entered_at = None;
                deployment.updated_at = world.now;
            }
            Progress::GoBack(cause) => go_back(deployment, service, cause, world),
        }
    }
}

fn start(deployment: &mut Deployment, service: &mut Service, world: &World<'_>) {
    deployment.status = DeploymentStatus::InProgress;
    deployment.started_at = Some(world.now);
    deployment.updated_at = world.now;
    watch::arm(deployment, service, world);
    let reason = format!("ECS deployment {} in progress.", service.revision(deployment.target).deployment_id);
    notify::deployment(world, service, deployment.target, DeploymentEvent::InProgress, &reason);
}

fn run(step: Step, deployment: &mut Deployment, service: &mut Service, world: &World<'_>) -> Progress {
    let entering = deployment.entered_at.is_none();
    let entered_at = *deployment.entered_at.get_or_insert(world.now);
    if entering {
        deployment.updated_at = world.now;
        deployment.hooks.clear();
    }
    let passed = since(world.now, entered_at);
    match step {
        Step::Hooks(stage) => hooks::run(deployment, service, stage, entering, world),
        Step::Reconcile => reconcile(deployment, service, world),
        Step::ScaleUp => {
            if scaled_up(deployment, service) {
                Progress::Done
            } else if passed > world.settings.minutes(STAGE_LIMIT_MINUTES) {
                Progress::GoBack(Cause::StageTooLong { stage: Stage::ScaleUp })
            } else {
                Progress::Waiting
            }
        }
        Step::TestShift => {
            let shifted = !entering && deployment.shift_error.is_none()
                || traffic::shift_test(service, deployment, 100.0, world);
            wait(shifted && passed >= shift_time(deployment, service, world))
        }
        Step::ProductionShift { percent } => {
            let shifted = !entering && deployment.shift_error.is_none()
                || traffic::shift_production(service, deployment, percent, world);
            wait(shifted && passed >= shift_time(deployment, service, world))
        }
        Step::PartialBake { minutes } | Step::Bake { minutes } => {
            wait(passed >= world.settings.minutes(minutes))
        }
        Step::CleanUp => clean_up(deployment, service),
        Step::Roll => rolling::forward(deployment, service),
        Step::RestoreTraffic => restore_traffic(deployment, service, world),
        Step::RemoveTarget => {
            service.revision_mut(deployment.target).requested = 0;
            wait(service.present(deployment.target) == 0)
        }
        Step::RollBack => rolling::back(deployment, service),
    }
}

pub(super) fn wait(done: bool) -> Progress {
    if done { Progress::Done } else { Progress::Waiting }
}

fn shift_time(deployment: &Deployment, service: &Service, world: &World<'_>) -> std::time::Duration {
    let minutes = if traffic::is_network(service, deployment) { NETWORK_SHIFT_MINUTES } else { 0 };
    world.settings.minutes(minutes)
}

/// Both fleets at full size; done once all of the target's tasks are healthy.
fn scaled_up(deployment: &Deployment, service: &mut Service) -> bool {
    let desired = service.desired;
    service.revision_mut(deployment.target).requested = desired;
    if let Some(source) = deployment.source {
        service.revision_mut(source).requested = desired;
    }
    service.healthy(deployment.target) >= desired
}

/// After an interrupted deployment: all traffic to the source, and nothing of the others left, before anything starts.
fn reconcile(deployment: &mut Deployment, service: &mut Service, world: &World<'_>) -> Progress {
    let Some(source) = deployment.source else { return Progress::Done };
    let desired = service.desired;
    service.revision_mut(source).requested = desired;
    // A source that was being removed has to be whole before it may take traffic.
    if service.healthy(source) < desired {
        return Progress::Waiting;
    }
    let shifted = traffic::shift_production(service, deployment, 0.0, world)
        && traffic::shift_test(service, deployment, 0.0, world);
    if !shifted {
        return Progress::Waiting;
    }
    let mut left = 0;
    for position in 0..service.revisions.len() {
        let other = super::model::RevisionId(position);
        if other != source && other != deployment.target {
            service.revision_mut(other).requested = 0;
            left += service.present(other);
        }
    }
    wait(left == 0)
}

fn clean_up(deployment: &Deployment, service: &mut Service) -> Progress {
    let mut left = 0;
    for position in 0..service.revisions.len() {
        let other = super::model::RevisionId(position);
        if other != deployment.target {
            service.revision_mut(other).requested = 0;
            left += service.present(other);
        }
    }
    wait(left == 0)
}

fn restore_traffic(deployment: &mut Deployment, service: &mut Service, world: &World<'_>) -> Progress {
    let Some(source) = deployment.source else { return Progress::Done };
    let desired = service.desired;
    service.revision_mut(source).requested = desired;
    let incomplete = deployment.rollback.as_ref().is_some_and(|rollback| rollback.source_incomplete);
    if incomplete && service.healthy(source) < desired {
        return Progress::Waiting;
    }
    // A shift that failed half-way may have reached one of several load balancers.
    let unsure = deployment.shift_error.is_some() || deployment.traffic_unsure;
    if (unsure || deployment.production_percent > 0.0)
        && !traffic::shift_production(service, deployment, 0.0, world)
    {
        return Progress::Waiting;
    }
    let test_done = !unsure && deployment.test_percent == 0.0;
    wait(test_done || traffic::shift_test(service, deployment, 0.0, world))
}

/// A guard fired: roll back if the configuration says so, else stop where it is.
fn fail(deployment: &mut Deployment, service: &mut Service, cause: Cause, world: &World<'_>) {
    let config = &deployment.config;
    let rollback = match &cause {
        Cause::Alarm { .. } => config.alarms.as_ref().is_some_and(|alarms| alarms.rollback),
        Cause::CircuitBreaker => config.breaker.is_some_and(|breaker| breaker.rollback),
        Cause::Requested
        | Cause::HookRefused { .. }
        | Cause::HookTimedOut { .. }
        | Cause::StageTooLong { .. } => true,
    };
    if rollback {
        go_back(deployment, service, cause, world);
        return;
    }
    announce_failure(deployment, service, &cause, world);
    deployment.status_reason = Some(match &cause {
        Cause::Alarm { names } => {
            format!("Service deployment stopped: alarm(s) in ALARM: {}.", names.join(", "))
        }
        Cause::CircuitBreaker
        | Cause::Requested
        | Cause::HookRefused { .. }
        | Cause::HookTimedOut { .. }
        | Cause::StageTooLong { .. } => "Service deployment stopped: tasks failed to start.".to_owned(),
    });
    // No task is started for it any more; those that are healthy stay.
    let healthy = service.healthy(deployment.target);
    service.revision_mut(deployment.target).requested = healthy;
    deployment.stopped_at = Some(world.now);
    finish(deployment, DeploymentStatus::Stopped, world);
}

/// Begins the rollback. Whether the source exists is looked at first: a first deployment has nothing to go back to.
fn go_back(deployment: &mut Deployment, service: &mut Service, cause: Cause, world: &World<'_>) {
    announce_failure(deployment, service, &cause, world);
    deployment.status_reason = Some(cause.reason());
    deployment.updated_at = world.now;
    deployment.hooks.clear();
    let source_incomplete = deployment.step() == Some(Step::CleanUp);
    deployment.rollback = Some(Rollback { cause, started_at: world.now, source_incomplete });
    let Some(source) = deployment.source else {
        service.revision_mut(deployment.target).requested = 0;
        finish(deployment, DeploymentStatus::RollbackFailed, world);
        return;
    };
    deployment.status = DeploymentStatus::RollbackInProgress;
    deployment.steps = plan::back(&deployment.config, &deployment.steps);
    deployment.cursor = 0;
    deployment.entered_at = None;
    service.current = Some(source);
}

/// Deployment events for failures exist only for alarms and the circuit breaker; a rollback that was asked for, or that a
/// hook caused, is silent.
fn announce_failure(deployment: &Deployment, service: &mut Service, cause: &Cause, world: &World<'_>) {
    let (guard, why) = match cause {
        Cause::Alarm { names } => ("alarm", format!("alarm detected: {}", names.join(", "))),
        Cause::CircuitBreaker => ("circuit breaker", "task failed to start".to_owned()),
        Cause::Requested
        | Cause::HookRefused { .. }
        | Cause::HookTimedOut { .. }
        | Cause::StageTooLong { .. } => return,
    };
    let reason = format!("ECS deployment {guard}: {why}.");
    notify::deployment(world, service, deployment.target, DeploymentEvent::Failed, &reason);
    let target = service.revision(deployment.target).deployment_id.clone();
    service.log(world.now, format!("(deployment {target}) deployment failed: {why}."));
    if let Some(source) = deployment.source {
        let back_to = service.revision(source).deployment_id.clone();
        let reason = format!("ECS deployment {guard}: rolling back to deploymentId {back_to}.");
        notify::deployment(world, service, source, DeploymentEvent::InProgress, &reason);
        service.log(world.now, format!("rolling back to (deployment {back_to})."));
    }
}

fn complete(deployment: &mut Deployment, service: &mut Service, world: &World<'_>) {
    let target = service.revision(deployment.target).deployment_id.clone();
    if deployment.rollback.is_some() {
        finish(deployment, DeploymentStatus::RollbackSuccessful, world);
        let announced = deployment.rollback.as_ref().is_some_and(|rollback| match rollback.cause {
            Cause::Alarm { .. } | Cause::CircuitBreaker => true,
            Cause::Requested
            | Cause::HookRefused { .. }
            | Cause::HookTimedOut { .. }
            | Cause::StageTooLong { .. } => false,
        });
        // The trap in these events: the rollback is announced as a completed deployment, of the old revision.
        if let Some(source) = deployment.source.filter(|_| announced) {
            let reason = format!("ECS deployment {} completed.", service.revision(source).deployment_id);
            notify::deployment(world, service, source, DeploymentEvent::Completed, &reason);
        }
        return;
    }
    service.current = Some(deployment.target);
    finish(deployment, DeploymentStatus::Successful, world);
    let reason = format!("ECS deployment {target} completed.");
    notify::deployment(world, service, deployment.target, DeploymentEvent::Completed, &reason);
    service.log(world.now, format!("(deployment {target}) deployment completed."));
}

fn finish(deployment: &mut Deployment, status: DeploymentStatus, world: &World<'_>) {
    deployment.status = status;
    deployment.finished_at = Some(world.now);
    deployment.updated_at = world.now;
    deployment.hooks.clear();
    deployment.alarms.status = deployment.alarms.status.complete();
    deployment.breaker.status = deployment.breaker.status.complete();
}

/// A service is gone once its last task is stopping, as AWS documents: its name is free before its last process has ended.
fn finish_deletion(service: &mut Service) {
    let gone = service.count(|task| !matches!(task.phase, Phase::Stopping | Phase::Stopped)) == 0;
    if service.status == ServiceStatus::Draining && gone {
        service.status = ServiceStatus::Inactive;
    }
}

/// Sizes of the fleets when no deployment runs. A deployment that failed and was not rolled back leaves both fleets as
/// they are.
fn rest(service: &mut Service) {
    let settled = service.deployments.last().is_none_or(|last| match last.status {
        DeploymentStatus::Successful | DeploymentStatus::RollbackSuccessful => true,
        DeploymentStatus::Pending
        | DeploymentStatus::InProgress
        | DeploymentStatus::StopRequested
        | DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::Stopped
        | DeploymentStatus::RollbackFailed => false,
    });
    if service.status != ServiceStatus::Active || !settled {
        return;
    }
    if let (Some(current), Some(last)) = (service.current, service.deployments.last())
        && last.config.early_success.is_some()
    {
        // What was called successful early is replaced to the end in the background.
        let config = last.config.clone();
        rolling::replace(&config, service, current);
        return;
    }
    let (current, desired) = (service.current, service.desired);
    for (position, revision) in service.revisions.iter_mut().enumerate() {
        let is_current = current.is_some_and(|current| current.0 == position);
        revision.requested = if is_current { desired } else { 0 };
    }
}

/// Whether the circuit breaker counts for this strategy.
pub(super) fn breaker_applies(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Rolling => true,
        Strategy::BlueGreen | Strategy::Linear { .. } | Strategy::Canary { .. } => false,
    }
}

/// The status of the breaker at the start.
pub(super) fn breaker_status(enabled: bool) -> WatchStatus {
    if enabled { WatchStatus::Monitoring } else { WatchStatus::Disabled }
}
