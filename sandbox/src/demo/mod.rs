//! The demo: one image that is promoted and one that rolls itself back, on real HTTP traffic, with every request accounted for.

mod approval;
mod narrate;
mod release;
mod report;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::images::Behaviour;
use crate::load::{self, Load};
use crate::local::shop::{Plan, Shop};
use crate::local::{Local, Options};
use narrate::Narrator;
use release::Tidegate;

/// A bake of the demo is seconds long: at 10% the default rate brings the candidate about 90 requests in it.
const EVIDENCE: &str = "evidence: { min_requests: 50, every: 5s }\n";

/// Percent of requests the slightly worse version answers with HTTP 500: at 10% of the default rate an error every eight seconds, and the
/// alarm goes off at three in five.
const WORSE_PERCENT: f64 = 2.0;
/// How long its canary bakes, seconds: five errors are the least that a comparison judges by.
const WORSE_BAKE_SECS: u32 = 120;

/// How long a release of the engine `weighted` may take.
const WEIGHTED_LIMIT: Duration = Duration::from_secs(600);

/// How the demo runs.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Requests a second: 60, or 200 with the engine weighted, of which a step of 1% is to have its share.
    #[arg(long)]
    rate: Option<f64>,
    /// How long the canary and the whole are watched, seconds.
    #[arg(long, default_value_t = 15)]
    bake: u32,
    /// Percent of requests the bad version answers with HTTP 500.
    #[arg(long, default_value_t = 40.0)]
    errors: f64,
    /// Who moves the traffic: Amazon ECS, or Tidegate with steps of 1, 10 and 50 percent on a second, small service.
    #[arg(long, value_enum, default_value_t = Engine::Native)]
    engine: Engine,
    /// How Amazon ECS moves it.
    #[arg(long, value_enum, default_value_t = Strategy::Canary, conflicts_with = "engine")]
    strategy: Strategy,
    /// One image more is pushed while nobody uses the shop: its bake is held, and goes on when somebody does.
    #[arg(long, conflicts_with_all = ["engine", "strategy"])]
    without_traffic: bool,
    /// The release stops for a person: its link is printed, and it goes on when the link has been opened and answered.
    #[arg(long)]
    approval: bool,
    /// As --approval, answered by the demo itself.
    #[arg(long)]
    auto_approve: bool,
}

/// Who moves the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    Native,
    Weighted,
}

/// How Amazon ECS moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Strategy {
    Canary,
    Linear,
    #[value(name = "blue_green")]
    BlueGreen,
    Rolling,
}

impl DemoArgs {
    fn strategy(&self) -> String {
        let bake = self.bake;
        match (self.engine, self.strategy) {
            (Engine::Weighted, _) => format!(
                "{{ steps: [{{ percent: 1, bake: {bake}s }}, {{ percent: 10, bake: {bake}s }}, {{ percent: 50, bake: {bake}s }}], bake: {bake}s }}"
            ),
            (Engine::Native, Strategy::Canary) => {
                format!("{{ canary: {{ percent: 10, bake: {bake}s }}, bake: {bake}s }}")
            }
            (Engine::Native, Strategy::Linear) => {
                format!("{{ linear: {{ percent: 40, bake: {bake}s }}, bake: {bake}s }}")
            }
            (Engine::Native, Strategy::BlueGreen) => format!("{{ blue_green: {{}}, bake: {bake}s }}"),
            (Engine::Native, Strategy::Rolling) => format!("{{ rolling: {{}}, bake: {bake}s }}"),
        }
    }

    fn rate(&self) -> f64 {
        self.rate.unwrap_or(match self.engine {
            Engine::Native => 60.0,
            Engine::Weighted => 200.0,
        })
    }

