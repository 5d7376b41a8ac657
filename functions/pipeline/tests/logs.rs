//! The pipeline function's real binary at the loudest level: a job carries the keys of the artifact store, and the log tells none of them.

use serde_json::{Value, json};
use tidegate_testkit::lambda::{AwsCall, run};

const ARTIFACT_KEY: &str = "the-secret-key-of-the-artifact-store";
const ARTIFACT_TOKEN: &str = "the-session-token-of-the-artifact-store";
const KEY: &str = "the-secret-key-of-the-functions-role";
const SESSION: &str = "the-session-token-of-the-functions-role";

fn job(parameters: &str) -> Value {
    json!({ "CodePipeline.job": {
        "id": "11111111-abcd-1111-abcd-111111abcdef", "accountId": "111122223333",
        "data": {
            "actionConfiguration": { "configuration": { "FunctionName": "tidegate-pipeline", "UserParameters": parameters } },
            "inputArtifacts": [{
                "name": "BuildOutput", "revision": null,
                "location": { "type": "S3", "s3Location": { "bucketName": "artifacts", "objectKey": "shop/BuildOutput/x.zip" } },
            }],
            "outputArtifacts": [],
            "artifactCredentials": { "accessKeyId": "ASIAARTIFACTS", "secretAccessKey": ARTIFACT_KEY, "sessionToken": ARTIFACT_TOKEN },
        },
    }})
}

fn aws(call: &AwsCall) -> (u16, String) {
    match call.target.as_str() {
        target if target.starts_with("CodePipeline_20150709.PutJob") => (200, "{}".to_owned()),
        "DynamoDB_20120810.GetItem" => (200, "{}".to_owned()),
        _ => (400, json!({ "__type": "ValidationException", "message": "not expected" }).to_string()),
    }
}

#[test]
fn the_loudest_log_tells_no_key() {
    let events = [job(r#"{"service": "checkout"}"#), job("not what is allowed")];
    for level in ["TRACE", "trace,lambda_runtime=trace,aws_sigv4=trace,aws_smithy_runtime=trace,hyper=trace"]
    {
        let settings = [
            ("AWS_LAMBDA_LOG_LEVEL", level),
            ("RUST_LOG", level),
            ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("AWS_SESSION_TOKEN", SESSION),
        ];
        let ran = run(env!("CARGO_BIN_EXE_pipeline"), &settings, &events, aws);
        assert_eq!(
            ran.written.matches(r#""message":"answered a job""#).count(),
            events.len(),
            "{}",
            ran.written
        );
        for secret in [ARTIFACT_KEY, ARTIFACT_TOKEN, KEY, SESSION] {
            assert!(!ran.written.contains(secret), "{level}: {secret} is in the log: {}", ran.written);
        }
    }
}
