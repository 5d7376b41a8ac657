//! What "roll back" means for a service right now: chosen from what is live, what was promoted, and what ended last. The choice is data, so
//! that it can be shown and confirmed before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::actor::Actor;
use crate::admission::{Current, ReleaseRequest, creation, new_release, superseded, turning_back};
use crate::change::Change;
use crate::commit::{Commit, ServiceWrite};
use crate::ids::{ContainerName, Digest, ReleaseId, ServiceName, Target};
use crate::intent::Intent;
use crate::outcome::Outcome;
use crate::release::{Phase, Release};
use crate::service::{Promoted, Quarantined, ServiceRecord};

/// What the service runs, as far as it could be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Running {
    /// These images, by container; one whose digest AWS does not tell is missing.
    Digests(BTreeMap<ContainerName, Digest>),
    /// It could not be seen, and why. Then the ledger's word has to do: a rollback never waits for what cannot be read.
    Unseen(String),
}

/// Everything the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The service's row, and its open releases.
    pub current: Current<'a>,
    /// The newest release that has ended after it had become the active one, and that was not superseded.
    pub last: Option<&'a Release>,
    /// What runs.
    pub running: &'a Running,
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackTo<'a> {
    /// To the stable version: the release under way is rolled back; without one, the version promoted before it comes again.
    Before,
    /// To this promoted release: its id, the beginning of its id, or its tag.
    To(&'a str),
}

/// What a rollback does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Choice {
    /// The release under way is rolled back.
    UnderWay { release: ReleaseId, change: Box<Change> },
    /// A new release brings back what was promoted earlier.
    Earlier {
        /// What is left.
        from: Leaving,
        /// What comes back.
        to: Promoted,
        /// A release that waits and will be superseded.
        supersedes: Option<ReleaseId>,
    },
}

/// The version a rollback leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// What it runs in each container.
    pub digests: BTreeMap<ContainerName, Digest>,
    /// The release that brought it; `None` when it was deployed outside Tidegate.
    pub release: Option<ReleaseId>,
    /// Its name for people.
    pub label: String,
    /// Why this is the ledger's word rather than what was seen.
    pub unseen: Option<String>,
}

/// Why there is no rollback, or which words ask for one. Times are data, because only who shows them knows the reader's clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum NoRollback {
    /// The service is already where a rollback would bring it: leaving this version, too, has to be said.
    #[error("{service} already runs {runs}: {}", last.as_ref().map_or_else(|| "another version was promoted after it".to_owned(), |last| last.told()))]
    AlreadyThere {
        service: ServiceName,
        /// What runs, for people.
        runs: String,
        /// What ended last, which is why.
        last: Option<Box<Ended>>,
        /// Where a rollback would go from here.
        to: Option<Box<Promoted>>,
    },
    /// A rollback release has been made and waits for its turn.
    #[error("rollback release {release} to {label} already waits to start", release = release.short(), label = change.label())]
    Waits {
        release: ReleaseId,
        /// What it brings back.
        change: Box<Change>,
    },
    /// Another release is under way, so nothing earlier can be brought back.
    #[error("release {} of {} is under way", release.short(), change.label())]
    Busy { release: ReleaseId, change: Box<Change> },
    /// The release under way is already being rolled back.
    #[error("release {} of {} is already being rolled back", release.short(), change.label())]
    AlreadyBack { release: ReleaseId, change: Box<Change> },
    /// There is nothing to roll back to.
    #[error("there is nothing to roll back to: {}", nothing(quarantined))]
    NothingBefore {
        /// What would have been there, but was rolled back itself: newest first.
        quarantined: Vec<(Promoted, Quarantined)>,
    },
    /// What was named is not a promoted release.
    #[error("no release {named:?} was promoted to {service}; {}", known(promoted))]
    NotPromoted {
        service: ServiceName,
        named: String,
        /// What was promoted, newest first.
        promoted: Vec<Promoted>,
    },
    /// What was named means several images.
    #[error("{named:?} means several promoted releases: {}", list(among))]
    Several {
        named: String,
        /// These.
        among: Vec<Promoted>,
    },
    /// What was named runs.
    #[error("{service} already runs {label}")]
    Runs {
        service: ServiceName,
        /// Its name for people.
        label: String,
    },
    /// What was named was rolled back itself.
    #[error("{} was rolled back itself ({})", to.change.label(), quarantined.why)]
    Quarantined {
        /// What was named.
        to: Box<Promoted>,
        /// Why it was rolled back.
        quarantined: Quarantined,
    },
}

