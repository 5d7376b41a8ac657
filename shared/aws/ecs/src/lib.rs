//! IO: the Amazon ECS adapter, which observes services and performs deployments. What it decides with is in `tidegate-core`.
//!
//! Bodies are read and written as raw JSON beside the SDK's types ([`raw`](self)), so that what AWS adds after this was built
//! survives: in a service's deployment configuration that is restored, and in a task definition that is registered again.

mod adapter;
mod canary;
mod document;
mod perform;
mod raw;
mod registration;
mod running;
mod seen;
mod tasks;

use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{EcsService, Target};

pub use adapter::EcsAdapter;

/// The service of a target. Only an ECS service is ever asked about here.
pub(crate) fn service_of<'t>(target: &'t Target, operation: &str) -> Result<&'t EcsService, PortError> {
    target.ecs().ok_or_else(|| {
        PortError::new(ErrorKind::Invalid, operation, "NoEcsService", format!("{target} is no ECS service"))
    })
}
