//! Preflight and the plan: whether the service can be copied, whether both fleets stand behind the same load balancer, and what undoes it.

use jiff::Timestamp;

use super::{canary_name, native};
use crate::change::Change;
use crate::engine::Preflight;
use crate::engine::ecs_native::ground::Ground;
use crate::engine::ecs_native::{configuration, preflight as common};
use crate::fault::PortError;
use crate::finding::{Finding, FindingCode};
use crate::ids::{EcsServiceName, RuleArn, TargetGroupArn};
use crate::observation::Observation;
use crate::plan::{
    EcsRollbackTarget, EcsWeighted, Groups, Outline, Plan, PlanRequest, Preparation, Prepared, Setup,
    Variant, Variants,
};
use crate::policy::{CanaryPlace, EcsDestination, EngineChoice, Policy, Shift, Span, Strategy};
use crate::release::Release;
use crate::vocab::ecs::SourceSeen;
use crate::vocab::elb::RuleSeen;

/// Looks at everything that can be known before there is a plan, and makes it.
pub(in crate::engine) fn preflight(
    policy: &Policy,
    to: &EcsDestination,
    release: &Release,
    seen: &Observation,
    now: Timestamp,
) -> Preflight {
    let (ground, mut notes) =
        match common::check_unshifted(policy, to, &release.change, &release.intent, seen) {
            common::Verdict::Pass(ground, notes) => (Some(ground), notes),
            common::Verdict::Blocked(findings) => (None, findings),
            common::Verdict::CannotSee(errors) => return Preflight::CannotSee(errors),
        };
    let errors = unseen(to, seen);
    if !errors.is_empty() {
        return Preflight::CannotSee(errors);
    }
    let Some(source) = seen.ecs.source.known() else { return Preflight::CannotSee(Vec::new()) };
    notes.extend(source_findings(source));
    notes.extend(traffic_findings(to, seen));
    match ground {
        Some(ground) if !notes.iter().any(|finding| finding.blocking) => {
            Preflight::Pass(Box::new(compile(policy, to, release, ground, seen, now)), notes)
        }
        Some(_) | None => Preflight::Blocked(notes),
    }
}

fn unseen(to: &EcsDestination, seen: &Observation) -> Vec<PortError> {
    let mut errors: Vec<&PortError> = Vec::new();
    errors.extend(seen.ecs.source.error());
    errors.extend(seen.ecs.canary.error());
    errors.extend(seen.autoscaling.target.error());
    if to.canary.as_ref().is_some_and(|canary| canary.target_group.is_some()) {
        errors.extend(seen.elb.weights.error());
        errors.extend(seen.elb.groups.error());
        errors.extend(seen.elb.health.error());
    }
    errors.into_iter().cloned().collect()
}

/// What keeps the service from being copied.
fn source_findings(source: &SourceSeen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.gateway {
        let problem = "an Amazon ECS gateway sends the service requests; its rules and target groups are Amazon ECS's to change"
            .to_owned();
        findings.push(Finding::blocking(FindingCode::EcsGateway, problem));
    }
    if source.connect_server {
        let problem =
            "Service Connect lets others call the service by a name, which a second service cannot take"
                .to_owned();
        findings.push(Finding::blocking(FindingCode::ConnectServer, problem));
    }
    if source.registries > 0 {
        let problem =
            "the service is in a service registry, which shares requests out by tasks and not by weights"
                .to_owned();
        findings.push(Finding::blocking(FindingCode::SharedRegistry, problem));
    }
    if !source.host_ports.is_empty() {
        let ports: Vec<String> = source.host_ports.iter().map(ToString::to_string).collect();
        let problem = format!("its containers take port {} of their host", ports.join(", "));
        findings.push(Finding::blocking(FindingCode::FixedHostPorts, problem));
    }
    if !source.unknown.is_empty() {
        let problem = format!(
            "the service has settings that this version of Tidegate cannot copy: {}",
            source.unknown.join(", ")
        );
        findings.push(Finding::blocking(FindingCode::UnknownServiceField, problem));
    }
    findings
}

