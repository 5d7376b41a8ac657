//! A candidate is judged by its numbers beside the stable version's: from the first minute, each window once, and nothing before it has settled.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_core::decide::needs;
use tidegate_core::evidence::{Counted, Replay};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{DeadlineAction, Entry, Event, Fact};
use tidegate_core::ids::RuleArn;
use tidegate_core::outcome::Cause;
use tidegate_core::plan::{Arm, Bound, Compared, Comparison, Evidence, Limit, Stage};
use tidegate_core::policy::{Amount, Compare, Slow, parse};
use tidegate_core::release::{Phase, Release};
use tidegate_core::seen::Seen;
use tidegate_core::vocab::cloudwatch::{MetricsAsked, MetricsSeen, Series};
use tidegate_testkit::build::Fixture;
use tidegate_testkit::fakes::Quality;
use tidegate_testkit::sim::{Scenario, Simulation};

/// A bake at 10% with 600 requests of the candidate and 5,400 of the stable version a window.
fn bake() -> Fixture {
    Fixture::baking(10).requests(0)
}

fn bad(fixture: Fixture, number: i64) -> Fixture {
    fixture.window(number, (600.0, 12.0), (5400.0, 5.0))
}

fn good(fixture: Fixture, number: i64) -> Fixture {
    fixture.window(number, (600.0, 1.0), (5400.0, 5.0))
}

fn evidence(fixture: &mut Fixture) -> &mut Evidence {
    fixture.release.plan.as_mut().expect("a plan").evidence.as_mut().expect("it is judged by numbers")
}

fn regressed(release: &Release) -> bool {
    matches!(release.cause(), Some(Cause::Regression { .. }))
}

fn summary(fixture: &Fixture) -> String {
    fixture.decide().release.summary()
}

#[test]
fn a_candidate_that_fails_more_often_is_rolled_back_as_soon_as_its_numbers_have_settled() {
    // The window has ended, and may still change.
    let early = bad(bake(), 0).later(170).decide().release;
    assert!(early.cause().is_none(), "{:?}", early.phase);
    let decision = bad(bake(), 0).later(190).decide();
    assert!(regressed(&decision.release), "{:?}", decision.release.phase);
    let told = decision.release.cause().unwrap().to_string();
    assert!(
        told.starts_with("it does worse than the stable version beside it: errors: 2.0% of the candidate's against 0.09%, 22 times as many ("),
        "{told}"
    );
    assert!(told.ends_with("; 1.5 times is tolerated"), "{told}");
    let entry = decision.entry.unwrap();
    assert!(matches!(&entry.event, Event::RollingBack { .. }), "{:?}", entry.event);
    assert!(
        entry.saw.iter().any(|fact| matches!(fact, Fact::Evidence { windows, .. } if windows.len() == 1))
    );
}

#[test]
fn a_candidate_that_is_no_worse_goes_on() {
    let mut fixture = bake();
    for number in 0..4 {
        fixture = good(fixture, number);
    }
    assert_eq!(summary(&fixture.later(300)), "shift to 100%");
}

#[test]
fn a_few_bad_requests_are_no_regression() {
    let few = bake().window(0, (100.0, 4.0), (900.0, 0.0)).later(300);
    assert!(few.decide().release.cause().is_none());
}

#[test]
fn the_newest_numbers_hold_a_shift_when_they_look_bad() {
    let bake = good(good(bake(), 0), 1).later(200).decided();
    // The bake is over, and its last whole window has not settled.
    let held = bad(bake, 3).later(100);
    let release = held.decide().release;
    assert_eq!(release.summary(), "bake at 10% for 5m");
    let waits = release.report.waiting_on.to_string();
    assert!(waits.contains("the newest numbers of errors look bad and may still change"), "{waits}");
    assert_eq!(release.report.deadline.unwrap().then, DeadlineAction::RollBack);
    // It turns out to be so.
    assert!(regressed(&held.decided().later(120).decide().release));
    // It turns out not to be.
    let better = good(good(bake_of_two(), 2), 3).later(100);
    assert_eq!(summary(&better), "shift to 100%");
}

