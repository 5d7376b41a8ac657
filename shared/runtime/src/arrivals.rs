//! A new image: which services it concerns, and what becomes of it there.

use jiff::Timestamp;
use tidegate_core::actor::Actor;
use tidegate_core::admission::{self, Admission, Current, ReleaseRequest};
use tidegate_core::commit::Commit;
use tidegate_core::container_image::MediaTypes;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AccountId, Digest, Image, Region, ReleaseId, RepositoryName, ServiceName, Tag};
use tidegate_core::intent::Provenance;
use tidegate_core::listing::Listing;
use tidegate_core::ports::{Images, WakeUp, Watched};
use tidegate_core::push::PushTimes;
use tidegate_core::reference::Pick;
use tidegate_core::registry::ecr_registry;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_core::trigger::{Reason, Refusal, Subject, Trigger};

use crate::context::Installation;
use crate::triggers::Attempt;
use crate::unfinished::Unfinished;

/// When a release is looked at that somebody has just changed, seconds: at once, and then until the clock, whose round may have begun before
/// anything was expected, has come again. One request takes ten messages.
const HINTS_SECS: [u32; 10] = [0, 7, 14, 21, 28, 35, 42, 49, 56, 63];

/// An image that was pushed to ECR.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The registry's account.
    pub account: AccountId,
    /// The registry's region.
    pub region: Region,
    /// The repository.
    pub repository: RepositoryName,
    /// The tag.
    pub tag: Tag,
    /// The digest it points at.
    pub digest: Digest,
    /// When the tag was put on it, as the event says.
    pub tagged_at: Timestamp,
    /// What kind of thing it is, as far as the event says.
    pub media: MediaTypes,
    /// Who or what says so.
    pub by: Actor,
    /// The delivery's id.
    pub delivery: Option<String>,
}

impl Installation {
    /// Handles a pushed image for every service whose policy selects it. Returns what became of it, service by service. One that fails
    /// does not keep the others from theirs.
    pub async fn image_pushed(
        &self,
        images: &dyn Images,
        pushed: &Pushed,
    ) -> Result<Vec<(ServiceName, Admission)>, Unfinished> {
        let watched =
            Watched::Repository(pushed.account.clone(), pushed.region.clone(), pushed.repository.clone());
        let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
        for service in self.ledger.watchers(&watched).await?.tell(&mut failed) {
            match self.image_pushed_to(images, &service, pushed).await {
                Ok(admission) => outcomes.extend(admission.map(|admission| (service, admission))),
                Err(error) => failed.push(format!("service {service}: {error}")),
            }
        }
        Unfinished::or(failed, outcomes)
    }

    /// Handles a pushed image for one service. `None` when that does not select it, or has handled this delivery before.
    pub(crate) async fn image_pushed_to(
        &self,
        images: &dyn Images,
        service: &ServiceName,
        pushed: &Pushed,
    ) -> Result<Option<Admission>, PortError> {
        let head = self.ledger.service(service).await?;
        let Some(head) = head.filter(|head| head.policy.selects(&pushed.repository, &pushed.tag)) else {
            return Ok(None);
        };
        let (times, no_image) = self.known_of(images, pushed).await?;
        if let Some(why) = no_image {
            let attempt = Attempt {
                service,
                trigger: Trigger::Push,
                by: &pushed.by,
                subject: Subject::Push {
                    repository: pushed.repository.to_string(),
                    tag: pushed.tag.to_string(),
                },
                delivery: pushed.delivery.as_deref(),
            };
            self.refuse(&attempt, Refusal::new(Reason::NotAnImage, why)).await?;
            return Ok(None);
        }
        let image = Image {
            registry: ecr_registry(&pushed.account, &pushed.region),
            repository: pushed.repository.clone(),
            digest: pushed.digest.clone(),
            tag: Some(pushed.tag.clone()),
        };
        let Some(change) = head.policy.change_of(&image) else { return Ok(None) };
        let request = ReleaseRequest {
            service: service.clone(),
            pushed: change.containers().map(|container| (container.clone(), times)).collect(),
            change,
            by: pushed.by.clone(),
            why: None,
            trigger: Some(Trigger::Push),
            force: false,
            provenance: Provenance::default(),
            bypass_freeze: None,
            delivery: pushed.delivery.clone(),
        };
        let admission =
            self.release_image(request, |head| head.policy.selects(&pushed.repository, &pushed.tag)).await?;
        if let Some(admission) = &admission {
            tracing::info!(service = %service, image.tag = %pushed.tag, image.digest = %pushed.digest, outcome = admission.word(), "an image was pushed");
        }
        Ok(admission)
    }

