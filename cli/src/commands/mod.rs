//! The commands, one file each: fetch, make the view, print it or its rendering, say how it ended.

pub mod apply;
pub mod cancel;
pub mod plan;
pub mod release;
pub mod releases;
pub mod rollback;
pub mod schema;
pub mod services;
pub mod validate;
pub mod watch;
pub mod why;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::args::{Cli, Command};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::output::Output;
use crate::render::Clock;

/// Runs a command. The connection is opened by those that need one, after their files have been read.
pub async fn run(cli: Cli, out: &mut Output) -> anyhow::Result<Exit> {
    let global = cli.global;
    match cli.command {
        Command::Apply(args) => {
            let policies = apply::read(&args)?;
            apply::run(policies, &Connection::open(&global).await?, out).await
        }
        Command::Validate(args) => validate::run(&args, out),
        Command::Schema => schema::run(out),
        Command::Plan(args) => plan::run(&args, &Connection::open(&global).await?, out).await,
        Command::Release(args) => release::run(&args, &Connection::open(&global).await?, out).await,
        Command::Releases(args) => releases::run(&args, &Connection::open(&global).await?, out).await,
        Command::Watch(args) => watch::run(&args, &Connection::open(&global).await?, out).await,
        Command::Why(args) => why::run(&args, &Connection::open(&global).await?, out).await,
        Command::Rollback(args) => rollback::run(&args, &Connection::open(&global).await?, out).await,
        Command::Cancel(args) => cancel::run(&args, &Connection::open(&global).await?, out).await,
        Command::Services => services::run(&Connection::open(&global).await?, out).await,
    }
}

/// The reader's clock.
fn clock(now: Timestamp) -> Clock {
    Clock { now, zone: TimeZone::system() }
}

/// What is recorded when a person gives no reason.
const NO_REASON: &str = "no reason given";
