//! `CreateService`, `UpdateService`, `DeleteService`, and reading services.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::clusters;
use super::config;
use super::errors::{invalid, service_not_active, service_not_found, unsupported};
use super::ids::resource;
use super::input::{Members, page};
use super::kinds;
use super::launch_deployment::{self, REVISIONED};
use super::model::{Controller, DeploymentStatus, Phase, Service, ServiceStatus, State};
use super::render::{self, with_token};
use super::settings::DeleteRunning;
use super::tags_and_tasks::check_tags;
use super::world::World;
use crate::ports::AwsError;

/// Members of requests that are not kept as they came: they steer the call, or have a field of their own.
const NOT_ATTRIBUTES: [&str; 11] = [
    "cluster",
    "service",
    "serviceName",
    "clientToken",
    "tags",
    "desiredCount",
    "deploymentConfiguration",
    "deploymentController",
    "forceNewDeployment",
    "include",
    "taskSets",
];

/// The service a member (name or ARN) means. An ARN names its cluster itself, but has to agree with `cluster`.
fn key(state: &State, input: Members<'_>, service: &str) -> Result<(String, String), AwsError> {
    let cluster = clusters::find(state, input)?;
    let name = resource(service, "service");
    match name.split_once('/') {
        Some((of_arn, name)) if of_arn == cluster.name => Ok((cluster.name.clone(), name.to_owned())),
        Some(_) => Err(invalid("Identifier is for a different cluster than the request.")),
        None => Ok((cluster.name.clone(), name.to_owned())),
    }
}

pub(super) fn find<'a>(state: &'a State, input: Members<'_>) -> Result<&'a Service, AwsError> {
    let key = key(state, input, input.required_text("service")?)?;
    state.services.get(&key).ok_or_else(service_not_found)
}

fn find_active<'a>(state: &'a mut State, input: Members<'_>) -> Result<&'a mut Service, AwsError> {
    let key = key(state, input, input.required_text("service")?)?;
    let service = state.services.get_mut(&key).ok_or_else(service_not_found)?;
    if service.status == ServiceStatus::Active { Ok(service) } else { Err(service_not_active()) }
}

fn desired_count(input: Members<'_>) -> Result<Option<u32>, AwsError> {
    let Some(count) = input.integer("desiredCount")? else { return Ok(None) };
    match u32::try_from(count) {
        Ok(count) if count <= 5000 => Ok(Some(count)),
        Ok(_) | Err(_) => Err(invalid("desiredCount must be between 0 and 5000.")),
    }
}

fn controller(input: Members<'_>) -> Result<Option<Controller>, AwsError> {
    let Some(controller) = input.structure("deploymentController")? else { return Ok(None) };
    match controller.required_text("type")? {
        "ECS" => Ok(Some(Controller::Ecs)),
        "CODE_DEPLOY" => Ok(Some(Controller::CodeDeploy)),
        "EXTERNAL" => Ok(Some(Controller::External)),
        other => Err(invalid(format!("Invalid deployment controller type: {other}"))),
    }
}

