//! How a link is asked for over HTTP: found by the function's name, signed for Lambda, and told when it is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::{Value, json};
use tidegate_aws::SdkConfig;
use tidegate_cli::door::{Door as _, GateApi, Wanted};
use tidegate_cli::fault;
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
