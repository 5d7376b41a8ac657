//! How Amazon ECS takes a `deploymentConfiguration`: laid over what is there, refused where it does not fit.
//!
//! Members left out stay; nested blocks given replace the old ones with defaults filled in; `lifecycleHooks` is replaced whole; the circuit
//! breaker keeps the children left out. A block of another strategy is refused. Measured on a live account by the authors of go-to-k/cdkd
//! (pull request 1848). Whether a block stays when the strategy changes was not: both are played.

use serde_json::{Map, Value, json};
use tidegate_core::fault::{ErrorKind, PortError};

/// Blocks, the strategy they belong to, and what AWS says when they come with another one.
const OF_ONE_STRATEGY: [(&str, &str, &str); 3] = [
    (
        "canaryConfiguration",
        "CANARY",
        "Canary configuration can only be present with CANARY deployment strategy",
    ),
    (
        "linearConfiguration",
        "LINEAR",
        "Linear configuration can only be present with LINEAR deployment strategy",
    ),
    (
        "earlySuccessCriteria",
        "ROLLING",
        "Early success criteria can only be present with ROLLING deployment strategy",
    ),
];

/// The configuration after an `UpdateService` with this one.
pub(super) fn update(present: &Value, request: &Value, keeps_stale_blocks: bool) -> Result<Value, PortError> {
    let mut merged = present.as_object().cloned().unwrap_or_default();
    for (name, value) in request.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let value = match (name.as_str(), merged.get(name)) {
            ("deploymentCircuitBreaker", Some(Value::Object(old))) => over(old, value),
            _ => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    let strategy = merged.get("strategy").and_then(Value::as_str).unwrap_or("ROLLING").to_owned();
    for (member, owner, refusal) in OF_ONE_STRATEGY {
        if strategy == owner {
            continue;
        }
        if request.get(member).is_some_and(|value| !value.is_null()) {
            return Err(PortError::new(
                ErrorKind::Invalid,
                "ecs:UpdateService",
                "InvalidParameterException",
                refusal,
            ));
        }
        if !keeps_stale_blocks {
            merged.remove(member);
        }
    }
    merged.entry("strategy").or_insert("ROLLING".into());
    merged.entry("maximumPercent").or_insert(200.into());
    merged.entry("minimumHealthyPercent").or_insert(100.into());
    merged.entry("deploymentCircuitBreaker").or_insert_with(|| json!({ "enable": false, "rollback": false }));
    Ok(Value::Object(merged))
}

fn over(old: &Map<String, Value>, new: &Value) -> Value {
    let mut merged = old.clone();
    merged.extend(new.as_object().cloned().unwrap_or_default());
    Value::Object(merged)
}
