//! The files builds and pipelines hand images over in: `imageDetail.json`, `imagedefinitions.json`, `taskdef.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_core::ids::ContainerName;
use tidegate_core::reference::{Reference, ReferenceError};

use crate::decode;

/// `{"ImageURI": "…"}`.
pub const IMAGE_DETAIL: &str = "imageDetail.json";
/// `[{"name": "container", "imageUri": "…"}]`.
pub const IMAGE_DEFINITIONS: &str = "imagedefinitions.json";
/// A task definition whose image may be `<IMAGE1_NAME>`.
pub const TASK_DEFINITION: &str = "taskdef.json";
/// All of them.
pub const FILES: &[&str] = &[IMAGE_DETAIL, IMAGE_DEFINITIONS, TASK_DEFINITION];

/// An artifact that says nothing that can be followed; fits "cannot use the artifact: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum ArtifactError {
    /// A file cannot be read.
    #[error("{file}: {path}: {problem}")]
    Malformed {
        file: &'static str,
        /// The path of the field.
        path: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// An image in a file is no image.
    #[error("{file}: {problem}")]
    Image {
        file: &'static str,
        #[source]
        problem: ReferenceError,
    },
    /// Two files name different images.
    #[error("imageDetail.json names {detail}, imagedefinitions.json names {definitions}")]
    Disagree {
        detail: String,
        /// The other.
        definitions: String,
    },
    /// None of the files names an image.
    #[error("none of imageDetail.json, imagedefinitions.json and taskdef.json names an image; found {found}")]
    NoImage {
        /// The files found.
        found: String,
    },
}

/// Files of an artifact, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Deserialize)]
struct ImageDetail {
    #[serde(rename = "ImageURI")]
    image: String,
}

#[derive(Deserialize)]
struct ImageDefinition {
    name: String,
    #[serde(rename = "imageUri")]
    image: String,
}

/// The image an artifact names for a container.
pub fn image_of(files: &Files, container: &ContainerName) -> Result<Reference, ArtifactError> {
    let detail = files.get(IMAGE_DETAIL).map(|bytes| from_detail(bytes)).transpose()?;
    let definitions =
        files.get(IMAGE_DEFINITIONS).map(|bytes| from_definitions(bytes, container)).transpose()?;
    match (detail, definitions) {
        (Some(detail), Some(definitions)) if detail != definitions => {
            Err(ArtifactError::Disagree { detail: detail.to_string(), definitions: definitions.to_string() })
        }
        (Some(image), _) | (None, Some(image)) => Ok(image),
        (None, None) => from_task_definition(files, container)?.ok_or_else(|| {
            let found: Vec<&str> = files.keys().map(String::as_str).collect();
            let found = if found.is_empty() { "none of them".to_owned() } else { found.join(" and ") };
            ArtifactError::NoImage { found }
        }),
    }
}

/// The images `imagedefinitions.json` names for other containers.
pub fn other_images(
    files: &Files,
    container: &ContainerName,
) -> Result<BTreeMap<String, String>, ArtifactError> {
    let Some(bytes) = files.get(IMAGE_DEFINITIONS) else { return Ok(BTreeMap::new()) };
    let others = definitions(bytes)?.into_iter().filter(|entry| entry.name != container.as_str());
    Ok(others.map(|entry| (entry.name, entry.image)).collect())
}

/// The task definition an artifact carries.
pub fn task_definition(files: &Files) -> Result<Option<Map<String, Value>>, ArtifactError> {
    let Some(bytes) = files.get(TASK_DEFINITION) else { return Ok(None) };
    let document = decode::from_slice(bytes).map_err(malformed(TASK_DEFINITION))?;
    Ok(Some(document))
}

fn from_detail(bytes: &[u8]) -> Result<Reference, ArtifactError> {
    let detail: ImageDetail = decode::from_slice(bytes).map_err(malformed(IMAGE_DETAIL))?;
    reference(IMAGE_DETAIL, &detail.image)
}

fn definitions(bytes: &[u8]) -> Result<Vec<ImageDefinition>, ArtifactError> {
    decode::mark(bytes).map_err(malformed(IMAGE_DEFINITIONS))?;
    serde_json::from_slice(bytes).map_err(|error| {
        let problem = decode::clipped(error.to_string());
        ArtifactError::Malformed { file: IMAGE_DEFINITIONS, path: ".".into(), problem }
    })
}

fn from_definitions(bytes: &[u8], container: &ContainerName) -> Result<Reference, ArtifactError> {
    let list = definitions(bytes)?;
    let mut of_it = list.iter().filter(|entry| entry.name == container.as_str());
    match (of_it.next(), of_it.next()) {
        (Some(entry), None) => reference(IMAGE_DEFINITIONS, &entry.image),
        (found, _) => {
            let names: Vec<&str> = list.iter().map(|entry| entry.name.as_str()).take(10).collect();
            let much = if found.is_some() { "more than once" } else { "nowhere" };
            let problem = decode::clipped(format!(
                "container {container} (the policy's to.ecs.container) is named {much}; found {}",
                names.join(", ")
            ));
            Err(ArtifactError::Malformed { file: IMAGE_DEFINITIONS, path: "name".into(), problem })
        }
    }
}

