//! Releases: what a load balancer would have counted, minute by minute.

use fastrand::Rng;
use tidegate_stats::{Arm, Tick};

/// What a release's traffic is like.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// Of both versions together.
    pub requests_per_sec: f64,
    /// Bad requests per request of the stable version.
    pub bad_rate: f64,
    /// The candidate's share, 0 to 1.
    pub share: f64,
    /// The candidate's rate of bad requests, as a multiple of stable's.
    pub ratio: f64,
    /// Over-dispersion: each version's rate of bad requests swings from minute to minute by itself, by a log-normal factor with this standard
    /// deviation of its logarithm and a median of 1.
    pub own_swing: f64,
    /// The load of both together swings in the same way.
    pub load_swing: f64,
}

/// How long a release bakes at its share.
pub const MINUTES: usize = 60;

impl Traffic {
    /// One release, `seed`'s own.
    pub fn release(&self, seed: u64) -> Vec<Tick> {
        let mut rng = Rng::with_seed(seed);
        (0..MINUTES).map(|_| self.minute(&mut rng)).collect()
    }

    fn minute(&self, rng: &mut Rng) -> Tick {
        let load = 60.0 * self.requests_per_sec * swing(rng, self.load_swing);
        Tick {
            candidate: self.arm(rng, load * self.share, self.ratio),
            stable: self.arm(rng, load * (1.0 - self.share), 1.0),
        }
    }

    /// Good and bad requests of a Poisson stream are Poisson themselves, each for itself.
    fn arm(&self, rng: &mut Rng, load: f64, ratio: f64) -> Arm {
        let rate = (self.bad_rate * ratio * swing(rng, self.own_swing)).min(1.0);
        let bad = poisson(rng, load * rate);
        Arm::new(bad + poisson(rng, load * (1.0 - rate)), bad)
    }
}

/// A log-normal factor with median 1.
fn swing(rng: &mut Rng, ln_sd: f64) -> f64 {
    if ln_sd == 0.0 {
        return 1.0;
    }
    // Box and Muller.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    (ln_sd * radius * (std::f64::consts::TAU * rng.f64()).cos()).exp()
}

/// How many came when `mean` were to be expected.
fn poisson(rng: &mut Rng, mean: f64) -> f64 {
    if mean < 10.0 {
        // How many uniform factors it takes to come below e^-mean (Knuth).
        let (limit, mut product, mut count) = ((-mean).exp(), rng.f64(), 0.0);
        while product > limit {
            product *= rng.f64();
            count += 1.0;
        }
        return count;
    }
    // Transformed rejection with squeeze (PTRS): Hörmann, "The transformed rejection method for generating Poisson random variables", 1993.
    let b = 0.931 + 2.53 * mean.sqrt();
    let a = -0.059 + 0.024_83 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let (u, v) = (rng.f64() - 0.5, rng.f64());
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
        if us >= 0.07 && v <= squeeze {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let accepted = (v * inverse_alpha / (a / (us * us) + b)).ln();
        if accepted <= k * mean.ln() - mean - libm::lgamma(k + 1.0) {
            return k;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_mean_and_the_spread_of_a_poisson_stream() {
        let mut rng = Rng::with_seed(7);
        for mean in [0.02, 3.0, 9.9, 10.0, 60.0, 50_000.0] {
            let drawn: Vec<f64> = (0..20_000).map(|_| poisson(&mut rng, mean)).collect();
            let average = drawn.iter().sum::<f64>() / 20_000.0;
            let spread = drawn.iter().map(|k| (k - average).powi(2)).sum::<f64>() / 20_000.0;
            let tolerance = 5.0 * (mean / 20_000.0).sqrt();
            assert!((average - mean).abs() < tolerance, "{average} is not {mean}");
            assert!((spread / mean - 1.0).abs() < 0.1 + tolerance / mean, "{spread} is not {mean}");
        }
    }

    #[test]
    fn a_swing_has_its_spread() {
        let mut rng = Rng::with_seed(7);
        let drawn: Vec<f64> = (0..20_000).map(|_| swing(&mut rng, 0.25).ln()).collect();
        let spread = drawn.iter().map(|ln| ln * ln).sum::<f64>() / 20_000.0;
        assert!((spread.sqrt() - 0.25).abs() < 0.01, "{spread}");
    }
}
