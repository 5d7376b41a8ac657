//! Worlds that are made to hurt: each aims at one rule, with times and amounts drawn from the seed. Random worlds rarely meet a rule at
//! its edge; these do within a few seeds. Where a moment matters, the same world is played once without what hurts to find it.

mod own;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_core::effect::Effect;
use tidegate_core::plan::Stage;
use tidegate_core::policy::Percent;
use tidegate_core::requests::Ask;
use tidegate_core::vocab::ecs;

use super::engine::{Report, Simulation};
use super::scenario::{
    Action, Delivering, Neighbour, Scenario, Spoilt, asking, gated, of_a_neighbour, policy, with,
};
use crate::fakes::{Balancing, Fault, Faults, Planned, Quality};
use crate::names;

/// A kind of world, made for a seed.
type Kind = fn(u64, &mut fastrand::Rng) -> Scenario;

/// The kinds; a seed's is its remainder.
const KINDS: &[(&str, Kind)] = &[
    ("stalls between commit and shift", stalls_between_commit_and_shift),
    ("weights are reset", weights_are_reset),
    ("nothing but looks finds the breach", nothing_but_looks_finds_the_breach),
    ("cancelled while it starts", cancelled_while_it_starts),
    ("answers are lost", answers_are_lost),
    ("deployments are described late", deployments_are_described_late),
    ("the alarm is muted", the_alarm_is_muted),
    ("someone deploys", someone_deploys),
    ("someone deploys while it starts", someone_deploys_while_it_starts),
    ("red at the end of the bake", red_at_the_end_of_the_bake),
    ("the look at the end of the bake lags", the_look_at_the_end_of_the_bake_lags),
    ("executors stall at the end", performers_stall_at_the_end),
    ("an executor sleeps, and then its call hangs", an_executor_sleeps_and_then_its_call_hangs),
    ("calm", a_calm_world),
    ("the stable version flaps before the start", the_stable_version_flaps_before_the_start),
    ("news of flaps comes late", news_of_flaps_comes_late),
    ("rolled back and pushed again", rolled_back_and_pushed_again),
    ("pushes come out of order", pushes_come_out_of_order),
    ("what was planned from changes", what_was_planned_from_changes),
    ("approved, then changed", approved_then_changed),
    ("nobody approves in time", nobody_approves_in_time),
    ("who asks for it approves it", who_asks_for_it_approves_it),
    ("frozen", frozen),
    ("cancelled in a bake", cancelled_in_a_bake),
    ("paused and continued", paused_and_continued),
    ("paused and forgotten", paused_and_forgotten),
    ("promoted now", promoted_now),
    ("the tag moves", the_tag_moves),
    ("the candidate crashes", the_candidate_crashes),
    ("nobody talks to the candidate", nobody_talks_to_the_candidate),
    ("the stop is not done", the_stop_is_not_done),
    ("who claimed the rollback dies", who_claimed_the_rollback_dies),
    ("a look hangs", a_look_hangs),
    ("the policy goes elsewhere", the_policy_goes_elsewhere),
    ("the watch row is damaged at the alarm", the_watch_row_is_damaged_at_the_alarm),
    ("the service row is damaged at the alarm", the_service_row_is_damaged_at_the_alarm),
    ("a neighbour's row is damaged", a_neighbours_row_is_damaged),
    ("a neighbour's wake-up is damaged", a_neighbours_wake_up_is_damaged),
    ("ECS rolls back by itself", ecs_rolls_back_by_itself),
    ("a pause is continued twice", a_pause_is_continued_twice),
    ("only the numbers see it", only_the_numbers_see_it),
    ("nobody may read the numbers", nobody_may_read_the_numbers),
    ("own weights: calm", own::a_calm_world),
    ("own weights: the rule is reset", own::the_rule_is_reset),
    ("own weights: the rule is reset again and again", own::the_rule_is_reset_again_and_again),
    ("own weights: reset at the shift", own::reset_at_the_shift),
    ("own weights: someone deploys", own::someone_deploys),
    ("own weights: the service is scaled in", own::the_service_is_scaled_in),
    ("own weights: the candidate's service is deleted", own::the_candidates_service_is_deleted),
    ("own weights: answers are lost", own::answers_are_lost),
    ("own weights: who promotes dies", own::who_promotes_dies),
    ("own weights: red while it is promoted", own::red_while_it_is_promoted),
    ("own weights: stalls between commit and shift", own::stalls_between_commit_and_shift),
];

