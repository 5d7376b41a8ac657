//! What a release ends as, and why it did not continue.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::effect::EffectKind;
use crate::evidence::{Measured, Passed};
use crate::finding::Finding;
use crate::ids::{AlarmName, ReleaseId};
use crate::policy::Ratio;
use crate::vocab::tasks::FailedTask;

/// What a release ends as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Outcome {
    /// All traffic is on the new version.
    Promoted,
    /// The service is what it was before.
    RolledBack { cause: Cause },
    /// Something newer took its place.
    Superseded { by: Successor },
    /// A person cancelled it.
    Cancelled { by: Actor, why: String },
    /// Manual intervention required.
    Failed {
        /// What went wrong.
        cause: Cause,
        /// Exactly what a person has to do.
        needs: String,
    },
}

impl Outcome {
    /// Why a release that was to end like this is rolled back once more: for what led to it, or for `detail`.
    pub(crate) fn into_cause(self, detail: String) -> Cause {
        match self {
            Self::RolledBack { cause } | Self::Failed { cause, .. } => cause,
            Self::Cancelled { by, why } => Cause::CancelRequested { by, why },
            Self::Superseded { by: Successor::Release(release) } => Cause::Newer { release },
            Self::Superseded { by: Successor::Policy } | Self::Promoted => {
                Cause::Deployment { reason: detail }
            }
        }
    }

    /// One word for tables and exit codes.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack { .. } => "rolled back",
            Self::Superseded { .. } => "superseded",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why it is no promotion.
    pub fn because(&self) -> Option<String> {
        match self {
            Self::Promoted => None,
            Self::RolledBack { cause } | Self::Failed { cause, .. } => Some(cause.to_string()),
            Self::Superseded { by } => Some(format!("{by} takes its place")),
            Self::Cancelled { by, why } => Some(format!("{by}: {why}")),
        }
    }
}

/// What takes a release's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Successor {
    /// A newer release.
    Release(ReleaseId),
    /// A policy that sends the service's releases somewhere else.
    Policy,
}

impl From<ReleaseId> for Successor {
    fn from(release: ReleaseId) -> Self {
        Self::Release(release)
    }
}

impl std::fmt::Display for Successor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Release(release) => write!(f, "release {release}"),
            Self::Policy => f.write_str("a policy with another target"),
        }
    }
}

/// A gate of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// People approve.
    Approval,
    /// No freeze window is open.
    Freeze,
    /// The image's scan.
    Scan,
    /// A build that tries the candidate.
    Verification,
}

impl std::fmt::Display for GateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Approval => "approval",
            Self::Freeze => "freeze",
            Self::Scan => "scan",
            Self::Verification => "verification",
        })
    }
}

