//! Faults that can be set while everything runs: the ways AWS fails that a release must survive.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ports::{AwsError, Caller};
use crate::protocol::{self, Protocol, wildcard};

/// Which calls fail, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Signing name of the service (`ecs`, `elasticloadbalancing`, `monitoring`, `dynamodb`, …); wildcards; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Operation; wildcards; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// A part of the caller's ARN or access key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// A part of the request's text, e.g. a service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What happens.
    pub action: Action,
    /// Of the calls that match, how many fail: 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// After this many the fault is over; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How often it happened; ignored when set.
    #[serde(default)]
    pub happened: u64,
}

/// What a fault does to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The call waits, then goes on.
    DelayMs(u64),
    /// AWS's throttling error for the service; the call is not performed.
    Throttle,
    /// AWS's access-denied error; the call is not performed.
    Refuse,
    /// An error; the call is not performed.
    Error {
        /// The code on the wire.
        code: String,
        /// The message.
        #[serde(default)]
        message: String,
        /// HTTP status.
        #[serde(default = "bad_request")]
        status: u16,
    },
    /// The connection is closed and the call is not performed.
    DropBefore,
    /// The call is performed, and the connection is closed instead of answering: the caller cannot know.
    DropAfter,
}

fn always() -> f64 {
    1.0
}

fn bad_request() -> u16 {
    400
}

/// A call, as faults see it.
pub(super) struct Target<'a> {
    pub(super) service: &'a str,
    pub(super) operation: &'a str,
    pub(super) caller: &'a Caller,
    pub(super) body: &'a [u8],
}

/// What the faults together mean for one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) delay: Duration,
    pub(super) error: Option<AwsError>,
    pub(super) drop_before: bool,
    pub(super) drop_after: bool,
}

impl Fault {
    fn matches(&self, call: &Target<'_>) -> bool {
        let fits = |pattern: &Option<String>, text: &str| {
            pattern.as_deref().is_none_or(|pattern| wildcard::matches(pattern, text))
        };
        let arn = call.caller.arn.as_deref().unwrap_or_default();
        fits(&self.service, call.service)
            && fits(&self.operation, call.operation)
            && self
                .caller
                .as_deref()
                .is_none_or(|part| arn.contains(part) || call.caller.access_key_id.contains(part))
            && self.resource.as_deref().is_none_or(|part| {
                String::from_utf8_lossy(call.body).contains(part) || call.operation.contains(part)
            })
    }
}

/// Draws what happens to a call and counts it. `chance` gives numbers from 0 to below 1.
pub(super) fn draw(
    faults: &mut [Fault],
    call: &Target<'_>,
    protocol: Protocol,
    mut chance: impl FnMut() -> f64,
) -> Effect {
    let mut effect = Effect::default();
    for fault in faults.iter_mut() {
        let over = fault.count.is_some_and(|count| fault.happened >= count);
        if over || !fault.matches(call) || chance() >= fault.probability {
            continue;
        }
        fault.happened += 1;
        match &fault.action {
            Action::DelayMs(ms) => effect.delay += Duration::from_millis(*ms),
            Action::Throttle => effect.error = Some(protocol::throttled(call.service, protocol)),
            Action::Refuse => {
                let message =
                    format!("User is not authorized to perform: {}:{}", call.service, call.operation);
                effect.error = Some(protocol::denied(protocol, message));
            }
            Action::Error { code, message, status } => {
                effect.error =
                    Some(AwsError { code: code.clone(), message: message.clone(), status: *status });
            }
            Action::DropBefore => effect.drop_before = true,
            Action::DropAfter => effect.drop_after = true,
        }
    }
    effect
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_what_it_names_and_ends() {
        let caller = Caller {
            access_key_id: "ASIA1".into(),
            arn: Some("arn:aws:sts::1:assumed-role/conductor/f".into()),
        };
        let json = r#"[
            {"service": "ecs", "operation": "Update*", "resource": "checkout", "action": "throttle", "count": 2},
            {"caller": "sentinel", "action": "drop_after"},
            {"service": "ecs", "action": {"delay_ms": 5}, "probability": 0.5}
        ]"#;
        let mut faults: Vec<Fault> = serde_json::from_str(json).unwrap();
        let protocol = Protocol::Json { version: "1.1" };
        let mut call = |operation: &str, body: &[u8], chance: f64| {
            draw(&mut faults, &Target { service: "ecs", operation, caller: &caller, body }, protocol, || {
                chance
            })
        };
        assert_eq!(call("DescribeServices", b"checkout", 0.6), Effect::default());
        assert_eq!(call("DescribeServices", b"checkout", 0.4).delay, Duration::from_millis(5));
        assert_eq!(call("UpdateService", b"other", 0.6), Effect::default());
        for _ in 0..2 {
            let error = call("UpdateService", b"{\"service\":\"checkout\"}", 0.6).error.unwrap();
            assert_eq!(error.code, "ThrottlingException");
        }
        assert_eq!(call("UpdateService", b"checkout", 0.6), Effect::default());
    }
}
