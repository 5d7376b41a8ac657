//! What people ask of a release under way: to stop, to stay where it is, to continue, or not to wait for its bakes.

use jiff::{SignedDuration, Timestamp};

use crate::actor::Actor;
use crate::admission::{asked, turning_back, write};
use crate::commit::{Commit, ServiceWrite};
use crate::history::{AlarmStands, Entry, Event, Fact, Missing};
use crate::ids::{AlarmName, ReleaseId, ServiceName};
use crate::intent::{Pause, PromoteNow, Request};
use crate::plan::{Plan, Stage};
use crate::release::{Phase, Release, Step, Wake};
use crate::service::ServiceRecord;
use crate::vocab::cloudwatch::AlarmState;
use crate::words::span;

/// What a person can ask of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Roll it back.
    Rollback,
    /// Cancel it.
    Cancel,
    /// Hold it where it is.
    Pause,
    /// End the pause.
    Continue,
    /// Take the remaining stages without waiting for the end of their bakes.
    PromoteNow,
}

/// Why something that was asked cannot be done; fits "cannot …: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum NotPossible {
    /// The release has ended.
    #[error("release {release} has already ended: {word}")]
    Ended { release: ReleaseId, word: &'static str },
    /// The release is already being rolled back.
    #[error("release {release} is already being rolled back")]
    AlreadyBack { release: ReleaseId },
    /// A rollback makes no sense, or not without naming where to.
    #[error(transparent)]
    Rollback(#[from] crate::rollback::NoRollback),
    /// The reason is too long.
    #[error("the reason is too long: {0}")]
    LongReason(crate::text::TooLong),
    /// It has no plan yet.
    #[error("release {release} is not under way yet ({summary}); it can be cancelled")]
    NotUnderWay { release: ReleaseId, summary: String },
    /// A person or a newer release has asked it to stop.
    #[error("release {release} was already asked to stop")]
    AskedToStop { release: ReleaseId },
    /// It is paused.
    #[error("release {release} is already paused, by {by} until {until:.0}")]
    AlreadyPaused { release: ReleaseId, by: Actor, until: Timestamp },
    /// What restores a version is held by nothing.
    #[error(
        "release {release} brings an earlier version back, and a rollback is not paused; it can be cancelled"
    )]
    Restores { release: ReleaseId },
    /// Nothing that is still to come can be held.
    #[error(
        "the last step of release {release} is under way ({summary}), and nothing after it could be held; it can be rolled back"
    )]
    LastStep { release: ReleaseId, summary: String },
    /// The policy allows no pause, or no more.
    #[error("release {release} may not be paused any more: its policy allows {} in all (pause); it can be rolled back",
        span(SignedDuration::from_secs(i64::from(*allowed_secs))))]
    PausedEnough { release: ReleaseId, allowed_secs: u32 },
    /// It is not paused.
    #[error(
        "release {release} is not paused ({summary}); an approval is answered with approve, and a pause hook of the service's own by whoever set it up"
    )]
    NotPaused { release: ReleaseId, summary: String },
    /// A release of the service is open, and needs the policy.
    #[error("release {release} is open, and ends by it")]
    PolicyInUse { release: ReleaseId },
    /// There is no bake left.
    #[error("release {release} has no bake left to skip ({summary})")]
    NothingToSkip { release: ReleaseId, summary: String },
    /// It is promoted without waiting for bakes already.
    #[error("{by} already asked to promote release {release} now")]
    AlreadyPromoting { release: ReleaseId, by: Actor },
    /// An alarm was in ALARM when it was looked at last.
    #[error(
        "alarm {alarm} is in ALARM, and no release continues while one is; it is looked at again every minute"
    )]
    InAlarm { alarm: AlarmName },
}

/// Asks something of a release under way.
pub fn ask(
    release: &Release,
    ask: Ask,
    by: Actor,
    why: String,
    now: Timestamp,
) -> Result<Commit, NotPossible> {
    crate::text::reason(&why).map_err(NotPossible::LongReason)?;
    if let Some(outcome) = release.outcome() {
        return Err(NotPossible::Ended { release: release.id.clone(), word: outcome.word() });
    }
    if turning_back(release) {
        return Err(NotPossible::AlreadyBack { release: release.id.clone() });
    }
    let written = match ask {
        Ask::Rollback => asked(release, Request::Rollback { by: by.clone(), why: why.clone() }, by, now),
        Ask::Cancel => asked(release, Request::Cancel { by: by.clone(), why: why.clone() }, by, now),
        Ask::Pause => {
            let pause = pause(release, by.clone(), why.clone(), now)?;
            let event = Event::Paused { why, until: pause.until };
            // Whoever wants to look first does not want the bakes skipped any more.
            let next = Release { pause: Some(pause), promote_now: None, ..next(release, now) };
            write(release, next, by, event, now)
        }
        Ask::Continue => {
            on_its_way(release)?;
            if release.pause.is_none() {
                let (release, summary) = (release.id.clone(), release.summary());
                return Err(NotPossible::NotPaused { release, summary });
            }
            write(release, continued(next(release, now), now), by, Event::Continued { why }, now)
        }
        Ask::PromoteNow => {
            let promote_now = promote_now(release, by.clone(), why.clone(), now)?;
            let next = Release { promote_now: Some(promote_now), ..continued(next(release, now), now) };
            write(release, next, by, Event::PromoteNow { why }, now)
        }
    };
    Ok(Commit { releases: vec![written], ..Commit::default() })
}

/// The next version of the release, which is looked at soon.
fn next(release: &Release, now: Timestamp) -> Release {
    Release { version: release.version + 1, wake: Some(Wake::soon(now)), ..release.clone() }
}

