//! The calls that change something. Each effect is an "ensure": performed again, or when it has already been done, it changes nothing.
//!
//! None of these calls has a client token or a condition. What stands in for them: the state is looked at first where doing it
//! twice would matter, and looked at again where ECS refuses, because a refusal may say that it has been done.

use std::time::Duration;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::types::{
    DeploymentLifecycleHookAction, ServiceDeploymentStatus, StopServiceDeploymentStopType,
};
use serde_json::{Map, Value, json};
use tidegate_aws::port_error;
use tidegate_core::effect::CALL_LIMIT;
use tidegate_core::engine::ecs_native::configuration;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{DeploymentArn, HookId, ReleaseId, Target, TaskDefinitionArn};
use tidegate_core::vocab::ecs::{DerivedRevision, Effect};

use crate::EcsAdapter;
use crate::adapter::{describe_deployment, describe_service, list_deployments};
use crate::canary::{self, NewCanary};
use crate::raw::SendBody;
use crate::seen::{Brief, Deployment, Service};
use crate::service_of;

/// How long a throttled call waits before it is sent again; all of them fit into the limit of an effect.
const THROTTLED_PAUSES: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(400), Duration::from_millis(1000)];

impl EcsAdapter {
    pub(crate) async fn perform_effect(&self, target: &Target, effect: &Effect) -> Result<(), PortError> {
        let client = self.client(target).await;
        match effect {
            // Moves nothing, so it may take its time.
            Effect::RegisterTaskDefinition { release, revision } => {
                self.register(&client, release, revision).await
            }
            Effect::StartDeployment { task_definition, configuration }
            | Effect::ReturnTo { task_definition, configuration } => {
                within_limit(effect, self.deploy(&client, target, task_definition, configuration)).await
            }
            Effect::ContinueHook { deployment, hook } => {
                within_limit(effect, continue_hook(&client, deployment, hook)).await
            }
            Effect::StopDeployment { deployment } => within_limit(effect, stop(&client, deployment)).await,
            Effect::CreateCanary { name, release, task_definition, desired, target_group, beside } => {
                let new = NewCanary {
                    name,
                    release,
                    task_definition,
                    desired: *desired,
                    groups: target_group.as_ref().zip(beside.as_ref()),
                };
                within_limit(effect, self.create_canary(&client, target, new)).await
            }
            Effect::ScaleCanary { name, desired } => {
                within_limit(effect, canary::scale(&client, target, name, *desired)).await
            }
            Effect::DeleteCanary { name } => {
                within_limit(effect, canary::delete(&client, target, name)).await
            }
            Effect::RestoreConfiguration { configuration } => {
                within_limit(effect, restore(&client, target, configuration)).await
            }
        }
    }

    async fn register(
        &self,
        client: &Client,
        release: &ReleaseId,
        revision: &DerivedRevision,
    ) -> Result<(), PortError> {
        let (candidate, found) = self.candidate(client, revision).await?;
        if let Some(found) = found {
            tracing::debug!(task_definition = %found, "the revision is registered already");
            return Ok(());
        }
        let request = candidate.request(release);
        let sent = sent_once(|| {
            let call = client.register_task_definition().family(revision.from.family()).customize();
            let call = call.config_override(untried()).interceptor(SendBody::new(&request));
            async move {
                call.send().await.map_err(|error| {
                    unpassable(port_error("ecs:RegisterTaskDefinition", error), "TaskRoleArns")
                })
            }
        })
        .await;
        let sent = match sent {
            Ok(sent) => sent,
            Err(refusal) => {
                let found = async { Ok(self.candidate(client, revision).await?.1.is_some()) };
                return unless_done(refusal, found).await;
            }
        };
        let arn = sent.task_definition().and_then(|registered| registered.task_definition_arn());
        tracing::info!(task_definition = arn, release = %release, "registered");
        Ok(())
    }

