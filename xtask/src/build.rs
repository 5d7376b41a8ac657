//! Builds what the sandbox runs, and puts it where the sandbox looks for it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{Workspace, cargo, run};

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The sandbox, the command line tool and all functions.
    Sandbox,
    /// The same and everything else, with all tests.
    Tests,
    /// Nothing: what an earlier run built is used as it is.
    Nothing,
}

/// Builds, and lays the functions out as `<function>/bootstrap`.
///
/// One cargo run for all of it: features unify over what is selected, so separate runs would compile the AWS SDK again for
/// each different set. Tests bring features of their own, so their binaries are built together with them.
pub(crate) fn build(workspace: &Workspace, scope: Scope) -> Result<()> {
    let functions = workspace.functions()?;
    let mut build = cargo();
    build.current_dir(&workspace.root).arg("build");
    match scope {
        Scope::Sandbox => {
            build.args(["-p", "tidegate-sandbox", "-p", "tidegate-cli"]);
            build.args(
                functions.iter().flat_map(|function| ["-p".to_owned(), format!("tidegate-{function}")]),
            );
            run(&mut build)?;
        }
        Scope::Tests => run(build.args(["--workspace", "--bins", "--tests", "--examples"]))?,
        Scope::Nothing => {}
    }
    for function in &functions {
        let bootstrap = workspace.sandbox_functions().join(function).join("bootstrap");
        lay_out(&workspace.binary(function), &bootstrap)?;
    }
    Ok(())
}

/// The profile the functions are shipped in.
pub(crate) const SHIPPED: &str = "release-lambda";

/// A cargo command for what is shipped or measured, with AWS-LC built as both need it.
///
/// AWS-LC would gather entropy from the CPU's jitter before its first random number: 57 ms of a core, 0.3 s of a small function's
/// share of one, in the reaction to the first alarm. Without it the operating system's generator, which every Lambda sandbox seeds, is the
/// source (docs/decisions/0036).
pub(crate) fn release(workspace: &Workspace) -> Command {
    let mut cargo = cargo();
    cargo.current_dir(&workspace.root).env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1");
    cargo
}

/// Copies a binary without its debug information when there is a `strip`: the sandbox zips, uploads and unpacks it.
fn lay_out(binary: &Path, bootstrap: &Path) -> Result<()> {
    if is_newer(bootstrap, binary) {
        return Ok(());
    }
    let dir = bootstrap.parent().context("a bootstrap has a directory")?;
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    // Written beside and renamed: a running function may still have the old file open.
    let new = bootstrap.with_extension("new");
    let stripped = Command::new("strip").arg("-o").arg(&new).arg(binary).output();
    if !stripped.is_ok_and(|output| output.status.success()) {
        std::fs::copy(binary, &new).with_context(|| format!("failed to copy {}", binary.display()))?;
    }
    std::fs::rename(&new, bootstrap).with_context(|| format!("failed to write {}", bootstrap.display()))
}

fn is_newer(file: &Path, than: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    modified(file).zip(modified(than)).is_some_and(|(file, than)| file > than)
}
