//! Lifecycle hooks: a stage waits until each of its hooks was answered or has timed out.
//!
//! The functions of AWS_LAMBDA hooks are not called: one second later one whose name ends in `fails` has answered FAILED, one whose name
//! ends in `hangs` goes on until its time is over, and every other has succeeded.

use super::config::HookAction;
use super::ids;
use super::machine::{Progress, wait};
use super::model::{Cause, Deployment, HookRun, HookStatus, Service, Stage};
use super::notify;
use super::settings::{later, since};
use super::world::World;

/// Runs the hooks of a stage, each with a new id whenever the stage is entered.
pub(super) fn run(
    deployment: &mut Deployment,
    service: &Service,
    stage: Stage,
    entering: bool,
    world: &World<'_>,
) -> Progress {
    if entering {
        deployment.hooks = begin(deployment, stage, world);
        for hook in &deployment.hooks {
            notify::hook(world, service, deployment, hook);
        }
    }
    answer_functions(deployment, service, world);
    expire(deployment, service, world);
    let refused = deployment.hooks.iter().find_map(|hook| match (hook.status, hook.timeout_action) {
        (HookStatus::Failed, _) => Some(Cause::HookRefused { hook: hook.id.clone() }),
        (HookStatus::TimedOut, HookAction::Rollback) => Some(Cause::HookTimedOut { hook: hook.id.clone() }),
        (HookStatus::TimedOut, HookAction::Continue)
        | (HookStatus::AwaitingAction | HookStatus::InProgress | HookStatus::Succeeded, _) => None,
    });
    match refused {
        Some(cause) => Progress::GoBack(cause),
        None => wait(!deployment.hooks.iter().any(|hook| hook.status.is_open())),
    }
}

fn begin(deployment: &Deployment, stage: Stage, world: &World<'_>) -> Vec<HookRun> {
    let configured = deployment.config.hooks.iter().filter(|hook| hook.stages.contains(&stage));
    configured
        .map(|hook| HookRun {
            id: ids::hook_id(if hook.function.is_some() { "lambda" } else { "pause" }),
            stage,
            status: if hook.function.is_some() { HookStatus::InProgress } else { HookStatus::AwaitingAction },
            function: hook.function.clone(),
            expires_at: later(world.now, hook.timeout(world.settings)),
            timeout_action: hook.timeout_action,
        })
        .collect()
}

/// How long a function takes to answer.
const CALL: std::time::Duration = std::time::Duration::from_secs(1);

fn answer_functions(deployment: &mut Deployment, service: &Service, world: &World<'_>) {
    let called = deployment.entered_at.is_some_and(|entered| since(world.now, entered) >= CALL);
    for position in 0..deployment.hooks.len() {
        let hook = &mut deployment.hooks[position];
        let function = hook.function.as_deref().unwrap_or_default();
        if called && hook.status == HookStatus::InProgress && !function.ends_with("hangs") {
            hook.status =
                if function.ends_with("fails") { HookStatus::Failed } else { HookStatus::Succeeded };
            let hook = hook.clone();
            notify::hook(world, service, deployment, &hook);
        }
    }
}

fn expire(deployment: &mut Deployment, service: &Service, world: &World<'_>) {
    for position in 0..deployment.hooks.len() {
        let hook = &mut deployment.hooks[position];
        if hook.status.is_open() && hook.expires_at <= world.now {
            hook.status = HookStatus::TimedOut;
            let hook = deployment.hooks[position].clone();
            notify::hook(world, service, deployment, &hook);
        }
    }
}

/// Answers a hook that waits. Returns whether there was one.
pub(super) fn answer(
    deployment: &mut Deployment,
    service: &Service,
    hook_id: &str,
    action: HookAction,
    world: &World<'_>,
) -> bool {
    let waiting = |hook: &&mut HookRun| hook.id == hook_id && hook.status == HookStatus::AwaitingAction;
    let Some(hook) = deployment.hooks.iter_mut().find(waiting) else { return false };
    hook.status = match action {
        HookAction::Continue => HookStatus::Succeeded,
        HookAction::Rollback => HookStatus::Failed,
    };
    let hook = hook.clone();
    deployment.updated_at = world.now;
    notify::hook(world, service, deployment, &hook);
    true
}
