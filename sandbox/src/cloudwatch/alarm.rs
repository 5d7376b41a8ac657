//! Alarms: their configuration, their state, and the event a change of state emits.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::State;
use super::evaluate::{Criteria, LOOK_BACK, evaluate};
use super::expression::{Rule, arithmetic};
use super::mute::Schedule;
use super::store::{BUCKET_MS, Metric, Store, Summary};
use crate::ports::{AlarmState, ServiceEvent};

/// An alarm of either kind.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    pub(super) name: String,
    pub(super) arn: String,
    /// The members it was put with; `DescribeAlarms` answers them back.
    pub(super) members: Map<String, Value>,
    pub(super) kind: Kind,
    pub(super) condition: Condition,
    pub(super) configured: Timestamp,
    pub(super) tags: BTreeMap<String, String>,
    /// A state that was set by hand stands until then.
    pub(super) held_until: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Metric(MetricAlarm),
    Composite(Rule),
}

/// What a metric alarm watches.
#[derive(Debug, Clone)]
pub(super) struct MetricAlarm {
    pub(super) criteria: Criteria,
    pub(super) period_secs: i64,
    /// How long the period takes here.
    pub(super) played_ms: i64,
    pub(super) source: Source,
    /// Stands in the event: the statistic of a plain metric.
    pub(super) statistic: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Metric { metric: Metric, statistic: String },
    Math { metrics: Vec<(String, Metric, String)>, expression: String },
}

/// An alarm's state, and since when and why.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) state: AlarmState,
    pub(super) reason: String,
    pub(super) reason_data: Option<String>,
    /// When state or reason changed.
    pub(super) updated: Timestamp,
    /// When the state changed.
    pub(super) transitioned: Timestamp,
}

/// A mute rule.
#[derive(Debug, Clone)]
pub(super) struct MuteRule {
    pub(super) arn: String,
    pub(super) members: Map<String, Value>,
    pub(super) schedule: Schedule,
    pub(super) alarms: Vec<String>,
    pub(super) start: Option<Timestamp>,
    pub(super) expire: Option<Timestamp>,
    pub(super) updated: Timestamp,
}

impl MuteRule {
    /// The window that mutes now, if any.
    pub(super) fn window(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let in_force =
            self.start.is_none_or(|start| start <= now) && self.expire.is_none_or(|expire| now < expire);
        if in_force { self.schedule.window(now) } else { None }
    }

    pub(super) fn status(&self, now: Timestamp) -> &'static str {
        if self.expire.is_some_and(|expire| expire <= now) || self.schedule.is_over(now) {
            "EXPIRED"
        } else if self.window(now).is_some() {
            "ACTIVE"
        } else {
            "SCHEDULED"
        }
    }
}

/// The wire name of a state.
pub(super) fn state_name(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Ok => "OK",
        AlarmState::Alarm => "ALARM",
        AlarmState::InsufficientData => "INSUFFICIENT_DATA",
    }
}

/// A state by its wire name.
pub(super) fn parse_state(name: &str) -> Option<AlarmState> {
    match name {
        "OK" => Some(AlarmState::Ok),
        "ALARM" => Some(AlarmState::Alarm),
        "INSUFFICIENT_DATA" => Some(AlarmState::InsufficientData),
        _ => None,
    }
}

/// How alarm events write time: `2019-10-02T17:04:40.989+0000`.
fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

impl Condition {
    /// The state on the wire.
    pub(super) fn value(&self) -> &'static str {
        state_name(self.state)
    }

    fn describe(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("reason".to_owned(), self.reason.clone().into());
        if let Some(data) = &self.reason_data {
            members.insert("reasonData".to_owned(), data.clone().into());
        }
        members.insert("timestamp".to_owned(), stamp(self.updated).into());
        members.insert("value".to_owned(), self.value().into());
        members
    }
}

impl State {
    /// Evaluates metric alarms, then composite ones until nothing changes any more.
    pub(super) fn evaluate(&mut self, now: Timestamp) -> Vec<ServiceEvent> {
        let mut events = Vec::new();
        let names: Vec<String> = self.alarms.keys().cloned().collect();
        for name in &names {
            if let Some(next) = self.metric_condition(name, now) {
                events.extend(self.enter(name, next, now));
            }
        }
        // A composite alarm can look at others, so the change travels at most one level a round.
        for _ in &names {
            let before = events.len();
            for name in &names {
                if let Some(next) = self.composite_condition(name, now) {
                    events.extend(self.enter(name, next, now));
                }
            }
            if events.len() == before {
                break;
            }
        }
        events
    }

