//! The calls that tell which images run: by the service's revisions, and by its tasks where those tell no digest.
//!
//! ECS resolves a tag once for a service revision and keeps the digest there (`containerImages`). It does not for containers with
//! `versionConsistency: disabled`, nor for revisions from before it did: there every task tells what it pulled.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::DesiredStatus;
use tidegate_aws::port_error;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ContainerName, Digest, Target};
use tidegate_core::vocab::ecs::RunningSeen;
use tidegate_core::vocab::ecs::ServiceSeen;

use crate::adapter::{ARNS_A_CALL, describe_revisions};
use crate::raw::KeepBody;
use crate::seen::{Task, Tasks};
use crate::service_of;
use crate::tasks::{list, page};

/// `DescribeTasks` takes this many.
const TASKS_A_CALL: i32 = 100;

/// How many tasks run each digest, by container.
type Counts = BTreeMap<ContainerName, BTreeMap<Digest, usize>>;

/// The digests that run in these containers.
pub(crate) async fn digests(
    client: &Client,
    target: &Target,
    service: &ServiceSeen,
    containers: &BTreeSet<ContainerName>,
) -> Result<RunningSeen, PortError> {
    let mut counts = Counts::new();
    let arns: Vec<String> = service.revisions.iter().map(ToString::to_string).collect();
    for some in arns.chunks(ARNS_A_CALL) {
        for revision in describe_revisions(client, some).await?.service_revisions {
            count(
                &mut counts,
                revision.container_images.iter().filter_map(|image| image.digest()),
                containers,
            );
        }
    }
    let missing: BTreeSet<ContainerName> =
        containers.iter().filter(|container| !counts.contains_key(*container)).cloned().collect();
    if !missing.is_empty() && service.desired > 0 {
        for task in tasks(client, target, service).await? {
            count(&mut counts, task.containers.iter().filter_map(|container| container.digest()), &missing);
        }
    }
    let digests = counts.into_iter().map(|(container, counts)| (container, most_first(counts)));
    Ok(RunningSeen { digests: digests.collect() })
}

fn count(
    counts: &mut Counts,
    seen: impl Iterator<Item = (ContainerName, Digest)>,
    wanted: &BTreeSet<ContainerName>,
) {
    for (container, digest) in seen.filter(|(container, _)| wanted.contains(container)) {
        *counts.entry(container).or_default().entry(digest).or_default() += 1;
    }
}

fn most_first(counts: BTreeMap<Digest, usize>) -> Vec<Digest> {
    let mut digests: Vec<(Digest, usize)> = counts.into_iter().collect();
    digests.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    digests.into_iter().map(|(digest, _)| digest).collect()
}

/// The tasks the service wants, of the task definition it is set to.
async fn tasks(client: &Client, target: &Target, service: &ServiceSeen) -> Result<Vec<Task>, PortError> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let call = list(client, target, DesiredStatus::Running)?.max_results(TASKS_A_CALL);
        let arns;
        (arns, next) = page(call, next).await?;
        if !arns.is_empty() {
            found.extend(describe_tasks(client, target, &arns).await?.tasks);
        }
        if next.is_none() {
            break;
        }
    }
    found.retain(|task| {
        task.desired_status == "RUNNING" && task.task_definition_arn == service.task_definition.as_str()
    });
    Ok(found)
}

