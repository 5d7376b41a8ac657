//! One shop, the policy it is released by, and what a scenario can do to it and expect of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::engine::ecs_native::configuration;
use tidegate_core::finding::{Finding, FindingCode};
use tidegate_core::history::Entry;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::policy;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_sandbox::endpoint::{Action, Fault};
use tidegate_sandbox::images::{Behaviour, Push, push};
use tidegate_sandbox::load::{self, Load};
use tidegate_sandbox::local::shop::{Balancer, CLUSTER, Plan, Shop, call};

use crate::stage::{Stage, until};

/// From a push to the end of its release, with everything slow that a scenario may add.
const ENDS_WITHIN: Duration = Duration::from_secs(420);
/// From an event to what it starts.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
/// A member of `deploymentConfiguration` and of task definitions that no SDK knows.
pub(crate) const UNKNOWN: &str = "introducedNextYear";
/// Requests a second.
const RATE: f64 = 20.0;

/// A shop on a stage.
pub(crate) struct Story {
    pub(crate) stage: Arc<Stage>,
    pub(crate) shop: Shop,
    pub(crate) name: ServiceName,
    before: Before,
    load: Option<Load>,
}

/// The service as it was before anything was released.
struct Before {
    service: Value,
    weights: Option<[u32; 2]>,
}

/// A healthy image.
pub(crate) fn good(version: &str) -> Behaviour {
    Behaviour::healthy(version)
}

/// An image that answers half of all requests with errors.
pub(crate) fn bad(version: &str) -> Behaviour {
    Behaviour { error_percent: 50.0, ..Behaviour::healthy(version) }
}

pub(crate) const CANARY: &str = "{ canary: { percent: 10, bake: 4s }, bake: 3s }";

impl Story {
    /// Opens a shop behind an Application Load Balancer.
    pub(crate) async fn open(stage: &Arc<Stage>, name: &str) -> Result<Self> {
        Self::open_behind(stage, name, Balancer::Application).await
    }

    /// Opens a shop as most are: one target group in the rule, nothing that ECS could shift, and scaled by itself.
    pub(crate) async fn open_plain(stage: &Arc<Stage>, name: &str, balancer: Balancer) -> Result<Self> {
        Self::open_plan(stage, Self::plain(name, balancer), false).await
    }

