//! Time as a port, so that the simulator can own it.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// The time, and waiting.
#[async_trait]
pub trait Time: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits.
    async fn sleep(&self, duration: SignedDuration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTime;

#[async_trait]
impl Time for SystemTime {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: SignedDuration) {
        if let Ok(duration) = std::time::Duration::try_from(duration) {
            tokio::time::sleep(duration).await;
        }
    }
}
