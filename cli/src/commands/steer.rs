//! `pause`, `continue` and `promote --now`: how fast a release under way goes. None of them moves traffic by itself, and none keeps a release
//! from being rolled back.

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Serialize;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::release::Release;
use tidegate_core::requests::{Ask, NotPossible};
use tidegate_core::vocab::cloudwatch::AlarmState;
use tidegate_runtime::requests::RequestError;

use super::NO_REASON;
use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find::{self, ReleaseArg};
use crate::line::{Line, Tone};
use crate::live;
use crate::output::Output;
use crate::words;

/// The arguments of `pause` and `continue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id or the beginning of it, or a service that has an open release
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", value_parser = super::reason, default_value = NO_REASON, hide_default_value = true)]
    pub reason: String,
    /// Follow the release until it has ended
    #[arg(long)]
    pub watch: bool,
}

/// The arguments of `promote`.
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// Which, and why
    #[command(flatten)]
    pub common: Args,
    /// Do not wait for the end of the bakes; alarms, requests that have to be seen, approvals and gates still count
    #[arg(long, required = true)]
    pub now: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    service: ServiceName,
    release: ReleaseId,
    /// Until when it is paused at most; null where it is not.
    paused_until: Option<Timestamp>,
    conductor_told: bool,
}

/// Asks.
pub async fn run(args: &Args, ask: Ask, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let found = find::release(&*installation.ledger, &args.release).await?.release;
    let verb = verb(ask);
    if let Some(ended) = words::ended(&found, &words::clock(installation.time.now())) {
        bail!(Refusal::new(format!("{ended}; there is nothing to {verb}")));
    }
    if ask == Ask::PromoteNow {
        no_alarm(&found, connection).await?;
    }
    let actor = connection.actor().await?;
    match installation.ask(&found.id, ask, &actor, &args.reason).await {
        Ok(()) => {}
        Err(RequestError::NotPossible(why)) => bail!(refusal(&found, verb, &why)),
        Err(error) => {
            return Err(error).with_context(|| format!("failed to {verb} {}", words::release(&found)));
        }
    }
    let now = find::by_id(&*installation.ledger, &found.id).await?.unwrap_or(found);
    let answer = Answer {
        service: now.service.clone(),
        release: now.id.clone(),
        paused_until: now.pause.as_ref().map(|pause| pause.until),
        conductor_told: connection.conductor_told(out),
    };
    if !out.is_json() {
        let clock = words::clock(installation.time.now());
        out.lines(&told(&now, ask, answer.paused_until.map(|until| clock.time(until)).as_deref()))?;
    } else if !args.watch {
        out.object(&answer)?;
    }
    if args.watch {
        watch::follow(connection, &answer.release, Until::Ended, out).await
    } else {
        Ok(Exit::Ok)
    }
}

fn verb(ask: Ask) -> &'static str {
    match ask {
        Ask::Pause => "pause",
        Ask::Continue => "continue",
        Ask::PromoteNow => "promote",
        Ask::Rollback => "roll back",
        Ask::Cancel => "cancel",
    }
}

/// Whoever may not read the alarms is not kept from asking: whether the release continues is decided by whoever can.
async fn no_alarm(release: &Release, connection: &Connection) -> anyhow::Result<()> {
    let context = &connection.context;
    let live = live::look(release, context).await;
    let alarm = live.alarms.iter().flatten().find(|(_, seen)| seen.state == AlarmState::Alarm);
    if let Some((alarm, _)) = alarm {
        let why = NotPossible::InAlarm { alarm: alarm.clone() };
        bail!(refusal(release, verb(Ask::PromoteNow), &why));
    }
    Ok(())
}

fn refusal(release: &Release, verb: &str, why: &NotPossible) -> Refusal {
    let id = release.id.short();
    let refusal = Refusal::new(format!("cannot {verb} {}: {why}", words::release(release)));
    match why {
        NotPossible::AlreadyPaused { .. } => refusal.remedy(format!("tidegate continue {id}")),
        NotPossible::PausedEnough { .. } | NotPossible::LastStep { .. } => {
            refusal.remedy(format!("tidegate rollback {id}"))
        }
        NotPossible::NotUnderWay { .. } | NotPossible::Restores { .. } => {
            refusal.remedy(format!("tidegate cancel {id}"))
        }
        NotPossible::Ended { .. }
        | NotPossible::AlreadyBack { .. }
        | NotPossible::Rollback(_)
        | NotPossible::LongReason(_)
        | NotPossible::AskedToStop { .. }
        | NotPossible::NotPaused { .. }
        | NotPossible::PolicyInUse { .. }
        | NotPossible::NothingToSkip { .. }
        | NotPossible::AlreadyPromoting { .. }
        | NotPossible::InAlarm { .. } => refusal.remedy(format!("tidegate why {id}  says where it is")),
    }
}

fn told(release: &Release, ask: Ask, until: Option<&str>) -> Vec<Line> {
    let id = release.id.short();
    let of = format!(" of {} to {}", release.change.label(), release.service);
    let first = Line::of(Tone::Good, format!("release {id}"));
    match (ask, until) {
        (Ask::Pause, Some(until)) => vec![
            first.add(
                Tone::Plain,
                format!("{of} stays where it is, until {until} at most; then it is rolled back"),
            ),
            Line::of(Tone::Faint, format!("    go on before that: tidegate continue {id}")),
        ],
        (Ask::PromoteNow, _) => vec![first.add(
            Tone::Plain,
            format!("{of} does not wait for its bakes any more; alarms, requests and approvals still count"),
        )],
        (Ask::Pause | Ask::Continue | Ask::Rollback | Ask::Cancel, _) => {
            vec![first.add(Tone::Plain, format!("{of} continues"))]
        }
    }
}
