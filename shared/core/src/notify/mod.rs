//! What is told of a release, derived from its history: data, never text. Which of it a channel has been told is kept beside the release, so
//! whoever comes, however late or often, tells exactly what is missing.

mod detail;
mod told;
mod trial;
mod words;

pub use detail::{Detail, DetailImage, VERSION};
pub use told::{CLAIM, Claim, Failure, PATIENCE, Step, Told, Trouble};
pub use trial::{KEPT as TRIALS_KEPT, Trial, Tried};
pub use words::{headline, paragraphs, subject};

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::change::Change;
use crate::history::{Entry, Event};
use crate::ids::{AccountId, Region, ReleaseId, ServiceName};
use crate::intent::Provenance;
use crate::outcome::Outcome;
use crate::policy::{Channel, Moment, Percent, Receiver};
use crate::release::Release;

/// Which event of a release's history: the entry's version, and which of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Mark {
    pub version: u64,
    pub index: u32,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.version, self.index)
    }
}

/// Something that is told.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Notice {
    pub mark: Mark,
    pub moment: Moment,
    pub at: Timestamp,
    pub actor: Actor,
    pub event: Event,
    /// The candidate's share of traffic as measured then.
    pub measured: Option<Percent>,
}

impl Notice {
    /// What a person has to do, when it is for a person.
    pub fn needs(&self) -> Option<&str> {
        needs(&self.event)
    }
}

/// Everything in a history that is told, oldest first.
pub fn notices(history: &[Entry]) -> Vec<Notice> {
    let mut notices = Vec::new();
    for entry in history {
        for (index, event) in (0..).zip(entry.events()) {
            let Some(moment) = moment(event) else { continue };
            notices.push(Notice {
                mark: Mark { version: entry.version, index },
                moment,
                at: entry.at,
                actor: entry.actor.clone(),
                event: event.clone(),
                measured: entry.measured,
            });
        }
    }
    notices
}

/// What an event is to those who are told. `None`: a detail on the way, or of another history than a release's.
pub fn moment(event: &Event) -> Option<Moment> {
    Some(match event {
        Event::Created { .. } => Moment::Created,
        Event::Asked { .. } | Event::Paused { .. } | Event::Continued { .. } | Event::PromoteNow { .. } => {
            Moment::Asked
        }
        Event::Started => Moment::Started,
        Event::PreflightPassed { .. } => Moment::Planned,
        Event::ApprovalsReset | Event::Replanned { .. } => Moment::Replanned,
        Event::StageDone { .. } => Moment::StageDone,
        Event::ApprovalAsked { .. } => Moment::ApprovalRequested,
        Event::Answered { approved: true, .. } => Moment::Approved,
        Event::Answered { approved: false, .. } => Moment::Rejected,
        Event::VerificationStarted { .. } => Moment::VerificationStarted,
        Event::DeploymentFound { .. } => Moment::DeploymentStarted,
        Event::Shifting { .. } => Moment::Shifting,
        Event::Promoting => Moment::Promoting,
        Event::WeightsRepaired { .. } => Moment::WeightsRepaired,
        Event::TasksFailed { .. } => Moment::TasksFailed,
        Event::WouldRollBack { .. } => Moment::WouldRollBack,
        Event::RollingBack { .. } => Moment::RollingBack,
        Event::TrafficRestored => Moment::TrafficRestored,
        Event::Redeploying { .. } => Moment::Redeploying,
        Event::RollbackFailed { .. } | Event::RollbackDiffers { .. } => Moment::InterventionRequired,
        Event::Settling { .. } => Moment::Settling,
        Event::GivingWay { .. } => Moment::GivingWay,
        Event::Ended { outcome, .. } => match &**outcome {
            Outcome::Promoted => Moment::Promoted,
            Outcome::RolledBack { .. } => Moment::RolledBack,
            Outcome::Superseded { .. } => Moment::Superseded,
            Outcome::Cancelled { .. } => Moment::Cancelled,
            Outcome::Failed { .. } => Moment::Failed,
        },
        Event::PolicyStored
        | Event::PolicyChanged
        | Event::PolicyRemoved { .. }
        | Event::QuarantineLifted { .. }
        | Event::ImageRefused { .. }
        | Event::TriggerRefused { .. }
        | Event::ImageAwaited { .. }
        | Event::PipelineAnswered { .. }
        | Event::NotTold { .. }
        | Event::LinkSent { .. }
        | Event::AnswerNotCounted { .. }
        | Event::TrafficHome
        | Event::EvidenceCounted
        | Event::Acted { .. }
        | Event::RegisteredAgain { .. }
        | Event::ReleasingOtherDeployment
        | Event::Withdrawing
        | Event::RestoringConfiguration
        | Event::RestoringCode
        | Event::Unknown => return None,
    })
}

