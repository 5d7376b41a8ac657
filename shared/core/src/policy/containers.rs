//! The containers a policy releases: each from a repository of its own, or from the policy's.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalars::{self, TagPattern};
use super::{EcsDestination, Policy};
use crate::change::Change;
use crate::ids::{ContainerName, Image, RepositoryName, Tag};
use crate::trigger::{Refusal, Trigger};

/// How many containers a task may have (Amazon ECS service quotas, "Containers per task definition").
const CONTAINERS_MAX: usize = 10;

/// Where a container's images come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Container")]
pub struct ContainerSource {
    /// The repository, without registry. Default: `from.ecr.repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryName>,
    /// The tags of that repository that may be released, and whose push starts a release. Default: `from.ecr.tags`, and those that a trigger
    /// names.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// What is written: `container: app`, or `containers: { app: {}, proxy: { repository: acme/proxy } }`.
pub(super) fn of_written(
    container: Option<ContainerName>,
    containers: Option<BTreeMap<ContainerName, ContainerSource>>,
) -> Result<BTreeMap<ContainerName, ContainerSource>, String> {
    match (container, containers) {
        (Some(container), None) => Ok(BTreeMap::from([(container, ContainerSource::default())])),
        (None, Some(containers)) if containers.is_empty() => {
            Err("containers: found none, at least one is needed".into())
        }
        (None, Some(containers)) if containers.len() > CONTAINERS_MAX => Err(format!(
            "containers: found {}, allowed 1 to {CONTAINERS_MAX} (a task of Amazon ECS has no more)",
            containers.len()
        )),
        (None, Some(containers)) => Ok(containers),
        (Some(_), Some(_)) => Err("container: found beside containers, only one of them is allowed".into()),
        (None, None) => {
            Err("container is missing; add container: NAME, or containers: { NAME: {}, … } for several"
                .into())
        }
    }
}

impl EcsDestination {
    /// The container, where the policy names one that takes the policy's own images; that is written shorter.
    pub(super) fn only_container(&self) -> Option<&ContainerName> {
        match self.containers.iter().next() {
            Some((name, source)) if self.containers.len() == 1 && *source == ContainerSource::default() => {
                Some(name)
            }
            Some(_) | None => None,
        }
    }
}

impl Policy {
    /// Where a container's images come from; `None` when the policy does not release it.
    pub fn repository_of(&self, container: &ContainerName) -> Option<&RepositoryName> {
        let source = self.to.containers().get(container)?;
        Some(source.repository.as_ref().unwrap_or(&self.from.ecr.repository))
    }

    /// Every repository that images are released from, each once, the policy's own first.
    pub fn repositories(&self) -> Vec<&RepositoryName> {
        let own = &self.from.ecr.repository;
        let others: BTreeSet<&RepositoryName> =
            self.to.containers().values().filter_map(|source| source.repository.as_ref()).collect();
        std::iter::once(own).chain(others.into_iter().filter(|other| *other != own)).collect()
    }

    /// The containers that take a repository's images.
    pub fn containers_of(&self, repository: &RepositoryName) -> impl Iterator<Item = &ContainerName> {
        let takes = move |container: &&ContainerName| self.repository_of(container) == Some(repository);
        self.to.containers().keys().filter(takes)
    }

    /// An image in every container that takes images of its repository; `None` when none does.
    pub fn change_of(&self, image: &Image) -> Option<Change> {
        let containers = self.containers_of(&image.repository);
        Change::new(containers.map(|container| (container.clone(), image.clone())).collect())
    }

    /// Whether every container of a change is one the policy releases, from the repository it says.
    pub fn releases(&self, change: &Change) -> bool {
        change.iter().all(|(container, image)| self.repository_of(container) == Some(&image.repository))
    }

    /// The tags a repository has for itself, and the field that says them.
    fn own_tags(&self, repository: &RepositoryName) -> Option<(&[TagPattern], String)> {
        self.containers_of(repository).find_map(|container| {
            let tags = self.to.containers().get(container)?.tags.as_ref()?;
            Some((tags.as_slice(), format!("to.ecs.containers.{container}.tags")))
        })
    }

    /// Whether a push of this tag to this repository starts a release.
    pub fn selects(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        let patterns = self.own_tags(repository).map_or(self.from.ecr.tags.as_slice(), |(tags, _)| tags);
        self.containers_of(repository).next().is_some() && patterns.iter().any(|pattern| pattern.matches(tag))
    }

    /// Refuses an image none of whose tags the trigger may release. A trigger's own tags hold for the policy's repository; another repository
    /// may have its own.
    pub fn refuses_tags(
        &self,
        trigger: Trigger,
        repository: &RepositoryName,
        tags: &[Tag],
    ) -> Option<Refusal> {
        match self.own_tags(repository) {
            Some((patterns, field)) => super::sources::refuses_tags(patterns, &field, tags),
            None => self.from.refuses_tags(trigger, tags),
        }
    }

    /// Whether both policies are triggered by the same: another source is watched anew.
    pub fn is_same_source(&self, other: &Self) -> bool {
        self.from == other.from && self.to.containers() == other.to.containers()
    }

