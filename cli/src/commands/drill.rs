//! `drill`: releases what runs again, and has it rolled back on purpose.

use serde::Serialize;
use tidegate_core::drill;
use tidegate_core::figures::time_to_restore;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::release::Release;
use tidegate_core::words::span;
use tidegate_runtime::requests::Asking;

use super::NO_REASON;
use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find;
use crate::line::{Line, Tone};
use crate::output::Output;
use tidegate_core::admission::Current;

/// The arguments of `drill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    pub service: ServiceName,
    /// Do not ask; needed where there is no terminal
    #[arg(long, short)]
    pub yes: bool,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", value_parser = super::reason, default_value = NO_REASON, hide_default_value = true)]
    pub reason: String,
    /// Follow the drill until it has ended, and tell how long going back took; ends with 0 when it went as it should
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    service: ServiceName,
    /// The release to follow.
    release: ReleaseId,
    conductor_told: bool,
}

/// Asks, writes, and follows.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let service = &args.service;
    let head = find::service(&*installation.ledger, service).await?;
    let current = Current { head: &head, active: None, waiting: None };
    let change = drill::change(current, installation.time.now())
        .map_err(|why| Refusal::new(format!("no drill of {service}: {why}")))?;
    let will = format!(
        "release {change}, which runs already, to {service} again, and roll it back after its first step"
    );
    let question = format!("This will {will}. Users are served by both sets of tasks meanwhile. Go on?");
    let unasked = Refusal::new(format!(
        "drill asks before it acts, and there is no terminal to ask on: it would {will}"
    ))
    .remedy("add --yes to do it without a question");
    out.agreed(args.yes, &question, unasked)?;
    let by = connection.actor().await?;
    let id = installation.drill(service, Asking { by: &by, why: &args.reason }).await?;
    let answer = Answer {
        service: service.clone(),
        release: id.clone(),
        conductor_told: connection.conductor_told(out),
    };
    if !out.is_json() {
        let created = Line::of(Tone::Good, format!("created release {}", id.short()));
        out.lines(&[created.add(Tone::Plain, format!(", a drill of {service} with {change}"))])?;
    } else if !args.watch {
        out.object(&answer)?;
    }
    if !args.watch {
        return Ok(Exit::Ok);
    }
    let exit = watch::follow(connection, &id, Until::Ended, out).await?;
    let Some(release) = installation.ledger.release(&id).await? else { return Ok(exit) };
    Ok(if succeeded(&release, out)? { Exit::Ok } else { exit })
}

/// Whether it went as far as it should and came back; says how long that took.
fn succeeded(release: &Release, out: &mut Output) -> anyhow::Result<bool> {
    let Some(Outcome::RolledBack { cause: Cause::Drill }) = release.outcome() else { return Ok(false) };
    if !out.is_json() {
        let took = time_to_restore(release).and_then(|secs| i64::try_from(secs).ok());
        let told = match took.map(jiff::SignedDuration::from_secs) {
            Some(took) => {
                format!("from the decision until the stable version had all traffic again: {}", span(took))
            }
            None => "this service's traffic is not measured, so it is not known when it was back".to_owned(),
        };
        out.lines(&[Line::of(Tone::Good, "the drill has worked: ").add(Tone::Plain, told)])?;
    }
    Ok(true)
}
