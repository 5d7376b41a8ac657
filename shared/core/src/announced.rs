//! An image that a proven sender announced before the repository had it: a mirror or a pull-through cache brings it some minutes later.
//!
//! One such image waits for each service, the one announced last, so that a flood of announcements costs nothing. It never passes by what
//! was let in meanwhile.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::history::{Entry, Event};
use crate::ids::{Digest, RepositoryName, ServiceName};
use crate::intent::Provenance;
use crate::push::PushTimes;
use crate::reference::{Pick, Reference};
use crate::service::ServiceRecord;
use crate::trigger::Trigger;

/// How long an image is looked for.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(15);
/// How far the clocks of another registry and of ECR may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What waits for its image, of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// Counts changes; every write names the version it was decided on.
    pub version: u64,
    /// The one that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announced>,
}

/// An image that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Announced {
    /// What announced it.
    pub trigger: Trigger,
    /// The repository it is looked for in.
    pub repository: RepositoryName,
    /// Which image of it.
    pub pick: Pick,
    /// What the tag named when it was announced: an image from before, which is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Digest>,
    /// Who or what asks.
    pub by: Actor,
    /// Why, for the history.
    pub why: String,
    /// Where the image comes from.
    pub provenance: Provenance,
    /// The delivery's id.
    pub delivery: String,
    /// When it was announced, as the sender says.
    pub said_at: Timestamp,
    pub noted_at: Timestamp,
    /// Whose policy let the sender pass: another source is another policy.
    watching_since: Timestamp,
    /// What had been let in by then.
    newest: PushTimes,
}

/// A request for an image that is not there yet.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Announcement {
    /// What announced it.
    pub trigger: Trigger,
    /// The repository it is looked for in.
    pub repository: RepositoryName,
    /// Which image.
    pub pick: Pick,
    /// What its tag names meanwhile.
    pub stale: Option<Digest>,
    /// Who or what asks.
    pub by: Actor,
    pub why: String,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The delivery's id.
    pub delivery: String,
    /// When it was announced, as the sender says.
    pub said_at: Timestamp,
}

impl Announced {
    /// Notes an announcement. A time after now is now: a clock that goes before ours must not shut out what comes after.
    pub fn new(announcement: Announcement, head: &ServiceRecord, now: Timestamp) -> Self {
        let Announcement { trigger, repository, pick, stale, by, why, provenance, delivery, said_at } =
            announcement;
        let said_at = said_at.min(now);
        let (watching_since, newest) = (head.watching_since, head.newest_of(&repository));
        Self {
            trigger,
            repository,
            pick,
            stale,
            by,
            why,
            provenance,
            delivery,
            said_at,
            noted_at: now,
            watching_since,
            newest,
        }
    }

    /// Until when it is looked for.
    pub fn until(&self) -> Timestamp {
        self.noted_at.saturating_add(PATIENCE).unwrap_or(self.noted_at)
    }

    /// Whether the policy's source is the one that let the sender pass.
    pub fn is_of_this_policy(&self, head: &ServiceRecord) -> bool {
        self.watching_since == head.watching_since
    }

    /// Whether a webhook that was let in told of something newer: webhooks come out of order too, and what a mirror brings later is not
    /// newer for that.
    pub fn is_older(&self, head: &ServiceRecord) -> bool {
        head.newest_of(&self.repository).said.is_some_and(|newest| self.said_at < newest)
    }

    /// Whether a machine's request was let in since: it is newer, whatever brings this image when.
    pub fn is_overtaken(&self, head: &ServiceRecord) -> bool {
        let known = head.newest_of(&self.repository);
        (self.newest.tag, self.newest.image) != (known.tag, known.image)
    }

    /// The image, as it is told to people.
    pub fn reference(&self) -> Reference {
        Reference { registry: None, repository: Some(self.repository.to_string()), pick: self.pick.clone() }
    }
}

/// Whether an image that was pushed to the repository at `pushed_at` can be the one that was pushed elsewhere at `said_at`.
pub fn can_be(pushed_at: Timestamp, said_at: Timestamp) -> bool {
    said_at.duration_since(pushed_at) <= SKEW
}

