//! The demo with a person in it: the release stops before production traffic, a link comes by SNS, and whoever opens it decides.

use crate::local::shop::Plan;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::narrate::Narrator;
use super::release::{self, Tidegate};
use super::{DemoArgs, EVIDENCE, open_shop, tell_dashboard};
use crate::images::Behaviour;
use crate::load::{self, Load};
use crate::local::shop::Shop;
use crate::local::{ACCOUNT, Local, Options, REGION};

/// The one who is asked; the template's parameter `ApproverTopicArns` allows the topics of these names.
const APPROVER: &str = "anna";
/// How long a person may take here.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
const MESSAGE_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn perform(
    options: Options,
    tidegate: &std::path::Path,
    args: &DemoArgs,
    narrator: &Narrator,
) -> Result<ExitCode> {
    let dir = options.dir.clone();
    let (local, shop, address) = open_shop(options, Plan::checkout(), narrator).await?;
    let inbox = Inbox::open(&local).await?;
    let mut tidegate = Tidegate::new(tidegate, &local);
    if !args.auto_approve {
        tidegate.patience = PATIENCE;
    }
    let policy = dir.join("checkout.yaml");
    let strategy = format!("{{ canary: {{ percent: 10, bake: {bake}s }}, bake: {bake}s }}", bake = args.bake);
    let text = shop.policy(&strategy)
        + EVIDENCE
        + &format!(
            "approval: {{ before: shift, by: [{APPROVER}], expires: 1h }}\npeople:   {{ {APPROVER}: {{ sns: \"{}\" }} }}\n",
            inbox.topic
        );
    std::fs::write(&policy, &text).with_context(|| format!("failed to write {}", policy.display()))?;
    narrator.quote(&text);
    tidegate.show(&["apply", &policy.display().to_string()], narrator).await?;

    tell_dashboard(&tidegate, &local, narrator).await?;
    let load = Load::start(load::Plan::new(address, args.rate()));
    narrator.chapter("an image is pushed; its release stops before production traffic");
    let image = Behaviour::healthy("v2");
    let release = release::follow(&local, &shop, &tidegate, &load, narrator, "main-2", image);
    let decision = decide(&local, &shop, &inbox, args.auto_approve, narrator);
    let (released, ()) = tokio::try_join!(release, decision)?;

    let traffic = load.stop().await;
    narrator.chapter("the account");
    let total = &traffic.total;
    narrator.quote(&format!("requests sent           {:>8}", total.sent));
    narrator.quote(&format!("requests lost           {:>8}", total.lost()));
    narrator.quote(&format!("release {} ended with exit code {:?}", released.id, released.exit));
    let good = released.exit == Some(0) && total.lost() == 0;
    drop(tidegate);
    if let Some(local) = Arc::into_inner(local) {
        local.stop().await?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for the link; opens and answers it, or tells the person to.
async fn decide(local: &Local, shop: &Shop, inbox: &Inbox, auto: bool, narrator: &Narrator) -> Result<()> {
    let message = inbox.message(local).await?;
    narrator.chapter("a message has come");
    narrator.quote(&message);
    let link =
        message.lines().find(|line| line.starts_with("https://")).context("the message has no link")?;
    let here = local.reachable(link);
    if !auto {
        narrator.say("open this link in a browser, and decide:");
        narrator.say(&here);
        return Ok(());
    }
    let page = local.open(link, None).await?;
    narrator.say(&format!(
        "GET  the page: {}, {:.0} ms (the function's first request)",
        page.status,
        ms(page.took)
    ));
    let again = local.open(link, None).await?;
    narrator.say(&format!("GET  the page again: {}, {:.0} ms", again.status, ms(again.took)));
    let weights = shop.weights(local)?;
    let form = filled(&again.body, &shop.plan.name)?;
    let action = link.split_once('?').map_or(link, |(action, _)| action);
    let began = Instant::now();
    let answer = local.open(action, Some(form.clone())).await?;
    narrator.say(&format!("POST approve: {}, {:.0} ms", answer.status, ms(answer.took)));
    if answer.status != http::StatusCode::OK {
        bail!("the approval was not taken: {}", answer.body);
    }
    while shop.weights(local)? == weights {
        if began.elapsed() > MESSAGE_WITHIN {
            bail!("no traffic moved within {MESSAGE_WITHIN:?} of the approval");
        }
        tokio::time::sleep(POLL).await;
    }
    narrator
        .say(&format!("from the approval to the first production traffic: {:.0} ms", ms(began.elapsed())));
    let replay = local.open(action, Some(form)).await?;
    narrator.say(&format!("POST the same once more: {}", replay.status));
    Ok(())
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// The page's form with the service's name typed into it.
fn filled(page: &str, service: &str) -> Result<String> {
    let hidden = |name: &str| -> Result<String> {
        let (_, rest) = page
            .split_once(&format!(r#"name="{name}" value=""#))
            .with_context(|| format!("the page has no field {name}: {page}"))?;
        let (value, _) = rest.split_once('"').context("the field does not end")?;
        Ok(format!("{name}={value}"))
    };
    let fields = [hidden("token")?, hidden("csrf")?, hidden("plan")?];
    Ok(format!("{}&service={service}&decision=approve&comment=looks+good", fields.join("&")))
}

/// The approver's mail box: a topic, and a queue that is subscribed to it.
struct Inbox {
    topic: String,
    queue: String,
}

impl Inbox {
    async fn open(local: &Local) -> Result<Self> {
        let name = format!("approver-{APPROVER}");
        let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
        let version = ("Version", "2010-03-31");
        let failed = |error: crate::ports::AwsError| anyhow::anyhow!("{}: {}", error.code, error.message);
        local
            .client
            .query("sns", &[("Action", "CreateTopic"), version, ("Name", &name)])
            .await
            .map_err(failed)?;
        let endpoint = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        // Amazon SNS may only send to a queue whose own policy lets it.
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "Service": "sns.amazonaws.com" }, "Action": "sqs:SendMessage",
            "Resource": endpoint, "Condition": { "ArnEquals": { "aws:SourceArn": topic } },
        }]});
        let created = json!({ "QueueName": name, "Attributes": { "Policy": policy.to_string() } });
        let created = local.client.json("sqs", "AmazonSQS.CreateQueue", created).await.map_err(failed)?;
        let queue = created["QueueUrl"].as_str().context("the queue has no URL")?.to_owned();
        let subscribe = [
            ("Action", "Subscribe"),
            version,
            ("TopicArn", &topic),
            ("Protocol", "sqs"),
            ("Endpoint", &endpoint),
            ("Attributes.entry.1.key", "RawMessageDelivery"),
            ("Attributes.entry.1.value", "true"),
        ];
        local.client.query("sns", &subscribe).await.map_err(failed)?;
        Ok(Self { topic, queue })
    }

    async fn message(&self, local: &Local) -> Result<String> {
        let deadline = Instant::now() + MESSAGE_WITHIN;
        while Instant::now() < deadline {
            let receive = json!({ "QueueUrl": self.queue, "WaitTimeSeconds": 1 });
            let received: Value = local
                .client
                .json("sqs", "AmazonSQS.ReceiveMessage", receive)
                .await
                .map_err(|error| anyhow::anyhow!("{}: {}", error.code, error.message))?;
            if let Some(body) = received["Messages"][0]["Body"].as_str() {
                return Ok(body.to_owned());
            }
        }
        bail!("no message came within {MESSAGE_WITHIN:?}")
    }
}
