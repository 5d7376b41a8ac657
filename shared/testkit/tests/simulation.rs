//! The simulator at work: scenarios by the hundred, and seeds that once broke something.

use tidegate_testkit::fakes::Quality;
use tidegate_testkit::sim::{Scenario, Simulation, run_seeds};

#[test]
fn a_good_build_is_promoted() {
    let report = Simulation::new(Scenario::canary(Quality::Good)).run().expect_sound();
    assert_eq!(report.outcomes, ["promoted"]);
}

#[test]
fn a_bad_build_is_rolled_back() {
    let bad = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };
    let report = Simulation::new(Scenario::canary(bad)).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);
}

#[test]
fn random_scenarios_hold_every_invariant() {
    run_seeds(0..300);
}

/// For exploring: every seed of `TIDEGATE_SEEDS=from..to`, one line for each that breaks something.
#[test]
#[ignore = "for exploring by hand"]
fn survey() {
    let range = std::env::var("TIDEGATE_SEEDS").unwrap_or_else(|_| "0..1000".to_owned());
    let (from, to) = range.split_once("..").expect("from..to");
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        let report = tidegate_testkit::sim::run_seed(seed);
        for outcome in report.outcomes {
            *outcomes.entry(outcome).or_default() += 1;
        }
        if let Some(first) = report.broken.first() {
            println!(
                "{seed}: {} in all: {}",
                report.broken.len(),
                first.chars().take(260).collect::<String>()
            );
        }
    }
    println!("{outcomes:?}");
}
