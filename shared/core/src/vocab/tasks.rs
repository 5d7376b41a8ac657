//! Tasks of the candidate that stopped, and which of those failed. Canary, linear and blue/green deployments have no circuit breaker in
//! Amazon ECS: a candidate whose tasks crash would be waited for until the stage's limit.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, Region, TaskArn, TaskDefinitionArn};

/// What is kept of what Amazon ECS says about a failure; a few lines say it all.
const REASON_KEPT: usize = 400;

/// Why a task was stopped, by Amazon ECS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum StopCode {
    /// `TaskFailedToStart`.
    TaskFailedToStart,
    /// `EssentialContainerExited`.
    EssentialContainerExited,
    /// `UserInitiated`: a person's `StopTask`.
    UserInitiated,
    /// `ServiceSchedulerInitiated`: a deployment, scaling in, or failed health checks; only the reason tells which.
    ServiceSchedulerInitiated,
    /// `SpotInterruption`.
    SpotInterruption,
    /// `TerminationNotice`.
    TerminationNotice,
    /// One this version does not know.
    Other(String),
}

impl From<String> for StopCode {
    fn from(text: String) -> Self {
        match text.as_str() {
            "TaskFailedToStart" => Self::TaskFailedToStart,
            "EssentialContainerExited" => Self::EssentialContainerExited,
            "UserInitiated" => Self::UserInitiated,
            "ServiceSchedulerInitiated" => Self::ServiceSchedulerInitiated,
            "SpotInterruption" => Self::SpotInterruption,
            "TerminationNotice" => Self::TerminationNotice,
            _ => Self::Other(text),
        }
    }
}

impl From<StopCode> for String {
    fn from(code: StopCode) -> Self {
        code.as_str().to_owned()
    }
}

impl StopCode {
    /// As on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::SpotInterruption => "SpotInterruption",
            Self::TerminationNotice => "TerminationNotice",
            Self::Other(text) => text,
        }
    }
}

/// A task that has stopped, or is being stopped, as an event told of it or a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedTask {
    /// Which.
    pub task: TaskArn,
    /// What it ran.
    pub task_definition: TaskDefinitionArn,
    /// When it was created: tells the tasks of one deployment from those of an earlier one of the same task definition.
    pub created_at: Option<Timestamp>,
    /// When it stopped, or was told to.
    pub stopped_at: Option<Timestamp>,
    /// Why.
    pub code: Option<StopCode>,
    /// The same for people.
    pub reason: Option<String>,
    /// Its containers.
    pub containers: Vec<StoppedContainer>,
}

/// A container of a stopped task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedContainer {
    /// Its name.
    pub name: ContainerName,
    /// How it ended; none when it never ran, or has not ended.
    pub exit_code: Option<i64>,
    /// What Amazon ECS says about its end.
    pub reason: Option<String>,
    /// Where its output is, when that is Amazon CloudWatch Logs.
    pub log: Option<LogStream>,
}

/// Where a container's output is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    /// The region of the log group.
    pub region: Region,
    /// The log group.
    pub group: String,
    /// The stream; unknown where the task definition names no prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

impl LogStream {
    /// Its address in the console.
    pub fn url(&self) -> String {
        let region = self.region.as_str();
        let host = match region.split('-').next() {
            Some("cn") => "console.amazonaws.cn",
            _ if region.starts_with("us-gov-") => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        let group = console_encoded(&self.group);
        let events = self.stream.as_deref().map(|stream| format!("/log-events/{}", console_encoded(stream)));
        format!(
            "https://{region}.{host}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}{}",
            events.unwrap_or_default()
        )
    }
}

/// The console reads what follows `#` twice, with `$` for the outer `%`.
fn console_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("$25{byte:02X}"));
        }
    }
    encoded
}

/// How a task failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// An essential container ended by itself.
    Exited,
    /// It never started: the image cannot be pulled, a secret is missing, no network.
    NotStarted,
    /// Its health checks failed.
    Unhealthy,
}

/// A task of the candidate that failed: kept on the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTask {
    /// Which.
    pub task: TaskArn,
    /// How.
    pub failure: Failure,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The container that failed first, as far as can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Why it was stopped, by Amazon ECS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<StopCode>,
    /// What Amazon ECS says: about the container when it does, about the task otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where its output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStream>,
}

