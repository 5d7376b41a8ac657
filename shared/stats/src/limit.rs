//! One arm against a fixed rate: the guard beside the ratio, for what stable never does.

use serde::{Deserialize, Serialize};

use crate::counts::{Arm, Counts};
use crate::{GRID, e_value, ln_enough, ln_mean_exp};

/// A rate of bad requests that must not be exceeded, whatever stable does.
///
/// ```text
/// E(p) = (p / p0)^k · ((1 − p) / (1 − p0))^(n − k),  E = mean of E(p) over p with p/(1−p) = p0/(1−p0) · {1.25, …, 100}
/// ```
///
/// n and k are sums over all ticks, so order and number of looks never matter. Valid for every true rate up to p0, as [`crate::Tally`] is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// p0: bad requests per request, 0 to 1.
    pub rate: f64,
    /// The probability of calling an arm bad that keeps the rate, over all looks together.
    pub alpha: f64,
    /// As many bad requests are needed before it can be bad.
    pub min_bad: f64,
}

/// No rate is taken for less: then a single bad request is evidence enough by far.
const LEAST: f64 = 1e-9;

impl Limit {
    /// ln E of all that was counted, nats.
    pub fn ln_evidence(&self, counted: Arm) -> f64 {
        let counts = Counts::of(counted);
        let (bad, good) = (counts.bad(), counts.requests() - counts.bad());
        let rate = self.rate.clamp(LEAST, 1.0 - LEAST).max(LEAST);
        // With odds o the two factors are m·(1−p)/(1−p0) and (1−p)/(1−p0), and (1−p)/(1−p0) = 1 / (1 + (m−1)·p0).
        ln_mean_exp(GRID.map(|multiple| {
            let fewer_good = -libm::log1p((multiple - 1.0) * rate);
            bad * libm::log(multiple) + (bad + good) * fewer_good
        }))
    }

    /// E of all that was counted; 1/α is enough.
    pub fn evidence(&self, counted: Arm) -> f64 {
        e_value(self.ln_evidence(counted))
    }

    /// Whether the rate is exceeded.
    pub fn is_bad(&self, counted: Arm) -> bool {
        Counts::of(counted).bad() >= self.min_bad && self.ln_evidence(counted) >= ln_enough(self.alpha)
    }
}