    fn plain(name: &str, balancer: Balancer) -> Plan {
        Plan {
            name: name.into(),
            repository: format!("shop/{name}"),
            balancer,
            shifting: false,
            scaled: (balancer != Balancer::None).then_some((1, 10)),
            configuration: json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 }),
            ..Plan::checkout()
        }
    }

    async fn open_plan(stage: &Arc<Stage>, plan: Plan, weighed: bool) -> Result<Self> {
        let name = ServiceName::new(plan.name.as_str())?;
        let shop = Shop::open(&stage.local, plan).await.context("the shop did not open")?;
        let weights = if weighed { Some(shop.weights(&stage.local)?) } else { None };
        let before = Before { service: shop.service(&stage.local).await?, weights };
        let story = Self { stage: stage.clone(), shop, name, before, load: None };
        story.put_switch().await?;
        Ok(story)
    }

    /// The same, whose traffic comes by the default action of its listener.
    pub(crate) async fn open_default_action(stage: &Arc<Stage>, name: &str) -> Result<Self> {
        let plan = Plan { default_action: true, ..Self::plain(name, Balancer::Application) };
        Self::open_plan(stage, plan, false).await
    }

    /// Opens a shop that ECS can shift the traffic of, and that is scaled by itself.
    pub(crate) async fn open_scaled(stage: &Arc<Stage>, name: &str) -> Result<Self> {
        let plan = Plan { shifting: true, ..Self::plain(name, Balancer::Application) };
        Self::open_plan(stage, plan, true).await
    }

    /// Opens a shop with one task on each instance, and nothing in front of it.
    pub(crate) async fn open_daemon(stage: &Arc<Stage>, name: &str) -> Result<Self> {
        let plan = Plan {
            name: name.into(),
            repository: format!("shop/{name}"),
            balancer: Balancer::None,
            daemon: true,
            configuration: json!({ "maximumPercent": 100, "minimumHealthyPercent": 0 }),
            ..Plan::checkout()
        };
        Self::open_plan(stage, plan, false).await
    }

    /// Opens a shop and keeps what it is like before anything is released. Its alarm can be switched by hand, too.
    pub(crate) async fn open_behind(stage: &Arc<Stage>, name: &str, balancer: Balancer) -> Result<Self> {
        let configuration = json!({
            "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100,
            // Only rolling deployments take it: it is out of the way of every other release, and back after it.
            "earlySuccessCriteria":
                { "enable": true, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED" },
            UNKNOWN: { "kept": true },
        });
        let plan = Plan {
            name: name.into(),
            repository: format!("shop/{name}"),
            balancer,
            configuration,
            ..Plan::checkout()
        };
        Self::open_plan(stage, plan, balancer != Balancer::None).await
    }

    /// The name of the alarm a scenario switches.
    pub(crate) fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    async fn put_switch(&self) -> Result<()> {
        let alarm = json!({
            "AlarmName": self.switch(), "Namespace": "Shop", "MetricName": "Trouble",
            "Dimensions": [{ "Name": "Service", "Value": self.name.as_str() }],
            "Statistic": "Maximum", "Period": 20, "EvaluationPeriods": 1, "Threshold": 0.5,
            "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "ignore",
        });
        self.cloudwatch("PutMetricAlarm", alarm).await?;
        self.turn(false).await
    }

    /// Turns the alarm red or green, and waits until it is.
    pub(crate) async fn turn(&self, red: bool) -> Result<()> {
        let wanted = if red { "ALARM" } else { "OK" };
        until(&format!("{} in {wanted}", self.switch()), STARTS_WITHIN, async || {
            let data = json!({ "Namespace": "Shop", "MetricData": [{
                "MetricName": "Trouble", "Value": f64::from(u8::from(red)),
                "Dimensions": [{ "Name": "Service", "Value": self.name.as_str() }],
            }]});
            self.cloudwatch("PutMetricData", data).await?;
            let found = self.cloudwatch("DescribeAlarms", json!({ "AlarmNames": [self.switch()] })).await?;
            Ok((found["MetricAlarms"][0]["StateValue"] == wanted).then_some(()))
        })
        .await
    }

    pub(crate) async fn cloudwatch(&self, operation: &str, input: Value) -> Result<Value> {
        call(&self.stage.local.cloudwatch, operation, input).await
    }

    pub(crate) async fn ecs(&self, operation: &str, input: Value) -> Result<Value> {
        call(&self.stage.local.ecs, operation, input).await
    }

    /// Stores the policy: this strategy, moved back by the alarm on errors and by the switch.
    pub(crate) async fn policy(&self, strategy: &str) -> Result<()> {
        self.policy_with(strategy, &[&self.shop.alarm, &self.switch()], "queue").await
    }

    pub(crate) async fn policy_with(&self, strategy: &str, alarms: &[&str], on_newer: &str) -> Result<()> {
        let own = format!("[{}]", self.shop.alarm);
        let text = self.shop.policy(strategy).replace(&own, &format!("[{}]", alarms.join(", ")));
        self.policy_of(&text.replace("on_newer: queue", &format!("on_newer: {on_newer}"))).await
    }

    /// Stores the policy of this text.
    pub(crate) async fn policy_of(&self, text: &str) -> Result<()> {
        // Bakes of seconds, often without any customer: what they prove is told by each scenario.
        let none =
            if text.contains("evidence:") { "" } else { "evidence: { min_requests: 0, compare: [] }\n" };
        let text = format!("{text}{none}");
        let policy = policy::parse("policy.yaml", &text).map_err(|error| anyhow!("{error}"))?;
        self.stage.installation.apply(&policy, &Actor::Person { name: "tests".into() }).await?;
        Ok(())
    }

    /// Lets customers in.
    pub(crate) fn let_in(&mut self) -> Result<()> {
        let address = self.shop.address.context("the shop has no address")?;
        self.load = Some(Load::start(load::Plan::new(address, RATE)));
        Ok(())
    }

    /// Pushes an image. The image's behaviour is its own, so the same behaviour is the same digest.
    pub(crate) async fn push(&self, tag: &str, behaviour: Behaviour) -> Result<String> {
        self.shop.push(&self.stage.local, tag, behaviour).await
    }

    /// Pushes an index with an image for each of two architectures.
    pub(crate) async fn push_index(&self, tag: &str, behaviour: Behaviour) -> Result<String> {
        let mut wanted = Push::new(&self.shop.plan.repository, tag, behaviour);
        wanted.architectures = vec!["amd64".into(), "arm64".into()];
        let pushed = push(&self.stage.local.client, &self.stage.local.events, &wanted).await;
        pushed.map_err(|error| anyhow!("{}: {}", error.code, error.message))
    }

    /// Pushes an image and finds the release the event started.
    pub(crate) async fn release(&self, tag: &str, behaviour: Behaviour) -> Result<ReleaseId> {
        let digest = self.push(tag, behaviour).await?;
        self.release_of(&digest).await
    }

    /// The newest release of a digest.
    pub(crate) async fn release_of(&self, digest: &str) -> Result<ReleaseId> {
        until(&format!("a release of {digest}"), STARTS_WITHIN, async || {
            let found = self.releases().await?;
            Ok(found
                .into_iter()
                .find(|release| release.change.digests().iter().any(|brought| brought.as_str() == digest))
                .map(|r| r.id))
        })
        .await
    }

    /// All releases, newest first.
    pub(crate) async fn releases(&self) -> Result<Vec<Release>> {
        Ok(self.stage.installation.ledger.releases(&self.name, 50).await?.whole()?)
    }

    pub(crate) async fn head(&self) -> Result<ServiceRecord> {
        self.stage.installation.ledger.service(&self.name).await?.context("the service is known")
    }

    pub(crate) async fn get(&self, id: &ReleaseId) -> Result<Release> {
        self.stage.installation.ledger.release(id).await?.context("the release is known")
    }

    /// Waits until the release is like this.
    pub(crate) async fn until(
        &self,
        id: &ReleaseId,
        what: &str,
        holds: impl Fn(&Release) -> bool,
    ) -> Result<Release> {
        let seen = until(&format!("release {id}: {what}"), ENDS_WITHIN, async || {
            let release = self.get(id).await?;
            ensure!(!release.is_over() || holds(&release), "it is over: {}", release.summary());
            Ok(holds(&release).then_some(release))
        })
        .await;
        match seen {
            Ok(release) => Ok(release),
            Err(error) => Err(error.context(self.told(id).await)),
        }
    }

    /// Waits until the candidate has this share of the traffic, by the plan.
    pub(crate) async fn until_shifted(&self, id: &ReleaseId, percent: f64) -> Result<Release> {
        self.until(id, &format!("{percent}% set"), |release| {
            release.progress.set.is_some_and(|set| (set.as_f64() - percent).abs() < 0.05)
                && release.progress.measured == release.progress.set
        })
        .await
    }

    /// Waits until the release has ended as `word`, and checks what holds of every ended release.
    pub(crate) async fn ends(&self, id: &ReleaseId, word: &str) -> Result<Release> {
        let release = self.until(id, "ended", Release::is_over).await?;
        let is = release.outcome().map(Outcome::word).unwrap_or_default();
        if is != word {
            let told = self.told(id).await;
            return Err(anyhow!("release {id} is {is}, expected {word}\n{told}"));
        }
        self.explained(&release).await?;
        let head = self.head().await?;
        ensure!(head.active.as_ref() != Some(id), "release {id} has ended and is still the active one");
        Ok(release)
    }

    /// The history explains every transition (invariant 11): no version without a reason, in order.
    async fn explained(&self, release: &Release) -> Result<()> {
        let history = self.stage.installation.ledger.history(&release.id).await?.whole()?;
        ensure!(!history.is_empty(), "release {} has no history", release.id);
        ensure!(history.is_sorted_by(|a, b| a.version < b.version), "the history is not in order");
        let mute: Vec<&Entry> = history.iter().filter(|entry| entry.event.why().is_empty()).collect();
        ensure!(mute.is_empty(), "entries without a reason: {mute:#?}");
        Ok(())
    }

    /// The history of a release as text, for what went wrong.
    /// The history of a release, as far as it can be read.
    pub(crate) async fn history(&self, id: &ReleaseId) -> Result<Vec<Entry>> {
        Ok(self.stage.installation.ledger.history(id).await?.split().0)
    }

    /// Waits until the history tells of an event.
    pub(crate) async fn until_told(
        &self,
        id: &ReleaseId,
        what: &str,
        is_it: impl Fn(&tidegate_core::history::Event) -> bool,
    ) -> Result<()> {
        until(&format!("release {id}: {what}"), ENDS_WITHIN, async || {
            let history = self.history(id).await?;
            Ok(history.iter().any(|entry| entry.events().any(&is_it)).then_some(()))
        })
        .await
    }

    pub(crate) async fn told(&self, id: &ReleaseId) -> String {
        let history = self
            .stage
            .installation
            .ledger
            .history(id)
            .await
            .map(|listing| listing.split().0)
            .unwrap_or_default();
        let mut lines: Vec<String> = history
            .iter()
            .map(|entry| {
                let (event, details) = (&entry.event, entry.details());
                format!("  {:.1} {}: {event} ({}) {details:?}", entry.at, entry.actor, event.why())
            })
            .collect();
        if let Ok(release) = self.get(id).await {
            lines.push(format!(
                "  now {:.1}: {}; report {:?}; wake {:?}",
                Timestamp::now(),
                release.summary(),
                release.report,
                release.wake
            ));
        }
        lines.join("\n")
    }

    /// Deploys a task definition as someone else would, and waits until it runs. That is then what was before.
    pub(crate) async fn deploy_by_hand(&mut self, task_definition: &Value) -> Result<()> {
        self.update_by_hand(task_definition).await?;
        until("the deployment by hand to be over", ENDS_WITHIN, async || {
            let newest = self.deployments().await?.into_iter().next().unwrap_or_default();
            Ok((newest["status"] == "SUCCESSFUL").then_some(()))
        })
        .await?;
        self.before.service = self.service().await?;
        Ok(())
    }

    /// Gives the service lifecycle hooks of its own, as someone else would. What runs then is what was before.
    pub(crate) async fn hooks_by_hand(&mut self, hooks: &Value) -> Result<()> {
        let update = json!({
            "cluster": CLUSTER, "service": self.name.as_str(), "deploymentConfiguration": { "lifecycleHooks": hooks },
        });
        self.ecs("UpdateService", update).await?;
        self.before.service = self.service().await?;
        Ok(())
    }

    /// Starts a deployment as someone else would.
    pub(crate) async fn update_by_hand(&self, task_definition: &Value) -> Result<()> {
        let update = json!({
            "cluster": CLUSTER, "service": self.name.as_str(), "taskDefinition": task_definition,
        });
        self.ecs("UpdateService", update).await?;
        Ok(())
    }

    /// Registers the stable version once more, as someone else would, with a change. Returns the new revision's ARN.
    pub(crate) async fn register_by_hand(&self, change: impl FnOnce(&mut Value)) -> Result<Value> {
        let old = self.task_definition(&self.before.service["taskDefinition"]).await?;
        let mut own = old["taskDefinition"].clone();
        own["tags"] = old["tags"].clone();
        change(&mut own);
        let registered = self.ecs("RegisterTaskDefinition", own).await?;
        Ok(registered["taskDefinition"]["taskDefinitionArn"].clone())
    }

    /// The service now.
    pub(crate) async fn service(&self) -> Result<Value> {
        self.shop.service(&self.stage.local).await
    }

    /// The task definition a service runs, with what its tags say.
    pub(crate) async fn task_definition(&self, arn: &Value) -> Result<Value> {
        self.ecs("DescribeTaskDefinition", json!({ "taskDefinition": arn, "include": ["TAGS"] })).await
    }

    /// The service's configuration is its own again, whatever happened.
    pub(crate) async fn configuration_is_its_own(&self) -> Result<()> {
        let service = self.service().await?;
        let (is, was) =
            (&service["deploymentConfiguration"], &self.before.service["deploymentConfiguration"]);
        ensure!(configuration::is_set(was, is), "deploymentConfiguration is {is:#}, it was {was:#}");
        ensure!(is[UNKNOWN] == was[UNKNOWN], "an unknown member was lost: {is:#}");
        ensure!(service["desiredCount"] == self.before.service["desiredCount"], "another number of tasks");
        Ok(())
    }

    /// The service is what it was before the release.
    pub(crate) async fn is_as_before(&self) -> Result<()> {
        self.configuration_is_its_own().await?;
        let service = self.service().await?;
        for member in ["taskDefinition", "loadBalancers", "networkConfiguration", "launchType"] {
            let (is, was) = (&service[member], &self.before.service[member]);
            ensure!(is == was, "{member} is {is}, it was {was}");
        }
        if let Some(weights) = self.before.weights {
            let is = self.shop.weights(&self.stage.local)?;
            ensure!(is == weights, "weights are {is:?}, they were {weights:?}");
        }
        Ok(())
    }

    /// The service runs this digest with all traffic on it, and is its own self apart from that.
    pub(crate) async fn runs(&self, digest: &str) -> Result<()> {
        self.configuration_is_its_own().await?;
        let service = self.service().await?;
        let found = self.task_definition(&service["taskDefinition"]).await?;
        let image = found["taskDefinition"]["containerDefinitions"][0]["image"].to_string();
        ensure!(image.contains(&format!("@{digest}")), "the service runs {image}, expected {digest}");
        ensure!(found["tags"].to_string().contains("shop"), "the tags were lost: {}", found["tags"]);
        if self.before.weights.is_some() {
            let mut weights = self.shop.weights(&self.stage.local)?;
            weights.sort_unstable();
            ensure!(weights == [0, 100], "weights are {weights:?}");
        }
        Ok(())
    }

    /// The customers go home: not one request was lost, and the load balancer always had somewhere to send them.
    pub(crate) async fn nobody_was_turned_away(&mut self) -> Result<load::Snapshot> {
        let load = self.load.take().context("nobody was let in")?;
        let snapshot = load.stop().await;
        let total = &snapshot.total;
        let own = total.errors_by_version.get("-").copied().unwrap_or(0);
        ensure!(total.sent > 50, "hardly any traffic: {total:?}");
        ensure!(total.lost() == 0 && total.in_flight() == 0, "requests were lost: {total:?}");
        ensure!(own == 0, "the load balancer answered by itself: {total:?}");
        Ok(snapshot)
    }

    /// A fault on calls that concern this shop.
    pub(crate) fn fault(&self, service: &str, operation: &str, action: Action) -> Fault {
        Fault {
            service: Some(service.into()),
            operation: Some(operation.into()),
            // Only Tidegate's own functions.
            caller: Some(format!("{}-", crate::stage::STACK)),
            resource: Some(self.name.to_string()),
            action,
            probability: 1.0,
            count: None,
            happened: 0,
        }
    }

    /// The service's deployments, newest first.
    pub(crate) async fn deployments(&self) -> Result<Vec<Value>> {
        let list = json!({ "cluster": CLUSTER, "service": self.name.as_str() });
        let found = self.ecs("ListServiceDeployments", list).await?;
        let arns: Vec<Value> = found["serviceDeployments"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|deployment| deployment["serviceDeploymentArn"].clone())
            .collect();
        let described =
            self.ecs("DescribeServiceDeployments", json!({ "serviceDeploymentArns": arns })).await?;
        Ok(described["serviceDeployments"].as_array().cloned().unwrap_or_default())
    }
}

/// That preflight found this, and said it of this.
pub(crate) fn blocked_by(release: &Release, code: FindingCode, about: &str) -> Result<()> {
    let Some(Cause::Preflight { findings }) = release.cause() else { bail!("{:?}", release.cause()) };
    let is_it = |finding: &Finding| finding.code == code && finding.problem.contains(about);
    ensure!(findings.iter().any(is_it), "{findings:?}");
    Ok(())
}
