//! People who hold a release, let it go on, do not wait for its bakes, or roll it back from the dashboard, while customers are served.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::Value;
use tidegate_core::ids::ReleaseId;
use tidegate_core::outcome::Cause;
use tokio::time::Instant;

use crate::runner::{Scenario, scenario};
use crate::story::{Story, good};

/// Longer than the bake that is paused.
const HELD: Duration = Duration::from_secs(14);
/// A bake that nobody here waits for.
const LONG: Duration = Duration::from_secs(180);

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("a person pauses a canary, continues it, and has it promoted now", async |stage| {
            let mut story = Story::open(&stage, "steered").await?;
            steered(&mut story).await
        }),
        scenario("a link to the dashboard shows a release, and one that acts rolls it back", async |stage| {
            let mut story = Story::open(&stage, "dashboard").await?;
            from_the_dashboard(&mut story).await
        }),
    ]
}

async fn asked(story: &Story, args: &[&str], said: &str) -> Result<()> {
    let (code, text) = story.stage.tidegate(args).await?;
    ensure!(code == 0 && text.contains(said), "{args:?}: exit code {code}, {text}");
    Ok(())
}

async fn steered(story: &mut Story) -> Result<()> {
    let long = LONG.as_secs();
    story.policy(&format!("{{ canary: {{ percent: 10, bake: 10s }}, bake: {long}s }}")).await?;
    story.let_in()?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.until_shifted(&id, 10.0).await?;
    let name = story.name.to_string();

    asked(story, &["pause", &name, "--reason", "what is that spike?"], "stays where it is").await?;
    tokio::time::sleep(HELD).await;
    let paused = story.get(&id).await?;
    ensure!(paused.pause.is_some() && !paused.is_over(), "{}", paused.summary());
    let mut weights = story.shop.weights(&story.stage.local)?;
    weights.sort_unstable();
    ensure!(weights == [10, 90], "it went on while it was paused: {weights:?}");

    asked(story, &["continue", &name, "--reason", "only a bot"], "").await?;
    story.until_shifted(&id, 100.0).await?;
    let all_traffic = Instant::now();
    asked(story, &["promote", &name, "--now", "--reason", "seen enough"], "").await?;
    story.ends(&id, "promoted").await?;
    let took = all_traffic.elapsed();
    ensure!(took < LONG, "the bake of {long} s was waited for: {took:?}");

    story.runs(&digest).await?;
    let told = story.told(&id).await;
    for reason in ["what is that spike?", "only a bot", "seen enough"] {
        ensure!(told.contains(reason), "{reason:?} is not in the history:\n{told}");
    }
    story.nobody_was_turned_away().await?;
    Ok(())
}

/// A link that `tidegate open` gives, as the demo prints it.
async fn link(story: &Story, args: &[&str]) -> Result<String> {
    let (code, text) = story.stage.tidegate(&[&["--json", "open", "--print"], args].concat()).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    let given: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(given["url"].as_str().context("a link")?.to_owned())
}

/// What stands between two texts of a page, as a browser reads it.
fn between(page: &str, before: &str, after: &str) -> Result<String> {
    let (_, rest) = page.split_once(before).with_context(|| format!("{before} is not in {page}"))?;
    let (found, _) = rest.split_once(after).with_context(|| format!("{before} does not end"))?;
    Ok(found.replace("&amp;", "&"))
}

async fn from_the_dashboard(story: &mut Story) -> Result<()> {
    let known = "people: { root: { aws: [\"arn:aws:iam::111122223333:root\"] } }\n";
    let policy = story.shop.policy("{ canary: { percent: 10, bake: 10m }, bake: 3s }") + known;
    story.policy_of(&policy).await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;

    let local = &story.stage.local;
    let all = link(story, &[]).await?;
    let page = local.open(&all, None).await?;
    ensure!(page.status == StatusCode::OK && page.body.contains(story.name.as_str()), "{}", page.body);
    let (door, key) = (between(&all, "https://", "/")?, between(&format!("{all}&"), "key=", "&")?);
    let reading = format!("https://{door}/releases/{id}/rollback?key={key}");
    let page = local.open(&reading, None).await?;
    ensure!(page.status == StatusCode::FORBIDDEN && page.body.contains("It only reads"), "{}", page.body);

    let page = local.open(&link(story, &[id.as_str(), "--act"]).await?, None).await?;
    ensure!(page.body.contains("Bakes at 10%"), "{}", page.body);
    let path = between(&page.body, &format!("href=\"/releases/{id}/rollback?"), "\"")?;
    let asks = local.open(&format!("https://{door}/releases/{id}/rollback?{path}"), None).await?;
    ensure!(asks.status == StatusCode::OK, "{}", asks.body);
    let answer = pressed(story, &door, &id, &asks.body, "another").await?;
    ensure!(answer.contains("is not the name of this service"), "{answer}");
    ensure!(story.get(&id).await?.request.is_none(), "it was rolled back for another service");
    let answer = pressed(story, &door, &id, &asks.body, story.name.as_str()).await?;
    ensure!(answer.contains("It is written down and under way."), "{answer}");

    let release = story.ends(&id, "rolled back").await?;
    ensure!(matches!(release.cause(), Some(Cause::Requested { .. })), "{:?}", release.cause());
    let told = story.told(&id).await;
    ensure!(told.contains("111122223333:root") && told.contains("by hand"), "{told}");
    story.is_as_before().await?;
    story.nobody_was_turned_away().await?;
    Ok(())
}

/// Presses the button of a page that asks, with a name typed into it.
async fn pressed(story: &Story, door: &str, id: &ReleaseId, page: &str, name: &str) -> Result<String> {
    let field = |name: &str| -> Result<String> {
        Ok(format!("{name}={}", between(page, &format!("name=\"{name}\" value=\""), "\"")?))
    };
    let fields = [field("key")?, field("csrf")?, field("shown")?].join("&");
    let form = format!("{fields}&service={name}&reason=by+hand");
    let address = format!("https://{door}/releases/{id}/rollback");
    Ok(story.stage.local.open(&address, Some(form)).await?.body)
}
