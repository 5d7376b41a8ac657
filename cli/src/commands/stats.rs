//! `stats`: how often, how fast and how safely services are released.

use anyhow::{Context as _, anyhow};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::Serialize;
use tidegate_core::figures::{Figures, Period};
use tidegate_core::ids::ServiceName;
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;

use crate::connect::Connection;
use crate::exit::Exit;
use crate::find;
use crate::output::Output;
use crate::render;

/// How many releases of a service are read at most.
const RELEASES_MAX: u32 = 1000;

/// The arguments of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this service
    pub service: Option<ServiceName>,
    /// How far back: 12h, 30d, 8w
    #[arg(long, default_value = "30d", value_name = "TIME", value_parser = span)]
    pub since: Span,
}

fn span(text: &str) -> Result<Span, String> {
    let allowed = "allowed is a time such as 12h, 30d or 8w";
    let span: Span = text.parse().map_err(|_| format!("found {text:?}, {allowed}"))?;
    if span.is_positive() { Ok(span) } else { Err(format!("found {text:?}, {allowed}")) }
}

#[derive(Serialize)]
struct Answer {
    /// The service that was named; none: all of them.
    service: Option<ServiceName>,
    #[serde(flatten)]
    figures: Figures,
    /// Services of which only the newest releases were read, because there are too many.
    cut: Vec<ServiceName>,
    /// What cannot be read, and why.
    damaged: Vec<String>,
}

/// Counts, and prints.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let ledger = &*connection.installation().ledger;
    let now = connection.installation().time.now();
    let period = Period { since: before(now, args.since)?, until: now };
    let mut damaged = Vec::new();
    let services = match &args.service {
        Some(service) => {
            find::service(ledger, service).await?;
            vec![service.clone()]
        }
        None => super::releases::services(ledger, &mut damaged).await?,
    };
    let (mut releases, mut cut) = (Vec::new(), Vec::new());
    for service in services {
        let (found, whole) = within(ledger, &service, period, &mut damaged).await?;
        releases.extend(found);
        if !whole {
            cut.push(service);
        }
    }
    let answer =
        Answer { service: args.service.clone(), figures: Figures::of(&releases, period), cut, damaged };
    if out.is_json() {
        out.object(&answer)?;
    } else {
        for service in &answer.cut {
            out.note(&format!("only the newest {RELEASES_MAX} releases of {service} are counted"));
        }
        out.lines(&render::figures(&answer.figures))?;
    }
    Ok(out.damaged(&answer.damaged))
}

/// So long before.
fn before(now: Timestamp, span: Span) -> anyhow::Result<Timestamp> {
    let since = now.to_zoned(TimeZone::UTC).checked_sub(span);
    Ok(since.map_err(|error| anyhow!("--since: so far back there is no time: {error}"))?.timestamp())
}

/// A service's releases that may have ended within the period, and whether these are all of them.
async fn within(
    ledger: &dyn Ledger,
    service: &ServiceName,
    period: Period,
    damaged: &mut Vec<String>,
) -> anyhow::Result<(Vec<Release>, bool)> {
    let listed = ledger.releases(service, RELEASES_MAX).await;
    let listed = listed.with_context(|| format!("failed to list the releases of {service}"))?.tell(damaged);
    let all = listed.len() < usize::try_from(RELEASES_MAX).unwrap_or(usize::MAX);
    let whole = all || listed.last().is_some_and(|oldest| oldest.created_at < period.since);
    Ok((listed, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_back_is_told_in_hours_days_or_weeks() {
        let now: Timestamp = "2026-03-31T12:00:00Z".parse().unwrap();
        for (text, expected) in
            [("12h", "2026-03-31T00:00:00Z"), ("30d", "2026-03-01T12:00:00Z"), ("2w", "2026-03-17T12:00:00Z")]
        {
            assert_eq!(before(now, span(text).unwrap()).unwrap(), expected.parse::<Timestamp>().unwrap());
        }
        for text in ["", "30", "-3d", "0d", "soon"] {
            let error = span(text).unwrap_err();
            assert!(error.contains("12h, 30d or 8w") && error.contains(text), "{error}");
        }
        assert!(before(now, span("19000y").unwrap()).is_err());
    }
}
