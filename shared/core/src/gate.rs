//! The gates of a release: what has been asked of whom, what was answered. Approvals are bound to release, plan and person, and used once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::history::{Actor, Entry, Event, Fact};
use crate::people::{People, Requester};
use crate::policy::{Allowed, Approval, Person, Scan, SeverityName};
use crate::ports::{Commit, ReleaseWrite};
use crate::release::{Outcome, Phase, Release, Wake};

/// An approval gate as the plan has it: the policy's words, with the people already looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalGate {
    /// The policy's words.
    pub approval: Approval,
    /// Who may approve: names, and the SNS topic each one's link is sent to.
    pub approvers: Vec<Approver>,
    /// Why it is there, when the policy does not ask for it: a bypassed freeze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Someone who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approver {
    /// Their name in the policy.
    pub name: String,
    /// How they are reached, and known.
    pub person: Person,
}

/// A gate that has been opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// When.
    pub at: Timestamp,
    /// Until when it is waited.
    pub expires_at: Timestamp,
    /// The links that were made; one for each approver, the newest.
    pub invitations: Vec<Invitation>,
    /// What has been decided.
    #[serde(default)]
    pub given: Vec<Given>,
}

/// One person's link. The token itself is nowhere but in the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The person.
    pub approver: String,
    /// SHA-256 of the token, hexadecimal.
    pub token_hash: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was handed over for delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The person.
    pub approver: String,
    /// Yes or no.
    pub approve: bool,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How: `link`, or the AWS identity.
    pub via: String,
}

/// A token: 32 unpredictable bytes in hexadecimal. Never printed, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token from fresh randomness. What it is for goes into it, so that two made from the same randomness differ.
    pub fn make(entropy: &[u8; 32], purpose: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(entropy);
        hash.update(purpose.as_bytes());
        Self(hex::encode(hash.finalize()))
    }

    /// A token as it came in; `None` when it has not the form of one, so that nothing has to be looked up for it.
    pub fn received(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let hexadecimal = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(hexadecimal)).then_some(Self(text))
    }

    /// For the link.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// In time that does not depend on where two texts differ.
pub fn same_secret(left: &str, right: &str) -> bool {
    // Hashing first makes the lengths equal and what is compared unpredictable to whoever chose an input.
    let (left, right) = (Sha256::digest(left.as_bytes()), Sha256::digest(right.as_bytes()));
    left.iter().zip(right.iter()).fold(0u8, |difference, (l, r)| difference | (l ^ r)) == 0
}

/// Who answers a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Whoever holds the token of a link.
    Link(Token),
    /// A caller with an AWS identity.
    Identity(String),
}

/// Why an answer does not count; fits "cannot approve: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// No such link: forged, replaced by a newer one, or of another release. Says nothing about any release.
    #[error("this link is not valid")]
    NoSuchLink,
    /// The identity belongs to nobody who may approve.
    #[error("{identity} belongs to nobody who may approve this gate; policy people.aws says who is who")]
    NotAnApprover {
        /// The caller's ARN.
        identity: String,
    },
    /// The policy does not let whoever asked for a release approve it.
    #[error("{approver} asked for this release, or made it, and the policy lets nobody approve their own")]
    AskedForIt {
        /// Who.
        approver: String,
    },
    /// It has been answered.
    #[error("{approver} has already {} at {at:.0}", if *.approved { "approved" } else { "rejected" })]
    AlreadyGiven {
        /// By whom.
        approver: String,
        /// As what.
        approved: bool,
        /// When.
        at: Timestamp,
    },
    /// The release does not wait at this gate (any more).
    #[error("the release does not wait for this approval: it is {state}")]
    NotWaiting {
        /// Where it is.
        state: String,
    },
    /// The gate's time is over.
    #[error("the approval expired at {at:.0}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// The comment is too long.
    #[error("the comment is too long: {0}")]
    TooLong(crate::text::TooLong),
    /// The plan is not the one that was shown.
    #[error("the plan is not the one that was shown; open the link again")]
    OtherPlan,
}

/// The gate a release waits at: the stage's index, the gate, and what has been opened.
pub fn waiting_at(release: &Release) -> Option<(usize, &ApprovalGate, &Opened)> {
    let Phase::Running { stage, .. } = &release.phase else { return None };
    let crate::plan::Stage::Approve { gate } = release.stage()? else { return None };
    let gate = release.plan.as_ref()?.gates.approvals.get(*gate)?;
    Some((*stage, gate, release.gates.get(stage)?))
}

/// The person a link belongs to, at whichever gate of this release, waiting or not.
pub fn holder<'a>(release: &'a Release, token: &Token) -> Option<(usize, &'a Opened, &'a str)> {
    let hash = token.hash();
    // Every invitation is compared, whether or not one matched before.
    let mut found = None;
    for (stage, opened) in &release.gates {
        for invitation in &opened.invitations {
            if same_secret(&invitation.token_hash, &hash) {
                found = Some((*stage, opened, invitation.approver.as_str()));
            }
        }
    }
    found
}

