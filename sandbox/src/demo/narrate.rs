//! What the demo says, with the seconds since its start.

use std::io::IsTerminal as _;
use std::time::Instant;

use owo_colors::OwoColorize as _;

/// Says things on standard output.
pub(super) struct Narrator {
    started: Instant,
    colour: bool,
}

#[expect(clippy::print_stdout, reason = "the demo is there to be read")]
impl Narrator {
    pub(super) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), colour }
    }

    fn at(&self) -> String {
        format!("{:>5.1}s", self.started.elapsed().as_secs_f64())
    }

    /// A new part begins.
    pub(super) fn chapter(&self, title: &str) {
        if self.colour {
            println!("\n{} {}", self.at().dimmed(), title.bold());
        } else {
            println!("\n{} == {title} ==", self.at());
        }
    }

    /// One line.
    pub(super) fn say(&self, line: &str) {
        println!("{} {line}", self.at());
    }

    /// What someone else said, or a file.
    pub(super) fn quote(&self, text: &str) {
        for line in text.lines() {
            if self.colour {
                println!("       {}", line.cyan());
            } else {
                println!("       {line}");
            }
        }
    }
}
