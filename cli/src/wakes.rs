//! The wake-up after a change. It is only a hint: when the queue cannot be reached the change stands, and the clock finds it. So a
//! failure is kept to be told, not returned.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ReleaseId;
use tidegate_core::ports::Waker;
use tidegate_sqs::SqsWaker;
use tokio::sync::OnceCell;

/// The queue by its name; its URL is asked for with the first wake-up.
#[derive(Debug)]
pub struct QueueByName {
    client: Client,
    name: String,
    found: OnceCell<SqsWaker>,
}

impl QueueByName {
    /// A queue of the home account and region.
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name, found: OnceCell::new() }
    }

    async fn find(&self) -> Result<SqsWaker, PortError> {
        let answer = self.client.get_queue_url().queue_name(&self.name).send().await;
        let answer = answer.map_err(|error| port_error("sqs:GetQueueUrl", error))?;
        let missing =
            || PortError::new(ErrorKind::NotFound, "sqs:GetQueueUrl", "NoUrl", "the answer holds no URL");
        Ok(SqsWaker::new(self.client.clone(), answer.queue_url.ok_or_else(missing)?))
    }
}

#[async_trait]
impl Waker for QueueByName {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError> {
        self.found.get_or_try_init(|| self.find()).await?.wake(release, delay_secs, why).await
    }
}

/// Remembers whether a wake-up was sent.
pub struct Wakes {
    inner: Box<dyn Waker>,
    missed: Mutex<Option<PortError>>,
}

impl Wakes {
    /// Around the waker that sends.
    pub fn new(inner: Box<dyn Waker>) -> Self {
        Self { inner, missed: Mutex::default() }
    }

    /// The first failure since this was asked last.
    pub fn missed(&self) -> Option<PortError> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Waker for Wakes {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError> {
        let sent = self.inner.wake(release, delay_secs, why).await;
        if let Err(error) = &sent {
            self.missed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
        sent
    }
}
