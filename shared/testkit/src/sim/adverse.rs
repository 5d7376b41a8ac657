//! Worlds that are made to hurt: each aims at one rule, with times and amounts drawn from the seed. Random worlds rarely meet a rule at
//! its edge; these do within a few seeds.

use jiff::SignedDuration;
use tidegate_core::effect::Effect;

use super::engine::{Report, Simulation};
use super::scenario::{Action, Delivering, Scenario, gated, policy};
use crate::fakes::{Fault, Faults, Quality};
use crate::names;

/// How many kinds there are; a seed's kind is its remainder.
pub const KINDS: u64 = 12;

/// The world of a seed.
pub fn adverse(seed: u64) -> Scenario {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0xad7e);
    let rng = &mut rng;
    let scenario = match seed % KINDS {
        0 => stalls_between_commit_and_shift(rng),
        1 => weights_are_reset(rng),
        2 => nothing_but_looks_finds_the_breach(rng),
        3 => cancelled_while_it_starts(rng),
        4 => answers_are_lost(rng),
        5 => deployments_are_described_late(rng),
        6 => the_alarm_is_muted(rng),
        7 => someone_deploys(rng),
        8 => red_at_the_end_of_the_bake(rng),
        9 => performers_stall_at_the_end(rng),
        10 => a_calm_world(rng),
        _ => the_stable_version_flaps_before_the_start(rng),
    };
    Scenario { seed, ..scenario }
}

fn secs(rng: &mut fastrand::Rng, from: u32, to: u32) -> SignedDuration {
    SignedDuration::from_millis(i64::from(rng.u32(from * 1000..to * 1000)))
}

fn calm(quality: Quality) -> Report {
    Simulation::new(Scenario::canary(quality)).run()
}

/// The second at which the effect that is meant was begun in a calm run.
fn begun(report: &Report, nth: usize, meant: fn(&Effect) -> bool) -> u32 {
    let found = report.performed.iter().filter(|done| meant(&done.effect)).nth(nth);
    let at = found.map_or(names::start(), |done| done.begun);
    u32::try_from(at.duration_since(names::start()).as_secs()).expect("a short scenario")
}

/// A performer sleeps after its commit while the alarm goes off: what it then does is stale.
fn stalls_between_commit_and_shift(rng: &mut fastrand::Rng) -> Scenario {
    let report = calm(Quality::Good);
    let nth = rng.usize(0..2);
    let at = begun(&report, nth, |effect| matches!(effect, Effect::ContinueHook { .. }));
    let name = ["shifting to 10 %", "shifting to 100 %"][nth].to_owned();
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.script.push((at + 1, Action::Alarm(true)));
    scenario.conditions.faults = Faults::Named { name, fault: Fault::StallAfter(secs(rng, 6, 55)) };
    scenario
}

/// Terraform resets the rule, at any moment, also while people think.
fn weights_are_reset(rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("promote"), ..Scenario::canary(Quality::Good) };
    let at = rng.u32(30..200);
    scenario.script.push((at, Action::Weights([[100, 0], [50, 50], [0, 100]][rng.usize(0..3)])));
    scenario.script.push((at + rng.u32(45..200), Action::Answer(true)));
    scenario.script.push((500, Action::Answer(true)));
    scenario
}

/// Every event is lost and ECS does not look itself.
fn nothing_but_looks_finds_the_breach(rng: &mut fastrand::Rng) -> Scenario {
    let quality = Quality::Bad { from_percent: rng.u32(1..=10), alarm_after_secs: rng.u32(5..60) };
    let mut scenario = Scenario::canary(quality);
    scenario.policy = policy("canary: { percent: 10, bake: 10m }, bake: 10m", "queue");
    scenario.habits.alarm_poll = (86_400_000, 86_400_000);
    scenario.delivering = Delivering { lost: 1_000, ..Delivering::default() };
    scenario.promotes = Some(false);
    scenario
}

/// A person cancels in the very moment in which the deployment is started, and the call hangs, or its answer is lost.
fn cancelled_while_it_starts(rng: &mut fastrand::Rng) -> Scenario {
    let report = calm(Quality::Good);
    let at = begun(&report, 0, |effect| matches!(effect, Effect::StartDeployment { .. }));
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.script.push((at, Action::Cancel));
    scenario.script.push((at + 1, Action::Cancel));
    let fault = match rng.u32(0..3) {
        0 => Fault::StallBefore(secs(rng, 1, 4)),
        1 => Fault::AnswerLost,
        _ => Fault::CrashAfter,
    };
    scenario.conditions.faults = Faults::Named { name: "ecs:start_deployment".into(), fault };
    scenario.conditions.read_lag = rng.u64(0..4_000);
    scenario.promotes = Some(false);
    scenario
}

