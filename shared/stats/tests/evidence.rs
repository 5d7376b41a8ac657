//! The test against numbers that were computed without it, and what has to hold of it whatever comes.
//!
//! The expected numbers are SciPy 1.17's: the evidence as differences of `scipy.stats.binom.logpmf(k1, k1 + k0, q)`, summed over ticks and
//! averaged over the grid; the ends of intervals by `scipy.optimize.brentq` over the same sums, tick by tick.

use proptest::prelude::*;
use tidegate_stats::{Arm, Limit, Tally, Test, Tick};

fn tick(n1: f64, k1: f64, n0: f64, k0: f64) -> Tick {
    Tick { candidate: Arm::new(n1, k1), stable: Arm::new(n0, k0) }
}

fn tally(test: &Test, ticks: &[Tick]) -> Tally {
    let mut tally = Tally::default();
    for tick in ticks {
        tally.add(test, *tick);
    }
    tally
}

fn close(found: f64, expected: f64, by: f64) {
    assert!((found - expected).abs() <= by, "{found} is not {expected}");
}

/// Ticks and what SciPy makes of them: ln E with 1, 1.5 and 2 tolerated, and the interval at 1%.
struct Known {
    ticks: Vec<Tick>,
    ln_evidence: [f64; 3],
    interval: Option<[f64; 3]>,
}

fn known() -> [Known; 4] {
    [
        Known {
            ticks: vec![tick(100.0, 3.0, 900.0, 1.0)],
            ln_evidence: [3.688_426, 2.815_246, 2.248_447],
            interval: None,
        },
        Known {
            ticks: vec![
                tick(300.0, 4.0, 2700.0, 3.0),
                tick(310.0, 2.0, 2690.0, 2.0),
                tick(1500.0, 9.0, 1500.0, 4.0),
            ],
            ln_evidence: [4.782_614, 2.372_335, 1.099_79],
            interval: Some([1.02645, 5.24178, 30.91822]),
        },
        Known {
            ticks: vec![tick(3000.0, 20.0, 27_000.0, 18.0)],
            ln_evidence: [19.686_703, 13.501_529, 9.693_448],
            interval: Some([3.15984, 10.0, 32.4286]),
        },
        Known {
            ticks: vec![tick(500.0, 2.0, 500.0, 9.0), tick(480.0, 3.0, 520.0, 11.0)],
            ln_evidence: [-3.666_275, -4.281_36, -4.673_895],
            interval: Some([0.02878, 0.26134, 1.19157]),
        },
    ]
}

#[test]
fn the_evidence_is_what_scipy_says() {
    for Known { ticks, ln_evidence, .. } in known() {
        for (tolerate, expected) in [1.0, 1.5, 2.0].into_iter().zip(ln_evidence) {
            let test = Test::new(tolerate, 0.01);
            close(tally(&test, &ticks).ln_evidence(), expected, 1e-5);
        }
    }
}

#[test]
fn the_interval_is_what_scipy_says() {
    let test = Test::new(1.0, 0.01);
    for Known { ticks, interval, .. } in known() {
        let found = tally(&test, &ticks).ratio(&test).unwrap();
        let Some([low, estimate, high]) = interval else {
            // Three against one: the smallest ratio is known, the largest is not.
            assert_eq!(found.high, None);
            continue;
        };
        close(found.low / low, 1.0, 0.01);
        close(found.estimate.unwrap() / estimate, 1.0, 0.01);
        close(found.high.unwrap() / high, 1.0, 0.01);
    }
}

#[test]
fn one_arm_against_a_rate_is_what_scipy_says() {
    for (requests, bad, rate, expected) in
        [(1000.0, 5.0, 0.01, -3.268_127), (1000.0, 30.0, 0.01, 11.188_235), (200.0, 12.0, 0.02, 3.806_516)]
    {
        let limit = Limit { rate, alpha: 0.01, min_bad: 5.0 };
        close(limit.ln_evidence(Arm::new(requests, bad)), expected, 1e-5);
        assert_eq!(limit.is_bad(Arm::new(requests, bad)), expected > 4.605_17);
    }
}

/// The probabilities of 0, 1, … `all`, each with probability `p`.
fn binomial(all: u32, p: f64) -> impl Iterator<Item = (f64, f64)> {
    let ln_factorial = |n: u32| libm::lgamma(f64::from(n) + 1.0);
    (0..=all).map(move |k| {
        let ways = ln_factorial(all) - ln_factorial(k) - ln_factorial(all - k);
        let ln = ways + f64::from(k) * p.ln() + f64::from(all - k) * (1.0 - p).ln();
        (f64::from(k), ln.exp())
    })
}

