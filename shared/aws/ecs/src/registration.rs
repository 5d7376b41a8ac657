//! PURE: a task definition derived from another one as raw JSON: a candidate from the running one, or a revision pinned by digest.
//!
//! Only the images of the named containers differ. The derived document is recognised later by a hash kept as a tag on the revision, so
//! that one image is registered once, and a revision made by anyone else is never taken for ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ContainerName, ReleaseId};
use tidegate_core::vocab::ecs::TASK_DEFINITION_RESPONSE_ONLY;

/// The tag that holds the hash of the document the revision was registered from.
pub(crate) const SOURCE_TAG: &str = "tidegate:source";
/// The tag that holds the release that registered the revision.
const RELEASE_TAG: &str = "tidegate:release";
/// Our own tags begin with this.
const OUR_TAGS: &str = "tidegate:";

/// A task definition to register.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    document: Map<String, Value>,
    tags: Vec<(String, String)>,
    source: String,
}

impl Candidate {
    /// From an answer of `DescribeTaskDefinition` with tags.
    pub(crate) fn derive(
        described: &Value,
        images: &BTreeMap<ContainerName, String>,
    ) -> Result<Self, PortError> {
        let definition = described["taskDefinition"].as_object();
        let mut document =
            definition.cloned().ok_or_else(|| invalid("the answer holds no task definition"))?;
        document.retain(|field, _| !TASK_DEFINITION_RESPONSE_ONLY.contains(&field.as_str()));
        for (container, reference) in images {
            replace_image(&mut document, container, reference)?;
        }
        let tags = kept_tags(&described["tags"]);
        let source = hash(&document, &tags);
        Ok(Self { document, tags, source })
    }

    /// One that is `apart` is recognised as another revision than the one it was made of, though nothing differs.
    pub(crate) fn apart(self, apart: bool) -> Self {
        if apart { Self { source: format!("{}-drill", self.source), ..self } } else { self }
    }

    /// The hash the revision is recognised by.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The body of `RegisterTaskDefinition`.
    pub(crate) fn request(&self, release: &ReleaseId) -> Value {
        let ours = [(RELEASE_TAG, release.as_str()), (SOURCE_TAG, self.source())];
        let kept = self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let tags: Vec<Value> =
            kept.chain(ours).map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let mut request = self.document.clone();
        request.insert("tags".into(), tags.into());
        Value::Object(request)
    }
}

/// The hash a revision says it was registered from, in an answer of `DescribeTaskDefinition` with tags.
pub(crate) fn source_of(described: &Value) -> Option<String> {
    tags_of(&described["tags"]).find(|(key, _)| key == SOURCE_TAG).map(|(_, value)| value)
}

fn replace_image(
    document: &mut Map<String, Value>,
    container: &ContainerName,
    reference: &str,
) -> Result<(), PortError> {
    let containers = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    let containers = containers.map(Vec::as_mut_slice).unwrap_or_default();
    let there: Vec<&str> = containers.iter().filter_map(|found| found["name"].as_str()).collect();
    let Some(at) = containers.iter().position(|found| found["name"] == container.as_str()) else {
        return Err(invalid(format!(
            "the task definition has no container {container:?}, only: {}; correct `container` in the policy",
            there.join(", "),
            container = container.as_str(),
        )));
    };
    containers[at]["image"] = reference.into();
    Ok(())
}

/// The tags that go on. Those AWS sets itself (`aws:cloudformation:…`) cannot be set by anyone else; ours are set anew.
pub(crate) fn kept_tags(tags: &Value) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = tags_of(tags)
        .filter(|(key, _)| !key.to_ascii_lowercase().starts_with("aws:") && !key.starts_with(OUR_TAGS))
        .collect();
    kept.sort();
    kept
}

fn tags_of(tags: &Value) -> impl Iterator<Item = (String, String)> {
    tags.as_array().into_iter().flatten().filter_map(|tag| {
        let value = tag["value"].as_str().unwrap_or_default();
        Some((tag["key"].as_str()?.to_owned(), value.to_owned()))
    })
}

