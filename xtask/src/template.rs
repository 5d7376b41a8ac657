//! Checks of template.yaml, and of what is published of it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::venv;
use crate::workspace::{Workspace, run};

const SAM_TRANSLATE: &str = include_str!("sam_translate.py");

/// cfn-lint on the templates that the pages about targets show.
fn lint_examples(workspace: &Workspace) -> Result<()> {
    const BEGINS: &str = "```yaml cloudformation\n";
    let pages = workspace.root.join("docs/targets");
    let mut linted = 0;
    for entry in std::fs::read_dir(&pages).with_context(|| format!("failed to read {}", pages.display()))? {
        let page = entry?.path();
        let text =
            std::fs::read_to_string(&page).with_context(|| format!("failed to read {}", page.display()))?;
        for (number, block) in text.split(BEGINS).skip(1).enumerate() {
            let block = block.split("\n```").next().unwrap_or_default();
            let name = page.file_stem().unwrap_or_default().to_string_lossy();
            let file = workspace.root.join("target").join(format!("example-{name}-{number}.yaml"));
            std::fs::write(&file, block).with_context(|| format!("failed to write {}", file.display()))?;
            run(Command::new(workspace.venv().join("bin/cfn-lint")).arg(&file))?;
            linted += 1;
        }
    }
    if linted == 0 {
        bail!("{} shows no template", pages.display());
    }
    Ok(())
}

/// cfn-lint, then the SAM translator, then that the template and functions/ name the same functions.
///
/// `file` is a packaged one; the project's own when there is none.
pub(crate) fn check(workspace: &Workspace, file: Option<&Path>) -> Result<ExitCode> {
    venv::ensure(workspace, &workspace.venv(), "sandbox/requirements.txt")?;
    let template = file.map_or_else(|| workspace.root.join("template.yaml"), Path::to_owned);
    run(Command::new(workspace.venv().join("bin/cfn-lint")).arg(&template))?;
    if file.is_none() {
        lint_examples(workspace)?;
    }

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
