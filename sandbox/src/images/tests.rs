//! Pushing and pulling against an ECR in memory that answers as ministack's does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::blobs::{self, Blobs};
use super::{Behaviour, Ecr, EcrImages, Push, push};
use crate::ports::{AwsError, Caller, EventSink, Images as _, Service as _, ServiceEvent};

#[derive(Default)]
struct Registry {
    /// Digest, tags, manifest.
    images: Mutex<Vec<(String, Vec<String>, String)>>,
    events: Mutex<Vec<ServiceEvent>>,
    blobs: Mutex<HashMap<String, Bytes>>,
}

#[async_trait]
impl Ecr for Registry {
    async fn ecr(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        if input["repositoryName"] != "shop/checkout" {
            return Err(AwsError::new("RepositoryNotFoundException", "The repository does not exist"));
        }
        let mut images = self.images.lock().unwrap();
        match operation {
            "PutImage" => {
                let text = input["imageManifest"].as_str().unwrap().to_owned();
                let digest = format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())));
                assert_eq!(input["imageDigest"], digest.as_str(), "the digest is that of the manifest");
                let tag = input["imageTag"].as_str().map(str::to_owned);
                for (_, tags, _) in images.iter_mut() {
                    tags.retain(|present| Some(present) != tag.as_ref());
                }
                match images.iter_mut().find(|image| image.0 == digest) {
                    Some(known) => known.1.extend(tag),
                    None => images.push((digest, tag.into_iter().collect(), text)),
                }
                Ok(json!({}))
            }
            "BatchGetImage" => {
                let id = &input["imageIds"][0];
                let wanted = |image: &&(String, Vec<String>, String)| {
                    id["imageDigest"] == image.0.as_str()
                        || image.1.iter().any(|tag| id["imageTag"] == tag.as_str())
                };
                Ok(match images.iter().find(wanted) {
                    Some((digest, _, text)) => {
                        json!({"images": [{"imageId": {"imageDigest": digest}, "imageManifest": text}], "failures": []})
                    }
                    None => json!({
                        "images": [],
                        "failures": [{"imageId": id, "failureReason": "Requested image not found"}],
                    }),
                })
            }
            "GetDownloadUrlForLayer" => Ok(json!({
                "layerDigest": input["layerDigest"],
                "downloadUrl": format!("https://{REGISTRY}/v2/shop/checkout/blobs/{}", input["layerDigest"].as_str().unwrap()),
            })),
            other => panic!("unexpected {other}"),
        }
    }

    async fn put_blob(&self, _: &str, digest: &str, blob: Bytes) -> Result<(), AwsError> {
        assert_eq!(digest, format!("sha256:{}", hex::encode(Sha256::digest(&blob))));
        self.blobs.lock().unwrap().insert(digest.to_owned(), blob);
        Ok(())
    }

    async fn blob(&self, _: &str, digest: &str) -> Result<Option<Bytes>, AwsError> {
        Ok(self.blobs.lock().unwrap().get(digest).cloned())
    }
}

impl EventSink for Registry {
    fn emit(&self, event: ServiceEvent) {
        self.events.lock().unwrap().push(event);
    }
}

const REGISTRY: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

fn bad(version: &str) -> Behaviour {
    Behaviour { error_percent: 12.5, latency_ms: 40, unhealthy: true, ..Behaviour::healthy(version) }
}

fn images(registry: &Arc<Registry>) -> EcrImages {
    EcrImages::new(Arc::clone(registry) as Arc<dyn Ecr>, "111122223333", "eu-west-1")
}

#[tokio::test]
async fn what_was_pushed_is_what_runs_by_tag_and_by_digest() {
    let registry = Arc::new(Registry::default());
    let request = Push::new("shop/checkout", "main-1", bad("v1"));
    let digest = push(&*registry, &*registry, &request).await.unwrap();
    for image in [format!("{REGISTRY}/shop/checkout:main-1"), format!("{REGISTRY}/shop/checkout@{digest}")] {
        let spec = images(&registry).resolve(&image).await.unwrap();
        assert_eq!(spec.digest, digest);
        assert_eq!((spec.version.as_str(), spec.error_percent, spec.latency_ms), ("v1", 12.5, 40));
        assert_eq!((spec.crashes, spec.unhealthy), (false, true));
    }
    let events = registry.events.lock().unwrap();
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.source.as_str(), event.detail_type.as_str()), ("aws.ecr", "ECR Image Action"));
    assert!(event.resources.is_empty());
    assert_eq!(event.detail["image-tag"], "main-1");
    assert_eq!(event.detail["image-digest"], digest.as_str());
}

