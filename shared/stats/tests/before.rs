//! What is said before a release: a forecast of the comparison, and a service compared with itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use tidegate_stats::calibrate::{Calibration, Minute, Parted, Replays, calibrate};
use tidegate_stats::forecast::{Load, Step, Windows, regressions, requests};
use tidegate_stats::{Arm, Test};

const MINUTES: Windows = Windows { every_secs: 60.0, late_secs: 120.0 };

fn load(requests_per_sec: f64, bad_rate: f64) -> Load {
    Load { requests_per_sec, bad_rate }
}

fn step(share: f64, minutes: f64) -> Step {
    Step { share, secs: 60.0 * minutes }
}

#[test]
fn the_candidates_requests_are_told_for_each_step() {
    let told = requests(load(10.0, 0.001), &[step(0.1, 5.0), step(1.0, 15.0), step(0.1, 1.5)], MINUTES);
    let told: Vec<(f64, f64)> = told.iter().map(|it| (it.requests, it.counted)).collect();
    assert_eq!(told, [(300.0, 240.0), (9000.0, 8400.0), (90.0, 0.0)]);
}

#[test]
fn requests_are_only_promised_with_room_for_chance() {
    let [some] = requests(load(10.0, 0.001), &[step(0.1, 5.0)], MINUTES)[..] else { panic!() };
    assert!(some.reach(200.0) && some.reach(209.0));
    assert!(!some.reach(210.0), "240 may well be 209");
    let [none] = requests(load(10.0, 0.001), &[step(0.1, 1.0)], MINUTES)[..] else { panic!() };
    assert!(none.reach(0.0) && !none.reach(1.0));
}

#[test]
fn larger_regressions_are_found_sooner_and_hurt_fewer() {
    let test = Test::new(1.5, 0.01);
    let told = regressions(&test, load(100.0, 0.001), &[step(0.1, 60.0)], MINUTES, &[10.0, 3.0, 2.0, 1.5]);
    let after: Vec<Option<f64>> = told.iter().map(|it| it.found_after_secs).collect();
    assert!(after[0].is_some_and(|secs| secs <= 240.0), "{told:?}");
    assert!(after[0] < after[1] && after[1].is_some(), "{told:?}");
    assert_eq!(after[3], None, "what is tolerated is never found");
    assert!(told[0].bad_requests < told[1].bad_requests, "{told:?}");
    // 10 requests a second of the candidate, 2 in 1,000 bad, for an hour.
    assert!((told[2].bad_requests - 72.0).abs() < 1e-9, "{told:?}");
}

#[test]
fn a_larger_share_later_finds_what_a_small_one_cannot() {
    let test = Test::new(1.5, 0.01);
    let found =
        |steps: &[Step]| regressions(&test, load(20.0, 0.001), steps, MINUTES, &[3.0])[0].found_after_secs;
    assert_eq!(found(&[step(0.01, 30.0)]), None);
    let after = found(&[step(0.01, 30.0), step(0.5, 120.0)]);
    assert!(after.is_some_and(|secs| secs > 30.0 * 60.0), "{after:?}");
    // All of the traffic leaves nothing to compare with.
    assert_eq!(found(&[step(1.0, 300.0)]), None);
}

#[test]
fn until_numbers_count_users_go_on_seeing_errors() {
    let test = Test::new(1.5, 0.01);
    let found = |late_secs: f64| {
        let windows = Windows { every_secs: 60.0, late_secs };
        regressions(&test, load(1000.0, 0.001), &[step(0.1, 2.0)], windows, &[10.0])[0]
    };
    let (soon, late) = (found(0.0), found(600.0));
    // Beyond the end of the step, too: 100 requests a second, one in a hundred bad.
    assert_eq!(late.found_after_secs.unwrap() - soon.found_after_secs.unwrap(), 600.0);
    assert!((late.bad_requests - soon.bad_requests - 600.0).abs() < 1e-6, "{soon:?} {late:?}");
}

#[test]
fn users_who_saw_an_error_are_counted_through_every_share() {
    let test = Test::new(1.5, 0.01);
    let steps = [step(0.1, 10.0), step(0.2, 10.0)];
    let told = regressions(&test, load(1.0, 0.01), &steps, MINUTES, &[1.0])[0];
    // 600 s with 0.1 and 600 s with 0.2 requests a second, one in a hundred bad.
    assert!((told.bad_requests - 1.8).abs() < 1e-9, "{told:?}");
}

#[test]
fn a_load_is_known_from_what_was_counted() {
    assert_eq!(Load::of(Arm::new(1000.0, 5.0), 100.0), Some(load(10.0, 0.005)));
    assert_eq!(Load::of(Arm::new(1000.0, 0.0), 100.0), Some(load(10.0, 0.0005)), "0 has no multiple");
    assert_eq!(Load::of(Arm::new(0.0, 0.0), 100.0), None);
    assert_eq!(Load::of(Arm::new(10.0, 0.0), 0.0), None);
}

