//! The stages of a plan, one step each: the image is published as a version, and the alias sends it a share of its invocations.

use jiff::{SignedDuration, Timestamp};

use super::preflight::{self, Again};
use super::{LambdaAlias, alias, caught_up, publishes, routing};
use crate::effect::RETRY_AFTER;
use crate::engine::{Act, Engine as _, Move, Proof, Traffic};
use crate::history::{Event, Fact, Held, Missing, StageResult, Unseen, WaitingOn};
use crate::outcome::Cause;
use crate::plan::{Plan, Stage};
use crate::policy::Percent;
use crate::reference::digest_of;
use crate::release::{Progress, Step};
use crate::turn::{LOOK_SOON, Turn};
use crate::vocab::lambda::{CodeSeen, CodeState, Effect, Routing, Update};

/// A change of code that was asked for shows within this time.
const CODE_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(20);

/// The stage a step belongs to.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) setup: &'a LambdaAlias,
    pub(super) plan: &'a Plan,
    pub(super) since: Timestamp,
    pub(super) step: &'a Step,
}

/// Takes a stage one step further.
pub(super) fn step(turn: &mut Turn<'_>, at: At<'_>, stage: &Stage) -> Move {
    match stage {
        Stage::Prepare { .. } => prepare(turn, at),
        Stage::Start => start(turn, at),
        Stage::Shift { percent } => shift(turn, at, *percent),
        Stage::Promote => promote(turn, at),
        Stage::RollOut
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. } => Move::Done(StageResult::NothingToDo),
    }
}

/// Acts, and has learnt `change` by it.
fn act(turn: &Turn<'_>, effect: Effect, waiting_on: WaitingOn, change: impl FnOnce(&mut Progress)) -> Act {
    let (mut progress, now) = (turn.next.progress.clone(), turn.now);
    progress.asked_at.get_or_insert(now);
    change(&mut progress);
    Act { effects: vec![effect.into()], progress, event: None, waiting_on, proof: None }
}

/// Something could not be seen: why is kept, and it is looked again.
fn unseen(turn: &mut Turn<'_>, what: Unseen) -> Move {
    let seen = &turn.seen.lambda;
    let errors = [seen.alias.error(), seen.latest.error(), seen.versions.error(), seen.around.error()];
    turn.note_unseen(errors.into_iter().flatten());
    Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: what })
}

/// Approvals and freezes can last days: what the plan was made from is looked at again before anything is changed.
fn as_planned(turn: &mut Turn<'_>, at: At<'_>) -> Result<(), Move> {
    if turn.next.progress.asked_at.is_some() {
        return Ok(());
    }
    match preflight::check_again(at.plan, at.setup, turn.old, turn.seen) {
        Again::AsPlanned => Ok(()),
        Again::Changed(changes) => Err(Move::Replan(changes)),
        Again::CannotSee(errors) => {
            turn.note_unseen(&errors);
            Err(Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::BeforeStart }))
        }
    }
}

/// `$LATEST` gets the image, and is published once AWS has taken it.
fn prepare(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    if let Some(version) = LambdaAlias::state(turn).version.clone() {
        return Move::Done(StageResult::Published { version });
    }
    if let Err(next) = as_planned(turn, at) {
        return next;
    }
    let Some(image) = at.setup.images.values().next().cloned() else {
        return Move::Fail(Cause::Candidate { detail: "the plan names no image".to_owned() });
    };
    let latest = match turn.seen.lambda.latest.known() {
        Some(Some(latest)) => latest,
        Some(None) => return Move::Yield("the function was deleted".to_owned()),
        None => return unseen(turn, Unseen::Service),
    };
    let asked_at = LambdaAlias::state(turn).code_asked_at;
    if latest.update == Update::UnderWay {
        return Move::Wait(RETRY_AFTER, WaitingOn::Publication);
    }
    if latest.digest() != digest_of(&image) {
        let is_as_before = latest.image.as_ref() == Some(&at.setup.rollback_target.latest);
        return match asked_at {
            Some(asked) if turn.now.duration_since(asked) < CODE_RETRY_AFTER => {
                Move::Wait(RETRY_AFTER, WaitingOn::Publication)
            }
            Some(_) if !is_as_before => Move::Yield(format!(
                "$LATEST of the function runs {} now, which this release did not set",
                latest.image.as_deref().unwrap_or("no image")
            )),
            Some(_) | None => update(turn, image, latest),
        };
    }
    match (&latest.update, &latest.state) {
        (Update::Failed(reason), _) | (_, CodeState::Failed(reason)) => {
            Move::Fail(Cause::Candidate { detail: format!("AWS Lambda could not take the image: {reason}") })
        }
        (_, CodeState::Pending) => Move::Wait(RETRY_AFTER, WaitingOn::Publication),
        (Update::Done | Update::UnderWay, CodeState::Ready) => publish(turn, at, latest),
    }
}

fn update(turn: &Turn<'_>, image: String, latest: &CodeSeen) -> Move {
    let now = turn.now;
    let effect = Effect::UpdateCode { image, seen: latest.revision.clone() };
    let asked = act(turn, effect, WaitingOn::Publication, |progress| {
        progress.state.lambda_alias_mut().code_asked_at = Some(now);
    });
    // Who invokes the function without the alias gets the image from here on, and an alarm in ALARM could not be told from one it sets off.
    let proof = Some(Proof { what: Held::Start, traffic_since: None });
    Move::Act(Box::new(Act { proof, ..asked }))
}

