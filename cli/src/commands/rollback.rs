//! `rollback`: moves a service back. The release under way is turned back; without one, the release promoted before comes again.

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::release::Intent;

use super::NO_REASON;
use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find;
use crate::line::{Line, Tone};
use crate::output::Output;

/// The arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    pub service: ServiceName,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", default_value = NO_REASON, hide_default_value = true)]
    pub reason: String,
    /// Follow the release until it has ended
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    service: ServiceName,
    /// The release to follow.
    release: ReleaseId,
    /// The release gone back to; null when the one under way is turned back.
    goes_back_to: Option<ReleaseId>,
    conductor_told: bool,
}

/// Asks.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let home = connection.home();
    let actor = connection.actor().await?;
    let id = home.roll_back(&args.service, &actor, &args.reason).await;
    let id = id.with_context(|| format!("failed to roll {} back", args.service))?;
    let conductor_told = connection.conductor_told(out);
    let Some(release) = find::by_id(&*home.ledger, &id).await? else {
        bail!("release {id} is gone from the ledger");
    };
    let goes_back_to = match release.intent {
        Intent::Deploy => None,
        Intent::Return { to, .. } => Some(to),
    };
    let answer = Answer { service: args.service.clone(), release: id.clone(), goes_back_to, conductor_told };
    if !out.is_json() {
        out.lines(&lines(&answer, args.watch))?;
    } else if !args.watch {
        out.object(&answer)?;
    }
    if args.watch { watch::follow(connection, &id, Until::Ended, out).await } else { Ok(Exit::Ok) }
}

fn lines(answer: &Answer, watched: bool) -> Vec<Line> {
    let id = &answer.release;
    let mut lines = vec![match &answer.goes_back_to {
        Some(to) => Line::of(Tone::Good, format!("created release {id}"))
            .add(Tone::Plain, format!(" of {}, which goes back to release {to}", answer.service)),
        None => Line::of(Tone::Good, format!("release {id}"))
            .add(Tone::Plain, format!(" of {} was asked to roll back", answer.service)),
    }];
    if !watched {
        lines.push(Line::of(Tone::Faint, format!("follow it with: tidegate watch {id}")));
    }
    lines
}
