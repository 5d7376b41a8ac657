//! A Lambda function by one of its aliases: a version is published from the image, and the alias sends it a share of its invocations. One call
//! changes the alias as a whole, and names the revision that was seen: AWS refuses it when somebody else was faster. Nothing is fought over,
//! and rolling back is one call.

mod back;
mod forward;
mod preflight;

use jiff::Timestamp;

use super::ecs_native::running::Comparison;
use crate::engine::{Back, Engine, Move, Settle, Traffic, Trouble};
use crate::fault::PortError;
use crate::history::{Fact, WaitingOn};
use crate::ids::FunctionVersion;
use crate::intent::{Deployed, LambdaDeployed};
use crate::observation::{EffectResult, Needs, Observation, Refusal};
use crate::outcome::Outcome;
use crate::plan::{LambdaAlias, Plan, Preparation, Stage};
use crate::policy::Percent;
use crate::release::state::{self, State};
use crate::release::{Phase, Release, RollingBack, Step};
use crate::seen::Seen;
use crate::service::LeftBehind;
use crate::turn::{LAG, Turn};
use crate::vocab::lambda::{AliasSeen, Routing};

pub(super) use preflight::preflight;

/// What preflight needs to see. The version that runs is named by the alias, so it is known once that has been seen.
pub(super) fn needs_of_preflight(release: &Release, seen: &Observation, needs: &mut Needs) {
    let lambda = &mut needs.lambda;
    (lambda.alias, lambda.latest, lambda.around) = (true, true, true);
    let destination = release.intent.deployed().and_then(Deployed::lambda);
    lambda.versions.extend(destination.map(|deployed| deployed.version.clone()));
    needs.new_images = true;
    let Some(Some(alias)) = seen.lambda.alias.known() else { return };
    lambda.versions.extend(alias.version.clone());
    let runs = alias.version.as_ref().and_then(|version| {
        let versions = seen.lambda.versions.known()?;
        versions.get(version)?.as_ref()?.image.clone()
    });
    needs.stored.extend(runs);
}

/// What an alias does when its candidate has a share of its invocations. Until it is promoted it points at the stable version: so both are
/// counted by version, and what it was stays written in it.
fn routing(stable: &FunctionVersion, candidate: Option<&FunctionVersion>, share: Percent) -> Routing {
    let other = candidate.filter(|_| share > Percent::NONE).map(|candidate| (candidate.clone(), share));
    Routing { version: stable.clone(), other }
}

impl LambdaAlias {
    fn state<'t>(turn: &'t Turn<'_>) -> &'t state::LambdaAlias {
        turn.next.progress.state.lambda_alias()
    }

    fn stable(&self) -> &FunctionVersion {
        &self.rollback_target.version
    }

    /// What the alias was set to last.
    fn expected(&self, release: &Release) -> Routing {
        let state = release.progress.state.lambda_alias();
        match &state.version {
            Some(candidate) if state.promoting => Routing::all(candidate.clone()),
            candidate => {
                let share = release.progress.set.filter(|_| state.set_at.is_some()).unwrap_or(Percent::NONE);
                routing(self.stable(), candidate.as_ref(), share)
            }
        }
    }

    /// Whether it can only be this release, or what was before it, that an alias does this.
    fn is_known(&self, release: &Release, routing: &Routing) -> bool {
        let candidate = release.progress.state.lambda_alias().version.as_ref();
        let is_ours = |version: &FunctionVersion| Some(version) == candidate;
        match &routing.other {
            None => routing.version == *self.stable() || is_ours(&routing.version),
            Some((other, _)) => routing.version == *self.stable() && is_ours(other),
        }
    }

