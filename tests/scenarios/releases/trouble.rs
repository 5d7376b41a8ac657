//! Trouble that does not stop at one service, so each of these has a local AWS of its own: everything fails a little, Tidegate is gone,
//! messages that can never be read, processes that are left behind.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidegate_core::outcome::Cause;
use tidegate_sandbox::endpoint::{Action, Fault};
use tidegate_sandbox::events::Disturbance;
use tidegate_sandbox::local::shop::Balancer;
use tokio::time::{Instant, sleep};

use crate::engines;
use crate::runner::{Scenario, scenario};
use crate::stage::{STACK, Stage, until};
use crate::story::{CANARY, Story, good};

const SOON: Duration = Duration::from_secs(120);
/// The clock of the template comes every minute; when everything fails, some of its rounds fail too.
const CLOCK_EVERY: Duration = Duration::from_secs(4);

/// A fault on every call of Tidegate's own functions to a service.
fn of_tidegate(service: &str, probability: f64, action: Action) -> Fault {
    Fault {
        service: Some(service.into()),
        operation: None,
        caller: Some(format!("{STACK}-")),
        resource: None,
        action,
        probability,
        count: None,
        happened: 0,
    }
}

// --- Everything fails a little ---------------------------------------------------------------------------------------------

/// Throttling everywhere, lost connections, functions killed, events late, twice, out of order and lost.
pub(crate) fn storm(stage: &Stage) -> impl Drop + use<> {
    let mut faults: Vec<Fault> = ["ecs", "elasticloadbalancing", "monitoring", "dynamodb", "ecr", "sqs"]
        .map(|service| of_tidegate(service, 0.3, Action::Throttle))
        .to_vec();
    faults.extend(["ecs", "dynamodb"].map(|service| of_tidegate(service, 0.02, Action::DropAfter)));
    faults.extend(["ecs", "monitoring"].map(|service| of_tidegate(service, 0.1, Action::DelayMs(1500))));
    stage.local.endpoint.set_faults(faults);
    stage.local.events.disturb(Disturbance {
        duplicates: 1,
        jitter_ms: 2000,
        lost: 0.1,
        ..Disturbance::default()
    });
    let endpoint = stage.local.endpoint.url();
    let killer = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(1500)).await;
            let victims = processes_of(&endpoint, "bootstrap");
            if !victims.is_empty() {
                kill(&victims[fastrand::usize(..victims.len())]);
            }
        }
    });
    Storm(killer.abort_handle())
}

struct Storm(tokio::task::AbortHandle);

impl Drop for Storm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Invokes the clock, as the schedule does every minute, for as long as the scenarios play.
pub(crate) async fn clock(stage: Arc<Stage>) {
    loop {
        sleep(CLOCK_EVERY).await;
        // It may fail, and be killed, as everything else.
        let _failed = stage.invoke("clock", &json!({})).await;
    }
}

pub(crate) fn in_the_storm() -> Vec<Scenario> {
    vec![
        scenario("storm: a canary is promoted", async |stage| {
            let mut story = Story::open(&stage, "storm-up").await?;
            story.policy(CANARY).await?;
            story.let_in()?;
            let digest = story.push("main-2", good("v2")).await?;
            let id = found(&story, &digest).await?;
            story.ends(&id, "promoted").await?;
            story.runs(&digest).await?;
            story.nobody_was_turned_away().await?;
            Ok(())
        }),
        scenario("storm: a canary is rolled back", async |stage| {
            let mut story = Story::open(&stage, "storm-down").await?;
            story.policy("{ canary: { percent: 10, bake: 60s }, bake: 3s }").await?;
            story.let_in()?;
            let digest = story.push("main-2", good("v2")).await?;
            let id = found(&story, &digest).await?;
            story.until_shifted(&id, 10.0).await?;
            story.turn(true).await?;
            story.ends(&id, "rolled back").await?;
            story.is_as_before().await?;
            story.nobody_was_turned_away().await?;
            Ok(())
        }),
        scenario("storm: a rolling release is promoted", async |stage| {
            let mut story = Story::open(&stage, "storm-rolling").await?;
            story.policy("{ rolling: {}, bake: 3s }").await?;
            story.let_in()?;
            let digest = story.push("main-2", good("v2")).await?;
            let id = found(&story, &digest).await?;
            story.ends(&id, "promoted").await?;
            story.runs(&digest).await?;
            story.nobody_was_turned_away().await?;
            Ok(())
        }),
    ]
}

