//! One round, then the looks for what was lost; encode.

use lambda_runtime::Error;
use serde_json::{Value, json};
use tidegate_core::ports::{Pipelines, PortError};
use tidegate_runtime::Home;
use tidegate_runtime::ways_in::Sources;
use tidegate_runtime::ways_in::builds::Looked;

/// One round. What failed is said as an error after everything else was done, so that the function's error alarm sees it.
pub(crate) async fn handle(
    home: &Home,
    sources: Sources<'_>,
    pipelines: &dyn Pipelines,
) -> Result<Value, Error> {
    let round = home.round(sources.images).await?;
    let builds = looked(home.find_lost_builds(sources).await);
    let answered = looked(home.answer_pipelines(pipelines).await);
    let failed = [round.failed, builds.failed, answered.failed].concat();
    let found = round.found + builds.done;
    tracing::info!(woken = round.woken, found, answered = answered.done, failed = failed.len(), "round");
    if failed.is_empty() {
        Ok(json!({ "woken": round.woken, "found": found, "answered": answered.done }))
    } else {
        Err(failed.join("; ").into())
    }
}

/// A look that could not begin is a failure like one that could not end.
fn looked(result: Result<Looked, PortError>) -> Looked {
    result.unwrap_or_else(|error| Looked { done: 0, failed: vec![error.to_string()] })
}
