//! A page that says one thing: it has been decided, it is too late, there is no such link.

use maud::html;

use crate::layout::{Page, frame};

/// What kind of thing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went as wished.
    Good,
    /// Something to know.
    Plain,
    /// It did not go as wished.
    Bad,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The page's heading.
    pub title: String,
    /// What happened, and what can be done; a paragraph each.
    pub lines: Vec<String>,
    /// How it is meant.
    pub tone: Tone,
    /// The service, where the reader is known to be entitled to it.
    pub about: Option<String>,
    /// Where the release can be followed, where the reader is known to be entitled to it.
    pub status: Option<String>,
}

impl Message {
    /// A message about nothing in particular.
    pub fn new(tone: Tone, title: impl Into<String>, line: impl Into<String>) -> Self {
        Self { title: title.into(), lines: vec![line.into()], tone, about: None, status: None }
    }
}

/// The page.
pub fn message(message: &Message) -> Page {
    let tone = match message.tone {
        Tone::Good => "note go",
        Tone::Plain => "note warn",
        Tone::Bad => "note stop",
    };
    let main = html! {
        section class=(tone) aria-labelledby="title" {
            h1 #title { (message.title) }
            @for line in &message.lines { p { (line) } }
            @if let Some(status) = &message.status {
                p { a href=(status) { "Follow the release" } }
            }
        }
    };
    frame(&message.title, message.about.as_deref().unwrap_or_default(), &main)
}
