//! Which images run, by digest. A tag, a task definition, a revision are names of what runs; what is proven, returned to and compared
//! is the digest of every container, as AWS says it.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::StableImage;
use crate::ids::{ContainerName, Digest};
use crate::intent::{Deployed, EcsDeployed, Intent};
use crate::reference::{Parts, digest_of};
use crate::vocab::ecs::{RunningSeen, TaskDefinitionSeen};

/// What every container of a task definition runs: the digest that the task definition itself pins, or what was told.
pub fn stable_images(
    task_definition: &TaskDefinitionSeen,
    running: &RunningSeen,
) -> BTreeMap<ContainerName, StableImage> {
    let stable = |(container, reference): (&ContainerName, &String)| {
        let pinned = digest_of(reference).map(|digest| vec![digest]);
        let digests = pinned.unwrap_or_else(|| running.of(container).to_vec());
        (container.clone(), StableImage { reference: reference.clone(), digests })
    };
    task_definition.images.iter().map(stable).collect()
}

/// What a comparison of what runs with what should run says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// Every container runs an image it should.
    Same,
    /// A container runs another one: which, and what it should run.
    Differs(String),
    /// AWS told no digest of a container.
    Unknown(String),
}

/// Compares container by container. A container without a digest it should run is not compared.
pub fn compare(expected: &BTreeMap<ContainerName, Vec<Digest>>, running: &RunningSeen) -> Comparison {
    let mut unknown = None;
    for (container, allowed) in expected.iter().filter(|(_, allowed)| !allowed.is_empty()) {
        let found = running.of(container);
        if let Some(other) = found.iter().find(|digest| !allowed.contains(digest)) {
            return Comparison::Differs(format!(
                "container {container} runs {}, not {}",
                other.short(),
                allowed[0].short()
            ));
        }
        if found.is_empty() {
            unknown = Some(format!("AWS tells no digest of container {container}"));
        }
    }
    unknown.map_or(Comparison::Same, Comparison::Unknown)
}

/// Containers other than `container` that run the same repository's image.
pub fn sharing<'a>(
    container: &ContainerName,
    images: &'a BTreeMap<ContainerName, StableImage>,
) -> BTreeSet<&'a ContainerName> {
    let Some(released) = images.get(container) else { return BTreeSet::new() };
    let shares = |(name, image): &(&ContainerName, &StableImage)| {
        *name != container
            && (Parts::of(&image.reference).same_repository(Parts::of(&released.reference))
                || image.digests.iter().any(|digest| released.digests.contains(digest)))
    };
    images.iter().filter(shares).map(|(name, _)| name).collect()
}

/// The images by digest that a rollback release brings back: those its revision pins, and those that were seen to run then.
pub fn destination_images(
    intent: &Intent,
    destination: Option<&TaskDefinitionSeen>,
) -> BTreeMap<ContainerName, String> {
    let Some(EcsDeployed { images: ran, .. }) = intent.deployed().and_then(Deployed::ecs) else {
        return BTreeMap::new();
    };
    let by_digest = |(name, reference): (&ContainerName, &String)| {
        let known = if digest_of(reference).is_some() { Some(reference) } else { ran.get(name) };
        let known = known.filter(|reference| digest_of(reference).is_some())?;
        Some((name.clone(), known.clone()))
    };
    destination.map(|seen| &seen.images).into_iter().flatten().filter_map(by_digest).collect()
}

