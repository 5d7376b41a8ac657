//! Webhooks: whoever proves to know the service's secret asks for an image to be released.
//!
//! The order is the same for all: the proof first, then what was sent, then the policy, then the image, and last the one call that
//! admits it. Before the proof nothing is read from the ledger, and a service that does not exist is refused like a wrong signature. What
//! is released is always an image of the policy's ECR repository, by digest.

mod docker_hub;
mod github;
mod jenkins;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_core::admission::Admission;
use tidegate_core::history::Actor;
use tidegate_core::ids::{Digest, Image, ServiceName, Tag, ecr_registry};
use tidegate_core::policy::WebhookSource;
use tidegate_core::ports::PortError;
use tidegate_core::release::Provenance;
use tidegate_runtime::arrivals::Asked;

use crate::call::{Call, Reply};
use crate::handler::Gate;
use crate::secrets::{Keeper, Secrets};

/// Which webhook, from the path behind `/hooks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook<'a> {
    /// `/hooks/github/SERVICE`
    GitHub(&'a str),
    /// `/hooks/jenkins/SERVICE`
    Jenkins(&'a str),
    /// `/hooks/dockerhub/SERVICE/SECRET`
    DockerHub(&'a str, &'a str),
}

impl<'a> Hook<'a> {
    pub(crate) fn of(segments: &[&'a str]) -> Option<Self> {
        match segments {
            ["github", service] => Some(Self::GitHub(service)),
            ["jenkins", service] => Some(Self::Jenkins(service)),
            ["dockerhub", service, secret] => Some(Self::DockerHub(service, secret)),
            _ => None,
        }
    }

    fn service(self) -> &'a str {
        match self {
            Self::GitHub(service) | Self::Jenkins(service) | Self::DockerHub(service, _) => service,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::GitHub(_) => "github",
            Self::Jenkins(_) => "jenkins",
            Self::DockerHub(..) => "docker_hub",
        }
    }
}

/// What a webhook that has proven itself says.
#[derive(Debug)]
enum Said {
    /// A release is asked for.
    Release(Box<Wish>),
    /// Nothing is to be done, and why.
    Nothing(String),
}

/// The release that is asked for.
#[derive(Debug)]
struct Wish {
    image: Reference,
    provenance: Provenance,
    delivery: String,
    /// The sender's repository, as the policy has to name it.
    sender: String,
    /// Whether it is normal that there is no such image: not every workflow makes one.
    may_be_missing: bool,
}

/// An image by what a sender knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Reference {
    /// A tag, a digest, or a whole reference of which only these are taken: the repository is the policy's.
    fn parse(text: &str) -> Result<Self, Refused> {
        if let Some((_, digest)) = text.rsplit_once('@') {
            return Digest::new(digest)
                .map(Self::Digest)
                .map_err(|error| Refused::malformed(error.to_string()));
        }
        if text.starts_with("sha256:") {
            return Digest::new(text)
                .map(Self::Digest)
                .map_err(|error| Refused::malformed(error.to_string()));
        }
        let name = text.rsplit('/').next().unwrap_or(text);
        let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
        if tag.len() == name.len() && text.contains('/') {
            return Err(Refused::malformed(format!("{text:?} names neither tag nor digest")));
        }
        Tag::new(tag).map(Self::Tag).map_err(|error| Refused::malformed(error.to_string()))
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// Why a webhook is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    /// The one answer to everything that has not proven itself.
    fn unproven() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, why: "the signature does not verify".to_owned() }
    }

    fn malformed(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into() }
    }
}

/// Takes a webhook.
pub(crate) async fn take(
    gate: &Gate,
    keeper: &Keeper,
    call: &Call,
    hook: Hook<'_>,
) -> Result<Reply, PortError> {
    let secrets = keeper.secrets().await?;
    let now = gate.home.time.now();
    let mut said = read(call, hook, &secrets, now);
    if matches!(&said, Err(refused) if *refused == Refused::unproven())
        && let Some(secrets) = keeper.newer_than(&secrets).await?
    {
        said = read(call, hook, &secrets, now);
    }
    let outcome = match said {
        Ok(Said::Release(wish)) => ask(gate, hook, *wish).await?,
        Ok(Said::Nothing(why)) => Ok(nothing(&why)),
        Err(refused) => Err(refused),
    };
    Ok(match outcome {
        Ok(body) => {
            tracing::info!(hook = hook.name(), service = hook.service(), outcome = %body["outcome"], "a webhook was taken");
            Reply::json(StatusCode::OK, &body)
        }
        Err(Refused { status, why }) => {
            tracing::warn!(hook = hook.name(), http.status = status.as_u16(), why, "a webhook was refused");
            Reply::error(status, why)
        }
    })
}