    /// What the load balancer has to show.
    fn expected(&self) -> report::Expected {
        let (least, most) = match (self.engine, self.strategy) {
            (Engine::Weighted, _) => (1, 50),
            (Engine::Native, Strategy::Canary) => (10, 10),
            (Engine::Native, Strategy::Linear) => (40, 80),
            (Engine::Native, Strategy::BlueGreen) => (100, 100),
            // Both versions stand behind one target group.
            (Engine::Native, Strategy::Rolling) => return report::Expected { shares: None },
        };
        report::Expected { shares: Some((least, most)) }
    }

    /// Whether both versions have traffic at once and Amazon ECS moves it: then a third image shows what no alarm sees.
    fn compares(&self) -> bool {
        self.engine == Engine::Native && matches!(self.strategy, Strategy::Canary | Strategy::Linear)
    }

    /// How many requests each bake has to see: at 1% there are few.
    fn evidence(&self) -> &'static str {
        match (self.engine, self.strategy) {
            (Engine::Weighted, _) => "evidence: { min_requests: 5, every: 5s }\n",
            (Engine::Native, Strategy::Rolling) => "evidence: { min_requests: 0 }\n",
            (Engine::Native, Strategy::Canary | Strategy::Linear | Strategy::BlueGreen) => EVIDENCE,
        }
    }
}

/// Runs it. The exit code is 0 only if the good version was promoted, the bad one rolled back, and no request was lost.
///
/// # Errors
/// When something of the sandbox does not start, or a command of Tidegate cannot be run.
pub async fn run(options: Options, tidegate: &Path, args: DemoArgs) -> Result<ExitCode> {
    let narrator = Narrator::new();
    let performed = async {
        if args.approval || args.auto_approve {
            approval::perform(options, tidegate, &args, &narrator).await
        } else {
            perform(options, tidegate, &args, &narrator).await
        }
    };
    tokio::select! {
        finished = performed => finished,
        _ = tokio::signal::ctrl_c() => {
            narrator.say("interrupted");
            Ok(ExitCode::from(130))
        }
    }
}

async fn perform(
    options: Options,
    tidegate: &Path,
    args: &DemoArgs,
    narrator: &Narrator,
) -> Result<ExitCode> {
    let dir = options.dir.clone();
    let plan = match args.engine {
        Engine::Native => Plan::checkout(),
        // As most services are: one target group, and scaled by itself.
        Engine::Weighted => Plan { shifting: false, scaled: Some((1, 10)), ..Plan::checkout() },
    };
    let (local, shop, address) = open_shop(options, plan, narrator).await?;
    let mut tidegate = Tidegate::new(tidegate, &local);
    if args.engine == Engine::Weighted {
        // The candidate drains for two minutes before it is deleted.
        tidegate.patience = WEIGHTED_LIMIT;
    }
    let policy = dir.join("checkout.yaml");
    let text = match args.engine {
        Engine::Native => shop.policy(&args.strategy()),
        Engine::Weighted => shop.weighted_policy(&args.strategy()),
    } + args.evidence();
    std::fs::write(&policy, &text).with_context(|| format!("failed to write {}", policy.display()))?;
    narrator.quote(&text);
    tidegate.show(&["apply", &policy.display().to_string()], narrator).await?;

    tell_dashboard(&tidegate, &local, narrator).await?;
    let load = Load::start(load::Plan::new(address, args.rate()));
    narrator.chapter("the plan, before anything happens");
    // A tag the policy does not select: the image is there to be planned for, and nothing starts.
    shop.push(&local, "preview-2", Behaviour::healthy("v2")).await?;
    tidegate.show(&["plan", "checkout", "preview-2"], narrator).await?;

    narrator.chapter("a good image is pushed");
    let good = release::follow(&local, &shop, &tidegate, &load, narrator, "main-2", Behaviour::healthy("v2"))
        .await?;

    narrator.chapter("a bad image is pushed");
    let broken = Behaviour { error_percent: args.errors, ..Behaviour::healthy("v3") };
    let bad = release::follow(&local, &shop, &tidegate, &load, narrator, "main-3", broken).await?;
    narrator.chapter("why");
    tidegate.show(&["why", &bad.id], narrator).await?;

    let worse = if args.compares() {
        // Few errors take longer to tell from none: a bake that leaves the comparison time.
        let patient = DemoArgs { bake: args.bake.max(WORSE_BAKE_SECS), ..args.clone() };
        let text = shop.policy(&patient.strategy()) + args.evidence();
        std::fs::write(&policy, &text).with_context(|| format!("failed to write {}", policy.display()))?;
        tidegate.show(&["apply", &policy.display().to_string()], narrator).await?;
        Some(slightly_worse(&local, &shop, &tidegate, &load, narrator).await?)
    } else {
        None
    };

    let unseen = if args.without_traffic {
        // The bake of the first two again.
        std::fs::write(&policy, &text).with_context(|| format!("failed to write {}", policy.display()))?;
        tidegate.show(&["apply", &policy.display().to_string()], narrator).await?;
        Some(without_traffic(&local, &shop, &tidegate, &load, narrator).await?)
    } else {
        None
    };

    let traffic = load.stop().await;
    narrator.chapter("the account");
    let releases =
        report::Releases { good: &good, bad: &bad, worse: worse.as_ref(), unseen: unseen.as_ref() };
    let verdict = report::report(releases, &traffic, &local, args.expected(), narrator);
    drop(tidegate);
    if let Some(local) = Arc::into_inner(local) {
        local.stop().await?;
    }
    Ok(verdict)
}

