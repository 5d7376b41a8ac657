//! From what was fetched to lines for people. Pure: the time and the time zone are arguments.

mod changes;
mod plan;
mod tables;
mod tree;
mod why;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::line::Tone;
use crate::view::{ReleaseView, State};

pub use changes::changes;
pub use plan::plan;
pub use tables::{releases, services};
pub use tree::{fitted, tree};
pub use why::why;

/// Now, and where the reader is.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Now.
    pub now: Timestamp,
    /// The reader's time zone.
    pub zone: TimeZone,
}

impl Clock {
    /// The time of day, with the date when it is not today.
    pub fn time(&self, at: Timestamp) -> String {
        let at = at.to_zoned(self.zone.clone());
        let today = at.date() == self.now.to_zoned(self.zone.clone()).date();
        at.strftime(if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
    }

    /// How long ago.
    pub fn since(&self, at: Timestamp) -> String {
        span(self.now.duration_since(at))
    }

    /// How long until then.
    pub fn until(&self, at: Timestamp) -> String {
        span(at.duration_since(self.now))
    }
}

/// A span of time in its two largest units; never below zero.
pub fn span(duration: SignedDuration) -> String {
    // Rounded up: what has "0s left" is over.
    let mut secs = duration.as_secs().max(0);
    if duration.subsec_nanos() > 0 {
        secs += 1;
    }
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let mut parts = Vec::new();
    for (size, unit) in units {
        if secs >= size {
            parts.push(format!("{}{unit}", secs / size));
            secs %= size;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// How a state is told.
pub(crate) fn tone(state: State) -> Tone {
    match state {
        State::Queued => Tone::Faint,
        State::Preflight | State::Running | State::Settling => Tone::Now,
        State::RollingBack | State::RolledBack | State::Failed => Tone::Bad,
        State::Promoted => Tone::Good,
        State::Superseded | State::Cancelled => Tone::Warn,
    }
}

/// A state in words.
pub(crate) fn word(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Preflight => "preflight",
        State::Running => "running",
        State::RollingBack => "rolling back",
        State::Settling => "settling",
        State::Promoted => "promoted",
        State::RolledBack => "rolled back",
        State::Superseded => "superseded",
        State::Cancelled => "cancelled",
        State::Failed => "failed",
    }
}

/// `set 10 %, measured 10 %`; nothing before any traffic was touched.
pub(crate) fn traffic(view: &ReleaseView) -> Option<String> {
    let set = view.set_percent.map(|set| format!("set {set} %"));
    let measured = view.measured_percent.map(|measured| {
        let when = if view.measured_live { "" } else { " at the last look" };
        format!("measured {measured} %{when}")
    });
    let parts: Vec<String> = [set, measured].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told = |millis: i64| span(SignedDuration::from_millis(millis));
        assert_eq!(told(-5000), "0s");
        assert_eq!(told(0), "0s");
        assert_eq!(told(400), "1s");
        assert_eq!(told(60_000), "1m");
        assert_eq!(told(3_723_000), "1h 2m");
        assert_eq!(told(90_000_000), "1d 1h");
    }

    #[test]
    fn the_date_is_only_said_when_it_is_not_today() {
        let clock = Clock { now: "2026-03-02T10:00:00Z".parse().unwrap(), zone: TimeZone::UTC };
        assert_eq!(clock.time("2026-03-02T09:59:58Z".parse().unwrap()), "09:59:58");
        assert_eq!(clock.time("2026-03-01T23:59:58Z".parse().unwrap()), "2026-03-01 23:59:58");
    }
}
