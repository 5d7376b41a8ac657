//! PURE: from CloudWatch's description of an alarm to what the core calls seen.

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{CompositeAlarm, LogAlarm, MetricAlarm, StateValue};
use jiff::Timestamp;
use tidegate_core::ids::AlarmName;
use tidegate_core::observation::{AlarmSeen, AlarmState};

/// An alarm with its name; `None` when it has no name that can be asked for.
pub(crate) type Named = Option<(AlarmName, AlarmSeen)>;

pub(crate) fn metric(alarm: MetricAlarm) -> Named {
    let since = alarm.state_transitioned_timestamp.or(alarm.state_updated_timestamp);
    named(alarm.alarm_name, alarm.state_value, since, alarm.state_reason)
}

pub(crate) fn log(alarm: LogAlarm) -> Named {
    let since = alarm.state_transitioned_timestamp.or(alarm.state_updated_timestamp);
    named(alarm.alarm_name, alarm.state_value, since, alarm.state_reason)
}

/// Only a composite alarm can have a suppressor.
pub(crate) fn composite(alarm: CompositeAlarm) -> Named {
    let since = alarm.state_transitioned_timestamp.or(alarm.state_updated_timestamp);
    let silenced = alarm.actions_suppressed_by.map(|by| {
        let suppressor = alarm.actions_suppressor.map(|alarm| format!(" of {alarm}")).unwrap_or_default();
        let reason = alarm.actions_suppressed_reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("suppressed by {}{suppressor}{reason}", by.as_str())
    });
    let (name, seen) = named(alarm.alarm_name, alarm.state_value, since, alarm.state_reason)?;
    Some((name, AlarmSeen { silenced, ..seen }))
}

/// The name of a mute rule from its ARN: `arn:aws:cloudwatch:REGION:ACCOUNT:alarm-mute-rule:NAME`.
pub(crate) fn muted_by(arn: &str) -> String {
    format!("muted by {}", arn.split_once(":alarm-mute-rule:").map_or(arn, |(_, name)| name))
}

fn named(
    name: Option<String>,
    state: Option<StateValue>,
    since: Option<DateTime>,
    reason: Option<String>,
) -> Named {
    let seen = AlarmSeen {
        state: AlarmState::from(state.map(|state| state.as_str().to_owned()).unwrap_or_default()),
        since: since.and_then(timestamp),
        reason: reason.unwrap_or_default(),
        silenced: None,
    };
    Some((AlarmName::new(name?).ok()?, seen))
}

fn timestamp(time: DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::ActionsSuppressedBy;

    use super::*;

    fn red() -> aws_sdk_cloudwatch::types::builders::MetricAlarmBuilder {
        MetricAlarm::builder()
            .alarm_name("checkout-5xx")
            .state_value(StateValue::Alarm)
            .state_reason("Threshold Crossed")
            .state_updated_timestamp(DateTime::from_millis(2_000_500))
    }

    #[test]
    fn a_metric_alarm_says_since_when() {
        let (name, seen) = metric(red().build()).unwrap();
        assert_eq!(name.as_str(), "checkout-5xx");
        assert_eq!((&seen.state, seen.reason.as_str()), (&AlarmState::Alarm, "Threshold Crossed"));
        assert_eq!(seen.since.unwrap().as_millisecond(), 2_000_500);
        assert!(seen.is_breach());
        // The update is of any kind; the transition is of the state.
        let transition = DateTime::from_millis(1_000_250);
        let (_, seen) = metric(red().state_transitioned_timestamp(transition).build()).unwrap();
        assert_eq!(seen.since.unwrap().as_millisecond(), 1_000_250);
    }

    #[test]
    fn a_state_yet_unknown_is_kept_and_none_is_not_ok() {
        let (_, seen) = metric(red().state_value("DREAMING".into()).build()).unwrap();
        assert_eq!(seen.state, AlarmState::Other("DREAMING".into()));
        let (_, seen) = metric(red().set_state_value(None).build()).unwrap();
        assert_eq!(seen.state, AlarmState::Other(String::new()));
    }

    #[test]
    fn a_suppressed_composite_alarm_is_silenced() {
        let alarm = || CompositeAlarm::builder().alarm_name("checkout").state_value(StateValue::Alarm);
        assert!(composite(alarm().build()).unwrap().1.is_breach());
        let suppressed = alarm()
            .actions_suppressor("maintenance")
            .actions_suppressed_by(ActionsSuppressedBy::WaitPeriod)
            .actions_suppressed_reason("Actions suppressed by WaitPeriod")
            .build();
        let (_, seen) = composite(suppressed).unwrap();
        assert!(!seen.is_breach());
        assert_eq!(
            seen.silenced.as_deref(),
            Some("suppressed by WaitPeriod of maintenance: Actions suppressed by WaitPeriod")
        );
    }

    #[test]
    fn a_log_alarm_counts_as_well() {
        let alarm = LogAlarm::builder().alarm_name("errors").state_value(StateValue::InsufficientData);
        assert_eq!(log(alarm.build()).unwrap().1.state, AlarmState::InsufficientData);
    }

    #[test]
    fn the_mute_rule_is_named() {
        let arn = "arn:aws:cloudwatch:eu-central-1:111122223333:alarm-mute-rule:night";
        assert_eq!(muted_by(arn), "muted by night");
        assert_eq!(muted_by("something else"), "muted by something else");
    }
}
