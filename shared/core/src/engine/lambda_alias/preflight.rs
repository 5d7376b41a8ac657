//! Preflight and the plan: whether the function can be released to by this alias, and what undoes it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::change::StableImage;
use crate::engine::Preflight;
use crate::engine::ecs_native::preflight::images::{in_registry, stable_stays};
use crate::engine::ecs_native::preflight::{OwnChecks, alarm_findings};
use crate::fault::PortError;
use crate::finding::{Finding, FindingCode};
use crate::ids::{FunctionVersion, LambdaAlias as At};
use crate::intent::{Deployed, Intent};
use crate::observation::Observation;
use crate::plan::{
    Executed, LambdaAlias, LambdaRollbackTarget, Outline, Plan, PlanRequest, Preparation, Prepared, Setup,
    Variant, Variants,
};
use crate::policy::Policy;
use crate::reference::{digest_of, image_of};
use crate::release::Release;
use crate::vocab::ecr::{ImageSeen, Platform};
use crate::vocab::lambda::{AliasSeen, Around, CodeSeen, CodeState, Update};

/// Nobody but Tidegate judges a version.
const OWN_CHECKS: OwnChecks = OwnChecks { beside: "nothing but you", in_alarm: "" };

/// What a plan is made from, once it has all been seen.
#[derive(Clone, Copy)]
struct Ground<'a> {
    at: &'a At,
    version: &'a FunctionVersion,
    stable: &'a CodeSeen,
    latest: &'a CodeSeen,
    around: &'a Around,
}

/// What was seen of the function.
enum Look<'a> {
    Ground(Ground<'a>),
    Blocked(Finding),
    CannotSee(Vec<PortError>),
}

/// Looks at everything that can be known before there is a plan, and makes it.
pub(in crate::engine) fn preflight(
    policy: &Policy,
    release: &Release,
    seen: &Observation,
    now: Timestamp,
) -> Preflight {
    let ground = match look(release, seen) {
        Look::Ground(ground) => ground,
        Look::Blocked(finding) => return Preflight::Blocked(vec![finding]),
        Look::CannotSee(errors) => return Preflight::CannotSee(errors),
    };
    let mut findings = function_findings(ground);
    findings.extend(image_findings(release, ground, seen));
    match &release.intent {
        Intent::Deploy | Intent::Drill => {
            findings.extend(next_version_findings(ground));
            findings.extend(alarm_findings(&policy.rollback.alarms, seen, OWN_CHECKS));
        }
        // Alarms in ALARM are the reason for going back, not against it; and so is what is wrong with the version that is left.
        Intent::Rollback { .. } => {
            let left = findings.iter_mut().filter(|finding| finding.code.is_about_what_is_left());
            left.for_each(|finding| finding.blocking = false);
            findings.extend(destination_finding(release, seen));
        }
    }
    if findings.iter().any(|finding| finding.blocking) {
        return Preflight::Blocked(findings);
    }
    match compile(policy, release, ground, seen, now) {
        Some(plan) => Preflight::Pass(Box::new(plan), findings),
        None => Preflight::CannotSee(Vec::new()),
    }
}

fn look<'a>(release: &'a Release, seen: &'a Observation) -> Look<'a> {
    let blocked = |code, problem: String| Look::Blocked(Finding::blocking(code, problem));
    let Some(at) = release.target.lambda() else {
        return blocked(FindingCode::FunctionMissing, format!("{} is no Lambda function", release.target));
    };
    let errors = unseen(seen);
    if !errors.is_empty() {
        return Look::CannotSee(errors);
    }
    let lambda = &seen.lambda;
    match (lambda.latest.known(), lambda.alias.known()) {
        (Some(None), _) => {
            blocked(FindingCode::FunctionMissing, format!("there is no Lambda function {}", at.function))
        }
        (Some(Some(_)), Some(None)) => {
            blocked(FindingCode::AliasMissing, format!("function {} has no alias {}", at.function, at.alias))
        }
        (Some(Some(latest)), Some(Some(alias))) => match routed(at, alias) {
            Err(finding) => Look::Blocked(finding),
            Ok(version) => {
                let stable = lambda.versions.known().and_then(|versions| versions.get(version));
                match (stable, lambda.around.known()) {
                    (Some(Some(stable)), Some(around)) => {
                        Look::Ground(Ground { at, version, stable, latest, around })
                    }
                    (Some(None), _) => blocked(
                        FindingCode::AliasMissing,
                        format!("version {version}, which {at} points at, does not exist"),
                    ),
                    (None | Some(Some(_)), _) => Look::CannotSee(Vec::new()),
                }
            }
        },
        (None, _) | (_, None) => Look::CannotSee(Vec::new()),
    }
}

