//! Metric data: what is put, and what is asked for. What the API reference says of limits and refusals holds here, too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::alarm::Source;
use super::api::{
    Answer, check_expression, check_statistic, invalid, list, metric, metrics_period, millis, period,
    query_metrics, required, strings, time,
};
use super::store::{Arrived, Metric};
use super::{Options, State};
use crate::ports::AwsError;

/// `GetMetricData` takes so many queries.
const MOST_QUERIES: usize = 500;
/// It answers so many values at once, and that is the most that can be asked for.
const MOST_POINTS: usize = 100_800;
/// `GetMetricStatistics` answers so many datapoints.
const MOST_DATAPOINTS: i64 = 1440;
/// `PutMetricData` takes so many metrics, with so many values and dimensions each.
const MOST_METRICS: usize = 1000;
const MOST_VALUES: usize = 150;
const MOST_DIMENSIONS: usize = 30;
/// And values this old, and this far ahead.
const OLDEST: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_hours(2);

/// An answer of `GetMetricData` that lacks something, and says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incomplete {
    /// What it lacks.
    pub status: Lack,
    /// A part of the metric's name; every metric when empty.
    #[serde(default)]
    pub metric: String,
    /// How many answers will be so; each metric of an answer counts.
    pub count: u64,
}

/// The status codes of results that are not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lack {
    /// Only the older half of the values is there, and there is no more.
    PartialData,
    /// None is.
    InternalError,
    /// None is, because the caller may not see it.
    Forbidden,
}

/// One query's values, oldest first.
struct Series {
    id: String,
    label: String,
    points: Vec<(i64, f64)>,
    status: &'static str,
}

/// What time a question is about.
struct Span {
    from: i64,
    to: i64,
}

impl State {
    pub(super) fn put_metric_data(&mut self, input: &Value, now: Timestamp) -> Answer {
        let namespace = required(input, "Namespace")?;
        if namespace.starts_with("AWS/") {
            return Err(refused("The value AWS/ for parameter Namespace is invalid."));
        }
        let data: Vec<&Value> = list(input, "MetricData").collect();
        if data.len() > MOST_METRICS {
            return Err(refused("The collection MetricData must not have a size greater than 1000."));
        }
        // All or nothing.
        data.iter().try_for_each(|datum| check_datum(datum, now))?;
        for datum in data {
            let mut datum = datum.clone();
            datum["Namespace"] = namespace.into();
            let (metric, at) = (metric(&datum)?, time(&datum["Timestamp"]).unwrap_or(now));
            let set = &datum["StatisticValues"];
            let number = |member: &str| set[member].as_f64().unwrap_or_default();
            if set.is_object() {
                let (least, most) = (number("Minimum"), number("Maximum"));
                self.store.add_set(metric, at, number("SampleCount"), number("Sum"), least, most);
            } else if let Some(values) = datum["Values"].as_array().filter(|values| !values.is_empty()) {
                let counts: Vec<f64> = list(&datum, "Counts").filter_map(Value::as_f64).collect();
                for (index, value) in values.iter().filter_map(Value::as_f64).enumerate() {
                    self.store.add(metric.clone(), at, value, counts.get(index).copied().unwrap_or(1.0));
                }
            } else {
                self.store.add(metric, at, datum["Value"].as_f64().unwrap_or_default(), 1.0);
            }
        }
        Ok(json!({}))
    }

    pub(super) fn get_metric_data(&mut self, options: &Options, input: &Value, now: Timestamp) -> Answer {
        let span = span(input)?;
        let queries: Vec<&Value> = list(input, "MetricDataQueries").collect();
        check_queries(&queries)?;
        let most = match input["MaxDatapoints"].as_u64().and_then(|most| usize::try_from(most).ok()) {
            None => MOST_POINTS,
            Some(most @ 1..=MOST_POINTS) => most,
            Some(_) => {
                return Err(invalid("The value for parameter MaxDatapoints must be between 1 and 100800."));
            }
        };
        let skipped = match input["NextToken"].as_str() {
            None => 0,
            Some(token) => {
                token.strip_prefix("after-").and_then(|number| number.parse().ok()).ok_or_else(|| {
                    AwsError::new("InvalidNextToken", "The value for parameter NextToken is invalid.")
                })?
            }
        };
        let newest_first = input["ScanBy"] != "TimestampAscending";
        let mut series = Vec::new();
        for query in queries.iter().filter(|query| query["ReturnData"] != false) {
            let mut one = self.series(options, &queries, query, &span, now)?;
            self.lack(&mut one);
            if newest_first {
                one.points.reverse();
            }
            series.push(one);
        }
        Ok(page(&series, skipped, most))
    }

