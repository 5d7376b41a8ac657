//! Who is told: a rollback and a promotion through the table's stream and the real functions, to everyone at once, with some of them down.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tidegate_core::ids::ReleaseId;
use tidegate_sandbox::local::shop::Balancer;
use tidegate_sandbox::local::{ACCOUNT, REGION};
use tidegate_sandbox::receivers::{Mood, Receivers};

use crate::runner::{Scenario, scenario};
use crate::stage::{STACK, Stage, until};
use crate::story::{CANARY, Story, good};

/// From what happens to what is heard of it.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario("everyone is told of a rollback in order and once, whoever is down", async |stage| {
        let story = Story::open_behind(&stage, "told", Balancer::Application).await?;
        everyone(&stage, &story).await
    })]
}

async fn everyone(stage: &Arc<Stage>, story: &Story) -> Result<()> {
    let receivers = Receivers::start().await?;
    let aws = Aws(stage);
    aws.secret(&receivers.secret(None)).await?;
    let (topic, bus) = (aws.topic().await?, aws.bus().await?);
    // One is down all the time, one asks for a pause, one is slow, one loses an answer.
    receivers.always("teams", Some(Mood::Down));
    receivers.next("slack", &[Mood::Limits(2)]);
    receivers.next("pagerduty", &[Mood::Lags(Duration::from_secs(2))]);
    receivers.next("webhook", &[Mood::LosesTheAnswer]);
    let strategy = story
        .shop
        .policy(CANARY)
        .replace(&format!("[{}]", story.shop.alarm), &format!("[{}]", story.switch()));
    let notify = format!(
        "notify: [{{ teams: deploys }}, {{ slack: \"#deploys\" }}, {{ pagerduty: shop }}, {{ webhook: audit }}, {{ sns: \"{topic}\", on: [started, rolled_back] }}, {{ event_bus: \"{bus}\" }}]\n"
    );
    story.policy_of(&format!("{strategy}{notify}")).await?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    story.turn(true).await?;
    story.ends(&id, "rolled back").await?;

    heard_by_the_webhook(&receivers, &id).await?;
    until("the message in Slack to tell the end", HEARD_WITHIN, async || {
        let messages = receivers.slack();
        Ok(messages
            .first()
            .filter(|first| first["text"].as_str().unwrap_or_default().ends_with("rolled back"))
            .map(drop))
    })
    .await?;
    let messages = receivers.slack();
    let threads = messages.iter().skip(1).all(|reply| reply["thread_ts"] == messages[0]["ts"]);
    ensure!(threads && messages.len() > 4, "one message, and its thread: {messages:#?}");
    until("PagerDuty to be told", HEARD_WITHIN, async || {
        Ok(receivers.pagerduty().iter().any(|event| event["event_action"] == "resolve").then_some(()))
    })
    .await?;
    let mails = aws.messages("told-mail", 2).await?;
    ensure!(mails.iter().any(|mail| mail["Subject"] == "told main-2: rolled back"), "{mails:#?}");
    let events = aws.messages("told-bus", 5).await?;
    let ended = events.iter().find(|event| event["detail-type"] == "tidegate.release.rolled_back");
    let detail = &ended.with_context(|| format!("no end on the bus: {events:#?}"))?["detail"];
    ensure!(detail["release"] == id.as_str() && detail["version"] == "1", "{detail:#}");

    // What is down is tried again, by a message that is put off, and hears everything once it is there.
    ensure!(receivers.teams().is_empty() && receivers.requests("teams") > 1, "Teams was not tried");
    receivers.always("teams", None);
    until("Teams to hear of the end", Duration::from_secs(120), async || {
        let last = receivers.teams().last().cloned().unwrap_or_default();
        Ok((last["body"][0]["text"] == "told main-2: rolled back").then_some(()))
    })
    .await?;
    let (code, said) = stage.tidegate(&["notify", "test", "told"]).await?;
    ensure!(code == 0 && said.matches("ok      ").count() == 6, "{said}");
    story.turn(false).await
}

