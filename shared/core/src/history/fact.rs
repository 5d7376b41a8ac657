//! What was seen and weighed: a closed list.
#![expect(missing_docs, reason = "fields are named after what they hold")]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Missing;
use crate::effect::EffectKind;
use crate::evidence::{Measured, Window};
use crate::finding::Finding;
use crate::ids::{AlarmName, DeploymentArn, TaskDefinitionArn};
use crate::policy::Percent;
use crate::vocab::cloudwatch::AlarmState;
use crate::vocab::ecs::DeploymentStatus;
use crate::vocab::tasks::FailedTask;
use crate::words::tasks;

/// One fact of a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// A call of the look was not answered, or refused.
    Unseen {
        error: String,
    },
    /// What preflight found.
    Finding {
        finding: Finding,
    },
    /// Something is missing that has to be there before the release continues.
    Missing {
        missing: Missing,
    },
    /// AWS refused an effect.
    Refused {
        effect: EffectKind,
        error: String,
    },

    /// The requester is nobody the policy knows.
    Requester {
        told: String,
        /// And so nobody is kept from approving.
        unrestricted: bool,
    },
    /// Through what identity an answer came.
    Via {
        identity: String,
    },
    /// How an alarm of the plan stands, told while people decide.
    Alarm {
        name: AlarmName,
        /// `None`: not known.
        state: Option<AlarmStands>,
    },
    Frozen {
        window: String,
        until: Timestamp,
    },
    BuildLog {
        build: String,
        under_way: bool,
        log: Option<String>,
    },

    /// Amazon ECS lists a deployment and does not describe it yet.
    NotDescribed {
        deployment: DeploymentArn,
    },
    Registered {
        task_definition: TaskDefinitionArn,
        revision: String,
    },
    CandidateTasks {
        running: u32,
        wanted: u32,
    },
    /// The deployment counts as successful while tasks of an earlier version run.
    EarlierTasks {
        running: u32,
        wanted: u32,
        earlier: u32,
    },
    DeploymentStage {
        stage: String,
    },
    DeploymentStatus {
        deployment: DeploymentArn,
        status: DeploymentStatus,
        stage: Option<String>,
    },
    /// The deployment waits at a pause that is not ours.
    OtherPause {
        /// It cannot be told whose it is.
        unclear: bool,
    },
    Weights {
        set: Percent,
        measured: Option<Percent>,
    },
    /// What was counted of both versions, and what all of it says.
    Evidence {
        /// Windows that are counted, and were not told before as they are now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        windows: Vec<Window>,
        measured: Vec<Measured>,
    },
    FailedTasks {
        count: u32,
        last: Box<FailedTask>,
        /// At how many the release is rolled back; 0: never.
        limit: u32,
    },
    StoppedTasksUnseen {
        error: String,
    },

    RunsAgain {
        task_definition: TaskDefinitionArn,
        deployment: DeploymentArn,
        status: DeploymentStatus,
    },
    /// Somebody else's deployment came after the rollback.
    TookOver {
        deployment: DeploymentArn,
    },
    /// The service is set to a revision that is nobody's of this release.
    DeployedMeanwhile {
        task_definition: TaskDefinitionArn,
    },
    /// The alias sends its invocations to a version that is nobody's of this release.
    RoutedMeanwhile {
        alias: String,
        to: String,
    },
    OtherImages {
        detail: String,
    },
    /// The service's configuration still has what the release set.
    ConfigurationIsOurs {
        strategy: String,
    },
    /// The other deployment's configuration is left as it is.
    ConfigurationIsTheirs,

    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

