//! What a release was judged by, decided again.

use serde_json::Value;
use tidegate_testkit::fakes::{EcsHabits, Quality};

use super::bench::Bench;

/// A release of an image that fails so many of a thousand requests, followed to its end.
async fn released(fields: &str, errors: u32, habits: impl FnOnce(&mut EcsHabits)) -> (Bench, u8) {
    let bench = Bench::with(fields).await;
    {
        let mut state = bench.universe.state();
        state.aws.habits_mut().errors = [1, errors];
        habits(state.aws.habits_mut());
    }
    let code = bench.release(2, Quality::Good).await;
    (bench, code)
}

async fn state(bench: &Bench) -> String {
    let (_, list) = bench.json(&["releases", "checkout", "--limit", "1"]).await;
    list["releases"][0]["state"].as_str().unwrap().to_owned()
}

/// Whether the image that was released is not released again by itself.
async fn is_quarantined(bench: &Bench) -> bool {
    bench.json(&["release", "checkout", "main-2"]).await.1["outcome"] == "refused"
}

#[tokio::test]
async fn a_rollback_by_the_comparison_is_decided_again_from_the_history() {
    let (bench, _) = released("", 60, |_| {}).await;
    assert_eq!(state(&bench).await, "rolled_back");
    let (code, told) = bench.json(&["replay", "checkout"]).await;
    assert_eq!((code, &told["same"]), (0, &Value::from(true)), "{told:#}");
    assert!(told["rolled_back_at"].is_string(), "{told:#}");
    let (code, told) = bench.json(&["replay", "checkout", "--tolerate", "100"]).await;
    assert_eq!((code, &told["same"], &told["rolled_back_at"]), (0, &Value::Null, &Value::Null), "{told:#}");
    // And it is the image's fault.
    assert!(is_quarantined(&bench).await);
}

#[tokio::test]
async fn a_limit_that_is_passed_is_the_images_fault() {
    let limit = r#"evidence: { compare: [], limits: [{ metric: { namespace: Shop, name: RequestCount, dimensions: { Version: "{digest}" } }, stat: Sum, max: 5, for: 1m }] }"#;
    let (bench, _) = released(limit, 1, |_| {}).await;
    assert_eq!(state(&bench).await, "rolled_back");
    assert!(is_quarantined(&bench).await);
}

#[tokio::test]
async fn metrics_that_come_later_than_ever_promote_no_candidate_unjudged() {
    for minutes in [3, 6, 12] {
        let (bench, _) = released("", 60, |habits| habits.metrics_late = minutes * 60_000).await;
        assert_eq!(state(&bench).await, "rolled_back", "{minutes} min late");
    }
    let (bench, _) = released("", 1, |habits| habits.metrics_late = 6 * 60_000).await;
    assert_eq!(state(&bench).await, "promoted");
}

#[tokio::test]
async fn what_compared_nothing_cannot_be_decided_again() {
    let (bench, code) = released("evidence: { compare: [] }", 1, |_| {}).await;
    assert_eq!(code, 0);
    let (problem, _, code) = bench.refused(&["replay", "checkout"]).await;
    assert!(problem.contains("compares nothing with the stable version"), "{problem}");
    assert_ne!(code, 0);
}
