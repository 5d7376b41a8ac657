//! What is asked for about metrics, in AWS's minutes unless said otherwise.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CloudWatch, Incomplete, Lack, Options};
use crate::elb::{Hosts, Sent, Served, ServedBy, TrafficObserver};
use crate::ports::{AwsError, EventSink, ServiceEvent};

struct Nobody;

impl EventSink for Nobody {
    fn emit(&self, _: ServiceEvent) {}
}

fn cloudwatch(secs: u32, late: u64) -> CloudWatch {
    let place = Options::new("123456789012", "eu-west-1");
    let lateness = Duration::from_secs(late);
    CloudWatch::new(
        Options { load_balancer_secs: secs, lateness, interpolates: false, ..place },
        Arc::new(Nobody),
    )
}

/// Seconds after the beginning of a minute.
fn at(secs: f64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + (secs * 1000.0) as i64).unwrap()
}

const GREEN: &str = "targetgroup/green/2";

fn answered(cloudwatch: &CloudWatch, secs: f64, status: u16, took_ms: u64) {
    serve(cloudwatch, secs, status, ServedBy::Target, Sent::Taken, Some(took_ms));
}

fn serve(cloudwatch: &CloudWatch, secs: f64, status: u16, by: ServedBy, sent: Sent, took: Option<u64>) {
    cloudwatch.served(&Served {
        at: at(secs),
        load_balancer: "app/shop/1".into(),
        target_group: Some(GREEN.into()),
        status,
        by,
        sent,
        target_time: took.map(Duration::from_millis),
        version: None,
    });
}

impl CloudWatch {
    fn ask(&self, now: f64, operation: &str, input: &Value) -> Result<Value, AwsError> {
        self.inner.lock().answer(&self.inner.options, operation, input, at(now)).map(|(answer, _)| answer)
    }
}

