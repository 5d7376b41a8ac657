//! One release as it is shown.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_core::approval::{Opened, Vote};
use tidegate_core::change::Change;
use tidegate_core::history::{AlarmStands, Deadline, Entry, Event, Fact, Report, WaitingOn};
use tidegate_core::ids::{AlarmName, ReleaseId, ServiceName, Target};
use tidegate_core::intent::{Intent, Pause, PromoteNow};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::Percent;
use tidegate_core::release::{Phase, Release, requester};
use tidegate_core::vocab::tasks::{FailedTask, Failure, LogStream};

use crate::comparison::{ComparisonView, comparisons};
use crate::live::Live;
use crate::stages::{StageView, stages};

/// Where a release is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for the release before it.
    Queued,
    /// The plan is being made and the rollback target proven.
    Preflight,
    /// In a stage of its plan.
    Running,
    /// Being rolled back.
    RollingBack,
    /// Traffic is where it belongs; the service's configuration is restored.
    Settling,
    /// Ended: all traffic is on the new version.
    Promoted,
    /// Ended: the service is what it was before.
    RolledBack,
    /// Ended: a newer release took its place.
    Superseded,
    /// Ended: it was cancelled.
    Cancelled,
    /// Ended: manual intervention required.
    Failed,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ReleaseView {
    /// Its id.
    pub release: ReleaseId,
    pub service: ServiceName,
    /// Where it goes.
    pub target: Target,
    /// What is released.
    pub images: Change,
    /// The release this one goes back to, when it is a manual rollback.
    pub goes_back_to: Option<ReleaseId>,
    /// It brings what runs already, and is rolled back on purpose.
    pub drill: bool,
    /// Who or what asked for it.
    pub requested_by: String,
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: u64,
    pub state: State,
    /// Where it is, for people.
    pub summary: String,
    /// Whether it has ended.
    pub over: bool,
    pub ended_at: Option<Timestamp>,
    /// What a command that tells of it ends with now.
    pub exit_code: u8,
    /// The plan's hash, once there is a plan.
    pub plan: Option<String>,
    /// The stages, once there is a plan.
    pub stages: Vec<StageView>,
    /// The candidate's share that was set last.
    pub set_percent: Option<Percent>,
    /// The candidate's share on the load balancer.
    pub measured_percent: Option<Percent>,
    /// Whether the share was read just now; otherwise it is what the release saw last.
    pub measured_live: bool,
    /// The alarms it is judged by.
    pub alarms: Vec<AlarmView>,
    /// Tasks of the candidate that failed, in the order they were noticed.
    pub failed_tasks: Vec<FailedTaskView>,
    /// The requests the candidate was seen to answer in the bake it is in, or was in last, at least.
    pub requests_seen: Option<u64>,
    /// How many each bake has to see; null where none are needed.
    pub requests_needed: Option<u32>,
    /// What was counted of the candidate beside the stable version while both had traffic.
    pub comparisons: Vec<ComparisonView>,
    /// The approvals that have been asked for.
    pub approvals: Vec<ApprovalView>,
    /// That a person holds it where it is.
    pub paused: Option<PausedView>,
    /// That a person does not wait for the end of its bakes.
    pub promote_now: Option<PromoteNowView>,
    /// The rollback, while it is under way and after it.
    pub back: Option<BackView>,
    /// Why it did not continue.
    pub cause: Option<CauseView>,
    /// Why it ended as it did, when that is not promotion.
    pub because: Option<String>,
    /// Exactly what a person has to do.
    pub needs: Option<String>,
    /// What happens next.
    pub next: NextView,
    /// What was seen and weighed last.
    pub facts: Vec<String>,
    /// What could not be read just now.
    pub unseen: Vec<String>,
    /// What happened, oldest first.
    pub history: Vec<EntryView>,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct AlarmView {
    pub name: String,
    /// `OK`, `ALARM`, `INSUFFICIENT_DATA`, `MISSING`; null when it could not be read.
    pub state: Option<String>,
    pub since: Option<Timestamp>,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Who silences it.
    pub silenced: Option<String>,
}

/// A task of the candidate that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct FailedTaskView {
    /// Its full name.
    pub task: String,
    pub at: Option<Timestamp>,
    /// `exited`, `not_started` or `unhealthy`.
    pub failure: Failure,
    /// The container that failed.
    pub container: Option<String>,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// Why the target stopped the task, as it spells it.
    pub stop_code: Option<String>,
    /// What the target says.
    pub reason: Option<String>,
    /// Where its output is read.
    pub log_url: Option<String>,
    /// All of it for people.
    pub text: String,
}

