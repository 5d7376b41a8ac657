//! The command line: a command, and the arguments that every command takes.

use clap::{Parser, Subcommand};

use crate::commands::{
    answer, apply, calibrate, cancel, drill, init, notify, open, plan, policy, quarantine, release, releases,
    replay, rollback, shell, stats, steer, validate, watch, why,
};
use crate::exit;
use crate::global::Global;

/// Release container images to Amazon ECS step by step, and have them rolled back by themselves.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = exit::HELP)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at an ECS service, write a policy for it, and say what it lacks for each strategy
    Init(init::Args),
    /// Store policies; says what changed
    Apply(apply::Args),
    /// Check policy files, without AWS
    Validate(validate::Args),
    /// Print the JSON Schema of policy files
    Schema,
    /// Show what a release would do, its rollback target, and what preflight finds; changes nothing
    Plan(plan::Args),
    /// Compare a service with itself on its traffic of the last days: how often its comparisons would have been wrong; changes nothing
    Calibrate(calibrate::Args),
    /// Release an image
    Release(release::Args),
    /// List releases, newest first
    Releases(releases::Args),
    /// Follow a release until it has ended
    Watch(watch::Args),
    /// Explain where a release is and how it came there
    Why(why::Args),
    /// Decide a release's comparisons again from its history: as they were, or with another tolerance; looks at nothing but the history
    Replay(replay::Args),
    /// Roll a service back: the release under way, else to the version promoted before; asks first
    Rollback(rollback::Args),
    /// Cancel a release; traffic that has moved is moved back first
    Cancel(cancel::Args),
    /// Hold a release where it is; alarms still roll it back
    Pause(steer::Args),
    /// End a pause
    Continue(steer::Args),
    /// Take a release's remaining stages without waiting for the end of their bakes
    Promote(steer::PromoteArgs),
    /// Approve a release that waits for it, with your AWS identity
    Approve(answer::Args),
    /// Reject a release that waits for approval, with your AWS identity
    Reject(answer::Args),
    /// Show, export or remove the policy of a service
    Policy(policy::Args),
    /// List what was rolled back and is not released again, or let it be
    Quarantine(quarantine::Args),
    /// Release what runs again and roll it back on purpose, to see that it works and how long it takes
    Drill(drill::Args),
    /// Try whom a service's releases are told to
    Notify(notify::Args),
    /// Open the dashboard in a browser: all services, a service, a release; prints a signed link that expires
    Open(open::Args),
    /// List the services: what is going on, what they run, how the last release ended
    Services,
    /// See whether Tidegate itself works: ledger, queues, events, alarms; one line each, with what to do
    Doctor,
    /// Print what a shell needs to complete commands
    Completions(shell::CompletionArgs),
    /// Write manual pages
    Man(shell::ManArgs),
    /// Show how often, how fast and how safely services are released
    Stats(stats::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
