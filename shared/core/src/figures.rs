//! Figures of a service, or of all: how often it is released, how long a change takes to reach everybody, how often one fails, and how long users
//! wait until it is taken back. Made of the releases alone, so that they can be made again at any time.
//!
//! The four are those of DORA's research (dora.dev, "DORA's software delivery metrics: the four keys"). What each of them counts here is said
//! with it, because a figure whose meaning is not known is worth little.
#![expect(missing_docs, reason = "fields are named after what they hold")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::course::Hold;
use crate::ids::ReleaseId;
use crate::intent::Intent;
use crate::outcome::{Cause, Outcome};
use crate::release::{Phase, Release};

/// From when to when; its last moment is within, its first is the last of the period before. A release belongs to the time in which it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Period {
    fn contains(self, at: Timestamp) -> bool {
        self.since < at && at <= self.until
    }

    fn days(self) -> f64 {
        self.until.duration_since(self.since).as_secs_f64() / (24.0 * 3600.0)
    }
}

/// How durations are spread. Of few values the higher ones are the worst: nothing is interpolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub count: usize,
    pub p50_secs: u64,
    pub p99_secs: u64,
    pub worst_secs: u64,
}

impl Spread {
    /// Of durations in any order; `None` when there are none.
    pub fn of(mut secs: Vec<u64>) -> Option<Self> {
        secs.sort_unstable();
        let worst_secs = *secs.last()?;
        // The nearest rank: the smallest value that so many in a hundred do not exceed.
        let rank = |percent: usize| secs[(secs.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { count: secs.len(), p50_secs: rank(50), p99_secs: rank(99), worst_secs })
    }
}

/// From what on lead time is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadFrom {
    /// The commit, where the trigger said when it was made.
    Commit,
    /// The push of the image.
    Push,
    /// The request: a person asked for it, and nothing earlier is known.
    Request,
}

/// How long promoted changes took until they had all traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeadTime {
    #[serde(flatten)]
    pub spread: Spread,
    /// How many are counted from what.
    pub from: BTreeMap<LeadFrom, usize>,
}

/// Of the changes that were deployed, how many failed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Failures {
    /// Changes that were deployed and have ended as promoted, rolled back or failed.
    pub deployed: usize,
    /// Those of them that were rolled back for what they did, before or after their promotion, or that a person had to mend.
    pub failed: usize,
}

impl Failures {
    /// Failed by deployed; `None` when nothing was deployed.
    pub fn rate(&self) -> Option<f64> {
        let part = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
        (self.deployed > 0).then(|| part(self.failed) / part(self.deployed))
    }
}

/// What held releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    pub by: Hold,
    #[serde(flatten)]
    pub spread: Spread,
    pub total_secs: u64,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub period: Period,
    /// Changes that were promoted. Rollback releases and drills are no changes.
    pub promoted: usize,
    pub promoted_a_day: f64,
    pub lead_time: Option<LeadTime>,
    pub failures: Failures,
    /// From what led to a rollback until the stable version was seen to have all traffic.
    pub restore: Option<Spread>,
    /// By what, the longest in all first.
    pub held: Vec<Held>,
    /// From asking people until they had decided, or their time was over.
    pub approvals: Option<Spread>,
}

impl Figures {
    /// Of these releases, those that ended within the period.
    pub fn of<'a>(releases: impl IntoIterator<Item = &'a Release>, period: Period) -> Self {
        let all: Vec<&Release> = releases.into_iter().collect();
        let taken_back: BTreeSet<&ReleaseId> = all.iter().filter_map(|it| taken_back(it)).collect();
        let ended: Vec<&Release> =
            all.into_iter().filter(|it| ended_at(it).is_some_and(|at| period.contains(at))).collect();
        let changes: Vec<&Release> = ended.iter().copied().filter(|it| it.intent == Intent::Deploy).collect();
        let promoted = changes.iter().filter(|it| it.outcome() == Some(&Outcome::Promoted)).count();
        let count = u32::try_from(promoted).map_or(f64::MAX, f64::from);
        Self {
            period,
            promoted,
            promoted_a_day: count / period.days().max(f64::MIN_POSITIVE),
            lead_time: lead_time(&changes),
            failures: failures(&changes, &taken_back),
            restore: Spread::of(ended.iter().filter_map(|it| time_to_restore(it)).collect()),
            held: held(&ended),
            approvals: Spread::of(ended.iter().flat_map(|it| approvals(it)).collect()),
        }
    }
}

/// How long users waited, in seconds: from what led to the rollback until the stable version was seen to have all traffic again. `None` when
/// there was no rollback, or it has not got there.
pub fn time_to_restore(release: &Release) -> Option<u64> {
    let restored_at = match &release.phase {
        Phase::RollingBack(back) => back.restored_at,
        Phase::Settling { restored_at, .. } | Phase::Ended { restored_at, .. } => *restored_at,
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => None,
    };
    Some(secs(release.course.rollback?.breach_at, restored_at?))
}

