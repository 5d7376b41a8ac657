//! Writing what others may be writing at the same time: it is decided anew on what they wrote, a few times.

use jiff::SignedDuration;
use tidegate_core::commit::Commit;
use tidegate_core::fault::{ErrorKind, PortError};

use crate::context::Installation;

/// How often something is decided anew before it is left to whoever asked for it.
const ATTEMPTS: u32 = 8;

/// The attempts of one change.
pub(crate) struct Attempts<'a> {
    installation: &'a Installation,
    left: u32,
}

impl Installation {
    /// A change that is about to be made.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { installation: self, left: ATTEMPTS - 1 }
    }
}

impl Attempts<'_> {
    /// Commits what was decided. `false`: others were faster, and it has to be decided anew. The last conflict is an error.
    pub(crate) async fn commit(&mut self, commit: Commit) -> Result<bool, PortError> {
        match self.installation.ledger.commit(commit).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict && self.left > 0 => {
                self.left -= 1;
                self.installation.time.sleep(SignedDuration::from_millis(fastrand::i64(10..100))).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
