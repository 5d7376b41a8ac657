//! The images: the one that is released, those that run and would have to run again, and those of a revision that is gone back to.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Change, StableImage};
use crate::engine::ecs_native::ground::Ground;
use crate::engine::ecs_native::running::{destination_images, sharing, stable_images};
use crate::fault::PortError;
use crate::finding::{Finding, FindingCode};
use crate::ids::{ContainerName, Digest, Image};
use crate::intent::{Deployed, Intent};
use crate::observation::Observation;
use crate::reference::digest_of;
use crate::seen::Seen;
use crate::vocab::ecr::{ImageSeen, Platform, Stored};

/// What could not be seen and has to be: of the containers that are released everything, of the others whatever may be seen later. A
/// repository of somebody else's that may not be read stays unread.
pub(super) fn unseen(change: &Change, intent: &Intent, ground: Ground<'_>) -> Vec<PortError> {
    let running = stable_images(ground.task_definition, ground.running);
    let of = |container: &ContainerName| running.get(container).and_then(StableImage::pinned);
    let released: Vec<String> = change.containers().filter_map(of).collect();
    let needed = |reference: &String| {
        intent.goes_forward() && released.contains(reference)
            || change.images().iter().any(|image| *reference == image.pinned())
    };
    let errors = ground.stored.iter().filter_map(|(reference, seen)| Some((reference, seen.error()?)));
    errors
        .filter(|(reference, error)| needed(reference) || error.kind.is_transient())
        .map(|(_, error)| error.clone())
        .collect()
}

/// The images that are released: new, there, and of the right platform.
pub(super) fn released(
    change: &Change,
    intent: &Intent,
    ground: Ground<'_>,
    seen: &Observation,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let running = stable_images(ground.task_definition, ground.running);
    let runs = |(container, image): (&ContainerName, &Image)| {
        let known = ground.released_digests(image);
        let runs = running.get(container).map_or(&[][..], |stable| &stable.digests);
        !runs.is_empty() && runs.iter().all(|digest| known.contains(digest))
    };
    let names: Vec<&str> = change.images().into_iter().map(|image| image.digest.short()).collect();
    let names = names.join(" and ");
    match (intent, change.iter().all(runs)) {
        (Intent::Deploy, true) => findings.push(Finding::blocking(
            FindingCode::AlreadyRunning,
            format!("the service already runs {names}"),
        )),
        // The ledger's word is not enough: users would be sent to a version that somebody has replaced.
        (Intent::Drill, false) => findings.push(Finding::blocking(
            FindingCode::NotRunning,
            format!("a drill brings what runs, and the service does not run {names}"),
        )),
        (Intent::Deploy | Intent::Rollback { .. }, false)
        | (Intent::Drill | Intent::Rollback { .. }, true) => {}
    }
    findings.extend(change.images().into_iter().flat_map(|image| there(image, ground, seen)));
    findings
}

/// One image: in its registry, and of the right platform.
fn there(image: &Image, ground: Ground<'_>, seen: &Observation) -> Vec<Finding> {
    let wanted = ground.task_definition.platform.as_ref();
    in_registry(image, seen, wanted, "the task definition runs on", "no task could start")
}

/// The same for whatever `runs` on a platform, and what would follow if the image is of another.
pub(in crate::engine) fn in_registry(
    image: &Image,
    seen: &Observation,
    wanted: Option<&Platform>,
    runs: &str,
    follows: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let found = match &seen.new_images {
        Seen::Known(found) => found.get(&image.digest).map(Option::as_ref),
        Seen::NotAsked | Seen::Unknown(_) => None,
    };
    match found {
        Some(None) => findings.push(Finding::blocking(
            FindingCode::ImageMissing,
            format!("{} is not in {}", image.digest.short(), image.repository),
        )),
        Some(Some(new)) if new.archived => findings.push(Finding::blocking(
            FindingCode::ImageArchived,
            format!("{} is archived; it cannot be pulled", image.digest.short()),
        )),
        Some(Some(new)) => findings.extend(platform(new, wanted, runs, follows)),
        None => {}
    }
    findings
}

/// A candidate that no task can start is found before it is tried for half an hour.
fn platform(new: &ImageSeen, wanted: Option<&Platform>, runs: &str, follows: &str) -> Option<Finding> {
    let wanted = wanted?;
    let parts = match &new.parts {
        Seen::Known(parts) => parts,
        Seen::Unknown(error) => {
            return Some(Finding::note(
                FindingCode::PlatformUnproven,
                format!("the platforms of {} could not be read: {error}", new.digest.short()),
            ));
        }
        Seen::NotAsked => return None,
    };
    let built: Vec<_> = parts.iter().filter_map(|part| part.platform.as_ref()).collect();
    if built.is_empty() || built.contains(&wanted) {
        return None;
    }
    let names: Vec<String> = built.iter().map(ToString::to_string).collect();
    Some(Finding::blocking(
        FindingCode::WrongPlatform,
        format!(
            "{} is built for {}, and {runs} {wanted}: {follows}",
            new.digest.short(),
            names.join(" and ")
        ),
    ))
}

/// What runs, container by container: it is what a rollback has to bring again.
pub(super) fn rollback_target(change: &Change, ground: Ground<'_>) -> Vec<Finding> {
    let images = stable_images(ground.task_definition, ground.running);
    images
        .iter()
        .flat_map(|(name, image)| stable(name, image, change.image(name).is_some(), ground))
        .collect()
}

