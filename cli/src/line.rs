//! A line for people: pieces of text, each with what it means. Colour is decided when it is printed, width before that, so that no
//! escape sequence is ever counted or cut.

use owo_colors::{OwoColorize as _, Style};
use tidegate_core::text::visible_line;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing particular.
    Plain,
    /// What the eye should find first.
    Strong,
    /// Background.
    Faint,
    /// Done, healthy.
    Good,
    /// Under way.
    Now,
    /// Worth a look.
    Warn,
    /// Broken, rolled back.
    Bad,
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(Tone, String)>);

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// A line of one tone.
    pub fn of(tone: Tone, text: impl Into<String>) -> Self {
        Self::new().add(tone, text)
    }

    /// A line without tone.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::of(Tone::Plain, text)
    }

    /// With one piece more.
    #[must_use]
    pub fn add(mut self, tone: Tone, text: impl Into<String>) -> Self {
        // What AWS or a person wrote may hold line ends, escape sequences or a change of direction; none may reach the terminal.
        self.0.push((tone, visible_line(&text.into()).into_owned()));
        self
    }

    /// With one piece more, filled up with spaces to `width` columns of the terminal.
    #[must_use]
    pub fn column(self, tone: Tone, text: &str, width: usize) -> Self {
        let missing = width.saturating_sub(text.width());
        self.add(tone, format!("{text}{}", " ".repeat(missing)))
    }

    /// The text alone.
    pub fn text(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// How many columns of a terminal it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// Cut to `width` columns of a terminal, with an ellipsis.
    #[must_use]
    pub fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut cut = Self::new();
        for (tone, text) in self.0 {
            let mut kept = String::new();
            for c in text.chars() {
                let wide = c.width().unwrap_or(0);
                if wide > left {
                    left = 0;
                    break;
                }
                left -= wide;
                kept.push(c);
            }
            cut.0.push((tone, kept));
        }
        cut.add(Tone::Faint, "…")
    }

    /// As printed.
    pub fn print(&self, colour: bool) -> String {
        if !colour {
            return self.text();
        }
        self.0.iter().map(|(tone, text)| text.style(style(*tone)).to_string()).collect()
    }
}

fn style(tone: Tone) -> Style {
    let style = Style::new();
    match tone {
        Tone::Plain => style,
        Tone::Strong => style.bold(),
        Tone::Faint => style.dimmed(),
        Tone::Good => style.green(),
        Tone::Now => style.cyan(),
        Tone::Warn => style.yellow(),
        Tone::Bad => style.red().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_as_wide_as_asked_and_says_that_it_was_cut() {
        let line = Line::plain("abc").add(Tone::Bad, "défg").add(Tone::Plain, "hij");
        assert_eq!(line.clone().cut(10).text(), "abcdéfghij");
        assert_eq!(line.clone().cut(6).text(), "abcdé…");
        assert_eq!(line.cut(1).text(), "…");
        // A character of two columns is not cut in half.
        let wide = Line::plain("日本語の札").add(Tone::Bad, "ab");
        assert_eq!(wide.width(), 12);
        assert_eq!(wide.clone().cut(6).text(), "日本…");
        assert!(wide.cut(6).width() <= 6);
    }

    #[test]
    fn what_others_wrote_cannot_reach_the_terminal_as_an_escape_sequence() {
        let line = Line::plain("a\u{1b}[2Jb\nc");
        assert_eq!(line.print(false), "a‹U+001B›[2Jb c");
        assert!(!line.print(true).contains("\u{1b}[2J"));
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let line = Line::of(Tone::Good, "ok");
        assert_eq!(line.print(false), "ok");
        assert_eq!(line.print(true), "\u{1b}[32mok\u{1b}[0m");
    }
}