fn unseen(seen: &Observation) -> Vec<PortError> {
    let lambda = &seen.lambda;
    let errors = [
        lambda.alias.error(),
        lambda.latest.error(),
        lambda.versions.error(),
        lambda.around.error(),
        seen.alarms.error(),
        seen.new_images.error(),
    ];
    let stored =
        seen.stored.values().filter_map(|stored| stored.error().filter(|error| error.kind.is_transient()));
    errors.into_iter().flatten().chain(stored).cloned().collect()
}

/// The one published version that an alias has to point at when a release begins.
fn routed<'a>(at: &At, alias: &'a AliasSeen) -> Result<&'a FunctionVersion, Finding> {
    let Some(version) = &alias.version else {
        let problem = format!("{at} points at $LATEST, which changes: there is no version to roll back to");
        return Err(Finding::blocking(FindingCode::AliasAtLatest, problem));
    };
    if alias.weights.is_empty() {
        return Ok(version);
    }
    let others = alias.weights.iter().map(|(version, share)| format!("{share}% to version {version}"));
    let problem = format!(
        "{at} points at version {version} and sends {} already: somebody shifts its traffic",
        others.collect::<Vec<_>>().join(", ")
    );
    Err(Finding::blocking(FindingCode::AliasHasWeights, problem))
}

/// What is wrong with the function, whatever is released.
fn function_findings(ground: Ground<'_>) -> Vec<Finding> {
    let Ground { at, version, stable, latest, around } = ground;
    let mut findings = Vec::new();
    if latest.package != "Image" || stable.package != "Image" {
        let problem = format!("function {} is made from a package of type {}", at.function, latest.package);
        findings.push(Finding::blocking(FindingCode::NoImageFunction, problem));
    }
    match (&latest.update, &latest.state) {
        (Update::UnderWay, _) | (_, CodeState::Pending) => {
            let problem = format!("a change of function {} is under way", at.function);
            findings.push(Finding::blocking(FindingCode::FunctionBusy, problem));
        }
        (Update::Failed(reason), _) | (_, CodeState::Failed(reason)) => {
            let problem = format!("the last change of function {} failed ({reason})", at.function);
            findings.push(Finding::note(FindingCode::FunctionUnwell, problem));
        }
        (Update::Done, CodeState::Ready) => {}
    }
    if let CodeState::Failed(reason) = &stable.state {
        let problem = format!("version {version}, which {at} points at, cannot be invoked ({reason})");
        findings.push(Finding::blocking(FindingCode::StableVersionUnwell, problem));
    }
    if let Some(count) = around.provisioned {
        let problem = format!(
            "{count} environments are provisioned for the alias {at}, and AWS takes no weights on an alias that has provisioned concurrency"
        );
        findings.push(Finding::blocking(FindingCode::AliasIsProvisioned, problem));
    }
    if stable.snap_start || latest.snap_start {
        let problem = "SnapStart is on; AWS Lambda has none for functions made from images".to_owned();
        findings.push(Finding::note(FindingCode::SnapStartIsOn, problem));
    }
    if !around.past_alias.is_empty() {
        let problem = format!(
            "{} send events to function {} itself and not to the alias: they get the new image as soon as it is published, and no share is kept",
            around.past_alias.join(", "),
            at.function
        );
        findings.push(Finding::note(FindingCode::EventsPassAlias, problem));
    }
    findings
}

/// Both versions of an alias with weights have the same role and the same dead-letter queue (AWS Lambda developer guide, weighted aliases).
const ALIKE: [&str; 2] = ["Role", "DeadLetterConfig"];