/// What keeps traffic from being shared out between both.
fn traffic_findings(to: &EcsDestination, seen: &Observation) -> Vec<Finding> {
    let service = seen.ecs.service.known().and_then(Option::as_ref);
    let balanced = service.is_some_and(|service| !service.load_balancers.is_empty());
    let place = to.canary.as_ref();
    if service.is_some_and(|service| service.kind.is_anywhere)
        && place.is_some_and(|place| place.target_group.is_some())
    {
        let problem = "the service runs on ECS Anywhere, whose machines stand behind no load balancer of AWS"
            .to_owned();
        return vec![Finding::blocking(FindingCode::EcsAnywhere, problem)];
    }
    match place.and_then(|place| place.target_group.as_ref().map(|group| (place, group))) {
        Some((place, group)) => group_findings(place, group, seen),
        None if balanced => {
            let problem =
                "the service has a load balancer, and to.ecs.canary names no target group".to_owned();
            vec![Finding::blocking(FindingCode::NoCanaryPlace, problem)]
        }
        None => {
            let problem =
                "without a load balancer a share is a share of tasks, which nothing measures".to_owned();
            vec![Finding::note(FindingCode::SharesAreOfTasks, problem)]
        }
    }
}

fn group_findings(place: &CanaryPlace, group: &TargetGroupArn, seen: &Observation) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rules = seen.elb.weights.known().into_iter().flatten();
    let rules: Vec<&RuleSeen> = rules.filter(|rule| place.rules.contains(&rule.arn)).collect();
    for rule in &place.rules {
        match rules.iter().find(|seen| seen.arn == *rule) {
            None => findings
                .push(Finding::blocking(FindingCode::RuleMissing, format!("the rule {rule} does not exist"))),
            Some(seen) => findings.extend(rule_findings(seen)),
        }
    }
    let balancers = || {
        let service = seen.ecs.service.known().and_then(Option::as_ref);
        service.into_iter().flat_map(|service| &service.load_balancers)
    };
    let is_own = |group: &TargetGroupArn| {
        balancers().any(|it| [&it.target_group, &it.alternate_target_group].contains(&&Some(group.clone())))
    };
    for (rule, other) in rules.iter().filter_map(|rule| Some((rule, rule.carrier()?))) {
        if !is_own(other) {
            let (arn, other) = (&rule.arn, other.short());
            let problem = format!("{arn} sends traffic to target group {other}, which is not the service's");
            findings.push(Finding::blocking(FindingCode::RuleOfAnother, problem));
        }
    }
    let live: Vec<Option<&TargetGroupArn>> = rules.iter().map(|rule| rule.carrier()).collect();
    if live.windows(2).any(|pair| pair[0] != pair[1]) {
        let problem = "the rules send traffic to different target groups".to_owned();
        findings.push(Finding::blocking(FindingCode::MoreThanOneWeight, problem));
    }
    let own = balancers().any(|balancer| balancer.target_group.as_ref() == Some(group));
    if own || live.contains(&Some(group)) {
        let problem = format!("target group {} is the service's own", group.short());
        findings.push(Finding::blocking(FindingCode::SameTargetGroup, problem));
    }
    let known = seen.elb.groups.known().and_then(|groups| groups.iter().find(|seen| seen.arn == *group));
    match known {
        None => findings.push(Finding::blocking(
            FindingCode::CanaryGroupMissing,
            format!("there is no target group {}", group.short()),
        )),
        Some(known) => {
            let here = |balancer: &String| place.rules.iter().any(|rule| is_behind(rule, balancer));
            if !known.load_balancers.iter().all(here) {
                let problem = format!("target group {} belongs to another load balancer", group.short());
                findings.push(Finding::blocking(FindingCode::CanaryGroupElsewhere, problem));
            }
        }
    }
    let registered =
        seen.elb.health.known().and_then(|health| health.get(group)).map_or(0, |it| it.registered);
    if registered > 0 && !own {
        let problem = format!("target group {} has {registered} targets already", group.short());
        findings.push(Finding::blocking(FindingCode::CanaryGroupInUse, problem));
    }
    findings
}

