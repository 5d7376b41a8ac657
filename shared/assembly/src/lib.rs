//! Which adapter stands behind which port: the world as the functions and the command line use it.

use std::sync::Arc;

use tidegate_aws::SdkConfig;
use tidegate_codebuild::CodeBuildAdapter;
use tidegate_codepipeline::CodePipelineAdapter;
use tidegate_core::ports::Waker;
use tidegate_dynamodb::DynamoLedger;
use tidegate_ecr::EcrAdapter;
use tidegate_runtime::config::{Config, ConfigError};
use tidegate_runtime::time::SystemTime;
use tidegate_runtime::{Context, Installation};
use tidegate_s3::S3Reader;
use tidegate_sns::SnsMessenger;
use tidegate_sqs::SqsWaker;

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The AWS configuration cannot be used.
    #[error(transparent)]
    Aws(#[from] tidegate_aws::ConfigError),
}

/// What a function is started with: its settings and the AWS configuration, both read once.
#[derive(Debug, Clone)]
pub struct Start {
    /// The settings.
    pub config: Config,
    /// The AWS configuration of the home account.
    pub aws: SdkConfig,
}

impl Start {
    /// Reads the environment.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = Config::from_env(|name| std::env::var(name).ok())?;
        Ok(Self { config, aws: tidegate_aws::home().await? })
    }

    /// The ledger, the wake-up queue, the clock.
    pub fn installation(&self) -> Installation {
        let place = tidegate_dynamodb::Installation {
            account: self.config.account.clone(),
            region: self.config.region.clone(),
        };
        let ledger = DynamoLedger::new(aws_sdk_dynamodb::Client::new(&self.aws), &self.config.table, place);
        let queue = SqsWaker::new(aws_sdk_sqs::Client::new(&self.aws), &self.config.wake_queue_url);
        Installation {
            account: self.config.account.clone(),
            region: self.config.region.clone(),
            ledger: Arc::new(ledger),
            waker: Some(Arc::new(queue) as Arc<dyn Waker>),
            time: Arc::new(SystemTime),
        }
    }

    /// Home, and the services releases are driven through.
    pub fn context(&self) -> Context {
        let cloudwatch = Arc::new(tidegate_cloudwatch::CloudWatchAdapter::new(self.aws.clone()));
        Context {
            installation: self.installation(),
            ecs: Arc::new(tidegate_ecs::EcsAdapter::new(self.aws.clone())),
            elb: Arc::new(tidegate_elb::ElbAdapter::new(self.aws.clone())),
            alarms: cloudwatch.clone(),
            metrics: cloudwatch,
            images: Arc::new(self.images()),
            messenger: Arc::new(SnsMessenger::new(self.aws.clone(), self.config.gate_url.clone())),
            builds: Arc::new(CodeBuildAdapter::new(&self.aws)),
        }
    }

    /// ECR.
    pub fn images(&self) -> EcrAdapter {
        EcrAdapter::new(self.aws.clone())
    }

    /// CodeBuild.
    pub fn builds(&self) -> CodeBuildAdapter {
        CodeBuildAdapter::new(&self.aws)
    }

    /// S3.
    pub fn objects(&self) -> S3Reader {
        S3Reader::new(&self.aws)
    }

    /// CodePipeline.
    pub fn pipelines(&self) -> CodePipelineAdapter {
        CodePipelineAdapter::new(&self.aws)
    }

    /// ECS, for its task definitions alone.
    pub fn definitions(&self) -> tidegate_ecs::EcsAdapter {
        tidegate_ecs::EcsAdapter::new(self.aws.clone())
    }
}
