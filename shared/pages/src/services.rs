//! The page of services: what runs where, what is under way, how the last release of each ended.

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::words::span;
use tidegate_view::{OpenView, ReleaseRow, ServiceView, State};

use crate::layout::{Frame, Page};
use crate::strip::{Mark, alarms_chip, badge, chip, strip};
use crate::ways::{Visit, Ways, led};
use crate::words::{ago, clock, commit, count};

/// How often the page loads itself again, seconds: while something is under way, and while nothing is.
const EVERY_BUSY: u32 = 10;
const EVERY_QUIET: u32 = 60;

/// What the page is made from.
#[derive(Debug)]
pub struct ServicesView<'a> {
    /// The services of this page, by name.
    pub services: Vec<ServiceView>,
    /// How many there are in all.
    pub total: usize,
    /// What cannot be read, a line each.
    pub unreadable: Vec<String>,
    /// The page of those that follow, and of those before.
    pub further: Option<String>,
    /// The first page, on another one.
    pub first: Option<String>,
    /// Now.
    pub now: Timestamp,
    /// Where it leads.
    pub ways: &'a dyn Ways,
    /// Whose link it is.
    pub visit: Visit,
}

/// The page.
pub fn services(view: &ServicesView<'_>) -> Page {
    let busy = view.services.iter().any(|service| service.active.is_some());
    let every = Some(if busy { EVERY_BUSY } else { EVERY_QUIET });
    let main = html! {
        h1 { "Services" }
        p.lead { (summary(view)) }
        (unreadable(&view.unreadable))
        @if view.services.is_empty() {
            section { p { "No service has a policy yet. Store one: " code { "tidegate apply FILE" } } }
        }
        ul.cards { @for service in &view.services { li { (card(service, view)) } } }
        (pages(view))
        (view.visit.freshness(view.now, every))
    };
    Frame::new("Services", "dashboard")
        .wide()
        .refreshed(view.visit.refresh(every))
        .foot(view.visit.foot())
        .around(&main)
}

/// What cannot be read, named; what can be stands below it all the same.
pub(crate) fn unreadable(lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            section.note.stop aria-labelledby="unreadable" {
                h2 #unreadable { "Not everything could be read" }
                ul { @for line in lines { li { (line) } } }
            }
        }
    }
}

fn summary(view: &ServicesView<'_>) -> String {
    let of = |is: fn(&ServiceView) -> bool| view.services.iter().filter(|service| is(service)).count();
    let failed = of(|service| {
        service.active.is_none() && service.last.as_ref().is_some_and(|last| last.state == State::Failed)
    });
    let waiting = of(|service| service.active.as_ref().is_some_and(|open| open.approval.is_some()));
    let back = of(|service| service.active.as_ref().is_some_and(|open| open.row.state == State::RollingBack));
    let active = of(|service| service.active.is_some());
    let mut parts = vec![count(view.total, "service", "services")];
    let mut add = |number: usize, one: &str, many: &str| {
        if number > 0 {
            parts.push(count(number, one, many));
        }
    };
    add(active, "release under way", "releases under way");
    add(back, "rolling back", "rolling back");
    add(waiting, "waits for approval", "wait for approval");
    add(failed, "needs a person", "need a person");
    parts.join(" · ")
}

fn pages(view: &ServicesView<'_>) -> Markup {
    html! {
        @if view.first.is_some() || view.further.is_some() {
            nav aria-label="More services" {
                @if let Some(first) = &view.first { a href=(first) { "The first services" } " " }
                @if let Some(further) = &view.further { a href=(further) { "The services that follow" } }
            }
        }
    }
}

fn card(service: &ServiceView, view: &ServicesView<'_>) -> Markup {
    let id = format!("service-{}", service.service);
    html! {
        article.card aria-labelledby=(id) {
            div.head {
                h2 id=(id) { (led(view.ways.service(&service.service), &html! { (service.service) })) }
                (standing_badge(service))
            }
            (runs(service, view.now))
            @if let Some(open) = &service.active { (under_way(open, view)) }
            @if let Some(waiting) = &service.waiting {
                p.small { "Behind it waits " (led(view.ways.release(&service.service, &waiting.release), &html! { (waiting.images.label()) })) "." }
            }
            @if let (None, Some(last)) = (&service.active, &service.last) { (ended(last, view)) }
            (chips(service, view.now))
            p.small.soft { (service.target.resource) " · " (service.strategy) }
        }
    }
}

