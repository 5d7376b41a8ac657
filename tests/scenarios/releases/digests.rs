//! What runs is a digest: tags that move, images that are deleted, revisions that are deregistered, while a release is under way or
//! after it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tidegate_core::finding::FindingCode;
use tidegate_core::outcome::Outcome;
use tidegate_core::plan::Stage;
use tidegate_core::release::Release;
use tidegate_sandbox::images::{Push, push};
use tidegate_sandbox::local::shop::{Balancer, CLUSTER};

use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::{Story, bad, blocked_by, good};

const ROLLING: &str = "{ rolling: {}, bake: 120s }";
const QUICK: &str = "{ rolling: {}, bake: 1s }";
const BLUE_GREEN: &str = "{ blue_green: {}, bake: 1s }";
const RUNS_WITHIN: Duration = Duration::from_secs(60);
/// The tag that the running task definition names.
const LATEST: &str = "latest";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("a rollback brings the digest of before, though its tag has moved", async |stage| {
            let mut story = Story::open_behind(&stage, "moved-tag", Balancer::None).await?;
            moved_tag(&mut story, "enabled").await
        }),
        scenario("so it does when every task asks the tag by itself", async |stage| {
            let mut story = Story::open_behind(&stage, "asking-tag", Balancer::None).await?;
            moved_tag(&mut story, "disabled").await
        }),
        scenario(
            "a revision that was deregistered meanwhile is registered again to roll back to it",
            async |stage| {
                let mut story = Story::open_behind(&stage, "gone-revision", Balancer::None).await?;
                gone_revision(&mut story).await
            },
        ),
        scenario("nothing is released while the image that runs is gone", async |stage| {
            let mut story = Story::open_behind(&stage, "gone-image", Balancer::None).await?;
            gone_image(&mut story).await
        }),
        scenario(
            "a person is called at once when a rollback needs an image that is gone, whose push heals it",
            async |stage| {
                let mut story = Story::open_behind(&stage, "gone-meanwhile", Balancer::None).await?;
                gone_meanwhile(&mut story).await
            },
        ),
        scenario("an image that no task could start is found before it is tried", async |stage| {
            let story = Story::open_behind(&stage, "wrong-platform", Balancer::None).await?;
            wrong_platform(&story).await
        }),
        scenario("what changes while people decide is planned with, and asked for again", async |stage| {
            let story = Story::open_behind(&stage, "changed-waiting", Balancer::None).await?;
            changed_while_waiting(&story).await
        }),
        scenario("a rollback release registers a revision again that was deregistered", async |stage| {
            let story = Story::open_behind(&stage, "deregistered", Balancer::None).await?;
            deregistered(&story).await
        }),
    ]
}

async fn wrong_platform(story: &Story) -> Result<()> {
    story.policy(QUICK).await?;
    // As buildx pushes it, an index with an attestation; and as a plain build does, a single image.
    for (tag, attested) in [("main-2", true), ("main-2b", false)] {
        let wanted = Push {
            architectures: vec!["arm64".into()],
            attested,
            ..Push::new(&story.shop.plan.repository, tag, good(tag))
        };
        let pushed = push(&story.stage.local.client, &story.stage.local.events, &wanted).await;
        let digest = pushed.map_err(|error| anyhow::anyhow!("{}: {}", error.code, error.message))?;
        let id = story.release_of(&digest).await?;
        let release = story.ends(&id, "failed").await?;
        let why = release.cause().map(ToString::to_string).unwrap_or_default();
        ensure!(why.contains("is built for linux/arm64") && why.contains("linux/amd64"), "{why}");
        ensure!(story.deployments().await?.len() == 1, "something was deployed");
    }
    // An index with an image for the platform is released.
    let both = story.push_index("main-3", good("v3")).await?;
    let id = story.release_of(&both).await?;
    story.ends(&id, "promoted").await?;
    story.runs(&both).await
}

