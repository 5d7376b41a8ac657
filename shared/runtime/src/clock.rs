//! The guarantee: everything due within the next minute is woken at its second, and triggers that were lost are found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::admission::Admission;
use tidegate_core::commit::{Commit, RowWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{Image, ReleaseId, RepositoryName, ServiceName};
use tidegate_core::intent::Provenance;
use tidegate_core::ports::{Due, ImageDescribed, Images, WakeUp, Waker};
use tidegate_core::registry::ecr_registry;
use tidegate_core::service::ServiceRecord;
use tidegate_core::sweep::{Fresh, Tagged, TagsSeen};
use tidegate_core::trigger::Trigger;
use tokio::sync::OnceCell;

use tidegate_core::admission::ReleaseRequest;

use crate::arrivals::settled_until;
use crate::context::Installation;
use crate::visits::{Looked, Pace};

/// The clock comes every minute; what is due until the next round is sent now.
const ROUND: SignedDuration = SignedDuration::from_secs(60);
/// How often it looks again what is due while something is expected any moment: sooner than anybody who was woken wants to be woken again.
const STEP: SignedDuration = SignedDuration::from_secs(5);
/// How many releases that are only looked at are woken by one message, and how far apart their times may be: they are looked at together, and
/// what is asked for all of them is asked once.
const TOGETHER: usize = 20;
const APART: SignedDuration = SignedDuration::from_secs(3);
/// How long after its time a wake-up is sent again that nobody has gone on with.
const AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// How many releases back it is looked whether a digest has been released before.
const LOOK_BACK: u32 = 50;

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Releases woken.
    pub woken: u32,
    /// Releases started for pushes whose event was lost.
    pub found: u32,
    /// What failed; the next round tries again.
    pub failed: Vec<String>,
}

impl Installation {
    /// Both halves of a round at once: what is due is woken while lost pushes are looked for. Nothing that fails keeps the rest from its turn.
    pub async fn round(&self, images: &dyn Images, pace: Pace<'_>) -> Round {
        let (woken, lost) = tokio::join!(self.wake_due(), self.find_lost_pushes(images, pace));
        Round { woken: woken.done, found: lost.done, failed: [woken.failed, lost.failed].concat() }
    }

    /// Sends what is due until the next round, each to its second.
    pub async fn wake_due(&self) -> Looked {
        self.wake_until(self.time.now()).await
    }

    /// The same, and again every few seconds until `until` while something is expected any moment: those who are woken send nothing to the
    /// queue, so what they decide in the middle of a round would wait for the next one.
    pub async fn wake_until(&self, until: Timestamp) -> Looked {
        let Some(waker) = &self.waker else { return Looked::default() };
        let (mut sent, mut failed) = (Sent::default(), BTreeSet::new());
        let mut stays = false;
        loop {
            let now = self.time.now();
            match self.ledger.due(now.saturating_add(ROUND).unwrap_or(now)).await {
                Ok(listing) => {
                    let mut damaged = Vec::new();
                    let due = listing.tell(&mut damaged);
                    failed.extend(damaged);
                    failed.extend(sent.send(&**waker, &due, now).await);
                    stays = due.iter().any(|due| due.soon);
                }
                // Whether anything is expected is known from the look before, if there was one.
                Err(error) => {
                    failed.insert(format!("ask what is due: {error}"));
                }
            }
            let next = now.saturating_add(STEP).unwrap_or(until);
            if !stays || next >= until {
                break;
            }
            self.time.sleep(next.duration_since(self.time.now())).await;
        }
        Looked { done: sent.releases(), failed: failed.into_iter().collect() }
    }

    /// Looks for pushes whose event was lost.
    pub async fn find_lost_pushes(&self, images: &dyn Images, pace: Pace<'_>) -> Looked {
        let now = self.time.now();
        let mut failed = Vec::new();
        // Where pushes start nothing, none can be lost, and the repository need not be read.
        let starts = |head: &ServiceRecord| !head.policy.from.ecr.tags.is_empty();
        let pushed = match pace.services(&*self.ledger, &mut failed, starts).await {
            Ok(pushed) => pushed,
            Err(error) => return Looked { done: 0, failed: vec![format!("list the services: {error}")] },
        };
        let what = "look for lost pushes";
        let repositories = &Repositories { images, read: Mutex::default() };
        let looked = pace
            .visit(&*self.time, what, pushed, |service, head| async move {
                let found = self.find_lost(repositories, &service, &head, now).await;
                found.map_err(|error| format!("{what} of {service}: {error}"))
            })
            .await;
        Looked { done: looked.done, failed: [failed, looked.failed].concat() }
    }

