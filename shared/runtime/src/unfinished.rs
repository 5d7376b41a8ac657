//! What loops over services leave behind when something fails: everything else is done first, then all failures are told together.

use tidegate_core::fault::PortError;

/// Some of what was to be done failed; the rest is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", failed.join("; "))]
pub struct Unfinished {
    /// Each failure, with what it is about.
    pub failed: Vec<String>,
}

impl Unfinished {
    /// `done`, unless something failed.
    pub(crate) fn or<T>(failed: Vec<String>, done: T) -> Result<T, Self> {
        if failed.is_empty() { Ok(done) } else { Err(Self { failed }) }
    }
}

impl From<PortError> for Unfinished {
    fn from(error: PortError) -> Self {
        Self { failed: vec![error.to_string()] }
    }
}
