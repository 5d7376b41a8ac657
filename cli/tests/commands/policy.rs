//! `policy show`, `policy export` and `policy remove`, and what `services` tells.

use std::io::Write as _;

use serde_json::Value;
use tidegate_testkit::fakes::Quality;

use crate::bench::{ANN, BAD, Bench, POLICY};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn what_is_exported_is_applied_again_without_a_change() {
    let bench = Bench::new().await;
    let shown = bench.run(&["policy", "show", "checkout"]).await;
    assert!(shown.out.starts_with("# checkout, applied at ") && shown.out.contains(ANN), "{}", shown.out);
    let exported = bench.run(&["policy", "export", "checkout"]).await;
    assert!(shown.out.ends_with(&exported.out) && !exported.out.contains('#'), "{}", exported.out);
    let file = file(&exported.out);
    let again = bench.run(&["apply", file.path().to_str().unwrap()]).await;
    assert!(again.out.contains("= checkout: unchanged"), "{}", again.out);
    let (_, json) = bench.json(&["policy", "show", "checkout"]).await;
    assert_eq!((&json["yaml"], &json["applied_by"]), (&exported.out.into(), &ANN.into()));
    assert_eq!(json["policy"]["service"], "checkout");
    let (said, remedy, _) = bench.refused(&["policy", "export", "chekout"]).await;
    assert!(said.contains("no service chekout") && remedy.contains("checkout"), "{said} {remedy}");
}

#[tokio::test]
async fn a_policy_stays_while_a_release_is_open() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    bench.run(&["release", "checkout", "main-2"]).await;
    let (said, remedy, code) = bench.refused(&["policy", "remove", "checkout", "--yes"]).await;
    assert!(said.starts_with("the policy of checkout stays: release "), "{said}");
    assert!(remedy.contains("tidegate watch 0") && remedy.contains("tidegate cancel 0"), "{remedy}");
    assert_eq!(code, 1);
    assert_eq!(bench.run(&["watch", "checkout"]).await.code, 0, "nothing of it was removed");
}

#[tokio::test]
async fn a_removed_policy_releases_nothing_and_what_was_known_counts_again_with_the_next_one() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    assert_eq!(bench.release(3, BAD).await, 3);
    let (said, remedy, code) = bench.refused(&["policy", "remove", "checkout"]).await;
    assert!(said.contains("no terminal to ask on") && remedy.contains("--yes"), "{said} {remedy}");
    assert_eq!(code, 2);
    let no = bench.answering(&["policy", "remove", "checkout"], Some("n\n")).await.err().unwrap();
    assert_eq!(no.to_string(), "nothing was done");
    let removed =
        bench.run(&["policy", "remove", "checkout", "--yes", "--reason", "it moved to another team"]).await;
    assert!(removed.out.contains("removed; it runs on as it is"), "{}", removed.out);

    let (_, services) = bench.json(&["services"]).await;
    assert_eq!(services["services"], Value::Array(Vec::new()));
    for gone in [
        &["release", "checkout", "main-2"] as &[&str],
        &["policy", "show", "checkout"],
        &["policy", "remove", "checkout", "--yes"],
        &["quarantine", "lift", "checkout", "sha256:1234", "--reason", "x"],
        &["rollback", "checkout", "--yes"],
    ] {
        let (said, _, _) = bench.refused(gone).await;
        assert!(
            said.contains("no service checkout") || said.contains("there is no service"),
            "{gone:?}: {said}"
        );
    }
    // A push of an image starts nothing.
    bench.push(4, Quality::Good);
    let conductor = bench.connection().context.installation;
    let repository = tidegate_testkit::names::image(4).repository;
    let watched = tidegate_core::ports::Watched::Repository(
        tidegate_testkit::names::account(),
        tidegate_testkit::names::region(),
        repository,
    );
    let watchers = conductor.ledger.watchers(&watched).await.unwrap().whole().unwrap();
    assert!(watchers.is_empty(), "{watchers:?}");

    let file = file(POLICY);
    let stored = bench.run(&["apply", file.path().to_str().unwrap()]).await;
    assert!(stored.out.contains("+ checkout: stored"), "{}", stored.out);
    assert_eq!(bench.runs().await, "main-2");
    let (code, refused) = bench.json(&["release", "checkout", "main-3"]).await;
    assert_eq!((code, &refused["outcome"]), (7, &"refused".into()), "it is quarantined as before");
    let (_, why) = bench.json(&["why", "checkout"]).await;
    let history = why["service_history"].as_array().unwrap();
    let told: Vec<&str> = history.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert!(told.contains(&"policy removed"), "{told:?}");
    let entry = history.iter().find(|entry| entry["what"] == "policy removed").unwrap();
    assert_eq!((&entry["why"], &entry["by"]), (&"it moved to another team".into(), &ANN.into()));
}

#[tokio::test]
async fn services_say_where_a_release_is_how_long_it_takes_and_how_the_last_one_ended() {
    let bench = Bench::new().await;
    let fresh = bench.run(&["services"]).await;
    assert!(fresh.out.contains("no release yet"), "{}", fresh.out);
    assert_eq!(bench.release(3, BAD).await, 3);
    let (_, json) = bench.json(&["services"]).await;
    let service = &json["services"][0];
    assert_eq!((&service["last"]["state"], &service["quarantined"]), (&"rolled_back".into(), &1.into()));
    let shown = bench.run(&["services"]).await;
    assert!(
        shown.out.contains("main-3 rolled back") && shown.out.contains("alarm checkout-5xx"),
        "{}",
        shown.out
    );
    bench.push(4, Quality::Good);
    bench.run(&["release", "checkout", "main-4"]).await;
    let mut json = Value::Null;
    for _ in 0..40 {
        bench.run(&["watch", "checkout", "--timeout", "5s"]).await;
        (_, json) = bench.json(&["services"]).await;
        if json["services"][0]["under_way"]["summary"].as_str().unwrap().starts_with("bake at 10%") {
            break;
        }
    }
    let under_way = &json["services"][0]["under_way"];
    let left = under_way["at_least_left_secs"].as_u64().unwrap();
    assert!((120..=180).contains(&left), "{under_way}");
    assert_eq!(json["services"][0]["active"], under_way["release"]);
    let shown = bench.run(&["services"]).await;
    assert!(shown.out.contains(" left at least"), "{}", shown.out);
}
