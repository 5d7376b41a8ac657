//! The history of a release and of a service: what was seen, who or what acted, what was done, why. It is data: programs match on it, and
//! the sentences people read are its `Display`, here and nowhere else.

mod event;
mod fact;
mod waiting;

pub use event::{Event, Redeploy, StageResult};
pub use fact::{AlarmStands, Fact};
pub use waiting::{Before, Held, Missing, Restored, Unseen, WaitingOn};

use crate::actor::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::effect::Action;
use crate::policy::Percent;

/// One entry; written in the transaction that made the change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the release (or service row) the change led to.
    pub version: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Who or what acted.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
    /// What else happened in the same change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Event>,
    /// What was seen and led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saw: Vec<Fact>,
    /// The effects decided with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// The candidate's share of traffic as measured at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Percent>,
}

impl Entry {
    /// An entry of one event, with nothing else to tell.
    pub fn new(version: u64, at: Timestamp, actor: Actor, event: Event) -> Self {
        Self {
            version,
            at,
            actor,
            event,
            also: Vec::new(),
            saw: Vec::new(),
            actions: Vec::new(),
            measured: None,
        }
    }

    /// Everything that happened in the change, the first thing first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        std::iter::once(&self.event).chain(&self.also)
    }

    /// What happened beside the event and what was seen, one line each, for people.
    pub fn details(&self) -> Vec<String> {
        let also = self.also.iter().map(|event| format!("{event}: {}", event.why()));
        also.chain(self.saw.iter().map(ToString::to_string)).collect()
    }
}

/// Why a release is where it is, and what happens next: the answer to "why is my release stuck?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was seen and weighed.
    pub facts: Vec<Fact>,
    /// What is waited for, or done next.
    pub waiting_on: WaitingOn,
    /// Until when that may take, and what happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// When a release stops waiting for what it waits for, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// When.
    pub at: Timestamp,
    /// What happens then.
    pub then: DeadlineAction,
}

/// What happens when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineAction {
    /// The release ends; nothing was deployed.
    End,
    /// The release is rolled back.
    RollBack,
    /// The release continues: the policy says that a late approval counts as given.
    Continue,
    /// The release ends as failed, and says what a person has to do.
    ManualIntervention,
}

impl DeadlineAction {
    /// What has happened by then, to be followed by a time.
    pub fn words(self) -> &'static str {
        match self {
            Self::End => "ends",
            Self::RollBack => "is rolled back",
            Self::Continue => "continues",
            Self::ManualIntervention => "needs manual intervention",
        }
    }
}

impl Report {
    /// A report with what is waited for.
    pub fn waiting_on(waiting_on: WaitingOn) -> Self {
        Self { facts: Vec::new(), waiting_on, deadline: None }
    }

    /// With one fact more.
    #[must_use]
    pub fn fact(mut self, fact: impl Into<Fact>) -> Self {
        self.facts.push(fact.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let at: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let percent = Percent::from_tenths(125);
        let stage = crate::plan::Stage::Shift { percent };
        let missing = Missing::Requests { seen: 3, needed: 20, error: None };
        let entry = Entry {
            also: vec![Event::StageDone { stage, result: StageResult::Shifted { percent } }],
            saw: vec![Fact::Weights { set: percent, measured: None }, missing.clone().into()],
            actions: vec![Action::RestoreConfiguration],
            measured: Some(percent),
            ..Entry::new(3, at, Actor::Tidegate, Event::Shifting { percent })
        };
        assert_eq!(stored(&entry), entry);
        let report = Report::waiting_on(WaitingOn::Held { what: Held::BakeEnd, missing });
        assert_eq!(stored(&report), report);
        assert_eq!(report.waiting_on.to_string(), "the bake is over but held: 3 of 20 requests seen");
        assert_eq!(
            entry.details(),
            [
                "shift to 12.5%: done: the candidate has 12.5% of the traffic",
                "set 12.5%, measured nothing",
                "3 of 20 requests seen"
            ]
        );
    }

    #[test]
    fn what_a_newer_version_writes_is_read_as_unknown_and_loses_nothing_beside_it() {
        let later = r#"{"facts": [{"fact": "moon", "phase": "full"}, {"fact": "other_images", "detail": "x"}],
            "waiting_on": {"waiting_on": "new_moon", "until": 3}}"#;
        let report: Report = serde_json::from_str(later).unwrap();
        let told = Fact::OtherImages { detail: "x".into() };
        assert_eq!((report.facts, report.waiting_on), (vec![Fact::Unknown, told], WaitingOn::Unknown));
    }
}
