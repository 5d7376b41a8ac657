//! What one channel was told of one release, and what becomes of it: kept beside the release, written under a condition.
//!
//! Whoever tells claims the next message first, so that two who come at the same time tell it once. Whoever dies between telling and noting it
//! leaves a claim behind; when that has run out the message is told again. That is the one case in which a receiver may hear it twice, and
//! where it can know that, the message's key tells it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Mark, NotSent};

/// How long a message that was begun is left to whoever began it.
pub const CLAIM: SignedDuration = SignedDuration::from_secs(45);
/// How long a receiver that is down is tried.
pub const PATIENCE: SignedDuration = SignedDuration::from_hours(24);
/// The pause after the first failure; each is twice the one before.
const FIRST_PAUSE_SECS: i64 = 5;
/// The longest pause.
const LONGEST_PAUSE_SECS: i64 = 15 * 60;
/// How much is kept of why a receiver was not told, characters.
const LONGEST_WHY: usize = 300;

/// What one channel was told of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Counts changes; every write names the version it was decided on.
    pub version: u64,
    /// The receiver's name.
    pub receiver: String,
    /// Up to where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Mark>,
    /// What the receiver calls what it was told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory: BTreeMap<String, String>,
    /// The message that is being told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// That somebody is telling a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Claim {
    pub mark: Mark,
    pub until: Timestamp,
}

/// That a receiver could not be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// Why not, last.
    pub why: String,
}

/// What to do for a channel that has something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the next message, once this is written.
    Tell(Told),
    /// Nothing before then.
    Wait(Timestamp),
}

/// What becomes of a message that was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Failure {
    /// It is tried again.
    Again { told: Told, next_at: Timestamp },
    /// It has been tried for as long as is tried, and so has what came after it.
    GivenUp { told: Told, since: Timestamp },
}

impl Told {
    /// Of a receiver that was told nothing yet.
    pub fn nothing(receiver: String) -> Self {
        Self { receiver, ..Self::default() }
    }

    /// The version the row must have when this is written; `None`: there must be none.
    pub fn expected(&self) -> Option<u64> {
        (self.version > 1).then(|| self.version - 1)
    }

    /// What to do now, with `next` to be told.
    pub fn step(&self, next: Mark, now: Timestamp) -> Step {
        if let Some(claim) = self.claim.as_ref().filter(|claim| claim.until > now) {
            return Step::Wait(claim.until);
        }
        if let Some(trouble) = self.trouble.as_ref().filter(|trouble| trouble.next_at > now) {
            return Step::Wait(trouble.next_at);
        }
        Step::Tell(self.next(|it| it.claim = Some(claim(next, now))))
    }

    /// After a message was told; `next` is the one that is told now, without a pause.
    #[must_use]
    pub fn sent(
        &self,
        mark: Mark,
        memory: BTreeMap<String, String>,
        next: Option<Mark>,
        now: Timestamp,
    ) -> Self {
        self.next(|it| {
            it.through = Some(mark);
            it.memory = memory;
            it.claim = next.map(|next| claim(next, now));
            it.trouble = None;
        })
    }

    /// After a message was not told. `last` is the newest one that waits: when the receiver has been tried for as long as is tried, all of
    /// them are given up.
    #[must_use]
    pub fn not_sent(&self, error: &NotSent, last: Mark, now: Timestamp) -> Failure {
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        let attempts = self.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
        if now.duration_since(since) >= PATIENCE {
            let told = self.next(|it| {
                it.through = Some(last);
                it.claim = None;
                it.trouble = None;
            });
            return Failure::GivenUp { told, since };
        }
        let doubled = FIRST_PAUSE_SECS << attempts.min(20);
        let asked = i64::from(error.retry_after_secs.unwrap_or(0));
        // The last attempt is made when patience ends, and not a pause later.
        let end = since.saturating_add(PATIENCE).unwrap_or(now);
        let pause = SignedDuration::from_secs(doubled.min(LONGEST_PAUSE_SECS).max(asked));
        let next_at = now.saturating_add(pause).unwrap_or(end).min(end);
        let why = crate::text::beginning(&error.why, LONGEST_WHY);
        let told = self.next(|it| {
            it.claim = None;
            it.trouble = Some(Trouble { since, attempts: attempts.saturating_add(1), next_at, why });
        });
        Failure::Again { told, next_at }
    }

