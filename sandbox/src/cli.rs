//! The command line, and what each command does.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use http::Method;
use serde_json::{Value, json};
use tidegate_sandbox::autoscaling::OmittedSuspension;
use tidegate_sandbox::ecs::{DeleteRunning, GoneServices, PauseStage, StaleBlocks, Undocumented};
use tidegate_sandbox::load::{self, Load};
use tidegate_sandbox::local::admin::PushRequest;
use tidegate_sandbox::local::shop::{Plan, Shop};
use tidegate_sandbox::local::web::reachable;
use tidegate_sandbox::local::{Local, Options, Tidegate};
use tidegate_sandbox::{demo, tasks};

use crate::client::State;

const DOWN_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// The local AWS of Tidegate.
#[derive(Debug, Parser)]
#[command(name = "tidegate-sandbox", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One promotion and one rollback under real traffic.
    Demo {
        #[command(flatten)]
        parts: Parts,
        #[command(flatten)]
        demo: demo::DemoArgs,
    },
    /// Runs the local AWS with a shop and Tidegate in it, until it is told to end.
    Serve {
        #[command(flatten)]
        parts: Parts,
        /// The directory for the state file and the logs.
        #[arg(long, default_value = ".sandbox")]
        state: PathBuf,
        /// Requests a second that the shop's customers send; 0 for none.
        #[arg(long, default_value_t = 60.0, value_parser = rate)]
        rate: f64,
    },
    /// Pushes an image into a running sandbox.
    Push {
        #[command(flatten)]
        push: PushArgs,
        #[arg(long, default_value = ".sandbox")]
        state: PathBuf,
    },
    /// Shows what runs in it; fails when none is up.
    Status {
        #[arg(long, default_value = ".sandbox")]
        state: PathBuf,
        /// Everything, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a link to the dashboard that a browser on this machine reaches: `tidegate open` with what is given.
    Open {
        #[arg(long, default_value = ".sandbox")]
        state: PathBuf,
        /// A service or a release, and `--act`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Ends it.
    Down {
        #[arg(long, default_value = ".sandbox")]
        state: PathBuf,
    },
    /// A task of ECS.
    #[command(hide = true)]
    Task(tasks::TaskArgs),
}

/// The parts the sandbox is put together from; `cargo xtask` knows where they are.
#[derive(Debug, Clone, Args)]
struct Parts {
    /// The Python environment with ministack.
    #[arg(long)]
    venv: PathBuf,
    /// Tidegate's SAM template.
    #[arg(long)]
    template: PathBuf,
    /// The directory with `<function>/bootstrap`.
    #[arg(long)]
    functions: PathBuf,
    /// The `tidegate` command line.
    #[arg(long)]
    tidegate: PathBuf,
    /// Record every AWS call into this file, one JSON line each.
    #[arg(long)]
    record: Option<PathBuf>,
    /// What the functions log: ERROR, WARN, INFO, DEBUG, TRACE.
    #[arg(long, default_value = "INFO")]
    log_level: String,
    /// Not documented by AWS: whether blocks of another strategy stay in a deployment configuration.
    #[arg(long, value_enum, default_value_t)]
    stale_blocks: StaleBlocks,
    /// Not documented by AWS: the stage a deployment names while it waits at a pause hook.
    #[arg(long, value_enum, default_value_t)]
    pause_stage: PauseStage,
    /// Not documented by AWS: whether a service that is scaled to 0 can be deleted while its tasks still run.
    #[arg(long, value_enum, default_value_t)]
    delete_running: DeleteRunning,
    /// Not documented by AWS: how long a service that is gone can be described.
    #[arg(long, value_enum, default_value_t)]
    gone_services: GoneServices,
    /// Not documented by AWS: what a member of a scalable target's suspended state that is left out means.
    #[arg(long, value_enum, default_value_t)]
    omitted_suspension: OmittedSuspension,
    /// Not documented by AWS: seconds until a change of a rule has reached the last of three load balancer nodes.
    #[arg(long, default_value_t = 0.0, value_parser = delay)]
    weight_propagation: f64,
    /// Not documented by AWS: whether a stickiness cookie keeps its client on a target group of weight 0.
    #[arg(long)]
    sticky_at_zero: bool,
    /// Not documented by AWS: how many seconds old what is read of rules and their weights is.
    #[arg(long, default_value_t = 0.0, value_parser = delay)]
    rule_read_lag: f64,
    /// A target group with only unhealthy targets gets the traffic all the same, as on AWS; without, it answers 503.
    #[arg(long)]
    fail_open: bool,
}

impl Parts {
    fn options(&self, dir: PathBuf) -> Options {
        let mut options = Options::new(self.venv.clone(), dir);
        options.tidegate = Some(Tidegate {
            template: self.template.clone(),
            functions: self.functions.clone(),
            stack: "tidegate".into(),
        });
        options.record.clone_from(&self.record);
        options.log_level.clone_from(&self.log_level);
        options.ecs.undocumented = Undocumented {
            stale_blocks: self.stale_blocks,
            pause_stage: self.pause_stage,
            delete_running: self.delete_running,
            gone_services: self.gone_services,
        };
        options.autoscaling.omitted_suspension = self.omitted_suspension;
        options.weight_propagation = Duration::from_secs_f64(self.weight_propagation);
        options.sticky_at_zero = self.sticky_at_zero;
        options.rule_read_lag = Duration::from_secs_f64(self.rule_read_lag);
        options.fail_open = self.fail_open;
        options
    }
}

/// An image: what its process does.
#[derive(Debug, Args)]
struct PushArgs {
    /// The version its process answers with.
    version: String,
    /// The tag; `main-VERSION` when not given.
    #[arg(long)]
    tag: Option<String>,
    /// The repository.
    #[arg(long, default_value = "shop/checkout")]
    repository: String,
    /// Percent of requests answered with HTTP 500.
    #[arg(long, default_value_t = 0.0)]
    errors: f64,
    /// Latency it adds, milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// It exits at start.
    #[arg(long)]
    crash: bool,
    /// Its health checks fail.
    #[arg(long)]
    unhealthy: bool,
    /// What it is built for: amd64 when not given. Several make an index.
    #[arg(long, value_name = "ARCHITECTURE")]
    arch: Vec<String>,
}

impl Cli {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Demo { parts, demo } => {
                let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
                let tidegate = parts.tidegate.clone();
                demo::run(parts.options(dir.path().to_owned()), &tidegate, demo).await
            }
            Command::Serve { parts, state, rate } => serve(&parts, &state, rate).await,
            Command::Push { push, state } => push_image(push, &state).await,
            Command::Status { state, json } => status(&state, json).await,
            Command::Open { state, args } => open(&state, &args).await,
            Command::Down { state } => down(&state).await,
            Command::Task(args) => tasks::run(args).await.map(|()| ExitCode::SUCCESS),
        }
    }
}

