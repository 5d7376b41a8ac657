//! The operations.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::alarm::{Alarm, Condition, Kind, MetricAlarm, MuteRule, Source, parse_state};
use super::evaluate::{Comparison, Criteria, Missing};
use super::expression::{Rule, arithmetic};
use super::mute::Schedule;
use super::store::{Bounded, Metric};
use super::{Options, State};
use crate::ports::{AlarmState, AwsError, ServiceEvent};

pub(super) type Answer = Result<Value, AwsError>;

pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", message)
}

fn not_found(what: &str, name: &str) -> AwsError {
    AwsError {
        code: "ResourceNotFoundException".to_owned(),
        message: format!("{what} {name} not found"),
        status: 404,
    }
}

pub(super) fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, AwsError> {
    let text = input[member].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| AwsError::new("MissingParameter", format!("The parameter {member} is required.")))
}

pub(super) fn list<'a>(input: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    input[member].as_array().into_iter().flatten()
}

pub(super) fn strings(input: &Value, member: &str) -> Vec<String> {
    list(input, member).filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    millis(value).and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit")]
pub(super) fn millis(value: &Value) -> Option<i64> {
    value.as_f64().map(|secs| (secs * 1000.0).round() as i64)
}

pub(super) fn metric(input: &Value) -> Result<Metric, AwsError> {
    let dimensions: Vec<(&str, &str)> = list(input, "Dimensions")
        .filter_map(|dimension| {
            Some((dimension["Name"].as_str()?, dimension["Value"].as_str().unwrap_or_default()))
        })
        .collect();
    Ok(Metric::new(required(input, "Namespace")?, required(input, "MetricName")?, &dimensions))
}

impl State {
    /// Answers an operation; with the answer come the events it caused.
    pub(super) fn answer(
        &mut self,
        options: &Options,
        operation: &str,
        input: &Value,
        now: Timestamp,
    ) -> Result<(Value, Vec<ServiceEvent>), AwsError> {
        let quiet = |answer: Answer| answer.map(|answer| (answer, Vec::new()));
        match operation {
            "SetAlarmState" => self.set_alarm_state(input, now),
            "PutMetricAlarm" => quiet(self.put_metric_alarm(options, input, now)),
            "PutCompositeAlarm" => quiet(self.put_composite_alarm(options, input, now)),
            "DescribeAlarms" => quiet(self.describe_alarms(input)),
            "DeleteAlarms" => quiet(self.delete_alarms(input)),
            "EnableAlarmActions" => quiet(self.enable_actions(input, true)),
            "DisableAlarmActions" => quiet(self.enable_actions(input, false)),
            "PutMetricData" => quiet(self.put_metric_data(input, now)),
            "GetMetricData" => quiet(self.get_metric_data(options, input, now)),
            "GetMetricStatistics" => quiet(self.get_metric_statistics(options, input, now)),
            "ListMetrics" => quiet(self.list_metrics(input)),
            "ListTagsForResource" => quiet(self.list_tags(input)),
            "PutAlarmMuteRule" => quiet(self.put_mute(options, input, now)),
            "GetAlarmMuteRule" => quiet(self.get_mute(input, now)),
            "ListAlarmMuteRules" => quiet(self.list_mutes(input, now)),
            "DeleteAlarmMuteRule" => quiet(self.delete_mute(input)),
            _ => Err(AwsError::new("InvalidAction", format!("the sandbox does not answer {operation}"))),
        }
    }

    /// A new alarm begins without data; an old one keeps its state under the new configuration.
    fn put(&mut self, options: &Options, input: &Value, kind: Kind, now: Timestamp) -> Answer {
        let name = required(input, "AlarmName")?;
        let arn = format!("arn:aws:cloudwatch:{}:{}:alarm:{name}", options.region, options.account);
        let mut members: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
        members.remove("Tags");
        let defaults = [
            ("ActionsEnabled", json!(true)),
            ("AlarmActions", json!([])),
            ("OKActions", json!([])),
            ("InsufficientDataActions", json!([])),
        ];
        for (member, default) in defaults {
            members.entry(member).or_insert(default);
        }
        let before = self.alarms.get(name);
        let condition = before.map(|alarm| alarm.condition.clone()).unwrap_or_else(|| Condition {
            state: AlarmState::InsufficientData,
            reason: "Unchecked: Initial alarm creation".to_owned(),
            reason_data: None,
            updated: now,
            transitioned: now,
        });
        let tags = before.map_or_else(
            || {
                list(input, "Tags")
                    .filter_map(|tag| {
                        Some((tag["Key"].as_str()?.to_owned(), tag["Value"].as_str()?.to_owned()))
                    })
                    .collect()
            },
            |alarm| alarm.tags.clone(),
        );
        let alarm = Alarm {
            name: name.to_owned(),
            arn,
            members,
            kind,
            condition,
            configured: now,
            tags,
            held_until: None,
        };
        self.alarms.insert(name.to_owned(), alarm);
        Ok(json!({}))
    }

    fn put_metric_alarm(&mut self, options: &Options, input: &Value, now: Timestamp) -> Answer {
        let periods = count(input, "EvaluationPeriods")?.ok_or_else(|| {
            AwsError::new("MissingParameter", "The parameter EvaluationPeriods is required.")
        })?;
        let to_alarm = count(input, "DatapointsToAlarm")?.unwrap_or(periods);
        if to_alarm > periods {
            return Err(invalid("DatapointsToAlarm must not be greater than EvaluationPeriods"));
        }
        let operator = required(input, "ComparisonOperator")?;
        let comparison = Comparison::parse(operator)
            .ok_or_else(|| invalid(format!("the sandbox does not evaluate {operator}")))?;
        let treatment = input["TreatMissingData"].as_str().unwrap_or("missing");
        let missing = Missing::parse(treatment)
            .ok_or_else(|| invalid(format!("'{treatment}' is not a treatment of missing data")))?;
        let threshold =
            input["Threshold"].as_f64().ok_or_else(|| invalid("The parameter Threshold is required."))?;
        let (source, statistic, period_secs) = match input["Metrics"].as_array() {
            Some(queries) if !queries.is_empty() => {
                let (source, period) = math(queries)?;
                (source, None, period)
            }
            _ => {
                let statistic = input["Statistic"].as_str().or_else(|| input["ExtendedStatistic"].as_str());
                let statistic = statistic
                    .ok_or_else(|| invalid("Statistic or ExtendedStatistic is required"))?
                    .to_owned();
                check_statistic(&statistic)?;
                let source = Source::Metric { metric: metric(input)?, statistic: statistic.clone() };
                (source, Some(statistic), period(&input["Period"])?)
            }
        };
        check_alarm_period(period_secs, periods)?;
        let criteria = Criteria {
            comparison,
            threshold,
            evaluation_periods: periods,
            datapoints_to_alarm: to_alarm,
            missing,
        };
        let played_ms = options.played_ms(period_secs);
        let alarm = MetricAlarm { criteria, period_secs, played_ms, source, statistic };
        self.put(options, input, Kind::Metric(alarm), now)
    }

    fn put_composite_alarm(&mut self, options: &Options, input: &Value, now: Timestamp) -> Answer {
        let text = required(input, "AlarmRule")?;
        let rule = Rule::parse(text).map_err(|error| invalid(format!("Invalid AlarmRule: {error}")))?;
        let unknown: Vec<&str> =
            rule.names().into_iter().filter(|name| !self.alarms.contains_key(*name)).collect();
        if !unknown.is_empty() {
            let names = unknown.join(", ");
            return Err(invalid(format!(
                "Could not save the composite alarm as alarms [{names}] in the alarm rule do not exist"
            )));
        }
        self.put(options, input, Kind::Composite(rule), now)
    }

    fn describe_alarms(&self, input: &Value) -> Answer {
        let names = strings(input, "AlarmNames");
        let prefix = input["AlarmNamePrefix"].as_str().unwrap_or_default();
        let types = strings(input, "AlarmTypes");
        let limit = usize::try_from(input["MaxRecords"].as_u64().unwrap_or(50).clamp(1, 100)).unwrap_or(100);
        let after = input["NextToken"].as_str().unwrap_or_default();
        let mut found = (self.alarms.values()).filter(|alarm| {
            let kind = match alarm.kind {
                Kind::Metric(_) => "MetricAlarm",
                Kind::Composite(_) => "CompositeAlarm",
            };
            // Without types AWS answers metric alarms only.
            let wanted_kind =
                if types.is_empty() { kind == "MetricAlarm" } else { types.iter().any(|t| t == kind) };
            wanted_kind
                && (names.is_empty() || names.contains(&alarm.name))
                && alarm.name.starts_with(prefix)
                && alarm.name.as_str() > after
                && input["StateValue"].as_str().is_none_or(|state| state == alarm.condition.value())
        });
        let (mut metric, mut composite, mut last) = (Vec::new(), Vec::new(), None);
        for alarm in found.by_ref().take(limit) {
            last = Some(alarm.name.clone());
            match alarm.kind {
                Kind::Metric(_) => metric.push(alarm.describe()),
                Kind::Composite(_) => composite.push(alarm.describe()),
            }
        }
        let next = found.next().and(last);
        Ok(json!({"MetricAlarms": metric, "CompositeAlarms": composite, "NextToken": next}))
    }

    fn delete_alarms(&mut self, input: &Value) -> Answer {
        let names = strings(input, "AlarmNames");
        for name in &names {
            let parents: Vec<&str> = (self.alarms.values())
                .filter(|alarm| !names.contains(&alarm.name))
                .filter(|alarm| matches!(&alarm.kind, Kind::Composite(rule) if rule.names().contains(&name.as_str())))
                .map(|alarm| alarm.name.as_str())
                .collect();
            if !parents.is_empty() {
                let parents = parents.join(", ");
                return Err(invalid(format!(
                    "Cannot delete {name} as there are composite alarm(s) depending on it: {parents}"
                )));
            }
        }
        self.alarms.retain(|name, _| !names.contains(name));
        Ok(json!({}))
    }

    fn set_alarm_state(
        &mut self,
        input: &Value,
        now: Timestamp,
    ) -> Result<(Value, Vec<ServiceEvent>), AwsError> {
        let name = required(input, "AlarmName")?;
        let value = required(input, "StateValue")?;
        let state = parse_state(value).ok_or_else(|| invalid(format!("'{value}' is not an alarm state")))?;
        let alarm = self.alarms.get_mut(name);
        let alarm = alarm.ok_or_else(|| AwsError {
            code: "ResourceNotFound".to_owned(),
            message: format!("Alarm {name} not found"),
            status: 404,
        })?;
        let period = match &alarm.kind {
            Kind::Metric(metric) => metric.played_ms,
            Kind::Composite(_) => 60_000,
        };
        // On AWS the next evaluation undoes it; here evaluations are so frequent that nobody would see it.
        alarm.held_until = now.checked_add(jiff::SignedDuration::from_millis(period)).ok();
        let next = Condition {
            state,
            reason: required(input, "StateReason")?.to_owned(),
            reason_data: input["StateReasonData"].as_str().map(str::to_owned),
            updated: now,
            transitioned: now,
        };
        let mut events: Vec<ServiceEvent> = self.enter(name, next, now).into_iter().collect();
        events.extend(self.evaluate(now));
        Ok((json!({}), events))
    }

    fn enable_actions(&mut self, input: &Value, enabled: bool) -> Answer {
        for name in strings(input, "AlarmNames") {
            if let Some(alarm) = self.alarms.get_mut(&name) {
                alarm.members.insert("ActionsEnabled".to_owned(), enabled.into());
            }
        }
        Ok(json!({}))
    }

    fn list_tags(&self, input: &Value) -> Answer {
        let arn = required(input, "ResourceARN")?;
        let alarm = self.alarms.values().find(|alarm| alarm.arn == arn);
        let alarm = alarm.ok_or_else(|| not_found("Resource", arn))?;
        let tags: Vec<Value> =
            alarm.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        Ok(json!({"Tags": tags}))
    }

    fn put_mute(&mut self, options: &Options, input: &Value, now: Timestamp) -> Answer {
        let name = required(input, "Name")?;
        let schedule = &input["Rule"]["Schedule"];
        let timezone = schedule["Timezone"].as_str().unwrap_or_default();
        let rule = MuteRule {
            arn: format!("arn:aws:cloudwatch:{}:{}:alarm-mute-rule:{name}", options.region, options.account),
            schedule: Schedule::parse(
                required(schedule, "Expression")?,
                required(schedule, "Duration")?,
                timezone,
            )
            .map_err(invalid)?,
            alarms: strings(&input["MuteTargets"], "AlarmNames"),
            start: time(&input["StartDate"]),
            expire: time(&input["ExpireDate"]),
            members: input.as_object().cloned().unwrap_or_default(),
            updated: now,
        };
        self.mutes.insert(name.to_owned(), rule);
        Ok(json!({}))
    }

    fn get_mute(&self, input: &Value, now: Timestamp) -> Answer {
        // The model calls it AlarmMuteRuleName in requests about a rule, and Name in the rule.
        let name = required(input, "AlarmMuteRuleName")?;
        let rule = self.mutes.get(name).ok_or_else(|| not_found("Alarm mute rule", name))?;
        let mut members = rule.members.clone();
        members.remove("Tags");
        members.insert("AlarmMuteRuleArn".to_owned(), rule.arn.clone().into());
        members.insert("Status".to_owned(), rule.status(now).into());
        members.insert("LastUpdatedTimestamp".to_owned(), rule.updated.as_duration().as_secs_f64().into());
        Ok(Value::Object(members))
    }

    fn list_mutes(&self, input: &Value, now: Timestamp) -> Answer {
        let statuses = strings(input, "Statuses");
        let summaries: Vec<Value> = (self.mutes.values())
            .filter(|rule| {
                input["AlarmName"].as_str().is_none_or(|name| rule.alarms.iter().any(|alarm| alarm == name))
            })
            .filter(|rule| statuses.is_empty() || statuses.iter().any(|status| status == rule.status(now)))
            .map(|rule| {
                json!({
                    "AlarmMuteRuleArn": rule.arn,
                    "Status": rule.status(now),
                    "ExpireDate": rule.members.get("ExpireDate"),
                    "LastUpdatedTimestamp": rule.updated.as_duration().as_secs_f64(),
                })
            })
            .collect();
        Ok(json!({"AlarmMuteRuleSummaries": summaries}))
    }

    fn delete_mute(&mut self, input: &Value) -> Answer {
        self.mutes.remove(required(input, "AlarmMuteRuleName")?);
        Ok(json!({}))
    }
}

fn count(input: &Value, member: &str) -> Result<Option<usize>, AwsError> {
    if input[member].is_null() {
        return Ok(None);
    }
    let number =
        input[member].as_u64().filter(|number| *number > 0).and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or_else(|| invalid(format!("{member} must be a positive number")))
}

pub(super) fn period(value: &Value) -> Result<i64, AwsError> {
    value
        .as_i64()
        .filter(|secs| *secs > 0)
        .ok_or_else(|| invalid("Period must be a positive number of seconds"))
}

/// The periods AWS allows for alarms (`PutMetricAlarm`): 10, 20 and 30 seconds, and whole minutes; with shorter ones than an hour a day is
/// the longest stretch that is evaluated, and a week at most.
fn check_alarm_period(secs: i64, periods: usize) -> Result<(), AwsError> {
    const DAY: i64 = 86_400;
    if !matches!(secs, 10 | 20 | 30) && secs % 60 != 0 {
        return Err(invalid("Period must be 10, 20, 30 or a multiple of 60"));
    }
    let longest = if secs < 3600 { DAY } else { 7 * DAY };
    if i64::try_from(periods).unwrap_or(i64::MAX).saturating_mul(secs) > longest {
        return Err(invalid(format!(
            "Metrics cannot be checked across more than {longest} seconds (EvaluationPeriods * Period)"
        )));
    }
    Ok(())
}

pub(super) fn check_statistic(name: &str) -> Result<(), AwsError> {
    let is_plain = matches!(name, "Sum" | "Average" | "Minimum" | "Maximum" | "SampleCount");
    if is_plain || Bounded::parse(name).is_some() {
        return Ok(());
    }
    Err(AwsError::new("InvalidParameterValue", format!("the sandbox does not know the statistic {name}")))
}

pub(super) type QueryMetric = (String, Metric, String, i64);

pub(super) fn query_metrics(queries: &[&Value]) -> Result<Vec<QueryMetric>, AwsError> {
    let with_metric = queries.iter().filter(|query| query["MetricStat"].is_object());
    with_metric
        .map(|query| {
            let of = &query["MetricStat"];
            let statistic = required(of, "Stat")?.to_owned();
            check_statistic(&statistic)?;
            Ok((required(query, "Id")?.to_owned(), metric(&of["Metric"])?, statistic, period(&of["Period"])?))
        })
        .collect()
}

pub(super) fn metrics_period(metrics: &[QueryMetric]) -> i64 {
    metrics.iter().map(|(_, _, _, period)| *period).max().unwrap_or(60)
}

/// What the queries of an alarm watch: exactly one of them returns data.
fn math(queries: &[Value]) -> Result<(Source, i64), AwsError> {
    let queries: Vec<&Value> = queries.iter().collect();
    let metrics = query_metrics(&queries)?;
    let returned: Vec<&&Value> = queries.iter().filter(|query| query["ReturnData"] != false).collect();
    let [watched] = returned.as_slice() else {
        return Err(invalid("Exactly one element of the metrics list should return data."));
    };
    let period = metrics_period(&metrics);
    let source = match watched["Expression"].as_str() {
        Some(expression) => Source::Math {
            metrics: metrics.into_iter().map(|(id, metric, statistic, _)| (id, metric, statistic)).collect(),
            expression: expression.to_owned(),
        },
        None => {
            let found = metrics.into_iter().find(|(id, ..)| watched["Id"] == **id);
            let (_, metric, statistic, _) =
                found.ok_or_else(|| invalid("A metric or an expression is required"))?;
            Source::Metric { metric, statistic }
        }
    };
    check_expression(&source)?;
    Ok((source, period))
}

/// An expression that cannot be evaluated is refused at once, not silently without data for ever.
pub(super) fn check_expression(source: &Source) -> Result<(), AwsError> {
    let Source::Math { metrics, expression } = source else { return Ok(()) };
    let values: HashMap<String, Option<f64>> =
        metrics.iter().map(|(id, ..)| (id.clone(), Some(1.0))).collect();
    let checked = arithmetic(expression, &values);
    checked.map(drop).map_err(|error| invalid(format!("Error in expression '{expression}': {error}")))
}