fn bake_of_two() -> Fixture {
    good(good(bake(), 0), 1).later(200).decided()
}

#[test]
fn looking_again_counts_nothing_twice_and_a_late_look_misses_nothing() {
    let all = |looks: &[i64]| {
        let mut fixture = bake();
        for number in 0..4 {
            fixture = good(fixture, number);
        }
        let mut at = 0;
        for look in looks {
            fixture = fixture.later(look - at).decided();
            at = *look;
        }
        fixture.release.progress.evidence.unwrap().tallies
    };
    let once = all(&[299]);
    assert_eq!(all(&[10, 70, 130, 131, 190, 191, 192, 250, 299]), once);
    assert_eq!(all(&[250, 299, 299]), once);
    assert!(once[0].candidate().requests > 0.0);
}

#[test]
fn what_has_grown_since_it_was_counted_is_counted_as_it_is_now() {
    let requests = |fixture: &Fixture| {
        fixture.release.progress.evidence.as_ref().unwrap().tallies[0].candidate().requests
    };
    let first = bake().window(0, (300.0, 0.0), (5400.0, 5.0)).later(190).decided();
    assert!((requests(&first) - 300.0).abs() < 1e-9);
    let grown = first.window(0, (600.0, 1.0), (5400.0, 5.0)).later(60).decided();
    assert!((requests(&grown) - 600.0).abs() < 1e-9, "it takes the place of what it was");
    // A sum that is smaller than it was is a late answer of another node, and takes nothing back.
    let shrunk = grown.window(0, (10.0, 0.0), (90.0, 0.0)).later(10);
    assert!((requests(&looked(shrunk, 1)) - 600.0).abs() < 1e-9);
    let regressed_late = bake().window(0, (300.0, 0.0), (5400.0, 5.0)).later(190).decided();
    assert!(regressed(&bad(regressed_late, 0).later(60).decide().release));
}

#[test]
fn what_was_before_the_candidate_had_traffic_does_not_count() {
    // The window that had begun before the bake did holds a test of the candidate, which failed.
    let fixture = bad(good(bake(), 1), -1).later(290);
    assert!(fixture.decide().release.cause().is_none());
}

#[test]
fn a_window_that_had_begun_when_the_candidate_got_traffic_does_not_count() {
    let mut fixture = bake();
    let Phase::Running { since, .. } = &mut fixture.release.phase else { unreachable!() };
    // Twenty seconds into the first window.
    *since = since.saturating_add(SignedDuration::from_secs(20)).unwrap();
    let counted = bad(fixture, -1).later(200).decided().release.progress.evidence.unwrap();
    assert!(counted.tallies[0].candidate().requests < 1.0, "{counted:?}");
}

#[test]
fn requests_of_an_earlier_bake_are_judged_and_do_not_count_for_the_next() {
    let mut fixture = good(good(bake(), 0), 1).later(190).decided();
    let Phase::Running { since, .. } = &mut fixture.release.phase else { unreachable!() };
    *since = fixture.now;
    fixture.release.progress.requests = None;
    let next = fixture.later(60).decided().release.progress;
    assert!(next.evidence.unwrap().tallies[0].candidate().requests > 1000.0, "both windows are judged");
    assert_eq!(next.requests.unwrap().count, 0);
}

#[test]
fn numbers_that_cannot_be_read_hold_the_bake_and_roll_it_back_in_the_end() {
    let error = || PortError::new(ErrorKind::Denied, "cloudwatch:GetMetricData", "AccessDenied", "no");
    let mut blind = good(good(bake(), 0), 1).later(250).decided().later(50);
    blind.seen.metrics = Seen::Unknown(error());
    let release = blind.decide().release;
    assert_eq!(release.summary(), "bake at 10% for 5m");
    assert!(release.report.waiting_on.to_string().contains("the metrics could not be read"));
    assert_eq!(release.report.deadline.unwrap().at.duration_since(blind.now).as_secs(), 1800);
    let late = blind.decided().later(1800);
    assert!(matches!(late.decide().release.cause(), Some(Cause::Inconclusive { .. })));
}