/// A new version takes over what `$LATEST` is set to, not what the stable version is.
fn next_version_findings(ground: Ground<'_>) -> Vec<Finding> {
    let differing = ground.stable.differing(ground.latest);
    let (version, at) = (ground.version, ground.at);
    let mut findings = Vec::new();
    let unlike: Vec<&str> = ALIKE.into_iter().filter(|name| differing.contains(name)).collect();
    if !unlike.is_empty() {
        let problem = format!(
            "$LATEST has another {} than version {version}, and AWS takes both only where the two are alike in it",
            unlike.join(" and ")
        );
        findings.push(Finding::blocking(FindingCode::VersionsUnlike, problem));
    }
    let others: Vec<&str> = differing.into_iter().filter(|name| !ALIKE.contains(name)).collect();
    if !others.is_empty() {
        let problem = format!(
            "the new version also takes over what was changed of function {} since version {version}: {}",
            at.function,
            others.join(", ")
        );
        findings.push(Finding::note(FindingCode::SettingsGoAlong, problem));
    }
    findings
}

/// The image that is released, and the one a rollback needs.
fn image_findings(release: &Release, ground: Ground<'_>, seen: &Observation) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(image) = release.change.single() else { return findings };
    let (runs, version) = (ground.stable.digest(), ground.version);
    let brings = seen.new_images.known().and_then(|found| found.get(&image.digest)?.as_ref());
    let digests = brings.map_or_else(|| vec![image.digest.clone()], ImageSeen::digests);
    let is_running = runs.as_ref().is_some_and(|runs| digests.contains(runs));
    match (&release.intent, is_running) {
        (Intent::Deploy, true) => findings.push(Finding::blocking(
            FindingCode::AlreadyRunning,
            format!("{} already runs {} as version {version}", ground.at, image.digest.short()),
        )),
        (Intent::Drill, _) => findings.push(Finding::blocking(
            FindingCode::NoSecondVersion,
            "AWS Lambda publishes no second version of what was published already, so there is nothing to roll back from"
                .to_owned(),
        )),
        (Intent::Deploy | Intent::Rollback { .. }, _) => {}
    }
    let region = crate::registry::Registry::parse(&image.registry).as_ecr().map(|ecr| ecr.region.clone());
    if region.as_ref().is_some_and(|region| *region != release.target.region) {
        let problem = format!(
            "{} is in {}, and AWS Lambda pulls only from its own region, {}",
            image.digest.short(),
            region.as_ref().map_or("another region", |region| region.as_str()),
            release.target.region
        );
        findings.push(Finding::blocking(FindingCode::ImageElsewhere, problem));
    }
    let platform = ground.latest.architecture.as_deref().map(platform);
    findings.extend(in_registry(
        image,
        seen,
        platform.as_ref(),
        "the function runs on",
        "it could not start",
    ));
    if brings.is_some_and(|seen| seen.digests().len() > 1) {
        let problem =
            format!("{} is an index of several images, which AWS Lambda does not take", image.digest.short());
        findings.push(Finding::blocking(FindingCode::ImageIsIndex, problem));
    }
    match (&ground.stable.image, &runs) {
        (Some(pinned), Some(runs)) => {
            findings.extend(stable_stays(&format!("version {version}"), pinned, &seen.stored));
            let quarantined = seen.head.as_ref().and_then(|head| head.quarantine.get(runs));
            findings.extend(quarantined.filter(|_| release.intent == Intent::Deploy).map(|entry| {
                let problem = format!(
                    "version {version} runs {}, which was rolled back by release {} ({}): it is nothing to roll back to",
                    runs.short(),
                    entry.release.short(),
                    entry.why
                );
                Finding::blocking(FindingCode::StableIsQuarantined, problem)
            }));
        }
        (_, _) => {
            let problem = format!(
                "AWS tells no digest of the image that version {version} runs, so a rollback could not be proven to bring it again"
            );
            findings.push(Finding::blocking(FindingCode::RunningDigestUnknown, problem));
        }
    }
    findings
}

/// As images name it.
fn platform(architecture: &str) -> Platform {
    let architecture = if architecture == "x86_64" { "amd64" } else { architecture };
    Platform { os: "linux".to_owned(), architecture: architecture.to_owned() }
}

/// The version that a rollback release goes to.
fn destination_finding(release: &Release, seen: &Observation) -> Option<Finding> {
    let deployed = release.intent.deployed().and_then(Deployed::lambda)?;
    let versions = seen.lambda.versions.known()?;
    let problem = match versions.get(&deployed.version)? {
        None => format!("version {}, which that release published, was deleted", deployed.version),
        Some(code) if code.digest() != digest_of(&deployed.image) => {
            format!("version {} does not run what that release brought", deployed.version)
        }
        Some(_) => return None,
    };
    Some(Finding::blocking(FindingCode::DestinationMissing, problem))
}

