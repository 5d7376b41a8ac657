//! `intake`: turns events into releases. Woken by EventBridge: an image pushed to ECR, a build that ended, a manifest written to a bucket,
//! a release that somebody asks for.

mod handler;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_codebuild::CodeBuildAdapter;
use tidegate_ecr::EcrAdapter;
use tidegate_runtime::drive::deadline;
use tidegate_runtime::triggers::Sources;
use tidegate_s3::S3Reader;
use tidegate_start::Start;
use tidegate_wire::envelope::Origins;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let origins = Origins::home(start.config.account.clone(), start.config.region.clone());
    let installation = start.installation();
    let images = EcrAdapter::new(start.aws.clone());
    let (builds, s3) = (CodeBuildAdapter::new(&start.aws), S3Reader::new(&start.aws));
    let sources = Sources { images: &images, builds: &builds, objects: &s3, artifacts: &s3 };
    run(service_fn(async |event: LambdaEvent<Value>| {
        let installation = installation.until(deadline(Timestamp::now(), event.context.deadline));
        handler::handle(&installation, sources, &origins, event.payload).await
    }))
    .await
}
