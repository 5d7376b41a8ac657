//! `rollback`: what it chooses, what it refuses with which words, and that it asks.

use jiff::SignedDuration;
use serde_json::Value;
use tidegate_testkit::fakes::Quality;
use tidegate_testkit::names;

use crate::bench::{BAD, Bench, caller};

/// Builds 2 and 3 were promoted; build 4 was rolled back by its alarm.
async fn after_an_automatic_rollback() -> Bench {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    assert_eq!(bench.release(4, BAD).await, 3);
    bench
}

fn quarantined(bench: &Bench, build: u32) -> bool {
    let state = bench.universe.state();
    state.rows.head(&names::service()).unwrap().quarantine.contains_key(&names::image(build).digest)
}

#[tokio::test]
async fn after_an_automatic_rollback_the_good_version_stays_unless_it_is_named() {
    let bench = after_an_automatic_rollback().await;
    let (said, remedy, code) = bench.refused(&["rollback", "checkout", "--yes"]).await;
    assert!(said.starts_with("checkout already runs main-3 again: main-4 was rolled back at "), "{said}");
    assert!(said.contains("alarm checkout-5xx"), "{said}");
    assert!(remedy.starts_with("to leave main-3 too: tidegate rollback checkout --to 0"), "{remedy}");
    assert_eq!(code, 1);
    assert!(!quarantined(&bench, 3));
    assert_eq!(bench.runs().await, "main-3");

    // What it says to type does what it says.
    let typed: Vec<&str> = remedy.split_once("tidegate ").unwrap().1.split(' ').collect();
    let answer = bench.run(&[typed.as_slice(), &["--yes", "--watch"]].concat()).await;
    assert_eq!(answer.code, 0, "{}", answer.out);
    assert_eq!(bench.runs().await, "main-2");
    assert!(quarantined(&bench, 3));
}

#[tokio::test]
async fn two_people_who_both_roll_back_do_not_leave_two_versions() {
    let bench = Bench::new().await;
    for build in [2, 3, 4] {
        bench.promote(build).await;
    }
    assert_eq!(bench.run(&["rollback", "checkout", "--yes"]).await.code, 0);
    let (said, _, _) = bench.refused(&["rollback", "checkout", "--yes"]).await;
    assert!(said.starts_with("a rollback to main-3 (") && said.ends_with("already waits to start"), "{said}");
    assert_eq!(bench.run(&["watch", "checkout"]).await.code, 0);
    let (said, _, _) = bench.refused(&["rollback", "checkout", "--yes"]).await;
    assert!(said.starts_with("checkout already runs main-3 again: main-3 was brought back at "), "{said}");
    assert!(quarantined(&bench, 4) && !quarantined(&bench, 3));
}

#[tokio::test]
async fn a_cancelled_release_is_not_what_a_rollback_leaves_either() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    bench.push(4, Quality::Good);
    bench.run(&["release", "checkout", "main-4"]).await;
    bench.run(&["watch", "checkout", "--timeout", "30s"]).await;
    assert_eq!(bench.run(&["cancel", "checkout", "--watch"]).await.code, 5);
    let (said, _, _) = bench.refused(&["rollback", "checkout", "--yes"]).await;
    assert!(said.starts_with("checkout already runs main-3 again: main-4 was cancelled at "), "{said}");
}

#[tokio::test]
async fn what_somebody_deployed_outside_tidegate_is_left_for_what_was_promoted_last() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    // Their revision runs build 1, which was there before Tidegate.
    {
        let mut state = bench.universe.state();
        let now = state.now;
        state.aws.deploy_by_someone(99, None, now);
    }
    let time = bench.universe.context(caller(9, "time"), false).installation.time;
    time.sleep(SignedDuration::from_mins(90)).await;
    let shown = bench.run(&["rollback", "checkout", "--dry-run"]).await;
    assert!(shown.out.contains("which was deployed outside Tidegate to main-3"), "{}", shown.out);
    let answer = bench.run(&["rollback", "checkout", "--yes", "--watch"]).await;
    assert_eq!(answer.code, 0, "{}", answer.out);
    assert_eq!(bench.runs().await, "main-3");
    assert!(quarantined(&bench, 1) && !quarantined(&bench, 3) && !quarantined(&bench, 2));
}

