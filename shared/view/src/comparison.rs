//! The candidate's numbers beside the stable version's.

use serde::Serialize;
use tidegate_core::evidence::{Arm, Measured};
use tidegate_core::plan::Evidence;
use tidegate_core::release::Release;

/// One number of the candidate, beside the stable version's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonView {
    /// `errors`, `requests slower than 500ms`, the name of a metric.
    pub of: String,
    /// The candidate.
    pub candidate: ArmView,
    /// The stable version beside it.
    pub stable: ArmView,
    /// How many times the stable version's rate the candidate's is; null while neither shows anything bad, or only one does.
    pub ratio: Option<f64>,
    /// It is at least so many times as much.
    pub ratio_low: Option<f64>,
    /// And at most; null while nobody can say.
    pub ratio_high: Option<f64>,
    /// The same in words: `10 times as many (4.2 to 31)`.
    pub ratio_words: Option<String>,
    /// So many times is no regression.
    pub tolerated: f64,
    /// How sure it is to be more than is tolerated, 0 to 1: 1 is enough to roll back.
    pub sure: f64,
    /// It does worse than is tolerated.
    pub is_bad: bool,
    /// It never acts.
    pub dry_run: bool,
}

/// What was counted of one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmView {
    /// Everything that was tried.
    pub requests: f64,
    /// What of it was bad.
    pub bad: f64,
    /// In words: `1.0%`; `nothing` while it had no requests.
    pub rate: String,
}

/// What was counted of a release.
pub(crate) fn comparisons(release: &Release) -> Vec<ComparisonView> {
    let evidence = release.plan.as_ref().and_then(|plan| plan.evidence.as_deref());
    let (Some(evidence), Some(counted)) = (evidence, &release.progress.evidence) else { return Vec::new() };
    counted.measured(evidence).iter().map(|measured| ComparisonView::new(measured, evidence)).collect()
}

impl ComparisonView {
    pub(crate) fn new(measured: &Measured, evidence: &Evidence) -> Self {
        let (candidate, stable) = measured.rates();
        let arm = |arm: Arm, rate| ArmView { requests: arm.requests, bad: arm.bad, rate };
        // On a scale of logarithms, as evidence adds up.
        let sure = measured.evidence.max(1.0).ln() / measured.enough.max(std::f64::consts::E).ln();
        Self {
            of: measured.of.to_string(),
            candidate: arm(measured.candidate, candidate),
            stable: arm(measured.stable, stable),
            ratio: measured.ratio.as_ref().and_then(|ratio| ratio.estimate),
            ratio_low: measured.ratio.as_ref().map(|ratio| ratio.low),
            ratio_high: measured.ratio.as_ref().and_then(|ratio| ratio.high),
            ratio_words: measured.ratio_words(),
            tolerated: evidence.tolerate.as_f64(),
            sure: sure.clamp(0.0, 1.0),
            is_bad: measured.is_bad,
            dry_run: evidence.dry_run,
        }
    }
}
