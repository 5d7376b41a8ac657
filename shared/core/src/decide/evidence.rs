//! How much was seen of the candidate. An alarm that treats missing data as not breaching is OK for a candidate that nobody talked to, so
//! a bake counts only once enough requests have been answered.

use jiff::{SignedDuration, Timestamp};

use super::turn::Turn;
use crate::history::Missing;
use crate::observation::RequestsAsked;
use crate::outcome::Cause;
use crate::plan::{Plan, RequestsNeeded, Stage};
use crate::policy::Percent;
use crate::release::{Phase, Release, RequestsSeen};

/// A bake that has to see requests.
struct Bake {
    needed: RequestsNeeded,
    percent: Percent,
    /// Until when it is held for them.
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
    let behind = release.plan.as_ref()?.counted_at();
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
