//! Why a release is where it is: its last report, and its whole history with what was seen and done.

use super::{Clock, tree};
use crate::line::{Line, Tone};
use tidegate_view::{EntryView, ReleaseView};

/// The explanation; `service` is the service's own newest entries, newest first.
pub fn why(view: &ReleaseView, service: &[EntryView], clock: &Clock) -> Vec<Line> {
    let mut lines = tree(view, clock, 0);
    if !view.facts.is_empty() {
        lines.push(Line::new());
        lines.push(Line::of(Tone::Strong, "seen at the last look"));
        lines.extend(view.facts.iter().map(|fact| Line::plain(format!("  {fact}"))));
    }
    lines.push(Line::new());
    lines.push(Line::of(Tone::Strong, "what happened"));
    lines.extend(view.history.iter().flat_map(|entry| self::entry(entry, clock)));
    if !service.is_empty() {
        lines.push(Line::new());
        lines.push(Line::of(Tone::Strong, format!("service {}, newest first", view.service)));
        lines.extend(service.iter().flat_map(|entry| self::entry(entry, clock)));
    }
    lines
}

fn entry(entry: &EntryView, clock: &Clock) -> Vec<Line> {
    let more = |name: &str, text: &str| {
        Line::plain("            ").column(Tone::Faint, name, 8).add(Tone::Plain, text.to_owned())
    };
    let by = if entry.by == "tidegate" { String::new() } else { format!(" (by {})", entry.by) };
    let mut lines = vec![
        Line::of(Tone::Faint, format!("  {}  ", clock.time(entry.at)))
            .add(Tone::Strong, entry.what.clone())
            .add(Tone::Plain, by),
        more("why", &entry.why),
    ];
    lines.extend(entry.saw.iter().map(|fact| more("saw", fact)));
    lines.extend(entry.effects.iter().map(|effect| more("did", effect)));
    if let Some(measured) = entry.measured_percent {
        lines.push(more("traffic", &format!("measured {measured}%")));
    }
    lines
}
