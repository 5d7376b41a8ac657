//! `doctor`: what is fine, what is not, and what could not be seen.

use serde_json::Value;
use tidegate_testkit::fakes::{Quality, Row};
use tidegate_testkit::names;

use tidegate_cli::stack::SecretState;
use tidegate_core::fault::ErrorKind;

use crate::bench::{Account, Bench};

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
    for (what, found) in [
        ("secret gate", "it has a value, which was not read"),
        ("permissions for checkout", "all allowed to the roles"),
    ] {
        let check = check(&answer, what);
        assert_eq!(check["verdict"], "ok", "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
    }
}

/// The checks with this account.
async fn with(account: Account) -> (u8, Value) {
    let bench = Bench { account, ..Bench::new().await };
    bench.promote(2).await;
    bench.json(&["doctor"]).await
}

#[tokio::test]
async fn a_secret_that_is_empty_deleted_or_gone_is_bad_and_its_value_is_not_asked_for() {
    for (secret, found) in [
        (Ok(SecretState::Empty), "holds nothing"),
        (Ok(SecretState::Deleted), "its deletion is scheduled"),
        (Err(ErrorKind::NotFound), "there is none"),
    ] {
        let (code, answer) = with(Account { secret, ..Account::default() }).await;
        let check = check(&answer, "secret gate");
        assert_eq!((code, &check["verdict"]), (1, &"bad".into()), "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
        assert!(!check["remedy"].is_null(), "{check}");
    }
}

#[tokio::test]
async fn a_call_that_a_role_may_not_make_is_told_with_the_parameter_that_allows_it() {
    let denied = Ok(vec!["ecr:DescribeImages", "ecs:UpdateService"]);
    let (code, answer) = with(Account { denied, ..Account::default() }).await;
    let check = check(&answer, "permissions for checkout");
    assert_eq!((code, &check["verdict"]), (1, &"bad".into()), "{check}");
    let found = check["found"].as_str().unwrap();
    for said in [
        "intake and clock and conductor and sentinel may not ecr:DescribeImages on arn:aws:ecr:eu-central-1:111122223333:repository/shop/checkout",
        "conductor and sentinel may not ecs:UpdateService on arn:aws:ecs:eu-central-1:111122223333:service/prod/checkout",
    ] {
        assert!(found.contains(said), "{said:?} is not in {found:?}");
    }
    assert_eq!(found.matches("may not").count(), 2, "what two functions are denied is told once: {found}");
    let remedy = check["remedy"].as_str().unwrap();
    assert!(remedy.contains("RepositoryArns") && remedy.contains("ClusterArns"), "{remedy}");
}

#[tokio::test]
async fn whoever_may_not_ask_is_told_so_and_nothing_is_said_to_be_fine() {
    let may_not = Account { secret: Err(ErrorKind::Denied), denied: Err(ErrorKind::Denied) };
    let (code, answer) = with(may_not).await;
    assert_eq!(code, 0, "most people may not: {answer:#}");
    for (what, action) in [
        ("secret gate", "secretsmanager:DescribeSecret"),
        ("permissions of the functions", "iam:SimulatePrincipalPolicy"),
    ] {
        let check = check(&answer, what);
        assert_eq!(check["verdict"], "not_looked", "{check}");
        assert!(check["found"].as_str().unwrap().contains(action), "{check}");
    }
    let nobody = Account { secret: Err(ErrorKind::Unavailable), denied: Err(ErrorKind::Throttled) };
    let (code, answer) = with(nobody).await;
    assert_eq!(code, 1);
    for what in ["secret gate", "permissions of the functions"] {
        assert_eq!(check(&answer, what)["verdict"], "unavailable", "{what}");
    }
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
