//! Services as the dashboard shows them: what runs where, what is under way and how long that takes, how the last release ended.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::change::Change;
use tidegate_core::ids::{AccountId, Region, ReleaseId, ServiceName, Target};
use tidegate_core::outcome::Outcome;
use tidegate_core::release::{Phase, Release};
use tidegate_core::service::{Promoted, ServiceRecord};

use crate::headline::{headline, stable_name};
use crate::live::Live;
use crate::release::{AlarmView, ApprovalView, alarms, waiting_approval};
use crate::rows::{ReleaseRow, strategy};
use crate::stages::{StageState, StageView, stages};

/// A service as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Its name.
    pub service: ServiceName,
    /// Where its releases go.
    pub target: Target,
    /// How its traffic moves, for people.
    pub strategy: String,
    /// What a release brought last, and its users are on as far as Tidegate knows.
    pub runs: Option<RunsView>,
    /// The release under way.
    pub active: Option<OpenView>,
    /// The release that waits for it.
    pub waiting: Option<ReleaseRow>,
    /// The release that ended last, of those whose turn had come.
    pub last: Option<ReleaseRow>,
    /// The freeze window that is open.
    pub frozen: Option<FrozenView>,
    /// How many digests are quarantined.
    pub quarantined: usize,
}

/// What a service runs.
#[derive(Debug, Clone, PartialEq)]
pub struct RunsView {
    /// The release that brought it.
    pub release: ReleaseId,
    /// What it brought.
    pub images: Change,
    /// The commit it was built from, as far as was said.
    pub commit: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// A release under way.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenView {
    /// What lists show of it.
    pub row: ReleaseRow,
    /// The commit it was built from, as far as was said.
    pub commit: Option<String>,
    /// Its stages, once there is a plan.
    pub stages: Vec<StageView>,
    /// Where it is, and what its users are on.
    pub line: String,
    /// How long it takes at least, when nothing holds it.
    pub left: Option<SignedDuration>,
    /// The alarms it is judged by, as they were seen last.
    pub alarms: Vec<AlarmView>,
    /// The approval it waits for.
    pub approval: Option<ApprovalView>,
}

/// A freeze window that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenView {
    /// The window, for people.
    pub window: String,
    /// Until when.
    pub until: Timestamp,
}

impl ServiceView {
    /// A service, from its row and those of its releases that were read: the open ones, the newest, and the one promoted last. One that is
    /// missing among them is shown as not known.
    pub fn new(
        service: &ServiceName,
        head: &ServiceRecord,
        releases: &[Release],
        place: (&AccountId, &Region),
        now: Timestamp,
    ) -> Self {
        let find = |id: &ReleaseId| releases.iter().find(|release| release.id == *id);
        let open = |id: &Option<ReleaseId>| id.as_ref().and_then(find).filter(|release| !release.is_over());
        let ended = releases.iter().filter(|release| had_its_turn(release));
        Self {
            service: service.clone(),
            target: head.policy.target(place.0, place.1),
            strategy: strategy(&head.policy),
            runs: head.promoted.first().map(|promoted| RunsView {
                release: promoted.release.clone(),
                images: promoted.change.clone(),
                commit: find(&promoted.release).and_then(|release| release.provenance.commit.clone()),
                since: promoted.at,
            }),
            active: open(&head.active).map(|release| OpenView::new(release, &head.promoted, now)),
            waiting: open(&head.waiting).map(ReleaseRow::from),
            last: ended.max_by(|a, b| a.id.cmp(&b.id)).map(ReleaseRow::from),
            frozen: frozen(head, now),
            quarantined: head.quarantine.len(),
        }
    }
}

/// Whether a release has ended by its own story: not one that only waited, or whose place a newer one took.
fn had_its_turn(release: &Release) -> bool {
    match release.outcome() {
        None | Some(Outcome::Superseded { .. }) => false,
        Some(
            Outcome::Promoted
            | Outcome::RolledBack { .. }
            | Outcome::Cancelled { .. }
            | Outcome::Failed { .. },
        ) => release.progress.started_at.is_some(),
    }
}

fn frozen(head: &ServiceRecord, now: Timestamp) -> Option<FrozenView> {
    let frozen = head.policy.freeze.as_ref()?.at(now)?;
    Some(FrozenView { window: frozen.window, until: frozen.until })
}

impl OpenView {
    /// A release under way. Without its history it is not told when a stage that is over was over.
    pub fn new(release: &Release, promoted: &[Promoted], now: Timestamp) -> Self {
        let stages = stages(release, &[]);
        Self {
            row: ReleaseRow::from(release),
            commit: release.provenance.commit.clone(),
            line: headline(release, &[], stable_name(release, promoted).as_deref(), now),
            left: left(release, &stages, now),
            alarms: alarms(release, &Live::default()),
            approval: waiting_approval(release),
            stages,
        }
    }
}

/// How long a release takes at least from now on, by its plan.
pub fn left(release: &Release, stages: &[StageView], now: Timestamp) -> Option<SignedDuration> {
    let Phase::Running { since, .. } = &release.phase else { return None };
    let at = stages.iter().position(|stage| stage.state == StageState::Now)?;
    let secs = |stage: &StageView| i64::try_from(stage.earliest_secs).unwrap_or(i64::MAX);
    let (this, next, end) = (secs(stages.get(at)?), secs(stages.get(at + 1)?), secs(stages.last()?));
    let passed = now.duration_since(*since).as_secs().clamp(0, next - this);
    Some(SignedDuration::from_secs(end - this - passed))
}
