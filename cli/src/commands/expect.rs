//! Waiting for a release that does not exist yet: whoever has just pushed an image wants to follow that one, and not the one before it.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::fault::ErrorKind;
use tidegate_core::history::{Entry, Event};
use tidegate_core::ids::{Digest, Image, ReleaseId, ServiceName};
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;

use crate::connect::Connection;
use crate::exit::Exit;
use crate::fault::Refusal;
use crate::find;
use crate::image::ImageArg;
use crate::output::Output;
use crate::render::span;

/// How often the ledger and ECR are looked at.
const POLL: SignedDuration = SignedDuration::from_secs(2);
/// How long a release has to appear when no other time is named. The clock finds a push whose event was lost within about three minutes.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// A refusal this long before the command began is still that of the push before it.
const JUST_BEFORE: SignedDuration = SignedDuration::from_mins(2);
/// How many releases, and history entries of a service, are looked through.
const LOOKED_THROUGH: u32 = 50;

/// What came of the waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This release is that of the image.
    Release(ReleaseId),
    /// Ctrl-C.
    Interrupted,
}

/// Waits until there is a release of the image. A tag means the digest it points at in ECR: a release of what it pointed at before is another.
pub async fn release_of(
    connection: &Connection,
    service: &ServiceName,
    image: &ImageArg,
    limit: Option<SignedDuration>,
    out: &mut Output,
) -> anyhow::Result<Expected> {
    tokio::select! {
        found = wait(connection, service, image, limit.unwrap_or(PATIENCE), out) => found.map(Expected::Release),
        _ = tokio::signal::ctrl_c() => Ok(Expected::Interrupted),
    }
}

async fn wait(
    connection: &Connection,
    service: &ServiceName,
    image: &ImageArg,
    limit: SignedDuration,
    out: &mut Output,
) -> anyhow::Result<ReleaseId> {
    let time = &connection.installation().time;
    let ledger = &*connection.installation().ledger;
    let began = time.now();
    let mut told = false;
    loop {
        let head = find::service(ledger, service).await?;
        let pinned = resolve(connection, &head, image).await?;
        if let Some(pinned) = &pinned
            && let Some(release) = newest(ledger, service, &head, &pinned.digest).await?
        {
            return Ok(release.id);
        }
        if let Some(pinned) = &pinned
            && let Some(refused) = refused(ledger, service, &pinned.digest, began).await?
        {
            return Err(refused.into());
        }
        if time.now().duration_since(began) >= limit {
            return Err(never_came(service, &head, image, pinned.as_ref(), limit).into());
        }
        if !told {
            out.note(&format!("waiting for the release of {image} to {service}, {} at most", span(limit)));
            told = true;
        }
        time.sleep(POLL).await;
    }
}

/// The image, once ECR has it.
async fn resolve(
    connection: &Connection,
    head: &ServiceRecord,
    image: &ImageArg,
) -> anyhow::Result<Option<Image>> {
    image.find(&head.policy, connection.registry()).await
}

/// The newest release of the digest that can be known to be: the list may lag behind the service's row.
async fn newest(
    ledger: &dyn Ledger,
    service: &ServiceName,
    head: &ServiceRecord,
    digest: &Digest,
) -> anyhow::Result<Option<Release>> {
    for id in head.waiting.iter().chain(&head.active) {
        let open = find::by_id(ledger, id).await?;
        if let Some(release) = open.filter(|release| release.change.digests().contains(digest)) {
            return Ok(Some(release));
        }
    }
    let listed = ledger.releases(service, LOOKED_THROUGH).await;
    let listed = listed.with_context(|| format!("failed to list the releases of {service}"))?;
    // One that cannot be read is looked for again: its wake-up fixes it, or the time runs out.
    let (listed, _) = listed.split();
    Ok(listed.into_iter().find(|release| release.change.digests().contains(digest)))
}

/// That the image was refused just now, as the service's history tells.
async fn refused(
    ledger: &dyn Ledger,
    service: &ServiceName,
    digest: &Digest,
    began: Timestamp,
) -> anyhow::Result<Option<Refusal>> {
    let entries = match ledger.service_history(service, LOOKED_THROUGH).await {
        Ok(entries) => entries.split().0,
        Err(error) if error.kind.is_transient() || error.kind == ErrorKind::Denied => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("failed to read the history of {service}")),
    };
    let since = began.saturating_sub(JUST_BEFORE).unwrap_or(began);
    let is_it = |event: &Event| event.refused().is_some_and(|change| change.digests().contains(digest));
    let entry = entries.into_iter().find(|entry| entry.at >= since && is_it(&entry.event));
    Ok(entry.map(|Entry { event, .. }| {
        Refusal::new(format!("Tidegate {event} to {service}: {}", event.why())).exit(Exit::Blocked)
    }))
}

fn never_came(
    service: &ServiceName,
    head: &ServiceRecord,
    image: &ImageArg,
    pinned: Option<&Image>,
    limit: SignedDuration,
) -> Refusal {
    let refusal =
        Refusal::new(format!("no release of {image} to {service} has appeared within {}", span(limit)));
    let patterns: Vec<&str> = head.policy.from.ecr.tags.iter().map(|pattern| pattern.as_str()).collect();
    match (pinned, image.tag()) {
        (None, _) => {
            let names: Vec<&str> = head.policy.repositories().into_iter().map(|name| name.as_str()).collect();
            let places = names.join(" or ");
            refusal.remedy(format!("there is no such image in {places}: was the push successful?"))
        }
        (Some(pinned), Some(tag)) if !head.policy.selects(&pinned.repository, tag) => refusal.remedy(format!(
            "a push of {tag} starts no release, because from.ecr.tags of the policy is {}; to release it: tidegate release {service} {tag}",
            if patterns.is_empty() { "empty".to_owned() } else { patterns.join(", ") }
        )),
        (Some(_), _) => refusal.remedy(format!("see what Tidegate knows: tidegate why {service}")),
    }
}
