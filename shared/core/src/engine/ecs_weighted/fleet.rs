//! What carries the traffic: how many tasks the candidate needs, which weights a share is, and whether both are as they should be.

use super::{EcsWeighted, REPAIRS_MAX, caught_up, service};
use crate::effect::RETRY_AFTER;
use crate::engine::{Act, Move, Proof, Traffic, Trouble};
use crate::history::{Event, Fact, Held, WaitingOn};
use crate::ids::TargetGroupArn;
use crate::observation::Observation;
use crate::outcome::Cause;
use crate::plan::Groups;
use crate::policy::Percent;
use crate::release::Release;
use crate::turn::{LOOK_SOON, Turn};
use crate::vocab::ecs::ServiceSeen;
use crate::vocab::elb::{Effect, RuleSeen};

/// A share as the weights of a rule: the other target groups of the rule keep theirs. Elastic Load Balancing takes weights of 0 to 999.
pub(super) fn weights(groups: &Groups, live: &RuleSeen, share: Percent) -> Vec<(TargetGroupArn, u32)> {
    let tenths = u32::from(share.tenths());
    let (canary, all) = if tenths % 10 == 0 { (tenths / 10, 100) } else { (tenths, 1000) };
    let mut weights = live.weights.clone();
    for (group, weight) in [(&groups.stable, all - canary), (&groups.canary, canary)] {
        match weights.iter_mut().find(|(known, _)| known == group) {
            Some((_, known)) => *known = weight,
            None => weights.push((group.clone(), weight)),
        }
    }
    weights
}

/// The effects that give the candidate this share at every rule that does not show it.
pub(super) fn set(setup: &EcsWeighted, turn: &Turn<'_>, share: Percent) -> Vec<crate::effect::Effect> {
    let Some(groups) = &setup.groups else { return Vec::new() };
    let seen = turn.seen.elb.weights.known();
    let live = |before: &RuleSeen| {
        let seen = seen.and_then(|rules| rules.iter().find(|rule| rule.arn == before.arn));
        seen.unwrap_or(before).clone()
    };
    let rules = setup.rollback_target.weights.iter().map(live);
    rules
        .map(|live| (weights(groups, &live, share), live))
        .filter(|(weights, live)| *weights != live.weights)
        .map(|(weights, live)| Effect::SetWeights { rule: live.arn, weights, share }.into())
        .collect()
}

/// Whether any of the rules sends the candidate traffic; `None` when that could not be seen.
pub(super) fn carries(setup: &EcsWeighted, turn: &Turn<'_>) -> Option<bool> {
    let Some(groups) = &setup.groups else { return Some(false) };
    let rules = turn.seen.elb.weights.known()?;
    Some(
        rules
            .iter()
            .filter(|rule| setup.rules().any(|known| *known == rule.arn))
            .any(|rule| rule.weights.iter().any(|(group, weight)| *group == groups.canary && *weight > 0)),
    )
}

/// How many tasks the candidate needs for a share: as large a part of the service's, rounded up, and the policy's least.
pub(super) fn needed(setup: &EcsWeighted, service: &ServiceSeen, share: Percent) -> u32 {
    let part = service.desired.saturating_mul(u32::from(share.tenths())).div_ceil(1000);
    part.max(setup.min_tasks)
}

/// How many tasks of the candidate can be given traffic; `None` when that could not be seen.
pub(super) fn ready(setup: &EcsWeighted, turn: &Turn<'_>) -> Option<u32> {
    let running = turn.seen.ecs.canary.known()?.as_ref().map_or(0, |canary| canary.running);
    match &setup.groups {
        None => Some(running),
        Some(groups) => {
            let health = turn.seen.elb.health.known()?;
            Some(health.get(&groups.canary).map_or(0, |health| health.healthy).min(running))
        }
    }
}