fn publish(turn: &Turn<'_>, at: At<'_>, latest: &CodeSeen) -> Move {
    let asked_before = LambdaAlias::state(turn).code_asked_at.is_some();
    if asked_before && !at.step.is_due(turn.now, RETRY_AFTER) {
        return Move::Wait(RETRY_AFTER, WaitingOn::Publication);
    }
    let now = turn.now;
    let effect = Effect::Publish {
        release: turn.old.id.clone(),
        code_sha256: latest.code_sha256.clone(),
        seen: latest.revision.clone(),
    };
    let asked = act(turn, effect, WaitingOn::Publication, |progress| {
        progress.state.lambda_alias_mut().code_asked_at.get_or_insert(now);
    });
    Move::Act(Box::new(asked))
}

/// The version has to run the image, and be ready for invocations.
fn start(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    if let Err(next) = as_planned(turn, at) {
        return next;
    }
    let Some(version) = LambdaAlias::state(turn).version.clone() else {
        return Move::Fail(Cause::Candidate { detail: "no version was published".to_owned() });
    };
    let code = match turn.seen.lambda.versions.known().and_then(|versions| versions.get(&version)) {
        Some(Some(code)) => code,
        Some(None) => {
            return Move::Yield(format!("version {version}, which this release published, was deleted"));
        }
        None => return unseen(turn, Unseen::Deployment),
    };
    let expected = at.plan.expected();
    let runs = code.digest();
    if !expected.values().flatten().any(|digest| Some(digest) == runs.as_ref()) {
        let is = code.image.as_deref().unwrap_or("no image");
        return Move::Yield(format!("version {version} runs {is}, which is not what was approved"));
    }
    match &code.state {
        CodeState::Ready => Move::Done(StageResult::VersionReady { version }),
        CodeState::Pending => Move::Wait(RETRY_AFTER, WaitingOn::VersionReady { version }),
        CodeState::Failed(reason) => {
            Move::Fail(Cause::Candidate { detail: format!("version {version} cannot be invoked: {reason}") })
        }
    }
}

fn shift(turn: &mut Turn<'_>, at: At<'_>, percent: Percent) -> Move {
    if !publishes(at.plan)
        && let Err(next) = as_planned(turn, at)
    {
        return next;
    }
    let Some(candidate) = LambdaAlias::state(turn).version.clone() else {
        return Move::Fail(Cause::Candidate { detail: "no version was published".to_owned() });
    };
    let to = routing(at.setup.stable(), Some(&candidate), percent);
    if turn.next.progress.set != Some(percent) {
        return route(turn, at, to, percent, Held::Shift, Some(Event::Shifting { percent }));
    }
    shown(turn, at, to, percent).unwrap_or_else(|| {
        let measured = turn.next.progress.measured;
        turn.saw(Fact::Weights { set: percent, measured });
        Move::Done(StageResult::Shifted { percent })
    })
}

/// The alias points at the new version itself, and shares nothing out any more.
fn promote(turn: &mut Turn<'_>, at: At<'_>) -> Move {
    let Some(candidate) = LambdaAlias::state(turn).version.clone() else {
        return Move::Fail(Cause::Candidate { detail: "no version was published".to_owned() });
    };
    let to = Routing::all(candidate);
    if !LambdaAlias::state(turn).promoting {
        return route(turn, at, to, Percent::ALL, Held::Promotion, Some(Event::Promoting));
    }
    shown(turn, at, to, Percent::ALL).unwrap_or(Move::Done(StageResult::Completed))
}

/// Changes the alias as it was seen.
fn route(
    turn: &mut Turn<'_>,
    at: At<'_>,
    to: Routing,
    share: Percent,
    what: Held,
    event: Option<Event>,
) -> Move {
    let Some(alias) = alias(turn) else { return unseen(turn, Unseen::Weights) };
    let (now, seen) = (turn.now, alias.revision.clone());
    let promoting = what == Held::Promotion;
    let effect = Effect::Route { to, share, seen: seen.clone() };
    let asked = act(turn, effect, WaitingOn::Routing, |progress| {
        progress.set = Some(share);
        let state = progress.state.lambda_alias_mut();
        (state.set_at, state.revision, state.promoting) = (Some(now), Some(seen), promoting);
    });
    let is_first = LambdaAlias::state(turn).set_at.is_none();
    let proof = Some(Proof { what, traffic_since: (!is_first).then_some(at.since) });
    Move::Act(Box::new(Act { event, proof, ..asked }))
}

/// The change has to be seen; `None` once it is. What was not done, as the revision tells, is done again.
fn shown(turn: &mut Turn<'_>, at: At<'_>, to: Routing, share: Percent) -> Option<Move> {
    match at.setup.traffic(&turn.next, turn.seen, share) {
        Traffic::AsSet => None,
        Traffic::Unseen(why) => {
            turn.note(Missing::Weights { why });
            Some(Move::Wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::Weights }))
        }
        Traffic::Differs(_) => {
            let state = LambdaAlias::state(turn);
            let unchanged = alias(turn).is_some_and(|alias| state.revision.as_ref() == Some(&alias.revision));
            if !unchanged || !at.step.is_due(turn.now, RETRY_AFTER) || !caught_up(turn, state.set_at) {
                return Some(Move::Wait(RETRY_AFTER, WaitingOn::Routing));
            }
            let what = if state.promoting { Held::Promotion } else { Held::Shift };
            Some(again(turn, at, to, share, what))
        }
    }
}

fn again(turn: &mut Turn<'_>, at: At<'_>, to: Routing, share: Percent, what: Held) -> Move {
    match route(turn, at, to, share, what, None) {
        // Traffic is where it was before this change, which was proven when it was decided.
        Move::Act(act) => {
            Move::Act(Box::new(Act { proof: Some(Proof { what, traffic_since: None }), ..*act }))
        }
        other @ (Move::Done(_) | Move::Wait(..) | Move::Fail(_) | Move::Yield(_) | Move::Replan(_)) => other,
    }
}
