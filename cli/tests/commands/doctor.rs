//! `doctor`: what is fine, what is not, and what could not be seen.

use serde_json::Value;
use tidegate_testkit::fakes::{Quality, Row};
use tidegate_testkit::names;

use crate::bench::Bench;

fn check<'a>(answer: &'a Value, what: &str) -> &'a Value {
    let checks = answer["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what}: {answer:#}"))
}

#[tokio::test]
async fn what_is_fine_is_ok_and_ends_with_0() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    let (code, answer) = bench.json(&["doctor"]).await;
    assert_eq!((code, &answer["healthy"]), (0, &true.into()), "{answer:#}");
    for what in ["ledger", "queue commands", "dead letters events-dlq", "open releases", "alarms of checkout"]
    {
        assert_eq!(check(&answer, what)["verdict"], "ok", "{what}: {answer:#}");
    }
    // What this command does not look at is not said to be fine.
    assert_eq!(check(&answer, "permissions of the functions")["verdict"], "not_looked");
    let shown = bench.run(&["doctor"]).await;
    assert!(shown.out.lines().any(|line| line.starts_with("not looked  permissions")), "{}", shown.out);
}

#[tokio::test]
async fn what_could_not_be_seen_is_unavailable_and_never_ok() {
    let bench = Bench { letters: None, ..Bench::new().await };
    let (code, answer) = bench.json(&["doctor"]).await;
    assert_eq!((code, &answer["healthy"]), (1, &false.into()));
    let letters = check(&answer, "dead letters wake-dlq");
    assert_eq!(letters["verdict"], "unavailable");
    assert!(letters["remedy"].as_str().unwrap().contains("sqs:GetQueueAttributes"), "{letters}");
}

#[tokio::test]
async fn dead_letters_alarms_lost_releases_and_damaged_rows_are_told_with_what_to_do() {
    let bench = Bench { letters: Some(3), ..Bench::new().await };
    bench.push(2, Quality::Good);
    bench.run(&["release", "checkout", "main-2"]).await;
    {
        let mut state = bench.universe.state();
        let now = state.now;
        state.aws.set_alarm(true, now);
        let later = now.checked_add(jiff::SignedDuration::from_mins(10)).unwrap();
        state.advance(later);
    }
    let (code, answer) = bench.json(&["doctor"]).await;
    assert_eq!(code, 1);
    assert_eq!(check(&answer, "dead letters wake-dlq")["verdict"], "bad");
    let release = format!("release {} of checkout", bench.newest().await);
    let lost = check(&answer, &release);
    assert_eq!(lost["verdict"], "bad");
    assert!(lost["found"].as_str().unwrap().contains("nobody has looked at it for "), "{lost}");
    bench.universe.state().rows.damage(Row::Service(names::service()), "NewerSchema");
    let (_, answer) = bench.json(&["doctor"]).await;
    let told =
        answer["checks"].as_array().unwrap().iter().any(|check| {
            check["verdict"] == "bad" && check["what"].as_str().unwrap().starts_with("ledger, ")
        });
    assert!(told, "{answer:#}");
}

#[tokio::test]
async fn an_alarm_that_is_not_ok_is_told_by_its_name() {
    let bench = Bench::new().await;
    {
        let mut state = bench.universe.state();
        let now = state.now;
        state.aws.set_alarm(true, now);
    }
    let (_, answer) = bench.json(&["doctor"]).await;
    let alarms = check(&answer, "alarms of checkout");
    assert_eq!((&alarms["verdict"], &alarms["found"]), (&"bad".into(), &"checkout-5xx is ALARM".into()));
}
