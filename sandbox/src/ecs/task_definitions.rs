//! Task definitions. The store is the JSON as it was registered, so members newer than any SDK survive, as on AWS.

use serde_json::{Map, Value, json};

use super::errors::{client, invalid};
use super::ids::resource;
use super::input::{Members, epoch, page};
use super::model::{Container, Families, State, TaskDefinition};
use super::render::with_token;
use super::tags_and_tasks::check_tags;
use super::world::World;
use crate::ports::{AwsError, is_in_ecr};

/// Members of a description that a registration cannot set.
const ASSIGNED: [&str; 11] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
    "tags",
    "include",
];

pub(super) fn register(
    state: &mut State,
    input: &Map<String, Value>,
    caller: Option<&str>,
    world: &World<'_>,
) -> Result<Value, AwsError> {
    let members = Members::of(input);
    let family = family_name(members)?;
    check_containers(members)?;
    check_execution_role(members)?;
    let tags = members.list("tags")?.cloned().unwrap_or_default();
    check_tags(&tags)?;

    let mut raw = input.clone();
    raw.retain(|name, value| !ASSIGNED.contains(&name.as_str()) && !value.is_null());
    for container in raw.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
        container_defaults(container);
    }
    for (name, value) in [("volumes", json!([])), ("placementConstraints", json!([]))] {
        raw.entry(name).or_insert(value);
    }
    raw.entry("networkMode").or_insert(json!("awsvpc"));

    let revisions = state.task_definitions.entry(family.to_owned()).or_default();
    let number = u32::try_from(revisions.len()).unwrap_or(u32::MAX).saturating_add(1);
    let arn = world.identity.task_definition(family, number);
    raw.insert("taskDefinitionArn".into(), json!(arn));
    raw.insert("revision".into(), json!(number));
    raw.insert("compatibilities".into(), json!(["EC2", "FARGATE"]));
    raw.insert("requiresAttributes".into(), json!([{"name": "ecs.capability.task-eni"}]));
    raw.insert("registeredAt".into(), epoch(world.now));
    if let Some(caller) = caller {
        raw.insert("registeredBy".into(), json!(caller));
    }
    let definition = TaskDefinition { raw, arn, active: true, deregistered_at: None, tags };
    let answer = json!({"taskDefinition": render(&definition), "tags": definition.tags});
    revisions.push(definition);
    Ok(answer)
}

fn family_name(members: Members<'_>) -> Result<&str, AwsError> {
    let family = members.text("family")?.unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if family.is_empty() {
        return Err(client("Family should not be null or empty."));
    }
    if family.len() > 255 || !family.chars().all(allowed) {
        return Err(client("Family contains invalid characters."));
    }
    Ok(family)
}

fn check_containers(members: Members<'_>) -> Result<(), AwsError> {
    let containers = members.structures("containerDefinitions")?;
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    let mut names = std::collections::BTreeSet::new();
    for container in containers {
        let name = container.text("name")?.unwrap_or_default();
        let image = container.text("image")?.unwrap_or_default();
        if name.is_empty() {
            return Err(client("Container.name should not be null or empty."));
        }
        if image.is_empty() {
            return Err(client("Container.image should not be null or empty."));
        }
        if image.contains(char::is_whitespace) {
            return Err(client("Container.image contains invalid characters."));
        }
        if !names.insert(name) {
            return Err(client(format!("Container name {name} is not unique.")));
        }
    }
    Ok(())
}

/// On Fargate nobody but the execution role can pull from ECR and write to CloudWatch Logs.
fn check_execution_role(members: Members<'_>) -> Result<(), AwsError> {
    let on_fargate = members.texts("requiresCompatibilities")?.contains(&"FARGATE");
    if !on_fargate || members.text("executionRoleArn")?.is_some() {
        return Ok(());
    }
    for container in members.structures("containerDefinitions")? {
        let logs = match container.structure("logConfiguration")? {
            Some(logs) => logs.text("logDriver")? == Some("awslogs"),
            None => false,
        };
        let needs = if is_in_ecr(container.text("image")?.unwrap_or_default()) {
            "ECR images"
        } else if logs {
            "log driver awslogs"
        } else {
            continue;
        };
        return Err(client(format!(
            "Fargate requires task definition to have execution role ARN to support {needs}."
        )));
    }
    Ok(())
}

