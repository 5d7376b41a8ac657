//! The scheduler of tasks: moves each task through its life, starts what a revision lacks, drains what it has too many.

use jiff::Timestamp;

use super::model::{Phase, RevisionId, Service, Task};
use super::notify;
use super::settings::{later, since};
use super::world::World;
use crate::ports::{ImageSpec, TargetHealth, is_in_ecr};
use crate::tasks::TaskStatus;

/// Stopped tasks stay visible, as on AWS for about an hour; here so many of them.
const STOPPED_KEPT: usize = 50;

/// Observes processes and targets, and moves every task to the phase they show.
pub(super) fn observe(service: &mut Service, world: &World<'_>) {
    let mut tasks = std::mem::take(&mut service.tasks);
    for task in &mut tasks {
        let before = task.phase;
        advance(service, task, world);
        if task.phase != before {
            task.version += 1;
            notify::task(world, service, task);
        }
    }
    let stopped = tasks.iter().filter(|task| task.phase == Phase::Stopped).count();
    let mut surplus = stopped.saturating_sub(STOPPED_KEPT);
    tasks.retain(|task| {
        let forget = surplus > 0 && task.phase == Phase::Stopped;
        surplus -= usize::from(forget);
        !forget
    });
    service.tasks = tasks;
}

fn advance(service: &mut Service, task: &mut Task, world: &World<'_>) {
    match task.phase {
        Phase::Provisioning => provision(service, task, world),
        Phase::Pending => match world.launcher.status(&task.id) {
            TaskStatus::Starting => {}
            TaskStatus::Listening(address) => register(service, task, address, world),
            TaskStatus::Exited { code } => exited(service, task, code, world),
        },
        Phase::Running => match world.launcher.status(&task.id) {
            TaskStatus::Starting | TaskStatus::Listening(_) => check_health(service, task, world),
            TaskStatus::Exited { code } => {
                deregister(service, task, world);
                exited(service, task, code, world);
            }
        },
        Phase::Deactivating => {
            if drained(service, task, world) {
                world.launcher.stop(&task.id);
                task.phase = Phase::Stopping;
            }
        }
        Phase::Stopping => match world.launcher.status(&task.id) {
            TaskStatus::Starting | TaskStatus::Listening(_) => {}
            TaskStatus::Exited { code } => stopped(task, code, world),
        },
        Phase::Stopped => {}
    }
}

fn provision(service: &mut Service, task: &mut Task, world: &World<'_>) {
    if since(world.now, task.created_at) < world.settings.task_start {
        return;
    }
    match pull(service, task, world) {
        None => {}
        Some(Ok(image)) => {
            world.launcher.launch(&task.id, &image);
            task.phase = Phase::Pending;
        }
        Some(Err(reason)) => {
            task.stop_code = Some("TaskFailedToStart");
            task.stopped_reason = Some(reason);
            task.phase = Phase::Stopped;
            task.stopping_at = Some(world.now);
            task.stopped_at = Some(world.now);
            failed(service, task, world);
        }
    }
}

/// Pulls the images of a task: each task pulls anew, by the digest its revision was resolved to, or by the tag where the container's
/// owner does not want that. An image that has been deleted meanwhile cannot be pulled either way. The main container's decides
/// what the process does.
fn pull(service: &mut Service, task: &mut Task, world: &World<'_>) -> Option<Result<ImageSpec, String>> {
    let revision = service.revision_mut(task.revision);
    let main = revision.main_container;
    for (position, container) in revision.containers.iter_mut().enumerate().skip(task.pulled.len()) {
        // Only the main container runs; others from registries the sandbox does not have are as good as pulled.
        let image = if position == main || is_in_ecr(&container.image) {
            match world.pulls.pull(&task.arn, &container.to_pull())? {
                Ok(image) => image,
                Err(error) => return Some(Err(format!("{}: {}", error.code, error.message))),
            }
        } else {
            ImageSpec::elsewhere(&container.to_pull())
        };
        if container.consistent {
            container.resolved.get_or_insert_with(|| image.digest.clone());
        }
        task.pulled.push(image);
    }
    task.pulled.get(main).cloned().map(Ok)
}

fn register(service: &mut Service, task: &mut Task, address: std::net::SocketAddr, world: &World<'_>) {
    task.address = Some(address);
    task.started_at = Some(world.now);
    task.phase = Phase::Running;
    let groups: Vec<String> = service.revision(task.revision).groups().map(str::to_owned).collect();
    for group in &groups {
        let message = match world.balancers.register_target(group, address) {
            Ok(()) => format!("registered 1 targets in (target-group {group})"),
            Err(error) => format!("failed to register targets in (target-group {group}): {}", error.message),
        };
        service.log(world.now, message);
    }
    check_health(service, task, world);
}

fn check_health(service: &mut Service, task: &mut Task, world: &World<'_>) {
    let Some(address) = task.address else { return };
    let mut healthy = true;
    let mut refused_by = None;
    for group in service.revision(task.revision).groups() {
        match world.balancers.target_health(group, address) {
            TargetHealth::Healthy => {}
            TargetHealth::Unhealthy => {
                healthy = false;
                refused_by = Some(group.to_owned());
            }
            TargetHealth::Initial | TargetHealth::Draining | TargetHealth::Unused => healthy = false,
        }
    }
    if healthy && !task.healthy {
        became_healthy(service, task.revision);
    }
    task.healthy = healthy;
    let grace = service.attributes.get("healthCheckGracePeriodSeconds").and_then(serde_json::Value::as_u64);
    let grace = std::time::Duration::from_secs(grace.unwrap_or(0));
    if let Some(group) = refused_by
        && task.started_at.is_some_and(|started| since(world.now, started) >= grace)
    {
        let reason = format!("Task failed ELB health checks in (target-group {group})");
        service.log(
            world.now,
            format!(
                "(port {}) is unhealthy in (target-group {group}) due to (reason Health checks failed)",
                address.port()
            ),
        );
        drain(service, task, reason, world);
        failed(service, task, world);
    }
}

