//! Zero traffic is no proof: a bake in which too few requests were seen holds, and is rolled back in the end.

use tidegate_core::decide::needs;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{DeadlineAction, Missing};
use tidegate_core::outcome::Cause;
use tidegate_core::plan::Stage;
use tidegate_core::seen::Seen;
use tidegate_testkit::build::Fixture;
use tidegate_testkit::fakes::{Balancing, Quality};
use tidegate_testkit::sim::{Scenario, Simulation};

fn stage(fixture: &Fixture) -> String {
    fixture.decide().release.summary()
}

const BAKES: &str = "bake at 10% for 5m";

#[test]
fn a_bake_without_enough_requests_holds_and_says_so() {
    let held = Fixture::baking(10).requests(12).later(300);
    assert_eq!(stage(&held), BAKES);
    let report = held.decide().release.report;
    assert_eq!(report.waiting_on.to_string(), "the bake is over but held: 12 of 100 requests seen");
    let missing = Missing::Requests { seen: 12, needed: 100, error: None };
    assert!(report.facts.contains(&missing.into()));
    let deadline = report.deadline.unwrap();
    assert_eq!(
        (deadline.at.duration_since(held.now).as_secs(), deadline.then),
        (1800, DeadlineAction::RollBack)
    );
    assert_eq!(stage(&held.clone().requests(99)), BAKES);
    assert_eq!(stage(&held.requests(100)), "shift to 100%");
}

#[test]
fn the_limit_rolls_it_back_as_inconclusive() {
    let held = |secs| Fixture::baking(10).requests(12).later(secs);
    assert_eq!(stage(&held(300 + 1799)), BAKES);
    let release = held(300 + 1800).decide().release;
    let Some(Cause::Inconclusive { detail }) = release.cause() else { panic!("{:?}", release.phase) };
    assert!(detail.starts_with("12 of 100 requests seen at 10%"), "{detail}");
    // Also when it is noticed late.
    assert!(matches!(held(9000).decide().release.cause(), Some(Cause::Inconclusive { .. })));
}

#[test]
fn what_cannot_be_read_is_not_zero_and_not_enough() {
    let mut blind = Fixture::baking(10).later(300);
    let error = PortError::new(ErrorKind::Denied, "cloudwatch:GetMetricData", "AccessDenied", "no");
    blind.seen.metrics = Seen::Unknown(error);
    assert_eq!(stage(&blind), BAKES);
    assert!(blind.decide().release.report.waiting_on.to_string().contains("the metrics could not be read"));
    // What was seen before stays seen.
    let mut again = Fixture::baking(10).requests(150).later(240).decided().later(60);
    again.seen.metrics = Seen::NotAsked;
    assert_eq!(stage(&again), "shift to 100%");
}

#[test]
fn an_alarm_rolls_back_a_bake_that_is_held() {
    let release = Fixture::baking(10).requests(0).later(600).breached().decide().release;
    assert!(matches!(release.cause(), Some(Cause::Alarm { .. })), "{:?}", release.phase);
}

#[test]
fn the_requests_of_one_bake_do_not_count_for_the_next() {
    let second = Fixture::baking(10).requests(5000).later(300).decided();
    assert!(second.release.progress.requests.is_some());
    let second = second.waiting_for_promotion().weight(100).in_stage(|stage| {
        matches!(stage, Stage::Bake { percent, .. } if *percent == tidegate_core::policy::Percent::ALL)
    });
    let held = second.requests(0).later(900);
    assert_eq!(stage(&held), "bake at 100% for 15m");
    assert_eq!(stage(&held.requests(100)), "promote");
}

#[test]
fn no_metric_is_asked_for_when_nothing_needs_one() {
    let asked = |fixture: &Fixture| needs(&fixture.release, &fixture.seen).metrics;
    assert!(asked(&Fixture::shifting()).is_none());
    assert!(asked(&Fixture::promoting()).is_none());
    // A request counts once it was judged, so nothing is asked before a window has settled.
    assert!(asked(&Fixture::baking(10)).is_none());
    assert_eq!(asked(&Fixture::baking(100)).map(|asked| asked.series.len()), Some(1));
    // Requests, errors and refused connections of both versions, until there are enough and no window has settled since.
    assert_eq!(asked(&Fixture::baking(10).later(240)).map(|asked| asked.series.len()), Some(6));
    assert!(asked(&Fixture::baking(10).requests(100).later(240).decided().later(10)).is_none());
    let mut off = Fixture::baking(10);
    off.release.plan.as_mut().unwrap().evidence = None;
    assert!(asked(&off).is_none());
    assert_eq!(stage(&off.requests(0).later(300)), "shift to 100%");
}

#[test]
fn ecs_waits_at_its_pauses_for_as_long_as_a_bake_may_be_held() {
    let plan = Fixture::baking(10).release.plan.unwrap();
    let minutes = |hook: usize| {
        plan.setup.ecs_native().expect("ECS shifts the traffic").configuration["lifecycleHooks"][hook]["timeoutConfiguration"]["timeoutInMinutes"].as_u64()
    };
    // At least so long; the minutes more are the mark by which our hooks are known.
    let longer =
        |hook: usize, least: u64| minutes(hook).is_some_and(|minutes| (least..least + 30).contains(&minutes));
    // The bake, the requests, a pause by a person, and what Tidegate may be late.
    assert!(longer(0, 5 + 30 + 15 + 15) && longer(1, 15 + 30 + 15 + 15), "{:?}", (minutes(0), minutes(1)));
}

#[test]
fn a_world_without_traffic_promotes_nothing() {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.habits.requests = 0;
    let report = Simulation::new(scenario).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);
    assert!(report.trace.iter().any(|line| line.contains("0 of 100 requests seen")));
}

#[test]
fn requests_that_nobody_counts_cannot_be_asked_for() {
    let found = |rule: &str, min_requests: Option<u32>| {
        let mut fixture = Fixture::preparing();
        fixture.seen.head.as_mut().unwrap().policy.evidence.min_requests = min_requests;
        let Seen::Known(Some(service)) = &mut fixture.seen.ecs.service else { unreachable!() };
        let arn = format!("arn:aws:elasticloadbalancing:eu-central-1:111122223333:{rule}");
        service.load_balancers[0].production_rule = Some(arn.parse().unwrap());
        serde_json::to_string(&fixture.decide().entry).unwrap().contains("requests_not_counted")
    };
    assert!(found("listener/net/shop/50dc6c495c0c9188/1234567890abcdef", Some(10)));
    assert!(!found("listener/net/shop/50dc6c495c0c9188/1234567890abcdef", None));
    assert!(!found("listener/net/shop/50dc6c495c0c9188/1234567890abcdef", Some(0)));
    assert!(!found("listener-rule/app/shop/50dc6c495c0c9188/1234567890abcdef/9683b2d02a6cabee", Some(10)));
}

#[test]
fn where_nobody_counts_requests_none_are_needed() {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.balancing = Balancing::ServiceConnect;
    scenario.habits.requests = 0;
    let report = Simulation::new(scenario).run().expect_sound();
    assert_eq!(report.outcomes, ["promoted"]);
}

#[test]
fn traffic_that_is_enough_is_found_however_late_its_metrics_come() {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.habits.metrics_late = 180_000;
    let report = Simulation::new(scenario).run().expect_sound();
    assert_eq!(report.outcomes, ["promoted"]);
}
