//! What a release is judged by: alarms, failed tasks, where traffic is, and how much was seen at all. An alarm that treats missing data as not
//! breaching is OK for a candidate that nobody talked to, so a bake counts only once enough requests have been answered.

use jiff::{SignedDuration, Timestamp};

use crate::effect::RETRY_AFTER;
use crate::engine::{self, Proof, Traffic};
use crate::history::Missing;
use crate::ids::AlarmName;
use crate::observation::{AlarmSeen, AlarmState, Hint, Observation, RequestsAsked};
use crate::outcome::Cause;
use crate::plan::{Plan, RequestsNeeded, Stage};
use crate::policy::Percent;
use crate::release::{Phase, Release, RequestsSeen};
use crate::turn::{CLOCK_SKEW, LAG, LOOK_SOON, Turn};

/// What was seen longer ago is no ground to continue: a look of several calls may hang in one of them.
const LOOK_HOLDS: SignedDuration = SignedDuration::from_secs(15);

/// A bake that has to see requests.
struct Bake {
    needed: RequestsNeeded,
    percent: Percent,
    held_until: Timestamp,
}

/// The bake the release is in, when it has to see requests.
fn bake(release: &Release) -> Option<Bake> {
    let Phase::Running { stage, since, .. } = &release.phase else { return None };
    let plan = release.plan.as_ref()?;
    let (Some(Stage::Bake { percent, secs }), Some(needed)) = (plan.stages.get(*stage), plan.evidence) else {
        return None;
    };
    let held = SignedDuration::from_secs(i64::from(*secs) + i64::from(needed.wait_secs));
    let held_until = since.saturating_add(held).unwrap_or(*since);
    Some(Bake { needed, percent: *percent, held_until })
}

fn seen(release: &Release) -> Option<RequestsSeen> {
    let Phase::Running { stage, .. } = &release.phase else { return None };
    release.progress.requests.filter(|seen| seen.stage == *stage)
}

fn is_enough(release: &Release, bake: &Bake) -> bool {
    seen(release).is_some_and(|seen| seen.count >= u64::from(bake.needed.min_requests))
}

/// What has to be counted; nothing once enough has been, so that no call is made in vain.
pub(super) fn needed(release: &Release) -> Option<RequestsAsked> {
    let Phase::Running { since, .. } = &release.phase else { return None };
    let bake = bake(release)?;
    let behind = engine::of(release.plan.as_ref()?).counted_at();
    (!is_enough(release, &bake)).then_some(RequestsAsked { behind, since: *since })
}

/// Keeps what was counted. Counts only grow.
pub(super) fn count(turn: &mut Turn<'_>) {
    let Phase::Running { stage, .. } = turn.old.phase else { return };
    if let (Some(_), Some(count)) = (needed(turn.old), turn.seen.requests.known()) {
        let before = seen(turn.old).map_or(0, |seen| seen.count);
        turn.next.progress.requests = Some(RequestsSeen { stage, count: (*count).max(before) });
    }
}

/// What is missing before the bake counts; `None` when nothing is, or nothing is asked for.
pub(super) fn missing(turn: &Turn<'_>) -> Option<Missing> {
    let bake = bake(&turn.next).filter(|bake| !is_enough(&turn.next, bake))?;
    Some(Missing::Requests {
        seen: counted(turn).unwrap_or(0),
        needed: u64::from(bake.needed.min_requests),
        error: turn.seen.requests.error().map(ToString::to_string),
    })
}

/// How many requests the bake has seen, where they are counted.
pub(super) fn counted(turn: &Turn<'_>) -> Option<u64> {
    seen(&turn.next).map(|seen| seen.count)
}

/// Until when the bake is held for what is missing.
pub(super) fn held_until(release: &Release) -> Option<Timestamp> {
    bake(release).filter(|bake| !is_enough(release, bake)).map(|bake| bake.held_until)
}

/// Why the release cannot continue, once it has been held for as long as the plan says.
pub(super) fn inconclusive(turn: &Turn<'_>, plan: &Plan) -> Option<Cause> {
    let missing = missing(turn)?;
    let bake = bake(&turn.next).filter(|bake| turn.now >= bake.held_until)?;
    let wait = plan.evidence.map_or(0, |needed| needed.wait_secs / 60);
    let detail = format!(
        "{missing} at {}% until {wait} min after the bake; send the new version traffic, or lower evidence.min_requests",
        bake.percent
    );
    Some(Cause::Inconclusive { detail })
}

