//! What happens to releases, published to topics: in plain text, and as Amazon Q Developer in chat applications reads it.
//!
//! Source: "Custom notifications using Amazon Q Developer in chat applications": version `1.0`, source `custom`, a description is needed;
//! notifications with the same `threadId` are one thread in Slack and Teams.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_sns::Client;
use aws_sdk_sns::config::Region;
use serde_json::{Value, json};
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ServiceName, TopicArn};
use tidegate_core::notify::{Message, headline, paragraphs, subject};
use tidegate_core::text::{beginning, visible, visible_line};

use crate::PUBLISH;

/// Amazon Q takes titles of 250 characters and descriptions of 8,000.
const LONGEST_TITLE: usize = 240;
const LONGEST_DESCRIPTION: usize = 7000;
/// SNS takes 256 KB; nobody reads so much.
const LONGEST_TEXT: usize = 20_000;

/// Topics, each in its own region.
#[derive(Debug)]
pub struct Topics {
    home: SdkConfig,
    clients: Mutex<HashMap<String, Client>>,
}

impl Topics {
    /// With the home account's configuration.
    pub fn new(home: SdkConfig) -> Self {
        Self { home, clients: Mutex::default() }
    }

    fn client(&self, topic: &TopicArn) -> Client {
        let region = topic.as_str().split(':').nth(3).unwrap_or_default().to_owned();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Client::new(&self.home.to_builder().region(Region::new(region.clone())).build());
        clients.entry(region.clone()).or_insert_with(make).clone()
    }

    /// Publishes a message in plain text.
    ///
    /// # Errors
    /// What SNS answers.
    pub async fn publish_text(&self, topic: &TopicArn, message: &Message) -> Result<(), PortError> {
        self.publish(topic, Some(subject(message)), text(message)).await
    }

    /// Publishes a message as Amazon Q Developer in chat applications shows it.
    ///
    /// # Errors
    /// What SNS answers.
    pub async fn publish_chat(&self, topic: &TopicArn, message: &Message) -> Result<(), PortError> {
        self.publish(topic, None, chat(message).to_string()).await
    }

    /// Publishes a test message, in plain text or for Amazon Q.
    ///
    /// # Errors
    /// What SNS answers.
    pub async fn publish_test(
        &self,
        topic: &TopicArn,
        service: &ServiceName,
        id: &str,
        for_chat: bool,
    ) -> Result<(), PortError> {
        let text = format!("Test message of Tidegate for {service}. Nothing happened.");
        if for_chat {
            let body = notification(&format!("test-{id}"), "Tidegate", &text, "test");
            return self.publish(topic, None, body.to_string()).await;
        }
        self.publish(topic, Some("Test message of Tidegate".to_owned()), text).await
    }

    async fn publish(
        &self,
        topic: &TopicArn,
        subject: Option<String>,
        text: String,
    ) -> Result<(), PortError> {
        let publish =
            self.client(topic).publish().topic_arn(topic.as_str()).set_subject(subject).message(text);
        publish.send().await.map_err(|error| port_error(PUBLISH, error))?;
        Ok(())
    }
}

/// A mail.
fn text(message: &Message) -> String {
    let (about, notice) = (&message.about, &message.notice);
    let mut lines = vec![headline(message), String::new()];
    lines.extend(paragraphs(message));
    lines.push(String::new());
    lines.push(format!("Release   {}", about.release));
    lines.push(format!("Service   {}", about.service));
    lines.push(format!("Target    {}", about.target));
    lines.push(format!("Image     {}", about.change));
    if let Some(commit) = &about.provenance.commit {
        lines.push(format!("Commit    {commit}"));
    }
    lines.push(format!("Asked by  {}", about.requested_by));
    lines.push(format!("At        {:.0}", notice.at));
    lines.push(String::new());
    lines.push(format!("tidegate why {}", about.release));
    beginning(&visible(&lines.join("\n")), LONGEST_TEXT)
}

