//! What must hold in every simulation: the invariants of the design that are about more than one row, each a function of its own. (The
//! ones about a single row are the core's; the ledger in memory applies them to every write.)

use std::collections::{BTreeMap, BTreeSet};
use tidegate_core::vocab::ecs;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_core::approval::ApprovalGate;
use tidegate_core::effect::{CALL_LIMIT, Effect, LEASE};
use tidegate_core::engine::ecs_native::configuration;
use tidegate_core::ids::{ReleaseId, ServiceName, TaskDefinitionArn};
use tidegate_core::intent::Intent;
use tidegate_core::outcome::{Cause, Outcome, Successor};
use tidegate_core::plan::{Plan, Setup, Stage};
use tidegate_core::policy::{OnExpiry, Percent};
use tidegate_core::release::state::State as Progressed;
use tidegate_core::release::{Phase, Release};
use tidegate_core::vocab::elb::{self, RuleSeen};

use super::scenario::{Action, Meddling, Scenario, Spoilt, their_own};
use crate::fakes::{Aws, Performed, Rows, ServiceState, State};
use crate::names;

/// How old a look may be on which something is continued: the core's own limit.
const LOOK_HOLDS: SignedDuration = SignedDuration::from_secs(15);

/// How long a release that sets the weights itself may take to set them again.
const SEEN_TO_WITHIN: SignedDuration = SignedDuration::from_secs(150);

/// How long a release may go on whose deployment does not: its looks are a minute apart.
const NOTICED_WITHIN: SignedDuration = SignedDuration::from_secs(150);

/// Looks on.
#[derive(Debug)]
pub(super) struct Watch {
    service: ServiceName,
    /// The deployment configuration the service's owner wants.
    own: Value,
    pub(super) broken: Vec<String>,
    acts: Vec<(Timestamp, Action)>,
    ended: BTreeSet<ReleaseId>,
    rolled_back: BTreeSet<u32>,
    refused: BTreeMap<u32, usize>,
    shares: BTreeMap<TaskDefinitionArn, u32>,
    /// Since when they are what they are.
    shared_since: BTreeMap<TaskDefinitionArn, Timestamp>,
    /// How it was before what is looked at.
    before: Option<ServiceState>,
    performed: usize,
    looked: (usize, usize),
    changed_at: Option<Timestamp>,
    /// Since when the alarm is in ALARM.
    red_since: Option<Timestamp>,
    /// Since when the deployment of a release that goes forward does not get to its end any more.
    broken_off_since: Option<(ReleaseId, Timestamp)>,
    /// Since when a release that bakes with traffic on its candidate has to go back: its alarm is in ALARM and not muted, or a person said so.
    breached_since: Option<(ReleaseId, Timestamp)>,
}

impl Watch {
    pub(super) fn new(service: ServiceName, scenario: &Scenario) -> Self {
        Self {
            service,
            own: scenario.own_configuration.clone(),
            broken: Vec::new(),
            acts: Vec::new(),
            ended: BTreeSet::new(),
            rolled_back: BTreeSet::new(),
            refused: BTreeMap::new(),
            shares: BTreeMap::new(),
            shared_since: BTreeMap::new(),
            before: None,
            performed: 0,
            looked: (0, 0),
            changed_at: None,
            red_since: None,
            broken_off_since: None,
            breached_since: None,
        }
    }

    /// Whose.
    pub(super) fn service(&self) -> &ServiceName {
        &self.service
    }

