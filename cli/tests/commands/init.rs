//! `init`: from a service as it is to a policy file that `apply` takes.

use serde_json::Value;
use tidegate_testkit::fakes::{Balancing, Universe};

use crate::bench::Bench;

fn strategy<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let all = answer["strategies"].as_array().unwrap();
    all.iter().find(|it| it["strategy"] == name).unwrap()
}

fn codes(strategy: &Value) -> Vec<&str> {
    let findings = strategy["findings"].as_array().unwrap();
    let blocking = findings.iter().filter(|finding| finding["blocking"] == true);
    blocking.map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_service_with_nothing_prepared_is_told_what_it_lacks_in_the_words_of_preflight() {
    let bench = Bench::empty(Universe::behind(Balancing::Plain));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.yaml");
    let args = ["init", "--cluster", "prod", "--service", "checkout", "--out", file.to_str().unwrap()];
    let (code, answer) = bench.json(&[&args as &[&str], &["--as", "cloudformation"]].concat()).await;
    assert_eq!(code, 0);
    let canary = strategy(&answer, "canary");
    let lacks = codes(canary);
    assert!(lacks.contains(&"no_second_target_group") && lacks.contains(&"alarm_missing"), "{lacks:?}");
    assert_eq!(canary["blocked"], true);
    assert!(!codes(strategy(&answer, "rolling")).contains(&"no_second_target_group"));
    assert!(codes(strategy(&answer, "steps")).contains(&"no_canary_place"));
    let addition = answer["addition"].as_str().unwrap();
    for told in [
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "AdvancedConfiguration",
        "AlarmName: checkout-first-group",
    ] {
        assert!(addition.contains(told), "{told}:\n{addition}");
    }
    let applied = bench.run(&["apply", file.to_str().unwrap()]).await;
    assert!(applied.out.contains("+ checkout: stored"), "{}", applied.out);

    // Never over what somebody may have edited.
    let (said, remedy, _) = bench.refused(&args).await;
    assert!(said.contains("is there already; nothing was written") && remedy.contains("--force"), "{said}");
    let shown = bench.run(&[&args as &[&str], &["--force"]].concat()).await;
    assert!(shown.out.contains("✗ canary: lacks"), "{}", shown.out);
    assert!(shown.out.contains("--as cloudformation|terraform|cdk"), "{}", shown.out);
}

#[tokio::test]
async fn a_service_that_is_prepared_lacks_only_the_alarms_that_are_proposed() {
    let bench = Bench::empty(Universe::quiet());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.yaml");
    let args = ["init", "--cluster", "prod", "--service", "checkout", "--out", file.to_str().unwrap()];
    let (_, answer) = bench.json(&args).await;
    let lacks = codes(strategy(&answer, "canary"));
    assert!(lacks.iter().all(|code| *code == "alarm_missing"), "{lacks:?}");
    assert_eq!(answer["addition"], Value::Null);
}

#[tokio::test]
async fn a_container_that_is_not_there_leaves_no_file() {
    let bench = Bench::empty(Universe::quiet());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.yaml");
    let args = ["init", "--cluster", "prod", "--service", "checkout", "--container", "nothing"];
    let (said, remedy, _) =
        bench.refused(&[&args as &[&str], &["--out", file.to_str().unwrap()]].concat()).await;
    assert!(said.contains("no container of") && remedy.contains("ECR"), "{said}");
    assert!(!file.exists());
}
