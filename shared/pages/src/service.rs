//! The page of one service: how it stands, its releases, its policy and people, what it can go back to, what it keeps out.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::figures::Figures;
use tidegate_core::history::Entry;
use tidegate_core::policy::{Approval, Before, OnExpiry, Policy};
use tidegate_core::service::{Promoted, ServiceRecord};
use tidegate_core::words::span;
use tidegate_view::{ReleaseRow, ServiceView, State, entries, figure_lines};

use crate::act::{Doing, actions};
use crate::layout::{Frame, Page};
use crate::services::{runs, time_left, unreadable};
use crate::strip::{Mark, alarms_chip, badge, mark, strip};
use crate::ways::{Visit, Ways, led};
use crate::words::{ago, clock, count, moment};

const EVERY_BUSY: u32 = 10;
const EVERY_QUIET: u32 = 60;
/// How many quarantined digests are listed.
const QUARANTINE_SHOWN: usize = 50;

/// What the page is made from.
#[derive(Debug)]
pub struct ServicePageView<'a> {
    /// The service.
    pub service: ServiceView,
    /// Its row.
    pub head: &'a ServiceRecord,
    /// Its newest releases, newest first.
    pub releases: Vec<ReleaseRow>,
    /// What they come to.
    pub figures: Figures,
    /// What happened to the service itself, newest first.
    pub history: &'a [Entry],
    /// What cannot be read, a line each.
    pub unreadable: Vec<String>,
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
pub fn service(view: &ServicePageView<'_>) -> Page {
    let name = view.service.service.as_str();
    let every = Some(if view.service.active.is_some() { EVERY_BUSY } else { EVERY_QUIET });
    let main = html! {
        h1 { (name) }
        (standing(view))
        (unreadable(&view.unreadable))
        (releases(view))
        (figures(view))
        (policy(view))
        (approvers(&view.head.policy))
        (promoted(view))
        (quarantine(view))
        (history(view))
        (view.visit.freshness(view.now, every))
    };
    let trail: Vec<_> =
        view.ways.services().map(|address| ("Services".to_owned(), address)).into_iter().collect();
    Frame::new(name, "service")
        .below(&trail)
        .wide()
        .refreshed(view.visit.refresh(every))
        .foot(view.visit.foot())
        .around(&main)
}

fn standing(view: &ServicePageView<'_>) -> Markup {
    let ServiceView { service, active, waiting, frozen, .. } = &view.service;
    let tone = match active {
        Some(open) if open.row.state == State::RollingBack => "note stop",
        Some(_) => "note",
        None if view.service.last.as_ref().is_some_and(|last| last.state == State::Failed) => "note stop",
        None => "note go",
    };
    html! {
        section class=(tone) aria-labelledby="standing" {
            h2.away #standing { "How it stands" }
            (runs(&view.service, view.now))
            @match active {
                Some(open) => {
                    p {
                        (badge(open.row.state)) " "
                        (led(view.ways.release(service, &open.row.release), &html! { strong { (open.row.images.label()) } })) ": " (open.line)
                    }
                    @if !open.stages.is_empty() { (strip(&open.stages)) }
                    (time_left(open, view.now))
                    @if let Some(alarms) = alarms_chip(&open.alarms) { ul.chips { (alarms) } }
                }
                None => { p { (mark(Mark::Check)) " No release is under way." } }
            }
            @if let Some(waiting) = waiting {
                p { "Behind it waits " (led(view.ways.release(service, &waiting.release), &html! { (waiting.images.label()) })) "." }
            }
            @if let Some(frozen) = frozen {
                p { (mark(Mark::Wait)) " Frozen for " (span(frozen.until.duration_since(view.now))) ": " (frozen.window) ". Rollbacks are never held." }
            }
            (actions(&view.doing))
        }
    }
}

fn releases(view: &ServicePageView<'_>) -> Markup {
    html! {
        section aria-labelledby="releases" {
            h2 #releases { "Releases" }
            @if view.releases.is_empty() { p.soft { "There are none yet." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Releases" {
                    table.stacked {
                        caption { "The newest releases, newest first" }
                        thead { tr { th scope="col" { "Image" } th scope="col" { "State" } th scope="col" { "Asked for" } th scope="col" { "Took" } th scope="col" { "By" } } }
                        tbody { @for row in &view.releases { (release_row(row, view)) } }
                    }
                }
            }
        }
    }
}

