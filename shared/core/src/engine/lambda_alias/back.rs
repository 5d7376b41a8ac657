//! The way back, and the end: one call gives the stable version every invocation again; then `$LATEST` runs again what it ran.

use super::{LambdaAlias, told};
use crate::effect::RETRY_AFTER;
use crate::engine::{Back, Engine as _, Settle, Traffic};
use crate::history::{Unseen, WaitingOn};
use crate::outcome::Outcome;
use crate::policy::Percent;
use crate::reference::digest_of;
use crate::turn::Turn;
use crate::vocab::lambda::{Effect, Routing, Update};

/// One step further back.
pub(super) fn roll_back(turn: &mut Turn<'_>, setup: &LambdaAlias) -> Back {
    let state = LambdaAlias::state(turn);
    if state.set_at.is_none() {
        return Back::Done { started: false };
    }
    let stable = Routing::all(setup.stable().clone());
    let known = state.revision.clone();
    let wait = Back::Wait(RETRY_AFTER, WaitingOn::Routing);
    let seen = match turn.seen.lambda.alias.known() {
        // A rollback waits for no look: the revision that is known from before tells whether somebody else has changed the alias.
        None => match known {
            Some(known) => known,
            None => return Back::Wait(RETRY_AFTER, WaitingOn::Look { unseen: Unseen::Weights }),
        },
        Some(None) => return Back::Yield(format!("the alias {} was deleted", setup.rollback_target.alias)),
        Some(Some(alias)) => match alias.routing() {
            Some(routing) if routing == stable => return Back::Done { started: true },
            Some(routing) if setup.is_known(&turn.next, &routing) => alias.revision.clone(),
            Some(_) | None => {
                let name = &setup.rollback_target.alias;
                return Back::Yield(format!(
                    "{name} sends its invocations to {} now, which this release did not set",
                    told(alias)
                ));
            }
        },
    };
    if turn.is_due(RETRY_AFTER) {
        let now = turn.now;
        turn.act(Effect::Route { to: stable, share: Percent::NONE, seen }.into());
        turn.next.progress.state.lambda_alias_mut().set_at = Some(now);
    }
    wait
}

/// What a person has to do when the rollback cannot be done.
pub(super) fn by_hand(turn: &Turn<'_>, setup: &LambdaAlias) -> String {
    let refusals: Vec<String> = turn.seen.refused.iter().map(|refusal| refusal.error.to_string()).collect();
    let needs = point_at(setup);
    if refusals.is_empty() {
        return needs;
    }
    format!("AWS refused the rollback ({}); allow it to Tidegate's role, or {needs}", refusals.join("; "))
}

/// The command that does what a rollback would.
pub(super) fn point_at(setup: &LambdaAlias) -> String {
    let (function, alias) = setup.rollback_target.alias.split_once(':').unwrap_or_default();
    format!(
        "point the alias at the stable version: aws lambda update-alias --function-name {function} --name {alias} --function-version {} \
         --routing-config AdditionalVersionWeights={{}}",
        setup.stable()
    )
}

/// One step further to the end.
pub(super) fn settle(turn: &mut Turn<'_>, setup: &LambdaAlias, outcome: &Outcome, late: bool) -> Settle {
    let until = |waiting_on: WaitingOn| Settle::Until(waiting_on);
    if *outcome != Outcome::Promoted
        && let Some(waiting_on) = restore_latest(turn, setup)
    {
        return if late { until(waiting_on) } else { Settle::Wait(RETRY_AFTER, waiting_on) };
    }
    let share = match outcome {
        Outcome::Failed { .. } => return Settle::Done,
        Outcome::Promoted => Percent::ALL,
        Outcome::RolledBack { .. } | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => Percent::NONE,
    };
    if let Some(detail) = setup.external(turn).filter(|_| *outcome == Outcome::Promoted) {
        return Settle::Yield(detail);
    }
    match setup.traffic(&turn.next, turn.seen, share) {
        Traffic::AsSet => Settle::Done,
        Traffic::Unseen(detail) | Traffic::Differs(detail) => {
            until(WaitingOn::Traffic { outcome: Box::new(outcome.clone()), detail })
        }
    }
}

/// `$LATEST` runs again what it ran, unless somebody else has changed it since; `None` when nothing is left to do.
fn restore_latest(turn: &mut Turn<'_>, setup: &LambdaAlias) -> Option<WaitingOn> {
    LambdaAlias::state(turn).code_asked_at?;
    let before = &setup.rollback_target.latest;
    let Some(latest) = turn.seen.lambda.latest.known() else {
        return Some(WaitingOn::Look { unseen: Unseen::Service });
    };
    let latest = latest.as_ref()?;
    let ours = setup.images.values().any(|image| digest_of(image) == latest.digest());
    let is_back = digest_of(before) == latest.digest();
    if is_back || !ours {
        // A change of ours that was decided and not seen is waited out before the release ends, and looked at then.
        return (latest.update == Update::UnderWay && is_back).then_some(WaitingOn::CodeRestored);
    }
    if latest.update != Update::UnderWay && turn.is_due(RETRY_AFTER) {
        turn.note_refusals();
        let effect = Effect::UpdateCode { image: before.clone(), seen: latest.revision.clone() };
        turn.act(effect.into());
        turn.tell(crate::history::Event::RestoringCode);
    }
    Some(WaitingOn::CodeRestored)
}

/// What a person has to do when the release's traces could not be removed.
pub(super) fn settle_by_hand(setup: &LambdaAlias, waiting_on: &WaitingOn) -> String {
    let (function, _) = setup.rollback_target.alias.split_once(':').unwrap_or_default();
    format!(
        "{waiting_on}: see where the alias sends its invocations, and give $LATEST its image again: aws lambda update-function-code \
         --function-name {function} --image-uri {}",
        setup.rollback_target.latest
    )
}
