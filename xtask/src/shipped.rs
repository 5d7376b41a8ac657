//! Builds what is shipped, for either instruction set.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{SHIPPED, release};
use crate::elf::LAMBDA_GLIBC;
use crate::workspace::{Workspace, run};
use crate::{Arch, venv};

impl Arch {
    /// As Lambda, the template's parameter Architecture and the names of artifacts say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }

    /// As Rust says it.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    fn is_this_machines(self) -> bool {
        let native = match self {
            Self::Arm64 => cfg!(target_arch = "aarch64"),
            Self::X86_64 => cfg!(target_arch = "x86_64"),
        };
        native && cfg!(all(target_os = "linux", target_env = "gnu"))
    }

    /// Where cargo puts what is shipped.
    pub(crate) fn binaries(self, workspace: &Workspace) -> PathBuf {
        let dir = &workspace.target;
        if self.is_this_machines() { dir.join(SHIPPED) } else { dir.join(self.target()).join(SHIPPED) }
    }

    /// Why this machine cannot build for it; known before an hour is spent on the other one.
    ///
    /// # Errors
    /// When Rust's standard library for it is missing.
    pub(crate) fn check(self) -> Result<()> {
        if self.is_this_machines() {
            return Ok(());
        }
        let target = self.target();
        let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
        let output = output.context("failed to run rustc")?;
        let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if !dir.is_dir() {
            bail!(
                "{} cannot be built here: Rust's standard library for {target} is not installed. Run `rustup target add {target}`, or name \
                 this machine's own instruction set with `--arch`, which then is the template's parameter Architecture as well",
                self.name()
            );
        }
        Ok(())
    }
}

/// Builds the binaries of these packages; they are in [`Arch::binaries`] then.
///
/// For another machine than this one zig is the linker. It links against the glibc it is told, Lambda's; on this machine that is the glibc
/// that is installed, so what comes out has to be looked at (see [`crate::elf`]).
pub(crate) fn build(workspace: &Workspace, arch: Arch, packages: &[String]) -> Result<()> {
    arch.check()?;
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    let mut build = release(workspace);
    if arch.is_this_machines() {
        return run(build.args(["build", "--locked", "--profile", SHIPPED]).args(packages));
    }
    let tools = workspace.target.join("package-venv");
    venv::ensure(workspace, &tools, "xtask/requirements-package.txt")?;
    // cargo finds `cargo zigbuild`, and that finds zig, through the search path.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    build.env("PATH", std::env::join_paths(path).context("PATH cannot be extended")?);
    let (major, minor) = LAMBDA_GLIBC;
    let target = format!("{}.{major}.{minor}", arch.target());
    run(build.args(["zigbuild", "--locked", "--profile", SHIPPED, "--target", &target]).args(packages))
}
