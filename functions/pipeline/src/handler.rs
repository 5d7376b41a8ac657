//! Decode, one call, answer CodePipeline.

use lambda_runtime::Error;
use serde_json::{Value, json};
use tidegate_core::ports::{Artifacts, Images, JobAnswer, JobFailure, Pipelines, TaskDefinitions};
use tidegate_runtime::Installation;
use tidegate_runtime::triggers::jobs::JobPorts;
use tidegate_wire::pipeline_job::{ArtifactCredentials, PipelineJob};

/// How a job's keys open the artifact store.
pub(crate) type Open = dyn Fn(&ArtifactCredentials) -> Box<dyn Artifacts> + Send + Sync;

/// What every job is done with.
pub(crate) struct Ports {
    pub(crate) installation: Installation,
    pub(crate) images: Box<dyn Images>,
    pub(crate) definitions: Box<dyn TaskDefinitions>,
    pub(crate) pipelines: Box<dyn Pipelines>,
    /// The artifact store.
    pub(crate) artifacts: Box<Open>,
}

/// Handles one job. CodePipeline learns what became of it from the answer alone, so only an answer that could not be given is an error;
/// Lambda then tries again. The event is never logged: it holds keys.
pub(crate) async fn handle(ports: &Ports, payload: Value) -> Result<Value, Error> {
    let (id, answer) = match PipelineJob::parse(&payload) {
        Ok(job) => {
            let artifacts = job.credentials.as_ref().map(|keys| (ports.artifacts)(keys));
            let given = JobPorts {
                images: ports.images.as_ref(),
                artifacts: artifacts.as_deref(),
                definitions: ports.definitions.as_ref(),
                pipelines: ports.pipelines.as_ref(),
            };
            let answer = ports.installation.job(given, &job).await;
            (job.id, answer)
        }
        Err(error) => {
            let Some(id) = error.id.clone() else { return Err(error.into()) };
            (
                id,
                JobAnswer::Fail {
                    kind: JobFailure::Configuration,
                    message: error.to_string(),
                    release: None,
                },
            )
        }
    };
    let told = told(&answer);
    let answered = ports.pipelines.answer(&id, &answer).await?;
    tracing::info!(job.id = %id, answer = %told, answered, "answered a job");
    Ok(json!({ "job": id, "answer": told, "answered": answered }))
}

fn told(answer: &JobAnswer) -> String {
    match answer {
        JobAnswer::Continue { summary, percent, .. } => format!("{percent}%: {summary}"),
        JobAnswer::Succeed { summary, .. } => format!("succeeded: {summary}"),
        JobAnswer::Fail { kind, message, .. } => format!("failed ({kind:?}): {message}"),
    }
}
