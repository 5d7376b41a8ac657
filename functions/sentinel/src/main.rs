//! `sentinel`: the fast path. Woken by EventBridge (alarms and ECS), it reconciles the releases concerned in the same invocation.

mod handler;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_start::Start;
use tidegate_wire::envelope::Origins;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let origins = Origins::home(start.config.account.clone(), start.config.region.clone());
    let context = tidegate_assembly::context(&start);
    run(service_fn(|event: LambdaEvent<Value>| handler::handle(&context, &origins, event))).await
}
