//! What an image runs on. Of an index it stands in the manifest, which names an image for each platform; of a single image in its
//! configuration, a document beside the manifest that ECR hands out by a link.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tidegate_aws::{Downloads, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{Digest, Image};
use tidegate_core::vocab::ecr::{ImagePart, Platform};

const BATCH_GET_IMAGE: &str = "ecr:BatchGetImage";
const GET_DOWNLOAD_URL: &str = "ecr:GetDownloadUrlForLayer";
/// Which manifests are understood. Without this list ECR answers a kind of its own choice.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The configurations of containers; other artifacts have other ones, or none.
const CONFIGURATIONS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The largest configuration that is read: some kilobytes are usual, of labels and of the history of layers.
const CONFIGURATION_MAX: usize = 1024 * 1024;

/// An index or an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    manifests: Vec<Part>,
    config: Option<Blob>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    digest: String,
    platform: Option<Built>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Blob {
    media_type: String,
    digest: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Built {
    os: String,
    architecture: String,
}

impl Built {
    /// What is no image, as an attestation, says that its platform is unknown.
    fn platform(self) -> Option<Platform> {
        let known = self.os != "unknown" && !self.os.is_empty();
        known.then_some(Platform { os: self.os, architecture: self.architecture })
    }
}

/// A repository of ECR that can be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) client: &'a Client,
    pub(crate) downloads: &'a Downloads,
    pub(crate) account: &'a str,
}

/// The images that an image stands for: those of an index, or itself.
pub(crate) async fn parts(from: From<'_>, image: &Image) -> Result<Vec<ImagePart>, PortError> {
    let manifest = manifest(from, image).await?;
    let Some(configuration) = manifest.config else {
        return manifest.manifests.into_iter().map(part).collect();
    };
    if !CONFIGURATIONS.contains(&configuration.media_type.as_str()) {
        return Ok(Vec::new());
    }
    let platform = configured(from, image, &configuration.digest).await?.platform();
    Ok(vec![ImagePart { digest: image.digest.clone(), platform }])
}

async fn manifest(from: From<'_>, image: &Image) -> Result<Manifest, PortError> {
    let call = from
        .client
        .batch_get_image()
        .registry_id(from.account)
        .repository_name(image.repository.as_str())
        .image_ids(ImageIdentifier::builder().image_digest(image.digest.as_str()).build())
        .set_accepted_media_types(Some(MANIFESTS.map(str::to_owned).to_vec()));
    let answer = call.send().await.map_err(|error| port_error(BATCH_GET_IMAGE, error))?;
    let text = answer.images().first().and_then(|image| image.image_manifest());
    let text = text.ok_or_else(|| unexpected(BATCH_GET_IMAGE, "ECR answered without a manifest"))?;
    serde_json::from_str(text).map_err(|error| unexpected(BATCH_GET_IMAGE, error.to_string()))
}

fn part(part: Part) -> Result<ImagePart, PortError> {
    let digest = Digest::new(part.digest).map_err(|error| unexpected(BATCH_GET_IMAGE, error.to_string()))?;
    Ok(ImagePart { digest, platform: part.platform.and_then(Built::platform) })
}

/// What the configuration of a single image says. It is believed because it has the digest that the manifest names.
async fn configured(from: From<'_>, image: &Image, digest: &str) -> Result<Built, PortError> {
    let call = from
        .client
        .get_download_url_for_layer()
        .registry_id(from.account)
        .repository_name(image.repository.as_str())
        .layer_digest(digest);
    let answer = call.send().await.map_err(|error| port_error(GET_DOWNLOAD_URL, error))?;
    let url =
        answer.download_url.ok_or_else(|| unexpected(GET_DOWNLOAD_URL, "ECR answered without a link"))?;
    let bytes = from.downloads.get(GET_DOWNLOAD_URL, &url, CONFIGURATION_MAX).await?;
    if digest != format!("sha256:{:x}", Sha256::digest(&bytes)) {
        return Err(unexpected(GET_DOWNLOAD_URL, "what the link leads to has another digest"));
    }
    serde_json::from_slice(&bytes).map_err(|error| unexpected(GET_DOWNLOAD_URL, error.to_string()))
}

fn unexpected(operation: &'static str, why: impl Into<String>) -> PortError {
    PortError::new(ErrorKind::Invalid, operation, "UnexpectedAnswer", why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_core::ids::RepositoryName;
    use tidegate_core::ports::Images as _;
    use tidegate_core::seen::Seen;
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
        let detail = json!({ "imageDigest": hash('a'), "imagePushedAt": 1 });
        replay.json("DescribeImages", json!({ "imageDetails": [detail] }));
        replay.answer("GetLifecyclePolicy", Answer::error(400, "LifecyclePolicyNotFoundException", "none"));
    }

    async fn seen(replay: &Replay) -> Seen<Vec<ImagePart>> {
        let adapter = EcrAdapter::new(replay.config()).downloading(replay.connector());
        adapter.image(&image()).await.unwrap().expect("it is there").parts
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

    /// A single image, whose configuration has the digest that its manifest names.
    fn single(replay: &Replay, configuration: &str, media_type: &str) {
        described(replay);
        let digest = format!("sha256:{:x}", Sha256::digest(configuration));
        let manifest = json!({ "schemaVersion": 2, "config": { "mediaType": media_type, "digest": digest } });
        replay.json("BatchGetImage", json!({ "images": [{ "imageManifest": manifest.to_string() }] }));
        replay.json("GetDownloadUrlForLayer", json!({ "downloadUrl": "https://layers.example/secret" }));
    }

    #[tokio::test]
    async fn a_single_image_says_in_its_configuration_what_it_runs_on() {
        let configuration = r#"{"architecture": "arm64", "os": "linux", "config": {"Cmd": ["/app"]}}"#;
        for media_type in CONFIGURATIONS {
            let replay = Replay::new();
            single(&replay, configuration, media_type);
            replay.answer("https://layers.example/secret", Answer::text(200, configuration));
            let parts = seen(&replay).await;
            let [part] = parts.known().unwrap().as_slice() else { panic!("one image: {parts:?}") };
            assert_eq!(part.platform.as_ref().unwrap().to_string(), "linux/arm64");
            assert_eq!(part.digest, image().digest);
            let asked = replay.calls("GetDownloadUrlForLayer")[0].json();
            assert_eq!(asked["layerDigest"], format!("sha256:{:x}", Sha256::digest(configuration)));
            assert_eq!(asked["registryId"], "444455556666");
        }
    }

    #[tokio::test]
    async fn a_configuration_that_is_another_one_or_cannot_be_had_says_nothing() {
        let configuration = r#"{"architecture": "arm64", "os": "linux"}"#;
        for answer in
            [Answer::text(200, r#"{"architecture": "amd64", "os": "linux"}"#), Answer::text(403, "")]
        {
            let replay = Replay::new();
            single(&replay, configuration, CONFIGURATIONS[0]);
            replay.answer("https://layers.example/secret", answer);
            let error = seen(&replay).await.error().unwrap().clone();
            assert_eq!(error.operation, GET_DOWNLOAD_URL);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_container_runs_on_nothing_and_nothing_is_downloaded() {
        let replay = Replay::new();
        single(&replay, "{}", "application/vnd.cncf.helm.config.v1+json");
        assert!(seen(&replay).await.known().unwrap().is_empty());
        assert!(replay.calls("GetDownloadUrlForLayer").is_empty());
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
