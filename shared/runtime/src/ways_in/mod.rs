//! The ways a release starts beside a push to ECR: builds, manifests, events, pipelines. All of them end in one place: an image
//! reference that somebody names becomes a digest of the policy's own repository, and is admitted; or a reason why not, which is kept
//! in the service's history.

pub mod approvals;
pub mod builds;
pub mod jobs;
pub mod manifests;
mod others;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::admission::{self, Admission};
use tidegate_core::history::Actor;
use tidegate_core::ids::{Image, ServiceName, ecr_registry};
use tidegate_core::policy::Policy;
use tidegate_core::ports::{ALREADY_HANDLED, Artifacts, BuildOutputs, ErrorKind, Images, Objects, PortError};
use tidegate_core::reference::{Pick, Reference};
use tidegate_core::release::Provenance;

use crate::arrivals::{Asked, CONFLICTS_MAX, REMEMBERED};
use crate::unfinished::Unfinished;
use crate::world::Home;

/// What the ways in are seen through.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// ECR.
    pub images: &'a dyn Images,
    /// CodeBuild.
    pub builds: &'a dyn BuildOutputs,
    /// S3.
    pub objects: &'a dyn Objects,
    /// Artifacts in S3.
    pub artifacts: &'a dyn Artifacts,
}

/// A request to release whatever a reference names.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The service.
    pub service: ServiceName,
    /// The image.
    pub image: Reference,
    /// Who or what asks.
    pub by: Actor,
    /// Why, for the history.
    pub why: String,
    /// When it was asked, where requests may come out of order: one that comes after a newer image was let in is refused.
    pub asked_at: Option<Timestamp>,
    /// Where the image comes from.
    pub provenance: Provenance,
    /// The delivery's id.
    pub delivery: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Taken {
    /// It was let in, or is known, or refused by what the service has been through.
    Admitted(Box<Admission>, Image),
    /// The same delivery has been there before.
    Before(Image),
    /// It cannot be followed; the reason is in the service's history.
    Refused(String),
}

impl Taken {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Admitted(admission, _) => admission.word(),
            Self::Before(_) => "handled before",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WayInError {
    /// AWS did not answer, or refused.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Some services could not be served; the others were.
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
    /// There is no such service.
    #[error("there is no service {0}; store its policy with `tidegate apply` first")]
    NoService(ServiceName),
    /// What was sent cannot be read.
    #[error("cannot read {what}: {problem}")]
    Unreadable {
        /// What.
        what: String,
        /// Why.
        problem: String,
    },
}

/// Whether a policy opens a way, and the field that does.
pub struct Way {
    /// The field, for people: `from.requests`.
    pub field: &'static str,
    /// Whether the policy opens it.
    pub open: fn(&Policy) -> bool,
}

/// The custom event.
pub const REQUESTS: Way = Way { field: "from.requests", open: |policy| policy.from.requests };
/// A pipeline's action.
pub const PIPELINE: Way = Way { field: "from.pipeline", open: |policy| policy.from.pipeline };
/// A manifest in a bucket.
pub const MANIFESTS: Way = Way { field: "from.s3", open: |policy| policy.from.s3.is_some() };
/// A build.
pub const BUILDS: Way = Way { field: "from.codebuild", open: |policy| policy.from.codebuild.is_some() };

impl Home {
    /// Resolves what is wanted to a digest, and admits it.
    pub async fn want(&self, images: &dyn Images, wanted: &Wanted, way: &Way) -> Result<Taken, WayInError> {
        let head = self.ledger.service(&wanted.service).await?;
        let head = head.ok_or_else(|| WayInError::NoService(wanted.service.clone()))?;
        if !(way.open)(&head.policy) {
            let why =
                format!("the policy of {} does not open this way; it has no {}", wanted.service, way.field);
            return self.refused(wanted, why).await;
        }
        let image = match self.resolved(images, &head.policy, &wanted.image).await? {
            Ok(image) => image,
            Err(why) => return self.refused(wanted, why).await,
        };
        let asked = Asked {
            service: wanted.service.clone(),
            image: image.clone(),
            by: wanted.by.clone(),
            why: Some(wanted.why.clone()),
            // A clock that goes before ours must not shut out what comes after.
            pushed_at: wanted.asked_at.map(|at| at.min(self.time.now())),
            insist: false,
            provenance: wanted.provenance.clone(),
            bypass_freeze: None,
            delivery: wanted.delivery.clone(),
        };
        let admission = self.release_image(asked, |head| (way.open)(&head.policy)).await?;
        let taken = admission
            .map_or(Taken::Before(image.clone()), |admission| Taken::Admitted(Box::new(admission), image));
        tracing::info!(service = %wanted.service, image = %wanted.image, outcome = taken.word(), "a release was asked for");
        Ok(taken)
    }

    /// The pinned image a reference names, or why it is none.
    async fn resolved(
        &self,
        images: &dyn Images,
        policy: &Policy,
        reference: &Reference,
    ) -> Result<Result<Image, String>, PortError> {
        let registry = ecr_registry(&self.account, &self.region);
        let repository = policy.from.ecr.repository.clone();
        if let Err(error) = reference.check(&registry, &repository) {
            return Ok(Err(error.to_string()));
        }
        let (digest, tag) = match &reference.pick {
            Pick::Digest(digest, tag) => (digest.clone(), tag.clone()),
            Pick::Tag(tag) => match images.resolve(&registry, &repository, tag).await? {
                Some(digest) => (digest, Some(tag.clone())),
                None => return Ok(Err(format!("there is no image tagged {tag} in {repository}"))),
            },
        };
        Ok(Ok(Image { registry, repository, digest, tag }))
    }

    async fn refused(&self, wanted: &Wanted, why: String) -> Result<Taken, WayInError> {
        let what = format!("did not release {}", wanted.image);
        tracing::warn!(service = %wanted.service, image = %wanted.image, why, "a request was refused");
        self.note(&wanted.service, &wanted.by, (what, why.clone()), wanted.delivery.as_deref()).await?;
        Ok(Taken::Refused(why))
    }

    /// Writes something into a service's history, once for each delivery. Returns whether it was written.
    pub async fn note(
        &self,
        service: &ServiceName,
        by: &Actor,
        told: (String, String),
        delivery: Option<&str>,
    ) -> Result<bool, PortError> {
        for attempt in 1.. {
            let Some(head) = self.ledger.service(service).await? else { return Ok(false) };
            let now = self.time.now();
            let until = now.saturating_add(REMEMBERED).unwrap_or(now);
            let once = delivery.map(|delivery| (format!("{service}#{delivery}"), until));
            let commit = admission::note(&head, service, by.clone(), told.clone(), once, now);
            match self.ledger.commit(commit).await {
                Ok(()) => return Ok(true),
                Err(error) if error.code == ALREADY_HANDLED => return Ok(false),
                Err(error) if error.kind == ErrorKind::Conflict && attempt < CONFLICTS_MAX => {
                    self.time.sleep(SignedDuration::from_millis(fastrand::i64(10..100))).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
