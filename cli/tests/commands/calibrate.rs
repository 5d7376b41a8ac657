//! A service compared with itself, over days that CloudWatch remembers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::Target;
use tidegate_core::ports::Metrics;
use tidegate_core::vocab::cloudwatch::{MetricsAsked, MetricsSeen, Series};
use tidegate_testkit::fakes::Quality;

use super::bench::{Bench, POLICY};

/// 100 requests a second, 1% of them bad, in two zones, all behind one target group.
#[derive(Default)]
struct Days {
    /// How many times as many requests are bad in the second zone.
    worse: f64,
    /// Nothing was ever sent.
    nothing: bool,
    asked: Mutex<Option<MetricsAsked>>,
}

impl Days {
    fn value(&self, series: &Series) -> Option<f64> {
        let zone = series.dimensions.get("AvailabilityZone").map(|zone| zone.chars().last());
        let (in_a, in_b) = match series.metric.as_str() {
            "RequestCount" => (3000.0, 3000.0),
            "HTTPCode_Target_5XX_Count" => (30.0, 30.0 * self.worse),
            _ => return None,
        };
        match zone {
            None => Some(in_a + in_b),
            Some(Some('a')) => Some(in_a),
            Some(Some('b')) => Some(in_b),
            Some(_) => None,
        }
    }
}

#[async_trait]
impl Metrics for Days {
    async fn observe(
        &self,
        _: &Target,
        asked: &MetricsAsked,
        until: Timestamp,
    ) -> Result<MetricsSeen, PortError> {
        *self.asked.lock().unwrap() = Some(asked.clone());
        let every = SignedDuration::from_secs(asked.every_secs.into());
        let begin = Timestamp::from_second(asked.from.as_second().div_euclid(60) * 60).unwrap();
        // The other target group carries nothing.
        let group = |series: &Series| series.dimensions["TargetGroup"].clone();
        let busy = asked.series.iter().map(group).min();
        let of = |series: &Series| -> BTreeMap<Timestamp, f64> {
            let value = self.value(series).filter(|_| !self.nothing && Some(group(series)) == busy);
            let Some(value) = value else { return BTreeMap::new() };
            let windows = std::iter::successors(Some(begin), |at| at.checked_add(every).ok());
            windows.take_while(|at| *at < until).map(|at| (at, value)).collect()
        };
        Ok(asked.series.iter().map(|series| (series.clone(), of(series))).collect())
    }
}

/// A service that was released once, and its days.
async fn bench(days: Days) -> (Bench, Arc<Days>) {
    let days = Arc::new(days);
    let mut bench = Bench::new().await;
    bench.promote(2).await;
    bench.metrics = Some(days.clone());
    (bench, days)
}