/// Who may answer a gate of this release: whoever asked for it does not, unless the policy allows it.
pub fn eligible<'a>(release: &Release, gate: &'a ApprovalGate) -> Vec<&'a Approver> {
    let asked = match requester(release) {
        Requester::People(names) if gate.approval.not_by_requester => names,
        Requester::People(_) | Requester::Stranger(_) | Requester::Nobody => Vec::new(),
    };
    gate.approvers.iter().filter(|person| !asked.contains(&person.name)).collect()
}

/// Who asked for this release, or made it, among the people its plan knows.
pub fn requester(release: &Release) -> Requester {
    let people = release.plan.as_ref().map(People::of_plan).unwrap_or_default();
    people.requester_of(release)
}

/// Who asked for a release, for whoever has to approve it.
pub fn asked_by(release: &Release) -> String {
    let by = crate::words::requester(release);
    match requester(release) {
        Requester::People(names) if names.contains(&by) => by,
        Requester::People(names) => format!("{} ({by})", names.join(" and ")),
        Requester::Stranger(_) if matches!(release.requested_by, Actor::Person { .. }) => {
            format!("{by}, who is none of the policy's people")
        }
        Requester::Stranger(_) | Requester::Nobody => format!("nobody by name ({by})"),
    }
}

/// Counts an answer. `plan_hash` is the plan that was shown with the question.
pub fn give(
    release: &Release,
    by: &By,
    approve: bool,
    plan_hash: Option<&str>,
    comment: Option<String>,
    now: Timestamp,
) -> Result<Commit, NotCounted> {
    if let Some(comment) = &comment {
        crate::text::reason(comment).map_err(NotCounted::TooLong)?;
    }
    let (approver, via) = who(release, by)?;
    let waiting = waiting_at(release);
    let asked_at = match by {
        By::Link(token) => holder(release, token).map(|(stage, ..)| stage),
        // Where nothing waits any more, the gate this person answered last is meant: they are told what they said.
        By::Identity(_) => waiting.map(|(stage, ..)| stage).or_else(|| {
            let answered = |opened: &Opened| opened.given.iter().any(|given| given.approver == approver);
            release.gates.iter().rev().find(|(_, opened)| answered(opened)).map(|(stage, _)| *stage)
        }),
    };
    // An identity that fits several people still is one: it answers a gate once, under whichever name.
    let answered_by = |given: &&Given| given.approver == approver || (via != LINK && given.via == via);
    let given = asked_at
        .and_then(|stage| release.gates.get(&stage))
        .and_then(|opened| opened.given.iter().find(answered_by));
    if let Some(given) = given {
        return Err(NotCounted::AlreadyGiven {
            approver: given.approver.clone(),
            approved: given.approve,
            at: given.at,
        });
    }
    let Some((stage, gate, opened)) = waiting.filter(|(stage, ..)| Some(*stage) == asked_at) else {
        return Err(NotCounted::NotWaiting { state: release.summary() });
    };
    if now >= opened.expires_at {
        return Err(NotCounted::Expired { at: opened.expires_at });
    }
    if !gate.approvers.iter().any(|known| known.name == approver) {
        return Err(NotCounted::NotAnApprover { identity: approver });
    }
    if !eligible(release, gate).iter().any(|known| known.name == approver) {
        return Err(NotCounted::AskedForIt { approver });
    }
    if let Some(shown) = plan_hash
        && release.plan.as_ref().is_none_or(|plan| plan.hash() != shown)
    {
        return Err(NotCounted::OtherPlan);
    }
    Ok(counted(release, stage, Given { approver, approve, comment, at: now, via }, now))
}

/// How an answer came that did not come with an AWS identity.
const LINK: &str = "link";

fn who(release: &Release, by: &By) -> Result<(String, String), NotCounted> {
    match by {
        By::Link(token) => {
            let (_, _, approver) = holder(release, token).ok_or(NotCounted::NoSuchLink)?;
            Ok((approver.to_owned(), LINK.to_owned()))
        }
        By::Identity(arn) => {
            let people = release.plan.as_ref().map(People::of_plan).unwrap_or_default();
            let fits = people.with_identity(arn);
            let may = |name: &&&str| {
                waiting_at(release).is_some_and(|(_, gate, opened)| {
                    eligible(release, gate).iter().any(|known| known.name == **name)
                        && !opened.given.iter().any(|given| given.approver == **name)
                })
            };
            let person = fits.iter().find(may).or(fits.first());
            let person = person.ok_or_else(|| NotCounted::NotAnApprover { identity: arn.clone() })?;
            Ok(((*person).to_owned(), arn.clone()))
        }
    }
}

