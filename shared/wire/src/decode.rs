//! One way to decode JSON, so that every refusal names the path of the field; and the odd spellings of AWS.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Where in a document decoding stopped, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path of the field, `.` for the whole document.
    pub(crate) path: String,
    /// What was found and what is allowed.
    pub(crate) problem: String,
}

/// What an editor put in front of a document that JSON does not know, or a document in another encoding than UTF-8.
pub(crate) fn mark(bytes: &[u8]) -> Result<(), Place> {
    let (found, save) = match bytes {
        [0xEF, 0xBB, 0xBF, ..] => {
            ("a UTF-8 byte order mark (EF BB BF)", "save it as UTF-8 without a byte order mark")
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => ("a UTF-16 byte order mark", "save it as UTF-8"),
        [b'[' | b'{', 0, ..] | [0, b'[' | b'{', ..] => ("text in UTF-16", "save it as UTF-8"),
        _ => return Ok(()),
    };
    let problem = format!(
        "the file begins with {found}, allowed JSON in UTF-8: {save} (Windows PowerShell: [IO.File]::WriteAllText)"
    );
    Err(Place { path: ".".into(), problem })
}

/// Decodes a whole document; anything but white space after it is an error.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Place> {
    mark(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Fields(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| place("", error))?;
    json.end().map_err(|error| Place { path: ".".into(), problem: error.to_string() })?;
    Ok(value)
}

/// Decodes a part of a document that is found at `at`, or all of it when `at` is empty.
pub(crate) fn from_value<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, Place> {
    serde_path_to_error::deserialize(value).map_err(|error| place(at, error)).map(|Fields(value)| value)
}

fn place(at: &str, error: serde_path_to_error::Error<serde_json::Error>) -> Place {
    let path = error.path().to_string();
    let path = match (at, path.as_str()) {
        ("", path) => path.to_owned(),
        (at, ".") => at.to_owned(),
        (at, path) => format!("{at}.{path}"),
    };
    Place { path, problem: clipped(error.into_inner().to_string()) }
}

/// A long value is quoted in a refusal only by its beginning; what is allowed, at the end, stays. Payloads do not belong in logs.
pub(crate) fn clipped(problem: String) -> String {
    const SIDE: usize = 120;
    let length = problem.chars().count();
    if length <= 2 * SIDE + 1 {
        return problem;
    }
    let (start, end) = (problem.chars().take(SIDE), problem.chars().skip(length - SIDE));
    start.chain(['…']).chain(end).collect()
}

/// A structure that only a JSON object is read as. Derived, serde would also take a list for its fields in their order, which no
/// message of ours or of AWS is.
struct Fields<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyObjects<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyObjects<T> {
            type Value = Fields<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Fields)
            }
        }
        deserializer.deserialize_map(OnlyObjects(PhantomData))
    }
}

/// A part with fields of its own.
pub(crate) fn fields<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Fields::deserialize(deserializer).map(|Fields(value)| value)
}

/// The same, when it may be left out.
pub(crate) fn some_fields<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Fields<T>>::deserialize(deserializer)?.map(|Fields(value)| value))
}

/// A list of parts with fields of their own.
pub(crate) fn list_of_fields<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Vec::<Fields<T>>::deserialize(deserializer)?.into_iter().map(|Fields(value)| value).collect())
}

/// A JSON object, kept as it is.
pub(crate) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Map::deserialize(deserializer).map(Value::Object)
}

/// A time the value depends on.
pub(crate) fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_timestamp(&text).ok_or_else(|| {
        D::Error::custom(format!("found {text:?}, allowed an ISO 8601 time such as 2026-03-05T15:54:41Z"))
    })
}

/// A time that only informs: text AWS writes in yet another way is skipped, so that it never keeps an alarm from being heard.
pub(crate) fn some_timestamp<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().and_then(parse_timestamp))
}

/// The three ways AWS writes times in events: ISO 8601; with `+0000` as offset (CloudWatch); `Sep 1, 2017 4:12:29 PM` in UTC
/// (CodeBuild), in newer Java versions with a narrow no-break space before the `PM`.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let text = text.replace(['\u{202f}', '\u{a0}'], " ");
        let time = jiff::fmt::strtime::parse("%b %d, %Y %I:%M:%S %p", text).ok()?;
        time.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

/// A value AWS leaves out or sends empty when there is none.
pub(crate) fn some_unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String, Error: std::fmt::Display>,
{
    Option::<String>::deserialize(deserializer)?
        .filter(|text| !text.is_empty())
        .map(|text| T::try_from(text).map_err(D::Error::custom))
        .transpose()
}

/// A whole number AWS writes as `7`, `7.0` or `"7"`, depending on the day.
pub(crate) fn some_whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    let number = match &value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.map(Some).ok_or_else(|| D::Error::custom(format!("found {value}, allowed a whole number")))
}

fn whole(number: f64) -> Option<u64> {
    /// 2^53: above it not every whole number has a floating-point form of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range just before"
    )]
    (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
}

/// JSON within a JSON string, as AWS sends `reasonData`; what is none is skipped, it only informs.
pub(crate) fn some_json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::String(text)) => serde_json::from_str(&text).ok(),
        Some(object @ Value::Object(_)) => Some(object),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_time_is_the_same_time() {
        let expected: Timestamp = "2017-09-01T16:12:29Z".parse().unwrap();
        for text in [
            "2017-09-01T16:12:29Z",
            "2017-09-01T16:12:29.000+0000",
            "2017-09-01T18:12:29+02:00",
            "Sep 1, 2017 4:12:29 PM",
            "Sep 01, 2017 04:12:29 PM",
            "Sep 1, 2017 4:12:29\u{202f}PM",
        ] {
            assert_eq!(parse_timestamp(text), Some(expected), "{text}");
        }
        assert_eq!(
            parse_timestamp("2026-03-05T15:54:41.618059641Z").unwrap().subsec_nanosecond(),
            618_059_641
        );
        for text in ["", "yesterday", "2017-09-01", "Sep 31, 2017 4:12:29 PM", "1504282349"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_never_quotes_a_whole_payload() {
        let long = format!("{{\"a\":\"{}\"}}", "ü".repeat(10_000));
        #[derive(Debug, Deserialize)]
        struct Holder {
            #[serde(rename = "a")]
            _a: u64,
        }
        let place = from_slice::<Holder>(long.as_bytes()).unwrap_err();
        assert_eq!(place.path, "a");
        assert!(place.problem.chars().count() < 250, "{}", place.problem);
        assert!(place.problem.contains("expected u64"), "{}", place.problem);
    }

    #[test]
    fn only_whole_numbers_are_whole_numbers() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, deserialize_with = "some_whole_number")]
            n: Option<u64>,
        }
        let read = |text: &str| serde_json::from_str::<Holder>(text).map(|holder| holder.n).ok();
        for (text, expected) in [
            (r#"{"n":7}"#, Some(Some(7))),
            (r#"{"n":7.0}"#, Some(Some(7))),
            (r#"{"n":"7"}"#, Some(Some(7))),
            (r#"{"n":null}"#, Some(None)),
            ("{}", Some(None)),
            (r#"{"n":7.5}"#, None),
            (r#"{"n":-1}"#, None),
            (r#"{"n":1e300}"#, None),
            (r#"{"n":"seven"}"#, None),
            (r#"{"n":[7]}"#, None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
