//! One atomic change of the ledger.

use jiff::{SignedDuration, Timestamp};

use crate::announced::Awaited;
use crate::history::Entry;
use crate::ids::ServiceName;
use crate::plan::Plan;
use crate::refusals::RefusalLog;
use crate::release::Release;
use crate::service::ServiceRecord;
use crate::sweep::TagsSeen;

/// The error code of a commit whose idempotency key has been there before: the delivery was handled.
pub const ALREADY_HANDLED: &str = "AlreadyHandled";

/// One atomic change of the ledger. Either all of it happens or none.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Releases to write: each with the one it must be now (`None`: it must not exist yet) and the history entry of the change
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
    /// What must not have been handled before.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// How long a delivery is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a delivery is remembered by, so that the same one is handled once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct IdempotencyKey {
    pub key: String,
    /// Until when it is remembered.
    pub until: Timestamp,
}

impl IdempotencyKey {
    /// The key of a delivery to a service: the same event may concern several.
    pub fn of_delivery(service: &ServiceName, delivery: &str, now: Timestamp) -> Self {
        let until = now.saturating_add(REMEMBERED).unwrap_or(now);
        Self { key: format!("{service}#{delivery}"), until }
    }
}

/// A row of its own beside a service's to write.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct RowWrite<T> {
    pub service: ServiceName,
    /// The version the row must have now; `None`: there must be no row.
    pub expected: Option<u64>,
    /// The new row.
    pub row: T,
}

/// A release to write.
#[derive(Debug, Clone)]
pub struct ReleaseWrite {
    /// The release this was decided on, which must be the one in the ledger; `None`: there must be none. What goes with a release in rows of
    /// its own follows from the difference.
    pub before: Option<Box<Release>>,
    /// The new release; its version is that of the one before plus one, or 0.
    pub release: Release,
    /// The history entry.
    pub entry: Option<Entry>,
}

impl ReleaseWrite {
    /// The version the row must have now.
    pub fn expected(&self) -> Option<u64> {
        self.before.as_ref().map(|before| before.version)
    }

    /// The plan that is made by this change.
    pub fn new_plan(&self) -> Option<&Plan> {
        let made_at = |release: &Release| release.plan.as_ref().map(|plan| plan.made_at);
        let before = self.before.as_deref().and_then(made_at);
        self.release.plan.as_ref().filter(|plan| Some(plan.made_at) != before)
    }
}

/// A service row to write.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ServiceWrite {
    pub service: ServiceName,
    /// The version the row must have now; `None`: there must be no row.
    pub expected: Option<u64>,
    /// The new row; its version is the expected one plus one, or 0.
    pub head: ServiceRecord,
    /// The service's own history entry, when the change is not told by a release's.
    pub entry: Option<Entry>,
}