fn of(seed: u64) -> &'static (&'static str, Kind) {
    let count = u64::try_from(KINDS.len()).expect("a short list");
    &KINDS[usize::try_from(seed % count).expect("a short list")]
}

/// The world of a seed.
pub fn adverse(seed: u64) -> Scenario {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0xad7e);
    (of(seed).1)(seed, &mut rng)
}

/// What kind of world a seed's is.
pub fn kind(seed: u64) -> &'static str {
    of(seed).0
}

fn canary(seed: u64, quality: Quality) -> Scenario {
    Scenario { seed, ..Scenario::canary(quality) }
}

fn millis(rng: &mut fastrand::Rng, from: i64, to: i64) -> SignedDuration {
    SignedDuration::from_millis(rng.i64(from..to))
}

fn secs(rng: &mut fastrand::Rng, from: i64, to: i64) -> SignedDuration {
    millis(rng, from * 1_000, to * 1_000)
}

/// So many seconds after the beginning, drawn.
fn at(rng: &mut fastrand::Rng, from: i64, to: i64) -> Timestamp {
    names::at(rng.i64(from..to))
}

/// What comes of the world as it is so far.
fn played(scenario: &Scenario) -> Report {
    Simulation::new(scenario.clone()).run().expect_sound()
}

/// When the effect that is meant was begun.
fn begun(report: &Report, nth: usize, meant: fn(&Effect) -> bool) -> Timestamp {
    let found = report.performed.iter().filter(|done| meant(&done.effect)).nth(nth);
    found.expect("an effect of every such release").begun
}

fn continues(effect: &Effect) -> bool {
    matches!(effect, Effect::Ecs(ecs::Effect::ContinueHook { .. }))
}

fn starts(effect: &Effect) -> bool {
    matches!(effect, Effect::Ecs(ecs::Effect::StartDeployment { .. }))
}

/// When the release entered the stage that is meant.
fn entered(report: &Report, meant: fn(&Stage) -> bool) -> Timestamp {
    let found = report.entered.iter().find(|(stage, _)| meant(stage));
    found.expect("a stage of every such release").1
}

/// Events are lost, and ECS does not look at alarms itself.
fn deaf(mut scenario: Scenario) -> Scenario {
    scenario.habits.alarm_poll = (86_400_000, 86_400_000);
    scenario.delivering = Delivering { lost: 1_000, ..Delivering::default() };
    scenario
}

/// A executor sleeps after its commit while the alarm goes off: what it then does is stale.
fn stalls_between_commit_and_shift(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let nth = rng.usize(0..2);
    let shift = begun(&played(&scenario), nth, continues);
    scenario.script.push((shift + secs(rng, 1, 2), Action::Alarm(true)));
    // The commit that begins the second shift ends the bake before it.
    let name = ["shifting to 10%", "bake at 10% for 40s: done"][nth];
    scenario.conditions.faults = Faults::at_first(name, Fault::StallAfter(secs(rng, 6, 55)));
    scenario
}

