//! What a function is told by its environment. Missing or wrong is an error at start, never an empty string.

use tidegate_core::ids::{AccountId, Region};

/// The settings of every function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `TIDEGATE_TABLE`: the ledger's table.
    pub table: String,
    /// `TIDEGATE_WAKE_QUEUE_URL`: the wake-up queue; for functions that do what people ask, the queue that goes ahead of it.
    pub wake_queue_url: String,
    /// `TIDEGATE_ACCOUNT_ID`: the account Tidegate is installed in.
    pub account: AccountId,
    /// `AWS_REGION`: the region Tidegate is installed in.
    pub region: Region,
    /// `TIDEGATE_GATE_URL`: where approvers' links lead; only functions that send links have it.
    pub gate_url: Option<String>,
}

/// A setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not there, or empty.
    #[error("environment variable {0} is not set; template.yaml sets it")]
    Missing(&'static str),
    /// Not of the right form.
    #[error("environment variable {name}: {problem}")]
    Wrong {
        /// Which.
        name: &'static str,
        /// What was found and what is allowed.
        problem: String,
    },
}

impl Config {
    /// Reads the environment through `get`.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |name: &'static str| {
            get(name).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing(name))
        };
        let wrong = |name, problem: tidegate_core::ids::InvalidId| ConfigError::Wrong {
            name,
            problem: problem.to_string(),
        };
        Ok(Self {
            table: text("TIDEGATE_TABLE")?,
            wake_queue_url: text("TIDEGATE_WAKE_QUEUE_URL")?,
            account: AccountId::new(text("TIDEGATE_ACCOUNT_ID")?)
                .map_err(|error| wrong("TIDEGATE_ACCOUNT_ID", error))?,
            gate_url: get("TIDEGATE_GATE_URL").filter(|url| !url.is_empty()),
            region: Region::new(text("AWS_REGION")?).map_err(|error| wrong("AWS_REGION", error))?,
        })
    }
}
