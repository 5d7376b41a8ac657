//! Decode each message, drive its release, answer which messages failed.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use tidegate_core::fault::chain;
use tidegate_runtime::Context;
use tidegate_runtime::drive::deadline;
use tidegate_wire::wake::WakeMessage;

/// Handles a batch. A message that fails is given back alone; one that can never be read ends in the dead-letter queue that way.
pub(crate) async fn handle(
    context: &Context,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, Error> {
    let until = deadline(Timestamp::now(), event.context.deadline);
    let driven = event.payload.records.iter().map(|message| drive(context, message, until));
    let failures = futures::future::join_all(driven).await.into_iter().flatten().collect();
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures;
    Ok(response)
}

/// Drives one message's releases, all at the same time; `Some` names the message that failed.
async fn drive(context: &Context, message: &SqsMessage, until: Timestamp) -> Option<BatchItemFailure> {
    let id = message.message_id.clone().unwrap_or_default();
    let outcome: Result<(), Error> = async {
        let wake = WakeMessage::parse(message.body.as_deref().unwrap_or_default())?;
        let driven = wake.releases().map(|release| context.woken(release, until));
        for driven in futures::future::join_all(driven).await {
            driven?;
        }
        Ok(())
    }
    .await;
    let error = outcome.err()?;
    tracing::error!(message.id = %id, error = %chain(error.as_ref()), "the message failed");
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    Some(failure)
}
