//! Looks at many services, one visit each: some at a time, until the time is up, and each round begins where the last one stopped, so that
//! none is left out because of its name.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::fault::PortError;
use tidegate_core::ids::ServiceName;
use tidegate_core::listing::Listing;
use tidegate_core::ports::Ledger;
use tidegate_core::service::ServiceRecord;
use tokio::sync::OnceCell;

use crate::time::Time;

/// How many services are visited at a time.
const AT_ONCE: usize = 8;
/// No visit begins later than this before the end: its calls have time limits of their own.
const LAST_VISIT: SignedDuration = SignedDuration::from_secs(10);

/// Which service was visited last. It lives as long as the process; a new one begins anywhere.
#[derive(Debug, Default)]
pub struct Rotation(Mutex<Option<ServiceName>>);

impl Rotation {
    /// The services by name, from the one after the last visited on.
    fn order(&self, mut services: Vec<(ServiceName, ServiceRecord)>) -> Vec<(ServiceName, ServiceRecord)> {
        services.sort_by(|(left, _), (right, _)| left.cmp(right));
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = match last {
            Some(last) => services.partition_point(|(service, _)| *service <= last),
            None => fastrand::usize(0..=services.len()),
        };
        // Behind the last one comes the first.
        let len = services.len();
        services.rotate_left(start.checked_rem(len).unwrap_or(0));
        services
    }

    fn visited(&self, service: &ServiceName) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(service.clone());
    }
}

/// The services of a round, read once for all its looks, by the first that needs them.
#[derive(Debug, Default)]
pub struct Listed(OnceCell<Listing<(ServiceName, ServiceRecord)>>);

/// How much may be done, and where it begins.
#[derive(Clone, Copy)]
pub struct Pace<'a> {
    /// The services.
    pub listed: &'a Listed,
    /// Where the last round stopped.
    pub rotation: &'a Rotation,
    /// Until when.
    pub until: Timestamp,
}

/// What a round of looks for what was lost found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Things done.
    pub done: u32,
    /// What failed; the next look tries again.
    pub failed: Vec<String>,
}

impl Pace<'_> {
    /// The services that `look` is for; those that cannot be read are told.
    pub(crate) async fn services(
        self,
        ledger: &dyn Ledger,
        failed: &mut Vec<String>,
        look: impl Fn(&ServiceRecord) -> bool,
    ) -> Result<Vec<(ServiceName, ServiceRecord)>, PortError> {
        let listed = self.listed.0.get_or_try_init(|| ledger.services()).await?;
        Ok(listed.clone().tell(failed).into_iter().filter(|(_, head)| look(head)).collect())
    }

    /// Visits the services, each with `look`, which says whether something was done. `what` tells what for.
    pub(crate) async fn visit<L>(
        self,
        time: &dyn Time,
        what: &str,
        services: Vec<(ServiceName, ServiceRecord)>,
        look: impl Fn(ServiceName, ServiceRecord) -> L,
    ) -> Looked
    where
        L: Future<Output = Result<bool, String>>,
    {
        let mut looked = Looked::default();
        let all = services.len();
        let last_begin = self.until.saturating_sub(LAST_VISIT).unwrap_or(self.until);
        let begun = self.rotation.order(services).into_iter().take_while(|(service, _)| {
            let in_time = time.now() < last_begin;
            if in_time {
                self.rotation.visited(service);
            }
            in_time
        });
        let mut visits =
            futures::stream::iter(begun).map(|(service, head)| look(service, head)).buffer_unordered(AT_ONCE);
        let mut visited = 0;
        while let Some(outcome) = visits.next().await {
            visited += 1;
            match outcome {
                Ok(done) => looked.done += u32::from(done),
                Err(error) => looked.failed.push(error),
            }
        }
        if visited < all {
            let left = all - visited;
            looked.failed.push(format!(
                "{what}: {left} of {all} services were not reached in time; the next round begins with them"
            ));
        }
        looked
    }
}