fn counted(release: &Release, stage: usize, given: Given, now: Timestamp) -> Commit {
    let mut next = Release { version: release.version + 1, wake: Some(Wake::soon(now)), ..release.clone() };
    let event = Event::Answered {
        approver: given.approver.clone(),
        approved: given.approve,
        comment: given.comment.clone(),
    };
    let actor = Actor::Person { name: given.approver.clone() };
    let entry = Entry {
        saw: vec![Fact::Via { identity: given.via.clone() }],
        measured: release.progress.measured,
        ..Entry::new(next.version, now, actor, event)
    };
    if let Some(opened) = next.gates.get_mut(&stage) {
        opened.given.push(given);
    }
    let write = ReleaseWrite { expected: Some(release.version), release: next, entry: Some(entry) };
    Commit { releases: vec![write], ..Commit::default() }
}

/// Keeps that someone came with a link that does not count: wrong person, wrong time, replayed.
pub fn attempted(release: &Release, why: &NotCounted, now: Timestamp) -> Option<Commit> {
    if release.is_over() {
        return None;
    }
    let next = Release { version: release.version + 1, ..release.clone() };
    let actor = Actor::Person { name: "someone with a link".into() };
    let event = Event::AnswerNotCounted { why: why.to_string() };
    let entry = Entry { measured: release.progress.measured, ..Entry::new(next.version, now, actor, event) };
    let write = ReleaseWrite { expected: Some(release.version), release: next, entry: Some(entry) };
    Some(Commit { releases: vec![write], ..Commit::default() })
}

/// What a gate has come to; `None` while it is open or not reached. Derived from where the release is, so that it can be asked at any
/// time: a release that is turned back after its approval is no approved release any more.
pub fn decided(release: &Release, gate: usize) -> Option<(bool, String)> {
    let plan = release.plan.as_ref()?;
    let is_it = |stage: &crate::plan::Stage| *stage == crate::plan::Stage::Approve { gate };
    let at = plan.stages.iter().position(is_it)?;
    let passed = || {
        let given = release.gates.get(&at).map(|opened| opened.given.as_slice()).unwrap_or_default();
        let names: Vec<&str> = given.iter().map(|given| given.approver.as_str()).collect();
        if names.is_empty() {
            "it expired, and the policy says to go on".to_owned()
        } else {
            format!("approved by {}", names.join(", "))
        }
    };
    let turned_back = |why: String| Some((false, why));
    match &release.phase {
        Phase::Queued | Phase::Preparing { .. } => None,
        Phase::Running { stage, .. } => (*stage > at).then(|| (true, passed())),
        Phase::RollingBack(back) => turned_back(back.cause.to_string()),
        Phase::Settling { outcome: Outcome::Promoted, .. }
        | Phase::Ended { outcome: Outcome::Promoted, .. } => Some((true, passed())),
        Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => {
            turned_back(release.cause().map_or_else(|| outcome.word().to_owned(), ToString::to_string))
        }
    }
}

/// What a scan of the image found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSeen {
    /// How far it is.
    pub status: ScanStatus,
    /// The findings.
    pub findings: Vec<ScanFinding>,
}

/// How far a scan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScanStatus {
    /// Done.
    Complete,
    /// Not yet, or never started.
    Pending,
    /// It cannot be done, with what AWS says.
    Failed(String),
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFinding {
    /// `CVE-2026-1234`.
    pub id: String,
    /// How bad.
    pub severity: SeverityName,
}

/// What is made of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanVerdict {
    /// Good enough; one line for people.
    Pass(String),
    /// Not known yet.
    Wait(String),
    /// Not good enough.
    Fail(String),
}

/// Judges a scan by the policy.
pub fn judge(policy: &Scan, seen: &ScanSeen, now: Timestamp) -> ScanVerdict {
    match &seen.status {
        ScanStatus::Pending => return ScanVerdict::Wait("the scan is not complete".into()),
        ScanStatus::Failed(reason) => {
            return ScanVerdict::Fail(format!("the image could not be scanned: {reason}"));
        }
        ScanStatus::Complete => {}
    }
    let allowed = |id: &str| policy.allow.iter().any(|allow: &Allowed| allow.id == id && allow.holds(now));
    let counts = |severity: SeverityName| {
        seen.findings.iter().filter(|finding| finding.severity == severity && !allowed(&finding.id)).count()
    };
    let over: Vec<String> = policy
        .max
        .iter()
        .filter_map(|(severity, max)| {
            let found = counts(*severity);
            (found > *max as usize).then(|| format!("{found} {} (allowed {max})", severity.as_str()))
        })
        .collect();
    if over.is_empty() {
        let accepted = seen.findings.iter().filter(|finding| allowed(&finding.id)).count();
        ScanVerdict::Pass(format!(
            "{} findings, {accepted} of them accepted by the policy",
            seen.findings.len()
        ))
    } else {
        ScanVerdict::Fail(format!("the scan found {}", over.join(", ")))
    }
}

/// A verification build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSeen {
    /// Its id: `project:uuid`.
    pub id: String,
    /// How far it is.
    pub status: BuildStatus,
    /// Where its log is read.
    pub log_url: Option<String>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildStatus {
    /// Under way.
    InProgress,
    /// It ended well.
    Succeeded,
    /// It did not: FAILED, FAULT, STOPPED, TIMED_OUT, or what AWS may add, as AWS spells it.
    Failed(String),
}
