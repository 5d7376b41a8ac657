//! The loop: load, observe, decide, commit, perform; again while there is something to do at once.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::decide::{self, Decision};
use tidegate_core::effect::{Effect, Lease};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::invariants;
use tidegate_core::observation::{EffectResult, Hint, Refusal};
use tidegate_core::outcome::Outcome;
use tidegate_core::ports::UnderWay;
use tidegate_core::release::{Phase, Release, Wake};
use tidegate_core::service::ServiceRecord;

use crate::context::Context;
use crate::metrics;
use crate::observe::{Alarming, Feedback, alarming, confirmed, observe};

/// During a rollback a wake-up this soon is waited for where we are: no message is as exact.
const IN_PLACE: SignedDuration = SignedDuration::from_secs(17);
/// On the way forward only this long: a release that waits holds nobody's place. The clock's messages bring it back, and events do.
const MOMENT: SignedDuration = SignedDuration::from_secs(3);
/// Who comes this much before the time is not early: clocks differ, and messages may be delivered a little sooner.
const EARLY: SignedDuration = SignedDuration::from_secs(1);
/// A wake-up this soon may come before the clock's next round, so it is sent at once.
const BEFORE_NEXT_ROUND: SignedDuration = SignedDuration::from_secs(75);
/// How often a lost race for the ledger is run again before the event is given back for another try.
const CONFLICTS_MAX: u32 = 12;
/// How long whoever has claimed a version gets to write it, milliseconds: from, to. A transaction takes a fraction of that.
const CLAIMED: (i64, i64) = (100, 300);
/// How many turns one call may take; far more than any stage needs, so that a mistake cannot spin for ever.
const TURNS_MAX: u32 = 200;

/// What is kept of a function's time for answering.
const RESERVE: SignedDuration = SignedDuration::from_secs(3);

/// Until when a function whose invocation ends at `ends_at_ms` (milliseconds since the epoch) may drive.
pub fn deadline(now: Timestamp, ends_at_ms: u64) -> Timestamp {
    let end = i64::try_from(ends_at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    end.and_then(|end| end.saturating_sub(RESERVE).ok()).unwrap_or(now)
}

/// What a call of [`Context::drive`] left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveResult {
    /// Turns that changed something.
    pub turns: u32,
    /// When the release is to be looked at again; `None` when it has ended, does not exist, or somebody else drives it.
    pub wake_at: Option<Timestamp>,
}

/// Why a release could not be driven; the event is to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The ledger did not answer, or refused.
    #[error("the ledger could not be used for release {release}")]
    Ledger {
        /// Which.
        release: ReleaseId,
        /// What the ledger said.
        #[source]
        source: PortError,
    },
    /// The row of the release's service cannot be read. The release was driven as far as it goes without.
    #[error(
        "the row of service {service} cannot be read; release {release} goes on as far as it can without it"
    )]
    Service {
        /// Which.
        release: ReleaseId,
        /// The service.
        service: ServiceName,
        /// What the ledger said.
        #[source]
        source: PortError,
    },
    /// Others changed the release again and again.
    #[error("release {release} was changed by others {attempts} times in a row")]
    Contended {
        /// Which.
        release: ReleaseId,
        /// How often.
        attempts: u32,
    },
    /// The decision would break what must always hold: a bug. Nothing was written.
    #[error("release {release}: the decision breaks what must always hold: {}", broken.join("; "))]
    Invariant {
        /// Which.
        release: ReleaseId,
        /// What it breaks.
        broken: Vec<String>,
    },
    /// The loop did not come to rest.
    #[error("release {release} did not come to rest within {turns} turns")]
    Restless {
        /// Which.
        release: ReleaseId,
        /// How many.
        turns: u32,
    },
}

/// How one turn went.
enum Turned {
    /// There is no such release, or it has ended before.
    Nothing,
    /// Someone else changed it first.
    Overtaken,
    /// Someone else is about to change it.
    Claimed(Box<Release>),
    /// Someone else changed the service's row first.
    Lost,
    /// It was decided, committed and performed.
    Done(Box<Done>),
}

/// A release and its service's row, as they were read, or as they have just been written.
struct Loaded {
    release: Release,
    head: Option<ServiceRecord>,
    /// The service's row could not be read.
    damaged: Option<PortError>,
    /// What CloudWatch said meanwhile of the alarm that an event says is in ALARM.
    in_alarm: Option<Alarming>,
}

