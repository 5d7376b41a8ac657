//! Amazon ECS shifts the traffic itself: one deployment of the service, started with its own strategy (canary, linear, blue/green, rolling)
//! and held by pause hooks of ours before every shift. Stopping it moves traffic back.

mod back;
pub mod configuration;
mod deployments;
mod forward;
pub mod ground;
pub mod pauses;
pub(in crate::engine) mod plan;
pub mod preflight;
mod restore;
pub mod running;
pub(in crate::engine) mod tasks;
mod waiting;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::change::StableImage;
use crate::engine::{Back, Engine, Move, Preflight, Settle, Traffic, Trouble, revisions};
use crate::fault::PortError;
use crate::history::{Before, Fact, WaitingOn};
use crate::ids::{ContainerName, Digest, RuleArn, TaskDefinitionArn};
use crate::intent::Deployed;
use crate::observation::{Needs, Observation, Refusal};
use crate::outcome::{Cause, Outcome};
use crate::plan::{EcsNative, EcsRollbackTarget, Plan, PlanRequest, Stage};
use crate::policy::{EcsDestination, Percent, Policy};
use crate::release::state::{self, State};
use crate::release::{Phase, Release, RollingBack, Step};
use crate::seen::Seen;
use crate::service::LeftBehind;
use crate::turn::{CLOCK_SKEW, Turn};
use crate::vocab::ecs::{RunningNeeds, StoppedNeeds, TaskDefinitionSeen};
use crate::vocab::elb;

pub use plan::compile;

pub(in crate::engine) use restore::{other_images, ran};

use running::Comparison;

/// What a rollback works with.
#[derive(Clone, Copy)]
struct Cx<'a> {
    setup: &'a EcsNative,
    plan: &'a Plan,
}

/// Looks at everything that can be known before there is a plan, and makes it.
pub(super) fn preflight(
    policy: &Policy,
    to: &EcsDestination,
    release: &Release,
    seen: &Observation,
    now: Timestamp,
) -> Preflight {
    match preflight::check(policy, to, &release.change, &release.intent, seen) {
        preflight::Verdict::Pass(ground, notes) => {
            let request =
                PlanRequest { intent: &release.intent, bypass_freeze: release.bypass_freeze.as_deref() };
            let plan = compile(policy, &release.target, &release.change, request, ground, now);
            Preflight::Pass(Box::new(plan), notes)
        }
        preflight::Verdict::Blocked(findings) => Preflight::Blocked(findings),
        preflight::Verdict::CannotSee(errors) => Preflight::CannotSee(errors),
    }
}

/// What preflight needs to see. Most of it is named by the service itself, so it is known once that has been seen. What only `ecs_shifts`
/// traffic needs is asked for then.
pub(in crate::engine) fn needs_of_preflight(
    release: &Release,
    ecs_shifts: bool,
    seen: &Observation,
    needs: &mut Needs,
) {
    needs.ecs.service = true;
    needs.ecs.deployments_since = since(release);
    let Some(Some(service)) = seen.ecs.service.known() else { return };
    if ecs_shifts {
        needs.ecs.gateway = service.kind.newest_revision.clone();
    }
    let balancers = ground::balancers(service, seen.ecs.gateway.known());
    let rules = balancers.filter_map(|balancer| balancer.production_rule.clone());
    needs.elb.add(elb::Needs { rules: Some(rules.collect()), ..elb::Needs::default() });
    needs.own_alarms = Some(configuration::watched_alarms(&service.deployment_configuration));
    needs.ecs.task_definition = Some(service.task_definition.clone());
    let deployed = release.intent.deployed().and_then(Deployed::ecs);
    needs.ecs.destination = deployed.map(|deployed| deployed.task_definition.clone());
    needs.new_images = true;
    let is_its_own = |seen: &&TaskDefinitionSeen| seen.arn == service.task_definition;
    let Some(task_definition) = seen.ecs.task_definition.known().filter(is_its_own) else { return };
    let containers = task_definition.images.keys().cloned().collect();
    needs.ecs.running = Some(RunningNeeds { service: service.clone(), containers });
    let Some(running) = seen.ecs.running.known() else { return };
    let destination = seen.ecs.destination.known().and_then(Option::as_ref);
    needs.stored.extend(running::to_look_up(&release.intent, task_definition, running, destination));
}

/// Directly before the deployment is asked for, preflight is done again: in the stage itself, and as soon as what comes before it may turn out
/// to be done, so that both can be one decision.
pub(in crate::engine) fn is_looked_at_again(release: &Release, plan: &Plan) -> bool {
    let Phase::Running { stage, step, .. } = &release.phase else { return false };
    let registers = matches!((&plan.stages[*stage], step), (Stage::Prepare { .. }, Step::Acted { .. }));
    let next = if registers { stage + 1 } else { *stage };
    release.progress.asked_at.is_none() && plan.stages.get(next) == Some(&Stage::Start)
}

