//! A signed request to an address of the user's own.

use serde_json::json;
use tidegate_core::ids::ServiceName;
use tidegate_core::notify::{Detail, Message, NotSent};

use crate::http::{Http, Request};
use crate::secrets::Webhook;
use crate::signing::signature;

const WHOM: &str = "the webhook";

pub(crate) async fn tell(http: &Http, secret: &Webhook, message: &Message) -> Result<(), NotSent> {
    let detail = Detail::of(message);
    let kind = detail.detail_type();
    let body = json!(detail).to_string();
    send(http, secret, &kind, &message.key(), body).await
}

pub(crate) async fn test(
    http: &Http,
    secret: &Webhook,
    service: &ServiceName,
    id: &str,
) -> Result<(), NotSent> {
    let body = json!({ "version": "1", "id": id, "test": true, "service": service }).to_string();
    send(http, secret, "tidegate.test", id, body).await
}

async fn send(http: &Http, secret: &Webhook, kind: &str, id: &str, body: String) -> Result<(), NotSent> {
    let timestamp = jiff::Timestamp::now().as_second();
    let headers = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("tidegate-event", kind.to_owned()),
        ("tidegate-delivery", id.to_owned()),
        ("tidegate-timestamp", timestamp.to_string()),
        ("tidegate-signature", signature(&secret.secret, timestamp, &body)),
    ];
    let request = Request { whom: WHOM, method: "POST", url: &secret.url, headers, body: Some(body) };
    let answer = http.send(request).await?;
    if answer.is_success() {
        return Ok(());
    }
    let refusal = answer.refusal(WHOM, None);
    Err(match answer.status {
        401 | 403 => {
            refusal.remedy("Compare the secret of the receiver with that of Tidegate's notification secret.")
        }
        _ => refusal.remedy("It has to answer with a status from 200 to 299 within 4 s."),
    })
}