impl From<&FailedTask> for FailedTaskView {
    fn from(failed: &FailedTask) -> Self {
        Self {
            task: failed.task.to_string(),
            at: failed.at,
            failure: failed.failure,
            container: failed.container.as_ref().map(ToString::to_string),
            exit_code: failed.exit_code,
            stop_code: failed.stop_code.as_ref().map(|code| code.as_str().to_owned()),
            reason: failed.reason.clone(),
            log_url: failed.log.as_ref().map(LogStream::url),
            text: failed.to_string(),
        }
    }
}

/// An approval that has been asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct ApprovalView {
    /// The number of the stage.
    pub stage: usize,
    /// `deploy`, `shift` or `promote`.
    pub before: String,
    /// How many have to approve.
    pub count: u8,
    /// Who may.
    pub approvers: Vec<String>,
    /// Since when it is waited for.
    pub opened_at: Timestamp,
    pub expires_at: Timestamp,
    /// What has been answered.
    pub votes: Vec<VoteView>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct VoteView {
    pub approver: String,
    /// Yes or no.
    pub approved: bool,
    /// What they said.
    pub comment: Option<String>,
    pub at: Timestamp,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PausedView {
    pub by: String,
    pub why: String,
    pub since: Timestamp,
    /// Until when it may last: then the release is rolled back.
    pub until: Timestamp,
}

impl From<&Pause> for PausedView {
    fn from(pause: &Pause) -> Self {
        let Pause { by, why, since, until } = pause;
        Self { by: by.to_string(), why: why.clone(), since: *since, until: *until }
    }
}

/// That a person does not wait for the end of the bakes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PromoteNowView {
    pub by: String,
    pub why: String,
    pub at: Timestamp,
}

impl From<&PromoteNow> for PromoteNowView {
    fn from(asked: &PromoteNow) -> Self {
        let PromoteNow { by, why, at } = asked;
        Self { by: by.to_string(), why: why.clone(), at: *at }
    }
}

/// The rollback.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct BackView {
    /// The version that comes back, by its name for people.
    pub to: Option<String>,
    pub since: Option<Timestamp>,
    /// When the stable version was first seen to carry all traffic again.
    pub restored_at: Option<Timestamp>,
}

/// Why a release did not continue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseView {
    /// `alarm`, `deployment`, `requested`, `cancel_requested`, `newer`, `refused`, `failed_tasks`, `inconclusive`, `timed_out`, `pause_expired`, `weights`, `preflight`, `external_deployment`,
    /// `rejected`, `gate`.
    pub kind: &'static str,
    /// For people.
    pub text: String,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NextView {
    /// What is waited for, or done next.
    pub what: String,
    /// The same as data.
    pub waiting_on: WaitingOn,
    /// When it is looked at again at the latest.
    pub at: Option<Timestamp>,
    /// Until when that may take, and what happens then; null where nothing is waited for, or for as long as it takes.
    pub deadline: Option<Deadline>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct EntryView {
    /// The version it led to.
    pub version: u64,
    pub at: Timestamp,
    pub by: String,
    /// What happened, as data.
    pub event: Event,
    /// The same for people.
    pub what: String,
    pub why: String,
    /// What was seen.
    pub saw: Vec<String>,
    /// What was done to the world.
    pub effects: Vec<String>,
    /// The candidate's share at that moment.
    pub measured_percent: Option<Percent>,
}

impl ReleaseView {
    /// A release, its history and what can be seen of it right now.
    pub fn new(release: &Release, history: &[Entry], live: &Live) -> Self {
        Self {
            release: release.id.clone(),
            service: release.service.clone(),
            target: release.target.clone(),
            images: release.change.clone(),
            goes_back_to: match &release.intent {
                Intent::Deploy | Intent::Drill => None,
                Intent::Rollback { to, .. } => Some(to.clone()),
            },
            drill: release.intent == Intent::Drill,
            requested_by: requester(release),
            created_at: release.created_at,
            version: release.version,
            state: state(&release.phase),
            summary: summary(release),
            over: release.is_over(),
            ended_at: ended_at(&release.phase),
            exit_code: state(&release.phase).exit_code(),
            plan: release.plan.as_ref().map(tidegate_core::plan::Plan::hash),
            stages: stages(release, history),
            set_percent: release.progress.set,
            measured_percent: live.measured.or(release.progress.measured),
            measured_live: live.measured.is_some(),
            alarms: alarms(release, live),
            failed_tasks: release.progress.failed_tasks.iter().map(FailedTaskView::from).collect(),
            requests_seen: release.progress.requests.map(|seen| seen.count),
            requests_needed: release
                .plan
                .as_ref()
                .and_then(|plan| plan.evidence.as_deref())
                .map(|evidence| evidence.min_requests)
                .filter(|count| *count > 0),
            comparisons: comparisons(release),
            approvals: approvals(release),
            paused: release.pause.as_ref().map(PausedView::from),
            promote_now: release.promote_now.as_ref().map(PromoteNowView::from),
            back: back(release, history),
            cause: release
                .cause()
                .map(|cause| CauseView { kind: cause_kind(cause), text: cause.to_string() }),
            because: because(release),
            needs: needs(release),
            next: next(release),
            facts: release.report.facts.iter().map(ToString::to_string).collect(),
            unseen: live.unseen.clone(),
            history: entries(history),
        }
    }
}

impl State {
    /// With what a command ends that tells of a release there.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Promoted => 0,
            Self::RolledBack => 3,
            Self::Failed => 4,
            Self::Superseded | Self::Cancelled => 5,
            Self::Queued | Self::Preflight | Self::Running | Self::RollingBack | Self::Settling => 6,
        }
    }
}