struct Done {
    release: Release,
    head: Option<ServiceRecord>,
    changed: bool,
    performed: bool,
    feedback: Feedback,
    /// The service's row could not be read.
    damaged: Option<PortError>,
    /// How soon a wake-up is waited for in place.
    stays: SignedDuration,
}

/// A driver's place among those who may drive the same release.
struct Place {
    /// When the driver has to leave.
    deadline: Timestamp,
    /// Until when it stays with the release, as it has written into the row.
    held: Option<Timestamp>,
    /// The version it has tried to claim, by itself or behind somebody else, and that is not written yet.
    claimed: Option<u64>,
    /// The version it has written last.
    written: Option<u64>,
}

/// Who is to write the next version.
enum Claim {
    /// We are.
    Ours,
    /// Somebody else has said so before.
    Anothers,
    /// It has been written.
    Gone,
}

impl Place {
    /// Whether the row says that somebody else stays with the release.
    fn is_anothers(&self, release: &Release, now: Timestamp) -> bool {
        let held = release.wake.as_ref().and_then(|wake| wake.held_until);
        held.is_some_and(|until| until > now) && held != self.held
    }

    /// Writes into the decision that we stay, where that is worth it; another's word is kept. Says how soon a wake-up is waited for.
    fn stay(&mut self, before: &Release, next: &mut Release, now: Timestamp) -> SignedDuration {
        let anothers = self.is_anothers(before, now);
        let goes_back = goes_back(next);
        if let Some(wake) = &mut next.wake {
            if anothers {
                wake.held_until = before.wake.as_ref().and_then(|wake| wake.held_until);
            } else if goes_back && wake.at < self.deadline {
                wake.held_until = Some(self.deadline);
                self.held = Some(self.deadline);
            }
        }
        match (anothers, goes_back) {
            (true, _) => SignedDuration::ZERO,
            (false, true) => IN_PLACE,
            (false, false) => MOMENT,
        }
    }
}

/// Traffic goes back, or the service is put as it was: seconds count.
fn goes_back(release: &Release) -> bool {
    match &release.phase {
        Phase::RollingBack(_) => true,
        Phase::Settling { outcome, .. } => *outcome != Outcome::Promoted,
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } | Phase::Ended { .. } => false,
    }
}

impl Context {
    /// Drives a release that a message says is due. One that is not due any more, or that somebody stays with, is left alone: whoever changed
    /// it has seen to when it is looked at next.
    pub async fn woken(&self, id: &ReleaseId, deadline: Timestamp) -> Result<DriveResult, DriveError> {
        let read = self.installation.until(deadline).ledger.release(id).await;
        let release = read.map_err(|source| DriveError::Ledger { release: id.clone(), source })?;
        let Some(release) = release else { return Ok(DriveResult { turns: 0, wake_at: None }) };
        // One that has ended has no wake-up any more.
        let Some(due_at) = release.wake.as_ref().map(Wake::due_at) else {
            return Ok(DriveResult { turns: 0, wake_at: None });
        };
        let soon = self.installation.time.now().saturating_add(EARLY).unwrap_or(deadline);
        if due_at > soon {
            tracing::debug!(release.id = %id, %due_at, "it is not due");
            return Ok(DriveResult { turns: 0, wake_at: Some(due_at) });
        }
        let loaded = self.until(deadline).with_head(release).await?;
        self.drive_loaded(id, Some(loaded), &[], deadline).await
    }

    /// Drives a release that an event concerns. Where it is known whose it is, it and its service's row are read at the same time, and an alarm
    /// that the event says is in ALARM is asked for beside them.
    pub(crate) async fn drive_concerned(
        &self,
        concerned: &UnderWay,
        hints: &[Hint],
        deadline: Timestamp,
    ) -> Result<DriveResult, DriveError> {
        let id = &concerned.release;
        let Some((service, target)) = &concerned.of else { return self.drive(id, hints, deadline).await };
        let ledger = self.installation.until(deadline).ledger;
        let (release, head, in_alarm) =
            tokio::join!(ledger.release(id), ledger.service(service), alarming(self, target, hints));
        let release = release.map_err(|source| DriveError::Ledger { release: id.clone(), source })?;
        let loaded = match release {
            Some(release) if release.service == *service && release.target == *target => {
                Some(Loaded { in_alarm, ..loaded(release, head)? })
            }
            // What the row says is looked up by the release itself.
            Some(_) | None => None,
        };
        self.drive_loaded(id, loaded, hints, deadline).await
    }

