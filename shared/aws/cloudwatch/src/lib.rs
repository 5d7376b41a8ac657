//! IO: the CloudWatch adapter, which reads the state of the alarms a release is judged by, whether CloudWatch itself would
//! act on them now, and the numbers of both versions.

mod metrics;
mod seen;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmMuteRuleStatus, AlarmType};
use jiff::Timestamp;
use tidegate_aws::{SdkConfig, Targets, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AlarmName, Target};
use tidegate_core::ports::Alarms;
use tidegate_core::vocab::cloudwatch::AlarmSeen;

/// `DescribeAlarms` takes this many names, and returns this many alarms at most.
const NAMES_A_CALL: usize = 100;

/// CloudWatch by way of the official SDK, one client for each region and role.
#[derive(Debug)]
pub struct CloudWatchAdapter {
    pub(crate) clients: Targets<Client>,
}

impl CloudWatchAdapter {
    /// With the home account's configuration.
    pub fn new(installation: SdkConfig) -> Self {
        Self { clients: Targets::new(installation, Client::new) }
    }
}

#[async_trait]
impl Alarms for CloudWatchAdapter {
    async fn states(
        &self,
        target: &Target,
        names: &[AlarmName],
    ) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let client = self.clients.client(target).await;
        // Left out, CloudWatch returns metric alarms only.
        let mut seen =
            describe(&client, &[AlarmType::CompositeAlarm, AlarmType::MetricAlarm], names.iter()).await?;
        let missing: Vec<&AlarmName> = names.iter().filter(|name| !seen.contains_key(*name)).collect();
        if !missing.is_empty() {
            seen.extend(log_alarms(&client, &missing).await?);
        }
        for (name, alarm) in seen.iter_mut().filter(|(_, alarm)| alarm.is_breach()) {
            alarm.silenced = mute(&client, name).await?;
        }
        Ok(seen)
    }
}

/// Alarms on log queries are younger than the rest: where CloudWatch does not know the type yet, there are none.
async fn log_alarms(
    client: &Client,
    names: &[&AlarmName],
) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
    match describe(client, &[AlarmType::LogAlarm], names.iter().copied()).await {
        Err(error) if error.kind == ErrorKind::Invalid => Ok(BTreeMap::new()),
        other => other,
    }
}

async fn describe(
    client: &Client,
    types: &[AlarmType],
    names: impl Iterator<Item = &AlarmName>,
) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
    let names: BTreeSet<&str> = names.map(AlarmName::as_str).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let now = Timestamp::now();
    let mut seen = BTreeMap::new();
    for some in names.chunks(NAMES_A_CALL) {
        let mut next = None;
        loop {
            let call = client
                .describe_alarms()
                .set_alarm_names(Some(some.to_vec()))
                .set_alarm_types(Some(types.to_vec()))
                .set_next_token(next)
                .max_records(i32::try_from(NAMES_A_CALL).unwrap_or(i32::MAX));
            let page = call.send().await.map_err(|error| port_error("cloudwatch:DescribeAlarms", error))?;
            seen.extend(
                page.metric_alarms
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|alarm| seen::metric(alarm, now)),
            );
            seen.extend(page.composite_alarms.unwrap_or_default().into_iter().filter_map(seen::composite));
            seen.extend(
                page.log_alarms.unwrap_or_default().into_iter().filter_map(|alarm| seen::log(alarm, now)),
            );
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(seen)
}

/// Why the alarm is muted now, if it is.
///
/// An alarm in ALARM counts unless CloudWatch says that it is muted. So where it cannot be asked (no permission, an API that is not
/// there, a service that fails) the alarm counts; only when it has too much to do it is asked again, by failing.
async fn mute(client: &Client, name: &AlarmName) -> Result<Option<String>, PortError> {
    match mute_rule(client, name).await {
        Ok(rule) => Ok(rule.map(|arn| seen::muted_by(&arn))),
        Err(error) if error.kind == ErrorKind::Throttled => Err(error),
        Err(error) => {
            tracing::debug!(alarm.name = %name, error = %error, "cannot see mute rules, so the alarm counts");
            Ok(None)
        }
    }
}