#[test]
fn a_dry_run_says_it_once_and_does_nothing() {
    let mut fixture = bad(bad(good(bake(), 0), 1), 2);
    evidence(&mut fixture).dry_run = true;
    let fixture = fixture.later(290);
    let decision = fixture.decide();
    assert!(decision.release.cause().is_none());
    let told = |entry: Option<Entry>| {
        entry.is_some_and(|entry| entry.events().any(|event| matches!(event, Event::WouldRollBack { .. })))
    };
    assert!(told(decision.entry));
    let later = fixture.decided().later(5);
    assert!(!told(later.decide().entry));
    assert_eq!(summary(&later.later(60)), "shift to 100%");
}

#[test]
fn nothing_is_compared_where_one_version_has_all_traffic() {
    let fixture = Fixture::baking(100).later(600);
    let asked = needs(&fixture.release, &fixture.seen).metrics;
    assert_eq!(asked.map(|asked| asked.series.len()), Some(1), "its requests are still counted");
    let all = bad(Fixture::baking(100), 0).later(600).decide().release;
    assert!(all.cause().is_none());
}

/// All traffic has just moved, after two good windows that were judged and others that have not come.
fn moved() -> Fixture {
    let shifted = good(good(good(bake(), 0), 1), 2).later(300);
    assert_eq!(summary(&shifted), "shift to 100%");
    shifted.decided().waiting_for_promotion().weight(100).in_stage(
        |stage| matches!(stage, Stage::Bake { percent, .. } if *percent == tidegate_core::policy::Percent::ALL),
    )
}

#[test]
fn what_settles_after_all_traffic_has_moved_still_counts() {
    assert!(regressed(&bad(moved(), -1).later(130).decide().release));
    // The candidate alone is compared with nobody.
    let later = bad(moved(), 0).later(60).decided().later(130);
    assert!(later.decide().release.cause().is_none());
    let told = later.decided();
    assert!(told.release.progress.evidence.as_ref().unwrap().is_complete(60));
    assert!(needs(&told.release, &told.seen).metrics.is_none_or(|asked| asked.series.len() == 1));
}

fn comparing_slow(metrics: impl FnOnce(&MetricsAsked) -> Seen<MetricsSeen>) -> Release {
    let mut fixture = Fixture::preparing();
    fixture.seen.head.as_mut().expect("a service").policy.evidence.compare =
        Some(vec![Compare::Slow(Slow { over: None })]);
    let asked = needs(&fixture.release, &fixture.seen).metrics.expect("percentiles");
    assert!(asked.series.iter().all(|series| series.stat == "p99"), "{asked:?}");
    assert_eq!((asked.every_secs, asked.series.len()), (86_400, 2), "{asked:?}");
    fixture.seen.metrics = metrics(&asked);
    fixture.decide().release
}

#[test]
fn from_when_on_a_request_is_slow_is_what_it_was_for_the_stable_version() {
    let days = |values: &'static [f64]| {
        move |asked: &MetricsAsked| {
            let at = |day: usize| asked.from + SignedDuration::from_hours(24 * i64::try_from(day).unwrap());
            let told = values.iter().enumerate().map(|(day, secs)| (at(day), *secs)).collect();
            Seen::Known([(asked.series.first().unwrap().clone(), told)].into())
        }
    };
    let release = comparing_slow(days(&[0.412, 7.0, 0.405]));
    let plan = release.plan.unwrap().evidence.unwrap();
    assert_eq!(plan.comparisons[0].of.to_string(), "requests slower than 420ms");
    assert_eq!(plan.comparisons[0].candidate.bad[0].stat, "TC(0.42:)");
    let blocked = comparing_slow(days(&[]));
    assert!(blocked.plan.is_none());
    let why = blocked.cause().unwrap().to_string();
    assert!(why.contains("the stable version has answered none in the last days"), "{why}");
    let unseen = comparing_slow(|_| {
        let error = PortError::new(ErrorKind::Denied, "cloudwatch:GetMetricData", "AccessDenied", "no");
        Seen::Unknown(error)
    });
    assert!(unseen.plan.is_none() && matches!(unseen.phase, Phase::Preparing { .. }), "{:?}", unseen.phase);
}

