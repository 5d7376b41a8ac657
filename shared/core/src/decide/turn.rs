//! One turn of a decision: the release being rewritten, what was seen, and the ways a turn can end.

use jiff::{SignedDuration, Timestamp};

use super::{CLOCK_SKEW, Decision, LOOK_EVERY, deadline};
use crate::actor::Actor;
use crate::effect::{Action, Effect};
use crate::fault::PortError;
use crate::history::{Entry, Event, Fact, Report, WaitingOn};
use crate::ids::DeploymentArn;
use crate::observation::{DeploymentSeen, Observation};
use crate::release::{Phase, Release, RollingBack, Step, Wake};
use crate::service::ServiceRecord;

/// Amazon ECS lists a deployment before it describes what it brings. This long it may be anyone's, ours too; after that it is not ours.
const DESCRIBED_WITHIN: SignedDuration = SignedDuration::from_mins(3);

/// The old release, the next one in the making, and the world as seen.
pub(super) struct Turn<'a> {
    pub(super) old: &'a Release,
    pub(super) next: Release,
    pub(super) seen: &'a Observation,
    pub(super) now: Timestamp,
    pub(super) effects: Vec<Effect>,
    pub(super) head: Option<ServiceRecord>,
    actor: Actor,
    saw: Vec<Fact>,
    told: Vec<Event>,
    noticed: Option<Event>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(old: &'a Release, seen: &'a Observation, now: Timestamp) -> Self {
        Self {
            old,
            next: Release { report: Report::waiting_on(WaitingOn::Nothing), ..old.clone() },
            seen,
            now,
            effects: Vec::new(),
            head: None,
            actor: Actor::Tidegate,
            saw: Vec::new(),
            told: Vec::new(),
            noticed: None,
        }
    }

    /// Nothing to do at all.
    pub(super) fn unchanged(self) -> Decision {
        Decision { release: self.old.clone(), entry: None, head: None, effects: Vec::new() }
    }

    /// Says what happened: a history entry is written. The first event of a turn is the entry's, later ones stand beside it.
    pub(super) fn tell(&mut self, event: Event) {
        self.told.push(event);
    }

    /// Says what was noticed and is worth a history entry of its own; where the turn has more to tell, it stands beside that.
    pub(super) fn notice(&mut self, event: Event) {
        self.noticed = Some(event);
    }

    /// Says how the release ended: that is the entry's event, whatever else was told on the way there in the same turn.
    pub(super) fn conclude(&mut self, event: Event) {
        self.told.insert(0, event);
    }

    /// Says who acted, when it was not Tidegate by the plan.
    pub(super) fn by(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// Keeps a fact for the history and the report.
    pub(super) fn saw(&mut self, fact: impl Into<Fact>) {
        let fact = fact.into();
        self.next.report.facts.push(fact.clone());
        self.saw.push(fact);
    }

    /// Keeps a fact for the report alone.
    pub(super) fn note(&mut self, fact: impl Into<Fact>) {
        self.next.report.facts.push(fact.into());
    }

    /// Keeps what could not be seen for the report.
    pub(super) fn note_unseen<'e>(&mut self, errors: impl IntoIterator<Item = &'e PortError>) {
        for error in errors {
            self.note(Fact::Unseen { error: error.to_string() });
        }
    }

    /// Keeps what AWS refused for the report.
    pub(super) fn note_refusals(&mut self) {
        for refusal in &self.seen.refused {
            let fact = Fact::Refused { effect: refusal.effect, error: refusal.error.to_string() };
            self.next.report.facts.push(fact);
        }
    }

    /// Performs an effect after the commit.
    pub(super) fn act(&mut self, effect: Effect) {
        self.next.acted_at = Some(self.now);
        self.effects.push(effect);
    }

    /// In a later phase, with what is known already kept.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.next.phase = phase;
    }

    /// Marks the running stage's step.
    pub(super) fn step(&mut self, to: Step) {
        if let Phase::Running { step, .. } = &mut self.next.phase {
            *step = to;
        }
    }

    /// Ends the turn: look again after `delay`, and what for.
    pub(super) fn wait(self, delay: SignedDuration, waiting_on: WaitingOn) -> Decision {
        let at = self.now.saturating_add(delay).unwrap_or(self.now);
        self.wait_until(at, waiting_on)
    }

    /// Ends the turn: look again at `at`, and what for.
    pub(super) fn wait_until(mut self, at: Timestamp, waiting_on: WaitingOn) -> Decision {
        self.next.report.waiting_on = waiting_on;
        let soon = at.duration_since(self.now) < LOOK_EVERY;
        self.next.wake = Some(Wake { soon, ..Wake::new(at) });
        self.finish()
    }

    /// Ends the turn: nothing more to wait for.
    pub(super) fn over(mut self) -> Decision {
        self.next.report.waiting_on = WaitingOn::Nothing;
        self.next.wake = None;
        self.finish()
    }

    fn finish(mut self) -> Decision {
        self.next.report.deadline = deadline::of(&self.next);
        self.told.extend(self.noticed.take());
        let changed = !self.told.is_empty() || self.head.is_some() || !self.effects.is_empty();
        if !changed && self.next == *self.old {
            return self.unchanged();
        }
        self.next.version = self.old.version + 1;
        let actions: Vec<Action> = self.effects.iter().map(Effect::action).collect();
        if self.told.is_empty() && !actions.is_empty() {
            let first = matches!(self.old.phase, Phase::Running { step: Step::Entered, .. });
            self.told.push(Event::Acted { actions: actions.clone(), again: !first });
        }
        let mut told = self.told.into_iter();
        let entry = told.next().map(|event| Entry {
            also: told.collect(),
            saw: self.saw,
            actions,
            measured: self.next.progress.measured,
            ..Entry::new(self.next.version, self.now, self.actor, event)
        });
        Decision { release: self.next, entry, head: self.head, effects: self.effects }
    }

    /// Our deployment among those seen: the one known, or one of the candidate's task definition since the release started.
    pub(super) fn our_deployment(&self) -> Option<&'a DeploymentSeen> {
        let seen = self.seen.deployments.known()?;
        let progress = &self.next.progress;
        if let Some(known) = &progress.deployment {
            return seen.iter().find(|deployment| deployment.arn == *known);
        }
        let candidate = progress.task_definition.as_ref()?;
        let started = progress.started_at?.saturating_sub(CLOCK_SKEW).ok()?;
        seen.iter().find(|deployment| {
            deployment.task_definition.as_ref() == Some(candidate) && deployment.created_at >= started
        })
    }

    /// The newest deployment that is neither ours nor our redeployment of the stable version, and is newer than ours, still under way, or begun since ours was asked
    /// for: where that was asked for in vain, theirs may have come and gone before it is asked for again.
    pub(super) fn external_deployment(&self) -> Option<&'a DeploymentSeen> {
        let ours = self.our_deployment();
        let (started, asked) = (self.next.progress.started_at?, self.next.progress.asked_at);
        self.seen.deployments.known()?.iter().find(|deployment| {
            let newer =
                ours.map_or(deployment.created_at > started, |ours| deployment.created_at > ours.created_at);
            !self.is_known_to_be_ours(deployment)
                && !self.may_yet_be_described(deployment)
                && newer
                && (ours.is_some()
                    || !deployment.status.is_over()
                    || asked.is_some_and(|at| deployment.created_at > at))
        })
    }

    /// A deployment of which nobody can say yet whether it is ours: whatever depends on that waits for the next look.
    pub(super) fn undescribed_deployment(&self) -> Option<&'a DeploymentSeen> {
        let started = self.next.progress.started_at?.saturating_sub(CLOCK_SKEW).ok()?;
        self.seen.deployments.known()?.iter().find(|deployment| {
            deployment.created_at >= started
                && !self.is_known_to_be_ours(deployment)
                && self.may_yet_be_described(deployment)
        })
    }

    fn is_known_to_be_ours(&self, deployment: &DeploymentSeen) -> bool {
        self.our_deployment().is_some_and(|ours| ours.arn == deployment.arn)
            || Some(&deployment.arn) == self.redeployment()
            || (deployment.task_definition.is_some()
                && deployment.task_definition == self.next.progress.task_definition)
    }

    fn may_yet_be_described(&self, deployment: &DeploymentSeen) -> bool {
        deployment.task_definition.is_none()
            && self.now.duration_since(deployment.created_at) < DESCRIBED_WITHIN
    }

    fn redeployment(&self) -> Option<&DeploymentArn> {
        self.next.phase.rolling_back()?.redeployment.as_ref()
    }

    /// How far the rollback is, to be rewritten.
    pub(super) fn rolling_back(&mut self) -> Option<&mut RollingBack> {
        if let Phase::RollingBack(back) = &mut self.next.phase { Some(back) } else { None }
    }
}
