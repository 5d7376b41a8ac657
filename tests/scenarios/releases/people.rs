//! What people do while a release is under way: push again, deploy, reset weights, continue, stop, roll back, cancel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidegate_core::history::WaitingOn;
use tidegate_core::intent::Intent;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::release::Release;
use tidegate_sandbox::images::Behaviour;
use tidegate_sandbox::local::shop::{Balancer, call};

use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::{CANARY, Story, UNKNOWN, good};

const BLUE_GREEN: &str = "{ blue_green: {}, bake: 2s }";
/// A bake that somebody is sure to interrupt.
const LONG_CANARY: &str = "{ canary: { percent: 10, bake: 25s }, bake: 3s }";
const SOON: Duration = Duration::from_secs(120);

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("on_newer queue: only the newest waits", async |stage| {
            let story = Story::open_behind(&stage, "queue", Balancer::None).await?;
            queue(&story).await
        }),
        scenario(
            "a drill takes what runs through its first step and back, and nobody notices",
            async |stage| {
                let mut story = Story::open(&stage, "drilled").await?;
                drilled(&mut story).await
            },
        ),
        scenario("on_newer replace: the newer one takes the place", async |stage| {
            let story = Story::open(&stage, "replace").await?;
            replace(&story).await
        }),
        scenario("a deployment by someone else is given way to", async |stage| {
            let mut story = Story::open(&stage, "external_deployment").await?;
            interference(&mut story).await
        }),
        scenario("weights that someone else reset turn the release back", async |stage| {
            let mut story = Story::open(&stage, "weights-reset").await?;
            weights_reset(&mut story).await
        }),
        scenario("a person who continues a held shift by hand is followed", async |stage| {
            let story = Story::open(&stage, "by-hand").await?;
            continued_by_hand(&story).await
        }),
        scenario("a deployment that a person stops is a rollback", async |stage| {
            let mut story = Story::open(&stage, "stopped").await?;
            stopped_by_hand(&mut story).await
        }),
        scenario("an image that crashes is rolled back by the circuit breaker", async |stage| {
            let mut story = Story::open(&stage, "crashing").await?;
            let image = Behaviour { crashes: true, ..good("v2") };
            circuit_breaker(&mut story, image).await
        }),
        scenario("an image that is unhealthy is rolled back by the circuit breaker", async |stage| {
            let mut story = Story::open(&stage, "unhealthy").await?;
            let image = Behaviour { unhealthy: true, ..good("v2") };
            circuit_breaker(&mut story, image).await
        }),
        scenario(
            "a candidate that crashes is rolled back where Amazon ECS has no circuit breaker",
            async |stage| {
                let mut story = Story::open(&stage, "crash-canary").await?;
                failed_tasks(&mut story).await
            },
        ),
        scenario("a candidate that never comes up can be cancelled, and nobody notices", async |stage| {
            let mut story = Story::open(&stage, "never-up").await?;
            cancelled(&mut story).await
        }),
        scenario("a finished release is rolled back to the one promoted before", async |stage| {
            let story = Story::open_behind(&stage, "return", Balancer::None).await?;
            rollback_target(&story).await
        }),
        scenario("the exit codes of the command line tell how a release ended", async |stage| {
            let story = Story::open_behind(&stage, "exit-codes", Balancer::None).await?;
            exit_codes(&story).await
        }),
    ]
}

async fn drilled(story: &mut Story) -> Result<()> {
    let strategy = "{ canary: { percent: 10, bake: 3s }, bake: 3s }";
    story.policy(strategy).await?;
    story.let_in()?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    let drill = ["drill", story.name.as_str(), "--yes", "--watch"];
    let (code, text) = story.stage.tidegate(&drill).await?;
    ensure!(code == 1 && text.contains("the policy allows none"), "exit code {code}: {text}");
    ensure!(story.releases().await?.len() == 1, "a drill was held that nobody allowed");
    let allowed = format!(
        "{}drill: {{ time_zone: UTC, weekly: [{{ from: Mon 00:00, to: Mon 00:00 }}] }}\n",
        story.shop.policy(strategy)
    );
    story.policy_of(&allowed).await?;
    let (code, text) = story.stage.tidegate(&drill).await?;
    ensure!(code == 0 && text.contains("the drill has worked"), "exit code {code}: {text}");
    let newest = story.releases().await?.into_iter().next().context("a release")?;
    ensure!(
        newest.intent == Intent::Drill
            && newest.outcome() == Some(&Outcome::RolledBack { cause: Cause::Drill }),
        "{newest:?}"
    );
    story.runs(&digest).await?;
    story.configuration_is_its_own().await?;
    ensure!(story.head().await?.quarantine.is_empty(), "what runs was quarantined");
    story.nobody_was_turned_away().await?;
    let (code, text) = story.stage.tidegate(&["stats", story.name.as_str()]).await?;
    ensure!(code == 0 && text.contains("0 of 1 deployed changes failed"), "exit code {code}: {text}");
    ensure!(text.contains("time to restore") && text.contains("1 rollback"), "{text}");
    Ok(())
}

