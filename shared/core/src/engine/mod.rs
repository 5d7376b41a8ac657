//! The engines: each is one way to bring an image to one kind of target. This is the only place that lists them.
//!
//! An engine is a pure module. It says what it needs to see, proves in preflight that it can do what the policy asks and undo it, takes a
//! stage one step further, rolls back, and leaves the target as it was found. Whether a step may be taken, and what becomes of the release,
//! is decided by the frame ([`crate::decide`]): an engine answers what it would do next, as a `Move`, and the frame does it.

pub mod ecs_native;
pub mod ecs_weighted;
pub mod lambda_alias;
mod latency;
mod revisions;

use jiff::{SignedDuration, Timestamp};

use crate::effect::Effect;
use crate::fault::PortError;
use crate::finding::{Finding, FindingCode};
use crate::history::{Event, Fact, Held, StageResult, WaitingOn};
use crate::intent::{Deployed, Intent};
use crate::observation::{Needs, Observation, Refusal};
use crate::outcome::{Cause, Outcome};
use crate::plan::{Compared, Plan, Setup};
use crate::policy::{EngineFor, Percent, Policy, Shift};
use crate::release::state::State;
use crate::release::{Phase, Progress, Release, RollingBack, Step};
use crate::service::LeftBehind;
use crate::turn::Turn;

pub use ecs_native::running::Comparison;

/// What an engine would do next.
#[derive(Debug)]
pub(crate) enum Move {
    /// The stage is done.
    Done(StageResult),
    /// Look again after this, and what for.
    Wait(SignedDuration, WaitingOn),
    /// Act.
    Act(Box<Act>),
    /// The release cannot continue.
    Fail(Cause),
    /// Somebody else has deployed: nothing is fought over.
    Yield(String),
    /// Nothing has been started, and what the plan was made from has changed: how.
    Replan(Vec<String>),
}

/// What an engine would do to the world, and what the release has learnt by it. The frame takes it over whole, or not at all.
#[derive(Debug)]
pub(crate) struct Act {
    /// What to do.
    pub(crate) effects: Vec<Effect>,
    /// The release's progress with it.
    pub(crate) progress: Progress,
    /// What to tell, when that is more than the effects say.
    pub(crate) event: Option<Event>,
    /// What is waited for afterwards.
    pub(crate) waiting_on: WaitingOn,
    /// What has to be proven first, when the candidate gets more traffic by it.
    pub(crate) proof: Option<Proof>,
}

/// What has to be proven before the candidate gets more traffic: that every alarm is OK, and that traffic is where it was put.
#[derive(Debug)]
pub(crate) struct Proof {
    /// What is held until then.
    pub(crate) what: Held,
    /// Since when traffic is where it was put; `None`: nothing has been put anywhere yet.
    pub(crate) traffic_since: Option<Timestamp>,
}

/// What an engine would do next on the way back.
#[derive(Debug)]
pub(crate) enum Back {
    /// The stable version is back; `started`: whether anything of the candidate ever was under way.
    Done {
        /// Whether it was.
        started: bool,
    },
    /// Look again after this, and what for.
    Wait(SignedDuration, WaitingOn),
    /// A person has to do this: it has been told.
    Call(String),
    /// Somebody else has deployed: nothing is fought over.
    Yield(String),
}

/// What an engine would do next to leave the target as it was found.
#[derive(Debug)]
pub(crate) enum Settle {
    /// It is, and traffic is where the outcome says.
    Done,
    /// Look again after this, and what for.
    Wait(SignedDuration, WaitingOn),
    /// Look again soon, but not for ever.
    Until(WaitingOn),
    /// It cannot end like this.
    RollBack(Cause),
    /// Somebody else has deployed: nothing is fought over.
    Yield(String),
}

/// What keeps a release from continuing, whatever the stage.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The release cannot continue.
    Fail(Cause),
    /// Somebody else has deployed: nothing is fought over.
    Yield(String),
}

/// Whether production traffic is where it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// It is, or nothing measures it.
    AsSet,
    /// It could not be seen, and why.
    Unseen(String),
    /// It is not, and how.
    Differs(String),
}

/// What preflight says.
#[derive(Debug)]
pub enum Preflight {
    /// The release can start by this plan; the findings are notes.
    Pass(Box<Plan>, Vec<Finding>),
    /// It cannot, before a person has fixed the blocking findings.
    Blocked(Vec<Finding>),
    /// Not everything could be seen; look again.
    CannotSee(Vec<PortError>),
}

