//! One story for both engines, with real processes behind a real load balancer: through four steps to the end, and back again. Whoever moves the
//! traffic, each step has the share it says, no request is lost, and everything is as it was or as it should be.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidegate_core::history::Event;
use tidegate_core::outcome::Cause;
use tidegate_core::plan::Stage as PlanStage;
use tidegate_core::policy::Percent;
use tidegate_core::release::Release;
use tidegate_sandbox::autoscaling::{Demand, Outcome as Scaling};
use tidegate_sandbox::endpoint::{Action, Fault};
use tidegate_sandbox::load::{self, Load};
use tidegate_sandbox::local::shop::{Balancer, CLUSTER, call};

use crate::runner::{Scenario, scenario};
use crate::story::{Story, good};

/// A share is measured over so many requests, sent at this rate.
const REQUESTS: u64 = 2000;
const RATE: f64 = 200.0;
/// How far a measured share may be from the one that was set, in points.
const POINT: f64 = 1.0;

/// Who moves the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// Amazon ECS, in equal steps.
    Native,
    /// Tidegate, with weights of its own.
    Weighted,
}

/// Where a release is rolled back.
#[derive(Debug, Clone, Copy)]
enum At {
    /// While it bakes at this share.
    Share(f64),
    /// While the service itself becomes the new version.
    Promotion,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Weighted => "weighted",
        }
    }

    /// Four steps, the last of them to everything, with so many seconds at each.
    fn strategy(self, bake: u32) -> String {
        let steps = match self {
            Self::Native => format!("linear: {{ percent: 30, bake: {bake}s }}"),
            Self::Weighted => {
                let step = |percent: u32| format!("{{ percent: {percent}, bake: {bake}s }}");
                format!("steps: [{}]", [1, 10, 50].map(step).join(", "))
            }
        };
        format!("{{ {steps}, bake: 3s }}")
    }

    fn shares(self) -> [f64; 3] {
        match self {
            Self::Native => [30.0, 60.0, 90.0],
            Self::Weighted => [1.0, 10.0, 50.0],
        }
    }

    /// A shop of the kind that its users have, scaled by itself, with the policy that this engine takes.
    async fn open(self, stage: &std::sync::Arc<crate::stage::Stage>, name: &str) -> Result<Story> {
        match self {
            Self::Native => Story::open_scaled(stage, name).await,
            Self::Weighted => Story::open_plain(stage, name, Balancer::Application).await,
        }
    }

    async fn policy(self, story: &Story, strategy: &str) -> Result<()> {
        match self {
            Self::Native => story.policy(strategy).await,
            Self::Weighted => weighted_policy(story, strategy).await,
        }
    }
}

pub(crate) fn all() -> Vec<Scenario> {
    let through = [Engine::Weighted, Engine::Native].map(|engine| {
        scenario(
            format!("{}: through four steps to the end, each with its share", engine.name()),
            move |stage| async move {
                let mut story = engine.open(&stage, &format!("{}-through", engine.name())).await?;
                through(&mut story, engine).await
            },
        )
    });
    // Each of these waits two minutes for the candidate to drain; the other steps are rolled back in the testkit's time.
    let rolled_back = [
        (
            At::Share(10.0),
            "weighted: rolled back from 10%, with nothing left on the candidate",
            "weighted-back",
        ),
        (At::Promotion, "weighted: rolled back in the middle of the promotion", "weighted-half"),
    ]
    .map(|(at, name, shop)| {
        scenario(name, move |stage| async move {
            let engine = Engine::Weighted;
            let mut story = engine.open(&stage, shop).await?;
            back(&mut story, engine, &[at]).await
        })
    });
    let mut all: Vec<Scenario> = through.into_iter().chain(rolled_back).collect();
    all.push(scenario("native: rolled back from each step", async |stage| {
        let engine = Engine::Native;
        let mut story = engine.open(&stage, "native-back").await?;
        back(&mut story, engine, &engine.shares().map(At::Share)).await
    }));
    all.push(scenario(
        "weighted: a default action that Terraform resets is set again and told",
        async |stage| {
            let story = Story::open_default_action(&stage, "weighted-reset").await?;
            reset(&story).await
        },
    ));
    all.push(scenario("weighted: workers without a load balancer", async |stage| {
        let story = Story::open_plain(&stage, "weighted-workers", Balancer::None).await?;
        workers(&story).await
    }));
    all
}

