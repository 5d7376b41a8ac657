//! Kinds of services that cannot be released like others: what works with them goes on, what does not is refused by name.
//!
//! Sources: the guides of Amazon ECS on service definition parameters (`DAEMON`), ECS Anywhere, Express Mode, blue/green deployments with VPC
//! Lattice; the service model for gateways (`ecsManagedResources.gatewayConnections`).

use super::{Ground, Shifts};
use crate::finding::{Finding, FindingCode};
use crate::vocab::ecs::{GatewaySeen, Kind, LatticeSeen, LoadBalancerSeen, Management, Scheduling};

/// What of its kind keeps the service from being released this way.
pub(super) fn findings(shifts: Shifts, ground: Ground<'_>) -> Vec<Finding> {
    let kind = &ground.service.kind;
    let mut findings = Vec::new();
    findings.extend(management(kind));
    findings.extend(scheduling(shifts, kind));
    if shifts.by_ecs() && kind.is_anywhere {
        let problem =
            "the service runs on ECS Anywhere (launch type EXTERNAL), where Amazon ECS shifts no traffic";
        findings.push(Finding::blocking(FindingCode::EcsAnywhere, problem.into()));
    }
    findings.extend(lattice(shifts, &kind.lattice));
    if shifts.by_ecs() {
        findings.extend(ground.gateway.into_iter().flat_map(gateway));
    }
    findings
}

/// Express Mode has a deployment configuration of its own that nobody changes, so there is no place for a strategy or a hook.
fn management(kind: &Kind) -> Option<Finding> {
    match &kind.management {
        Management::Customer => None,
        Management::Ecs => Some(Finding::blocking(
            FindingCode::ExpressMode,
            "Amazon ECS manages the service in Express Mode, with a deployment strategy that cannot be changed"
                .into(),
        )),
        Management::Other(kind) => Some(Finding::blocking(
            FindingCode::ServiceKindUnknown,
            format!("the service's resourceManagementType is {kind}, which this version of Tidegate does not know"),
        )),
    }
}

fn scheduling(shifts: Shifts, kind: &Kind) -> Option<Finding> {
    match (&kind.scheduling, shifts) {
        (Scheduling::Replica, _) | (Scheduling::Daemon, Shifts::Never) => None,
        (Scheduling::Daemon, Shifts::AtOnce | Shifts::ByShares | Shifts::ByTidegate) => {
            Some(Finding::blocking(
                FindingCode::ServiceIsDaemon,
                "the service is a DAEMON: it has one task on each instance".into(),
            ))
        }
        (Scheduling::Other(name), _) => Some(Finding::blocking(
            FindingCode::ServiceKindUnknown,
            format!(
                "the service's schedulingStrategy is {name}, which this version of Tidegate does not know"
            ),
        )),
    }
}

fn lattice(shifts: Shifts, groups: &[LatticeSeen]) -> Vec<Finding> {
    if groups.is_empty() {
        return Vec::new();
    }
    match shifts {
        Shifts::Never => Vec::new(),
        Shifts::ByTidegate => vec![Finding::blocking(
            FindingCode::VpcLattice,
            "VPC Lattice sends the service requests, and Tidegate sets weights at Elastic Load Balancing only".into(),
        )],
        Shifts::AtOnce | Shifts::ByShares => {
            let stuck: Vec<&str> =
                groups.iter().filter(|group| !group.can_shift).map(|group| group.target_group.as_str()).collect();
            if stuck.is_empty() {
                let problem = "VPC Lattice sends the service requests, and its weights are not looked at";
                return vec![Finding::note(FindingCode::LatticeNotMeasured, problem.into())];
            }
            let problem = format!(
                "VPC Lattice target group {} has no advancedConfiguration with alternateTargetGroupArn and productionListenerRule",
                stuck.join(" and ")
            );
            vec![Finding::blocking(FindingCode::LatticeWithoutSecondGroup, problem)]
        }
    }
}

/// A gateway's rules are looked at like those of the service's own load balancers, once it is known which they are.
fn gateway(gateway: &GatewaySeen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !gateway.unknown.is_empty() {
        let problem = format!(
            "a gateway sends the service requests by way of {}, which this version of Tidegate does not know",
            gateway.unknown.join(" and ")
        );
        findings.push(Finding::blocking(FindingCode::ServiceKindUnknown, problem));
    }
    let can_shift = gateway.balancers.iter().all(LoadBalancerSeen::can_shift);
    let has_any = !gateway.balancers.is_empty() || !gateway.unknown.is_empty();
    if gateway.is_connected && !(can_shift && has_any) {
        let problem = "the Amazon ECS gateway of the service has no second target group, or no rule, to shift traffic with";
        findings.push(Finding::blocking(FindingCode::GatewayWithoutSecondGroup, problem.into()));
    }
    findings
}
