//! What alarms do to a release, and what they do not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tidegate_core::finding::FindingCode;
use tidegate_core::history::{Held, Missing, WaitingOn};
use tidegate_core::outcome::Cause;
use tidegate_core::plan::Stage;
use tidegate_core::release::Phase;
use tidegate_sandbox::local::shop::Balancer;
use tidegate_sandbox::local::{ACCOUNT, REGION};

use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::{CANARY, Story, bad, blocked_by, good};

/// A minute of the sandbox is short, and a busy machine is not.
const SOON: Duration = Duration::from_secs(120);
const BLUE_GREEN: &str = "{ blue_green: {}, bake: 2s }";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("errors that users see turn the canary back", async |stage| {
            let mut story = Story::open(&stage, "errors").await?;
            errors(&mut story).await
        }),
        scenario("an alarm that is in ALARM before the start is waited for", async |stage| {
            let story = Story::open_behind(&stage, "red-before", Balancer::None).await?;
            red_before(&story).await
        }),
        scenario("an alarm that does not exist fails preflight, and says so", async |stage| {
            let story = Story::open_behind(&stage, "no-alarm", Balancer::None).await?;
            missing(&story).await
        }),
        scenario(
            "an alarm in ALARM that is muted could not roll a release back, so none starts",
            async |stage| {
                let story = Story::open_behind(&stage, "muted", Balancer::None).await?;
                muted(&story).await
            },
        ),
        scenario("a composite alarm rolls a release back", async |stage| {
            let story = Story::open(&stage, "composite").await?;
            composite(&story).await
        }),
        scenario("one time series of an alarm is not the alarm", async |stage| {
            let story = Story::open(&stage, "contributor").await?;
            contributor(&story).await
        }),
        scenario("a bake that nobody talks to is held, and goes on when somebody does", async |stage| {
            let mut story = Story::open(&stage, "no-traffic").await?;
            without_traffic(&mut story).await
        }),
        scenario("a service is compared with itself on the traffic it had", async |stage| {
            let mut story = Story::open(&stage, "calibrated").await?;
            calibrated(&mut story).await
        }),
    ]
}

async fn errors(story: &mut Story) -> Result<()> {
    story
        .policy_with("{ canary: { percent: 20, bake: 30s }, bake: 3s }", &[&story.shop.alarm], "queue")
        .await?;
    story.let_in()?;
    let id = story.release("main-2", bad("v2")).await?;
    let release = story.ends(&id, "rolled back").await?;
    let Some(Cause::Alarm { alarm, at, .. }) = release.cause() else {
        anyhow::bail!("rolled back because of {:?}", release.cause())
    };
    ensure!(alarm.as_str() == story.shop.alarm, "{alarm}");
    let Phase::Ended { restored_at: Some(restored), .. } = &release.phase else {
        anyhow::bail!("when the traffic was back is not told: {:?}", release.phase)
    };
    let took = restored.duration_since(at.context("CloudWatch says when")?);
    // The demo measures this alone on the machine; here a dozen releases run beside it.
    ensure!(took.as_secs() < 15, "the traffic was back {took:#} after the alarm");
    story.is_as_before().await?;
    let traffic = story.nobody_was_turned_away().await?.total;
    let (new, all) = (traffic.by_version.get("v2").copied().unwrap_or(0), traffic.answered());
    ensure!(new * 5 <= all + 5, "the canary of 20% had {new} of {all} requests");
    ensure!(traffic.errors() <= new, "{traffic:?}");
    Ok(())
}

/// Every alarm is OK for a candidate that nobody asked anything.
async fn without_traffic(story: &mut Story) -> Result<()> {
    let strategy = "{ canary: { percent: 50, bake: 2s }, bake: 2s }";
    story
        .policy_of(&format!("{}evidence: {{ min_requests: 20, every: 5s }}\n", story.shop.policy(strategy)))
        .await?;
    let id = story.release("main-2", good("v2")).await?;
    let held = story
        .until(&id, "the bake to be held", |release| {
            matches!(
                &release.report.waiting_on,
                WaitingOn::Held {
                    what: Held::BakeEnd,
                    missing: Missing::Requests { seen: 0, needed: 20, .. }
                }
            )
        })
        .await?;
    ensure!(matches!(held.stage(), Some(Stage::Bake { .. })), "{:?}", held.phase);
    let (_, why) = story.stage.tidegate(&["why", id.as_str()]).await?;
    ensure!(why.contains("0 of 20 requests seen"), "{why}");
    // One look later it is the same bake still.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let still = story.get(&id).await?;
    ensure!(still.stage() == held.stage(), "it went on without traffic: {:?}", still.phase);
    story.let_in()?;
    story.ends(&id, "promoted").await?;
    let told = story.told(&id).await;
    ensure!(
        told.contains(" requests and every alarm is OK"),
        "the history does not say what was seen\n{told}"
    );
    Ok(())
}

