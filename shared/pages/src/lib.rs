//! PURE: what people see in a browser. HTML from templates that are checked at compile time and escape everything they are given.
//!
//! Every page stands alone: no script, no image, no font, nothing fetched. Its style sheet is inside it and is allowed by its hash, so that
//! nothing smuggled into a page could be applied or run. It reads well on a phone, in the dark, with a keyboard, and read aloud.

mod act;
mod approval;
mod chart;
mod console;
mod layout;
mod message;
mod service;
mod services;
mod status;
mod strip;
mod ways;
mod words;

pub use act::{ActForm, ActView, Action, Doing, act};
pub use approval::{ApprovalView, Form, approval};
pub use layout::{Page, headers};
pub use message::{Message, Tone, message};
pub use service::{ServicePageView, service};
pub use services::{ServicesView, services};
pub use status::{StatusView, status};
pub use ways::{Nowhere, Visit, Ways, Whose};
