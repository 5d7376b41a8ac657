//! What runs instead of containers: each task is a real local process that serves HTTP, so that traffic, errors, crashes
//! and slow ends are real.
//!
//! `serve` is the process itself (the hidden subcommand `task` of the sandbox's binary); `launch` starts and ends such
//! processes for the scheduler.

mod launch;
mod serve;

#[cfg(test)]
pub(crate) use launch::tests::launcher as test_launcher;
pub use launch::{ProcessLauncher, TaskLauncher, TaskStatus};
pub use serve::{TaskArgs, run};
