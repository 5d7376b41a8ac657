//! PagerDuty's Events API v2: an alert when a person is needed, resolved by the next release of the service that ends well.
//!
//! Source: PagerDuty, "Send an Alert Event": `POST /v2/enqueue` is answered with 202; `summary` has 1024 characters at most, `dedup_key` 255. To
//! resolve what is not open is taken and changes nothing.

use serde_json::{Value, json};
use tidegate_core::ids::ServiceName;
use tidegate_core::notify::{Message, NotSent, headline};
use tidegate_core::text::{beginning, visible_line};

use crate::http::{Http, Request};
use crate::secrets::PagerDuty;

const WHOM: &str = "PagerDuty";
const LONGEST_SUMMARY: usize = 1000;
const LONGEST_KEY: usize = 255;

pub(crate) async fn tell(http: &Http, secret: &PagerDuty, message: &Message) -> Result<(), NotSent> {
    send(http, secret, event(message)).await
}

/// An alert that is resolved at once.
pub(crate) async fn test(
    http: &Http,
    secret: &PagerDuty,
    service: &ServiceName,
    id: &str,
) -> Result<(), NotSent> {
    let key = format!("tidegate-test-{id}");
    let summary = format!("Test message of Tidegate for {service}. Nothing happened.");
    let payload = json!({ "summary": summary, "source": "tidegate", "severity": "info" });
    send(http, secret, json!({ "event_action": "trigger", "dedup_key": key, "payload": payload })).await?;
    send(http, secret, json!({ "event_action": "resolve", "dedup_key": key })).await
}

fn event(message: &Message) -> Value {
    let (about, notice) = (&message.about, &message.notice);
    let key: String = format!("tidegate/{}/{}/{}", about.account, about.region, about.service)
        .chars()
        .take(LONGEST_KEY)
        .collect();
    let Some(needs) = notice.needs() else {
        return json!({ "event_action": "resolve", "dedup_key": key });
    };
    let summary = visible_line(&format!("{}: {needs}", headline(message))).into_owned();
    json!({
        "event_action": "trigger",
        "dedup_key": key,
        "client": "Tidegate",
        "payload": {
            "summary": beginning(&summary, LONGEST_SUMMARY),
            "source": visible_line(&about.target),
            "severity": "critical",
            "timestamp": notice.at.to_string(),
            "component": about.service,
            "class": notice.moment.name(),
            "custom_details": {
                "release": about.release,
                "why": beginning(&visible_line(&notice.event.why()), LONGEST_SUMMARY),
                "needs": beginning(&visible_line(needs), LONGEST_SUMMARY),
                "requested_by": visible_line(&about.requested_by),
            },
        },
    })
}

async fn send(http: &Http, secret: &PagerDuty, mut event: Value) -> Result<(), NotSent> {
    event["routing_key"] = json!(secret.routing_key);
    let url = format!("{}/v2/enqueue", secret.url);
    let answer = http.send(Request::post(WHOM, &url, &event)).await?;
    if answer.is_success() {
        return Ok(());
    }
    let answered = answer.json();
    let refusal = answer.refusal(WHOM, answered["message"].as_str());
    Err(match answer.status {
        400 | 403 => refusal.remedy(
            "Look whether routing_key in the secret is the integration key of an Events API v2 integration.",
        ),
        _ => refusal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests_support::{ended, message};
    use tidegate_core::policy::Receiver;

    #[test]
    fn who_is_needed_is_called_and_the_next_good_end_resolves_it() {
        let to = || Receiver::PagerDuty("shop".parse().unwrap());
        let failed = event(&ended(to(), Some(&"restore it ".repeat(500))));
        assert_eq!(failed["event_action"], "trigger");
        assert_eq!(failed["dedup_key"], "tidegate/111122223333/eu-central-1/checkout");
        let summary = failed["payload"]["summary"].as_str().unwrap();
        assert!(
            summary.starts_with("checkout main-2: failed: ") && summary.chars().count() <= 1024,
            "{summary}"
        );
        let good = event(&ended(to(), None));
        assert_eq!(good, json!({ "event_action": "resolve", "dedup_key": failed["dedup_key"] }));
        assert_eq!(event(&message(to(), "x"))["event_action"], "resolve");
    }
}