    fn series(
        &self,
        options: &Options,
        queries: &[&Value],
        query: &Value,
        span: &Span,
        now: Timestamp,
    ) -> Result<Series, AwsError> {
        let id = required(query, "Id")?;
        let (source, period_secs) = match query["Expression"].as_str() {
            Some(expression) => {
                let metrics = query_metrics(queries)?;
                let shared = metrics_period(&metrics);
                let named = metrics.into_iter().map(|(id, metric, stat, _)| (id, metric, stat));
                let source = Source::Math { metrics: named.collect(), expression: expression.to_owned() };
                check_expression(&source)?;
                (source, if query["Period"].is_null() { shared } else { period(&query["Period"])? })
            }
            None => {
                let of = &query["MetricStat"];
                let statistic = required(of, "Stat")?.to_owned();
                check_statistic(&statistic)?;
                (Source::Metric { metric: metric(&of["Metric"])?, statistic }, period(&of["Period"])?)
            }
        };
        check_period(period_secs)?;
        let label = query["Label"].as_str().or_else(|| query["MetricStat"]["Metric"]["MetricName"].as_str());
        let arrived = options.arrived(now);
        let step = options.step_ms(&source.metrics(), period_secs);
        let value = |from, to| source.value(&|metric| self.store.arrived(metric, from, to, arrived));
        Ok(Series {
            id: id.to_owned(),
            label: label.unwrap_or(id).to_owned(),
            points: points(span, step, value),
            status: "Complete",
        })
    }

    /// Takes away what answers are asked to lack.
    fn lack(&mut self, series: &mut Series) {
        let mut fitting =
            self.incomplete.iter_mut().filter(|it| it.count > 0 && series.label.contains(&it.metric));
        let Some(incomplete) = fitting.next() else { return };
        incomplete.count -= 1;
        (series.status, series.points) = match incomplete.status {
            Lack::PartialData => {
                let half = series.points.len() / 2;
                ("PartialData", series.points[..half].to_vec())
            }
            Lack::InternalError => ("InternalError", Vec::new()),
            Lack::Forbidden => ("Forbidden", Vec::new()),
        };
    }

    pub(super) fn get_metric_statistics(&self, options: &Options, input: &Value, now: Timestamp) -> Answer {
        let (metric, period_secs, span) = (metric(input)?, period(&input["Period"])?, span(input)?);
        check_period(period_secs)?;
        let (plain, extended) = (strings(input, "Statistics"), strings(input, "ExtendedStatistics"));
        if plain.is_empty() == extended.is_empty() {
            return Err(combination(
                "Either Statistics or ExtendedStatistics must be specified, but not both.",
            ));
        }
        plain.iter().chain(&extended).try_for_each(|statistic| check_statistic(statistic))?;
        let asked = (span.to - span.from) / (period_secs * 1000);
        if asked > MOST_DATAPOINTS {
            return Err(combination(&format!(
                "You have requested up to {asked} datapoints, which exceeds the limit of 1,440. You may reduce the datapoints requested by increasing Period, or decreasing the time range."
            )));
        }
        let arrived = options.arrived(now);
        let step = options.step_ms(&[&metric], period_secs);
        let points = points(&span, step, |from, to| self.store.arrived(&metric, from, to, arrived));
        let datapoints: Vec<Value> = (points.iter())
            .map(|(at, summary)| {
                let mut point = Map::new();
                point.insert("Timestamp".to_owned(), seconds(*at));
                point.extend(plain.iter().map(|name| (name.clone(), summary.statistic(name).into())));
                if !extended.is_empty() {
                    let values: Map<String, Value> =
                        extended.iter().map(|name| (name.clone(), summary.statistic(name).into())).collect();
                    point.insert("ExtendedStatistics".to_owned(), values.into());
                }
                Value::Object(point)
            })
            .collect();
        Ok(json!({"Label": metric.name, "Datapoints": datapoints}))
    }

