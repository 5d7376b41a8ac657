//! One look at the world: everything a decision needs, asked for at the same time where nothing depends on anything.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tidegate_core::configuration;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AlarmName, RuleArn};
use tidegate_core::intent::Intent;
use tidegate_core::observation::{
    AlarmSeen, EffectResult, Entropy, Hint, Needs, Observation, Refusal, Seen, ServiceSeen, Stored,
    TaskDefinitionSeen,
};
use tidegate_core::release::Release;
use tidegate_core::revision::RunningSeen;
use tidegate_core::running::{image_of, to_look_up};
use tidegate_core::service::ServiceRecord;

use crate::context::Context;

/// What is known without looking: what the event said, and what became of the effects performed just before.
#[derive(Debug, Clone, Default)]
pub struct Feedback {
    /// Facts of the event that woke us.
    pub hints: Vec<Hint>,
    /// What AWS refused for good.
    pub refused: Vec<Refusal>,
    /// What was brought about and shows nowhere in AWS.
    pub results: Vec<EffectResult>,
}

/// Fresh randomness from the operating system. Without any, tokens must not be made, so nothing may continue.
fn entropy() -> Entropy {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Entropy(bytes)
}

/// Looks at what `needs` asks for. Errors are part of the answer.
pub async fn observe(
    context: &Context,
    release: &Release,
    head: Option<ServiceRecord>,
    needs: &Needs,
    feedback: &Feedback,
) -> Observation {
    let at = context.installation.time.now();
    let target = &release.target;
    let (service, revision, deployments, alarms, planned_weights, scan, build, stopped_tasks, requests) = tokio::join!(
        async { if needs.service { context.ecs.service(target).await.into() } else { Seen::NotAsked } },
        async {
            match &needs.revision {
                Some(revision) => context.ecs.find_revision(target, revision).await.into(),
                None => Seen::NotAsked,
            }
        },
        async {
            match needs.deployments_since {
                Some(since) => context.ecs.deployments(target, since).await.into(),
                None => Seen::NotAsked,
            }
        },
        async {
            if needs.alarms.is_empty() {
                Seen::Known(BTreeMap::new())
            } else {
                context.alarms.states(target, &needs.alarms).await.into()
            }
        },
        async {
            match (&release.plan, needs.weights) {
                (Some(plan), true) => {
                    let rules: Vec<RuleArn> =
                        plan.rollback_target.weights.iter().map(|rule| rule.arn.clone()).collect();
                    weights(context, release, &rules).await
                }
                (None, _) | (_, false) => Seen::NotAsked,
            }
        },
        async { if needs.scan { context.images.scan(&release.image).await.into() } else { Seen::NotAsked } },
        async {
            match &needs.build {
                Some(build) => context.builds.build(build).await.into(),
                None => Seen::NotAsked,
            }
        },
        async {
            match &needs.stopped_tasks {
                Some(task_definition) => context.ecs.stopped_tasks(target, task_definition).await.into(),
                None => Seen::NotAsked,
            }
        },
        async {
            match &needs.requests {
                Some(asked) => context.metrics.requests(target, asked, at).await.into(),
                None => Seen::NotAsked,
            }
        },
    );
    let mut seen = Observation {
        at,
        head,
        service,
        revision,
        deployments,
        alarms,
        weights: planned_weights,
        scan,
        build,
        stopped_tasks,
        requests,
        entropy: entropy(),
        hints: feedback.hints.clone(),
        refused: feedback.refused.clone(),
        results: feedback.results.clone(),
        ..Observation::default()
    };
    if needs.preflight {
        observe_for_preflight(context, release, &mut seen).await;
    } else {
        let running = async {
            if needs.running { observe_running(context, release, &seen).await } else { Seen::NotAsked }
        };
        let (running, stored) = tokio::join!(running, look_up(context, needs.stored.clone()));
        (seen.running, seen.stored) = (running, stored);
    }
    seen
}

