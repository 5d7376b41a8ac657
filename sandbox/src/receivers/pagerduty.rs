//! PagerDuty's Events API v2.

use serde_json::{Value, json};

use super::{Answer, Call, Keys, answer};

pub(super) fn take(keys: &Keys, events: &mut Vec<Value>, call: &Call<'_>) -> Answer {
    if call.path != "/v2/enqueue" || call.method != "POST" {
        return answer(404, json!({ "status": "not found" }));
    }
    let body = call.json();
    let invalid = |error: &str| {
        answer(
            400,
            json!({ "status": "invalid event", "message": "Event object is invalid", "errors": [error] }),
        )
    };
    if body["routing_key"].as_str().map(str::len) != Some(32) {
        return invalid("Length of 'routing_key' is incorrect (should be 32 characters)");
    }
    if body["routing_key"] != json!(keys.routing_key) {
        return answer(
            400,
            json!({ "status": "invalid event", "message": "Event object is invalid", "errors": ["Invalid routing key"] }),
        );
    }
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    if length(&body["dedup_key"]) > 255 {
        return invalid("'dedup_key' is too long");
    }
    match body["event_action"].as_str() {
        Some("resolve") if length(&body["dedup_key"]) == 0 => {
            return invalid("'dedup_key' is missing or blank");
        }
        Some("resolve") => {}
        Some("trigger") => {
            let payload = &body["payload"];
            if !(1..=1024).contains(&length(&payload["summary"])) {
                return invalid("'payload.summary' is missing, blank or too long");
            }
            if length(&payload["source"]) == 0 {
                return invalid("'payload.source' is missing or blank");
            }
            if !["critical", "warning", "error", "info"].iter().any(|it| payload["severity"] == *it) {
                return invalid("'payload.severity' is invalid");
            }
        }
        Some(_) | None => return invalid("'event_action' is missing or blank"),
    }
    events.push(body.clone());
    answer(202, json!({ "status": "success", "message": "Event processed", "dedup_key": body["dedup_key"] }))
}