    pub(super) fn list_metrics(&self, input: &Value) -> Answer {
        let wanted = |member: &str, value: &str| input[member].as_str().is_none_or(|wanted| wanted == value);
        let metrics: Vec<Value> = (self.store.metrics().into_iter())
            .filter(|metric| wanted("Namespace", &metric.namespace) && wanted("MetricName", &metric.name))
            .filter(|metric| {
                list(input, "Dimensions").all(|filter| {
                    metric.dimensions.iter().any(|(name, value)| {
                        filter["Name"] == **name
                            && filter["Value"].as_str().is_none_or(|wanted| wanted == value)
                    })
                })
            })
            .map(|metric| {
                let dimensions: Vec<Value> = (metric.dimensions.iter())
                    .map(|(name, value)| json!({"Name": name, "Value": value}))
                    .collect();
                json!({"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions})
            })
            .collect();
        Ok(json!({"Metrics": metrics}))
    }
}

impl Options {
    fn arrived(&self, now: Timestamp) -> Arrived {
        Arrived {
            now_ms: now.as_millisecond(),
            period_ms: self.load_balancer_ms(),
            interpolates: self.interpolates,
            late_ms: i64::try_from(self.lateness.as_millis()).unwrap_or(i64::MAX / 8),
        }
    }

    /// How far apart values are that are asked for by this period: those of load balancers come by their own minute.
    fn step_ms(&self, metrics: &[&Metric], period_secs: i64) -> i64 {
        if !metrics.iter().any(|metric| metric.namespace.starts_with("AWS/")) {
            return period_secs * 1000;
        }
        if period_secs % 60 == 0 {
            return period_secs / 60 * self.load_balancer_ms();
        }
        // Asked for more finely than they are kept, they are told as they are kept.
        (period_secs * 1000).max(self.load_balancer_ms())
    }
}

/// One value a period; periods without data have none. Periods lie on a grid, the first one holds the beginning, which is rounded down to it, and
/// the last one begins before the end.
fn points<T>(span: &Span, step: i64, value: impl Fn(i64, i64) -> Option<T>) -> Vec<(i64, T)> {
    let first = span.from.div_euclid(step);
    let last = (span.to - 1).div_euclid(step);
    let of = |number: i64| value(number * step, (number + 1) * step).map(|value| (number * step, value));
    (first..=last).filter_map(of).collect()
}

/// A page of so many values, after so many of the pages before. A query whose values go on in the next page says so; one whose values do not begin in
/// this page is not in it.
fn page(series: &[Series], skipped: usize, most: usize) -> Value {
    let (mut results, mut passed, mut left) = (Vec::new(), 0, most);
    for one in series {
        let begin = skipped.saturating_sub(passed).min(one.points.len());
        passed += one.points.len();
        let is_told_before = passed <= skipped && !(one.points.is_empty() && skipped == 0);
        if is_told_before || (left == 0 && begin < one.points.len()) {
            continue;
        }
        let end = one.points.len().min(begin + left);
        left -= end - begin;
        let told = &one.points[begin..end];
        results.push(json!({
            "Id": one.id,
            "Label": one.label,
            "Timestamps": told.iter().map(|(at, _)| seconds(*at)).collect::<Vec<_>>(),
            "Values": told.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            "StatusCode": if end < one.points.len() { "PartialData" } else { one.status },
        }));
    }
    let told = skipped + most - left;
    let next = (told < passed).then(|| format!("after-{told}"));
    json!({"MetricDataResults": results, "Messages": [], "NextToken": next})
}

fn refused(message: &str) -> AwsError {
    AwsError::new("InvalidParameterValue", message)
}

fn combination(message: &str) -> AwsError {
    AwsError::new("InvalidParameterCombination", message)
}

fn check_datum(datum: &Value, now: Timestamp) -> Result<(), AwsError> {
    required(datum, "MetricName")?;
    if list(datum, "Dimensions").count() > MOST_DIMENSIONS {
        return Err(refused(
            "The collection MetricData.member.Dimensions must not have a size greater than 30.",
        ));
    }
    if let Some(at) = time(&datum["Timestamp"]) {
        let age = now.duration_since(at);
        if age > OLDEST || age < -AHEAD {
            return Err(refused(
                "The parameter MetricData.member.Timestamp must specify a time within the past two weeks and no more than two hours in the future.",
            ));
        }
    }
    let (set, values) = (&datum["StatisticValues"], list(datum, "Values").count());
    if set.is_object() {
        if set["SampleCount"].as_f64().is_none_or(|count| count <= 0.0) {
            return Err(refused(
                "The parameter MetricData.member.StatisticValues.SampleCount must be greater than 0.",
            ));
        }
    } else if values > MOST_VALUES {
        return Err(refused(
            "The collection MetricData.member.Values must not have a size greater than 150.",
        ));
    } else if values > 0 {
        let counts = list(datum, "Counts").count();
        if counts > 0 && counts != values {
            return Err(refused(
                "The parameters MetricData.member.Values and MetricData.member.Counts must be of the same size.",
            ));
        }
    } else if !datum["Value"].is_number() {
        return Err(AwsError::new("MissingParameter", "The parameter MetricData.member.Value is required."));
    }
    Ok(())
}

fn check_queries(queries: &[&Value]) -> Result<(), AwsError> {
    if queries.is_empty() {
        return Err(AwsError::new("MissingParameter", "The parameter MetricDataQueries is required."));
    }
    if queries.len() > MOST_QUERIES {
        return Err(invalid("The collection MetricDataQueries must not have a size greater than 500."));
    }
    let mut known = std::collections::BTreeSet::new();
    for (number, query) in (1..).zip(queries) {
        let id = required(query, "Id")?;
        let is_name = id.starts_with(|first: char| first.is_ascii_lowercase())
            && id.chars().all(|other| other.is_ascii_alphanumeric() || other == '_');
        if !is_name || id.len() > 255 {
            return Err(invalid(format!(
                "The value {id} for parameter MetricDataQueries.member.{number}.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
            )));
        }
        if !known.insert(id) {
            return Err(invalid("The values for parameter id in MetricDataQueries are not unique"));
        }
        if query["MetricStat"].is_object() == query["Expression"].is_string() {
            return Err(invalid(format!(
                "Either the parameter MetricDataQueries.member.{number}.MetricStat or Expression must be specified, but not both."
            )));
        }
    }
    if queries.iter().all(|query| query["ReturnData"] == false) {
        return Err(invalid("At least one element of the metrics list should return data."));
    }
    Ok(())
}

/// 1, 5, 10, 20, 30 seconds and whole minutes.
fn check_period(secs: i64) -> Result<(), AwsError> {
    if matches!(secs, 1 | 5 | 10 | 20 | 30) || secs % 60 == 0 {
        return Ok(());
    }
    Err(refused("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60."))
}

fn span(input: &Value) -> Result<Span, AwsError> {
    let of = |member: &str| {
        let missing = || AwsError::new("MissingParameter", format!("The parameter {member} is required."));
        millis(&input[member]).ok_or_else(missing)
    };
    let (from, to) = (of("StartTime")?, of("EndTime")?);
    if from >= to {
        return Err(invalid("The parameter StartTime must be less than the parameter EndTime."));
    }
    Ok(Span { from, to })
}

fn seconds(ms: i64) -> Value {
    Timestamp::from_millisecond(ms).map_or(Value::Null, |time| time.as_duration().as_secs_f64().into())
}
