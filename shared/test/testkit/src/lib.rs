//! Builders, fakes with fault injection, and the seeded simulator.

pub mod buffer;
pub mod build;
pub mod fakes;
pub mod lambda;
pub mod ministack;
pub mod names;
pub mod sim;