#[test]
fn the_history_has_everything_the_verdict_was_made_from() {
    let mut fixture = bake();
    evidence(&mut fixture).every_secs = 10;
    let mut entries = Vec::new();
    for number in 0..24 {
        fixture = if number < 20 { good(fixture, number) } else { bad(fixture, number) };
    }
    for _ in 0..29 {
        fixture = fixture.later(10);
        entries.extend(fixture.decide().entry);
        fixture = fixture.decided();
        if regressed(&fixture.release) {
            break;
        }
    }
    assert!(regressed(&fixture.release), "{:?}", fixture.release.phase);
    let plan = fixture.release.plan.as_ref().unwrap().evidence.clone().unwrap();
    let mut replay = Replay::default();
    let mut verdicts = 0;
    for fact in entries.iter().flat_map(|entry| &entry.saw) {
        if let Fact::Evidence { windows, measured } = fact {
            replay.add(windows);
            assert_eq!(&replay.measured(&plan), measured);
            verdicts += 1;
        }
    }
    assert!(verdicts >= 3, "ten windows an entry, and the verdict: {verdicts}");
    // Asked again with more tolerance, the same numbers say something else.
    let tolerant = Evidence { tolerate: tidegate_core::policy::Ratio::from_f64(100.0).unwrap(), ..*plan };
    assert!(!replay.measured(&tolerant)[0].is_bad);
    // And a row does not grow without end.
    let row = serde_json::to_string(&fixture.release.progress.evidence).unwrap();
    assert!(row.len() < 4000, "{}", row.len());
}

#[test]
fn what_is_counted_is_read_as_it_was_written() {
    let counted = good(good(bake(), 0), 1).later(250).decided().release.progress.evidence;
    let stored = serde_json::to_string(&counted).unwrap();
    assert_eq!(
        serde_json::from_str::<Option<Box<tidegate_core::evidence::Counted>>>(&stored).unwrap(),
        counted
    );
}

fn with_limit(series: &Series) -> Fixture {
    let mut fixture = good(good(good(bake(), 0), 1), 2);
    let plan = evidence(&mut fixture);
    let bound = Bound::Max(Amount::new(800.0).expect("a number"));
    plan.limits = vec![Limit { series: series.clone(), bound, lasting_secs: 120 }];
    fixture
}

fn latency() -> Series {
    let dimensions = [("Version".to_owned(), "new".to_owned())].into();
    Series { namespace: "Shop".into(), metric: "Latency".into(), dimensions, stat: "p99".into() }
}

fn valued(mut fixture: Fixture, values: &[(i64, f64)]) -> Fixture {
    let Phase::Running { since, .. } = fixture.release.phase else { panic!("it is in a stage") };
    let mut seen = fixture.seen.metrics.known().cloned().unwrap_or_default();
    let first = since.as_second().div_euclid(60) + i64::from(since.as_second().rem_euclid(60) > 0);
    for (number, value) in values {
        let at = jiff::Timestamp::from_second((first + number) * 60).expect("within range");
        seen.entry(latency()).or_default().insert(at, *value);
    }
    fixture.seen.metrics = Seen::Known(seen);
    fixture
}

