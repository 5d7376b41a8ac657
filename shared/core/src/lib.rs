//! PURE: the heart of Tidegate as data and functions. No clock, no randomness, no AWS; those are arguments and [`ports`].
//!
//! A release is a [`plan::Plan`] of stages with the rollback target beside it. [`decide::decide`] takes a release and what was seen of
//! the world and answers the next release, the effects to perform, when to look again, and why. Everything else in the
//! project exists to feed that function and to carry out its answer.

pub mod actor;
pub mod admission;
pub mod announced;
pub mod approval;
pub mod change;
pub mod commit;
pub mod container_image;
pub mod course;
pub mod decide;
pub mod drill;
pub mod effect;
pub mod engine;
pub mod evidence;
pub mod fault;
pub mod figures;
pub mod finding;
pub mod forecast;
pub mod gate;
pub mod history;
pub mod ids;
pub mod intent;
pub mod invariants;
pub mod listing;
pub mod notify;
pub mod observation;
pub mod outcome;
pub mod people;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod push;
pub mod quarantine;
pub mod reference;
pub mod refusals;
pub mod registry;
pub mod release;
pub mod requests;
pub mod rollback;
pub mod seen;
pub mod service;
pub mod sweep;
pub mod text;
pub mod trigger;
mod turn;
pub mod vocab;
pub mod words;
