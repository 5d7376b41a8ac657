//! What a release would do, and what speaks against it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tidegate_core::change::Change;
use tidegate_core::finding::{Finding, FindingCode};
use tidegate_core::forecast::Forecast;
use tidegate_core::ids::{ReleaseId, ServiceName, Target};
use tidegate_core::plan::{Evidence, Plan, RollbackTarget, Share};
use tidegate_core::policy::Percent;
use tidegate_core::release::Release;
use tidegate_core::rollback::Leaving;
use tidegate_core::service::Promoted;

use crate::stages::{Facts, facts};

/// The answer of `plan`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PlanView {
    pub service: ServiceName,
    /// Where it would go.
    pub target: Target,
    /// What would be released.
    pub images: Change,
    /// Whether the release could not start.
    pub blocked: bool,
    /// What preflight found, blocking and not.
    pub findings: Vec<FindingView>,
    /// What could not be seen; it blocks, too.
    pub unseen: Vec<String>,
    /// What the ledger says: another release under way, a quarantine.
    pub notes: Vec<String>,
    /// The plan, when nothing blocks it.
    pub plan: Option<PlannedView>,
    /// What its numbers will be able to say, from the traffic of the last day; null where nothing counts, or nothing was there to be counted.
    pub forecast: Option<Forecast>,
    /// Why there is none, where the numbers could not be read, or there was no traffic. It blocks nothing.
    pub no_forecast: Option<String>,
}

/// One thing preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingView {
    /// What kind of thing: a stable name.
    pub code: FindingCode,
    /// Whether the release could not start.
    pub blocking: bool,
    /// What was found.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl From<Finding> for FindingView {
    fn from(Finding { code, blocking, problem }: Finding) -> Self {
        Self { code, blocking, problem, remedy: code.remedy() }
    }
}

/// The answer of `rollback --dry-run`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct RollbackView {
    pub service: ServiceName,
    /// The release that would be rolled back; null when what runs was deployed outside Tidegate.
    pub from: Option<ReleaseId>,
    /// Its name for people.
    pub from_name: String,
    /// The promoted release that would be brought back; null when the one under way is rolled back.
    pub to: Option<ReleaseId>,
    /// Its name for people; null when the stable version is not known yet.
    pub to_name: Option<String>,
    /// The release that waits and would be superseded.
    pub supersedes: Option<ReleaseId>,
    /// Why what runs could not be seen; then what was promoted last is taken to run.
    pub unseen: Option<String>,
    /// What is restored, of a release under way that has a plan.
    pub rollback_target: Option<RollbackTargetView>,
    /// The plan of the release that brings the earlier version back.
    pub plan: Option<PlanView>,
}

impl RollbackView {
    /// The release under way is rolled back.
    pub fn under_way(release: &Release) -> Self {
        let back = release.plan.as_ref().map(|plan| RollbackTargetView::from(plan.rollback_target()));
        Self {
            service: release.service.clone(),
            from: Some(release.id.clone()),
            from_name: release.change.label(),
            to: None,
            to_name: back.as_ref().map(|back| back.name.clone()),
            supersedes: None,
            unseen: None,
            rollback_target: back,
            plan: None,
        }
    }

    /// An earlier version is brought back.
    pub fn earlier(from: &Leaving, to: &Promoted, supersedes: Option<&ReleaseId>, plan: PlanView) -> Self {
        Self {
            service: plan.service.clone(),
            from: from.release.clone(),
            from_name: from.label.clone(),
            to: Some(to.release.clone()),
            to_name: Some(to.change.label()),
            supersedes: supersedes.cloned(),
            unseen: from.unseen.clone(),
            rollback_target: None,
            plan: Some(plan),
        }
    }

    /// Whether it could not start.
    pub fn blocked(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.blocked)
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PlannedView {
    pub hash: String,
    /// The containers whose images change; none where the target has one image without a name.
    pub containers: Vec<String>,
    pub stages: Vec<PlannedStage>,
    /// The shortest time it takes.
    pub at_least_secs: u64,
    /// The alarms it would be judged by.
    pub alarms: Vec<String>,
    /// So many failed tasks of the candidate roll it back; 0: none do.
    pub failed_tasks: u32,
    /// How many requests each bake has to see; null where none are needed.
    pub requests_needed: Option<u32>,
    /// The numbers it would be judged by, in words.
    pub judged_by: Vec<String>,
    /// Who judges the candidate beside Tidegate, for people; none where nobody does.
    #[serde(skip)]
    pub own_checks: Option<&'static str>,
    /// What undoes it.
    pub rollback_target: RollbackTargetView,
    pub made_at: Timestamp,
}

/// A stage of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStage {
    /// From 1.
    pub number: usize,
    /// As in a release's stages.
    pub stage: &'static str,
    /// For people.
    pub text: String,
    /// The share of traffic, of shifts and bakes.
    pub percent: Option<Percent>,
    /// How long it bakes.
    pub bake_secs: Option<u32>,
    /// When it begins at the earliest, counted from the start.
    pub earliest_secs: u64,
    /// How long it may take before the release is rolled back; null when it ends by a limit of the policy's.
    pub limit_secs: Option<u64>,
}