impl StoppedTask {
    /// Whether, and how, it failed; `None` when it was stopped because it was not wanted any more: scaling in, the end of a deployment, a
    /// person, capacity that was taken away. The code tells; where Amazon ECS gives none, or a new one, what it says for people does.
    /// Source: "Viewing Amazon ECS stopped task errors", ECS developer guide; `stopCode` in the API reference.
    pub fn failure(&self) -> Option<Failure> {
        let reason = self.reason.as_deref().unwrap_or_default().to_ascii_lowercase();
        let unhealthy = reason.contains("health check") && reason.contains("failed");
        match &self.code {
            Some(StopCode::EssentialContainerExited) => Some(Failure::Exited),
            Some(StopCode::TaskFailedToStart) => Some(Failure::NotStarted),
            // The scheduler stops tasks for many reasons; only this one is the task's own fault.
            Some(StopCode::ServiceSchedulerInitiated) => unhealthy.then_some(Failure::Unhealthy),
            Some(StopCode::UserInitiated | StopCode::SpotInterruption | StopCode::TerminationNotice) => None,
            Some(StopCode::Other(_)) | None if unhealthy => Some(Failure::Unhealthy),
            Some(StopCode::Other(_)) | None if reason.starts_with("essential container") => {
                Some(Failure::Exited)
            }
            Some(StopCode::Other(_)) | None => {
                const ERRORS: [&str; 4] = [
                    "cannotpullcontainer",
                    "resourceinitializationerror",
                    "cannotstartcontainer",
                    "cannotcreate",
                ];
                ERRORS.iter().any(|error| reason.starts_with(error)).then_some(Failure::NotStarted)
            }
        }
    }
}

impl FailedTask {
    /// The failure of a stopped task; `None` when it did not fail. `released` are the containers whose images are released: of several that
    /// ended, it is the likelier cause.
    pub fn of(task: &StoppedTask, released: &[&ContainerName]) -> Option<Self> {
        let failure = task.failure()?;
        let container = match failure {
            Failure::Exited | Failure::NotStarted => culprit(task, released),
            // Which one is unhealthy is not told.
            Failure::Unhealthy => match released {
                [only] => task.containers.iter().find(|container| container.name == **only),
                _ => None,
            },
        };
        let own =
            container.and_then(|container| container.reason.clone()).filter(|reason| !reason.is_empty());
        Some(Self {
            task: task.task.clone(),
            failure,
            at: task.stopped_at,
            container: container.map(|container| container.name.clone()),
            exit_code: container.and_then(|container| container.exit_code),
            stop_code: task.code.clone(),
            reason: own.or_else(|| task.reason.clone()).map(|reason| shortened(&reason)),
            log: container.and_then(|container| container.log.clone()),
        })
    }

    /// What one source told, with what another one adds: the event comes first, the exit code and the log may only show later.
    #[must_use]
    pub fn completed_by(mut self, later: Self) -> Self {
        let knows_more = self.exit_code.is_none() && later.exit_code.is_some();
        if knows_more || self.container.is_none() {
            return Self { at: self.at.or(later.at), ..later };
        }
        if self.container == later.container {
            self.log = self.log.or(later.log);
        }
        self.at = self.at.or(later.at);
        self
    }
}

impl std::fmt::Display for FailedTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.container.as_ref().map_or("a container", ContainerName::as_str);
        match (self.failure, self.exit_code) {
            (Failure::Exited, Some(code)) => write!(f, "{name} exited with code {code}")?,
            (Failure::Exited, None) => write!(f, "{name} exited")?,
            (Failure::NotStarted, _) => write!(f, "{name} did not start")?,
            (Failure::Unhealthy, _) => write!(f, "{name} failed its health checks")?,
        }
        // That an essential container exited has just been said.
        let reason = self.reason.as_deref().filter(|reason| !reason.starts_with("Essential container"));
        reason.map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// The container that failed first. When one ends, Amazon ECS ends the others, which exit by a signal (128 and more): those come last.
fn culprit<'a>(task: &'a StoppedTask, released: &[&ContainerName]) -> Option<&'a StoppedContainer> {
    const SIGNALLED: [i64; 2] = [137, 143];
    let rank = |container: &&StoppedContainer| {
        let told = container.reason.as_deref().is_some_and(|reason| !reason.is_empty());
        let by_itself = match container.exit_code {
            Some(0) => 2,
            Some(code) if SIGNALLED.contains(&code) => 3,
            Some(_) => 0,
            None => 4,
        };
        (if told { 0 } else { by_itself }, !released.contains(&&container.name))
    };
    task.containers.iter().min_by_key(rank)
}