/// While a person decides, another one changes the service: the plan is made anew, and what was changed stays.
async fn changed_while_waiting(story: &Story) -> Result<()> {
    let people =
        "people: { ana: { aws: [\"arn:aws:iam::*:root\"] } }\napproval: { before: deploy, by: [ana] }\n";
    story.policy_of(&format!("{}{people}", story.shop.policy(QUICK))).await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    let asked = |release: &Release| {
        matches!(release.stage(), Some(Stage::Approve { .. })) && !release.gates.is_empty()
    };
    story.until(&id, "the approval", asked).await?;
    let changed = json!({ "strategy": "ROLLING", "maximumPercent": 150, "minimumHealthyPercent": 50 });
    let update =
        json!({ "cluster": CLUSTER, "service": story.name.as_str(), "deploymentConfiguration": changed });
    story.ecs("UpdateService", update).await?;
    let approve = ["approve", id.as_str()];
    story.stage.tidegate(&approve).await?;
    // The first answer was given for another plan, so it is asked for again.
    let again = story
        .until(&id, "the approval to be asked for again", |release| {
            release.progress.replanned == 1 && asked(release)
        })
        .await?;
    ensure!(
        again.gates.values().all(|gate| gate.votes.is_empty()),
        "the approval of another plan still counts"
    );
    story.stage.tidegate(&approve).await?;
    story.ends(&id, "promoted").await?;
    let after = story.service().await?["deploymentConfiguration"].clone();
    ensure!(
        after["maximumPercent"] == 150 && after["minimumHealthyPercent"] == 50,
        "their change was undone: {after}"
    );
    ensure!(story.told(&id).await.contains("planning again"), "the history does not say why");
    Ok(())
}

impl Story {
    /// The service runs `v1` by the tag `latest`, which somebody deployed by hand. Returns the digest.
    async fn by_tag(&mut self, consistency: &str) -> Result<String> {
        let digest = self.push(LATEST, good("v1")).await?;
        let definition = self
            .register_by_hand(|own| {
                let container = &mut own["containerDefinitions"][0];
                let image = container["image"].as_str().unwrap_or_default().to_owned();
                let name = image.split('@').next().unwrap_or_default();
                container["image"] = format!("{name}:{LATEST}").into();
                container["versionConsistency"] = consistency.into();
            })
            .await?;
        self.deploy_by_hand(&definition).await?;
        self.tasks_run(&digest).await?;
        Ok(digest)
    }

    /// The digests of the service's tasks.
    async fn digests(&self) -> Result<Vec<Value>> {
        let list = json!({ "cluster": CLUSTER, "serviceName": self.name.as_str() });
        let listed = self.ecs("ListTasks", list).await?;
        let tasks = json!({ "cluster": CLUSTER, "tasks": listed["taskArns"] });
        let described = self.ecs("DescribeTasks", tasks).await?;
        let tasks = described["tasks"].as_array().cloned().unwrap_or_default();
        Ok(tasks.iter().map(|task| task["containers"][0]["imageDigest"].clone()).collect())
    }

    /// Deletes an image, as lifecycle rules and people do.
    async fn delete(&self, digest: &str) -> Result<()> {
        let repository = &self.shop.plan.repository;
        let delete = json!({ "repositoryName": repository, "imageIds": [{ "imageDigest": digest }] });
        let target = "AmazonEC2ContainerRegistry_V20150921.BatchDeleteImage";
        let deleted = self.stage.local.client.json("ecr", target, delete).await;
        deleted.map(drop).map_err(|error| anyhow::anyhow!("{}: {}", error.code, error.message))
    }

    /// Every task runs this digest.
    async fn tasks_run(&self, digest: &str) -> Result<()> {
        until(&format!("every task to run {digest}"), RUNS_WITHIN, async || {
            let digests = self.digests().await?;
            Ok((!digests.is_empty() && digests.iter().all(|found| found == digest)).then_some(()))
        })
        .await
    }
}

fn bakes(release: &Release) -> bool {
    matches!(release.stage(), Some(Stage::Bake { .. }))
}

async fn moved_tag(story: &mut Story, consistency: &str) -> Result<()> {
    let before = story.by_tag(consistency).await?;
    story.policy(ROLLING).await?;
    // The tag means the new image from now on: an own deployment of the task definition of before would bring the new one again.
    story.push(LATEST, bad("v2")).await?;
    let id = story.release("main-2", bad("v2")).await?;
    story.until(&id, "the final bake", bakes).await?;
    story.turn(true).await?;
    let release = story.ends(&id, "rolled back").await?;
    story.tasks_run(&before).await?;
    story.configuration_is_its_own().await?;
    let stable = release
        .progress
        .state
        .ecs_native()
        .stable
        .clone()
        .context("the task definition of before was registered by digest")?;
    let found = story.task_definition(&json!(stable.as_str())).await?;
    let image = found["taskDefinition"]["containerDefinitions"][0]["image"].to_string();
    ensure!(image.contains(&before), "{stable} names {image}");
    ensure!(story.service().await?["taskDefinition"] == stable.as_str(), "another task definition is set");
    Ok(())
}

