//! Commands that end in running something of the project.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build::Scope;
use crate::workspace::{Workspace, cargo, run};
use crate::{build, venv};

const UP_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// The demo. Replaces this process, so Ctrl-C and the exit code are the sandbox's own.
pub(crate) fn demo(workspace: &Workspace, scope: Scope, args: &[OsString]) -> Result<ExitCode> {
    prepare(workspace, scope)?;
    replace_by(sandbox(workspace, "demo").args(paths(workspace)).args(args))
}

/// A subcommand of the sandbox that talks to a running one.
pub(crate) fn hand_over(workspace: &Workspace, subcommand: &str, args: &[OsString]) -> Result<ExitCode> {
    if !workspace.binary("tidegate-sandbox").exists() {
        bail!("there is no sandbox yet; start one with `cargo xtask sandbox up`");
    }
    replace_by(sandbox(workspace, subcommand).arg("--state").arg(state(workspace)).args(args))
}

/// Starts the sandbox in the background and waits until it says that it is ready.
pub(crate) fn up(workspace: &Workspace, scope: Scope, args: &[OsString]) -> Result<ExitCode> {
    if is_up(workspace)? {
        bail!("the sandbox is already up; `cargo xtask sandbox status` shows it");
    }
    prepare(workspace, scope)?;
    let state = state(workspace);
    std::fs::create_dir_all(&state).with_context(|| format!("failed to create {}", state.display()))?;
    let log = state.join("sandbox.log");
    let out = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let err = out.try_clone().context("failed to share the log file")?;
    let mut serve = sandbox(workspace, "serve");
    serve.args(paths(workspace)).arg("--state").arg(&state).args(args);
    // A process group of its own: the terminal's Ctrl-C is not meant for it.
    let child = serve.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    let mut child = child.context("failed to start the sandbox")?;
    wait_until_up(workspace, &mut child).with_context(|| format!("the log is {}", log.display()))?;
    replace_by(sandbox(workspace, "status").arg("--state").arg(&state))
}

fn wait_until_up(workspace: &Workspace, child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + UP_TIMEOUT;
    while !is_up(workspace)? {
        if let Some(status) = child.try_wait().context("failed to ask for the sandbox's state")? {
            bail!("the sandbox ended at start ({status})");
        }
        if Instant::now() > deadline {
            child.kill().context("failed to end the sandbox")?;
            bail!("the sandbox was not ready within {UP_TIMEOUT:?}");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn is_up(workspace: &Workspace) -> Result<bool> {
    if !workspace.binary("tidegate-sandbox").exists() {
        return Ok(false);
    }
    let mut status = sandbox(workspace, "status");
    status.arg("--state").arg(state(workspace)).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(status.status().context("failed to run the sandbox")?.success())
}

/// All tests. `args` go to the test runner.
pub(crate) fn test(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    prepare(workspace, Scope::Tests)?;
    // The test itself says so too, but what a passing test prints is not shown.
    if let Some(missing) = ["chromium", "chromedriver"].iter().find(|program| !is_on_path(program)) {
        eprintln!(
            "note: {missing} is not installed, so the pages are not tried in a browser; Debian's packages are chromium and chromium-driver"
        );
    }
    let has_nextest = cargo().args(["nextest", "--version"]).output().is_ok_and(|o| o.status.success());
    if has_nextest {
        run(with_test_env(cargo().args(["nextest", "run", "--workspace"]).args(args), workspace))?;
        run(with_test_env(cargo().args(["test", "--workspace", "--doc"]), workspace))?;
    } else {
        run(with_test_env(cargo().args(["test", "--workspace"]).args(args), workspace))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// What the integration tests need to find.
fn with_test_env<'a>(command: &'a mut Command, workspace: &Workspace) -> &'a mut Command {
    command
        .current_dir(&workspace.root)
        .env("TIDEGATE_VENV", workspace.venv())
        .env("TIDEGATE_FUNCTIONS", workspace.sandbox_functions())
        .env("TIDEGATE_TEMPLATE", workspace.root.join("template.yaml"))
        .env("TIDEGATE_XTASK_BIN", workspace.binary("xtask"))
        .env("TIDEGATE_BIN", workspace.binary("tidegate"))
        .env("TIDEGATE_SANDBOX_BIN", workspace.binary("tidegate-sandbox"))
}

fn prepare(workspace: &Workspace, scope: Scope) -> Result<()> {
    venv::ensure(workspace, &workspace.venv(), "sandbox/requirements.txt")?;
    build::build(workspace, scope)
}

fn state(workspace: &Workspace) -> PathBuf {
    workspace.root.join(".sandbox")
}

fn sandbox(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = Command::new(workspace.binary("tidegate-sandbox"));
    command.current_dir(&workspace.root).arg(subcommand);
    command
}

fn paths(workspace: &Workspace) -> [OsString; 8] {
    [
        "--venv".into(),
        workspace.venv().into(),
        "--template".into(),
        workspace.root.join("template.yaml").into(),
        "--functions".into(),
        workspace.sandbox_functions().into(),
        "--tidegate".into(),
        workspace.binary("tidegate").into(),
    ]
}

fn replace_by(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("failed to run {}", command.get_program().display()))
}
