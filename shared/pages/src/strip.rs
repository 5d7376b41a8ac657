//! Marks, badges and the strip of stages: what is seen at a glance, always with a word or a shape beside the colour.

use maud::{Markup, html};
use tidegate_view::{AlarmView, StageState, StageView, State};

use crate::words;

/// A shape, drawn in the colour of the text around it. What it means always stands beside it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Done, good.
    Check,
    /// Broken off, failed.
    Cross,
    /// Here, now.
    Here,
    /// Still to come.
    Ring,
    /// Never reached.
    Dash,
    /// Taken back.
    Back,
    /// Waits.
    Wait,
}

/// The shape as a picture of one line of text.
pub(crate) fn mark(mark: Mark) -> Markup {
    let path = match mark {
        Mark::Check => "M3 8.5 L6.5 12 L13 4.5",
        Mark::Cross => "M4 4 L12 12 M12 4 L4 12",
        Mark::Here => "M5 3.5 L12 8 L5 12.5 Z",
        Mark::Ring => "M8 4 A4 4 0 1 1 7.99 4 Z",
        Mark::Dash => "M4 8 L12 8",
        Mark::Back => "M7 3.5 L3.5 7 L7 10.5 M3.5 7 L10 7 A3 3 0 0 1 10 13 L8 13",
        Mark::Wait => "M5.5 3.5 L5.5 12.5 M10.5 3.5 L10.5 12.5",
    };
    html! { svg.mark.full[mark == Mark::Here] viewBox="0 0 16 16" aria-hidden="true" focusable="false" { path d=(path) {} } }
}

/// Where a release is, in a word with its shape.
pub(crate) fn badge(state: State) -> Markup {
    let (tone, shape, word) = match state {
        State::Queued => ("", Mark::Wait, "queued"),
        State::Preflight => ("now", Mark::Here, "in preflight"),
        State::Running => ("now", Mark::Here, "under way"),
        State::RollingBack => ("stop", Mark::Back, "rolling back"),
        State::Settling => ("now", Mark::Here, "settling"),
        State::Promoted => ("go", Mark::Check, "promoted"),
        State::RolledBack => ("stop", Mark::Back, "rolled back"),
        State::Failed => ("stop", Mark::Cross, "failed"),
        State::Superseded => ("warn", Mark::Dash, "superseded"),
        State::Cancelled => ("warn", Mark::Dash, "cancelled"),
    };
    html! { span class={"badge " (tone)} { (mark(shape)) (word) } }
}

/// A short fact in a frame of its own.
pub(crate) fn chip(tone: &str, shape: Option<Mark>, text: &str) -> Markup {
    html! { li class={"chip " (tone)} { @if let Some(shape) = shape { (mark(shape)) } (text) } }
}

/// The stages side by side. Preparations are left out: they take moments.
pub(crate) fn strip(stages: &[StageView]) -> Markup {
    let shown = stages.iter().filter(|stage| !stage.stage.starts_with("prepare"));
    html! {
        ol.strip {
            @for stage in shown {
                @let (class, shape, word) = standing(stage.state);
                li class=(class) aria-current=[(stage.state == StageState::Now).then_some("step")] {
                    (mark(shape)) span { (short(stage)) } span.away { ", " (word) }
                }
            }
        }
    }
}

fn standing(state: StageState) -> (&'static str, Mark, &'static str) {
    let shape = match state {
        StageState::Done => Mark::Check,
        StageState::Now => Mark::Here,
        StageState::Ahead => Mark::Ring,
        StageState::BrokenOff => Mark::Cross,
        StageState::NotReached => Mark::Dash,
    };
    let class = match state {
        StageState::Done => "done",
        StageState::Now => "now",
        StageState::Ahead => "ahead",
        StageState::BrokenOff => "broken",
        StageState::NotReached => "never",
    };
    (class, shape, state_word(state))
}

/// How far a stage is, in words.
pub(crate) fn state_word(state: StageState) -> &'static str {
    match state {
        StageState::Done => "done",
        StageState::Now => "now",
        StageState::BrokenOff => "broken off",
        StageState::Ahead => "to come",
        StageState::NotReached => "not reached",
    }
}

/// How far a stage is: its shape and the word.
pub(crate) fn state(state: StageState) -> Markup {
    let (class, shape, word) = standing(state);
    html! { span class={"state " (class)} { (mark(shape)) (word) } }
}

/// A stage in a word or two.
fn short(stage: &StageView) -> String {
    match (stage.stage, stage.percent, stage.bake_secs) {
        ("shift", Some(percent), _) => format!("{percent}%"),
        (_, _, Some(secs)) => format!("bake {}", words::secs(secs.into())),
        ("approve", ..) => "approval".to_owned(),
        ("verify", ..) => "verification".to_owned(),
        ("freeze", ..) => "no freeze".to_owned(),
        ("roll_out", ..) => "roll out".to_owned(),
        (other, ..) => other.to_owned(),
    }
}

/// The alarms as they were seen last, in a few words; nothing where there are none.
pub(crate) fn alarms_chip(alarms: &[AlarmView]) -> Option<Markup> {
    let of = |state: &str| alarms.iter().filter(|alarm| alarm.state.as_deref() == Some(state)).count();
    let (off, fine, all) = (of("ALARM"), of("OK"), alarms.len());
    if all == 0 {
        return None;
    }
    Some(match (off, fine) {
        (0, fine) if fine == all => {
            chip("go", Some(Mark::Check), &format!("{} OK", words::count(all, "alarm", "alarms")))
        }
        (0, fine) if fine > 0 => {
            chip("warn", Some(Mark::Dash), &format!("{fine} of {} OK", words::count(all, "alarm", "alarms")))
        }
        (0, _) => chip("", Some(Mark::Ring), &format!("{} watched", words::count(all, "alarm", "alarms"))),
        (off, _) => chip(
            "stop",
            Some(Mark::Cross),
            &format!("{off} of {} went off", words::count(all, "alarm", "alarms")),
        ),
    })
}
