//! What a release's numbers will be able to say, for people.

use tidegate_core::forecast::{BakeForecast, ComparisonForecast, Forecast, Reads};
use tidegate_core::words::percent;
use tidegate_stats::forecast::Regression;

use super::plan::{label, secs};
use crate::line::{Line, Tone};

/// Traffic, bakes, comparisons and costs.
pub(super) fn lines(forecast: &Forecast) -> Vec<Line> {
    let traffic = &forecast.traffic;
    let told = format!(
        "{}; by the hour {} to {}",
        frequency(traffic.average),
        frequency(traffic.quietest),
        frequency(traffic.busiest)
    );
    let mut lines = vec![
        Line::of(Tone::Strong, "what its numbers can say, by the traffic of the last 24 hours"),
        label("traffic", told),
    ];
    lines.extend(forecast.bakes.iter().map(bake));
    lines.extend(forecast.comparisons.iter().flat_map(comparison));
    lines.push(label("costs", costs(&forecast.reads)));
    lines
}

fn costs(reads: &Reads) -> String {
    let usd =
        if reads.usd < 0.01 { "less than 0.01 USD".to_owned() } else { format!("{:.2} USD", reads.usd) };
    format!("{} reads of {} metrics in all, {usd}", reads.calls, reads.metrics)
}

/// So many things a second as people say it.
fn frequency(a_second: f64) -> String {
    if a_second >= 9.95 {
        format!("{a_second:.0} requests/s")
    } else if a_second >= 0.95 {
        format!("{a_second:.1} requests/s")
    } else if a_second * 60.0 >= 1.0 {
        format!("{:.0} requests/min", a_second * 60.0)
    } else {
        format!("{:.0} requests/h", a_second * 3600.0)
    }
}

fn bake(it: &BakeForecast) -> Line {
    let requests = format!("{:.0} requests of the candidate in {}", it.requests, secs(it.secs.into()));
    let (tone, enough) = match (it.held_secs, it.held_secs_when_quiet) {
        _ if it.needed == 0 => (Tone::Plain, String::new()),
        (Some(0), Some(0)) => (Tone::Plain, "enough in the quietest hour, too".to_owned()),
        (Some(0), Some(held)) => {
            (Tone::Plain, format!("enough; held for up to {} in the quietest hour", secs(held)))
        }
        (Some(0), None) => {
            (Tone::Warn, "enough, but not in the quietest hour: it would be rolled back".to_owned())
        }
        (Some(held), _) => (Tone::Warn, format!("held for up to {} until they are seen", secs(held))),
        (None, _) => (Tone::Bad, "held in vain; bake longer, or lower evidence.min_requests".to_owned()),
    };
    let enough = if it.needed == 0 { enough } else { format!(", {} needed: {enough}", it.needed) };
    Line::plain("  ")
        .column(Tone::Faint, &format!("at {}%", it.percent), super::plan::LABEL)
        .add(Tone::Plain, requests)
        .add(tone, enough)
}

fn comparison(it: &ComparisonForecast) -> Vec<Line> {
    let mut lines = vec![label("compared", format!("{}, {} of the requests now", it.of, percent(it.rate)))];
    lines.extend(it.regressions.iter().map(|it| label("", regression(it))));
    lines
}

fn regression(it: &Regression) -> String {
    let bad = if it.bad_requests < 1.5 {
        "a single bad request".to_owned()
    } else {
        format!("{:.0} bad requests", it.bad_requests)
    };
    match it.found_after_secs {
        Some(after) => {
            // Whole windows.
            let after = std::time::Duration::from_secs_f64(after).as_secs();
            format!("{:.0} times as many: found after {}, when users have seen {bad}", it.ratio, secs(after))
        }
        None => format!("{:.0} times as many: not found before all traffic moves, after {bad}", it.ratio),
    }
}
