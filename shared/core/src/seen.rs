//! One part of what was looked at: seen, not asked for, or asked for and not answered.

use crate::fault::PortError;

/// One part of the world: seen, not asked for, or asked for and not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seen<T> {
    /// Not needed for the decision, so not asked for.
    #[default]
    NotAsked,
    /// Seen.
    Known(T),
    /// Asked for; the answer was an error.
    Unknown(PortError),
}

impl<T> Seen<T> {
    /// Asks, when something is needed.
    pub async fn ask<N, F>(need: Option<N>, ask: impl FnOnce(N) -> F) -> Self
    where
        F: Future<Output = Result<T, PortError>>,
    {
        match need {
            Some(need) => ask(need).await.into(),
            None => Self::NotAsked,
        }
    }

    /// The value, when it was seen.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::NotAsked | Self::Unknown(_) => None,
        }
    }

    /// With what a later question was answered: that counts, where it was asked.
    pub fn merge(&mut self, later: Self) {
        match later {
            Self::NotAsked => {}
            Self::Known(_) | Self::Unknown(_) => *self = later,
        }
    }

    /// The error, when it was asked for and not answered.
    pub fn error(&self) -> Option<&PortError> {
        match self {
            Self::Unknown(error) => Some(error),
            Self::NotAsked | Self::Known(_) => None,
        }
    }
}

impl<T> From<Result<T, PortError>> for Seen<T> {
    fn from(result: Result<T, PortError>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::Unknown(error),
        }
    }
}