/// Of two calls one is done and not answered.
fn answers_are_lost(rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.conditions.faults = Faults::Only { per_mille: rng.u32(300..=500), fault: Fault::AnswerLost };
    scenario.promotes = Some(true);
    scenario
}

/// A deployment is listed long before it is described.
fn deployments_are_described_late(rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.habits.described_after = (1_000, rng.u64(5_000..40_000));
    scenario.promotes = Some(true);
    scenario
}

/// The candidate is bad and somebody has muted the alarm.
fn the_alarm_is_muted(rng: &mut fastrand::Rng) -> Scenario {
    let quality = Quality::Bad { from_percent: 10, alarm_after_secs: rng.u32(1..20) };
    let mut scenario = Scenario::canary(quality);
    scenario.script.push((20, Action::Mute(true)));
    if rng.bool() {
        scenario.script.push((rng.u32(100..400), Action::Mute(false)));
    }
    scenario.promotes = Some(false);
    scenario
}

/// Somebody else deploys in the middle, with our hooks or with a configuration of their own.
fn someone_deploys(rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.policy = policy("canary: { percent: 10, bake: 4m }, bake: 4m", "queue");
    let deploy = Action::Deploy { revision: 901, own_configuration: rng.bool() };
    scenario.script.push((rng.u32(30..400), deploy));
    scenario
}

/// The alarm goes off in the last seconds of a bake, which callers see late.
fn red_at_the_end_of_the_bake(rng: &mut fastrand::Rng) -> Scenario {
    let report = calm(Quality::Good);
    let at = begun(&report, 1, |effect| matches!(effect, Effect::ContinueHook { .. }));
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.script.push((at.saturating_sub(rng.u32(1..6)), Action::Alarm(true)));
    scenario.conditions.latency = (20, rng.u64(2_000..6_000));
    scenario.delivering = Delivering { lost: 1_000, ..Delivering::default() };
    scenario.habits.alarm_poll = (86_400_000, 86_400_000);
    scenario.habits.alarm_recovery = (3_600_000, 3_600_000);
    scenario.promotes = Some(false);
    scenario
}

/// Whoever restores the configuration hangs while another release waits for its turn.
fn performers_stall_at_the_end(rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario::canary(Quality::Good);
    scenario.script.push((rng.u32(20..100), Action::Push(3, Quality::Good)));
    let name = ["ecs:restore_configuration", "putting the configuration back"][rng.usize(0..2)].to_owned();
    let fault = match name.starts_with("ecs:") {
        true => Fault::StallBefore(secs(rng, 2, 4)),
        false => Fault::StallAfter(secs(rng, 2, 4)),
    };
    scenario.conditions.faults = Faults::Named { name, fault };
    scenario
}

/// Nothing goes wrong but the build, if it does.
fn a_calm_world(rng: &mut fastrand::Rng) -> Scenario {
    let good = rng.bool();
    let quality = match good {
        true => Quality::Good,
        false => Quality::Bad { from_percent: rng.u32(1..=100), alarm_after_secs: rng.u32(5..25) },
    };
    let mut scenario = Scenario::canary(quality);
    scenario.conditions.latency = (5, rng.u64(10..200));
    scenario.conditions.skew = rng.i64(0..2_000);
    if good && rng.bool() {
        scenario.policy = gated(["deploy", "shift", "promote"][rng.usize(0..3)]);
        scenario.script.extend((1..20).map(|minute| (minute * 60, Action::Answer(true))));
    }
    scenario.promotes = Some(good);
    scenario
}

/// A release waits for a person, and the alarm of what runs goes off and recovers meanwhile.
fn the_stable_version_flaps_before_the_start(rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = Scenario { policy: gated("deploy"), ..Scenario::canary(Quality::Good) };
    let at = rng.u32(30..200);
    scenario.script.push((at, Action::Alarm(true)));
    scenario.script.push((at + rng.u32(5..60), Action::Alarm(false)));
    scenario.script.push((at + rng.u32(100..600), Action::Answer(true)));
    scenario.promotes = Some(true);
    scenario
}
