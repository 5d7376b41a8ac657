//! Tables: releases, services.

use super::{Clock, span, tone};
use crate::line::{Line, Tone};
use crate::view::{ReleaseRow, ServiceRow};

/// A cell.
type Cell = (Tone, String);

/// Lines up rows under their headings; the last column is as wide as it gets.
fn table(headings: &[&str], rows: Vec<Vec<Cell>>) -> Vec<Line> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<Cell>| {
        cells
            .into_iter()
            .zip(&widths)
            .fold(Line::new(), |line, ((tone, text), width)| line.column(tone, &text, width + 2))
    };
    let head = headings.iter().map(|heading| (Tone::Faint, (*heading).to_owned())).collect();
    std::iter::once(head).chain(rows).map(line).collect()
}

/// Releases.
pub fn releases(rows: &[ReleaseRow], clock: &Clock) -> Vec<Line> {
    if rows.is_empty() {
        return vec![Line::plain("no releases")];
    }
    let cells = rows.iter().map(|row| {
        let took = span(row.ended_at.unwrap_or(clock.now).duration_since(row.created_at));
        vec![
            (Tone::Plain, row.release.to_string()),
            (Tone::Plain, row.service.to_string()),
            (Tone::Plain, row.image.to_string()),
            (tone(row.state), row.summary.clone()),
            (Tone::Plain, row.set_percent.map(|set| format!("{set} %")).unwrap_or_default()),
            (Tone::Plain, clock.time(row.created_at)),
            (Tone::Plain, took),
            (Tone::Faint, row.because.clone().unwrap_or_default()),
        ]
    });
    table(&["RELEASE", "SERVICE", "IMAGE", "STATE", "SET", "CREATED", "TOOK", "BECAUSE"], cells.collect())
}

/// Services.
pub fn services(rows: &[ServiceRow], clock: &Clock) -> Vec<Line> {
    if rows.is_empty() {
        return vec![Line::plain("no services; store a policy with `tidegate apply FILE`")];
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let cells = rows.iter().map(|row| {
        let promoted = row.promoted.as_ref();
        vec![
            (Tone::Plain, row.service.to_string()),
            (Tone::Plain, format!("{}/{}", row.target.cluster, row.target.service)),
            (Tone::Plain, row.strategy.clone()),
            (Tone::Now, or_dash(row.active.as_ref().map(ToString::to_string))),
            (Tone::Plain, or_dash(row.waiting.as_ref().map(ToString::to_string))),
            (Tone::Plain, or_dash(promoted.map(|last| last.image.to_string()))),
            (Tone::Plain, or_dash(promoted.map(|last| clock.time(last.at)))),
            (Tone::Warn, if row.quarantined == 0 { "-".into() } else { row.quarantined.to_string() }),
        ]
    });
    table(
        &["SERVICE", "ECS SERVICE", "STRATEGY", "UNDER WAY", "WAITING", "PROMOTED LAST", "AT", "QUARANTINED"],
        cells.collect(),
    )
}