async fn queue(story: &Story) -> Result<()> {
    story.policy("{ blue_green: {}, bake: 12s }").await?;
    let first = story.release("main-2", good("v2")).await?;
    story
        .until(&first, "its deployment", |release| release.progress.state.ecs_native().deployment.is_some())
        .await?;
    let second = story.release("main-3", good("v3")).await?;
    let waiting = story.get(&second).await?;
    ensure!(waiting.summary() == "queued", "{}", waiting.summary());
    let digest = story.push("main-4", good("v4")).await?;
    let third = story.release_of(&digest).await?;
    story.ends(&second, "superseded").await?;
    story.ends(&first, "promoted").await?;
    story.ends(&third, "promoted").await?;
    story.runs(&digest).await
}

async fn replace(story: &Story) -> Result<()> {
    story.policy_with(LONG_CANARY, &[&story.switch()], "replace").await?;
    let first = story.release("main-2", good("v2")).await?;
    story.until_shifted(&first, 10.0).await?;
    story.policy_with(BLUE_GREEN, &[&story.switch()], "replace").await?;
    let digest = story.push("main-3", good("v3")).await?;
    let second = story.release_of(&digest).await?;
    let ended = story.ends(&first, "superseded").await?;
    ensure!(
        matches!(ended.outcome(), Some(Outcome::Superseded { by }) if *by == second.clone().into()),
        "{ended:?}"
    );
    story.ends(&second, "promoted").await?;
    story.runs(&digest).await
}

async fn interference(story: &mut Story) -> Result<()> {
    story.policy(LONG_CANARY).await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    // Someone deploys the old image with another setting, from a console that knows nothing of Tidegate.
    let theirs = story.register_by_hand(|own| own["cpu"] = json!("512")).await?;
    story.update_by_hand(&theirs).await?;
    let release = story.ends(&id, "failed").await?;
    ensure!(matches!(release.cause(), Some(Cause::ExternalDeployment { .. })), "{:?}", release.cause());
    until("their deployment to be over", SOON, async || {
        let newest = story.deployments().await?.into_iter().next().unwrap_or_default();
        Ok((newest["status"] == "SUCCESSFUL").then_some(()))
    })
    .await?;
    let service = story.service().await?;
    ensure!(service["taskDefinition"] == theirs, "the service runs {}", service["taskDefinition"]);
    story.configuration_is_its_own().await?;
    story.nobody_was_turned_away().await?;
    Ok(())
}

async fn weights_reset(story: &mut Story) -> Result<()> {
    story.policy("{ canary: { percent: 10, bake: 8s }, bake: 3s }").await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    let groups: Vec<Value> = story
        .shop
        .groups
        .iter()
        .zip([50, 50])
        .map(|(group, weight)| json!({ "TargetGroupArn": group, "Weight": weight }))
        .collect();
    let actions = json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": groups } }]);
    let rule = json!({ "RuleArn": story.shop.rule, "Actions": actions });
    call(&story.stage.local.elb, "ModifyRule", rule).await?;
    let release = story.ends(&id, "rolled back").await?;
    ensure!(matches!(release.cause(), Some(Cause::Weights { .. })), "{:?}", release.cause());
    story.is_as_before().await?;
    story.nobody_was_turned_away().await?;
    Ok(())
}

