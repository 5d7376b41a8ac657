use std::net::Ipv4Addr;

use async_trait::async_trait;
use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::operation::RequestId;
use aws_sdk_cloudwatch::types::{
    AlarmType, ComparisonOperator, Dimension, Metric, MetricDataQuery, MetricDatum, MetricStat, MuteTargets,
    Rule, Schedule, StateValue, Statistic,
};
use aws_sdk_elasticloadbalancingv2::types::{
    Action as ElbAction, ActionTypeEnum, ForwardActionConfig, RuleCondition, TargetGroupTuple, TargetTypeEnum,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::cloudwatch::CloudWatch;
use crate::elb::Elb;
use crate::ports::{EventSink, ServiceEvent};

/// Remembers events.
#[derive(Default)]
struct Events(Mutex<Vec<ServiceEvent>>);

impl EventSink for Events {
    fn emit(&self, event: ServiceEvent) {
        lock(&self.0).push(event);
    }
}

/// An ECS that knows one service and echoes its input.
struct Ecs;

#[async_trait]
impl Service for Ecs {
    async fn call(&self, operation: &str, input: Value, _: &Caller) -> Result<Value, AwsError> {
        match (operation, input["cluster"].as_str()) {
            ("DescribeServices", Some("prod")) => Ok(json!({
                "services": [{"serviceName": input["services"][0], "createdAt": 1_700_000_000.5, "desiredCount": 3}],
                "failures": [],
            })),
            (_, cluster) => Err(AwsError::new("ClusterNotFoundException", format!("no cluster {cluster:?}"))),
        }
    }
}

struct Setup {
    endpoint: Endpoint,
    events: Arc<Events>,
    cloudwatch: CloudWatch,
}

async fn setup() -> Setup {
    let endpoint = Endpoint::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let events = Arc::new(Events::default());
    let (account, region) = ("123456789012".to_owned(), "eu-west-1".to_owned());
    let cloudwatch = CloudWatch::new(crate::cloudwatch::Options::new(account, region), events.clone());
    let elb = Elb::new(crate::elb::Options::default(), Arc::new(cloudwatch.clone()));
    endpoint.register("ecs", Arc::new(Ecs));
    endpoint.register("monitoring", Arc::new(cloudwatch.clone()));
    endpoint.mount(elb.admin());
    endpoint.register("elasticloadbalancing", Arc::new(elb));
    Setup { endpoint, events, cloudwatch }
}

/// The configuration of any SDK client for the endpoint.
macro_rules! config {
    ($sdk:ident, $endpoint:expr) => {
        $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::latest())
            .endpoint_url($endpoint.url())
            .region($sdk::config::Region::new("eu-west-1"))
            .credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "test"))
            .retry_config($sdk::config::retry::RetryConfig::disabled())
            .build()
    };
}

async fn get(endpoint: &Endpoint, path: &str) -> Value {
    admin(endpoint, "GET", path, "").await
}

async fn admin(endpoint: &Endpoint, method: &str, path: &str, body: &str) -> Value {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().method(method).uri(format!("{}{path}", endpoint.url()));
    let request =
        request.header("content-type", "application/json").body(Full::from(body.to_owned())).unwrap();
    let answer = client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&answer).unwrap_or(Value::Null)
}