/// What undoes a release that is started on this ground; `None` where that is not known, which preflight has refused.
fn rollback_target(release: &Release, ground: Ground<'_>) -> Option<LambdaRollbackTarget> {
    let Ground { at, version, stable, latest, .. } = ground;
    let container = release.change.containers().next()?.clone();
    let image =
        StableImage { reference: stable.image.clone()?, digests: stable.digest().into_iter().collect() };
    Some(LambdaRollbackTarget {
        version: version.clone(),
        name: format!("{}:{version}", at.function),
        images: BTreeMap::from([(container, image)]),
        latest: latest.image.clone()?,
        alias: at.to_string(),
    })
}

fn compile(
    policy: &Policy,
    release: &Release,
    ground: Ground<'_>,
    seen: &Observation,
    now: Timestamp,
) -> Option<Plan> {
    let rollback_target = rollback_target(release, ground)?;
    let request = PlanRequest { intent: &release.intent, bypass_freeze: release.bypass_freeze.as_deref() };
    let brings_back = release.intent.deployed().and_then(Deployed::lambda);
    let change = release.change.clone();
    let digests = |digest: &crate::ids::Digest| {
        let found = seen.new_images.known().and_then(|found| found.get(digest)?.as_ref());
        found.map_or_else(|| vec![digest.clone()], ImageSeen::digests)
    };
    let runs_as = change.iter().map(|(name, image)| (name.clone(), digests(&image.digest))).collect();
    let executed = |version: Option<FunctionVersion>| Some(Executed { alias: ground.at.clone(), version });
    let function = ground.at.function.to_string();
    let variants = Variants {
        candidate: Variant {
            behind: Vec::new(),
            digests: change.iter().map(|(name, image)| (name.clone(), image.digest.clone())).collect(),
            service: function.clone(),
            executed: executed(brings_back.map(|deployed| deployed.version.clone())),
        },
        stable: Variant {
            behind: Vec::new(),
            digests: change
                .containers()
                .filter_map(|name| Some((name.clone(), ground.stable.digest()?)))
                .collect(),
            service: function,
            executed: executed(Some(ground.version.clone())),
        },
    };
    let pinned = |(name, image): (&crate::ids::ContainerName, &crate::ids::Image)| {
        let kept =
            brings_back.map(|deployed| deployed.image.clone()).filter(|image| image_of(image).is_some());
        (name.clone(), kept.unwrap_or_else(|| image.pinned()))
    };
    let setup =
        Setup::LambdaAlias(LambdaAlias { images: change.iter().map(pinned).collect(), rollback_target });
    let preparations = if brings_back.is_some() { Vec::new() } else { vec![Preparation::Candidate] };
    let outline = Outline::new(policy, request, |_| variants);
    Some(outline.plan(&release.target, Prepared { change, runs_as, preparations, setup }, now))
}

/// What a second look, directly before anything is changed, says about a plan.
pub(super) enum Again {
    /// Everything is as it was.
    AsPlanned,
    /// Something is not, so the plan is made anew: what.
    Changed(Vec<String>),
    /// Not everything could be seen; look again.
    CannotSee(Vec<PortError>),
}

/// Looks again at everything a plan was made from.
pub(super) fn check_again(plan: &Plan, setup: &LambdaAlias, release: &Release, seen: &Observation) -> Again {
    let ground = match look(release, seen) {
        Look::Ground(ground) => ground,
        Look::Blocked(finding) => return Again::Changed(vec![finding.problem]),
        Look::CannotSee(errors) => return Again::CannotSee(errors),
    };
    let before = &setup.rollback_target;
    let mut changes = Vec::new();
    if *ground.version != before.version {
        changes.push(format!("{} points at version {}, not {}", ground.at, ground.version, before.version));
    }
    if plan.stages.contains(&crate::plan::Stage::Prepare { what: Preparation::Candidate })
        && ground.latest.image.as_ref() != Some(&before.latest)
    {
        changes.push("$LATEST runs another image".to_owned());
    }
    let blocking = function_findings(ground).into_iter().filter(|finding| finding.blocking);
    changes.extend(blocking.map(|finding| finding.problem));
    if changes.is_empty() { Again::AsPlanned } else { Again::Changed(changes) }
}
