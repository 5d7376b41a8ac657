//! How a release stands: one line that says it all, its stages, traffic, alarms and failed tasks, what happened and why, and where to look on.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::history::Entry;
use tidegate_core::ids::ReleaseId;
use tidegate_core::release::Release;
use tidegate_core::words::span;
use tidegate_view::{
    AlarmView, ComparisonView, EntryView, FailedTaskView, Live, NextView, ReleaseView, StageState, StageView,
    State, headline, left,
};

use crate::act::{Doing, actions};
use crate::approval::vote_list;
use crate::chart::chart;
use crate::console;
use crate::layout::{Frame, Page};
use crate::strip::{badge, state, strip};
use crate::ways::{Visit, Ways, led};
use crate::words::{self, ago, clock, moment};

/// How often the page loads itself again while the release is open, seconds.
const EVERY: u32 = 5;

/// What the page is made from.
#[derive(Debug)]
pub struct StatusView<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its history, oldest first.
    pub history: &'a [Entry],
    /// How many entries of it cannot be read.
    pub unreadable: usize,
    /// What the version it replaces is called.
    pub stable: Option<String>,
    /// The releases of the service before and after it, with what they bring.
    pub before: Option<(ReleaseId, String)>,
    /// The one after it.
    pub after: Option<(ReleaseId, String)>,
    /// Now.
    pub now: Timestamp,
    /// Where it leads.
    pub ways: &'a dyn Ways,
    /// Whose link it is.
    pub visit: Visit,
    /// What can be done.
    pub doing: Doing,
}

/// The page.
pub fn status(view: &StatusView<'_>) -> Page {
    let release = ReleaseView::new(view.release, view.history, &Live::default());
    let label = release.images.label();
    let line = headline(view.release, view.history, view.stable.as_deref(), view.now);
    let every = (!release.over).then_some(EVERY);
    let main = html! {
        div.head { h1 { (label) " to " (release.service) } (badge(release.state)) }
        (standing(&release, &line, view))
        (chart(&release.history, release.ended_at.unwrap_or(view.now)))
        (facts(&release, view))
        (comparisons(&release.comparisons))
        (failed_tasks(&release.failed_tasks))
        (alarms(&release.alarms, view))
        (plan(&release.stages, view.now))
        (approvals(&release))
        (history(&release.history, view.unreadable))
        (neighbours(view))
        (view.visit.freshness(view.now, every))
    };
    let service = view.ways.service(&release.service).map(|address| (release.service.to_string(), address));
    let services = view.ways.services().map(|address| ("Services".to_owned(), address));
    let trail: Vec<_> = services.into_iter().chain(service).collect();
    Frame::new(
        &format!("{label} to {}: {}", release.service, release.summary),
        &format!("release {}", release.release.short()),
    )
    .below(&trail)
    .refreshed(view.visit.refresh(every))
    .foot(view.visit.foot())
    .around(&main)
}

fn tone(state: State) -> &'static str {
    match state {
        State::Queued | State::Preflight | State::Running | State::Settling => "note",
        State::RollingBack | State::RolledBack | State::Failed => "note stop",
        State::Promoted => "note go",
        State::Superseded | State::Cancelled => "note warn",
    }
}

/// The line, why, what a person has to do, and the stages.
fn standing(release: &ReleaseView, line: &str, view: &StatusView<'_>) -> Markup {
    html! {
        section class=(tone(release.state)) aria-labelledby="standing" {
            h2.away #standing { "How it stands" }
            p.headline { (line) }
            @if let Some(because) = &release.because { p { strong { "Why: " } (because) } }
            @if let Some(needs) = &release.needs { p { strong { "What has to be done: " } (needs) } }
            @if let Some(paused) = &release.paused {
                p { strong { "Paused" } " by " (paused.by) " since " (clock(paused.since, view.now)) ", until " (clock(paused.until, view.now)) " at the latest: " (paused.why) }
            }
            @if let Some(asked) = &release.promote_now {
                p { strong { "Promoted without waiting" } " for the ends of its bakes, as " (asked.by) " asked at " (clock(asked.at, view.now)) ": " (asked.why) }
            }
            @if !release.stages.is_empty() { (strip(&release.stages)) }
            @if let Some(left) = left(view.release, &release.stages, view.now).filter(|left| left.is_positive()) {
                p.small { strong { "at least " (span(left)) } " until it is promoted, when nothing holds it." }
            }
            (next(release, view.now))
            (actions(&view.doing))
        }
    }
}

