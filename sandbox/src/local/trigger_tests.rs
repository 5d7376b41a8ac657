//! The ways into a function that are ministack's own: objects in S3, custom events, topics, function URLs.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::testing::Stage;
use super::{ACCOUNT, REGION};

#[tokio::test]
async fn objects_and_custom_events_reach_a_function() {
    let stage = Stage::up(|_| {}).await;
    let function = stage.function("intake", "", json!([])).await;
    stage.create_bucket("manifests").await;
    let notify = "<NotificationConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>\
                  <EventBridgeConfiguration/></NotificationConfiguration>";
    stage
        .client
        .rest("s3", Method::PUT, "/manifests?notification=", HeaderMap::new(), notify.into())
        .await
        .unwrap();
    let pattern = json!({"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": ["manifests"]}}});
    stage.rule("manifest", pattern, &function).await;
    stage.put_object("manifests", "shop/release 1.json", r#"{"service":"shop"}"#).await;
    let event = stage.told().await;
    assert_eq!(event["resources"], json!(["arn:aws:s3:::manifests"]), "{event}");
    assert_eq!((&event["account"], &event["region"]), (&json!(ACCOUNT), &json!(REGION)));
    let detail = &event["detail"];
    assert_eq!((&detail["reason"], &detail["object"]["size"]), (&json!("PutObject"), &json!(18)));
    // As on AWS, the key is as it is, not URL-encoded as in S3's own notifications.
    assert_eq!(detail["object"]["key"], "shop/release 1.json");
    assert!(detail["object"]["sequencer"].is_string() && detail["object"]["etag"].is_string(), "{event}");

    stage.rule("asked", json!({"source": [{"prefix": "shop."}]}), &function).await;
    let entry = |source: &str| json!({"Source": source, "DetailType": "tidegate.release.requested", "Detail": r#"{"service":"shop"}"#});
    let put = json!({"Entries": [entry("shop.ci")]});
    let answer = stage.json("events", "AWSEvents.PutEvents", put).await;
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    let event = stage.told().await;
    assert_eq!((&event["source"], &event["detail"]["service"]), (&json!("shop.ci"), &json!("shop")));
    let forged = json!({"Entries": [entry("aws.ecr")]});
    let refused = stage.client.json("events", "AWSEvents.PutEvents", forged).await;
    assert!(refused.as_ref().map_or(true, |answer| answer["FailedEntryCount"] == 1), "{refused:?}");
    stage.local.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_published_to_a_topic_can_be_received_from_a_queue() {
    let stage = Stage::up(|_| {}).await;
    let topic = stage.topic("approvals").await;
    let publish =
        [("Action", "Publish"), ("TopicArn", &*topic), ("Subject", "Approve"), ("Message", "the link")];
    stage.sns(&publish).await;
    let message = stage.told().await;
    assert_eq!((&message["Subject"], &message["Message"]), (&json!("Approve"), &json!("the link")));
    stage.local.stop().await.unwrap();
}

/// Answers what it got, with a status, headers and cookies of its own.
const PAGE: &str = r#"
import base64
def handle(event):
    return {"statusCode": 409, "headers": {"content-type": "text/html; charset=utf-8", "cache-control": "no-store",
            "x-event": base64.b64encode(json.dumps(event).encode()).decode()},
            "cookies": ["a=1; HttpOnly", "b=2; Path=/x"], "body": "<p>gr\u00fc\u00dfe</p>"}
"#;

#[tokio::test]
async fn a_function_url_gets_everything_and_gives_everything_back() {
    let stage = Stage::up(|_| {}).await;
    stage.function("gate", PAGE, json!([])).await;
    let url = json!({"AuthType": "NONE"});
    let made = stage.rest("lambda", Method::POST, "/2021-10-31/functions/gate/url", url).await;
    for (statement, action) in [("url", "lambda:InvokeFunctionUrl"), ("invoke", "lambda:InvokeFunction")] {
        let mut permission = json!({"StatementId": statement, "Action": action, "Principal": "*"});
        if statement == "url" {
            permission["FunctionUrlAuthType"] = "NONE".into();
        } else {
            permission["InvokedViaFunctionUrl"] = true.into();
        }
        stage.rest("lambda", Method::POST, "/2015-03-31/functions/gate/policy", permission).await;
    }
    let aws_host = made["FunctionUrl"].as_str().unwrap().trim_start_matches("https://").trim_end_matches('/');
    let id = aws_host.split('.').next().unwrap();
    let port = stage.local.endpoint.address().port();
    let local_host = format!("{id}.lambda-url.{REGION}.localhost:{port}");
    let raw = Bytes::from_static(b"{\"bytes\": \"\xff\xfe not UTF-8 \0\"}");
    for host in [aws_host, &local_host] {
        let answer = post(port, host, "/webhooks/github?q=a%20b&q=c&empty=", raw.clone()).await;
        let (parts, body) = answer.into_parts();
        assert_eq!(parts.status, 409, "{parts:?} {}", String::from_utf8_lossy(&body));
        assert_eq!(body, "<p>grüße</p>");
        assert_eq!(parts.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(parts.headers["cache-control"], "no-store");
        let cookies: Vec<_> = parts.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; HttpOnly", "b=2; Path=/x"]);
        let event = aws_smithy_types::base64::decode(parts.headers["x-event"].to_str().unwrap()).unwrap();
        let event: Value = serde_json::from_slice(&event).unwrap();
        check_event(&event, &raw);
    }
    stage.local.stop().await.unwrap();
}

fn check_event(event: &Value, raw: &[u8]) {
    assert_eq!(event["version"], "2.0", "{event:#}");
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(event["rawQueryString"], "q=a%20b&q=c&empty=", "{event:#}");
    assert_eq!(event["queryStringParameters"], json!({"q": "a b,c", "empty": ""}));
    assert_eq!(event["headers"]["x-hub-signature-256"], "sha256=00ff");
    // AWS sends the member `cookies` too; ministack leaves it out.
    assert_eq!(event["headers"]["cookie"], "one=1; two=2");
    assert_eq!(event["isBase64Encoded"], true);
    assert_eq!(aws_smithy_types::base64::decode(event["body"].as_str().unwrap()).unwrap(), raw);
    assert_eq!(event["rawPath"], "/webhooks/github", "{event:#}");
}

async fn post(port: u16, host: &str, path: &str, body: Bytes) -> http::Response<Bytes> {
    let client = Http::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://127.0.0.1:{port}{path}"))
        .header("host", host)
        .header("content-type", "application/octet-stream")
        .header("x-hub-signature-256", "sha256=00ff")
        .header("cookie", "one=1; two=2")
        .body(Full::new(body))
        .unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    http::Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}