/// More than this is no load for a shop on a laptop.
const HIGHEST_RATE: f64 = 1000.0;

fn rate(text: &str) -> Result<f64, String> {
    let allowed = || format!("allowed: requests a second from 0 to {HIGHEST_RATE}");
    let rate: f64 = text.parse().map_err(|_| allowed())?;
    if (0.0..=HIGHEST_RATE).contains(&rate) { Ok(rate) } else { Err(allowed()) }
}

/// AWS's own delays are seconds; more than this no test and nobody waits for.
const LONGEST_DELAY: f64 = 600.0;

fn delay(text: &str) -> Result<f64, String> {
    let allowed = || format!("allowed: seconds from 0 to {LONGEST_DELAY}");
    let secs: f64 = text.parse().map_err(|_| allowed())?;
    if (0.0..=LONGEST_DELAY).contains(&secs) { Ok(secs) } else { Err(allowed()) }
}

async fn serve(parts: &Parts, dir: &Path, rate: f64) -> Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let local = Local::start(parts.options(dir.to_owned())).await?;
    let shop = Shop::open(&local, Plan::checkout()).await?;
    let policy = dir.join("checkout.yaml");
    let text = shop.policy("{ canary: { percent: 10, bake: 30s }, bake: 30s }");
    std::fs::write(&policy, text).with_context(|| format!("failed to write {}", policy.display()))?;
    // Without customers nothing would show what a bad image does.
    let customers = match shop.address {
        Some(address) if rate > 0.0 => Some(Load::start(load::Plan::new(address, rate))),
        Some(_) | None => None,
    };
    let state = State {
        endpoint: local.endpoint.url(),
        shop: shop.address.map(|address| format!("http://{address}/")),
        rule: shop.rule.clone(),
        canary: shop.canary.clone(),
        pid: std::process::id(),
        environment: local.environment(),
        tidegate: parts.tidegate.clone(),
    };
    state.save(dir)?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("failed to listen for SIGTERM")?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        () = local.down.notified() => {}
    }
    State::remove(dir);
    if let Some(customers) = customers {
        customers.stop().await;
    }
    local.stop().await?;
    Ok(ExitCode::SUCCESS)
}

