//! One atomic change of the ledger.

use jiff::Timestamp;

use crate::announced::Awaited;
use crate::history::Entry;
use crate::ids::ServiceName;
use crate::refusals::RefusalLog;
use crate::release::Release;
use crate::service::ServiceRecord;
use crate::sweep::TagsSeen;

/// The error code of a commit whose `once` key has been there before: the delivery was handled.
pub const ALREADY_HANDLED: &str = "AlreadyHandled";

/// One atomic change of the ledger. Either all of it happens or none.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Releases to write: each with the version it must have now (`None`: it must not exist yet) and the history entry of the change
    /// (`None` only when nothing but the wake-up time or the report changes).
    pub releases: Vec<ReleaseWrite>,
    /// The service row to write.
    pub head: Option<ServiceWrite>,
    /// What a service's triggers were refused.
    pub refusals: Option<RowWrite<RefusalLog>>,
    /// What was seen in a service's repository.
    pub tags: Option<RowWrite<TagsSeen>>,
    /// What waits for its image.
    pub awaited: Option<RowWrite<Awaited>>,
    /// A delivery that must not have been handled before, with the time until which it is remembered.
    pub once: Option<(String, Timestamp)>,
}

/// A row of its own beside a service's to write.
#[derive(Debug, Clone)]
pub struct RowWrite<T> {
    /// The service.
    pub service: ServiceName,
    /// The version the row must have now; `None`: there must be no row.
    pub expected: Option<u64>,
    /// The new row.
    pub row: T,
}

/// A release to write.
#[derive(Debug, Clone)]
pub struct ReleaseWrite {
    /// The version the row must have now; `None`: there must be no row.
    pub expected: Option<u64>,
    /// The new release; its version is the expected one plus one, or 0.
    pub release: Release,
    /// The history entry.
    pub entry: Option<Entry>,
}

/// A service row to write.
#[derive(Debug, Clone)]
pub struct ServiceWrite {
    /// The service.
    pub service: ServiceName,
    /// The version the row must have now; `None`: there must be no row.
    pub expected: Option<u64>,
    /// The new row; its version is the expected one plus one, or 0.
    pub head: ServiceRecord,
    /// The service's own history entry, when the change is not told by a release's.
    pub entry: Option<Entry>,
}
