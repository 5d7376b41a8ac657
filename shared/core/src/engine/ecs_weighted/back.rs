//! The way back, and the end: traffic first, then the service itself where it was updated already, then everything that was made for the
//! release.

use serde_json::Value;

use super::{DRAIN, EcsWeighted, fleet, service};
use crate::effect::{Effect as AnyEffect, RETRY_AFTER};
use crate::engine::ecs_native::configuration;
use crate::engine::{Back, Settle, Traffic};
use crate::history::{Event, Fact, Redeploy, Restored, Unseen, WaitingOn};
use crate::outcome::Outcome;
use crate::plan::{EcsWeighted as Setup, Plan};
use crate::policy::Percent;
use crate::turn::{LOOK_SOON, Turn};
use crate::vocab::autoscaling;
use crate::vocab::ecs::{DeploymentStatus, Effect, ServiceSeen};
use crate::vocab::elb;

/// One step further back.
pub(super) fn roll_back(turn: &mut Turn<'_>, setup: &Setup) -> Back {
    let started = turn.next.is_started();
    let promoting = EcsWeighted::state(turn).promoting_since.is_some();
    if started && fleet::carries(setup, turn) != Some(false) {
        if turn.is_due(RETRY_AFTER) {
            // What could not be seen is set all the same: a rollback waits for no look.
            let effects = fleet::set(setup, turn, Percent::NONE);
            take_home(turn, effects);
            if promoting {
                redeploy(turn, setup);
            }
        }
        return Back::Wait(RETRY_AFTER, WaitingOn::Restored { what: Restored::Traffic });
    }
    // Without a load balancer the tasks are the share. They are not waited for to be seen either.
    let has_tasks =
        || turn.seen.ecs.canary.known().is_none_or(|canary| canary.as_ref().is_some_and(is_serving));
    if setup.groups.is_none() && started && has_tasks() {
        if turn.is_due(RETRY_AFTER) {
            turn.act(Effect::DeleteCanary { name: setup.canary.clone() }.into());
            if promoting {
                redeploy(turn, setup);
            }
        }
        return Back::Wait(RETRY_AFTER, WaitingOn::CanaryGone);
    }
    if setup.groups.is_some() && started {
        let now = turn.now;
        turn.next.progress.state.ecs_weighted_mut().home_at.get_or_insert(now);
    }
    if !promoting {
        return Back::Done { started };
    }
    let Some(service) = service(turn) else {
        return Back::Wait(RETRY_AFTER, WaitingOn::Look { unseen: Unseen::Service });
    };
    if !setup.is_stable(&turn.next, &service.task_definition) {
        if EcsWeighted::state(turn).task_definition.as_ref() != Some(&service.task_definition) {
            let is = service.task_definition.short();
            return Back::Yield(format!("the service runs {is} now, which this release did not deploy"));
        }
        if turn.is_due(RETRY_AFTER) {
            redeploy(turn, setup);
        }
        return Back::Wait(RETRY_AFTER, WaitingOn::Redeployment);
    }
    if !service.is_all_replaced() || !service.steady {
        return Back::Wait(LOOK_SOON, WaitingOn::Restored { what: Restored::LastTasks });
    }
    Back::Done { started: true }
}

fn take_home(turn: &mut Turn<'_>, effects: Vec<AnyEffect>) {
    for effect in effects {
        turn.act(effect);
    }
    let now = turn.now;
    let state = turn.next.progress.state.ecs_weighted_mut();
    state.home_at = Some(now);
    state.set_at = Some(now);
}

/// The service itself is deployed again as it was. A rolling update that is under way is replaced by it.
fn redeploy(turn: &mut Turn<'_>, setup: &Setup) {
    let revision = setup.rollback_revision(&turn.next).clone();
    let told = turn.old.phase.rolling_back().is_some();
    if !told {
        let deployment = turn.seen.ecs.deployments.known().and_then(|deployments| deployments.first());
        if let Some(deployment) = deployment {
            turn.tell(Event::Redeploying {
                revision: revision.clone(),
                because: Redeploy::NothingToRollBack {
                    deployment: deployment.arn.clone(),
                    status: DeploymentStatus::InProgress,
                },
            });
        }
    }
    let configuration = setup.rollback_target.configuration.clone();
    let configuration = rolling(&configuration);
    turn.act(Effect::ReturnTo { task_definition: revision, configuration }.into());
}

/// The service's own configuration, replacing its tasks in place: nothing is left that ECS could shift.
fn rolling(own: &Value) -> Value {
    let strategy = crate::policy::Strategy {
        shift: crate::policy::Shift::Rolling,
        bake: crate::policy::Span::default(),
        engine: crate::policy::EngineChoice::Weighted,
    };
    configuration::for_release(own, &strategy, &[], crate::plan::GateWaits::default())
}

