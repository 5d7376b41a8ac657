//! A candidate whose tasks crash: counted once each, only its own, and rolled back after as many as the policy allows.

use jiff::SignedDuration;
use tidegate_core::history::DeadlineAction;
use tidegate_core::ids::TaskDefinitionArn;
use tidegate_core::outcome::Cause;
use tidegate_core::plan::Stage;
use tidegate_core::release::Phase;
use tidegate_core::seen::Seen;
use tidegate_core::vocab::tasks::{StopCode, StoppedTask};
use tidegate_testkit::build::{Fixture, stopped_task};
use tidegate_testkit::fakes::Quality;
use tidegate_testkit::names;
use tidegate_testkit::sim::{Scenario, Simulation};

/// How many failed tasks the release knows of after the decision, and whether it is being rolled back.
fn counted(fixture: &Fixture) -> (usize, bool) {
    let release = fixture.decide().release;
    let back = matches!(release.phase, Phase::RollingBack(_));
    (release.progress.failed_tasks.len(), back)
}

fn starting() -> Fixture {
    let mut begun = Fixture::starting();
    begun.release.progress.asked_at = Some(begun.now);
    begun.deployed().decided()
}

fn other(change: impl FnOnce(&mut StoppedTask)) -> StoppedTask {
    let mut task = stopped_task(1, starting().now);
    change(&mut task);
    task
}

#[test]
fn after_three_failed_tasks_the_release_is_rolled_back_at_once() {
    let in_stages =
        [starting(), Fixture::shifting(), Fixture::baking(10), Fixture::baking(100), Fixture::promoting()];
    for fixture in in_stages {
        assert_eq!(counted(&fixture.clone().crashed(2)), (2, false));
        let decision = fixture.crashed(3).decide();
        let Some(Cause::FailedTasks { count: 3, last }) = decision.release.cause() else {
            panic!("{:?}", decision.release.phase)
        };
        assert_eq!(last.exit_code, Some(1));
        assert_eq!(
            decision.release.summary(),
            "rolling back: 3 tasks of the candidate failed: app exited with code 1"
        );
        assert_eq!(decision.effects.len(), 1);
    }
}

#[test]
fn the_policy_says_how_many_and_zero_is_never() {
    let with = |limit: u32| {
        let mut fixture = starting();
        fixture.release.plan.as_mut().unwrap().failed_tasks = limit;
        fixture
    };
    assert_eq!(counted(&with(1).crashed(1)), (1, true));
    assert_eq!(counted(&with(5).crashed(4)), (4, false));
    assert_eq!(counted(&with(0).crashed(60)), (50, false));
}

#[test]
fn an_event_told_ten_times_and_a_look_are_one_task() {
    let mut fixture = starting().crashed(1);
    for _ in 0..10 {
        let told = stopped_task(1, fixture.now);
        fixture = fixture.told_of_task(told);
    }
    let once = fixture.decided();
    assert_eq!(once.release.progress.failed_tasks.len(), 1);
    // Told again in the next turn, nothing changes but the time of the next look.
    assert_eq!(counted(&once), (1, false));
    let task = |number| stopped_task(number, once.now);
    assert_eq!(counted(&once.clone().told_of_task(task(2)).told_of_task(task(3))), (3, true));
}

#[test]
fn what_did_not_fail_does_not_count() {
    let stopped = |code: &str, reason: &str| {
        other(|task| {
            task.code = Some(StopCode::from(code.to_owned()));
            task.reason = Some(reason.to_owned());
        })
    };
    for task in [
        stopped("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)"),
        stopped("UserInitiated", "Task stopped by ana"),
        stopped("SpotInterruption", "Your Spot Task was interrupted."),
        stopped("TerminationNotice", "Host EC2 (instance i-1) terminated."),
    ] {
        assert_eq!(counted(&starting().told_of_task(task.clone())), (0, false), "{task:?}");
        let mut seen = starting();
        seen.seen.ecs.stopped_tasks = Seen::Known(vec![task]);
        assert_eq!(counted(&seen), (0, false));
    }
}

