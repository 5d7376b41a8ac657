//! Reading, continuing and stopping service deployments.

use serde_json::{Value, json};

use super::config::HookAction;
use super::errors::{conflict, invalid, service_deployment_not_found, service_not_found, unsupported};
use super::hooks;
use super::input::{Members, page};
use super::model::{Controller, Deployment, DeploymentStatus, RevisionId, Service, ServiceStatus, State};
use super::render::{self, with_token};
use super::services;
use super::settings::Undocumented;
use super::world::World;
use crate::ports::AwsError;

pub(super) fn list(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    // The history of a service goes with it.
    let service = services::find(state, input)?;
    if service.status == ServiceStatus::Inactive {
        return Err(service_not_found());
    }
    if service.controller != Controller::Ecs {
        return Err(unsupported(
            "Service deployments exist only for services with the ECS deployment controller.",
        ));
    }
    let statuses = input
        .texts("status")?
        .into_iter()
        .map(|name| {
            DeploymentStatus::parse(name)
                .ok_or_else(|| invalid(format!("Invalid service deployment status: {name}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let created = input.structure("createdAt")?;
    let bound = |name| created.map(|created| created.timestamp(name)).transpose().map(Option::flatten);
    let (after, before) = (bound("after")?, bound("before")?);
    let matching: Vec<_> = service
        .deployments
        .iter()
        .rev()
        .filter(|deployment| statuses.is_empty() || statuses.contains(&deployment.status))
        .filter(|deployment| after.is_none_or(|after| deployment.created_at >= after))
        .filter(|deployment| before.is_none_or(|before| deployment.created_at <= before))
        .map(|deployment| render::deployment_brief(service, deployment))
        .collect();
    let (deployments, next) = page(input, matching, 20)?;
    Ok(with_token(json!({"serviceDeployments": deployments}), next))
}

fn find<'a>(state: &'a State, arn: &str) -> Option<(&'a Service, &'a Deployment)> {
    let mut present = state.services.values().filter(|service| service.status != ServiceStatus::Inactive);
    present.find_map(|service| {
        let deployment = service.deployments.iter().find(|deployment| deployment.arn == arn)?;
        Some((service, deployment))
    })
}

fn arns<'a>(input: Members<'a>, name: &str) -> Result<Vec<&'a str>, AwsError> {
    let arns = input.texts(name)?;
    if arns.is_empty() || arns.len() > 20 {
        return Err(invalid(format!("{name} must have between 1 and 20 items.")));
    }
    if let Some(not_an_arn) = arns.iter().find(|arn| !arn.starts_with("arn:")) {
        return Err(invalid(format!("Invalid ARN: {not_an_arn}")));
    }
    Ok(arns)
}

pub(super) fn describe(
    state: &State,
    input: Members<'_>,
    undocumented: Undocumented,
) -> Result<Value, AwsError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns(input, "serviceDeploymentArns")? {
        match find(state, arn) {
            Some((service, deployment)) => found.push(render::deployment(service, deployment, undocumented)),
            None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
        }
    }
    Ok(json!({"serviceDeployments": found, "failures": failures}))
}

pub(super) fn describe_revisions(state: &State, input: Members<'_>) -> Result<Value, AwsError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns(input, "serviceRevisionArns")? {
        let revision = state.services.values().find_map(|service| {
            let position = service.revisions.iter().position(|revision| revision.arn == arn)?;
            Some(render::revision(service, RevisionId(position)))
        });
        match revision {
            Some(revision) => found.push(revision),
            None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
        }
    }
    Ok(json!({"serviceRevisions": found, "failures": failures}))
}

/// Applies a change to one deployment.
fn change(
    state: &mut State,
    arn: &str,
    change: impl FnOnce(&Service, &mut Deployment) -> Result<(), AwsError>,
) -> Result<Value, AwsError> {
    for service in state.services.values_mut() {
        let Some(position) = service.deployments.iter().position(|deployment| deployment.arn == arn) else {
            continue;
        };
        let mut deployment = service.deployments[position].clone();
        change(service, &mut deployment)?;
        service.deployments[position] = deployment;
        return Ok(json!({"serviceDeploymentArn": arn}));
    }
    Err(service_deployment_not_found())
}

pub(super) fn proceed(state: &mut State, input: Members<'_>, world: &World<'_>) -> Result<Value, AwsError> {
    let arn = input.required_text("serviceDeploymentArn")?;
    let hook = input.required_text("hookId")?;
    let action = HookAction::parse(input.text("action")?.unwrap_or("CONTINUE"))?;
    change(state, arn, |service, deployment| {
        if deployment.status != DeploymentStatus::InProgress {
            return Err(invalid(format!(
                "The service deployment is not IN_PROGRESS but {}.",
                deployment.status.name()
            )));
        }
        if hooks::answer(deployment, service, hook, action, world) {
            Ok(())
        } else {
            Err(invalid(format!(
                "No lifecycle hook {hook} is awaiting an action in this service deployment."
            )))
        }
    })
}

pub(super) fn stop(state: &mut State, input: Members<'_>, world: &World<'_>) -> Result<Value, AwsError> {
    let arn = input.required_text("serviceDeploymentArn")?;
    match input.text("stopType")?.unwrap_or("ROLLBACK") {
        "ROLLBACK" => {}
        // In the API's enum, but documented nowhere.
        "ABORT" => return Err(unsupported("The stop type ABORT is not supported.")),
        other => return Err(invalid(format!("Invalid stopType: {other}"))),
    }
    change(state, arn, |_, deployment| match deployment.status {
        DeploymentStatus::Pending | DeploymentStatus::InProgress => {
            deployment.status = DeploymentStatus::RollbackRequested;
            deployment.updated_at = world.now;
            deployment.stopped_at = Some(world.now);
            deployment.hooks.clear();
            Ok(())
        }
        DeploymentStatus::StopRequested
        | DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress => Ok(()),
        DeploymentStatus::Successful
        | DeploymentStatus::Stopped
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => Err(conflict(format!(
            "The service deployment cannot be stopped because it is {}.",
            deployment.status.name()
        ))),
    })
}
