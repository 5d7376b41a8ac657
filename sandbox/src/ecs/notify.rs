//! The events ECS puts on EventBridge, shaped as its documentation shows them.

use serde_json::{Value, json};

use super::ids;
use super::model::{Deployment, HookRun, HookStatus, RevisionId, Service, Task};
use super::world::World;
use crate::ports::ServiceEvent;

/// How a container ends that was sent SIGTERM.
const TERMINATED: i32 = 143;

/// `detail.eventName` of "ECS Deployment State Change".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeploymentEvent {
    InProgress,
    Completed,
    Failed,
}

fn emit(world: &World<'_>, detail_type: &str, resource: &str, detail: Value) {
    world.events.emit(ServiceEvent {
        source: "aws.ecs".to_owned(),
        detail_type: detail_type.to_owned(),
        resources: vec![resource.to_owned()],
        detail,
        time: world.now,
    });
}

/// "ECS Deployment State Change". It names the service and the `ecs-svc/…` id, not the service deployment.
pub(super) fn deployment(
    world: &World<'_>,
    service: &Service,
    revision: RevisionId,
    event: DeploymentEvent,
    reason: &str,
) {
    let (event_type, event_name) = match event {
        DeploymentEvent::InProgress => ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS"),
        DeploymentEvent::Completed => ("INFO", "SERVICE_DEPLOYMENT_COMPLETED"),
        DeploymentEvent::Failed => ("ERROR", "SERVICE_DEPLOYMENT_FAILED"),
    };
    let detail = json!({
        "eventType": event_type,
        "eventName": event_name,
        "deploymentId": service.revision(revision).deployment_id,
        "updatedAt": world.now.to_string(),
        "reason": reason,
    });
    emit(world, "ECS Deployment State Change", &service.arn, detail);
}

/// "ECS Hook State Change".
pub(super) fn hook(world: &World<'_>, service: &Service, deployment: &Deployment, hook: &HookRun) {
    let (event_type, event_name) = match hook.status {
        HookStatus::AwaitingAction => ("INFO", "HOOK_AWAITING_ACTION"),
        HookStatus::InProgress => ("INFO", "HOOK_IN_PROGRESS"),
        HookStatus::Succeeded => ("INFO", "HOOK_SUCCEEDED"),
        HookStatus::Failed => ("ERROR", "HOOK_FAILED"),
        HookStatus::TimedOut => ("ERROR", "HOOK_TIMED_OUT"),
    };
    let detail = json!({
        "eventType": event_type,
        "eventName": event_name,
        "hookId": hook.id,
        "hookType": if hook.call.is_some() { "AWS_LAMBDA" } else { "PAUSE" },
        "expiresAt": hook.expires_at.to_string(),
        "lifecycleStage": hook.stage.name(),
        "clusterArn": service.cluster_arn,
        "serviceArn": service.arn,
        "serviceDeploymentArn": deployment.arn,
        "updatedAt": world.now.to_string(),
    });
    emit(world, "ECS Hook State Change", &deployment.arn, detail);
}

/// "ECS Service Action" `SERVICE_STEADY_STATE`.
pub(super) fn steady_state(world: &World<'_>, service: &Service) {
    let detail = json!({
        "eventType": "INFO",
        "eventName": "SERVICE_STEADY_STATE",
        "clusterArn": service.cluster_arn,
        "createdAt": world.now.to_string(),
    });
    emit(world, "ECS Service Action", &service.arn, detail);
}

/// "ECS Task State Change".
pub(super) fn task(world: &World<'_>, service: &Service, task: &Task) {
    let mut detail = describe_task(service, task);
    if let Some(detail) = detail.as_object_mut() {
        for (name, at) in [
            ("createdAt", Some(task.created_at)),
            ("startedAt", task.started_at),
            ("stoppingAt", task.stopping_at),
            ("stoppedAt", task.stopped_at),
        ] {
            if let Some(at) = at {
                detail.insert(name.to_owned(), json!(at.to_string()));
            }
        }
        detail.insert("updatedAt".to_owned(), json!(world.now.to_string()));
        detail.insert("eventId".to_owned(), json!(ids::uuid()));
    }
    emit(world, "ECS Task State Change", &task.arn, detail);
}

/// A task without its times, which events and responses write differently.
pub(super) fn describe_task(service: &Service, task: &Task) -> Value {
    let revision = service.revision(task.revision);
    let containers: Vec<Value> = revision
        .containers
        .iter()
        .enumerate()
        .map(|(position, container)| {
            let mut described = json!({
                "containerArn": task.container_arn,
                "taskArn": task.arn,
                "name": container.name,
                "image": container.image,
                "lastStatus": task.phase.name(),
                "runtimeId": task.id,
                "networkInterfaces": [],
                "cpu": "0",
            });
            if let Some(spec) = task.pulled.get(position) {
                described["imageDigest"] = json!(spec.digest);
            }
            if let Some(code) = task.exit_code {
                // The others are ended with it, by a signal.
                let code = if position == revision.main_container { code } else { TERMINATED };
                described["exitCode"] = json!(code);
            }
            if let (Some("TaskFailedToStart"), Some(reason)) = (task.stop_code, &task.stopped_reason) {
                described["reason"] = json!(reason);
            }
            described
        })
        .collect();
    let mut described = json!({
        "taskArn": task.arn,
        "clusterArn": service.cluster_arn,
        "taskDefinitionArn": revision.task_definition(),
        "containers": containers,
        "availabilityZone": "local",
        "launchType": revision.members.get("launchType").cloned().unwrap_or(json!("FARGATE")),
        "cpu": "256",
        "memory": "512",
        "desiredStatus": if task.phase.is_alive() { "RUNNING" } else { "STOPPED" },
        "lastStatus": task.phase.name(),
        "healthStatus": "UNKNOWN",
        "group": format!("service:{}", service.name),
        "startedBy": revision.deployment_id,
        "connectivity": "CONNECTED",
        "overrides": {"containerOverrides": []},
        "platformVersion": "1.4.0",
        "version": task.version,
    });
    if let Some(code) = task.stop_code {
        described["stopCode"] = json!(code);
    }
    if let Some(reason) = &task.stopped_reason {
        described["stoppedReason"] = json!(reason);
    }
    described
}
