//! What a person can do about a release or a service: the ways to it, and the page that asks once more before it is done.

use maud::{Markup, html};

use crate::layout::{Frame, Page};

/// A way to a page that asks whether to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What is done: `Roll back`.
    pub label: &'static str,
    /// The page that asks.
    pub address: String,
    /// It turns something back or ends it.
    pub stops: bool,
}

/// What the reader of a page can do about what it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doing {
    /// The ways to it.
    pub actions: Vec<Action>,
    /// The command that gives a link that acts, for whoever has one that only reads.
    pub how: Option<String>,
}

/// The ways, as they stand on a release's or a service's page. Whoever has a link that only reads is told how to get one that acts.
pub(crate) fn actions(doing: &Doing) -> Markup {
    let Doing { actions, how } = doing;
    html! {
        @if !actions.is_empty() {
            nav.actions aria-label="What you can do" {
                @for action in actions { a.act.stop[action.stops] href=(action.address) { (action.label) "…" } }
            }
        } @else if let Some(command) = how {
            p.small.soft { "This link only reads. To act here: " code { (command) } }
        }
    }
}

/// What the page that asks is made from.
#[derive(Debug)]
pub struct ActView {
    /// The question.
    pub title: String,
    /// What happens when it is done, a paragraph each.
    pub lines: Vec<String>,
    /// What stands on the button.
    pub button: &'static str,
    /// It turns something back or ends it.
    pub stops: bool,
    /// The service, to be typed.
    pub service: String,
    /// In whose name.
    pub by: String,
    /// The page to go back to.
    pub back: String,
    /// The form.
    pub form: ActForm,
}

/// What the form carries, and what was wrong with it when it was sent before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActForm {
    /// Where it is sent.
    pub action: String,
    /// The link it was opened with.
    pub key: String,
    /// Proves that the form comes from this page.
    pub csrf: String,
    /// What was shown.
    pub shown: String,
    /// The reason that was typed before.
    pub reason: String,
    /// The longest reason, characters.
    pub reason_max: usize,
    /// What was wrong with the name that was typed.
    pub name_problem: Option<String>,
    /// What was wrong with the reason.
    pub reason_problem: Option<String>,
}

impl ActForm {
    /// Whether something was wrong with it.
    pub fn has_problem(&self) -> bool {
        self.name_problem.is_some() || self.reason_problem.is_some()
    }
}

/// The page. It never loads itself again: nothing that was typed is lost.
pub fn act(view: &ActView) -> Page {
    let form = &view.form;
    let main = html! {
        h1 { (view.title) }
        @if form.has_problem() {
            section.note.stop role="alert" { p.problem { "Nothing was done: the form needs another look." } }
        }
        section.ask aria-labelledby="act" {
            h2.away #act { "What happens" }
            @for line in &view.lines { p { (line) } }
            form method="post" action=(form.action) autocomplete="off" {
                input type="hidden" name="key" value=(form.key);
                input type="hidden" name="csrf" value=(form.csrf);
                input type="hidden" name="shown" value=(form.shown);
                label for="service" { "Type the name of the service" }
                p.hint #service-hint { "So that nothing is done by accident: " strong { (view.service) } }
                @if let Some(problem) = &form.name_problem { p.problem #service-problem { (problem) } }
                input #service type="text" name="service" required autocapitalize="none" autocorrect="off" spellcheck="false" maxlength="128"
                    aria-invalid=[form.name_problem.as_ref().map(|_| "true")]
                    aria-describedby={"service-hint" @if form.name_problem.is_some() { " service-problem" }};
                label for="reason" { "Why (optional)" }
                p.hint #reason-hint { "Kept in the history. At most " (form.reason_max) " characters." }
                @if let Some(problem) = &form.reason_problem { p.problem #reason-problem { (problem) } }
                textarea #reason name="reason" maxlength=(form.reason_max)
                    aria-invalid=[form.reason_problem.as_ref().map(|_| "true")]
                    aria-describedby={"reason-hint" @if form.reason_problem.is_some() { " reason-problem" }} { (form.reason) }
                div.buttons { button.stop[view.stops].go[!view.stops] type="submit" { (view.button) } }
            }
            p.small { "In the name of " (view.by) ". " a href=(view.back) { "Go back, and do nothing" } }
        }
    };
    let title = if form.has_problem() { format!("Not done: {}", view.title) } else { view.title.clone() };
    Frame::new(&title, &view.service).around(&main)
}