/// Terraform resets the rule while the last approval is waited for: what is then promoted has no traffic.
fn weights_are_reset(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("promote"), ..canary(seed, Quality::Good) };
    let end = names::at(600);
    scenario.script.push((end, Action::Answer(true)));
    let asked = entered(&played(&scenario), |stage| matches!(stage, Stage::Approve { .. }));
    let reset = asked + secs(rng, 5, 60);
    scenario.script.push((reset, Action::Weights([[100, 0], [50, 50]][rng.usize(0..2)])));
    scenario.script.push((reset + secs(rng, 45, 200), Action::Answer(true)));
    scenario.promotes = Some(false);
    scenario
}

/// Every event is lost and ECS does not look itself.
fn nothing_but_looks_finds_the_breach(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let quality = Quality::Bad { from_percent: rng.u32(1..=10), alarm_after_secs: rng.u32(5..60) };
    let mut scenario = deaf(canary(seed, quality));
    scenario.policy = policy("canary: { percent: 10, bake: 10m }, bake: 10m", "queue");
    scenario.promotes = Some(false);
    scenario
}

/// A person cancels just after the deployment was asked for, and the call hangs: there is none when the release is given up, and there is one a
/// moment later.
fn cancelled_while_it_starts(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let start = begun(&played(&scenario), 0, starts);
    scenario.script.push((start + millis(rng, 50, 400), Action::Cancel));
    let fault = Fault::StallBefore(secs(rng, 2, 4));
    scenario.conditions.faults = Faults::at_first("ecs:start_deployment", fault);
    scenario.promotes = Some(false);
    scenario
}

/// Of two calls one is done and not answered.
fn answers_are_lost(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.conditions.faults = Faults::Only { per_mille: rng.u32(300..=500), fault: Fault::AnswerLost };
    scenario.promotes = Some(true);
    scenario
}

/// A deployment is listed long before it is described.
fn deployments_are_described_late(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.habits.described_after = (1_000, rng.u64(5_000..40_000));
    scenario.promotes = Some(true);
    scenario
}

/// The candidate is bad and somebody has muted the alarm.
fn the_alarm_is_muted(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let quality = Quality::Bad { from_percent: 10, alarm_after_secs: rng.u32(1..20) };
    let mut scenario = canary(seed, quality);
    scenario.script.push((names::at(20), Action::Mute(true)));
    if rng.bool() {
        scenario.script.push((at(rng, 100, 400), Action::Mute(false)));
    }
    scenario.promotes = Some(false);
    scenario
}

/// Somebody else deploys in the middle, with our hooks or with a configuration of their own.
fn someone_deploys(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.policy = policy("canary: { percent: 10, bake: 4m }, bake: 4m", "queue");
    let deploy = Action::Deploy { revision: 901, own_configuration: rng.bool() };
    scenario.script.push((at(rng, 30, 400), deploy));
    scenario
}

/// The deployment was asked for and nothing came of it; somebody else has what runs deployed anew before it is asked for again.
fn someone_deploys_while_it_starts(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.habits.task_start = (40_000, 60_000);
    let start = begun(&played(&scenario), 0, starts);
    let fault = [Fault::Unavailable, Fault::Throttled][rng.usize(0..2)];
    scenario.conditions.faults = Faults::at_first("ecs:start_deployment", fault);
    let deploy = Action::Deploy { revision: 1, own_configuration: rng.bool() };
    scenario.script.push((start + secs(rng, 1, 8), deploy));
    scenario
}

/// The alarm goes off in the last seconds of a bake, which callers see late.
fn red_at_the_end_of_the_bake(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = deaf(canary(seed, Quality::Good));
    scenario.conditions.latency = (20, rng.u64(2_000..6_000));
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    let shift = begun(&played(&scenario), 1, continues);
    scenario.script.push((shift - secs(rng, 1, 6), Action::Alarm(true)));
    scenario.promotes = Some(false);
    scenario
}

