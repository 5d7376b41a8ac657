//! `herald`: tells everyone. Woken by the ledger's stream when something happened to a release, and by its own queue when somebody could not
//! be told.

mod handler;
mod receivers;

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_core::policy::parse_channels;
use tidegate_runtime::tell::Herald;
use tidegate_start::Start;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let given = |name: &str| std::env::var(name).unwrap_or_default();
    let defaults = parse_channels(&given("TIDEGATE_NOTIFY"))
        .map_err(|problem| format!("environment variable TIDEGATE_NOTIFY: {problem}"))?;
    let herald = Herald {
        installation: start.installation(),
        notebook: Arc::new(start.ledger()),
        receivers: Arc::new(receivers::All::new(&start.aws, given("TIDEGATE_NOTIFY_SECRET_ARN"))),
        defaults,
    };
    let queue = start.queue();
    run(service_fn(|event: LambdaEvent<Value>| handler::handle(&herald, &queue, event))).await
}
