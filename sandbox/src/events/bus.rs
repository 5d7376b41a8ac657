//! What the dispatcher needs of the world, and ministack as that world.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::ministack::Client;
use crate::ports::AwsError;

/// A rule of the default bus with its targets.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Rule {
    pub name: String,
    /// Its event pattern.
    pub pattern: Value,
    /// Where matching events go.
    pub targets: Vec<Target>,
}

/// A target of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The ARN of a function or a queue.
    pub arn: String,
    /// A constant that is sent instead of the event.
    pub input: Option<String>,
    /// The part of the event that is sent, e.g. `$.detail`.
    pub input_path: Option<String>,
    /// The rule's own dead-letter queue: for events that could not be handed over.
    pub dead_letter_arn: Option<String>,
}

/// How a function failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The function ran and returned an error, with its payload.
    Function(Value),
    /// The function could not be invoked.
    Invoke(AwsError),
}

/// The rules, the functions and the queues.
#[async_trait]
pub trait Bus: Send + Sync {
    /// The enabled rules of the default bus that have an event pattern.
    async fn rules(&self) -> Result<Vec<Rule>, AwsError>;
    /// Invokes a function and waits for its answer.
    async fn invoke(&self, function_arn: &str, payload: &Value) -> Result<(), Failure>;
    /// Where events go that a function failed on for good: its on-failure destination or its dead-letter queue.
    async fn failure_destination(&self, function_arn: &str) -> Option<String>;
    /// Puts a message into a queue.
    async fn send(&self, queue_arn: &str, body: &str, attributes: &[(&str, String)]) -> Result<(), AwsError>;
}

/// The bus of a ministack.
pub struct MinistackBus {
    client: Client,
}

impl MinistackBus {
    /// The default bus of the ministack behind `client`, which has to be root's.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn events(&self, operation: &str, body: Value) -> Result<Value, AwsError> {
        self.client.json("events", &format!("AWSEvents.{operation}"), body).await
    }

    async fn targets(&self, rule: &str) -> Result<Vec<Target>, AwsError> {
        let answer = self.events("ListTargetsByRule", json!({"Rule": rule})).await?;
        let targets = answer["Targets"].as_array().into_iter().flatten().filter_map(|target| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some(Target {
                arn: text(&target["Arn"])?,
                input: text(&target["Input"]),
                input_path: text(&target["InputPath"]),
                dead_letter_arn: text(&target["DeadLetterConfig"]["Arn"]),
            })
        });
        Ok(targets.collect())
    }

    async fn function(&self, function_arn: &str, what: &str) -> Option<Value> {
        let path = format!("/2015-03-31/functions/{}/{what}", path_segment(function_arn));
        let path =
            if what == "event-invoke-config" { path.replace("2015-03-31", "2019-09-25") } else { path };
        let answer =
            self.client.rest("lambda", Method::GET, &path, HeaderMap::new(), Bytes::new()).await.ok()?;
        serde_json::from_slice(answer.body()).ok()
    }
}

#[async_trait]
impl Bus for MinistackBus {
    async fn rules(&self) -> Result<Vec<Rule>, AwsError> {
        let mut rules = Vec::new();
        let mut token = Value::Null;
        loop {
            let request = if token.is_null() { json!({}) } else { json!({"NextToken": token}) };
            let answer = self.events("ListRules", request).await?;
            for rule in answer["Rules"].as_array().into_iter().flatten() {
                let pattern = rule["EventPattern"].as_str().and_then(|text| serde_json::from_str(text).ok());
                let (Some(name), Some(pattern)) = (rule["Name"].as_str(), pattern) else { continue };
                if rule["State"] != "DISABLED" {
                    rules.push(Rule { name: name.to_owned(), pattern, targets: self.targets(name).await? });
                }
            }
            token = answer["NextToken"].clone();
            if token.is_null() {
                return Ok(rules);
            }
        }
    }

    async fn invoke(&self, function_arn: &str, payload: &Value) -> Result<(), Failure> {
        let path = format!("/2015-03-31/functions/{}/invocations", path_segment(function_arn));
        let mut headers = HeaderMap::new();
        let kind = HeaderName::from_static("x-amz-invocation-type");
        headers.insert(kind, HeaderValue::from_static("RequestResponse"));
        let body = Bytes::from(payload.to_string());
        let answer =
            self.client.rest("lambda", Method::POST, &path, headers, body).await.map_err(Failure::Invoke)?;
        if answer.headers().contains_key("x-amz-function-error") {
            let payload = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
            return Err(Failure::Function(payload));
        }
        Ok(())
    }

    async fn failure_destination(&self, function_arn: &str) -> Option<String> {
        let config = self.function(function_arn, "event-invoke-config").await;
        let destination = config.and_then(|config| {
            config["DestinationConfig"]["OnFailure"]["Destination"].as_str().map(str::to_owned)
        });
        if destination.is_some() {
            return destination;
        }
        let configuration = self.function(function_arn, "configuration").await?;
        configuration["DeadLetterConfig"]["TargetArn"].as_str().map(str::to_owned)
    }

    async fn send(&self, queue_arn: &str, body: &str, attributes: &[(&str, String)]) -> Result<(), AwsError> {
        let mut parts = queue_arn.split(':').skip(4);
        let (account, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let found = json!({"QueueName": name, "QueueOwnerAWSAccountId": account});
        let queue = self.client.json("sqs", "AmazonSQS.GetQueueUrl", found).await?;
        let attributes: serde_json::Map<String, Value> = (attributes.iter())
            .map(|(name, value)| ((*name).to_owned(), json!({"DataType": "String", "StringValue": value})))
            .collect();
        let message =
            json!({"QueueUrl": queue["QueueUrl"], "MessageBody": body, "MessageAttributes": attributes});
        self.client.json("sqs", "AmazonSQS.SendMessage", message).await.map(drop)
    }
}

/// A function's ARN as one segment of a path. Colons may stay.
fn path_segment(function_arn: &str) -> String {
    function_arn.replace('/', "%2F")
}
