//! Release manifests in buckets, and the custom event: both say a service and an image.

use tidegate_core::actor::Actor;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ServiceName;
use tidegate_core::policy::Policy;
use tidegate_core::ports::{Images, ObjectAt, Objects, Watched};
use tidegate_core::trigger::{Reason, Refusal, Trigger};
use tidegate_wire::request::{MANIFEST_MAX, RequestDocument};

use super::{ImageRequest, Sources, TriggerError, TriggerResult};
use crate::context::Installation;

/// S3's code for an object that is not any more what the event was about.
const OVERWRITTEN: &str = "PreconditionFailed";

/// An object that was written to a bucket.
#[derive(Debug, Clone)]
pub struct ObjectWritten {
    /// Which version of it.
    pub at: ObjectAt,
    /// Orders the events of one key.
    pub sequencer: String,
    /// Who says so.
    pub by: Actor,
}

/// What became of an object.
#[derive(Debug, Clone)]
pub enum Manifested {
    /// It was read and followed, or not, as the service's history tells.
    Handled(ServiceName, TriggerResult),
    /// No service takes manifests from that place.
    NotWatched,
    /// It has been overwritten or deleted since; what stands there now has an event of its own.
    Overtaken,
}

impl Manifested {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Handled(_, taken) => taken.word(),
            Self::NotWatched => "not watched",
            Self::Overtaken => "overtaken",
        }
    }
}

impl Installation {
    /// Reads a manifest and follows it. Objects where no service takes manifests are not even read.
    pub async fn manifest_written(
        &self,
        sources: Sources<'_>,
        written: &ObjectWritten,
    ) -> Result<Manifested, TriggerError> {
        let (takers, unknown) = self.takers(&written.at).await?;
        if (takers.is_empty() && unknown.is_empty()) || written.at.key.ends_with('/') {
            return Ok(Manifested::NotWatched);
        }
        let Some(bytes) = current(sources.objects, &written.at).await? else {
            return Ok(Manifested::Overtaken);
        };
        let request = RequestDocument::from_manifest(&bytes).map_err(|error| TriggerError::Unreadable {
            what: format!("manifest {}", written.at),
            problem: error.to_string(),
        })?;
        let service = request.service.clone();
        let version = written.at.version.as_ref().or(written.at.etag.as_ref()).cloned().unwrap_or_default();
        let wanted = ImageRequest {
            service: request.service,
            images: request.images,
            by: written.by.clone(),
            why: format!("manifest {} asks for it", written.at),
            provenance: request.provenance,
            delivery: Some(format!("{}/{version}/{}", written.at, written.sequencer)),
            announcing: None,
        };
        if let Some((_, error)) = unknown.into_iter().find(|(unknown, _)| *unknown == service) {
            return Err(error.into());
        }
        if !takers.contains(&service) {
            let head = self.ledger.service(&service).await?;
            let head = head.ok_or_else(|| TriggerError::NoService(service.clone()))?;
            let open = head.policy.from.opens(Trigger::Manifest);
            let reason = if open { Reason::Sender } else { Reason::Closed };
            let why = format!("the policy of {service} takes no manifests from {}; see from.s3", written.at);
            let taken = self.refuse(&wanted.attempt(Trigger::Manifest), Refusal::new(reason, why)).await?;
            return Ok(Manifested::Handled(service, taken));
        }
        let taken = self.want(sources.images, &wanted, Trigger::Manifest, |_| None).await?;
        Ok(Manifested::Handled(service, taken))
    }

    /// The services whose policy takes manifests from there, and those of which that cannot be known: a row that cannot be read is no
    /// matter of the services whose rows can.
    async fn takers(
        &self,
        at: &ObjectAt,
    ) -> Result<(Vec<ServiceName>, Vec<(ServiceName, PortError)>), PortError> {
        let (mut takers, mut unknown) = (Vec::new(), Vec::new());
        let (services, damaged) = self.ledger.watchers(&Watched::Bucket(at.bucket.clone())).await?.split();
        for row in damaged {
            tracing::error!(damaged = %row, "a row was passed over");
        }
        for service in services {
            let head = match self.ledger.service(&service).await {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(service = %service, %error, "whether the service takes manifests is not known");
                    unknown.push((service, error));
                    continue;
                }
            };
            let place = head.policy.from.s3.as_ref();
            if place.is_some_and(|from| from.bucket == at.bucket && at.key.starts_with(&from.prefix)) {
                takers.push(service);
            }
        }
        Ok((takers, unknown))
    }

    /// Follows the custom event.
    pub async fn requested(
        &self,
        images: &dyn Images,
        request: &RequestDocument,
        by: &Actor,
        event: &str,
    ) -> Result<TriggerResult, TriggerError> {
        let source = match by {
            Actor::Event { source, .. } => source.as_str(),
            Actor::Person { name } => name.as_str(),
            Actor::Tidegate => "tidegate",
        };
        // The sender's own id is only unique among the sender's.
        let delivery = request
            .delivery
            .as_ref()
            .map_or_else(|| format!("event/{event}"), |delivery| format!("request/{source}/{delivery}"));
        let wanted = ImageRequest {
            service: request.service.clone(),
            images: request.images.clone(),
            by: by.clone(),
            why: format!("{source} asked for it"),
            provenance: request.provenance.clone(),
            delivery: Some(delivery),
            announcing: None,
        };
        let by = request.provenance.author.as_deref();
        let refused = |policy: &Policy| policy.from.requests.as_ref()?.refuses(source, by);
        self.want(images, &wanted, Trigger::Request, refused).await
    }
}

/// The object as it was written; `None` when it is not that any more. Where the bucket keeps versions the written one could still be
/// read, so it is asked which one is the newest: a manifest that was replaced is not followed.
async fn current(objects: &dyn Objects, at: &ObjectAt) -> Result<Option<Vec<u8>>, TriggerError> {
    if at.version.is_some() {
        let now = objects.current(&at.bucket, &at.key).await?;
        if now.is_none_or(|now| now.version != at.version) {
            return Ok(None);
        }
    }
    match objects.read(at, MANIFEST_MAX as u64).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == ErrorKind::NotFound || error.code == OVERWRITTEN => Ok(None),
        Err(error) => Err(error.into()),
    }
}
