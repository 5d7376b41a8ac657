//! The SQS adapter: wake-ups for releases, delayed to their second.
//!
//! A message only says "look at this release"; what to do is in the ledger. So a message sent twice is harmless, and one that
//! was not sent is an error here and found again by the clock, which reads the ledger.

mod batch;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use tidegate_aws::port_error;
use tidegate_core::fault::PortError;
use tidegate_core::ids::ReleaseId;
use tidegate_core::ports::{Postpone, Waker};
use tidegate_wire::wake::WakeMessage;

pub use batch::NotSent;
pub use tidegate_core::ports::WakeUp;

/// SQS delays a message by 15 minutes at most.
pub const LONGEST_DELAY_SECS: u32 = 900;

/// A reason longer than this (in characters) is cut: ten messages of a batch must stay well below SQS's limit for the batch.
const LONGEST_WHY: usize = 500;

/// The wake queue.
#[derive(Debug, Clone)]
pub struct SqsWaker {
    client: Client,
    queue_url: String,
}

impl SqsWaker {
    /// A waker for an existing queue. It must be a standard queue: FIFO queues do not delay single messages.
    pub fn new(client: Client, queue_url: impl Into<String>) -> Self {
        Self { client, queue_url: queue_url.into() }
    }

    /// Sends many wake-ups, ten a request and some requests at a time. Every one is tried, also when others fail.
    ///
    /// # Errors
    ///
    /// [`NotSent`] names each wake-up that SQS did not confirm, after further attempts where they can help.
    pub async fn wake_many(&self, wakes: &[WakeUp]) -> Result<(), NotSent> {
        batch::send(self, wakes).await
    }
}

#[async_trait]
impl Waker for SqsWaker {
    /// A delay beyond [`LONGEST_DELAY_SECS`] is cut to it: an early look changes nothing and sets the timer anew.
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError> {
        self.client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body(release, &[], why))
            .delay_seconds(delay(delay_secs))
            .send()
            .await
            .map_err(|error| port_error("sqs:SendMessage", error))?;
        Ok(())
    }

    async fn wake_all(&self, wakes: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        self.wake_many(wakes).await.map_or_else(|error| error.unsent, |()| Vec::new())
    }
}

/// SQS hides a message for 12 hours at most, counted from when it was received.
const LONGEST_PAUSE_SECS: u32 = 11 * 3600;

#[async_trait]
impl Postpone for SqsWaker {
    async fn postpone(&self, receipt: &str, delay_secs: u32) -> Result<(), PortError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(receipt)
            .visibility_timeout(i32::try_from(delay_secs.min(LONGEST_PAUSE_SECS)).unwrap_or(0))
            .send()
            .await
            .map_err(|error| port_error("sqs:ChangeMessageVisibility", error))?;
        Ok(())
    }
}

fn body(release: &ReleaseId, also: &[ReleaseId], why: &str) -> String {
    let why: String = why.chars().take(LONGEST_WHY).collect();
    WakeMessage { also: also.to_vec(), ..WakeMessage::new(release.clone(), why) }.to_json()
}

fn delay(secs: u32) -> i32 {
    i32::try_from(secs.min(LONGEST_DELAY_SECS)).unwrap_or(0)
}
