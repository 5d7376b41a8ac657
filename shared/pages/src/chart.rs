//! The candidate's share of traffic over time, as a picture, and as a table for whoever cannot see it: what was set, what was measured, and what
//! happened when.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use tidegate_core::history::Event;
use tidegate_core::outcome::Cause;
use tidegate_core::plan::Stage;
use tidegate_core::policy::Percent;
use tidegate_core::words::span;
use tidegate_view::EntryView;

use crate::words::{clock, moment};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 264.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 34.0;
/// So much of the picture stands before traffic first moves.
const LEAD: f64 = 0.06;

/// The share from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    at: Timestamp,
    share: Percent,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
struct Marker {
    at: Timestamp,
    kind: Kind,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Step,
    Breach,
    Back,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Breach => "breach",
            Self::Back => "back",
        }
    }
}

/// What the history tells of traffic.
#[derive(Debug, Default)]
struct Told {
    measured: Vec<Point>,
    set: Vec<Point>,
    markers: Vec<Marker>,
}

impl Told {
    fn of(history: &[EntryView]) -> Self {
        let mut told = Self::default();
        for entry in history {
            push(&mut told.measured, entry.at, entry.measured_percent.unwrap_or(Percent::NONE));
            let mut mark = |kind, text: String| told.markers.push(Marker { at: entry.at, kind, text });
            if let Event::Shifting { percent } = &entry.event {
                push(&mut told.set, entry.at, *percent);
            } else if let Event::StageDone { stage: Stage::Shift { percent }, .. } = &entry.event {
                mark(Kind::Step, format!("{percent}% reached"));
            } else if let Event::RollingBack { cause } = &entry.event {
                push(&mut told.set, entry.at, Percent::NONE);
                mark(Kind::Breach, breach(cause));
            } else if let Event::WouldRollBack { cause } = &entry.event {
                mark(
                    Kind::Breach,
                    format!("a dry run: {}", breach(cause).replace("rollback begins", "nothing is done")),
                );
            } else if matches!(entry.event, Event::Answered { approved: true, .. }) {
                mark(Kind::Step, "approved".to_owned());
            } else if matches!(entry.event, Event::TrafficRestored) {
                mark(Kind::Back, "traffic is back".to_owned());
            }
        }
        told
    }

    /// When traffic was first to move.
    fn begins(&self) -> Option<Timestamp> {
        let moves =
            |points: &[Point]| points.iter().find(|point| point.share > Percent::NONE).map(|point| point.at);
        [moves(&self.set), moves(&self.measured)].into_iter().flatten().min()
    }
}

fn push(points: &mut Vec<Point>, at: Timestamp, share: Percent) {
    if points.last().is_none_or(|last| last.share != share) {
        points.push(Point { at, share });
    }
}

fn breach(cause: &Cause) -> String {
    if let Cause::Alarm { alarm, .. } = cause {
        format!("alarm {alarm} went off, rollback begins")
    } else if let Cause::Regression { measured, .. } = cause {
        format!("{} worse than the stable version's, rollback begins", measured.of)
    } else if let Cause::Limit { passed } = cause {
        format!("{} passed its limit, rollback begins", passed.metric)
    } else {
        "rollback begins".to_owned()
    }
}

/// The frame of the picture: which moment and which share is where.
struct Scale {
    from: Timestamp,
    secs: f64,
}

impl Scale {
    fn x(&self, at: Timestamp) -> f64 {
        let passed = at.duration_since(self.from).as_secs_f64().clamp(0.0, self.secs);
        LEFT + passed / self.secs * (WIDTH - LEFT - RIGHT)
    }

    fn y(share: Percent) -> f64 {
        TOP + (100.0 - share.as_f64()) / 100.0 * (HEIGHT - TOP - BOTTOM)
    }

    /// The line of shares, each held until the next.
    fn line(&self, points: &[Point], until: Timestamp) -> String {
        let mut path = format!("M{:.1} {:.1}", self.x(self.from), Self::y(share_at(points, self.from)));
        let mut last = share_at(points, self.from);
        for point in points.iter().filter(|point| point.at > self.from) {
            let x = self.x(point.at);
            let _ = write!(path, " L{x:.1} {:.1} L{x:.1} {:.1}", Self::y(last), Self::y(point.share));
            last = point.share;
        }
        let _ = write!(path, " L{:.1} {:.1}", self.x(until), Self::y(last));
        path
    }
}

