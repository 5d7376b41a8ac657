//! The end: the service's own configuration is restored, what others deployed meanwhile is let pass, and traffic is seen where it belongs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::deployments::{external, is_stable, ours, undescribed};
use super::pauses::{Pauses, Whose};
use super::plan::returning;
use super::{Cx, configuration, weights};
use crate::effect::RETRY_AFTER;
use crate::engine::{Settle, Traffic};
use crate::history::{Before, Event, Fact, Missing, Unseen, WaitingOn};
use crate::ids::{ContainerName, HookId, TaskDefinitionArn};
use crate::intent::{Deployed, EcsDeployed};
use crate::outcome::{Cause, Outcome};
use crate::plan::{EcsNative, EcsRollbackTarget, Plan};
use crate::reference::pinned;
use crate::service::{Left, LeftBehind};
use crate::turn::{LAG, LOOK_SOON, Turn};
use crate::vocab::ecs::{DeploymentSeen, DerivedRevision, Effect, ServiceSeen};

/// How a release settles.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) late: bool,
    pub(super) since: Timestamp,
}

/// One step further to the end.
pub(super) fn settle(turn: &mut Turn<'_>, cx: Cx<'_>, end: End<'_>) -> Settle {
    let outcome = end.outcome;
    let gives_way = matches!(outcome, Outcome::Failed { cause: Cause::ExternalDeployment { .. }, .. });
    if *outcome != Outcome::Promoted
        && !gives_way
        && (!turn.next.is_started() || !is_failed(outcome))
        && let Some(ours) = ours(turn)
        && !ours.status.is_over()
    {
        let detail = format!("deployment {} started after all", ours.arn.short());
        return Settle::RollBack(outcome.clone().into_cause(detail));
    }
    let (Some(Some(service)), Some(_)) = (turn.seen.ecs.service.known(), turn.seen.ecs.deployments.known())
    else {
        return Settle::Until(WaitingOn::Look { unseen: Unseen::Service });
    };
    if let Some(unknown) = undescribed(turn) {
        turn.note(Fact::NotDescribed { deployment: unknown.arn.clone() });
        return Settle::Wait(RETRY_AFTER, WaitingOn::Description { before: Before::End });
    }
    let foreign = external(turn).filter(|foreign| {
        gives_way || *outcome == Outcome::Promoted || !brings_stable_back(turn, cx, foreign)
    });
    if gives_way
        && foreign.is_none()
        && let Some(ours) = ours(turn)
        && !ours.status.is_over()
        && !end.late
    {
        return withdraw(turn, ours);
    }
    if let Some(foreign) = foreign
        && let Some(next) = pass(turn, cx, end, service, foreign)
    {
        return next;
    }
    let own = restored_configuration(cx, service, outcome);
    if !configuration::is_set(&own, &service.deployment_configuration) {
        return restore(turn, cx, end, service, own);
    }
    see_traffic(turn, cx, end)
}

/// After a rollback, a deployment of the stable version is the rollback, or does the same.
fn brings_stable_back(turn: &Turn<'_>, cx: Cx<'_>, foreign: &DeploymentSeen) -> bool {
    foreign.task_definition.as_ref().is_some_and(|arn| is_stable(turn, &cx.setup.rollback_target, arn))
}

/// Lets somebody else's deployment pass the pauses it inherited from us. `None`: it does not keep us any longer.
fn pass(
    turn: &mut Turn<'_>,
    cx: Cx<'_>,
    end: End<'_>,
    service: &ServiceSeen,
    foreign: &DeploymentSeen,
) -> Option<Settle> {
    let theirs = &service.deployment_configuration;
    for hook in our_pauses(foreign, theirs, turn.seen.at) {
        turn.act(Effect::ContinueHook { deployment: foreign.arn.clone(), hook }.into());
    }
    if !turn.effects.is_empty() {
        turn.tell(Event::ReleasingOtherDeployment);
    }
    let is_ours = configuration::holds_ours(theirs) || configuration::is_set(&cx.setup.configuration, theirs);
    if is_ours && !foreign.status.is_over() && !end.late {
        return Some(Settle::Wait(LOOK_SOON, WaitingOn::OtherDeployment));
    }
    if !is_ours && !configuration::is_set(&cx.setup.rollback_target.configuration, theirs) {
        turn.note(Fact::ConfigurationIsTheirs);
        return Some(see_traffic(turn, cx, end));
    }
    None
}

