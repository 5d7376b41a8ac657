//! The image a person names: a tag, a digest, or a whole reference. It is resolved once, and pinned.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use tidegate_core::ids::{AccountId, Image, Region, Tag};
use tidegate_core::policy::Policy;
use tidegate_core::ports::Images;
use tidegate_core::reference::{Pick, Reference};
use tidegate_core::registry::ecr_registry;

/// An image as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArg(Reference);

impl FromStr for ImageArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Reference::named(text).map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Display for ImageArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.pick {
            Pick::Tag(tag) => write!(f, "{tag}"),
            Pick::Digest(digest, _) => f.write_str(digest.short()),
        }
    }
}

impl ImageArg {
    /// The tag it was named by, when that decides.
    pub fn tag(&self) -> Option<&Tag> {
        match &self.0.pick {
            Pick::Tag(tag) => Some(tag),
            Pick::Digest(..) => None,
        }
    }

    /// Finds the image in the repository the policy releases from; that there is no such tag is an error.
    pub async fn resolve(
        &self,
        policy: &Policy,
        account: &AccountId,
        region: &Region,
        images: &dyn Images,
    ) -> anyhow::Result<Image> {
        match self.find(policy, account, region, images).await? {
            Some(image) => Ok(image),
            None => {
                let repository = &policy.from.ecr.repository;
                bail!(
                    "there is no tag {self} in {}/{repository}: push it, or name a digest",
                    ecr_registry(account, region)
                )
            }
        }
    }

    /// Finds the image in the repository the policy releases from; `None` when there is no such tag.
    pub async fn find(
        &self,
        policy: &Policy,
        account: &AccountId,
        region: &Region,
        images: &dyn Images,
    ) -> anyhow::Result<Option<Image>> {
        let ours = &policy.from.ecr.repository;
        if let Err(error) = self.0.check(account, region, ours) {
            bail!(
                "{error}; an image of another registry or repository cannot be released to {}",
                policy.service
            );
        }
        let registry = ecr_registry(account, region);
        let found = images.described(&registry, ours, &self.0.pick).await;
        if let Ok(Some(found)) = &found
            && let Some(why) = found.is_no_image()
        {
            bail!("cannot release {} to {}: {why}", self.0, policy.service);
        }
        let (digest, tag) = match &self.0.pick {
            // Whoever may not read the repository leaves the rest to preflight.
            Pick::Digest(digest, tag) => (digest.clone(), tag.clone()),
            Pick::Tag(tag) => {
                let found = found.with_context(|| format!("failed to resolve tag {tag} of {ours}"))?;
                let Some(found) = found else { return Ok(None) };
                (found.digest, Some(tag.clone()))
            }
        };
        Ok(Some(Image { registry, repository: ours.clone(), digest, tag }))
    }
}
