//! What becomes of a new image, and of what people ask: the only ways a release comes to be or is interfered with.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::actor::Actor;
use crate::change::Change;
use crate::commit::{Commit, IdempotencyKey, ReleaseWrite, ServiceWrite};
use crate::course::Course;
use crate::history::{Entry, Event, Report, WaitingOn};
use crate::ids::{ContainerName, ReleaseId, ServiceName, Target};
use crate::intent::{Intent, Provenance, Request};
use crate::outcome::Outcome;
use crate::people::People;
use crate::policy::OnNewer;
use crate::push::PushTimes;
use crate::release::{Phase, Progress, Release, Wake};
use crate::service::{OpenTargets, ServiceRecord};
use crate::trigger::{Reason, Refusal, Trigger};

/// A request to release an image to a service.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ReleaseRequest {
    pub service: ServiceName,
    /// The images, pinned, by container.
    pub change: Change,
    /// Who or what asks.
    pub by: Actor,
    /// Why, when a person asks.
    pub why: Option<String>,
    /// What asks; `None`: a person does.
    pub trigger: Option<Trigger>,
    /// When each container's image was pushed, where nobody but a machine asks: what comes out of order, or again, must not take the service
    /// back. Empty: a person asks, who may mean an old one.
    pub pushed: BTreeMap<ContainerName, PushTimes>,
    /// A person forces it: quarantine and "already promoted" do not hold it.
    pub force: bool,
    /// Where the image comes from.
    pub provenance: Provenance,
    /// Why freeze windows do not hold it; a second person has to approve that.
    pub bypass_freeze: Option<String>,
    /// The delivery's id, so that the same one is handled once.
    pub delivery: Option<String>,
}

impl ReleaseRequest {
    /// What is asked for by hand, with nothing more said. Whatever a trigger asks for names every field, so that none is forgotten.
    pub fn by_hand(service: ServiceName, change: Change, by: Actor) -> Self {
        Self {
            service,
            change,
            by,
            why: None,
            trigger: None,
            pushed: BTreeMap::new(),
            force: false,
            provenance: Provenance::default(),
            bypass_freeze: None,
            delivery: None,
        }
    }

    /// What the delivery is remembered by.
    pub fn idempotency_key(&self, now: Timestamp) -> Option<IdempotencyKey> {
        self.delivery.as_deref().map(|delivery| IdempotencyKey::of_delivery(&self.service, delivery, now))
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Admission {
    /// A release is created.
    Created { release: ReleaseId, commit: Box<Commit> },
    /// The image is already being released, or waits to be.
    Known { release: ReleaseId },
    /// The image already runs.
    Runs { release: ReleaseId },
    /// The image is not released; the reason is kept in the service's history.
    Refused {
        why: String,
        /// The same with its kind.
        refusal: Refusal,
        commit: Box<Commit>,
    },
}

impl Admission {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Known { .. } => "known",
            Self::Runs { .. } => "runs",
            Self::Refused { .. } => "refused",
        }
    }
}

/// The releases that matter for an admission.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// The service's row.
    pub head: &'a ServiceRecord,
    /// The release under way.
    pub active: Option<&'a Release>,
    /// The release that waits.
    pub waiting: Option<&'a Release>,
}

/// Decides about a new image. `target` is where it would go, `id` the id a new release would have.
pub fn admit(
    current: Current<'_>,
    request: &ReleaseRequest,
    target: Target,
    id: ReleaseId,
    now: Timestamp,
) -> Admission {
    let head = current.head;
    let same = [current.waiting, current.active].into_iter().flatten().find(|release| {
        carries(&release.change, &request.change)
            && release.request.is_none()
            && release.intent == Intent::Deploy
            && !turning_back(release)
    });
    if let Some(release) = same {
        return Admission::Known { release: release.id.clone() };
    }
    let requester = People::of_policy(&head.policy).requester(&request.by, &request.provenance);
    if let Some(why) = head.policy.approval.iter().find_map(|approval| requester.refused_by(approval)) {
        return refuse(head, request, Reason::Requester, why, now);
    }
    if !request.force {
        if let Some((reason, why)) = held(head, request, now) {
            return refuse(head, request, reason, why, now);
        }
        if let Some(runs) = head.promoted.first().filter(|last| last.runs(&request.change))
            && current.active.is_none()
            && current.waiting.is_none()
        {
            return Admission::Runs { release: runs.release.clone() };
        }
    }
    let mut next = ServiceRecord { version: head.version + 1, waiting: Some(id.clone()), ..head.clone() };
    if request.force {
        next.quarantine.retain(|digest, _| !request.change.digests().contains(digest));
    }
    for (container, times) in &request.pushed {
        let newest = head.newest(container).newer(times.until(now));
        next.newest.insert(container.clone(), newest);
    }
    next.newest.retain(|container, _| head.policy.to.containers().contains_key(container));
    let mut release = new_release(id.clone(), request, target, Intent::Deploy, now);
    release.change = carried_over(current, &request.change);
    release.carried =
        release.change.containers().filter(|it| request.change.image(it).is_none()).cloned().collect();
    let mut commit = creation(release, reason_of(request), now);
    commit.idempotency_key = request.idempotency_key(now);
    commit.releases.extend(current.waiting.map(|waiting| superseded(waiting, &id, now)));
    if head.policy.on_newer == OnNewer::Replace
        && let Some(active) = current.active.filter(|active| makes_room(active))
    {
        let request = Request::Supersede { by: id.clone() };
        commit.releases.push(asked(active, request, Actor::Tidegate, now));
    }
    commit.head = Some(ServiceWrite {
        service: request.service.clone(),
        expected: Some(head.version),
        head: next,
        entry: None,
    });
    Admission::Created { release: id, commit: Box::new(commit) }
}