    /// When image and tag were pushed, and why it is no container image, if it is not. An image that ECR does not know (yet, because it has
    /// just been pushed and reads lag, or no longer, which preflight tells) is as old as its tag: what is older must not pass it by.
    async fn known_of(
        &self,
        images: &dyn Images,
        pushed: &Pushed,
    ) -> Result<(PushTimes, Option<String>), PortError> {
        let tag = Some(pushed.tagged_at);
        if let Some(why) = pushed.media.is_no_image(std::slice::from_ref(&pushed.tag)) {
            return Ok((PushTimes { image: None, tag, said: None }, Some(why)));
        }
        let registry = ecr_registry(&pushed.account, &pushed.region);
        let pick = Pick::Digest(pushed.digest.clone(), None);
        let Some(described) = images.described(&registry, &pushed.repository, &pick).await? else {
            return Ok((PushTimes { image: tag, tag, said: None }, None));
        };
        Ok((PushTimes { image: described.pushed_at, tag, said: None }, described.is_no_image()))
    }

    /// Admits images to a service and has the new release woken. `None`: the service does not exist, or does not release them, or `selects` says no, or this
    /// delivery was handled before.
    pub async fn release_image(
        &self,
        request: ReleaseRequest,
        selects: impl Fn(&ServiceRecord) -> bool,
    ) -> Result<Option<Admission>, PortError> {
        let mut attempts = self.attempts();
        loop {
            let Some(head) = self.ledger.service(&request.service).await? else { return Ok(None) };
            if !selects(&head) || !head.policy.releases(&request.change) {
                return Ok(None);
            }
            let (active, waiting) = self.current(&head).await?;
            let now = self.time.now();
            let target = head.policy.target(&self.account, &self.region);
            let current = Current { head: &head, active: active.as_ref(), waiting: waiting.as_ref() };
            let admission = admission::admit(current, &request, target, self.new_id(), now);
            if let (Admission::Refused { refusal, .. }, Some(trigger)) = (&admission, request.trigger) {
                let attempt = Attempt {
                    service: &request.service,
                    trigger,
                    by: &request.by,
                    subject: Subject::Found { change: Box::new(request.change.clone()) },
                    delivery: request.delivery.as_deref(),
                };
                // Counted where it buries nothing, and the service's row stays as it is.
                let counted = self.count_refusal(&attempt, refusal).await?;
                return Ok(counted.then_some(admission));
            }
            let commit = match &admission {
                Admission::Created { commit, .. } | Admission::Refused { commit, .. } => (**commit).clone(),
                Admission::Known { .. } | Admission::Runs { .. } => {
                    // Handled all the same: the same delivery again, when something else runs, must not release it anew.
                    Commit { idempotency_key: request.idempotency_key(now), ..Commit::default() }
                }
            };
            if commit.releases.is_empty() && commit.head.is_none() && commit.idempotency_key.is_none() {
                return Ok(Some(admission));
            }
            match attempts.commit(commit).await {
                Ok(true) => {
                    if let Admission::Created { release, .. } = &admission {
                        self.wake_now(release, "it was created").await;
                        // A release asked to make room has to see it.
                        if let Some(active) = &head.active {
                            self.wake_now(active, "a newer release was created").await;
                        }
                    }
                    return Ok(Some(admission));
                }
                Ok(false) => {}
                Err(error) if error.code == tidegate_core::commit::ALREADY_HANDLED => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The releases a service's row names. One that cannot be read keeps nothing from being let in: what is new waits behind it.
    pub async fn current(
        &self,
        head: &ServiceRecord,
    ) -> Result<(Option<Release>, Option<Release>), PortError> {
        let active = match &head.active {
            Some(id) => self.readable(id).await?,
            None => None,
        };
        let waiting = match &head.waiting {
            Some(id) => self.readable(id).await?.filter(|release| !release.is_over()),
            None => None,
        };
        Ok((active, waiting))
    }

    async fn readable(&self, id: &ReleaseId) -> Result<Option<Release>, PortError> {
        match self.ledger.release(id).await {
            Err(error) if error.kind == ErrorKind::Invalid => {
                tracing::error!(release.id = %id, %error, "the release cannot be read; a new one does without it");
                Ok(None)
            }
            read => read,
        }
    }

    /// A hint that a release has something to do, and some more until the clock's next round, in which it looks by itself how the release
    /// goes on. Lost hints are the clock's to fix.
    pub(crate) async fn wake_now(&self, release: &ReleaseId, why: &str) {
        let Some(waker) = &self.waker else { return };
        let wake = |delay_secs| WakeUp::of(release.clone(), delay_secs, why);
        let wakes: Vec<WakeUp> = HINTS_SECS.map(wake).into();
        if let Some((_, error)) = waker.wake_all(&wakes).await.first() {
            tracing::warn!(release.id = %release, error = %error, "the wake-up was not sent; the clock will find the release");
        }
    }
}

/// The releases of a service that can be read, for who has to know all that were made after `since`: one of those that cannot be read is
/// an error, an older one is only told.
pub(crate) fn settled_until(listing: Listing<Release>, since: Timestamp) -> Result<Vec<Release>, PortError> {
    let (releases, damaged) = listing.split();
    for row in damaged {
        let made_at = row.release.as_ref().and_then(ReleaseId::made_at);
        if made_at.is_none_or(|made_at| made_at >= since) {
            return Err(row.problem);
        }
        tracing::error!(damaged = %row, "an old release was passed over");
    }
    Ok(releases)
}