fn stable(name: &ContainerName, image: &StableImage, released: bool, ground: Ground<'_>) -> Vec<Finding> {
    let Some(pinned) = image.pinned() else {
        let problem = format!(
            "AWS tells no digest of the image {} that container {name} runs, so a rollback could not be proven to bring it again",
            image.reference
        );
        let blocks = released && ground.service.desired > 0;
        let make = if blocks { Finding::blocking } else { Finding::note };
        return vec![make(FindingCode::RunningDigestUnknown, problem)];
    };
    let mut findings = Vec::new();
    if let [first, second, ..] = image.digests.as_slice() {
        let problem = format!(
            "the tasks of the service run different images in container {name}: {} and {}",
            first.short(),
            second.short()
        );
        let make = if released { Finding::blocking } else { Finding::note };
        findings.push(make(FindingCode::RunningImagesDiffer, problem));
    }
    findings.extend(stays(name, &pinned, ground));
    findings
}

/// Whether the image is there and will stay for as long as a rollback may need it.
fn stays(name: &ContainerName, pinned: &str, ground: Ground<'_>) -> Option<Finding> {
    stable_stays(&format!("container {name}"), pinned, ground.stored)
}

/// The same for whatever runs it: `container app`, `version 41`.
pub(in crate::engine) fn stable_stays(
    name: &str,
    pinned: &str,
    stored: &BTreeMap<String, Seen<Stored>>,
) -> Option<Finding> {
    let digest = digest_of(pinned);
    let short = digest.as_ref().map_or(pinned, |digest| digest.short());
    match stored.get(pinned)? {
        Seen::Known(Stored::Gone) => Some(Finding::blocking(
            FindingCode::StableImageMissing,
            format!(
                "the image {short} that {name} runs is gone from ECR ({pinned}): a rollback could not start it again"
            ),
        )),
        Seen::Known(Stored::There(old)) if old.archived => Some(Finding::blocking(
            FindingCode::StableImageArchived,
            format!("the image {short} that {name} runs is archived: it could not be pulled again"),
        )),
        Seen::Known(Stored::There(old)) if old.expiring => Some(Finding::blocking(
            FindingCode::StableImageExpiring,
            format!(
                "the image {short} that {name} runs is about to be expired by the repository's lifecycle policy"
            ),
        )),
        Seen::Known(Stored::Elsewhere) => Some(Finding::note(
            FindingCode::StableImageElsewhere,
            format!("the image of {name} ({pinned}) is not in ECR, so it was not proven to be there"),
        )),
        Seen::Unknown(error) => Some(Finding::note(
            FindingCode::StableImageUnreadable,
            format!("the image of {name} ({pinned}) could not be looked up: {error}"),
        )),
        Seen::Known(Stored::There(_)) | Seen::NotAsked => None,
    }
}

/// Other containers of the task that run an image of the same repository stay as they are, unless the policy names them.
pub(super) fn others(change: &Change, ground: Ground<'_>) -> Vec<Finding> {
    let images = stable_images(ground.task_definition, ground.running);
    let sharing: BTreeSet<&str> = change
        .containers()
        .flat_map(|container| sharing(container, &images))
        .filter(|other| change.image(other).is_none())
        .map(ContainerName::as_str)
        .collect();
    if sharing.is_empty() {
        return Vec::new();
    }
    vec![Finding::note(
        FindingCode::OtherContainersStay,
        format!(
            "only container {} gets the new image; {} of the same task runs an image of the same repository and stays at the one it runs",
            names(change.containers().map(ContainerName::as_str)),
            names(sharing.into_iter())
        ),
    )]
}

fn names<'a>(of: impl Iterator<Item = &'a str>) -> String {
    of.collect::<Vec<_>>().join(" and ")
}

/// The revision that a rollback release goes to: it is there, or can be registered again, and all its images can be pulled.
pub(super) fn destination(
    change: &Change,
    intent: &Intent,
    ground: Ground<'_>,
    seen: &Observation,
) -> Vec<Finding> {
    let Some(deployed) = intent.deployed().and_then(Deployed::ecs) else { return Vec::new() };
    let task_definition = &deployed.task_definition;
    let Some(destination) = ground.destination else {
        return match &seen.ecs.destination {
            Seen::Known(None) => vec![Finding::blocking(
                FindingCode::DestinationMissing,
                format!(
                    "task definition {}, which that release ran with {}, has been deleted",
                    task_definition.short(),
                    names(change.digests().into_iter().map(Digest::as_str))
                ),
            )],
            Seen::Known(Some(_)) | Seen::NotAsked | Seen::Unknown(_) => Vec::new(),
        };
    };
    let mut findings = Vec::new();
    if !destination.active {
        findings.push(Finding::note(
            FindingCode::DestinationInactive,
            format!(
                "task definition {} is not ACTIVE; the same document is registered again",
                task_definition.short()
            ),
        ));
    }
    let images = destination_images(intent, Some(destination));
    findings.extend(images.iter().filter_map(|(name, reference)| pulled(name, reference, ground)));
    findings
}

fn pulled(name: &ContainerName, reference: &str, ground: Ground<'_>) -> Option<Finding> {
    let problem = match ground.stored.get(reference)? {
        Seen::Known(Stored::Gone) => "is gone from ECR",
        Seen::Known(Stored::There(seen)) if seen.archived => {
            "is archived in ECR, where Amazon ECS cannot pull it"
        }
        Seen::Known(Stored::There(_) | Stored::Elsewhere) | Seen::NotAsked | Seen::Unknown(_) => return None,
    };
    Some(Finding::blocking(
        FindingCode::DestinationImageMissing,
        format!(
            "the image that container {name} ran then ({reference}) {problem}: no task of that version could start"
        ),
    ))
}