/// An alarm of the plan that is in ALARM and not silenced, now or in the event that woke us.
pub(super) fn breach(turn: &Turn<'_>, plan: &Plan) -> Option<Cause> {
    let (seen, alarms) = (turn.seen, &plan.alarms);
    // An event that was delivered late, or again, may tell of what was before the candidate: the alarm was seen OK when it was started.
    let started = engine::of(plan).started_at(turn).map_or(plan.made_at, |at| at.max(plan.made_at));
    let proven_at = started.saturating_sub(CLOCK_SKEW).unwrap_or(started);
    let hinted = seen.hints.iter().filter_map(|hint| match hint {
        Hint::Alarm { name, seen } => {
            seen.since.is_none_or(|since| since >= proven_at).then_some((name, seen))
        }
        Hint::Task(_) | Hint::Look => None,
    });
    let observed = seen.alarms.known().into_iter().flatten();
    hinted.chain(observed).find(|(name, alarm)| alarms.contains(name) && alarm.is_breach()).map(
        |(name, alarm)| Cause::Alarm { alarm: name.clone(), reason: alarm.reason.clone(), at: alarm.since },
    )
}

/// Why the evidence for continuing is not complete; `None` when every alarm is seen to be OK.
pub(super) fn alarms_missing(seen: &Observation, alarms: &[AlarmName]) -> Option<Missing> {
    if alarms.is_empty() {
        return None;
    }
    if let Some(error) = seen.alarms.error() {
        return Some(Missing::Alarms { error: error.to_string() });
    }
    let known = seen.alarms.known()?;
    let missing = |name: &AlarmName, alarm: &AlarmSeen| match (&alarm.state, &alarm.silenced) {
        (AlarmState::Ok, _) => {
            alarm.unproven.clone().map(|why| Missing::AlarmProof { name: name.clone(), why })
        }
        (AlarmState::Alarm, Some(by)) => Some(Missing::AlarmSilenced { name: name.clone(), by: by.clone() }),
        (AlarmState::Alarm | AlarmState::InsufficientData | AlarmState::Other(_), _) => {
            Some(Missing::AlarmOk { name: name.clone(), state: alarm.state.clone() })
        }
    };
    alarms.iter().find_map(|name| match known.get(name) {
        None => Some(Missing::Alarm { name: name.clone() }),
        Some(alarm) => missing(name, alarm),
    })
}

/// What keeps a step from being taken.
pub(super) enum Hold {
    /// Something is missing, or may only be late.
    Wait(SignedDuration, Missing),
    /// Traffic is not where it was put.
    Back(String),
}

/// What must be seen before the candidate gets more traffic, whatever the stage: every alarm OK, and traffic where it was put.
pub(super) fn held(turn: &Turn<'_>, plan: &Plan, stage: usize, proof: &Proof) -> Option<Hold> {
    if turn.now.duration_since(turn.seen.at) > LOOK_HOLDS {
        return Some(Hold::Wait(SignedDuration::ZERO, Missing::FreshLook));
    }
    if let Some(missing) = alarms_missing(turn.seen, &plan.alarms) {
        return Some(Hold::Wait(LOOK_SOON, missing));
    }
    let since = proof.traffic_since?;
    match engine::of(plan).traffic(&turn.next, turn.seen, plan.share_before(stage)) {
        Traffic::AsSet => None,
        Traffic::Unseen(why) => Some(Hold::Wait(LOOK_SOON, Missing::Weights { why })),
        Traffic::Differs(_) if turn.now.duration_since(since) < LAG => {
            Some(Hold::Wait(RETRY_AFTER, Missing::WeightsShown { detail: None }))
        }
        Traffic::Differs(detail) => Some(Hold::Back(detail)),
    }
}

/// What speaks against continuing: as many failures as the policy allows at most.
pub(super) fn failed_tasks(turn: &Turn<'_>, plan: &Plan) -> Option<Cause> {
    let failed = &turn.next.progress.failed_tasks;
    let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
    let last = failed.last()?;
    (plan.failed_tasks > 0 && count >= plan.failed_tasks)
        .then(|| Cause::FailedTasks { count, last: Box::new(last.clone()) })
}
