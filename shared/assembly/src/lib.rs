//! Which adapter stands behind which port, for whoever drives releases: conductor, sentinel and the command line.

use std::sync::Arc;

use tidegate_autoscaling::AutoScalingAdapter;
use tidegate_aws::SdkConfig;
use tidegate_cloudwatch::CloudWatchAdapter;
use tidegate_codebuild::CodeBuildAdapter;
use tidegate_core::ports::LoadBalancing;
use tidegate_ecr::EcrAdapter;
use tidegate_ecs::EcsAdapter;
use tidegate_elb::ElbAdapter;
use tidegate_lambda::LambdaAdapter;
use tidegate_runtime::Context;
use tidegate_runtime::together::Together;
use tidegate_sns::SnsMessenger;
use tidegate_start::Start;

/// What stands around target groups: for whoever prepares a service.
pub fn load_balancing(aws: &SdkConfig) -> Arc<dyn LoadBalancing> {
    Arc::new(ElbAdapter::new(aws.clone()))
}

/// The installation, and the services releases are driven through.
pub fn context(start: &Start) -> Context {
    let aws = || start.aws.clone();
    let cloudwatch = Arc::new(CloudWatchAdapter::new(aws()));
    Context {
        installation: start.installation(),
        ecs: Arc::new(EcsAdapter::new(aws())),
        elb: Arc::new(ElbAdapter::new(aws())),
        autoscaling: Arc::new(AutoScalingAdapter::new(aws())),
        lambda: Arc::new(LambdaAdapter::new(aws())),
        alarms: Arc::new(Together::new(cloudwatch.clone())),
        metrics: cloudwatch,
        images: Arc::new(EcrAdapter::new(aws())),
        messenger: Arc::new(SnsMessenger::new(aws(), start.config.gate_url.clone())),
        builds: Arc::new(CodeBuildAdapter::new(&start.aws)),
    }
}
