//! How many calls have to be waited for one after the other until an effect reaches AWS. Every call takes 20 ms of the simulation's time, and
//! those that are made at the same time count once.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use tidegate_core::actor::Actor;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::policy::parse;
use tidegate_testkit::fakes::{Aws, Balancing, Caller, Conditions, EcsHabits, Quality, Universe};
use tidegate_testkit::names;

const CALL_MILLIS: u64 = 20;
const POLICY: &str = "
service: checkout
from:     { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 1m }, bake: 1m }
rollback: { alarms: [checkout-5xx] }
";

/// A canary there, each invocation in its time: in which round of its invocation each kind of effect was performed last.
fn canary() -> BTreeMap<&'static str, i128> {
    let own =
        serde_json::json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 });
    let aws = Aws::new(Balancing::LoadBalancer, own, EcsHabits::default(), 1);
    let conditions = Conditions { latency: (CALL_MILLIS, CALL_MILLIS), ..Conditions::default() };
    let universe = Universe::new(aws, conditions, 1, true);
    let context = universe.context(Caller { id: 4, name: "conductor".into() }, false);
    let policy = parse("policy.yaml", POLICY).expect("a policy");
    let by = Actor::Person { name: "tester".into() };
    universe.run(context.installation.apply(&policy, &by)).expect("it is stored");
    universe.state().aws.push(2, Quality::Good, names::start());
    let request = ReleaseRequest::by_hand(policy.service.clone(), names::change(2), by);
    universe.run(context.installation.release_image(request, |_| true)).expect("it is let in");
    let id = universe.state().rows.releases().next().map(|release| release.id.clone()).expect("one");
    let mut rounds = BTreeMap::new();
    for _ in 0..200 {
        let (began, already) = {
            let state = universe.state();
            (state.now, state.performed.len())
        };
        let until = began.saturating_add(SignedDuration::from_secs(57)).expect("a time");
        let driven = universe.run(context.woken(&id, until)).expect("driven");
        for done in universe.state().performed.iter().skip(already) {
            let after = done.applied.duration_since(began).as_millis();
            rounds
                .insert(done.effect.name(), (after + i128::from(CALL_MILLIS) - 1) / i128::from(CALL_MILLIS));
        }
        let Some(wake) = driven.wake_at else { return rounds };
        let wait = wake.duration_since(universe.state().now).max(SignedDuration::from_millis(1));
        universe.run(context.installation.time.sleep(wait));
    }
    panic!("the canary was not promoted");
}

#[test]
fn the_end_of_a_bake_continues_in_six_rounds_and_a_push_starts_in_sixteen() {
    let rounds = canary();
    println!("{rounds:?}");
    assert!(rounds["start_deployment"] <= 16, "{rounds:?}");
    assert!(rounds["continue_hook"] <= 6, "{rounds:?}");
}
