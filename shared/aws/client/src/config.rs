//! Client configuration for functions and the command line: region, profile, credentials and endpoint as the AWS CLI has them,
//! time limits and retries as the core needs them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use aws_types::region::Region;
use tidegate_core::effect::CALL_LIMIT;
use tidegate_core::ids::Target;
use tokio::sync::Mutex;

use crate::trust::{self, EXTRA_ROOTS, TrustError};

/// How long a connection may take to open. AWS endpoints answer in milliseconds; a lost packet is better tried again early.
const CONNECT_LIMIT: Duration = Duration::from_millis(1000);
/// How long one attempt may take, so that a connection that went silent leaves time for another attempt.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(2500);
/// Attempts in all. What is still throttled after them is for the reconciler, which has a timer of its own.
const ATTEMPTS: u32 = 4;
/// The first pause before another attempt; doubled each time and multiplied by a random factor from 0 to 1 by the SDK.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest pause between attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// What overrides the environment and the profile: the CLI's `--region`, `--profile`, `--endpoint-url`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Instead of `AWS_REGION` and the profile's region.
    pub region: Option<String>,
    /// Instead of `AWS_PROFILE`.
    pub profile: Option<String>,
    /// Instead of `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<String>,
}

/// Configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing names a region.
    #[error("no AWS region is set: set AWS_REGION, or `region` in the AWS profile")]
    NoRegion,
    /// Further roots are named and cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// The home account's configuration from the environment: what a Lambda function uses. Load it once, before the first event. It trusts
/// Amazon's own roots, and those that the environment adds.
pub async fn home() -> Result<SdkConfig, ConfigError> {
    let given = |name: &str| std::env::var(name).ok();
    let client = trust::client(given(EXTRA_ROOTS).as_deref(), given("AWS_REGION").as_deref())?;
    load(aws_config::from_env().http_client(client), &Options::default()).await
}

/// The home account's configuration as a person's environment and profile have it.
pub async fn config(options: &Options) -> Result<SdkConfig, ConfigError> {
    load(aws_config::from_env(), options).await
}

async fn load(loader: ConfigLoader, options: &Options) -> Result<SdkConfig, ConfigError> {
    let mut loader = loader.timeout_config(timeouts()).retry_config(retries());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(ConfigError::NoRegion);
    }
    Ok(config)
}

/// The configuration for a target: its region and, when it names a role, that role's credentials.
///
/// Nothing is called yet; the role is assumed with the first call and again before its credentials expire. Each call of this
/// function makes a credentials cache of its own, so keep the result, or use [`Targets`].
pub async fn for_target(home: &SdkConfig, target: &Target) -> SdkConfig {
    let region = Region::new(target.region.as_str().to_owned());
    let builder = home.to_builder().region(region);
    let Some(role) = &target.role else {
        return builder.build();
    };
    // STS is asked in the home region: the target's region may not be enabled for the home account.
    let provider =
        AssumeRoleProvider::builder(role.as_str()).session_name("tidegate").configure(home).build().await;
    builder.credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// Clients (or anything else made from a configuration) by role and region, made once and kept, so that a role is not assumed
/// again for every call and connections are reused.
#[derive(Debug)]
pub struct Targets<C> {
    home: SdkConfig,
    make: fn(&SdkConfig) -> C,
    made: Arc<Mutex<HashMap<Key, C>>>,
}

/// Region and role: all that distinguishes the configurations of two targets.
type Key = (String, Option<String>);

impl<C: Clone> Targets<C> {
    /// With the home account's configuration and how a client is made: `Targets::new(home, aws_sdk_ecs::Client::new)`.
    pub fn new(home: SdkConfig, make: fn(&SdkConfig) -> C) -> Self {
        Self { home, make, made: Arc::default() }
    }

    /// The client for a target.
    pub async fn client(&self, target: &Target) -> C {
        let role = target.role.as_ref().map(|role| role.as_str().to_owned());
        let key = (target.region.as_str().to_owned(), role);
        let mut made = self.made.lock().await;
        if let Some(client) = made.get(&key) {
            return client.clone();
        }
        let client = (self.make)(&for_target(&self.home, target).await);
        made.insert(key, client.clone());
        client
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_attempt_timeout(ATTEMPT_LIMIT)
        .operation_timeout(CALL_LIMIT.unsigned_abs())
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use tidegate_core::ids::{AccountId, ClusterName, EcsServiceName, RoleArn};

    use tidegate_core::ids::{EcsService, Resource};

    use super::*;

    fn target(region: &str, role: Option<&str>) -> Target {
        Target {
            account: AccountId::new("111122223333").unwrap(),
            region: tidegate_core::ids::Region::new(region).unwrap(),
            resource: Resource::EcsService(EcsService {
                cluster: ClusterName::new("prod").unwrap(),
                service: EcsServiceName::new("web").unwrap(),
            }),
            role: role.map(|role| RoleArn::new(role).unwrap()),
        }
    }

    async fn example() -> SdkConfig {
        let options = Options {
            region: Some("eu-central-1".into()),
            endpoint_url: Some("http://127.0.0.1:1".into()),
            ..Options::default()
        };
        config(&options).await.unwrap()
    }

    #[tokio::test]
    async fn a_call_never_outlasts_the_limit_the_core_counts_on() {
        let config = example().await;
        let timeouts = config.timeout_config().unwrap();
        assert_eq!(timeouts.operation_timeout(), Some(CALL_LIMIT.unsigned_abs()));
        assert!(timeouts.operation_attempt_timeout() < timeouts.operation_timeout());
        assert_eq!(config.retry_config().unwrap().max_attempts(), ATTEMPTS);
    }

    #[tokio::test]
    async fn options_override_the_environment() {
        let config = example().await;
        assert_eq!(config.region().unwrap().as_ref(), "eu-central-1");
        assert_eq!(config.endpoint_url(), Some("http://127.0.0.1:1"));
    }

    #[tokio::test]
    async fn a_target_keeps_the_limits_and_the_endpoint_but_has_its_own_region() {
        let config = for_target(&example().await, &target("us-east-1", None)).await;
        assert_eq!(config.region().unwrap().as_ref(), "us-east-1");
        assert_eq!(config.endpoint_url(), Some("http://127.0.0.1:1"));
        assert_eq!(config.timeout_config().unwrap().operation_timeout(), Some(CALL_LIMIT.unsigned_abs()));
    }

    #[tokio::test]
    async fn a_role_changes_the_credentials() {
        let role = target("eu-central-1", Some("arn:aws:iam::444455556666:role/tidegate"));
        let with_role = for_target(&example().await, &role).await;
        assert!(format!("{:?}", with_role.credentials_provider()).contains("AssumeRole"));
        let without = for_target(&example().await, &target("eu-central-1", None)).await;
        assert!(!format!("{:?}", without.credentials_provider()).contains("AssumeRole"));
    }

    #[tokio::test]
    async fn clients_are_made_once_for_each_region_and_role() {
        let made = Targets::new(example().await, |config| Arc::new(config.region().unwrap().to_string()));
        let first = made.client(&target("us-east-1", None)).await;
        assert_eq!(*first, "us-east-1");
        assert!(Arc::ptr_eq(&first, &made.client(&target("us-east-1", None)).await));
        let other = made.client(&target("us-east-1", Some("arn:aws:iam::444455556666:role/x"))).await;
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(*made.client(&target("us-west-2", None)).await, "us-west-2");
    }
}