fn became_healthy(service: &mut Service, revision: RevisionId) {
    let deployment = service.deployments.last_mut().filter(|deployment| deployment.target == revision);
    if let Some(deployment) = deployment
        && deployment.config.breaker.is_none_or(|breaker| breaker.reset_on_healthy_task)
    {
        deployment.breaker.failures = 0;
    }
}

/// Takes a task out of its target groups; it is stopped once its requests have ended.
fn drain(service: &Service, task: &mut Task, reason: String, world: &World<'_>) {
    deregister(service, task, world);
    task.healthy = false;
    task.stop_code = Some("ServiceSchedulerInitiated");
    task.stopped_reason = Some(reason);
    task.stopping_at = Some(world.now);
    task.phase = match task.phase {
        Phase::Provisioning => {
            task.stopped_at = Some(world.now);
            Phase::Stopped
        }
        Phase::Pending => {
            world.launcher.stop(&task.id);
            Phase::Stopping
        }
        Phase::Running => Phase::Deactivating,
        Phase::Deactivating | Phase::Stopping | Phase::Stopped => task.phase,
    };
}

fn deregister(service: &Service, task: &Task, world: &World<'_>) {
    let Some(address) = task.address else { return };
    for group in service.revision(task.revision).groups() {
        if let Err(error) = world.balancers.deregister_target(group, address) {
            // The target group may be gone with its load balancer: the task still has to go.
            tracing::debug!(group, %address, code = error.code, "failed to deregister a target");
        }
    }
}

/// Whether a deregistered task may be stopped: nothing is in flight, or a target group or ECS itself has waited long enough.
fn drained(service: &Service, task: &Task, world: &World<'_>) -> bool {
    let Some(address) = task.address else { return true };
    let waited = task.stopping_at.map_or(std::time::Duration::ZERO, |at| since(world.now, at));
    let ended = |group: &str| {
        world.balancers.requests_in_flight(group, address) == 0
            || world.balancers.target_health(group, address) == TargetHealth::Unused
    };
    waited >= world.settings.deregistration_delay || service.revision(task.revision).groups().all(ended)
}

fn exited(service: &mut Service, task: &mut Task, code: Option<i32>, world: &World<'_>) {
    task.stop_code = Some("EssentialContainerExited");
    task.stopped_reason = Some("Essential container in task exited".to_owned());
    task.stopping_at = Some(world.now);
    stopped(task, code, world);
    failed(service, task, world);
}

fn stopped(task: &mut Task, code: Option<i32>, world: &World<'_>) {
    world.launcher.forget(&task.id);
    task.healthy = false;
    task.exit_code = code;
    task.stopped_at = Some(world.now);
    task.phase = Phase::Stopped;
}

fn failed(service: &mut Service, task: &Task, world: &World<'_>) {
    let revision = service.revision_mut(task.revision);
    revision.failed_tasks += 1;
    revision.retry_at = Some(later(world.now, world.settings.task_retry));
    revision.updated_at = world.now;
    let deployment = service.deployments.last_mut();
    if let Some(deployment) =
        deployment.filter(|deployment| deployment.target == task.revision && !deployment.status.is_terminal())
    {
        deployment.breaker.failures += 1;
    }
    let reason = task.stopped_reason.as_deref().unwrap_or("unknown");
    service.log(world.now, format!("task {} failed: {reason}", task.id));
}

/// Starts and drains tasks until each revision has as many as requested.
pub(super) fn reconcile(service: &mut Service, world: &World<'_>) {
    for position in 0..service.revisions.len() {
        let id = RevisionId(position);
        let (alive, wanted) = (service.alive(id), service.revision(id).requested);
        if alive < wanted {
            start(service, id, wanted - alive, world);
        } else if alive > wanted {
            shrink(service, id, alive - wanted, world);
        }
    }
}

fn may_start(retry_at: Option<Timestamp>, now: Timestamp) -> bool {
    retry_at.is_none_or(|at| at <= now)
}

fn start(service: &mut Service, id: RevisionId, count: u32, world: &World<'_>) {
    if !may_start(service.revision(id).retry_at, world.now) {
        return;
    }
    let mut started = String::new();
    for _ in 0..count {
        let task = service.new_task(id, world.identity, world.now);
        notify::task(world, service, &task);
        started.push_str(&format!(" (task {})", task.id));
        service.tasks.push(task);
    }
    service.revision_mut(id).updated_at = world.now;
    service.log(world.now, format!("has started {count} tasks:{started}."));
}

fn shrink(service: &mut Service, id: RevisionId, count: u32, world: &World<'_>) {
    let mut tasks = std::mem::take(&mut service.tasks);
    let mut candidates: Vec<&mut Task> =
        tasks.iter_mut().filter(|task| task.revision == id && task.phase.is_alive()).collect();
    // What serves least goes first.
    candidates.sort_by_key(|task| (task.healthy, task.phase == Phase::Running));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    for task in candidates.into_iter().take(count) {
        let reason =
            format!("Scaling activity initiated by (deployment {})", service.revision(id).deployment_id);
        drain(service, task, reason, world);
        task.version += 1;
        notify::task(world, service, task);
    }
    service.tasks = tasks;
    service.revision_mut(id).updated_at = world.now;
    service.log(world.now, format!("has begun draining connections on {count} tasks."));
}
