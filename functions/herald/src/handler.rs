//! Decode, one call, encode.

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use tidegate_core::ports::Postpone;
use tidegate_runtime::drive::deadline;
use tidegate_runtime::tell::{Call, Herald};
use tidegate_wire::stream::{Again, Batch, Moved, Row};

/// Handles records of the stream, or messages of the queue. What failed is given back alone.
pub(crate) async fn handle(
    herald: &Herald,
    queue: &dyn Postpone,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let until = deadline(Timestamp::now(), event.context.deadline);
    let failed = match Batch::from_value(&event.payload)? {
        Batch::Stream(records) => {
            let mut failed = try_out(herald, &records).await;
            failed.extend(herald.moved(records.into_iter().filter_map(moved).collect(), until).await);
            failed
        }
        Batch::Queue(messages) => {
            let (calls, mut failed) = again(messages);
            failed.extend(herald.again(queue, calls, until).await);
            failed
        }
    };
    let failures: Vec<Value> = failed.into_iter().map(|id| json!({ "itemIdentifier": id })).collect();
    Ok(json!({ "batchItemFailures": failures }))
}

fn moved(record: Moved) -> Option<Call> {
    match record.row? {
        Row::Release(release) => Some(Call { id: record.id, release, receipt: None }),
        Row::Test(..) => None,
    }
}

/// Tries the channels of the services for which somebody asks for it; the records of what could not be tried.
async fn try_out(herald: &Herald, records: &[Moved]) -> Vec<String> {
    let mut failed = Vec::new();
    for Moved { id, row } in records {
        let Some(Row::Test(service, trial)) = row else { continue };
        if let Err(error) = herald.try_out(service, trial).await {
            tracing::error!(release.service = %service, error = %error, "the channels could not be tried");
            failed.push(id.clone());
        }
    }
    failed
}

/// The messages that can be read, and the ids of the others.
fn again(messages: Vec<Result<Again, (String, String)>>) -> (Vec<Call>, Vec<String>) {
    let (mut calls, mut failed) = (Vec::new(), Vec::new());
    for message in messages {
        match message {
            Ok(Again { id, receipt, release }) => calls.push(Call { id, release, receipt: Some(receipt) }),
            Err((id, error)) => {
                tracing::error!(message.id = %id, error = %error, "the message cannot be read");
                failed.push(id);
            }
        }
    }
    (calls, failed)
}