/// The policy of a plain shop, with the place of the candidate.
pub(crate) async fn weighted_policy(story: &Story, strategy: &str) -> Result<()> {
    let shop = &story.shop;
    let own = format!("[{}]", shop.alarm);
    let text = shop.weighted_policy(strategy).replace(&own, &format!("[{}, {}]", shop.alarm, story.switch()));
    story.policy_of(&text).await
}

/// To the end by every step, though the service is to be scaled in on the way and answers of AWS are lost.
async fn through(story: &mut Story, engine: Engine) -> Result<()> {
    // Time for the requests that are counted, and for looks that come late.
    engine.policy(story, &engine.strategy(20)).await?;
    story.let_in()?;
    let suspended = suspended(story).await?;
    lose_answers(story);
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    for share in engine.shares() {
        drop(story.until_shifted(&id, share).await?);
        has_its_share(story, "v2", share).await?;
        // Somebody else's policy sees too many tasks.
        let asked = Demand { resource: story.shop.resource(), tasks: Some(1) };
        let came = story.stage.local.autoscaling.demand(&asked);
        let came = came.map_err(|error| anyhow::anyhow!("{}: {}", error.code, error.message))?;
        ensure!(matches!(came, Scaling::Held { .. }), "the service was scaled in at {share}%: {came:?}");
        let none = Demand { tasks: None, ..asked };
        story.stage.local.autoscaling.demand(&none).map_err(|error| anyhow::anyhow!("{}", error.message))?;
    }
    let ended = story.ends(&id, "promoted").await?;
    story.stage.local.endpoint.remove_faults(|fault| fault.resource.as_deref() == Some(story.name.as_str()));
    let mut expected = engine.shares().map(tenths).to_vec();
    expected.push(Percent::ALL);
    let shares = shifts(story, &ended).await?;
    ensure!(shares == expected, "{shares:?}");
    is_clean(story, &ended, &suspended).await?;
    story.runs(&digest).await?;
    drop(story.nobody_was_turned_away().await?);
    Ok(())
}

/// What was done and not heard of is found out, and done once.
fn lose_answers(story: &Story) {
    for (service, operation) in [
        ("ecs", "CreateService"),
        ("ecs", "DeleteService"),
        ("ecs", "ContinueServiceDeployment"),
        ("elasticloadbalancing", "ModifyRule"),
        ("application-autoscaling", "RegisterScalableTarget"),
    ] {
        let fault = story.fault(service, operation, Action::DropAfter);
        story.stage.local.endpoint.add_fault(Fault { count: Some(1), ..fault });
    }
}

/// The shares that a release set, in order.
async fn shifts(story: &Story, release: &Release) -> Result<Vec<Percent>> {
    let history = story.history(&release.id).await?;
    let events = history.iter().flat_map(|entry| entry.events().cloned().collect::<Vec<_>>());
    Ok(events
        .filter_map(|event| if let Event::Shifting { percent } = event { Some(percent) } else { None })
        .collect())
}

fn tenths(share: f64) -> Percent {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of at most 100%")]
    Percent::from_tenths((share * 10.0).round() as u16)
}

/// 2,000 requests at 200 a second, beside those of the customers: none is lost, and the share of a version is the one that was set.
async fn has_its_share(story: &Story, version: &str, share: f64) -> Result<()> {
    let address = story.shop.address.context("the shop has no address")?;
    let load = Load::start(load::Plan::new(address, RATE));
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    tokio::time::sleep(Duration::from_secs_f64(REQUESTS as f64 / RATE)).await;
    let total = load.stop().await.total;
    let answered = total.answered();
    ensure!(answered >= REQUESTS * 9 / 10, "hardly any traffic: {total:?}");
    ensure!(total.lost() == 0 && total.in_flight() == 0, "requests were lost: {total:?}");
    let of_it = total.by_version.get(version).copied().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a share of some thousands")]
    let measured = 100.0 * of_it as f64 / answered as f64;
    if share == 0.0 {
        ensure!(of_it == 0, "{version} has no weight and served {of_it} of {answered} requests");
    }
    ensure!(
        (measured - share).abs() <= POINT,
        "{version} served {measured:.1}% of {answered} requests, {share}% was set"
    );
    Ok(())
}

