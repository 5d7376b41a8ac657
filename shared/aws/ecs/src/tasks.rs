//! Tasks that have stopped. Amazon ECS shows them for about an hour; what made a canary's tasks crash is nowhere else.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::operation::list_tasks::builders::ListTasksFluentBuilder;
use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::{Container, DesiredStatus, Task};
use jiff::Timestamp;
use serde_json::Value;
use tidegate_aws::port_error;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ContainerName, Region, Target, TaskArn, TaskDefinitionArn};
use tidegate_core::vocab::tasks::{LogStream, StopCode, StoppedContainer, StoppedTask};

use crate::adapter::{EcsAdapter, describe_task_definition};
use crate::service_of;

/// `DescribeTasks` takes this many tasks, and `ListTasks` returns this many.
const TASKS_A_CALL: usize = 100;

/// Where the containers of a task definition write to Amazon CloudWatch Logs.
pub(crate) type Logs = BTreeMap<ContainerName, LogGroup>;

/// The options of the `awslogs` driver.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogGroup {
    region: Region,
    group: String,
    prefix: Option<String>,
}

impl LogGroup {
    /// `PREFIX/CONTAINER/TASK`; without a prefix the stream is named by an id that only the container's host knows.
    fn stream(&self, container: &ContainerName, task: &TaskArn) -> LogStream {
        let stream = self.prefix.as_ref().map(|prefix| format!("{prefix}/{container}/{}", task.short()));
        LogStream { region: self.region.clone(), group: self.group.clone(), stream }
    }
}

impl EcsAdapter {
    /// The stopped tasks of a task definition, with the logs of those that can have failed.
    pub(crate) async fn stopped(
        &self,
        target: &Target,
        task_definition: &TaskDefinitionArn,
    ) -> Result<Vec<StoppedTask>, PortError> {
        let client = self.client(target).await;
        let listed = list_stopped(&client, target).await?;
        let mut known: HashMap<&str, StoppedTask> =
            listed.iter().filter_map(|arn| Some((arn.as_str(), self.stopped.get(arn)?))).collect();
        let unknown: Vec<String> =
            listed.iter().filter(|arn| !known.contains_key(arn.as_str())).cloned().collect();
        let mut described = Vec::new();
        for some in unknown.chunks(TASKS_A_CALL) {
            described.extend(describe(&client, target, some).await?);
        }
        for (task, final_state) in described {
            // What is still on its way out may yet get an exit code.
            if final_state {
                self.stopped.put(task.task.as_str(), task.clone());
            }
            if let Some(arn) = listed.iter().find(|arn| *arn == task.task.as_str()) {
                known.insert(arn, task);
            }
        }
        let mut tasks: Vec<StoppedTask> =
            known.into_values().filter(|task| task.task_definition == *task_definition).collect();
        tasks.sort_by(|one, other| (one.stopped_at, &one.task).cmp(&(other.stopped_at, &other.task)));
        if !tasks.is_empty() {
            let logs = self.logs(&client, target, task_definition).await;
            for task in &mut tasks {
                for container in &mut task.containers {
                    container.log =
                        logs.get(&container.name).map(|log| log.stream(&container.name, &task.task));
                }
            }
        }
        Ok(tasks)
    }

    /// A link to a log is a help, so that there is none is no error.
    async fn logs(&self, client: &Client, target: &Target, task_definition: &TaskDefinitionArn) -> Logs {
        if let Some(logs) = self.logs.get(task_definition.as_str()) {
            return logs;
        }
        match describe_task_definition(client, task_definition.as_str()).await {
            Ok(described) => {
                let logs = logs_of(&described["taskDefinition"], &target.region);
                self.logs.put(task_definition.as_str(), logs.clone());
                logs
            }
            Err(error) => {
                tracing::debug!(error = %error, "the logs of the failed tasks cannot be named");
                Logs::new()
            }
        }
    }
}

fn logs_of(definition: &Value, installation: &Region) -> Logs {
    let containers = definition["containerDefinitions"].as_array().into_iter().flatten();
    let log = |container: &Value| {
        let configuration = &container["logConfiguration"];
        let option = |name: &str| configuration["options"][name].as_str();
        if configuration["logDriver"] != "awslogs" {
            return None;
        }
        let region = option("awslogs-region").and_then(|region| Region::new(region).ok());
        let group = LogGroup {
            region: region.unwrap_or_else(|| installation.clone()),
            group: option("awslogs-group")?.to_owned(),
            prefix: option("awslogs-stream-prefix").map(str::to_owned),
        };
        Some((ContainerName::new(container["name"].as_str()?).ok()?, group))
    };
    containers.filter_map(log).collect()
}