/// Whether traffic is where it belongs when the candidate has this share.
pub(super) fn traffic(setup: &EcsWeighted, release: &Release, seen: &Observation, share: Percent) -> Traffic {
    let Some(groups) = &setup.groups else { return Traffic::AsSet };
    let state = release.progress.state.ecs_weighted();
    let Some(rules) = seen.elb.weights.known() else {
        let why = seen.elb.weights.error().map_or_else(|| "not asked for".to_owned(), ToString::to_string);
        return Traffic::Unseen(why);
    };
    // Everything is on the new version also where the service itself runs it.
    let home = state.home_at.is_some() && share == Percent::ALL;
    let share = if home { Percent::NONE } else { share };
    if share == Percent::NONE && !home && state.promoting_since.is_some() {
        let back = seen.ecs.service.known().and_then(Option::as_ref).is_some_and(|service| {
            setup.is_stable(release, &service.task_definition) && service.is_all_replaced()
        });
        if !back {
            return Traffic::Differs("tasks of the service itself are of the new version".to_owned());
        }
    }
    let differs = setup.rules().find_map(|rule| {
        let live = rules.iter().find(|seen| seen.arn == *rule).and_then(|seen| seen.share(&groups.canary));
        (live != Some(share)).then(|| {
            let live = live.map_or_else(|| "nothing".to_owned(), |live| format!("{live}%"));
            format!("{} has {live}, {share}% was set", groups.canary.short())
        })
    });
    differs.map_or(Traffic::AsSet, Traffic::Differs)
}

/// What keeps the release from continuing: somebody else's deployment, a candidate that is gone or not healthy, weights that are not kept.
pub(super) fn watch(setup: &EcsWeighted, turn: &Turn<'_>) -> Option<Trouble> {
    let state = EcsWeighted::state(turn);
    if let Some(service) = service(turn) {
        let set = &service.task_definition;
        let promoted = state.promoting_since.is_some() && state.task_definition.as_ref() == Some(set);
        if !setup.is_stable(&turn.next, set) && !promoted {
            let (is, was) = (set.short(), setup.rollback_target.task_definition.short());
            return Some(Trouble::Yield(format!("the service runs {is} now, not {was}")));
        }
    }
    if let Some(reason) = update_ended(turn) {
        return Some(Trouble::Fail(Cause::Deployment { reason }));
    }
    let gone = || match turn.seen.ecs.canary.known() {
        Some(None) => true,
        Some(Some(canary)) => canary.status != "ACTIVE",
        None => false,
    };
    // A service that has just been made may not be shown by every read yet.
    if state.created && gone() && caught_up(turn, turn.next.acted_at) {
        let reason = format!("the candidate's service {} was deleted", setup.canary);
        return Some(Trouble::Fail(Cause::Deployment { reason }));
    }
    // The targets of a group that no rule names any more are unused, which says nothing of the candidate: its weights are set again first.
    let carries = state.home_at.is_none()
        && turn.next.progress.set.is_some_and(|set| {
            set > Percent::NONE && traffic(setup, &turn.next, turn.seen, set) == Traffic::AsSet
        });
    if carries && setup.groups.is_some() && caught_up(turn, state.set_at) && ready(setup, turn) == Some(0) {
        let reason = "no task of the candidate is healthy while it has traffic".to_owned();
        return Some(Trouble::Fail(Cause::Deployment { reason }));
    }
    let expected = EcsWeighted::expected(&turn.next)?;
    match traffic(setup, &turn.next, turn.seen, expected) {
        Traffic::Differs(detail)
            if state.repaired >= REPAIRS_MAX
                && caught_up(turn, state.set_at)
                && !is_standing(setup, turn) =>
        {
            let detail = format!(
                "{detail}, and was set again {REPAIRS_MAX} times; AWS CloudTrail tells who changes the rule (ModifyRule)"
            );
            Some(Trouble::Fail(Cause::Weights { detail }))
        }
        Traffic::Differs(_) | Traffic::AsSet | Traffic::Unseen(_) => None,
    }
}

/// Why the update of the service itself ended without bringing the new version.
fn update_ended(turn: &Turn<'_>) -> Option<String> {
    let state = EcsWeighted::state(turn);
    let since = state.promoting_since?;
    let deployments = turn.seen.ecs.deployments.known()?;
    let ours = deployments.iter().find(|deployment| {
        deployment.created_at.duration_since(since) >= -crate::turn::CLOCK_SKEW
            && deployment.task_definition == state.task_definition
    })?;
    ours.status
        .is_broken_off()
        .then(|| ours.reason.clone().unwrap_or_else(|| ours.status.as_str().to_owned()))
}