/// Numbers from 0 to below 1, the same for the same seed (SplitMix64).
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / 4_294_967_296.0
    }
}

/// Two days of 100 requests a second, 1% bad; `bad` says what of it in a minute.
fn days(bad: impl Fn(usize) -> f64) -> Vec<Minute> {
    let minute = |at: usize| Minute { all: Arm::new(6000.0, (60.0 * bad(at)).round()), zones: Vec::new() };
    (0..2880).map(minute).collect()
}

const TOLERATE: [f64; 5] = [1.0, 1.5, 2.0, 3.0, 5.0];
const REPLAYS: Replays = Replays { count: 400, minutes: 60, share: 0.1 };

fn played(days: &[Minute], parted: Parted) -> Calibration {
    calibrate(days, parted, &Test::new(1.5, 0.01), &TOLERATE, REPLAYS, &mut uniform(1)).unwrap()
}

#[test]
fn parted_by_chance_the_promise_holds_whatever_the_service_does() {
    let swinging = days(|at| [0.2, 0.5, 1.0, 2.0, 4.0][at * 7919 % 5]);
    let found = played(&swinging, Parted::Requests);
    assert!(found.false_alarms.iter().all(|it| it.rate <= 0.01), "{found:?}");
    assert_eq!((found.holds(0.01), found.replays), (Some(1.0), 400));
    assert_eq!(found, played(&swinging, Parted::Requests), "the same numbers, the same answer");
}

#[test]
fn parted_by_minutes_a_swinging_service_asks_for_more_tolerance() {
    let steady = played(&days(|_| 1.0), Parted::Minutes);
    assert!(steady.rate(1.5).is_some_and(|rate| rate <= 0.01), "{steady:?}");
    // Each minute has ten times the bad requests of the next one, or a tenth of them.
    let swinging = played(&days(|at| [0.3, 3.0, 0.3, 3.0, 0.3, 3.0, 1.0][at * 31 % 7]), Parted::Minutes);
    assert!(swinging.rate(1.0).is_some_and(|rate| rate > 0.01), "{swinging:?}");
    assert!(swinging.holds(0.01).is_none_or(|tolerate| tolerate > 1.0), "{swinging:?}");
    let rates: Vec<f64> = swinging.false_alarms.iter().map(|it| it.rate).collect();
    assert!(rates.is_sorted_by(|before, after| before >= after), "{rates:?}");
}

#[test]
fn parted_by_zones_a_zone_that_is_worse_is_found() {
    let zoned = |worse: f64| -> Vec<Minute> {
        let minute = |_| {
            let zones = [1.0, worse, 1.0].map(|times| Arm::new(2000.0, (20.0_f64 * times).round()));
            Minute { all: Arm::new(6000.0, 60.0), zones: zones.to_vec() }
        };
        (0..600).map(minute).collect()
    };
    assert_eq!(played(&zoned(1.0), Parted::Zones).holds(0.01), Some(1.0));
    let found = played(&zoned(4.0), Parted::Zones);
    assert!(found.rate(1.5).is_some_and(|rate| rate > 0.3), "one zone of three: {found:?}");
    assert_eq!(found.holds(0.01), Some(5.0));
    // By the same test that judges releases: three minutes of it are enough.
    let short = Replays { minutes: 3, ..REPLAYS };
    let test = Test::new(1.5, 0.01);
    let found = calibrate(&zoned(4.0), Parted::Zones, &test, &TOLERATE, short, &mut uniform(1)).unwrap();
    assert!(found.rate(1.5).is_some_and(|rate| rate > 0.3), "{found:?}");
}

#[test]
fn without_enough_to_play_with_nothing_is_said() {
    let test = Test::new(1.5, 0.01);
    let play =
        |minutes: &[Minute], parted| calibrate(minutes, parted, &test, &TOLERATE, REPLAYS, &mut uniform(1));
    let all = days(|_| 1.0);
    assert!(play(&all[..60], Parted::Requests).is_some() && play(&all[..59], Parted::Requests).is_none());
    assert!(play(&all[..61], Parted::Minutes).is_some() && play(&all[..60], Parted::Minutes).is_none());
    assert!(play(&all, Parted::Zones).is_none(), "no zones");
}

#[test]
fn the_tolerance_that_holds_is_one_from_which_on_all_hold() {
    let of = |rates: [f64; 3]| Calibration {
        parted: Parted::Minutes,
        replays: 100,
        false_alarms: [1.0, 1.5, 2.0]
            .into_iter()
            .zip(rates)
            .map(|(tolerate, rate)| tidegate_stats::calibrate::FalseAlarms { tolerate, rate })
            .collect(),
    };
    assert_eq!(of([0.0, 0.0, 0.0]).holds(0.01), Some(1.0));
    assert_eq!(of([0.2, 0.01, 0.0]).holds(0.01), Some(1.5));
    assert_eq!(of([0.0, 0.2, 0.0]).holds(0.01), Some(2.0));
    assert_eq!(of([0.2, 0.2, 0.2]).holds(0.01), None);
}
