//! `why`: where a release is, what was seen last, and everything that happened to it.

use anyhow::Context as _;
use serde::Serialize;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find::{self, ReleaseArg};
use crate::live;
use crate::output::Output;
use crate::render;
use crate::words;
use tidegate_view::{EntryView, Live, ReleaseView, entries};

/// How many of a service's own entries are shown.
const SERVICE_ENTRIES: u32 = 10;

/// The arguments of `why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id or the beginning of it, or a service: its active release, else the one that waits, else the newest, and what became of
    /// policies and refused images
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
}

#[derive(Serialize)]
struct Answer {
    release: ReleaseView,
    /// The service's own newest entries, newest first; empty when a release was named.
    service_history: Vec<EntryView>,
}

/// Explains.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let context = &connection.context;
    let ledger = &*context.installation.ledger;
    let found = find::release(ledger, &args.release).await?;
    let release = &found.release;
    if let Some(waiting) = &found.other {
        out.note(&format!("{} waits for it: tidegate why {}", words::release(waiting), waiting.id.short()));
    }
    let history = ledger.history(&release.id).await;
    let mut damaged = Vec::new();
    let history =
        history.with_context(|| format!("failed to read the history of {}", release.id))?.tell(&mut damaged);
    let live = if release.is_over() { Live::default() } else { live::look(release, context).await };
    let service_history = if found.by_service {
        let entries = ledger.service_history(&release.service, SERVICE_ENTRIES).await;
        entries
            .with_context(|| format!("failed to read the history of {}", release.service))?
            .tell(&mut damaged)
    } else {
        Vec::new()
    };
    let mut view = ReleaseView::new(release, &history, &live);
    view.unseen.extend(damaged);
    let answer = Answer { release: view, service_history: entries(&service_history) };
    if out.is_json() {
        out.object(&answer)?;
    } else {
        out.lines(&render::why(
            &answer.release,
            &answer.service_history,
            &clock(context.installation.time.now()),
        ))?;
    }
    Ok(Exit::of(release))
}
