//! One look at the world: everything a decision needs, asked for at the same time where nothing depends on anything.

use std::collections::BTreeMap;

use tidegate_core::ids::{Digest, Image, RepositoryName, RuleArn};
use tidegate_core::observation::{
    Accomplished, Entropy, Hint, ImageSeen, Needs, Observation, Refusal, Seen, ServiceHead, ServiceSeen,
    TaskDefinitionSeen,
};
use tidegate_core::ports::PortError;
use tidegate_core::release::Release;

use crate::world::World;

/// What is known without looking: what the event said, and what became of the effects performed just before.
#[derive(Debug, Clone, Default)]
pub struct Brought {
    /// Facts of the event that woke us.
    pub hints: Vec<Hint>,
    /// What AWS refused for good.
    pub refused: Vec<Refusal>,
    /// What was brought about and shows nowhere in AWS.
    pub accomplished: Vec<Accomplished>,
}

/// Fresh randomness from the operating system. Without any, tokens must not be made, so there is nothing to go on with.
fn entropy() -> Entropy {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Entropy(bytes)
}

/// Looks at what `needs` asks for. Errors are part of the answer.
pub async fn observe(
    world: &World,
    release: &Release,
    head: Option<ServiceHead>,
    needs: &Needs,
    brought: &Brought,
) -> Observation {
    let at = world.home.time.now();
    let target = &release.target;
    let (service, candidate, deployments, alarms, planned_weights, scan, build) = tokio::join!(
        async { if needs.service { world.ecs.service(target).await.into() } else { Seen::NotAsked } },
        async {
            match (&release.plan, needs.candidate) {
                (Some(plan), true) => world
                    .ecs
                    .find_candidate(target, &plan.way_back.task_definition, &plan.container, &plan.image)
                    .await
                    .into(),
                (None, _) | (_, false) => Seen::NotAsked,
            }
        },
        async {
            match needs.deployments_since {
                Some(since) => world.ecs.deployments(target, since).await.into(),
                None => Seen::NotAsked,
            }
        },
        async {
            if needs.alarms.is_empty() {
                Seen::Known(BTreeMap::new())
            } else {
                world.alarms.states(target, &needs.alarms).await.into()
            }
        },
        async {
            match (&release.plan, needs.weights) {
                (Some(plan), true) => {
                    let rules: Vec<RuleArn> =
                        plan.way_back.weights.iter().map(|rule| rule.arn.clone()).collect();
                    weights(world, release, &rules).await
                }
                (None, _) | (_, false) => Seen::NotAsked,
            }
        },
        async { if needs.scan { world.images.scan(&release.image).await.into() } else { Seen::NotAsked } },
        async {
            match &needs.build {
                Some(build) => world.builds.build(build).await.into(),
                None => Seen::NotAsked,
            }
        },
    );
    let mut seen = Observation {
        at,
        head,
        service,
        candidate,
        deployments,
        alarms,
        weights: planned_weights,
        scan,
        build,
        entropy: entropy(),
        hints: brought.hints.clone(),
        refused: brought.refused.clone(),
        accomplished: brought.accomplished.clone(),
        ..Observation::default()
    };
    if needs.preflight {
        observe_for_preflight(world, release, &mut seen).await;
    }
    seen
}

async fn weights(
    world: &World,
    release: &Release,
    rules: &[RuleArn],
) -> Seen<Vec<tidegate_core::observation::RuleSeen>> {
    if rules.is_empty() {
        Seen::Known(Vec::new())
    } else {
        world.traffic.rules(&release.target, rules).await.into()
    }
}

/// What only shows once the service has been seen: its rules, its task definition, the images.
async fn observe_for_preflight(world: &World, release: &Release, seen: &mut Observation) {
    let Some(Some(service)) = seen.service.known().cloned() else { return };
    let container = seen.head.as_ref().map(|head| head.policy.to.ecs.container.clone());
    let rules = production_rules(&service);
    let (weights, task_definition, new_image) = tokio::join!(
        weights(world, release, &rules),
        world.ecs.task_definition(&release.target, &service.task_definition),
        world.images.image(&release.image),
    );
    seen.weights = weights;
    seen.new_image = new_image.into();
    seen.running_image = match (&task_definition, container) {
        (Ok(task_definition), Some(container)) => {
            running_image(world, task_definition, task_definition.images.get(&container)).await.into()
        }
        (Ok(_), None) => Seen::NotAsked,
        (Err(error), _) => Seen::Unknown(error.clone()),
    };
    seen.task_definition = task_definition.into();
}

fn production_rules(service: &ServiceSeen) -> Vec<RuleArn> {
    let mut rules: Vec<RuleArn> =
        service.load_balancers.iter().filter_map(|lb| lb.production_rule.clone()).collect();
    rules.dedup();
    rules
}

/// The image a task definition names, looked up in ECR: by digest, or by the digest its tag points at now.
async fn running_image(
    world: &World,
    _task_definition: &TaskDefinitionSeen,
    reference: Option<&String>,
) -> Result<Option<ImageSeen>, PortError> {
    let Some((registry, repository, tag_or_digest)) =
        reference.and_then(|reference| split_reference(reference))
    else {
        return Ok(None);
    };
    let digest = match tag_or_digest {
        TagOrDigest::Digest(digest) => digest,
        TagOrDigest::Tag(tag) => match world.images.resolve(&registry, &repository, &tag).await? {
            Some(digest) => digest,
            None => return Ok(None),
        },
    };
    world.images.image(&Image { registry, repository, digest, tag: None }).await
}

enum TagOrDigest {
    Tag(tidegate_core::ids::Tag),
    Digest(Digest),
}

/// `registry/repository@digest` or `registry/repository[:tag]`; `None` for what is not of a registry with a host name.
fn split_reference(reference: &str) -> Option<(String, RepositoryName, TagOrDigest)> {
    let (registry, rest) = reference.split_once('/')?;
    if !registry.contains('.') {
        return None;
    }
    let (repository, what) = if let Some((repository, digest)) = rest.split_once('@') {
        // `repository:tag@digest` is allowed; the digest decides.
        let repository = repository.split(':').next().unwrap_or(repository);
        (repository, TagOrDigest::Digest(Digest::new(digest).ok()?))
    } else {
        let (repository, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
        (repository, TagOrDigest::Tag(tidegate_core::ids::Tag::new(tag).ok()?))
    };
    Some((registry.to_owned(), RepositoryName::new(repository).ok()?, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_registry_repository_and_tag_or_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let split = |text: &str| {
            split_reference(text).map(|(registry, repository, what)| {
                let what = match what {
                    TagOrDigest::Tag(tag) => tag.to_string(),
                    TagOrDigest::Digest(digest) => digest.to_string(),
                };
                (registry, repository.to_string(), what)
            })
        };
        let registry = "111122223333.dkr.ecr.eu-central-1.amazonaws.com";
        let expected = |what: &str| Some((registry.to_owned(), "shop/checkout".to_owned(), what.to_owned()));
        assert_eq!(split(&format!("{registry}/shop/checkout:v1")), expected("v1"));
        assert_eq!(split(&format!("{registry}/shop/checkout")), expected("latest"));
        assert_eq!(split(&format!("{registry}/shop/checkout@{digest}")), expected(&digest));
        assert_eq!(split(&format!("{registry}/shop/checkout:v1@{digest}")), expected(&digest));
        assert_eq!(split("nginx:1.27"), None);
    }
}
