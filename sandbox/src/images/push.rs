//! Pushing an image, with the events ECR emits for it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Ecr;
use super::manifest::{self, Behaviour, Manifest};
use crate::ports::{AwsError, EventSink, ServiceEvent};

/// One push, as a CI system would do it.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The repository's name.
    pub repository: String,
    /// The tag the image gets.
    pub tag: String,
    /// What its process does.
    pub behaviour: Behaviour,
    /// `amd64`, `arm64`, …; more than one makes an index with a child for each.
    pub architectures: Vec<String>,
    /// Whether the builder attests how an image was built, as buildx does: then a single architecture, too, makes an index.
    pub attested: bool,
}

impl Push {
    /// A push for one architecture.
    pub fn new(repository: impl Into<String>, tag: impl Into<String>, behaviour: Behaviour) -> Self {
        let architectures = vec!["amd64".to_owned()];
        Self { repository: repository.into(), tag: tag.into(), behaviour, architectures, attested: false }
    }
}

/// Makes sure that a repository exists. Returns its URI, to which `:tag` or `@digest` is appended.
///
/// # Errors
/// What ECR answers.
pub async fn ensure_repository(ecr: &dyn Ecr, name: &str) -> Result<String, AwsError> {
    let uri = |repository: &Value| repository["repositoryUri"].as_str().unwrap_or_default().to_owned();
    match ecr.ecr("CreateRepository", json!({"repositoryName": name})).await {
        Ok(created) => Ok(uri(&created["repository"])),
        Err(error) if error.code == "RepositoryAlreadyExistsException" => {
            let described = ecr.ecr("DescribeRepositories", json!({"repositoryNames": [name]})).await?;
            Ok(uri(&described["repositories"][0]))
        }
        Err(error) => Err(error),
    }
}

/// Puts the image into ECR and emits an "ECR Image Action" event for each manifest. Returns the digest the tag names.
///
/// # Errors
/// What ECR answers; `InvalidParameterException` when there is no architecture.
pub async fn push(ecr: &dyn Ecr, events: &dyn EventSink, push: &Push) -> Result<String, AwsError> {
    let mut children: Vec<(&str, Manifest)> = push
        .architectures
        .iter()
        .map(|architecture| (architecture.as_str(), manifest::image(&push.behaviour, architecture)))
        .collect();
    let attestation = match children.as_slice() {
        [(_, only)] if push.attested => Some((manifest::UNKNOWN, manifest::attestation(only))),
        _ => None,
    };
    children.extend(attestation);
    let tagged = if children.len() > 1 {
        for (_, child) in &children {
            put(ecr, push, child, None).await?;
            emit(events, push, child, "");
        }
        manifest::index(&children)
    } else {
        let (_, only) = children.pop().ok_or_else(|| {
            AwsError::new("InvalidParameterException", "an image needs at least one architecture")
        })?;
        only
    };
    put(ecr, push, &tagged, Some(&push.tag)).await?;
    emit(events, push, &tagged, &push.tag);
    Ok(tagged.digest)
}

async fn put(ecr: &dyn Ecr, push: &Push, manifest: &Manifest, tag: Option<&str>) -> Result<(), AwsError> {
    if let Some((digest, configuration)) = &manifest.configuration {
        ecr.put_blob(&push.repository, digest, configuration.clone().into()).await?;
    }
    let mut input = json!({
        "repositoryName": push.repository,
        "imageManifest": manifest.text,
        "imageManifestMediaType": manifest.media_type,
        "imageDigest": manifest.digest,
    });
    if let Some(tag) = tag {
        input["imageTag"] = json!(tag);
    }
    ecr.ecr("PutImage", input).await.map(|_| ())
}

/// Children of an index are pushed without a tag, and their events say so with an empty one. The event of an index has no
/// `artifact-media-type`.
fn emit(events: &dyn EventSink, push: &Push, manifest: &Manifest, tag: &str) {
    let mut detail = json!({
        "result": "SUCCESS",
        "repository-name": push.repository,
        "image-digest": manifest.digest,
        "action-type": "PUSH",
        "image-tag": tag,
        "manifest-media-type": manifest.media_type,
    });
    if manifest.media_type == manifest::IMAGE_TYPE {
        detail["artifact-media-type"] = json!(manifest::CONFIG_TYPE);
    }
    events.emit(ServiceEvent {
        source: "aws.ecr".to_owned(),
        detail_type: "ECR Image Action".to_owned(),
        resources: Vec::new(),
        detail,
        time: Timestamp::now(),
    });
}
