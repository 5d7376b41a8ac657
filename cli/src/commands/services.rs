//! `services`: the services Tidegate knows, and what they run.

use anyhow::Context as _;
use serde::Serialize;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::output::Output;
use crate::render;
use tidegate_view::ServiceRow;

#[derive(Serialize)]
struct Answer {
    services: Vec<ServiceRow>,
    /// What cannot be read, and why.
    damaged: Vec<String>,
}

/// Lists them. What cannot be read is named, and the command fails after it has shown the rest.
pub async fn run(connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let mut damaged = Vec::new();
    let services =
        installation.ledger.services().await.context("failed to list the services")?.tell(&mut damaged);
    let rows: Vec<ServiceRow> = services
        .iter()
        .map(|(service, head)| ServiceRow::new(service, head, &installation.account, &installation.region))
        .collect();
    if out.is_json() {
        out.object(&Answer { services: rows, damaged: damaged.clone() })?;
    } else {
        out.lines(&render::services(&rows, &clock(installation.time.now()), out.width()))?;
    }
    Ok(out.damaged(&damaged))
}
