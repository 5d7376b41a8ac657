//! `conductor`: reconciles one release a message. Woken by the SQS wake queue.

mod handler;

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tidegate_start::Start;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let mut context = tidegate_assembly::context(&start);
    // What the queue wakes never sends to the queue: AWS stops such chains after about 16 hops. The clock feeds the queue.
    context.installation.waker = None;
    run(service_fn(|event: LambdaEvent<SqsEvent>| handler::handle(&context, event))).await
}
