//! The plan: the stages of a release and the rollback target, written before the first step. Data: printable, stored, hashed.

mod evidence;
mod setup;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::approval::{ApprovalGate, Approver};
use crate::change::Change;
use crate::ids::{AlarmName, ContainerName, Digest, Target};
use crate::intent::Intent;
use crate::policy::{
    Approval, Before, EngineFor, Freeze, OnExpiry, Percent, Person, Policy, Scan, Shift, Span, Strategy,
    Verify, VerifyAt,
};
use crate::reference::digest_of;

pub use evidence::{Arm, Bound, Compared, Comparison, Evidence, Limit};
pub(crate) use evidence::{Executed, Variant, Variants};
pub use setup::{
    EcsNative, EcsRollbackTarget, EcsWeighted, Groups, LambdaAlias, LambdaRollbackTarget, RollbackTarget,
    Setup, Share, Words,
};

/// How much longer than it lasts a bake may be held for alarms that are not OK, seconds.
const BAKE_GRACE_SECS: u64 = 10 * 60;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Stage {
    /// What has to be there before anything of the target is changed.
    Prepare { what: Preparation },
    /// The candidate starts, without production traffic.
    Start,
    /// Production traffic moves until the candidate has this share.
    Shift {
        /// The share afterwards.
        percent: Percent,
    },
    /// The alarms are watched at this share.
    Bake {
        /// The share.
        percent: Percent,
        /// How long, seconds.
        secs: u32,
    },
    /// People approve.
    Approve {
        /// The index among the plan's approval gates.
        gate: usize,
    },
    /// No freeze window is open.
    Freeze,
    /// The image's scan is good enough.
    Scan,
    /// A build that tries the candidate succeeds.
    Verify {
        /// The index among the plan's verifications.
        verify: usize,
    },
    /// Tasks are replaced in place (rolling).
    RollOut,
    /// The stable version's tasks are given up.
    Promote,
}

/// What is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preparation {
    /// The stable version, with every image by the digest that runs: what a rollback brings back.
    RollbackTarget,
    /// The candidate: what runs, with only its image changed.
    Candidate,
}

impl Stage {
    /// How long the stage may take before the release is rolled back, seconds.
    pub fn limit_secs(&self) -> u64 {
        match self {
            Self::Prepare { .. } => 10 * 60,
            Self::Start => 30 * 60,
            // A Network Load Balancer adds ten minutes to every shift (ECS developer guide, NLB resources for blue/green).
            Self::Shift { .. } => 25 * 60,
            Self::Bake { secs, .. } => u64::from(*secs) + BAKE_GRACE_SECS,
            Self::RollOut => 2 * 3600,
            Self::Promote => 60 * 60,
            // These end by limits of their own, which the policy gives; a freeze may last.
            Self::Approve { .. } | Self::Freeze | Self::Scan | Self::Verify { .. } => u64::MAX,
        }
    }

    /// How long it takes at least, seconds.
    pub fn at_least_secs(&self) -> u32 {
        match self {
            Self::Bake { secs, .. } => *secs,
            Self::Prepare { .. }
            | Self::Start
            | Self::Shift { .. }
            | Self::Approve { .. }
            | Self::Freeze
            | Self::Scan
            | Self::Verify { .. }
            | Self::RollOut
            | Self::Promote => 0,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { what: Preparation::RollbackTarget } => f.write_str("prepare rollback target"),
            Self::Prepare { what: Preparation::Candidate } => f.write_str("prepare candidate"),
            Self::Start => f.write_str("start candidate"),
            Self::Shift { percent } => write!(f, "shift to {percent}%"),
            Self::Bake { percent, secs } => {
                write!(f, "bake at {percent}% for {}", crate::words::bake_span(*secs))
            }
            Self::Approve { gate } => write!(f, "approval {}", gate + 1),
            Self::Freeze => f.write_str("no freeze window"),
            Self::Scan => f.write_str("scan of the image"),
            Self::Verify { verify } => write!(f, "verification {}", verify + 1),
            Self::RollOut => f.write_str("roll out"),
            Self::Promote => f.write_str("promote"),
        }
    }
}

