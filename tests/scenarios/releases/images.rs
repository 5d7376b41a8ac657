//! What of a registry starts a release, and what does not.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_core::plan::Stage;
use tidegate_sandbox::images::scan::Scan;
use tidegate_sandbox::images::{Push, push};
use tidegate_sandbox::local::shop::Balancer;
use tidegate_sandbox::ports::{EventSink, ServiceEvent};

use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::{Story, UNKNOWN, good};

const BLUE_GREEN: &str = "{ blue_green: {}, bake: 1s }";
/// The clock takes a push whose event has not come within two minutes for lost.
const FOUND_WITHIN: Duration = Duration::from_secs(300);

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("a lost push is found by the clock", async |stage| {
            let story = Story::open_behind(&stage, "lost-push", Balancer::None).await?;
            found_by_the_clock(&story).await
        }),
        scenario("only the index of a push with a tag that matches is released", async |stage| {
            let story = Story::open_behind(&stage, "multi-arch", Balancer::None).await?;
            only_the_index(&story).await
        }),
        scenario("one digest is one release, however often it is pushed or told of", async |stage| {
            let story = Story::open_behind(&stage, "once-only", Balancer::None).await?;
            one_digest(&story).await
        }),
        scenario("a digest that was rolled back is refused until a person forces it", async |stage| {
            let story = Story::open_behind(&stage, "quarantined", Balancer::None).await?;
            quarantined(&story).await
        }),
        scenario("what a scan finds decides before anything is changed", async |stage| {
            let story = Story::open_behind(&stage, "scanned", Balancer::None).await?;
            scanned(&story).await
        }),
        scenario("fields that no SDK knows survive, and so do tags", async |stage| {
            let mut story = Story::open_behind(&stage, "unknown-field", Balancer::None).await?;
            unknown_fields(&mut story).await
        }),
    ]
}

/// An event sink that loses everything, as ECR may.
struct Lost;

impl EventSink for Lost {
    fn emit(&self, _: ServiceEvent) {}
}

async fn found_by_the_clock(story: &Story) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    // ECR tells the second of a push; what was pushed in the second in which the policy was applied counts as older than it.
    let applied = Timestamp::now().as_second();
    until("the next second", FOUND_WITHIN, async || {
        Ok((Timestamp::now().as_second() > applied).then_some(()))
    })
    .await?;
    let wanted = Push::new(&story.shop.plan.repository, "main-2", good("v2"));
    let pushed = push(&story.stage.local.client, &Lost, &wanted).await;
    let digest = pushed.map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let id = until("the clock to find the push", FOUND_WITHIN, async || {
        Ok(story.releases().await?.into_iter().next().map(|release| release.id))
    })
    .await?;
    let release = story.ends(&id, "promoted").await?;
    ensure!(release.requested_by.to_string().contains("clock"), "{}", release.requested_by);
    story.runs(&digest).await?;
    story.stage.clock().await?;
    ensure!(story.releases().await?.len() == 1, "the clock found it twice");
    Ok(())
}

/// A scan that is not there yet is waited for; one with a critical finding ends the release; one without lets it through.
async fn scanned(story: &Story) -> Result<()> {
    story
        .policy_of(&format!(
            "{}scan: {{ max: {{ critical: 0 }}, wait: 5m }}\n",
            story.shop.policy(BLUE_GREEN)
        ))
        .await?;
    let put = |digest: &str, findings: &[(&str, &str)]| {
        story.stage.local.scans.put(&story.shop.plan.repository, digest, Scan::complete(findings));
    };
    let bad = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&bad).await?;
    story.until(&id, "waiting for the scan", |release| release.stage() == Some(&Stage::Scan)).await?;
    put(&bad, &[("CVE-2026-1", "CRITICAL"), ("CVE-2026-2", "LOW")]);
    story.ends(&id, "cancelled").await?;
    let told = story.told(&id).await;
    ensure!(told.contains("critical"), "{told}");
    ensure!(story.deployments().await?.len() == 1, "something was deployed");
    let fine = story.push("main-3", good("v3")).await?;
    put(&fine, &[("CVE-2026-2", "LOW")]);
    let id = story.release_of(&fine).await?;
    story.ends(&id, "promoted").await?;
    story.runs(&fine).await
}

async fn only_the_index(story: &Story) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    story.push("preview-2", good("v9")).await?;
    let digest = story.push_index("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    story.runs(&digest).await?;
    let releases = story.releases().await?;
    ensure!(
        releases.len() == 1,
        "released as well: {:?}",
        releases.iter().map(|r| &r.change).collect::<Vec<_>>()
    );
    Ok(())
}

