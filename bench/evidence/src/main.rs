//! Prints the tables of `docs/evidence-figures.md`.

use clap::Parser;
use tidegate_bench_evidence::report::{Runs, report};

/// How often the comparison is wrong, and how soon it is right.
#[derive(Debug, Parser)]
struct Args {
    /// Releases of each cell of the tables of false alarms; a fifth of it where regressions are found.
    #[arg(long, default_value_t = 10_000)]
    releases: u64,
    /// The first release's seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn main() {
    let Args { releases, seed } = Args::parse();
    print!("{}", report(Runs { releases, seed }));
}
