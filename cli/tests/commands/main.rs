//! The commands against the ledger and the AWS of the testkit: time passes only while `watch` waits, and then the conductor works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod calibrate;
mod doctor;
mod expect;
mod init;
mod named;
mod notify;
mod open;
mod policy;
mod quarantine;
mod replay;
mod rollback;
mod steer;

use std::io::Write;

use serde_json::Value;
use tidegate_testkit::fakes::{Quality, Row};
use tidegate_testkit::names;

use bench::{ANN, BAD, Bench, POLICY};

#[tokio::test]
async fn a_good_image_is_followed_until_it_is_promoted() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let answer = bench.run(&["release", "checkout", "main-2", "--reason", "it is time", "--watch"]).await;
    assert_eq!(answer.code, 0, "{}", answer.out);
    for expected in
        ["created release", "it is time", ANN, "shift to 10%: done", "measured 10%", "ended: promoted"]
    {
        assert!(answer.out.contains(expected), "{expected}:\n{}", answer.out);
    }
    let (code, services) = bench.json(&["services"]).await;
    assert_eq!(
        (code, &services["services"][0]["promoted"]["images"]["app"]["tag"]),
        (0, &Value::from("main-2"))
    );
}

#[tokio::test]
async fn watch_tells_scripts_every_change_once_and_the_end_last() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let answer = bench.run(&["release", "checkout", "main-2", "--watch", "--json"]).await;
    let lines: Vec<Value> = answer.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(
        (answer.code, &last["state"], &last["exit_code"]),
        (0, &Value::from("promoted"), &Value::from(0))
    );
    assert!(lines[..lines.len() - 1].iter().all(|line| line["over"] == false && line["exit_code"] == 6));
    let told: Vec<u64> = lines
        .iter()
        .flat_map(|line| line["history"].as_array().unwrap())
        .map(|entry| entry["version"].as_u64().unwrap())
        .collect();
    let release = last["release"].as_str().unwrap().parse().unwrap();
    let written: Vec<u64> =
        bench.universe.state().rows.history(&release).iter().map(|entry| entry.version).collect();
    assert_eq!(told, written);
}

#[tokio::test]
async fn a_bad_image_ends_with_3_and_is_refused_until_somebody_insists() {
    let bench = Bench::new().await;
    bench.push(2, BAD);
    let answer = bench.run(&["release", "checkout", "main-2", "--watch"]).await;
    assert_eq!(answer.code, 3, "{}", answer.out);
    for expected in ["✗ bake at 10%", "traffic is back since", "because  alarm checkout-5xx went off"] {
        assert!(answer.out.contains(expected), "{expected}:\n{}", answer.out);
    }
    let (code, why) = bench.json(&["why", "checkout"]).await;
    assert_eq!((code, &why["release"]["cause"]["kind"]), (3, &Value::from("alarm")));

    let (code, again) = bench.json(&["release", "checkout", "main-2"]).await;
    assert_eq!((code, &again["outcome"], &again["release"]), (7, &Value::from("refused"), &Value::Null));
    let (_, why) = bench.json(&["why", "checkout"]).await;
    assert!(why["service_history"][0]["what"].as_str().unwrap().starts_with("refused"), "{why}");
    let (code, plan) = bench.json(&["plan", "checkout", "main-2"]).await;
    let findings = plan["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["code"] == "quarantined").unwrap();
    assert_eq!(
        (code, &finding["code"], &finding["blocking"]),
        (7, &Value::from("quarantined"), &Value::from(true))
    );
    let plan = bench.run(&["plan", "checkout", "main-2"]).await;
    assert!(!plan.out.contains("nothing blocks") && plan.out.contains("--force"), "{}", plan.out);
    let (code, forced) = bench.json(&["release", "checkout", "main-2", "--force"]).await;
    assert_eq!((code, &forced["outcome"]), (0, &Value::from("created")));
}

#[tokio::test]
async fn a_finished_release_is_rolled_back_to_the_one_promoted_before() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.promote(3).await;
    let (_, list) = bench.json(&["releases", "checkout"]).await;
    let first = list["releases"][1]["release"].clone();
    let answer =
        bench.run(&["rollback", "checkout", "--yes", "--reason", "customers complain", "--watch"]).await;
    assert_eq!(answer.code, 0, "what it goes back to was promoted:\n{}", answer.out);
    let to = &first.as_str().unwrap()[..10];
    assert!(answer.out.contains(&format!("checkout from main-3 to main-2 (release {to})")), "{}", answer.out);
    let (_, services) = bench.json(&["services"]).await;
    assert_eq!(services["services"][0]["promoted"]["images"]["app"]["tag"], "main-2");
}

