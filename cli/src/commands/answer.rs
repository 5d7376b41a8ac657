//! `approve` and `reject`: answers the approval a release waits for, with the caller's AWS identity. The policy's `people` say whose that is.

use anyhow::bail;
use serde::Serialize;
use tidegate_core::gate::{By, NotCounted, waiting_at};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::release::{Phase, Release};
use tidegate_runtime::answers::{Answer, AnswerError};

use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find::{self, ReleaseArg};
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::render::Clock;
use crate::words;
use tidegate_view::{StageState, StageView};

/// The arguments of `approve` and `reject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A release id or the beginning of it, or a service that has one open release
    #[arg(value_name = "RELEASE|SERVICE")]
    pub release: ReleaseArg,
    /// What you say to it; kept in the history
    #[arg(long, value_name = "TEXT", value_parser = super::reason)]
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
    let installation = connection.installation();
    let (verb, decision) = if approve { ("approve", "approved") } else { ("reject", "rejected") };
    let release = find::to_change(&*installation.ledger, &args.release, verb).await?.release;
    must_wait(&release, verb, connection).await?;
    let answer = Answer {
        by: By::Identity(connection.actor().await?.to_string()),
        approve,
        plan_hash: args.plan.clone(),
        comment: args.comment.clone(),
    };
    if let Err(error) = installation.answer(&release.id, &answer).await {
        return Err(not_counted(error, &release, verb, &words::clock(installation.time.now())));
    }
    let told = Told {
        service: release.service,
        release: release.id.clone(),
        decision,
        conductor_told: connection.conductor_told(out),
    };
    if !out.is_json() {
        let line = Line::of(Tone::Good, format!("release {}", told.release.short()))
            .add(Tone::Plain, format!(" of {} to {} is {decision}", release.change.label(), told.service));
        out.lines(&[line])?;
    } else if !args.watch {
        out.object(&told)?;
    }
    if args.watch { watch::follow(connection, &release.id, Until::Ended, out).await } else { Ok(Exit::Ok) }
}

/// Only a release in a stage of its plan can wait for an answer; of any other it is told where it is.
async fn must_wait(release: &Release, verb: &str, connection: &Connection) -> anyhow::Result<()> {
    let installation = connection.installation();
    let name = words::release(release);
    let truth = match &release.phase {
        Phase::Running { .. } => return Ok(()),
        Phase::Ended { .. } => {
            let ended = words::ended(release, &words::clock(installation.time.now())).unwrap_or(name);
            format!("{ended}; there is nothing to {verb}")
        }
        Phase::Queued => {
            let head = find::service(&*installation.ledger, &release.service).await?;
            let before = match &head.active {
                Some(active) => find::by_id(&*installation.ledger, active).await?,
                None => None,
            };
            let behind =
                before.map(|before| format!(" behind {}", words::release(&before))).unwrap_or_default();
            format!("{name} is queued{behind}, so there is nothing to {verb} yet")
        }
        Phase::Preparing { .. } => {
            format!("preflight is still looking at {name}, so there is nothing to {verb} yet")
        }
        Phase::RollingBack(_) => {
            format!("{name} is being rolled back; there is nothing to {verb} any more")
        }
        Phase::Settling { outcome, .. } => {
            format!("{name} is settling and will be {}; there is nothing to {verb} any more", outcome.word())
        }
    };
    bail!(Refusal::new(truth))
}

/// Why an answer was not counted, as far as the core's own words do not say it.
fn not_counted(error: AnswerError, release: &Release, verb: &str, clock: &Clock) -> anyhow::Error {
    let name = words::release(release);
    match error {
        AnswerError::NotCounted(NotCounted::NotWaiting { .. }) => {
            let later = next_approval(release)
                .and_then(|stage| Some(format!("; stage {} is {}", stage.number?, stage.text)))
                .unwrap_or_else(|| "; its plan holds no approval after that".to_owned());
            Refusal::new(format!(
                "{name} does not wait for approval now, it is at \"{}\"{later}",
                words::summary(release)
            ))
            .remedy(format!("see where it is: tidegate why {}", release.id.short()))
            .into()
        }
        AnswerError::NotCounted(NotCounted::NotAnApprover { identity }) => {
            let approvers = waiting_at(release).map(|(_, gate, _)| {
                let names: Vec<&str> = gate.approvers.iter().map(|person| person.name.as_str()).collect();
                format!(": {}", names.join(", "))
            });
            Refusal::new(format!(
                "{identity} is not one of the approvers of {name}{}",
                approvers.unwrap_or_default()
            ))
            .remedy("the policy says under people whose AWS identity is whose")
            .into()
        }
        AnswerError::NotCounted(NotCounted::AlreadyGiven { approver, approved, at }) => {
            let did = if approved { "approved" } else { "rejected" };
            Refusal::new(format!("{approver} has already {did} {name}, at {}", clock.time(at))).into()
        }
        AnswerError::NotCounted(NotCounted::Expired { at }) => {
            Refusal::new(format!("the approval of {name} expired at {}", clock.time(at))).into()
        }
        error @ (AnswerError::Ledger(_) | AnswerError::NoRelease(_) | AnswerError::NotCounted(_)) => {
            anyhow::Error::from(error).context(format!("failed to {verb} {name}"))
        }
    }
}

/// The next stage of the plan that is an approval.
fn next_approval(release: &Release) -> Option<StageView> {
    let ahead = |stage: &StageView| stage.stage == "approve" && stage.state == StageState::Ahead;
    tidegate_view::stages(release, &[]).into_iter().find(ahead)
}