#[test]
fn tasks_of_stable_and_of_another_deployment_do_not_count() {
    let stable = other(|task| task.task_definition = names::task_definition(1));
    assert_eq!(counted(&starting().told_of_task(stable)), (0, false));
    // The same task definition, from a deployment before ours.
    let before = other(|task| task.created_at = Some(names::at(-60)));
    assert_eq!(counted(&starting().told_of_task(before)), (0, false));
    // Nobody knows when it was created, so nobody knows whose it is.
    let unknown = other(|task| task.created_at = None);
    assert_eq!(counted(&starting().told_of_task(unknown)), (0, false));
    assert_eq!(counted(&starting().told_of_task(other(|_| ()))), (1, false));
}

#[test]
fn before_the_deployment_nothing_is_asked_for_and_nothing_counts() {
    let early = Fixture::registering();
    assert_eq!(
        tidegate_core::decide::needs(&early.release, &early.seen)
            .ecs
            .stopped_tasks
            .map(|asked| asked.task_definition),
        None::<TaskDefinitionArn>
    );
    assert_eq!(counted(&early.crashed(5)), (0, false));
    let begun = starting();
    let needs = tidegate_core::decide::needs(&begun.release, &begun.seen);
    assert_eq!(needs.ecs.stopped_tasks.map(|asked| asked.task_definition), Some(names::task_definition(2)));
}

#[test]
fn stopped_tasks_that_cannot_be_seen_hold_nothing_and_are_told() {
    let mut blind = Fixture::baking(10).later(300);
    blind.seen.ecs.stopped_tasks = Seen::Unknown(tidegate_core::fault::PortError::new(
        tidegate_core::fault::ErrorKind::Denied,
        "ecs:ListTasks",
        "AccessDeniedException",
        "no",
    ));
    let release = blind.decide().release;
    assert!(matches!(release.stage(), Some(Stage::Shift { .. })), "{:?}", release.phase);
}

#[test]
fn a_failure_is_a_line_of_the_history_and_a_fact_of_the_report() {
    let decision = starting().crashed(1).decide();
    let entry = decision.entry.unwrap();
    assert_eq!(
        (entry.event.to_string().as_str(), entry.event.why().as_str()),
        ("1 task of the candidate failed", "app exited with code 1")
    );
    let facts = &decision.release.report.facts;
    assert!(
        facts.iter().any(|fact| fact.to_string()
            == "1 task of the candidate failed: app exited with code 1; 3 roll the release back"),
        "{facts:?}"
    );
}

#[test]
fn every_wait_has_its_deadline_in_the_report() {
    let deadline = |fixture: &Fixture| {
        let deadline = fixture.decide().release.report.deadline?;
        Some((deadline.at.duration_since(fixture.now).as_secs(), deadline.then))
    };
    assert_eq!(deadline(&Fixture::registering()), Some((600, DeadlineAction::End)));
    assert_eq!(deadline(&Fixture::starting().deployed()), Some((1800, DeadlineAction::RollBack)));
    assert_eq!(deadline(&Fixture::shifted().later(3)), Some((1497, DeadlineAction::RollBack)));
    assert_eq!(deadline(&Fixture::preparing().breached()), Some((600, DeadlineAction::End)));
    assert_eq!(
        deadline(&Fixture::rolling_back().later(10)),
        Some((7190, DeadlineAction::ManualIntervention))
    );
}

#[test]
fn in_the_simulator_a_crash_loop_is_rolled_back_within_a_minute_or_two() {
    for from_percent in [0, 10, 100] {
        let scenario = Scenario::canary(Quality::Crashes { from_percent });
        let report = Simulation::new(scenario).run().expect_sound();
        assert_eq!(report.outcomes, ["rolled back"], "from {from_percent}%");
        let told = report.trace.iter().filter(|line| line.contains("exits with code 1")).count();
        assert!((3..=6).contains(&told), "{told} tasks crashed before it was rolled back");
        assert!(report.trace.iter().any(|line| line.contains("tasks of the candidate failed")));
        assert!(report.took < SignedDuration::from_mins(15), "{:#}", report.took);
    }
}

#[test]
fn without_events_looking_finds_the_crashes() {
    let mut scenario = Scenario::canary(Quality::Crashes { from_percent: 0 });
    scenario.delivering.lost = 1000;
    // The push itself is found by the clock.
    let report = Simulation::new(scenario).run().expect_sound();
    assert_eq!(report.outcomes, ["rolled back"]);
    assert!(report.trace.iter().any(|line| line.contains("tasks of the candidate failed")));
}
