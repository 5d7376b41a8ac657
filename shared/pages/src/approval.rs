//! The question: what would be released, what that changes, what speaks for it, how long there is, and the form to answer with.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::approval::{ApprovalGate, Opened, question};
use tidegate_core::change::Change;
use tidegate_core::gate::asked_by;
use tidegate_core::history::{Entry, Fact};
use tidegate_core::ids::{ContainerName, Image};
use tidegate_core::intent::Provenance;
use tidegate_core::plan::{Plan, Stage};
use tidegate_core::policy::Percent;
use tidegate_core::release::Release;
use tidegate_view::{Live, VoteView};

use crate::console;
use crate::layout::{Page, frame};
use crate::status::stage_table;
use crate::words;

/// What the page is made from.
#[derive(Debug)]
pub struct ApprovalView<'a> {
    /// The release that waits.
    pub release: &'a Release,
    /// Its plan.
    pub plan: &'a Plan,
    /// Its history, oldest first.
    pub history: &'a [Entry],
    /// How many entries of it cannot be read.
    pub unreadable: usize,
    /// The gate it waits at.
    pub gate: &'a ApprovalGate,
    /// What has been opened and answered there.
    pub opened: &'a Opened,
    /// Whose link it is.
    pub approver: &'a str,
    /// What the version it replaces is called.
    pub stable: Option<String>,
    /// Now.
    pub now: Timestamp,
    /// The form.
    pub form: Form,
    /// Where the release can be followed.
    pub status: String,
}

/// What the form carries, and what was wrong with it when it was sent before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Where it is sent.
    pub action: String,
    /// The link's token.
    pub token: String,
    /// Proves that the form comes from this page.
    pub csrf: String,
    /// The plan that is shown.
    pub plan_hash: String,
    /// The comment that was typed before.
    pub comment: String,
    /// The longest comment, characters.
    pub comment_max: usize,
    /// What was wrong with the name that was typed.
    pub name_problem: Option<String>,
    /// What was wrong with the comment.
    pub comment_problem: Option<String>,
}

impl Form {
    fn has_problem(&self) -> bool {
        self.name_problem.is_some() || self.comment_problem.is_some()
    }
}

/// The page. What decides stands first, so that a phone shows it without scrolling: what changes, for whom, how long there is, the buttons.
pub fn approval(view: &ApprovalView<'_>) -> Page {
    let service = view.release.service.as_str();
    let title = question(service, &view.release.change.label(), &view.gate.approval.before.to_string());
    let main = html! {
        h1 { (title) }
        @if view.form.has_problem() {
            section.note.stop role="alert" { p.problem { "Nothing was decided: the form needs another look." } }
        }
        section.ask aria-labelledby="decide" {
            h2.away #decide { "Your decision" }
            (in_short(view))
            (time_left(view))
            (decision(view, service))
        }
        (image(view.release))
        (changes(view.plan))
        (stages(view))
        (evidence(view))
        (answers(view))
    };
    let title = if view.form.has_problem() { format!("Not decided: {title}") } else { title };
    frame(&title, service, &main)
}

/// What changes, who made it, and whom it reaches.
fn in_short(view: &ApprovalView<'_>) -> Markup {
    let Provenance { commit, author, url, committed_at: _ } = &view.release.provenance;
    let stable = view.stable.as_deref().unwrap_or("what runs now");
    html! {
        p.swap { span.away { "From " } (stable) " " span aria-hidden="true" { "→" } span.away { " to " } " " strong { (view.release.change.label()) } }
        p.small {
            @if let Some(commit) = commit {
                "Commit "
                @match console::commit(&view.release.provenance) { Some(page) => { a href=(page) rel="noreferrer" { (words::commit(commit)) } } None => { (words::commit(commit)) } }
            } @else { "Commit not known" }
            @if let Some(author) = author { " by " strong { (author) } }
            @if let Some(url) = url.as_ref().filter(|url| words::is_web(url)) { " · " a href=(url) rel="noopener noreferrer nofollow" { "build" } }
            " · asked for by " (asked_by(view.release))
        }
        p.small { "Reaches " strong { (exposure(view.plan)) } "." }
    }
}

