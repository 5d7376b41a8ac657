//! The endpoint in front of a real ministack: a function with a role calls through it, and events reach the function.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::cloudwatch::CloudWatch;
use crate::elb::Elb;
use crate::events::bus::MinistackBus;
use crate::events::{Dispatcher, Options as EventOptions};
use crate::ministack::{Client as AwsClient, Options, Process};
use crate::ports::{EventSink, ServiceEvent};

const ACCOUNT: &str = "111122223333";
const REGION: &str = "eu-central-1";

/// A function that calls AWS as its event says, and answers the error code; it fails on an event with `fail` in its detail.
const BOOTSTRAP: &str = r#"
import json, os, urllib.request
import botocore.session, botocore.exceptions
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
def handle(event):
    if "operation" not in event:
        return {}
    client = botocore.session.get_session().create_client(event["service"])
    try:
        client._make_api_call(event["operation"], event["input"])
        return "OK"
    except botocore.exceptions.ClientError as e:
        return e.response["Error"]["Code"]
while True:
    with urllib.request.urlopen(f"{api}/next") as r:
        request_id, event = r.headers["Lambda-Runtime-Aws-Request-Id"], json.load(r)
    failed = "fail" in event.get("detail", {})
    path = "error" if failed else "response"
    answer = {"errorType": "Failed", "errorMessage": "as asked"} if failed else handle(event)
    body = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request_id}/{path}", data=body, method="POST")).close()
"#;

struct Ecs;

#[async_trait::async_trait]
impl Service for Ecs {
    async fn call(&self, _: &str, _: Value, _: &Caller) -> Result<Value, AwsError> {
        Ok(json!({"services": [], "failures": []}))
    }
}

struct Quiet;

impl EventSink for Quiet {
    fn emit(&self, _: ServiceEvent) {}
}

fn venv() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let venv = std::env::var_os("TIDEGATE_VENV").map_or_else(|| workspace.join(".venv"), PathBuf::from);
    assert!(venv.join("bin/python").exists(), "{} is missing: run `cargo xtask test`", venv.display());
    venv
}

struct Setup {
    endpoint: Endpoint,
    ministack: Process,
    /// Root, through the endpoint.
    client: AwsClient,
    _dir: tempfile::TempDir,
}

async fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let ministack = Process::start(&Options {
        venv: venv(),
        dir: dir.path().to_owned(),
        endpoint_url: Some(endpoint.url()),
        account_id: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        log_level: "INFO".to_owned(),
    })
    .await
    .unwrap();
    endpoint.set_upstream(ministack.addr());
    endpoint.set_iam(Iam::new(ministack.root_client(), ACCOUNT), true);
    let (account, region) = (ACCOUNT.to_owned(), REGION.to_owned());
    let cloudwatch = CloudWatch::new(crate::cloudwatch::Options::new(account, region), Arc::new(Quiet));
    endpoint.register("ecs", Arc::new(Ecs));
    let elb = Elb::new(crate::elb::Options::default(), Arc::new(cloudwatch.clone()));
    endpoint.register("elasticloadbalancing", Arc::new(elb));
    endpoint.register("monitoring", Arc::new(cloudwatch));
    let client = AwsClient::new(endpoint.address(), REGION, "test", "test");
    Setup { endpoint, ministack, client, _dir: dir }
}

impl Setup {
    async fn iam(&self, params: &[(&str, &str)]) {
        let mut form = vec![("Version", "2010-05-08")];
        form.extend_from_slice(params);
        self.client.query("iam", &form).await.unwrap();
    }

