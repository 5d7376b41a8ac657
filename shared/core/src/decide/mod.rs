//! The decision: from a release and what was seen of the world to the next release, the effects to perform, when to look again, and
//! why. Pure: the same arguments give the same answer, so every path can be tried without AWS.

mod crash;
mod deadline;
mod evidence;
mod gates;
mod rollback;
mod running;
mod settle;
mod start;
mod turn;
mod waiting;
mod weights;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::commit::{Commit, ReleaseWrite, ServiceWrite};
use crate::effect::Effect;
use crate::history::Entry;
use crate::ids::{ContainerName, Digest};
use crate::observation::{Needs, Observation, Seen};
use crate::plan::{Plan, Stage};
use crate::policy::{Percent, Policy};
use crate::release::{Phase, Release};
use crate::revision::DerivedRevision;
use crate::running::{Comparison, compare};
use crate::service::ServiceRecord;

use turn::Turn;

/// How often the world is looked at while a release waits for AWS, or bakes, even if no event comes.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// How soon to look again when something is expected any moment.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(15);
/// AWS's clock and ours may differ this much when a deployment's creation is compared with a release's start.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The release as it is to be; equal to the one decided on when nothing changes.
    pub release: Release,
    /// The history entry; `None` when nothing changes but the wake-up time or the report.
    pub entry: Option<Entry>,
    /// The service row as it is to be, when it changes.
    pub head: Option<ServiceRecord>,
    /// What to do to the world once the commit has succeeded.
    pub effects: Vec<Effect>,
}

impl Decision {
    /// The change to commit; `None` when there is nothing to write.
    pub fn commit(&self, old: &Release, old_head: Option<&ServiceRecord>) -> Option<Commit> {
        if self.release.version == old.version {
            return None;
        }
        let release = ReleaseWrite {
            before: Some(Box::new(old.clone())),
            release: self.release.clone(),
            entry: self.entry.clone(),
        };
        let head = self.head.clone().map(|head| ServiceWrite {
            service: old.service.clone(),
            expected: old_head.map(|head| head.version),
            head,
            entry: None,
        });
        Some(Commit { releases: vec![release], head, ..Commit::default() })
    }
}

/// Decides what to do with a release now.
pub fn decide(release: &Release, seen: &Observation, now: Timestamp) -> Decision {
    let turn = Turn::new(release, seen, now);
    match &release.phase {
        Phase::Queued => start::queued(turn),
        Phase::Preparing { since } => start::preparing(turn, *since),
        Phase::Running { stage, since, step } => match release.plan.as_ref() {
            Some(plan) => running::running(turn, plan, *stage, *since, step),
            None => turn.unchanged(),
        },
        Phase::RollingBack(_) => rollback::rolling_back(turn),
        Phase::Settling { .. } => settle::settling(turn),
        Phase::Ended { .. } => turn.unchanged(),
    }
}

/// What the decision about this release needs to see. `policy` is the service's, for what the plan is still to be made from.
pub fn needs(release: &Release, policy: Option<&Policy>) -> Needs {
    let since = release.progress.started_at.map(|at| at.saturating_sub(CLOCK_SKEW).unwrap_or(at));
    match &release.phase {
        Phase::Queued | Phase::Ended { .. } => Needs::default(),
        Phase::Preparing { .. } => Needs {
            service: true,
            preflight: true,
            deployments_since: since,
            alarms: policy.map(|policy| policy.rollback.alarms.clone()).unwrap_or_default(),
            weights: true,
            ..Needs::default()
        },
        Phase::Running { .. } => Needs {
            service: true,
            preflight: looks_again(release),
            revision: revision(release),
            deployments_since: since,
            alarms: release.plan.as_ref().map(|plan| plan.alarms.clone()).unwrap_or_default(),
            weights: true,
            scan: release.stage() == Some(&Stage::Scan),
            build: gates::build_of(release),
            stopped_tasks: crash::needed(release),
            requests: evidence::needed(release),
            ..Needs::default()
        },
        Phase::RollingBack(_) | Phase::Settling { .. } => Needs {
            service: true,
            revision: rollback::sought(release),
            // What was never changed runs as it did.
            running: release.progress.asked_at.is_some(),
            stopped_tasks: rollback::brought_back(release).cloned(),
            stored: rollback::images_brought_back(release),
            deployments_since: since,
            weights: true,
            ..Needs::default()
        },
    }
}

/// Whether preflight is done again: directly before the deployment is asked for.
fn looks_again(release: &Release) -> bool {
    release.stage() == Some(&Stage::StartDeployment) && release.progress.asked_at.is_none()
}

/// The revision that is registered in the current stage.
fn revision(release: &Release) -> Option<DerivedRevision> {
    let plan = release.plan.as_ref()?;
    match release.stage()? {
        Stage::PinRollbackTarget => plan.rollback_target.pinned(),
        Stage::RegisterTaskDefinition => Some(plan.candidate.clone()),
        Stage::StartDeployment
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::Verify { .. }
        | Stage::RollOut
        | Stage::Promote => None,
    }
}

/// What the images that run are, compared with those that should. Nothing runs that could be compared when no task is wanted, and
/// what was never changed is as it was.
fn compared(
    release: &Release,
    seen: &Observation,
    expected: &BTreeMap<ContainerName, Vec<Digest>>,
) -> Comparison {
    let idle = matches!(seen.service.known(), Some(Some(service)) if service.desired == 0);
    if idle || release.progress.asked_at.is_none() {
        return Comparison::Same;
    }
    match &seen.running {
        Seen::Known(running) => compare(expected, running),
        Seen::Unknown(error) => {
            Comparison::Unknown(format!("the images that run could not be seen: {error}"))
        }
        Seen::NotAsked => Comparison::Unknown("the images that run have not been looked at yet".into()),
    }
}

/// Keeps the candidate's share as the load balancers have it, where it could be seen.
fn keep_measured(turn: &mut Turn<'_>, plan: &Plan) {
    let measured = turn.seen.weights.known().and_then(|rules| plan.measured(rules));
    turn.next.progress.measured = measured.or(turn.next.progress.measured);
}

/// What differs between the live weights and the share that should be live; `None` when nothing differs or nothing was seen.
fn drift(plan: &Plan, seen: &Observation, wanted: Percent) -> Option<String> {
    let rules = seen.weights.known()?;
    plan.measured_at.iter().find_map(|(rule, group)| {
        let live = rules.iter().find(|seen| seen.arn == *rule).and_then(|seen| seen.share(group));
        live.is_none_or(|live| !live.is_rounded(wanted)).then(|| {
            let live = live.map_or_else(|| "nothing".to_owned(), |live| format!("{live}%"));
            format!("{} has {live}, {wanted}% was set", group.short())
        })
    })
}