/// What a person has to do when the rollback cannot be done.
pub(super) fn by_hand(turn: &Turn<'_>, setup: &Setup, plan: &Plan) -> String {
    let refusals: Vec<String> = turn.seen.refused.iter().map(|refusal| refusal.error.to_string()).collect();
    let rules: Vec<&str> = setup.rules().map(crate::ids::RuleArn::as_str).collect();
    let mut needs = format!("see that {} runs {}", plan.target, setup.rollback_revision(&turn.next).short());
    if let Some(groups) = &setup.groups {
        needs = format!(
            "set the weight of target group {} to 0 in {}, {needs}",
            groups.canary.short(),
            rules.join(", ")
        );
    }
    needs = format!("{needs}, and delete service {}", setup.canary);
    if refusals.is_empty() {
        return needs;
    }
    format!("AWS refused the rollback ({}); allow it to Tidegate's role, or {needs}", refusals.join("; "))
}

/// One step further to the end: everything that was made for the release is taken away again, and what it changed is as it was.
pub(super) fn settle(turn: &mut Turn<'_>, setup: &Setup, outcome: &Outcome, late: bool) -> Settle {
    let next = unfinished(turn, setup, outcome);
    match next {
        // What was promoted stays promoted: what is still there of the release says nothing about the version.
        Some(next) if late && *outcome == Outcome::Promoted => {
            let (Settle::Wait(_, waiting_on) | Settle::Until(waiting_on)) = next else { return next };
            turn.next.progress.restore_pending = Some(settle_by_hand(setup, &waiting_on));
            Settle::Done
        }
        Some(Settle::Wait(_, waiting_on)) if late => Settle::Until(waiting_on),
        Some(next) => next,
        None => see_traffic(turn, setup, outcome),
    }
}

/// What is still to be done, in order.
fn unfinished(turn: &mut Turn<'_>, setup: &Setup, outcome: &Outcome) -> Option<Settle> {
    let Some(canary) = turn.seen.ecs.canary.known() else {
        return Some(Settle::Until(WaitingOn::Look { unseen: Unseen::Deployment }));
    };
    let home = || setup.groups.as_ref().map(|_| ());
    if let Some(next) = home().and_then(|()| bring_home(turn, setup)) {
        return Some(next);
    }
    // None of these waits for the candidate's requests to end.
    if let Some(next) = restore_scaling(turn, setup).or_else(|| restore_configuration(turn, setup, outcome)) {
        return Some(next);
    }
    if let Some(next) = home().and_then(|()| drain(turn, canary.as_ref())) {
        return Some(next);
    }
    remove(turn, setup, canary.as_ref())
}

/// Wherever a release ends, nothing of the traffic stays with what is taken away.
fn bring_home(turn: &mut Turn<'_>, setup: &Setup) -> Option<Settle> {
    if turn.seen.elb.weights.known().is_none() {
        return Some(Settle::Until(WaitingOn::Look { unseen: Unseen::Weights }));
    }
    if fleet::carries(setup, turn) == Some(false) {
        let now = turn.now;
        let state = turn.next.progress.state.ecs_weighted_mut();
        if state.set_at.is_some() {
            state.home_at.get_or_insert(now);
        }
        return None;
    }
    if turn.is_due(RETRY_AFTER) {
        let effects = fleet::set(setup, turn, Percent::NONE);
        take_home(turn, effects);
    }
    Some(Settle::Wait(RETRY_AFTER, WaitingOn::WeightsShown))
}

fn is_serving(canary: &ServiceSeen) -> bool {
    canary.status == "ACTIVE"
}

/// The candidate's tasks stay until requests under way have surely ended.
fn drain(turn: &Turn<'_>, canary: Option<&ServiceSeen>) -> Option<Settle> {
    let state = EcsWeighted::state(turn);
    // Weights that had to be set again are the ones that count.
    let since = state.home_at.max(state.set_at).filter(|_| state.home_at.is_some())?;
    let until = since.saturating_add(DRAIN).unwrap_or(since);
    (canary.is_some_and(is_serving) && turn.seen.at < until)
        .then(|| Settle::Wait(until.duration_since(turn.now), WaitingOn::Draining { until }))
}

/// The second service, and the rules as they were.
fn remove(turn: &mut Turn<'_>, setup: &Setup, canary: Option<&ServiceSeen>) -> Option<Settle> {
    let there = canary.is_some_and(is_serving);
    let mut effects: Vec<AnyEffect> = Vec::new();
    if there {
        effects.push(Effect::DeleteCanary { name: setup.canary.clone() }.into());
    }
    effects.extend(restored_rules(turn, setup));
    if effects.is_empty() {
        return None;
    }
    if turn.is_due(RETRY_AFTER) {
        turn.note_refusals();
        for effect in effects {
            turn.act(effect);
        }
    }
    let waiting_on = if there { WaitingOn::CanaryGone } else { WaitingOn::WeightsShown };
    Some(Settle::Wait(RETRY_AFTER, waiting_on))
}

