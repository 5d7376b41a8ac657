//! What people ask: roll back, cancel, go back to the release before, store a policy.

use jiff::SignedDuration;
use tidegate_core::admission::{self, Ask, Current, NotPossible};
use tidegate_core::history::Actor;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::policy::Policy;
use tidegate_core::ports::{Commit, ErrorKind, PortError};

use crate::world::Home;

const CONFLICTS_MAX: u32 = 8;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The ledger did not answer, or refused.
    #[error("the ledger could not be used")]
    Ledger(#[source] PortError),
    /// It is not possible now.
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
    /// There is no such release.
    #[error("there is no release {0}")]
    NoRelease(ReleaseId),
    /// There is no such service.
    #[error("there is no service {0}; store its policy with `tidegate apply` first")]
    NoService(ServiceName),
}

impl Home {
    /// Asks a release under way to roll back or to stop.
    pub async fn ask(&self, id: &ReleaseId, ask: Ask, by: &Actor, why: &str) -> Result<(), RequestError> {
        self.attempt(async || {
            let release = self.ledger.release(id).await.map_err(RequestError::Ledger)?;
            let release = release.ok_or_else(|| RequestError::NoRelease(id.clone()))?;
            Ok(admission::ask(&release, ask, by.clone(), why.to_owned(), self.time.now())?)
        })
        .await?;
        self.wake_now(id, "a person asked something of it").await;
        Ok(())
    }

    /// Rolls the service back: the release under way if there is one, else from the release promoted last to the one before. Returns the
    /// release to follow.
    pub async fn roll_back(
        &self,
        service: &ServiceName,
        by: &Actor,
        why: &str,
    ) -> Result<ReleaseId, RequestError> {
        let head = self.ledger.service(service).await.map_err(RequestError::Ledger)?;
        let head = head.ok_or_else(|| RequestError::NoService(service.clone()))?;
        if let Some(active) = &head.active {
            self.ask(active, Ask::Rollback, by, why).await?;
            return Ok(active.clone());
        }
        let id = self.new_id();
        self.attempt(async || {
            let head = self.ledger.service(service).await.map_err(RequestError::Ledger)?;
            let head = head.ok_or_else(|| RequestError::NoService(service.clone()))?;
            let (active, waiting) = self.current(&head).await.map_err(RequestError::Ledger)?;
            let current = Current { head: &head, active: active.as_ref(), waiting: waiting.as_ref() };
            let target = head.policy.target(&self.account, &self.region);
            Ok(admission::go_back(current, service, &target, by, why, id.clone(), self.time.now())?)
        })
        .await?;
        self.wake_now(&id, "it was created").await;
        Ok(id)
    }

    /// Stores a policy. Returns whether anything changed.
    pub async fn apply(&self, policy: &Policy, by: &Actor) -> Result<bool, RequestError> {
        let changed = self
            .attempt(async || {
                let head = self.ledger.service(&policy.service).await.map_err(RequestError::Ledger)?;
                let head = admission::apply(head.as_ref(), policy.clone(), by.clone(), self.time.now());
                Ok(Commit { head, ..Commit::default() })
            })
            .await?;
        Ok(changed)
    }

    /// Makes a commit and writes it, again when others were faster. Returns whether anything was written.
    async fn attempt(
        &self,
        make: impl AsyncFn() -> Result<Commit, RequestError>,
    ) -> Result<bool, RequestError> {
        let mut attempt = 1;
        loop {
            let commit = make().await?;
            if commit.releases.is_empty() && commit.head.is_none() {
                return Ok(false);
            }
            match self.ledger.commit(commit).await {
                Ok(()) => return Ok(true),
                Err(error) if error.kind == ErrorKind::Conflict && attempt < CONFLICTS_MAX => {
                    attempt += 1;
                    self.time.sleep(SignedDuration::from_millis(fastrand::i64(10..100))).await;
                }
                Err(error) => return Err(RequestError::Ledger(error)),
            }
        }
    }
}
