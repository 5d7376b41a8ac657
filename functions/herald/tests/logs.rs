//! The herald's real binary at the loudest level: it holds tokens, keys and addresses that are keys, and the log tells none of them.

use serde_json::{Value, json};
use tidegate_core::policy::parse_channels;
use tidegate_core::service::ServiceRecord;
use tidegate_testkit::lambda::{AwsCall, run};
use tidegate_testkit::{build, names};

const SLACK: &str = "xoxb-the-secret-of-slack";
const GITHUB: &str = "ghs-the-secret-of-github";
const TEAMS: &str = "sig-the-secret-of-teams";
const WEBHOOK: &str = "the-secret-of-the-webhook-0123456789";
const PAGERDUTY: &str = "the-secret-of-pagerduty-01234567";
const KEY: &str = "the-secret-key-of-the-functions-role";

/// Nobody listens there: what fails is logged most.
fn secret() -> String {
    json!({
        "slack": { "token": SLACK, "url": "https://127.0.0.1:1/api" },
        "github": { "token": GITHUB, "url": "https://127.0.0.1:1" },
        "teams": { "deploys": format!("https://127.0.0.1:1/?sig={TEAMS}") },
        "webhooks": { "audit": { "url": "https://127.0.0.1:1/", "secret": WEBHOOK } },
        "pagerduty": { "shop": { "routing_key": PAGERDUTY, "url": "https://127.0.0.1:1" } },
    })
    .to_string()
}

fn aws(call: &AwsCall) -> (u16, String) {
    let channels = parse_channels(
        "[{ slack: '#deploys' }, { github: acme/shop }, { teams: deploys }, { webhook: audit }, { pagerduty: shop }]",
    );
    let policy = tidegate_core::policy::Policy { notify: channels.ok(), ..build::policy() };
    let record = json!(ServiceRecord::new(policy, names::start())).to_string();
    let row = json!({ "Item": { "pk": { "S": "SERVICE#checkout" }, "sk": { "S": "HEAD" }, "schema": { "N": "1" },
        "version": { "N": "0" }, "body": { "S": record } } });
    match call.target.as_str() {
        "DynamoDB_20120810.GetItem" => (200, row.to_string()),
        "DynamoDB_20120810.PutItem" => (200, "{}".to_owned()),
        "secretsmanager.GetSecretValue" => (200, json!({ "SecretString": secret() }).to_string()),
        _ => (400, json!({ "__type": "ValidationException", "message": "not expected" }).to_string()),
    }
}

fn asked() -> Value {
    json!({ "Records": [{ "eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": { "SequenceNumber": "1",
        "Keys": { "pk": { "S": "SERVICE#checkout" }, "sk": { "S": "NOTIFY_TEST#7" } } } }] })
}

#[test]
fn the_loudest_log_tells_no_token_and_no_address() {
    let loud = "trace,lambda_runtime=trace,aws_sigv4=trace,aws_smithy_runtime=trace,hyper=trace,rustls=trace";
    for level in ["TRACE", loud] {
        let settings = [
            ("AWS_LAMBDA_LOG_LEVEL", level),
            ("RUST_LOG", level),
            ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            (
                "TIDEGATE_NOTIFY_SECRET_ARN",
                "arn:aws:secretsmanager:eu-central-1:111122223333:secret:tidegate-notify",
            ),
        ];
        let ran = run(env!("CARGO_BIN_EXE_herald"), &settings, &[asked()], aws);
        assert_eq!(ran.answers, [json!({ "batchItemFailures": [] })], "{}", ran.written);
        for secret in [SLACK, GITHUB, TEAMS, WEBHOOK, PAGERDUTY, KEY] {
            assert!(!ran.written.contains(secret), "{level}: {secret} is in the log: {}", ran.written);
        }
    }
}