fn next(release: &ReleaseView, now: Timestamp) -> Markup {
    let NextView { what, at, deadline, .. } = &release.next;
    html! {
        @if !release.over {
            p.small {
                "Next: " (what)
                @if let Some(at) = at { "; looked at again in " (span(at.duration_since(now))) " at the latest" }
                "."
                @if let Some(deadline) = deadline { " Limit: it " (deadline.then.words()) " " (clock(deadline.at, now)) " at the latest." }
            }
            @if !release.facts.is_empty() {
                p.small.soft { "Seen at the last look: " @for (index, fact) in release.facts.iter().enumerate() { @if index > 0 { "; " } (fact) } "." }
            }
        }
    }
}

/// What is released, from where to where, and where more is told about it.
fn facts(release: &ReleaseView, view: &StatusView<'_>) -> Markup {
    let provenance = &view.release.provenance;
    html! {
        section aria-labelledby="what" {
            h2 #what { "What is released" }
            dl {
                @for (container, image) in release.images.iter() {
                    dt { "Image" @if release.images.containers().count() > 1 { " of " (container) } }
                    dd { (image.repository) @if let Some(tag) = &image.tag { ":" (tag) } " " code.soft { (image.digest.short()) } }
                }
                dt { "Replaces" } dd { (view.stable.as_deref().unwrap_or("what runs; that is looked at in preflight")) }
                @if let Some(back) = &release.goes_back_to { dt { "Goes back to" } dd { (led(view.ways.release(&release.service, back), &html! { "release " (back.short()) })) } }
                dt { "Asked for by" } dd { (release.requested_by) ", " (moment(release.created_at)) " (" (ago(release.created_at, view.now)) ")" }
                (words::provenance(provenance))
                dt { "Runs in" } dd { (release.target) }
                dt { "Look there" } dd { (console::links(&release.target, &release.alarms)) }
                dt { "Release" } dd { code { (release.release) } }
            }
        }
    }
}

/// The candidate's numbers beside the stable version's: one tile each, which says it at one glance.
fn comparisons(comparisons: &[ComparisonView]) -> Markup {
    html! {
        @if !comparisons.is_empty() {
            section aria-labelledby="compared" {
                h2 #compared { "Beside the stable version" }
                ul.cards.tiles { @for comparison in comparisons { li { (tile(comparison)) } } }
            }
        }
    }
}

fn tile(it: &ComparisonView) -> Markup {
    let (class, word) = match (it.is_bad, it.candidate.requests > 0.0) {
        (true, _) => ("word stop", "worse"),
        (false, true) => ("word go", "not worse"),
        (false, false) => ("word", "nothing yet"),
    };
    html! {
        div.card {
            div.head { h3 { (it.of) } span class=(class) { (word) } }
            p.swap { strong { (it.candidate.rate) } " against " (it.stable.rate) }
            p {
                @match &it.ratio_words { Some(ratio) => { (ratio) ". " } None => { "No bad request of either yet. " } }
                (it.tolerated) " times is tolerated" @if it.dry_run { "; a dry run, which never acts" } "."
            }
            p.small.soft {
                (whole(it.candidate.bad)) " of " (whole(it.candidate.requests)) " requests of the new version, "
                (whole(it.stable.bad)) " of " (whole(it.stable.requests)) " of the stable one."
            }
            label.small {
                "Evidence of being worse, of what is enough to roll back: " (percent(it.sure))
                meter min="0" max="1" low="0.5" high="0.99" optimum="0" value=(format!("{:.2}", it.sure)) { (percent(it.sure)) }
            }
        }
    }
}