pub(super) fn state(phase: &Phase) -> State {
    match phase {
        Phase::Queued => State::Queued,
        Phase::Preparing { .. } => State::Preflight,
        Phase::Running { .. } => State::Running,
        Phase::RollingBack(_) => State::RollingBack,
        Phase::Settling { .. } => State::Settling,
        Phase::Ended { outcome, .. } => match outcome {
            Outcome::Promoted => State::Promoted,
            Outcome::RolledBack { .. } => State::RolledBack,
            Outcome::Superseded { .. } => State::Superseded,
            Outcome::Cancelled { .. } => State::Cancelled,
            Outcome::Failed { .. } => State::Failed,
        },
    }
}

pub(super) fn ended_at(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Ended { at, .. } => Some(*at),
        Phase::Queued
        | Phase::Preparing { .. }
        | Phase::Running { .. }
        | Phase::RollingBack(_)
        | Phase::Settling { .. } => None,
    }
}

/// Where a release is, for people; the cause of what went wrong is told beside.
pub fn summary(release: &Release) -> String {
    match release.phase {
        Phase::RollingBack(_) => "rolling back".into(),
        Phase::Queued
        | Phase::Preparing { .. }
        | Phase::Running { .. }
        | Phase::Settling { .. }
        | Phase::Ended { .. } => release.summary(),
    }
}

fn outcome(phase: &Phase) -> Option<&Outcome> {
    match phase {
        Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => Some(outcome),
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } | Phase::RollingBack(_) => None,
    }
}

/// Why a release ends, or is rolled back, when it is not promoted.
pub fn because(release: &Release) -> Option<String> {
    let cause = release.cause().map(ToString::to_string);
    cause.or_else(|| outcome(&release.phase)?.because())
}

fn needs(release: &Release) -> Option<String> {
    match outcome(&release.phase)? {
        Outcome::Failed { needs, .. } => Some(needs.clone()),
        Outcome::Promoted => release.progress.restore_pending.clone(),
        Outcome::RolledBack { .. } | Outcome::Superseded { .. } | Outcome::Cancelled { .. } => None,
    }
}

fn next(release: &Release) -> NextView {
    let Report { waiting_on, deadline, .. } = &release.report;
    let at = release.wake.as_ref().map(|wake| wake.at);
    NextView {
        what: waiting_on.to_string(),
        waiting_on: waiting_on.clone(),
        at,
        deadline: deadline.clone().filter(|_| at.is_some()),
    }
}

/// The alarms a release is judged by: as they were seen just now, or at its last look as far as that was told.
pub fn alarms(release: &Release, live: &Live) -> Vec<AlarmView> {
    let Some(plan) = &release.plan else { return Vec::new() };
    let view = |name: &AlarmName| match &live.alarms {
        Some(seen) => match seen.get(name) {
            Some(alarm) => AlarmView {
                name: name.to_string(),
                state: Some(alarm.state.as_str().to_owned()),
                since: alarm.since,
                reason: Some(alarm.reason.clone()),
                silenced: alarm.silenced.clone(),
            },
            None => AlarmView::of_state(name, Some(MISSING.to_owned())),
        },
        None => AlarmView::of_state(name, told(release, name)),
    };
    plan.alarms.iter().map(view).collect()
}

