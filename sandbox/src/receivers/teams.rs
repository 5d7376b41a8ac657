//! A workflow of Microsoft Teams that posts what it is sent.

use serde_json::{Value, json};

use super::{Answer, Call, Keys, answer};

pub(super) fn take(keys: &Keys, posted: &mut Vec<Value>, call: &Call<'_>) -> Answer {
    let refused = |status: u16, code: &str| answer(status, json!({ "error": { "code": code } }));
    if !call.query.split('&').any(|pair| pair == format!("sig={}", keys.teams_signature)) {
        return refused(401, "DirectApiInvalidAuthorizationScheme");
    }
    let body = call.json();
    let attachment = &body["attachments"][0];
    let card = &attachment["content"];
    if call.body.len() > 28 * 1024 {
        return refused(413, "RequestEntityTooLarge");
    }
    if body["type"] != "message"
        || attachment["contentType"] != "application/vnd.microsoft.card.adaptive"
        || card["type"] != "AdaptiveCard"
        || !card["version"].is_string()
        || card["body"].as_array().is_none_or(Vec::is_empty)
    {
        return refused(400, "TriggerInputSchemaMismatch");
    }
    posted.push(card.clone());
    answer(202, Value::Null)
}
