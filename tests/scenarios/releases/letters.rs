//! Events that are not as they should be: none is acted on, none is lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_sandbox::events::bus::MinistackBus;
use tidegate_sandbox::events::{self, Dispatcher};
use tidegate_sandbox::local::shop::Balancer;
use tidegate_sandbox::local::{ACCOUNT, REGION};
use tidegate_sandbox::ports::{EventSink as _, ServiceEvent};

use crate::runner::{Scenario, scenario};
use crate::stage::Stage;
use crate::story::{Story, good};

const SOON: Duration = Duration::from_secs(120);

/// An event that has to end in the dead-letter queue.
struct Letter {
    name: &'static str,
    account: &'static str,
    region: &'static str,
    source: &'static str,
    detail_type: &'static str,
    detail: fn(&str) -> Value,
}

fn pushed(marker: &str) -> Value {
    let digest = format!("sha256:{}", "ab".repeat(32));
    json!({ "result": "SUCCESS", "repository-name": "shop/letters", "image-digest": digest,
            "action-type": "PUSH", "image-tag": format!("main-{marker}"), "marker": marker })
}

fn red(marker: &str) -> Value {
    json!({ "alarmName": "letters-5xx", "marker": marker, "configuration": { "metrics": [] },
            "state": { "value": "ALARM", "reason": "tests", "timestamp": "2026-08-20T14:02:30.919+0000" } })
}

const ECR: (&str, &str) = ("aws.ecr", "ECR Image Action");
const ALARM: (&str, &str) = ("aws.cloudwatch", "CloudWatch Alarm State Change");
const HOOK: (&str, &str) = ("aws.ecs", "ECS Hook State Change");

const fn letter(
    name: &'static str,
    (account, region): (&'static str, &'static str),
    (source, detail_type): (&'static str, &'static str),
    detail: fn(&str) -> Value,
) -> Letter {
    Letter { name, account, region, source, detail_type, detail }
}

const HOME: (&str, &str) = (ACCOUNT, REGION);
const ELSEWHERE: (&str, &str) = ("444455556666", REGION);
const ABROAD: (&str, &str) = (ACCOUNT, "us-east-1");

const LETTERS: [Letter; 8] = [
    letter("push-of-another-account", ELSEWHERE, ECR, pushed),
    letter("push-in-another-region", ABROAD, ECR, pushed),
    letter("alarm-of-another-account", ELSEWHERE, ALARM, red),
    letter("alarm-in-another-region", ABROAD, ALARM, red),
    letter("push-with-half-a-digest", HOME, ECR, |marker| {
        let mut detail = pushed(marker);
        detail["image-digest"] = json!("sha256:abc");
        detail
    }),
    letter(
        "push-without-repository",
        HOME,
        ECR,
        |marker| json!({ "result": "SUCCESS", "action-type": "PUSH", "image-tag": "main-1", "marker": marker }),
    ),
    letter(
        "alarm-without-a-name",
        HOME,
        ALARM,
        |marker| json!({ "state": { "value": "ALARM" }, "marker": marker }),
    ),
    letter("hook-that-is-a-list", HOME, HOOK, |marker| json!([marker])),
];

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario("events that cannot be used end in the dead-letter queue, none is lost", async |stage| {
        let story = Story::open_behind(&stage, "letters", Balancer::None).await?;
        story.policy("{ blue_green: {}, bake: 1s }").await?;
        for letter in &LETTERS {
            send(&stage, letter);
        }
        for letter in &LETTERS {
            let body = stage.message("events-dlq", letter.name, SOON).await?;
            let event: Value = serde_json::from_str(&body)?;
            ensure!(event["detail"] == (letter.detail)(letter.name), "{}: {event:#}", letter.name);
            ensure!(event["account"] == letter.account && event["region"] == letter.region, "{event:#}");
        }
        ensure!(story.releases().await?.is_empty(), "one of them was acted on");
        truncated(&stage).await?;
        let id = story.release("main-2", good("v2")).await?;
        story.ends(&id, "promoted").await?;
        Ok(())
    })]
}

fn send(stage: &Stage, letter: &Letter) {
    let options = events::Options::new(letter.account, letter.region);
    let bus = Arc::new(MinistackBus::new(stage.local.client.clone()));
    Dispatcher::new(options, bus).emit(ServiceEvent {
        source: letter.source.into(),
        detail_type: letter.detail_type.into(),
        resources: Vec::new(),
        detail: (letter.detail)(letter.name),
        time: Timestamp::now(),
    });
}

/// What is not even a whole event is refused with an error, by every function that reads events.
async fn truncated(stage: &Stage) -> Result<()> {
    for function in ["intake", "sentinel"] {
        for event in [
            json!({ "version": "0", "id": "1" }),
            json!("{\"version\": \"0\", \"detail"),
            json!([]),
            Value::Null,
        ] {
            let refused = stage.invoke(function, &event).await;
            ensure!(refused.is_err(), "{function} accepted {event}: {refused:?}");
        }
    }
    Ok(())
}
