//! Figures, a line each, as people read them.

use tidegate_core::figures::{Figures, LeadFrom, LeadTime, Spread};
use tidegate_core::words::span;

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureLine {
    /// What it is called.
    pub name: &'static str,
    /// How much.
    pub value: String,
    /// What is counted.
    pub about: String,
}

/// The figures of a period.
pub fn figure_lines(figures: &Figures) -> Vec<FigureLine> {
    let mut lines = vec![
        line("deployment frequency", often(figures), "changes promoted"),
        match &figures.lead_time {
            Some(lead) => {
                line("lead time", spread(&lead.spread), format!("until all traffic; {}", counted_from(lead)))
            }
            None => line("lead time", "none", "no change was promoted"),
        },
        failure_rate(figures),
        match &figures.restore {
            Some(restore) => {
                let about =
                    format!("from the breach until traffic was back; {}", counted(restore.count, "rollback"));
                line("time to restore", spread(restore), about)
            }
            None => line("time to restore", "none", "nothing was rolled back"),
        },
    ];
    if let Some(approvals) = &figures.approvals {
        lines.push(line("waiting for approval", spread(approvals), counted(approvals.count, "gate")));
    }
    for held in &figures.held {
        let about = format!("{} by {}", counted(held.spread.count, "release"), held.by);
        lines.push(line("held", format!("{} in all", duration(held.total_secs)), about));
    }
    lines
}

fn line(name: &'static str, value: impl Into<String>, about: impl Into<String>) -> FigureLine {
    FigureLine { name, value: value.into(), about: about.into() }
}

fn counted_from(lead: &LeadTime) -> String {
    let from = [
        (LeadFrom::Commit, "from the commit"),
        (LeadFrom::Push, "from the push of the image"),
        (LeadFrom::Request, "from the request"),
    ];
    let told = from.iter().filter_map(|(from, what)| Some(format!("{} {what}", lead.from.get(from)?)));
    told.collect::<Vec<_>>().join(", ")
}

fn failure_rate(figures: &Figures) -> FigureLine {
    let failures = &figures.failures;
    let rate = failures.rate().map_or_else(|| "none".to_owned(), |rate| format!("{:.1}%", rate * 100.0));
    let about = format!("{} of {} deployed changes failed", failures.failed, failures.deployed);
    line("change failure rate", rate, about)
}

fn often(figures: &Figures) -> String {
    let a_day = figures.promoted_a_day;
    let often = if a_day >= 1.0 { format!("{a_day:.1} a day") } else { format!("{:.1} a week", a_day * 7.0) };
    format!("{} ({often})", figures.promoted)
}

fn spread(spread: &Spread) -> String {
    let worst = duration(spread.worst_secs);
    if spread.count == 1 {
        return worst;
    }
    format!("{} (p99 {}, worst {worst})", duration(spread.p50_secs), duration(spread.p99_secs))
}

fn duration(secs: u64) -> String {
    span(i64::try_from(secs).map_or(jiff::SignedDuration::MAX, jiff::SignedDuration::from_secs))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
