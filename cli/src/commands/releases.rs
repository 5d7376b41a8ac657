//! `releases`: the newest releases, of one service or of all.

use anyhow::Context as _;
use serde::Serialize;
use tidegate_core::fault::ErrorKind;
use tidegate_core::ids::ServiceName;
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find;
use crate::output::Output;
use crate::render;
use tidegate_view::ReleaseRow;

/// The arguments of `releases`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this service
    pub service: Option<ServiceName>,
    /// How many at most
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Serialize)]
struct Answer {
    releases: Vec<ReleaseRow>,
    /// What cannot be read, and why.
    damaged: Vec<String>,
}

/// Lists them. What cannot be read is named, and the command fails after it has shown the rest.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let ledger = &*connection.installation().ledger;
    let mut damaged = Vec::new();
    let services = match &args.service {
        Some(service) => {
            // The releases can be listed without the service's row, as long as there is one.
            match ledger.service(service).await {
                Err(error) if error.kind == ErrorKind::Invalid => damaged.push(error.message),
                Ok(_) | Err(_) => drop(find::service(ledger, service).await?),
            }
            vec![service.clone()]
        }
        None => services(ledger, &mut damaged).await?,
    };
    let mut found: Vec<Release> = Vec::new();
    for service in services {
        let listed = ledger.releases(&service, args.limit).await;
        let listed = listed.with_context(|| format!("failed to list the releases of {service}"))?;
        found.extend(listed.tell(&mut damaged));
    }
    // Ids sort by the time they were made.
    found.sort_by(|left, right| right.id.cmp(&left.id));
    found.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    let rows: Vec<ReleaseRow> = found.iter().map(ReleaseRow::from).collect();
    if out.is_json() {
        out.object(&Answer { releases: rows, damaged: damaged.clone() })?;
    } else {
        out.lines(&render::releases(&rows, &clock(connection.installation().time.now()), out.width()))?;
    }
    Ok(out.damaged(&damaged))
}

/// All services by name, also those of which only the name can be read.
pub(super) async fn services(
    ledger: &dyn Ledger,
    damaged: &mut Vec<String>,
) -> anyhow::Result<Vec<ServiceName>> {
    let listing = ledger.services().await.context("failed to list the services")?;
    let (services, unreadable) = listing.split();
    damaged.extend(unreadable.iter().map(ToString::to_string));
    let named = unreadable.into_iter().filter_map(|row| row.service);
    Ok(services.into_iter().map(|(service, _)| service).chain(named).collect())
}
