//! Manifests and indexes as text, and the behaviour in their annotations.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::ports::ImageSpec;

pub(super) const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

const PREFIX: &str = "tidegate.sandbox.";

/// What an image's process does: an image before it has a digest.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// What it answers as its version.
    pub version: String,
    /// Percent of requests answered with HTTP 500.
    pub error_percent: f64,
    /// Added latency of each answer, milliseconds.
    pub latency_ms: u64,
    /// The process exits at start.
    pub crashes: bool,
    /// Health checks fail though the process runs.
    pub unhealthy: bool,
    /// Makes a different image of the same behaviour, as a rebuild does.
    pub nonce: Option<String>,
}

impl Behaviour {
    /// A version that does nothing wrong.
    pub fn healthy(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            error_percent: 0.0,
            latency_ms: 0,
            crashes: false,
            unhealthy: false,
            nonce: None,
        }
    }

    fn annotations(&self) -> Map<String, Value> {
        let mut annotations = Map::new();
        let mut put = |name: &str, value: String| {
            annotations.insert(format!("{PREFIX}{name}"), Value::String(value));
        };
        put("version", self.version.clone());
        put("error-percent", self.error_percent.to_string());
        put("latency-ms", self.latency_ms.to_string());
        put("crashes", self.crashes.to_string());
        put("unhealthy", self.unhealthy.to_string());
        if let Some(nonce) = &self.nonce {
            put("nonce", nonce.clone());
        }
        annotations
    }
}

/// A manifest ready to be put.
pub(super) struct Manifest {
    pub(super) text: String,
    pub(super) media_type: &'static str,
    pub(super) digest: String,
    /// The document it names as its configuration, with its digest; an index has none.
    pub(super) configuration: Option<(String, String)>,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn manifest(described: &Value, media_type: &'static str, configuration: Option<String>) -> Manifest {
    let text = described.to_string();
    let configuration = configuration.map(|text| (digest(text.as_bytes()), text));
    Manifest { digest: digest(text.as_bytes()), text, media_type, configuration }
}

/// The manifest of an image for one architecture.
pub(super) fn image(behaviour: &Behaviour, architecture: &str) -> Manifest {
    let config = json!({"architecture": architecture, "os": "linux"}).to_string();
    let described = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [],
        "annotations": behaviour.annotations(),
    });
    manifest(&described, IMAGE_TYPE, Some(config))
}

/// The architecture of what is no image.
pub(super) const UNKNOWN: &str = "unknown";

/// What buildx says about how an image was built, which stands beside the image in its index.
pub(super) fn attestation(image: &Manifest) -> Manifest {
    let config = json!({"architecture": UNKNOWN, "os": UNKNOWN}).to_string();
    let described = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [],
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest},
    });
    manifest(&described, IMAGE_TYPE, Some(config))
}

/// The index over images for several architectures.
pub(super) fn index(children: &[(&str, Manifest)]) -> Manifest {
    let manifests: Vec<_> = children
        .iter()
        .map(|(architecture, child)| {
            json!({
                "mediaType": child.media_type,
                "digest": child.digest,
                "size": child.text.len(),
                "platform": {"architecture": architecture, "os": if *architecture == UNKNOWN { UNKNOWN } else { "linux" }},
            })
        })
        .collect();
    let described = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests});
    manifest(&described, INDEX_TYPE, None)
}

/// The architecture of this machine in the words of image platforms.
fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The digest of the image that this machine runs, when the text is an index; the error is the container runtime's.
pub(super) fn child_for_this_machine(text: &str) -> Result<Option<String>, String> {
    let described: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(children) = described["manifests"].as_array() else { return Ok(None) };
    let own = children.iter().find(|child| child["platform"]["architecture"] == machine());
    let digest = own.and_then(|child| child["digest"].as_str());
    let missing =
        || format!("image Manifest does not contain descriptor matching platform 'linux/{}'", machine());
    digest.map(|digest| Some(digest.to_owned())).ok_or_else(missing)
}

/// The digest of the document that a single image names as its configuration.
pub(super) fn configuration(text: &str) -> Option<String> {
    let described: Value = serde_json::from_str(text).ok()?;
    described["config"]["digest"].as_str().map(str::to_owned)
}

/// The architecture that a configuration names.
pub(super) fn architecture(configuration: &[u8]) -> Option<String> {
    let described: Value = serde_json::from_slice(configuration).ok()?;
    described["architecture"].as_str().map(str::to_owned)
}

/// Whether this machine runs what is built for an architecture.
pub(super) fn runs_here(architecture: &str) -> bool {
    architecture == machine()
}

/// What the configuration of a container image is. Signatures, charts and other artifacts have another; so does what has no layers to run.
const CONFIG_TYPES: [&str; 2] = [CONFIG_TYPE, "application/vnd.docker.container.image.v1+json"];

/// What the process of an image does. An image that was not made for the sandbox runs as a healthy process whose version
/// is the beginning of its digest.
pub(super) fn read(text: &str, digest: String) -> Result<ImageSpec, String> {
    let described: Value =
        serde_json::from_str(text).map_err(|error| format!("manifest is not JSON: {error}"))?;
    let config = described["config"]["mediaType"].as_str().unwrap_or_default();
    if !CONFIG_TYPES.contains(&config) {
        return Err(format!("unsupported config media type {config:?}: it is not a container image"));
    }
    let annotation = |name: &str| described["annotations"][format!("{PREFIX}{name}")].as_str();
    let Some(version) = annotation("version") else {
        let version = digest.chars().skip("sha256:".len()).take(12).collect();
        return Ok(ImageSpec {
            digest,
            version,
            error_percent: 0.0,
            latency_ms: 0,
            crashes: false,
            unhealthy: false,
        });
    };
    Ok(ImageSpec {
        digest,
        version: version.to_owned(),
        error_percent: parsed("error-percent", annotation("error-percent"))?,
        latency_ms: parsed("latency-ms", annotation("latency-ms"))?,
        crashes: parsed("crashes", annotation("crashes"))?,
        unhealthy: parsed("unhealthy", annotation("unhealthy"))?,
    })
}

fn parsed<T: std::str::FromStr + Default>(name: &str, text: Option<&str>) -> Result<T, String> {
    match text {
        None => Ok(T::default()),
        Some(text) => {
            text.parse().map_err(|_| format!("annotation {PREFIX}{name} cannot be understood: {text}"))
        }
    }
}
