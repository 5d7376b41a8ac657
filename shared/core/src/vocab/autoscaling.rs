//! Application Auto Scaling: what changes the number of a service's tasks by itself, and may be held meanwhile.

use serde::{Deserialize, Serialize};

use crate::seen::Seen;

/// What was seen of a service's scalable target in one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The scalable target; `Known(None)` when nothing scales the service.
    pub target: Seen<Option<ScalableTarget>>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The scalable target.
    pub target: bool,
}

/// What scales a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalableTarget {
    /// What of it is suspended.
    pub suspended: Suspended,
}

/// What of a scalable target's activities is suspended: `SuspendedState`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Scaling in by policies.
    pub scale_in: bool,
    /// Scaling out by policies.
    pub scale_out: bool,
    /// Scheduled actions.
    pub scheduled: bool,
}

impl Suspended {
    /// The same, with scaling in held.
    #[must_use]
    pub fn holding_scale_in(self) -> Self {
        Self { scale_in: true, ..self }
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Effect {
    /// Ensure that exactly this is suspended.
    Suspend { suspended: Suspended },
}

impl Observation {
    /// With what a later question was answered.
    pub fn merge(&mut self, later: Self) {
        self.target.merge(later.target);
    }
}