    /// Gives an alarm a new condition; the event, when the state is another one.
    pub(super) fn enter(&mut self, name: &str, next: Condition, now: Timestamp) -> Option<ServiceEvent> {
        let alarm = self.alarms.get_mut(name)?;
        let previous = std::mem::replace(&mut alarm.condition, next);
        if previous.state == alarm.condition.state {
            alarm.condition.transitioned = previous.transitioned;
            return None;
        }
        tracing::info!(alarm.name = name, alarm.state = alarm.condition.value(), "alarm changed state");
        let alarm = alarm.clone();
        Some(self.event(&alarm, &previous, now))
    }

    fn metric_condition(&self, name: &str, now: Timestamp) -> Option<Condition> {
        let alarm = self.alarms.get(name)?;
        if alarm.held_until.is_some_and(|until| now < until) {
            return None;
        }
        let Kind::Metric(metric) = &alarm.kind else { return None };
        let datapoints = metric.datapoints(&self.store, now);
        let verdict = evaluate(&metric.criteria, &datapoints)?;
        if verdict.state == alarm.condition.state && verdict.reason == alarm.condition.reason {
            return None;
        }
        let start = now.as_millisecond() - metric.played_ms * i64::try_from(datapoints.len()).ok()?;
        let data = json!({
            "version": "1.0",
            "queryDate": stamp(now),
            "startDate": stamp(Timestamp::from_millisecond(start).ok()?),
            "statistic": metric.statistic,
            "period": metric.period_secs,
            "recentDatapoints": verdict.recent,
            "threshold": metric.criteria.threshold,
        });
        Some(Condition {
            state: verdict.state,
            reason: verdict.reason,
            reason_data: Some(data.to_string()),
            updated: now,
            transitioned: now,
        })
    }

    fn composite_condition(&self, name: &str, now: Timestamp) -> Option<Condition> {
        let alarm = self.alarms.get(name)?;
        if alarm.held_until.is_some_and(|until| now < until) {
            return None;
        }
        let Kind::Composite(rule) = &alarm.kind else { return None };
        let state_of = |name: &str| self.alarms.get(name).map(|alarm| alarm.condition.state);
        let state = if rule.holds(&state_of) { AlarmState::Alarm } else { AlarmState::Ok };
        if state == alarm.condition.state {
            return None;
        }
        let children: Vec<&Alarm> =
            rule.names().into_iter().filter_map(|name| self.alarms.get(name)).collect();
        let newest = children.iter().max_by_key(|child| child.condition.transitioned);
        let reason = newest.map_or_else(
            || "The alarm rule was evaluated".to_owned(),
            |child| {
                let when = child.condition.transitioned.strftime("%A %d %B, %Y %H:%M:%S UTC");
                format!("{} transitioned to {} at {when}", child.arn, child.condition.value())
            },
        );
        let triggering: Vec<Value> = (children.iter())
            .filter(|child| child.condition.state == AlarmState::Alarm || state == AlarmState::Ok)
            .map(|child| {
                json!({
                    "arn": child.arn,
                    "state": {"value": child.condition.value(), "timestamp": stamp(child.condition.transitioned)},
                })
            })
            .collect();
        Some(Condition {
            state,
            reason,
            reason_data: Some(json!({"triggeringAlarms": triggering}).to_string()),
            updated: now,
            transitioned: now,
        })
    }

    fn event(&self, alarm: &Alarm, previous: &Condition, now: Timestamp) -> ServiceEvent {
        let mut state = alarm.condition.describe();
        if let Some(suppressor) = alarm.members.get("ActionsSuppressor").and_then(Value::as_str) {
            let name = suppressor.rsplit_once(":alarm:").map_or(suppressor, |(_, name)| name);
            if self.alarms.get(name).is_some_and(|alarm| alarm.condition.state == AlarmState::Alarm) {
                state.insert("actionsSuppressedBy".to_owned(), "Alarm".into());
                let reason = format!("Actions suppressed by {name}");
                state.insert("actionsSuppressedReason".to_owned(), reason.into());
            }
        }
        let mut detail = json!({
            "alarmName": alarm.name,
            "configuration": alarm.event_configuration(),
            "previousState": previous.describe(),
            "state": state,
        });
        let muted = (self.mutes.values())
            .filter(|mute| mute.alarms.contains(&alarm.name))
            .find_map(|mute| Some((mute, mute.window(now)?)));
        if let Some((mute, (start, end))) = muted {
            detail["muteDetail"] = json!({
                "mutedByArn": mute.arn,
                "muteWindowStart": stamp(start),
                "muteWindowEnd": stamp(end),
            });
        }
        ServiceEvent {
            source: "aws.cloudwatch".to_owned(),
            detail_type: "CloudWatch Alarm State Change".to_owned(),
            resources: vec![alarm.arn.clone()],
            detail,
            time: now,
        }
    }
}

