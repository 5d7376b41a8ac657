//! The fast path: an event about an alarm or a service reconciles the releases it concerns, at once and in the same invocation.

use std::error::Error as _;

use futures::StreamExt as _;
use jiff::Timestamp;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::listing::Damaged;
use tidegate_core::observation::Hint;
use tidegate_core::ports::{UnderWay, Watched};

use crate::context::Context;
use crate::drive::DriveError;

/// How many releases are driven at a time: one alarm may be everybody's, and each has some calls under way at once.
const AT_ONCE: usize = 50;

/// Why an event could not be acted on; it is to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    /// The ledger did not tell whom the event concerns.
    #[error("the releases that this concerns could not be read")]
    Watchers(#[source] PortError),
    /// Rows that could not be read; everything that could be found without them was driven.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Damaged(Vec<Damaged>),
    /// A service's row could not be read; its release was driven as far as it goes without.
    #[error("the row of service {service} could not be read")]
    Service {
        /// The service.
        service: ServiceName,
        /// What the ledger said.
        #[source]
        source: PortError,
    },
    /// A release could not be driven.
    #[error("release {release} could not be driven")]
    Drive {
        /// Which.
        release: ReleaseId,
        /// Why.
        #[source]
        source: DriveError,
    },
}

impl Context {
    /// Drives every release under way that this concerns, some at a time. All are driven, even if one fails; the first failure is the answer.
    pub async fn noticed(
        &self,
        watched: &Watched,
        hint: Hint,
        deadline: Timestamp,
    ) -> Result<u32, SentinelError> {
        let listing = self.installation.until(deadline).ledger.under_way(watched).await;
        let (releases, damaged) = listing.map_err(SentinelError::Watchers)?.split();
        let hints = [hint];
        let drives: Vec<_> = releases.iter().map(|it| self.drive_one(it, &hints, deadline)).collect();
        let mut outcomes = futures::stream::iter(drives).buffer_unordered(AT_ONCE);
        let mut driven = 0;
        let mut failure = (!damaged.is_empty()).then_some(SentinelError::Damaged(damaged));
        while let Some(outcome) = outcomes.next().await {
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

    async fn drive_one(
        &self,
        concerned: &UnderWay,
        hints: &[Hint],
        deadline: Timestamp,
    ) -> Result<u32, SentinelError> {
        match self.drive_concerned(concerned, hints, deadline).await {
            Ok(driven) => Ok(driven.turns),
            // It was driven as far as it goes without the row.
            Err(DriveError::Service { service, source, .. }) => {
                Err(SentinelError::Service { service, source })
            }
            Err(source) => Err(SentinelError::Drive { release: concerned.release.clone(), source }),
        }
    }
}
