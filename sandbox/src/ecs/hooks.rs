//! Lifecycle hooks: a stage waits until each of its hooks was answered or has timed out.
//!
//! The function of an AWS_LAMBDA hook is called with the hook's role, again when it asks for that, and its failure is the hook's. What AWS
//! does not say and is chosen here: how a function is called that Lambda throttles (its hook fails), and what a function's failure means on
//! the rollback, where those of the shifts are asked once more (nothing: traffic is back already).

use serde_json::{Map, Value};

use super::calls::{self, Answer};
use super::config::HookAction;
use super::ids;
use super::machine::{Progress, wait};
use super::model::{Call, Cause, Deployment, HookRun, HookStatus, Service, Stage};
use super::notify;
use super::settings::later;
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
    ask_functions(deployment, service, world);
    expire(deployment, service, world);
    let open = deployment.hooks.iter().any(|hook| hook.status.is_open());
    if deployment.rollback.is_some() {
        return wait(!open);
    }
    let refused = deployment.hooks.iter().find_map(|hook| match (hook.status, hook.timeout_action) {
        (HookStatus::Failed, _) => Some(Cause::HookRefused { hook: hook.id.clone(), why: hook.why.clone() }),
        (HookStatus::TimedOut, HookAction::Rollback) => Some(Cause::HookTimedOut { hook: hook.id.clone() }),
        (HookStatus::TimedOut, HookAction::Continue)
        | (HookStatus::AwaitingAction | HookStatus::InProgress | HookStatus::Succeeded, _) => None,
    });
    match refused {
        Some(cause) => Progress::GoBack(cause),
        None => wait(!open),
    }
}

fn begin(deployment: &Deployment, stage: Stage, world: &World<'_>) -> Vec<HookRun> {
    let configured = deployment.config.hooks.iter().filter(|hook| hook.stages.contains(&stage));
    configured
        .map(|hook| HookRun {
            id: ids::hook_id(if hook.function.is_some() { "lambda" } else { "pause" }),
            stage,
            status: if hook.function.is_some() { HookStatus::InProgress } else { HookStatus::AwaitingAction },
            call: hook.function.as_ref().map(|function| Call {
                function: function.arn.clone(),
                role: function.role.clone(),
                details: details(deployment, &function.arn).unwrap_or_else(|| function.details.clone()),
                execution: ids::uuid(),
                number: 0,
                due: world.now,
            }),
            why: None,
            expires_at: later(world.now, hook.timeout(world.settings)),
            timeout_action: hook.timeout_action,
        })
        .collect()
}

/// What a function has answered to be told again, in this deployment.
fn details(deployment: &Deployment, function: &str) -> Option<Map<String, Value>> {
    deployment.hook_details.get(function).cloned()
}

/// Calls the functions that are due, and takes the answers of those that were called.
fn ask_functions(deployment: &mut Deployment, service: &Service, world: &World<'_>) {
    for position in 0..deployment.hooks.len() {
        let hook = &deployment.hooks[position];
        let due =
            hook.call.as_ref().filter(|call| hook.status == HookStatus::InProgress && call.due <= world.now);
        let Some(call) = due else { continue };
        let ticket = format!("{} {}", hook.id, call.number);
        let event = calls::event(service, deployment, hook, call);
        let Some(answered) = world.functions.call(&ticket, call, &event) else { continue };
        let (stage, function) = (hook.stage.name(), call.function.clone());
        let hook = &mut deployment.hooks[position];
        match Answer::read(answered) {
            Answer::Succeeded => hook.status = HookStatus::Succeeded,
            Answer::Failed(why) => {
                tracing::info!(hook.stage = stage, hook.function = %function, why, "a lifecycle hook failed");
                hook.status = HookStatus::Failed;
                hook.why = Some(why);
            }
            Answer::Again(after, details) => {
                let Some(call) = &mut hook.call else { continue };
                call.number += 1;
                call.due = later(world.now, world.settings.scaled(after));
                call.details.extend(details);
                deployment.hook_details.insert(function, call.details.clone());
                continue;
            }
        }
        let hook = hook.clone();
        notify::hook(world, service, deployment, &hook);
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