async fn mute_rule(client: &Client, name: &AlarmName) -> Result<Option<String>, PortError> {
    let mut next = None;
    loop {
        let call = client
            .list_alarm_mute_rules()
            .alarm_name(name.as_str())
            .statuses(AlarmMuteRuleStatus::Active)
            .set_next_token(next);
        let page = call.send().await.map_err(|error| port_error("cloudwatch:ListAlarmMuteRules", error))?;
        // The filter is repeated here: a rule that is only scheduled must not silence anything.
        let active = |rule: &&aws_sdk_cloudwatch::types::AlarmMuteRuleSummary| {
            rule.status.as_ref() == Some(&AlarmMuteRuleStatus::Active)
        };
        if let Some(rule) = page.alarm_mute_rule_summaries().iter().find(active) {
            return Ok(Some(rule.alarm_mute_rule_arn().unwrap_or("a mute rule").to_owned()));
        }
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_core::vocab::cloudwatch::AlarmState;
    use tidegate_replay::{Answer, Replay};
    use tidegate_testkit::names::target;

    use super::*;

    async fn states(replay: &Replay, names: &[String]) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        let names: Vec<AlarmName> = names.iter().map(|name| AlarmName::new(name).unwrap()).collect();
        CloudWatchAdapter::new(replay.config()).states(&target(), &names).await
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn alarm(name: &str, state: &str) -> Value {
        json!({ "AlarmName": name, "StateValue": state, "StateReason": "as it is" })
    }

    fn described(replay: &Replay, body: &Value) {
        replay.answer("DescribeAlarms", Answer::cbor(body));
    }

    fn mute_rules(replay: &Replay, rules: Value) {
        replay.answer("ListAlarmMuteRules", Answer::cbor(&json!({ "AlarmMuteRuleSummaries": rules })));
    }

    fn rule(status: &str) -> Value {
        json!({ "AlarmMuteRuleArn": "arn:aws:cloudwatch:eu-central-1:111122223333:alarm-mute-rule:night", "Status": status })
    }

    #[tokio::test]
    async fn metric_and_composite_alarms_are_both_asked_for() {
        let replay = Replay::new();
        described(
            &replay,
            &json!({ "MetricAlarms": [alarm("m", "OK")], "CompositeAlarms": [alarm("c", "INSUFFICIENT_DATA")] }),
        );
        let seen = states(&replay, &names(&["m", "c"])).await.unwrap();
        let told: Vec<_> = seen.iter().map(|(name, seen)| (name.as_str(), &seen.state)).collect();
        assert_eq!(told, [("c", &AlarmState::InsufficientData), ("m", &AlarmState::Ok)]);
        let [call] = replay.calls("DescribeAlarms").try_into().unwrap();
        assert_eq!(
            call.json(),
            json!({ "AlarmNames": ["c", "m"], "AlarmTypes": ["CompositeAlarm", "MetricAlarm"], "MaxRecords": 100 })
        );
    }

    #[tokio::test]
    async fn what_is_missing_is_looked_for_among_log_alarms() {
        let replay = Replay::new();
        described(&replay, &json!({ "MetricAlarms": [alarm("m", "OK")] }));
        described(&replay, &json!({ "LogAlarms": [alarm("l", "OK")] }));
        let seen = states(&replay, &names(&["m", "l", "gone"])).await.unwrap();
        assert_eq!(seen.keys().map(AlarmName::as_str).collect::<Vec<_>>(), ["l", "m"]);
        let asked = replay.calls("DescribeAlarms")[1].json();
        assert_eq!(asked["AlarmNames"], json!(["gone", "l"]));
        assert_eq!(asked["AlarmTypes"], json!(["LogAlarm"]));
    }

    #[tokio::test]
    async fn a_cloudwatch_without_log_alarms_has_none() {
        let replay = Replay::new();
        described(&replay, &json!({}));
        replay.answer("DescribeAlarms", Answer::cbor_error(400, "ValidationError", "LogAlarm is no type"));
        assert!(states(&replay, &names(&["gone"])).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn many_alarms_are_described_in_parts_and_pages() {
        let many: Vec<String> = (0..150).map(|n| format!("a{n:03}")).collect();
        let of = |names: &[String]| names.iter().map(|name| alarm(name, "OK")).collect::<Vec<_>>();
        let replay = Replay::new();
        described(&replay, &json!({ "MetricAlarms": of(&many[..60]), "NextToken": "more" }));
        described(&replay, &json!({ "MetricAlarms": of(&many[60..100]) }));
        described(&replay, &json!({ "CompositeAlarms": of(&many[100..]) }));
        assert_eq!(states(&replay, &many).await.unwrap().len(), 150);
        let calls = replay.calls("DescribeAlarms");
        let sizes: Vec<_> = calls.iter().map(|c| c.json()["AlarmNames"].as_array().unwrap().len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(calls[1].json()["NextToken"], "more");
    }

    #[tokio::test]
    async fn a_muted_alarm_is_silenced_and_one_that_will_be_is_not() {
        let replay = Replay::new();
        described(&replay, &json!({ "MetricAlarms": [alarm("m", "ALARM"), alarm("ok", "OK")] }));
        mute_rules(&replay, json!([rule("SCHEDULED"), rule("ACTIVE")]));
        let seen = states(&replay, &names(&["m", "ok"])).await.unwrap();
        let red = &seen[&AlarmName::new("m").unwrap()];
        assert_eq!((red.silenced.as_deref(), red.is_breach()), (Some("muted by night"), false));
        let [call] = replay.calls("ListAlarmMuteRules").try_into().unwrap();
        assert_eq!(call.json(), json!({ "AlarmName": "m", "Statuses": ["ACTIVE"] }));

        let replay = Replay::new();
        described(&replay, &json!({ "MetricAlarms": [alarm("m", "ALARM")] }));
        mute_rules(&replay, json!([rule("SCHEDULED")]));
        assert!(states(&replay, &names(&["m"])).await.unwrap().values().all(AlarmSeen::is_breach));
    }

    /// What comes of an alarm in ALARM when mute rules cannot be asked for.
    async fn red_when_mute_rules_fail(status: u16, code: &str) -> Result<bool, ErrorKind> {
        let replay = Replay::new();
        described(&replay, &json!({ "MetricAlarms": [alarm("m", "ALARM")] }));
        replay.answer("ListAlarmMuteRules", Answer::cbor_error(status, code, "no"));
        let seen = states(&replay, &names(&["m"])).await.map_err(|error| error.kind)?;
        Ok(seen.values().all(AlarmSeen::is_breach))
    }

    #[tokio::test]
    async fn an_alarm_counts_when_nobody_can_say_whether_it_is_muted() {
        assert_eq!(red_when_mute_rules_fail(403, "AccessDenied").await, Ok(true));
        assert_eq!(red_when_mute_rules_fail(404, "UnknownOperationException").await, Ok(true));
        assert_eq!(red_when_mute_rules_fail(500, "InternalFailure").await, Ok(true));
        assert_eq!(red_when_mute_rules_fail(400, "Throttling").await, Err(ErrorKind::Throttled));
    }

    #[tokio::test]
    async fn a_describe_that_is_refused_is_told() {
        let replay = Replay::new();
        replay.answer("DescribeAlarms", Answer::cbor_error(403, "AccessDenied", "no"));
        let error = states(&replay, &names(&["m"])).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Denied, "cloudwatch:DescribeAlarms"));
    }

    #[tokio::test]
    async fn nothing_asked_is_no_call() {
        let replay = Replay::new();
        assert!(states(&replay, &[]).await.unwrap().is_empty());
        assert_eq!(replay.operations(), [] as [String; 0]);
    }
}
