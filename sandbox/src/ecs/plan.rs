//! What a deployment does, in order: computed when it is created, so that it can be read and tested as data.

use super::calls;
use super::config::{Config, Strategy};
use super::model::{Stage, Step};

/// What a plan depends on besides the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Whether there is a revision to come from.
    pub(super) has_source: bool,
    /// Whether a load balancer has a test listener rule.
    pub(super) has_test_rule: bool,
    /// Whether an interrupted deployment left more than one revision.
    pub(super) interrupted: bool,
    /// Whether alarms guard the deployment.
    pub(super) has_alarms: bool,
}

/// Minutes a ROLLING deployment with alarms is watched after the last replacement. AWS computes them from the alarms'
/// configuration and documents "less than 5 minutes" as the default.
const ROLLING_ALARM_BAKE_MINUTES: u32 = 3;

/// The steps of a deployment.
pub(super) fn forward(config: &Config, situation: Situation) -> Vec<Step> {
    let mut steps = Vec::new();
    if situation.interrupted {
        steps.extend([Step::Hooks(Stage::ReconcileService), Step::Reconcile]);
    }
    steps.push(Step::Hooks(Stage::PreScaleUp));
    let shifts = match config.strategy {
        Strategy::Rolling => {
            let default_bake = if situation.has_alarms { ROLLING_ALARM_BAKE_MINUTES } else { 0 };
            let minutes = config.bake_minutes.unwrap_or(default_bake);
            steps.extend([Step::Roll, Step::Hooks(Stage::PostScaleUp), Step::Bake { minutes }]);
            return steps;
        }
        Strategy::BlueGreen => vec![(100.0, 0)],
        Strategy::Canary { percent, bake_minutes } => vec![(percent, bake_minutes), (100.0, 0)],
        Strategy::Linear { step_percent, step_bake_minutes } => linear(step_percent, step_bake_minutes),
    };
    // There is nothing to hold the rest of the traffic in a service's first deployment.
    let shifts = if situation.has_source { shifts } else { vec![(100.0, 0)] };
    steps.extend([Step::ScaleUp, Step::Hooks(Stage::PostScaleUp)]);
    if situation.has_test_rule {
        steps.push(Step::TestShift);
        steps.extend(called_at(config, Stage::TestTrafficShift));
        steps.push(Step::Hooks(Stage::PostTestTrafficShift));
    }
    for (percent, minutes) in shifts {
        steps.extend([Step::Hooks(Stage::PreProductionTrafficShift), Step::ProductionShift { percent }]);
        steps.extend(called_at(config, Stage::ProductionTrafficShift));
        steps.push(Step::PartialBake { minutes });
    }
    let minutes = config.bake_minutes.unwrap_or(0);
    steps.extend([Step::Hooks(Stage::PostProductionTrafficShift), Step::Bake { minutes }, Step::CleanUp]);
    steps
}

/// The functions called during a shift, when there are any.
fn called_at(config: &Config, stage: Stage) -> Option<Step> {
    config.hooks.iter().any(|hook| hook.stages.contains(&stage)).then_some(Step::Hooks(stage))
}

fn linear(step_percent: f64, bake_minutes: u32) -> Vec<(f64, u32)> {
    // In tenths of a percent, the unit AWS allows, so that ten times 10% is exactly 100%.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 3.0 to 100.0")]
    let step = ((step_percent * 10.0).round() as u32).max(1);
    let below = (1..).map(|n| n * step).take_while(|tenths| *tenths < 1000);
    let mut shifts: Vec<_> = below.map(|tenths| (f64::from(tenths) / 10.0, bake_minutes)).collect();
    shifts.push((100.0, 0));
    shifts
}

/// The rollback: traffic first, everything else after; the functions of the shifts of `forward` are told of it.
pub(super) fn back(config: &Config, forward: &[Step]) -> Vec<Step> {
    match config.strategy {
        Strategy::Rolling => vec![Step::RollBack],
        Strategy::BlueGreen | Strategy::Canary { .. } | Strategy::Linear { .. } => {
            let mut steps = vec![Step::RestoreTraffic];
            steps.extend(calls::asked_again(forward));
            steps.push(Step::RemoveTarget);
            steps
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::super::settings::StaleBlocks;
    use super::*;
    use serde_json::{Map, Value, json};

    const SITUATION: Situation =
        Situation { has_source: true, has_test_rule: false, interrupted: false, has_alarms: false };

    fn plan(configuration: Value, situation: Situation) -> Vec<Step> {
        let merged =
            config::merge(&Map::new(), configuration.as_object().unwrap(), StaleBlocks::Keep).unwrap();
        forward(&config::parse(&merged).unwrap(), situation)
    }

    fn shifts(steps: &[Step]) -> Vec<(f64, u32)> {
        let bakes = steps.windows(2).filter_map(|pair| match pair {
            [Step::ProductionShift { percent }, Step::PartialBake { minutes }] => Some((*percent, *minutes)),
            _ => None,
        });
        bakes.collect()
    }

    #[test]
    fn canary_has_two_shifts_and_linear_ends_at_exactly_100() {
        let canary = json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 2.5}});
        assert_eq!(shifts(&plan(canary, SITUATION)), [(2.5, 10), (100.0, 0)]);
        let linear = json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 30, "stepBakeTimeInMinutes": 1}});
        assert_eq!(shifts(&plan(linear, SITUATION)), [(30.0, 1), (60.0, 1), (90.0, 1), (100.0, 0)]);
    }

    #[test]
    fn every_production_shift_has_its_own_pause_and_the_last_step_no_bake() {
        let steps =
            plan(json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50}}), SITUATION);
        let pauses =
            steps.iter().filter(|step| **step == Step::Hooks(Stage::PreProductionTrafficShift)).count();
        assert_eq!(pauses, 2);
        assert_eq!(shifts(&steps).last(), Some(&(100.0, 0)));
    }

    #[test]
    fn a_first_deployment_shifts_at_once() {
        let steps = plan(json!({"strategy": "CANARY"}), Situation { has_source: false, ..SITUATION });
        assert_eq!(shifts(&steps), [(100.0, 0)]);
    }
}
