//! The same for the engine that sets the weights itself.

use serde_json::{Value, json};
use tidegate_core::effect::Effect;
use tidegate_core::plan::Stage;
use tidegate_core::policy::Percent;
use tidegate_core::vocab::elb;

use super::{begun, canary, entered, played, secs};
use crate::fakes::{Balancing, Fault, Faults, Planned, Quality};
use crate::sim::scenario::{Action, Meddling, Scenario};

/// Through 10 % and half of it to everything, behind a load balancer whose nodes hear late of new weights.
fn steps(seed: u64, quality: Quality) -> Scenario {
    of(seed, quality, json!({ "steps": [step(10, "40s"), step(50, "40s")], "bake": "100s" }))
}

fn of(seed: u64, quality: Quality, strategy: Value) -> Scenario {
    let mut scenario = canary(seed, quality).weighted(Balancing::Plain, strategy, 1);
    scenario.habits.task_check = (3_000, 8_000);
    scenario.habits.weights_reach = (60_000, 115_000);
    scenario.habits.deregistration = (5_000, 120_000);
    scenario
}

fn step(percent: u32, bake: &str) -> Value {
    json!({ "percent": percent, "bake": bake })
}

fn bakes(stage: &Stage) -> bool {
    matches!(stage, Stage::Bake { .. })
}

fn promotes(stage: &Stage) -> bool {
    *stage == Stage::Promote
}

/// Nothing goes wrong but the build, if it does.
pub(super) fn a_calm_world(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let good = rng.u32(0..3) > 0;
    let quality = match good {
        true => Quality::Good,
        false => Quality::Bad { from_percent: rng.u32(1..=30), alarm_after_secs: rng.u32(5..25) },
    };
    let mut scenario = steps(seed, quality);
    if rng.u32(0..4) == 0 {
        let strategy = json!({ "steps": [step(10, "40s"), step(50, "40s")], "bake": "100s" });
        scenario = scenario.weighted(Balancing::None, strategy, 1);
    }
    scenario.conditions.latency = (5, rng.u64(10..200));
    scenario.conditions.skew = rng.i64(0..2_000);
    scenario.promotes = Some(good);
    scenario
}

/// Terraform makes the rule as it was while the candidate bakes.
pub(super) fn the_rule_is_reset(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let strategy = json!({ "steps": [step(10, "3m"), step(50, "3m")], "bake": "3m" });
    let mut scenario = of(seed, Quality::Good, strategy);
    let bake = entered(&played(&scenario), bakes);
    for at in [rng.i64(5..100), rng.i64(300..400)] {
        let at = bake + secs(rng, at, at + 1);
        scenario.script.push((at, Action::Meddle(Meddling::ResetRule)));
    }
    scenario.promotes = Some(true);
    scenario
}

/// Whatever is set, something sets it back.
pub(super) fn the_rule_is_reset_again_and_again(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let strategy = json!({ "steps": [step(10, "15m")], "bake": "3m" });
    let mut scenario = of(seed, Quality::Good, strategy);
    let mut at = entered(&played(&scenario), bakes);
    for _ in 0..5 {
        at += secs(rng, 120, 150);
        let reset = [Action::Meddle(Meddling::ResetRule), Action::Weights([100, 0])];
        scenario.script.push((at, reset[rng.usize(0..2)].clone()));
    }
    scenario.promotes = Some(false);
    scenario
}

/// The weights are others just when the next share is to be set.
pub(super) fn reset_at_the_shift(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let strategy = json!({ "steps": [step(10, "90s"), step(50, "90s")], "bake": "100s" });
    let mut scenario = of(seed, Quality::Good, strategy);
    scenario.conditions.latency = (20, 300);
    let shift = |effect: &Effect| matches!(effect, Effect::Elb(elb::Effect::SetWeights { share, .. }) if *share > Percent::NONE);
    let next = begun(&played(&scenario), rng.usize(1..3), shift);
    scenario.script.push((next - secs(rng, 5, 60), Action::Weights([100, 0])));
    scenario.promotes = Some(true);
    scenario
}

/// Somebody else deploys the service while the candidate bakes.
pub(super) fn someone_deploys(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = steps(seed, Quality::Good);
    let bake = entered(&played(&scenario), bakes);
    let deploy = Action::Deploy { revision: 901, own_configuration: rng.bool() };
    scenario.script.push((bake + secs(rng, 1, 200), deploy));
    scenario.promotes = Some(false);
    scenario
}

/// Somebody scales the service in meanwhile.
pub(super) fn the_service_is_scaled_in(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = steps(seed, Quality::Good);
    let bake = entered(&played(&scenario), bakes);
    let tasks = rng.u32(1..5);
    scenario.script.push((bake + secs(rng, 1, 250), Action::Meddle(Meddling::Scale(tasks))));
    scenario.promotes = Some(true);
    scenario
}

/// Somebody takes the candidate's service for a leftover.
pub(super) fn the_candidates_service_is_deleted(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let strategy = json!({ "steps": [step(10, "3m"), step(50, "3m")], "bake": "3m" });
    let mut scenario = of(seed, Quality::Good, strategy);
    let bake = entered(&played(&scenario), bakes);
    scenario.script.push((bake + secs(rng, 1, 300), Action::Meddle(Meddling::DeleteCandidate)));
    scenario.promotes = Some(false);
    scenario
}

/// Of two calls one is done and not answered.
pub(super) fn answers_are_lost(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = steps(seed, Quality::Good);
    scenario.conditions.faults = Faults::Only { per_mille: rng.u32(300..=500), fault: Fault::AnswerLost };
    scenario.promotes = Some(true);
    scenario
}

/// Whoever promotes dies, before or after one of the calls.
pub(super) fn who_promotes_dies(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = steps(seed, Quality::Good);
    let from = entered(&played(&scenario), promotes) - secs(rng, 1, 2);
    let name = [
        "ecs:start_deployment",
        "elasticloadbalancing:set_weights",
        "ecs:delete_canary",
        "application-autoscaling:suspend",
    ][rng.usize(0..4)];
    let fault = [Fault::CrashBefore, Fault::CrashAfter][rng.usize(0..2)];
    scenario.conditions.faults = Faults::Planned(vec![Planned { from, name: name.to_owned(), fault }]);
    scenario.promotes = Some(true);
    scenario
}

/// The alarm goes off while the service itself becomes the new version.
pub(super) fn red_while_it_is_promoted(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = steps(seed, Quality::Good);
    scenario.habits.alarm_recovery = (600_000, 600_000);
    let promotion = entered(&played(&scenario), promotes);
    scenario.script.push((promotion + secs(rng, 1, 20), Action::Alarm(true)));
    scenario.promotes = Some(false);
    scenario
}

/// A executor sleeps after its commit while the alarm goes off: what it then does is stale.
pub(super) fn stalls_between_commit_and_shift(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let mut scenario = steps(seed, Quality::Good);
    let shift = |effect: &Effect| matches!(effect, Effect::Elb(elb::Effect::SetWeights { share, .. }) if *share > Percent::NONE);
    let nth = rng.usize(0..3);
    let next = begun(&played(&scenario), nth, shift);
    scenario.script.push((next + secs(rng, 1, 2), Action::Alarm(true)));
    let name = ["shifting to 10%", "shifting to 50%", "shifting to 100%"][nth];
    scenario.conditions.faults = Faults::at_first(name, Fault::StallAfter(secs(rng, 6, 55)));
    scenario
}
