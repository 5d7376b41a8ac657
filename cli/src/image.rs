//! The images a person names: a tag, a digest, or a whole reference, for one container or for all that take it. Each is resolved once, and
//! pinned.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use tidegate_core::change::Change;
use tidegate_core::ids::{AccountId, ContainerName, Image, Region, RepositoryName, Tag};
use tidegate_core::policy::Policy;
use tidegate_core::ports::Images;
use tidegate_core::reference::{Pick, Reference};
use tidegate_core::registry::ecr_registry;

/// An image as it was named: `main-3`, `sha256:…`, `REGISTRY/REPOSITORY:TAG`, or one of these after `CONTAINER=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArg {
    container: Option<ContainerName>,
    reference: Reference,
}

impl FromStr for ImageArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // No tag, digest or reference has an equals sign.
        let (container, text) = match text.split_once('=') {
            Some((container, image)) => {
                (Some(ContainerName::new(container).map_err(|error| error.to_string())?), image)
            }
            None => (None, text),
        };
        let reference = Reference::named(text).map_err(|error| error.to_string())?;
        Ok(Self { container, reference })
    }
}

impl fmt::Display for ImageArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference.pick {
            Pick::Tag(tag) => write!(f, "{tag}"),
            Pick::Digest(digest, _) => f.write_str(digest.short()),
        }
    }
}

/// Where images are looked for.
#[derive(Clone, Copy)]
pub struct Registry<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The region.
    pub region: &'a Region,
    /// ECR.
    pub images: &'a dyn Images,
}

/// Finds everything that was named; that there is no such tag, or that two images are meant for one container, is an error.
pub async fn change(named: &[ImageArg], policy: &Policy, registry: Registry<'_>) -> anyhow::Result<Change> {
    let mut images: BTreeMap<ContainerName, Image> = BTreeMap::new();
    for one in named {
        let found = one.resolve(policy, registry).await?;
        for (container, image) in one.placed(policy, found)?.iter() {
            if let Some(other) =
                images.insert(container.clone(), image.clone()).filter(|other| other != image)
            {
                bail!(
                    "container {container} of {} is to get both {other} and {image}: name one of them",
                    policy.service
                );
            }
        }
    }
    Change::new(images).context("no image was named")
}

impl ImageArg {
    /// The tag it was named by, when that decides.
    pub fn tag(&self) -> Option<&Tag> {
        match &self.reference.pick {
            Pick::Tag(tag) => Some(tag),
            Pick::Digest(..) => None,
        }
    }

    /// The repository it is looked for in.
    pub fn repository<'a>(
        &self,
        policy: &'a Policy,
        registry: Registry<'_>,
    ) -> anyhow::Result<&'a RepositoryName> {
        let own = match &self.container {
            Some(container) => match policy.repository_of(container) {
                Some(repository) => vec![repository],
                None => bail!(
                    "the policy of {} does not release container {container}; it releases {} ({})",
                    policy.service,
                    policy.to.container_names(),
                    policy.to.field()
                ),
            },
            None => policy.repositories(),
        };
        self.reference.among(registry.account, registry.region, &own).map_err(|error| {
            anyhow::anyhow!(
                "{error}; an image of another registry or repository cannot be released to {}",
                policy.service
            )
        })
    }

    async fn resolve(&self, policy: &Policy, registry: Registry<'_>) -> anyhow::Result<Image> {
        match self.find(policy, registry).await? {
            Some(image) => Ok(image),
            None => {
                let repository = self.repository(policy, registry)?;
                bail!(
                    "there is no tag {self} in {}/{repository}: push it, or name a digest",
                    ecr_registry(registry.account, registry.region)
                )
            }
        }
    }

    /// Finds the image; `None` when there is no such tag.
    pub async fn find(&self, policy: &Policy, registry: Registry<'_>) -> anyhow::Result<Option<Image>> {
        let ours = self.repository(policy, registry)?;
        let host = ecr_registry(registry.account, registry.region);
        let found = registry.images.described(&host, ours, &self.reference.pick).await;
        if let Ok(Some(found)) = &found
            && let Some(why) = found.is_no_image()
        {
            bail!("cannot release {} to {}: {why}", self.reference, policy.service);
        }
        let (digest, tag) = match &self.reference.pick {
            // Whoever may not read the repository leaves the rest to preflight.
            Pick::Digest(digest, tag) => (digest.clone(), tag.clone()),
            Pick::Tag(tag) => {
                let found = found.with_context(|| format!("failed to resolve tag {tag} of {ours}"))?;
                let Some(found) = found else { return Ok(None) };
                (found.digest, Some(tag.clone()))
            }
        };
        Ok(Some(Image { registry: host, repository: ours.clone(), digest, tag }))
    }

    fn placed(&self, policy: &Policy, image: Image) -> anyhow::Result<Change> {
        match &self.container {
            Some(container) => Ok(Change::one(container.clone(), image)),
            None => policy.change_of(&image).with_context(|| {
                format!("no container of {} takes images of {}", policy.service, image.repository)
            }),
        }
    }
}
