//! One call, encode.

use lambda_runtime::Error;
use serde_json::{Value, json};
use tidegate_core::ports::Images;
use tidegate_runtime::Home;

/// One round. What failed is said as an error after everything else was done, so that the function's error alarm sees it.
pub(crate) async fn handle(home: &Home, images: &dyn Images) -> Result<Value, Error> {
    let round = home.round(images).await?;
    tracing::info!(woken = round.woken, found = round.found, failed = round.failed.len(), "round");
    if round.failed.is_empty() {
        Ok(json!({ "woken": round.woken, "found": round.found }))
    } else {
        Err(round.failed.join("; ").into())
    }
}
