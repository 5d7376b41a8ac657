//! The fast path: an event about an alarm or a service reconciles the releases it concerns, at once and in the same invocation.

use std::error::Error as _;

use jiff::Timestamp;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::listing::Damaged;
use tidegate_core::observation::Hint;
use tidegate_core::ports::Watched;
use tidegate_core::release::Release;

use crate::context::Context;
use crate::drive::DriveError;

/// How many releases back the active one of a service whose row cannot be read is looked for.
const RELEASES_SEEN: u32 = 20;

/// Why an event could not be acted on; it is to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    /// The ledger did not tell whom the event concerns.
    #[error("the services that watch this could not be read")]
    Watchers(#[source] PortError),
    /// Rows that could not be read; everything that could be found without them was driven.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Damaged(Vec<Damaged>),
    /// A service's row could not be read; the release it was found to have was driven.
    #[error("the row of service {service} could not be read")]
    Service {
        /// The service.
        service: ServiceName,
        /// What the ledger said.
        #[source]
        source: PortError,
    },
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

impl Context {
    /// Drives the active release of every service that watches this. All are driven, even if one fails; the first failure is the answer.
    pub async fn noticed(
        &self,
        watched: &Watched,
        hint: Hint,
        deadline: Timestamp,
    ) -> Result<u32, SentinelError> {
        let listing = self
            .installation
            .until(deadline)
            .ledger
            .watchers(watched)
            .await
            .map_err(SentinelError::Watchers)?;
        let (services, damaged) = listing.split();
        let hints = [hint];
        let drives = services.iter().map(|service| self.drive_active(service, &hints, deadline));
        let mut driven = 0;
        let mut failure = (!damaged.is_empty()).then_some(SentinelError::Damaged(damaged));
        for outcome in futures::future::join_all(drives).await {
            match outcome {
                Ok(one) => driven += one,
                Err(error) => {
                    tracing::error!(error = %error, source = error.source().map(tracing::field::display), "not everything was driven");
                    failure = failure.or(Some(error));
                }
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
        let unreadable = |source: PortError| SentinelError::Service { service: service.clone(), source };
        let (active, damage) = match self.installation.until(deadline).ledger.service(service).await {
            Ok(head) => (head.and_then(|head| head.active), None),
            Err(error) if error.kind.is_transient() => return Err(unreadable(error)),
            Err(error) => (self.active_without_row(service).await.map_err(unreadable)?, Some(error)),
        };
        let driven = match active {
            Some(active) => self.drive(&active, hints, deadline).await.map(|driven| driven.turns),
            None => Ok(0),
        };
        match (driven, damage) {
            // It was driven as far as it goes without the row.
            (Err(DriveError::Service { source, .. }), _) => Err(unreadable(source)),
            (Err(source), _) => Err(SentinelError::Drive { service: service.clone(), source }),
            (Ok(_), Some(damage)) => Err(unreadable(damage)),
            (Ok(turns), None) => Ok(turns),
        }
    }

    /// The release under way of a service whose own row cannot be read: an alarm has to reach it all the same.
    async fn active_without_row(&self, service: &ServiceName) -> Result<Option<ReleaseId>, PortError> {
        let (releases, damaged) = self.installation.ledger.releases(service, RELEASES_SEEN).await?.split();
        for row in damaged {
            tracing::error!(damaged = %row, "a release was passed over");
        }
        let under_way = |release: &Release| !release.is_over() && release.progress.started_at.is_some();
        Ok(releases.into_iter().find(under_way).map(|release| release.id))
    }
}
