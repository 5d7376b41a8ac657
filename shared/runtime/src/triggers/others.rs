//! The containers that an artifact names and a policy does not release: a file that asks for another image in one of them must not be
//! followed half.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ContainerName, RepositoryName, Tag};
use tidegate_core::ports::Images;
use tidegate_core::reference::{Parts, digest_of};

/// The images a task definition names, by container.
pub(crate) fn images_in(definition: &Value) -> BTreeMap<String, String> {
    let containers = definition["containerDefinitions"].as_array().into_iter().flatten();
    let named = |container: &Value| {
        Some((container["name"].as_str()?.to_owned(), container["image"].as_str()?.to_owned()))
    };
    containers.filter_map(named).collect()
}

/// Those of the wanted images that are not what runs in their container, each as a phrase.
pub(crate) async fn differing(
    images: &dyn Images,
    wanted: &BTreeMap<String, String>,
    running: &BTreeMap<String, String>,
) -> Result<Vec<String>, PortError> {
    let mut found = Vec::new();
    for (container, image) in wanted {
        match running.get(container) {
            Some(runs) if is_same(images, image, runs).await? => {}
            Some(runs) => found.push(format!("container {container} is to run {image} and runs {runs}")),
            None => {
                found.push(format!("container {container} is to run {image}, and there is none of that name"))
            }
        }
    }
    Ok(found)
}

/// Whether a file's image is the one that runs: written alike, the same digest, or a tag that means that digest now. Tidegate writes
/// ECR images by digest when it registers a task definition, so a file's tag is compared by what it means.
pub(crate) async fn is_same(images: &dyn Images, wanted: &str, runs: &str) -> Result<bool, PortError> {
    let (wants, has) = (digest_of(wanted), digest_of(runs));
    if wanted == runs || wants.is_some() && wants == has {
        return Ok(true);
    }
    let name = Parts::of(wanted);
    let (None, Some(has), true) = (wants, has, name.same_repository(Parts::of(runs))) else {
        return Ok(false);
    };
    let Some(registry) = name.registry else { return Ok(false) };
    let (Ok(repository), Ok(tag)) =
        (RepositoryName::new(name.repository), Tag::new(name.tag.unwrap_or("latest")))
    else {
        return Ok(false);
    };
    match images.resolve(registry, &repository, &tag).await {
        Ok(means) => Ok(means == Some(has)),
        // Of another registry, or one that may not be read: it cannot be said to be the same.
        Err(error) if !error.kind.is_transient() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file with the images of other containers written as the running definition writes them, where they are the same.
pub(crate) async fn written_alike(
    images: &dyn Images,
    mut file: Map<String, Value>,
    running: &Value,
    released: &[&ContainerName],
) -> Result<Map<String, Value>, PortError> {
    let runs = images_in(running);
    let containers = file.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for found in containers.into_iter().flatten() {
        let (Some(name), Some(image)) = (found["name"].as_str(), found["image"].as_str()) else { continue };
        let Some(written) =
            runs.get(name).filter(|_| !released.iter().any(|container| name == container.as_str()))
        else {
            continue;
        };
        if is_same(images, image, written).await? {
            found["image"] = written.as_str().into();
        }
    }
    Ok(file)
}
