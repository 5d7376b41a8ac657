//! What a plan is made from.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::ids::{ContainerName, Digest, Image};
use crate::seen::Seen;
use crate::service::LeftBehind;
use crate::vocab::ecr::{ImageSeen, Stored};
use crate::vocab::ecs::RunningSeen;
use crate::vocab::ecs::{GatewaySeen, LoadBalancerSeen, ServiceSeen, TaskDefinitionSeen};
use crate::vocab::elb::RuleSeen;

/// What a plan is made from, once it has all been seen.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The ECS service.
    pub service: &'a ServiceSeen,
    /// What Amazon ECS itself has put in front of it; none where that was not asked for.
    pub gateway: Option<&'a GatewaySeen>,
    /// The task definition it runs.
    pub task_definition: &'a TaskDefinitionSeen,
    /// The live weights.
    pub weights: &'a [RuleSeen],
    /// The digests that run.
    pub running: &'a RunningSeen,
    /// What registries said of images, by reference.
    pub stored: &'a BTreeMap<String, Seen<Stored>>,
    /// The release's images in their registries.
    pub released: Option<&'a BTreeMap<Digest, Option<ImageSeen>>>,
    /// The task definition a rollback release goes to.
    pub destination: Option<&'a TaskDefinitionSeen>,
    /// What an earlier release left in the service's configuration.
    pub left_behind: Option<&'a LeftBehind>,
}

impl<'a> Ground<'a> {
    /// Everything that Elastic Load Balancing sends the service requests with: the load balancers it names itself, and those of a gateway.
    pub fn balancers(self) -> impl Iterator<Item = &'a LoadBalancerSeen> {
        balancers(self.service, self.gateway)
    }

    /// Whether ECR was seen to have an image.
    pub fn is_in_ecr(&self, reference: &str) -> bool {
        matches!(self.stored.get(reference), Some(Seen::Known(Stored::There(_))))
    }

    /// Every digest AWS may call one of the release's images by.
    pub fn released_digests(&self, image: &Image) -> Vec<Digest> {
        let seen = self.released.and_then(|released| released.get(&image.digest)?.as_ref());
        seen.map_or_else(|| vec![image.digest.clone()], ImageSeen::digests)
    }

    /// The same for every container of a change.
    pub fn runs_as(&self, change: &Change) -> BTreeMap<ContainerName, Vec<Digest>> {
        change.iter().map(|(container, image)| (container.clone(), self.released_digests(image))).collect()
    }

    /// A change by the hosts that the service pulls from already: a network need not reach the others.
    pub fn reachable(&self, change: &Change) -> Change {
        change.map(|container, image| {
            image.on_the_host_of(self.task_definition.images.get(container).map_or("", String::as_str))
        })
    }
}

/// The load balancers a service names itself, and those of a gateway.
pub(super) fn balancers<'a>(
    service: &'a ServiceSeen,
    gateway: Option<&'a GatewaySeen>,
) -> impl Iterator<Item = &'a LoadBalancerSeen> {
    service.load_balancers.iter().chain(gateway.into_iter().flat_map(|gateway| &gateway.balancers))
}
