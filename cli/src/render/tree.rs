//! The live tree of a release.

use tidegate_core::history::{Deadline, DeadlineAction};

use super::{Clock, span, tone, traffic, word};
use crate::line::{Line, Tone};
use tidegate_view::{AlarmView, ComparisonView, FailedTaskView, ReleaseView, StageState, StageView, State};

/// As wide as the names beside the tree.
const LABEL: usize = 9;
const STAGE: usize = 34;

/// The tree, with the newest `history` entries below it.
pub fn tree(view: &ReleaseView, clock: &Clock, history: usize) -> Vec<Line> {
    let mut lines = head(view, clock);
    lines.extend(view.stages.iter().map(|stage| self::stage(stage, clock)));
    lines.extend(rest(view, clock));
    lines.extend(newest(view, clock, history));
    lines
}

/// The tree in at most `rows` lines: first the history gives way, then the stages farthest from the current one.
pub fn fitted(view: &ReleaseView, clock: &Clock, rows: usize) -> Vec<Line> {
    let (mut lines, rest) = (head(view, clock), rest(view, clock));
    let room = rows.saturating_sub(lines.len() + rest.len());
    lines.extend(folded(&view.stages, clock, room));
    lines.extend(rest);
    let room = rows.saturating_sub(lines.len());
    lines.extend(newest(view, clock, room));
    lines.truncate(rows);
    lines
}

/// The stages in at most `room` lines, those around the current one.
fn folded(stages: &[StageView], clock: &Clock, room: usize) -> Vec<Line> {
    if stages.len() <= room {
        return stages.iter().map(|stage| self::stage(stage, clock)).collect();
    }
    let current = stages.iter().position(|stage| stage.state != StageState::Done).unwrap_or(stages.len());
    let shown = room.saturating_sub(2).max(1);
    let first = current.saturating_sub(shown / 2).min(stages.len().saturating_sub(shown));
    let after = stages.len().saturating_sub(first + shown);
    let more = |count: usize, which: &str| Line::of(Tone::Faint, format!("  … {count} stages {which}"));
    let mut lines = Vec::new();
    lines.extend((first > 0).then(|| more(first, "before")));
    lines.extend(stages.iter().skip(first).take(shown).map(|stage| self::stage(stage, clock)));
    lines.extend((after > 0).then(|| more(after, "after")));
    lines
}

/// Everything below the stages but the history.
fn rest(view: &ReleaseView, clock: &Clock) -> Vec<Line> {
    let mut lines = back(view, clock);
    if let Some(traffic) = traffic(view) {
        lines.push(label("traffic").add(Tone::Plain, traffic));
    }
    if !view.over {
        lines.extend(approvals(view, clock));
        lines.extend(alarms(&view.alarms, clock));
    }
    lines.extend(comparisons(&view.comparisons));
    lines.extend(failed_tasks(&view.failed_tasks, clock));
    lines.extend(view.unseen.iter().map(|unseen| label("unseen").add(Tone::Warn, unseen.clone())));
    lines.extend(ending(view, clock));
    lines
}

fn label(name: &str) -> Line {
    Line::plain("  ").column(Tone::Faint, name, LABEL)
}

fn head(view: &ReleaseView, clock: &Clock) -> Vec<Line> {
    let mut lines = vec![
        Line::plain("release ")
            .add(Tone::Strong, view.release.to_string())
            .add(Tone::Plain, format!(" of {}: ", view.service))
            .add(tone(view.state), word(view.state)),
        label(if view.images.single().is_some() { "image" } else { "images" })
            .add(Tone::Plain, view.images.to_string()),
        label("to").add(Tone::Plain, view.target.to_string()),
        label("asked by").add(Tone::Plain, format!("{}, {}", view.requested_by, clock.time(view.created_at))),
    ];
    if let Some(to) = &view.goes_back_to {
        lines.push(label("intent").add(Tone::Plain, format!("goes back to release {to}")));
    }
    lines
}

