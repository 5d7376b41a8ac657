//! The commands, one file each: fetch, make the view, print it or its rendering, say how it ended.

pub mod answer;
pub mod apply;
pub mod calibrate;
pub mod cancel;
pub mod doctor;
pub mod drill;
pub mod expect;
pub mod init;
pub mod notify;
pub mod open;
pub mod plan;
pub mod policy;
pub mod quarantine;
pub mod release;
pub mod releases;
pub mod replay;
pub mod rollback;
pub mod schema;
pub mod services;
pub mod shell;
pub mod stats;
pub mod steer;
pub mod validate;
pub mod watch;
pub mod why;

use tidegate_core::requests::Ask;
use tidegate_core::text::TooLong;

use crate::args::{Cli, Command};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::output::Output;
use crate::words::clock;

/// Runs a command. Files are read and what needs no AWS is done before there is any connection.
pub async fn run(cli: Cli, out: &mut Output) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Validate(args) => return validate::run(args, out),
        Command::Schema => return schema::run(out),
        Command::Completions(args) => return shell::completions(args, out),
        Command::Man(args) => return shell::man(args, out),
        Command::Apply(args) => {
            let policies = apply::read(args)?;
            return apply::run(policies, &Connection::open(&cli.global).await?, out).await;
        }
        Command::Plan(_)
        | Command::Calibrate(_)
        | Command::Release(_)
        | Command::Releases(_)
        | Command::Watch(_)
        | Command::Why(_)
        | Command::Replay(_)
        | Command::Rollback(_)
        | Command::Cancel(_)
        | Command::Pause(_)
        | Command::Continue(_)
        | Command::Promote(_)
        | Command::Approve(_)
        | Command::Reject(_)
        | Command::Drill(_)
        | Command::Notify(_)
        | Command::Open(_)
        | Command::Init(_)
        | Command::Doctor
        | Command::Policy(_)
        | Command::Quarantine(_)
        | Command::Services
        | Command::Stats(_) => {}
    }
    run_with(&cli.command, &Connection::open(&cli.global).await?, out).await
}

/// Runs a command over a connection. Each in a box of its own: without optimisation, all of them together are too much for a small stack.
pub async fn run_with(command: &Command, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    match command {
        Command::Apply(args) => Box::pin(apply::run(apply::read(args)?, connection, out)).await,
        Command::Validate(args) => validate::run(args, out),
        Command::Schema => schema::run(out),
        Command::Completions(args) => shell::completions(args, out),
        Command::Man(args) => shell::man(args, out),
        Command::Init(args) => Box::pin(init::run(args, connection, out)).await,
        Command::Doctor => Box::pin(doctor::run(connection, out)).await,
        Command::Policy(args) => Box::pin(policy::run(args, connection, out)).await,
        Command::Quarantine(args) => Box::pin(quarantine::run(args, connection, out)).await,
        Command::Plan(args) => Box::pin(plan::run(args, connection, out)).await,
        Command::Calibrate(args) => Box::pin(calibrate::run(args, connection, out)).await,
        Command::Release(args) => Box::pin(release::run(args, connection, out)).await,
        Command::Releases(args) => Box::pin(releases::run(args, connection, out)).await,
        Command::Watch(args) => Box::pin(watch::run(args, connection, out)).await,
        Command::Why(args) => Box::pin(why::run(args, connection, out)).await,
        Command::Replay(args) => Box::pin(replay::run(args, connection, out)).await,
        Command::Rollback(args) => Box::pin(rollback::run(args, connection, out)).await,
        Command::Cancel(args) => Box::pin(cancel::run(args, connection, out)).await,
        Command::Pause(args) => Box::pin(steer::run(args, Ask::Pause, connection, out)).await,
        Command::Continue(args) => Box::pin(steer::run(args, Ask::Continue, connection, out)).await,
        Command::Promote(args) => Box::pin(steer::run(&args.common, Ask::PromoteNow, connection, out)).await,
        Command::Approve(args) => Box::pin(answer::run(args, true, connection, out)).await,
        Command::Reject(args) => Box::pin(answer::run(args, false, connection, out)).await,
        Command::Notify(args) => Box::pin(notify::run(args, connection, out)).await,
        Command::Open(args) => Box::pin(open::run(args, connection, out)).await,
        Command::Services => Box::pin(services::run(connection, out)).await,
        Command::Stats(args) => Box::pin(stats::run(args, connection, out)).await,
        Command::Drill(args) => Box::pin(drill::run(args, connection, out)).await,
    }
}

/// A reason or comment on the command line: as long as the history keeps.
fn reason(text: &str) -> Result<String, TooLong> {
    tidegate_core::text::reason(text).map(str::to_owned)
}

/// What is recorded when a person gives no reason.
const NO_REASON: &str = "no reason given";