#[tokio::test]
async fn what_runs_is_taken_from_the_ledger_when_it_cannot_be_seen_and_that_is_said() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    let denied = ("ecs:DescribeServices".to_owned(), names::at(-3600), names::at(864_000));
    bench.universe.state().conditions.denied.push(denied);
    let shown = bench.run(&["rollback", "checkout", "--dry-run"]).await;
    assert!(shown.out.contains("could not be seen"), "{}", shown.out);
    assert!(shown.out.contains("main-3 was promoted last"), "{}", shown.out);
    assert_eq!(bench.run(&["rollback", "checkout", "--yes"]).await.code, 0);
}

#[tokio::test]
async fn where_to_can_be_named_by_tag_and_by_the_beginning_of_an_id() {
    let bench = Bench::new().await;
    for build in [2, 3, 4] {
        bench.promote(build).await;
    }
    let (said, _, _) = bench.refused(&["rollback", "checkout", "--to", "main-9", "--yes"]).await;
    assert!(
        said.starts_with("no release \"main-9\" was promoted to checkout; these were: main-4 ("),
        "{said}"
    );
    let (said, _, _) = bench.refused(&["rollback", "checkout", "--to", "main-4", "--yes"]).await;
    assert_eq!(said, "checkout already runs main-4");
    let answer = bench.run(&["rollback", "checkout", "--to", "main-2", "--yes", "--watch"]).await;
    assert_eq!(answer.code, 0, "{}", answer.out);
    assert_eq!(bench.runs().await, "main-2");
    let (said, remedy, _) = bench.refused(&["rollback", "checkout", "--to", "main-4", "--yes"]).await;
    assert!(said.starts_with("main-4 was rolled back itself at "), "{said}");
    assert!(remedy.ends_with("--force"), "{remedy}");
}

#[tokio::test]
async fn a_script_says_yes_and_a_person_is_asked() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    let (said, remedy, code) = bench.refused(&["rollback", "checkout"]).await;
    assert!(said.contains("it would roll checkout back from main-3 to main-2"), "{said}");
    assert!(remedy.contains("--yes") && remedy.contains("--dry-run"), "{remedy}");
    assert_eq!(code, 2);
    let declined = bench.answering(&["rollback", "checkout"], Some("\n")).await.err().unwrap();
    assert_eq!(declined.to_string(), "nothing was done");
    assert!(!quarantined(&bench, 3));
    let accepted = bench.answering(&["rollback", "checkout"], Some("y\n")).await.unwrap();
    assert_eq!(accepted.code, 0, "{}", accepted.out);
    assert!(quarantined(&bench, 3));
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    let (code, shown) = bench.json(&["rollback", "checkout", "--dry-run"]).await;
    assert_eq!(
        (code, &shown["from_name"], &shown["to_name"]),
        (0, &Value::from("main-3"), &Value::from("main-2"))
    );
    assert_eq!(shown["plan"]["blocked"], false);
    assert!(!quarantined(&bench, 3));

    bench.push(4, Quality::Good);
    bench.run(&["release", "checkout", "main-4"]).await;
    bench.run(&["watch", "checkout", "--timeout", "30s"]).await;
    let shown = bench.run(&["rollback", "checkout", "--dry-run"]).await;
    assert!(shown.out.contains("roll back main-4 of checkout, which is under way, to "), "{}", shown.out);
    assert_eq!(bench.run(&["watch", "checkout"]).await.code, 0, "it went on");
}

#[tokio::test]
async fn a_release_under_way_is_rolled_back_once() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    bench.run(&["release", "checkout", "main-2"]).await;
    bench.run(&["watch", "checkout", "--timeout", "30s"]).await;
    let full = bench.newest_id().await;
    let id = full[..10].to_owned();
    let busy = bench.refused(&["rollback", "checkout", "--to", "main-1", "--yes"]).await;
    assert!(busy.0.contains("is under way, so nothing earlier can be brought back yet"), "{busy:?}");
    assert_eq!(bench.run(&["rollback", &id, "--yes"]).await.code, 0);
    bench.conduct(&full).await;
    bench.run(&["watch", &id]).await;
    // It is back at what was there before Tidegate, which was never promoted.
    let (said, remedy, _) = bench.refused(&["rollback", "checkout", "--yes"]).await;
    assert!(said.contains(" again: main-2 was rolled back at "), "{said}");
    assert!(remedy.starts_with("no version before "), "{remedy}");
}
