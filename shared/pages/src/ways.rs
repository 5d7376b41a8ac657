//! Where a page leads to, as far as its reader's link opens that, and whether it loads itself again.

use std::fmt::Debug;

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::ids::{ReleaseId, ServiceName};

use crate::words::moment;

/// The addresses of other pages, with the reader's own link; `None` where it does not open them.
pub trait Ways: Debug + Sync {
    /// The page of all services.
    fn services(&self) -> Option<String>;
    /// The page of a service.
    fn service(&self, service: &ServiceName) -> Option<String>;
    /// The page of a release of this service.
    fn release(&self, service: &ServiceName, release: &ReleaseId) -> Option<String>;
}

/// A link that opens one page.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Ways for Nowhere {
    fn services(&self) -> Option<String> {
        None
    }

    fn service(&self, _: &ServiceName) -> Option<String> {
        None
    }

    fn release(&self, _: &ServiceName, _: &ReleaseId) -> Option<String> {
        None
    }
}

/// How a page was opened, and how it is kept fresh.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Whose link it was opened with, where the link says.
    pub whose: Option<Whose>,
    /// This page, standing still or not, whichever it is not now: how the reader stops it, or lets it go on.
    pub other_way: String,
    /// The reader has stopped the page.
    pub still: bool,
}

/// Whose link a page was opened with.
#[derive(Debug, Clone)]
pub struct Whose {
    /// Whom it was made for.
    pub by: String,
    /// Until when it is good.
    pub until: Timestamp,
    /// Whether its holder may act.
    pub acts: bool,
}

impl Visit {
    /// Every so many seconds, unless the reader has stopped it.
    pub(crate) fn refresh(&self, every_secs: Option<u32>) -> Option<u32> {
        every_secs.filter(|_| !self.still)
    }

    /// How fresh the page is, and how that is changed.
    pub(crate) fn freshness(&self, now: Timestamp, every_secs: Option<u32>) -> Markup {
        html! {
            p.fresh.small.soft {
                "As of " (moment(now)) "."
                @if let Some(every) = every_secs {
                    @if self.still { " It stands still. " a href=(self.other_way) { "Refresh by itself" } }
                    @else { " Refreshes every " (every) " s. " a href=(self.other_way) { "Stop" } }
                }
            }
        }
    }

    /// Whose link it is.
    pub(crate) fn foot(&self) -> Markup {
        html! {
            @if let Some(whose) = &self.whose {
                p {
                    "Opened with a link of " (whose.by) ", good until " (moment(whose.until)) "; "
                    @if whose.acts { "its holder can act in this name: do not pass it on." } @else { "it only reads." }
                }
            }
        }
    }
}

/// A name that leads to its page where the reader's link opens it.
pub(crate) fn led(address: Option<String>, name: &Markup) -> Markup {
    html! { @if let Some(address) = address { a href=(address) { (name) } } @else { (name) } }
}