fn whole(count: f64) -> String {
    format!("{count:.0}")
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// The candidate's tasks that failed, newest first.
fn failed_tasks(failed: &[FailedTaskView]) -> Markup {
    html! {
        @if !failed.is_empty() {
            section aria-labelledby="tasks" {
                h2 #tasks { "Failed tasks of the new version" }
                div.scroll tabindex="0" role="region" aria-label="Failed tasks" {
                    table.stacked {
                        caption.away { "The tasks that failed, newest first" }
                        thead { tr { th scope="col" { "Container" } th scope="col" { "Exit code" } th scope="col" { "Reason" } th scope="col" { "When" } th scope="col" { "Output" } } }
                        tbody { @for task in failed.iter().rev() { (failed_task(task)) } }
                    }
                }
            }
        }
    }
}

fn failed_task(task: &FailedTaskView) -> Markup {
    html! {
        tr {
            th scope="row" { (task.container.as_deref().unwrap_or("the task")) }
            td data-label="Exit code" { @match task.exit_code { Some(code) => { (code) } None => { "none" } } }
            td data-label="Reason" { (task.reason.as_deref().unwrap_or(&task.text)) @if let Some(code) = &task.stop_code { " " code.soft { (code) } } }
            td data-label="When" { @match task.at { Some(at) => { (moment(at)) } None => { "not told" } } }
            td data-label="Output" { @match &task.log_url { Some(log) => { a href=(log) rel="noreferrer" { "log" } } None => { "not in CloudWatch Logs" } } }
        }
    }
}

fn alarms(alarms: &[AlarmView], view: &StatusView<'_>) -> Markup {
    html! {
        @if !alarms.is_empty() {
            section aria-labelledby="alarms" {
                h2 #alarms { "Alarms it is judged by" }
                div.scroll tabindex="0" role="region" aria-label="Alarms" {
                    table.stacked {
                        caption.away { "The alarms, as the release saw them last" }
                        thead { tr { th scope="col" { "Alarm" } th scope="col" { "State" } } }
                        tbody {
                            @for alarm in alarms {
                                tr {
                                    th scope="row" { a href=(console::alarm(&view.release.target, &alarm.name)) rel="noreferrer" { (alarm.name) } }
                                    td data-label="State" { (alarm_state(alarm, view.release)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// As it was told last; the breach of the release itself says the most.
fn alarm_state(alarm: &AlarmView, release: &Release) -> Markup {
    let breach = release.cause().filter(|cause| {
        matches!(cause, tidegate_core::outcome::Cause::Alarm { alarm: off, .. } if off.as_str() == alarm.name)
    });
    html! {
        @match (&alarm.state, breach) {
            (_, Some(_)) => { span.word.stop { "went off" } ": the release was rolled back for it" }
            (Some(state), None) => { span.word { (state) } " at the last look" }
            (None, None) => { @if release.is_over() { "did not go off" } @else { "watched; no look has told of it" } }
        }
    }
}

fn plan(stages: &[StageView], now: Timestamp) -> Markup {
    html! {
        section aria-labelledby="plan" {
            h2 #plan { "The plan" }
            @if stages.is_empty() { p.soft { "It is made when the release's turn comes." } } @else { (stage_table(stages, now)) }
        }
    }
}

/// The stages with the state of each, when it was over, and the earliest time it begins, counted from the first.
pub(crate) fn stage_table(stages: &[StageView], now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Stages of the plan" {
            table {
                caption.away { "The stages of the plan" }
                thead { tr { th scope="col" { abbr title="number" { "#" } } th scope="col" { "What" } th scope="col" { "Earliest" } th scope="col" { "State" } } }
                tbody {
                    @for stage in stages {
                        @let here = matches!(stage.state, StageState::Now | StageState::BrokenOff);
                        tr.here[here] aria-current=[here.then_some("step")] {
                            td { @if let Some(number) = stage.number { (number) } }
                            td { (stage.text) }
                            td.nowrap { "+" (words::secs(stage.earliest_secs)) }
                            td {
                                (state(stage.state))
                                @if let Some(at) = stage.done_at.or(stage.since) { " " span.small.soft { (clock(at, now)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn approvals(release: &ReleaseView) -> Markup {
    html! {
        @for asked in &release.approvals {
            section aria-labelledby={"approval-" (asked.stage)} {
                h2 id={"approval-" (asked.stage)} { "Approval before " (asked.before) }
                p { (asked.count) " of " (asked.approvers.join(", ")) ". Asked " (moment(asked.opened_at)) ", until " (moment(asked.expires_at)) "." }
                (vote_list(&asked.votes))
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
                        strong { (entry.what) } " " span.soft.small { (moment(entry.at)) ", " (entry.by) }
                        div.small { (entry.why) }
                        @if !entry.saw.is_empty() { ul.small.soft { @for fact in &entry.saw { li { (fact) } } } }
                    }
                }
            }
        }
    }
}

/// The releases of the service before and after this one.
fn neighbours(view: &StatusView<'_>) -> Markup {
    let service = &view.release.service;
    let led_to = |neighbour: &Option<(ReleaseId, String)>| {
        let (id, label) = neighbour.as_ref()?;
        Some((view.ways.release(service, id)?, label.clone()))
    };
    let (before, after) = (led_to(&view.before), led_to(&view.after));
    html! {
        @if before.is_some() || after.is_some() {
            nav.neighbours aria-label="Releases before and after" {
                @if let Some((address, label)) = before { a href=(address) rel="prev" { "Before: " (label) } }
                @if let Some((address, label)) = after { a href=(address) rel="next" { "After: " (label) } }
            }
        }
    }
}
