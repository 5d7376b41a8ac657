//! A drill: what runs is released again, through every gate and the first step of its strategy, and rolled back on purpose. It shows how long users
//! would wait if it were bad, while nothing is.

use jiff::Timestamp;

use crate::actor::Actor;
use crate::admission::{Current, ReleaseRequest, creation, new_release};
use crate::change::Change;
use crate::commit::{Commit, ServiceWrite};
use crate::ids::{ReleaseId, ServiceName, Target};
use crate::intent::Intent;
use crate::service::ServiceRecord;

/// Why no drill is held; fits "no drill of checkout: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum NoDrill {
    /// The policy does not allow any.
    #[error(
        "the policy allows none; add `drill: {{ time_zone: Europe/Berlin, weekly: [{{ from: Sun 03:00, to: Sun 05:00 }}] }}` with a quiet time"
    )]
    NotAllowed,
    /// Not at this time.
    #[error("the policy allows it {windows}, and it is {now:.0}")]
    NotNow { windows: String, now: Timestamp },
    /// No window for releases either.
    #[error("nothing is released now: {window} (until {until:.0})")]
    Frozen { window: String, until: Timestamp },
    /// Something is released.
    #[error("release {release} is under way, or waits")]
    UnderWay { release: ReleaseId },
    /// Nothing was promoted that could be released again.
    #[error("nothing has been promoted yet; release an image first")]
    NothingPromoted,
    /// What was promoted last is of other containers or repositories than the policy's.
    #[error(
        "the policy has another container or repository by now than what was promoted last; release an image first"
    )]
    OtherSource,
}

/// A drill that is asked for.
#[derive(Debug)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Ask<'a> {
    pub service: &'a ServiceName,
    pub target: Target,
    pub by: &'a Actor,
    pub why: &'a str,
    pub id: ReleaseId,
    pub now: Timestamp,
}

/// What would be released, if a drill can be held now.
pub fn change(current: Current<'_>, now: Timestamp) -> Result<Change, NoDrill> {
    let ServiceRecord { policy, promoted, .. } = current.head;
    let drill = policy.drill.as_ref().ok_or(NoDrill::NotAllowed)?;
    if drill.at(now).is_none() {
        return Err(NoDrill::NotNow { windows: drill.to_string(), now });
    }
    if let Some(frozen) = policy.freeze.as_ref().and_then(|freeze| freeze.at(now)) {
        return Err(NoDrill::Frozen { window: frozen.window, until: frozen.until });
    }
    if let Some(open) = current.head.active.as_ref().or(current.head.waiting.as_ref()) {
        return Err(NoDrill::UnderWay { release: open.clone() });
    }
    let runs = &promoted.first().ok_or(NoDrill::NothingPromoted)?.change;
    let ours = |(container, image): (&_, &crate::ids::Image)| {
        policy.repository_of(container) == Some(&image.repository)
    };
    if runs.iter().all(ours) { Ok(runs.clone()) } else { Err(NoDrill::OtherSource) }
}

/// Creates the release. Whether it really runs is looked at by preflight, as ever.
pub fn commit(current: Current<'_>, ask: Ask<'_>) -> Result<Commit, NoDrill> {
    let Ask { service, target, by, why, id, now } = ask;
    let head = current.head;
    let request = ReleaseRequest::by_hand(service.clone(), change(current, now)?, by.clone());
    let release = new_release(id.clone(), &request, target, Intent::Drill, now);
    let mut commit = creation(release, format!("a drill: {why}"), now);
    let next = ServiceRecord { version: head.version + 1, waiting: Some(id), ..head.clone() };
    commit.head = Some(ServiceWrite {
        service: service.clone(),
        expected: Some(head.version),
        head: next,
        entry: None,
    });
    Ok(commit)
}