/// An image whose errors are too few for the alarm, and too many beside the stable version.
async fn slightly_worse(
    local: &Local,
    shop: &Shop,
    tidegate: &Tidegate,
    load: &Load,
    narrator: &Narrator,
) -> Result<release::Followed> {
    narrator.chapter("a slightly worse image is pushed: its errors are too few for the alarm");
    let behaviour = Behaviour { error_percent: WORSE_PERCENT, ..Behaviour::healthy("v4") };
    let worse = release::follow(local, shop, tidegate, load, narrator, "main-4", behaviour).await?;
    tidegate.show(&["replay", &worse.id], narrator).await?;
    Ok(worse)
}

/// An image that nobody talks to is held, and not promoted, until somebody does.
async fn without_traffic(
    local: &Local,
    shop: &Shop,
    tidegate: &Tidegate,
    load: &Load,
    narrator: &Narrator,
) -> Result<release::Followed> {
    narrator.chapter("a good image is pushed while nobody uses the shop");
    load.pause();
    let pushed = release::follow(local, shop, tidegate, load, narrator, "main-5", Behaviour::healthy("v5"));
    let somebody = async {
        let seen = tidegate.held_for_requests(&shop.plan.name, release::LIMIT).await;
        load.resume();
        narrator.say(&format!("held: {}; from now on the shop is used again", seen?));
        Ok(())
    };
    Ok(tokio::try_join!(pushed, somebody)?.0)
}

/// Where the releases can be looked at meanwhile.
async fn tell_dashboard(tidegate: &Tidegate, local: &Local, narrator: &Narrator) -> Result<()> {
    narrator.chapter("the dashboard: open it in a browser, and look on");
    narrator.say("$ tidegate open");
    narrator.say(&tidegate.dashboard(local).await?);
    Ok(())
}

/// A local AWS with Tidegate in it, and a shop that serves.
async fn open_shop(
    options: Options,
    plan: Plan,
    narrator: &Narrator,
) -> Result<(Arc<Local>, Shop, SocketAddr)> {
    narrator.chapter("a local AWS, with Tidegate deployed from template.yaml");
    let local = Arc::new(Local::start(options).await?);
    narrator.say(&format!("endpoint {}", local.endpoint.url()));
    let shop = Shop::open(&local, plan).await?;
    let address = shop.address.context("the shop has no address")?;
    narrator.say(&format!("service checkout runs v1, two tasks behind http://{address}/"));
    Ok((local, shop, address))
}
