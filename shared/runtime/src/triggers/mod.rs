//! The ways a release starts beside a push to ECR: builds, manifests, events, pipelines. All of them end in one place: an image
//! reference that somebody names becomes a digest of the policy's own repository, and is admitted; or a reason why not, which is kept
//! in the service's history.

pub mod approvals;
mod awaited;
pub mod builds;
pub mod jobs;
pub mod manifests;
mod others;

use std::collections::BTreeMap;

use jiff::Timestamp;
use tidegate_core::actor::Actor;
use tidegate_core::admission::{self, Admission, ReleaseRequest};
use tidegate_core::change::Change;
use tidegate_core::commit::{ALREADY_HANDLED, Commit, IdempotencyKey, RowWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Event;
use tidegate_core::ids::{ContainerName, Image, RepositoryName, ServiceName};
use tidegate_core::intent::Provenance;
use tidegate_core::policy::Policy;
use tidegate_core::ports::{Artifacts, BuildOutputs, Images, Objects};
use tidegate_core::push::PushTimes;
use tidegate_core::reference::{Pick, Reference, Selection};
use tidegate_core::refusals::RefusalLog;
use tidegate_core::registry::ecr_registry;
use tidegate_core::service::ServiceRecord;
use tidegate_core::trigger::{Reason, Refusal, Subject, Trigger};

use crate::context::Installation;
use crate::unfinished::Unfinished;

/// What the triggers are seen through.
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

/// A request to release whatever references name.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// The service.
    pub service: ServiceName,
    /// The images.
    pub images: Selection,
    /// Who or what asks.
    pub by: Actor,
    /// Why, for the history.
    pub why: String,
    /// Where the image comes from.
    pub provenance: Provenance,
    /// The delivery's id.
    pub delivery: Option<String>,
    /// When the sender of a webhook says it came to be: what is not there yet may then be waited for.
    pub announcing: Option<Announcing>,
}

/// What a webhook announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcing {
    /// When it came to be, as the sender says.
    pub at: Timestamp,
    /// Whether that was a push to another registry: an image that this one has had for longer is not the one that is meant.
    pub is_push: bool,
}

impl ImageRequest {
    /// In case it comes to nothing.
    pub fn attempt(&self, trigger: Trigger) -> Attempt<'_> {
        Attempt {
            service: &self.service,
            trigger,
            by: &self.by,
            subject: Subject::Image { reference: self.images.to_string() },
            delivery: self.delivery.as_deref(),
        }
    }
}

/// A trigger that started nothing.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The trigger.
    pub trigger: Trigger,
    /// Who or what request.
    pub by: &'a Actor,
    /// What it is about.
    pub subject: Subject,
    /// The delivery's id.
    pub delivery: Option<&'a str>,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub enum TriggerResult {
    /// It was let in, or is known, or refused by what the service has been through.
    Admitted(Box<Admission>, Change),
    /// The same delivery has been there before; the images it names now, if there are any.
    Before(Option<Change>),
    /// The image is not there yet, and is looked for.
    Noted {
        /// What is missing.
        why: String,
        /// Until when it is looked for.
        until: Timestamp,
    },
    /// It is not followed; the reason is in the service's history when the service opens the trigger.
    Refused(Refusal),
}

