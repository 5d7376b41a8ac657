//! How services, deployments and revisions look in responses.

use serde_json::{Map, Value, json};

use super::input::epoch;
use super::model::{
    Controller, Deployment, DeploymentStatus, HookRun, HookStatus, Phase, Revision, RevisionId, Service,
    Stage, Step, Task,
};
use super::notify::describe_task;
use super::settings::{PauseStage, Undocumented};

/// What `LATEST` means.
const PLATFORM: &str = "1.4.0";

/// Adds `nextToken` when there is another page.
pub(super) fn with_token(mut answer: Value, next: Option<String>) -> Value {
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    answer
}

fn insert_time(map: &mut Map<String, Value>, name: &str, at: Option<jiff::Timestamp>) {
    if let Some(at) = at {
        map.insert(name.to_owned(), epoch(at));
    }
}

fn pending(service: &Service, revision: RevisionId) -> u32 {
    service
        .count(|task| task.revision == revision && matches!(task.phase, Phase::Provisioning | Phase::Pending))
}

fn running(service: &Service, revision: RevisionId) -> u32 {
    service.count(|task| task.revision == revision && task.phase == Phase::Running)
}

/// Revisions that are in use, the current one first.
fn active_revisions(service: &Service) -> Vec<RevisionId> {
    let used = |id: &RevisionId| {
        Some(*id) != service.current
            && (service.present(*id) > 0
                || service.running_deployment().is_some_and(|deployment| deployment.source == Some(*id)))
    };
    let others = (0..service.revisions.len()).rev().map(RevisionId).filter(used);
    service.current.into_iter().chain(others).collect()
}

/// Members of a revision that `DescribeServices` tells of its deployments, if at all, and not of the service.
const NOT_OF_SERVICE: [&str; 5] = [
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "gatewayConnectors",
    "monitoring",
];

/// Whether a revision's tasks run on Fargate: by launch type, or by capacity provider.
fn on_fargate(revision: &Revision) -> bool {
    let provider = |strategy: &Value| strategy[0]["capacityProvider"].as_str().map(str::to_owned);
    let member = |name: &str| revision.members.get(name);
    let launch = member("launchType").and_then(Value::as_str).map(str::to_owned);
    let named = launch.or_else(|| member("capacityProviderStrategy").and_then(provider));
    named.is_some_and(|name| name.starts_with("FARGATE"))
}

/// What AWS fills in where Fargate runs the tasks.
fn platform(revision: &Revision, latest: &str) -> Vec<(&'static str, Value)> {
    if !on_fargate(revision) {
        return Vec::new();
    }
    let given = revision.members.get("platformVersion").and_then(Value::as_str);
    let version = given.filter(|version| *version != "LATEST").unwrap_or(latest);
    vec![("platformVersion", json!(version)), ("platformFamily", json!("Linux"))]
}

/// What AWS adds to a service with a load balancer; the role is its own, and no request may name it.
fn balanced(service: &Service, revision: &Revision) -> Vec<(&'static str, Value)> {
    if revision.balancers.is_empty() {
        return Vec::new();
    }
    let account = service.arn.split(':').nth(4).unwrap_or_default();
    let role = format!("arn:aws:iam::{account}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS");
    vec![("healthCheckGracePeriodSeconds", json!(0)), ("roleArn", json!(role))]
}

