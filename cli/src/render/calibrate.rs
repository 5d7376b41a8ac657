//! A service compared with itself.

use jiff::SignedDuration;
use tidegate_core::words::{percent, span};
use tidegate_stats::calibrate::{Calibration, Parted};

use crate::commands::calibrate::{Answer, Calibrated};
use crate::line::{Line, Tone};

/// Columns of the terminal.
const NAME: usize = 14;

/// What was played, and for each comparison how often it was wrong and what would keep the promise.
pub fn calibrate(answer: &Answer) -> Vec<Line> {
    let secs =
        i64::from(answer.every_secs) * i64::try_from(answer.release_windows).unwrap_or(i64::MAX / 1_000_000);
    let played = format!(
        ": {} releases of {} with {}% of the traffic, {:.0} to {:.0}",
        answer.replays,
        span(SignedDuration::from_secs(secs)),
        answer.share_percent,
        answer.since,
        answer.until
    );
    let head = Line::of(Tone::Strong, answer.service.to_string()).add(Tone::Faint, played);
    std::iter::once(head).chain(answer.comparisons.iter().flat_map(|it| comparison(it, answer))).collect()
}

fn comparison(it: &Calibrated, answer: &Answer) -> Vec<Line> {
    let rate = it.counted.rate().unwrap_or_default();
    let counted = format!(": {} of {:.0} requests", percent(rate), it.counted.requests);
    let mut lines = vec![Line::of(Tone::Strong, it.of.clone()).add(Tone::Plain, counted)];
    lines.extend(it.played.iter().map(|played| line(played, it, answer)));
    let (tone, verdict) = verdict(it, answer);
    lines.push(Line::plain("  ").add(tone, verdict));
    lines
}

fn line(played: &Calibration, it: &Calibrated, answer: &Answer) -> Line {
    let (name, about) = match played.parted {
        Parted::Requests => ("by chance", "requests parted at random: what the promise is about".to_owned()),
        Parted::Zones => ("by zones", format!("one zone against the others: {}", it.zones.join(", "))),
        Parted::Minutes => ("by minutes", "one window against the next: the harshest".to_owned()),
    };
    let rate = played.rate(answer.tolerate).unwrap_or_default();
    let tone = if rate <= it.allowed { Tone::Good } else { Tone::Bad };
    Line::plain("  ")
        .column(Tone::Plain, name, NAME)
        .column(tone, &format!("{} called bad", percent(rate)), NAME + 4)
        .add(Tone::Faint, about)
}

fn verdict(it: &Calibrated, answer: &Answer) -> (Tone, String) {
    let allowed = percent(it.allowed);
    match it.tolerate_needed {
        Some(needed) if needed <= answer.tolerate => {
            let less =
                if needed < answer.tolerate { format!("; {needed} would, too") } else { String::new() };
            (
                Tone::Good,
                format!("`tolerate: {}` keeps false alarms at {allowed} or below{less}", answer.tolerate),
            )
        }
        Some(needed) => {
            (Tone::Warn, format!("`tolerate: {needed}` would keep false alarms at {allowed} or below"))
        }
        None => (
            Tone::Bad,
            format!(
                "no ratio up to 10 keeps false alarms at {allowed}: the rate swings too much to be compared; a limit of its own, or an alarm, says more"
            ),
        ),
    }
}