fn hash(document: &Map<String, Value>, tags: &[(String, String)]) -> String {
    let whole = canonical(&json!({ "document": document, "tags": tags }));
    hex::encode(Sha256::digest(whole.to_string()))
}

/// Without the order that means nothing: of fields, and of things that have names (environment variables, secrets, containers,
/// volumes), which ECS is known to return in another order than they were given. The order of words in a command is kept.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut sorted: Map<String, Value> =
                map.iter().map(|(field, value)| (field.clone(), canonical(value))).collect();
            sorted.sort_keys();
            Value::Object(sorted)
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(canonical).collect();
            if items.iter().all(|item| item["name"].is_string()) {
                items.sort_by_cached_key(Value::to_string);
            }
            Value::Array(items)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn invalid(message: impl Into<String>) -> PortError {
    PortError::new(ErrorKind::Invalid, "ecs:RegisterTaskDefinition", "TaskDefinitionNotDerivable", message)
}

#[cfg(test)]
pub(crate) mod tests {
    use tidegate_core::ids::{Digest, Image, RepositoryName};

    use super::*;

    pub(crate) fn image(fill: char) -> Image {
        Image {
            registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
            repository: RepositoryName::new("shop/checkout").unwrap(),
            digest: Digest::new(format!("sha256:{}", String::from(fill).repeat(64))).unwrap(),
            tag: None,
        }
    }

    pub(crate) fn app() -> ContainerName {
        ContainerName::new("app").unwrap()
    }

    /// The image in container `app`.
    pub(crate) fn images(image: &Image) -> BTreeMap<ContainerName, String> {
        BTreeMap::from([(app(), image.pinned())])
    }

    pub(crate) fn release() -> ReleaseId {
        ReleaseId::new("01j9zzzzzzzzzzzzzzzzzzzzzz").unwrap()
    }

    /// An answer of `DescribeTaskDefinition`, with everything AWS adds and two fields no SDK knows.
    pub(crate) fn described(revision: u32) -> Value {
        json!({
            "taskDefinition": {
                "taskDefinitionArn": format!("arn:aws:ecs:eu-central-1:111122223333:task-definition/web:{revision}"),
                "containerDefinitions": [
                    { "name": "proxy", "image": "envoy:1", "cpu": 0, "sidecarMode": "new in 2031" },
                    { "name": "app", "image": "old:1", "cpu": 256, "portMappings": [{ "containerPort": 8080 }] },
                ],
                "family": "web",
                "revision": revision,
                "volumes": [],
                "status": "ACTIVE",
                "requiresAttributes": [{ "name": "com.amazonaws.ecs.capability.ecr-auth" }],
                "compatibilities": ["EC2", "FARGATE"],
                "requiresCompatibilities": ["FARGATE"],
                "cpu": "256",
                "quantumCores": { "count": 2 },
                "registeredAt": 1_763_000_000.123,
                "registeredBy": "arn:aws:iam::111122223333:user/ops",
            },
            "tags": [
                { "key": "team", "value": "shop" },
                { "key": "aws:cloudformation:stack-name", "value": "web" },
                { "key": "tidegate:release", "value": "old" },
            ],
        })
    }

    #[test]
    fn only_the_containers_image_changes() {
        let request = Candidate::derive(&described(7), &images(&image('a'))).unwrap().request(&release());
        let mut expected = described(7)["taskDefinition"].clone();
        for field in TASK_DEFINITION_RESPONSE_ONLY {
            expected.as_object_mut().unwrap().remove(*field);
        }
        expected["containerDefinitions"][1]["image"] = image('a').pinned().into();
        let mut got = request.clone();
        got.as_object_mut().unwrap().remove("tags");
        assert_eq!(got, expected);
        assert_eq!(got["quantumCores"]["count"], 2);
        assert_eq!(got["containerDefinitions"][0]["sidecarMode"], "new in 2031");
        assert!(got.get("requiresCompatibilities").is_some() && got.get("compatibilities").is_none());
    }