    /// ECR's events may be lost: a tag that names another image than when it was seen last, and whose event has had its time, is handled
    /// as if its event had come.
    async fn find_lost(
        &self,
        repositories: &Repositories<'_>,
        service: &ServiceName,
        head: &ServiceRecord,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        let registry = ecr_registry(&self.account, &self.region);
        let mut tags = Vec::new();
        for repository in head.policy.repositories() {
            tags.extend(selected(&repositories.tagged(&registry, repository).await?, repository, head));
        }
        let current = self.ledger.tags_seen(service).await?;
        let mut next = TagsSeen::after(current.as_ref(), head, tags, now);
        let found = self.release_lost(service, head, &mut next, now).await?;
        if next.is_news(current.as_ref()) {
            let expected = current.map(|seen| seen.version);
            next.version = expected.map_or(0, |version| version + 1);
            let write = RowWrite { service: service.clone(), expected, row: next };
            match self.ledger.commit(Commit { tags: Some(write), ..Commit::default() }).await {
                // Another clock was faster, and has seen the same.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                other => other?,
            }
        }
        Ok(found)
    }

    /// Of several of a repository that were lost only the newest is released, as it would have been had their events come one after the other.
    async fn release_lost(
        &self,
        service: &ServiceName,
        head: &ServiceRecord,
        seen: &mut TagsSeen,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        // What the service's own row settles needs no releases read, nor does what still has time.
        seen.settle(|it| it.is_overtaken(head) || head.quarantine.contains_key(&it.digest));
        let waits = |it: &Fresh| !it.is_due(now);
        let Some(first) = seen.fresh.iter().map(|it| it.after).min() else { return Ok(false) };
        if seen.fresh.iter().all(waits) {
            return Ok(false);
        }
        let releases = settled_until(self.ledger.releases(service, LOOK_BACK).await?, first)?;
        seen.settle(|it| it.was_released(&releases));
        let mut newest: BTreeMap<RepositoryName, Fresh> = BTreeMap::new();
        for it in seen.fresh.iter().filter(|it| it.is_due(now)) {
            let known = newest.entry(it.repository.clone()).or_insert_with(|| it.clone());
            if (it.since, it.pushed_at) > (known.since, known.pushed_at) {
                *known = it.clone();
            }
        }
        let mut found = false;
        for lost in newest.into_values() {
            found |= self.release_tag(service, head, &lost).await?;
        }
        seen.settle(|it| it.is_due(now));
        Ok(found)
    }

    /// Releases a tag as if its event had come.
    async fn release_tag(
        &self,
        service: &ServiceName,
        head: &ServiceRecord,
        lost: &Fresh,
    ) -> Result<bool, PortError> {
        tracing::warn!(service = %service, image.tag = %lost.tag, image.digest = %lost.digest, "the event of a push was lost; the clock found it");
        let id = format!("tag {} seen at {}", lost.tag, lost.since);
        let image = Image {
            registry: ecr_registry(&self.account, &self.region),
            repository: lost.repository.clone(),
            digest: lost.digest.clone(),
            tag: Some(lost.tag.clone()),
        };
        let Some(change) = head.policy.change_of(&image) else { return Ok(false) };
        let request = ReleaseRequest {
            service: service.clone(),
            pushed: change.containers().map(|container| (container.clone(), lost.times())).collect(),
            change,
            by: Actor::Event { source: "tidegate.clock".into(), id },
            why: None,
            trigger: Some(Trigger::Push),
            force: false,
            provenance: Provenance::default(),
            bypass_freeze: None,
            delivery: None,
        };
        let still = |head: &ServiceRecord| {
            head.policy.selects(&lost.repository, &lost.tag) && !lost.is_overtaken(head)
        };
        let admission = self.release_image(request, still).await?;
        Ok(matches!(admission, Some(Admission::Created { .. })))
    }
}

