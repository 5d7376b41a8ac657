//! The verdicts of a release, decided again.

use super::Clock;
use crate::line::{Line, Tone};
use tidegate_view::{ComparisonView, ReplayView, VerdictView};

const TIME: usize = 10;

/// Each verdict with what was counted by then.
pub fn replay(view: &ReplayView, clock: &Clock) -> Vec<Line> {
    let mut lines = vec![Line::plain("release ").add(Tone::Strong, view.release.to_string()).add(
        Tone::Plain,
        format!(", {} times tolerated, false alarms {}%", view.tolerate, view.false_alarms * 100.0),
    )];
    if view.verdicts.is_empty() {
        lines.push(Line::plain("  nothing was counted of both versions"));
    }
    for verdict in &view.verdicts {
        lines.extend(one(verdict, view.as_it_was, clock));
    }
    lines.push(match (view.rolled_back_at, view.as_it_was, view.same) {
        (_, true, Some(false)) => {
            Line::of(Tone::Bad, "the history says something else than what was decided then")
        }
        (Some(at), true, _) => {
            Line::plain(format!("the same answers as then: rolled back at {}", clock.time(at)))
        }
        (None, true, _) => Line::plain("the same answers as then: nothing was worse than is tolerated"),
        (Some(at), false, _) => Line::plain(format!("it would have been rolled back at {}", clock.time(at))),
        (None, false, _) => Line::plain("it would not have been rolled back by what is compared"),
    });
    lines
}

fn one(verdict: &VerdictView, as_it_was: bool, clock: &Clock) -> Vec<Line> {
    let windows =
        if verdict.windows == 1 { "1 window".to_owned() } else { format!("{} windows", verdict.windows) };
    let head = Line::plain("  ")
        .column(Tone::Faint, &clock.time(verdict.at), TIME)
        .add(Tone::Plain, format!("{}, {windows} more", verdict.what));
    let told = verdict.told.iter().zip(&verdict.again).map(|(then, now)| comparison(then, now, as_it_was));
    std::iter::once(head).chain(told).collect()
}

fn comparison(then: &ComparisonView, now: &ComparisonView, as_it_was: bool) -> Line {
    let word = |it: &ComparisonView| if it.is_bad { ("worse", Tone::Bad) } else { ("not worse", Tone::Good) };
    let ratio = now.ratio_words.as_ref().map(|ratio| format!(", {ratio}")).unwrap_or_default();
    let line = Line::plain("  ")
        .column(Tone::Faint, "", TIME)
        .add(Tone::Plain, format!("{} {} against {}{ratio}: ", now.of, now.candidate.rate, now.stable.rate))
        .add(word(now).1, word(now).0);
    if as_it_was { line } else { line.add(Tone::Faint, format!(" (then: {})", word(then).0)) }
}
