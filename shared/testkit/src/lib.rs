//! Builders, fakes with fault injection, and the seeded simulator.

pub mod ministack;
