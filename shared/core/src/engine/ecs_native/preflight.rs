//! Preflight: before any traffic moves, prove that the candidate can start and that the stable version can come back. Every finding names what was found and what
//! to do about it.

pub(in crate::engine) mod images;
mod kinds;

use super::ground::Ground;
use super::{configuration, plan as compiled};
use crate::finding::{Finding, FindingCode};

use crate::change::Change;
use crate::engine::ecs_native::pauses::{self, Pause};
use crate::fault::PortError;
use crate::ids::{AlarmName, ClusterName, ContainerName, EcsServiceName};
use crate::intent::Intent;
use crate::observation::Observation;
use crate::plan::{EcsNative, EcsRollbackTarget, Plan, Stage};
use crate::policy::{EcsDestination, Percent, Policy, Shift};
use crate::service::LeftBehind;
use crate::vocab::cloudwatch::{AlarmSeen, AlarmState};
use crate::vocab::ecs::{LoadBalancerSeen, ServiceSeen, TaskDefinitionSeen};
use crate::vocab::elb::RuleSeen;

/// What preflight says.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The release can start; the findings are notes.
    Pass(Ground<'a>, Vec<Finding>),
    /// It cannot, before a person has fixed the blocking findings.
    Blocked(Vec<Finding>),
    /// Not everything could be seen; look again.
    CannotSee(Vec<PortError>),
}

/// What a release needs of the world, as its policy says, or as its plan has said.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    place: (&'a ClusterName, &'a EcsServiceName),
    change: &'a Change,
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
    /// Tidegate moves it itself, in rules of its own choice.
    ByTidegate,
}

impl Shifts {
    /// Whether Amazon ECS moves the traffic.
    fn by_ecs(self) -> bool {
        match self {
            Self::AtOnce | Self::ByShares => true,
            Self::Never | Self::ByTidegate => false,
        }
    }
}

/// Looks at everything that can be known before there is a plan.
pub fn check<'a>(
    policy: &Policy,
    to: &EcsDestination,
    change: &Change,
    intent: &Intent,
    seen: &'a Observation,
) -> Verdict<'a> {
    let shifts = match policy.strategy.shift {
        Shift::Rolling => Shifts::Never,
        Shift::BlueGreen => Shifts::AtOnce,
        Shift::Canary { .. } | Shift::Linear { .. } | Shift::Steps { .. } => Shifts::ByShares,
    };
    let question = Question {
        place: (&to.cluster, &to.service),
        change,
        shifts,
        alarms: &policy.rollback.alarms,
        min_requests: policy.evidence.min_requests,
    };
    look(question, intent, seen)
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
pub fn check_again(plan: &Plan, setup: &EcsNative, intent: &Intent, seen: &Observation) -> Again {
    again(plan, &setup.rollback_target, shifts_of(plan), intent, seen)
}

/// The same for a release whose traffic ECS does not shift.
pub(in crate::engine) fn check_again_unshifted(
    plan: &Plan,
    target: &EcsRollbackTarget,
    intent: &Intent,
    seen: &Observation,
) -> Again {
    again(plan, target, Shifts::ByTidegate, intent, seen)
}

/// Looks at what every release needs of a service, for one whose traffic ECS does not shift.
pub(in crate::engine) fn check_unshifted<'a>(
    policy: &Policy,
    to: &EcsDestination,
    change: &Change,
    intent: &Intent,
    seen: &'a Observation,
) -> Verdict<'a> {
    let question = Question {
        place: (&to.cluster, &to.service),
        change,
        shifts: Shifts::ByTidegate,
        alarms: &policy.rollback.alarms,
        min_requests: None,
    };
    look(question, intent, seen)
}

fn shifts_of(plan: &Plan) -> Shifts {
    let by_shares = |stage: &Stage| matches!(stage, Stage::Shift { percent } if *percent < Percent::ALL);
    match (plan.is_held(), plan.stages.iter().any(by_shares)) {
        (false, _) => Shifts::Never,
        (true, false) => Shifts::AtOnce,
        (true, true) => Shifts::ByShares,
    }
}

