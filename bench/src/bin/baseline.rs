//! The baseline of cold starts: a function with the SDK's clients that Tidegate's functions have, made as the SDK makes them, and nothing
//! else. What a function takes longer is ours.

use std::hint::black_box;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let aws = aws_config::load_from_env().await;
    let _clients = black_box((
        aws_sdk_cloudwatch::Client::new(&aws),
        aws_sdk_codebuild::Client::new(&aws),
        aws_sdk_dynamodb::Client::new(&aws),
        aws_sdk_ecr::Client::new(&aws),
        aws_sdk_ecs::Client::new(&aws),
        aws_sdk_elasticloadbalancingv2::Client::new(&aws),
        aws_sdk_sns::Client::new(&aws),
        aws_sdk_sqs::Client::new(&aws),
    ));
    run(service_fn(|event: LambdaEvent<Value>| async { Ok::<_, Error>(event.payload) })).await
}
