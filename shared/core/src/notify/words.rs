//! What people are told: the same sentences as in the history, with what they are about.

use super::Message;
use crate::history::Event;
use crate::text::visible_line;

/// One line: the service, the version and what happened.
pub fn headline(message: &Message) -> String {
    let about = &message.about;
    let event = &message.notice.event;
    // The end of a release is told by what it ended as.
    let event =
        if let Event::Ended { outcome, .. } = event { outcome.word().to_owned() } else { event.to_string() };
    visible_line(&format!("{} {}: {event}", about.service, about.label)).into_owned()
}

/// The subject of a mail: at most 100 characters of ASCII, as SNS takes them.
pub fn subject(message: &Message) -> String {
    let text = headline(message);
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(100).collect()
}

/// What stands below the headline: why, and what a person has to do.
pub fn paragraphs(message: &Message) -> Vec<String> {
    let why = message.notice.event.why();
    let mut told = Vec::new();
    match message.notice.needs() {
        Some(needs) => {
            if !why.contains(needs) {
                told.push(why);
            } else if let Some(before) =
                why.split(". Manual intervention required").next().filter(|it| *it != needs)
            {
                told.push(before.to_owned());
            }
            told.push(format!("Manual intervention required: {needs}"));
        }
        None => told.push(why),
    }
    told.into_iter().map(|text| sentence(&visible_line(&text))).filter(|text| !text.is_empty()).collect()
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