async fn describe_tasks(client: &Client, target: &Target, arns: &[String]) -> Result<Tasks, PortError> {
    const DESCRIBE: &str = "ecs:DescribeTasks";
    let kept = KeepBody::default();
    let at = service_of(target, DESCRIBE)?;
    let call = client.describe_tasks().cluster(at.cluster.as_str()).set_tasks(Some(arns.to_vec()));
    let sent = call.customize().interceptor(kept.clone()).send().await;
    sent.map_err(|error| port_error(DESCRIBE, error))?;
    kept.parse(DESCRIBE)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_replay::Replay;

    use crate::EcsAdapter;
    use crate::adapter::tests::target;
    use crate::seen::tests::{revision_arn, service, task_definition};

    use super::*;

    fn hash(fill: char) -> String {
        format!("sha256:{}", String::from(fill).repeat(64))
    }

    /// The service with a revision whose tasks are wanted, and one whose tasks are on their way out.
    fn described(with_revisions: bool) -> Value {
        let mut described = service(41);
        described["desiredCount"] = 2.into();
        if with_revisions {
            described["currentServiceRevisions"] = json!([
                { "arn": revision_arn(1), "requestedTaskCount": 2, "runningTaskCount": 2 },
                { "arn": revision_arn(2), "requestedTaskCount": 0, "runningTaskCount": 1 },
            ]);
        }
        described
    }

    async fn running(replay: &Replay, with_revisions: bool) -> Vec<(String, Vec<String>)> {
        replay.json("DescribeServices", json!({ "services": [described(with_revisions)] }));
        let ecs = EcsAdapter::new(replay.config());
        let service = ecs.service(&target()).await.unwrap().unwrap();
        let containers = ["app", "log"].map(|name| ContainerName::new(name).unwrap()).into();
        let seen = ecs.running(&target(), &service, &containers).await.unwrap();
        let texts = |digests: Vec<Digest>| digests.iter().map(ToString::to_string).collect();
        seen.digests.into_iter().map(|(name, digests)| (name.to_string(), texts(digests))).collect()
    }

    fn task(revision: u32, app: char, log: char) -> Value {
        json!({ "taskDefinitionArn": task_definition(revision), "desiredStatus": "RUNNING", "containers": [
            { "name": "app", "image": "r.example/web:latest", "imageDigest": hash(app) },
            { "name": "log", "image": "fluent:1", "imageDigest": hash(log) },
            { "name": "ecs-service-connect-x", "image": "envoy", "imageDigest": hash('f') },
        ] })
    }

    #[tokio::test]
    async fn the_revision_whose_tasks_are_wanted_tells_what_a_tag_was_resolved_to() {
        let replay = Replay::new();
        replay.json(
            "DescribeServiceRevisions",
            json!({ "serviceRevisions": [{ "serviceRevisionArn": revision_arn(1), "containerImages": [
                { "containerName": "app", "image": "r.example/web:latest", "imageDigest": hash('a') },
                // What is written by digest is a fact, whichever of an index's digests is told.
                { "containerName": "log", "image": format!("fluent@{}", hash('b')), "imageDigest": hash('c') },
            ] }] }),
        );
        let expected = [("app".to_owned(), vec![hash('a')]), ("log".to_owned(), vec![hash('b')])];
        assert_eq!(running(&replay, true).await, expected);
        assert_eq!(replay.operations(), ["DescribeServices", "DescribeServiceRevisions"]);
        let asked = replay.calls("DescribeServiceRevisions")[0].json();
        assert_eq!(asked["serviceRevisionArns"], json!([revision_arn(1)]), "not those on their way out");
    }

    #[tokio::test]
    async fn tasks_tell_what_no_revision_does() {
        let replay = Replay::new();
        replay
            .json(
                "DescribeServiceRevisions",
                json!({ "serviceRevisions": [{ "serviceRevisionArn": revision_arn(1), "containerImages": [
                    { "containerName": "app", "image": "r.example/web:latest", "imageDigest": hash('a') },
                    { "containerName": "log", "image": "fluent:1" },
                ] }] }),
            )
            .json("ListTasks", json!({ "taskArns": ["t1", "t2"], "nextToken": "more" }))
            .json("ListTasks", json!({ "taskArns": ["t3", "t4"] }))
            .json("DescribeTasks", json!({ "tasks": [task(41, '9', 'd'), task(41, '9', 'e')] }))
            // Of another revision, on its way out.
            .json("DescribeTasks", json!({ "tasks": [task(41, '9', 'e'), task(40, '9', 'b')] }));
        let expected = [("app".to_owned(), vec![hash('a')]), ("log".to_owned(), vec![hash('e'), hash('d')])];
        assert_eq!(running(&replay, true).await, expected);
        let asked = replay.calls("ListTasks")[0].json();
        let listed =
            json!({ "cluster": "prod", "serviceName": "web", "desiredStatus": "RUNNING", "maxResults": 100 });
        assert_eq!(asked, listed);
        assert_eq!(replay.calls("DescribeTasks")[0].json()["tasks"], json!(["t1", "t2"]));
    }

    #[tokio::test]
    async fn services_from_before_revisions_are_told_by_their_tasks() {
        let replay = Replay::new();
        replay
            .json("ListTasks", json!({ "taskArns": ["t1"] }))
            .json("DescribeTasks", json!({ "tasks": [task(41, 'a', 'b')] }));
        let expected = [("app".to_owned(), vec![hash('a')]), ("log".to_owned(), vec![hash('b')])];
        assert_eq!(running(&replay, false).await, expected);
    }
}
