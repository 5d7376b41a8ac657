//! The final table, and the verdict.

use std::process::ExitCode;

use super::narrate::Narrator;
use super::release::Followed;
use crate::load::Snapshot;
use crate::local::Local;

/// `tidegate watch` of a promoted release.
const PROMOTED: i32 = 0;
/// `tidegate watch` of a release that was rolled back.
const ROLLED_BACK: i32 = 3;

/// What the load balancer has to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The candidate's least and highest share when the bad version is caught, percent; none where nothing measures it.
    pub(super) shares: Option<(u32, u32)>,
}

/// What became of what was pushed.
#[derive(Clone, Copy)]
pub(super) struct Releases<'a> {
    pub(super) good: &'a Followed,
    pub(super) bad: &'a Followed,
    /// The one whose errors were too few for the alarm; none where nothing is compared.
    pub(super) worse: Option<&'a Followed>,
    /// The one that nobody talked to at first; none where that is not shown.
    pub(super) unseen: Option<&'a Followed>,
}

/// Says what was measured, and whether it is what was promised.
pub(super) fn report(
    releases: Releases<'_>,
    traffic: &Snapshot,
    local: &Local,
    expected: Expected,
    narrator: &Narrator,
) -> ExitCode {
    let Releases { good, bad, worse, unseen } = releases;
    let total = &traffic.total;
    narrator.quote(&format!("requests sent           {:>8}", total.sent));
    narrator.quote(&format!("requests lost           {:>8}", total.lost()));
    for (version, count) in &total.by_version {
        let errors = total.errors_by_version.get(version).copied().unwrap_or(0);
        narrator.quote(&format!("served by {version:<14}{count:>8}   of which errors {errors:>6}"));
    }
    // Answers without a version are the load balancer's own: 502, 503, 504.
    let balancer_errors = total.errors_by_version.get("-").copied().unwrap_or(0);
    narrator.quote(&format!("errors users saw        {:>8}", total.errors()));
    narrator.quote(&format!(
        "latency p50/p90/p99     {:>8}",
        traffic.latency_ms.map(|ms| format!("{ms:.1} ms")).join(" / ")
    ));
    let restored = bad
        .alarm_at
        .zip(bad.restored_at)
        .map(|(alarm, restored)| restored.duration_since(alarm).as_secs_f64());
    match restored {
        Some(secs) => narrator.quote(&format!("breach to all traffic back {secs:>5.2} s")),
        None => narrator.quote("breach to all traffic back  not seen"),
    }
    for release in [Some(good), Some(bad), worse, unseen].into_iter().flatten() {
        let took = release.took.as_secs_f64();
        narrator.quote(&format!(
            "{:<4}{:<28} peak {:>3}%  took {took:.0} s",
            release.version, release.id, release.peak
        ));
    }
    let worse_shares = worse.into_iter().flat_map(|worse| &worse.shares);
    let shares: Vec<_> = good.shares.iter().chain(&bad.shares).chain(worse_shares).collect();
    for share in &shares {
        let judged = if share.is_kept().is_none() { "  too few to judge" } else { "" };
        narrator.quote(&format!(
            "share set {:>3}%  measured {:>5.1}%  of {:>6} requests{judged}",
            share.set,
            share.measured(),
            share.answered
        ));
    }
    let dead: Vec<String> = local
        .events
        .log()
        .iter()
        .filter(|delivery| delivery.outcome == "dead_letter")
        .map(|delivery| {
            format!(
                "{} {}: {}",
                delivery.source,
                delivery.detail_type,
                delivery.error.clone().unwrap_or_default()
            )
        })
        .collect();
    let unmeasured = expected.shares.is_none();
    let within = expected.shares.is_none_or(|(least, most)| (least..=most).contains(&bad.peak));
    let mut checks = vec![
        ("the good version was promoted", good.exit == Some(PROMOTED) && (good.peak == 100 || unmeasured)),
        ("the bad version was rolled back", bad.exit == Some(ROLLED_BACK)),
        ("the bad version never had more than its step's share", within),
        ("the rollback was seen on the load balancer", restored.is_some() || unmeasured),
        ("no request was lost", total.lost() == 0 && total.in_flight() == 0),
        ("the load balancer always had somewhere to send a request", balancer_errors == 0),
        ("every event was handled", dead.is_empty()),
    ];
    if let Some(worse) = worse {
        let by_comparison = worse.exit == Some(ROLLED_BACK) && worse.alarm_at.is_none() && worse.peak < 100;
        checks.push((
            "the slightly worse version was rolled back by the comparison, without an alarm",
            by_comparison,
        ));
    }
    if let Some(unseen) = unseen {
        checks.push((
            "the version that nobody talked to was held, and promoted once somebody did",
            unseen.exit == Some(PROMOTED) && unseen.peak == 100,
        ));
    }
    // Of steps that had too few requests nothing is said.
    let kept: Vec<bool> = shares.iter().filter_map(|share| share.is_kept()).collect();
    if !kept.is_empty() {
        let what = "every step of 2,000 requests and more had its share, within a point";
        checks.push((what, kept.iter().all(|kept| *kept)));
    }
    let mut verdict = ExitCode::SUCCESS;
    for (what, holds) in checks {
        narrator.say(&format!("{} {what}", if holds { "ok    " } else { "FAILED" }));
        if !holds {
            verdict = ExitCode::FAILURE;
        }
    }
    for line in dead {
        narrator.quote(&line);
    }
    verdict
}
