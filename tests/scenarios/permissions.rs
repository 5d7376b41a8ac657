//! Permissions cannot rot: what the template grants is what the adapters call, and what the documents say people need is what is called.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

type Actions = BTreeSet<String>;

/// The crates that call AWS, one a service.
const ADAPTERS: [&str; 14] = [
    "autoscaling",
    "cloudwatch",
    "codebuild",
    "codepipeline",
    "dynamodb",
    "ecr",
    "ecs",
    "elb",
    "eventbridge",
    "lambda",
    "s3",
    "secretsmanager",
    "sns",
    "sqs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a word is the name of an IAM action: `ecs:UpdateService`, `kms:GenerateDataKey*`.
fn is_action(word: &str) -> bool {
    let Some((service, name)) = word.split_once(':') else { return false };
    let name = name.strip_suffix('*').unwrap_or(name);
    !service.is_empty()
        && service.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(char::is_alphanumeric)
}

fn sources(directory: &Path, found: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The actions a crate's errors name: every call of every adapter is named, so these are its calls.
fn called_by(adapter: &str) -> Actions {
    let mut source = String::new();
    sources(&root().join("shared/aws").join(adapter).join("src"), &mut source);
    let named = source.split('"').filter(|text| is_action(text)).map(str::to_owned);
    let actions = named.flat_map(|action| match action.as_str() {
        // IAM knows the items of a transaction, and a batch as what is in it.
        "dynamodb:TransactWriteItems" => {
            vec!["dynamodb:DeleteItem".to_owned(), "dynamodb:PutItem".to_owned()]
        }
        "sqs:SendMessageBatch" => vec!["sqs:SendMessage".to_owned()],
        _ => vec![action],
    });
    actions.collect()
}

/// The actions that the template's roles and policies allow.
fn granted() -> Actions {
    let template = read("template.yaml");
    let mut granted = Actions::new();
    let mut in_role = false;
    for line in template.lines() {
        if let Some(name) = line.strip_prefix("  ").filter(|name| !name.starts_with([' ', '#'])) {
            in_role = name.ends_with("Role:") || name.ends_with("Policy:");
        }
        let code = line.split(" # ").next().unwrap_or_default();
        if in_role && !code.contains("sts:AssumeRole") && !code.contains("Condition:") {
            let words = code.split(|c: char| c.is_whitespace() || "[]{},\"'".contains(c));
            granted.extend(words.filter(|word| is_action(word)).map(str::to_owned));
        }
    }
    granted
}

/// What is granted and is no call of an adapter, each with its reason.
const OTHERS: [(&str, &str); 20] = [
    ("dynamodb:DescribeStream", "Lambda reads the ledger's stream with the herald's role"),
    ("dynamodb:GetRecords", "Lambda reads the ledger's stream with the herald's role"),
    ("dynamodb:GetShardIterator", "Lambda reads the ledger's stream with the herald's role"),
    ("dynamodb:ListStreams", "Lambda reads the ledger's stream with the herald's role"),
    ("ecs:TagResource", "AWS asks for it when a task definition is registered with tags"),
    ("iam:PassRole", "AWS asks for it when a task definition or a service names roles"),
    ("kms:Decrypt", "AWS asks for it when an object or a topic is encrypted"),
    ("kms:GenerateDataKey*", "AWS asks for it when a topic is encrypted"),
    ("lambda:GetFunctionUrlConfig", "for people who open the dashboard"),
    ("lambda:InvokeAsync", "denied to approvers"),
    ("lambda:InvokeFunction", "for approvers"),
    ("lambda:InvokeFunctionUrl", "for approvers"),
    ("logs:CreateLogStream", "Lambda writes the log with the function's role"),
    ("logs:PutLogEvents", "Lambda writes the log with the function's role"),
    ("s3:GetObjectVersion", "AWS asks for it when an object is read by its version"),
    ("s3:ListBucket", "without it a missing object is told as denied"),
    ("sqs:ChangeMessageVisibility", "Lambda reads the wake queue with the conductor's role"),
    ("sqs:DeleteMessage", "Lambda reads the wake queue with the conductor's role"),
    ("sqs:GetQueueAttributes", "Lambda reads the wake queue with the conductor's role"),
    ("sqs:ReceiveMessage", "Lambda reads the wake queue with the conductor's role"),
];

/// AWS X-Ray takes traces with these, when tracing is on.
const TRACES: [&str; 2] = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"];

#[test]
fn the_template_grants_what_the_adapters_call_and_no_more() {
    let called: Actions = ADAPTERS.into_iter().flat_map(called_by).collect();
    assert!(
        called.contains("ecs:ContinueServiceDeployment") && called.len() > 20,
        "the calls were not found: {called:?}"
    );
    let others = OTHERS.into_iter().map(|(action, _)| action).chain(TRACES).map(str::to_owned);
    let wanted: Actions = called.iter().cloned().chain(others).collect();
    let granted = granted();
    let missing: Vec<_> = wanted.difference(&granted).collect();
    let needless: Vec<_> = granted.difference(&wanted).collect();
    assert!(
        missing.is_empty() && needless.is_empty(),
        "not granted: {missing:?}; granted and never called: {needless:?}"
    );
}

#[test]
fn plan_needs_what_the_documents_say() {
    let page = read("docs/cli.md");
    let row = page.lines().find(|line| line.starts_with("| `plan`, ")).unwrap();
    let said: Actions = row.split('`').filter(|word| is_action(word)).map(str::to_owned).collect();
    let reads = |action: &String| {
        let name = action.split(':').nth(1).unwrap_or_default();
        ["Describe", "List", "Get", "BatchGet"].iter().any(|verb| name.starts_with(verb))
    };
    // `plan` looks through the same ports as the conductor, up to where a release would start.
    let later = ["ecs:ListTaskDefinitions", "ecr:DescribeImageScanFindings"];
    let looks: Actions = ["ecs", "elb", "autoscaling", "cloudwatch", "ecr", "lambda"]
        .into_iter()
        .flat_map(called_by)
        .filter(reads)
        .collect();
    let looks: Actions = looks.into_iter().filter(|action| !later.contains(&action.as_str())).collect();
    assert_eq!(said, looks);
}

#[test]
fn every_part_of_the_stack_is_tagged() {
    let template = read("template.yaml");
    let resources = template.split_once("\nResources:\n").unwrap().1.split_once("\nOutputs:\n").unwrap().0;
    let taggable = [
        "AWS::DynamoDB::Table",
        "AWS::SQS::Queue",
        "AWS::SecretsManager::Secret",
        "AWS::Logs::LogGroup",
        "AWS::IAM::Role",
        "AWS::CloudWatch::Alarm",
    ];
    let kinds = |text: &str| taggable.iter().any(|kind| text.contains(&format!("\n    Type: {kind}\n")));
    let starts: Vec<usize> = resources
        .match_indices("\n  ")
        .filter(|(at, _)| resources[at + 3..].starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([resources.len()]);
    let tagged: Vec<(&str, bool)> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &resources[*start..end])
        .filter(|resource| kinds(resource))
        .map(|resource| {
            (resource.trim().lines().next().unwrap_or_default(), resource.contains("tidegate:stack"))
        })
        .collect();
    assert!(tagged.len() > 29, "resources were not found: {tagged:?}");
    let bare: Vec<_> = tagged.iter().filter(|(_, tagged)| !tagged).collect();
    assert!(bare.is_empty(), "without the tag tidegate:stack: {bare:?}");
}
