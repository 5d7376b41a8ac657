//! Tables: releases, services. Laid out by `comfy-table`, which wraps cells where the terminal is too narrow; what is said of a row beyond its
//! cells stands in lines below it.

use comfy_table::{ContentArrangement, Table, presets};

use super::{Clock, span, tone};
use crate::line::{Line, Tone};
use tidegate_view::{QuarantineRow, ReleaseRow, ServiceRow};

/// A cell.
type Cell = (Tone, String);

/// A row: its cells, and what stands below them.
struct Row {
    cells: Vec<Cell>,
    below: Option<String>,
}

/// How far what stands below a row is moved in.
const INDENT: usize = 2;

/// Characters without width that carry the tone of a word through the layout. They are no part of what AWS or people write into tables: tags,
/// names and ids are ASCII, and [`marked`] drops them from everything else.
const MARKS: [(char, Tone); 7] = [
    ('\u{e0020}', Tone::Plain),
    ('\u{e0021}', Tone::Strong),
    ('\u{e0022}', Tone::Faint),
    ('\u{e0023}', Tone::Good),
    ('\u{e0024}', Tone::Now),
    ('\u{e0025}', Tone::Warn),
    ('\u{e0026}', Tone::Bad),
];
const END: char = '\u{e0027}';
const ROW: char = '\u{e0028}';

