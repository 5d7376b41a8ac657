//! What the ratio may be: the same test, asked the other way round.

use serde::{Deserialize, Serialize};

use crate::tally::{Shared, Tally, Test};
use crate::{GRID, ln_enough, ln_mean_exp};

/// The ratio of the candidate's rate to stable's. Each end holds with a probability of 1 − α, at all looks together (a confidence sequence).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The smallest ratio that what was seen does not speak against; 0 when none does.
    pub low: f64,
    /// The likeliest ratio; `None` when every bad request was the candidate's, so that it has no end.
    pub estimate: Option<f64>,
    /// The largest ratio that what was seen does not speak against; `None` when none does.
    pub high: Option<f64>,
}

/// Ratios are looked for between one in this and this, as logarithms: a million.
const FAR: f64 = 13.815_510_557_964_274;
/// Each halves what is left; 60 leave less than a float can tell.
const HALVINGS: usize = 60;

impl Tally {
    /// What the ratio may be; `None` until a request was bad in a tick in which both had requests.
    ///
    /// The ends are dual to the test: a ratio is outside when the test with that ratio tolerated would call the candidate bad (below), or
    /// with the arms exchanged stable (above). So the picture never contradicts the verdict: `low` lies above `tolerate` exactly when the
    /// evidence is enough. With much data the ends come as close as 12% to the estimate, and no closer: the finest step of the grid. Within a step of
    /// an eighth in ln(n1/n0) the shares of ticks are taken together, which moves the ends by a few hundredths at most; the verdict itself
    /// takes each tick for itself.
    pub fn ratio(&self, test: &Test) -> Option<Interval> {
        let bad = |of: fn(&Shared) -> f64| self.shares().map(of).sum::<f64>();
        let (k1, k0) = (bad(|at| at.candidate.bad()), bad(|at| at.stable.bad()));
        if k1 + k0 <= 0.0 {
            return None;
        }
        let enough = ln_enough(test.alpha);
        let estimate = match (k1 > 0.0, k0 > 0.0) {
            (true, true) => first(|x| self.expected(x) >= k1),
            (true, false) => FAR,
            _ => -FAR,
        };
        let below = first(|x| self.against(x, 1.0) < enough).min(estimate);
        let above = -first(|x| self.against(-x, -1.0) < enough).min(-estimate);
        let low = if below <= -FAR { 0.0 } else { libm::exp(below) };
        let tolerated = test.tolerated();
        let low = if self.is_enough(test) { low.max(tolerated) } else { low.min(tolerated) };
        let bounded = |x: f64| (x < FAR).then(|| if x <= -FAR { 0.0 } else { libm::exp(x) });
        Some(Interval {
            low,
            estimate: bounded(estimate).map(|ratio| ratio.max(low)),
            high: bounded(above).map(|ratio| ratio.max(low)),
        })
    }

    /// ln of how likely the splits are under a ratio, its logarithm given, up to a constant. Concave, so all that is looked for below is one
    /// point.
    fn ln_likelihood(&self, ln_ratio: f64) -> f64 {
        let ratio = libm::exp(ln_ratio);
        let of = |at: &Shared| {
            let all = at.candidate.bad() + at.stable.bad();
            at.candidate.bad() * ln_ratio
                - all * libm::log(ratio * at.candidate.requests() + at.stable.requests())
        };
        self.shares().map(of).sum()
    }

    /// Bad requests of the candidate that a ratio lets expect.
    fn expected(&self, ln_ratio: f64) -> f64 {
        let ratio = libm::exp(ln_ratio);
        let of = |at: &Shared| {
            let exposed = ratio * at.candidate.requests();
            (at.candidate.bad() + at.stable.bad()) * exposed / (exposed + at.stable.requests())
        };
        self.shares().map(of).sum()
    }

    /// ln of the evidence against a ratio, from larger ratios (`towards` 1) or from smaller ones (−1).
    fn against(&self, ln_ratio: f64, towards: f64) -> f64 {
        let here = self.ln_likelihood(ln_ratio);
        ln_mean_exp(GRID.map(|multiple| self.ln_likelihood(ln_ratio + towards * libm::log(multiple)) - here))
    }
}

/// The first point for which something holds that, once it does, goes on to; the end when it never does.
fn first(holds: impl Fn(f64) -> bool) -> f64 {
    if holds(-FAR) {
        return -FAR;
    }
    let (mut before, mut after) = (-FAR, FAR);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(before, after);
        if holds(middle) {
            after = middle;
        } else {
            before = middle;
        }
    }
    after
}