    /// What only shows when the containers are seen together with where images come from.
    pub(super) fn check_containers(&self) -> Result<(), String> {
        let own = &self.from.ecr.repository;
        if self.containers_of(own).next().is_none() {
            return Err(format!(
                "to.ecs.containers: found none that takes images of {own} (from.ecr.repository), so its pushes would concern nothing; leave \
                 out the repository of one of them, or name another from.ecr.repository"
            ));
        }
        for (container, source) in self.to.containers() {
            let field = format!("to.ecs.containers.{container}");
            let Some(tags) = &source.tags else { continue };
            let Some(repository) = source.repository.as_ref().filter(|repository| *repository != own) else {
                return Err(format!(
                    "{field}.tags: found with images of {own}, allowed with a repository of its own; those of {own} are from.ecr.tags"
                ));
            };
            if self.from.ecr.tags.is_empty() {
                return Err(format!(
                    "{field}.tags: found with an empty from.ecr.tags, which says that pushes start nothing; allowed with tags there"
                ));
            }
            for other in self.containers_of(repository) {
                let differs =
                    self.to.containers().get(other).is_some_and(|source| source.tags.as_ref() != Some(tags));
                if differs {
                    return Err(format!(
                        "{field}.tags: found other tags than for {other}, whose images come from {repository} too; allowed the same for both"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;
    use crate::policy::parse;
    use crate::trigger::Reason;

    fn policy(containers: &str) -> Result<Policy, String> {
        let text = format!(
            "service: checkout\nfrom: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }}, pipeline: {{ names: [shop], tags: [\"rc-*\"] }} }}\n\
             to: {{ ecs: {{ cluster: prod, service: web, {containers} }} }}\nstrategy: {{ blue_green: {{}} }}\n"
        );
        parse("p.yaml", &text).map_err(|error| error.to_string())
    }

    fn repository(name: &str) -> RepositoryName {
        RepositoryName::new(name).unwrap()
    }

    fn image(of: &str) -> Image {
        let digest = Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
        Image { registry: "r".into(), repository: repository(of), digest, tag: None }
    }

    #[test]
    fn an_image_goes_into_every_container_that_takes_its_repository() {
        let policy =
            policy("containers: { app: {}, migrate: {}, proxy: { repository: acme/proxy } }").unwrap();
        let names = |of: &str| {
            let change = policy.change_of(&image(of));
            change.map(|change| change.containers().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names("shop/checkout").as_deref(), Some("app migrate"));
        assert_eq!(names("acme/proxy").as_deref(), Some("proxy"));
        assert_eq!(names("acme/other"), None);
        assert_eq!(policy.repositories(), [&repository("shop/checkout"), &repository("acme/proxy")]);
        let named = |container: &str, of: &str| {
            policy.releases(&Change::one(ContainerName::new(container).unwrap(), image(of)))
        };
        assert!(named("app", "shop/checkout") && named("proxy", "acme/proxy"));
        assert!(
            !named("proxy", "shop/checkout") && !named("app", "acme/proxy") && !named("log", "shop/checkout")
        );
    }

    #[test]
    fn tags_hold_for_the_repository_they_are_said_of() {
        let policy =
            policy("containers: { app: {}, proxy: { repository: acme/proxy, tags: [\"v*\"] } }").unwrap();
        let selects = |of: &str, tag: &str| policy.selects(&repository(of), &Tag::new(tag).unwrap());
        assert!(selects("shop/checkout", "main-1") && selects("acme/proxy", "v7"));
        assert!(
            !selects("shop/checkout", "v7")
                && !selects("acme/proxy", "main-1")
                && !selects("acme/other", "main-1")
        );
        let refused = |trigger: Trigger, of: &str, tag: &str| {
            policy.refuses_tags(trigger, &repository(of), &[Tag::new(tag).unwrap()])
        };
        assert_eq!(refused(Trigger::Pipeline, "shop/checkout", "rc-1"), None);
        assert_eq!(refused(Trigger::Pipeline, "acme/proxy", "v7"), None);
        let why = refused(Trigger::Pipeline, "acme/proxy", "rc-1").unwrap();
        assert_eq!(why.reason, Reason::Tag);
        assert_eq!(
            why.why,
            "the image's tag is rc-1, and the policy allows v* (to.ecs.containers.proxy.tags)"
        );
    }

    #[test]
    fn one_container_is_written_as_before_and_several_are_read_again() {
        for containers in [
            "container: app",
            "containers: { app: {} }",
            "containers: { app: {}, proxy: { repository: acme/proxy, tags: [\"v*\"] } }",
        ] {
            let policy = policy(containers).unwrap();
            let written = serde_json::to_value(&policy).unwrap();
            assert_eq!(serde_json::from_value::<Policy>(written.clone()).unwrap(), policy);
            assert_eq!(written["to"]["ecs"].get("container").is_some(), !containers.contains("proxy"));
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_its_field() {
        for (containers, problem) in [
            (
                "region: eu-west-1",
                "to.ecs: container is missing; add container: NAME, or containers: { NAME: {}, … } for several",
            ),
            ("container: app, containers: { app: {} }", "only one of them is allowed"),
            ("containers: {}", "containers: found none, at least one is needed"),
            (
                "containers: { proxy: { repository: acme/proxy } }",
                "found none that takes images of shop/checkout",
            ),
            (
                "containers: { app: { tags: [\"v*\"] } }",
                "to.ecs.containers.app.tags: found with images of shop/checkout",
            ),
            (
                "containers: { app: {}, a: { repository: x/y, tags: [\"v*\"] }, b: { repository: x/y } }",
                "to.ecs.containers.a.tags: found other tags than for b, whose images come from x/y too",
            ),
            ("containers: { app: { repo: x/y } }", "repo"),
        ] {
            let error = policy(containers).unwrap_err();
            assert!(error.contains(problem), "{containers}: {error}");
        }
    }
}