/// The figures of the releases above.
fn figures(view: &ServicePageView<'_>) -> Markup {
    html! {
        section aria-labelledby="figures" {
            h2 #figures { "Figures" }
            dl {
                @for figure in figure_lines(&view.figures) {
                    dt { (figure.name) }
                    dd { strong { (figure.value) } " " span.small.soft { (figure.about) } }
                }
            }
            p.small.soft { "Since " (moment(view.figures.period.since)) ", of the releases above. More: " code { "tidegate stats " (view.service.service) " --since 90d" } }
        }
    }
}

fn release_row(row: &ReleaseRow, view: &ServicePageView<'_>) -> Markup {
    let took = row.ended_at.unwrap_or(view.now).duration_since(row.created_at);
    html! {
        tr {
            th scope="row" { (led(view.ways.release(&row.service, &row.release), &html! { (row.images.label()) })) }
            td data-label="State" {
                (badge(row.state))
                @if row.ended_at.is_none() { " " span.small { (row.summary) } }
                @if let Some(because) = &row.because { div.small.soft { (tidegate_core::text::beginning(because, 240)) } }
            }
            td data-label="Asked for" { (clock(row.created_at, view.now)) }
            td.nowrap data-label="Took" { (span(took)) }
            td data-label="By" { (row.requested_by) }
        }
    }
}

fn policy(view: &ServicePageView<'_>) -> Markup {
    let policy = &view.head.policy;
    let alarms = &policy.rollback.alarms;
    html! {
        section aria-labelledby="policy" {
            h2 #policy { "Policy" }
            dl {
                dt { "Images" } dd { (policy.from.ecr.repository) @if !policy.from.ecr.tags.is_empty() { ", pushed with a tag like " (list(policy.from.ecr.tags.iter().map(|tag| tag.as_str().to_owned()))) } }
                dt { "Goes to" } dd { (view.service.target) }
                dt { "Traffic" } dd { (view.service.strategy) }
                dt { "Rolled back by" }
                dd {
                    @if alarms.is_empty() { "Amazon ECS's own checks and people: no alarms are named" }
                    @else { (list(alarms.iter().map(ToString::to_string))) }
                }
                dt { "Evidence" } dd { (evidence(policy)) }
                dt { "Scan" } dd { @if policy.scan.is_some() { "asked for" } @else { "not asked for" } }
                dt { "Tried by" }
                dd {
                    @if policy.verify.is_empty() { "no build" }
                    @else { (list(policy.verify.iter().map(|verify| verify.project().to_owned()))) }
                }
                dt { "Freeze" } dd { @match &view.service.frozen { Some(frozen) => { "now: " (frozen.window) } None => { @if policy.freeze.is_some() { "windows are set, none is open" } @else { "no windows" } } } }
            }
            p.small.soft { "Changed with " code { "tidegate apply FILE" } "; a release under way keeps its plan." }
        }
    }
}

fn evidence(policy: &Policy) -> String {
    let asked = &policy.evidence;
    let mut words = Vec::new();
    words.extend(
        (asked.min_requests() > 0).then(|| format!("{} requests in each bake", asked.min_requests())),
    );
    words.extend(asked.compare(true).iter().map(|it| format!("{it} beside the stable version")));
    words.extend(asked.limits.iter().map(|limit| format!("a limit on {}", limit.metric.name)));
    if words.is_empty() { "none is asked for".to_owned() } else { words.join(", ") }
}

fn list(items: impl IntoIterator<Item = String>) -> Markup {
    html! { @for (index, item) in items.into_iter().enumerate() { @if index > 0 { ", " } code { (item) } } }
}

fn approvers(policy: &Policy) -> Markup {
    html! {
        section aria-labelledby="approvers" {
            h2 #approvers { "Who approves" }
            @if policy.approval.is_empty() { p { "Nobody is asked: releases go on by themselves." } }
            @else { ul { @for approval in &policy.approval { li { (asked(approval, policy)) } } } }
        }
    }
}

