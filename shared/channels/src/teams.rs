//! A workflow of Microsoft Teams that posts what it is sent: an Adaptive Card.
//!
//! Source: Microsoft Learn, "Create incoming webhooks with Workflows for Microsoft Teams": a `message` with attachments of type
//! `application/vnd.microsoft.card.adaptive`; a message may have 28 KB.

use serde_json::{Value, json};
use tidegate_core::ids::ServiceName;
use tidegate_core::notify::{Message, NotSent, headline, paragraphs};
use tidegate_core::policy::Moment;
use tidegate_core::text::{beginning, visible_line};

use crate::http::{Http, Request};

const WHOM: &str = "Microsoft Teams";
/// A card's paragraphs, each at most this many characters: far below the limit of a message.
const LONGEST_TEXT: usize = 2000;

pub(crate) async fn tell(http: &Http, url: &str, message: &Message) -> Result<(), NotSent> {
    send(http, url, &card(message)).await
}

pub(crate) async fn test(http: &Http, url: &str, service: &ServiceName) -> Result<(), NotSent> {
    let text = format!("Test message of Tidegate for {service}. Nothing happened.");
    send(http, url, &wrapped(vec![json!({ "type": "TextBlock", "text": text, "wrap": true })])).await
}

async fn send(http: &Http, url: &str, body: &Value) -> Result<(), NotSent> {
    let answer = http.send(Request::post(WHOM, url, body)).await?;
    if answer.is_success() {
        return Ok(());
    }
    let refusal = answer.refusal(WHOM, None);
    Err(match answer.status {
        400 | 401 | 403 | 404 => {
            refusal.remedy("Look whether the workflow is there, turned on and open to anyone, and whether its address in the secret is the newest.")
        }
        _ => refusal,
    })
}

fn card(message: &Message) -> Value {
    let about = &message.about;
    let colour = match message.notice.moment {
        _ if message.notice.needs().is_some() => "Attention",
        Moment::Failed | Moment::RollingBack | Moment::RolledBack | Moment::Rejected => "Attention",
        Moment::InterventionRequired | Moment::Cancelled => "Attention",
        Moment::Promoted => "Good",
        Moment::ApprovalRequested => "Warning",
        Moment::Created
        | Moment::Asked
        | Moment::Started
        | Moment::Planned
        | Moment::Replanned
        | Moment::Approved
        | Moment::VerificationStarted
        | Moment::DeploymentStarted
        | Moment::Shifting
        | Moment::StageDone
        | Moment::TasksFailed
        | Moment::WeightsRepaired
        | Moment::WouldRollBack
        | Moment::Promoting
        | Moment::TrafficRestored
        | Moment::Redeploying
        | Moment::GivingWay
        | Moment::Settling
        | Moment::Superseded => "Default",
    };
    let mut body = vec![
        json!({ "type": "TextBlock", "size": "Medium", "weight": "Bolder", "color": colour, "wrap": true,
        "text": escaped(&headline(message)) }),
    ];
    for text in paragraphs(message) {
        let text = escaped(&beginning(&text, LONGEST_TEXT));
        body.push(json!({ "type": "TextBlock", "wrap": true, "text": text }));
    }
    let fact = |title: &str, value: &str| json!({ "title": title, "value": escaped(&beginning(value, LONGEST_TEXT)) });
    let mut facts = vec![
        fact("Release", about.release.as_str()),
        fact("Asked for by", &visible_line(&about.requested_by)),
    ];
    if let Some(commit) = &about.provenance.commit {
        facts.push(fact("Commit", &visible_line(commit)));
    }
    facts.push(fact("At", &format!("{:.0}", message.notice.at)));
    body.push(json!({ "type": "FactSet", "facts": facts }));
    wrapped(body)
}

fn wrapped(body: Vec<Value>) -> Value {
    json!({ "type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": { "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
            "msteams": { "width": "Full" }, "body": body },
    }] })
}

/// Adaptive Cards read some Markdown: what others wrote makes no link of itself.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "[]*_`".contains(c)).chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests_support::message;

    #[test]
    fn a_card_says_what_happened_and_stays_below_the_limit() {
        let long = "x".repeat(50_000);
        let body = card(&message(tidegate_core::policy::Receiver::Teams("a".parse().unwrap()), &long));
        assert!(body.to_string().len() < 28 * 1024, "{}", body.to_string().len());
        let content = &body["attachments"][0]["content"];
        assert_eq!(content["type"], "AdaptiveCard");
        assert_eq!(content["body"][0]["text"], "checkout main-2: rolling back");
        assert_eq!(content["body"][0]["color"], "Attention");
    }

    #[test]
    fn what_others_wrote_makes_no_link_of_itself() {
        assert_eq!(escaped("[here](https://x) *now*"), r"\[here\](https://x) \*now\*");
    }
}
