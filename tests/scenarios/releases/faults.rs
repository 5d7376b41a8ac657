//! AWS refuses, stalls, or does not answer: each release still ends rightly, and says what is needed.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::requests::Ask;
use tidegate_sandbox::endpoint::{Action, Fault};
use tidegate_sandbox::local::shop::{Balancer, CLUSTER};
use tidegate_sandbox::local::{ACCOUNT, REGION};

use crate::runner::{Scenario, scenario};
use crate::stage::{STACK, until};
use crate::story::{CANARY, Story, good};

const BLUE_GREEN: &str = "{ blue_green: {}, bake: 2s }";
const LONG_CANARY: &str = "{ canary: { percent: 10, bake: 25s }, bake: 3s }";
const SOON: Duration = Duration::from_secs(120);

pub(crate) fn all() -> Vec<Scenario> {
    let refused = ["UpdateService", "RegisterTaskDefinition"].map(|operation| {
        scenario(
            format!("{operation} refused: nothing was changed, and it says what is missing"),
            move |stage| async move {
                let name = format!("no-{}", operation.to_lowercase());
                let story = Story::open_behind(&stage, &name, Balancer::None).await?;
                refused(&story, operation).await
            },
        )
    });
    let answers_lost = ["RegisterTaskDefinition", "UpdateService", "ContinueServiceDeployment", "*Describe*"];
    let lost = answers_lost.map(|operation| {
        scenario(
            format!("the answers to {operation} lost: done once all the same"),
            move |stage| async move {
                let name = format!("lost-{}", operation.trim_matches('*').to_lowercase());
                let mut story = Story::open(&stage, &name).await?;
                answers_lost_on(&mut story, operation).await
            },
        )
    });
    let mut all = vec![
        scenario("StopServiceDeployment refused for a while: rolled back all the same", async |stage| {
            let mut story = Story::open(&stage, "no-stop").await?;
            stop_refused(&mut story).await
        }),
        scenario(
            "half of all answers of ECS and a fifth of the ledger's lost: promoted all the same",
            async |stage| {
                let mut story = Story::open(&stage, "half-lost").await?;
                half_of_the_answers_lost(&mut story).await
            },
        ),
        scenario("calls that take seconds only cost time", async |stage| {
            let mut story = Story::open(&stage, "slow").await?;
            slow(&mut story).await
        }),
        scenario(
            "a task role that may not be passed is told, with the parameter it belongs in",
            async |stage| {
                let mut story = Story::open_behind(&stage, "foreign-role", Balancer::None).await?;
                foreign_role(&mut story).await
            },
        ),
        scenario("a role that is too narrow is told by `why`, and granting it is enough", async |stage| {
            let mut story = Story::open(&stage, "too-narrow").await?;
            too_narrow(&mut story).await
        }),
    ];
    all.extend(refused);
    all.extend(lost);
    all
}

/// The operations a release changes a service with.
impl Story {
    fn happened(&self, operation: &str) -> u64 {
        let faults = self.stage.local.endpoint.faults();
        let of_this = |fault: &&Fault| {
            fault.resource.as_deref() == Some(self.name.as_str())
                && fault.operation.as_deref() == Some(operation)
        };
        faults.iter().filter(of_this).map(|fault| fault.happened).sum()
    }

    fn clear_faults(&self) {
        self.stage
            .local
            .endpoint
            .remove_faults(|fault| fault.resource.as_deref() == Some(self.name.as_str()));
    }
}

async fn refused(story: &Story, operation: &str) -> Result<()> {
    story.policy(BLUE_GREEN).await?;
    story.stage.local.endpoint.add_fault(story.fault("ecs", operation, Action::Refuse));
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    let release = story.ends(&id, "failed").await?;
    let Some(Outcome::Failed { cause: Cause::Refused { error, .. }, needs }) = release.outcome() else {
        anyhow::bail!("failed because of {:?}", release.cause())
    };
    ensure!(error.contains("AccessDenied") && error.contains(operation), "{error}");
    ensure!(needs.contains("nothing was changed"), "{needs}");
    story.is_as_before().await?;
    // Nothing is quarantined by a role that was too narrow: once it is granted, the same image is released.
    story.clear_faults();
    let (code, text) = story.stage.tidegate(&["release", story.name.as_str(), &digest, "--watch"]).await?;
    ensure!(code == 0, "exit code {code}: {text}");
    story.runs(&digest).await
}

/// The running revision has a task role that is not in `TaskRoleArns`: nobody registers the next one with it.
async fn foreign_role(story: &mut Story) -> Result<()> {
    let role = format!("arn:aws:iam::{ACCOUNT}:role/of-another-team");
    let theirs = story.register_by_hand(|own| own["taskRoleArn"] = role.as_str().into()).await?;
    story.deploy_by_hand(&theirs).await?;
    story.policy(BLUE_GREEN).await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    let release = story.ends(&id, "failed").await?;
    let Some(Outcome::Failed { cause: Cause::Refused { error, .. }, needs }) = release.outcome() else {
        anyhow::bail!("failed because of {:?}", release.cause())
    };
    ensure!(error.contains("iam:PassRole") && error.contains(&role), "{error}");
    ensure!(error.contains("add the role to TaskRoleArns"), "{error}");
    ensure!(needs.contains("nothing was changed"), "{needs}");
    ensure!(story.service().await?["taskDefinition"] == theirs, "the service was changed");
    Ok(())
}

