//! What approvers answer, counted in the ledger: the one way, whether by link, by HTTP with an AWS identity, or by command line.

use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::gate::{self, By, NotCounted};
use tidegate_core::history::Event;
use tidegate_core::ids::ReleaseId;
use tidegate_core::release::Release;

use crate::context::Installation;

/// Answers that do not count are kept in a release's history up to this many: whoever holds a used link cannot fill the ledger with it.
const ATTEMPTS_KEPT: usize = 10;

/// An approver's answer.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Answer {
    pub by: By,
    /// Yes or no.
    pub approve: bool,
    /// The plan that was shown with the question.
    pub plan_hash: Option<String>,
    /// What they said.
    pub comment: Option<String>,
}

/// Why an answer was not counted.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The ledger did not answer, or refused.
    #[error("the ledger could not be used")]
    Ledger(#[source] PortError),
    /// There is no such release.
    #[error("there is no release {0}")]
    NoRelease(ReleaseId),
    /// It does not count.
    #[error(transparent)]
    NotCounted(#[from] NotCounted),
}

impl Installation {
    /// Counts an answer, again when others were faster, and has the release looked at. Returns the release as it was written.
    pub async fn answer(&self, id: &ReleaseId, answer: &Answer) -> Result<Release, AnswerError> {
        let mut attempts = self.attempts();
        loop {
            let release = self.ledger.release(id).await.map_err(AnswerError::Ledger)?;
            let release = release.ok_or_else(|| AnswerError::NoRelease(id.clone()))?;
            let commit = gate::give(
                &release,
                &answer.by,
                answer.approve,
                answer.plan_hash.as_deref(),
                answer.comment.clone(),
                self.time.now(),
            )?;
            let written = commit.releases.first().map_or(release, |write| write.release.clone());
            if attempts.commit(commit).await.map_err(AnswerError::Ledger)? {
                self.wake_now(id, "an approver answered").await;
                return Ok(written);
            }
        }
    }

    /// Keeps in the history that someone came with a link that is known but does not count. Best effort: it is dropped when others write
    /// at the same time, and beyond the first few of a release.
    pub async fn attempted(&self, release: &Release, why: &NotCounted) -> Result<(), PortError> {
        let Some(commit) = gate::attempted(release, why, self.time.now()) else { return Ok(()) };
        let (history, damaged) = self.ledger.history(&release.id).await?.split();
        let before =
            history.iter().filter(|entry| matches!(entry.event, Event::AnswerNotCounted { .. })).count();
        // What cannot be read may have been one.
        if before + damaged.len() >= ATTEMPTS_KEPT {
            return Ok(());
        }
        match self.ledger.commit(commit).await {
            Err(error) if error.kind != ErrorKind::Conflict => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
