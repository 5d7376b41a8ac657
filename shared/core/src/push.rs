//! When an image was pushed, so that what comes out of order does not take a service back.

use jiff::{SignedDuration, Timestamp};

use serde::{Deserialize, Serialize};

/// How long after the push of an image its tag may come, by ECR's clocks, and still be part of that push.
pub(crate) const ONE_PUSH: SignedDuration = SignedDuration::from_secs(10);

/// How far the clock of whoever writes a push down may be behind the one that says when it was.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(5);

/// When an image was pushed. A tag that is put on an image later does not change when the image was pushed, and a mirror brings what was
/// announced before when it can, so these are three things that are never compared with each other's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushTimes {
    /// When the image was pushed, as ECR describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Timestamp>,
    /// When the tag was put on it, as the event of a push says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Timestamp>,
    /// When it was announced, as the sender of a webhook says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Timestamp>,
}

impl PushTimes {
    /// Not after now by more than clocks differ: one that goes before ours must not shut out what comes after. One of ours that goes behind
    /// makes no push older than it is: of two that come out of order the older one would be let in after the newer one.
    pub(crate) fn until(self, now: Timestamp) -> Self {
        let latest = now.saturating_add(CLOCKS_DIFFER).unwrap_or(now);
        let past = |at: Option<Timestamp>| at.map(|at| at.min(latest));
        Self { image: past(self.image), tag: past(self.tag), said: past(self.said) }
    }

    /// The later of each.
    #[must_use]
    pub fn newer(self, other: Self) -> Self {
        Self {
            image: self.image.max(other.image),
            tag: self.tag.max(other.tag),
            said: self.said.max(other.said),
        }
    }

    /// Why it is older than what was let in, if it is. Tags are compared with tags, images with images; an image that somebody tagged long
    /// after it was pushed is meant now, whenever it was pushed.
    pub(crate) fn older(self, known: Self) -> Option<String> {
        let told = |what: &str, at: Timestamp, newest: Timestamp| {
            format!("it was {what} at {at}, and a newer image, {what} at {newest}, was let in before")
        };
        if let (Some(at), Some(newest)) = (self.tag, known.tag)
            && at < newest
        {
            return Some(told("tagged", at, newest));
        }
        let image = self.image?;
        if self.tag.is_some_and(|tag| tag.duration_since(image) > ONE_PUSH) {
            return None;
        }
        let newest = known.image.filter(|newest| image < *newest)?;
        Some(told("pushed", image, newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + secs).unwrap()
    }

    #[test]
    fn a_clock_of_ours_that_goes_behind_makes_no_push_older_and_one_that_goes_before_shuts_nothing_out() {
        let pushed = |secs| PushTimes { tag: Some(at(secs)), ..PushTimes::default() };
        assert_eq!(pushed(3).until(at(0)), pushed(3), "our clock is three seconds behind");
        assert_eq!(pushed(3_600).until(at(0)), pushed(5), "theirs is an hour before");
    }
}
