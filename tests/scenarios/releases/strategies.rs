//! Every way of moving traffic, behind every kind of load balancer: forward to the end, and back when the alarm says so.

use anyhow::{Result, ensure};
use tidegate_core::finding::FindingCode;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::release::Phase;
use tidegate_sandbox::local::shop::Balancer;

use crate::runner::{Scenario, scenario};
use crate::story::{Story, blocked_by, good};

/// One cell of the table.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    strategy: &'static str,
    balancer: Balancer,
    /// The candidate's highest share when it is rolled back on its first bake; `None` when nothing is measured.
    first_share: Option<f64>,
}

const fn case(
    name: &'static str,
    strategy: &'static str,
    balancer: Balancer,
    first_share: Option<f64>,
) -> Case {
    Case { name, strategy, balancer, first_share }
}

// LINEAR behind an Application Load Balancer: `engines`.
const CASES: [Case; 8] = [
    case("canary-alb", "{ canary: { percent: 10, bake: 3s }, bake: 3s }", Balancer::Application, Some(10.0)),
    case("blue-green-alb", "{ blue_green: {}, bake: 4s }", Balancer::Application, Some(100.0)),
    case("rolling-alb", "{ rolling: {}, bake: 4s }", Balancer::Application, None),
    case("canary-nlb", "{ canary: { percent: 20, bake: 3s }, bake: 3s }", Balancer::Network, Some(20.0)),
    case("blue-green-nlb", "{ blue_green: {}, bake: 3s }", Balancer::Network, Some(100.0)),
    case("rolling-nlb", "{ rolling: {}, bake: 3s }", Balancer::Network, None),
    case("blue-green-alone", "{ blue_green: {}, bake: 3s }", Balancer::None, None),
    case("rolling-alone", "{ rolling: {}, bake: 3s }", Balancer::None, None),
];

/// Those that wait for many of ECS's own minutes: ten for every shift behind a Network Load Balancer, five at the end of a rolling
/// deployment with alarms.
pub(crate) fn in_short_minutes() -> Vec<Scenario> {
    let mut scenarios = those(Case::takes_minutes);
    scenarios.push(scenario(
        "a DAEMON is replaced in place, and a canary of it is refused by name",
        async |stage| daemon(&Story::open_daemon(&stage, "daemon").await?).await,
    ));
    scenarios
}

/// All others.
pub(crate) fn all() -> Vec<Scenario> {
    those(|case| !case.takes_minutes())
}

impl Case {
    fn takes_minutes(&self) -> bool {
        self.balancer == Balancer::Network || self.strategy.contains("rolling")
    }
}

fn those(wanted: impl Fn(&Case) -> bool) -> Vec<Scenario> {
    CASES
        .into_iter()
        .filter(wanted)
        .map(|case| {
            scenario(format!("{}: there and back", case.name), move |stage| async move {
                let mut story = Story::open_behind(&stage, case.name, case.balancer).await?;
                there_and_back(&mut story, case).await
            })
        })
        .collect()
}

/// What works with one task on each instance is done.
async fn daemon(story: &Story) -> Result<()> {
    story.policy("{ canary: { percent: 10, bake: 2s }, bake: 2s }").await?;
    let digest = story.push("main-2", good("v2")).await?;
    let refused = story.ends(&story.release_of(&digest).await?, "failed").await?;
    blocked_by(&refused, FindingCode::ServiceIsDaemon, "one task on each instance")?;
    story.is_as_before().await?;
    story.policy("{ rolling: {}, bake: 2s }").await?;
    let digest = story.push("main-3", good("v3")).await?;
    story.ends(&story.release_of(&digest).await?, "promoted").await?;
    story.runs(&digest).await
}

/// First a candidate that is rolled back by the alarm, then the service as it was, then one that is promoted.
async fn there_and_back(story: &mut Story, case: Case) -> Result<()> {
    story.policy(case.strategy).await?;
    if case.balancer != Balancer::None {
        story.let_in()?;
    }
    back(story, case).await?;
    story.turn(false).await?;
    there(story, case).await?;
    if case.balancer != Balancer::None {
        let traffic = story.nobody_was_turned_away().await?;
        ensure!(traffic.total.by_version.contains_key("v3"), "v3 served nobody: {:?}", traffic.total);
    }
    let dead = story.stage.dead_letters();
    ensure!(dead.iter().all(|letter| !letter.contains(story.name.as_str())), "{dead:#?}");
    Ok(())
}

async fn back(story: &Story, case: Case) -> Result<()> {
    let id = story.release("main-2", good("v2")).await?;
    match case.first_share {
        Some(share) => drop(story.until_shifted(&id, share).await?),
        // Without a measured share: once both versions are there.
        None => drop(
            story
                .until(&id, "its deployment", |release| {
                    release.progress.state.ecs_native().deployment.is_some()
                })
                .await?,
        ),
    }
    story.turn(true).await?;
    let ended = story.ends(&id, "rolled back").await?;
    let alarm = match ended.cause() {
        Some(Cause::Alarm { alarm, .. }) => alarm.to_string(),
        // ECS watches the same alarms, as a second line, and may be faster.
        Some(Cause::Deployment { reason }) => reason.clone(),
        other => anyhow::bail!("rolled back because of {other:?}"),
    };
    ensure!(alarm.contains("alarm") || alarm == story.switch(), "it is told what was red: {alarm}");
    let restored = match &ended.phase {
        Phase::Ended { restored_at, .. } => *restored_at,
        _ => None,
    };
    ensure!(restored.is_some(), "when the traffic was back is not told");
    story.is_as_before().await
}

async fn there(story: &Story, case: Case) -> Result<()> {
    let digest = story.push("main-3", good("v3")).await?;
    let id = story.release_of(&digest).await?;
    let ended = story.ends(&id, "promoted").await?;
    ensure!(ended.outcome() == Some(&Outcome::Promoted));
    ensure!(ended.progress.set.is_none_or(|set| (set.as_f64() - 100.0).abs() < 0.05), "{:?}", ended.progress);
    if case.first_share.is_some() {
        ensure!(ended.progress.measured == ended.progress.set, "{:?}", ended.progress);
    }
    story.runs(&digest).await
}
