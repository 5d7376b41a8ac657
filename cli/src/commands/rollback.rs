//! `rollback`: moves a service back. The release under way is rolled back; without one, the version promoted before comes again. What is live
//! is looked at before anything is chosen, and what was chosen is shown and confirmed before it is written.

use anyhow::bail;
use serde::Serialize;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::release::Phase;
use tidegate_core::requests::NotPossible;
use tidegate_core::rollback::{Choice, Ended, NoRollback, RollbackTo};
use tidegate_core::service::{Promoted, Quarantined};
use tidegate_runtime::requests::{Asking, RequestError};

use super::NO_REASON;
use super::plan;
use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find::{self, ReleaseArg};
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::render::Clock;
use crate::words;

/// The arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A service, or the release to roll back: its id or the beginning of it
    #[arg(value_name = "SERVICE|RELEASE")]
    pub what: ReleaseArg,
    /// Bring back this promoted release: its tag, or its id or the beginning of it
    #[arg(long, value_name = "RELEASE|TAG")]
    pub to: Option<String>,
    /// Show what would happen; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; needed where there is no terminal
    #[arg(long, short)]
    pub yes: bool,
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
    /// The release to follow.
    release: ReleaseId,
    /// The release that is brought back; null when the one under way is rolled back.
    goes_back_to: Option<ReleaseId>,
    conductor_told: bool,
}

/// Looks, asks, writes.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let context = &connection.context;
    let clock = words::clock(context.installation.time.now());
    let service = service(args, connection).await?;
    let wanted = args.to.as_deref().map_or(RollbackTo::Before, RollbackTo::To);
    let choice =
        context.rollback_choice(&service, wanted).await.map_err(|error| told(error, &service, &clock))?;
    if args.dry_run {
        return plan::rollback(connection, &service, &choice, out).await;
    }
    confirm(args, &service, &choice, out)?;
    let actor = connection.actor().await?;
    let asking = Asking { by: &actor, why: &args.reason };
    let id = context
        .roll_back(&service, wanted, &choice, asking)
        .await
        .map_err(|error| told(error, &service, &clock))?;
    let goes_back_to = match &choice {
        Choice::UnderWay { .. } => None,
        Choice::Earlier { to, .. } => Some(to.release.clone()),
    };
    let answer =
        Answer { service, release: id.clone(), goes_back_to, conductor_told: connection.conductor_told(out) };
    if !out.is_json() {
        out.lines(&lines(&answer, &choice, args.watch))?;
    } else if !args.watch {
        out.object(&answer)?;
    }
    if args.watch { watch::follow(connection, &id, Until::Ended, out).await } else { Ok(Exit::Ok) }
}

/// The service that is meant. A release can only be named when rolling it back is what a rollback of its service does.
async fn service(args: &Args, connection: &Connection) -> anyhow::Result<ServiceName> {
    let ledger = &*connection.installation().ledger;
    // With a destination the open releases are not what is meant; that one is under way is told as such.
    let found = match &args.to {
        Some(_) => find::release(ledger, &args.what).await?,
        None => find::to_change(ledger, &args.what, "rollback").await?,
    };
    let release = &found.release;
    if found.by_service {
        return Ok(release.service.clone());
    }
    let head = find::service(ledger, &release.service).await?;
    let runs = head.promoted.first().is_some_and(|newest| newest.release == release.id);
    if head.active.as_ref() == Some(&release.id) || (head.active.is_none() && runs) {
        return Ok(release.service.clone());
    }
    let refusal = match &release.phase {
        Phase::Queued => {
            Refusal::new(format!("{} waits for its turn; nothing of it runs", words::release(release)))
                .remedy(format!("to keep it from starting: tidegate cancel {}", release.id.short()))
        }
        Phase::Ended { outcome, .. } => Refusal::new(format!(
            "{} has ended ({}) and is not what runs",
            words::release(release),
            outcome.word()
        ))
        .remedy(format!("to roll the service back: tidegate rollback {}", release.service)),
        Phase::Preparing { .. } | Phase::Running { .. } | Phase::RollingBack(_) | Phase::Settling { .. } => {
            Refusal::new(format!("{} is not the active release any more", words::release(release)))
        }
    };
    bail!(refusal)
}

fn confirm(args: &Args, service: &ServiceName, choice: &Choice, out: &mut Output) -> anyhow::Result<()> {
    let would = will(service, choice);
    let unasked =
        Refusal::new(format!("rollback asks before it acts, and there is no terminal to ask on: {would}"))
            .remedy("add --yes to do it without a question, or --dry-run to see the plan");
    out.agreed(args.yes, &question(service, choice), unasked)
}

/// What will happen, as a clause.
fn will(service: &ServiceName, choice: &Choice) -> String {
    match choice {
        Choice::UnderWay { release, change } => {
            format!(
                "it would roll back {} ({}) of {service}, which is under way",
                change.label(),
                release.short()
            )
        }
        Choice::Earlier { from, to, .. } => {
            format!(
                "it would roll {service} back from {} to {} ({})",
                from.label,
                to.change.label(),
                to.release.short()
            )
        }
    }
}