    async fn deploy(
        &self,
        client: &Client,
        target: &Target,
        task_definition: &TaskDefinitionArn,
        configuration: &Value,
    ) -> Result<(), PortError> {
        let service = existing(client, target).await?;
        let already_set = service.task_definition() == Some(task_definition.as_str());
        if already_set
            && (service.is_rolling_out(task_definition)
                || self.is_under_way(client, target, task_definition).await?)
        {
            tracing::debug!(%task_definition, "the deployment is under way already");
            return Ok(());
        }
        let mut change = Map::new();
        change.insert("taskDefinition".into(), task_definition.as_str().into());
        let request = configuration::to_send(configuration, &service.deployment_configuration);
        change.insert("deploymentConfiguration".into(), request);
        if already_set {
            change.insert("forceNewDeployment".into(), true.into());
        }
        let Err(refusal) = update_service(client, target, change).await else { return Ok(()) };
        unless_done(refusal, async {
            let service = existing(client, target).await?;
            Ok(service.task_definition() == Some(task_definition.as_str())
                && (service.is_rolling_out(task_definition)
                    || self.is_under_way(client, target, task_definition).await?))
        })
        .await
    }

    /// Whether a deployment that brings this task definition, forwards, is under way.
    async fn is_under_way(
        &self,
        client: &Client,
        target: &Target,
        task_definition: &TaskDefinitionArn,
    ) -> Result<bool, PortError> {
        let forwards = vec![ServiceDeploymentStatus::Pending, ServiceDeploymentStatus::InProgress];
        let listed = list_deployments(client, target, None, Some(forwards)).await?;
        let deployments: Vec<Deployment> = listed.into_iter().map(|brief: Brief| brief.into()).collect();
        let revisions = deployments.iter().filter_map(Deployment::target_revision);
        let found = self.task_definitions_of(client, revisions).await?;
        Ok(found.into_values().flatten().any(|arn| arn == *task_definition))
    }
}

/// The core declares a final state once the lease and one limit have run out. An effect of several calls must not begin the last of
/// them after that, so the limit is for all of them together.
async fn within_limit(
    effect: &Effect,
    work: impl Future<Output = Result<(), PortError>>,
) -> Result<(), PortError> {
    within(CALL_LIMIT.unsigned_abs(), effect, work).await
}

async fn within(
    limit: Duration,
    effect: &Effect,
    work: impl Future<Output = Result<(), PortError>>,
) -> Result<(), PortError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("not done within {limit:?}");
        Err(PortError::new(ErrorKind::Unavailable, operation(effect), "TimedOut", message))
    })
}

/// The IAM action that is the point of an effect.
fn operation(effect: &Effect) -> &'static str {
    match effect {
        Effect::RegisterTaskDefinition { .. } => "ecs:RegisterTaskDefinition",
        Effect::StartDeployment { .. } | Effect::ReturnTo { .. } | Effect::RestoreConfiguration { .. } => {
            "ecs:UpdateService"
        }
        Effect::ContinueHook { .. } => "ecs:ContinueServiceDeployment",
        Effect::StopDeployment { .. } => "ecs:StopServiceDeployment",
        Effect::CreateCanary { .. } => "ecs:CreateService",
        Effect::ScaleCanary { .. } => "ecs:UpdateService",
        Effect::DeleteCanary { .. } => "ecs:DeleteService",
    }
}

async fn existing(client: &Client, target: &Target) -> Result<Service, PortError> {
    describe_service(client, target).await?.ok_or_else(|| {
        PortError::new(
            ErrorKind::NotFound,
            "ecs:DescribeServices",
            "ServiceNotFoundException",
            format!("there is no service {target}"),
        )
    })
}

