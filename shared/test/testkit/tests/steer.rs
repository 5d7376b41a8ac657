//! What people ask of a release's pace: pause, continue, promote now. For each state: what may be asked, what is decided then, and that nothing
//! of it keeps a release from being rolled back.

use tidegate_core::history::{DeadlineAction, Event, StageResult, WaitingOn};
use tidegate_core::intent::Request;
use tidegate_core::invariants::{check_decision, check_release, check_step};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::{self, Percent};
use tidegate_core::release::{Phase, Release};
use tidegate_core::requests::{Ask, NotPossible};
use tidegate_core::seen::Seen;
use tidegate_core::vocab::cloudwatch::AlarmState;
use tidegate_core::vocab::ecs::DeploymentStatus;
use tidegate_testkit::build::{Fixture, cancel_asked, rollback_asked};
use tidegate_testkit::names;

/// How long people may pause a release whose policy does not say.
const LIMIT: i64 = 900;

/// What happens to a release.
type Happens = fn(Fixture) -> Fixture;

#[track_caller]
fn check(fixture: &Fixture, expected: &str) {
    assert_eq!(fixture.in_words(), expected);
}

/// Everywhere between the plan and the last step, with what would be done next.
fn on_the_way() -> Vec<Fixture> {
    vec![
        Fixture::registering(),
        Fixture::starting(),
        Fixture::starting().deployed(),
        Fixture::shifting(),
        Fixture::shifted().later(7),
        Fixture::shifted().waiting(2).weight(10).later(3),
        Fixture::baking(10).later(300),
        Fixture::baking(100).later(900),
        Fixture::promoting(),
    ]
}

fn why_not(fixture: &Fixture, ask: Ask) -> NotPossible {
    fixture.ask(ask).expect_err("it is not possible")
}

#[test]
fn a_paused_release_is_looked_at_every_minute_and_does_not_move() {
    for fixture in on_the_way() {
        let mut paused = patient(fixture).told_to(Ask::Pause);
        let before = paused.release.phase.clone();
        for _ in 0..30 {
            // Ten times the same event.
            for _ in 0..10 {
                let decision = paused.decide();
                check_decision(&paused.release, &decision).expect("it may be decided");
                assert_eq!((&decision.release.phase, &decision.effects), (&before, &Vec::new()));
                assert!(decision.entry.is_none(), "a look is no news: {:?}", decision.entry);
                paused = paused.decided();
            }
            let wake = paused.release.wake.as_ref().expect("nothing waits for an event alone").at;
            assert_eq!(wake.duration_since(paused.now).as_secs(), 60);
            paused = paused.later(60);
        }
        let WaitingOn::Paused { by, why, until } = &paused.release.report.waiting_on else {
            panic!("{:?}", paused.release.report)
        };
        assert_eq!((by.to_string().as_str(), why.as_str()), ("ana", "to have a look"));
        let deadline = paused.release.report.deadline.clone().expect("a pause has an end");
        let then = if paused.release.is_started() { DeadlineAction::RollBack } else { DeadlineAction::End };
        assert_eq!((deadline.at, deadline.then), (*until, then));
    }
}

#[test]
fn whatever_rolls_a_release_back_does_so_while_it_is_paused() {
    let reasons: [(&str, Happens); 6] = [
        ("an alarm", Fixture::breached),
        ("failed tasks", |fixture| fixture.crashed(3)),
        ("a person", |fixture| fixture.asked(rollback_asked())),
        ("a cancellation", |fixture| fixture.asked(cancel_asked())),
        ("a newer release", |fixture| fixture.asked(Request::Supersede { by: names::release(2) })),
        ("Amazon ECS", |fixture| fixture.status(DeploymentStatus::RollbackInProgress)),
    ];
    for (name, happens) in reasons {
        for fixture in
            [Fixture::shifting(), Fixture::shifted().later(7), Fixture::baking(10), Fixture::baking(100)]
        {
            let paused = happens(fixture.clone().told_to(Ask::Pause).later(120));
            let unpaused = happens(fixture.later(120));
            let (decided, without) = (paused.decide().release, unpaused.decide().release);
            assert!(matches!(decided.phase, Phase::RollingBack(_)), "{name}: {}", decided.summary());
            assert_eq!(decided.phase, without.phase, "{name}");
            assert_eq!(paused.in_words(), unpaused.in_words(), "{name}");
            assert_eq!(decided.pause, None);
            check_release(&decided).expect("a rollback is not paused");
        }
    }
    let weights = Fixture::baking(10).told_to(Ask::Pause).later(60).weight(50);
    assert!(matches!(weights.decide().release.cause(), Some(Cause::Weights { .. })));
}

