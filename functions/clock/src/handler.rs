//! One round, and the looks for what was lost beside it; encode.

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use tidegate_core::fault::PortError;
use tidegate_core::ports::Pipelines;
use tidegate_runtime::Installation;
use tidegate_runtime::drive::deadline;
use tidegate_runtime::triggers::Sources;
use tidegate_runtime::visits::{Looked, Pace, Rotation};

/// Where the looks stopped in the round before.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    pushes: Rotation,
    builds: Rotation,
    awaited: Rotation,
    pipelines: Rotation,
}

/// One round. Waking what is due and the looks go on at the same time: none waits for another's calls. What failed is said as an error
/// after everything else was done, so that the function's error alarm sees it.
pub(crate) async fn handle(
    installation: &Installation,
    sources: Sources<'_>,
    pipelines: &dyn Pipelines,
    rotations: &Rotations,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let until = deadline(Timestamp::now(), event.context.deadline);
    let installation = installation.until(until);
    let pace = |rotation| Pace { rotation, until };
    let (round, builds, arrived, answered) = tokio::join!(
        installation.round(sources.images, pace(&rotations.pushes)),
        installation.find_lost_builds(sources, pace(&rotations.builds)),
        installation.find_awaited(sources.images, pace(&rotations.awaited)),
        installation.answer_pipelines(pipelines, pace(&rotations.pipelines)),
    );
    let (builds, arrived, answered) = (looked(builds), looked(arrived), looked(answered));
    let mut failed = [round.failed, builds.failed, arrived.failed, answered.failed].concat();
    // A row that cannot be read is met by each of them.
    failed.sort();
    failed.dedup();
    let found = round.found + builds.done;
    tracing::info!(
        woken = round.woken,
        found,
        arrived = arrived.done,
        answered = answered.done,
        failed = failed.len(),
        "round"
    );
    if failed.is_empty() {
        Ok(
            json!({ "woken": round.woken, "found": found, "arrived": arrived.done, "answered": answered.done }),
        )
    } else {
        Err(failed.join("; ").into())
    }
}

/// A look that could not begin is a failure like one that could not end.
fn looked(result: Result<Looked, PortError>) -> Looked {
    result.unwrap_or_else(|error| Looked { done: 0, failed: vec![error.to_string()] })
}
