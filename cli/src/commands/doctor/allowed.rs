//! What the functions' roles need for each service, asked of IAM's simulator: a parameter of the stack that somebody forgot shows before a release
//! needs it. Which roles may be passed depends on the task definition, and is not asked here; a service control policy shows only when it denies.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AccountId, Region, Resource, ServiceName};
use tidegate_core::policy::Policy;
use tidegate_core::service::ServiceRecord;

use super::{Check, Verdict};
use crate::connect::Connection;
use crate::stack::Call;

/// The functions that drive releases.
const DRIVERS: [&str; 2] = ["conductor", "sentinel"];
/// The functions that find images.
const FINDERS: [&str; 2] = ["intake", "clock"];

/// On the service.
const SERVICE: [&str; 7] = [
    "ecs:ContinueServiceDeployment",
    "ecs:DescribeServiceDeployments",
    "ecs:DescribeServiceRevisions",
    "ecs:DescribeServices",
    "ecs:ListServiceDeployments",
    "ecs:StopServiceDeployment",
    "ecs:UpdateService",
];
/// On its deployments, which AWS checks as well.
const DEPLOYMENTS: [&str; 3] =
    ["ecs:ContinueServiceDeployment", "ecs:DescribeServiceDeployments", "ecs:StopServiceDeployment"];
/// On no resource: every stack allows them, so what forbids one is a permissions boundary.
const ANYWHERE: [&str; 5] = [
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "ecs:DescribeTaskDefinition",
    "ecs:RegisterTaskDefinition",
    "elasticloadbalancing:DescribeRules",
];
/// On a function, its versions and aliases.
const FUNCTION: [&str; 2] = ["lambda:PublishVersion", "lambda:UpdateFunctionCode"];
const QUALIFIED: [&str; 4] =
    ["lambda:GetAlias", "lambda:GetFunction", "lambda:GetProvisionedConcurrencyConfig", "lambda:UpdateAlias"];
const IMAGES: [&str; 4] =
    ["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetDownloadUrlForLayer", "ecr:GetLifecyclePolicy"];

/// A call that a function makes, and the stack's parameter that allows it.
#[derive(Debug)]
struct Need {
    function: &'static str,
    call: Call,
    parameter: &'static str,
}

/// Asks IAM about every service.
pub(super) async fn look(
    connection: &Connection,
    services: &[(ServiceName, ServiceRecord)],
) -> anyhow::Result<Vec<Check>> {
    let installation = connection.installation();
    let needs: Vec<(&ServiceName, Vec<Need>)> = services
        .iter()
        .map(|(service, head)| (service, needs(&head.policy, &installation.account, &installation.region)))
        .collect();
    let mut asked: BTreeMap<&str, BTreeSet<&Call>> = BTreeMap::new();
    for need in needs.iter().flat_map(|(_, needs)| needs) {
        asked.entry(need.function).or_default().insert(&need.call);
    }
    let mut denied: BTreeSet<(&str, Call)> = BTreeSet::new();
    for (function, calls) in asked {
        let calls: Vec<Call> = calls.into_iter().cloned().collect();
        match connection.stack()?.denied(function, &calls).await {
            Ok(found) => denied.extend(found.into_iter().map(|call| (function, call))),
            Err(error) => return Ok(vec![unseen(&error)]),
        }
    }
    Ok(needs.iter().map(|(service, needs)| told(service, needs, &denied)).collect())
}

/// Most people may not ask IAM, and need not: that alone is nothing bad.
fn unseen(error: &PortError) -> Check {
    const WHAT: &str = "permissions of the functions";
    if error.kind != ErrorKind::Denied {
        return Check::unavailable(WHAT, error);
    }
    let found =
        format!("you may not ask ({}); what open releases were refused is told above", error.operation);
    Check::new(Verdict::NotLooked, WHAT, found).remedy(
        "allow lambda:GetFunctionConfiguration and iam:SimulatePrincipalPolicy to whoever runs this; or before the first release: tidegate plan SERVICE IMAGE",
    )
}