#[test]
fn a_pause_that_nobody_ends_is_rolled_back_at_its_limit() {
    let paused = |fixture: Fixture| fixture.told_to(Ask::Pause).later(LIMIT - 1).decided();
    let last = paused(Fixture::baking(10));
    check(&last, "paused: bake at 10% for 5m |  | +1s");
    let ended = last.later(1).decide().release;
    let by = tidegate_core::actor::Actor::Person { name: "ana".into() };
    let Some(Cause::PauseExpired { by: who, limit_secs: 900 }) = ended.cause() else {
        panic!("{:?}", ended.phase)
    };
    assert_eq!(*who, by);
    // Nothing has run, so nothing is rolled back or quarantined.
    let never_started = paused(Fixture::registering()).later(1).decided();
    let Phase::Settling { outcome, .. } = &never_started.release.phase else {
        assert!(never_started.release.is_over(), "{:?}", never_started.release.phase);
        assert!(matches!(never_started.release.outcome(), Some(Outcome::Cancelled { .. })));
        return;
    };
    assert!(matches!(outcome, Outcome::Cancelled { .. }), "{outcome:?}");
}

/// One that people may pause for two hours, longer than the limits of its stages.
fn patient(mut fixture: Fixture) -> Fixture {
    fixture.release.plan.as_mut().expect("a plan").pause_secs = 7200;
    fixture
}

#[test]
fn after_a_pause_everything_has_as_much_time_as_before() {
    let continued =
        |fixture: Fixture, secs: i64| patient(fixture).told_to(Ask::Pause).later(secs).told_to(Ask::Continue);
    let baking = continued(Fixture::baking(10).without_evidence().later(100), 1000);
    check(&baking, "bake at 10% for 5m |  | +60s");
    check(&baking.clone().later(199), "bake at 10% for 5m |  | +1s");
    check(&baking.later(200), "shift to 100% | continue deployment d0001 | +6s");
    // Limits, too: a shift may take 25 minutes.
    check(&continued(Fixture::shifting(), 3000), "shift to 10% | continue deployment d0001 | +6s");
    let expires = |fixture: &Fixture| fixture.release.gates[&0].expires_at;
    let gated = Fixture::gated(|stage| matches!(stage, Stage::Approve { .. })).decided();
    let paused = continued(gated.clone(), 600);
    assert_eq!(expires(&paused).duration_since(expires(&gated)).as_secs(), 600);
}

#[test]
fn all_pauses_of_a_release_together_have_one_limit() {
    let paused = Fixture::baking(10).told_to(Ask::Pause);
    let until = |fixture: &Fixture| {
        let pause = fixture.release.pause.clone().expect("it is paused");
        pause.until.duration_since(fixture.now).as_secs()
    };
    assert_eq!(until(&paused), LIMIT);
    let again = paused.later(400).told_to(Ask::Continue).told_to(Ask::Pause);
    assert_eq!(until(&again), 499);
    let spent = again.later(498).told_to(Ask::Continue);
    assert_eq!(
        why_not(&spent, Ask::Pause),
        NotPossible::PausedEnough { release: names::release(1), allowed_secs: 900 }
    );
    let mut forbidden = Fixture::baking(10);
    forbidden.release.plan.as_mut().expect("a plan").pause_secs = 0;
    assert!(matches!(why_not(&forbidden, Ask::Pause), NotPossible::PausedEnough { .. }));
}

#[test]
fn the_hooks_of_amazon_ecs_wait_longer_than_people_may_pause() {
    let plan_of = |pause: &str| {
        let text = format!(
            "service: checkout\n\
             from: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }} }}\n\
             to: {{ ecs: {{ cluster: prod, service: checkout, container: app }} }}\n\
             strategy: {{ canary: {{ percent: 10, bake: 5m }}, bake: 15m }}\n\
             evidence: {{ min_requests: 0, compare: [] }}\n\
             {pause}\n"
        );
        let policy = policy::parse("pause.yaml", &text).expect("a policy");
        Fixture::queued_with(policy).decided().decided().release.plan.expect("a plan")
    };
    for (pause, secs) in
        [("", 900), ("pause: 1h", 3600), ("pause: 0s", 0), ("pause: 20m", 1200), ("pause: 6h", 21_600)]
    {
        let plan = plan_of(pause);
        assert_eq!(plan.pause_secs, secs, "{pause}");
        for (hook, bake) in [(0, 5 * 60), (1, 15 * 60)] {
            let hooks = &plan.setup.ecs_native().expect("ECS shifts").configuration["lifecycleHooks"];
            let minutes = hooks[hook]["timeoutConfiguration"]["timeoutInMinutes"].as_u64().expect("a number");
            let least = u64::from(secs) + bake;
            assert!(minutes * 60 >= least + 15 * 60, "{pause}: {minutes} min");
            assert!(minutes * 60 < least + 50 * 60, "{pause}: {minutes} min");
        }
    }
}