    #[test]
    fn tags_are_kept_but_not_those_only_aws_may_set() {
        let candidate = Candidate::derive(&described(7), &images(&image('a'))).unwrap();
        let request = candidate.request(&release());
        assert_eq!(
            request["tags"],
            json!([
                { "key": "team", "value": "shop" },
                { "key": "tidegate:release", "value": "01j9zzzzzzzzzzzzzzzzzzzzzz" },
                { "key": "tidegate:source", "value": candidate.source() },
            ])
        );
        assert_eq!(source_of(&request).as_deref(), Some(candidate.source()));
    }

    #[test]
    fn the_hash_is_of_what_is_registered_and_of_nothing_else() {
        let source = |described: &Value, image: &Image| {
            Candidate::derive(described, &images(image)).unwrap().source().to_owned()
        };
        let first = source(&described(7), &image('a'));
        assert_eq!(first.len(), 64);
        assert_eq!(first, source(&described(8), &image('a')), "the revision does not count");
        assert_ne!(first, source(&described(7), &image('b')));
        let mut changed = described(7);
        changed["taskDefinition"]["quantumCores"]["count"] = 3.into();
        assert_ne!(first, source(&changed, &image('a')), "a field the SDK does not know counts");
        let mut reordered = described(7);
        reordered["taskDefinition"].as_object_mut().unwrap().sort_keys();
        assert_eq!(first, source(&reordered, &image('a')), "the order of fields does not");
        let mut moved = described(7);
        moved["taskDefinition"]["containerDefinitions"][1]["image"] = image('c').pinned().into();
        assert_eq!(first, source(&moved, &image('a')), "nor does the image that is replaced");
    }

    #[test]
    fn only_order_that_means_something_counts() {
        let source = |app: Value| {
            let mut described = described(7);
            for (field, value) in app.as_object().unwrap() {
                described["taskDefinition"]["containerDefinitions"][1][field] = value.clone();
            }
            Candidate::derive(&described, &images(&image('a'))).unwrap().source().to_owned()
        };
        let variables = |names: &[&str]| {
            let named = names.iter().map(|name| json!({ "name": name, "value": "x" }));
            source(json!({ "environment": named.collect::<Vec<_>>() }))
        };
        assert_eq!(variables(&["A", "B"]), variables(&["B", "A"]));
        assert_ne!(variables(&["A", "B"]), variables(&["A", "C"]));
        let command = |words: &[&str]| source(json!({ "command": words }));
        assert_ne!(command(&["serve", "fast"]), command(&["fast", "serve"]));
        let files = |paths: &[&str]| {
            let files = paths.iter().map(|path| json!({ "type": "s3", "value": path }));
            source(json!({ "environmentFiles": files.collect::<Vec<_>>() }))
        };
        assert_ne!(files(&["a.env", "b.env"]), files(&["b.env", "a.env"]), "the first file wins");
    }

    #[test]
    fn a_drills_candidate_is_another_revision_with_nothing_else_changed() {
        let derive = || Candidate::derive(&described(7), &images(&image('a'))).unwrap();
        let apart = derive().apart(true);
        assert_ne!(apart.source(), derive().source());
        assert_eq!(
            apart.source(),
            derive().apart(true).source(),
            "registered twice it is found the second time"
        );
        assert_eq!(derive().apart(false), derive());
        let containers =
            |candidate: &Candidate| candidate.request(&release())["containerDefinitions"].clone();
        assert_eq!(containers(&apart), containers(&derive()));
    }

    #[test]
    fn a_container_that_is_not_there_is_named_beside_those_that_are() {
        let container = ContainerName::new("web").unwrap();
        let images = BTreeMap::from([(container, image('a').pinned())]);
        let error = Candidate::derive(&described(7), &images).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert_eq!(
            error.message,
            "the task definition has no container \"web\", only: proxy, app; correct `container` in the policy"
        );
    }
}
