//! Making a service revision and the deployment that rolls it out, with every check AWS makes before it accepts one.

use serde_json::{Map, Value, json};

use super::config::{self, Config, Strategy};
use super::errors::{client, invalid};
use super::ids;
use super::input::Members;
use super::kinds;
use super::model::{
    AlarmWatch, Balancer, Breaker, Container, Deployment, DeploymentStatus, Families, Revision, RevisionId,
    Service, Shifting, Slot, Step, TaskDefinition, WatchStatus,
};
use super::plan::{self, Situation};
use super::task_definitions;
use super::world::World;
use crate::ports::{AwsError, is_in_ecr};

/// Members of a service that make a revision: a change of one of them is a deployment.
pub(super) const REVISIONED: [&str; 12] = [
    "taskDefinition",
    "loadBalancers",
    "networkConfiguration",
    "serviceRegistries",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "gatewayConnectors",
    "monitoring",
];

/// A revision as a request describes it, checked.
struct Draft {
    members: Map<String, Value>,
    balancers: Vec<Balancer>,
    containers: Vec<Container>,
    main_container: usize,
    config: Config,
}

/// The members the service has now, with those of the request over them.
fn members(service: &Service, input: &Map<String, Value>) -> Map<String, Value> {
    let mut members = service.current_revision().map(|revision| revision.members.clone()).unwrap_or_default();
    for name in REVISIONED {
        if let Some(value) = input.get(name).filter(|value| !value.is_null()) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    members
}

/// Checks a request without starting anything. Returns whether it changes the service's revision.
pub(super) fn changes_revision(
    service: &Service,
    families: &Families,
    input: &Map<String, Value>,
    world: &World<'_>,
) -> Result<bool, AwsError> {
    let draft = draft(service, families, input, world)?;
    Ok(service.current_revision().is_none_or(|current| current.members != draft.members))
}

fn draft(
    service: &Service,
    families: &Families,
    input: &Map<String, Value>,
    world: &World<'_>,
) -> Result<Draft, AwsError> {
    let config = config::parse(&service.configuration)?;
    let mut members = members(service, input);
    let wanted = Members::of(&members).required_text("taskDefinition")?.to_owned();
    let definition =
        task_definitions::find(families, &wanted).ok_or_else(|| client("TaskDefinition not found."))?;
    // A service may keep a revision that was deregistered, but none may be started from one.
    if !definition.active && input.contains_key("taskDefinition") {
        return Err(client("TaskDefinition is inactive"));
    }
    members.insert("taskDefinition".into(), json!(definition.arn));
    check_placement(Members::of(&members), definition)?;
    kinds::check(service, &config, Members::of(&members), has_own_interface(definition))?;
    let balancers = balancers(Members::of(&members), definition, service.revisions.is_empty(), world)?;
    if service.revisions.is_empty() || input.contains_key("loadBalancers") {
        balancers.iter().try_for_each(|balancer| check_attached(&balancer.target_group, world))?;
    }
    if balancers.is_empty() && service.attributes.contains_key("healthCheckGracePeriodSeconds") {
        return Err(invalid(
            "Health check grace period is only valid for services configured to use load balancers",
        ));
    }
    check_strategy(&config, &balancers, Members::of(&members))?;
    let containers = task_definitions::containers(definition);
    let main_container = main_container(&containers, Members::of(&members))?;
    Ok(Draft { members, balancers, containers, main_container, config })
}

/// Where and in which network the tasks run.
fn check_placement(members: Members<'_>, definition: &TaskDefinition) -> Result<(), AwsError> {
    let providers = members.structures("capacityProviderStrategy")?;
    if members.get("launchType").is_some() && !providers.is_empty() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    match (has_own_interface(definition), members.structure("networkConfiguration")?.is_some()) {
        (true, false) => {
            Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."))
        }
        (false, true) => Err(invalid(
            "Network Configuration is not valid for the given networkMode of this task definition.",
        )),
        (true, true) | (false, false) => Ok(()),
    }
}

fn has_own_interface(definition: &TaskDefinition) -> bool {
    definition.raw.get("networkMode").and_then(Value::as_str) == Some("awsvpc")
}

/// A target group that no rule and no listener names belongs to no load balancer yet, and ECS takes none of those.
fn check_attached(target_group: &str, world: &World<'_>) -> Result<(), AwsError> {
    let users = world.balancers.load_balancers_of(target_group).map_err(|error| {
        invalid(format!("Unable to describe target group {target_group}: {}", error.message))
    })?;
    if users.is_empty() {
        return Err(invalid(format!(
            "The target group with targetGroupArn {target_group} does not have an associated load balancer."
        )));
    }
    Ok(())
}

fn main_container(containers: &[Container], members: Members<'_>) -> Result<usize, AwsError> {
    let named = match members.structures("loadBalancers")?.first() {
        Some(balancer) => balancer.text("containerName")?,
        None => None,
    };
    let named = containers.iter().position(|container| Some(container.name.as_str()) == named);
    // Without a load balancer: the first the sandbox can pull, whatever stands before it.
    let pulled = || containers.iter().position(|container| is_in_ecr(&container.image));
    Ok(named.or_else(pulled).unwrap_or(0))
}

fn balancers(
    members: Members<'_>,
    definition: &TaskDefinition,
    first: bool,
    world: &World<'_>,
) -> Result<Vec<Balancer>, AwsError> {
    let mut balancers = Vec::new();
    for described in members.structures("loadBalancers")? {
        let container = described.required_text("containerName")?;
        let port = described
            .integer("containerPort")?
            .ok_or_else(|| invalid("The container port can not be blank."))?;
        if !task_definitions::has_port(definition, container, port) {
            return Err(invalid(format!(
                "The container {container} did not have a container port {port} defined."
            )));
        }
        let target_group = described.required_text("targetGroupArn")?.to_owned();
        let shifting = described.structure("advancedConfiguration")?.map(shifting).transpose()?;
        if let Some(shifting) = shifting.as_ref().filter(|_| first) {
            check_rule(&target_group, shifting, world)?;
        }
        balancers.push(Balancer { target_group, shifting });
    }
    let shifted = balancers.iter().filter(|balancer| balancer.shifting.is_some()).count();
    if shifted != 0 && shifted != balancers.len() {
        return Err(invalid(
            "advancedConfiguration must be specified for all load balancers of the service or none.",
        ));
    }
    Ok(balancers)
}

fn shifting(members: Members<'_>) -> Result<Shifting, AwsError> {
    members.required_text("roleArn")?;
    Ok(Shifting {
        alternate_target_group: members.required_text("alternateTargetGroupArn")?.to_owned(),
        production_rule: members.required_text("productionListenerRule")?.to_owned(),
        test_rule: members.text("testListenerRule")?.map(str::to_owned),
    })
}

/// At the service's creation, and only then, the rule has to know both target groups and give one of them everything.
fn check_rule(target_group: &str, shifting: &Shifting, world: &World<'_>) -> Result<(), AwsError> {
    let rule = &shifting.production_rule;
    let weights = world
        .balancers
        .forward_weights(rule)
        .map_err(|error| invalid(format!("Unable to describe listener rule {rule}: {}", error.message)))?;
    for group in [target_group, shifting.alternate_target_group.as_str()] {
        if !weights.iter().any(|(attached, _)| attached == group) {
            return Err(invalid(format!(
                "The target group {group} is not attached to listener rule {rule}."
            )));
        }
    }
    if weights.iter().filter(|(_, weight)| *weight > 0).count() != 1 {
        return Err(invalid(format!(
            "Exactly one target group of listener rule {rule} must have a weight greater than 0."
        )));
    }
    Ok(())
}

fn check_strategy(config: &Config, balancers: &[Balancer], members: Members<'_>) -> Result<(), AwsError> {
    let shifts = match config.strategy {
        Strategy::Rolling => return Ok(()),
        Strategy::BlueGreen => false,
        Strategy::Canary { .. } | Strategy::Linear { .. } => true,
    };
    if balancers.iter().any(|balancer| balancer.shifting.is_none()) {
        return Err(invalid(
            "advancedConfiguration is required in loadBalancers for the BLUE_GREEN, LINEAR and CANARY deployment strategies.",
        ));
    }
    let service_connect = match members.structure("serviceConnectConfiguration")? {
        Some(configuration) => configuration.flag("enabled")?,
        None => false,
    };
    let lattice = !members.structures("vpcLatticeConfigurations")?.is_empty();
    if shifts && balancers.is_empty() && !service_connect && !lattice {
        return Err(invalid(
            "A load balancer, VPC Lattice or Service Connect is required for the LINEAR and CANARY deployment strategies.",
        ));
    }
    Ok(())
}

/// Where a new deployment starts from.
struct Base {
    source: Option<RevisionId>,
    sources: Vec<RevisionId>,
    /// Whether a deployment that may have moved traffic or mixed fleets was stopped for this one.
    interrupted: bool,
}

/// Stops the deployment that runs, if any: its hooks are void from here on. One that failed and stayed where it was has to
/// be reconciled just so.
fn interrupt(service: &mut Service, strategy: Strategy, world: &World<'_>) -> Base {
    let unfinished = |last: &&mut Deployment| match last.status {
        DeploymentStatus::Successful
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => false,
        DeploymentStatus::Pending
        | DeploymentStatus::InProgress
        | DeploymentStatus::StopRequested
        | DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress
        | DeploymentStatus::Stopped => true,
    };
    let Some(last) = service.deployments.last_mut().filter(unfinished) else {
        return Base {
            source: service.current,
            sources: service.current.into_iter().collect(),
            interrupted: false,
        };
    };
    // Once the old fleet is being removed, the traffic stays where it is.
    let source = if last.step() == Some(Step::CleanUp) { Some(last.target) } else { last.source };
    let sources = last.source.into_iter().chain([last.target]).collect();
    let both_roll = last.config.strategy == Strategy::Rolling && strategy == Strategy::Rolling;
    if !last.status.is_terminal() {
        last.status = DeploymentStatus::StopRequested;
        last.status_reason =
            Some("Service deployment stopped because of a newer service deployment.".to_owned());
        last.updated_at = world.now;
        last.hooks.clear();
    }
    Base { source, sources, interrupted: !both_roll }
}

/// Makes the revision a request describes, and its deployment.
pub(super) fn start(
    service: &mut Service,
    families: &Families,
    input: &Map<String, Value>,
    world: &World<'_>,
) -> Result<(), AwsError> {
    let draft = draft(service, families, input, world)?;
    let base = interrupt(service, draft.config.strategy, world);
    let target = RevisionId(service.revisions.len());
    let situation = Situation {
        has_source: base.source.is_some(),
        has_test_rule: draft
            .balancers
            .iter()
            .any(|balancer| balancer.shifting.as_ref().is_some_and(|shifting| shifting.test_rule.is_some())),
        interrupted: base.interrupted && base.source.is_some(),
        has_alarms: draft.config.alarms.is_some(),
    };
    let slot = match (base.source, draft.config.strategy) {
        (None, _) => Slot::Main,
        (Some(source), Strategy::Rolling) => service.revision(source).slot,
        (Some(source), Strategy::BlueGreen | Strategy::Canary { .. } | Strategy::Linear { .. }) => {
            service.revision(source).slot.other()
        }
    };
    let deployment = Deployment {
        arn: world.identity.service_deployment(
            &service.cluster,
            &service.name,
            &ids::service_deployment_id(),
        ),
        target,
        source: base.source,
        sources: base.sources,
        status: DeploymentStatus::Pending,
        status_reason: None,
        created_at: world.now,
        updated_at: world.now,
        started_at: None,
        stopped_at: None,
        finished_at: None,
        configuration: service.configuration.clone(),
        steps: plan::forward(&draft.config, situation),
        config: draft.config,
        cursor: 0,
        entered_at: None,
        hooks: Vec::new(),
        hook_details: std::collections::BTreeMap::new(),
        production_percent: 0.0,
        test_percent: 0.0,
        traffic_unsure: situation.interrupted,
        rollback: None,
        alarms: AlarmWatch { status: WatchStatus::Disabled, triggered: Vec::new(), polled_at: None },
        breaker: Breaker { status: WatchStatus::Disabled, failures: 0, threshold: 0 },
        shift_error: None,
    };
    service.revisions.push(Revision {
        arn: world.identity.service_revision(&service.cluster, &service.name, &ids::number()),
        deployment_id: format!("ecs-svc/{}", ids::number()),
        created_at: world.now,
        updated_at: world.now,
        members: draft.members,
        balancers: draft.balancers,
        containers: draft.containers,
        main_container: draft.main_container,
        slot,
        requested: 0,
        failed_tasks: 0,
        retry_at: None,
    });
    service.deployments.push(deployment);
    service.current = Some(target);
    Ok(())
}