fn time_left(view: &ApprovalView<'_>) -> Markup {
    let left = tidegate_core::words::span(view.opened.expires_at.duration_since(view.now));
    html! {
        p.time.small {
            strong { (left) " left" } ", " (view.approver) ": until " (words::moment(view.opened.expires_at)) ", then " (words::on_expiry(view.gate)) "."
            @if let Some(because) = &view.gate.because { " Asked for because " (because) "." }
        }
    }
}

fn image(release: &Release) -> Markup {
    let several = release.change.images().len() > 1;
    html! {
        section aria-labelledby="image" {
            h2 #image { "What would be released" }
            dl {
                dt { "Service" } dd { (release.service) }
                dt { "Runs in" } dd { (release.target) }
                @for (container, image) in images(&release.change) {
                    dt { "Image" @if several { " of " (container) } }
                    dd { (image.repository) @if let Some(tag) = &image.tag { ":" (tag) } }
                    dt { "Digest" } dd { code { (image.digest) } }
                }
                dt { "Asked for by" } dd { (asked_by(release)) ", " (words::moment(release.created_at)) }
                (words::provenance(&release.provenance))
                @if let Some(why) = &release.bypass_freeze { dt { "Passes the freeze" } dd { (why) } }
                dt { "Release" } dd { code { (release.id) } }
            }
        }
    }
}