/// How long a promoted change took until it had all traffic, in seconds, and from what on that is counted.
pub fn lead_time_of(release: &Release) -> Option<(LeadFrom, u64)> {
    let all = release.course.all_traffic_at?;
    let known = [
        (LeadFrom::Commit, release.provenance.committed_at),
        (LeadFrom::Push, release.course.pushed_at),
        (LeadFrom::Request, Some(release.created_at)),
    ];
    // A commit that says it was made after its image was released comes from a clock that goes wrong.
    let (from, at) = known.into_iter().find_map(|(from, at)| Some((from, at.filter(|at| *at <= all)?)))?;
    Some((from, secs(at, all)))
}

fn secs(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).max(SignedDuration::ZERO).as_secs()).unwrap_or(0)
}

fn ended_at(release: &Release) -> Option<Timestamp> {
    if let Phase::Ended { at, .. } = &release.phase { Some(*at) } else { None }
}

/// The release whose promoted change a rollback release has taken back.
fn taken_back(release: &Release) -> Option<&ReleaseId> {
    match (&release.intent, release.outcome()) {
        (Intent::Rollback { from, .. }, Some(Outcome::Promoted)) => from.as_ref(),
        (Intent::Rollback { .. } | Intent::Deploy | Intent::Drill, _) => None,
    }
}

fn lead_time(changes: &[&Release]) -> Option<LeadTime> {
    let (mut took, mut from) = (Vec::new(), BTreeMap::new());
    for change in changes.iter().filter(|it| it.outcome() == Some(&Outcome::Promoted)) {
        let Some((since, secs)) = lead_time_of(change) else { continue };
        took.push(secs);
        *from.entry(since).or_default() += 1;
    }
    Some(LeadTime { spread: Spread::of(took)?, from })
}

fn failures(changes: &[&Release], taken_back: &BTreeSet<&ReleaseId>) -> Failures {
    let deployed: Vec<&&Release> = changes.iter().filter(|it| was_deployed(it)).collect();
    let failed = deployed.iter().filter(|it| taken_back.contains(&it.id) || has_failed(it)).count();
    Failures { deployed: deployed.len(), failed }
}

/// Something of it ran, and it ended by itself or by what it did: what a person, or a newer release, stopped on the way says nothing of it.
fn was_deployed(release: &Release) -> bool {
    let ran = release.is_started() || release.progress.asked_at.is_some();
    ran && (release.outcome() == Some(&Outcome::Promoted) || has_failed(release))
}

/// It was rolled back for what it did, or a person had to mend it.
fn has_failed(release: &Release) -> bool {
    let cause = match release.outcome() {
        Some(Outcome::RolledBack { cause } | Outcome::Failed { cause, .. }) => cause,
        Some(Outcome::Promoted | Outcome::Superseded { .. } | Outcome::Cancelled { .. }) | None => {
            return false;
        }
    };
    match cause {
        Cause::Alarm { .. }
        | Cause::Deployment { .. }
        | Cause::Candidate { .. }
        | Cause::Requested { .. }
        | Cause::FailedTasks { .. }
        | Cause::Regression { .. }
        | Cause::Limit { .. }
        | Cause::TimedOut { .. } => true,
        Cause::Gate { gate, .. } => *gate == crate::outcome::GateKind::Verification,
        Cause::CancelRequested { .. }
        | Cause::Drill
        | Cause::PauseExpired { .. }
        | Cause::Newer { .. }
        | Cause::Refused { .. }
        | Cause::Inconclusive { .. }
        | Cause::Weights { .. }
        | Cause::Preflight { .. }
        | Cause::Rejected { .. }
        | Cause::ExternalDeployment { .. }
        | Cause::Images { .. } => false,
    }
}

fn held(ended: &[&Release]) -> Vec<Held> {
    let mut by: BTreeMap<Hold, Vec<u64>> = BTreeMap::new();
    for (hold, secs) in ended.iter().flat_map(|it| &it.course.held_secs) {
        by.entry(*hold).or_default().push(*secs);
    }
    let held = by.into_iter().filter_map(|(by, secs)| {
        let total_secs = secs.iter().sum();
        Some(Held { by, spread: Spread::of(secs)?, total_secs })
    });
    let mut held: Vec<Held> = held.collect();
    held.sort_by_key(|it| std::cmp::Reverse(it.total_secs));
    held
}

/// How long people took at each gate of a release: until the last of them decided, else until their time was over or the release ended.
fn approvals(release: &Release) -> Vec<u64> {
    let end = ended_at(release);
    let decided = release.gates.values().map(|gate| {
        let last = gate.votes.iter().map(|vote| vote.at).max();
        let over = end.map_or(gate.expires_at, |end| end.min(gate.expires_at));
        secs(gate.at, last.unwrap_or(over))
    });
    decided.collect()
}