async fn stop_refused(story: &mut Story) -> Result<()> {
    story.policy(LONG_CANARY).await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    let fault = story.fault("ecs", "StopServiceDeployment", Action::Refuse);
    story.stage.local.endpoint.add_fault(Fault { count: Some(3), ..fault });
    // Not the alarm: ECS would roll back by itself.
    let by = Actor::Person { name: "tests".into() };
    story.stage.installation.ask(&id, Ask::Rollback, &by, "to see it refused").await?;
    let release = story.ends(&id, "rolled back").await?;
    ensure!(matches!(release.cause(), Some(Cause::Requested { .. })), "{:?}", release.cause());
    ensure!(story.happened("StopServiceDeployment") == 3, "it was not refused");
    story.is_as_before().await?;
    story.nobody_was_turned_away().await?;
    story.clear_faults();
    Ok(())
}

async fn answers_lost_on(story: &mut Story, operation: &str) -> Result<()> {
    story.policy(CANARY).await?;
    story.let_in()?;
    // As often as the SDK tries and more, so that Tidegate itself has to find out.
    let fault = story.fault("ecs", operation, Action::DropAfter);
    story.stage.local.endpoint.add_fault(Fault { count: Some(5), ..fault });
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    let lost = story.happened(operation);
    ensure!(lost >= 1, "no answer was lost");
    story.clear_faults();
    done_once(story, &digest).await
}

/// Lost at random for as long as the release takes: no call's answer can be relied on, and none is a refusal.
async fn half_of_the_answers_lost(story: &mut Story) -> Result<()> {
    story.policy(CANARY).await?;
    story.let_in()?;
    for (service, probability) in [("ecs", 0.5), ("dynamodb", 0.2)] {
        let fault = story.fault(service, "*", Action::DropAfter);
        story.stage.local.endpoint.add_fault(Fault { probability, ..fault });
    }
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    ensure!(story.happened("*") >= 20, "few answers were lost: {}", story.happened("*"));
    story.clear_faults();
    done_once(story, &digest).await
}

async fn done_once(story: &mut Story, digest: &str) -> Result<()> {
    story.runs(digest).await?;
    let revisions = story.ecs("ListTaskDefinitions", json!({ "familyPrefix": story.name.as_str() })).await?;
    let count = revisions["taskDefinitionArns"].as_array().map_or(0, Vec::len);
    ensure!(count == 2, "the digest was registered {} times: {revisions}", count - 1);
    ensure!(story.deployments().await?.len() <= 2, "{:#?}", story.deployments().await?);
    story.nobody_was_turned_away().await?;
    Ok(())
}

async fn slow(story: &mut Story) -> Result<()> {
    story.policy(CANARY).await?;
    story.let_in()?;
    for (operation, ms) in [("UpdateService", 1500), ("ContinueServiceDeployment", 1500), ("Describe*", 500)]
    {
        let fault = story.fault("ecs", operation, Action::DelayMs(ms));
        story.stage.local.endpoint.add_fault(fault);
    }
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    story.ends(&id, "promoted").await?;
    story.runs(&digest).await?;
    story.nobody_was_turned_away().await?;
    story.clear_faults();
    Ok(())
}

/// Takes from the roles of Tidegate, or gives back, the right to stop this service's deployments.
async fn deny_stop(story: &Story, denied: bool) -> Result<()> {
    const VERSION: (&str, &str) = ("Version", "2010-05-08");
    let statement = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": "ecs:StopServiceDeployment",
        "Resource": [
            format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{CLUSTER}/{}", story.name),
            format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service-deployment/{CLUSTER}/{}/*", story.name),
        ],
    }]});
    let statement = statement.to_string();
    for function in ["conductor", "sentinel"] {
        let path = format!("/2015-03-31/functions/{STACK}-{function}/configuration");
        let client = &story.stage.local.client;
        let got = client.rest("lambda", http::Method::GET, &path, http::HeaderMap::new(), "".into()).await;
        let got = got.map_err(|error| anyhow!("{}", error.message))?;
        let configuration: Value = serde_json::from_slice(got.body())?;
        let role = configuration["Role"].as_str().and_then(|arn| arn.rsplit('/').next());
        let role = role.context("a function has a role")?.to_owned();
        let mut params = vec![VERSION, ("RoleName", &role), ("PolicyName", "narrow")];
        if denied {
            params.extend([("Action", "PutRolePolicy"), ("PolicyDocument", &statement)]);
        } else {
            params.push(("Action", "DeleteRolePolicy"));
        }
        client.query("iam", &params).await.map_err(|error| anyhow!("{}: {}", error.code, error.message))?;
    }
    Ok(())
}

async fn too_narrow(story: &mut Story) -> Result<()> {
    story.policy(LONG_CANARY).await?;
    story.let_in()?;
    let id = story.release("main-2", good("v2")).await?;
    story.until_shifted(&id, 10.0).await?;
    deny_stop(story, true).await?;
    // Policies are remembered for a while, as on AWS a change of one takes a while to reach every place.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let by = Actor::Person { name: "tests".into() };
    story.stage.installation.ask(&id, Ask::Rollback, &by, "to see it refused").await?;
    let why = until("`why` to say what is denied", SOON, async || {
        let (_, text) = story.stage.tidegate(&["why", id.as_str()]).await?;
        Ok(text.contains("AccessDenied").then_some(text))
    })
    .await?;
    ensure!(why.contains("StopServiceDeployment") || why.contains("stop_deployment"), "{why}");
    deny_stop(story, false).await?;
    story.ends(&id, "rolled back").await?;
    story.is_as_before().await?;
    story.nobody_was_turned_away().await?;
    Ok(())
}
