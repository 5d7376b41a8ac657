//! What a release is judged by: alarms, failed tasks, where traffic is, its numbers beside the stable version's, and how much was seen at all. An
//! alarm that treats missing data as not breaching is OK for a candidate that nobody talked to, so a bake counts only once enough has been seen.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::effect::RETRY_AFTER;
use crate::engine::{self, Proof, Traffic};
use crate::evidence::{self, Counted};
use crate::history::{Event, Fact, Missing};
use crate::ids::AlarmName;
use crate::observation::{AlarmSeen, AlarmState, Hint, MetricsAsked, Observation, Series};
use crate::outcome::Cause;
use crate::plan::{Evidence, Plan, Stage};
use crate::policy::Percent;
use crate::release::{Phase, Release, RequestsSeen};
use crate::turn::{CLOCK_SKEW, LAG, LOOK_EVERY, LOOK_SOON, Turn};

/// What was seen longer ago is no ground to continue: a look of several calls may hang in one of them.
const LOOK_HOLDS: SignedDuration = SignedDuration::from_secs(15);

/// A bake that is judged by numbers.
struct Bake<'r> {
    evidence: Cow<'r, Evidence>,
    percent: Percent,
    since: Timestamp,
    held_until: Timestamp,
}

/// The bake the release is in, when it is judged by numbers.
fn bake(release: &Release) -> Option<Bake<'_>> {
    let Phase::Running { stage, since, .. } = &release.phase else { return None };
    let plan = release.plan.as_ref()?;
    let (Some(Stage::Bake { percent, secs }), Some(evidence)) = (plan.stages.get(*stage), release.evidence())
    else {
        return None;
    };
    let held = SignedDuration::from_secs(i64::from(*secs) + i64::from(evidence.wait_secs));
    let held_until = since.saturating_add(held).unwrap_or(*since);
    Some(Bake { percent: *percent, since: *since, held_until, evidence })
}

impl Bake<'_> {
    /// Whether both versions have traffic in it, and are compared.
    fn compares(&self) -> bool {
        self.percent < Percent::ALL && !self.evidence.comparisons.is_empty()
    }

    /// Whether a request counts as seen only once it was judged.
    fn is_judged(&self) -> bool {
        self.compares() && self.evidence.judged().is_some()
    }

    /// What has not settled yet is only a hint, where anything is compared.
    fn counts_until(&self, at: Timestamp) -> Timestamp {
        if self.compares() { evidence::settled_end(self.evidence.every_secs, at) } else { at }
    }
}

fn seen(release: &Release) -> Option<RequestsSeen> {
    let Phase::Running { stage, .. } = &release.phase else { return None };
    release.progress.requests.filter(|seen| seen.stage == *stage)
}

fn is_enough(release: &Release, bake: &Bake<'_>) -> bool {
    let needed = u64::from(bake.evidence.min_requests);
    needed == 0 || seen(release).is_some_and(|seen| seen.count >= needed)
}

/// What the numbers of both versions are compared by, while both have traffic, from the first shift to the last, and until the last of those
/// numbers have settled; and since when the stage is what it is.
fn compared(release: &Release) -> Option<(Cow<'_, Evidence>, Timestamp)> {
    let Phase::Running { stage, since, .. } = &release.phase else { return None };
    let plan = release.plan.as_ref()?;
    let evidence = release.evidence().filter(|evidence| !evidence.comparisons.is_empty())?;
    let share = plan.share_before(*stage);
    let is_mixed =
        plan.stages.get(*stage) == Some(&Stage::RollOut) || (share > Percent::NONE && share < Percent::ALL);
    let counted = release.progress.evidence.as_deref().filter(|_| share == Percent::ALL);
    let settles = counted.is_some_and(|counted| !counted.is_complete(evidence.every_secs));
    (is_mixed || settles).then_some((evidence, *since))
}

/// What has been counted so far; nothing yet, since the stage began, where nothing has been.
fn counted_so_far<'r>(release: &'r Release, evidence: &Evidence, since: Timestamp) -> Cow<'r, Counted> {
    let counted = release.progress.evidence.as_deref();
    counted.map_or_else(|| Cow::Owned(Counted::new(evidence, since)), Cow::Borrowed)
}

