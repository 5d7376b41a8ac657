//! How badly the world treats its callers: latency, reads that lag behind, and faults at every call.

use jiff::{SignedDuration, Timestamp};

use crate::names;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller dies before anything has happened.
    CrashBefore,
    /// It happened; the caller dies before it knows.
    CrashAfter,
    /// It happened; the answer is lost.
    AnswerLost,
    /// Nothing happened: too many calls.
    Throttled,
    /// Nothing happened: not allowed.
    Denied,
    /// Nothing happened: the network.
    Unavailable,
    /// The caller stands still before the call reaches AWS. An effect's call is given up after its limit, so it stalls less.
    StallBefore(SignedDuration),
    /// The caller stands still after the call: between a commit and its effects, the stale executor.
    StallAfter(SignedDuration),
}

/// Which calls meet a fault.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Faults {
    /// None.
    #[default]
    None,
    /// Each call, by chance.
    Random {
        /// Of a thousand calls so many meet one.
        per_mille: u32,
    },
    /// Each call, by chance, this fault.
    Only {
        /// Of a thousand calls so many meet it.
        per_mille: u32,
        fault: Fault,
    },
    /// This one call, counted from 0 over all callers.
    At { call: u64, fault: Fault },
    /// Each of these calls, once.
    Planned(Vec<Planned>),
}

/// What goes wrong with the first call of a name.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Planned {
    /// Not before this.
    pub from: Timestamp,
    /// How its name begins: an effect's is `ecs:stop_deployment` (`ecs:continue_hook ID`), a commit's what its history entry says happened.
    pub name: String,
    pub fault: Fault,
}

impl Faults {
    /// The first call of this name.
    pub fn at_first(name: &str, fault: Fault) -> Self {
        Self::Planned(vec![Planned { from: names::start(), name: name.to_owned(), fault }])
    }

    /// The fault that is planned for this call, which it meets only this time.
    pub(super) fn take_planned(&mut self, operation: &str, now: Timestamp) -> Option<Fault> {
        let Self::Planned(planned) = self else { return None };
        let met = |planned: &Planned| planned.from <= now && operation.starts_with(&planned.name);
        let met = planned.iter().position(met)?;
        Some(planned.remove(met).fault)
    }

    /// Whether whoever meets it, if anybody does, gets over it without coming again. What is denied, and who dies, costs until the next event.
    pub(crate) fn passes_within_the_invocation(&self) -> bool {
        match self {
            Self::None => true,
            Self::Planned(planned) => planned.iter().all(|planned| match planned.fault {
                Fault::CrashBefore | Fault::CrashAfter | Fault::Denied => false,
                Fault::AnswerLost
                | Fault::Throttled
                | Fault::Unavailable
                | Fault::StallBefore(_)
                | Fault::StallAfter(_) => true,
            }),
            Self::Random { .. } | Self::Only { .. } | Self::At { .. } => false,
        }
    }
}

/// How the world treats its callers.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// How long a call takes, milliseconds: from, to.
    pub latency: (u64, u64),
    /// How far a read of ECS, ELB or an index may lag behind, milliseconds.
    pub read_lag: u64,
    /// Operations that are not allowed, from one time to another.
    pub denied: Vec<(String, Timestamp, Timestamp)>,
    /// What goes wrong.
    pub faults: Faults,
    /// How far a caller's clock may be off, milliseconds, either way.
    pub skew: i64,
}
