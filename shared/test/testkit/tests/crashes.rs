//! Any function may be killed at any point: one canary that is promoted and one that is rolled back are run again and again, each time
//! with one port call at which the caller dies, before the call or after it. The release always ends as it should.

use jiff::SignedDuration;
use tidegate_testkit::fakes::{Fault, Faults, Quality};
use tidegate_testkit::sim::{Scenario, Simulation};

fn each_call(quality: Quality, outcome: &str, fault: Fault) {
    let calm = Simulation::new(Scenario::canary(quality)).run().expect_sound();
    assert_eq!(calm.outcomes, [outcome]);
    assert!(calm.calls > 100, "{} calls are too few to be a whole release", calm.calls);
    for call in 0..calm.calls {
        let mut scenario = Scenario::canary(quality);
        scenario.conditions.faults = Faults::At { call, fault };
        let report = Simulation::new(scenario).run();
        assert!(
            report.broken.is_empty() && report.outcomes == [outcome],
            "{}\n{fault:?} at call {call} led to {:?} and broke {:?}",
            report.trace.join("\n"),
            report.outcomes,
            report.broken,
        );
    }
}

const BAD: Quality = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };
const STALL: SignedDuration = SignedDuration::from_secs(30);

// One test for each kind of death, so that all cores play.

#[test]
fn a_promotion_survives_the_death_of_its_driver_before_any_call() {
    each_call(Quality::Good, "promoted", Fault::CrashBefore);
}

#[test]
fn a_promotion_survives_the_death_of_its_driver_after_any_call() {
    each_call(Quality::Good, "promoted", Fault::CrashAfter);
}

#[test]
fn a_rollback_survives_the_death_of_its_driver_before_any_call() {
    each_call(BAD, "rolled back", Fault::CrashBefore);
}

#[test]
fn a_rollback_survives_the_death_of_its_driver_after_any_call() {
    each_call(BAD, "rolled back", Fault::CrashAfter);
}

#[test]
fn lost_answers_change_no_outcome() {
    each_call(BAD, "rolled back", Fault::AnswerLost);
}

#[test]
fn long_stalls_before_a_call_change_no_outcome() {
    each_call(BAD, "rolled back", Fault::StallBefore(STALL));
}

#[test]
fn long_stalls_after_a_call_change_no_outcome() {
    each_call(BAD, "rolled back", Fault::StallAfter(STALL));
}
