//! Words that everything says the same way: spans of time, who asked, what a failed call means.

use jiff::SignedDuration;

/// A span of time in its two largest units, `1h 30m`; never below zero, and rounded up: what has `0s` left is over.
pub fn span(duration: SignedDuration) -> String {
    let mut secs = duration.as_secs().max(0);
    if duration.is_positive() && duration.subsec_nanos() > 0 {
        secs += 1;
    }
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        if secs >= size {
            parts.push(format!("{}{unit}", secs / size));
            secs %= size;
        } else if !parts.is_empty() {
            // The second unit is none: `1h`, not `1h 5s`.
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// How long a bake takes, as a policy says it: `10m`.
pub(crate) fn bake_span(secs: u32) -> String {
    crate::policy::Span::from_secs(secs).map_or_else(|| format!("{secs}s"), |span| span.to_string())
}

/// `1 task`, `3 tasks`.
pub(crate) fn tasks(count: u32) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}

/// A rate in percent, in two digits that mean something: `1.0%`, `0.09%`.
pub fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    let digits = if percent == 0.0 || percent >= 10.0 {
        0
    } else if percent >= 1.0 {
        1
    } else {
        2
    };
    format!("{percent:.digits$}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told = |millis: i64| span(SignedDuration::from_millis(millis));
        assert_eq!(told(-5000), "0s");
        assert_eq!(told(-500), "0s");
        assert_eq!(told(0), "0s");
        assert_eq!(told(400), "1s");
        assert_eq!(told(60_000), "1m");
        assert_eq!(told(3_605_000), "1h");
        assert_eq!(told(3_723_000), "1h 2m");
        assert_eq!(told(90_000_000), "1d 1h");
    }
}