fn needs(event: &Event) -> Option<&str> {
    match event {
        Event::RollbackFailed { needs } | Event::RollbackDiffers { needs } => Some(needs),
        Event::Ended { restore_pending: Some(needs), .. } => Some(needs),
        Event::Ended { outcome, restore_pending: None } => match &**outcome {
            Outcome::Failed { needs, .. } => Some(needs),
            Outcome::Promoted
            | Outcome::RolledBack { .. }
            | Outcome::Superseded { .. }
            | Outcome::Cancelled { .. } => None,
        },
        Event::PolicyStored
        | Event::PolicyChanged
        | Event::PolicyRemoved { .. }
        | Event::QuarantineLifted { .. }
        | Event::ImageRefused { .. }
        | Event::TriggerRefused { .. }
        | Event::ImageAwaited { .. }
        | Event::PipelineAnswered { .. }
        | Event::NotTold { .. }
        | Event::Created { .. }
        | Event::Asked { .. }
        | Event::Paused { .. }
        | Event::Continued { .. }
        | Event::PromoteNow { .. }
        | Event::Started
        | Event::PreflightPassed { .. }
        | Event::ApprovalsReset
        | Event::Replanned { .. }
        | Event::StageDone { .. }
        | Event::ApprovalAsked { .. }
        | Event::LinkSent { .. }
        | Event::Answered { .. }
        | Event::AnswerNotCounted { .. }
        | Event::VerificationStarted { .. }
        | Event::DeploymentFound { .. }
        | Event::Shifting { .. }
        | Event::Promoting
        | Event::TrafficHome
        | Event::EvidenceCounted
        | Event::WouldRollBack { .. }
        | Event::WeightsRepaired { .. }
        | Event::TasksFailed { .. }
        | Event::Acted { .. }
        | Event::RollingBack { .. }
        | Event::TrafficRestored
        | Event::Redeploying { .. }
        | Event::RegisteredAgain { .. }
        | Event::Settling { .. }
        | Event::GivingWay { .. }
        | Event::ReleasingOtherDeployment
        | Event::Withdrawing
        | Event::RestoringConfiguration
        | Event::RestoringCode
        | Event::Unknown => None,
    }
}

/// What a channel has yet to be told: what it wants of what happened after `through`, oldest first.
pub fn untold<'a>(
    notices: &'a [Notice],
    channel: &Channel,
    through: Option<Mark>,
) -> impl Iterator<Item = &'a Notice> {
    notices
        .iter()
        .filter(move |notice| through.is_none_or(|through| notice.mark > through))
        .filter(|notice| channel.wants(notice.moment, notice.needs().is_some()))
}

/// The release a message is about, as far as it does not change.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct About {
    pub release: ReleaseId,
    pub service: ServiceName,
    pub account: AccountId,
    pub region: Region,
    /// Where it goes, for people.
    pub target: String,
    /// What is released.
    pub change: Change,
    /// What people call it: its tag.
    pub label: String,
    pub requested_by: String,
    pub provenance: Provenance,
    /// The hash of the plan that is asked to be approved.
    pub plan: Option<String>,
}

impl About {
    /// Of a release.
    pub fn of(release: &Release) -> Self {
        Self {
            release: release.id.clone(),
            service: release.service.clone(),
            account: release.target.account.clone(),
            region: release.target.region.clone(),
            target: release.target.to_string(),
            change: release.change.clone(),
            label: release.change.label(),
            requested_by: crate::release::requester(release),
            provenance: release.provenance.clone(),
            plan: release.plan.as_ref().map(crate::plan::Plan::hash),
        }
    }
}

