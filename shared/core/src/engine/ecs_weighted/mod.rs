//! Weights of our own: a second, small ECS service carries the candidate, and Tidegate moves the traffic to it in any steps. The service
//! itself is not touched before the candidate has carried everything; until then rolling back is one call for each rule.

mod back;
mod fleet;
mod forward;
mod plan;

use jiff::{SignedDuration, Timestamp};

use super::ecs_native::{self, plan as native, running::Comparison, tasks};
use crate::engine::{Back, Engine, Move, Settle, Traffic, Trouble, revisions};
use crate::fault::PortError;
use crate::history::{Fact, WaitingOn};
use crate::ids::{EcsServiceName, RuleArn, TaskDefinitionArn};
use crate::intent::{Deployed, EcsDeployed};
use crate::observation::{Needs, Observation, Refusal};
use crate::outcome::Outcome;
use crate::plan::{EcsWeighted, Plan, Preparation, Stage};
use crate::policy::{EcsDestination, Percent};
use crate::release::state::{self, State};
use crate::release::{Phase, Release, RollingBack, Step};
use crate::service::LeftBehind;
use crate::turn::{LAG, Turn};
use crate::vocab::ecs::{RunningNeeds, ServiceSeen, StoppedNeeds};
use crate::vocab::elb;

pub(super) use plan::preflight;

/// How often weights that something else has changed are set again, before the release is rolled back.
const REPAIRS_MAX: u32 = 3;
/// How long requests of the candidate may take to end once its share is zero: nobody documents when a change of weights has reached every
/// node of a load balancer, and tasks that were taken away too early have been seen to answer 503.
const DRAIN: SignedDuration = SignedDuration::from_secs(120);

/// What preflight needs to see beside what every ECS service shows.
pub(super) fn needs_of_preflight(to: &EcsDestination, release: &Release, needs: &mut Needs) {
    needs.ecs.source = true;
    needs.ecs.canary = Some(canary_name(&to.service, release));
    needs.autoscaling.target = true;
    if let Some(canary) = &to.canary {
        let groups = canary.target_group.iter().cloned().collect();
        needs.elb.add(elb::Needs {
            rules: Some(canary.rules.iter().cloned().collect()),
            health: canary.target_group.iter().cloned().collect(),
            groups,
        });
    }
}

/// The name of the second service: the service's own with the release's, so that none is ever taken for another release's.
fn canary_name(service: &EcsServiceName, release: &Release) -> EcsServiceName {
    const MOST: usize = 255;
    let suffix = format!("-canary-{}", release.id.short());
    let name: String = service.as_str().chars().take(MOST - suffix.len()).collect();
    EcsServiceName::new(format!("{name}{suffix}")).unwrap_or_else(|_| service.clone())
}

impl EcsWeighted {
    fn state<'t>(turn: &'t Turn<'_>) -> &'t state::EcsWeighted {
        turn.next.progress.state.ecs_weighted()
    }

    /// Whether this revision is the stable version.
    fn is_stable(&self, release: &Release, arn: &TaskDefinitionArn) -> bool {
        *arn == self.rollback_target.task_definition
            || Some(arn) == release.progress.state.ecs_weighted().stable.as_ref()
    }

    /// The revision a rollback deploys: the one that ran, or the same document with every image by its digest.
    fn rollback_revision<'t>(&'t self, release: &'t Release) -> &'t TaskDefinitionArn {
        release.progress.state.ecs_weighted().stable.as_ref().unwrap_or(&self.rollback_target.task_definition)
    }

    fn rules(&self) -> impl Iterator<Item = &RuleArn> {
        self.rollback_target.weights.iter().map(|rule| &rule.arn)
    }

    /// The share that the new version has by now: all of it, and at home, once the service itself runs it.
    fn expected(release: &Release) -> Option<Percent> {
        let state = release.progress.state.ecs_weighted();
        state
            .home_at
            .map(|_| Percent::ALL)
            .or_else(|| release.progress.set.filter(|_| state.set_at.is_some()))
    }
}