    fn next(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        next.version += 1;
        change(&mut next);
        next
    }
}

fn claim(mark: Mark, now: Timestamp) -> Claim {
    Claim { mark, until: now.saturating_add(CLAIM).unwrap_or(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_772_442_000 + secs).unwrap()
    }

    const FIRST: Mark = Mark { version: 1, index: 0 };
    const SECOND: Mark = Mark { version: 2, index: 0 };

    #[track_caller]
    fn claimed(told: &Told, now: Timestamp) -> Told {
        match told.step(FIRST, now) {
            Step::Tell(next) => next,
            Step::Wait(until) => panic!("it waits until {until}"),
        }
    }

    #[test]
    fn what_somebody_tells_is_left_to_them_until_their_claim_runs_out() {
        let told = claimed(&Told::nothing("teams a".into()), at(0));
        assert_eq!(told.step(FIRST, at(44)), Step::Wait(at(45)));
        assert_eq!(claimed(&told, at(45)).version, 2);
        let next = told.sent(FIRST, BTreeMap::new(), Some(SECOND), at(2));
        assert_eq!((next.through, next.step(SECOND, at(3))), (Some(FIRST), Step::Wait(at(47))));
    }

    fn failed(told: &Told, error: &NotSent, now: Timestamp) -> (Told, Timestamp) {
        match told.not_sent(error, SECOND, now) {
            Failure::Again { told, next_at } => (told, next_at),
            Failure::GivenUp { .. } => panic!("it was given up at {now}"),
        }
    }

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour_and_the_receiver_may_ask_for_more() {
        let mut told = claimed(&Told::nothing("teams a".into()), at(0));
        let (mut pauses, mut now, mut next_at) = (Vec::new(), at(0), at(0));
        for _ in 0..10 {
            (told, next_at) = failed(&told, &NotSent::new("down"), now);
            assert_eq!(told.step(FIRST, now), Step::Wait(next_at));
            pauses.push(next_at.duration_since(now).as_secs());
            now = next_at;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        let asked = NotSent { retry_after_secs: Some(3600), ..NotSent::new("429") };
        assert_eq!(failed(&told, &asked, next_at).1.duration_since(next_at).as_secs(), 3600);
    }

    #[test]
    fn after_a_day_what_waits_is_given_up_and_what_comes_later_is_told() {
        let mut told = claimed(&Told::nothing("teams a".into()), at(0));
        let (mut now, mut attempts) = (at(0), 0);
        let (given_up, since) = loop {
            attempts += 1;
            match told.not_sent(&NotSent::new("down"), SECOND, now) {
                Failure::Again { told: next, next_at } => (told, now) = (next, next_at),
                Failure::GivenUp { told, since } => break (told, since),
            }
        };
        assert_eq!((now, since, given_up.through), (at(24 * 3600), at(0), Some(SECOND)));
        assert_eq!((&given_up.trouble, &given_up.claim), (&None, &None));
        assert!((100..110).contains(&attempts), "{attempts}");
    }

    #[test]
    fn success_ends_the_trouble() {
        let told = failed(&claimed(&Told::nothing("teams a".into()), at(0)), &NotSent::new("x"), at(1)).0;
        let again = claimed(&told, at(6));
        assert!(again.trouble.is_some());
        let next = again.sent(FIRST, BTreeMap::from([("ts".to_owned(), "1".to_owned())]), None, at(7));
        assert_eq!((&next.trouble, &next.claim, next.through), (&None, &None, Some(FIRST)));
    }
}
