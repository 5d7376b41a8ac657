//! Somebody's own receiver, written from what `docs/notifications.md` says.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, Call, Keys, answer};

pub(super) fn take(keys: &Keys, got: &mut Vec<(String, Value)>, call: &Call<'_>) -> Answer {
    let refused = |status: u16, why: &str| answer(status, json!({ "error": why }));
    let timestamp = call.header("tidegate-timestamp");
    let age = timestamp.parse::<i64>().map(|at| (jiff::Timestamp::now().as_second() - at).abs());
    if age.unwrap_or(i64::MAX) > 300 {
        return refused(401, "the timestamp is not from now");
    }
    let signed = [timestamp.as_bytes(), b".", call.body].concat();
    let expected = format!("v1={}", hex::encode(hmac_sha256(keys.webhook_secret.as_bytes(), &signed)));
    if call.header("tidegate-signature") != expected {
        return refused(401, "the signature does not verify");
    }
    let (kind, body) = (call.header("tidegate-event").to_owned(), call.json());
    if call.header("tidegate-delivery") != body["id"].as_str().unwrap_or("none") {
        return refused(400, "tidegate-delivery is not the body's id");
    }
    got.push((kind, body));
    answer(204, Value::Null)
}

/// RFC 2104, written out: what a receiver checks must not be Tidegate's own code.
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::digest([&pad(0x36)[..], text].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).into()
}
