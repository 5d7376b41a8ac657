//! Builds the functions for AWS Lambda, where template.yaml expects them: `target/lambda/<function>/bootstrap`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::build::SHIPPED;
use crate::workspace::{Workspace, run};
use crate::{Arch, build, venv};

/// The newest glibc symbol version Amazon Linux 2023 has (its glibc is 2.34).
const LAMBDA_GLIBC: u32 = 34;

/// Builds release binaries of all functions.
pub(crate) fn package(workspace: &Workspace, arch: Arch) -> Result<ExitCode> {
    let functions = workspace.functions()?;
    let built = if arch == Arch::X86_64 && cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        natively(workspace, &functions)?
    } else {
        with_cargo_lambda(workspace, arch, &functions)?
    };
    for (function, binary) in functions.iter().zip(built) {
        check_glibc(&binary)?;
        let bootstrap = workspace.root.join("target/lambda").join(function).join("bootstrap");
        if binary != bootstrap {
            let dir = bootstrap.parent().context("a bootstrap has a directory")?;
            std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
            std::fs::copy(&binary, &bootstrap)
                .with_context(|| format!("failed to copy {}", binary.display()))?;
        }
        let size = bootstrap.metadata().map_or(0, |m| m.len()) / 1024;
        eprintln!("{} ({size} KiB)", bootstrap.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn natively(workspace: &Workspace, functions: &[String]) -> Result<Vec<PathBuf>> {
    run(build::release(workspace).args(["build", "--profile", SHIPPED]).args(packages(functions)))?;
    Ok(functions.iter().map(|function| workspace.target.join(SHIPPED).join(function)).collect())
}

fn with_cargo_lambda(workspace: &Workspace, arch: Arch, functions: &[String]) -> Result<Vec<PathBuf>> {
    let (target, flag) = match arch {
        Arch::Arm64 => ("aarch64-unknown-linux-gnu", "--arm64"),
        Arch::X86_64 => ("x86_64-unknown-linux-gnu", "--x86-64"),
    };
    check_target(target)?;
    let tools = workspace.target.join("package-venv");
    venv::ensure(workspace, &tools, "xtask/requirements-package.txt")?;

    // cargo finds `cargo lambda`, and cargo-lambda finds zig, through the search path.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).context("PATH cannot be extended")?;
    let dir = workspace.root.join("target/lambda");
    let mut build = build::release(workspace);
    build.env("PATH", path).args(["lambda", "build", "--profile", SHIPPED, flag]);
    run(build.arg("--lambda-dir").arg(&dir).args(packages(functions)))?;
    Ok(functions.iter().map(|function| dir.join(function).join("bootstrap")).collect())
}

fn packages(functions: &[String]) -> impl Iterator<Item = String> {
    functions.iter().flat_map(|function| ["-p".to_owned(), format!("tidegate-{function}")])
}

fn check_target(target: &str) -> Result<()> {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let output = output.context("failed to run rustc")?;
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !dir.is_dir() {
        bail!(
            "Rust's standard library for {target} is not installed: run `rustup target add {target}`, \
             or package for this machine's instruction set with `--arch x86_64` and deploy with the template's \
             parameter Architecture=x86_64"
        );
    }
    Ok(())
}

/// A binary linked on a newer Linux asks for symbols Lambda does not have, which shows only when it is started there.
fn check_glibc(binary: &Path) -> Result<()> {
    let bytes = std::fs::read(binary).with_context(|| format!("failed to read {}", binary.display()))?;
    let newest = glibc_minor_versions(&bytes).max().unwrap_or(0);
    if newest > LAMBDA_GLIBC {
        bail!(
            "{} needs glibc 2.{newest}, Lambda's provided.al2023 has 2.{LAMBDA_GLIBC}: build on an older Linux, or \
             in a container of Amazon Linux 2023",
            binary.display()
        );
    }
    Ok(())
}

/// The minor versions in the symbol version names (`GLIBC_2.34`) of an ELF file.
fn glibc_minor_versions(elf: &[u8]) -> impl Iterator<Item = u32> {
    const PREFIX: &[u8] = b"GLIBC_2.";
    elf.windows(PREFIX.len() + 3).filter(|window| window.starts_with(PREFIX)).filter_map(|window| {
        let digits = window[PREFIX.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.map(|byte| u32::from(byte - b'0')).reduce(|number, digit| number * 10 + digit)
    })
}

#[cfg(test)]
mod tests {
    use super::glibc_minor_versions;

    #[test]
    fn reads_glibc_versions() {
        let elf = b"\0GLIBC_2.17\0GLIBC_2.2.5\0GLIBC_2.39\0GLIBC_PRIVATE\0libc.so.6\0\0";
        assert_eq!(glibc_minor_versions(elf).collect::<Vec<_>>(), [17, 2, 39]);
    }
}