#[test]
fn a_limit_that_is_passed_for_as_long_as_it_takes_rolls_back() {
    let passed = |values: &[(i64, f64)]| {
        let release = valued(with_limit(&latency()), values).later(299).decide().release;
        matches!(release.cause(), Some(Cause::Limit { .. }))
    };
    assert!(passed(&[(0, 900.0), (1, 801.0)]));
    assert!(!passed(&[(0, 900.0), (1, 800.0)]), "800 is allowed");
    assert!(!passed(&[(0, 900.0)]), "too short");
    assert!(!passed(&[(0, 900.0), (2, 900.0)]), "a break, and the last has not settled");
    let mut dry = with_limit(&latency());
    evidence(&mut dry).dry_run = true;
    assert!(valued(dry, &[(0, 900.0), (1, 900.0)]).later(299).decide().release.cause().is_none());
    let told = valued(with_limit(&latency()), &[(0, 900.0), (1, 801.0)]).later(299).decide().release;
    assert_eq!(told.cause().unwrap().to_string(), "p99 of Latency is 801, above 800 for 2m");
}

#[test]
fn a_limit_without_a_value_holds_the_bake() {
    let held = with_limit(&latency()).later(300);
    let waits = held.decide().release.report.waiting_on.to_string();
    assert!(
        waits.contains("the metric Latency, which has a limit, has had no value in this bake"),
        "{waits}"
    );
    assert_eq!(summary(&valued(with_limit(&latency()), &[(0, 5.0)]).later(300)), "shift to 100%");
}

const POLICY: &str = "service: checkout\nfrom: { ecr: { repository: shop/checkout, tags: [ main-* ] } }\n\
                      to: { ecs: { cluster: prod, service: checkout, container: app } }\n";

