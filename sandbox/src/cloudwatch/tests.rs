use serde_json::Map;

use super::*;
use crate::elb::{Hosts, Sent, Served, ServedBy, TrafficObserver};
use crate::ports::ServiceEvent;

#[derive(Default)]
struct Events(Mutex<Vec<ServiceEvent>>);

impl EventSink for Events {
    fn emit(&self, event: ServiceEvent) {
        self.0.lock().unwrap().push(event);
    }
}

struct Setup {
    cloudwatch: CloudWatch,
    events: Arc<Events>,
}

fn setup() -> Setup {
    let events = Arc::new(Events::default());
    // A minute of an alarm takes a second.
    let options = Options { seconds_per_minute: 1.0, ..Options::new("123456789012", "eu-west-1") };
    Setup { cloudwatch: CloudWatch::new(options, events.clone()), events }
}

/// Milliseconds after an arbitrary beginning.
fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

impl CloudWatch {
    /// What an operation answers at a moment.
    fn answer(&self, now: Timestamp, operation: &str, input: &Value) -> Result<Value, AwsError> {
        self.inner.lock().answer(&self.inner.options, operation, input, now).map(|(answer, _)| answer)
    }
}

impl Setup {
    async fn call(&self, operation: &str, input: Value) -> Value {
        self.cloudwatch.call(operation, input, &Caller::default()).await.unwrap()
    }

    /// `count` answers spread over the second that begins at `from_ms`.
    fn serve(&self, from_ms: i64, count: i64, status: u16) {
        for n in 0..count {
            self.cloudwatch.served(&Served {
                at: at(from_ms + n * 1000 / count),
                load_balancer: "app/shop/1".into(),
                target_group: Some("targetgroup/green/2".into()),
                status,
                by: ServedBy::Target,
                sent: Sent::Taken,
                target_time: Some(Duration::from_millis(10)),
                version: None,
            });
        }
    }

    fn states(&self, name: &str) -> Vec<String> {
        let events = self.events.0.lock().unwrap();
        let of_alarm = events.iter().filter(|event| event.detail["alarmName"] == name);
        of_alarm.map(|event| event.detail["state"]["value"].as_str().unwrap().to_owned()).collect()
    }
}