/// What preflight needs to see, when it is done again: what the plan expects of it is asked for beside the service.
pub(in crate::engine) fn needs_of_preflight_again(
    release: &Release,
    ecs_shifts: bool,
    target: &EcsRollbackTarget,
    seen: &Observation,
    needs: &mut Needs,
) {
    needs.ecs.task_definition = Some(target.task_definition.clone());
    needs.new_images = true;
    needs.stored = target.images.values().filter_map(StableImage::pinned).collect();
    needs_of_preflight(release, ecs_shifts, seen, needs);
}

fn of_the_service(task_definition: TaskDefinitionArn) -> StoppedNeeds {
    StoppedNeeds { of: None, task_definition }
}

/// Since when deployments may be the release's own.
pub(in crate::engine) fn since(release: &Release) -> Option<Timestamp> {
    release.progress.started_at.map(|at| at.saturating_sub(CLOCK_SKEW).unwrap_or(at))
}

impl EcsNative {
    fn cx<'a>(&'a self, plan: &'a Plan) -> Cx<'a> {
        Cx { setup: self, plan }
    }

    /// The digests that run, of the containers that matter to the plan; known once the service has been seen.
    fn running(&self, seen: &Observation) -> Option<RunningNeeds> {
        let service = seen.ecs.service.known()?.clone()?;
        let containers = self.rollback_target.images.keys().chain(self.candidate.images.keys());
        Some(RunningNeeds { service, containers: containers.cloned().collect() })
    }
}

impl Engine for EcsNative {
    fn begin(&self, release: &Release, plan: &Plan) -> State {
        let deployed = release.intent.deployed().and_then(Deployed::ecs).filter(|_| !plan::registers(plan));
        let task_definition = deployed.map(|deployed| deployed.task_definition.clone());
        State::EcsNative(state::EcsNative { task_definition, ..state::EcsNative::default() })
    }

    fn needs(&self, release: &Release, plan: &Plan, seen: &Observation, needs: &mut Needs) {
        needs.ecs.service = true;
        needs.ecs.deployments_since = since(release);
        needs.elb.rules = Some(self.rollback_target.weights.iter().map(|rule| rule.arn.clone()).collect());
        match &release.phase {
            Phase::Running { .. } => {
                needs.ecs.revision = revisions::registered(release, &self.rollback_target, &self.candidate);
                needs.ecs.stopped_tasks = tasks::needed(
                    release,
                    plan,
                    release.progress.state.ecs_native().task_definition.as_ref(),
                )
                .map(of_the_service);
                if is_looked_at_again(release, plan) {
                    // Nothing of the candidate has been started that could have stopped.
                    needs.ecs.stopped_tasks = None;
                    needs_of_preflight_again(release, plan.is_held(), &self.rollback_target, seen, needs);
                }
            }
            Phase::RollingBack(_) | Phase::Settling { .. } => {
                needs.ecs.revision = back::sought(release, self);
                needs.ecs.stopped_tasks =
                    back::brought_back(release, plan, self).cloned().map(of_the_service);
                if seen.ecs.service != Seen::NotAsked {
                    // What was never changed runs as it did.
                    needs.ecs.running = release.progress.asked_at.and_then(|_| self.running(seen));
                    needs.stored = back::images_brought_back(release, plan, self);
                }
            }
            Phase::Queued | Phase::Preparing { .. } | Phase::Ended { .. } => {}
        }
    }

    fn is_measured(&self) -> bool {
        !self.measured_at.is_empty()
    }

    fn share_needs(&self) -> Needs {
        let rules = self.measured_at.iter().map(|(rule, _)| rule.clone()).collect::<BTreeSet<RuleArn>>();
        let elb = elb::Needs { rules: (!rules.is_empty()).then_some(rules), ..elb::Needs::default() };
        Needs { elb, ..Needs::default() }
    }

