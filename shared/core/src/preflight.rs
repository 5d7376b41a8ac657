//! Preflight: before any traffic moves, prove that the way forward and the way back exist. Every finding names what was found and what
//! to do about it.

mod images;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::configuration;
use crate::ids::{AlarmName, ClusterName, ContainerName, Digest, EcsServiceName, Image};
use crate::observation::{
    AlarmSeen, AlarmState, ImageSeen, LeftBehind, LoadBalancerSeen, Observation, RuleSeen, Seen, ServiceSeen,
    Stored, TaskDefinitionSeen,
};
use crate::pauses::{self, Pause};
use crate::plan::{self, Plan, Stage};
use crate::policy::{Percent, Policy, Shift};
use crate::ports::PortError;
use crate::release::Intent;
use crate::running::RunningSeen;

/// One thing preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable name: `alarm_red`.
    pub code: String,
    /// Whether the release cannot start.
    pub blocking: bool,
    /// What was found.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn blocking(code: &str, problem: String, remedy: impl Into<String>) -> Self {
        Self { code: code.into(), blocking: true, problem, remedy: remedy.into() }
    }

    fn note(code: &str, problem: String, remedy: impl Into<String>) -> Self {
        Self { blocking: false, ..Self::blocking(code, problem, remedy) }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.code, self.problem, self.remedy)
    }
}

/// What a plan is made from, once it has all been seen.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The ECS service.
    pub service: &'a ServiceSeen,
    /// The task definition it runs.
    pub task_definition: &'a TaskDefinitionSeen,
    /// The live weights.
    pub weights: &'a [RuleSeen],
    /// The digests that run.
    pub running: &'a RunningSeen,
    /// What registries said of images, by reference.
    pub stored: &'a BTreeMap<String, Seen<Stored>>,
    /// The release's image in its registry.
    pub released: Option<&'a ImageSeen>,
    /// The task definition a rollback release goes to.
    pub destination: Option<&'a TaskDefinitionSeen>,
    /// What an earlier release left in the service's configuration.
    pub left_behind: Option<&'a LeftBehind>,
}

impl Ground<'_> {
    /// Whether ECR was seen to have an image.
    pub fn is_in_ecr(&self, reference: &str) -> bool {
        matches!(self.stored.get(reference), Some(Seen::Known(Stored::There(_))))
    }

    /// Every digest AWS may call the release's image by.
    pub fn released_digests(&self, image: &Image) -> Vec<Digest> {
        self.released.map_or_else(|| vec![image.digest.clone()], ImageSeen::digests)
    }
}

/// What preflight says.
#[derive(Debug)]
pub enum Preflight<'a> {
    /// The release can start; the findings are notes.
    Pass(Ground<'a>, Vec<Finding>),
    /// It cannot, before a person has mended the blocking findings.
    Blocked(Vec<Finding>),
    /// Not everything could be seen; look again.
    CannotSee(Vec<PortError>),
}

/// What a release needs of the world, as its policy says, or as its plan has said.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    place: (&'a ClusterName, &'a EcsServiceName),
    container: &'a ContainerName,
    shifts: Shifts,
    alarms: &'a [AlarmName],
    /// Requests that each bake has to see, where that was asked for in so many words.
    min_requests: Option<u32>,
}

/// How traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shifts {
    /// It does not: tasks are replaced in place.
    Never,
    /// All of it at once.
    AtOnce,
    /// By shares.
    ByShares,
}

/// Looks at everything that can be known before there is a plan.
pub fn check<'a>(policy: &Policy, image: &Image, intent: &Intent, seen: &'a Observation) -> Preflight<'a> {
    let shifts = match policy.strategy.shift {
        Shift::Rolling => Shifts::Never,
        Shift::BlueGreen => Shifts::AtOnce,
        Shift::Canary { .. } | Shift::Linear { .. } => Shifts::ByShares,
    };
    let ecs = &policy.to.ecs;
    let question = Question {
        place: (&ecs.cluster, &ecs.service),
        container: &ecs.container,
        shifts,
        alarms: &policy.rollback.alarms,
        min_requests: policy.evidence.min_requests,
    };
    look(question, image, intent, seen)
}

