//! The command line as a library: what it asks of AWS, how it shows it, and how it ends.
//!
//! Three layers that do not know each other's inside: [`commands`] fetch, `tidegate_view` turns what was fetched into the shapes that
//! `--json` prints, [`render`] turns those into lines for people. The last two are pure, so that every phase of a release can be
//! shown from a fixture.

pub mod args;
pub mod commands;
pub mod connect;
pub mod door;
pub mod exit;
pub mod fault;
pub mod find;
pub mod global;
pub mod image;
pub mod init;
pub mod line;
pub mod live;
pub mod output;
pub mod policies;
pub mod queues;
pub mod render;
mod signed;
pub mod stack;
pub mod wakes;
pub mod words;
