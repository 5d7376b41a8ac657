//! PURE: from CloudWatch's description of an alarm to what the core calls seen.

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    CompositeAlarm, EvaluationState, LogAlarm, MetricAlarm, StateValue, WarmUpConfiguration,
};
use jiff::{SignedDuration, Timestamp};
use tidegate_core::ids::AlarmName;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};

/// An alarm with its name; `None` when it has no name that can be asked for.
pub(crate) type Named = Option<(AlarmName, AlarmSeen)>;

pub(crate) fn metric(alarm: MetricAlarm, now: Timestamp) -> Named {
    let since = alarm.state_transitioned_timestamp.or(alarm.state_updated_timestamp);
    let unproven = unproven(alarm.evaluation_state.as_ref())
        .or_else(|| warming(alarm.warm_up_configuration, alarm.alarm_configuration_updated_timestamp, now));
    let (name, seen) = named(alarm.alarm_name, alarm.state_value, since, alarm.state_reason)?;
    Some((name, AlarmSeen { unproven, ..seen }))
}

pub(crate) fn log(alarm: LogAlarm, now: Timestamp) -> Named {
    let since = alarm.state_transitioned_timestamp.or(alarm.state_updated_timestamp);
    let unproven = unproven(alarm.evaluation_state.as_ref())
        .or_else(|| warming(alarm.warm_up_configuration, alarm.alarm_configuration_updated_timestamp, now));
    let (name, seen) = named(alarm.alarm_name, alarm.state_value, since, alarm.state_reason)?;
    Some((name, AlarmSeen { unproven, ..seen }))
}

/// Why the alarm's state may not be today's: CloudWatch says that it cannot evaluate it, or not all of its data.
fn unproven(state: Option<&EvaluationState>) -> Option<String> {
    match state?.as_str() {
        "PARTIAL_DATA" => Some("CloudWatch sees only a part of its data".into()),
        "EVALUATION_ERROR" => Some("CloudWatch cannot evaluate it: its configuration is wrong".into()),
        "EVALUATION_FAILURE" => Some("CloudWatch fails to evaluate it at the moment".into()),
        other => Some(format!("its evaluation state is {other}")),
    }
}

/// An alarm that waits for the end of its warm-up is not evaluated before it, whatever state it shows. One that may begin earlier shows
/// `INSUFFICIENT_DATA` until it has.
fn warming(
    warm_up: Option<WarmUpConfiguration>,
    updated: Option<DateTime>,
    now: Timestamp,
) -> Option<String> {
    let warm_up =
        warm_up.filter(|warm_up| warm_up.only_start_evaluating_after_warm_up_period_ends == Some(true))?;
    let minutes = i64::from(warm_up.warm_up_period_duration_in_minutes?);
    let until = timestamp(updated?)?.saturating_add(SignedDuration::from_mins(minutes)).ok()?;
    (now < until).then(|| format!("it warms up until {until:.0}"))
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
        unproven: None,
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

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn red() -> aws_sdk_cloudwatch::types::builders::MetricAlarmBuilder {
        MetricAlarm::builder()
            .alarm_name("checkout-5xx")
            .state_value(StateValue::Alarm)
            .state_reason("Threshold Crossed")
            .state_updated_timestamp(DateTime::from_millis(2_000_500))
    }

    #[test]
    fn a_metric_alarm_says_since_when() {
        let (name, seen) = metric(red().build(), NOW).unwrap();
        assert_eq!(name.as_str(), "checkout-5xx");
        assert_eq!((&seen.state, seen.reason.as_str()), (&AlarmState::Alarm, "Threshold Crossed"));
        assert_eq!(seen.since.unwrap().as_millisecond(), 2_000_500);
        assert!(seen.is_breach());
        // The update is of any kind; the transition is of the state.
        let transition = DateTime::from_millis(1_000_250);
        let (_, seen) = metric(red().state_transitioned_timestamp(transition).build(), NOW).unwrap();
        assert_eq!(seen.since.unwrap().as_millisecond(), 1_000_250);
    }

    #[test]
    fn a_state_yet_unknown_is_kept_and_none_is_not_ok() {
        let (_, seen) = metric(red().state_value("DREAMING".into()).build(), NOW).unwrap();
        assert_eq!(seen.state, AlarmState::Other("DREAMING".into()));
        let (_, seen) = metric(red().set_state_value(None).build(), NOW).unwrap();
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
        assert_eq!(log(alarm.build(), NOW).unwrap().1.state, AlarmState::InsufficientData);
    }

    #[test]
    fn an_alarm_that_is_not_evaluated_proves_nothing() {
        let ok = || red().state_value(StateValue::Ok);
        let unproven = |alarm: MetricAlarm, now: i64| {
            metric(alarm, Timestamp::from_second(now).unwrap()).unwrap().1.unproven
        };
        assert_eq!(unproven(ok().build(), 0), None);
        assert!(unproven(ok().evaluation_state(EvaluationState::EvaluationFailure).build(), 0).is_some());
        assert!(unproven(ok().evaluation_state("NAPPING".into()).build(), 0).unwrap().contains("NAPPING"));
        let warming = |strict: bool| {
            let warm_up = WarmUpConfiguration::builder()
                .warm_up_period_duration_in_minutes(10)
                .only_start_evaluating_after_warm_up_period_ends(strict);
            ok().warm_up_configuration(warm_up.build())
                .alarm_configuration_updated_timestamp(DateTime::from_secs(0))
                .build()
        };
        assert!(unproven(warming(true), 599).unwrap().contains("warms up"));
        assert_eq!(unproven(warming(true), 600), None, "its time has come");
        assert_eq!(unproven(warming(false), 1), None, "it is evaluated as soon as it has data");
    }

    #[test]
    fn the_mute_rule_is_named() {
        let arn = "arn:aws:cloudwatch:eu-central-1:111122223333:alarm-mute-rule:night";
        assert_eq!(muted_by(arn), "muted by night");
        assert_eq!(muted_by("something else"), "muted by something else");
    }
}
