//! Simulated releases, judged by the comparison of `tidegate-stats` and by what others judge with: how often a good candidate is called bad,
//! how soon a bad one is found, and how many users saw an error by then.
//!
//! A crate of its own, so that its release build takes seconds: nothing of AWS is in it. Everything is drawn from seeds; the same command prints
//! the same figures.

pub mod judges;
pub mod report;
pub mod traffic;
