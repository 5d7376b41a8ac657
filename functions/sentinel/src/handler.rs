//! Decode, one call, encode.

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use tidegate_core::observation::Hint;
use tidegate_core::ports::Watched;
use tidegate_runtime::Context;
use tidegate_runtime::drive::deadline;
use tidegate_wire::ecs::ServiceRef;
use tidegate_wire::envelope::{Envelope, Origins};
use tidegate_wire::event::Event;

/// Handles one event. An error has Lambda try again and at last put the event into the dead-letter queue.
pub(crate) async fn handle(
    context: &Context,
    origins: &Origins,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let until = deadline(Timestamp::now(), event.context.deadline);
    let (envelope, event) = Event::from_value(&event.payload, origins)?;
    let title = event.to_string();
    tracing::info!(event.id = %envelope.id, event.title = %title, "noticed");
    let turns = match noticed(&envelope, &event) {
        Some((watched, hint)) => context.noticed(&watched, hint, until).await?,
        None => 0,
    };
    Ok(json!({ "event": title, "turns": turns }))
}

/// Whom the event concerns, and what it says. `None` for what no release has to look at.
fn noticed(envelope: &Envelope, event: &Event) -> Option<(Watched, Hint)> {
    match event {
        Event::Alarm(change) => {
            let (name, seen) = change.seen();
            let watched = Watched::Alarm(envelope.account.clone(), envelope.region.clone(), name.clone());
            Some((watched, Hint::Alarm { name, seen }))
        }
        Event::EcsDeployment(change) => Some(service(&change.service)),
        Event::EcsHook(change) => Some(service(&change.service)),
        Event::EcsServiceAction(action) => Some(service(&action.service)),
        Event::EcsTask(change) => {
            let (about, stopped) = (change.service.as_ref()?, change.stopped()?);
            // Tasks come and go with every deployment and with scaling; only one that failed says something.
            stopped.failure()?;
            let (watched, _) = service(about);
            Some((watched, Hint::Task(Box::new(stopped))))
        }
        // One time series of an alarm is not the alarm; the others are not the sentinel's to act on.
        Event::AlarmContributor(_)
        | Event::EcrImage(_)
        | Event::EcrReplication(_)
        | Event::EcrScan(_)
        | Event::InspectorScan(_)
        | Event::InspectorFinding(_)
        | Event::CodeBuild(_)
        | Event::CodePipeline(_)
        | Event::S3Object(_)
        | Event::ReleaseRequested(_)
        | Event::Ignored { .. } => None,
    }
}

fn service(about: &ServiceRef) -> (Watched, Hint) {
    let watched = Watched::EcsService(about.account.clone(), about.region.clone(), about.service.clone());
    (watched, Hint::Look)
}