    fn aws<'a>(&self, state: &'a State) -> &'a Aws {
        state.aws_of(self.service.as_str())
    }

    /// The service's releases, oldest first.
    fn releases<'a>(&'a self, state: &'a State) -> impl DoubleEndedIterator<Item = &'a Release> {
        state.rows.releases().filter(|release| release.service == self.service)
    }

    /// A person or another tool did something.
    pub(super) fn acted(&mut self, of: &ServiceName, action: &Action, now: Timestamp) {
        if *of != self.service {
            return;
        }
        self.acts.push((now, action.clone()));
        match action {
            Action::Insist(build) => {
                self.refused.remove(build);
                self.rolled_back.remove(build);
            }
            Action::Configure(own) => self.own = own.clone(),
            Action::Deploy { own_configuration: true, .. } => self.own = their_own(),
            Action::Push(..)
            | Action::PushAgain(_)
            | Action::RollBack
            | Action::Cancel
            | Action::Steer(_)
            | Action::Deploy { own_configuration: false, .. }
            | Action::Weights(_)
            | Action::Alarm(_)
            | Action::Mute(_)
            | Action::Answer(_)
            | Action::GoOn
            | Action::DeleteImage(_)
            | Action::Deregister(_)
            | Action::Meddle(_)
            | Action::Apply(_)
            | Action::Damage(_)
            | Action::Mend
            | Action::Look => {}
        }
    }

    /// How long nothing has changed.
    pub(super) fn quiet_since(&self, now: Timestamp) -> SignedDuration {
        self.changed_at.map_or(SignedDuration::MAX, |at| now.duration_since(at))
    }

    /// Whether a release of this build was rolled back.
    pub(super) fn was_rolled_back(&self, build: u32) -> bool {
        self.rolled_back.contains(&build)
    }

    /// From now on no release of this build may come to be.
    pub(super) fn refuse(&mut self, build: u32, releases: usize) {
        self.refused.insert(build, releases);
    }

    /// Looks at what is now.
    pub(super) fn look(&mut self, state: &State, scenario: &Scenario) {
        let looked = (self.aws(state).happened(), state.trace.len());
        if looked == self.looked {
            return;
        }
        self.looked = looked;
        self.watch_alarm(state);
        for performed in &state.performed[self.performed..] {
            let of = performed.release.as_ref().and_then(|id| state.rows.release(id));
            if of.is_none_or(|release| release.service != self.service) {
                continue;
            }
            self.broken.extend(no_stale_performer_acts(performed, &state.rows));
            let forward = self.goes_forward_on_evidence(performed, state, scenario);
            let over_others = self.leaves_what_others_deployed(performed, state, scenario);
            let baked = self.bakes_before_it_goes_on(performed, state, scenario);
            let approved = self.is_approved_as_it_is(performed, state);
            let thawed = starts_in_no_freeze(performed, &state.rows);
            let placed = self.starts_where_the_policy_says(performed, state, scenario);
            let weighed = self.sets_weights_as_it_should(performed, state, scenario);
            let found = [forward, over_others, baked, approved, thawed, placed, weighed];
            self.broken.extend(found.into_iter().flatten());
            self.changed_at = Some(state.now);
        }
        self.performed = state.performed.len();
        let live = self.aws(state).state();
        for (arn, share) in &live.shares {
            if *share > self.shares.get(arn).copied().unwrap_or(0) && !self.helped(state.now) {
                let risen = self.the_share_never_rises_after_a_breach(arn, state, scenario);
                self.broken.extend(risen);
            }
        }
        let late = self.is_turned_back_in_time(state, &live, scenario);
        let unnoticed = self.what_is_broken_off_is_noticed(state, scenario);
        self.broken.extend(late.into_iter().chain(unnoticed));
        for (arn, share) in &live.shares {
            if self.shares.get(arn) != Some(share) {
                self.shared_since.insert(arn.clone(), state.now);
            }
        }
        self.shares.clone_from(&live.shares);
        self.before = Some(live.clone());
        let ended: Vec<Release> = self
            .releases(state)
            .filter(|release| release.is_over() && !self.ended.contains(&release.id))
            .cloned()
            .collect();
        for release in &ended {
            self.ended.insert(release.id.clone());
            self.changed_at = Some(state.now);
            let disturbed = self.disturbed(release, state.now);
            let excused = disturbed || !scenario.conditions.denied.is_empty() || self.took_away(release);
            self.broken.extend(the_outcome_is_what_is_live(release, &live, disturbed, excused));
            if !disturbed && scenario.conditions.denied.is_empty() {
                self.broken.extend(nothing_is_left_beside(release, &live));
            }
            let recent = self.acted_within(SignedDuration::from_secs(40), state.now, is_disturbing);
            if !recent && !self.is_deployed_over(release, state) {
                self.broken.extend(promoted_carries_all_traffic(release, &live));
            }
            let unexpected = self.what_is_expected(release, scenario);
            self.broken.extend(unexpected);
            if !disturbed && release.progress.asked_at.is_some() {
                self.broken.extend(self.the_owners_configuration_is_back(release, &live));
            }
            self.broken.extend(what_was_rolled_back_is_quarantined(release, &state.rows));
            self.broken.extend(the_history_tells_the_end(release, &state.rows));
            if let (Some(Outcome::RolledBack { .. }), Intent::Deploy) = (release.outcome(), &release.intent)
                && let Some(build) =
                    (2..8).find(|build| names::digest(*build) == names::only(&release.change).digest)
            {
                self.rolled_back.insert(build);
            }
        }
    }

    /// Looks at how it all ended.
    pub(super) fn at_the_end(&mut self, state: &State, scenario: &Scenario) {
        for (build, before) in self.refused.clone() {
            let of = |release: &&Release| names::only(&release.change).digest == names::digest(build);
            let after =
                state.rows.releases().skip(before).filter(of).filter(|it| it.service == self.service).count();
            if after > 0 {
                self.broken.push(format!("build {build} was rolled back, and released again by a push"));
            }
        }
        let newest = self.the_newest_push_was_released(state);
        let overtaken = self.no_push_overtakes_a_newer_one(state);
        self.broken.extend(newest.into_iter().chain(overtaken));
        let undisturbed = !self.acts.iter().any(|(_, action)| is_disturbing(action));
        if undisturbed && scenario.conditions.denied.is_empty() {
            let last = self.what_runs_is_what_was_promoted_last(state);
            self.broken.extend(last);
        }
    }

    /// Whether someone else deployed or moved weights while the release was there, or shortly before, in a way that it cannot see to. Weights
    /// that it sets itself it sets again, so that only the last seconds matter.
    fn disturbed(&self, release: &Release, now: Timestamp) -> bool {
        let from = release.created_at.saturating_sub(SignedDuration::from_secs(300)).expect("within range");
        let weighted = matches!(release.progress.state, Progressed::EcsWeighted(_));
        // What was never changed is not the release's to set again.
        let untouched = release.progress.asked_at.is_none();
        let lately = |at: &Timestamp| untouched || now.duration_since(*at) < SEEN_TO_WITHIN;
        self.acts.iter().any(|(at, action)| match action {
            Action::Deploy { .. } => *at >= from,
            Action::Weights(_) => !weighted || lately(at),
            Action::Meddle(_) => lately(at),
            Action::Push(..)
            | Action::PushAgain(_)
            | Action::Insist(_)
            | Action::RollBack
            | Action::Cancel
            | Action::Steer(_)
            | Action::Alarm(_)
            | Action::Mute(_)
            | Action::Answer(_)
            | Action::DeleteImage(_)
            | Action::Deregister(_)
            | Action::GoOn
            | Action::Configure(_)
            | Action::Apply(_)
            | Action::Damage(_)
            | Action::Mend
            | Action::Look => false,
        })
    }

    /// Whether someone else deployed once the release had nothing left to do but to end: that takes nothing from what it was.
    fn is_deployed_over(&self, release: &Release, state: &State) -> bool {
        let settles = |phase: &Phase| matches!(phase, Phase::Settling { .. });
        let versions = state.rows.versions(&release.id);
        let settled = versions.iter().find(|written| settles(&written.value.phase)).map(|written| written.at);
        let deployed = |at: Timestamp| {
            self.acts.iter().any(|(then, action)| *then >= at && matches!(action, Action::Deploy { .. }))
        };
        settled.is_some_and(deployed)
    }

    /// Whether something that the way forward or back needs was taken away while the release was there.
    fn took_away(&self, release: &Release) -> bool {
        self.acts
            .iter()
            .any(|(at, action)| *at >= release.created_at && matches!(action, Action::DeleteImage(_)))
    }

    fn acted_within(&self, span: SignedDuration, now: Timestamp, what: fn(&Action) -> bool) -> bool {
        self.acts.iter().any(|(at, action)| what(action) && now.duration_since(*at) < span)
    }

    fn watch_alarm(&mut self, state: &State) {
        self.red_since = self.aws(state).is_red().then(|| self.red_since.unwrap_or(state.now));
    }

    /// No deployment is continued while its alarm has been in ALARM for longer than a look, a lease and a call can take.
    fn goes_forward_on_evidence(
        &self,
        performed: &Performed,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let release = state.rows.release(performed.release.as_ref()?)?;
        let judged = release.plan.as_ref().is_some_and(|plan| !plan.alarms.is_empty());
        // What somebody else deploys is let pass the pauses it has from us, and is not the release's to judge.
        let continues = match &release.progress.state {
            Progressed::EcsWeighted(_) => performed.effect.is_forward(),
            Progressed::NotBegun | Progressed::EcsNative(_) | Progressed::LambdaAlias(_) => {
                matches!(performed.effect, Effect::Ecs(ecs::Effect::ContinueHook { .. }))
                    && release.progress.state.is_candidates(&performed.effect)
            }
        };
        let lag = i64::try_from(scenario.conditions.read_lag).expect("within range");
        let grace =
            LOOK_HOLDS + LEASE + SignedDuration::from_millis(lag + scenario.conditions.skew * 2 + 1_000);
        let red = self.red_since.filter(|since| performed.begun.duration_since(*since) > grace)?;
        (judged && continues)
            .then(|| format!("\"{}\" though the alarm was in ALARM since {red}", performed.effect))
    }

    /// What others deploy during a release is not deployed over by it.
    fn leaves_what_others_deployed(
        &self,
        performed: &Performed,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let deploys = matches!(
            performed.effect,
            Effect::Ecs(ecs::Effect::StartDeployment { .. }) | Effect::Ecs(ecs::Effect::ReturnTo { .. })
        );
        let release = state.rows.release(performed.release.as_ref()?)?;
        let planned = release.plan.as_ref()?.made_at;
        let theirs = self.acts.iter().find(|(at, action)| {
            matches!(action, Action::Deploy { .. })
                && *at > planned
                && performed.begun.duration_since(*at) > scenario.decides_within()
        });
        let (at, _) = theirs.filter(|_| deploys)?;
        // What was given up before they came is theirs to keep, what was being rolled back then may continue.
        let before = turned_at(release, &state.rows).is_some_and(|turned| turned < *at);
        (!before).then(|| format!("\"{}\" over what somebody deployed at {at}", performed.effect))
    }

    /// A step is not left before it has baked for as long as the plan says.
    fn bakes_before_it_goes_on(
        &self,
        performed: &Performed,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let release = state.rows.release(performed.release.as_ref()?)?;
        if !goes_on(release, &performed.effect) || self.acts.iter().any(|(_, action)| moves_weights(action)) {
            return None;
        }
        if self.disturbed(release, state.now) {
            return None;
        }
        // A pause is passed once: to continue it again, as after a lost answer, does nothing.
        let earlier =
            |other: &Performed| other.applied < performed.applied && other.effect == performed.effect;
        if state.performed.iter().any(|other| earlier(other) && other.place == performed.place) {
            return None;
        }
        // Where nothing measures the share, nobody knows of a pause that somebody else has let it pass.
        let unmeasured = !is_measured(release.plan.as_ref()?);
        let weighted = matches!(release.progress.state, Progressed::EcsWeighted(_));
        if unmeasured && (weighted || self.acts.iter().any(|(_, action)| matches!(action, Action::GoOn))) {
            return None;
        }
        let own = candidate_of(release)?;
        let share = *self.shares.get(own)?;
        let since = *self.shared_since.get(own)?;
        let bake = release.plan.as_ref()?.stages.iter().find_map(|stage| match stage {
            Stage::Bake { percent, secs } if percent.is_rounded(share_of(share)) => Some(*secs),
            Stage::Bake { .. }
            | Stage::Prepare { .. }
            | Stage::Start
            | Stage::Shift { .. }
            | Stage::Approve { .. }
            | Stage::Freeze
            | Stage::Scan
            | Stage::Verify { .. }
            | Stage::RollOut
            | Stage::Promote => None,
        })?;
        let skew = SignedDuration::from_millis(scenario.conditions.skew * 2);
        let baked = performed.begun.duration_since(since) + skew;
        (baked < SignedDuration::from_secs(i64::from(bake)))
            .then(|| format!("\"{}\" after {baked:#} at {share} %, not {bake} s", performed.effect))
    }

    /// What only a release does that sets the weights itself.
    fn sets_weights_as_it_should(
        &self,
        performed: &Performed,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let release = state.rows.release(performed.release.as_ref()?)?;
        let Progressed::EcsWeighted(_) = &release.progress.state else { return None };
        let own = candidate_of(release)?;
        let before = self.before.as_ref()?;
        let lately = |what: fn(&Action) -> bool| {
            let theirs = |(at, action): &(Timestamp, Action)| what(action) && *at <= performed.applied;
            let last = self.acts.iter().rev().find(|act| theirs(act)).map(|(at, _)| *at);
            last.is_some_and(|at| performed.begun.duration_since(at) <= scenario.decides_within())
        };
        let goes_back = turned_at(release, &state.rows).is_some_and(|turned| turned <= performed.applied);
        let broken = match &performed.effect {
            Effect::Ecs(ecs::Effect::StartDeployment { .. }) => {
                let moved = |action: &Action| moves_weights(action) || is_disturbing(action);
                (!lately(moved)).then(|| leaves_the_service_alone(release, before, own)).flatten()
            }
            Effect::Elb(elb::Effect::SetWeights { share, .. }) if *share > Percent::NONE => {
                self.sets_weights_from_where_they_were(release, performed, state, scenario)
            }
            Effect::Elb(elb::Effect::SetWeights { .. }) => {
                let carried =
                    before.rule.iter().any(|(group, weight)| *group == names::green() && *weight > 0);
                let whole = before.portions.get(own) == Some(&100);
                let comes_home = carried && !goes_back && !lately(is_disturbing);
                (comes_home && !whole).then(|| format!("of which only {:?} is new", before.portions))
            }
            Effect::Ecs(_)
            | Effect::Lambda(_)
            | Effect::AutoScaling(_)
            | Effect::Invite { .. }
            | Effect::StartBuild { .. } => None,
        };
        broken.map(|how| format!("{} performs \"{}\" {how}", performed.by.name, performed.effect))
    }

    /// The next share is set only where the last one is live: what somebody else has made of it meanwhile was seen before, and set again.
    fn sets_weights_from_where_they_were(
        &self,
        release: &Release,
        performed: &Performed,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let share_of = |effect: &Effect| match effect {
            Effect::Elb(elb::Effect::SetWeights { share, .. }) => Some(*share),
            Effect::Ecs(_)
            | Effect::Lambda(_)
            | Effect::AutoScaling(_)
            | Effect::Invite { .. }
            | Effect::StartBuild { .. } => None,
        };
        let earlier = state
            .performed
            .iter()
            .filter(|other| other.applied < performed.applied && other.release.as_ref() == Some(&release.id));
        let (set_at, last) =
            earlier.filter_map(|other| Some((other.applied, share_of(&other.effect)?))).next_back()?;
        let theirs = self.acts.iter().find(|(at, action)| {
            moves_weights(action)
                && *at > set_at
                && performed.begun.duration_since(*at) > scenario.decides_within()
        });
        let weights = self.before.as_ref()?.rule.clone();
        let rule = RuleSeen { arn: names::rule(), weights, is_default: false };
        let is_live = rule.share(&names::green()) == Some(last);
        let (at, _) = theirs.filter(|_| share_of(&performed.effect) > Some(last) && !is_live)?;
        Some(format!("though the {last}% of before are not live any more since {at}"))
    }

    /// What starts was approved after the last change to what it was planned from.
    fn is_approved_as_it_is(&self, performed: &Performed, state: &State) -> Option<String> {
        let release = state.rows.release(performed.release.as_ref()?)?;
        let plan = release.plan.as_ref()?;
        let (stages, approvals) = (&plan.stages, &plan.gates.approvals);
        let start = stages.iter().position(|stage| *stage == Stage::Start)?;
        let asks = |gate: &ApprovalGate| gate.approval.on_expiry == OnExpiry::Reject;
        let gated = stages[..start].iter().any(|stage| match stage {
            Stage::Approve { gate } => approvals.get(*gate).is_some_and(asks),
            Stage::Prepare { .. }
            | Stage::Start
            | Stage::Shift { .. }
            | Stage::Bake { .. }
            | Stage::Freeze
            | Stage::Scan
            | Stage::Verify { .. }
            | Stage::RollOut
            | Stage::Promote => false,
        });
        if !gated || !starts(release, &performed.effect) {
            return None;
        }
        let last = |what: fn(&Action) -> bool| {
            self.acts.iter().rev().find(|(_, action)| what(action)).map(|(at, _)| *at)
        };
        let answered = last(|action| matches!(action, Action::Answer(true)));
        let changed = last(|action| matches!(action, Action::Configure(_)));
        (answered <= changed).then(|| {
            format!(
                "\"{}\" approved at {answered:?}, and what it was planned from has changed at {changed:?}",
                performed.effect
            )
        })
    }

    /// Whatever Tidegate has set meanwhile, in the end the service has the configuration its owner wants.
    fn the_owners_configuration_is_back(&self, release: &Release, live: &ServiceState) -> Option<String> {
        let failed = matches!(release.outcome(), Some(Outcome::Failed { .. }));
        (!failed && !configuration::is_set(&self.own, &live.configuration)).then(|| {
            format!(
                "release {} ended; the owner has set {}, and there is {}",
                release.id, self.own, live.configuration
            )
        })
    }

    /// From the breach to all traffic on the stable version there is a limit.
    fn is_turned_back_in_time(
        &mut self,
        state: &State,
        live: &ServiceState,
        scenario: &Scenario,
    ) -> Option<String> {
        // A release whose row cannot be read does nothing, and that is told.
        let unreadable = |action: &Action| matches!(action, Action::Damage(Spoilt::Release));
        let tampered = self.acts.iter().any(|(_, action)| is_disturbing(action) || unreadable(action));
        let active = state.rows.head(&self.service).and_then(|head| head.active.clone());
        let release = active.and_then(|id| state.rows.release(&id));
        let carries = release.is_some_and(|release| {
            let share = candidate_of(release).and_then(|arn| live.shares.get(arn));
            release.plan.as_ref().is_some_and(|plan| !plan.alarms.is_empty()) && share.is_some()
        });
        let Some(release) = release.filter(|_| carries && !tampered && scenario.conditions.denied.is_empty())
        else {
            self.breached_since = None;
            return None;
        };
        let bakes = matches!(release.stage(), Some(Stage::Bake { .. }));
        match &self.breached_since {
            Some((id, since)) if *id == release.id => {
                let limit = scenario.turns_back_within(is_held(release));
                (state.now.duration_since(*since) > limit).then(|| {
                    format!("{} still has traffic {limit:#} after it had to go back at {since}", release.id)
                })
            }
            Some(_) | None => {
                let red = self.red_since.is_some() && !self.aws(state).is_muted();
                let told = scenario.is_calm()
                    && self.acted_within(SignedDuration::from_secs(1), state.now, |action| {
                        matches!(action, Action::Cancel)
                    });
                let breached = bakes && (red || told);
                self.breached_since = breached.then(|| (release.id.clone(), state.now));
                None
            }
        }
    }

    /// A release whose deployment was stopped or rolled back by somebody else, Amazon ECS among them, goes back too.
    fn what_is_broken_off_is_noticed(&mut self, state: &State, scenario: &Scenario) -> Option<String> {
        let active = state.rows.head(&self.service).and_then(|head| head.active.clone());
        let release = active.and_then(|id| state.rows.release(&id)).filter(|release| {
            let deployment = release.progress.state.ecs_native().deployment.as_ref();
            matches!(release.phase, Phase::Running { .. })
                && deployment.is_some_and(|arn| self.aws(state).is_broken_off(arn))
        });
        let unreadable = |(_, action): &(Timestamp, Action)| matches!(action, Action::Damage(_));
        let release = release.filter(|_| scenario.is_calm() && !self.acts.iter().any(unreadable));
        let Some(release) = release else {
            self.broken_off_since = None;
            return None;
        };
        match &self.broken_off_since {
            Some((id, since)) if *id == release.id => (state.now.duration_since(*since) > NOTICED_WITHIN)
                .then(|| format!("{} goes on, and its deployment was broken off at {since}", release.id)),
            Some(_) | None => {
                self.broken_off_since = Some((release.id.clone(), state.now));
                None
            }
        }
    }

    /// A good build in a world that is kind to it is promoted; a bad one never is.
    fn what_is_expected(&self, release: &Release, scenario: &Scenario) -> Option<String> {
        let promotes = scenario.promotes.filter(|_| self.service == names::service())?;
        let ended = *release.outcome()? == Outcome::Promoted;
        (names::only(&release.change).digest == names::digest(2) && ended != promotes).then(|| {
            format!("release {} ended {}, and that was certain not to be", release.id, release.summary())
        })
    }

    /// After a breach the candidate's weight never rises again in that release. What was already on its way when it was noticed (a shift
    /// that was begun, a call under way) may still arrive, and is rolled back.
    fn the_share_never_rises_after_a_breach(
        &self,
        arn: &TaskDefinitionArn,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let release = self
            .releases(state)
            .rev()
            .find(|release| candidate_of(release) == Some(arn) && release.progress.state.is_started())?;
        let held = is_held(release);
        let newer = self.releases(state).any(|other| other.id > release.id && other.plan.is_some());
        let turned = turned_at(release, &state.rows)?;
        let shift = i64::try_from(scenario.habits.shift.1).expect("within range");
        let grace = LEASE + CALL_LIMIT + SignedDuration::from_millis(shift);
        (held && !newer && state.now.duration_since(turned) > grace).then(|| {
            format!("{} gets more traffic though its release was rolled back at {turned}", arn.short())
        })
    }

    /// No push is lost, and none is overtaken by an older one: the newest has had its release.
    fn the_newest_push_was_released(&self, state: &State) -> Option<String> {
        let (tag, digest, _) = self.aws(state).pushes().last()?;
        if *digest == names::digest(1) {
            return None;
        }
        let of = |release: &&Release| names::only(&release.change).digest == *digest;
        let Some(release) = self.releases(state).rfind(of) else {
            return Some(format!("{tag} was pushed last and was never released"));
        };
        let Some(Outcome::Superseded { by: Successor::Release(by) }) = release.outcome() else { return None };
        let by = state.rows.release(by)?;
        let older = names::only(&by.change).digest != *digest
            && by.intent == Intent::Deploy
            && names::only(&by.change).digest < *digest;
        (older && !is_a_persons(by))
            .then(|| format!("{tag} was pushed last and was superseded by the older {}", by.change))
    }

    /// No machine releases what was pushed before something that was let in already. ECR and its events tell when in whole seconds: of two
    /// pushes within one of them nobody can know which was first, and either may be the newer one.
    fn no_push_overtakes_a_newer_one(&self, state: &State) -> Option<String> {
        let pushes = self.aws(state).pushes();
        let mut machines: Vec<&Release> = self
            .releases(state)
            .filter(|release| release.intent == Intent::Deploy && !is_a_persons(release))
            .collect();
        // Ids begin with the time of whoever made them, and clocks differ.
        machines.sort_by_key(|release| state.rows.versions(&release.id).first().map(|written| written.at));
        machines.iter().enumerate().find_map(|(at, release)| {
            let of = |wanted: &Release| {
                let digest = names::only(&wanted.change).digest.clone();
                pushes
                    .iter()
                    .filter(move |(_, pushed, _)| *pushed == digest)
                    .map(|(_, _, at)| crate::fakes::in_seconds(*at))
            };
            let written = state.rows.versions(&release.id).first()?.at;
            let last = of(release).filter(|at| *at <= written).max()?;
            let newer =
                machines[..at].iter().find(|before| of(before).min().is_some_and(|first| first > last))?;
            Some(format!("{} was released after {}, which was pushed later", release.change, newer.change))
        })
    }

    /// At the end the service runs what was promoted last.
    fn what_runs_is_what_was_promoted_last(&self, state: &State) -> Option<String> {
        let head = state.rows.head(&self.service)?;
        let expected = head
            .promoted
            .first()
            .map_or_else(|| names::digest(1), |last| names::only(&last.change).digest.clone());
        let live = self.aws(state).state();
        let serving = BTreeMap::from([(expected.clone(), 100)]);
        (live.serving != serving).then(|| {
            format!(
                "{} was promoted last; the service runs {} with {:?}",
                expected.short(),
                live.task_definition.short(),
                live.serving
            )
        })
    }

    /// What is planned is started where the policy of then says.
    fn starts_where_the_policy_says(
        &self,
        performed: &Performed,
        state: &State,
        scenario: &Scenario,
    ) -> Option<String> {
        let release = state.rows.release(performed.release.as_ref()?)?;
        if !starts(release, &performed.effect) {
            return None;
        }
        let target = &performed.place;
        let planned = release.plan.as_ref()?.made_at;
        let applied = self.acts.iter().rev().find_map(|(at, action)| match action {
            Action::Apply(policy) if *at + SignedDuration::from_secs(2) < planned => Some(policy),
            Action::Apply(_)
            | Action::Push(..)
            | Action::PushAgain(_)
            | Action::Insist(_)
            | Action::RollBack
            | Action::Cancel
            | Action::Steer(_)
            | Action::Deploy { .. }
            | Action::Weights(_)
            | Action::Alarm(_)
            | Action::Mute(_)
            | Action::Answer(_)
            | Action::GoOn
            | Action::Configure(_)
            | Action::DeleteImage(_)
            | Action::Deregister(_)
            | Action::Meddle(_)
            | Action::Damage(_)
            | Action::Mend
            | Action::Look => None,
        })?;
        let (to, at) = (&applied.to, target.ecs()?);
        (scenario.is_calm() && to.ecs().is_none_or(|to| to.service != at.service))
            .then(|| format!("\"{}\" in {}, and the policy says {to}", performed.effect, at.service))
    }

    /// Whether someone else has just moved traffic.
    fn helped(&self, now: Timestamp) -> bool {
        let recently = |at: &Timestamp| now.duration_since(*at) < SignedDuration::from_secs(60);
        self.acts.iter().any(|(at, action)| {
            recently(at) && matches!(action, Action::GoOn | Action::Weights(_) | Action::Deploy { .. })
        })
    }
}

