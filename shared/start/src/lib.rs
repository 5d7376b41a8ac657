//! What every function starts with: its settings, the AWS configuration, the ledger and the wake-up queue. Whatever else a function uses, it
//! names itself, so that it is built of nothing more.

use std::sync::Arc;

pub use tidegate_aws::SdkConfig;
use tidegate_core::ports::Waker;
use tidegate_dynamodb::DynamoLedger;
use tidegate_runtime::Installation;
use tidegate_runtime::config::{Config, ConfigError};
use tidegate_runtime::time::SystemTime;
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

    /// The ledger.
    pub fn ledger(&self) -> DynamoLedger {
        let place = tidegate_dynamodb::Installation {
            account: self.config.account.clone(),
            region: self.config.region.clone(),
        };
        DynamoLedger::new(aws_sdk_dynamodb::Client::new(&self.aws), &self.config.table, place)
    }

    /// The queue that wake-ups are sent to.
    pub fn queue(&self) -> SqsWaker {
        SqsWaker::new(aws_sdk_sqs::Client::new(&self.aws), &self.config.wake_queue_url)
    }

    /// The ledger, the wake-up queue, the clock.
    pub fn installation(&self) -> Installation {
        Installation {
            account: self.config.account.clone(),
            region: self.config.region.clone(),
            ledger: Arc::new(self.ledger()),
            waker: Some(Arc::new(self.queue()) as Arc<dyn Waker>),
            time: Arc::new(SystemTime),
        }
    }
}
