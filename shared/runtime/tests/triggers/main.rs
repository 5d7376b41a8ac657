//! The triggers, on a ledger in memory: what builds, manifests, events and pipelines lead to, in whichever order and however often they come.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod bench;
mod builds;
mod changes;
mod damage;
mod jobs;
mod lost;
mod manifests;
mod policies;