fn from_task_definition(
    files: &Files,
    container: &ContainerName,
) -> Result<Option<Reference>, ArtifactError> {
    let Some(document) = task_definition(files)? else { return Ok(None) };
    let containers = document.get("containerDefinitions").and_then(Value::as_array);
    let of_it = containers.into_iter().flatten().find(|found| found["name"] == container.as_str());
    match of_it.and_then(|found| found["image"].as_str()) {
        None => Ok(None),
        Some(image) if is_placeholder(image) => Ok(None),
        Some(image) => reference(TASK_DEFINITION, image).map(Some),
    }
}

/// `<IMAGE1_NAME>`: to be replaced by the image the artifact names elsewhere.
pub fn is_placeholder(image: &str) -> bool {
    image.starts_with('<') && image.ends_with('>')
}

fn reference(file: &'static str, text: &str) -> Result<Reference, ArtifactError> {
    Reference::parse(text).map_err(|problem| ArtifactError::Image { file, problem })
}

fn malformed(file: &'static str) -> impl Fn(decode::Place) -> ArtifactError {
    move |place| ArtifactError::Malformed { file, path: place.path, problem: place.problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout:main-7";

    fn files(files: &[(&str, &str)]) -> Files {
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn image(of: &[(&str, &str)]) -> Result<String, String> {
        let container = ContainerName::new("app").unwrap();
        let found = image_of(&files(of), &container);
        found.map(|image| image.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_file_names_the_image_in_its_way() {
        let detail = format!(r#"{{"ImageURI":"{IMAGE}","ImageSizeInBytes":"1","ImageTags":["a"]}}"#);
        let definitions =
            format!(r#"[{{"name":"sidecar","imageUri":"x/y:z"}},{{"name":"app","imageUri":"{IMAGE}"}}]"#);
        let written = format!(r#"{{"containerDefinitions":[{{"name":"app","image":"{IMAGE}"}}]}}"#);
        let placeholder = r#"{"containerDefinitions":[{"name":"app","image":"<IMAGE1_NAME>"}]}"#;
        assert_eq!(image(&[(IMAGE_DETAIL, &detail)]).as_deref(), Ok(IMAGE));
        assert_eq!(image(&[(IMAGE_DEFINITIONS, &definitions)]).as_deref(), Ok(IMAGE));
        assert_eq!(image(&[(TASK_DEFINITION, &written)]).as_deref(), Ok(IMAGE));
        assert_eq!(image(&[(TASK_DEFINITION, placeholder), (IMAGE_DETAIL, &detail)]).as_deref(), Ok(IMAGE));
        assert_eq!(
            image(&[(IMAGE_DETAIL, &detail), (IMAGE_DEFINITIONS, &definitions)]).as_deref(),
            Ok(IMAGE)
        );
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        let definitions = format!(r#"[{{"name":"app","imageUri":"{IMAGE}"}}]"#);
        let detail = format!(r#"{{"ImageURI":"{IMAGE}"}}"#);
        let utf16 = |text: &str| -> Vec<u8> {
            [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
        };
        let container = ContainerName::new("app").unwrap();
        for (name, text) in [(IMAGE_DEFINITIONS, &definitions), (IMAGE_DETAIL, &detail)] {
            for (bytes, expected) in [
                ([b"\xEF\xBB\xBF", text.as_bytes()].concat(), "UTF-8 byte order mark"),
                (utf16(text), "UTF-16 byte order mark"),
                (utf16(text)[2..].to_vec(), "text in UTF-16"),
            ] {
                let error =
                    image_of(&Files::from([(name.to_owned(), bytes)]), &container).unwrap_err().to_string();
                assert!(
                    error.starts_with(name) && error.contains(expected) && error.contains("save it as UTF-8"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let other = r#"{"ImageURI":"shop/checkout:other"}"#;
        let definitions = format!(r#"[{{"name":"app","imageUri":"{IMAGE}"}}]"#);
        let twice = format!(r#"[{{"name":"app","imageUri":"{IMAGE}"}},{{"name":"app","imageUri":"x/y:z"}}]"#);
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "found none of them"),
            (&[(TASK_DEFINITION, r#"{"containerDefinitions":[]}"#)], "found taskdef.json"),
            (&[(IMAGE_DETAIL, "{}")], "imageDetail.json: .: missing field `ImageURI`"),
            (&[(IMAGE_DETAIL, "{\"ImageURI\":7}")], "imageDetail.json: ImageURI: invalid type"),
            (&[(IMAGE_DETAIL, r#"{"ImageURI":"nothing"}"#)], "neither a tag nor a digest"),
            (&[(IMAGE_DETAIL, "{\"ImageURI\":\"a/b:c\"")], "EOF"),
            (&[(IMAGE_DEFINITIONS, "{}")], "imagedefinitions.json"),
            (&[(IMAGE_DEFINITIONS, r#"[{"name":"web","imageUri":"x/y:z"}]"#)], "nowhere; found web"),
            (&[(IMAGE_DEFINITIONS, &twice)], "more than once"),
            (
                &[(IMAGE_DETAIL, other), (IMAGE_DEFINITIONS, &definitions)],
                "imageDetail.json names shop/checkout:other",
            ),
            (&[(TASK_DEFINITION, "[]")], "a JSON object"),
        ];
        for (of, expected) in cases {
            let error = image(of).unwrap_err();
            assert!(error.contains(expected), "{of:?}: {error}");
        }
        let bad = Files::from([(IMAGE_DETAIL.to_owned(), b"{\"ImageURI\":\"\xff\"}".to_vec())]);
        assert!(image_of(&bad, &ContainerName::new("app").unwrap()).is_err());
    }
}