/// Whether what runs at the end may be somebody else's, or the rollback target was taken away.
fn is_disturbing(action: &Action) -> bool {
    matches!(action, Action::Deploy { .. } | Action::Weights(_) | Action::DeleteImage(_))
}

/// Whether somebody moves traffic, or makes what carries it go.
fn moves_weights(action: &Action) -> bool {
    matches!(action, Action::Weights(_) | Action::Meddle(Meddling::ResetRule | Meddling::DeleteCandidate))
}

/// The revision that carries the release's image.
fn candidate_of(release: &Release) -> Option<&TaskDefinitionArn> {
    match &release.progress.state {
        Progressed::NotBegun | Progressed::LambdaAlias(_) => None,
        Progressed::EcsNative(native) => native.task_definition.as_ref(),
        Progressed::EcsWeighted(weighted) => weighted.task_definition.as_ref(),
    }
}

/// The revision with every image by its digest that a release rolls back to, where it has registered one.
fn pinned_of(release: &Release) -> Option<&TaskDefinitionArn> {
    match &release.progress.state {
        Progressed::NotBegun | Progressed::LambdaAlias(_) => None,
        Progressed::EcsNative(native) => native.stable.as_ref(),
        Progressed::EcsWeighted(weighted) => weighted.stable.as_ref(),
    }
}

