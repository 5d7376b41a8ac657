//! Policies as they are stored.

use tidegate_core::actor::Actor;
use tidegate_core::policy::parse;

use crate::bench::{Bench, POLICY};

#[tokio::test]
async fn an_ecs_service_has_one_policy() {
    let bench = Bench::new().await;
    let by = Actor::Person { name: "tester".into() };
    let stored = async |text: String| {
        let policy = parse("policy.yaml", &text).unwrap();
        bench.installation().apply(&policy, &by).await.map_err(|error| error.to_string())
    };
    let second = POLICY.replace("service: checkout\n", "service: checkout-again\n");
    let error = stored(second.clone()).await.unwrap_err();
    assert!(error.contains("service checkout already releases to prod/checkout"), "{error}");
    assert!(bench.installation().ledger.service(&"checkout-again".parse().unwrap()).await.unwrap().is_none());
    // The account and the region Tidegate is at home in are the same whether they are written or not.
    let (account, region) = (&bench.installation().account, &bench.installation().region);
    let ecs = format!("ecs: {{ account: \"{account}\", region: {region}, ");
    let written = second.replace("ecs: { ", &ecs);
    assert!(written.contains("account:"), "{written}");
    assert!(stored(written).await.is_err());
    for other in ["cluster: staging", "cluster: prod, region: eu-west-3"] {
        let name = format!("service: {}\n", if other.contains("region") { "far" } else { "staged" });
        let text = POLICY.replace("service: checkout\n", &name).replace("cluster: prod", other);
        assert_eq!(stored(text).await, Ok(true), "{other}");
    }
    // Its own policy may change.
    assert_eq!(stored(POLICY.replace("bake: 1m }, bake: 1m", "bake: 2m }, bake: 1m")).await, Ok(true));
}