    /// Drives a release until nothing is to be done at once any more, at most until `deadline`. What can be done without the service's row
    /// is done when that cannot be read, above all the rollback; then it is told.
    pub async fn drive(
        &self,
        id: &ReleaseId,
        hints: &[Hint],
        deadline: Timestamp,
    ) -> Result<DriveResult, DriveError> {
        self.drive_loaded(id, None, hints, deadline).await
    }

    async fn drive_loaded(
        &self,
        id: &ReleaseId,
        loaded: Option<Loaded>,
        hints: &[Hint],
        deadline: Timestamp,
    ) -> Result<DriveResult, DriveError> {
        let mut damaged = None;
        let driven = self.until(deadline).drive_on(id, loaded, hints, deadline, &mut damaged).await?;
        damaged.map_or(Ok(driven), Err)
    }

    async fn drive_on(
        &self,
        id: &ReleaseId,
        mut loaded: Option<Loaded>,
        hints: &[Hint],
        deadline: Timestamp,
        damaged: &mut Option<DriveError>,
    ) -> Result<DriveResult, DriveError> {
        let mut id = id.clone();
        let mut feedback = Feedback { hints: hints.to_vec(), ..Feedback::default() };
        let mut place = Place { deadline, held: None, claimed: None, written: None };
        let (mut turns, mut lost) = (0, 0);
        for _ in 0..TURNS_MAX {
            // Who brings nothing of their own leaves the release to whoever was faster, unless they have said that they stay.
            let leaves = feedback.is_empty() && place.held.is_none();
            let done = match self.turn(&id, loaded.take(), &feedback, &mut place).await? {
                Turned::Nothing => return Ok(DriveResult { turns, wake_at: None }),
                Turned::Overtaken if leaves => return Ok(DriveResult { turns, wake_at: None }),
                Turned::Done(done) => *done,
                behind @ (Turned::Overtaken | Turned::Lost | Turned::Claimed(_)) => {
                    lost += 1;
                    if lost > CONFLICTS_MAX {
                        return Err(DriveError::Contended { release: id, attempts: lost });
                    }
                    self.stand_back(&behind, lost).await;
                    if let Turned::Claimed(release) = behind
                        && leaves
                        && self.has_changed(&release).await
                    {
                        return Ok(DriveResult { turns, wake_at: None });
                    }
                    continue;
                }
            };
            lost = 0;
            turns += u32::from(done.changed);
            feedback = done.feedback;
            let service = done.release.service.clone();
            *damaged =
                done.damaged.map(|source| DriveError::Service { release: id.clone(), service, source });
            let waiting_on = done.release.report.waiting_on.clone();
            let Some(wake) = done.release.wake.clone() else {
                // The service is free: the release that waited begins at once.
                match done.head.and_then(|head| head.waiting) {
                    Some(waiting) => {
                        id = waiting;
                        (place.claimed, place.written) = (None, None);
                        continue;
                    }
                    None => return Ok(DriveResult { turns, wake_at: None }),
                }
            };
            let now = self.installation.time.now();
            // What was written a moment ago is not read back: whoever changed it meanwhile is met by the next commit.
            let kept = Loaded { release: done.release, head: done.head, damaged: None, in_alarm: None };
            let keeps = damaged.is_none();
            if done.performed || !feedback.refused.is_empty() {
                loaded = keeps.then_some(kept);
                continue;
            }
            if wake.at <= now && wake.at < deadline && done.changed {
                loaded = keeps.then_some(kept);
                continue;
            }
            if wake.at <= now.saturating_add(done.stays).unwrap_or(now) && wake.at < deadline {
                self.installation.time.sleep(wake.at.duration_since(now).max(SignedDuration::ZERO)).await;
                continue;
            }
            let due_at = wake.due_at();
            self.send_wake(&id, due_at, now, &waiting_on.to_string()).await;
            return Ok(DriveResult { turns, wake_at: Some(due_at) });
        }
        Err(DriveError::Restless { release: id, turns })
    }

    /// A wake-up before the clock's next round. Only a hint, so a failure is logged and left to the clock.
    async fn send_wake(&self, id: &ReleaseId, at: Timestamp, now: Timestamp, why: &str) {
        let delay = at.duration_since(now).max(SignedDuration::ZERO);
        let Some(waker) = self.installation.waker.as_ref().filter(|_| delay <= BEFORE_NEXT_ROUND) else {
            return;
        };
        let secs = u32::try_from(delay.as_secs()).unwrap_or(0) + u32::from(delay.subsec_nanos() > 0);
        if let Err(error) = waker.wake(id, secs, why).await {
            tracing::warn!(release.id = %id, error = %error, "the wake-up was not sent; the clock will find the release");
        }
    }

