//! What programs are told: the `detail` of an event on a bus, and the body of a webhook. Documented in `events/`, and versioned.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Message, headline};
use crate::ids::{AccountId, ContainerName, Image, Region, ReleaseId, ServiceName};
use crate::policy::Moment;

/// The version of the form. Members may be added without raising it.
pub const VERSION: &str = "1";
/// An event of the history that is larger is told by its name only: EventBridge takes 256 KB an entry.
const LARGEST_EVENT: usize = 100_000;

/// What happened to a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// The version of this form: "1".
    pub version: String,
    /// The same when the same message comes twice.
    pub id: String,
    /// What happened: the last part of the detail-type.
    pub moment: Moment,
    /// When, RFC 3339.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The release.
    pub release: ReleaseId,
    /// The service.
    pub service: ServiceName,
    /// The account of the service.
    pub account: AccountId,
    /// The region of the service.
    pub region: Region,
    /// Where the release goes, for people.
    pub target: String,
    /// What is released: the image of each container that is changed.
    pub images: Vec<DetailImage>,
    /// Who or what asked for the release, for people.
    pub requested_by: String,
    /// The commit it was built from, as far as was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who made it, as far as was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Where its build is read about, as far as was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who or what acted, for people.
    pub actor: String,
    /// What happened, for people.
    pub summary: String,
    /// Why, for people.
    pub why: String,
    /// What a person has to do. There exactly when manual intervention is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// The candidate's share of the traffic as measured then, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_percent: Option<f64>,
    /// The event of the release's history, as `tidegate why --json` shows it.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub event: Value,
}

/// The image of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct DetailImage {
    pub container: String,
    pub registry: String,
    pub repository: String,
    pub digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl DetailImage {
    fn new((container, image): (&ContainerName, &Image)) -> Self {
        Self {
            container: container.to_string(),
            registry: image.registry.clone(),
            repository: image.repository.to_string(),
            digest: image.digest.to_string(),
            tag: image.tag.as_ref().map(ToString::to_string),
        }
    }
}

impl Detail {
    /// Of a message.
    pub fn of(message: &Message) -> Self {
        let (about, notice) = (&message.about, &message.notice);
        Self {
            version: VERSION.to_owned(),
            id: message.key(),
            moment: notice.moment,
            at: notice.at,
            release: about.release.clone(),
            service: about.service.clone(),
            account: about.account.clone(),
            region: about.region.clone(),
            target: about.target.clone(),
            images: about.change.iter().map(DetailImage::new).collect(),
            requested_by: about.requested_by.clone(),
            commit: about.provenance.commit.clone(),
            author: about.provenance.author.clone(),
            url: about.provenance.url.clone(),
            actor: notice.actor.to_string(),
            summary: headline(message),
            why: notice.event.why(),
            needs: notice.needs().map(str::to_owned),
            measured_percent: notice.measured.map(crate::policy::Percent::as_f64),
            event: event(&notice.event),
        }
    }

    /// The `detail-type` of its event.
    pub fn detail_type(&self) -> String {
        format!("tidegate.release.{}", self.moment.name())
    }

    /// Its JSON Schema.
    pub fn json_schema() -> Value {
        let mut schema = schemars::schema_for!(Self);
        schema.insert("title".into(), "Detail of tidegate.release.* events, version 1".into());
        schema.to_value()
    }
}

fn event(event: &crate::history::Event) -> Value {
    let whole = serde_json::to_value(event).unwrap_or_default();
    if whole.to_string().len() <= LARGEST_EVENT {
        return whole;
    }
    serde_json::json!({ "event": whole.get("event"), "too_large": true })
}
