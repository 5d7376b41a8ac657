//! What changed between two looks at a release, for an output that cannot be written over: a log, a pipe.

use super::tree::deadline;
use super::{Clock, traffic, tree};
use crate::line::{Line, Tone};
use tidegate_view::{AlarmView, ReleaseView};

/// The lines to append. The first look is told as the whole tree; so is the end, without what was told before.
pub fn changes(before: Option<&ReleaseView>, now: &ReleaseView, clock: &Clock) -> Vec<Line> {
    let Some(before) = before else { return tree(now, clock, usize::MAX) };
    let mut lines: Vec<Line> = now
        .history
        .iter()
        .filter(|entry| !before.history.contains(entry))
        .map(|entry| {
            at(clock, entry.at)
                .add(Tone::Plain, entry.what.clone())
                .add(Tone::Faint, format!(": {}", entry.why))
        })
        .collect();
    if (before.set_percent, before.measured_percent) != (now.set_percent, now.measured_percent)
        && let Some(traffic) = traffic(now)
    {
        lines.push(at(clock, clock.now).add(Tone::Plain, format!("traffic: {traffic}")));
    }
    for alarm in &now.alarms {
        let old = before.alarms.iter().find(|old| old.name == alarm.name).and_then(|old| old.state.clone());
        // Of a release that has ended the alarms are not read any more.
        if old != alarm.state && !now.over {
            lines.push(turned(alarm, old, clock));
        }
    }
    if before.unseen != now.unseen {
        lines.extend(now.unseen.iter().map(|unseen| at(clock, clock.now).add(Tone::Warn, unseen.clone())));
    }
    if now.over && !before.over {
        lines.extend(tree(now, clock, 0));
    } else if before.next.what != now.next.what {
        let limit = if before.next.deadline == now.next.deadline { None } else { deadline(now, clock) };
        let limit = limit.map(|limit| format!(" ({limit})")).unwrap_or_default();
        lines.push(at(clock, clock.now).add(Tone::Faint, format!("next: {}{limit}", now.next.what)));
    }
    lines
}

fn at(clock: &Clock, at: jiff::Timestamp) -> Line {
    Line::of(Tone::Faint, format!("{}  ", clock.time(at)))
}

fn turned(alarm: &AlarmView, old: Option<String>, clock: &Clock) -> Line {
    let name = |state: Option<String>| state.unwrap_or_else(|| "not read".into());
    let state = name(alarm.state.clone());
    let tone = if state == "ALARM" { Tone::Bad } else { Tone::Plain };
    let reason = alarm.reason.as_ref().filter(|_| state != "OK").map(|reason| format!(": {reason}"));
    at(clock, clock.now)
        .add(tone, format!("alarm {}: {} → {state}", alarm.name, name(old)))
        .add(Tone::Plain, reason.unwrap_or_default())
}
