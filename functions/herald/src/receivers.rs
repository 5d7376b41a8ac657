//! Which adapter reaches which receiver.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tidegate_channels::{Channels, Vault};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ServiceName;
use tidegate_core::notify::{Detail, Message, NotSent, VERSION};
use tidegate_core::policy::Receiver;
use tidegate_core::ports::Receivers;
use tidegate_eventbridge::{BusEvent, EventBuses};
use tidegate_secretsmanager::Secret;
use tidegate_sns::Topics;
use tidegate_start::SdkConfig;

/// All receivers.
pub(crate) struct All {
    buses: EventBuses,
    topics: Topics,
    channels: Channels,
}

impl All {
    pub(crate) fn new(aws: &SdkConfig, secret_arn: String) -> Self {
        let vault = Arc::new(NotifySecret(Secret::new(aws, secret_arn)));
        Self {
            buses: EventBuses::new(aws.clone()),
            topics: Topics::new(aws.clone()),
            channels: Channels::new(vault),
        }
    }
}

struct NotifySecret(Secret);

#[async_trait]
impl Vault for NotifySecret {
    async fn document(&self) -> Result<String, PortError> {
        self.0.text().await
    }
}

#[async_trait]
impl Receivers for All {
    async fn tell(&self, message: &Message) -> Result<BTreeMap<String, String>, NotSent> {
        let done = |result: Result<(), PortError>, setting: &str| match result {
            Ok(()) => Ok(message.memory.clone()),
            Err(error) => Err(refused(&message.to, &error, setting)),
        };
        match &message.to {
            Receiver::EventBus(bus) => done(self.buses.put(bus, event(message)).await, "EventBusArns"),
            Receiver::Sns(topic) => done(self.topics.publish_text(topic, message).await, "NotifyTopicArns"),
            Receiver::AmazonQ(topic) => {
                done(self.topics.publish_chat(topic, message).await, "NotifyTopicArns")
            }
            Receiver::Slack(_)
            | Receiver::GitHub(_)
            | Receiver::Teams(_)
            | Receiver::Webhook(_)
            | Receiver::PagerDuty(_) => match self.channels.tell(message).await {
                Some(result) => result,
                None => Err(NotSent::new("this version of Tidegate does not reach this receiver")),
            },
        }
    }

    async fn test(&self, to: &Receiver, service: &ServiceName, id: &str) -> Result<(), NotSent> {
        let refused = |error: PortError, setting: &str| refused(to, &error, setting);
        match to {
            Receiver::EventBus(bus) => {
                let detail =
                    json!({ "version": VERSION, "id": id, "test": true, "service": service }).to_string();
                let event =
                    BusEvent { detail_type: "tidegate.test".into(), detail, at: jiff::Timestamp::now() };
                self.buses.put(bus, event).await.map_err(|error| refused(error, "EventBusArns"))
            }
            Receiver::Sns(topic) | Receiver::AmazonQ(topic) => {
                let for_chat = matches!(to, Receiver::AmazonQ(_));
                let published = self.topics.publish_test(topic, service, id, for_chat).await;
                published.map_err(|error| refused(error, "NotifyTopicArns"))
            }
            Receiver::Slack(_)
            | Receiver::GitHub(_)
            | Receiver::Teams(_)
            | Receiver::Webhook(_)
            | Receiver::PagerDuty(_) => match self.channels.test(to, service, id).await {
                Some(result) => result,
                None => Err(NotSent::new("this version of Tidegate does not reach this receiver")),
            },
        }
    }
}

fn event(message: &Message) -> BusEvent {
    let detail = Detail::of(message);
    BusEvent { detail_type: detail.detail_type(), detail: json!(detail).to_string(), at: message.notice.at }
}

/// What AWS refused, with what a person can do: most often the stack was not told of the topic or the bus.
fn refused(to: &Receiver, error: &PortError, setting: &str) -> NotSent {
    let told = NotSent::new(error.told());
    match error.kind {
        ErrorKind::Denied => told.remedy(format!(
            "Name the ARN in the stack's parameter {setting}, and let the resource's own policy allow the herald's role: {}.",
            to.name()
        )),
        ErrorKind::NotFound => told.remedy(format!("Create it, or correct the policy: {}.", to.name())),
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Invalid => told,
    }
}
