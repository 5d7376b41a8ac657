//! `intake`: turns events into releases. Woken by EventBridge (an image pushed to ECR).

mod handler;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_assembly::Start;
use tidegate_wire::envelope::Origins;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let origins = Origins::home(start.config.account.clone(), start.config.region.clone());
    let home = start.home();
    run(service_fn(|event: LambdaEvent<Value>| handler::handle(&home, &origins, event.payload))).await
}