#[tokio::test]
async fn rolling_back_what_is_under_way_ends_with_3_although_it_was_asked_for() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    assert_eq!(bench.run(&["release", "checkout", "main-2"]).await.code, 0);
    let waiting = bench.run(&["watch", "checkout", "--timeout", "1m"]).await;
    assert_eq!(waiting.code, 6, "{}", waiting.out);
    let answer = bench.run(&["rollback", "checkout", "--yes", "--watch"]).await;
    assert_eq!(answer.code, 3, "{}", answer.out);
    assert!(answer.out.contains("is asked to roll back"), "{}", answer.out);
}

#[tokio::test]
async fn a_cancelled_release_ends_with_5() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let (_, created) = bench.json(&["release", "checkout", "main-2"]).await;
    let id = created["release"].as_str().unwrap();
    assert_eq!(bench.run(&["watch", id, "--once"]).await.code, 6);
    let answer = bench.run(&["cancel", id, "--reason", "wrong branch", "--watch"]).await;
    assert_eq!(answer.code, 5, "{}", answer.out);
    assert!(answer.out.contains(&format!("{ANN}: wrong branch")), "{}", answer.out);
    let again = bench.try_run(&["cancel", id]).await.err().unwrap();
    assert!(format!("{again:#}").contains("has ended: cancelled at"), "{again:#}");
}

#[tokio::test]
async fn an_approver_with_an_aws_identity_lets_a_release_go_on_once() {
    let (bench, id) = Bench::waiting_for_approval("arn:aws:sts::111122223333:assumed-role/developer/*").await;
    let shown = bench.run(&["why", &id]).await;
    assert!(shown.out.contains("boss"), "{}", shown.out);
    let other = bench.try_run(&["approve", &id, "--plan", "0000"]).await.err().unwrap();
    assert!(format!("{other:#}").contains("the plan is not the one that was shown"), "{other:#}");
    let answer = bench.run(&["approve", &id, "--comment", "looks right", "--watch"]).await;
    assert_eq!(answer.code, 0, "{}", answer.out);
    assert!(answer.out.contains("approved by boss: looks right"), "{}", answer.out);
    let again = bench.try_run(&["approve", &id]).await.err().unwrap();
    assert!(format!("{again:#}").contains("has ended: promoted at"), "{again:#}");
}

#[tokio::test]
async fn a_rejected_release_ends_with_5_and_a_stranger_decides_nothing() {
    let (bench, id) = Bench::waiting_for_approval("arn:aws:sts::111122223333:assumed-role/boss/*").await;
    let stranger = bench.try_run(&["reject", &id]).await.err().unwrap();
    assert!(format!("{stranger:#}").contains("is not one of the approvers of main-2"), "{stranger:#}");

    let (bench, id) = Bench::waiting_for_approval(ANN).await;
    let answer = bench.run(&["reject", &id, "--comment", "not today", "--watch"]).await;
    assert_eq!(answer.code, 5, "{}", answer.out);
    assert!(answer.out.contains("rejected: not today"), "{}", answer.out);
}

#[tokio::test]
async fn a_plan_shows_the_rollback_target_and_changes_nothing() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let (code, plan) = bench.json(&["plan", "checkout", "main-2"]).await;
    assert_eq!(code, 0, "{plan}");
    assert_eq!(plan["plan"]["rollback_target"]["traffic"][0]["shares"][0]["weight"], 100);
    assert_eq!(plan["plan"]["stages"][3]["stage"], "bake");
    let (_, list) = bench.json(&["releases"]).await;
    assert_eq!(list["releases"].as_array().unwrap().len(), 0);
    assert!(bench.universe.state().performed.is_empty());
}

#[tokio::test]
async fn a_blocked_plan_ends_with_7_and_says_what_to_mend() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    {
        let mut state = bench.universe.state();
        let now = state.now;
        state.aws.set_alarm(true, now);
    }
    let answer = bench.run(&["plan", "checkout", "main-2"]).await;
    assert_eq!(answer.code, 7, "{}", answer.out);
    assert!(
        answer.out.contains("is already in ALARM") && answer.out.contains("fix what it reports first"),
        "{}",
        answer.out
    );
}

#[tokio::test]
async fn a_queue_that_cannot_be_reached_does_not_keep_a_release_from_being_created() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let never = ("sqs:SendMessage".to_owned(), names::at(-3600), names::at(86_400));
    bench.universe.state().conditions.denied.push(never);
    let (code, created) = bench.json(&["release", "checkout", "main-2"]).await;
    assert_eq!(
        (code, &created["outcome"], &created["conductor_told"]),
        (0, &Value::from("created"), &Value::from(false))
    );
}

