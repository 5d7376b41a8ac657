//! What ECS keeps an eye on: a deployment's alarms and circuit breaker, and whether a service is steady.

use super::machine::{Progress, breaker_applies, breaker_status};
use super::model::{Cause, Deployment, Phase, Service, ServiceStatus, WatchStatus};
use super::notify;
use super::settings::since;
use super::world::World;
use crate::ports::AlarmState;

/// At the start of a deployment: an alarm that is already in ALARM makes ECS ignore all of them until its end.
pub(super) fn arm(deployment: &mut Deployment, service: &mut Service, world: &World<'_>) {
    let red = in_alarm(deployment, world);
    deployment.alarms.status = match (&deployment.config.alarms, red.is_empty()) {
        (None, _) | (Some(_), false) => WatchStatus::Disabled,
        (Some(_), true) => WatchStatus::Monitoring,
    };
    if !red.is_empty() {
        service.log(
            world.now,
            format!("alarms are ignored for this deployment: already in ALARM: {}.", red.join(", ")),
        );
    }
    let breaker = deployment.config.breaker.filter(|_| breaker_applies(deployment.config.strategy));
    deployment.breaker.status = breaker_status(breaker.is_some());
    deployment.breaker.threshold = breaker.map_or(0, |breaker| breaker.threshold(service.desired));
}

fn in_alarm(deployment: &Deployment, world: &World<'_>) -> Vec<String> {
    let names = deployment.config.alarms.iter().flat_map(|alarms| &alarms.names);
    names.filter(|name| world.alarms.state(name) == Some(AlarmState::Alarm)).cloned().collect()
}

/// Polls the alarms and counts failures; the cause when one of them says the deployment has failed.
pub(super) fn guards(deployment: &mut Deployment, _service: &Service, world: &World<'_>) -> Progress {
    let breaker = &mut deployment.breaker;
    if breaker.status == WatchStatus::Monitoring && breaker.failures >= breaker.threshold {
        breaker.status = WatchStatus::Triggered;
        return Progress::GoBack(Cause::CircuitBreaker);
    }
    let due = deployment
        .alarms
        .polled_at
        .is_none_or(|polled| since(world.now, polled) >= world.settings.alarm_poll_interval);
    if deployment.alarms.status != WatchStatus::Monitoring || !due {
        return Progress::Waiting;
    }
    deployment.alarms.polled_at = Some(world.now);
    let names = in_alarm(deployment, world);
    if names.is_empty() {
        return Progress::Waiting;
    }
    deployment.alarms.status = WatchStatus::Triggered;
    deployment.alarms.triggered.clone_from(&names);
    Progress::GoBack(Cause::Alarm { names })
}

/// Emits `SERVICE_STEADY_STATE` when a service becomes steady, and again from time to time while it stays so.
pub(super) fn steady_state(service: &mut Service, world: &World<'_>) {
    if !is_steady(service) {
        service.steady_since_event = None;
        return;
    }
    let due = service
        .steady_since_event
        .is_none_or(|last| since(world.now, last) >= world.settings.steady_state_interval);
    if due {
        service.steady_since_event = Some(world.now);
        service.log(world.now, "has reached a steady state.");
        notify::steady_state(world, service);
    }
}

fn is_steady(service: &Service) -> bool {
    let Some(current) = service.current else { return false };
    service.status == ServiceStatus::Active
        && service.running_deployment().is_none()
        && service.healthy(current) == service.desired
        && service.count(|task| task.phase != Phase::Stopped) == service.desired
}
