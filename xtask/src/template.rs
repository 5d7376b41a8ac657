//! Checks of template.yaml, and of what is published of it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::venv;
use crate::workspace::{Workspace, run};

const SAM_TRANSLATE: &str = include_str!("sam_translate.py");

/// cfn-lint, then the SAM translator, then that the template and functions/ name the same functions.
///
/// `file` is a packaged one; the project's own when there is none.
pub(crate) fn check(workspace: &Workspace, file: Option<&Path>) -> Result<ExitCode> {
    venv::ensure(workspace, &workspace.venv(), "sandbox/requirements.txt")?;
    let template = file.map_or_else(|| workspace.root.join("template.yaml"), Path::to_owned);
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
    let of = |function: String| match file {
        None => format!("target/lambda/{function}/"),
        Some(_) => format!("${{ArtifactsPrefix}}{function}-${{Architecture}}.zip"),
    };
    let wanted: Vec<_> = workspace.functions()?.into_iter().map(of).collect();
    if uris != wanted {
        bail!("the template takes its code from {uris:?}, and should from {wanted:?}");
    }
    Ok(ExitCode::SUCCESS)
}
