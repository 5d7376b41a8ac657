//! Image references as people, builds, webhooks and task definitions write them, and which of them a service takes. The one reader of
//! them: whoever is handed a reference asks it.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use crate::ids::{AccountId, ContainerName, Digest, Image, Region, RepositoryName, Tag};
use crate::registry::Registry;

/// What is asked for: always an image of the repository the policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Reference {
    /// The registry, when one was written.
    pub registry: Option<Registry>,
    /// The repository, when one was written.
    pub repository: Option<String>,
    pub pick: Pick,
}

/// A tag, or a digest with the tag it was written with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Whatever the tag points at now.
    Tag(Tag),
    /// Exactly this.
    Digest(Digest, Option<Tag>),
}

/// The images that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// One, for every container that takes images of its repository.
    One(Reference),
    /// One for each of these containers.
    Each(BTreeMap<ContainerName, Reference>),
}

impl Selection {
    /// One for each of these containers; the same for all of them where there is no other to confuse it with.
    pub fn of(mut each: BTreeMap<ContainerName, Reference>, containers: usize) -> Option<Self> {
        match (each.len(), containers) {
            (0, _) => None,
            (1, 1) => each.pop_first().map(|(_, one)| Self::One(one)),
            _ => Some(Self::Each(each)),
        }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(reference) => reference.fmt(f),
            Self::Each(each) => {
                let told: Vec<String> =
                    each.iter().map(|(container, reference)| format!("{reference} in {container}")).collect();
                f.write_str(&told.join(", "))
            }
        }
    }
}

/// A reference that cannot be followed; fits "cannot release it: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not an image reference.
    #[error(
        "found {found:?}, allowed REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST ({problem})"
    )]
    Malformed {
        /// What was found, cut.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An image of another repository.
    #[error("the image is of {found}, and the policy's {allowed}")]
    OtherRepository {
        /// Registry and repository found.
        found: String,
        /// The field that says which are allowed, and what it says.
        allowed: String,
    },
}

