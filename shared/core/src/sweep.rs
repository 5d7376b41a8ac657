//! Which tags were seen on which image, so that a push is found whose event was lost.
//!
//! A tag that names another image than when it was last seen was put there meanwhile: by a push, or by promoting an image that was pushed
//! long ago under another tag. When the image itself was pushed says nothing about that.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{Digest, RepositoryName, Tag};
use crate::push::{ONE_PUSH, PushTimes};
use crate::release::Release;
use crate::service::ServiceRecord;

/// How long the event of a push has, once the tag was seen, before it counts as lost.
pub const EVENT_GRACE: SignedDuration = SignedDuration::from_secs(120);
/// How far clocks may differ, and reads lag.
const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// How often it is written down that nothing has changed.
const NOTED_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// A tag of the repository as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Tagged {
    pub repository: RepositoryName,
    pub tag: Tag,
    /// The image it names.
    pub digest: Digest,
    /// When the image was pushed.
    pub pushed_at: Timestamp,
}

/// What was seen in the repository for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsSeen {
    /// Counts changes; every write names the version it was decided on.
    pub version: u64,
    /// When the repository was looked at last, within some minutes.
    pub looked_at: Timestamp,
    /// Since when the policy's source is watched: another source is seen for the first time.
    pub watching_since: Timestamp,
    /// Tag to image, each by the beginning of a hash of it: a repository may have thousands.
    pub seen: BTreeMap<String, String>,
    /// Tags that were found on another image, and whose event may still come.
    pub fresh: Vec<Fresh>,
}

/// A tag that was found on another image than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Fresh {
    pub repository: RepositoryName,
    pub tag: Tag,
    /// The image it names.
    pub digest: Digest,
    /// When the image was pushed.
    pub pushed_at: Timestamp,
    /// The last look that did not see it.
    pub after: Timestamp,
    /// The first look that did.
    pub since: Timestamp,
}

impl TagsSeen {
    /// How many tags are remembered: those of the images pushed last.
    pub const KEPT: usize = 10_000;

    /// After one look more. What is seen for the first time starts nothing, unless it was pushed after the policy was applied. ECR tells the
    /// second of a push, so of two in one second the push counts as the earlier: nothing starts that may have been there before.
    #[must_use]
    pub fn after(
        current: Option<&Self>,
        head: &ServiceRecord,
        mut tags: Vec<Tagged>,
        now: Timestamp,
    ) -> Self {
        let current = current.filter(|seen| seen.watching_since == head.watching_since);
        tags.sort_by_key(|it| std::cmp::Reverse(it.pushed_at));
        tags.truncate(Self::KEPT);
        let mut next = Self {
            version: current.map_or(0, |seen| seen.version),
            looked_at: now,
            watching_since: head.watching_since,
            seen: BTreeMap::new(),
            fresh: Vec::new(),
        };
        for it in tags {
            let (key, value) = (key(&it.repository, &it.tag), short(it.digest.as_str()));
            let same = |old: &&Fresh| {
                (&old.repository, &old.tag, &old.digest) == (&it.repository, &it.tag, &it.digest)
            };
            let fresh = current.and_then(|seen| seen.fresh.iter().find(same));
            let is_known = match current {
                Some(seen) => seen.seen.get(&key) == Some(&value),
                None => it.pushed_at < head.watching_since,
            };
            if is_known {
                next.seen.insert(key, value);
            } else {
                let after = current.map_or(head.watching_since, |seen| seen.looked_at);
                let Tagged { repository, tag, digest, pushed_at } = it.clone();
                let new = Fresh { repository, tag, digest, pushed_at, after, since: now };
                next.fresh.push(fresh.cloned().unwrap_or(new));
                // What it named before is remembered: a tag that goes back there is not new.
                if let Some(before) = current.and_then(|seen| seen.seen.get(&key)) {
                    next.seen.insert(key, before.clone());
                }
            }
        }
        next
    }

    /// No longer waits for these.
    pub fn settle(&mut self, settled: impl Fn(&Fresh) -> bool) {
        let (done, fresh): (Vec<Fresh>, Vec<Fresh>) =
            std::mem::take(&mut self.fresh).into_iter().partition(settled);
        self.fresh = fresh;
        self.seen.extend(done.iter().map(|it| (key(&it.repository, &it.tag), short(it.digest.as_str()))));
    }

