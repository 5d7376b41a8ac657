//! Checks of template.yaml.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::venv;
use crate::workspace::{Workspace, run};

const SAM_TRANSLATE: &str = include_str!("sam_translate.py");

/// cfn-lint, then the SAM translator, then that the template and functions/ name the same functions.
pub(crate) fn check(workspace: &Workspace) -> Result<ExitCode> {
    venv::ensure(workspace, &workspace.venv(), "sandbox/requirements.txt")?;
    let template = workspace.root.join("template.yaml");
    run(Command::new(workspace.venv().join("bin/cfn-lint")).arg(&template))?;

    let mut translate = Command::new(workspace.venv().join("bin/python"));
    let output = translate.args(["-c", SAM_TRANSLATE]).arg(&template).output();
    let output = output.context("failed to run the SAM translator")?;
    if !output.status.success() {
        bail!("the SAM translator refuses the template:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut uris: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    uris.sort();
    // One binary may be several functions, each with a role of its own.
    uris.dedup();
    let wanted: Vec<_> = workspace.functions()?.iter().map(|f| format!("target/lambda/{f}/")).collect();
    if uris != wanted {
        bail!("the template's functions are {uris:?}, those in functions/ are {wanted:?}");
    }
    Ok(ExitCode::SUCCESS)
}