/// Why a request is not let in, unless a person insists.
fn held(head: &ServiceRecord, request: &ReleaseRequest, now: Timestamp) -> Option<(Reason, String)> {
    let again = format!("tidegate release {} {}", request.service, request.change.argument());
    let rolled_back = request.change.digests().into_iter().find_map(|digest| {
        let quarantined = head.quarantine.get(digest)?;
        Some(format!(
            "{digest} was rolled back by release {} ({}); to release it all the same: {again} --force",
            quarantined.release, quarantined.why
        ))
    });
    if let Some(why) = rolled_back {
        return Some((Reason::Quarantined, why));
    }
    request.pushed.iter().find_map(|(container, times)| {
        let why = times.until(now).older(head.newest(container))?;
        Some((Reason::Older, format!("{why}; to release it all the same: {again}")))
    })
}

fn reason_of(request: &ReleaseRequest) -> String {
    request.why.clone().unwrap_or_else(|| match request.change.single().map(|image| &image.tag) {
        Some(Some(tag)) => format!("tag {tag} was pushed"),
        Some(None) => "it was asked for by digest".to_owned(),
        None => "its containers were named one by one".to_owned(),
    })
}

/// Whether a release already brings what is asked for.
fn carries(release: &Change, asked: &Change) -> bool {
    asked.iter().all(|(container, image)| {
        release.image(container).is_some_and(|brings| brings.digest == image.digest)
    })
}

/// Whether a release under way gives way when a newer one replaces it.
fn makes_room(active: &Release) -> bool {
    active.request.is_none() && !turning_back(active)
}

/// What is asked for, and what the releases that make room for it would have brought to other containers: that is not lost with them.
fn carried_over(current: Current<'_>, asked: &Change) -> Change {
    let head = current.head;
    let replaced =
        current.active.filter(|active| head.policy.on_newer == OnNewer::Replace && makes_room(active));
    let deploys = |release: &&Release| release.intent == Intent::Deploy;
    let earlier = [current.waiting, replaced].into_iter().flatten().filter(deploys);
    let mut change = asked.clone();
    for release in earlier {
        let wanted = |container: &ContainerName| {
            release.change.image(container).is_some_and(|image| {
                head.policy.repository_of(container) == Some(&image.repository)
                    && !head.quarantine.contains_key(&image.digest)
            })
        };
        let kept = release.change.iter().filter(|(container, _)| wanted(container));
        let kept = kept.map(|(container, image)| (container.clone(), image.clone())).collect();
        if let Some(kept) = Change::new(kept) {
            change = change.over(&kept);
        }
    }
    change
}

pub(crate) fn turning_back(release: &Release) -> bool {
    match &release.phase {
        Phase::RollingBack(_) | Phase::Ended { .. } => true,
        Phase::Settling { outcome, .. } => *outcome != Outcome::Promoted,
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => false,
    }
}

fn refuse(
    head: &ServiceRecord,
    request: &ReleaseRequest,
    reason: Reason,
    why: String,
    now: Timestamp,
) -> Admission {
    let version = head.version + 1;
    let event = Event::ImageRefused { change: request.change.clone(), why: why.clone() };
    let entry = Entry::new(version, now, request.by.clone(), event);
    let head = ServiceWrite {
        service: request.service.clone(),
        expected: Some(head.version),
        head: ServiceRecord { version, ..head.clone() },
        entry: Some(entry),
    };
    Admission::Refused {
        refusal: Refusal::new(reason, why.clone()),
        why,
        commit: Box::new(Commit {
            head: Some(head),
            idempotency_key: request.idempotency_key(now),
            ..Commit::default()
        }),
    }
}

