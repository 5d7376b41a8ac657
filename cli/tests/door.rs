//! Calls that are signed here, over HTTP: how a link is asked for, and how IAM is asked what a function may do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::{Value, json};
use tidegate_aws::SdkConfig;
use tidegate_cli::door::{Door as _, GateApi, Wanted};
use tidegate_cli::fault;
use tidegate_cli::stack::{Call, NamedStack, SecretState, Stack as _};
use tidegate_core::fault::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers each request with the next answer, and keeps what came.
async fn server(answers: Vec<(u16, Value)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (came, own) = (Arc::new(Mutex::new(Vec::new())), address.clone());
    let kept = came.clone();
    tokio::spawn(async move {
        for (status, body) in answers {
            let body = body.to_string().replace("HERE", &own);
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            kept.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).into_owned());
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    (address, came)
}

fn config(endpoint: &str) -> SdkConfig {
    let keys = Credentials::new("AKIDEXAMPLE", "secret", Some("session".to_owned()), None, "test");
    SdkConfig::builder()
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .build()
}

fn given() -> Value {
    json!({ "url": "https://x/services?key=k", "may": "look", "by": "arn:aws:iam::1:user/ann", "until": "2026-03-02T21:00:00Z" })
}

#[tokio::test]
async fn the_function_is_found_by_its_name_and_both_calls_are_signed() {
    let (endpoint, came) = server(vec![(200, json!({ "FunctionUrl": "HERE/door/" })), (200, given())]).await;
    let door = GateApi::new(config(&endpoint), "tide");
    let wanted = Wanted { service: Some("checkout".parse().unwrap()), ..Wanted::default() };
    assert_eq!(door.link(&wanted).await.unwrap().url, "https://x/services?key=k");
    let came = came.lock().unwrap().clone();
    assert!(came[0].starts_with("GET /2021-10-31/functions/tide-gate-api/url HTTP/1.1"), "{}", came[0]);
    assert!(
        came[1].starts_with("POST /door/links HTTP/1.1") && came[1].ends_with(r#"{"service":"checkout"}"#),
        "{}",
        came[1]
    );
    for request in came {
        assert!(request.contains("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{request}");
        assert!(request.contains("/eu-central-1/lambda/aws4_request"), "{request}");
        assert!(request.contains("x-amz-security-token: session"), "{request}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let found = || (200, json!({ "FunctionUrl": "HERE" }));
    for (answers, said, remedy) in [
        (
            vec![(403, json!({ "Message": "no identity-based policy allows it" }))],
            "you may not ask for the URL of tide-gate-api: no identity-based",
            "ApproverPolicyArn",
        ),
        (
            vec![(404, json!({ "Message": "gone" }))],
            "there is no function tide-gate-api with a URL",
            "--stack",
        ),
        (
            vec![found(), (403, json!({ "Message": "Forbidden" }))],
            "you may not call tide-gate-api: Forbidden",
            "ApproverPolicyArn",
        ),
        (
            vec![found(), (404, json!({ "error": "there is no service x" }))],
            "no link was made: there is no service x",
            "",
        ),
        (
            vec![found(), (502, json!({ "Message": "Internal Server Error" }))],
            "no link was made: Internal Server Error",
            "",
        ),
    ] {
        let (endpoint, _) = server(answers).await;
        let error = GateApi::new(config(&endpoint), "tide").link(&Wanted::default()).await.unwrap_err();
        assert!(fault::chain(&error).starts_with(said), "{}", fault::chain(&error));
        assert!(fault::remedy(&error).unwrap_or_default().contains(remedy), "{:?}", fault::remedy(&error));
    }
    let error =
        GateApi::new(config("http://127.0.0.1:1"), "tide").link(&Wanted::default()).await.unwrap_err();
    assert!(fault::chain(&error).contains("could not be reached"), "{}", fault::chain(&error));
}

/// What IAM answers; the texts have nothing to escape.
fn simulated(decisions: &[(&str, &str)]) -> (u16, Value) {
    let members: String = decisions
        .iter()
        .map(|(action, decision)| {
            format!("<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision}</EvalDecision></member>")
        })
        .collect();
    (200, Value::String(format!("<R><EvaluationResults>{members}</EvaluationResults></R>")))
}

fn call(action: &'static str, resource: &str) -> Call {
    Call { action, resource: resource.into() }
}

#[tokio::test]
async fn iam_is_asked_for_the_role_of_the_function_resource_by_resource() {
    let role =
        (200, json!({ "FunctionName": "tide-clock", "Role": "arn:aws:iam::111122223333:role/tide-Clock" }));
    let first = simulated(&[("ecr:DescribeImages", "allowed"), ("ecr:BatchGetImage", "implicitDeny")]);
    // Of the second call IAM says nothing.
    let second = simulated(&[("ecs:UpdateService", "explicitDeny")]);
    let (endpoint, came) = server(vec![role, first, second]).await;
    let stack = NamedStack::new(&config(&endpoint), "tide");
    let calls = [
        call("ecs:StopServiceDeployment", "arn:b"),
        call("ecr:DescribeImages", "arn:a"),
        call("ecs:UpdateService", "arn:b"),
        call("ecr:BatchGetImage", "arn:a"),
    ];
    let mut denied = stack.denied("clock", &calls).await.unwrap();
    denied.sort();
    let mut wanted = [calls[0].clone(), calls[2].clone(), calls[3].clone()];
    wanted.sort();
    assert_eq!(denied, wanted);
    let came = came.lock().unwrap().clone();
    assert!(
        came[0].starts_with("GET /2015-03-31/functions/tide-clock/configuration HTTP/1.1"),
        "{}",
        came[0]
    );
    assert!(came[0].contains("/eu-central-1/lambda/aws4_request"), "{}", came[0]);
    for (request, resource) in [(&came[1], "arn%3Aa"), (&came[2], "arn%3Ab")] {
        assert!(request.starts_with("POST / HTTP/1.1"), "{request}");
        assert!(
            request.contains("/us-east-1/iam/aws4_request"),
            "IAM has one endpoint in a partition: {request}"
        );
        for part in [
            "Action=SimulatePrincipalPolicy",
            "PolicySourceArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Ftide-Clock",
            &format!("ResourceArns.member.1={resource}"),
            "ActionNames.member.2=",
        ] {
            assert!(request.contains(part), "{part}: {request}");
        }
    }
}

#[tokio::test]
async fn that_nobody_may_ask_iam_is_no_answer() {
    let role = (200, json!({ "Role": "arn:aws:iam::111122223333:role/tide-Clock" }));
    let refused = Value::String(
        "<E><Error><Code>AccessDenied</Code><Message>no policy allows it</Message></Error></E>".into(),
    );
    let (endpoint, _) = server(vec![role, (403, refused)]).await;
    let stack = NamedStack::new(&config(&endpoint), "tide");
    let error = stack.denied("clock", &[call("ecr:DescribeImages", "arn:a")]).await.unwrap_err();
    assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Denied, "iam:SimulatePrincipalPolicy"));
    assert!(error.told().contains("no policy allows it"), "{}", error.told());
    let (endpoint, _) = server(vec![(404, json!({ "Message": "Function not found" }))]).await;
    let error = NamedStack::new(&config(&endpoint), "tide").denied("clock", &[]).await.unwrap_err();
    assert_eq!(
        (error.kind, error.operation.as_str()),
        (ErrorKind::NotFound, "lambda:GetFunctionConfiguration")
    );
}

#[tokio::test]
async fn a_secret_is_described_and_never_read() {
    for (answer, state) in [
        (json!({ "VersionIdsToStages": { "a": ["AWSPREVIOUS"], "b": ["AWSCURRENT"] } }), SecretState::Valued),
        (json!({ "VersionIdsToStages": { "a": ["AWSPENDING"] } }), SecretState::Empty),
        (
            json!({ "VersionIdsToStages": { "b": ["AWSCURRENT"] }, "DeletedDate": 1_790_000_000 }),
            SecretState::Deleted,
        ),
    ] {
        let (endpoint, came) = server(vec![(200, answer)]).await;
        let stack = NamedStack::new(&config(&endpoint), "tide");
        assert_eq!(stack.secret("gate").await.unwrap(), state);
        let came = came.lock().unwrap().clone();
        assert!(
            came[0].contains("secretsmanager.DescribeSecret") && came[0].contains("tide-gate"),
            "{}",
            came[0]
        );
    }
}
