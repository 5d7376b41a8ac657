//! Builds the functions for AWS Lambda, where template.yaml expects them: `target/lambda/<function>/bootstrap`.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{Arch, elf, shipped};

/// Builds release binaries of all functions.
pub(crate) fn package(workspace: &Workspace, arch: Arch) -> Result<ExitCode> {
    let functions = workspace.functions()?;
    let packages: Vec<String> = functions.iter().map(|function| format!("tidegate-{function}")).collect();
    shipped::build(workspace, arch, &packages)?;
    for function in &functions {
        let binary = arch.binaries(workspace).join(function);
        elf::check(&binary, arch)?;
        let bootstrap = workspace.root.join("target/lambda").join(function).join("bootstrap");
        let dir = bootstrap.parent().context("a bootstrap has a directory")?;
        std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
        std::fs::copy(&binary, &bootstrap).with_context(|| format!("failed to copy {}", binary.display()))?;
        let size = bootstrap.metadata().map_or(0, |m| m.len()) / 1024;
        eprintln!("{} ({size} KiB)", bootstrap.display());
    }
    Ok(ExitCode::SUCCESS)
}