async fn list_stopped(client: &Client, target: &Target) -> Result<Vec<String>, PortError> {
    let mut listed = Vec::new();
    let mut next = None;
    loop {
        let call = list(client, target, DesiredStatus::Stopped)?;
        let arns;
        (arns, next) = page(call, next).await?;
        listed.extend(arns);
        if next.is_none() {
            return Ok(listed);
        }
    }
}

/// The call that lists the service's tasks that should be in this status.
pub(crate) fn list(
    client: &Client,
    target: &Target,
    status: DesiredStatus,
) -> Result<ListTasksFluentBuilder, PortError> {
    let at = service_of(target, "ecs:ListTasks")?;
    let call = client.list_tasks().cluster(at.cluster.as_str()).service_name(at.service.as_str());
    Ok(call.desired_status(status))
}

/// One page of it, and the token of the next.
pub(crate) async fn page(
    call: ListTasksFluentBuilder,
    token: Option<String>,
) -> Result<(Vec<String>, Option<String>), PortError> {
    let sent = call.set_next_token(token).send().await;
    let page = sent.map_err(|error| port_error("ecs:ListTasks", error))?;
    Ok((page.task_arns.unwrap_or_default(), page.next_token.filter(|token| !token.is_empty())))
}

/// The tasks, each with whether it will change no more. One that is gone meanwhile is left out.
async fn describe(
    client: &Client,
    target: &Target,
    arns: &[String],
) -> Result<Vec<(StoppedTask, bool)>, PortError> {
    let at = service_of(target, "ecs:DescribeTasks")?;
    let call = client.describe_tasks().cluster(at.cluster.as_str()).set_tasks(Some(arns.to_vec()));
    let answer = call.send().await.map_err(|error| port_error("ecs:DescribeTasks", error))?;
    Ok(answer
        .tasks()
        .iter()
        .filter_map(|task| Some((seen(task)?, task.last_status() == Some("STOPPED"))))
        .collect())
}

/// `None` for a task without the names every task has.
fn seen(task: &Task) -> Option<StoppedTask> {
    Some(StoppedTask {
        task: TaskArn::new(task.task_arn()?).ok()?,
        task_definition: TaskDefinitionArn::new(task.task_definition_arn()?).ok()?,
        created_at: task.created_at().and_then(timestamp),
        stopped_at: task.stopped_at().or(task.stopping_at()).and_then(timestamp),
        code: task.stop_code().map(|code| StopCode::from(code.as_str().to_owned())),
        reason: task.stopped_reason().map(str::to_owned),
        containers: task.containers().iter().filter_map(container).collect(),
    })
}

fn container(container: &Container) -> Option<StoppedContainer> {
    Some(StoppedContainer {
        name: ContainerName::new(container.name()?).ok()?,
        exit_code: container.exit_code().map(i64::from),
        reason: container.reason().map(str::to_owned),
        log: None,
    })
}