/// Everything, in order; what came twice is what lost its answer.
async fn heard_by_the_webhook(receivers: &Receivers, id: &ReleaseId) -> Result<()> {
    until("the webhook to hear of the end", HEARD_WITHIN, async || {
        let got = receivers.webhook();
        Ok(got.last().filter(|(kind, _)| kind == "tidegate.release.rolled_back").map(drop))
    })
    .await?;
    let got = receivers.webhook();
    let ids: Vec<&str> = got.iter().filter_map(|(_, body)| body["id"].as_str()).collect();
    let mut once = ids.clone();
    once.dedup();
    ensure!(ids.len() == once.len() + 1 && ids[0] == ids[1], "only the first one came twice: {ids:?}");
    let number = |it: &&str| -> Option<(u64, u64)> {
        let (version, index) = it.strip_prefix(&format!("{id}-"))?.split_once('.')?;
        Some((version.parse().ok()?, index.parse().ok()?))
    };
    let numbers: Vec<_> = once.iter().map(number).collect::<Option<_>>().context("ids are marks")?;
    ensure!(numbers.is_sorted() && numbers.len() > 8, "in order: {numbers:?}");
    Ok(())
}

struct Aws<'a>(&'a Stage);

impl Aws<'_> {
    async fn json(&self, service: &str, target: &str, input: Value) -> Result<Value> {
        let answer = self.0.local.client.json(service, target, input).await;
        answer.map_err(|error| anyhow!("{target}: {}: {}", error.code, error.message))
    }

    async fn secret(&self, secret: &Value) -> Result<()> {
        let put = json!({ "SecretId": format!("{STACK}-notify"), "SecretString": secret.to_string() });
        self.json("secretsmanager", "secretsmanager.PutSecretValue", put).await.map(drop)
    }

    /// A queue that these may send to.
    async fn queue(&self, name: &str) -> Result<String> {
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        let allow = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sqs:SendMessage",
            "Principal": { "Service": ["sns.amazonaws.com", "events.amazonaws.com"] }, "Resource": arn }] });
        let create = json!({ "QueueName": name, "Attributes": { "Policy": allow.to_string() } });
        self.json("sqs", "AmazonSQS.CreateQueue", create).await?;
        Ok(arn)
    }

    async fn topic(&self) -> Result<String> {
        let queue = self.queue("told-mail").await?;
        let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:told");
        let version = ("Version", "2010-03-31");
        let create = [version, ("Action", "CreateTopic"), ("Name", "told")];
        let subscribe = [
            version,
            ("Action", "Subscribe"),
            ("TopicArn", &topic),
            ("Protocol", "sqs"),
            ("Endpoint", &queue),
        ];
        for call in [&create[..], &subscribe[..]] {
            let answer = self.0.local.client.query("sns", call).await;
            answer.map_err(|error| anyhow!("{}: {}", error.code, error.message))?;
        }
        Ok(topic)
    }

    async fn bus(&self) -> Result<String> {
        let queue = self.queue("told-bus").await?;
        let pattern = json!({ "source": ["tidegate"] }).to_string();
        self.json("events", "AWSEvents.CreateEventBus", json!({ "Name": "told" })).await?;
        let rule = json!({ "Name": "told", "EventBusName": "told", "EventPattern": pattern });
        self.json("events", "AWSEvents.PutRule", rule).await?;
        let targets =
            json!({ "Rule": "told", "EventBusName": "told", "Targets": [{ "Id": "t", "Arn": queue }] });
        self.json("events", "AWSEvents.PutTargets", targets).await?;
        Ok(format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/told"))
    }

    /// So many messages of a queue, as JSON.
    async fn messages(&self, queue: &str, count: usize) -> Result<Vec<Value>> {
        let url = self.json("sqs", "AmazonSQS.GetQueueUrl", json!({ "QueueName": queue })).await?["QueueUrl"]
            .clone();
        let got = std::cell::RefCell::new(Vec::new());
        until(&format!("{count} messages in {queue}"), HEARD_WITHIN, async || {
            let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10 });
            let answer = self.json("sqs", "AmazonSQS.ReceiveMessage", receive).await?;
            for message in answer["Messages"].as_array().into_iter().flatten() {
                let body: Value = serde_json::from_str(message["Body"].as_str().unwrap_or_default())?;
                got.borrow_mut().push(body);
            }
            let got = got.borrow();
            let is_end = |it: &Value| it.to_string().contains("rolled back");
            Ok((got.len() >= count && got.iter().any(is_end)).then_some(()))
        })
        .await?;
        Ok(got.into_inner())
    }
}
