//! The one service every fixture and every fake is about, so that tests name states and not ARNs.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::change::Change;
use tidegate_core::ids::{
    AccountId, AlarmName, ClusterName, ContainerName, DeploymentArn, Digest, EcsService, EcsServiceName,
    HookId, Image, Region, ReleaseId, RepositoryName, Resource, RuleArn, ServiceName, Tag, Target,
    TargetGroupArn, TaskArn, TaskDefinitionArn,
};
use tidegate_core::intent::{Deployed, EcsDeployed};
use tidegate_core::policy::{Destination, EcsDestination, LambdaDestination, Policy};
use tidegate_core::registry::ecr_registry;

/// When every test begins.
pub fn start() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().expect("a time")
}

/// So many seconds after [`start`].
pub fn at(secs: i64) -> Timestamp {
    start().saturating_add(SignedDuration::from_secs(secs)).expect("within range")
}

/// The home account.
pub fn account() -> AccountId {
    AccountId::new("111122223333").expect("an account")
}

/// The home region.
pub fn region() -> Region {
    Region::new("eu-central-1").expect("a region")
}

/// `checkout`.
pub fn service() -> ServiceName {
    ServiceName::new("checkout").expect("a name")
}

/// Cluster `prod`, service `checkout`.
pub fn target() -> Target {
    Target {
        account: account(),
        region: region(),
        resource: Resource::EcsService(EcsService {
            cluster: ClusterName::new("prod").expect("a name"),
            service: EcsServiceName::new("checkout").expect("a name"),
        }),
        role: None,
    }
}

/// Container `app`.
pub fn container() -> ContainerName {
    ContainerName::new("app").expect("a name")
}

/// Build `n` in container `app`.
pub fn change(n: u32) -> Change {
    Change::one(container(), image(n))
}

/// The one image of a change.
///
/// # Panics
/// Where it brings several.
pub fn only(change: &Change) -> &Image {
    change.single().expect("one image")
}

/// Container `sidecar`.
pub fn sidecar() -> ContainerName {
    ContainerName::new("sidecar").expect("a name")
}

/// Repository `shop/checkout`.
pub fn repository() -> RepositoryName {
    RepositoryName::new("shop/checkout").expect("a name")
}

/// The registry of the home account.
pub fn registry() -> String {
    ecr_registry(&account(), &region())
}

/// Alarm `checkout-5xx`.
pub fn alarm() -> AlarmName {
    AlarmName::new("checkout-5xx").expect("a name")
}

/// The digest of the nth build.
pub fn digest(build: u32) -> Digest {
    Digest::new(format!("sha256:{build:064x}")).expect("a digest")
}

/// The tag of the nth build.
pub fn tag(build: u32) -> Tag {
    Tag::new(format!("main-{build}")).expect("a tag")
}

/// The image of the nth build.
pub fn image(build: u32) -> Image {
    Image { registry: registry(), repository: repository(), digest: digest(build), tag: Some(tag(build)) }
}

/// The nth revision of the service's task definition.
pub fn task_definition(revision: u32) -> TaskDefinitionArn {
    TaskDefinitionArn::new(format!(
        "arn:aws:ecs:eu-central-1:111122223333:task-definition/checkout:{revision}"
    ))
    .expect("an ARN")
}

/// The nth deployment of the service.
pub fn deployment(number: u32) -> DeploymentArn {
    DeploymentArn::new(format!(
        "arn:aws:ecs:eu-central-1:111122223333:service-deployment/prod/checkout/d{number:04}"
    ))
    .expect("an ARN")
}

/// The nth task.
pub fn task(number: u32) -> TaskArn {
    TaskArn::new(format!("arn:aws:ecs:eu-central-1:111122223333:task/prod/t{number:04}")).expect("an ARN")
}

/// The nth pause hook.
pub fn hook(number: u32) -> HookId {
    HookId::new(format!("ecs-pause-{number:04}")).expect("an id")
}

/// The production rule.
pub fn rule() -> RuleArn {
    RuleArn::new("arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/shop/1/2/3")
        .expect("an ARN")
}

/// Target group `blue`, which carries the traffic at first.
pub fn blue() -> TargetGroupArn {
    group("blue")
}

/// Target group `green`, idle at first.
pub fn green() -> TargetGroupArn {
    group("green")
}

fn group(name: &str) -> TargetGroupArn {
    TargetGroupArn::new(format!(
        "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/{name}/1"
    ))
    .expect("an ARN")
}

/// The nth release id of fixtures.
pub fn release(number: u32) -> ReleaseId {
    ReleaseId::new(format!("01kj{number:022}")).expect("an id")
}

/// What is deployed with this revision, and no image known by digest.
pub fn deployed(revision: u32) -> Deployed {
    Deployed::Ecs(EcsDeployed { task_definition: task_definition(revision), images: Default::default() })
}

/// Where a policy's releases go, to be rewritten.
///
/// # Panics
/// When that is no ECS service.
pub fn to_ecs(policy: &mut Policy) -> &mut EcsDestination {
    match &mut policy.to {
        Destination::Ecs(to) => to,
        Destination::Lambda(to) => panic!("{} is no ECS service", to.function),
    }
}

/// Where a policy's releases go, to be rewritten.
///
/// # Panics
/// When that is no Lambda function.
pub fn to_lambda(policy: &mut Policy) -> &mut LambdaDestination {
    match &mut policy.to {
        Destination::Lambda(to) => to,
        Destination::Ecs(to) => panic!("{} is no function", to.service),
    }
}

/// The ECS service of a target.
///
/// # Panics
/// When it is none.
pub fn service_of(target: &Target) -> &str {
    target.ecs().expect("an ECS service").service.as_str()
}
