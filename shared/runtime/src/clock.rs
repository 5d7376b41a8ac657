//! The guarantee: everything due within the next minute is woken at its second, and triggers that were lost are found.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::admission::Admission;
use tidegate_core::history::Actor;
use tidegate_core::ids::{Image, RepositoryName, ServiceName, ecr_registry};
use tidegate_core::observation::ServiceHead;
use tidegate_core::ports::{Commit, ErrorKind, ImageDescribed, Images, PortError, TagsWrite};
use tidegate_core::release::Provenance;
use tidegate_core::sweep::{Tagged, TagsSeen};
use tidegate_core::trigger::Trigger;

use crate::arrivals::{Asked, settled_until};
use crate::world::Home;

/// The clock comes every minute; what is due until the next round is sent now.
const ROUND: SignedDuration = SignedDuration::from_secs(60);
/// How many releases back it is looked whether a digest has been released before.
const LOOK_BACK: u32 = 50;

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Wake-ups sent.
    pub woken: u32,
    /// Releases started for pushes whose event was lost.
    pub found: u32,
    /// What failed; the next round tries again.
    pub failed: Vec<String>,
}

impl Home {
    /// One round. A service that fails does not keep the others from their turn.
    pub async fn round(&self, images: &dyn Images) -> Result<Round, PortError> {
        let now = self.time.now();
        let mut round = Round::default();
        let until = now.saturating_add(ROUND).unwrap_or(now);
        for (release, at) in self.ledger.due(until).await?.tell(&mut round.failed) {
            let delay = at.duration_since(now).max(SignedDuration::ZERO);
            let secs = u32::try_from(delay.as_secs()).unwrap_or(0) + u32::from(delay.subsec_nanos() > 0);
            let Some(waker) = &self.waker else { break };
            match waker.wake(&release, secs, "it is due").await {
                Ok(()) => round.woken += 1,
                Err(error) => round.failed.push(format!("wake {release}: {error}")),
            }
        }
        let mut repositories = Repositories { images, read: BTreeMap::new() };
        for (service, head) in self.ledger.services().await?.tell(&mut round.failed) {
            match self.find_lost(&mut repositories, &service, &head, now).await {
                Ok(found) => round.found += u32::from(found),
                Err(error) => round.failed.push(format!("look for lost pushes of {service}: {error}")),
            }
        }
        Ok(round)
    }

    /// ECR's events may be lost: a tag that names another image than when it was seen last, and whose event has had its time, is handled
    /// as if its event had come.
    async fn find_lost(
        &self,
        repositories: &mut Repositories<'_>,
        service: &ServiceName,
        head: &ServiceHead,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        // Where pushes start nothing, none can be lost, and the repository need not be read.
        if head.policy.from.ecr.tags.is_empty() {
            return Ok(false);
        }
        let registry = ecr_registry(&self.account, &self.region);
        let tags = selected(repositories.tagged(&registry, &head.policy.from.ecr.repository).await?, head);
        let current = self.ledger.tags_seen(service).await?;
        let mut next = TagsSeen::after(current.as_ref(), head, tags, now);
        let found = self.release_lost(service, head, &mut next, now).await?;
        if next.is_news(current.as_ref()) {
            let expected = current.map(|seen| seen.version);
            next.version = expected.map_or(0, |version| version + 1);
            let write = TagsWrite { service: service.clone(), expected, tags: next };
            match self.ledger.commit(Commit { tags: Some(write), ..Commit::default() }).await {
                // Another clock was faster, and has seen the same.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                other => other?,
            }
        }
        Ok(found)
    }

    /// Of several that were lost only the newest is released, as it would have been had their events come one after the other.
    async fn release_lost(
        &self,
        service: &ServiceName,
        head: &ServiceHead,
        seen: &mut TagsSeen,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        let Some(first) = seen.fresh.iter().map(|it| it.after).min() else { return Ok(false) };
        let releases = settled_until(self.ledger.releases(service, LOOK_BACK).await?, first)?;
        seen.settle(|it| {
            it.was_released(&releases) || it.is_overtaken(head) || head.quarantine.contains_key(&it.digest)
        });
        let due = seen.fresh.iter().filter(|it| it.is_due(now));
        let Some(lost) = due.max_by_key(|it| (it.since, it.pushed_at)).cloned() else { return Ok(false) };
        tracing::warn!(service = %service, image.tag = %lost.tag, image.digest = %lost.digest, "the event of a push was lost; the clock found it");
        let id = format!("tag {} seen at {}", lost.tag, lost.since);
        let asked = Asked {
            service: service.clone(),
            image: Image {
                registry: ecr_registry(&self.account, &self.region),
                repository: head.policy.from.ecr.repository.clone(),
                digest: lost.digest.clone(),
                tag: Some(lost.tag.clone()),
            },
            by: Actor::Event { source: "tidegate.clock".into(), id },
            why: None,
            trigger: Some(Trigger::Push),
            pushed_at: Some(lost.times()),
            insist: false,
            provenance: Provenance::default(),
            bypass_freeze: None,
            delivery: None,
        };
        let still = |head: &ServiceHead| head.policy.selects(&lost.tag) && !lost.is_overtaken(head);
        let admission = self.release_image(asked, still).await?;
        seen.settle(|it| it.is_due(now));
        Ok(matches!(admission, Some(Admission::Created { .. })))
    }
}

/// The repositories of a round, each read once.
struct Repositories<'a> {
    images: &'a dyn Images,
    read: BTreeMap<RepositoryName, Vec<ImageDescribed>>,
}

impl Repositories<'_> {
    async fn tagged(
        &mut self,
        registry: &str,
        name: &RepositoryName,
    ) -> Result<&[ImageDescribed], PortError> {
        let list = match self.read.remove(name) {
            Some(list) => list,
            None => self.images.tagged(registry, name).await?,
        };
        Ok(self.read.entry(name.clone()).or_insert(list).as_slice())
    }
}

/// The tags that start a release when they are pushed, on images.
fn selected(images: &[ImageDescribed], head: &ServiceHead) -> Vec<Tagged> {
    let mut selected = Vec::new();
    for image in images.iter().filter(|image| image.is_no_image().is_none()) {
        let Some(pushed_at) = image.pushed_at else { continue };
        let tags = image.tags.iter().filter(|tag| head.policy.selects(tag));
        selected.extend(tags.map(|tag| Tagged { tag: tag.clone(), digest: image.digest.clone(), pushed_at }));
    }
    selected
}