/// Whether somebody measures the candidate's share.
fn is_measured(plan: &Plan) -> bool {
    match &plan.setup {
        Setup::EcsNative(native) => !native.measured_at.is_empty(),
        Setup::EcsWeighted(weighted) => weighted.groups.is_some(),
        Setup::LambdaAlias(_) => true,
    }
}

/// Whether traffic is all that has to move back: where tasks are replaced in place, others have to be started first.
fn is_held(release: &Release) -> bool {
    let Some(plan) = &release.plan else { return false };
    match &release.progress.state {
        Progressed::NotBegun | Progressed::EcsNative(_) | Progressed::LambdaAlias(_) => plan.is_held(),
        Progressed::EcsWeighted(weighted) => weighted.promoting_since.is_none() && is_measured(plan),
    }
}

/// Whether this is what starts the candidate.
fn starts(release: &Release, effect: &Effect) -> bool {
    match &release.progress.state {
        Progressed::NotBegun | Progressed::EcsNative(_) | Progressed::LambdaAlias(_) => {
            matches!(effect, Effect::Ecs(ecs::Effect::StartDeployment { .. }))
        }
        Progressed::EcsWeighted(_) => matches!(effect, Effect::Ecs(ecs::Effect::CreateCanary { .. })),
    }
}

/// Whether this leaves a step behind.
fn goes_on(release: &Release, effect: &Effect) -> bool {
    match (&release.progress.state, effect) {
        (Progressed::EcsNative(native), Effect::Ecs(ecs::Effect::ContinueHook { deployment, .. })) => {
            native.deployment.as_ref() == Some(deployment)
        }
        (Progressed::EcsWeighted(_), Effect::Elb(elb::Effect::SetWeights { share, .. })) => {
            *share > Percent::NONE
        }
        (Progressed::EcsWeighted(_), Effect::Ecs(ecs::Effect::StartDeployment { .. })) => true,
        (
            Progressed::NotBegun
            | Progressed::EcsNative(_)
            | Progressed::EcsWeighted(_)
            | Progressed::LambdaAlias(_),
            Effect::Ecs(_)
            | Effect::Lambda(_)
            | Effect::Elb(_)
            | Effect::AutoScaling(_)
            | Effect::Invite { .. }
            | Effect::StartBuild { .. },
        ) => false,
    }
}

