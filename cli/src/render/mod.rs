//! From what was fetched to lines for people. Pure: the time and the time zone are arguments.

mod calibrate;
mod changes;
mod figures;
mod forecast;
mod plan;
mod replay;
mod tables;
mod tree;
mod why;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::line::Tone;
use tidegate_view::{ReleaseView, State};

pub use calibrate::calibrate;
pub use changes::changes;
pub use figures::figures;
pub use plan::{plan, rollback};
pub use replay::replay;
pub use tables::{quarantine, releases, services};
pub use tidegate_core::words::span;
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

    /// The time of day; the day and the time in another day, and the date alone in another year: for the columns of a table.
    pub fn short(&self, at: Timestamp) -> String {
        let (at, now) = (at.to_zoned(self.zone.clone()), self.now.to_zoned(self.zone.clone()));
        let form = if at.date() == now.date() {
            "%H:%M:%S"
        } else if at.year() == now.year() {
            "%b %d %H:%M"
        } else {
            "%Y-%m-%d"
        };
        at.strftime(form).to_string()
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

/// `set 10%, measured 10%`; nothing before any traffic was touched.
pub(crate) fn traffic(view: &ReleaseView) -> Option<String> {
    let set = view.set_percent.map(|set| format!("set {set}%"));
    let measured = view.measured_percent.map(|measured| {
        let when = if view.measured_live { "" } else { " at the last look" };
        format!("measured {measured}%{when}")
    });
    let parts: Vec<String> = [set, measured].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_only_said_when_it_is_not_today() {
        let clock = Clock { now: "2026-03-02T10:00:00Z".parse().unwrap(), zone: TimeZone::UTC };
        assert_eq!(clock.time("2026-03-02T09:59:58Z".parse().unwrap()), "09:59:58");
        assert_eq!(clock.time("2026-03-01T23:59:58Z".parse().unwrap()), "2026-03-01 23:59:58");
        assert_eq!(clock.short("2026-03-01T23:59:58Z".parse().unwrap()), "Mar 01 23:59");
        assert_eq!(clock.short("2025-03-01T23:59:58Z".parse().unwrap()), "2025-03-01");
    }
}