/// What a release will do, and what undoes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Plan {
    pub target: Target,
    /// What is deployed: the release's images, by the host that the service pulls from.
    pub change: Change,
    /// Every digest AWS may call an image by once it runs: its own, and those of an index's parts.
    pub runs_as: BTreeMap<ContainerName, Vec<Digest>>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// The alarms the release is judged by.
    pub alarms: Vec<AlarmName>,
    /// So many failed tasks of the candidate roll it back; 0: none do.
    #[serde(default)]
    pub failed_tasks: u32,
    /// The numbers it is judged by; `None` where the policy asks for none, or nobody counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
    /// How long people may pause it in all, seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pause_secs: u32,
    /// What the release has to pass beside its alarms.
    #[serde(default)]
    pub gates: Gates,
    /// How it is done, and undone: what the engine needs to know.
    pub setup: Setup,
    pub made_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(secs: &u32) -> bool {
    *secs == 0
}

/// What a release has to pass beside its alarms, as its policy had it when the plan was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// People who approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalGate>,
    /// Everyone the policy knows, by all their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, Person>,
    /// Times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// The image's scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scan>,
    /// Builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verifies: Vec<Verify>,
}

/// How long gates may hold a release, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateWaits {
    /// Before traffic moves.
    pub before_shift: u64,
    /// Before the stable version is terminated.
    pub before_promotion: u64,
}

impl GateWaits {
    /// Each so many seconds longer.
    #[must_use]
    pub fn longer_by(self, secs: u64) -> Self {
        Self { before_shift: self.before_shift + secs, before_promotion: self.before_promotion + secs }
    }
}

impl Gates {
    /// How long the gates may hold the release where it waits for them.
    pub(crate) fn longest_waits(&self) -> GateWaits {
        let approvals = |before: Before| -> u64 {
            let gates = self.approvals.iter().filter(|gate| gate.approval.before == before);
            gates.map(|gate| u64::from(gate.approval.expires.secs())).sum()
        };
        // A pause stands before every shift with the same limit: the verification of the first one counts for all.
        let verifies: u64 = self.verifies.iter().map(|verify| u64::from(verify.timeout.secs())).sum();
        GateWaits {
            before_shift: approvals(Before::Shift) + verifies,
            before_promotion: approvals(Before::Promote),
        }
    }
}

/// What was asked of a release, as far as the plan depends on it.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// What it is meant to do.
    pub intent: &'a Intent,
    /// Why freeze windows do not hold it.
    pub bypass_freeze: Option<&'a str>,
}

/// What every plan has, whichever engine carries it out: how it moves, and what it has to pass on the way.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    pub(crate) strategy: Strategy,
    pub(crate) alarms: Vec<AlarmName>,
    pub(crate) gates: Gates,
    failed_tasks: u32,
    evidence: Option<Evidence>,
    pause_secs: u32,
}

/// What an engine adds to the outline.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The images, as they are deployed.
    pub(crate) change: Change,
    /// Every digest they may be called by once they run.
    pub(crate) runs_as: BTreeMap<ContainerName, Vec<Digest>>,
    /// What has to be prepared, in order.
    pub(crate) preparations: Vec<Preparation>,
    /// What the engine needs to know.
    pub(crate) setup: Setup,
}

impl Outline {
    /// What the policy says about a release like this, with what tells its two versions apart.
    pub(crate) fn new(
        policy: &Policy,
        request: PlanRequest<'_>,
        variants: impl FnOnce(&Strategy) -> Variants,
    ) -> Self {
        let PlanRequest { intent, bypass_freeze } = request;
        let strategy = strategy_for(policy, intent);
        let compares = strategy.shift != Shift::BlueGreen;
        let (alarms, gates, evidence, pause_secs) = match intent {
            Intent::Deploy | Intent::Drill => (
                policy.rollback.alarms.clone(),
                gates(policy, bypass_freeze),
                variants(&strategy).evidence(policy, compares),
                policy.pause_secs(),
            ),
            // The alarms are in ALARM because of what is being left; a rollback is held by nothing, bakes nowhere and waits for nothing.
            Intent::Rollback { .. } => (Vec::new(), Gates::default(), None, 0),
        };
        let failed_tasks = match policy.engine() {
            EngineFor::EcsNative(_) | EngineFor::EcsWeighted(_) => policy.rollback.failed_tasks,
            // A function has no tasks.
            EngineFor::LambdaAlias(_) => 0,
        };
        Self { strategy, alarms, gates, evidence, pause_secs, failed_tasks }
    }

