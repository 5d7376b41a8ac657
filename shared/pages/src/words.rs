//! Times and states as people read them.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::approval::ApprovalGate;
use tidegate_core::policy::{OnExpiry, Span};

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