/// What undoes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RollbackTargetView {
    /// The version that runs, as the target's owner names it.
    pub version: String,
    /// Its name for people.
    pub name: String,
    /// The images that run, by container: with their digest, or as they are written down where nobody tells a digest.
    pub images: BTreeMap<String, String>,
    /// Whether it names a tag, so that a copy of it with every image by digest is what a rollback deploys.
    pub pinned_first: bool,
    /// The deployment strategy that is restored; null where the target has none.
    pub strategy: Option<String>,
    /// Where traffic goes now.
    pub traffic: Vec<TrafficView>,
}

/// A place that shares traffic out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct TrafficView {
    pub at: String,
    /// Where it sends traffic.
    pub shares: Vec<ShareView>,
}

/// Whom traffic is sent to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ShareView {
    pub to: String,
    /// The name for people.
    pub name: String,
    pub weight: u32,
}

impl From<RollbackTarget<'_>> for RollbackTargetView {
    fn from(back: RollbackTarget<'_>) -> Self {
        Self {
            version: back.version.to_owned(),
            name: back.name.to_owned(),
            images: back
                .images
                .keys()
                .filter_map(|container| Some((container.to_string(), back.image(container)?)))
                .collect(),
            pinned_first: back.pinned_first,
            strategy: back.strategy.map(str::to_owned),
            traffic: back.traffic.into_iter().map(TrafficView::from).collect(),
        }
    }
}

impl From<(&str, Vec<Share<'_>>)> for TrafficView {
    fn from((at, shares): (&str, Vec<Share<'_>>)) -> Self {
        let shares = shares.iter().map(|share| ShareView {
            to: share.to.to_owned(),
            name: share.name.to_owned(),
            weight: share.weight,
        });
        Self { at: at.to_owned(), shares: shares.collect() }
    }
}

impl From<&Plan> for PlannedView {
    fn from(plan: &Plan) -> Self {
        Self {
            hash: plan.hash(),
            containers: match plan.setup.words().changes {
                None => plan.change.containers().map(ToString::to_string).collect(),
                Some(_) => Vec::new(),
            },
            stages: stages(plan),
            at_least_secs: plan.at_least_secs(),
            alarms: plan.alarms.iter().map(ToString::to_string).collect(),
            failed_tasks: plan.failed_tasks,
            requests_needed: plan
                .evidence
                .as_deref()
                .map(|evidence| evidence.min_requests)
                .filter(|count| *count > 0),
            judged_by: plan.evidence.as_deref().map(judged_by).unwrap_or_default(),
            own_checks: plan.setup.words().own_checks,
            rollback_target: RollbackTargetView::from(plan.rollback_target()),
            made_at: plan.made_at,
        }
    }
}

/// `errors more than 1.5 times the stable version's`, and limits.
fn judged_by(evidence: &Evidence) -> Vec<String> {
    let dry = if evidence.dry_run { ", a dry run" } else { "" };
    let compared = evidence
        .comparisons
        .iter()
        .map(|it| format!("{} more than {} times the stable version's{dry}", it.of, evidence.tolerate));
    let limits = evidence.limits.iter().map(|limit| {
        let lasting = tidegate_core::words::span(SignedDuration::from_secs(i64::from(limit.lasting_secs)));
        format!("{} of {} {} for {lasting}{dry}", limit.series.stat, limit.series.metric, limit.bound)
    });
    compared.chain(limits).collect()
}

fn stages(plan: &Plan) -> Vec<PlannedStage> {
    let mut earliest_secs = 0;
    let mut planned = Vec::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let Facts { name, percent, bake_secs, text } = facts(stage, &plan.gates);
        let limit_secs = Some(plan.limit_secs(index)).filter(|limit| *limit != u64::MAX);
        planned.push(PlannedStage {
            number: index + 1,
            stage: name,
            text,
            percent,
            bake_secs,
            earliest_secs,
            limit_secs,
        });
        earliest_secs += u64::from(stage.at_least_secs());
    }
    planned
}
