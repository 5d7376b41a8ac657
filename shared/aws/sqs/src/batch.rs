//! Sending in batches: an answer of 200 says nothing about the entries, each has its own.

use std::time::Duration;

use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures::StreamExt as _;
use tidegate_aws::{kind_of, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ReleaseId;

use crate::{SqsWaker, WakeUp, body, delay};

const SEND: &str = "sqs:SendMessageBatch";
/// SQS's limit for the entries of a batch.
const BATCH: usize = 10;
/// How many requests are under way at a time.
const AT_ONCE: usize = 25;
/// How often an entry is sent in all. Requests that fail as a whole are repeated by the SDK, and not here.
const ATTEMPTS: u32 = 3;
/// The longest pause before entries are sent again; the pause is random, so that throttled senders spread.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Wake-ups that SQS did not confirm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {asked} wake-ups were not sent, first {}", unsent.len(), first(unsent))]
pub struct NotSent {
    /// How many were asked for.
    pub asked: usize,
    /// Which were not sent, each with the last error.
    pub unsent: Vec<(ReleaseId, PortError)>,
}

fn first(unsent: &[(ReleaseId, PortError)]) -> String {
    unsent.first().map(|(release, error)| format!("release {release}: {error}")).unwrap_or_default()
}

pub(crate) async fn send(waker: &SqsWaker, wakes: &[WakeUp]) -> Result<(), NotSent> {
    let batches: Vec<_> = wakes.chunks(BATCH).map(|batch| send_batch(waker, batch)).collect();
    let batches = futures::stream::iter(batches);
    // In the order they were given, so that what is said of the first failure does not depend on chance.
    let unsent: Vec<_> = batches.buffered(AT_ONCE).flat_map(futures::stream::iter).collect().await;
    if unsent.is_empty() { Ok(()) } else { Err(NotSent { asked: wakes.len(), unsent }) }
}

/// Sends at most ten wake-ups; what is returned was not sent.
async fn send_batch(waker: &SqsWaker, batch: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
    let mut unsent = Vec::new();
    let mut left: Vec<&WakeUp> = batch.iter().collect();
    for attempt in 1..=ATTEMPTS {
        let mut again = Vec::new();
        for (wake, error) in attempt_once(waker, &left).await {
            // A request that failed as a whole has no entry of its own; the SDK has repeated it already.
            if error.request_failed || attempt == ATTEMPTS || !error.error.kind.is_transient() {
                unsent.extend(wake.releases().map(|release| (release.clone(), error.error.clone())));
            } else {
                again.push(wake);
            }
        }
        if again.is_empty() {
            break;
        }
        left = again;
        tokio::time::sleep(LONGEST_PAUSE.mul_f64(fastrand::f64())).await;
    }
    unsent
}

struct Failure {
    error: PortError,
    request_failed: bool,
}

/// One request; returns the wake-ups that SQS did not confirm.
async fn attempt_once<'a>(waker: &SqsWaker, wakes: &[&'a WakeUp]) -> Vec<(&'a WakeUp, Failure)> {
    let fail = |wake: &&'a WakeUp, error: &PortError| {
        (*wake, Failure { error: error.clone(), request_failed: true })
    };
    let entries: Result<Vec<_>, _> = wakes.iter().enumerate().map(|(at, wake)| entry(at, wake)).collect();
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return wakes.iter().map(|wake| fail(wake, &error)).collect(),
    };
    let request = waker.client.send_message_batch().queue_url(&waker.queue_url);
    match request.set_entries(Some(entries)).send().await {
        Ok(answer) => unconfirmed(wakes, &answer),
        Err(error) => {
            let error = port_error(SEND, error);
            wakes.iter().map(|wake| fail(wake, &error)).collect()
        }
    }
}

fn entry(at: usize, wake: &WakeUp) -> Result<SendMessageBatchRequestEntry, PortError> {
    SendMessageBatchRequestEntry::builder()
        .id(at.to_string())
        .message_body(body(&wake.release, &wake.also, &wake.why))
        .delay_seconds(delay(wake.delay_secs))
        .build()
        .map_err(|error| PortError::new(ErrorKind::Invalid, SEND, "NotSent", error.to_string()))
}

fn unconfirmed<'a>(wakes: &[&'a WakeUp], answer: &SendMessageBatchOutput) -> Vec<(&'a WakeUp, Failure)> {
    let confirmed = |id: &str| answer.successful().iter().any(|entry| entry.id() == id);
    wakes
        .iter()
        .enumerate()
        .map(|(at, wake)| (at.to_string(), *wake))
        .filter(|(id, _)| !confirmed(id))
        .map(|(id, wake)| (wake, Failure { error: entry_error(&id, answer), request_failed: false }))
        .collect()
}

fn entry_error(id: &str, answer: &SendMessageBatchOutput) -> PortError {
    let Some(failed) = answer.failed().iter().find(|entry| entry.id() == id) else {
        let message = "the answer names the entry neither as sent nor as failed";
        return PortError::new(ErrorKind::Unavailable, SEND, "NoAnswer", message);
    };
    // An entry has no HTTP status of its own; who is at fault says as much.
    let status = if failed.sender_fault() { 400 } else { 500 };
    let message = failed.message().unwrap_or("no message");
    PortError::new(kind_of(failed.code(), message, status), SEND, failed.code(), message)
}