/// What a second look, directly before the deployment starts, says about a plan.
#[derive(Debug)]
pub enum Again {
    /// Everything is as it was.
    AsPlanned,
    /// Something is not, so the plan is made anew: what.
    Changed(Vec<String>),
    /// Not everything could be seen; look again.
    CannotSee(Vec<PortError>),
}

/// Looks again at everything a plan was made from. Approvals and freezes can last days.
pub fn check_again(plan: &Plan, intent: &Intent, seen: &Observation) -> Again {
    let by_shares = |stage: &Stage| matches!(stage, Stage::Shift { percent } if *percent < Percent::ALL);
    let shifts = match (plan.is_held(), plan.stages.iter().any(by_shares)) {
        (false, _) => Shifts::Never,
        (true, false) => Shifts::AtOnce,
        (true, true) => Shifts::ByShares,
    };
    let question = Question {
        place: (&plan.target.cluster, &plan.target.service),
        container: &plan.container,
        shifts,
        // They are looked at where the deployment starts, which waits for them rather than being planned anew.
        alarms: &[],
        min_requests: plan.evidence.map(|needed| needed.min_requests),
    };
    match look(question, &plan.image, intent, seen) {
        Preflight::CannotSee(errors) => Again::CannotSee(errors),
        Preflight::Blocked(findings) => {
            let blocking = findings.into_iter().filter(|finding| finding.blocking);
            Again::Changed(blocking.map(|finding| finding.problem).collect())
        }
        Preflight::Pass(ground, _) => match plan.way_back.changes(&plan::way_back(ground)) {
            changes if changes.is_empty() => Again::AsPlanned,
            changes => Again::Changed(changes),
        },
    }
}

fn look<'a>(question: Question<'_>, image: &Image, intent: &Intent, seen: &'a Observation) -> Preflight<'a> {
    let errors = unseen(seen);
    if !errors.is_empty() {
        return Preflight::CannotSee(errors);
    }
    let Some(Some(service)) = seen.service.known() else {
        return Preflight::Blocked(vec![Finding::blocking(
            "service_missing",
            format!("there is no service {} in cluster {}", question.place.1, question.place.0),
            "create it, or correct to.ecs in the policy",
        )]);
    };
    let (Some(task_definition), Some(running)) = (seen.task_definition.known(), seen.running.known()) else {
        return Preflight::CannotSee(Vec::new());
    };
    let ground = Ground {
        service,
        task_definition,
        weights: seen.weights.known().map_or(&[][..], Vec::as_slice),
        running,
        stored: &seen.stored,
        released: seen.new_image.known().and_then(Option::as_ref),
        destination: seen.destination.known().and_then(Option::as_ref),
        left_behind: seen.head.as_ref().and_then(|head| head.left_behind.as_ref()),
    };
    let container = question.container;
    let errors = images::unseen(container, image, intent, ground);
    if !errors.is_empty() {
        return Preflight::CannotSee(errors);
    }

    let mut findings = service_findings(service);
    findings.extend(configuration_findings(question.shifts, service, ground.left_behind));
    findings.extend(task_definition_findings(task_definition, container));
    findings.extend(images::released(container, image, intent, ground, seen));
    findings.extend(images::rollback_target(container, ground));
    findings.extend(traffic_findings(question.shifts, service, ground.weights));
    match intent {
        Intent::Deploy => {
            findings.extend(images::others(container, ground));
            findings.extend(too_many_tags(task_definition));
            findings.extend(alarm_findings(question.alarms, seen));
            findings.extend(own_alarm_findings(question.alarms, seen));
            findings.extend(evidence_finding(question.min_requests, service));
        }
        // Red alarms are the reason for going back, not against it; and so is what is wrong with the version that is left.
        Intent::Return { .. } => {
            let about_what_is_left =
                |finding: &&mut Finding| ABOUT_WHAT_IS_LEFT.contains(&finding.code.as_str());
            findings.iter_mut().filter(about_what_is_left).for_each(|finding| finding.blocking = false);
            findings.extend(images::destination(image, intent, ground, seen));
        }
    }
    if findings.iter().any(|finding| finding.blocking) {
        Preflight::Blocked(findings)
    } else {
        Preflight::Pass(ground, findings)
    }
}

