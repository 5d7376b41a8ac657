//! The end: the service's own configuration is restored, stale executors are waited out, and only what is then seen counts.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Decision, LOOK_SOON, compared, rollback,
    turn::Turn,
    weights::{self, DRIFT_TOLERANCE, Weights},
};
use crate::configuration;
use crate::effect::{Effect, RETRY_AFTER, SETTLE};
use crate::history::{Before, Event, Fact, Missing, Unseen, WaitingOn};
use crate::ids::{ContainerName, HookId, TaskDefinitionArn};
use crate::intent::{Intent, Request};
use crate::observation::{DeploymentSeen, ServiceSeen};
use crate::outcome::{Cause, Outcome, Successor};
use crate::pauses::{Pauses, Whose};
use crate::plan::Plan;
use crate::reference::pinned;
use crate::release::{Phase, Release};
use crate::running::Comparison;
use crate::service::{LeftBehind, Promoted, Quarantined, ServiceRecord};

/// How long settling may take before a person is called.
pub(super) const LIMIT: SignedDuration = SignedDuration::from_mins(30);

/// Goes into settling.
pub(super) fn begin(mut turn: Turn<'_>, outcome: Outcome) -> Decision {
    // With a load balancer the moment the traffic was back was measured; without one it is this.
    let unmeasured = turn.old.plan.as_ref().is_some_and(|plan| plan.measured_at.is_empty());
    let restored_at = turn
        .next
        .phase
        .rolling_back()
        .and_then(|back| back.restored_at.or_else(|| unmeasured.then_some(turn.seen.at)));
    let since = turn.now;
    turn.tell(Event::Settling { outcome: Box::new(outcome.clone()) });
    turn.enter(Phase::Settling { outcome, since, restored_at });
    settling(turn)
}

/// Someone else deployed: nothing is fought over, only our own traces are removed.
pub(super) fn interfered(mut turn: Turn<'_>, detail: String) -> Decision {
    let cause = Cause::ExternalDeployment { detail };
    turn.tell(Event::GivingWay { cause: Box::new(cause.clone()) });
    let needs = "see who deployed and whether what runs now is meant to; then release again".to_owned();
    begin(turn, Outcome::Failed { cause, needs })
}

/// One step further to the end.
pub(super) fn settling(mut turn: Turn<'_>) -> Decision {
    let Phase::Settling { outcome, since, restored_at } = turn.next.phase.clone() else {
        return turn.unchanged();
    };
    let Some(plan) = turn.old.plan.as_ref() else {
        return end(turn, outcome, restored_at);
    };
    if outcome == Outcome::Promoted
        && let Some(cause) = asked_back(turn.old.request.as_ref())
    {
        return rollback::begin(turn, cause, None);
    }
    if turn.next.progress.asked_at.is_none() {
        // Nothing of the service was changed: whatever it is by now is not ours to restore.
        return wait_out(turn, plan, since, outcome, restored_at);
    }
    let gives_way = matches!(&outcome, Outcome::Failed { cause: Cause::ExternalDeployment { .. }, .. });
    if outcome != Outcome::Promoted
        && !gives_way
        && (turn.next.progress.deployment.is_none() || !is_failed(&outcome))
        && let Some(ours) = turn.our_deployment()
        && !ours.status.is_over()
    {
        let detail = format!("deployment {} started after all", ours.arn.short());
        return rollback::begin(turn, back_to_cause(outcome, detail), None);
    }
    let (Some(Some(service)), Some(_)) = (turn.seen.service.known(), turn.seen.deployments.known()) else {
        return past_limit(turn, since, outcome, restored_at, WaitingOn::Look { unseen: Unseen::Service });
    };
    if let Some(unknown) = turn.undescribed_deployment() {
        turn.note(Fact::NotDescribed { deployment: unknown.arn.clone() });
        return turn.wait(RETRY_AFTER, WaitingOn::Description { before: Before::End });
    }
    // After a rollback, a deployment of the stable version is the rollback, or does the same.
    let is_back = |foreign: &DeploymentSeen| {
        foreign.task_definition.as_ref().is_some_and(|arn| turn.next.is_stable(arn))
    };
    let foreign = turn
        .external_deployment()
        .filter(|foreign| gives_way || outcome == Outcome::Promoted || !is_back(foreign));
    if gives_way
        && foreign.is_none()
        && let Some(ours) = turn.our_deployment()
        && !ours.status.is_over()
        && turn.now.duration_since(since) < LIMIT
    {
        return withdraw(turn, ours);
    }
    if let Some(foreign) = foreign {
        let theirs = &service.deployment_configuration;
        for hook in our_pauses(foreign, theirs, turn.seen.at) {
            turn.act(Effect::ContinueHook { deployment: foreign.arn.clone(), hook });
        }
        if !turn.effects.is_empty() {
            turn.tell(Event::ReleasingOtherDeployment);
        }
        let is_ours = configuration::holds_ours(theirs) || configuration::is_set(&plan.configuration, theirs);
        if is_ours && !foreign.status.is_over() && turn.now.duration_since(since) < LIMIT {
            return turn.wait(LOOK_SOON, WaitingOn::OtherDeployment);
        }
        if !is_ours && !configuration::is_set(&plan.rollback_target.configuration, theirs) {
            turn.note(Fact::ConfigurationIsTheirs);
            return see_traffic(turn, plan, since, outcome, restored_at);
        }
    }
    let own = restored_configuration(plan, service, &outcome);
    if !configuration::is_set(&own, &service.deployment_configuration) {
        return put_back(turn, plan, service, own, (since, outcome, restored_at));
    }
    see_traffic(turn, plan, since, outcome, restored_at)
}

