//! The calls that observe.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::{
    CreatedAt, ServiceDeploymentStatus, SortOrder, TaskDefinitionField, TaskDefinitionStatus,
};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_aws::{SdkConfig, Targets, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ContainerName, DeploymentArn, ServiceRevisionArn, Target, TaskDefinitionArn};
use tidegate_core::ports::Ecs;
use tidegate_core::seen::Seen;
use tidegate_core::vocab::ecs::{
    self, DeploymentSeen, DerivedRevision, Effect, GatewaySeen, RunningSeen, ServiceSeen, TaskDefinitionSeen,
};
use tidegate_core::vocab::tasks::StoppedTask;

use crate::raw::{KeepBody, read};
use crate::registration::{Candidate, kept_tags, source_of};
use crate::running;
use crate::seen::{
    Brief, Deployment, DeploymentPage, Deployments, Failure, Revisions, Service, Services, TaskDefinition,
};
use crate::service_of;
use crate::tasks::Logs;

/// How many of a family's newest revisions are searched for one that carries an image already.
const CANDIDATES_SEARCHED: usize = 25;
/// How many of them are described at the same time: `DescribeTaskDefinition` has a bucket of 100 calls, refilled with 20 a second.
const DESCRIBED_AT_ONCE: usize = 5;
/// `DescribeServiceDeployments` and `DescribeServiceRevisions` take this many ARNs.
pub(crate) const ARNS_A_CALL: usize = 20;
/// How much earlier than asked for deployments are listed: `createdAt.after` leaves out the very moment.
const LISTED_EARLIER: SignedDuration = SignedDuration::from_secs(1);
/// What is remembered of revisions never changes, but an invocation environment may live for hours.
const REMEMBERED: usize = 2000;

/// Amazon ECS by way of the official SDK, one client for each region and role.
#[derive(Debug)]
pub struct EcsAdapter {
    clients: Targets<Client>,
    /// The task definition of a service revision.
    revisions: Remembered<Option<TaskDefinitionArn>>,
    /// What a task definition says it was registered from.
    sources: Remembered<Option<String>>,
    /// Tasks that have stopped for good.
    pub(crate) stopped: Remembered<StoppedTask>,
    /// Where the containers of a task definition write.
    pub(crate) logs: Remembered<Logs>,
}

impl EcsAdapter {
    /// With the home account's configuration.
    pub fn new(installation: SdkConfig) -> Self {
        Self {
            clients: Targets::new(installation, Client::new),
            revisions: Remembered::default(),
            sources: Remembered::default(),
            stopped: Remembered::default(),
            logs: Remembered::default(),
        }
    }

    pub(crate) async fn client(&self, target: &Target) -> Client {
        self.clients.client(target).await
    }

    /// What a derived revision is registered with, and the ACTIVE revision that already is it.
    pub(crate) async fn candidate(
        &self,
        client: &Client,
        revision: &DerivedRevision,
    ) -> Result<(Candidate, Option<TaskDefinitionArn>), PortError> {
        let described = describe_task_definition(client, revision.from.as_str()).await?;
        let candidate = Candidate::derive(&described, &revision.images)?.apart(revision.apart);
        let is_it = |seen: &TaskDefinitionSeen| {
            let same = |(container, reference)| seen.images.get(container) == Some(reference);
            seen.active && revision.images.iter().all(same)
        };
        let from = task_definition(described)?;
        if !revision.apart && is_it(&from) {
            return Ok((candidate, Some(from.arn)));
        }
        let newest = newest_revisions(client, revision.from.family()).await?;
        for some in newest.chunks(DESCRIBED_AT_ONCE) {
            let sources = try_join_all(some.iter().map(|arn| self.source(client, arn))).await?;
            let found =
                some.iter().zip(sources).filter(|(_, source)| source.as_deref() == Some(candidate.source()));
            for (arn, _) in found {
                // A tag can be set by anyone; what runs must be what was approved.
                let seen = task_definition(describe_task_definition(client, arn.as_str()).await?)?;
                if is_it(&seen) {
                    return Ok((candidate, Some(seen.arn)));
                }
            }
        }
        Ok((candidate, None))
    }

