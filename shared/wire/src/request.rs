//! A release asked for in JSON: the manifest in a bucket, the custom event, and the parameters of a pipeline's action. One form
//! for all of them, strict, because it is written by people and scripts who want to be told of a typing error.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidegate_core::ids::{ContainerName, Digest, ServiceName, Tag};
use tidegate_core::intent::Provenance;
use tidegate_core::reference::{Reference, Selection};

use crate::decode::{self, Place};

/// The largest manifest that is read.
pub const MANIFEST_MAX: usize = 64 * 1024;
const TEXT_MAX: usize = 300;
const URL_MAX: usize = 2000;

/// A request that cannot be read; fits "cannot read the request: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct RequestError {
    /// The path of the field, `.` for the whole document.
    pub path: String,
    /// What was found and what is allowed.
    pub problem: String,
}

impl RequestError {
    fn new(path: &str, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: decode::clipped(problem.into()) }
    }
}

impl From<Place> for RequestError {
    fn from(place: Place) -> Self {
        Self { path: place.path, problem: place.problem }
    }
}

/// `{service, image | images | tag | digest, commit, by, url, delivery}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct RequestDocument {
    pub service: ServiceName,
    pub images: Selection,
    /// Where the image comes from, as far as is said.
    pub provenance: Provenance,
    /// What the sender knows this request by: the same again is the same request.
    pub delivery: Option<String>,
}

/// The parameters of a pipeline's action: a request whose image may come from the artifact instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ActionParameters {
    pub service: ServiceName,
    /// The images; the artifact's without.
    pub images: Option<Selection>,
    /// Where the image comes from, as far as is said.
    pub provenance: Provenance,
    /// Whether the action lasts until the release has ended. Default true.
    pub wait: bool,
    /// The pipeline's execution: `#{codepipeline.PipelineExecutionId}`.
    pub execution: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    service: ServiceName,
    image: Option<String>,
    images: Option<BTreeMap<ContainerName, String>>,
    tag: Option<Tag>,
    digest: Option<Digest>,
    commit: Option<Line>,
    committed_at: Option<Moment>,
    by: Option<Line>,
    url: Option<Link>,
    delivery: Option<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParameters {
    service: ServiceName,
    image: Option<String>,
    images: Option<BTreeMap<ContainerName, String>>,
    tag: Option<Tag>,
    digest: Option<Digest>,
    commit: Option<Line>,
    committed_at: Option<Moment>,
    by: Option<Line>,
    url: Option<Link>,
    #[serde(default = "yes")]
    wait: bool,
    execution: Option<Line>,
}

fn yes() -> bool {
    true
}

impl RequestDocument {
    /// Reads a manifest.
    pub fn from_manifest(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MANIFEST_MAX {
            return Err(RequestError::new(
                ".",
                format!("found {} bytes, allowed {MANIFEST_MAX}", bytes.len()),
            ));
        }
        Self::read(decode::from_slice(bytes)?)
    }

    /// Reads an event's detail.
    pub(crate) fn from_detail(at: &str, detail: &Value) -> Result<Self, RequestError> {
        Self::read(decode::from_value(at, detail)?)
    }

    fn read(raw: RawRequest) -> Result<Self, RequestError> {
        let images = picked(raw.image.as_deref(), raw.images, raw.tag, raw.digest)?;
        let images = images.ok_or_else(|| {
            RequestError::new("image", "missing; one of image, images, tag and digest is needed")
        })?;
        let provenance = provenance(raw.commit, raw.committed_at, raw.by, raw.url);
        Ok(Self { service: raw.service, images, provenance, delivery: raw.delivery.map(|Line(text)| text) })
    }
}

impl ActionParameters {
    /// Reads `UserParameters`.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let start = text.trim_start();
        if !start.starts_with(['{', '[', '\u{FEFF}']) {
            let found: String = start.chars().take(40).collect();
            let allowed = r#"a JSON object such as {"service": "checkout"}"#;
            return Err(RequestError::new(".", format!("found plain text {found:?}, allowed {allowed}")));
        }
        let raw: RawParameters = decode::from_slice(text.as_bytes())?;
        let images = picked(raw.image.as_deref(), raw.images, raw.tag, raw.digest)?;
        let provenance = provenance(raw.commit, raw.committed_at, raw.by, raw.url);
        let execution = raw.execution.map(|Line(text)| text);
        Ok(Self { service: raw.service, images, provenance, wait: raw.wait, execution })
    }
}

fn picked(
    image: Option<&str>,
    images: Option<BTreeMap<ContainerName, String>>,
    tag: Option<Tag>,
    digest: Option<Digest>,
) -> Result<Option<Selection>, RequestError> {
    let one = match (image, images, tag, digest) {
        (None, None, None, None) => return Ok(None),
        (None, Some(images), None, None) => return each(images).map(Some),
        (Some(text), None, None, None) => {
            Reference::parse(text).map_err(|error| RequestError::new("image", error.to_string()))?
        }
        (None, None, Some(tag), None) => Reference::tag(tag),
        (None, None, None, Some(digest)) => Reference::digest(digest),
        (..) => {
            return Err(RequestError::new("image", "only one of image, images, tag and digest is allowed"));
        }
    };
    Ok(Some(Selection::One(one)))
}