async fn update_service(
    client: &Client,
    target: &Target,
    mut change: Map<String, Value>,
) -> Result<(), PortError> {
    let at = service_of(target, "ecs:UpdateService")?;
    change.insert("cluster".into(), at.cluster.as_str().into());
    change.insert("service".into(), at.service.as_str().into());
    let change = Value::Object(change);
    sent_once(|| {
        let call = client.update_service().cluster(at.cluster.as_str()).service(at.service.as_str());
        let call = call.customize().config_override(untried()).interceptor(SendBody::new(&change));
        async move {
            call.send()
                .await
                .map(|_| ())
                .map_err(|error| unpassable(port_error("ecs:UpdateService", error), "InfrastructureRoleArns"))
        }
    })
    .await
}

/// AWS's message names the role that may not be passed, and not where it is allowed.
pub(crate) fn unpassable(mut error: PortError, parameter: &str) -> PortError {
    if error.kind == ErrorKind::Denied && error.message.contains("iam:PassRole") {
        error.message.push_str(&format!("; add the role to {parameter}, a parameter of Tidegate's stack"));
    }
    error
}

/// Never tried again by the SDK: a call whose answer was lost may have been done, and the second try would be refused, or do it twice. The
/// next look tells.
pub(crate) fn untried() -> aws_sdk_ecs::config::Builder {
    aws_sdk_ecs::config::Builder::new().retry_config(RetryConfig::disabled())
}

/// Sends a call that must not be done twice. One that was throttled has done nothing, and is sent again.
pub(crate) async fn sent_once<T, F>(send: impl Fn() -> F) -> Result<T, PortError>
where
    F: Future<Output = Result<T, PortError>>,
{
    let mut pauses = THROTTLED_PAUSES.iter();
    loop {
        match (send().await, pauses.next()) {
            (Err(error), Some(pause)) if error.kind == ErrorKind::Throttled => {
                tokio::time::sleep(*pause).await;
            }
            (result, _) => return result,
        }
    }
}

async fn restore(client: &Client, target: &Target, configuration: &Value) -> Result<(), PortError> {
    let service = existing(client, target).await?;
    if configuration::is_set(configuration, &service.deployment_configuration) {
        return Ok(());
    }
    let request = configuration::to_send(configuration, &service.deployment_configuration);
    let change = json!({ "deploymentConfiguration": request });
    let change = change.as_object().cloned().unwrap_or_default();
    let Err(refusal) = update_service(client, target, change).await else { return Ok(()) };
    unless_done(refusal, async {
        Ok(configuration::is_set(configuration, &existing(client, target).await?.deployment_configuration))
    })
    .await
}

async fn continue_hook(client: &Client, deployment: &DeploymentArn, hook: &HookId) -> Result<(), PortError> {
    let sent = sent_once(|| {
        let call = client
            .continue_service_deployment()
            .service_deployment_arn(deployment.as_str())
            .hook_id(hook.as_str())
            .action(DeploymentLifecycleHookAction::Continue);
        let call = call.customize().config_override(untried());
        async move {
            let sent = call.send().await;
            sent.map(|_| ()).map_err(|error| port_error("ecs:ContinueServiceDeployment", error))
        }
    })
    .await;
    let Err(refusal) = sent else { return Ok(()) };
    done_if(client, deployment, refusal, |deployment| !deployment.awaits(hook)).await
}

async fn stop(client: &Client, deployment: &DeploymentArn) -> Result<(), PortError> {
    let call = client
        .stop_service_deployment()
        .service_deployment_arn(deployment.as_str())
        .stop_type(StopServiceDeploymentStopType::Rollback);
    let Err(error) = call.send().await else { return Ok(()) };
    let error = port_error("ecs:StopServiceDeployment", error);
    done_if(client, deployment, error, |deployment| {
        let status = deployment.status();
        status.is_over() || status.is_rollback()
    })
    .await
}