    async fn source(&self, client: &Client, arn: &TaskDefinitionArn) -> Result<Option<String>, PortError> {
        if let Some(source) = self.sources.get(arn.as_str()) {
            return Ok(source);
        }
        let source = source_of(&describe_task_definition(client, arn.as_str()).await?);
        self.sources.put(arn.as_str(), source.clone());
        Ok(source)
    }

    /// The task definitions of service revisions. One that is gone has none.
    pub(crate) async fn task_definitions_of(
        &self,
        client: &Client,
        revisions: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, Option<TaskDefinitionArn>>, PortError> {
        let mut known = HashMap::new();
        let mut asked = Vec::new();
        for arn in revisions {
            match self.revisions.get(arn) {
                Some(task_definition) => _ = known.insert(arn.to_owned(), task_definition),
                None if !asked.iter().any(|other| other == arn) => asked.push(arn.to_owned()),
                None => {}
            }
        }
        for some in asked.chunks(ARNS_A_CALL) {
            for revision in describe_revisions(client, some).await?.service_revisions {
                let task_definition = revision.task_definition.map(TaskDefinitionArn::new).transpose();
                let task_definition = task_definition.map_err(|error| {
                    PortError::new(
                        ErrorKind::Invalid,
                        "ecs:DescribeServiceRevisions",
                        "UnexpectedAnswer",
                        error.to_string(),
                    )
                })?;
                // What is not described yet will be: only a fact is remembered.
                if task_definition.is_some() {
                    self.revisions.put(&revision.service_revision_arn, task_definition.clone());
                }
                known.insert(revision.service_revision_arn, task_definition);
            }
        }
        Ok(known)
    }
}

#[async_trait]
impl Ecs for EcsAdapter {
    async fn observe(&self, place: &Target, needs: &ecs::Needs) -> ecs::Observation {
        let (
            service,
            task_definition,
            revision,
            destination,
            running,
            deployments,
            stopped_tasks,
            canary,
            source,
            gateway,
        ) = tokio::join!(
            Seen::ask(needs.service.then_some(()), |()| self.service(place)),
            Seen::ask(needs.task_definition.as_ref(), |arn| self.running_task_definition(place, arn)),
            Seen::ask(needs.revision.as_ref(), |revision| self.find_revision(place, revision)),
            Seen::ask(needs.destination.as_ref(), |arn| self.task_definition(place, arn)),
            Seen::ask(needs.running.as_ref(), |asked| self.running(place, &asked.service, &asked.containers)),
            Seen::ask(needs.deployments_since, |since| self.deployments(place, since)),
            Seen::ask(needs.stopped_tasks.as_ref(), |asked| self.stopped_of(place, asked)),
            Seen::ask(needs.canary.as_ref(), |name| self.canary(place, name)),
            Seen::ask(needs.source.then_some(()), |()| self.source_of_canary(place)),
            Seen::ask(needs.gateway.as_ref(), |revision| self.gateway(place, revision)),
        );
        ecs::Observation {
            service,
            task_definition,
            revision,
            destination,
            running,
            deployments,
            stopped_tasks,
            canary,
            source,
            gateway,
        }
    }

    async fn perform(&self, place: &Target, effect: &Effect) -> Result<(), PortError> {
        self.perform_effect(place, effect).await
    }
}

impl EcsAdapter {
    pub(crate) async fn service(&self, target: &Target) -> Result<Option<ServiceSeen>, PortError> {
        let client = self.client(target).await;
        describe_service(&client, target).await?.map(Service::seen).transpose()
    }