impl MetricAlarm {
    /// One datapoint a period, newest last, in windows that end now.
    fn datapoints(&self, store: &Store, now: Timestamp) -> Vec<Option<f64>> {
        let period = self.played_ms;
        let end = now.as_millisecond().div_euclid(BUCKET_MS) * BUCKET_MS;
        let periods = i64::try_from(self.criteria.evaluation_periods + LOOK_BACK).unwrap_or(i64::MAX);
        (0..periods)
            .rev()
            .map(|back| {
                let (from, to) = (end - (back + 1) * period, end - back * period);
                self.source.value(&|metric| store.between(metric, from, to))
            })
            .collect()
    }
}

impl Source {
    /// Its value where the metrics have what `read` says.
    pub(super) fn value(&self, read: &dyn Fn(&Metric) -> Option<Summary>) -> Option<f64> {
        match self {
            Self::Metric { metric, statistic } => read(metric)?.statistic(statistic),
            Self::Math { metrics, expression } => {
                let values: HashMap<String, Option<f64>> = metrics
                    .iter()
                    .map(|(id, metric, statistic)| {
                        (id.clone(), read(metric).and_then(|it| it.statistic(statistic)))
                    })
                    .collect();
                // Checked when the alarm was put.
                arithmetic(expression, &values).ok().flatten()
            }
        }
    }

    /// The metrics it is made of.
    pub(super) fn metrics(&self) -> Vec<&Metric> {
        match self {
            Self::Metric { metric, .. } => vec![metric],
            Self::Math { metrics, .. } => metrics.iter().map(|(_, metric, _)| metric).collect(),
        }
    }
}

impl Alarm {
    /// `configuration` of the event.
    fn event_configuration(&self) -> Value {
        let mut configuration = Map::new();
        if let Some(description) = self.members.get("AlarmDescription") {
            configuration.insert("description".to_owned(), description.clone());
        }
        match &self.kind {
            Kind::Composite(_) => {
                for (event, member) in [
                    ("alarmRule", "AlarmRule"),
                    ("actionsSuppressor", "ActionsSuppressor"),
                    ("actionsSuppressorWaitPeriod", "ActionsSuppressorWaitPeriod"),
                    ("actionsSuppressorExtensionPeriod", "ActionsSuppressorExtensionPeriod"),
                ] {
                    if let Some(value) = self.members.get(member) {
                        configuration.insert(event.to_owned(), value.clone());
                    }
                }
            }
            Kind::Metric(alarm) => {
                configuration.insert("metrics".to_owned(), self.event_metrics(alarm).into());
            }
        }
        Value::Object(configuration)
    }

    fn event_metrics(&self, alarm: &MetricAlarm) -> Vec<Value> {
        let entry = |id: &str, metric: &Metric, statistic: &str, returned: bool| {
            let dimensions: Map<String, Value> =
                metric.dimensions.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            json!({
                "id": id,
                "metricStat": {
                    "metric": {"dimensions": dimensions, "name": metric.name, "namespace": metric.namespace},
                    "period": alarm.period_secs,
                    "stat": statistic,
                },
                "returnData": returned,
            })
        };
        match &alarm.source {
            // CloudWatch makes up an id for an alarm without one; a name-based one keeps events comparable.
            Source::Metric { metric, statistic } => vec![entry("m1", metric, statistic, true)],
            Source::Math { metrics, expression } => {
                let mut entries: Vec<Value> = metrics
                    .iter()
                    .map(|(id, metric, statistic)| entry(id, metric, statistic, false))
                    .collect();
                entries.insert(0, json!({"id": "expression", "expression": expression, "returnData": true}));
                entries
            }
        }
    }

    /// The alarm as `DescribeAlarms` answers it.
    pub(super) fn describe(&self) -> Value {
        let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
        let mut members = self.members.clone();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        set("AlarmName", self.name.clone().into());
        set("AlarmArn", self.arn.clone().into());
        set("AlarmConfigurationUpdatedTimestamp", seconds(self.configured).into());
        set("StateValue", self.condition.value().into());
        set("StateReason", self.condition.reason.clone().into());
        if let Some(data) = &self.condition.reason_data {
            set("StateReasonData", data.clone().into());
        }
        set("StateUpdatedTimestamp", seconds(self.condition.updated).into());
        set("StateTransitionedTimestamp", seconds(self.condition.transitioned).into());
        Value::Object(members)
    }
}