pub(super) fn create(
    state: &mut State,
    input: &Map<String, Value>,
    caller: Option<&str>,
    world: &World<'_>,
) -> Result<Value, AwsError> {
    let members = Members::of(input);
    let cluster = clusters::find(state, members)?;
    let (cluster_name, cluster_arn) = (cluster.name.clone(), cluster.arn.clone());
    let name = members.required_text("serviceName")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > 255 || !name.chars().all(allowed) {
        return Err(invalid("The service name is not valid."));
    }
    let key = (cluster_name.clone(), name.to_owned());
    if let Some(existing) = state.services.get(&key)
        && existing.status != ServiceStatus::Inactive
    {
        return idempotent(existing, input);
    }
    check_token(members)?;
    if members.get("role").is_some() {
        // Every task definition here has its own network interface, and those need the service-linked role.
        return Err(invalid(
            "You cannot specify an IAM role for services that require a service linked role.",
        ));
    }
    let mut requested = members.map("deploymentConfiguration")?.cloned().unwrap_or_default();
    let is_daemon = kinds::is_daemon(members)?;
    if is_daemon {
        requested = kinds::with_daemon_defaults(requested);
    }
    let controller = controller(members)?.unwrap_or(Controller::Ecs);
    let asked = desired_count(members)?;
    let tags = members.list("tags")?.cloned().unwrap_or_default();
    check_tags(&tags)?;
    let mut service = Service {
        arn: world.identity.service(&cluster_name, name),
        name: name.to_owned(),
        cluster: cluster_name,
        cluster_arn,
        status: ServiceStatus::Active,
        controller,
        created_with: Value::Object(input.clone()),
        created_at: world.now,
        created_by: caller.map(str::to_owned),
        tags,
        attributes: with_rebalancing(attributes(input)),
        configuration: config::merge(&Map::new(), &requested, world.settings.undocumented.stale_blocks)?,
        desired: kinds::desired_at_first(members, asked, controller)?,
        revisions: Vec::new(),
        current: None,
        deployments: Vec::new(),
        tasks: Vec::new(),
        events: VecDeque::new(),
        steady_since_event: None,
    };
    match service.controller {
        Controller::Ecs => {
            if asked.is_none() && !is_daemon {
                return Err(invalid("Desired count must be specified for a REPLICA service."));
            }
            launch_deployment::start(&mut service, &state.task_definitions, input, world)?;
        }
        Controller::External => check_external(members)?,
        Controller::CodeDeploy => {
            return Err(unsupported("the sandbox has no CODE_DEPLOY deployment controller"));
        }
    }
    let described = render::service(&service, true);
    state.replaced.extend(state.services.insert(key, service));
    Ok(json!({"service": described}))
}

fn idempotent(existing: &Service, input: &Map<String, Value>) -> Result<Value, AwsError> {
    let same = existing.created_with.as_object() == Some(input);
    if same && existing.status == ServiceStatus::Active {
        return Ok(json!({"service": render::service(existing, true)}));
    }
    Err(invalid(match existing.status {
        ServiceStatus::Draining => "Unable to Start a service that is still Draining.",
        ServiceStatus::Active | ServiceStatus::Inactive => "Creation of service was not idempotent.",
    }))
}

