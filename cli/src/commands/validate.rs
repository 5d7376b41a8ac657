//! `validate`: are these files policies? Needs no AWS, so it fits into a pre-commit hook.

use serde::Serialize;
use serde_json::json;
use tidegate_core::people::warnings;

use crate::exit::Exit;
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::policies::{self, PolicyFile};

/// The arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    valid: bool,
    files: Vec<serde_json::Value>,
}

/// Checks every file, and tells of all of them.
pub fn run(args: &Args, out: &mut Output) -> anyhow::Result<Exit> {
    let files = args.files.iter().map(|file| policies::read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let valid = files.iter().all(|file| file.policy.is_ok());
    if out.is_json() {
        out.object(&Answer { valid, files: files.iter().map(object).collect() })?;
    } else {
        out.lines(&files.iter().flat_map(lines).collect::<Vec<_>>())?;
    }
    Ok(if valid { Exit::Ok } else { Exit::Error })
}

fn object(file: &PolicyFile) -> serde_json::Value {
    match &file.policy {
        Ok(policy) => {
            json!({ "file": file.file, "valid": true, "service": policy.service, "error": null, "warnings": warnings(policy) })
        }
        Err(error) => json!({ "file": file.file, "valid": false, "service": null, "error": {
            "line": error.line, "column": error.column, "path": error.path, "problem": error.problem,
        }, "warnings": [] }),
    }
}

fn lines(file: &PolicyFile) -> Vec<Line> {
    match &file.policy {
        Ok(policy) => {
            let valid = Line::of(Tone::Good, "✓ ").add(
                Tone::Plain,
                format!("{}: {}, {}", file.file, policy.service, tidegate_view::strategy(policy)),
            );
            [valid].into_iter().chain(policies::warned(&warnings(policy))).collect()
        }
        Err(error) => vec![Line::of(Tone::Bad, "✗ ").add(Tone::Plain, error.to_string())],
    }
}
