//! What a release changes: the images of one or several containers of a task, each pinned by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, Digest, Image};
use crate::reference::{digest_of, pinned};

/// The images a release brings, by container. Never empty; containers that are not named keep what they run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<ContainerName, Image>", into = "BTreeMap<ContainerName, Image>")]
pub struct Change(BTreeMap<ContainerName, Image>);

impl TryFrom<BTreeMap<ContainerName, Image>> for Change {
    type Error = &'static str;

    fn try_from(images: BTreeMap<ContainerName, Image>) -> Result<Self, Self::Error> {
        Self::new(images).ok_or("found no container, at least one is needed")
    }
}

impl From<Change> for BTreeMap<ContainerName, Image> {
    fn from(change: Change) -> Self {
        change.0
    }
}

impl Change {
    /// These images in these containers; `None` when there are none.
    pub fn new(images: BTreeMap<ContainerName, Image>) -> Option<Self> {
        (!images.is_empty()).then_some(Self(images))
    }

    /// One image in one container.
    pub fn one(container: ContainerName, image: Image) -> Self {
        Self(BTreeMap::from([(container, image)]))
    }

    /// Container by container.
    pub fn iter(&self) -> impl Iterator<Item = (&ContainerName, &Image)> {
        self.0.iter()
    }

    /// The containers it changes.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerName> {
        self.0.keys()
    }

    /// The image of one container.
    pub fn image(&self, container: &ContainerName) -> Option<&Image> {
        self.0.get(container)
    }

    /// Its images, each once, in the order of the containers.
    pub fn images(&self) -> Vec<&Image> {
        let mut seen = BTreeSet::new();
        self.0.values().filter(|image| seen.insert((&image.repository, &image.digest))).collect()
    }

    /// The one image of all its containers; `None` when they get different ones.
    pub fn single(&self) -> Option<&Image> {
        match self.images().as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// What it brings, each digest once.
    pub fn digests(&self) -> BTreeSet<&Digest> {
        self.0.values().map(|image| &image.digest).collect()
    }

    /// Whether both bring the same digests to the same containers, by whichever tags.
    pub fn is_same(&self, other: &Self) -> bool {
        let digests = |change: &Self| {
            change
                .0
                .iter()
                .map(|(container, image)| (container.clone(), image.digest.clone()))
                .collect::<Vec<_>>()
        };
        digests(self) == digests(other)
    }

    /// This change on top of an earlier one that never came to its end: what only the earlier one names is kept.
    #[must_use]
    pub fn over(&self, earlier: &Self) -> Self {
        let mut images = earlier.0.clone();
        images.extend(self.0.clone());
        Self(images)
    }

    /// The same change with each image as `of` has it.
    #[must_use]
    pub fn map(&self, of: impl Fn(&ContainerName, &Image) -> Image) -> Self {
        Self(self.0.iter().map(|(container, image)| (container.clone(), of(container, image))).collect())
    }

    /// What people call it: the tag of its image, else the beginning of its digest; with the containers where they get different images.
    pub fn label(&self) -> String {
        match self.single() {
            Some(image) => image.label(),
            None => self.told(", ", |container, image| format!("{container} {}", image.label())),
        }
    }

    /// How its images are named on the command line: `main-3`, `sha256:…`, or `app=… proxy=…`.
    pub fn argument(&self) -> String {
        match self.single() {
            Some(image) => image.digest.to_string(),
            None => self.told(" ", |container, image| format!("{container}={}", image.pinned())),
        }
    }

    fn told(&self, between: &str, one: impl Fn(&ContainerName, &Image) -> String) -> String {
        let all: Vec<String> = self.0.iter().map(|(container, image)| one(container, image)).collect();
        all.join(between)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(image) => image.fmt(f),
            None => f.write_str(&self.told(", ", |container, image| format!("{image} in {container}"))),
        }
    }
}

/// The image a container ran before a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StableImage {
    /// As its target's owner wrote it.
    pub reference: String,
    /// The digests that ran, the one to return to first; none when AWS told none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
}

impl StableImage {
    /// Host, repository and digest to return to; `None` when the digest is not known.
    pub fn pinned(&self) -> Option<String> {
        self.digests.first().map(|digest| pinned(&self.reference, digest))
    }

    /// Whether both are the same images, in whatever order they were counted.
    pub fn is_same(&self, other: &Self) -> bool {
        let set = |image: &Self| image.digests.iter().cloned().collect::<BTreeSet<_>>();
        self.reference == other.reference && set(self) == set(other)
    }

    /// Whether what was written says the digest that ran, so that deploying it again brings the same image.
    pub fn is_pinned(&self) -> bool {
        self.digests.first().is_none_or(|digest| digest_of(&self.reference).as_ref() == Some(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RepositoryName, Tag};

    fn image(repository: &str, tag: &str, fill: char) -> Image {
        Image {
            registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
            repository: RepositoryName::new(repository).unwrap(),
            digest: Digest::new(format!("sha256:{}", String::from(fill).repeat(64))).unwrap(),
            tag: Some(Tag::new(tag).unwrap()),
        }
    }

    fn change(of: &[(&str, Image)]) -> Change {
        let named = |(name, image): &(&str, Image)| (ContainerName::new(*name).unwrap(), image.clone());
        Change::new(of.iter().map(named).collect()).unwrap()
    }

    #[test]
    fn one_image_is_called_by_its_tag_and_several_with_their_containers() {
        let app = image("shop/checkout", "main-3", 'a');
        let both = change(&[("app", app.clone()), ("migrate", app.clone())]);
        assert_eq!((both.label().as_str(), both.images().len()), ("main-3", 1));
        assert_eq!(both.argument(), app.digest.to_string());
        let two = change(&[("app", app), ("proxy", image("acme/proxy", "v7", 'b'))]);
        assert_eq!(two.label(), "app main-3, proxy v7");
        assert_eq!(
            two.to_string(),
            "shop/checkout:main-3 (aaaaaaaaaaaa) in app, acme/proxy:v7 (bbbbbbbbbbbb) in proxy"
        );
        assert!(
            two.argument()
                .starts_with("app=111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout@sha256:")
        );
    }

    #[test]
    fn what_only_the_earlier_change_names_is_kept() {
        let earlier = change(&[
            ("app", image("shop/checkout", "main-3", 'a')),
            ("proxy", image("acme/proxy", "v7", 'b')),
        ]);
        let newer = change(&[("app", image("shop/checkout", "main-4", 'c'))]);
        assert_eq!(newer.over(&earlier).label(), "app main-4, proxy v7");
        assert!(
            !newer.is_same(&earlier)
                && earlier.is_same(&earlier.map(|_, image| Image { tag: None, ..image.clone() }))
        );
    }

    #[test]
    fn a_change_of_nothing_is_none() {
        assert_eq!(Change::new(BTreeMap::new()), None);
        assert!(serde_json::from_str::<Change>("{}").is_err());
    }
}
