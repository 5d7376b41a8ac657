//! What every AWS adapter shares: how clients are configured, and what kind of failure an SDK error is.
//!
//! It exists so that the limits `tidegate_core::effect` reasons with are the limits the SDK keeps, and so that throttled,
//! refused, missing and lost mean the same thing in every adapter.

mod classify;
mod config;
mod download;
mod trust;

pub use aws_types::SdkConfig;
pub use classify::{kind_of, port_error};
pub use config::{ConfigError, Options, Targets, config, for_target, home};
pub use download::Downloads;
pub use trust::{EXTRA_ROOTS, TrustError};
