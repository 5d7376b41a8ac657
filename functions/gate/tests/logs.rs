//! The gate's real binary at the loudest level: what it is handed are secrets, and its log tells none of them.

use serde_json::{Value, json};
use tidegate_testkit::lambda::{AwsCall, run};

const TOKEN: &str = "f00dfacef00dfacef00dfacef00dfacef00dfacef00dfacef00dfacef00dface";
const HOOK: &str = "docker-hubs-secret-of-the-path";
const JENKINS: &str = "jenkins-secret-long-enough";
const LINK_KEY: &str = "0123456789abcdef0123456789abcdef-the-link-key";
const COMMENT: &str = "a-comment-that-is-nobodys-business";
const SESSION: &str = "the-session-token-of-the-functions-role";
const KEY: &str = "the-secret-key-of-the-functions-role";

fn event(method: &str, path: &str, query: &str, body: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query,
        "headers": { "content-type": "application/json", "x-tidegate-signature": "5192ed" },
        "requestContext": { "http": { "method": method, "path": path, "sourceIp": "192.0.2.1" }, "requestId": "r", "timeEpoch": 0 },
        "body": body, "isBase64Encoded": false,
    })
}

fn aws(call: &AwsCall) -> (u16, String) {
    match call.target.as_str() {
        "secretsmanager.GetSecretValue" => {
            let hooks = json!({ "checkout": { "jenkins": JENKINS, "docker_hub": HOOK } });
            let document = json!({ "link_key": LINK_KEY, "webhooks": hooks }).to_string();
            (200, json!({ "ARN": "a", "Name": "n", "SecretString": document }).to_string())
        }
        "DynamoDB_20120810.GetItem" => (200, "{}".to_owned()),
        "DynamoDB_20120810.Query" => (200, json!({ "Items": [], "Count": 0 }).to_string()),
        _ => (400, json!({ "__type": "ValidationException", "message": "not expected" }).to_string()),
    }
}

#[test]
fn the_loudest_log_tells_no_secret() {
    let release = "01kj0000000000000000000001";
    let events = [
        event("GET", &format!("/approve/{release}"), &format!("token={TOKEN}"), ""),
        event("POST", &format!("/approve/{release}"), "", &format!("token={TOKEN}&csrf=x&comment={COMMENT}")),
        event(
            "POST",
            &format!("/hooks/dockerhub/checkout/{HOOK}"),
            "",
            &json!({ "what": COMMENT }).to_string(),
        ),
        event("POST", "/hooks/jenkins/checkout", "", &json!({ "what": COMMENT }).to_string()),
    ];
    for level in ["TRACE", "trace,lambda_runtime=trace,aws_sigv4=trace,aws_smithy_runtime=trace,hyper=trace"]
    {
        let settings = [
            ("AWS_LAMBDA_LOG_LEVEL", level),
            ("RUST_LOG", level),
            ("TIDEGATE_DOOR", "public"),
            ("TIDEGATE_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:gate"),
            ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("AWS_SESSION_TOKEN", SESSION),
        ];
        let ran = run(env!("CARGO_BIN_EXE_gate"), &settings, &events, aws);
        let statuses: Vec<_> = ran.answers.iter().map(|answer| answer["statusCode"].as_u64()).collect();
        assert_eq!(statuses, [Some(404), Some(404), Some(400), Some(401)], "{}", ran.written);
        assert_eq!(ran.written.matches(r#""message":"answered""#).count(), events.len(), "{}", ran.written);
        for secret in [TOKEN, HOOK, JENKINS, LINK_KEY, COMMENT, SESSION, KEY] {
            assert!(!ran.written.contains(secret), "{level}: {secret} is in the log: {}", ran.written);
        }
    }
}