fn shortened(text: &str) -> String {
    crate::text::beginning(text, REASON_KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ContainerName {
        ContainerName::new(text).unwrap()
    }

    fn container(text: &str, exit_code: Option<i64>, reason: &str) -> StoppedContainer {
        StoppedContainer {
            name: name(text),
            exit_code,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            log: None,
        }
    }

    fn stopped(code: &str, reason: &str) -> StoppedTask {
        StoppedTask {
            task: TaskArn::new("arn:aws:ecs:eu-central-1:111122223333:task/prod/1f").unwrap(),
            task_definition: TaskDefinitionArn::new(
                "arn:aws:ecs:eu-central-1:111122223333:task-definition/web:2",
            )
            .unwrap(),
            created_at: None,
            stopped_at: None,
            code: (!code.is_empty()).then(|| StopCode::from(code.to_owned())),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            containers: vec![container("sidecar", Some(143), ""), container("app", Some(1), "")],
        }
    }

    #[track_caller]
    fn told(task: &StoppedTask) -> Option<String> {
        FailedTask::of(task, &[&name("app")]).map(|failed| failed.to_string())
    }

    #[test]
    fn only_failures_count() {
        let failed = |code, reason| told(&stopped(code, reason)).is_some();
        let scaling = "Scaling activity initiated by (deployment ecs-svc/123)";
        let elb = "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:…)";
        assert!(failed("EssentialContainerExited", "Essential container in task exited"));
        assert!(failed("TaskFailedToStart", "CannotPullContainerError: pull access denied"));
        assert!(failed("ServiceSchedulerInitiated", elb));
        assert!(failed("ServiceSchedulerInitiated", "Task failed container health checks"));
        assert!(!failed("ServiceSchedulerInitiated", scaling));
        assert!(!failed("UserInitiated", "Task stopped by user"));
        assert!(!failed("UserInitiated", "health check failed, said ana, who stopped it"));
        assert!(!failed("SpotInterruption", "Your Spot Task was interrupted."));
        assert!(!failed("TerminationNotice", "Host EC2 (instance i-1) terminated."));
    }

    #[test]
    fn without_a_code_or_with_a_new_one_the_reason_tells() {
        for code in ["", "QuantumDecoherence"] {
            let failure =
                |reason| FailedTask::of(&stopped(code, reason), &[&name("app")]).map(|failed| failed.failure);
            assert_eq!(failure("Essential container in task exited"), Some(Failure::Exited));
            assert_eq!(
                failure("ResourceInitializationError: unable to pull secrets"),
                Some(Failure::NotStarted)
            );
            assert_eq!(failure("Task failed ELB health checks in (elb x)"), Some(Failure::Unhealthy));
            assert_eq!(failure("Scaling activity initiated by (deployment ecs-svc/1)"), None);
            assert_eq!(failure(""), None);
        }
    }

    #[test]
    fn the_container_that_failed_is_named_and_not_the_ones_it_took_with_it() {
        let exited = stopped("EssentialContainerExited", "Essential container in task exited");
        assert_eq!(told(&exited).unwrap(), "app exited with code 1");
        let mut killed = exited.clone();
        killed.containers = vec![
            container("sidecar", Some(137), "OutOfMemoryError: Container killed due to memory usage"),
            container("app", Some(143), ""),
        ];
        assert_eq!(
            told(&killed).unwrap(),
            "sidecar exited with code 137 (OutOfMemoryError: Container killed due to memory usage)"
        );
        let mut both = exited.clone();
        both.containers = vec![container("sidecar", Some(2), ""), container("app", Some(1), "")];
        assert_eq!(told(&both).unwrap(), "app exited with code 1");
        let mut clean = exited;
        clean.containers = vec![container("sidecar", Some(143), ""), container("app", Some(0), "")];
        assert_eq!(told(&clean).unwrap(), "app exited with code 0");
    }

    #[test]
    fn what_never_started_says_why() {
        let mut task = stopped("TaskFailedToStart", "CannotPullContainerError: no such image");
        task.containers = vec![container("app", None, "")];
        assert_eq!(told(&task).unwrap(), "app did not start (CannotPullContainerError: no such image)");
    }

    #[test]
    fn a_later_look_adds_the_exit_code_and_the_log() {
        let log = LogStream {
            region: Region::new("eu-central-1").unwrap(),
            group: "/ecs/web".into(),
            stream: None,
        };
        let mut early = stopped("EssentialContainerExited", "Essential container in task exited");
        early.containers = Vec::new();
        let mut late = stopped("EssentialContainerExited", "Essential container in task exited");
        late.containers[1].log = Some(log.clone());
        let of = |task: &StoppedTask| FailedTask::of(task, &[&name("app")]).unwrap();
        let both = of(&early).completed_by(of(&late));
        assert_eq!((both.exit_code, both.log), (Some(1), Some(log)));
        let kept = of(&late).completed_by(of(&early));
        assert_eq!(kept, of(&late));
    }

    #[test]
    fn the_address_of_a_log_is_the_consoles() {
        let log = |region: &str| LogStream {
            region: Region::new(region).unwrap(),
            group: "/ecs/web".into(),
            stream: Some("web/app/1f".into()),
        };
        assert_eq!(
            log("eu-central-1").url(),
            "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#logsV2:log-groups/log-group/$252Fecs$252Fweb/log-events/web$252Fapp$252F1f"
        );
        assert!(log("cn-north-1").url().starts_with("https://cn-north-1.console.amazonaws.cn/"));
    }
}