    /// How long the release may be held where it waits for gates, for numbers to be seen, or for whoever paused it.
    pub(crate) fn longest_waits(&self) -> GateWaits {
        let numbers = self.evidence.as_ref().map_or(0, |evidence| u64::from(evidence.wait_secs));
        self.gates.longest_waits().longer_by(numbers + u64::from(self.pause_secs))
    }

    /// The plan.
    pub(crate) fn plan(self, target: &Target, prepared: Prepared, now: Timestamp) -> Plan {
        let Prepared { change, runs_as, preparations, setup } = prepared;
        Plan {
            target: target.clone(),
            change,
            runs_as,
            stages: stages(&self.strategy, &self.gates, &preparations),
            alarms: self.alarms,
            failed_tasks: self.failed_tasks,
            evidence: self.evidence.map(Box::new),
            pause_secs: self.pause_secs,
            gates: self.gates,
            setup,
            made_at: now,
        }
    }
}

/// A return to the stable version does not creep: all traffic at once, or in place where the policy says rolling.
fn strategy_for(policy: &Policy, intent: &Intent) -> Strategy {
    let strategy = &policy.strategy;
    let shift = match (intent, &strategy.shift) {
        (Intent::Deploy | Intent::Drill, _) => return strategy.clone(),
        (Intent::Rollback { .. }, Shift::Rolling) => Shift::Rolling,
        (
            Intent::Rollback { .. },
            Shift::Canary { .. } | Shift::Linear { .. } | Shift::Steps { .. } | Shift::BlueGreen,
        ) => Shift::BlueGreen,
    };
    Strategy { shift, bake: Span::default(), engine: strategy.engine }
}

fn stages(strategy: &Strategy, gates: &Gates, preparations: &[Preparation]) -> Vec<Stage> {
    let mut stages = Vec::new();
    stages.extend(gates.scan.is_some().then_some(Stage::Scan));
    stages.extend(approvals(gates, Before::Deploy));
    stages.extend(gates.freeze.is_some().then_some(Stage::Freeze));
    stages.extend(preparations.iter().map(|what| Stage::Prepare { what: *what }));
    stages.push(Stage::Start);
    stages.extend(verifies(gates, VerifyAt::Candidate));
    stages.extend(approvals(gates, Before::Shift));
    let shifts = shifts(strategy);
    for (index, (percent, bake)) in shifts.iter().enumerate() {
        stages.push(Stage::Shift { percent: *percent });
        if index == 0 {
            stages.extend(verifies(gates, VerifyAt::FirstShift));
        }
        stages.extend(bake_at(*percent, *bake));
    }
    if shifts.is_empty() {
        stages.push(Stage::RollOut);
        stages.extend(bake_at(Percent::ALL, strategy.bake));
    } else {
        stages.extend(approvals(gates, Before::Promote));
        stages.push(Stage::Promote);
    }
    stages
}

/// The shares of traffic in order, each with its bake; empty when nothing is shifted.
fn shifts(strategy: &Strategy) -> Vec<(Percent, Span)> {
    match &strategy.shift {
        Shift::Canary { percent, bake } => vec![(*percent, *bake), (Percent::ALL, strategy.bake)],
        Shift::Linear { percent, bake } => {
            let mut shifts = Vec::new();
            let mut share = *percent;
            while share < Percent::ALL {
                shifts.push((share, *bake));
                share = share.plus(*percent);
            }
            shifts.push((Percent::ALL, strategy.bake));
            shifts
        }
        Shift::Steps { steps } => {
            let steps = steps.iter().map(|step| (step.percent, step.bake));
            steps.chain([(Percent::ALL, strategy.bake)]).collect()
        }
        Shift::BlueGreen => vec![(Percent::ALL, strategy.bake)],
        Shift::Rolling => Vec::new(),
    }
}

fn bake_at(percent: Percent, bake: Span) -> Option<Stage> {
    (bake > Span::default()).then_some(Stage::Bake { percent, secs: bake.secs() })
}

fn approvals(gates: &Gates, before: Before) -> impl Iterator<Item = Stage> {
    let indices: Vec<usize> = gates
        .approvals
        .iter()
        .enumerate()
        .filter(|(_, gate)| gate.approval.before == before)
        .map(|(index, _)| index)
        .collect();
    indices.into_iter().map(|gate| Stage::Approve { gate })
}

