//! Services of other kinds than most, and what AWS refuses them: `DAEMON` (one task on each instance), ECS Anywhere (launch type `EXTERNAL`),
//! VPC Lattice. Where the words of a refusal are known, from what others report, they are AWS's.
//!
//! Express Mode and gateways are not played: they are made by operations of their own.

use serde_json::{Map, Value, json};

use super::config::{Config, Strategy};
use super::errors::{invalid, unsupported};
use super::input::Members;
use super::model::{Controller, Service};
use crate::ports::AwsError;

/// How many container instances a cluster has, all registered with it before anything else.
const INSTANCES: u32 = 2;

/// Whether a request asks for a `DAEMON`.
pub(super) fn is_daemon(members: Members<'_>) -> Result<bool, AwsError> {
    match members.text("schedulingStrategy")?.unwrap_or("REPLICA") {
        "REPLICA" => Ok(false),
        "DAEMON" => Ok(true),
        other => Err(invalid(format!("Invalid scheduling strategy: {other}."))),
    }
}

/// How many tasks a new service has.
pub(super) fn desired_at_first(
    members: Members<'_>,
    asked: Option<u32>,
    controller: Controller,
) -> Result<u32, AwsError> {
    if !is_daemon(members)? {
        return Ok(asked.unwrap_or(0));
    }
    check_desired(asked)?;
    if controller != Controller::Ecs || members.text("launchType")? == Some("FARGATE") {
        return Err(invalid(
            "Tasks using the Fargate launch type or the CODE_DEPLOY or EXTERNAL deployment controller types don't support the DAEMON scheduling strategy.",
        ));
    }
    if !members.structures("capacityProviderStrategy")?.is_empty() {
        return Err(invalid(
            "Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling strategy.",
        ));
    }
    if !members.structures("placementStrategy")?.is_empty() {
        return Err(invalid(
            "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try again",
        ));
    }
    Ok(INSTANCES)
}

/// Nobody says how many tasks a `DAEMON` has.
pub(super) fn check_desired(asked: Option<u32>) -> Result<(), AwsError> {
    if asked.is_some() {
        return Err(invalid(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        ));
    }
    Ok(())
}

/// What a request leaves out of a `DAEMON`'s configuration: there is no room for a second task on an instance.
pub(super) fn with_daemon_defaults(mut requested: Map<String, Value>) -> Map<String, Value> {
    requested.entry("maximumPercent").or_insert(json!(100));
    requested.entry("minimumHealthyPercent").or_insert(json!(0));
    requested
}

pub(super) fn serves_daemon(service: &Service) -> bool {
    service.attributes.get("schedulingStrategy").is_some_and(|name| name == "DAEMON")
}

/// What a service of this kind cannot be deployed with.
pub(super) fn check(
    service: &Service,
    config: &Config,
    members: Members<'_>,
    own_interface: bool,
) -> Result<(), AwsError> {
    if members.get("gatewayConnectors").is_some() {
        return Err(unsupported("the sandbox has no gateways"));
    }
    let shifts = config.strategy != Strategy::Rolling;
    if serves_daemon(service) {
        if config.maximum_percent > 100 {
            return Err(invalid(
                "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment configuration. Change the maximumPercent value to 100, and try again",
            ));
        }
        if shifts {
            return Err(invalid(
                "The daemon scheduling strategy supports only the ROLLING deployment strategy.",
            ));
        }
    }
    if members.text("launchType")? == Some("EXTERNAL") {
        for member in ["loadBalancers", "serviceRegistries", "vpcLatticeConfigurations"] {
            if !members.structures(member)?.is_empty() {
                return Err(invalid(format!("{member} is not supported with the EXTERNAL launch type.")));
            }
        }
        if own_interface {
            return Err(invalid("The awsvpc network mode is not supported with the EXTERNAL launch type."));
        }
        if shifts {
            return Err(invalid("The EXTERNAL launch type supports only the ROLLING deployment strategy."));
        }
    }
    lattice(shifts, members)
}

fn lattice(shifts: bool, members: Members<'_>) -> Result<(), AwsError> {
    for group in members.structures("vpcLatticeConfigurations")? {
        for required in ["roleArn", "targetGroupArn", "portName"] {
            group.required_text(required)?;
        }
        match group.structure("advancedConfiguration")? {
            Some(advanced) => {
                advanced.required_text("alternateTargetGroupArn")?;
                advanced.required_text("productionListenerRule")?;
            }
            None if shifts => {
                return Err(invalid(
                    "advancedConfiguration is required in vpcLatticeConfigurations for the BLUE_GREEN, LINEAR and CANARY deployment strategies.",
                ));
            }
            None => {}
        }
    }
    Ok(())
}