#[test]
fn a_policy_that_compares_what_cannot_be_compared_is_refused() {
    let canary = "strategy: { canary: { percent: 10, bake: 5m }, bake: 5m }\n";
    let refused = |strategy: &str, evidence: serde_json::Value| {
        let text = format!("{POLICY}{strategy}evidence: {evidence}\n");
        parse("p.yaml", &text).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let metric = |dimensions: serde_json::Value| json!({ "compare": [{ "metric": { "namespace": "Shop", "name": "Declined", "per": "Tried", "dimensions": dimensions } }] });
    assert!(
        refused("strategy: { blue_green: {} }\n", json!({ "compare": ["errors"] })).contains("blue_green")
    );
    assert!(refused("strategy: { rolling: {} }\n", json!({ "compare": ["errors"] })).contains("rolling"));
    assert!(
        refused(canary, metric(json!({ "Version": "blue" })))
            .contains("tells the candidate from the stable version")
    );
    assert!(
        refused(canary, metric(json!({ "Version": "{tag}" })))
            .contains("found {tag}, allowed {digest} and {service}")
    );
    assert!(refused(canary, metric(json!({ "Version": "{service}" }))).contains("engine weighted"));
    assert!(refused(canary, json!({ "compare": ["slow"] })).contains("slow: { over: 500ms }, or slow: {}"));
    assert_eq!(refused(canary, json!({ "compare": [{ "slow": {} }] })), "");
    assert!(refused(canary, json!({ "compare": [{ "slow": { "over": "2h" } }] })).contains("2h"));
    assert!(refused(canary, json!({ "compare": ["mistakes"] })).contains("allowed errors"));
    assert!(refused(canary, json!({ "compare": ["errors", "errors"] })).contains("twice"));
    assert!(refused(canary, json!({ "every": "7s" })).contains("allowed 1s, 5s"));
    assert!(refused(canary, json!({ "tolerate": 0.5 })).contains("allowed 1 to 100"));
    assert!(refused(canary, json!({ "false_alarms": 0.01 })).contains("percent sign"));
    assert!(
        refused(
            canary,
            json!({ "limits": [{ "metric": { "namespace": "S", "name": "L" }, "stat": "p99" }] })
        )
        .contains("found neither")
    );
    assert_eq!(refused(canary, metric(json!({ "Version": "{digest}" }))), "");
    let all = json!({ "min_requests": 200, "wait": "1h", "inconclusive": "hold", "every": "30s", "tolerate": 2, "false_alarms": "0.5%",
        "compare": ["errors", { "slow": { "over": "500ms" } }], "dry_run": true,
        "limits": [{ "metric": { "namespace": "S", "name": "L" }, "stat": "p99", "max": 800, "for": "3m" }] });
    assert_eq!(refused(canary, all.clone()), "");
    let policy = parse("p.yaml", &format!("{POLICY}{canary}evidence: {all}\n")).unwrap();
    let written = tidegate_core::policy::to_yaml(&policy);
    assert_eq!(parse("p.yaml", &written).unwrap(), policy, "{written}");
}

#[test]
fn held_for_a_person_is_held_as_long_as_ecs_allows() {
    let policy = |inconclusive: &str| {
        let text = format!(
            "{POLICY}strategy: {{ canary: {{ percent: 10, bake: 5m }}, bake: 15m }}\nevidence: {{ inconclusive: {inconclusive} }}\n"
        );
        parse("p.yaml", &text).unwrap()
    };
    assert_eq!(policy("roll_back").evidence_wait_secs(), 1800);
    let held = policy("hold");
    let most = held.evidence_wait_secs() + held.pause_secs() + 15 * 60;
    assert_eq!(most, 24 * 3600 - 15 * 60);
}

/// A world whose candidate fails so many of a thousand requests.
fn world(candidate: u32) -> Scenario {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.policy.evidence.compare = None;
    scenario.habits.errors = [1, candidate];
    scenario
}

#[test]
fn whatever_goes_wrong_beside_it_a_candidate_that_fails_a_tenth_of_its_requests_is_never_promoted() {
    for seed in 0..30 {
        let random = Scenario::random(seed);
        let Scenario { policy, habits, .. } = world(100);
        let mut scenario = Scenario { policy, ..random };
        scenario.balancing = tidegate_testkit::fakes::Balancing::LoadBalancer;
        scenario.habits.errors = habits.errors;
        let outcomes = Simulation::new(scenario).run().expect_sound().outcomes;
        assert!(!outcomes.iter().any(|outcome| outcome == "promoted"), "seed {seed}: {outcomes:?}");
    }
}

#[test]
fn a_world_whose_candidate_fails_more_often_is_rolled_back_and_one_that_does_not_is_promoted() {
    let report = Simulation::new(world(30)).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);
    assert!(
        report.trace.iter().any(|line| line.contains("does worse than the stable version")),
        "{:#?}",
        report.trace
    );
    let report = Simulation::new(world(1)).run().expect_sound();
    assert_eq!(report.outcomes, ["promoted"]);
}

/// The same bake, of which CloudWatch has told nothing yet.
fn silent() -> Fixture {
    let mut fixture = bake();
    fixture.seen.metrics = Seen::Known(MetricsSeen::default());
    fixture
}

/// So many looks, one a minute.
fn looked(mut fixture: Fixture, minutes: u32) -> Fixture {
    for _ in 0..minutes {
        fixture = fixture.later(60).decided();
    }
    fixture
}

/// With bakes of an hour.
fn long(mut fixture: Fixture) -> Fixture {
    for stage in &mut fixture.release.plan.as_mut().expect("a plan").stages {
        if let Stage::Bake { secs, .. } = stage {
            *secs = 3600;
        }
    }
    fixture
}

fn waits(fixture: &Fixture) -> String {
    fixture.decide().release.report.waiting_on.to_string()
}

#[test]
fn windows_of_which_nothing_was_told_are_looked_for_when_they_come_late() {
    let late = looked(silent(), 12);
    assert!(waits(&late).contains("0 of 100 requests seen"), "{}", waits(&late));
    // Nothing seen is not taken for nothing happened: the whole of it is asked for again.
    let first = late.release.progress.evidence.as_ref().unwrap().since;
    let asked = needs(&late.release, &late.seen).metrics.unwrap();
    assert!(asked.from.duration_since(first).as_secs() < 60, "{} {first}", asked.from);
    assert!(regressed(&bad(late.later(60), 0).decide().release));
    // What comes so late that nobody looks for it any more judges nothing, so its requests do not count either.
    let too_late = good(looked(silent(), 34), 0).later(30);
    assert!(waits(&too_late).contains("0 of 100 requests seen"), "{}", waits(&too_late));
    assert_eq!(summary(&good(looked(silent(), 20), 0).later(30)), "shift to 100%");
}

