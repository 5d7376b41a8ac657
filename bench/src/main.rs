//! Measurements of Tidegate, each a ratio against a named baseline of the same run, so that the machine cancels out.
//!
//! Run with `cargo xtask bench`, which makes the release build. Nothing here fails on a figure: figures are read, not asserted.

mod cold_start;
mod costs;
mod decide;
mod turns;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

/// What is measured, and how often.
#[derive(Debug, Parser)]
struct Args {
    /// The directory with the release binaries.
    #[arg(long)]
    binaries: PathBuf,
    /// The functions to start cold.
    #[arg(long, value_delimiter = ',')]
    functions: Vec<String>,
    /// Cold starts of each.
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// Few repetitions of everything: shows that it works; the figures say nothing.
    #[arg(long)]
    quick: bool,
}

/// One measurement.
struct Row {
    name: String,
    median: Duration,
    baseline_name: &'static str,
    baseline: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let (rounds, starts) = if args.quick { (1, 1) } else { (decide::ROUNDS, args.starts) };
    let mut rows = decide::measure(rounds)?;
    rows.extend(turns::measure(if args.quick { &turns::QUICK } else { &turns::ALL })?);
    rows.extend(cold_start::measure(&args.binaries, &args.functions, starts).await?);
    print(&rows);
    print_costs(&costs::count()?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn print_costs(costs: &costs::Costs) {
    println!("\n{:<72} {:>10}", format!("an idle month, list prices of {}", costs.prices), "USD");
    for item in &costs.idle {
        println!("{:<72} {:>10.4}", item.name, item.usd);
    }
    let sum: f64 = costs.idle.iter().map(|item| item.usd).sum();
    println!("{:<72} {sum:>10.4}\n", "in all");
    for item in &costs.used {
        println!("{:<72} {:>10.6}", item.name, item.usd);
    }
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn print(rows: &[Row]) {
    println!("{:<62} {:>12}   {:>7}  baseline", "", "median", "ratio");
    for row in rows {
        let ratio = row.median.as_secs_f64() / row.baseline.as_secs_f64();
        println!(
            "{:<62} {:>12}   {ratio:>6.2}x  {} {}",
            row.name,
            text(row.median),
            row.baseline_name,
            text(row.baseline)
        );
    }
}

fn text(duration: Duration) -> String {
    format!("{duration:.2?}")
}

/// The middle of what was measured.
fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}
