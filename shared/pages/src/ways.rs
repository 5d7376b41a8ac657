//! Where a page leads to, as far as its reader's link opens that, and whether it loads itself again.

use std::fmt::Debug;

use jiff::Timestamp;
use maud::{Markup, html};
use tidegate_core::ids::{ReleaseId, ServiceName};

use crate::words::moment;

/// The addresses of other pages, with the reader's own link; `None` where it does not open them.
pub trait Ways: Debug {
    /// The page of all services.
    fn services(&self) -> Option<String>;
    /// The page of a service.
    fn service(&self, service: &ServiceName) -> Option<String>;
    /// The page of a release of this service.
    fn release(&self, service: &ServiceName, release: &ReleaseId) -> Option<String>;
}

/// Whose link a page was opened with, and how it is kept fresh.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Whom the link was made for.
    pub by: String,
    /// Until when it is good.
    pub until: Timestamp,
    /// Whether its holder may act.
    pub acts: bool,
    /// This page, and whether it stands still there: how the reader stops it, or lets it go on.
    pub other_way: String,
    /// The reader has stopped the page.
    pub still: bool,
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
            p {
                "Opened with a link of " (self.by) ", good until " (moment(self.until)) "; "
                @if self.acts { "its holder can act in this name: do not pass it on." } @else { "it only reads." }
            }
        }
    }
}

/// A name that leads to its page where the reader's link opens it.
pub(crate) fn led(address: Option<String>, name: &Markup) -> Markup {
    html! { @if let Some(address) = address { a href=(address) { (name) } } @else { (name) } }
}
