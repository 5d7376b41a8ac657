//! `replay`: what a release's comparisons said, decided again from its history alone.

use anyhow::{Context as _, bail};
use tidegate_core::plan::Evidence;
use tidegate_core::policy::{Chance, Ratio};
use tidegate_view::replay;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find::{self, ReleaseArg};
use crate::output::Output;
use crate::render;

/// The arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id or the beginning of it, or a service: its active release, else the one that waits, else the newest
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
    /// As if so many times the stable version's rate were no regression, 1 to 100
    #[arg(long, value_name = "TIMES", value_parser = ratio)]
    pub tolerate: Option<Ratio>,
    /// As if a false alarm might have this probability over all comparisons, 0.01% to 20%
    #[arg(long, value_name = "PERCENT")]
    pub false_alarms: Option<Chance>,
}

fn ratio(text: &str) -> Result<Ratio, String> {
    let refused = || format!("found {text:?}, allowed 1 to 100 in steps of 0.01");
    text.parse().ok().and_then(Ratio::from_f64).ok_or_else(refused)
}

/// Decides again, and prints.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let ledger = &*connection.installation().ledger;
    let release = find::release(ledger, &args.release).await?.release;
    let own = release.plan.as_ref().and_then(|plan| plan.evidence.as_deref());
    let Some(own) = own.filter(|evidence| !evidence.comparisons.is_empty()) else {
        bail!(
            "release {} of {} compares nothing with the stable version, so there is nothing to decide again; what can be compared: docs/policy.md, evidence",
            release.id,
            release.service
        );
    };
    let history = ledger.history(&release.id).await;
    let mut damaged = Vec::new();
    let history =
        history.with_context(|| format!("failed to read the history of {}", release.id))?.tell(&mut damaged);
    let by = Evidence {
        tolerate: args.tolerate.unwrap_or(own.tolerate),
        false_alarms: args.false_alarms.unwrap_or(own.false_alarms),
        ..own.clone()
    };
    let view = replay(&release.id, own, &by, &history);
    damaged.iter().for_each(|line| out.note(line));
    if out.is_json() {
        out.object(&view)?;
    } else {
        out.lines(&render::replay(&view, &clock(connection.installation().time.now())))?;
    }
    match view.same {
        Some(false) => bail!(
            "the history says something else than what was decided: a row is missing or was changed; tidegate why {} shows all of it",
            release.id.short()
        ),
        Some(true) | None => Ok(Exit::Ok),
    }
}
