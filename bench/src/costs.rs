//! What Tidegate costs: how much of everything it uses, counted where it can be counted, by the list prices of a dated file beside the sources.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The prices, and of when they are.
const PRICES: &str = include_str!("../prices-2026-11.json");
/// What is installed: the alarms, secrets, schedules and polled queues are counted in it.
const TEMPLATE: &str = include_str!("../../template.yaml");

/// A month of 30 days.
const MINUTES: f64 = 30.0 * 24.0 * 60.0;
/// Of every function.
const MEMORY_GB: f64 = 0.25;
/// How often Lambda asks a queue in which there is nothing: five pollers, each waiting 20 s. AWS documents the five to begin with, and that it
/// waits; that five stay is assumed.
const POLLS_A_MINUTE: f64 = 15.0;
/// How long a round of the clock takes in which nothing is due.
const ROUND_SECS: f64 = 0.2;
/// How long a clock stays in a minute in which something is expected.
const STAYS_SECS: f64 = 57.0;
/// What a look that finds nothing new writes, with its claim, and reads. A test of the ledger computes the first from its rows.
const LOOK_WRITES: f64 = 7.0;
const LOOK_READS: f64 = 3.0;
/// How long a look takes, and its requests to the queue: sent, received, deleted; a request sends and deletes up to ten.
const LOOK_SECS: f64 = 0.5;
const LOOK_REQUESTS: f64 = 3.0;

#[derive(Debug, Deserialize)]
struct Prices {
    as_of: String,
    region: String,
    lambda_arm64_gb_second: f64,
    lambda_million_requests: f64,
    dynamodb_million_write_units: f64,
    dynamodb_million_read_units: f64,
    sqs_million_requests: f64,
    cloudwatch_alarm_month: f64,
    secret_month: f64,
}

/// One item, USD.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) usd: f64,
}

/// What is paid, and by which prices.
pub(crate) struct Costs {
    pub(crate) prices: String,
    /// A month in which nothing is released, without any service.
    pub(crate) idle: Vec<Item>,
    /// Beside it.
    pub(crate) used: Vec<Item>,
}

impl Prices {
    fn function(&self, invocations: f64, secs: f64) -> f64 {
        invocations
            * (secs * MEMORY_GB * self.lambda_arm64_gb_second + self.lambda_million_requests / 1_000_000.0)
    }

    fn queue(&self, requests: f64) -> f64 {
        requests * self.sqs_million_requests / 1_000_000.0
    }

    fn look(&self) -> f64 {
        let ledger =
            LOOK_WRITES * self.dynamodb_million_write_units + LOOK_READS * self.dynamodb_million_read_units;
        ledger / 1_000_000.0 + self.queue(LOOK_REQUESTS) + self.function(1.0, LOOK_SECS)
    }
}

/// How often the template says this of what is there without being asked for.
fn installed(what: &str) -> f64 {
    let asked_for = |resource: &&str| resource.contains("    Condition: HasFigures");
    let resources = TEMPLATE.split("\n\n").filter(|resource| !asked_for(resource));
    let count = resources.flat_map(str::lines).filter(|line| line.trim() == what).count();
    u32::try_from(count).map_or(f64::NAN, f64::from)
}

/// Counts and prices.
pub(crate) fn count() -> Result<Costs> {
    let prices: Prices = serde_json::from_str(PRICES).context("the price file cannot be read")?;
    let item = |name: String, usd: f64| Item { name, usd };
    let alarms = installed("Type: AWS::CloudWatch::Alarm");
    let secrets = installed("Type: AWS::SecretsManager::Secret");
    let queues = installed("Type: SQS");
    let schedules = installed("Schedule: rate(1 minute)");
    let idle = vec![
        item(format!("{alarms} alarms"), alarms * prices.cloudwatch_alarm_month),
        item(format!("{secrets} secrets"), secrets * prices.secret_month),
        item(format!("{queues} queues that Lambda polls"), prices.queue(queues * POLLS_A_MINUTE * MINUTES)),
        item(format!("{schedules} halves of the clock"), prices.function(schedules * MINUTES, ROUND_SECS)),
    ];
    let hour_of_clock = prices.function(60.0, STAYS_SECS);
    let used = vec![
        item("an hour in which something is expected, the clock, for all releases".into(), hour_of_clock),
        item("an hour of baking, looks once a minute".into(), 60.0 * prices.look()),
        item("a minute of starting, looks every 6 s".into(), 10.0 * prices.look()),
    ];
    Ok(Costs { prices: format!("{}, {}", prices.region, prices.as_of), idle, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of operations names every item with its price.
    #[test]
    fn what_an_idle_month_costs_is_what_the_page_says() {
        let page = include_str!("../../docs/operations.md");
        let costs = count().expect("the price file is read");
        let mut told: Vec<f64> = costs.idle.iter().map(|item| item.usd).collect();
        told.push(told.iter().sum());
        for usd in told {
            assert!(page.contains(&format!("{usd:.2} USD")), "the page does not say {usd:.2} USD");
        }
    }

    #[test]
    fn an_idle_month_costs_no_more_than_it_did() {
        let idle: f64 = count().expect("the price file is read").idle.iter().map(|item| item.usd).sum();
        assert!(idle < 2.26, "{idle} USD");
        assert!(installed("Type: AWS::CloudWatch::Alarm") >= 6.0, "an alarm is missing");
    }
}