/// The pause hook the newest deployment waits at.
async fn waiting_hook(story: &Story) -> Result<Option<(Value, Value)>> {
    let newest = story.deployments().await?.into_iter().next().unwrap_or_default();
    let hooks = newest["lifecycleHookDetails"].as_array().into_iter().flatten();
    let mut waiting = hooks.filter(|hook| hook["status"] == "AWAITING_ACTION");
    Ok(waiting.next().map(|hook| (newest["serviceDeploymentArn"].clone(), hook["hookId"].clone())))
}

async fn continued_by_hand(story: &Story) -> Result<()> {
    // Without data Tidegate does not shift; a person who knows better may.
    story.policy_with(CANARY, &[&story.switch()], "queue").await?;
    let id = story.release("main-2", good("v2")).await?;
    story
        .until(&id, "its deployment", |release| release.progress.state.ecs_native().deployment.is_some())
        .await?;
    let unknown =
        json!({ "AlarmName": story.switch(), "StateValue": "INSUFFICIENT_DATA", "StateReason": "tests" });
    story.cloudwatch("SetAlarmState", unknown).await?;
    story
        .until(&id, "it is held", |release| matches!(release.report.waiting_on, WaitingOn::Held { .. }))
        .await?;
    let (deployment, hook) = until("a hook that waits", SOON, async || waiting_hook(story).await).await?;
    let go_on = json!({ "serviceDeploymentArn": deployment, "hookId": hook, "action": "CONTINUE" });
    story.ecs("ContinueServiceDeployment", go_on).await?;
    story.until_shifted(&id, 10.0).await?;
    story.turn(false).await?;
    story.ends(&id, "promoted").await?;
    let told = story.told(&id).await;
    ensure!(told.contains("someone outside Tidegate: shift to 10%"), "the person is not named: {told}");
    Ok(())
}

async fn stopped_by_hand(story: &mut Story) -> Result<()> {
    story.policy(LONG_CANARY).await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    let release = story.until_shifted(&id, 10.0).await?;
    let deployment = release.progress.state.ecs_native().deployment.clone().context("it has a deployment")?;
    let stop = json!({ "serviceDeploymentArn": deployment.as_str(), "stopType": "ROLLBACK" });
    story.ecs("StopServiceDeployment", stop).await?;
    let release = story.ends(&id, "rolled back").await?;
    ensure!(matches!(release.cause(), Some(Cause::Deployment { .. })), "{:?}", release.cause());
    story.is_as_before().await?;
    story.nobody_was_turned_away().await?;
    Ok(())
}

/// Tidegate does not count here, so what notices is Amazon ECS's own circuit breaker.
async fn circuit_breaker(story: &mut Story, image: Behaviour) -> Result<()> {
    let own = format!("[{}]", story.shop.alarm);
    let uncounted = format!("{own}, failed_tasks: 0");
    story.policy_of(&story.shop.policy("{ rolling: {}, bake: 3s }").replace(&own, &uncounted)).await?;
    story.let_in()?;
    let id = story.release("main-2", image).await?;
    let release = story.ends(&id, "rolled back").await?;
    ensure!(matches!(release.cause(), Some(Cause::Deployment { .. })), "{:?}", release.cause());
    as_if_nothing_had_come(story).await
}

/// Only a rolling update has a circuit breaker: before a canary's first step nothing but Tidegate counts the tasks that failed.
async fn failed_tasks(story: &mut Story) -> Result<()> {
    story.policy(CANARY).await?;
    story.let_in()?;
    let id = story.release("main-2", Behaviour { crashes: true, ..good("v2") }).await?;
    let release = story.ends(&id, "rolled back").await?;
    ensure!(matches!(release.cause(), Some(Cause::FailedTasks { .. })), "{:?}", release.cause());
    let told = story.told(&id).await;
    ensure!(told.contains("app exited with code"), "{told}");
    as_if_nothing_had_come(story).await
}

async fn as_if_nothing_had_come(story: &mut Story) -> Result<()> {
    story.is_as_before().await?;
    let traffic = story.nobody_was_turned_away().await?;
    ensure!(!traffic.total.by_version.contains_key("v2"), "{:?}", traffic.total);
    Ok(())
}

