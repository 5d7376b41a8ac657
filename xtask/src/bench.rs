//! Builds for release and measures.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::workspace::{Workspace, cargo, run};

/// Builds the functions and the measuring program for release, and runs it. `args` go to it.
pub(crate) fn bench(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    let functions = workspace.functions()?;
    let packages = functions.iter().flat_map(|function| ["-p".to_owned(), format!("tidegate-{function}")]);
    run(cargo()
        .current_dir(&workspace.root)
        .args(["build", "--release", "-p", "tidegate-bench"])
        .args(packages))?;
    let release = workspace.target.join("release");
    let mut measure = Command::new(release.join("tidegate-bench"));
    run(measure.arg("--binaries").arg(&release).arg("--functions").arg(functions.join(",")).args(args))?;
    Ok(ExitCode::SUCCESS)
}
