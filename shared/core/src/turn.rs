//! One turn of a decision: the release being rewritten, what was seen, and what the turn has to tell. The frame and the engines work on it;
//! how it ends is the frame's.

use jiff::{SignedDuration, Timestamp};

use crate::actor::Actor;
use crate::effect::{Action, Effect};
use crate::fault::PortError;
use crate::history::{Entry, Event, Fact, Report, WaitingOn};
use crate::observation::Observation;
use crate::outcome::Outcome;
use crate::plan::Stage;
use crate::policy::Percent;
use crate::release::{Phase, Release, RollingBack, Step};
use crate::service::ServiceRecord;

/// How often the world is looked at while a release waits for its target, or bakes, even if no event comes.
pub(crate) const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// How soon to look again when something is expected any moment.
pub(crate) const LOOK_SOON: SignedDuration = SignedDuration::from_secs(15);
/// The target's clock and ours may differ this much when what it tells is compared with a release's start.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// How long reads may lag behind what was changed: until then a difference proves nothing.
pub(crate) const LAG: SignedDuration = SignedDuration::from_secs(20);

/// The old release, the next one in the making, and the world as seen.
#[derive(Clone)]
pub(crate) struct Turn<'a> {
    pub(crate) old: &'a Release,
    pub(crate) next: Release,
    pub(crate) seen: &'a Observation,
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<Effect>,
    pub(crate) head: Option<ServiceRecord>,
    actor: Actor,
    saw: Vec<Fact>,
    told: Vec<Event>,
    noticed: Option<Event>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(old: &'a Release, seen: &'a Observation, now: Timestamp) -> Self {
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

    /// Says what happened: a history entry is written. The first event of a turn is the entry's, later ones stand beside it.
    pub(crate) fn tell(&mut self, event: Event) {
        self.told.push(event);
    }

    /// Says what was noticed and is worth a history entry of its own; where the turn has more to tell, it stands beside that.
    pub(crate) fn notice(&mut self, event: Event) {
        self.noticed = Some(event);
    }

    /// Says how the release ended: that is the entry's event, whatever else was told on the way there in the same turn.
    pub(crate) fn conclude(&mut self, event: Event) {
        self.told.insert(0, event);
    }

    /// Says who acted, when it was not Tidegate by the plan.
    pub(crate) fn by(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// Keeps a fact for the history and the report.
    pub(crate) fn saw(&mut self, fact: impl Into<Fact>) {
        let fact = fact.into();
        self.next.report.facts.push(fact.clone());
        self.saw.push(fact);
    }

    /// Keeps a fact for the report alone.
    pub(crate) fn note(&mut self, fact: impl Into<Fact>) {
        self.next.report.facts.push(fact.into());
    }

    /// Keeps what could not be seen for the report.
    pub(crate) fn note_unseen<'e>(&mut self, errors: impl IntoIterator<Item = &'e PortError>) {
        for error in errors {
            self.note(Fact::Unseen { error: error.to_string() });
        }
    }

    /// Keeps what was refused for the report.
    pub(crate) fn note_refusals(&mut self) {
        for refusal in &self.seen.refused {
            let fact = Fact::Refused { effect: refusal.effect, error: refusal.error.to_string() };
            self.next.report.facts.push(fact);
        }
    }

    /// Whether an effect of this phase should be performed now: at once when the phase begins, then again after a while.
    pub(crate) fn is_due(&self, retry_after: SignedDuration) -> bool {
        let begins = std::mem::discriminant(&self.old.phase) != std::mem::discriminant(&self.next.phase);
        begins || self.next.acted_at.is_none_or(|at| self.now.duration_since(at) >= retry_after)
    }

    /// Performs an effect after the commit.
    pub(crate) fn act(&mut self, effect: Effect) {
        self.next.acted_at = Some(self.now);
        self.effects.push(effect);
    }

    /// In a later phase, with what is known already kept.
    pub(crate) fn enter(&mut self, phase: Phase) {
        if !matches!(phase, Phase::Running { .. }) {
            (self.next.pause, self.next.promote_now) = (None, None);
        }
        self.next.phase = phase;
    }

    /// Keeps the times that figures are made of.
    pub(crate) fn follow_course(&mut self) {
        let now = self.now;
        let Release { phase, course, report, .. } = &mut self.next;
        let all_shifted = |event: &Event| matches!(event, Event::StageDone { stage: Stage::Shift { percent }, .. } if *percent == Percent::ALL);
        match phase {
            Phase::Running { .. } if self.told.iter().any(all_shifted) => course.has_all_traffic(now),
            Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => {
                if *outcome == Outcome::Promoted {
                    course.has_all_traffic(now);
                }
            }
            Phase::RollingBack(back) => course.rolls_back(&back.cause, back.since),
            Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => {}
        }
        course.waits(&report.waiting_on, now);
    }

    /// Marks the running stage's step.
    pub(crate) fn step(&mut self, to: Step) {
        if let Phase::Running { step, .. } = &mut self.next.phase {
            *step = to;
        }
    }

    /// Whether the turn has come to more than a look.
    pub(crate) fn has_changed(&self) -> bool {
        !self.told.is_empty() || self.noticed.is_some() || self.head.is_some() || !self.effects.is_empty()
    }

    /// The history entry of the turn, for this version; none when there is nothing to tell.
    pub(crate) fn entry(&mut self, version: u64) -> Option<Entry> {
        let mut told = std::mem::take(&mut self.told);
        told.extend(self.noticed.take());
        let actions: Vec<Action> = self.effects.iter().map(Effect::action).collect();
        // What a stage began with stands beside the end of the one before.
        let only_ended = told.iter().all(|event| matches!(event, Event::StageDone { .. }));
        if only_ended && !actions.is_empty() {
            let first =
                !told.is_empty() || matches!(self.old.phase, Phase::Running { step: Step::Entered, .. });
            told.push(Event::Acted { actions: actions.clone(), again: !first });
        }
        let mut told = told.into_iter();
        told.next().map(|event| Entry {
            also: told.collect(),
            saw: std::mem::take(&mut self.saw),
            actions,
            measured: self.next.progress.measured,
            ..Entry::new(version, self.now, self.actor.clone(), event)
        })
    }

    /// How far the rollback is, to be rewritten.
    pub(crate) fn rolling_back(&mut self) -> Option<&mut RollingBack> {
        if let Phase::RollingBack(back) = &mut self.next.phase { Some(back) } else { None }
    }
}
