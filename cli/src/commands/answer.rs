//! `approve` and `reject`: answers the approval a release waits for, with the caller's AWS identity. The policy's `people` say whose that is.

use anyhow::Context as _;
use serde::Serialize;
use tidegate_core::gate::By;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_runtime::answers::Answer;

use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find::{self, ReleaseArg};
use crate::line::{Line, Tone};
use crate::output::Output;

/// The arguments of `approve` and `reject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id, or a service: its newest release
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
    /// What you say to it; kept in the history
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// The hash of the plan you have seen; the answer does not count for another
    #[arg(long, value_name = "HASH")]
    pub plan: Option<String>,
    /// Follow the release until it has ended
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Serialize)]
struct Told {
    service: ServiceName,
    release: ReleaseId,
    decision: &'static str,
    conductor_told: bool,
}

/// Answers.
pub async fn run(
    args: &Args,
    approve: bool,
    connection: &Connection,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let home = connection.home();
    let release = find::release(&*home.ledger, &args.release).await?.release;
    let answer = Answer {
        by: By::Identity(connection.actor().await?.to_string()),
        approve,
        plan_hash: args.plan.clone(),
        comment: args.comment.clone(),
    };
    let (verb, decision) = if approve { ("approve", "approved") } else { ("reject", "rejected") };
    home.answer(&release.id, &answer)
        .await
        .with_context(|| format!("failed to {verb} release {}", release.id))?;
    let told = Told {
        service: release.service,
        release: release.id.clone(),
        decision,
        conductor_told: connection.conductor_told(out),
    };
    if !out.is_json() {
        let line = Line::of(Tone::Good, format!("release {}", told.release))
            .add(Tone::Plain, format!(" of {} was {decision}", told.service));
        out.lines(&[line])?;
    } else if !args.watch {
        out.object(&told)?;
    }
    if args.watch { watch::follow(connection, &release.id, Until::Ended, out).await } else { Ok(Exit::Ok) }
}