fn timestamp(at: &DateTime) -> Option<Timestamp> {
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_core::fault::ErrorKind;
    use tidegate_replay::{Answer, Replay};

    use super::*;
    use crate::adapter::tests::{arn, target};
    use crate::seen::tests::task_definition;

    fn task_arn(id: &str) -> String {
        format!("arn:aws:ecs:eu-central-1:111122223333:task/prod/{id}")
    }

    fn task(id: &str, revision: u32, status: &str) -> Value {
        json!({
            "taskArn": task_arn(id), "taskDefinitionArn": task_definition(revision),
            "lastStatus": status, "desiredStatus": "STOPPED",
            "createdAt": 1_763_000_000.25, "stoppedAt": 1_763_000_009.5,
            "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited",
            "containers": [{ "name": "app", "exitCode": 1, "lastStatus": status }],
        })
    }

    fn definition(driver: &str, prefix: Option<&str>) -> Value {
        let mut options = json!({ "awslogs-group": "/ecs/web", "awslogs-region": "eu-west-1" });
        if let Some(prefix) = prefix {
            options["awslogs-stream-prefix"] = prefix.into();
        }
        let log = json!({ "logDriver": driver, "options": options });
        json!({ "taskDefinition": { "containerDefinitions": [{ "name": "app", "logConfiguration": log }] } })
    }

    fn replay(tasks: &[Value], definition: Value) -> Replay {
        let replay = Replay::new();
        let arns: Vec<&Value> = tasks.iter().map(|task| &task["taskArn"]).collect();
        replay
            .json("ListTasks", json!({ "taskArns": arns }))
            .json("DescribeTasks", json!({ "tasks": tasks }));
        replay.json("DescribeTaskDefinition", definition);
        replay
    }

    async fn stopped(replay: &Replay) -> Vec<StoppedTask> {
        EcsAdapter::new(replay.config()).stopped(&target(), &arn(42)).await.unwrap()
    }

    #[tokio::test]
    async fn the_candidates_stopped_tasks_are_seen_with_exit_code_reason_and_log() {
        let replay = replay(
            &[task("a", 42, "STOPPED"), task("stable", 41, "STOPPED")],
            definition("awslogs", Some("web")),
        );
        let [seen] = stopped(&replay).await.try_into().unwrap();
        assert_eq!((seen.task.short(), seen.code), ("a", Some(StopCode::EssentialContainerExited)));
        assert_eq!(seen.created_at.unwrap().as_millisecond(), 1_763_000_000_250);
        assert_eq!(seen.stopped_at.unwrap().as_millisecond(), 1_763_000_009_500);
        let log = seen.containers[0].log.clone().unwrap();
        assert_eq!(
            (log.region.as_str(), log.group.as_str(), log.stream.as_deref()),
            ("eu-west-1", "/ecs/web", Some("web/app/a"))
        );
        let asked = replay.calls("ListTasks")[0].json();
        assert_eq!(asked, json!({ "cluster": "prod", "serviceName": "web", "desiredStatus": "STOPPED" }));
    }

    #[tokio::test]
    async fn a_log_that_is_elsewhere_or_has_no_prefix_is_not_guessed() {
        let one = |definition| async {
            stopped(&replay(&[task("a", 42, "STOPPED")], definition)).await[0].containers[0].log.clone()
        };
        assert_eq!(one(definition("splunk", Some("web"))).await, None);
        assert_eq!(one(definition("awslogs", None)).await.unwrap().stream, None);
    }

    #[tokio::test]
    async fn a_definition_that_cannot_be_described_costs_only_the_log() {
        let replay = Replay::new();
        replay
            .json("ListTasks", json!({ "taskArns": [task_arn("a")] }))
            .json("DescribeTasks", json!({ "tasks": [task("a", 42, "STOPPED")] }))
            .answer("DescribeTaskDefinition", Answer::error(400, "AccessDeniedException", "no"));
        assert_eq!(stopped(&replay).await[0].containers[0].log, None);
    }

    #[tokio::test]
    async fn a_code_that_is_new_is_kept() {
        let mut new = task("a", 42, "STOPPED");
        new["stopCode"] = "QuantumDecoherence".into();
        let seen = stopped(&replay(&[new], definition("awslogs", None))).await;
        assert_eq!(seen[0].code, Some(StopCode::Other("QuantumDecoherence".into())));
    }

    #[tokio::test]
    async fn what_has_stopped_for_good_is_described_once_and_what_has_not_again() {
        let replay =
            replay(&[task("a", 42, "STOPPED"), task("b", 42, "DEPROVISIONING")], definition("awslogs", None));
        let ecs = EcsAdapter::new(replay.config());
        for _ in 0..2 {
            assert_eq!(ecs.stopped(&target(), &arn(42)).await.unwrap().len(), 2);
        }
        let asked: Vec<_> =
            replay.calls("DescribeTasks").iter().map(|call| call.json()["tasks"].clone()).collect();
        assert_eq!(asked, [json!([task_arn("a"), task_arn("b")]), json!([task_arn("b")])]);
        assert_eq!(replay.calls("DescribeTaskDefinition").len(), 1);
    }

    #[tokio::test]
    async fn nothing_stopped_is_one_call() {
        let replay = Replay::new();
        replay.json("ListTasks", json!({ "taskArns": [] }));
        assert!(stopped(&replay).await.is_empty());
        assert_eq!(replay.operations(), ["ListTasks"]);
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let replay = Replay::new();
        replay.answer("ListTasks", Answer::error(400, "AccessDeniedException", "no"));
        let error = EcsAdapter::new(replay.config()).stopped(&target(), &arn(42)).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Denied, "ecs:ListTasks"));
    }
}