pub(crate) fn new_release(
    id: ReleaseId,
    request: &ReleaseRequest,
    target: Target,
    intent: Intent,
    now: Timestamp,
) -> Release {
    Release {
        id,
        service: request.service.clone(),
        target,
        change: request.change.clone(),
        carried: BTreeSet::new(),
        intent,
        requested_by: request.by.clone(),
        created_at: now,
        version: 0,
        phase: Phase::Queued,
        plan: None,
        progress: Progress::default(),
        course: Course::queued(request.pushed.values().filter_map(|times| times.image).max(), now),
        gates: BTreeMap::new(),
        provenance: request.provenance.clone(),
        bypass_freeze: request.bypass_freeze.clone(),
        request: None,
        pause: None,
        promote_now: None,
        acted_at: None,
        wake: Some(Wake::soon(now)),
        report: Report::waiting_on(WaitingOn::Turn { behind: None }),
    }
}

pub(crate) fn creation(release: Release, why: String, now: Timestamp) -> Commit {
    let event = Event::Created { change: release.change.clone(), why };
    let entry = Entry::new(0, now, release.requested_by.clone(), event);
    Commit { releases: vec![ReleaseWrite { before: None, release, entry: Some(entry) }], ..Commit::default() }
}

/// A release that waited and never was the active one ends here: a newer one waits in its place.
pub(crate) fn superseded(waiting: &Release, by: &ReleaseId, now: Timestamp) -> ReleaseWrite {
    let outcome = Outcome::Superseded { by: by.clone().into() };
    let event = Event::Ended { outcome: Box::new(outcome.clone()), restore_pending: None };
    let mut course = waiting.course.clone();
    course.held_until(now);
    let next = Release {
        version: waiting.version + 1,
        phase: Phase::Ended { outcome, at: now, restored_at: None },
        course,
        wake: None,
        report: Report::waiting_on(WaitingOn::Nothing),
        ..waiting.clone()
    };
    write(waiting, next, Actor::Tidegate, event, now)
}

pub(crate) fn asked(release: &Release, request: Request, by: Actor, now: Timestamp) -> ReleaseWrite {
    let event = Event::Asked { request: request.clone() };
    let next = Release {
        version: release.version + 1,
        request: Some(request),
        wake: Some(Wake::soon(now)),
        ..release.clone()
    };
    write(release, next, by, event, now)
}

pub(crate) fn write(
    old: &Release,
    next: Release,
    actor: Actor,
    event: Event,
    now: Timestamp,
) -> ReleaseWrite {
    let entry = Entry::new(next.version, now, actor, event);
    ReleaseWrite { before: Some(Box::new(old.clone())), release: next, entry: Some(entry) }
}

/// Writes an event into a service's history that leads to no release.
pub fn note(
    head: &ServiceRecord,
    service: &ServiceName,
    by: Actor,
    event: Event,
    idempotency_key: Option<IdempotencyKey>,
    now: Timestamp,
) -> Commit {
    let version = head.version + 1;
    let entry = Entry::new(version, now, by, event);
    let head = ServiceWrite {
        service: service.clone(),
        expected: Some(head.version),
        head: ServiceRecord { version, ..head.clone() },
        entry: Some(entry),
    };
    Commit { head: Some(head), idempotency_key, ..Commit::default() }
}

/// Stores a policy. A release under way keeps the plan it has; the next one is planned from this policy.
pub fn apply(
    current: Option<&ServiceRecord>,
    policy: crate::policy::Policy,
    by: Actor,
    now: Timestamp,
) -> Option<ServiceWrite> {
    if current.is_some_and(|head| head.policy == policy && head.removed_at.is_none()) {
        return None;
    }
    let service = policy.service.clone();
    let (expected, head) = match current {
        None => (None, ServiceRecord::new(policy, now)),
        Some(head) => {
            // A changed source starts to be watched now; another change of the policy releases nothing either.
            let same = head.policy.is_same_source(&policy) && head.removed_at.is_none();
            let watching_since = if same { head.watching_since } else { now };
            let open = head.active.is_some().then(|| still_open(head));
            let version = head.version + 1;
            (
                Some(head.version),
                ServiceRecord { version, policy, watching_since, open, removed_at: None, ..head.clone() },
            )
        }
    };
    let event = if current.is_none_or(|head| head.removed_at.is_some()) {
        Event::PolicyStored
    } else {
        Event::PolicyChanged
    };
    let entry = Entry::new(head.version, now, by, event);
    Some(ServiceWrite { service, expected, head, entry: Some(entry) })
}

/// Where the release under way may go: to the policy's target, and to those of the policies before it that were in force while it was under
/// way.
fn still_open(head: &ServiceRecord) -> OpenTargets {
    let mut open = head.open.clone().unwrap_or_default();
    let to = &head.policy.to;
    if !open.targets.contains(to) {
        open.targets.push(to.clone());
    }
    open
}
