//! The ways in, on a ledger in memory: what builds, manifests, events and pipelines lead to, in whichever order and however often they come.

mod approvals;
mod bench;
mod builds;
mod jobs;
mod manifests;