impl Awaited {
    /// With this announcement, at the next version, and the one that gives way to it, if one waited. The newer one, when that waits.
    /// `current` is `None` when there has been none.
    pub fn with(
        current: Option<&Self>,
        announced: Announced,
    ) -> Result<(Self, Option<Announced>), Box<Announced>> {
        let waits = current.and_then(|row| row.announced.clone());
        if let Some(newer) = waits.as_ref().filter(|waits| waits.said_at > announced.said_at) {
            return Err(Box::new(newer.clone()));
        }
        let version = current.map_or(0, |row| row.version + 1);
        Ok((Self { version, announced: Some(announced) }, waits))
    }

    /// Nothing waits any more.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self { version: self.version + 1, announced: None }
    }

    /// As the service's history tells it.
    pub fn entry(&self, service: &ServiceName) -> Option<Entry> {
        let announced = self.announced.as_ref()?;
        let event = Event::ImageAwaited {
            service: service.clone(),
            reference: announced.reference().to_string(),
            why: announced.why.clone(),
            until: announced.until(),
        };
        Some(Entry::new(0, announced.noted_at, announced.by.clone(), event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ContainerName, Tag};
    use crate::policy;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + secs).unwrap()
    }

    fn head() -> ServiceRecord {
        let text = "service: checkout\nfrom: { ecr: { repository: shop/checkout, tags: [\"v*\"] }, webhooks: { docker_hub: shop/checkout } }\n\
                    to: { ecs: { cluster: prod, service: web, container: app } }\nstrategy: { blue_green: {} }\n";
        ServiceRecord::new(policy::parse("p.yaml", text).unwrap(), at(0))
    }

    fn newest(times: PushTimes) -> ServiceRecord {
        ServiceRecord { newest: [(ContainerName::new("app").unwrap(), times)].into(), ..head() }
    }

    fn announced(tag: &str, said: i64) -> Announced {
        let announcement = Announcement {
            trigger: Trigger::DockerHub,
            repository: RepositoryName::new("shop/checkout").unwrap(),
            pick: Pick::Tag(Tag::new(tag).unwrap()),
            stale: None,
            by: Actor::Tidegate,
            why: "a webhook asked for it".into(),
            provenance: Provenance::default(),
            delivery: tag.into(),
            said_at: at(said),
        };
        Announced::new(announcement, &head(), at(100))
    }

    #[test]
    fn only_the_one_announced_last_waits() {
        let (first, gone) = Awaited::with(None, announced("v1", 10)).unwrap();
        assert_eq!((first.version, gone), (0, None));
        let (second, gone) = Awaited::with(Some(&first), announced("v2", 20)).unwrap();
        assert_eq!((second.version, gone.unwrap().delivery.as_str()), (1, "v1"));
        assert_eq!(Awaited::with(Some(&second), announced("v1", 10)).unwrap_err().delivery, "v2");
        let settled = second.settled();
        assert_eq!((settled.version, settled.entry(&head().policy.service)), (2, None));
        let (third, gone) = Awaited::with(Some(&settled), announced("v1", 10)).unwrap();
        assert_eq!((third.version, gone), (3, None));
        let entry = third.entry(&head().policy.service).unwrap();
        assert!(
            entry.event.to_string().contains("v1")
                && entry.event.why().contains("until 2023-11-14T22:30:00Z"),
            "{entry:?}"
        );
    }

    #[test]
    fn whatever_a_machine_was_let_in_for_since_is_newer() {
        let waits = announced("v1", 10);
        assert!(!waits.is_overtaken(&head()) && waits.is_of_this_policy(&head()));
        for newer in [
            newest(PushTimes { tag: Some(at(5)), ..PushTimes::default() }),
            newest(PushTimes { image: Some(at(5)), ..PushTimes::default() }),
        ] {
            assert!(waits.is_overtaken(&newer));
        }
        assert!(!waits.is_older(&head()));
        assert!(waits.is_older(&newest(PushTimes { said: Some(at(11)), ..PushTimes::default() })));
        assert!(!waits.is_older(&newest(PushTimes { said: Some(at(10)), ..PushTimes::default() })));
        assert!(!waits.is_of_this_policy(&ServiceRecord { watching_since: at(1), ..head() }));
    }

    #[test]
    fn a_time_after_now_is_now_and_clocks_may_differ_a_little() {
        assert_eq!(announced("v1", 9_999_999).said_at, at(100));
        assert!(can_be(at(10), at(5)) && can_be(at(10), at(70)) && !can_be(at(10), at(71)));
    }
}