fn query(id: &str, name: &str, stat: &str, period: i64, dimensions: &[(&str, &str)]) -> Value {
    let dimensions: Vec<Value> =
        dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
    let metric = json!({"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": dimensions});
    json!({"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}})
}

const BALANCER: (&str, &str) = ("LoadBalancer", "app/shop/1");
const GROUP: (&str, &str) = ("TargetGroup", GREEN);

fn green(id: &str, name: &str, stat: &str) -> Value {
    query(id, name, stat, 60, &[BALANCER, GROUP])
}

fn question(from: f64, to: f64, queries: &[Value]) -> Value {
    let secs = |of: f64| at(of).as_duration().as_secs_f64();
    json!({"StartTime": secs(from), "EndTime": secs(to), "MetricDataQueries": queries, "ScanBy": "TimestampAscending"})
}

/// The values of each query, as seconds after the beginning with what was told.
fn told(cloudwatch: &CloudWatch, now: f64, question: &Value) -> Vec<Vec<(f64, f64)>> {
    let answer = cloudwatch.ask(now, "GetMetricData", question).unwrap();
    let results = answer["MetricDataResults"].as_array().unwrap();
    results.iter().map(points).collect()
}

fn points(result: &Value) -> Vec<(f64, f64)> {
    let begin = at(0.0).as_duration().as_secs_f64();
    let numbers = |member: &str| -> Vec<f64> {
        result[member].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
    };
    let times = numbers("Timestamps").into_iter().map(|time| (time - begin).round());
    times.zip(numbers("Values")).collect()
}

#[test]
fn minutes_lie_on_the_clock_and_the_end_is_left_out() {
    let cloudwatch = cloudwatch(60, 0);
    for secs in [1.0, 59.0, 61.0, 130.0, 185.0] {
        answered(&cloudwatch, secs, 200, 10);
    }
    let asked = |from, to| {
        told(&cloudwatch, 600.0, &question(from, to, &[green("r", "RequestCount", "Sum")])).remove(0)
    };
    // The beginning is rounded down to its minute, and a minute that begins at the end is not in it.
    assert_eq!(asked(45.0, 180.0), [(0.0, 2.0), (60.0, 1.0), (120.0, 1.0)]);
    assert_eq!(asked(60.0, 181.0), [(60.0, 1.0), (120.0, 1.0), (180.0, 1.0)]);
    let longer = query("r", "RequestCount", "Sum", 120, &[BALANCER, GROUP]);
    assert_eq!(told(&cloudwatch, 600.0, &question(0.0, 240.0, &[longer])), [[(0.0, 3.0), (120.0, 2.0)]]);
    // Asked for more finely than they are kept, they are told as they are kept.
    let finer = query("r", "RequestCount", "Sum", 10, &[BALANCER, GROUP]);
    assert_eq!(told(&cloudwatch, 600.0, &question(0.0, 60.0, &[finer])), [[(0.0, 2.0)]]);
}

#[test]
fn a_minute_comes_after_its_end_and_grows_until_it_is_whole() {
    let cloudwatch = cloudwatch(60, 60);
    for request in 0..8 {
        answered(&cloudwatch, f64::from(request), 200, 10);
    }
    let asked = |now: f64| {
        told(&cloudwatch, now, &question(0.0, 600.0, &[green("r", "RequestCount", "Sum")])).remove(0)
    };
    assert_eq!(asked(59.0), []);
    assert_eq!(asked(74.0), []);
    for (now, sum) in [(75.0, 2.0), (90.0, 4.0), (105.0, 6.0), (120.0, 8.0), (600.0, 8.0)] {
        assert_eq!(asked(now), [(0.0, sum)], "{now} s");
    }
}

#[test]
fn a_short_minute_is_told_as_a_minute_and_by_its_seconds() {
    let cloudwatch = cloudwatch(5, 0);
    for secs in [1.0, 4.0, 6.0] {
        answered(&cloudwatch, secs, 200, 10);
    }
    for period in [60, 5] {
        let asked = query("r", "RequestCount", "Sum", period, &[BALANCER, GROUP]);
        let told = told(&cloudwatch, 60.0, &question(0.0, 60.0, &[asked]));
        assert_eq!(told, [[(0.0, 2.0), (5.0, 1.0)]], "{period} s");
    }
}

#[test]
fn errors_are_told_of_whom_they_are() {
    let cloudwatch = cloudwatch(60, 0);
    answered(&cloudwatch, 1.0, 200, 10);
    answered(&cloudwatch, 2.0, 503, 10);
    // The target took no connection, took one and was lost, and there was none.
    for (status, sent) in [(502, Sent::NotTaken), (504, Sent::Taken), (503, Sent::Not)] {
        serve(&cloudwatch, 3.0, status, ServedBy::LoadBalancer, sent, None);
    }
    let sum = |name: &str, dimensions: &[(&str, &str)]| {
        let asked = question(0.0, 60.0, &[query("m", name, "Sum", 60, dimensions)]);
        told(&cloudwatch, 600.0, &asked)[0].first().map(|(_, value)| *value)
    };
    for (name, whole, group) in [
        ("RequestCount", Some(4.0), Some(4.0)),
        ("HTTPCode_Target_2XX_Count", Some(1.0), Some(1.0)),
        ("HTTPCode_Target_5XX_Count", Some(1.0), Some(1.0)),
        ("TargetConnectionErrorCount", Some(1.0), Some(1.0)),
        ("HTTPCode_ELB_5XX_Count", Some(3.0), None),
        ("HTTPCode_ELB_502_Count", Some(1.0), None),
    ] {
        assert_eq!(sum(name, &[BALANCER]), whole, "{name}");
        assert_eq!(sum(name, &[BALANCER, GROUP]), group, "{name} of the target group");
        assert_eq!(sum(name, &[GROUP]), None, "{name} is not told of a target group alone");
    }
    let zones = ["eu-west-1a", "eu-west-1b"]
        .map(|zone| sum("RequestCount", &[BALANCER, GROUP, ("AvailabilityZone", zone)]).unwrap());
    assert_eq!((zones[0] + zones[1], zones[0]), (4.0, 2.0));
}

#[test]
fn nothing_carried_is_zero_while_targets_are_registered() {
    let cloudwatch = cloudwatch(60, 0);
    let hosts = |secs: f64, healthy: u64| {
        let (load_balancer, target_group) = ("app/shop/1".to_owned(), GREEN.to_owned());
        cloudwatch.hosts(&Hosts { at: at(secs), load_balancer, target_group, healthy, unhealthy: 0 });
    };
    hosts(1.0, 2);
    hosts(61.0, 0);
    let names =
        ["RequestCount", "HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount", "TargetResponseTime"];
    let queries: Vec<Value> =
        (0..).zip(names).map(|(n, name)| green(&format!("m{n}"), name, "Sum")).collect();
    let told = told(&cloudwatch, 600.0, &question(0.0, 600.0, &queries));
    assert_eq!(told, [vec![(0.0, 0.0)], vec![(0.0, 0.0)], vec![], vec![]]);
}

#[test]
fn slow_requests_are_counted_by_their_bounds() {
    let cloudwatch = cloudwatch(60, 0);
    for took in [10, 20, 30, 40, 500, 501, 900, 5000] {
        answered(&cloudwatch, 1.0, 200, took);
    }
    for (stat, value) in [
        ("TC(0.5:)", 3.0),
        ("TC(:0.5)", 5.0),
        ("TC(0.02:0.5)", 3.0),
        ("PR(0.5:)", 37.5),
        ("p50", 0.04),
        ("p100", 5.0),
        ("SampleCount", 8.0),
    ] {
        let asked = question(0.0, 60.0, &[green("m", "TargetResponseTime", stat)]);
        assert_eq!(told(&cloudwatch, 600.0, &asked), [[(0.0, value)]], "{stat}");
    }
}

#[test]
fn counts_between_bounds_may_be_fractions() {
    let place = Options::new("123456789012", "eu-west-1");
    let cloudwatch = CloudWatch::new(Options { lateness: Duration::ZERO, ..place }, Arc::new(Nobody));
    for took in [10, 500, 520, 900] {
        answered(&cloudwatch, 1.0, 200, took);
    }
    let count = |stat: &str| {
        let asked = question(0.0, 60.0, &[green("m", "TargetResponseTime", stat)]);
        told(&cloudwatch, 600.0, &asked)[0][0].1
    };
    let (slow, fast) = (count("TC(0.5:)"), count("TC(:0.5)"));
    assert!(slow > 2.0 && slow < 3.0 && slow.fract() > 0.0, "{slow}");
    assert!((slow + fast - 4.0).abs() < 1e-9, "{slow} and {fast} are all of them");
    assert!((count("PR(0.5:)") - 25.0 * slow).abs() < 1e-9);
}

#[test]
fn pages_hold_as_many_values_as_are_asked_for() {
    let cloudwatch = cloudwatch(60, 0);
    for minute in 0..5 {
        answered(&cloudwatch, 60.0 * f64::from(minute), 500, 10);
    }
    let queries = [green("r", "RequestCount", "Sum"), green("e", "HTTPCode_Target_5XX_Count", "Sum")];
    let mut asked = question(0.0, 300.0, &queries);
    asked["MaxDatapoints"] = json!(3);
    let mut seen = Vec::new();
    loop {
        let answer = cloudwatch.ask(600.0, "GetMetricData", &asked).unwrap();
        for result in answer["MetricDataResults"].as_array().unwrap() {
            let status = result["StatusCode"].as_str().unwrap().to_owned();
            seen.push((result["Id"].as_str().unwrap().to_owned(), points(result).len(), status));
        }
        let next = answer["NextToken"].clone();
        if next.is_null() {
            break;
        }
        asked["NextToken"] = next;
    }
    let seen: Vec<_> =
        seen.iter().map(|(id, count, status)| (id.as_str(), *count, status.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("r", 3, "PartialData"),
            ("r", 2, "Complete"),
            ("e", 1, "PartialData"),
            ("e", 3, "PartialData"),
            ("e", 1, "Complete"),
        ]
    );
    asked["NextToken"] = json!("never given");
    assert_eq!(cloudwatch.ask(600.0, "GetMetricData", &asked).unwrap_err().code, "InvalidNextToken");
}

#[test]
fn an_answer_lacks_what_it_is_asked_to_lack() {
    let cloudwatch = cloudwatch(60, 0);
    for minute in 0..4 {
        answered(&cloudwatch, 60.0 * f64::from(minute), 500, 10);
    }
    let of = |metric: &str, status| Incomplete { status, metric: metric.to_owned(), count: 1 };
    cloudwatch.set_incomplete(vec![of("RequestCount", Lack::PartialData), of("5XX", Lack::Forbidden)]);
    let queries = [green("r", "RequestCount", "Sum"), green("e", "HTTPCode_Target_5XX_Count", "Sum")];
    let asked = question(0.0, 240.0, &queries);
    let statuses = || {
        let answer = cloudwatch.ask(600.0, "GetMetricData", &asked).unwrap();
        let results = answer["MetricDataResults"].as_array().unwrap().clone();
        let told = |it: &Value| (it["StatusCode"].as_str().unwrap().to_owned(), points(it).len());
        results.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(statuses(), [("PartialData".to_owned(), 2), ("Forbidden".to_owned(), 0)]);
    assert_eq!(statuses(), [("Complete".to_owned(), 4), ("Complete".to_owned(), 4)]);
    cloudwatch.set_incomplete(vec![Incomplete {
        status: Lack::InternalError,
        metric: String::new(),
        count: 2,
    }]);
    assert_eq!(statuses(), [("InternalError".to_owned(), 0), ("InternalError".to_owned(), 0)]);
}

#[test]
fn metrics_of_your_own_are_there_at_once_and_as_fine_as_they_are_asked_for() {
    let cloudwatch = cloudwatch(60, 60);
    let put = |secs: f64, value: f64| {
        let datum = json!({
            "MetricName": "Declined", "Value": value, "StorageResolution": 1,
            "Timestamp": at(secs).as_duration().as_secs_f64(),
            "Dimensions": [{"Name": "Version", "Value": "v2"}],
        });
        cloudwatch.ask(secs, "PutMetricData", &json!({"Namespace": "Shop", "MetricData": [datum]})).unwrap();
    };
    put(1.0, 2.0);
    put(4.0, 3.0);
    put(6.0, 4.0);
    let mut asked = query("m", "Declined", "Sum", 5, &[("Version", "v2")]);
    asked["MetricStat"]["Metric"]["Namespace"] = json!("Shop");
    let twice = json!({"Id": "twice", "Expression": "m * 2"});
    assert_eq!(
        told(&cloudwatch, 7.0, &question(0.0, 10.0, &[asked, twice])),
        [[(0.0, 5.0), (5.0, 4.0)], [(0.0, 10.0), (5.0, 8.0)]]
    );
}

/// What is refused, by its code.
fn refused(operation: &str, input: &Value) -> String {
    cloudwatch(60, 0).ask(600.0, operation, input).unwrap_err().code
}

#[test]
fn questions_are_refused_as_aws_refuses_them() {
    let fine = || green("m", "RequestCount", "Sum");
    let with = |pointer: &str, value: Value| {
        let mut query = fine();
        *query.pointer_mut(pointer).unwrap() = value;
        question(0.0, 60.0, &[query])
    };
    let many: Vec<Value> = (0..501).map(|n| green(&format!("m{n}"), "RequestCount", "Sum")).collect();
    let mut hidden = fine();
    hidden["ReturnData"] = json!(false);
    let mut too_many_points = question(0.0, 60.0, &[fine()]);
    too_many_points["MaxDatapoints"] = json!(100_801);
    for (input, code) in [
        (question(60.0, 60.0, &[fine()]), "ValidationError"),
        (json!({"MetricDataQueries": [fine()]}), "MissingParameter"),
        (question(0.0, 60.0, &[]), "MissingParameter"),
        (question(0.0, 60.0, &many), "ValidationError"),
        (question(0.0, 60.0, &[fine(), fine()]), "ValidationError"),
        (question(0.0, 60.0, &[hidden]), "ValidationError"),
        (question(0.0, 60.0, &[json!({"Id": "m"})]), "ValidationError"),
        (with("/Id", json!("M1")), "ValidationError"),
        (with("/Id", json!("m-1")), "ValidationError"),
        (with("/MetricStat/Period", json!(15)), "InvalidParameterValue"),
        (with("/MetricStat/Period", json!(0)), "ValidationError"),
        (with("/MetricStat/Stat", json!("TC(1:0)")), "InvalidParameterValue"),
        (too_many_points, "ValidationError"),
    ] {
        assert_eq!(refused("GetMetricData", &input), code, "{input}");
    }
    assert!(cloudwatch(60, 0).ask(600.0, "GetMetricData", &question(0.0, 60.0, &many[1..])).is_ok());
}

#[test]
fn statistics_are_refused_as_aws_refuses_them() {
    let asked = |to: f64, changes: Value| {
        let mut input = json!({
            "Namespace": "AWS/ApplicationELB", "MetricName": "RequestCount", "Period": 60, "Dimensions": [],
            "StartTime": at(0.0).as_second(), "EndTime": at(to).as_second(),
        });
        input.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        input
    };
    let sum = || json!({"Statistics": ["Sum"]});
    for (input, code) in [
        (asked(60.0, json!({})), "InvalidParameterCombination"),
        (
            asked(60.0, json!({"Statistics": ["Sum"], "ExtendedStatistics": ["p99"]})),
            "InvalidParameterCombination",
        ),
        (asked(86_460.0, sum()), "InvalidParameterCombination"),
    ] {
        assert_eq!(refused("GetMetricStatistics", &input), code, "{input}");
    }
    assert!(cloudwatch(60, 0).ask(600.0, "GetMetricStatistics", &asked(86_400.0, sum())).is_ok());
}

#[test]
fn what_is_put_is_refused_as_aws_refuses_it() {
    let datum = |with: Value| {
        let mut datum = json!({"MetricName": "Declined"});
        datum.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        datum
    };
    let put = |data: &[Value]| json!({"Namespace": "Shop", "MetricData": data});
    let old = at(600.0 - 15.0 * 86_400.0).as_second();
    for (input, code) in [
        (json!({"Namespace": "AWS/ELB", "MetricData": []}), "InvalidParameterValue"),
        (put(&[datum(json!({}))]), "MissingParameter"),
        (put(&vec![datum(json!({"Value": 1})); 1001]), "InvalidParameterValue"),
        (put(&[datum(json!({"Value": 1, "Timestamp": old}))]), "InvalidParameterValue"),
        (
            put(&[datum(json!({"Value": 1, "Timestamp": at(3.0 * 3600.0).as_second()}))]),
            "InvalidParameterValue",
        ),
        (put(&[datum(json!({"Values": vec![1; 151]}))]), "InvalidParameterValue"),
        (put(&[datum(json!({"Values": [1, 2], "Counts": [1]}))]), "InvalidParameterValue"),
        (put(&[datum(json!({"StatisticValues": {"SampleCount": 0}}))]), "InvalidParameterValue"),
    ] {
        assert_eq!(refused("PutMetricData", &input), code);
    }
}
