//! `policy show`, `policy export`, `policy remove`: the policy that is in force, and the end of one.

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Serialize;
use tidegate_core::history::{Entry, Event};
use tidegate_core::ids::ServiceName;
use tidegate_core::policy::{self, Policy};
use tidegate_core::requests::NotPossible;
use tidegate_core::service::ServiceRecord;
use tidegate_core::text::visible;
use tidegate_runtime::requests::RequestError;

use super::NO_REASON;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find;
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::words::clock;

/// How far back the application of the policy is looked for.
const LOOKED_THROUGH: u32 = 200;

/// The arguments of `policy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Show the policy that is in force, and who applied it
    Show {
        /// The service
        #[arg(value_name = "SERVICE")]
        service: ServiceName,
    },
    /// Print the policy that is in force as a file that `apply` takes
    Export {
        /// The service
        #[arg(value_name = "SERVICE")]
        service: ServiceName,
    },
    /// Remove a policy: the service is not released any more, and nothing of it in AWS is touched; asks first
    Remove(RemoveArgs),
}

/// The arguments of `policy remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: ServiceName,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", value_parser = super::reason, default_value = NO_REASON, hide_default_value = true)]
    pub reason: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    service: &'a ServiceName,
    /// When it was applied last, and by whom; null when that is too long ago to be found.
    applied_at: Option<Timestamp>,
    applied_by: Option<String>,
    policy: &'a Policy,
    /// As a file.
    yaml: &'a str,
}

#[derive(Serialize)]
struct Removed<'a> {
    service: &'a ServiceName,
    removed: bool,
    /// What stays, and is there again when a policy of that name is applied.
    kept: Kept,
}

#[derive(Serialize)]
struct Kept {
    promoted: usize,
    quarantined: usize,
}

/// Shows, prints or removes.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    match &args.what {
        What::Show { service } => show(service, true, connection, out).await,
        What::Export { service } => show(service, false, connection, out).await,
        What::Remove(args) => remove(args, connection, out).await,
    }
}

async fn show(
    service: &ServiceName,
    told: bool,
    connection: &Connection,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let head = find::service(&*installation.ledger, service).await?;
    let yaml = policy::to_yaml(&head.policy);
    let applied = if told || out.is_json() { applied(service, connection).await? } else { None };
    if out.is_json() {
        out.object(&Shown {
            service,
            applied_at: applied.as_ref().map(|entry| entry.at),
            applied_by: applied.as_ref().map(|entry| entry.actor.to_string()),
            policy: &head.policy,
            yaml: &yaml,
        })?;
        return Ok(Exit::Ok);
    }
    if !told {
        // A file has to be exactly what is in force.
        out.raw(&yaml)?;
        return Ok(Exit::Ok);
    }
    let clock = clock(installation.time.now());
    let line = applied.map_or_else(
        || format!("# {service}"),
        |entry| format!("# {service}, applied at {} by {}", clock.time(entry.at), entry.actor),
    );
    out.lines(&[Line::of(Tone::Faint, line)])?;
    out.raw(&visible(&yaml))?;
    Ok(Exit::Ok)
}

/// The entry of the history in which the policy came into force.
async fn applied(service: &ServiceName, connection: &Connection) -> anyhow::Result<Option<Entry>> {
    let ledger = &connection.installation().ledger;
    let history = ledger.service_history(service, LOOKED_THROUGH).await;
    let history = history.with_context(|| format!("failed to read the history of {service}"))?;
    let applies = |entry: &Entry| matches!(entry.event, Event::PolicyStored | Event::PolicyChanged);
    Ok(history.split().0.into_iter().find(applies))
}

async fn remove(args: &RemoveArgs, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let service = &args.service;
    let installation = connection.installation();
    let head = find::service(&*installation.ledger, service).await?;
    confirm(args, &head, out)?;
    let actor = connection.actor().await?;
    match installation.remove(service, &actor, &args.reason).await {
        Ok(()) => {}
        Err(RequestError::NotPossible(NotPossible::PolicyInUse { release })) => {
            let id = release.short().to_owned();
            let why = NotPossible::PolicyInUse { release };
            let refusal = Refusal::new(format!("the policy of {service} stays: {why}"));
            bail!(
                refusal.remedy(format!(
                    "wait for it (tidegate watch {id}), or cancel it (tidegate cancel {id})"
                ))
            )
        }
        Err(error) => return Err(error).with_context(|| format!("failed to remove the policy of {service}")),
    }
    let kept = Kept { promoted: head.promoted.len(), quarantined: head.quarantine.len() };
    if out.is_json() {
        out.object(&Removed { service, removed: true, kept })?;
        return Ok(Exit::Ok);
    }
    out.lines(&[
        Line::of(Tone::Good, "-")
            .add(Tone::Strong, format!(" {service}"))
            .add(Tone::Plain, ": removed; it runs on as it is, and nothing releases it any more"),
        Line::of(Tone::Faint, format!("    {}", stays(&head))),
    ])?;
    Ok(Exit::Ok)
}

fn stays(head: &ServiceRecord) -> String {
    format!(
        "the history stays, and with `tidegate apply` what was promoted ({}) and what is quarantined ({}) count again",
        head.promoted.len(),
        head.quarantine.len()
    )
}

fn confirm(args: &RemoveArgs, head: &ServiceRecord, out: &mut Output) -> anyhow::Result<()> {
    let service = &args.service;
    let question = format!(
        "The policy is gone for good, unless you keep it: tidegate policy export {service} > {service}.yaml\n{}.\nRemove the policy of {service}?",
        stays(head)
    );
    let unasked = Refusal::new("policy remove asks before it acts, and there is no terminal to ask on")
        .remedy("add --yes to do it without a question");
    out.agreed(args.yes, &question, unasked)
}
