//! What people and scripts are shown of a release in each phase. Regenerate with `INSTA_UPDATE=always cargo test -p tidegate-cli`
//! and read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fixtures;
mod init;

use fixtures::*;
use insta::{assert_json_snapshot, assert_snapshot};
use tidegate_cli::line::Line;
use tidegate_cli::render;
use tidegate_core::finding::{Finding, FindingCode};
use tidegate_core::forecast::{BakeForecast, ComparisonForecast, Forecast, Reads, Traffic};
use tidegate_core::history::{Entry, Event};
use tidegate_core::intent::{Deployed, EcsDeployed};
use tidegate_core::plan::{Compared, Plan};
use tidegate_core::policy::Percent;
use tidegate_core::release::Release;
use tidegate_core::service::{Promoted, Quarantined};
use tidegate_stats::forecast::Regression;
use tidegate_view::Live;
use tidegate_view::{PlanView, PlannedView, ReleaseRow, ReleaseView, ServiceRow, StageState, entries};

fn text(lines: &[Line]) -> String {
    lines.iter().map(Line::text).collect::<Vec<_>>().join("\n")
}

/// The plan's hash changes with every field the core's plan gains, which is not what these tests are about.
const HASH: &str = "0123456789abcdef";

fn view(release: &Release, history: &[Entry], live: &Live) -> ReleaseView {
    let view = ReleaseView::new(release, history, live);
    assert_eq!(view.plan, release.plan.as_ref().map(Plan::hash));
    ReleaseView { plan: view.plan.map(|_| HASH.into()), ..view }
}

fn tree(release: &Release, history: &[Entry], live: &Live, now: i64) -> String {
    text(&render::tree(&ReleaseView::new(release, history, live), &clock(now), 3))
}

#[test]
fn a_queued_release() {
    assert_snapshot!(tree(&queued(), &history_until_bake()[..1], &Live::default(), 10));
}

#[test]
fn preflight_waits() {
    assert_snapshot!(tree(&preparing(), &history_until_bake()[..2], &Live::default(), 10));
}

#[test]
fn people_are_asked_before_anything_is_changed() {
    assert_snapshot!(tree(&approving(), &history_until_bake()[..3], &Live::default(), 120));
}

#[test]
fn the_candidates_tasks_crash() {
    assert_snapshot!(tree(&crashing(), &history_until_bake()[..5], &live_denied(), 120));
}

#[test]
fn the_canary_bakes() {
    assert_snapshot!(tree(&baking(), &history_until_bake(), &live(), 120));
}

#[test]
fn the_canary_bakes_and_nothing_else_may_be_read() {
    assert_snapshot!(tree(&baking(), &history_until_bake(), &live_denied(), 120));
}

#[test]
fn an_alarm_turns_it_back() {
    assert_snapshot!(tree(&rolling_back(), &history_of_rollback()[..9], &live_red(), 182));
}

#[test]
fn it_was_rolled_back() {
    assert_snapshot!(tree(&rolled_back(), &history_of_rollback(), &Live::default(), 300));
}

#[test]
fn it_settles_before_it_is_promoted() {
    assert_snapshot!(tree(&settling(), &history_of_promotion(), &live_full(), 1302));
}

#[test]
fn it_was_promoted() {
    assert_snapshot!(tree(&promoted(), &history_of_promotion(), &Live::default(), 1400));
}

#[test]
fn a_person_is_needed() {
    assert_snapshot!(tree(&failed(), &history_until_bake(), &Live::default(), 300));
}

#[test]
fn it_was_cancelled_before_it_had_a_plan() {
    assert_snapshot!(tree(&cancelled(), &history_until_bake()[..1], &Live::default(), 300));
}

#[test]
fn a_newer_one_took_its_place() {
    assert_snapshot!(tree(&superseded(), &history_until_bake()[..1], &Live::default(), 300));
}

#[test]
fn a_person_goes_back() {
    assert_snapshot!(tree(&returning(), &[], &Live::default(), 10));
}

#[test]
fn json_of_a_baking_release() {
    assert_json_snapshot!(view(&baking(), &history_until_bake(), &live()));
}

