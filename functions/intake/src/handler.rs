//! Decode, one call, encode.

use lambda_runtime::Error;
use serde_json::{Value, json};
use tidegate_core::history::Actor;
use tidegate_core::ids::Image;
use tidegate_runtime::Home;
use tidegate_runtime::arrivals::Pushed;
use tidegate_wire::envelope::{Envelope, Origins};
use tidegate_wire::event::Event;

/// Handles one event. An error has Lambda try again and at last put the event into the dead-letter queue.
pub(crate) async fn handle(home: &Home, origins: &Origins, payload: Value) -> Result<Value, Error> {
    let (envelope, event) = Event::from_value(&payload, origins)?;
    let Some(pushed) = pushed(&envelope, &event) else {
        tracing::info!(event.id = %envelope.id, event.title = %envelope.title(), "passed over");
        return Ok(json!({ "passed_over": envelope.title() }));
    };
    let outcomes = home.image_pushed(&pushed).await?;
    let services: serde_json::Map<String, Value> =
        outcomes.iter().map(|(service, admission)| (service.to_string(), admission.word().into())).collect();
    Ok(json!({ "services": services }))
}

/// The pushed image, when the event is one of a push that can start a release.
fn pushed(envelope: &Envelope, event: &Event) -> Option<Pushed> {
    let Event::EcrImage(action) = event else { return None };
    let Image { repository, digest, tag, .. } = action.pushed(envelope)?;
    Some(Pushed {
        account: envelope.account.clone(),
        region: envelope.region.clone(),
        repository,
        tag: tag?,
        digest,
        pushed_at: envelope.time,
        by: Actor::Event { source: envelope.source.clone(), id: envelope.id.clone() },
        delivery: Some(envelope.id.clone()),
    })
}