/// What E is on average over all splits of two ticks, with the share changed between them, under a true ratio.
fn mean_evidence(test: &Test, ratio: f64, [n1, n0]: [f64; 2], bad: u32) -> f64 {
    let (later_n1, later_n0) = (4.0 * n1, n0 / 2.0);
    let q = |n1: f64, n0: f64| ratio * n1 / (ratio * n1 + n0);
    let mut mean = 0.0;
    for (k1, first) in binomial(bad, q(n1, n0)) {
        for (later_k1, then) in binomial(bad / 2, q(later_n1, later_n0)) {
            let (k0, later_k0) = (f64::from(bad) - k1, f64::from(bad / 2) - later_k1);
            let ticks = [tick(n1, k1, n0, k0), tick(later_n1, later_k1, later_n0, later_k0)];
            mean += first * then * tally(test, &ticks).evidence();
        }
    }
    mean
}

#[test]
fn under_the_tolerated_ratio_the_evidence_neither_grows_nor_shrinks_on_average() {
    for tolerate in [1.0, 1.5, 3.0] {
        let test = Test::new(tolerate, 0.01);
        for arms in [[100.0, 900.0], [1000.0, 1000.0], [5000.0, 100.0]] {
            for bad in [1, 7, 40, 100] {
                let mean = mean_evidence(&test, tolerate, arms, bad);
                assert!(mean <= 1.0 + 1e-9, "a mean of {mean} is a false alarm in the making");
                // A tick with more than 50 is moderated, which only makes it less.
                assert!(bad > 50 || mean > 1.0 - 1e-4, "{mean}");
                assert!(mean_evidence(&test, 0.7 * tolerate, arms, bad) < 1.0);
                assert!(mean_evidence(&test, 3.0 * tolerate, arms, bad) > 1.0);
            }
        }
    }
}

#[test]
fn a_rate_within_the_limit_brings_no_evidence_on_average() {
    let limit = Limit { rate: 0.02, alpha: 0.01, min_bad: 5.0 };
    let mean = |rate: f64| -> f64 {
        binomial(60, rate).map(|(bad, p)| p * limit.evidence(Arm::new(60.0, bad))).sum()
    };
    close(mean(0.02), 1.0, 1e-6);
    assert!(mean(0.01) < 1.0 && mean(0.04) > 1.0);
}

#[test]
fn fewer_bad_requests_than_asked_for_are_never_enough() {
    let test = Test::new(1.5, 0.01);
    let four = tally(&test, &[tick(100.0, 4.0, 100_000.0, 4.0)]);
    assert!(four.evidence() > 1e4 && !four.is_bad(&test));
    assert!(four.is_bad(&Test { min_bad: 4.0, ..test }));
    assert!(tally(&test, &[tick(100.0, 5.0, 100_000.0, 4.0)]).is_bad(&test));
    let limit = Limit { rate: 1e-4, alpha: 0.01, min_bad: 5.0 };
    assert!(!limit.is_bad(Arm::new(100.0, 4.0)) && limit.is_bad(Arm::new(100.0, 5.0)));
}

#[test]
fn several_comparisons_share_the_false_alarms() {
    let test = Test::new(1.5, 0.01);
    assert_eq!(test.one_of(4), Test { alpha: 0.0025, ..test });
    let ticks = [tick(1000.0, 10.0, 9000.0, 11.0)];
    let seen = tally(&test, &ticks);
    assert!(seen.is_bad(&test) && !seen.is_bad(&test.one_of(10)));
}

#[test]
fn one_minute_counts_for_fifty_bad_requests_at_most() {
    let test = Test::new(1.5, 0.01);
    let [as_it_was, as_it_counts] = [[3000.0, 2000.0], [30.0, 20.0]]
        .map(|[k1, k0]| tally(&test, &[tick(100_000.0, k1, 200_000.0, k0)]).ln_evidence());
    close(as_it_was, as_it_counts, 1e-4);
    // A swing of one minute, however busy, is no regression; the same minute after minute is.
    let swing = tick(60_000.0, 1800.0, 540_000.0, 5400.0);
    assert!(!tally(&test, &[swing]).is_bad(&test) && tally(&test, &[swing; 10]).is_bad(&test));
    assert_eq!(tally(&test, &[swing]).candidate(), swing.candidate, "all of it is told");
}

