//! The wake-up after a change. It is only a hint: when the queue cannot be reached the change stands, and the clock finds it. So a
//! failure is kept to be told, not returned.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ReleaseId;
use tidegate_core::ports::{WakeUp, Waker};
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

    async fn wake_all(&self, wakes: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        match self.found.get_or_try_init(|| self.find()).await {
            Ok(waker) => waker.wake_all(wakes).await,
            Err(error) => {
                let releases = wakes.iter().flat_map(WakeUp::releases);
                releases.map(|release| (release.clone(), error.clone())).collect()
            }
        }
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

    fn keep(&self, error: Option<&PortError>) {
        if let Some(error) = error {
            self.missed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

#[async_trait]
impl Waker for Wakes {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError> {
        let sent = self.inner.wake(release, delay_secs, why).await;
        self.keep(sent.as_ref().err());
        sent
    }

    async fn wake_all(&self, wakes: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        let unsent = self.inner.wake_all(wakes).await;
        self.keep(unsent.first().map(|(_, error)| error));
        unsent
    }
}
