//! The pure heart of Tidegate: policy, plan, release, decide. No clock, no randomness, no AWS.