/// The release of a push; its event may be lost, and then a person asks for it rather than wait for the clock.
async fn found(story: &Story, digest: &str) -> Result<tidegate_core::ids::ReleaseId> {
    if let Ok(id) = tokio::time::timeout(Duration::from_secs(10), story.release_of(digest)).await {
        return id;
    }
    story.stage.tidegate(&["release", story.name.as_str(), digest]).await?;
    story.release_of(digest).await
}

// --- Tidegate is gone ------------------------------------------------------------------------------------------------------

pub(crate) fn gone() -> Vec<Scenario> {
    vec![
        // Cut off by the other one, wherever it is then.
        scenario(
            "weights of our own stay as they are while Tidegate is gone, and go on after it",
            async |stage| {
                let mut story = Story::open_plain(&stage, "gone-weighted", Balancer::Application).await?;
                engines::weighted_policy(&story, "{ steps: [{ percent: 50, bake: 5s }], bake: 2s }").await?;
                story.let_in()?;
                let digest = story.push("main-2", good("v2")).await?;
                let id = story.release_of(&digest).await?;
                story.ends(&id, "promoted").await?;
                story.runs(&digest).await?;
                story.nobody_was_turned_away().await?;
                Ok(())
            },
        ),
        scenario(
            "if Tidegate is gone, Amazon ECS rolls back; when it comes back, the release ends rightly",
            async |stage| {
                let mut story = Story::open(&stage, "gone").await?;
                story.policy("{ canary: { percent: 10, bake: 20s }, bake: 3s }").await?;
                story.let_in()?;
                let id = story.release("main-2", good("v2")).await?;
                story.until_shifted(&id, 10.0).await?;
                cut_off(&stage);
                until("Amazon ECS to have rolled back", SOON, async || {
                    let newest = story.deployments().await?.into_iter().next().unwrap_or_default();
                    Ok((newest["status"] == "ROLLBACK_SUCCESSFUL").then_some(()))
                })
                .await?;
                ensure!(!story.get(&id).await?.is_over(), "Tidegate was not gone");
                let old = story.service().await?["taskDefinition"].clone();
                let hooks = &story.service().await?["deploymentConfiguration"]["lifecycleHooks"];
                ensure!(
                    hooks.as_array().is_some_and(|hooks| !hooks.is_empty()),
                    "our hooks are gone already: {hooks}"
                );
                back_again(&stage);
                let release = story.ends(&id, "rolled back").await?;
                ensure!(matches!(release.cause(), Some(Cause::Deployment { .. })), "{:?}", release.cause());
                story.is_as_before().await?;
                ensure!(story.service().await?["taskDefinition"] == old);
                let digest = story.push("main-3", good("v3")).await?;
                let next = story.release_of(&digest).await?;
                story.ends(&next, "promoted").await?;
                story.runs(&digest).await?;
                story.nobody_was_turned_away().await?;
                Ok(())
            },
        ),
    ]
}

/// No event reaches Tidegate, none of its calls reaches AWS, and none of its processes lives.
fn cut_off(stage: &Stage) {
    stage.local.events.disturb(Disturbance { lost: 1.0, ..Disturbance::default() });
    stage.local.endpoint.add_fault(of_tidegate("*", 1.0, Action::DropBefore));
    for pid in processes_of(&stage.local.endpoint.url(), "bootstrap") {
        kill(&pid);
    }
}

fn back_again(stage: &Stage) {
    stage.local.events.disturb(Disturbance::default());
    stage.local.endpoint.remove_faults(|_| true);
}

// --- Messages that can never be read ---------------------------------------------------------------------------------------

