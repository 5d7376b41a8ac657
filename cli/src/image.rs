//! The image a person names: a tag, a digest, or a whole reference. It is resolved once, and pinned.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use tidegate_core::ids::{AccountId, Digest, Image, Region, RepositoryName, Tag, ecr_registry};
use tidegate_core::policy::Policy;
use tidegate_core::ports::Images;

/// An image as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArg {
    /// Registry and repository, when the whole reference was given.
    place: Option<(String, RepositoryName)>,
    which: Which,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Tag(Tag),
    /// A digest decides; a tag beside it only informs.
    Digest(Digest, Option<Tag>),
}

impl FromStr for ImageArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((registry, rest)) = text.split_once('/') else {
            let which = if text.starts_with("sha256:") {
                Which::Digest(text.parse().map_err(told)?, None)
            } else {
                Which::Tag(text.parse().map_err(told)?)
            };
            return Ok(Self { place: None, which });
        };
        if !registry.contains('.') {
            return Err(format!(
                "{registry:?} is no registry: name a tag, a digest (sha256:…), or REGISTRY/REPOSITORY:TAG or @DIGEST"
            ));
        }
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(told)?)),
            None => (rest, None),
        };
        let (repository, tag) = match name.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse::<Tag>().map_err(told)?)),
            None => (name, None),
        };
        let which = match (digest, tag) {
            (Some(digest), tag) => Which::Digest(digest, tag),
            (None, Some(tag)) => Which::Tag(tag),
            (None, None) => return Err("the reference names neither a tag nor a digest".into()),
        };
        Ok(Self { place: Some((registry.to_owned(), repository.parse().map_err(told)?)), which })
    }
}

impl fmt::Display for ImageArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Tag(tag) => write!(f, "{tag}"),
            Which::Digest(digest, _) => f.write_str(digest.short()),
        }
    }
}

fn told(error: impl fmt::Display) -> String {
    error.to_string()
}

impl ImageArg {
    /// The tag it was named by, when that decides.
    pub fn tag(&self) -> Option<&Tag> {
        match &self.which {
            Which::Tag(tag) => Some(tag),
            Which::Digest(..) => None,
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
        let registry = match &self.place {
            None => ecr_registry(account, region),
            Some((registry, repository)) if repository == ours => registry.clone(),
            Some((_, repository)) => {
                bail!("the policy of {} releases from {ours}, not from {repository}", policy.service)
            }
        };
        let (digest, tag) = match &self.which {
            Which::Digest(digest, tag) => (digest.clone(), tag.clone()),
            Which::Tag(tag) => {
                let found = images.resolve(&registry, ours, tag).await;
                let found = found.with_context(|| format!("failed to resolve tag {tag} of {ours}"))?;
                let Some(digest) = found else { return Ok(None) };
                (digest, Some(tag.clone()))
            }
        };
        Ok(Some(Image { registry, repository: ours.clone(), digest, tag }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    #[track_caller]
    fn parsed(text: &str) -> ImageArg {
        text.parse().unwrap()
    }

    #[test]
    fn a_tag_a_digest_and_a_whole_reference_are_told_apart() {
        assert_eq!(parsed("v1.2").which, Which::Tag("v1.2".parse().unwrap()));
        assert_eq!(parsed(&digest()).which, Which::Digest(digest().parse().unwrap(), None));
        let registry = "111122223333.dkr.ecr.eu-central-1.amazonaws.com";
        let place = Some((registry.to_owned(), "shop/checkout".parse().unwrap()));
        let by_tag = parsed(&format!("{registry}/shop/checkout:v1"));
        assert_eq!(by_tag, ImageArg { place: place.clone(), which: Which::Tag("v1".parse().unwrap()) });
        let by_both = parsed(&format!("{registry}/shop/checkout:v1@{}", digest()));
        let which = Which::Digest(digest().parse().unwrap(), Some("v1".parse().unwrap()));
        assert_eq!(by_both, ImageArg { place, which });
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for wrong in
            ["", "sha256:abc", "shop/checkout:v1", "r.example/shop/checkout", "r.example/shop:v1@sha256:1"]
        {
            assert!(wrong.parse::<ImageArg>().is_err(), "{wrong}");
        }
    }
}