/// The alarm is in ALARM in the last second of a bake and some seconds after it. One look has read it before that and comes to its decision after
/// the end; whoever decides takes a while to write it down, and nobody else comes.
fn the_look_at_the_end_of_the_bake_lags(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = deaf(canary(seed, Quality::Good));
    scenario.delivering.queue_millis = 20_000;
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let end = entered(&played(&scenario), bakes) + SignedDuration::from_secs(40);
    let look = end - millis(rng, 1_500, 2_500);
    scenario.script.push((look, Action::Look));
    scenario.script.push((end - millis(rng, 300, 1_000), Action::Alarm(true)));
    scenario.script.push((end + secs(rng, 4, 6), Action::Alarm(false)));
    let planned = |name: &str, fault| Planned { from: look, name: name.to_owned(), fault };
    scenario.conditions.faults = Faults::Planned(vec![
        planned("cloudwatch:DescribeAlarms", Fault::StallAfter(millis(rng, 2_600, 3_000))),
        planned("bake at 10%", Fault::StallAfter(secs(rng, 7, 9))),
    ]);
    scenario.promotes = Some(false);
    scenario
}

/// Whoever restores the configuration hangs while another release waits for its turn.
fn performers_stall_at_the_end(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.script.push((at(rng, 20, 100), Action::Push(3, Quality::Good)));
    scenario.conditions.faults = match rng.bool() {
        true => Faults::at_first("ecs:restore_configuration", Fault::StallBefore(secs(rng, 2, 4))),
        false => Faults::at_first("promote: done", Fault::StallAfter(secs(rng, 2, 4))),
    };
    scenario
}

/// Whoever restores the configuration sleeps before the call for almost as long as it may, and then the call hangs for almost as long as it
/// may. Meanwhile somebody else has done the same, sees it done, and sees all traffic where it belongs.
fn an_executor_sleeps_and_then_its_call_hangs(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let restore = begun(&played(&scenario), 0, |effect| {
        matches!(effect, Effect::Ecs(ecs::Effect::RestoreConfiguration { .. }))
    });
    scenario.script.push((restore + millis(rng, 6_100, 6_300), Action::Look));
    let planned = |name: &str, fault| Planned { from: names::start(), name: name.to_owned(), fault };
    scenario.conditions.faults = Faults::Planned(vec![
        planned("promote: done", Fault::StallAfter(millis(rng, 3_500, 3_800))),
        planned("ecs:restore_configuration", Fault::StallBefore(millis(rng, 3_500, 4_000))),
    ]);
    scenario.promotes = Some(true);
    scenario
}

/// Nothing goes wrong but the build, if it does.
fn a_calm_world(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let good = rng.bool();
    let quality = match good {
        true => Quality::Good,
        false => Quality::Bad { from_percent: rng.u32(1..=100), alarm_after_secs: rng.u32(5..25) },
    };
    let mut scenario = canary(seed, quality);
    scenario.conditions.latency = (5, rng.u64(10..200));
    scenario.conditions.skew = rng.i64(0..2_000);
    if good && rng.bool() {
        scenario.policy = gated(["deploy", "shift", "promote"][rng.usize(0..3)]);
        scenario.script.extend((1..20).map(|minute| (names::at(minute * 60), Action::Answer(true))));
    }
    scenario.promotes = Some(good);
    scenario
}

/// A release waits for a person, and the alarm of what runs goes off and recovers meanwhile.
fn the_stable_version_flaps_before_the_start(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("deploy"), ..canary(seed, Quality::Good) };
    let red = at(rng, 30, 200);
    scenario.script.push((red, Action::Alarm(true)));
    scenario.script.push((red + secs(rng, 5, 60), Action::Alarm(false)));
    scenario.script.push((red + secs(rng, 100, 600), Action::Answer(true)));
    scenario.promotes = Some(true);
    scenario
}