#[tokio::test]
async fn who_may_not_read_weights_and_alarms_still_sees_what_the_release_saw() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    bench.run(&["release", "checkout", "main-2"]).await;
    bench.run(&["watch", "checkout", "--timeout", "1m"]).await;
    for operation in ["elasticloadbalancing:DescribeRules", "cloudwatch:DescribeAlarms"] {
        let never = (operation.to_owned(), names::at(-3600), names::at(86_400));
        bench.universe.state().conditions.denied.push(never);
    }
    let (_, seen) = bench.json(&["watch", "checkout", "--once"]).await;
    assert_eq!((&seen["measured_percent"], &seen["measured_live"]), (&Value::from(10), &Value::from(false)));
    assert_eq!(seen["alarms"][0]["state"], Value::Null);
    assert_eq!(seen["unseen"].as_array().unwrap().len(), 2, "{seen}");
}

#[tokio::test]
async fn what_does_not_exist_is_told_with_what_to_do() {
    let bench = Bench::new().await;
    let told = async |args: &[&str]| format!("{:#}", bench.try_run(args).await.err().unwrap());
    assert_eq!(told(&["watch", "nothing"]).await, "there is no service nothing");
    assert!(told(&["watch", "checkout"]).await.contains("has no release yet"));
    assert!(told(&["release", "checkout", "main-9"]).await.contains("there is no tag main-9"));
    assert_eq!(told(&["plan", "nothing", "main-1"]).await, "there is no service nothing");
    for other in [
        format!("{}/shop/other:v1", names::registry()),
        "999988887777.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout:main-1".to_owned(),
    ] {
        let told = told(&["release", "checkout", &other]).await;
        let expected = format!("and the policy's from.ecr.repository is {}/shop/checkout", names::registry());
        assert!(told.contains(&expected), "{told}");
    }
}

#[tokio::test]
async fn apply_tells_what_changed_field_by_field() {
    let bench = Bench::new().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(POLICY.replace("percent: 10", "percent: 5").as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let changed = bench.run(&["apply", path]).await;
    assert!(changed.out.contains("strategy.canary.percent: 10 → 5"), "{}", changed.out);
    let (code, again) = bench.json(&["apply", path]).await;
    assert_eq!((code, &again["policies"][0]["change"]), (0, &Value::from("unchanged")));
}

#[tokio::test]
async fn lists_show_what_can_be_read_and_name_what_cannot() {
    let bench = Bench::new().await;
    bench.push(2, Quality::Good);
    let released = bench.run(&["release", "checkout", "main-2"]).await;
    assert_eq!(released.code, 0, "{}", released.out);
    let id = bench.universe.state().rows.releases().next().unwrap().id.clone();
    let json = async |args: &[&str]| {
        let answer = bench.run(&[args, &["--json"]].concat()).await;
        (answer.code, serde_json::from_str::<Value>(&answer.out).unwrap())
    };
    let damage = |row| bench.universe.state().rows.damage(row, "CorruptRow");

    damage(Row::Entry(id.clone(), 0));
    let (code, why) = json(&["why", "checkout"]).await;
    assert_eq!((code, why["release"]["history"].as_array().unwrap().len()), (6, 0));
    let unseen = format!("entry 0 of the history of release {id} cannot be read");
    assert!(why["release"]["unseen"][0].as_str().unwrap().starts_with(&unseen), "{why}");
    let watched = bench.run(&["watch", "checkout", "--once"]).await;
    assert!(watched.out.contains(&unseen), "{}", watched.out);

    damage(Row::Release(id.clone()));
    let (code, releases) = json(&["releases", "checkout"]).await;
    assert_eq!((code, releases["releases"].as_array().unwrap().len()), (1, 0));
    assert!(releases["damaged"][0].as_str().unwrap().starts_with(&format!("release {id} cannot be read")));

    damage(Row::Service(names::service()));
    let (code, services) = json(&["services"]).await;
    assert_eq!((code, services["services"].as_array().unwrap().len()), (1, 0));
    assert!(services["damaged"][0].as_str().unwrap().starts_with("service checkout cannot be read"));
    // The releases of a service whose row cannot be read are still found, by its name and among all.
    bench.universe.state().rows.fix(&Row::Release(id.clone()));
    for args in [&["releases", "checkout"][..], &["releases"]] {
        let (code, releases) = json(args).await;
        assert_eq!((code, releases["releases"][0]["release"].as_str()), (1, Some(id.as_str())), "{args:?}");
    }
}