/// What ECS adds to a container definition when it is registered. `startupProfile` stands for the members that AWS adds
/// between two releases of an SDK: no SDK knows it, and it must not be lost when the definition is registered again.
fn container_defaults(container: &mut Value) {
    let Some(container) = container.as_object_mut() else { return };
    for (name, value) in [
        ("cpu", json!(0)),
        ("essential", json!(true)),
        ("environment", json!([])),
        ("mountPoints", json!([])),
        ("portMappings", json!([])),
        ("systemControls", json!([])),
        ("volumesFrom", json!([])),
        ("startupProfile", json!({"mode": "standard"})),
    ] {
        container.entry(name).or_insert(value);
    }
    let mapped = container.get_mut("portMappings").and_then(Value::as_array_mut);
    for mapping in mapped.into_iter().flatten().filter_map(Value::as_object_mut) {
        // In `awsvpc` mode both ports are the same.
        let port = mapping.get("containerPort").cloned().unwrap_or_default();
        mapping.entry("hostPort").or_insert(port);
        mapping.entry("protocol").or_insert(json!("tcp"));
    }
    if let Some(check) = container.get_mut("healthCheck").and_then(Value::as_object_mut) {
        for (name, value) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
            check.entry(name).or_insert(json!(value));
        }
    }
}

/// Finds `family`, `family:revision` or an ARN; a family alone means its latest ACTIVE revision.
pub(super) fn find<'a>(families: &'a Families, wanted: &str) -> Option<&'a TaskDefinition> {
    let name = resource(wanted, "task-definition");
    match name.split_once(':') {
        None => families.get(name)?.iter().rev().find(|definition| definition.active),
        Some((family, revision)) => {
            let position = revision.parse::<usize>().ok()?.checked_sub(1)?;
            families.get(family)?.get(position)
        }
    }
}

pub(super) fn describe(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let wanted = input.required_text("taskDefinition")?;
    let definition =
        find(&state.task_definitions, wanted).ok_or_else(|| client("Unable to describe task definition."))?;
    let mut answer = json!({"taskDefinition": render(definition)});
    if input.includes("TAGS")? {
        answer["tags"] = json!(definition.tags);
    }
    Ok(answer)
}

pub(super) fn deregister(
    state: &mut State,
    input: Members<'_>,
    world: &World<'_>,
) -> Result<Value, AwsError> {
    let wanted = resource(input.required_text("taskDefinition")?, "task-definition");
    let (family, revision) = wanted.split_once(':').ok_or_else(|| {
        invalid("Invalid revision number. Number: must specify a revision, e.g. family:revision")
    })?;
    let position = revision.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let definition = state
        .task_definitions
        .get_mut(family)
        .and_then(|revisions| revisions.get_mut(position?))
        .ok_or_else(|| client("The specified task definition does not exist."))?;
    if !definition.active {
        return Err(client(
            "The specified task definition is inactive. Specify an active task definition and try again.",
        ));
    }
    definition.active = false;
    definition.deregistered_at = Some(world.now);
    Ok(json!({"taskDefinition": render(definition)}))
}

pub(super) fn list(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let active = match input.text("status")?.unwrap_or("ACTIVE") {
        "ACTIVE" => true,
        "INACTIVE" => false,
        "DELETE_IN_PROGRESS" => return Ok(json!({"taskDefinitionArns": []})),
        other => return Err(invalid(format!("Invalid status: {other}"))),
    };
    // Despite its name AWS compares the whole family.
    let family = input.text("familyPrefix")?;
    let mut arns: Vec<String> = state
        .task_definitions
        .iter()
        .filter(|(name, _)| family.is_none_or(|family| family == name.as_str()))
        .flat_map(|(_, revisions)| revisions)
        .filter(|definition| definition.active == active)
        .map(|definition| definition.arn.clone())
        .collect();
    match input.text("sort")?.unwrap_or("ASC") {
        "ASC" => {}
        "DESC" => arns.reverse(),
        other => return Err(invalid(format!("Invalid sort: {other}"))),
    }
    let (arns, next) = page(input, arns, 100)?;
    Ok(with_token(json!({"taskDefinitionArns": arns}), next))
}

/// The containers of a task definition, for a service revision.
pub(super) fn containers(definition: &TaskDefinition) -> Vec<Container> {
    let containers = definition.raw.get("containerDefinitions").and_then(Value::as_array);
    let text = |container: &Value, name: &str| {
        container.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    containers
        .into_iter()
        .flatten()
        .map(|container| Container {
            name: text(container, "name"),
            image: text(container, "image"),
            consistent: text(container, "versionConsistency") != "disabled",
            resolved: None,
        })
        .collect()
}

/// Whether a container has a port mapping for this container port.
pub(super) fn has_port(definition: &TaskDefinition, container: &str, port: i64) -> bool {
    let containers = definition.raw.get("containerDefinitions").and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .filter(|described| described.get("name").and_then(Value::as_str) == Some(container))
        .filter_map(|described| described.get("portMappings").and_then(Value::as_array))
        .flatten()
        .any(|mapping| mapping.get("containerPort").and_then(Value::as_i64) == Some(port))
}

fn render(definition: &TaskDefinition) -> Value {
    let mut described = definition.raw.clone();
    described.insert("status".into(), json!(if definition.active { "ACTIVE" } else { "INACTIVE" }));
    if let Some(at) = definition.deregistered_at {
        described.insert("deregisteredAt".into(), epoch(at));
    }
    Value::Object(described)
}