fn again(
    plan: &Plan,
    target: &EcsRollbackTarget,
    shifts: Shifts,
    intent: &Intent,
    seen: &Observation,
) -> Again {
    let Some(service) = plan.target.ecs() else {
        return Again::Changed(vec![format!("{} is no ECS service", plan.target)]);
    };
    let question = Question {
        place: (&service.cluster, &service.service),
        change: &plan.change,
        shifts,
        // They are looked at where the deployment starts, which waits for them rather than being planned anew.
        alarms: &[],
        min_requests: plan
            .evidence
            .as_deref()
            .filter(|_| shifts.by_ecs())
            .map(|evidence| evidence.min_requests),
    };
    match look(question, intent, seen) {
        Verdict::CannotSee(errors) => Again::CannotSee(errors),
        Verdict::Blocked(findings) => {
            let blocking = findings.into_iter().filter(|finding| finding.blocking);
            Again::Changed(blocking.map(|finding| finding.problem).collect())
        }
        Verdict::Pass(ground, _) => match compiled::changes(target, &now(ground, target, shifts)) {
            changes if changes.is_empty() => Again::AsPlanned,
            changes => Again::Changed(changes),
        },
    }
}

fn look<'a>(question: Question<'_>, intent: &Intent, seen: &'a Observation) -> Verdict<'a> {
    let errors = unseen(seen);
    if !errors.is_empty() {
        return Verdict::CannotSee(errors);
    }
    let Some(Some(service)) = seen.ecs.service.known() else {
        return Verdict::Blocked(vec![Finding::blocking(
            FindingCode::ServiceMissing,
            format!("there is no service {} in cluster {}", question.place.1, question.place.0),
        )]);
    };
    let (Some(task_definition), Some(running)) = (seen.ecs.task_definition.known(), seen.ecs.running.known())
    else {
        return Verdict::CannotSee(Vec::new());
    };
    let gateway = seen.ecs.gateway.known();
    if question.shifts.by_ecs() && service.kind.newest_revision.is_some() && gateway.is_none() {
        return Verdict::CannotSee(Vec::new());
    }
    let ground = Ground {
        service,
        gateway,
        task_definition,
        weights: seen.elb.weights.known().map_or(&[][..], Vec::as_slice),
        running,
        stored: &seen.stored,
        released: seen.new_images.known(),
        destination: seen.ecs.destination.known().and_then(Option::as_ref),
        left_behind: seen.head.as_ref().and_then(|head| head.left_behind.as_ref()),
    };
    let change = question.change;
    let errors = images::unseen(change, intent, ground);
    if !errors.is_empty() {
        return Verdict::CannotSee(errors);
    }

    let mut findings = service_findings(service);
    findings.extend(kinds::findings(question.shifts, ground));
    findings.extend(configuration_findings(question.shifts, service, ground.left_behind));
    findings.extend(task_definition_findings(task_definition, change));
    findings.extend(images::released(change, intent, ground, seen));
    findings.extend(images::rollback_target(change, ground));
    findings.extend(traffic_findings(question.shifts, ground));
    match intent {
        Intent::Deploy | Intent::Drill => {
            findings.extend(images::others(change, ground));
            findings.extend(too_many_tags(task_definition));
            findings.extend(alarm_findings(question.alarms, seen, OWN_CHECKS));
            findings.extend(own_alarm_findings(question.alarms, seen));
            findings.extend(evidence_finding(question.min_requests, ground));
        }
        // Alarms in ALARM are the reason for going back, not against it; and so is what is wrong with the version that is left.
        Intent::Rollback { .. } => {
            let left = findings.iter_mut().filter(|finding| finding.code.is_about_what_is_left());
            left.for_each(|finding| finding.blocking = false);
            findings.extend(images::destination(change, intent, ground, seen));
        }
    }
    if findings.iter().any(|finding| finding.blocking) {
        Verdict::Blocked(findings)
    } else {
        Verdict::Pass(ground, findings)
    }
}