fn goes_back(phase: &Phase) -> bool {
    match phase {
        Phase::RollingBack(_) => true,
        Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => *outcome != Outcome::Promoted,
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => false,
    }
}

/// When the release was first known to go back.
fn turned_at(release: &Release, rows: &Rows) -> Option<Timestamp> {
    rows.versions(&release.id)
        .iter()
        .find(|written| goes_back(&written.value.phase))
        .map(|written| written.at)
}

fn ended_at(release: &Release, rows: &Rows) -> Option<Timestamp> {
    rows.versions(&release.id).iter().find(|written| written.value.is_over()).map(|written| written.at)
}

/// A executor that stalled must not begin a forward effect once the lease of the decision before the turn has run out, and nothing at
/// all may happen in the name of a release that has ended.
fn no_stale_performer_acts(performed: &Performed, rows: &Rows) -> Vec<String> {
    let release = performed.release.as_ref().and_then(|id| rows.release(id));
    let Some(release) = release else { return Vec::new() };
    // To let somebody else's deployment pass a pause that it inherited from us is no way forward of ours.
    let theirs = !release.progress.state.is_candidates(&performed.effect);
    if theirs {
        return Vec::new();
    }
    let what = format!("{} performs \"{}\"", performed.by.name, performed.effect);
    let mut broken = Vec::new();
    if let Some(turned) = turned_at(release, rows)
        && performed.effect.is_forward()
        && performed.begun.duration_since(turned) >= LEASE
    {
        broken.push(format!("{what} though the release was rolled back at {turned}"));
    }
    if let Some(ended) = ended_at(release, rows)
        && performed.applied > ended
    {
        broken.push(format!("{what} though the release ended at {ended}"));
    }
    broken
}

