//! The simulator at work: scenarios by the hundred, and seeds that once broke something.

use serde_json::json;
use tidegate_core::policy::{EngineChoice, Shift, Span, Strategy};
use tidegate_testkit::fakes::{Balancing, Quality};
use tidegate_testkit::sim::{
    ENGINES_FROM, NUMBERS_FROM, Scenario, Simulation, adverse, kind, run_adverse, run_seeds,
};

#[test]
fn a_good_build_is_promoted() {
    let report = Simulation::new(Scenario::canary(Quality::Good)).run().expect_sound();
    assert_eq!(report.outcomes, ["promoted"]);
}

#[test]
fn a_good_build_is_promoted_by_weights_of_our_own() {
    for balancing in [Balancing::Plain, Balancing::None] {
        let steps = json!([{ "percent": 1, "bake": "40s" }, { "percent": 50, "bake": "40s" }]);
        let scenario = Scenario::canary(Quality::Good);
        let scenario = scenario.weighted(balancing, json!({ "steps": steps, "bake": "40s" }), 1);
        let report = Simulation::new(scenario).run().expect_sound();
        assert_eq!(report.outcomes, ["promoted"], "{balancing:?}");
    }
}

#[test]
fn a_bad_build_is_rolled_back() {
    let bad = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };
    let report = Simulation::new(Scenario::canary(bad)).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);
}

/// The task definition names a tag that the candidate's push has moved, and every task of the stable version is gone when the alarm goes
/// off: only the digest of before is a rollback. The checks look at what serves.
#[test]
fn a_rollback_brings_the_image_of_before_though_its_tag_has_moved() {
    for resolves_each_task in [false, true] {
        let mut scenario = Scenario::canary(Quality::Bad { from_percent: 100, alarm_after_secs: 20 });
        scenario.policy.strategy = Strategy {
            shift: Shift::Rolling,
            bake: Span::from_secs(120).expect("a span"),
            engine: EngineChoice::Native,
        };
        scenario.habits.tagged = true;
        scenario.habits.resolves_each_task = resolves_each_task;
        let report = Simulation::new(scenario).run().expect_sound();
        assert_eq!(report.outcomes, ["rolled back"]);
    }
}

/// How many releases a second are simulated stands in the output.
fn hold(seeds: std::ops::Range<u64>) {
    let began = std::time::Instant::now();
    let reports = run_seeds(seeds);
    let (releases, took) =
        (reports.iter().map(|report| report.outcomes.len()).sum::<usize>(), began.elapsed());
    let every = took / u32::try_from(releases.max(1)).expect("a short list");
    eprintln!(
        "{releases} releases in {:.1} s: {:.1} a second",
        took.as_secs_f64(),
        1.0 / every.as_secs_f64()
    );
}

// Several tests, so that all cores play.

#[test]
fn random_scenarios_hold_every_invariant() {
    hold(ENGINES_FROM..ENGINES_FROM + 80);
}

#[test]
fn more_random_scenarios_hold_every_invariant() {
    hold(ENGINES_FROM + 80..ENGINES_FROM + 160);
}

#[test]
fn random_scenarios_with_numbers_hold_every_invariant() {
    hold(NUMBERS_FROM..NUMBERS_FROM + 60);
}

/// How many adverse worlds are tried: some of each kind. `cargo xtask sim --mutants` shows that each rule it removes is missed within these.
const ADVERSE: u64 = 160;

#[test]
fn adverse_worlds_hold_every_invariant() {
    run_adverse(0..ADVERSE);
}

/// What notices that a rule was removed on purpose: the number of worlds up to the first that breaks something, and how many do.
#[test]
#[ignore = "for cargo xtask sim --mutants"]
fn what_breaks() {
    let breaks = |seed: &u64| {
        let run = std::panic::catch_unwind(|| Simulation::new(adverse(*seed)).run().broken);
        run.map_or(true, |broken| !broken.is_empty())
    };
    let broken: Vec<u64> = (0..ADVERSE).filter(breaks).collect();
    // A line of its own: the test's name stands before what is printed first.
    println!();
    match broken.first() {
        Some(first) => {
            let kinds: std::collections::BTreeSet<&str> = broken.iter().map(|seed| kind(*seed)).collect();
            println!("broken after {} worlds, {} of {ADVERSE} (kinds {kinds:?})", first + 1, broken.len());
        }
        None => println!("nothing broke in {ADVERSE} worlds"),
    }
}

/// For exploring: everything that happens in the adverse world of `TIDEGATE_SEED`.
#[test]
#[ignore = "for exploring by hand"]
fn trace() {
    let seed =
        std::env::var("TIDEGATE_SEED").map_or(0, |seed| seed.parse().expect("TIDEGATE_SEED: a number"));
    let report = Simulation::new(adverse(seed)).run();
    println!("{}\n{}: {:?}\n{:#?}", report.trace.join("\n"), kind(seed), report.outcomes, report.broken);
}

/// The same for the random world.
#[test]
#[ignore = "for exploring by hand"]
fn trace_random() {
    let seed =
        std::env::var("TIDEGATE_SEED").map_or(0, |seed| seed.parse().expect("TIDEGATE_SEED: a number"));
    let report = tidegate_testkit::sim::run_seed(seed);
    println!("{}\n{:?}\n{:#?}", report.trace.join("\n"), report.outcomes, report.broken);
}

/// Seeds that once broke something, each with what it was.
#[test]
fn seeds_that_once_broke_something_hold() {
    run_seeds([
        // A release ended in the very turn in which it was rolled back, and its history did not tell the end.
        1, 45, 150,
        // Two images were pushed within a second, the event of the second was lost, and the clock took the first's release for it.
        137,
        // One read showed the deployment rolled back and another still the new task definition: the stable version was deployed again
        // needlessly, and the release ended while that deployment was under way.
        179,
        // A person released another digest just after a push whose event was lost, and that push was never found.
        1146,
        // What was deployed last never gets healthy, and ECS tries for ever: the image of before was deleted, somebody else deployed one
        // that crashes. That is no release that does not end.
        146, 523,
        // Everything was back, the service's row could not be read, and that the release settles was not told in its history.
        10_408,
        // Two pushes a second apart came out of order, and whoever wrote the newer one down had a clock that was behind: it was kept as older
        // than the older one, which was then let in after it.
        20_187,
        // A tag was put on an older image and a newer one was pushed between the same two looks; both were found by looking alone, and the tag
        // was taken for the newer one.
        10_492,
        // Something took the candidate's target group out of the rule, and its share was set again before its targets were healthy.
        30_038,
    ]);
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
