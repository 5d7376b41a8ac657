//! The ledger against a real DynamoDB protocol: every access pattern, every refusal, every row that cannot be read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod conflicts;
mod fixture;
mod limits;
mod plans;
mod schema;
mod told;
mod under_way;