async fn cancelled(story: &mut Story) -> Result<()> {
    story.policy(CANARY).await?;
    story.let_in()?;
    let id = story.release("main-2", Behaviour { unhealthy: true, ..good("v2") }).await?;
    story
        .until(&id, "its deployment", |release| release.progress.state.ecs_native().deployment.is_some())
        .await?;
    let reason = ["cancel", id.as_str(), "--reason", "it never comes up", "--watch"];
    let (code, text) = story.stage.tidegate(&reason).await?;
    ensure!(code == 5, "exit code {code}: {text}");
    story.ends(&id, "cancelled").await?;
    story.is_as_before().await?;
    let traffic = story.nobody_was_turned_away().await?;
    ensure!(!traffic.total.by_version.contains_key("v2"), "{:?}", traffic.total);
    // Cancelled is not bad: the same image may come again.
    ensure!(story.head().await?.quarantine.is_empty());
    Ok(())
}

async fn rollback_target(story: &Story) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    let second = story.push("main-2", good("v2")).await?;
    let first_release = story.release_of(&second).await?;
    story.ends(&first_release, "promoted").await?;
    let third = story.release("main-3", good("v3")).await?;
    story.ends(&third, "promoted").await?;
    // The newest revision is that of an image that was rolled back.
    story.policy("{ blue_green: {}, bake: 25s }").await?;
    let fourth = story.release("main-4", good("v4")).await?;
    story.until(&fourth, "all traffic", |release| release.progress.set.is_some()).await?;
    let (code, text) = story
        .stage
        .tidegate(&["rollback", story.name.as_str(), "--yes", "--reason", "no good", "--watch"])
        .await?;
    ensure!(code == 3, "exit code {code}: {text}");
    story.ends(&fourth, "rolled back").await?;
    story.policy(BLUE_GREEN).await?;
    // The good version runs: to leave it, too, has to be said.
    let (code, text) = story.stage.tidegate(&["rollback", story.name.as_str(), "--yes"]).await?;
    ensure!(code == 1 && text.contains("already runs main-3 again"), "exit code {code}: {text}");
    let leave = ["rollback", story.name.as_str(), "--to", "main-2", "--yes", "--watch"];
    let (code, text) = story.stage.tidegate(&leave).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    story.runs(&second).await?;
    let newest: Release = story.releases().await?.into_iter().next().context("a release")?;
    ensure!(matches!(newest.intent, tidegate_core::intent::Intent::Rollback { .. }), "{:?}", newest.intent);
    let (code, text) = story.stage.tidegate(&["rollback", story.name.as_str(), "--yes"]).await?;
    ensure!(code == 1 && text.contains("already runs main-2 again"), "exit code {code}: {text}");
    Ok(())
}

async fn exit_codes(story: &Story) -> Result<()> {
    let service = story.name.as_str().to_owned();
    let policy = story.shop.policy(BLUE_GREEN) + "evidence: { min_requests: 0, compare: [] }\n";
    let file = story.stage.file("exit-codes.yaml", &policy)?.display().to_string();
    let wrong =
        story.stage.file("wrong.yaml", &policy.replace("blue_green", "green_blue"))?.display().to_string();
    let run = async |args: &[&str], expected: i32, said: &str| -> Result<()> {
        let (code, text) = story.stage.tidegate(args).await?;
        ensure!(code == expected && text.contains(said), "{args:?}: exit code {code}, {text}");
        Ok(())
    };
    run(&["apply", &file], 0, "").await?;
    run(&["apply", &wrong], 1, "green_blue").await?;
    run(&["validate", &file], 0, "").await?;
    run(&["apply"], 2, "Usage").await?;
    run(&["release", "nobody", "main-1"], 1, "nobody").await?;
    run(&["watch", "01k0000000000000000000000x"], 1, "").await?;
    run(&["rollback", &service, "--yes"], 1, "has no release yet").await?;
    story.push("preview-2", good("v2")).await?;
    run(&["plan", &service, "preview-2"], 0, "the rollback target").await?;
    run(&["release", &service, "preview-2"], 0, "created release").await?;
    run(&["watch", &service, "--once"], 6, "").await?;
    run(&["watch", &service], 0, "promoted").await?;
    run(&["why", &service], 0, "preview-2").await?;
    run(&["release", &service, "preview-2"], 0, "already runs").await?;
    run(&["cancel", &service], 1, "has ended").await?;
    story.turn(false).await?;
    ensure!(story.service().await?["deploymentConfiguration"][UNKNOWN]["kept"] == true);
    Ok(())
}