#[tokio::test]
async fn the_same_image_has_the_same_digest_and_a_rebuild_another() {
    let registry = Registry::default();
    let digest = async |behaviour: Behaviour| {
        push(&registry, &registry, &Push::new("shop/checkout", "main-1", behaviour)).await.unwrap()
    };
    let first = digest(bad("v1")).await;
    assert_eq!(digest(bad("v1")).await, first);
    assert_ne!(digest(bad("v2")).await, first);
    assert_ne!(digest(Behaviour { nonce: Some("build-2".into()), ..bad("v1") }).await, first);
}

#[tokio::test]
async fn a_push_for_two_architectures_has_three_events_and_only_the_last_has_the_tag() {
    let registry = Arc::new(Registry::default());
    let architectures = vec!["amd64".to_owned(), "arm64".to_owned()];
    let request = Push { architectures, ..Push::new("shop/checkout", "v1.2.3", bad("v1")) };
    let digest = push(&*registry, &*registry, &request).await.unwrap();
    let tags: Vec<Value> = {
        let events = registry.events.lock().unwrap();
        assert_eq!(events[2].detail["image-digest"], digest.as_str());
        assert!(events[2].detail.get("artifact-media-type").is_none());
        events.iter().map(|event| event.detail["image-tag"].clone()).collect()
    };
    assert_eq!(tags, [json!(""), json!(""), json!("v1.2.3")]);
    let spec = images(&registry).resolve(&format!("{REGISTRY}/shop/checkout:v1.2.3")).await.unwrap();
    assert_eq!((spec.digest, spec.version.as_str()), (digest, "v1"));
}

#[tokio::test]
async fn what_cannot_be_pulled_says_so_as_a_task_would() {
    let registry = Arc::new(Registry::default());
    for image in [
        format!("{REGISTRY}/shop/checkout:gone"),
        format!("{REGISTRY}/other/repository:main-1"),
        "999999999999.dkr.ecr.eu-west-1.amazonaws.com/shop/checkout:main-1".to_owned(),
        "nginx".to_owned(),
    ] {
        let error = images(&registry).resolve(&image).await.unwrap_err();
        assert_eq!(error.code, "CannotPullContainerError", "{image}");
    }
}

