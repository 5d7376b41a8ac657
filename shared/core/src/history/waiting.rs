//! What a release waits for, until when, and what is missing: a closed list.
#![expect(missing_docs, reason = "fields are named after what they hold")]

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::evidence::Version;
use crate::finding::Finding;
use crate::ids::{AlarmName, FunctionVersion, ReleaseId};
use crate::outcome::Outcome;
use crate::plan::{Compared, Stage};
use crate::policy::Percent;
use crate::vocab::cloudwatch::AlarmState;
use crate::words::span;

/// What is waited for, or done next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "waiting_on", rename_all = "snake_case")]
pub enum WaitingOn {
    /// The release has ended.
    Nothing,
    /// Its turn; behind another release where one is under way.
    Turn {
        behind: Option<ReleaseId>,
    },
    /// Preflight, for the first time or again.
    Preflight {
        again: bool,
    },
    /// What preflight found and what may pass by itself.
    Findings {
        findings: Vec<Finding>,
        within_secs: u32,
    },
    /// A stage that begins now.
    Stage {
        stage: Stage,
    },
    /// A person, who holds the release.
    Paused {
        by: Actor,
        why: String,
        until: Timestamp,
    },
    /// Another look: something could not be seen.
    Look {
        unseen: Unseen,
    },
    /// Amazon ECS lists a deployment and has to say what it brings.
    Description {
        before: Before,
    },

    Approvals {
        missing: usize,
        of: Vec<String>,
        until: Timestamp,
    },
    Invitations,
    FreezeEnd {
        window: String,
        until: Timestamp,
    },
    Scan {
        why: String,
    },
    BuildStart,
    Build,

    Registration {
        /// It was there before, and has been deregistered.
        again: bool,
    },
    DeploymentStart,
    CandidateTasks,
    /// The image has to be taken by `$LATEST` and published.
    Publication,
    /// The alias has to show what was set.
    Routing,
    /// `$LATEST` has to run again what it ran.
    CodeRestored,
    /// A published version has to be ready for invocations.
    VersionReady {
        version: FunctionVersion,
    },
    /// Something may not continue before what is missing is there.
    Held {
        what: Held,
        missing: Missing,
    },
    /// The pause before a shift.
    Pause {
        percent: Percent,
    },
    Shift {
        percent: Percent,
    },
    /// The deployment was continued and still waits; it has been continued again.
    ContinuedAgain,
    /// The load balancer has to show the weights.
    WeightsShown,
    Bake {
        percent: Percent,
        until: Timestamp,
        /// What is missing now and would hold the release at the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<Missing>,
    },
    TasksReplaced {
        /// The deployment itself is over.
        last: bool,
    },
    Promotion,

    /// Amazon ECS rolls the deployment back.
    Rollback {
        asked: bool,
    },
    /// Whether the revision to roll back to is still there.
    RollbackRevision,
    Redeployment,
    /// The stable version is deployed again, and has to be seen.
    Restored {
        what: Restored,
    },

    /// Another deployment has to pass the pauses it inherited from us.
    OtherDeployment,
    Withdrawal,
    ConfigurationRestored,
    /// Requests under way have to end where the candidate's tasks are taken away.
    Draining {
        until: Timestamp,
    },
    /// The candidate's service has to be gone.
    CanaryGone,
    /// What scales the service has to be as it was.
    ScalingRestored,
    /// Calls decided earlier may still be under way.
    InFlightCalls {
        until: Timestamp,
    },
    /// The images that run have to be those that should.
    Images {
        detail: String,
    },
    /// Traffic has to be where the outcome says.
    Traffic {
        outcome: Box<Outcome>,
        detail: String,
    },

    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

/// What could not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    ServiceRecord,
    Service,
    Deployment,
    /// Whether a deployment was started at all.
    AnyDeployment,
    TaskDefinition,
    Weights,
    Build,
    /// Something preflight needs.
    Preflight,
    /// Something the look directly before the start needs.
    BeforeStart,
}

/// Before what a deployment has to be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    NextStep,
    End,
    /// It may be this release's own.
    Rollback,
    /// It may bring the stable version back.
    Redeployment,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    Start,
    Shift,
    BakeEnd,
    Promotion,
}

/// What has to be seen after the stable version was deployed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Restored {
    Weights,
    TaskDefinition,
    Traffic,
    LastTasks,
    Images { detail: String },
}