/// The stage a release is in and its plan, when it is on its way forward.
fn on_its_way(release: &Release) -> Result<(&Plan, usize, &Step), NotPossible> {
    let (id, summary) = (release.id.clone(), release.summary());
    let stage = match (&release.phase, &release.plan) {
        (Phase::Running { stage, step, .. }, Some(plan)) => Ok((plan, *stage, step)),
        // What turns back was told before; what settles now is promoted.
        (Phase::Settling { .. } | Phase::RollingBack(_) | Phase::Ended { .. }, _) => {
            Err(NotPossible::LastStep { release: id, summary })
        }
        (Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. }, _) => {
            Err(NotPossible::NotUnderWay { release: id, summary })
        }
    }?;
    if release.request.is_some() {
        return Err(NotPossible::AskedToStop { release: release.id.clone() });
    }
    Ok(stage)
}

fn pause(release: &Release, by: Actor, why: String, now: Timestamp) -> Result<Pause, NotPossible> {
    let id = release.id.clone();
    let (plan, stage, step) = on_its_way(release)?;
    if let Some(Pause { by, until, .. }) = release.pause.clone() {
        return Err(NotPossible::AlreadyPaused { release: id, by, until });
    }
    if !release.intent.goes_forward() {
        return Err(NotPossible::Restores { release: id });
    }
    // The target does the rest by itself: only a rollback could keep it from that.
    let last = match &plan.stages[stage] {
        Stage::Promote => *step != Step::Entered,
        Stage::RollOut => true,
        Stage::Start => !plan.is_held() && *step != Step::Entered,
        Stage::Prepare { .. }
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. } => false,
    };
    if last {
        return Err(NotPossible::LastStep { release: id, summary: release.summary() });
    }
    let left = plan.pause_secs.saturating_sub(release.progress.paused_secs);
    if left == 0 {
        return Err(NotPossible::PausedEnough { release: id, allowed_secs: plan.pause_secs });
    }
    let until = now.saturating_add(SignedDuration::from_secs(i64::from(left))).unwrap_or(now);
    Ok(Pause { by, why, since: now, until })
}

/// Without its pause. The clocks of the stage stood still meanwhile: a bake has as much to go as before, and so have its limits.
fn continued(mut release: Release, now: Timestamp) -> Release {
    let Some(pause) = release.pause.take() else { return release };
    let paused = now.duration_since(pause.since).max(SignedDuration::ZERO);
    // Rounded up, so that many short pauses are not for nothing.
    let secs = u32::try_from(paused.as_secs() + 1).unwrap_or(u32::MAX);
    release.progress.paused_secs = release.progress.paused_secs.saturating_add(secs);
    let later = |at: Timestamp| at.saturating_add(paused).unwrap_or(at);
    if let Phase::Running { stage, since, .. } = &mut release.phase {
        *since = later(*since);
        if let Some(opened) = release.gates.get_mut(stage) {
            opened.expires_at = later(opened.expires_at);
        }
    }
    release
}

fn promote_now(release: &Release, by: Actor, why: String, now: Timestamp) -> Result<PromoteNow, NotPossible> {
    let id = release.id.clone();
    let (plan, stage, _) = on_its_way(release)?;
    if let Some(earlier) = &release.promote_now {
        return Err(NotPossible::AlreadyPromoting { release: id, by: earlier.by.clone() });
    }
    if !plan.stages[stage..].iter().any(|stage| matches!(stage, Stage::Bake { .. })) {
        return Err(NotPossible::NothingToSkip { release: id, summary: release.summary() });
    }
    match in_alarm(release) {
        Some(alarm) => Err(NotPossible::InAlarm { alarm: alarm.clone() }),
        None => Ok(PromoteNow { by, why, at: now }),
    }
}

/// An alarm of the plan that was in ALARM at the last look, silenced or not.
fn in_alarm(release: &Release) -> Option<&AlarmName> {
    release.report.facts.iter().find_map(|fact| {
        if let Fact::Missing { missing: Missing::AlarmSilenced { name, .. } }
        | Fact::Missing { missing: Missing::AlarmOk { name, state: AlarmState::Alarm } }
        | Fact::Alarm { name, state: Some(AlarmStands::Is(AlarmState::Alarm)) } = fact
        {
            return Some(name);
        }
        None
    })
}

/// Whether a release can be asked this now, as far as can be told without an answer from anybody: for whoever offers it.
pub fn may_ask(release: &Release, ask: Ask, now: Timestamp) -> Result<(), NotPossible> {
    self::ask(release, ask, Actor::Tidegate, String::new(), now).map(|_| ())
}

/// Removes a policy: nothing starts a release of the service any more. What was promoted, what is quarantined and the history stay, for a policy
/// of that name that is applied later.
pub fn remove_policy(
    head: &ServiceRecord,
    service: &ServiceName,
    by: Actor,
    why: String,
    now: Timestamp,
) -> Result<ServiceWrite, NotPossible> {
    crate::text::reason(&why).map_err(NotPossible::LongReason)?;
    if let Some(release) = head.active.as_ref().or(head.waiting.as_ref()) {
        return Err(NotPossible::PolicyInUse { release: release.clone() });
    }
    let version = head.version + 1;
    let next = ServiceRecord { version, removed_at: Some(now), ..head.clone() };
    let entry = Entry::new(version, now, by, Event::PolicyRemoved { why });
    Ok(ServiceWrite {
        service: service.clone(),
        expected: Some(head.version),
        head: next,
        entry: Some(entry),
    })
}