/// What a release says it ended as is what runs, at that very moment.
fn the_outcome_is_what_is_live(
    release: &Release,
    live: &ServiceState,
    disturbed: bool,
    excused: bool,
) -> Vec<String> {
    let (Some(outcome), Some(plan)) = (release.outcome(), &release.plan) else { return Vec::new() };
    let promoted = match outcome {
        Outcome::Promoted => true,
        Outcome::RolledBack { .. } | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => false,
        Outcome::Failed { .. } if excused => return Vec::new(),
        Outcome::Failed { .. } => false,
    };
    if disturbed {
        return Vec::new();
    }
    let (set, expected) = (
        &live.task_definition,
        if promoted {
            plan.expected()
        } else {
            plan.setup.ecs_rollback_target().expect("an ECS service").digests()
        },
    );
    let digests = &expected[&names::container()];
    let mut broken = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("release {} ended {}: {what}", release.id, outcome.word()));
        }
    };
    let is_set = if promoted {
        Some(set) == candidate_of(release)
    } else {
        *set == plan.setup.ecs_rollback_target().expect("an ECS service").task_definition
            || Some(set) == pinned_of(release)
    };
    must(is_set, format!("the service is set to {}", set.short()));
    let shares = BTreeMap::from([(set.clone(), 100)]);
    must(live.shares == shares, format!("{:?} serve traffic, not {} alone", live.shares, set.short()));
    let serve = live.serving.keys().all(|digest| digests.contains(digest));
    must(serve, format!("the images that serve traffic are {:?}, not {digests:?}", live.serving));
    must(
        configuration::is_set(
            &plan.setup.ecs_rollback_target().expect("an ECS service").configuration,
            &live.configuration,
        ),
        format!("the configuration is not the service's own: {}", live.configuration),
    );
    must(live.under_way.is_none(), format!("deployment {:?} is still under way", live.under_way));
    broken
}