/// Whether the candidate has all traffic in this stage.
fn has_all_traffic(release: &Release) -> bool {
    let Phase::Running { stage, .. } = &release.phase else { return false };
    let share = |plan: &Plan| {
        plan.share_before(*stage) == Percent::ALL && plan.stages.get(*stage) != Some(&Stage::RollOut)
    };
    release.plan.as_ref().is_some_and(share)
}

/// What has limits, from the first shift on.
fn limited(release: &Release) -> Option<Cow<'_, Evidence>> {
    let Phase::Running { stage, .. } = &release.phase else { return None };
    let plan = release.plan.as_ref()?;
    let evidence = release.evidence().filter(|evidence| !evidence.limits.is_empty())?;
    let begun = plan.share_before(*stage) > Percent::NONE || plan.stages.get(*stage) == Some(&Stage::RollOut);
    begun.then_some(evidence)
}

/// From when on the values of limits matter: as long as the longest has to last, and as late as they may come.
fn limits_from(evidence: &Evidence, at: Timestamp) -> Timestamp {
    let longest = evidence.limits.iter().map(|limit| limit.lasting_secs).max().unwrap_or(0);
    let windows = SignedDuration::from_secs(i64::from(longest) + 3 * i64::from(evidence.every_secs) + 120);
    at.saturating_sub(windows).unwrap_or(at)
}

/// What has to be read; nothing where nothing is missing and no window has settled, so that no call is made in vain.
pub(super) fn needed(release: &Release, at: Timestamp) -> Option<MetricsAsked> {
    let mut series = BTreeSet::new();
    let mut from = None;
    let mut ask = |some: &mut dyn Iterator<Item = &Series>, since: Timestamp| {
        series.extend(some.cloned());
        from = Some(from.map_or(since, |from: Timestamp| from.min(since)));
    };
    if let Some(bake) = bake(release).filter(|bake| !bake.is_judged() && !is_enough(release, bake)) {
        ask(&mut bake.evidence.requests.iter(), bake.since);
    }
    if let Some((evidence, since)) = compared(release) {
        let counted = counted_so_far(release, &evidence, since);
        if counted.is_due(evidence.every_secs, at) || counted.is_missing || is_at_the_end(release, at) {
            ask(&mut evidence.series().iter(), counted.read_from(evidence.every_secs));
        }
    }
    if let Some(evidence) = limited(release) {
        let since = bake(release).map(|bake| bake.since);
        let from = limits_from(&evidence, at);
        ask(
            &mut evidence.limits.iter().map(|limit| &limit.series),
            since.map_or(from, |since| since.min(from)),
        );
    }
    let every_secs = release.plan.as_ref()?.evidence.as_ref()?.every_secs;
    Some(MetricsAsked { series, from: from?, every_secs })
}

/// Whether the bake is over by its time.
fn is_at_the_end(release: &Release, at: Timestamp) -> bool {
    let Phase::Running { since, .. } = &release.phase else { return false };
    let secs = release.stage().map_or(0, Stage::at_least_secs);
    release.promote_now.is_some() || at.duration_since(*since).as_secs() >= i64::from(secs)
}

