use std::sync::atomic::{AtomicU64, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use serde_json::{Value, json};

use super::*;
use crate::cloudwatch::{self, CloudWatch};
use crate::elb::{self, Elb};
use crate::ports::{
    AlarmState, Alarms, Caller, EventSink, LoadBalancers, Service, ServiceEvent, TargetHealth,
};

/// Every tenth answer is an error; every hundredth request finds the connection closed.
async fn server() -> (SocketAddr, Arc<AtomicU64>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    let counter = requests.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let counter = counter.clone();
            let service = service_fn(move |_: hyper::Request<hyper::body::Incoming>| {
                let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    if number.is_multiple_of(100) {
                        return Err("closed");
                    }
                    let status = if number.is_multiple_of(10) { 500 } else { 200 };
                    let response = hyper::Response::builder().status(status).header("x-version", "v1");
                    Ok::<_, &str>(response.body(Full::<Bytes>::default()).unwrap())
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, requests)
}

#[tokio::test]
async fn every_request_is_accounted_for() {
    let (address, requests) = server().await;
    let load = Load::start(Plan::new(address, 400.0));
    let deadline = Instant::now() + Duration::from_secs(20);
    while load.snapshot().total.sent < 250 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let snapshot = load.stop().await;
    let total = &snapshot.total;
    let seen = requests.load(Ordering::Relaxed);
    assert_eq!(total.in_flight(), 0);
    assert_eq!(total.sent, seen);
    assert_eq!(total.lost, BTreeMap::from([("reset".to_owned(), seen / 100)]));
    assert_eq!(total.errors(), seen / 10 - seen / 100);
    assert_eq!(total.errors_by_version["v1"], total.errors());
    assert_eq!(total.by_version["v1"], total.answered());
    assert_eq!(snapshot.seconds.iter().map(|second| second.sent).sum::<u64>(), total.sent);
}

#[tokio::test]
async fn nobody_there_is_lost() {
    let address = {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let load = Load::start(Plan::new(address, 100.0));
    while load.snapshot().total.lost() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let total = load.stop().await.total;
    assert_eq!(total.lost["connect"], total.sent);
}

/// The whole way of the traffic: load, listener, weights, targets, metrics, alarm, event.
#[tokio::test]
async fn a_shift_loses_nothing_and_a_bad_version_raises_the_alarm() {
    let events = Arc::new(Events::default());
    let (account, region) = ("1".to_owned(), "eu-west-1".to_owned());
    let cloudwatch = CloudWatch::new(
        cloudwatch::Options { seconds_per_minute: 1.0, ..cloudwatch::Options::new(account, region) },
        events.clone(),
    );
    let options = elb::Options { seconds_scale: 0.01, ..elb::Options::default() };
    let elb = Elb::new(options, Arc::new(cloudwatch.clone()));
    let call = async |service: &dyn Service, operation: &str, input: Value| {
        service.call(operation, input, &Caller::default()).await.unwrap()
    };
    let lb = call(&elb, "CreateLoadBalancer", json!({"Name": "shop"})).await["LoadBalancers"][0]["LoadBalancerArn"].clone();
    let mut groups = Vec::new();
    for (name, status) in [("good", 200), ("bad", 500)] {
        let input = json!({"Name": name, "TargetType": "ip", "Matcher": {"HttpCode": "200-599"}});
        let group = call(&elb, "CreateTargetGroup", input).await["TargetGroups"][0]["TargetGroupArn"].clone();
        let group = group.as_str().unwrap().to_owned();
        let target = target(name, status).await;
        elb.register_target(&group, target).unwrap();
        groups.push((group, target));
    }
    let tuple = |index: usize, weight: u32| json!({"TargetGroupArn": groups[index].0, "Weight": weight});
    let action = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": [tuple(0, 100), tuple(1, 0)]}});
    let input = json!({"LoadBalancerArn": lb, "DefaultActions": [action]});
    let listener =
        call(&elb, "CreateListener", input).await["Listeners"][0]["ListenerArn"].as_str().unwrap().to_owned();
    let alarm = json!({
        "AlarmName": "errors", "Namespace": "AWS/ApplicationELB", "MetricName": "HTTPCode_Target_5XX_Count",
        "Dimensions": [
            {"Name": "TargetGroup", "Value": groups[1].0.rsplit(':').next().unwrap()},
            {"Name": "LoadBalancer", "Value": lb.as_str().unwrap().split_once("loadbalancer/").unwrap().1},
        ],
        "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 5, "TreatMissingData": "notBreaching",
        "ComparisonOperator": "GreaterThanThreshold",
    });
    call(&cloudwatch, "PutMetricAlarm", alarm).await;
    let _evaluation = cloudwatch.run();
    for (group, target) in &groups {
        until(|| elb.target_health(group, *target) == TargetHealth::Healthy).await;
    }

    let load = Load::start(Plan::new(elb.listener_address(&listener).unwrap(), 300.0));
    let weights = |good, bad| [(groups[0].0.clone(), good), (groups[1].0.clone(), bad)];
    until(|| load.snapshot().total.answered() > 50).await;
    assert_eq!(cloudwatch.state("errors"), Some(AlarmState::Ok));
    elb.set_forward_weights(&listener, &weights(90, 10)).unwrap();
    until(|| cloudwatch.state("errors") == Some(AlarmState::Alarm)).await;
    elb.set_forward_weights(&listener, &weights(100, 0)).unwrap();
    let then = load.snapshot().total;
    let bad = then.by_version.get("bad").copied().unwrap_or_default();
    elb.deregister_target(&groups[1].0, groups[1].1).unwrap();
    let seen = load.snapshot().total.answered();
    until(|| load.snapshot().total.answered() > seen + 50).await;
    let total = load.stop().await.total;
    assert_eq!(total.lost(), 0, "{total:?}");
    // Only what was under way when the weight became zero may still be counted, and one that was sent meanwhile.
    assert!(total.by_version["bad"] <= bad + then.in_flight() + 1, "{then:?}: {total:?}");
    assert_eq!(total.errors(), total.by_version["bad"]);
    let events = events.0.lock().unwrap();
    let states: Vec<_> = events.iter().map(|event| event.detail["state"]["value"].clone()).collect();
    assert!(states.starts_with(&[json!("OK"), json!("ALARM")]), "{states:?}");
}

#[derive(Default)]
struct Events(Mutex<Vec<ServiceEvent>>);

impl EventSink for Events {
    fn emit(&self, event: ServiceEvent) {
        self.0.lock().unwrap().push(event);
    }
}

async fn target(version: &'static str, status: u16) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let service = service_fn(move |_: hyper::Request<hyper::body::Incoming>| async move {
                let response = hyper::Response::builder().status(status).header("x-version", version);
                Ok::<_, &str>(response.body(Full::<Bytes>::default()).unwrap())
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not become true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