#[test]
fn json_of_a_release_that_was_rolled_back() {
    assert_json_snapshot!(view(&rolled_back(), &history_of_rollback(), &Live::default()));
}

#[test]
fn the_whole_story() {
    let view = ReleaseView::new(&rolled_back(), &history_of_rollback(), &Live::default());
    let refused = Entry {
        event: Event::ImageRefused { change: change("main-43", 'b'), why: "it was rolled back".into() },
        at: at(260),
        ..history_until_bake()[0].clone()
    };
    assert_snapshot!(text(&render::why(&view, &entries(&[refused]), &clock(300))));
}

#[test]
fn what_changes_is_appended_where_nothing_can_be_written_over() {
    let looks = [
        (baking(), history_until_bake(), live(), 120),
        (baking(), history_until_bake(), live(), 121),
        (baking(), history_until_bake(), live_red(), 180),
        (rolling_back(), history_of_rollback()[..9].to_vec(), live_red(), 181),
        (rolled_back(), history_of_rollback(), Live::default(), 240),
    ];
    let mut before: Option<ReleaseView> = None;
    let mut told = Vec::new();
    for (release, history, live, now) in looks {
        let view = ReleaseView::new(&release, &history, &live);
        told.push(format!("--- {now}"));
        told.push(text(&render::changes(before.as_ref(), &view, &clock(now))));
        before = Some(view);
    }
    assert_snapshot!(told.join("\n"));
}

#[test]
fn a_low_terminal_shows_the_current_stage() {
    let view = ReleaseView::new(&baking(), &history_until_bake(), &live());
    for rows in [12, 14, 17, 20, 40] {
        let lines = render::fitted(&view, &clock(120), rows);
        assert!(lines.len() <= rows, "{rows}");
        assert!(text(&lines).contains("▶ bake at 10% for 5m"), "{rows}:\n{}", text(&lines));
        assert!(text(&lines).contains("next     bake at 10%"), "{rows}:\n{}", text(&lines));
    }
}

#[test]
fn a_plan_with_its_rollback_target() {
    let problem = "the service wants no tasks, so nothing proves the new version works".to_owned();
    let note = Finding { blocking: false, ..Finding::blocking(FindingCode::NoTasksWanted, problem) };
    let view = PlanView {
        service: "checkout".parse().unwrap(),
        target: queued().target,
        images: queued().change,
        blocked: false,
        findings: vec![note.into()],
        unseen: Vec::new(),
        notes: Vec::new(),
        plan: Some(PlannedView { hash: HASH.into(), ..PlannedView::from(&plan()) }),
        forecast: Some(forecast()),
        no_forecast: None,
    };
    assert_snapshot!(text(&render::plan(&view)));
    assert_json_snapshot!("json_of_a_plan", view);
}

/// What is to be expected of it, at 100 requests a second.
fn forecast() -> Forecast {
    let bake = |percent, secs, requests, held_secs, held_secs_when_quiet| BakeForecast {
        percent,
        secs,
        requests,
        needed: 100,
        held_secs,
        held_secs_when_quiet,
    };
    let regression =
        |ratio, found_after_secs, bad_requests| Regression { ratio, found_after_secs, bad_requests };
    Forecast {
        traffic: Traffic { average: 102.4, quietest: 0.03, busiest: 310.0 },
        bakes: vec![
            bake(Percent::from_tenths(100), 300, 3072.0, Some(0), None),
            bake(Percent::ALL, 900, 92_160.0, Some(0), Some(1200)),
        ],
        comparisons: vec![ComparisonForecast {
            of: Compared::Errors,
            rate: 0.001,
            regressions: vec![
                regression(10.0, Some(180.0), 18.4),
                regression(3.0, Some(300.0), 9.2),
                regression(2.0, None, 0.6),
            ],
        }],
        reads: Reads { calls: 8, metrics: 33, usd: 0.00033 },
    }
}

