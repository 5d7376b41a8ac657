//! How a release stands, for whoever was given its signed link: stages, traffic, history, why.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::history::Entry;
use tidegate_core::release::{Outcome, Phase, Release};

use crate::approval::{given_list, plan_table};
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
    let release = view.release;
    let title = format!("{}: {}", release.service, release.summary());
    let until = match &release.phase {
        Phase::Ended { at, .. } => *at,
        Phase::Queued
        | Phase::Preparing { .. }
        | Phase::Running { .. }
        | Phase::RollingBack { .. }
        | Phase::Settling { .. } => view.now,
    };
    let main = html! {
        h1 { (release.service) }
        (standing(release, view.now))
        section aria-labelledby="traffic" {
            h2 #traffic { "Traffic of the new version" }
            (chart(view.history, until))
        }
        (failed_tasks(release))
        (plan(release))
        @for (stage, opened) in &release.gates {
            section aria-labelledby={"approval-" (stage)} {
                h2 id={"approval-" (stage)} { "Approval" }
                p { "Asked " (words::moment(opened.at)) ", until " (words::moment(opened.expires_at)) "." }
                (given_list(&opened.given))
            }
        }
        (history(view.history, view.unreadable))
    };
    frame(&title, &format!("release {}", release.id), &main)
}

fn standing(release: &Release, now: Timestamp) -> Markup {
    let (tone, word) = match &release.phase {
        Phase::Queued => ("note", "queued"),
        Phase::Preparing { .. } => ("note", "preparing"),
        Phase::Running { .. } => ("note", "under way"),
        Phase::RollingBack { .. } => ("note stop", "rolling back"),
        Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => (tone_of(outcome), outcome.word()),
    };
    html! {
        section class=(tone) aria-labelledby="standing" {
            h2 #standing { "It is " (word) }
            dl {
                dt { "Image" } dd { (release.image) }
                dt { "Runs in" } dd { (release.target) }
                dt { "Asked for by" } dd { (tidegate_core::words::requester(release)) ", " (words::moment(release.created_at)) }
                dt { "Stands at" } dd { (release.summary()) }
                @if let Some(cause) = release.cause() { dt { "Why" } dd { (cause) } }
                @match &release.phase {
                    Phase::Settling { outcome, .. } | Phase::Ended { outcome, .. } => (ended_by(outcome)),
                    Phase::Queued | Phase::Preparing { .. } | Phase::Running { .. } | Phase::RollingBack { .. } => {}
                }
                @if let Some(needs) = &release.progress.restore_pending { dt { "Needed" } dd { (needs) } }
                dt { "Next" } dd { (release.report.waiting_on) }
                @if let Some(wake) = &release.wake {
                    dt { "Looked at again" } dd { "in " (tidegate_core::words::span(wake.at.duration_since(now))) }
                    @if let Some(deadline) = &release.report.deadline {
                        dt { "Limit" } dd { "it " (deadline.then.words()) " " (words::moment(deadline.at)) " at the latest" }
                    }
                }
            }
            @if !release.report.facts.is_empty() {
                h3.soft.small { "Seen at the last look" }
                ul { @for fact in &release.report.facts { li { (fact) } } }
            }
        }
    }
}

/// The candidate's tasks that failed, newest first.
fn failed_tasks(release: &Release) -> Markup {
    let failed = &release.progress.failed_tasks;
    html! {
        @if !failed.is_empty() {
            section aria-labelledby="tasks" {
                h2 #tasks { "Failed tasks of the new version" }
                ul {
                    @for task in failed.iter().rev() {
                        li {
                            (task)
                            @if let Some(at) = task.at { " " span.soft.small { (words::moment(at)) } }
                            @if let Some(log) = &task.log { " " a href=(log.url()) rel="noreferrer" { "log" } }
                        }
                    }
                }
            }
        }
    }
}

/// Who or what ended it, where its cause does not say so.
fn ended_by(outcome: &Outcome) -> Markup {
    html! {
        @match outcome {
            Outcome::Cancelled { by, why } => { dt { "Why" } dd { (by) ": " (why) } }
            Outcome::Superseded { by } => { dt { "Why" } dd { (by) " takes its place" } }
            Outcome::Failed { needs, .. } => { dt { "Needed" } dd { (needs) } }
            Outcome::Promoted | Outcome::RolledBack { .. } => {}
        }
    }
}

fn tone_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Promoted => "note go",
        Outcome::RolledBack { .. } | Outcome::Failed { .. } => "note stop",
        Outcome::Superseded { .. } | Outcome::Cancelled { .. } => "note warn",
    }
}

fn plan(release: &Release) -> Markup {
    let at = match &release.phase {
        Phase::Running { stage, .. } => Some(*stage),
        Phase::RollingBack { stage, .. } => *stage,
        Phase::Settling { outcome: Outcome::Promoted, .. }
        | Phase::Ended { outcome: Outcome::Promoted, .. } => {
            release.plan.as_ref().map(|plan| plan.stages.len())
        }
        Phase::Queued | Phase::Preparing { .. } | Phase::Settling { .. } | Phase::Ended { .. } => None,
    };
    html! {
        section aria-labelledby="plan" {
            h2 #plan { "The plan" }
            @match &release.plan {
                Some(plan) => (plan_table(plan, at)),
                None => { p.soft { "It is made when the release's turn comes." } }
            }
        }
    }
}

fn history(history: &[Entry], unreadable: usize) -> Markup {
    html! {
        section aria-labelledby="history" {
            h2 #history { "History" }
            @if unreadable > 0 { p.soft { "Entries of the history that cannot be read: " (unreadable) "." } }
            ol {
                @for entry in history {
                    li {
                        strong { (entry.event) } " " span.soft.small { (words::moment(entry.at)) ", " (entry.actor) }
                        div.small { (entry.event.why()) }
                        @let details = entry.details();
                        @if !details.is_empty() { ul.small.soft { @for detail in &details { li { (detail) } } } }
                    }
                }
            }
        }
    }
}
