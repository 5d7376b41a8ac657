//! What the numbers of a release will be able to say, before it starts: from the traffic of the last day, by the very test that will judge it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tidegate_stats::forecast::{Load, Regression, Step, Windows, regressions, requests};

use crate::evidence::{Arm, late_secs};
use crate::plan::{Compared, Evidence, Plan, Stage};
use crate::policy::Percent;
use crate::turn::LOOK_EVERY;
use crate::vocab::cloudwatch::{MetricsAsked, MetricsSeen, Series};

/// Traffic is read by the hour, and for so many of them.
const HOUR_SECS: i64 = 3600;
const HOURS: i64 = 24;
/// Regressions that are played: so many times the stable version's rate.
const RATIOS: [f64; 3] = [10.0, 3.0, 2.0];
/// What CloudWatch takes for a metric that is read, us-east-1, November 2026: 0.01 USD for a thousand.
const USD_A_METRIC: f64 = 0.00001;

/// What is to be expected of a release's numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The traffic of the last day, all versions together.
    pub traffic: Traffic,
    /// What the candidate will get in each bake.
    pub bakes: Vec<BakeForecast>,
    /// What each comparison would find.
    pub comparisons: Vec<ComparisonForecast>,
    /// What reading them costs.
    pub reads: Reads,
}

/// Requests a second, by the hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Traffic {
    pub average: f64,
    pub quietest: f64,
    pub busiest: f64,
}

/// What the candidate will get in a bake.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BakeForecast {
    /// The candidate's share.
    pub percent: Percent,
    /// How long it bakes.
    pub secs: u32,
    /// How many requests the candidate will have had at its end.
    pub requests: f64,
    /// How many of them have to be seen.
    pub needed: u32,
    /// How long it has to be held after its end until they are; `None`: longer than it may be.
    pub held_secs: Option<u64>,
    /// The same in the quietest hour.
    pub held_secs_when_quiet: Option<u64>,
}

/// What a comparison would find.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonForecast {
    /// Of what.
    pub of: Compared,
    /// The rate it has now.
    pub rate: f64,
    /// How regressions would go, the largest first.
    pub regressions: Vec<Regression>,
}

/// What reading the numbers costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Reads {
    pub calls: u64,
    /// Metrics in all of them: what CloudWatch charges for.
    pub metrics: u64,
    /// By the list price of us-east-1.
    pub usd: f64,
}

/// What has to be read for it, up to the last whole hour; `None` where nothing is judged by the requests of a service.
pub fn asked(plan: &Plan, now: Timestamp) -> Option<(MetricsAsked, Timestamp)> {
    let evidence = plan.evidence.as_deref()?;
    let arms = evidence.comparisons.iter().flat_map(|it| [&it.candidate, &it.stable]);
    let compared = arms.flat_map(|arm| arm.requests.iter().chain(&arm.bad));
    let series: BTreeSet<Series> = evidence.traffic.iter().chain(compared).cloned().collect();
    let until = now.as_second().div_euclid(HOUR_SECS) * HOUR_SECS;
    let at = |secs: i64| Timestamp::from_second(secs).ok();
    let asked = MetricsAsked { series, from: at(until - HOURS * HOUR_SECS)?, every_secs: 3600 };
    (!asked.series.is_empty()).then_some(asked).zip(at(until))
}

/// What was read of some metrics in each hour since the first that had any, oldest first.
fn hours(seen: &MetricsSeen, series: &[Series], until: Timestamp) -> Vec<f64> {
    let points = || series.iter().filter_map(|one| seen.get(one)).flatten();
    let Some(first) = points().map(|(at, _)| *at).min() else { return Vec::new() };
    let count = (until.as_second() - first.as_second()).div_euclid(HOUR_SECS).max(1);
    let hour = |number: i64| {
        let begins = first.saturating_add(SignedDuration::from_secs(number * HOUR_SECS)).unwrap_or(first);
        points().filter(|(at, _)| **at == begins).map(|(_, value)| *value).sum()
    };
    (0..count).map(hour).collect()
}

fn traffic(hours: &[f64]) -> Option<Traffic> {
    let secs = HOUR_SECS as f64;
    let sum: f64 = hours.iter().sum();
    (sum > 0.0).then(|| Traffic {
        average: sum / (hours.len() as f64 * secs),
        quietest: hours.iter().copied().fold(f64::INFINITY, f64::min) / secs,
        busiest: hours.iter().copied().fold(0.0, f64::max) / secs,
    })
}

/// What is to be expected; `None` where there was no traffic.
pub fn forecast(plan: &Plan, seen: &MetricsSeen, until: Timestamp) -> Option<Forecast> {
    let evidence = plan.evidence.as_deref()?;
    let counted = if evidence.traffic.is_empty() {
        let arms = evidence.comparisons.first().map(|it| [&it.candidate, &it.stable]);
        arms.into_iter().flatten().flat_map(|arm| arm.requests.clone()).collect()
    } else {
        evidence.traffic.clone()
    };
    let traffic = traffic(&hours(seen, &counted, until))?;
    Some(Forecast {
        traffic,
        bakes: bakes(plan).map(|(percent, secs)| bake(evidence, traffic, percent, secs)).collect(),
        comparisons: evidence
            .comparisons
            .iter()
            .filter_map(|it| comparison(plan, evidence, it, seen, until))
            .collect(),
        reads: reads(plan, evidence),
    })
}

