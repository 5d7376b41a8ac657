//! PURE: whether a candidate does worse than stable, from counts alone, with a stated rate of false alarms.
//!
//! It exists because thresholds cannot say it. An alarm over the whole service is blind to a candidate with a tenth of the traffic, and a
//! fixed limit is blind or noisy, depending on the traffic. Here each minute brings two counts of each arm, requests and bad requests, and
//! the question is whether candidate's rate of bad requests is more than `tolerate` times stable's.
//!
//! # The test
//!
//! In one tick stable carried n0 requests, k0 of them bad, the candidate n1 and k1; K = k0 + k1. Whatever the rates were in that minute: given
//! K, each bad request was the candidate's with the probability
//!
//! ```text
//! q(ρ) = ρ·n1 / (ρ·n1 + n0)        ρ: the ratio of the two rates
//! ```
//!
//! because the rates themselves drop out. A ratio r is therefore held against the tolerated ratio ρ0 by what both say of the split:
//!
//! ```text
//! E(r) = Π over ticks  [q(r) / q(ρ0)]^k1 · [(1 − q(r)) / (1 − q(ρ0))]^k0
//! E    = mean of E(r) over r = ρ0 · {1.25, 1.5, 2, 3, 5, 10, 30, 100}
//! ```
//!
//! While the true ratio is ρ0 or less, E is a supermartingale that begins at 1, so it ever reaches 1/α with a probability of α at most (Ville's
//! inequality): however often one looks, however load and shares change meanwhile. The candidate **is bad when E ≥ 1/α**, and at least
//! [`Test::min_bad`] of its requests were bad. This is the conditional form of the multinomial test of Lindon and Malek, "Anytime-Valid
//! Inference for Multinomial Count Data" (NeurIPS 2022, <https://arxiv.org/abs/2011.03567>), with a mixture over a grid of ratios in place of their Dirichlet
//! mixture, so that it asks one-sidedly and against any tolerated ratio. The derivation of the one-sided grid is this project's own. It takes
//! counts for Poisson. Requests that each fail or not, with a fixed probability, split less widely than that (hypergeometric against binomial;
//! Hoeffding, "Probability Inequalities for Sums of Bounded Random Variables", 1963, section 6), which only makes the test more careful.
//!
//! What no such test holds against by itself is over-dispersion: a candidate whose rate swings from minute to minute without being worse. Two
//! things make room for it: `tolerate`, and that no tick counts for more than 50 bad requests of both arms together, however many there were.
//! Ten times as many bad requests are still found within the first minute that has enough of them; what it costs is minutes for
//! twice as many. Figures: `docs/evidence-figures.md`.
//!
//! # What is counted
//!
//! Everything is kept in whole thousandths of requests and whole millionths of a nat, so that sums are exact: a [`Tally`] is the same, bit for
//! bit, in whatever order its ticks came, a tick can be taken back, and another machine that decides again decides the same. (Logarithms are
//! `libm`'s for that reason; those of the platform differ in the last bit.)

#![forbid(unsafe_code)]

pub mod calibrate;
mod counts;
pub mod forecast;
mod interval;
mod limit;
mod tally;

pub use counts::{Arm, Tick};
pub use interval::Interval;
pub use limit::Limit;
pub use tally::{Tally, Test};

/// Which multiples of the tolerated ratio, or rate, are held against it. Close ones find small regressions after long, far ones find large
/// regressions at once; each costs the others a factor of eight at most, which is two more bad requests of the candidate.
const GRID: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// The largest e-value that is told: beyond, a number only gets in the way, and JSON has no infinity.
const LARGEST: f64 = 1e300;

/// ln of the mean of what the logarithms stand for, without overflow.
fn ln_mean_exp(logarithms: [f64; GRID.len()]) -> f64 {
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logarithms.iter().map(|ln| libm::exp(ln - largest)).sum();
    largest + libm::log(sum / 8.0)
}

/// An e-value from its logarithm.
fn e_value(ln: f64) -> f64 {
    libm::exp(ln).min(LARGEST)
}

/// The logarithm of the e-value that is enough, 1/α. Without a usable α nothing is ever enough.
fn ln_enough(alpha: f64) -> f64 {
    if alpha > 0.0 { -libm::log(alpha.min(1.0)) } else { f64::INFINITY }
}