/// A policy that asks in so many words for requests to be seen, where nobody counts them, asks for what never comes.
fn evidence_finding(min_requests: Option<u32>, ground: Ground<'_>) -> Option<Finding> {
    let count = min_requests.filter(|count| *count > 0)?;
    let counted = ground.balancers().any(|balancer| {
        balancer.production_rule.as_ref().is_some_and(|rule| rule.application_load_balancer().is_some())
    });
    (!counted).then(|| {
        Finding::blocking(FindingCode::RequestsNotCounted, format!(
                "the policy asks for {count} requests in each bake, and only an Application Load Balancer counts them by target group"
            ))
    })
}

fn unseen(seen: &Observation) -> Vec<PortError> {
    let mut errors: Vec<&PortError> = Vec::new();
    errors.extend(seen.ecs.service.error());
    errors.extend(seen.ecs.gateway.error());
    errors.extend(seen.ecs.task_definition.error());
    errors.extend(seen.ecs.deployments.error());
    errors.extend(seen.elb.weights.error());
    errors.extend(seen.alarms.error());
    errors.extend(seen.ecs.running.error());
    errors.extend(seen.new_images.error());
    errors.extend(seen.ecs.destination.error());
    errors.into_iter().cloned().collect()
}

fn service_findings(service: &ServiceSeen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if service.status != "ACTIVE" {
        findings.push(Finding::blocking(
            FindingCode::ServiceNotActive,
            format!("the service is {}", service.status),
        ));
    }
    if service.controller != "ECS" {
        findings.push(Finding::blocking(
            FindingCode::ControllerNotEcs,
            format!("the service's deployment controller is {}", service.controller),
        ));
    }
    if !service.steady {
        findings.push(Finding::blocking(FindingCode::ServiceNotSteady, format!(
                "the service is not steady: {} of {} tasks run, {} are starting, or a deployment is under way",
                service.running, service.desired, service.pending
            )));
    }
    if service.desired == 0 {
        findings.push(Finding::note(
            FindingCode::NoTasksWanted,
            "the service wants no tasks, so nothing proves the new version works".into(),
        ));
    }
    findings
}

