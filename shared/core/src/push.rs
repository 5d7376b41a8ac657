//! When an image was pushed, so that what comes out of order does not take a service back.

use jiff::{SignedDuration, Timestamp};

use serde::{Deserialize, Serialize};

/// How long after the push of an image its tag may come, by ECR's clocks, and still be part of that push.
pub(crate) const ONE_PUSH: SignedDuration = SignedDuration::from_secs(10);

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
    /// Not after now: a clock that goes before ours must not shut out what comes after.
    pub(crate) fn until(self, now: Timestamp) -> Self {
        let past = |at: Option<Timestamp>| at.map(|at| at.min(now));
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