#[test]
fn what_cannot_be_paused_says_why() {
    let release = || names::release(1);
    assert!(matches!(why_not(&Fixture::queued(), Ask::Pause), NotPossible::NotUnderWay { .. }));
    assert!(matches!(why_not(&Fixture::preparing(), Ask::Pause), NotPossible::NotUnderWay { .. }));
    assert!(matches!(why_not(&Fixture::settling(), Ask::Pause), NotPossible::LastStep { .. }));
    assert!(matches!(why_not(&Fixture::promoting().decided(), Ask::Pause), NotPossible::LastStep { .. }));
    for ask in [Ask::Pause, Ask::Continue, Ask::PromoteNow] {
        assert_eq!(why_not(&Fixture::rolling_back(), ask), NotPossible::AlreadyBack { release: release() });
        let mut ended = Fixture::baking(10);
        ended.release.phase = Phase::Ended { outcome: Outcome::Promoted, at: ended.now, restored_at: None };
        assert_eq!(why_not(&ended, ask), NotPossible::Ended { release: release(), word: "promoted" });
        let stopped = Fixture::baking(10).asked(cancel_asked());
        assert_eq!(why_not(&stopped, ask), NotPossible::AskedToStop { release: release() });
    }
    let paused = Fixture::baking(10).told_to(Ask::Pause);
    assert!(matches!(why_not(&paused, Ask::Pause), NotPossible::AlreadyPaused { .. }));
    assert!(matches!(why_not(&Fixture::baking(10), Ask::Continue), NotPossible::NotPaused { .. }));
    let mut restores = Fixture::baking(10);
    restores.release.intent = tidegate_core::intent::Intent::Rollback {
        from: None,
        to: names::release(7),
        deployed: tidegate_core::intent::Deployed::Ecs(tidegate_core::intent::EcsDeployed {
            task_definition: names::task_definition(1),
            images: Default::default(),
        }),
    };
    assert_eq!(why_not(&restores, Ask::Pause), NotPossible::Restores { release: release() });
}

/// The service has an approval of its own in the deployment: a person's `continue` is none.
#[test]
fn a_persons_continue_does_not_answer_a_pause_of_the_services_own() {
    let own = serde_json::json!([{ "targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
        "timeoutConfiguration": { "timeoutInMinutes": 60, "action": "ROLLBACK" } }]);
    let planned = Fixture::queued().configured("lifecycleHooks", own).decided().decided();
    let mut fixture = Fixture::starting().waiting(1).saying(None).later(60);
    fixture.release.plan = planned.release.plan;
    let Seen::Known(deployments) = &mut fixture.seen.ecs.deployments else { panic!("they are seen") };
    // Begun a minute ago, with the timeout of the service's own.
    deployments[0].hooks[0].expires_at = Some(names::at(60 * 60));
    assert!(matches!(why_not(&fixture, Ask::Continue), NotPossible::NotPaused { .. }));
    let continued = fixture.told_to(Ask::Pause).later(30).told_to(Ask::Continue).later(30);
    check(&continued, "start candidate |  | +15s");
}

#[test]
fn promoting_now_skips_the_time_of_bakes_and_nothing_else() {
    let now = |fixture: Fixture| fixture.told_to(Ask::PromoteNow);
    let baking = Fixture::baking(10).later(242);
    check(&now(baking.clone()), "shift to 100% | continue deployment d0001 | +6s");
    let entry = now(baking.clone()).decide().entry.expect("a stage is done");
    let Event::StageDone { result, .. } = &entry.event else { panic!("{entry:?}") };
    let skipped = StageResult::BakeSkipped {
        percent: Percent::from_tenths(100),
        after_secs: 242,
        requests: Some(1000),
    };
    assert_eq!(result, &skipped);
    // What a bake has to prove is proven all the same, and what it ends by ends it.
    let held = "bake at 10% for 5m |  | +15s";
    check(&now(baking.clone()).blind_to_alarms(), held);
    check(&now(baking.clone()).alarm(AlarmState::InsufficientData), held);
    check(&now(baking.clone()).breached().silenced(), held);
    let mut few = now(Fixture::baking(10).requests(0));
    few.release.progress.requests = None;
    check(&few.clone().later(242), held);
    assert!(matches!(
        few.clone().later(300 + 1800).decide().release.cause(),
        Some(Cause::Inconclusive { .. })
    ));
    check(&few.later(242).requests(100), "shift to 100% | continue deployment d0001 | +6s");
    assert_eq!(now(baking.clone()).breached().in_words(), baking.clone().breached().in_words());
    assert_eq!(now(baking.clone()).crashed(3).in_words(), baking.crashed(3).in_words());
    // A look from before they said so proves nothing.
    let mut stale = Fixture::baking(10).later(242);
    stale.seen.at = names::at(0);
    check(&now(stale), "bake at 10% for 5m |  | +0s");
    // Shifts are taken as ever.
    check(&now(Fixture::shifting()), "shift to 10% | continue deployment d0001 | +6s");
    check(&now(Fixture::shifting()).blind_to_alarms(), "shift to 10% |  | +15s");
}

