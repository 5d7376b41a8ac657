//! Event patterns as EventBridge matches them. Pure.
//!
//! See "Comparison operators for use in event patterns" in the EventBridge user guide. What is not known never matches, so
//! that a rule the sandbox does not understand is seen not to fire instead of firing wrongly.

use serde_json::Value;

use crate::protocol::wildcard;

/// Whether an event matches a pattern.
pub fn matches(pattern: &Value, event: &Value) -> bool {
    let Value::Object(fields) = pattern else { return false };
    fields.iter().all(|(name, expected)| match (name.as_str(), expected) {
        ("$or", Value::Array(alternatives)) => alternatives.iter().any(|pattern| matches(pattern, event)),
        (name, Value::Array(options)) => field_matches(options, event.get(name)),
        (name, Value::Object(_)) => match event.get(name) {
            // An array of objects matches when one of them does.
            Some(Value::Array(items)) => items.iter().any(|item| matches(expected, item)),
            Some(inner) => matches(expected, inner),
            // Nothing there: only a demand that nothing is there can hold.
            None => matches(expected, &Value::Object(serde_json::Map::new())),
        },
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
    })
}

fn field_matches(options: &[Value], actual: Option<&Value>) -> bool {
    options.iter().any(|option| {
        if let Some(wanted) = option.get("exists") {
            return wanted.as_bool() == Some(actual.is_some_and(|value| !value.is_object()));
        }
        match actual {
            None => false,
            Some(Value::Array(items)) => items.iter().any(|item| option_matches(option, item)),
            Some(value) => option_matches(option, value),
        }
    })
}

fn option_matches(option: &Value, actual: &Value) -> bool {
    let Value::Object(operator) = option else { return same(option, actual) };
    let text = actual.as_str();
    operator.iter().all(|(name, operand)| match name.as_str() {
        "prefix" => text_test(operand, text, |operand, text| text.starts_with(operand)),
        "suffix" => text_test(operand, text, |operand, text| text.ends_with(operand)),
        "equals-ignore-case" => {
            one_of(operand, |operand| text_test(operand, text, str::eq_ignore_ascii_case))
        }
        "wildcard" => one_of(operand, |operand| text_test(operand, text, wildcard::matches_star)),
        "anything-but" => anything_but(operand, actual),
        "numeric" => numeric(operand, actual),
        _ => false,
    })
}

/// `prefix` and `suffix` also take `{"equals-ignore-case": …}`.
fn text_test(operand: &Value, text: Option<&str>, test: impl Fn(&str, &str) -> bool) -> bool {
    let Some(text) = text else { return false };
    match (operand.as_str(), operand["equals-ignore-case"].as_str()) {
        (Some(operand), _) => test(operand, text),
        (None, Some(operand)) => test(&operand.to_lowercase(), &text.to_lowercase()),
        (None, None) => false,
    }
}

fn one_of(operand: &Value, test: impl Fn(&Value) -> bool) -> bool {
    operand.as_array().map_or(std::slice::from_ref(operand), Vec::as_slice).iter().any(test)
}

fn anything_but(operand: &Value, actual: &Value) -> bool {
    let Value::Object(operator) = operand else { return !one_of(operand, |operand| same(operand, actual)) };
    // Each of several operands has to be something else.
    !operator.iter().any(|(name, operand)| {
        one_of(operand, |operand| option_matches(&serde_json::json!({name.as_str(): operand}), actual))
    })
}

fn same(expected: &Value, actual: &Value) -> bool {
    match (expected.as_f64(), actual.as_f64()) {
        (Some(expected), Some(actual)) => (expected - actual).abs() < f64::EPSILON,
        _ => expected == actual,
    }
}

/// `[">", 0, "<=", 5]`.
fn numeric(operand: &Value, actual: &Value) -> bool {
    let (Value::Array(parts), Some(actual)) = (operand, actual.as_f64()) else { return false };
    !parts.is_empty()
        && parts.chunks(2).all(|part| match (part[0].as_str(), part.get(1).and_then(Value::as_f64)) {
            (Some("="), Some(bound)) => (actual - bound).abs() < f64::EPSILON,
            (Some("<"), Some(bound)) => actual < bound,
            (Some("<="), Some(bound)) => actual <= bound,
            (Some(">"), Some(bound)) => actual > bound,
            (Some(">="), Some(bound)) => actual >= bound,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(pattern: &Value, expected: bool) {
        let event = json!({
            "source": "aws.ecr",
            "detail-type": "ECR Image Action",
            "resources": ["arn:a", "arn:b"],
            "detail": {
                "result": "SUCCESS",
                "image-tag": "main-42",
                "size": 10,
                "flag": true,
                "nothing": null,
                "containers": [{"name": "app"}, {"name": "side"}],
            },
        });
        assert_eq!(matches(pattern, &event), expected, "{pattern}");
    }

    #[test]
    fn patterns() {
        check(&json!({"source": ["aws.ecr"], "detail": {"result": ["FAILURE", "SUCCESS"]}}), true);
        check(&json!({"source": ["aws.ecs"]}), false);
        check(&json!({"resources": ["arn:b"]}), true);
        check(&json!({"resources": [{"suffix": ":c"}]}), false);
        check(&json!({"detail": {"image-tag": [{"prefix": "main-"}]}}), true);
        check(&json!({"detail": {"image-tag": [{"prefix": {"equals-ignore-case": "MAIN"}}]}}), true);
        check(&json!({"detail": {"image-tag": [{"anything-but": ["latest", "main-42"]}]}}), false);
        check(&json!({"detail": {"image-tag": [{"anything-but": {"prefix": "v"}}]}}), true);
        check(&json!({"detail": {"image-tag": [{"anything-but": {"prefix": ["v", "main"]}}]}}), false);
        check(&json!({"detail": {"missing": [{"anything-but": "x"}]}}), false);
        check(&json!({"detail": {"image-tag": [{"wildcard": "m*-4*"}]}}), true);
        check(&json!({"detail": {"result": [{"equals-ignore-case": "success"}]}}), true);
        check(&json!({"detail": {"size": [{"numeric": [">", 0, "<=", 10]}]}}), true);
        check(&json!({"detail": {"size": [{"numeric": [">", 10]}]}}), false);
        check(&json!({"detail": {"size": [10.0]}}), true);
        check(&json!({"detail": {"flag": [true], "nothing": [null]}}), true);
        check(&json!({"detail": {"flag": [{"exists": true}]}}), true);
        check(&json!({"detail": {"missing": [{"exists": false}]}}), true);
        check(&json!({"detail": {"missing": {"deeper": [{"exists": false}]}}}), true);
        check(&json!({"detail": {"flag": [{"exists": false}]}}), false);
        check(&json!({"detail": {"containers": {"name": ["side"]}}}), true);
        check(&json!({"detail": {"containers": {"name": ["none"]}}}), false);
        check(&json!({"$or": [{"source": ["x"]}, {"detail": {"result": ["SUCCESS"]}}]}), true);
        check(
            &json!({"source": ["aws.ecr"], "$or": [{"source": ["x"]}, {"detail": {"result": ["y"]}}]}),
            false,
        );
        check(&json!({"detail": {"result": [{"something-new": "SUCCESS"}]}}), false);
        check(&json!({"source": "aws.ecr"}), false);
    }
}