/// Keeps what was counted. Counts only grow.
pub(super) fn count(turn: &mut Turn<'_>) {
    let Phase::Running { stage, .. } = turn.old.phase else { return };
    let Some(seen_now) = turn.seen.metrics.known() else {
        note_unseen(turn);
        return;
    };
    let at = turn.seen.at;
    let bake = bake(turn.old);
    let before = seen(turn.old).map_or(0, |seen| seen.count);
    if let Some(bake) = bake.as_ref().filter(|bake| !bake.is_judged() && !is_enough(turn.old, bake)) {
        let count = evidence::requests(&bake.evidence, seen_now, bake.since, bake.counts_until(at));
        turn.next.progress.requests = Some(RequestsSeen { stage, count: count.max(before) });
    }
    let Some((evidence, since)) = compared(turn.old) else { return };
    let mut counted = counted_so_far(turn.old, &evidence, since).into_owned();
    if has_all_traffic(turn.old) {
        counted.close(since);
    }
    let from = bake.as_ref().map_or(at, |bake| bake.since);
    let judged = counted.count(&evidence, seen_now, at, from);
    if bake.is_some_and(|bake| bake.is_judged()) {
        turn.next.progress.requests = Some(RequestsSeen { stage, count: before + evidence::whole(judged) });
    }
    let ahead = counted.with_hints(&evidence, seen_now, at);
    counted.is_missing = !evidence.dry_run && ahead.worse(&evidence).is_some();
    if counted.has_much_to_tell() {
        tell(turn, &evidence, &mut counted);
        turn.notice(Event::EvidenceCounted);
    }
    turn.next.progress.evidence = Some(Box::new(counted));
}

/// What was asked for and not answered may be missing at a bake's end.
fn note_unseen(turn: &mut Turn<'_>) {
    let Some((evidence, since)) = compared(turn.old) else { return };
    let mut counted = counted_so_far(turn.old, &evidence, since).into_owned();
    counted.is_missing = turn.seen.metrics.error().is_some() && !evidence.dry_run;
    turn.next.progress.evidence = Some(Box::new(counted));
}

/// Puts into the history what was counted since it was last told, with what all of it says.
fn tell(turn: &mut Turn<'_>, evidence: &Evidence, counted: &mut Counted) {
    let measured = counted.measured(evidence);
    turn.saw(Fact::Evidence { windows: counted.tell(), measured });
}

/// The same, where an entry is written anyway; nothing, where all of it has been told.
pub(super) fn tell_counted(turn: &mut Turn<'_>, plan: &Plan) {
    if let (Some(evidence), Some(mut counted)) = (&plan.evidence, turn.next.progress.evidence.take()) {
        if counted.has_something_to_tell() {
            tell(turn, evidence, &mut counted);
        }
        turn.next.progress.evidence = Some(counted);
    }
}

/// Shows what has been counted so far.
pub(super) fn note_counted(turn: &mut Turn<'_>, plan: &Plan) {
    if let (Some(evidence), Some(counted)) = (&plan.evidence, &turn.next.progress.evidence) {
        let measured = counted.measured(evidence);
        turn.note(Fact::Evidence { windows: Vec::new(), measured });
    }
}

/// What is missing before the bake counts; `None` when nothing is, or nothing is asked for.
pub(super) fn missing(turn: &Turn<'_>) -> Option<Missing> {
    let bake = bake(&turn.next)?;
    if !is_enough(&turn.next, &bake) {
        return Some(Missing::Requests {
            seen: counted(turn).unwrap_or(0),
            needed: u64::from(bake.evidence.min_requests),
            error: turn.seen.metrics.error().map(ToString::to_string),
        });
    }
    numbers_missing(turn).or_else(|| nothing_compared(turn)).or_else(|| {
        let evidence = limited(turn.old).filter(|evidence| !evidence.dry_run)?;
        let metric =
            evidence::without_value(&evidence, turn.seen.metrics.known()?, bake.since, turn.seen.at)?;
        Some(Missing::Value { metric: metric.to_owned() })
    })
}

/// What a comparison by a metric of the user's own lacks: it compares nothing as long as one version says nothing.
fn nothing_compared(turn: &Turn<'_>) -> Option<Missing> {
    let (evidence, _) = compared(turn.old).filter(|(evidence, _)| !evidence.dry_run)?;
    let (of, version) = turn.next.progress.evidence.as_ref()?.without_value(&evidence)?;
    Some(Missing::Compared { of: of.clone(), version })
}

/// Why the numbers say nothing for continuing: they could not be read, or the newest are bad and may still change.
pub(super) fn numbers_missing(turn: &Turn<'_>) -> Option<Missing> {
    let judged = compared(turn.old).map(|(evidence, _)| evidence).or_else(|| limited(turn.old))?;
    if judged.dry_run {
        return None;
    }
    if let Some(error) = turn.seen.metrics.error() {
        return Some(Missing::Numbers { error: error.to_string() });
    }
    let counted = turn.next.progress.evidence.as_ref().filter(|counted| counted.is_missing)?;
    let ahead = counted.with_hints(&judged, turn.seen.metrics.known()?, turn.seen.at);
    Some(Missing::Settled { of: ahead.worse(&judged)?.of })
}

