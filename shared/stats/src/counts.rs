//! What was counted: as it is told, and in whole thousandths, which add up exactly.

use serde::{Deserialize, Serialize};

/// One version's requests in some stretch of time. Fractions are possible: a monitoring service interpolates some counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Requests, the bad ones among them. Where fewer are told than were bad, as many are taken as were bad: the counts of one minute do not
    /// always arrive together.
    pub requests: f64,
    /// Those that were bad: errors, or too slow.
    pub bad: f64,
}

/// One stretch of time, a minute as a rule: the counts of both arms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The candidate's.
    pub candidate: Arm,
    /// Stable's.
    pub stable: Arm,
}

impl Arm {
    /// `bad` of `requests`.
    pub fn new(requests: f64, bad: f64) -> Self {
        Self { requests, bad }
    }

    /// The share of bad requests, 0 to 1; `None` without requests.
    pub fn rate(&self) -> Option<f64> {
        let counts = Counts::of(*self);
        (counts.requests > 0).then(|| counts.bad() / counts.requests())
    }
}

/// Thousandths of requests. Signed, because a tick can be taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requests: i64,
    pub(crate) bad: i64,
}

/// Parts of a request.
pub(crate) const PARTS: i64 = 1000;
/// More requests than a minute can bring; what lies above is no count. Keeps every sum far from its limits.
const MOST: f64 = 1e9;

#[expect(clippy::cast_possible_truncation, reason = "held between 0 and 1e12")]
fn parts(count: f64) -> i64 {
    // What is not a number is not above 0 either.
    if count > 0.0 { (count.min(MOST) * 1000.0).round() as i64 } else { 0 }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to nine quadrillion thousandths")]
fn whole(parts: i64) -> f64 {
    parts as f64 / 1000.0
}

impl Counts {
    pub(crate) fn of(arm: Arm) -> Self {
        let bad = parts(arm.bad);
        Self { requests: parts(arm.requests).max(bad), bad }
    }

    pub(crate) fn arm(self) -> Arm {
        Arm { requests: self.requests(), bad: self.bad() }
    }

    pub(crate) fn requests(self) -> f64 {
        whole(self.requests)
    }

    pub(crate) fn bad(self) -> f64 {
        whole(self.bad)
    }

    /// Adds, or takes away with `times` −1.
    pub(crate) fn add(&mut self, other: Self, times: i64) {
        self.requests += times * other.requests;
        self.bad += times * other.bad;
    }
}
