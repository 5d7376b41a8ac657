//! `services`: the services Tidegate knows: what is going on, what they run, how the last release ended.

use anyhow::Context as _;
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use tidegate_core::fault::PortError;
use tidegate_core::ids::ServiceName;
use tidegate_core::service::ServiceRecord;
use tidegate_runtime::Installation;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::output::Output;
use crate::render;
use tidegate_view::ServiceRow;

/// How many services are looked at at the same time.
const AT_ONCE: usize = 16;

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
    let found: Vec<(ServiceRow, Option<String>)> = stream::iter(&services)
        .map(async |(service, head)| row(installation, service, head).await)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (rows, unread): (Vec<ServiceRow>, Vec<Option<String>>) = found.into_iter().unzip();
    damaged.extend(unread.into_iter().flatten());
    if out.is_json() {
        out.object(&Answer { services: rows, damaged: damaged.clone() })?;
    } else {
        out.lines(&render::services(&rows, &clock(installation.time.now()), out.width()))?;
    }
    Ok(out.damaged(&damaged))
}

/// A service with its releases; what is known without them, and why, where they cannot be read.
async fn row(
    installation: &Installation,
    service: &ServiceName,
    head: &ServiceRecord,
) -> (ServiceRow, Option<String>) {
    let row = ServiceRow::new(service, head, &installation.account, &installation.region);
    let now = installation.time.now();
    let releases = async {
        let (active, _) = installation.current(head).await?;
        Ok::<_, PortError>((active, installation.last_ended(service).await?))
    };
    match releases.await {
        Ok((active, last)) => (row.at(now, head, active.as_ref(), last.as_ref()), None),
        Err(error) => {
            let unread = format!("the releases of {service} could not be read: {}", error.told());
            (row.at(now, head, None, None), Some(unread))
        }
    }
}
