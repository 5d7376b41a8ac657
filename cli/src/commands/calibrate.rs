//! `calibrate`: a service compared with itself on the traffic of the last days, which needs no candidate: how often its comparisons would have been
//! wrong, and which tolerance keeps what the policy promises of false alarms. Nothing is changed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tidegate_core::engine::{self, Preflight};
use tidegate_core::evidence::settled_end;
use tidegate_core::ids::{ServiceName, Target};
use tidegate_core::intent::Intent;
use tidegate_core::plan::{Comparison, Evidence, Plan, Stage};
use tidegate_core::policy::Percent;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::{MetricsAsked, MetricsSeen, Series};
use tidegate_runtime::Context;
use tidegate_runtime::observe::{Feedback, observe};
use tidegate_stats::Arm;
use tidegate_stats::calibrate::{Calibration, Minute, Parted, Replays, calibrate};

use super::plan::imagined;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find;
use crate::image::{self, ImageArg};
use crate::output::Output;
use crate::render;

/// The tolerated ratios that are tried, beside the policy's own.
const TOLERATE: [f64; 7] = [1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// CloudWatch keeps values of less than a minute so long.
const SHORT_KEPT: SignedDuration = SignedDuration::from_hours(3);
/// What an Availability Zone's name ends with, after its region.
const ZONES: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];
const ZONE: &str = "AvailabilityZone";

/// The arguments of `calibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    pub service: ServiceName,
    /// An image, as `plan` takes it, where the service was never released or its policy compares something else since
    #[arg(value_name = "IMAGE")]
    pub images: Vec<ImageArg>,
    /// How many days of traffic to play, 1 to 14
    #[arg(long, default_value_t = 3, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=14))]
    pub days: u32,
    /// How many releases to play over them
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub replays: u32,
    /// Another number draws differently; the same one the same again
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
}

/// What is told.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Answer {
    pub service: ServiceName,
    pub since: Timestamp,
    pub until: Timestamp,
    /// How long a window is, seconds.
    pub every_secs: u32,
    /// How many releases were played, each over so many windows, with so much of the traffic as the candidate's.
    pub replays: u32,
    pub release_windows: usize,
    pub share_percent: f64,
    /// What the policy tolerates, and promises of false alarms over all comparisons.
    pub tolerate: f64,
    pub false_alarms: f64,
    pub comparisons: Vec<Calibrated>,
}

/// One comparison.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Calibrated {
    pub of: String,
    pub counted: Arm,
    /// The zones that have numbers of their own.
    pub zones: Vec<String>,
    /// How often it may be wrong so that all comparisons together keep the promise.
    pub allowed: f64,
    pub played: Vec<Calibration>,
    /// The smallest tolerated ratio that keeps it, however the traffic is parted; none: no ratio that was tried.
    pub tolerate_needed: Option<f64>,
}

/// Reads, plays, and prints.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let head = find::service(&*connection.installation().ledger, &args.service).await?;
    let (target, plan) = planned(args, connection, &head).await?;
    let compares = plan.evidence.as_ref().filter(|evidence| !evidence.comparisons.is_empty());
    let evidence = compares.ok_or_else(|| {
        Refusal::new(format!(
            "releases of {} compare nothing with the stable version, so there is nothing to calibrate",
            args.service
        ))
        .remedy("`evidence: { compare: [errors] }` compares errors where an Application Load Balancer counts them; docs/evidence.md says what else")
    })?;
    let answer = play(args, &connection.context, &target, &plan, evidence).await?;
    if out.is_json() {
        out.object(&answer)?;
    } else {
        out.lines(&render::calibrate(&answer))?;
    }
    Ok(Exit::Ok)
}

/// What a release does: of the image that is named, else the newest one that had a plan.
async fn planned(
    args: &Args,
    connection: &Connection,
    head: &ServiceRecord,
) -> anyhow::Result<(Target, Plan)> {
    let context = &connection.context;
    if args.images.is_empty() {
        return last(context, &args.service).await;
    }
    let change = image::change(&args.images, &head.policy, connection.registry()).await?;
    let release = imagined(context, &args.service, head, change, Intent::Deploy)?;
    let seen = observe(context, &release, Some(head.clone()), &Feedback::default()).await;
    match engine::preflight(&head.policy, &release, &seen, context.installation.time.now()) {
        Preflight::Pass(plan, _) => Ok((release.target, *plan)),
        Preflight::Blocked(_) | Preflight::CannotSee(_) => {
            let service = &args.service;
            Err(Refusal::new(format!("{service} cannot be released now, so there is no plan to play"))
                .remedy(format!("tidegate plan {service} IMAGE  says what blocks it"))
                .exit(Exit::Blocked)
                .into())
        }
    }
}