#[test]
fn without_requests_in_one_arm_nothing_is_compared() {
    let test = Test::new(1.5, 0.01);
    for one_sided in [tick(0.0, 0.0, 1000.0, 50.0), tick(1000.0, 900.0, 0.0, 0.0), Tick::default()] {
        let seen = tally(&test, &[one_sided; 20]);
        assert!(seen.ln_evidence().abs() < 1e-12 && !seen.is_bad(&test));
        assert_eq!(seen.ratio(&test), None);
        assert_eq!(seen.candidate().requests, 20.0 * one_sided.candidate.requests);
    }
}

#[test]
fn what_is_no_count_counts_nothing() {
    let test = Test::new(1.5, 0.01);
    for bad in [f64::NAN, -3.0, f64::NEG_INFINITY] {
        assert_eq!(tally(&test, &[tick(bad, bad, bad, bad)]), Tally::default());
    }
    // More bad than requests: as many requests as were bad.
    assert_eq!(tally(&test, &[tick(10.0, 12.0, 100.0, 1.0)]), tally(&test, &[tick(12.0, 12.0, 100.0, 1.0)]));
    let endless = tally(&test, &[tick(f64::INFINITY, f64::INFINITY, 1.0, 0.0)]);
    assert!(endless.evidence().is_finite() && endless.ratio(&test).is_some());
    for tolerate in [f64::NAN, 0.2, -1.0] {
        let odd = Test::new(tolerate, 0.01);
        let ticks = [tick(100.0, 9.0, 900.0, 3.0)];
        assert_eq!(tally(&odd, &ticks), tally(&Test::new(1.0, 0.01), &ticks), "less than 1 counts as 1");
    }
    assert!(!tally(&test, &[tick(100.0, 90.0, 900.0, 3.0)]).is_bad(&Test { alpha: f64::NAN, ..test }));
}

#[test]
fn with_ten_times_the_data_the_interval_is_narrower() {
    let test = Test::new(1.5, 0.01);
    let width = |times: usize| {
        let found = tally(&test, &vec![tick(300.0, 3.0, 2700.0, 9.0); times]).ratio(&test).unwrap();
        found.high.map_or(f64::INFINITY, |high| high / found.low)
    };
    let widths = [1, 4, 10, 100, 1000, 20_000].map(width);
    assert!(widths.is_sorted_by(|before, after| before > after), "{widths:?}");
    assert!(widths[5] < 1.27, "the finest step of the grid, up and down: {widths:?}");
}

#[test]
fn at_the_edge_the_interval_says_what_the_verdict_says() {
    // Minutes whose shares the interval takes together, with the bad requests all in one of them: its sums alone would be a little off.
    let test = Test::new(1.5, 0.01);
    let mut verdicts = [0, 0];
    for (busy, calm) in [(270.0, 300.0), (300.0, 270.0)] {
        for hundredths in 800..1100_u32 {
            let bad = f64::from(hundredths) / 100.0;
            let seen = tally(&test, &[tick(busy, bad, 2700.0, 11.0), tick(calm, 0.0, 2700.0, 0.0)]);
            let low = seen.ratio(&test).unwrap().low;
            verdicts[usize::from(seen.is_bad(&test))] += 1;
            assert!(if seen.is_bad(&test) { low >= 1.5 } else { low <= 1.5 }, "{bad}: {low}");
        }
    }
    assert!(verdicts[0] > 50 && verdicts[1] > 50, "{verdicts:?}");
}

#[test]
fn a_change_of_the_share_needs_no_reset() {
    // The same ratio of 10 at 5%, then at 50%: neither pretends to be another ratio, as sums over both would.
    let test = Test::new(1.5, 0.01);
    let small = [tick(500.0, 10.0, 9500.0, 19.0); 5];
    let large = [tick(5000.0, 100.0, 5000.0, 10.0); 5];
    let both = tally(&test, &[small, large].concat());
    let found = both.ratio(&test).unwrap();
    close(found.estimate.unwrap(), 10.0, 0.05);
    assert!(both.ln_evidence() > tally(&test, &small).ln_evidence());
    // And one without a regression, whose stable share failed more at first: pooled it would look ten times worse.
    let calm = [tick(500.0, 0.0, 9500.0, 2.0), tick(9500.0, 190.0, 500.0, 10.0)];
    let pooled = [tick(10_000.0, 190.0, 10_000.0, 12.0)];
    assert!(!tally(&test, &calm).is_bad(&test) && tally(&test, &pooled).is_bad(&test));
}