/// Ends when traffic is seen where the outcome says it is. Nothing is promoted, and nothing is rolled back, on the word of a deployment alone.
fn see_traffic(turn: &Turn<'_>, cx: Cx<'_>, end: End<'_>) -> Settle {
    if is_failed(end.outcome) {
        return Settle::Done;
    }
    let promoted = *end.outcome == Outcome::Promoted;
    let until =
        |detail: String| Settle::Until(WaitingOn::Traffic { outcome: Box::new(end.outcome.clone()), detail });
    match weights::at_the_end(turn, cx.setup, promoted) {
        Traffic::AsSet => Settle::Done,
        Traffic::Unseen(why) => until(Missing::Weights { why }.to_string()),
        Traffic::Differs(detail) => match external(turn).filter(|_| promoted) {
            Some(foreign) => Settle::Yield(format!("deployment {} took over: {detail}", foreign.arn.short())),
            None if promoted && turn.now.duration_since(end.since) >= LAG => {
                Settle::RollBack(Cause::Weights { detail })
            }
            None => until(detail),
        },
    }
}

/// Our deployment began after the other one, from a decision made before that one was seen: it is taken back.
fn withdraw(turn: &mut Turn<'_>, ours: &DeploymentSeen) -> Settle {
    let due = turn.next.acted_at.is_none_or(|at| turn.now.duration_since(at) >= RETRY_AFTER);
    if !ours.status.is_rollback() && due {
        turn.act(Effect::StopDeployment { deployment: ours.arn.clone() }.into());
        turn.tell(Event::Withdrawing);
    }
    Settle::Wait(RETRY_AFTER, WaitingOn::Withdrawal)
}

fn is_failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { .. })
}

/// Pauses of ours at which another deployment waits, because it was started with our hooks in place. Its own are not ours to answer.
fn our_pauses(foreign: &DeploymentSeen, present: &Value, at: Timestamp) -> Vec<HookId> {
    let pauses = Pauses::of_deployment(foreign, present);
    let waiting = foreign.hooks.iter().filter(|hook| hook.pause && hook.awaiting);
    let ours = waiting.filter(|hook| pauses.whose(foreign, hook, at) == Whose::Ours);
    ours.map(|hook| hook.id.clone()).collect()
}

/// What the service's configuration has to be again: its own, with what somebody else changed meanwhile. The stable version may have been
/// deployed again with a configuration of ours, too.
fn restored_configuration(cx: Cx<'_>, service: &ServiceSeen, outcome: &Outcome) -> Value {
    let mut set = vec![cx.setup.configuration.clone()];
    if *outcome != Outcome::Promoted {
        set.push(returning(cx.plan, cx.setup));
    }
    configuration::restored(&service.deployment_configuration, &set, &cx.setup.rollback_target.configuration)
}

fn restore(turn: &mut Turn<'_>, cx: Cx<'_>, end: End<'_>, service: &ServiceSeen, own: Value) -> Settle {
    if end.late {
        // What was promoted stays promoted: that the configuration is still ours says nothing about the version.
        if *end.outcome == Outcome::Promoted {
            turn.next.progress.restore_pending = Some(by_hand(NOT_RESTORED, cx.setup));
            return see_traffic(turn, cx, end);
        }
        return Settle::Until(WaitingOn::ConfigurationRestored);
    }
    turn.note_refusals();
    let first = turn.old.phase != turn.next.phase;
    let due = first || turn.next.acted_at.is_none_or(|at| turn.now.duration_since(at) >= RETRY_AFTER);
    if due {
        let strategy = service.deployment_configuration["strategy"].as_str().unwrap_or("ROLLING").to_owned();
        turn.saw(Fact::ConfigurationIsOurs { strategy });
        turn.act(Effect::RestoreConfiguration { configuration: own }.into());
        turn.tell(Event::RestoringConfiguration);
    }
    Settle::Wait(RETRY_AFTER, WaitingOn::ConfigurationRestored)
}

const NOT_RESTORED: &str = "the deployment configuration could not be restored";

/// What a person has to do about a configuration that is still ours.
fn by_hand(what: &str, setup: &EcsNative) -> String {
    let configuration = &setup.rollback_target.configuration;
    format!(
        "{what}: see that the load balancer sends all traffic to one version, and restore the service's deploymentConfiguration by hand: {configuration}"
    )
}