/// Findings that never hold a return: a version that crashes is never steady, and nobody wants to come back to it.
const ABOUT_WHAT_IS_LEFT: [&str; 7] = [
    "service_not_steady",
    "task_definition_inactive",
    "old_image_missing",
    "old_image_archived",
    "old_image_expiring",
    "running_digest_unknown",
    "running_images_differ",
];

/// A policy that asks in so many words for requests to be seen, where nobody counts them, asks for what never comes.
fn evidence_finding(min_requests: Option<u32>, service: &ServiceSeen) -> Option<Finding> {
    let count = min_requests.filter(|count| *count > 0)?;
    let counted = service.load_balancers.iter().any(|balancer| {
        balancer.production_rule.as_ref().is_some_and(|rule| rule.application_load_balancer().is_some())
    });
    (!counted).then(|| {
        Finding::blocking(
            "requests_not_counted",
            format!(
                "the policy asks for {count} requests in each bake, and only an Application Load Balancer counts them by target group"
            ),
            "remove evidence.min_requests from the policy, or set it to 0",
        )
    })
}

fn unseen(seen: &Observation) -> Vec<PortError> {
    let mut errors: Vec<&PortError> = Vec::new();
    errors.extend(seen.service.error());
    errors.extend(seen.task_definition.error());
    errors.extend(seen.deployments.error());
    errors.extend(seen.weights.error());
    errors.extend(seen.alarms.error());
    errors.extend(seen.running.error());
    errors.extend(seen.new_image.error());
    errors.extend(seen.destination.error());
    errors.into_iter().cloned().collect()
}

fn service_findings(service: &ServiceSeen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if service.status != "ACTIVE" {
        findings.push(Finding::blocking(
            "service_not_active",
            format!("the service is {}", service.status),
            "release to an ACTIVE service",
        ));
    }
    if service.controller != "ECS" {
        findings.push(Finding::blocking(
            "controller_not_ecs",
            format!("the service's deployment controller is {}", service.controller),
            "the native engine needs the ECS controller; UpdateService can change the controller",
        ));
    }
    if !service.steady {
        findings.push(Finding::blocking(
            "service_not_steady",
            format!(
                "the service is not steady: {} of {} tasks run, {} are starting, or a deployment is under way",
                service.running, service.desired, service.pending
            ),
            "wait until it is steady, or end the other deployment; then release again",
        ));
    }
    if service.desired == 0 {
        findings.push(Finding::note(
            "no_tasks_wanted",
            "the service wants no tasks, so nothing proves the new version works".into(),
            "set a desired count",
        ));
    }
    findings
}

fn task_definition_findings(task_definition: &TaskDefinitionSeen, container: &ContainerName) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !task_definition.active {
        findings.push(Finding::blocking(
            "task_definition_inactive",
            format!(
                "the running task definition {} is not ACTIVE, so it could not be deployed again",
                task_definition.arn.short()
            ),
            "register the running task definition again and deploy it once",
        ));
    }
    if !task_definition.images.contains_key(container) {
        let names: Vec<&str> = task_definition.images.keys().map(ContainerName::as_str).collect();
        findings.push(Finding::blocking(
            "container_missing",
            format!(
                "{} has no container {container}; it has {}",
                task_definition.arn.short(),
                names.join(", ")
            ),
            "correct to.ecs.container in the policy",
        ));
    }
    findings
}

/// How many tags a resource of AWS may have, and how many the candidate's task definition gets from Tidegate.
const TAGS: usize = 50;
const OUR_TAGS: usize = 2;

fn too_many_tags(task_definition: &TaskDefinitionSeen) -> Option<Finding> {
    (task_definition.tags + OUR_TAGS > TAGS).then(|| {
        Finding::blocking(
            "too_many_tags",
            format!(
                "{} has {} tags; the candidate gets {OUR_TAGS} more, and AWS takes {TAGS}",
                task_definition.arn.short(),
                task_definition.tags
            ),
            "remove tags from the task definition that runs",
        )
    })
}

/// How many `PAUSE` hooks a service may have.
const PAUSE_HOOKS: usize = 10;

