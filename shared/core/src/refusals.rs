//! What a service's triggers were refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::history::{Entry, Event};
use crate::trigger::{Reason, Refusal, Subject, Trigger, cut};

/// What a service's triggers were refused, each kind once and counted. It has a row of its own, so that a flood of refusals neither buries
/// what happened to the service nor gets in the way of whoever changes the service's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalLog {
    /// Counts changes; every write names the version it was decided on.
    pub version: u64,
    /// The kinds, in the order they first came.
    pub refused: Vec<Refused>,
}

impl RefusalLog {
    /// How many kinds are kept; the one that was seen longest ago is dropped beyond it.
    pub const KEPT: usize = 16;
    /// A kind that comes again after so long is news, and counted from one.
    const FORGOTTEN_SECS: i64 = 7 * 24 * 3600;

    /// With one refusal more, at the next version. `current` is `None` when there has been none.
    #[must_use]
    pub fn with(
        current: Option<&Self>,
        trigger: Trigger,
        refusal: &Refusal,
        subject: &Subject,
        by: &Actor,
        now: Timestamp,
    ) -> Self {
        let mut next =
            current.map_or_else(Self::default, |log| Self { version: log.version + 1, ..log.clone() });
        let same = |old: &Refused| old.trigger == trigger && old.reason == refusal.reason;
        let earlier = next.refused.iter().position(same).map(|at| next.refused.remove(at));
        let earlier = earlier.filter(|old| now.duration_since(old.last).as_secs() < Self::FORGOTTEN_SECS);
        let (times, first) = earlier.map_or((0, now), |old| (old.times, old.first));
        next.refused.push(Refused {
            trigger,
            reason: refusal.reason,
            subject: subject.cut(),
            why: cut(&refusal.why),
            by: by.clone(),
            times: times.saturating_add(1),
            first,
            last: now.max(first),
        });
        if next.refused.len() > Self::KEPT {
            next.refused.remove(0);
        }
        next
    }

    /// As the service's history tells it: one entry a kind.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |refused: &Refused| {
            let event = Event::TriggerRefused {
                subject: refused.subject.clone(),
                why: refused.why.clone(),
                times: refused.times,
                first: refused.first,
            };
            Entry::new(0, refused.last, refused.by.clone(), event)
        };
        self.refused.iter().map(entry).collect()
    }
}

/// One kind of refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Refused {
    pub trigger: Trigger,
    /// What kind of reason.
    pub reason: Reason,
    /// What it was about, the last time.
    pub subject: Subject,
    /// Why not, the last time.
    pub why: String,
    /// Who or what asked, the last time.
    pub by: Actor,
    pub times: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + secs).unwrap()
    }

    fn with(log: Option<&RefusalLog>, trigger: Trigger, reason: Reason, secs: i64) -> RefusalLog {
        let by = Actor::Event { source: "shop.ci".into(), id: secs.to_string() };
        RefusalLog::with(
            log,
            trigger,
            &Refusal::new(reason, format!("because of {secs}")),
            &Subject::Image { reference: "shop/checkout:v1".into() },
            &by,
            at(secs),
        )
    }

    #[test]
    fn the_same_kind_again_is_counted_with_its_first_and_last_time() {
        let mut log = with(None, Trigger::Request, Reason::Sender, 0);
        for secs in 1..333 {
            log = with(Some(&log), Trigger::Request, Reason::Sender, secs);
        }
        log = with(Some(&log), Trigger::Request, Reason::Tag, 400);
        assert_eq!((log.refused.len(), log.version), (2, 333));
        let entries = log.entries();
        assert_eq!(
            entries[0].event.to_string(),
            "did not release shop/checkout:v1 (333 of this kind since 2023-11-14T22:13:20Z)"
        );
        assert_eq!((entries[0].event.why().as_str(), entries[0].at), ("because of 332", at(332)));
        assert_eq!(entries[1].event.to_string(), "did not release shop/checkout:v1");
    }

    #[test]
    fn it_stays_small_whatever_comes() {
        let reasons = [Reason::Sender, Reason::Tag, Reason::Missing];
        let kinds = Trigger::ALL.iter().cycle().zip(reasons.iter().cycle());
        let mut log = None;
        for ((trigger, reason), secs) in kinds.zip(0..200) {
            let long = Refusal::new(*reason, "x".repeat(100_000));
            let by = Actor::Tidegate;
            let subject = Subject::Image { reference: "y".repeat(100_000) };
            log = Some(RefusalLog::with(log.as_ref(), *trigger, &long, &subject, &by, at(secs)));
        }
        let log = log.unwrap();
        assert_eq!(log.refused.len(), RefusalLog::KEPT);
        assert!(serde_json::to_string(&log).unwrap().len() < 64 * 1024);
        assert_eq!(log.refused.last().unwrap().last, at(199), "the newest is kept");
    }

    #[test]
    fn what_comes_again_after_long_is_news() {
        let log = with(None, Trigger::Request, Reason::Sender, 0);
        let log = with(Some(&log), Trigger::Request, Reason::Sender, 8 * 24 * 3600);
        assert_eq!((log.refused[0].times, log.refused[0].first), (1, at(8 * 24 * 3600)));
    }
}