/// The service itself is not touched before the candidate carries all traffic, so that until then going back is a change of weights.
fn leaves_the_service_alone(
    release: &Release,
    before: &ServiceState,
    own: &TaskDefinitionArn,
) -> Option<String> {
    let share = before.shares.get(own).copied().unwrap_or(0);
    if is_measured(release.plan.as_ref()?) {
        return (share != 100).then(|| format!("while the candidate carries {share}%"));
    }
    let ready = before.second.as_ref().map_or(0, |second| second.ready);
    (ready == 0).then(|| "while no task of the candidate runs".to_owned())
}

/// What was made for a release is gone with it, and what was held is as it was read.
fn nothing_is_left_beside(release: &Release, live: &ServiceState) -> Vec<String> {
    let Some(Setup::EcsWeighted(setup)) = release.plan.as_ref().map(|plan| &plan.setup) else {
        return Vec::new();
    };
    let given_up = match release.outcome() {
        Some(Outcome::Failed { cause, .. }) => !matches!(cause, Cause::ExternalDeployment { .. }),
        Some(
            Outcome::Promoted
            | Outcome::RolledBack { .. }
            | Outcome::Superseded { .. }
            | Outcome::Cancelled { .. },
        )
        | None => release.progress.restore_pending.is_some(),
    };
    if given_up {
        return Vec::new();
    }
    let mut broken = Vec::new();
    if live.second.as_ref().is_some_and(|second| second.name == setup.canary) {
        broken.push(format!("release {} ended, and {} is still there", release.id, setup.canary));
    }
    let rule = setup.rollback_target.weights.first().map(|rule| &rule.weights);
    if rule.is_some_and(|rule| *rule != live.rule) {
        broken.push(format!("release {} ended with the rule {:?}, not {rule:?}", release.id, live.rule));
    }
    if setup.suspended != live.suspended {
        let (is, was) = (live.suspended, setup.suspended);
        broken.push(format!("release {} ended with {is:?} suspended, not {was:?}", release.id));
    }
    broken
}

