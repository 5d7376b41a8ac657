//! What a comparison will be able to say, before the release: the test itself, fed with what is to be expected.

use serde::{Deserialize, Serialize};

use crate::counts::{Arm, Tick};
use crate::tally::{Tally, Test};

/// A service's traffic, as it was lately.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Requests a second, all versions together.
    pub requests_per_sec: f64,
    /// Bad requests per request of the stable version, 0 to 1.
    pub bad_rate: f64,
}

impl Load {
    /// From what was counted in so many seconds. Where nothing was bad, half a request is taken to have been: a rate of 0 would have no multiple.
    pub fn of(counted: Arm, secs: f64) -> Option<Self> {
        let requests = counted.requests;
        if !(requests > 0.0 && secs > 0.0) {
            return None;
        }
        let bad_rate = (counted.bad.max(0.5) / requests).min(1.0);
        Some(Self { requests_per_sec: requests / secs, bad_rate })
    }
}

/// A time in which the candidate has a share of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// 0 to 1.
    pub share: f64,
    /// How long it bakes there, seconds.
    pub secs: f64,
}

/// How counts come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// How long one is, seconds.
    pub every_secs: f64,
    /// How long after its end it counts, seconds.
    pub late_secs: f64,
}

/// What is to be expected of the candidate's requests in a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// In the step.
    pub requests: f64,
    /// Those of them that count: in the windows that lie in the step as a whole, wherever it begins between two windows.
    pub counted: f64,
}

impl Requests {
    /// Whether so many are sure to count, with room for chance: two standard deviations, which holds in 39 of 40 bakes.
    pub fn reach(&self, needed: f64) -> bool {
        needed <= 0.0 || self.counted - 2.0 * self.counted.sqrt() >= needed
    }
}

/// How a regression would go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// The candidate's rate of bad requests, as a multiple of stable's.
    pub ratio: f64,
    /// When half of such regressions have been found, seconds after the candidate got traffic; `None` when all steps are over before that.
    pub found_after_secs: Option<f64>,
    /// Bad requests of the candidate that users have seen by then, or by the end of all steps.
    pub bad_requests: f64,
}

/// The candidate's requests in each step.
pub fn requests(load: Load, steps: &[Step], windows: Windows) -> Vec<Requests> {
    let of = |step: &Step| {
        let whole = (step.secs / windows.every_secs - 1.0).max(0.0).floor() * windows.every_secs;
        let in_secs = |secs: f64| secs * load.requests_per_sec * step.share;
        Requests { requests: in_secs(step.secs), counted: in_secs(whole) }
    };
    steps.iter().map(of).collect()
}

/// How a regression by each ratio would go.
pub fn regressions(
    test: &Test,
    load: Load,
    steps: &[Step],
    windows: Windows,
    ratios: &[f64],
) -> Vec<Regression> {
    ratios.iter().map(|ratio| regression(test, load, steps, windows, *ratio)).collect()
}

/// More windows than any release has.
const MOST_WINDOWS: usize = 20_000;

fn regression(test: &Test, load: Load, steps: &[Step], windows: Windows, ratio: f64) -> Regression {
    let rate = (load.bad_rate * ratio).min(1.0);
    let bad_until = |secs: f64| {
        let (mut left, mut carried) = (secs, 0.0);
        for (number, step) in (1..).zip(steps) {
            // Beyond the last step the share is the last one's until the release has been rolled back.
            let here = if number == steps.len() { left } else { step.secs.min(left) };
            carried += here * step.share;
            left -= here;
        }
        carried * load.requests_per_sec * rate
    };
    let end: f64 = steps.iter().map(|step| step.secs).sum();
    let mut tally = Tally::default();
    let (mut passed, mut step_end, mut number) = (0.0, steps.first().map_or(0.0, |step| step.secs), 0);
    for _ in 0..MOST_WINDOWS {
        passed += windows.every_secs;
        if passed > end {
            break;
        }
        while passed > step_end && number + 1 < steps.len() {
            number += 1;
            step_end += steps[number].secs;
        }
        let share = steps[number].share;
        tally.add(test, expected(load, share, rate, windows.every_secs));
        if tally.is_bad(test) {
            let found = passed + windows.late_secs;
            return Regression { ratio, found_after_secs: Some(found), bad_requests: bad_until(found) };
        }
    }
    Regression { ratio, found_after_secs: None, bad_requests: bad_until(end) }
}

fn expected(load: Load, share: f64, rate: f64, secs: f64) -> Tick {
    let arm = |share: f64, rate: f64| {
        let requests = load.requests_per_sec * share * secs;
        Arm::new(requests, requests * rate)
    };
    Tick { candidate: arm(share, rate), stable: arm(1.0 - share, load.bad_rate) }
}