fn task_definition_findings(task_definition: &TaskDefinitionSeen, change: &Change) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !task_definition.active {
        findings.push(Finding::blocking(
            FindingCode::TaskDefinitionInactive,
            format!(
                "the running task definition {} is not ACTIVE, so it could not be deployed again",
                task_definition.arn.short()
            ),
        ));
    }
    for container in change.containers().filter(|it| !task_definition.images.contains_key(*it)) {
        let names: Vec<&str> = task_definition.images.keys().map(ContainerName::as_str).collect();
        findings.push(Finding::blocking(
            FindingCode::ContainerMissing,
            format!(
                "{} has no container {container}; it has {}",
                task_definition.arn.short(),
                names.join(", ")
            ),
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
            FindingCode::TooManyTags,
            format!(
                "{} has {} tags; the candidate gets {OUR_TAGS} more, and AWS takes {TAGS}",
                task_definition.arn.short(),
                task_definition.tags
            ),
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
        let (from, code) = match left_behind {
            Some(left) => (format!("release {}", left.release), FindingCode::LeftoverConfiguration),
            None => ("a release this ledger does not know".to_owned(), FindingCode::LeftoverOfUnknown),
        };
        let problem =
            format!("the pause hooks of {from} are still in the service's deployment configuration");
        findings.push(Finding::note(code, problem));
    }
    match shifts {
        Shifts::Never | Shifts::ByTidegate => {}
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
        findings.push(Finding::blocking(FindingCode::OwnPauseHooks, format!(
                "the service has a pause hook of its own at {}, where Tidegate pauses too; Amazon ECS does not tell which of them waits",
                same.join(" and ")
            )));
    }
    if !others.is_empty() {
        findings.push(Finding::note(
            FindingCode::OwnPauseHooksElsewhere,
            format!("the service has pause hooks of its own at {}", others.join(" and ")),
        ));
    }
    let own = configuration::own(present, None);
    let count = pauses::hooks(&own).iter().filter(|hook| hook["targetType"] == "PAUSE").count();
    if count + 2 > PAUSE_HOOKS {
        findings.push(Finding::blocking(
            FindingCode::TooManyPauseHooks,
            format!(
                "the service has {count} pause hooks and Amazon ECS takes {PAUSE_HOOKS}; Tidegate needs two"
            ),
        ));
    }
    findings
}

fn traffic_findings(shifts: Shifts, ground: Ground<'_>) -> Vec<Finding> {
    if !shifts.by_ecs() {
        return Vec::new();
    }
    let service = ground.service;
    let connected = ground.gateway.is_some_and(|gateway| gateway.is_connected);
    let others = service.service_connect || connected || !service.kind.lattice.is_empty();
    if shifts == Shifts::ByShares && service.load_balancers.is_empty() && !others {
        let problem = "the service has neither a load balancer nor a gateway, VPC Lattice or Service Connect, so there is no traffic to shift by share";
        return vec![Finding::blocking(FindingCode::NothingToShift, problem.into())];
    }
    let own = service.load_balancers.iter().flat_map(|balancer| {
        let mut findings = balancer_findings(balancer, ground.weights);
        findings.extend(missing_groups(balancer, ground.weights));
        findings
    });
    // What is not there of a gateway's is told as such; a second group that its rule does not name yet is put there by Amazon ECS.
    let of_gateway = ground.gateway.into_iter().flat_map(|gateway| &gateway.balancers);
    let of_gateway = of_gateway.filter(|balancer| balancer.can_shift());
    own.chain(of_gateway.flat_map(|balancer| balancer_findings(balancer, ground.weights))).collect()
}

fn balancer_findings(lb: &LoadBalancerSeen, weights: &[RuleSeen]) -> Vec<Finding> {
    let (true, Some(rule)) = (lb.can_shift(), &lb.production_rule) else {
        return vec![Finding::blocking(FindingCode::NoSecondTargetGroup, "a load balancer of the service has no advancedConfiguration with alternateTargetGroupArn and productionListenerRule".into())];
    };
    let mut findings = Vec::new();
    if !lb.role_given {
        findings.push(Finding::blocking(
            FindingCode::NoInfrastructureRole,
            "advancedConfiguration names no roleArn, so Amazon ECS may not change the weights".into(),
        ));
    }
    let Some(seen) = weights.iter().find(|seen| seen.arn == *rule) else {
        findings.push(Finding::blocking(
            FindingCode::RuleMissing,
            format!("the production rule {rule} does not exist"),
        ));
        return findings;
    };
    let live: Vec<&str> =
        seen.weights.iter().filter(|(_, weight)| *weight > 0).map(|(arn, _)| arn.short()).collect();
    if live.len() != 1 {
        findings.push(Finding::blocking(
            FindingCode::MoreThanOneWeight,
            format!(
                "the production rule sends traffic to {} target groups ({})",
                live.len(),
                live.join(", ")
            ),
        ));
    }
    findings
}

/// Both target groups have to stand in the rule before Amazon ECS may shift between them.
fn missing_groups(lb: &LoadBalancerSeen, weights: &[RuleSeen]) -> Option<Finding> {
    let rule = lb.production_rule.as_ref()?;
    let seen = weights.iter().find(|seen| seen.arn == *rule)?;
    let missing: Vec<&str> = [lb.target_group.as_ref()?, lb.alternate_target_group.as_ref()?]
        .into_iter()
        .filter(|wanted| !seen.weights.iter().any(|(arn, _)| arn == *wanted))
        .map(|arn| arn.short())
        .collect();
    (!missing.is_empty()).then(|| {
        Finding::blocking(
            FindingCode::RuleWithoutBothGroups,
            format!("the production rule does not name target group {}", missing.join(" and ")),
        )
    })
}

/// Amazon ECS watches the service's own alarms beside those of the policy, and none of them when one is in ALARM as the deployment starts.
fn own_alarm_findings(of_policy: &[AlarmName], seen: &Observation) -> Vec<Finding> {
    let red = |(name, alarm): &(&AlarmName, &AlarmSeen)| {
        alarm.state == AlarmState::Alarm && !of_policy.contains(name)
    };
    let own = seen.own_alarms.known().into_iter().flatten();
    let told = |(name, alarm): (&AlarmName, &AlarmSeen)| {
        Finding::note(
            FindingCode::OwnAlarmInAlarm,
            format!(
                "alarm {name} of the service's own is in ALARM ({}), so Amazon ECS ignores all alarms of the deployment; Tidegate itself watches those of the policy",
                alarm.reason
            ),
        )
    };
    own.filter(red).map(told).collect()
}

/// What Amazon ECS does beside Tidegate about the alarms of a deployment.
const OWN_CHECKS: OwnChecks = OwnChecks {
    beside: "nothing but Amazon ECS's own checks",
    in_alarm: "; Amazon ECS would ignore all alarms of the deployment",
};

/// Who else judges a candidate, and what follows from an alarm that is in ALARM already.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct OwnChecks {
    /// Fits "the policy names no alarm, so … moves traffic back".
    pub(in crate::engine) beside: &'static str,
    /// Follows "alarm checkout-5xx is already in ALARM".
    pub(in crate::engine) in_alarm: &'static str,
}

