//! Image references as people, builds and pipelines write them, and which of them a service takes.

use crate::ids::{Digest, RepositoryName, Tag};

/// What is asked for: always an image of the repository the policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, when one was written.
    pub registry: Option<String>,
    /// The repository, when one was written.
    pub repository: Option<String>,
    /// What of it.
    pub pick: Pick,
}

/// A tag, or a digest with the tag it was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// Whatever the tag points at now.
    Tag(Tag),
    /// Exactly this.
    Digest(Digest, Option<Tag>),
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
    #[error("the image is of {found}, and the policy's from.ecr.repository is {allowed}")]
    OtherRepository {
        /// Registry and repository found.
        found: String,
        /// Registry and repository allowed.
        allowed: String,
    },
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

    /// `REGISTRY/REPOSITORY:TAG`, `REGISTRY/REPOSITORY@DIGEST`, or both. A tag has to be written: `latest` is never meant by leaving
    /// it out.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let malformed =
            |problem: String| ReferenceError::Malformed { found: cut(text), problem: cut(&problem) };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                (name, Some(Digest::new(digest).map_err(|error| malformed(error.to_string()))?))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => {
                (name, Some(Tag::new(tag).map_err(|error| malformed(error.to_string()))?))
            }
            Some(_) | None => (name, None),
        };
        let pick = match (digest, tag) {
            (Some(digest), tag) => Pick::Digest(digest, tag),
            (None, Some(tag)) => Pick::Tag(tag),
            (None, None) => return Err(malformed("it has neither a tag nor a digest".into())),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
            Some(_) | None => (None, name),
        };
        RepositoryName::new(repository).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { registry: registry.map(str::to_owned), repository: Some(repository.to_owned()), pick })
    }

    /// Whether it is an image of this repository.
    pub fn check(&self, registry: &str, repository: &RepositoryName) -> Result<(), ReferenceError> {
        let same_registry = self.registry.as_deref().is_none_or(|found| found == registry);
        let same_repository = self.repository.as_deref().is_none_or(|found| found == repository.as_str());
        if same_registry && same_repository {
            return Ok(());
        }
        let found = match (&self.registry, &self.repository) {
            (Some(registry), Some(repository)) => format!("{registry}/{repository}"),
            (None, Some(repository)) => repository.clone(),
            (Some(registry), None) => registry.clone(),
            (None, None) => String::new(),
        };
        Err(ReferenceError::OtherRepository {
            found: cut(&found),
            allowed: format!("{registry}/{repository}"),
        })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.registry, &self.repository].into_iter().flatten() {
            write!(f, "{part}{}", if self.registry.as_ref() == Some(part) { "/" } else { "" })?;
        }
        match &self.pick {
            Pick::Tag(tag) => write!(f, ":{tag}"),
            Pick::Digest(digest, None) => write!(f, "@{digest}"),
            Pick::Digest(digest, Some(tag)) => write!(f, ":{tag}@{digest}"),
        }
    }
}

/// What others write is quoted by its beginning.
fn cut(text: &str) -> String {
    const LONGEST: usize = 200;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
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
        assert_eq!(with_port.registry.as_deref(), Some("localhost:5000"));
        assert_eq!(with_port.repository.as_deref(), Some("shop/checkout"));
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
    fn only_the_policys_repository_is_taken() {
        let name = RepositoryName::new("shop/checkout").unwrap();
        let check = |text: &str| Reference::parse(text).unwrap().check(REGISTRY, &name);
        assert_eq!(check("shop/checkout:v1"), Ok(()));
        assert_eq!(check(&format!("{REGISTRY}/shop/checkout:v1")), Ok(()));
        assert_eq!(Reference::tag(Tag::new("v1").unwrap()).check(REGISTRY, &name), Ok(()));
        let error = check("docker.io/shop/checkout:v1").unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the image is of docker.io/shop/checkout, and the policy's from.ecr.repository is {REGISTRY}/shop/checkout"
            )
        );
        assert!(check("shop/payment:v1").is_err());
        assert!(
            check(&format!("999988887777.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout@{}", hash()))
                .is_err()
        );
    }
}