/// The parts of a reference as they are written, whatever they are worth: task definitions may name images that no policy could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Parts<'a> {
    /// The registry's host, when one is written.
    pub registry: Option<&'a str>,
    pub repository: &'a str,
    /// The tag, when one is written.
    pub tag: Option<&'a str>,
    /// The digest, when one is written.
    pub digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Takes a reference apart.
    pub fn of(text: &'a str) -> Self {
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            Some(_) | None => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
            Some(_) | None => (None, name),
        };
        Self { registry, repository, tag, digest }
    }

    /// Whether both name one repository, by whichever host of its registry.
    pub fn same_repository(self, other: Self) -> bool {
        let registry = |parts: Self| parts.registry.map(Registry::parse);
        self.repository == other.repository
            && match (registry(self), registry(other)) {
                (Some(one), Some(other)) => one.is_same(&other),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

/// The digest a reference says.
pub fn digest_of(reference: &str) -> Option<Digest> {
    Digest::new(Parts::of(reference).digest?).ok()
}

/// A reference by digest as an image of a registry; `None` when it has no registry's host, or no digest.
pub fn image_of(reference: &str) -> Option<Image> {
    let Reference { registry, repository, pick } = Reference::parse(reference).ok()?;
    let Pick::Digest(digest, _) = pick else { return None };
    let repository = RepositoryName::new(repository?).ok()?;
    Some(Image { registry: registry?.host().to_owned(), repository, digest, tag: None })
}

/// The same host and repository, by this digest.
pub fn pinned(reference: &str, digest: &Digest) -> String {
    let Parts { registry, repository, .. } = Parts::of(reference);
    match registry {
        Some(host) => format!("{host}/{repository}@{digest}"),
        None => format!("{repository}@{digest}"),
    }
}

impl Reference {
    /// A tag of the service's own repository.
    pub fn tag(tag: Tag) -> Self {
        Self { registry: None, repository: None, pick: Pick::Tag(tag) }
    }

    /// An image of the service's own repository.
    pub fn digest(digest: Digest) -> Self {
        Self { registry: None, repository: None, pick: Pick::Digest(digest, None) }
    }

    /// As people and webhooks name an image: a tag or a digest of the service's own repository, or a whole reference.
    pub fn named(text: &str) -> Result<Self, ReferenceError> {
        let malformed =
            |problem: String| ReferenceError::Malformed { found: cut(text), problem: cut(&problem) };
        if text.starts_with("sha256:") {
            return Digest::new(text).map(Self::digest).map_err(|error| malformed(error.to_string()));
        }
        if text.contains(['/', ':', '@']) {
            return Self::parse(text);
        }
        Tag::new(text).map(Self::tag).map_err(|error| malformed(error.to_string()))
    }

    /// As a task definition names an image: without tag and digest it means `latest`. `None` for what cannot be an image of ECR.
    pub fn of_container(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|_| Self::parse(&format!("{text}:latest"))).ok()
    }

    /// `REGISTRY/REPOSITORY:TAG`, `REGISTRY/REPOSITORY@DIGEST`, or both. A tag has to be written: `latest` is never meant by leaving
    /// it out.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let malformed =
            |problem: String| ReferenceError::Malformed { found: cut(text), problem: cut(&problem) };
        let Parts { registry, repository, tag, digest } = Parts::of(text);
        let digest = digest.map(Digest::new).transpose().map_err(|error| malformed(error.to_string()))?;
        let tag = tag.map(Tag::new).transpose().map_err(|error| malformed(error.to_string()))?;
        let pick = match (digest, tag) {
            (Some(digest), tag) => Pick::Digest(digest, tag),
            (None, Some(tag)) => Pick::Tag(tag),
            (None, None) => return Err(malformed("it has neither a tag nor a digest".into())),
        };
        RepositoryName::new(repository).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { registry: registry.map(Registry::parse), repository: Some(repository.to_owned()), pick })
    }

    /// Which of these repositories of the private registry of this account and region it is an image of, by whichever of the registry's
    /// hosts. Where it names none, the first of them is meant.
    pub fn among<'a>(
        &self,
        account: &AccountId,
        region: &Region,
        repositories: &[&'a RepositoryName],
    ) -> Result<&'a RepositoryName, ReferenceError> {
        let registry = Registry::ecr(account, region);
        let same_registry = self.registry.as_ref().is_none_or(|found| found.is_same(&registry));
        let is_it =
            |it: &&RepositoryName| self.repository.as_deref().is_none_or(|found| found == it.as_str());
        if let (true, Some(repository)) = (same_registry, repositories.iter().copied().find(is_it)) {
            return Ok(repository);
        }
        let found = match (&self.registry, &self.repository) {
            (Some(registry), Some(repository)) => format!("{registry}/{repository}"),
            (None, Some(repository)) => repository.clone(),
            (Some(registry), None) => registry.to_string(),
            (None, None) => String::new(),
        };
        Err(ReferenceError::OtherRepository {
            found: cut(&found),
            allowed: match repositories {
                [one] => format!("from.ecr.repository is {registry}/{one}"),
                several => {
                    let names: Vec<&str> = several.iter().map(|one| one.as_str()).collect();
                    format!("repositories are {} of {registry}", names.join(" and "))
                }
            },
        })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        let Some(repository) = &self.repository else {
            return match &self.pick {
                Pick::Tag(tag) | Pick::Digest(_, Some(tag)) => write!(f, "{tag}"),
                Pick::Digest(digest, None) => write!(f, "{digest}"),
            };
        };
        f.write_str(repository)?;
        match &self.pick {
            Pick::Tag(tag) => write!(f, ":{tag}"),
            Pick::Digest(digest, None) => write!(f, "@{digest}"),
            Pick::Digest(digest, Some(tag)) => write!(f, ":{tag}@{digest}"),
        }
    }
}