/// How many releases are looked through for one with a plan.
const LOOKED_THROUGH: u32 = 20;

async fn last(context: &Context, service: &ServiceName) -> anyhow::Result<(Target, Plan)> {
    let listed = context.installation.ledger.releases(service, LOOKED_THROUGH).await;
    let listed = listed.with_context(|| format!("failed to list the releases of {service}"))?;
    let newest = listed.split().0.into_iter().find_map(|release| Some((release.target, release.plan?)));
    newest.ok_or_else(|| {
        Refusal::new(format!("none of the last releases of {service} came to a plan"))
            .remedy(format!("name an image that could be released: tidegate calibrate {service} IMAGE"))
            .into()
    })
}

async fn play(
    args: &Args,
    context: &Context,
    target: &Target,
    plan: &Plan,
    evidence: &Evidence,
) -> anyhow::Result<Answer> {
    let every = SignedDuration::from_secs(evidence.every_secs.into());
    // The newest numbers may still change.
    let until = settled_end(evidence.every_secs, context.installation.time.now());
    let days = SignedDuration::from_hours(24 * i64::from(args.days));
    let kept = if evidence.every_secs < 60 { days.min(SHORT_KEPT) } else { days };
    let span = Span { from: until.saturating_sub(kept)?, until, every };
    let zones: Vec<String> = ZONES.iter().map(|letter| format!("{}{letter}", target.region)).collect();
    let all: BTreeSet<Series> = evidence.comparisons.iter().flat_map(|it| asked(it, &zones)).collect();
    let question = MetricsAsked { series: all, from: span.from, every_secs: evidence.every_secs };
    let seen = context.metrics.observe(target, &question, until).await;
    let seen = seen.with_context(|| format!("failed to read the metrics of {}", args.service))?;
    let replays = replays(args, plan, every);
    let comparisons = evidence
        .comparisons
        .iter()
        .map(|comparison| calibrated(args, evidence, comparison, &seen, &span, &zones, replays))
        .collect::<anyhow::Result<_>>()?;
    Ok(Answer {
        service: args.service.clone(),
        since: span.from,
        until,
        every_secs: evidence.every_secs,
        replays: args.replays,
        release_windows: replays.minutes,
        share_percent: 100.0 * replays.share,
        tolerate: evidence.tolerate.as_f64(),
        false_alarms: evidence.false_alarms.as_f64(),
        comparisons,
    })
}

/// The time that is played, in windows.
struct Span {
    from: Timestamp,
    until: Timestamp,
    every: SignedDuration,
}

/// Releases as the plan has them: over the bakes in which both versions have traffic, with the share of the first.
fn replays(args: &Args, plan: &Plan, every: SignedDuration) -> Replays {
    let shared = |stage: &Stage| {
        let Stage::Bake { percent, secs } = stage else { return None };
        (*percent < Percent::ALL).then(|| (percent.as_f64(), *secs))
    };
    let bakes: Vec<(f64, u32)> = plan.stages.iter().filter_map(shared).collect();
    let secs: u64 = bakes.iter().map(|(_, secs)| u64::from(*secs)).sum();
    let windows = secs / every.unsigned_abs().as_secs().max(1);
    Replays {
        count: usize::try_from(args.replays).unwrap_or(usize::MAX),
        minutes: usize::try_from(windows).unwrap_or(usize::MAX).max(1),
        // A strategy without a share replaces tasks in place.
        share: bakes.first().map_or(0.5, |(percent, _)| percent / 100.0),
    }
}

/// What is read of a comparison: the numbers of both versions, which change their places from release to release, and those of each zone.
fn asked(comparison: &Comparison, zones: &[String]) -> Vec<Series> {
    let whole: BTreeSet<&Series> = requests(comparison).chain(bad(comparison)).collect();
    let of_zones = zones.iter().flat_map(|zone| whole.iter().filter_map(move |series| in_zone(series, zone)));
    whole.iter().map(|series| (*series).clone()).chain(of_zones).collect()
}

fn requests(comparison: &Comparison) -> impl Iterator<Item = &Series> {
    comparison.candidate.requests.iter().chain(&comparison.stable.requests)
}

