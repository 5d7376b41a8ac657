//! The reconcile loop over the core's ports: load, observe, decide, commit, perform; and what each function does with it.
//!
//! IO, but no AWS: the ports are the adapters' or the simulator's.

pub mod answers;
pub mod arrivals;
mod attempts;
pub mod clock;
pub mod config;
pub mod context;
pub mod drive;
pub mod ledger_retry;
mod metrics;
pub mod observe;
pub mod requests;
pub mod sentinel;
pub mod telemetry;
pub mod tell;
pub mod time;
pub mod together;
pub mod triggers;
pub mod unfinished;
pub mod visits;

pub use context::{Context, Installation};
pub use drive::{DriveError, DriveResult};
