//! Runs scenarios side by side on one stage, says how each went, and fails if any did.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::stage::Stage;
use crate::used::{Part, every_permission_is_used};

/// A scenario that gets stuck is told as stuck, not as a hanging test.
const LIMIT: Duration = Duration::from_secs(900);
/// More at a time would measure this machine rather than Tidegate.
const AT_A_TIME: usize = 8;

type Play = Box<dyn FnOnce(Arc<Stage>) -> Pin<Box<dyn Future<Output = Result<()>>>>>;

/// A named scenario.
pub(crate) struct Scenario {
    name: String,
    play: Play,
}

/// Names a scenario. The name is a sentence about what holds.
pub(crate) fn scenario<F>(name: impl Into<String>, play: impl FnOnce(Arc<Stage>) -> F + 'static) -> Scenario
where
    F: Future<Output = Result<()>> + 'static,
{
    Scenario { name: name.into(), play: Box::new(|stage| Box::pin(play(stage))) }
}

/// Plays all of them, and if they are all of a part, compares permissions and calls. `TIDEGATE_SCENARIO` narrows them to those whose name
/// contains it.
pub(crate) async fn play(stage: &Arc<Stage>, part: Option<Part>, scenarios: Vec<Scenario>) {
    LocalSet::new().run_until(play_all(stage, scenarios, part)).await;
}

async fn play_all(stage: &Arc<Stage>, scenarios: Vec<Scenario>, part: Option<Part>) {
    let only = std::env::var("TIDEGATE_SCENARIO").unwrap_or_default();
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut playing: FuturesUnordered<_> = scenarios
        .into_iter()
        .filter(|scenario| scenario.name.contains(&only))
        .map(|Scenario { name, play }| {
            let (stage, places) = (stage.clone(), places.clone());
            async move {
                let _place = places.acquire().await;
                let started = Instant::now();
                let played = tokio::task::spawn_local(tokio::time::timeout(LIMIT, play(stage))).await;
                let outcome = match played {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) => Err(anyhow!("not over within {LIMIT:?}")),
                    Err(panicked) => Err(anyhow!(panicked)),
                };
                (name, started.elapsed(), outcome)
            }
        })
        .collect();
    let mut failed = Vec::new();
    while let Some((name, took, outcome)) = playing.next().await {
        let took = took.as_secs_f64();
        match outcome {
            Ok(()) => eprintln!("ok      {took:5.1} s  {name}"),
            Err(error) => {
                let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
                eprintln!("FAILED  {took:5.1} s  {name}\n{}\n", chain.join("\n"));
                failed.push(name);
            }
        }
    }
    match stage.validate_record().await {
        Ok(summary) => eprintln!("{summary}"),
        Err(error) => {
            eprintln!("FAILED  {error:#}");
            failed.push("every call and answer fits AWS's service models".into());
        }
    }
    // Some scenarios use some permissions only.
    if let Some(part) = part.filter(|_| only.is_empty())
        && let Err(error) = every_permission_is_used(stage, part).await
    {
        eprintln!("FAILED  {error:#}");
        failed.push("every permission is used, and what is called is allowed".into());
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}