#[test]
fn a_tally_is_small_and_survives_being_stored() {
    let test = Test::new(1.5, 0.01);
    let ticks: Vec<Tick> = (0..240_u32)
        .map(|minute| {
            let n1 = f64::from(5000 + (minute * 7919) % 1000);
            tick(n1, f64::from(minute % 3), 50_000.0, 4.0)
        })
        .collect();
    let seen = tally(&test, &ticks);
    let stored = serde_json::to_string(&seen).unwrap();
    assert!(stored.len() < 1000, "{stored}");
    assert_eq!(serde_json::from_str::<Tally>(&stored).unwrap(), seen);
}

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let arm = (0..200_000_u32, 0..60_u32)
        .prop_map(|(requests, bad)| Arm::new(f64::from(requests), f64::from(bad.min(requests))));
    let tick = (arm.clone(), arm).prop_map(|(candidate, stable)| Tick { candidate, stable });
    prop::collection::vec(tick, 1..40)
}

fn tests() -> impl Strategy<Value = Test> {
    (prop::sample::select(vec![1.0, 1.2, 1.5, 2.0, 7.0]), prop::sample::select(vec![0.05, 0.01, 0.001]))
        .prop_map(|(tolerate, alpha)| Test::new(tolerate, alpha))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn order_and_parts_change_nothing(test in tests(), all in ticks(), turn in any::<prop::sample::Index>()) {
        let seen = tally(&test, &all);
        let at = turn.index(all.len());
        let mut turned = all.clone();
        turned.rotate_left(at);
        turned.reverse();
        prop_assert_eq!(&tally(&test, &turned), &seen);
        let mut parts = tally(&test, &all[at..]);
        parts.merge(&tally(&test, &all[..at]));
        prop_assert_eq!(&parts, &seen);
    }

    #[test]
    fn ticks_that_are_taken_back_never_were(test in tests(), all in ticks(), others in ticks()) {
        let mut seen = tally(&test, &others);
        for tick in &all {
            seen.add(&test, *tick);
        }
        for tick in &others {
            seen.remove(&test, *tick);
        }
        prop_assert_eq!(seen, tally(&test, &all));
    }

    #[test]
    fn a_good_request_of_the_candidate_never_makes_it_worse(
        test in tests(), all in ticks(), which in any::<prop::sample::Index>(), more in 1..10_000_u32,
    ) {
        let mut better = all.clone();
        better[which.index(all.len())].candidate.requests += f64::from(more);
        let mut calm = all.clone();
        calm.push(tick(f64::from(more), 0.0, f64::from(more), 0.0));
        let seen = tally(&test, &all);
        prop_assert!(tally(&test, &better).ln_evidence() <= seen.ln_evidence());
        prop_assert_eq!(tally(&test, &calm).ln_evidence(), seen.ln_evidence());
    }

    #[test]
    fn a_bad_request_of_the_candidate_never_makes_it_better(
        test in tests(), all in ticks(), which in any::<prop::sample::Index>(),
    ) {
        let which = which.index(all.len());
        prop_assume!(all[which].candidate.bad < all[which].candidate.requests && all[which].stable.requests > 0.0);
        let mut worse = all.clone();
        worse[which].candidate.bad += 1.0;
        prop_assert!(tally(&test, &worse).ln_evidence() >= tally(&test, &all).ln_evidence());
        prop_assume!(all[which].stable.bad < all[which].stable.requests);
        let mut excused = all.clone();
        excused[which].stable.bad += 1.0;
        prop_assert!(tally(&test, &excused).ln_evidence() <= tally(&test, &all).ln_evidence());
    }

    #[test]
    fn the_interval_holds_its_estimate_and_never_contradicts_the_verdict(test in tests(), all in ticks()) {
        let seen = tally(&test, &all);
        prop_assert!(seen.ln_evidence().is_finite());
        let Some(found) = seen.ratio(&test) else { return Ok(()) };
        let estimate = found.estimate.unwrap_or(f64::INFINITY);
        prop_assert!(0.0 <= found.low && found.low <= estimate, "{:?}", found);
        prop_assert!(found.high.is_none_or(|high| estimate <= high), "{:?}", found);
        if seen.is_bad(&test) {
            prop_assert!(found.low >= test.tolerate);
        }
        if found.low > test.tolerate {
            prop_assert!(seen.evidence() >= 1.0 / test.alpha);
        }
    }
}
