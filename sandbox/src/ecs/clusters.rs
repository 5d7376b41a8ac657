//! Clusters: names that services live under.

use serde_json::{Value, json};

use super::errors::{client, cluster_not_found};
use super::ids::resource;
use super::input::Members;
use super::model::{Cluster, Phase, Service, ServiceStatus, State};
use super::world::World;
use crate::ports::AwsError;

/// What a request without `cluster` means.
const DEFAULT: &str = "default";

/// The name in a `cluster` member, whether it exists or not.
pub(super) fn name<'a>(input: Members<'a>) -> Result<&'a str, AwsError> {
    Ok(resource(input.text("cluster")?.unwrap_or(DEFAULT), "cluster"))
}

/// The cluster a request is about.
pub(super) fn find<'a>(state: &'a State, input: Members<'_>) -> Result<&'a Cluster, AwsError> {
    state.clusters.get(name(input)?).filter(|cluster| cluster.active).ok_or_else(cluster_not_found)
}

pub(super) fn create(state: &mut State, input: Members<'_>, world: &World<'_>) -> Result<Value, AwsError> {
    let name = input.text("clusterName")?.unwrap_or(DEFAULT);
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 255 || !name.chars().all(allowed) {
        return Err(super::errors::invalid("The cluster name is not valid."));
    }
    let cluster = state.clusters.entry(name.to_owned()).or_insert_with(|| Cluster {
        arn: world.identity.cluster(name),
        name: name.to_owned(),
        active: true,
        tags: Vec::new(),
        settings: json!([{"name": "containerInsights", "value": "disabled"}]),
    });
    cluster.active = true;
    if let Some(tags) = input.list("tags")? {
        cluster.tags.clone_from(tags);
    }
    if let Some(settings) = input.list("settings")? {
        cluster.settings = json!(settings);
    }
    let name = cluster.name.clone();
    Ok(json!({"cluster": render(state, &name)}))
}

pub(super) fn delete(state: &mut State, input: Members<'_>) -> Result<Value, AwsError> {
    let name = resource(input.required_text("cluster")?, "cluster").to_owned();
    if !state.clusters.contains_key(&name) {
        return Err(cluster_not_found());
    }
    if services(state, &name).any(|service| service.status != ServiceStatus::Inactive) {
        return Err(AwsError::new(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        ));
    }
    if let Some(cluster) = state.clusters.get_mut(&name) {
        cluster.active = false;
    }
    Ok(json!({"cluster": render(state, &name)}))
}

pub(super) fn describe(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let mut wanted = input.texts("clusters")?;
    if wanted.is_empty() {
        wanted.push(DEFAULT);
    }
    if wanted.len() > 100 {
        return Err(client("clusters can have at most 100 items."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in wanted {
        match render(state, resource(name, "cluster")) {
            Some(cluster) => found.push(cluster),
            None => failures.push(json!({"arn": name, "reason": "MISSING"})),
        }
    }
    Ok(json!({"clusters": found, "failures": failures}))
}

pub(super) fn list(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let arns: Vec<_> =
        state.clusters.values().filter(|cluster| cluster.active).map(|cluster| cluster.arn.clone()).collect();
    let (arns, next) = super::input::page(input, arns, 100)?;
    Ok(super::render::with_token(json!({"clusterArns": arns}), next))
}

fn services<'a>(state: &'a State, cluster: &'a str) -> impl Iterator<Item = &'a Service> {
    state.services.values().filter(move |service| service.cluster == cluster)
}

fn render(state: &State, name: &str) -> Option<Value> {
    let cluster = state.clusters.get(name)?;
    let count = |wanted: fn(Phase) -> bool| -> u32 {
        services(state, name).map(|service| service.count(|task| wanted(task.phase))).sum()
    };
    let active = services(state, name).filter(|service| service.status == ServiceStatus::Active).count();
    Some(json!({
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": count(|phase| phase == Phase::Running),
        "pendingTasksCount": count(|phase| matches!(phase, Phase::Provisioning | Phase::Pending)),
        "activeServicesCount": active,
        "statistics": [],
        "tags": cluster.tags,
        "settings": cluster.settings,
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    }))
}