/// The numbers of a service's own traffic, parted in every way there is; both zones of its load balancer are told apart.
async fn calibrated(story: &mut Story) -> Result<()> {
    let strategy = "{ canary: { percent: 50, bake: 10s }, bake: 2s }";
    story
        .policy_of(&format!("{}evidence: {{ min_requests: 20, every: 5s }}\n", story.shop.policy(strategy)))
        .await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    story.ends(&id, "promoted").await?;
    let service = story.shop.plan.name.clone();
    let told = until("enough windows of traffic", SOON, async || {
        let asked = ["calibrate", &service, "--days", "1", "--replays", "100", "--json"];
        let (code, told) = story.stage.tidegate(&asked).await?;
        Ok((code == 0).then_some(told))
    })
    .await?;
    let told: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
    let errors = &told["comparisons"][0];
    let zones = json!([format!("{REGION}a"), format!("{REGION}b")]);
    ensure!(errors["of"] == "errors" && errors["zones"] == zones, "{told}");
    ensure!(errors["counted"]["requests"].as_f64().is_some_and(|requests| requests > 20.0), "{told}");
    ensure!(errors["played"].as_array().is_some_and(|played| played.len() == 3), "{told}");
    ensure!(errors["tolerate_needed"] == 1.0, "nobody saw an error: {told}");
    Ok(())
}

async fn red_before(story: &Story) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    story.turn(true).await?;
    let id = story.release("main-2", good("v2")).await?;
    let waiting = story
        .until(&id, "it waits for the alarm", |release| {
            let WaitingOn::Findings { findings, .. } = &release.report.waiting_on else { return false };
            findings.iter().any(|finding| finding.code == FindingCode::AlarmInAlarm)
        })
        .await?;
    ensure!(matches!(waiting.phase, Phase::Preparing { .. }), "{}", waiting.summary());
    ensure!(waiting.wake.is_some(), "nothing wakes it");
    story.is_as_before().await?;
    story.turn(false).await?;
    story.ends(&id, "promoted").await?;
    Ok(())
}

async fn missing(story: &Story) -> Result<()> {
    story.policy_with(BLUE_GREEN, &["nobody-made-this-alarm"], "queue").await?;
    let id = story.release("main-2", good("v2")).await?;
    let release = story.ends(&id, "failed").await?;
    blocked_by(&release, FindingCode::AlarmMissing, "nobody-made-this-alarm")?;
    story.is_as_before().await
}

async fn muted(story: &Story) -> Result<()> {
    // The rule begins in the past, in UTC.
    let start = Timestamp::now().checked_sub(1.minute())?.strftime("at(%Y-%m-%dT%H:%M)").to_string();
    let rule = json!({
        "Name": format!("{}-maintenance", story.name),
        "Rule": { "Schedule": { "Expression": start, "Duration": "PT1H" } },
        "MuteTargets": { "AlarmNames": [story.switch()] },
    });
    story.cloudwatch("PutAlarmMuteRule", rule).await?;
    story.policy(BLUE_GREEN).await?;
    story.turn(true).await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    let release = story.ends(&id, "failed").await?;
    blocked_by(&release, FindingCode::AlarmSilenced, "maintenance")?;
    story.is_as_before().await?;
    story.turn(false).await?;
    story
        .cloudwatch(
            "DeleteAlarmMuteRule",
            json!({ "AlarmMuteRuleName": format!("{}-maintenance", story.name) }),
        )
        .await?;
    let (code, text) = story.stage.tidegate(&["release", story.name.as_str(), &digest, "--watch"]).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    story.runs(&digest).await
}

async fn composite(story: &Story) -> Result<()> {
    let name = format!("{}-any", story.name);
    let rule = format!("ALARM({}) OR ALARM({})", story.switch(), story.shop.alarm);
    story.cloudwatch("PutCompositeAlarm", json!({ "AlarmName": name, "AlarmRule": rule })).await?;
    story.policy_with("{ canary: { percent: 10, bake: 30s }, bake: 3s }", &[&name], "queue").await?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    story.turn(true).await?;
    let release = story.ends(&id, "rolled back").await?;
    ensure!(
        matches!(release.cause(), Some(Cause::Alarm { alarm, .. }) if alarm.as_str() == name)
            || matches!(release.cause(), Some(Cause::Deployment { .. })),
        "{:?}",
        release.cause()
    );
    story.is_as_before().await
}

async fn contributor(story: &Story) -> Result<()> {
    story.policy(CANARY).await?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    let answer = story.stage.invoke("sentinel", &contributor_event(&story.switch())).await?;
    ensure!(answer["turns"] == 0, "the sentinel acted on it: {answer}");
    story.ends(&id, "promoted").await?;
    Ok(())
}

fn contributor_event(alarm: &str) -> Value {
    json!({
        "version": "0", "id": "07bbe411-7b96-5f49-9f23-f2cdb659dec4",
        "detail-type": "CloudWatch Alarm Contributor State Change", "source": "aws.cloudwatch",
        "account": ACCOUNT, "time": "2026-08-20T14:02:31Z", "region": REGION,
        "resources": [format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm}")],
        "detail": {
            "alarmName": alarm,
            "alarmContributor": { "id": "6d442278dba546f6", "attributes": { "TargetGroup": "targetgroup/a/1" } },
            "state": { "value": "ALARM", "reason": "Threshold Crossed", "timestamp": "2026-08-20T14:02:30.919+0000" },
        },
    })
}
