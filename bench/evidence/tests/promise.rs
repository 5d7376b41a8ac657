//! The promise in small: seconds of `cargo xtask test`. The figures in full are `cargo xtask bench --evidence`.

use tidegate_bench_evidence::judges::Judge;
use tidegate_bench_evidence::report::{Runs, canary, judge, usual};
use tidegate_bench_evidence::traffic::Traffic;
use tidegate_stats::forecast::{Load, Step, Windows, regressions};

const RUNS: Runs = Runs { releases: 400, seed: 1 };

#[test]
fn a_good_candidate_is_called_bad_in_one_release_of_a_hundred_at_most() {
    for requests_per_sec in [1.0, 10.0, 100.0, 1000.0] {
        for (own_swing, load_swing) in [(0.0, 0.0), (0.25, 0.0), (0.25, 1.0)] {
            for bad_rate in [0.001, 0.01] {
                let traffic = Traffic { own_swing, load_swing, ..canary(requests_per_sec, bad_rate, 1.0) };
                let [outcome] = &judge(RUNS, &traffic, &[Judge::Compare(usual())])[..] else { panic!() };
                assert!(outcome.caught <= 0.01, "{traffic:?}: {outcome:?}");
            }
        }
    }
}

#[test]
fn the_same_releases_alarm_whoever_looks_each_minute_without_correction() {
    // The test above could not fail if nothing of these releases looked like a regression to anybody.
    let judges = [Judge::MannWhitneyEachMinute, Judge::Compare(usual())];
    let seen = judge(RUNS, &canary(1000.0, 0.001, 1.0), &judges);
    assert!(seen[0].caught > 0.04 && seen[1].caught <= 0.01, "{seen:?}");
}

#[test]
fn exactly_the_tolerated_ratio_is_no_regression_either() {
    for requests_per_sec in [10.0, 1000.0] {
        let [outcome] = &judge(RUNS, &canary(requests_per_sec, 0.001, 1.5), &[Judge::Compare(usual())])[..]
        else {
            panic!()
        };
        assert!(outcome.caught <= 0.01 + 3.0 * (0.01_f64 * 0.99 / 400.0).sqrt(), "{outcome:?}");
    }
}

#[test]
fn ten_times_as_many_bad_requests_are_found_in_minutes_where_an_alarm_on_the_service_sees_nothing() {
    let judges = [Judge::Compare(usual()), Judge::ServiceAlarm, Judge::Flagger];
    let seen = judge(RUNS, &canary(100.0, 0.001, 10.0), &judges);
    assert!(seen[0].caught >= 0.99 && seen[0].secs.is_some_and(|secs| secs <= 180.0), "{seen:?}");
    assert!(seen[1].caught <= 0.01, "{seen:?}");
    assert!(seen[2].users > 5.0 * seen[0].users, "{seen:?}");
}

#[test]
fn what_is_forecast_is_what_comes() {
    for (requests_per_sec, ratio) in [(10.0, 10.0), (100.0, 3.0), (100.0, 10.0), (1000.0, 2.0), (1000.0, 3.0)]
    {
        let traffic = canary(requests_per_sec, 0.001, ratio);
        let [came] = &judge(RUNS, &traffic, &[Judge::Compare(usual())])[..] else { panic!() };
        let steps = [Step { share: 0.1, secs: 3600.0 }];
        let load = Load { requests_per_sec, bad_rate: 0.001 };
        let windows = Windows { every_secs: 60.0, late_secs: 0.0 };
        let [forecast] = regressions(&usual(), load, &steps, windows, &[ratio])[..] else { panic!() };
        let (came_after, told_after) = (came.secs.unwrap(), forecast.found_after_secs.unwrap());
        // Within a third, or within one minute where it is about minutes.
        assert!((told_after - came_after).abs() <= (came_after / 3.0).max(60.0), "{came:?} {forecast:?}");
        assert!(forecast.bad_requests <= 2.0 * came.users && came.users <= 2.0 * forecast.bad_requests);
    }
}