#[tokio::test]
async fn the_sdk_for_load_balancers() {
    let Setup { endpoint, .. } = setup().await;
    let elb =
        aws_sdk_elasticloadbalancingv2::Client::from_conf(config!(aws_sdk_elasticloadbalancingv2, endpoint));
    let lb = elb.create_load_balancer().name("shop").subnets("subnet-1").send().await.unwrap();
    let lb = &lb.load_balancers()[0];
    assert!(lb.created_time().unwrap().secs() > 1_700_000_000);
    let mut groups = Vec::new();
    for name in ["blue", "green"] {
        let group = elb
            .create_target_group()
            .name(name)
            .target_type(TargetTypeEnum::Ip)
            .port(80)
            .send()
            .await
            .unwrap();
        groups.push(group.target_groups()[0].target_group_arn().unwrap().to_owned());
    }
    let forward = |weights: [i32; 2]| {
        let tuple =
            |arn: &String, weight| TargetGroupTuple::builder().target_group_arn(arn).weight(weight).build();
        let tuples = groups.iter().zip(weights).map(|(arn, weight)| tuple(arn, weight)).collect();
        let config = ForwardActionConfig::builder().set_target_groups(Some(tuples)).build();
        ElbAction::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
    };
    let listener = elb.create_listener().load_balancer_arn(lb.load_balancer_arn().unwrap()).port(80);
    let listener = listener.default_actions(forward([1, 0])).send().await.unwrap();
    let listener = listener.listeners()[0].listener_arn().unwrap().to_owned();
    let condition = RuleCondition::builder().field("path-pattern").values("/*").build();
    let rule = elb.create_rule().listener_arn(&listener).priority(5).conditions(condition);
    let rule = rule.actions(forward([100, 0])).send().await.unwrap();
    let rule = rule.rules()[0].rule_arn().unwrap().to_owned();

    elb.modify_rule().rule_arn(&rule).actions(forward([90, 10])).send().await.unwrap();
    let described = elb.describe_rules().listener_arn(&listener).send().await.unwrap();
    let described = &described.rules()[0];
    let weights: Vec<_> =
        described.actions()[0].forward_config().unwrap().target_groups().iter().map(|g| g.weight()).collect();
    assert_eq!((described.priority(), weights), (Some("5"), vec![Some(90), Some(10)]));
    assert_eq!(described.conditions()[0].values(), ["/*"]);

    let error = elb.modify_rule().rule_arn(&rule).actions(forward([1000, 0])).send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationError"));
    let error = elb.describe_rules().rule_arns(format!("{rule}0")).send().await.unwrap_err();
    assert!(error.request_id().is_some());
    assert!(error.into_service_error().is_rule_not_found_exception());
    let health = elb.describe_target_health().target_group_arn(&groups[0]).send().await.unwrap();
    assert!(health.target_health_descriptions().is_empty());
    let attributes =
        elb.describe_target_group_attributes().target_group_arn(&groups[0]).send().await.unwrap();
    assert!(attributes.attributes().iter().any(|a| a.key() == Some("deregistration_delay.timeout_seconds")));
    assert_eq!(endpoint.calls("elasticloadbalancing", "ModifyRule"), 2);
    assert_eq!(get(&endpoint, "/_sandbox/elb").await["listeners"][0]["rules"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_sdk_for_alarms() {
    let Setup { endpoint, events, cloudwatch } = setup().await;
    let client = aws_sdk_cloudwatch::Client::from_conf(config!(aws_sdk_cloudwatch, endpoint));
    let dimension = Dimension::builder().name("Service").value("shop").build();
    let put = client.put_metric_alarm().alarm_name("errors").namespace("Shop").metric_name("Errors");
    let put = put
        .dimensions(dimension.clone())
        .statistic(Statistic::Sum)
        .period(10)
        .evaluation_periods(1)
        .threshold(3.0);
    put.comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold).send().await.unwrap();
    client.put_composite_alarm().alarm_name("any").alarm_rule("ALARM(errors)").send().await.unwrap();
    let error =
        client.put_composite_alarm().alarm_name("x").alarm_rule("ALARM(nobody)").send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationError"));

    let datum = MetricDatum::builder().metric_name("Errors").dimensions(dimension.clone()).value(4.0).build();
    client.put_metric_data().namespace("Shop").metric_data(datum).send().await.unwrap();
    // A long request is compressed by the SDK.
    let long = (0..400)
        .map(|n| MetricDatum::builder().metric_name(format!("Other{n}")).value(1.0).build())
        .collect();
    client.put_metric_data().namespace("Shop").set_metric_data(Some(long)).send().await.unwrap();
    cloudwatch.evaluate(Timestamp::now() + jiff::SignedDuration::from_millis(300));

    let types = [AlarmType::MetricAlarm, AlarmType::CompositeAlarm];
    let alarms = client.describe_alarms().set_alarm_types(Some(types.to_vec())).send().await.unwrap();
    let (metric, composite) = (&alarms.metric_alarms()[0], &alarms.composite_alarms()[0]);
    assert_eq!(
        (metric.state_value(), composite.state_value()),
        (Some(&StateValue::Alarm), Some(&StateValue::Alarm))
    );
    assert_eq!((metric.threshold(), metric.period(), metric.dimensions().len()), (Some(3.0), Some(10), 1));
    assert!(metric.state_updated_timestamp().unwrap().secs() > 1_700_000_000);
    assert!(client.describe_alarms().send().await.unwrap().composite_alarms().is_empty());
    assert_eq!(lock(&events.0).len(), 2);

    let metric = Metric::builder().namespace("Shop").metric_name("Errors").dimensions(dimension).build();
    let stat = MetricStat::builder().metric(metric).period(60).stat("Sum").build();
    let data = client
        .get_metric_data()
        .metric_data_queries(MetricDataQuery::builder().id("e").metric_stat(stat).build());
    let now = Timestamp::now().as_second();
    let at = |secs: i64| aws_sdk_cloudwatch::primitives::DateTime::from_secs(secs);
    let data = data.start_time(at(now - 120)).end_time(at(now + 60)).send().await.unwrap();
    let result = &data.metric_data_results()[0];
    assert_eq!((result.values(), result.timestamps().len()), (&[4.0][..], 1));

    let schedule = Schedule::builder().expression("cron(* * * * *)").duration("PT10M").build();
    let mute = client.put_alarm_mute_rule().name("quiet").rule(Rule::builder().schedule(schedule).build());
    mute.mute_targets(MuteTargets::builder().alarm_names("errors").build()).send().await.unwrap();
    let rule = client.get_alarm_mute_rule().alarm_mute_rule_name("quiet").send().await.unwrap();
    assert_eq!(rule.status().unwrap().as_str(), "ACTIVE");
    let error = client.get_alarm_mute_rule().alarm_mute_rule_name("nobody").send().await.unwrap_err();
    assert!(error.request_id().is_some());
    assert!(error.into_service_error().is_resource_not_found_exception());
    client
        .set_alarm_state()
        .alarm_name("errors")
        .state_value(StateValue::Ok)
        .state_reason("by hand")
        .send()
        .await
        .unwrap();
    assert_eq!(
        lock(&events.0)[2].detail["muteDetail"]["mutedByArn"].as_str().unwrap().rsplit(':').next(),
        Some("quiet")
    );
    client.delete_alarms().alarm_names("errors").alarm_names("any").send().await.unwrap();
}

#[tokio::test]
async fn the_sdk_for_ecs_faults_and_the_record() {
    let Setup { endpoint, .. } = setup().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    endpoint.record(file.path()).unwrap();
    let ecs = aws_sdk_ecs::Client::from_conf(config!(aws_sdk_ecs, endpoint));
    let describe = |cluster: &str| ecs.describe_services().cluster(cluster).services("web").send();
    let described = describe("prod").await.unwrap();
    assert_eq!(described.services()[0].created_at().unwrap().as_secs_f64(), 1_700_000_000.5);
    let error = describe("test").await.unwrap_err();
    assert!(error.request_id().is_some());
    assert!(error.into_service_error().is_cluster_not_found_exception());

    let set = async |faults: Value| admin(&endpoint, "PUT", "/_sandbox/faults", &faults.to_string()).await;
    set(json!([{"service": "ecs", "resource": "web", "action": "throttle", "count": 1}])).await;
    assert_eq!(describe("prod").await.unwrap_err().code(), Some("ThrottlingException"));
    describe("prod").await.unwrap();
    set(json!([{"operation": "Describe*", "action": "refuse"}])).await;
    assert_eq!(describe("prod").await.unwrap_err().code(), Some("AccessDeniedException"));
    for action in ["drop_before", "drop_after"] {
        let before = endpoint.calls("ecs", "DescribeServices");
        set(json!([{"action": action, "count": 1}])).await;
        assert!(describe("prod").await.unwrap_err().as_service_error().is_none());
        assert!(endpoint.calls("ecs", "DescribeServices") > before);
    }
    assert_eq!(get(&endpoint, "/_sandbox/faults").await[0]["happened"], 1);
    admin(&endpoint, "DELETE", "/_sandbox/faults", "").await;
    describe("prod").await.unwrap();

    let record = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["operation"], "DescribeServices");
    assert_eq!((&lines[0]["caller"], &lines[0]["status"]), (&json!("test"), &json!(200)));
    assert_eq!(lines[0]["request"]["services"], json!(["web"]));
    assert_eq!(lines[1]["response"]["__type"], "ClusterNotFoundException");
    assert!(!record.contains("Signature="));
    assert_eq!(
        get(&endpoint, "/_sandbox/calls").await["ecs.DescribeServices"]["by_caller"]["test"],
        lines.len()
    );
    assert_eq!(get(&endpoint, "/_sandbox/health").await["status"], "ok");
}

/// A server that answers once, with what it was asked.
async fn mirror() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"the-end") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        let head =
            format!("HTTP/1.1 418 I'm a teapot\r\nx-own: yes\r\ncontent-length: {}\r\n\r\n", seen.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&seen).await.unwrap();
    });
    address
}