    pub(crate) async fn task_definition(
        &self,
        target: &Target,
        arn: &TaskDefinitionArn,
    ) -> Result<Option<TaskDefinitionSeen>, PortError> {
        let client = self.client(target).await;
        match describe_task_definition(&client, arn.as_str()).await {
            Ok(described) => task_definition(described).map(Some),
            // ECS has no code of its own for a revision that is not there.
            Err(error) if error.message.contains("Unable to describe task definition") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What Amazon ECS itself has put in front of a revision of the service.
    async fn gateway(
        &self,
        target: &Target,
        revision: &ServiceRevisionArn,
    ) -> Result<GatewaySeen, PortError> {
        let client = self.client(target).await;
        let described = describe_revisions(&client, &[revision.as_str().to_owned()]).await?;
        let found = described.service_revisions.into_iter().next().ok_or_else(|| {
            PortError::new(
                ErrorKind::NotFound,
                "ecs:DescribeServiceRevisions",
                "ClientException",
                format!("there is no service revision {revision}"),
            )
        })?;
        found.gateway()
    }

    pub(crate) async fn find_revision(
        &self,
        target: &Target,
        revision: &DerivedRevision,
    ) -> Result<Option<TaskDefinitionArn>, PortError> {
        let client = self.client(target).await;
        Ok(self.candidate(&client, revision).await?.1)
    }

    pub(crate) async fn running(
        &self,
        target: &Target,
        service: &ServiceSeen,
        containers: &BTreeSet<ContainerName>,
    ) -> Result<RunningSeen, PortError> {
        let client = self.client(target).await;
        running::digests(&client, target, service, containers).await
    }

    pub(crate) async fn deployments(
        &self,
        target: &Target,
        since: Timestamp,
    ) -> Result<Vec<DeploymentSeen>, PortError> {
        let client = self.client(target).await;
        let after = since.saturating_sub(LISTED_EARLIER).unwrap_or(since);
        let listed = list_deployments(&client, target, Some(after), None).await?;
        let arns: Vec<String> = listed.iter().map(|brief| brief.service_deployment_arn.clone()).collect();
        let mut described = HashMap::new();
        for some in arns.chunks(ARNS_A_CALL) {
            for deployment in describe_deployments(&client, some).await?.service_deployments {
                described.insert(deployment.service_deployment_arn.clone(), deployment);
            }
        }
        // What is listed and not described (yet) is told with what the list says; a deployment never goes unseen.
        let full = |brief: Brief| {
            described.remove(&brief.service_deployment_arn).unwrap_or_else(|| Deployment::from(brief))
        };
        let deployments: Vec<Deployment> = listed.into_iter().map(full).collect();
        let revisions = deployments.iter().filter_map(Deployment::target_revision);
        let task_definitions = self.task_definitions_of(&client, revisions).await?;
        let seen = deployments.into_iter().map(|deployment| {
            let revision = deployment.target_revision();
            let task_definition = revision.and_then(|arn| task_definitions.get(arn).cloned().flatten());
            deployment.seen(task_definition)
        });
        let mut seen: Vec<DeploymentSeen> = seen.collect::<Result<_, _>>()?;
        seen.retain(|deployment| deployment.created_at >= since);
        seen.sort_by_key(|deployment| std::cmp::Reverse(deployment.created_at));
        Ok(seen)
    }

    /// The task definition a service runs is always there, or it could not be seen.
    async fn running_task_definition(
        &self,
        target: &Target,
        arn: &TaskDefinitionArn,
    ) -> Result<TaskDefinitionSeen, PortError> {
        self.task_definition(target, arn).await?.ok_or_else(|| {
            PortError::new(
                ErrorKind::NotFound,
                "ecs:DescribeTaskDefinition",
                "ClientException",
                format!("there is no task definition {}", arn.short()),
            )
        })
    }
}

/// Immutable facts by ARN, forgotten all at once when there are too many.
#[derive(Debug)]
pub(crate) struct Remembered<T> {
    facts: Arc<Mutex<HashMap<String, T>>>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { facts: Arc::default() }
    }
}

impl<T: Clone> Remembered<T> {
    pub(crate) fn get(&self, arn: &str) -> Option<T> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).get(arn).cloned()
    }