pub(super) fn service(service: &Service, with_tags: bool) -> Value {
    let mut described = service.attributes.clone();
    if let Some(revision) = service.current_revision() {
        let members = revision.members.iter().filter(|(name, _)| !NOT_OF_SERVICE.contains(&name.as_str()));
        described.extend(members.map(|(name, value)| (name.clone(), value.clone())));
        for (name, value) in platform(revision, "LATEST").into_iter().chain(balanced(service, revision)) {
            described.entry(name).or_insert(value);
        }
    }
    let pending: u32 = service.count(|task| matches!(task.phase, Phase::Provisioning | Phase::Pending));
    let running: u32 = service.count(|task| task.phase == Phase::Running);
    let fixed = json!({
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": service.cluster_arn,
        "status": service.status.name(),
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "deploymentConfiguration": service.configuration,
        "deploymentController": {"type": service.controller.name()},
        "createdAt": epoch(service.created_at),
        "events": service.events.iter().map(|entry| json!({
            "id": entry.id, "createdAt": epoch(entry.at), "message": entry.message,
        })).collect::<Vec<_>>(),
    });
    if let Value::Object(fixed) = fixed {
        described.extend(fixed);
    }
    for (name, default) in [
        ("schedulingStrategy", json!("REPLICA")),
        ("loadBalancers", json!([])),
        ("serviceRegistries", json!([])),
        ("placementConstraints", json!([])),
        ("placementStrategy", json!([])),
        ("enableECSManagedTags", json!(false)),
        ("enableExecuteCommand", json!(false)),
        ("propagateTags", json!("NONE")),
        ("resourceManagementType", json!("CUSTOMER")),
    ] {
        described.entry(name).or_insert(default);
    }
    if let Some(caller) = &service.created_by {
        described.insert("createdBy".into(), json!(caller));
    }
    if with_tags {
        described.insert("tags".into(), json!(service.tags));
    }
    match service.controller {
        Controller::Ecs => native(service, &mut described),
        Controller::External | Controller::CodeDeploy => {
            described.insert("deployments".into(), json!([]));
            described.insert("taskSets".into(), json!([]));
        }
    }
    Value::Object(described)
}

fn native(service: &Service, described: &mut Map<String, Value>) {
    let active = active_revisions(service);
    let deployments: Vec<_> = active.iter().map(|id| classic_deployment(service, *id)).collect();
    described.insert("deployments".into(), json!(deployments));
    let revisions: Vec<_> = active
        .iter()
        .map(|id| {
            let revision = service.revision(*id);
            json!({
                "arn": revision.arn,
                "requestedTaskCount": revision.requested,
                "runningTaskCount": running(service, *id),
                "pendingTaskCount": pending(service, *id),
            })
        })
        .collect();
    described.insert("currentServiceRevisions".into(), json!(revisions));
    if let Some(deployment) = service.running_deployment() {
        described.insert("currentServiceDeployment".into(), json!(deployment.arn));
    }
}

/// An entry of `services[].deployments`: one for each revision in use, PRIMARY for the one the service stands for.
fn classic_deployment(service: &Service, id: RevisionId) -> Value {
    let revision = service.revision(id);
    let primary = service.current == Some(id);
    let last = service.deployments.iter().rev().find(|deployment| deployment.target == id);
    let (state, reason) = rollout(service, last, primary, revision);
    let mut described = json!({
        "id": revision.deployment_id,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": revision.task_definition(),
        "desiredCount": revision.requested,
        "pendingCount": pending(service, id),
        "runningCount": running(service, id),
        "failedTasks": revision.failed_tasks,
        "createdAt": epoch(revision.created_at),
        "updatedAt": epoch(revision.updated_at),
        "rolloutState": state,
        "rolloutStateReason": reason,
    });
    for name in [
        "launchType",
        "networkConfiguration",
        "capacityProviderStrategy",
        "serviceConnectConfiguration",
        "volumeConfigurations",
        "vpcLatticeConfigurations",
    ] {
        if let Some(value) = revision.members.get(name) {
            described[name] = value.clone();
        }
    }
    for (name, value) in platform(revision, PLATFORM) {
        described[name] = value;
    }
    described
}