/// The service itself, when it was seen to be there.
fn service<'t>(turn: &Turn<'t>) -> Option<&'t ServiceSeen> {
    turn.seen.ecs.service.known()?.as_ref()
}

impl Engine for EcsWeighted {
    fn begin(&self, release: &Release, plan: &Plan) -> State {
        let registered = !plan.stages.contains(&Stage::Prepare { what: Preparation::Candidate });
        let deployed = release.intent.deployed().and_then(Deployed::ecs).filter(|_| registered);
        let task_definition = deployed.map(|deployed| deployed.task_definition.clone());
        State::EcsWeighted(state::EcsWeighted { task_definition, ..state::EcsWeighted::default() })
    }

    fn needs(&self, release: &Release, plan: &Plan, seen: &Observation, needs: &mut Needs) {
        needs.ecs.service = true;
        needs.ecs.deployments_since = ecs_native::since(release);
        needs.ecs.canary = Some(self.canary.clone());
        needs.elb.add(elb::Needs {
            rules: Some(self.rules().cloned().collect()),
            health: self
                .groups
                .iter()
                .flat_map(|groups| [groups.stable.clone(), groups.canary.clone()])
                .collect(),
            groups: Default::default(),
        });
        needs.autoscaling.target = self.suspended.is_some();
        match &release.phase {
            Phase::Running { .. } => {
                needs.ecs.revision = revisions::registered(release, &self.rollback_target, &self.candidate);
                let candidate = release.progress.state.ecs_weighted().task_definition.as_ref();
                let of = Some(self.canary.clone());
                needs.ecs.stopped_tasks = tasks::needed(release, plan, candidate)
                    .map(|task_definition| StoppedNeeds { of, task_definition });
                if ecs_native::is_looked_at_again(release, plan) {
                    needs.ecs.stopped_tasks = None;
                    ecs_native::needs_of_preflight_again(release, false, &self.rollback_target, seen, needs);
                }
            }
            Phase::RollingBack(_) | Phase::Settling { .. } => {
                if let Some(Some(service)) = seen.ecs.service.known() {
                    let containers = self.rollback_target.images.keys().chain(self.candidate.images.keys());
                    let containers = containers.cloned().collect();
                    needs.ecs.running = Some(RunningNeeds { service: service.clone(), containers });
                }
            }
            Phase::Queued | Phase::Preparing { .. } | Phase::Ended { .. } => {}
        }
    }

    fn is_measured(&self) -> bool {
        self.groups.is_some()
    }

    fn share_needs(&self) -> Needs {
        let rules = self.groups.as_ref().map(|_| self.rules().cloned().collect());
        Needs { elb: elb::Needs { rules, ..elb::Needs::default() }, ..Needs::default() }
    }

