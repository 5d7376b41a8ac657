//! The gates of a release: what has been asked of whom, what was answered. Approvals are bound to release, plan and person, and used once.

use crate::approval::{ApprovalGate, Approver, Opened, Token, Vote, same_secret};
use crate::vocab::ecr::{ScanSeen, ScanStatus};
use jiff::Timestamp;

use crate::actor::Actor;
use crate::commit::{Commit, ReleaseWrite};
use crate::history::{Entry, Event, Fact};
use crate::ids::SlackMember;
use crate::outcome::Outcome;
use crate::people::{People, Requester};
use crate::policy::{Allowed, Scan, SeverityName};
use crate::release::{Phase, Release, Wake};

/// Who answers a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Whoever holds the token of a link.
    Link(Token),
    /// A caller with an AWS identity.
    Identity(String),
    /// A member of a Slack workspace, as Slack itself has signed it.
    Slack(SlackMember),
}

/// Why an answer does not count; fits "cannot approve: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum NotCounted {
    /// No such link: forged, replaced by a newer one, or of another release. Says nothing about any release.
    #[error("this link is not valid")]
    NoSuchLink,
    /// The identity belongs to nobody who may approve.
    #[error(
        "{identity} belongs to nobody who may approve this gate; aws and slack in the policy's people say who is who"
    )]
    NotAnApprover {
        /// The caller's ARN, or their name.
        identity: String,
    },
    /// The policy does not let whoever asked for a release approve it.
    #[error("{approver} asked for this release, or made it, and the policy lets nobody approve their own")]
    AskedForIt { approver: String },
    /// It has been answered.
    #[error("{approver} has already {} at {at:.0}", if *.approved { "approved" } else { "rejected" })]
    AlreadyGiven { approver: String, approved: bool, at: Timestamp },
    /// The release does not wait at this gate (any more).
    #[error("the release does not wait for this approval: it is {state}")]
    NotWaiting { state: String },
    /// The gate's time is over.
    #[error("the approval expired at {at:.0}")]
    Expired { at: Timestamp },
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
    people_of(release).requester_of(release)
}

/// Who asked for a release, for whoever has to approve it.
pub fn asked_by(release: &Release) -> String {
    let by = crate::release::requester(release);
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
        By::Identity(_) | By::Slack(_) => waiting.map(|(stage, ..)| stage).or_else(|| {
            let answered = |opened: &Opened| opened.votes.iter().any(|vote| vote.approver == approver);
            release.gates.iter().rev().find(|(_, opened)| answered(opened)).map(|(stage, _)| *stage)
        }),
    };
    // An identity that fits several people still is one: it answers a gate once, under whichever name.
    let answered_by = |vote: &&Vote| vote.approver == approver || (via != LINK && vote.via == via);
    let vote = asked_at
        .and_then(|stage| release.gates.get(&stage))
        .and_then(|opened| opened.votes.iter().find(answered_by));
    if let Some(vote) = vote {
        return Err(NotCounted::AlreadyGiven {
            approver: vote.approver.clone(),
            approved: vote.approve,
            at: vote.at,
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
    Ok(counted(release, stage, Vote { approver, approve, comment, at: now, via }, now))
}

/// How an answer came that did not come with an AWS identity.
const LINK: &str = "link";

fn who(release: &Release, by: &By) -> Result<(String, String), NotCounted> {
    match by {
        By::Link(token) => {
            let (_, _, approver) = holder(release, token).ok_or(NotCounted::NoSuchLink)?;
            Ok((approver.to_owned(), LINK.to_owned()))
        }
        By::Identity(arn) => fitting(release, &people_of(release).with_identity(arn), arn.clone()),
        By::Slack(member) => {
            let fits = people_of(release).with_slack(member);
            fitting(release, &fits, format!("Slack member {member}"))
        }
    }
}

fn people_of(release: &Release) -> People<'_> {
    release.plan.as_ref().map(People::of_plan).unwrap_or_default()
}

/// Of the people an identity fits, the one whose answer is asked for; with how the answer came.
fn fitting(release: &Release, fits: &[&str], identity: String) -> Result<(String, String), NotCounted> {
    let may = |name: &&&str| {
        waiting_at(release).is_some_and(|(_, gate, opened)| {
            eligible(release, gate).iter().any(|known| known.name == **name)
                && !opened.votes.iter().any(|vote| vote.approver == **name)
        })
    };
    match fits.iter().find(may).or(fits.first()) {
        Some(person) => Ok(((*person).to_owned(), identity)),
        None => Err(NotCounted::NotAnApprover { identity }),
    }
}

fn counted(release: &Release, stage: usize, vote: Vote, now: Timestamp) -> Commit {
    let mut next = Release { version: release.version + 1, wake: Some(Wake::soon(now)), ..release.clone() };
    let event = Event::Answered {
        approver: vote.approver.clone(),
        approved: vote.approve,
        comment: vote.comment.clone(),
    };
    let actor = Actor::Person { name: vote.approver.clone() };
    let entry = Entry {
        saw: vec![Fact::Via { identity: vote.via.clone() }],
        measured: release.progress.measured,
        ..Entry::new(next.version, now, actor, event)
    };
    if let Some(opened) = next.gates.get_mut(&stage) {
        opened.votes.push(vote);
    }
    let write = ReleaseWrite { before: Some(Box::new(release.clone())), release: next, entry: Some(entry) };
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
    let write = ReleaseWrite { before: Some(Box::new(release.clone())), release: next, entry: Some(entry) };
    Some(Commit { releases: vec![write], ..Commit::default() })
}

/// What a gate has come to; `None` while it is open or not reached. Derived from where the release is, so that it can be asked at any
/// time: a release that is rolled back after its approval is no approved release any more.
pub fn decided(release: &Release, gate: usize) -> Option<(bool, String)> {
    let plan = release.plan.as_ref()?;
    let is_it = |stage: &crate::plan::Stage| *stage == crate::plan::Stage::Approve { gate };
    let at = plan.stages.iter().position(is_it)?;
    let passed = || {
        let given = release.gates.get(&at).map(|opened| opened.votes.as_slice()).unwrap_or_default();
        let names: Vec<&str> = given.iter().map(|vote| vote.approver.as_str()).collect();
        if names.is_empty() {
            "it expired, and the policy says to continue".to_owned()
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

impl ScanVerdict {
    fn severity(&self) -> u8 {
        match self {
            Self::Pass(_) => 0,
            Self::Wait(_) => 1,
            Self::Fail(_) => 2,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Pass(why) | Self::Wait(why) | Self::Fail(why) => why,
        }
    }

    /// With other words.
    #[must_use]
    pub fn map(self, of: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Pass(why) => Self::Pass(of(why)),
            Self::Wait(why) => Self::Wait(of(why)),
            Self::Fail(why) => Self::Fail(of(why)),
        }
    }

    /// Of two images: the worse of both, and both told where they are alike.
    pub fn with(before: Option<Self>, next: Self) -> Option<Self> {
        let Some(before) = before else { return Some(next) };
        Some(match before.severity().cmp(&next.severity()) {
            std::cmp::Ordering::Less => next,
            std::cmp::Ordering::Greater => before,
            std::cmp::Ordering::Equal => next.map(|why| format!("{}; {why}", before.text())),
        })
    }
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