#[tokio::test]
async fn other_calls_pass_as_they_are() {
    let Setup { endpoint, .. } = setup().await;
    endpoint.set_upstream(mirror().await);
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::put(format!(
        "{}/bucket/a%2Fb+c?X-Amz-Credential=AKIA%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&y=%20",
        endpoint.url()
    ))
    .header("host", "abc.lambda-url.eu-west-1.on.aws")
    .header("x-amz-meta-a", "b")
    .body(Full::<Bytes>::from("body the-end"))
    .unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-own"]),
        (418, &http::HeaderValue::from_static("yes"))
    );
    let seen = answer.into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8(seen.to_vec()).unwrap();
    let line = "PUT /bucket/a%2Fb+c?X-Amz-Credential=AKIA%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&y=%20 HTTP/1.1\r\n";
    assert!(seen.starts_with(line), "{seen}");
    assert!(
        seen.contains("host: abc.lambda-url.eu-west-1.on.aws\r\n") && seen.contains("x-amz-meta-a: b\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\nbody the-end"), "{seen}");
    assert_eq!(endpoint.calls("s3", "PUT /bucket/a%2Fb+c"), 1);
}

#[tokio::test]
async fn without_ministack_the_error_says_so() {
    let Setup { endpoint, .. } = setup().await;
    let answer = admin(&endpoint, "POST", "/anything", "{}").await;
    assert!(answer["message"].as_str().unwrap().contains("cannot reach ministack"), "{answer}");
}