    /// Whether it is worth writing in place of `current`.
    pub fn is_news(&self, current: Option<&Self>) -> bool {
        current.is_none_or(|old| {
            old.seen != self.seen
                || old.fresh != self.fresh
                || old.watching_since != self.watching_since
                || self.looked_at.duration_since(old.looked_at) >= NOTED_EVERY
        })
    }
}

/// What a tag of a repository is remembered by.
fn key(repository: &RepositoryName, tag: &Tag) -> String {
    short(&format!("{repository}:{tag}"))
}

/// Twelve digits: among ten thousand, two alike are one in millions.
fn short(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..6])
}

impl Fresh {
    /// Whether its event has had its time.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let put_there = if self.is_push() { self.pushed_at } else { self.since };
        now.duration_since(put_there) >= EVENT_GRACE
    }

    /// Whether its event came after all: there is a release of the image that was made since the tag can have been put on it.
    pub fn was_released(&self, releases: &[Release]) -> bool {
        let earliest = self.after.saturating_sub(SKEW).unwrap_or(self.after);
        releases
            .iter()
            .any(|release| release.change.digests().contains(&self.digest) && release.created_at >= earliest)
    }

    /// Whether the image was pushed with the tag, rather than tagged later.
    fn is_push(&self) -> bool {
        self.pushed_at >= self.after.saturating_sub(SKEW).unwrap_or(self.after)
    }

    /// Whether what was let in since is newer. Of two that were tagged between the same two looks the newer image counts: more cannot be known.
    pub fn is_overtaken(&self, head: &ServiceRecord) -> bool {
        let known = head.newest_of(&self.repository);
        let by_image = known.image.is_some_and(|newest| newest > self.pushed_at);
        if self.is_push() {
            // Its tag is as old as its image, so a tag that was let in later is newer, whatever image it was put on.
            let later = |newest: Timestamp| newest.duration_since(self.pushed_at) > ONE_PUSH;
            return by_image || known.tag.is_some_and(later);
        }
        // Of what was found by looking only the image's time is known, and its tag is no older than that.
        match known.tag.max(known.image) {
            Some(newest) if newest > self.since => true,
            Some(newest) if newest > self.after => by_image,
            Some(_) | None => false,
        }
    }

    /// As a push would say it.
    pub fn times(&self) -> PushTimes {
        let tag = (!self.is_push()).then_some(self.since);
        PushTimes { image: Some(self.pushed_at), tag, said: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ContainerName;
    use crate::policy;

    fn head() -> ServiceRecord {
        let text = "service: checkout\nfrom: { ecr: { repository: shop/checkout, tags: [\"prod-*\"] } }\n\
                    to: { ecs: { cluster: prod, service: web, container: app } }\nstrategy: { blue_green: {} }\n";
        ServiceRecord::new(policy::parse("p.yaml", text).unwrap(), at(0))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + secs).unwrap()
    }

    fn repository() -> RepositoryName {
        RepositoryName::new("shop/checkout").unwrap()
    }

    fn tagged(tag: &str, build: u32, pushed: i64) -> Tagged {
        let digest = Digest::new(format!("sha256:{:064x}", u128::from(build) << 100)).unwrap();
        Tagged { repository: repository(), tag: Tag::new(tag).unwrap(), digest, pushed_at: at(pushed) }
    }

    fn look(current: Option<&TagsSeen>, tags: &[Tagged], secs: i64) -> TagsSeen {
        TagsSeen::after(current, &head(), tags.to_vec(), at(secs))
    }

    #[test]
    fn what_was_there_before_the_policy_starts_nothing_and_what_came_after_does() {
        let seen = look(None, &[tagged("prod-1", 1, -500), tagged("prod-2", 2, 20)], 60);
        let fresh: Vec<&str> = seen.fresh.iter().map(|it| it.tag.as_str()).collect();
        assert_eq!(fresh, ["prod-2"]);
        assert!(!seen.fresh[0].is_due(at(60)) && seen.fresh[0].is_due(at(180)));
    }

    #[test]
    fn a_tag_that_is_put_on_an_older_image_is_found_and_waits_for_its_event_once() {
        let first = look(None, &[tagged("prod-1", 1, -500)], 60);
        let second = look(Some(&first), &[tagged("prod-1", 2, -900)], 120);
        assert_eq!((second.fresh[0].after, second.fresh[0].since), (at(60), at(120)));
        let third = look(Some(&second), &[tagged("prod-1", 2, -900)], 180);
        assert_eq!(third.fresh, second.fresh, "it keeps waiting");
        // Put back before its event came: nothing has happened.
        assert!(look(Some(&third), &[tagged("prod-1", 1, -500)], 240).fresh.is_empty());
        let mut settled = third.clone();
        settled.settle(|_| true);
        assert!(look(Some(&settled), &[tagged("prod-1", 2, -900)], 240).fresh.is_empty());
        assert!(!look(Some(&settled), &[tagged("prod-1", 1, -500)], 240).fresh.is_empty());
    }

    #[test]
    fn another_source_is_seen_for_the_first_time() {
        let first = look(None, &[tagged("prod-1", 1, -500)], 60);
        let other = ServiceRecord { watching_since: at(90), ..head() };
        let second = TagsSeen::after(Some(&first), &other, vec![tagged("prod-9", 9, -900)], at(120));
        assert!(second.fresh.is_empty());
    }

    #[test]
    fn what_came_later_is_not_overtaken_and_of_the_same_moment_the_newer_image_counts() {
        let fresh = |pushed: i64| Fresh {
            repository: repository(),
            tag: Tag::new("prod-1").unwrap(),
            digest: tagged("x", 1, 0).digest,
            pushed_at: at(pushed),
            after: at(1000),
            since: at(1060),
        };
        let let_in = |push: i64, image: i64| {
            let times = PushTimes { tag: Some(at(push)), image: Some(at(image)), said: None };
            ServiceRecord { newest: BTreeMap::from([(ContainerName::new("app").unwrap(), times)]), ..head() }
        };
        // Tagged later than it was pushed.
        assert!(!fresh(100).is_overtaken(&head()));
        assert!(!fresh(100).is_overtaken(&let_in(900, 800)), "tagged after the other");
        assert!(fresh(100).is_overtaken(&let_in(1100, 800)), "tagged before the other");
        assert!(fresh(100).is_overtaken(&let_in(1030, 800)));
        assert!(!fresh(100).is_overtaken(&let_in(1030, 50)));
        assert!(
            fresh(100).is_overtaken(&let_in(900, 1030)),
            "the other one was found by looking, and is newer"
        );
        // Pushed with its tag: an image that is newer counts, and a tag that was put on any image after that push.
        assert!(fresh(1010).is_overtaken(&let_in(900, 1020)));
        assert!(fresh(1010).is_overtaken(&let_in(1100, 800)), "an older image was promoted after the push");
        assert!(!fresh(1010).is_overtaken(&let_in(1015, 800)), "too near to tell; the newer image counts");
    }

    #[test]
    fn a_tag_of_another_repository_is_another_tag() {
        let first = look(None, &[tagged("prod-1", 1, -500)], 60);
        let other =
            Tagged { repository: RepositoryName::new("acme/proxy").unwrap(), ..tagged("prod-1", 1, -500) };
        let second = look(Some(&first), &[tagged("prod-1", 1, -500), other.clone()], 120);
        let fresh: Vec<&str> = second.fresh.iter().map(|it| it.repository.as_str()).collect();
        assert_eq!(fresh, ["acme/proxy"]);
        assert!(
            !second.fresh[0].is_overtaken(&ServiceRecord {
                newest: BTreeMap::from([(
                    ContainerName::new("app").unwrap(),
                    PushTimes { tag: Some(at(200)), image: Some(at(200)), said: None },
                )]),
                ..head()
            }),
            "what was let in of one repository says nothing of another's"
        );
    }

    #[test]
    fn thousands_of_tags_fit_into_a_row() {
        let tags: Vec<Tagged> =
            (0..12_000).map(|n| tagged(&format!("prod-{n}"), n, i64::from(n) - 20_000)).collect();
        let seen = look(None, &tags, 60);
        assert!(seen.seen.len() <= TagsSeen::KEPT && seen.seen.len() > TagsSeen::KEPT - 10);
        assert!(serde_json::to_string(&seen).unwrap().len() < 390 * 1024);
    }
}
