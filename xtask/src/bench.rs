//! Builds the functions as they are shipped and the measuring program for release, and measures.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build::{self, SHIPPED, Scope};
use crate::workspace::{Workspace, cargo, run};

/// Shows that every measurement works, with the development build and few repetitions. Its figures say nothing.
const QUICK: &str = "--quick";
/// The figures of the comparison of candidate and stable instead: a program of its own, without AWS, built in seconds.
const EVIDENCE: &str = "--evidence";

/// Measures. `args` go to the measuring program.
pub(crate) fn bench(workspace: &Workspace, scope: Scope, args: &[OsString]) -> Result<ExitCode> {
    if args.iter().any(|arg| arg == EVIDENCE) {
        let rest = args.iter().filter(|arg| *arg != EVIDENCE);
        run(cargo().args(["run", "--quiet", "--release", "-p", "tidegate-bench-evidence", "--"]).args(rest))?;
        return Ok(ExitCode::SUCCESS);
    }
    let functions = workspace.functions()?;
    let quick = args.iter().any(|arg| arg == QUICK);
    let (program, binaries) = if quick {
        build::build(workspace, if scope == Scope::Nothing { scope } else { Scope::Tests })?;
        (workspace.target.join("debug"), workspace.target.join("debug"))
    } else {
        let packages =
            functions.iter().flat_map(|function| ["-p".to_owned(), format!("tidegate-{function}")]);
        run(build::release(workspace).args(["build", "--release", "-p", "tidegate-bench"]))?;
        run(build::release(workspace).args(["build", "--profile", SHIPPED]).args(packages))?;
        run(build::release(workspace).args([
            "build",
            "--profile",
            SHIPPED,
            "-p",
            "tidegate-bench",
            "--bin",
            BASELINE,
        ]))?;
        (workspace.target.join("release"), workspace.target.join(SHIPPED))
    };
    let mut measure = Command::new(program.join("tidegate-bench"));
    run(measure.arg("--binaries").arg(&binaries).arg("--functions").arg(functions.join(",")).args(args))?;
    Ok(ExitCode::SUCCESS)
}

/// A function with the SDK's clients and nothing of ours.
const BASELINE: &str = "tidegate-bench-baseline";
