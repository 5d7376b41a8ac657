//! A link to the dashboard: what is asked for, and what is printed.

use serde_json::Value;
use tidegate_cli::door::Wanted;

use crate::bench::{ANN, Bench};
use tidegate_testkit::fakes::Quality;

#[tokio::test]
async fn a_link_is_asked_for_what_was_named() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let (_, created) = bench.json(&["release", "checkout", "main-2"]).await;
    let id = created["release"].as_str().unwrap().to_owned();
    for args in [&["open"][..], &["open", "checkout"], &["open", &id[..10], "--for", "30m"]] {
        let answer = bench.run(args).await;
        let lines: Vec<&str> = answer.out.lines().collect();
        assert_eq!(
            (answer.code, lines[0]),
            (0, "https://gate.example.com/services?key=look.x.y"),
            "{}",
            answer.out
        );
        assert!(lines[1].contains("only reads") && lines[1].contains(ANN), "{}", answer.out);
    }
    let asked = bench.door.0.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            Wanted::default(),
            Wanted { service: Some("checkout".parse().unwrap()), ..Wanted::default() },
            Wanted { release: Some(id.parse().unwrap()), secs: Some(1800), ..Wanted::default() },
        ]
    );
}

#[tokio::test]
async fn scripts_get_the_link_as_data_and_what_is_not_there_is_told() {
    let bench = Bench::new().await;
    let (code, given) = bench.json(&["open", "--print"]).await;
    assert_eq!((code, &given["may"], &given["by"]), (0, &Value::from("look"), &Value::from(ANN)));
    assert_eq!(given["until"], "2026-03-02T21:00:00Z");
    let (said, remedy, _) = bench.refused(&["open", "chekout"]).await;
    assert_eq!((said.as_str(), remedy.as_str()), ("there is no service chekout", "did you mean checkout?"));
    assert_eq!(bench.door.0.lock().unwrap().len(), 1, "nothing was asked for");
}