fn rule_findings(rule: &RuleSeen) -> Option<Finding> {
    if rule.is_default {
        let problem =
            format!("{} is the default rule of its listener, which no call for rules changes", rule.arn);
        return Some(Finding::blocking(FindingCode::DefaultRule, problem));
    }
    let live: Vec<&str> =
        rule.weights.iter().filter(|(_, weight)| *weight > 0).map(|(arn, _)| arn.short()).collect();
    (live.len() != 1).then(|| {
        Finding::blocking(
            FindingCode::MoreThanOneWeight,
            format!("rule {} sends traffic to {} target groups ({})", rule.arn, live.len(), live.join(", ")),
        )
    })
}

/// Whether a load balancer is the one a rule belongs to.
fn is_behind(rule: &RuleArn, balancer: &str) -> bool {
    let of = |arn: &str, kinds: [&str; 2]| {
        let rest = kinds.iter().find_map(|kind| arn.split_once(kind).map(|(_, rest)| rest.to_owned()))?;
        let parts: Vec<&str> = rest.split('/').take(3).collect();
        (parts.len() == 3).then(|| parts.join("/"))
    };
    let rule = of(rule.as_str(), [":listener-rule/", ":listener/"]);
    rule.is_some() && rule == of(balancer, [":loadbalancer/", ":loadbalancer/"])
}

/// What tells both versions apart: each has a target group and a service of its own.
fn variants(
    service: &EcsServiceName,
    canary: &EcsServiceName,
    change: &Change,
    rollback_target: &EcsRollbackTarget,
    groups: Option<&Groups>,
) -> Variants {
    let behind = |group: &TargetGroupArn| {
        rollback_target.weights.iter().map(|rule| (rule.arn.clone(), group.clone())).collect()
    };
    Variants {
        candidate: Variant {
            behind: groups.map(|groups| behind(&groups.canary)).unwrap_or_default(),
            digests: native::released_digests(change),
            service: canary.to_string(),
            executed: None,
        },
        stable: Variant {
            behind: groups.map(|groups| behind(&groups.stable)).unwrap_or_default(),
            digests: native::stable_digests(change, rollback_target),
            service: service.to_string(),
            executed: None,
        },
    }
}

fn compile(
    policy: &Policy,
    to: &EcsDestination,
    release: &Release,
    ground: Ground<'_>,
    seen: &Observation,
    now: Timestamp,
) -> Plan {
    let request = PlanRequest { intent: &release.intent, bypass_freeze: release.bypass_freeze.as_deref() };
    let place = to.canary.as_ref();
    let canary = canary_name(&to.service, release);
    let rules: Vec<RuleArn> = place.map(|place| place.rules.clone()).unwrap_or_default();
    // Only the rules that are set matter here, in the order of the policy.
    let weights: Vec<RuleSeen> = rules
        .iter()
        .filter_map(|rule| ground.weights.iter().find(|seen| seen.arn == *rule).cloned())
        .collect();
    let rollback_target = EcsRollbackTarget { weights, ..native::rollback_target(ground) };
    let change = ground.reachable(&release.change);
    let (candidate, registered) = native::candidate(&change, &release.intent, ground);
    let mut preparations = Vec::new();
    preparations.extend(rollback_target.pinned().map(|_| Preparation::RollbackTarget));
    preparations.extend((!registered).then_some(Preparation::Candidate));
    let groups = place.and_then(|place| place.target_group.clone()).and_then(|canary| {
        let stable = rollback_target.weights.first().and_then(RuleSeen::carrier)?.clone();
        Some(Groups { stable, canary })
    });
    let variants = variants(&to.service, &canary, &change, &rollback_target, groups.as_ref());
    let outline = Outline::new(policy, request, |_| variants);
    let rolling = Strategy { shift: Shift::Rolling, bake: Span::default(), engine: EngineChoice::Weighted };
    let setup = Setup::EcsWeighted(EcsWeighted {
        candidate,
        configuration: configuration::for_release(
            &configuration::own(&ground.service.deployment_configuration, ground.left_behind),
            &rolling,
            // Tidegate judges the promotion; with alarms of its own, ECS bakes a rolling deployment for minutes more.
            &[],
            outline.longest_waits(),
        ),
        rollback_target,
        canary,
        groups,
        min_tasks: place.map_or(1, |place| place.min_tasks),
        suspended: seen.autoscaling.target.known().copied().flatten().map(|target| target.suspended),
    });
    let runs_as = ground.runs_as(&change);
    outline.plan(&release.target, Prepared { change, runs_as, preparations, setup }, now)
}
