//! Any function may be killed at any point: one canary that is promoted and one that is rolled back are run again and again, each time
//! with one port call at which the caller dies, before the call or after it. The release always ends as it should.

use jiff::SignedDuration;
use tidegate_testkit::fakes::{Fault, Faults, Quality};
use tidegate_testkit::sim::{Scenario, Simulation};

fn each_call(quality: Quality, outcome: &str, faults: &[Fault]) {
    let calm = Simulation::new(Scenario::canary(quality)).run().expect_sound();
    assert_eq!(calm.outcomes, [outcome]);
    assert!(calm.calls > 100, "{} calls are too few to be a whole release", calm.calls);
    for call in 0..calm.calls {
        for fault in faults {
            let mut scenario = Scenario::canary(quality);
            scenario.conditions.faults = Faults::At { call, fault: *fault };
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
}

const CRASHES: [Fault; 2] = [Fault::CrashBefore, Fault::CrashAfter];
const BAD: Quality = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };

#[test]
fn a_promotion_survives_the_death_of_its_driver_at_any_call() {
    each_call(Quality::Good, "promoted", &CRASHES);
}

#[test]
fn a_rollback_survives_the_death_of_its_driver_at_any_call() {
    each_call(BAD, "rolled back", &CRASHES);
}

#[test]
fn lost_answers_and_long_stalls_change_no_outcome() {
    let stall = SignedDuration::from_secs(30);
    let faults = [Fault::AnswerLost, Fault::StallBefore(stall), Fault::StallAfter(stall)];
    each_call(BAD, "rolled back", &faults);
}
