//! `GetDownloadUrlForLayer`: ministack answers with the address that the registry would have on AWS, whether or not there is such a blob.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Ecr, not_answered};
use crate::ports::{AwsError, Caller, Service};

/// The operation.
pub const OPERATION: &str = "GetDownloadUrlForLayer";

/// Links to blobs that are there, at this endpoint.
#[derive(Clone)]
pub struct Blobs {
    ecr: Arc<dyn Ecr>,
    endpoint: String,
}

impl Blobs {
    /// Of the images in this registry, fetched from `endpoint`.
    pub fn new(ecr: Arc<dyn Ecr>, endpoint: &str) -> Self {
        Self { ecr, endpoint: endpoint.trim_end_matches('/').to_owned() }
    }

    async fn link(&self, input: &Value) -> Result<Value, AwsError> {
        // Errors of a repository that is not there are ECR's own.
        let mut answer = self.ecr.ecr(OPERATION, input.clone()).await?;
        let repository = input["repositoryName"].as_str().unwrap_or_default();
        let digest = input["layerDigest"].as_str().unwrap_or_default();
        if self.ecr.blob(repository, digest).await?.is_none() {
            return Err(AwsError::new(
                "LayersNotFoundException",
                format!(
                    "Layers with digests '[{digest}]' required for pushing image into repository with name '{repository}' in the registry do not exist"
                ),
            ));
        }
        answer["downloadUrl"] = json!(format!("{}/v2/{repository}/blobs/{digest}", self.endpoint));
        Ok(answer)
    }
}

#[async_trait]
impl Service for Blobs {
    async fn call(&self, operation: &str, input: Value, _caller: &Caller) -> Result<Value, AwsError> {
        match operation {
            OPERATION => self.link(&input).await,
            other => Err(not_answered(other)),
        }
    }
}