pub(crate) fn poison() -> Vec<Scenario> {
    vec![scenario(
        "a poison message ends in its queue, and the others of the batch are handled",
        async |stage| {
            let story = Story::open_behind(&stage, "poison", Balancer::None).await?;
            story.policy("{ blue_green: {}, bake: 1s }").await?;
            // On AWS each try takes the visibility timeout of six minutes.
            let queue = stage.queue("wake").await?;
            let quick = json!({ "QueueUrl": queue, "Attributes": { "VisibilityTimeout": "2" } });
            stage.sqs("SetQueueAttributes", quick).await?;
            // Only the queue wakes this one: no event of ECS does.
            stage.local.events.disturb(Disturbance {
                lost: 1.0,
                only: "aws.ecs".into(),
                ..Disturbance::default()
            });
            let id = story.release("main-2", good("v2")).await?;
            let wake = format!(r#"{{"schema":1,"release":"{id}","why":"tests"}}"#);
            let bodies = ["not JSON at all", r#"{"schema":99,"release":"x"}"#, &wake];
            let entries: Vec<_> = bodies
                .iter()
                .enumerate()
                .map(|(index, body)| json!({ "Id": index.to_string(), "MessageBody": body }))
                .collect();
            stage.sqs("SendMessageBatch", json!({ "QueueUrl": queue, "Entries": entries })).await?;
            stage.message("wake-dlq", "not JSON at all", SOON).await?;
            stage.message("wake-dlq", "99", SOON).await?;
            story.ends(&id, "promoted").await?;
            stage.local.events.disturb(Disturbance::default());
            Ok(())
        },
    )]
}

// --- What is left behind ---------------------------------------------------------------------------------------------------

/// Processes that this sandbox started, by the endpoint in their environment and a part of their command line.
fn processes_of(endpoint: &str, command: &str) -> Vec<String> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id().to_string();
    all.flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let read = |what: &str| std::fs::read(path.join(what)).unwrap_or_default();
            let environment = read("environ");
            let mine = environment.split(|byte| *byte == 0).any(|variable| {
                variable.strip_prefix(b"AWS_ENDPOINT_URL=").is_some_and(|url| url == endpoint.as_bytes())
            });
            mine && String::from_utf8_lossy(&read("cmdline")).contains(command)
        })
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|pid| *pid != own)
        .collect()
}

fn kill(pid: &str) {
    // A process that has ended by itself meanwhile is as good.
    let _status = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
}

/// The children of a process and theirs, as long as they run.
fn descendants(root: u32) -> Vec<String> {
    let output = Command::new("ps").args(["-eo", "pid=,ppid=,stat="]).output().expect("ps runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut parts = line.split_whitespace();
            let (pid, parent, state) = (parts.next()?, parts.next()?, parts.next()?);
            (!state.starts_with('Z')).then_some((pid, parent))
        })
        .collect();
    let mut found = vec![root.to_string()];
    let mut index = 0;
    while let Some(parent) = found.get(index).cloned() {
        found.extend(rows.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| (*pid).to_owned()));
        index += 1;
    }
    found.split_off(1)
}

fn runs(pid: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().expect("ps runs");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// Starts the sandbox as people do, kills it with SIGKILL, and waits until everything it started has ended.
pub(crate) async fn nothing_is_left_behind(binaries: [PathBuf; 5]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [sandbox, venv, template, functions, tidegate] = binaries;
    let mut child = Command::new(&sandbox)
        .arg("serve")
        .args(["--venv".as_ref(), venv.as_os_str(), "--template".as_ref(), template.as_os_str()])
        .args(["--functions".as_ref(), functions.as_os_str(), "--tidegate".as_ref(), tidegate.as_os_str()])
        .args(["--state".as_ref(), dir.path().as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start the sandbox")?;
    let state = dir.path().join("state.json");
    let is_up = until("the sandbox to be up", SOON, async || Ok(state.exists().then_some(()))).await;
    let started = descendants(child.id());
    let link = Command::new(&sandbox).args(["open", "--state"]).arg(dir.path()).output();
    child.kill().context("failed to kill the sandbox")?;
    child.wait().context("failed to wait for the sandbox")?;
    is_up?;
    // As a browser on this machine reaches it.
    let link = link.context("failed to ask for the dashboard")?;
    let text = String::from_utf8_lossy(&link.stdout).into_owned();
    ensure!(
        text.starts_with("http://") && text.contains(".localhost:") && text.contains("/services?key="),
        "{text}{}",
        String::from_utf8_lossy(&link.stderr)
    );
    ensure!(started.len() >= 4, "ministack, its launcher and two tasks were expected, found {started:?}");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left: Vec<&String> = started.iter().filter(|pid| runs(pid)).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left behind: {left:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