/// The alarm of what runs goes off and recovers again and again before the start, and the events of that come when something of the
/// candidate runs.
fn news_of_flaps_comes_late(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("deploy"), ..canary(seed, Quality::Good) };
    scenario.delivering = Delivering { late: 1_000, late_millis: 240_000, ..Delivering::default() };
    for flap in 0..5 {
        let red = names::at(70 + 20 * flap) + secs(rng, 0, 10);
        scenario.script.push((red, Action::Alarm(true)));
        scenario.script.push((red + secs(rng, 3, 9), Action::Alarm(false)));
    }
    scenario.script.extend((0..10).map(|answer| (names::at(175 + answer * 60), Action::Answer(true))));
    scenario.promotes = Some(true);
    scenario
}

/// A bad build is rolled back, and pushed again.
fn rolled_back_and_pushed_again(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let quality = Quality::Bad { from_percent: rng.u32(1..=100), alarm_after_secs: rng.u32(5..25) };
    let mut scenario = canary(seed, quality);
    scenario.push_again = true;
    scenario.promotes = Some(false);
    scenario
}

/// Builds are pushed one after the other, and the events of that come in any order.
fn pushes_come_out_of_order(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.delivering = Delivering { late: 1_000, late_millis: 50_000, ..Delivering::default() };
    let mut pushed = names::at(5);
    for build in 3..6 {
        pushed += secs(rng, 2, 12);
        scenario.script.push((pushed, Action::Push(build, Quality::Good)));
    }
    scenario
}

/// What the owner of a service changes, while a release of it waits.
fn changed(rng: &mut fastrand::Rng) -> Action {
    let percent = rng.u32(110..190);
    Action::Configure(
        json!({ "strategy": "ROLLING", "maximumPercent": percent, "minimumHealthyPercent": 100 }),
    )
}

/// While an approval is waited for, the service's owner changes its deployment configuration.
fn what_was_planned_from_changes(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("deploy"), ..canary(seed, Quality::Good) };
    scenario.script.push((at(rng, 20, 100), changed(rng)));
    scenario.script.extend((2..12).map(|minute| (names::at(minute * 60), Action::Answer(true))));
    scenario.promotes = Some(true);
    scenario
}

/// It has been approved, and the alarm of what runs holds the start; meanwhile the service's owner changes its deployment configuration.
fn approved_then_changed(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("deploy"), ..canary(seed, Quality::Good) };
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    let red = at(rng, 30, 60);
    let approved = red + secs(rng, 5, 20);
    let configured = approved + secs(rng, 5, 60);
    let green = configured + secs(rng, 5, 60);
    scenario.script.extend([
        (red, Action::Alarm(true)),
        (approved, Action::Answer(true)),
        (configured, changed(rng)),
        (green, Action::Alarm(false)),
    ]);
    scenario.script.extend(
        (0..5).map(|minute| (green + secs(rng, 200 + 60 * minute, 230 + 60 * minute), Action::Answer(true))),
    );
    scenario.promotes = Some(true);
    scenario
}

/// The approval comes after its time.
fn nobody_approves_in_time(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let before = ["deploy", "shift", "promote"][rng.usize(0..3)];
    let policy = asking(json!({ "before": before, "by": ["ana"], "expires": "5m" }));
    let mut scenario = Scenario { policy, ..canary(seed, Quality::Good) };
    scenario.script.push((at(rng, 720, 900), Action::Answer(true)));
    scenario.promotes = Some(false);
    scenario
}

/// Ana has the build released, and only Ana approves.
fn who_asks_for_it_approves_it(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let policy = asking(
        json!({ "before": "deploy", "by": ["ana", "ben"], "expires": "10m", "not_by_requester": true }),
    );
    let mut scenario = Scenario { policy, ..canary(seed, Quality::Good) };
    scenario.delivering.lost = 1_000;
    scenario.script.push((at(rng, 10, 30), Action::Insist(2)));
    scenario.script.extend((1..8).map(|minute| (names::at(minute * 60), Action::Answer(true))));
    scenario.promotes = Some(false);
    scenario
}