/// A custom notification; one thread a release.
fn chat(message: &Message) -> Value {
    let (about, notice) = (&message.about, &message.notice);
    let told = paragraphs(message).iter().map(|text| plain(text)).collect::<Vec<_>>().join("\n");
    let mut lines = vec![told, String::new()];
    lines.push(format!("Asked for by {}", plain(&visible_line(&about.requested_by))));
    let title = plain(&headline(message));
    let mut body = notification(about.release.as_str(), &title, &lines.join("\n"), notice.moment.name());
    if let Some(needs) = notice.needs() {
        body["content"]["nextSteps"] = json!([beginning(&plain(&visible_line(needs)), 300)]);
    }
    body["content"]["keywords"] = json!([about.service, notice.moment.name()]);
    body["id"] = json!(message.key());
    body
}

fn notification(thread: &str, title: &str, description: &str, kind: &str) -> Value {
    json!({
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": beginning(title, LONGEST_TITLE),
            "description": beginning(description, LONGEST_DESCRIPTION),
        },
        "metadata": { "threadId": thread, "summary": beginning(title, LONGEST_TITLE), "eventType": kind },
    })
}

/// What others wrote is no markup: it mentions nobody and makes no link.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidegate_core::actor::Actor;
    use tidegate_core::change::Change;
    use tidegate_core::history::Event;
    use tidegate_core::ids::Image;
    use tidegate_core::intent::Provenance;
    use tidegate_core::notify::{About, Mark, Notice, moment};
    use tidegate_core::outcome::{Cause, Outcome};
    use tidegate_core::policy::Receiver;

    use super::*;

    fn failed(why: &str) -> Message {
        let cause = Cause::Deployment { reason: why.into() };
        let outcome = Box::new(Outcome::Failed { cause, needs: "deploy checkout:41 by hand".into() });
        let event = Event::Ended { outcome, restore_pending: None };
        let image = Image {
            registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
            repository: "shop/checkout".parse().unwrap(),
            digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            tag: None,
        };
        let about = About {
            release: "01k9zq3v8wd4x5n6p7r8s9t0ab".parse().unwrap(),
            service: "checkout".parse().unwrap(),
            account: "111122223333".parse().unwrap(),
            region: "eu-central-1".parse().unwrap(),
            target: "ECS service prod/checkout".into(),
            change: Change::one("app".parse().unwrap(), image),
            label: "main-2".into(),
            requested_by: "push of main-2".into(),
            provenance: Provenance::default(),
            plan: None,
        };
        let notice = Notice {
            mark: Mark { version: 9, index: 0 },
            moment: moment(&event).unwrap(),
            at: "2026-03-02T09:00:00Z".parse().unwrap(),
            actor: Actor::Tidegate,
            event,
            measured: None,
        };
        let to = Receiver::Sns("arn:aws:sns:eu-central-1:111122223333:ops".parse().unwrap());
        Message { to, about, notice, before: Vec::new(), mention: Vec::new(), memory: BTreeMap::new() }
    }

    #[test]
    fn a_mail_says_what_happened_and_what_to_do() {
        let mail = text(&failed("the service is gone"));
        let beginning: Vec<&str> = mail.lines().take(5).collect();
        assert_eq!(
            beginning,
            [
                "checkout main-2: failed",
                "",
                "Amazon ECS ended the deployment: the service is gone",
                "Manual intervention required: deploy checkout:41 by hand",
                ""
            ]
        );
        assert!(mail.ends_with("tidegate why 01k9zq3v8wd4x5n6p7r8s9t0ab"));
        assert_eq!(subject(&failed("x")), "checkout main-2: failed");
    }

    #[test]
    fn a_release_is_one_thread_and_what_others_wrote_is_no_markup() {
        let body = chat(&failed(&format!("<!channel> {}", "x".repeat(9000))));
        assert_eq!((&body["version"], &body["source"]), (&json!("1.0"), &json!("custom")));
        assert_eq!(body["metadata"]["threadId"], "01k9zq3v8wd4x5n6p7r8s9t0ab");
        assert_eq!(body["content"]["nextSteps"], json!(["deploy checkout:41 by hand"]));
        let description = body["content"]["description"].as_str().unwrap();
        assert!(
            description.chars().count() <= 8000 && description.contains("&lt;!channel&gt;"),
            "{description}"
        );
    }
}
