//! Images that are not containers: an OCI manifest in ministack's ECR whose annotations say what a task's process does.
//!
//! The digest is the real sha256 of the manifest, so the same behaviour pushed again is the same image, and everything
//! that pins, compares or quarantines digests works as on AWS.

pub mod blobs;
mod manifest;
mod push;
pub mod scan;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

pub use manifest::Behaviour;
pub use push::{Push, ensure_repository, push};

use crate::ports::{AwsError, ImageSpec, Images};

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921";

/// What pushing and pulling need of ECR: two calls, and the registry's blobs.
#[async_trait]
pub trait Ecr: Send + Sync {
    /// Calls an operation of ECR by its name.
    async fn ecr(&self, operation: &str, input: Value) -> Result<Value, AwsError>;
    /// Puts a blob, which a manifest names by its digest.
    async fn put_blob(&self, repository: &str, digest: &str, blob: Bytes) -> Result<(), AwsError>;
    /// A blob; `None` when there is none of this digest.
    async fn blob(&self, repository: &str, digest: &str) -> Result<Option<Bytes>, AwsError>;
}

#[async_trait]
impl Ecr for crate::ministack::Client {
    async fn ecr(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        self.json("ecr", &format!("{TARGET}.{operation}"), input).await
    }

    async fn put_blob(&self, repository: &str, digest: &str, blob: Bytes) -> Result<(), AwsError> {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.rest("ecr", Method::POST, &path, HeaderMap::new(), blob).await.map(|_| ())
    }

    async fn blob(&self, repository: &str, digest: &str) -> Result<Option<Bytes>, AwsError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        match self.rest("ecr", Method::GET, &path, HeaderMap::new(), Bytes::new()).await {
            Ok(answer) => Ok(Some(answer.into_body())),
            Err(error) if error.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a service that answers one operation of ECR says to any other.
fn not_answered(operation: &str) -> AwsError {
    AwsError {
        code: "UnknownOperationException".into(),
        message: format!("the sandbox does not answer ecr {operation} itself"),
        status: 404,
    }
}

/// Resolves the images of tasks from ECR.
pub struct EcrImages {
    ecr: Arc<dyn Ecr>,
    registries: [String; 4],
}

impl EcrImages {
    /// Images of the one registry this account has in this region, which has four hosts: IPv4 only or dual-stack, FIPS or not.
    pub fn new(ecr: Arc<dyn Ecr>, account: &str, region: &str) -> Self {
        let hosts = [
            ("dkr.ecr", "amazonaws.com"),
            ("dkr.ecr-fips", "amazonaws.com"),
            ("dkr-ecr", "on.aws"),
            ("dkr-ecr-fips", "on.aws"),
        ];
        Self {
            ecr,
            registries: hosts.map(|(service, domain)| format!("{account}.{service}.{region}.{domain}")),
        }
    }

    /// The manifest's text and its digest.
    async fn manifest(&self, repository: &str, id: Value) -> Result<(String, String), AwsError> {
        let input = json!({
            "repositoryName": repository,
            "imageIds": [id],
            "acceptedMediaTypes": [manifest::IMAGE_TYPE, manifest::INDEX_TYPE],
        });
        let answer = self
            .ecr
            .ecr("BatchGetImage", input)
            .await
            .map_err(|error| cannot_pull(repository, &error.message))?;
        let Some(image) = answer["images"].get(0) else {
            let reason = answer["failures"][0]["failureReason"].as_str().unwrap_or("not found");
            return Err(cannot_pull(&format!("{repository} {id}"), reason));
        };
        let text = image["imageManifest"].as_str();
        let digest = image["imageId"]["imageDigest"].as_str();
        match (text, digest) {
            (Some(text), Some(digest)) => Ok((text.to_owned(), digest.to_owned())),
            (None, _) | (_, None) => Err(cannot_pull(repository, "ECR answered without manifest or digest")),
        }
    }
}

impl EcrImages {
    /// What is not known to be for another one is for this machine.
    async fn is_for_another_machine(&self, repository: &str, manifest: &str) -> Result<bool, AwsError> {
        let Some(configuration) = manifest::configuration(manifest) else { return Ok(false) };
        let found = self.ecr.blob(repository, &configuration).await?;
        Ok(found
            .as_deref()
            .and_then(manifest::architecture)
            .is_some_and(|found| !manifest::runs_here(&found)))
    }
}

fn cannot_pull(image: &str, reason: &str) -> AwsError {
    AwsError::new(
        "CannotPullContainerError",
        format!("pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {reason}"),
    )
}

/// `registry/repository` and what of it is wanted: `@sha256:…` wins over `:tag`, none is `latest`.
fn parse(image: &str) -> Option<(&str, &str, Value)> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (registry, path) = name.split_once('/')?;
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, tag),
        None => (path, "latest"),
    };
    let id = match digest {
        Some(digest) => json!({"imageDigest": digest}),
        None => json!({"imageTag": tag}),
    };
    Some((registry, repository, id))
}

#[async_trait]
impl Images for EcrImages {
    async fn resolve(&self, image: &str) -> Result<ImageSpec, AwsError> {
        let Some((registry, repository, id)) = parse(image) else {
            return Err(cannot_pull(image, "not an image in a registry"));
        };
        if !self.registries.iter().any(|own| own == registry) {
            let [own, ..] = &self.registries;
            return Err(cannot_pull(image, &format!("the sandbox has only the registry {own}")));
        }
        let (text, digest) = self.manifest(repository, id).await?;
        // What is pinned and reported is the digest that was asked for; what runs is this machine's part of it.
        let text = match manifest::child_for_this_machine(&text).map_err(|why| cannot_pull(image, &why))? {
            Some(child) => self.manifest(repository, json!({"imageDigest": child})).await?.0,
            None => text,
        };
        let foreign = self.is_for_another_machine(repository, &text).await?;
        let spec = manifest::read(&text, digest).map_err(|reason| cannot_pull(image, &reason))?;
        // Nobody compares the platform of a single image when it is pulled: it starts, and its first instruction is of another machine.
        Ok(ImageSpec { crashes: spec.crashes || foreign, ..spec })
    }
}

#[cfg(test)]
mod tests;
