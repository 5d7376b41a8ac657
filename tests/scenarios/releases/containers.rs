//! A release that changes several containers of a task, each with images of its own repository.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tidegate_core::ids::ReleaseId;
use tidegate_core::plan::Stage;
use tidegate_core::release::Release;
use tidegate_sandbox::images::{Push, ensure_repository, push};
use tidegate_sandbox::local::shop::{Balancer, CLUSTER};

use crate::runner::{Scenario, scenario};
use crate::stage::{STACK, until};
use crate::story::{Story, good};

const RUNS_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn all() -> Vec<Scenario> {
    vec![scenario("two containers are released together, and one alone comes back alone", async |stage| {
        let mut story = Story::open_behind(&stage, "two-containers", Balancer::None).await?;
        two_containers(&mut story).await
    })]
}

async fn two_containers(story: &mut Story) -> Result<()> {
    let proxy = Proxy::add(story).await?;
    let policy =
        story.shop.policy("{ blue_green: {}, bake: 1s }").replace(&story.shop.alarm, &story.switch());
    let containers =
        format!("containers: {{ app: {{}}, proxy: {{ repository: {}, tags: [\"v*\"] }} }}", proxy.repository);
    let policy = policy.replace("container: app", &containers);
    story.policy_of(&policy).await?;
    // Tags that no push is released by: a person names both, for both at once.
    let app = story.push("next-2", good("v2")).await?;
    let second = proxy.push(story, "next-2", "p2").await?;
    let asked = ["release", story.name.as_str(), "app=next-2", "proxy=next-2"];
    let (code, text) = story.stage.tidegate(&asked).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    let both = story.release_of(&app).await?;
    let promoted = story.ends(&both, "promoted").await?;
    ensure!(promoted.change.label() == "app next-2, proxy next-2", "it brought {}", promoted.change);
    story.containers_run(&app, &second).await?;
    the_runbook_reads_what_is_stored(story, &both).await?;
    // A push to the proxy's repository changes the proxy alone, and it alone comes back.
    story.policy_of(&policy.replace("bake: 1s", "bake: 120s")).await?;
    let third = proxy.push(story, "v3", "p3").await?;
    let alone = story.release_of(&third).await?;
    let bakes = |release: &Release| matches!(release.stage(), Some(Stage::Bake { .. }));
    story.until(&alone, "the final bake", bakes).await?;
    story.turn(true).await?;
    let back = story.ends(&alone, "rolled back").await?;
    ensure!(back.change.containers().count() == 1, "it also changed {}", back.change);
    story.containers_run(&app, &second).await?;
    story.configuration_is_its_own().await?;
    let quarantine = story.head().await?.quarantine;
    let kept: Vec<&str> = quarantine.keys().map(|digest| digest.as_str()).collect();
    ensure!(kept == [third.as_str()], "quarantined: {kept:?}");
    // An image of a repository that no container takes, and a tag that the container's own patterns do not name.
    let (code, text) =
        story.stage.tidegate(&["release", story.name.as_str(), "proxy=shop/elsewhere:v1"]).await?;
    ensure!(code != 0 && text.contains("shop/elsewhere"), "exit code {code}: {text}");
    proxy.push(story, "main-9", "p9").await?;
    let releases = story.releases().await?;
    ensure!(
        releases.len() == 2,
        "released as well: {:?}",
        releases.iter().map(|it| it.change.label()).collect::<Vec<_>>()
    );
    Ok(())
}

