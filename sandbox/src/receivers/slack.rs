//! Slack's Web API, as far as a bot posts: `chat.postMessage`, `chat.update`. Errors come with HTTP 200, as Slack documents it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Call, Keys, answer};

/// A workspace with one channel, `#deploys`, which the bot is in.
#[derive(Debug, Default)]
pub(super) struct Slack {
    messages: BTreeMap<String, Value>,
}

const CHANNEL: &str = "C0123ABCDEF";

impl Slack {
    pub(super) fn messages(&self) -> Vec<Value> {
        self.messages.values().cloned().collect()
    }

    pub(super) fn take(&mut self, keys: &Keys, call: &Call<'_>) -> Answer {
        let refused = |error: &str| answer(200, json!({ "ok": false, "error": error }));
        if call.header("authorization") != format!("Bearer {}", keys.slack_token) {
            return refused("invalid_auth");
        }
        if !call.header("content-type").starts_with("application/json") {
            return refused("invalid_form_data");
        }
        let body = call.json();
        if let Some(wrong) = wrong_in(&body) {
            return answer(200, json!({ "ok": false, "error": "invalid_blocks", "errors": [wrong] }));
        }
        match call.path {
            "/api/chat.postMessage" => self.post(&body),
            "/api/chat.update" => self.update(&body),
            _ => refused("unknown_method"),
        }
    }

    fn post(&mut self, body: &Value) -> Answer {
        if body["channel"] != "#deploys" && body["channel"] != CHANNEL {
            return answer(200, json!({ "ok": false, "error": "channel_not_found" }));
        }
        let thread = &body["thread_ts"];
        if thread.is_string() && !self.messages.contains_key(thread.as_str().unwrap_or_default()) {
            return answer(200, json!({ "ok": false, "error": "thread_not_found" }));
        }
        let ts = format!("1772442000.{:06}", self.messages.len() + 1);
        let message = json!({ "ts": ts, "thread_ts": thread, "text": body["text"], "blocks": body["blocks"], "edits": 0 });
        self.messages.insert(ts.clone(), message);
        answer(200, json!({ "ok": true, "channel": CHANNEL, "ts": ts }))
    }

    /// Unlike a message that is posted, one that is changed has to be named by the channel's id.
    fn update(&mut self, body: &Value) -> Answer {
        if body["channel"] != CHANNEL {
            return answer(200, json!({ "ok": false, "error": "channel_not_found" }));
        }
        let Some(message) = self.messages.get_mut(body["ts"].as_str().unwrap_or_default()) else {
            return answer(200, json!({ "ok": false, "error": "message_not_found" }));
        };
        message["text"] = body["text"].clone();
        message["blocks"] = body["blocks"].clone();
        message["edits"] = json!(message["edits"].as_u64().unwrap_or_default() + 1);
        answer(200, json!({ "ok": true, "channel": CHANNEL, "ts": body["ts"] }))
    }
}

/// What Block Kit does not take.
fn wrong_in(body: &Value) -> Option<String> {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    if length(&body["text"]) == 0 {
        return Some("no_text".into());
    }
    let blocks = body["blocks"].as_array().cloned().unwrap_or_default();
    if blocks.len() > 50 {
        return Some("more than 50 blocks".into());
    }
    blocks.iter().find_map(|block| match block["type"].as_str()? {
        "section" => (!(1..=3000).contains(&length(&block["text"]["text"])))
            .then(|| "a section's text has 1 to 3000 characters".into()),
        "context" => {
            let elements = block["elements"].as_array()?;
            let wrong = elements.is_empty()
                || elements.len() > 10
                || elements.iter().any(|it| length(&it["text"]) == 0);
            wrong.then(|| "a context has 1 to 10 elements, each with text".into())
        }
        "actions" => {
            let wrong = |it: &Value| {
                length(&it["value"]) > 2000
                    || length(&it["action_id"]) > 255
                    || length(&it["text"]["text"]) > 75
                    || length(&it["confirm"]["title"]["text"]) > 100
                    || length(&it["confirm"]["text"]["text"]) > 300
                    || length(&it["confirm"]["confirm"]["text"]) > 30
                    || length(&it["confirm"]["deny"]["text"]) > 30
            };
            block["elements"].as_array()?.iter().any(wrong).then(|| "a button is too long".into())
        }
        other => Some(format!("unknown block {other}")),
    })
}