    async fn turn(
        &self,
        id: &ReleaseId,
        loaded: Option<Loaded>,
        feedback: &Feedback,
        place: &mut Place,
    ) -> Result<Turned, DriveError> {
        let failed = |source| DriveError::Ledger { release: id.clone(), source };
        let loaded = match loaded {
            Some(loaded) => Some(loaded),
            None => self.load(id).await?,
        };
        let Some(Loaded { release, head, damaged, in_alarm }) =
            loaded.filter(|loaded| !loaded.release.is_over())
        else {
            return Ok(Turned::Nothing);
        };
        let confirmed = in_alarm.and_then(|alarm| confirmed(&release, head.as_ref(), alarm));
        let (seen, claimed) = match confirmed {
            // Seconds count, and whoever was faster did the same: no version is claimed first.
            Some(seen) => (seen, Some(Claim::Ours)),
            // Whoever goes on with what they have just written is ahead of everybody else: the claim need not wait for the look.
            None if place.written == Some(release.version) => {
                let looks = observe(self, &release, head, feedback);
                let (seen, claimed) = tokio::join!(looks, self.claim(&release, place));
                (seen, Some(claimed))
            }
            None => (observe(self, &release, head, feedback).await, None),
        };
        let now = self.installation.time.now();
        let mut decision = decide::decide(&release, &seen, now);
        let stays = place.stay(&release, &mut decision.release, now);
        let commit = invariants::checked_commit(&release, seen.head.as_ref(), &decision)
            .map_err(|broken| DriveError::Invariant { release: id.clone(), broken })?;
        let changed = match commit {
            None => false,
            Some(commit) => {
                let claimed = match claimed {
                    Some(claimed) => claimed,
                    None => self.claim(&release, place).await,
                };
                match claimed {
                    Claim::Ours => {}
                    Claim::Gone => return Ok(Turned::Overtaken),
                    Claim::Anothers => return Ok(Turned::Claimed(Box::new(release))),
                }
                match self.installation.ledger.commit(commit).await {
                    Ok(()) => {
                        place.claimed = None;
                        place.written = Some(release.version + 1);
                    }
                    Err(error) if error.kind == ErrorKind::Conflict => {
                        let overtaken = self.has_changed(&release).await;
                        return Ok(if overtaken { Turned::Overtaken } else { Turned::Lost });
                    }
                    Err(error) => return Err(failed(error)),
                }
                true
            }
        };
        log(&decision, changed);
        if changed {
            metrics::tell(&release, &decision.release, now);
        }
        let lease = Lease::after(decision.release.version, now);
        let feedback = self.perform(&decision, lease).await;
        let performed = !decision.effects.is_empty();
        let head = decision.head.or(seen.head);
        Ok(Turned::Done(Box::new(Done {
            release: decision.release,
            head,
            changed,
            performed,
            feedback,
            damaged,
            stays,
        })))
    }

    /// Reads a release and its service's row.
    async fn load(&self, id: &ReleaseId) -> Result<Option<Loaded>, DriveError> {
        let release = self.installation.ledger.release(id).await;
        match release.map_err(|source| DriveError::Ledger { release: id.clone(), source })? {
            Some(release) => self.with_head(release).await.map(Some),
            None => {
                tracing::warn!(release.id = %id, "there is no such release");
                Ok(None)
            }
        }
    }

    async fn with_head(&self, release: Release) -> Result<Loaded, DriveError> {
        let head = self.installation.ledger.service(&release.service).await;
        loaded(release, head)
    }

    /// Of several who would write the same version, one claims it. A transaction that loses its race is paid in full, for every row in it; a
    /// claim for one small row. Nothing rests on a claim, and whoever made it may have died: it is honoured once, and whoever meets it again
    /// goes ahead when the release is still the same.
    async fn claim(&self, release: &Release, place: &mut Place) -> Claim {
        let version = release.version + 1;
        if place.claimed.replace(version) == Some(version) {
            return if self.has_changed(release).await { Claim::Gone } else { Claim::Ours };
        }
        match self.installation.ledger.claim(&release.id, version).await {
            Ok(true) => Claim::Ours,
            Ok(false) => Claim::Anothers,
            Err(error) => {
                tracing::warn!(release.id = %release.id, error = %error, "the version was not claimed; it is written all the same");
                Claim::Ours
            }
        }
    }