fn told(service: &ServiceName, needs: &[Need], denied: &BTreeSet<(&str, Call)>) -> Check {
    let what = format!("permissions for {service}");
    // By what is denied, so that a call that two functions need is told once.
    let mut missing: BTreeMap<&Call, (Vec<&str>, &str)> = BTreeMap::new();
    for need in needs.iter().filter(|need| denied.contains(&(need.function, need.call.clone()))) {
        missing.entry(&need.call).or_insert_with(|| (Vec::new(), need.parameter)).0.push(need.function);
    }
    if missing.is_empty() {
        return Check::new(Verdict::Ok, what, format!("{} calls, all allowed to the roles", needs.len()));
    }
    let parameters: BTreeSet<&str> = missing.values().map(|(_, parameter)| *parameter).collect();
    let lines = missing.iter().map(|(Call { action, resource }, (functions, _))| {
        format!("{} may not {action} on {resource}", functions.join(" and "))
    });
    Check::new(Verdict::Bad, what, lines.collect::<Vec<_>>().join("; ")).remedy(format!(
        "update the stack: {} has to cover what is named",
        Vec::from_iter(parameters).join(", ")
    ))
}

/// Everything a release of this policy calls that one of the stack's parameters decides.
fn needs(policy: &Policy, account: &AccountId, region: &Region) -> Vec<Need> {
    let home = |service: &str, resource: String| {
        format!("arn:{}:{service}:{region}:{account}:{resource}", partition(region))
    };
    let mut calls: Vec<(&[&'static str], &[&'static str], String, &'static str)> = Vec::new();
    for repository in policy.repositories() {
        let arn = home("ecr", format!("repository/{repository}"));
        calls.push((&FINDERS, &["ecr:DescribeImages"], arn.clone(), "RepositoryArns"));
        calls.push((&DRIVERS, &IMAGES, arn.clone(), "RepositoryArns"));
        if policy.scan.is_some() {
            calls.push((&DRIVERS, &["ecr:DescribeImageScanFindings"], arn, "RepositoryArns"));
        }
    }
    // In another account a role of that account is used, which IAM here knows nothing of.
    let target = policy.target(account, region);
    if let (Resource::EcsService(at), false) = (&target.resource, policy.to.has_role()) {
        let name = format!("{}/{}", at.cluster, at.service);
        calls.push((
            &DRIVERS,
            &SERVICE,
            home("ecs", format!("service/{name}")),
            "ClusterArns or ServiceArns",
        ));
        let deployment = home("ecs", format!("service-deployment/{name}/any"));
        calls.push((&DRIVERS, &DEPLOYMENTS, deployment, "ClusterArns or ServiceArns"));
        calls.push((&DRIVERS, &ANYWHERE, "*".to_owned(), "PermissionsBoundaryArn"));
        for rule in
            policy.to.ecs().into_iter().filter_map(|to| to.canary.as_ref()).flat_map(|canary| &canary.rules)
        {
            let is_rule = rule.as_str().contains(":listener-rule/");
            let modify: &[&str] = match is_rule {
                true => &["elasticloadbalancing:ModifyRule"],
                false => &["elasticloadbalancing:ModifyListener"],
            };
            calls.push((&DRIVERS, modify, rule.to_string(), "CanaryRuleArns"));
        }
    }
    if let (Resource::LambdaAlias(at), false) = (&target.resource, policy.to.has_role()) {
        let function = home("lambda", format!("function:{}", at.function));
        calls.push((&DRIVERS, &QUALIFIED, format!("{function}:{}", at.alias), "LambdaFunctionArns"));
        calls.push((&DRIVERS, &FUNCTION, function, "LambdaFunctionArns"));
    }
    for verify in &policy.verify {
        let project = home("codebuild", format!("project/{}", verify.codebuild));
        calls.push((&DRIVERS, &["codebuild:StartBuild"], project, "VerifyProjectArns"));
    }
    for topic in policy.people.values().filter_map(|person| person.sns.clone()) {
        calls.push((&DRIVERS, &["sns:Publish"], topic, "ApproverTopicArns"));
    }
    let mut needs = Vec::new();
    for (functions, actions, resource, parameter) in calls {
        for function in functions {
            needs.extend(actions.iter().map(|action| Need {
                function,
                call: Call { action, resource: resource.clone() },
                parameter,
            }));
        }
    }
    needs
}

/// The partition of a region: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>.
fn partition(region: &Region) -> &'static str {
    match region.as_str() {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