/// The digests that run, of the containers that matter to the plan.
async fn observe_running(context: &Context, release: &Release, seen: &Observation) -> Seen<RunningSeen> {
    let (Some(Some(service)), Some(plan)) = (seen.service.known(), &release.plan) else {
        return Seen::NotAsked;
    };
    let containers =
        plan.rollback_target.images.keys().chain(plan.candidate.images.keys()).cloned().collect();
    context.ecs.running(&release.target, service, &containers).await.into()
}

async fn weights(
    context: &Context,
    release: &Release,
    rules: &[RuleArn],
) -> Seen<Vec<tidegate_core::observation::RuleSeen>> {
    if rules.is_empty() {
        Seen::Known(Vec::new())
    } else {
        context.traffic.rules(&release.target, rules).await.into()
    }
}

/// What only shows once the service has been seen: its rules, its task definition, what runs, the images.
async fn observe_for_preflight(context: &Context, release: &Release, seen: &mut Observation) {
    let Some(Some(service)) = seen.service.known().cloned() else { return };
    let rules = production_rules(&service);
    let own = configuration::watched_alarms(&service.deployment_configuration);
    let (own_alarms, weights, task_definition, destination, new_image) = tokio::join!(
        own_alarms(context, release, &own),
        weights(context, release, &rules),
        context.ecs.task_definition(&release.target, &service.task_definition),
        destination(context, release),
        context.images.image(&release.image),
    );
    seen.own_alarms = own_alarms;
    seen.weights = weights;
    seen.new_image = new_image.into();
    seen.destination = destination;
    seen.task_definition = there(task_definition, &service).into();
    let Some(task_definition) = seen.task_definition.known() else { return };
    let containers = task_definition.images.keys().cloned().collect();
    seen.running = context.ecs.running(&release.target, &service, &containers).await.into();
    let Some(running) = seen.running.known() else { return };
    let destination = seen.destination.known().and_then(Option::as_ref);
    let references = to_look_up(&release.intent, task_definition, running, destination);
    seen.stored = look_up(context, references).await;
}

async fn own_alarms(
    context: &Context,
    release: &Release,
    names: &[AlarmName],
) -> Seen<BTreeMap<AlarmName, AlarmSeen>> {
    if names.is_empty() {
        Seen::Known(BTreeMap::new())
    } else {
        context.alarms.states(&release.target, names).await.into()
    }
}

/// The task definition that runs is always there, or it could not be seen.
fn there(
    found: Result<Option<TaskDefinitionSeen>, PortError>,
    service: &ServiceSeen,
) -> Result<TaskDefinitionSeen, PortError> {
    found?.ok_or_else(|| {
        PortError::new(
            ErrorKind::NotFound,
            "ecs:DescribeTaskDefinition",
            "ClientException",
            format!("there is no task definition {}", service.task_definition.short()),
        )
    })
}

/// The revision a rollback release goes to.
async fn destination(context: &Context, release: &Release) -> Seen<Option<TaskDefinitionSeen>> {
    match &release.intent {
        Intent::Deploy => Seen::NotAsked,
        Intent::Rollback { task_definition, .. } => {
            context.ecs.task_definition(&release.target, task_definition).await.into()
        }
    }
}

/// Images in their registries, all at the same time: a task has few containers.
async fn look_up(context: &Context, references: BTreeSet<String>) -> BTreeMap<String, Seen<Stored>> {
    let one = |reference: String| async move {
        let stored = match image_of(&reference) {
            Some(image) => context.images.stored(&image).await.into(),
            // Without a registry's host it is Docker Hub's.
            None => Seen::Known(Stored::Elsewhere),
        };
        (reference, stored)
    };
    join_all(references.into_iter().map(one)).await.into_iter().collect()
}

fn production_rules(service: &ServiceSeen) -> Vec<RuleArn> {
    let mut rules: Vec<RuleArn> =
        service.load_balancers.iter().filter_map(|lb| lb.production_rule.clone()).collect();
    rules.dedup();
    rules
}