pub(in crate::engine) fn alarm_findings(
    names: &[AlarmName],
    seen: &Observation,
    own: OwnChecks,
) -> Vec<Finding> {
    if names.is_empty() {
        return vec![Finding::note(
            FindingCode::NoAlarms,
            format!("the policy names no alarm, so {} moves traffic back", own.beside),
        )];
    }
    let Some(alarms) = seen.alarms.known() else { return Vec::new() };
    names
        .iter()
        .filter_map(|name| {
            let Some(alarm) = alarms.get(name) else {
                return Some(Finding::blocking(
                    FindingCode::AlarmMissing,
                    format!("there is no alarm {name} in the service's account and region"),
                ));
            };
            match (&alarm.state, &alarm.silenced) {
                (_, Some(by)) => Some(Finding::blocking(
                    FindingCode::AlarmSilenced,
                    format!("alarm {name} is silenced ({by}), so it would not move traffic back"),
                )),
                (AlarmState::Ok, None) => alarm.unproven.as_ref().map(|why| {
                    Finding::blocking(
                        FindingCode::AlarmNotEvaluated,
                        format!("alarm {name} is OK, but that says nothing about now: {why}"),
                    )
                }),
                (AlarmState::Alarm, None) => Some(Finding::blocking(
                    FindingCode::AlarmInAlarm,
                    format!("alarm {name} is already in ALARM{}: {}", own.in_alarm, alarm.reason),
                )),
                (AlarmState::InsufficientData, None) => Some(Finding::blocking(
                    FindingCode::AlarmWithoutData,
                    format!("alarm {name} has no data, so it cannot tell good from bad"),
                )),
                (AlarmState::Other(state), None) => Some(Finding::blocking(
                    FindingCode::AlarmStateUnknown,
                    format!("alarm {name} is in state {state}, which is not known"),
                )),
            }
        })
        .collect()
}

/// What would undo a release that is started now. Where Tidegate sets weights, only the rules that it sets count.
fn now(ground: Ground<'_>, before: &EcsRollbackTarget, shifts: Shifts) -> EcsRollbackTarget {
    let now = compiled::rollback_target(ground);
    if shifts != Shifts::ByTidegate {
        return now;
    }
    let live = |rule: &RuleSeen| now.weights.iter().find(|seen| seen.arn == rule.arn).cloned();
    let weights = before.weights.iter().filter_map(live).collect();
    EcsRollbackTarget { weights, ..now }
}