/// How many requests the bake has seen, where they are counted.
pub(super) fn counted(turn: &Turn<'_>) -> Option<u64> {
    seen(&turn.next).map(|seen| seen.count)
}

/// Until when the bake is held for what is missing.
pub(super) fn held_until(release: &Release) -> Option<Timestamp> {
    let is_missing = release.progress.evidence.as_ref().is_some_and(|counted| counted.is_missing);
    bake(release).filter(|bake| is_missing || !is_enough(release, bake)).map(|bake| bake.held_until)
}

/// Why the release cannot continue, once it has been held for as long as the plan says.
pub(super) fn inconclusive(turn: &Turn<'_>) -> Option<Cause> {
    let missing = missing(turn)?;
    let bake = bake(&turn.next).filter(|bake| turn.now >= bake.held_until)?;
    let wait = bake.evidence.wait_secs / 60;
    let remedy = match missing {
        Missing::Requests { .. } => "; send the new version traffic, or lower evidence.min_requests",
        Missing::Value { .. } => "; see that the new version sends it, or remove the limit",
        Missing::Compared { .. } => "; see that both versions send it, or remove the comparison",
        Missing::Alarms { .. }
        | Missing::Alarm { .. }
        | Missing::AlarmProof { .. }
        | Missing::AlarmSilenced { .. }
        | Missing::AlarmOk { .. }
        | Missing::FreshLook
        | Missing::Weights { .. }
        | Missing::WeightsShown { .. }
        | Missing::Numbers { .. }
        | Missing::Settled { .. }
        | Missing::Unknown => "",
    };
    let detail = format!("{missing} at {}% until {wait} min after the bake{remedy}", bake.percent);
    Some(Cause::Inconclusive { detail })
}

/// What the numbers say against the candidate.
pub(super) fn worse(turn: &mut Turn<'_>, plan: &Plan) -> Option<Cause> {
    let evidence = plan.evidence.as_deref()?;
    let compared = turn.next.progress.evidence.as_ref().filter(|_| compared(turn.old).is_some());
    let regression = compared.and_then(|counted| {
        Some(Cause::Regression { measured: Box::new(counted.worse(evidence)?), tolerated: evidence.tolerate })
    });
    let cause = regression.or_else(|| {
        let limited = limited(turn.old)?;
        let from = limits_from(&limited, turn.seen.at);
        let passed =
            evidence::passed(&limited, turn.seen.metrics.known()?, begun(turn.old).max(from), turn.seen.at)?;
        Some(Cause::Limit { passed: Box::new(passed) })
    })?;
    if !evidence.dry_run {
        return Some(cause);
    }
    let counted =
        turn.next.progress.evidence.get_or_insert_with(|| Box::new(Counted::new(evidence, turn.now)));
    if !std::mem::replace(&mut counted.is_reported, true) {
        turn.notice(Event::WouldRollBack { cause: Box::new(cause) });
    }
    None
}

/// Since when the candidate has had traffic, as far as is known.
fn begun(release: &Release) -> Timestamp {
    let counted = release.progress.evidence.as_ref().map(|counted| counted.since);
    let started = release.progress.asked_at.unwrap_or(release.created_at);
    counted.unwrap_or(started)
}

/// How often a bake is looked at: as often as there are new numbers.
pub(super) fn look_every(plan: &Plan) -> SignedDuration {
    let windows = plan.evidence.as_deref().filter(|it| !it.comparisons.is_empty() || !it.limits.is_empty());
    let every = windows.map(|evidence| SignedDuration::from_secs(i64::from(evidence.every_secs)));
    every.map_or(LOOK_EVERY, |every| every.min(LOOK_EVERY))
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
    if let Some(missing) = numbers_missing(turn) {
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
