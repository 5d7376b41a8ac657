//! What can be seen of a release right now beside the ledger: the weights on the load balancer and the alarms. Whoever may not read
//! them still gets what the ledger knows.

use std::collections::BTreeMap;

use tidegate_core::fault::PortError;
use tidegate_core::ids::{AlarmName, RuleArn};
use tidegate_core::observation::{AlarmSeen, RuleSeen};
use tidegate_core::plan::Plan;
use tidegate_core::ports::{Alarms, Traffic};
use tidegate_core::release::Release;
use tidegate_view::Live;

/// Looks.
pub async fn look(release: &Release, traffic: &dyn Traffic, alarms: &dyn Alarms) -> Live {
    let Some(plan) = &release.plan else { return Live::default() };
    let (rules, alarms) = tokio::join!(rules(release, plan, traffic), states(release, plan, alarms));
    let mut live = Live::default();
    match rules {
        Ok(rules) => live.measured = plan.measured(&rules),
        Err(error) => live.unseen.push(unseen("the live weights", &error)),
    }
    match alarms {
        Ok(alarms) => live.alarms = Some(alarms),
        Err(error) => live.unseen.push(unseen("the alarms", &error)),
    }
    live
}

/// Without the request id: the same trouble is the same text, and not a change, at every look.
pub fn unseen(what: &str, error: &PortError) -> String {
    format!("{what} could not be read: {}", error.told())
}

async fn rules(release: &Release, plan: &Plan, traffic: &dyn Traffic) -> Result<Vec<RuleSeen>, PortError> {
    let rules: Vec<RuleArn> = plan.measured_at.iter().map(|(rule, _)| rule.clone()).collect();
    if rules.is_empty() { Ok(Vec::new()) } else { traffic.rules(&release.target, &rules).await }
}

async fn states(
    release: &Release,
    plan: &Plan,
    alarms: &dyn Alarms,
) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
    if plan.alarms.is_empty() {
        Ok(BTreeMap::new())
    } else {
        alarms.states(&release.target, &plan.alarms).await
    }
}