    fn share_unseen<'s>(&self, seen: &'s Observation) -> Option<&'s PortError> {
        seen.elb.weights.error()
    }

    fn measured(&self, release: &Release, seen: &Observation) -> Option<Percent> {
        let groups = self.groups.as_ref()?;
        let rules = seen.elb.weights.known()?;
        // Its target group carries nothing any more because the service itself runs the new version.
        if release.progress.state.ecs_weighted().home_at.is_some()
            && release.progress.set == Some(Percent::ALL)
        {
            return Some(Percent::ALL);
        }
        let share = |rule: &RuleArn| rules.iter().find(|seen| seen.arn == *rule)?.share(&groups.canary);
        self.rules().map(share).collect::<Option<Vec<Percent>>>()?.into_iter().max()
    }

    fn traffic(&self, release: &Release, seen: &Observation, share: Percent) -> Traffic {
        fleet::traffic(self, release, seen, share)
    }

    fn started_at(&self, turn: &Turn<'_>) -> Option<Timestamp> {
        turn.old.progress.asked_at
    }

    fn learn(&self, turn: &mut Turn<'_>, plan: &Plan) {
        let candidate = turn.old.progress.state.ecs_weighted().task_definition.clone();
        let began = turn.old.progress.asked_at;
        tasks::count(turn, plan, candidate.as_ref(), began);
    }

    fn is_void(&self, _turn: &Turn<'_>, _refusal: &Refusal) -> bool {
        false
    }

    fn watch(&self, turn: &Turn<'_>, _plan: &Plan, _stage: usize, _since: Timestamp) -> Option<Trouble> {
        turn.next.progress.asked_at?;
        fleet::watch(self, turn)
    }

    fn repair(&self, turn: &mut Turn<'_>) -> Option<Move> {
        fleet::repair(self, turn)
    }

    fn unclear(&self, _turn: &mut Turn<'_>) -> Option<WaitingOn> {
        None
    }

    fn step(&self, turn: &mut Turn<'_>, plan: &Plan, stage: usize, since: Timestamp, step: &Step) -> Move {
        forward::step(turn, forward::At { setup: self, plan, since, step }, &plan.stages[stage])
    }

    fn begin_rollback(&self, _turn: &mut Turn<'_>) {}

    fn roll_back(&self, turn: &mut Turn<'_>, _plan: &Plan, _back: &RollingBack) -> Back {
        back::roll_back(turn, self)
    }

    fn has_another_way(&self, _turn: &mut Turn<'_>) -> bool {
        false
    }

    fn roll_back_by_hand(&self, turn: &Turn<'_>, plan: &Plan) -> String {
        back::by_hand(turn, self, plan)
    }

    fn settle(
        &self,
        turn: &mut Turn<'_>,
        _plan: &Plan,
        outcome: &Outcome,
        late: bool,
        _since: Timestamp,
    ) -> Settle {
        back::settle(turn, self, outcome, late)
    }

    fn settle_by_hand(&self, waiting_on: &WaitingOn) -> String {
        back::settle_by_hand(self, waiting_on)
    }

    fn deployed_meanwhile(&self, turn: &Turn<'_>) -> Option<Fact> {
        let set = &service(turn)?.task_definition;
        let ours = self.is_stable(&turn.next, set) || Some(set) == Self::state(turn).task_definition.as_ref();
        (!ours && turn.next.progress.asked_at.is_some())
            .then(|| Fact::DeployedMeanwhile { task_definition: set.clone() })
    }

    fn compare_images(&self, turn: &Turn<'_>, plan: &Plan, promoted: bool) -> Comparison {
        // Until it is promoted, the service itself is not changed.
        if !promoted && Self::state(turn).promoting_since.is_none() {
            return Comparison::Same;
        }
        let expected = if promoted { plan.expected() } else { self.rollback_target.digests() };
        ecs_native::compared(turn, &expected)
    }

    fn correct(&self, turn: &mut Turn<'_>, detail: &str) -> bool {
        let runs = service(turn).map(|service| &service.task_definition);
        let state = Self::state(turn);
        let can = !state.corrected && state.stable.is_some() && runs != state.stable.as_ref();
        if can {
            turn.saw(Fact::OtherImages { detail: detail.to_owned() });
            turn.next.progress.state.ecs_weighted_mut().corrected = true;
        }
        can
    }

    fn other_images(&self, turn: &Turn<'_>, plan: &Plan, detail: &str) -> String {
        ecs_native::other_images(service(turn).map(|service| &service.task_definition), detail, plan)
    }

    fn left_behind(&self, _turn: &Turn<'_>, before: Option<LeftBehind>) -> Option<LeftBehind> {
        before
    }

    fn deployed(&self, turn: &Turn<'_>) -> Option<Deployed> {
        let task_definition = turn.old.progress.state.ecs_weighted().task_definition.clone()?;
        let images = ecs_native::ran(turn, &self.candidate, &self.rollback_target);
        Some(Deployed::Ecs(EcsDeployed { task_definition, images }))
    }
}

/// Whether reads have surely caught up with what was done at `at`.
fn caught_up(turn: &Turn<'_>, at: Option<Timestamp>) -> bool {
    at.is_none_or(|at| turn.seen.at.duration_since(at) >= LAG)
}
