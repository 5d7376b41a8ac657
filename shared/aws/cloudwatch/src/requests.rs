//! How many requests target groups have answered, from the metrics of Application Load Balancers.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, StatusCode};
use jiff::Timestamp;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::Target;
use tidegate_core::ports::Metrics;
use tidegate_core::vocab::cloudwatch::RequestsAsked;

use crate::CloudWatchAdapter;

const OPERATION: &str = "cloudwatch:GetMetricData";
/// Load balancers send their metrics every minute.
const PERIOD_SECS: i32 = 60;
/// `GetMetricData` takes this many queries.
const QUERIES_A_CALL: usize = 500;

#[async_trait]
impl Metrics for CloudWatchAdapter {
    async fn requests(
        &self,
        target: &Target,
        asked: &RequestsAsked,
        until: Timestamp,
    ) -> Result<u64, PortError> {
        let (from, to) = (asked.since.as_second(), until.as_second());
        let queries = queries(asked);
        // CloudWatch refuses a time that does not pass.
        if from >= to || queries.is_empty() {
            return Ok(0);
        }
        let client = self.clients.client(target).await;
        let mut total = 0.0;
        for some in queries.chunks(QUERIES_A_CALL) {
            total += sum(&client, some, from, to).await?;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count; the cast saturates"
        )]
        Ok(total.round() as u64)
    }
}

/// One for each target group behind each load balancer: several rules of one load balancer share the metric.
fn queries(asked: &RequestsAsked) -> Vec<MetricDataQuery> {
    let metrics: BTreeSet<(String, &str)> = asked
        .behind
        .iter()
        .filter_map(|(rule, group)| Some((rule.application_load_balancer()?, group.metric_name())))
        .collect();
    let query = |(number, (balancer, group)): (usize, (String, &str))| {
        let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let metric = Metric::builder()
            .namespace("AWS/ApplicationELB")
            .metric_name("RequestCount")
            .dimensions(dimension("LoadBalancer", &balancer))
            .dimensions(dimension("TargetGroup", group))
            .build();
        let stat = MetricStat::builder().metric(metric).period(PERIOD_SECS).stat("Sum").build();
        MetricDataQuery::builder().id(format!("r{number}")).metric_stat(stat).return_data(true).build()
    };
    metrics.into_iter().enumerate().map(query).collect()
}

/// The sum over the whole periods that began at `from` or later. CloudWatch rounds the beginning down to the minute, and the minute in which
/// the bake began holds the traffic of the share before.
async fn sum(client: &Client, queries: &[MetricDataQuery], from: i64, to: i64) -> Result<f64, PortError> {
    let (mut total, mut next) = (0.0, None);
    let mut unfinished: BTreeMap<String, StatusCode> = BTreeMap::new();
    loop {
        let call = client
            .get_metric_data()
            .set_metric_data_queries(Some(queries.to_vec()))
            .start_time(DateTime::from_secs(from))
            .end_time(DateTime::from_secs(to))
            .set_next_token(next);
        let page = call.send().await.map_err(|error| port_error(OPERATION, error))?;
        for result in page.metric_data_results() {
            let points = result.timestamps().iter().zip(result.values());
            total += points.filter(|(at, _)| at.secs() >= from).map(|(_, value)| value).sum::<f64>();
            let id = result.id().unwrap_or_default().to_owned();
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
        None => Ok(total),
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

    fn asked(rules: &[&str]) -> RequestsAsked {
        let since = Timestamp::from_second(1_763_000_030).unwrap();
        RequestsAsked { behind: rules.iter().map(|rule| behind(rule)).collect(), since }
    }

    async fn requests(replay: &Replay, asked: &RequestsAsked, secs: i64) -> Result<u64, PortError> {
        let until = Timestamp::from_second(1_763_000_030 + secs).unwrap();
        CloudWatchAdapter::new(replay.config()).requests(&target(), asked, until).await
    }

    /// Values by seconds after the beginning.
    fn result(status: &str, points: &[(i64, f64)]) -> Value {
        let times: Vec<f64> = points.iter().map(|(at, _)| (1_763_000_030 + at) as f64).collect();
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        json!({ "Id": "r0", "Timestamps": times, "Values": values, "StatusCode": status })
    }

    fn answered(replay: &Replay, result: Value, next: Option<&str>) {
        replay.answer(
            "GetMetricData",
            Answer::cbor(&json!({ "MetricDataResults": [result], "NextToken": next })),
        );
    }

    const RULE: &str = "listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee";

    #[tokio::test]
    async fn requests_are_summed_over_the_minutes_that_began_in_the_bake() {
        let replay = Replay::new();
        answered(&replay, result("Complete", &[(-30, 500.0), (30, 40.0), (90, 2.0)]), None);
        assert_eq!(requests(&replay, &asked(&[RULE]), 300).await, Ok(42));
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
    async fn two_rules_of_one_load_balancer_are_one_metric_and_pages_are_summed() {
        let replay = Replay::new();
        answered(&replay, result("PartialData", &[(30, 5.0)]), Some("more"));
        answered(&replay, result("Complete", &[(90, 6.0)]), None);
        let other = "listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/0000000000000000";
        assert_eq!(requests(&replay, &asked(&[RULE, other]), 300).await, Ok(11));
        assert_eq!(replay.calls("GetMetricData")[0].json()["MetricDataQueries"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_complete_is_not_a_number() {
        for (status, kind) in [
            ("InternalError", ErrorKind::Unavailable),
            ("Forbidden", ErrorKind::Denied),
            ("New", ErrorKind::Unavailable),
        ] {
            let replay = Replay::new();
            answered(&replay, result(status, &[]), None);
            assert_eq!(requests(&replay, &asked(&[RULE]), 300).await.unwrap_err().kind, kind, "{status}");
        }
    }

    #[tokio::test]
    async fn no_data_yet_is_none_seen() {
        let replay = Replay::new();
        answered(&replay, result("Complete", &[]), None);
        assert_eq!(requests(&replay, &asked(&[RULE]), 300).await, Ok(0));
    }

    #[tokio::test]
    async fn where_nothing_is_counted_nothing_is_asked() {
        let replay = Replay::new();
        assert_eq!(requests(&replay, &asked(&["listener/net/shop/1/2"]), 300).await, Ok(0));
        assert_eq!(requests(&replay, &asked(&[RULE]), 0).await, Ok(0));
        assert!(replay.operations().is_empty());
    }
}
