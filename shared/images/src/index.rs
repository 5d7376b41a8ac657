//! An index: one name for the images of several platforms. Which they are stands in its manifest.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use serde::Deserialize;
use tidegate_aws::port_error;
use tidegate_core::ids::{Digest, Image};
use tidegate_core::observation::{ImagePart, Platform};
use tidegate_core::ports::{ErrorKind, PortError};

const BATCH_GET_IMAGE: &str = "ecr:BatchGetImage";
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Index {
    manifests: Vec<Part>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    digest: String,
    platform: Option<PartPlatform>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PartPlatform {
    os: String,
    architecture: String,
}

/// Whether a manifest of this media type is an index.
pub(crate) fn is_index(media_type: Option<&str>) -> bool {
    media_type.is_some_and(|found| INDEX_TYPES.contains(&found))
}

/// The images of an index.
pub(crate) async fn parts(
    client: &Client,
    account: &str,
    image: &Image,
) -> Result<Vec<ImagePart>, PortError> {
    let call = client
        .batch_get_image()
        .registry_id(account)
        .repository_name(image.repository.as_str())
        .image_ids(ImageIdentifier::builder().image_digest(image.digest.as_str()).build())
        .set_accepted_media_types(Some(INDEX_TYPES.map(str::to_owned).to_vec()));
    let answer = call.send().await.map_err(|error| port_error(BATCH_GET_IMAGE, error))?;
    let text = answer.images().first().and_then(|image| image.image_manifest());
    let text = text.ok_or_else(|| unexpected("ECR answered without a manifest"))?;
    read(text)
}

fn read(text: &str) -> Result<Vec<ImagePart>, PortError> {
    let index: Index = serde_json::from_str(text).map_err(|error| unexpected(error.to_string()))?;
    let part = |part: Part| {
        let digest = Digest::new(part.digest).map_err(|error| unexpected(error.to_string()))?;
        // What is no image, as an attestation, says that its platform is unknown.
        let platform = part.platform.filter(|platform| platform.os != "unknown" && !platform.os.is_empty());
        let platform = platform.map(|found| Platform { os: found.os, architecture: found.architecture });
        Ok(ImagePart { digest, platform })
    };
    index.manifests.into_iter().map(part).collect()
}

fn unexpected(why: impl Into<String>) -> PortError {
    PortError::new(ErrorKind::Invalid, BATCH_GET_IMAGE, "UnexpectedAnswer", why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_core::ids::RepositoryName;
    use tidegate_core::observation::{Seen, Stored};
    use tidegate_core::ports::Images as _;
    use tidegate_replay::{Answer, Replay};

    use super::*;
    use crate::EcrAdapter;

    fn hash(fill: char) -> String {
        format!("sha256:{}", String::from(fill).repeat(64))
    }

    fn image() -> Image {
        Image {
            registry: "444455556666.dkr.ecr.us-west-2.amazonaws.com".into(),
            repository: RepositoryName::new("shop/checkout").unwrap(),
            digest: Digest::new(hash('a')).unwrap(),
            tag: None,
        }
    }

    fn described(replay: &Replay) {
        let detail =
            json!({ "imageDigest": hash('a'), "imagePushedAt": 1, "imageManifestMediaType": INDEX_TYPES[0] });
        replay.json("DescribeImages", json!({ "imageDetails": [detail] }));
        replay.answer("GetLifecyclePolicy", Answer::error(400, "LifecyclePolicyNotFoundException", "none"));
    }

    async fn seen(replay: &Replay) -> Seen<Vec<ImagePart>> {
        match EcrAdapter::new(replay.config()).stored(&image()).await.unwrap() {
            Stored::There(seen) => seen.parts,
            Stored::Gone | Stored::Elsewhere => panic!("it is there"),
        }
    }

    #[tokio::test]
    async fn the_images_of_an_index_are_told_with_their_platforms_and_an_attestation_has_none() {
        let replay = Replay::new();
        described(&replay);
        let manifest = json!({ "schemaVersion": 2, "manifests": [
            { "digest": hash('b'), "platform": { "os": "linux", "architecture": "arm64", "variant": "v8" } },
            { "digest": hash('c'), "platform": { "os": "unknown", "architecture": "unknown" } },
            { "digest": hash('d') },
        ] });
        replay.json("BatchGetImage", json!({ "images": [{ "imageManifest": manifest.to_string() }] }));
        let parts = seen(&replay).await;
        let told: Vec<_> = parts
            .known()
            .unwrap()
            .iter()
            .map(|part| (part.digest.to_string(), part.platform.as_ref().map(ToString::to_string)))
            .collect();
        assert_eq!(told, [(hash('b'), Some("linux/arm64".to_owned())), (hash('c'), None), (hash('d'), None)]);
        let asked = replay.calls("BatchGetImage")[0].json();
        assert_eq!(asked["imageIds"], json!([{ "imageDigest": hash('a') }]));
    }

    #[tokio::test]
    async fn an_index_that_may_not_be_read_is_there_and_its_platforms_are_not_known() {
        let replay = Replay::new();
        described(&replay);
        replay.answer("BatchGetImage", Answer::error(400, "AccessDeniedException", "no"));
        assert_eq!(seen(&replay).await.error().unwrap().kind, ErrorKind::Denied);
        let replay = Replay::new();
        described(&replay);
        replay.json("BatchGetImage", json!({ "images": [], "failures": [] }));
        assert!(seen(&replay).await.error().is_some());
    }
}