/// How the last release ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Ended {
    pub release: ReleaseId,
    /// Its image, for people.
    pub label: String,
    /// `was rolled back`, `was cancelled`, `failed`, `rolled main-3 back`.
    pub did: String,
    pub at: Timestamp,
    /// Why, when a cause is known.
    pub why: Option<String>,
}

impl Ended {
    fn of(release: &Release) -> Option<Self> {
        let Phase::Ended { outcome, at, .. } = &release.phase else { return None };
        let did = match (outcome, &release.intent) {
            (Outcome::Promoted, Intent::Deploy | Intent::Drill) | (Outcome::Superseded { .. }, _) => {
                return None;
            }
            (Outcome::Promoted, Intent::Rollback { .. }) => "was brought back",
            (Outcome::RolledBack { .. }, _) => "was rolled back",
            (Outcome::Cancelled { .. }, _) => "was cancelled",
            (Outcome::Failed { .. }, _) => "failed",
        };
        let why = release.cause().map(ToString::to_string);
        let label = release.change.label();
        Some(Self { release: release.id.clone(), label, did: did.into(), at: *at, why })
    }

    /// `main-9 was rolled back at 2026-11-26T11:58:53Z`.
    fn told(&self) -> String {
        format!("{} {} at {}", self.label, self.did, self.at)
    }
}

fn nothing(quarantined: &[(Promoted, Quarantined)]) -> String {
    match quarantined {
        [] => "no other version was promoted before".to_owned(),
        [(promoted, why), ..] => {
            format!(
                "{} was promoted before, but was rolled back itself ({})",
                promoted.change.label(),
                why.why
            )
        }
    }
}

fn known(promoted: &[Promoted]) -> String {
    if promoted.is_empty() { "nothing was".to_owned() } else { format!("these were: {}", list(promoted)) }
}

fn list(promoted: &[Promoted]) -> String {
    let shown: Vec<String> = promoted
        .iter()
        .take(5)
        .map(|one| format!("{} ({})", one.change.label(), one.release.short()))
        .collect();
    let more = promoted.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
}

/// Chooses what a rollback does.
pub fn choose(
    seen: Situation<'_>,
    service: &ServiceName,
    wanted: RollbackTo<'_>,
) -> Result<Choice, NoRollback> {
    let head = seen.current.head;
    if let Some(active) = seen.current.active {
        return under_way(active, wanted);
    }
    if let Some(waiting) = seen.current.waiting
        && matches!(waiting.intent, Intent::Rollback { .. })
        && wanted == RollbackTo::Before
    {
        return Err(NoRollback::Waits {
            release: waiting.id.clone(),
            change: Box::new(waiting.change.clone()),
        });
    }
    let from = leaving(&seen);
    let supersedes = seen.current.waiting.map(|waiting| waiting.id.clone());
    let earlier = |from, to: &Promoted| Choice::Earlier { from, to: to.clone(), supersedes };
    match wanted {
        RollbackTo::To(named) => {
            let to = find(head, service, named)?;
            allowed(head, service, from.as_ref(), to)?;
            // Nothing is known to run only when nothing could be seen and nothing was promoted; then `find` found nothing.
            from.map(|from| earlier(from, to)).ok_or(NoRollback::NothingBefore { quarantined: Vec::new() })
        }
        RollbackTo::Before => {
            let from = from.ok_or(NoRollback::NothingBefore { quarantined: Vec::new() })?;
            must_be_meant(&seen, service, &from)?;
            let to = before(head, &from).cloned().ok_or_else(|| nothing_before(head, &from))?;
            Ok(earlier(from, &to))
        }
    }
}

fn under_way(active: &Release, wanted: RollbackTo<'_>) -> Result<Choice, NoRollback> {
    let (release, change) = (active.id.clone(), Box::new(active.change.clone()));
    if turning_back(active) {
        return Err(NoRollback::AlreadyBack { release, change });
    }
    match wanted {
        RollbackTo::Before => Ok(Choice::UnderWay { release, change }),
        RollbackTo::To(_) => Err(NoRollback::Busy { release, change }),
    }
}

