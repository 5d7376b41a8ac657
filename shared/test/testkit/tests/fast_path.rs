//! From an alarm to the stop of the bad deployment is the promise of the whole product. One call of the ledger that is throttled, not
//! answered, or answered and lost, costs a fraction of a second, not the wait for the next event.

use jiff::SignedDuration;
use tidegate_core::effect::Effect;
use tidegate_core::vocab::ecs;
use tidegate_testkit::fakes::{Fault, Faults, Quality};
use tidegate_testkit::names;
use tidegate_testkit::sim::{Action, Report, Scenario, Simulation};

/// In the bake at 10%.
const RED_AT: i64 = 40;

/// How long after the alarm the deployment was told to stop, with this fault at the call of this name.
fn reaction(name: &str, fault: Option<Fault>) -> SignedDuration {
    let mut scenario = Scenario::canary(Quality::Good);
    // Nothing but the event of the alarm brings the news.
    scenario.habits.alarm_poll = (3_600_000, 3_600_000);
    scenario.script.push((names::at(RED_AT), Action::Alarm(true)));
    if let Some(fault) = fault {
        scenario.conditions.faults = Faults::at_first(name, fault);
    }
    let report = Simulation::new(scenario).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);
    let met = report
        .trace
        .iter()
        .any(|line| fault.is_some_and(|fault| line.contains(&format!("{name}: {fault:?}"))));
    assert!(met || fault.is_none(), "the fault was not met");
    stopped_at(&report)
}

fn stopped_at(report: &Report) -> SignedDuration {
    let stop = report
        .performed
        .iter()
        .find(|done| matches!(done.effect, Effect::Ecs(ecs::Effect::StopDeployment { .. })));
    stop.expect("a rollback").begun.duration_since(names::at(RED_AT))
}

#[test]
fn one_failed_call_of_the_ledger_costs_the_fast_path_a_fraction_of_a_second() {
    let calm = reaction("", None);
    assert!(calm < SignedDuration::from_secs(2), "{calm:#}");
    for name in ["rolling back", "dynamodb:Query under way"] {
        for fault in [Fault::AnswerLost, Fault::Unavailable, Fault::Throttled] {
            let late = reaction(name, Some(fault)) - calm;
            assert!(late < SignedDuration::from_millis(1_500), "{fault:?} at {name} costs {late:#}");
        }
    }
}

#[test]
fn an_error_that_does_not_pass_is_not_repeated_for_ever() {
    // Denied is no weather: the invocation fails at once, and the next event tries again.
    let late = reaction("rolling back", Some(Fault::Denied));
    assert!(late > SignedDuration::from_secs(2), "{late:#}");
}
