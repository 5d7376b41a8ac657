//! The plan of a release by ECS's own deployment: what is deployed, what brings the stable version back, where the share is measured.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::configuration;
use super::ground::Ground;
use super::running::{destination_images, stable_images};
use crate::change::Change;
use crate::ids::{ContainerName, Digest, RuleArn, Target, TargetGroupArn};
use crate::intent::{Deployed, Intent};
use crate::plan::{
    EcsNative, EcsRollbackTarget, Outline, Plan, PlanRequest, Preparation, Prepared, Setup, Variant, Variants,
};
use crate::policy::{Percent, Policy, Shift, Strategy};
use crate::reference::digest_of;
use crate::vocab::ecs::{DerivedRevision, LoadBalancerSeen};
use crate::vocab::elb::RuleSeen;

/// Makes the plan. Preflight has passed: the service can be released with this strategy.
pub fn compile(
    policy: &Policy,
    target: &Target,
    change: &Change,
    request: PlanRequest<'_>,
    ground: Ground<'_>,
    now: Timestamp,
) -> Plan {
    let rollback_target = rollback_target(ground);
    let change = ground.reachable(change);
    let outline = Outline::new(policy, request, |strategy| {
        variants(target, &change, &rollback_target, &measured_at(strategy, ground))
    });
    let (candidate, registered) = candidate(&change, request.intent, ground);
    let mut preparations = Vec::new();
    preparations.extend(rollback_target.pinned().map(|_| Preparation::RollbackTarget));
    preparations.extend((!registered).then_some(Preparation::Candidate));
    let setup = EcsNative {
        candidate,
        rollback_target,
        configuration: configuration::for_release(
            &configuration::own(&ground.service.deployment_configuration, ground.left_behind),
            &outline.strategy,
            &outline.alarms,
            outline.longest_waits(),
        ),
        measured_at: measured_at(&outline.strategy, ground),
    };
    let runs_as = ground.runs_as(&change);
    let setup = Setup::EcsNative(setup);
    outline.plan(target, Prepared { change, runs_as, preparations, setup }, now)
}

/// Where the candidate's share is measured: nowhere, where no traffic is shifted.
fn measured_at(strategy: &Strategy, ground: Ground<'_>) -> Vec<(RuleArn, TargetGroupArn)> {
    match strategy.shift {
        Shift::Rolling => Vec::new(),
        Shift::Canary { .. } | Shift::Linear { .. } | Shift::Steps { .. } | Shift::BlueGreen => {
            ground.balancers().filter_map(|balancer| candidate_group(balancer, ground.weights)).collect()
        }
    }
}

/// What tells both versions apart: each has a target group while traffic is shared out, and both change them from release to release.
fn variants(
    target: &Target,
    change: &Change,
    rollback_target: &EcsRollbackTarget,
    measured_at: &[(RuleArn, TargetGroupArn)],
) -> Variants {
    let weights = &rollback_target.weights;
    let carriers = measured_at.iter().filter_map(|(rule, _)| {
        let seen = weights.iter().find(|seen| seen.arn == *rule)?;
        Some((rule.clone(), seen.carrier()?.clone()))
    });
    let service = target.ecs().map(|at| at.service.to_string()).unwrap_or_default();
    Variants {
        candidate: Variant {
            behind: measured_at.to_vec(),
            digests: released_digests(change),
            service: service.clone(),
            executed: None,
        },
        stable: Variant {
            behind: carriers.collect(),
            digests: stable_digests(change, rollback_target),
            service,
            executed: None,
        },
    }
}

/// The digest a change brings to each container.
pub(in crate::engine) fn released_digests(change: &Change) -> BTreeMap<ContainerName, Digest> {
    change.iter().map(|(container, image)| (container.clone(), image.digest.clone())).collect()
}

/// The digest that ran in each container that a change changes.
pub(in crate::engine) fn stable_digests(
    change: &Change,
    rollback_target: &EcsRollbackTarget,
) -> BTreeMap<ContainerName, Digest> {
    let ran = |container: &ContainerName| {
        Some((container.clone(), rollback_target.images.get(container)?.digests.first()?.clone()))
    };
    change.containers().filter_map(ran).collect()
}