/// What `docs/operations.md` has people read in the table by hand, when there is no Tidegate to ask.
async fn the_runbook_reads_what_is_stored(story: &Story, id: &ReleaseId) -> Result<()> {
    let runbook = include_str!("../../../docs/operations.md");
    let table = format!("{STACK}-ledger");
    let client = &story.stage.local.client;
    let body = |row: &Value| {
        serde_json::from_str::<Value>(row["body"]["S"].as_str().context("a body")?).context("JSON")
    };

    let key = json!({ "pk": { "S": format!("SERVICE#{}", story.name) }, "sk": { "S": "HEAD" } });
    let got =
        client.json("dynamodb", "DynamoDB_20120810.GetItem", json!({ "TableName": table, "Key": key })).await;
    let service = body(&got.map_err(|error| anyhow!("{}", error.message))?["Item"])?;
    ensure!(runbook.contains(
        ".promoted[] | {at, images: (.change | map_values(.tag)), task_definition: .deployed.task_definition}"
    ));
    let newest = &service["promoted"][0];
    let tags: Vec<&Value> =
        newest["change"].as_object().context("a change")?.values().map(|image| &image["tag"]).collect();
    ensure!(tags == ["next-2", "next-2"], "{newest}");
    ensure!(newest["at"].is_string() && newest["deployed"]["task_definition"].is_string(), "{newest}");

    let query = json!({
        "TableName": table, "ScanIndexForward": false,
        "KeyConditionExpression": "pk = :release AND begins_with(sk, :plan)",
        "ExpressionAttributeValues": { ":release": { "S": format!("RELEASE#{id}") }, ":plan": { "S": "PLAN#" } },
    });
    let got = client.json("dynamodb", "DynamoDB_20120810.Query", query).await;
    let plan = body(&got.map_err(|error| anyhow!("{}", error.message))?["Items"][0])?;
    ensure!(
        runbook.contains("begins_with(sk, :plan)")
            && runbook.contains("jq .setup.rollback_target.configuration >")
    );
    ensure!(plan["setup"]["rollback_target"]["configuration"].is_object(), "{plan}");
    Ok(())
}

/// A second container of the task, with a repository of its own.
struct Proxy {
    repository: String,
}

impl Proxy {
    /// Somebody adds it to the task definition by hand.
    async fn add(story: &mut Story) -> Result<Self> {
        let proxy = Self { repository: format!("{}-proxy", story.shop.plan.repository) };
        let created = ensure_repository(&story.stage.local.client, &proxy.repository).await;
        let uri = created.map_err(|error| anyhow!("{}: {}", error.code, error.message))?;
        let first = proxy.push(story, "before", "p1").await?;
        let container = json!({ "name": "proxy", "image": format!("{uri}@{first}"), "essential": true });
        let definition = story
            .register_by_hand(|own| {
                if let Some(containers) = own["containerDefinitions"].as_array_mut() {
                    containers.push(container);
                }
            })
            .await?;
        story.deploy_by_hand(&definition).await?;
        Ok(proxy)
    }

    async fn push(&self, story: &Story, tag: &str, version: &str) -> Result<String> {
        let wanted = Push::new(&self.repository, tag, good(version));
        let pushed = push(&story.stage.local.client, &story.stage.local.events, &wanted).await;
        pushed.map_err(|error| anyhow!("{}: {}", error.code, error.message))
    }
}

impl Story {
    /// Every task runs these digests.
    async fn containers_run(&self, app: &str, proxy: &str) -> Result<()> {
        let wanted = BTreeMap::from([("app", app), ("proxy", proxy)]);
        until(&format!("every task to run {wanted:?}"), RUNS_WITHIN, async || {
            let list = json!({ "cluster": CLUSTER, "serviceName": self.name.as_str() });
            let listed = self.ecs("ListTasks", list).await?;
            let described =
                self.ecs("DescribeTasks", json!({ "cluster": CLUSTER, "tasks": listed["taskArns"] })).await?;
            let tasks = described["tasks"].as_array().cloned().unwrap_or_default();
            let runs = |task: &Value| {
                wanted.iter().all(|(name, digest)| {
                    let containers = task["containers"].as_array().into_iter().flatten();
                    let mut of_it = containers.filter(|container| container["name"] == *name);
                    of_it.any(|container| container["imageDigest"] == *digest)
                })
            };
            Ok((!tasks.is_empty() && tasks.iter().all(runs)).then_some(()))
        })
        .await
    }
}