/// A freeze window is open when the build is pushed.
fn frozen(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let then = ["wait", "refuse"][rng.usize(0..2)];
    let until = rng.u32(5..55);
    let window = json!({ "from": "2026-03-02T08:00", "to": format!("2026-03-02T09:{until:02}") });
    let freeze = json!({ "time_zone": "UTC", "dated": [window], "then": then });
    scenario.policy = with(&scenario.policy, &[("freeze", freeze)]);
    scenario.promotes = Some(then == "wait");
    scenario
}

/// A person cancels while the candidate has traffic.
fn cancelled_in_a_bake(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let bake = entered(&played(&scenario), bakes);
    scenario.script.push((bake + secs(rng, 5, 35), Action::Cancel));
    scenario.promotes = Some(false);
    scenario
}

/// A person pauses a release in a bake or just as it shifts, and continues it a while later, before the quarter of an hour is over that a policy allows
/// which says nothing.
fn paused_and_continued(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = paused(seed, rng);
    let (at, _) = scenario.script[scenario.script.len() - 1];
    scenario.script.push((at + secs(rng, 1, 840), Action::Steer(Ask::Continue)));
    scenario.promotes = Some(true);
    scenario
}

/// A person pauses a release, and goes home.
fn paused_and_forgotten(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    Scenario { promotes: Some(false), ..paused(seed, rng) }
}

fn paused(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let bake = entered(&played(&scenario), bakes);
    scenario.script.push((bake + secs(rng, 0, 35), Action::Steer(Ask::Pause)));
    scenario
}

/// A person does not wait for the bakes of a candidate that is bad as soon as it has some traffic, or good.
fn promoted_now(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let good = rng.bool();
    let bad = Quality::Bad { from_percent: 1, alarm_after_secs: 1 };
    let mut scenario = canary(seed, if good { Quality::Good } else { bad });
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let bake = entered(&played(&canary(seed, Quality::Good)), bakes);
    let after = if good { secs(rng, 0, 35) } else { secs(rng, 5, 10) };
    scenario.script.push((bake + after, Action::Steer(Ask::PromoteNow)));
    scenario.promotes = Some(good);
    scenario
}

/// The task definition names a tag that the candidate's push has moved, and half of the tasks of before are gone when the alarm goes off.
/// Amazon ECS rolls back by starting others, which pull what the tag means now.
fn the_tag_moves(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Bad { from_percent: 50, alarm_after_secs: rng.u32(1..10) });
    scenario.policy = policy("rolling: {}, bake: 2m", "queue");
    scenario.habits.task_start = (30_000, 60_000);
    scenario.habits.tagged = true;
    scenario.habits.resolves_each_task = true;
    scenario.promotes = Some(false);
    scenario
}

/// The candidate's tasks crash once it has traffic, and no alarm sees it.
fn the_candidate_crashes(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Crashes { from_percent: rng.u32(1..=100) });
    scenario.policy = policy("canary: { percent: 10, bake: 3m }, bake: 3m", "queue");
    scenario.promotes = Some(false);
    scenario
}

/// No request comes, so an alarm that is OK says nothing.
fn nobody_talks_to_the_candidate(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.habits.requests = 0;
    let wait = format!("{}m", rng.u32(2..10));
    let evidence = json!({ "min_requests": rng.u32(1..1_000), "wait": wait });
    scenario.policy = with(&scenario.policy, &[("evidence", evidence)]);
    scenario.promotes = Some(false);
    scenario
}

/// The candidate is bad, and the first call that would stop it does nothing.
fn the_stop_is_not_done(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let quality = Quality::Bad { from_percent: rng.u32(1..=100), alarm_after_secs: rng.u32(5..25) };
    let mut scenario = canary(seed, quality);
    scenario.habits.alarm_poll = (86_400_000, 86_400_000);
    let fault = [Fault::Unavailable, Fault::Throttled][rng.usize(0..2)];
    scenario.conditions.faults = Faults::at_first("ecs:stop_deployment", fault);
    scenario.promotes = Some(false);
    scenario
}