async fn push_image(args: PushArgs, dir: &Path) -> Result<ExitCode> {
    let tag = args.tag.unwrap_or_else(|| format!("main-{}", args.version));
    let request = PushRequest {
        repository: args.repository,
        tag: tag.clone(),
        version: args.version,
        error_percent: args.errors,
        latency_ms: args.latency_ms,
        crashes: args.crash,
        unhealthy: args.unhealthy,
        architectures: args.arch,
        attested: false,
    };
    let body = serde_json::to_value(&request).context("the image cannot be described")?;
    let answer = State::load(dir)?.call(Method::POST, "/_sandbox/push", &body).await?;
    say(&format!("pushed {}:{tag}  {}", request.repository, answer["digest"].as_str().unwrap_or_default()));
    Ok(ExitCode::SUCCESS)
}

async fn status(dir: &Path, as_json: bool) -> Result<ExitCode> {
    let state = State::load(dir)?;
    let status = state.call(Method::GET, "/_sandbox/status", &Value::Null).await?;
    if as_json {
        say(&serde_json::to_string_pretty(&json!({ "state": state, "status": status }))
            .context("not JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    say("the sandbox is up; use it with:");
    for (name, value) in &state.environment {
        say(&format!("  export {name}={value}"));
    }
    if let Some(shop) = &state.shop {
        say(&format!("the shop: {shop}"));
        say(&format!("its rule: {}", state.rule));
        say(&format!("a target group for a canary of your own: {}", state.canary));
    }
    say(&format!("its policy: {}", dir.join("checkout.yaml").display()));
    say("its dashboard: cargo xtask sandbox open");
    for service in status["services"].as_array().into_iter().flatten() {
        let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
        let definition = text("taskDefinition").rsplit('/').next().unwrap_or_default().to_owned();
        say(&format!(
            "service {}: {} of {} tasks, {definition}",
            text("serviceName"),
            service["runningCount"],
            service["desiredCount"]
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The link leads to a name of AWS's; here it is made one of this machine's.
async fn open(dir: &Path, args: &[String]) -> Result<ExitCode> {
    let state = State::load(dir)?;
    let mut tidegate = tokio::process::Command::new(&state.tidegate);
    tidegate.args(["--json", "open", "--print"]).args(args).envs(state.environment.iter().cloned());
    let output = tidegate.stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("failed to run {}", state.tidegate.display()))?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(url) = answer["url"].as_str() else {
        bail!("tidegate open gave no link: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    };
    say(&reachable(url, state.port()?));
    Ok(ExitCode::SUCCESS)
}

async fn down(dir: &Path) -> Result<ExitCode> {
    let state = State::load(dir)?;
    if state.call(Method::POST, "/_sandbox/down", &Value::Null).await.is_err() {
        State::remove(dir);
        say("the sandbox was gone already");
        return Ok(ExitCode::SUCCESS);
    }
    let process = PathBuf::from(format!("/proc/{}", state.pid));
    let deadline = tokio::time::Instant::now() + DOWN_WITHIN;
    while process.exists() {
        if tokio::time::Instant::now() > deadline {
            bail!("the sandbox (process {}) did not end within {DOWN_WITHIN:?}", state.pid);
        }
        tokio::time::sleep(POLL).await;
    }
    say("the sandbox is down");
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn say(line: &str) {
    println!("{line}");
}