/// Each image once, with the containers it goes into.
fn images(change: &Change) -> Vec<(String, &Image)> {
    let with = |image: &&Image| {
        change.iter().filter(|(_, other)| other == image).map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    change.images().into_iter().map(|image| (with(&image).join(" and "), image)).collect()
}

fn changes(plan: &Plan) -> Markup {
    let before = |container: &ContainerName| {
        plan.rollback_target().image(container).unwrap_or_else(|| "not known".to_owned())
    };
    let several = plan.change.containers().count() > 1;
    let words = plan.setup.words();
    html! {
        section aria-labelledby="changes" {
            h2 #changes { "What changes" }
            @if let Some(changes) = words.changes { p { (changes) } } @else { p {
                @if several { "The images of containers " } @else { "The image of container " }
                @for (index, container) in plan.change.containers().enumerate() {
                    @if index > 0 { " and " }
                    code { (container) }
                }
                ", and " (words.unchanged) "."
            } }
            dl {
                @for (container, image) in plan.change.iter() {
                    dt { "Now" @if several { ", " (container) } } dd { code { (before(container)) } }
                    dt { "Then" @if several { ", " (container) } } dd { code { (image.pinned()) } }
                }
            }
            h3.soft.small { "The rollback target" }
            p { "Version " code { (plan.rollback_target().name) } ", " (words.restored) " are restored." }
        }
    }
}

/// The shares of traffic and how long each is watched, in one sentence.
fn exposure(plan: &Plan) -> String {
    let mut shares: Vec<String> = Vec::new();
    for stage in &plan.stages {
        match stage {
            Stage::Shift { percent } => shares.push(if *percent == Percent::ALL {
                "everybody".to_owned()
            } else {
                format!("{percent}% of users")
            }),
            Stage::RollOut => shares.push("everybody, task by task".to_owned()),
            Stage::Bake { secs, .. } => {
                if let Some(last) = shares.last_mut() {
                    *last = format!("{last} for {}", words::secs(u64::from(*secs)));
                }
            }
            Stage::Prepare { .. }
            | Stage::Start
            | Stage::Approve { .. }
            | Stage::Freeze
            | Stage::Scan
            | Stage::Verify { .. }
            | Stage::Promote => {}
        }
    }
    if shares.is_empty() { "nobody".to_owned() } else { shares.join(", then ") }
}

fn stages(view: &ApprovalView<'_>) -> Markup {
    html! {
        section aria-labelledby="plan" {
            h2 #plan { "The plan" }
            (stage_table(&tidegate_view::stages(view.release, view.history), view.now))
            p.small.soft { "Plan " code { (view.form.plan_hash.get(..12).unwrap_or_default()) } ". An approval counts for this plan and this image only." }
        }
    }
}

fn evidence(view: &ApprovalView<'_>) -> Markup {
    let is_alarm = |fact: &&Fact| matches!(fact, Fact::Alarm { .. });
    let others: Vec<&Fact> = view.release.report.facts.iter().filter(|fact| !is_alarm(fact)).collect();
    let events = view.history.iter().rev().flat_map(Entry::events);
    let scan = events.filter_map(|event| event.result_of(&Stage::Scan)).next();
    html! {
        section aria-labelledby="evidence" {
            h2 #evidence { "What speaks for it" }
            dl {
                dt { "Scan of the image" }
                dd {
                    @match scan {
                        Some(result) => { "passed: " (result) }
                        None if view.unreadable > 0 => { "the history of the release cannot be read in full" }
                        None => { @if view.plan.gates.scan.is_some() { "not yet" } @else { "the policy asks for none" } }
                    }
                }
                dt { "Alarms" }
                dd { (alarms(view)) }
            }
            @if !others.is_empty() {
                h3.soft.small { "Seen at the last look" }
                ul { @for fact in &others { li { (fact) } } }
            }
        }
    }
}

fn alarms(view: &ApprovalView<'_>) -> Markup {
    if view.plan.alarms.is_empty() {
        return html! { "none: only Amazon ECS's own checks and people move it back" };
    }
    html! {
        ul {
            @for alarm in tidegate_view::alarms(view.release, &Live::default()) {
                li { (alarm.name) @if let Some(state) = &alarm.state { ": " span.word { (state) } } }
            }
        }
        p.small.soft { "One that goes off, also while you decide, ends the release and moves traffic back." }
    }
}

fn answers(view: &ApprovalView<'_>) -> Markup {
    let needed = usize::from(view.gate.approval.count);
    html! {
        section aria-labelledby="answers" {
            h2 #answers { "Who has answered" }
            p { (words::count(needed, "approval is", "approvals are")) " needed." }
            @if view.opened.votes.is_empty() { p { "Nobody yet." } }
            (vote_list(&view.opened.votes.iter().map(VoteView::from).collect::<Vec<_>>()))
        }
    }
}

/// Each answer with who, when and what they said.
pub(crate) fn vote_list(votes: &[VoteView]) -> Markup {
    html! {
        @if !votes.is_empty() {
            ul {
                @for vote in votes {
                    li {
                        (vote.approver) " "
                        @if vote.approved { span.word.go { "approved" } } @else { span.word.stop { "rejected" } }
                        ", " (words::moment(vote.at))
                        @if let Some(comment) = &vote.comment { ": “" (comment) "”" }
                    }
                }
            }
        }
    }
}

fn decision(view: &ApprovalView<'_>, service: &str) -> Markup {
    let form = &view.form;
    html! {
        form #decision method="post" action=(form.action) autocomplete="off" {
            input type="hidden" name="token" value=(form.token);
            input type="hidden" name="csrf" value=(form.csrf);
            input type="hidden" name="plan" value=(form.plan_hash);
            label for="service" { "Type the name of the service" }
            p.hint #service-hint { "So that nothing is decided by accident: " strong { (service) } }
            @if let Some(problem) = &form.name_problem { p.problem #service-problem { (problem) } }
            input #service type="text" name="service" required autocapitalize="none" autocorrect="off" spellcheck="false" maxlength="128"
                aria-invalid=[form.name_problem.as_ref().map(|_| "true")] aria-describedby=(described("service", form.name_problem.is_some()));
            details open[form.comment_problem.is_some() || !form.comment.is_empty()] {
                summary { "Add a comment" }
                label for="comment" { "Comment (optional)" }
                p.hint #comment-hint { "Kept in the history of the release. At most " (form.comment_max) " characters." }
                @if let Some(problem) = &form.comment_problem { p.problem #comment-problem { (problem) } }
                textarea #comment name="comment" maxlength=(form.comment_max)
                    aria-invalid=[form.comment_problem.as_ref().map(|_| "true")] aria-describedby=(described("comment", form.comment_problem.is_some())) { (form.comment) }
            }
            div.buttons {
                button.go type="submit" name="decision" value="approve" { "Approve" }
                button.stop type="submit" name="decision" value="reject" { "Reject" }
            }
        }
        p.small { a href=(view.status) { "Follow the release" } }
    }
}

fn described(field: &str, problem: bool) -> String {
    if problem { format!("{field}-problem {field}-hint") } else { format!("{field}-hint") }
}