/// `{"app": "…", "proxy": "…"}`.
fn each(images: BTreeMap<ContainerName, String>) -> Result<Selection, RequestError> {
    if images.is_empty() {
        return Err(RequestError::new("images", "found none, at least one container is needed"));
    }
    let one = |(container, text): (ContainerName, String)| {
        let path = format!("images.{container}");
        let reference =
            Reference::named(&text).map_err(|error| RequestError::new(&path, error.to_string()))?;
        Ok((container, reference))
    };
    images.into_iter().map(one).collect::<Result<_, _>>().map(Selection::Each)
}

fn provenance(
    commit: Option<Line>,
    committed_at: Option<Moment>,
    by: Option<Line>,
    url: Option<Link>,
) -> Provenance {
    Provenance {
        commit: commit.map(|Line(text)| text),
        committed_at: committed_at.map(|Moment(at)| at),
        author: by.map(|Line(text)| text),
        url: url.map(|Link(text)| text),
    }
}

/// One line of text, not empty and not long: it is shown to people.
struct Line(String);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        line(deserializer, TEXT_MAX).map(Self)
    }
}

/// A moment with its zone, as git prints it.
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let example = "a time with its zone such as 2026-03-05T15:54:41+01:00 (git show -s --format=%cI)";
        text.parse()
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("found {text:?}, allowed {example}")))
    }
}

/// A link that is safe to show.
struct Link(String);

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = line(deserializer, URL_MAX)?;
        if text.starts_with("https://") || text.starts_with("http://") {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom(format!("found {text:?}, allowed an https:// address")))
        }
    }
}

fn line<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let length = text.chars().count();
    if length == 0 || length > max || text.chars().any(char::is_control) {
        let problem = format!("found {length} characters, allowed 1 to {max} on one line");
        return Err(serde::de::Error::custom(problem));
    }
    Ok(text)
}

/// In histories: what was asked.
impl fmt::Display for RequestDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.images, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RequestDocument, String> {
        RequestDocument::from_manifest(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_says_what_is_released() {
        let request = read(
            r#"{"service":"checkout","tag":"main-7","commit":"4f1c2d3","by":"jenkins","url":"https://ci.example.com/7"}"#,
        )
        .unwrap();
        assert_eq!(request.to_string(), "main-7 of checkout");
        assert_eq!(request.provenance.commit.as_deref(), Some("4f1c2d3"));
        assert_eq!(request.provenance.author.as_deref(), Some("jenkins"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (r#"{"service":"checkout"}"#, "image: missing"),
            (r#"{"tag":"v1"}"#, "missing field `service`"),
            (r#"{"service":"checkout","tag":"v1","digest":"sha256:1"}"#, "digest: "),
            (
                r#"{"service":"checkout","tag":"v1","image":"a/b:c"}"#,
                "only one of image, images, tag and digest",
            ),
            (r#"{"service":"checkout","tags":"v1"}"#, "unknown field `tags`"),
            (r#"{"service":"check out","tag":"v1"}"#, "service: "),
            (r#"{"service":"checkout","tag":"v1","by":"a\nb"}"#, "by: found 3 characters"),
            (r#"{"service":"checkout","tag":"v1","by":""}"#, "by: found 0 characters"),
            (r#"{"service":"checkout","tag":"v1","url":"javascript:alert(1)"}"#, "url: found"),
            (r#"{"service":"checkout","tag":"v1"} x"#, "trailing characters"),
            (r#"["checkout","v1"]"#, "a JSON object"),
            ("", "EOF"),
            (r#"{"service":"checkout","tag":"v1""#, "EOF"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_and_documents_that_are_too_large_are_refused() {
        let error = RequestDocument::from_manifest(b"{\"service\":\"\xff\xfe\"}").unwrap_err();
        assert!(error.to_string().contains("unicode") || error.to_string().contains("UTF-8"), "{error}");
        let large = format!("{{\"service\":\"checkout\",\"tag\":\"v1\"}}{}", " ".repeat(MANIFEST_MAX));
        let error = RequestDocument::from_manifest(large.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("allowed 65536"), "{error}");
    }

    #[test]
    fn an_action_may_leave_the_image_to_its_artifact() {
        let parameters = ActionParameters::parse(r#"{"service":"checkout"}"#).unwrap();
        assert_eq!((parameters.images, parameters.wait, parameters.execution), (None, true, None));
        let parameters =
            ActionParameters::parse(r#"{"service":"checkout","tag":"v1","wait":false,"execution":"e-1"}"#)
                .unwrap();
        assert!(!parameters.wait && parameters.images.is_some());
        assert!(ActionParameters::parse(r#"{"service":"checkout","delivery":"x"}"#).is_err());
        for (text, expected) in [
            (
                "checkout",
                r#"found plain text "checkout", allowed a JSON object such as {"service": "checkout"}"#,
            ),
            ("", "found plain text"),
            ("\u{FEFF}{\"service\":\"checkout\"}", "byte order mark"),
        ] {
            let error = ActionParameters::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