/// What the service's deployment configuration has of its own that a release has to live with, and what is left in it of an earlier one.
fn configuration_findings(
    shifts: Shifts,
    service: &ServiceSeen,
    left_behind: Option<&LeftBehind>,
) -> Vec<Finding> {
    let present = &service.deployment_configuration;
    let mut findings = Vec::new();
    if configuration::holds_ours(present) {
        let (from, rest) = match left_behind {
            Some(left) => (
                format!("release {}", left.release),
                "nothing to do: this release restores the configuration the service had before that one",
            ),
            None => (
                "a release this ledger does not know".to_owned(),
                "this release removes the hooks; strategy, bake time and alarms may be left over as well: set them as you want them",
            ),
        };
        let problem =
            format!("the pause hooks of {from} are still in the service's deployment configuration");
        findings.push(Finding::note("leftover_configuration", problem, rest));
    }
    match shifts {
        Shifts::Never => {}
        Shifts::AtOnce | Shifts::ByShares => {
            findings.extend(own_pause_findings(&pauses::own_stages(present), present));
        }
    }
    findings
}

fn own_pause_findings(stages: &[String], present: &serde_json::Value) -> Vec<Finding> {
    let ours = [Pause::BeforeShift.stage(), Pause::BeforePromotion.stage()];
    let (same, others): (Vec<&str>, Vec<&str>) =
        stages.iter().map(String::as_str).partition(|stage| ours.contains(stage));
    let mut findings = Vec::new();
    if !same.is_empty() {
        findings.push(Finding::blocking(
            "own_pause_hooks",
            format!(
                "the service has a pause hook of its own at {}, where Tidegate pauses too; Amazon ECS does not tell which of them waits",
                same.join(" and ")
            ),
            "remove the hook and let the policy ask for the approval (approval.before: shift or promote), or use strategy rolling",
        ));
    }
    if !others.is_empty() {
        findings.push(Finding::note(
            "own_pause_hooks_elsewhere",
            format!("the service has pause hooks of its own at {}", others.join(" and ")),
            "answer them yourself while the candidate starts, within 30 minutes; Tidegate leaves them alone",
        ));
    }
    let own = configuration::own(present, None);
    let count = pauses::hooks(&own).iter().filter(|hook| hook["targetType"] == "PAUSE").count();
    if count + 2 > PAUSE_HOOKS {
        findings.push(Finding::blocking(
            "too_many_pause_hooks",
            format!(
                "the service has {count} pause hooks and Amazon ECS takes {PAUSE_HOOKS}; Tidegate needs two"
            ),
            "remove some of them",
        ));
    }
    findings
}

fn traffic_findings(shifts: Shifts, service: &ServiceSeen, weights: &[RuleSeen]) -> Vec<Finding> {
    let needs_balancer = match shifts {
        Shifts::Never => return Vec::new(),
        Shifts::ByShares => true,
        Shifts::AtOnce => false,
    };
    if service.load_balancers.is_empty() {
        if needs_balancer && !service.service_connect {
            return vec![Finding::blocking(
                "nothing_to_shift",
                "the service has neither a load balancer nor Service Connect, so there is no traffic to shift by share".into(),
                "use strategy blue_green or rolling, or add a load balancer",
            )];
        }
        return Vec::new();
    }
    service.load_balancers.iter().flat_map(|lb| balancer_findings(lb, weights)).collect()
}