/// Sets weights again that something else has changed. The targets of a group that no rule names are not checked, and a group without a
/// healthy one answers 503: then it is named again at first, and gets its share once its targets are healthy.
pub(super) fn repair(setup: &EcsWeighted, turn: &mut Turn<'_>) -> Option<Move> {
    let expected = EcsWeighted::expected(&turn.next)?;
    let state = EcsWeighted::state(turn);
    let Traffic::Differs(detail) = traffic(setup, &turn.next, turn.seen, expected) else { return None };
    if !caught_up(turn, state.set_at) {
        return Some(Move::Wait(RETRY_AFTER, WaitingOn::WeightsShown));
    }
    let share = if state.home_at.is_some() { Percent::NONE } else { expected };
    let (stands, unnamed) = (is_standing(setup, turn), name_again(setup, turn));
    // What was healthy while a rule named the group says nothing once none does, and the one may be seen before the other.
    let ready = unnamed.is_empty() && can_take(setup, turn, share);
    let effects = if ready { set(setup, turn, share) } else { unnamed };
    if effects.is_empty() {
        let (running, wanted) = (self::ready(setup, turn)?, wanted(setup, turn, share)?);
        turn.note(Fact::CandidateTasks { running, wanted });
        return (!ready).then_some(Move::Wait(LOOK_SOON, WaitingOn::CandidateTasks));
    }
    let mut progress = turn.next.progress.clone();
    let state = progress.state.ecs_weighted_mut();
    state.set_at = Some(turn.now);
    state.standing = !ready;
    // Both steps are one repair.
    state.repaired += u32::from(!stands);
    let event = (!stands).then_some(Event::WeightsRepaired { detail, times: state.repaired });
    let rises = ready && share > Percent::NONE;
    let proof = rises.then_some(Proof { what: Held::Shift, traffic_since: None });
    Some(Move::Act(Box::new(Act { effects, progress, event, waiting_on: WaitingOn::WeightsShown, proof })))
}

/// The rules as they were seen.
fn live<'t>(setup: &'t EcsWeighted, turn: &'t Turn<'_>) -> impl Iterator<Item = &'t RuleSeen> {
    let seen = turn.seen.elb.weights.known().into_iter().flatten();
    seen.filter(|rule| setup.rules().any(|known| *known == rule.arn))
}

/// Whether the candidate's target group has the weight 0 in every rule, where it was put to be checked again.
fn is_standing(setup: &EcsWeighted, turn: &Turn<'_>) -> bool {
    let Some(groups) = &setup.groups else { return false };
    let at_zero =
        |rule: &RuleSeen| rule.weights.iter().any(|(group, weight)| *group == groups.canary && *weight == 0);
    EcsWeighted::state(turn).standing && live(setup, turn).all(at_zero)
}

/// The effects that name the candidate's target group, without a weight, in every rule that does not.
fn name_again(setup: &EcsWeighted, turn: &Turn<'_>) -> Vec<crate::effect::Effect> {
    let Some(groups) = &setup.groups else { return Vec::new() };
    let share = Percent::NONE;
    live(setup, turn)
        .filter(|rule| !rule.weights.iter().any(|(group, _)| *group == groups.canary))
        .map(|rule| {
            Effect::SetWeights { rule: rule.arn.clone(), weights: weights(groups, rule, share), share }.into()
        })
        .collect()
}

/// How many tasks have to be healthy for a share that the candidate has had before: as many as it has, where the service has grown since.
fn wanted(setup: &EcsWeighted, turn: &Turn<'_>, share: Percent) -> Option<u32> {
    let has = turn.seen.ecs.canary.known()?.as_ref()?.desired;
    Some(needed(setup, service(turn)?, share).min(has))
}

/// Whether the candidate can take this share: it has more already, or enough of its tasks are healthy.
fn can_take(setup: &EcsWeighted, turn: &Turn<'_>, share: Percent) -> bool {
    let Some(groups) = &setup.groups else { return true };
    let has_more = live(setup, turn).all(|rule| rule.share(&groups.canary).is_some_and(|live| live >= share));
    has_more
        || ready(setup, turn)
            .is_some_and(|ready| wanted(setup, turn, share).is_some_and(|wanted| ready >= wanted))
}
