//! The values of metrics, all that a look needs in one call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, StatusCode};
use jiff::Timestamp;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::Target;
use tidegate_core::ports::Metrics;
use tidegate_core::vocab::cloudwatch::{MetricsAsked, MetricsSeen, Series};

use crate::CloudWatchAdapter;

const OPERATION: &str = "cloudwatch:GetMetricData";
/// `GetMetricData` takes this many queries.
const QUERIES_A_CALL: usize = 500;

#[async_trait]
impl Metrics for CloudWatchAdapter {
    async fn observe(
        &self,
        place: &Target,
        asked: &MetricsAsked,
        until: Timestamp,
    ) -> Result<MetricsSeen, PortError> {
        let span = (asked.from.as_second(), until.as_second());
        // CloudWatch refuses a time that does not pass.
        if span.0 >= span.1 || asked.series.is_empty() {
            return Ok(MetricsSeen::new());
        }
        let client = self.clients.client(place).await;
        let every = i32::try_from(asked.every_secs).unwrap_or(i32::MAX);
        let series: Vec<&Series> = asked.series.iter().collect();
        let mut seen = MetricsSeen::new();
        for some in series.chunks(QUERIES_A_CALL) {
            seen.extend(read(&client, some, every, span).await?);
        }
        Ok(seen)
    }
}

fn query(number: usize, series: &Series, every: i32) -> MetricDataQuery {
    let dimensions = series
        .dimensions
        .iter()
        .map(|(name, value)| Dimension::builder().name(name).value(value).build())
        .collect::<Vec<_>>();
    let metric = Metric::builder()
        .namespace(&series.namespace)
        .metric_name(&series.metric)
        .set_dimensions(Some(dimensions))
        .build();
    let stat = MetricStat::builder().metric(metric).period(every).stat(&series.stat).build();
    MetricDataQuery::builder().id(format!("m{number}")).metric_stat(stat).return_data(true).build()
}

