//! The comparison of two arms: all that was seen, in a few numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::counts::{Arm, Counts, PARTS, Tick};
use crate::{GRID, e_value, ln_enough, ln_mean_exp};

/// What is asked. Has to stay the same for as long as a [`Tally`] grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Up to this ratio of the candidate's rate to stable's nothing is a regression; 1 at least, and what is less counts as 1.
    pub tolerate: f64,
    /// The probability of calling a candidate bad that is not, over all looks together. Several comparisons share it: [`Test::one_of`].
    pub alpha: f64,
    /// As many bad requests the candidate has to have before it can be bad, whatever the ratio: one burst is none.
    pub min_bad: f64,
}

impl Test {
    /// Bad requests of the candidate that are needed unless something else is asked for.
    pub const MIN_BAD: f64 = 5.0;

    /// A test with the usual `min_bad`.
    pub fn new(tolerate: f64, alpha: f64) -> Self {
        Self { tolerate, alpha, min_bad: Self::MIN_BAD }
    }

    /// This test as one of several comparisons which share the probability of a false alarm equally (Bonferroni): it holds however they
    /// depend on each other.
    pub fn one_of(self, comparisons: usize) -> Self {
        let comparisons = u32::try_from(comparisons.max(1)).unwrap_or(u32::MAX);
        Self { alpha: self.alpha / f64::from(comparisons), ..self }
    }

    pub(crate) fn tolerated(&self) -> f64 {
        if self.tolerate > 1.0 { self.tolerate.min(1e6) } else { 1.0 }
    }
}

/// All that a comparison has to remember of its ticks. A sum: order does not matter, and nothing is rounded on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Millionths of a nat: ln E(r) for each point of the grid. Each tick's part is rounded down, so that what is stored never says more
    /// than what was seen.
    evidence: [i64; GRID.len()],
    candidate: Counts,
    stable: Counts,
    /// What counted of the ticks in which both had requests, by how traffic was shared then: the interval is made from it.
    shares: BTreeMap<i8, Shared>,
}

/// Counts of ticks with about the same share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) candidate: Counts,
    pub(crate) stable: Counts,
}

const MICRO: f64 = 1e6;
/// Shares are told apart by the logarithm of n1/n0, in steps of an eighth: within one, the odds are at most 6% from its middle.
const STEPS: f64 = 8.0;

impl Tally {
    /// Counts a tick. The caller sees to it that each is counted once; one whose counts have grown meanwhile is taken back first.
    pub fn add(&mut self, test: &Test, tick: Tick) {
        self.count(test, tick, 1);
    }

    /// Takes back a tick that was counted with the same test and the same counts: exactly, as if it had never come.
    pub fn remove(&mut self, test: &Test, tick: Tick) {
        self.count(test, tick, -1);
    }

    /// Adds what another tally saw, with the same test.
    pub fn merge(&mut self, other: &Self) {
        for (sum, evidence) in self.evidence.iter_mut().zip(other.evidence) {
            *sum += evidence;
        }
        self.candidate.add(other.candidate, 1);
        self.stable.add(other.stable, 1);
        for (share, counts) in &other.shares {
            self.share(*share, *counts, 1);
        }
    }

    fn count(&mut self, test: &Test, tick: Tick, times: i64) {
        let (candidate, stable) = (Counts::of(tick.candidate), Counts::of(tick.stable));
        self.candidate.add(candidate, times);
        self.stable.add(stable, times);
        if candidate.requests == 0 || stable.requests == 0 {
            return;
        }
        let said = Shared { candidate, stable }.moderated();
        for (sum, multiple) in self.evidence.iter_mut().zip(GRID) {
            *sum += times * said.evidence(test.tolerated(), multiple);
        }
        self.share(said.step(), said, times);
    }

    fn share(&mut self, share: i8, counts: Shared, times: i64) {
        let known = self.shares.entry(share).or_default();
        known.candidate.add(counts.candidate, times);
        known.stable.add(counts.stable, times);
        if *known == Shared::default() {
            self.shares.remove(&share);
        }
    }

    /// ln E, in nats: 0 at the beginning, and what a ratio above the tolerated one makes grow.
    pub fn ln_evidence(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far from nine quadrillion")]
        ln_mean_exp(self.evidence.map(|sum| sum as f64 / MICRO))
    }

    /// E: as many times likelier what was seen is under a ratio above the tolerated one. 1/α is enough.
    pub fn evidence(&self) -> f64 {
        e_value(self.ln_evidence())
    }

    /// Whether the candidate is worse than tolerated.
    pub fn is_bad(&self, test: &Test) -> bool {
        self.is_enough(test) && self.candidate.bad() >= test.min_bad
    }

    pub(crate) fn is_enough(&self, test: &Test) -> bool {
        self.ln_evidence() >= ln_enough(test.alpha)
    }

    /// All that was counted of the candidate.
    pub fn candidate(&self) -> Arm {
        self.candidate.arm()
    }

    /// All that was counted of stable.
    pub fn stable(&self) -> Arm {
        self.stable.arm()
    }

    pub(crate) fn shares(&self) -> impl Iterator<Item = &Shared> {
        self.shares.values()
    }
}

/// No tick counts for more bad requests than this, of both arms together: rates swing from minute to minute by themselves, and no number of
/// requests tells a swing of one minute from a regression.
const MOST: i64 = 50 * PARTS;

impl Shared {
    /// With the bad requests of both made fewer in proportion when there are more than a tick may count for. How many there were in all is given,
    /// so what is expected of E can only become less (Jensen), and the test remains valid.
    fn moderated(self) -> Self {
        let all = self.candidate.bad + self.stable.bad;
        if all <= MOST {
            return self;
        }
        let bad = self.candidate.bad * MOST / all;
        Self {
            candidate: Counts { bad, ..self.candidate },
            stable: Counts { bad: MOST - bad, ..self.stable },
        }
    }

    /// What the tick says for `multiple` times the tolerated ratio, millionths of a nat, rounded down.
    ///
    /// k1·ln(m) + K·ln((ρ0·n1 + n0) / (m·ρ0·n1 + n0)): falls with every good request of the candidate, as it should.
    #[expect(clippy::cast_possible_truncation, reason = "fifty bad requests bring 231 nats at most")]
    fn evidence(&self, tolerated: f64, multiple: f64) -> i64 {
        let exposed = tolerated * self.candidate.requests();
        let less = (multiple - 1.0) * exposed / (multiple * exposed + self.stable.requests());
        let (bad, all) = (self.candidate.bad(), self.candidate.bad() + self.stable.bad());
        ((bad * libm::log(multiple) + all * libm::log1p(-less)) * MICRO).floor() as i64
    }

    #[expect(clippy::cast_possible_truncation, reason = "held between -120 and 120")]
    fn step(&self) -> i8 {
        let odds = libm::log(self.candidate.requests() / self.stable.requests());
        (odds * STEPS).round().clamp(-120.0, 120.0) as i8
    }
}
