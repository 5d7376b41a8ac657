//! The fast path: an event about an alarm or a service reconciles the releases it concerns, at once and in the same invocation.

use jiff::Timestamp;
use tidegate_core::ids::ServiceName;
use tidegate_core::observation::Hint;
use tidegate_core::ports::{PortError, Watched};

use crate::drive::DriveError;
use crate::world::World;

/// Why an event could not be acted on; it is to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    /// The ledger did not tell whom the event concerns.
    #[error("the services that watch this could not be read")]
    Watchers(#[source] PortError),
    /// A release could not be driven.
    #[error("release of service {service} could not be driven")]
    Drive {
        /// The service.
        service: ServiceName,
        /// Why.
        #[source]
        source: DriveError,
    },
}

impl World {
    /// Drives the active release of every service that watches this. All are driven, even if one fails; the first failure is the answer.
    pub async fn noticed(
        &self,
        watched: &Watched,
        hint: Hint,
        deadline: Timestamp,
    ) -> Result<u32, SentinelError> {
        let services = self.home.ledger.watchers(watched).await.map_err(SentinelError::Watchers)?;
        let hints = [hint];
        let drives = services.iter().map(|service| self.drive_active(service, &hints, deadline));
        let mut driven = 0;
        let mut failure = None;
        for outcome in futures::future::join_all(drives).await {
            match outcome {
                Ok(one) => driven += one,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(driven), Err)
    }

    async fn drive_active(
        &self,
        service: &ServiceName,
        hints: &[Hint],
        deadline: Timestamp,
    ) -> Result<u32, SentinelError> {
        let head = self.home.ledger.service(service).await.map_err(SentinelError::Watchers)?;
        let Some(active) = head.and_then(|head| head.active) else { return Ok(0) };
        self.drive(&active, hints, deadline)
            .await
            .map(|driven| driven.turns)
            .map_err(|source| SentinelError::Drive { service: service.clone(), source })
    }
}
