//! What a tick or a request may look at and act on: the time, and the other services, none of which block. The state
//! machine never reads a clock or waits, so every one of its tests decides what time it is.

use jiff::Timestamp;

use super::calls::FunctionCalls;
use super::ids::Identity;
use super::pulls::ImagePulls;
use super::settings::Settings;
use crate::ports::{Alarms, EventSink, LoadBalancers};
use crate::tasks::TaskLauncher;

pub(super) struct World<'a> {
    pub(super) now: Timestamp,
    pub(super) settings: &'a Settings,
    pub(super) identity: &'a Identity,
    pub(super) balancers: &'a dyn LoadBalancers,
    pub(super) alarms: &'a dyn Alarms,
    pub(super) events: &'a dyn EventSink,
    pub(super) launcher: &'a dyn TaskLauncher,
    pub(super) pulls: &'a dyn ImagePulls,
    pub(super) functions: &'a dyn FunctionCalls,
}