fn stage(stage: &StageView, clock: &Clock) -> Line {
    let (mark, tone) = match stage.state {
        StageState::Done => ("✓", Tone::Good),
        StageState::Now => ("▶", Tone::Now),
        StageState::Ahead => ("·", Tone::Faint),
        StageState::BrokenOff => ("✗", Tone::Bad),
        StageState::NotReached => ("-", Tone::Faint),
    };
    let text_tone = if stage.state == StageState::Now { Tone::Strong } else { Tone::Plain };
    let line = Line::plain("  ").add(tone, mark).add(Tone::Plain, " ").column(text_tone, &stage.text, STAGE);
    match (stage.state, stage.since, stage.done_at) {
        (StageState::Now, Some(since), _) => {
            let line = line.add(Tone::Plain, format!("since {} ({})", clock.time(since), clock.since(since)));
            match stage.bake_ends_at {
                Some(ends) if ends > clock.now => {
                    line.add(Tone::Strong, format!(", {} left", clock.until(ends)))
                }
                Some(_) => line.add(Tone::Strong, ", over"),
                None => line,
            }
        }
        (_, _, Some(done)) => line.add(Tone::Faint, clock.time(done)),
        (_, _, None) => line,
    }
}

fn back(view: &ReleaseView, clock: &Clock) -> Vec<Line> {
    let Some(back) = &view.back else { return Vec::new() };
    let to = back.to.as_deref().unwrap_or("the stable version");
    let since = back.since.map(|since| format!(", since {}", clock.time(since))).unwrap_or_default();
    let (mark, mark_tone) =
        if view.state == State::RollingBack { ("▶", Tone::Now) } else { ("✓", Tone::Good) };
    let mark = if view.state == State::Failed { ("✗", Tone::Bad) } else { (mark, mark_tone) };
    let mut lines = vec![
        Line::plain("  ")
            .add(mark.1, mark.0)
            .add(Tone::Bad, " rollback")
            .add(Tone::Plain, format!(" to {to}{since}")),
    ];
    let restored = match (back.restored_at, back.since) {
        (Some(at), Some(since)) => {
            let took = span(at.duration_since(since));
            Some(("✓", Tone::Good, format!("traffic is back since {}, after {took}", clock.time(at))))
        }
        (Some(at), None) => Some(("✓", Tone::Good, format!("traffic is back since {}", clock.time(at)))),
        (None, _) if view.state == State::RollingBack => {
            Some(("▶", Tone::Now, "traffic is being moved back".to_owned()))
        }
        (None, _) => None,
    };
    lines.extend(
        restored.map(|(mark, tone, text)| {
            Line::plain("    ").add(tone, mark).add(Tone::Plain, format!(" {text}"))
        }),
    );
    lines
}