fn bad(comparison: &Comparison) -> impl Iterator<Item = &Series> {
    comparison.candidate.bad.iter().chain(&comparison.stable.bad)
}

/// Load balancers count by zone, too; metrics of your own do not.
fn in_zone(series: &Series, zone: &str) -> Option<Series> {
    if !series.dimensions.contains_key("LoadBalancer") {
        return None;
    }
    let mut series = series.clone();
    series.dimensions.insert(ZONE.to_owned(), zone.to_owned());
    Some(series)
}

fn calibrated(
    args: &Args,
    evidence: &Evidence,
    comparison: &Comparison,
    seen: &MetricsSeen,
    span: &Span,
    zones: &[String],
    replays: Replays,
) -> anyhow::Result<Calibrated> {
    let (zones, minutes) = minutes(comparison, seen, span, zones);
    let counted = minutes.iter().fold(Arm::default(), |sum, minute| {
        Arm::new(sum.requests + minute.all.requests, sum.bad + minute.all.bad)
    });
    if minutes.len() <= replays.minutes {
        return Err(Refusal::new(format!(
            "there are only {} windows with {} of {}, and a release takes {}",
            minutes.len(),
            comparison.of,
            args.service,
            replays.minutes
        ))
        .remedy("try again when the service has had traffic for longer, or with more --days")
        .into());
    }
    let test = evidence.test();
    let mut tolerate = TOLERATE.to_vec();
    if !tolerate.contains(&test.tolerate) {
        tolerate.push(test.tolerate);
    }
    let parts = [Parted::Requests, Parted::Zones, Parted::Minutes];
    let played: Vec<Calibration> = parts
        .into_iter()
        .filter_map(|parted| {
            let mut rng = fastrand::Rng::with_seed(args.seed);
            calibrate(&minutes, parted, &test, &tolerate, replays, &mut || rng.f64())
        })
        .collect();
    let needed: Option<Vec<f64>> = played.iter().map(|it| it.holds(test.alpha)).collect();
    Ok(Calibrated {
        of: comparison.of.to_string(),
        counted,
        zones,
        allowed: test.alpha,
        tolerate_needed: needed.map(|needed| needed.into_iter().fold(1.0, f64::max)),
        played,
    })
}

/// The zones that have numbers, and each window from the first one that has any.
fn minutes(
    comparison: &Comparison,
    seen: &MetricsSeen,
    span: &Span,
    zones: &[String],
) -> (Vec<String>, Vec<Minute>) {
    let of = |zone: Option<&str>| -> Vec<Arm> {
        let placed = |series: &Series| match zone {
            None => Some(series.clone()),
            Some(zone) => in_zone(series, zone),
        };
        let requests: BTreeSet<Series> = requests(comparison).filter_map(placed).collect();
        let bad: BTreeSet<Series> = bad(comparison).filter_map(placed).collect();
        let counts = sums(seen, &requests, span).into_iter().zip(sums(seen, &bad, span));
        counts.map(|(requests, bad)| Arm::new(requests, bad)).collect()
    };
    let has_any = |arms: &Vec<Arm>| arms.iter().any(|arm| arm.requests > 0.0);
    let by_zone: Vec<(String, Vec<Arm>)> =
        zones.iter().map(|zone| (zone.clone(), of(Some(zone)))).filter(|(_, arms)| has_any(arms)).collect();
    let minute =
        |(at, all): (usize, Arm)| Minute { all, zones: by_zone.iter().map(|(_, arms)| arms[at]).collect() };
    let minutes = of(None).into_iter().enumerate().map(minute);
    let minutes = minutes.skip_while(|minute| minute.all.requests <= 0.0).collect();
    (by_zone.into_iter().map(|(zone, _)| zone).collect(), minutes)
}

/// The sum of some metrics in each window of the time; 0 where nothing was told.
fn sums(seen: &MetricsSeen, series: &BTreeSet<Series>, span: &Span) -> Vec<f64> {
    let every = span.every.as_secs().max(1);
    let first = span.from.as_second().div_euclid(every) + 1;
    let count = usize::try_from(span.until.as_second().div_euclid(every) - first).unwrap_or(0);
    let mut sums = vec![0.0; count];
    for (at, value) in series.iter().filter_map(|series| seen.get(series)).flatten() {
        let window = usize::try_from(at.as_second().div_euclid(every) - first).ok();
        if let Some(sum) = window.and_then(|window| sums.get_mut(window)) {
            *sum += value;
        }
    }
    sums
}
