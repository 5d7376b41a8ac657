//! The simulator: the real reconcile loop, run by many concurrent invocations over the fakes in virtual time. Deterministic from its
//! seed; every call may meet a fault, every event may be lost, doubled, late or out of order, people and other tools interfere.

mod adverse;
mod checks;
mod engine;
mod scenario;

pub use adverse::{adverse, kind};
pub use engine::{Report, Simulation};
pub use scenario::{
    Action, Delivering, ENGINES_FROM, MORE_FROM, Meddling, NUMBERS_FROM, Neighbour, Scenario, Spoilt,
};

/// Runs the scenario of a seed.
pub fn run_seed(seed: u64) -> Report {
    Simulation::new(Scenario::random(seed)).run()
}

/// Runs the adverse scenarios of these seeds. Panics with the trace of the first that breaks something.
pub fn run_adverse(seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let only = std::env::var("TIDEGATE_SEED").ok().map(|seed| seed.parse().expect("TIDEGATE_SEED: a number"));
    let seeds: Vec<u64> = only.map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]);
    seeds.into_iter().map(|seed| Simulation::new(adverse(seed)).run().expect_sound()).collect()
}

/// Runs the scenarios of these seeds, or only the one of `TIDEGATE_SEED`. Panics with the trace of the first that breaks something.
pub fn run_seeds(seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
    let only = std::env::var("TIDEGATE_SEED").ok().map(|seed| seed.parse().expect("TIDEGATE_SEED: a number"));
    let seeds: Vec<u64> = only.map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]);
    seeds.into_iter().map(|seed| run_seed(seed).expect_sound()).collect()
}