    /// What somebody else has made of the alias; `None` while it is this release's, or could not be seen.
    fn external(&self, turn: &Turn<'_>) -> Option<String> {
        let name = &self.rollback_target.alias;
        let Some(alias) = turn.seen.lambda.alias.known()? else {
            return Some(format!("the alias {name} was deleted"));
        };
        let Some(routing) = alias.routing().filter(|routing| self.is_known(&turn.next, routing)) else {
            return Some(format!(
                "{name} sends its invocations to {}, which this release did not set",
                told(alias)
            ));
        };
        let state = Self::state(turn);
        // What is as it was when it was asked to change has not been changed yet; reads may lag behind what was.
        let is_as_before = state.revision.as_ref() == Some(&alias.revision);
        let expected = self.expected(&turn.next);
        if routing == expected || is_as_before || !caught_up(turn, state.set_at) {
            return None;
        }
        Some(format!("{name} sends its invocations to {routing}, and this release had set {expected}"))
    }
}

/// What an alias does, for people.
fn told(alias: &AliasSeen) -> String {
    match (alias.routing(), &alias.version) {
        (Some(routing), _) => routing.to_string(),
        (None, Some(version)) => format!("version {version} and several others"),
        (None, None) => "$LATEST".to_owned(),
    }
}

/// Whether reads have surely caught up with what was done at `at`.
fn caught_up(turn: &Turn<'_>, at: Option<Timestamp>) -> bool {
    at.is_none_or(|at| turn.seen.at.duration_since(at) >= LAG)
}

/// The alias, when it was seen to be there.
fn alias<'t>(turn: &Turn<'t>) -> Option<&'t AliasSeen> {
    turn.seen.lambda.alias.known()?.as_ref()
}

impl Engine for LambdaAlias {
    fn begin(&self, release: &Release, _plan: &Plan) -> State {
        let version = release.intent.deployed().and_then(Deployed::lambda).map(|it| it.version.clone());
        State::LambdaAlias(state::LambdaAlias { version, ..state::LambdaAlias::default() })
    }

    fn needs(&self, release: &Release, _plan: &Plan, seen: &Observation, needs: &mut Needs) {
        needs.lambda.alias = true;
        let state = release.progress.state.lambda_alias();
        match &release.phase {
            Phase::Running { .. } => match release.stage() {
                Some(Stage::Prepare { .. } | Stage::Start) if release.progress.asked_at.is_none() => {
                    needs_of_preflight(release, seen, needs);
                    needs.lambda.versions.extend(state.version.clone());
                }
                Some(Stage::Prepare { .. }) => needs.lambda.latest = true,
                Some(Stage::Start) => needs.lambda.versions.extend(state.version.clone()),
                Some(
                    Stage::Shift { .. }
                    | Stage::Bake { .. }
                    | Stage::Approve { .. }
                    | Stage::Freeze
                    | Stage::Scan
                    | Stage::Verify { .. }
                    | Stage::RollOut
                    | Stage::Promote,
                )
                | None => {}
            },
            Phase::Settling { outcome, .. } => {
                needs.lambda.latest = state.code_asked_at.is_some() && *outcome != Outcome::Promoted;
            }
            Phase::RollingBack(_) | Phase::Queued | Phase::Preparing { .. } | Phase::Ended { .. } => {}
        }
    }

    fn is_measured(&self) -> bool {
        true
    }