/// Ends when traffic is seen where the outcome says it is. Nothing is promoted, and nothing is rolled back, on the word of a deployment alone.
fn see_traffic(
    turn: Turn<'_>,
    plan: &Plan,
    since: Timestamp,
    outcome: Outcome,
    restored_at: Option<Timestamp>,
) -> Decision {
    if is_failed(&outcome) {
        return wait_out(turn, plan, since, outcome, restored_at);
    }
    let promoted = outcome == Outcome::Promoted;
    match weights::at_the_end(&turn, plan, promoted) {
        Weights::AsSet => wait_out(turn, plan, since, outcome, restored_at),
        Weights::Unseen(why) => {
            let detail = Missing::Weights { why }.to_string();
            past_limit(turn, since, outcome.clone(), restored_at, traffic(outcome, detail))
        }
        Weights::Differ(detail) => match turn.external_deployment().filter(|_| promoted) {
            Some(foreign) => {
                let detail = format!("deployment {} took over: {detail}", foreign.arn.short());
                interfered(turn, detail)
            }
            None if promoted && turn.now.duration_since(since) >= DRIFT_TOLERANCE => {
                rollback::begin(turn, Cause::Weights { detail }, None)
            }
            None => past_limit(turn, since, outcome.clone(), restored_at, traffic(outcome, detail)),
        },
    }
}

fn traffic(outcome: Outcome, detail: String) -> WaitingOn {
    WaitingOn::Traffic { outcome: Box::new(outcome), detail }
}

/// A person's word still counts while a promoted release settles. A newer release only waits: its turn comes next.
fn asked_back(request: Option<&Request>) -> Option<Cause> {
    match request? {
        Request::Rollback { by, why } => Some(Cause::Requested { by: by.clone(), why: why.clone() }),
        Request::Cancel { by, why } => Some(Cause::CancelRequested { by: by.clone(), why: why.clone() }),
        Request::Supersede { .. } => None,
    }
}

/// Our deployment began after the other one, from a decision made before that one was seen: it is taken back.
fn withdraw(mut turn: Turn<'_>, ours: &DeploymentSeen) -> Decision {
    let due = turn.next.acted_at.is_none_or(|at| turn.now.duration_since(at) >= RETRY_AFTER);
    if !ours.status.is_rollback() && due {
        turn.act(Effect::StopDeployment { deployment: ours.arn.clone() });
        turn.tell(Event::Withdrawing);
    }
    turn.wait(RETRY_AFTER, WaitingOn::Withdrawal)
}

fn is_failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { .. })
}

