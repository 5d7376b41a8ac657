//! ECS as Application Auto Scaling sees it: desired counts, and whether a deployment runs.

use super::Ecs;
use super::model::{Controller, ServiceStatus};
use super::services::rescale;
use crate::ports::{ScalableServices, Scale};

impl ScalableServices for Ecs {
    fn scale(&self, cluster: &str, service: &str) -> Option<Scale> {
        let memory = self.inner.lock();
        let service = memory.state.services.get(&(cluster.to_owned(), service.to_owned()))?;
        let active = match service.status {
            ServiceStatus::Active => true,
            ServiceStatus::Draining => false,
            ServiceStatus::Inactive => return None,
        };
        // For another controller AWS does not know of deployments.
        let deploying = service.controller == Controller::Ecs && service.running_deployment().is_some();
        Some(Scale { desired: service.desired, deploying, active })
    }

    fn set_desired(&self, cluster: &str, service: &str, desired: u32) {
        let mut memory = self.inner.lock();
        let key = (cluster.to_owned(), service.to_owned());
        if let Some(service) = memory.state.services.get_mut(&key)
            && service.status == ServiceStatus::Active
        {
            rescale(service, desired);
        }
        let now = (self.inner.clock)();
        memory.remember(now, self.inner.settings.read_lag);
    }
}
