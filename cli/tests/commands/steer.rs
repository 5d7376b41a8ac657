//! `pause`, `continue` and `promote --now` as a person types them.

use serde_json::Value;
use tidegate_testkit::fakes::Quality;

use crate::bench::{ANN, Bench};

/// A release of build 2 that bakes at 10%.
async fn baking() -> (Bench, String) {
    // Windows of a whole minute would outlast its bakes.
    let bench = Bench::with("evidence: { min_requests: 0, compare: [] }\n").await;
    bench.push(2, Quality::Good);
    let (_, created) = bench.json(&["release", "checkout", "main-2"]).await;
    let id = created["release"].as_str().unwrap().to_owned();
    for _ in 0..40 {
        bench.run(&["watch", "checkout", "--timeout", "5s"]).await;
        let (_, why) = bench.json(&["why", "checkout"]).await;
        if why["release"]["summary"].as_str().unwrap().starts_with("bake at 10%") {
            return (bench, id);
        }
    }
    panic!("it never bakes");
}

#[tokio::test]
async fn a_release_is_paused_and_continued_and_both_are_told_with_who_and_why() {
    let (bench, id) = baking().await;
    let paused = bench.run(&["pause", "checkout", "--reason", "what is that spike?"]).await;
    assert_eq!(paused.code, 0);
    assert!(paused.out.contains("stays where it is, until"), "{}", paused.out);
    assert!(paused.out.contains(&format!("tidegate continue {}", &id[..10])), "{}", paused.out);
    bench.run(&["watch", "checkout", "--timeout", "10m"]).await;
    let (code, why) = bench.json(&["why", "checkout"]).await;
    let release = &why["release"];
    assert_eq!((code, &release["summary"]), (6, &Value::from("paused: bake at 10% for 1m")));
    assert_eq!(
        (&release["paused"]["by"], &release["paused"]["why"]),
        (&ANN.into(), &"what is that spike?".into())
    );
    assert_eq!(release["set_percent"], 10.0);
    let (said, remedy, code) = bench.refused(&["pause", "checkout"]).await;
    assert!(
        said.contains("is already paused, by") && remedy.starts_with("tidegate continue"),
        "{said} {remedy}"
    );
    assert_eq!(code, 1);
    let followed = bench.run(&["continue", "checkout", "--reason", "it was us", "--watch"]).await;
    assert_eq!(followed.code, 0, "{}", followed.out);
    for told in ["paused until", "what is that spike?", "continued", "it was us", "ended: promoted"] {
        assert!(followed.out.contains(told), "{told}:\n{}", followed.out);
    }
}

#[tokio::test]
async fn a_release_is_promoted_without_waiting_for_its_bakes() {
    let (bench, _) = baking().await;
    let followed = bench.run(&["promote", "checkout", "--now", "--reason", "seen enough", "--watch"]).await;
    assert_eq!(followed.code, 0, "{}", followed.out);
    for told in
        ["promoting without waiting for the bakes", "seen enough", "ended early after", "ended: promoted"]
    {
        assert!(followed.out.contains(told), "{told}:\n{}", followed.out);
    }
    let (said, _, code) = bench.refused(&["promote", "checkout", "--now"]).await;
    assert!(said.contains("has ended: promoted") && said.contains("nothing to promote"), "{said}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn nothing_is_promoted_while_an_alarm_is_in_alarm_and_nothing_continues_that_is_not_paused() {
    let (bench, _) = baking().await;
    let (said, remedy, _) = bench.refused(&["continue", "checkout"]).await;
    assert!(said.contains("is not paused") && remedy.contains("tidegate why"), "{said} {remedy}");
    {
        let mut state = bench.universe.state();
        let now = state.now;
        state.aws.set_alarm(true, now);
    }
    let (said, _, _) = bench.refused(&["promote", "checkout", "--now"]).await;
    assert!(said.contains("alarm checkout-5xx is in ALARM"), "{said}");
}