fn read(call: &Call, hook: Hook<'_>, secrets: &Secrets, now: Timestamp) -> Result<Said, Refused> {
    let secrets = secrets.of(hook.service());
    match hook {
        Hook::GitHub(_) => github::read(call, &secrets.github),
        Hook::Jenkins(_) => jenkins::read(call, &secrets.jenkins, now),
        Hook::DockerHub(_, secret) => docker_hub::read(call, &secrets.docker_hub, secret),
    }
}

fn nothing(why: &str) -> Value {
    json!({ "outcome": "nothing", "why": why })
}

async fn ask(gate: &Gate, hook: Hook<'_>, wish: Wish) -> Result<Result<Value, Refused>, PortError> {
    let refused = |status, why: String| Ok(Err(Refused { status, why }));
    let Ok(service) = ServiceName::new(hook.service()) else { return Ok(Err(Refused::unproven())) };
    let Some(head) = gate.home.ledger.service(&service).await? else {
        let why = format!("service {service} has no policy; store it with `tidegate apply`");
        return refused(StatusCode::NOT_FOUND, why);
    };
    if !takes(head.policy.from.webhooks.as_ref(), hook, &wish.sender) {
        let why = format!(
            "the policy of {service} (from.webhooks) does not take {} webhooks of {:?}",
            hook.name(),
            wish.sender
        );
        return refused(StatusCode::FORBIDDEN, why);
    }
    let repository = head.policy.from.ecr.repository.clone();
    let Some(image) = resolve(gate, &repository, &wish.image).await? else {
        let why = format!("there is no image of {} in {repository}", wish.image);
        return if wish.may_be_missing {
            Ok(Ok(nothing(&why)))
        } else {
            refused(StatusCode::UNPROCESSABLE_ENTITY, why)
        };
    };
    let asked = Asked {
        service: service.clone(),
        image,
        by: Actor::Event { source: hook.name().to_owned(), id: wish.delivery.clone() },
        why: Some(format!("a webhook of {} asked for it", wish.sender)),
        pushed_at: None,
        insist: false,
        provenance: wish.provenance,
        bypass_freeze: None,
        delivery: Some(wish.delivery),
    };
    let admission = gate
        .home
        .release_image(asked, |head| takes(head.policy.from.webhooks.as_ref(), hook, &wish.sender))
        .await?;
    Ok(Ok(match admission {
        Some(Admission::Created { release, .. }) => json!({ "outcome": "created", "release": release }),
        Some(Admission::Known { release }) => json!({ "outcome": "known", "release": release }),
        Some(Admission::Runs { release }) => json!({ "outcome": "runs", "release": release }),
        Some(Admission::Refused { why, .. }) => json!({ "outcome": "refused", "why": why }),
        None => json!({ "outcome": "handled before" }),
    }))
}

/// Whether the policy takes webhooks of this kind from this sender.
fn takes(source: Option<&WebhookSource>, hook: Hook<'_>, sender: &str) -> bool {
    let Some(source) = source else { return false };
    // GitHub and Docker Hub names are the same in upper and lower case.
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(sender));
    match hook {
        Hook::GitHub(_) => named(&source.github),
        Hook::Jenkins(_) => source.jenkins,
        Hook::DockerHub(..) => named(&source.docker_hub),
    }
}

/// The image in the policy's repository, with its digest as it is now.
async fn resolve(
    gate: &Gate,
    repository: &tidegate_core::ids::RepositoryName,
    reference: &Reference,
) -> Result<Option<Image>, PortError> {
    let registry = ecr_registry(&gate.home.account, &gate.home.region);
    let image = |digest: Digest, tag: Option<Tag>| Image {
        registry: registry.clone(),
        repository: repository.clone(),
        digest,
        tag,
    };
    match reference {
        Reference::Tag(tag) => {
            let digest = gate.images.resolve(&registry, repository, tag).await?;
            Ok(digest.map(|digest| image(digest, Some(tag.clone()))))
        }
        Reference::Digest(digest) => {
            let image = image(digest.clone(), None);
            Ok(gate.images.image(&image).await?.map(|_| image))
        }
    }
}

/// Text of a sender as it is kept: one line of bounded length. Names and commits are shorter; what is not is none of these.
fn short(text: Option<String>) -> Option<String> {
    text.map(|text| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
        .filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_tag_by_digest_or_by_a_whole_reference() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let parse = |text: &str| Reference::parse(text).map(|reference| reference.to_string());
        assert_eq!(parse("v1.2").unwrap(), "tag v1.2");
        assert_eq!(parse("1.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout:v1").unwrap(), "tag v1");
        assert_eq!(parse(&digest).unwrap(), digest);
        assert_eq!(parse(&format!("host:5000/shop/checkout:v1@{digest}")).unwrap(), digest);
        assert!(parse("host:5000/shop/checkout").is_err());
        assert!(parse("shop/checkout").is_err());
        assert!(parse("").is_err());
        assert!(parse("sha256:short").is_err());
    }
}
