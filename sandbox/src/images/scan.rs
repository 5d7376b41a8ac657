//! `DescribeImageScanFindings`, which ministack does not answer. Nothing is scanned: what a scan found is put, as a scanner would have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Ecr, not_answered};
use crate::ports::{AwsError, Caller, Service};

/// The operation; every other one of ECR's is ministack's.
pub const OPERATION: &str = "DescribeImageScanFindings";

/// A scan as ECR tells of it.
#[derive(Debug, Clone)]
pub struct Scan {
    /// `IN_PROGRESS`, `COMPLETE`, `FAILED`, `UNSUPPORTED_IMAGE`, …
    pub status: String,
    /// What was found: name and severity, `CRITICAL` or another.
    pub findings: Vec<(String, String)>,
}

impl Scan {
    /// A scan that is complete, with what it found.
    pub fn complete(findings: &[(&str, &str)]) -> Self {
        let text = |(name, severity): &(&str, &str)| ((*name).to_owned(), (*severity).to_owned());
        Self { status: "COMPLETE".into(), findings: findings.iter().map(text).collect() }
    }
}

/// The scans of all images. Cheap to clone.
#[derive(Clone)]
pub struct Scans {
    ecr: Arc<dyn Ecr>,
    account: String,
    scans: Arc<Mutex<HashMap<(String, String), Scan>>>,
}

impl Scans {
    /// Of the images in this registry.
    pub fn new(ecr: Arc<dyn Ecr>, account: &str) -> Self {
        Self { ecr, account: account.to_owned(), scans: Arc::default() }
    }

    /// Says what the scan of an image found.
    pub fn put(&self, repository: &str, digest: &str, scan: Scan) {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.insert((repository.to_owned(), digest.to_owned()), scan);
    }

    async fn describe(&self, input: &Value) -> Result<Value, AwsError> {
        let repository = input["repositoryName"].as_str().unwrap_or_default();
        // Asks ECR: errors of a repository that is not there are its own, and a tag becomes a digest.
        let found = json!({ "repositoryName": repository, "imageIds": [input["imageId"]] });
        let image = self.ecr.ecr("DescribeImages", found).await?["imageDetails"][0].clone();
        let digest = image["imageDigest"].as_str().unwrap_or_default();
        let scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        let scan = scans.get(&(repository.to_owned(), digest.to_owned())).ok_or_else(|| {
            AwsError::new(
                "ScanNotFoundException",
                format!(
                    "Image scan does not exist for the image with '{{imageDigest:'{digest}'}}' in the repository with name \
                     '{repository}' in the registry with id '{}'",
                    self.account
                ),
            )
        })?;
        Ok(answer(&self.account, repository, digest, scan))
    }
}

fn answer(account: &str, repository: &str, digest: &str, scan: &Scan) -> Value {
    let now = Timestamp::now().as_second();
    let findings: Vec<Value> =
        scan.findings.iter().map(|(name, severity)| json!({ "name": name, "severity": severity })).collect();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for (_, severity) in &scan.findings {
        *counts.entry(severity).or_default() += 1;
    }
    let mut answer = json!({
        "registryId": account,
        "repositoryName": repository,
        "imageId": { "imageDigest": digest },
        "imageScanStatus": { "status": scan.status },
    });
    if scan.status == "COMPLETE" {
        answer["imageScanFindings"] =
            json!({ "imageScanCompletedAt": now, "findings": findings, "findingSeverityCounts": counts });
    }
    answer
}

#[async_trait]
impl Service for Scans {
    async fn call(&self, operation: &str, input: Value, _caller: &Caller) -> Result<Value, AwsError> {
        match operation {
            OPERATION => self.describe(&input).await,
            other => Err(not_answered(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A registry with one image.
    struct One;

    #[async_trait]
    impl Ecr for One {
        async fn ecr(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
            assert_eq!(operation, "DescribeImages");
            if input["imageIds"][0]["imageDigest"] == "sha256:aa" || input["imageIds"][0]["imageTag"] == "v1"
            {
                return Ok(json!({ "imageDetails": [{ "imageDigest": "sha256:aa" }] }));
            }
            Err(AwsError::new("ImageNotFoundException", "not there"))
        }

        async fn put_blob(&self, _: &str, _: &str, _: Bytes) -> Result<(), AwsError> {
            unreachable!("nothing is pushed")
        }

        async fn blob(&self, _: &str, _: &str) -> Result<Option<Bytes>, AwsError> {
            unreachable!("nothing is pulled")
        }
    }

    #[tokio::test]
    async fn an_image_is_not_there_not_scanned_or_scanned() {
        let scans = Scans::new(Arc::new(One), "111122223333");
        let ask = async |id: Value| {
            let input = json!({ "repositoryName": "shop", "imageId": id });
            scans.call(OPERATION, input, &Caller::default()).await
        };
        assert_eq!(
            ask(json!({"imageDigest": "sha256:bb"})).await.unwrap_err().code,
            "ImageNotFoundException"
        );
        assert_eq!(ask(json!({"imageDigest": "sha256:aa"})).await.unwrap_err().code, "ScanNotFoundException");
        scans.put("shop", "sha256:aa", Scan { status: "IN_PROGRESS".into(), findings: Vec::new() });
        assert!(ask(json!({"imageTag": "v1"})).await.unwrap().get("imageScanFindings").is_none());
        scans.put("shop", "sha256:aa", Scan::complete(&[("CVE-1", "CRITICAL"), ("CVE-2", "LOW")]));
        let answer = ask(json!({"imageTag": "v1"})).await.unwrap();
        assert_eq!(answer["imageScanFindings"]["findings"][0]["name"], "CVE-1");
        assert_eq!(answer["imageScanFindings"]["findingSeverityCounts"], json!({"CRITICAL": 1, "LOW": 1}));
    }
}
