//! From when on a request is slow, where the policy does not say: the stable version's own 99th percentile of the last days.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Preflight;
use crate::finding::{Finding, FindingCode};
use crate::observation::{Needs, Observation};
use crate::policy::{Compare, Millis, Policy, Slow};
use crate::vocab::cloudwatch::{MetricsAsked, Series};

const DAY_SECS: i64 = 86_400;
/// So many whole days, and today.
const DAYS: i64 = 3;

fn is_open(compare: &Compare) -> bool {
    matches!(compare, Compare::Slow(Slow { over: None }))
}

fn asks(policy: &Policy) -> bool {
    policy.evidence.compare.iter().flatten().any(is_open)
}

/// The percentiles of everything the service has had traffic on. Both versions' groups are asked for: they change places.
fn series(seen: &Observation) -> BTreeSet<Series> {
    let rules = seen.elb.weights.known().into_iter().flatten();
    let groups = rules.flat_map(|rule| rule.weights.iter().map(move |(group, _)| (&rule.arn, group)));
    groups.filter_map(|(rule, group)| Series::response_time(rule, group, "p99")).collect()
}

/// What has to be read for it, once it is known where traffic goes.
pub(super) fn needs(policy: &Policy, seen: &Observation, needs: &mut Needs) {
    if !asks(policy) {
        return;
    }
    let series = series(seen);
    let midnight = seen.at.as_second().div_euclid(DAY_SECS) - DAYS;
    if let (false, Ok(from)) = (series.is_empty(), Timestamp::from_second(midnight * DAY_SECS)) {
        needs.metrics = Some(MetricsAsked { series, from, every_secs: 86_400 });
    }
}

/// The policy with what it leaves open filled in; as it is, where nothing is open or nothing could be counted anyway.
pub(super) fn filled<'p>(policy: &'p Policy, seen: &Observation) -> Result<Cow<'p, Policy>, Preflight> {
    if !asks(policy) || series(seen).is_empty() {
        return Ok(Cow::Borrowed(policy));
    }
    if let Some(error) = seen.metrics.error() {
        return Err(Preflight::CannotSee(vec![error.clone()]));
    }
    let days = seen.metrics.known().into_iter().flat_map(|seen| seen.values());
    let over = usual(days.flat_map(|points| points.values().copied()).collect()).ok_or_else(|| {
        let problem = "the policy compares slow requests and does not say from when on a request is slow, and the stable version has answered none in the last days".to_owned();
        Preflight::Blocked(vec![Finding::blocking(FindingCode::NothingIsSlowYet, problem)])
    })?;
    let mut policy = policy.clone();
    for compare in policy.evidence.compare.iter_mut().flatten().filter(|compare| is_open(compare)) {
        *compare = Compare::Slow(Slow { over: Some(over) });
    }
    Ok(Cow::Owned(policy))
}

/// The middle one of some percentiles in seconds, so that one bad day does not count, in two digits: the plan says it.
fn usual(mut percentiles: Vec<f64>) -> Option<Millis> {
    percentiles.retain(|secs| *secs > 0.0);
    percentiles.sort_by(f64::total_cmp);
    let middle = percentiles.get(percentiles.len() / 2)? * 1000.0;
    let unit = 10_f64.powf((middle.log10().floor() - 1.0).max(0.0));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before")]
    let millis = ((middle / unit).ceil() * unit).clamp(1.0, 60_000.0) as u32;
    Millis::new(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_percentile_is_that_of_no_single_day() {
        let told = |secs: &[f64]| usual(secs.to_vec()).map(|millis| millis.to_string());
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[0.0]), None);
        assert_eq!(told(&[0.4213]).as_deref(), Some("430ms"));
        assert_eq!(told(&[0.41, 9.0, 0.40]).as_deref(), Some("410ms"));
        assert_eq!(told(&[0.0021]).as_deref(), Some("3ms"));
        assert_eq!(told(&[0.00001]).as_deref(), Some("1ms"));
        assert_eq!(told(&[2.04]).as_deref(), Some("2100ms"));
        assert_eq!(told(&[900.0]).as_deref(), Some("60s"));
    }
}
