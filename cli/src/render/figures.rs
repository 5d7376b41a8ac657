//! Figures: a line each, with what is counted.

use tidegate_core::figures::{Figures, LeadFrom, Spread};
use tidegate_core::words::span;

use crate::line::{Line, Tone};

/// Columns of the terminal.
const NAME: usize = 22;
const VALUE: usize = 34;

/// The figures of a period.
pub fn figures(figures: &Figures) -> Vec<Line> {
    let period = format!("{:.0} to {:.0}", figures.period.since, figures.period.until);
    let mut lines = vec![Line::of(Tone::Faint, period)];
    let mut line = |name: &str, value: String, what: &str| {
        let line = Line::new().column(Tone::Plain, name, NAME).column(Tone::Strong, &value, VALUE);
        lines.push(line.add(Tone::Faint, what));
    };
    line("deployment frequency", often(figures), "changes promoted");
    match &figures.lead_time {
        Some(lead) => {
            let of = |from: LeadFrom| lead.from.get(&from).copied().unwrap_or(0);
            let mut from = Vec::new();
            for (count, what) in [
                (of(LeadFrom::Commit), "commit"),
                (of(LeadFrom::Push), "push of the image"),
                (of(LeadFrom::Request), "request"),
            ] {
                if count > 0 {
                    from.push(format!("{count} from the {what}"));
                }
            }
            line("lead time", spread(&lead.spread), &format!("until all traffic; {}", from.join(", ")));
        }
        None => line("lead time", "none".into(), "no change was promoted"),
    }
    let failures = &figures.failures;
    let rate = failures.rate().map_or_else(|| "none".into(), |rate| format!("{:.1}%", rate * 100.0));
    line(
        "change failure rate",
        rate,
        &format!("{} of {} deployed changes failed", failures.failed, failures.deployed),
    );
    match &figures.restore {
        Some(restore) => line(
            "time to restore",
            spread(restore),
            &format!("from the breach until traffic was back; {}", counted(restore.count, "rollback")),
        ),
        None => line("time to restore", "none".into(), "nothing was rolled back"),
    }
    if let Some(approvals) = &figures.approvals {
        line("waiting for approval", spread(approvals), &counted(approvals.count, "gate"));
    }
    for held in &figures.held {
        let what = format!("{} by {}", counted(held.spread.count, "release"), held.by);
        line("held", format!("{} in all", duration(held.total_secs)), &what);
    }
    lines
}

fn often(figures: &Figures) -> String {
    let a_day = figures.promoted_a_day;
    let often = if a_day >= 1.0 { format!("{a_day:.1} a day") } else { format!("{:.1} a week", a_day * 7.0) };
    format!("{} ({often})", figures.promoted)
}

fn spread(spread: &Spread) -> String {
    let one = duration(spread.worst_secs);
    if spread.count == 1 {
        return one;
    }
    format!("{} (p99 {}, worst {one})", duration(spread.p50_secs), duration(spread.p99_secs))
}

fn duration(secs: u64) -> String {
    span(i64::try_from(secs).map_or(jiff::SignedDuration::MAX, jiff::SignedDuration::from_secs))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
