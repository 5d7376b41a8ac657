//! The files builds and pipelines hand images over in: `imageDetail.json`, `imagedefinitions.json`, `taskdef.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_core::ids::ContainerName;
use tidegate_core::reference::{Reference, ReferenceError, Selection};

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

/// The images an artifact names for these containers, those that the policy releases.
pub fn images_of(files: &Files, containers: &[&ContainerName]) -> Result<Selection, ArtifactError> {
    let detail = files.get(IMAGE_DETAIL).map(|bytes| from_detail(bytes)).transpose()?;
    let definitions =
        files.get(IMAGE_DEFINITIONS).map(|bytes| from_definitions(bytes, containers)).transpose()?;
    match (detail, definitions) {
        // The one is among the several, or one of the files is of another build.
        (Some(detail), Some(definitions)) if !names(&definitions, &detail) => {
            Err(ArtifactError::Disagree { detail: detail.to_string(), definitions: definitions.to_string() })
        }
        (_, Some(images)) => Ok(images),
        (Some(image), None) => Ok(Selection::One(image)),
        (None, None) => from_task_definition(files, containers)?.ok_or_else(|| {
            let found: Vec<&str> = files.keys().map(String::as_str).collect();
            let found = if found.is_empty() { "none of them".to_owned() } else { found.join(" and ") };
            ArtifactError::NoImage { found }
        }),
    }
}

fn names(images: &Selection, one: &Reference) -> bool {
    match images {
        Selection::One(image) => image == one,
        Selection::Each(each) => each.values().any(|image| image == one),
    }
}

/// The images `imagedefinitions.json` names for containers that the policy does not release.
pub fn other_images(
    files: &Files,
    containers: &[&ContainerName],
) -> Result<BTreeMap<String, String>, ArtifactError> {
    let Some(bytes) = files.get(IMAGE_DEFINITIONS) else { return Ok(BTreeMap::new()) };
    let ours = |entry: &ImageDefinition| containers.iter().any(|container| entry.name == container.as_str());
    let others = definitions(bytes)?.into_iter().filter(|entry| !ours(entry));
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

fn from_definitions(bytes: &[u8], containers: &[&ContainerName]) -> Result<Selection, ArtifactError> {
    let list = definitions(bytes)?;
    let problem = |who: String, much: &str| {
        let names: Vec<&str> = list.iter().map(|entry| entry.name.as_str()).take(10).collect();
        let problem = decode::clipped(format!("{who} is named {much}; found {}", names.join(", ")));
        ArtifactError::Malformed { file: IMAGE_DEFINITIONS, path: "name".into(), problem }
    };
    let mut each = BTreeMap::new();
    for container in containers {
        let mut of_it = list.iter().filter(|entry| entry.name == container.as_str());
        match (of_it.next(), of_it.next()) {
            (Some(entry), None) => {
                each.insert((*container).clone(), reference(IMAGE_DEFINITIONS, &entry.image)?);
            }
            (Some(_), Some(_)) => {
                return Err(problem(
                    format!("container {container} (of the policy's to.ecs)"),
                    "more than once",
                ));
            }
            (None, _) => {}
        }
    }
    Selection::of(each, containers.len()).ok_or_else(|| {
        let who = match containers {
            [one] => format!("container {one} (the policy's to.ecs.container)"),
            several => {
                let names: Vec<&str> = several.iter().map(|one| one.as_str()).collect();
                format!("none of containers {} (the policy's to.ecs.containers)", names.join(" and "))
            }
        };
        if containers.len() == 1 { problem(who, "nowhere") } else { problem(who, "there") }
    })
}

fn from_task_definition(
    files: &Files,
    containers: &[&ContainerName],
) -> Result<Option<Selection>, ArtifactError> {
    let Some(document) = task_definition(files)? else { return Ok(None) };
    let written = document.get("containerDefinitions").and_then(Value::as_array);
    let mut each = BTreeMap::new();
    for container in containers {
        let of_it = written.into_iter().flatten().find(|found| found["name"] == container.as_str());
        match of_it.and_then(|found| found["image"].as_str()) {
            Some(image) if !is_placeholder(image) => {
                each.insert((*container).clone(), reference(TASK_DEFINITION, image)?);
            }
            Some(_) | None => {}
        }
    }
    Ok(Selection::of(each, containers.len()))
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
        let found = images_of(&files(of), &[&container]);
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
    fn imagedefinitions_is_followed_whole_where_the_policy_releases_several_containers() {
        let containers = ["app", "migrate", "proxy"].map(|name| ContainerName::new(name).unwrap());
        let containers: Vec<&ContainerName> = containers.iter().collect();
        let of = |list: &[(&str, &str)]| {
            let of = files(list);
            images_of(&of, &containers).map(|images| images.to_string()).map_err(|error| error.to_string())
        };
        let both = r#"[{"name":"app","imageUri":"a/b:1"},{"name":"proxy","imageUri":"c/d:2"},{"name":"log","imageUri":"e/f:3"}]"#;
        assert_eq!(of(&[(IMAGE_DEFINITIONS, both)]).as_deref(), Ok("a/b:1 in app, c/d:2 in proxy"));
        let others = other_images(&files(&[(IMAGE_DEFINITIONS, both)]), &containers).unwrap();
        assert_eq!(others, BTreeMap::from([("log".to_owned(), "e/f:3".to_owned())]));
        let detail = |image: &str| format!(r#"{{"ImageURI":"{image}"}}"#);
        assert!(of(&[(IMAGE_DEFINITIONS, both), (IMAGE_DETAIL, &detail("c/d:2"))]).is_ok());
        assert!(
            of(&[(IMAGE_DEFINITIONS, both), (IMAGE_DETAIL, &detail("c/d:9"))]).unwrap_err().contains("c/d:9")
        );
        assert_eq!(of(&[(IMAGE_DETAIL, &detail("a/b:1"))]).as_deref(), Ok("a/b:1"));
        let none = r#"[{"name":"log","imageUri":"e/f:3"}]"#;
        let told = of(&[(IMAGE_DEFINITIONS, none)]).unwrap_err();
        assert!(told.contains("none of containers app and migrate and proxy"), "{told}");
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
                let error = images_of(&Files::from([(name.to_owned(), bytes)]), &[&container])
                    .unwrap_err()
                    .to_string();
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
        assert!(images_of(&bad, &[&ContainerName::new("app").unwrap()]).is_err());
    }
}