fn check_token(members: Members<'_>) -> Result<(), AwsError> {
    let fits = |token: &str| token.len() <= 36 && token.bytes().all(|byte| (33..=126).contains(&byte));
    match members.text("clientToken")? {
        Some(token) if !fits(token) => Err(invalid(
            "The client token must have at most 36 ASCII characters in the range of 33-126 (inclusive).",
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_external(members: Members<'_>) -> Result<(), AwsError> {
    for name in ["taskDefinition", "loadBalancers", "networkConfiguration", "launchType"] {
        if members.get(name).is_some() {
            return Err(invalid(format!(
                "{name} cannot be specified for a service with an EXTERNAL deployment controller."
            )));
        }
    }
    Ok(())
}

/// A service that is created without a word on it is rebalanced.
fn with_rebalancing(mut attributes: Map<String, Value>) -> Map<String, Value> {
    attributes.entry("availabilityZoneRebalancing").or_insert(json!("ENABLED"));
    attributes
}

/// What is neither part of a revision nor a field of its own is kept as it came.
fn attributes(input: &Map<String, Value>) -> Map<String, Value> {
    let kept =
        |name: &String| !NOT_ATTRIBUTES.contains(&name.as_str()) && !REVISIONED.contains(&name.as_str());
    input.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub(super) fn update(
    state: &mut State,
    input: &Map<String, Value>,
    world: &World<'_>,
) -> Result<Value, AwsError> {
    let members = Members::of(input);
    // Whether the service is there is answered before anything about the request's members.
    let key = {
        let service = find_active(state, members)?;
        (service.cluster.clone(), service.name.clone())
    };
    let State { services, task_definitions, .. } = state;
    let Some(service) = services.get_mut(&key) else { return Err(service_not_found()) };
    if let Some(wanted) = controller(members)?
        && wanted != service.controller
    {
        return Err(unsupported("the sandbox does not change the deployment controller of a service"));
    }
    // Everything is tried on a copy: a refused update changes nothing.
    let mut updated = service.clone();
    if let Some(requested) = members.map("deploymentConfiguration")? {
        let stale = world.settings.undocumented.stale_blocks;
        updated.configuration = config::merge(&service.configuration, requested, stale)?;
    }
    updated.attributes.extend(attributes(input));
    if let Some(desired) = desired_count(members)? {
        if kinds::serves_daemon(&updated) {
            kinds::check_desired(Some(desired))?;
        }
        rescale(&mut updated, desired);
    }
    match updated.controller {
        Controller::Ecs => {
            let changes = launch_deployment::changes_revision(&updated, task_definitions, input, world)?;
            if changes || members.flag("forceNewDeployment")? {
                launch_deployment::start(&mut updated, task_definitions, input, world)?;
            }
        }
        Controller::External | Controller::CodeDeploy => {
            let revisioned = REVISIONED.iter().any(|name| members.get(name).is_some());
            if revisioned || members.get("deploymentConfiguration").is_some() {
                return Err(invalid(format!(
                    "Cannot update these parameters on services with a {} deployment controller.",
                    updated.controller.name()
                )));
            }
        }
    }
    *service = updated;
    Ok(json!({"service": render::service(service, true)}))
}

/// Gives a service another desired count, without a deployment.
pub(super) fn rescale(service: &mut Service, desired: u32) {
    service.desired = desired;
    for revision in &mut service.revisions {
        if revision.requested > 0 {
            revision.requested = desired;
        }
    }
    if let Some(current) = service.current {
        service.revision_mut(current).requested = desired;
    }
}

pub(super) fn delete(state: &mut State, input: Members<'_>, world: &World<'_>) -> Result<Value, AwsError> {
    let force = input.flag("force")?;
    let key = key(state, input, input.required_text("service")?)?;
    let service = state.services.get_mut(&key).ok_or_else(service_not_found)?;
    match service.status {
        ServiceStatus::Active => {}
        // Deleting twice is fine: see aws/aws-cli#1334.
        ServiceStatus::Draining => return Ok(json!({"service": render::service(service, true)})),
        ServiceStatus::Inactive => return Err(service_not_found()),
    }
    if service.desired > 0 && !force && service.controller == Controller::Ecs {
        return Err(invalid("The service cannot be stopped while it is scaled above 0."));
    }
    let running = service.count(|task| !matches!(task.phase, Phase::Stopping | Phase::Stopped)) > 0;
    if running && !force && world.settings.undocumented.delete_running == DeleteRunning::Refuse {
        return Err(invalid("The service cannot be stopped while deployments are active."));
    }
    service.status = ServiceStatus::Draining;
    service.desired = 0;
    for revision in &mut service.revisions {
        revision.requested = 0;
    }
    for deployment in &mut service.deployments {
        if !deployment.status.is_terminal() {
            deployment.status = DeploymentStatus::StopRequested;
        }
    }
    service.log(world.now, "is being deleted.");
    Ok(json!({"service": render::service(service, true)}))
}

pub(super) fn describe(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let wanted = input.texts("services")?;
    if wanted.is_empty() {
        return Err(invalid("Services cannot be empty."));
    }
    if wanted.len() > 10 {
        return Err(invalid("Services can have at most 10 items."));
    }
    let tags = input.includes("TAGS")?;
    let cluster = clusters::find(state, input)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let service =
            key(state, input, wanted).ok().and_then(|key| state.services.get(&key).map(|found| (key, found)));
        match service {
            Some((_, service)) => found.push(render::service(service, tags)),
            None => {
                let name = resource(wanted, "service");
                let arn = if wanted.starts_with("arn:") {
                    wanted.to_owned()
                } else {
                    format!("{}/{name}", cluster.arn.replacen(":cluster/", ":service/", 1))
                };
                failures.push(json!({"arn": arn, "reason": "MISSING"}));
            }
        }
    }
    Ok(json!({"services": found, "failures": failures}))
}

pub(super) fn list(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let cluster = clusters::find(state, input)?;
    let arns: Vec<_> = state
        .services
        .values()
        .filter(|service| service.cluster == cluster.name && service.status == ServiceStatus::Active)
        .map(|service| service.arn.clone())
        .collect();
    let (arns, next) = page(input, arns, 10)?;
    Ok(with_token(json!({"serviceArns": arns}), next))
}
