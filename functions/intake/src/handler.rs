//! Decode, one call, encode.

use lambda_runtime::Error;
use serde_json::{Map, Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::container_image::MediaTypes;
use tidegate_core::ids::Image;
use tidegate_core::ports::ObjectAt;
use tidegate_runtime::Installation;
use tidegate_runtime::arrivals::Pushed;
use tidegate_runtime::triggers::Sources;
use tidegate_runtime::triggers::builds::BuildChanged;
use tidegate_runtime::triggers::manifests::{Manifested, ObjectWritten};
use tidegate_wire::codebuild::BuildStateChange;
use tidegate_wire::ecr::ImageAction;
use tidegate_wire::envelope::{Envelope, Origins};
use tidegate_wire::event::Event;
use tidegate_wire::s3::ObjectCreated;

/// Handles one event. An error has Lambda try again and at last put the event into the dead-letter queue.
pub(crate) async fn handle(
    installation: &Installation,
    sources: Sources<'_>,
    origins: &Origins,
    payload: Value,
) -> Result<Value, Error> {
    let (envelope, event) = Event::from_value(&payload, origins)?;
    let outcomes: Map<String, Value> = match &event {
        Event::EcrImage(action) => match pushed(&envelope, action) {
            Some(pushed) => {
                let outcomes = installation.image_pushed(sources.images, &pushed).await?;
                told(outcomes.iter().map(|(service, admission)| (service.to_string(), admission.word())))
            }
            None => return passed_over(&envelope),
        },
        Event::CodeBuild(change) => {
            let outcomes = installation.build_changed(sources, &build(&envelope, change)).await?;
            told(outcomes.iter().map(|(service, word)| (service.to_string(), *word)))
        }
        Event::S3Object(created) => {
            match installation.manifest_written(sources, &object(&envelope, created)).await? {
                Manifested::Handled(service, taken) => {
                    told([(service.to_string(), taken.word())].into_iter())
                }
                Manifested::NotWatched | Manifested::Overtaken => return passed_over(&envelope),
            }
        }
        Event::ReleaseRequested(request) => {
            let by = actor(&envelope);
            let taken = installation.requested(sources.images, request, &by, &envelope.id).await?;
            told([(request.service.to_string(), taken.word())].into_iter())
        }
        Event::EcrReplication(_)
        | Event::EcrScan(_)
        | Event::InspectorScan(_)
        | Event::InspectorFinding(_)
        | Event::Alarm(_)
        | Event::AlarmContributor(_)
        | Event::EcsDeployment(_)
        | Event::EcsHook(_)
        | Event::EcsServiceAction(_)
        | Event::EcsTask(_)
        | Event::CodePipeline(_)
        | Event::Ignored { .. } => return passed_over(&envelope),
    };
    tracing::info!(event.id = %envelope.id, event.title = %event, outcomes = %json!(outcomes), "handled");
    Ok(json!({ "services": outcomes }))
}

fn passed_over(envelope: &Envelope) -> Result<Value, Error> {
    tracing::info!(event.id = %envelope.id, event.title = %envelope.title(), "passed over");
    Ok(json!({ "passed_over": envelope.title() }))
}

fn told<'a>(outcomes: impl Iterator<Item = (String, &'a str)>) -> Map<String, Value> {
    outcomes.map(|(service, word)| (service, word.into())).collect()
}

fn actor(envelope: &Envelope) -> Actor {
    Actor::Event { source: envelope.source.clone(), id: envelope.id.clone() }
}

/// The pushed image, when the event is one of a push that can start a release.
fn pushed(envelope: &Envelope, action: &ImageAction) -> Option<Pushed> {
    let Image { repository, digest, tag, .. } = action.pushed(envelope)?;
    Some(Pushed {
        account: envelope.account.clone(),
        region: envelope.region.clone(),
        repository,
        tag: tag?,
        digest,
        tagged_at: envelope.time,
        media: MediaTypes {
            manifest: action.manifest_media_type.clone(),
            artifact: action.artifact_media_type.clone(),
        },
        by: actor(envelope),
        delivery: Some(envelope.id.clone()),
    })
}

fn build(envelope: &Envelope, change: &BuildStateChange) -> BuildChanged {
    BuildChanged {
        account: envelope.account.clone(),
        region: envelope.region.clone(),
        project: change.project.clone(),
        build: change.build.clone(),
        status: change.status.to_string(),
        log_url: change.log.clone(),
        at: envelope.time,
        by: Actor::Event { source: envelope.source.clone(), id: change.build.clone() },
    }
}

fn object(envelope: &Envelope, created: &ObjectCreated) -> ObjectWritten {
    let at = ObjectAt {
        bucket: created.bucket.name.clone(),
        key: created.object.key.clone(),
        version: created.object.version.clone(),
        etag: created.object.etag.clone(),
    };
    let sequencer = created.object.sequencer.as_str().to_owned();
    let by = Actor::Event { source: envelope.source.clone(), id: at.to_string() };
    ObjectWritten { at, sequencer, by }
}
