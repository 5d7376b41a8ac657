//! The candidate's share of traffic over time, as a picture, and as a table for whoever cannot see it.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::policy::Percent;
use tidegate_core::words::span;
use tidegate_view::EntryView;

use crate::words::moment;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// The share from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    at: Timestamp,
    share: Percent,
}

/// The changes of the measured share; the first entry stands for none.
fn points(history: &[EntryView]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for entry in history {
        let share = entry.measured_percent.unwrap_or(Percent::NONE);
        if points.last().is_none_or(|last| last.share != share) {
            points.push(Point { at: entry.at, share });
        }
    }
    points
}

/// The picture and its table. `until` is now, or the release's end.
pub(crate) fn chart(history: &[EntryView], until: Timestamp) -> Markup {
    let points = points(history);
    let Some(first) = points.first() else {
        return html! { p.soft { "Nothing has been measured yet." } };
    };
    let last = points.last().unwrap_or(first);
    let until = until.max(last.at);
    let length = until.duration_since(first.at).as_secs_f64().max(1.0);
    let x =
        |at: Timestamp| LEFT + at.duration_since(first.at).as_secs_f64() / length * (WIDTH - LEFT - RIGHT);
    let y = |share: Percent| TOP + (100.0 - share.as_f64()) / 100.0 * (HEIGHT - TOP - BOTTOM);
    let line = steps(&points, until, x, y);
    let ground = y(Percent::NONE);
    let area = format!("{line} L{:.1} {ground:.1} L{:.1} {ground:.1} Z", x(until), x(first.at));
    let told = format!("now {}%, after {}", last.share, span(until.duration_since(first.at)));
    html! {
        svg viewBox={"0 0 " (WIDTH) " " (HEIGHT)} role="img" aria-labelledby="chart-title chart-told" {
            title #chart-title { "The new version's measured share of traffic over time" }
            desc #chart-told { (told) }
            @for share in [Percent::NONE, Percent::from_tenths(500), Percent::ALL] {
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(format!("{:.1}", y(share))) y2=(format!("{:.1}", y(share))) {}
                text x=(LEFT - 6.0) y=(format!("{:.1}", y(share) + 4.5)) text-anchor="end" { (share) " %" }
            }
            path.area d=(area) {}
            path.share d=(line) {}
            circle.end cx=(format!("{:.1}", x(until))) cy=(format!("{:.1}", y(last.share))) r="5" {}
            text x=(LEFT) y=(HEIGHT - 10.0) { (first.at.strftime("%H:%M:%S UTC")) }
            text x=(WIDTH - RIGHT) y=(HEIGHT - 10.0) text-anchor="end" { (until.strftime("%H:%M:%S UTC")) }
        }
        details {
            summary { "The same as a table" }
            table {
                caption { "The new version's share of traffic, from each moment on" }
                thead { tr { th scope="col" { "From" } th scope="col" { "Share" } } }
                tbody {
                    @for point in &points {
                        tr { td { (moment(point.at)) } td { (point.share) " %" } }
                    }
                }
            }
        }
    }
}

fn steps(
    points: &[Point],
    until: Timestamp,
    x: impl Fn(Timestamp) -> f64,
    y: impl Fn(Percent) -> f64,
) -> String {
    let mut path = String::new();
    for (index, point) in points.iter().enumerate() {
        let command = if index == 0 { "M" } else { "L" };
        if let Some(before) = index.checked_sub(1).map(|before| points[before]) {
            let _ = write!(path, " L{:.1} {:.1}", x(point.at), y(before.share));
        }
        let _ = write!(path, " {command}{:.1} {:.1}", x(point.at), y(point.share));
    }
    if let Some(last) = points.last() {
        let _ = write!(path, " L{:.1} {:.1}", x(until), y(last.share));
    }
    path.trim_start().to_owned()
}
