//! Words that several commands say the same way.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidegate_core::release::{Phase, Release};

use crate::render::Clock;

/// `main-3 (01m8btv6k2)`.
pub fn release(release: &Release) -> String {
    format!("{} ({})", release.change.label(), release.id.short())
}

/// Where a release is, without its cause.
pub fn summary(release: &Release) -> String {
    tidegate_view::summary(release)
}

/// `main-3 (01m8btv6k2) has ended: promoted at 11:58:53`; `None` while it is open.
pub fn ended(release: &Release, clock: &Clock) -> Option<String> {
    let Phase::Ended { outcome, at, .. } = &release.phase else { return None };
    Some(format!("{} has ended: {} at {}", self::release(release), outcome.word(), clock.time(*at)))
}

/// The reader's clock.
pub fn clock(now: Timestamp) -> Clock {
    Clock { now, zone: TimeZone::system() }
}

/// The name a mistyped one most likely means.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    near.filter(|(alike, _)| *alike > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_only_said_when_it_is_near() {
        let names = ["checkout", "search", "cart"];
        assert_eq!(nearest("chekout", names), Some("checkout"));
        assert_eq!(nearest("payments", names), None);
    }
}
