//! `clock`: the guarantee. Woken every minute, it wakes what is due at its second and finds pushes whose event was lost.

mod handler;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_assembly::Start;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let (home, images) = (start.home(), start.images());
    run(service_fn(|_: LambdaEvent<Value>| handler::handle(&home, &images))).await
}