fn share_at(points: &[Point], at: Timestamp) -> Percent {
    points.iter().rev().find(|point| point.at <= at).map_or(Percent::NONE, |point| point.share)
}

/// The section with the picture and its table. `until` is now, or the release's end.
pub(crate) fn chart(history: &[EntryView], until: Timestamp) -> Markup {
    let told = Told::of(history);
    html! {
        section aria-labelledby="traffic" {
            h2 #traffic { "Traffic of the new version" }
            @match told.begins() {
                Some(begins) => { (picture(&told, begins, until.max(begins))) (table(&told, until)) }
                None => { p.soft { "No traffic has moved yet." } }
            }
        }
    }
}

fn picture(told: &Told, begins: Timestamp, until: Timestamp) -> Markup {
    let shown = until.duration_since(begins).as_secs_f64().max(1.0);
    let lead = SignedDuration::try_from_secs_f64(shown * LEAD).unwrap_or_default();
    let scale = Scale { from: begins.saturating_sub(lead).unwrap_or(begins), secs: shown * (1.0 + LEAD) };
    let last = share_at(&told.measured, until);
    let line = scale.line(&told.measured, until);
    let ground = Scale::y(Percent::NONE);
    let area = format!("{line} L{:.1} {ground:.1} L{:.1} {ground:.1} Z", scale.x(until), scale.x(scale.from));
    let desc = format!(
        "measured {last}% at the end, {} after traffic first moved",
        span(until.duration_since(begins))
    );
    html! {
        svg.chart viewBox={"0 0 " (WIDTH) " " (HEIGHT)} role="img" aria-labelledby="chart-title chart-told" {
            title #chart-title { "The new version's share of traffic over time, set and measured" }
            desc #chart-told { (desc) }
            @for share in [Percent::NONE, Percent::from_tenths(500), Percent::ALL] {
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(format!("{:.1}", Scale::y(share))) y2=(format!("{:.1}", Scale::y(share))) {}
                text x=(LEFT - 6.0) y=(format!("{:.1}", Scale::y(share) + 4.5)) text-anchor="end" { (share) " %" }
            }
            path.area d=(area) {}
            @if !told.set.is_empty() { path.set d=(scale.line(&told.set, until)) {} }
            path.share d=(line) {}
            (markers(told, &scale))
            circle.end cx=(format!("{:.1}", scale.x(until))) cy=(format!("{:.1}", Scale::y(last))) r="5" {}
            text x=(LEFT) y=(HEIGHT - 10.0) { (scale.from.strftime("%H:%M:%S UTC")) }
            text x=(WIDTH - RIGHT) y=(HEIGHT - 10.0) text-anchor="end" { (until.strftime("%H:%M:%S UTC")) }
        }
        p.legend.small { span.key.measured {} " measured " span.key.set {} " set" }
        @if !told.markers.is_empty() {
            ol.markers.small {
                @for (index, marker) in told.markers.iter().enumerate() {
                    li { span class={"number " (marker.kind.class())} { (index + 1) } " " (clock(marker.at, until)) " " (marker.text) }
                }
            }
        }
    }
}

/// Numbered lines; two rows of numbers, so that what happened within seconds does not cover itself.
fn markers(told: &Told, scale: &Scale) -> Markup {
    html! {
        @for (index, marker) in told.markers.iter().enumerate() {
            @let x = format!("{:.1}", scale.x(marker.at));
            @let y = if index % 2 == 0 { 17.0 } else { 38.0 };
            g class={"marker " (marker.kind.class())} {
                line x1=(x) x2=(x) y1=(y) y2=(format!("{:.1}", Scale::y(Percent::NONE))) {}
                circle cx=(x) cy=(y) r="9" {}
                text x=(x) y=(y) dy=".35em" text-anchor="middle" { (index + 1) }
            }
        }
    }
}

fn table(told: &Told, until: Timestamp) -> Markup {
    let mut moments: Vec<Timestamp> = told.measured.iter().chain(&told.set).map(|point| point.at).collect();
    moments.sort();
    moments.dedup();
    html! {
        details {
            summary { "The same as a table" }
            table {
                caption { "The new version's share of traffic, from each moment on" }
                thead { tr { th scope="col" { "From" } th scope="col" { "Set" } th scope="col" { "Measured" } } }
                tbody {
                    @for at in moments.into_iter().filter(|at| *at <= until) {
                        tr { td { (moment(at)) } td { (share_at(&told.set, at)) " %" } td { (share_at(&told.measured, at)) " %" } }
                    }
                }
            }
        }
    }
}
