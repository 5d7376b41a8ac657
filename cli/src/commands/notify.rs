//! `notify test`: has the herald send a test message through each channel of a service. It is asked for and answered by rows of the ledger, so it
//! goes the way of every message: stream, herald, its role, its secret.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tidegate_core::ids::ServiceName;
use tidegate_core::notify::{Trial, Tried};

use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::line::Line;
use crate::output::Output;

/// How long an answer is waited for: the stream is read within a second or two, and a receiver may take ten.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The arguments of `notify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Send a test message through each channel of a service
    Test {
        /// The service
        #[arg(value_name = "SERVICE")]
        service: ServiceName,
    },
}

#[derive(Serialize)]
struct Answer {
    service: ServiceName,
    tried: Vec<Tried>,
}

/// Asks, waits, tells: one line a channel, the remedy beside what failed.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let What::Test { service } = &args.what;
    let installation = connection.installation();
    let ledger = &installation.ledger;
    let known = ledger.service(service).await.with_context(|| format!("failed to read service {service}"))?;
    if known.is_none() {
        return Err(Refusal::new(format!("there is no service {service}"))
            .remedy("tidegate services")
            .into());
    }
    let notebook = connection.notebook()?;
    let now = installation.time.now();
    let id = format!("{}", now.as_nanosecond());
    notebook.ask_trial(service, &id, now).await.context("failed to ask for a test message")?;
    let trial = wait(connection, service, &id).await?;
    tell(service, trial, out)
}

async fn wait(connection: &Connection, service: &ServiceName, id: &str) -> anyhow::Result<Trial> {
    let (notebook, time) = (connection.notebook()?, &connection.installation().time);
    let began = time.now();
    loop {
        if let Some(trial) = notebook.trial(service, id).await.context("failed to read what came of it")? {
            return Ok(trial);
        }
        if time.now().duration_since(began).unsigned_abs() > PATIENCE {
            let refusal =
                Refusal::new(format!("the herald has not answered within {} s", PATIENCE.as_secs()));
            return Err(refusal
                .remedy(
                    "look at the log of the herald function, and at the alarms HeraldErrors and HeraldLate",
                )
                .into());
        }
        time.sleep(LOOK_EVERY.try_into().unwrap_or_default()).await;
    }
}

fn tell(service: &ServiceName, trial: Trial, out: &mut Output) -> anyhow::Result<Exit> {
    let failed = trial.tried.iter().any(|tried| tried.problem.is_some());
    if out.is_json() {
        out.object(&Answer { service: service.clone(), tried: trial.tried })?;
    } else if trial.tried.is_empty() {
        out.lines(&[Line::plain(format!(
            "nobody is told of {service}: neither its policy nor the installation names anybody"
        ))])?;
    } else {
        let lines = trial.tried.iter().map(|Tried { receiver, problem, remedy }| match problem {
            None => Line::plain(format!("ok      {receiver}")),
            Some(problem) => {
                let remedy = remedy.as_ref().map(|remedy| format!(". {remedy}")).unwrap_or_default();
                Line::plain(format!("failed  {receiver}: {problem}{remedy}"))
            }
        });
        out.lines(&lines.collect::<Vec<_>>())?;
    }
    Ok(if failed { Exit::Error } else { Exit::Ok })
}
