//! `completions` and `man`: what a shell and `man` know of the command line, made from its own description.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::Cli;
use crate::exit::Exit;
use crate::output::Output;

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The folder the pages are written to, e.g. ~/.local/share/man/man1; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Prints what a shell sources.
pub fn completions(args: &CompletionArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidegate", &mut script);
    out.raw(&String::from_utf8(script).context("the completions are no text")?)?;
    Ok(Exit::Ok)
}

/// Writes one page for the tool and one for each command.
pub fn man(args: &ManArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    let written = pages(dir)?;
    if !out.is_json() {
        out.raw(&format!("wrote {written} pages to {}\n", dir.display()))?;
    }
    Ok(Exit::Ok)
}

fn pages(dir: &Path) -> anyhow::Result<usize> {
    // The help command describes the others; it has no page of its own.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut written = 0;
    let mut left = vec![root];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().cloned());
        let page = clap_mangen::Man::new(command);
        let path = dir.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text).with_context(|| format!("failed to describe {}", path.display()))?;
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        written += 1;
    }
    Ok(written)
}
