//! The plan: the stages of a release and the rollback target, written before the first step. Data: printable, stored, hashed.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::approval::{ApprovalGate, Approver};
use crate::configuration::{self, GateWaits};
use crate::ground::Ground;
use crate::ids::{
    AlarmName, ContainerName, Digest, Image, RuleArn, Target, TargetGroupArn, TaskDefinitionArn,
};
use crate::intent::Intent;
use crate::observation::{LoadBalancerSeen, RuleSeen};
use crate::policy::{
    Approval, Before, Freeze, OnExpiry, Percent, Person, Policy, Scan, Shift, Span, Strategy, Verify,
    VerifyAt,
};
use crate::reference::digest_of;
use crate::revision::{DerivedRevision, StableImage};
use crate::running::{destination_images, stable_images};

/// How much longer than it lasts a bake may be held for alarms that are not OK, seconds.
const BAKE_GRACE_SECS: u64 = 10 * 60;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The running task definition again, with every image by the digest that runs: what a rollback deploys.
    PinRollbackTarget,
    /// The current task definition, with only the container's image changed.
    RegisterTaskDefinition,
    /// The candidate's tasks start, without production traffic.
    StartDeployment,
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

impl Stage {
    /// How long the stage may take before the release is rolled back, seconds.
    pub fn limit_secs(&self) -> u64 {
        match self {
            Self::PinRollbackTarget | Self::RegisterTaskDefinition => 10 * 60,
            Self::StartDeployment => 30 * 60,
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
            Self::PinRollbackTarget
            | Self::RegisterTaskDefinition
            | Self::StartDeployment
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
            Self::PinRollbackTarget => f.write_str("pin rollback target"),
            Self::RegisterTaskDefinition => f.write_str("register task definition"),
            Self::StartDeployment => f.write_str("start deployment"),
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
pub struct Plan {
    /// Where.
    pub target: Target,
    /// What.
    pub image: Image,
    /// In which container.
    pub container: ContainerName,
    /// The revision that is deployed: the image in its container, everything else as it is.
    pub candidate: DerivedRevision,
    /// Every digest AWS may call the image by once it runs: its own, and those of an index's parts.
    pub runs_as: Vec<Digest>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// What undoes it.
    pub rollback_target: RollbackTarget,
    /// The alarms the release is judged by.
    pub alarms: Vec<AlarmName>,
    /// So many failed tasks of the candidate roll it back; 0: none do.
    #[serde(default)]
    pub failed_tasks: u32,
    /// How many requests each bake has to see; `None` where the policy asks for none, or nobody counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<RequestsNeeded>,
    /// What the release has to pass beside its alarms.
    #[serde(default)]
    pub gates: Gates,
    /// The `deploymentConfiguration` while the release is under way.
    pub configuration: Value,
    /// Where the candidate's share is measured: the rule, and the target group the candidate gets.
    pub measured_at: Vec<(RuleArn, TargetGroupArn)>,
    /// When it was made.
    pub made_at: Timestamp,
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

impl Gates {
    /// How long the gates may hold the pauses.
    fn longest_waits(&self) -> GateWaits {
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

/// What must be done to restore exactly what was there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollbackTarget {
    /// The task definition that ran.
    pub task_definition: TaskDefinitionArn,
    /// The image that ran in each container.
    pub images: BTreeMap<ContainerName, StableImage>,
    /// The service's own `deploymentConfiguration`, with what AWS left out said explicitly, so that sending it undoes ours.
    pub configuration: Value,
    /// The weights that were live.
    pub weights: Vec<RuleSeen>,
}

impl RollbackTarget {
    /// The task definition that ran with every image by its digest, when that is another one than the one that ran.
    pub fn pinned(&self) -> Option<DerivedRevision> {
        let floats = self.images.values().any(|image| !image.is_pinned());
        floats.then(|| self.copy())
    }

    /// The task definition that ran, registered once more with every image by its digest: what is deployed when the revision to roll back to
    /// was deregistered.
    pub fn copy(&self) -> DerivedRevision {
        let pinned =
            |(container, image): (&ContainerName, &StableImage)| Some((container.clone(), image.pinned()?));
        DerivedRevision {
            from: self.task_definition.clone(),
            images: self.images.iter().filter_map(pinned).collect(),
        }
    }

    /// The image that ran in a container: by digest, or as the task definition writes it when no digest is known.
    pub fn image(&self, container: &ContainerName) -> Option<String> {
        let image = self.images.get(container)?;
        Some(image.pinned().unwrap_or_else(|| image.reference.clone()))
    }

    /// What is not as it was when the plan was made, for people.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if now.task_definition != self.task_definition {
            let (is, was) = (now.task_definition.short(), self.task_definition.short());
            changes.push(format!("the service runs {is}, not {was}"));
        }
        for (container, image) in &now.images {
            let was = self.images.get(container);
            if was.is_none_or(|was| !was.is_same(image)) {
                let is = now.image(container).unwrap_or_default();
                changes.push(format!("container {container} runs {is}"));
            }
        }
        // What is more now would be lost by restoring, what is less would come back.
        let (was, is) = (&self.configuration, &now.configuration);
        if !configuration::is_set(was, is) || !configuration::is_set(is, was) {
            changes.push("the service has another deployment configuration".into());
        }
        if now.weights != self.weights {
            changes.push("the load balancer has other weights".into());
        }
        changes
    }

    /// The digests that have to run again after a rollback.
    pub fn digests(&self) -> BTreeMap<ContainerName, Vec<Digest>> {
        self.images.iter().map(|(container, image)| (container.clone(), image.digests.clone())).collect()
    }
}

/// How many requests the candidate has to answer in each bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsNeeded {
    /// So many.
    pub min_requests: u32,
    /// How long a bake is held for them after its end, seconds.
    pub wait_secs: u32,
}

/// What was asked of a release, as far as the plan depends on it.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// What it is meant to do.
    pub intent: &'a Intent,
    /// Why freeze windows do not hold it.
    pub bypass_freeze: Option<&'a str>,
}

/// Makes the plan. Preflight has passed: the service can be released with this strategy.
pub fn compile(
    policy: &Policy,
    target: &Target,
    image: &Image,
    asked: PlanRequest<'_>,
    ground: Ground<'_>,
    now: Timestamp,
) -> Plan {
    let PlanRequest { intent, bypass_freeze } = asked;
    let Ground { service, weights, .. } = ground;
    let strategy = strategy_for(policy, intent);
    let alarms = match intent {
        Intent::Deploy => policy.rollback.alarms.clone(),
        // The alarms are in ALARM because of what is being left.
        Intent::Rollback { .. } => Vec::new(),
    };
    let container = policy.to.ecs.container.clone();
    let gates = match intent {
        Intent::Deploy => gates(policy, bypass_freeze),
        // A rollback is held by nothing.
        Intent::Rollback { .. } => Gates::default(),
    };
    let rollback_target = rollback_target(ground);
    // By the host that the service pulls from already: a network need not reach the others.
    let running = ground.task_definition.images.get(&container).map_or("", String::as_str);
    let image = &image.on_the_host_of(running);
    let (candidate, registered) = candidate(image, intent, &container, ground);
    let measured_at: Vec<(RuleArn, TargetGroupArn)> = match strategy.shift {
        Shift::Rolling => Vec::new(),
        Shift::Canary { .. } | Shift::Linear { .. } | Shift::BlueGreen => {
            service.load_balancers.iter().filter_map(|lb| candidate_group(lb, weights)).collect()
        }
    };
    let evidence = requests_needed(policy, intent, &measured_at);
    Plan {
        target: target.clone(),
        image: image.clone(),
        stages: stages(&strategy, &gates, rollback_target.pinned().is_some(), !registered),
        candidate,
        runs_as: ground.released_digests(image),
        rollback_target,
        configuration: configuration::for_release(
            &configuration::own(&service.deployment_configuration, ground.left_behind),
            &strategy,
            &alarms,
            gates.longest_waits().longer_by(evidence.map_or(0, |needed| u64::from(needed.wait_secs))),
        ),
        gates,
        evidence,
        measured_at,
        container,
        alarms,
        failed_tasks: policy.rollback.failed_tasks,
        made_at: now,
    }
}

/// A rollback release bakes nowhere, and waits for nothing.
fn requests_needed(
    policy: &Policy,
    intent: &Intent,
    measured_at: &[(RuleArn, TargetGroupArn)],
) -> Option<RequestsNeeded> {
    let needed = RequestsNeeded {
        min_requests: policy.evidence.min_requests(),
        wait_secs: policy.evidence.wait_secs(),
    };
    let counted = measured_at.iter().any(|(rule, _)| rule.application_load_balancer().is_some());
    (counted && needed.min_requests > 0 && *intent == Intent::Deploy).then_some(needed)
}

/// What undoes a release that is started on this ground.
pub fn rollback_target(ground: Ground<'_>) -> RollbackTarget {
    RollbackTarget {
        task_definition: ground.task_definition.arn.clone(),
        images: stable_images(ground.task_definition, ground.running),
        configuration: configuration::restorable(&configuration::own(
            &ground.service.deployment_configuration,
            ground.left_behind,
        )),
        weights: ground.weights.to_vec(),
    }
}

/// The revision that is deployed, and whether it is there already.
fn candidate(
    image: &Image,
    intent: &Intent,
    container: &ContainerName,
    ground: Ground<'_>,
) -> (DerivedRevision, bool) {
    match intent {
        Intent::Deploy => {
            let mut images = BTreeMap::from([(container.clone(), image.pinned())]);
            let running = stable_images(ground.task_definition, ground.running);
            let others = running
                .iter()
                .filter(|(name, _)| *name != container && !ground.task_definition.floating.contains(*name));
            // Only what ECR was seen to have: a tag of another registry cannot be told from the digest it stands for afterwards.
            let proven = others.filter_map(|(name, stable)| {
                let pinned = stable.pinned()?;
                ground.is_in_ecr(&pinned).then(|| (name.clone(), pinned))
            });
            images.extend(proven);
            (DerivedRevision { from: ground.task_definition.arn.clone(), images }, false)
        }
        Intent::Rollback { task_definition, .. } => {
            let mut images = destination_images(intent, ground.destination);
            // The host it was pulled from then is kept.
            if images.get(container).and_then(|reference| digest_of(reference)).as_ref()
                != Some(&image.digest)
            {
                images.insert(container.clone(), image.pinned());
            }
            let there = ground.destination.filter(|seen| seen.active).map(|seen| &seen.images);
            let same = |(name, reference): (&ContainerName, &String)| {
                there.is_some_and(|there| there.get(name) == Some(reference))
            };
            let registered = images.iter().all(same);
            (DerivedRevision { from: task_definition.clone(), images }, registered)
        }
    }
}

/// A return to the stable version does not creep: all traffic at once, or in place where the policy says rolling.
fn strategy_for(policy: &Policy, intent: &Intent) -> Strategy {
    let none = Span::default();
    match (intent, &policy.strategy.shift) {
        (Intent::Deploy, _) => policy.strategy.clone(),
        (Intent::Rollback { .. }, Shift::Rolling) => Strategy { shift: Shift::Rolling, bake: none },
        (Intent::Rollback { .. }, Shift::Canary { .. } | Shift::Linear { .. } | Shift::BlueGreen) => {
            Strategy { shift: Shift::BlueGreen, bake: none }
        }
    }
}

fn stages(strategy: &Strategy, gates: &Gates, pins: bool, registers: bool) -> Vec<Stage> {
    let mut stages = Vec::new();
    stages.extend(gates.scan.is_some().then_some(Stage::Scan));
    stages.extend(approvals(gates, Before::Deploy));
    stages.extend(gates.freeze.is_some().then_some(Stage::Freeze));
    stages.extend(pins.then_some(Stage::PinRollbackTarget));
    stages.extend(registers.then_some(Stage::RegisterTaskDefinition));
    stages.push(Stage::StartDeployment);
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

/// The rule and the target group that carries no traffic now: where the candidate will be.
fn candidate_group(lb: &LoadBalancerSeen, weights: &[RuleSeen]) -> Option<(RuleArn, TargetGroupArn)> {
    let rule = lb.production_rule.as_ref()?;
    let seen = weights.iter().find(|seen| seen.arn == *rule)?;
    let idle = [&lb.target_group, &lb.alternate_target_group]
        .into_iter()
        .flatten()
        .find(|group| seen.share(group) == Some(Percent::NONE))?;
    Some((rule.clone(), idle.clone()))
}

impl Plan {
    /// Whether the revision that is deployed still has to be registered.
    pub fn registers(&self) -> bool {
        self.stages.contains(&Stage::RegisterTaskDefinition)
    }

    /// The digests that have to run once the release is promoted.
    pub fn expected(&self) -> BTreeMap<ContainerName, Vec<Digest>> {
        let digests = |(container, reference): (&ContainerName, &String)| {
            let own = digest_of(reference).into_iter().collect();
            (container.clone(), if *container == self.container { self.runs_as.clone() } else { own })
        };
        self.candidate.images.iter().map(digests).collect()
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

    /// The `deploymentConfiguration` for deploying again the stable version.
    pub fn returning(&self) -> Value {
        let own = &self.rollback_target.configuration;
        if self.is_held() { configuration::all_at_once(own) } else { own.clone() }
    }

    /// How long a stage may take before the release is rolled back, seconds: longer by what a bake may be held for the requests it has to see.
    pub fn limit_secs(&self, stage: usize) -> u64 {
        match (self.stages.get(stage), &self.evidence) {
            (Some(Stage::Bake { secs, .. }), Some(needed)) => {
                u64::from(*secs) + u64::from(needed.wait_secs).max(BAKE_GRACE_SECS)
            }
            (Some(stage), _) => stage.limit_secs(),
            (None, _) => 0,
        }
    }

    /// The candidate's share as the load balancers have it, the largest where there are several; `None` when it is not measured, or one of
    /// them could not be seen.
    pub fn measured(&self, rules: &[RuleSeen]) -> Option<Percent> {
        let share = |(rule, group): &(RuleArn, TargetGroupArn)| {
            rules.iter().find(|seen| seen.arn == *rule).and_then(|seen| seen.share(group))
        };
        self.measured_at.iter().map(share).collect::<Option<Vec<Percent>>>()?.into_iter().max()
    }

    /// Where the candidate's requests are counted.
    pub fn counted_at(&self) -> Vec<(RuleArn, TargetGroupArn)> {
        let counts = |(rule, _): &&(RuleArn, TargetGroupArn)| rule.application_load_balancer().is_some();
        self.measured_at.iter().filter(counts).cloned().collect()
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
