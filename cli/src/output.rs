//! Where the answer goes: the standard output, as lines or as JSON. Every write can fail, because the reader may go away.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::exit::Exit;
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
        }
    }

    /// Anything else that can be written to; no terminal, no colour. Notes are dropped.
    pub fn to(out: Box<dyn Write + Send>, json: bool) -> Self {
        Self { json, terminal: false, colour: false, out, notes: Box::new(io::sink()) }
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

    /// Prints a table: on a terminal each row is one line, however long its last column.
    pub fn table(&mut self, rows: Vec<Line>) -> io::Result<()> {
        if !self.is_live() {
            return self.lines(&rows);
        }
        let (columns, _) = self.size();
        let rows: Vec<Line> = rows.into_iter().map(|row| row.cut(columns)).collect();
        self.lines(&rows)
    }

    /// Prints one object, for people who pipe it on: indented.
    pub fn object(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        Ok(self.raw(&format!("{text}\n"))?)
    }

    /// Prints one object on one line.
    pub fn object_line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        Ok(self.raw(&format!("{text}\n"))?)
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

    /// Says something beside the answer.
    pub fn note(&mut self, text: &str) {
        // The answer is what counts; a note nobody can read is no failure.
        let _ = writeln!(self.notes, "tidegate: {text}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_frame_is_written_over_the_one_before() {
        let buffer = Buffer::default();
        let mut out = Output::to(Box::new(buffer.clone()), false);
        out.redraw(0, &[Line::plain("one"), Line::plain("two")]).unwrap();
        out.redraw(2, &[Line::plain("three")]).unwrap();
        let written = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written, "one\u{1b}[K\ntwo\u{1b}[K\n\u{1b}[J\u{1b}[2A\rthree\u{1b}[K\n\u{1b}[J");
    }
}
