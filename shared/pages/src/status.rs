//! How a release stands, for whoever was given its signed link: stages, traffic, history, why.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::history::Entry;
use tidegate_core::release::Release;
use tidegate_core::words::span;
use tidegate_view::{EntryView, FailedTaskView, Live, NextView, ReleaseView, State};

use crate::approval::{stage_table, vote_list};
use crate::chart::chart;
use crate::layout::{Page, frame};
use crate::words;

/// What the page is made from.
#[derive(Debug)]
pub struct StatusView<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its history, oldest first.
    pub history: &'a [Entry],
    /// How many entries of it cannot be read.
    pub unreadable: usize,
    /// Now.
    pub now: Timestamp,
}

/// The page.
pub fn status(view: &StatusView<'_>) -> Page {
    let release = ReleaseView::new(view.release, view.history, &Live::default());
    let title = format!("{}: {}", release.service, release.summary);
    let main = html! {
        h1 { (release.service) }
        (standing(&release, view.now))
        section aria-labelledby="traffic" {
            h2 #traffic { "Traffic of the new version" }
            (chart(&release.history, release.ended_at.unwrap_or(view.now)))
        }
        (failed_tasks(&release.failed_tasks))
        section aria-labelledby="plan" {
            h2 #plan { "The plan" }
            @if release.stages.is_empty() {
                p.soft { "It is made when the release's turn comes." }
            } @else {
                (stage_table(&release.stages))
            }
        }
        @for asked in &release.approvals {
            section aria-labelledby={"approval-" (asked.stage)} {
                h2 id={"approval-" (asked.stage)} { "Approval" }
                p { "Asked " (words::moment(asked.opened_at)) ", until " (words::moment(asked.expires_at)) "." }
                (vote_list(&asked.votes))
            }
        }
        (history(&release.history, view.unreadable))
    };
    frame(&title, &format!("release {}", release.release), &main)
}

fn standing(release: &ReleaseView, now: Timestamp) -> Markup {
    let (tone, word) = match release.state {
        State::Queued => ("note", "queued"),
        State::Preflight => ("note", "in preflight"),
        State::Running => ("note", "under way"),
        State::RollingBack => ("note stop", "rolling back"),
        State::Settling => ("note", "settling"),
        State::Promoted => ("note go", "promoted"),
        State::RolledBack => ("note stop", "rolled back"),
        State::Failed => ("note stop", "failed"),
        State::Superseded => ("note warn", "superseded"),
        State::Cancelled => ("note warn", "cancelled"),
    };
    html! {
        section class=(tone) aria-labelledby="standing" {
            h2 #standing { "It is " (word) }
            dl {
                dt { "Image" } dd { (release.images) }
                dt { "Runs in" } dd { (release.target) }
                dt { "Asked for by" } dd { (release.requested_by) ", " (words::moment(release.created_at)) }
                dt { "Stands at" } dd { (release.summary) }
                @if let Some(because) = &release.because { dt { "Why" } dd { (because) } }
                @if let Some(needs) = &release.needs { dt { "Needed" } dd { (needs) } }
                (next(&release.next, now))
            }
            @if !release.facts.is_empty() {
                h3.soft.small { "Seen at the last look" }
                ul { @for fact in &release.facts { li { (fact) } } }
            }
        }
    }
}

fn next(next: &NextView, now: Timestamp) -> Markup {
    html! {
        dt { "Next" } dd { (next.what) }
        @if let Some(at) = next.at { dt { "Looked at again" } dd { "in " (span(at.duration_since(now))) } }
        @if let Some(deadline) = &next.deadline {
            dt { "Limit" } dd { "it " (deadline.then.words()) " " (words::moment(deadline.at)) " at the latest" }
        }
    }
}

/// The candidate's tasks that failed, newest first.
fn failed_tasks(failed: &[FailedTaskView]) -> Markup {
    html! {
        @if !failed.is_empty() {
            section aria-labelledby="tasks" {
                h2 #tasks { "Failed tasks of the new version" }
                ul {
                    @for task in failed.iter().rev() {
                        li {
                            (task.text)
                            @if let Some(at) = task.at { " " span.soft.small { (words::moment(at)) } }
                            @if let Some(log) = &task.log_url { " " a href=(log) rel="noreferrer" { "log" } }
                        }
                    }
                }
            }
        }
    }
}

fn history(history: &[EntryView], unreadable: usize) -> Markup {
    html! {
        section aria-labelledby="history" {
            h2 #history { "History" }
            @if unreadable > 0 { p.soft { "Entries of the history that cannot be read: " (unreadable) "." } }
            ol {
                @for entry in history {
                    li {
                        strong { (entry.what) } " " span.soft.small { (words::moment(entry.at)) ", " (entry.by) }
                        div.small { (entry.why) }
                        @if !entry.saw.is_empty() { ul.small.soft { @for fact in &entry.saw { li { (fact) } } } }
                    }
                }
            }
        }
    }
}