impl TriggerResult {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Admitted(admission, _) => admission.word(),
            Self::Before(_) => "handled before",
            Self::Noted { .. } => "noted",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
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

/// The pinned image a reference names and when it was pushed, or why it may not be released.
type Resolved = Result<(Image, Option<Timestamp>), Refusal>;

/// What is asked for, pinned, and when each container's image was pushed; or why it may not be released.
type Chosen = Result<(Change, BTreeMap<ContainerName, Option<Timestamp>>), Refusal>;

/// Refuses what the policy does not open at all.
fn closed(policy: &Policy, trigger: Trigger) -> Option<Refusal> {
    (!policy.from.opens(trigger)).then(|| {
        let (service, field) = (&policy.service, trigger.field());
        Refusal::new(
            Reason::Closed,
            format!("the policy of {service} does not open this way; it has no {field}"),
        )
    })
}

impl Installation {
    /// Resolves what is wanted to a digest, and admits it. `allows` says what a policy has against this very sender.
    pub async fn want(
        &self,
        images: &dyn Images,
        wanted: &ImageRequest,
        trigger: Trigger,
        allows: impl Fn(&Policy) -> Option<Refusal>,
    ) -> Result<TriggerResult, TriggerError> {
        let head = self.ledger.service(&wanted.service).await?;
        let head = head.ok_or_else(|| TriggerError::NoService(wanted.service.clone()))?;
        let policy = &head.policy;
        if let Some(refusal) = closed(policy, trigger).or_else(|| allows(policy)) {
            return Ok(self.refuse(&wanted.attempt(trigger), refusal).await?);
        }
        if let (Some(announcing), Selection::One(reference)) = (wanted.announcing, &wanted.images) {
            let found = self.resolved(images, policy, reference, trigger).await?;
            if let Some(late) = awaited::late(&found, wanted) {
                return Ok(self.note_late(wanted, reference, announcing, trigger, late).await?);
            }
        }
        let (change, pushed) = match self.chosen(images, policy, &wanted.images, trigger).await? {
            Ok(chosen) => chosen,
            Err(refusal) => return Ok(self.refuse(&wanted.attempt(trigger), refusal).await?),
        };
        let said = wanted.announcing.map(|announcing| announcing.at);
        let times = |(container, image)| (container, PushTimes { image, tag: None, said });
        let request = ReleaseRequest {
            service: wanted.service.clone(),
            change: change.clone(),
            by: wanted.by.clone(),
            why: Some(wanted.why.clone()),
            trigger: Some(trigger),
            pushed: pushed.into_iter().map(times).collect(),
            force: false,
            provenance: wanted.provenance.clone(),
            bypass_freeze: None,
            delivery: wanted.delivery.clone(),
        };
        let still =
            |head: &ServiceRecord| closed(&head.policy, trigger).or_else(|| allows(&head.policy)).is_none();
        let admission = self.release_image(request, still).await?;
        let taken = admission.map_or(TriggerResult::Before(Some(change.clone())), |admission| {
            TriggerResult::Admitted(Box::new(admission), change)
        });
        tracing::info!(service = %wanted.service, images = %wanted.images, outcome = taken.word(), "a release was asked for");
        Ok(taken)
    }