    pub(crate) fn put(&self, arn: &str, fact: T) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.len() >= REMEMBERED {
            facts.clear();
        }
        facts.insert(arn.to_owned(), fact);
    }
}

/// The service; `None` when there is no such service or cluster.
pub(crate) async fn describe_service(client: &Client, target: &Target) -> Result<Option<Service>, PortError> {
    const OPERATION: &str = "ecs:DescribeServices";
    let kept = KeepBody::default();
    let at = service_of(target, OPERATION)?;
    let call = client.describe_services().cluster(at.cluster.as_str()).services(at.service.as_str());
    if let Err(error) = call.customize().interceptor(kept.clone()).send().await {
        let error = port_error(OPERATION, error);
        return if error.code == "ClusterNotFoundException" { Ok(None) } else { Err(error) };
    }
    let mut answer: Services = kept.parse(OPERATION)?;
    match (answer.services.pop(), answer.failures.pop()) {
        (Some(service), _) => Ok(Some(service)),
        (None, Some(failure)) if failure.reason.as_deref() != Some("MISSING") => {
            Err(failed(OPERATION, failure))
        }
        (None, _) => Ok(None),
    }
}

fn failed(operation: &'static str, failure: Failure) -> PortError {
    let code = failure.reason.unwrap_or_else(|| "Failure".into());
    let message = format!("{} {}", failure.arn.unwrap_or_default(), failure.detail.unwrap_or_default())
        .trim()
        .to_owned();
    PortError::new(tidegate_aws::kind_of(&code, &message, 200), operation, code, message)
}

/// The whole answer, raw, with the tags.
pub(crate) async fn describe_task_definition(client: &Client, arn: &str) -> Result<Value, PortError> {
    const OPERATION: &str = "ecs:DescribeTaskDefinition";
    let kept = KeepBody::default();
    let call = client.describe_task_definition().task_definition(arn).include(TaskDefinitionField::Tags);
    let sent = call.customize().interceptor(kept.clone()).send().await;
    sent.map_err(|error| port_error(OPERATION, error))?;
    kept.json(OPERATION)
}

fn task_definition(mut described: Value) -> Result<TaskDefinitionSeen, PortError> {
    let tags = kept_tags(&described["tags"]).len();
    let read = read::<TaskDefinition>("ecs:DescribeTaskDefinition", described["taskDefinition"].take())?;
    Ok(TaskDefinitionSeen { tags, ..read.seen()? })
}

async fn newest_revisions(client: &Client, family: &str) -> Result<Vec<TaskDefinitionArn>, PortError> {
    const OPERATION: &str = "ecs:ListTaskDefinitions";
    let call = client
        .list_task_definitions()
        .family_prefix(family)
        .status(TaskDefinitionStatus::Active)
        .sort(SortOrder::Desc)
        .max_results(i32::try_from(CANDIDATES_SEARCHED).unwrap_or(i32::MAX));
    let answer = call.send().await.map_err(|error| port_error(OPERATION, error))?;
    let arns = answer.task_definition_arns().iter().filter_map(|arn| TaskDefinitionArn::new(arn).ok());
    Ok(arns.filter(|arn| arn.family() == family).take(CANDIDATES_SEARCHED).collect())
}

pub(crate) async fn list_deployments(
    client: &Client,
    target: &Target,
    after: Option<Timestamp>,
    status: Option<Vec<ServiceDeploymentStatus>>,
) -> Result<Vec<Brief>, PortError> {
    const OPERATION: &str = "ecs:ListServiceDeployments";
    let after = after.map(|after| DateTime::from_millis(after.as_millisecond()));
    let after = after.map(|after| CreatedAt::builder().after(after).build());
    let at = service_of(target, OPERATION)?;
    let mut listed = Vec::new();
    let mut next = None;
    loop {
        let kept = KeepBody::default();
        let call = client
            .list_service_deployments()
            .cluster(at.cluster.as_str())
            .service(at.service.as_str())
            .set_created_at(after.clone())
            .set_status(status.clone())
            .set_next_token(next)
            .max_results(100);
        let sent = call.customize().interceptor(kept.clone()).send().await;
        sent.map_err(|error| port_error(OPERATION, error))?;
        let page: DeploymentPage = kept.parse(OPERATION)?;
        listed.extend(page.service_deployments);
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(listed);
        }
    }
}