/// The rules as they were: without the candidate's target group where it did not stand in them before. What somebody else has put there
/// meanwhile stays.
fn restored_rules(turn: &Turn<'_>, setup: &Setup) -> Vec<AnyEffect> {
    let mut effects: Vec<AnyEffect> = Vec::new();
    let (Some(groups), Some(live)) = (&setup.groups, turn.seen.elb.weights.known()) else { return effects };
    for before in &setup.rollback_target.weights {
        let Some(rule) = live.iter().find(|rule| rule.arn == before.arn) else { continue };
        let was = |group| before.weights.iter().find(|(known, _)| known == group).map(|(_, weight)| *weight);
        let mut weights = Vec::new();
        for (group, weight) in &rule.weights {
            let ours = *group == groups.canary || *group == groups.stable;
            match (ours, was(group)) {
                (true, Some(before)) => weights.push((group.clone(), before)),
                (true, None) => {}
                (false, _) => weights.push((group.clone(), *weight)),
            }
        }
        if weights != rule.weights && weights.iter().any(|(_, weight)| *weight > 0) {
            let share = Percent::NONE;
            effects.push(elb::Effect::SetWeights { rule: rule.arn.clone(), weights, share }.into());
        }
    }
    effects
}

/// What was read before is set again, whoever had suspended what.
fn restore_scaling(turn: &mut Turn<'_>, setup: &Setup) -> Option<Settle> {
    let before = setup.suspended?;
    match turn.seen.autoscaling.target.known() {
        None => Some(Settle::Until(WaitingOn::Look { unseen: Unseen::Service })),
        Some(Some(target)) if target.suspended != before => {
            if turn.is_due(RETRY_AFTER) {
                turn.note_refusals();
                turn.act(autoscaling::Effect::Suspend { suspended: before }.into());
            }
            Some(Settle::Wait(RETRY_AFTER, WaitingOn::ScalingRestored))
        }
        Some(Some(_) | None) => None,
    }
}

fn restore_configuration(turn: &mut Turn<'_>, setup: &Setup, outcome: &Outcome) -> Option<Settle> {
    EcsWeighted::state(turn).promoting_since?;
    let Some(service) = service(turn) else {
        return Some(Settle::Until(WaitingOn::Look { unseen: Unseen::Service }));
    };
    let own = &setup.rollback_target.configuration;
    let mut set = vec![setup.configuration.clone()];
    if *outcome != Outcome::Promoted {
        set.push(rolling(own));
    }
    let own = configuration::restored(&service.deployment_configuration, &set, own);
    if configuration::is_set(&own, &service.deployment_configuration) {
        return None;
    }
    if turn.is_due(RETRY_AFTER) {
        turn.note_refusals();
        let strategy = service.deployment_configuration["strategy"].as_str().unwrap_or("ROLLING").to_owned();
        turn.saw(Fact::ConfigurationIsOurs { strategy });
        turn.act(Effect::RestoreConfiguration { configuration: own }.into());
        turn.tell(Event::RestoringConfiguration);
    }
    Some(Settle::Wait(RETRY_AFTER, WaitingOn::ConfigurationRestored))
}

/// Nothing is promoted, and nothing is rolled back, unless traffic is seen where that says.
fn see_traffic(turn: &Turn<'_>, setup: &Setup, outcome: &Outcome) -> Settle {
    let share = match outcome {
        Outcome::Failed { .. } => return Settle::Done,
        Outcome::Promoted => Percent::ALL,
        Outcome::RolledBack { .. } | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => Percent::NONE,
    };
    let until =
        |detail: String| Settle::Until(WaitingOn::Traffic { outcome: Box::new(outcome.clone()), detail });
    match fleet::traffic(setup, &turn.next, turn.seen, share) {
        Traffic::AsSet => Settle::Done,
        Traffic::Unseen(detail) | Traffic::Differs(detail) => until(detail),
    }
}

/// What a person has to do when the release's traces could not be removed.
pub(super) fn settle_by_hand(setup: &Setup, waiting_on: &WaitingOn) -> String {
    let scaling = setup.suspended.map_or("", |_| ", let the service scale in again as before");
    format!(
        "{waiting_on}: see that all traffic goes to the service itself, delete service {}{scaling}, and restore the service's \
         deploymentConfiguration: {}",
        setup.canary, setup.rollback_target.configuration
    )
}