fn back_to_cause(outcome: Outcome, detail: String) -> Cause {
    match outcome {
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => cause,
        Outcome::Cancelled { by, why } => Cause::CancelRequested { by, why },
        Outcome::Superseded { by: Successor::Release(release) } => Cause::Newer { release },
        Outcome::Superseded { by: Successor::Policy } => Cause::Deployment { reason: detail },
        Outcome::Promoted => Cause::Deployment { reason: detail },
    }
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
fn restored_configuration(plan: &Plan, service: &ServiceSeen, outcome: &Outcome) -> Value {
    let mut set = vec![plan.configuration.clone()];
    if *outcome != Outcome::Promoted {
        set.push(plan.returning());
    }
    configuration::restored(&service.deployment_configuration, &set, &plan.rollback_target.configuration)
}

fn put_back(
    mut turn: Turn<'_>,
    plan: &Plan,
    service: &ServiceSeen,
    own: Value,
    (since, outcome, restored_at): (Timestamp, Outcome, Option<Timestamp>),
) -> Decision {
    if turn.now.duration_since(since) >= LIMIT {
        // What was promoted stays promoted: that the configuration is still ours says nothing about the version.
        if outcome == Outcome::Promoted {
            turn.next.progress.restore_pending = Some(by_hand(NOT_RESTORED, plan));
            return see_traffic(turn, plan, since, outcome, restored_at);
        }
        return past_limit(turn, since, outcome, restored_at, WaitingOn::ConfigurationRestored);
    }
    turn.note_refusals();
    let first = turn.old.phase != turn.next.phase;
    let due = first || turn.next.acted_at.is_none_or(|at| turn.now.duration_since(at) >= RETRY_AFTER);
    if due {
        let strategy = service.deployment_configuration["strategy"].as_str().unwrap_or("ROLLING").to_owned();
        turn.saw(Fact::ConfigurationIsOurs { strategy });
        turn.act(Effect::RestoreConfiguration { target: plan.target.clone(), configuration: own });
        turn.tell(Event::RestoringConfiguration);
    }
    turn.wait(RETRY_AFTER, WaitingOn::ConfigurationRestored)
}

/// Ends once a stale executor can no longer act and what is seen was seen after that.
fn wait_out(
    turn: Turn<'_>,
    plan: &Plan,
    since: Timestamp,
    outcome: Outcome,
    restored_at: Option<Timestamp>,
) -> Decision {
    let safe = turn.next.acted_at.map(|at| at.saturating_add(SETTLE).unwrap_or(at));
    match safe {
        Some(safe) if turn.seen.at < safe => turn.wait_until(safe, WaitingOn::InFlightCalls { until: safe }),
        Some(_) | None => last_look(turn, plan, since, outcome, restored_at),
    }
}

/// What a release ends as is what was seen to run, image by image.
fn last_look(
    mut turn: Turn<'_>,
    plan: &Plan,
    since: Timestamp,
    outcome: Outcome,
    restored_at: Option<Timestamp>,
) -> Decision {
    let expected = match &outcome {
        Outcome::Promoted => plan.expected(),
        Outcome::RolledBack { .. } | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => {
            plan.rollback_target.digests()
        }
        // A person looks anyway.
        Outcome::Failed { .. } => return end(turn, outcome, restored_at),
    };
    if let Some(other) = somebody_elses(&turn) {
        turn.saw(Fact::DeployedMeanwhile { task_definition: other });
        return end(turn, outcome, restored_at);
    }
    let detail = match compared(turn.old, turn.seen, &expected) {
        Comparison::Same => return end(turn, outcome, restored_at),
        Comparison::Unknown(why) if turn.now.duration_since(since) < LIMIT => {
            return turn.wait(LOOK_SOON, WaitingOn::Images { detail: why });
        }
        Comparison::Differs(detail) if turn.seen.at.duration_since(since) < rollback::LAG => {
            return turn.wait(RETRY_AFTER, WaitingOn::Images { detail });
        }
        Comparison::Unknown(detail) | Comparison::Differs(detail) => detail,
    };
    if outcome != Outcome::Promoted && can_be_pinned(&turn, plan) {
        turn.saw(Fact::OtherImages { detail: detail.clone() });
        // Once: what does not help the first time is for a person.
        turn.next.progress.corrected = true;
        return rollback::begin(turn, back_to_cause(outcome, detail), None);
    }
    let runs = turn.seen.service.known().and_then(Option::as_ref).map(|service| &service.task_definition);
    let needs = other_images(runs, &detail, plan);
    let cause = match outcome {
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => cause,
        Outcome::Promoted | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => {
            Cause::Images { detail }
        }
    };
    end(turn, Outcome::Failed { cause, needs }, restored_at)
}

/// What the service is set to, when it is neither the stable version nor the candidate: it is not ours to judge.
fn somebody_elses(turn: &Turn<'_>) -> Option<TaskDefinitionArn> {
    let set = &turn.seen.service.known()?.as_ref()?.task_definition;
    let ours = turn.next.is_stable(set) || Some(set) == turn.next.progress.task_definition.as_ref();
    (!ours && turn.next.progress.asked_at.is_some()).then(|| set.clone())
}

/// Whether the pinned revision is there and does not run yet, so that deploying it brings the images of before.
fn can_be_pinned(turn: &Turn<'_>, plan: &Plan) -> bool {
    let runs = turn.seen.service.known().and_then(Option::as_ref).map(|service| &service.task_definition);
    let pinned = turn.next.progress.stable.as_ref();
    plan.rollback_target.pinned().is_some()
        && !turn.next.progress.corrected
        && turn.next.progress.deployment.is_some()
        && pinned.is_some()
        && runs != pinned
}

/// What a person has to know and do when other images run than should.
pub(super) fn other_images(runs: Option<&TaskDefinitionArn>, detail: &str, plan: &Plan) -> String {
    let runs = runs.map_or("the service", |arn| arn.short());
    format!(
        "{runs} is deployed to {}, and {detail}: see who or what changed it, and deploy the image that is meant by its digest",
        plan.target
    )
}

fn past_limit(
    turn: Turn<'_>,
    since: Timestamp,
    outcome: Outcome,
    restored_at: Option<Timestamp>,
    waiting_on: WaitingOn,
) -> Decision {
    if turn.now.duration_since(since) < LIMIT {
        return turn.wait(LOOK_SOON, waiting_on);
    }
    let what = if waiting_on == WaitingOn::ConfigurationRestored {
        NOT_RESTORED.to_owned()
    } else {
        waiting_on.to_string()
    };
    let cause = Cause::TimedOut {
        stage: format!("settling, to be {}", outcome.word()),
        limit_secs: LIMIT.as_secs().unsigned_abs(),
    };
    let cause = match outcome {
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => cause,
        Outcome::Promoted | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => cause,
    };
    let needs = turn.old.plan.as_ref().map_or_else(|| what.clone(), |plan| by_hand(&what, plan));
    end(turn, Outcome::Failed { cause, needs }, restored_at)
}

const NOT_RESTORED: &str = "the deployment configuration could not be restored";

/// What a person has to do about a configuration that is still ours.
fn by_hand(what: &str, plan: &Plan) -> String {
    let configuration = &plan.rollback_target.configuration;
    format!(
        "{what}: see that the load balancer sends all traffic to one version, and restore the service's deploymentConfiguration by hand: {configuration}"
    )
}

/// Ends the release and frees the service for the next.
pub(super) fn end(mut turn: Turn<'_>, outcome: Outcome, restored_at: Option<Timestamp>) -> Decision {
    let Some(head) = &turn.seen.head else {
        // It has not ended yet. What led here has happened and stays told.
        return turn.wait(LOOK_SOON, WaitingOn::Look { unseen: Unseen::ServiceRecord });
    };
    let mut head = ServiceRecord { version: head.version + 1, ..head.clone() };
    if head.active.as_ref() == Some(&turn.old.id) {
        head.active = None;
        head.open = None;
    }
    remember(&mut head, &turn, &outcome);
    if let Some(plan) = &turn.old.plan {
        head.left_behind = left_behind(&turn, plan, head.left_behind);
    }
    let restore_pending = turn.next.progress.restore_pending.clone().filter(|_| outcome == Outcome::Promoted);
    turn.conclude(Event::Ended { outcome: Box::new(outcome.clone()), restore_pending });
    turn.head = Some(head);
    let at = turn.now;
    turn.enter(Phase::Ended { outcome, at, restored_at });
    turn.over()
}

/// What stays in the ECS service of a release that ends without having restored its configuration.
fn left_behind(turn: &Turn<'_>, plan: &Plan, before: Option<LeftBehind>) -> Option<LeftBehind> {
    let left = || LeftBehind {
        release: turn.old.id.clone(),
        set: plan.configuration.clone(),
        own: plan.rollback_target.configuration.clone(),
    };
    match turn.seen.service.known() {
        Some(Some(service)) => {
            let present = &service.deployment_configuration;
            match before {
                _ if !configuration::holds_ours(present) => None,
                // This release never came to set its own.
                Some(before) if !configuration::is_set(&plan.configuration, present) => Some(before),
                Some(_) | None => Some(left()),
            }
        }
        Some(None) => None,
        // Used only where our hooks are found, so what may have been left is remembered.
        None => before.or_else(|| turn.next.acted_at.map(|_| left())),
    }
}

/// What the service keeps of a release that ended: where to go back to, and what not to release again.
fn remember(head: &mut ServiceRecord, turn: &Turn<'_>, outcome: &Outcome) {
    let release = turn.old;
    match outcome {
        Outcome::Promoted => {
            if let Some(task_definition) = release.progress.task_definition.clone() {
                let promoted = Promoted {
                    release: release.id.clone(),
                    image: release.image.clone(),
                    task_definition,
                    images: release.plan.as_ref().map(|plan| ran(plan, release, turn)).unwrap_or_default(),
                    at: turn.now,
                };
                head.promoted.insert(0, promoted);
                head.promoted.truncate(ServiceRecord::PROMOTED_KEPT);
            }
        }
        // What is gone back to was good before; that going back did not work says nothing against it.
        Outcome::RolledBack { .. } if release.intent != Intent::Deploy => {}
        // A person has to end the rollback; the digest is no better for that.
        Outcome::Failed { cause, .. } if !speaks_against_image(cause) || release.intent != Intent::Deploy => {
        }
        Outcome::RolledBack { cause } | Outcome::Failed { cause, .. } => {
            let entry = Quarantined { release: release.id.clone(), why: cause.to_string(), at: turn.now };
            head.quarantine.insert(release.image.digest.clone(), entry);
            while head.quarantine.len() > ServiceRecord::QUARANTINE_KEPT {
                let oldest = head
                    .quarantine
                    .iter()
                    .min_by_key(|(_, entry)| entry.at)
                    .map(|(digest, _)| digest.clone());
                let Some(oldest) = oldest else { break };
                head.quarantine.remove(&oldest);
            }
        }
        Outcome::Superseded { .. } | Outcome::Cancelled { .. } => {}
    }
}

/// The images a promoted release runs, by digest where that is known: those that were deployed so, and those that were seen.
fn ran(plan: &Plan, release: &Release, turn: &Turn<'_>) -> BTreeMap<ContainerName, String> {
    let mut images = plan.candidate.images.clone();
    if let (Intent::Deploy, Some(running)) = (&release.intent, turn.seen.running.known()) {
        for (container, before) in &plan.rollback_target.images {
            if let Some(digest) = running.of(container).first() {
                images.entry(container.clone()).or_insert_with(|| pinned(&before.reference, digest));
            }
        }
    }
    images
}

/// Whether a failure for this cause is one of what was released, rather than of how or where.
fn speaks_against_image(cause: &Cause) -> bool {
    match cause {
        Cause::Alarm { .. }
        | Cause::Deployment { .. }
        | Cause::FailedTasks { .. }
        | Cause::Requested { .. }
        | Cause::Rejected { .. }
        | Cause::Gate { .. } => true,
        Cause::CancelRequested { .. }
        | Cause::Newer { .. }
        | Cause::Refused { .. }
        | Cause::Inconclusive { .. }
        | Cause::TimedOut { .. }
        | Cause::Weights { .. }
        | Cause::Preflight { .. }
        | Cause::ExternalDeployment { .. }
        | Cause::Images { .. } => false,
    }
}