/// In a word: what matters most about a service now.
fn standing_badge(service: &ServiceView) -> Markup {
    html! {
        @match (&service.active, &service.last) {
            (Some(open), _) if open.approval.is_some() => { span.badge.warn { (crate::strip::mark(Mark::Wait)) "waits for approval" } }
            (Some(open), _) => { (badge(open.row.state)) }
            (None, Some(last)) if last.state == State::Failed => { (badge(last.state)) }
            (None, _) => { span.badge { "at rest" } }
        }
    }
}

/// What a service runs, as far as its releases tell.
pub(crate) fn runs(service: &ServiceView, now: Timestamp) -> Markup {
    html! {
        @match &service.runs {
            Some(runs) => {
                p.runs {
                    "Runs " strong { (runs.images.label()) } " "
                    span.soft.small {
                        @for (index, image) in runs.images.images().into_iter().enumerate() { @if index > 0 { ", " } code { (image.digest.short()) } }
                        @if let Some(made_from) = &runs.commit { " · commit " (commit(made_from)) }
                        " · since " (clock(runs.since, now)) " (" (ago(runs.since, now)) ")"
                    }
                }
            }
            None => { p.runs.soft { "Nothing was promoted here yet: it runs what was deployed outside Tidegate." } }
        }
    }
}

fn under_way(open: &OpenView, view: &ServicesView<'_>) -> Markup {
    html! {
        div.open {
            p {
                (led(view.ways.release(&open.row.service, &open.row.release), &html! { strong { (open.row.images.label()) } }))
                ": " (open.line)
            }
            @if !open.stages.is_empty() { (strip(&open.stages)) }
            (time_left(open, view.now))
        }
    }
}

/// How long it takes at least, or how long people still have.
pub(crate) fn time_left(open: &OpenView, now: Timestamp) -> Markup {
    html! {
        @match (&open.approval, open.left) {
            (Some(asked), _) => {
                p.small { strong { (span(asked.expires_at.duration_since(now))) " left" } " to approve, for " (asked.approvers.join(", ")) "." }
            }
            (None, Some(left)) if left.is_positive() => { p.small { strong { "at least " (span(left)) } " until it is promoted." } }
            (None, _) => {}
        }
    }
}

fn ended(last: &ReleaseRow, view: &ServicesView<'_>) -> Markup {
    let tone = match last.state {
        State::RolledBack | State::Failed => "stop",
        State::Promoted => "go",
        State::Superseded | State::Cancelled => "warn",
        State::Queued | State::Preflight | State::Running | State::RollingBack | State::Settling => "",
    };
    html! {
        p.small {
            "Last: " (led(view.ways.release(&last.service, &last.release), &html! { (last.images.label()) }))
            " " span class={"word " (tone)} { (last.summary) }
            @if let Some(at) = last.ended_at { ", " (ago(at, view.now)) }
            @if let Some(because) = &last.because { span.because { (tidegate_core::text::beginning(because, 160)) } }
        }
    }
}

fn chips(service: &ServiceView, now: Timestamp) -> Markup {
    let alarms = service.active.as_ref().and_then(|open| alarms_chip(&open.alarms));
    let frozen = service.frozen.as_ref().map(|frozen| {
        chip("warn", Some(Mark::Wait), &format!("frozen for {}", span(frozen.until.duration_since(now))))
    });
    let quarantined = (service.quarantined > 0).then(|| {
        chip(
            "warn",
            Some(Mark::Dash),
            &format!("{} quarantined", count(service.quarantined, "image", "images")),
        )
    });
    let chips: Vec<Markup> = [alarms, frozen, quarantined].into_iter().flatten().collect();
    html! { @if !chips.is_empty() { ul.chips { @for chip in &chips { (chip) } } } }
}
