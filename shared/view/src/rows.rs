//! Rows of lists: less than all there is to say.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_core::change::Change;
use tidegate_core::ids::{AccountId, Digest, Region, ReleaseId, ServiceName, Target};
use tidegate_core::intent::Intent;
use tidegate_core::policy::{Percent, Policy, Shift};
use tidegate_core::release::{Phase, Release, requester};
use tidegate_core::service::{Promoted, Quarantined, ServiceRecord};

use crate::release::{State, because, ended_at, state, summary};

/// A release in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ReleaseRow {
    /// Its id.
    pub release: ReleaseId,
    pub service: ServiceName,
    /// What is released.
    pub images: Change,
    /// It brings what runs already, and is rolled back on purpose.
    pub drill: bool,
    pub state: State,
    /// Where it is, for people.
    pub summary: String,
    /// The candidate's share that was set last.
    pub set_percent: Option<Percent>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Who or what asked for it.
    pub requested_by: String,
    /// Why it was rolled back or ended as it did, when that is not promotion.
    pub because: Option<String>,
}

impl From<&Release> for ReleaseRow {
    fn from(release: &Release) -> Self {
        Self {
            release: release.id.clone(),
            service: release.service.clone(),
            images: release.change.clone(),
            drill: release.intent == Intent::Drill,
            state: state(&release.phase),
            summary: summary(release),
            set_percent: release.progress.set,
            created_at: release.created_at,
            ended_at: ended_at(&release.phase),
            requested_by: requester(release),
            because: because(release),
        }
    }
}

/// A service in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub service: ServiceName,
    /// Where its releases go.
    pub target: Target,
    /// How its traffic moves, for people.
    pub strategy: String,
    /// The release under way.
    pub active: Option<ReleaseId>,
    /// The release that waits.
    pub waiting: Option<ReleaseId>,
    /// What was promoted last.
    pub promoted: Option<PromotedRow>,
    /// How many digests are quarantined.
    pub quarantined: usize,
    /// Where the release under way is.
    pub under_way: Option<UnderWayRow>,
    /// How the last release that had its turn ended.
    pub last: Option<ReleaseRow>,
    /// The freeze window that is open.
    pub frozen: Option<FrozenRow>,
}

/// Where the release under way is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct UnderWayRow {
    pub release: ReleaseId,
    pub images: Change,
    pub state: State,
    /// Where it is, for people.
    pub summary: String,
    /// The candidate's share that was set last.
    pub set_percent: Option<Percent>,
    pub paused_until: Option<Timestamp>,
    /// What is waited for, for people.
    pub next: String,
    /// How long the stages that are left take at least, seconds; null where that is not known, or it goes back.
    pub at_least_left_secs: Option<u64>,
}

impl UnderWayRow {
    fn new(release: &Release, now: Timestamp) -> Self {
        Self {
            release: release.id.clone(),
            images: release.change.clone(),
            state: state(&release.phase),
            summary: summary(release),
            set_percent: release.progress.set,
            paused_until: release.pause.as_ref().map(|pause| pause.until),
            next: release.report.waiting_on.to_string(),
            at_least_left_secs: at_least_left_secs(release, now),
        }
    }
}

/// How long the stages that are left take at least. While it is paused that stands still.
fn at_least_left_secs(release: &Release, now: Timestamp) -> Option<u64> {
    let (Phase::Running { stage, since, .. }, Some(plan)) = (&release.phase, &release.plan) else {
        return None;
    };
    if release.promote_now.is_some() {
        return Some(0);
    }
    let until = release.pause.as_ref().map_or(now, |pause| pause.since);
    let spent = u64::try_from(until.duration_since(*since).as_secs()).unwrap_or(0);
    let mut left = plan.stages.iter().skip(*stage).map(|stage| u64::from(stage.at_least_secs()));
    let of_this = left.next()?.saturating_sub(spent);
    Some(of_this + left.sum::<u64>())
}

/// A freeze window that is open.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct FrozenRow {
    pub window: String,
    pub until: Timestamp,
}

/// What was promoted last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PromotedRow {
    pub release: ReleaseId,
    pub images: Change,
    pub at: Timestamp,
}

impl From<&Promoted> for PromotedRow {
    fn from(promoted: &Promoted) -> Self {
        Self { release: promoted.release.clone(), images: promoted.change.clone(), at: promoted.at }
    }
}

impl ServiceRow {
    /// A service's row; a policy that names no account or region means where Tidegate is installed.
    pub fn new(service: &ServiceName, head: &ServiceRecord, account: &AccountId, region: &Region) -> Self {
        Self {
            service: service.clone(),
            target: head.policy.target(account, region),
            strategy: strategy(&head.policy),
            active: head.active.clone(),
            waiting: head.waiting.clone(),
            promoted: head.promoted.first().map(PromotedRow::from),
            quarantined: head.quarantine.len(),
            under_way: None,
            last: None,
            frozen: None,
        }
    }

    /// With what is known of its releases, and of the freeze windows of its policy.
    #[must_use]
    pub fn at(
        self,
        now: Timestamp,
        head: &ServiceRecord,
        active: Option<&Release>,
        last: Option<&Release>,
    ) -> Self {
        let frozen = head.policy.freeze.as_ref().and_then(|freeze| freeze.at(now));
        Self {
            under_way: active.map(|release| UnderWayRow::new(release, now)),
            last: last.map(ReleaseRow::from),
            frozen: frozen.map(|frozen| FrozenRow { window: frozen.window, until: frozen.until }),
            ..self
        }
    }
}

/// A digest that is not released again by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct QuarantineRow {
    pub service: ServiceName,
    pub digest: Digest,
    /// The release that was rolled back.
    pub release: ReleaseId,
    pub why: String,
    pub at: Timestamp,
}

impl QuarantineRow {
    /// Those of a service, the newest first.
    pub fn of(service: &ServiceName, head: &ServiceRecord) -> Vec<Self> {
        let row = |(digest, entry): (&Digest, &Quarantined)| Self {
            service: service.clone(),
            digest: digest.clone(),
            release: entry.release.clone(),
            why: entry.why.clone(),
            at: entry.at,
        };
        let mut rows: Vec<Self> = head.quarantine.iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        rows
    }
}

/// `canary 10% for 5m, then 15m`.
pub fn strategy(policy: &Policy) -> String {
    let moved = match &policy.strategy.shift {
        Shift::Canary { percent, bake } => format!("canary {percent}% for {bake}"),
        Shift::Linear { percent, bake } => format!("linear by {percent}%, {bake} each"),
        Shift::Steps { steps } => {
            let steps: Vec<String> =
                steps.iter().map(|step| format!("{}% for {}", step.percent, step.bake)).collect();
            format!("steps {}", steps.join(", "))
        }
        Shift::BlueGreen => "blue_green".to_owned(),
        Shift::Rolling => "rolling".to_owned(),
    };
    format!("{moved}, then {}", policy.strategy.bake)
}