/// Whatever anybody did before: what ends as promoted has all the traffic that is measured.
fn promoted_carries_all_traffic(release: &Release, live: &ServiceState) -> Option<String> {
    let plan = release.plan.as_ref()?;
    let share = live.shares.get(candidate_of(release)?).copied().unwrap_or(0);
    (release.outcome() == Some(&Outcome::Promoted) && is_measured(plan) && share != 100)
        .then(|| format!("release {} ended promoted with {share}% of the traffic", release.id))
}

/// A digest that was rolled back is quarantined.
fn what_was_rolled_back_is_quarantined(release: &Release, rows: &Rows) -> Option<String> {
    let rolled_back = matches!(release.outcome(), Some(Outcome::RolledBack { .. }));
    let kept = rows.head(&release.service)?.quarantine.contains_key(&names::only(&release.change).digest);
    (rolled_back && release.intent == Intent::Deploy && !kept)
        .then(|| format!("release {} was rolled back and its digest is not quarantined", release.id))
}

/// The history explains every transition; the ledger has seen to the ones between.
fn the_history_tells_the_end(release: &Release, rows: &Rows) -> Option<String> {
    let last = rows.history(&release.id).last()?;
    let told = last.version == release.version && last.event.is_end();
    (!told).then(|| format!("release {} ended and its history ends with \"{}\"", release.id, last.event))
}

fn is_a_persons(release: &Release) -> bool {
    matches!(release.requested_by, tidegate_core::actor::Actor::Person { .. })
}

/// Nothing is started in a window that was open when it was planned, and is still.
fn starts_in_no_freeze(performed: &Performed, rows: &Rows) -> Option<String> {
    let release = rows.release(performed.release.as_ref()?)?;
    let plan = release.plan.as_ref()?;
    let freeze = plan.gates.freeze.as_ref()?;
    let (planned, begun) = (freeze.at(plan.made_at)?, freeze.at(performed.begun)?);
    (planned == begun && starts(release, &performed.effect))
        .then(|| format!("\"{}\" in the freeze window {}", performed.effect, begun.window))
}

fn share_of(percent: u32) -> Percent {
    Percent::from_tenths(u16::try_from(percent * 10).expect("at most 100"))
}