    fn share_unseen<'s>(&self, seen: &'s Observation) -> Option<&'s PortError> {
        seen.elb.weights.error()
    }

    fn measured(&self, _release: &Release, seen: &Observation) -> Option<Percent> {
        seen.elb.weights.known().and_then(|rules| plan::measured(self, rules))
    }

    fn traffic(&self, _release: &Release, seen: &Observation, share: Percent) -> Traffic {
        weights::compare(self, seen, share)
    }

    fn started_at(&self, turn: &Turn<'_>) -> Option<Timestamp> {
        deployments::ours(turn).map(|ours| ours.created_at)
    }

    fn learn(&self, turn: &mut Turn<'_>, plan: &Plan) {
        let candidate = turn.old.progress.state.ecs_native().task_definition.clone();
        let began = deployments::ours(turn).map(|ours| ours.created_at);
        tasks::count(turn, plan, candidate.as_ref(), began);
    }

    fn is_void(&self, turn: &Turn<'_>, refusal: &Refusal) -> bool {
        forward::is_void(turn, refusal)
    }

    fn watch(&self, turn: &Turn<'_>, plan: &Plan, stage: usize, since: Timestamp) -> Option<Trouble> {
        // Before anything was asked for there is nothing to give way with: the look before the start sees what became of it.
        if turn.next.progress.asked_at.is_some()
            && let Some(foreign) = deployments::external(turn)
        {
            let brings = forward::described(foreign);
            return Some(Trouble::Yield(format!("deployment {} of {brings}", foreign.arn.short())));
        }
        if let Some(cause) = forward::ended(turn) {
            return Some(Trouble::Fail(cause));
        }
        let drift = weights::drifted(turn, self, plan, stage, since);
        drift.map(|detail| Trouble::Fail(Cause::Weights { detail }))
    }

    fn repair(&self, _turn: &mut Turn<'_>) -> Option<Move> {
        // Amazon ECS sets the weights here, so whatever differs is for a rollback.
        None
    }

    fn unclear(&self, turn: &mut Turn<'_>) -> Option<WaitingOn> {
        let unknown = deployments::undescribed(turn)?;
        turn.note(Fact::NotDescribed { deployment: unknown.arn.clone() });
        Some(WaitingOn::Description { before: Before::NextStep })
    }

    fn step(&self, turn: &mut Turn<'_>, plan: &Plan, stage: usize, since: Timestamp, step: &Step) -> Move {
        forward::step(turn, forward::At { setup: self, plan, since, step }, &plan.stages[stage])
    }

    fn begin_rollback(&self, turn: &mut Turn<'_>) {
        turn.next.progress.state.ecs_native_mut().back = state::EcsNativeBack::default();
    }

    fn roll_back(&self, turn: &mut Turn<'_>, plan: &Plan, back: &RollingBack) -> Back {
        back::roll_back(turn, self.cx(plan), back.since)
    }

    fn has_another_way(&self, turn: &mut Turn<'_>) -> bool {
        back::note_refused(turn)
    }

    fn roll_back_by_hand(&self, turn: &Turn<'_>, plan: &Plan) -> String {
        back::by_hand(turn, self.cx(plan))
    }

    fn settle(
        &self,
        turn: &mut Turn<'_>,
        plan: &Plan,
        outcome: &Outcome,
        late: bool,
        since: Timestamp,
    ) -> Settle {
        restore::settle(turn, self.cx(plan), restore::End { outcome, late, since })
    }

    fn settle_by_hand(&self, waiting_on: &WaitingOn) -> String {
        restore::settle_by_hand(self, waiting_on)
    }

    fn deployed_meanwhile(&self, turn: &Turn<'_>) -> Option<Fact> {
        restore::deployed_meanwhile(turn, self)
    }

    fn compare_images(&self, turn: &Turn<'_>, plan: &Plan, promoted: bool) -> Comparison {
        let expected = if promoted { plan.expected() } else { self.rollback_target.digests() };
        compared(turn, &expected)
    }

    fn correct(&self, turn: &mut Turn<'_>, detail: &str) -> bool {
        restore::correct(turn, self, detail)
    }

    fn other_images(&self, turn: &Turn<'_>, plan: &Plan, detail: &str) -> String {
        restore::other_images(restore::runs(turn), detail, plan)
    }

    fn left_behind(&self, turn: &Turn<'_>, before: Option<LeftBehind>) -> Option<LeftBehind> {
        restore::left_behind(turn, self, before)
    }

    fn deployed(&self, turn: &Turn<'_>) -> Option<Deployed> {
        restore::deployed(turn, self)
    }
}

/// What the images that run are, compared with those that should. Nothing runs that could be compared when no task is wanted, and
/// what was never changed is as it was.
pub(in crate::engine) fn compared(
    turn: &Turn<'_>,
    expected: &BTreeMap<ContainerName, Vec<Digest>>,
) -> Comparison {
    let idle = matches!(turn.seen.ecs.service.known(), Some(Some(service)) if service.desired == 0);
    if idle || turn.old.progress.asked_at.is_none() {
        return Comparison::Same;
    }
    match &turn.seen.ecs.running {
        Seen::Known(running) => running::compare(expected, running),
        Seen::Unknown(error) => {
            Comparison::Unknown(format!("the images that run could not be seen: {error}"))
        }
        Seen::NotAsked => Comparison::Unknown("the images that run have not been looked at yet".into()),
    }
}