/// Lines up rows under their headings, in at most `width` columns.
fn table(headings: &[&str], rows: Vec<Row>, width: Option<usize>) -> Vec<Line> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(headings.iter().map(|heading| marked(Tone::Faint, heading)));
    for row in &rows {
        let mut cells: Vec<String> = row.cells.iter().map(|(tone, text)| marked(*tone, text)).collect();
        if let Some(first) = cells.first_mut() {
            first.insert(0, ROW);
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut below = rows.iter().map(|row| row.below.as_deref());
    let mut pending = None;
    let mut lines = Vec::new();
    for line in table.lines() {
        if line.contains(ROW) {
            lines.extend(told_below(pending.take(), width));
            pending = below.next().flatten();
        }
        lines.push(toned(&line));
    }
    lines.extend(told_below(pending, width));
    lines
}

fn told_below(text: Option<&str>, width: Option<usize>) -> Vec<Line> {
    let Some(text) = text else { return Vec::new() };
    let width = width.unwrap_or(usize::MAX).saturating_sub(INDENT).max(20);
    let indented = |line: String| Line::of(Tone::Faint, format!("{}{line}", " ".repeat(INDENT)));
    wrapped(text, width).into_iter().map(indented).collect()
}

/// Text in lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let Ok(width) = u16::try_from(width) else { return vec![clean] };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.add_row([clean]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 0));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Every word between marks, so that a cell can be wrapped between them.
fn marked(tone: Tone, text: &str) -> String {
    let mark = MARKS.iter().find(|(_, known)| *known == tone).map_or(MARKS[0].0, |(mark, _)| *mark);
    let is_mark = |c: char| c == END || c == ROW || MARKS.iter().any(|(mark, _)| *mark == c);
    let clean: String =
        text.chars().filter(|c| !is_mark(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<String> = clean.split(' ').map(|word| format!("{mark}{word}{END}")).collect();
    words.join(" ")
}

/// A line of the layout with its marks read.
fn toned(line: &str) -> Line {
    let mut read = Line::new();
    let (mut tone, mut text) = (Tone::Plain, String::new());
    for c in line.chars() {
        let next = if c == END {
            Some(Tone::Plain)
        } else {
            MARKS.iter().find(|(mark, _)| *mark == c).map(|(_, tone)| *tone)
        };
        match next {
            Some(next) => {
                if !text.is_empty() {
                    read = read.add(tone, std::mem::take(&mut text));
                }
                tone = next;
            }
            None if c == ROW => {}
            None => text.push(c),
        }
    }
    let text = text.trim_end();
    if text.is_empty() { read } else { read.add(tone, text) }
}

/// Releases, what they are first; why one did not continue stands below it.
pub fn releases(rows: &[ReleaseRow], clock: &Clock, width: Option<usize>) -> Vec<Line> {
    if rows.is_empty() {
        return vec![Line::plain("no releases")];
    }
    let row = |row: &ReleaseRow| Row {
        cells: vec![
            (tone(row.state), row.summary.clone()),
            (Tone::Plain, row.release.short().to_owned()),
            (Tone::Plain, row.service.to_string()),
            (Tone::Strong, row.images.label()),
            (Tone::Plain, clock.short(row.created_at)),
            (Tone::Plain, span(row.ended_at.unwrap_or(clock.now).duration_since(row.created_at))),
        ],
        below: row.because.clone(),
    };
    table(&["STATE", "RELEASE", "SERVICE", "IMAGE", "CREATED", "TOOK"], rows.iter().map(row).collect(), width)
}

/// Services: what is going on, what they run; where they are and how the last release ended stands below.
pub fn services(rows: &[ServiceRow], clock: &Clock, width: Option<usize>) -> Vec<Line> {
    if rows.is_empty() {
        return vec![Line::plain("no services; store a policy with `tidegate apply FILE`")];
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let row = |row: &ServiceRow| {
        let promoted = row.promoted.as_ref();
        Row {
            cells: vec![
                (Tone::Strong, row.service.to_string()),
                going_on(row, clock),
                (Tone::Plain, or_dash(row.waiting.as_ref().map(|id| id.short().to_owned()))),
                (Tone::Plain, or_dash(promoted.map(|last| last.images.label()))),
                (Tone::Plain, or_dash(promoted.map(|last| clock.short(last.at)))),
                (Tone::Warn, if row.quarantined == 0 { "-".into() } else { row.quarantined.to_string() }),
            ],
            below: Some(below(row, clock)),
        }
    };
    table(
        &["SERVICE", "STATE", "WAITING", "PROMOTED", "AT", "QUARANTINED"],
        rows.iter().map(row).collect(),
        width,
    )
}

/// The release under way with how long it takes at least, or that nothing may start, or how the last one ended.
fn going_on(row: &ServiceRow, clock: &Clock) -> Cell {
    if let Some(release) = &row.under_way {
        let left = release.at_least_left_secs.filter(|secs| *secs > 0).map_or_else(String::new, |secs| {
            let left = jiff::SignedDuration::from_secs(i64::try_from(secs).unwrap_or(i64::MAX));
            format!(", {} left at least", span(left))
        });
        return (tone(release.state), format!("{}: {}{left}", release.images.label(), release.summary));
    }
    match (&row.active, &row.frozen, &row.last) {
        (Some(active), _, _) => (Tone::Now, format!("{} under way", active.short())),
        (None, Some(frozen), _) => (Tone::Warn, format!("frozen until {}", clock.short(frozen.until))),
        (None, None, Some(last)) => {
            let ended = last.ended_at.map_or_else(String::new, |at| format!(" {}", clock.short(at)));
            (tone(last.state), format!("{} {}{ended}", last.images.label(), last.summary))
        }
        (None, None, None) => (Tone::Faint, "no release yet".into()),
    }
}

fn below(row: &ServiceRow, clock: &Clock) -> String {
    let mut told = vec![format!("{}, {}", row.target.resource, row.strategy)];
    if let Some(release) = &row.under_way {
        told.push(format!("release {}: {}", release.release.short(), release.next));
        let frozen = row.frozen.as_ref();
        told.extend(frozen.map(|frozen| format!("frozen until {}", clock.short(frozen.until))));
    }
    told.extend(row.frozen.iter().map(|frozen| frozen.window.clone()));
    let because = row.last.as_ref().filter(|_| row.under_way.is_none()).and_then(|last| last.because.clone());
    told.extend(because);
    told.join("; ")
}

/// Quarantined digests, the newest first; why stands below each.
pub fn quarantine(rows: &[QuarantineRow], clock: &Clock, width: Option<usize>) -> Vec<Line> {
    if rows.is_empty() {
        return vec![Line::plain("nothing is quarantined")];
    }
    let row = |row: &QuarantineRow| Row {
        cells: vec![
            (Tone::Plain, row.service.to_string()),
            (Tone::Strong, row.digest.to_string()),
            (Tone::Plain, row.release.short().to_owned()),
            (Tone::Plain, clock.short(row.at)),
        ],
        below: Some(row.why.clone()),
    };
    table(&["SERVICE", "DIGEST", "RELEASE", "SINCE"], rows.iter().map(row).collect(), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_to_its_width_and_its_tones() {
        let row = Row {
            cells: vec![
                (Tone::Bad, "rolled back".into()),
                (Tone::Plain, "x".repeat(60)),
                (Tone::Good, "日本".into()),
            ],
            below: Some("one two three ".repeat(20)),
        };
        let lines = table(&["STATE", "NAME", "WORD"], vec![row], Some(40));
        assert!(lines.iter().all(|line| line.width() <= 40), "{lines:?}");
        let text: Vec<String> = lines.iter().map(Line::text).collect();
        assert!(text.iter().any(|line| line.contains("rolled")), "{text:?}");
        assert!(text.join("").matches('x').count() == 60, "nothing is cut off: {text:?}");
        let printed = lines.iter().map(|line| line.print(true)).collect::<String>();
        assert!(printed.contains("\u{1b}[31") && printed.contains("\u{1b}[32m日本"), "{printed:?}");
        assert!(!printed.contains(END) && !printed.contains(ROW), "{printed:?}");
    }
}