fn asked(approval: &Approval, policy: &Policy) -> Markup {
    let names = approval.by.iter().flat_map(|name| match policy.groups.get(name) {
        Some(group) => group.clone(),
        None => vec![name.clone()],
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    let before = match approval.before {
        Before::Deploy => "Before anything is changed",
        Before::Shift => "Before it gets production traffic",
        Before::Promote => "Before the stable version is terminated",
    };
    let then = match approval.on_expiry {
        OnExpiry::Reject => "it is rejected",
        OnExpiry::Approve => "it goes on as if it had been approved",
    };
    html! {
        strong { (before) } ": " (approval.count) " of " (names.join(", ")) ", within " (approval.expires) "; otherwise " (then) "."
        @if approval.not_by_requester { " Nobody approves what they asked for themselves." }
    }
}

fn promoted(view: &ServicePageView<'_>) -> Markup {
    let promoted = &view.head.promoted;
    html! {
        section aria-labelledby="promoted" {
            h2 #promoted { "Promoted versions" }
            @if promoted.is_empty() { p.soft { "None yet." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Promoted versions" {
                    table.stacked {
                        caption { "What a rollback can bring back, newest first" }
                        thead { tr { th scope="col" { "Image" } th scope="col" { "Digest" } th scope="col" { "Promoted" } } }
                        tbody { @for (index, one) in promoted.iter().enumerate() { (promoted_row(index, one, view)) } }
                    }
                }
            }
        }
    }
}

fn promoted_row(index: usize, one: &Promoted, view: &ServicePageView<'_>) -> Markup {
    html! {
        tr {
            th scope="row" {
                (led(view.ways.release(&view.service.service, &one.release), &html! { (one.change.label()) }))
                @if index == 0 { " " span.small.soft { "(newest)" } }
            }
            td data-label="Digest" { @for (at, image) in one.change.images().into_iter().enumerate() { @if at > 0 { ", " } code { (image.digest.short()) } } }
            td data-label="Promoted" { (clock(one.at, view.now)) " " span.soft.small { "(" (ago(one.at, view.now)) ")" } }
        }
    }
}

fn quarantine(view: &ServicePageView<'_>) -> Markup {
    let mut kept: Vec<_> = view.head.quarantine.iter().collect();
    kept.sort_by_key(|(_, quarantined)| std::cmp::Reverse(quarantined.at));
    html! {
        section aria-labelledby="quarantine" {
            h2 #quarantine { "Quarantine" }
            @if kept.is_empty() { p.soft { "Empty: no image of it was rolled back." } } @else {
                p.soft.small { "These images are not released again unless a person says so." }
                div.scroll tabindex="0" role="region" aria-label="Quarantined images" {
                    table.stacked {
                        caption { (count(kept.len(), "image", "images")) @if kept.len() > QUARANTINE_SHOWN { ", the newest " (QUARANTINE_SHOWN) " of them" } }
                        thead { tr { th scope="col" { "Digest" } th scope="col" { "Since" } th scope="col" { "Release" } th scope="col" { "Why" } } }
                        tbody {
                            @for (digest, one) in kept.iter().take(QUARANTINE_SHOWN) {
                                tr {
                                    th scope="row" { code { (digest.short()) } }
                                    td data-label="Since" { (clock(one.at, view.now)) }
                                    td data-label="Release" { (led(view.ways.release(&view.service.service, &one.release), &html! { (one.release.short()) })) }
                                    td data-label="Why" { (tidegate_core::text::beginning(&one.why, 240)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn history(view: &ServicePageView<'_>) -> Markup {
    html! {
        section aria-labelledby="history" {
            h2 #history { "What happened to it" }
            @if view.history.is_empty() { p.soft { "Nothing is written down." } }
            ol.plain {
                @for entry in entries(view.history) {
                    li { strong { (entry.what) } " " span.soft.small { (moment(entry.at)) ", " (entry.by) } div.small { (entry.why) } }
                }
            }
        }
    }
}
