//! Weights of listener rules. As AWS does (aws/containers-roadmap#2853), weights are written without a look at what is
//! live: whoever else changed them is overwritten.

use super::model::{Deployment, Service, Shifting, Slot};
use super::world::World;
use crate::ports::AwsError;

/// Weights of the main and the alternate target group for so many percent on the target's slot. Weights are integers up
/// to 999, so tenths of a percent are written per mille.
fn weights(target: Slot, percent: f64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
    let tenths = (percent.clamp(0.0, 100.0) * 10.0).round() as u32;
    let (on_target, rest) =
        if tenths.is_multiple_of(10) { (tenths / 10, 100 - tenths / 10) } else { (tenths, 1000 - tenths) };
    match target {
        Slot::Main => (on_target, rest),
        Slot::Alternate => (rest, on_target),
    }
}

fn set(
    rule: &str,
    main: &str,
    alternate: &str,
    weights: (u32, u32),
    world: &World<'_>,
) -> Result<(), AwsError> {
    world
        .balancers
        .set_forward_weights(rule, &[(main.to_owned(), weights.0), (alternate.to_owned(), weights.1)])
}

fn shiftings(service: &Service, deployment: &Deployment) -> Vec<(String, Shifting)> {
    let balancers = &service.revision(deployment.target).balancers;
    balancers
        .iter()
        .filter_map(|balancer| {
            balancer.shifting.clone().map(|shifting| (balancer.target_group.clone(), shifting))
        })
        .collect()
}

/// Gives the deployment's target so many percent of production traffic. Returns whether every load balancer took it.
pub(super) fn shift_production(
    service: &mut Service,
    deployment: &mut Deployment,
    percent: f64,
    world: &World<'_>,
) -> bool {
    let weights = weights(service.revision(deployment.target).slot, percent);
    for (main, shifting) in shiftings(service, deployment) {
        let rule = &shifting.production_rule;
        let set = set(rule, &main, &shifting.alternate_target_group, weights, world);
        if let Err(error) = set {
            refused(service, deployment, rule, &error, world);
            return false;
        }
    }
    deployment.production_percent = percent;
    deployment.shift_error = None;
    deployment.traffic_unsure = false;
    true
}

/// The same for the test listener rules, where there are any.
pub(super) fn shift_test(
    service: &mut Service,
    deployment: &mut Deployment,
    percent: f64,
    world: &World<'_>,
) -> bool {
    let weights = weights(service.revision(deployment.target).slot, percent);
    for (main, shifting) in shiftings(service, deployment) {
        let Some(rule) = &shifting.test_rule else { continue };
        if let Err(error) = set(rule, &main, &shifting.alternate_target_group, weights, world) {
            refused(service, deployment, rule, &error, world);
            return false;
        }
    }
    deployment.test_percent = percent;
    deployment.shift_error = None;
    true
}

fn refused(
    service: &mut Service,
    deployment: &mut Deployment,
    rule: &str,
    error: &AwsError,
    world: &World<'_>,
) {
    let message = format!("failed to modify (listener-rule {rule}): {}: {}", error.code, error.message);
    if deployment.shift_error.as_ref() != Some(&message) {
        service.log(world.now, &message);
        deployment.shift_error = Some(message);
    }
}

/// Network Load Balancers take ten minutes longer for every shift.
pub(super) fn is_network(service: &Service, deployment: &Deployment) -> bool {
    shiftings(service, deployment)
        .iter()
        .any(|(_, shifting)| shifting.production_rule.contains(":listener/net/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exact_and_within_what_load_balancers_take() {
        assert_eq!(weights(Slot::Alternate, 10.0), (90, 10));
        assert_eq!(weights(Slot::Main, 10.0), (10, 90));
        assert_eq!(weights(Slot::Alternate, 0.1), (999, 1));
        assert_eq!(weights(Slot::Alternate, 2.5), (975, 25));
        assert_eq!(weights(Slot::Alternate, 100.0), (0, 100));
        assert_eq!(weights(Slot::Alternate, 0.0), (100, 0));
    }
}
