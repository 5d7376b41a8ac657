//! The queues of the stack, as far as they tell whether something is stuck: how many messages wait in each.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};

/// What is known of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait to be received.
    pub waiting: u64,
}

/// Looks at the stack's queues.
#[async_trait]
pub trait Queues: Send + Sync {
    /// How many messages wait in the queue of this name within the stack: `wake`, `wake-dlq`.
    async fn depth(&self, name: &str) -> Result<Depth, PortError>;
}

/// The queues of a stack by their names.
#[derive(Debug)]
pub struct QueuesOfStack {
    client: Client,
    stack: String,
}

impl QueuesOfStack {
    /// Of a stack.
    pub fn new(client: Client, stack: &str) -> Self {
        Self { client, stack: stack.to_owned() }
    }
}

#[async_trait]
impl Queues for QueuesOfStack {
    async fn depth(&self, name: &str) -> Result<Depth, PortError> {
        const OPERATION: &str = "sqs:GetQueueAttributes";
        let incomplete = |what: &str| {
            PortError::new(ErrorKind::Invalid, OPERATION, "Incomplete", format!("the answer holds no {what}"))
        };
        let found = self.client.get_queue_url().queue_name(format!("{}-{name}", self.stack)).send().await;
        let url = found.map_err(|error| port_error("sqs:GetQueueUrl", error))?.queue_url;
        let asked = QueueAttributeName::ApproximateNumberOfMessages;
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(url.ok_or_else(|| incomplete("URL"))?)
            .attribute_names(asked.clone())
            .send()
            .await
            .map_err(|error| port_error(OPERATION, error))?;
        let count = answer.attributes.as_ref().and_then(|all| all.get(&asked)?.parse().ok());
        Ok(Depth { waiting: count.ok_or_else(|| incomplete("number of messages"))? })
    }
}