/// A clean-up job takes away the revision that only a rollback would have needed.
async fn gone_revision(story: &mut Story) -> Result<()> {
    let before = story.by_tag("enabled").await?;
    story.policy(ROLLING).await?;
    let id = story.release("main-2", bad("v2")).await?;
    let bakes = story.until(&id, "the final bake", bakes).await?;
    let pinned = bakes
        .progress
        .state
        .ecs_native()
        .stable
        .clone()
        .context("the task definition of before was registered by digest")?;
    story.ecs("DeregisterTaskDefinition", json!({ "taskDefinition": pinned.as_str() })).await?;
    story.turn(true).await?;
    let release = story.ends(&id, "rolled back").await?;
    story.tasks_run(&before).await?;
    story.configuration_is_its_own().await?;
    ensure!(
        release.progress.state.ecs_native().stable.as_ref().is_some_and(|stable| *stable != pinned),
        "a deregistered revision is deployed"
    );
    ensure!(story.told(&id).await.contains(" again as "), "the history does not say so");
    Ok(())
}

/// The image that only a rollback would have needed is deleted while the candidate bakes.
async fn gone_meanwhile(story: &mut Story) -> Result<()> {
    let before = story.by_tag("enabled").await?;
    story.policy(ROLLING).await?;
    let id = story.release("main-2", bad("v2")).await?;
    story.until(&id, "the final bake", bakes).await?;
    story.delete(&before).await?;
    story.turn(true).await?;
    let release = story.ends(&id, "failed").await?;
    let Some(Outcome::Failed { needs, .. }) = release.outcome() else { bail!("it has not failed") };
    ensure!(needs.contains("gone from ECR") && needs.contains(&before), "{needs}");
    story.configuration_is_its_own().await?;
    // What a person is told to do is all there is to do.
    let again = story.push(LATEST, good("v1")).await?;
    ensure!(again == before, "another digest was pushed: {again}");
    story.tasks_run(&before).await
}

async fn gone_image(story: &mut Story) -> Result<()> {
    let before = story.by_tag("enabled").await?;
    story.policy(QUICK).await?;
    story.push(LATEST, good("v2")).await?;
    story.delete(&before).await?;
    let (_, plan) = story.stage.tidegate(&["plan", story.name.as_str(), LATEST]).await?;
    ensure!(plan.contains("is gone from ECR"), "{plan}");
    let id = story.release("main-2", good("v2")).await?;
    let release = story.ends(&id, "failed").await?;
    blocked_by(&release, FindingCode::StableImageMissing, "gone from ECR")?;
    ensure!(story.deployments().await?.len() == 2, "something was deployed");
    Ok(())
}

async fn deregistered(story: &Story) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    let second = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&second).await?;
    let promoted = story.ends(&id, "promoted").await?;
    let third = story.release("main-3", good("v3")).await?;
    story.ends(&third, "promoted").await?;
    let revision = promoted
        .progress
        .state
        .ecs_native()
        .task_definition
        .clone()
        .context("a promoted release has a task definition")?;
    story.ecs("DeregisterTaskDefinition", json!({ "taskDefinition": revision.as_str() })).await?;
    let asked = ["rollback", story.name.as_str(), "--reason", "it is wrong", "--yes"];
    let (code, text) = story.stage.tidegate(&asked).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    let back = until("the rollback release", RUNS_WITHIN, async || {
        let newest = story.releases().await?.into_iter().next();
        Ok(newest.filter(|release| {
            release.change.digests().iter().any(|brought| brought.as_str() == second) && release.id != id
        }))
    })
    .await?;
    let back = story.ends(&back.id, "promoted").await?;
    story.tasks_run(&second).await?;
    let again = back.progress.state.ecs_native().task_definition.clone().context("it runs a revision")?;
    ensure!(again != revision, "the deregistered revision was deployed");
    story.runs(&second).await
}