#[test]
fn a_window_that_lacks_one_version_is_counted_again_when_the_other_comes() {
    let mut half = bad(long(silent()), 0);
    let plan = evidence(&mut half).clone();
    let mut seen = half.seen.metrics.known().cloned().unwrap();
    for series in plan.comparisons[0].stable.requests.iter().chain(&plan.comparisons[0].stable.bad) {
        seen.remove(series);
    }
    half.seen.metrics = Seen::Known(seen);
    let half = looked(half, 10);
    assert!(half.release.cause().is_none(), "there is nothing beside it yet");
    assert!(regressed(&bad(half, 0).later(60).decide().release));
}

#[test]
fn what_was_whole_is_not_looked_for_and_not_counted_twice() {
    let mut fixture = long(bake());
    for number in 0..16 {
        fixture = good(fixture, number);
    }
    let fixture = looked(fixture, 15);
    let counted = fixture.release.progress.evidence.clone().unwrap();
    assert!(fixture.now.duration_since(counted.read_from(60)).as_secs() <= 5 * 60, "{counted:?}");
    let before = counted.tallies[0].candidate().requests;
    // Long forgotten, it comes again, larger.
    let again = looked(fixture.window(0, (6000.0, 600.0), (5400.0, 5.0)), 1);
    let after = again.release.progress.evidence.as_ref().unwrap().tallies[0].candidate().requests;
    assert!(again.release.cause().is_none() && after - before < 601.0, "{before} {after}");
}

#[test]
fn what_was_counted_and_told_is_not_counted_again_beside_a_window_that_is_looked_for() {
    let mut fixture = long(silent());
    for number in 1..30 {
        fixture = good(fixture, number);
    }
    let fixture = looked(fixture, 20);
    let counted = fixture.release.progress.evidence.as_ref().unwrap();
    assert_eq!(counted.read_from(60), counted.since, "the first window is looked for");
    // Windows 1 to 17 have settled.
    assert!((counted.tallies[0].candidate().requests - 17.0 * 600.0).abs() < 1e-6, "{counted:?}");
}

#[test]
fn a_look_that_did_not_ask_takes_nothing_for_missing() {
    let mut fixture = long(bake());
    for number in 0..16 {
        fixture = good(fixture, number);
    }
    let mut fixture = looked(fixture, 10);
    let before = fixture.release.progress.evidence.clone();
    fixture.seen.metrics = Seen::Known(MetricsSeen::default());
    assert_eq!(fixture.later(1).decided().release.progress.evidence, before);
}

#[test]
fn no_step_is_taken_while_the_numbers_cannot_be_read() {
    let shift = |stage: &Stage| matches!(stage, Stage::Shift { percent } if *percent == tidegate_core::policy::Percent::ALL);
    let mut fixture = bake().in_stage(shift);
    assert!(fixture.in_words().contains("continue"), "{}", fixture.in_words());
    fixture.seen.metrics =
        Seen::Unknown(PortError::new(ErrorKind::Denied, "cloudwatch:GetMetricData", "AccessDenied", "no"));
    assert!(!fixture.in_words().contains("continue"), "{}", fixture.in_words());
    assert!(waits(&fixture).contains("the metrics could not be read"), "{}", waits(&fixture));
}

