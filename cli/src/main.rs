//! tidegate: the command line. Everything is in the library beside it; here it only starts and ends.

use std::process::ExitCode;

use clap::Parser as _;
use tidegate_cli::args::Cli;
use tidegate_cli::exit::Exit;
use tidegate_cli::output::Output;
use tidegate_cli::{commands, fault};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Output::of_process(cli.global.json);
    let json = cli.global.json;
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(commands::run(cli, &mut out)));
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) if fault::is_closed_pipe(&error) => Exit::ClosedPipe.into(),
        Err(error) => {
            fault::report(&error, json);
            fault::exit(&error).into()
        }
    }
}
