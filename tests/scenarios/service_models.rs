//! The check of recorded calls against AWS's service models notices what it is for. The scenarios run it over every call they made.
//!
//! Needs the Python environment that `cargo xtask test` makes and names in the environment.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

/// Runs the check over calls: whether it is content, and what it says.
fn check(calls: &[Value]) -> (bool, String) {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = std::env::var_os("TIDEGATE_VENV").map_or_else(|| workspace.join(".venv"), PathBuf::from);
    let mut record = tempfile::NamedTempFile::new().expect("a temporary file");
    for call in calls {
        writeln!(record, "{call}").expect("the record can be written");
    }
    let script = workspace.join("tests/service_models.py");
    let output = Command::new(venv.join("bin/python")).arg(script).arg(record.path()).output();
    let output = output.expect("Python runs: `cargo xtask test` makes its environment");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// `StopServiceDeployment` as the SDK sends it and the sandbox answers it.
fn stop() -> Value {
    let arn = "arn:aws:ecs:eu-central-1:111122223333:service-deployment/demo/checkout/zwVcDaQGIQOJs3RqfaD8K";
    json!({
        "service": "ecs", "operation": "StopServiceDeployment", "protocol": "json", "method": "POST", "path": "/",
        "headers": {
            "user-agent": "aws-sdk-rust/1.3", "x-amz-target": "AmazonEC2ContainerServiceV20141113.StopServiceDeployment",
        },
        "request": { "serviceDeploymentArn": arn, "stopType": "ROLLBACK" },
        "response": { "serviceDeploymentArn": arn },
        "status": 200,
    })
}

/// `DescribeRules` with its answer in XML.
fn rules() -> Value {
    json!({
        "service": "elasticloadbalancing", "operation": "DescribeRules", "protocol": "query", "method": "POST", "path": "/",
        "headers": { "user-agent": "aws-sdk-rust/1.3" },
        "request": "Action=DescribeRules&Version=2015-12-01&RuleArns.member.1=arn%3Arule",
        "response": "<DescribeRulesResponse><DescribeRulesResult><Rules><member><Priority>10</Priority></member></Rules></DescribeRulesResult></DescribeRulesResponse>",
        "status": 200,
    })
}

#[test]
fn what_aws_would_take_and_answer_passes() {
    let refused = {
        let mut call = stop();
        call["status"] = 400.into();
        call["response"] = json!({ "__type": "ServiceDeploymentNotFoundException", "message": "" });
        call
    };
    let (content, said) = check(&[stop(), rules(), refused]);
    assert!(content, "{said}");
    assert!(said.starts_with("3 calls, 3 requests and 3 answers validated"), "{said}");
}

#[test]
fn everything_aws_would_refuse_or_never_answer_is_noticed() {
    let cases: [(Value, &str, Value, &str); 14] = [
        (stop(), "/request/stopType", "SIDEWAYS".into(), "stopType is 'SIDEWAYS', none of"),
        (stop(), "/request/serviceDeploymentArn", 7.into(), "serviceDeploymentArn is no string"),
        (stop(), "/request", json!({}), "lacks serviceDeploymentArn"),
        (stop(), "/request", json!({ "serviceDeploymentArn": "a", "force": true }), "unknown member force"),
        (stop(), "/headers/x-amz-target", "Ecs.StopServiceDeployment".into(), "the target is"),
        (stop(), "/method", "GET".into(), "the method is GET"),
        (stop(), "/operation", "HaltServiceDeployment".into(), "no such operation"),
        (stop(), "/protocol", "query".into(), "query is not among the service's protocols"),
        (stop(), "/response", json!({ "nextToken": null }), "unknown member nextToken"),
        (stop(), "/response/serviceDeploymentArn", Value::Null, "serviceDeploymentArn is null"),
        (stop(), "/status", 400.into(), "is none of this operation's"),
        (rules(), "/request", "Action=DescribeRules&Rules.member.1=a".into(), "unknown parameter Rules.member.N"),
        (rules(), "/request", "Action=DescribeRules&PageSize=0".into(), "PageSize is below 1"),
        (
            rules(),
            "/response",
            "<DescribeRulesResponse><DescribeRulesResult><Rule/></DescribeRulesResult></DescribeRulesResponse>".into(),
            "unknown element Rule",
        ),
    ];
    for (mut call, place, value, expected) in cases {
        *call.pointer_mut(place).expect("the place is there") = value;
        let (content, said) = check(&[call]);
        assert!(!content && said.contains(expected), "{place}: expected {expected:?}, found:\n{said}");
    }
}

/// What is sent to a function's URL is signed for Lambda, and is the function's own.
#[test]
fn a_functions_url_is_no_operation_and_any_other_path_has_to_be_one() {
    let call = |path: &str| {
        json!({
            "service": "lambda", "operation": "POST", "protocol": "rest_json", "method": "POST", "path": path,
            "headers": { "user-agent": "tidegate" }, "request": {}, "response": {}, "status": 200,
        })
    };
    let (content, said) = check(&[call("/_aws/lambda-url/abc/links"), stop()]);
    assert!(content, "{said}");
    let (content, said) = check(&[call("/links")]);
    assert!(!content && said.contains("no operation has this method and path"), "{said}");
}

#[test]
fn a_record_of_nothing_proves_nothing() {
    assert!(!check(&[]).0);
}