/// What is told to one receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Whom.
    pub to: Receiver,
    /// The release.
    pub about: About,
    /// What happened.
    pub notice: Notice,
    /// What had happened before, oldest first.
    pub before: Vec<Notice>,
    /// Members of Slack whom a rollback and a failure mention.
    pub mention: Vec<String>,
    /// What the receiver calls what it was told before: a message, a deployment.
    pub memory: BTreeMap<String, String>,
}

impl Message {
    /// By which a receiver knows a message that comes twice.
    pub fn key(&self) -> String {
        format!("{}-{}", self.about.release, self.notice.mark)
    }

    /// Everything that is told by then, oldest first.
    pub fn so_far(&self) -> impl DoubleEndedIterator<Item = &Notice> {
        self.before.iter().chain([&self.notice])
    }

    /// Whether people are asked to approve at this moment: buttons have a meaning.
    pub fn asks_for_approval(&self) -> bool {
        let last = self.so_far().rev().find_map(|notice| match notice.moment {
            Moment::ApprovalRequested | Moment::Approved => Some(true),
            Moment::StageDone
            | Moment::Rejected
            | Moment::Replanned
            | Moment::RollingBack
            | Moment::Settling
            | Moment::GivingWay
            | Moment::Promoted
            | Moment::RolledBack
            | Moment::Superseded
            | Moment::Cancelled
            | Moment::Failed => Some(false),
            Moment::Created
            | Moment::Asked
            | Moment::Started
            | Moment::Planned
            | Moment::VerificationStarted
            | Moment::DeploymentStarted
            | Moment::Shifting
            | Moment::TasksFailed
            | Moment::WeightsRepaired
            | Moment::WouldRollBack
            | Moment::Promoting
            | Moment::TrafficRestored
            | Moment::Redeploying
            | Moment::InterventionRequired => None,
        });
        last == Some(true)
    }
}

/// A receiver that was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotSent {
    /// Why, for people; nothing secret.
    pub why: String,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// How long the receiver asks not to be called, seconds.
    pub retry_after_secs: Option<u32>,
}

impl NotSent {
    /// For a reason that may pass by itself.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: None, retry_after_secs: None }
    }

    /// With what to do.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cause;

    fn entry(version: u64, event: Event, also: Vec<Event>) -> Entry {
        let at = "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap();
        Entry { also, ..Entry::new(version, at, Actor::Tidegate, event) }
    }

    fn history() -> Vec<Entry> {
        let cause = Box::new(Cause::Inconclusive { detail: "3 of 100 requests".into() });
        let outcome = Box::new(Outcome::RolledBack { cause: (*cause).clone() });
        vec![
            entry(1, Event::Started, vec![]),
            entry(2, Event::Acted { actions: vec![], again: false }, vec![Event::Promoting]),
            entry(3, Event::RollingBack { cause }, vec![]),
            entry(4, Event::RollbackFailed { needs: "deploy checkout:41".into() }, vec![]),
            entry(5, Event::Ended { outcome, restore_pending: None }, vec![]),
            entry(6, Event::Unknown, vec![]),
        ]
    }

    #[test]
    fn what_is_told_comes_from_the_events_in_their_order() {
        let told: Vec<String> =
            notices(&history()).iter().map(|it| format!("{} {}", it.mark, it.moment.name())).collect();
        assert_eq!(
            told,
            [
                "1.0 started",
                "2.1 promoting",
                "3.0 rolling_back",
                "4.0 intervention_required",
                "5.0 rolled_back"
            ]
        );
    }

    #[test]
    fn a_channel_is_told_what_it_wants_of_what_came_after_its_mark() {
        let notices = notices(&history());
        let channel = crate::policy::parse_channels("[{ teams: deploys }]").unwrap().remove(0);
        let untold = |through: Option<Mark>| {
            untold(&notices, &channel, through).map(|it| it.mark.version).collect::<Vec<_>>()
        };
        assert_eq!(untold(None), [1, 3, 4, 5]);
        assert_eq!(untold(Some(Mark { version: 3, index: 0 })), [4, 5]);
        assert_eq!(untold(Some(Mark { version: 5, index: 0 })), [0; 0]);
    }
}
