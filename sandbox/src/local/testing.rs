//! What tests against the whole local AWS share: functions in Python that tell a queue of every event they get, roles, queues.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::{ACCOUNT, Local, Options, REGION};
use crate::ministack::Client;
use crate::ministack::functions::{create_function, create_role};

/// What every function here has: it tells the queue `told` of each event.
const TELL: &str = r#"
def tell(event):
    sqs = aws("sqs")
    url = sqs.get_queue_url(QueueName="told")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
def handle(event):
    tell(event)
"#;

/// A local AWS without Tidegate, and the queue `told`.
pub(crate) struct Stage {
    pub(crate) local: Local,
    /// Root, through the endpoint.
    pub(crate) client: Client,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn up(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(venv(), dir.path().to_owned());
        change(&mut options);
        let local = Local::start(options).await.unwrap();
        let client = Client::new(local.endpoint.address(), REGION, "test", "test");
        let stage = Self { local, client, _dir: dir };
        stage.json("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": "told"})).await;
        stage
    }

    pub(crate) async fn json(&self, service: &str, target: &str, input: Value) -> Value {
        self.client.json(service, target, input).await.unwrap()
    }

    /// A role that `services` and the account's root may assume.
    pub(crate) async fn role(&self, name: &str, services: &[&str], statements: Value) -> String {
        create_role(&self.client, ACCOUNT, name, services, statements).await.unwrap()
    }

    /// A function of this name; `handler` may redefine `handle`, `statements` are added to what its role may do.
    pub(crate) async fn function(&self, name: &str, handler: &str, statements: Value) -> String {
        let mut allowed = vec![json!({"Effect": "Allow", "Action": "sqs:*", "Resource": "*"})];
        allowed.extend(statements.as_array().into_iter().flatten().cloned());
        let role = self.role(&format!("{name}-role"), &["lambda.amazonaws.com"], allowed.into()).await;
        let code = format!("{TELL}{handler}");
        create_function(&self.client, &venv(), name, &role, &code).await.unwrap()
    }

    pub(crate) async fn rest(&self, service: &str, method: Method, path: &str, input: Value) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = Bytes::from(input.to_string());
        let answer = self.client.rest(service, method, path, headers, body).await.unwrap();
        serde_json::from_slice(answer.body()).unwrap_or(Value::Null)
    }

    /// A rule of the default bus with one target.
    pub(crate) async fn rule(&self, name: &str, pattern: Value, target: &str) {
        let put = json!({"Name": name, "EventPattern": pattern.to_string()});
        self.json("events", "AWSEvents.PutRule", put).await;
        let targets = json!({"Rule": name, "Targets": [{"Id": "t", "Arn": target}]});
        self.json("events", "AWSEvents.PutTargets", targets).await;
    }

    /// The next message of the queue `told`, as JSON.
    pub(crate) async fn told(&self) -> Value {
        let queue = self.json("sqs", "AmazonSQS.GetQueueUrl", json!({"QueueName": "told"})).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let receive = json!({"QueueUrl": queue["QueueUrl"], "WaitTimeSeconds": 5});
            let answer = self.json("sqs", "AmazonSQS.ReceiveMessage", receive).await;
            if let Some(message) = answer["Messages"].get(0) {
                let delete =
                    json!({"QueueUrl": queue["QueueUrl"], "ReceiptHandle": message["ReceiptHandle"]});
                self.json("sqs", "AmazonSQS.DeleteMessage", delete).await;
                return serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            }
            let log = || std::fs::read_to_string(self.local.log()).unwrap_or_default();
            assert!(Instant::now() < deadline, "nothing was told: {}", log());
        }
    }

    pub(crate) async fn sns(&self, params: &[(&str, &str)]) {
        let mut form = vec![("Version", "2010-03-31")];
        form.extend_from_slice(params);
        self.client.query("sns", &form).await.unwrap();
    }

    /// A topic whose messages go to the queue `told`.
    pub(crate) async fn topic(&self, name: &str) -> String {
        self.sns(&[("Action", "CreateTopic"), ("Name", name)]).await;
        let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:told");
        let allow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage",
            "Principal": {"Service": "sns.amazonaws.com"}, "Resource": queue}]});
        let url =
            self.json("sqs", "AmazonSQS.GetQueueUrl", json!({"QueueName": "told"})).await["QueueUrl"].clone();
        let attributes = json!({"QueueUrl": url, "Attributes": {"Policy": allow.to_string()}});
        self.json("sqs", "AmazonSQS.SetQueueAttributes", attributes).await;
        self.sns(&[("Action", "Subscribe"), ("TopicArn", &topic), ("Protocol", "sqs"), ("Endpoint", &queue)])
            .await;
        topic
    }

    pub(crate) async fn put_object(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        let path = crate::ministack::object_path(bucket, key);
        self.client.rest("s3", Method::PUT, &path, HeaderMap::new(), body.into()).await.unwrap();
    }

    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Bytes {
        let path = crate::ministack::object_path(bucket, key);
        let answer = self.client.rest("s3", Method::GET, &path, HeaderMap::new(), Bytes::new()).await;
        answer.unwrap().into_body()
    }

    pub(crate) async fn create_bucket(&self, bucket: &str) {
        let place = format!(
            "<CreateBucketConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>\
             <LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        let path = format!("/{bucket}");
        self.client.rest("s3", Method::PUT, &path, HeaderMap::new(), place.into()).await.unwrap();
    }
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The configuration of an official SDK crate for the local AWS, as root.
macro_rules! sdk_config {
    ($sdk:ident, $url:expr) => {
        $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::latest())
            .region($sdk::config::Region::new($crate::local::REGION))
            .credentials_provider($sdk::config::Credentials::new("test", "test", None, None, "test"))
            .endpoint_url($url)
            .build()
    };
}
pub(crate) use sdk_config;

fn venv() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let venv = std::env::var_os("TIDEGATE_VENV").map_or_else(|| workspace.join(".venv"), PathBuf::from);
    assert!(venv.join("bin/python").exists(), "{} is missing: run `cargo xtask test`", venv.display());
    venv
}