fn rollout(
    service: &Service,
    last: Option<&Deployment>,
    primary: bool,
    revision: &Revision,
) -> (&'static str, String) {
    let id = &revision.deployment_id;
    let completed = ("COMPLETED", format!("ECS deployment {id} completed."));
    let in_progress = ("IN_PROGRESS", format!("ECS deployment {id} in progress."));
    let Some(last) = last else { return completed };
    match last.status {
        DeploymentStatus::Pending | DeploymentStatus::InProgress | DeploymentStatus::StopRequested => {
            in_progress
        }
        // The old revision is PRIMARY again and in progress until the rollback is over.
        DeploymentStatus::Successful if primary && service.running_deployment().is_some() => in_progress,
        DeploymentStatus::Successful => completed,
        DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::Stopped
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => {
            ("FAILED", last.status_reason.clone().unwrap_or_else(|| format!("ECS deployment {id} failed.")))
        }
    }
}

/// An item of `ListServiceDeployments`.
pub(super) fn deployment_brief(service: &Service, deployment: &Deployment) -> Value {
    let mut described = Map::new();
    described.insert("serviceDeploymentArn".into(), json!(deployment.arn));
    described.insert("serviceArn".into(), json!(service.arn));
    described.insert("clusterArn".into(), json!(service.cluster_arn));
    described.insert("targetServiceRevisionArn".into(), json!(service.revision(deployment.target).arn));
    described.insert("status".into(), json!(deployment.status.name()));
    if let Some(reason) = &deployment.status_reason {
        described.insert("statusReason".into(), json!(reason));
    }
    insert_time(&mut described, "createdAt", Some(deployment.created_at));
    insert_time(&mut described, "startedAt", deployment.started_at);
    insert_time(&mut described, "finishedAt", deployment.finished_at);
    Value::Object(described)
}

/// An item of `DescribeServiceDeployments`.
pub(super) fn deployment(service: &Service, deployment: &Deployment, undocumented: Undocumented) -> Value {
    let mut described = Map::new();
    if let Value::Object(brief) = deployment_brief(service, deployment) {
        described.extend(brief);
    }
    described.remove("targetServiceRevisionArn");
    insert_time(&mut described, "updatedAt", Some(deployment.updated_at));
    insert_time(&mut described, "stoppedAt", deployment.stopped_at);
    let sources: Vec<_> = deployment
        .sources
        .iter()
        .map(|id| {
            let carries = Some(*id) == deployment.source;
            let share = |percent: f64| if carries { 100.0 - percent } else { 0.0 };
            weighted(service, *id, share(deployment.production_percent), share(deployment.test_percent))
        })
        .collect();
    described.insert("sourceServiceRevisions".into(), json!(sources));
    let target = weighted(service, deployment.target, deployment.production_percent, deployment.test_percent);
    described.insert("targetServiceRevision".into(), target);
    described.insert("deploymentConfiguration".into(), json!(deployment.configuration));
    let stage = stage_said(deployment, undocumented.pause_stage);
    if let Some(stage) = stage.filter(|_| !deployment.status.is_terminal()) {
        described.insert("lifecycleStage".into(), json!(stage));
    }
    let hooks: Vec<_> = deployment.hooks.iter().map(hook).collect();
    described.insert("lifecycleHookDetails".into(), json!(hooks));
    guards(service, deployment, &mut described);
    Value::Object(described)
}

/// The stage a deployment says it is in. While it waits at a pause that is whatever is played.
fn stage_said(deployment: &Deployment, played: PauseStage) -> Option<&'static str> {
    let stage = deployment.step().and_then(Step::stage)?;
    let paused = deployment.hooks.iter().any(|hook| hook.status == HookStatus::AwaitingAction);
    match played {
        PauseStage::Absent if paused => None,
        PauseStage::Unknown if paused => Some("PAUSED_BY_HOOK"),
        PauseStage::Before if paused => {
            let before = deployment.steps[..deployment.cursor].iter().rev().filter_map(|step| step.stage());
            // The enumeration of the answer lacks the stage before a shift.
            let mut before = before.filter(|it| *it != stage && *it != Stage::PreProductionTrafficShift);
            Some(before.next().unwrap_or(stage).name())
        }
        PauseStage::Hook | PauseStage::Absent | PauseStage::Before | PauseStage::Unknown => {
            Some(stage.name())
        }
    }
}