fn alarm(name: &str, changes: Value) -> Value {
    let mut input = json!({
        "AlarmName": name,
        "Namespace": "AWS/ApplicationELB",
        "MetricName": "HTTPCode_Target_5XX_Count",
        "Dimensions": [
            {"Name": "TargetGroup", "Value": "targetgroup/green/2"},
            {"Name": "LoadBalancer", "Value": "app/shop/1"},
        ],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": 2.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    });
    let members: &mut Map<String, Value> = input.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    input
}

#[tokio::test]
async fn an_alarm_follows_the_traffic() {
    let setup = setup();
    setup.call("PutMetricAlarm", alarm("errors", json!({"AlarmDescription": "5xx"}))).await;
    setup.cloudwatch.evaluate(at(0));
    assert_eq!(setup.cloudwatch.state("errors"), Some(AlarmState::Ok));
    // One bad second is not two.
    setup.serve(0, 5, 500);
    setup.cloudwatch.evaluate(at(1000));
    assert_eq!(setup.cloudwatch.state("errors"), Some(AlarmState::Ok));
    setup.serve(1000, 5, 500);
    // The second second is complete enough long before it is over.
    setup.cloudwatch.evaluate(at(1800));
    assert_eq!(setup.cloudwatch.state("errors"), Some(AlarmState::Alarm));
    setup.serve(2000, 5, 200);
    setup.cloudwatch.evaluate(at(5000));
    // As on AWS, periods without data make the alarm look further back than it evaluates.
    assert_eq!(setup.cloudwatch.state("errors"), Some(AlarmState::Alarm));
    setup.cloudwatch.evaluate(at(6000));
    assert_eq!(setup.states("errors"), ["OK", "ALARM", "OK"]);
}

#[tokio::test]
async fn the_event_has_the_documented_shape() {
    let setup = setup();
    setup
        .call(
            "PutMetricAlarm",
            alarm(
                "errors",
                json!({"AlarmDescription": "5xx", "EvaluationPeriods": 1, "DatapointsToAlarm": 1}),
            ),
        )
        .await;
    setup.call("PutCompositeAlarm", json!({"AlarmName": "any", "AlarmRule": "ALARM(errors)"})).await;
    setup.cloudwatch.evaluate(at(0));
    setup.serve(0, 5, 500);
    setup.cloudwatch.evaluate(at(1000));
    let events = setup.events.0.lock().unwrap().clone();
    let event = &events[2];
    assert_eq!(
        (event.source.as_str(), event.detail_type.as_str()),
        ("aws.cloudwatch", "CloudWatch Alarm State Change")
    );
    assert_eq!(event.resources, ["arn:aws:cloudwatch:eu-west-1:123456789012:alarm:errors"]);
    let detail = &event.detail;
    assert_eq!(detail["configuration"]["description"], "5xx");
    let metric = &detail["configuration"]["metrics"][0]["metricStat"];
    assert_eq!(
        *metric,
        json!({
            "metric": {
                "dimensions": {"LoadBalancer": "app/shop/1", "TargetGroup": "targetgroup/green/2"},
                "name": "HTTPCode_Target_5XX_Count",
                "namespace": "AWS/ApplicationELB",
            },
            "period": 60,
            "stat": "Sum",
        })
    );
    assert_eq!(
        (&detail["previousState"]["value"], &detail["state"]["value"]),
        (&json!("OK"), &json!("ALARM"))
    );
    assert_eq!(detail["state"]["timestamp"], "2027-01-15T08:00:01.000+0000");
    let data: Value = serde_json::from_str(detail["state"]["reasonData"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&data["version"], &data["recentDatapoints"], &data["threshold"]),
        (&json!("1.0"), &json!([5.0]), &json!(2.0))
    );

    let composite = &events[3].detail;
    assert_eq!(
        (&composite["alarmName"], &composite["configuration"]["alarmRule"]),
        (&json!("any"), &json!("ALARM(errors)"))
    );
    let data: Value = serde_json::from_str(composite["state"]["reasonData"].as_str().unwrap()).unwrap();
    assert_eq!(data["triggeringAlarms"][0]["arn"], event.resources[0]);
    assert_eq!(data["triggeringAlarms"][0]["state"]["value"], "ALARM");
}

#[tokio::test]
async fn an_alarm_on_the_share_of_errors() {
    let setup = setup();
    let stat = |id: &str, name: &str| {
        let metric = json!({"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": [{"Name": "LoadBalancer", "Value": "app/shop/1"}]});
        json!({"Id": id, "ReturnData": false, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}})
    };
    let input = json!({
        "AlarmName": "share", "EvaluationPeriods": 1, "Threshold": 20, "ComparisonOperator": "GreaterThanThreshold",
        "Metrics": [
            stat("errors", "HTTPCode_Target_5XX_Count"),
            stat("requests", "RequestCount"),
            {"Id": "share", "Expression": "100 * errors / requests"},
        ],
    });
    setup.call("PutMetricAlarm", input).await;
    setup.serve(0, 8, 200);
    setup.serve(0, 2, 503);
    setup.cloudwatch.evaluate(at(1000));
    setup.serve(1000, 5, 200);
    setup.serve(1000, 5, 503);
    setup.cloudwatch.evaluate(at(2000));
    assert_eq!(setup.states("share"), ["OK", "ALARM"]);
}

#[tokio::test]
async fn a_state_set_by_hand_stands_for_a_period() {
    let setup = setup();
    setup.call("PutMetricAlarm", alarm("errors", json!({"Period": 21_600}))).await;
    setup.cloudwatch.evaluate(Timestamp::now());
    setup
        .call("SetAlarmState", json!({"AlarmName": "errors", "StateValue": "ALARM", "StateReason": "test"}))
        .await;
    setup.cloudwatch.evaluate(Timestamp::now());
    assert_eq!(setup.cloudwatch.state("errors"), Some(AlarmState::Alarm));
    setup.cloudwatch.evaluate(Timestamp::now() + jiff::SignedDuration::from_hours(2));
    assert_eq!(setup.states("errors"), ["OK", "ALARM", "OK"]);
}

#[tokio::test]
async fn statistics_and_percentiles_of_the_traffic() {
    let setup = setup();
    setup.serve(0, 10, 200);
    let secs = |ms: i64| at(ms).as_second();
    let input = json!({
        "Namespace": "AWS/ApplicationELB", "MetricName": "TargetResponseTime", "Period": 60,
        "Dimensions": [{"Name": "LoadBalancer", "Value": "app/shop/1"}],
        "StartTime": secs(0), "EndTime": secs(60_000),
    });
    let point = async |with: &str, statistics: Value| {
        let mut input = input.clone();
        input[with] = statistics;
        let answer = setup.cloudwatch.answer(at(120_000), "GetMetricStatistics", &input).unwrap();
        answer["Datapoints"][0].clone()
    };
    assert_eq!(point("Statistics", json!(["Average", "SampleCount"])).await["SampleCount"], 10.0);
    assert_eq!(point("ExtendedStatistics", json!(["p99"])).await["ExtendedStatistics"]["p99"], 0.01);
    let metrics = setup.call("ListMetrics", json!({"MetricName": "RequestCount"})).await;
    // Both with and without the target group, in all and in each of two zones.
    assert_eq!(metrics["Metrics"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn hosts_are_a_metric() {
    let setup = setup();
    for (ms, healthy, unhealthy) in [(0, 2, 0), (1000, 1, 1)] {
        let (load_balancer, target_group) = ("app/shop/1".to_owned(), "targetgroup/green/2".to_owned());
        setup.cloudwatch.hosts(&Hosts { at: at(ms), load_balancer, target_group, healthy, unhealthy });
    }
    let changes = json!({"MetricName": "UnHealthyHostCount", "Statistic": "Maximum", "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold", "EvaluationPeriods": 1, "DatapointsToAlarm": 1});
    setup.call("PutMetricAlarm", alarm("hosts", changes)).await;
    setup.cloudwatch.evaluate(at(1000));
    setup.cloudwatch.evaluate(at(2000));
    assert_eq!(setup.states("hosts"), ["OK", "ALARM"]);
}

#[tokio::test]
async fn what_is_refused() {
    let setup = setup();
    for (operation, input) in [
        ("PutMetricAlarm", alarm("a", json!({"DatapointsToAlarm": 4}))),
        ("PutMetricAlarm", alarm("a", json!({"Period": 5}))),
        ("PutMetricAlarm", alarm("a", json!({"Period": 90}))),
        ("PutMetricAlarm", alarm("a", json!({"EvaluationPeriods": 1441}))),
        ("PutMetricAlarm", alarm("a", json!({"Period": 3600, "EvaluationPeriods": 169}))),
        ("PutMetricAlarm", alarm("a", json!({"TreatMissingData": "maybe"}))),
        ("PutMetricAlarm", alarm("a", json!({"Statistic": "Most"}))),
        ("PutMetricAlarm", alarm("a", json!({"Metrics": [{"Id": "e", "Expression": "1 / nothing"}]}))),
        ("PutCompositeAlarm", json!({"AlarmName": "c", "AlarmRule": "ALARM("})),
        ("PutMetricData", json!({"Namespace": "AWS/ELB", "MetricData": []})),
        ("SetAlarmState", json!({"AlarmName": "nobody", "StateValue": "OK", "StateReason": ""})),
        ("DescribeDashboards", json!({})),
    ] {
        let answer = setup.cloudwatch.call(operation, input.clone(), &Caller::default()).await;
        assert!(answer.is_err(), "{operation} {input}");
    }
    setup.call("PutMetricAlarm", alarm("child", json!({}))).await;
    setup.call("PutCompositeAlarm", json!({"AlarmName": "parent", "AlarmRule": "NOT OK(child)"})).await;
    let delete =
        setup.cloudwatch.call("DeleteAlarms", json!({"AlarmNames": ["child"]}), &Caller::default()).await;
    assert_eq!(delete.unwrap_err().code, "ValidationError");
}