#[tokio::test]
async fn a_steady_service_keeps_the_promise_as_it_is() {
    let (bench, days) = bench(Days { worse: 1.0, ..Days::default() }).await;
    let (code, told) = bench.json(&["calibrate", "checkout", "--replays", "200"]).await;
    assert_eq!(code, 0);
    let errors = &told["comparisons"][0];
    assert_eq!((&errors["of"], &errors["tolerate_needed"]), (&Value::from("errors"), &Value::from(1.0)));
    let parted: Vec<_> = errors["played"].as_array().unwrap().iter().map(|it| it["parted"].clone()).collect();
    assert_eq!(parted, ["requests", "zones", "minutes"]);
    assert_eq!(errors["zones"], serde_json::json!(["eu-central-1a", "eu-central-1b"]));
    // The canary's bake of a minute, with 10%.
    assert_eq!((&told["release_windows"], &told["share_percent"]), (&Value::from(1), &Value::from(10.0)));
    // Three days, less the newest minutes; each number once, although both versions' are read.
    let requests = errors["counted"]["requests"].as_f64().unwrap() / 6000.0;
    assert!((4310.0..=4320.0).contains(&requests), "{requests} minutes");
    let asked = days.asked.lock().unwrap().clone().unwrap();
    assert_eq!(asked.series.len(), 2 * 3 * 7, "two target groups, three metrics, whole and in six zones");
    let shown = bench.run(&["calibrate", "checkout", "--replays", "200"]).await.out;
    for expected in
        ["by chance", "by zones", "by minutes", "`tolerate: 1.5` keeps false alarms at 1.0% or below"]
    {
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
}

#[tokio::test]
async fn a_zone_that_is_worse_asks_for_more_tolerance() {
    let (mut bench, _) = bench(Days { worse: 4.0, ..Days::default() }).await;
    // A longer bake sees more.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(POLICY.replace("bake: 1m }", "bake: 30m }").as_bytes()).unwrap();
    bench.run(&["apply", file.path().to_str().unwrap()]).await;
    bench.push(3, Quality::Good);
    let asked = ["calibrate", "checkout", "main-3", "--replays", "200"];
    let (code, told) = bench.json(&asked).await;
    let errors = &told["comparisons"][0];
    assert_eq!((code, &told["release_windows"]), (0, &Value::from(30)));
    assert_eq!(errors["tolerate_needed"], 5.0, "{errors}");
    let shown = bench.run(&asked).await.out;
    assert!(shown.contains("`tolerate: 5` would keep false alarms at 1.0% or below"), "{shown}");
    let again = bench.json(&asked).await.1;
    assert_eq!(again["comparisons"], told["comparisons"], "the same seed, the same answer");
    bench.metrics = Some(Arc::new(Days { worse: 100.0, ..Days::default() }));
    let shown = bench.run(&asked).await.out;
    assert!(shown.contains("no ratio up to 10 keeps false alarms at 1.0%"), "{shown}");
}

#[tokio::test]
async fn without_a_plan_an_image_is_asked_for() {
    let mut bench = Bench::new().await;
    bench.metrics = Some(Arc::new(Days { worse: 1.0, ..Days::default() }));
    let (problem, remedy, code) = bench.refused(&["calibrate", "checkout"]).await;
    assert_eq!((problem.as_str(), code), ("none of the last releases of checkout came to a plan", 1));
    assert!(remedy.contains("tidegate calibrate checkout IMAGE"), "{remedy}");
    bench.push(2, Quality::Good);
    assert_eq!(bench.run(&["calibrate", "checkout", "main-2"]).await.code, 0);
}

#[tokio::test]
async fn without_traffic_nothing_is_said() {
    let (bench, _) = bench(Days { nothing: true, ..Days::default() }).await;
    let (problem, remedy, code) = bench.refused(&["calibrate", "checkout"]).await;
    assert_eq!(
        (problem.as_str(), code),
        ("there are only 0 windows with errors of checkout, and a release takes 1", 1)
    );
    assert!(remedy.contains("--days"), "{remedy}");
}

#[tokio::test]
async fn what_compares_nothing_is_not_calibrated() {
    let (bench, _) = bench(Days::default()).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(format!("{POLICY}evidence: {{ compare: [] }}\n").as_bytes()).unwrap();
    bench.run(&["apply", file.path().to_str().unwrap()]).await;
    bench.push(3, Quality::Good);
    let (problem, remedy, _) = bench.refused(&["calibrate", "checkout", "main-3"]).await;
    assert!(problem.contains("compare nothing with the stable version"), "{problem}");
    assert!(remedy.contains("compare: [errors]"), "{remedy}");
}

#[tokio::test]
async fn a_plan_says_what_its_numbers_will_be_able_to_say() {
    let (bench, days) = bench(Days { worse: 1.0, ..Days::default() }).await;
    bench.push(3, Quality::Good);
    let (code, told) = bench.json(&["plan", "checkout", "main-3"]).await;
    assert_eq!((code, &told["no_forecast"]), (0, &Value::Null), "{told:#}");
    let errors = &told["forecast"]["comparisons"][0];
    assert!((errors["rate"].as_f64().unwrap() - 0.01).abs() < 1e-9, "{told:#}");
    assert_eq!(days.asked.lock().unwrap().as_ref().unwrap().every_secs, 3600);
    let shown = bench.run(&["plan", "checkout", "main-3"]).await.out;
    for expected in ["requests of the candidate in 1m", "errors, 1.0% of the requests now", "reads of"] {
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
}

#[tokio::test]
async fn a_plan_without_numbers_is_a_plan() {
    let (bench, _) = bench(Days { nothing: true, ..Days::default() }).await;
    bench.push(3, Quality::Good);
    let (code, told) = bench.json(&["plan", "checkout", "main-3"]).await;
    assert_eq!((code, &told["blocked"], &told["forecast"]), (0, &Value::from(false), &Value::Null));
    assert_eq!(told["no_forecast"], "there were no requests in the last 24 hours");
}

/// A CloudWatch that nobody may read.
struct Denied;

#[async_trait]
impl Metrics for Denied {
    async fn observe(&self, _: &Target, _: &MetricsAsked, _: Timestamp) -> Result<MetricsSeen, PortError> {
        Err(PortError::new(ErrorKind::Denied, "cloudwatch:GetMetricData", "AccessDenied", "not allowed"))
    }
}

#[tokio::test]
async fn a_plan_whose_numbers_may_not_be_read_says_so_and_is_not_blocked() {
    let (mut bench, _) = bench(Days::default()).await;
    bench.metrics = Some(Arc::new(Denied));
    bench.push(3, Quality::Good);
    let shown = bench.run(&["plan", "checkout", "main-3"]).await;
    assert_eq!(shown.code, 0, "{}", shown.out);
    assert!(shown.out.contains("what its numbers will be able to say is not known: "), "{}", shown.out);
    assert!(shown.out.contains("cloudwatch:GetMetricData"), "{}", shown.out);
}