/// The version that is live, and would be left.
fn leaving(seen: &Situation<'_>) -> Option<Leaving> {
    let head = seen.current.head;
    let digests = match seen.running {
        Running::Digests(digests) => digests,
        Running::Unseen(why) => {
            let first = head.promoted.first()?;
            return Some(Leaving { unseen: Some(why.clone()), ..Leaving::of(&first.release, &first.change) });
        }
    };
    let promoted = head.promoted.iter().find(|one| are(&one.change, digests));
    let last = seen.last.filter(|last| are(&last.change, digests));
    Some(match (promoted, last) {
        (Some(promoted), _) => Leaving::of(&promoted.release, &promoted.change),
        (None, Some(last)) => Leaving::of(&last.id, &last.change),
        (None, None) => {
            let names: BTreeSet<&str> = digests.values().map(Digest::short).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let label = format!("{}, which was deployed outside Tidegate", names.join(" and "));
            Leaving { digests: digests.clone(), release: None, label, unseen: None }
        }
    })
}

impl Leaving {
    fn of(release: &ReleaseId, change: &Change) -> Self {
        let digests = change.iter().map(|(container, image)| (container.clone(), image.digest.clone()));
        Self {
            digests: digests.collect(),
            release: Some(release.clone()),
            label: change.label(),
            unseen: None,
        }
    }
}

/// Whether these digests are what a change brings to its containers.
fn are(change: &Change, digests: &BTreeMap<ContainerName, Digest>) -> bool {
    change.iter().all(|(container, image)| digests.get(container) == Some(&image.digest))
}

/// A service that was rolled back runs the good version: rolling *that* back, too, is never what a command without a destination means.
fn must_be_meant(seen: &Situation<'_>, service: &ServiceName, from: &Leaving) -> Result<(), NoRollback> {
    let head = seen.current.head;
    let newest = head.promoted.first();
    let runs_newest = newest.is_some_and(|newest| are(&newest.change, &from.digests));
    let older = head.promoted.iter().any(|one| are(&one.change, &from.digests)) && !runs_newest;
    let ended_since = seen
        .last
        .filter(|last| newest.is_none_or(|newest| last.id >= newest.release))
        .filter(|last| runs_newest || restored(last, &from.digests))
        .and_then(Ended::of);
    if older || ended_since.is_some() {
        return Err(NoRollback::AlreadyThere {
            service: service.clone(),
            runs: from.label.clone(),
            last: ended_since.map(Box::new),
            to: before(head, from).cloned().map(Box::new),
        });
    }
    Ok(())
}

/// Whether this release, when it was rolled back, restored those images: also ones that were there before Tidegate.
fn restored(release: &Release, digests: &BTreeMap<ContainerName, Digest>) -> bool {
    let Some(plan) = &release.plan else { return false };
    let images = plan.rollback_target().images;
    let was = |(container, digest): (&ContainerName, &Digest)| {
        images.get(container).is_some_and(|image| image.digests.contains(digest))
    };
    !are(&release.change, digests) && !digests.is_empty() && digests.iter().all(was)
}

/// The newest promoted version that is not the one that is left, was promoted before it, and was not rolled back itself.
fn before<'a>(head: &'a ServiceRecord, from: &'a Leaving) -> Option<&'a Promoted> {
    older(head, from).find(|earlier| quarantined(head, earlier).is_none())
}

fn older<'a>(head: &'a ServiceRecord, from: &'a Leaving) -> impl Iterator<Item = &'a Promoted> {
    // What was never promoted is left for whatever was promoted last.
    let at = head.promoted.iter().position(|one| are(&one.change, &from.digests));
    head.promoted.iter().skip(at.unwrap_or(0)).filter(|one| !is_left(one, from))
}

/// Whether bringing this version back would change nothing of what is left.
fn is_left(promoted: &Promoted, from: &Leaving) -> bool {
    from.digests.iter().all(|(container, digest)| promoted.digest(container).as_ref() == Some(digest))
}