/// What is missing before a release may continue: evidence that is not there, or does not say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "missing", rename_all = "snake_case")]
pub enum Missing {
    /// The alarms could not be read.
    Alarms { error: String },
    /// An alarm does not exist any more.
    Alarm { name: AlarmName },
    /// An alarm is OK, and that says nothing about now.
    AlarmProof { name: AlarmName, why: String },
    /// CloudWatch was told to leave an alarm alone: it turns nothing back, and it proves nothing.
    AlarmSilenced { name: AlarmName, by: String },
    /// An alarm is not OK.
    AlarmOk { name: AlarmName, state: AlarmState },
    /// The look took so long that it says nothing about now.
    FreshLook,
    /// The live weights could not be read.
    Weights { why: String },
    /// The load balancer does not show the weights that were set before.
    WeightsShown { detail: Option<String> },
    /// Fewer requests were seen than the policy asks for.
    Requests { seen: u64, needed: u64, error: Option<String> },
    /// The numbers of both versions could not be read.
    Numbers { error: String },
    /// The newest numbers are bad, and may still change.
    Settled { of: Compared },
    /// A metric that has a limit has had no value.
    Value { metric: String },
    /// A metric that is compared has said nothing of one of the versions.
    Compared { of: Compared, version: Version },
    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

impl WaitingOn {
    /// When it is over by itself, where that is known.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        if let Self::Bake { until, .. }
        | Self::Approvals { until, .. }
        | Self::FreezeEnd { until, .. }
        | Self::InFlightCalls { until }
        | Self::Draining { until } = self
        {
            return Some(*until);
        }
        None
    }
}

impl std::fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing: the release has ended"),
            Self::Turn { behind: None } => f.write_str("its turn"),
            Self::Turn { behind: Some(active) } => write!(f, "it is queued behind release {active}"),
            Self::Preflight { again: false } => f.write_str(
                "preflight: prove that the candidate can start and that the stable version can come back",
            ),
            Self::Preflight { again: true } => {
                f.write_str("preflight again: nothing has been started, and the plan is made anew")
            }
            Self::Findings { findings, within_secs } => {
                let problems: Vec<&str> = findings.iter().map(|finding| finding.problem.as_str()).collect();
                let within = span(SignedDuration::from_secs(i64::from(*within_secs)));
                write!(f, "preflight waits at most {within} for this to pass: {}", problems.join("; "))
            }
            Self::Stage { stage } => stage.fmt(f),
            Self::Paused { by, why, until } => write!(f, "paused by {by} until {until:.0} at most: {why}"),
            Self::Look { unseen } => unseen.fmt(f),
            Self::Description { before } => f.write_str(match before {
                Before::NextStep => "Amazon ECS has to describe a new deployment before anything continues",
                Before::End => "Amazon ECS has to describe a new deployment before the release ends",
                Before::Rollback => "Amazon ECS has to describe a deployment that may be this release's",
                Before::Redeployment => {
                    "Amazon ECS has to describe a new deployment that may bring the stable version back"
                }
            }),
            Self::Approvals { missing, of, until } => {
                write!(f, "waiting for {missing} more of {} to approve until {until:.0}", of.join(", "))
            }
            Self::Invitations => f.write_str("sending the approvers their links"),
            Self::FreezeEnd { window, until } => write!(f, "frozen until {until:.0}: {window}"),
            Self::Scan { why } => f.write_str(why),
            Self::BuildStart => f.write_str("starting the build"),
            Self::Build => f.write_str("the build tries the candidate"),
            Self::Registration { again: false } => f.write_str("registering the task definition"),
            Self::Registration { again: true } => {
                f.write_str("registering the revision to roll back to again")
            }
            Self::DeploymentStart => f.write_str("starting the deployment"),
            Self::CandidateTasks => f.write_str("the candidate's tasks are starting"),
            Self::Publication => f.write_str("publishing the image as a version"),
            Self::Routing => f.write_str("the alias does not show yet what was set"),
            Self::CodeRestored => f.write_str("giving $LATEST the image again that it ran"),
            Self::VersionReady { version } => write!(f, "version {version} is getting ready for invocations"),
            Self::Held { what, missing } => write!(f, "{what}: {missing}"),
            Self::Pause { percent } => {
                write!(f, "the deployment has to reach the pause before the shift to {percent}%")
            }
            Self::Shift { percent } => write!(f, "Amazon ECS shifts to {percent}%"),
            Self::ContinuedAgain => f.write_str("the deployment still waited and was continued again"),
            Self::WeightsShown => f.write_str("the load balancer does not show the new weights yet"),
            Self::Bake { percent, until, .. } => write!(f, "bake at {percent}% until {until:.0}"),
            Self::TasksReplaced { last: false } => f.write_str("Amazon ECS replaces the tasks"),
            Self::TasksReplaced { last: true } => f.write_str("Amazon ECS replaces the last tasks"),
            Self::Promotion => f.write_str("Amazon ECS terminates the stable version's tasks"),
            Self::Rollback { asked: true } => f.write_str("asking Amazon ECS to roll the deployment back"),
            Self::Rollback { asked: false } => f.write_str("Amazon ECS rolls the deployment back"),
            Self::RollbackRevision => {
                f.write_str("looking whether the revision to roll back to is still there")
            }
            Self::Redeployment => f.write_str("deploying the stable version again"),
            Self::Restored { what } => what.fmt(f),
            Self::OtherDeployment => {
                f.write_str("letting the other deployment pass the pause hooks it has from us")
            }
            Self::Withdrawal => f.write_str("taking our deployment back"),
            Self::ConfigurationRestored => f.write_str("restoring the service's deployment configuration"),
            Self::Draining { .. } => f.write_str("waiting for requests of the candidate to end"),
            Self::CanaryGone => f.write_str("the candidate's service has to be gone"),
            Self::ScalingRestored => f.write_str("the scaling of the service has to be as it was"),
            Self::InFlightCalls { .. } => f.write_str("waiting for in-flight calls to expire"),
            Self::Images { detail } | Self::Traffic { detail, .. } => f.write_str(detail),
            Self::Unknown => f.write_str("something this version of Tidegate does not know"),
        }
    }
}

impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ServiceRecord => "the service's row could not be read",
            Self::Service => "the service could not be seen",
            Self::Deployment => "the deployment could not be seen",
            Self::AnyDeployment => "whether a deployment was started could not be seen",
            Self::TaskDefinition => "whether the task definition is registered could not be seen",
            Self::Weights => "the live weights could not be read",
            Self::Build => "the build could not be seen",
            Self::Preflight => "preflight could not see everything and looks again",
            Self::BeforeStart => "the look before the start could not see everything",
        })
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "the start is held",
            Self::Shift => "the shift is held",
            Self::BakeEnd => "the bake is over but held",
            Self::Promotion => "the promotion is held",
        })
    }
}

impl std::fmt::Display for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Weights => "the load balancer does not show the stable version's weights yet",
            Self::TaskDefinition => "the service does not show the stable version's task definition yet",
            Self::Traffic => "the stable version is deployed; the load balancer has to show its traffic",
            Self::LastTasks => "Amazon ECS replaces the last tasks of the candidate",
            Self::Images { detail } => detail,
        })
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alarms { error } => write!(f, "the alarms could not be read: {error}"),
            Self::Alarm { name } => write!(f, "alarm {name} does not exist any more"),
            Self::AlarmProof { name, why } => write!(f, "alarm {name} is OK but proves nothing: {why}"),
            Self::AlarmSilenced { name, by } => write!(f, "alarm {name} is in ALARM and silenced ({by})"),
            Self::AlarmOk { name, state } => write!(f, "alarm {name} is {}", state.as_str()),
            Self::FreshLook => f.write_str("the look took so long that it is made again"),
            Self::Weights { why } => write!(f, "the live weights could not be read: {why}"),
            Self::WeightsShown { detail: None } => {
                f.write_str("the load balancer does not show the weights set before yet")
            }
            Self::WeightsShown { detail: Some(detail) } => {
                write!(f, "the load balancer does not show what was set: {detail}")
            }
            Self::Requests { seen, needed, error } => {
                write!(f, "{seen} of {needed} requests seen")?;
                match error {
                    None => Ok(()),
                    Some(error) => write!(f, ", and the metrics could not be read: {error}"),
                }
            }
            Self::Numbers { error } => write!(f, "the metrics could not be read: {error}"),
            Self::Settled { of } => {
                write!(
                    f,
                    "the newest numbers of {of} look bad and may still change; they count in two minutes"
                )
            }
            Self::Value { metric } => {
                write!(f, "the metric {metric}, which has a limit, has had no value in this bake")
            }
            Self::Compared { of, version } => {
                write!(f, "the metric {of}, which is compared, has said nothing of {version}")
            }
            Self::Unknown => f.write_str("something this version of Tidegate does not know"),
        }
    }
}