/// What undoes a release that is started on this ground.
pub(in crate::engine) fn rollback_target(ground: Ground<'_>) -> EcsRollbackTarget {
    EcsRollbackTarget {
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
pub(in crate::engine) fn candidate(
    change: &Change,
    intent: &Intent,
    ground: Ground<'_>,
) -> (DerivedRevision, bool) {
    match intent.deployed().and_then(Deployed::ecs) {
        None => {
            let pinned = change.iter().map(|(container, image)| (container.clone(), image.pinned()));
            let mut images: BTreeMap<ContainerName, String> = pinned.collect();
            let running = stable_images(ground.task_definition, ground.running);
            let others = running.iter().filter(|(name, _)| {
                change.image(name).is_none() && !ground.task_definition.floating.contains(*name)
            });
            // Only what ECR was seen to have: a tag of another registry cannot be told from the digest it stands for afterwards.
            let proven = others.filter_map(|(name, stable)| {
                let pinned = stable.pinned()?;
                ground.is_in_ecr(&pinned).then(|| (name.clone(), pinned))
            });
            images.extend(proven);
            let from = ground.task_definition.arn.clone();
            (DerivedRevision { from, images, apart: *intent == Intent::Drill }, false)
        }
        Some(deployed) => {
            let mut images = destination_images(intent, ground.destination);
            for (container, image) in change.iter() {
                // The host it was pulled from then is kept.
                let then = images.get(container).and_then(|reference| digest_of(reference));
                if then.as_ref() != Some(&image.digest) {
                    images.insert(container.clone(), image.pinned());
                }
            }
            let there = ground.destination.filter(|seen| seen.active).map(|seen| &seen.images);
            let same = |(name, reference): (&ContainerName, &String)| {
                there.is_some_and(|there| there.get(name) == Some(reference))
            };
            let registered = images.iter().all(same);
            (DerivedRevision { from: deployed.task_definition.clone(), images, apart: false }, registered)
        }
    }
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

/// Whether the revision that is deployed still has to be registered.
pub(super) fn registers(plan: &Plan) -> bool {
    plan.stages.contains(&crate::plan::Stage::Prepare { what: Preparation::Candidate })
}

/// The `deploymentConfiguration` for deploying again the stable version.
pub(super) fn returning(plan: &Plan, setup: &EcsNative) -> Value {
    let own = &setup.rollback_target.configuration;
    if plan.is_held() { configuration::all_at_once(own) } else { own.clone() }
}

/// The candidate's share as the load balancers have it, the largest where there are several; `None` when it is not measured, or one of
/// them could not be seen.
pub(crate) fn measured(setup: &EcsNative, rules: &[RuleSeen]) -> Option<Percent> {
    let share = |(rule, group): &(RuleArn, TargetGroupArn)| {
        rules.iter().find(|seen| seen.arn == *rule).and_then(|seen| seen.share(group))
    };
    setup.measured_at.iter().map(share).collect::<Option<Vec<Percent>>>()?.into_iter().max()
}

/// What is not as it was when the plan was made, for people.
pub(in crate::engine) fn changes(before: &EcsRollbackTarget, now: &EcsRollbackTarget) -> Vec<String> {
    let mut changes = Vec::new();
    if now.task_definition != before.task_definition {
        let (is, was) = (now.task_definition.short(), before.task_definition.short());
        changes.push(format!("the service runs {is}, not {was}"));
    }
    for (container, image) in &now.images {
        let was = before.images.get(container);
        if was.is_none_or(|was| !was.is_same(image)) {
            let is = now.image(container).unwrap_or_default();
            changes.push(format!("container {container} runs {is}"));
        }
    }
    // What is more now would be lost by restoring, what is less would come back.
    let (was, is) = (&before.configuration, &now.configuration);
    if !configuration::is_set(was, is) || !configuration::is_set(is, was) {
        changes.push("the service has another deployment configuration".into());
    }
    if now.weights != before.weights {
        changes.push("the load balancer has other weights".into());
    }
    changes
}