/// The candidate is bad, and whoever has claimed to write that it goes back dies.
fn who_claimed_the_rollback_dies(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.habits.alarm_poll = (86_400_000, 86_400_000);
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let red = entered(&played(&scenario), bakes) + secs(rng, 2, 35);
    scenario.script.push((red, Action::Alarm(true)));
    let name = "dynamodb:PutItem claim".to_owned();
    scenario.conditions.faults = Faults::Planned(vec![Planned { from: red, name, fault: Fault::CrashAfter }]);
    scenario.promotes = Some(false);
    scenario
}

/// The look on which the candidate would get more traffic hangs for half a minute after it has read the alarms, and nobody else comes: the
/// clock stands still.
fn a_look_hangs(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = deaf(canary(seed, Quality::Good));
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    let patient = policy("canary: { percent: 10, bake: 150s }, bake: 40s", "queue");
    scenario.policy = with(&patient, &[("evidence", json!({ "min_requests": 0 }))]);
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let bake = entered(&played(&scenario), bakes);
    scenario.delivering.clock_stands = Some((bake, bake + SignedDuration::from_mins(6)));
    scenario.script.push((bake + secs(rng, 151, 155), Action::Look));
    let all = |stage: &Stage| matches!(stage, Stage::Shift { percent } if *percent == Percent::ALL);
    let shift = entered(&played(&scenario), all);
    scenario.script.push((shift + millis(rng, 500, 1_500), Action::Alarm(true)));
    let (name, fault) = ("cloudwatch:DescribeAlarms".to_owned(), Fault::StallAfter(secs(rng, 24, 34)));
    scenario.conditions.faults = Faults::Planned(vec![Planned { from: shift, name, fault }]);
    scenario.promotes = Some(false);
    scenario
}

/// No alarm sees that the candidate fails more often; its numbers beside the stable version's do, however late they come.
fn only_the_numbers_see_it(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.policy = with(&scenario.policy, &[("evidence", json!({}))]);
    scenario.habits.errors = [1, rng.u32(60..=200)];
    scenario.habits.metrics_late = rng.u64(1_000..100_000);
    scenario.promotes = Some(false);
    scenario
}

/// Tidegate loses the right to read what both versions are compared by: what nobody saw proves nothing.
fn nobody_may_read_the_numbers(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    let evidence = json!({ "min_requests": 0, "wait": format!("{}m", rng.u32(5..=20)) });
    scenario.policy = with(&scenario.policy, &[("evidence", evidence)]);
    let ever = ("cloudwatch:GetMetricData".to_owned(), names::start(), names::at(86_400));
    scenario.conditions.denied.push(ever);
    scenario.promotes = Some(false);
    scenario
}

/// A release waits behind another, and the policy then sends what is released to another ECS service.
fn the_policy_goes_elsewhere(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("promote"), ..canary(seed, Quality::Good) };
    scenario.script.push((at(rng, 15, 60), Action::Push(3, Quality::Good)));
    let to = json!({ "ecs": { "cluster": "prod", "service": "checkout-next", "container": "app" } });
    let elsewhere = with(&scenario.policy, &[("to", to)]);
    let answered = at(rng, 250, 400);
    scenario.script.push((at(rng, 70, 240), Action::Apply(Box::new(elsewhere))));
    scenario
        .script
        .extend((0..5).map(|minute| (answered + SignedDuration::from_mins(minute), Action::Answer(true))));
    scenario.promotes = Some(true);
    scenario
}

/// The alarm goes off in the middle of a bake, when the next look is far away, and this row of the service cannot be read.
fn damaged_at_the_alarm(spoilt: Spoilt, seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.policy = policy("canary: { percent: 10, bake: 2m }, bake: 2m", "queue");
    scenario.habits.alarm_poll = (86_400_000, 86_400_000);
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let bake = entered(&played(&scenario), bakes);
    scenario.script.push((bake + secs(rng, 1, 3), Action::Damage(spoilt)));
    scenario.script.push((bake + secs(rng, 4, 12), Action::Alarm(true)));
    scenario.script.push((bake + secs(rng, 120, 600), Action::Mend));
    scenario.promotes = Some(false);
    scenario
}

