//! What people ask of a release under way.

use jiff::Timestamp;

use crate::actor::Actor;
use crate::admission::{asked, turning_back};
use crate::commit::Commit;
use crate::ids::ReleaseId;
use crate::intent::Request;
use crate::release::Release;

/// What a person can ask of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Roll it back.
    Rollback,
    /// Cancel it.
    Cancel,
}

/// Why something that was asked cannot be done; fits "cannot …: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum NotPossible {
    /// The release has ended.
    #[error("release {release} has already ended: {word}")]
    Ended { release: ReleaseId, word: &'static str },
    /// The release is already being rolled back.
    #[error("release {release} is already being rolled back")]
    AlreadyBack { release: ReleaseId },
    /// A rollback makes no sense, or not without naming where to.
    #[error(transparent)]
    Rollback(#[from] crate::rollback::NoRollback),
    /// The reason is too long.
    #[error("the reason is too long: {0}")]
    LongReason(crate::text::TooLong),
}

/// Asks a release under way to stop.
pub fn ask(
    release: &Release,
    ask: Ask,
    by: Actor,
    why: String,
    now: Timestamp,
) -> Result<Commit, NotPossible> {
    crate::text::reason(&why).map_err(NotPossible::LongReason)?;
    if let Some(outcome) = release.outcome() {
        return Err(NotPossible::Ended { release: release.id.clone(), word: outcome.word() });
    }
    if turning_back(release) {
        return Err(NotPossible::AlreadyBack { release: release.id.clone() });
    }
    let request = match ask {
        Ask::Rollback => Request::Rollback { by: by.clone(), why: why.clone() },
        Ask::Cancel => Request::Cancel { by: by.clone(), why: why.clone() },
    };
    Ok(Commit { releases: vec![asked(release, request, by, now)], ..Commit::default() })
}
