//! AWS's calls have no conditions. A executor that has committed "shift" may stall while someone else commits the rollback, and wake
//! up after that: what it then does must not move the traffic forward again.

use jiff::SignedDuration;
use tidegate_core::effect::Effect;
use tidegate_core::vocab::ecs;
use tidegate_testkit::fakes::{Fault, Faults, Performed, Quality};
use tidegate_testkit::sim::{Action, Report, Scenario, Simulation};

fn shifts(report: &Report) -> Vec<&Performed> {
    report
        .performed
        .iter()
        .filter(|done| matches!(done.effect, Effect::Ecs(ecs::Effect::ContinueHook { .. })))
        .collect()
}

/// A canary whose alarm goes to ALARM in the second after the shift to 100% has begun, with one fault.
fn red_at_the_shift(name: &str, fault: Fault) -> Report {
    let calm = Simulation::new(Scenario::canary(Quality::Good)).run().expect_sound();
    let red_at = shifts(&calm)[1].begun.saturating_add(SignedDuration::from_secs(1)).expect("within range");
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.script.push((red_at, Action::Alarm(true)));
    scenario.conditions.faults = Faults::at_first(name, fault);
    let report = Simulation::new(scenario).run().expect_sound();
    assert!(
        report.trace.iter().any(|line| line.contains(&format!("{name}: {fault:?}"))),
        "the fault was not met"
    );
    assert_eq!(report.outcomes, ["rolled back"]);
    report
}

#[test]
fn the_lease_stops_who_stalled_between_commit_and_effect() {
    for secs in [5, 12, 30, 55] {
        let report =
            red_at_the_shift("bake at 10% for 40s: done", Fault::StallAfter(SignedDuration::from_secs(secs)));
        assert_eq!(shifts(&report).len(), 1, "only the shift to 10% was performed");
    }
}

#[test]
fn a_call_that_hangs_meets_a_deployment_that_goes_back() {
    // The call hangs for as long as an effect's calls may; meanwhile the sentinel has stopped the deployment.
    let stall = Fault::StallBefore(SignedDuration::from_secs(4));
    let report = red_at_the_shift("ecs:continue_hook ecs-pause-0003", stall);
    let [.., late] = shifts(&report)[..] else { panic!("the call was made") };
    let stop = report
        .performed
        .iter()
        .find(|done| matches!(done.effect, Effect::Ecs(ecs::Effect::StopDeployment { .. })));
    assert!(late.applied > stop.expect("a rollback").applied, "the stop came first");
    assert!(
        !report.trace.iter().any(|line| line.contains("the candidate has 100%")),
        "the late call moved nothing"
    );
}
