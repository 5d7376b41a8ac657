//! What is said of a release's numbers before it starts, from the traffic of the last day.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::forecast::{Forecast, asked, forecast};
use tidegate_core::plan::Plan;
use tidegate_core::vocab::cloudwatch::MetricsSeen;
use tidegate_testkit::build::Fixture;

fn plan() -> (Plan, Timestamp) {
    let fixture = Fixture::baking(10);
    (fixture.release.plan.expect("a plan"), fixture.now)
}

/// A day of traffic: so many requests a second in each hour, of which so many of a thousand are bad.
fn day(plan: &Plan, now: Timestamp, requests_per_sec: impl Fn(i64) -> f64, bad: f64) -> Option<Forecast> {
    let (asked, until) = asked(plan, now).expect("a load balancer counts");
    assert_eq!(until.duration_since(asked.from), SignedDuration::from_hours(24));
    let evidence = plan.evidence.as_deref().expect("it is judged by numbers");
    let mut seen = MetricsSeen::new();
    // The stable version has all of it.
    let stable = &evidence.comparisons[0].stable;
    for (series, of) in [(&stable.requests[0], 1.0), (&stable.bad[0], bad / 1000.0)] {
        assert!(asked.series.contains(series));
        let hour = |number: i64| {
            let at = asked.from.saturating_add(SignedDuration::from_hours(number)).expect("within range");
            Some((at, requests_per_sec(number) * 3600.0 * of)).filter(|(_, value)| *value > 0.0)
        };
        seen.insert(series.clone(), (0..24).filter_map(hour).collect::<BTreeMap<_, _>>());
    }
    forecast(plan, &seen, until)
}

#[test]
fn a_steady_service_is_told_what_its_bakes_see_and_how_soon_regressions_are_found() {
    let (plan, now) = plan();
    let told = day(&plan, now, |_| 100.0, 1.0).unwrap();
    assert!((told.traffic.average - 100.0).abs() < 1e-9 && (told.traffic.quietest - 100.0).abs() < 1e-9);
    let canary = told.bakes[0];
    assert!((canary.requests - 3000.0).abs() < 1e-6, "{canary:?}");
    assert_eq!((canary.held_secs, canary.held_secs_when_quiet), (Some(0), Some(0)));
    let errors = &told.comparisons[0];
    assert!((errors.rate - 0.001).abs() < 1e-9);
    let found: Vec<_> = errors.regressions.iter().map(|it| (it.ratio, it.found_after_secs)).collect();
    assert_eq!(found.len(), 3);
    assert!(found[0].1.is_some_and(|after| after <= 300.0), "ten times as many: {found:?}");
    assert!(found[2].1.is_none(), "twice as many in five minutes at 10%: {found:?}");
    assert!(told.reads.calls > 0 && told.reads.metrics >= told.reads.calls && told.reads.usd < 0.01);
}

#[test]
fn nights_and_little_traffic_are_named() {
    let (plan, now) = plan();
    let nights = day(&plan, now, |hour| if hour < 8 { 0.001 } else { 100.0 }, 1.0).unwrap();
    assert_eq!((nights.bakes[0].held_secs, nights.bakes[0].held_secs_when_quiet), (Some(0), None));
    let little = day(&plan, now, |_| 1.0, 1.0).unwrap();
    assert!(little.bakes[0].held_secs.is_some_and(|secs| secs > 300), "{:?}", little.bakes[0]);
    let tiny = day(&plan, now, |_| 0.1, 1.0).unwrap();
    assert_eq!(tiny.bakes[0].held_secs, None);
}

#[test]
fn hours_without_a_request_count_and_those_before_the_first_do_not() {
    let (plan, now) = plan();
    let young = day(&plan, now, |hour| if hour < 22 { 0.0 } else { 100.0 }, 1.0).unwrap();
    assert!((young.traffic.average - 100.0).abs() < 1e-9, "{:?}", young.traffic);
    let gap = day(&plan, now, |hour| if hour == 12 { 0.0 } else { 24.0 }, 1.0).unwrap();
    assert!((gap.traffic.average - 23.0).abs() < 1e-9 && gap.traffic.quietest == 0.0, "{:?}", gap.traffic);
    assert_eq!(day(&plan, now, |_| 0.0, 1.0), None);
}

#[test]
fn what_needs_nothing_reaches_it_and_what_is_not_judged_is_not_asked_for() {
    let (mut plan, now) = plan();
    plan.evidence.as_mut().unwrap().min_requests = 0;
    let told = day(&plan, now, |_| 0.001, 1.0).unwrap();
    assert!(told.bakes.iter().all(|bake| bake.held_secs == Some(0)));
    plan.evidence = None;
    assert!(asked(&plan, now).is_none());
}
