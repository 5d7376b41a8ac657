//! Times and states as people read them.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::approval::ApprovalGate;
use tidegate_core::intent::Provenance;
use tidegate_core::policy::{OnExpiry, Span};

use crate::console;

/// A moment, to the second, in UTC: approvers are in many time zones, and without script the page knows none of them.
pub(crate) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// What happens when nobody decides in time.
pub(crate) fn on_expiry(gate: &ApprovalGate) -> &'static str {
    match gate.approval.on_expiry {
        OnExpiry::Reject => "the release is rejected",
        OnExpiry::Approve => "the release continues as if it had been approved",
    }
}

/// Seconds as the policy would write them.
pub(crate) fn secs(secs: u64) -> String {
    u32::try_from(secs)
        .ok()
        .and_then(Span::from_secs)
        .map_or_else(|| format!("{secs}s"), |span| span.to_string())
}

/// Plural or not.
pub(crate) fn count(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// How long ago, with the moment itself for whoever asks: `3h 5m ago`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let text = format!("{} ago", tidegate_core::words::span(now.duration_since(at)));
    html! { time datetime=(at) title=(at.strftime("%Y-%m-%d %H:%M:%S UTC")) { (text) } }
}

/// A time of the day in UTC; with the day where it is another one.
pub(crate) fn clock(at: Timestamp, now: Timestamp) -> Markup {
    let same_day = now.strftime("%F").to_string() == at.strftime("%F").to_string();
    html! { time datetime=(at) { (at.strftime(if same_day { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M UTC" })) } }
}

/// A commit as people write it.
pub(crate) fn commit(commit: &str) -> Markup {
    let hexadecimal = commit.len() > 12 && commit.chars().all(|c| c.is_ascii_hexdigit());
    html! { code { @if hexadecimal { (&commit[..8]) } @else { (tidegate_core::text::beginning(commit, 40)) } } }
}

/// Where an image comes from, as far as was said.
pub(crate) fn provenance(provenance: &Provenance) -> Markup {
    html! {
        @if let Some(author) = &provenance.author { dt { "Made by" } dd { (author) } }
        @if let Some(made_from) = &provenance.commit {
            dt { "Commit" }
            dd { @match console::commit(provenance) { Some(page) => { a href=(page) rel="noreferrer" { (commit(made_from)) } } None => { code { (made_from) } } } }
        }
        @if let Some(url) = &provenance.url {
            dt { "Build" }
            // Whoever started the release wrote this; anything but a web address would be a link that runs something.
            dd { @if is_web(url) { a href=(url) rel="noopener noreferrer nofollow" { (url) } } @else { (url) } }
        }
    }
}

/// Whether it is a web address.
pub(crate) fn is_web(url: &str) -> bool {
    let scheme = url.get(..8).or_else(|| url.get(..7)).unwrap_or_default().to_ascii_lowercase();
    scheme.starts_with("https://") || scheme.starts_with("http://")
}
