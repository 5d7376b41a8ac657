//! Text that other people wrote: how long it may be, and how it is shown so that it cannot pretend to be something else.

use std::borrow::Cow;

/// The longest reason or comment, characters. All of them are kept in the history of a release, whose entries have to stay small.
pub const REASON_MAX: usize = 1000;

/// A reason or comment as it was given; the error fits "cannot …: {error}".
pub fn reason(text: &str) -> Result<&str, TooLong> {
    let length = text.chars().count();
    if length > REASON_MAX { Err(TooLong { length }) } else { Ok(text) }
}

/// A reason or comment that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {length} characters, and {REASON_MAX} are allowed")]
pub struct TooLong {
    /// How many characters it has.
    pub length: usize,
}

/// Text that others wrote, by its beginning where it has more characters than `longest`.
pub fn beginning(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        text.to_owned()
    } else {
        text.chars().take(longest).chain(['…']).collect()
    }
}

/// Text of several lines, with every character that cannot be seen, or that changes how its neighbours are read, spelled out: `‹U+202E›`.
pub fn visible(text: &str) -> Cow<'_, str> {
    spelled(text, |c| matches!(c, '\n' | '\r' | '\t').then_some(c))
}

/// The same on one line: line ends and tabs become spaces.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    spelled(text, |c| matches!(c, '\n' | '\r' | '\t').then_some(' '))
}

/// JSON with the same characters as `\u` escapes: the same data, and nothing a terminal would act on.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|c| is_hidden(c) && c != '\n') {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hidden(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn spelled(text: &str, space: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match space(c) {
            Some(space) => safe.push(space),
            None if is_hidden(c) => safe.push_str(&format!("‹U+{:04X}›", u32::from(c))),
            None => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters, what sets the direction of writing (Unicode Standard Annex 9), line separators, and what has no width. Joiners
/// are not among them: scripts and emoji need them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        for (text, lines, line) in [
            ("plain", "plain", "plain"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab", "two lines and a tab"),
            ("\u{1b}[31mred", "‹U+001B›[31mred", "‹U+001B›[31mred"),
            ("gnp.\u{202e}exe", "gnp.‹U+202E›exe", "gnp.‹U+202E›exe"),
            (
                "a\u{200b}b\u{2066}c\u{9b}d\u{0}",
                "a‹U+200B›b‹U+2066›c‹U+009B›d‹U+0000›",
                "a‹U+200B›b‹U+2066›c‹U+009B›d‹U+0000›",
            ),
            ("\u{e0041}", "‹U+E0041›", "‹U+E0041›"),
            ("नमस्ते 👩\u{200d}🚀 \u{fffd} ü", "नमस्ते 👩\u{200d}🚀 \u{fffd} ü", "नमस्ते 👩\u{200d}🚀 \u{fffd} ü"),
        ] {
            assert_eq!((&*visible(text), &*visible_line(text)), (lines, line));
        }
    }

    #[test]
    fn json_keeps_its_data() {
        let json = "{\n \"a\": \"x\u{202e}y\u{9b}z\u{e0041}\"\n}";
        let safe = visible_json(json);
        assert!(!safe.chars().any(|c| is_hidden(c) && c != '\n'), "{safe}");
        let (before, after): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(&safe).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn a_reason_has_a_limit() {
        assert!(reason(&"ä".repeat(REASON_MAX)).is_ok());
        let error = reason(&"ä".repeat(REASON_MAX + 1)).unwrap_err().to_string();
        assert_eq!(error, "it has 1001 characters, and 1000 are allowed");
    }
}