#[tokio::test]
async fn an_image_not_made_for_the_sandbox_is_a_healthy_process() {
    let registry = Arc::new(Registry::default());
    let config = json!({"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "sha256:44", "size": 2});
    let text = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    registry.images.lock().unwrap().push(("sha256:0123456789abcdef".into(), vec!["latest".into()], text));
    let spec = images(&registry).resolve(&format!("{REGISTRY}/shop/checkout")).await.unwrap();
    assert_eq!((spec.version.as_str(), spec.error_percent), ("0123456789ab", 0.0));
}

#[tokio::test]
async fn an_image_for_another_architecture_alone_is_an_index_with_its_attestation() {
    let registry = Arc::new(Registry::default());
    let request = Push {
        architectures: vec!["arm64".into()],
        attested: true,
        ..Push::new("shop/checkout", "v2", bad("v2"))
    };
    let digest = push(&*registry, &*registry, &request).await.unwrap();
    let images = registry.images.lock().unwrap().clone();
    let (_, _, text) = images.iter().find(|(found, ..)| *found == digest).unwrap();
    let index: Value = serde_json::from_str(text).unwrap();
    let platforms: Vec<&Value> =
        index["manifests"].as_array().unwrap().iter().map(|part| &part["platform"]["architecture"]).collect();
    assert_eq!(platforms, ["arm64", "unknown"]);
}

/// The architecture that this machine is not of.
fn another_architecture() -> String {
    if cfg!(target_arch = "x86_64") { "arm64".into() } else { "amd64".into() }
}

#[tokio::test]
async fn an_image_for_another_machine_crashes_and_an_index_without_this_one_cannot_be_pulled() {
    let registry = Arc::new(Registry::default());
    for (tag, attested) in [("single", false), ("index", true)] {
        let request = Push {
            architectures: vec![another_architecture()],
            attested,
            ..Push::new("shop/checkout", tag, Behaviour::healthy("v2"))
        };
        push(&*registry, &*registry, &request).await.unwrap();
    }
    let resolve =
        async |tag: &str| images(&registry).resolve(&format!("{REGISTRY}/shop/checkout:{tag}")).await;
    assert!(resolve("single").await.unwrap().crashes);
    let error = resolve("index").await.unwrap_err();
    assert_eq!(error.code, "CannotPullContainerError");
    assert!(error.message.contains("does not contain descriptor matching platform"), "{}", error.message);
}

#[tokio::test]
async fn a_link_leads_to_a_blob_that_is_there() {
    let registry = Arc::new(Registry::default());
    push(&*registry, &*registry, &Push::new("shop/checkout", "v1", bad("v1"))).await.unwrap();
    let there = registry.blobs.lock().unwrap().keys().next().unwrap().clone();
    let blobs = Blobs::new(registry.clone(), "http://127.0.0.1:4566");
    let ask = async |repository: &str, digest: &str| {
        let input = json!({ "repositoryName": repository, "layerDigest": digest });
        blobs.call(blobs::OPERATION, input, &Caller::default()).await
    };
    let answer = ask("shop/checkout", &there).await.unwrap();
    assert_eq!(answer["downloadUrl"], format!("http://127.0.0.1:4566/v2/shop/checkout/blobs/{there}"));
    assert_eq!(ask("shop/checkout", "sha256:00").await.unwrap_err().code, "LayersNotFoundException");
    assert_eq!(ask("shop", &there).await.unwrap_err().code, "RepositoryNotFoundException");
}

#[tokio::test]
async fn every_host_of_the_registry_is_the_registry_and_no_other_is() {
    let registry = Arc::new(Registry::default());
    let digest =
        push(&*registry, &*registry, &Push::new("shop/checkout", "main-1", bad("v1"))).await.unwrap();
    for host in [
        "dkr.ecr.eu-west-1.amazonaws.com",
        "dkr.ecr-fips.eu-west-1.amazonaws.com",
        "dkr-ecr.eu-west-1.on.aws",
        "dkr-ecr-fips.eu-west-1.on.aws",
    ] {
        let image = format!("111122223333.{host}/shop/checkout:main-1");
        assert!(crate::ports::is_in_ecr(&image), "{image}");
        assert_eq!(images(&registry).resolve(&image).await.unwrap().digest, digest, "{image}");
    }
    for host in ["111122223333.dkr.ecr.us-east-1.amazonaws.com", "444455556666.dkr-ecr.eu-west-1.on.aws"] {
        let refused = images(&registry).resolve(&format!("{host}/shop/checkout:main-1")).await.unwrap_err();
        assert_eq!(refused.code, "CannotPullContainerError");
    }
    assert!(!crate::ports::is_in_ecr("public.ecr.aws/shop/checkout:1"));
    assert!(!crate::ports::is_in_ecr("ghcr.io/mirror.dkr.ecr.example/shop:1"));
}

#[tokio::test]
async fn what_is_no_container_image_cannot_run() {
    let registry = Arc::new(Registry::default());
    let signature = json!({"schemaVersion": 2, "mediaType": super::manifest::IMAGE_TYPE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:44", "size": 2}, "layers": []});
    let tags = vec!["sha256-44.sig".into()];
    registry.images.lock().unwrap().push(("sha256:5165".into(), tags, signature.to_string()));
    let refused =
        images(&registry).resolve(&format!("{REGISTRY}/shop/checkout:sha256-44.sig")).await.unwrap_err();
    assert_eq!(refused.code, "CannotPullContainerError");
    assert!(refused.message.contains("not a container image"), "{}", refused.message);
}