/// Back from each of these places, and all is as it was.
async fn back(story: &mut Story, engine: Engine, places: &[At]) -> Result<()> {
    let suspended = suspended(story).await?;
    story.let_in()?;
    for (number, at) in places.iter().enumerate() {
        // Long enough for an alarm to be seen; quickly past what is not meant.
        let strategy = match (engine, at) {
            (Engine::Native, _) => engine.strategy(12),
            (Engine::Weighted, At::Share(share)) => {
                format!("{{ steps: [{{ percent: {share}, bake: 60s }}], bake: 60s }}")
            }
            (Engine::Weighted, At::Promotion) => {
                "{ steps: [{ percent: 50, bake: 1s }], bake: 1s }".to_owned()
            }
        };
        engine.policy(story, &strategy).await?;
        let version = format!("v{}", number + 2);
        let id = story.release(&format!("main-{}", number + 2), good(&version)).await?;
        match at {
            At::Share(share) => drop(story.until_shifted(&id, *share).await?),
            At::Promotion => {
                let promotes = |release: &Release| release.stage() == Some(&PlanStage::Promote);
                drop(story.until(&id, "promotion", promotes).await?);
            }
        }
        story.turn(true).await?;
        if engine == Engine::Weighted && matches!(at, At::Share(_)) {
            let home = |event: &Event| matches!(event, Event::TrafficRestored);
            story.until_told(&id, "all traffic back", home).await?;
            has_its_share(story, &version, 0.0).await?;
        }
        let ended = story.ends(&id, "rolled back").await?;
        // Amazon ECS watches the same alarms, as a second line, and may be faster.
        let caused = matches!(ended.cause(), Some(Cause::Alarm { .. } | Cause::Deployment { .. }));
        ensure!(caused, "{:?}", ended.cause());
        is_clean(story, &ended, &suspended).await?;
        story.is_as_before().await?;
        story.turn(false).await?;
    }
    drop(story.nobody_was_turned_away().await?);
    Ok(())
}

async fn reset(story: &Story) -> Result<()> {
    weighted_policy(story, "{ steps: [{ percent: 50, bake: 20s }], bake: 2s }").await?;
    let id = story.release("main-2", good("v2")).await?;
    drop(story.until_shifted(&id, 50.0).await?);
    story.stage.local.elb.reset_rule(&story.shop.rule).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let repaired = |event: &Event| matches!(event, Event::WeightsRepaired { .. });
    story.until_told(&id, "the weights set again", repaired).await?;
    drop(story.until_shifted(&id, 50.0).await?);
    let ended = story.ends(&id, "promoted").await?;
    is_clean(story, &ended, &suspended(story).await?).await
}

async fn workers(story: &Story) -> Result<()> {
    weighted_policy(story, "{ steps: [{ percent: 50, bake: 2s }], bake: 2s }").await?;
    let digest = story.push("main-2", good("v2")).await?;
    let id = story.release_of(&digest).await?;
    let ended = story.ends(&id, "promoted").await?;
    ensure!(ended.progress.measured.is_none(), "nothing measures it: {:?}", ended.progress.measured);
    is_clean(story, &ended, &Value::Null).await
}

/// What of scaling the service is suspended, as it is told.
async fn suspended(story: &Story) -> Result<Value> {
    let asked = json!({
        "ServiceNamespace": "ecs", "ResourceIds": [story.shop.resource()],
        "ScalableDimension": "ecs:service:DesiredCount",
    });
    let told = call(&story.stage.local.autoscaling, "DescribeScalableTargets", asked).await?;
    Ok(told["ScalableTargets"][0]["SuspendedState"].clone())
}

/// Nothing of the release is left.
async fn is_clean(story: &Story, release: &Release, suspended_before: &Value) -> Result<()> {
    let listed = story.ecs("ListServices", json!({ "cluster": CLUSTER })).await?;
    let names = listed["serviceArns"].to_string();
    let name = format!("{}-canary-{}", story.name, release.id.short());
    ensure!(!names.contains(&name), "the second service is still there: {names}");
    let is = suspended(story).await?;
    ensure!(is == *suspended_before, "suspended is {is}, it was {suspended_before}");
    let shop = &story.shop;
    if shop.plan.balancer != Balancer::None {
        let (operation, asked) = match shop.plan.default_action {
            true => ("DescribeListeners", json!({ "ListenerArns": [shop.rule] })),
            false => ("DescribeRules", json!({ "RuleArns": [shop.rule] })),
        };
        let rule =
            call(&story.stage.local.elb, operation, asked).await.context("the rule could not be read")?;
        ensure!(
            !rule.to_string().contains(&shop.canary),
            "the candidate's target group still stands in the rule: {rule}"
        );
    }
    Ok(())
}
