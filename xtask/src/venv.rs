//! Python virtual environments, made from a requirements file and made anew when it changes.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run_quietly};

/// Makes `venv` hold what `requirements` asks for. Cheap when it already does.
pub(crate) fn ensure(workspace: &Workspace, venv: &Path, requirements: &str) -> Result<()> {
    let requirements = workspace.root.join(requirements);
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("failed to read {}", requirements.display()))?;
    let _lock = lock(workspace)?;
    // Written last, so that an interrupted installation is not taken for a finished one.
    let done = venv.join("installed-requirements.txt");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    check_python()?;
    eprintln!("making {} (once)", venv.display());
    run_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    // By hash: what was looked at once is what everybody gets, also for what builds the package that runs in an account.
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        "--require-hashes",
        "--requirement",
    ]);
    run_quietly(pip.arg(requirements)).context("failed to install Python packages")?;
    std::fs::write(&done, wanted).with_context(|| format!("failed to write {}", done.display()))
}

/// Two commands at once would install into each other's feet.
fn lock(workspace: &Workspace) -> Result<File> {
    let path = workspace.target.join("venv.lock");
    let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
    file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
    Ok(file)
}

fn check_python() -> Result<()> {
    let version = Command::new("python3").args(["-c", "import sys; print(*sys.version_info[:2])"]).output();
    let Ok(version) = version else {
        bail!(
            "python3 is not installed; Tidegate's sandbox needs Python 3.10 or newer (Debian: apt install python3 python3-venv)"
        );
    };
    let text = String::from_utf8_lossy(&version.stdout);
    let numbers: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    if numbers < vec![3, 10] {
        bail!("python3 is version {}; Tidegate's sandbox needs 3.10 or newer", text.trim().replace(' ', "."));
    }
    let complete = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    if !complete.is_ok_and(|output| output.status.success()) {
        bail!("python3 cannot make virtual environments (Debian: apt install python3-venv)");
    }
    Ok(())
}
