//! Rows of lists: less than all there is to say.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_core::change::Change;
use tidegate_core::ids::{AccountId, Region, ReleaseId, ServiceName, Target};
use tidegate_core::policy::{Percent, Policy, Shift};
use tidegate_core::release::{Release, requester};
use tidegate_core::service::{Promoted, ServiceRecord};

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
        }
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
