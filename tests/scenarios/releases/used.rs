//! What the functions may do is what they do. A call without permission is refused by the sandbox and fails its scenario; here is the other
//! half: a permission that no scenario uses is not needed, or never tried, and has to say why it is there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, ensure};
use http::{HeaderMap, Method};
use serde_json::Value;
use tidegate_sandbox::endpoint::Iam;
use tidegate_sandbox::local::ACCOUNT;

use crate::stage::{STACK, Stage};

/// Functions and actions.
type Actions = BTreeMap<String, BTreeSet<String>>;

/// Whose scenarios were played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "each test plays its own part")]
pub(crate) enum Part {
    /// Those of releases, which use whatever is not listed.
    Releases,
    /// Those of the triggers.
    WaysIn,
}

/// Who uses a permission that the scenarios of releases do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The scenarios of the triggers.
    WaysIn,
    /// No scenario.
    Nobody,
    /// A scenario may, depending on who comes first; or one of another test.
    ByChance,
}

/// Whose policy it is (`*`: any function's own), actions, who uses them, and why they are there.
type Row = (&'static str, &'static [&'static str], Use, &'static str);
const NOT_USED_BY_RELEASES: &[Row] = &[
    (
        "*",
        &["logs:CreateLogStream", "logs:PutLogEvents"],
        Use::Nobody,
        "Lambda writes logs with the function's role; ministack has a file",
    ),
    (
        "all",
        &["dynamodb:DeleteItem"],
        Use::ByChance,
        "what a policy no longer watches goes when the last release that needs it ends",
    ),
    (
        "conductor",
        &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
        Use::Nobody,
        "Lambda reads the queues with this role; ministack needs none",
    ),
    (
        "conductor and sentinel",
        &["codebuild:StartBuild", "codebuild:BatchGetBuilds"],
        Use::WaysIn,
        "a build tries the candidate",
    ),
    ("conductor and sentinel", &["sns:Publish"], Use::Nobody, "an approver's letter: the demo sends one"),
    (
        "gate-api",
        &["sqs:SendMessage"],
        Use::Nobody,
        "an approver with an AWS identity: the gate's own tests have one",
    ),
    (
        "gate",
        &["ecr:DescribeImages", "secretsmanager:GetSecretValue", "sqs:SendMessage"],
        Use::WaysIn,
        "a webhook",
    ),
    (
        "herald",
        &[
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
        ],
        Use::Nobody,
        "Lambda reads the ledger's stream with this role; ministack needs none",
    ),
    (
        "herald",
        &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
        Use::Nobody,
        "Lambda reads the herald's queue with this role; ministack needs none",
    ),
    (
        "herald",
        &["sqs:SendMessage", "sqs:ChangeMessageVisibility", "secretsmanager:GetSecretValue"],
        Use::ByChance,
        "a receiver that is down, and receivers over HTTP",
    ),
    (
        "clock",
        &["codebuild:BatchGetBuilds", "codebuild:ListBuildsForProject"],
        Use::WaysIn,
        "builds whose event was lost",
    ),
    (
        "clock",
        &["codepipeline:GetPipelineState", "codepipeline:PutApprovalResult"],
        Use::WaysIn,
        "a pipeline's manual approval",
    ),
    (
        "clock",
        &["s3:GetObject", "s3:ListBucket"],
        Use::ByChance,
        "the artifact of a build whose event was lost, two minutes after its end",
    ),
    ("intake", &["codebuild:BatchGetBuilds", "s3:GetObject"], Use::WaysIn, "builds, artifacts and manifests"),
    (
        "intake",
        &["s3:GetObjectVersion"],
        Use::Nobody,
        "a manifest in a bucket with versions, which that of the scenarios has not",
    ),
    ("intake", &["s3:ListBucket"], Use::Nobody, "a manifest that is gone before it is read"),
    (
        "pipeline",
        &[
            "codepipeline:GetPipelineExecution",
            "codepipeline:PutJobFailureResult",
            "codepipeline:PutJobSuccessResult",
            "ecr:DescribeImages",
            "sqs:SendMessage",
        ],
        Use::WaysIn,
        "a job",
    ),
    (
        "pipeline",
        &["ecs:DescribeServices", "ecs:DescribeTaskDefinition"],
        Use::Nobody,
        "a taskdef.json: the tests of the runtime's triggers compare one",
    ),
];

/// A policy: whose it is, and what it allows.
#[derive(Debug, Default)]
struct Policy {
    functions: BTreeSet<String>,
    actions: BTreeSet<String>,
}

impl Policy {
    /// Its functions; a policy of its own says `conductor`, the ledger's `all`.
    fn of(&self) -> String {
        if self.functions.len() > 2 {
            return "all".to_owned();
        }
        self.functions.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
    }

    fn is_listed_as(&self, of: &str) -> bool {
        of == self.of() || (of == "*" && self.functions.len() == 1)
    }
}

/// Compares what the policies of the functions allow with what was called in their name. What several share is used when one of them uses it.
pub(crate) async fn every_permission_is_used(stage: &Stage, part: Part) -> Result<()> {
    let granted = granted(stage).await?;
    let used = used(&stage.calls()?);
    ensure!(granted.len() > 7, "the functions' policies were not found: {granted:?}");
    let mut wrong = Vec::new();
    for policy in &granted {
        for action in &policy.actions {
            let row = NOT_USED_BY_RELEASES
                .iter()
                .find(|(of, actions, ..)| policy.is_listed_as(of) && actions.contains(&action.as_str()));
            let called = policy.functions.iter().filter_map(|function| used.get(function)).flatten();
            let called = called.into_iter().any(|used| covers(action, used));
            let expected = match (row, part) {
                (None, Part::Releases) | (Some((_, _, Use::WaysIn, _)), Part::WaysIn) => true,
                // What the other part uses may be used here or not.
                (None, Part::WaysIn)
                | (Some((_, _, Use::WaysIn, _)), Part::Releases)
                | (Some((_, _, Use::ByChance, _)), _) => continue,
                (Some((_, _, Use::Nobody, _)), _) => false,
            };
            let of = policy.of();
            match (expected, called) {
                (true, false) => wrong.push(format!("{of} may {action}, and no scenario used it")),
                (false, true) => wrong.push(format!("{of} used {action}, which is listed as not used")),
                (true, true) | (false, false) => {}
            }
        }
    }
    for (of, actions, ..) in NOT_USED_BY_RELEASES {
        let granted = |action: &str| {
            granted.iter().any(|policy| policy.is_listed_as(of) && policy.actions.contains(action))
        };
        let gone = actions.iter().filter(|action| !granted(action));
        wrong.extend(gone.map(|action| format!("{of} may not {action} any more, which is listed")));
    }
    ensure!(wrong.is_empty(), "permissions and calls differ:\n{}", wrong.join("\n"));
    Ok(())
}

fn covers(granted: &str, used: &str) -> bool {
    granted.strip_suffix('*').map_or(granted == used, |prefix| used.starts_with(prefix))
}

/// The policies of the functions' roles. One that several have is one.
async fn granted(stage: &Stage) -> Result<Vec<Policy>> {
    let client = &stage.local.client;
    let failed = |error: tidegate_sandbox::ports::AwsError| anyhow!("{}: {}", error.code, error.message);
    let path = "/2015-03-31/functions/?MaxItems=50";
    let listed = client.rest("lambda", Method::GET, path, HeaderMap::new(), bytes::Bytes::new()).await;
    let listed: Value = serde_json::from_slice(listed.map_err(failed)?.body()).context("the functions")?;
    let iam = Iam::new(client.clone(), ACCOUNT);
    let mut granted = BTreeMap::<String, Policy>::new();
    for function in listed["Functions"].as_array().into_iter().flatten() {
        let text = |member: &str| function[member].as_str().unwrap_or_default();
        let Some(name) = text("FunctionName").strip_prefix(&format!("{STACK}-")) else { continue };
        let role = text("Role").rsplit('/').next().unwrap_or_default();
        for document in iam.policies_of(role).await.map_err(failed)? {
            let policy = granted.entry(document.to_string()).or_default();
            policy.functions.insert(name.to_owned());
            let statements = document["Statement"].as_array().cloned().unwrap_or_default();
            for statement in statements.iter().filter(|statement| statement["Effect"] == "Allow") {
                let named = &statement["Action"];
                let many = named.as_array().into_iter().flatten();
                policy.actions.extend(many.chain([named]).filter_map(Value::as_str).map(str::to_owned));
            }
        }
    }
    Ok(granted.into_values().collect())
}

/// By function, what it was allowed to do.
fn used(calls: &[Value]) -> Actions {
    let mut used = Actions::new();
    for call in calls {
        let caller = call["caller"].as_str().unwrap_or_default();
        let Some(function) =
            caller.rsplit('/').next().and_then(|name| name.strip_prefix(&format!("{STACK}-")))
        else {
            continue;
        };
        used.entry(function.to_owned()).or_default().extend(actions(call));
    }
    used
}

/// The actions a call needed, by the Service Authorization Reference; none when it was refused.
fn actions(call: &Value) -> Vec<String> {
    let text = |member: &str| call[member].as_str().unwrap_or_default();
    let (service, operation, request) = (text("service"), text("operation"), &call["request"]);
    let status = call["status"].as_u64().unwrap_or(599);
    if service == "s3" {
        // Who may not list a bucket is told of a missing object that access is denied.
        let missing = (status == 404).then_some("s3:ListBucket");
        let version = text("path").contains("versionId=").then_some("s3:GetObjectVersion");
        let read =
            (operation.starts_with("GET ") && status < 400).then_some(version.unwrap_or("s3:GetObject"));
        return missing.into_iter().chain(read).map(str::to_owned).collect();
    }
    if status == 403 || status >= 500 {
        return Vec::new();
    }
    let named = match (service, operation) {
        ("dynamodb", "TransactWriteItems") => {
            let items =
                request["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object);
            let kinds = items.flat_map(|item| item.keys().cloned());
            kinds.map(|kind| format!("dynamodb:{kind}Item")).collect()
        }
        ("dynamodb", "TransactGetItems") => vec!["dynamodb:GetItem".to_owned()],
        ("sqs", batch) => vec![format!("sqs:{}", batch.strip_suffix("Batch").unwrap_or(batch))],
        ("monitoring", operation) => vec![format!("cloudwatch:{operation}")],
        (service, operation) => vec![format!("{service}:{operation}")],
    };
    let passes = ["taskRoleArn", "executionRoleArn"].iter().any(|member| request[member].is_string())
        || request["deploymentConfiguration"].to_string().contains("\"roleArn\"")
        || request["loadBalancers"].to_string().contains("\"roleArn\"");
    let tags = operation == "RegisterTaskDefinition"
        && request["tags"].as_array().is_some_and(|tags| !tags.is_empty());
    let more = [(passes && service == "ecs", "iam:PassRole"), (tags, "ecs:TagResource")];
    named
        .into_iter()
        .chain(more.into_iter().filter(|(is, _)| *is).map(|(_, action)| action.to_owned()))
        .collect()
}