fn guards(service: &Service, deployment: &Deployment, described: &mut Map<String, Value>) {
    if let (Some(rollback), Some(source)) = (&deployment.rollback, deployment.source) {
        let rollback = json!({
            "reason": rollback.cause.reason(),
            "startedAt": epoch(rollback.started_at),
            "serviceRevisionArn": service.revision(source).arn,
        });
        described.insert("rollback".into(), rollback);
    }
    let breaker = &deployment.breaker;
    described.insert(
        "deploymentCircuitBreaker".into(),
        json!({
            "status": breaker.status.name(),
            "failureCount": breaker.failures,
            "threshold": breaker.threshold,
        }),
    );
    let names = deployment.config.alarms.as_ref().map(|alarms| alarms.names.clone()).unwrap_or_default();
    let alarms = &deployment.alarms;
    described.insert(
        "alarms".into(),
        json!({
            "status": alarms.status.name(), "alarmNames": names, "triggeredAlarmNames": alarms.triggered,
        }),
    );
}

fn weighted(service: &Service, id: RevisionId, production: f64, test: f64) -> Value {
    let revision = service.revision(id);
    json!({
        "arn": revision.arn,
        "requestedTaskCount": revision.requested,
        "runningTaskCount": running(service, id),
        "pendingTaskCount": pending(service, id),
        "requestedProductionTrafficWeight": production,
        "requestedTestTrafficWeight": test,
    })
}

fn hook(hook: &HookRun) -> Value {
    let mut described = json!({
        "hookId": hook.id,
        "targetType": if hook.call.is_some() { "AWS_LAMBDA" } else { "PAUSE" },
        "status": hook.status.name(),
        "expiresAt": epoch(hook.expires_at),
        "timeoutAction": hook.timeout_action.name(),
    });
    if let Some(call) = &hook.call {
        described["targetArn"] = json!(call.function);
    }
    described
}

/// An item of `DescribeServiceRevisions`.
pub(super) fn revision(service: &Service, id: RevisionId) -> Value {
    let revision = service.revision(id);
    let mut described = revision.members.clone();
    described.extend(platform(revision, PLATFORM).into_iter().map(|(name, value)| (name.to_owned(), value)));
    described.insert("serviceRevisionArn".into(), json!(revision.arn));
    described.insert("serviceArn".into(), json!(service.arn));
    described.insert("clusterArn".into(), json!(service.cluster_arn));
    described.insert("createdAt".into(), epoch(revision.created_at));
    described.insert("guardDutyEnabled".into(), json!(false));
    let images: Vec<_> = revision
        .containers
        .iter()
        .map(|container| {
            let mut image = json!({"containerName": container.name, "image": container.image});
            if let Some(digest) = &container.resolved {
                image["imageDigest"] = json!(digest);
            }
            image
        })
        .collect();
    described.insert("containerImages".into(), json!(images));
    // Only revisions in use have it.
    if active_revisions(service).contains(&id) {
        let balancers: Vec<_> = revision
            .balancers
            .iter()
            .map(|balancer| {
                let mut resolved = json!({"targetGroupArn": balancer.group(revision.slot)});
                if let Some(shifting) = &balancer.shifting {
                    resolved["productionListenerRule"] = json!(shifting.production_rule);
                }
                resolved
            })
            .collect();
        described.insert("resolvedConfiguration".into(), json!({"loadBalancers": balancers}));
    }
    Value::Object(described)
}

/// An item of `DescribeTasks`.
pub(super) fn task(service: &Service, task: &Task) -> Value {
    let mut described = describe_task(service, task);
    if let Some(described) = described.as_object_mut() {
        insert_time(described, "createdAt", Some(task.created_at));
        insert_time(described, "startedAt", task.started_at);
        insert_time(described, "stoppingAt", task.stopping_at);
        insert_time(described, "stoppedAt", task.stopped_at);
    }
    described
}