fn bakes(plan: &Plan) -> impl Iterator<Item = (Percent, u32)> {
    plan.stages.iter().filter_map(|stage| match stage {
        Stage::Bake { percent, secs } => Some((*percent, *secs)),
        Stage::Prepare { .. }
        | Stage::Start
        | Stage::Shift { .. }
        | Stage::RollOut
        | Stage::Promote
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. } => None,
    })
}

fn windows(evidence: &Evidence) -> Windows {
    Windows { every_secs: f64::from(evidence.every_secs), late_secs: late_secs(evidence.every_secs) as f64 }
}

fn share(percent: Percent) -> f64 {
    percent.as_f64() / 100.0
}

fn bake(evidence: &Evidence, traffic: Traffic, percent: Percent, secs: u32) -> BakeForecast {
    let judges = percent < Percent::ALL && !evidence.comparisons.is_empty();
    let held = |requests_per_sec: f64| held_secs(evidence, requests_per_sec * share(percent), secs, judges);
    BakeForecast {
        percent,
        secs,
        requests: traffic.average * share(percent) * f64::from(secs),
        needed: evidence.min_requests,
        held_secs: held(traffic.average),
        held_secs_when_quiet: held(traffic.quietest),
    }
}

/// How long a bake is held until enough is seen, of so many requests a second; what is judged has to settle first.
fn held_secs(evidence: &Evidence, requests_per_sec: f64, secs: u32, judges: bool) -> Option<u64> {
    let needed = f64::from(evidence.min_requests);
    let late = if judges { late_secs(evidence.every_secs).unsigned_abs() } else { 0 };
    let load = Load { requests_per_sec, bad_rate: 0.0 };
    let is_enough = |secs: u64| {
        let step = Step { share: 1.0, secs: secs.saturating_sub(late) as f64 };
        requests(load, &[step], windows(evidence)).iter().all(|it| it.reach(needed))
    };
    let every = u64::from(evidence.every_secs.max(1));
    let mut held = (0..=u64::from(evidence.wait_secs) / every).map(|windows| windows * every);
    held.find(|held| is_enough(u64::from(secs) + held))
}

fn comparison(
    plan: &Plan,
    evidence: &Evidence,
    it: &crate::plan::Comparison,
    seen: &MetricsSeen,
    until: Timestamp,
) -> Option<ComparisonForecast> {
    let both = |of: fn(&crate::plan::Arm) -> &Vec<Series>| -> Vec<Series> {
        [&it.candidate, &it.stable].into_iter().flat_map(|arm| of(arm).clone()).collect()
    };
    let requests = hours(seen, &both(|arm| &arm.requests), until);
    let bad: f64 = hours(seen, &both(|arm| &arm.bad), until).iter().sum();
    let secs = requests.len() as f64 * HOUR_SECS as f64;
    let counted = Arm::new(requests.iter().sum(), bad);
    let load = Load::of(counted, secs)?;
    let mixed = bakes(plan).filter(|(percent, _)| *percent < Percent::ALL);
    let steps: Vec<Step> =
        mixed.map(|(percent, secs)| Step { share: share(percent), secs: f64::from(secs) }).collect();
    let regressions = if steps.is_empty() {
        Vec::new()
    } else {
        regressions(&evidence.test(), load, &steps, windows(evidence), &RATIOS)
    };
    Some(ComparisonForecast { of: it.of.clone(), rate: counted.rate()?, regressions })
}

/// One call for each window that settles while both versions have traffic, one a look for what has a limit, and a few until enough was seen.
fn reads(plan: &Plan, evidence: &Evidence) -> Reads {
    let every = u64::from(evidence.every_secs.max(1));
    let look = u64::try_from(LOOK_EVERY.as_secs()).unwrap_or(1).min(every).max(1);
    let compared = evidence.series().len() - evidence.limits.len();
    let (mut calls, mut metrics) = (0, 0);
    for (percent, secs) in bakes(plan) {
        let (secs, in_all) = (u64::from(secs), u64::try_from(compared).unwrap_or(0));
        let limits = u64::try_from(evidence.limits.len()).unwrap_or(0);
        let judged = percent < Percent::ALL && !evidence.comparisons.is_empty();
        let (numbers, of) = if judged {
            (secs.div_ceil(every), in_all)
        } else if evidence.min_requests > 0 {
            (secs.div_ceil(every).min(3), u64::try_from(evidence.requests.len()).unwrap_or(0))
        } else {
            (0, 0)
        };
        let looks = if limits > 0 { secs.div_ceil(look) } else { 0 };
        calls += numbers.max(looks);
        metrics += numbers * of + looks * limits;
    }
    Reads { calls, metrics, usd: metrics as f64 * USD_A_METRIC }
}
