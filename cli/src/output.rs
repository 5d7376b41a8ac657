//! Where the answer goes: the standard output, as lines or as JSON. Every write can fail, because the reader may go away.

use std::io::{self, BufRead, IsTerminal as _, Write};

use anyhow::bail;
use serde::Serialize;
use tidegate_core::text::{visible, visible_json};

use crate::exit::Exit;
use crate::fault::Refusal;
use crate::line::Line;

/// The size of the terminal when it cannot be found out.
const DEFAULT_SIZE: (usize, usize) = (100, 40);

/// The output of a command.
pub struct Output {
    json: bool,
    terminal: bool,
    colour: bool,
    out: Box<dyn Write + Send>,
    notes: Box<dyn Write + Send>,
    /// Where questions are answered; `None` when nobody is there to.
    answers: Option<Box<dyn BufRead + Send>>,
}

impl Output {
    /// The process's own standard output; notes go to standard error. Colour only on a terminal, and never with `NO_COLOR`.
    pub fn of_process(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            terminal: terminal && !dumb,
            colour: terminal && !dumb && !set("NO_COLOR"),
            out: Box::new(io::stdout()),
            notes: Box::new(io::stderr()),
            answers: (!json && terminal && io::stdin().is_terminal() && io::stderr().is_terminal())
                .then(|| Box::new(io::BufReader::new(io::stdin())) as _),
        }
    }

    /// Anything else that can be written to; no terminal, no colour. Notes are dropped.
    pub fn to(out: Box<dyn Write + Send>, json: bool) -> Self {
        Self { json, terminal: false, colour: false, out, notes: Box::new(io::sink()), answers: None }
    }

    /// With somebody who answers questions.
    #[must_use]
    pub fn answered_by(self, answers: Box<dyn BufRead + Send>) -> Self {
        Self { answers: Some(answers), ..self }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at a terminal on which lines can be written over.
    pub fn is_live(&self) -> bool {
        self.terminal && !self.json
    }

    /// The terminal's columns and rows.
    pub fn size(&self) -> (usize, usize) {
        terminal_size::terminal_size()
            .map_or(DEFAULT_SIZE, |(width, height)| (width.0.into(), height.0.into()))
    }

    /// Prints lines.
    pub fn lines(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.print(self.colour));
            text.push('\n');
        }
        self.raw(&text)
    }

    /// Prints lines over the last `drawn` ones, in one write and without clearing first, so that nothing flickers.
    pub fn redraw(&mut self, drawn: usize, lines: &[Line]) -> io::Result<()> {
        let mut text = if drawn > 0 { format!("\u{1b}[{drawn}A\r") } else { String::new() };
        for line in lines {
            text.push_str(&line.print(self.colour));
            // The rest of what stood there before.
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        self.raw(&text)
    }

    /// How wide tables may be: as the terminal; as wide as they get where there is none.
    pub fn width(&self) -> Option<usize> {
        self.is_live().then(|| self.size().0)
    }

    /// Prints one object, for people who pipe it on: indented.
    pub fn object(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        Ok(self.raw(&format!("{}\n", visible_json(&text)))?)
    }

    /// Prints one object on one line.
    pub fn object_line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        Ok(self.raw(&format!("{}\n", visible_json(&text)))?)
    }

    /// Prints text as it is.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Names what the answer lacks because it cannot be read, and says how the command ends.
    pub fn damaged(&mut self, damaged: &[String]) -> Exit {
        for row in damaged {
            self.note(row);
        }
        if damaged.is_empty() { Exit::Ok } else { Exit::Error }
    }

    /// A person at a terminal is asked before something is done; a script has said `--yes`. Where there is nobody to ask, the command says what
    /// it would do, and what to add instead.
    pub fn agreed(&mut self, yes: bool, question: &str, unasked: Refusal) -> anyhow::Result<()> {
        if yes {
            return Ok(());
        }
        match self.confirmed(question)? {
            Some(true) => Ok(()),
            Some(false) => bail!(Refusal::new("nothing was done")),
            None => bail!(unasked.exit(Exit::Usage)),
        }
    }

    /// Asks a yes-or-no question; no answer is no. `None` when there is nobody to ask.
    fn confirmed(&mut self, question: &str) -> io::Result<Option<bool>> {
        let Some(answers) = &mut self.answers else { return Ok(None) };
        write!(self.notes, "{question} [y/N] ")?;
        self.notes.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
    }

    /// Says something beside the answer.
    pub fn note(&mut self, text: &str) {
        // The answer is what counts; a note nobody can read is no failure.
        let _ = writeln!(self.notes, "tidegate: {}", visible(text));
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::buffer::Buffer;

    use super::*;

    #[test]
    fn a_frame_is_written_over_the_one_before() {
        let buffer = Buffer::default();
        let mut out = Output::to(Box::new(buffer.clone()), false);
        out.redraw(0, &[Line::plain("one"), Line::plain("two")]).unwrap();
        out.redraw(2, &[Line::plain("three")]).unwrap();
        let written = buffer.text();
        assert_eq!(written, "one\u{1b}[K\ntwo\u{1b}[K\n\u{1b}[J\u{1b}[2A\rthree\u{1b}[K\n\u{1b}[J");
    }
}