fn the_watch_row_is_damaged_at_the_alarm(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    damaged_at_the_alarm(Spoilt::Watch, seed, rng)
}

fn the_service_row_is_damaged_at_the_alarm(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    damaged_at_the_alarm(Spoilt::Service, seed, rng)
}

/// The row of another service cannot be read, ever, and only the clock hears of the push to this one.
fn a_neighbours_row_is_damaged(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = deaf(canary(seed, Quality::Good));
    let script = vec![(at(rng, 1, 4), Action::Damage(Spoilt::Service))];
    scenario.neighbour = Some(Neighbour { policy: of_a_neighbour(&scenario.policy), script });
    scenario.promotes = Some(true);
    scenario
}

/// The key by which the clock finds another service's release cannot be read, and only the clock sees to it that this one's alarm is looked at.
fn a_neighbours_wake_up_is_damaged(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = deaf(canary(seed, Quality::Good));
    scenario.policy = policy("canary: { percent: 10, bake: 10m }, bake: 10m", "queue");
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    let mut script = vec![(names::at(5), Action::Push(2, Quality::Good))];
    scenario.neighbour = Some(Neighbour { policy: of_a_neighbour(&scenario.policy), script: script.clone() });
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let bake = entered(&played(&scenario), bakes);
    script.push((bake + secs(rng, 1, 10), Action::Damage(Spoilt::Wake)));
    script.push((bake + secs(rng, 900, 1_000), Action::Mend));
    scenario.neighbour = Some(Neighbour { policy: of_a_neighbour(&scenario.policy), script });
    scenario.script.push((bake + secs(rng, 90, 200), Action::Alarm(true)));
    scenario.promotes = Some(false);
    scenario
}

/// The alarm goes off for some seconds between two looks. ECS sees it and rolls back; nobody is told, and nobody measures the traffic.
fn ecs_rolls_back_by_itself(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = deaf(canary(seed, Quality::Good));
    scenario.balancing = Balancing::ServiceConnect;
    scenario.policy = policy("canary: { percent: 10, bake: 10m }, bake: 10m", "queue");
    scenario.habits.alarm_poll = (1_000, 1_000);
    let bakes = |stage: &Stage| matches!(stage, Stage::Bake { .. });
    let red = entered(&played(&scenario), bakes) + secs(rng, 65, 110);
    scenario.script.push((red, Action::Alarm(true)));
    scenario.script.push((red + secs(rng, 3, 6), Action::Alarm(false)));
    scenario.promotes = Some(false);
    scenario
}

/// Whoever continues a pause sleeps before the call for almost as long as it may, and then the call hangs for almost as long as it may. Meanwhile
/// somebody else has continued it, and to continue it again is refused.
fn a_pause_is_continued_twice(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = canary(seed, Quality::Good);
    scenario.habits.continues_once = true;
    scenario.habits.shift = (20_000, 30_000);
    let nth = rng.usize(0..2);
    let shift = begun(&played(&scenario), nth, continues);
    scenario.script.push((shift + millis(rng, 6_100, 6_300), Action::Look));
    let from = shift - SignedDuration::from_secs(1);
    let planned = |name: &str, fault| Planned { from, name: name.to_owned(), fault };
    scenario.conditions.faults = Faults::Planned(vec![
        planned(["shifting to 10%", "shifting to 100%"][nth], Fault::StallAfter(millis(rng, 3_500, 3_800))),
        planned("ecs:continue_hook", Fault::StallBefore(millis(rng, 3_500, 4_000))),
    ]);
    scenario.promotes = Some(true);
    scenario
}