/// The approvals that are waited for or were given, each with its answers.
fn approvals(view: &ReleaseView, clock: &Clock) -> Vec<Line> {
    let mut lines = Vec::new();
    for approval in &view.approvals {
        let yes = approval.votes.iter().filter(|vote| vote.approved).count();
        let state = if yes >= usize::from(approval.count) { Tone::Good } else { Tone::Warn };
        let asked = format!(
            "{yes} of {} before {}, asked {}",
            approval.count,
            approval.before,
            approval.approvers.join(", ")
        );
        lines.push(
            label("approval")
                .add(state, asked)
                .add(Tone::Faint, format!(", until {}", clock.time(approval.expires_at))),
        );
        lines.extend(approval.votes.iter().map(|vote| {
            let (mark, tone) = if vote.approved { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
            let comment = vote.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
            label("")
                .add(tone, mark)
                .add(Tone::Plain, format!(" {} {}", vote.approver, clock.time(vote.at)))
                .add(Tone::Plain, comment)
        }));
    }
    lines
}

fn alarms(alarms: &[AlarmView], clock: &Clock) -> Vec<Line> {
    alarms
        .iter()
        .enumerate()
        .map(|(index, alarm)| {
            let line = label(if index == 0 { "alarms" } else { "" });
            let (mark, tone) = match (alarm.state.as_deref(), &alarm.silenced) {
                (Some("OK"), _) => ("✓", Tone::Good),
                (Some("ALARM"), None) => ("✗", Tone::Bad),
                (_, _) => ("?", Tone::Warn),
            };
            let line = line.add(tone, mark).add(Tone::Plain, format!(" {} ", alarm.name));
            let line = line.add(tone, alarm.state.clone().unwrap_or_else(|| "not read".into()));
            let line = match alarm.since {
                Some(since) => line.add(Tone::Faint, format!(" since {}", clock.time(since))),
                None => line,
            };
            match (&alarm.silenced, &alarm.reason) {
                (Some(by), _) => line.add(Tone::Warn, format!(", silenced: {by}")),
                (None, Some(reason)) if alarm.state.as_deref() != Some("OK") && !reason.is_empty() => {
                    line.add(Tone::Plain, format!(": {reason}"))
                }
                (None, _) => line,
            }
        })
        .collect()
}

/// The candidate's numbers beside the stable version's.
fn comparisons(comparisons: &[ComparisonView]) -> Vec<Line> {
    let line = |(index, it): (usize, &ComparisonView)| {
        let (mark, tone) = match (it.is_bad, it.candidate.requests > 0.0) {
            (true, _) => ("✗", Tone::Bad),
            (false, true) => ("✓", Tone::Good),
            (false, false) => ("·", Tone::Faint),
        };
        let ratio = it.ratio_words.as_ref().map(|ratio| format!(", {ratio}")).unwrap_or_default();
        let dry = if it.dry_run { ", a dry run" } else { "" };
        label(if index == 0 { "compared" } else { "" })
            .add(tone, mark)
            .add(Tone::Plain, format!(" {} ", it.of))
            .add(tone, it.candidate.rate.clone())
            .add(Tone::Plain, format!(" against {}{ratio}", it.stable.rate))
            .add(Tone::Faint, format!("; {} times is tolerated{dry}", it.tolerated))
    };
    comparisons.iter().enumerate().map(line).collect()
}

/// The newest tasks of the candidate that failed.
fn failed_tasks(failed: &[FailedTaskView], clock: &Clock) -> Vec<Line> {
    const SHOWN: usize = 3;
    let mut lines = Vec::new();
    for (index, task) in failed.iter().rev().take(SHOWN).enumerate() {
        let name = match (index, failed.len()) {
            (0, 1) => "1 failed".to_owned(),
            (0, count) => format!("{count} failed"),
            (_, _) => String::new(),
        };
        let at = task.at.map(|at| format!("{} ", clock.time(at))).unwrap_or_default();
        lines.push(label(&name).add(Tone::Faint, at).add(Tone::Bad, format!("task: {}", task.text)));
    }
    if let Some(log) = failed.last().and_then(|task| task.log_url.as_ref()) {
        lines.push(label("log").add(Tone::Plain, log.clone()));
    }
    lines
}

/// Until when what happens next may take.
pub(super) fn deadline(view: &ReleaseView, clock: &Clock) -> Option<String> {
    let Deadline { at, then } = view.next.deadline.as_ref()?;
    let limit = format!("{} at {} at the latest", then.words(), clock.time(*at));
    Some(match then {
        DeadlineAction::RollBack => format!("{limit}, or now: tidegate rollback {}", view.service),
        DeadlineAction::End => format!("{limit}, or now: tidegate cancel {}", view.service),
        DeadlineAction::Continue | DeadlineAction::ManualIntervention => limit,
    })
}

/// What happens next, or how it ended and what is needed.
fn ending(view: &ReleaseView, clock: &Clock) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(because) = &view.because {
        lines.push(label("because").add(Tone::Plain, because.clone()));
    }
    if let Some(needs) = &view.needs {
        lines.push(label("needed").add(Tone::Bad, needs.clone()));
    }
    lines.push(match (view.ended_at, view.next.at) {
        (Some(at), _) => {
            let took = span(at.duration_since(view.created_at));
            label("ended").add(Tone::Plain, format!("{}, after {took}", clock.time(at)))
        }
        (None, Some(at)) => {
            let when = if at > clock.now {
                format!("in {} at the latest", clock.until(at))
            } else {
                "any moment".to_owned()
            };
            label("next").add(Tone::Plain, format!("{} (looks again {when})", view.next.what))
        }
        (None, None) => label("next").add(Tone::Plain, view.next.what.clone()),
    });
    lines.extend(deadline(view, clock).map(|limit| label("limit").add(Tone::Plain, limit)));
    lines
}

fn newest(view: &ReleaseView, clock: &Clock, count: usize) -> Vec<Line> {
    let skipped = view.history.len().saturating_sub(count);
    let mut lines = Vec::new();
    for (index, entry) in view.history.iter().skip(skipped).enumerate() {
        lines.push(
            label(if index == 0 { "history" } else { "" })
                .add(Tone::Faint, format!("{} ", clock.time(entry.at)))
                .add(Tone::Plain, entry.what.clone())
                .add(Tone::Faint, format!(": {}", entry.why)),
        );
    }
    lines
}
