//! Tags of resources, and reading tasks.

use serde_json::{Value, json};

use super::clusters;
use super::errors::{invalid, service_not_found};
use super::ids::resource;
use super::input::{Members, page};
use super::model::State;
use super::render::{self, with_token};
use crate::ports::AwsError;

fn tags<'a>(state: &'a mut State, arn: &str) -> Option<&'a mut Vec<Value>> {
    let definitions = state.task_definitions.values_mut().flatten();
    definitions
        .filter(|definition| definition.arn == arn)
        .map(|definition| &mut definition.tags)
        .chain(
            state.services.values_mut().filter(|service| service.arn == arn).map(|service| &mut service.tags),
        )
        .chain(
            state.clusters.values_mut().filter(|cluster| cluster.arn == arn).map(|cluster| &mut cluster.tags),
        )
        .next()
}

fn missing() -> AwsError {
    invalid("The specified resource is not found. Specify a valid resource ARN and try again.")
}

fn tag_key(tag: &Value) -> Option<&str> {
    tag.get("key").and_then(Value::as_str)
}

/// How many tags a resource may have.
const MOST_TAGS: usize = 50;

/// Refuses more tags than a resource may have.
pub(super) fn check_tags(tags: &[Value]) -> Result<(), AwsError> {
    if tags.len() > MOST_TAGS {
        return Err(invalid(format!("Tags can have at most {MOST_TAGS} items.")));
    }
    Ok(())
}

pub(super) fn tag(state: &mut State, input: Members<'_>) -> Result<Value, AwsError> {
    let present = tags(state, input.required_text("resourceArn")?).ok_or_else(missing)?;
    let mut tags = present.clone();
    for tag in input.list("tags")?.into_iter().flatten() {
        let key = tag_key(tag).ok_or_else(|| invalid("Tag key can not be blank."))?;
        tags.retain(|present| tag_key(present) != Some(key));
        tags.push(tag.clone());
    }
    check_tags(&tags)?;
    *present = tags;
    Ok(json!({}))
}

pub(super) fn untag(state: &mut State, input: Members<'_>) -> Result<Value, AwsError> {
    let tags = tags(state, input.required_text("resourceArn")?).ok_or_else(missing)?;
    let keys = input.texts("tagKeys")?;
    tags.retain(|tag| tag_key(tag).is_none_or(|key| !keys.contains(&key)));
    Ok(json!({}))
}

pub(super) fn list_tags(state: &mut State, input: Members<'_>) -> Result<Value, AwsError> {
    let tags = tags(state, input.required_text("resourceArn")?).ok_or_else(missing)?;
    Ok(json!({"tags": tags}))
}

pub(super) fn list_tasks(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let cluster = clusters::find(state, input)?;
    let service = input.text("serviceName")?.map(|name| resource(name, "service"));
    let service = service.map(|name| name.rsplit('/').next().unwrap_or(name));
    if let Some(name) = service
        && !state.services.contains_key(&(cluster.name.clone(), name.to_owned()))
    {
        return Err(service_not_found());
    }
    let alive = match input.text("desiredStatus")?.unwrap_or("RUNNING") {
        "RUNNING" => true,
        "STOPPED" => false,
        // ECS never sets a desired status of PENDING.
        "PENDING" => return Ok(json!({"taskArns": []})),
        other => return Err(invalid(format!("Invalid desiredStatus: {other}"))),
    };
    let arns: Vec<_> = state
        .services
        .values()
        .filter(|of| of.cluster == cluster.name && service.is_none_or(|name| name == of.name))
        .flat_map(|service| &service.tasks)
        .filter(|task| task.phase.is_alive() == alive)
        .map(|task| task.arn.clone())
        .collect();
    let (arns, next) = page(input, arns, 100)?;
    Ok(with_token(json!({"taskArns": arns}), next))
}

pub(super) fn describe_tasks(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let cluster = clusters::find(state, input)?;
    let wanted = input.texts("tasks")?;
    if wanted.is_empty() || wanted.len() > 100 {
        return Err(invalid("Tasks must have between 1 and 100 items."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let task =
            state.services.values().filter(|service| service.cluster == cluster.name).find_map(|service| {
                let task = service.tasks.iter().find(|task| task.arn == wanted || task.id == wanted)?;
                Some(render::task(service, task))
            });
        match task {
            Some(task) => found.push(task),
            None => failures.push(json!({"arn": wanted, "reason": "MISSING"})),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}
