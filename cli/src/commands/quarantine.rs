//! `quarantine list` and `quarantine lift`: what is not released again by itself, and a person's word that it may be.

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::ids::{Digest, ServiceName};
use tidegate_core::quarantine::{self, NotLifted};
use tidegate_runtime::requests::RequestError;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find;
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::render;
use tidegate_view::QuarantineRow;

/// The arguments of `quarantine`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// List quarantined digests, with the release that was rolled back and why
    List {
        /// Only those of this service
        #[arg(value_name = "SERVICE")]
        service: Option<ServiceName>,
    },
    /// Let a digest be released again; nothing is released by that
    Lift {
        /// The service
        #[arg(value_name = "SERVICE")]
        service: ServiceName,
        /// A digest or the beginning of it, or the release that was rolled back: then all of its digests
        #[arg(value_name = "DIGEST|RELEASE")]
        named: String,
        /// Why it may be released again; kept in the history
        #[arg(long, value_name = "TEXT", value_parser = super::reason)]
        reason: String,
    },
}

#[derive(Serialize)]
struct Listed {
    quarantined: Vec<QuarantineRow>,
    /// What cannot be read, and why.
    damaged: Vec<String>,
}

#[derive(Serialize)]
struct Lifted<'a> {
    service: &'a ServiceName,
    lifted: &'a [Digest],
}

/// Lists or lifts.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    match &args.what {
        What::List { service } => list(service.as_ref(), connection, out).await,
        What::Lift { service, named, reason } => lift(service, named, reason, connection, out).await,
    }
}

async fn list(
    service: Option<&ServiceName>,
    connection: &Connection,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let mut damaged = Vec::new();
    let services = match service {
        Some(service) => vec![(service.clone(), find::service(&*installation.ledger, service).await?)],
        None => {
            installation.ledger.services().await.context("failed to list the services")?.tell(&mut damaged)
        }
    };
    let quarantined: Vec<QuarantineRow> =
        services.iter().flat_map(|(service, head)| QuarantineRow::of(service, head)).collect();
    if out.is_json() {
        out.object(&Listed { quarantined, damaged: damaged.clone() })?;
    } else {
        out.lines(&render::quarantine(&quarantined, &clock(installation.time.now()), out.width()))?;
    }
    Ok(out.damaged(&damaged))
}

async fn lift(
    service: &ServiceName,
    named: &str,
    reason: &str,
    connection: &Connection,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let head = find::service(&*installation.ledger, service).await?;
    let lifted = quarantine::named(&head, service, named).map_err(|why| refusal(service, &why))?;
    let actor = connection.actor().await?;
    match installation.lift(service, &lifted, &actor, reason).await {
        Ok(()) => {}
        Err(RequestError::NotLifted(why)) => bail!(refusal(service, &why)),
        Err(error) => {
            return Err(error).with_context(|| format!("failed to lift the quarantine of {named}"));
        }
    }
    if out.is_json() {
        out.object(&Lifted { service, lifted: &lifted })?;
        return Ok(Exit::Ok);
    }
    let line = |digest: &Digest| {
        Line::of(Tone::Good, "-")
            .add(Tone::Strong, format!(" {digest}"))
            .add(Tone::Plain, format!(" may be released to {service} again"))
    };
    out.lines(&lifted.iter().map(line).collect::<Vec<_>>())?;
    let first = lifted.first().map(ToString::to_string).unwrap_or_default();
    out.lines(&[Line::of(Tone::Faint, format!("    to release it: tidegate release {service} {first}"))])?;
    Ok(Exit::Ok)
}

fn refusal(service: &ServiceName, why: &NotLifted) -> Refusal {
    Refusal::new(format!("nothing was lifted: {why}"))
        .remedy(format!("tidegate quarantine list {service}  lists what is quarantined"))
}