fn question(service: &ServiceName, choice: &Choice) -> String {
    match choice {
        Choice::UnderWay { release, change } => {
            format!("Roll back {} ({}) of {service}, which is under way?", change.label(), release.short())
        }
        Choice::Earlier { from, to, supersedes } => {
            let unseen = from.unseen.iter().map(|why| {
                format!("What {service} runs could not be seen ({why}); {} was promoted last.\n", from.label)
            });
            let superseded = supersedes
                .iter()
                .map(|waiting| format!("Release {}, which waits, will be superseded.\n", waiting.short()));
            let before: String = unseen.chain(superseded).collect();
            format!(
                "{before}Roll {service} back from {} to {} ({}) and quarantine {}?",
                from.label,
                to.change.label(),
                to.release.short(),
                from.label
            )
        }
    }
}

fn lines(answer: &Answer, choice: &Choice, watched: bool) -> Vec<Line> {
    let id = answer.release.short();
    let mut lines = vec![match choice {
        Choice::UnderWay { change, .. } => Line::of(Tone::Good, format!("release {id}"))
            .add(Tone::Plain, format!(" of {} to {} is asked to roll back", change.label(), answer.service)),
        Choice::Earlier { from, to, .. } => Line::of(Tone::Good, format!("created rollback release {id}"))
            .add(
                Tone::Plain,
                format!(
                    ": {} from {} to {} (release {})",
                    answer.service,
                    from.label,
                    to.change.label(),
                    to.release.short()
                ),
            ),
    }];
    if !watched {
        lines.push(Line::of(Tone::Faint, format!("follow it with: tidegate watch {id}")));
    }
    lines
}

/// Why there is no rollback, with what to type instead.
fn told(error: RequestError, service: &ServiceName, clock: &Clock) -> anyhow::Error {
    match error {
        RequestError::NotPossible(NotPossible::Rollback(why)) => refusal(&why, service, clock).into(),
        RequestError::Changed => {
            Refusal::new(format!("{service} changed while you answered, so nothing was done"))
                .remedy(format!("look at it: tidegate watch {service}"))
                .into()
        }
        RequestError::Ledger(_)
        | RequestError::NotPossible(_)
        | RequestError::NotLifted(_)
        | RequestError::NoRelease(_)
        | RequestError::NoService(_)
        | RequestError::NoDrill { .. }
        | RequestError::SameTarget { .. } => {
            anyhow::Error::from(error).context(format!("failed to roll {service} back"))
        }
    }
}

fn refusal(why: &NoRollback, service: &ServiceName, clock: &Clock) -> Refusal {
    match why {
        NoRollback::AlreadyThere { runs, last, to, .. } => already_there(service, runs, last.as_deref(), to.as_deref(), clock),
        NoRollback::Waits { release, change } => Refusal::new(format!(
            "a rollback to {} ({}) already waits to start",
            change.label(),
            release.short()
        ))
        .remedy(format!("follow it: tidegate watch {}", release.short())),
        NoRollback::Busy { release, change } => Refusal::new(format!(
            "{} ({}) is under way, so nothing earlier can be brought back yet",
            change.label(),
            release.short()
        ))
        .remedy(format!("roll that one back first: tidegate rollback {}", release.short())),
        NoRollback::AlreadyBack { release, change } => {
            Refusal::new(format!("{} ({}) is already being rolled back", change.label(), release.short()))
                .remedy(format!("follow it: tidegate watch {}", release.short()))
        }
        NoRollback::NothingBefore { quarantined } => nothing_before(service, quarantined, clock),
        NoRollback::NotPromoted { .. } => Refusal::new(why.to_string()).remedy(format!(
            "tidegate releases {service}  lists its releases; tidegate release {service} IMAGE  releases any image"
        )),
        NoRollback::Several { .. } => {
            Refusal::new(why.to_string()).remedy("name one of them by its id").exit(Exit::Usage)
        }
        NoRollback::Runs { .. } => Refusal::new(why.to_string()),
        NoRollback::Quarantined { to, quarantined } => Refusal::new(format!(
            "{} was rolled back itself at {} ({})",
            to.change.label(),
            clock.time(quarantined.at),
            quarantined.why
        ))
        .remedy(force(service, to)),
    }
}

/// `checkout already runs main-8 again: main-9 was rolled back at 11:58:53`.
fn already_there(
    service: &ServiceName,
    runs: &str,
    last: Option<&Ended>,
    to: Option<&Promoted>,
    clock: &Clock,
) -> Refusal {
    let why = match last {
        Some(last) => {
            let cause = last.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{} {} at {}{cause}", last.label, last.did, clock.time(last.at))
        }
        None => "a newer version was promoted, and somebody put this one back outside Tidegate".to_owned(),
    };
    let refusal = Refusal::new(format!("{service} already runs {runs} again: {why}"));
    match to {
        Some(to) => refusal
            .remedy(format!("to leave {runs} too: tidegate rollback {service} --to {}", to.release.short())),
        None => refusal.remedy(format!("no version before {runs} is known to roll back to")),
    }
}

fn nothing_before(service: &ServiceName, quarantined: &[(Promoted, Quarantined)], clock: &Clock) -> Refusal {
    let what = format!("there is nothing to roll {service} back to");
    match quarantined.first() {
        None => Refusal::new(format!("{what}: no other version was promoted to it before"))
            .remedy(format!("to release any other image: tidegate release {service} IMAGE")),
        Some((promoted, quarantined)) => Refusal::new(format!(
            "{what}: {} was promoted before, but was rolled back itself at {} ({})",
            promoted.change.label(),
            clock.time(quarantined.at),
            quarantined.why
        ))
        .remedy(force(service, promoted)),
    }
}

fn force(service: &ServiceName, to: &Promoted) -> String {
    format!("to release it all the same: tidegate release {service} {} --force", to.change.argument())
}
