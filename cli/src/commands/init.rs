//! `init`: looks at an ECS service as it is, writes a policy for it, says what it lacks for each strategy, and writes that down as infrastructure.
//! Nothing in AWS is changed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::finding::FindingCode;
use tidegate_core::ids::{
    ClusterName, ContainerName, EcsService, EcsServiceName, RepositoryName, Resource, ServiceName, Tag,
    Target,
};
use tidegate_core::intent::Intent;
use tidegate_core::policy::{self, EngineChoice, Percent, Policy, Shift, ShiftStep, Span};
use tidegate_core::reference::{Pick, Reference};
use tidegate_core::registry::ecr_registry;
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::ecs::{self, ServiceSeen, TaskDefinitionSeen};
use tidegate_view::FindingView;

use super::plan;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::image::{self, ImageArg};
use crate::init::{Balancer, Ground, Language};
use crate::line::{Line, Tone};
use crate::output::Output;

/// The arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ECS cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: ClusterName,
    /// The ECS service
    #[arg(long, value_name = "NAME")]
    pub service: EcsServiceName,
    /// The container whose image is released; needed when more than one has an image in ECR
    #[arg(long, value_name = "NAME")]
    pub container: Option<ContainerName>,
    /// What Tidegate is to call it [default: the ECS service's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ServiceName>,
    /// Print what the service lacks as infrastructure; what else is said goes to the standard error stream
    #[arg(long = "as", value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// Where the policy is written [default: NAME.yaml]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite the policy file
    #[arg(long)]
    pub force: bool,
}

#[derive(Serialize)]
struct Answer {
    service: ServiceName,
    file: String,
    strategies: Vec<Possible>,
    /// What has to be added in AWS; null where nothing is lacking, or no language was asked for.
    addition: Option<String>,
}

/// Whether the service can be released with a strategy as it is.
#[derive(Serialize)]
struct Possible {
    strategy: &'static str,
    blocked: bool,
    findings: Vec<FindingView>,
    unseen: Vec<String>,
}

/// Looks, writes, tells.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => ServiceName::new(args.service.as_str()).context("give the service a name with --name")?,
    };
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.yaml")));
    if file.exists() && !args.force {
        bail!(
            Refusal::new(format!("{} is there already; nothing was written", file.display()))
                .remedy("name another file with --out, or overwrite it with --force")
        );
    }
    let mut ground = ground(args, name.clone(), connection).await?;
    let policy = parsed(&file, &ground.policy())?;
    let strategies = possible(&policy, connection).await?;
    let of_canary = strategies.iter().find(|it| it.strategy == "canary");
    ground.lacks = of_canary.iter().flat_map(|it| it.findings.iter().map(|finding| finding.code)).collect();
    std::fs::write(&file, ground.policy()).with_context(|| format!("failed to write {}", file.display()))?;
    let addition = args.language.filter(|_| ground.is_lacking()).map(|language| ground.addition(language));
    if out.is_json() {
        let file = file.display().to_string();
        out.object(&Answer { service: name, file, strategies, addition })?;
        return Ok(Exit::Ok);
    }
    let told = told(&file, &ground, &strategies, args);
    match (&args.language, addition) {
        (None, _) => out.lines(&told)?,
        (Some(_), addition) => {
            told.iter().for_each(|line| out.note(&line.text()));
            out.raw(&addition.unwrap_or_default())?;
        }
    }
    Ok(Exit::Ok)
}

fn parsed(file: &Path, text: &str) -> anyhow::Result<Policy> {
    let parsed = policy::parse(&file.display().to_string(), text);
    parsed.context("failed to write a policy for this service")
}

/// What is there.
async fn ground(args: &Args, name: ServiceName, connection: &Connection) -> anyhow::Result<Ground> {
    let installation = connection.installation();
    let at = EcsService { cluster: args.cluster.clone(), service: args.service.clone() };
    let target = Target {
        account: installation.account.clone(),
        region: installation.region.clone(),
        resource: Resource::EcsService(at.clone()),
        role: None,
    };
    let (service, task_definition) = service(&target, connection).await?;
    let (container, repository, tag) = container(args, &task_definition, connection)?;
    let mut balancers = Vec::new();
    for balancer in &service.load_balancers {
        let Some(group) = &balancer.target_group else { continue };
        let around = connection.balancing()?.around(&target, group).await;
        let around = around.with_context(|| format!("failed to look at target group {}", group.short()))?;
        let around = around.with_context(|| format!("target group {} is gone", group.short()))?;
        let rule = balancer.production_rule.clone().or_else(|| match around.senders.as_slice() {
            [rule] => Some(rule.clone()),
            _ => None,
        });
        let second = balancer.alternate_target_group.clone();
        balancers.push(Balancer { around, second, rule, role_given: balancer.role_given });
    }
    Ok(Ground {
        service: name,
        account: target.account,
        region: target.region,
        at,
        is_home: true,
        container,
        repository,
        tag,
        balancers,
        lacks: [FindingCode::NoSecondTargetGroup, FindingCode::AlarmMissing].into(),
    })
}

async fn service(
    target: &Target,
    connection: &Connection,
) -> anyhow::Result<(ServiceSeen, TaskDefinitionSeen)> {
    let port = &connection.context.ecs;
    let asked = ecs::Needs { service: true, ..ecs::Needs::default() };
    let service = match port.observe(target, &asked).await.service {
        Seen::Known(Some(service)) => service,
        Seen::Known(None) | Seen::NotAsked => bail!(
            Refusal::new(format!("there is no Amazon ECS service {target}"))
                .remedy("aws ecs list-services --cluster NAME  lists them; --region names another region")
        ),
        Seen::Unknown(error) => bail!("failed to look at {target}: {}", error.told()),
    };
    let asked =
        ecs::Needs { task_definition: Some(service.task_definition.clone()), ..ecs::Needs::default() };
    match port.observe(target, &asked).await.task_definition {
        Seen::Known(task_definition) => Ok((service, task_definition)),
        Seen::NotAsked => bail!("the task definition of {target} could not be seen"),
        Seen::Unknown(error) => bail!("failed to look at the task definition of {target}: {}", error.told()),
    }
}

