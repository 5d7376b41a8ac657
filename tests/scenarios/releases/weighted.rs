//! Weights of our own, with real processes behind a real load balancer: any steps on a small second service, and everything as it was.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidegate_core::history::Event;
use tidegate_core::outcome::Cause;
use tidegate_core::policy::Percent;
use tidegate_core::release::Release;
use tidegate_sandbox::local::shop::{Balancer, CLUSTER, Shop};

use crate::runner::{Scenario, scenario};
use crate::story::{Story, bad, good};

const STEPS: &str =
    "{ steps: [{ percent: 1, bake: 2s }, { percent: 10, bake: 3s }, { percent: 50, bake: 2s }], bake: 3s }";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("weights of our own: there and back behind a load balancer", async |stage| {
            let mut story = Story::open_plain(&stage, "weighted", Balancer::Application).await?;
            there_and_back(&mut story).await
        }),
        scenario("weights of our own: a rule that Terraform resets is set again and told", async |stage| {
            let story = Story::open_plain(&stage, "weighted-reset", Balancer::Application).await?;
            reset(&story).await
        }),
        scenario("weights of our own: workers without a load balancer", async |stage| {
            let story = Story::open_plain(&stage, "weighted-workers", Balancer::None).await?;
            workers(&story).await
        }),
    ]
}

/// The policy of a plain shop, with the steps and the place of the candidate.
async fn policy(story: &Story, strategy: &str) -> Result<()> {
    let shop = &story.shop;
    let own = format!("[{}]", shop.alarm);
    let text = shop.weighted_policy(strategy).replace(&own, &format!("[{}, {}]", shop.alarm, story.switch()));
    story.policy_of(&text).await
}

async fn there_and_back(story: &mut Story) -> Result<()> {
    policy(story, STEPS).await?;
    story.let_in()?;
    let scaling = scaling(story).await?;
    // Back, from ten percent.
    let id = story.release("main-2", bad("v2")).await?;
    drop(story.until_shifted(&id, 10.0).await?);
    story.turn(true).await?;
    let ended = story.ends(&id, "rolled back").await?;
    ensure!(matches!(ended.cause(), Some(Cause::Alarm { .. })), "{:?}", ended.cause());
    is_clean(story, &ended, &scaling).await?;
    story.is_as_before().await?;
    story.turn(false).await?;
    // There, by every step.
    let digest = story.push("main-3", good("v3")).await?;
    let id = story.release_of(&digest).await?;
    let ended = story.ends(&id, "promoted").await?;
    let shares: Vec<Percent> = story
        .history(&id)
        .await?
        .iter()
        .flat_map(|entry| entry.events().cloned().collect::<Vec<_>>())
        .filter_map(|event| if let Event::Shifting { percent } = event { Some(percent) } else { None })
        .collect();
    ensure!(shares == [10, 100, 500, 1000].map(Percent::from_tenths), "{shares:?}");
    is_clean(story, &ended, &scaling).await?;
    story.runs(&digest).await?;
    let traffic = story.nobody_was_turned_away().await?;
    ensure!(traffic.total.by_version.contains_key("v3"), "v3 served nobody: {:?}", traffic.total);
    Ok(())
}

async fn reset(story: &Story) -> Result<()> {
    policy(story, "{ steps: [{ percent: 50, bake: 60s }], bake: 2s }").await?;
    let id = story.release("main-2", good("v2")).await?;
    drop(story.until_shifted(&id, 50.0).await?);
    story.stage.local.elb.reset_rule(&story.shop.rule).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let repaired = |event: &Event| matches!(event, Event::WeightsRepaired { .. });
    story.until_told(&id, "the weights set again", repaired).await?;
    drop(story.until_shifted(&id, 50.0).await?);
    story.ends(&id, "promoted").await.map(drop)
}

async fn workers(story: &Story) -> Result<()> {
    policy(story, "{ steps: [{ percent: 50, bake: 2s }], bake: 2s }").await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    let ended = story.ends(&id, "promoted").await?;
    ensure!(ended.progress.measured.is_none(), "nothing measures it: {:?}", ended.progress.measured);
    is_clean(story, &ended, &Value::Null).await
}

/// What scales the service, as it is told.
async fn scaling(story: &Story) -> Result<Value> {
    let resource = story.shop.resource();
    let asked = json!({
        "ServiceNamespace": "ecs", "ResourceIds": [resource], "ScalableDimension": "ecs:service:DesiredCount"
    });
    let told =
        tidegate_sandbox::local::shop::call(&story.stage.local.autoscaling, "DescribeScalableTargets", asked)
            .await?;
    Ok(told["ScalableTargets"][0].clone())
}

/// Nothing of the release is left.
async fn is_clean(story: &Story, release: &Release, scaling_before: &Value) -> Result<()> {
    let listed = story.ecs("ListServices", json!({ "cluster": CLUSTER })).await?;
    let names = listed["serviceArns"].to_string();
    let name = format!("{}-canary-{}", story.name, release.id.short());
    ensure!(!names.contains(&name), "the second service is still there: {names}");
    if *scaling_before != Value::Null {
        let now = scaling(story).await?;
        let (is, was) = (&now["SuspendedState"], &scaling_before["SuspendedState"]);
        ensure!(is == was, "suspended is {is}, it was {was}");
    }
    let shop: &Shop = &story.shop;
    if shop.plan.balancer != Balancer::None {
        let rule = tidegate_sandbox::local::shop::call(
            &story.stage.local.elb,
            "DescribeRules",
            json!({ "RuleArns": [shop.rule] }),
        )
        .await
        .context("the rule could not be read")?;
        ensure!(
            !rule.to_string().contains(&shop.canary),
            "the candidate's target group still stands in the rule: {rule}"
        );
    }
    Ok(())
}