/// One way to bring an image to one kind of target. What it is called with beside the turn is the plan it made itself.
pub(crate) trait Engine {
    /// How far it is when the plan has just been made.
    fn begin(&self, release: &Release, plan: &Plan) -> State;
    /// What the decision about a release with a plan needs to see of the target, as far as that is known from what was `seen` so far.
    fn needs(&self, release: &Release, plan: &Plan, seen: &Observation, needs: &mut Needs);

    /// Whether somebody measures the candidate's share.
    fn is_measured(&self) -> bool;
    /// What has to be asked to see the candidate's share.
    fn share_needs(&self) -> Needs;
    /// Why it could not be seen, if it could not.
    fn share_unseen<'s>(&self, seen: &'s Observation) -> Option<&'s PortError>;
    /// The candidate's share as it is measured, where it could be seen.
    fn measured(&self, release: &Release, seen: &Observation) -> Option<Percent>;
    /// Whether production traffic is where it belongs when the candidate has this share.
    fn traffic(&self, release: &Release, seen: &Observation, share: Percent) -> Traffic;
    /// When the candidate began, once it was seen.
    fn started_at(&self, turn: &Turn<'_>) -> Option<Timestamp>;

    /// Keeps what was seen or told of the candidate: tasks that failed, the version it was published as.
    fn learn(&self, turn: &mut Turn<'_>, plan: &Plan);
    /// Whether a refusal is no failure, because what was refused has been done before.
    fn is_void(&self, turn: &Turn<'_>, refusal: &Refusal) -> bool;
    /// What keeps the release from continuing, whatever the stage.
    fn watch(&self, turn: &Turn<'_>, plan: &Plan, stage: usize, since: Timestamp) -> Option<Trouble>;
    /// What it would do about traffic that something else has moved; nothing, where all it can do is roll back.
    fn repair(&self, turn: &mut Turn<'_>) -> Option<Move>;
    /// What nobody can say yet, so that nothing continues before the next look.
    fn unclear(&self, turn: &mut Turn<'_>) -> Option<WaitingOn>;
    /// Takes a stage one step further.
    fn step(&self, turn: &mut Turn<'_>, plan: &Plan, stage: usize, since: Timestamp, step: &Step) -> Move;

    /// A rollback begins.
    fn begin_rollback(&self, turn: &mut Turn<'_>);
    /// One step further back.
    fn roll_back(&self, turn: &mut Turn<'_>, plan: &Plan, back: &RollingBack) -> Back;
    /// Whether a rollback that has just been refused can be done in another way.
    fn has_another_way(&self, turn: &mut Turn<'_>) -> bool;
    /// What a person has to do when the rollback cannot be done.
    fn roll_back_by_hand(&self, turn: &Turn<'_>, plan: &Plan) -> String;

    /// One step further to leaving the target as it was found, with `outcome`. `late`: it has taken so long that what is left is for a person.
    fn settle(
        &self,
        turn: &mut Turn<'_>,
        plan: &Plan,
        outcome: &Outcome,
        late: bool,
        since: Timestamp,
    ) -> Settle;
    /// What a person has to do when that could not be done.
    fn settle_by_hand(&self, waiting_on: &WaitingOn) -> String;
    /// What somebody else has deployed meanwhile: it is not ours to judge.
    fn deployed_meanwhile(&self, turn: &Turn<'_>) -> Option<Fact>;
    /// What the images that run are, compared with those that should.
    fn compare_images(&self, turn: &Turn<'_>, plan: &Plan, promoted: bool) -> Comparison;
    /// Whether a rollback that ended with other images than those of before can be taken up again, by what is known better now.
    fn correct(&self, turn: &mut Turn<'_>, detail: &str) -> bool;
    /// What a person has to know and do when other images run than should.
    fn other_images(&self, turn: &Turn<'_>, plan: &Plan, detail: &str) -> String;
    /// What of the release stays in the target when it ends.
    fn left_behind(&self, turn: &Turn<'_>, before: Option<LeftBehind>) -> Option<LeftBehind>;
    /// What a promoted release has deployed, so that it can be brought back.
    fn deployed(&self, turn: &Turn<'_>) -> Option<Deployed>;
}

/// The engine that carries out a plan.
pub(crate) fn of(plan: &Plan) -> &dyn Engine {
    match &plan.setup {
        Setup::EcsNative(native) => native,
        Setup::EcsWeighted(weighted) => weighted,
        Setup::LambdaAlias(lambda) => lambda,
    }
}

/// What has to be asked to see the candidate's share of a plan, and nothing else.
pub fn share_needs(plan: &Plan) -> Needs {
    of(plan).share_needs()
}

/// Why the candidate's share could not be seen, if it could not.
pub fn share_unseen<'s>(plan: &Plan, seen: &'s Observation) -> Option<&'s PortError> {
    of(plan).share_unseen(seen)
}

/// The candidate's share as it is measured, where it could be seen.
pub fn measured(release: &Release, seen: &Observation) -> Option<Percent> {
    of(release.plan.as_ref()?).measured(release, seen)
}

/// Looks at everything that can be known before there is a plan, and makes it.
pub fn preflight(policy: &Policy, release: &Release, seen: &Observation, now: Timestamp) -> Preflight {
    let policy = match latency::filled(policy, seen) {
        Ok(policy) => policy,
        Err(preflight) => return preflight,
    };
    let policy = &*policy;
    let preflight = match policy.engine() {
        EngineFor::EcsNative(to) => ecs_native::preflight(policy, to, release, seen, now),
        EngineFor::EcsWeighted(to) => ecs_weighted::preflight(policy, to, release, seen, now),
        EngineFor::LambdaAlias(_) => lambda_alias::preflight(policy, release, seen, now),
    };
    match preflight {
        Preflight::Pass(plan, mut findings) => match not_seen_apart(policy, release, &plan) {
            Some(finding) => {
                findings.push(finding);
                Preflight::Blocked(findings)
            }
            None => Preflight::Pass(plan, findings),
        },
        Preflight::Blocked(_) | Preflight::CannotSee(_) => preflight,
    }
}

/// A policy that asks for a comparison, or a limit, whose numbers nothing can tell from the other version's asks for what never comes.
fn not_seen_apart(policy: &Policy, release: &Release, plan: &Plan) -> Option<Finding> {
    if matches!(release.intent, Intent::Rollback { .. }) {
        return None;
    }
    let evidence = plan.evidence.as_deref();
    let is_compared = |of: &Compared| {
        evidence.is_some_and(|evidence| evidence.comparisons.iter().any(|comparison| comparison.of == *of))
    };
    let mut asked = policy.evidence.compare.iter().flatten().map(|compare| (compare, Compared::of(compare)));
    let is_missing = |of: &Option<Compared>| of.as_ref().is_none_or(|of| !is_compared(of));
    if let Some((compare, _)) = asked.find(|(_, of)| is_missing(of)) {
        let problem = format!(
            "the policy compares {compare} of both versions, and nothing tells which were the candidate's: only an Application Load Balancer counts by target group, and a metric of your own needs the digest that runs"
        );
        return Some(Finding::blocking(FindingCode::NotToldApart, problem));
    }
    let limits = evidence.map_or(0, |evidence| evidence.limits.len());
    (limits < policy.evidence.limits.len()).then(|| {
        let problem = "a limit names the digest of a container that the release does not change".to_owned();
        Finding::blocking(FindingCode::NotToldApart, problem)
    })
}

/// What the decision about a release needs to see of its target, as far as that is known from what was `seen` so far.
pub(crate) fn needs(release: &Release, seen: &Observation) -> Needs {
    let mut needs = Needs::default();
    match (&release.phase, &release.plan) {
        (Phase::Queued | Phase::Ended { .. }, _) => {}
        (Phase::Preparing { .. }, _) | (_, None) => {
            // Without its policy nobody knows what to look at: the service's row is asked for again before anything else.
            let Some(policy) = seen.head.as_ref().map(|head| &head.policy) else { return needs };
            latency::needs(policy, seen, &mut needs);
            match policy.engine() {
                EngineFor::EcsNative(_) => {
                    let ecs_shifts = policy.strategy.shift != Shift::Rolling;
                    ecs_native::needs_of_preflight(release, ecs_shifts, seen, &mut needs);
                }
                EngineFor::EcsWeighted(to) => {
                    ecs_native::needs_of_preflight(release, false, seen, &mut needs);
                    ecs_weighted::needs_of_preflight(to, release, &mut needs);
                }
                EngineFor::LambdaAlias(_) => lambda_alias::needs_of_preflight(release, seen, &mut needs),
            }
        }
        (_, Some(plan)) => of(plan).needs(release, plan, seen, &mut needs),
    }
    needs
}