/// How an alarm stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmStands {
    Is(AlarmState),
    Gone,
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unseen { error } => write!(f, "could not see: {error}"),
            Self::Finding { finding } => finding.fmt(f),
            Self::Missing { missing } => missing.fmt(f),
            Self::Refused { effect, error } => write!(f, "AWS refused to {effect}: {error}"),
            Self::Requester { told, unrestricted: false } => f.write_str(told),
            Self::Requester { told, unrestricted: true } => write!(f, "{told}: nobody is kept from approving it"),
            Self::Via { identity } => write!(f, "through {identity}"),
            Self::Alarm { name, state } => write!(f, "alarm {name} {}", alarm(state.as_ref())),
            Self::Frozen { window, until } => write!(f, "the freeze window {window} is open until {until:.0}"),
            Self::BuildLog { build, under_way, log } => {
                let log = log.as_deref().unwrap_or("no log");
                if *under_way {
                    write!(f, "build {build} is under way; its log: {log}")
                } else {
                    write!(f, "log of build {build}: {log}")
                }
            }
            Self::NotDescribed { deployment } => {
                write!(f, "Amazon ECS has not described deployment {} yet", deployment.short())
            }
            Self::Registered { task_definition, revision } => {
                write!(f, "{} is {revision}", task_definition.short())
            }
            Self::CandidateTasks { running, wanted } => {
                write!(f, "{running} of {wanted} tasks of the candidate run")
            }
            Self::EarlierTasks { running, wanted, earlier } => write!(
                f,
                "Amazon ECS calls the deployment successful; {running} of {wanted} tasks run and {earlier} run an earlier version"
            ),
            Self::DeploymentStage { stage } => write!(f, "the deployment is in {stage}"),
            Self::DeploymentStatus { deployment, status, stage } => {
                write!(f, "deployment {} is {}", deployment.short(), status.as_str())?;
                stage.as_ref().map_or(Ok(()), |stage| write!(f, ", in {stage}"))
            }
            Self::OtherPause { unclear: false } => f.write_str(
                "the deployment waits at a pause hook of the service's own; whoever configured it has to continue it",
            ),
            Self::OtherPause { unclear: true } => f.write_str(
                "the deployment waits at a pause hook that may be the service's own or Tidegate's; continue it yourself if it is yours",
            ),
            Self::Weights { set, measured } => match measured {
                Some(measured) => write!(f, "set {set}%, measured {measured}%"),
                None => write!(f, "set {set}%, measured nothing"),
            },
            Self::Evidence { measured, .. } => {
                let told: Vec<String> = measured.iter().map(ToString::to_string).collect();
                f.write_str(&told.join("; "))
            }
            Self::FailedTasks { count, last, limit } => {
                write!(f, "{} of the candidate failed: {last}", tasks(*count))?;
                if let Some(log) = &last.log {
                    write!(f, "; its log: {}", log.url())?;
                }
                match limit {
                    0 => f.write_str("; the policy does not roll back for that"),
                    limit => write!(f, "; {limit} roll the release back"),
                }
            }
            Self::StoppedTasksUnseen { error } => {
                write!(f, "the candidate's stopped tasks could not be seen: {error}")
            }
            Self::RunsAgain { task_definition, deployment, status } => write!(
                f,
                "{} runs again, deployment {} is {}",
                task_definition.short(),
                deployment.short(),
                status.as_str()
            ),
            Self::TookOver { deployment } => write!(
                f,
                "deployment {} took over while this release was being rolled back",
                deployment.short()
            ),
            Self::DeployedMeanwhile { task_definition } => {
                write!(f, "somebody else deployed {} meanwhile", task_definition.short())
            }
            Self::RoutedMeanwhile { alias, to } => {
                write!(f, "somebody else has {alias} send its invocations to {to}")
            }
            Self::OtherImages { detail } => f.write_str(detail),
            Self::ConfigurationIsOurs { strategy } => {
                write!(f, "the service's deployment configuration is still {strategy} with our hooks")
            }
            Self::ConfigurationIsTheirs => f.write_str(
                "the other deployment brought its own deployment configuration, which is left as it is",
            ),
            Self::Unknown => f.write_str("something this version of Tidegate does not know"),
        }
    }
}

/// `is OK`, `does not exist`, `is not known`.
fn alarm(state: Option<&AlarmStands>) -> String {
    match state {
        Some(AlarmStands::Is(state)) => format!("is {}", state.as_str()),
        Some(AlarmStands::Gone) => "does not exist".to_owned(),
        None => "could not be read".to_owned(),
    }
}

impl From<Missing> for Fact {
    fn from(missing: Missing) -> Self {
        Self::Missing { missing }
    }
}