const MISSING: &str = "MISSING";

/// How the alarm stood at the last look.
fn told(release: &Release, alarm: &AlarmName) -> Option<String> {
    release.report.facts.iter().find_map(|fact| {
        let Fact::Alarm { name, state } = fact else { return None };
        match state.as_ref().filter(|_| name == alarm)? {
            AlarmStands::Is(state) => Some(state.as_str().to_owned()),
            AlarmStands::Gone => Some(MISSING.to_owned()),
        }
    })
}

impl AlarmView {
    fn of_state(name: &AlarmName, state: Option<String>) -> Self {
        Self { name: name.to_string(), state, since: None, reason: None, silenced: None }
    }
}

fn approvals(release: &Release) -> Vec<ApprovalView> {
    release.gates.iter().filter_map(|(stage, opened)| approval(release, *stage, opened)).collect()
}

fn approval(release: &Release, stage: usize, opened: &Opened) -> Option<ApprovalView> {
    let plan = release.plan.as_ref()?;
    let Some(Stage::Approve { gate }) = plan.stages.get(stage) else { return None };
    let gate = plan.gates.approvals.get(*gate)?;
    Some(ApprovalView {
        stage: stage + 1,
        before: gate.approval.before.to_string(),
        count: gate.approval.count,
        approvers: gate.approvers.iter().map(|person| person.name.clone()).collect(),
        opened_at: opened.at,
        expires_at: opened.expires_at,
        votes: opened.votes.iter().map(VoteView::from).collect(),
    })
}

/// The approval a release waits for.
pub fn waiting_approval(release: &Release) -> Option<ApprovalView> {
    let (stage, _, opened) = tidegate_core::gate::waiting_at(release)?;
    approval(release, stage, opened)
}

impl From<&Vote> for VoteView {
    fn from(vote: &Vote) -> Self {
        Self {
            approver: vote.approver.clone(),
            approved: vote.approve,
            comment: vote.comment.clone(),
            at: vote.at,
        }
    }
}

fn back(release: &Release, history: &[Entry]) -> Option<BackView> {
    let (since, restored_at) = match &release.phase {
        Phase::RollingBack(back) => (Some(back.since), back.restored_at),
        Phase::Settling { outcome: Outcome::Promoted, .. }
        | Phase::Ended { outcome: Outcome::Promoted, .. } => {
            return None;
        }
        Phase::Settling { restored_at, .. } | Phase::Ended { restored_at, .. } => {
            let begins = |event: &Event| matches!(event, Event::RollingBack { .. });
            let began = history.iter().find(|entry| entry.events().any(begins)).map(|entry| entry.at);
            if began.is_none() && restored_at.is_none() {
                return None;
            }
            (began, *restored_at)
        }
        Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } => return None,
    };
    let to = release.rollback_name().map(ToOwned::to_owned);
    Some(BackView { to, since, restored_at })
}

/// The stable name of a cause.
pub fn cause_kind(cause: &Cause) -> &'static str {
    match cause {
        Cause::Alarm { .. } => "alarm",
        Cause::Deployment { .. } => "deployment",
        Cause::Candidate { .. } => "candidate",
        Cause::Requested { .. } => "requested",
        Cause::CancelRequested { .. } => "cancel_requested",
        Cause::Newer { .. } => "newer",
        Cause::Refused { .. } => "refused",
        Cause::FailedTasks { .. } => "failed_tasks",
        Cause::Inconclusive { .. } => "inconclusive",
        Cause::Regression { .. } => "regression",
        Cause::Limit { .. } => "limit",
        Cause::TimedOut { .. } => "timed_out",
        Cause::Drill => "drill",
        Cause::PauseExpired { .. } => "pause_expired",
        Cause::Weights { .. } => "weights",
        Cause::Preflight { .. } => "preflight",
        Cause::ExternalDeployment { .. } => "external_deployment",
        Cause::Rejected { .. } => "rejected",
        Cause::Gate { .. } => "gate",
        Cause::Images { .. } => "images",
    }
}

/// History entries as they are shown.
pub fn entries(history: &[Entry]) -> Vec<EntryView> {
    history
        .iter()
        .map(|entry| EntryView {
            version: entry.version,
            at: entry.at,
            by: entry.actor.to_string(),
            what: entry.event.to_string(),
            why: entry.event.why(),
            saw: entry.details(),
            effects: entry.actions.iter().map(ToString::to_string).collect(),
            event: entry.event.clone(),
            measured_percent: entry.measured,
        })
        .collect()
}