fn balancer_findings(lb: &LoadBalancerSeen, weights: &[RuleSeen]) -> Vec<Finding> {
    let (Some(group), Some(alternate), Some(rule)) =
        (&lb.target_group, &lb.alternate_target_group, &lb.production_rule)
    else {
        return vec![Finding::blocking(
            "no_second_target_group",
            "a load balancer of the service has no advancedConfiguration with alternateTargetGroupArn and productionListenerRule".into(),
            "add advancedConfiguration to every load balancer of the service, or use strategy rolling",
        )];
    };
    let mut findings = Vec::new();
    if !lb.role_given {
        findings.push(Finding::blocking(
            "no_infrastructure_role",
            "advancedConfiguration names no roleArn, so Amazon ECS may not change the weights".into(),
            "give a role with AmazonECSInfrastructureRolePolicyForLoadBalancers",
        ));
    }
    let Some(seen) = weights.iter().find(|seen| seen.arn == *rule) else {
        findings.push(Finding::blocking(
            "rule_missing",
            format!("the production rule {rule} does not exist"),
            "correct productionListenerRule of the service",
        ));
        return findings;
    };
    let missing: Vec<&str> = [group, alternate]
        .into_iter()
        .filter(|wanted| !seen.weights.iter().any(|(arn, _)| arn == *wanted))
        .map(|arn| arn.short())
        .collect();
    if !missing.is_empty() {
        findings.push(Finding::blocking(
            "rule_without_both_groups",
            format!("the production rule does not name target group {}", missing.join(" and ")),
            "attach both target groups to the rule, one with weight 0",
        ));
    }
    let live: Vec<&str> =
        seen.weights.iter().filter(|(_, weight)| *weight > 0).map(|(arn, _)| arn.short()).collect();
    if live.len() != 1 {
        findings.push(Finding::blocking(
            "more_than_one_weight",
            format!(
                "the production rule sends traffic to {} target groups ({})",
                live.len(),
                live.join(", ")
            ),
            "exactly one target group may have a weight above 0 when a release starts",
        ));
    }
    findings
}

/// Amazon ECS watches the service's own alarms beside those of the policy, and none of them when one is in ALARM as the deployment starts.
fn own_alarm_findings(of_policy: &[AlarmName], seen: &Observation) -> Vec<Finding> {
    let red = |(name, alarm): &(&AlarmName, &AlarmSeen)| {
        alarm.state == AlarmState::Alarm && !of_policy.contains(name)
    };
    let own = seen.own_alarms.known().into_iter().flatten();
    let told = |(name, alarm): (&AlarmName, &AlarmSeen)| {
        Finding::note(
            "own_alarm_red",
            format!(
                "alarm {name} of the service's own is in ALARM ({}), so Amazon ECS ignores all alarms of the deployment; Tidegate itself watches those of the policy",
                alarm.reason
            ),
            "fix what it reports first, for ECS to be the second line",
        )
    };
    own.filter(red).map(told).collect()
}

fn alarm_findings(names: &[AlarmName], seen: &Observation) -> Vec<Finding> {
    if names.is_empty() {
        return vec![Finding::note(
            "no_alarms",
            "the policy names no alarm, so nothing but Amazon ECS's own checks moves traffic back".into(),
            "name alarms in rollback.alarms",
        )];
    }
    let Some(alarms) = seen.alarms.known() else { return Vec::new() };
    names.iter().filter_map(|name| {
        let Some(alarm) = alarms.get(name) else {
            return Some(Finding::blocking(
                "alarm_missing",
                format!("there is no alarm {name} in the service's account and region"),
                "create it, or correct rollback.alarms",
            ));
        };
        match (&alarm.state, &alarm.silenced) {
            (_, Some(by)) => Some(Finding::blocking(
                "alarm_silenced",
                format!("alarm {name} is silenced ({by}), so it would not move traffic back"),
                "end the mute, or release later",
            )),
            (AlarmState::Ok, None) => alarm.unproven.as_ref().map(|why| Finding::blocking(
                "alarm_not_evaluated",
                format!("alarm {name} is OK, but that says nothing about now: {why}"),
                "wait until CloudWatch evaluates it again, or correct the alarm",
            )),
            (AlarmState::Alarm, None) => Some(Finding::blocking(
                "alarm_red",
                format!("alarm {name} is already in ALARM; Amazon ECS would ignore all alarms of the deployment: {}", alarm.reason),
                "mend what it reports first",
            )),
            (AlarmState::InsufficientData, None) => Some(Finding::blocking(
                "alarm_without_data",
                format!("alarm {name} has no data, so it cannot tell good from bad"),
                "send it traffic, or treat missing data as not breaching",
            )),
            (AlarmState::Other(state), None) => Some(Finding::blocking(
                "alarm_state_unknown",
                format!("alarm {name} is in state {state}, which is not known"),
                "update Tidegate",
            )),
        }
    }).collect()
}
