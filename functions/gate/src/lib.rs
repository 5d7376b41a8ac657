//! `gate`: the one function the world can reach. Approval pages and answers, status pages, signed webhooks, and the same answers for
//! callers with AWS identities.
//!
//! Everything that arrives is hostile until it has shown otherwise: a link's token, a signature, an identity that AWS has checked. Before
//! that the ledger is at most read, and nothing is said that tells one release, service or token from another.

mod act;
mod api;
mod approve;
mod call;
mod dashboard;
mod form;
mod gate;
pub mod handler;
mod hooks;
mod keys;
mod pass;
pub mod secrets;
mod slack;
mod status;

pub use gate::{Desk, Door, Gate};
