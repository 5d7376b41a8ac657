//! What was seen of a release right now, beside what the ledger knows.

use std::collections::BTreeMap;

use tidegate_core::ids::AlarmName;
use tidegate_core::observation::AlarmSeen;
use tidegate_core::policy::Percent;

/// One look. Whoever may not look, or does not, still shows what the ledger knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// The candidate's share on the load balancer, when it is measured there and could be read.
    pub measured: Option<Percent>,
    /// The alarms, when they could be read; one that is missing does not exist.
    pub alarms: Option<BTreeMap<AlarmName, AlarmSeen>>,
    /// What could not be read, and why.
    pub unseen: Vec<String>,
}