    async fn create_function(&self, dead_letters: &str) -> String {
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "lambda.amazonaws.com"}}]});
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "ecs:DescribeServices", "Resource": "arn:aws:ecs:*:*:service/prod/*"},
            {"Effect": "Allow", "Action": ["elasticloadbalancing:Describe*", "cloudwatch:DescribeAlarms"], "Resource": "*"},
            {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": dead_letters},
        ]});
        let (trust, policy) = (trust.to_string(), policy.to_string());
        self.iam(&[("Action", "CreateRole"), ("RoleName", "narrow"), ("AssumeRolePolicyDocument", &trust)])
            .await;
        let put = [
            ("Action", "PutRolePolicy"),
            ("RoleName", "narrow"),
            ("PolicyName", "p"),
            ("PolicyDocument", &policy),
        ];
        self.iam(&put).await;
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file("bootstrap", options).unwrap();
        write!(zip, "#!{}{BOOTSTRAP}", venv().join("bin/python").display()).unwrap();
        let code = zip.finish().unwrap().into_inner();
        let input = json!({
            "FunctionName": "caller", "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 30,
            "Role": format!("arn:aws:iam::{ACCOUNT}:role/narrow"),
            "Code": {"ZipFile": aws_smithy_types::base64::encode(code)},
        });
        let answer = self.rest(Method::POST, "/2015-03-31/functions", input).await;
        answer["FunctionArn"].as_str().unwrap().to_owned()
    }

    async fn rest(&self, method: Method, path: &str, input: Value) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        let body = Bytes::from(input.to_string());
        let answer = self.client.rest("lambda", method, path, headers, body).await.unwrap();
        serde_json::from_slice(answer.body()).unwrap_or(Value::Null)
    }

    /// The error code a call of the function ends with.
    async fn code(&self, service: &str, operation: &str, input: Value) -> String {
        let event = json!({"service": service, "operation": operation, "input": input});
        let answer = self.rest(Method::POST, "/2015-03-31/functions/caller/invocations", event).await;
        answer.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn deliveries(&self, dispatcher: &Dispatcher) -> Vec<(String, usize)> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while dispatcher.pending() > 0 {
            assert!(Instant::now() < deadline, "{:?}", dispatcher.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        dispatcher.log().into_iter().map(|delivery| (delivery.outcome, delivery.tries)).collect()
    }
}

fn push(detail: Value) -> ServiceEvent {
    ServiceEvent {
        source: "aws.ecr".to_owned(),
        detail_type: "ECR Image Action".to_owned(),
        resources: Vec::new(),
        detail,
        time: Timestamp::now(),
    }
}

#[tokio::test]
async fn a_function_may_do_what_its_role_says_and_events_reach_it() {
    let setup = setup().await;
    let queue =
        setup.client.json("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": "dead"})).await.unwrap();
    let dead_letters = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:dead");
    let function = setup.create_function(&dead_letters).await;
    let services = |cluster: &str| json!({"cluster": cluster, "services": ["web"]});
    let actions = json!([{"Type": "forward", "TargetGroupArn": "arn:x"}]);
    for (service, operation, input, expected) in [
        ("ecs", "DescribeServices", services("prod"), "OK"),
        ("ecs", "DescribeServices", services("test"), "AccessDeniedException"),
        ("ecs", "UpdateService", json!({"cluster": "prod", "service": "web"}), "AccessDeniedException"),
        ("elbv2", "DescribeLoadBalancers", json!({}), "OK"),
        ("elbv2", "ModifyRule", json!({"RuleArn": "arn:x", "Actions": actions}), "AccessDenied"),
        ("cloudwatch", "DescribeAlarms", json!({"AlarmNames": ["a"]}), "OK"),
        ("cloudwatch", "DeleteAlarms", json!({"AlarmNames": ["a"]}), "AccessDenied"),
        // ministack's own services see the same signature and decide themselves.
        ("sqs", "ListQueues", json!({}), "AccessDenied"),
    ] {
        let code = setup.code(service, operation, input.clone()).await;
        // botocore names SQS's errors in the query protocol's way or not, by version.
        assert!(code == expected || code.starts_with(expected), "{service} {operation} {input}: {code}");
    }
    let counts = setup.endpoint.counts();
    assert_eq!(counts["ecs.DescribeServices"]["by_caller"]["caller"], 2, "{counts}");

    let pattern = json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"]}}).to_string();
    let put = json!({"Name": "push", "EventPattern": pattern});
    setup.client.json("events", "AWSEvents.PutRule", put).await.unwrap();
    let target = json!({"Id": "f", "Arn": function, "DeadLetterConfig": {"Arn": dead_letters}});
    let targets = json!({"Rule": "push", "Targets": [target]});
    setup.client.json("events", "AWSEvents.PutTargets", targets).await.unwrap();
    let mut options = EventOptions::new(ACCOUNT, REGION);
    options.retries = [Duration::from_millis(10); 2];
    let dispatcher = Dispatcher::new(options, Arc::new(MinistackBus::new(setup.client.clone())));
    dispatcher.emit(push(json!({"action-type": "PUSH"})));
    assert_eq!(setup.deliveries(&dispatcher).await, [("delivered".to_owned(), 1)]);
    dispatcher.emit(push(json!({"action-type": "PUSH", "fail": true})));
    assert_eq!(setup.deliveries(&dispatcher).await[1], ("dead_letter".to_owned(), 3));
    let receive = json!({"QueueUrl": queue["QueueUrl"], "WaitTimeSeconds": 5});
    let messages = setup.client.json("sqs", "AmazonSQS.ReceiveMessage", receive).await.unwrap();
    let body: Value = serde_json::from_str(messages["Messages"][0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(body["detail"]["fail"], true);
    setup.ministack.stop().await.unwrap();
}