/// The values of some metrics, from all the pages there are. Anything but complete is no answer: a sum of half of it would be a number too.
async fn read(
    client: &Client,
    series: &[&Series],
    every: i32,
    (from, until): (i64, i64),
) -> Result<MetricsSeen, PortError> {
    let queries: Vec<MetricDataQuery> =
        series.iter().enumerate().map(|(number, series)| query(number, series, every)).collect();
    let mut seen: MetricsSeen = series.iter().map(|series| ((*series).clone(), BTreeMap::new())).collect();
    let asked = queries.iter().filter_map(|query| query.id().map(ToOwned::to_owned));
    let not_answered = |id| (id, StatusCode::from("no answer"));
    let mut unfinished: BTreeMap<String, StatusCode> = asked.map(not_answered).collect();
    let mut next = None;
    loop {
        let call = client
            .get_metric_data()
            .set_metric_data_queries(Some(queries.clone()))
            .start_time(DateTime::from_secs(from))
            .end_time(DateTime::from_secs(until))
            .set_next_token(next);
        let page = call.send().await.map_err(|error| port_error(OPERATION, error))?;
        for result in page.metric_data_results() {
            let id = result.id().unwrap_or_default().to_owned();
            let number = id.strip_prefix('m').and_then(|number| number.parse::<usize>().ok());
            if let Some(series) = number.and_then(|number| series.get(number)) {
                // CloudWatch rounds the beginning down: a window that had begun before `from` is left out by whoever counts.
                let points = result.timestamps().iter().zip(result.values());
                let points = points.filter(|(_, value)| value.is_finite());
                let told =
                    points.filter_map(|(at, value)| Some((Timestamp::from_second(at.secs()).ok()?, *value)));
                seen.entry((*series).clone()).or_default().extend(told);
            }
            match result.status_code() {
                None | Some(StatusCode::Complete) => _ = unfinished.remove(&id),
                Some(other) => _ = unfinished.insert(id, other.clone()),
            }
        }
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    match unfinished.into_values().next() {
        None => Ok(seen),
        Some(status) => {
            let kind =
                if status.as_str() == "Forbidden" { ErrorKind::Denied } else { ErrorKind::Unavailable };
            Err(PortError::new(
                kind,
                OPERATION,
                status.as_str(),
                "CloudWatch did not answer with all the data",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_core::ids::{RuleArn, TargetGroupArn};
    use tidegate_replay::{Answer, Replay};
    use tidegate_testkit::names::target;

    use super::*;

    const ARN: &str = "arn:aws:elasticloadbalancing:eu-central-1:111122223333";

    fn behind(rule: &str) -> (RuleArn, TargetGroupArn) {
        let group = TargetGroupArn::new(format!("{ARN}:targetgroup/green/73e2d6bc24d8a067")).unwrap();
        (RuleArn::new(format!("{ARN}:{rule}")).unwrap(), group)
    }

    fn asked(rules: &[&str]) -> MetricsAsked {
        let from = Timestamp::from_second(1_763_000_030).unwrap();
        let series = |rule: &&str| {
            let (rule, group) = behind(rule);
            Series::requests(&rule, &group)
        };
        MetricsAsked { series: rules.iter().filter_map(series).collect(), from, every_secs: 60 }
    }

    async fn observe(replay: &Replay, asked: &MetricsAsked, secs: i64) -> Result<MetricsSeen, PortError> {
        let until = Timestamp::from_second(1_763_000_030 + secs).unwrap();
        CloudWatchAdapter::new(replay.config()).observe(&target(), asked, until).await
    }

    /// The values of the only metric.
    fn values(seen: MetricsSeen) -> Vec<f64> {
        seen.into_values().next().unwrap_or_default().into_values().collect()
    }

    /// Values by seconds after the beginning.
    fn result(status: &str, points: &[(i64, f64)]) -> Value {
        let times: Vec<f64> = points.iter().map(|(at, _)| (1_763_000_030 + at) as f64).collect();
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        json!({ "Id": "m0", "Timestamps": times, "Values": values, "StatusCode": status })
    }

    fn answered(replay: &Replay, result: Value, next: Option<&str>) {
        replay.answer(
            "GetMetricData",
            Answer::cbor(&json!({ "MetricDataResults": [result], "NextToken": next })),
        );
    }

    const RULE: &str = "listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee";

    #[tokio::test]
    async fn values_are_told_by_their_window() {
        let replay = Replay::new();
        answered(&replay, result("Complete", &[(30, 40.0), (90, 2.0)]), None);
        assert_eq!(values(observe(&replay, &asked(&[RULE]), 300).await.unwrap()), [40.0, 2.0]);
        let call = replay.calls("GetMetricData")[0].json();
        let stat = &call["MetricDataQueries"][0]["MetricStat"];
        assert_eq!((&stat["Stat"], &stat["Period"]), (&json!("Sum"), &json!(60)));
        assert_eq!(
            stat["Metric"],
            json!({ "Namespace": "AWS/ApplicationELB", "MetricName": "RequestCount", "Dimensions": [
                { "Name": "LoadBalancer", "Value": "app/shop/50dc6c495c0c9188" },
                { "Name": "TargetGroup", "Value": "targetgroup/green/73e2d6bc24d8a067" },
            ] })
        );
    }

    #[tokio::test]
    async fn two_rules_of_one_load_balancer_are_one_metric_and_pages_are_put_together() {
        let replay = Replay::new();
        answered(&replay, result("PartialData", &[(30, 5.0)]), Some("more"));
        answered(&replay, result("Complete", &[(90, 6.0)]), None);
        let other = "listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/0000000000000000";
        assert_eq!(values(observe(&replay, &asked(&[RULE, other]), 300).await.unwrap()), [5.0, 6.0]);
        assert_eq!(replay.calls("GetMetricData")[0].json()["MetricDataQueries"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_complete_is_not_a_number() {
        for (status, kind) in [
            ("InternalError", ErrorKind::Unavailable),
            ("PartialData", ErrorKind::Unavailable),
            ("Forbidden", ErrorKind::Denied),
            ("New", ErrorKind::Unavailable),
        ] {
            let replay = Replay::new();
            answered(&replay, result(status, &[]), None);
            assert_eq!(observe(&replay, &asked(&[RULE]), 300).await.unwrap_err().kind, kind, "{status}");
        }
    }

    #[tokio::test]
    async fn a_metric_that_is_not_answered_at_all_is_not_nothing() {
        let replay = Replay::new();
        replay.answer("GetMetricData", Answer::cbor(&json!({ "MetricDataResults": [] })));
        let error = observe(&replay, &asked(&[RULE]), 300).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn no_data_yet_is_no_value() {
        let replay = Replay::new();
        answered(&replay, result("Complete", &[]), None);
        assert_eq!(values(observe(&replay, &asked(&[RULE]), 300).await.unwrap()), [0.0; 0]);
    }

    #[tokio::test]
    async fn where_nothing_is_counted_nothing_is_asked() {
        let replay = Replay::new();
        assert!(observe(&replay, &asked(&["listener/net/shop/1/2"]), 300).await.unwrap().is_empty());
        assert!(observe(&replay, &asked(&[RULE]), 0).await.unwrap().is_empty());
        assert!(replay.operations().is_empty());
    }

    #[tokio::test]
    async fn slow_requests_and_errors_are_asked_for_as_cloudwatch_counts_them() {
        let (rule, group) = behind(RULE);
        let mut series: Vec<Series> = Series::errors(&rule, &group);
        series.extend(Series::slower_than(&rule, &group, 0.5));
        let replay = Replay::new();
        let results: Vec<Value> =
            (0..3).map(|number| json!({ "Id": format!("m{number}"), "Timestamps": [], "Values": [], "StatusCode": "Complete" })).collect();
        replay.answer("GetMetricData", Answer::cbor(&json!({ "MetricDataResults": results })));
        let from = Timestamp::from_second(1_763_000_030).unwrap();
        let asked = MetricsAsked { series: series.into_iter().collect(), from, every_secs: 10 };
        observe(&replay, &asked, 300).await.unwrap();
        let call = replay.calls("GetMetricData")[0].json();
        let mut told: Vec<String> = call["MetricDataQueries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|query| {
                let stat = &query["MetricStat"];
                format!(
                    "{} {} {}",
                    stat["Metric"]["MetricName"].as_str().unwrap(),
                    stat["Stat"].as_str().unwrap(),
                    stat["Period"]
                )
            })
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                "HTTPCode_Target_5XX_Count Sum 10",
                "TargetConnectionErrorCount Sum 10",
                "TargetResponseTime TC(0.5:) 10"
            ]
        );
    }
}
