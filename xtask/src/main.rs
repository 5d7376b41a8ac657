//! Developer commands: `cargo xtask demo`, `sandbox`, `test`, `bench`, `package`, `dist`, `check-template`, `check-layers`.
//!
//! Thin on purpose: it makes the Python environment, builds what is needed in one cargo run, and hands over. What the commands
//! do is in the sandbox; this only saves people from knowing paths.

mod bench;
mod build;
mod dist;
mod elf;
mod layers;
mod package;
mod run;
mod shipped;
mod sim;
mod template;
mod venv;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use build::Scope;
use workspace::Workspace;

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "Developer commands of Tidegate.")]
struct Cli {
    /// Takes the binaries an earlier command built.
    #[arg(long, global = true)]
    no_build: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A promotion and two rollbacks, on this machine, with real HTTP traffic.
    Demo(Forwarded),
    /// The local AWS, to play with by hand.
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// All tests, with the sandbox's parts built and in place.
    Test(Forwarded),
    /// Builds the functions for AWS Lambda into target/lambda/.
    Package {
        /// The instruction set; the template's parameter Architecture must say the same.
        #[arg(long, value_enum, default_value_t = Arch::Arm64)]
        arch: Arch,
    },
    /// Builds everything that is published of a version: zips of the functions, the packaged template, the command line, an SBOM, checksums.
    Dist(dist::Args),
    /// Measures the build that is shipped: each figure a ratio against a named baseline of the same run. `--quick` only shows that it
    /// works. `--evidence` simulates releases instead: how often the comparison of candidate and stable is wrong, how soon it is right.
    Bench(Forwarded),
    /// The simulator's adverse worlds.
    Sim {
        /// Removes rules one at a time, in a copy, and says which worlds notice.
        #[arg(long)]
        mutants: bool,
        /// Only rules with this in their names; may be repeated.
        #[arg(long, requires = "mutants", value_name = "WORDS")]
        only: Vec<String>,
    },
    /// Checks template.yaml, or a packaged one, with cfn-lint and the SAM translator.
    CheckTemplate {
        /// The template.
        file: Option<PathBuf>,
    },
    /// Checks that no crate of shared/ imports upwards, that no modules of tidegate-core import each other in a circle, and that the frame says
    /// nothing of AWS.
    CheckLayers,
}

#[derive(Debug, Subcommand)]
enum Sandbox {
    /// Starts it in the background and waits until it is ready.
    Up(Forwarded),
    /// Pushes an image into it.
    Push(Forwarded),
    /// What runs in it.
    Status(Forwarded),
    /// Prints a link to its dashboard, as a browser on this machine reaches it; takes a service or a release, and --act.
    Open(Forwarded),
    /// Stops it.
    Down(Forwarded),
}

/// Arguments handed on as they are.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Forwarded {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    Arm64,
    #[value(name = "x86_64")]
    X86_64,
}

fn main() -> ExitCode {
    execute(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn execute(cli: Cli) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let scope = if cli.no_build { Scope::Nothing } else { Scope::Sandbox };
    match cli.command {
        Command::Demo(forwarded) => run::demo(&workspace, scope, &forwarded.args),
        Command::Sandbox(Sandbox::Up(forwarded)) => run::up(&workspace, scope, &forwarded.args),
        Command::Sandbox(Sandbox::Push(forwarded)) => run::hand_over(&workspace, "push", &forwarded.args),
        Command::Sandbox(Sandbox::Status(forwarded)) => run::hand_over(&workspace, "status", &forwarded.args),
        Command::Sandbox(Sandbox::Open(forwarded)) => run::hand_over(&workspace, "open", &forwarded.args),
        Command::Sandbox(Sandbox::Down(forwarded)) => run::hand_over(&workspace, "down", &forwarded.args),
        Command::Test(forwarded) => run::test(&workspace, &forwarded.args),
        Command::Package { arch } => package::package(&workspace, arch),
        Command::Dist(args) => dist::dist(&workspace, &args, cli.no_build),
        Command::Bench(forwarded) => bench::bench(&workspace, scope, &forwarded.args),
        Command::Sim { mutants, only } => sim::sim(&workspace, mutants, &only),
        Command::CheckTemplate { file } => template::check(&workspace, file.as_deref()),
        Command::CheckLayers => layers::check(&workspace),
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    /// As a shell splits it: words in quotes stay together.
    fn words(command: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (index, part) in command.split(['"', '\'']).enumerate() {
            match index % 2 {
                0 => words.extend(part.split_whitespace().map(ToOwned::to_owned)),
                // A variable of a script stands for a name.
                _ => words.push(part.replace("$BUCKET", "acme-{region}")),
            }
        }
        words
    }

    /// The commands of ours in a text, each as its words: `cargo xtask dist --arch x86_64`.
    fn commands(text: &str) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for line in text.lines() {
            for rest in line.split("cargo xtask ").skip(1) {
                let ends = ["`", "#", "  ", " &&", ",", ")", ";", "…", ": "];
                let length = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
                found.push(words(&rest[..length]));
            }
        }
        found
    }

    #[test]
    fn every_command_in_a_page_is_one() {
        let root = Workspace::find().unwrap().root;
        let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "examples/github-actions/publish.yml"]
            .map(|page| root.join(page))
            .to_vec();
        for folder in ["docs", "docs/decisions"] {
            let entries = std::fs::read_dir(root.join(folder)).unwrap();
            pages.extend(
                entries
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| path.extension().is_some_and(|e| e == "md")),
            );
        }
        let (mut seen, mut dist) = (0, 0);
        for page in pages {
            for words in commands(&std::fs::read_to_string(&page).unwrap()) {
                let line = words.join(" ");
                let parsed = Cli::try_parse_from(std::iter::once("cargo xtask".to_owned()).chain(words));
                if let Err(error) = parsed {
                    let fine = matches!(
                        error.kind(),
                        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    );
                    assert!(fine, "{}: cargo xtask {line}: {error}", page.display());
                }
                (seen, dist) = (seen + 1, dist + usize::from(line.starts_with("dist --")));
            }
        }
        assert!(seen > 30 && dist > 3, "{seen} commands were found, {dist} of dist");
    }
}
