//! The wake queue against a real SQS protocol: ministack for what works, a scripted endpoint for what fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use aws_sdk_sqs::Client;
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_core::fault::ErrorKind;
use tidegate_core::ids::ReleaseId;
use tidegate_core::ports::Waker;
use tidegate_sqs::{SqsWaker, WakeUp};
use tidegate_testkit::ministack::Ministack;
use tidegate_wire::wake::WakeMessage;

static MINISTACK: OnceLock<Ministack> = OnceLock::new();

async fn queue(name: &str) -> (Client, String) {
    let client = Client::new(&MINISTACK.get_or_init(Ministack::start).config().await);
    let created = client.create_queue().queue_name(name).send().await.unwrap();
    (client, created.queue_url.unwrap())
}

fn release(n: usize) -> ReleaseId {
    ReleaseId::new(format!("{n:026}")).unwrap()
}

fn wakes(count: usize) -> Vec<WakeUp> {
    (0..count).map(|n| WakeUp::of(release(n), 0, format!("number {n}"))).collect()
}

/// Takes everything that can be received now.
async fn receive(client: &Client, url: &str) -> BTreeMap<ReleaseId, String> {
    let mut received = BTreeMap::new();
    loop {
        let answer = client.receive_message().queue_url(url).max_number_of_messages(10).send().await.unwrap();
        if answer.messages().is_empty() {
            return received;
        }
        for message in answer.messages() {
            let wake = WakeMessage::parse(message.body().unwrap()).unwrap();
            received.insert(wake.release, wake.why);
        }
    }
}

async fn delayed(client: &Client, url: &str) -> String {
    use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessagesDelayed as Delayed;
    let answer = client.get_queue_attributes().queue_url(url).attribute_names(Delayed).send().await.unwrap();
    answer.attributes().unwrap()[&Delayed].clone()
}

#[tokio::test]
async fn a_wake_up_is_a_message_the_conductor_can_read() {
    let (client, url) = queue("one").await;
    SqsWaker::new(client.clone(), &url).wake(&release(7), 0, "bake is over").await.unwrap();
    assert_eq!(receive(&client, &url).await, [(release(7), "bake is over".to_owned())].into());
}

#[tokio::test]
async fn a_wake_up_waits_for_its_second_and_never_asks_for_more_than_sqs_allows() {
    let (client, url) = queue("delayed").await;
    let waker = SqsWaker::new(client.clone(), &url);
    waker.wake(&release(1), 30, "later").await.unwrap();
    waker.wake(&release(2), 5000, "much later").await.unwrap();
    let later = WakeUp::of(release(3), 901, "later");
    waker.wake_many(&[later]).await.unwrap();
    assert!(receive(&client, &url).await.is_empty());
    assert_eq!(delayed(&client, &url).await, "3");
}

#[tokio::test]
async fn many_wake_ups_go_in_batches() {
    let (client, url) = queue("many").await;
    let waker = SqsWaker::new(client.clone(), &url);
    waker.wake_many(&[]).await.unwrap();
    waker.wake_many(&wakes(23)).await.unwrap();
    let received = receive(&client, &url).await;
    assert_eq!(received.len(), 23);
    assert_eq!(received[&release(22)], "number 22");
}

#[tokio::test]
async fn a_very_long_reason_does_not_keep_a_release_asleep() {
    let (client, url) = queue("long").await;
    let why = "é".repeat(2_000_000);
    SqsWaker::new(client.clone(), &url).wake(&release(1), 0, &why).await.unwrap();
    assert_eq!(receive(&client, &url).await[&release(1)].chars().count(), 500);
}

#[tokio::test]
async fn a_queue_that_is_gone_is_told_for_every_wake_up() {
    let (client, url) = queue("gone").await;
    client.delete_queue().queue_url(&url).send().await.unwrap();
    let waker = SqsWaker::new(client, &url);
    let error = waker.wake(&release(0), 0, "now").await.unwrap_err();
    assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::NotFound, "sqs:SendMessage"), "{error}");
    let error = waker.wake_many(&wakes(12)).await.unwrap_err();
    assert_eq!((error.asked, error.unsent.len()), (12, 12));
    assert!(error.unsent.iter().all(|(_, error)| error.kind == ErrorKind::NotFound), "{error}");
}