/// What a person has to do when the service could not be left as it was found.
pub(super) fn settle_by_hand(setup: &EcsNative, waiting_on: &WaitingOn) -> String {
    if *waiting_on == WaitingOn::ConfigurationRestored {
        by_hand(NOT_RESTORED, setup)
    } else {
        by_hand(&waiting_on.to_string(), setup)
    }
}

/// What the service is set to, when it is neither the stable version nor the candidate: it is not ours to judge.
pub(super) fn deployed_meanwhile(turn: &Turn<'_>, setup: &EcsNative) -> Option<Fact> {
    let set = &turn.seen.ecs.service.known()?.as_ref()?.task_definition;
    let ours = is_stable(turn, &setup.rollback_target, set)
        || Some(set) == turn.next.progress.state.ecs_native().task_definition.as_ref();
    (!ours && turn.next.progress.asked_at.is_some())
        .then(|| Fact::DeployedMeanwhile { task_definition: set.clone() })
}

/// Whether the pinned revision is there and does not run yet, so that deploying it brings the images of before. Once: what does not help the
/// first time is for a person.
pub(super) fn correct(turn: &mut Turn<'_>, setup: &EcsNative, detail: &str) -> bool {
    let runs = runs(turn);
    let state = turn.next.progress.state.ecs_native();
    let can = setup.rollback_target.pinned().is_some()
        && !state.corrected
        && state.deployment.is_some()
        && state.stable.is_some()
        && runs != state.stable.as_ref();
    if can {
        turn.saw(Fact::OtherImages { detail: detail.to_owned() });
        turn.next.progress.state.ecs_native_mut().corrected = true;
    }
    can
}

/// The task definition the service is set to.
pub(super) fn runs<'a>(turn: &Turn<'a>) -> Option<&'a TaskDefinitionArn> {
    turn.seen.ecs.service.known().and_then(Option::as_ref).map(|service| &service.task_definition)
}

/// What a person has to know and do when other images run than should.
pub(in crate::engine) fn other_images(runs: Option<&TaskDefinitionArn>, detail: &str, plan: &Plan) -> String {
    let runs = runs.map_or("the service", |arn| arn.short());
    format!(
        "{runs} is deployed to {}, and {detail}: see who or what changed it, and deploy the image that is meant by its digest",
        plan.target
    )
}

/// What stays in the ECS service of a release that ends without having restored its configuration.
pub(super) fn left_behind(
    turn: &Turn<'_>,
    setup: &EcsNative,
    before: Option<LeftBehind>,
) -> Option<LeftBehind> {
    let left = || LeftBehind {
        release: turn.old.id.clone(),
        left: Left::EcsConfiguration {
            set: setup.configuration.clone(),
            own: setup.rollback_target.configuration.clone(),
        },
    };
    match turn.seen.ecs.service.known() {
        Some(Some(service)) => {
            let present = &service.deployment_configuration;
            match before {
                _ if !configuration::holds_ours(present) => None,
                // This release never came to set its own.
                Some(before) if !configuration::is_set(&setup.configuration, present) => Some(before),
                Some(_) | None => Some(left()),
            }
        }
        Some(None) => None,
        // Used only where our hooks are found, so what may have been left is remembered.
        None => before.or_else(|| turn.next.acted_at.map(|_| left())),
    }
}

/// What a promoted release has deployed.
pub(super) fn deployed(turn: &Turn<'_>, setup: &EcsNative) -> Option<Deployed> {
    let task_definition = turn.old.progress.state.ecs_native().task_definition.clone()?;
    let images = ran(turn, &setup.candidate, &setup.rollback_target);
    Some(Deployed::Ecs(EcsDeployed { task_definition, images }))
}

/// The images a promoted release runs, by digest where that is known: those that were deployed so, and those that were seen.
pub(in crate::engine) fn ran(
    turn: &Turn<'_>,
    candidate: &DerivedRevision,
    target: &EcsRollbackTarget,
) -> BTreeMap<ContainerName, String> {
    let mut images: BTreeMap<ContainerName, String> = candidate.images.clone();
    if let (true, Some(running)) = (turn.old.intent.goes_forward(), turn.seen.ecs.running.known()) {
        for (container, before) in &target.images {
            if let Some(digest) = running.of(container).first() {
                images.entry(container.clone()).or_insert_with(|| pinned(&before.reference, digest));
            }
        }
    }
    images
}
