//! What in a repository is a container image, and what only lies beside one: signatures, attestations, build caches, charts.
//!
//! A registry stores all of them alike. Every trigger, the clock and the command line ask here before anything is released.

use crate::ids::Tag;

/// What a registry says about the kind of what it stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaTypes {
    /// The media type of the manifest.
    pub manifest: Option<String>,
    /// The media type of what the manifest describes: of its configuration, or its own artifact type. None for an index.
    pub artifact: Option<String>,
}

/// The configuration of a container image.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// Several images under one digest.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// One image, whose kind its configuration tells.
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// Images from before there were other things.
const ANCIENT: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

impl MediaTypes {
    /// Why this is no container image, if it is not; fits "refused: {why}". `tags` are all it has.
    pub fn is_no_image(&self, tags: &[Tag]) -> Option<String> {
        if !tags.is_empty() && tags.iter().all(belongs_to_another) {
            let tag = &tags[0];
            return Some(format!(
                "tag {tag} is that of a signature or an attestation of an image, not of an image"
            ));
        }
        let unlike = |what: &str, found: &str| {
            Some(format!("it is no container image: its {what} has the media type {found}"))
        };
        // What a manifest describes says most: also an index may be of something else than images.
        // A registry that repeats a manifest's type there says nothing about it.
        let says_nothing = |found: &&str| {
            [&IMAGE_CONFIGS[..], &INDEXES, &MANIFESTS, &ANCIENT].iter().any(|types| types.contains(found))
        };
        if let Some(artifact) = self.artifact.as_deref().filter(|found| !says_nothing(found)) {
            return unlike("content", artifact);
        }
        match self.manifest.as_deref() {
            Some(found)
                if INDEXES.contains(&found) || MANIFESTS.contains(&found) || ANCIENT.contains(&found) =>
            {
                None
            }
            Some(found) => unlike("manifest", found),
            // Nothing is said at all: only preflight and the service can tell.
            None => None,
        }
    }
}

/// `sha256-HEX`, with or without `.sig`, `.att`, `.sbom`: how tools tag what belongs to the image of that digest.
fn belongs_to_another(tag: &Tag) -> bool {
    let Some(rest) = tag.as_str().strip_prefix("sha256-") else { return false };
    let (hash, more) = rest.split_at_checked(64).unwrap_or(("", ""));
    hash.len() == 64
        && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && (more.is_empty() || more.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(manifest: &str, artifact: Option<&str>, tags: &[&str]) -> bool {
        let tags: Vec<Tag> = tags.iter().map(|tag| Tag::new(*tag).unwrap()).collect();
        let types = MediaTypes { manifest: Some(manifest.into()), artifact: artifact.map(str::to_owned) };
        types.is_no_image(&tags).is_none()
    }

    #[test]
    fn images_and_indexes_of_images_are_images() {
        for config in IMAGE_CONFIGS {
            for manifest in MANIFESTS {
                assert!(image(manifest, Some(config), &["main-1"]), "{manifest} {config}");
            }
        }
        for manifest in INDEXES.iter().chain(&MANIFESTS).chain(&ANCIENT) {
            assert!(image(manifest, None, &["main-1"]), "{manifest}");
        }
        assert!(image(INDEXES[0], None, &[]));
        assert!(
            image(MANIFESTS[0], Some(MANIFESTS[0]), &["main-1"])
                && image(INDEXES[0], Some(INDEXES[0]), &["main-1"])
        );
        assert!(MediaTypes::default().is_no_image(&[]).is_none());
    }

    #[test]
    fn what_lies_beside_images_is_none() {
        for artifact in [
            "application/vnd.buildkit.cacheconfig.v0",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.in-toto+json",
            "application/vnd.oci.empty.v1+json",
            "application/vnd.wasm.config.v0+json",
            "application/spdx+json",
            "application/x.not-yet-invented",
        ] {
            assert!(!image(MANIFESTS[0], Some(artifact), &["main-1"]), "{artifact}");
            assert!(!image(INDEXES[0], Some(artifact), &["main-1"]), "{artifact}");
        }
        assert!(!image("application/vnd.oci.artifact.manifest.v1+json", None, &["main-1"]));
        assert!(!image("application/x.not-yet-invented", Some(IMAGE_CONFIGS[0]), &["main-1"]));
    }

    /// A signature has the configuration of an image; only its tag tells.
    #[test]
    fn what_is_tagged_by_another_digest_belongs_to_that_image() {
        let hash = "0123456789abcdef".repeat(4);
        for tag in ["", ".sig", ".att", ".sbom", "-extra"].map(|end| format!("sha256-{hash}{end}")) {
            assert!(!image(MANIFESTS[0], Some(IMAGE_CONFIGS[0]), &[&tag]), "{tag}");
            // An image that somebody tagged so as well is an image.
            assert!(image(MANIFESTS[0], Some(IMAGE_CONFIGS[0]), &[&tag, "main-1"]), "{tag}");
        }
        for tag in [
            "sha256-abc",
            "sha256",
            &format!("sha256-{}g.sig", &hash[1..]),
            &format!("sha256-{hash}0"),
            "v1.sig",
        ] {
            assert!(image(MANIFESTS[0], Some(IMAGE_CONFIGS[0]), &[tag]), "{tag}");
        }
    }
}