/// An SQS that answers each request with the next of `answers`, and keeps what it was asked.
async fn scripted(answers: Vec<fn(&[Value]) -> Response>) -> (SqsWaker, Arc<Mutex<Vec<Vec<Value>>>>) {
    let asked: Arc<Mutex<Vec<Vec<Value>>>> = Arc::default();
    let log = Arc::clone(&asked);
    let handler = move |request: Bytes| async move {
        let request: Value = serde_json::from_slice(&request).unwrap();
        let entries = request["Entries"].as_array().unwrap().clone();
        let mut log = log.lock().unwrap();
        let answer = answers[log.len().min(answers.len() - 1)];
        log.push(entries.clone());
        answer(&entries)
    };
    let router = axum::Router::new().fallback(handler);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = MINISTACK.get_or_init(Ministack::start).config().await;
    let config = config.into_builder().endpoint_url(&url).build();
    (SqsWaker::new(Client::new(&config), format!("{url}/queue")), asked)
}

fn sent(entry: &Value) -> Value {
    json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "" })
}

fn failed(entry: &Value, code: &str, sender_fault: bool) -> Value {
    json!({ "Id": entry["Id"], "Code": code, "SenderFault": sender_fault, "Message": "as SQS says" })
}

fn all_sent(entries: &[Value]) -> Response {
    Json(json!({ "Successful": entries.iter().map(sent).collect::<Vec<_>>(), "Failed": [] })).into_response()
}

fn second_fails_inside_sqs(entries: &[Value]) -> Response {
    let failed = failed(&entries[1], "InternalError", false);
    Json(json!({ "Successful": [sent(&entries[0]), sent(&entries[2])], "Failed": [failed] })).into_response()
}

fn all_throttled(entries: &[Value]) -> Response {
    let failed: Vec<Value> = entries.iter().map(|entry| failed(entry, "RequestThrottled", true)).collect();
    Json(json!({ "Successful": [], "Failed": failed })).into_response()
}

fn first_is_refused(entries: &[Value]) -> Response {
    let failed = failed(&entries[0], "InvalidMessageContents", true);
    Json(json!({ "Successful": entries[1..].iter().map(sent).collect::<Vec<_>>(), "Failed": [failed] }))
        .into_response()
}

fn first_is_forgotten(entries: &[Value]) -> Response {
    Json(json!({ "Successful": entries[1..].iter().map(sent).collect::<Vec<_>>(), "Failed": [] }))
        .into_response()
}

fn denied(_: &[Value]) -> Response {
    let body = json!({ "__type": "com.amazonaws.sqs#AccessDeniedException", "message": "not allowed" });
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

#[tokio::test]
async fn only_the_failed_entry_is_sent_again() {
    let (waker, asked) = scripted(vec![second_fails_inside_sqs, all_sent]).await;
    waker.wake_many(&wakes(3)).await.unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(asked[1][0]["MessageBody"], asked[0][1]["MessageBody"]);
}

#[tokio::test]
async fn an_entry_that_keeps_failing_is_an_error_and_never_taken_for_sent() {
    let (waker, asked) = scripted(vec![all_throttled]).await;
    let error = waker.wake_many(&wakes(2)).await.unwrap_err();
    assert_eq!(asked.lock().unwrap().len(), 3);
    let kinds: Vec<_> = error.unsent.iter().map(|(id, error)| (id.clone(), error.kind)).collect();
    assert_eq!(kinds, [(release(0), ErrorKind::Throttled), (release(1), ErrorKind::Throttled)]);
    assert!(error.to_string().starts_with("2 of 2 wake-ups were not sent, first release 0000"), "{error}");
}

#[tokio::test]
async fn an_entry_refused_for_good_is_not_sent_again_and_the_others_are_sent() {
    let (waker, asked) = scripted(vec![first_is_refused, all_sent]).await;
    let error = waker.wake_many(&wakes(12)).await.unwrap_err();
    assert_eq!(asked.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [10, 2]);
    assert_eq!(error.unsent.len(), 1);
    assert_eq!((error.unsent[0].0.clone(), error.unsent[0].1.kind), (release(0), ErrorKind::Invalid));
}

#[tokio::test]
async fn an_entry_the_answer_does_not_mention_is_sent_again() {
    let (waker, asked) = scripted(vec![first_is_forgotten, all_sent]).await;
    waker.wake_many(&wakes(3)).await.unwrap();
    assert_eq!(asked.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
}

#[tokio::test]
async fn a_refused_request_is_told_for_each_of_its_wake_ups() {
    let (waker, asked) = scripted(vec![denied, all_sent]).await;
    let error = waker.wake_many(&wakes(11)).await.unwrap_err();
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(error.unsent.len(), 10);
    assert!(error.unsent.iter().all(|(_, error)| error.kind == ErrorKind::Denied), "{error}");
}
