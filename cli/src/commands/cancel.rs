//! `cancel`: stops a release. Before traffic has moved it just ends; after that it is moved back first.

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::requests::Ask;

use super::NO_REASON;
use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find::{self, ReleaseArg};
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::words;

/// The arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id or the beginning of it, or a service that has one open release
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", value_parser = super::reason, default_value = NO_REASON, hide_default_value = true)]
    pub reason: String,
    /// Follow the release until it has ended
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    service: ServiceName,
    release: ReleaseId,
    conductor_told: bool,
}

/// Asks.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let release = find::to_change(&*installation.ledger, &args.release, "cancel").await?.release;
    if let Some(ended) = words::ended(&release, &words::clock(installation.time.now())) {
        bail!(Refusal::new(format!("{ended}; there is nothing to cancel")));
    }
    let actor = connection.actor().await?;
    let asked = installation.ask(&release.id, Ask::Cancel, &actor, &args.reason).await;
    asked.with_context(|| format!("failed to cancel {}", words::release(&release)))?;
    let answer = Answer {
        service: release.service,
        release: release.id.clone(),
        conductor_told: connection.conductor_told(out),
    };
    if !out.is_json() {
        let line = Line::of(Tone::Good, format!("release {}", answer.release.short())).add(
            Tone::Plain,
            format!(" of {} to {} is asked to stop", release.change.label(), answer.service),
        );
        out.lines(&[line])?;
    } else if !args.watch {
        out.object(&answer)?;
    }
    if args.watch { watch::follow(connection, &release.id, Until::Ended, out).await } else { Ok(Exit::Ok) }
}
