//! Images that a webhook announced before the repository had them: a mirror or a pull-through cache brings them some minutes later.
//!
//! Only what has proven itself and what the policy lets pass is noted, one image for each service, and only the policy that let it pass
//! releases it. The clock looks for it every minute; what does not come is told in the service's history.

use tidegate_core::admission::Admission;
use tidegate_core::announced::{self, Announced, Announcement, Awaited, PATIENCE};
use tidegate_core::commit::{ALREADY_HANDLED, Commit, IdempotencyKey, RowWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{Digest, ServiceName};
use tidegate_core::ports::Images;
use tidegate_core::push::PushTimes;
use tidegate_core::reference::Reference;
use tidegate_core::service::ServiceRecord;
use tidegate_core::trigger::{Reason, Refusal, Subject, Trigger};

use super::{Announcing, Attempt, ImageRequest, Resolved, TriggerResult};
use crate::context::Installation;
use crate::visits::{Looked, Pace};
use tidegate_core::admission::ReleaseRequest;

/// How many releases back it is looked whether the image was released meanwhile.
const LOOK_BACK: u32 = 20;

/// Why an image is not there yet.
#[derive(Debug, Clone)]
pub(super) struct Late {
    /// What its tag names instead: an image from before.
    stale: Option<Digest>,
    why: String,
}

/// Whether the image that is wanted is not there yet.
pub(super) fn late(found: &Resolved, wanted: &ImageRequest) -> Option<Late> {
    match found {
        Err(refusal) if refusal.reason == Reason::Missing => {
            Some(Late { stale: None, why: refusal.why.clone() })
        }
        Ok((image, Some(pushed_at))) => {
            let announcing = wanted.announcing.filter(|it| it.is_push)?;
            let why = || {
                let (reference, at) = (&wanted.images, announcing.at);
                format!(
                    "{reference} names an image that was pushed at {pushed_at:.0}, before the push at {at:.0} that is meant"
                )
            };
            (!announced::can_be(*pushed_at, announcing.at))
                .then(|| Late { stale: Some(image.digest.clone()), why: why() })
        }
        Ok((_, None)) | Err(_) => None,
    }
}

impl Installation {
    /// Notes what is not there yet, unless something newer is known.
    pub(super) async fn note_late(
        &self,
        wanted: &ImageRequest,
        reference: &Reference,
        announcing: Announcing,
        trigger: Trigger,
        late: Late,
    ) -> Result<TriggerResult, PortError> {
        let (service, attempt) = (&wanted.service, wanted.attempt(trigger));
        let Late { stale, why } = late;
        let missing = || Refusal::new(Reason::Missing, why.clone());
        let Some(delivery) = &wanted.delivery else { return self.refuse(&attempt, missing()).await };
        let mut attempts = self.attempts();
        loop {
            let Some(head) = self.ledger.service(service).await? else {
                return Ok(TriggerResult::Refused(missing()));
            };
            let now = self.time.now();
            let repositories = head.policy.repositories();
            let Ok(repository) = reference.among(&self.account, &self.region, &repositories) else {
                return self.refuse(&attempt, missing()).await;
            };
            let announcement = Announcement {
                trigger,
                repository: repository.clone(),
                pick: reference.pick.clone(),
                stale: stale.clone(),
                by: wanted.by.clone(),
                why: wanted.why.clone(),
                provenance: wanted.provenance.clone(),
                delivery: delivery.clone(),
                said_at: announcing.at,
            };
            let announced = Announced::new(announcement, &head, now);
            if announced.is_older(&head) {
                let why = format!("{why}, and something newer was announced and let in before");
                return self.refuse(&attempt, Refusal::new(Reason::Older, why)).await;
            }
            let until = announced.until();
            let current = self.ledger.awaited(service).await?;
            let (row, gone) = match Awaited::with(current.as_ref(), announced) {
                Ok(noted) => noted,
                Err(newer) => {
                    let why =
                        format!("{why}, and {}, which was announced later, is waited for", newer.reference());
                    return self.refuse(&attempt, Refusal::new(Reason::Older, why)).await;
                }
            };
            let commit = Commit {
                awaited: Some(RowWrite {
                    service: service.clone(),
                    expected: current.map(|row| row.version),
                    row,
                }),
                idempotency_key: Some(IdempotencyKey::of_delivery(service, delivery, now)),
                ..Commit::default()
            };
            match attempts.commit(commit).await {
                Ok(true) => {
                    tracing::info!(service = %service, image = %wanted.images, why, "the image is waited for");
                    if let Some(gone) = gone.filter(|gone| gone.pick != reference.pick) {
                        let why = format!("{} was announced later, and takes its place", wanted.images);
                        self.tell(service, &gone, Refusal::new(Reason::Older, why)).await?;
                    }
                    return Ok(TriggerResult::Noted { why, until });
                }
                Ok(false) => {}
                Err(error) if error.code == ALREADY_HANDLED => return Ok(TriggerResult::Before(None)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for what every service waits for.
    pub async fn find_awaited(&self, images: &dyn Images, pace: Pace<'_>) -> Result<Looked, PortError> {
        let mut failed = Vec::new();
        // Only what webhooks announce is waited for.
        let opens = |head: &ServiceRecord| head.policy.from.webhooks.is_some();
        let open = pace.services(&*self.ledger, &mut failed, opens).await?;
        let what = "look for images that are late";
        let looked = pace
            .visit(&*self.time, what, open, |service, _| async move {
                let arrived = self.find_awaited_of(images, &service).await;
                arrived.map_err(|error| format!("{what}, of {service}: {error}"))
            })
            .await;
        Ok(Looked { done: looked.done, failed: [failed, looked.failed].concat() })
    }

    /// `true`: the image has come.
    async fn find_awaited_of(&self, images: &dyn Images, service: &ServiceName) -> Result<bool, PortError> {
        let Some(row) = self.ledger.awaited(service).await? else { return Ok(false) };
        let (Some(announced), Some(head)) = (&row.announced, self.ledger.service(service).await?) else {
            return Ok(false);
        };
        let found = self.resolved(images, &head.policy, &announced.reference(), announced.trigger).await?;
        let refusal = if !announced.is_of_this_policy(&head) {
            Some(Refusal::new(
                Reason::Missing,
                "the policy's from was changed while the image was waited for",
            ))
        } else if announced.is_overtaken(&head) {
            let why = "something newer was let in while the image was waited for";
            let known = self.was_released(service, announced, &found).await?;
            if known {
                self.settle(service, &row).await?;
                return Ok(false);
            }
            Some(Refusal::new(Reason::Older, why))
        } else {
            match &found {
                Ok((image, _)) if announced.stale.as_ref() != Some(&image.digest) => None,
                Err(refusal) if refusal.reason != Reason::Missing => Some(refusal.clone()),
                Ok(_) | Err(_) if self.time.now() < announced.until() => return Ok(false),
                Ok((image, _)) => Some(given_up(&format!("it still names image {}", image.digest.short()))),
                Err(refusal) => Some(given_up(&refusal.why)),
            }
        };
        if let Some(refusal) = refusal {
            self.tell(service, announced, refusal).await?;
            self.settle(service, &row).await?;
            return Ok(false);
        }
        let Ok((image, pushed_at)) = found else { return Ok(false) };
        let Some(change) = head.policy.change_of(&image) else { return Ok(false) };
        let times = PushTimes { image: pushed_at, tag: None, said: Some(announced.said_at) };
        let request = ReleaseRequest {
            service: service.clone(),
            pushed: change.containers().map(|container| (container.clone(), times)).collect(),
            change,
            by: announced.by.clone(),
            why: Some(format!("{} at {:.0}, and the image is there now", announced.why, announced.noted_at)),
            trigger: Some(announced.trigger),
            force: false,
            provenance: announced.provenance.clone(),
            bypass_freeze: None,
            delivery: Some(arrival(announced)),
        };
        let still = |head: &ServiceRecord| announced.is_of_this_policy(head) && !announced.is_overtaken(head);
        let admission = self.release_image(request, still).await?;
        if admission.is_none() {
            // Handled before, by a clock that did not come to write it down; or overtaken just now, which the next round tells.
            let head = self.ledger.service(service).await?;
            if head.is_none_or(|head| !still(&head)) {
                return Ok(false);
            }
        }
        self.settle(service, &row).await?;
        Ok(matches!(admission, Some(Admission::Created { .. })))
    }

    /// Whether the image has had a release since it was announced: its own push was an event too.
    async fn was_released(
        &self,
        service: &ServiceName,
        announced: &Announced,
        found: &Resolved,
    ) -> Result<bool, PortError> {
        let Ok((image, _)) = found else { return Ok(false) };
        let (releases, _) = self.ledger.releases(service, LOOK_BACK).await?.split();
        Ok(releases
            .iter()
            .any(|it| it.change.digests().contains(&image.digest) && it.created_at >= announced.noted_at))
    }

    async fn tell(
        &self,
        service: &ServiceName,
        announced: &Announced,
        refusal: Refusal,
    ) -> Result<(), PortError> {
        let delivery = arrival(announced);
        let attempt = Attempt {
            service,
            trigger: announced.trigger,
            by: &announced.by,
            subject: Subject::Image { reference: announced.reference().to_string() },
            delivery: Some(&delivery),
        };
        self.refuse(&attempt, refusal).await.map(|_| ())
    }

    /// Nothing is waited for any more. What was noted meanwhile stays.
    async fn settle(&self, service: &ServiceName, row: &Awaited) -> Result<(), PortError> {
        let write = RowWrite { service: service.clone(), expected: Some(row.version), row: row.settled() };
        match self.ledger.commit(Commit { awaited: Some(write), ..Commit::default() }).await {
            Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
            other => other,
        }
    }
}

fn given_up(why: &str) -> Refusal {
    let why = format!(
        "{why}; it was looked for for {PATIENCE:#}: see whether the mirror runs. Release it by hand when it is there"
    );
    Refusal::new(Reason::Missing, why)
}

/// The one mark of what becomes of an announcement, so that nothing is done or told twice.
fn arrival(announced: &Announced) -> String {
    format!("{}/arrived", announced.delivery)
}