/// Why a promoted version is not brought back, when one of its images was rolled back since.
fn quarantined<'a>(head: &'a ServiceRecord, promoted: &Promoted) -> Option<&'a Quarantined> {
    let mut containers = head.policy.to.containers().keys().chain(promoted.change.containers());
    containers.find_map(|container| head.quarantine.get(&promoted.digest(container)?))
}

fn nothing_before(head: &ServiceRecord, from: &Leaving) -> NoRollback {
    let quarantined =
        older(head, from).filter_map(|one| Some((one.clone(), quarantined(head, one)?.clone()))).collect();
    NoRollback::NothingBefore { quarantined }
}

/// The promoted release that is named; a tag means the newest release that was promoted with it, unless the tag has moved.
fn find<'a>(head: &'a ServiceRecord, service: &ServiceName, named: &str) -> Result<&'a Promoted, NoRollback> {
    let tagged: Vec<&Promoted> = head
        .promoted
        .iter()
        .filter(|one| {
            one.change
                .images()
                .iter()
                .any(|image| image.tag.as_ref().is_some_and(|tag| tag.as_str() == named))
        })
        .collect();
    let lower = named.to_lowercase();
    let by_id = || head.promoted.iter().filter(|one| one.release.as_str().starts_with(&lower)).collect();
    let digest = |one: &&Promoted| one.change.digests().iter().any(|digest| digest.as_str() == named);
    let mut found: Vec<&Promoted> = if tagged.is_empty() { by_id() } else { tagged };
    if found.is_empty() {
        found = head.promoted.iter().filter(digest).collect();
    }
    let Some(first) = found.first() else {
        return Err(NoRollback::NotPromoted {
            service: service.clone(),
            named: named.to_owned(),
            promoted: head.promoted.clone(),
        });
    };
    if found.iter().any(|one| !one.change.is_same(&first.change)) {
        let among = found.into_iter().cloned().collect();
        return Err(NoRollback::Several { named: named.to_owned(), among });
    }
    Ok(first)
}

fn allowed(
    head: &ServiceRecord,
    service: &ServiceName,
    from: Option<&Leaving>,
    to: &Promoted,
) -> Result<(), NoRollback> {
    if from.is_some_and(|from| from.unseen.is_none() && is_left(to, from)) {
        return Err(NoRollback::Runs { service: service.clone(), label: to.change.label() });
    }
    match quarantined(head, to) {
        Some(quarantined) => {
            Err(NoRollback::Quarantined { to: Box::new(to.clone()), quarantined: quarantined.clone() })
        }
        None => Ok(()),
    }
}

/// Who asks for a rollback, of what, when.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Ask<'a> {
    pub service: &'a ServiceName,
    pub target: &'a Target,
    pub by: &'a Actor,
    pub why: &'a str,
    /// The id of the release that brings the earlier version back.
    pub id: ReleaseId,
    pub now: Timestamp,
}

/// Brings an earlier version back. What is left is quarantined; it is not when only the ledger says that it runs and it is the very
/// one that comes back.
pub fn commit(current: Current<'_>, from: &Leaving, to: &Promoted, ask: Ask<'_>) -> Commit {
    let Ask { service, target, by, why, id, now } = ask;
    let head = current.head;
    let request = ReleaseRequest::by_hand(service.clone(), head.version_of(to), by.clone());
    let intent = Intent::Rollback {
        from: from.release.clone(),
        to: to.release.clone(),
        deployed: to.deployed.clone(),
    };
    let mut next = ServiceRecord { version: head.version + 1, waiting: Some(id.clone()), ..head.clone() };
    let release = from.release.clone().unwrap_or_else(|| id.clone());
    let entry = Quarantined { release, why: format!("{by} rolled it back: {why}"), at: now };
    let left =
        from.digests.iter().filter(|(container, digest)| to.digest(container).as_ref() != Some(*digest));
    next.quarantine.extend(left.map(|(_, digest)| (digest.clone(), entry.clone())));
    let reason = format!("{by} asked to roll back from {} to {}: {why}", from.label, to.change.label());
    let release = new_release(id.clone(), &request, target.clone(), intent, now);
    let mut commit = creation(release, reason, now);
    commit.releases.extend(current.waiting.map(|waiting| superseded(waiting, &id, now)));
    commit.head = Some(ServiceWrite {
        service: service.clone(),
        expected: Some(head.version),
        head: next,
        entry: None,
    });
    commit
}
