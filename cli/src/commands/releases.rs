//! `releases`: the newest releases, of one service or of all.

use anyhow::Context as _;
use serde::Serialize;
use tidegate_core::ids::ServiceName;
use tidegate_core::release::Release;

use super::clock;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find;
use crate::output::Output;
use crate::render;
use crate::view::ReleaseRow;

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
}

/// Lists them.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let ledger = &*connection.home().ledger;
    let services = match &args.service {
        Some(service) => {
            find::service(ledger, service).await?;
            vec![service.clone()]
        }
        None => {
            let services = ledger.services().await.context("failed to list the services")?;
            services.into_iter().map(|(service, _)| service).collect()
        }
    };
    let mut found: Vec<Release> = Vec::new();
    for service in services {
        let listed = ledger.releases(&service, args.limit).await;
        found.extend(listed.with_context(|| format!("failed to list the releases of {service}"))?);
    }
    // Ids sort by the time they were made.
    found.sort_by(|left, right| right.id.cmp(&left.id));
    found.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    let rows: Vec<ReleaseRow> = found.iter().map(ReleaseRow::from).collect();
    if out.is_json() {
        out.object(&Answer { releases: rows })?;
    } else {
        out.table(render::releases(&rows, &clock(connection.home().time.now())))?;
    }
    Ok(Exit::Ok)
}
