//! One round, and the looks for what was lost beside it; encode.

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use tidegate_core::fault::PortError;
use tidegate_core::ports::Pipelines;
use tidegate_runtime::Installation;
use tidegate_runtime::drive::deadline;
use tidegate_runtime::triggers::Sources;
use tidegate_runtime::visits::{Listed, Looked, Pace, Rotation};

/// Where the looks stopped in the round before.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    pushes: Rotation,
    builds: Rotation,
    awaited: Rotation,
    pipelines: Rotation,
}

/// What an invocation is for. Its looks at many services must not keep anybody from being woken, so each half has its own, at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What is due is woken, and what comes to be due until the next round.
    Wakes,
    /// What was lost is looked for.
    Looks,
    /// Both, once: whoever invokes it by hand.
    All,
}

impl Part {
    fn of(event: &Value) -> Result<Self, String> {
        let Some(part) = event.get("round") else { return Ok(Self::All) };
        match part.as_str() {
            Some("wakes") => Ok(Self::Wakes),
            Some("looks") => Ok(Self::Looks),
            Some(_) | None => Err(format!(
                "round: found {part}, allowed \"wakes\" and \"looks\", or no such field for both"
            )),
        }
    }
}

/// One round. Waking what is due and the looks go on at the same time: none waits for another's calls. What failed is said as an error
/// after everything else was done, so that the function's error alarm sees it.
pub(crate) async fn handle(
    installation: &Installation,
    sources: Sources<'_>,
    pipelines: &dyn Pipelines,
    rotations: &Rotations,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let until = deadline(Timestamp::now(), event.context.deadline);
    let part = Part::of(&event.payload)?;
    let installation = installation.until(until);
    let wakes = async {
        match part {
            Part::Looks => Looked::default(),
            Part::Wakes => installation.wake_until(until).await,
            Part::All => installation.wake_due().await,
        }
    };
    let looks = async {
        if part == Part::Wakes {
            Looks::default()
        } else {
            look(&installation, sources, pipelines, rotations, until).await
        }
    };
    let (woken, looks) = tokio::join!(wakes, looks);
    let mut failed = [woken.failed, looks.failed].concat();
    // A row that cannot be read is met by each of them.
    failed.sort();
    failed.dedup();
    tracing::info!(
        woken = woken.done,
        found = looks.found,
        arrived = looks.arrived,
        answered = looks.answered,
        failed = failed.len(),
        ?part,
        "round"
    );
    if failed.is_empty() {
        Ok(
            json!({ "woken": woken.done, "found": looks.found, "arrived": looks.arrived, "answered": looks.answered }),
        )
    } else {
        Err(failed.join("; ").into())
    }
}

/// What the looks of a round found.
#[derive(Debug, Default)]
struct Looks {
    found: u32,
    arrived: u32,
    answered: u32,
    failed: Vec<String>,
}

async fn look(
    installation: &Installation,
    sources: Sources<'_>,
    pipelines: &dyn Pipelines,
    rotations: &Rotations,
    until: Timestamp,
) -> Looks {
    let listed = Listed::default();
    let pace = |rotation| Pace { listed: &listed, rotation, until };
    let (pushes, builds, arrived, answered) = tokio::join!(
        installation.find_lost_pushes(sources.images, pace(&rotations.pushes)),
        installation.find_lost_builds(sources, pace(&rotations.builds)),
        installation.find_awaited(sources.images, pace(&rotations.awaited)),
        installation.answer_pipelines(pipelines, pace(&rotations.pipelines)),
    );
    let (builds, arrived, answered) = (looked(builds), looked(arrived), looked(answered));
    Looks {
        found: pushes.done + builds.done,
        arrived: arrived.done,
        answered: answered.done,
        failed: [pushes.failed, builds.failed, arrived.failed, answered.failed].concat(),
    }
}

/// A look that could not begin is a failure like one that could not end.
fn looked(result: Result<Looked, PortError>) -> Looked {
    result.unwrap_or_else(|error| Looked { done: 0, failed: vec![error.to_string()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_names_its_half_and_everybody_else_gets_both() {
        assert_eq!(Part::of(&json!({ "round": "wakes" })), Ok(Part::Wakes));
        assert_eq!(Part::of(&json!({ "round": "looks" })), Ok(Part::Looks));
        for whole in [json!({}), json!({ "source": "aws.events", "detail": {} })] {
            assert_eq!(Part::of(&whole), Ok(Part::All));
        }
        let error = Part::of(&json!({ "round": "all" })).unwrap_err();
        assert_eq!(error, r#"round: found "all", allowed "wakes" and "looks", or no such field for both"#);
    }
}