/// A refusal is no failure when the deployment shows that there was nothing left to do.
async fn done_if(
    client: &Client,
    deployment: &DeploymentArn,
    refusal: PortError,
    done: impl Fn(&Deployment) -> bool,
) -> Result<(), PortError> {
    let missing = refusal.kind == ErrorKind::NotFound;
    unless_done(refusal, async {
        match describe_deployment(client, deployment).await? {
            Some(seen) if done(&seen) => Ok(true),
            // It is there, so "there is none" came from a part of ECS that is behind: neither can be relied on.
            Some(_) if missing => {
                let message = "the deployment is there, and was said not to be";
                Err(PortError::new(
                    ErrorKind::Unavailable,
                    "ecs:DescribeServiceDeployments",
                    "Behind",
                    message,
                ))
            }
            Some(_) | None => Ok(false),
        }
    })
    .await
}

/// What a refusal means: it may say that an earlier call, whose answer was lost, has done it. It is final only when a look shows that it was
/// not done; what cannot be looked at is not known, and is looked at again.
pub(crate) async fn unless_done(
    refusal: PortError,
    is_done: impl Future<Output = Result<bool, PortError>>,
) -> Result<(), PortError> {
    match refusal.kind {
        ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::NotFound => {}
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Denied => return Err(refusal),
    }
    match is_done.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(refusal),
        Err(error) => {
            let message = format!("{}; whether it was done could not be seen: {error}", refusal.message);
            Err(PortError { kind: ErrorKind::Unavailable, message, ..refusal })
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::ports::Ecs as _;
    use tidegate_replay::{Answer, Replay};

    use super::*;
    use crate::adapter::tests::{arn, target};
    use crate::registration::tests::{described, image, images, release};
    use crate::seen::tests::{deployment_arn, revision_arn, service, task_definition, waiting};

    fn configuration() -> Value {
        json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 10.0 }, "tidalLock": { "moon": 2 } })
    }

    fn start(revision: u32) -> Effect {
        Effect::StartDeployment { task_definition: arn(revision), configuration: configuration() }
    }

    fn stop_it() -> Effect {
        Effect::StopDeployment { deployment: deployment_arn("A").parse().unwrap() }
    }

    fn continue_it() -> Effect {
        Effect::ContinueHook {
            deployment: deployment_arn("A").parse().unwrap(),
            hook: HookId::new("ecs-pause-2").unwrap(),
        }
    }

    async fn perform(replay: &Replay, effect: &Effect) -> Result<(), PortError> {
        EcsAdapter::new(replay.config()).perform(&target(), effect).await
    }

    /// The bodies `UpdateService` was called with.
    fn updates(replay: &Replay) -> Vec<Value> {
        replay.calls("UpdateService").iter().map(|call| call.json()).collect()
    }

    #[tokio::test]
    async fn a_deployment_is_started_with_the_whole_configuration() {
        let replay = Replay::new();
        replay
            .json("DescribeServices", json!({ "services": [service(41)] }))
            .json("UpdateService", json!({}));
        perform(&replay, &start(42)).await.unwrap();
        let expected = json!({
            "taskDefinition": task_definition(42),
            "deploymentConfiguration": configuration(),
            "cluster": "prod",
            "service": "web",
        });
        assert_eq!(updates(&replay), [expected]);
    }

    #[tokio::test]
    async fn a_deployment_under_way_is_not_started_again() {
        let mut rolling = service(42);
        rolling["deployments"][0]["rolloutState"] = "IN_PROGRESS".into();
        let replay = Replay::new();
        replay.json("DescribeServices", json!({ "services": [rolling] }));
        perform(&replay, &start(42)).await.unwrap();
        assert_eq!(replay.operations(), ["DescribeServices"]);
    }

    #[tokio::test]
    async fn a_service_deployment_under_way_counts_too() {
        let replay = Replay::new();
        let listed = json!([{ "serviceDeploymentArn": deployment_arn("A"), "status": "PENDING",
            "targetServiceRevisionArn": revision_arn(2) }]);
        let revision =
            json!([{ "serviceRevisionArn": revision_arn(2), "taskDefinition": task_definition(42) }]);
        replay
            .json("DescribeServices", json!({ "services": [service(42)] }))
            .json("ListServiceDeployments", json!({ "serviceDeployments": listed }))
            .json("DescribeServiceRevisions", json!({ "serviceRevisions": revision }));
        perform(&replay, &start(42)).await.unwrap();
        assert_eq!(updates(&replay), [] as [Value; 0]);
        let status = replay.calls("ListServiceDeployments")[0].json()["status"].clone();
        assert_eq!(status, json!(["PENDING", "IN_PROGRESS"]));
    }

    #[tokio::test]
    async fn the_task_definition_that_is_set_already_is_deployed_by_force() {
        let replay = Replay::new();
        replay
            .json("DescribeServices", json!({ "services": [service(42)] }))
            .json("ListServiceDeployments", json!({ "serviceDeployments": [] }))
            .json("UpdateService", json!({}));
        let back = Effect::ReturnTo { task_definition: arn(42), configuration: configuration() };
        perform(&replay, &back).await.unwrap();
        assert_eq!(updates(&replay)[0]["forceNewDeployment"], true);
    }

    #[tokio::test]
    async fn a_service_that_is_gone_is_told() {
        let replay = Replay::new();
        replay.json("DescribeServices", json!({ "failures": [{ "reason": "MISSING" }] }));
        let error = perform(&replay, &start(42)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(error.message, "there is no service prod/web (111122223333, eu-central-1)");
    }

    #[tokio::test]
    async fn a_hook_that_waits_is_told_to_go_on() {
        let replay = Replay::new();
        replay.json("ContinueServiceDeployment", json!({}));
        perform(&replay, &continue_it()).await.unwrap();
        let expected = json!({ "serviceDeploymentArn": deployment_arn("A"), "hookId": "ecs-pause-2", "action": "CONTINUE" });
        assert_eq!(replay.calls("ContinueServiceDeployment")[0].json(), expected);
    }

    /// What comes of an effect that ECS refuses with `code` while the deployment is `seen`.
    async fn refused(effect: &Effect, operation: &str, code: &str, seen: Value) -> Result<(), ErrorKind> {
        let replay = Replay::new();
        replay
            .answer(operation, Answer::error(400, code, "no"))
            .json("DescribeServiceDeployments", json!({ "serviceDeployments": [seen] }));
        perform(&replay, effect).await.map_err(|error| {
            assert_eq!(error.code, code, "the refusal is what is told");
            error.kind
        })
    }

    #[tokio::test]
    async fn a_hook_that_no_longer_waits_has_gone_on() {
        const OPERATION: &str = "ContinueServiceDeployment";
        let mut gone = waiting("A", 2);
        gone["lifecycleHookDetails"][1]["status"] = "SUCCEEDED".into();
        let (effect, code) = (continue_it(), "InvalidParameterException");
        assert_eq!(refused(&effect, OPERATION, code, gone).await, Ok(()));
        assert_eq!(refused(&effect, OPERATION, code, waiting("A", 2)).await, Err(ErrorKind::Invalid));
    }

    #[tokio::test]
    async fn a_refusal_that_cannot_be_looked_into_is_not_final() {
        for (effect, operation) in
            [(continue_it(), "ContinueServiceDeployment"), (stop_it(), "StopServiceDeployment")]
        {
            for code in ["InvalidParameterException", "ServiceDeploymentNotFoundException"] {
                let replay = Replay::new();
                replay.answer(operation, Answer::error(400, code, "no"));
                for _ in 0..4 {
                    replay.answer(
                        "DescribeServiceDeployments",
                        Answer::error(400, "ThrottlingException", "Rate exceeded"),
                    );
                }
                let error = perform(&replay, &effect).await.unwrap_err();
                assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unavailable, code));
            }
        }
    }

    #[tokio::test]
    async fn a_deployment_that_is_there_and_said_not_to_be_is_looked_at_again() {
        let code = "ServiceDeploymentNotFoundException";
        let result = refused(&continue_it(), "ContinueServiceDeployment", code, waiting("A", 2)).await;
        assert_eq!(result, Err(ErrorKind::Unavailable));
        let replay = Replay::new();
        replay
            .answer("ContinueServiceDeployment", Answer::error(400, code, "no"))
            .json("DescribeServiceDeployments", json!({ "serviceDeployments": [] }));
        let error = perform(&replay, &continue_it()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "seen to be gone");
    }

    #[tokio::test]
    async fn a_call_whose_answer_was_lost_is_sent_once() {
        for (effect, operation) in
            [(continue_it(), "ContinueServiceDeployment"), (start(42), "UpdateService")]
        {
            let replay = Replay::new();
            replay
                .json("DescribeServices", json!({ "services": [service(41)] }))
                .answer(operation, Answer::error(503, "ServiceUnavailable", "no answer"));
            assert_eq!(perform(&replay, &effect).await.unwrap_err().kind, ErrorKind::Unavailable);
            assert_eq!(replay.calls(operation).len(), 1, "{operation}");
        }
    }

    #[tokio::test]
    async fn an_update_that_was_refused_and_is_under_way_is_done() {
        let mut rolling = service(42);
        rolling["deployments"][0]["rolloutState"] = "IN_PROGRESS".into();
        let replay = Replay::new();
        replay
            .json("DescribeServices", json!({ "services": [service(41)] }))
            .answer("UpdateService", Answer::error(400, "InvalidParameterException", "no"))
            .json("DescribeServices", json!({ "services": [rolling] }));
        perform(&replay, &start(42)).await.unwrap();
        let replay = Replay::new();
        replay
            .json("DescribeServices", json!({ "services": [service(41)] }))
            .answer("UpdateService", Answer::error(400, "InvalidParameterException", "no"))
            .json("DescribeServices", json!({ "services": [service(41)] }));
        assert_eq!(perform(&replay, &start(42)).await.unwrap_err().kind, ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn a_rollback_is_asked_for() {
        let replay = Replay::new();
        replay.json("StopServiceDeployment", json!({}));
        perform(&replay, &stop_it()).await.unwrap();
        let expected = json!({ "serviceDeploymentArn": deployment_arn("A"), "stopType": "ROLLBACK" });
        assert_eq!(replay.calls("StopServiceDeployment")[0].json(), expected);
    }

    #[tokio::test]
    async fn a_deployment_that_goes_back_or_is_over_needs_no_stop() {
        let with = |status: &str| {
            let mut seen = waiting("A", 2);
            seen["status"] = status.into();
            seen
        };
        for status in
            ["ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", "STOPPED", "SUCCESSFUL"]
        {
            let result =
                refused(&stop_it(), "StopServiceDeployment", "ConflictException", with(status)).await;
            assert_eq!(result, Ok(()), "{status}");
        }
        for status in ["IN_PROGRESS", "STOP_REQUESTED", "HIBERNATING"] {
            let result =
                refused(&stop_it(), "StopServiceDeployment", "ConflictException", with(status)).await;
            assert_eq!(result, Err(ErrorKind::Conflict), "{status}");
        }
    }

    #[tokio::test]
    async fn what_is_throttled_or_denied_is_not_looked_into() {
        for (code, kind) in
            [("ThrottlingException", ErrorKind::Throttled), ("AccessDeniedException", ErrorKind::Denied)]
        {
            let replay = Replay::new();
            replay.answer("StopServiceDeployment", Answer::error(400, code, "no"));
            assert_eq!(perform(&replay, &stop_it()).await.unwrap_err().kind, kind);
            assert_eq!(replay.operations(), ["StopServiceDeployment"]);
        }
    }

    #[tokio::test]
    async fn the_configuration_is_put_back_once_and_starts_nothing() {
        let own = service(41)["deploymentConfiguration"].clone();
        let effect = Effect::RestoreConfiguration { configuration: own.clone() };
        let mut ours = service(41);
        ours["deploymentConfiguration"] = configuration();
        let replay = Replay::new();
        replay
            .json("DescribeServices", json!({ "services": [ours] }))
            .json("DescribeServices", json!({ "services": [service(41)] }))
            .json("UpdateService", json!({}));
        let ecs = EcsAdapter::new(replay.config());
        ecs.perform(&target(), &effect).await.unwrap();
        ecs.perform(&target(), &effect).await.unwrap();
        let expected = json!({ "deploymentConfiguration": own, "cluster": "prod", "service": "web" });
        assert_eq!(updates(&replay), [expected]);
    }

    #[tokio::test]
    async fn only_blocks_of_the_strategy_in_force_are_sent() {
        // AWS kept the blocks of strategies the service had before, and they were stored with the plan.
        let own = json!({ "strategy": "ROLLING", "canaryConfiguration": { "canaryPercent": 5.0 },
            "linearConfiguration": { "stepPercent": 10.0 } });
        let sent_over = async |present: Value, effect: &Effect| {
            let mut seen = service(41);
            seen["deploymentConfiguration"] = present;
            let replay = Replay::new();
            replay
                .json("DescribeServices", json!({ "services": [seen] }))
                .json("ListServiceDeployments", json!({ "serviceDeployments": [] }))
                .json("UpdateService", json!({}));
            perform(&replay, effect).await.unwrap();
            updates(&replay)[0]["deploymentConfiguration"].clone()
        };
        let restore = Effect::RestoreConfiguration { configuration: own.clone() };
        assert_eq!(sent_over(configuration(), &restore).await, json!({ "strategy": "ROLLING" }));
        let back = Effect::ReturnTo { task_definition: arn(42), configuration: own.clone() };
        assert_eq!(sent_over(configuration(), &back).await, json!({ "strategy": "ROLLING" }));
        let expected = json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 10.0 },
            "tidalLock": { "moon": 2 } });
        assert_eq!(sent_over(own, &start(42)).await, expected);
    }

    #[tokio::test]
    async fn an_image_is_registered_once() {
        let effect = Effect::RegisterTaskDefinition {
            release: release(),
            revision: DerivedRevision { from: arn(7), images: images(&image('a')), apart: false },
        };
        let replay = Replay::new();
        replay
            .json("DescribeTaskDefinition", described(7))
            .json("ListTaskDefinitions", json!({ "taskDefinitionArns": [task_definition(7)] }))
            .json(
                "RegisterTaskDefinition",
                json!({ "taskDefinition": { "taskDefinitionArn": task_definition(8) } }),
            );
        perform(&replay, &effect).await.unwrap();
        let [registered] = replay.calls("RegisterTaskDefinition").try_into().unwrap();
        let registered = registered.json();
        assert_eq!(registered["quantumCores"], json!({ "count": 2 }), "what the SDK does not know survives");
        assert_eq!(registered["containerDefinitions"][1]["image"], image('a').pinned());

        // Once it is there, nothing is registered any more.
        let mut eighth = described(8);
        eighth["taskDefinition"]["containerDefinitions"] = registered["containerDefinitions"].clone();
        eighth["tags"] = registered["tags"].clone();
        let replay = Replay::new();
        replay
            .json("DescribeTaskDefinition", described(7))
            .json("ListTaskDefinitions", json!({ "taskDefinitionArns": [task_definition(8)] }))
            .json("DescribeTaskDefinition", eighth);
        perform(&replay, &effect).await.unwrap();
        assert_eq!(replay.calls("RegisterTaskDefinition").len(), 0);
    }

    #[tokio::test]
    async fn all_calls_of_an_effect_share_one_limit() {
        let never = std::future::pending();
        let error = within(Duration::from_millis(1), &stop_it(), never).await.unwrap_err();
        assert_eq!(
            (error.kind, error.operation.as_str()),
            (ErrorKind::Unavailable, "ecs:StopServiceDeployment")
        );
    }
}
