//! `clock`: the guarantee. Woken every minute, it wakes what is due at its second, finds pushes and builds whose event was lost, and
//! images that were announced before they were there, and answers the manual approvals of pipelines.

mod handler;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_codebuild::CodeBuildAdapter;
use tidegate_codepipeline::CodePipelineAdapter;
use tidegate_ecr::EcrAdapter;
use tidegate_runtime::triggers::Sources;
use tidegate_s3::S3Reader;
use tidegate_start::Start;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let installation = start.installation();
    let images = EcrAdapter::new(start.aws.clone());
    let (builds, s3) = (CodeBuildAdapter::new(&start.aws), S3Reader::new(&start.aws));
    let pipelines = CodePipelineAdapter::new(&start.aws);
    let sources = Sources { images: &images, builds: &builds, objects: &s3, artifacts: &s3 };
    let rotations = handler::Rotations::default();
    run(service_fn(|event: LambdaEvent<Value>| {
        handler::handle(&installation, sources, &pipelines, &rotations, event)
    }))
    .await
}