/// Which wake-ups a round has sent: for what time, and from when on it is sent again if the release has not gone on.
#[derive(Default)]
struct Sent(BTreeMap<ReleaseId, (Timestamp, Timestamp)>);

impl Sent {
    /// Sends those that were not sent yet, each to its second; says what failed. Whichever comes when the release has gone on is answered at
    /// once.
    async fn send(&mut self, waker: &dyn Waker, due: &[Due], now: Timestamp) -> Vec<String> {
        let fresh: Vec<&Due> = due.iter().filter(|due| self.is_unsent(due, now)).collect();
        let wakes: Vec<WakeUp> = grouped(&fresh).iter().map(|group| wake_up(group, now)).collect();
        let unsent = waker.wake_all(&wakes).await;
        let asleep: BTreeSet<&ReleaseId> = unsent.iter().map(|(release, _)| release).collect();
        for due in fresh.into_iter().filter(|due| !asleep.contains(&due.release)) {
            let again = due.at.max(now).saturating_add(AGAIN).unwrap_or(now);
            self.0.insert(due.release.clone(), (due.at, again));
        }
        unsent.iter().map(|(release, error)| format!("wake {release}: {error}")).collect()
    }

    fn is_unsent(&self, due: &Due, now: Timestamp) -> bool {
        self.0.get(&due.release).is_none_or(|(at, again)| *at != due.at || *again <= now)
    }

    /// How many releases were woken.
    fn releases(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// Whoever waits for something comes alone, to its second; those that are only looked at come together.
fn grouped<'a>(due: &[&'a Due]) -> Vec<Vec<&'a Due>> {
    let (soon, mut looked): (Vec<&Due>, Vec<&Due>) = due.iter().copied().partition(|due| due.soon);
    looked.sort_by_key(|due| due.at);
    let mut groups: Vec<Vec<&Due>> = soon.into_iter().map(|due| vec![due]).collect();
    let singles = groups.len();
    for due in looked {
        match groups[singles..].last_mut() {
            Some(group) if group.len() < TOGETHER && due.at.duration_since(group[0].at) <= APART => {
                group.push(due);
            }
            Some(_) | None => groups.push(vec![due]),
        }
    }
    groups
}

/// One message, when the last of them is due.
fn wake_up(group: &[&Due], now: Timestamp) -> WakeUp {
    let after = group.iter().map(|due| due.at).max().unwrap_or(now).max(now).duration_since(now);
    let secs = u32::try_from(after.as_secs()).unwrap_or(0) + u32::from(after.subsec_nanos() > 0);
    let also = group[1..].iter().map(|due| due.release.clone()).collect();
    WakeUp { also, ..WakeUp::of(group[0].release.clone(), secs, "it is due") }
}

/// The repositories of a round, each read once, whichever services ask at the same time.
struct Repositories<'a> {
    images: &'a dyn Images,
    read: Mutex<BTreeMap<RepositoryName, Arc<OnceCell<Vec<ImageDescribed>>>>>,
}

impl Repositories<'_> {
    async fn tagged(&self, registry: &str, name: &RepositoryName) -> Result<Vec<ImageDescribed>, PortError> {
        let cell = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.entry(name.clone()).or_default().clone()
        };
        cell.get_or_try_init(|| self.images.tagged(registry, name)).await.cloned()
    }
}

/// The tags that start a release when they are pushed, on images.
fn selected(images: &[ImageDescribed], repository: &RepositoryName, head: &ServiceRecord) -> Vec<Tagged> {
    let mut selected = Vec::new();
    for image in images.iter().filter(|image| image.is_no_image().is_none()) {
        let Some(pushed_at) = image.pushed_at else { continue };
        let tags = image.tags.iter().filter(|tag| head.policy.selects(repository, tag));
        selected.extend(tags.map(|tag| Tagged {
            repository: repository.clone(),
            tag: tag.clone(),
            digest: image.digest.clone(),
            pushed_at,
        }));
    }
    selected
}