async fn describe_deployments(client: &Client, arns: &[String]) -> Result<Deployments, PortError> {
    const OPERATION: &str = "ecs:DescribeServiceDeployments";
    let kept = KeepBody::default();
    let call = client.describe_service_deployments().set_service_deployment_arns(Some(arns.to_vec()));
    let sent = call.customize().interceptor(kept.clone()).send().await;
    sent.map_err(|error| port_error(OPERATION, error))?;
    kept.parse(OPERATION)
}

/// One deployment; `None` when ECS does not know it.
pub(crate) async fn describe_deployment(
    client: &Client,
    arn: &DeploymentArn,
) -> Result<Option<Deployment>, PortError> {
    let answer = describe_deployments(client, &[arn.as_str().to_owned()]).await?;
    Ok(answer.service_deployments.into_iter().next())
}

pub(crate) async fn describe_revisions(client: &Client, arns: &[String]) -> Result<Revisions, PortError> {
    const OPERATION: &str = "ecs:DescribeServiceRevisions";
    let kept = KeepBody::default();
    let call = client.describe_service_revisions().set_service_revision_arns(Some(arns.to_vec()));
    let sent = call.customize().interceptor(kept.clone()).send().await;
    sent.map_err(|error| port_error(OPERATION, error))?;
    kept.parse(OPERATION)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use tidegate_core::ids::{AccountId, ClusterName, EcsServiceName, Image, Region};
    use tidegate_replay::{Answer, Replay};

    use tidegate_core::ids::{EcsService, Resource};

    use super::*;
    use crate::registration::tests::{described, image, images, release};
    use crate::seen::tests::{deployment_arn, revision_arn, service, task_definition, waiting};

    pub(crate) fn target() -> Target {
        Target {
            account: AccountId::new("111122223333").unwrap(),
            region: Region::new("eu-central-1").unwrap(),
            resource: Resource::EcsService(EcsService {
                cluster: ClusterName::new("prod").unwrap(),
                service: EcsServiceName::new("web").unwrap(),
            }),
            role: None,
        }
    }

    pub(crate) fn arn(revision: u32) -> TaskDefinitionArn {
        TaskDefinitionArn::new(task_definition(revision)).unwrap()
    }

    fn since(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn a_service_is_seen_with_fields_no_sdk_knows() {
        let replay = Replay::new();
        replay.json("DescribeServices", json!({ "services": [service(41)], "failures": null }));
        let seen = EcsAdapter::new(replay.config()).service(&target()).await.unwrap().unwrap();
        assert_eq!(seen.deployment_configuration["tidalLock"], json!({ "moon": 1 }));
        let asked = replay.calls("DescribeServices")[0].json();
        assert_eq!(asked, json!({ "cluster": "prod", "services": ["web"] }));
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_no_error_but_one_that_cannot_be_seen_is() {
        let missing = json!({ "services": [], "failures": [{ "arn": "web", "reason": "MISSING" }] });
        let replay = Replay::new();
        replay.json("DescribeServices", missing);
        assert!(EcsAdapter::new(replay.config()).service(&target()).await.unwrap().is_none());

        let replay = Replay::new();
        replay
            .answer("DescribeServices", Answer::error(400, "ClusterNotFoundException", "Cluster not found."));
        assert!(EcsAdapter::new(replay.config()).service(&target()).await.unwrap().is_none());

        let replay = Replay::new();
        replay.answer("DescribeServices", Answer::error(400, "ThrottlingException", "Rate exceeded"));
        let error = EcsAdapter::new(replay.config()).service(&target()).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Throttled, "ecs:DescribeServices"));
    }

    #[tokio::test]
    async fn deployments_come_newest_first_with_their_task_definitions() {
        let mut newer = waiting("B", 3);
        newer["createdAt"] = json!(1_763_000_100.0);
        let mut old = waiting("OLD", 1);
        old["createdAt"] = json!(1_762_999_999.0);
        let brief = |deployment: &Value| {
            json!({ "serviceDeploymentArn": deployment["serviceDeploymentArn"], "status": "IN_PROGRESS",
                "createdAt": deployment["createdAt"], "targetServiceRevisionArn": deployment["targetServiceRevision"]["arn"] })
        };
        let replay = Replay::new();
        replay
            .json(
                "ListServiceDeployments",
                json!({ "serviceDeployments": [brief(&old), brief(&waiting("A", 2))], "nextToken": "more" }),
            )
            .json("ListServiceDeployments", json!({ "serviceDeployments": [brief(&newer)] }))
            // B is listed and not described yet.
            .json("DescribeServiceDeployments", json!({ "serviceDeployments": [waiting("A", 2), old] }))
            .json(
                "DescribeServiceRevisions",
                json!({ "serviceRevisions": [
                    { "serviceRevisionArn": revision_arn(2), "taskDefinition": task_definition(42) },
                    { "serviceRevisionArn": revision_arn(3), "taskDefinition": task_definition(43) },
                ] }),
            );
        let ecs = EcsAdapter::new(replay.config());
        let seen = ecs.deployments(&target(), since(1_763_000_000)).await.unwrap();
        let told: Vec<_> = seen
            .iter()
            .map(|d| (d.arn.short(), d.task_definition.as_ref().map(TaskDefinitionArn::short), d.hooks.len()))
            .collect();
        assert_eq!(told, [("B", Some("web:43"), 0), ("A", Some("web:42"), 3)]);
        let asked = replay.calls("ListServiceDeployments");
        assert_eq!(asked[0].json()["createdAt"]["after"], json!(1_762_999_999));
        assert_eq!(asked[1].json()["nextToken"], "more");
        assert_eq!(
            replay.calls("DescribeServiceDeployments")[0].json()["serviceDeploymentArns"][2],
            deployment_arn("B")
        );
    }

    #[tokio::test]
    async fn a_revision_that_is_not_shown_yet_says_nothing_of_a_gateway() {
        let replay = Replay::new();
        replay
            .json("DescribeServiceRevisions", json!({ "serviceRevisions": [], "failures": [] }))
            .json("DescribeServiceRevisions", json!({ "serviceRevisions": [{ "gatewayConnectors": [{}] }] }));
        let ecs = EcsAdapter::new(replay.config());
        let needs = ecs::Needs { gateway: revision_arn(2).parse().ok(), ..ecs::Needs::default() };
        let seen = ecs.observe(&target(), &needs).await.gateway;
        assert_eq!(seen.error().map(|error| error.kind), Some(ErrorKind::NotFound));
        let seen = ecs.observe(&target(), &needs).await.gateway;
        assert!(seen.known().is_some_and(|gateway| gateway.is_connected));
        let asked = replay.calls("DescribeServiceRevisions")[0].json();
        assert_eq!(asked["serviceRevisionArns"], json!([revision_arn(2)]));
    }

    #[tokio::test]
    async fn a_revision_is_described_once() {
        let replay = Replay::new();
        replay
            .json("ListServiceDeployments", json!({ "serviceDeployments": [{ "serviceDeploymentArn": deployment_arn("A") }] }))
            .json("DescribeServiceDeployments", json!({ "serviceDeployments": [waiting("A", 2)] }))
            .json(
                "DescribeServiceRevisions",
                json!({ "serviceRevisions": [{ "serviceRevisionArn": revision_arn(2), "taskDefinition": task_definition(42) }] }),
            );
        let ecs = EcsAdapter::new(replay.config());
        for _ in 0..3 {
            let seen = ecs.deployments(&target(), since(0)).await.unwrap();
            assert_eq!(seen[0].task_definition.as_ref().unwrap().short(), "web:42");
        }
        assert_eq!(replay.calls("DescribeServiceRevisions").len(), 1);
    }

    #[tokio::test]
    async fn many_deployments_are_described_in_parts() {
        let briefs: Vec<Value> = (0..45)
            .map(|n| json!({ "serviceDeploymentArn": deployment_arn(&n.to_string()), "createdAt": n }))
            .collect();
        let replay = Replay::new();
        replay
            .json("ListServiceDeployments", json!({ "serviceDeployments": briefs }))
            .json("DescribeServiceDeployments", json!({}));
        let seen = EcsAdapter::new(replay.config()).deployments(&target(), since(0)).await.unwrap();
        let parts = replay.calls("DescribeServiceDeployments");
        let sizes: Vec<_> =
            parts.iter().map(|call| call.json()["serviceDeploymentArns"].as_array().unwrap().len()).collect();
        assert_eq!((seen.len(), sizes), (45, vec![20, 20, 5]));
    }

    /// Revision 8 as it was registered from revision 7 with image `a`.
    fn registered(image: &Image) -> Value {
        let request = Candidate::derive(&described(7), &images(image)).unwrap().request(&release());
        let mut answer = described(8);
        answer["taskDefinition"]["containerDefinitions"] = request["containerDefinitions"].clone();
        answer["tags"] = request["tags"].clone();
        answer
    }

    async fn find(replay: &Replay, image: &Image) -> Option<TaskDefinitionArn> {
        let ecs = EcsAdapter::new(replay.config());
        ecs.find_revision(&target(), &DerivedRevision { from: arn(7), images: images(image), apart: false })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn the_candidate_is_found_by_what_it_was_registered_from() {
        let replay = Replay::new();
        replay
            .json("DescribeTaskDefinition", described(7))
            .json("ListTaskDefinitions", json!({ "taskDefinitionArns": [task_definition(8)] }))
            .json("DescribeTaskDefinition", registered(&image('a')));
        assert_eq!(find(&replay, &image('a')).await, Some(arn(8)));
        let asked = replay.calls("ListTaskDefinitions")[0].json();
        let expected = json!({ "familyPrefix": "web", "status": "ACTIVE", "sort": "DESC", "maxResults": 25 });
        assert_eq!(asked, expected);
        assert_eq!(replay.calls("DescribeTaskDefinition")[0].json()["include"], json!(["TAGS"]));
    }

    #[tokio::test]
    async fn a_revision_of_someone_else_is_not_taken_even_if_it_carries_the_image() {
        let mut theirs = registered(&image('a'));
        theirs["tags"] = json!([]);
        let replay = Replay::new();
        replay
            .json("DescribeTaskDefinition", described(7))
            .json("ListTaskDefinitions", json!({ "taskDefinitionArns": [task_definition(8)] }))
            .json("DescribeTaskDefinition", theirs);
        assert_eq!(find(&replay, &image('a')).await, None);
    }

    #[tokio::test]
    async fn the_tags_a_candidate_takes_over_are_counted() {
        let mut seven = described(7);
        seven["tags"] = json!([{ "key": "team", "value": "a" }, { "key": "cost", "value": "b" },
            { "key": "aws:cloudformation:stack-name", "value": "c" }, { "key": "tidegate:source", "value": "d" }]);
        assert_eq!(super::task_definition(seven).unwrap().tags, 2);
    }

    #[tokio::test]
    async fn a_tag_alone_does_not_make_another_image_the_candidate() {
        let mut forged = registered(&image('a'));
        forged["taskDefinition"]["containerDefinitions"][1]["image"] = "evil:latest".into();
        let replay = Replay::new();
        replay
            .json("DescribeTaskDefinition", described(7))
            .json("ListTaskDefinitions", json!({ "taskDefinitionArns": [task_definition(8)] }))
            .json("DescribeTaskDefinition", forged);
        assert_eq!(find(&replay, &image('a')).await, None);
    }
}