    /// Lets whoever was faster finish, so that the next turn sees what they did.
    async fn stand_back(&self, behind: &Turned, lost: u32) {
        let (from, to) = match behind {
            Turned::Claimed(_) => CLAIMED,
            Turned::Overtaken | Turned::Lost | Turned::Nothing | Turned::Done(_) => (5, 60 * i64::from(lost)),
        };
        self.installation.time.sleep(SignedDuration::from_millis(fastrand::i64(from..to))).await;
    }

    /// Whether somebody has changed the release since it was read. What cannot be seen is left to the commit.
    async fn has_changed(&self, release: &Release) -> bool {
        let now = self.installation.ledger.release(&release.id).await;
        now.is_ok_and(|now| now.is_none_or(|now| now.version != release.version))
    }

    /// Performs the effects, each only while the lease holds. Failures that may pass are left to the next look, which derives the effect
    /// again; refusals are handed to the next decision.
    async fn perform(&self, decision: &Decision, lease: Lease) -> Feedback {
        let mut feedback = Feedback::default();
        for effect in &decision.effects {
            if !lease.holds(self.installation.time.now()) {
                tracing::warn!(release.id = %decision.release.id, effect = effect.name(), "the lease ran out before the effect was begun");
                break;
            }
            match self.perform_one(&decision.release, effect).await {
                Ok(results) => feedback.results.extend(results),
                Err(error) => {
                    tracing::warn!(release.id = %decision.release.id, effect = effect.name(), error = %error, "the effect failed");
                    // A link that cannot be sent now is made anew later; it turns nothing back.
                    if matches!(effect, Effect::Invite { .. }) {
                        continue;
                    }
                    if !error.kind.is_transient() {
                        feedback.refused.push(Refusal { effect: effect.kind(), error });
                    }
                    break;
                }
            }
        }
        feedback
    }

    async fn perform_one(
        &self,
        release: &Release,
        effect: &Effect,
    ) -> Result<Option<EffectResult>, PortError> {
        match effect {
            Effect::Ecs(effect) => self.ecs.perform(&release.target, effect).await.map(|()| None),
            Effect::Lambda(effect) => {
                let published = self.lambda.perform(&release.target, effect).await?;
                Ok(published.map(|version| EffectResult::VersionPublished { version }))
            }
            Effect::Elb(effect) => self.elb.perform(&release.target, effect).await.map(|()| None),
            Effect::AutoScaling(effect) => {
                self.autoscaling.perform(&release.target, effect).await.map(|()| None)
            }
            Effect::Invite { invite } => {
                self.messenger.invite(invite).await?;
                Ok(Some(EffectResult::Invited { approver: invite.approver.clone() }))
            }
            Effect::StartBuild { stage, release, project, environment } => {
                let build = self.builds.start(project, &format!("{release}-{stage}"), environment).await?;
                Ok(Some(EffectResult::BuildStarted { stage: *stage, build }))
            }
        }
    }
}

/// A row that cannot be read stops nobody who can do without it; one that could not be asked for does.
#[expect(clippy::result_large_err, reason = "it is handed on as it is")]
fn loaded(release: Release, head: Result<Option<ServiceRecord>, PortError>) -> Result<Loaded, DriveError> {
    match head {
        Ok(head) => Ok(Loaded { release, head, damaged: None, in_alarm: None }),
        Err(error) if error.kind == ErrorKind::Invalid => {
            Ok(Loaded { release, head: None, damaged: Some(error), in_alarm: None })
        }
        Err(source) => Err(DriveError::Ledger { release: release.id, source }),
    }
}

fn log(decision: &Decision, changed: bool) {
    let release = &decision.release;
    if !changed {
        tracing::debug!(release.id = %release.id, "nothing changed");
        return;
    }
    let effects: Vec<&str> = decision.effects.iter().map(Effect::name).collect();
    let (what, why) = decision.entry.as_ref().map_or_else(
        || ("looked".to_owned(), String::new()),
        |entry| (entry.event.to_string(), entry.event.why()),
    );
    tracing::info!(
        release.id = %release.id,
        release.service = %release.service,
        release.version = release.version,
        release.state = %release.summary(),
        effects = ?effects,
        why,
        "{what}"
    );
}
