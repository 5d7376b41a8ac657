//! What can be seen of a release right now beside the ledger: the candidate's share and the alarms. Whoever may not read them still gets
//! what the ledger knows.

use std::collections::BTreeMap;

use tidegate_core::engine;
use tidegate_core::fault::PortError;
use tidegate_core::ids::AlarmName;
use tidegate_core::plan::Plan;
use tidegate_core::ports::Alarms;
use tidegate_core::release::Release;
use tidegate_core::vocab::cloudwatch::AlarmSeen;
use tidegate_runtime::{Context, observe};
use tidegate_view::Live;

/// Looks.
pub async fn look(release: &Release, context: &Context) -> Live {
    let Some(plan) = &release.plan else { return Live::default() };
    let (seen, alarms) =
        tokio::join!(observe::share(context, release, plan), states(release, plan, &*context.alarms));
    let mut live = Live::default();
    if let Some(error) = engine::share_unseen(plan, &seen) {
        live.unseen.push(unseen("the live weights", error));
    }
    live.measured = engine::measured(release, &seen);
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
