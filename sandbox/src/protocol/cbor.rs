//! CBOR to JSON and back. Timestamps are tag 1 on the wire and seconds inside.

use ciborium::Value as Cbor;
use serde_json::{Map, Number, Value};

use super::Shapes;
use crate::ports::AwsError;

pub(super) fn decode(body: &[u8]) -> Result<Value, AwsError> {
    let value: Cbor = ciborium::from_reader(body)
        .map_err(|error| AwsError::new("SerializationException", format!("invalid CBOR: {error}")))?;
    Ok(to_json(value))
}

pub(super) fn encode(shapes: &Shapes, value: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    // Writing to memory cannot fail, and every JSON value has a CBOR form.
    if let Err(error) = ciborium::into_writer(&to_cbor(shapes, "", value), &mut body) {
        tracing::error!(%error, "cannot encode an answer as CBOR");
    }
    body
}

#[expect(clippy::wildcard_enum_match_arm, reason = "ciborium's Value is non-exhaustive")]
fn to_json(value: Cbor) -> Value {
    match value {
        Cbor::Integer(number) => match i64::try_from(number) {
            Ok(number) => number.into(),
            Err(_) => u64::try_from(number).map_or(Value::Null, Value::from),
        },
        Cbor::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Cbor::Text(text) => Value::String(text),
        Cbor::Bool(flag) => Value::Bool(flag),
        Cbor::Bytes(bytes) => Value::String(hex::encode(bytes)),
        Cbor::Tag(_, inner) => to_json(*inner),
        Cbor::Array(items) => Value::Array(items.into_iter().map(to_json).collect()),
        Cbor::Map(entries) => Value::Object(
            entries
                .into_iter()
                .filter_map(|(key, value)| Some((key.into_text().ok()?, to_json(value))))
                .collect::<Map<_, _>>(),
        ),
        _ => Value::Null,
    }
}

fn to_cbor(shapes: &Shapes, member: &str, value: &Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(flag) => Cbor::Bool(*flag),
        Value::Number(number) if shapes.is_timestamp(member) => {
            Cbor::Tag(1, Box::new(Cbor::Float(number.as_f64().unwrap_or_default())))
        }
        // The SDKs refuse an integer where the model says double.
        Value::Number(number) if shapes.floats.contains(&member) => {
            Cbor::Float(number.as_f64().unwrap_or_default())
        }
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Cbor::Integer(integer.into()),
            None => Cbor::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Array(items) => Cbor::Array(items.iter().map(|item| to_cbor(shapes, member, item)).collect()),
        Value::Object(members) => {
            let as_map = shapes.floats.contains(&member);
            Cbor::Map(
                members
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| {
                        let member = if as_map { member } else { key.as_str() };
                        (Cbor::Text(key.clone()), to_cbor(shapes, member, value))
                    })
                    .collect(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn doubles_stay_doubles_and_timestamps_are_tagged() {
        let output =
            json!({"Threshold": 5, "Timestamp": 12.5, "Period": 60, "ExtendedStatistics": {"p99": 1}});
        let shapes = Shapes::of("monitoring");
        let Cbor::Map(entries) = to_cbor(shapes, "", &output) else { panic!("a map") };
        assert_eq!(entries[0].1, Cbor::Float(5.0));
        assert_eq!(entries[1].1, Cbor::Tag(1, Box::new(Cbor::Float(12.5))));
        assert_eq!(entries[2].1, Cbor::Integer(60.into()));
        assert_eq!(entries[3].1, Cbor::Map(vec![(Cbor::Text("p99".into()), Cbor::Float(1.0))]));
        let back = decode(&encode(shapes, &output)).unwrap();
        assert_eq!(back["Threshold"], json!(5.0));
        assert_eq!(back["Timestamp"], json!(12.5));
    }
}
