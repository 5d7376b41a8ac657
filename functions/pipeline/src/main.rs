//! `pipeline`: the Lambda action of a CodePipeline pipeline. Starts a release and follows it to its end.

mod handler;

use handler::Ports;
use jiff::SignedDuration;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_codepipeline::CodePipelineAdapter;
use tidegate_core::ports::Artifacts;
use tidegate_ecr::EcrAdapter;
use tidegate_ecs::EcsAdapter;
use tidegate_s3::S3Reader;
use tidegate_start::Start;
use tidegate_wire::pipeline_job::ArtifactCredentials;

/// How long a call of the ledger is repeated; CodePipeline asks again for what was not answered.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let ports = Ports {
        installation: start.installation().patient(PATIENCE),
        images: Box::new(EcrAdapter::new(start.aws.clone())),
        definitions: Box::new(EcsAdapter::new(start.aws.clone())),
        pipelines: Box::new(CodePipelineAdapter::new(&start.aws)),
        artifacts: Box::new(move |keys: &ArtifactCredentials| {
            let (id, secret, session_token) = keys.reveal();
            Box::new(S3Reader::with_keys(&start.aws, id, secret, session_token)) as Box<dyn Artifacts>
        }),
    };
    run(service_fn(|event: LambdaEvent<Value>| handler::handle(&ports, event.payload))).await
}