#[test]
fn promoting_now_asks_whom_the_policy_names_and_opens_no_gate() {
    for meant in [
        (|stage: &Stage| matches!(stage, Stage::Approve { .. })) as fn(&Stage) -> bool,
        |stage| *stage == Stage::Freeze,
        |stage| matches!(stage, Stage::Verify { .. }),
    ] {
        let gated = Fixture::gated(meant);
        let now = gated.clone().told_to(Ask::PromoteNow);
        let stages = |release: &Release| release.plan.as_ref().map(|plan| plan.stages.clone());
        assert_eq!(stages(&now.release), stages(&gated.release), "no stage is taken out of the plan");
        assert_eq!(now.in_words(), gated.in_words());
        assert_eq!(now.decide().release.stage(), gated.release.stage());
    }
}

#[test]
fn nothing_is_promoted_now_while_an_alarm_is_in_alarm_or_nothing_is_left_to_skip() {
    let silenced = Fixture::baking(10).breached().silenced().later(10).decided();
    assert_eq!(why_not(&silenced, Ask::PromoteNow), NotPossible::InAlarm { alarm: names::alarm() });
    let paused = Fixture::baking(10).told_to(Ask::Pause).breached().silenced().later(10).decided();
    assert_eq!(why_not(&paused, Ask::PromoteNow), NotPossible::InAlarm { alarm: names::alarm() });
    // Known to nobody when it was asked; it is found by the next look.
    check(
        &Fixture::shifting().told_to(Ask::PromoteNow).alarm(AlarmState::InsufficientData),
        "shift to 10% |  | +15s",
    );
    assert!(matches!(why_not(&Fixture::promoting(), Ask::PromoteNow), NotPossible::NothingToSkip { .. }));
    assert!(matches!(why_not(&Fixture::queued(), Ask::PromoteNow), NotPossible::NotUnderWay { .. }));
    let twice = Fixture::baking(10).told_to(Ask::PromoteNow);
    assert!(matches!(why_not(&twice, Ask::PromoteNow), NotPossible::AlreadyPromoting { .. }));
}

#[test]
fn promoting_now_ends_a_pause_and_a_pause_ends_promoting_now() {
    let promoted =
        Fixture::baking(10).without_evidence().told_to(Ask::Pause).later(60).told_to(Ask::PromoteNow);
    assert_eq!(promoted.release.pause, None);
    check(&promoted, "shift to 100% | continue deployment d0001 | +6s");
    let paused = Fixture::baking(10).told_to(Ask::PromoteNow).told_to(Ask::Pause);
    assert_eq!(paused.release.promote_now, None);
    check(&paused.later(60).told_to(Ask::Continue), "bake at 10% for 5m |  | +60s");
}

#[test]
fn what_was_asked_is_told_with_who_and_why() {
    let told = |fixture: &Fixture, ask: Ask| {
        let commit = fixture.ask(ask).expect("it is possible");
        let entry = commit.releases[0].entry.clone().expect("it is told");
        format!("{} · {} · {}", entry.actor, entry.event, entry.event.why())
    };
    let baking = Fixture::baking(10);
    assert_eq!(told(&baking, Ask::Pause), "ana · paused until 2026-03-02T09:15:00Z at most · to have a look");
    assert_eq!(
        told(&baking, Ask::PromoteNow),
        "ana · promoting without waiting for the bakes · to have a look"
    );
    let paused = baking.told_to(Ask::Pause);
    assert_eq!(told(&paused, Ask::Continue), "ana · continued · to have a look");
}

/// What a decision must never be, whoever made it.
#[test]
fn no_decision_moves_a_paused_release() {
    let paused = Fixture::baking(10).told_to(Ask::Pause).release;
    let mut next = paused.clone();
    next.version += 1;
    assert!(check_step(&paused, &next).is_ok());
    next.progress.set = Some(Percent::ALL);
    assert!(check_step(&paused, &next).is_err());
    let mut next = paused.clone();
    next.version += 1;
    let Phase::Running { stage, .. } = &mut next.phase else { panic!("it bakes") };
    *stage += 1;
    assert!(check_step(&paused, &next).is_err());
    let mut settling = Fixture::settling().release;
    settling.pause = paused.pause;
    assert!(check_release(&settling).is_err());
}
