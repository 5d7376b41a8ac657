//! Which release a name means, and what is said when it could mean two.

use tidegate_testkit::fakes::Quality;

use crate::bench::{ANN, Bench};

/// Build 2 is under way, build 3 waits behind it.
async fn one_behind_the_other() -> (Bench, String, String) {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    bench.run(&["release", "checkout", "main-2"]).await;
    bench.run(&["watch", "checkout", "--timeout", "30s"]).await;
    let active = bench.newest().await;
    bench.push(3, Quality::Good);
    bench.run(&["release", "checkout", "main-3"]).await;
    let waiting = bench.newest().await;
    assert_ne!(active, waiting);
    (bench, active, waiting)
}

#[tokio::test]
async fn a_service_means_its_active_release_and_not_the_newest() {
    let (bench, active, _) = one_behind_the_other().await;
    for command in ["watch", "why"] {
        let args: &[&str] =
            if command == "watch" { &[command, "checkout", "--once"] } else { &[command, "checkout"] };
        let shown = bench.run(args).await;
        assert!(shown.out.contains(&active) && shown.out.contains("main-2"), "{}", shown.out);
    }
}

#[tokio::test]
async fn what_changes_something_does_nothing_where_two_could_be_meant() {
    let (bench, active, waiting) = one_behind_the_other().await;
    let before = bench.universe.state().rows.releases().cloned().collect::<Vec<_>>();
    for command in ["cancel", "rollback", "approve", "reject"] {
        let (said, remedy, code) = bench.refused(&[command, "checkout"]).await;
        assert!(said.contains("two releases that could be meant, so nothing was done"), "{said}");
        assert!(
            said.contains(&format!("main-2 ({active})")) && said.contains(&format!("main-3 ({waiting})")),
            "{said}"
        );
        let typed = format!("tidegate {command} {active}  or  tidegate {command} {waiting}");
        assert!(remedy.ends_with(&typed), "{remedy}");
        assert_eq!(code, 2);
    }
    let after = bench.universe.state().rows.releases().cloned().collect::<Vec<_>>();
    assert_eq!(before, after);
    // The one that is named is the one that is meant.
    assert_eq!(bench.run(&["cancel", &active, "--watch"]).await.code, 5);
    assert_eq!(bench.run(&["watch", &waiting]).await.code, 0);
    assert_eq!(bench.runs().await, "main-3");
}

#[tokio::test]
async fn approve_says_what_is_true() {
    let (bench, active, waiting) = one_behind_the_other().await;
    let (said, _, _) = bench.refused(&["approve", &waiting]).await;
    assert_eq!(
        said,
        format!("main-3 ({waiting}) is queued behind main-2 ({active}), so there is nothing to approve yet")
    );
    let (said, _, _) = bench.refused(&["approve", &active]).await;
    assert!(
        said.contains("is not one of the approvers") || said.contains("does not wait for approval"),
        "{said}"
    );
    bench.run(&["watch", &active]).await;
    bench.run(&["watch", &waiting]).await;
    let (said, _, _) = bench.refused(&["reject", "checkout"]).await;
    assert!(said.starts_with(&format!("main-3 ({waiting}) has ended: promoted at ")), "{said}");
    assert!(said.ends_with("there is nothing to reject"), "{said}");
    let (said, _, _) = bench.refused(&["cancel", "checkout"]).await;
    assert!(said.ends_with("there is nothing to cancel"), "{said}");
}

#[tokio::test]
async fn approve_names_the_approvers_to_whoever_is_none_of_them() {
    let (bench, _) = Bench::waiting_for_approval("arn:aws:sts::111122223333:assumed-role/boss/*").await;
    let (said, _, _) = bench.refused(&["approve", "checkout"]).await;
    assert!(said.starts_with(&format!("{ANN} is not one of the approvers of main-2")), "{said}");
    assert!(said.ends_with(": boss"), "{said}");
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough_and_one_that_means_several_is_refused() {
    let (bench, active, waiting) = one_behind_the_other().await;
    let shown = bench.run(&["watch", &active.to_uppercase(), "--once"]).await;
    assert!(shown.out.contains("main-2"), "{}", shown.out);
    // Both were made within the same virtual day.
    let common: String = active
        .chars()
        .zip(waiting.chars())
        .take_while(|(left, right)| left == right)
        .map(|(c, _)| c)
        .collect();
    let (said, remedy, code) = bench.refused(&["why", &common]).await;
    assert!(
        said.contains("is the beginning of several release ids")
            && said.contains("main-2")
            && said.contains("main-3"),
        "{said}"
    );
    assert_eq!((remedy.as_str(), code), ("type more of the one you mean", 2));
    let (said, _, _) = bench.refused(&["why", "0zzzzzzzzz"]).await;
    assert!(said.starts_with("there is no release whose id begins with 0zzzzzzzzz"), "{said}");
}

#[tokio::test]
async fn a_mistyped_service_is_guessed() {
    let bench = Bench::new().await;
    let (said, remedy, code) = bench.refused(&["why", "chekcout"]).await;
    assert_eq!(
        (said.as_str(), remedy.as_str(), code),
        ("there is no service chekcout", "did you mean checkout?", 1)
    );
}