/// What others write is quoted by its beginning.
fn cut(text: &str) -> String {
    crate::text::beginning(text, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "111122223333.dkr.ecr.eu-central-1.amazonaws.com";

    fn hash() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    #[test]
    fn references_are_read_as_docker_reads_them() {
        let digest = hash();
        let read = |text: &str| Reference::parse(text).map(|reference| reference.to_string());
        for text in [
            format!("{REGISTRY}/shop/checkout:main-1"),
            format!("{REGISTRY}/shop/checkout@{digest}"),
            format!("{REGISTRY}/shop/checkout:main-1@{digest}"),
            "shop/checkout:v1".to_owned(),
            "localhost:5000/shop/checkout:v1".to_owned(),
        ] {
            assert_eq!(read(&text).as_deref(), Ok(text.as_str()));
        }
        let with_port = Reference::parse("localhost:5000/shop/checkout:v1").unwrap();
        assert_eq!(with_port.registry.as_ref().map(Registry::host), Some("localhost:5000"));
        assert_eq!(with_port.repository.as_deref(), Some("shop/checkout"));
    }

    #[test]
    fn a_tag_a_digest_and_a_whole_reference_are_told_apart() {
        let named = |text: &str| Reference::named(text).map(|reference| reference.to_string());
        assert_eq!(named("v1.2").as_deref(), Ok("v1.2"));
        assert_eq!(named(&hash()), Ok(hash()));
        assert_eq!(named("shop/checkout:v1").as_deref(), Ok("shop/checkout:v1"));
        for text in [
            "",
            "a b",
            "sha256:short",
            "shop/checkout",
            "host:5000/shop/checkout",
            "r.example/shop:v1@sha256:1",
        ] {
            assert!(Reference::named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_container_without_tag_runs_latest() {
        let read = |text: &str| Reference::of_container(text).map(|reference| reference.to_string());
        assert_eq!(
            read(&format!("{REGISTRY}/shop/checkout")),
            Some(format!("{REGISTRY}/shop/checkout:latest"))
        );
        assert_eq!(
            read(&format!("{REGISTRY}/shop/checkout@{}", hash())),
            Some(format!("{REGISTRY}/shop/checkout@{}", hash()))
        );
        assert_eq!(read("nginx:1.27").as_deref(), Some("nginx:1.27"));
        assert_eq!(read("<IMAGE1_NAME>"), None);
    }

    #[test]
    fn what_is_no_reference_is_refused_and_latest_is_never_meant() {
        for text in [
            "",
            "shop/checkout",
            "localhost:5000/shop/checkout",
            "shop/checkout:",
            "shop/checkout@sha256:12",
            "shop/checkout@latest",
            "../../etc/passwd:v1",
            "shop/ü:v1",
            "shop/checkout:v1\n",
            ":v1",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        for long in ["x".repeat(100_000), format!("x/y:{}", "x".repeat(100_000))] {
            let told = Reference::parse(&long).unwrap_err().to_string();
            assert!(told.len() < 700, "{}", told.len());
        }
    }

    #[test]
    fn a_reference_keeps_host_port_and_repository_when_it_is_pinned() {
        for (reference, name) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("localhost:5000/shop/web", "localhost:5000/shop/web"),
            ("localhost:5000/shop/web:v1", "localhost:5000/shop/web"),
            ("1.dkr-ecr.eu-central-1.on.aws/shop/web:v1", "1.dkr-ecr.eu-central-1.on.aws/shop/web"),
        ] {
            let digest = Digest::new(hash()).unwrap();
            let by_digest = format!("{name}@{digest}");
            assert_eq!(pinned(reference, &digest), by_digest);
            assert_eq!(pinned(&format!("{reference}@sha256:other"), &digest), by_digest);
            assert_eq!(digest_of(reference), None);
            assert_eq!(digest_of(&format!("{reference}@{digest}")), Some(digest));
        }
    }

    #[test]
    fn only_the_policys_repository_is_taken() {
        let name = RepositoryName::new("shop/checkout").unwrap();
        let (account, region) =
            (AccountId::new("111122223333").unwrap(), Region::new("eu-central-1").unwrap());
        let check =
            |text: &str| Reference::named(text).unwrap().among(&account, &region, &[&name]).map(|_| ());
        assert_eq!(check("shop/checkout:v1"), Ok(()));
        assert_eq!(check(&format!("{REGISTRY}/shop/checkout:v1")), Ok(()));
        assert_eq!(check("v1"), Ok(()));
        assert_eq!(check(&hash()), Ok(()));
        for host in [
            "111122223333.dkr-ecr.eu-central-1.on.aws",
            "111122223333.dkr.ecr-fips.eu-central-1.amazonaws.com",
            "111122223333.dkr-ecr-fips.eu-central-1.on.aws",
        ] {
            assert_eq!(check(&format!("{host}/shop/checkout:v1")), Ok(()), "{host}");
        }
        for other in [
            format!("{REGISTRY}/shop/search:v1"),
            "111122223333.dkr.ecr.us-east-1.amazonaws.com/shop/checkout:v1".to_owned(),
            "ghcr.io/shop/checkout:v1".to_owned(),
            "public.ecr.aws/shop/checkout:v1".to_owned(),
            "checkout:v1".to_owned(),
        ] {
            assert!(check(&other).is_err(), "{other}");
        }
        let error = check("docker.io/shop/checkout:v1").unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the image is of docker.io/shop/checkout, and the policy's from.ecr.repository is {REGISTRY}/shop/checkout"
            )
        );
        let proxy = RepositoryName::new("acme/proxy").unwrap();
        let among = |text: &str| Reference::named(text).unwrap().among(&account, &region, &[&name, &proxy]);
        assert_eq!((among("v1"), among("acme/proxy:v1")), (Ok(&name), Ok(&proxy)));
        assert_eq!(
            among("shop/search:v1").unwrap_err().to_string(),
            format!(
                "the image is of shop/search, and the policy's repositories are shop/checkout and acme/proxy of {}",
                REGISTRY
            )
        );
        assert!(check("shop/payment:v1").is_err());
        assert!(
            check(&format!("999988887777.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout@{}", hash()))
                .is_err()
        );
    }
}