    fn share_needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.lambda.alias = true;
        needs
    }

    fn share_unseen<'s>(&self, seen: &'s Observation) -> Option<&'s PortError> {
        seen.lambda.alias.error()
    }

    fn measured(&self, release: &Release, seen: &Observation) -> Option<Percent> {
        let routing = seen.lambda.alias.known()?.as_ref()?.routing()?;
        let candidate = release.progress.state.lambda_alias().version.as_ref();
        Some(candidate.map_or(Percent::NONE, |candidate| routing.share(candidate)))
    }

    fn traffic(&self, release: &Release, seen: &Observation, share: Percent) -> Traffic {
        let name = &self.rollback_target.alias;
        let alias = match &seen.lambda.alias {
            Seen::Known(Some(alias)) => alias,
            Seen::Known(None) => return Traffic::Differs(format!("the alias {name} was deleted")),
            Seen::Unknown(error) => return Traffic::Unseen(error.to_string()),
            Seen::NotAsked => return Traffic::Unseen("not asked for".to_owned()),
        };
        let state = release.progress.state.lambda_alias();
        let wanted = match &state.version {
            Some(candidate) if state.promoting && share == Percent::ALL => Routing::all(candidate.clone()),
            candidate => routing(self.stable(), candidate.as_ref(), share),
        };
        if alias.routing().as_ref() == Some(&wanted) {
            return Traffic::AsSet;
        }
        Traffic::Differs(format!("{name} sends its invocations to {}, and {wanted} was set", told(alias)))
    }

    fn started_at(&self, turn: &Turn<'_>) -> Option<Timestamp> {
        turn.old.progress.asked_at
    }

    fn learn(&self, turn: &mut Turn<'_>, _plan: &Plan) {
        let published = turn.seen.results.iter().find_map(|result| match result {
            EffectResult::VersionPublished { version } => Some(version.clone()),
            EffectResult::Invited { .. } | EffectResult::BuildStarted { .. } => None,
        });
        if published.is_some() && Self::state(turn).version.is_none() {
            turn.next.progress.state.lambda_alias_mut().version = published;
        }
        let Some(alias) = alias(turn) else { return };
        if alias.routing() == Some(self.expected(&turn.next)) {
            let revision = Some(alias.revision.clone());
            if Self::state(turn).revision != revision {
                turn.next.progress.state.lambda_alias_mut().revision = revision;
            }
        }
    }

    fn is_void(&self, _turn: &Turn<'_>, _refusal: &Refusal) -> bool {
        false
    }

    fn watch(&self, turn: &Turn<'_>, _plan: &Plan, _stage: usize, _since: Timestamp) -> Option<Trouble> {
        turn.next.progress.asked_at?;
        self.external(turn).map(Trouble::Yield)
    }

    fn repair(&self, _turn: &mut Turn<'_>) -> Option<Move> {
        // What was not changed is changed again by its stage, and what somebody else has set is theirs.
        None
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

    fn roll_back_by_hand(&self, turn: &Turn<'_>, _plan: &Plan) -> String {
        back::by_hand(turn, self)
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
        let alias = alias(turn)?;
        let known = alias.routing().is_some_and(|routing| self.is_known(&turn.next, &routing));
        (!known && turn.next.progress.asked_at.is_some())
            .then(|| Fact::RoutedMeanwhile { alias: self.rollback_target.alias.clone(), to: told(alias) })
    }

    fn compare_images(&self, turn: &Turn<'_>, _plan: &Plan, promoted: bool) -> Comparison {
        // A version never changes: its digest was proven before it got its first invocation.
        let share = if promoted { Percent::ALL } else { Percent::NONE };
        match self.traffic(&turn.next, turn.seen, share) {
            Traffic::AsSet => Comparison::Same,
            Traffic::Unseen(why) => Comparison::Unknown(why),
            Traffic::Differs(detail) => Comparison::Differs(detail),
        }
    }

    fn correct(&self, _turn: &mut Turn<'_>, _detail: &str) -> bool {
        false
    }

    fn other_images(&self, _turn: &Turn<'_>, _plan: &Plan, detail: &str) -> String {
        format!("{detail}; {}", back::point_at(self))
    }

    fn left_behind(&self, _turn: &Turn<'_>, before: Option<LeftBehind>) -> Option<LeftBehind> {
        before
    }

    fn deployed(&self, turn: &Turn<'_>) -> Option<Deployed> {
        let version = turn.old.progress.state.lambda_alias().version.clone()?;
        let function = turn.old.target.lambda()?.function.clone();
        let image = self.images.values().next()?.clone();
        let name = format!("{function}:{version}");
        Some(Deployed::Lambda(Box::new(LambdaDeployed { name, version, image })))
    }
}

/// Whether a version has to be published: a rollback release brings one that is there.
fn publishes(plan: &Plan) -> bool {
    plan.stages.contains(&Stage::Prepare { what: Preparation::Candidate })
}