async fn one_digest(story: &Story) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    let digest = story.push("main-2", good("v2")).await?;
    for tag in ["main-3", "preview-1", "main-4", "main-2"] {
        story.push(tag, good("v2")).await?;
    }
    let event = json!({
        "version": "0", "id": "0c6e1f4a-8d58-4b1c-a0c9-5c6f0c8a8a01", "detail-type": "ECR Image Action",
        "source": "aws.ecr", "account": tidegate_sandbox::local::ACCOUNT, "time": "2026-08-20T14:02:31Z",
        "region": tidegate_sandbox::local::REGION, "resources": [],
        "detail": { "result": "SUCCESS", "repository-name": story.shop.plan.repository, "image-digest": digest,
                    "action-type": "PUSH", "image-tag": "main-5" },
    });
    try_join_all((0..10).map(|_| story.stage.invoke("intake", &event))).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    // Pushed again when it runs already.
    story.push("main-6", good("v2")).await?;
    let mut later = event.clone();
    later["id"] = json!("0c6e1f4a-8d58-4b1c-a0c9-5c6f0c8a8a02");
    later["time"] = json!(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let answer = story.stage.invoke("intake", &later).await?;
    ensure!(answer["services"][story.name.as_str()] == "runs", "{answer}");
    ensure!(
        story.releases().await?.len() == 1,
        "one digest became {} releases",
        story.releases().await?.len()
    );
    let list = json!({ "familyPrefix": story.name.as_str() });
    let revisions = story.ecs("ListTaskDefinitions", list).await?;
    let count = revisions["taskDefinitionArns"].as_array().map_or(0, Vec::len);
    ensure!(count == 2, "the digest was registered {} times: {revisions}", count - 1);
    Ok(())
}

async fn quarantined(story: &Story) -> Result<()> {
    story.policy("{ blue_green: {}, bake: 20s }").await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.until(&id, "all traffic", |release| release.progress.set.is_some()).await?;
    story.turn(true).await?;
    story.ends(&id, "rolled back").await?;
    story.turn(false).await?;
    story.push("main-3", good("v2")).await?;
    let refused = until("a recorded refusal", Duration::from_secs(30), async || {
        let history = story.stage.installation.ledger.service_history(&story.name, 10).await?.whole()?;
        Ok(history.into_iter().find(|entry| entry.event.refused().is_some()))
    })
    .await?;
    ensure!(
        refused.event.why().contains(id.as_str()) && refused.event.why().contains("--force"),
        "{refused:?}"
    );
    ensure!(story.releases().await?.len() == 1, "it was released again");
    let service = story.name.as_str();
    let (code, text) = story.stage.tidegate(&["release", service, &digest]).await?;
    ensure!(code == 7 && text.contains("refused"), "exit code {code}: {text}");
    story.policy(BLUE_GREEN).await?;
    let (code, text) = story.stage.tidegate(&["release", service, &digest, "--force", "--watch"]).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    story.runs(&digest).await
}

async fn unknown_fields(story: &mut Story) -> Result<()> {
    let change = |own: &mut Value| {
        own[UNKNOWN] = json!({ "kept": [1, 2.5, "three"] });
        own["containerDefinitions"][0][UNKNOWN] = json!({ "kept": null, "deep": { "er": true } });
    };
    let arn = story.register_by_hand(change).await?;
    story.deploy_by_hand(&arn).await?;
    story.policy(BLUE_GREEN).await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    story.runs(&digest).await?;
    let (was, is) = (
        story.task_definition(&arn).await?,
        story.task_definition(&story.service().await?["taskDefinition"]).await?,
    );
    let (mut was, mut is) = (was["taskDefinition"].clone(), is["taskDefinition"].clone());
    ensure!(is[UNKNOWN] == was[UNKNOWN] && !is[UNKNOWN].is_null(), "{is:#}");
    for definition in [&mut was, &mut is] {
        let members = definition.as_object_mut().expect("a task definition is an object");
        for of_the_revision in ["taskDefinitionArn", "revision", "registeredAt", "registeredBy"] {
            members.remove(of_the_revision);
        }
        definition["containerDefinitions"][0]["image"] = json!("");
    }
    ensure!(is == was, "more than the image changed: {is:#}\nwas {was:#}");
    Ok(())
}