fn own(fixture: &mut Fixture) -> (Series, Series) {
    let series = |version: &str| Series {
        namespace: "Shop".into(),
        metric: "Tried".into(),
        dimensions: [("Version".to_owned(), version.to_owned())].into(),
        stat: "Sum".into(),
    };
    let arm = |version: &str| Arm {
        requests: vec![series(version)],
        bad: vec![Series { metric: "Declined".into(), ..series(version) }],
    };
    let of = Compared::Metric("Declined".into());
    evidence(fixture).comparisons.push(Comparison { of, candidate: arm("new"), stable: arm("old") });
    (series("new"), series("old"))
}

#[test]
fn a_metric_of_ones_own_that_says_nothing_of_a_version_holds_the_bake() {
    let bake = || {
        let mut fixture = good(good(bake(), 0), 1);
        let versions = own(&mut fixture);
        (fixture, versions)
    };
    let say = |mut fixture: Fixture, series: Series| {
        let at = fixture.release.progress.evidence.as_ref().map_or(fixture.now, |counted| counted.since);
        let window = Timestamp::from_second((at.as_second() / 60 + 1) * 60).unwrap();
        let mut seen = fixture.seen.metrics.known().cloned().unwrap();
        seen.entry(series).or_default().insert(window, 50.0);
        fixture.seen.metrics = Seen::Known(seen);
        fixture
    };
    let (silent, (new, old)) = bake();
    let held = waits(&silent.later(310));
    assert!(
        held.contains("the metric Declined, which is compared, has said nothing of the candidate"),
        "{held}"
    );
    let (one, _) = bake();
    let one = say(one, new.clone()).later(310);
    assert!(waits(&one).contains("has said nothing of the stable version"));
    let late = one.decided().later(1800).decide().release;
    let cause = late.cause().unwrap().to_string();
    assert!(cause.contains("see that both versions send it, or remove the comparison"), "{cause}");
    let (both, _) = bake();
    assert_eq!(summary(&say(say(both, new), old).later(310)), "shift to 100%");
    let (mut dry, _) = bake();
    evidence(&mut dry).dry_run = true;
    assert_eq!(summary(&dry.later(310)), "shift to 100%");
}

#[test]
fn what_waits_for_numbers_that_no_longer_matter_says_no_limit_for_them() {
    let mut fixture = Fixture::baking(100);
    let begun = fixture.now;
    evidence(&mut fixture).wait_secs = 60;
    let mut counted = Counted::new(evidence(&mut fixture), begun);
    counted.is_missing = true;
    fixture.release.progress.evidence = Some(Box::new(counted));
    let enough = fixture.later(60).decided().later(10).decide().release;
    let deadline = enough.report.deadline.expect("a bake has one");
    assert!(deadline.at.duration_since(begun).as_secs() > 16 * 60, "{deadline:?}");
}

#[test]
fn a_comparison_that_nothing_can_make_blocks_and_is_not_left_out() {
    let found = |rule: &str, compare: serde_json::Value| {
        let mut fixture = Fixture::preparing();
        let policy = &mut fixture.seen.head.as_mut().unwrap().policy;
        policy.evidence.compare = serde_json::from_value(compare).unwrap();
        policy.evidence.min_requests = Some(0);
        let Seen::Known(Some(service)) = &mut fixture.seen.ecs.service else { unreachable!() };
        let arn = format!("arn:aws:elasticloadbalancing:eu-central-1:111122223333:{rule}");
        let arn: RuleArn = arn.parse().unwrap();
        service.load_balancers[0].production_rule = Some(arn.clone());
        let Seen::Known(rules) = &mut fixture.seen.elb.weights else { unreachable!() };
        rules[0].arn = arn;
        serde_json::to_string(&fixture.decide().entry).unwrap().contains("not_told_apart")
    };
    let network = "listener/net/shop/50dc6c495c0c9188/1234567890abcdef";
    let application = "listener-rule/app/shop/50dc6c495c0c9188/1234567890abcdef/9683b2d02a6cabee";
    assert!(found(network, json!(["errors"])));
    assert!(!found(network, json!(null)), "what is only compared by default is left out");
    assert!(!found(application, json!(["errors"])));
}