fn verifies(gates: &Gates, at: VerifyAt) -> impl Iterator<Item = Stage> {
    let indices: Vec<usize> = gates
        .verifies
        .iter()
        .enumerate()
        .filter(|(_, verify)| verify.at == at)
        .map(|(index, _)| index)
        .collect();
    indices.into_iter().map(|verify| Stage::Verify { verify })
}

/// The policy's gates with the people looked up. A bypassed freeze is replaced by the approval of a second person.
fn gates(policy: &Policy, bypass_freeze: Option<&str>) -> Gates {
    let approvers = |approval: &Approval| {
        let people = policy
            .approvers(approval)
            .into_iter()
            .filter_map(|name| Some(Approver { person: policy.people.get(&name)?.clone(), name }));
        people.collect::<Vec<_>>()
    };
    let mut approvals: Vec<ApprovalGate> = policy
        .approval
        .iter()
        .map(|approval| ApprovalGate {
            approvers: approvers(approval),
            approval: approval.clone(),
            because: None,
        })
        .collect();
    let freeze = match (&policy.freeze, bypass_freeze) {
        (Some(_), Some(why)) => {
            let approval = Approval {
                before: Before::Deploy,
                by: policy.people.keys().cloned().collect(),
                count: 1,
                expires: Span::four_hours(),
                on_expiry: OnExpiry::Reject,
                not_by_requester: true,
                require_requester: false,
                pipeline: None,
            };
            let because = Some(format!("it passes the freeze: {why}"));
            approvals.insert(0, ApprovalGate { approvers: approvers(&approval), approval, because });
            None
        }
        (freeze, _) => freeze.clone(),
    };
    // Nobody has to be told apart where nobody is asked.
    let people = if approvals.is_empty() { BTreeMap::new() } else { policy.people.clone() };
    Gates { approvals, people, freeze, scan: policy.scan.clone(), verifies: policy.verify.clone() }
}

impl Plan {
    /// What undoes it.
    pub fn rollback_target(&self) -> RollbackTarget<'_> {
        self.setup.rollback_target()
    }

    /// The digests that have to run once the release is promoted.
    pub fn expected(&self) -> BTreeMap<ContainerName, Vec<Digest>> {
        let digests = |(container, reference): (&ContainerName, &String)| {
            let own = || digest_of(reference).into_iter().collect();
            (container.clone(), self.runs_as.get(container).cloned().unwrap_or_else(own))
        };
        self.setup.candidate_images().iter().map(digests).collect()
    }

    /// The share the candidate has before this stage.
    pub fn share_before(&self, stage: usize) -> Percent {
        let before = self.stages.iter().take(stage).rev();
        let set = before.filter_map(|stage| match stage {
            Stage::Shift { percent } => Some(*percent),
            Stage::RollOut => Some(Percent::ALL),
            Stage::Prepare { .. }
            | Stage::Start
            | Stage::Bake { .. }
            | Stage::Approve { .. }
            | Stage::Freeze
            | Stage::Scan
            | Stage::Verify { .. }
            | Stage::Promote => None,
        });
        set.max().unwrap_or(Percent::NONE)
    }

    /// SHA-256 over the plan without the time it was made, in hexadecimal: what an approval is bound to.
    pub fn hash(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.remove("made_at");
        }
        value.sort_all_objects();
        hex::encode(Sha256::digest(value.to_string()))
    }

    /// How long a stage may take before the release is rolled back, seconds: longer by what a bake may be held for the numbers it has to see.
    pub fn limit_secs(&self, stage: usize) -> u64 {
        match (self.stages.get(stage), &self.evidence) {
            (Some(Stage::Bake { secs, .. }), Some(evidence)) => {
                u64::from(*secs) + u64::from(evidence.wait_secs).max(BAKE_GRACE_SECS)
            }
            (Some(stage), _) => stage.limit_secs(),
            (None, _) => 0,
        }
    }

    /// Whether ECS's own stages with our pause hooks move the traffic, rather than a rolling replacement.
    pub fn is_held(&self) -> bool {
        !self.stages.contains(&Stage::RollOut)
    }

    /// The shortest time from the first to the last stage, seconds.
    pub fn at_least_secs(&self) -> u64 {
        self.stages.iter().map(|stage| u64::from(stage.at_least_secs())).sum()
    }
}