#[test]
fn a_plan_that_is_blocked() {
    let problem =
        "alarm checkout-5xx is already in ALARM; Amazon ECS would ignore all alarms of the deployment: bad";
    let red = Finding::blocking(FindingCode::AlarmInAlarm, problem.into());
    let view = PlanView {
        service: "checkout".parse().unwrap(),
        target: queued().target,
        images: queued().change,
        blocked: true,
        findings: vec![red.into()],
        unseen: vec!["ecr:DescribeImages: AccessDenied: not allowed".into()],
        notes: vec![format!("release {} is under way", id(41))],
        plan: None,
        forecast: None,
        no_forecast: None,
    };
    assert_snapshot!(text(&render::plan(&view)));
}

#[test]
fn lists() {
    let releases =
        [baking(), rolling_back(), rolled_back(), promoted(), failed(), cancelled(), superseded(), queued()];
    let rows: Vec<ReleaseRow> = releases.iter().map(ReleaseRow::from).collect();
    assert_snapshot!("releases", text(&render::releases(&rows, &clock(300), None)));
    let narrow = render::releases(&rows, &clock(300), Some(80));
    assert!(narrow.iter().all(|line| line.width() <= 80), "{narrow:?}");
    assert_snapshot!("releases_in_80_columns", text(&narrow));
    assert_json_snapshot!("json_of_a_release_in_a_list", rows[2]);

    let mut head = head();
    let fresh = ServiceRow::new(&"api".parse().unwrap(), &head, &account(), &region());
    head.active = Some(id(42));
    head.promoted.push(Promoted {
        release: id(41),
        change: change("main-41", 'a'),
        deployed: Deployed::Ecs(EcsDeployed {
            task_definition: plan()
                .setup
                .ecs_rollback_target()
                .expect("an ECS service")
                .task_definition
                .clone(),
            images: Default::default(),
        }),
        at: at(-90_000),
    });
    let quarantined = Quarantined { release: id(40), why: "alarm".into(), at: at(-7200) };
    head.quarantine.insert(image("main-40", 'c').digest, quarantined);
    let busy = ServiceRow::new(&"checkout".parse().unwrap(), &head, &account(), &region());
    let busy = busy.at(at(300), &head, Some(&baking()), Some(&promoted()));
    let idle = ServiceRow::new(&"search".parse().unwrap(), &self::head(), &account(), &region());
    let idle = idle.at(at(90_000), &self::head(), None, Some(&rolled_back()));
    let rows = [fresh, busy.clone(), idle];
    assert_snapshot!("services", text(&render::services(&rows, &clock(300), None)));
    let narrow = render::services(&rows, &clock(300), Some(80));
    assert!(narrow.iter().all(|line| line.width() <= 80), "{narrow:?}");
    assert_json_snapshot!("json_of_a_service_in_a_list", busy);
}

/// What the core tells of a stage is what the view looks for.
#[test]
fn a_stage_that_the_core_tells_of_is_shown_as_done() {
    use tidegate_core::decide::decide;
    use tidegate_core::observation::Observation;
    use tidegate_core::release::{Phase, Step};
    use tidegate_core::seen::Seen;
    use tidegate_core::vocab::ecs;

    let mut release = baking();
    release.phase = Phase::Running { stage: 0, since: at(5), step: Step::Entered };
    let candidate = release.progress.state.ecs_native_mut().task_definition.take();
    let seen = Observation {
        at: at(12),
        ecs: ecs::Observation { revision: Seen::Known(candidate), ..ecs::Observation::default() },
        ..Observation::default()
    };
    let decision = decide(&release, &seen, at(12));
    let view = ReleaseView::new(&decision.release, &[decision.entry.unwrap()], &Live::default());
    let stage = &view.stages[1];
    assert_eq!((stage.number, stage.state, stage.done_at), (Some(1), StageState::Done, Some(at(12))));
}

#[test]
fn a_release_that_is_shown_ends_as_a_command_does() {
    use tidegate_cli::exit::Exit;
    for release in
        [queued(), baking(), rolling_back(), rolled_back(), promoted(), failed(), cancelled(), superseded()]
    {
        let view = ReleaseView::new(&release, &[], &Live::default());
        assert_eq!(view.exit_code, Exit::of(&release).code(), "{}", release.summary());
    }
}