/// The container that is named, or the only one whose image comes from the account's own ECR.
fn container(
    args: &Args,
    task_definition: &TaskDefinitionSeen,
    connection: &Connection,
) -> anyhow::Result<(ContainerName, RepositoryName, Option<Tag>)> {
    let installation = connection.installation();
    let host = ecr_registry(&installation.account, &installation.region);
    let in_ecr = |reference: &str| {
        let Reference { registry, repository, pick } = Reference::parse(reference).ok()?;
        let ours = registry.is_some_and(|registry| registry.host() == host);
        let tag = match pick {
            Pick::Tag(tag) => Some(tag),
            Pick::Digest(_, tag) => tag,
        };
        Some((RepositoryName::new(repository.filter(|_| ours)?).ok()?, tag))
    };
    let found: Vec<_> = task_definition
        .images
        .iter()
        .filter(|(container, _)| args.container.as_ref().is_none_or(|wanted| wanted == *container))
        .filter_map(|(container, reference)| in_ecr(reference).map(|found| (container.clone(), found)))
        .collect();
    let all: Vec<String> =
        task_definition.images.iter().map(|(container, image)| format!("{container} ({image})")).collect();
    match found.as_slice() {
        [(container, (repository, tag))] => Ok((container.clone(), repository.clone(), tag.clone())),
        [] => bail!(
            Refusal::new(format!(
                "no container of {} that is meant has an image in {host}: {}",
                task_definition.arn.short(),
                all.join(", ")
            ))
            .remedy("Tidegate releases images of the account's own ECR in this region; push it there first")
        ),
        _ => bail!(
            Refusal::new(format!("several containers have images in ECR: {}", all.join(", ")))
                .remedy("name the one whose image is released: --container NAME")
                .exit(Exit::Usage)
        ),
    }
}

/// What preflight says of the image that runs, for each strategy.
async fn possible(policy: &Policy, connection: &Connection) -> anyhow::Result<Vec<Possible>> {
    let context = &connection.context;
    let (ten, bake) = (Percent::from_tenths(100), Span::from_secs(300).unwrap_or_default());
    let strategies = [
        ("canary", Shift::Canary { percent: ten, bake }, EngineChoice::Native),
        ("blue_green", Shift::BlueGreen, EngineChoice::Native),
        ("steps", Shift::Steps { steps: vec![ShiftStep { percent: ten, bake }] }, EngineChoice::Weighted),
        ("rolling", Shift::Rolling, EngineChoice::Native),
    ];
    let running = running(policy, connection).await?;
    let change = image::change(&running, policy, connection.registry()).await;
    let change = change.context("failed to find the image that runs")?;
    let mut possible = Vec::new();
    for (strategy, shift, engine) in strategies {
        let mut policy = policy.clone();
        (policy.strategy.shift, policy.strategy.engine) = (shift, engine);
        let head = ServiceRecord::new(policy, context.installation.time.now());
        let service = head.policy.service.clone();
        let view = plan::look(context, &service, &head, change.clone(), Intent::Deploy).await?;
        // What runs is looked at, so that it runs is no news.
        let findings: Vec<FindingView> =
            view.findings.into_iter().filter(|it| it.code != FindingCode::AlreadyRunning).collect();
        let blocked = !view.unseen.is_empty() || findings.iter().any(|it| it.blocking);
        possible.push(Possible { strategy, blocked, findings, unseen: view.unseen });
    }
    Ok(possible)
}

/// The image that runs, as its task definition names it.
async fn running(policy: &Policy, connection: &Connection) -> anyhow::Result<Vec<ImageArg>> {
    let installation = connection.installation();
    let target = policy.target(&installation.account, &installation.region);
    let (_, task_definition) = service(&target, connection).await?;
    let containers = policy.to.containers().keys();
    let named = containers.filter_map(|container| task_definition.images.get(container));
    named.map(|reference| reference.parse().map_err(anyhow::Error::msg)).collect()
}

fn told(file: &Path, ground: &Ground, strategies: &[Possible], args: &Args) -> Vec<Line> {
    let mut lines = vec![Line::of(Tone::Good, "+").add(Tone::Strong, format!(" {}", file.display())).add(
        Tone::Plain,
        format!(
            ": a policy for {}, to be read and applied: tidegate apply {}",
            ground.service,
            file.display()
        ),
    )];
    for it in strategies {
        let (tone, mark, word) = if it.blocked {
            (Tone::Warn, "✗", "lacks")
        } else {
            (Tone::Good, "✓", "is possible as it is")
        };
        lines.push(Line::of(tone, mark).add(Tone::Plain, format!(" {}: {word}", it.strategy)));
        let blocking = it.findings.iter().filter(|finding| finding.blocking);
        lines.extend(
            blocking.map(|finding| Line::plain(format!("    {} ({})", finding.problem, finding.remedy))),
        );
        lines.extend(it.unseen.iter().map(|why| Line::plain(format!("    unavailable: {why}"))));
    }
    if args.language.is_none() && ground.is_lacking() {
        let ecs = &ground.at;
        lines.push(Line::of(
            Tone::Faint,
            format!(
                "what canary lacks, as infrastructure: tidegate init --cluster {} --service {} --force --as cloudformation|terraform|cdk",
                ecs.cluster, ecs.service
            ),
        ));
    }
    lines
}