    /// Pins everything that is asked for. Nothing of it is released unless all of it can be.
    async fn chosen(
        &self,
        images: &dyn Images,
        policy: &Policy,
        asked: &Selection,
        trigger: Trigger,
    ) -> Result<Chosen, PortError> {
        let mut pushed = BTreeMap::new();
        let nobodys = |repository: &RepositoryName| {
            let why = format!(
                "no container of the policy takes images of {repository} ({}.containers)",
                policy.to.field()
            );
            Refusal::new(Reason::Repository, why)
        };
        let each = match asked {
            Selection::One(reference) => {
                let (image, at) = match self.resolved(images, policy, reference, trigger).await? {
                    Ok(found) => found,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let Some(change) = policy.change_of(&image) else {
                    return Ok(Err(nobodys(&image.repository)));
                };
                pushed.extend(change.containers().map(|container| (container.clone(), at)));
                return Ok(Ok((change, pushed)));
            }
            Selection::Each(each) => each,
        };
        let mut change = BTreeMap::new();
        for (container, reference) in each {
            let Some(repository) = policy.repository_of(container) else {
                let why = format!(
                    "the policy does not release container {container}; it releases {} ({})",
                    policy.to.container_names(),
                    policy.to.field()
                );
                return Ok(Err(Refusal::new(Reason::Repository, why)));
            };
            // A tag alone is one of the container's own repository.
            let own = Reference { repository: Some(repository.to_string()), ..reference.clone() };
            let reference = if reference.repository.is_none() { &own } else { reference };
            match self.resolved(images, policy, reference, trigger).await? {
                Ok((image, _)) if image.repository != *repository => {
                    let why = format!(
                        "the image for container {container} is of {}, and the policy takes its images from {repository}",
                        image.repository
                    );
                    return Ok(Err(Refusal::new(Reason::Repository, why)));
                }
                Ok((image, at)) => {
                    pushed.insert(container.clone(), at);
                    change.insert(container.clone(), image);
                }
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let none = || Refusal::new(Reason::Unreadable, "it names no container");
        Ok(Change::new(change).ok_or_else(none).map(|change| (change, pushed)))
    }

    /// The pinned image a reference names and when it was pushed, or why it may not be released.
    async fn resolved(
        &self,
        images: &dyn Images,
        policy: &Policy,
        reference: &Reference,
        trigger: Trigger,
    ) -> Result<Resolved, PortError> {
        let registry = ecr_registry(&self.account, &self.region);
        let repository = match reference.among(&self.account, &self.region, &policy.repositories()) {
            Ok(repository) => repository.clone(),
            Err(error) => return Ok(Err(Refusal::new(Reason::Repository, error.to_string()))),
        };
        let Some(found) = images.described(&registry, &repository, &reference.pick).await? else {
            let what = match &reference.pick {
                Pick::Tag(tag) => format!("there is no image tagged {tag} in {repository}"),
                Pick::Digest(digest, _) => format!("there is no image {digest} in {repository}"),
            };
            return Ok(Err(Refusal::new(Reason::Missing, what)));
        };
        if let Some(why) = found.is_no_image() {
            return Ok(Err(Refusal::new(Reason::NotAnImage, why)));
        }
        if let Some(refusal) = policy.refuses_tags(trigger, &repository, &found.tags) {
            return Ok(Err(refusal));
        }
        let tag = match &reference.pick {
            Pick::Tag(tag) | Pick::Digest(_, Some(tag)) => Some(tag.clone()),
            Pick::Digest(_, None) => None,
        };
        Ok(Ok((Image { registry, repository, digest: found.digest, tag }, found.pushed_at)))
    }

    /// Tells in the service's history why a trigger started nothing, when the service opens that trigger. The same kind of refusal again
    /// is counted, and a delivery is counted once.
    pub async fn refuse(&self, attempt: &Attempt<'_>, refusal: Refusal) -> Result<TriggerResult, PortError> {
        self.count_refusal(attempt, &refusal).await?;
        Ok(TriggerResult::Refused(refusal))
    }

    /// Counts a refusal. `false`: the same delivery was handled before.
    pub(crate) async fn count_refusal(
        &self,
        attempt: &Attempt<'_>,
        refusal: &Refusal,
    ) -> Result<bool, PortError> {
        let Attempt { service, trigger, by, subject, delivery } = attempt;
        tracing::warn!(service = %service, what = %subject, why = refusal.why, "a request was refused");
        if refusal.reason == Reason::Closed {
            return Ok(true);
        }
        let mut attempts = self.attempts();
        loop {
            let now = self.time.now();
            let current = match self.ledger.refusals(service).await {
                Ok(current) => current,
                // What cannot be counted is refused all the same; the row is told where the history is shown.
                Err(error) if error.kind == ErrorKind::Invalid => {
                    tracing::error!(service = %service, error = %error, "a refusal was not counted");
                    break;
                }
                Err(error) => return Err(error),
            };
            let log = RefusalLog::with(current.as_ref(), *trigger, refusal, subject, by, now);
            let expected = current.map(|log| log.version);
            let commit = Commit {
                refusals: Some(RowWrite { service: (*service).clone(), expected, row: log }),
                idempotency_key: delivery.map(|delivery| IdempotencyKey::of_delivery(service, delivery, now)),
                ..Commit::default()
            };
            match attempts.commit(commit).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if error.code == ALREADY_HANDLED => return Ok(false),
                // In a flood the count may fall behind; that must not bring every one of them back.
                Err(error) if error.kind == ErrorKind::Conflict => {
                    tracing::warn!(service = %service, error = %error, "a refusal was not counted");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes an event into a service's history, once for each delivery. Returns whether it was written.
    pub async fn note(
        &self,
        service: &ServiceName,
        by: &Actor,
        event: Event,
        delivery: Option<&str>,
    ) -> Result<bool, PortError> {
        let mut attempts = self.attempts();
        loop {
            let Some(head) = self.ledger.service(service).await? else { return Ok(false) };
            let now = self.time.now();
            let key = delivery.map(|delivery| IdempotencyKey::of_delivery(service, delivery, now));
            let commit = admission::note(&head, service, by.clone(), event.clone(), key, now);
            match attempts.commit(commit).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if error.code == ALREADY_HANDLED => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
