//! The ledger, asked again while it only cannot answer just now. An invocation that gives up at the first throttled or lost call costs a
//! minute until the next event, and that minute is traffic on a bad version; so whoever has time left uses it here.
//!
//! Reads are simply repeated. A write whose answer was lost may have been done: when its repetition meets a conflict, the rows are read,
//! and a write that is found there is this one.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::announced::Awaited;
use tidegate_core::commit::{ALREADY_HANDLED, Commit};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Entry;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::listing::Listing;
use tidegate_core::ports::{Due, Ledger, UnderWay, Watched};
use tidegate_core::refusals::RefusalLog;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_core::sweep::TagsSeen;

use crate::context::{Context, Installation};
use crate::time::Time;

/// The first pause, milliseconds; each is twice the one before.
const FIRST_PAUSE: i64 = 40;
/// The longest pause, milliseconds: short beside the lease, so that what was decided can still be performed.
const LONGEST_PAUSE: i64 = 800;
/// How many entries of a service's history are searched for one's own.
const SEARCHED: u32 = 20;

impl Installation {
    /// The same, with a ledger that is asked again until `deadline`.
    #[must_use]
    pub fn until(&self, deadline: Timestamp) -> Self {
        self.retrying(Limit::Until(deadline))
    }

    /// The same, with a ledger of which each call is repeated for this long at most.
    #[must_use]
    pub fn patient(&self, patience: SignedDuration) -> Self {
        self.retrying(Limit::Within(patience))
    }

    fn retrying(&self, limit: Limit) -> Self {
        let ledger = Retrying { ledger: self.ledger.clone(), time: self.time.clone(), limit };
        Self { ledger: Arc::new(ledger), ..self.clone() }
    }
}

impl Context {
    /// The same, with a ledger that is asked again until `deadline`.
    #[must_use]
    pub fn until(&self, deadline: Timestamp) -> Self {
        Self { installation: self.installation.until(deadline), ..self.clone() }
    }
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Until(Timestamp),
    Within(SignedDuration),
}

struct Retrying {
    ledger: Arc<dyn Ledger>,
    time: Arc<dyn Time>,
    limit: Limit,
}

/// How long one call may still be repeated.
struct Tries<'a> {
    time: &'a dyn Time,
    until: Timestamp,
    pause: i64,
}

impl Tries<'_> {
    /// Waits for the next try; `false` when the error does not pass by itself, or there is no time for another.
    async fn again(&mut self, error: &PortError) -> bool {
        let passes = matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable);
        let pause = SignedDuration::from_millis(self.pause + fastrand::i64(0..=self.pause));
        let next = self.time.now().saturating_add(pause);
        if !passes || next.is_err() || next.is_ok_and(|next| next >= self.until) {
            return false;
        }
        tracing::warn!(error = %error, "the ledger did not answer; it is asked again");
        self.time.sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

impl Retrying {
    fn tries(&self) -> Tries<'_> {
        let until = match self.limit {
            Limit::Until(deadline) => deadline,
            Limit::Within(patience) => self.time.now().saturating_add(patience).unwrap_or(Timestamp::MAX),
        };
        Tries { time: &*self.time, until, pause: FIRST_PAUSE }
    }

    async fn read<T, F>(&self, call: impl Fn() -> F) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let mut tries = self.tries();
        loop {
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    if !tries.again(&error).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Whether this very change is in the ledger, though nobody heard so.
    async fn is_written(&self, commit: &Commit, conflict: &PortError) -> Result<bool, PortError> {
        if let Some(write) = commit.releases.first() {
            let id = &write.release.id;
            if self.release(id).await?.as_ref() == Some(&write.release) {
                return Ok(true);
            }
            // Someone may have gone on from it since; its entry tells.
            let Some(entry) = &write.entry else { return Ok(false) };
            return Ok(self.history(id).await?.split().0.contains(entry));
        }
        if let Some(write) = &commit.head {
            if self.service_row(&write.service).await?.as_ref() == Some(&write.head) {
                return Ok(true);
            }
            let Some(entry) = &write.entry else { return Ok(false) };
            return Ok(self.service_history(&write.service, SEARCHED).await?.split().0.contains(entry));
        }
        if let Some(write) = &commit.refusals
            && self.refusals(&write.service).await?.as_ref() == Some(&write.row)
        {
            return Ok(true);
        }
        if let Some(write) = &commit.awaited
            && self.awaited(&write.service).await?.as_ref() == Some(&write.row)
        {
            return Ok(true);
        }
        // Nothing but the mark of a delivery: whoever set it, the delivery is handled.
        Ok(conflict.code == ALREADY_HANDLED)
    }
}

#[async_trait]
impl Ledger for Retrying {
    async fn service_row(&self, name: &ServiceName) -> Result<Option<ServiceRecord>, PortError> {
        self.read(|| self.ledger.service_row(name)).await
    }

    async fn service_rows(&self) -> Result<Listing<(ServiceName, ServiceRecord)>, PortError> {
        self.read(|| self.ledger.service_rows()).await
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, PortError> {
        self.read(|| self.ledger.release(id)).await
    }

    async fn releases(&self, service: &ServiceName, limit: u32) -> Result<Listing<Release>, PortError> {
        self.read(|| self.ledger.releases(service, limit)).await
    }

    async fn ids_beginning(
        &self,
        service: &ServiceName,
        prefix: &str,
        limit: u32,
    ) -> Result<Listing<ReleaseId>, PortError> {
        self.read(|| self.ledger.ids_beginning(service, prefix, limit)).await
    }

    async fn open(&self) -> Result<Listing<Release>, PortError> {
        self.read(|| self.ledger.open()).await
    }

    async fn due(&self, until: Timestamp) -> Result<Listing<Due>, PortError> {
        self.read(|| self.ledger.due(until)).await
    }

    async fn watchers(&self, watched: &Watched) -> Result<Listing<ServiceName>, PortError> {
        self.read(|| self.ledger.watchers(watched)).await
    }

    async fn under_way(&self, watched: &Watched) -> Result<Listing<UnderWay>, PortError> {
        self.read(|| self.ledger.under_way(watched)).await
    }

    async fn history(&self, id: &ReleaseId) -> Result<Listing<Entry>, PortError> {
        self.read(|| self.ledger.history(id)).await
    }

    async fn refusals(&self, name: &ServiceName) -> Result<Option<RefusalLog>, PortError> {
        self.read(|| self.ledger.refusals(name)).await
    }

    async fn tags_seen(&self, name: &ServiceName) -> Result<Option<TagsSeen>, PortError> {
        self.read(|| self.ledger.tags_seen(name)).await
    }

    async fn awaited(&self, name: &ServiceName) -> Result<Option<Awaited>, PortError> {
        self.read(|| self.ledger.awaited(name)).await
    }

    async fn service_history(&self, name: &ServiceName, limit: u32) -> Result<Listing<Entry>, PortError> {
        self.read(|| self.ledger.service_history(name, limit)).await
    }

    /// Not repeated: the commit comes next, and can do without.
    async fn claim(&self, release: &ReleaseId, version: u64) -> Result<bool, PortError> {
        self.ledger.claim(release, version).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), PortError> {
        let mut tries = self.tries();
        let mut unheard = false;
        loop {
            let error = match self.ledger.commit(commit.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.kind == ErrorKind::Conflict && unheard && self.is_written(&commit, &error).await? {
                tracing::info!("a change whose answer was lost is in the ledger");
                return Ok(());
            }
            unheard |= error.kind == ErrorKind::Unavailable;
            if !tries.again(&error).await {
                return Err(error);
            }
        }
    }
}
