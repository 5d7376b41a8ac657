//! Manifests in a bucket, and the custom event.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::house::{call, open, put, told};
use crate::runner::{Scenario, scenario};
use crate::stage::until;
use crate::story::good;

const SOON: Duration = Duration::from_secs(40);

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario("a manifest written to the bucket is released", async |stage| {
            let story = open(&stage, "manifest").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let manifest = example("manifest/release.json")?
                .replace("checkout", "manifest")
                .replace("main-42", "main-2");
            put(&stage, "releases", "manifest/release.json", manifest).await?;
            let id = story.release_of(&digest).await?;
            let release = story.ends(&id, "promoted").await?;
            ensure!(release.provenance.author.as_deref() == Some("jenkins"), "{:?}", release.provenance);
            Ok(())
        }),
        scenario(
            "a manifest that cannot be read ends in the dead-letter queue, and elsewhere nobody reads",
            async |stage| {
                let story = open(&stage, "misread").await?;
                put(&stage, "releases", "misread/bad.json", r#"{"service":"misread","tags":"main-2"}"#)
                    .await?;
                put(&stage, "releases", "elsewhere/bad.json", r#"{"service":"misread","tags":"main-2"}"#)
                    .await?;
                put(&stage, "releases", "misread/late.json", r#"{"service":"misread","tag":"main-9"}"#)
                    .await?;
                until("the refusal", SOON, async || {
                    Ok(told(&story).await?.contains("no image tagged main-9").then_some(()))
                })
                .await?;
                ensure!(story.releases().await?.is_empty());
                Ok(())
            },
        ),
        scenario("the custom event is followed, once", async |stage| {
            let story = open(&stage, "asked").await?;
            let digest = story.push("main-2", good("v2")).await?;
            let entries =
                example("events/entries.json")?.replace("checkout", "asked").replace("main-42", "main-2");
            let entries: Value = serde_json::from_str(&entries)?;
            for _ in 0..2 {
                let answer =
                    call(&stage, "events", "AWSEvents.PutEvents", json!({ "Entries": entries })).await?;
                ensure!(answer["FailedEntryCount"] == 0, "{answer}");
            }
            let id = story.release_of(&digest).await?;
            story.ends(&id, "promoted").await?;
            ensure!(story.releases().await?.len() == 1);
            Ok(())
        }),
    ]
}

/// A file of the examples: what people are told to send is what is tried here.
fn example(path: &str) -> Result<String> {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    Ok(std::fs::read_to_string(examples.join(path))?)
}