/// Why a release did not continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Cause {
    /// An alarm of the policy went off.
    Alarm {
        alarm: AlarmName,
        /// What CloudWatch said.
        reason: String,
        /// When it went off, by CloudWatch's clock.
        at: Option<Timestamp>,
    },
    /// ECS ended or rolled back the deployment by itself: circuit breaker, its own alarm watch, a hook's timeout.
    Deployment {
        /// What ECS said.
        reason: String,
    },
    /// The candidate could not be made, or cannot run.
    Candidate {
        /// What was seen.
        detail: String,
    },
    /// A person asked for it.
    Requested { by: Actor, why: String },
    /// A person cancelled the release.
    CancelRequested { by: Actor, why: String },
    /// It was a drill, and got as far as it should.
    Drill,
    /// A newer release replaces this one (`on_newer: replace`).
    Newer { release: ReleaseId },
    /// AWS refused an effect for good.
    Refused {
        effect: EffectKind,
        /// What AWS said.
        error: String,
    },
    /// Tasks of the candidate crashed, did not start or failed their health checks.
    FailedTasks { count: u32, last: Box<FailedTask> },
    /// Too little was seen of the candidate to promote it.
    Inconclusive {
        /// What was seen, what should have been, and what to do.
        detail: String,
    },
    /// It does worse than the stable version beside it.
    Regression {
        measured: Box<Measured>,
        /// How many times as much would not be worse.
        tolerated: Ratio,
    },
    /// A metric passed its limit.
    Limit { passed: Box<Passed> },
    /// A stage took longer than it may.
    TimedOut {
        stage: String,
        /// Its limit, seconds.
        limit_secs: u64,
    },
    /// A person paused it, and nobody continued it in time.
    PauseExpired {
        by: Actor,
        /// How long people may pause a release in all, seconds.
        limit_secs: u32,
    },
    /// The live weights are not what the stage set.
    Weights {
        /// What was seen, what should be.
        detail: String,
    },
    /// Preflight found what must be fixed first.
    Preflight {
        /// What it found.
        findings: Vec<Finding>,
    },
    /// A person said no, or nobody said yes in time.
    Rejected {
        /// Who; Tidegate when the time ran out.
        by: Actor,
        /// What they said.
        why: String,
    },
    /// A gate of the policy did not open: freeze, scan, verification.
    Gate { gate: GateKind, detail: String },
    /// Someone else deployed to the service meanwhile.
    ExternalDeployment {
        /// What was seen.
        detail: String,
    },
    /// The images that run are not those that should.
    Images {
        /// Which container runs which.
        detail: String,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alarm { alarm, reason, .. } => write!(f, "alarm {alarm} went off: {reason}"),
            Self::Deployment { reason } => write!(f, "Amazon ECS ended the deployment: {reason}"),
            Self::Candidate { detail } => f.write_str(detail),
            Self::Requested { by, why } => write!(f, "{by} asked to roll back: {why}"),
            Self::CancelRequested { by, why } => write!(f, "{by} cancelled it: {why}"),
            Self::Drill => f.write_str("it is a drill: rolled back on purpose, to see that it works"),
            Self::Newer { release } => write!(f, "the newer release {release} replaces it"),
            Self::Refused { effect, error } => write!(f, "AWS refused to {effect}: {error}"),
            Self::FailedTasks { count, last } => {
                let tasks = if *count == 1 { "1 task".to_owned() } else { format!("{count} tasks") };
                write!(f, "{tasks} of the candidate failed: {last}")?;
                last.log.as_ref().map_or(Ok(()), |log| write!(f, "; its log: {}", log.url()))
            }
            Self::Inconclusive { detail } => write!(f, "too little was seen to continue: {detail}"),
            Self::Regression { measured, tolerated } => {
                write!(
                    f,
                    "it does worse than the stable version beside it: {measured}; {tolerated} times is tolerated"
                )
            }
            Self::Limit { passed } => passed.fmt(f),
            Self::TimedOut { stage, limit_secs } => {
                let limit = i64::try_from(*limit_secs)
                    .map_or(jiff::SignedDuration::MAX, jiff::SignedDuration::from_secs);
                write!(f, "stage \"{stage}\" took longer than {}", crate::words::span(limit))
            }
            Self::PauseExpired { by, limit_secs } => {
                let limit = crate::words::span(jiff::SignedDuration::from_secs(i64::from(*limit_secs)));
                write!(
                    f,
                    "{by} paused it, and nobody continued it: a release may be paused for {limit} in all"
                )
            }
            Self::Weights { detail } => write!(f, "the live weights are not what was set: {detail}"),
            Self::Preflight { findings } => {
                let problems: Vec<&str> = findings.iter().map(|finding| finding.problem.as_str()).collect();
                write!(f, "preflight: {}", problems.join("; "))
            }
            Self::Rejected { by, why } => write!(f, "{by} rejected it: {why}"),
            Self::Gate { gate, detail } => write!(f, "{gate}: {detail}"),
            Self::ExternalDeployment { detail } => {
                write!(f, "someone else deployed to the service: {detail}")
            }
            Self::Images { detail } => write!(f, "another image runs than should: {detail}"),
        }
    }
}