/// Every image a release may have to start, beside its own: what runs, and what a rollback release goes back to. By digest.
pub fn to_look_up(
    intent: &Intent,
    task_definition: &TaskDefinitionSeen,
    running: &RunningSeen,
    destination: Option<&TaskDefinitionSeen>,
) -> BTreeSet<String> {
    let stable = stable_images(task_definition, running).into_values().filter_map(|image| image.pinned());
    stable.chain(destination_images(intent, destination).into_values()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskDefinitionArn;
    use crate::reference::{image_of, pinned};

    fn digest(fill: char) -> Digest {
        Digest::new(format!("sha256:{}", String::from(fill).repeat(64))).unwrap()
    }

    fn container(name: &str) -> ContainerName {
        ContainerName::new(name).unwrap()
    }

    fn running(of: &[(&str, &[char])]) -> RunningSeen {
        let digests = of
            .iter()
            .map(|(name, fills)| (container(name), fills.iter().map(|fill| digest(*fill)).collect()));
        RunningSeen { digests: digests.collect() }
    }

    #[test]
    fn only_what_has_a_host_and_a_digest_is_an_image_of_a_registry() {
        assert_eq!(image_of(&pinned("nginx:1", &digest('a'))), None, "no host");
        let image = image_of(&pinned("registry.example:5000/shop/web:v1", &digest('a'))).unwrap();
        assert_eq!(
            (image.registry.as_str(), image.repository.as_str()),
            ("registry.example:5000", "shop/web")
        );
    }

    #[test]
    fn another_container_of_the_repository_is_found_by_whichever_host_it_names() {
        let image = |reference: &str| StableImage { reference: reference.into(), digests: Vec::new() };
        let images = BTreeMap::from([
            (container("app"), image("111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/web:v1")),
            (container("worker"), image("111122223333.dkr-ecr.eu-central-1.on.aws/shop/web:v1")),
            (container("other"), image("111122223333.dkr.ecr.us-east-1.amazonaws.com/shop/web:v1")),
            (container("log"), image("fluent:1")),
        ]);
        assert_eq!(sharing(&container("app"), &images), BTreeSet::from([&container("worker")]));
        assert!(sharing(&container("log"), &images).is_empty());
    }

    #[test]
    fn what_the_task_definition_pins_runs_even_when_nobody_tells_it() {
        let images = BTreeMap::from([
            (container("app"), format!("r.example/web@{}", digest('a'))),
            (container("log"), "fluent:1".to_owned()),
        ]);
        let arn = TaskDefinitionArn::new("arn:aws:ecs:r:1:task-definition/web:1").unwrap();
        let seen = TaskDefinitionSeen {
            arn,
            active: true,
            images,
            floating: BTreeSet::new(),
            platform: None,
            tags: 0,
        };
        let stable = stable_images(&seen, &RunningSeen::default());
        assert_eq!(stable[&container("app")].digests, [digest('a')]);
        assert_eq!(stable[&container("log")].pinned(), None);
        assert!(stable[&container("app")].is_pinned());
        // Of a tag counts what is told, and a task definition that names it has to be pinned.
        let stable = stable_images(&seen, &running(&[("log", &['c'])]));
        assert_eq!(stable[&container("log")].pinned(), Some(format!("fluent@{}", digest('c'))));
        assert!(!stable[&container("log")].is_pinned());
    }

    #[test]
    fn one_container_with_another_digest_is_a_difference_and_one_without_is_not_known() {
        let expected = BTreeMap::from([
            (container("app"), vec![digest('a'), digest('b')]),
            (container("log"), vec![digest('c')]),
            (container("x"), Vec::new()),
        ]);
        let same = running(&[("app", &['b', 'a']), ("log", &['c']), ("injected", &['f'])]);
        assert_eq!(compare(&expected, &same), Comparison::Same);
        let told = compare(&expected, &running(&[("app", &['a']), ("log", &['c', 'd'])]));
        assert_eq!(told, Comparison::Differs("container log runs dddddddddddd, not cccccccccccc".into()));
        let told = compare(&expected, &running(&[("app", &['a'])]));
        assert_eq!(told, Comparison::Unknown("AWS tells no digest of container log".into()));
        // A difference weighs more than what is not known.
        assert!(matches!(compare(&expected, &running(&[("log", &['d'])])), Comparison::Differs(_)));
    }
}
